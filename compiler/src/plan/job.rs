//! From a node of the fused graph to a job for a kernel.

use crate::diag::{Code, Diag};
use crate::ir::{Depth, Elem, Graph, NodeId, Op, WeightData, Weights, range};
use crate::kernels::{FEW_TAPS, Job, Layout, Packed, View, copies_windows};
use crate::target::{Class, Shape, Simd};

/// How the value of `id` lies in memory: in the caller's order where the caller holds it.
pub fn view(g: &Graph, id: NodeId) -> View {
    let node = g.node(id);
    let ports = |op: &Op| matches!(op, Op::Input | Op::Output);
    match ports(&node.op) || g.users(id).iter().any(|&u| ports(&g.node(u).op)) {
        true => View::new(&node.ty, Layout::Planar),
        false => View::inner(&node.ty),
    }
}

/// A part of a node's result: one row, from the rows of the operand that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// Rows of the operand.
    pub rows: usize,
    /// Of the padding above and below, how many rows belong to them.
    pub pads: [usize; 2],
}

/// Bounds of the elements of a linear node's operand, which lies as `x`.
pub fn operand_range(g: &Graph, operand: NodeId, x: View) -> (i64, i64) {
    match x.elem {
        Elem::Sign => x.ty().range(),
        _ => range::values(g, operand).unwrap_or(x.ty().range()),
    }
}

/// The class of a linear node, for which compilers' code has a price of its own.
pub fn class(g: &Graph, id: NodeId) -> Option<Class> {
    let Op::Linear {
        weights, geom, pool, ..
    } = &g.node(id).op
    else {
        return None;
    };
    let apart = geom.groups > 1 && weights.shape[1] == 1;
    let (x, y) = (view(g, g.operands(id)[0]), view(g, id));
    let dense = y.h * y.w == 1 && pool.is_none();
    let taps: usize = weights.shape[1..].iter().product();
    let shape = match x.elem {
        Elem::Sign if apart => Shape::ApartOfSigns,
        Elem::Sign if dense => Shape::DenseOfSigns,
        Elem::Sign if copies_windows(weights.shape, geom) => Shape::WindowsOfSigns,
        Elem::Sign => Shape::ConvOfSigns,
        Elem::F32 | Elem::Real if dense => Shape::DenseOfFloats,
        Elem::F32 | Elem::Real => Shape::ConvOfFloats,
        _ if apart => Shape::Apart,
        _ if dense => Shape::Dense,
        _ if taps <= FEW_TAPS && pool.is_some() => Shape::NarrowPooled,
        _ if taps <= FEW_TAPS => Shape::Narrow,
        _ => Shape::Conv,
    };
    // Weights of other kinds take a product each, as ternary ones a mask more.
    let ternary = !matches!(
        weights.data,
        WeightData::Coded {
            depth: Depth::Binary,
            ..
        }
    );
    Some(Class { shape, ternary })
}

/// The job of a linear node, or of a part of it, with so many bytes of RAM for its own use, and of the stack (see
/// [`Job::stack`]).
///
/// # Errors
/// If the node has no kernel: it is not linear, or packed signs would be the network's result.
pub fn linear<'a>(
    g: &'a Graph,
    id: NodeId,
    name: String,
    band: Option<Band>,
    (scratch, stack): (u64, Option<u64>),
    simd: &'a Simd,
) -> Result<Job<'a>, Diag> {
    let node = g.node(id);
    let Op::Linear {
        weights,
        geom,
        pool,
        epilogue,
    } = &node.op
    else {
        return Err(Diag::new(Code::NotFused, "no kernel computes it").node(&node.name));
    };
    let operand = g.operands(id)[0];
    let (mut x, mut y, mut geom) = (view(g, operand), view(g, id), *geom);
    let x_range = operand_range(g, operand, x);
    if let Some(band) = band {
        (x, y) = (x.rows(band.rows), y.rows(1));
        [geom.pads[0], geom.pads[2]] = band.pads;
    }
    let mut weights = weights.clone();
    if covers(&weights, x, y) && geom.groups == 1 && geom.pads == [0; 4] && neighbours(x) {
        weights = flatten(&weights);
        x = View {
            c: x.c * x.h * x.w,
            h: 1,
            w: 1,
            plane: 1,
            ..x
        };
    }
    let doc = describe(g, id, band);
    let sums = range::sums(g, id).unwrap_or_default();
    let least = sums.iter().map(|(lo, _)| *lo).min().unwrap_or(0);
    let greatest = sums.iter().map(|(lo, hi)| lo.abs().max(hi.abs())).max().unwrap_or(0);
    Ok(Job {
        name,
        doc,
        weights,
        geom,
        pool: *pool,
        epilogue,
        x,
        y,
        x_range,
        given: None,
        packed: Packed::Signs,
        least,
        greatest,
        scratch,
        stack,
        turns: None,
        simd,
    })
}

