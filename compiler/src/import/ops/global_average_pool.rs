//! `GlobalAveragePool`: the mean of each channel, as a map of one pixel.

use super::average_pool::global;
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let x = args.real(b, 0)?;
    global(b, args, x)
}
