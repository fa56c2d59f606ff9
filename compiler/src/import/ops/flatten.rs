//! `Flatten` behind the batch.

use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::ir::{NodeId, Op, Ty};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let x = args.computed(0)?;
    let rank = b.ty(x).shape.len() as i64 + 1;
    let axis = args.attributes.int("axis", 1)?;
    if axis != 1 && axis != 1 - rank {
        return Err(args
            .attributes
            .bad("axis", format!("is {axis}; only 1, behind the batch, is supported")));
    }
    to_vector(b, args, x)
}

/// The computed tensor as a vector.
pub(super) fn to_vector(b: &mut Builder, args: &Args, x: NodeId) -> Result<Value, Diag> {
    let ty = b.ty(x).clone();
    if ty.shape.len() == 1 {
        return Ok(Value::Node(x));
    }
    let vector = Ty::new(ty.elem, [ty.len()]);
    b.node(args, Op::Flatten, vector, x).map(Value::Node)
}
