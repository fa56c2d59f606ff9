//! Architectures as data: a list of layers, from a TOML file or built in, and the graph of shapes that it makes of an image.
//!
//! There is one path: the built-in networks are such files too (`architectures/*.toml`). A network is built from the
//! [`Graph`], and so is the exported file.

mod file;
mod graph;

pub use file::parse;
pub use graph::{Graph, Node, Op};

use crate::quant::WeightKind;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Names and files of the built-in architectures.
const BUILT_IN: [(&str, &str); 6] = [
    ("lenet5", include_str!("../../architectures/lenet5.toml")),
    ("vgg7", include_str!("../../architectures/vgg7.toml")),
    ("resnet8", include_str!("../../architectures/resnet8.toml")),
    ("resnet20", include_str!("../../architectures/resnet20.toml")),
    ("dscnn", include_str!("../../architectures/dscnn.toml")),
    ("mlp", include_str!("../../architectures/mlp.toml")),
];

/// A list of layers. Shapes follow from the image it is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arch {
    /// Name for people: the built-in's, or the file's stem.
    pub name: String,
    /// Layers in order.
    pub layers: Vec<Layer>,
}

/// A layer and the place it was written at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// What it does.
    pub kind: Kind,
    /// Line in the architecture's file, from 1.
    pub line: usize,
}

/// What a layer does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Convolution with a square kernel.
    Conv {
        /// Output channels.
        outputs: usize,
        /// Window and its movement.
        window: Window,
        /// Options of the weights.
        options: Options,
    },
    /// Convolution of every channel by itself.
    Depthwise {
        /// Window and its movement.
        window: Window,
        /// Options of the weights.
        options: Options,
    },
    /// Dense layer.
    Dense {
        /// Outputs.
        outputs: usize,
        /// Options of the weights.
        options: Options,
    },
    /// Dense layer with one output per class of the data set.
    Classifier {
        /// Options of the weights.
        options: Options,
    },
    /// Batch normalisation.
    Norm,
    /// The run's activation function.
    Activation,
    /// Greatest value of each window.
    MaxPool {
        /// Rows and columns of a window.
        size: usize,
        /// Distance between windows.
        stride: usize,
    },
    /// Mean of each window.
    AveragePool {
        /// Rows and columns of a window and the distance between windows; the whole map where `None`.
        size: Option<(usize, usize)>,
    },
    /// A map becomes a vector.
    Flatten,
    /// The sum of a body and a shortcut, both fed with the same value.
    Residual {
        /// Layers of the body.
        body: Vec<Layer>,
        /// Layers of the shortcut; none pass the value on.
        shortcut: Vec<Layer>,
    },
}

/// A square window that moves over a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Rows and columns.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Zeros added on each side of the map.
    pub pad: usize,
}

/// Options of a layer with weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Name in reports and in the exported file; numbered by kind where `None`.
    pub name: Option<String>,
    /// Whether a learned value is added to every output; where `None` a classifier has one and no other layer.
    pub bias: Option<bool>,
    /// How the weights are quantised, whatever the run's method says.
    pub weights: Option<WeightKind>,
    /// Price of a third value, instead of the run's.
    pub gamma: Option<f32>,
    /// Weight of the regulariser, instead of the run's.
    pub lambda: Option<f32>,
}

/// Names that [`Arch::find`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

impl Arch {
    /// The built-in architecture of this name, or the one in the file of this name where it ends in `.toml`.
    ///
    /// # Errors
    /// An unknown name; a file that cannot be read; a layer that is not understood, with its line.
    pub fn find(name: &str) -> Result<Arch> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return parse(name, text).with_context(|| format!("built-in architecture {name}"));
        }
        ensure!(
            name.ends_with(".toml"),
            "unknown architecture `{name}`; known are {}, and files that end in .toml",
            names().collect::<Vec<_>>().join(", ")
        );
        let text = std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
        let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy();
        parse(&stem, &text).with_context(|| format!("architecture file {name}"))
    }

    /// The options of all layers with weights, in the order of the file.
    pub fn options(&self) -> Vec<&Options> {
        fn collect<'a>(layers: &'a [Layer], found: &mut Vec<&'a Options>) {
            for layer in layers {
                match &layer.kind {
                    Kind::Conv { options, .. }
                    | Kind::Depthwise { options, .. }
                    | Kind::Dense { options, .. }
                    | Kind::Classifier { options } => found.push(options),
                    Kind::Residual { body, shortcut } => {
                        collect(body, found);
                        collect(shortcut, found);
                    }
                    Kind::Norm | Kind::Activation | Kind::MaxPool { .. } | Kind::AveragePool { .. } | Kind::Flatten => {
                    }
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.layers, &mut found);
        found
    }

    /// The same layers with every number of channels and hidden outputs times `factor`, and at least 1. The name tells:
    /// `vgg7-x0.25`.
    pub fn scaled(mut self, factor: f64) -> Arch {
        fn scale(layers: &mut [Layer], factor: f64) {
            for layer in layers {
                match &mut layer.kind {
                    Kind::Conv { outputs, .. } | Kind::Dense { outputs, .. } => {
                        *outputs = ((*outputs as f64 * factor).round() as usize).max(1);
                    }
                    Kind::Residual { body, shortcut } => {
                        scale(body, factor);
                        scale(shortcut, factor);
                    }
                    _ => {}
                }
            }
        }
        scale(&mut self.layers, factor);
        self.name = format!("{}-x{factor}", self.name);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(name: &str, input: [usize; 3]) -> (usize, Vec<usize>) {
        let graph = Graph::new(&Arch::find(name).unwrap(), input, 10).unwrap();
        let weights: usize = graph.nodes.iter().map(|node| graph.weights(node)).sum();
        (weights, graph.nodes.last().unwrap().shape.clone())
    }

    #[test]
    fn built_in_networks_have_their_published_sizes() {
        // 25*32 + 25*32*64 + 1024*512 + 512*10
        assert_eq!(shape_of("lenet5", [1, 28, 28]), (581_408, vec![10]));
        let vgg = 9 * (3 * 128 + 128 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512) + 8192 * 1024 + 1024 * 10;
        assert_eq!(shape_of("vgg7", [3, 32, 32]), (vgg, vec![10]));
        // 0.27 M parameters as published; the projections add 2,560.
        assert_eq!(shape_of("resnet20", [3, 32, 32]), (270_896, vec![10]));
        for name in names() {
            assert_eq!(shape_of(name, [3, 32, 32]).1, [10]);
            assert_eq!(shape_of(name, [1, 28, 28]).1, [10]);
        }
    }

    #[test]
    fn width_scales_all_but_the_scores() {
        let arch = Arch::find("vgg7").unwrap().scaled(0.25);
        let graph = Graph::new(&arch, [3, 32, 32], 10).unwrap();
        let shapes: Vec<usize> = graph.weighted().map(|node| node.shape[0]).collect();
        assert_eq!(shapes, [32, 32, 64, 64, 128, 128, 256, 10]);
        assert_eq!(arch.name, "vgg7-x0.25");
    }

    #[test]
    fn unknown_names_and_files() {
        let message = Arch::find("lenet").unwrap_err().to_string();
        assert!(
            message.starts_with("unknown architecture `lenet`; known are lenet5, vgg7"),
            "{message}"
        );
        let message = Arch::find("absent.toml").unwrap_err().to_string();
        assert_eq!(message, "cannot read absent.toml");
    }
}
