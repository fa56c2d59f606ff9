//! `memory/cast.rs`, which generated crates carry.
#![allow(unsafe_code, reason = "the file under test")]

#[path = "../memory/cast.rs"]
mod cast;

#[test]
fn what_is_written_as_a_type_is_read_as_that_type() {
    let mut words = [0u32; 4];
    let bytes: &mut [i8; 13] = cast::view_mut(&mut words);
    bytes.iter_mut().zip(-6..).for_each(|(b, v)| *b = v);
    assert_eq!(
        cast::view::<i8, 4, 13>(&words),
        &[-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6]
    );
    // The memory serves another type then.
    let floats: &mut [f32; 4] = cast::view_mut(&mut words);
    *floats = [1.5, -0.0, f32::MAX, 2.0];
    assert_eq!(cast::view::<f32, 4, 2>(&words), &[1.5, -0.0]);
    let halves: &mut [u16; 8] = cast::view_mut(&mut words);
    *halves = [1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(
        words,
        [0x0002_0001, 0x0004_0003, 0x0006_0005, 0x0008_0007].map(u32::to_le)
    );
}
