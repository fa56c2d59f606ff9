//! A `no_std` crate: `src/lib.rs` is what a firmware calls, `src/kernels.rs` what it does, `src/golden.rs` samples with their
//! results, `tests/golden.rs` the regression test. It holds no `unsafe` but around vectors, and where types share memory.

mod dispatch;
mod infer;
mod kernel;

use super::{Files, Golden, Meta, REPORT, RuntimeDep, Variant, names, one_line, report, text, version};
use crate::kir::{Port, Program};
use crate::target::OptLevel;
pub use dispatch::emit as emit_dispatch;
use kernel::{array, id, print, ty};
use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;
use std::collections::BTreeMap;

/// Prints a verified program as a crate.
pub fn emit(p: &Program, m: &Meta, dep: &RuntimeDep) -> Files {
    let name = names::snake(&m.model_name);
    let mut files = common(&name, p, m, dep);
    let library = library(&name, p, m, dep);
    files.insert("src/lib.rs".into(), format!("{}\n{}", header(m), print(library)));
    files.insert("README.md".into(), readme(&name, p, m, &[]));
    files.insert(REPORT.into(), report::report(p, m, &[]));
    files.extend(network_files("src", p, m));
    if super::uses_vectors(p) && !m.simd.rust_flags.is_empty() {
        files.insert(".cargo/config.toml".into(), cargo_config(m));
    }
    Files(files)
}

/// The first lines of every source.
fn header(m: &Meta) -> String {
    m.header().iter().map(|l| format!("// {l}\n")).collect()
}

/// The files that do not depend on how the code is arranged.
fn common(name: &str, p: &Program, m: &Meta, dep: &RuntimeDep) -> BTreeMap<String, String> {
    let header = header(m);
    BTreeMap::from([
        ("Cargo.toml".into(), manifest(name, m, dep)),
        ("src/golden.rs".into(), format!("{header}\n{}", golden(p, m))),
        ("tests/golden.rs".into(), format!("{header}\n{}", print(test(name, m)))),
    ])
}

/// The modules that the code of a program consists of, below the directory of the module that it is in.
fn network_files(directory: &str, p: &Program, m: &Meta) -> BTreeMap<String, String> {
    let header = header(m);
    let kernels = kernel::kernels(p, &m.simd);
    let mut files = vec![("kernels".to_string(), format!("//! The layers.\n\n{kernels}"))];
    if p.shares_memory() {
        files.push(("cast".into(), sq_templates::CAST_RS.into()));
    }
    if super::uses_vectors(p) {
        let modules = m
            .simd
            .files
            .iter()
            .map(|(name, ..)| format!("mod {name};\npub use {name}::*;\n"));
        let doc =
            "//! Vector operations; not every network uses all of them.\n#![allow(dead_code, unused_imports)]\n\n";
        files.push(("simd".into(), format!("{doc}{}", modules.collect::<String>())));
        let sets = m.simd.files.iter();
        files.extend(sets.map(|(name, rust, _)| (format!("simd/{name}"), rust.to_string())));
    }
    let place = |(name, text)| (format!("{directory}/{name}.rs"), format!("{header}\n{text}"));
    files.into_iter().map(place).collect()
}

/// Flags without which the crate does not compile; Cargo reads them in the crate's own directory.
fn cargo_config(m: &Meta) -> String {
    format!("[build]\nrustflags = {:?}\n", m.simd.rust_flags)
}

