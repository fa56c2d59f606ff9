//! Targets are data: `codegen-templates/targets/<name>.toml`, each inheriting from another.

use crate::diag::{Code, Diag, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What the compiler knows about a device.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its vector operations, from the files that `isa` names.
    #[serde(skip)]
    pub simd: Simd,
    /// What it is, in a line.
    pub doc: String,
    /// Targets of which the first that this machine can run gives the instruction set and its costs.
    #[serde(default)]
    pub like_first: Vec<String>,
    /// Other targets whose code a program brings along, to pick from at run time.
    pub dispatch: Option<Dispatch>,
    /// What its instruction set offers. What is absent is rewritten into what is there.
    pub isa: Isa,
    /// What the board that stands for it has, where that is limited.
    #[serde(default)]
    pub memory: Memory,
    /// How Rust is built for it.
    pub rust: Rust,
    /// How C is built for it.
    pub c: C,
    /// How a program for it is run.
    pub run: Run,
    /// Instructions per KIR operation, for the choice between kernels.
    pub cost: Cost,
}

/// Capabilities.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isa {
    /// Counts the one bits of a word in an instruction.
    pub popcount: bool,
    /// Adds and multiplies `f32` in an instruction.
    pub fpu: bool,
    /// Files of vector operations, narrow vectors first; each may use the types of those before.
    #[serde(default)]
    pub simd: Vec<String>,
    /// What rustc calls the features that these need, where its stable release knows them.
    #[serde(default)]
    pub features: Vec<String>,
    /// Registers of vectors, where these are fewer than the 32 that most sets have.
    pub registers: Option<usize>,
    /// Registers of words that every instruction can name.
    pub words: usize,
}

/// How a program picks its code at run time. The target itself says what every processor has.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    /// The targets to pick from, best first.
    pub to: Vec<String>,
    /// The macro of `std::arch` that knows rustc's names of features.
    pub rust: String,
    /// The file under `codegen-templates/dispatch` that knows them in C.
    pub c: String,
}

/// The vector operations of a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simd {
    /// Name, Rust and C of each file.
    pub files: Vec<(&'static str, &'static str, &'static str)>,
    /// What rustc calls the features that they need.
    pub features: Vec<String>,
    /// rustc's flags for them.
    pub rust_flags: Vec<String>,
    /// The C compiler's flags for them.
    pub c_flags: Vec<String>,
    /// Registers of vectors, which tiles of sums are to fit.
    pub registers: usize,
    /// Registers of words, which the operands of straight-line code are to fit.
    pub words: usize,
    /// The operations: every name in the Rust files that is an operation's and a vector type's.
    pub operations: BTreeSet<String>,
}

impl Simd {
    fn load(isa: &Isa, rust: &Rust, c: &C) -> std::result::Result<Simd, String> {
        let file = |name: &String| {
            let found = sq_templates::SIMD.iter().find(|(n, ..)| n == name);
            found
                .copied()
                .ok_or_else(|| format!("there are no vector operations `{name}`"))
        };
        let files: Vec<_> = isa.simd.iter().map(file).collect::<std::result::Result<_, _>>()?;
        Ok(Simd {
            operations: files.iter().flat_map(|(_, rust, _)| operations(rust)).collect(),
            files,
            features: isa.features.clone(),
            rust_flags: match isa.features.is_empty() {
                true => rust.flags.clone(),
                false => vec![format!("-Ctarget-feature=+{}", isa.features.join(",+"))],
            },
            c_flags: c.flags.clone(),
            registers: isa.registers.unwrap_or(32),
            words: isa.words,
        })
    }

    /// Whether Rust calls functions that are compiled for the features unsafe where they may be missing. A WebAssembly module with
    /// an instruction that its host does not know is refused as a whole, so that there it does not.
    pub fn is_unsafe_to_call(&self) -> bool {
        self.features.iter().any(|f| f != "simd128")
    }

    /// Whether the target has an operation, by the name that both languages give it: `add_u32x16`.
    pub fn has(&self, operation: &str) -> bool {
        self.operations.contains(operation)
    }
}

/// The names of vector operations in a source: words that end in vector types, `dot_i32x16_u8x64_i8x64`. WebAssembly's own names
/// do, too, but begin with one, `i16x8_extmul_low_i8x16`, or in C with `wasm`.
fn operations(source: &str) -> impl Iterator<Item = String> + '_ {
    let vector = |part: &str| {
        let lane = part.strip_prefix(['i', 'u']).and_then(|p| p.split_once('x'));
        lane.is_some_and(|(bits, lanes)| matches!(bits, "8" | "16" | "32" | "64") && lanes.parse::<u8>().is_ok())
    };
    let words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .map(|w| w.trim_start_matches("sq_"))
        .filter(move |w| w.split('_').skip(1).last().is_some_and(vector))
        .filter(move |w| {
            !w.split('_')
                .next()
                .is_some_and(|first| vector(first) || first == "wasm")
        })
        .map(String::from)
}

