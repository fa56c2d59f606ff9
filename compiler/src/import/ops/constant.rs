//! `Constant`.

use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::import::tensor::{Const, Data, decode};
use std::rc::Rc;

pub(super) fn build(_: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let constant = if let Some(t) = args.attributes.tensor("value")? {
        decode(t)?
    } else if args.proto.attribute.iter().any(|a| a.name == "value_float") {
        Const::f32(Vec::new(), vec![args.attributes.float("value_float", 0.0)?])
    } else if args.proto.attribute.iter().any(|a| a.name == "value_int") {
        Const {
            dims: Vec::new(),
            data: Data::I64(vec![args.attributes.int("value_int", 0)?]),
            codes: None,
        }
    } else {
        return Err(args.unsupported("has neither `value`, `value_float` nor `value_int`".into()));
    };
    Ok(Value::Const(Rc::new(constant)))
}
