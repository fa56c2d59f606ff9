//! A trained network as plain numbers: what export needs and nothing of the framework.

use crate::quant::Depth;

/// A network: its stages in order, from pixels to scores.
#[derive(Clone, Debug)]
pub struct Network {
    /// Channels, rows and columns of the image.
    pub input: [usize; 3],
    /// Scores.
    pub classes: usize,
    /// Stages in order.
    pub stages: Vec<Stage>,
}

/// Quantised weights: every value is `scale` times its level.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Dimensions, output channels first.
    pub dims: Vec<usize>,
    /// -1, 0 or 1 each; never 0 in a binary layer.
    pub levels: Vec<i8>,
    /// Magnitude of the weights that are not 0.
    pub scale: f32,
    /// Depth that the layer chose.
    pub depth: Depth,
}

/// One stage.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Convolution of stride 1, weights `[outputs, inputs, kernel, kernel]`.
    Conv {
        /// Layer name.
        name: String,
        /// Weights.
        weights: Weights,
        /// Zeros added on each side.
        pad: usize,
    },
    /// Normalisation by running statistics, one value per channel.
    BatchNorm {
        /// Layer name.
        name: String,
        /// Factor.
        gamma: Vec<f32>,
        /// Summand.
        beta: Vec<f32>,
        /// Mean.
        mean: Vec<f32>,
        /// Biased variance.
        variance: Vec<f32>,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Nonlinearity, with the max-pool of 2x2 that goes with it.
    Activation {
        /// Layer name.
        name: String,
        /// Name of the max-pool, where there is one.
        pool: Option<String>,
        /// Which function.
        function: Function,
    },
    /// Rows of a map become one vector.
    Flatten,
    /// Dense layer, weights `[outputs, inputs]`.
    Dense {
        /// Layer name.
        name: String,
        /// Weights.
        weights: Weights,
        /// One value per output, where the layer has a bias.
        bias: Option<Vec<f32>>,
    },
}

/// A nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)` in 128 steps of this size.
    Int8 {
        /// Step between levels.
        scale: f32,
    },
    /// +1 where `x >= 0`, else -1.
    Sign,
}

impl Network {
    /// Depth of every quantised layer, by name, in order.
    pub fn depths(&self) -> Vec<(&str, Depth)> {
        let depth = |stage| match stage {
            &Stage::Conv {
                ref name, ref weights, ..
            }
            | &Stage::Dense {
                ref name, ref weights, ..
            } => Some((name.as_str(), weights.depth)),
            _ => None,
        };
        self.stages.iter().filter_map(depth).collect()
    }
}
