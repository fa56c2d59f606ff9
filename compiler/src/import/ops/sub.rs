//! `Sub`.

use super::arithmetic::{Pair, affine, pair};
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    match pair(b, args, |x, y| x - y)? {
        Pair::Folded(value) => Ok(value),
        Pair::Mixed {
            tensor,
            constant,
            reversed: true,
        } => affine(b, args, tensor, [vec![-1.0], vec![1.0], constant]),
        Pair::Mixed { tensor, constant, .. } => {
            let negated = constant.iter().map(|c| -c).collect();
            affine(b, args, tensor, [vec![1.0], vec![1.0], negated])
        }
    }
}
