//! Vectors of 128 bits: NEON (Advanced SIMD) of 32-bit Arm.
//!
//! Rust's intrinsics for it are not stable, and inline assembly takes no operands of 128 bits, so a vector is two halves, and what
//! is one instruction in C is two here. A half is an `f64`, the type that LLVM keeps in the registers of halves. No arithmetic of
//! Rust is done with it, and moves leave bits as they are.
//!
//! Functions that read or write memory are unsafe: the caller sees to it that all elements are in range.

use core::arch::asm;

/// The two halves of a vector, lower lanes first.
#[derive(Clone, Copy)]
pub struct Halves(f64, f64);

pub type U8x16 = Halves;
pub type I8x16 = Halves;
pub type U8x8 = f64;
pub type I8x8 = f64;
pub type U16x8 = Halves;
pub type I16x8 = Halves;
pub type U16x4 = f64;
pub type U32x4 = Halves;
pub type I32x4 = Halves;
/// Four bytes in a word.
pub type I8x4 = u32;
/// Four bytes in a word.
pub type U8x4 = u32;

/// Instructions that read and write their operands alone.
macro_rules! registers {
    ($($text:expr),+; $($operands:tt)*) => {
        // SAFETY: the instructions read and write these registers alone.
        unsafe { asm!($($text),+, $($operands)*, options(pure, nomem, nostack, preserves_flags)) }
    };
}

/// An instruction of one half, from registers of halves.
macro_rules! half {
    ($text:expr, $($x:expr),+ $(; $n:expr)?) => {{
        let out: f64;
        // SAFETY: the instruction reads and writes these registers alone.
        unsafe {
            asm!($text, lateout(dreg) out, $(in(dreg) $x,)+ $(n = const $n,)?
                options(pure, nomem, nostack, preserves_flags));
        }
        out
    }};
}

macro_rules! memory {
    ($($vector:ident of $lanes:literal $scalar:ident, $align:literal: $load:ident, $store:ident;)*) => { $(
        #[inline(always)]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + $lanes <= x.len());
            #[repr(C, packed($align))]
            struct Memory(f64, f64);
            // SAFETY: the caller's promise; the alignment is that of the elements.
            let Memory(low, high) = unsafe { x.as_ptr().add(at).cast::<Memory>().read() };
            Halves(low, high)
        }
        #[inline(always)]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $vector) {
            debug_assert!(at + $lanes <= x.len());
            #[repr(C, packed($align))]
            struct Memory(f64, f64);
            // SAFETY: the caller's promise; the alignment is that of the elements.
            unsafe { x.as_mut_ptr().add(at).cast::<Memory>().write(Memory(v.0, v.1)) }
        }
    )* };
}

memory! {
    U8x16 of 16 u8, 1: load_u8x16, store_u8x16;
    I8x16 of 16 i8, 1: load_i8x16, store_i8x16;
    U32x4 of 4 u32, 4: load_u32x4, store_u32x4;
    I32x4 of 4 i32, 4: load_i32x4, store_i32x4;
}

/// The same for elements of 16 bits: LLVM would compute an address for either half, which is a tenth of all instructions of a
/// convolution that reads expanded weights.
macro_rules! memory16 {
    ($($vector:ident of $scalar:ident: $load:ident, $store:ident;)*) => { $(
        #[inline(always)]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + 8 <= x.len());
            let (low, high);
            // SAFETY: the caller's promise; nothing is written but registers.
            unsafe {
                asm!("vld1.16 {{{0}}}, [{2}]!", "vld1.16 {{{1}}}, [{2}]",
                    out(dreg) low, lateout(dreg) high, inout(reg) x.as_ptr().add(at) => _,
                    options(pure, readonly, nostack, preserves_flags));
            }
            Halves(low, high)
        }
        #[inline(always)]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $vector) {
            debug_assert!(at + 8 <= x.len());
            // SAFETY: the caller's promise.
            unsafe {
                asm!("vst1.16 {{{0}}}, [{2}]!", "vst1.16 {{{1}}}, [{2}]",
                    in(dreg) v.0, in(dreg) v.1, inout(reg) x.as_mut_ptr().add(at) => _, options(nostack, preserves_flags));
            }
        }
    )* };
}

