//! The law of the graph.
//!
//! 1. The graph is acyclic, with one [`Op::Input`] and one [`Op::Output`]. An input has no operand, `Add` and `Join` two, every other node one.
//! 2. Every extent is at least 1, and a shape has one to four of them. Maps are `[c, h, w]`.
//! 3. Types follow from the operation and the operand:
//!    * `Dequantize`: `u8` or `i8` to `real`; `FromSign`: `sign` to `real`; `Quantize`: to `u8` or `i8`; `Sign`: to `sign`;
//!      `Conv`, `Dense`, `AveragePool`, `BatchNorm`, `Affine`, `Relu`, `Clip`: to `real`. What they read as real numbers is `real` or `f32`.
//!    * `Flatten`, `MaxPool` and `Output` keep the element; all but `Conv`, `Dense`, `Linear`, pools and `Flatten` keep the
//!      shape.
//!    * `Add`: to `real`. `Join`: of two integers to `sign`, `u8` or `i8`, of two `f32` to `f32`. Their operands have the result's
//!      shape.
//!    * `Linear`: to `i32` (sums), `sign` (threshold), `u8` or `i8` (requantisation), `f32` (float); reads anything but `real` and `i32`.
//! 4. A kernel's data is as long as its shape says, its codes lie in its depth's range (binary codes are not 0), its scales are
//!    finite and positive, its extents fit the operand, the groups and the result.
//! 5. Strides, dilations and windows are at least 1; a pool's padding is smaller than its window, so that no window is empty.
//!    A pool inside a `Linear` has no padding and no overlap.
//! 6. Per-channel constants have one entry per channel (`Affine`: or one for all) and are finite; variances with epsilon and
//!    scales are positive; zero points lie in the quantised type.
//! 7. Integer sums fit `i32`; those before a float epilogue lie below 2^24. Thresholds and requantisations follow integer sums only.
//! 8. A requantisation's factors are not negative, its shifts are below 63, its clamp lies in its type, and it does not overflow
//!    64 bits at any reachable sum. A float epilogue's factors are finite and not negative.

use super::{
    Depth, Elem, Epilogue, Geometry, Graph, Join, Node, NodeId, Op, Ties, Ty, WeightData, Weights, Window, range,
};

/// Checks every invariant; the error names the node and what it broke.
pub fn verify(g: &Graph) -> Result<(), String> {
    let order = g.order();
    let count = |is: fn(&Op) -> bool| g.find(is).len();
    require(order.len() == g.len(), || "the graph has a cycle".into())?;
    require(count(|op| *op == Op::Input) == 1, || "the graph wants one input".into())?;
    require(count(|op| *op == Op::Output) == 1, || {
        "the graph wants one output".into()
    })?;
    for id in order {
        node(g, id).map_err(|e| format!("{id} `{}`: {e}", g.node(id).name))?;
    }
    Ok(())
}

/// A window's result along one axis; absent if it does not fit.
pub fn windows(
    extent: usize,
    size: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
) -> Option<usize> {
    let reach = size.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let padded = extent.checked_add(before)?.checked_add(after)?;
    Some(padded.checked_sub(reach)?.checked_div(stride)? + 1)
}

/// Height and width of a convolution's result; absent if the kernel does not fit.
pub fn conv_extent(map: [usize; 3], kernel: [usize; 4], geom: &Geometry) -> Option<[usize; 2]> {
    let [_, _, kh, kw] = kernel;
    let [top, left, bottom, right] = geom.pads;
    let h = windows(map[1], kh, geom.stride[0], geom.dilation[0], top, bottom)?;
    let w = windows(map[2], kw, geom.stride[1], geom.dilation[1], left, right)?;
    Some([h, w])
}

/// Height and width of a pool's result; absent if the window does not fit.
pub fn pool_extent(map: [usize; 3], w: &Window) -> Option<[usize; 2]> {
    let [top, left, bottom, right] = w.pads;
    let rows = windows(map[1], w.size[0], w.stride[0], 1, top, bottom)?;
    let columns = windows(map[2], w.size[1], w.stride[1], 1, left, right)?;
    Some([rows, columns])
}

