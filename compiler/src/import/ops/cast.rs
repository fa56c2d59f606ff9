//! `Cast` to `float32`: the identity on real numbers, a dequantizer with scale 1 on an 8-bit image.

use crate::diag::{Code, Diag};
use crate::import::builder::{Args, Builder, Value};
use crate::import::tensor::{Const, Data};
use crate::ir::{Elem, Op};
use std::rc::Rc;
use tract_onnx::pb::tensor_proto::DataType;

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let to = args.attributes.int("to", 0)?;
    if to != DataType::Float as i64 {
        return Err(Diag::new(
            Code::UnsupportedType,
            format!("casts to the element type {to}; only float32 (1) is supported"),
        ));
    }
    match args.value(0)? {
        Value::Const(c) => constant(c).map(|c| Value::Const(Rc::new(c))),
        Value::Node(id) => {
            let op = match b.ty(*id).elem {
                Elem::U8 | Elem::I8 => Op::Dequantize {
                    scale: 1.0,
                    zero_point: 0,
                },
                _ => return Ok(Value::Node(*id)),
            };
            b.step(args, op, *id).map(Value::Node)
        }
        Value::NotNegative(_) => Err(args.unsupported("casts a comparison".into())),
    }
}

fn constant(c: &Const) -> Result<Const, Diag> {
    let values = match &c.data {
        Data::F32(_) => return Ok(c.clone()),
        Data::U8(v) => v.iter().map(|&x| f32::from(x)).collect(),
        Data::I8(v) => v.iter().map(|&x| f32::from(x)).collect(),
        Data::I32(v) => v.iter().map(|&x| x as f32).collect(),
        Data::I64(v) => v.iter().map(|&x| x as f32).collect(),
        Data::Bool(v) => v.iter().map(|&x| f32::from(u8::from(x))).collect(),
    };
    Ok(Const::f32(c.dims.clone(), values))
}
