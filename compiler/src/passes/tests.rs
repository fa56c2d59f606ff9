//! Each pass alone, on the smallest chain that it changes. That meaning is kept is tested on whole networks, in `tests/meaning.rs`.

use super::TABLE;
use crate::diag::Code;
use crate::ir::eval::{Tensor, eval};
use crate::ir::{Depth, Elem, Epilogue, Geometry, Graph, Op, Ty, WeightData, Weights, Window, verify};

/// A chain of operations, typed by hand.
fn chain(steps: &[(Op, Elem, &[usize])]) -> Graph {
    let mut g = Graph::new();
    let mut last = None;
    for (i, (op, elem, shape)) in steps.iter().enumerate() {
        let operands: Vec<_> = last.into_iter().collect();
        last = Some(g.add(format!("step{i}"), op.clone(), Ty::new(*elem, *shape), &operands));
    }
    verify::verify(&g).unwrap();
    g
}

/// Runs one pass.
fn pass(name: &str, g: &mut Graph) {
    let row = TABLE.iter().find(|row| row.name == name).unwrap();
    (row.run)(g).unwrap();
    verify::verify(g).unwrap();
}

/// The chain in words: operation and type of each node.
fn words(g: &Graph) -> Vec<String> {
    let text = g.to_string();
    let word = |line: &str| line.split(' ').skip(2).take(2).collect::<Vec<_>>().join(" ");
    text.lines().map(word).collect()
}

fn conv(codes: &[i8], depth: Depth) -> Op {
    Op::Conv {
        weights: Weights {
            shape: [1, codes.len(), 1, 1],
            data: WeightData::Coded {
                depth,
                codes: codes.to_vec(),
                scale: vec![1.0],
            },
        },
        geom: Geometry::UNIT,
        bias: None,
    }
}

fn affine(mul: f32, add: f32) -> Op {
    Op::Affine {
        mul: vec![mul],
        div: vec![1.0],
        add: vec![add],
    }
}

const PIXELS: Op = Op::Dequantize {
    scale: 1.0,
    zero_point: 0,
};

const POOL: Op = Op::MaxPool(Window {
    size: [2, 2],
    stride: [2, 2],
    pads: [0; 4],
});

/// The numbers of the only layer, after all passes.
fn fused(steps: &[(Op, Elem, &[usize])]) -> (Weights, Epilogue) {
    let g = super::run(chain(steps), &mut |_, _| {}).unwrap();
    match &g.node(g.find(|op| matches!(op, Op::Linear { .. }))[0]).op {
        Op::Linear { weights, epilogue, .. } => (weights.clone(), epilogue.clone()),
        _ => unreachable!(),
    }
}

#[test]
fn sink_flatten() {
    let mut g = chain(&[
        (Op::Input, Elem::F32, &[2, 2, 2]),
        (Op::Flatten, Elem::F32, &[8]),
        (Op::Relu, Elem::Real, &[8]),
        (Op::Output, Elem::Real, &[8]),
    ]);
    pass("sink_flatten", &mut g);
    assert_eq!(
        words(&g),
        ["input f32[2x2x2]", "relu real[2x2x2]", "output real[2x2x2]"]
    );
}

#[test]
fn dense_to_conv() {
    let Op::Conv { weights, .. } = conv(&[1; 8], Depth::Binary) else {
        unreachable!()
    };
    let mut g = chain(&[
        (Op::Input, Elem::F32, &[2, 2, 2]),
        (Op::Flatten, Elem::F32, &[8]),
        (Op::Dense { weights, bias: None }, Elem::Real, &[1]),
        (Op::Output, Elem::Real, &[1]),
    ]);
    pass("dense_to_conv", &mut g);
    assert_eq!(words(&g), ["input f32[2x2x2]", "conv real[1]", "output real[1]"]);
    assert!(g.to_string().contains("kernel [1x2x2x2]"), "{g}");
}

