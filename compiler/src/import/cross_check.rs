//! tract's shape inference must find the shapes that we found.

use super::builder::Shapes;
use super::ports::Ports;
use crate::diag::{Code, Diag, Result};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{GraphProto, ModelProto, TensorShapeProto, TypeProto, ValueInfoProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{InferenceFact, OutletId};

/// Compares the shape of every computed tensor of the nodes `order`; an error names each that differs.
pub(super) fn shapes(model: &ModelProto, order: &[usize], ports: &Ports, ours: &Shapes) -> Result<()> {
    let theirs = match without_panic(|| infer(model, order, ports, ours)) {
        Some(Ok(shapes)) => shapes,
        Some(Err(e)) => return Err(Diag::new(Code::ShapeMismatch, format!("tract infers no shapes: {e:#}")).into()),
        None => return Err(Diag::new(Code::ShapeMismatch, "tract gives up on this graph").into()),
    };
    let found: Vec<_> = ours
        .iter()
        .filter(|(name, shape)| theirs.get(name) != Some(shape))
        .map(|(name, shape)| {
            let other = theirs.get(name).map_or_else(|| "nothing".into(), |s| format!("{s:?}"));
            Diag::new(
                Code::ShapeMismatch,
                format!("has the shape {shape:?}; tract finds {other}"),
            )
            .tensor(name)
        })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// What `f` returns, or nothing if it panics. The message of such a panic is a library's, and not shown.
fn without_panic<T>(f: impl FnOnce() -> T) -> Option<T> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                default(info);
            }
        }));
    });
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    QUIET.set(false);
    result.ok()
}

/// The nodes of `order` with the weights as further inputs: their shapes are all that is wanted, and copies of them cost time.
///
/// Vectors stay, because the shape of a `Reshape` is one.
fn skeleton(proto: &ModelProto, order: &[usize]) -> ModelProto {
    let Some(graph) = &proto.graph else {
        return ModelProto::default();
    };
    let (weights, kept): (Vec<_>, Vec<_>) = graph.initializer.iter().partition(|t| t.dims.len() > 1);
    let declared: HashSet<&str> = graph.input.iter().map(|i| &*i.name).collect();
    let further = weights
        .into_iter()
        .filter(|t| !declared.contains(&*t.name))
        .map(|t| ValueInfoProto {
            name: t.name.clone(),
            r#type: Some(TypeProto {
                value: Some(Value::TensorType(Tensor {
                    elem_type: t.data_type,
                    shape: Some(TensorShapeProto {
                        dim: t.dims.iter().map(|&d| dimension(d)).collect(),
                    }),
                })),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        });
    ModelProto {
        opset_import: proto.opset_import.clone(),
        graph: Some(GraphProto {
            node: order.iter().map(|&i| graph.node[i].clone()).collect(),
            initializer: kept.into_iter().cloned().collect(),
            input: graph.input.iter().cloned().chain(further).collect(),
            output: graph.output.clone(),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn dimension(extent: i64) -> Dimension {
    Dimension {
        value: Some(dimension::Value::DimValue(extent)),
        ..Dimension::default()
    }
}

fn infer(
    proto: &ModelProto,
    order: &[usize],
    ports: &Ports,
    ours: &Shapes,
) -> TractResult<HashMap<String, Vec<usize>>> {
    let mut model = onnx()
        .with_ignore_output_shapes(true)
        .with_ignore_value_info(true)
        .model_for_proto_model(&skeleton(proto, order))?;
    if let Some((_, shape)) = ours.iter().find(|(name, _)| *name == ports.input.name) {
        let position = model
            .input_outlets()?
            .iter()
            .position(|o| model.node(o.node).name == ports.input.name);
        if let Some(position) = position {
            let dt = model.input_fact(position)?.datum_type().unwrap_or(DatumType::F32);
            model.set_input_fact(position, InferenceFact::dt_shape(dt, shape))?;
        }
    }
    model.analyse(false)?;
    let mut shapes = HashMap::new();
    for node in model.nodes() {
        for slot in 0..node.outputs.len() {
            let outlet = OutletId::new(node.id, slot);
            let name = model.outlet_label(outlet).unwrap_or(&node.name);
            if let Some(shape) = model.outlet_fact(outlet)?.shape.as_concrete_finite()? {
                shapes.insert(name.to_owned(), shape.to_vec());
            }
        }
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing() {
        assert_eq!(without_panic(|| 1), Some(1));
        assert_eq!(without_panic(|| -> i32 { panic!("of a library") }), None);
    }
}
