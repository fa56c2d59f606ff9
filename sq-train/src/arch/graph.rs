//! From a list of layers to a graph with shapes: what is built, trained and exported.

use super::{Arch, Kind, Layer, Options, Window};
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;

/// Most weights of a layer, and most values of a layer for one image: 4 GiB in f32.
const CEILING: usize = 1 << 30;

/// Nodes in an order in which every node follows its inputs; the first is the image, the last the scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Nodes.
    pub nodes: Vec<Node>,
}

/// One value and how it comes about.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name.
    pub name: String,
    /// Operation.
    pub op: Op,
    /// Nodes that it reads.
    pub inputs: Vec<usize>,
    /// Shape of one sample: `[channels, rows, columns]` or `[length]`.
    pub shape: Vec<usize>,
}

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The image.
    Input,
    /// Convolution; `groups` is 1, or the number of channels of a depthwise one.
    Conv {
        /// Window and its movement.
        window: Window,
        /// Groups of channels that do not see each other.
        groups: usize,
        /// Options of the weights.
        options: Options,
    },
    /// Dense layer.
    Dense {
        /// Options of the weights.
        options: Options,
    },
    /// Batch normalisation.
    Norm,
    /// Activation function.
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

impl Op {
    /// Options of the weights, where the operation has any.
    pub fn options(&self) -> Option<&Options> {
        match self {
            Op::Conv { options, .. } | Op::Dense { options } => Some(options),
            _ => None,
        }
    }
}

impl Graph {
    /// The graph of `arch` on images of shape `input`, with `classes` scores.
    ///
    /// # Errors
    /// A layer that does not fit the shape it is given, with its line.
    pub fn new(arch: &Arch, input: [usize; 3], classes: usize) -> Result<Graph> {
        let mut builder = Builder {
            graph: Graph {
                nodes: vec![Node {
                    name: "image".into(),
                    op: Op::Input,
                    inputs: vec![],
                    shape: input.to_vec(),
                }],
            },
            classes,
            counts: [0; 7],
            names: HashSet::from(["image".to_string()]),
            given: given(arch),
            last_weighted: "image".into(),
        };
        let last = builder
            .layers(&arch.layers, 0)
            .with_context(|| format!("architecture {}", arch.name))?;
        let shape = &builder.graph.nodes[last].shape;
        ensure!(
            shape[..] == [classes],
            "architecture {}: the last layer gives {shape:?}, not one score for each of {classes} classes; end with a \
             `classifier`",
            arch.name
        );
        ensure!(
            builder.graph.weighted().next().is_some(),
            "architecture {}: no layer has weights to train; add a `classifier`",
            arch.name
        );
        Ok(builder.graph)
    }

    /// Nodes with weights, in order.
    pub fn weighted(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.op.options().is_some())
    }

    /// Dimensions of a node's weights, output channels first; empty where it has none.
    pub fn weight_dims(&self, node: &Node) -> Vec<usize> {
        let inputs = || self.nodes[node.inputs[0]].shape[0];
        match &node.op {
            Op::Conv { window, groups, .. } => {
                vec![node.shape[0], inputs() / groups, window.kernel, window.kernel]
            }
            Op::Dense { .. } => vec![node.shape[0], inputs()],
            _ => vec![],
        }
    }

    /// Number of a node's weights, without its bias.
    pub fn weights(&self, node: &Node) -> usize {
        match self.weight_dims(node)[..] {
            [] => 0,
            ref dims => dims.iter().product(),
        }
    }
}

/// Kinds that are numbered separately.
#[derive(Clone, Copy)]
enum Count {
    Conv,
    Depthwise,
    Dense,
    MaxPool,
    AveragePool,
    Add,
    Flatten,
}

struct Builder {
    graph: Graph,
    classes: usize,
    counts: [usize; 7],
    /// Names of the nodes so far.
    names: HashSet<String>,
    /// Names that the architecture gives, which numbered nodes leave alone.
    given: HashSet<String>,
    /// Norms and activations are named after what they follow.
    last_weighted: String,
}

