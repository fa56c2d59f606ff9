//! `Conv` over two dimensions, with constant weights.

use super::window;
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::import::quant;
use crate::ir::{Elem, Geometry, Op, Ty, Weights, verify};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let x = args.real(b, 0)?;
    let map = b.ty(x).clone();
    let &[channels, h, w] = &map.shape[..] else {
        return Err(args.unsupported(format!(
            "its input is {map}; only maps of [channels, height, width] are supported"
        )));
    };
    let constant = args.constant(1)?;
    let values = args.floats(1)?.to_vec();
    let &[o, i, kh, kw] = &constant.dims[..] else {
        return Err(args.unsupported(format!("its weights have the shape {:?}", constant.dims)));
    };
    let groups = args.attributes.int("group", 1)?;
    let groups = usize::try_from(groups).unwrap_or(0);
    if values.is_empty() || groups == 0 || o % groups != 0 || i.checked_mul(groups) != Some(channels) {
        let shape = &constant.dims;
        return Err(args.mismatch(format!(
            "weights {shape:?} in {groups} groups do not fit an input of {channels} channels"
        )));
    }
    let size = window::size(args, Some([kh, kw]))?;
    let read = window::read(args, [h, w], size)?;
    let bias = match args.get(2) {
        Some(_) => Some(args.per_channel(2, o)?),
        None => None,
    };
    let geom = Geometry {
        stride: read.stride,
        pads: read.pads,
        dilation: read.dilation,
        groups,
    };
    let weights = Weights {
        shape: [o, i, kh, kw],
        data: quant::recognise(values, o, quant::codes_by_output(constant, false)),
    };
    let [rows, columns] = verify::conv_extent([channels, h, w], weights.shape, &geom)
        .ok_or_else(|| args.mismatch(format!("a kernel of {kh} by {kw} does not fit the map {map}")))?;
    let ty = Ty::new(Elem::Real, [o, rows, columns]);
    b.node(args, Op::Conv { weights, geom, bias }, ty, x).map(Value::Node)
}
