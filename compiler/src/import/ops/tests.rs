//! Every operator against tract, and what each refuses.

use crate::diag::Code;
use crate::import::testing::{Net, bytes, float, floats, int, ints, longs, noise, string, tensor, ubytes};
use crate::ir::eval::Tensor;
use crate::ir::{Depth, Op, WeightData};
use tract_onnx::pb::tensor_proto::DataType;

fn vector(n: usize) -> Net {
    Net::new(DataType::Float, &[n])
}

fn map(c: usize, h: usize, w: usize) -> Net {
    Net::new(DataType::Float, &[c, h, w])
}

fn sample(n: usize) -> Tensor {
    Tensor::F32(noise(n))
}

#[test]
fn add_sub_mul_div() {
    for op in ["Add", "Sub", "Mul", "Div"] {
        for (shape, n) in [(vec![], 1), (vec![1], 1), (vec![3, 1, 1], 3), (vec![1, 3, 1, 1], 3)] {
            let values: Vec<f32> = noise(n).iter().map(|x| x + 2.0).collect();
            map(3, 2, 2)
                .constant("c", floats(&shape, &values))
                .node("y", op, &["x", "c"], vec![])
                .check(&sample(12));
            if op != "Div" {
                map(3, 2, 2)
                    .constant("c", floats(&shape, &values))
                    .node("y", op, &["c", "x"], vec![])
                    .check(&sample(12));
            }
        }
        vector(3)
            .constant("c", floats(&[3], &[0.1, 3.0, -7.0]))
            .node("y", op, &["x", "c"], vec![])
            .check(&sample(3));
        // Two constants are folded, with broadcasting.
        vector(6)
            .constant("a", floats(&[2, 1], &[0.3, -2.0]))
            .constant("b", floats(&[3], &[1.0, 0.7, 5.0]))
            .constant("s", longs(&[1], &[6]))
            .node("ab", op, &["a", "b"], vec![])
            .node("c", "Reshape", &["ab", "s"], vec![])
            .node("y", "Add", &["x", "c"], vec![])
            .check(&sample(6));
    }
    let along_rows = map(3, 2, 2)
        .constant("c", floats(&[2], &[1.0, 2.0]))
        .node("y", "Add", &["x", "c"], vec![])
        .errors();
    assert_eq!(along_rows, [Code::ShapeMismatch]);
    // Two computed tensors are added, and nothing else; one to itself, too.
    vector(4).node("y", "Add", &["x", "x"], vec![]).check(&sample(4));
    vector(4)
        .node("r", "Relu", &["x"], vec![])
        .node("y", "Add", &["r", "x"], vec![])
        .check(&sample(4));
    assert_eq!(
        vector(2).node("y", "Mul", &["x", "x"], vec![]).errors(),
        [Code::UnsupportedOperator]
    );
    let by_zero = vector(2)
        .constant("c", floats(&[], &[0.0]))
        .node("y", "Div", &["x", "c"], vec![])
        .errors();
    assert_eq!(by_zero, [Code::NotFinite]);
    let reversed = vector(2)
        .constant("c", floats(&[], &[1.0]))
        .node("y", "Div", &["c", "x"], vec![])
        .errors();
    assert_eq!(reversed, [Code::UnsupportedOperator]);
}

#[test]
fn batch_normalization() {
    let mut net = map(2, 2, 3);
    for (name, values) in [
        ("g", [0.5, -2.0]),
        ("b", [1.0, 0.0]),
        ("m", [0.25, -3.0]),
        ("v", [0.7, 0.0]),
    ] {
        net.constant(name, floats(&[2], &values));
    }
    net.node(
        "y",
        "BatchNormalization",
        &["x", "g", "b", "m", "v"],
        vec![float("epsilon", 1e-3)],
    );
    net.check(&sample(12));
    let negative = |net: &mut Net| net.graph().initializer[3].float_data[1] = -1.0;
    negative(&mut net);
    assert_eq!(net.errors(), [Code::NotFinite]);
}