impl Builder {
    fn layers(&mut self, layers: &[Layer], mut at: usize) -> Result<usize> {
        for layer in layers {
            at = self.layer(layer, at).with_context(|| format!("line {}", layer.line))?;
        }
        Ok(at)
    }

    fn layer(&mut self, layer: &Layer, at: usize) -> Result<usize> {
        let shape = self.graph.nodes[at].shape.clone();
        match &layer.kind {
            Kind::Conv {
                outputs,
                window,
                options,
            } => {
                let [_, h, w] = map(&shape, "conv")?;
                let out = vec![*outputs, moved(h, *window)?, moved(w, *window)?];
                self.weighted(Count::Conv, "conv", options, at, out, |options| Op::Conv {
                    window: *window,
                    groups: 1,
                    options,
                })
            }
            Kind::Depthwise { window, options } => {
                let [c, h, w] = map(&shape, "depthwise")?;
                let out = vec![c, moved(h, *window)?, moved(w, *window)?];
                self.weighted(Count::Depthwise, "dw", options, at, out, |options| Op::Conv {
                    window: *window,
                    groups: c,
                    options,
                })
            }
            Kind::Dense { outputs, options } => {
                vector(&shape, "dense")?;
                self.weighted(Count::Dense, "fc", options, at, vec![*outputs], |options| Op::Dense {
                    options,
                })
            }
            Kind::Classifier { options } => {
                vector(&shape, "classifier")?;
                let options = Options {
                    bias: Some(options.bias.unwrap_or(true)),
                    ..options.clone()
                };
                let out = vec![self.classes];
                self.weighted(Count::Dense, "fc", &options, at, out, |options| Op::Dense { options })
            }
            Kind::Norm => {
                let name = self.suffixed("bn");
                self.push(name, Op::Norm, vec![at], shape)
            }
            Kind::Activation => {
                let name = self.suffixed("act");
                self.push(name, Op::Activation, vec![at], shape)
            }
            Kind::MaxPool { size, stride } => {
                let out = pooled(&shape, "max_pool", *size, *stride)?;
                let (size, stride) = (*size, *stride);
                let name = self.numbered(Count::MaxPool, "pool");
                self.push(name, Op::MaxPool { size, stride }, vec![at], out)
            }
            Kind::AveragePool { size } => {
                let [c, h, w] = map(&shape, "average_pool")?;
                let (size, stride) = match size {
                    Some(pair) => *pair,
                    None => {
                        ensure!(
                            h == w,
                            "average_pool: the map is {h}x{w}; give a size, or make it square"
                        );
                        (h, h)
                    }
                };
                let out = pooled(&[c, h, w], "average_pool", size, stride)?;
                let name = self.numbered(Count::AveragePool, "average");
                self.push(name, Op::AveragePool { size, stride }, vec![at], out)
            }
            Kind::Flatten => {
                let name = self.numbered(Count::Flatten, "flatten");
                self.push(name, Op::Flatten, vec![at], vec![shape.iter().product()])
            }
            Kind::Residual { body, shortcut } => {
                let left = self.layers(body, at)?;
                let right = self.layers(shortcut, at)?;
                let (a, b) = (&self.graph.nodes[left].shape, &self.graph.nodes[right].shape);
                ensure!(
                    a == b,
                    "residual: the body gives {a:?} and the shortcut {b:?}; give the shortcut a conv of the body's outputs \
                     and stride"
                );
                let out = a.clone();
                let name = self.numbered(Count::Add, "add");
                self.last_weighted = name.clone();
                self.push(name, Op::Add, vec![left, right], out)
            }
        }
    }

    fn weighted(
        &mut self,
        count: Count,
        prefix: &str,
        options: &Options,
        at: usize,
        shape: Vec<usize>,
        op: impl FnOnce(Options) -> Op,
    ) -> Result<usize> {
        let name = match &options.name {
            Some(name) => {
                self.counts[count as usize] += 1; // `conv2` is the second conv, whatever the first is called
                ensure!(self.names.insert(name.clone()), "two layers are named `{name}`");
                name.clone()
            }
            None => self.numbered(count, prefix),
        };
        self.last_weighted = name.clone();
        let node = self.push(name, op(options.clone()), vec![at], shape)?;
        let weights = self.graph.weight_dims(&self.graph.nodes[node]);
        ensure_below_ceiling("weights", &weights)?;
        Ok(node)
    }

