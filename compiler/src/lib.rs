//! `sqc`: compiles binary and ternary neural networks from ONNX to Rust and C.
//!
//! One direction: `model.onnx -> import -> ir::Graph -> passes -> ir::Graph -> plan::Plan -> lower -> kir::Program -> emit ->
//! files`. A room imports only from rooms left of it, and from `diag` and `target`.
#![forbid(unsafe_code)]

pub mod bake;
pub mod bench;
pub mod calibrate;
mod cut;
pub mod data;
pub mod diag;
pub mod driver;
pub mod emit;
pub mod explain;
pub mod import;
pub mod inspect;
pub mod ir;
pub mod kernels;
pub mod kir;
pub mod lower;
pub mod package;
pub mod passes;
pub mod plan;
pub mod progress;
mod random;
pub mod reference;
pub mod run;
pub mod synth;
pub mod table;
pub mod target;
pub mod targets;
pub mod verify;
