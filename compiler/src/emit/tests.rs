//! Every operation on every type, printed, compiled with warnings as errors and compared with the interpreter bit for bit.

use super::{Files, Golden, Meta, RuntimeDep, c, rust, write};
use crate::kir::build::*;
use crate::kir::{Arg, BinOp, Call, Expr, Kernel, Pool, Port, Program, Role, Ty, eval, verify};
use std::path::Path;
use std::process::Command;

/// Elements of a sample, and of every type's values.
const N: usize = 24;
/// The types, in the order of the pools.
const TYPES: [Ty; 8] = [Ty::U8, Ty::I8, Ty::U32, Ty::I32, Ty::I64, Ty::F32, Ty::Bool, Ty::Idx];
const WORDS: usize = 2;
const FLOATS: usize = 5;

fn bin(op: BinOp, a: &Expr, b: &Expr) -> Expr {
    Expr::Bin(op, a.clone().into(), b.clone().into())
}

/// Values of every type from the sample's bytes, small enough that no signed operation overflows.
fn spread() -> Kernel {
    let mut b = Builder::new("spread", "Values of every type. */ // \"quoted\" \\");
    let x = b.param("type", Ty::U8, N, Role::In, Ty::U8.range());
    let bufs = TYPES.map(|t| b.param(&format!("{t:?}s").to_lowercase(), t, N, Role::Out, t.range()));
    b.each("int", N, false, |b, i| {
        b.note("every type */ in turn");
        let v = b.val("v", b.load(x, i.clone()));
        let word = b.val(
            "word",
            v.clone().cast(Ty::U32) * int(0x0103_0509, Ty::U32) + int(77, Ty::U32),
        );
        let wide = word.clone().cast(Ty::I32) >> int(18, Ty::I32);
        let values = [
            v.clone(),
            v.clone().cast(Ty::I8) >> int(5, Ty::I8),
            word,
            wide.clone(),
            wide.clone().cast(Ty::I64) * int(65_537, Ty::I64),
            wide.cast(Ty::F32) * float(0.37),
            v.clone().ge(int(128, Ty::U8)),
            v.cast(Ty::Idx),
        ];
        for (to, value) in bufs.into_iter().zip(values) {
            b.store(to, i.clone(), value);
        }
    });
    b.finish()
}

/// What can be done with two values of a type; results are of that type or truth values.
fn operations(t: Ty, a: &Expr, b: &Expr) -> Vec<Expr> {
    use BinOp::*;
    let mut out: Vec<Expr> = [Min, Max, Lt, Ge, Eq].iter().map(|&op| bin(op, a, b)).collect();
    out.push(a.clone().ge(b.clone()).select(a.clone(), b.clone()));
    if t != Ty::Bool {
        out.push(a.clone() + b.clone());
        out.push(a.clone() * b.clone());
    }
    if t != Ty::Idx && t != Ty::Bool {
        out.push(a.clone() - b.clone());
        out.push(a.clone() - (b.clone() - a.clone()));
        out.push((a.clone() + b.clone()) * (a.clone() + b.clone()).min(a.clone()) - b.clone() * a.clone());
    }
    if !matches!(t, Ty::F32) {
        out.extend([And, Or, Xor].map(|op| bin(op, a, b)));
    }
    if !matches!(t, Ty::F32 | Ty::Bool) {
        out.push(a.clone() >> int(3, t));
        out.push((a.clone() & int(31, t)) >> (b.clone() & int(3, t)));
    }
    if matches!(t, Ty::U8 | Ty::U32 | Ty::Bool | Ty::I8 | Ty::I32 | Ty::I64) {
        out.push(!a.clone());
        out.push(!(a.clone() & b.clone()) | a.clone());
    }
    if matches!(t, Ty::I8 | Ty::I32 | Ty::I64 | Ty::F32) {
        out.push(-a.clone());
        out.push(-(a.clone() + b.clone()));
    }
    if matches!(t, Ty::U8 | Ty::U32) {
        out.push(a.clone() << int(3, t));
        out.push((a.clone() + b.clone()) << (b.clone() & int(7, t)));
    }
    if t == Ty::U32 {
        out.push((a.clone() ^ b.clone()).popcnt() + int(1, Ty::U32));
        out.push(int(5, t) - a.clone());
    }
    let tails = TYPES.into_iter().filter(|&to| {
        let index = to == Ty::Idx && !matches!(t, Ty::U8 | Ty::Bool);
        t != Ty::F32 && to != Ty::Bool && to != t && to != Ty::F32 && !index
    });
    // There and back; through `bool` there is no way back.
    out.extend(
        tails
            .filter(|_| t != Ty::Bool && t != Ty::Idx)
            .map(|to| (a.clone() & b.clone()).cast(to).cast(t)),
    );
    out
}