/// The language of generated code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lang {
    /// A crate.
    #[default]
    Rust,
    /// C99 sources.
    C,
}

impl Lang {
    /// Both.
    pub const ALL: [Lang; 2] = [Lang::Rust, Lang::C];
}

/// What the compilers of generated code are asked to optimise for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptLevel {
    /// Time: `opt-level = 3`, `-O2`.
    #[default]
    Speed,
    /// Bytes: `opt-level = "s"`, `-Os`. At 3 LLVM unrolls the loops of small kernels into several times as many.
    Size,
}

impl OptLevel {
    /// Both.
    pub const ALL: [OptLevel; 2] = [OptLevel::Speed, OptLevel::Size];

    /// As Cargo's `opt-level`, a TOML value, has it.
    pub fn cargo(self) -> &'static str {
        match self {
            OptLevel::Speed => "3",
            OptLevel::Size => "\"s\"",
        }
    }

    /// The flag of C compilers.
    pub fn cc(self) -> &'static str {
        match self {
            OptLevel::Speed => "-O2",
            OptLevel::Size => "-Os",
        }
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lang::Rust => "Rust",
            Lang::C => "C",
        })
    }
}

/// Limits in bytes; absent where the device has plenty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Code and constants.
    pub flash: Option<u64>,
    /// Arena, caller's buffers and stack.
    pub ram: Option<u64>,
}

/// Rust's side.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rust {
    /// Target triple; absent for the host's own.
    pub triple: Option<String>,
    /// Further flags for `rustc`.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// C's side.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct C {
    /// Compiler driver.
    pub compiler: String,
    /// Further flags.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Flags for linking, where those for compiling would find no libraries.
    pub link: Option<Vec<String>>,
}

/// How a program is run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Run {
    /// As a process of this machine.
    Host,
    /// Under QEMU's user emulation.
    QemuUser {
        /// Emulator, for example `qemu-aarch64`.
        emulator: String,
        /// `-cpu`.
        cpu: String,
        /// `-L`: where the loader and the libraries are.
        sysroot: String,
    },
    /// As WebAssembly, with the files of the working directory.
    Wasi {
        /// A JavaScript runtime that has WASI: `node`.
        runtime: String,
    },
    /// On a board that QEMU emulates, with semihosting.
    QemuSystem {
        /// Emulator, for example `qemu-system-arm`.
        emulator: String,
        /// `-M`.
        machine: String,
        /// Further flags.
        #[serde(default)]
        flags: Vec<String>,
        /// Where the board's flash and RAM lie: first address and length in bytes.
        flash: (u64, u64),
        /// RAM likewise.
        ram: (u64, u64),
    },
}

/// Instructions per operation, as compilers spell them on this target.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Integer addition, logic, comparison.
    pub alu: f64,
    /// Shift by a constant, which some targets fold into what follows.
    pub shift: f64,
    /// 32-bit product.
    pub mul: f64,
    /// 64-bit operation.
    pub wide: f64,
    /// Choice, minimum, maximum, truth value as a number.
    pub select: f64,
    /// `f32` operation.
    pub float: f64,
    /// Population count.
    pub popcount: f64,
    /// Load from RAM or flash.
    pub load: f64,
    /// Store.
    pub store: f64,
    /// Computing or stepping an address.
    pub address: f64,
    /// Counting, comparing and jumping back, per turn of a loop.
    pub turn: f64,
    /// Setting up a loop.
    pub enter: f64,
    /// Bytes of code per operation where code is a straight line.
    pub code: f64,
    /// By kernel family and class of layers, the share of the sum of its operations' prices that its code takes, where that is
    /// not 1: compilers unroll the loops of one and spill the registers of another, and rustc and C compilers not those of the same.
    #[serde(default)]
    pub rust: Shares,
    /// The same for C.
    #[serde(default)]
    pub c: Shares,
    /// The same where compilers optimise for size.
    #[serde(default)]
    pub size: SizeShares,
}

/// What code takes that is optimised for size.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeShares {
    /// In Rust.
    #[serde(default)]
    pub rust: Shares,
    /// In C.
    #[serde(default)]
    pub c: Shares,
}

/// By family, the shares of classes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Shares(pub BTreeMap<String, BTreeMap<Class, f64>>);

