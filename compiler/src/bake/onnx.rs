//! An ONNX file under construction.

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

/// Version of the file format: ONNX 1.10, which every runtime of opset 13 reads.
const IR_VERSION: i64 = 8;

/// The first opset whose DequantizeLinear takes a scale per channel.
pub const OPSET: i64 = 13;

/// A graph to which nodes are added in order of evaluation.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// The graph so far, open to changes that the methods below do not foresee.
    pub graph: GraphProto,
    /// `metadata_props` of the file.
    pub metadata: Vec<(String, String)>,
}

impl Builder {
    /// Declares an input. `None` is the symbolic batch `N`.
    pub fn input(&mut self, name: &str, dtype: DataType, shape: &[Option<usize>]) {
        self.graph.input.push(value_info(name, dtype, shape));
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, dtype: DataType, shape: &[Option<usize>]) {
        self.graph.output.push(value_info(name, dtype, shape));
    }

    /// Adds a node with one output, and returns the output's name.
    pub fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attribute)],
    ) -> String {
        self.graph.node.push(NodeProto {
            op_type: op.into(),
            name: name.into(),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: vec![output.into()],
            attribute: attributes.iter().map(|(name, value)| value.proto(name)).collect(),
            ..Default::default()
        });
        output.into()
    }

    /// Adds an `f32` initializer, and returns its name.
    pub fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, DataType::Float, dims, bytes)
    }

    /// Adds an initializer from its little-endian bytes, and returns its name. One that is there already is kept.
    pub fn initializer(&mut self, name: &str, dtype: DataType, dims: &[usize], raw_data: Vec<u8>) -> String {
        if self.graph.initializer.iter().all(|t| t.name != name) {
            self.graph.initializer.push(TensorProto {
                name: name.into(),
                dims: dims.iter().map(|d| *d as i64).collect(),
                data_type: dtype as i32,
                raw_data,
                ..Default::default()
            });
        }
        name.into()
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            producer_name: "sqc".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph.clone()),
            metadata_props: self
                .metadata
                .iter()
                .map(|(key, value)| StringStringEntryProto {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
            ..Default::default()
        }
        .encode_to_vec()
    }
}

/// An attribute's value.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
}

impl Attribute {
    fn proto(&self, name: &str) -> AttributeProto {
        let mut proto = AttributeProto {
            name: name.into(),
            ..Default::default()
        };
        match self {
            Attribute::Int(i) => (proto.i, proto.r#type) = (*i, AttributeType::Int as i32),
            Attribute::Ints(i) => (proto.ints, proto.r#type) = (i.clone(), AttributeType::Ints as i32),
            Attribute::Float(f) => (proto.f, proto.r#type) = (*f, AttributeType::Float as i32),
        }
        proto
    }
}

/// A tensor's name, element type and extents.
pub fn value_info(name: &str, dtype: DataType, shape: &[Option<usize>]) -> ValueInfoProto {
    let dim = shape.iter().map(|extent| Dimension {
        value: Some(match extent {
            Some(n) => dimension::Value::DimValue(*n as i64),
            None => dimension::Value::DimParam("N".into()),
        }),
        ..Default::default()
    });
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: dtype as i32,
                shape: Some(TensorShapeProto { dim: dim.collect() }),
            })),
            ..Default::default()
        }),
        ..Default::default()
    }
}