/// All operations of a type on neighbours, into words; floats into floats.
fn all_of(t: Ty) -> (Kernel, usize) {
    let mut b = Builder::new(format!("all_{t:?}").to_lowercase(), "Every operation.");
    let probe = operations(t, &int(0, t), &int(0, t));
    let per = probe.len() * 2;
    let len = per * (N - 1);
    let x = b.param("x", t, N, Role::In, t.range());
    let to = if t == Ty::F32 { Ty::F32 } else { Ty::U32 };
    let y = b.param("y", to, len, Role::Out, to.range());
    b.each("i", N - 1, false, |b, i| {
        let first = b.val("a", b.load(x, i.clone()));
        let second = b.val("b", b.load(x, i.clone() + idx(1)));
        for (k, e) in operations(t, &first, &second).into_iter().enumerate() {
            let is_bool = matches!(e, Expr::Bin(BinOp::Lt | BinOp::Ge | BinOp::Eq, ..)) || t == Ty::Bool;
            let (low, high) = match (to, t) {
                (Ty::F32, _) if is_bool => (e.clone().cast(Ty::I32).cast(Ty::F32), float(-0.0)),
                (Ty::F32, _) => (e, float(-0.0)),
                _ if is_bool => (e.clone().cast(Ty::U32), e.cast(Ty::U32) ^ int(1, Ty::U32)),
                (_, Ty::I64) => (e.clone().cast(Ty::U32), (e >> int(32, Ty::I64)).cast(Ty::U32)),
                (_, Ty::U32) => (e.clone(), e),
                _ => (e.clone().cast(Ty::U32), e.cast(Ty::I64).cast(Ty::U32)),
            };
            let at = i.clone() * idx(per) + idx(2 * k);
            b.store(y, at.clone(), low);
            b.store(y, at + idx(1), high);
        }
    });
    (b.finish(), len)
}