#[test]
fn cast() {
    let image = Tensor::U8(vec![0, 7, 255]);
    Net::new(DataType::Uint8, &[3])
        .node("y", "Cast", &["x"], vec![int("to", 1)])
        .check(&image);
    vector(3)
        .node("y", "Cast", &["x"], vec![int("to", 1)])
        .check(&sample(3));
    vector(2)
        .constant("i", bytes(&[2], &[3, -4]))
        .node("c", "Cast", &["i"], vec![int("to", 1)])
        .node("y", "Mul", &["x", "c"], vec![])
        .check(&sample(2));
    assert_eq!(
        vector(3).node("y", "Cast", &["x"], vec![int("to", 7)]).errors(),
        [Code::UnsupportedType]
    );
}

#[test]
fn constant() {
    for value in [tensor("value", floats(&[2], &[3.0, 4.0])), float("value_float", 2.5)] {
        vector(2)
            .node("c", "Constant", &[], vec![value])
            .node("y", "Mul", &["x", "c"], vec![])
            .check(&sample(2));
    }
}

#[test]
fn conv() {
    let geometries = [
        vec![],
        vec![ints("strides", &[2, 1]), ints("pads", &[1, 0, 2, 1])],
        vec![ints("dilations", &[2, 1])],
        vec![string("auto_pad", "SAME_UPPER"), ints("strides", &[2, 2])],
        vec![string("auto_pad", "SAME_LOWER"), ints("strides", &[3, 2])],
        vec![string("auto_pad", "VALID")],
    ];
    for attributes in geometries {
        map(2, 6, 5)
            .constant("w", floats(&[3, 2, 3, 2], &noise(36)))
            .constant("b", floats(&[3], &[0.5, -1.0, 0.0]))
            .node("y", "Conv", &["x", "w", "b"], attributes)
            .check(&sample(60));
    }
    map(4, 3, 3)
        .constant("w", floats(&[6, 2, 2, 2], &noise(48)))
        .node(
            "y",
            "Conv",
            &["x", "w"],
            vec![int("group", 2), ints("kernel_shape", &[2, 2])],
        )
        .check(&sample(36));
    let mut net = map(2, 6, 5);
    net.constant("w", floats(&[3, 2, 3, 2], &noise(36)));
    let refused = [
        (vec![int("group", 2)], Code::ShapeMismatch),
        (vec![ints("kernel_shape", &[3, 3])], Code::ShapeMismatch),
        (vec![ints("strides", &[0, 1])], Code::BadAttribute),
        (vec![ints("pads", &[-1, 0, 0, 0])], Code::BadAttribute),
        (vec![ints("pads", &[1, 1])], Code::BadAttribute),
        (vec![string("auto_pad", "LEFT")], Code::BadAttribute),
        (vec![ints("dilations", &[9, 1])], Code::ShapeMismatch),
    ];
    for (attributes, code) in refused {
        net.node("y", "Conv", &["x", "w"], attributes);
        assert_eq!(net.errors(), [code]);
        net.graph().node.clear();
    }
}

#[test]
fn dequantize_linear_and_quantize_linear() {
    for (scale, zero, kind) in [
        (0.1f32, 0, DataType::Int8),
        (0.037, -7, DataType::Int8),
        (0.02, 128, DataType::Uint8),
    ] {
        let zero = match kind {
            DataType::Int8 => bytes(&[], &[zero as i8]),
            _ => ubytes(&[], &[zero as u8]),
        };
        let mut net = vector(9);
        net.constant("s", floats(&[], &[scale])).constant("z", zero);
        net.node("q", "QuantizeLinear", &["x", "s", "z"], vec![]).output(kind);
        net.check(&sample(9));
        net.output(DataType::Float)
            .node("y", "DequantizeLinear", &["q", "s", "z"], vec![]);
        net.check(&sample(9));
    }
    let negative = vector(2)
        .constant("s", floats(&[], &[-1.0]))
        .node("y", "QuantizeLinear", &["x", "s"], vec![])
        .errors();
    assert_eq!(negative, [Code::BadInitializer]);
    let mut typed = Net::new(DataType::Uint8, &[2]);
    typed.constant("s", floats(&[], &[1.0])).constant("z", bytes(&[], &[0]));
    assert_eq!(
        typed.node("y", "DequantizeLinear", &["x", "s", "z"], vec![]).errors(),
        [Code::UnsupportedType]
    );
}