#[test]
fn center_zero_points() {
    let quantize = Op::Quantize {
        scale: 0.5,
        zero_point: -128,
    };
    let dequantize = Op::Dequantize {
        scale: 0.5,
        zero_point: -128,
    };
    let mut g = chain(&[
        (Op::Input, Elem::F32, &[2]),
        (quantize, Elem::I8, &[2]),
        (dequantize, Elem::Real, &[2]),
        (Op::Output, Elem::Real, &[2]),
    ]);
    pass("center_zero_points", &mut g);
    assert_eq!(
        words(&g),
        ["input f32[2]", "quantize u8[2]", "dequantize real[2]", "output real[2]"]
    );
    assert_eq!(g.to_string().matches("zero 0").count(), 2);
}

#[test]
fn a_pool_of_a_float_input_needs_no_layer() {
    let g = chain(&[
        (Op::Input, Elem::F32, &[2, 4, 4]),
        (POOL, Elem::F32, &[2, 2, 2]),
        (Op::Output, Elem::F32, &[2, 2, 2]),
    ]);
    let g = super::run(g, &mut |_, _| {}).unwrap();
    assert_eq!(
        words(&g),
        ["input f32[2x4x4]", "max_pool f32[2x2x2]", "output f32[2x2x2]"]
    );
}

#[test]
fn commute_pool() {
    let mut down = chain(&[
        (Op::Input, Elem::U8, &[1, 2, 2]),
        (PIXELS, Elem::Real, &[1, 2, 2]),
        (conv(&[1], Depth::Binary), Elem::Real, &[1, 2, 2]),
        (POOL, Elem::Real, &[1, 1, 1]),
        (Op::Relu, Elem::Real, &[1, 1, 1]),
        (Op::Sign, Elem::Sign, &[1, 1, 1]),
        (Op::Output, Elem::Sign, &[1, 1, 1]),
    ]);
    pass("commute_pool", &mut down);
    assert_eq!(
        words(&down)[2..6],
        [
            "conv real[1x2x2]",
            "relu real[1x2x2]",
            "sign sign[1x2x2]",
            "max_pool sign[1x1x1]"
        ]
    );

    let mut up = chain(&[
        (Op::Input, Elem::U8, &[1, 2, 2]),
        (PIXELS, Elem::Real, &[1, 2, 2]),
        (affine(2.0, 1.0), Elem::Real, &[1, 2, 2]),
        (POOL, Elem::Real, &[1, 1, 1]),
        (conv(&[1], Depth::Binary), Elem::Real, &[1, 1, 1]),
        (Op::Output, Elem::Real, &[1, 1, 1]),
    ]);
    pass("commute_pool", &mut up);
    assert_eq!(
        words(&up)[..3],
        ["input u8[1x2x2]", "max_pool u8[1x1x1]", "dequantize real[1x1x1]"]
    );
}

#[test]
fn a_step_that_falls_behind_a_pool_is_named() {
    let found = super::run(
        chain(&[
            (Op::Input, Elem::U8, &[1, 2, 2]),
            (PIXELS, Elem::Real, &[1, 2, 2]),
            (conv(&[1], Depth::Binary), Elem::Real, &[1, 2, 2]),
            (POOL, Elem::Real, &[1, 1, 1]),
            (affine(-1.0, 3.0), Elem::Real, &[1, 1, 1]),
            (Op::Output, Elem::Real, &[1, 1, 1]),
        ]),
        &mut |_, _| {},
    )
    .unwrap_err();
    assert_eq!(
        (found.len(), found[0].code, found[0].node.as_deref()),
        (1, Code::NotFused, Some("step4"))
    );
}

#[test]
fn unit_layer() {
    let mut g = chain(&[
        (Op::Input, Elem::U8, &[3]),
        (PIXELS, Elem::Real, &[3]),
        (affine(1.0, -7.0), Elem::Real, &[3]),
        (Op::Sign, Elem::Sign, &[3]),
        (Op::Output, Elem::Sign, &[3]),
    ]);
    pass("unit_layer", &mut g);
    assert_eq!(words(&g)[2], "conv real[3]");
    pass("fuse_threshold", &mut g);
    assert!(g.to_string().contains("groups 3"), "{g}");
    assert_eq!(words(&g), ["input u8[3]", "linear sign[3]", "output sign[3]"]);
}

