//! Builds the graph node by node, and knows what every tensor's name stands for.

use super::attributes::Attributes;
use super::ops;
use super::order;
use super::ports::{MAX_ELEMENTS, Ports};
use super::tensor::{self, Const};
use crate::diag::{Code, Diag, Result};
use crate::ir::{Elem, Graph, NodeId, Op, Ty};
use std::collections::HashMap;
use std::rc::Rc;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// What a tensor of the file is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Known now.
    Const(Rc<Const>),
    /// Computed for every sample: `[1]` and the node's shape.
    Node(NodeId),
    /// True where the node's value is not negative.
    NotNegative(NodeId),
}

/// The graph so far.
pub(super) struct Builder<'a> {
    graph: Graph,
    initializers: HashMap<&'a str, &'a TensorProto>,
    // Absent: it could not be made, which has been reported.
    values: HashMap<&'a str, Option<Value>>,
    found: Vec<Diag>,
    folded: usize,
}

/// One node of the file, with what it reads.
pub(super) struct Args<'a> {
    /// The node.
    pub proto: &'a NodeProto,
    /// Its attributes.
    pub attributes: Attributes<'a>,
    inputs: Vec<Option<Value>>,
}

/// Shape of every computed tensor, batch included.
pub(super) type Shapes = Vec<(String, Vec<usize>)>;

/// Most elements of all folded constants together: one broadcast must not turn a small file into a large graph.
const MAX_FOLDED: usize = 1 << 25;

impl<'a> Builder<'a> {
    /// A graph of the input alone.
    pub fn new(proto: &'a GraphProto, ports: &Ports) -> Result<Self, Diag> {
        let mut graph = Graph::new();
        let input = graph.add(&*ports.input.name, Op::Input, ports.input.sample()?, &[]);
        let mut values = HashMap::new();
        for info in &proto.input {
            if info.name == ports.input.name {
                values.insert(&*info.name, Some(Value::Node(input)));
            }
        }
        Ok(Builder {
            graph,
            initializers: proto.initializer.iter().map(|t| (&*t.name, t)).collect(),
            values,
            found: Vec::new(),
            folded: 0,
        })
    }

    /// Adds a node of the file. What is wrong with it is kept for [`finish`](Self::finish).
    pub fn add(&mut self, node: &'a NodeProto) {
        let value = self.value_of(node).unwrap_or_else(|diag| {
            let named = if diag.node.is_some() {
                diag
            } else {
                diag.node(order::name(node))
            };
            self.found.push(named);
            None
        });
        for output in node.output.iter().skip(1) {
            self.values.insert(output, None);
        }
        if let Some(output) = node.output.first() {
            self.values.insert(output, value);
        }
    }

    fn value_of(&mut self, node: &'a NodeProto) -> Result<Option<Value>, Diag> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match &**name {
                "" => None,
                name => match self.lookup(name)? {
                    Some(value) => Some(value),
                    None => return Ok(None),
                },
            });
        }
        let args = Args {
            proto: node,
            attributes: Attributes(node),
            inputs,
        };
        (ops::row(node)?.build)(self, &args).map(Some)
    }

    fn lookup(&mut self, name: &'a str) -> Result<Option<Value>, Diag> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        // The importer checked that every name has a source.
        let Some(tensor) = self.initializers.get(name) else {
            return Ok(None);
        };
        let decoded = tensor::decode(tensor).map(|c| Value::Const(Rc::new(c)));
        self.values.insert(name, decoded.as_ref().ok().cloned());
        decoded.map(Some)
    }

    /// The type of a node.
    pub fn ty(&self, id: NodeId) -> &Ty {
        &self.graph.node(id).ty
    }

    /// What a node computes.
    pub fn op(&self, id: NodeId) -> &Op {
        &self.graph.node(id).op
    }

    /// Adds a node to the graph.
    pub fn node(&mut self, args: &Args, op: Op, ty: Ty, operand: NodeId) -> Result<NodeId, Diag> {
        self.nodes(args, op, ty, &[operand])
    }

    /// The same with any number of operands.
    pub fn nodes(&mut self, args: &Args, op: Op, ty: Ty, operands: &[NodeId]) -> Result<NodeId, Diag> {
        let count = ty
            .shape
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d))
            .unwrap_or(usize::MAX);
        if count > MAX_ELEMENTS {
            return Err(Diag::new(
                Code::TooLarge,
                format!("its result has {count} elements, of at most {MAX_ELEMENTS}"),
            ));
        }
        Ok(self.graph.add(order::name(args.proto), op, ty, operands))
    }

    /// Adds a node whose result is real and has the operand's shape.
    pub fn step(&mut self, args: &Args, op: Op, operand: NodeId) -> Result<NodeId, Diag> {
        let ty = Ty::new(Elem::Real, self.ty(operand).shape.clone());
        self.node(args, op, ty, operand)
    }

    /// A folded constant of `count` elements is about to be made.
    pub fn fold(&mut self, count: usize) -> Result<(), Diag> {
        self.folded = self.folded.saturating_add(count);
        if self.folded > MAX_FOLDED {
            return Err(Diag::new(Code::TooLarge, "the folded constants have too many elements"));
        }
        Ok(())
    }

    /// The whole graph, and the shape of every tensor in it; or everything that was wrong.
    pub fn finish(mut self, ports: &'a Ports) -> Result<(Graph, Shapes)> {
        let value = self.lookup(&ports.output.name);
        if !self.found.is_empty() {
            return Err(self.found);
        }
        let port = |code, found: String| Diag::new(code, found).tensor(&ports.output.name);
        let Some(Value::Node(last)) = value? else {
            return Err(port(Code::ShapeMismatch, "the output does not depend on the input".into()).into());
        };
        let ty = self.ty(last).clone();
        let elem = if ty.elem == Elem::Real { Elem::F32 } else { ty.elem };
        if elem != ports.output.elem {
            let found = format!("is declared {} and computed as {elem}", ports.output.elem);
            return Err(port(Code::UnsupportedType, found).into());
        }
        let dims = with_batch(&ty.shape);
        let declared = &ports.output.dims;
        let agrees = declared.len() == dims.len() && declared.iter().zip(&dims).all(|(d, n)| d.is_none_or(|d| d == *n));
        if !declared.is_empty() && !agrees {
            let shown: Vec<_> = declared
                .iter()
                .map(|d| d.map_or("?".into(), |d| d.to_string()))
                .collect();
            let found = format!("is declared [{}] and computed as {dims:?}", shown.join(", "));
            return Err(port(Code::ShapeMismatch, found).into());
        }
        self.graph.add(&*ports.output.name, Op::Output, ty, &[last]);
        let mut shapes: Shapes = Vec::new();
        for (name, value) in &self.values {
            if let Some(Value::Node(id)) = value {
                shapes.push(((*name).to_owned(), with_batch(&self.graph.node(*id).ty.shape)));
            }
        }
        shapes.sort();
        Ok((self.graph, shapes))
    }
}

