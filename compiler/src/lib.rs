//! `sqc`: compiles binary and ternary neural networks from ONNX to Rust and C.
#![forbid(unsafe_code)]