#[test]
fn an_image_has_a_scale_for_each_channel() {
    let net = |zeros: &[u8], first: f32, axis: i64| {
        let mut net = Net::new(DataType::Uint8, &[3, 2, 2]);
        net.constant("s", floats(&[3], &[first, 0.02, 0.3]));
        net.constant("z", ubytes(&[zeros.len()], zeros));
        net.node("y", "DequantizeLinear", &["x", "s", "z"], vec![int("axis", axis)]);
        net
    };
    let pixels = Tensor::U8((0..12).map(|i| i * 23).collect());
    for axis in [1, -3] {
        net(&[1, 128, 255], 0.1, axis).check(&pixels);
    }
    assert_eq!(net(&[1, 128], 0.1, 1).errors(), [Code::ShapeMismatch]);
    assert_eq!(net(&[1, 128, 255], -0.1, 1).errors(), [Code::BadInitializer]);
    assert_eq!(net(&[1, 128, 255], 0.1, 2).errors(), [Code::ShapeMismatch]);
    let mut signed = Net::new(DataType::Uint8, &[3, 2, 2]);
    signed
        .constant("s", floats(&[3], &[0.1, 0.02, 0.3]))
        .constant("z", bytes(&[3], &[1, 2, 3]));
    signed.node("y", "DequantizeLinear", &["x", "s", "z"], vec![]);
    assert_eq!(signed.errors(), [Code::UnsupportedType]);
}

#[test]
fn dequantized_weights_keep_their_codes() {
    let mut net = vector(2);
    net.constant("q", bytes(&[3, 2], &[1, -1, 0, 1, 100, -128]))
        .constant("s", floats(&[3], &[0.5, 0.25, 0.1]));
    net.node("w", "DequantizeLinear", &["q", "s"], vec![int("axis", 0)]);
    net.node("y", "Gemm", &["x", "w"], vec![int("transB", 1)]);
    net.check(&sample(2));
    let model = net.import().unwrap();
    let dense = model.graph.find(|op| matches!(op, Op::Dense { .. }))[0];
    let Op::Dense { weights, .. } = &model.graph.node(dense).op else {
        unreachable!()
    };
    let WeightData::Coded { depth, codes, scale } = &weights.data else {
        panic!("float")
    };
    assert_eq!(
        (depth, &codes[..], &scale[..]),
        (&Depth::Int8, &[1, -1, 0, 1, 100, -128][..], &[0.5, 0.25, 0.1][..])
    );
}

#[test]
fn quantized_weights_are_folded() {
    for axis in [0, 1] {
        vector(2)
            .constant("w", floats(&[2, 2], &[0.6, -0.26, 0.25, 9.0]))
            .constant("s", floats(&[2], &[0.5, 0.01]))
            .constant("z", bytes(&[2], &[0, 3]))
            .node("q", "QuantizeLinear", &["w", "s", "z"], vec![int("axis", axis)])
            .node("d", "DequantizeLinear", &["q", "s", "z"], vec![int("axis", axis)])
            .node("y", "MatMul", &["x", "d"], vec![])
            .check(&sample(2));
    }
}

