//! `ReduceMean` over the pixels of a map: global average pooling, as several exporters write it.

use super::average_pool::{global, map};
use super::flatten::to_vector;
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::import::tensor::Data;

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let x = args.real(b, 0)?;
    map(b, args, x)?;
    // An attribute up to opset 17, an input from then on.
    let axes = match args.get(1) {
        None => args.attributes.ints("axes")?.to_vec(),
        Some(_) => match &args.constant(1)?.data {
            Data::I64(axes) => axes.clone(),
            _ => return Err(args.mismatch("its axes are no 64-bit integers".into())),
        },
    };
    let mut axes: Vec<i64> = axes.iter().map(|&a| if a < 0 { a + 4 } else { a }).collect();
    axes.sort_unstable();
    if axes != [2, 3] {
        return Err(args.unsupported(format!(
            "it averages over the axes {axes:?}; only the rows and columns of a map, 2 and 3, are supported"
        )));
    }
    let mean = global(b, args, x)?;
    match (args.attributes.int("keepdims", 1)?, &mean) {
        (0, Value::Node(id)) => to_vector(b, args, *id),
        _ => Ok(mean),
    }
}