type Check = Result<(), String>;

fn require(condition: bool, broken: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(broken()) }
}

fn node(g: &Graph, id: NodeId) -> Check {
    let Node { op, ty, .. } = g.node(id);
    let dims = ty.shape.len();
    require((1..=4).contains(&dims) && ty.shape.iter().all(|&d| d > 0), || {
        format!("has the shape {ty}")
    })?;
    let operands = g.operands(id);
    if *op == Op::Input {
        require(operands.is_empty(), || "is an input and reads something".into())?;
        return require(matches!(ty.elem, Elem::U8 | Elem::I8 | Elem::F32), || {
            format!("is an input of {ty}")
        });
    }
    let wanted = if matches!(op, Op::Add | Op::Join(_)) { 2 } else { 1 };
    require(operands.len() == wanted, || format!("has {} operands", operands.len()))?;
    if wanted == 2 {
        return pair(g, op, ty, [operands[0], operands[1]]);
    }
    let from = &g.node(operands[0]).ty;
    let [channels, ..] = from.chw();
    element(op, from, ty)?;
    match op {
        Op::Input => Ok(()),
        Op::Flatten => require(ty.shape == [from.len()], || format!("flattens {from} to {ty}")),
        Op::MaxPool(w) | Op::AveragePool(w) => {
            window(w)?;
            let [h, w] = pool_extent(from.chw(), w).ok_or("its window does not fit")?;
            require(ty.chw() == [channels, h, w], || format!("pools {from} to {ty}"))
        }
        Op::Conv { weights, geom, bias } => {
            kernel(weights, geom, from)?;
            entries("bias", bias.as_deref(), weights.shape[0])?;
            result(weights, geom, None, from, ty)
        }
        Op::Dense { weights, bias } => {
            kernel(weights, &Geometry::UNIT, from)?;
            entries("bias", bias.as_deref(), weights.shape[0])?;
            require(from.shape.len() == 1, || format!("is dense and reads {from}"))?;
            result(weights, &Geometry::UNIT, None, from, ty)
        }
        Op::Linear {
            weights,
            geom,
            pool,
            epilogue,
        } => {
            kernel(weights, geom, from)?;
            if let Some(w) = pool {
                window(w)?;
                let apart = w.pads == [0; 4] && w.stride[0] >= w.size[0] && w.stride[1] >= w.size[1];
                require(apart, || "its pool overlaps or pads".into())?;
            }
            result(weights, geom, pool.as_ref(), from, ty)?;
            follows(g, id, weights, epilogue)
        }
        _ => {
            require(from.shape == ty.shape, || format!("makes {ty} of {from}"))?;
            constants(op, ty, channels)
        }
    }
}

/// An operation with two operands.
fn pair(g: &Graph, op: &Op, ty: &Ty, operands: [NodeId; 2]) -> Check {
    let from = operands.map(|id| &g.node(id).ty);
    let alike = from.iter().all(|f| f.shape == ty.shape);
    require(alike, || format!("makes {ty} of {} and {}", from[0], from[1]))?;
    let all = |fits: fn(Elem) -> bool| from.iter().all(|f| fits(f.elem));
    let fits = match op {
        Op::Join(Join::Float { .. }) => all(|e| e == Elem::F32) && ty.elem == Elem::F32,
        Op::Join(Join::Integer { .. }) => {
            all(|e| !matches!(e, Elem::Real | Elem::F32)) && matches!(ty.elem, Elem::Sign | Elem::U8 | Elem::I8)
        }
        _ => all(|e| matches!(e, Elem::Real | Elem::F32)) && ty.elem == Elem::Real,
    };
    require(fits, || format!("makes {ty} of {} and {}", from[0], from[1]))?;
    let Op::Join(Join::Integer {
        mul,
        add,
        shift,
        ties,
        lo,
        hi,
    }) = op
    else {
        return Ok(());
    };
    let channels = ty.chw()[0];
    let full = mul.iter().chain([add]).all(|v| v.len() == channels);
    require(full, || format!("has not {channels} entries of everything"))?;
    let range = if ty.elem == Elem::U8 { 0..=255 } else { -128..=127 };
    let clamps = range.contains(lo) && range.contains(hi) && lo <= hi && *shift < 63;
    require(clamps, || format!("clamps to {lo}..={hi}, with the shift {shift}"))?;
    // Every channel's numbers with every channel's values, as the kernels' proofs take them.
    let greatest = |v: &[i64]| v.iter().map(|x| i128::from(*x).abs()).max().unwrap_or(0);
    rounding(*ties, *shift)?;
    let mut bound = greatest(add) + ties.map_or(0, |t| t.lift.into());
    for (mul, id) in mul.iter().zip(operands) {
        let (lo, hi) = range::values(g, id).ok_or("reads values without bounds")?;
        bound += greatest(mul) * i128::from(lo.abs().max(hi.abs()));
    }
    require(bound <= i128::from(i64::MAX), || "its sums do not fit 64 bits".into())
}

