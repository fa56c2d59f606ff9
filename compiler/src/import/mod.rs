//! ONNX to [`ir::Graph`]: the only room that knows protobuf and tract.
//!
//! What a file claims is not believed: lengths, shapes, ranges and cycles are checked before anything is allocated or computed
//! from them. Then every node is typed by rules of our own, and tract's shape inference must agree.
//!
//! Constants are folded node by node, in the file's order, in `f32` as ONNX defines each operator; reductions run in row-major
//! order. `DequantizeLinear` of a constant keeps the integer codes beside the values, and the layer that reads them means
//! `code * scale` exactly.

mod attributes;
mod builder;
mod cross_check;
mod external;
mod ops;
mod order;
mod ports;
mod quant;
mod tensor;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::diag::{Code, Diag, Result};
use crate::ir::{self, verify};
use builder::Builder;
pub use ops::supported;
use prost::Message;
use sha2::{Digest, Sha256};
use std::path::Path;
use tract_onnx::pb::ModelProto;

/// A model file as a graph of the imported dialect.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub graph: ir::Graph,
    /// The file's name without directory and extension.
    pub name: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Version of the default operator set.
    pub opset: i64,
    /// The file's own metadata.
    pub metadata: Vec<(String, String)>,
    /// Name of the input tensor.
    pub input: String,
    /// Name of the output tensor.
    pub output: String,
}

/// Most nodes of a file; networks for small devices have hundreds.
const MAX_NODES: usize = 10_000;

/// Reads a model and its external data.
pub fn read(path: &Path) -> Result<Model> {
    let bytes = std::fs::read(path).map_err(|e| Diag::new(Code::ReadFile, e.to_string()).file(path))?;
    from_bytes(&bytes, path)
}

/// The same from the bytes of the file `path`, which external data lies beside.
pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Model> {
    decode(bytes, path).map_err(|found| found.into_iter().map(|d| in_file(d, path)).collect())
}

fn decode(bytes: &[u8], path: &Path) -> Result<Model> {
    let not_onnx = |found: String| Diag::new(Code::NotOnnx, found);
    let mut proto = ModelProto::decode(bytes).map_err(|e| not_onnx(e.to_string()))?;
    let opset = proto
        .opset_import
        .iter()
        .find(|o| matches!(&*o.domain, "" | "ai.onnx"))
        .map(|o| o.version);
    let opset = opset.ok_or_else(|| not_onnx("names no version of the default operator set".into()))?;
    if !(7..=64).contains(&opset) {
        return Err(not_onnx(format!("uses operator set {opset}")).into());
    }
    let graph = proto.graph.as_mut().ok_or_else(|| not_onnx("holds no graph".into()))?;
    if graph.node.len() > MAX_NODES {
        let found = format!("{} nodes, of at most {MAX_NODES}", graph.node.len());
        return Err(Diag::new(Code::TooLarge, found).into());
    }
    for tensor in &mut graph.initializer {
        tensor::inline_external(tensor, path)?;
    }
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |v| &v.name);
        return Err(Diag::new(Code::UnsupportedType, "is stored as a sparse tensor")
            .tensor(name)
            .into());
    }

    let graph = &*graph;
    let ports = ports::find(graph)?;
    let order = order::sort(graph, &ports)?;
    ops::require_supported(graph, &order)?;
    let mut builder = Builder::new(graph, &ports)?;
    for &index in &order {
        builder.add(&graph.node[index]);
    }
    let (ir, shapes) = builder.finish(&ports)?;
    verify::verify(&ir).map_err(|e| Diag::new(Code::Internal, format!("after import: {e}")))?;
    cross_check::shapes(&proto, &order, &ports, &shapes)?;
    Ok(Model {
        graph: ir,
        name: path
            .file_stem()
            .map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned()),
        sha256: Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect(),
        opset,
        metadata: proto
            .metadata_props
            .iter()
            .map(|p| (p.key.clone(), p.value.clone()))
            .collect(),
        input: ports.input.name,
        output: ports.output.name,
    })
}

fn in_file(diag: Diag, path: &Path) -> Diag {
    if diag.file.is_some() { diag } else { diag.file(path) }
}
