//! Generated code, built and really run: on this machine, or under the target's emulator.
//!
//! A harness (`codegen-templates/harness`) reads samples from a file and writes results to another; on a bare board it does so by
//! semihosting. The Rust side is built by `rustc` alone and the C side by the target's compiler, so that nothing is downloaded.

mod exec;
mod measure;

use crate::diag::{Code, Diag, Result};
use crate::emit;
use crate::kir::{Port, Ty};
use crate::target::{Lang, OptLevel, Run, Target};
pub use measure::Figures;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// Generated files by relative path. Rust has to be free of dependencies.
    pub files: &'a BTreeMap<String, String>,
    /// Name of the crate, and prefix of C's symbols.
    pub name: &'a str,
    /// The language of the files.
    pub lang: Lang,
    /// What its compiler is to optimise for.
    pub level: OptLevel,
    /// What the network reads.
    pub input: &'a Port,
    /// What it returns.
    pub output: &'a Port,
}

/// How to build, beyond what the target says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Another C compiler.
    pub cc: Option<String>,
    /// Further flags for the C compiler.
    pub cflags: Vec<String>,
}

/// Warnings that generated C keeps free of; each is an error.
pub const WARNINGS: [&str; 6] = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"];

/// A program that runs a network on files of samples.
#[derive(Debug)]
pub struct Built {
    program: PathBuf,
    work: PathBuf,
    target: Target,
    lang: Lang,
    level: OptLevel,
    options: Options,
    input: Port,
    output: Port,
}

/// Seconds that a program gets, and more for every sample: QEMU runs some 10^8 instructions a second, a sample takes up to 10^9.
const LIMIT: (u64, u64) = (60, 12);

/// Builds `unit` with the harness for `target` in the directory `work`, which is made.
///
/// # Errors
/// A missing tool, or the compiler's complaints.
pub fn build(unit: &Unit, target: &Target, work: &Path, options: &Options) -> Result<Built> {
    if let Some(feature) = target.lacks() {
        let found = format!("this processor has no {feature}, which the target's programs need");
        return Err(Diag::new(Code::RunFailed, found)
            .help("run it on a processor that has it, or choose another target")
            .into());
    }
    let put = |path: PathBuf, text: &str| -> Result<PathBuf> {
        let failed = |e: std::io::Error| Diag::new(Code::WriteOutput, e.to_string()).file(&path);
        fs::create_dir_all(path.parent().unwrap_or(work)).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
        Ok(path.clone())
    };
    let sources = work.join("generated");
    for (path, text) in unit.files {
        put(sources.join(path), text)?;
    }
    if let Run::Wasi { .. } = target.run {
        put(work.join(WASI), sq_templates::WASI_MJS)?;
    }
    let script = put(work.join("bare.ld"), sq_templates::LINKER_SCRIPT)?;
    let program = work.join("program");
    match unit.lang {
        Lang::Rust => {
            let harness = put(work.join("harness.rs"), sq_templates::HARNESS_RS)?;
            rust(unit, target, &sources, &harness, &script, &program)?;
        }
        Lang::C => {
            let harness = put(work.join("harness.c"), sq_templates::HARNESS_C)?;
            c(unit, target, &sources, &harness, &script, &program, options)?;
        }
    }
    Ok(Built {
        program,
        work: work.into(),
        target: target.clone(),
        lang: unit.lang,
        level: unit.level,
        options: options.clone(),
        input: unit.input.clone(),
        output: unit.output.clone(),
    })
}

fn len(p: &Port) -> usize {
    p.shape.iter().product()
}

fn bytes(p: &Port) -> usize {
    len(p) * p.ty.bytes() as usize
}

/// What runs a WebAssembly program, beside it.
const WASI: &str = "wasi.mjs";

/// What the harness calls the generated crate.
const CRATE: &str = "model";

fn rust(unit: &Unit, target: &Target, sources: &Path, harness: &Path, script: &Path, program: &Path) -> Result<()> {
    let library = program.with_file_name(format!("lib{CRATE}.rlib"));
    let rustc = || {
        let mut command = Command::new("rustc");
        let level = unit.level.cargo().trim_matches('"');
        command.args(["--edition=2024", "-Cpanic=abort", "-Dwarnings"]);
        command.arg(format!("-Copt-level={level}"));
        if let Some(triple) = &target.rust.triple {
            command.arg(format!("--target={triple}"));
        }
        command.args(&target.rust.flags);
        command
    };
    let mut lib = rustc();
    lib.args(["--crate-type=rlib", "--crate-name", CRATE])
        .arg(sources.join("src/lib.rs"))
        .arg("-o")
        .arg(&library);
    exec::compile(&mut lib)?;
    let mut bin = rustc();
    bin.arg("--extern")
        .arg(format!("{CRATE}={}", library.display()))
        .arg(harness)
        .arg("-o")
        .arg(program);
    match &target.run {
        Run::QemuSystem { .. } => {
            bin.arg(format!("-Clink-arg=-T{}", script.display()));
            bin.args(memory_map(&target.run).map(|symbol| format!("-Clink-arg=--defsym={symbol}")));
        }
        // The C compiler of a foreign target links its Rust.
        Run::QemuUser { .. } => {
            bin.arg(format!("-Clinker={}", target.c.compiler));
        }
        Run::Host | Run::Wasi { .. } => {}
    }
    link_program(&mut bin, &target.run)
}

