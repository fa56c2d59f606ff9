//! [`Op::Add`] with a quantizer behind it: `(a * mul[0] + b * mul[1] + add) >> shift`, equal to the real quantizer at every pair of
//! reachable operands.
//!
//! The operands are stored integers, or the sums of a layer, which go on as they are. For each value of the operand with the
//! smaller range, the quantizer is a staircase over the other, whose edges are solved exactly; each edge bounds `add` from both
//! sides, and ties go to the even result, as in [`super::exact_requant`]. 64-bit factors leave room: an edge's distance from the nearest pair is a small share of
//! a step, a factor's rounding error 2^-40 of one.

use super::function::Function;
use super::layer::{Input, Layer, end, not_fused, steps};
use super::rewrite::{operand, user};
use super::ties::{self, Sides};
use crate::diag::{Diag, Result};
use crate::ir::exact::{Edge, Line, Plane, Q, Quantum, integer};
use crate::ir::{Elem, Epilogue, Graph, Join, NodeId, Op, Ties, Ty, range};
use num_traits::Zero;
use rayon::prelude::*;
use std::cmp::Ordering;

pub(super) fn run(g: &mut Graph) -> Result<()> {
    let mut found = Vec::new();
    for add in g.find(|op| *op == Op::Add) {
        if let (_, Some(quantizer)) = end(g, add)
            && matches!(g.node(quantizer).op, Op::Quantize { .. } | Op::Sign)
            && let Err(diag) = fuse(g, add, quantizer)
        {
            found.push(diag);
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Values of the operand that is enumerated; beyond this a network takes minutes to compile.
const MOST_VALUES: i64 = 1 << 16;

fn fuse(g: &mut Graph, add: NodeId, quantizer: NodeId) -> std::result::Result<(), Diag> {
    let channels = g.node(add).ty.chw()[0];
    let operands = g.operands(add);
    let branches = [
        branch(g, add, operands[0], channels)?,
        branch(g, add, operands[1], channels)?,
    ];
    let quantum = Quantizer::of(g, add, quantizer)?;

    let span = |b: &Branch| b.bounds.iter().map(|(lo, hi)| hi - lo + 1).max().unwrap_or(0);
    let wide = usize::from(span(&branches[1]) > span(&branches[0]));
    let [x, y] = [&branches[wide], &branches[1 - wide]];
    if x.lines.iter().any(|l| l.direction() == Ordering::Less) {
        let found = "it adds a stored value times a negative factor".into();
        return Err(not_fused(g, add, found).help("give the factor to the quantizer before it"));
    }
    if span(y) > MOST_VALUES {
        let found = format!("both its operands have more than {MOST_VALUES} values");
        return Err(not_fused(g, add, found).help("quantise the shortcut's result, or its weights to fewer bits"));
    }

    let planes: Vec<Plane> = x.lines.iter().zip(&y.lines).map(|(x, y)| Plane::new(x, y)).collect();
    let shift = quantum.shift(&planes, x, y);
    let solve = |c: usize| quantum.form(&planes[c], x.bounds[c], y.bounds[c], shift);
    let forms: Option<Vec<Form>> = (0..channels).into_par_iter().map(solve).collect();
    let found = forms.and_then(|forms| Some((quantum.addends(&forms, shift)?, forms)));
    let ((addends, ties), forms) = found.ok_or_else(|| {
        not_fused(g, quantizer, "no 64-bit factors round its sums exactly".into())
            .help("give its operands' quantizers scales that are closer to each other")
    })?;
    let column = |i: usize| forms.iter().map(|f| f.mul[i]).collect::<Vec<_>>();
    let join = Join::Integer {
        mul: [column(wide), column(1 - wide)],
        add: addends,
        shift,
        ties,
        lo: quantum.lo as i32,
        hi: quantum.hi as i32,
    };
    let name = g.node(add).name.clone();
    let ty = Ty::new(g.node(quantizer).ty.elem, g.node(add).ty.shape.clone());
    let read = branches.map(|b| b.store(g));
    let new = g.add(name, Op::Join(join), ty, &read);
    g.replace_uses(quantizer, new);
    let mut id = quantizer;
    while id != add {
        let above = operand(g, id).unwrap_or(add);
        g.remove(id);
        id = above;
    }
    let above = g.operands(add);
    g.remove(add);
    above.into_iter().for_each(|id| remove_unread(g, id));
    Ok(())
}

/// Takes out the steps that led to an operand, unless something reads them.
fn remove_unread(g: &mut Graph, mut id: NodeId) {
    while g.users(id).is_empty() && g.node(id).ty.elem == Elem::Real {
        let above = operand(g, id);
        g.remove(id);
        let Some(above) = above else { return };
        id = above;
    }
}

/// One of the two operands.
struct Branch {
    /// Per channel, from its integers to its real value.
    lines: Vec<Line>,
    /// Per channel, the bounds of its integers.
    bounds: Vec<(i64, i64)>,
    from: From,
}

enum From {
    Stored(NodeId),
    Layer(Box<Layer>),
}

impl Branch {
    /// The node that holds its integers.
    fn store(self, g: &mut Graph) -> NodeId {
        match self.from {
            From::Stored(id) => id,
            From::Layer(layer) => {
                let last = layer.last;
                layer.replace(g, last, Elem::I32, Epilogue::Sums)
            }
        }
    }
}

fn branch(g: &Graph, add: NodeId, last: NodeId, channels: usize) -> std::result::Result<Branch, Diag> {
    let float = |name: &str| {
        let found = format!("a quantizer follows, and its operand `{name}` is float");
        not_fused(g, add, found).help("quantise both operands, or neither and the result")
    };
    if let Some(conv) = layer_above(g, last) {
        let layer = Layer::collect(g, conv)?;
        let lines: Option<Vec<Line>> = layer.functions.iter().map(|f| f.line().cloned()).collect();
        let Some(bounds) = layer.sums.clone() else {
            return Err(float(&layer.name));
        };
        let lines = lines.ok_or_else(|| float(&layer.name))?;
        let from = From::Layer(layer.into());
        return Ok(Branch { lines, bounds, from });
    }
    let input = Input::collect(g, add, last, channels)?;
    let bounds = range::values(g, input.source).ok_or_else(|| float(&g.node(input.source).name))?;
    let line = |offset: &Q| Line::new(input.step.clone(), offset.clone());
    Ok(Branch {
        lines: input.offset.iter().map(line).collect(),
        bounds: vec![bounds; channels],
        from: From::Stored(input.source),
    })
}

/// The convolution whose steps end in `last`.
fn layer_above(g: &Graph, last: NodeId) -> Option<NodeId> {
    let mut id = last;
    while !matches!(g.node(id).op, Op::Conv { .. }) {
        if !steps(&g.node(id).op) {
            return None;
        }
        id = operand(g, id)?;
    }
    (end(g, id).0 == last && user(g, last).is_some()).then_some(id)
}

/// The quantizer behind a sum, with what cuts the sum before it.
struct Quantizer {
    step: Quantum,
    zero: i64,
    lo: i64,
    hi: i64,
    sign: bool,
}

/// Numbers of one channel: factors of the operand with more values and of the other, and what addends they allow.
struct Form {
    mul: [i64; 2],
    sides: Sides,
}

impl Quantizer {
    fn of(g: &Graph, add: NodeId, quantizer: NodeId) -> std::result::Result<Quantizer, Diag> {
        let mut identity = Function::new(integer(1), Q::zero());
        let mut id = add;
        while let Some(next) = user(g, id).filter(|next| *next != quantizer) {
            id = next;
            match &g.node(id).op {
                Op::Relu => identity.raise(&Q::zero()),
                Op::Clip { lo, hi } => identity.clip(*lo, *hi),
                _ => {
                    let found = "it stands between a sum of two values and its quantizer".into();
                    return Err(not_fused(g, id, found).help("normalise the operands, not their sum"));
                }
            }
        }
        let Op::Quantize { scale, zero_point } = g.node(quantizer).op else {
            if id != add {
                let found = "it takes the sign of what a rectifier or a clip leaves of a sum".into();
                return Err(not_fused(g, quantizer, found).help("take the sign of the sum itself"));
            }
            return Ok(Quantizer {
                step: Quantum::from(1.0),
                zero: 0,
                lo: -1,
                hi: 0,
                sign: true,
            });
        };
        let (least, greatest) = match g.node(quantizer).ty.elem {
            Elem::U8 => (0, 255),
            _ => (-128, 127),
        };
        let (step, zero) = (Quantum::from(scale), i64::from(zero_point));
        // Rounding never falls, so it may come before the cuts.
        let (floor, ceiling) = identity.cuts();
        let cut = |bound: &crate::ir::exact::Surd| bound.quantize(&step, least - zero, greatest - zero) + zero;
        let (lo, hi) = (floor.map_or(least, cut), ceiling.map_or(greatest, cut));
        Ok(Quantizer {
            step,
            zero,
            lo,
            hi,
            sign: false,
        })
    }

    /// What the sum must reach for a result of `k` or more.
    fn edge(&self, k: i64) -> Edge<'_> {
        if self.sign {
            self.step.zero()
        } else {
            self.step.rounding_edge(k - self.zero)
        }
    }

    /// The greatest shift with which no intermediate number leaves 62 bits, every channel's numbers taken together.
    fn shift(&self, planes: &[Plane], x: &Branch, y: &Branch) -> u8 {
        let greatest = |b: &Branch| {
            b.bounds
                .iter()
                .map(|(lo, hi)| lo.abs().max(hi.abs()))
                .max()
                .unwrap_or(0) as f64
        };
        let step = self.step.near();
        let [a, b, c] = planes.iter().fold([0f64; 3], |most, p| {
            let parts = p.estimates().map(|e| e.abs() / step);
            [0, 1, 2].map(|i| most[i].max(parts[i]))
        });
        let outputs = (self.lo.abs().max(self.hi.abs()) + self.zero.abs() + 1) as f64;
        let bound = a * greatest(x) + b * greatest(y);
        // The addend is no greater than an output and the products together.
        let bits = (2.0 * bound + c + outputs + 1.0).log2().ceil();
        (61.0 - bits).clamp(0.0, 56.0) as u8
    }

    fn form(&self, plane: &Plane, (first, last): (i64, i64), y: (i64, i64), shift: u8) -> Option<Form> {
        let one = 1i64 << shift;
        let factor = |rise: f64| (rise / self.step.near() * one as f64).round() as i64;
        let [a, b, _] = plane.estimates();
        let mul = [factor(a), factor(b)];
        let product = |x: i64, y: i64| i128::from(x) * i128::from(mul[0]) + i128::from(y) * i128::from(mul[1]);
        let mut sides = Sides::OPEN;
        for k in self.lo + 1..=self.hi {
            let edge = self.edge(k);
            for y in y.0..=y.1 {
                let t = plane.reaches(&edge, y, (first, last));
                if t <= last {
                    sides.reach(k, product(t, y), one.into());
                }
                if t > first {
                    sides.stay(k, product(t - 1, y), one.into());
                }
            }
            if !sides.are_open() {
                return None;
            }
        }
        Some(Form { mul, sides })
    }

    /// An addend for every channel, and what rounds ties to even if these alone do not.
    fn addends(&self, forms: &[Form], shift: u8) -> Option<(Vec<i64>, Option<Ties>)> {
        let any = i128::from(self.lo) << shift;
        let alone = |f: &Form| Some(f.sides.both()).filter(|(least, greatest)| least <= greatest);
        let ties = match forms.iter().all(|f| alone(f).is_some()) {
            true => None,
            false => Some(ties::common(forms.iter().map(|f| &f.sides), self.zero, shift.into())?),
        };
        let add = |f: &Form| match ties {
            None => Some(ties::middle(alone(f)?, any)),
            Some(ties) => ties::add(&f.sides, ties, any),
        };
        let adds: Option<Vec<i64>> = forms.iter().map(|f| i64::try_from(add(f)?).ok()).collect();
        Some((adds?, ties))
    }
}