impl Shares {
    /// A family's share: for layers of a class that was not measured the geometric mean of its others, of the same shape if there are such.
    pub fn of(&self, family: &str, class: Class) -> f64 {
        let Some(own) = self.0.get(family) else { return 1.0 };
        let alike: Vec<f64> = own
            .iter()
            .filter(|(c, _)| c.shape == class.shape)
            .map(|(_, s)| *s)
            .collect();
        let mean = |of: &[f64]| (of.iter().map(|s| s.ln()).sum::<f64>() / of.len() as f64).exp();
        match (own.get(&class), &alike[..]) {
            (Some(share), _) => *share,
            (None, []) => mean(&own.values().copied().collect::<Vec<_>>()),
            (None, alike) => mean(alike),
        }
    }
}

/// Layers of which compilers unroll the same loops and run out of the same registers; `binary-conv` in a target's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Class {
    /// What the layer computes.
    pub shape: Shape,
    /// Whether its weights are ternary; binary otherwise.
    pub ternary: bool,
}

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// A convolution.
    Conv,
    /// A dense layer, of one pixel.
    Dense,
    /// A convolution of few taps, as the first of a network: registers hold what several of its outputs read.
    Narrow,
    /// The same with pooling: `unrolled` computes one output after the other there.
    NarrowPooled,
    /// A convolution that keeps channels apart.
    Apart,
    /// The same, of packed signs.
    ApartOfSigns,
    /// A convolution of packed signs.
    ConvOfSigns,
    /// The same where a tap's inputs fill no words, and windows are copied.
    WindowsOfSigns,
    /// A dense layer of packed signs.
    DenseOfSigns,
    /// A convolution of floats.
    ConvOfFloats,
    /// A dense layer of floats.
    DenseOfFloats,
}

impl Shape {
    /// Every shape with its name.
    const NAMES: [(Shape, &str); 11] = [
        (Shape::Conv, "conv"),
        (Shape::Dense, "dense"),
        (Shape::Narrow, "narrow"),
        (Shape::NarrowPooled, "narrow-pooled"),
        (Shape::Apart, "apart"),
        (Shape::ApartOfSigns, "apart-of-signs"),
        (Shape::ConvOfSigns, "conv-of-signs"),
        (Shape::WindowsOfSigns, "windows-of-signs"),
        (Shape::DenseOfSigns, "dense-of-signs"),
        (Shape::ConvOfFloats, "conv-of-floats"),
        (Shape::DenseOfFloats, "dense-of-floats"),
    ];

    /// Whether its operands are floats.
    pub fn is_of_floats(self) -> bool {
        matches!(self, Shape::ConvOfFloats | Shape::DenseOfFloats)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let depth = if self.ternary { "ternary" } else { "binary" };
        let name = Shape::NAMES.iter().find(|(shape, _)| *shape == self.shape);
        write!(f, "{depth}-{}", name.map_or("", |(_, name)| name))
    }
}

impl TryFrom<String> for Class {
    type Error = String;

    fn try_from(text: String) -> Result<Class, String> {
        let parsed = text.split_once('-').and_then(|(depth, name)| {
            let ternary = match depth {
                "ternary" => true,
                "binary" => false,
                _ => return None,
            };
            let (shape, _) = Shape::NAMES.iter().find(|(_, n)| *n == name)?;
            Some(Class { shape: *shape, ternary })
        });
        parsed.ok_or_else(|| format!("`{text}` is no class of layers"))
    }
}

impl Cost {
    /// The operations that have a price.
    pub const NAMES: [&str; 12] = [
        "alu", "shift", "mul", "wide", "select", "float", "popcount", "load", "store", "address", "turn", "enter",
    ];

    /// What a family's kernels for layers of a class take of the sum of their operations' prices; where size was not measured, what they
    /// take otherwise.
    pub fn share(&self, (lang, level): (Lang, OptLevel), family: &str, class: Class) -> f64 {
        let own = self.shares(lang, level);
        let measured = own.0.contains_key(family);
        let shares = if measured {
            own
        } else {
            self.shares(lang, OptLevel::Speed)
        };
        shares.of(family, class)
    }

    /// The shares of a language's compiler.
    pub fn shares(&self, lang: Lang, level: OptLevel) -> &Shares {
        match (lang, level) {
            (Lang::Rust, OptLevel::Speed) => &self.rust,
            (Lang::C, OptLevel::Speed) => &self.c,
            (Lang::Rust, OptLevel::Size) => &self.size.rust,
            (Lang::C, OptLevel::Size) => &self.size.c,
        }
    }