#[test]
fn flatten_and_reshape() {
    for axis in [1, -3] {
        map(2, 2, 2)
            .node("y", "Flatten", &["x"], vec![int("axis", axis)])
            .check(&sample(8));
    }
    for shape in [&[-1, 8][..], &[0, 8], &[1, -1], &[0, 0, 2, 2], &[-1, 2, 2, 2]] {
        map(2, 2, 2)
            .constant("s", longs(&[shape.len()], shape))
            .node("y", "Reshape", &["x", "s"], vec![])
            .check(&sample(8));
    }
    for (shape, code) in [
        (&[-1, 9][..], Code::ShapeMismatch),
        (&[-1, -1], Code::ShapeMismatch),
        (&[8], Code::UnsupportedOperator),
        (&[1, 4, 2], Code::UnsupportedOperator),
        (&[i64::MAX, i64::MAX], Code::ShapeMismatch),
    ] {
        let found = map(2, 2, 2)
            .constant("s", longs(&[shape.len()], shape))
            .node("y", "Reshape", &["x", "s"], vec![])
            .errors();
        assert_eq!(found, [code], "{shape:?}");
    }
    assert_eq!(
        map(2, 2, 2).node("y", "Flatten", &["x"], vec![int("axis", 2)]).errors(),
        [Code::BadAttribute]
    );
}

#[test]
fn gemm_and_mat_mul() {
    for (shape, transposed) in [([3, 4], 0), ([4, 3], 1)] {
        for addend in [vec![], vec![1], vec![4], vec![1, 4]] {
            vector(3)
                .constant("w", floats(&shape, &noise(12)))
                .constant("b", floats(&addend, &noise(addend.iter().product())))
                .node("y", "Gemm", &["x", "w", "b"], vec![int("transB", transposed)])
                .check(&sample(3));
        }
    }
    vector(3)
        .constant("w", floats(&[3, 4], &noise(12)))
        .node("y", "MatMul", &["x", "w"], vec![])
        .check(&sample(3));
    let misfit = vector(3)
        .constant("w", floats(&[4, 3], &noise(12)))
        .node("y", "MatMul", &["x", "w"], vec![])
        .errors();
    assert_eq!(misfit, [Code::ShapeMismatch]);
    let mut scaled = vector(3);
    scaled.constant("w", floats(&[3, 4], &noise(12)));
    assert_eq!(
        scaled
            .node("y", "Gemm", &["x", "w"], vec![float("alpha", 0.5)])
            .errors(),
        [Code::BadAttribute]
    );
}

#[test]
fn greater_or_equal_and_where() {
    let x = Tensor::F32(vec![-1.0, -0.0, 0.0, 0.25, 0.5, 3.0]);
    for (edge, yes, no) in [(0.0, 1.0, -1.0), (0.25, 1.0, -1.0), (0.0, 3.0, 0.5), (0.0, -1.0, 1.0)] {
        for operands in [["x", "e"], ["e", "x"]] {
            vector(6)
                .constant("e", floats(&[], &[edge]))
                .constant("yes", floats(&[], &[yes]))
                .constant("no", floats(&[], &[no]))
                .node("c", "GreaterOrEqual", &operands, vec![])
                .node("y", "Where", &["c", "yes", "no"], vec![])
                .check(&x);
        }
    }
}

#[test]
fn identity_and_relu() {
    vector(5)
        .node("i", "Identity", &["x"], vec![])
        .node("y", "Relu", &["i"], vec![])
        .check(&sample(5));
}

#[test]
fn max_pool() {
    for attributes in [
        vec![ints("kernel_shape", &[2, 2])],
        vec![
            ints("kernel_shape", &[2, 3]),
            ints("strides", &[2, 1]),
            ints("pads", &[1, 1, 0, 2]),
        ],
        vec![
            ints("kernel_shape", &[3, 3]),
            ints("strides", &[2, 2]),
            string("auto_pad", "SAME_UPPER"),
        ],
        vec![
            ints("kernel_shape", &[2, 2]),
            ints("strides", &[2, 1]),
            int("ceil_mode", 1),
        ],
    ] {
        map(2, 6, 5).node("y", "MaxPool", &["x"], attributes).check(&sample(60));
    }
    for attributes in [
        vec![],
        vec![ints("kernel_shape", &[2, 2]), ints("pads", &[2, 0, 0, 0])],
        vec![ints("kernel_shape", &[2, 2]), ints("dilations", &[2, 1])],
        vec![
            ints("kernel_shape", &[2, 2]),
            ints("strides", &[2, 2]),
            int("ceil_mode", 1),
        ],
    ] {
        assert_eq!(
            map(2, 6, 5).node("y", "MaxPool", &["x"], attributes).errors(),
            [Code::BadAttribute]
        );
    }
}

