//! tract's shape inference must find the shapes that we found.

use super::builder::Shapes;
use super::ports::Ports;
use crate::diag::{Code, Diag, Result};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{InferenceFact, OutletId};

/// Compares the shape of every computed tensor; an error names each that differs.
pub(super) fn shapes(model: &ModelProto, ports: &Ports, ours: &Shapes) -> Result<()> {
    let theirs = match catch_unwind(AssertUnwindSafe(|| infer(model, ports, ours))) {
        Ok(Ok(shapes)) => shapes,
        Ok(Err(e)) => return Err(Diag::new(Code::ShapeMismatch, format!("tract infers no shapes: {e:#}")).into()),
        Err(_) => return Err(Diag::new(Code::ShapeMismatch, "tract gives up on this graph").into()),
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

fn infer(proto: &ModelProto, ports: &Ports, ours: &Shapes) -> TractResult<HashMap<String, Vec<usize>>> {
    let mut model = onnx()
        .with_ignore_output_shapes(true)
        .with_ignore_value_info(true)
        .model_for_proto_model(proto)?;
    if let Some((_, shape)) = ours.iter().find(|(name, _)| *name == ports.input.name) {
        let dt = model.input_fact(0)?.datum_type().unwrap_or(DatumType::F32);
        model.set_input_fact(0, InferenceFact::dt_shape(dt, shape))?;
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
