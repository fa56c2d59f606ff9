//! The graph: the only file that knows `petgraph`.

use super::{Op, Ty};
use petgraph::{Direction, stable_graph::StableDiGraph, visit::EdgeRef, visit::Topo};
use std::fmt;

/// A node, and the value it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(petgraph::stable_graph::NodeIndex);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0.index())
    }
}

/// An operation with its name and the type of its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name that the model gave it; reports and errors use it.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Type of the result.
    pub ty: Ty,
}

/// A network as a directed acyclic graph of operations.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    // An edge's weight is the operand's position.
    inner: StableDiGraph<Node, usize>,
}

impl Graph {
    /// A graph without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node that reads `operands`, in order.
    pub fn add(&mut self, name: impl Into<String>, op: Op, ty: Ty, operands: &[NodeId]) -> NodeId {
        let id = self.inner.add_node(Node {
            name: name.into(),
            op,
            ty,
        });
        for (position, operand) in operands.iter().enumerate() {
            self.inner.add_edge(operand.0, id, position);
        }
        NodeId(id)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.inner.node_count()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node behind an id of this graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.inner[id.0]
    }

    /// The same, to change it.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.inner[id.0]
    }

    /// What a node reads, by position.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut edges: Vec<_> = self.inner.edges_directed(id.0, Direction::Incoming).collect();
        edges.sort_by_key(|e| *e.weight());
        edges.into_iter().map(|e| NodeId(e.source())).collect()
    }

    /// Who reads a node, in ascending order of id.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let mut users: Vec<_> = self
            .inner
            .neighbors_directed(id.0, Direction::Outgoing)
            .map(NodeId)
            .collect();
        users.sort();
        users.dedup();
        users
    }

    /// Lets every user of `old` read `new` instead.
    pub fn replace_uses(&mut self, old: NodeId, new: NodeId) {
        let uses: Vec<_> = self
            .inner
            .edges_directed(old.0, Direction::Outgoing)
            .map(|e| (e.id(), e.target(), *e.weight()))
            .collect();
        for (edge, user, position) in uses {
            if user != new.0 {
                self.inner.remove_edge(edge);
                self.inner.add_edge(new.0, user, position);
            }
        }
    }

    /// Lets one user of `old` read `new` instead.
    pub fn replace_use(&mut self, old: NodeId, new: NodeId, user: NodeId) {
        let uses: Vec<_> = self
            .inner
            .edges_connecting(old.0, user.0)
            .map(|e| (e.id(), *e.weight()))
            .collect();
        for (edge, position) in uses {
            self.inner.remove_edge(edge);
            self.inner.add_edge(new.0, user.0, position);
        }
    }

    /// Takes a node out; nothing may read it any more.
    pub fn remove(&mut self, id: NodeId) {
        debug_assert!(self.users(id).is_empty(), "{id} is still read");
        self.inner.remove_node(id.0);
    }

    /// All nodes, operands before users.
    pub fn order(&self) -> Vec<NodeId> {
        let mut topo = Topo::new(&self.inner);
        std::iter::from_fn(|| topo.next(&self.inner).map(NodeId)).collect()
    }

    /// The nodes of one kind, in [`order`](Self::order).
    pub fn find(&self, is: impl Fn(&Op) -> bool) -> Vec<NodeId> {
        self.order().into_iter().filter(|&id| is(&self.node(id).op)).collect()
    }
}
