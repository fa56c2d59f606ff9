//! `QuantizeLinear`: of a computed tensor, or of constant weights.

use super::dequantize_linear::axis;
use crate::diag::{Code, Diag};
use crate::import::builder::{Args, Builder, Value};
use crate::import::tensor::{Const, Data};
use crate::ir::{Elem, Op, Ty};
use std::rc::Rc;

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    args.attributes.require("block_size", 0)?;
    args.attributes.require("output_dtype", 0)?;
    let (zeros, elem) = match args.get(2) {
        None => (vec![0], Elem::U8),
        Some(_) => {
            let c = args.constant(2)?;
            let elem = match c.data {
                Data::U8(_) => Elem::U8,
                Data::I8(_) => Elem::I8,
                _ => {
                    return Err(Diag::new(
                        Code::UnsupportedType,
                        format!("quantises to {}", c.type_name()),
                    ));
                }
            };
            (c.as_integers().unwrap_or_default(), elem)
        }
    };
    if let Value::Const(c) = args.value(0)? {
        return fold(b, args, c, &zeros, elem);
    }
    let x = args.real(b, 0)?;
    let scale = args.positive(1)?;
    let &[zero_point] = &zeros[..] else {
        return Err(args.mismatch(format!("{} zero points for one scale", zeros.len())));
    };
    let ty = Ty::new(elem, b.ty(x).shape.clone());
    b.node(args, Op::Quantize { scale, zero_point }, ty, x).map(Value::Node)
}

/// In `f32`, as the operator is defined: divide, round to even, add the zero point, saturate.
fn fold(b: &mut Builder, args: &Args, c: &Const, zeros: &[i32], elem: Elem) -> Result<Value, Diag> {
    let (values, scale) = (args.floats(0)?, args.floats(1)?);
    let axis = axis(args, &c.dims, scale.len())?;
    if zeros.len() != scale.len() && args.get(2).is_some() {
        return Err(args.mismatch(format!("{} zero points for {} scales", zeros.len(), scale.len())));
    }
    b.fold(values.len())?;
    let inner: usize = c.dims[(axis + 1).min(c.dims.len())..].iter().product();
    let quantised = values.iter().enumerate().map(|(i, &x)| {
        let channel = if scale.len() == 1 { 0 } else { i / inner % scale.len() };
        let zero = if zeros.len() == 1 { zeros[0] } else { zeros[channel] };
        // The cast saturates, and the sum of an i32 and a zero point fits an i64.
        i64::from((x / scale[channel]).round_ties_even() as i32) + i64::from(zero)
    });
    let data = match elem {
        Elem::U8 => Data::U8(quantised.map(|q| q.clamp(0, 255) as u8).collect()),
        _ => Data::I8(quantised.map(|q| q.clamp(-128, 127) as i8).collect()),
    };
    Ok(Value::Const(Rc::new(Const {
        dims: c.dims.clone(),
        data,
        codes: None,
    })))
}
