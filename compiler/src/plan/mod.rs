//! The plan: a kernel for every node, and a place for every value.

mod choose;
pub mod cost;
mod job;
pub mod memory;

use crate::diag::{Code, Diag, Result};
use crate::ir::{Graph, NodeId, Op};
use crate::kernels::{self, View};
use crate::kir::{Kernel, Role};
use crate::target::Target;
pub use choose::{BALANCED_EXTRA, Candidate, Outcome};
use cost::Cost;
use memory::{Memory, Value};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What to prefer where kernels differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimize {
    /// Fewest instructions.
    Speed,
    /// Least flash.
    Size,
    /// Fewest instructions for at most 8 KiB more flash a layer than the smallest kernel takes.
    #[default]
    Balanced,
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What to prefer.
    pub optimize: Optimize,
    /// Bytes of flash that the network may take; the target's if absent.
    pub flash: Option<u64>,
    /// Bytes of RAM that the network may take; the target's if absent.
    pub ram: Option<u64>,
    /// The family to take wherever it accepts, whatever it costs: for measuring and testing.
    pub prefer: Option<&'static str>,
}

/// Bytes of stack that a budget sets aside. Measured: the deepest kernel of the test models takes less than half of it.
pub const STACK_RESERVE: u64 = 1024;

/// A kernel for every node, and a place for every value.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One per node that computes something, in order.
    pub steps: Vec<Step>,
    /// Where values lie, in the order of [`Step::values`].
    pub memory: Memory,
    /// Bytes that the caller's sample and result take.
    pub ports: u64,
}

/// The computation of one node.
#[derive(Clone, Debug)]
pub struct Step {
    /// The node.
    pub node: NodeId,
    /// Its name in the model.
    pub name: String,
    /// Chosen family.
    pub family: &'static str,
    /// The kernel, all passes done.
    pub kernel: Kernel,
    /// What it costs.
    pub cost: Cost,
    /// Every family, the chosen first, then by rank; those that refuse last.
    pub ranking: Vec<Candidate>,
    /// Who makes the operands.
    pub operands: Vec<Place>,
    /// Where the result goes.
    pub result: Place,
    /// Which of the plan's values hold the result and the kernel's scratch buffers, in the order of its parameters; no result
    /// where the caller holds it.
    pub values: Vec<usize>,
}

/// A buffer that a step reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The caller's sample.
    Input,
    /// The caller's result.
    Output,
    /// The result of the step of this number.
    Step(usize),
}