fn library(name: &str, p: &Program, m: &Meta, dep: &RuntimeDep) -> TokenStream {
    let features = &m.simd.features;
    let missing = (super::uses_vectors(p) && !features.is_empty()).then(|| {
        let flags: Vec<String> = features.iter().map(|f| format!("+{f}")).collect();
        let message = format!("compile with -Ctarget-feature={}", flags.join(","));
        quote! {
            #[cfg(not(all(#(target_feature = #features),*)))]
            compile_error!(#message);
        }
    });
    let unsafe_code = match (super::uses_vectors(p), p.shares_memory()) {
        (true, _) => quote!(#![deny(unsafe_op_in_unsafe_fn)]),
        (false, true) => quote!(#![deny(unsafe_code)]),
        (false, false) => quote!(#![forbid(unsafe_code)]),
    };
    let (doc, constants, selftest, model) = (
        crate_doc(name, p, m, &[]),
        constants(p, m),
        selftest(),
        model(name, p, dep),
    );
    let Network {
        modules,
        arena,
        infer,
        helpers,
    } = network(p, m, m.simd.is_unsafe_to_call());
    quote! {
        #doc
        #![no_std]
        #unsafe_code

        pub mod golden;
        #modules
        #missing

        #constants
        #arena
        #infer

        #selftest
        #model
        #helpers
    }
}

/// What the crate is, and how it is called.
fn crate_doc(name: &str, p: &Program, m: &Meta, variants: &[Variant]) -> TokenStream {
    let title = format!("The network `{}`, compiled for {}.", one_line(&m.model_name), m.target);
    let doc = format!("{title}\n\n{}", example(name, p, variants));
    let doc = doc
        .lines()
        .map(|l| if l.is_empty() { String::new() } else { format!(" {l}") });
    quote!(#(#![doc = #doc])*)
}

/// The code of a program, in parts that a module arranges.
struct Network {
    /// Declarations of the modules in [`network_files`].
    modules: TokenStream,
    /// `Arena`.
    arena: TokenStream,
    /// `infer`.
    infer: TokenStream,
    /// What `infer` calls.
    helpers: TokenStream,
}

/// `guarded` if `infer` is not compiled for the features of its kernels, so that it is unsafe to call them.
fn network(p: &Program, m: &Meta, guarded: bool) -> Network {
    let (input, output) = parameters(p);
    let calls: Vec<_> = p
        .calls
        .iter()
        .map(|c| infer::call(p, c, &input, &output, guarded))
        .collect();
    let text = quote!(#(#calls)*).to_string();
    let cast = p.shares_memory().then(|| {
        quote! {
            #[allow(unsafe_code, reason = "values of several types share the arena")]
            #[allow(dead_code, reason = "not every network reads a value twice")]
            mod cast;
        }
    });
    let simd = super::uses_vectors(p).then(|| {
        quote! {
            #[allow(clippy::all, reason = "one operation a line")]
            mod simd;
        }
    });
    let name = id(if super::uses_arena(p) { "arena" } else { "_arena" });
    let (doc, signature) = (infer_doc(p, m), signature(p, &name));
    Network {
        modules: quote! {
            #[allow(clippy::all, reason = "written for the optimiser; the loops say what they do")]
            mod kernels;
            #cast
            #simd
        },
        arena: arena(p),
        infer: quote!(#doc pub fn #signature { #(#calls)* }),
        helpers: helpers(text.contains("part ::"), text.contains("shared ::")),
    }
}

/// Names of the sample and of the result.
fn parameters(p: &Program) -> (Ident, Ident) {
    let input = id(&names::unique(&p.input.name, &["arena"]));
    let output = id(&names::unique(&p.output.name, &["arena", &input.to_string()]));
    (input, output)
}

fn signature(p: &Program, arena: &Ident) -> TokenStream {
    let ((input, output), sample, result) = (parameters(p), port(&p.input), port(&p.output));
    quote!(infer(#arena: &mut Arena, #input: &#sample, #output: &mut #result))
}

fn infer_doc(p: &Program, m: &Meta) -> TokenStream {
    let (input, output) = parameters(p);
    kernel::doc(&format!(
        "Computes `{output}` from `{input}`.\n\n* `{input}`: {}\n* `{output}`: {}",
        one_line(&m.input),
        one_line(&m.output)
    ))
}

fn constants(p: &Program, m: &Meta) -> TokenStream {
    let ports = [("INPUT", "sample", &p.input), ("OUTPUT", "result", &p.output)].map(|(prefix, what, port)| {
        let (shape, len) = (id(&format!("{prefix}_SHAPE")), id(&format!("{prefix}_LEN")));
        let (shape_doc, len_doc) = (
            format!(" Extents of a {what}, row-major."),
            format!(" Elements of a {what}."),
        );
        let extents = port.shape.iter().map(|&n| Literal::usize_unsuffixed(n));
        let (rank, count) = (
            Literal::usize_unsuffixed(port.shape.len()),
            Literal::u32_unsuffixed(elements(port)),
        );
        quote! {
            #[doc = #shape_doc]
            pub const #shape: [usize; #rank] = [#(#extents),*];
            #[doc = #len_doc]
            pub const #len: usize = #count;
        }
    });
    let (sha, version, target) = (&m.sha256, version(), &m.target);
    quote! {
        #(#ports)*
        /// Size of the arena in bytes: all the memory that inference needs besides the caller's buffers and the stack.
        pub const ARENA_BYTES: usize = core::mem::size_of::<Arena>();
        /// SHA-256 of the model's file.
        pub const MODEL_SHA256: &str = #sha;
        /// Version of the compiler that wrote this crate.
        pub const SQC_VERSION: &str = #version;
        /// What the crate was compiled for.
        pub const TARGET: &str = #target;
    }
}

fn arena(p: &Program) -> TokenStream {
    let all = infer::fields(p);
    let fields = all.iter().map(|f| {
        let (name, array) = (&f.name, array(f.ty, f.len));
        quote!(#name: #array)
    });
    let zeros = all.iter().map(|f| {
        let (name, len) = (&f.name, Literal::u32_unsuffixed(f.len));
        let zero = match f.ty {
            crate::kir::Ty::Bool => quote!(false),
            crate::kir::Ty::F32 => quote!(0.0),
            _ => quote!(0),
        };
        quote!(#name: [#zero; #len])
    });
    let aligned = super::widest_vector(p).map(|bytes| {
        let bytes = Literal::u32_unsuffixed(bytes);
        quote!(#[repr(align(#bytes))])
    });
    quote! {
        /// Where the layers leave their results. What it holds between two calls does not matter: one may serve many.
        #aligned
        pub struct Arena { #(#fields),* }

        impl Arena {
            /// For a `static` or the stack.
            pub const fn new() -> Self {
                Arena { #(#zeros),* }
            }
        }

        impl Default for Arena {
            fn default() -> Self {
                Self::new()
            }
        }
    }
}

fn selftest() -> TokenStream {
    quote! {
        /// What [`selftest`] found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct SelftestError {
            /// Sample in [`golden`].
            pub sample: usize,
            /// First element of the result that is not what it should be.
            pub element: usize,
        }

        impl core::fmt::Display for SelftestError {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "sample {}: element {} of the result is wrong", self.sample, self.element)
            }
        }

        impl core::error::Error for SelftestError {}

        /// Runs the samples in [`golden`] and compares bit for bit, for example after flashing a device.
        pub fn selftest(arena: &mut Arena) -> Result<(), SelftestError> {
            for (sample, (input, want)) in golden::INPUTS.iter().zip(&golden::OUTPUTS).enumerate() {
                let mut got = [Default::default(); OUTPUT_LEN];
                infer(arena, input, &mut got);
                for (element, (got, want)) in got.iter().zip(want).enumerate() {
                    if got.to_ne_bytes() != want.to_ne_bytes() {
                        return Err(SelftestError { sample, element });
                    }
                }
            }
            Ok(())
        }
    }
}

fn model(name: &str, p: &Program, dep: &RuntimeDep) -> TokenStream {
    if *dep == RuntimeDep::Standalone {
        return quote!();
    }
    let (unit, sample, result) = (id(&names::camel(name)), port(&p.input), port(&p.output));
    quote! {
        /// This network, for code that takes any.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct #unit;

        impl sq_runtime::Model for #unit {
            const NAME: &'static str = #name;
            const INPUT_LEN: usize = INPUT_LEN;
            const OUTPUT_LEN: usize = OUTPUT_LEN;
            const ARENA_BYTES: usize = ARENA_BYTES;
            const MODEL_SHA256: &'static str = MODEL_SHA256;
            type Arena = Arena;
            type Input = #sample;
            type Output = #result;

            fn infer(arena: &mut Arena, input: &Self::Input, output: &mut Self::Output) {
                infer(arena, input, output);
            }
        }
    }
}

/// What `infer` splits the arena with. The lengths are constants: with any optimisation no check is left. (Of `expect`, a
/// call is left at `opt-level = "z"`.)
fn helpers(part: bool, shared: bool) -> TokenStream {
    let part = part.then(|| {
        quote! {
            /// `LEN` elements after the first `skip`, and what follows them.
            #[inline(always)]
            fn part<T, const LEN: usize>(pool: &mut [T], skip: usize) -> (&mut [T; LEN], &mut [T]) {
                let Some((_, rest)) = pool.split_at_mut_checked(skip) else { unreachable!() };
                let Some(parts) = rest.split_first_chunk_mut() else { unreachable!() };
                parts
            }
        }
    });
    let shared = shared.then(|| {
        quote! {
            /// `LEN` elements after the first `skip`, for values that are read together.
            #[inline(always)]
            fn shared<T, const LEN: usize>(pool: &[T], skip: usize) -> &[T; LEN] {
                let Some((_, rest)) = pool.split_at_checked(skip) else { unreachable!() };
                let Some(part) = rest.first_chunk() else { unreachable!() };
                part
            }
        }
    });
    quote!(#part #shared)
}

/// Type of a port.
fn port(port: &Port) -> TokenStream {
    array(port.ty, elements(port))
}

fn elements(port: &Port) -> u32 {
    port.shape.iter().product::<usize>() as u32
}

fn golden(p: &Program, m: &Meta) -> String {
    let count = m.golden.len();
    let mut out = String::from(
        "//! Samples of what the network was made for, with their results; the linker drops what is not used.\n",
    );
    let mut list = |doc: &str, name: &str, ty: String, len: u32, rows: Vec<Vec<String>>| {
        let rows: String = rows
            .into_iter()
            .map(|r| format!("    [\n{}    ],\n", text::table(2, r)))
            .collect();
        out += &format!("\n/// {doc}\npub static {name}: [[{ty}; {len}]; {count}] = [\n{rows}];\n");
    };
    let ints = |bytes: fn(&Golden) -> &[u8], port: &Port| -> Vec<Vec<String>> {
        let row = |g| text::elements(bytes(g), port.ty).into_iter().map(kernel::digits);
        m.golden.iter().map(|g| row(g).collect()).collect()
    };
    let (i, o) = (&p.input, &p.output);
    list(
        "The samples.",
        "INPUTS",
        ty(i.ty).to_string(),
        elements(i),
        ints(|g| &g.input, i),
    );
    list(
        "What this crate gives, bit for bit.",
        "OUTPUTS",
        ty(o.ty).to_string(),
        elements(o),
        ints(|g| &g.output, o),
    );
    let floats = m
        .golden
        .iter()
        .map(|g| g.float.iter().map(|&v| text::float(v)).collect());
    list(
        "What the float model gives.",
        "FLOATS",
        "f32".into(),
        elements(o),
        floats.collect(),
    );
    out
}

fn test(name: &str, m: &Meta) -> TokenStream {
    let (name, tolerance) = (id(name), Literal::f32_unsuffixed(m.tolerance));
    quote! {
        //! Holds the crate against what it gave when it was generated, and against the float model.

        use #name::{Arena, OUTPUT_LEN, golden, infer, selftest};

        /// What is put down to the float model's rounding.
        const TOLERANCE: f32 = #tolerance;

        #[test]
        fn results_are_what_they_were() {
            selftest(&mut Arena::new()).unwrap();
        }

        #[test]
        fn results_are_the_float_models() {
            let mut arena = Arena::new();
            for (sample, (input, want)) in golden::INPUTS.iter().zip(&golden::FLOATS).enumerate() {
                let mut got = [Default::default(); OUTPUT_LEN];
                infer(&mut arena, input, &mut got);
                for (element, (&got, &want)) in got.iter().zip(want).enumerate() {
                    #[allow(clippy::unnecessary_cast)]
                    let got = got as f32;
                    let off = (got - want).abs();
                    assert!(off <= TOLERANCE, "sample {sample}, element {element}: {got}, float model {want}");
                }
            }
        }
    }
}

fn manifest(name: &str, m: &Meta, dep: &RuntimeDep) -> String {
    let header: String = m.header().iter().map(|l| format!("# {l}\n")).collect();
    let dependency = match dep {
        RuntimeDep::Standalone => String::new(),
        RuntimeDep::Path(path) => format!("\n[dependencies]\nsq-runtime = {{ path = {path:?} }}\n"),
        RuntimeDep::Version => format!("\n[dependencies]\nsq-runtime = \"{}\"\n", version()),
    };
    format!(
        r#"{header}
[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
rust-version = "1.85"
publish = false
{dependency}
[lib]
doctest = false

# A workspace of its own, wherever the directory lies.
[workspace]

[profile.release]
opt-level = {}
"#,
        m.level.cargo()
    )
}

fn example(name: &str, p: &Program, variants: &[Variant]) -> String {
    let output = zero(&p.output);
    let input = zero(&p.input);
    // What is picked at run time cannot lie in a static.
    let place = if variants.is_empty() { " // or a static" } else { "" };
    format!(
        "```\nlet mut arena = {name}::Arena::new();{place}\nlet mut result = {output};\n\
         {name}::infer(&mut arena, &{input}, &mut result);\n```"
    )
}

fn zero(port: &Port) -> String {
    let zero = if port.ty == crate::kir::Ty::F32 { "0.0" } else { "0" };
    format!("[{zero}; {}]", elements(port))
}

fn readme(name: &str, p: &Program, m: &Meta, variants: &[Variant]) -> String {
    let code = example(name, p, variants).replacen("```", "```rust", 1);
    format!(
        "# {name}\n\n{}\n\n## Use\n\n{code}\n\nNo heap, no globals that change, no panic, {}; one arena may serve many calls.\n\n\
         {}\n\n```toml\n[profile.release.package.{name}]\nopt-level = {}\n```\n\n\
         The crate is a workspace of its own, so that it builds wherever it lies. Below the root of another, name it there: \
         `exclude = [\"...\"]` under `[workspace]`.\n\n\
         `cargo test` holds the crate against the results it was generated with and against the float model.\n",
        report::summary(p, m, variants),
        unsafe_code(p, variants),
        optimisation(m.level),
        m.level.cargo()
    )
}

/// What the crate's README says of the level that its kernels were chosen for.
fn optimisation(level: OptLevel) -> &'static str {
    match level {
        OptLevel::Speed => {
            "Its kernels were chosen for speed. A firmware that is built for size keeps it with these lines in its `Cargo.toml`:"
        }
        OptLevel::Size => {
            "Its kernels were chosen for size; at `opt-level = 3` they may take several times as much. In the `Cargo.toml` of the firmware:"
        }
    }
}

/// What the crate's README says of `unsafe`.
fn unsafe_code(p: &Program, variants: &[Variant]) -> &'static str {
    let vectors = super::uses_vectors(p) || variants.iter().any(|v| super::uses_vectors(v.program));
    match (vectors, p.shares_memory()) {
        (true, _) => "`unsafe` around vectors and memory alone",
        (false, true) => "`unsafe` in `src/cast.rs` alone, by which values of several types share memory",
        (false, false) => "no `unsafe`",
    }
}
