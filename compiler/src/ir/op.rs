//! The operations, and their exact meaning.
//!
//! Two dialects share one graph. **Imported** operations work on real numbers: a graph of them means its real-number
//! function with the file's constants, nothing rounded. **Fused** operations are what the passes turn them into and what
//! the planner accepts: integers, and `f32` in a stated order.

/// The weights of a [`Op::Conv`] or [`Op::Linear`]: `[outputs, inputs / groups, kernel height, kernel width]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Extents `[o, i, kh, kw]`.
    pub shape: [usize; 4],
    /// The values.
    pub data: WeightData,
}

/// Values of a weight tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightData {
    /// `code * scale[output]`.
    Coded {
        /// Which codes occur.
        depth: Depth,
        /// One per weight, within [`Depth::range`].
        codes: Vec<i8>,
        /// One per output channel, finite and positive. Fused operations ignore it: it went into the epilogue.
        scale: Vec<f32>,
    },
    /// Any finite values.
    Float(Vec<f32>),
}

/// Which codes a quantised weight may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Depth {
    /// -1 and +1: one bit.
    Binary,
    /// -1, 0 and +1: at most two bits.
    Ternary,
    /// -128..=127.
    Int8,
}

/// Where a convolution reads. A dense layer is a convolution whose kernel is the whole map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Rows, columns.
    pub stride: [usize; 2],
    /// Zeros around the map: top, left, bottom, right. A zero there is a real 0, also beside -1 and +1.
    pub pads: [usize; 4],
    /// Rows, columns.
    pub dilation: [usize; 2],
    /// Inputs and outputs fall into this many independent groups.
    pub groups: usize,
}

/// A pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows, columns.
    pub size: [usize; 2],
    /// Rows, columns.
    pub stride: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
}

/// What follows the sums of an [`Op::Linear`]. One entry per output channel; every channel's function is nondecreasing
/// (the passes negate the codes of channels where it was not), so that a maximum may be taken before or after it.
#[derive(Clone, Debug, PartialEq)]
pub enum Epilogue {
    /// `i32` output: the sum itself. Integer sums only.
    Sums,
    /// `sign` output: +1 where `sum >= threshold`, else -1. Integer sums only.
    Threshold(Vec<i32>),
    /// `i8` or `u8` output: `clamp((sum * mul + add) >> shift, lo, hi)` in 64-bit integers, the shift arithmetic.
    /// Integer sums only. The passes choose the numbers so that this is the exact quantizer for every reachable sum.
    ///
    /// Where ties fall on reachable sums, `ties` takes them to the even output, before the shift.
    ///
    /// Where they can, they choose them so that the high half of one product is enough: with `k` the places that every sum can
    /// be shifted left in 32 bits ([`super::range::headroom`]), all shifts are one, addends are multiples of `1 << (32 - k)`,
    /// and `(((sum << k) * mul) >> 32) + (add >> (32 - k))` fits 32 bits, so that one shift of it is left.
    Requant {
        /// Factors.
        mul: Vec<i32>,
        /// Addends, with the rounding in them.
        add: Vec<i64>,
        /// Shifts, below 63.
        shift: Vec<u8>,
        /// What rounds ties to even, where the rest cannot.
        ties: Option<Ties>,
        /// Least output.
        lo: i32,
        /// Greatest output.
        hi: i32,
    },
    /// `f32` output: `max(sum * mul + add, floor)`, each operation rounded to nearest even, the sum converted to `f32` first
    /// if it is an integer (it is below 2^24, so exactly).
    Float {
        /// Factors.
        mul: Vec<f32>,
        /// Addends.
        add: Vec<f32>,
        /// 0 for a rectifier; absent if there is none.
        floor: Option<f32>,
    },
}

/// Rounding half to even, where a multiplication, an addition and a shift cannot do it: as of the mean of two integers.
///
/// The addend is such that ties are rounded down. What is then of the wrong parity is lifted by a bit more than a tie lacks, and by less than
/// what any other sum does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ties {
    /// What is added before the shift, from 0 to `1 << shift`.
    pub lift: i64,
    /// Of which results: 1 for odd ones; 0 for even ones, where the zero point is odd.
    pub parity: i64,
}

impl Ties {
    /// A number that is to be shifted next, lifted if it has to be.
    pub fn lifted(self, scaled: i64, shift: u8) -> i64 {
        match (scaled >> shift) & 1 == self.parity {
            true => scaled + self.lift,
            false => scaled,
        }
    }
}

/// What becomes of two values of one shape, element by element. Vectors have one entry per channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Join {
    /// `clamp((a * mul[0] + b * mul[1] + add) >> shift, lo, hi)` of integers in 64 bits, the shift arithmetic. A `sign` output is
    /// +1 where that is not negative. The passes choose the numbers so that this is the exact quantizer for every pair of
    /// reachable operands, with `ties` as in [`Epilogue::Requant`].
    Integer {
        /// Factors of both operands.
        mul: [Vec<i64>; 2],
        /// Addends, with the rounding in them.
        add: Vec<i64>,
        /// Shift, below 63.
        shift: u8,
        /// What rounds ties to even, where the rest cannot.
        ties: Option<Ties>,
        /// Least result of the clamp.
        lo: i32,
        /// Greatest result of the clamp.
        hi: i32,
    },
    /// `max(a + b, floor)` of `f32`, rounded to nearest even.
    Float {
        /// 0 for a rectifier; absent if there is none.
        floor: Option<f32>,
    },
}

