//! What the instruction mixes of x86 kernels can do at most: inner loops over operands in registers and the first cache, with
//! enough independent sums, and nothing around them.

use std::arch::x86_64::*;
use std::hint::black_box;

/// A mix of instructions.
pub struct Mix {
    /// What it computes, with which instructions.
    pub name: &'static str,
    /// Whether this processor has them.
    pub available: fn() -> bool,
    /// Multiply-adds of one call of `run`.
    pub macs: u64,
    /// Runs the loop; only where it is available.
    pub run: fn(),
}

/// All mixes.
pub const MIXES: &[Mix] = &[
    Mix {
        name: "binary x binary, AVX-512: vpxorq, vpopcntq, vpaddq",
        available: || is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vpopcntdq"),
        macs: CALLS * TURNS * 64 * 512,
        run: || {
            calls(|| {
                // SAFETY: run only where the features are there.
                unsafe { popcount_512(black_box(&WORDS)) }
            })
        },
    },
    Mix {
        name: "int8 x int8, AVX-512 VNNI: vpdpbusd",
        available: || is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni"),
        macs: CALLS * TURNS * 60 * 64,
        run: || {
            calls(|| {
                // SAFETY: run only where the features are there.
                unsafe { dot_512(black_box(&WORDS)) }
            })
        },
    },
    Mix {
        name: "binary x int8, AVX-512: vpshufb tables of 16 sums of half bytes, four in a byte",
        available: || is_x86_feature_detected!("avx512bw"),
        macs: CALLS * TURNS * 64 * 64 * 8,
        run: || {
            calls(|| {
                // SAFETY: run only where the feature is there.
                unsafe { tables_512(black_box(&WORDS)) }
            })
        },
    },
    Mix {
        name: "binary x binary, AVX2: carry-save adders (Harley-Seal), vpshufb popcount",
        available: || is_x86_feature_detected!("avx2"),
        macs: CALLS * TURNS * 128 * 256,
        run: || {
            calls(|| {
                // SAFETY: run only where the feature is there.
                unsafe { harley_seal_256(black_box(&WORDS)) }
            })
        },
    },
    Mix {
        name: "binary x int8, AVX2: vpshufb tables of 16 sums, 16-bit sums",
        available: || is_x86_feature_detected!("avx2"),
        macs: CALLS * TURNS * 128 * 32 * 8,
        run: || {
            calls(|| {
                // SAFETY: run only where the feature is there.
                unsafe { tables_256(black_box(&WORDS)) }
            })
        },
    },
];

/// Calls of a loop in a run.
const CALLS: u64 = 100;

/// Times that a loop goes over its operands, so that its setup does not count.
const TURNS: u64 = 32;

/// Operands: 4 KB, none of which crosses a cache line.
#[repr(align(64))]
struct Words([[u64; 8]; 64]);

static WORDS: Words = {
    let mut words = [[0; 8]; 64];
    let mut i = 0;
    while i < 512 {
        words[i / 8][i % 8] = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        i += 1;
    }
    Words(words)
};

fn calls<T>(call: impl Fn() -> T) {
    for _ in 0..CALLS {
        black_box(call());
    }
}

#[target_feature(enable = "avx512f")]
fn zmm(words: &Words, i: usize) -> __m512i {
    // SAFETY: 64 bytes that are there.
    unsafe { _mm512_loadu_si512(words.0[i].as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn ymm(words: &Words, i: usize) -> __m256i {
    // SAFETY: 32 bytes that are there.
    unsafe { _mm256_loadu_si256(words.0[i / 2][i % 2 * 4..].as_ptr().cast()) }
}

/// 8 sums.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn popcount_512(words: &Words) -> __m512i {
    let x: [__m512i; 8] = std::array::from_fn(|i| black_box(_mm512_set1_epi64(i as i64)));
    let mut sums = [_mm512_setzero_si512(); 8];
    for _ in 0..TURNS {
        let words = black_box(words);
        for block in 0..8 {
            for i in 0..8 {
                let equal = _mm512_xor_si512(x[i], zmm(words, block * 8 + i));
                sums[i] = _mm512_add_epi64(sums[i], _mm512_popcnt_epi64(equal));
            }
        }
    }
    sums.into_iter().fold(x[0], |a, b| _mm512_xor_si512(a, b))
}

/// 12 sums.
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot_512(words: &Words) -> __m512i {
    let x: [__m512i; 12] = std::array::from_fn(|i| black_box(_mm512_set1_epi64(i as i64)));
    let mut sums = [_mm512_setzero_si512(); 12];
    for _ in 0..TURNS {
        let words = black_box(words);
        for block in 0..5 {
            for i in 0..12 {
                sums[i] = _mm512_dpbusd_epi32(sums[i], x[i], zmm(words, block * 12 + i));
            }
        }
    }
    sums.into_iter().fold(x[0], |a, b| _mm512_xor_si512(a, b))
}

/// 64 outputs, 64 vectors of 8 weights each: a nibble picks one of the 16 sums of 4 activations, that of their low halves from one table,
/// that of their high halves from another. Of either, a byte holds four; then they are added in 16 bits, even and odd ones apart.
#[target_feature(enable = "avx512bw")]
fn tables_512(words: &Words) -> __m512i {
    let (nibble, byte) = (_mm512_set1_epi8(15), _mm512_set1_epi16(255));
    let mut sums = [_mm512_setzero_si512(); 4];
    for quad in 0..32 * TURNS as usize {
        let words = black_box(words);
        // The tables of four groups of activations come from memory, as in a convolution.
        let table = |t: usize| {
            let at = (quad * 8 + t) % 256;
            // SAFETY: 16 bytes that are there.
            _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(words.0[at / 4][at % 4 * 2..].as_ptr().cast()) })
        };
        let mut halves = [_mm512_setzero_si512(); 2];
        for pair in 0..2 {
            let both = zmm(words, (quad * 2 + pair) % 64);
            for (t, index) in [both, _mm512_srli_epi16::<4>(both)].into_iter().enumerate() {
                let index = _mm512_and_si512(index, nibble);
                for (half, sum) in halves.iter_mut().enumerate() {
                    let found = _mm512_shuffle_epi8(table(4 * pair + 2 * t + half), index);
                    *sum = _mm512_add_epi8(*sum, found);
                }
            }
        }
        for (half, sum) in halves.into_iter().enumerate() {
            sums[2 * half] = _mm512_add_epi16(sums[2 * half], _mm512_and_si512(sum, byte));
            sums[2 * half + 1] = _mm512_add_epi16(sums[2 * half + 1], _mm512_srli_epi16::<8>(sum));
        }
    }
    sums.into_iter().fold(nibble, |a, b| _mm512_xor_si512(a, b))
}

