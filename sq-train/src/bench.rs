//! The time of a training step, on random images: what `tests/bench/training` compares with PyTorch.

use crate::data::{Augment, Dataset, Split, batch};
use crate::train::{Config, Stepper};
use anyhow::{Result, ensure};
use burn::tensor::Device;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use std::time::Instant;

/// Steps before the clock counts: the first allocate, and wake the threads.
const WARM_UP: usize = 3;

const CLASSES: u16 = 10;

/// What a measurement came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Network.
    pub arch: String,
    /// Images per step.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// Median time of a step in milliseconds: images from bytes, forward, backward, optimizer, projection, loss read back.
    pub median_ms: f64,
    /// Least time of a step in milliseconds.
    pub min_ms: f64,
    /// Greatest memory the process has had, in MiB, where the system tells.
    pub peak_mib: Option<f64>,
    /// Loss after the last step: a check that the network was trained.
    pub loss: f64,
}

/// Times `count` steps on these devices of the network that `config` makes of a random data set of these images.
///
/// # Errors
/// No steps to time, settings that cannot train, or a loss that is not finite.
pub fn run(
    config: &dyn Fn(&Split) -> Result<Config>,
    devices: &[Device],
    count: usize,
    shape: [usize; 3],
) -> Result<Report> {
    ensure!(count > 0, "no steps to time");
    let mut rng = StdRng::seed_from_u64(0);
    let size: usize = shape.iter().product();
    let images = 4 * 128;
    let train = Dataset {
        images: (0..images * size).map(|_| rng.random()).collect(),
        labels: (0..images).map(|_| rng.random_range(0..CLASSES)).collect(),
        shape,
    };
    let split = Split {
        test: train.clone().take(1),
        train,
        classes: (0..CLASSES).map(|class| class.to_string()).collect(),
    };
    let config = config(&split)?;
    config.check(&split)?;
    let mut stepper = Stepper::new(&config, devices)?;
    let (mut times, mut loss) = (Vec::new(), 0.0);
    for step in 0..WARM_UP + count {
        let indices: Vec<usize> = (0..config.batch).map(|i| (step * config.batch + i) % images).collect();
        let start = Instant::now();
        let (pixels, labels) = batch(&split.train, &indices, Augment::default(), config.seed, 1);
        let report;
        (stepper, report) = stepper.step(&config, &pixels, &labels, config.schedule.rate)?;
        loss = report.loss;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let mut timed = times.split_off(WARM_UP);
    timed.sort_by(f64::total_cmp);
    Ok(Report {
        arch: config.arch.name.clone(),
        batch: config.batch,
        threads: rayon::current_num_threads(),
        median_ms: timed[timed.len() / 2],
        min_ms: timed[0],
        peak_mib: peak_mib(),
        loss,
    })
}

/// `VmHWM` of Linux.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