    /// A free name for the next node of a kind: `pool1`, `pool2`; the only `flatten` of most networks has no number.
    fn numbered(&mut self, count: Count, prefix: &str) -> String {
        loop {
            self.counts[count as usize] += 1;
            let name = match (count, self.counts[count as usize]) {
                (Count::Flatten, 1) => prefix.to_string(),
                (_, number) => format!("{prefix}{number}"),
            };
            if self.reserve(&name) {
                return name;
            }
        }
    }

    /// A free name for a node that belongs to the last layer with weights: `conv1.bn`, `conv1.bn2`.
    fn suffixed(&mut self, suffix: &str) -> String {
        let first = format!("{}.{suffix}", self.last_weighted);
        let mut name = first.clone();
        let mut number = 1;
        while !self.reserve(&name) {
            number += 1;
            name = format!("{first}{number}");
        }
        name
    }

    /// Takes a name that the architecture does not give, unless it is taken.
    fn reserve(&mut self, name: &str) -> bool {
        !self.given.contains(name) && self.names.insert(name.to_string())
    }

    fn push(&mut self, name: String, op: Op, inputs: Vec<usize>, shape: Vec<usize>) -> Result<usize> {
        ensure_below_ceiling("values", &shape)?;
        self.graph.nodes.push(Node {
            name,
            op,
            inputs,
            shape,
        });
        Ok(self.graph.nodes.len() - 1)
    }
}

/// Names that the architecture gives its layers.
fn given(arch: &Arch) -> HashSet<String> {
    arch.options()
        .into_iter()
        .filter_map(|options| options.name.clone())
        .collect()
}

/// Refuses a layer whose weights, or whose values for one image, no machine would hold: an error here, where memory would run out.
fn ensure_below_ceiling(what: &str, dims: &[usize]) -> Result<()> {
    let count = dims.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim));
    ensure!(
        count.is_some_and(|count| count <= CEILING),
        "{dims:?} are more than {CEILING} {what}; give fewer outputs, a smaller kernel, less padding or a smaller --width"
    );
    Ok(())
}

fn map(shape: &[usize], kind: &str) -> Result<[usize; 3]> {
    match shape {
        &[c, h, w] => Ok([c, h, w]),
        _ => bail!("{kind}: takes a map, not the {shape:?} it is given; put it before `flatten`"),
    }
}

fn vector(shape: &[usize], kind: &str) -> Result<()> {
    ensure!(
        shape.len() == 1,
        "{kind}: takes a vector, not the map {shape:?} it is given; put `flatten` before it"
    );
    Ok(())
}

/// Positions of a window along a side.
fn moved(side: usize, w: Window) -> Result<usize> {
    let padded = w.pad.checked_mul(2).and_then(|pads| side.checked_add(pads));
    match padded
        .with_context(|| format!("pad {} is too large", w.pad))?
        .checked_sub(w.kernel)
    {
        Some(room) => Ok(room / w.stride + 1),
        None => bail!(
            "a kernel of {} does not fit a side of {side} with {} zeros on each end",
            w.kernel,
            w.pad
        ),
    }
}

