//! The text form: one line for each node, operands before users.
//!
//! ```text
//! n4 = linear i8[32x12x12] n0 "conv1" kernel [32x1x5x5] ternary 8c1d7a02 pool 2x2 requant 0..=127
//! ```
//! Long constants are shown as a digest (FNV-1a, 32 bits), so that equal graphs have equal text and a change shows.

use super::{Depth, Epilogue, Geometry, Graph, Join, Op, Ties, WeightData, Weights, Window};
use std::fmt::{self, Display, Formatter};

impl Display for Graph {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for id in self.order() {
            let node = self.node(id);
            write!(f, "{id} = {} {}", name(&node.op), node.ty)?;
            for operand in self.operands(id) {
                write!(f, " {operand}")?;
            }
            write!(f, " {:?}", node.name)?;
            details(&node.op, f)?;
            writeln!(f)?;
        }
        Ok(())
    }
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Input => "input",
        Op::Output => "output",
        Op::Dequantize { .. } => "dequantize",
        Op::Quantize { .. } => "quantize",
        Op::Conv { .. } => "conv",
        Op::Dense { .. } => "dense",
        Op::BatchNorm { .. } => "batch_norm",
        Op::Affine { .. } => "affine",
        Op::Relu => "relu",
        Op::Clip { .. } => "clip",
        Op::Sign => "sign",
        Op::Add => "add",
        Op::FromSign => "from_sign",
        Op::Flatten => "flatten",
        Op::MaxPool(_) => "max_pool",
        Op::AveragePool(_) => "average_pool",
        Op::Linear { .. } => "linear",
        Op::Join(_) => "join",
    }
}

fn details(op: &Op, f: &mut Formatter<'_>) -> fmt::Result {
    match op {
        Op::Dequantize { scale, zero_point } | Op::Quantize { scale, zero_point } => {
            write!(f, " scale {scale:?} zero {zero_point}")
        }
        Op::Conv { weights, geom, bias } => {
            kernel(weights, geom, f)?;
            addend(bias.as_deref(), f)
        }
        Op::Dense { weights, bias } => {
            kernel(weights, &Geometry::UNIT, f)?;
            addend(bias.as_deref(), f)
        }
        Op::BatchNorm {
            scale,
            bias,
            mean,
            variance,
            epsilon,
        } => {
            for (name, values) in [("scale", scale), ("bias", bias), ("mean", mean), ("variance", variance)] {
                write!(f, " {name} {}", Floats(values))?;
            }
            write!(f, " epsilon {epsilon:?}")
        }
        Op::Affine { mul, div, add } => write!(f, " mul {} div {} add {}", Floats(mul), Floats(div), Floats(add)),
        Op::Clip { lo, hi } => write!(f, " {lo:?}..={hi:?}"),
        Op::MaxPool(w) | Op::AveragePool(w) => window(w, f),
        Op::Linear {
            weights,
            geom,
            pool,
            epilogue,
        } => {
            kernel(weights, geom, f)?;
            if let Some(w) = pool {
                f.write_str(" pool")?;
                window(w, f)?;
            }
            match epilogue {
                Epilogue::Sums => f.write_str(" sums"),
                Epilogue::Threshold(t) => write!(f, " threshold {}", digest(t.iter().flat_map(|x| x.to_le_bytes()))),
                Epilogue::Requant {
                    mul,
                    add,
                    shift,
                    ties,
                    lo,
                    hi,
                } => {
                    let bytes = mul.iter().flat_map(|x| x.to_le_bytes());
                    let bytes = bytes
                        .chain(add.iter().flat_map(|x| x.to_le_bytes()))
                        .chain(shift.iter().copied());
                    write!(f, " requant {lo}..={hi} {}{}", digest(bytes), to_even(*ties))
                }
                Epilogue::Float { mul, add, floor } => {
                    write!(f, " float mul {} add {}", Floats(mul), Floats(add))?;
                    floor.map_or(Ok(()), |x| write!(f, " floor {x:?}"))
                }
            }
        }
        Op::Join(Join::Integer {
            mul,
            add,
            shift,
            ties,
            lo,
            hi,
        }) => {
            let numbers = mul.iter().flatten().chain(add).flat_map(|x| x.to_le_bytes());
            write!(
                f,
                " requant {lo}..={hi} shift {shift} {}{}",
                digest(numbers),
                to_even(*ties)
            )
        }
        Op::Join(Join::Float { floor }) => floor.map_or(Ok(()), |x| write!(f, " floor {x:?}")),
        _ => Ok(()),
    }
}

fn kernel(w: &Weights, geom: &Geometry, f: &mut Formatter<'_>) -> fmt::Result {
    let [o, i, kh, kw] = w.shape;
    write!(f, " kernel [{o}x{i}x{kh}x{kw}]")?;
    match &w.data {
        WeightData::Float(values) => write!(f, " float {}", Floats(values))?,
        WeightData::Coded { depth, codes, scale } => {
            let depth = match depth {
                Depth::Binary => "binary",
                Depth::Ternary => "ternary",
                Depth::Int8 => "int8",
            };
            write!(
                f,
                " {depth} {} scale {}",
                digest(codes.iter().map(|&c| c as u8)),
                Floats(scale)
            )?;
        }
    }
    let unit = Geometry::UNIT;
    if geom.stride != unit.stride {
        write!(f, " stride {}x{}", geom.stride[0], geom.stride[1])?;
    }
    if geom.pads != unit.pads {
        write!(f, " pads {:?}", geom.pads)?;
    }
    if geom.dilation != unit.dilation {
        write!(f, " dilation {}x{}", geom.dilation[0], geom.dilation[1])?;
    }
    if geom.groups != unit.groups {
        write!(f, " groups {}", geom.groups)?;
    }
    Ok(())
}

fn addend(bias: Option<&[f32]>, f: &mut Formatter<'_>) -> fmt::Result {
    bias.map_or(Ok(()), |b| write!(f, " bias {}", Floats(b)))
}

fn to_even(ties: Option<Ties>) -> String {
    ties.map_or(String::new(), |t| format!(" ties {} of {}", t.lift, t.parity))
}

fn window(w: &Window, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, " {}x{}", w.size[0], w.size[1])?;
    if w.stride != w.size {
        write!(f, " stride {}x{}", w.stride[0], w.stride[1])?;
    }
    if w.pads != [0; 4] {
        write!(f, " pads {:?}", w.pads)?;
    }
    Ok(())
}

/// One value as it is, more as a digest.
struct Floats<'a>(&'a [f32]);

impl Display for Floats<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "{one:?}"),
            many => f.write_str(&digest(many.iter().flat_map(|x| x.to_le_bytes()))),
        }
    }
}

/// FNV-1a.
fn digest(bytes: impl Iterator<Item = u8>) -> String {
    let hash = bytes.fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}
