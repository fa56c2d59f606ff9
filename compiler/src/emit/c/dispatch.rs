//! C99 sources with the code of several targets: `<name>_<target>.c` each, compiled for that target, and `<name>.c`, which calls the
//! best that the processor can run. Nothing is kept between calls: what a processor has is a test of a word.

use super::{arena, cmake, common, header, implementation, interface, operations, ports, readme, signature};
use crate::emit::{BASELINE, Files, Meta, REPORT, Variant, names, report, uses_vectors, variant_stem};
use crate::kir::Program;
use crate::target::Dispatch;

/// Prints `variants`, best first, and a program for the processors that can run none of them.
pub fn emit(p: &Program, m: &Meta, variants: &[Variant], dispatch: &Dispatch) -> Files {
    let name = names::snake(&m.model_name);
    let mut all: Vec<(String, &Program, &Meta)> = variants
        .iter()
        .map(|v| (variant_stem(&name, &v.meta.target), v.program, v.meta))
        .collect();
    all.push((variant_stem(&name, BASELINE), p, m));
    let mut files = common(&name, p, m);
    for (stem, program, meta) in &all {
        files.insert(
            format!("{stem}.c"),
            header(m) + &implementation(&name, stem, program, meta),
        );
        files.extend(operations(program, meta));
    }
    let detection = sq_templates::DISPATCH.iter().find(|(name, _)| *name == dispatch.c);
    let detection = detection.map_or("", |(_, text)| text);
    files.insert("sq_dispatch.h".into(), detection.into());
    files.insert(format!("{name}.c"), header(m) + &dispatcher(&name, p, &all));
    files.insert(
        format!("{name}.h"),
        header(m) + &interface(&name, p, m, &arenas(&name, &all)),
    );
    files.insert("CMakeLists.txt".into(), cmake(&name, m, &all));
    files.insert("README.md".into(), readme(&name, p, m, variants));
    files.insert(REPORT.into(), report::report(p, m, variants));
    Files(files)
}

/// One arena for whatever is picked, and the codes themselves.
fn arenas(name: &str, all: &[(String, &Program, &Meta)]) -> String {
    let types: String = all.iter().map(|(stem, p, _)| arena(stem, p) + "\n").collect();
    let fields: String = all
        .iter()
        .map(|(stem, ..)| format!("    {stem}_arena {};\n", field(name, stem)))
        .collect();
    let functions: String = all.iter().map(|(stem, p, _)| signature(stem, p) + ";\n").collect();
    format!(
        "{types}typedef union {{\n{fields}}} {name}_arena;\n\n\
         /* The codes that {name}_infer picks from; each needs a processor with the instructions that its name says. */\n{functions}"
    )
}

/// What the arena of the code in `<stem>.c` is called.
fn field<'a>(name: &str, stem: &'a str) -> &'a str {
    stem.strip_prefix(name).map_or(stem, |s| s.trim_start_matches('_'))
}

fn dispatcher(name: &str, p: &Program, all: &[(String, &Program, &Meta)]) -> String {
    let (input, output) = ports(p);
    let call = |stem: &str| format!("{stem}_infer(&arena->{}, {input}, {output});", field(name, stem));
    let (baseline, picks) = all
        .split_last()
        .unwrap_or_else(|| unreachable!("the baseline is among them"));
    let picks: String = picks
        .iter()
        .map(|(stem, program, meta)| {
            let features = meta.simd.features.iter().filter(|_| uses_vectors(program));
            let has: Vec<String> = features.map(|f| format!("SQ_HAS({f})")).collect();
            let has = if has.is_empty() {
                "1".into()
            } else {
                has.join("\n        && ")
            };
            format!("    if ({has}) {{\n        {}\n        return;\n    }}\n", call(stem))
        })
        .collect();
    format!(
        "#include \"{name}.h\"\n\n#include \"sq_dispatch.h\"\n\n{}\n{{\n{picks}    {}\n}}\n",
        signature(name, p),
        call(&baseline.0),
    )
}
