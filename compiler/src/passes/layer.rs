//! A convolution with everything that fuses into it: the affine steps before it, and the steps behind it.

use super::function::Function;
use super::rewrite::{entry, operand, replace_chain, user};
use crate::diag::{Code, Diag};
use crate::ir::exact::{Norm, Q, integer, rational};
use crate::ir::{Elem, Epilogue, Geometry, Graph, NodeId, Op, Ty, WeightData, Weights, range};
use num_traits::Zero;

/// A layer to be fused. Every channel's function rises or is constant.
pub(super) struct Layer {
    /// The name of the convolution.
    pub name: String,
    /// The stored value that it reads.
    pub source: NodeId,
    /// Last of the steps behind the convolution, or the convolution.
    pub last: NodeId,
    /// Kernel, negated in the channels where that makes the function rise.
    pub weights: Weights,
    /// Where it reads.
    pub geom: Geometry,
    /// Per output channel: from the sum of `source * code` to the real value of `last`.
    pub functions: Vec<Function>,
    /// Per output channel, the bounds of the sum, if it is an exact integer.
    pub sums: Option<Vec<(i64, i64)>>,
}

/// Most steps behind a convolution: each lengthens the fractions of every channel, and no exporter writes more than a few.
const MAX_STEPS: usize = 32;

/// Whether an operation fuses into the layer before it.
pub(super) fn steps(op: &Op) -> bool {
    matches!(
        op,
        Op::Affine { .. } | Op::BatchNorm { .. } | Op::Relu | Op::Clip { .. }
    )
}

/// The last step behind a convolution or a sum, and what reads it.
pub(super) fn end(g: &Graph, conv: NodeId) -> (NodeId, Option<NodeId>) {
    let mut last = conv;
    loop {
        let next = user(g, last);
        match next.map(|id| &g.node(id).op) {
            Some(op) if steps(op) => last = next.unwrap_or(last),
            _ => return (last, next),
        }
    }
}

impl Layer {
    /// Composes the layer around a convolution.
    pub fn collect(g: &Graph, conv: NodeId) -> Result<Layer, Diag> {
        let node = g.node(conv);
        let Op::Conv { weights, geom, bias } = &node.op else {
            return Err(Diag::new(Code::Internal, "not a convolution").node(&node.name));
        };
        let padded = geom.pads != [0; 4];
        let read = operand(g, conv).unwrap_or(conv);
        let input = Input::collect(g, conv, read, weights.shape[1] * geom.groups)?;
        if padded && input.offset.iter().any(|k| !k.is_zero()) {
            return Err(not_fused(
                g,
                conv,
                "it pads with 0, and its quantised operand has no code that means 0".into(),
            )
            .help("use a zero point of 0 (or 128 for uint8, -128 for int8), or no padding"));
        }
        let [outputs, inputs, kh, kw] = weights.shape;
        let taps = kh * kw;
        let mut functions = Vec::with_capacity(outputs);
        for o in 0..outputs {
            let first = o / (outputs / geom.groups) * inputs;
            let mut offset = bias.as_ref().map_or_else(Q::zero, |b| rational(b[o]));
            let unit = match &weights.data {
                WeightData::Coded { scale, .. } => rational(scale[o]),
                WeightData::Float(_) => integer(1),
            };
            for i in 0..inputs {
                let k = &input.offset[first + i];
                if !k.is_zero() {
                    let at = (o * inputs + i) * taps;
                    let sum = match &weights.data {
                        WeightData::Coded { codes, .. } => {
                            integer(codes[at..at + taps].iter().map(|&c| i64::from(c)).sum())
                        }
                        WeightData::Float(values) => values[at..at + taps].iter().map(|&v| rational(v)).sum(),
                    };
                    offset += k * sum * &unit;
                }
            }
            functions.push(Function::new(unit * &input.step, offset));
        }

        let (last, _) = end(g, conv);
        let mut id = conv;
        for step in 0.. {
            if id == last {
                break;
            }
            if step == MAX_STEPS {
                return Err(not_fused(g, conv, format!("more than {MAX_STEPS} steps follow it")));
            }
            id = user(g, id).unwrap_or(last);
            compose(g, id, &mut functions)?;
        }

        let mut weights = weights.clone();
        for (o, f) in functions.iter_mut().enumerate() {
            if f.falls() {
                f.mirror();
                negate(&mut weights, o).map_err(|found| not_fused(g, conv, found))?;
            }
        }

        let mut sums = None;
        if let Some(bounds) = range::values(g, input.source) {
            sums = range::of_sums(&weights, bounds, padded);
        }
        // A threshold may be one more than the greatest sum.
        let limit = i64::from(i32::MAX) - 1;
        if let Some((o, (lo, hi))) = sums
            .iter()
            .flatten()
            .enumerate()
            .find(|(_, (lo, hi))| *hi > limit || *lo < -limit)
        {
            let found = format!("the sums of output channel {o} reach from {lo} to {hi}");
            return Err(Diag::new(Code::AccumulatorOverflow, found).node(&node.name));
        }
        Ok(Layer {
            name: node.name.clone(),
            source: input.source,
            last,
            weights,
            geom: *geom,
            functions,
            sums,
        })
    }

