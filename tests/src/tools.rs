//! Tools that a test needs beside cargo. In CI (where `CI` is set) a missing one fails the test; elsewhere the test says what it
//! skips.

use sqc::target::{Run, Target};
use std::path::Path;
use std::process::Command;

/// Whether `tool` can be called.
///
/// # Panics
/// If it cannot, in CI.
pub fn require_tool(tool: &str) -> bool {
    required(Command::new(tool).arg("--version").output().is_ok(), tool)
}

/// Whether generated code can be built in both languages and run for `target`.
///
/// # Panics
/// If it cannot, in CI.
pub fn require_target(target: &Target) -> bool {
    let emulator = match &target.run {
        Run::Host => None,
        Run::QemuUser { emulator, .. } | Run::QemuSystem { emulator, .. } => Some(emulator),
    };
    let mut tools = emulator.into_iter().chain([&target.c.compiler]);
    let mut triple = target.rust.triple.iter();
    if let Some(feature) = target.lacks() {
        // No installation helps.
        eprintln!("SKIPPED: the processor has no {feature}");
        return false;
    }
    tools.all(|tool| require_tool(tool))
        && triple.all(|triple| required(has_library(triple), &format!("rustup target {triple}")))
}

/// Whether Rust's library is installed for a triple.
fn has_library(triple: &str) -> bool {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", triple])
        .output();
    output.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir())
}

fn required(here: bool, what: &str) -> bool {
    assert!(here || std::env::var_os("CI").is_none(), "{what} is missing");
    if !here {
        eprintln!("SKIPPED: {what} is missing");
    }
    here
}
