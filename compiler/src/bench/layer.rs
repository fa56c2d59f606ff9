//! One layer of a network as a program of its own.

use crate::cut;
use crate::data;
use crate::driver::Compiled;
use crate::ir::eval::Tensor;
use crate::ir::{Elem, range};
use crate::kir::Program;
use crate::package;
use crate::plan::Place;
use crate::random::SplitMix64;

/// Step `i` of the plan alone, and an operand for it, as it lies in the arena.
///
/// The operand is a sample where the layer reads one, else random values between the least and the greatest that the layer
/// before can yield: the kernels' proofs hold for those, and no others.
///
/// A step of two operands has none: a program has one input.
pub fn alone(c: &Compiled, i: usize) -> Option<(Program, Vec<u8>)> {
    let step = &c.plan.steps[i];
    let operand = c.graph.operands(step.layers[0].node)[0];
    let bytes = match step.operands[..] {
        [Place::Input] => data::synthetic(&package::input_ty(&c.graph), 1).bytes,
        [place] => {
            let node = c.graph.node(operand);
            let bounds = range::values(&c.graph, operand);
            cut::stored(
                &random(node.ty.elem, node.ty.len(), bounds),
                cut::view(&c.graph, operand, place),
            )
        }
        _ => return None,
    };
    Some((cut::alone(step), bytes))
}

/// Numbers within `bounds`, else of a byte.
pub(super) fn random(elem: Elem, len: usize, bounds: Option<(i64, i64)>) -> Tensor {
    let mut random = SplitMix64(len as u64);
    let (lo, hi) = bounds.unwrap_or((-128, 127));
    let mut number = || lo + random.below((hi - lo + 1) as usize) as i64;
    match elem {
        Elem::U8 => Tensor::U8((0..len).map(|_| number() as u8).collect()),
        Elem::I8 => Tensor::I8((0..len).map(|_| number() as i8).collect()),
        Elem::Sign => Tensor::Sign((0..len).map(|_| random.next() & 1 == 1).collect()),
        Elem::I32 => Tensor::I32((0..len).map(|_| number() as i32).collect()),
        // Eighths: sums of a few of them are exact in any order.
        Elem::Real | Elem::F32 => Tensor::F32((0..len).map(|_| number() as f32 / 8.0).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kir;
    use crate::progress::Silent;
    use crate::synth::{self, Form};
    use crate::{driver, import, plan};
    use std::path::Path;

    #[test]
    fn random_signs_are_balanced() {
        let Tensor::Sign(signs) = random(Elem::Sign, 1000, Some((-1, 1))) else {
            panic!("no signs");
        };
        let plus = signs.iter().filter(|s| **s).count();
        assert!((400..600).contains(&plus), "{plus}");
    }

    #[test]
    fn a_layer_alone_reads_what_the_layer_before_writes() {
        for line in ["40x6x6 33C3 x=binary", "16x6x6 8C3-MP2-5C3 x=int8"] {
            let bytes = synth::onnx(&line.parse().unwrap(), Form::Layers);
            let model = import::from_bytes(&bytes, Path::new("layers.onnx")).unwrap();
            let options = plan::Options::default();
            let c = driver::compile(model, "generic", &options, &Silent, &mut |_, _, _| ()).unwrap();
            for i in 0..c.plan.steps.len() {
                let (program, operand) = alone(&c, i).expect("one operand");
                let input = program.input.shape[0] * program.input.ty.bytes() as usize;
                assert_eq!(operand.len(), input, "{line}, step {i}");
                // The interpreter checks every index and every sum.
                let result = kir::eval::eval(&program, &operand);
                assert_eq!(
                    result.len(),
                    program.output.shape[0] * program.output.ty.bytes() as usize
                );
            }
        }
    }
}
