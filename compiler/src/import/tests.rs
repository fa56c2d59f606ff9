//! What a file claims is not believed.

use super::testing::{Net, floats, ints, longs, noise};
use super::{from_bytes, read};
use crate::diag::Code;
use prost::Message;
use std::path::Path;
use tract_onnx::pb::{StringStringEntryProto, TensorProto, tensor_proto::DataType};

/// `x -> Gemm -> Relu`.
fn net() -> Net {
    let mut net = Net::new(DataType::Float, &[4]);
    net.constant("w", floats(&[4, 3], &noise(12)));
    net.node("h", "Gemm", &["x", "w"], vec![])
        .node("y", "Relu", &["h"], vec![]);
    net
}

/// The error of a network with one change.
fn after(change: impl FnOnce(&mut Net)) -> Vec<Code> {
    let mut net = net();
    change(&mut net);
    net.errors()
}

fn weights(net: &mut Net) -> &mut TensorProto {
    &mut net.graph().initializer[0]
}

#[test]
fn a_sound_file_is_read() {
    let mut net = net();
    net.proto.metadata_props.push(StringStringEntryProto {
        key: "trained".into(),
        value: "yes".into(),
    });
    let model = net.import().unwrap();
    assert_eq!(
        (&*model.name, model.opset, &*model.input, &*model.output),
        ("test", 13, "x", "y")
    );
    assert_eq!(model.metadata, [("trained".to_owned(), "yes".to_owned())]);
    assert_eq!(model.sha256.len(), 64);
}

#[test]
fn each_broken_claim_has_its_code() {
    let cases = [
        (Code::NotOnnx, after(|n| n.proto.graph = None)),
        (Code::NotOnnx, after(|n| n.proto.opset_import.clear())),
        (Code::NotOnnx, after(|n| n.proto.opset_import[0].version = 3)),
        (Code::Ports, after(|n| n.graph().output.clear())),
        (
            Code::Ports,
            after(|n| {
                let second = n.graph().input[0].clone();
                n.graph().input.push(second);
            }),
        ),
        (
            Code::MissingTensor,
            after(|n| n.graph().node[0].input[1] = "gone".into()),
        ),
        (Code::MissingTensor, after(|n| n.graph().output[0].name = "gone".into())),
        (Code::MissingTensor, after(|n| n.graph().node[1].input.clear())),
        (Code::CyclicGraph, after(|n| n.graph().node[0].input[0] = "y".into())),
        (Code::ShapeMismatch, after(|n| n.graph().node[0].output[0] = "y".into())),
        (Code::BadInitializer, after(|n| weights(n).dims = vec![4, 1 << 40])),
        (
            Code::BadInitializer,
            after(|n| weights(n).dims = vec![i64::MAX, i64::MAX]),
        ),
        (Code::BadInitializer, after(|n| weights(n).dims = vec![-4, -3])),
        (Code::BadInitializer, after(|n| weights(n).raw_data = vec![0; 7])),
        (
            Code::BadInitializer,
            after(|n| weights(n).segment = Some(Default::default())),
        ),
        (Code::UnsupportedType, after(|n| weights(n).data_type = 99)),
        (
            Code::UnsupportedType,
            after(|n| weights(n).data_type = DataType::Double as i32),
        ),
        (Code::NotFinite, after(|n| weights(n).float_data[5] = f32::NAN)),
        (Code::NotFinite, after(|n| weights(n).float_data[5] = f32::INFINITY)),
        (
            Code::BadAttribute,
            after(|n| n.graph().node[0].attribute.push(ints("transB", &[1]))),
        ),
        (
            Code::UnsupportedType,
            after(|n| {
                n.output(DataType::Uint8);
            }),
        ),
        (
            Code::TooLarge,
            after(|n| {
                let relu = n.graph().node[1].clone();
                n.graph().node.resize(super::MAX_NODES + 1, relu);
            }),
        ),
    ];
    for (i, (code, found)) in cases.into_iter().enumerate() {
        assert_eq!(found, [code], "case {i}");
    }
}

#[test]
fn shapes_are_static_and_bounded() {
    for (sample, code) in [
        (&[3, 4][..], Code::ShapeMismatch),
        (&[0], Code::ShapeMismatch),
        (&[1 << 30], Code::TooLarge),
        (&[1 << 40, 1 << 40, 1 << 40], Code::TooLarge),
    ] {
        assert_eq!(
            Net::new(DataType::Float, sample)
                .node("y", "Relu", &["x"], vec![])
                .errors(),
            [code],
            "{sample:?}"
        );
    }
}

