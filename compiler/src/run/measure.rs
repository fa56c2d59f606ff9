//! What an inference costs: executed instructions, stack, flash.

use super::{Built, Lang, Unit, c_type, exec, len};
use crate::diag::{Code, Diag, Result};
use crate::kir::Port;
use crate::target::Run;
use object::{Object, ObjectSection, SectionKind};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Figures of one inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Executed instructions, exact; absent on the host and in WebAssembly, where nothing counts them.
    pub instructions: Option<u64>,
    /// Bytes of stack below the caller's.
    pub stack: u64,
    /// Bytes of code that the network adds to a program, with what it calls of the compilers' libraries.
    pub code: u64,
    /// Bytes of constants that it adds.
    pub constants: u64,
}

impl Built {
    /// Runs one sample and counts; the figures, and the result's bytes.
    ///
    /// # Errors
    /// As for [`Built::infer`]; or the counter cannot be built.
    pub fn measure(&self, sample: &[u8]) -> Result<(Figures, Vec<u8>)> {
        let failed = |e: std::io::Error| Diag::new(Code::RunFailed, e.to_string()).file(&self.work);
        let (result, instructions) = match self.target.run {
            Run::Host | Run::Wasi { .. } => (self.infer(sample)?, None),
            Run::QemuUser { .. } | Run::QemuSystem { .. } => {
                let (source, plugin, out) = (
                    self.work.join("icost.c"),
                    self.work.join("libicost.so"),
                    self.work.join("icost.txt"),
                );
                fs::write(&source, sq_templates::ICOST_C).map_err(failed)?;
                let mut cc = Command::new("cc");
                cc.args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden"])
                    .arg(&source)
                    .arg("-o")
                    .arg(&plugin);
                exec::compile(&mut cc)?;
                let plugin = format!("{},out={}", plugin.display(), out.display());
                let result = self.execute(sample, &["-plugin".into(), plugin])?;
                (result, Some(region(&fs::read_to_string(&out).map_err(failed)?)?))
            }
        };
        let stack = fs::read(self.work.join("stack.bin")).map_err(failed)?;
        let stack = stack.first_chunk().map_or(0, |b| u32::from_le_bytes(*b)) as u64;
        let (own, empty) = (flash(&self.program)?, flash(&self.empty()?.program)?);
        let (code, constants) = (own.0.saturating_sub(empty.0), own.1.saturating_sub(empty.1));
        let figures = Figures {
            instructions,
            stack,
            code,
            constants,
        };
        Ok((figures, result))
    }

    /// The same program around a network that does nothing.
    fn empty(&self) -> Result<Built> {
        let rust_ty = |p: &Port| format!("{:?}", p.ty).to_lowercase();
        let (input, output) = (&self.input, &self.output);
        let file = |name: &str, text: String| (name.to_string(), text);
        let files = match self.lang {
            Lang::Rust => {
                let (i, o) = (rust_ty(input), rust_ty(output));
                let infer = format!(
                    "pub fn infer(_: &mut Arena, _: &[{i}; {}], _: &mut [{o}; {}]) {{}}",
                    len(input),
                    len(output)
                );
                let arena = "pub struct Arena; impl Arena { pub const fn new() -> Self { Arena } }";
                BTreeMap::from([file(
                    "src/lib.rs",
                    format!("#![no_std]\n{arena}\n#[inline(never)]\n{infer}\n"),
                )])
            }
            Lang::C => {
                let arguments = format!("empty_arena *a, const {} *x, {} *y", c_type(input), c_type(output));
                let header = format!(
                    "#include <stdint.h>\ntypedef struct {{ int x; }} empty_arena;\nvoid empty_infer({arguments});\n"
                );
                let body =
                    format!("#include \"empty.h\"\nvoid empty_infer({arguments}) {{ (void)a; (void)x; (void)y; }}\n");
                BTreeMap::from([file("empty.h", header), file("empty.c", body)])
            }
        };
        let unit = Unit {
            files: &files,
            name: "empty",
            lang: self.lang,
            level: self.level,
            input,
            output,
        };
        super::build(&unit, &self.target, &self.work.join("empty"), &self.options)
    }
}

/// Bytes of a linked program's code and constants.
fn flash(program: &Path) -> Result<(u64, u64)> {
    let broken = |e: String| Diag::new(Code::RunFailed, e).file(program);
    let bytes = fs::read(program).map_err(|e| broken(e.to_string()))?;
    if bytes.starts_with(WASM_MAGIC) {
        return wasm_sections(&bytes[WASM_HEADER..]).ok_or_else(|| broken("its sections do not read".into()).into());
    }
    let file = object::File::parse(&*bytes).map_err(|e| broken(e.to_string()))?;
    let (mut code, mut constants) = (0, 0);
    for section in file.sections() {
        match section.kind() {
            SectionKind::Text => code += section.size(),
            // Tables for unwinding are no part of a firmware image.
            SectionKind::ReadOnlyData | SectionKind::ReadOnlyString
                if !section
                    .name()
                    .is_ok_and(|n| n.starts_with(".eh_frame") || n.starts_with(".gcc_except")) =>
            {
                constants += section.size();
            }
            _ => {}
        }
    }
    Ok((code, constants))
}

const WASM_MAGIC: &[u8] = b"\0asm";
/// The magic and a version.
const WASM_HEADER: usize = 8;

/// Bytes of the code and data sections of a WebAssembly module behind its header.
fn wasm_sections(mut rest: &[u8]) -> Option<(u64, u64)> {
    const CODE: u8 = 10;
    const DATA: u8 = 11;
    let (mut code, mut constants) = (0, 0);
    while let Some((&id, behind)) = rest.split_first() {
        // The length in groups of seven bits, the lowest first; the last has no eighth.
        let digits = behind.iter().position(|b| b & 0x80 == 0)? + 1;
        let groups = behind[..digits].iter().rev();
        let length = groups.fold(0, |n, b| n << 7 | u64::from(b & 0x7F));
        match id {
            CODE => code += length,
            DATA => constants += length,
            _ => {}
        }
        rest = behind.get(digits + usize::try_from(length).ok()?..)?;
    }
    Some((code, constants))
}

/// Instructions of the first marked region of a report of the counter.
fn region(report: &str) -> Result<u64> {
    let words: Vec<&str> = report
        .lines()
        .find(|l| l.starts_with("region 0 "))
        .unwrap_or("")
        .split(' ')
        .collect();
    let count = words
        .iter()
        .position(|w| *w == "insns")
        .and_then(|i| words.get(i + 1)?.parse().ok());
    count.ok_or_else(|| Diag::new(Code::RunFailed, format!("the instruction counter reported `{report}`")).into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn sections_of_webassembly_are_found() {
        let mut module = vec![0, 1, 7];
        module.extend([10, 0x81, 0x01]);
        module.extend([0; 129]);
        module.extend([11, 2, 0, 0]);
        assert_eq!(super::wasm_sections(&module), Some((129, 2)));
        module.pop();
        assert_eq!(super::wasm_sections(&module), None, "a section is cut off");
    }

    #[test]
    fn the_report_of_the_counter_reads() {
        assert_eq!(
            super::region("region 0 insns 4711\ntotal insns 9000 regions 1\n"),
            Ok(4711)
        );
        assert!(super::region("total insns 9000 regions 0\n").is_err());
    }
}
