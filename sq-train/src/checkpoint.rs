//! A run on disk.
//!
//! ```text
//! OUT/run.json        the settings and the command that began the run
//! OUT/metrics.jsonl   one line per finished epoch
//! OUT/epoch-007/      model.bpk, optimizer.bpk, history.json: all that is needed to go on after epoch 7
//! ```
//! A checkpoint is written beside its place and renamed into it, so that an interruption leaves the one before.

use crate::nn::Net;
use crate::train::{Config, EpochReport};
use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const RUN: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const HISTORY: &str = "history.json";
const PREFIX: &str = "epoch-";

/// What a run was begun with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Settings.
    pub config: Config,
    /// Command line, for people.
    pub command: String,
}

/// The latest state of a run.
pub struct Checkpoint {
    /// What the run was begun with.
    pub run: Run,
    /// Reports of the finished epochs.
    pub history: Vec<EpochReport>,
    directory: PathBuf,
}

impl Run {
    /// Begins a run in `out`, which must not hold one.
    pub fn begin(&self, out: &Path) -> Result<()> {
        ensure!(
            !out.join(RUN).exists(),
            "{} holds a run already: --resume it or choose another",
            out.display()
        );
        fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
        write(&out.join(RUN), &serde_json::to_string_pretty(self)?)
    }

    /// The run in `out`.
    pub fn load(out: &Path) -> Result<Run> {
        read(&out.join(RUN))
    }
}

/// Writes the state after the last epoch of `history`, then removes the one before.
pub fn save(out: &Path, net: &Net, optimizer: &ModuleOptimizer, history: &[EpochReport]) -> Result<()> {
    let place = out.join(format!("{PREFIX}{:03}", history.len()));
    let new = out.join(format!("new-{PREFIX}{:03}", history.len()));
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new).with_context(|| format!("cannot create {}", new.display()))?;
    net.clone().save_file(new.join(MODEL))?;
    optimizer.save(new.join(OPTIMIZER))?;
    write(&new.join(HISTORY), &serde_json::to_string(history)?)?;
    let before = epochs(out)?;
    fs::rename(&new, &place).with_context(|| format!("cannot write {}", place.display()))?;
    let lines: Vec<String> = history.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    write(&out.join(METRICS), &(lines.join("\n") + "\n"))?;
    for old in before {
        fs::remove_dir_all(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    Ok(())
}

impl Checkpoint {
    /// The latest checkpoint of the run in `out`, or `None` before its first epoch has ended.
    pub fn find(out: &Path) -> Result<Option<Checkpoint>> {
        let run = Run::load(out)?;
        let Some(directory) = epochs(out)?.pop() else {
            return Ok(None);
        };
        Ok(Some(Checkpoint {
            run,
            history: read(&directory.join(HISTORY))?,
            directory,
        }))
    }

    /// The latest checkpoint of the run in `out`.
    pub fn load(out: &Path) -> Result<Checkpoint> {
        Checkpoint::find(out)?.with_context(|| format!("{} has no finished epoch", out.display()))
    }

    /// The network, off the training device.
    pub fn net(&self) -> Result<Net> {
        self.net_on(&Device::flex())
    }

    /// The network on the training device, and `optimizer` with the state it had.
    pub fn resume(&self, optimizer: ModuleOptimizer) -> Result<(Net, ModuleOptimizer)> {
        let path = self.directory.join(OPTIMIZER);
        let optimizer = optimizer
            .load(&path)
            .with_context(|| format!("{} is damaged", path.display()))?;
        Ok((self.net_on(&Device::flex().autodiff())?, optimizer))
    }

    fn net_on(&self, device: &Device) -> Result<Net> {
        let path = self.directory.join(MODEL);
        let net = self.run.config.net(device)?;
        net.try_load_file(&path)
            .with_context(|| format!("{} is damaged", path.display()))
    }
}

/// Checkpoint directories in `out`, oldest first.
fn epochs(out: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let epoch = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse::<usize>().ok();
    let mut numbered: Vec<(usize, PathBuf)> = paths
        .into_iter()
        .filter_map(|path| Some((epoch(&path)?, path)))
        .collect();
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}
