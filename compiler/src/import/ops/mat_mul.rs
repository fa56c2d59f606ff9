//! `MatMul` of a vector with a constant matrix.

use super::gemm;
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    gemm::dense(b, args, true, None)
}
