//! An ONNX graph under construction, and its bytes.

use super::Card;
use anyhow::Result;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::tensor_shape_proto::Dimension;
use onnx_protobuf::tensor_shape_proto::dimension::Value as Extent;
use onnx_protobuf::type_proto::Value as TypeValue;
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

/// ONNX 1.10's format, the first that every runtime of opset 13 and later reads.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 13;

/// Constructors of node attributes.
pub struct Attribute;

impl Attribute {
    pub fn int(name: &str, value: i64) -> AttributeProto {
        AttributeProto {
            name: name.into(),
            type_: AttributeType::INT.into(),
            i: value,
            ..Default::default()
        }
    }

    pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
        let ints = values.to_vec();
        AttributeProto {
            name: name.into(),
            type_: AttributeType::INTS.into(),
            ints,
            ..Default::default()
        }
    }

    pub fn float(name: &str, value: f32) -> AttributeProto {
        AttributeProto {
            name: name.into(),
            type_: AttributeType::FLOAT.into(),
            f: value,
            ..Default::default()
        }
    }
}

/// Nodes and initializers so far. Adding returns the name of what was added.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Graph {
    /// A node with one output.
    pub fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        output: &str,
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) -> String {
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: name.into(),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            attribute: attributes.into_iter().collect(),
            ..Default::default()
        });
        output.into()
    }

    /// A f32 tensor.
    pub fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        self.initializer(
            name,
            dims,
            DataType::FLOAT,
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    }

    /// A f32 scalar; one that is there already is shared.
    pub fn scalar(&mut self, name: &str, value: f32) -> String {
        match self.initializers.iter().any(|t| t.name == name) {
            true => name.into(),
            false => self.floats(name, &[], &[value]),
        }
    }

    /// An int8 tensor.
    pub fn int8s(&mut self, name: &str, dims: &[usize], values: &[i8]) -> String {
        self.initializer(name, dims, DataType::INT8, values.iter().map(|&v| v as u8).collect())
    }

    /// A uint8 tensor.
    pub fn uint8s(&mut self, name: &str, dims: &[usize], values: &[u8]) -> String {
        self.initializer(name, dims, DataType::UINT8, values.to_vec())
    }

    fn initializer(&mut self, name: &str, dims: &[usize], data_type: DataType, raw_data: Vec<u8>) -> String {
        self.initializers.push(TensorProto {
            name: name.into(),
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type: data_type as i32,
            raw_data,
            ..Default::default()
        });
        name.into()
    }

    /// Names the last node's output, which is the graph's.
    pub fn rename_last_output(&mut self, name: &str) {
        if let Some(node) = self.nodes.last_mut() {
            node.output = vec![name.into()];
        }
    }

    /// The file, with input `image` (uint8, the batch symbolic), output `scores` (f32) and the card as metadata.
    ///
    /// # Errors
    /// A message that protobuf cannot encode.
    pub fn encode(self, name: &str, image: [usize; 3], classes: usize, card: &Card) -> Result<Vec<u8>> {
        let graph = GraphProto {
            name: name.into(),
            node: self.nodes,
            initializer: self.initializers,
            input: vec![batch_value("image", DataType::UINT8, &image)],
            output: vec![batch_value("scores", DataType::FLOAT, &[classes])],
            ..Default::default()
        };
        let opset = OperatorSetIdProto {
            version: OPSET,
            ..Default::default()
        };
        let entry = |(key, value): &(&str, String)| StringStringEntryProto {
            key: key.to_string(),
            value: value.clone(),
            ..Default::default()
        };
        let model = ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![opset],
            producer_name: name.into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(graph).into(),
            metadata_props: card.iter().map(entry).collect(),
            ..Default::default()
        };
        Ok(model.write_to_bytes()?)
    }
}

/// A graph input or output of shape `[N, dims..]`.
fn batch_value(name: &str, element: DataType, dims: &[usize]) -> ValueInfoProto {
    let extent = |value| Dimension {
        value: Some(value),
        ..Default::default()
    };
    let batch = extent(Extent::DimParam("N".into()));
    let fixed = dims.iter().map(|&d| extent(Extent::DimValue(d as i64)));
    let shape = TensorShapeProto {
        dim: [batch].into_iter().chain(fixed).collect(),
        ..Default::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: element as i32,
        shape: Some(shape).into(),
        ..Default::default()
    };
    let value_type = TypeProto {
        value: Some(TypeValue::TensorType(tensor)),
        ..Default::default()
    };
    ValueInfoProto {
        name: name.into(),
        type_: Some(value_type).into(),
        ..Default::default()
    }
}