fn element(op: &Op, from: &Ty, to: &Ty) -> Check {
    let real = matches!(from.elem, Elem::Real | Elem::F32);
    let byte = |e: Elem| matches!(e, Elem::U8 | Elem::I8);
    let fits = match op {
        Op::Input | Op::Add | Op::Join(_) => true,
        Op::Output | Op::Flatten | Op::MaxPool(_) => from.elem == to.elem,
        Op::Dequantize { .. } => byte(from.elem) && to.elem == Elem::Real,
        Op::FromSign => from.elem == Elem::Sign && to.elem == Elem::Real,
        Op::Quantize { .. } => real && byte(to.elem),
        Op::Sign => real && to.elem == Elem::Sign,
        Op::Conv { .. }
        | Op::Dense { .. }
        | Op::AveragePool(_)
        | Op::BatchNorm { .. }
        | Op::Affine { .. }
        | Op::Relu
        | Op::Clip { .. } => real && to.elem == Elem::Real,
        Op::Linear { epilogue, .. } => {
            !matches!(from.elem, Elem::Real | Elem::I32)
                && match epilogue {
                    Epilogue::Sums => to.elem == Elem::I32,
                    Epilogue::Threshold(_) => to.elem == Elem::Sign,
                    Epilogue::Requant { .. } => byte(to.elem),
                    Epilogue::Float { .. } => to.elem == Elem::F32,
                }
        }
    };
    require(fits, || format!("makes {to} of {from}"))
}

fn constants(op: &Op, ty: &Ty, channels: usize) -> Check {
    match op {
        Op::BatchNorm {
            scale,
            bias,
            mean,
            variance,
            epsilon,
        } => {
            for (name, values) in [("scale", scale), ("bias", bias), ("mean", mean), ("variance", variance)] {
                entries(name, Some(values), channels)?;
            }
            let positive = variance.iter().all(|v| f64::from(*v) + f64::from(*epsilon) > 0.0);
            require(positive && epsilon.is_finite(), || {
                "has a variance that is not positive".into()
            })
        }
        Op::Affine { mul, div, add } => {
            for (name, values) in [("mul", mul), ("div", div), ("add", add)] {
                entries(name, Some(values), if values.len() == 1 { 1 } else { channels })?;
            }
            require(div.iter().all(|d| *d != 0.0), || "divides by 0".into())
        }
        Op::Clip { lo, hi } => require(lo.is_finite() && hi.is_finite() && lo <= hi, || {
            format!("clips to {lo}..={hi}")
        }),
        Op::Quantize { scale, zero_point } => step(*scale, *zero_point, ty.elem),
        Op::Dequantize { scale, .. } => require(*scale > 0.0 && scale.is_finite(), || format!("has the scale {scale}")),
        _ => Ok(()),
    }
}

fn step(scale: f32, zero: i32, elem: Elem) -> Check {
    require(scale > 0.0 && scale.is_finite(), || format!("has the scale {scale}"))?;
    let range = if elem == Elem::U8 { 0..=255 } else { -128..=127 };
    require(range.contains(&zero), || format!("has the zero point {zero}"))
}

