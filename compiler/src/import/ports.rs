//! The model's one input and one output.

use crate::diag::{Code, Diag, Result};
use crate::ir::{Elem, Ty};
use std::collections::HashSet;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, ValueInfoProto, tensor_proto::DataType, type_proto::Value};

/// Input and output.
pub(super) struct Ports {
    pub input: Port,
    pub output: Port,
}

/// One of them, as the file declares it.
pub(super) struct Port {
    /// Name of the tensor.
    pub name: String,
    /// Element type.
    pub elem: Elem,
    /// Extents with the batch first; absent where the file does not say.
    pub dims: Vec<Option<usize>>,
}

/// Most elements that a value may have: beyond it nothing this compiler targets could hold it.
pub(super) const MAX_ELEMENTS: usize = 1 << 24;

impl Port {
    /// The type of one sample.
    pub fn sample(&self) -> Result<Ty, Diag> {
        let dynamic = |found: String| Diag::new(Code::DynamicShape, found).tensor(&self.name);
        let Some((batch, sample)) = self.dims.split_first() else {
            return Err(dynamic("has no dimensions, not even a batch".into()));
        };
        if batch.is_some_and(|n| n != 1) {
            return Err(dynamic("has a batch that is fixed to another number than 1".into())
                .help("export with a batch of 1, or a symbolic one"));
        }
        let sample: Option<Vec<usize>> = sample.iter().copied().collect();
        let sample = sample.ok_or_else(|| dynamic("has symbolic dimensions beside the batch".into()))?;
        let count = sample
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d))
            .unwrap_or(usize::MAX);
        if count > MAX_ELEMENTS {
            let found = format!("has {count} elements, of at most {MAX_ELEMENTS}");
            return Err(Diag::new(Code::TooLarge, found).tensor(&self.name));
        }
        if sample.contains(&0) || !matches!(sample.len(), 1 | 3) {
            let found =
                format!("a sample has the shape {sample:?}; it must be [features] or [channels, height, width]");
            return Err(Diag::new(Code::ShapeMismatch, found).tensor(&self.name));
        }
        Ok(Ty::new(self.elem, sample))
    }
}

/// Finds both, and checks that there are no others.
pub(super) fn find(graph: &GraphProto) -> Result<Ports> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|t| &*t.name).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|i| !constants.contains(&*i.name)).collect();
    Ok(Ports {
        input: port(only("input", &inputs)?)?,
        output: port(only("output", &graph.output.iter().collect::<Vec<_>>())?)?,
    })
}

fn only<'a>(what: &str, ports: &[&'a ValueInfoProto]) -> Result<&'a ValueInfoProto, Diag> {
    match ports {
        [one] => Ok(one),
        _ => {
            let names: Vec<_> = ports.iter().map(|p| format!("`{}`", p.name)).collect();
            let found = format!("{} {what}s: {}", names.len(), names.join(", "));
            Err(Diag::new(Code::Ports, found.trim_end_matches([':', ' ']).to_owned()))
        }
    }
}

fn port(info: &ValueInfoProto) -> Result<Port, Diag> {
    let Some(Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(Diag::new(Code::UnsupportedType, "is no tensor").tensor(&info.name));
    };
    let elem = match DataType::try_from(tensor.elem_type) {
        Ok(DataType::Float) => Elem::F32,
        Ok(DataType::Uint8) => Elem::U8,
        Ok(DataType::Int8) => Elem::I8,
        Ok(other) => {
            let found = format!("has the element type {}", other.as_str_name());
            return Err(Diag::new(Code::UnsupportedType, found).tensor(&info.name));
        }
        Err(_) => {
            let found = format!("has the element type {}", tensor.elem_type);
            return Err(Diag::new(Code::UnsupportedType, found).tensor(&info.name));
        }
    };
    let dims = match &tensor.shape {
        Some(shape) => shape
            .dim
            .iter()
            .map(|d| match &d.value {
                Some(Dim::DimValue(n)) => usize::try_from(*n).ok(),
                _ => None,
            })
            .collect(),
        None => Vec::new(),
    };
    Ok(Port {
        name: info.name.clone(),
        elem,
        dims,
    })
}
