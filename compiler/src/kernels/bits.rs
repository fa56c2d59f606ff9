//! Binary and ternary weights as rows of bits.

use super::nest::Job;
use super::view::{self, WORD};
use crate::ir::Depth;
use crate::kir::build::{Builder, idx, int, ints};
use crate::kir::{Buf, Expr, Ty};

/// Two sets of weights as bits, or one: which are -1, and which are not 0.
#[derive(Clone, Copy, Debug)]
pub struct Planes {
    /// 1 where the code is -1.
    pub minus: Buf,
    /// 1 where the code is not 0; absent for binary weights.
    pub live: Option<Buf>,
}

/// Which bit of a word stands for its first weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The least significant: to be read at any place.
    Low,
    /// The most significant: to be read one after the other by shifting left, where the sign is the bit.
    High,
}

/// Packs the weights, output after output, taps in the order of [`Job::source`], each row beginning with a fresh word if
/// `aligned`.
pub fn pack(b: &mut Builder, job: &Job, depth: Depth, codes: &[i8], first: First, aligned: bool) -> Planes {
    let taps = job.taps();
    let row = if aligned { taps.div_ceil(WORD) * WORD } else { taps };
    let outputs = job.weights.shape[0];
    let plane = |is: &dyn Fn(i8) -> bool| {
        let mut words = vec![0u32; (outputs * row).div_ceil(WORD)];
        for o in 0..outputs {
            for k in 0..taps {
                if is(codes[job.source(o, k)]) {
                    let at = o * row + k;
                    let bit = match first {
                        First::Low => at % WORD,
                        First::High => WORD - 1 - at % WORD,
                    };
                    words[at / WORD] |= 1 << bit;
                }
            }
        }
        ints(words.into_iter().map(i64::from), Ty::U32)
    };
    let minus = b.constants("minus", Ty::U32, plane(&|c| c < 0));
    let live = (depth == Depth::Ternary).then(|| b.constants("live", Ty::U32, plane(&|c| c != 0)));
    Planes { minus, live }
}

/// The lowest `bits` of every number, one after the other in words, and a word more where a number's bits lie in two.
pub fn stream(numbers: &[i64], bits: usize) -> Vec<i64> {
    let mut words = vec![0u64; (numbers.len() * bits).div_ceil(WORD) + usize::from(!WORD.is_multiple_of(bits))];
    for (n, number) in numbers.iter().enumerate() {
        let (word, shift) = (n * bits / WORD, n * bits % WORD);
        let moved = (*number as u64) << shift;
        words[word] |= moved & u64::from(u32::MAX);
        if moved >> WORD > 0 {
            words[word + 1] |= moved >> WORD;
        }
    }
    words.into_iter().map(|word| word as i64).collect()
}

/// Number `n` of a [`stream`].
pub fn field(b: &mut Builder, stream: Buf, n: Expr, bits: usize) -> Expr {
    let lit = |n: usize| int(n as i64, Ty::U32);
    let at = b.val("at", n * idx(bits));
    let word = b.val("word", view::word(at.clone()));
    let shift = b.val("shift", (at & idx(WORD - 1)).cast(Ty::U32));
    let low = b.load(stream, word.clone()) >> shift.clone();
    let both = match WORD.is_multiple_of(bits) {
        true => low,
        false => low | ((b.load(stream, word + idx(1)) << lit(1)) << (lit(WORD - 1) - shift)),
    };
    both & lit((1 << bits) - 1)
}