/// Tables of every type, extreme values, variables that change, nested loops, literals in every place; one word per element
/// type at the end.
fn tables() -> (Kernel, usize) {
    let mut b = Builder::new("tables", "Constants of every type.");
    let x = b.param("x", Ty::I32, N, Role::In, Ty::I32.range());
    let y = b.param("y", Ty::U32, 11, Role::Out, Ty::U32.range());
    // The interpreter keeps the least number of all for elements that nobody wrote.
    let extremes = |t: Ty| ints([t.range().0.max(i64::MIN + 1), t.range().0.max(-1), 0, t.range().1], t);
    let integers = [Ty::U8, Ty::I8, Ty::U32, Ty::I32, Ty::I64, Ty::Bool, Ty::Idx];
    let bufs = integers.map(|t| b.constants(&format!("{t:?}").to_lowercase(), t, extremes(t)));
    let f = b.constants("f", Ty::F32, floats(&[1e-45, -0.0, f32::MAX, 0.1]));
    for (k, (t, buf)) in integers.into_iter().zip(bufs).enumerate() {
        let mut word = int(k as i64, Ty::U32);
        for i in 0..4 {
            let v = b.load(buf, idx(i));
            word = word * int(31, Ty::U32) + if t == Ty::U32 { v } else { v.cast(Ty::U32) };
        }
        b.store(y, idx(k), word);
    }
    let count = b.mutable("count", int(0, Ty::U32));
    let least = b.mutable("least", float(f32::MAX));
    let small = b.mutable("small", int(250, Ty::U8));
    b.each("i", 4, true, |b, i| {
        b.set(least, Expr::Var(least).min(b.load(f, i.clone())));
        b.add(small, int(3, Ty::U8));
        b.each("j", N, false, |b, j| {
            let v = b.val("v", b.load(x, j.clone()));
            let odd = bin(BinOp::Eq, &(v.clone() & int(1, Ty::I32)), &int(1, Ty::I32));
            let below = bin(
                BinOp::Lt,
                &(v.clone() + j.clone().cast(Ty::I32)),
                &(v.clone().max(int(-5, Ty::I32)) * i.clone().cast(Ty::I32)),
            );
            let cast_first = bin(
                BinOp::Lt,
                &j.clone().cast(Ty::I64),
                &int(-7, Ty::I64).max(v.clone().cast(Ty::I64)),
            );
            let shifted = v.clone().cast(Ty::U32) << j.clone().cast(Ty::U32);
            b.add(count, odd.clone().select(shifted, int(7, Ty::U32)));
            b.add(count, (below & cast_first).cast(Ty::U32));
            // A conversion that C does not spell leaves its operand's operator bare.
            let amount = ((j.clone() * idx(25)) & idx(31)).cast(Ty::U32);
            b.add(count, int(0x8421_1248, Ty::U32) >> amount);
            let nested = odd.select(
                v.clone().ge(int(0, Ty::I32)).select(-v.clone(), int(-9, Ty::I32)),
                int(3, Ty::I32) - v.clone(),
            );
            b.set(count, Expr::Var(count) ^ (nested * int(-3, Ty::I32)).cast(Ty::U32));
            b.set(
                count,
                int(1, Ty::U32) + (int(300, Ty::I32).cast(Ty::I8) + int(-3, Ty::I8)).cast(Ty::U32) + Expr::Var(count),
            );
        });
    });
    let flag = int(1, Ty::Bool) ^ bin(BinOp::Lt, &Expr::Var(least), &float(-1.0));
    let rest = [Expr::Var(count), Expr::Var(small).cast(Ty::U32), flag.cast(Ty::U32)];
    for (k, e) in rest.into_iter().enumerate() {
        b.store(y, idx(7 + k), e);
    }
    let least = int(i64::MIN, Ty::I64) >> int(40, Ty::I64);
    b.store(y, idx(10), least.cast(Ty::U32));
    (b.finish(), 11)
}

/// Words as pairs of floats without loss.
fn halves(len: usize) -> Kernel {
    let mut b = Builder::new("halves", "Words as two floats each.");
    let x = b.param("arena", Ty::U32, len, Role::In, Ty::U32.range());
    let y = b.param("rest", Ty::F32, 2 * len, Role::Out, Ty::F32.range());
    b.each("i", len, false, |b, i| {
        let low = (b.load(x, i.clone()) & int(0xffff, Ty::U32)).cast(Ty::I32);
        let high = (b.load(x, i.clone()) >> int(16, Ty::U32)).cast(Ty::I32);
        b.store(y, i.clone() * idx(2), low.cast(Ty::F32));
        b.store(y, i * idx(2) + idx(1), high.cast(Ty::F32));
    });
    b.finish()
}

/// In place.
fn negate(len: usize) -> Kernel {
    let mut b = Builder::new("negate", "Changes signs.");
    let x = b.param("x", Ty::F32, len, Role::InOut, Ty::F32.range());
    b.each("i", len, false, |b, i| b.store(x, i.clone(), -b.load(x, i)));
    b.finish()
}

