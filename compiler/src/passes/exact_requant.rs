//! [`Op::Quantize`] behind a layer: `clamp((sum * mul + add) >> shift, lo, hi)`, equal to the real quantizer at every
//! reachable sum.
//!
//! A quantizer behind a nondecreasing function is a staircase: it is known by its edges `t[k]`, the least sum that gives `k` or
//! more. For fixed `mul` and `shift`, the integer form has the same edge iff `t[k] * mul + add >= k << shift` and
//! `(t[k] - 1) * mul + add < k << shift`. Each edge bounds `add` from both sides; if the bounds leave an integer, every edge
//! agrees, so every reachable sum does.
//!
//! Ties go to the even output: where some fall on sums (the mean of four integers; scales that are powers of two), edges of even outputs
//! and of odd ones want different addends, and the difference is what [`super::ties`] makes of it.

use super::function::Function;
use super::layer::{Layer, end, not_fused};
use super::ties::{self, Sides};
use crate::diag::{Diag, Result};
use crate::ir::exact::{Q, Quantum};
use crate::ir::{Elem, Epilogue, Graph, NodeId, Op, Ties, range};
use num_traits::Zero;

pub(super) fn run(g: &mut Graph) -> Result<()> {
    let mut found = Vec::new();
    for conv in g.find(|op| matches!(op, Op::Conv { .. })) {
        if let (_, Some(quantize)) = end(g, conv)
            && matches!(g.node(quantize).op, Op::Quantize { .. })
            && let Err(diag) = fuse(g, conv, quantize)
        {
            found.push(diag);
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn fuse(g: &mut Graph, conv: NodeId, quantize: NodeId) -> std::result::Result<(), Diag> {
    let layer = Layer::collect(g, conv)?;
    let Some(sums) = &layer.sums else {
        let found = format!("it quantises the output of `{}`, whose sums are float", layer.name);
        return Err(not_fused(g, quantize, found));
    };
    let Op::Quantize { scale, zero_point } = g.node(quantize).op else {
        return Err(not_fused(g, quantize, "it is no quantizer".into()));
    };
    let elem = g.node(quantize).ty.elem;
    let (least, greatest) = if elem == Elem::U8 { (0, 255) } else { (-128, 127) };
    let quantizer = Quantizer {
        step: scale.into(),
        zero: i64::from(zero_point),
    };
    let stairs: Vec<_> = layer
        .functions
        .iter()
        .zip(sums)
        .map(|(f, &bounds)| Stairs::new(f, &quantizer, bounds, (least, greatest)))
        .collect();
    // A rectifier lifts the least output of every channel; what no channel falls below is the clamp's business.
    let lo = stairs.iter().map(|s| s.lo).min().unwrap_or(least);
    let hi = stairs.iter().map(|s| s.hi).max().unwrap_or(greatest);
    let greatest = sums.iter().map(|(lo, hi)| lo.abs().max(hi.abs())).max().unwrap_or(0);
    let smallest = |s: &Stairs| (0..=62).find_map(|shift| s.form(shift, lo, hi));
    let (forms, ties) = match stairs.iter().map(smallest).collect::<Option<Vec<_>>>() {
        Some(forms) => (best(&stairs, forms, lo, hi, greatest), None),
        None => even(&stairs, lo, hi, quantizer.zero)
            .map(|(forms, ties)| (forms, Some(ties)))
            .ok_or_else(|| {
                let found = format!(
                    "no multiplication and shift rounds the sums of `{}` exactly",
                    layer.name
                );
                not_fused(g, quantize, found).help("give its channels scales that are closer to each other")
            })?,
    };
    let epilogue = Epilogue::Requant {
        mul: forms.iter().map(|f| f.mul).collect(),
        add: forms.iter().map(|f| f.add).collect(),
        shift: forms.iter().map(|f| f.shift).collect(),
        ties,
        lo: lo as i32,
        hi: hi as i32,
    };
    layer.replace(g, quantize, elem, epilogue);
    Ok(())
}

/// Of the forms of every channel's smallest shift, and those of greater ones, what generated code does with the least.
fn best(stairs: &[Stairs], forms: Vec<Form>, lo: i64, hi: i64, greatest: i64) -> Vec<Form> {
    // One shift for all channels, where there is one, spares generated code a table.
    let common = forms.iter().map(|f| u32::from(f.shift)).max().unwrap_or(0);
    let uniform =
        (common..=62).find_map(|shift| stairs.iter().map(|s| s.form(shift, lo, hi)).collect::<Option<Vec<_>>>());
    let forms = uniform.unwrap_or(forms);
    let short = |f: &Form| range::is_short(f.mul, f.add, greatest);
    match forms.iter().all(short) {
        true => forms,
        false => high(stairs, lo, hi, greatest).unwrap_or(forms),
    }
}

/// Forms of the smallest common shift that has any which round ties to even, and what takes them there.
fn even(stairs: &[Stairs], lo: i64, hi: i64, zero: i64) -> Option<(Vec<Form>, Ties)> {
    (0..=62).find_map(|shift| {
        let of = |s: &Stairs| {
            let mut sides = s.factors(shift)?.map(|m| (m, s.sides(m, shift, lo, hi)));
            sides.find(|(_, sides)| sides.are_open())
        };
        let all: Vec<(i64, Sides)> = stairs.iter().map(of).collect::<Option<_>>()?;
        let ties = ties::common(all.iter().map(|(_, sides)| sides), zero, shift)?;
        let form = |((mul, sides), s): (&(i64, Sides), &Stairs)| {
            let add = ties::add(sides, ties, i128::from(s.lo) << shift)?;
            s.holds(*mul, add, ties.lift).then_some(Form {
                mul: *mul as i32,
                add: add as i64,
                shift: shift as u8,
            })
        };
        let forms: Option<Vec<Form>> = all.iter().zip(stairs).map(form).collect();
        Some((forms?, ties))
    })
}

/// Forms of which the high half of a product is enough, as [`Epilogue::Requant`] says: of the greatest common shift that has
/// them, since factors are the more exact the greater they are.
fn high(stairs: &[Stairs], lo: i64, hi: i64, greatest: i64) -> Option<Vec<Form>> {
    let low = 32 - range::headroom(greatest);
    let fits = |f: Form| (f.add >> low).abs() < 1 << 30 && f.mul > 0;
    (low..=(low + 31).min(62)).rev().find_map(|shift| {
        let form = |s: &Stairs| s.form_in(shift, lo, hi, low).filter(|f| fits(*f));
        stairs.iter().map(form).collect()
    })
}

struct Quantizer {
    step: Quantum,
    zero: i64,
}

/// A staircase over the reachable sums.
struct Stairs {
    /// Bounds of the sum.
    first: i64,
    last: i64,
    /// Least and greatest output.
    lo: i64,
    hi: i64,
    /// `edges[i]`: the least sum that gives `lo + 1 + i` or more.
    edges: Vec<i64>,
    /// Average rise, in outputs per unit of the sum.
    rise: f64,
}

/// Numbers of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    mul: i32,
    add: i64,
    shift: u8,
}

impl Stairs {
    fn new(f: &Function, q: &Quantizer, (first, last): (i64, i64), (least, greatest): (i64, i64)) -> Self {
        let ts = f.rounds_to(least + 1 - q.zero..=greatest - q.zero, &q.step, first, last);
        let (mut lo, mut edges) = (least, Vec::new());
        let mut hi = least;
        for (k, t) in (least + 1..).zip(ts) {
            if t > last {
                break;
            }
            hi = k;
            if t <= first && edges.is_empty() {
                lo = k;
            } else {
                edges.push(t);
            }
        }
        let mut rise = f.rise();
        rise.affine(&q.step.exact().recip(), &Q::zero());
        Stairs {
            first,
            last,
            lo,
            hi,
            edges,
            rise: rise.estimate().0,
        }
    }

    /// Numbers with this shift that give the same outputs under a clamp to `lo..=hi`, if there are any.
    fn form(&self, shift: u32, lo: i64, hi: i64) -> Option<Form> {
        self.form_in(shift, lo, hi, 0)
    }

    /// The same with an addend whose `low` lowest bits are 0.
    fn form_in(&self, shift: u32, lo: i64, hi: i64, low: u32) -> Option<Form> {
        if self.edges.is_empty() {
            return self.fit(if low > 0 { 1 } else { 0 }, shift, lo, hi, low);
        }
        self.factors(shift)?.find_map(|m| self.fit(m, shift, lo, hi, low))
    }

    /// Factors with this shift that may do.
    fn factors(&self, shift: u32) -> Option<impl Iterator<Item = i64>> {
        let scaled = (self.rise * (shift as f64).exp2()).round();
        let all = match self.edges.is_empty() {
            true => [0; 3],
            // A step steeper than any factor is as steep as the greatest one.
            false if scaled > f64::from(i32::MAX) && shift > 0 => return None,
            false => {
                let mul = scaled.clamp(1.0, f64::from(i32::MAX)) as i64;
                // A staircase of few steps may want a slope beside the line's.
                [mul, mul + 1, mul - 1]
            }
        };
        let least = i64::from(!self.edges.is_empty());
        Some(
            all.into_iter()
                .filter(move |m| (least..=i64::from(i32::MAX)).contains(m)),
        )
    }

    /// What the edges want of the addend for a factor and a shift.
    fn sides(&self, mul: i64, shift: u32, lo: i64, hi: i64) -> Sides {
        let (mul, one) = (i128::from(mul), 1i128 << shift);
        let mut sides = Sides::OPEN;
        let at = |sum: i64| i128::from(sum) * mul;
        // A channel whose own range is narrower than the clamp's must not leave it.
        if self.lo > lo {
            sides.reach(self.lo, at(self.first), one);
        }
        if self.hi < hi {
            sides.stay(self.hi + 1, at(self.last), one);
        }
        for (&t, k) in self.edges.iter().zip(self.lo + 1..) {
            sides.reach(k, at(t), one);
            sides.stay(k, at(t - 1), one);
        }
        sides
    }

    /// The addend for a factor and a shift; its `low` lowest bits are 0.
    fn fit(&self, mul: i64, shift: u32, lo: i64, hi: i64, low: u32) -> Option<Form> {
        let (least, greatest) = self.sides(mul, shift, lo, hi).both();
        if least > greatest {
            return None;
        }
        let add = ties::middle((least, greatest), i128::from(self.lo) << shift);
        // The nearest one that ends in zeros, on the side where there is room.
        let unit = 1i128 << low;
        let down = add.div_euclid(unit) * unit;
        let add = if down >= least { down } else { down + unit };
        (add <= greatest && self.holds(mul, add, 0)).then_some(Form {
            mul: mul as i32,
            add: add as i64,
            shift: shift as u8,
        })
    }

    /// Whether 64 bits hold every intermediate number.
    fn holds(&self, mul: i64, add: i128, lift: i64) -> bool {
        let at = |sum: i64| i128::from(sum) * i128::from(mul) + add;
        let numbers = [add, at(self.first), at(self.last), at(self.last) + i128::from(lift)];
        numbers.iter().all(|&n| i64::try_from(n).is_ok())
    }
}
