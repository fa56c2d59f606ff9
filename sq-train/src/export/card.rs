//! The model card: what the exported file says about itself, in `metadata_props`.

use crate::checkpoint::Checkpoint;
use anyhow::{Context, Result};
use sq_runtime::metadata;

/// Keys with their values.
pub type Card = Vec<(&'static str, String)>;

/// Training method: `float`, `bwn`, `twn` or `sq`.
const METHOD: &str = "sq.method";
/// Price of a third value.
const GAMMA: &str = "sq.gamma";
/// Weight of the regulariser.
const LAMBDA: &str = "sq.lambda";
/// Learned shapes: `conv1=1.2031,...`.
const BETAS: &str = "sq.betas";
/// Shares of weights that are 0: `conv1=0.4012,...`.
const ZEROS: &str = "sq.zeros";
/// Accuracy on the training set in the last epoch, as a fraction, decimal.
const TRAIN_ACCURACY: &str = "sq.train_accuracy";
/// Names of the classes in the order of the scores, where the data set gives them, separated by commas.
const CLASSES: &str = "sq.classes";

/// The card of a run.
pub fn card(checkpoint: &Checkpoint) -> Result<Card> {
    let config = &checkpoint.run.config;
    let last = checkpoint
        .position
        .history
        .last()
        .context("the run has not finished an epoch yet")?;
    let list = |value: &dyn Fn(&crate::quant::LayerReport) -> Option<String>| -> String {
        let items = last
            .layers
            .iter()
            .filter_map(|l| value(l).map(|v| format!("{}={v}", l.name)));
        items.collect::<Vec<_>>().join(",")
    };
    Ok(vec![
        (metadata::ARCH, config.arch.name.clone()),
        (metadata::DATA, config.source.data.clone()),
        (METHOD, config.quant.method.to_string()),
        (metadata::ACTIVATIONS, config.activations.kind.to_string()),
        (metadata::DEPTHS, list(&|l| Some(l.depth.to_string()))),
        (BETAS, list(&|l| l.beta.map(|beta| format!("{beta:.4}")))),
        (ZEROS, list(&|l| Some(format!("{:.4}", l.zeros)))),
        (GAMMA, config.quant.gamma.to_string()),
        (LAMBDA, config.quant.lambda.to_string()),
        (metadata::TEST_ACCURACY, last.test_accuracy.to_string()),
        (TRAIN_ACCURACY, last.train_accuracy.to_string()),
        (metadata::EPOCHS, last.epoch.to_string()),
        (metadata::SEED, config.seed.to_string()),
        (CLASSES, checkpoint.run.classes.join(",")),
        (metadata::COMMAND, checkpoint.run.command.clone()),
    ])
}
