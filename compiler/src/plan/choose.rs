//! The cheapest kernel that accepts a job. Knows no kernel by name.

use super::cost::{self, Cost};
use super::job::{self, Band};
use super::{Optimize, Options};
use crate::diag::{Diag, Result};
use crate::ir::{Graph, NodeId, Op, range};
use crate::kernels::{FAMILIES, Family, join, pool};
use crate::kir::{Kernel, pass};
use crate::target::Target;
use std::fmt;

/// More flash than the smallest kernel that a balanced choice may take for a layer.
pub const BALANCED_EXTRA: u64 = 8 * 1024;

/// Code that a balanced choice does without even where flash has no limit: more than a first cache of instructions holds.
pub const BALANCED_CODE: u64 = 32 * 1024;

/// Bytes of scratch by which a balanced choice may exceed what the network's maps take at most, where memory is scarce: RAM is the
/// first that such devices run out of.
pub const BALANCED_SCRATCH: u64 = 4 * 1024;

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
    /// Makes the cost of one call that of so many.
    pub(super) fn times(&mut self, calls: usize) {
        if let Outcome::Builds(cost) = &mut self.outcome {
            cost.instructions *= calls as f64;
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

/// What to find a kernel for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The node.
    pub node: NodeId,
    /// The part of it; all if absent.
    pub band: Option<Band>,
    /// Name of the kernel.
    pub name: String,
    /// Bytes of RAM that are in use while it runs, its scratch buffers aside.
    pub resident: u64,
    /// Bytes of scratch that a balanced choice may take where memory is scarce.
    pub room: u64,
}

/// All families' answers, best first, and the best one's kernel.
pub fn candidates(g: &Graph, wanted: &Wanted, target: &Target, options: &Options) -> Result<(Vec<Candidate>, Kernel)> {
    let (id, name, band) = (wanted.node, wanted.name.as_str(), wanted.band);
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
        let (mut x, mut y, mut window) = (job::view(g, g.operands(id)[0]), job::view(g, id), *window);
        if let Some(band) = band {
            (x, y) = (x.rows(band.rows), y.rows(1));
            [window.pads[0], window.pads[2]] = band.pads;
        }
        let doc = job::describe(g, id, band);
        finish("max pool", pool::build(name, &doc, x, y, &window))?;
    } else if let Op::Join(join) = &g.node(id).op {
        let operands = [0, 1].map(|i| g.operands(id)[i]);
        let x = operands.map(|o| job::view(g, o));
        let bounds = operands.map(|o| range::values(g, o).unwrap_or((0, 0)));
        let y = job::view(g, id);
        finish(
            "join",
            join::build(name, &job::describe(g, id, None), x, bounds, y, join),
        )?;
    } else {
        let job = job::linear(g, id, name.to_string(), band, &target.simd)?;
        let refusals: Vec<Option<String>> = FAMILIES.iter().map(|f| (f.refuses)(&job)).collect();
        let preferred = |(f, why): (&Family, &Option<String>)| why.is_none() && options.prefer == Some(f.name);
        let settled = FAMILIES.iter().zip(&refusals).any(preferred);
        for (family, why) in FAMILIES.iter().zip(refusals) {
            // Building takes time, and nobody asks for the others.
            let other = settled && options.prefer != Some(family.name);
            match why.or_else(|| other.then(|| "another is preferred".into())) {
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
    let over = |c: &Cost| c.flash() > smallest + BALANCED_EXTRA || c.scratch > wanted.room;
    let too_big = |c: &Cost| options.optimize == Optimize::Balanced && (c.code > BALANCED_CODE || scarce && over(c));
    let room = options.ram.or(target.memory.ram).unwrap_or(u64::MAX);
    let resident = wanted.resident + super::STACK_RESERVE;
    let rank = |c: &Cost| {
        let (goal, then) = match options.optimize {
            Optimize::Size => (c.flash() as f64, c.instructions),
            _ => (c.instructions, c.flash() as f64),
        };
        // Where nothing fits, what is nearest to it: an error then says what the network needs at least.
        let over = (resident + c.scratch).saturating_sub(room);
        (over, too_big(c), goal, then)
    };
    built.sort_by(|(_, a, _), (_, b, _)| rank(a).partial_cmp(&rank(b)).expect("costs are numbers"));
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
