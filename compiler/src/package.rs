//! From a compiled model to the files that a user gets: what the printers are told beside the code.

use crate::data::Samples;
use crate::diag::{Code, Diag, Result};
use crate::driver::Compiled;
use crate::emit::{self, Files, Golden, LayerRow, Meta, RuntimeDep, Variant};
use crate::inspect::{self, Class};
use crate::ir::eval::{self, Tensor};
use crate::ir::{Elem, Graph, Op, Ty};
use crate::kir::{Kernel, Program, Role};
use crate::plan::{Layer, Step};
use crate::reference::Reference;
use crate::run::{self, Built, Unit};
use crate::target::Lang;
use crate::verify;
use rayon::prelude::*;
use std::path::Path;
use tempfile::TempDir;

/// Samples in the generated tests.
const VECTORS: usize = 3;

/// Rounds of so many samples after which fewer are enough. In a deep network the float model's rounding crosses a step in most
/// samples or in all, and interpreting one of VGG-7 takes a sixth of a second.
const ROUNDS: usize = 2;

/// How far a score of the float model may be from ours, as a share of the sample's greatest score, where no quantizer falls on
/// the other side of a step. Its `f32` sums come within 4e-6 in the test models, over 10,000 images.
pub const TOLERANCE: f32 = 1e-4;

/// What kernels call the tables of their weights.
const WEIGHTS: [&str; 11] = [
    "weights",
    "plus",
    "plus_half",
    "plus_byte",
    "plus_bits",
    "minus",
    "live",
    "live_half",
    "live_byte",
    "live_bits",
    "codes",
];

/// What generated code is held against.
#[derive(Clone, Debug, Default)]
pub struct Vectors {
    /// Samples with exact results, and the float model's.
    pub golden: Vec<Golden>,
    /// How far the float model's results may be from the exact ones.
    pub tolerance: f32,
}

/// The type of the sample that a graph takes.
pub fn input_ty(g: &Graph) -> Ty {
    port_ty(g, &Op::Input)
}

/// The type of a graph's result.
pub fn output_ty(g: &Graph) -> Ty {
    port_ty(g, &Op::Output)
}

fn port_ty(g: &Graph, op: &Op) -> Ty {
    // The verifier sees to it that there is one.
    g.find(|o| o == op)
        .first()
        .map_or(Ty::new(Elem::Real, []), |id| g.node(*id).ty.clone())
}

/// The first few of `samples`, one at least, that the float model (the file at `path`) and the interpreter agree on, with both results.
///
/// Where they do not agree, the float model's rounding crossed a quantizer's step. If it does in all of the first samples, the one that comes
/// nearest is taken, with the distance for a tolerance, once it is shown to be such a tie.
///
/// # Errors
/// [`Code::Reference`] if tract does not run the model, [`Code::ClassesDiffer`] if more than rounding parts it from the interpreter.
pub fn vectors(path: &Path, c: &Compiled, samples: &Samples) -> Result<Vectors> {
    // A few at a time: the first that agree are enough, and a large network takes tract a second for a hundred.
    let reference = Reference::load_for(path, &input_ty(&c.model.graph), &[], VECTORS)?;
    let elem = input_ty(&c.graph).elem;
    let mut v = Vectors::default();
    let mut nearest: Option<(f32, Golden)> = None;
    for (round, few) in samples.bytes.chunks(VECTORS * samples.size).enumerate() {
        if v.golden.len() == VECTORS || round >= ROUNDS {
            break;
        }
        let inputs: Vec<&[u8]> = few.chunks(samples.size).collect();
        let interpret = |input: &&[u8]| eval::eval(&c.graph, &Tensor::from_bytes(elem, input));
        let (float, exact): (_, Vec<Tensor>) =
            rayon::join(|| reference.run(few), || inputs.par_iter().map(interpret).collect());
        let float = float?.swap_remove(0);
        let float = float.chunks(float.len() / inputs.len());
        for ((input, exact), float) in inputs.into_iter().zip(exact).zip(float) {
            let scores = exact.to_f32();
            let greatest = scores.iter().fold(0.0f32, |m, s| m.max(s.abs()));
            let off = scores.iter().zip(float).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            let golden = || Golden {
                input: input.to_vec(),
                output: exact.to_bytes(),
                float: float.to_vec(),
            };
            if off > TOLERANCE * greatest {
                if nearest.as_ref().is_none_or(|(least, _)| off < *least) {
                    nearest = Some((off, golden()));
                }
            } else if v.golden.len() < VECTORS {
                v.tolerance = v.tolerance.max(TOLERANCE * greatest);
                v.golden.push(golden());
            }
        }
    }
    if v.golden.is_empty()
        && let Some((off, golden)) = nearest
    {
        let sample = Samples {
            bytes: golden.input.clone(),
            labels: None,
            ..samples.clone()
        };
        for parted in verify::explain(path, &c.model, &sample, &[0])? {
            if !parted.is_tie() {
                return Err(parted.finding().file(path).into());
            }
        }
        v = Vectors {
            golden: vec![golden],
            tolerance: off,
        };
    }
    Ok(v)
}

