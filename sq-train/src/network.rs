//! A trained network as plain numbers: what export needs and nothing of the framework.

use crate::arch::Window;
use crate::quant::Plain;

/// A network: its steps in order, from the normalised image to the scores.
#[derive(Clone, Debug)]
pub struct Network {
    /// Channels, rows and columns of the image.
    pub input: [usize; 3],
    /// Scores.
    pub classes: usize,
    /// Steps, each after those it reads; the first is the image, the last gives the scores.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Unique name.
    pub name: String,
    /// Steps that it reads.
    pub inputs: Vec<usize>,
    /// What it does.
    pub stage: Stage,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Stage {
    /// The image.
    Input,
    /// Convolution, weights `[outputs, inputs / groups, kernel, kernel]`.
    Conv {
        /// Weights.
        weights: Plain,
        /// One value per output channel, where the layer has a bias.
        bias: Option<Vec<f32>>,
        /// Window and its movement.
        window: Window,
        /// Groups of channels that do not see each other.
        groups: usize,
    },
    /// Dense layer, weights `[outputs, inputs]`.
    Dense {
        /// Weights.
        weights: Plain,
        /// One value per output, where the layer has a bias.
        bias: Option<Vec<f32>>,
    },
    /// Normalisation by running statistics, one value per channel.
    BatchNorm {
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
    /// Nonlinearity.
    Activation(Function),
    /// Greatest value of each window.
    MaxPool {
        /// Rows and columns of a window.
        size: usize,
        /// Distance between windows.
        stride: usize,
    },
    /// Mean of each window.
    AveragePool {
        /// Rows and columns of a window.
        size: usize,
        /// Distance between windows.
        stride: usize,
    },
    /// A map becomes a vector.
    Flatten,
    /// Sum of two values.
    Add,
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
    /// `x` clipped to [-1, 1] and rounded, halves to even.
    Ternary,
    /// +1 where `x >= 0`, else -1.
    Sign,
}
