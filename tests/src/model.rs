//! Small models, sound and broken.

use sqc::bake::onnx::{Attribute, Builder};
pub use tract_onnx::pb::tensor_proto::DataType;

/// A sound network: uint8 image `[N, 1, 4, 4]`, a ternary convolution, a sign, a binary dense layer, two scores.
///
/// Broken models start from it and change one thing.
pub fn tiny() -> Builder {
    let mut m = Builder::default();
    m.graph.name = "tiny".into();
    m.input("image", DataType::Uint8, &[None, Some(1), Some(4), Some(4)]);
    m.output("scores", DataType::Float, &[None, Some(2)]);
    m.floats("image.scale", &[], &[1.0 / 255.0]);
    m.initializer("image.zero", DataType::Uint8, &[], vec![0]);
    m.node(
        "DequantizeLinear",
        "image.dequantize",
        &["image", "image.scale", "image.zero"],
        "image.f32",
        &[],
    );
    let kernel = [
        1.0, -1.0, 0.0, 1.0, 1.0, -1.0, -1.0, 0.0, 1.0, 0.5, 0.5, -0.5, 0.0, 0.5, 0.5, -0.5, 0.0, 0.5,
    ];
    m.floats("conv.weight", &[2, 1, 3, 3], &kernel);
    m.floats("conv.bias", &[2], &[0.1, -0.3]);
    m.node(
        "Conv",
        "conv",
        &["image.f32", "conv.weight", "conv.bias"],
        "conv.out",
        &[("kernel_shape", Attribute::Ints(vec![3, 3]))],
    );
    m.floats("zero", &[], &[0.0]);
    m.floats("one", &[], &[1.0]);
    m.floats("minus_one", &[], &[-1.0]);
    m.node(
        "GreaterOrEqual",
        "act.compare",
        &["conv.out", "zero"],
        "act.condition",
        &[],
    );
    m.node("Where", "act", &["act.condition", "one", "minus_one"], "act.out", &[]);
    m.node(
        "Flatten",
        "flatten",
        &["act.out"],
        "flat",
        &[("axis", Attribute::Int(1))],
    );
    let matrix = [
        0.25, -0.25, 0.25, 0.25, -0.25, 0.25, -0.25, 0.25, -0.25, 0.25, 0.25, -0.25, 0.25, -0.25, 0.25, 0.25,
    ];
    m.floats("fc.weight", &[2, 8], &matrix);
    m.floats("fc.bias", &[2], &[0.0, 0.5]);
    m.node(
        "Gemm",
        "fc",
        &["flat", "fc.weight", "fc.bias"],
        "scores",
        &[("transB", Attribute::Int(1))],
    );
    m
}

/// A network whose scales are powers of two: a convolution, an average pool, a residual block and the mean of its map, each with a
/// quantizer behind it whose results lie halfway between two integers for a good part of the sums.
pub fn fixed_point() -> Builder {
    let mut m = Builder::default();
    m.graph.name = "fixed_point".into();
    m.input("image", DataType::Uint8, &[None, Some(2), Some(8), Some(8)]);
    m.output("scores", DataType::Float, &[None, Some(5)]);
    m.initializer("zero.u8", DataType::Uint8, &[], vec![0]);
    m.initializer("zero.i8", DataType::Int8, &[], vec![0]);
    m.floats("image.scale", &[], &[1.0 / 256.0]);
    m.node(
        "DequantizeLinear",
        "image.dequantize",
        &["image", "image.scale", "zero.u8"],
        "image.f32",
        &[],
    );
    let pads = &[("pads", Attribute::Ints(vec![1; 4]))];
    m.floats("conv1.weight", &[6, 2, 3, 3], &ternary(6 * 2 * 9, 0.125));
    m.node("Conv", "conv1", &["image.f32", "conv1.weight"], "conv1.out", pads);
    let first = quantized(&mut m, "conv1.out", 1.0 / 64.0);
    let size = [2, 2].to_vec();
    let halves = [
        ("kernel_shape", Attribute::Ints(size.clone())),
        ("strides", Attribute::Ints(size)),
    ];
    m.node("AveragePool", "average", &[&first], "average.out", &halves);
    let averages = quantized(&mut m, "average.out", 1.0 / 64.0);
    m.floats("conv2.weight", &[6, 6, 3, 3], &ternary(6 * 6 * 9, 0.125));
    m.node("Conv", "conv2", &[&averages, "conv2.weight"], "conv2.out", pads);
    let branch = quantized(&mut m, "conv2.out", 1.0 / 64.0);
    m.node("Add", "join", &[&branch, &averages], "join.out", &[]);
    let joined = quantized(&mut m, "join.out", 1.0 / 32.0);
    m.node("GlobalAveragePool", "mean", &[&joined], "mean.out", &[]);
    let means = quantized(&mut m, "mean.out", 1.0 / 32.0);
    m.node("Flatten", "flatten", &[&means], "flat", &[("axis", Attribute::Int(1))]);
    m.floats("fc.weight", &[6, 5], &ternary(6 * 5, 0.5));
    m.node("MatMul", "fc", &["flat", "fc.weight"], "scores", &[]);
    m
}

/// Numbers that are `-a`, 0 or `a`, by the middle bits of a linear congruence (Numerical Recipes).
fn ternary(n: usize, a: f32) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        a * ((state >> 16) % 3) as f32 - a
    };
    (0..n).map(|_| next()).collect()
}

/// Stores a value in 8 bits, with a zero point of 0; the name of what is read from there.
fn quantized(m: &mut Builder, value: &str, scale: f32) -> String {
    let [factor, stored, read] = ["scale", "stored", "read"].map(|part| format!("{value}.{part}"));
    m.floats(&factor, &[], &[scale]);
    for (op, from, to) in [
        ("QuantizeLinear", value, &stored),
        ("DequantizeLinear", stored.as_str(), &read),
    ] {
        m.node(op, &format!("{to}.{op}"), &[from, &factor, "zero.i8"], to, &[]);
    }
    read
}

/// The tensor of that name, to break it.
///
/// # Panics
/// If there is none.
pub fn initializer<'a>(m: &'a mut Builder, name: &str) -> &'a mut tract_onnx::pb::TensorProto {
    let found = m.graph.initializer.iter_mut().find(|t| t.name == name);
    found.unwrap_or_else(|| panic!("no initializer `{name}`"))
}

/// The node of that name, to break it.
///
/// # Panics
/// If there is none.
pub fn node<'a>(m: &'a mut Builder, name: &str) -> &'a mut tract_onnx::pb::NodeProto {
    let found = m.graph.node.iter_mut().find(|n| n.name == name);
    found.unwrap_or_else(|| panic!("no node `{name}`"))
}