/// The package of `c` in its language. A crate gets the `Model` trait by `dep`; `flags` are those of the command line that bear on the
/// code.
pub fn package(c: &Compiled, dep: &RuntimeDep, flags: &str, vectors: Vectors) -> Files {
    let meta = meta(c, flags, vectors);
    let metas: Vec<Meta> = c
        .variants
        .iter()
        .map(|v| self::meta(v, flags, Vectors::default()))
        .collect();
    let variants = c.variants.iter().map(|v| &v.program).zip(&metas);
    let variants: Vec<Variant> = variants.map(|(program, meta)| Variant { program, meta }).collect();
    match (&c.target.dispatch, c.lang) {
        (None, Lang::Rust) => emit::rust::emit(&c.program, &meta, dep),
        (None, Lang::C) => emit::c::emit(&c.program, &meta),
        (Some(d), Lang::Rust) => emit::rust::emit_dispatch(&c.program, &meta, &variants, d, dep),
        (Some(d), Lang::C) => emit::c::emit_dispatch(&c.program, &meta, &variants, d),
    }
}

/// Builds the package of `c` in the directory `work`, to run it.
///
/// # Errors
/// A missing tool, or the compiler's complaints.
pub fn build(c: &Compiled, work: &Path) -> Result<Built> {
    let files = package(c, &RuntimeDep::Standalone, "", Vectors::default());
    build_files(c, &c.program, &files, work)
}

/// Builds `part` of the program of `c` likewise.
///
/// # Errors
/// As for [`build`].
pub fn build_part(c: &Compiled, part: &Program, work: &Path) -> Result<Built> {
    let meta = meta(c, "", Vectors::default());
    let files = match c.lang {
        Lang::Rust => emit::rust::emit(part, &meta, &RuntimeDep::Standalone),
        Lang::C => emit::c::emit(part, &meta),
    };
    build_files(c, part, &files, work)
}

fn build_files(c: &Compiled, program: &Program, files: &Files, work: &Path) -> Result<Built> {
    let unit = Unit {
        files: &files.0,
        name: &emit::names::snake(&c.model.name),
        lang: c.lang,
        level: c.level,
        input: &program.input,
        output: &program.output,
    };
    run::build(&unit, &c.target, work, &run::Options::default())
}

/// A directory for builds; it goes when the value is dropped.
///
/// # Errors
/// If there is no place for it.
pub fn scratch() -> Result<TempDir> {
    tempfile::tempdir().map_err(|e| Diag::new(Code::WriteOutput, e.kind().to_string()).into())
}

