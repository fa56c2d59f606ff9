//! `Div`.

use super::arithmetic::{Pair, affine, pair};
use crate::diag::{Code, Diag};
use crate::import::builder::{Args, Builder, Value};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    match pair(b, args, |x, y| x / y)? {
        Pair::Folded(value) => Ok(value),
        Pair::Mixed { reversed: true, .. } => Err(args.unsupported("divides a constant by a computed tensor".into())),
        Pair::Mixed { constant, .. } if constant.contains(&0.0) => Err(Diag::new(Code::NotFinite, "divides by 0")),
        Pair::Mixed { tensor, constant, .. } => affine(b, args, tensor, [vec![1.0], constant, vec![0.0]]),
    }
}