#[test]
fn fuse_threshold() {
    // 2 * (a - b) - 7 >= 0 iff a - b >= 4.
    let (weights, epilogue) = fused(&[
        (Op::Input, Elem::U8, &[2]),
        (PIXELS, Elem::Real, &[2]),
        (conv(&[1, -1], Depth::Binary), Elem::Real, &[1]),
        (affine(2.0, -7.0), Elem::Real, &[1]),
        (Op::Sign, Elem::Sign, &[1]),
        (Op::Output, Elem::Sign, &[1]),
    ]);
    assert_eq!(epilogue, Epilogue::Threshold(vec![4]));
    assert!(matches!(&weights.data, WeightData::Coded { codes, .. } if codes[..] == [1, -1]));
}

#[test]
fn a_falling_channel_is_negated_and_constant_channels_meet_the_bounds() {
    let sign = |mul: f32, add: f32| {
        fused(&[
            (Op::Input, Elem::U8, &[2]),
            (PIXELS, Elem::Real, &[2]),
            (conv(&[1, -1], Depth::Binary), Elem::Real, &[1]),
            (affine(mul, add), Elem::Real, &[1]),
            (Op::Sign, Elem::Sign, &[1]),
            (Op::Output, Elem::Sign, &[1]),
        ])
    };
    // -2 * (a - b) - 7 >= 0 iff b - a >= 4.
    let (weights, epilogue) = sign(-2.0, -7.0);
    assert_eq!(epilogue, Epilogue::Threshold(vec![4]));
    assert!(matches!(&weights.data, WeightData::Coded { codes, .. } if codes[..] == [-1, 1]));
    // Always, and never: the sums reach from -255 to 255.
    assert_eq!(sign(0.0, 1.0).1, Epilogue::Threshold(vec![-255]));
    assert_eq!(sign(1.0, 1000.0).1, Epilogue::Threshold(vec![-255]));
    assert_eq!(sign(0.0, -1.0).1, Epilogue::Threshold(vec![256]));
}

#[test]
fn exact_requant() {
    let quantize = |step: f32| {
        fused(&[
            (Op::Input, Elem::U8, &[2]),
            (PIXELS, Elem::Real, &[2]),
            (conv(&[1, 1], Depth::Binary), Elem::Real, &[1]),
            (Op::Relu, Elem::Real, &[1]),
            (
                Op::Quantize {
                    scale: step,
                    zero_point: 0,
                },
                Elem::I8,
                &[1],
            ),
            (Op::Output, Elem::I8, &[1]),
        ])
        .1
    };
    let Epilogue::Requant {
        mul,
        add,
        shift,
        ties: None,
        lo,
        hi,
    } = quantize(3.7)
    else {
        unreachable!()
    };
    assert_eq!((lo, hi), (0, 127));
    for sum in 0..=510i64 {
        let exact = ((sum as f64 / f64::from(3.7f32)).round_ties_even() as i64).min(127);
        assert_eq!(
            ((sum * i64::from(mul[0]) + add[0]) >> shift[0]).clamp(0, 127),
            exact,
            "{sum}"
        );
    }
}

