//! Classifies images on a Cortex-M board.
//!
//! The images come from `images.bin`, 784 bytes each, read from the directory of the debugger or emulator by semihosting. Without
//! that file they are the samples that `sqc compile` left in the crate. Firmware for a product would take them from a sensor; all
//! it needs of the network is the arena and one call.
#![no_std]
#![no_main]

use cortex_m_rt::{ExceptionFrame, entry, exception};
use lenet5_int8::{ARENA_BYTES, Arena, INPUT_LEN, MODEL_SHA256, OUTPUT_LEN, golden, infer};
use semihosting::fs::File;
use semihosting::io::Read;
use semihosting::{print, println, process};

#[entry]
fn main() -> ! {
    // Not on the stack: so the linker sees whether it fits the RAM. `entry` hands out a `static mut` of its function safely.
    static mut ARENA: Arena = Arena::new();
    println!("model {MODEL_SHA256}, arena {ARENA_BYTES} bytes");

    if let Ok(mut images) = File::open(c"images.bin") {
        let mut image = [0; INPUT_LEN];
        for number in 0.. {
            match images.read(&mut image) {
                Ok(INPUT_LEN) => classify(ARENA, number, &image),
                Ok(0) => break,
                other => panic!("image {number}: read {other:?}"),
            }
        }
    } else {
        (0..)
            .zip(&golden::INPUTS)
            .for_each(|(number, image)| classify(ARENA, number, image));
    }
    process::exit(0)
}

/// Prints one line: the class, and every score.
fn classify(arena: &mut Arena, number: usize, image: &[u8; INPUT_LEN]) {
    let mut scores = [0.0; OUTPUT_LEN];
    infer(arena, image, &mut scores);
    let class = (0..OUTPUT_LEN).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
    print!("image {number}: class {class}, scores");
    scores.iter().for_each(|score| print!(" {score}"));
    println!();
}

/// Ends the program; by default it would hang.
#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    process::exit(99)
}