fn pooled(shape: &[usize], kind: &str, size: usize, stride: usize) -> Result<Vec<usize>> {
    let [c, h, w] = map(shape, kind)?;
    let window = Window {
        kernel: size,
        stride,
        pad: 0,
    };
    Ok(vec![c, moved(h, window)?, moved(w, window)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::parse;

    fn graph(layers: &str) -> Result<Graph> {
        Graph::new(&parse("net", &format!("layers = [\n{layers}\n]"))?, [1, 8, 8], 3)
    }

    fn message(layers: &str) -> String {
        format!("{:#}", graph(layers).unwrap_err())
    }

    #[test]
    fn names_shapes_and_edges() {
        let text = r#"{ type = "conv", outputs = 4, kernel = 3, pad = 1 },
            { type = "norm" },
            { type = "residual", body = [{ type = "depthwise", kernel = 3, stride = 2, pad = 1 }],
              shortcut = [{ type = "max_pool", size = 2 }] },
            { type = "activation" },
            { type = "flatten" },
            { type = "classifier", name = "scores" }"#;
        let graph = graph(text).unwrap();
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "image", "conv1", "conv1.bn", "dw1", "pool1", "add1", "add1.act", "flatten", "scores"
            ]
        );
        assert_eq!(graph.nodes[5].inputs, [3, 4]);
        assert_eq!(graph.nodes[5].shape, [4, 4, 4]);
        let dims: Vec<Vec<usize>> = graph.weighted().map(|node| graph.weight_dims(node)).collect();
        assert_eq!(dims, [vec![4, 1, 3, 3], vec![4, 1, 3, 3], vec![3, 64]]);
        assert_eq!(graph.nodes[8].op.options().unwrap().bias, Some(true));
    }

    #[test]
    fn a_name_that_is_given_is_nobody_elses() {
        let text = r#"{ type = "conv", outputs = 4, kernel = 3, pad = 1, name = "pool1" },
            { type = "norm" },
            { type = "max_pool", size = 2 },
            { type = "conv", outputs = 4, kernel = 1, name = "pool1.bn2" },
            { type = "conv", outputs = 4, kernel = 1, name = "pool1.bn2.act" },
            { type = "activation" },
            { type = "conv", outputs = 4, kernel = 1 },
            { type = "flatten" },
            { type = "flatten" },
            { type = "classifier", name = "conv4" }"#;
        let graph = graph(text).unwrap();
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        let expected =
            "image pool1 pool1.bn pool2 pool1.bn2 pool1.bn2.act pool1.bn2.act.act conv5 flatten flatten2 conv4";
        assert_eq!(names, expected.split(' ').collect::<Vec<_>>());
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn layers_that_do_not_fit_are_named() {
        assert_eq!(
            message("{ type = \"conv\", outputs = 1, kernel = 9 }"),
            "architecture net: line 2: a kernel of 9 does not fit a side of 8 with 0 zeros on each end"
        );
        assert!(
            message("{ type = \"classifier\" }").contains("line 2: classifier: takes a vector, not the map [1, 8, 8]")
        );
        assert!(
            message("{ type = \"flatten\" },\n{ type = \"max_pool\", size = 2 }")
                .contains("line 3: max_pool: takes a map")
        );
        assert!(message("{ type = \"flatten\" }").contains("gives [64], not one score for each of 3 classes"));
        let residual = "{ type = \"residual\", body = [{ type = \"conv\", outputs = 2, kernel = 1 }] }";
        assert!(message(residual).contains("the body gives [2, 8, 8] and the shortcut [1, 8, 8]"));
        let huge = |layer: &str| message(layer);
        assert!(
            huge("{ type = \"conv\", outputs = 40000000000000, kernel = 1 }")
                .contains("line 2: [40000000000000, 8, 8]")
        );
        assert!(
            huge("{ type = \"conv\", outputs = 9000000, kernel = 1, pad = 4 }").contains("more than 1073741824 values")
        );
        let wide = "{ type = \"flatten\" },\n{ type = \"dense\", outputs = 40000000 }";
        assert!(huge(wide).contains("line 3: [40000000, 64] are more than 1073741824 weights"));
        let padded = format!("{{ type = \"conv\", outputs = 1, kernel = 1, pad = {} }}", i64::MAX);
        assert!(
            huge(&padded).contains("line 2: pad 9223372036854775807"),
            "{}",
            huge(&padded)
        );
        let bare = Graph::new(
            &parse("net", "layers = [{ type = \"flatten\" }]").unwrap(),
            [1, 1, 3],
            3,
        );
        assert!(bare.unwrap_err().to_string().contains("no layer has weights"));
        let twice = "{ type = \"conv\", outputs = 1, kernel = 1, name = \"a\" },\n{ type = \"conv\", outputs = 1, kernel = 1, name = \"a\" }";
        assert!(message(twice).contains("line 3: two layers are named `a`"));
    }
}
