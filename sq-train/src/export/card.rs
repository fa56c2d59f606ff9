//! The model card: what the exported file says about itself, in `metadata_props`.

use crate::checkpoint::Checkpoint;
use crate::nn::Net;
use crate::quant::LayerReport;
use anyhow::Result;
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
/// Names of the classes in the order of the scores, a JSON list, for names may hold any character.
const CLASSES: &str = "sq.classes";
/// Steps done in the epoch after the trained ones, where the run was stopped in one; there is no accuracy then.
const STEPS: &str = "sq.steps";

/// The card of a run at this checkpoint, whose network is `net`.
///
/// # Errors
/// None but those of writing JSON.
pub fn card(checkpoint: &Checkpoint, net: &Net) -> Result<Card> {
    let (config, position) = (&checkpoint.run.config, &checkpoint.position);
    let layers = net.reports();
    let list = |value: &dyn Fn(&LayerReport) -> Option<String>| -> String {
        let items = layers
            .iter()
            .filter_map(|l| value(l).map(|v| format!("{}={v}", l.name)));
        items.collect::<Vec<_>>().join(",")
    };
    let mut card = vec![
        (metadata::ARCH, config.arch.name.clone()),
        (metadata::DATA, config.source.name()),
        (METHOD, config.quant.method.to_string()),
        (metadata::ACTIVATIONS, config.activations.kind.to_string()),
        (metadata::DEPTHS, list(&|l| Some(l.depth.to_string()))),
        (BETAS, list(&|l| l.beta.map(|beta| format!("{beta:.4}")))),
        (ZEROS, list(&|l| Some(format!("{:.4}", l.zeros)))),
    ];
    if config.is_regularised() {
        card.push((GAMMA, config.quant.gamma.to_string()));
        card.push((LAMBDA, config.quant.lambda.to_string()));
    }
    // An epoch's accuracies are those of its last step's weights, not of these, where the next epoch has begun.
    match (position.totals.steps, position.history.last()) {
        (0, Some(last)) => card.extend([
            (metadata::TEST_ACCURACY, last.test_accuracy.to_string()),
            (TRAIN_ACCURACY, last.train_accuracy.to_string()),
        ]),
        (steps, _) => card.push((STEPS, steps.to_string())),
    }
    card.extend([
        (metadata::EPOCHS, position.history.len().to_string()),
        (metadata::SEED, config.seed.to_string()),
        (CLASSES, serde_json::to_string(&checkpoint.run.classes)?),
        (metadata::COMMAND, checkpoint.run.command.clone()),
    ]);
    Ok(card)
}
