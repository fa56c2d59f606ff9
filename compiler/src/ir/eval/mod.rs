//! The interpreter: the meaning of both dialects.

mod bytes;
mod fused;
mod real;

use super::{Graph, NodeId, Op, Ty};
use real::Reals;

/// A value, in logical row-major order of its shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// 0..=255.
    U8(Vec<u8>),
    /// -128..=127.
    I8(Vec<i8>),
    /// True is +1, false is -1.
    Sign(Vec<bool>),
    /// Sums.
    I32(Vec<i32>),
    /// Binary32; a real value of the imported dialect is rounded to nearest once.
    F32(Vec<f32>),
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Tensor::U8(v) => v.len(),
            Tensor::I8(v) => v.len(),
            Tensor::Sign(v) => v.len(),
            Tensor::I32(v) => v.len(),
            Tensor::F32(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The output for one input. The graph is verified; the input has the type of its [`Op::Input`].
pub fn eval(g: &Graph, input: &Tensor) -> Tensor {
    let mut values = run(g, input);
    match values.pop() {
        Some((_, value)) => value.tensor(),
        None => Tensor::F32(Vec::new()),
    }
}

/// The value of every node, operands before users.
pub fn trace(g: &Graph, input: &Tensor) -> Vec<(NodeId, Tensor)> {
    run(g, input)
        .into_iter()
        .map(|(id, value)| (id, value.tensor()))
        .collect()
}

/// A value while the interpreter runs.
enum Value {
    Stored(Tensor),
    Real(Reals),
}

impl Value {
    fn tensor(self) -> Tensor {
        match self {
            Value::Stored(t) => t,
            Value::Real(r) => Tensor::F32(r.to_f32()),
        }
    }
}

fn run(g: &Graph, input: &Tensor) -> Vec<(NodeId, Value)> {
    let mut values: Vec<(NodeId, Value)> = Vec::new();
    let mut order = g.order();
    // The output comes last, whatever else there is.
    order.sort_by_key(|&id| g.node(id).op == Op::Output);
    for id in order {
        let node = g.node(id);
        let operand = |from: &NodeId| {
            let (_, value) = values.iter().find(|(id, _)| id == from)?;
            Some((&g.node(*from).ty, value))
        };
        let operands: Vec<_> = g.operands(id).iter().filter_map(operand).collect();
        let value = match operands[..] {
            [(from, value)] => step(&node.op, from, value, &node.ty),
            [(_, a), (_, b)] => both(&node.op, a, b, &node.ty),
            _ => Value::Stored(input.clone()),
        };
        values.push((id, value));
    }
    values
}

fn step(op: &Op, from: &Ty, value: &Value, to: &Ty) -> Value {
    match (op, value) {
        (Op::Output | Op::Flatten, Value::Stored(t)) => Value::Stored(t.clone()),
        (Op::MaxPool(w), Value::Stored(t)) => Value::Stored(fused::max_pool(t, from.chw(), w, to.chw())),
        (
            Op::Linear {
                weights,
                geom,
                pool,
                epilogue,
            },
            Value::Stored(t),
        ) => Value::Stored(fused::linear(t, from.chw(), weights, geom, pool.as_ref(), epilogue, to)),
        (_, Value::Stored(t)) => real::step(op, from, &Reals::read(op, t), to),
        (_, Value::Real(r)) => real::step(op, from, r, to),
    }
}

/// An operation on two values.
fn both(op: &Op, a: &Value, b: &Value, to: &Ty) -> Value {
    match (op, a, b) {
        (Op::Join(join), Value::Stored(a), Value::Stored(b)) => Value::Stored(fused::join(join, a, b, to)),
        _ => {
            let reals = |v: &Value| match v {
                Value::Stored(t) => Reals::read(op, t),
                Value::Real(r) => r.clone(),
            };
            Value::Real(reals(a).plus(&reals(b)))
        }
    }
}
