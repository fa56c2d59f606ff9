//! The cheapest kernel that accepts a job. Knows no kernel by name.

use super::cost::{self, Cost};
use super::{Optimize, Options, job};
use crate::diag::{Diag, Result};
use crate::ir::{Graph, NodeId, Op, range};
use crate::kernels::{FAMILIES, join, pool};
use crate::kir::{Kernel, pass};
use crate::target::Target;
use std::fmt;

/// More flash than the smallest kernel that a balanced choice may take for a layer.
pub const BALANCED_EXTRA: u64 = 8 * 1024;

/// Code that a balanced choice does without even where flash has no limit: more than a first cache of instructions holds.
pub const BALANCED_CODE: u64 = 32 * 1024;

/// A family's answer to a job.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The family.
    pub family: &'static str,
    /// What it offers.
    pub outcome: Outcome,
}

/// What a family offers.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A kernel at this cost.
    Builds(Cost),
    /// Nothing, for this reason.
    Refuses(String),
}

impl Candidate {
    /// Name and cost of a candidate that builds.
    ///
    /// # Panics
    /// If it refuses.
    pub fn chosen(&self) -> (&'static str, Cost) {
        match &self.outcome {
            Outcome::Builds(cost) => (self.family, *cost),
            Outcome::Refuses(why) => unreachable!("{} was chosen, but refuses: {why}", self.family),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Builds(c) => write!(
                f,
                "{:<9} {:>12.0} instructions, {} bytes of tables, about {} of code",
                self.family, c.instructions, c.tables, c.code
            ),
            Outcome::Refuses(why) => write!(f, "{:<9} {why}", self.family),
        }
    }
}

/// All families' answers, best first, and the best one's kernel.
pub fn candidates(
    g: &Graph,
    id: NodeId,
    name: &str,
    target: &Target,
    options: &Options,
) -> Result<(Vec<Candidate>, Kernel)> {
    let mut built: Vec<(&'static str, Cost, Kernel)> = vec![];
    let mut refused: Vec<Candidate> = vec![];
    let mut finish = |family, mut kernel: Kernel| {
        pass::run(&mut kernel, target, &mut |_, _| {})?;
        let mut cost = cost::of(&kernel, &target.cost);
        cost.instructions *= target.cost.family(family);
        built.push((family, cost, kernel));
        Ok::<(), Vec<Diag>>(())
    };
    if let Op::MaxPool(window) = &g.node(id).op {
        let (x, y) = (job::view(g, g.operands(id)[0]), job::view(g, id));
        finish("max pool", pool::build(name, &job::describe(g, id), x, y, window))?;
    } else if let Op::Join(join) = &g.node(id).op {
        let operands = [0, 1].map(|i| g.operands(id)[i]);
        let x = operands.map(|o| job::view(g, o));
        let bounds = operands.map(|o| range::values(g, o).unwrap_or((0, 0)));
        let y = job::view(g, id);
        finish("join", join::build(name, &job::describe(g, id), x, bounds, y, join))?;
    } else {
        let job = job::linear(g, id, name.to_string(), &target.simd)?;
        for family in FAMILIES {
            match (family.refuses)(&job) {
                Some(why) => refused.push(Candidate {
                    family: family.name,
                    outcome: Outcome::Refuses(why),
                }),
                None => finish(family.name, (family.build)(&job))?,
            }
        }
    }
    let smallest = built.iter().map(|(_, c, _)| c.flash()).min().unwrap_or(0);
    // Where flash has no limit, bytes are no reason to be slower.
    let scarce = options.flash.or(target.memory.flash).is_some();
    let too_big = |c: &Cost| {
        options.optimize == Optimize::Balanced
            && (c.code > BALANCED_CODE || scarce && c.flash() > smallest + BALANCED_EXTRA)
    };
    let room = options.ram.or(target.memory.ram).unwrap_or(u64::MAX);
    let resident = super::resident(g, id) + super::STACK_RESERVE;
    let rank = |c: &Cost| {
        let (goal, then) = match options.optimize {
            Optimize::Size => (c.flash() as f64, c.instructions),
            _ => (c.instructions, c.flash() as f64),
        };
        (resident + c.scratch > room, too_big(c), goal, then)
    };
    let key = |family: &str, c: &Cost| (options.prefer != Some(family), rank(c));
    built.sort_by(|(f, a, _), (g, b, _)| key(f, a).partial_cmp(&key(g, b)).expect("costs are numbers"));
    let mut ranking: Vec<Candidate> = built
        .iter()
        .map(|(family, cost, _)| Candidate {
            family,
            outcome: Outcome::Builds(*cost),
        })
        .collect();
    ranking.extend(refused);
    let (_, _, kernel) = built.into_iter().next().expect("a family refuses nothing");
    Ok((ranking, kernel))
}
