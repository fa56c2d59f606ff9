//! Random layers: the program that a plan lowers to computes what the graph means, byte for byte.

use proptest::prelude::*;
use proptest::sample::Index;
use sqc::ir::eval::{self, Tensor};
use sqc::ir::{Depth, Elem, Epilogue, Geometry, Graph, Op, Ties, Ty, WeightData, Weights, Window, range};
use sqc::progress::Silent;
use sqc::synth::{self, Form, Spec};
use sqc::target::{Lang, Target};
use sqc::{data, driver, import, kir, lower, package, plan};
use std::path::Path;

/// A small deterministic source of numbers.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn within(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.next() % (hi - lo + 1) as u64) as i64
    }

    /// A float whose sums round.
    fn float(&mut self) -> f32 {
        (self.within(-1_000_000, 1_000_000) as f32) * 1.37e-5
    }
}

#[derive(Clone, Copy, Debug)]
enum Values {
    Coded(Depth),
    Float,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operand {
    Bytes(Elem),
    /// Bytes that are -1, 0 or +1.
    Ternary,
    Sign,
    Float,
}

#[derive(Clone, Copy, Debug)]
enum Out {
    Threshold,
    Requant,
    Float,
}

#[derive(Clone, Debug)]
struct Layer {
    operand: Operand,
    values: Values,
    out: Out,
    /// Channels in and out of one group.
    channels: [usize; 2],
    groups: usize,
    map: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    pads: [usize; 4],
    dilation: [usize; 2],
    pool: Option<[usize; 2]>,
    seed: u64,
}

fn layer() -> impl Strategy<Value = Layer> {
    let operand = prop_oneof![
        Just(Operand::Bytes(Elem::U8)),
        Just(Operand::Bytes(Elem::I8)),
        Just(Operand::Ternary),
        Just(Operand::Sign),
        Just(Operand::Float)
    ];
    let values = prop_oneof![
        3 => Just(Values::Coded(Depth::Binary)),
        3 => Just(Values::Coded(Depth::Ternary)),
        1 => Just(Values::Coded(Depth::Int8)),
        1 => Just(Values::Float),
    ];
    let out = prop_oneof![Just(Out::Threshold), Just(Out::Requant), Just(Out::Float)];
    let channels = [
        prop_oneof![
            1..5usize,
            Just(32usize),
            Just(64),
            Just(33),
            Just(128),
            Just(12),
            Just(20)
        ],
        prop_oneof![1..6usize, Just(32usize), Just(40), Just(7), Just(9), Just(10), Just(21)],
    ];
    let geometry = ([1..7usize, 1..7usize], [1..4usize, 1..4usize], [1..3usize, 1..3usize]);
    let edges = ([0..2usize, 0..2usize, 0..2usize, 0..2usize], [1..3usize, 1..3usize]);
    let pool = prop_oneof![2 => Just(None), 1 => [1..3usize, 1..4usize].prop_map(Some)];
    (
        operand,
        values,
        out,
        channels,
        prop_oneof![4 => Just(1usize), 1 => 2..4usize, 1 => Just(33usize)],
        geometry,
        edges,
        pool,
        any::<u64>(),
    )
        .prop_map(
            |(operand, values, out, channels, groups, (map, kernel, stride), (pads, dilation), pool, seed)| Layer {
                operand,
                values,
                out,
                // Many groups are a depthwise convolution's.
                channels: if groups < 4 { channels } else { [1, 1] },
                groups,
                map,
                kernel,
                stride,
                pads,
                dilation,
                pool,
                seed,
            },
        )
}

/// Input, the layer, output; where the layer makes or reads signs or ternary values, layers by 1 around it bring them from and to the caller.
fn network(l: &Layer) -> Option<(Graph, Tensor)> {
    let mut rng = Lcg(l.seed);
    let [ic, oc] = [l.channels[0] * l.groups, l.channels[1] * l.groups];
    let integer = l.operand != Operand::Float && matches!(l.values, Values::Coded(_));
    if !integer && !matches!(l.out, Out::Float) {
        return None;
    }
    let extent = |axis: usize| {
        let reach = l.dilation[axis] * (l.kernel[axis] - 1) + 1;
        let all = l.map[axis] + l.pads[axis] + l.pads[axis + 2];
        let conv = all.checked_sub(reach)? / l.stride[axis] + 1;
        let out = conv / l.pool.map_or(1, |p| p[axis]);
        (out > 0).then_some(out)
    };
    let (h, w) = (extent(0)?, extent(1)?);
    let mut g = Graph::new();
    let from = match l.operand {
        Operand::Bytes(elem) => elem,
        Operand::Ternary | Operand::Sign => Elem::I8,
        Operand::Float => Elem::F32,
    };
    let shape = [ic, l.map[0], l.map[1]];
    let input = g.add("image", Op::Input, Ty::new(from, shape), &[]);
    let mut at = input;
    let first = match l.operand {
        Operand::Sign => Some((Epilogue::Threshold(vec![0; ic]), Elem::Sign)),
        // A third of the bytes each.
        Operand::Ternary => {
            let epilogue = Epilogue::Requant {
                mul: vec![3; ic],
                add: vec![128; ic],
                shift: vec![8; ic],
                ties: None,
                lo: -1,
                hi: 1,
            };
            Some((epilogue, Elem::I8))
        }
        Operand::Bytes(_) | Operand::Float => None,
    };
    if let Some((epilogue, elem)) = first {
        at = g.add("first", each(ic, epilogue), Ty::new(elem, shape), &[at]);
    }
    let count = oc * l.channels[0] * l.kernel[0] * l.kernel[1];
    let data = match l.values {
        Values::Float => WeightData::Float((0..count).map(|_| rng.float()).collect()),
        Values::Coded(depth) => {
            let code = |rng: &mut Lcg| match depth {
                Depth::Binary => 2 * rng.within(0, 1) - 1,
                Depth::Ternary => rng.within(-1, 1),
                Depth::Int8 => rng.within(-128, 127),
            };
            let codes = (0..count).map(|_| code(&mut rng) as i8).collect();
            WeightData::Coded {
                depth,
                codes,
                scale: vec![1.0; oc],
            }
        }
    };
    let weights = Weights {
        shape: [oc, l.channels[0], l.kernel[0], l.kernel[1]],
        data,
    };
    let values = range::values(&g, at).unwrap_or((0, 0));
    let sums = range::of_sums(&weights, values, l.pads != [0; 4]).unwrap_or(vec![(0, 0); oc]);
    let (epilogue, elem) = match l.out {
        Out::Threshold => (
            Epilogue::Threshold(sums.iter().map(|&(lo, hi)| rng.within(lo, hi + 1) as i32).collect()),
            Elem::Sign,
        ),
        Out::Requant => {
            // Vectors shift all channels alike.
            let alike = rng.within(0, 1) == 0;
            let first = rng.within(8, 20) as u8;
            let mut next = |_| if alike { first } else { rng.within(8, 20) as u8 };
            let shift: Vec<u8> = (0..oc).map(&mut next).collect();
            let mul = (0..oc).map(|_| rng.within(0, 4000) as i32).collect();
            let add = shift.iter().map(|s| rng.within(-(1 << s), 1 << s)).collect();
            let ties = (rng.within(0, 2) == 0).then(|| Ties {
                lift: rng.within(0, 1 << 8),
                parity: rng.within(0, 1),
            });
            let (lo, hi) = *[(-128, 127), (0, 127), (-7, 9)].get(rng.within(0, 2) as usize)?;
            (
                Epilogue::Requant {
                    mul,
                    add,
                    shift,
                    ties,
                    lo,
                    hi,
                },
                Elem::I8,
            )
        }
        Out::Float => {
            let mul = (0..oc).map(|_| rng.float().abs() + 1e-3).collect();
            let add = (0..oc).map(|_| rng.float()).collect();
            (
                Epilogue::Float {
                    mul,
                    add,
                    floor: (rng.within(0, 1) == 1).then_some(0.0),
                },
                Elem::F32,
            )
        }
    };
    let geom = Geometry {
        stride: l.stride,
        pads: l.pads,
        dilation: l.dilation,
        groups: l.groups,
    };
    let pool = l.pool.map(|size| Window {
        size,
        stride: size,
        pads: [0; 4],
    });
    let op = Op::Linear {
        weights,
        geom,
        pool,
        epilogue,
    };
    at = g.add("layer", op, Ty::new(elem, [oc, h, w]), &[at]);
    if h > 1 && w > 1 && rng.within(0, 2) == 0 {
        let window = Window {
            size: [2, 2],
            stride: [1, 1],
            pads: [1, 0, 0, 1],
        };
        at = g.add("pool", Op::MaxPool(window), Ty::new(elem, [oc, h, w]), &[at]);
    }
    // What reads integers knows what they reach, behind a pool as well.
    if elem != Elem::F32 {
        let epilogue = Epilogue::Float {
            mul: vec![1.0; oc],
            add: vec![0.0; oc],
            floor: None,
        };
        at = g.add("values", each(oc, epilogue), Ty::new(Elem::F32, [oc, h, w]), &[at]);
    }
    let ty = g.node(at).ty.clone();
    g.add("result", Op::Output, ty, &[at]);
    let n = shape.iter().product();
    let sample = match from {
        Elem::U8 => Tensor::U8((0..n).map(|_| rng.within(0, 255) as u8).collect()),
        Elem::F32 => Tensor::F32((0..n).map(|_| rng.float()).collect()),
        _ => Tensor::I8((0..n).map(|_| rng.within(-128, 127) as i8).collect()),
    };
    Some((g, sample))
}

/// A layer that hands on every channel.
fn each(channels: usize, epilogue: Epilogue) -> Op {
    let codes = vec![1; channels];
    let data = WeightData::Coded {
        depth: Depth::Binary,
        codes,
        scale: vec![1.0; channels],
    };
    let geom = Geometry {
        groups: channels,
        ..Geometry::UNIT
    };
    Op::Linear {
        weights: Weights {
            shape: [channels, 1, 1, 1],
            data,
        },
        geom,
        pool: None,
        epilogue,
    }
}

fn bytes(t: &Tensor) -> Vec<u8> {
    match t {
        Tensor::U8(v) => v.clone(),
        Tensor::I8(v) => v.iter().map(|&x| x as u8).collect(),
        Tensor::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Tensor::Sign(_) | Tensor::I32(_) => unreachable!("no port holds such"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_family_computes_what_the_graph_means(
        l in layer(),
        (popcount, few_registers) in any::<(bool, bool)>(),
        pick in any::<Index>(),
    ) {
        let Some((g, sample)) = network(&l) else { return Ok(()) };
        prop_assert_eq!(sqc::ir::verify::verify(&g), Ok(()));
        let want = bytes(&eval::eval(&g, &sample));
        let mut generic = Target::load("generic").expect("a target");
        generic.isa.popcount = popcount;
        if few_registers {
            generic.simd.words = 8;
        }
        // One target with vector operations a case; in all cases together every one has its turn.
        let vectors: Vec<Target> = Target::names()
            .map(|n| Target::load(n).expect("a target"))
            .filter(|t| !t.simd.files.is_empty())
            .collect();
        for target in [pick.get(&vectors), &generic] {
            let every = plan::plan(&g, target, &plan::Options::default()).expect("a plan");
            let builds = |c: &plan::Candidate| matches!(c.outcome, plan::Outcome::Builds(_));
            let offers = |name| every.layers().any(|l| l.ranking.iter().any(|c| c.family == name && builds(c)));
            for family in plan::FAMILIES.iter().filter(|f| offers(f.name)) {
                let options = plan::Options { prefer: Some(family.name), ..plan::Options::default() };
                let p = plan::plan(&g, target, &options).expect("a plan");
                let program = lower::lower(&g, &p, "image", "result");
                prop_assert_eq!(kir::verify::verify(&program), Ok(()), "{} on {}", family.name, target.doc);
                let got = kir::eval::eval(&program, &bytes(&sample));
                prop_assert_eq!(&got, &want, "{} on {}", family.name, target.doc);
            }
        }
    }
}

/// A pool that stands alone yields what its operand reaches, and no more: what reads it is proven for that.
#[test]
fn pools_keep_to_what_they_read() {
    let layer = |seed| Layer {
        operand: Operand::Bytes(Elem::I8),
        values: Values::Coded(Depth::Ternary),
        out: Out::Requant,
        channels: [4, 5],
        groups: 1,
        map: [5, 5],
        kernel: [3, 3],
        stride: [1, 1],
        pads: [0; 4],
        dilation: [1, 1],
        pool: None,
        seed,
    };
    let target = Target::load("generic").expect("a target");
    let mut narrow = 0;
    for (g, sample) in (0..40).filter_map(|seed| network(&layer(seed))) {
        let Some(&pool) = g.find(|op| matches!(op, Op::MaxPool(_))).first() else {
            continue;
        };
        narrow += usize::from(range::values(&g, pool).is_some_and(|(lo, _)| lo > -128));
        let p = plan::plan(&g, &target, &plan::Options::default()).expect("a plan");
        let program = lower::lower(&g, &p, "image", "result");
        assert_eq!(kir::verify::verify(&program), Ok(()));
        assert_eq!(
            kir::eval::eval(&program, &bytes(&sample)),
            bytes(&eval::eval(&g, &sample))
        );
    }
    assert!(narrow >= 5, "{narrow} pools of less than all bytes");
}

/// Sums in vectors of 32 bytes and of 16: outputs that fill no vector, more operands than 16 bits sum, operands of either sign, and
/// sums as they are.
#[test]
fn sums_are_looked_up_in_vectors() {
    for line in [
        "16 7FC-5FC w=binary x=uint8",
        "48 40FC-10FC w=binary x=int8",
        "4384 33FC-3FC w=binary x=int8",
        "64 40FC-32FC-7FC w=ternary x=int8",
    ] {
        for target in ["x86_64-avx2", "aarch64", "armv7-neon"] {
            is_exact(line, target, "vector-sums");
        }
    }
}

/// Codes picked from their bytes: rows of whole chunks and of a part of one, windows that are gathered, operands of either sign, and outputs
/// that fill no block.
#[test]
fn codes_are_picked_for_one_pixel() {
    for line in [
        "48 40FC-10FC w=binary x=int8",
        "144 33FC-7FC w=ternary x=uint8",
        "3x5x5 20C3p0-9C3p0-10FC w=ternary x=int8",
        "20 70FC-10FC w=binary x=uint8",
    ] {
        is_exact(line, "cortex-m55", "vector-row-code");
    }
}

/// Words of signs: all in a straight line, in blocks with loops around, of padded and pooled maps; sums as they are of outputs that fill no vector.
#[test]
fn words_are_added_in_vectors() {
    for line in [
        "3x6x6 64C3-33C3-10FC w=binary x=binary",
        "3x6x6 64C3-40C3-MP2-9FC w=ternary x=binary",
        "3x5x5 160C1-20C3p0-10FC w=ternary x=binary",
        "20 1120FC-70FC-9FC w=binary x=binary",
    ] {
        is_exact(line, "cortex-m55", "vector-carry-save");
    }
}

/// Copied windows of few taps and of many, which loops copy: at the edges of a padded map and without any, in steps of two, pooled, of inputs in one word
/// and in two, of more words than are added at a time.
#[test]
fn windows_are_copied() {
    for line in [
        "3x7x6 20C3-9C3s2-10FC",
        "3x9x9 12C1-9C3-MP2-12FC",
        "3x7x7 20C3-20C7p0-10FC",
        "3x8x8 35C1-MP2-12C5-9FC",
        "3x9x9 30C3-10FC",
        // In vectors the bits of weights become words instead.
        "3x6x6 20C1-9C3-10FC",
        "3x5x5 44C1-50C3-10FC",
        "3x5x5 20C1-50C1-10C1-9FC",
    ] {
        for weights in ["binary", "ternary"] {
            for (family, split, target) in [
                ("xnor", "split-xnor", "generic"),
                ("carry-save", "split-carry-save", "generic"),
                ("xnor-tile", "split-xnor-tile", "rv32imac-zbb"),
                ("vector-xnor", "split-vector-xnor", "aarch64"),
                ("vector-xnor", "split-vector-xnor", "x86_64-avx512"),
                ("vector-carry-save", "split-vector-carry-save", "cortex-m55"),
            ] {
                is_exact(&format!("{line} w={weights} x=binary"), target, family);
                is_exact(&format!("{line} w={weights} x=ternary"), target, split);
            }
        }
    }
}

/// Channels apart, of one word and of two: at the edges of a padded map, in steps of two, pooled, weights with zeros and without.
#[test]
fn channels_apart_are_added_in_slices() {
    for line in [
        "3x6x7 40C3-DW3-9FC w=binary x=binary",
        "3x7x7 64C3-DW3s2-9FC w=ternary x=binary",
        "3x8x8 33C3-DW5p0-MP2-9FC w=ternary x=binary",
    ] {
        is_exact(line, "generic", "bit-slices");
    }
}

/// Ternary operands as two signs each: of channels that fill their last word and that do not, in vectors and one by one; of padded, pooled
/// and strided maps; for outputs that are packed and that are not.
#[test]
fn ternary_operands_are_split() {
    let families = [
        ("split-xnor", "generic"),
        ("split-carry-save", "generic"),
        ("split-xnor-tile", "rv32imac-zbb"),
        ("split-vector-xnor", "aarch64"),
        ("split-vector-xnor", "x86_64-avx512"),
        ("split-vector-carry-save", "cortex-m55"),
    ];
    for line in [
        "3x6x6 33C3-40C3-MP2-9FC w=binary x=ternary",
        "3x7x6 64C3-33C3s2-70FC-10FC w=ternary x=ternary",
        "3x5x5 160C1-20C3p0-10FC w=binary x=ternary",
        "20 1120FC-70FC-9FC w=ternary x=ternary",
    ] {
        for (family, target) in families {
            is_exact(line, target, family);
        }
    }
}

/// The family has a layer of the network, and the program computes what its graph means.
fn is_exact(line: &str, target: &str, family: &'static str) {
    let spec: Spec = line.parse().expect("a sound line");
    let bytes = synth::onnx(&spec, Form::Network);
    let model = import::from_bytes(&bytes, Path::new("network.onnx")).expect("a sound model");
    let options = plan::Options {
        prefer: Some(family),
        ..plan::Options::default()
    };
    let c = driver::compile(model, target, &options, &Silent, &mut |_, _, _| ()).expect("it compiles");
    assert!(c.plan.layers().any(|l| l.family == family), "{line} on {target}");
    let ty = package::input_ty(&c.graph);
    let samples = data::synthetic(&ty, 3);
    for sample in (0..3).map(|i| samples.get(i)) {
        let exact = eval::eval(&c.graph, &Tensor::from_bytes(ty.elem, sample)).to_bytes();
        assert_eq!(kir::eval::eval(&c.program, sample), exact, "{line} on {target}");
    }
}

/// Tables of sums take what RAM there is, down to those of one word.
#[test]
fn tables_shrink_to_the_ram_that_there_is() {
    let scratch = |ram| {
        scratch_in(
            "3x8x8 64C3-64C3-10FC w=ternary x=int8",
            "cortex-m4",
            "sums-81",
            "conv2",
            ram,
        )
    };
    // Tables of four indices rather than eight, of 128 words each; the sums are the same.
    assert_eq!(scratch(64 << 10) - scratch(13 << 10), 4 * 128 * 4);
}

/// Weights as code: rows in two parts, with a pool and without, whose sums exceed 16 bits.
#[test]
fn rows_are_computed_in_parts_where_ram_is_short() {
    let scratch = |line, ram| scratch_in(line, "cortex-m4", "pairs", "conv2", ram);
    let line = "3x8x8 40C3-40C3-10FC w=binary x=int8";
    // Of 41 sums for each of four pairs, and of 40 for each of eight pixels.
    assert_eq!(scratch(line, 64 << 10), (41 * 4 + 40 * 8) * 4);
    assert_eq!(scratch(line, 9 << 10), (41 * 2 + 40 * 4) * 4);
    let line = "3x8x8 40C3-40C3-MP2-10FC w=ternary x=int8";
    assert_eq!(scratch(line, 64 << 10), 2 * scratch(line, 6656));
}

/// Weights as code where a load reaches 32 words: two pixels at a time, or as many as a pool needs, whose operands are put together;
/// of an odd number of columns the last beside the one before it.
#[test]
fn operands_are_put_together_where_registers_are_few() {
    let scratch = |line: &str| scratch_in(line, "cortex-m0", "pairs", "conv2", 64 << 10);
    let operands = 40 * 3;
    for columns in [8, 7, 3] {
        let line = format!("3x6x{columns} 40C3-40C3-10FC w=binary x=int8");
        assert_eq!(scratch(&line), (operands + 41 + 40 * 2) * 4, "{line}");
    }
    // A word holds the sums of both pixels, of both rows that are pooled.
    assert_eq!(
        scratch("3x6x6 40C3-40C3-MP2-10FC w=ternary x=int8"),
        (operands + 40 * 2) * 4
    );
    // A window of three columns is in the sums of six pixels.
    let sums = 40 * 3 + 40 * 6 * 3;
    assert_eq!(
        scratch("3x6x6 40C3-40C3-MP3-10FC w=ternary x=int8"),
        (3 * operands + sums) * 4
    );
}

/// Of few taps the last chunk yields the outputs: numbers or signs, also beyond a word of signs, and of an odd number of columns the last
/// twice. Where one chunk is all, no sum is in RAM.
#[test]
fn the_last_chunk_of_few_taps_yields_the_outputs() {
    for activations in ["binary", "uint8"] {
        for weights in ["binary", "ternary"] {
            let line = format!("1x5x7 70C3-10FC w={weights} x={activations}");
            assert_eq!(scratch_in(&line, "cortex-m4", "pairs", "conv1", 64 << 10), 0, "{line}");
            let slots = if weights == "binary" { 71 } else { 70 };
            assert_eq!(
                scratch_in(&line, "cortex-m0", "pairs", "conv1", 64 << 10),
                4 * slots * 4,
                "{line}"
            );
        }
    }
}

/// Weights as code for a dense layer, of which all sums are in RAM.
#[test]
fn dense_layers_become_code() {
    for line in ["60 70FC-10FC w=binary x=int8", "60 70FC-10FC w=ternary x=uint8"] {
        for target in ["cortex-m0", "rv32imc"] {
            assert!(scratch_in(line, target, "singles", "fc1", 64 << 10) >= 70 * 4);
        }
    }
}

/// The fastest kernels exceed the flash together: some layers get smaller ones, fewer where there is more flash.
#[test]
fn kernels_share_the_flash_that_there_is() {
    let spec: Spec = "3x8x8 32C3-48C3-40C3-10FC w=ternary x=int8"
        .parse()
        .expect("a sound line");
    let bytes = synth::onnx(&spec, Form::Network);
    let model = import::from_bytes(&bytes, Path::new("scarce.onnx")).expect("a sound model");
    let compile = |flash| {
        let options = plan::Options {
            optimize: plan::Optimize::Speed,
            flash: Some(flash),
            ..plan::Options::default()
        };
        driver::compile(model.clone(), "cortex-m4", &options, &Silent, &mut |_, _, _| ()).map(|c| c.plan)
    };
    let instructions = |p: &plan::Plan| p.layers().map(|l| l.cost.instructions).sum::<f64>();
    let all = compile(u64::MAX).expect("it compiles");
    let mut before = instructions(&all);
    for share in [8, 5, 3, 2] {
        let flash = all.flash() * share / 10;
        let plan = compile(flash).expect("it compiles");
        assert!(plan.flash() <= flash, "{} of {flash} bytes", plan.flash());
        assert!(instructions(&plan) >= before);
        before = instructions(&plan);
    }
    let error = compile(1000).expect_err("weights alone take more");
    assert!(
        error[0]
            .to_string()
            .contains("bytes of code and weights, 1000 available"),
        "{}",
        error[0]
    );
}

/// A budget that a device without limits does not need changes nothing.
#[test]
fn ample_flash_is_no_reason_to_be_slower() {
    let spec: Spec = "1x12x12 16C5p0-MP2-64FC-10FC w=ternary x=int8"
        .parse()
        .expect("a sound line");
    let model = import::from_bytes(&synth::onnx(&spec, Form::Network), Path::new("ample.onnx")).expect("a sound model");
    let families = |flash| {
        let options = plan::Options {
            flash,
            ..plan::Options::default()
        };
        let c =
            driver::compile(model.clone(), "x86_64-avx2", &options, &Silent, &mut |_, _, _| ()).expect("it compiles");
        c.plan.layers().map(|l| l.family).collect::<Vec<_>>()
    };
    assert_eq!(families(Some(100 << 20)), families(None));
}

/// Where flash has no limit, more code than a first cache of instructions holds is worth half the instructions, as vectors are beside single words; a dense
/// layer of ten outputs as code is not.
#[test]
fn long_kernels_are_worth_half_the_instructions() {
    let layer = |line: &str, target, name: &str| {
        let spec: Spec = line.parse().expect("a sound line");
        let bytes = synth::onnx(&spec, Form::Network);
        let model = import::from_bytes(&bytes, Path::new("long.onnx")).expect("a sound model");
        let options = plan::Options::default();
        let c = driver::compile(model, target, &options, &Silent, &mut |_, _, _| ()).expect("it compiles");
        let layer = c.plan.layers().find(|l| l.name == name);
        let layer = layer.expect("a layer");
        (layer.family, layer.cost.code)
    };
    let (family, code) = layer("3x8x8 30C1-50C3-MP2-10FC w=binary x=binary", "aarch64", "conv2");
    assert_eq!(family, "vector-xnor");
    assert!(code > plan::BALANCED_CODE, "{code} bytes");
    let (family, code) = layer("1024 1024FC-10FC w=ternary x=int8", "armv7-neon", "fc2");
    assert!(code <= plan::BALANCED_CODE, "{family}: {code} bytes");
}

/// What fits when size is preferred fits otherwise: kernels beyond what a balanced choice allows itself are left before those beyond
/// the flash are taken.
#[test]
fn every_goal_fits_where_one_does() {
    for line in ["64x8x8 64C3", "1x28x28 32C5-MP2-64C5-MP2-10FC"] {
        let spec: Spec = format!("{line} w=ternary x=int8").parse().expect("a sound line");
        let bytes = synth::onnx(&spec, Form::Layers);
        let model = import::from_bytes(&bytes, Path::new("scarce.onnx")).expect("a sound model");
        let compile = |optimize, flash| {
            let options = plan::Options {
                // Rust is not as short at the level for speed.
                lang: Lang::C,
                optimize,
                flash: Some(flash),
                whole: true,
                ..plan::Options::default()
            };
            driver::compile(model.clone(), "cortex-m4", &options, &Silent, &mut |_, _, _| ()).map(|c| c.plan)
        };
        let least = compile(plan::Optimize::Size, u64::MAX).expect("it compiles").flash();
        for optimize in [plan::Optimize::Balanced, plan::Optimize::Speed] {
            // Speed takes more tables of sums at a time, and some code for each.
            let flash = least + 256;
            let plan = compile(optimize, flash).unwrap_or_else(|e| panic!("{line}: {}", e[0]));
            assert!(plan.flash() <= flash, "{line}");
        }
    }
}

/// Straight-line code takes more of the stack than plans reserve. The tables of another layer, which fill the RAM that there is, have that
/// much less of it; where they would be slower for it than such code is faster, there are tables alone.
#[test]
fn the_stack_of_straight_line_code_is_reserved() {
    let spec: Spec = "40x8x8 40C3-100C3-100C3-10FC w=ternary x=int8"
        .parse()
        .expect("a sound line");
    let bytes = synth::onnx(&spec, Form::Network);
    let model = import::from_bytes(&bytes, Path::new("deep.onnx")).expect("a sound model");
    let families = |ram: u64| {
        let options = plan::Options {
            optimize: plan::Optimize::Speed,
            flash: Some(216 << 10),
            ram: Some(ram),
            ..plan::Options::default()
        };
        let c = driver::compile(model.clone(), "cortex-m4", &options, &Silent, &mut |_, _, _| ()).expect("it compiles");
        assert!(
            c.plan.memory.bytes() + c.plan.ports + c.plan.stack() <= ram,
            "{}",
            c.plan
        );
        let families: Vec<&str> = c.plan.layers().map(|l| l.family).collect();
        families.join(" ")
    };
    assert_eq!(families(23 << 10), "pairs pairs sums-81 sums-9");
    let cramped = families(18 << 10);
    assert!(!cramped.contains("scalar"), "{cramped}");
}

/// Bytes that a layer takes for its own use if it is of a family; the network's result is what the graph means.
fn scratch_in(line: &str, target: &str, family: &'static str, layer: &str, ram: u64) -> u64 {
    let spec: Spec = line.parse().expect("a sound line");
    let bytes = synth::onnx(&spec, Form::Network);
    let model = import::from_bytes(&bytes, Path::new("scarce.onnx")).expect("a sound model");
    let options = plan::Options {
        optimize: plan::Optimize::Speed,
        prefer: Some(family),
        whole: true,
        ram: Some(ram),
        ..plan::Options::default()
    };
    let c = driver::compile(model, target, &options, &Silent, &mut |_, _, _| ()).expect("it compiles");
    let ty = package::input_ty(&c.graph);
    let samples = data::synthetic(&ty, 2);
    for sample in (0..2).map(|i| samples.get(i)) {
        let exact = eval::eval(&c.graph, &Tensor::from_bytes(ty.elem, sample)).to_bytes();
        assert_eq!(kir::eval::eval(&c.program, sample), exact, "{line} on {target}");
    }
    let layer = c.plan.layers().find(|l| l.name == layer).expect("a layer");
    assert_eq!(layer.family, family, "{line} on {target} in {ram} bytes");
    layer.cost.scratch
}