/// From two values, which may be one.
fn sum(len: usize) -> Kernel {
    let mut b = Builder::new("sum", "Products and sums.");
    let x = b.param("x", Ty::F32, len, Role::In, Ty::F32.range());
    let z = b.param("scores", Ty::F32, len, Role::In, Ty::F32.range());
    let y = b.param("y", Ty::F32, len, Role::Out, Ty::F32.range());
    b.each("i", len, false, |b, i| {
        let v = b.load(x, i.clone()) * float(0.3) + b.load(z, i.clone());
        b.store(y, i, v);
    });
    b.finish()
}

/// The program of all of these.
fn everything() -> Program {
    let mut kernels = vec![spread()];
    let mut words = N;
    let at = |pool, offset: usize| Arg::Arena {
        pool,
        offset: offset as u32,
    };
    let mut args = vec![Arg::Input(0)];
    args.extend((0..TYPES.len()).map(|p| at(p, 0)));
    let mut calls = vec![Call { kernel: 0, args }];
    let mut floats_end = N;
    for (p, t) in TYPES.into_iter().enumerate() {
        let (kernel, len) = all_of(t);
        let (pool, end) = if t == Ty::F32 {
            (FLOATS, &mut floats_end)
        } else {
            (WORDS, &mut words)
        };
        calls.push(Call {
            kernel: kernels.len(),
            args: vec![at(p, 0), at(pool, *end)],
        });
        *end += len;
        kernels.push(kernel);
    }
    let (kernel, len) = tables();
    calls.push(Call {
        kernel: kernels.len(),
        args: vec![at(3, 0), at(WORDS, words)],
    });
    words += len;
    kernels.push(kernel);

    let all = words - N;
    calls.push(Call {
        kernel: kernels.len(),
        args: vec![at(WORDS, N), at(FLOATS, floats_end)],
    });
    kernels.push(halves(all));
    let floats = floats_end + 2 * all;
    // The last floats once more in place, then all of them out.
    calls.push(Call {
        kernel: kernels.len(),
        args: vec![at(FLOATS, floats - N)],
    });
    kernels.push(negate(N));
    let out = floats - N;
    calls.push(Call {
        kernel: kernels.len(),
        args: vec![at(FLOATS, N), at(FLOATS, N), Arg::Output(0)],
    });
    // Overlapping reads beside a write of the same pool.
    calls.insert(
        1,
        Call {
            kernel: kernels.len() + 1,
            args: vec![at(FLOATS, 0), at(FLOATS, 2), at(FLOATS, N)],
        },
    );
    kernels.push(sum(out));
    let mut small = sum(N - 2);
    small.name = "sum_few".into();
    kernels.push(small);

    let len = |t| match t {
        Ty::U32 => words,
        Ty::F32 => floats,
        _ => N,
    };
    Program {
        input: Port {
            name: "image".into(),
            ty: Ty::U8,
            shape: vec![2, N / 2],
        },
        output: Port {
            name: "scores".into(),
            ty: Ty::F32,
            shape: vec![out],
        },
        pools: Pool::apart(TYPES.map(|ty| (ty, len(ty) as u32)).into()),
        kernels,
        calls,
    }
}

/// Each element as another type.
fn convert(name: &str, from: Ty, to: Ty) -> Kernel {
    let mut b = Builder::new(name, "Another type.");
    let x = b.param("x", from, N, Role::In, from.range());
    let y = b.param("y", to, N, Role::Out, to.range());
    b.each("i", N, false, |b, i| {
        let v = b.load(x, i.clone());
        b.store(y, i, v.cast(to));
    });
    b.finish()
}

/// Sums of words from two values, which may overlap.
fn add_words(len: usize) -> Kernel {
    let mut b = Builder::new("add_words", "Sums.");
    let [x, z] = ["x", "z"].map(|name| b.param(name, Ty::U32, len, Role::In, Ty::U32.range()));
    let y = b.param("y", Ty::U32, len, Role::Out, Ty::U32.range());
    b.each("i", len, false, |b, i| {
        let v = b.load(x, i.clone()) + b.load(z, i.clone());
        b.store(y, i, v);
    });
    b.finish()
}

