//! Target descriptions, and the files that `sqc` copies or fills in.
#![forbid(unsafe_code)]

/// Name and text of every `targets/<name>.toml`.
pub const TARGETS: &[(&str, &str)] = &[
    ("generic", include_str!("../targets/generic.toml")),
    ("native", include_str!("../targets/native.toml")),
    ("x86_64", include_str!("../targets/x86_64.toml")),
    ("x86_64-avx2", include_str!("../targets/x86_64-avx2.toml")),
    ("x86_64-avx512", include_str!("../targets/x86_64-avx512.toml")),
    ("x86_64-multi", include_str!("../targets/x86_64-multi.toml")),
    ("aarch64", include_str!("../targets/aarch64.toml")),
    ("aarch64-dotprod", include_str!("../targets/aarch64-dotprod.toml")),
    ("aarch64-i8mm", include_str!("../targets/aarch64-i8mm.toml")),
    ("aarch64-multi", include_str!("../targets/aarch64-multi.toml")),
    ("cortex-m0", include_str!("../targets/cortex-m0.toml")),
    ("cortex-m0plus", include_str!("../targets/cortex-m0plus.toml")),
    ("cortex-m3", include_str!("../targets/cortex-m3.toml")),
    ("cortex-m4", include_str!("../targets/cortex-m4.toml")),
    ("cortex-m7", include_str!("../targets/cortex-m7.toml")),
    ("cortex-m33", include_str!("../targets/cortex-m33.toml")),
    ("cortex-m55", include_str!("../targets/cortex-m55.toml")),
    ("armv7-neon", include_str!("../targets/armv7-neon.toml")),
    ("rv32imc", include_str!("../targets/rv32imc.toml")),
    ("rv32imac-zbb", include_str!("../targets/rv32imac-zbb.toml")),
    ("wasm32", include_str!("../targets/wasm32.toml")),
];

/// The vector operations of instruction sets: name, Rust and C of every `simd/<name>.{rs,h}`; NEON's intrinsics in C serve both
/// widths. Both files spell the same operations; what is not there does not exist on that instruction set.
pub const SIMD: &[(&str, &str, &str)] = &[
    ("mve", include_str!("../simd/mve.rs"), include_str!("../simd/mve.h")),
    ("neon", include_str!("../simd/neon.rs"), include_str!("../simd/neon.h")),
    (
        "neon_a32",
        include_str!("../simd/neon_a32.rs"),
        include_str!("../simd/neon.h"),
    ),
    (
        "neon_dotprod",
        include_str!("../simd/neon_dotprod.rs"),
        include_str!("../simd/neon_dotprod.h"),
    ),
    (
        "neon_i8mm",
        include_str!("../simd/neon_i8mm.rs"),
        include_str!("../simd/neon_i8mm.h"),
    ),
    (
        "wasm_simd128",
        include_str!("../simd/wasm_simd128.rs"),
        include_str!("../simd/wasm_simd128.h"),
    ),
    (
        "x86_avx2",
        include_str!("../simd/x86_avx2.rs"),
        include_str!("../simd/x86_avx2.h"),
    ),
    (
        "x86_avx512",
        include_str!("../simd/x86_avx512.rs"),
        include_str!("../simd/x86_avx512.h"),
    ),
];

/// How generated C asks for a processor's instructions: name and text of every `dispatch/<name>.h`.
pub const DISPATCH: &[(&str, &str)] = &[
    ("x86_64", include_str!("../dispatch/x86_64.h")),
    ("aarch64", include_str!("../dispatch/aarch64.h")),
];

/// How a generated crate sees one stretch of memory as elements of several types.
pub const CAST_RS: &str = include_str!("../memory/cast.rs");

/// Runs a generated crate on files of samples.
pub const HARNESS_RS: &str = include_str!("../harness/harness.rs");
/// Runs generated C on files of samples.
pub const HARNESS_C: &str = include_str!("../harness/harness.c");
/// Places the harness on a bare board.
pub const LINKER_SCRIPT: &str = include_str!("../harness/bare.ld");
/// Runs a WebAssembly program in Node.js.
pub const WASI_MJS: &str = include_str!("../harness/wasi.mjs");
/// QEMU plugin that counts executed instructions between marks.
pub const ICOST_C: &str = include_str!("../icost/icost.c");
