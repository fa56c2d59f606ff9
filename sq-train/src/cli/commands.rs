//! What the commands do.

use super::DataArgs;
use super::args::TrainArgs;
use anyhow::{Context, Result};
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
    train::train(&run, &split, &devices, out, resume, &stop, show)?;
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
pub fn show(report: &EpochReport) -> Result<()> {
    writeln!(io::stdout(), "{}", progress::describe(report)).context("cannot print the report")
}

/// The data of a run.
pub fn load(args: &TrainArgs) -> Result<Split> {
    let mut split = data::load(&args.data.source(), args.data.data_dir.as_deref())?;
    if let Some(limit) = args.limit {
        split.train = split.train.take(limit);
    }
    Ok(split)
}

/// A flag that Ctrl-C sets. The second Ctrl-C ends the program at once.
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
    let mut words = vec!["sq-train".to_string()];
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--data-dir" | "--out" | "--shard" => _ = arguments.next(),
            "--resume" => {}
            _ if word.starts_with("--data-dir=") || word.starts_with("--out=") => {}
            _ => words.push(word),
        }
    }
    words.join(" ")
}

pub fn export(run: &Path, output: &Path) -> Result<()> {
    let checkpoint = Checkpoint::load(run)?;
    let net = checkpoint.net()?;
    export::export(&net, &checkpoint.run.config, &export::card(&checkpoint)?, output)
}

pub fn eval(path: &Path, data: &DataArgs) -> Result<()> {
    let data_dir = data.data_dir.as_deref();
    let (accuracy, images) = if path.is_dir() {
        let checkpoint = Checkpoint::load(path)?;
        let config = &checkpoint.run.config;
        let test = data::load(&config.source, data_dir)?.test;
        (train::accuracy(&checkpoint.net()?, config, &test)?, test.len())
    } else {
        let test = data::load(&data.source(), data_dir)?.test;
        (reference::accuracy(path, &test)?, test.len())
    };
    println!("{:.2} % of {images} test images", 100.0 * accuracy);
    Ok(())
}

pub fn bench(args: &TrainArgs, count: usize, image: [usize; 3]) -> Result<()> {
    println!(
        "{}",
        serde_json::to_string(&bench::run(&|split| args.config(split), &devices(args)?, count, image)?)?
    );
    Ok(())
}