/// A sum of two bytes over `step`: where that is even or no integer, some quotients are exactly between two outputs.
#[test]
fn ties_go_to_the_even_output() {
    for (step, zero) in [
        (2.0, 0),
        (2.0, 1),
        (4.0, 7),
        (6.0, 0),
        (6.0, 3),
        (1.5, 2),
        (8.0, 128),
        (0.75, 0),
    ] {
        let (weights, epilogue) = fused(&[
            (Op::Input, Elem::U8, &[2]),
            (PIXELS, Elem::Real, &[2]),
            (conv(&[1, 1], Depth::Binary), Elem::Real, &[1]),
            (
                Op::Quantize {
                    scale: step,
                    zero_point: zero,
                },
                Elem::U8,
                &[1],
            ),
            (Op::Output, Elem::U8, &[1]),
        ]);
        let Epilogue::Requant { ties, .. } = &epilogue else {
            unreachable!()
        };
        assert_eq!(ties.is_some(), step != 1.5 && step != 0.75, "{step} {zero}");
        let mut g = Graph::new();
        let input = g.add("input", Op::Input, Ty::new(Elem::U8, [2]), &[]);
        let op = Op::Linear {
            weights,
            geom: Geometry::UNIT,
            pool: None,
            epilogue,
        };
        let layer = g.add("layer", op, Ty::new(Elem::U8, [1]), &[input]);
        g.add("output", Op::Output, Ty::new(Elem::U8, [1]), &[layer]);
        for sum in 0..=510u16 {
            let exact = (f64::from(sum) / f64::from(step)).round_ties_even() as i64 + i64::from(zero);
            let x = [sum.min(255) as u8, (sum - sum.min(255)) as u8];
            let y = Tensor::U8(vec![exact.clamp(0, 255) as u8]);
            assert_eq!(eval(&g, &Tensor::U8(x.to_vec())), y, "{sum} / {step} + {zero}");
        }
    }
}

#[test]
fn fuse_float_and_fuse_pool() {
    let g = super::run(
        chain(&[
            (Op::Input, Elem::U8, &[1, 2, 2]),
            (
                Op::Dequantize {
                    scale: 0.5,
                    zero_point: 3,
                },
                Elem::Real,
                &[1, 2, 2],
            ),
            (conv(&[-1], Depth::Binary), Elem::Real, &[1, 2, 2]),
            (affine(-4.0, 0.25), Elem::Real, &[1, 2, 2]),
            (Op::Relu, Elem::Real, &[1, 2, 2]),
            (POOL, Elem::Real, &[1, 1, 1]),
            (Op::Output, Elem::Real, &[1, 1, 1]),
        ]),
        &mut |_, _| {},
    )
    .unwrap();
    assert_eq!(words(&g), ["input u8[1x2x2]", "linear f32[1x1x1]", "output f32[1x1x1]"]);
    let Op::Linear { pool, epilogue, .. } = &g.node(g.find(|op| matches!(op, Op::Linear { .. }))[0]).op else {
        unreachable!()
    };
    assert!(pool.is_some());
    // -4 * -(x - 3) / 2 + 1/4 = 2 x - 6 + 1/4.
    let expected = Epilogue::Float {
        mul: vec![2.0],
        add: vec![-5.75],
        floor: Some(0.0),
    };
    assert_eq!(*epilogue, expected);
}

#[test]
fn padding_wants_a_code_that_means_0() {
    let Op::Conv { weights, .. } = conv(&[1], Depth::Binary) else {
        unreachable!()
    };
    let geom = Geometry {
        pads: [1, 0, 0, 0],
        ..Geometry::UNIT
    };
    let padded = Op::Conv {
        weights,
        geom,
        bias: None,
    };
    let found = super::run(
        chain(&[
            (Op::Input, Elem::U8, &[1, 1, 1]),
            (
                Op::Dequantize {
                    scale: 1.0,
                    zero_point: 3,
                },
                Elem::Real,
                &[1, 1, 1],
            ),
            (padded, Elem::Real, &[1, 2, 1]),
            (Op::Output, Elem::Real, &[1, 2, 1]),
        ]),
        &mut |_, _| {},
    )
    .unwrap_err();
    assert_eq!(
        (found[0].code, found[0].node.as_deref()),
        (Code::NotFused, Some("step2"))
    );
}

#[test]
fn sums_beyond_32_bits_are_refused() {
    let found = super::run(
        chain(&[
            (Op::Input, Elem::U8, &[70_000]),
            (PIXELS, Elem::Real, &[70_000]),
            (conv(&[127; 70_000], Depth::Int8), Elem::Real, &[1]),
            (Op::Sign, Elem::Sign, &[1]),
            (Op::Output, Elem::Sign, &[1]),
        ]),
        &mut |_, _| {},
    )
    .unwrap_err();
    assert_eq!(found[0].code, Code::AccumulatorOverflow);
}