fn entries(name: &str, values: Option<&[f32]>, channels: usize) -> Check {
    let values = values.unwrap_or(&[]);
    require(values.is_empty() || values.len() == channels, || {
        format!("has {} entries of {name} for {channels} channels", values.len())
    })?;
    require(values.iter().all(|v| v.is_finite()), || {
        format!("has a {name} that is not finite")
    })
}

fn window(w: &Window) -> Check {
    let [top, left, bottom, right] = w.pads;
    let positive = w.size.iter().chain(&w.stride).all(|&x| x > 0);
    let filled = top.max(bottom) < w.size[0] && left.max(right) < w.size[1];
    // The count of cells is an exact `f32`.
    let cells = w.size[0].checked_mul(w.size[1]).is_some_and(|n| n < 1 << 24);
    require(positive && filled && cells, || format!("has the window {w:?}"))
}

fn kernel(w: &Weights, geom: &Geometry, from: &Ty) -> Check {
    let [o, i, _, _] = w.shape;
    let count: usize = w.shape.iter().product();
    let positive = geom.stride.iter().chain(&geom.dilation).all(|&x| x > 0) && geom.groups > 0 && count > 0;
    require(positive, || {
        format!("has the geometry {geom:?} and the kernel {:?}", w.shape)
    })?;
    let grouped = o.is_multiple_of(geom.groups) && i * geom.groups == from.chw()[0];
    require(grouped, || {
        format!("has the kernel {:?} in {} groups on {from}", w.shape, geom.groups)
    })?;
    match &w.data {
        WeightData::Float(values) => {
            require(values.len() == count, || {
                format!("has {} weights for {:?}", values.len(), w.shape)
            })?;
            require(values.iter().all(|v| v.is_finite()), || {
                "has a weight that is not finite".into()
            })
        }
        WeightData::Coded { depth, codes, scale } => {
            require(codes.len() == count, || {
                format!("has {} codes for {:?}", codes.len(), w.shape)
            })?;
            let (lo, hi) = depth.range();
            let within = codes
                .iter()
                .all(|c| (lo..=hi).contains(c) && (*depth != Depth::Binary || *c != 0));
            require(within, || format!("has a code that is not {depth:?}"))?;
            require(scale.len() == o, || {
                format!("has {} scales for {o} outputs", scale.len())
            })?;
            require(scale.iter().all(|s| *s > 0.0 && s.is_finite()), || {
                "has a scale that is not positive".into()
            })
        }
    }
}

fn result(w: &Weights, geom: &Geometry, pool: Option<&Window>, from: &Ty, to: &Ty) -> Check {
    let [mut h, mut width] = conv_extent(from.chw(), w.shape, geom).ok_or("its kernel does not fit the map")?;
    if let Some(pool) = pool {
        [h, width] = pool_extent([w.shape[0], h, width], pool).ok_or("its pool does not fit the sums")?;
    }
    require(to.chw() == [w.shape[0], h, width], || format!("makes {to} of {from}"))
}

/// The epilogue of a fused layer.
fn follows(g: &Graph, id: NodeId, w: &Weights, epilogue: &Epilogue) -> Check {
    let outputs = w.shape[0];
    let sums = range::sums(g, id);
    let within = |limit: i64| sums.iter().flatten().all(|(lo, hi)| *lo >= -limit && *hi <= limit);
    require(within(i64::from(i32::MAX)), || "its sums do not fit 32 bits".into())?;
    let length = |name: &str, n: usize| {
        require(n == outputs, || {
            format!("has {n} entries of {name} for {outputs} outputs")
        })
    };
    match epilogue {
        Epilogue::Sums => require(sums.is_some(), || "has no integer sums".into()),
        Epilogue::Threshold(thresholds) => {
            require(sums.is_some(), || "compares a float sum with an integer".into())?;
            length("threshold", thresholds.len())
        }
        Epilogue::Requant {
            mul,
            add,
            shift,
            ties,
            lo,
            hi,
        } => {
            let sums = sums.ok_or("requantises a float sum")?;
            length("mul", mul.len())?;
            length("add", add.len())?;
            length("shift", shift.len())?;
            let range = if g.node(id).ty.elem == Elem::U8 {
                0..=255
            } else {
                -128..=127
            };
            require(range.contains(lo) && range.contains(hi) && lo <= hi, || {
                format!("clamps to {lo}..={hi}")
            })?;
            for o in 0..outputs {
                require(mul[o] >= 0 && shift[o] < 63, || {
                    format!("has mul {} and shift {}", mul[o], shift[o])
                })?;
                rounding(*ties, shift[o])?;
                let lift = ties.map_or(0, |t| i128::from(t.lift));
                let at = |sum: i64| i128::from(sum) * i128::from(mul[o]) + i128::from(add[o]);
                let fits = [at(sums[o].0), at(sums[o].1) + lift]
                    .map(i64::try_from)
                    .iter()
                    .all(Result::is_ok);
                require(fits, || format!("requantisation overflows in channel {o}"))?;
            }
            Ok(())
        }
        Epilogue::Float { mul, add, floor } => {
            require(within((1 << 24) - 1), || "its sums do not fit an f32".into())?;
            length("mul", mul.len())?;
            length("add", add.len())?;
            let finite = mul.iter().chain(add).chain(floor).all(|x| x.is_finite());
            require(finite && mul.iter().all(|m| *m >= 0.0), || {
                "has a factor that is negative or not finite".into()
            })
        }
    }
}

