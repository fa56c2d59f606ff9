//! A run on disk.
//!
//! ```text
//! OUT/run.json        the settings and the command that began the run
//! OUT/metrics.jsonl   one line per finished epoch
//! OUT/epoch-007-00042 model.bpk, optimizer.bpk, position.json: all that is needed to go on after epoch 7 and 42 steps
//! OUT/lock            held by the process that trains there
//! ```
//! Files and checkpoints are written beside their places, forced to the disk and renamed, so that an interruption leaves those
//! before. `metrics.jsonl` is for people and their tools: it is made anew from the checkpoint.

use crate::device;
use crate::files;
use crate::nn::Net;
use crate::train::{Config, EpochReport, Position};
use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const RUN: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const POSITION: &str = "position.json";
const PREFIX: &str = "epoch-";
const LOCK: &str = "lock";

/// Begins the name of a checkpoint that is being written.
const NEW: &str = "new-";

/// What a run was begun with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Settings.
    pub config: Config,
    /// Names of the classes in the order of the scores.
    pub classes: Vec<String>,
    /// Command line, for people.
    pub command: String,
}

/// The latest state of a run.
pub struct Checkpoint {
    /// What the run was begun with.
    pub run: Run,
    /// Where it stood.
    pub position: Position,
    directory: PathBuf,
}

impl Run {
    /// The run in `out`.
    ///
    /// # Errors
    /// A folder without a run, or a `run.json` that cannot be read.
    pub fn load(out: &Path) -> Result<Run> {
        let shown = out.display();
        ensure!(
            out.join(RUN).exists(),
            "{shown} holds no run: `sq-train train --out {shown}`, without --resume, begins one"
        );
        files::read_json(&out.join(RUN))
    }
}

/// A run's folder that no other process writes to.
pub struct Folder {
    path: PathBuf,
    /// Locked for as long as it is open; the system unlocks it even where the process is killed.
    _lock: File,
}

impl Folder {
    /// Creates the folder `out` where it is missing, takes it for this process alone and removes the halves of checkpoints that a
    /// kill left.
    ///
    /// # Errors
    /// A folder that another process trains in, or that cannot be written.
    pub fn hold(out: &Path) -> Result<Folder> {
        fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
        let path = out.join(LOCK);
        let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another process trains in {}: wait for it, or give another --out",
                out.display()
            ),
            // Some network file systems have no locks; there nobody is warned.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        for path in entries(out)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(NEW) && path.is_dir() {
                remove(&path)?;
            }
        }
        Ok(Folder {
            path: out.to_path_buf(),
            _lock: lock,
        })
    }

    /// Begins `run` in the folder, which must not hold one; one that ended before its first checkpoint, as by a learning rate that
    /// was too great, is replaced.
    ///
    /// # Errors
    /// A folder with a run, or one that cannot be written.
    pub fn begin(&self, run: &Run) -> Result<()> {
        ensure!(
            checkpoints(&self.path)?.is_empty(),
            "{} holds a run already: --resume it or choose another",
            self.path.display()
        );
        files::write_json(&self.path.join(RUN), run)
    }

    /// Writes the state at `position`, then removes the one before.
    ///
    /// # Errors
    /// A file that cannot be written, or an old checkpoint that cannot be removed.
    pub fn save(&self, net: &Net, optimizer: &ModuleOptimizer, position: &Position) -> Result<()> {
        let name = format!("{PREFIX}{:03}-{:05}", position.history.len(), position.totals.steps);
        let (place, new) = (self.path.join(&name), self.path.join(format!("{NEW}{name}")));
        if new.exists() {
            remove(&new)?;
        }
        fs::create_dir_all(&new).with_context(|| format!("cannot create {}", new.display()))?;
        net.settle();
        net.clone().save_file(new.join(MODEL))?;
        optimizer.save(new.join(OPTIMIZER))?;
        files::sync(&new.join(MODEL))?;
        files::sync(&new.join(OPTIMIZER))?;
        files::write_json(&new.join(POSITION), position)?;
        let before = checkpoints(&self.path)?;
        files::rename(&new, &place).with_context(|| format!("cannot write {}", place.display()))?;
        self.write_metrics(&position.history)?;
        before.iter().try_for_each(|old| remove(old))
    }

    /// Writes a line for every finished epoch.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_metrics(&self, history: &[EpochReport]) -> Result<()> {
        let mut lines = String::new();
        for report in history {
            lines += &serde_json::to_string(report)?;
            lines.push('\n');
        }
        files::write(&self.path.join(METRICS), lines.as_bytes())
    }
}

impl Checkpoint {
    /// The latest checkpoint of the run in `out`, or `None` before its first.
    ///
    /// # Errors
    /// A folder without a run, or a file that cannot be read.
    pub fn find(out: &Path) -> Result<Option<Checkpoint>> {
        let run = Run::load(out)?;
        loop {
            let Some(directory) = checkpoints(out)?.pop() else {
                return Ok(None);
            };
            match files::read_json(&directory.join(POSITION)) {
                Ok(position) => {
                    return Ok(Some(Checkpoint {
                        run,
                        position,
                        directory,
                    }));
                }
                // A run in training has meanwhile put a newer one in its place.
                Err(_) if checkpoints(out)?.last() != Some(&directory) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The latest checkpoint of the run in `out`.
    ///
    /// # Errors
    /// A folder without a run or whose run has no checkpoint, or a file that cannot be read.
    pub fn load(out: &Path) -> Result<Checkpoint> {
        Checkpoint::find(out)?.with_context(|| format!("{} has no checkpoint yet", out.display()))
    }

    /// The network on the CPU, off the training device.
    ///
    /// # Errors
    /// Weights that cannot be read, or that do not fit the run's settings.
    pub fn net(&self) -> Result<Net> {
        self.net_on(&device::cpu())
    }

    /// The network on the training device `device`, and `optimizer` with the state it had.
    ///
    /// # Errors
    /// A file that cannot be read, or that does not fit the run's settings.
    pub fn resume(&self, optimizer: ModuleOptimizer, device: &Device) -> Result<(Net, ModuleOptimizer)> {
        let path = self.directory.join(OPTIMIZER);
        let optimizer = optimizer
            .load(&path)
            .with_context(|| format!("{} is damaged", path.display()))?;
        Ok((self.net_on(device)?, optimizer))
    }

    fn net_on(&self, device: &Device) -> Result<Net> {
        let path = self.directory.join(MODEL);
        let net = self.run.config.net(device)?;
        net.try_load_file(&path)
            .with_context(|| format!("{} is damaged", path.display()))
    }
}

/// Checkpoint directories in `out`, oldest first.
fn checkpoints(out: &Path) -> Result<Vec<PathBuf>> {
    let position = |path: &PathBuf| -> Option<(usize, usize)> {
        let (epoch, step) = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
        Some((epoch.parse().ok()?, step.parse().ok()?))
    };
    let mut numbered: Vec<_> = entries(out)?
        .into_iter()
        .filter_map(|path| Some((position(&path)?, path)))
        .collect();
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_cleared_of_halves() {
        let temp = tempfile::tempdir().unwrap();
        let half = temp.path().join("new-epoch-001-00000");
        fs::create_dir(&half).unwrap();
        let held = Folder::hold(temp.path()).unwrap();
        assert!(!half.exists());
        let message = Folder::hold(temp.path()).err().unwrap().to_string();
        assert!(message.starts_with("another process trains in "), "{message}");
        drop(held);
        Folder::hold(temp.path()).unwrap();
    }
}
