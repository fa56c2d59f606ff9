//! Tools that a test needs beside cargo. In CI (where `CI` is set) a missing one fails the test; elsewhere the test says what it
//! skips.

use sqc::target::{Run, Target};
use std::env::consts::ARCH;
use std::fs;
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
/// In CI, if something is missing that can be installed; a processor cannot.
pub fn require_target(target: &Target) -> bool {
    let runner = match &target.run {
        Run::Host => None,
        Run::QemuUser { emulator, .. } | Run::QemuSystem { emulator, .. } => Some(emulator),
        Run::Wasi { runtime } => Some(runtime),
    };
    let mut tools = runner.into_iter().chain([&target.c.compiler]);
    let mut triple = target.rust.triple.iter();
    let architecture = target.rust.triple.iter().flat_map(|t| t.split('-').next());
    let mut foreign = architecture.filter(|a| *a != ARCH && target.run == Run::Host);
    if let Some(feature) = foreign.next().or(target.lacks()) {
        // No installation helps.
        eprintln!("SKIPPED: the processor is or has no {feature}");
        return false;
    }
    tools.all(|tool| require_tool(tool))
        && triple.all(|triple| required(has_library(triple), &format!("rustup target {triple}")))
        && required(links_c(target), &format!("the C library of {}", target.doc))
}

/// Whether the C compiler finds the libraries of a target that has an operating system.
fn links_c(target: &Target) -> bool {
    if let Run::QemuSystem { .. } = target.run {
        return true;
    }
    let work = tempfile::tempdir().expect("a directory");
    let source = work.path().join("empty.c");
    fs::write(&source, "#include <stdio.h>\nint main(void) { return 0; }\n").expect("a file");
    let mut cc = Command::new(&target.c.compiler);
    cc.args(&target.c.flags)
        .arg(source)
        .arg("-o")
        .arg(work.path().join("empty"));
    cc.output().is_ok_and(|o| o.status.success())
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