memory16! {
    U16x8 of u16: load_u16x8, store_u16x8;
    I16x8 of i16: load_i16x8, store_i16x8;
}

/// One number in all lanes.
macro_rules! repeated {
    ($($vector:ident of $scalar:ident, $bits:literal: $repeat:ident, $splat:ident;)*) => { $(
        #[inline(always)]
        pub unsafe fn $repeat(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at < x.len());
            let both: f64;
            // SAFETY: the caller's promise; nothing is written but the register.
            unsafe {
                asm!(concat!("vld1.", $bits, " {{{0}[]}}, [{1}]"), lateout(dreg) both, in(reg) x.as_ptr().add(at),
                    options(pure, readonly, nostack, preserves_flags));
            }
            Halves(both, both)
        }
        #[inline(always)]
        pub fn $splat(x: $scalar) -> $vector {
            let both: f64;
            registers!(concat!("vdup.", $bits, " {0}, {1}"); lateout(dreg) both, in(reg) x as u32);
            Halves(both, both)
        }
    )* };
}

repeated! {
    U8x16 of u8, 8: repeat1_u8x16, splat_u8x16;
    I8x16 of i8, 8: repeat1_i8x16, splat_i8x16;
    U16x8 of u16, 16: repeat1_u16x8, splat_u16x8;
    I16x8 of i16, 16: repeat1_i16x8, splat_i16x8;
    U32x4 of u32, 32: repeat1_u32x4, splat_u32x4;
    I32x4 of i32, 32: repeat1_i32x4, splat_i32x4;
}

macro_rules! bytes {
    ($($scalar:ident $vector:ident $half:ident $load:ident $repeat:ident $four:ident $store:ident;)*) => { $(
        /// Loads half a vector.
        #[inline(always)]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $half {
            debug_assert!(at + 8 <= x.len());
            // SAFETY: the caller's promise; unaligned reads are allowed.
            unsafe { x.as_ptr().add(at).cast::<f64>().read_unaligned() }
        }
        /// Four bytes again and again.
        #[inline(always)]
        pub unsafe fn $repeat(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + 4 <= x.len());
            // SAFETY: the caller's promise; unaligned reads are allowed.
            splat_u32x4(unsafe { x.as_ptr().add(at).cast::<u32>().read_unaligned() })
        }
        /// Stores four bytes.
        #[inline(always)]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $four) {
            debug_assert!(at + 4 <= x.len());
            // SAFETY: the caller's promise; unaligned writes are allowed.
            unsafe { x.as_mut_ptr().add(at).cast::<u32>().write_unaligned(v) }
        }
    )* };
}

bytes! {
    u8 U8x16 U8x8 load_u8x8 repeat4_u8x16 U8x4 store_u8x4;
    i8 I8x16 I8x8 load_i8x8 repeat4_i8x16 I8x4 store_i8x4;
}

/// Loads half a vector.
#[inline(always)]
pub unsafe fn load_u16x4(x: &[u16], at: usize) -> U16x4 {
    debug_assert!(at + 4 <= x.len());
    // SAFETY: the caller's promise; unaligned reads are allowed.
    unsafe { x.as_ptr().add(at).cast::<f64>().read_unaligned() }
}

/// Loads four bytes.
#[inline(always)]
pub unsafe fn load_u8x4(x: &[u8], at: usize) -> U8x4 {
    debug_assert!(at + 4 <= x.len());
    // SAFETY: the caller's promise; unaligned reads are allowed.
    unsafe { x.as_ptr().add(at).cast::<u32>().read_unaligned() }
}

/// Operations whose instruction has no more to it than its name.
macro_rules! binary {
    ($($vector:ident: $($name:ident $instruction:literal),*;)*) => { $($(
        #[inline(always)]
        pub fn $name(a: $vector, b: $vector) -> $vector {
            Halves(
                half!(concat!($instruction, " {0}, {1}, {2}"), a.0, b.0),
                half!(concat!($instruction, " {0}, {1}, {2}"), a.1, b.1),
            )
        }
    )*)* };
}

