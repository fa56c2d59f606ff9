//! `Identity`.

use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};

pub(super) fn build(_: &mut Builder, args: &Args) -> Result<Value, Diag> {
    args.value(0).cloned()
}
