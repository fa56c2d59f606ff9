//! A step of the plan: a node with its kernel, or several nodes that are computed row by row.

use super::choose::{self, BALANCED_SCRATCH, Candidate, Excess, Outcome, Wanted};
use super::cost::{self, Cost};
use super::job::{self, Band};
use super::stream::{self, Event, Keep, Rows};
use super::{Allowance, Names, Options, Place, bytes, resident};
use crate::diag::Result;
use crate::ir::{Graph, NodeId};
use crate::kernels::View;
use crate::kir::build::{Builder, idx};
use crate::kir::{Kernel, Role, Ty, pass, share_tables};
use crate::target::{Lang, OptLevel, Target};

/// What is computed before the next value of the arena is whole: one node, or several row by row.
#[derive(Clone, Debug)]
pub struct Step {
    /// The nodes, in order; each but the first reads the one before.
    pub layers: Vec<Layer>,
    /// Kernels, all passes done.
    pub kernels: Vec<Kernel>,
    /// Their calls, in order.
    pub calls: Vec<Call>,
    /// Buffers of the arena beside operands and result: scratch, and rows of the maps between the layers.
    pub slots: Vec<(Ty, u32)>,
    /// Who makes the operands.
    pub operands: Vec<Place>,
    /// Where the result goes.
    pub result: Place,
    /// Which of the plan's values hold the result, unless the caller holds it, and the slots.
    pub values: Vec<usize>,
}

/// The computation of one node.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The node.
    pub node: NodeId,
    /// Its name in the model.
    pub name: String,
    /// Chosen family.
    pub family: &'static str,
    /// Index of its kernel in [`Step::kernels`]; where a map has padding, there are others for its edges.
    pub kernel: usize,
    /// What it costs, all calls together.
    pub cost: Cost,
    /// Every family, the chosen first, then by rank; those that refuse last.
    pub ranking: Vec<Candidate>,
    /// Bytes of its result that are kept at a time.
    pub bytes: u64,
}

impl Layer {
    /// Whether a faster kernel lost for want of RAM.
    pub fn is_cramped(&self) -> bool {
        let lost = |c: &Candidate| match (c.excess, &c.outcome) {
            (Some(Excess::Ram(..)), Outcome::Builds(cost)) => cost.instructions < self.cost.instructions,
            _ => false,
        };
        self.ranking.iter().any(lost)
    }
}

/// A call of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Index into [`Step::kernels`].
    pub kernel: usize,
    /// One per parameter.
    pub args: Vec<Arg>,
}

/// What is handed to a parameter: a buffer, from an element on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// The operand of this number.
    Operand(usize, u32),
    /// The result.
    Result(u32),
    /// The slot of this number.
    Slot(usize, u32),
}

impl Step {
    /// The layer whose result is the step's.
    ///
    /// # Panics
    /// Never: a step has layers.
    pub fn last(&self) -> &Layer {
        self.layers.last().expect("a step has layers")
    }

    /// Names of its layers.
    pub fn name(&self) -> String {
        self.join(|l| &l.name)
    }

    /// Families of its layers.
    pub fn family(&self) -> String {
        self.join(|l| l.family)
    }

    fn join(&self, of: impl Fn(&Layer) -> &str) -> String {
        self.layers.iter().map(of).collect::<Vec<_>>().join(" + ")
    }

    /// What it costs.
    pub fn cost(&self) -> Cost {
        self.layers.iter().fold(Cost::default(), |sum, l| sum + l.cost)
    }
}

/// A step to build: its nodes, with the names of their kernels.
pub struct Request {
    nodes: Vec<NodeId>,
    /// Bytes of RAM in use while it runs, scratch buffers aside.
    pub resident: u64,
    kernels: Vec<Vec<Variant>>,
    /// Of several nodes, how each takes rows, in what order all is done, and what keeps rows.
    rows: Vec<Rows>,
    events: Vec<Event>,
    keepers: Vec<Keeper>,
}

/// A kernel that keeps rows of a map.
struct Keeper {
    name: String,
    map: usize,
    keep: Keep,
}

/// A kernel to build, and how often it is called.
struct Variant {
    name: String,
    band: Option<Band>,
    calls: usize,
}

