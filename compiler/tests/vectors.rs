//! Every vector operation of every instruction set, in Rust and in C, against the interpreter: what the files under
//! `codegen-templates/simd` spell is what the kernel IR says.

use sqc::emit::{self, Meta, RuntimeDep};
use sqc::kir::build::{Builder, idx, int, splat};
use sqc::kir::{Arg, BinOp, Buf, Call, Expr, Pool, Port, Program, Role, Ty, UnOp, VecOp, eval, verify};
use sqc::run::{self, Unit};
use sqc::target::{Lang, OptLevel};
use sqc::target::{Run, Simd, Target};
use std::collections::BTreeMap;
use std::process::Command;

/// Bytes of a sample, elements of every operand buffer: two vectors of 64 lanes.
const N: usize = 128;

/// The types of lanes, with bounds that keep every operation within its type.
const LANES: [(Ty, (i64, i64)); 6] = [
    (Ty::U8, (0, 255)),
    (Ty::I8, (-8, 7)),
    (Ty::U16, (0, 0xffff)),
    (Ty::I16, (-128, 127)),
    (Ty::U32, (0, 0xffff_ffff)),
    (Ty::I32, (-32_768, 32_767)),
];

/// The type of a name such as `u8x16` or `i32`.
fn ty(name: &str) -> Option<Ty> {
    let (scalar, lanes) = name.split_once('x').unwrap_or((name, "1"));
    let (ty, _) = LANES.into_iter().find(|(t, _)| t.to_string() == scalar)?;
    Some(ty.times(lanes.parse().ok()?))
}

/// Buffers of a kernel by the type of their elements.
type Bufs = BTreeMap<Ty, Buf>;

/// What an operation gives for the first vectors of the buffers.
fn apply(b: &Builder, bufs: &Bufs, name: &str) -> Expr {
    let at = name.split('_').position(|part| ty(part).is_some());
    let at = at.unwrap_or_else(|| panic!("`{name}` names no type"));
    let parts: Vec<&str> = name.split('_').collect();
    let types: Vec<Ty> = parts[at..]
        .iter()
        .map(|p| ty(p).unwrap_or_else(|| panic!("{name}")))
        .collect();
    let load = |i: usize, ty: Ty| {
        let lanes = usize::from(ty.lanes());
        b.load_n(bufs[&ty.scalar()], idx(i * lanes), lanes, ty)
    };
    let t = types[0];
    let binary = |op: BinOp, right: Expr| Expr::Bin(op, load(0, t).into(), right.into());
    let constant = |v: i64| splat(int(v, t.scalar()), t);
    let vector = |op: VecOp, args: &[Expr]| Expr::Vector(op, args.to_vec());
    match parts[..at].join("_").as_str() {
        "load" => load(1, t),
        "repeat1" => b.load_n(bufs[&t.scalar()], idx(5), 1, t),
        "repeat4" => b.load_n(bufs[&t.scalar()], idx(5), 4, t),
        "splat" => splat(b.load(bufs[&t.scalar()], idx(3)), t),
        "and" => binary(BinOp::And, load(1, t)),
        "or" => binary(BinOp::Or, load(1, t)),
        "xor" => binary(BinOp::Xor, load(1, t)),
        "add" => binary(BinOp::Add, load(1, t)),
        "sub" => binary(BinOp::Sub, load(1, t)),
        "mul" => binary(BinOp::Mul, load(1, t)),
        "min" => binary(BinOp::Min, load(1, t)),
        "max" => binary(BinOp::Max, load(1, t)),
        "shl" => binary(BinOp::Shl, constant(3)),
        "shr" => binary(BinOp::Shr, constant(3)),
        "not" => Expr::Un(UnOp::Not, load(0, t).into()),
        "popcnt" => load(0, t).popcnt(),
        "ge_mask" => vector(VecOp::Mask, &[load(0, t).ge(load(1, t))]),
        "ge_mask4" => {
            let pair = |i: usize| load(i % 3, t).ge(load((i + 1) % 4, t));
            vector(VecOp::Mask, &(0..4).map(pair).collect::<Vec<_>>())
        }
        "matrix" => vector(VecOp::Matrix, &[load(1, t), load(0, types[1]), load(1, types[2])]),
        "even1" => vector(VecOp::Unzip { group: 1, at: 0 }, &[load(0, t), load(1, t)]),
        "odd1" => vector(VecOp::Unzip { group: 1, at: 1 }, &[load(0, t), load(1, t)]),
        "even8" => vector(VecOp::Unzip { group: 8, at: 0 }, &[load(0, t), load(1, t)]),
        "odd8" => vector(VecOp::Unzip { group: 8, at: 1 }, &[load(0, t), load(1, t)]),
        "spread1" => vector(VecOp::Spread { group: 1, at: 3 }, &[load(1, t)]),
        "lower" => vector(VecOp::Half(0), &[load(1, t)]),
        "upper" => vector(VecOp::Half(1), &[load(1, t)]),
        "high" => vector(VecOp::High, &[load(0, t), load(1, t)]),
        "total" => vector(VecOp::Total, &[load(0, t)]),
        "pairs" => vector(VecOp::Pairs, &[load(0, t)]),
        "lookup" => {
            let table = load(1, t.scalar().times(16));
            vector(VecOp::Lookup, &[table, binary(BinOp::And, constant(15))])
        }
        "cast" => load(0, types[1]).cast(t),
        "bits" => vector(VecOp::Bits(t), &[load(0, types[1])]),
        "dot" => {
            // Pairs of products have to fit 16 bits.
            let factor = match t.scalar() {
                Ty::I16 => {
                    let three = splat(int(3, types[1].scalar()), types[1]);
                    Expr::Bin(BinOp::And, load(0, types[1]).into(), three.into())
                }
                _ => load(0, types[1]),
            };
            vector(VecOp::Dot, &[load(1, t), factor, load(1, types[2])])
        }
        "dot_group" => {
            // Sums of all groups have to fit 16 bits.
            let three = splat(int(3, types[1].scalar()), types[1]);
            let factor = Expr::Bin(BinOp::And, load(0, types[1]).into(), three.into());
            let groups = types[2].lanes() / (types[1].lanes() / t.lanes());
            (0..groups).fold(load(1, t), |sum, group| {
                vector(VecOp::DotGroup(group), &[sum, factor.clone(), load(1, types[2])])
            })
        }
        other => panic!("`{other}` of `{name}` is no operation of the kernel IR"),
    }
}

