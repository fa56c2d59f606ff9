//! Binary and ternary weights as codes in the bytes that vectors load, and how these become bytes again. A code is the weight above
//! the least one, halved where there are two; a byte holds eight or four, each at a place of its own.

use crate::ir::Depth;
use crate::kir::build::{Builder, idx, int, ints, splat};
use crate::kir::{BinOp, Buf, Expr, Ty, VecOp};

/// Bits of a code, and the codes of a byte.
pub fn code(depth: Depth) -> (u32, usize) {
    let bits = if depth == Depth::Binary { 1 } else { 2 };
    (bits, 8 / bits as usize)
}

/// The code of a weight.
pub fn of(depth: Depth, weight: i8) -> u8 {
    match depth {
        Depth::Binary => u8::from(weight > 0),
        _ => (weight + 1) as u8,
    }
}

/// The codes of one place in every byte.
pub fn at_place(codes: Expr, shift: u32, bits: u32, ty: Ty) -> Expr {
    let shifted = match shift {
        0 => codes,
        n => Expr::Bin(BinOp::Shr, codes.into(), splat(int(n.into(), Ty::U8), ty).into()),
    };
    // The uppermost place is alone after the shift.
    if shift + bits == 8 {
        shifted
    } else {
        shifted & splat(int((1 << bits) - 1, Ty::U8), ty)
    }
}

/// Weights of all blocks of outputs, to be expanded to bytes or to 16 bits one block at a time.
///
/// Those of a block are a row, however it is ordered. Each vector of bytes holds as many vectors of weights as a byte has codes, the first
/// in the lowest bits. Where what is left fills none, its bytes are as many as it needs: they are loaded with what comes behind them, and
/// what this expands to is overwritten, or nothing reads it.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    codes: Buf,
    depth: Depth,
    /// Bytes of a vector.
    width: usize,
    /// Bytes of a block, all but the last of which are as long.
    block: usize,
}

impl Packed {
    /// Packs the rows of weights of all blocks, for vectors of so many bytes.
    pub fn declare(b: &mut Builder, depth: Depth, width: usize, blocks: &[Vec<i8>]) -> Packed {
        let (bits, per) = code(depth);
        let mut bytes: Vec<u8> = vec![];
        let mut beyond = 0;
        for row in blocks {
            for part in row.chunks(width * per) {
                let n = part.len().div_ceil(per);
                let byte = |j: usize| {
                    let place = |p: usize| part.get(p * n + j).map_or(0, |&w| of(depth, w) << (p as u32 * bits));
                    (0..per).fold(0, |byte, p| byte | place(p))
                };
                bytes.extend((0..n).map(byte));
                beyond = width - n;
            }
        }
        bytes.extend(vec![0; beyond]);
        Packed {
            codes: b.constants("codes", Ty::U8, ints(bytes.into_iter().map(i64::from), Ty::U8)),
            depth,
            width,
            block: blocks.first().map_or(0, |row| Packed::bytes(depth, width, row.len())),
        }
    }

    /// Bytes of a row of `n` weights.
    fn bytes(depth: Depth, width: usize, n: usize) -> usize {
        let (_, per) = code(depth);
        n / (width * per) * width + (n % (width * per)).div_ceil(per)
    }

    /// Writes the `n` weights of a block to `to`, from `at` on. What is written behind them, less than a vector, means nothing.
    pub fn expand(&self, b: &mut Builder, block: &Expr, n: usize, to: Buf, at: &Expr, ty: Ty) {
        let (_, per) = code(self.depth);
        let whole = n / (self.width * per);
        let first = b.val("packed", block.clone() * idx(self.block));
        b.each("vector", whole, false, |b, v| {
            let from = first.clone() + v.clone() * idx(self.width);
            let at = at.clone() + v * idx(self.width * per);
            self.vector(b, from, to, &at, self.width, ty);
        });
        let left = (n % (self.width * per)).div_ceil(per);
        if left > 0 {
            let from = first + idx(whole * self.width);
            let at = at.clone() + idx(whole * self.width * per);
            self.vector(b, from, to, &at, left, ty);
        }
    }

    /// Expands the vector of bytes at `from`; of every place the first `n`.
    fn vector(&self, b: &mut Builder, from: Expr, to: Buf, at: &Expr, n: usize, ty: Ty) {
        let (bits, per) = code(self.depth);
        let [codes, bytes] = [Ty::U8, Ty::I8].map(|ty| ty.times(self.width as u8));
        let loaded = b.load_n(self.codes, from, self.width, codes);
        let loaded = b.val("c", loaded);
        for place in 0..per {
            let byte = at_place(loaded.clone(), place as u32 * bits, bits, codes).cast(bytes);
            let one = splat(int(1, Ty::I8), bytes);
            let weight = match self.depth {
                Depth::Binary => byte.clone() + byte - one,
                // The code 3 does not occur; the verifier does not know.
                _ => (byte - one.clone()).min(one),
            };
            let at = at.clone() + idx(place * n);
            if ty == Ty::I8 {
                b.store(to, at, weight);
                continue;
            }
            let weight = b.val("weight", weight);
            for half in 0..2 {
                let wide = Expr::Vector(VecOp::Half(half), vec![weight.clone()]);
                b.store(to, at.clone() + idx(usize::from(half) * self.width / 2), wide);
            }
        }
    }
}
