//! Maximum over a window, where it is not fused into the layer before.

use super::view::{Layout, View};
use super::window::Axis;
use crate::ir::{Geometry, Window};
use crate::kir::build::{Builder, float, idx, int};
use crate::kir::{Expr, Kernel, Role, Ty};

/// Builds the kernel, whose operand keeps to `range` where it is an integer. The maximum of signs is the disjunction of their bits.
pub fn build(name: &str, doc: &str, (x, range): (View, (i64, i64)), y: View, window: &Window) -> Kernel {
    let mut b = Builder::new(name, doc);
    let input = b.param("x", x.ty(), x.elements(), Role::In, range);
    let output = b.param("y", y.ty(), y.elements(), Role::Out, y.ty().range());
    let geom = Geometry {
        stride: window.stride,
        pads: window.pads,
        ..Geometry::UNIT
    };
    let rows = Axis::new(0, x.h, window.size[0], y.h, &geom, None).spans();
    let cols = Axis::new(1, x.w, window.size[1], y.w, &geom, None).spans();
    let channels = if x.layout == Layout::Packed { x.pixel() } else { x.c };
    for row in &rows {
        for col in &cols {
            let (ky, kx) = (row.offsets[0], col.offsets[0]);
            b.each("row", row.count, false, |b, i| {
                b.each("col", col.count, false, |b, j| {
                    b.each("c", channels, false, |b, c| {
                        let best = b.mutable("best", least(x.ty()));
                        b.each("ky", ky.count, false, |b, dy| {
                            b.each("kx", kx.count, false, |b, dx| {
                                let y = i.clone() * idx(row.step) + idx(ky.base) + dy.clone();
                                let x_at = j.clone() * idx(col.step) + idx(kx.base) + dx;
                                let v = b.load(input, x.at(c.clone(), y, x_at));
                                let next = match x.layout {
                                    Layout::Packed => Expr::Var(best) | v,
                                    _ => Expr::Var(best).max(v),
                                };
                                b.set(best, next);
                            });
                        });
                        let at = y.at(c, idx(row.start) + i.clone(), idx(col.start) + j.clone());
                        b.store(output, at, Expr::Var(best));
                    });
                });
            });
        }
    }
    b.finish()
}

/// What no element is below.
fn least(ty: Ty) -> Expr {
    match ty {
        Ty::F32 => float(f32::MIN),
        _ => int(ty.range().0, ty),
    }
}
