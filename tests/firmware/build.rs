//! Links for the board that stands for the target.

use std::path::Path;
use std::{env, fs};

fn main() {
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let board = match target.as_str() {
        "thumbv6m-none-eabi" => "microbit",
        "thumbv7em-none-eabihf" => "mps2-an386",
        other => panic!("there is no board for {other}"),
    };
    let map = format!("boards/{board}.x");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::copy(&map, Path::new(&out).join("memory.x")).expect("the memory map can be copied");
    println!("cargo::rustc-link-search={out}");
    println!("cargo::rustc-link-arg=-Tlink.x"); // of cortex-m-rt; it includes memory.x
    println!("cargo::rerun-if-changed={map}");
}
