//! Reports: a bar on a terminal, plain lines in a pipe.

use crate::quant::Depth;
use crate::train::EpochReport;
use indicatif::{ProgressBar, ProgressStyle};

/// Progress of one epoch. The bar goes to stderr and only to a terminal.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins the report on an epoch of `steps` steps, `done` of which are done.
    pub fn epoch(epoch: usize, epochs: usize, steps: usize, done: usize) -> Progress {
        let style =
            ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg} {eta}").expect("a valid template");
        let bar = ProgressBar::new(steps as u64)
            .with_style(style)
            .with_position(done as u64);
        bar.set_prefix(format!("epoch {epoch}/{epochs}"));
        Progress { bar }
    }

    /// One step is done; `loss` is the mean so far.
    pub fn step(&self, loss: f64) {
        self.bar.set_message(format!("loss {loss:.4}"));
        self.bar.inc(1);
    }

    /// The epoch is done.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// The report on an epoch, a line and one more per layer.
pub fn describe(report: &EpochReport) -> String {
    let mut text = format!(
        "epoch {:3}  loss {:.4}  penalty {:.5}  train {:.2} %  test {:.2} %  lr {:.1e}  {:.1} s",
        report.epoch,
        report.loss,
        report.penalty,
        100.0 * report.train_accuracy,
        100.0 * report.test_accuracy,
        report.learning_rate,
        report.seconds,
    );
    for layer in &report.layers {
        text += &format!("\n           {:6}", layer.name);
        if let Some(beta) = layer.beta {
            text += &format!("  beta {beta:.4}");
        }
        text += &format!("  mu {:.4}  {}", layer.mu, layer.depth);
        if layer.depth == Depth::Ternary {
            text += &format!(", zeros {:.1} %", 100.0 * layer.zeros);
        }
    }
    text
}