/// Plans `g`, a graph of fused operations, for `target`.
///
/// # Errors
/// If a node has no kernel, or the network exceeds the flash or the RAM: then the largest layers are named.
pub fn plan(g: &Graph, target: &Target, options: &Options) -> Result<Plan> {
    let mut names = Names::default();
    let mut made: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut steps: Vec<Step> = vec![];
    let mut wrong: Vec<Diag> = vec![];
    let computes = |id: &NodeId| !matches!(g.node(*id).op, Op::Input | Op::Output);
    let nodes = g.order().into_iter().filter(computes);
    let nodes: Vec<(NodeId, String)> = nodes.map(|id| (id, names.unique(&g.node(id).name))).collect();
    // Choices do not depend on one another; packing and proving a large network's kernels takes seconds.
    let choose = |(id, name): &(NodeId, String)| choose::candidates(g, *id, name, target, options);
    let found: Vec<_> = nodes.par_iter().map(choose).collect();
    for ((id, _), found) in nodes.into_iter().zip(found) {
        let node = g.node(id);
        let result = match g.users(id).iter().any(|&u| g.node(u).op == Op::Output) {
            true => Place::Output,
            false => Place::Step(steps.len()),
        };
        let place = |operand: &NodeId| match &g.node(*operand).op {
            Op::Input => Place::Input,
            _ => Place::Step(made.get(operand).copied().unwrap_or_default()),
        };
        let operands = g.operands(id).iter().map(place).collect();
        let (ranking, kernel) = match found {
            Ok(found) => found,
            Err(diag) => {
                wrong.extend(diag);
                continue;
            }
        };
        let (family, cost) = ranking[0].chosen();
        made.insert(id, steps.len());
        steps.push(Step {
            node: id,
            name: node.name.clone(),
            family,
            kernel,
            cost,
            ranking,
            operands,
            result,
            values: vec![],
        });
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let values = values(g, &mut steps);
    let memory = memory::arrange(&values);
    memory::check(&values, &memory).map_err(|e| Diag::new(Code::Internal, e))?;
    let ports = g
        .find(|op| matches!(op, Op::Input | Op::Output))
        .into_iter()
        .map(|id| bytes(g, id))
        .sum();
    let plan = Plan { steps, memory, ports };
    budgets(&plan, g, target, options)?;
    Ok(plan)
}

/// The values that the arena holds: what a step makes for a later one, and its kernel's scratch buffers.
fn values(g: &Graph, steps: &mut [Step]) -> Vec<Value> {
    let mut values = vec![];
    for i in 0..steps.len() {
        let reads = |s: &Step| s.operands.contains(&Place::Step(i));
        let last_read = steps.iter().rposition(reads).unwrap_or(i);
        let step = &mut steps[i];
        let first = values.len();
        if step.result != Place::Output {
            let view = job::view(g, step.node);
            values.push(Value {
                ty: view.ty(),
                len: view.elements() as u32,
                from: i,
                to: last_read,
            });
        }
        let scratch = step.kernel.params().filter(|b| b.role == Role::Scratch);
        values.extend(scratch.map(|b| Value {
            ty: b.ty,
            len: b.len,
            from: i,
            to: i,
        }));
        step.values = (first..values.len()).collect();
    }
    values
}

/// Bytes that are in use while `id` is computed, if nothing else is: the caller's sample and result, operands and result.
fn resident(g: &Graph, id: NodeId) -> u64 {
    let caller = |id: NodeId| matches!(g.node(id).op, Op::Input | Op::Output);
    let ports: u64 = g.order().iter().filter(|id| caller(**id)).map(|id| bytes(g, *id)).sum();
    let own = g.operands(id).into_iter().map(|operand| (operand, caller(operand)));
    let own = own.chain([(id, g.users(id).iter().any(|&user| caller(user)))]);
    ports
        + own
            .filter(|(_, caller)| !caller)
            .map(|(id, _)| bytes(g, id))
            .sum::<u64>()
}

fn bytes(g: &Graph, id: NodeId) -> u64 {
    let view: View = job::view(g, id);
    view.elements() as u64 * view.ty().bytes() as u64
}

fn budgets(plan: &Plan, g: &Graph, target: &Target, options: &Options) -> Result<()> {
    let mut wrong = vec![];
    if let Some(flash) = options.flash.or(target.memory.flash) {
        let used = plan.flash();
        if used > flash {
            let of = |s: &Step| (s.name.clone(), s.cost.flash());
            let found = format!(
                "{used} bytes of code and weights, {flash} available; {}",
                largest(plan, of)
            );
            wrong.push(Diag::new(Code::FlashBudget, found));
        }
    }
    if let Some(ram) = options.ram.or(target.memory.ram) {
        let used = plan.ram();
        if used > ram {
            let of = |s: &Step| (s.name.clone(), bytes(g, s.node));
            let found = format!(
                "arena {} + sample and result {} + stack {STACK_RESERVE} = {used} bytes, {ram} available; {}",
                plan.memory.bytes(),
                plan.ports,
                largest(plan, of)
            );
            wrong.push(Diag::new(Code::RamBudget, found));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn largest(plan: &Plan, of: impl Fn(&Step) -> (String, u64)) -> String {
    let mut all: Vec<(String, u64)> = plan.steps.iter().map(of).collect();
    all.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let top: Vec<String> = all
        .iter()
        .take(3)
        .map(|(name, bytes)| format!("{name} {bytes}"))
        .collect();
    format!("largest: {}", top.join(", "))
}

impl Plan {
    /// Bytes of tables and estimated code.
    pub fn flash(&self) -> u64 {
        self.steps.iter().map(|s| s.cost.flash()).sum()
    }

    /// Bytes of arena, the caller's buffers and the stack's reserve.
    pub fn ram(&self) -> u64 {
        self.memory.bytes() + self.ports + STACK_RESERVE
    }
}

/// Kernel names: the layer's, in lower case with underscores, numbered where two are alike.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn unique(&mut self, name: &str) -> String {
        let mut base: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .collect();
        if !base.starts_with(|c: char| c.is_ascii_alphabetic()) {
            base.insert_str(0, "layer_");
        }
        let numbered = (1..).map(|i| if i == 1 { base.clone() } else { format!("{base}_{i}") });
        let unique = numbered
            .into_iter()
            .find(|n| !self.0.contains(n))
            .expect("numbers are endless");
        self.0.insert(unique.clone());
        unique
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, s) in self.steps.iter().enumerate() {
            writeln!(f, "step {i}: {}", s.kernel.doc)?;
            for c in &s.ranking {
                writeln!(f, "  {c}")?;
            }
        }
        writeln!(
            f,
            "flash {} bytes, ram {} bytes, {}",
            self.flash(),
            self.ram(),
            self.memory
        )
    }
}

pub use kernels::FAMILIES;
