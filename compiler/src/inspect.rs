//! What a model is made of: the classification table.

use crate::diag::{Code, Diag, Result};
use crate::import::Model;
use crate::ir::{Depth, Elem, Graph, NodeId, Op, Ty, WeightData, Weights};
use crate::table::{Align, Table, grouped};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// A model as `sqc inspect` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Stem of the file's name.
    pub model: String,
    /// Of the file's bytes.
    pub sha256: String,
    /// Version of ONNX's default domain.
    pub opset: i64,
    /// What the caller hands in.
    pub input: Port,
    /// What the caller gets.
    pub output: Port,
    /// Layers with weights, in order.
    pub layers: Vec<Layer>,
    /// All layers together.
    pub total: Size,
    /// The file's own notes on itself. They decide nothing.
    pub metadata: Vec<(String, String)>,
}

/// Input or output of the model.
#[derive(Clone, Debug, Serialize)]
pub struct Port {
    /// The tensor's name.
    pub name: String,
    /// Type of an element.
    pub dtype: String,
    /// Extents without the batch.
    pub shape: Vec<usize>,
}

/// A convolution or a dense layer.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// The node's name.
    pub name: String,
    /// `conv` or `dense`.
    pub kind: &'static str,
    /// Outputs, inputs per group, kernel rows, kernel columns.
    pub shape: [usize; 4],
    /// What the weights are.
    pub weights: Class,
    /// What the layer reads.
    pub reads: String,
    /// What its activation makes of the result.
    pub yields: String,
    /// Its size.
    #[serde(flatten)]
    pub size: Size,
}

/// What a layer's weights were recognised as.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "depth", rename_all = "lowercase")]
pub enum Class {
    /// `{-a, +a}`.
    Binary {
        /// Least and greatest magnitude of an output channel.
        scale: [f32; 2],
    },
    /// `{-a, 0, +a}`.
    Ternary {
        /// Least and greatest magnitude of an output channel.
        scale: [f32; 2],
        /// Share of zeros.
        zeros: f64,
    },
    /// Eight-bit codes.
    Int8 {
        /// Least and greatest step of an output channel.
        scale: [f32; 2],
    },
    /// Anything else.
    Float {
        /// How far the worst weight is from the nearest of `{-a, 0, +a}`, where `a` fits its output channel best.
        off_by: f32,
        /// Where that is: `[o, i, row, column]`.
        at: [usize; 4],
    },
}

/// What layers cost, whatever the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Products per sample.
    pub macs: u64,
    /// Number of weights.
    pub count: u64,
    /// Bytes of the weights at 1, 2, 8 or 32 bits each.
    pub packed_bytes: u64,
    /// Bytes of the weights as `f32`.
    pub float_bytes: u64,
}

/// What `--expect` asks of every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Weights in `{-a, 0, +a}` with at least one 0.
    Ternary,
    /// Weights in `{-a, +a}`.
    Binary,
    /// One of the two.
    Packed,
}

/// The classification of an imported model.
pub fn inspect(model: &Model) -> Inspection {
    let g = &model.graph;
    let is_layer = |op: &Op| matches!(op, Op::Conv { .. } | Op::Dense { .. });
    let layers: Vec<Layer> = g.find(is_layer).into_iter().map(|id| layer(g, id)).collect();
    let port = |name: &str, op: Op| {
        let ty = g
            .find(|o| *o == op)
            .first()
            .map_or(Ty::new(Elem::Real, []), |id| g.node(*id).ty.clone());
        Port {
            name: name.to_owned(),
            dtype: dtype(ty.elem).to_owned(),
            shape: ty.shape,
        }
    };
    Inspection {
        model: model.name.clone(),
        sha256: model.sha256.clone(),
        opset: model.opset,
        input: port(&model.input, Op::Input),
        output: port(&model.output, Op::Output),
        total: layers.iter().fold(Size::default(), |t, l| t + l.size),
        layers,
        metadata: model.metadata.clone(),
    }
}

/// Holds every layer of the model at `path` against what is expected of it.
///
/// # Errors
/// [`Code::Expectation`] for each layer that is something else.
pub fn check(inspection: &Inspection, expect: Expect, path: &Path) -> Result<()> {
    let fits = |c: &Class| match expect {
        Expect::Ternary => matches!(c, Class::Ternary { .. }),
        Expect::Binary => matches!(c, Class::Binary { .. }),
        Expect::Packed => matches!(c, Class::Ternary { .. } | Class::Binary { .. }),
    };
    let wrong: Vec<Diag> = inspection
        .layers
        .iter()
        .filter(|l| !fits(&l.weights))
        .map(|l| {
            Diag::new(Code::Expectation, format!("{}, but {expect} is expected", l.weights))
                .node(&l.name)
                .file(path)
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn layer(g: &Graph, id: NodeId) -> Layer {
    let node = g.node(id);
    let (kind, weights) = match &node.op {
        Op::Conv { weights, .. } => ("conv", weights),
        Op::Dense { weights, .. } => ("dense", weights),
        other => unreachable!("{other:?} is no layer"),
    };
    let count = weights.shape.iter().product::<usize>() as u64;
    let bits = match &weights.data {
        WeightData::Coded { depth, .. } => u64::from(depth.bits()),
        WeightData::Float(_) => 32,
    };
    let [_, rows, columns] = node.ty.chw();
    Layer {
        name: node.name.clone(),
        kind,
        shape: weights.shape,
        weights: classify(weights),
        reads: reads(g, id).to_owned(),
        yields: yields(g, id).to_owned(),
        size: Size {
            macs: count * (rows * columns) as u64,
            count,
            packed_bytes: (count * bits).div_ceil(8),
            float_bytes: count * 4,
        },
    }
}

/// What a layer reads: the type above the nodes that only move or reinterpret values.
fn reads(g: &Graph, layer: NodeId) -> &'static str {
    let mut id = layer;
    while let Some(&operand) = g.operands(id).first() {
        let node = g.node(operand);
        match node.op {
            Op::Flatten | Op::MaxPool(_) | Op::FromSign | Op::Dequantize { .. } => id = operand,
            _ => return dtype(node.ty.elem),
        }
    }
    dtype(Elem::Real)
}

/// What a layer's activation yields: the type of the first quantizer below it.
fn yields(g: &Graph, layer: NodeId) -> &'static str {
    let mut id = layer;
    while let [user] = g.users(id)[..] {
        match g.node(user).op {
            Op::Quantize { .. } | Op::Sign => return dtype(g.node(user).ty.elem),
            Op::BatchNorm { .. } | Op::Affine { .. } | Op::Relu | Op::Clip { .. } | Op::MaxPool(_) | Op::Flatten => {
                id = user
            }
            _ => break,
        }
    }
    dtype(Elem::Real)
}

fn dtype(elem: Elem) -> &'static str {
    match elem {
        Elem::U8 => "uint8",
        Elem::I8 => "int8",
        Elem::Sign => "sign",
        Elem::I32 => "int32",
        // A file's real numbers are f32.
        Elem::Real | Elem::F32 => "float32",
    }
}

