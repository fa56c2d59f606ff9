//! Architectures as data: what to build, what to export.

use serde::{Deserialize, Serialize};

/// A convolution with batch norm and an activation, max-pooled by 2 where `pool`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvSpec {
    /// Output channels.
    pub outputs: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Zeros added on each side.
    pub pad: usize,
    /// Whether a 2x2 max-pool of stride 2 follows the batch norm.
    pub pool: bool,
}

/// A chain of convolutions, then of dense layers with batch norm, then a dense layer of scores with a bias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arch {
    /// Name as on the command line.
    pub name: String,
    /// Channels, rows and columns of the image.
    pub input: [usize; 3],
    /// Convolutions in order.
    pub convs: Vec<ConvSpec>,
    /// Widths of the hidden dense layers in order.
    pub dense: Vec<usize>,
    /// Scores.
    pub classes: usize,
}

/// Names that [`Arch::named`] knows.
pub const NAMES: [&str; 1] = ["lenet5"];

impl Arch {
    /// The architecture of this name: `lenet5` is 32C5-MP2-64C5-MP2-512FC-10 of Ternary Weight Networks
    /// (arXiv 1605.04711).
    pub fn named(name: &str) -> Option<Arch> {
        let arch = match name {
            "lenet5" => Arch {
                name: name.to_string(),
                input: [1, 28, 28],
                convs: [32, 64]
                    .map(|outputs| ConvSpec {
                        outputs,
                        kernel: 5,
                        pad: 0,
                        pool: true,
                    })
                    .to_vec(),
                dense: vec![512],
                classes: 10,
            },
            _ => return None,
        };
        Some(arch)
    }

    /// Channels, rows and columns after all convolutions.
    pub fn features(&self) -> [usize; 3] {
        self.convs.iter().fold(self.input, |[_, h, w], c| {
            let side = |n: usize| (n + 2 * c.pad + 1 - c.kernel) / if c.pool { 2 } else { 1 };
            [c.outputs, side(h), side(w)]
        })
    }

    /// `(inputs, width)` of every dense layer, the scores last.
    pub fn dense_shapes(&self) -> Vec<(usize, usize)> {
        let first: usize = self.features().iter().product();
        let widths = self.dense.iter().copied().chain([self.classes]);
        let inputs = [first].into_iter().chain(self.dense.iter().copied());
        inputs.zip(widths).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenet5_shapes() {
        let arch = Arch::named("lenet5").unwrap();
        assert_eq!(arch.features(), [64, 4, 4]);
        assert_eq!(arch.dense_shapes(), [(1024, 512), (512, 10)]);
        assert!(NAMES.iter().all(|n| Arch::named(n).is_some()) && Arch::named("lenet").is_none());
    }
}
