//! A run on disk.
//!
//! ```text
//! OUT/run.json        the settings and the command that began the run
//! OUT/metrics.jsonl   one line per finished epoch
//! OUT/epoch-007-00042 model.bpk, optimizer.bpk, position.json: all that is needed to go on after epoch 7 and 42 steps
//! OUT/result.json     what the finished run came to (see `results`)
//! ```
//! A checkpoint is written beside its place and renamed into it, so that an interruption leaves the one before.

use crate::device;
use crate::nn::Net;
use crate::train::{Config, Position};
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
const POSITION: &str = "position.json";
const PREFIX: &str = "epoch-";

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
        let shown = out.display();
        ensure!(
            out.join(RUN).exists(),
            "{shown} holds no run: `sq-train train --out {shown}`, without --resume, begins one"
        );
        read(&out.join(RUN))
    }
}

/// Writes the state at `position`, then removes the one before.
pub fn save(out: &Path, net: &Net, optimizer: &ModuleOptimizer, position: &Position) -> Result<()> {
    let name = format!("{PREFIX}{:03}-{:05}", position.history.len(), position.totals.steps);
    let (place, new) = (out.join(&name), out.join(format!("new-{name}")));
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new).with_context(|| format!("cannot create {}", new.display()))?;
    net.settle();
    net.clone().save_file(new.join(MODEL))?;
    optimizer.save(new.join(OPTIMIZER))?;
    write(&new.join(POSITION), &serde_json::to_string(position)?)?;
    let before = checkpoints(out)?;
    fs::rename(&new, &place).with_context(|| format!("cannot write {}", place.display()))?;
    let lines: Vec<String> = position
        .history
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    write(
        &out.join(METRICS),
        &lines.iter().map(|line| format!("{line}\n")).collect::<String>(),
    )?;
    for old in before {
        fs::remove_dir_all(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    Ok(())
}

impl Checkpoint {
    /// The latest checkpoint of the run in `out`, or `None` before its first.
    pub fn find(out: &Path) -> Result<Option<Checkpoint>> {
        let run = Run::load(out)?;
        let Some(directory) = checkpoints(out)?.pop() else {
            return Ok(None);
        };
        Ok(Some(Checkpoint {
            run,
            position: read(&directory.join(POSITION))?,
            directory,
        }))
    }

    /// The latest checkpoint of the run in `out`.
    pub fn load(out: &Path) -> Result<Checkpoint> {
        Checkpoint::find(out)?.with_context(|| format!("{} has no checkpoint yet", out.display()))
    }

    /// The network on the CPU, off the training device.
    pub fn net(&self) -> Result<Net> {
        self.net_on(&device::cpu())
    }

    /// The network on the training device `device`, and `optimizer` with the state it had.
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
    let entries = fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let position = |path: &PathBuf| -> Option<(usize, usize)> {
        let (epoch, step) = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
        Some((epoch.parse().ok()?, step.parse().ok()?))
    };
    let mut numbered: Vec<_> = paths
        .into_iter()
        .filter_map(|path| Some((position(&path)?, path)))
        .collect();
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}
