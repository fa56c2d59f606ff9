//! `Add`, of a constant or of two computed tensors of one shape.

use super::arithmetic::{Pair, affine, pair};
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::ir::{Elem, Op, Ty};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    if let (Value::Node(_), Value::Node(_)) = (args.value(0)?, args.value(1)?) {
        let operands = [args.real(b, 0)?, args.real(b, 1)?];
        if operands[0] == operands[1] {
            return affine(b, args, operands[0], [vec![2.0], vec![1.0], vec![0.0]]);
        }
        let ty = Ty::new(Elem::Real, b.ty(operands[0]).shape.clone());
        if b.ty(operands[1]).shape != ty.shape {
            let [x, y] = operands.map(|id| b.ty(id).to_string());
            return Err(args.mismatch(format!("adds {x} and {y}; only tensors of one shape are supported")));
        }
        return b.nodes(args, Op::Add, ty, &operands).map(Value::Node);
    }
    match pair(b, args, |x, y| x + y)? {
        Pair::Folded(value) => Ok(value),
        Pair::Mixed { tensor, constant, .. } => affine(b, args, tensor, [vec![1.0], vec![1.0], constant]),
    }
}