/// A program whose values of different types lie in the same memory, one after the other.
fn sharing() -> Program {
    let types = [Ty::U8, Ty::I8, Ty::U32, Ty::I32, Ty::F32];
    let [octets, bytes, words, sums, floats] = std::array::from_fn(|pool| move |offset| Arg::Arena { pool, offset });
    let few = N - 2;
    let out = |name: &str| Port {
        name: name.into(),
        ty: Ty::F32,
        shape: vec![few],
    };
    let mut last = sum(few);
    last.name = "sum_twice".into();
    let steps = [
        (convert("to_bytes", Ty::U8, Ty::I8), vec![Arg::Input(0), bytes(0)]),
        (convert("to_sums", Ty::I8, Ty::I32), vec![bytes(0), sums(6)]),
        (convert("to_octets", Ty::I32, Ty::U8), vec![sums(6), octets(0)]),
        (convert("to_floats", Ty::I32, Ty::F32), vec![sums(6), floats(30)]),
        (convert("to_words", Ty::U8, Ty::U32), vec![octets(0), words(6)]),
        (add_words(few), vec![words(6), words(8), words(54)]),
        (sum(few), vec![floats(30), floats(32), floats(0)]),
        (last, vec![floats(0), floats(0), Arg::Output(0)]),
    ];
    let (kernels, args): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
    let calls = args.into_iter().enumerate().map(|(kernel, args)| Call { kernel, args });
    Program {
        input: Port {
            name: "image".into(),
            ty: Ty::U8,
            shape: vec![2, N / 2],
        },
        output: out("scores"),
        pools: types
            .map(|ty| Pool {
                ty,
                len: 320 / ty.bytes(),
                at: 0,
            })
            .into(),
        calls: calls.collect(),
        kernels,
    }
}

/// Samples that reach every byte value, with the interpreter's results.
fn meta(p: &Program) -> Meta {
    let golden = (0..11).map(|s| {
        let input: Vec<u8> = (0..N).map(|i| (s * N + i) as u8 ^ (i as u8).wrapping_mul(37)).collect();
        let output = eval::eval(p, &input);
        let float = output
            .chunks_exact(4)
            .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
            .collect();
        Golden { input, output, float }
    });
    Meta {
        model_name: "Every-thing".into(),
        model_file: "Every-thing.onnx".into(),
        sha256: "00".repeat(32),
        target: "generic".into(),
        input: "bytes".into(),
        output: "what came of them".into(),
        golden: golden.collect(),
        ..Meta::default()
    }
}

fn run(dir: &Path, program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).current_dir(dir).output();
    let out = out.unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&out.stderr) + String::from_utf8_lossy(&out.stdout);
    let text: String = text.chars().take(4000).collect();
    assert!(
        out.status.success(),
        "{program} {}: {}\n{text}",
        args.join(" "),
        out.status
    );
}

fn written(files: &Files) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(files, &dir.path().join("out")).unwrap();
    dir
}

#[test]
fn rust_gives_what_the_interpreter_gives() {
    let (apart, shared) = (everything(), sharing());
    check_rust(&apart);
    verify::verify(&shared).unwrap();
    assert!(shared.shares_memory() && !apart.shares_memory());
    check_rust(&shared);
}

fn check_rust(p: &Program) {
    let files = rust::emit(p, &meta(p), &RuntimeDep::Standalone);
    let lib = &files.0["src/lib.rs"];
    assert_eq!(lib.contains("forbid(unsafe_code)"), !p.shares_memory(), "{lib}");
    let dir = written(&files);
    let out = dir.path().join("out");
    let common = ["--edition=2024", "-Dwarnings", "-Copt-level=1", "-Coverflow-checks=on"];
    let lib = ["--crate-type=lib", "--crate-name=every_thing", "src/lib.rs"];
    run(&out, "rustc", &[&common[..], &lib].concat());
    let test = [
        "--test",
        "--extern=every_thing=libevery_thing.rlib",
        "-otest",
        "tests/golden.rs",
    ];
    run(&out, "rustc", &[&common[..], &test].concat());
    run(&out, "./test", &[]);

    // Without overflow checks, as released, no path to a panic is left even where little is inlined.
    let small = ["--edition=2024", "-Copt-level=z", "--emit=asm", "-osmall.s"];
    run(&out, "rustc", &[&small[..], &lib].concat());
    let asm = std::fs::read_to_string(out.join("small.s")).unwrap();
    assert!(asm.contains("infer"));
    let panics: Vec<&str> = asm
        .lines()
        .filter(|l| l.contains("panic") || l.contains("_fail"))
        .collect();
    assert!(panics.is_empty(), "{panics:#?}");
}

