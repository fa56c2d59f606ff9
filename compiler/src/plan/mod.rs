//! The plan: a kernel for every node, and a place for every value.

mod ceiling;
mod choose;
pub mod cost;
mod job;
pub mod memory;
mod step;
mod stream;

use crate::diag::{Code, Diag, Result};
use crate::ir::{Graph, NodeId, Op};
use crate::kernels::{self, View};
use crate::kir::SHARED_ALIGN;
use crate::target::{Lang, OptLevel, Target};
pub use ceiling::ceiling;
pub use choose::{BALANCED_CODE, BALANCED_EXTRA, Candidate, Excess, Limits, Outcome};
use cost::Cost;
pub use job::class;
use memory::{Memory, Value};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
pub use step::{Arg, Call, Layer, Step};

/// What to prefer where kernels differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimize {
    /// Fewest instructions.
    Speed,
    /// Least flash, and least RAM: layers are computed row by row where that takes less.
    Size,
    /// Fewest instructions for at most 8 KiB more flash a layer than the smallest kernel takes, and 4 KiB more RAM than the maps.
    #[default]
    Balanced,
}

impl Optimize {
    /// What the compilers of generated code are asked for.
    pub fn level(self) -> OptLevel {
        match self {
            Optimize::Size => OptLevel::Size,
            Optimize::Speed | Optimize::Balanced => OptLevel::Speed,
        }
    }
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The language of the code to come: compilers differ in what they make of a kernel.
    pub lang: Lang,
    /// What to prefer.
    pub optimize: Optimize,
    /// Bytes of flash that the network may take; the target's if absent.
    pub flash: Option<u64>,
    /// Bytes of RAM that the network may take; the target's if absent.
    pub ram: Option<u64>,
    /// The family to take wherever it accepts, whatever it costs: for measuring and testing.
    pub prefer: Option<&'static str>,
    /// Whether every layer is computed as a whole, whatever RAM that takes: for measuring and testing kernels.
    pub whole: bool,
}

impl Options {
    /// What builds the generated code.
    fn compiler(&self) -> (Lang, OptLevel) {
        (self.lang, self.optimize.level())
    }
}

/// Bytes of code that a call of a kernel takes, its arguments included: 9 (C) and 11 (Rust) measured on a Cortex-M4, 13 and 15 on
/// RV32IMC, in networks that are computed row by row.
const CALL_CODE: u64 = 15;

/// The share of its instructions that a balanced choice of whole maps may save at least by the code of rows.
const WORTH_ROWS: f64 = 0.1;

/// Bytes of stack that a budget sets aside. Measured: the deepest kernel of the test models takes 604 (LeNet-5 on a Cortex-M0 in Rust).
pub const STACK_RESERVE: u64 = 1024;

/// A kernel for every node, and a place for every value.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In order; together they have every node that computes something.
    pub steps: Vec<Step>,
    /// Where values lie, in the order of [`Step::values`].
    pub memory: Memory,
    /// Bytes that the caller's sample and result take.
    pub ports: u64,
    /// Whether flash has a limit that bears upon choices.
    pub scarce: bool,
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
/// Layers are computed row by row where that takes less RAM, if size is preferred; else where the RAM is exceeded otherwise, or has no
/// room for kernels that would make the network faster.
///
/// # Errors
/// If a node has no kernel, or the network exceeds the flash or the RAM: then the largest layers are named.
pub fn plan(g: &Graph, target: &Target, options: &Options) -> Result<Plan> {
    // A budget that a device without limits does not need is no reason to be slower.
    if let (Some(flash), None) = (options.flash, target.memory.flash) {
        let ample = Options {
            flash: None,
            ..*options
        };
        if let Ok(plan) = plan_within(g, target, &ample)
            && plan.flash() <= flash
        {
            return Ok(plan);
        }
    }
    plan_within(g, target, options)
}

