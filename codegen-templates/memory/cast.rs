//! Memory that values of several types share, one after the other: words, seen as elements of the type that they hold for now.

/// Elements without padding, for which any bytes are a value, aligned no stricter than a word.
///
/// # Safety
/// The type is such.
pub unsafe trait Plain {}

// SAFETY: integers and floats are such; of these, none is wider than a word.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for i16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// The first `LEN` elements of type `T` that lie in `words`.
#[inline(always)]
pub fn view<T: Plain, const WORDS: usize, const LEN: usize>(words: &[u32; WORDS]) -> &[T; LEN] {
    const { assert!(LEN * size_of::<T>() <= WORDS * size_of::<u32>() && align_of::<T>() <= align_of::<u32>()) };
    // SAFETY: the elements are plain; they lie inside the words and are aligned, as was just asserted.
    unsafe { &*words.as_ptr().cast() }
}

/// The same, to be written.
#[inline(always)]
pub fn view_mut<T: Plain, const WORDS: usize, const LEN: usize>(words: &mut [u32; WORDS]) -> &mut [T; LEN] {
    const { assert!(LEN * size_of::<T>() <= WORDS * size_of::<u32>() && align_of::<T>() <= align_of::<u32>()) };
    // SAFETY: as above, and nobody else has the words.
    unsafe { &mut *words.as_mut_ptr().cast() }
}