const WARNINGS: [&str; 7] = [
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Wpedantic",
    "-Werror",
];

#[test]
fn c_gives_what_the_interpreter_gives() {
    check_c(&everything());
    check_c(&sharing());
}

/// Products whose neighbours are added to and subtracted from: processors have an instruction for both in turns.
#[test]
fn sums_and_differences_in_turns_are_rounded_as_others() {
    let mut b = Builder::new("turns", "Scales and moves.");
    let x = b.param("x", Ty::U8, N, Role::In, Ty::U8.range());
    let y = b.param("y", Ty::F32, N, Role::Out, Ty::F32.range());
    for i in 0..N {
        let scaled = b.val("scaled", b.load(x, idx(i)).cast(Ty::F32) * float(0.7 + i as f32 / 7.0));
        let by = float(1.1 + i as f32 / 3.0);
        b.store(y, idx(i), if i % 2 == 0 { scaled + by } else { scaled - by });
    }
    check_c(&alone(b.finish()));
}

/// A layer whose weights are all 0.
#[test]
fn an_operand_may_be_unread() {
    let mut b = Builder::new("constant", "The same for every operand.");
    b.param("x", Ty::U8, N, Role::In, Ty::U8.range());
    let y = b.param("y", Ty::F32, N, Role::Out, Ty::F32.range());
    b.each("i", N, false, |b, i| b.store(y, i, float(0.5)));
    let p = alone(b.finish());
    check_c(&p);
    check_rust(&p);
}

/// A program of one kernel from bytes to floats.
fn alone(kernel: Kernel) -> Program {
    let port = |name: &str, ty| Port {
        name: name.into(),
        ty,
        shape: vec![N],
    };
    Program {
        input: port("image", Ty::U8),
        output: port("scores", Ty::F32),
        pools: vec![],
        calls: vec![Call {
            kernel: 0,
            args: vec![Arg::Input(0), Arg::Output(0)],
        }],
        kernels: vec![kernel],
    }
}

fn check_c(p: &Program) {
    let dir = written(&c::emit(p, &meta(p)));
    let out = dir.path().join("out");
    let sources = ["-DEVERY_THING_SELFTEST_MAIN", "every_thing.c", "selftest.c", "-otest"];
    let sanitized = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    run(&out, "cc", &[&WARNINGS[..], &sanitized, &sources].concat());
    run(&out, "./test", &[]);
    // Asked to contract, they must not; nor as GCC 12 does what it calls no contraction.
    for (compiler, contract) in [
        ("cc", "-ffp-contract=fast"),
        ("cc", "-ffp-contract=off"),
        ("clang", "-ffp-contract=on"),
    ] {
        let flags = ["-O2", "-march=native", contract];
        run(&out, compiler, &[&WARNINGS[..], &flags, &sources].concat());
        run(&out, "./test", &[]);
    }
    run(
        &out,
        "arm-none-eabi-gcc",
        &[&WARNINGS[..], &["-mcpu=cortex-m0", "-Os", "-c", "every_thing.c"]].concat(),
    );
}

#[test]
fn equal_input_gives_equal_files() {
    let (a, b) = (everything(), everything());
    assert_eq!(c::emit(&a, &meta(&a)), c::emit(&b, &meta(&b)));
    let dep = RuntimeDep::Version;
    assert_eq!(rust::emit(&a, &meta(&a), &dep), rust::emit(&b, &meta(&b), &dep));
}
