//! What `Add`, `Sub`, `Mul` and `Div` share: two constants are folded, a constant beside a computed tensor is an affine step.

use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::import::tensor::Const;
use crate::ir::{NodeId, Op};
use std::rc::Rc;

/// Two tensors, of which at most one is computed.
pub(super) enum Pair {
    /// Folded.
    Folded(Value),
    /// A computed tensor and a constant, one entry per channel or one for all.
    Mixed {
        /// The computed one.
        tensor: NodeId,
        /// The constant one.
        constant: Vec<f32>,
        /// Whether the constant is on the left.
        reversed: bool,
    },
}

/// Sorts out the two operands; `fold` is the operation in `f32`.
pub(super) fn pair(b: &mut Builder, args: &Args, fold: fn(f32, f32) -> f32) -> Result<Pair, Diag> {
    match (args.value(0)?, args.value(1)?) {
        (Value::Const(_), Value::Const(_)) => folded(b, args, fold).map(Pair::Folded),
        (Value::Node(_), Value::Const(c)) => mixed(b, args, 0, c, false),
        (Value::Const(c), Value::Node(_)) => mixed(b, args, 1, c, true),
        _ => Err(args
            .unsupported("both operands are computed; only a constant beside a computed tensor is supported".into())),
    }
}

/// `x * mul / div + add` of the computed operand.
pub(super) fn affine(
    b: &mut Builder,
    args: &Args,
    tensor: NodeId,
    [mul, div, add]: [Vec<f32>; 3],
) -> Result<Value, Diag> {
    b.step(args, Op::Affine { mul, div, add }, tensor).map(Value::Node)
}

fn mixed(b: &Builder, args: &Args, i: usize, c: &Const, reversed: bool) -> Result<Pair, Diag> {
    let tensor = args.real(b, i)?;
    args.floats(1 - i)?;
    Ok(Pair::Mixed {
        tensor,
        constant: per_channel(b, args, tensor, c)?,
        reversed,
    })
}

/// A constant as one entry per channel of a computed tensor, or one for all.
pub(super) fn per_channel(b: &Builder, args: &Args, tensor: NodeId, c: &Const) -> Result<Vec<f32>, Diag> {
    let values = c
        .as_f32()
        .ok_or_else(|| args.unsupported(format!("its constant is {}", c.type_name())))?;
    let rank = b.ty(tensor).shape.len() + 1;
    let channels = b.ty(tensor).shape[0];
    let Some(first) = values.first() else {
        return Err(args.mismatch("its constant is empty".into()));
    };
    if values.len() == 1 && c.dims.len() <= rank {
        return Ok(vec![*first]);
    }
    // Broadcasting aligns the last axes; only the channel axis may vary.
    let along = c
        .dims
        .iter()
        .rev()
        .zip((0..rank).rev())
        .all(|(&d, axis)| d == if axis == 1 { channels } else { 1 });
    if along && c.dims.len() + 1 >= rank && c.dims.len() <= rank {
        return Ok(values.to_vec());
    }
    Err(args.mismatch(format!(
        "its constant has the shape {:?}; one entry, or one per channel of {}, is supported",
        c.dims,
        b.ty(tensor)
    )))
}

fn folded(b: &mut Builder, args: &Args, fold: fn(f32, f32) -> f32) -> Result<Value, Diag> {
    let (x, y) = (args.constant(0)?, args.constant(1)?);
    let (xs, ys) = (args.floats(0)?, args.floats(1)?);
    let rank = x.dims.len().max(y.dims.len());
    let extent = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let mut dims = Vec::with_capacity(rank);
    let mut count = 1usize;
    for axis in 0..rank {
        let (a, b) = (extent(&x.dims, axis), extent(&y.dims, axis));
        if a != b && a != 1 && b != 1 {
            return Err(args.mismatch(format!("its constants have the shapes {:?} and {:?}", x.dims, y.dims)));
        }
        let d = if a == 1 { b } else { a };
        count = count.saturating_mul(d);
        dims.push(d);
    }
    b.fold(count)?;
    let at = |source: &[usize], mut flat: usize| {
        let (mut index, mut stride) = (0, 1);
        for axis in (0..rank).rev() {
            let place = flat % dims[axis];
            flat /= dims[axis];
            let d = extent(source, axis);
            if d > 1 {
                index += place * stride;
            }
            stride *= d;
        }
        index
    };
    let values: Vec<f32> = (0..count)
        .map(|i| fold(xs[at(&x.dims, i)], ys[at(&y.dims, i)]))
        .collect();
    finite(args, &values)?;
    Ok(Value::Const(Rc::new(Const::f32(dims, values))))
}

/// Folding must not leave the finite numbers.
pub(super) fn finite(args: &Args, values: &[f32]) -> Result<(), Diag> {
    match values.iter().find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(v) => Err(Diag::new(
            crate::diag::Code::NotFinite,
            format!("{} of constants gives {v}", args.proto.op_type),
        )),
    }
}
