//! `Reshape`: of a constant, or of a computed tensor to a vector behind the batch.

use super::flatten;
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::import::tensor::{Const, Data};
use std::rc::Rc;

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    args.attributes.require("allowzero", 0)?;
    let Data::I64(wanted) = &args.constant(1)?.data else {
        return Err(args.unsupported("its shape is not int64".into()));
    };
    match args.value(0)? {
        Value::Const(c) => {
            let dims = resolve(args, wanted, &c.dims)?;
            let (data, codes) = (c.data.clone(), None);
            b.fold(c.len())?;
            Ok(Value::Const(Rc::new(Const { dims, data, codes })))
        }
        _ => {
            let x = args.computed(0)?;
            let from = [&[1], &b.ty(x).shape[..]].concat();
            let to = resolve(args, wanted, &from)?;
            if to == from {
                return Ok(Value::Node(x));
            }
            if to != [1, b.ty(x).len()] {
                return Err(args.unsupported(format!(
                    "reshapes {from:?} to {to:?}; only [batch, features] is supported"
                )));
            }
            flatten::to_vector(b, args, x)
        }
    }
}

/// 0 keeps an extent, one -1 takes what is left.
fn resolve(args: &Args, wanted: &[i64], from: &[usize]) -> Result<Vec<usize>, Diag> {
    let misfit = || args.mismatch(format!("cannot reshape {from:?} to {wanted:?}"));
    let count: usize = from.iter().product();
    let mut dims = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, &d) in wanted.iter().enumerate() {
        dims.push(match d {
            0 => *from.get(axis).ok_or_else(misfit)?,
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            d => usize::try_from(d).map_err(|_| misfit())?,
        });
    }
    let known = dims
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .ok_or_else(misfit)?;
    if let Some(axis) = open {
        dims[axis] = count.checked_div(known).ok_or_else(misfit)?;
    }
    match dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) {
        Some(n) if n == count => Ok(dims),
        _ => Err(misfit()),
    }
}