/// The shape of a tensor in the file: one sample behind a batch of 1.
fn with_batch(sample: &[usize]) -> Vec<usize> {
    [&[1], sample].concat()
}

impl Args<'_> {
    /// What input `i` is, if it is there.
    pub fn get(&self, i: usize) -> Option<&Value> {
        self.inputs.get(i)?.as_ref()
    }

    /// Input `i`, which the operator cannot do without.
    pub fn value(&self, i: usize) -> Result<&Value, Diag> {
        self.get(i)
            .ok_or_else(|| Diag::new(Code::MissingTensor, format!("input {i} is missing")))
    }

    /// Input `i`, which must be computed from the sample.
    pub fn computed(&self, i: usize) -> Result<NodeId, Diag> {
        match self.value(i)? {
            Value::Node(id) => Ok(*id),
            Value::Const(_) => Err(self.unsupported(format!("input {i} is a constant"))),
            Value::NotNegative(_) => Err(self.unsupported(format!("input {i} is a comparison"))),
        }
    }

    /// The same, as real numbers.
    pub fn real(&self, b: &Builder, i: usize) -> Result<NodeId, Diag> {
        let id = self.computed(i)?;
        let ty = b.ty(id);
        if matches!(ty.elem, Elem::Real | Elem::F32) {
            return Ok(id);
        }
        let found = format!("input {i} is {ty}; only float tensors are supported here");
        Err(Diag::new(Code::UnsupportedType, found).tensor(&self.proto.input[i]))
    }

    /// Input `i`, which must be a constant.
    pub fn constant(&self, i: usize) -> Result<&Rc<Const>, Diag> {
        match self.value(i)? {
            Value::Const(c) => Ok(c),
            _ => Err(self
                .unsupported(format!("input {i} is computed; only constants are supported here"))
                .tensor(&self.proto.input[i])),
        }
    }

    /// Input `i`, which must be a constant of `f32`.
    pub fn floats(&self, i: usize) -> Result<&[f32], Diag> {
        let constant = self.constant(i)?;
        constant.as_f32().ok_or_else(|| {
            let found = format!("is {}; float32 is wanted here", constant.type_name());
            Diag::new(Code::UnsupportedType, found).tensor(&self.proto.input[i])
        })
    }

    /// Input `i`, a constant with one `f32` per channel.
    pub fn per_channel(&self, i: usize, channels: usize) -> Result<Vec<f32>, Diag> {
        let values = self.floats(i)?;
        if values.len() == channels {
            return Ok(values.to_vec());
        }
        let found = format!("has {} values for {channels} channels", values.len());
        Err(Diag::new(Code::ShapeMismatch, found).tensor(&self.proto.input[i]))
    }

    /// Input `i`, a constant with one positive `f32`.
    pub fn positive(&self, i: usize) -> Result<f32, Diag> {
        match self.floats(i)? {
            [x] if *x > 0.0 => Ok(*x),
            [x] => {
                Err(Diag::new(Code::BadInitializer, format!("is {x}; a scale is positive"))
                    .tensor(&self.proto.input[i]))
            }
            _ => Err(self
                .unsupported("a computed tensor has one scale for each index of an axis".into())
                .tensor(&self.proto.input[i])),
        }
    }

    /// The operator is known, but not in this form.
    pub fn unsupported(&self, found: String) -> Diag {
        Diag::new(Code::UnsupportedOperator, format!("{}: {found}", self.proto.op_type))
    }

    /// Shapes that do not go together.
    pub fn mismatch(&self, found: String) -> Diag {
        Diag::new(Code::ShapeMismatch, found)
    }
}
