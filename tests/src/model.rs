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
