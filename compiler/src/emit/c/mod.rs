//! C99 sources: `<name>.h` and `<name>.c` are what a firmware builds, `selftest.c` the regression test, `CMakeLists.txt` a
//! library and a test for those who use CMake. Every name of file scope and every macro carries the prefix.

mod dispatch;
mod helpers;
mod kernel;

use super::{Files, Meta, REPORT, Variant, names, one_line, pool_name, report, text, version};
use crate::kir::{Arg, Call, Port, Program, Ty};
pub use dispatch::emit as emit_dispatch;
use kernel::{Printer, literal, ty};
use std::collections::{BTreeMap, BTreeSet};

/// Prints a verified program as C99.
pub fn emit(p: &Program, m: &Meta) -> Files {
    let name = names::snake(&m.model_name);
    let mut files = common(&name, p, m);
    let arena = arena(&name, p);
    files.insert(format!("{name}.h"), header(m) + &interface(&name, p, m, &arena));
    files.insert(format!("{name}.c"), header(m) + &implementation(&name, &name, p, m));
    files.insert("CMakeLists.txt".into(), cmake(&name, m, &[(name.clone(), p, m)]));
    files.insert("README.md".into(), readme(&name, p, m, &[]));
    files.insert(REPORT.into(), report::report(p, m, &[]));
    files.extend(operations(p, m));
    Files(files)
}

/// The first lines of every source.
fn header(m: &Meta) -> String {
    let lines: String = m.header().iter().map(|l| format!(" * {l}\n")).collect();
    format!("/*\n{lines} */\n")
}

/// The files that do not depend on how the code is arranged.
fn common(name: &str, p: &Program, m: &Meta) -> BTreeMap<String, String> {
    BTreeMap::from([("selftest.c".into(), header(m) + &selftest(name, p, m))])
}

/// The vector operations that a program may use.
fn operations(p: &Program, m: &Meta) -> BTreeMap<String, String> {
    let files = m.simd.files.iter().filter(|_| super::uses_vectors(p));
    files
        .map(|(file, _, c)| (format!("sq_{file}.h"), c.to_string()))
        .collect()
}

/// Names of `infer`'s parameters after the arena.
fn ports(p: &Program) -> (String, String) {
    let input = names::unique(&p.input.name, &["arena"]);
    let output = names::unique(&p.output.name, &["arena", &input]);
    (input, output)
}

fn elements(port: &Port) -> usize {
    port.shape.iter().product()
}

fn signature(name: &str, p: &Program) -> String {
    let (input, output) = ports(p);
    format!(
        "void {name}_infer({name}_arena *arena, const {} {input}[{}], {} {output}[{}])",
        ty(p.input.ty),
        elements(&p.input),
        ty(p.output.ty),
        elements(&p.output)
    )
}

/// The type `<name>_arena`.
fn arena(name: &str, p: &Program) -> String {
    // Strictest alignment first, so that no padding comes between the pools.
    let mut pools: Vec<usize> = (0..p.pools.len()).collect();
    pools.sort_by_key(|&i| std::cmp::Reverse(p.pools[i].ty.bytes()));
    let indent = if p.shares_memory() { "        " } else { "    " };
    let mut fields: String = pools
        .iter()
        .map(|&i| format!("{indent}{} {}[{}];\n", ty(p.pools[i].ty), field(p, i), p.pools[i].len))
        .collect();
    if p.shares_memory() {
        // What is written as a type is read as that type, until it is written as another.
        fields = format!("    union {{\n{fields}    }} {SHARED};\n");
    }
    if fields.is_empty() {
        // C has no empty structures.
        fields = "    uint8_t unused;\n".into();
    }
    format!("typedef struct {{\n{fields}}} {name}_arena;\n")
}

