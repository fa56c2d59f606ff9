//! The pictures of runs.

use super::commands;
use anyhow::{Context, Result, bail, ensure};
use sq_train::checkpoint::Checkpoint;
use sq_train::plot::{self, Betas, Course, Memory, Weights};
use sq_train::results::{self, Gathered};
use std::path::{Path, PathBuf};

/// Draws the pictures of the runs in `folders` into `output`: those of one run; of several accuracy against memory, as far as they
/// are finished, and with `each` also those of every run in a folder of its own.
pub fn plot(folders: &[PathBuf], output: &Path, each: bool) -> Result<()> {
    let runs: Vec<Gathered> = results::gather_all(folders)?
        .into_iter()
        .filter(|run| !run.history.is_empty())
        .collect();
    match &runs[..] {
        [] => bail!("no run there has finished an epoch, so there is nothing to draw"),
        [run] => return of_one(run, output),
        _ => {}
    }
    if each {
        let paths: Vec<&Path> = runs.iter().map(|run| &*run.path).collect();
        for (run, name) in runs.iter().zip(apart(&paths)?) {
            of_one(run, &output.join(name))?;
        }
    }
    let count = runs.len();
    let finished: Vec<Gathered> = runs.into_iter().filter(Gathered::is_finished).collect();
    if finished.len() < count {
        eprintln!(
            "{} unfinished runs are left out of accuracy against memory",
            count - finished.len()
        );
    }
    let rows = results::rows(&finished)?;
    let picture = Memory { rows: &rows };
    ensure!(
        each || picture.has_points(),
        "there are only floats, whose memory is all the same: --each draws every run's own pictures"
    );
    if picture.has_points() {
        create(output)?;
        plot::save(&picture, output, "memory")?;
    }
    Ok(())
}

/// What is left of each path without the folders that all of them lie in: no two runs have the same.
fn apart(paths: &[&Path]) -> Result<Vec<PathBuf>> {
    let whole: Vec<PathBuf> = paths
        .iter()
        .map(|path| {
            path.canonicalize()
                .with_context(|| format!("cannot find {}", path.display()))
        })
        .collect::<Result<_>>()?;
    let first: Vec<_> = whole[0].components().collect();
    let shared = |length: usize| {
        whole
            .iter()
            .all(|path| path.components().take(length).eq(first[..length].iter().copied()))
    };
    let length = (0..first.len()).rev().find(|&length| shared(length)).unwrap_or(0);
    Ok(whole
        .iter()
        .map(|path| path.components().skip(length).collect())
        .collect())
}

fn of_one(run: &Gathered, output: &Path) -> Result<()> {
    create(output)?;
    let config = &run.run.config;
    let so_far = match run.is_finished() {
        true => String::new(),
        false => format!(", after {} of {} epochs", run.history.len(), config.epochs),
    };
    let what = format!(
        "{} on {}, {}, {} activations{so_far}",
        config.arch.name,
        config.source.name(),
        config.quant.method,
        config.activations.kind
    );
    let title = format!("{what}: loss and accuracy");
    plot::save(
        &Course {
            title,
            history: &run.history,
        },
        output,
        "course",
    )?;
    let net = Checkpoint::load(&run.path)?.net()?;
    if run.last().layers.iter().any(|layer| layer.beta.is_some()) {
        let betas = Betas {
            title: format!("{what}: shape of every layer"),
            history: &run.history,
            power: config.quant.power,
            epsilon: config.quant.epsilon,
        };
        plot::save(&betas, output, "beta")?;
    }
    let reports = net.reports();
    let latent = net.latent().into_iter().map(|(_, values)| values);
    let weights = Weights {
        title: format!("{what}: latent weights"),
        layers: reports.iter().zip(latent).collect(),
    };
    plot::save(&weights, output, "weights")?;
    commands::print(&format!("drawn into {}", output.display()))
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_name_are_kept_apart_by_their_folders() {
        let temp = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["a/x", "a/y", "b/x"].map(|path| temp.path().join(path)).into();
        paths.iter().for_each(|path| std::fs::create_dir_all(path).unwrap());
        let paths: Vec<&Path> = paths.iter().map(|path| &**path).collect();
        assert_eq!(apart(&paths).unwrap(), ["a/x", "a/y", "b/x"].map(PathBuf::from));
        assert_eq!(apart(&paths[..2]).unwrap(), ["x", "y"].map(PathBuf::from));
    }
}
