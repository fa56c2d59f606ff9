//! The trainer's program.

mod cli;

use std::process::ExitCode;

/// Non-trimming: glibc gives every large activation buffer back to the system and faults it in again, which costs about a
/// tenth of a training step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(cli::Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
