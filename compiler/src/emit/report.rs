//! What was compiled and what it costs: `report.json` for programs, a summary for readers.

use super::{LayerRow, Meta, Variant, constants, version};
use crate::kir::{Program, Ty};
use serde::Serialize;

/// The file's layout, which others read.
#[derive(Serialize)]
struct Report<'a> {
    generator: &'static str,
    version: &'static str,
    model: &'a str,
    sha256: &'a str,
    target: &'a str,
    flags: &'a str,
    input: Tensor<'a>,
    output: Tensor<'a>,
    #[serde(flatten)]
    code: Code<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variants: Vec<VariantCode<'a>>,
}

/// The code of one target.
#[derive(Serialize)]
struct Code<'a> {
    arena_bytes: u64,
    arena_lower_bound: u64,
    arena_strategy: &'a str,
    arena_shared: bool,
    constant_bytes: u64,
    kernels: Vec<&'a str>,
    layers: &'a [LayerRow],
}

/// Code to pick at run time.
#[derive(Serialize)]
struct VariantCode<'a> {
    target: &'a str,
    #[serde(flatten)]
    code: Code<'a>,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    ty: &'static str,
    shape: &'a [usize],
}

fn code<'a>(p: &'a Program, m: &'a Meta) -> Code<'a> {
    Code {
        arena_bytes: p.arena(),
        arena_lower_bound: m.arena_lower_bound,
        arena_strategy: &m.arena_strategy,
        arena_shared: p.shares_memory(),
        constant_bytes: constant_bytes(p),
        kernels: p.kernels.iter().map(|k| k.name.as_str()).collect(),
        layers: &m.layers,
    }
}

/// The report of a program, and of the variants that it picks from at run time.
pub fn report(p: &Program, m: &Meta, variants: &[Variant]) -> String {
    let tensor = |port: &'_ crate::kir::Port| -> &'static str { type_name(port.ty) };
    // The caller's holds what any variant wants.
    let arenas = variants.iter().map(|v| v.program.arena()).chain([p.arena()]);
    let mut code_of_all = code(p, m);
    code_of_all.arena_bytes = arenas.max().unwrap_or(0);
    let report = Report {
        generator: "sqc",
        version: version(),
        model: &m.model_file,
        sha256: &m.sha256,
        target: &m.target,
        flags: &m.flags,
        input: Tensor {
            name: &p.input.name,
            ty: tensor(&p.input),
            shape: &p.input.shape,
        },
        output: Tensor {
            name: &p.output.name,
            ty: tensor(&p.output),
            shape: &p.output.shape,
        },
        code: code_of_all,
        variants: variants
            .iter()
            .map(|v| VariantCode {
                target: &v.meta.target,
                code: code(v.program, v.meta),
            })
            .collect(),
    };
    let text = serde_json::to_string_pretty(&report).unwrap_or_else(|e| unreachable!("plain data: {e}"));
    text + "\n"
}

/// The report in a few lines of Markdown.
pub fn summary(p: &Program, m: &Meta, variants: &[Variant]) -> String {
    let mut out = format!(
        "The network in `{}` (SHA-256 `{}`), compiled by sqc {} for `{}`{}.",
        super::one_line(&m.model_file),
        m.sha256,
        version(),
        m.target,
        if m.flags.is_empty() {
            String::new()
        } else {
            format!(" with `{}`", m.flags)
        },
    );
    for v in variants {
        out += &format!(
            "\n\nWhere the processor has what `{}` needs:\n\n{}",
            v.meta.target,
            layers(v.program, v.meta)
        );
    }
    if !variants.is_empty() {
        out += "\n\nElsewhere:";
    }
    out + "\n\n" + &layers(p, m)
}

/// Memory and layers of one target's code.
fn layers(p: &Program, m: &Meta) -> String {
    let mut out = format!(
        "Arena {} bytes, constants {} bytes.\n\n\
         | layer | kind | weights | zeros | bytes | MACs | kernel |\n|---|---|---|---|---|---|---|\n",
        p.arena(),
        constant_bytes(p),
    );
    for l in &m.layers {
        let zeros = format!("{:.1} %", 100.0 * l.zeros);
        let name = super::one_line(&l.name).replace('|', "\\|");
        out += &format!(
            "| {name} | {} | {} | {zeros} | {} | {} | {} |\n",
            l.kind, l.depth, l.weight_bytes, l.macs, l.kernel
        );
    }
    out.truncate(out.trim_end().len());
    out
}

fn constant_bytes(p: &Program) -> u64 {
    let all = p.kernels.iter().flat_map(constants);
    all.map(|b| u64::from(b.len) * u64::from(b.ty.bytes())).sum()
}

fn type_name(ty: Ty) -> &'static str {
    match ty {
        Ty::U16 => "u16",
        Ty::I16 => "i16",
        Ty::Vec(..) => unreachable!("ports hold scalars"),
        Ty::Bool => "bool",
        Ty::U8 => "uint8",
        Ty::I8 => "int8",
        Ty::U32 => "uint32",
        Ty::I32 => "int32",
        Ty::I64 => "int64",
        Ty::F32 => "float32",
        Ty::Idx => "index",
    }
}
