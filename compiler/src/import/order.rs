//! The nodes that the output needs, operands first.

use super::ports::Ports;
use crate::diag::{Code, Diag, Result};
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// What a node is called in messages: by its name, or by its result.
pub(super) fn name(node: &NodeProto) -> &str {
    match &*node.name {
        "" => node.output.first().map_or("", |o| o),
        name => name,
    }
}

/// Indices of the nodes that the output depends on, sorted so that each comes after what it reads.
pub(super) fn sort(graph: &GraphProto, ports: &Ports) -> Result<Vec<usize>> {
    let mut makers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if makers.insert(&**output, Some(index)).is_some() {
                return Err(Diag::new(Code::ShapeMismatch, "is computed twice")
                    .node(name(node))
                    .tensor(output)
                    .into());
            }
        }
    }
    for source in graph.initializer.iter().map(|t| &*t.name).chain([&*ports.input.name]) {
        makers.entry(source).or_insert(None);
    }

    // Depth first, with a stack of our own: a file may hold a chain of any length.
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut state = vec![State::New; graph.node.len()];
    let mut order = Vec::new();
    let mut stack = vec![(maker(&makers, &ports.output.name, None)?, 0)];
    while let Some((node, next)) = stack.pop() {
        let Some(index) = node else { continue };
        if next == 0 {
            match state[index] {
                State::Done => continue,
                State::Open => {
                    let found = "depends on its own result";
                    return Err(Diag::new(Code::CyclicGraph, found)
                        .node(name(&graph.node[index]))
                        .into());
                }
                State::New => state[index] = State::Open,
            }
        }
        let inputs = &graph.node[index].input;
        match inputs.get(next) {
            Some(input) => {
                stack.push((node, next + 1));
                if !input.is_empty() {
                    stack.push((maker(&makers, input, Some(&graph.node[index]))?, 0));
                }
            }
            None => {
                state[index] = State::Done;
                order.push(index);
            }
        }
    }
    Ok(order)
}

fn maker(
    makers: &HashMap<&str, Option<usize>>,
    tensor: &str,
    reader: Option<&NodeProto>,
) -> Result<Option<usize>, Diag> {
    makers.get(tensor).copied().ok_or_else(|| {
        let diag = Diag::new(Code::MissingTensor, "no node, initializer or input makes it").tensor(tensor);
        match reader {
            Some(node) => diag.node(name(node)),
            None => diag,
        }
    })
}