binary! {
    U8x16: and_u8x16 "vand", or_u8x16 "vorr", xor_u8x16 "veor", add_u8x16 "vadd.i8", sub_u8x16 "vsub.i8",
        min_u8x16 "vmin.u8", max_u8x16 "vmax.u8", mul_u8x16 "vmul.i8";
    I8x16: and_i8x16 "vand", or_i8x16 "vorr", xor_i8x16 "veor", add_i8x16 "vadd.i8", sub_i8x16 "vsub.i8",
        min_i8x16 "vmin.s8", max_i8x16 "vmax.s8", mul_i8x16 "vmul.i8";
    U16x8: and_u16x8 "vand", or_u16x8 "vorr", xor_u16x8 "veor", add_u16x8 "vadd.i16", sub_u16x8 "vsub.i16",
        min_u16x8 "vmin.u16", max_u16x8 "vmax.u16", mul_u16x8 "vmul.i16";
    I16x8: and_i16x8 "vand", or_i16x8 "vorr", xor_i16x8 "veor", add_i16x8 "vadd.i16", sub_i16x8 "vsub.i16",
        min_i16x8 "vmin.s16", max_i16x8 "vmax.s16", mul_i16x8 "vmul.i16";
    U32x4: and_u32x4 "vand", or_u32x4 "vorr", xor_u32x4 "veor", add_u32x4 "vadd.i32", sub_u32x4 "vsub.i32",
        min_u32x4 "vmin.u32", max_u32x4 "vmax.u32", mul_u32x4 "vmul.i32";
    I32x4: and_i32x4 "vand", or_i32x4 "vorr", xor_i32x4 "veor", add_i32x4 "vadd.i32", sub_i32x4 "vsub.i32",
        min_i32x4 "vmin.s32", max_i32x4 "vmax.s32", mul_i32x4 "vmul.i32";
}

macro_rules! unary {
    ($($name:ident($from:ident) -> $to:ident = $instruction:literal;)*) => { $(
        #[inline(always)]
        pub fn $name(a: $from) -> $to {
            Halves(half!(concat!($instruction, " {0}, {1}"), a.0), half!(concat!($instruction, " {0}, {1}"), a.1))
        }
    )* };
}

unary! {
    not_u8x16(U8x16) -> U8x16 = "vmvn";
    not_i8x16(I8x16) -> I8x16 = "vmvn";
    not_u16x8(U16x8) -> U16x8 = "vmvn";
    not_i16x8(I16x8) -> I16x8 = "vmvn";
    not_u32x4(U32x4) -> U32x4 = "vmvn";
    not_i32x4(I32x4) -> I32x4 = "vmvn";
    popcnt_u8x16(U8x16) -> U8x16 = "vcnt.8";
    pairs_u8x16(U8x16) -> U16x8 = "vpaddl.u8";
    pairs_u16x8(U16x8) -> U32x4 = "vpaddl.u16";
    pairs_i8x16(I8x16) -> I16x8 = "vpaddl.s8";
    pairs_i16x8(I16x8) -> I32x4 = "vpaddl.s16";
}

macro_rules! shifts {
    ($($vector:ident: $($name:ident $instruction:literal),*;)*) => { $($(
        #[inline(always)]
        pub fn $name<const N: i32>(a: $vector) -> $vector {
            Halves(
                half!(concat!($instruction, " {0}, {1}, #{n}"), a.0; N),
                half!(concat!($instruction, " {0}, {1}, #{n}"), a.1; N),
            )
        }
    )*)* };
}

shifts! {
    U8x16: shl_u8x16 "vshl.i8", shr_u8x16 "vshr.u8";
    I8x16: shr_i8x16 "vshr.s8";
    U16x8: shl_u16x8 "vshl.i16", shr_u16x8 "vshr.u16";
    I16x8: shr_i16x8 "vshr.s16";
    U32x4: shl_u32x4 "vshl.i32", shr_u32x4 "vshr.u32";
    I32x4: shr_i32x4 "vshr.s32";
}

