//! Where `Conv`, `MaxPool` and `AveragePool` read: the attributes that they share.

use crate::diag::Diag;
use crate::import::builder::Args;

/// Strides, dilations and pads (top, left, bottom, right).
pub(super) struct Window {
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub pads: [usize; 4],
}

impl Window {
    /// Whether windows of `size` end where the padded map of `extent` ends; false if one does not fit.
    pub fn fills(&self, extent: [usize; 2], size: [usize; 2]) -> bool {
        (0..2).all(|axis| {
            let reach = (size[axis] - 1) * self.dilation[axis] + 1;
            let rest = (extent[axis] + self.pads[axis] + self.pads[axis + 2]).checked_sub(reach);
            rest.is_some_and(|rest| rest.is_multiple_of(self.stride[axis]))
        })
    }
}

/// No attribute of a network that fits a device is larger, and products of them stay far from overflow.
const MAX: i64 = 1 << 16;

/// Reads the attributes for a window of `size` over a map of `extent` (rows, columns).
pub(super) fn read(args: &Args, extent: [usize; 2], size: [usize; 2]) -> Result<Window, Diag> {
    let a = &args.attributes;
    let stride = a.extents("strides", 1..=MAX)?.unwrap_or([1, 1]);
    let dilation = a.extents("dilations", 1..=MAX)?.unwrap_or([1, 1]);
    let pads = match a.string("auto_pad", "NOTSET")? {
        "NOTSET" => a.extents("pads", 0..=MAX)?.unwrap_or([0; 4]),
        "VALID" => [0; 4],
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            let mut pads = [0; 4];
            for axis in 0..2 {
                let reach = (size[axis] - 1) * dilation[axis] + 1;
                let windows = extent[axis].div_ceil(stride[axis]);
                let total = ((windows - 1) * stride[axis] + reach).saturating_sub(extent[axis]);
                let (less, more) = (total / 2, total - total / 2);
                [pads[axis], pads[axis + 2]] = if mode == "SAME_UPPER" {
                    [less, more]
                } else {
                    [more, less]
                };
            }
            pads
        }
        other => return Err(a.bad("auto_pad", format!("is `{other}`"))),
    };
    Ok(Window { stride, dilation, pads })
}

/// The kernel's extents: as the attribute says, which must agree with the weights if there are any.
pub(super) fn size(args: &Args, weights: Option<[usize; 2]>) -> Result<[usize; 2], Diag> {
    let given = args.attributes.extents::<2>("kernel_shape", 1..=MAX)?;
    match (given, weights) {
        (Some(given), Some(held)) if given != held => {
            Err(args.mismatch(format!("`kernel_shape` is {given:?}, and the weights have {held:?}")))
        }
        (_, Some(held)) => Ok(held),
        (Some(given), None) => Ok(given),
        (None, None) => Err(args.attributes.bad("kernel_shape", "is missing")),
    }
}