/// Asks for `nodes` as one step: one node as a whole, several row by row.
pub fn request(g: &Graph, nodes: &[NodeId], names: &mut Names) -> Request {
    let mut request = Request {
        nodes: nodes.to_vec(),
        resident: resident(g, nodes),
        kernels: vec![],
        rows: vec![],
        events: vec![],
        keepers: vec![],
    };
    if let [node] = nodes {
        let whole = Variant {
            name: names.unique(&g.node(*node).name),
            band: None,
            calls: 1,
        };
        request.kernels.push(vec![whole]);
        return request;
    }
    let rows = |&id: &NodeId| Rows::of(g, id).expect("layers of a step of several have rows");
    request.rows = nodes.iter().map(rows).collect();
    request.events = stream::schedule(&request.rows);
    for (layer, &id) in nodes.iter().enumerate() {
        let base = names.unique(&g.node(id).name);
        let bands = request.events.iter().filter_map(|event| match event {
            Event::Row { layer: l, row, .. } if *l == layer => Some(request.rows[layer].band(*row)),
            _ => None,
        });
        let variants = variants(bands, &base, names);
        request.kernels.push(variants);
    }
    for event in &request.events {
        let Event::Keep { map, keep } = event else { continue };
        let known = request.keepers.iter().any(|k| (k.map, &k.keep) == (*map, keep));
        if !known {
            let of = &request.kernels[map - 1][0].name;
            request.keepers.push(Keeper {
                name: names.unique(&format!("{of}_keep")),
                map: *map,
                keep: keep.clone(),
            });
        }
    }
    request
}

/// Kernels for these parts of a node, one for those that differ by no more than where they lie; the most frequent first.
fn variants(bands: impl Iterator<Item = Band>, base: &str, names: &mut Names) -> Vec<Variant> {
    let mut found: Vec<(Band, usize)> = vec![];
    for band in bands {
        match found.iter_mut().find(|(b, _)| *b == band) {
            Some((_, calls)) => *calls += 1,
            None => found.push((band, 1)),
        }
    }
    found.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
    let variant = |(i, (band, calls)): (usize, (Band, usize))| {
        let name = match band.pads {
            _ if i == 0 => base.to_owned(),
            [_, 0] => names.unique(&format!("{base}_top")),
            [0, _] => names.unique(&format!("{base}_bottom")),
            _ => names.unique(&format!("{base}_part")),
        };
        Variant {
            name,
            band: Some(band),
            calls,
        }
    };
    found.into_iter().enumerate().map(variant).collect()
}

/// Builds what was asked for; no step's maps take more than `peak` bytes. Where operands and result lie is left open.
pub fn build(
    g: &Graph,
    request: &Request,
    peak: u64,
    allowance: &Allowance,
    target: &Target,
    options: &Options,
) -> Result<Step> {
    let mut step = Step {
        layers: vec![],
        kernels: vec![],
        calls: vec![],
        slots: vec![],
        operands: vec![],
        result: Place::Output,
        values: vec![],
    };
    let streamed = request.nodes.len() > 1;
    let room = BALANCED_SCRATCH + peak - request.resident;
    for (i, (&node, variants)) in request.nodes.iter().zip(&request.kernels).enumerate() {
        let first = step.kernels.len();
        let mut options = *options;
        let mut ranking = vec![];
        for variant in variants {
            let wanted = Wanted {
                node,
                band: variant.band,
                name: variant.name.clone(),
                resident: request.resident,
                room,
                flash: allowance.flash.get(&node).copied().unwrap_or(u64::MAX),
                variants: variants.len(),
                stack: allowance.stack,
            };
            let (found, kernel) = choose::candidates(g, &wanted, target, &options)?;
            if ranking.is_empty() {
                // The edges of a map share the tables of the rest.
                options.prefer = Some(found[0].family);
                ranking = found;
            }
            step.kernels.push(kernel);
        }
        share_tables(&mut step.kernels[first..]);
        let share = choose::share(g, node, ranking[0].family, target, &options);
        let mut cost = Cost::default();
        for (variant, kernel) in variants.iter().zip(&step.kernels[first..]) {
            let mut of_one = cost::of(kernel, target, options.compiler());
            of_one.instructions *= share * variant.calls as f64;
            cost = cost + of_one;
        }
        let rows: usize = variants.iter().map(|v| v.calls).sum();
        ranking.iter_mut().for_each(|c| c.times(rows));
        step.layers.push(Layer {
            node,
            name: g.node(node).name.clone(),
            family: ranking[0].family,
            kernel: first,
            cost,
            ranking,
            bytes: match i + 1 < request.nodes.len() {
                true => stream::kept(g, node, request.nodes[i + 1]),
                false => bytes(g, node),
            },
        });
    }
    match streamed {
        false => call_whole(&mut step),
        true => call_rows(g, request, (target, options.compiler()), &mut step)?,
    }
    Ok(step)
}