/// The first lane of a half.
#[inline(always)]
fn first_word(a: f64) -> u32 {
    let word: u32;
    registers!("vmov.32 {0}, {1}[0]"; lateout(reg) word, in(dreg) a);
    word
}

/// The low bytes of four numbers.
#[inline(always)]
fn low_bytes(a: I32x4) -> u32 {
    let mut low = a.0;
    registers!("vuzp.16 {0}, {1}", "vuzp.8 {0}, {1}"; inout(dreg) low, inout(dreg) a.1 => _);
    first_word(low)
}

/// The sum of four numbers.
#[inline(always)]
fn sum(a: U32x4) -> u32 {
    let pairs = half!("vpadd.i32 {0}, {1}, {2}", a.0, a.1);
    first_word(half!("vpadd.i32 {0}, {1}, {1}", pairs))
}

/// The bits 1, 2, 4, 8, each `times` as much.
#[inline(always)]
fn lane_bits(times: u64) -> U32x4 {
    Halves(f64::from_bits(times * 0x2_0000_0001), f64::from_bits(times * 0x8_0000_0004))
}

/// All bits of the lanes where `a >= b`.
#[inline(always)]
fn at_least(a: I32x4, b: I32x4) -> U32x4 {
    Halves(
        half!("vcge.s32 {0}, {1}, {2}", a.0, b.0),
        half!("vcge.s32 {0}, {1}, {2}", a.1, b.1),
    )
}

/// Numbers of twice the width: each is put beside its sign.
macro_rules! widened {
    ($a:expr, $($text:literal),+) => {{
        let (low, high);
        registers!($($text),+; inout(dreg) $a => low, out(dreg) high);
        Halves(low, high)
    }};
}

