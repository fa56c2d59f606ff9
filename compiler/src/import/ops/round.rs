//! `Round`, half to even, behind a `Clip`: a quantizer with scale 1, as ternary activations and QCDQ exports write it.

use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::import::tensor::Const;
use crate::ir::{Elem, Op, Ty};
use std::rc::Rc;

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    if let Value::Const(c) = args.value(0)? {
        let values = args.floats(0)?;
        b.fold(values.len())?;
        let rounded = values.iter().map(|x| x.round_ties_even()).collect();
        return Ok(Value::Const(Rc::new(Const::f32(c.dims.clone(), rounded))));
    }
    let x = args.real(b, 0)?;
    let bounds = match b.op(x) {
        Op::Clip { lo, hi } => Some((lo.round_ties_even(), hi.round_ties_even())),
        _ => None,
    };
    // Rounding never falls, so that the rounded bounds bound every result.
    let elem = match bounds {
        Some((lo, hi)) if lo >= -128.0 && hi <= 127.0 => Elem::I8,
        Some((lo, hi)) if lo >= 0.0 && hi <= 255.0 => Elem::U8,
        _ => {
            return Err(args
                .unsupported("its input is no Clip to bounds within 8 bits, so that its levels are not known".into())
                .help("clip to the least and the greatest level, as -1 and 1, right before rounding"));
        }
    };
    let ty = Ty::new(elem, b.ty(x).shape.clone());
    let (scale, zero_point) = (1.0, 0);
    let levels = b.node(args, Op::Quantize { scale, zero_point }, ty, x)?;
    b.step(args, Op::Dequantize { scale, zero_point }, levels)
        .map(Value::Node)
}
