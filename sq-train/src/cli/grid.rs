//! Grids of runs in one folder, and the table of it.

use super::args::TrainArgs;
use super::{GridArgs, Shard, commands};
use anyhow::{Context, Result, bail};
use sq_train::checkpoint::Run;
use sq_train::nn::Method;
use sq_train::results::{self, Format};
use sq_train::train;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Trains this machine's share of the grid into `out`, then prints the table of all that is finished there.
pub fn sweep(grid: &GridArgs, shard: Shard, out: &Path) -> Result<()> {
    train_all(grid, shard, out)?;
    table(&[out.to_path_buf()], Format::Text, None)
}

/// Trains this machine's share of the grid into `out`; finished runs are skipped, begun ones go on.
pub fn train_all(grid: &GridArgs, shard: Shard, out: &Path) -> Result<()> {
    let devices = commands::devices(&grid.args)?;
    let split = commands::load(&grid.args)?;
    let stop = commands::stop_on_interrupt()?;
    let runs = points(grid);
    let share: Vec<(usize, &TrainArgs)> = runs.iter().enumerate().skip(shard.index).step_by(shard.of).collect();
    for (i, args) in share {
        let config = args.config(&split)?;
        let folder = out.join(name(args, &config.arch.name, &config.activations.kind.to_string()));
        let begun = folder.join("run.json").is_file();
        let run = Run {
            config,
            classes: split.classes.clone(),
            command: commands::command_line(),
        };
        println!("run {} of {}: {}", i + 1, runs.len(), folder.display());
        let trained = train::train(&run, &split, &devices, &folder, begun, &stop, commands::show);
        if stop.load(Ordering::Relaxed) {
            bail!("stopped in run {} of {}; the same command goes on", i + 1, runs.len());
        }
        trained.with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// Every run of the grid, in an order that all machines share.
fn points(grid: &GridArgs) -> Vec<TrainArgs> {
    let or = |list: &Vec<f32>, one: f32| if list.is_empty() { vec![one] } else { list.clone() };
    let seeds = if grid.seeds.is_empty() {
        vec![grid.args.seed]
    } else {
        grid.seeds.clone()
    };
    let (gammas, lambdas) = (or(&grid.gammas, grid.args.gamma), or(&grid.lambdas, grid.args.lambda));
    let mut runs = Vec::new();
    for &method in &grid.methods {
        let (gammas, lambdas) = match method {
            Method::Sq => (&gammas[..], &lambdas[..]),
            _ => (&gammas[..1], &lambdas[..1]),
        };
        for &gamma in gammas {
            for &lambda in lambdas {
                for &seed in &seeds {
                    runs.push(TrainArgs {
                        method,
                        gamma,
                        lambda,
                        seed,
                        ..grid.args.clone()
                    });
                }
            }
        }
    }
    runs
}

/// Folder of a run, which says what sets it apart in the grid.
fn name(args: &TrainArgs, network: &str, activations: &str) -> String {
    let regulariser = match args.method {
        Method::Sq => format!("-g{}-l{}", args.gamma, args.lambda),
        _ => String::new(),
    };
    format!("{network}-{}-{activations}{regulariser}-s{}", args.method, args.seed)
}

/// Prints the table of the finished runs in `folders`.
pub fn table(folders: &[PathBuf], format: Format, note: Option<&str>) -> Result<()> {
    let (runs, unfinished) = results::gather(folders)?;
    print!("{}", results::table(&results::rows(&runs)?, format, note)?);
    if unfinished > 0 {
        eprintln!("{unfinished} unfinished runs are left out");
    }
    Ok(())
}
