//! `Where` of a comparison with two scalars: a sign, scaled and shifted if they are not 1 and -1.

use super::arithmetic::affine;
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::ir::{Elem, Op, Ty};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let Value::NotNegative(x) = *args.value(0)? else {
        return Err(args.unsupported("its condition is no GreaterOrEqual".into()));
    };
    let (&[yes], &[no]) = (args.floats(1)?, args.floats(2)?) else {
        return Err(args.unsupported("it chooses between tensors; only scalars are supported".into()));
    };
    let shape = b.ty(x).shape.clone();
    let sign = b.node(args, Op::Sign, Ty::new(Elem::Sign, shape), x)?;
    let value = b.step(args, Op::FromSign, sign)?;
    if (yes, no) == (1.0, -1.0) {
        return Ok(Value::Node(value));
    }
    // yes = middle + half, no = middle - half.
    let (half, middle) = (
        (f64::from(yes) - f64::from(no)) / 2.0,
        (f64::from(yes) + f64::from(no)) / 2.0,
    );
    if f64::from(half as f32) != half || f64::from(middle as f32) != middle {
        return Err(args.unsupported(format!("it chooses between {yes} and {no}, whose middle is no float32")));
    }
    affine(b, args, value, [vec![half as f32], vec![1.0], vec![middle as f32]])
}
