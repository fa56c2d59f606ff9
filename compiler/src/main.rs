//! The command line tool `sqc`.
#![forbid(unsafe_code)]

mod cli;

use clap::Parser;
use sqc::diag::{Code, Diag, Result, render};
use std::panic::{self, UnwindSafe};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

fn main() -> ExitCode {
    let cli = cli::Cli::parse(); // exits with 2 if the usage is wrong
    match guarded(|| cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(findings) => {
            if cli.wants_json() {
                anstream::println!("{:#}", serde_json::json!({ "errors": render::json(&findings) }));
            }
            anstream::eprint!("{}", render::text(&findings));
            ExitCode::FAILURE
        }
    }
}

/// What the first panic said. Only a bug of the compiler puts something here.
static BUG: Mutex<Option<String>> = Mutex::new(None);

fn bug() -> MutexGuard<'static, Option<String>> {
    BUG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work`; a panic in it, on whatever thread, becomes an error like any other.
fn guarded(work: impl FnOnce() -> Result<()> + UnwindSafe) -> Result<()> {
    panic::set_hook(Box::new(|info| {
        bug().get_or_insert_with(|| info.to_string());
    }));
    panic::catch_unwind(work)
        .unwrap_or_else(|_| Err(Diag::new(Code::Internal, bug().take().unwrap_or_default()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_shown_as_an_error() {
        let findings = guarded(|| panic!("half a layer")).unwrap_err();
        let text = anstream::adapter::strip_str(&render::text(&findings)).to_string();
        assert!(
            text.starts_with("error[E0901]: the compiler broke one of its own rules\n   found: panicked at "),
            "{text}"
        );
        assert!(text.contains("half a layer"), "{text}");
    }
}