fn plan_within(g: &Graph, target: &Target, options: &Options) -> Result<Plan> {
    let computes = |id: &NodeId| !matches!(g.node(*id).op, Op::Input | Op::Output);
    let nodes: Vec<NodeId> = g.order().into_iter().filter(computes).collect();
    let each: Vec<Range<usize>> = (0..nodes.len()).map(|i| i..i + 1).collect();
    let mut plan = within_budgets(g, &nodes, &each, target, options)?;
    let ram = options.ram.or(target.memory.ram).unwrap_or(u64::MAX);
    // Row by row there may be room for faster kernels.
    let cramped = plan.layers().any(Layer::is_cramped);
    if !options.whole && (options.optimize == Optimize::Size || plan.ram() > ram || cramped) {
        let scratch: Vec<u64> = plan.steps.iter().map(|s| s.cost().scratch).collect();
        let groups = stream::groups(g, &nodes, &scratch);
        if groups != each {
            // Where size is preferred rows are to take less RAM, and not to lose it to their kernels' scratch.
            let room = match options.optimize {
                Optimize::Size => Some(ram.min(plan.ram())),
                _ => options.ram,
            };
            let frugal = Options { ram: room, ..*options };
            let by_rows = within_budgets(g, &nodes, &groups, target, &frugal)?;
            let flash = options.flash.or(target.memory.flash).unwrap_or(u64::MAX);
            let better = by_rows.rank(ram, options) < plan.rank(ram, options);
            let balanced = options.optimize == Optimize::Balanced && plan.ram() <= ram;
            let most = match balanced {
                true => flash.min(plan.flash() + BALANCED_EXTRA),
                false => flash,
            };
            let worth = !balanced || by_rows.instructions() < (1.0 - WORTH_ROWS) * plan.instructions();
            if better && worth && by_rows.flash() <= most.max(plan.flash()) {
                plan = by_rows;
            }
        }
    }
    budgets(&plan, target, options)?;
    Ok(plan)
}

/// What the network as a whole leaves to a kernel.
struct Allowance {
    /// Flash that a node's kernel may take, where that is not all that it wants.
    flash: BTreeMap<NodeId, u64>,
    /// Bytes of the stack beyond the reserve that some kernel takes: all may use them, and none has them for scratch. Nothing if no
    /// kernel may take more than the reserve.
    stack: Option<u64>,
}

/// Builds the steps, with smaller kernels where the fastest exceed the flash together, and with less scratch where one takes more of the
/// stack than is reserved.
fn within_budgets(
    g: &Graph,
    nodes: &[NodeId],
    groups: &[Range<usize>],
    target: &Target,
    options: &Options,
) -> Result<Plan> {
    let flash = options.flash.or(target.memory.flash).unwrap_or(u64::MAX);
    let ram = options.ram.or(target.memory.ram).unwrap_or(u64::MAX);
    let build = |stack| {
        let mut allowance = Allowance {
            flash: BTreeMap::new(),
            stack,
        };
        let plan = assemble(g, nodes, groups, &allowance, target, options)?;
        allowance.flash = shares(&plan, flash);
        match options.prefer.is_some() || allowance.flash.is_empty() {
            true => Ok(plan),
            false => assemble(g, nodes, groups, &allowance, target, options),
        }
    };
    let plan = build(Some(0))?;
    let extra = plan.stack() - STACK_RESERVE;
    if extra == 0 || plan.ram() <= ram {
        return Ok(plan);
    }
    // The scratch of the others makes room for such a kernel, or there is none for it.
    let [deep, flat] = [build(Some(extra))?, build(None)?];
    Ok(match deep.rank(ram, options) <= flat.rank(ram, options) {
        true => deep,
        false => flat,
    })
}