/// The header, around the declaration of the arena.
fn interface(name: &str, p: &Program, m: &Meta, arena: &str) -> String {
    let upper = names::screaming(name);
    let (input, output) = ports(p);
    format!(
        "#ifndef {upper}_H\n#define {upper}_H\n\n#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n\n\
         #ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         /* Elements of a sample and of a result; row-major. */\n\
         #define {upper}_INPUT_LEN {}\n#define {upper}_OUTPUT_LEN {}\n\
         /* All the memory that inference needs besides the caller's buffers and the stack. */\n\
         #define {upper}_ARENA_BYTES sizeof({name}_arena)\n\
         #define {upper}_MODEL_SHA256 \"{}\"\n#define {upper}_SQC_VERSION \"{}\"\n#define {upper}_TARGET \"{}\"\n\n\
         /* Where the layers leave their results. What it holds between two calls does not matter: one may serve many. */\n\
         {arena}\n\
         /*\n * Computes {output} from {input}.\n *\n * {input}: {}\n * {output}: {}\n *\n \
         * The buffers and the arena do not overlap.\n */\n{};\n\n\
         /*\n * Runs samples with known results, for example after flashing a device; defined in selftest.c.\n *\n \
         * Returns 0 if every result is what it was when this file was generated, bit for bit, and the float model's within\n \
         * rounding; else the number of the first sample that is not, from 1.\n */\n\
         int {name}_selftest({name}_arena *arena);\n\n\
         #ifdef __cplusplus\n}}\n#endif\n\n#endif\n",
        elements(&p.input),
        elements(&p.output),
        m.sha256,
        version(),
        m.target,
        shape(&p.input, &m.input),
        shape(&p.output, &m.output),
        signature(name, p),
    )
}

/// A port's shape and what it holds.
fn shape(port: &Port, doc: &str) -> String {
    let extents: Vec<_> = port.shape.iter().map(usize::to_string).collect();
    format!("{} of shape [{}]; {}", ty(port.ty), extents.join(", "), one_line(doc))
}

/// A source with the code of a program; `name` is the prefix of its symbols.
fn implementation(header: &str, name: &str, p: &Program, m: &Meta) -> String {
    let mut printer = Printer {
        prefix: name,
        helpers: BTreeSet::new(),
    };
    let kernels: Vec<String> = p.kernels.iter().map(|k| printer.kernel(k)).collect();
    let (input, output) = ports(p);
    let calls: String = p.calls.iter().map(|c| call(&printer, p, c, &input, &output)).collect();
    let unused = if super::uses_arena(p) { "" } else { "    (void)arena;\n" };
    let helpers: Vec<String> = printer.helpers.iter().map(|h| h.definition(name)).collect();
    let mut out = format!("#include \"{header}.h\"\n\n");
    out += KERNEL;
    if super::uses_vectors(p) || !helpers.is_empty() {
        out += INLINE;
    }
    for (file, ..) in m.simd.files.iter().filter(|_| super::uses_vectors(p)) {
        out += &format!("#include \"sq_{file}.h\"\n\n");
    }
    for (macro_of, definition) in [
        ("SQ_EXACT", EXACT),
        ("SQ_IN_ORDER", IN_ORDER),
        ("SQ_BY_PRIORITY", BY_PRIORITY),
    ] {
        if p.kernels.iter().any(|k| kernel::options(k).any(|o| o == macro_of)) {
            out += definition;
        }
    }
    for part in helpers.iter().chain(&kernels) {
        out += part;
        out.push('\n');
    }
    out + &format!("{}\n{{\n{unused}{calls}}}\n", signature(name, p))
}

/// A function that is called once GCC would inline: LeNet-5's kernels for AArch64, all in one function, then kept sums on the stack and took
/// twice the instructions.
const KERNEL: &str = "\
/* Kernels stay apart, so that each has all registers. */
#if defined(__GNUC__)
#define SQ_KERNEL static __attribute__((noinline))
#else
#define SQ_KERNEL static
#endif

";

/// GCC stops inlining what is merely `inline` once a function has grown: a vector kernel for AArch64 then calls a function for every load.
const INLINE: &str = "\
/* Operations so small that a call would cost more. */
#if defined(__GNUC__)
#define SQ_INLINE static inline __attribute__((always_inline))
#else
#define SQ_INLINE static inline
#endif

";

/// A product and a sum are rounded one by one: a fused operation would give another result. GCC, which does not know the pragma, is told
/// so function by function: told for a whole file, GCC 12 made a ninth more code of its integer kernels for Armv6-M. Where it makes vectors of
/// straight-line code, it fuses products with sums and differences in turns all the same (`vfmaddsub`).
const EXACT: &str = "\
/* Products and sums of floats are rounded one by one; a fused operation would give another result. */
#if defined(__GNUC__) && !defined(__clang__)
#define SQ_EXACT __attribute__((optimize(\"fp-contract=off\", \"no-tree-slp-vectorize\")))
#else
#define SQ_EXACT
#pragma STDC FP_CONTRACT OFF
#endif

