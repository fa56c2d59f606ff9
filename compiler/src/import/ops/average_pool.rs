//! `AveragePool` over two dimensions.

use super::window;
use crate::diag::Diag;
use crate::import::builder::{Args, Builder, Value};
use crate::ir::{Elem, NodeId, Op, Ty, Window, verify};

pub(super) fn build(b: &mut Builder, args: &Args) -> Result<Value, Diag> {
    let x = args.real(b, 0)?;
    let [_, h, w] = map(b, args, x)?;
    let size = window::size(args, None)?;
    let read = window::read(args, [h, w], size)?;
    if read.dilation != [1, 1] {
        let found = format!("is {:?}; only 1 is supported", read.dilation);
        return Err(args.attributes.bad("dilations", found));
    }
    if read.pads != [0; 4] && args.attributes.int("count_include_pad", 0)? == 0 {
        let found = "is 0, so that windows over the border are divided by other counts";
        return Err(args
            .attributes
            .bad("count_include_pad", found)
            .help("pool without padding, or count it"));
    }
    if args.attributes.int("ceil_mode", 0)? != 0 && !read.fills([h, w], size) {
        let found = "is 1, and the last window would hang over the border";
        return Err(args.attributes.bad("ceil_mode", found));
    }
    let window = Window {
        size,
        stride: read.stride,
        pads: read.pads,
    };
    average(b, args, x, window)
}

/// Extents of the computed map `x`.
pub(super) fn map(b: &Builder, args: &Args, x: NodeId) -> Result<[usize; 3], Diag> {
    let ty = b.ty(x);
    let extents: Option<[usize; 3]> = ty.shape[..].try_into().ok();
    extents.ok_or_else(|| {
        args.unsupported(format!(
            "its input is {ty}; only maps of [channels, height, width] are supported"
        ))
    })
}

/// The mean over the whole map `x`, as a map of one pixel.
pub(super) fn global(b: &mut Builder, args: &Args, x: NodeId) -> Result<Value, Diag> {
    let [_, h, w] = map(b, args, x)?;
    let window = Window {
        size: [h, w],
        stride: [1, 1],
        pads: [0; 4],
    };
    average(b, args, x, window)
}

fn average(b: &mut Builder, args: &Args, x: NodeId, window: Window) -> Result<Value, Diag> {
    let extents = map(b, args, x)?;
    let [top, left, bottom, right] = window.pads;
    if top.max(bottom) >= window.size[0] || left.max(right) >= window.size[1] {
        let found = format!("is {:?}, as large as the window", window.pads);
        return Err(args.attributes.bad("pads", found));
    }
    let [rows, columns] = verify::pool_extent(extents, &window).ok_or_else(|| {
        let [h, w] = window.size;
        args.mismatch(format!("a window of {h} by {w} does not fit the map {}", b.ty(x)))
    })?;
    // What the passes make of it: a weight for each cell of each channel. A pool over a padded map may be larger than the map.
    let cells = window.cells();
    if cells >= 1 << 24 {
        return Err(args.unsupported(format!("its window has {cells} cells")));
    }
    b.fold(extents[0].saturating_mul(cells))?;
    let ty = Ty::new(Elem::Real, [extents[0], rows, columns]);
    b.node(args, Op::AveragePool(window), ty, x).map(Value::Node)
}
