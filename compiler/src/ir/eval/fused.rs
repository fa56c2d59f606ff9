//! The fused dialect: integers, and `f32` in the documented order.

use super::Tensor;
use crate::ir::verify::conv_extent;
use crate::ir::{Elem, Epilogue, Geometry, Join, Ty, WeightData, Weights, Window};

/// Maximum over the windows of a map.
pub(super) fn max_pool(t: &Tensor, map: [usize; 3], w: &Window, to: [usize; 3]) -> Tensor {
    match t {
        Tensor::U8(v) => Tensor::U8(pool(v, map, w, to, |a, b| a.max(b))),
        Tensor::I8(v) => Tensor::I8(pool(v, map, w, to, |a, b| a.max(b))),
        Tensor::Sign(v) => Tensor::Sign(pool(v, map, w, to, |a, b| a | b)),
        Tensor::I32(v) => Tensor::I32(pool(v, map, w, to, |a, b| a.max(b))),
        Tensor::F32(v) => Tensor::F32(pool(v, map, w, to, max)),
    }
}

/// The greater of two numbers; neither is NaN.
fn max(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}

/// Two values of the shape of `to`.
pub(super) fn join(join: &Join, a: &Tensor, b: &Tensor, to: &Ty) -> Tensor {
    let pixels = to.len() / to.chw()[0];
    match join {
        Join::Float { floor } => {
            let sums = floats(a).into_iter().zip(floats(b)).map(|(a, b)| a + b);
            Tensor::F32(sums.map(|x| floor.map_or(x, |floor| max(x, floor))).collect())
        }
        Join::Integer {
            mul,
            add,
            shift,
            ties,
            lo,
            hi,
        } => {
            let pairs = whole(a).into_iter().zip(whole(b)).enumerate();
            let codes = pairs.map(|(i, (a, b))| {
                let c = i / pixels;
                let scaled = a * mul[0][c] + b * mul[1][c] + add[c];
                let even = ties.map_or(scaled, |t| t.lifted(scaled, *shift)) >> shift;
                even.clamp(i64::from(*lo), i64::from(*hi))
            });
            match to.elem {
                Elem::Sign => Tensor::Sign(codes.map(|c| c >= 0).collect()),
                Elem::U8 => Tensor::U8(codes.map(|c| c as u8).collect()),
                _ => Tensor::I8(codes.map(|c| c as i8).collect()),
            }
        }
    }
}

/// Integers of any width; of `f32` none.
fn whole(t: &Tensor) -> Vec<i64> {
    match t {
        Tensor::I32(v) => v.iter().map(|&x| x.into()).collect(),
        _ => integers(t).into_iter().flatten().map(i64::from).collect(),
    }
}

/// Folds every window of every channel of a planar map.
pub(super) fn pool<T: Clone>(
    v: &[T],
    [_, h, w]: [usize; 3],
    win: &Window,
    to: [usize; 3],
    max: impl Fn(T, T) -> T,
) -> Vec<T> {
    let [top, left, ..] = win.pads;
    let mut out = Vec::with_capacity(to.iter().product());
    let span = |at: usize, before: usize, size: usize, stride: usize, extent: usize| {
        let start = (at * stride).saturating_sub(before);
        start..(at * stride + size - before).min(extent)
    };
    for plane in v.chunks(h * w) {
        for y in 0..to[1] {
            for x in 0..to[2] {
                let rows = span(y, top, win.size[0], win.stride[0], h);
                let columns = span(x, left, win.size[1], win.stride[1], w);
                let cells = rows.flat_map(|r| columns.clone().map(move |c| plane[r * w + c].clone()));
                out.extend(cells.reduce(&max));
            }
        }
    }
    out
}

