//! The command line tool `sqc`.
#![forbid(unsafe_code)]

mod cli;

use clap::Parser;
use sqc::diag::{Code, Diag, render};
use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;

/// What the first panic said. Only a bug of the compiler puts something here.
static BUG: Mutex<Option<String>> = Mutex::new(None);

fn main() -> ExitCode {
    let cli = cli::Cli::parse(); // exits with 2 if the usage is wrong
    panic::set_hook(Box::new(|info| {
        let mut bug = BUG.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        bug.get_or_insert_with(|| info.to_string());
    }));
    let outcome = panic::catch_unwind(|| cli.run()).unwrap_or_else(|_| {
        let bug = BUG.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        Err(Diag::new(Code::Internal, bug.unwrap_or_default()).into())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(findings) => {
            if cli.json() {
                anstream::println!("{:#}", serde_json::json!({ "errors": render::json(&findings) }));
            }
            anstream::eprint!("{}", render::text(&findings));
            ExitCode::FAILURE
        }
    }
}