/// Flash for each layer until all fit into so many bytes, or take the least that RAM allows. Time and again that kernel is replaced of
/// which a byte less costs the fewest instructions; what is left in the end goes where it saves most. Kernels beyond what a balanced
/// choice allows itself are taken where the others do not fit.
fn shares(plan: &Plan, flash: u64) -> BTreeMap<NodeId, u64> {
    let mut shares = BTreeMap::new();
    let flash = i64::try_from(flash.saturating_sub(plan.code_of_calls())).unwrap_or(i64::MAX);
    let total = |chosen: &[Cost]| chosen.iter().map(Cost::flash).sum::<u64>() as i64;
    let mut chosen: Vec<Cost> = plan.layers().map(|l| l.cost).collect();
    if total(&chosen) <= flash {
        return shares;
    }
    for within in [true, false] {
        let offers = |layer: &Layer| -> Vec<Cost> {
            let builds = layer.ranking.iter().filter_map(|c| match (&c.outcome, c.excess) {
                (Outcome::Refuses(_), _) | (_, Some(Excess::Ram(..))) => None,
                (_, Some(_)) if within => None,
                (Outcome::Builds(cost), _) => Some(*cost),
            });
            builds.chain([layer.cost]).collect()
        };
        let layers: Vec<(NodeId, Vec<Cost>)> = plan.layers().map(|l| (l.node, offers(l))).collect();
        while let Some((at, cost)) = exchange(&layers, &chosen, flash - total(&chosen)) {
            chosen[at] = cost;
            shares.insert(layers[at].0, cost.flash());
        }
        if total(&chosen) <= flash {
            break;
        }
    }
    shares
}

/// The layer and its kernel to take instead of the one that is chosen, with so many bytes left, or too few by so many.
fn exchange(layers: &[(NodeId, Vec<Cost>)], chosen: &[Cost], left: i64) -> Option<(usize, Cost)> {
    // Instructions that a byte costs, or saves.
    let price = |now: &Cost, next: &Cost| {
        (next.instructions - now.instructions) / (now.flash() as f64 - next.flash() as f64).abs()
    };
    let fits = |now: &Cost, next: &Cost| match left < 0 {
        true => next.flash() < now.flash(),
        false => next.instructions < now.instructions && next.flash() as i64 - now.flash() as i64 <= left,
    };
    let all = layers.iter().zip(chosen).enumerate();
    let all = all.flat_map(|(at, ((_, offers), now))| {
        let offers = offers.iter().filter(move |next| fits(now, next));
        offers.map(move |next| (price(now, next), at, *next))
    });
    let (_, at, cost) = all.min_by(|(a, ..), (b, ..)| a.total_cmp(b))?;
    Some((at, cost))
}