/// A fused layer.
pub(super) fn linear(
    t: &Tensor,
    map: [usize; 3],
    weights: &Weights,
    geom: &Geometry,
    window: Option<&Window>,
    epilogue: &Epilogue,
    to: &Ty,
) -> Tensor {
    let Some([h, w]) = conv_extent(map, weights.shape, geom) else {
        return Tensor::F32(Vec::new());
    };
    let unpooled = [weights.shape[0], h, w];
    match (&weights.data, integers(t)) {
        (WeightData::Coded { codes, .. }, Some(x)) => {
            let mut sums = integer_sums(&x, map, codes, weights.shape, geom, unpooled);
            if let Some(window) = window {
                sums = pool(&sums, unpooled, window, to.chw(), |a, b| a.max(b));
            }
            finish_integers(&sums, epilogue, to)
        }
        _ => {
            let mut sums = float_sums(&floats(t), map, weights, geom, unpooled);
            if let Some(window) = window {
                sums = pool(&sums, unpooled, window, to.chw(), max);
            }
            finish_floats(&sums, epilogue)
        }
    }
}

/// An integer operand; absent for `f32`.
fn integers(t: &Tensor) -> Option<Vec<i16>> {
    Some(match t {
        Tensor::U8(v) => v.iter().map(|&x| i16::from(x)).collect(),
        Tensor::I8(v) => v.iter().map(|&x| i16::from(x)).collect(),
        Tensor::Sign(v) => v.iter().map(|&x| if x { 1 } else { -1 }).collect(),
        Tensor::I32(_) | Tensor::F32(_) => return None,
    })
}

fn floats(t: &Tensor) -> Vec<f32> {
    match t {
        Tensor::U8(v) => v.iter().map(|&x| f32::from(x)).collect(),
        Tensor::I8(v) => v.iter().map(|&x| f32::from(x)).collect(),
        Tensor::Sign(v) => v.iter().map(|&x| if x { 1.0 } else { -1.0 }).collect(),
        Tensor::I32(v) => v.iter().map(|&x| x as f32).collect(),
        Tensor::F32(v) => v.clone(),
    }
}

/// Index in a map of what a kernel's cell reads; absent in the padding.
fn cell(map: [usize; 3], geom: &Geometry, [c, y, x]: [usize; 3], [ky, kx]: [usize; 2]) -> Option<usize> {
    let row = (y * geom.stride[0] + ky * geom.dilation[0]).checked_sub(geom.pads[0])?;
    let column = (x * geom.stride[1] + kx * geom.dilation[1]).checked_sub(geom.pads[1])?;
    (row < map[1] && column < map[2]).then_some((c * map[1] + row) * map[2] + column)
}

/// Sums of products, `[output, row, column]`: for each pixel the window is gathered once, then multiplied with every kernel.
fn integer_sums(
    x: &[i16],
    map: [usize; 3],
    codes: &[i8],
    shape: [usize; 4],
    geom: &Geometry,
    to: [usize; 3],
) -> Vec<i32> {
    let [outputs, inputs, kh, kw] = shape;
    let (taps, pixels) = (inputs * kh * kw, to[1] * to[2]);
    let per_group = outputs / geom.groups;
    let mut sums = vec![0; outputs * pixels];
    let mut window = vec![0i16; taps];
    for group in 0..geom.groups {
        for pixel in 0..pixels {
            let mut slots = window.iter_mut();
            for i in 0..inputs {
                for ky in 0..kh {
                    for kx in 0..kw {
                        let at = cell(map, geom, [group * inputs + i, pixel / to[2], pixel % to[2]], [ky, kx]);
                        if let Some(slot) = slots.next() {
                            *slot = at.map_or(0, |at| x[at]);
                        }
                    }
                }
            }
            for o in group * per_group..(group + 1) * per_group {
                let kernel = &codes[o * taps..(o + 1) * taps];
                sums[o * pixels + pixel] = window
                    .iter()
                    .zip(kernel)
                    .map(|(&x, &c)| i32::from(x) * i32::from(c))
                    .sum();
            }
        }
    }
    sums
}