macro_rules! operations {
    ($($name:ident $(<$n:ident>)? ($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => { $(
        #[inline(always)]
        pub fn $name $(<const $n: i32>)? ($($arg: $ty),*) -> $out { $body }
    )* };
}

operations! {
    dot_i16x8_i8x16_i8x16(acc: I16x8, a: I8x16, b: I8x16) -> I16x8 = {
        let products = |a: f64, b: f64| {
            let sums: f64;
            registers!("vmull.s8 q15, {1}, {2}", "vpadd.i16 {0}, d30, d31";
                lateout(dreg) sums, in(dreg) a, in(dreg) b, out("d30") _, out("d31") _);
            sums
        };
        add_i16x8(acc, Halves(products(a.0, b.0), products(a.1, b.1)))
    };
    lookup_u8x16(table: U8x16, index: U8x16) -> U8x16 = {
        let (low, high);
        registers!("vtbl.8 {0}, {{d0, d1}}, {2}", "vtbl.8 {1}, {{d0, d1}}, {3}";
            out(dreg) low, lateout(dreg) high, in(dreg) index.0, in(dreg) index.1, in("d0") table.0, in("d1") table.1);
        Halves(low, high)
    };
    cast_i8x16_u8x16(a: U8x16) -> I8x16 = a;
    cast_u8x16_i8x16(a: I8x16) -> U8x16 = a;
    cast_i32x4_u32x4(a: U32x4) -> I32x4 = a;
    cast_u32x4_i32x4(a: I32x4) -> U32x4 = a;
    cast_u32x4_u16x4(a: U16x4) -> U32x4 = widened!(a, "vmov.i16 {1}, #0", "vzip.16 {0}, {1}");
    cast_u32x4_u8x4(a: U8x4) -> U32x4 = cast_u32x4_u16x4(cast_i16x8_u8x8(f64::from_bits(a.into())).0);
    bits_u8x16_u32x4(a: U32x4) -> U8x16 = a;
    bits_u16x8_u8x16(a: U8x16) -> U16x8 = a;
    bits_u32x4_u16x8(a: U16x8) -> U32x4 = a;
    bits_u32x4_u8x16(a: U8x16) -> U32x4 = a;
    bits_i8x16_u32x4(a: U32x4) -> I8x16 = a;
    cast_i8x4_i32x4(a: I32x4) -> I8x4 = low_bytes(a);
    cast_u8x4_i32x4(a: I32x4) -> U8x4 = low_bytes(a);
    ge_mask_i32x4(a: I32x4, b: I32x4) -> u32 = sum(and_u32x4(at_least(a, b), lane_bits(1)));
    // The bits 1, 2, 4, ... 128 of either half, added up by half.
    ge_mask_i8x16(a: I8x16, b: I8x16) -> u32 = {
        let reached = |a: f64, b: f64| half!("vcge.s8 {0}, {1}, {2}", a, b);
        let bits = f64::from_bits(0x8040_2010_0804_0201);
        let bits = and_u8x16(Halves(reached(a.0, b.0), reached(a.1, b.1)), Halves(bits, bits));
        let pairs = half!("vpadd.i8 {0}, {1}, {2}", bits.0, bits.1);
        let fours = half!("vpadd.i8 {0}, {1}, {1}", pairs);
        first_word(half!("vpadd.i8 {0}, {1}, {1}", fours)) & 0xffff
    };
    high_i32x4(a: I32x4, b: I32x4) -> I32x4 = {
        let high = |a: f64, b: f64| {
            let product: f64;
            registers!("vmull.s32 q15, {1}, {2}", "vshrn.i64 {0}, q15, #32";
                lateout(dreg) product, in(dreg) a, in(dreg) b, out("d30") _, out("d31") _);
            product
        };
        Halves(high(a.0, b.0), high(a.1, b.1))
    };
    spread1_u32x4<N>(a: U32x4) -> U32x4 = {
        let half = if N < 2 { a.0 } else { a.1 };
        let both = half!("vdup.32 {0}, {1}[{n}]", half; N & 1);
        Halves(both, both)
    };
    cast_i16x8_u8x8(a: U8x8) -> I16x8 = widened!(a, "vmov.i8 {1}, #0", "vzip.8 {0}, {1}");
    cast_i16x8_i8x8(a: I8x8) -> I16x8 = widened!(a, "vshr.s8 {1}, {0}, #7", "vzip.8 {0}, {1}");
    lower_i8x16(a: I8x16) -> I16x8 = cast_i16x8_i8x8(a.0);
    upper_i8x16(a: I8x16) -> I16x8 = cast_i16x8_i8x8(a.1);
    dot_group_i16x8_i16x8_i16x8<N>(acc: I16x8, a: I16x8, b: I16x8) -> I16x8 = {
        let b = if N < 4 { b.0 } else { b.1 };
        let add = |acc: f64, a: f64| {
            let mut sum = acc;
            registers!("vmla.i16 {0}, {1}, {2}[{n}]"; inout(dreg) sum, in(dreg) a, in(dreg_low8) b, n = const N & 3);
            sum
        };
        Halves(add(acc.0, a.0), add(acc.1, a.1))
    };
    lower_i16x8(a: I16x8) -> I32x4 = widened!(a.0, "vshr.s16 {1}, {0}, #15", "vzip.16 {0}, {1}");
    upper_i16x8(a: I16x8) -> I32x4 = widened!(a.1, "vshr.s16 {1}, {0}, #15", "vzip.16 {0}, {1}");
    total_i32x4(a: I32x4) -> i32 = sum(a) as i32;
}

/// A bit for every lane of four pairs of vectors. First a bit of each vector goes to every fourth place of its lanes.
#[inline(always)]
pub fn ge_mask4_i32x4(
    a0: I32x4, b0: I32x4, a1: I32x4, b1: I32x4, a2: I32x4, b2: I32x4, a3: I32x4, b3: I32x4,
) -> u32 {
    let insert = |mut into: f64, from: f64| {
        registers!("vsli.32 {0}, {1}, #4"; inout(dreg) into, in(dreg) from);
        into
    };
    let mut all = at_least(a3, b3);
    for (a, b) in [(a2, b2), (a1, b1), (a0, b0)] {
        let lanes = at_least(a, b);
        all = Halves(insert(lanes.0, all.0), insert(lanes.1, all.1));
    }
    sum(and_u32x4(all, lane_bits(0x1111)))
}
