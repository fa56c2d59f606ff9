//! What the mix of instructions of a layer's kernel does at most: its innermost loops alone.
//!
//! The kernel is built once more, of a layer with a single tap and as many inputs as keep operands and weights in the first cache, without
//! what is around the sums of a tile: no edges, no epilogue, no packing, and the expansion of weights but once. A layer whose loops are cut
//! otherwise may pass it by some percent.

use super::job;
use crate::ir::{Depth, Elem, Geometry, Graph, NodeId, WeightData, Weights};
use crate::kernels::{FAMILIES, Family, Job, Layout, View};
use crate::kir::{Arg, Call, Pool, Port, Program, Role, pass};
use crate::random::SplitMix64;
use crate::target::Target;

/// Times that a tile's sums are taken in a call, so that what comes before does not count.
const TURNS: usize = 256;

/// Inputs of the layer: packed ones of a pixel take 256 bytes, as bytes do; those of a dense layer 1 KB.
const PACKED: usize = 2048;
const BYTES: usize = 256;
const DENSE: usize = 1024;

/// Outputs and pixels of it; no tile has more.
const OUTPUTS: usize = 64;
const PIXELS: usize = 16;

/// A program that takes the sums of a tile over and over, as the kernel of `family` for the layer `id` does, and the multiply-adds of a
/// call. Of families that sum tiles.
pub fn ceiling(g: &Graph, id: NodeId, family: &str, target: &Target) -> Option<(Program, u64)> {
    let family = tiled(family)?;
    let job = ideal(g, id, family, target, TURNS)?;
    let program = program(&job, family, target)?;
    let macs = program.output.shape[0] * job.inputs() * TURNS;
    Some((program, macs as u64))
}

fn tiled(family: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|f| f.name == family && f.sums_tiles())
}

/// A layer of one tap that is like the layer `id`, if `family` builds both; and of its first tile the sums, so many times.
fn ideal<'a>(g: &'a Graph, id: NodeId, family: &Family, target: &'a Target, turns: usize) -> Option<Job<'a>> {
    let layer = job::linear(g, id, "tile".into(), None, (u64::MAX, None), &target.simd).ok()?;
    let (depth, _) = layer.packed_codes()?;
    let dense = layer.y.h * layer.y.w == 1 && layer.pool.is_none();
    let packed = layer.x.elem == Elem::Sign || family.splits();
    let (inputs, pixels) = match (dense, packed) {
        (true, _) => (DENSE, 1),
        (false, true) => (PACKED, PIXELS),
        (false, false) => (BYTES, PIXELS),
    };
    let outputs = layer.y.c.min(OUTPUTS);
    let map = |view: View, c: usize| View {
        c,
        h: 1,
        w: pixels,
        plane: 1,
        layout: match view.layout {
            Layout::Planar => Layout::Interleaved,
            other => other,
        },
        ..view
    };
    let mut random = SplitMix64(inputs as u64);
    let mut code = || match depth {
        Depth::Binary => 2 * random.below(2) as i8 - 1,
        _ => random.below(3) as i8 - 1,
    };
    let (lo, hi) = layer.x_range;
    let greatest = inputs as i64 * lo.abs().max(hi.abs());
    let job = Job {
        doc: format!("Sums of a tile, over and over: {}.", layer.doc),
        weights: Weights {
            shape: [outputs, inputs, 1, 1],
            data: WeightData::Coded {
                depth,
                codes: (0..outputs * inputs).map(|_| code()).collect(),
                scale: vec![1.0; outputs],
            },
        },
        geom: Geometry::UNIT,
        pool: None,
        x: map(layer.x, inputs),
        y: map(layer.y, outputs),
        least: -greatest,
        greatest,
        turns: Some(turns),
        ..layer
    };
    (family.refuses)(&job).is_none().then_some(job)
}

