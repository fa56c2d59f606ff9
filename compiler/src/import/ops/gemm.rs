//! `Gemm`: a vector times a constant matrix, plus a constant.

use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::import::quant::{self, transpose};
use crate::import::tensor::Const;
use crate::ir::{Elem, Op, Ty, Weights};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    args.attributes.require("transA", 0)?;
    for factor in ["alpha", "beta"] {
        let value = args.attributes.float(factor, 1.0)?;
        if value != 1.0 {
            return Err(args.attributes.bad(factor, format!("is {value}; only 1 is supported")));
        }
    }
    let by_input = args.attributes.int("transB", 0)? == 0;
    let bias = match args.get(2) {
        None => None,
        Some(_) => Some(args.constant(2)?.clone()),
    };
    dense(b, args, by_input, bias.as_deref())
}

/// A dense layer with the weights of input 1: `[inputs, outputs]` if `by_input`, else `[outputs, inputs]`.
pub(super) fn dense(b: &mut Builder, args: &Args, by_input: bool, bias: Option<&Const>) -> Result<Value, Diag> {
    let x = args.real(b, 0)?;
    let &[features] = &b.ty(x).shape[..] else {
        return Err(args.unsupported(format!("its input is {}; only vectors are supported", b.ty(x))));
    };
    let constant = args.constant(1)?;
    let values = args.floats(1)?;
    let &[rows, columns] = &constant.dims[..] else {
        return Err(args.unsupported(format!("its weights have the shape {:?}", constant.dims)));
    };
    let (inputs, outputs) = if by_input { (rows, columns) } else { (columns, rows) };
    if inputs != features || values.is_empty() {
        return Err(args.mismatch(format!(
            "weights {:?} do not fit an input of {features} features",
            constant.dims
        )));
    }
    let values = if by_input {
        transpose(values, &constant.dims)
    } else {
        values.to_vec()
    };
    let bias = match bias {
        None => None,
        Some(c) => Some(spread(args, c, outputs)?),
    };
    let weights = Weights {
        shape: [outputs, inputs, 1, 1],
        data: quant::recognise(values, outputs, quant::codes_by_output(constant, by_input)),
    };
    b.node(args, Op::Dense { weights, bias }, Ty::new(Elem::Real, [outputs]), x)
        .map(Value::Node)
}

/// `Gemm` broadcasts its addend to `[1, outputs]`.
fn spread(args: &Args, c: &Const, outputs: usize) -> Result<Vec<f32>, Diag> {
    let values = args.floats(2)?;
    match &c.dims[..] {
        [] | [1] | [1, 1] => Ok(vec![values[0]; outputs]),
        [n] | [1, n] if *n == outputs => Ok(values.to_vec()),
        other => Err(args.mismatch(format!(
            "an addend of the shape {other:?} does not fit {outputs} outputs"
        ))),
    }
}
