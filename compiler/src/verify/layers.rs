//! Where generated code first goes wrong: the program is cut off behind every layer in turn.

use crate::cut;
use crate::diag::{Code, Diag, Result};
use crate::driver::Compiled;
use crate::ir::eval::{self, Tensor};
use crate::kir::{self, Program};
use crate::package::{self, input_ty};

/// The finding for code of `c` whose result is wrong for `wrong` samples, of which `sample` (number `first`) is the first.
pub fn differs(c: &Compiled, sample: &[u8], first: usize, wrong: usize) -> Diag {
    let mut generated = |program: &Program| {
        let work = package::scratch()?;
        package::build_part(c, program, work.path())?.infer(sample)
    };
    let found = format!("{}: {wrong} samples, first sample {first}", c.lang);
    match first_layer(c, sample, &mut generated) {
        Ok(Some((layer, what))) => Diag::new(Code::OutputsDiffer, format!("{found}: {what}")).node(layer),
        Ok(None) => Diag::new(Code::OutputsDiffer, format!("{found}: every layer agrees by itself")),
        // That the samples differ is what counts; the search for the layer is a service.
        Err(e) => Diag::new(
            Code::OutputsDiffer,
            format!("{found}; the layer was not found: {}", e[0]),
        ),
    }
}

/// The first layer whose kernel, or whose generated code, does not yield what the interpreter says.
fn first_layer(
    c: &Compiled,
    sample: &[u8],
    generated: &mut dyn FnMut(&Program) -> Result<Vec<u8>>,
) -> Result<Option<(String, &'static str)>> {
    let trace = eval::trace(&c.graph, &Tensor::from_bytes(input_ty(&c.graph).elem, sample));
    for (i, step) in c.plan.steps.iter().enumerate() {
        let node = step.last().node;
        let view = cut::view(&c.graph, node, step.result);
        let exact = trace
            .iter()
            .find(|(id, _)| *id == node)
            .map(|(_, value)| cut::stored(value, view));
        let cut = cut::behind(&c.program, &c.plan, i);
        let kernel = kir::eval::eval(&cut, sample);
        if exact.as_ref() != Some(&kernel) {
            return Ok(Some((step.name(), "its kernel differs from the graph")));
        }
        if generated(&cut)? != kernel {
            return Ok(Some((step.name(), "its code differs from the kernel")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kir::{Kernel, Lit};
    use crate::progress::Silent;
    use crate::{data, driver, plan};
    use std::path::Path;

    fn compiled(stem: &str) -> Compiled {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/models/{stem}.onnx"));
        let model = driver::read(&path, None).unwrap();
        driver::compile(model, "generic", &plan::Options::default(), &Silent, &mut |_, _, _| ()).unwrap()
    }

    fn interpreted(program: &Program, sample: &[u8]) -> Result<Vec<u8>> {
        Ok(kir::eval::eval(program, sample))
    }

    #[test]
    fn every_layer_of_a_sound_program_agrees() {
        for stem in ["lenet5_binary", "lenet5_float", "lenet5_int8"] {
            let c = compiled(stem);
            let samples = data::synthetic(&input_ty(&c.graph), 2);
            let first = first_layer(&c, samples.get(1), &mut |p| interpreted(p, samples.get(1))).unwrap();
            assert_eq!(first, None, "{stem}");
        }
    }

    #[test]
    fn the_first_wrong_layer_is_named() {
        let sound = compiled("lenet5_int8");
        let samples = data::synthetic(&input_ty(&sound.graph), 1);
        let mut broken = sound.clone();
        spoil(&mut broken.program.kernels[1]);
        let first = first_layer(&broken, samples.get(0), &mut |p| interpreted(p, samples.get(0))).unwrap();
        assert_eq!(first, Some(("conv2".to_owned(), "its kernel differs from the graph")));

        let mut printer = |p: &Program| {
            let mut p = p.clone();
            p.kernels.iter_mut().skip(2).for_each(spoil);
            interpreted(&p, samples.get(0))
        };
        let first = first_layer(&sound, samples.get(0), &mut printer).unwrap();
        assert_eq!(first, Some(("fc1".to_owned(), "its code differs from the kernel")));
    }

    /// Moves every addend of the requantisation by several steps, far within 32 bits.
    fn spoil(kernel: &mut Kernel) {
        let add = kernel
            .bufs
            .iter_mut()
            .find(|b| b.name == "add")
            .expect("an int8 layer has addends");
        let shift = 3 << 24;
        for lit in &mut add.data {
            if let Lit::Int(value, _) = lit {
                *value += shift;
            }
        }
    }
}
