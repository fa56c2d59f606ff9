//! Small models for the importer's own tests, built from protobuf messages.

use super::{Model, from_bytes};
use crate::diag::{Code, Diag};
use crate::ir::eval::{Tensor, eval};
use prost::Message;
use std::path::Path;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, type_proto,
};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::IntoTensor;

/// A model under construction; its input is `x`, its output the result of the last node.
pub(super) struct Net {
    pub proto: ModelProto,
}

/// An attribute by what it holds.
pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    attribute(name, AttributeType::Int, |a| a.i = i)
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    attribute(name, AttributeType::Ints, |a| a.ints = values.to_vec())
}

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    attribute(name, AttributeType::Float, |a| a.f = f)
}

pub(super) fn string(name: &str, s: &str) -> AttributeProto {
    attribute(name, AttributeType::String, |a| a.s = s.as_bytes().to_vec())
}

pub(super) fn tensor(name: &str, t: TensorProto) -> AttributeProto {
    attribute(name, AttributeType::Tensor, |a| a.t = Some(t))
}

fn attribute(name: &str, kind: AttributeType, fill: impl FnOnce(&mut AttributeProto)) -> AttributeProto {
    let mut a = AttributeProto {
        name: name.into(),
        r#type: kind as i32,
        ..Default::default()
    };
    fill(&mut a);
    a
}

fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&d| d as i64).collect()
}

/// Constants by element type.
pub(super) fn floats(shape: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: dims(shape),
        data_type: DataType::Float as i32,
        float_data: values.to_vec(),
        ..Default::default()
    }
}

pub(super) fn bytes(shape: &[usize], values: &[i8]) -> TensorProto {
    TensorProto {
        dims: dims(shape),
        data_type: DataType::Int8 as i32,
        raw_data: values.iter().map(|&x| x as u8).collect(),
        ..Default::default()
    }
}

pub(super) fn ubytes(shape: &[usize], values: &[u8]) -> TensorProto {
    TensorProto {
        dims: dims(shape),
        data_type: DataType::Uint8 as i32,
        raw_data: values.to_vec(),
        ..Default::default()
    }
}

pub(super) fn longs(shape: &[usize], values: &[i64]) -> TensorProto {
    TensorProto {
        dims: dims(shape),
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// Numbers between -1 and 1 that look random and are always the same.
pub(super) fn noise(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 7919 + 104_729) % 1009) as f32 / 504.5 - 1.0)
        .collect()
}

