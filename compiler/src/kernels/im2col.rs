//! Every convolution window as a row of its own, so that any geometry becomes a product of vectors: for maps whose channels are
//! too few or too far apart to be read several at a time. The rows take scratch memory.

use super::nest::Job;
use super::view::{Layout, View};
use super::window::Axis;
use crate::ir::{Geometry, WeightData, Weights};
use crate::kir::build::{Builder, idx, int};
use crate::kir::{Buf, Expr, Role, Ty};

/// Elements of a row of taps that are copied in straight-line code.
const STRAIGHT: usize = 16;

/// The weights as rows of `taps`, those of a window and more.
pub fn rows(job: &Job, taps: usize) -> Weights {
    let outputs = job.weights.shape[0];
    let WeightData::Coded { depth, codes, scale } = &job.weights.data else {
        unreachable!("sums are integers")
    };
    let code = |at: usize| {
        let (o, k) = (at / taps, at % taps);
        match k < job.taps() {
            true => codes[job.source(o, k)],
            // It meets nothing but zeros, and binary codes have none.
            false => depth.range().0,
        }
    };
    let data = WeightData::Coded {
        depth: *depth,
        codes: (0..outputs * taps).map(code).collect(),
        scale: scale.clone(),
    };
    Weights {
        shape: [outputs, taps, 1, 1],
        data,
    }
}

/// The job on rows of as many taps as a multiple of `align` holds; the pooling window stays.
pub fn plan<'a>(job: &Job<'a>, align: usize) -> Job<'a> {
    let taps = job.taps().next_multiple_of(align);
    let size = job.pool.map_or([1, 1], |p| p.size);
    Job {
        weights: rows(job, taps),
        geom: Geometry::UNIT,
        x: View {
            c: taps,
            h: job.y.h * size[0],
            w: job.y.w * size[1],
            plane: job.y.h * size[0],
            elem: job.x.elem,
            planes: 1,
            layout: Layout::Interleaved,
        },
        x_range: (job.x_range.0.min(0), job.x_range.1.max(0)),
        ..job.clone()
    }
}

/// Copies the windows of `x` to the rows that `rows` reads, as elements of `wanted`; the buffer and what was added to each.
pub fn gather(b: &mut Builder, job: &Job, rows: &Job, wanted: Ty, x: Buf) -> (Buf, i64) {
    let fits = wanted.range().0 <= rows.x_range.0 && rows.x_range.1 <= wanted.range().1;
    let offset = match (fits, wanted) {
        (true, _) => 0,
        (_, Ty::U8) => 128,
        _ => -128,
    };
    let range = (rows.x_range.0 + offset, rows.x_range.1 + offset);
    let to = b.param("rows", wanted, rows.x.elements(), Role::Scratch, range);
    let moved = |e: Expr| match offset {
        0 if job.x.ty() == wanted => e,
        0 => e.cast(wanted),
        n => (e.cast(Ty::I32) + int(n, Ty::I32)).cast(wanted),
    };
    let taps = rows.x.c;
    // Padding, inside the map's edge and at the end of a row.
    let padded = taps != job.taps() || job.geom.pads != [0; 4];
    if padded {
        b.each("i", rows.x.elements(), false, |b, i| {
            b.store(to, i, int(offset, wanted))
        });
    }
    let [kh, kw] = job.kernel();
    let inputs = job.inputs();
    let all =
        |axis: usize, map: usize, kernel: usize, n: usize| Axis::new(axis, map, kernel, n, &job.geom, None).spans();
    for row in all(0, job.x.h, kh, rows.x.h) {
        for col in all(1, job.x.w, kw, rows.x.w) {
            let (v, h) = (row.offsets[0], col.offsets[0]);
            if v.count * h.count == 0 {
                continue;
            }
            b.each("row", row.count, false, |b, i| {
                b.each("col", col.count, false, |b, j| {
                    let window = rows
                        .x
                        .at(idx(0), idx(row.start) + i.clone(), idx(col.start) + j.clone());
                    let window = b.val("window", window);
                    b.each("ky", v.count, false, |b, ky| {
                        // GCC makes no block copy of the loop, LLVM does.
                        b.each("kx", h.count, h.count * inputs <= STRAIGHT, |b, kx| {
                            b.each("c", inputs, inputs <= 4, |b, c| {
                                let y =
                                    i.clone() * idx(row.step) + idx(v.base) + ky.clone() * idx(job.geom.dilation[0]);
                                let x_at =
                                    j.clone() * idx(col.step) + idx(h.base) + kx.clone() * idx(job.geom.dilation[1]);
                                let tap = ((idx(v.first) + ky.clone()) * idx(kw) + idx(h.first) + kx.clone())
                                    * idx(inputs)
                                    + c.clone();
                                let e = b.load(x, job.x.at(c, y, x_at));
                                b.store(to, window.clone() + tap, moved(e));
                            });
                        });
                    });
                });
            });
        }
    }
    (to, offset)
}
