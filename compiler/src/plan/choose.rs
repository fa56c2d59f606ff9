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

/// Code that a balanced choice does without even where flash has no limit: more than a first cache of instructions holds. Twice as much is worth half the
/// instructions: a kernel of vectors for a map whose edges are pooled is long (35 KB from 30 to 50 channels on AArch64), but it runs a piece at a time.
pub const BALANCED_CODE: u64 = 32 * 1024;

/// Instructions that fit into the time in which a processor with caches reads a byte that no cache holds, by a rough count: a line of 64
/// bytes takes eight. A dense layer of ten outputs as code is not worth its 20 KB.
const LINE: f64 = 1.0 / 8.0;

/// Bytes of scratch by which a choice may exceed what the network's maps take at most, where memory is scarce and speed is not preferred: RAM
/// is the first that such devices run out of.
pub const BALANCED_SCRATCH: u64 = 4 * 1024;

/// A family's answer to a job.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The family.
    pub family: &'static str,
    /// What it offers.
    pub outcome: Outcome,
    /// What it takes beyond the limits; whatever keeps to them is before it.
    pub excess: Option<Excess>,
}

/// A limit that a kernel exceeds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// RAM that is in use while it runs, and the budget.
    Ram(u64, u64),
    /// Flash that it takes, and what the budget leaves for the layer.
    Share(u64, u64),
    /// Flash beyond what the smallest takes; [`BALANCED_EXTRA`] is allowed.
    Flash(u64),
    /// Scratch, and what is allowed.
    Scratch(u64, u64),
    /// Code, and what is allowed.
    Code(u64, u64),
}

/// What a kernel of a layer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What the choice prefers.
    pub goal: Optimize,
    /// Whether flash has a limit: where it has none, bytes are no reason to be slower.
    pub scarce: bool,
    /// Flash of the smallest kernel.
    pub smallest: u64,
    /// Code that a balanced choice may take.
    pub code: u64,
    /// Flash that the budget leaves for it.
    pub share: u64,
    /// Scratch, unless speed is preferred.
    pub scratch: u64,
    /// RAM in use while it runs, its scratch aside.
    pub resident: u64,
    /// Budget of RAM.
    pub ram: u64,
}

impl Limits {
    /// Scratch that a kernel may take.
    fn room(&self) -> u64 {
        let ram = self.ram.saturating_sub(self.resident);
        match self.goal {
            Optimize::Balanced | Optimize::Size if self.scarce => ram.min(self.scratch),
            _ => ram,
        }
    }

    /// The first limit that a kernel of this cost exceeds.
    pub fn excess(&self, c: &Cost) -> Option<Excess> {
        let (ram, extra) = (self.resident + c.scratch, c.flash().saturating_sub(self.smallest));
        match self.goal == Optimize::Balanced {
            _ if ram > self.ram => Some(Excess::Ram(ram, self.ram)),
            _ if c.flash() > self.share => Some(Excess::Share(c.flash(), self.share)),
            true if self.scarce && extra > BALANCED_EXTRA => Some(Excess::Flash(extra)),
            true if self.scarce && c.scratch > self.scratch => Some(Excess::Scratch(c.scratch, self.scratch)),
            true if c.code > self.code => Some(Excess::Code(c.code, self.code)),
            _ => None,
        }
    }
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
    /// Bytes of flash that it may take.
    pub flash: u64,
    /// Kernels that compute the node's rows, of which this is the most frequent: their code comes with it.
    pub variants: usize,
    /// Bytes of the stack that it may take beyond the reserve, and not for scratch; nothing if it may take none.
    pub stack: Option<u64>,
}

/// What a node's kernel of a family takes of the sum of its operations' prices.
pub(super) fn share(g: &Graph, id: NodeId, family: &str, target: &Target, options: &Options) -> f64 {
    job::class(g, id).map_or(1.0, |class| target.cost.share(options.compiler(), family, class))
}

/// All families' answers, best first, and the best one's kernel.
pub fn candidates(g: &Graph, wanted: &Wanted, target: &Target, options: &Options) -> Result<(Vec<Candidate>, Kernel)> {
    let (id, name, band) = (wanted.node, wanted.name.as_str(), wanted.band);
    let mut limits = Limits {
        goal: options.optimize,
        scarce: options.flash.or(target.memory.flash).is_some(),
        smallest: 0,
        code: BALANCED_CODE,
        share: wanted.flash,
        scratch: wanted.room,
        resident: wanted.resident + super::STACK_RESERVE + wanted.stack.unwrap_or(0),
        ram: options.ram.or(target.memory.ram).unwrap_or(u64::MAX),
    };
    let mut built: Vec<(&'static str, Cost, Kernel)> = vec![];
    let mut refused: Vec<Candidate> = vec![];
    let mut finish = |family, mut kernel: Kernel| {
        pass::run(&mut kernel, target, &mut |_, _| {})?;
        let mut cost = cost::of(&kernel, target, options.compiler());
        cost.instructions *= share(g, id, family, target, options);
        cost.code *= wanted.variants as u64;
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
        let range = job::operand_range(g, g.operands(id)[0], x);
        finish("max pool", pool::build(name, &doc, (x, range), y, &window))?;
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
        let job = job::linear(
            g,
            id,
            name.to_string(),
            band,
            (limits.room(), wanted.stack),
            &target.simd,
        )?;
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
                    excess: None,
                }),
                None => finish(family.name, (family.build)(&job))?,
            }
        }
    }
    limits.smallest = built.iter().map(|(_, c, _)| c.flash()).min().unwrap_or(0);
    let with_reads = |c: &Cost| c.instructions + LINE * c.flash() as f64;
    let fewest = |code: u64| {
        let limits = Limits { code, ..limits };
        let within = built.iter().filter(|(_, c, _)| limits.excess(c).is_none());
        within.map(|(_, c, _)| with_reads(c)).fold(f64::INFINITY, f64::min)
    };
    if fewest(2 * BALANCED_CODE) <= fewest(BALANCED_CODE) / 2.0 {
        limits.code = 2 * BALANCED_CODE;
    }
    let rank = |c: &Cost| {
        let (goal, then) = match options.optimize {
            Optimize::Size => (c.flash() as f64, c.instructions),
            Optimize::Balanced if !limits.scarce => (with_reads(c), c.flash() as f64),
            _ => (c.instructions, c.flash() as f64),
        };
        // Where nothing fits, what is nearest to it: an error then says what the network needs at least.
        let (over, beyond) = match limits.excess(c) {
            Some(Excess::Ram(needs, available)) => ([needs - available, 0], true),
            Some(Excess::Share(takes, available)) => ([0, takes - available], true),
            excess => ([0, 0], excess.is_some()),
        };
        (over, beyond, goal, then)
    };
    built.sort_by(|(_, a, _), (_, b, _)| rank(a).partial_cmp(&rank(b)).expect("costs are numbers"));
    let mut ranking: Vec<Candidate> = built
        .iter()
        .map(|(family, cost, _)| Candidate {
            family,
            outcome: Outcome::Builds(*cost),
            excess: limits.excess(cost),
        })
        .collect();
    ranking.extend(refused);
    let (_, _, kernel) = built.into_iter().next().expect("a family refuses nothing");
    Ok((ranking, kernel))
}
