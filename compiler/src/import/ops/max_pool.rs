//! `MaxPool` over two dimensions.

use super::window;
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::ir::{Op, Ty, Window, verify};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    if args.proto.output.get(1).is_some_and(|o| !o.is_empty()) {
        return Err(args.unsupported("its second output, the indices, is used".into()));
    }
    let x = args.computed(0)?;
    let map = b.ty(x).clone();
    let &[c, h, w] = &map.shape[..] else {
        return Err(args.unsupported(format!(
            "its input is {map}; only maps of [channels, height, width] are supported"
        )));
    };
    let size = window::size(args, None)?;
    let read = window::read(args, [h, w], size)?;
    if read.dilation != [1, 1] {
        return Err(args
            .attributes
            .bad("dilations", format!("is {:?}; only 1 is supported", read.dilation)));
    }
    let [top, left, bottom, right] = read.pads;
    if top.max(bottom) >= size[0] || left.max(right) >= size[1] {
        return Err(args
            .attributes
            .bad("pads", format!("is {:?}, as large as the window", read.pads)));
    }
    let window = Window {
        size,
        stride: read.stride,
        pads: read.pads,
    };
    let [rows, columns] = verify::pool_extent([c, h, w], &window).ok_or_else(|| {
        args.mismatch(format!(
            "a window of {} by {} does not fit the map {map}",
            size[0], size[1]
        ))
    })?;
    if args.attributes.int("ceil_mode", 0)? != 0 && !read.fills([h, w], size) {
        let found = "is 1, and the last window would hang over the border";
        return Err(args.attributes.bad("ceil_mode", found));
    }
    b.node(args, Op::MaxPool(window), Ty::new(map.elem, [c, rows, columns]), x)
        .map(Value::Node)
}