    /// The prices in the order of [`Cost::NAMES`].
    pub fn list(&self) -> [f64; Self::NAMES.len()] {
        [
            self.alu,
            self.shift,
            self.mul,
            self.wide,
            self.select,
            self.float,
            self.popcount,
            self.load,
            self.store,
            self.address,
            self.turn,
            self.enter,
        ]
    }
}

impl Target {
    /// The names of all targets, in the table's order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        sq_templates::TARGETS.iter().map(|(name, _)| *name)
    }

    /// Reads a target and what it inherits.
    pub fn load(name: &str) -> Result<Target> {
        let table = merged(name, 0)?;
        let broken = |e: String| Diag::new(Code::Internal, format!("targets/{name}.toml: {e}"));
        let mut target = Target::deserialize(toml::Value::Table(table)).map_err(|e| broken(e.to_string()))?;
        if let Some(like) = target
            .like_first
            .iter()
            .find_map(|like| Target::load(like).ok().filter(|t| t.lacks().is_none()))
        {
            (target.isa, target.cost) = (like.isa, like.cost);
        }
        target.simd = Simd::load(&target.isa, &target.rust, &target.c).map_err(broken)?;
        Ok(target)
    }

    /// A feature that its vector operations need and this machine, which would run its programs, does not have.
    pub fn lacks(&self) -> Option<&str> {
        let here = |feature: &&String| !host_has(feature);
        match self.run {
            Run::Host => self.isa.features.iter().find(here).map(String::as_str),
            _ => None,
        }
    }
}

/// Whether the processor at hand has a feature, by rustc's name for it.
fn host_has(feature: &str) -> bool {
    #[cfg(target_arch = "x86_64")]
    macro_rules! any {
        ($($name:tt)*) => { match feature { $($name => std::is_x86_feature_detected!($name),)* _ => false } };
    }
    #[cfg(target_arch = "x86_64")]
    return any!("avx2" "popcnt" "avx512f" "avx512bw" "avx512vl" "avx512vnni" "avx512vpopcntdq");
    #[cfg(target_arch = "aarch64")]
    macro_rules! any {
        ($($name:tt)*) => { match feature { $($name => std::arch::is_aarch64_feature_detected!($name),)* _ => false } };
    }
    #[cfg(target_arch = "aarch64")]
    return any!("neon" "dotprod" "i8mm");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        _ = feature;
        false
    }
}

/// The tables of `name` and its ancestors laid over one another, the nearest on top.
fn merged(name: &str, depth: usize) -> Result<toml::Table> {
    let broken = |what: String| Diag::new(Code::Internal, format!("targets/{name}.toml: {what}"));
    let Some((_, text)) = sq_templates::TARGETS.iter().find(|(n, _)| *n == name) else {
        let known: Vec<_> = Target::names().collect();
        return Err(Diag::new(Code::UnknownTarget, format!("`{name}` is none of {}", known.join(", "))).into());
    };
    if depth > 8 {
        return Err(broken("inherits from itself".into()).into());
    }
    let mut own: toml::Table = text.parse().map_err(|e: toml::de::Error| broken(e.to_string()))?;
    match own.remove("inherits") {
        None => Ok(own),
        Some(toml::Value::String(parent)) => {
            let mut base = merged(&parent, depth + 1)?;
            overlay(&mut base, own);
            Ok(base)
        }
        Some(other) => Err(broken(format!("`inherits` is {other}, not a name")).into()),
    }
}

/// Lays `top` over `base`; tables are merged, except a `run` table, whose keys depend on its kind.
fn overlay(base: &mut toml::Table, top: toml::Table) {
    for (key, value) in top {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(b)), toml::Value::Table(t)) if key != "run" => overlay(b, t),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_reads() {
        for name in Target::names() {
            let target = Target::load(name).unwrap_or_else(|e| panic!("{name}: {}", e[0]));
            assert!(!target.doc.is_empty(), "{name}");
        }
    }

    /// What one language spells and the other does not would be a program that does not compile.
    #[test]
    fn both_languages_spell_the_same_vector_operations() {
        for (name, rust, c) in sq_templates::SIMD {
            let [rust, c] = [rust, c].map(|s| operations(s).collect::<BTreeSet<_>>());
            assert!(!rust.is_empty(), "{name}");
            assert_eq!(rust, c, "{name}");
        }
    }

    #[test]
    fn an_unknown_target_lists_the_known_ones() {
        let e = Target::load("z80").unwrap_err();
        assert_eq!(e[0].code, Code::UnknownTarget);
        assert!(e[0].found.contains("cortex-m4"), "{}", e[0].found);
    }
}
