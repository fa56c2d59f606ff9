//! Vectors of 128 bits: MVE (Helium) of Armv8.1-M.
//!
//! Rust has no MVE intrinsics and inline assembly no operand class for its registers, so these are the portable twins: right,
//! and no faster than other Rust. (With `-Ctarget-cpu=cortex-m55` rustc 1.95 vectorises them, and the result faults on QEMU 7.2.)
//!
//! Functions that read or write memory are unsafe: the caller sees to it that all elements are in range.

pub type I8x16 = [i8; 16];
pub type U8x16 = [u8; 16];

macro_rules! memory {
    ($($vector:ident of $scalar:ident: $load:ident, $store:ident;)*) => { $(
        #[inline(always)]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + 16 <= x.len());
            // SAFETY: the caller's promise.
            unsafe { x.as_ptr().add(at).cast::<$vector>().read() }
        }
        #[inline(always)]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $vector) {
            debug_assert!(at + 16 <= x.len());
            // SAFETY: the caller's promise.
            unsafe { x.as_mut_ptr().add(at).cast::<$vector>().write(v) }
        }
    )* };
}

memory! {
    U8x16 of u8: load_u8x16, store_u8x16;
    I8x16 of i8: load_i8x16, store_i8x16;
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
}
