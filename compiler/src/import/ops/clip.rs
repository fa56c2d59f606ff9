//! `Clip` to constant bounds.

use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::import::tensor::Const;
use crate::ir::Op;
use std::rc::Rc;

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    // Up to opset 10 the bounds are attributes, whose defaults are the ends of f32.
    let old = [("min", f32::MIN), ("max", f32::MAX)].map(|(name, default)| args.attributes.float(name, default));
    let [lo, hi] = [
        bound(args, 1)?.map_or(old[0].clone(), Ok)?,
        bound(args, 2)?.map_or(old[1].clone(), Ok)?,
    ];
    if lo > hi {
        return Err(args.unsupported(format!("its bounds {lo} and {hi} are in the wrong order")));
    }
    if let Value::Const(c) = args.value(0)? {
        let values = args.floats(0)?;
        b.fold(values.len())?;
        let clipped = values.iter().map(|x| x.clamp(lo, hi)).collect();
        return Ok(Value::Const(Rc::new(Const::f32(c.dims.clone(), clipped))));
    }
    let x = args.real(b, 0)?;
    let op = if (lo, hi) == (0.0, f32::MAX) {
        Op::Relu
    } else {
        Op::Clip { lo, hi }
    };
    b.step(args, op, x).map(Value::Node)
}

/// The scalar input `i`, if it is given.
fn bound(args: &Args, i: usize) -> Result<Option<f32>, Diag> {
    match args.get(i) {
        None => Ok(None),
        Some(_) => match args.floats(i)? {
            [x] if x.is_finite() => Ok(Some(*x)),
            values => Err(args.mismatch(format!(
                "its bound has the values {values:?}; one finite number is wanted"
            ))),
        },
    }
}
