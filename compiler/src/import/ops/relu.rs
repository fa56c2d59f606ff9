//! `Relu`.

use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::ir::Op;

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let x = args.real(b, 0)?;
    b.step(args, Op::Relu, x).map(Value::Node)
}
