//! Vectors of 128 bits: MVE (Helium) of Armv8.1-M.
//!
//! Rust has no MVE intrinsics and inline assembly no operand class for its registers, so these are the portable twins: right,
//! and no faster than other Rust. (With `-Ctarget-cpu=cortex-m55` rustc 1.95 vectorises them, and the result faults on QEMU 7.2.)
//!
//! Functions that read or write memory are unsafe: the caller sees to it that all elements are in range.

pub type I8x16 = [i8; 16];
pub type U8x16 = [u8; 16];
pub type I32x4 = [i32; 4];
pub type U32x4 = [u32; 4];
pub type U8x4 = [u8; 4];
pub type U16x4 = [u16; 4];

macro_rules! memory {
    ($($vector:ident of $lanes:literal $scalar:ident: $load:ident, $store:ident;)*) => { $(
        #[inline(always)]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise.
            unsafe { x.as_ptr().add(at).cast::<$vector>().read() }
        }
        #[inline(always)]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $vector) {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise.
            unsafe { x.as_mut_ptr().add(at).cast::<$vector>().write(v) }
        }
    )* };
}

memory! {
    U8x16 of 16 u8: load_u8x16, store_u8x16;
    I8x16 of 16 i8: load_i8x16, store_i8x16;
    U32x4 of 4 u32: load_u32x4, store_u32x4;
    I32x4 of 4 i32: load_i32x4, store_i32x4;
}

macro_rules! narrow {
    ($($vector:ident of $scalar:ident: $load:ident;)*) => { $(
        /// Loads numbers that become words.
        #[inline(always)]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + 4 <= x.len());
            // SAFETY: the caller's promise.
            unsafe { x.as_ptr().add(at).cast::<$vector>().read() }
        }
    )* };
}

narrow! {
    U8x4 of u8: load_u8x4;
    U16x4 of u16: load_u16x4;
}

/// An element in every lane.
#[inline(always)]
pub unsafe fn repeat1_u32x4(x: &[u32], at: usize) -> U32x4 {
    debug_assert!(at < x.len());
    // SAFETY: the caller's promise.
    [unsafe { *x.as_ptr().add(at) }; 4]
}

macro_rules! operations {
    ($($name:ident $(<$n:ident>)? ($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => { $(
        #[inline(always)]
        pub fn $name $(<const $n: u32>)? ($($arg: $ty),*) -> $out { $body }
    )* };
}

operations! {
    splat_u8x16(x: u8) -> U8x16 = [x; 16];
    splat_i8x16(x: i8) -> I8x16 = [x; 16];
    and_u8x16(a: U8x16, b: U8x16) -> U8x16 = core::array::from_fn(|i| a[i] & b[i]);
    xor_u8x16(a: U8x16, b: U8x16) -> U8x16 = core::array::from_fn(|i| a[i] ^ b[i]);
    xor_i8x16(a: I8x16, b: I8x16) -> I8x16 = core::array::from_fn(|i| a[i] ^ b[i]);
    add_i8x16(a: I8x16, b: I8x16) -> I8x16 = core::array::from_fn(|i| a[i].wrapping_add(b[i]));
    sub_i8x16(a: I8x16, b: I8x16) -> I8x16 = core::array::from_fn(|i| a[i].wrapping_sub(b[i]));
    min_i8x16(a: I8x16, b: I8x16) -> I8x16 = core::array::from_fn(|i| a[i].min(b[i]));
    shr_u8x16<N>(a: U8x16) -> U8x16 = core::array::from_fn(|i| a[i] >> N);
    cast_i8x16_u8x16(a: U8x16) -> I8x16 = core::array::from_fn(|i| a[i] as i8);
    cast_u8x16_i8x16(a: I8x16) -> U8x16 = core::array::from_fn(|i| a[i] as u8);
    dot_i32_i8x16_i8x16(acc: i32, a: I8x16, b: I8x16) -> i32 =
        (0..16).fold(acc, |sum, i| sum.wrapping_add(i32::from(a[i]) * i32::from(b[i])));
    splat_u32x4(x: u32) -> U32x4 = [x; 4];
    and_u32x4(a: U32x4, b: U32x4) -> U32x4 = core::array::from_fn(|i| a[i] & b[i]);
    or_u32x4(a: U32x4, b: U32x4) -> U32x4 = core::array::from_fn(|i| a[i] | b[i]);
    xor_u32x4(a: U32x4, b: U32x4) -> U32x4 = core::array::from_fn(|i| a[i] ^ b[i]);
    add_u32x4(a: U32x4, b: U32x4) -> U32x4 = core::array::from_fn(|i| a[i].wrapping_add(b[i]));
    sub_u32x4(a: U32x4, b: U32x4) -> U32x4 = core::array::from_fn(|i| a[i].wrapping_sub(b[i]));
    mul_u32x4(a: U32x4, b: U32x4) -> U32x4 = core::array::from_fn(|i| a[i].wrapping_mul(b[i]));
    shl_u32x4<N>(a: U32x4) -> U32x4 = core::array::from_fn(|i| a[i] << N);
    shr_u32x4<N>(a: U32x4) -> U32x4 = core::array::from_fn(|i| a[i] >> N);
    splat_i32x4(x: i32) -> I32x4 = [x; 4];
    add_i32x4(a: I32x4, b: I32x4) -> I32x4 = core::array::from_fn(|i| a[i].wrapping_add(b[i]));
    sub_i32x4(a: I32x4, b: I32x4) -> I32x4 = core::array::from_fn(|i| a[i].wrapping_sub(b[i]));
    min_i32x4(a: I32x4, b: I32x4) -> I32x4 = core::array::from_fn(|i| a[i].min(b[i]));
    max_i32x4(a: I32x4, b: I32x4) -> I32x4 = core::array::from_fn(|i| a[i].max(b[i]));
    shr_i32x4<N>(a: I32x4) -> I32x4 = core::array::from_fn(|i| a[i] >> N);
    cast_i32x4_u32x4(a: U32x4) -> I32x4 = core::array::from_fn(|i| a[i] as i32);
    cast_u32x4_u16x4(a: U16x4) -> U32x4 = a.map(u32::from);
    cast_u32x4_u8x4(a: U8x4) -> U32x4 = a.map(u32::from);
    ge_mask_i32x4(a: I32x4, b: I32x4) -> u32 = (0..4).fold(0, |mask, i| mask | (u32::from(a[i] >= b[i]) << i));
    ge_mask_i8x16(a: I8x16, b: I8x16) -> u32 = (0..16).fold(0, |mask, i| mask | (u32::from(a[i] >= b[i]) << i));
}