/// The kernel of `job` as a program of its own.
fn program(job: &Job, family: &Family, target: &Target) -> Option<Program> {
    let mut kernel = (family.build)(job);
    pass::run(&mut kernel, target, &mut |_, _| {}).ok()?;
    let mut program = Program::default();
    let (mut slots, mut args) = (vec![], vec![]);
    for p in kernel.params() {
        let port = |name: &str| Port {
            name: name.into(),
            ty: p.ty,
            shape: vec![p.len as usize],
        };
        args.push(match p.role {
            Role::In => {
                program.input = port("operand");
                Arg::Input(0)
            }
            Role::Out => {
                program.output = port("sums");
                Arg::Output(0)
            }
            _ => {
                slots.push((p.ty, p.len));
                Arg::Arena {
                    pool: slots.len() - 1,
                    offset: 0,
                }
            }
        });
    }
    program.pools = Pool::apart(slots);
    program.calls = vec![Call { kernel: 0, args }];
    program.kernels = vec![kernel];
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kir::eval;
    use crate::plan;
    use crate::progress::Silent;
    use crate::synth::{self, Form};
    use crate::{driver, import};
    use std::path::Path;

    #[test]
    fn a_tile_is_summed() {
        for (line, target, family) in [
            ("64x6x6 40C3 w=binary x=binary", "x86_64-avx512", "vector-xnor"),
            ("64x6x6 40C3 w=ternary x=binary", "x86_64-avx2", "vector-xnor"),
            ("64x6x6 40C3 w=binary x=binary", "rv32imac-zbb", "xnor-tile"),
            ("64x6x6 40C3 w=ternary x=ternary", "aarch64", "split-vector-xnor"),
            ("64x6x6 40C3 w=ternary x=int8", "x86_64-avx512", "vector-dot"),
            ("64x6x6 40C3 w=binary x=int8", "aarch64-i8mm", "vector-dot"),
            ("64x6x6 40C3 w=binary x=int8", "aarch64", "vector-dot"),
            ("512 40FC w=ternary x=int8", "x86_64-avx512", "vector-code"),
            ("512 40FC w=binary x=int8", "x86_64-avx2", "vector-sums"),
        ] {
            let bytes = synth::onnx(&line.parse().expect("a sound line"), Form::Layers);
            let model = import::from_bytes(&bytes, Path::new("layer.onnx")).expect("a sound model");
            let options = plan::Options {
                prefer: Some(family),
                ..plan::Options::default()
            };
            let c = driver::compile(model, target, &options, &Silent, &mut |_, _, _| ()).expect("it compiles");
            let layer = c.plan.layers().find(|l| l.family == family);
            let layer = layer.unwrap_or_else(|| panic!("no {family} of {line} on {target}"));
            let turns = 2;
            let family = tiled(family).expect("it is there");
            let job = ideal(&c.graph, layer.node, family, &c.target, turns).expect("a layer like it");
            let program = program(&job, family, &c.target).expect("a program");
            let (operand, values) = operand(&job);
            let sums = eval::eval(&program, &operand);
            let sums: Vec<i64> = sums
                .chunks(4)
                .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]).into())
                .collect();
            // The least and the greatest number of pixels are not for a test to know.
            let tile = |pixels: &usize| {
                let outputs = sums.len() / pixels;
                let mut all = (0..*pixels).flat_map(|p| (0..outputs.min(job.y.c)).map(move |o| (p, o)));
                all.all(|(p, o)| sums[p * outputs + o] == expected(&job, &values, p, o) + turns as i64 - 1)
            };
            let fits = |pixels: &usize| *pixels <= job.x.w && sums.len().is_multiple_of(*pixels);
            assert!(
                (1..=PIXELS).filter(fits).any(|p| tile(&p)),
                "{line} on {target}: {sums:?}"
            );
        }
    }

    /// Bytes of a random operand, and its elements, pixel by pixel.
    fn operand(job: &Job) -> (Vec<u8>, Vec<i64>) {
        let mut random = SplitMix64(7);
        let n = job.x.c * job.x.w;
        if job.x.elem == Elem::Sign {
            let bytes: Vec<u8> = (0..n / 8).map(|_| random.next() as u8).collect();
            let sign = |i: usize| i64::from(bytes[i / 8] >> (i % 8) & 1) * 2 - 1;
            let signs = (0..n).map(sign).collect();
            return (bytes, signs);
        }
        let (lo, hi) = job.x_range;
        let values: Vec<i64> = (0..n)
            .map(|_| lo + random.below((hi - lo + 1) as usize) as i64)
            .collect();
        (values.iter().map(|&v| v as u8).collect(), values)
    }

    fn expected(job: &Job, values: &[i64], pixel: usize, output: usize) -> i64 {
        let (_, codes) = job.packed_codes().expect("binary or ternary weights");
        let n = job.inputs();
        let row = codes[output * n..][..n].iter().zip(&values[pixel * n..]);
        row.map(|(code, value)| i64::from(*code) * value).sum()
    }
}