fn classify(weights: &Weights) -> Class {
    match &weights.data {
        WeightData::Coded { depth, codes, scale } => {
            let least = scale.iter().copied().fold(f32::INFINITY, f32::min);
            let scale = [least, scale.iter().copied().fold(0.0, f32::max)];
            match depth {
                Depth::Binary => Class::Binary { scale },
                Depth::Ternary => {
                    let zeros = codes.iter().filter(|c| **c == 0).count() as f64 / codes.len() as f64;
                    Class::Ternary { scale, zeros }
                }
                Depth::Int8 => Class::Int8 { scale },
            }
        }
        WeightData::Float(values) => worst_misfit(weights.shape, values),
    }
}

/// How far real weights are from ternary ones. A channel's magnitude is the mean of the weights above half its greatest:
/// the value that `{-a, 0, +a}` with rounding noise would have had.
fn worst_misfit([outputs, inputs, rows, columns]: [usize; 4], values: &[f32]) -> Class {
    let per_output = inputs * rows * columns;
    let mut worst = (-1.0, 0);
    for o in 0..outputs {
        let channel = &values[o * per_output..][..per_output];
        let greatest = channel.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let large: Vec<f32> = channel
            .iter()
            .map(|w| w.abs())
            .filter(|w| *w > greatest / 2.0)
            .collect();
        let a = large.iter().sum::<f32>() / large.len().max(1) as f32;
        for (i, w) in channel.iter().enumerate() {
            let off = (w.abs() - a).abs().min(w.abs());
            if off > worst.0 {
                worst = (off, o * per_output + i);
            }
        }
    }
    let (off_by, i) = worst;
    let at = [
        i / per_output,
        i / (rows * columns) % inputs,
        i / columns % rows,
        i % columns,
    ];
    Class::Float { off_by, at }
}

impl std::ops::Add for Size {
    type Output = Size;

    fn add(self, b: Size) -> Size {
        Size {
            macs: self.macs + b.macs,
            count: self.count + b.count,
            packed_bytes: self.packed_bytes + b.packed_bytes,
            float_bytes: self.float_bytes + b.float_bytes,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expect::Ternary => "ternary",
            Expect::Binary => "binary",
            Expect::Packed => "binary or ternary",
        })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |[least, greatest]: &[f32; 2]| match least == greatest {
            true => format!("a={least:.4}"),
            false => format!("a={least:.4}..{greatest:.4}"),
        };
        match self {
            Class::Binary { scale } => write!(f, "binary {}", span(scale)),
            Class::Ternary { scale, zeros } => write!(f, "ternary {}, zeros {:.1} %", span(scale), zeros * 100.0),
            Class::Int8 { scale } => write!(f, "int8 {}", span(scale)),
            Class::Float {
                off_by,
                at: [o, i, y, x],
            } => {
                write!(
                    f,
                    "float: nearest ternary is off by {off_by:.2e} at [{o}, {i}, {y}, {x}]"
                )
            }
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{:?}", self.name, self.dtype, self.shape)
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "model   {}  (opset {}, sha256 {})",
            self.model,
            self.opset,
            &self.sha256[..16]
        )?;
        writeln!(f, "input   {}", self.input)?;
        writeln!(f, "output  {}\n", self.output)?;
        let mut t = Table::new(&[
            ("layer", Align::Left),
            ("kind", Align::Left),
            ("shape", Align::Left),
            ("weights", Align::Left),
            ("activations", Align::Left),
            ("MACs", Align::Right),
            ("bytes packed", Align::Right),
            ("as float", Align::Right),
        ]);
        let sizes = |s: &Size| [s.macs, s.packed_bytes, s.float_bytes].map(grouped);
        for l in &self.layers {
            let [o, i, rows, columns] = l.shape;
            let shape = if l.kind == "conv" {
                format!("{o}x{i}x{rows}x{columns}")
            } else {
                format!("{o}x{i}")
            };
            let words = [
                l.name.clone(),
                l.kind.into(),
                shape,
                l.weights.to_string(),
                format!("{} -> {}", l.reads, l.yields),
            ];
            t.row(words.into_iter().chain(sizes(&l.size)));
        }
        t.row(
            ["total", "", "", "", ""]
                .map(String::from)
                .into_iter()
                .chain(sizes(&self.total)),
        );
        write!(f, "{t}")
    }
}
