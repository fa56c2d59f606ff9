//! The pictures of finished runs.

use anyhow::{Context, Result, bail};
use sq_train::checkpoint::Checkpoint;
use sq_train::plot::{self, Betas, Course, Memory, Weights};
use sq_train::results::{self, Finished};
use std::path::{Path, PathBuf};

/// Draws the pictures of the finished runs in `folders` into `output`.
pub fn plot(folders: &[PathBuf], output: &Path, each: bool) -> Result<()> {
    let (runs, _) = results::gather(folders)?;
    match &runs[..] {
        [] => bail!("no finished runs to draw"),
        [run] => of_one(run, output),
        _ => {
            create(output)?;
            let rows = results::rows(&runs)?;
            let title = format!("{} on {}: accuracy against memory", rows[0].network, rows[0].data);
            plot::save(&Memory { title, rows: &rows }, output, "memory")?;
            let folder = |run: &Finished| output.join(run.path.file_name().unwrap_or_default());
            runs.iter()
                .filter(|_| each)
                .try_for_each(|run| of_one(run, &folder(run)))
        }
    }
}

fn of_one(run: &Finished, output: &Path) -> Result<()> {
    create(output)?;
    let config = &run.run.config;
    let what = format!(
        "{} on {}, {}, {} activations",
        config.arch.name, config.source.data, config.quant.method, config.activations.kind
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
    let latent = net.latent().into_iter().map(|(_, values)| values);
    let weights = Weights {
        title: format!("{what}: latent weights"),
        layers: run.last().layers.iter().zip(latent).collect(),
    };
    plot::save(&weights, output, "weights")
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