/// Whether the kernel is the whole map, as a dense layer's is.
fn covers(weights: &Weights, x: View, y: View) -> bool {
    weights.shape[2..] == [x.h, x.w] && y.h * y.w == 1
}

/// Whether the map's elements follow one another in the order of the taps, so that it can be read as a vector.
fn neighbours(x: View) -> bool {
    match x.layout {
        Layout::Planar => x.c == 1 || x.side_by_side(),
        Layout::Interleaved => true,
        Layout::Packed => x.c.is_multiple_of(32),
    }
}

/// The same weights as a matrix, taps in the order in which sums are taken.
fn flatten(weights: &Weights) -> Weights {
    let [o, i, kh, kw] = weights.shape;
    let taps = i * kh * kw;
    let source = |at: usize| {
        let (output, k) = (at / taps, at % taps);
        let (c, kx, ky) = (k % i, k / i % kw, k / i / kw);
        ((output * i + c) * kh + ky) * kw + kx
    };
    let data = match &weights.data {
        WeightData::Coded { depth, codes, scale } => WeightData::Coded {
            depth: *depth,
            codes: (0..codes.len()).map(|at| codes[source(at)]).collect(),
            scale: scale.clone(),
        },
        WeightData::Float(v) => WeightData::Float((0..v.len()).map(|at| v[source(at)]).collect()),
    };
    Weights {
        shape: [o, taps, 1, 1],
        data,
    }
}

/// A line for the reader of the generated source.
pub fn describe(g: &Graph, id: NodeId, band: Option<Band>) -> String {
    let node = g.node(id);
    let operand = g.node(g.operands(id)[0]);
    let what = match &node.op {
        Op::Linear { weights, pool, .. } => {
            let [_, _, kh, kw] = weights.shape;
            let depth = match &weights.data {
                WeightData::Coded { depth, .. } => format!("{depth:?}").to_lowercase(),
                WeightData::Float(_) => "float".into(),
            };
            let kind = if [kh, kw] == operand.ty.chw()[1..] {
                "dense".into()
            } else {
                format!("{kh}x{kw} convolution")
            };
            let pool = pool.map_or(String::new(), |p| format!(", {}x{} max pool", p.size[0], p.size[1]));
            format!("{depth} {kind}{pool}")
        }
        Op::MaxPool(w) => format!("{}x{} max pool", w.size[0], w.size[1]),
        Op::Join(_) => {
            let other = g.node(g.operands(id)[1]);
            format!("sum with {} of {}", other.name, other.ty)
        }
        _ => "copy".into(),
    };
    let part = match band.map(|b| b.pads) {
        None => "",
        Some([0, 0]) => ", row by row",
        Some([_, 0]) => ", a row at the top",
        Some([0, _]) => ", a row at the bottom",
        Some(_) => ", a row between top and bottom",
    };
    format!("{}: {what}, {} to {}{part}", node.name, operand.ty, node.ty)
}