/// An operation. Each node has one output.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The sample that the caller hands in. No operand.
    Input,
    /// What the caller gets. One operand, same type.
    Output,

    // Imported: real numbers.
    /// `(x - zero_point) * scale`; `u8` or `i8` to real.
    Dequantize {
        /// Step, positive.
        scale: f32,
        /// The integer that means 0.
        zero_point: i32,
    },
    /// `clamp(round_half_even(x / scale) + zero_point)` into the output's range.
    Quantize {
        /// Step, positive.
        scale: f32,
        /// The integer that means 0.
        zero_point: i32,
    },
    /// Convolution of a map, plus a bias per output channel.
    Conv {
        /// Kernel.
        weights: Weights,
        /// Where it reads.
        geom: Geometry,
        /// One per output channel, or none.
        bias: Option<Vec<f32>>,
    },
    /// Matrix product of a vector with weights `[o, i, 1, 1]`, plus a bias per output.
    Dense {
        /// Matrix.
        weights: Weights,
        /// One per output, or none.
        bias: Option<Vec<f32>>,
    },
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias` per channel.
    BatchNorm {
        /// gamma.
        scale: Vec<f32>,
        /// beta.
        bias: Vec<f32>,
        /// Running mean.
        mean: Vec<f32>,
        /// Running variance, not negative.
        variance: Vec<f32>,
        /// Added to the variance.
        epsilon: f32,
    },
    /// `x * mul / div + add` per channel, or for all channels where there is one entry.
    Affine {
        /// Factors.
        mul: Vec<f32>,
        /// Divisors, not 0: a file may divide by 255, and 1/255 is no `f32`.
        div: Vec<f32>,
        /// Addends.
        add: Vec<f32>,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, lo), hi)`.
    Clip {
        /// Least result, finite.
        lo: f32,
        /// Greatest result, finite and not below `lo`.
        hi: f32,
    },
    /// +1 where `x >= 0`, else -1. Real to `sign`.
    Sign,
    /// Reads a `sign` value as real numbers.
    FromSign,
    /// Sum of two values of one shape. Two operands.
    Add,
    /// A map as a vector, row-major.
    Flatten,

    /// Mean over a window of a map; padding counts as 0.
    AveragePool(Window),

    // Both dialects.
    /// Maximum over a window of a map. Padding never wins: it counts as minus infinity.
    MaxPool(Window),

    // Fused: integers and `f32`.
    /// Sums of products, optionally their maximum over a window, then the epilogue.
    ///
    /// `i8`, `u8` and `sign` operands with coded weights give exact integer sums of `x * code`, proven to fit `i32`. Otherwise
    /// the sum is `f32`: starting from 0.0, over kernel rows, then kernel columns, then input channels, each product added with
    /// rounding; binary and ternary codes add or subtract `x`, and a code of 0 or a padded position adds nothing.
    Linear {
        /// Kernel; the scale is already in the epilogue.
        weights: Weights,
        /// Where it reads.
        geom: Geometry,
        /// Taken over the sums. Without padding and without overlap.
        pool: Option<Window>,
        /// From sums to outputs.
        epilogue: Epilogue,
    },
    /// Two values become one. Two operands: integers, or `f32`.
    Join(Join),
}

impl Depth {
    /// Least and greatest code.
    pub fn range(self) -> (i8, i8) {
        match self {
            Depth::Binary | Depth::Ternary => (-1, 1),
            Depth::Int8 => (-128, 127),
        }
    }

    /// Bits of the plain code.
    pub fn bits(self) -> u32 {
        match self {
            Depth::Binary => 1,
            Depth::Ternary => 2,
            Depth::Int8 => 8,
        }
    }
}

impl Window {
    /// Cells of the map that one result reads.
    pub fn cells(&self) -> usize {
        self.size.iter().product()
    }

    /// The sums over this window as a convolution that keeps channels apart: its kernel of ones, and where it reads.
    pub fn sums(&self, channels: usize) -> (Weights, Geometry) {
        let data = WeightData::Coded {
            depth: Depth::Binary,
            codes: vec![1; channels * self.cells()],
            scale: vec![1.0; channels],
        };
        let shape = [channels, 1, self.size[0], self.size[1]];
        let geom = Geometry {
            stride: self.stride,
            pads: self.pads,
            groups: channels,
            ..Geometry::UNIT
        };
        (Weights { shape, data }, geom)
    }
}

impl Geometry {
    /// A dense product: stride 1, no padding, no dilation, one group.
    pub const UNIT: Geometry = Geometry {
        stride: [1, 1],
        pads: [0; 4],
        dilation: [1, 1],
        groups: 1,
    };
}
