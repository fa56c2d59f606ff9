//! `DequantizeLinear`: of a computed 8-bit tensor, or of constant codes.

use crate::diag::{Code, Diag};
use crate::import::builder::{Args, Builder, Value};
use crate::import::tensor::{Codes, Const};
use crate::ir::{Elem, NodeId, Op};
use std::rc::Rc;

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    args.attributes.require("block_size", 0)?;
    match args.value(0)? {
        Value::Const(c) => fold(b, args, c),
        _ => {
            let x = args.computed(0)?;
            if args.floats(1)?.len() > 1 {
                return per_channel(b, args, x);
            }
            let scale = args.positive(1)?;
            let zero_point = zero_point(args, b.ty(x).elem)?;
            b.step(args, Op::Dequantize { scale, zero_point }, x).map(Value::Node)
        }
    }
}

/// A computed tensor with a scale and a zero point for each channel, as an image whose colours are normalised apart: the stored numbers,
/// then a batch norm.
fn per_channel(b: &mut Builder, args: &Args, x: NodeId) -> Result<Value, Diag> {
    let ty = b.ty(x).clone();
    // The batch comes first.
    let dims: Vec<usize> = [1].into_iter().chain(ty.shape).collect();
    let (scale, zeros, axis) = grid(args, &dims)?;
    if axis != 1 {
        return Err(args.unsupported("the scales of a computed tensor run along its channels here".into()));
    }
    if args.get(2).is_some() {
        same_type(args, ty.elem)?;
    }
    let stored = Op::Dequantize {
        scale: 1.0,
        zero_point: 0,
    };
    let norm = Op::BatchNorm {
        scale: scale.to_vec(),
        bias: vec![0.0; scale.len()],
        mean: zeros.iter().map(|&z| z as f32).collect(),
        variance: vec![1.0; scale.len()],
        epsilon: 0.0,
    };
    let stored = b.step(args, stored, x)?;
    b.step(args, norm, stored).map(Value::Node)
}

/// Scales, as many zero points, and the axis along which they run.
fn grid<'a>(args: &'a Args, dims: &[usize]) -> Result<(&'a [f32], Vec<i32>, usize), Diag> {
    let scale = args.floats(1)?;
    if let Some(s) = scale.iter().find(|s| **s <= 0.0) {
        let found = format!("is {s}; a scale is positive");
        return Err(Diag::new(Code::BadInitializer, found).tensor(&args.proto.input[1]));
    }
    let zeros = match args.get(2) {
        None => vec![0; scale.len()],
        Some(_) => args.constant(2)?.as_integers().unwrap_or_default(),
    };
    let axis = axis(args, dims, scale.len())?;
    if zeros.len() != scale.len() {
        return Err(args.mismatch(format!("{} zero points for {} scales", zeros.len(), scale.len())));
    }
    Ok((scale, zeros, axis))
}

/// The one zero point of a computed tensor, whose type must be the tensor's.
pub(super) fn zero_point(args: &Args, elem: Elem) -> Result<i32, Diag> {
    let Some(Value::Const(c)) = args.get(2) else {
        return Ok(0);
    };
    same_type(args, elem)?;
    match c.as_integers().as_deref() {
        Some([zero]) => Ok(*zero),
        _ => Err(args.mismatch(format!("the zero point has {} values for one scale", c.len()))),
    }
}

/// The zero points' type must be the tensor's.
fn same_type(args: &Args, elem: Elem) -> Result<(), Diag> {
    let expected = match elem {
        Elem::U8 => "uint8",
        Elem::I8 => "int8",
        _ => {
            return Err(Diag::new(
                Code::UnsupportedType,
                format!("dequantises a tensor of {elem}"),
            ));
        }
    };
    let found = args.constant(2)?.type_name();
    if found != expected {
        let found = format!("the zero point is {found}, the tensor {expected}");
        return Err(Diag::new(Code::UnsupportedType, found).tensor(&args.proto.input[2]));
    }
    Ok(())
}

fn fold(b: &mut Builder, args: &Args, c: &Const) -> Result<Value, Diag> {
    let codes = c
        .as_integers()
        .ok_or_else(|| args.unsupported(format!("dequantises {}", c.type_name())))?;
    let (scale, zeros, axis) = grid(args, &c.dims)?;
    b.fold(codes.len())?;
    let inner: usize = c.dims[(axis + 1).min(c.dims.len())..].iter().product();
    let channel = |i: usize| if scale.len() == 1 { 0 } else { i / inner % scale.len() };
    let values: Vec<i32> = codes
        .iter()
        .enumerate()
        .map(|(i, &x)| x.wrapping_sub(zeros[channel(i)]))
        .collect();
    let folded: Vec<f32> = values
        .iter()
        .enumerate()
        .map(|(i, &x)| x as f32 * scale[channel(i)])
        .collect();
    super::arithmetic::finite(args, &folded)?;
    Ok(Value::Const(Rc::new(Const {
        codes: Some(Codes {
            values,
            scale: scale.to_vec(),
            axis,
        }),
        ..Const::f32(c.dims.clone(), folded)
    })))
}

/// The axis that scales run along; it must be as long as they are many, unless there is one.
pub(super) fn axis(args: &Args, dims: &[usize], scales: usize) -> Result<usize, Diag> {
    if scales == 1 {
        return Ok(0);
    }
    let axis = args.attributes.int("axis", 1)?;
    let rank = dims.len() as i64;
    let place = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(usize::MAX);
    match dims.get(place) {
        Some(&d) if d == scales => Ok(place),
        _ => Err(args.mismatch(format!(
            "{scales} scales along axis {axis} do not fit the shape {dims:?}"
        ))),
    }
}
