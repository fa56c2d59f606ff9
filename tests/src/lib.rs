//! Shared by the tests that span the workspace.
#![forbid(unsafe_code)]

pub mod binary;
pub mod expect;
pub mod model;
pub mod tools;

use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
}

/// The committed models, by their files' stems.
pub const MODELS: [&str; 3] = ["lenet5_binary", "lenet5_float", "lenet5_int8"];

/// A committed model, by its file's stem.
pub fn committed(stem: &str) -> PathBuf {
    root().join(format!("tests/models/{stem}.onnx"))
}
