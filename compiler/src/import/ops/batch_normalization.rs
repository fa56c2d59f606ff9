//! `BatchNormalization`, as inference computes it.

use crate::diag::{Code, Diag};
use crate::import::builder::{Args, Builder, Value};
use crate::ir::Op;

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    args.attributes.require("training_mode", 0)?;
    args.attributes.require("spatial", 1)?;
    let x = args.real(b, 0)?;
    let channels = b.ty(x).shape[0];
    let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| args.per_channel(i, channels));
    let epsilon = args.attributes.float("epsilon", 1e-5)?;
    let variance = variance?;
    if let Some(c) = variance
        .iter()
        .position(|&v| v < 0.0 || f64::from(v) + f64::from(epsilon) <= 0.0)
    {
        let found = format!("the variance of channel {c} is {}, epsilon {epsilon}", variance[c]);
        return Err(Diag::new(Code::NotFinite, found).tensor(&args.proto.input[4]));
    }
    let op = Op::BatchNorm {
        scale: scale?,
        bias: bias?,
        mean: mean?,
        variance,
        epsilon,
    };
    b.step(args, op, x).map(Value::Node)
}
