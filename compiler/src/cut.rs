//! Parts of a program that run by themselves: all up to a layer, or one layer alone; and values as they lie in its buffers.

use crate::ir::eval::Tensor;
use crate::ir::{Graph, NodeId};
use crate::kernels::{Layout, View};
use crate::kir::{Arg, Call, Pool, Port, Program, Role};
use crate::plan::Place;

/// The program up to call `last`, whose result goes to the caller as it lies in memory.
pub fn behind(p: &Program, last: usize) -> Program {
    let mut cut = p.clone();
    cut.calls.truncate(last + 1);
    let call = &mut cut.calls[last];
    let kernel = &p.kernels[call.kernel];
    for (param, arg) in kernel.params().zip(&mut call.args) {
        if param.role == Role::Out {
            *arg = Arg::Output;
            (cut.output.ty, cut.output.shape) = (param.ty, vec![param.len as usize]);
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

/// Call `only` by itself: its operand and its result are the caller's, as they would lie in the arena, which keeps nothing but
/// its scratch buffers.
pub fn alone(p: &Program, only: usize) -> Program {
    let kernel = &p.kernels[p.calls[only].kernel];
    let mut cut = Program {
        kernels: vec![kernel.clone()],
        ..Program::default()
    };
    let mut args = vec![];
    let mut scratch = vec![];
    for param in kernel.params() {
        let port = |name: &str| Port {
            name: name.into(),
            ty: param.ty,
            shape: vec![param.len as usize],
        };
        args.push(match param.role {
            Role::In => {
                cut.input = port("operand");
                Arg::Input
            }
            Role::Out => {
                cut.output = port("result");
                Arg::Output
            }
            _ => {
                scratch.push((param.ty, param.len));
                Arg::Arena {
                    pool: scratch.len() - 1,
                    offset: 0,
                }
            }
        });
    }
    cut.pools = Pool::apart(scratch);
    cut.calls.push(Call { kernel: 0, args });
    cut
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