impl Net {
    /// A model of an input with a symbolic batch.
    pub fn new(kind: DataType, sample: &[usize]) -> Net {
        let port = |name: &str, kind: DataType, shape: Option<TensorShapeProto>| ValueInfoProto {
            name: name.into(),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                    elem_type: kind as i32,
                    shape,
                })),
                ..Default::default()
            }),
            ..Default::default()
        };
        let batch = Dim::DimParam("N".into());
        let shape = [batch]
            .into_iter()
            .chain(sample.iter().map(|&d| Dim::DimValue(d as i64)));
        let dim = shape.map(|value| Dimension {
            value: Some(value),
            ..Default::default()
        });
        let graph = GraphProto {
            input: vec![port("x", kind, Some(TensorShapeProto { dim: dim.collect() }))],
            output: vec![port("x", DataType::Float, None)],
            ..Default::default()
        };
        Net {
            proto: ModelProto {
                ir_version: 8,
                opset_import: vec![OperatorSetIdProto {
                    version: 13,
                    ..Default::default()
                }],
                graph: Some(graph),
                ..Default::default()
            },
        }
    }

    /// The graph message.
    pub fn graph(&mut self) -> &mut GraphProto {
        self.proto.graph.as_mut().unwrap()
    }

    /// Adds an initializer.
    pub fn constant(&mut self, name: &str, mut t: TensorProto) -> &mut Self {
        t.name = name.into();
        self.graph().initializer.push(t);
        self
    }

    /// Adds a node, whose result bears its name and becomes the output.
    pub fn node(&mut self, name: &str, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> &mut Self {
        let graph = self.graph();
        graph.node.push(NodeProto {
            name: name.into(),
            op_type: op.into(),
            input: inputs.iter().map(|&i| i.into()).collect(),
            output: vec![name.into()],
            attribute: attributes,
            ..Default::default()
        });
        graph.output[0].name = name.into();
        self
    }

    /// Declares another element type of the output than `float32`.
    pub fn output(&mut self, kind: DataType) -> &mut Self {
        let output = &mut self.graph().output[0];
        if let Some(type_proto::Value::TensorType(t)) = output.r#type.as_mut().and_then(|t| t.value.as_mut()) {
            t.elem_type = kind as i32;
        }
        self
    }

    /// What the importer says.
    pub fn import(&self) -> Result<Model, Vec<Diag>> {
        from_bytes(&self.proto.encode_to_vec(), Path::new("test.onnx"))
    }

    /// The codes of the errors, in order.
    pub fn errors(&self) -> Vec<Code> {
        match self.import() {
            Ok(model) => panic!("no error:\n{}", model.graph),
            Err(found) => found.into_iter().map(|d| d.code).collect(),
        }
    }

    /// Imports the model and holds the interpreter's result against tract's.
    pub fn check(&self, input: &Tensor) -> Tensor {
        let model = self.import().unwrap_or_else(|e| panic!("{e:#?}"));
        let ours = eval(&model.graph, input);
        let theirs = self.tract(input);
        match (&ours, &theirs) {
            (Tensor::F32(a), Tensor::F32(b)) => {
                let close = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs()));
                assert!(close, "{ours:?}\n{theirs:?}\n{}", model.graph);
            }
            _ => assert_eq!(ours, theirs, "{}", model.graph),
        }
        ours
    }

    fn tract(&self, input: &Tensor) -> Tensor {
        let dims = match &self.proto.graph.as_ref().unwrap().input[0]
            .r#type
            .as_ref()
            .unwrap()
            .value
        {
            Some(type_proto::Value::TensorType(t)) => {
                t.shape.as_ref().unwrap().dim.iter().skip(1).map(|d| match d.value {
                    Some(Dim::DimValue(n)) => n as usize,
                    _ => panic!("symbolic dimension"),
                })
            }
            None => panic!("no type"),
        };
        let shape: Vec<usize> = [1].into_iter().chain(dims).collect();
        let value = match input {
            Tensor::F32(v) => tract_ndarray::ArrayD::from_shape_vec(shape, v.clone())
                .unwrap()
                .into_tensor(),
            Tensor::U8(v) => tract_ndarray::ArrayD::from_shape_vec(shape, v.clone())
                .unwrap()
                .into_tensor(),
            Tensor::I8(v) => tract_ndarray::ArrayD::from_shape_vec(shape, v.clone())
                .unwrap()
                .into_tensor(),
            Tensor::Sign(_) | Tensor::I32(_) => panic!("no input type"),
        };
        let fact = InferenceFact::dt_shape(value.datum_type(), value.shape());
        let mut model = onnx().model_for_proto_model(&self.proto).unwrap();
        model.set_input_fact(0, fact).unwrap();
        let result = model
            .into_typed()
            .unwrap()
            .into_runnable()
            .unwrap()
            .run(tvec!(value.into()))
            .unwrap();
        let result = result[0].clone().into_tensor();
        match result.datum_type() {
            t if t == u8::datum_type() => {
                Tensor::U8(result.to_plain_array_view::<u8>().unwrap().iter().copied().collect())
            }
            t if t == i8::datum_type() => {
                Tensor::I8(result.to_plain_array_view::<i8>().unwrap().iter().copied().collect())
            }
            _ => Tensor::F32(result.to_plain_array_view::<f32>().unwrap().iter().copied().collect()),
        }
    }
}