/// What the linker script asserts of flash and RAM.
const OVERFLOWS: [&str; 2] = ["the program exceeds the flash", "the variables exceed the RAM"];

/// Links a program. A budget may be greater than the board that QEMU has.
fn link_program(linker: &mut Command, run: &Run) -> Result<()> {
    let overflows = |d: &Diag| OVERFLOWS.iter().any(|said| d.found.contains(said));
    exec::compile(linker).map_err(|d| match run {
        Run::QemuSystem {
            machine, flash, ram, ..
        } if overflows(&d) => {
            let found = format!("QEMU's {machine} has {} bytes of flash, {} of RAM", flash.1, ram.1);
            vec![Diag::new(Code::BoardTooSmall, found)]
        }
        _ => vec![d],
    })
}

fn c(
    unit: &Unit,
    target: &Target,
    sources: &Path,
    harness: &Path,
    script: &Path,
    program: &Path,
    options: &Options,
) -> Result<()> {
    let name = unit.name;
    let bare = matches!(target.run, Run::QemuSystem { .. });
    let cc = |flags: &[String]| {
        let mut cc = Command::new(options.cc.as_ref().unwrap_or(&target.c.compiler));
        cc.args(flags).args(&options.cflags);
        cc
    };
    let object = |source: &Path, flags: &[String]| {
        let object = program.with_file_name(source.file_name().unwrap_or_default());
        let object = object.with_extension("o");
        let mut cc = cc(flags);
        cc.args(WARNINGS)
            .args([unit.level.cc(), "-ffp-contract=off"])
            .args(["-ffunction-sections", "-fdata-sections"]);
        cc.arg("-I").arg(sources);
        cc.arg(format!("-DMODEL_HEADER=\"{name}.h\""));
        cc.arg(format!("-DMODEL_INFER={name}_infer"))
            .arg(format!("-DMODEL_ARENA={name}_arena"));
        cc.arg(format!("-DMODEL_INPUT={}", c_type(unit.input)))
            .arg(format!("-DMODEL_INPUT_LEN={}", len(unit.input)));
        cc.arg(format!("-DMODEL_OUTPUT={}", c_type(unit.output)))
            .arg(format!("-DMODEL_OUTPUT_LEN={}", len(unit.output)));
        if bare {
            cc.arg("-ffreestanding");
        }
        exec::compile(cc.arg("-c").arg(source).arg("-o").arg(&object))?;
        Ok::<PathBuf, Diag>(object)
    };
    let flags = &target.c.flags;
    let mut objects = vec![
        object(harness, flags)?,
        object(&sources.join(format!("{name}.c")), flags)?,
    ];
    for variant in target.dispatch.iter().flat_map(|d| &d.to) {
        let file = format!("{}.c", emit::variant_stem(name, variant));
        if unit.files.contains_key(&file) {
            objects.push(object(&sources.join(file), &Target::load(variant)?.c.flags)?);
        }
    }
    let baseline = format!("{}.c", emit::variant_stem(name, emit::BASELINE));
    if unit.files.contains_key(&baseline) {
        objects.push(object(&sources.join(baseline), flags)?);
    }
    let mut link = cc(target.c.link.as_ref().unwrap_or(&target.c.flags));
    link.arg("-Wl,--gc-sections").args(&objects);
    let linux = cfg!(target_os = "linux") && target.run == Run::Host || matches!(target.run, Run::QemuUser { .. });
    if linux {
        // What is looked up at its first call takes 3 KB of the stack that is measured.
        link.arg("-Wl,-z,now");
    }
    if bare {
        link.args(["-nostdlib", "-nostartfiles", "-lgcc", "-T"]).arg(script);
        link.args(memory_map(&target.run).map(|symbol| format!("-Wl,--defsym={symbol}")));
    }
    link_program(link.arg("-o").arg(program), &target.run)
}