";

/// For Armv6-M GCC does not schedule before it allocates registers, but forgets that of functions with options of their own.
const IN_ORDER: &str = "\
/* Sums in the order given: what several of them add would take a register. */
#if !defined(__GNUC__) || defined(__clang__)
#define SQ_IN_ORDER
#elif defined(__thumb__) && !defined(__thumb2__)
#define SQ_IN_ORDER __attribute__((optimize(\"no-tree-reassoc\", \"no-schedule-insns\")))
#else
#define SQ_IN_ORDER __attribute__((optimize(\"no-tree-reassoc\")))
#endif

";

const BY_PRIORITY: &str = "\
/* Few instructions can name the upper registers; the other algorithm moves values there and back. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__thumb__) && !defined(__thumb2__)
#define SQ_BY_PRIORITY __attribute__((optimize(\"ira-algorithm=priority\", \"no-schedule-insns\")))
#else
#define SQ_BY_PRIORITY
#endif

";

fn call(printer: &Printer<'_>, p: &Program, call: &Call, input: &str, output: &str) -> String {
    let from = |array: String, offset: u32| match offset {
        0 => array,
        _ => format!("{array} + {offset}"),
    };
    let args = call.args.iter().map(|&arg| match arg {
        Arg::Input(offset) => from(input.to_string(), offset),
        Arg::Output(offset) => from(output.to_string(), offset),
        Arg::Arena { pool, offset } => {
            let pool = match p.shares_memory() {
                true => format!("arena->{SHARED}.{}", field(p, pool)),
                false => format!("arena->{}", field(p, pool)),
            };
            from(pool, offset)
        }
    });
    let args: Vec<_> = args.collect();
    text::wrap(
        1,
        &format!("{}({});", printer.function(&p.kernels[call.kernel]), args.join(", ")),
    )
}

/// Name of the union of pools that overlap.
const SHARED: &str = "shared";

/// Name of a pool's field; a number sets a second pool of one type apart.
fn field(p: &Program, pool: usize) -> String {
    let ty = p.pools[pool].ty;
    match p.pools[..pool].iter().filter(|q| q.ty == ty).count() {
        0 => pool_name(ty).into(),
        n => format!("{}{n}", pool_name(ty)),
    }
}

fn selftest(name: &str, p: &Program, m: &Meta) -> String {
    let upper = names::screaming(name);
    let (input, output, count) = (elements(&p.input), elements(&p.output), m.golden.len());
    let table = |what: &str, c: &str, len: usize, rows: Vec<Vec<String>>| {
        let rows: String = rows
            .into_iter()
            .map(|r| format!("    {{\n{}    }},\n", text::table(2, r)))
            .collect();
        format!("static const {c} {name}_{what}[{count}][{len}] = {{\n{rows}}};\n\n")
    };
    let row = |bytes: &[u8], t: Ty| text::elements(bytes, t).into_iter().map(literal).collect();
    let inputs = m.golden.iter().map(|g| row(&g.input, p.input.ty)).collect();
    let outputs = m.golden.iter().map(|g| row(&g.output, p.output.ty)).collect();
    let floats = m
        .golden
        .iter()
        .map(|g| g.float.iter().map(|&v| literal(crate::kir::Lit::F32(v))).collect())
        .collect();
    format!(
        "#include \"{name}.h\"\n\n#include <string.h>\n\n\
         /* Samples of what the network was made for. */\n{}\
         /* What the network gives, bit for bit. */\n{}\
         /* What the float model gives. */\n{}\
         int {name}_selftest({name}_arena *arena)\n{{\n    \
         const float tolerance = {};\n    {} got[{output}];\n    \
         for (int i = 0; i < {count}; i++) {{\n        \
         {name}_infer(arena, {name}_inputs[i], got);\n        \
         if (memcmp(got, {name}_outputs[i], sizeof got) != 0) {{\n            return i + 1;\n        }}\n        \
         for (int j = 0; j < {output}; j++) {{\n            \
         const float off = (float)got[j] - {name}_floats[i][j];\n            \
         if (!(off <= tolerance && -off <= tolerance)) {{\n                return i + 1;\n            }}\n        }}\n    }}\n    \
         return 0;\n}}\n\n\
         #ifdef {upper}_SELFTEST_MAIN\nint main(void)\n{{\n    static {name}_arena arena;\n    \
         return {name}_selftest(&arena);\n}}\n#endif\n",
        table("inputs", &ty(p.input.ty), input, inputs),
        table("outputs", &ty(p.output.ty), output, outputs),
        table("floats", "float", output, floats),
        literal(crate::kir::Lit::F32(m.tolerance)),
        ty(p.output.ty),
    )
}

