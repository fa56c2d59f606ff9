//! Parts of a program that run by themselves: all up to a layer, or one layer alone; and values as they lie in its buffers.

use crate::ir::eval::Tensor;
use crate::ir::{Graph, NodeId};
use crate::kernels::{Layout, View};
use crate::kir::{Arg, Call, Pool, Port, Program, Ty};
use crate::plan::{self, Place, Plan, Step};

/// The program `p` of `plan` up to step `last`, whose result goes to the caller as it lies in memory.
pub fn behind(p: &Program, plan: &Plan, last: usize) -> Program {
    let mut cut = p.clone();
    let calls = plan.calls(last);
    cut.calls.truncate(calls.end);
    let step = &plan.steps[last];
    let (ty, len) = extent(step, |arg| matches!(arg, plan::Arg::Result(_)));
    (cut.output.ty, cut.output.shape) = (ty, vec![len]);
    for (call, planned) in cut.calls[calls].iter_mut().zip(&step.calls) {
        for (arg, planned) in call.args.iter_mut().zip(&planned.args) {
            if let plan::Arg::Result(from) = planned {
                *arg = Arg::Output(*from);
            }
        }
    }
    // Nothing is left that the calls do not use.
    if cut
        .calls
        .iter()
        .flat_map(|c| &c.args)
        .all(|arg| !matches!(arg, Arg::Arena { .. }))
    {
        cut.pools.clear();
    }
    let called: Vec<usize> = cut.calls.iter().map(|c| c.kernel).collect();
    let kept: Vec<usize> = (0..p.kernels.len()).filter(|k| called.contains(k)).collect();
    cut.kernels = kept.iter().map(|k| p.kernels[*k].clone()).collect();
    for call in &mut cut.calls {
        call.kernel = kept.iter().position(|k| *k == call.kernel).unwrap_or_default();
    }
    cut
}

/// A step by itself: its first operand and its result are the caller's, as they would lie in the arena, which keeps nothing but
/// the step's slots.
pub fn alone(step: &Step) -> Program {
    let port = |name: &str, is: fn(&plan::Arg) -> bool| {
        let (ty, len) = extent(step, is);
        Port {
            name: name.into(),
            ty,
            shape: vec![len],
        }
    };
    let arg = |arg: &plan::Arg| match *arg {
        plan::Arg::Operand(_, from) => Arg::Input(from),
        plan::Arg::Result(from) => Arg::Output(from),
        plan::Arg::Slot(pool, offset) => Arg::Arena { pool, offset },
    };
    Program {
        input: port("operand", |a| matches!(a, plan::Arg::Operand(..))),
        output: port("result", |a| matches!(a, plan::Arg::Result(_))),
        pools: Pool::apart(step.slots.clone()),
        kernels: step.kernels.clone(),
        calls: step
            .calls
            .iter()
            .map(|c| Call {
                kernel: c.kernel,
                args: c.args.iter().map(arg).collect(),
            })
            .collect(),
    }
}

/// Type and number of the elements that a step's calls have as arguments of a kind.
fn extent(step: &Step, is: impl Fn(&plan::Arg) -> bool) -> (Ty, usize) {
    let args = step
        .calls
        .iter()
        .flat_map(|c| step.kernels[c.kernel].params().zip(&c.args));
    let ends = args.filter(|(_, arg)| is(arg)).map(|(param, arg)| match arg {
        plan::Arg::Operand(_, from) | plan::Arg::Result(from) | plan::Arg::Slot(_, from) => {
            (param.ty, from + param.len)
        }
    });
    let (ty, end) = ends
        .max_by_key(|(_, end)| *end)
        .expect("a step has an operand and a result");
    (ty, end as usize)
}

/// How the value of `node` lies in `place`.
pub fn view(g: &Graph, node: NodeId, place: Place) -> View {
    let ty = &g.node(node).ty;
    match place {
        Place::Input | Place::Output => View::new(ty, Layout::Planar),
        Place::Step(_) => View::inner(ty),
    }
}

/// A value as it lies in a buffer.
pub fn stored(value: &Tensor, view: View) -> Vec<u8> {
    let View { c, h, w, .. } = view;
    let logical = value.to_bytes();
    let size = logical.len() / (c * h * w).max(1);
    let element = |channel: usize, pixel: usize| &logical[(channel * h * w + pixel) * size..][..size];
    match view.layout {
        Layout::Planar => logical,
        Layout::Interleaved => {
            let elements = (0..h * w).flat_map(|pixel| (0..c).map(move |channel| (channel, pixel)));
            elements
                .flat_map(|(channel, pixel)| element(channel, pixel).to_vec())
                .collect()
        }
        Layout::Packed => {
            let words = (0..h * w).flat_map(|pixel| (0..view.pixel()).map(move |word| (word, pixel)));
            let bit = |channel: usize, pixel: usize| u32::from(channel < c && element(channel, pixel) == [1]);
            let packed = |(word, pixel)| (0..32).fold(0, |bits, i| bits | (bit(word * 32 + i, pixel) << i));
            words.map(packed).flat_map(u32::to_le_bytes).collect()
        }
    }
}
