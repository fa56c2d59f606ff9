//! `Sign`, which is refused: ONNX defines `Sign(0) = 0`, so that its result has three values.

use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};

pub(super) fn build(_: &mut Builder, args: &Args) -> Result<Value, Diag> {
    Err(args
        .unsupported("its result has three values, as Sign(0) is 0".into())
        .help("write the sign as Where(GreaterOrEqual(x, 0), 1, -1)"))
}
