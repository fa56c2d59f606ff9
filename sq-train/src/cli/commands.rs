//! What the commands do.

use super::DataArgs;
use super::args::TrainArgs;
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use sq_train::checkpoint::{Checkpoint, Run};
use sq_train::data::{self, Split};
use sq_train::train::EpochReport;
use sq_train::{bench, device, export, progress, reference, train};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn train(args: TrainArgs, out: &Path, resume: bool) -> Result<()> {
    let devices = devices(&args)?;
    let split = load(&args)?;
    let run = Run {
        config: args.config(&split)?,
        classes: split.classes.clone(),
        command: command_line(),
    };
    let stop = stop_on_interrupt()?;
    train_in(out, &run, &split, &devices, resume, &stop)
}

/// Trains `run` in the folder `out` and prints the report on every epoch, or on the last one of a run that is finished already.
pub fn train_in(
    out: &Path,
    run: &Run,
    split: &Split,
    devices: &[Device],
    resume: bool,
    stop: &AtomicBool,
) -> Result<()> {
    let mut shown = false;
    train::train(run, split, devices, out, resume, stop, |report| {
        shown = true;
        show(report)
    })?;
    if let (false, Some(last)) = (shown, Checkpoint::load(out)?.position.history.last()) {
        print(&format!(
            "finished already, in {}:\n{}",
            out.display(),
            progress::describe(last)
        ))?;
    }
    Ok(())
}

/// The devices of a run; says which they are where it is not the CPU alone.
pub fn devices(args: &TrainArgs) -> Result<Vec<Device>> {
    let devices = args.devices()?;
    if devices != [device::cpu()] {
        let names: Vec<String> = devices.iter().map(device::name).collect();
        eprintln!("training on {}", names.join(", "));
    }
    Ok(devices)
}

/// Prints the report on an epoch.
fn show(report: &EpochReport) -> Result<()> {
    print(&progress::describe(report))
}

/// Prints a line, or several; an output that is closed is an error and no panic, as `println` makes it.
pub fn print(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot print")
}

/// The data of a run.
pub fn load(args: &TrainArgs) -> Result<Split> {
    let mut split = data::load(&args.data.source()?, args.data.data_dir.as_deref())?;
    if let Some(limit) = args.limit {
        ensure!(
            limit > 1,
            "--limit {limit} leaves no batch to learn from: give 2 or more images"
        );
        split.train = split.train.take(limit);
    }
    Ok(split)
}

/// A flag that Ctrl-C sets, or a request to terminate (SIGTERM, SIGHUP). The second ends the program at once.
pub fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}

/// The command as typed, without what names places on this machine.
pub fn command_line() -> String {
    shared(std::env::args().skip(1))
}

/// A command of these arguments that means the same on another machine: no folders but the last name of those of data and architecture, no
/// shard.
fn shared(arguments: impl IntoIterator<Item = String>) -> String {
    let mut words = vec!["sq-train".to_string()];
    let mut arguments = arguments.into_iter();
    while let Some(word) = arguments.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag.to_string(), Some(value.to_string())),
            _ => (word.clone(), None),
        };
        match &*flag {
            "--data-dir" | "--out" | "--shard" if value.is_none() => _ = arguments.next(),
            "--data-dir" | "--out" | "--shard" | "--resume" => {}
            "--data" | "--arch" => {
                let path = value.or_else(|| arguments.next()).unwrap_or_default();
                let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy();
                words.extend([flag, name.into_owned()]);
            }
            _ => words.push(word),
        }
    }
    words.join(" ")
}

pub fn export(run: &Path, output: &Path) -> Result<()> {
    let checkpoint = Checkpoint::load(run)?;
    let net = checkpoint.net()?;
    export::export(&net, &checkpoint.run.config, &export::card(&checkpoint, &net)?, output)
}

pub fn eval(path: &Path, data: &DataArgs) -> Result<()> {
    let data_dir = data.data_dir.as_deref();
    let (accuracy, images) = if path.is_dir() {
        let checkpoint = Checkpoint::load(path)?;
        let config = &checkpoint.run.config;
        let test = data::load(&config.source, data_dir)?.test;
        (train::accuracy(&checkpoint.net()?, config, &test)?, test.len())
    } else {
        let test = data::load(&data.source()?, data_dir)?.test;
        (reference::accuracy(path, &test)?, test.len())
    };
    print(&format!("{:.2} % of {images} test images", 100.0 * accuracy))
}

pub fn bench(args: &TrainArgs, count: usize, image: [usize; 3]) -> Result<()> {
    let report = bench::run(&|split| args.config(split), &devices(args)?, count, image)?;
    print(&serde_json::to_string(&report)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_command_names_no_place() {
        let typed = "train --data=/home/someone/sets/birds --arch nets/a.toml --data-dir /d --out=/o --shard=2/4 --resume --lr 0.1 --flip";
        let words = typed.split(' ').map(String::from);
        assert_eq!(
            shared(words),
            "sq-train train --data birds --arch a.toml --lr 0.1 --flip"
        );
        let typed = "sweep --shard 2/4 --out o --data mnist --seeds=1,2";
        let words = typed.split(' ').map(String::from);
        assert_eq!(shared(words), "sq-train sweep --data mnist --seeds=1,2");
    }
}
