//! Grids of runs in one folder, and the table of it.

use super::args::TrainArgs;
use super::{GridArgs, Shard, commands};
use anyhow::{Result, bail, ensure};
use sq_train::checkpoint::{Checkpoint, Run};
use sq_train::nn::Method;
use sq_train::results::{self, Format};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Trains this machine's share of the grid into `out`, then prints the table of all that is finished there.
pub fn sweep(grid: &GridArgs, shard: Shard, out: &Path) -> Result<()> {
    let runs = points(grid).len();
    if shard.index >= runs {
        let (index, of) = (shard.index + 1, shard.of);
        return commands::print(&format!(
            "nothing to do for machine {index} of {of}: the grid has {runs} runs"
        ));
    }
    let failures = train_all(grid, shard, out)?;
    let printed = table(&[out.to_path_buf()], Format::Text, None);
    refuse(&failures)?;
    printed
}

/// Trains what the grid names and the first of `folders` lacks, then prints the table of all that is finished in them.
pub fn train_and_table(grid: &GridArgs, folders: &[PathBuf], format: Format, note: Option<&str>) -> Result<()> {
    let failures = train_all(grid, Shard { index: 0, of: 1 }, &folders[0])?;
    let printed = table(folders, format, note);
    refuse(&failures)?;
    printed
}

/// An error that lists the runs that failed, where there are any.
fn refuse(failures: &[String]) -> Result<()> {
    ensure!(
        failures.is_empty(),
        "{} of the grid's runs failed:\n  {}",
        failures.len(),
        failures.join("\n  ")
    );
    Ok(())
}

/// Trains this machine's share of the grid into `out`; finished runs are skipped, begun ones go on, and one that fails does not keep
/// the others from their turn. Returns the failures, a line each.
fn train_all(grid: &GridArgs, shard: Shard, out: &Path) -> Result<Vec<String>> {
    let devices = commands::devices(&grid.args)?;
    let split = commands::load(&grid.args)?;
    let stop = commands::stop_on_interrupt()?;
    let runs = points(grid);
    let share: Vec<(usize, &TrainArgs)> = runs.iter().enumerate().skip(shard.index).step_by(shard.of).collect();
    let mut failures = Vec::new();
    for (i, args) in share {
        let config = args.config(&split)?;
        let folder = out.join(name(args, &config.arch.name, &config.activations.kind.to_string()));
        let begun = has_checkpoint(&folder);
        let run = Run {
            config,
            classes: split.classes.clone(),
            command: commands::command_line(),
        };
        commands::print(&format!("run {} of {}: {}", i + 1, runs.len(), folder.display()))?;
        let trained = commands::train_in(&folder, &run, &split, &devices, begun, &stop);
        if stop.load(Ordering::Relaxed) {
            let how = trained
                .err()
                .map_or("finished".to_string(), |error| format!("{error:#}"));
            bail!(
                "interrupted in run {} of {} ({how}); the same command goes on",
                i + 1,
                runs.len()
            );
        }
        if let Err(error) = trained {
            let failure = format!("{}: {error:#}", folder.display());
            eprintln!("error: {failure}");
            failures.push(failure);
        }
    }
    Ok(failures)
}

/// Whether there is a run to go on with; damage is left for the run itself to report.
fn has_checkpoint(folder: &Path) -> bool {
    folder.join("run.json").is_file() && !matches!(Checkpoint::find(folder), Ok(None))
}

/// Every run of the grid, in an order that all machines share.
fn points(grid: &GridArgs) -> Vec<TrainArgs> {
    let args = &grid.args;
    let methods = or_one(&grid.methods, args.method);
    let (gammas, lambdas) = (or_one(&grid.gammas, args.gamma), or_one(&grid.lambdas, args.lambda));
    let seeds = or_one(&grid.seeds, args.seed);
    let mut runs = Vec::new();
    for &method in &methods {
        let (gammas, lambdas) = match method {
            Method::Sq => (gammas.clone(), lambdas.clone()),
            _ => (vec![args.gamma], vec![args.lambda]),
        };
        for &gamma in &gammas {
            for &lambda in &lambdas {
                runs.extend(seeds.iter().map(|&seed| TrainArgs {
                    method,
                    gamma,
                    lambda,
                    seed,
                    ..args.clone()
                }));
            }
        }
    }
    runs
}

/// The list, or the one value where none was given.
fn or_one<T: Clone>(list: &[T], one: T) -> Vec<T> {
    match list {
        [] => vec![one],
        _ => list.to_vec(),
    }
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
    commands::print(results::table(&results::rows(&runs)?, format, note)?.trim_end_matches('\n'))?;
    if unfinished > 0 {
        eprintln!("{unfinished} unfinished runs are left out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn grid(flags: &str) -> Vec<(Method, f32, f32, u64)> {
        let words = "sq-train sweep --out o "
            .split_whitespace()
            .chain(flags.split_whitespace());
        let Command::Sweep { grid, .. } = Cli::try_parse_from(words).unwrap().command else {
            panic!("not a sweep")
        };
        points(&grid)
            .iter()
            .map(|args| (args.method, args.gamma, args.lambda, args.seed))
            .collect()
    }

    #[test]
    fn lists_come_before_single_values() {
        assert_eq!(grid("--method bwn --seed 3"), [(Method::Bwn, 0.01, 1.0, 3)]);
        assert_eq!(
            grid("--methods float,sq --method twn --gammas 0.1,0.2 --lambda 2 --seed 3"),
            [
                (Method::Float, 0.01, 2.0, 3),
                (Method::Sq, 0.1, 2.0, 3),
                (Method::Sq, 0.2, 2.0, 3)
            ]
        );
        assert_eq!(
            grid("--gamma 0.5 --seeds 1,2"),
            [(Method::Sq, 0.5, 1.0, 1), (Method::Sq, 0.5, 1.0, 2)]
        );
    }
}