fn c_type(p: &Port) -> &'static str {
    match p.ty {
        Ty::U8 => "uint8_t",
        Ty::I8 => "int8_t",
        Ty::I32 => "int32_t",
        Ty::U32 => "uint32_t",
        _ => "float",
    }
}

/// The linker script's symbols.
fn memory_map(run: &Run) -> impl Iterator<Item = String> + use<> {
    let symbols = match run {
        Run::QemuSystem { flash, ram, .. } => {
            vec![
                ("flash_at", flash.0),
                ("flash_size", flash.1),
                ("ram_at", ram.0),
                ("ram_size", ram.1),
            ]
        }
        _ => vec![],
    };
    symbols.into_iter().map(|(name, value)| format!("{name}={value:#x}"))
}

impl Built {
    /// Results for `samples`, both concatenated raw little-endian elements in the model's order.
    ///
    /// # Errors
    /// A missing emulator, a fault of the program, or a result that is too short.
    pub fn infer(&self, samples: &[u8]) -> Result<Vec<u8>> {
        self.execute(samples, &[])
    }

    /// Nanoseconds of one call, for each of `rounds` rounds of calls, which the harness makes on the first of `samples`.
    ///
    /// # Errors
    /// As for [`Built::infer`]. Only on this machine.
    pub fn time(&self, sample: &[u8], rounds: u32) -> Result<Vec<f64>> {
        let failed = |found: String| Diag::new(Code::RunFailed, found).file(&self.work);
        fs::write(self.work.join("rounds.bin"), rounds.to_le_bytes()).map_err(|e| failed(e.to_string()))?;
        self.infer(sample)?;
        let times = fs::read(self.work.join("times.bin")).map_err(|e| failed(e.to_string()))?;
        let (times, _) = times.as_chunks();
        match times.len() == rounds as usize {
            true => Ok(times.iter().copied().map(f64::from_le_bytes).collect()),
            false => Err(failed(format!("{} rounds were timed, not {rounds}", times.len())).into()),
        }
    }

    /// The linked program. It runs in its directory.
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn execute(&self, samples: &[u8], emulator_flags: &[String]) -> Result<Vec<u8>> {
        let count = samples.len() / bytes(&self.input).max(1);
        let at = |name: &str| self.work.join(name);
        let failed = |e: std::io::Error| Diag::new(Code::RunFailed, e.to_string()).file(&self.work);
        fs::write(at("samples.bin"), samples).map_err(failed)?;
        let mut command = self.command(emulator_flags);
        let limit = Duration::from_secs(LIMIT.0 + LIMIT.1 * count as u64);
        let (status, text) = exec::run(command.current_dir(&self.work), limit)?;
        if !status.success() {
            let why = match status.code() {
                Some(99) => "the processor faulted".into(),
                Some(98) => "it panicked".into(),
                Some(2) => "it could not open its files".into(),
                Some(3) => "it could not write its results".into(),
                Some(code) => format!("exit code {code}"),
                None => "it was ended by a signal".into(),
            };
            let found = format!("{}: {why} {}", self.program.display(), text.trim());
            return Err(Diag::new(Code::RunFailed, found).into());
        }
        let results = fs::read(at("results.bin")).map_err(failed)?;
        if results.len() != count * bytes(&self.output) {
            let found = format!(
                "{} bytes of results instead of {}",
                results.len(),
                count * bytes(&self.output)
            );
            return Err(Diag::new(Code::RunFailed, found).into());
        }
        Ok(results)
    }

    fn command(&self, emulator_flags: &[String]) -> Command {
        let mut command;
        match &self.target.run {
            Run::Host => command = Command::new(&self.program),
            // Node.js 18 wants the flag, later ones ignore it.
            Run::Wasi { runtime } => {
                command = Command::new(runtime);
                command
                    .args(["--no-warnings", "--experimental-wasi-unstable-preview1"])
                    .arg(self.work.join(WASI))
                    .arg(&self.program);
            }
            Run::QemuUser { emulator, cpu, sysroot } => {
                command = Command::new(emulator);
                command
                    .args(emulator_flags)
                    .args(["-cpu", cpu, "-L", sysroot])
                    .arg(&self.program);
            }
            Run::QemuSystem {
                emulator,
                machine,
                flags,
                ..
            } => {
                command = Command::new(emulator);
                command.args(flags);
                command.args(["-M", machine, "-display", "none", "-monitor", "none", "-serial", "none"]);
                command.args(["-semihosting-config", "enable=on,target=native"]);
                command.args(emulator_flags).arg("-kernel").arg(&self.program);
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_linker_script_says_what_overflows() {
        for said in super::OVERFLOWS {
            assert!(sq_templates::LINKER_SCRIPT.contains(said), "{said}");
        }
    }
}