/// Builds the steps, each of a range of nodes, and gives their values a place.
fn assemble(
    g: &Graph,
    nodes: &[NodeId],
    groups: &[Range<usize>],
    allowance: &Allowance,
    target: &Target,
    options: &Options,
) -> Result<Plan> {
    let mut names = Names::default();
    let requests: Vec<_> = groups
        .iter()
        .map(|group| step::request(g, &nodes[group.clone()], &mut names))
        .collect();
    let peak = requests.iter().map(|r| r.resident).max().unwrap_or(0);
    // Choices do not depend on one another; packing and proving a large network's kernels takes seconds.
    let build = |request| step::build(g, request, peak, allowance, target, options);
    let built: Vec<_> = requests.par_iter().map(build).collect();
    let (mut steps, mut wrong): (Vec<Step>, Vec<Diag>) = (vec![], vec![]);
    for step in built {
        match step {
            Ok(step) => steps.push(step),
            Err(diag) => wrong.extend(diag),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let maker = |operand: &NodeId| match &g.node(*operand).op {
        Op::Input => Place::Input,
        _ => Place::Step(steps.iter().position(|s| s.last().node == *operand).unwrap_or_default()),
    };
    let operands: Vec<Vec<Place>> = steps
        .iter()
        .map(|s| g.operands(s.layers[0].node).iter().map(maker).collect())
        .collect();
    for (i, (step, operands)) in steps.iter_mut().zip(operands).enumerate() {
        step.operands = operands;
        step.result = match stream::caller_holds(g, step.last().node) {
            true => Place::Output,
            false => Place::Step(i),
        };
    }
    let values = values(g, &mut steps);
    let memory = memory::arrange(&values, steps.iter().all(on_words));
    memory::check(&values, &memory).map_err(|e| Diag::new(Code::Internal, e))?;
    let ports = g
        .find(|op| matches!(op, Op::Input | Op::Output))
        .into_iter()
        .map(|id| bytes(g, id))
        .sum();
    Ok(Plan {
        steps,
        memory,
        ports,
        scarce: options.flash.or(target.memory.flash).is_some(),
    })
}

/// Whether all that a step's kernels are handed begins at a word, wherever the arena has the buffers.
fn on_words(step: &Step) -> bool {
    let args = step
        .calls
        .iter()
        .flat_map(|c| step.kernels[c.kernel].params().zip(&c.args));
    args.into_iter().all(|(param, arg)| match arg {
        Arg::Operand(_, at) | Arg::Result(at) | Arg::Slot(_, at) => {
            (at * param.ty.bytes()).is_multiple_of(SHARED_ALIGN)
        }
    })
}

/// The last of `nodes` that reads `id`; itself if none does.
fn last_use(g: &Graph, nodes: &[NodeId], id: NodeId) -> usize {
    let own = nodes.iter().position(|n| *n == id).unwrap_or_default();
    let users = g.users(id);
    nodes.iter().rposition(|n| users.contains(n)).unwrap_or(own)
}

/// The values that the arena holds: what a step makes for a later one, and its slots.
fn values(g: &Graph, steps: &mut [Step]) -> Vec<Value> {
    let mut values = vec![];
    for i in 0..steps.len() {
        let reads = |s: &Step| s.operands.contains(&Place::Step(i));
        let last_read = steps.iter().rposition(reads).unwrap_or(i);
        let step = &mut steps[i];
        let first = values.len();
        if step.result != Place::Output {
            let view = job::view(g, step.last().node);
            values.push(Value {
                ty: view.ty(),
                len: view.elements() as u32,
                from: i,
                to: last_read,
            });
        }
        values.extend(step.slots.iter().map(|&(ty, len)| Value {
            ty,
            len,
            from: i,
            to: i,
        }));
        step.values = (first..values.len()).collect();
    }
    values
}

/// Bytes that are in use while `nodes` are computed, as one step, if nothing else is: the caller's sample and result, operands, what
/// is kept of the maps between the nodes, and result.
fn resident(g: &Graph, nodes: &[NodeId]) -> u64 {
    let port = |id: &NodeId| matches!(g.node(*id).op, Op::Input | Op::Output);
    let ports = g.order().into_iter().filter(port);
    let operands = g.operands(nodes[0]).into_iter().filter(|id| !port(id));
    let result = nodes.last().copied().filter(|id| !stream::caller_holds(g, *id));
    let whole: u64 = ports.chain(operands).chain(result).map(|id| bytes(g, id)).sum();
    let between = nodes.windows(2).map(|pair| stream::kept(g, pair[0], pair[1]));
    whole + between.sum::<u64>()
}

fn bytes(g: &Graph, id: NodeId) -> u64 {
    let view: View = job::view(g, id);
    view.elements() as u64 * view.ty().bytes() as u64
}

fn budgets(plan: &Plan, target: &Target, options: &Options) -> Result<()> {
    let mut wrong = vec![];
    if let Some(flash) = options.flash.or(target.memory.flash) {
        let used = plan.flash();
        if used > flash {
            let of = |l: &Layer| (l.name.clone(), l.cost.flash());
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
            let of = |l: &Layer| (l.name.clone(), l.bytes);
            let found = format!(
                "arena {} + sample and result {} + stack {} = {used} bytes, {ram} available; {}",
                plan.memory.bytes(),
                plan.ports,
                plan.stack(),
                largest(plan, of)
            );
            wrong.push(Diag::new(Code::RamBudget, found));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn largest(plan: &Plan, of: impl Fn(&Layer) -> (String, u64)) -> String {
    let mut all: Vec<(String, u64)> = plan.layers().map(of).collect();
    all.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let top: Vec<String> = all
        .iter()
        .take(3)
        .map(|(name, bytes)| format!("{name} {bytes}"))
        .collect();
    format!("largest: {}", top.join(", "))
}

impl Plan {
    /// Every layer, in order.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.steps.iter().flat_map(|s| &s.layers)
    }

    /// Bytes of tables and estimated code.
    pub fn flash(&self) -> u64 {
        self.layers().map(|l| l.cost.flash()).sum::<u64>() + self.code_of_calls()
    }

    /// Estimated code of the function that calls the kernels.
    fn code_of_calls(&self) -> u64 {
        CALL_CODE * self.steps.iter().map(|s| s.calls.len() as u64).sum::<u64>()
    }

    /// Estimated instructions.
    fn instructions(&self) -> f64 {
        self.layers().map(|l| l.cost.instructions).sum()
    }

    /// Step `i`'s calls among those of all steps.
    pub fn calls(&self, i: usize) -> Range<usize> {
        let first = self.steps[..i].iter().map(|s| s.calls.len()).sum();
        first..first + self.steps[i].calls.len()
    }

    /// The less the better: bytes beyond a budget of RAM, and what is to be little.
    fn rank(&self, ram: u64, options: &Options) -> (u64, f64) {
        let goal = match options.optimize {
            Optimize::Size => self.ram() as f64,
            _ => self.instructions(),
        };
        (self.ram().saturating_sub(ram), goal)
    }

    /// Bytes that are reserved for the stack.
    pub fn stack(&self) -> u64 {
        STACK_RESERVE + self.layers().map(|l| l.cost.stack).max().unwrap_or(0)
    }

    /// Bytes of arena, the caller's buffers and the stack's reserve.
    pub fn ram(&self) -> u64 {
        self.memory.bytes() + self.ports + self.stack()
    }
}

/// Kernel names: the layer's, in lower case with single underscores, numbered where two are alike or the package has the name.
#[derive(Default)]
struct Names(BTreeSet<String>);

/// What packages call functions and types of their own; `min_i32` and its like have a type's name behind.
const TAKEN: &str = "arena fence infer popcount selftest";
const TAKEN_OF_TYPES: &str = "max min saturate shr to";

fn is_taken(name: &str) -> bool {
    let of_type = |(verb, ty): (&str, &str)| {
        let number = ty.strip_prefix(['i', 'u', 'f']);
        TAKEN_OF_TYPES.split(' ').any(|t| t == verb) && number.is_some_and(|n| n.parse::<u8>().is_ok())
    };
    TAKEN.split(' ').any(|t| t == name) || name.split_once('_').is_some_and(of_type)
}

impl Names {
    fn unique(&mut self, name: &str) -> String {
        let words = name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|w| !w.is_empty());
        let mut base = words.collect::<Vec<_>>().join("_").to_ascii_lowercase();
        if !base.starts_with(|c: char| c.is_ascii_alphabetic()) {
            base = format!("layer_{base}").trim_end_matches('_').to_owned();
        }
        let numbered = (1..).map(|i| if i == 1 { base.clone() } else { format!("{base}_{i}") });
        let unique = numbered
            .into_iter()
            .find(|n| !self.0.contains(n) && !is_taken(n))
            .expect("numbers are endless");
        self.0.insert(unique.clone());
        unique
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, s) in self.steps.iter().enumerate() {
            for layer in &s.layers {
                writeln!(f, "step {i}: {}", s.kernels[layer.kernel].doc)?;
                for c in &layer.ranking {
                    writeln!(f, "  {c}")?;
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_both_languages_that_packages_leave_free() {
        let mut names = Names::default();
        for (layer, kernel) in [
            ("/conv1/Conv", "conv1_conv"),
            ("conv1.conv", "conv1_conv_2"),
            ("3rd", "layer_3rd"),
            ("層", "layer"),
            ("arena", "arena_2"),
            ("Min_i32", "min_i32_2"),
            ("min_pool", "min_pool"),
        ] {
            assert_eq!(names.unique(layer), kernel);
        }
    }
}