/// The arguments of a call: scratch buffers are slots, which the calls of a step share.
fn arguments(
    kernel: &Kernel,
    slots: &mut Vec<(Ty, u32)>,
    first: usize,
    mut operand: impl FnMut() -> Arg,
    result: Arg,
) -> Vec<Arg> {
    let mut taken = vec![];
    let mut slot = |ty: Ty, len: u32| {
        let free = (first..slots.len()).find(|i| slots[*i].0 == ty && !taken.contains(i));
        let at = free.unwrap_or_else(|| {
            slots.push((ty, 0));
            slots.len() - 1
        });
        slots[at].1 = slots[at].1.max(len);
        taken.push(at);
        Arg::Slot(at, 0)
    };
    let arg = |b: &crate::kir::BufDecl| match b.role {
        Role::In => operand(),
        Role::Scratch => slot(b.ty, b.len),
        _ => result,
    };
    kernel.params().map(arg).collect()
}

fn call_whole(step: &mut Step) {
    let mut operands = (0..).map(|i| Arg::Operand(i, 0));
    let operand = || operands.next().expect("endless");
    let args = arguments(&step.kernels[0], &mut step.slots, 0, operand, Arg::Result(0));
    step.calls.push(Call { kernel: 0, args });
}

/// The calls of layers that are computed row by row, and the kernels that keep rows.
fn call_rows(
    g: &Graph,
    request: &Request,
    (target, compiler): (&Target, (Lang, OptLevel)),
    step: &mut Step,
) -> Result<()> {
    let (nodes, rows) = (&request.nodes, &request.rows);
    // Map 0 is the operand, map i the result of layer i - 1; the slots of those between come first.
    let maps = g.operands(nodes[0]).into_iter().take(1).chain(nodes.iter().copied());
    let views: Vec<View> = maps.map(|id| job::view(g, id)).collect();
    let between = 1..nodes.len();
    let slot = |map: usize| (views[map].ty(), (rows[map].most() * views[map].row()) as u32);
    step.slots = between.clone().map(slot).collect();
    let place = |map: usize, row: usize| {
        let at = (row * views[map].row()) as u32;
        match map {
            0 => Arg::Operand(0, at),
            _ if map == nodes.len() => Arg::Result(at),
            _ => Arg::Slot(map - 1, at),
        }
    };
    let first_keeper = step.kernels.len();
    for Keeper { name, map, keep } in &request.keepers {
        let maker = &mut step.layers[map - 1];
        let doc = format!("{}: keeps {} rows of {}", maker.name, keep.rows, keep.rows + keep.drop);
        let range = job::operand_range(g, nodes[map - 1], views[*map]);
        let mut kernel = keeper(name, &doc, &views[*map], range, keep);
        pass::run(&mut kernel, target, &mut |_, _| {})?;
        maker.cost.code += cost::of(&kernel, target, compiler).code;
        step.kernels.push(kernel);
    }
    for event in &request.events {
        match event {
            Event::Row { layer, from, row, to } => {
                let band = Some(rows[*layer].band(*row));
                let variant = request.kernels[*layer].iter().position(|v| v.band == band);
                let kernel = step.layers[*layer].kernel + variant.expect("every band has a kernel");
                let (x, y) = (place(*layer, *from), place(layer + 1, *to));
                let args = arguments(&step.kernels[kernel], &mut step.slots, between.len(), || x, y);
                step.calls.push(Call { kernel, args });
            }
            Event::Keep { map, keep } => {
                let keeper = request.keepers.iter().position(|k| (k.map, &k.keep) == (*map, keep));
                let kernel = first_keeper + keeper.expect("all rows have a keeper");
                let cost = cost::of(&step.kernels[kernel], target, compiler);
                step.layers[map - 1].cost.instructions += cost.instructions;
                let args = vec![place(*map, 0)];
                step.calls.push(Call { kernel, args });
            }
        }
    }
    Ok(())
}

/// A kernel that moves the last rows to the front.
fn keeper(name: &str, doc: &str, map: &View, range: (i64, i64), keep: &Keep) -> Kernel {
    let (mut b, row) = (Builder::new(name, doc), map.row());
    let rows = b.param("rows", map.ty(), (keep.drop + keep.rows) * row, Role::InOut, range);
    b.each("i", keep.rows * row, false, |b, i| {
        let v = b.load(rows, i.clone() + idx(keep.drop * row));
        b.store(rows, i, v);
    });
    b.finish()
}