/// The vector itself if the target can store it, else as wider elements.
fn storable(b: &Builder, simd: &Simd, e: Expr) -> Expr {
    let ty = b.ty(&e);
    if ty.lanes() == 1 || simd.has(&format!("store_{ty}")) {
        return e;
    }
    let wide = LANES.map(|(scalar, _)| scalar.times(ty.lanes()));
    let wide = wide.into_iter().find(|w| simd.has(&format!("cast_{w}_{ty}")));
    e.cast(wide.unwrap_or_else(|| panic!("nothing to do with {ty}")))
}

/// A kernel that does every operation on vectors of a sample's bytes, and leaves all lanes as words.
fn program(target: &Target) -> Program {
    let mut b = Builder::new("every_operation", "Every vector operation.");
    let x = b.param("x", Ty::U8, N, Role::In, Ty::U8.range());
    // The length is known at the end.
    let y = b.param("y", Ty::U32, 1, Role::Out, Ty::U32.range());
    let operand = |b: &mut Builder, what: &str, role: Role, (ty, range): (Ty, (i64, i64))| {
        (ty, b.param(&format!("{what}_{ty}"), ty, N, role, range))
    };
    let bufs: Bufs = LANES
        .into_iter()
        .map(|lane| operand(&mut b, "all", Role::Scratch, lane))
        .collect();
    let mut results = Bufs::new();
    b.each("i", N, false, |b, i| {
        let v = b.val("v", b.load(x, i.clone()));
        let word = v.clone().cast(Ty::U32) * int(0x0103_0509, Ty::U32);
        let word = b.val("word", word);
        for (ty, buf) in &bufs {
            let value = match ty {
                Ty::U8 => v.clone(),
                Ty::I8 => v.clone().cast(Ty::I8) >> int(4, Ty::I8),
                Ty::I16 => v.clone().cast(Ty::I8).cast(Ty::I16),
                Ty::I32 => word.clone().cast(Ty::I32) >> int(16, Ty::I32),
                ty => word.clone().cast(*ty),
            };
            let value = if b.ty(&value) == *ty { value } else { value.cast(*ty) };
            b.store(*buf, i.clone(), value);
        }
    });
    let mut len = 0;
    // What is loaded or computed is stored.
    for name in target.simd.operations.iter().filter(|o| !o.starts_with("store_")) {
        let e = apply(&b, &bufs, name);
        let e = storable(&b, &target.simd, e);
        let ty = b.ty(&e);
        b.note(name);
        let word = |e: Expr| if ty.scalar() == Ty::U32 { e } else { e.cast(Ty::U32) };
        if ty.lanes() == 1 {
            b.store(y, idx(len), word(e));
        } else {
            let lane = ty.scalar();
            let to = *results
                .entry(lane)
                .or_insert_with(|| operand(&mut b, "result", Role::Local, (lane, lane.range())).1);
            b.store(to, idx(0), e);
            b.each("lane", ty.lanes().into(), false, |b, i| {
                let v = b.load(to, i.clone());
                b.store(y, idx(len) + i, word(v));
            });
        }
        len += usize::from(ty.lanes());
    }
    let mut kernel = b.finish();
    kernel.bufs[y.0 as usize].len = len as u32;
    let port = |name: &str, ty, len| Port {
        name: name.into(),
        ty,
        shape: vec![len],
    };
    let pools = Pool::apart(bufs.keys().map(|ty| (*ty, N as u32)).collect());
    let operand = |ty: &Ty| Arg::Arena {
        pool: pools.iter().position(|p| p.ty == *ty).expect("a pool per type"),
        offset: 0,
    };
    // Parameters in the order in which they were declared.
    let args = LANES.iter().map(|(ty, _)| operand(ty));
    let args = [Arg::Input(0), Arg::Output(0)].into_iter().chain(args).collect();
    Program {
        input: port("sample", Ty::U8, N),
        output: port("lanes", Ty::U32, len),
        kernels: vec![kernel],
        calls: vec![Call { kernel: 0, args }],
        pools,
    }
}