#[test]
fn a_broadcast_does_not_explode() {
    let mut net = Net::new(DataType::Float, &[4]);
    let n = 1 << 14;
    net.constant("a", floats(&[n, 1], &vec![1.0; n]))
        .constant("b", floats(&[n], &vec![1.0; n]));
    net.node("c", "Add", &["a", "b"], vec![])
        .node("y", "MatMul", &["x", "c"], vec![]);
    assert_eq!(net.errors(), [Code::TooLarge]);
}

#[test]
fn every_unsupported_node_is_named_at_once() {
    let mut net = net();
    net.node("s", "Softmax", &["y"], vec![])
        .node("t", "Tanh", &["s"], vec![]);
    net.graph().node[3].domain = "com.example".into();
    let found = net.import().unwrap_err();
    let said: Vec<_> = found
        .iter()
        .map(|d| (d.code, d.found.as_str(), d.node.as_deref()))
        .collect();
    assert_eq!(
        said,
        [
            (Code::UnsupportedOperator, "Softmax", Some("s")),
            (Code::UnsupportedOperator, "com.example.Tanh", Some("t")),
        ]
    );
}

#[test]
fn nodes_that_the_output_does_not_need_are_not_read() {
    let mut net = net();
    net.node("unused", "NoSuchOperator", &["y"], vec![]);
    net.graph().output[0].name = "y".into();
    net.import().unwrap();
}

#[test]
fn random_bytes_are_not_onnx() {
    for seed in 0..200u32 {
        let bytes: Vec<u8> = (0..64u32)
            .map(|i| (seed.wrapping_mul(2_654_435_761).wrapping_add(i * i * 97) >> 7) as u8)
            .collect();
        let found = from_bytes(&bytes, Path::new("test.onnx")).unwrap_err();
        assert_eq!(found[0].code, Code::NotOnnx);
    }
    let whole = net().proto.encode_to_vec();
    for length in 0..whole.len() {
        assert!(
            from_bytes(&whole[..length], Path::new("test.onnx")).is_err(),
            "{length}"
        );
    }
}

#[test]
fn external_data_is_read_beside_the_model_only() {
    let directory = std::env::temp_dir().join(format!("sqc-external-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let raw: Vec<u8> = noise(12).iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(directory.join("model.onnx.data"), [&[0; 8], &raw[..]].concat()).unwrap();
    let inside = net().import().unwrap().graph.to_string();

    let import = |location: &str, length: &str| {
        let mut net = net();
        let w = weights(&mut net);
        w.float_data.clear();
        w.data_location = Some(1);
        let entries = [("location", location), ("offset", "8"), ("length", length)];
        w.external_data = entries
            .map(|(key, value)| StringStringEntryProto {
                key: key.into(),
                value: value.into(),
            })
            .to_vec();
        let path = directory.join("model.onnx");
        std::fs::write(&path, net.proto.encode_to_vec()).unwrap();
        read(&path).map(|m| m.graph.to_string()).map_err(|found| found[0].code)
    };
    assert_eq!(import("model.onnx.data", "48"), Ok(inside));
    assert_eq!(import("model.onnx.data", "49"), Err(Code::BadInitializer));
    assert_eq!(import("model.onnx.data", "44"), Err(Code::BadInitializer));
    assert_eq!(import("model.onnx.data", "many"), Err(Code::BadInitializer));
    assert_eq!(import("../model.onnx.data", "48"), Err(Code::BadInitializer));
    assert_eq!(import("/etc/hostname", "4"), Err(Code::BadInitializer));
    assert_eq!(import("gone.data", "48"), Err(Code::ReadFile));
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(read(&directory.join("model.onnx")).unwrap_err()[0].code, Code::ReadFile);
}

#[test]
fn the_declared_output_shape_must_agree() {
    let mut net = net();
    net.graph().output[0] = net.graph().input[0].clone();
    net.graph().output[0].name = "y".into();
    assert_eq!(net.errors(), [Code::ShapeMismatch]);
    net.constant("s", longs(&[2], &[1, 3]));
    net.graph().output[0].r#type = None;
    assert_eq!(net.errors(), [Code::UnsupportedType]);
}