    /// Puts the fused layer in the place of everything from behind its source to `tail`.
    pub fn replace(self, g: &mut Graph, tail: NodeId, elem: Elem, epilogue: Epilogue) -> NodeId {
        let ty = Ty::new(elem, g.node(tail).ty.shape.clone());
        let op = Op::Linear {
            weights: self.weights,
            geom: self.geom,
            pool: None,
            epilogue,
        };
        replace_chain(g, self.source, tail, self.name, op, ty)
    }
}

/// The affine steps between a stored value and what reads it: `stored * step + offset[channel]`.
pub(super) struct Input {
    /// The stored value.
    pub source: NodeId,
    /// Factor.
    pub step: Q,
    /// Addends.
    pub offset: Vec<Q>,
}

impl Input {
    /// The steps up from `last`, which `reader` reads.
    pub fn collect(g: &Graph, reader: NodeId, last: NodeId, channels: usize) -> Result<Input, Diag> {
        let mut steps = Vec::new();
        let mut source = last;
        loop {
            let node = g.node(source);
            if node.ty.elem != Elem::Real {
                break;
            }
            if !matches!(node.op, Op::Affine { .. } | Op::Dequantize { .. } | Op::FromSign) {
                let found = format!(
                    "`{}` between it and its quantised or f32 operand has no fused form",
                    node.name
                );
                return Err(not_fused(g, reader, found));
            }
            steps.push(source);
            source = operand(g, source).unwrap_or(source);
        }
        let (mut step, mut offset) = (integer(1), vec![Q::zero(); channels]);
        for id in steps.into_iter().rev() {
            match &g.node(id).op {
                Op::Dequantize { scale, zero_point } => {
                    step = rational(*scale);
                    offset.fill(-rational(*scale) * integer(i64::from(*zero_point)));
                }
                Op::Affine { mul, div, add } => {
                    let factor = |c: usize| rational(entry(mul, c)) / rational(entry(div, c));
                    let common = factor(0);
                    for (c, k) in offset.iter_mut().enumerate() {
                        if factor(c) != common {
                            let found = format!("`{}` scales the channels of its operand differently", g.node(id).name);
                            return Err(not_fused(g, reader, found));
                        }
                        *k = &*k * &common + rational(entry(add, c));
                    }
                    step *= common;
                }
                _ => {}
            }
        }
        Ok(Input { source, step, offset })
    }
}

/// Puts the step `id` behind every channel's function.
fn compose(g: &Graph, id: NodeId, functions: &mut [Function]) -> Result<(), Diag> {
    match &g.node(id).op {
        Op::Affine { mul, div, add } => {
            for (c, f) in functions.iter_mut().enumerate() {
                let factor = rational(entry(mul, c)) / rational(entry(div, c));
                f.affine(&factor, &rational(entry(add, c)));
            }
        }
        Op::BatchNorm {
            scale,
            bias,
            mean,
            variance,
            epsilon,
        } => {
            for (c, f) in functions.iter_mut().enumerate() {
                let norm = Norm::new(scale[c], bias[c], mean[c], variance[c], *epsilon);
                f.batch_norm(&norm).map_err(|_| {
                    not_fused(
                        g,
                        id,
                        format!("channel {c} already holds the square root of another normalisation"),
                    )
                    .help("fold one of the two batch normalisations into the weights before export")
                })?;
            }
        }
        Op::Relu => functions.iter_mut().for_each(|f| f.raise(&Q::zero())),
        Op::Clip { lo, hi } => functions.iter_mut().for_each(|f| f.clip(*lo, *hi)),
        _ => return Err(Diag::new(Code::Internal, "no step behind a convolution").node(&g.node(id).name)),
    }
    Ok(())
}

/// Negates the codes of one output channel.
fn negate(weights: &mut Weights, o: usize) -> Result<(), String> {
    let taps = weights.shape[1..].iter().product::<usize>();
    match &mut weights.data {
        WeightData::Coded { codes, .. } => {
            for code in &mut codes[o * taps..(o + 1) * taps] {
                *code = code
                    .checked_neg()
                    .ok_or_else(|| format!("output channel {o} falls, and its code -128 has no negative"))?;
            }
        }
        WeightData::Float(values) => values[o * taps..(o + 1) * taps].iter_mut().for_each(|v| *v = -*v),
    }
    Ok(())
}

/// The diagnostic of a node that has no fused form.
pub(super) fn not_fused(g: &Graph, id: NodeId, found: String) -> Diag {
    Diag::new(Code::NotFused, found).node(&g.node(id).name)
}
