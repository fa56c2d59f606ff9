//! The ONNX operators: one file and one row each.

mod add;
mod arithmetic;
mod average_pool;
mod batch_normalization;
mod cast;
mod clip;
mod constant;
mod conv;
mod dequantize_linear;
mod div;
mod flatten;
mod gemm;
mod global_average_pool;
mod greater_or_equal;
mod identity;
mod mat_mul;
mod max_pool;
mod mul;
mod quantize_linear;
mod reduce_mean;
mod relu;
mod reshape;
mod round;
mod sign;
mod sub;
#[cfg(test)]
mod tests;
mod r#where;
mod window;

use super::builder::{Args, Builder, Value};
use super::order;
use crate::diag::{Code, Diag, Result};
use tract_onnx::pb::{GraphProto, NodeProto};

/// An operator of the default domain.
pub(super) struct Row {
    name: &'static str,
    /// Reads the node's inputs and attributes, and says what its result is.
    pub build: fn(&mut Builder, &Args) -> Result<Value, Diag>,
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { name: "Add", build: add::build },
    Row { name: "AveragePool", build: average_pool::build },
    Row { name: "BatchNormalization", build: batch_normalization::build },
    Row { name: "Cast", build: cast::build },
    Row { name: "Clip", build: clip::build },
    Row { name: "Constant", build: constant::build },
    Row { name: "Conv", build: conv::build },
    Row { name: "DequantizeLinear", build: dequantize_linear::build },
    Row { name: "Div", build: div::build },
    Row { name: "Flatten", build: flatten::build },
    Row { name: "Gemm", build: gemm::build },
    Row { name: "GlobalAveragePool", build: global_average_pool::build },
    Row { name: "GreaterOrEqual", build: greater_or_equal::build },
    Row { name: "Identity", build: identity::build },
    Row { name: "MatMul", build: mat_mul::build },
    Row { name: "MaxPool", build: max_pool::build },
    Row { name: "Mul", build: mul::build },
    Row { name: "QuantizeLinear", build: quantize_linear::build },
    Row { name: "ReduceMean", build: reduce_mean::build },
    Row { name: "Relu", build: relu::build },
    Row { name: "Reshape", build: reshape::build },
    Row { name: "Round", build: round::build },
    Row { name: "Sign", build: sign::build },
    Row { name: "Sub", build: sub::build },
    Row { name: "Where", build: r#where::build },
];

/// Names of the operators that can be read.
pub fn supported() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name)
}

/// The row of a node.
pub(super) fn row(node: &NodeProto) -> Result<&'static Row, Diag> {
    let known = matches!(&*node.domain, "" | "ai.onnx");
    TABLE
        .iter()
        .find(|row| known && row.name == node.op_type)
        .ok_or_else(|| {
            let operator = if known {
                node.op_type.clone()
            } else {
                format!("{}.{}", node.domain, node.op_type)
            };
            Diag::new(Code::UnsupportedOperator, operator).node(order::name(node))
        })
}

/// Names every node of `order` that has no row, at once.
pub(super) fn require_supported(graph: &GraphProto, order: &[usize]) -> Result<()> {
    let found: Vec<_> = order.iter().filter_map(|&i| row(&graph.node[i]).err()).collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}