fn meta(c: &Compiled, flags: &str, vectors: Vectors) -> Meta {
    Meta {
        model_name: c.model.name.clone(),
        model_file: format!("{}.onnx", c.model.name),
        sha256: c.model.sha256.clone(),
        target: c.target_name.clone(),
        flags: flags.to_owned(),
        input: input_meaning(&c.model.graph),
        output: "The model's result; for a classifier, one score per class, the greatest wins.".into(),
        golden: vectors.golden,
        tolerance: vectors.tolerance,
        layers: layers(c),
        arena_lower_bound: c.plan.memory.lower_bound,
        arena_strategy: c.plan.memory.strategy.into(),
        simd: c.target.simd.clone(),
        level: c.level,
    }
}

/// What an element of the input stands for: the model's own first step says it.
fn input_meaning(g: &Graph) -> String {
    let readers = g
        .find(|op| *op == Op::Input)
        .first()
        .map_or(Vec::new(), |id| g.users(*id));
    match readers.first().map(|id| &g.node(*id).op) {
        Some(Op::Dequantize { scale, zero_point: 0 }) => format!("An element x stands for x * {scale}."),
        Some(Op::Dequantize { scale, zero_point }) => format!("An element x stands for (x - {zero_point}) * {scale}."),
        _ => "An element stands for itself.".into(),
    }
}

/// Bytes of the tables that hold weights; nothing for weights that became code.
pub fn weight_bytes(kernel: &Kernel) -> u64 {
    let tables = kernel
        .bufs
        .iter()
        .filter(|b| b.role == Role::Const && b.owner.is_none() && WEIGHTS.contains(&b.name.as_str()));
    tables.map(|b| u64::from(b.len) * u64::from(b.ty.bytes())).sum()
}

fn layers(c: &Compiled) -> Vec<LayerRow> {
    let known = inspect::inspect(&c.model).layers;
    let layer = |(step, layer): (&Step, &Layer)| {
        let of_model = known.iter().find(|l| l.name == layer.name);
        let (depth, zeros) = match of_model.map(|l| &l.weights) {
            Some(Class::Binary { .. }) => ("binary", 0.0),
            Some(Class::Ternary { zeros, .. }) => ("ternary", *zeros),
            Some(Class::Int8 { .. }) => ("int8", 0.0),
            Some(Class::Float { .. }) => ("float", 0.0),
            None => ("", 0.0),
        };
        LayerRow {
            name: layer.name.clone(),
            kind: of_model.map_or("pool", |l| l.kind).into(),
            depth: depth.into(),
            zeros,
            weight_bytes: weight_bytes(&step.kernels[layer.kernel]),
            macs: of_model.map_or(0, |l| l.size.macs),
            kernel: layer.family.into(),
        }
    };
    let layers = c.plan.steps.iter().flat_map(|s| s.layers.iter().map(move |l| (s, l)));
    layers.map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::synth::{self, Form};
    use crate::{data, driver, import, plan};

    /// In this network the float model's rounding crosses a step in some samples; each of them alone makes a test.
    #[test]
    fn a_sample_that_parts_at_a_tie_makes_a_test() {
        let work = TempDir::new().expect("a temporary directory");
        let path = work.path().join("deep.onnx");
        let line = "3x16x16 32C3-32C3-32C3-32C3-10FC w=ternary x=int8";
        let bytes = synth::onnx(&line.parse().expect("a line"), Form::Network);
        std::fs::write(&path, &bytes).expect("it can be written");
        let model = import::from_bytes(&bytes, &path).expect("a sound model");
        let options = plan::Options::default();
        let c = driver::compile(model, "generic", &options, &Silent, &mut |_, _, _| ()).expect("it compiles");
        let all = data::synthetic(&input_ty(&c.graph), 32);
        let crossed = |i: &usize| {
            let one = Samples {
                bytes: all.get(*i).to_vec(),
                ..all.clone()
            };
            let v = vectors(&path, &c, &one).expect("rounding explains it");
            let greatest = v.golden[0].float.iter().fold(0.0f32, |m, s| m.max(s.abs()));
            v.tolerance > 2.0 * TOLERANCE * greatest
        };
        assert!((0..all.count()).any(|i| crossed(&i)));
    }
}