/// Adds three vectors of bits: the carries and the sums.
#[target_feature(enable = "avx2")]
fn add_bits(a: __m256i, b: __m256i, c: __m256i) -> (__m256i, __m256i) {
    let half = _mm256_xor_si256(a, b);
    let carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(half, c));
    (carry, _mm256_xor_si256(half, c))
}

/// One bits in every quarter.
#[target_feature(enable = "avx2")]
fn count_bits(v: __m256i) -> __m256i {
    let table = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
    );
    let nibble = _mm256_set1_epi8(15);
    let low = _mm256_shuffle_epi8(table, _mm256_and_si256(v, nibble));
    let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(v), nibble));
    _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256())
}

/// Blocks of 16 vectors (Muła, Kurz, Lemire, "Faster Population Counts Using AVX2 Instructions", 2018).
#[target_feature(enable = "avx2")]
fn harley_seal_256(words: &Words) -> __m256i {
    let x: [__m256i; 4] = std::array::from_fn(|i| black_box(_mm256_set1_epi64x(i as i64)));
    let zero = _mm256_setzero_si256();
    let (mut ones, mut twos, mut fours, mut eights, mut total) = (zero, zero, zero, zero, zero);
    for block in 0..8 * TURNS as usize {
        let words = black_box(words);
        let at = |i: usize| _mm256_xor_si256(x[i % 4], ymm(words, block % 8 * 16 + i));
        let four = |i: usize, ones: &mut __m256i, twos: &mut __m256i| {
            let (a, one) = add_bits(*ones, at(i), at(i + 1));
            let (b, one) = add_bits(one, at(i + 2), at(i + 3));
            *ones = one;
            let (carry, two) = add_bits(*twos, a, b);
            *twos = two;
            carry
        };
        let (a, b) = (four(0, &mut ones, &mut twos), four(4, &mut ones, &mut twos));
        let (first, rest) = add_bits(fours, a, b);
        let (a, b) = (four(8, &mut ones, &mut twos), four(12, &mut ones, &mut twos));
        let (second, rest) = add_bits(rest, a, b);
        fours = rest;
        let (sixteens, rest) = add_bits(eights, first, second);
        eights = rest;
        total = _mm256_add_epi64(total, count_bits(sixteens));
    }
    [ones, twos, fours, eights]
        .into_iter()
        .fold(total, |a, b| _mm256_add_epi64(a, count_bits(b)))
}

/// 32 outputs, 128 vectors of 8 weights each: a nibble picks one of the 16 sums of 4 activations, its low byte from one table,
/// its high byte from another.
#[target_feature(enable = "avx2")]
fn tables_256(words: &Words) -> __m256i {
    let nibble = _mm256_set1_epi8(15);
    let mut sums = [_mm256_setzero_si256(); 4];
    for i in 0..128 * TURNS as usize {
        let words = black_box(words);
        let index = ymm(words, i % 128);
        // The tables of two groups of four activations come from memory, as in a dense layer.
        let table = |t: usize| ymm(words, (i * 4 + t) % 128);
        for (t, index) in [index, _mm256_srli_epi16::<4>(index)].into_iter().enumerate() {
            let index = _mm256_and_si256(index, nibble);
            let low = _mm256_shuffle_epi8(table(2 * t), index);
            let high = _mm256_shuffle_epi8(table(2 * t + 1), index);
            sums[2 * t] = _mm256_add_epi16(sums[2 * t], _mm256_unpacklo_epi8(low, high));
            sums[2 * t + 1] = _mm256_add_epi16(sums[2 * t + 1], _mm256_unpackhi_epi8(low, high));
        }
    }
    sums.into_iter().fold(nibble, |a, b| _mm256_xor_si256(a, b))
}
