//! Progress on a terminal; in a pipe, silence.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sqc::progress::Progress;
use std::sync::Mutex;
use std::time::Instant;

/// Shows a bar on standard error if that is a terminal; in verbose mode also a line per step, with its time.
pub struct Bar {
    bar: ProgressBar,
    quiet: bool,
    verbose: bool,
    step: Mutex<Option<(String, Instant)>>,
}

impl Bar {
    /// A bar that says nothing at all if `quiet`.
    pub fn new(quiet: bool, verbose: bool) -> Bar {
        let to = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(None, to);
        let style = ProgressStyle::with_template("{msg:<28} {wide_bar} {human_pos}/{human_len} {eta:>4}");
        bar.set_style(style.expect("the template is well-formed"));
        Bar {
            bar,
            quiet,
            verbose,
            step: Mutex::new(None),
        }
    }

    /// Whether only errors and what was asked for are to be printed.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Runs `print` without the bar in its way.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }

    /// Says how long the step took that ends here, and remembers the one that begins.
    fn turn(&self, next: Option<&str>) {
        let next = next.map(|name| (name.to_owned(), Instant::now()));
        let mut step = self.step.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((name, began)) = std::mem::replace(&mut *step, next)
            && self.verbose
        {
            let line = format!("{name}: {:.3} s", began.elapsed().as_secs_f64());
            self.bar.suspend(|| anstream::eprintln!("{line}"));
        }
    }
}

impl Progress for Bar {
    fn begin(&self, step: &str, total: u64) {
        self.turn(Some(step));
        self.bar.reset();
        self.bar.set_length(total);
        self.bar.set_message(step.to_owned());
        self.bar.tick();
    }

    fn advance(&self, units: u64) {
        self.bar.inc(units);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.turn(None);
        self.bar.finish_and_clear();
    }
}
