//! Other programs: found or missed by name, run under a time limit, their last words kept.

use crate::diag::{Code, Diag};
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Debian's package for a tool, for the advice when it is missing.
fn package(tool: &str) -> &str {
    match tool {
        "qemu-aarch64" => "qemu-user",
        "qemu-system-arm" => "qemu-system-arm",
        "node" => "nodejs",
        "clang" => "clang, and for WebAssembly lld, wasi-libc and libclang-rt-dev-wasm32",
        "qemu-arm" => "qemu-user",
        "qemu-system-riscv32" => "qemu-system-misc",
        "riscv64-unknown-elf-gcc" => "gcc-riscv64-unknown-elf",
        "arm-linux-gnueabihf-gcc" => "gcc-arm-linux-gnueabihf and libc6-dev-armhf-cross",
        "arm-none-eabi-gcc" => "gcc-arm-none-eabi",
        "aarch64-linux-gnu-gcc" => "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross",
        "rustc" => "rustup (https://rustup.rs)",
        "cc" | "gcc" => "gcc",
        other => other,
    }
}

/// Runs `command` to its end, at most for `limit`, and returns its status with what it printed.
///
/// # Errors
/// A tool that is not there, or one that does not end in time: it is killed then.
pub fn run(command: &mut Command, limit: Duration) -> Result<(ExitStatus, String), Diag> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| {
            Diag::new(Code::MissingTool, format!("`{tool}`: {e}")).help(format!("install {}", package(&tool)))
        })?;
    // Both pipes are emptied while the program runs, so that it never waits for a reader.
    let drain = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = vec![];
            // What could not be read is missing from a message, nothing more.
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = child.stdout.take().map(|p| drain(Box::new(p)));
    let err = child.stderr.take().map(|p| drain(Box::new(p)));
    let start = Instant::now();
    let broken = |e: std::io::Error| Diag::new(Code::RunFailed, format!("`{tool}`: {e}"));
    let status = loop {
        match child.try_wait().map_err(broken)? {
            Some(status) => break status,
            None if start.elapsed() > limit => {
                child.kill().map_err(broken)?;
                child.wait().map_err(broken)?;
                let found = format!("`{tool}` did not end within {} s", limit.as_secs());
                return Err(Diag::new(Code::RunFailed, found));
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let text = [out, err].into_iter().flatten().filter_map(|t| t.join().ok()).collect();
    Ok((status, text))
}

/// Runs a compiler; its complaints are the error.
pub fn compile(command: &mut Command) -> Result<(), Diag> {
    let (status, text) = run(command, Duration::from_secs(300))?;
    if status.success() {
        return Ok(());
    }
    let tool = command.get_program().to_string_lossy().into_owned();
    let shown: Vec<&str> = text.lines().take(40).collect();
    Err(Diag::new(
        Code::BuildFailed,
        format!("`{tool}` refused the generated code:\n{}", shown.join("\n")),
    ))
}