/// Whether programs for the target run here; says so if not, and fails in CI where it is for want of a tool.
fn runs(name: &str, target: &Target) -> bool {
    let missing = |tool: &str| {
        let here = Command::new(tool).arg("--version").output().is_ok();
        assert!(here || std::env::var_os("CI").is_none(), "`{tool}` is missing");
        (!here).then(|| tool.to_string())
    };
    let emulator = match &target.run {
        Run::Host => None,
        Run::QemuUser { emulator, .. } | Run::QemuSystem { emulator, .. } => Some(emulator.as_str()),
        Run::Wasi { runtime } => Some(runtime.as_str()),
    };
    let wanting = emulator
        .into_iter()
        .chain([target.c.compiler.as_str()])
        .find_map(missing);
    let wanting = wanting.or_else(|| target.lacks().map(|f| format!("the processor's {f}")));
    if let Some(what) = &wanting {
        eprintln!("SKIPPED: {name}: {what} is missing");
    }
    wanting.is_none()
}

#[test]
fn every_operation_is_the_interpreters() {
    let samples: Vec<u8> = (0..4 * N as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut seen = 0;
    for name in Target::names() {
        let target = Target::load(name).expect("a target");
        if target.simd.operations.is_empty() || !runs(name, &target) {
            continue;
        }
        let p = program(&target);
        assert_eq!(verify::verify(&p), Ok(()), "{name}");
        let want: Vec<u8> = samples.chunks(N).flat_map(|s| eval::eval(&p, s)).collect();
        let meta = Meta {
            model_name: "vectors".into(),
            simd: target.simd.clone(),
            ..Meta::default()
        };
        for lang in Lang::ALL {
            let files = match lang {
                Lang::Rust => emit::rust::emit(&p, &meta, &RuntimeDep::Standalone),
                Lang::C => emit::c::emit(&p, &meta),
            };
            let unit = Unit {
                files: &files.0,
                name: "vectors",
                lang,
                level: OptLevel::default(),
                input: &p.input,
                output: &p.output,
            };
            let work = tempfile::tempdir().expect("a directory");
            let built = run::build(&unit, &target, work.path(), &run::Options::default());
            let built = built.unwrap_or_else(|e| panic!("{name}, {lang}: {}", e[0]));
            let got = built
                .infer(&samples)
                .unwrap_or_else(|e| panic!("{name}, {lang}: {}", e[0]));
            assert!(got == want, "{name}, {lang}: {}", difference(&target, &p, &got, &want));
            seen += 1;
        }
    }
    assert!(seen > 0, "no target with vector operations runs here");
}

/// The operation whose lanes differ first.
fn difference(target: &Target, p: &Program, got: &[u8], want: &[u8]) -> String {
    let at = got.iter().zip(want).position(|(a, b)| a != b).unwrap_or(0) / 4 % p.output.shape[0];
    let text = p.kernels[0].to_string();
    let stores: Vec<&str> = text.lines().filter(|l| l.trim_start().starts_with("// ")).collect();
    format!(
        "word {at} of {} operations: {}",
        target.simd.operations.len(),
        stores.join(",")
    )
}