/// What rounds ties moves nothing by more than one result.
fn rounding(ties: Option<Ties>, shift: u8) -> Check {
    let fits = |t: &Ties| (0..=1i64 << shift).contains(&t.lift) && (0..=1).contains(&t.parity);
    require(ties.as_ref().is_none_or(fits), || {
        format!("rounds by {ties:?} before a shift by {shift}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(op: Op, from: Ty, to: Ty) -> Graph {
        let mut g = Graph::new();
        let input = g.add("input", Op::Input, from, &[]);
        let mid = g.add("mid", op, to.clone(), &[input]);
        g.add("output", Op::Output, to, &[mid]);
        g
    }

    fn linear(codes: Vec<i8>, epilogue: Epilogue) -> Op {
        Op::Linear {
            weights: Weights {
                shape: [1, codes.len(), 1, 1],
                data: WeightData::Coded {
                    depth: Depth::Binary,
                    codes,
                    scale: vec![1.0],
                },
            },
            geom: Geometry::UNIT,
            pool: None,
            epilogue,
        }
    }

    #[test]
    fn accepts_a_layer() {
        let op = linear(vec![1, -1], Epilogue::Threshold(vec![3]));
        verify(&chain(op, Ty::new(Elem::U8, [2]), Ty::new(Elem::Sign, [1]))).unwrap();
    }

    #[test]
    fn each_law_has_a_witness() {
        let u8s = || Ty::new(Elem::U8, [2]);
        let broken = [
            (
                "codes",
                linear(vec![1, 0], Epilogue::Threshold(vec![3])),
                Elem::Sign,
                "not Binary",
            ),
            (
                "length",
                linear(vec![1, 1], Epilogue::Threshold(vec![])),
                Elem::Sign,
                "0 entries",
            ),
            (
                "element",
                linear(vec![1, 1], Epilogue::Threshold(vec![1])),
                Elem::I8,
                "makes i8",
            ),
            (
                "kernel",
                linear(vec![1, 1, 1], Epilogue::Threshold(vec![1])),
                Elem::Sign,
                "kernel",
            ),
            (
                "overflow",
                linear(
                    vec![1, 1],
                    Epilogue::Requant {
                        mul: vec![i32::MAX],
                        add: vec![i64::MAX],
                        shift: vec![1],
                        ties: None,
                        lo: 0,
                        hi: 1,
                    },
                ),
                Elem::I8,
                "overflows",
            ),
        ];
        for (law, op, elem, message) in broken {
            let error = verify(&chain(op, u8s(), Ty::new(elem, [1]))).unwrap_err();
            assert!(error.contains(message), "{law}: {error}");
        }
        let relu = chain(Op::Relu, u8s(), Ty::new(Elem::Real, [2]));
        assert!(verify(&relu).unwrap_err().contains("makes real[2] of u8[2]"));
        assert!(verify(&Graph::new()).unwrap_err().contains("one input"));
    }
}