/// `sources` are those that hold code, each with its target's program.
fn cmake(name: &str, m: &Meta, sources: &[(String, &Program, &Meta)]) -> String {
    let header: String = m.header().iter().map(|l| format!("# {l}\n")).collect();
    let upper = names::screaming(name);
    let mut files: Vec<String> = sources.iter().map(|(stem, ..)| format!("{stem}.c")).collect();
    if sources.iter().all(|(stem, ..)| stem != name) {
        files.insert(0, format!("{name}.c"));
    }
    let flags: String = sources
        .iter()
        .filter(|(_, p, m)| super::uses_vectors(p) && !m.simd.c_flags.is_empty())
        .map(|(stem, _, m)| {
            // How to optimise is said to GCC alone; Clang does not know all of it, and warns.
            let flag = |f: &String| match f.starts_with("-f") {
                true => format!("$<$<C_COMPILER_ID:GNU>:{f}>"),
                false => f.clone(),
            };
            let flags = m.simd.c_flags.iter().map(flag).collect::<Vec<_>>().join(";");
            format!("set_source_files_properties({stem}.c PROPERTIES COMPILE_OPTIONS \"{flags}\")\n")
        })
        .collect();
    format!(
        "{header}\ncmake_minimum_required(VERSION 3.13)\nproject({name} C)\n\n\
         add_library({name} STATIC {files})\n\
         target_include_directories({name} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})\n\
         set_target_properties({name} PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)\n\
         if(CMAKE_C_COMPILER_ID MATCHES \"GNU|Clang\")\n  \
         # Products and sums of floats are rounded one by one.\n  \
         target_compile_options({name} PRIVATE -ffp-contract=off {level})\nendif()\n{flags}\n\
         if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)\n  enable_testing()\n  \
         add_executable({name}_selftest selftest.c)\n  \
         target_compile_definitions({name}_selftest PRIVATE {upper}_SELFTEST_MAIN)\n  \
         target_link_libraries({name}_selftest PRIVATE {name})\n  \
         add_test(NAME {name}_selftest COMMAND {name}_selftest)\nendif()\n",
        files = files.join(" "),
        level = m.level.cc()
    )
}

fn readme(name: &str, p: &Program, m: &Meta, variants: &[Variant]) -> String {
    let (input, output) = ports(p);
    let own = super::uses_vectors(p) && !m.simd.c_flags.is_empty();
    let flags = match variants.is_empty() {
        true if own => format!(", for its target: `{}`", m.simd.c_flags.join(" ")),
        true => String::new(),
        false => " and each other source for its target, with the flags in `CMakeLists.txt`".into(),
    };
    let programs = variants.iter().map(|v| v.program).chain([p]);
    let place = match programs.filter_map(super::widest_vector).max() {
        Some(bytes) => format!("It is fastest with the arena at a multiple of {bytes} bytes.\n\n"),
        None => String::new(),
    };
    format!(
        "# {name}\n\n{}\n\n## Use\n\n```c\n#include \"{name}.h\"\n\nstatic {name}_arena arena;\n\n\
         {name}_infer(&arena, {input}, {output});\n```\n\n{place}\
         C99 without heap or globals that change, and without library calls but `memcpy`, `memmove` and `memset`, which compilers \
         make of loops; reentrant, one arena per call in progress. Compile `{name}.c` with `{level}` and contraction off (`-ffp-contract=off`){flags}.\n\n\
         `cmake -B build && cmake --build build && ctest --test-dir build` holds the sources against the results they were \
         generated with and against the float model.\n",
        report::summary(p, m, variants),
        level = m.level.cc()
    )
}
