//! Arguments that several commands share.

use clap::{Args, ValueEnum};
use sqc::inspect::Expect;
use sqc::{plan, target};
use std::path::PathBuf;

/// The model, and what is known about it.
#[derive(Args)]
pub struct Model {
    /// ONNX file.
    #[arg(value_name = "MODEL")]
    pub path: PathBuf,
    /// Makes it an error if the weights of a layer are anything else.
    #[arg(long, value_name = "DEPTH")]
    expect: Option<Depth>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Depth {
    /// {-a, 0, +a} in every layer.
    Ternary,
    /// {-a, +a} in every layer.
    Binary,
    /// One of the two in every layer.
    Packed,
}

impl Model {
    /// What is expected of every layer.
    pub fn expect(&self) -> Option<Expect> {
        self.expect.map(|depth| match depth {
            Depth::Ternary => Expect::Ternary,
            Depth::Binary => Expect::Binary,
            Depth::Packed => Expect::Packed,
        })
    }
}

/// What the planner is asked for.
#[derive(Args)]
pub struct Plan {
    /// What to prefer where kernels differ.
    #[arg(long, value_enum, value_name = "GOAL", default_value = "balanced")]
    optimize: Goal,
    /// Bytes of flash that code and constants may take, such as 256K; the target's if absent.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    flash: Option<u64>,
    /// Bytes of RAM that the arena, the caller's buffers and the stack may take; the target's if absent.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    ram: Option<u64>,
    /// The kernel family to take wherever it accepts, whatever it costs: for measuring.
    #[arg(long, value_name = "FAMILY", hide = true, value_parser = family)]
    kernel: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Goal {
    /// Fewest instructions.
    Speed,
    /// Least flash; layers row by row where that takes less RAM.
    Size,
    /// Few instructions for a little more flash and RAM.
    Balanced,
}

impl Plan {
    /// For the planner.
    pub fn options(&self, lang: target::Lang) -> plan::Options {
        plan::Options {
            lang,
            optimize: match self.optimize {
                Goal::Speed => plan::Optimize::Speed,
                Goal::Size => plan::Optimize::Size,
                Goal::Balanced => plan::Optimize::Balanced,
            },
            flash: self.flash,
            ram: self.ram,
            prefer: self.kernel,
            whole: false,
        }
    }

    /// As written on a command line, without defaults.
    pub fn flags(&self) -> Vec<String> {
        let goal = match self.optimize {
            Goal::Speed => Some("--optimize speed".to_owned()),
            Goal::Size => Some("--optimize size".to_owned()),
            Goal::Balanced => None,
        };
        let flash = self.flash.map(|bytes| format!("--flash {bytes}"));
        let ram = self.ram.map(|bytes| format!("--ram {bytes}"));
        let kernel = self.kernel.map(|name| format!("--kernel {name}"));
        [goal, flash, ram, kernel].into_iter().flatten().collect()
    }
}

/// A language of generated code.
#[derive(Clone, Copy, ValueEnum)]
pub enum Lang {
    /// A `no_std` crate.
    Rust,
    /// C99 sources.
    C,
}

impl From<Lang> for target::Lang {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Rust => target::Lang::Rust,
            Lang::C => target::Lang::C,
        }
    }
}

/// One language, or both.
#[derive(Clone, Copy, ValueEnum)]
pub enum Langs {
    /// Rust alone.
    Rust,
    /// C alone.
    C,
    /// One after the other.
    Both,
}

impl Langs {
    /// The languages.
    pub fn list(self) -> &'static [target::Lang] {
        match self {
            Langs::Rust => &[target::Lang::Rust],
            Langs::C => &[target::Lang::C],
            Langs::Both => &[target::Lang::Rust, target::Lang::C],
        }
    }
}

/// The name of a kernel family.
fn family(text: &str) -> Result<&'static str, String> {
    let known = || plan::FAMILIES.iter().map(|f| f.name);
    let wrong = || format!("the families are {}", known().collect::<Vec<_>>().join(", "));
    known().find(|name| *name == text).ok_or_else(wrong)
}

/// A number of bytes, with `K` or `M` for binary multiples.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1 << 10),
        None => text
            .strip_suffix(['M', 'm'])
            .map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let count = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    count.ok_or_else(|| "give a number of bytes, such as 16384, 16K or 1M".into())
}
