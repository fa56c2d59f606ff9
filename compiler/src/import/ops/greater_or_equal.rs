//! `GreaterOrEqual` of a computed tensor and a constant: the condition of a `Where` that takes the sign.

use super::arithmetic::{affine, per_channel};
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let (i, c, reversed) = match (args.value(0)?, args.value(1)?) {
        (Value::Node(_), Value::Const(c)) => (0, c.clone(), false),
        (Value::Const(c), Value::Node(_)) => (1, c.clone(), true),
        _ => return Err(args.unsupported("compares something else than a computed tensor with a constant".into())),
    };
    let x = args.real(b, i)?;
    let edge = per_channel(b, args, x, &c)?;
    // x >= c iff x - c >= 0; c >= x iff c - x >= 0.
    let shifted = if reversed {
        affine(b, args, x, [vec![-1.0], vec![1.0], edge])?
    } else if edge.iter().all(|e| *e == 0.0) {
        Value::Node(x)
    } else {
        affine(b, args, x, [vec![1.0], vec![1.0], edge.iter().map(|e| -e).collect()])?
    };
    match shifted {
        Value::Node(id) => Ok(Value::NotNegative(id)),
        other => Ok(other),
    }
}