#[test]
fn average_pools() {
    for attributes in [
        vec![ints("kernel_shape", &[2, 2])],
        vec![
            ints("kernel_shape", &[2, 3]),
            ints("strides", &[2, 1]),
            ints("pads", &[1, 1, 0, 2]),
            int("count_include_pad", 1),
        ],
        vec![
            ints("kernel_shape", &[2, 2]),
            ints("strides", &[2, 1]),
            int("ceil_mode", 1),
        ],
    ] {
        map(2, 6, 5)
            .node("y", "AveragePool", &["x"], attributes)
            .check(&sample(60));
    }
    map(2, 6, 5)
        .node("y", "GlobalAveragePool", &["x"], vec![])
        .check(&sample(60));
    for (axes, keep) in [([2, 3], 1), ([-1, -2], 0)] {
        let attributes = vec![ints("axes", &axes), int("keepdims", keep)];
        map(2, 6, 5)
            .node("y", "ReduceMean", &["x"], attributes)
            .check(&sample(60));
    }
    for attributes in [
        vec![],
        vec![ints("kernel_shape", &[2, 2]), ints("pads", &[1, 0, 0, 0])],
        vec![
            ints("kernel_shape", &[2, 2]),
            ints("pads", &[2, 0, 0, 0]),
            int("count_include_pad", 1),
        ],
        vec![ints("kernel_shape", &[2, 2]), ints("dilations", &[2, 1])],
        vec![
            ints("kernel_shape", &[2, 2]),
            ints("strides", &[2, 2]),
            int("ceil_mode", 1),
        ],
    ] {
        let errors = map(2, 6, 5).node("y", "AveragePool", &["x"], attributes).errors();
        assert_eq!(errors, [Code::BadAttribute]);
    }
    let by_rows = vec![ints("axes", &[2])];
    let errors = map(2, 6, 5).node("y", "ReduceMean", &["x"], by_rows).errors();
    assert_eq!(errors, [Code::UnsupportedOperator]);
}

#[test]
fn clip_and_round() {
    let x = Tensor::F32(vec![-9.0, -0.5, -0.0, 0.5, 0.51, 1.5, 2.5, 9.0]);
    for (lo, hi) in [(-1.0, 1.0), (0.0, 3.0), (0.4, 200.0), (-128.0, 2.5)] {
        vector(8)
            .constant("lo", floats(&[], &[lo]))
            .constant("hi", floats(&[], &[hi]))
            .node("c", "Clip", &["x", "lo", "hi"], vec![])
            .node("y", "Round", &["c"], vec![])
            .check(&x);
    }
    vector(8)
        .constant("lo", floats(&[], &[0.0]))
        .node("y", "Clip", &["x", "lo"], vec![])
        .check(&x);
    // Of constants both are folded.
    vector(8)
        .constant("k", floats(&[1, 4], &[-3.0, 0.5, 1.5, 0.4]))
        .constant("lo", floats(&[], &[-1.0]))
        .constant("hi", floats(&[], &[1.0]))
        .node("r", "Round", &["k"], vec![])
        .node("c", "Clip", &["r", "lo", "hi"], vec![])
        .constant("w", floats(&[8, 4], &[1.0; 32]))
        .node("h", "MatMul", &["x", "w"], vec![])
        .node("y", "Mul", &["h", "c"], vec![])
        .check(&x);
    let refused = [Code::UnsupportedOperator];
    assert_eq!(vector(8).node("y", "Round", &["x"], vec![]).errors(), refused);
    let mut swapped = vector(8);
    swapped
        .constant("lo", floats(&[], &[2.0]))
        .constant("hi", floats(&[], &[1.0]))
        .node("y", "Clip", &["x", "lo", "hi"], vec![]);
    assert_eq!(swapped.errors(), refused);
}

#[test]
fn sign_is_refused() {
    assert_eq!(
        vector(2).node("y", "Sign", &["x"], vec![]).errors(),
        [Code::UnsupportedOperator]
    );
}