/// The same in `f32`, the taps of each output in the documented order.
///
/// A padded position counts as 0.0 here: its product is a zero, and adding a zero of either sign changes no sum, because a sum
/// that starts at +0.0 never becomes -0.0.
fn float_sums(x: &[f32], map: [usize; 3], weights: &Weights, geom: &Geometry, to: [usize; 3]) -> Vec<f32> {
    let [outputs, inputs, kh, kw] = weights.shape;
    let (taps, pixels) = (inputs * kh * kw, to[1] * to[2]);
    let per_group = outputs / geom.groups;
    let mut sums = vec![0.0; outputs * pixels];
    // What tap `t` reads for each pixel, and where its weight lies in an output's kernel.
    let mut reads = vec![0.0; taps * pixels];
    let order: Vec<[usize; 3]> = (0..kh)
        .flat_map(|ky| (0..kw).flat_map(move |kx| (0..inputs).map(move |i| [i, ky, kx])))
        .collect();
    for group in 0..geom.groups {
        for (&[i, ky, kx], reads) in order.iter().zip(reads.chunks_mut(pixels)) {
            for (pixel, slot) in reads.iter_mut().enumerate() {
                let at = cell(map, geom, [group * inputs + i, pixel / to[2], pixel % to[2]], [ky, kx]);
                *slot = at.map_or(0.0, |at| x[at]);
            }
        }
        for o in group * per_group..(group + 1) * per_group {
            let sums = &mut sums[o * pixels..(o + 1) * pixels];
            for (&[i, ky, kx], reads) in order.iter().zip(reads.chunks(pixels)) {
                let tap = o * taps + (i * kh + ky) * kw + kx;
                match &weights.data {
                    WeightData::Float(values) => accumulate(sums, reads, |sum, x| sum + x * values[tap]),
                    WeightData::Coded { codes, .. } => match codes[tap] {
                        0 => {}
                        1 => accumulate(sums, reads, |sum, x| sum + x),
                        -1 => accumulate(sums, reads, |sum, x| sum - x),
                        code => accumulate(sums, reads, |sum, x| sum + x * f32::from(code)),
                    },
                }
            }
        }
    }
    sums
}

fn accumulate(sums: &mut [f32], reads: &[f32], add: impl Fn(f32, f32) -> f32) {
    for (sum, x) in sums.iter_mut().zip(reads) {
        *sum = add(*sum, *x);
    }
}

fn finish_integers(sums: &[i32], epilogue: &Epilogue, to: &Ty) -> Tensor {
    let pixels = sums.len() / to.chw()[0];
    let each = sums.iter().enumerate().map(|(i, &sum)| (i / pixels, sum));
    match epilogue {
        Epilogue::Sums => Tensor::I32(sums.to_vec()),
        Epilogue::Threshold(thresholds) => Tensor::Sign(each.map(|(o, sum)| sum >= thresholds[o]).collect()),
        Epilogue::Requant {
            mul,
            add,
            shift,
            ties,
            lo,
            hi,
        } => {
            let codes = each.map(|(o, sum)| {
                let scaled = i64::from(sum) * i64::from(mul[o]) + add[o];
                let even = ties.map_or(scaled, |t| t.lifted(scaled, shift[o])) >> shift[o];
                even.clamp(i64::from(*lo), i64::from(*hi))
            });
            match to.elem {
                Elem::U8 => Tensor::U8(codes.map(|c| c as u8).collect()),
                _ => Tensor::I8(codes.map(|c| c as i8).collect()),
            }
        }
        Epilogue::Float { .. } => {
            let floats: Vec<f32> = sums.iter().map(|&sum| sum as f32).collect();
            finish_floats(&floats, epilogue)
        }
    }
}

fn finish_floats(sums: &[f32], epilogue: &Epilogue) -> Tensor {
    let Epilogue::Float { mul, add, floor } = epilogue else {
        return Tensor::F32(Vec::new());
    };
    let pixels = sums.len() / mul.len();
    let finish = |(i, sum): (usize, &f32)| {
        let o = i / pixels;
        let value = sum * mul[o] + add[o];
        floor.map_or(value, |floor| max(value, floor))
    };
    Tensor::F32(sums.iter().enumerate().map(finish).collect())
}
