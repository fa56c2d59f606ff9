//! The float model, run by tract: what generated code is held against.
//!
//! The graph is typed but never optimised or decluttered: tract 0.23.9's optimiser is wrong on DequantizeLinear, Softmax,
//! QuantizeLinear (every result is 127).

use crate::diag::{Code, Diag, Result};
use crate::ir::{Elem, Ty};
use std::path::Path;
use std::sync::Arc;
use tract_onnx::prelude::*;

/// Samples per run: tract sets up a convolution anew in every run, which a batch shares.
const BATCH: usize = 50;

/// A model, ready to run.
pub struct Reference {
    plan: Arc<TypedRunnableModel>,
    ty: Ty,
    batch: usize,
}

impl Reference {
    /// Reads the file, whose input (without the batch) is of type `ty`. Its own result comes first, then the values of the
    /// nodes named in `watched`.
    ///
    /// # Errors
    /// [`Code::Reference`] with tract's words where it does not read the model, or knows no node of such a name.
    pub fn load(path: &Path, ty: &Ty, watched: &[&str]) -> Result<Reference> {
        Self::load_for(path, ty, watched, BATCH)
    }

    /// The same for runs of so many samples each.
    ///
    /// # Errors
    /// As for [`Reference::load`].
    pub fn load_for(path: &Path, ty: &Ty, watched: &[&str], batch: usize) -> Result<Reference> {
        let build = |batch| -> TractResult<_> {
            let fact = InferenceFact::dt_shape(datum(ty.elem), shape(ty, batch));
            let mut model = onnx().model_for_path(path)?.with_input_fact(0, fact)?.into_typed()?;
            let mut outlets = vec![model.output_outlets()?[0]];
            for name in watched {
                outlets.push(OutletId::new(model.node_by_name(name)?.id, 0));
            }
            model.select_output_outlets(&outlets)?;
            model.into_runnable()
        };
        // Some models are made for a batch of one: their Reshape, or the input itself, says so.
        let built = build(batch)
            .map(|plan| (plan, batch))
            .or_else(|_| build(1).map(|plan| (plan, 1)));
        let (plan, batch) = built.map_err(|e| failed(e).file(path))?;
        Ok(Reference {
            plan,
            ty: ty.clone(),
            batch,
        })
    }

    /// Runs `samples` (little-endian elements, one sample after the other). For the result and each watched node: the values
    /// of all samples, as `f32`.
    ///
    /// # Errors
    /// [`Code::Reference`] with tract's words.
    pub fn run(&self, samples: &[u8]) -> Result<Vec<Vec<f32>>> {
        let element = if matches!(self.ty.elem, Elem::Real | Elem::F32) {
            4
        } else {
            1
        };
        let size = self.ty.len() * element;
        let mut all: Vec<Vec<f32>> = Vec::new();
        for batch in samples.chunks(self.batch * size) {
            let used = batch.len() / size;
            let mut bytes = batch.to_vec();
            bytes.resize(self.batch * size, 0);
            let run = || -> TractResult<Vec<Vec<f32>>> {
                let input = tensor(self.ty.elem, &shape(&self.ty, self.batch), &bytes)?;
                let outputs = self.plan.run(tvec!(input.into()))?;
                outputs
                    .iter()
                    .map(|value| {
                        let floats = value.cast_to::<f32>()?;
                        let values = floats.to_plain_array_view::<f32>()?;
                        let per_sample = values.len() / self.batch;
                        Ok(values.iter().take(per_sample * used).copied().collect())
                    })
                    .collect()
            };
            let outputs = run().map_err(failed)?;
            all.resize(outputs.len(), Vec::new());
            for (so_far, new) in all.iter_mut().zip(outputs) {
                so_far.extend(new);
            }
        }
        Ok(all)
    }
}

fn failed(e: TractError) -> Diag {
    Diag::new(Code::Reference, format!("{e:#}"))
}

fn shape(ty: &Ty, batch: usize) -> Vec<usize> {
    [&[batch], &ty.shape[..]].concat()
}

fn datum(elem: Elem) -> DatumType {
    match elem {
        Elem::U8 => u8::datum_type(),
        Elem::I8 | Elem::Sign => i8::datum_type(),
        Elem::I32 => i32::datum_type(),
        Elem::Real | Elem::F32 => f32::datum_type(),
    }
}

fn tensor(elem: Elem, shape: &[usize], bytes: &[u8]) -> TractResult<Tensor> {
    match elem {
        Elem::U8 => Tensor::from_shape(shape, bytes),
        Elem::I8 | Elem::Sign => Tensor::from_shape(shape, &bytes.iter().map(|b| *b as i8).collect::<Vec<_>>()),
        Elem::I32 => {
            let (words, _) = bytes.as_chunks();
            Tensor::from_shape(shape, &words.iter().map(|w| i32::from_le_bytes(*w)).collect::<Vec<_>>())
        }
        Elem::Real | Elem::F32 => {
            let floats = bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Tensor::from_shape(shape, &floats.collect::<Vec<_>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/lenet5_int8.onnx");

    #[test]
    fn batches_are_joined_and_nodes_can_be_watched() {
        let ty = Ty::new(Elem::U8, [1, 28, 28]);
        let reference = Reference::load(Path::new(MODEL), &ty, &["conv1.act.quantize"]).unwrap();
        let samples = data::synthetic(&ty, BATCH + 1);
        let all = reference.run(&samples.bytes).unwrap();
        assert_eq!(
            [all[0].len(), all[1].len()],
            [(BATCH + 1) * 10, (BATCH + 1) * 32 * 12 * 12]
        );
        let last = reference.run(samples.get(BATCH)).unwrap();
        assert_eq!(last[0], all[0][BATCH * 10..]);
        assert!(
            all[1]
                .iter()
                .all(|level| (0.0..=127.0).contains(level) && level.fract() == 0.0)
        );
        assert!(all[1].iter().any(|level| *level > 0.0));
    }

    #[test]
    fn an_unknown_node_is_an_error() {
        let ty = Ty::new(Elem::U8, [1, 28, 28]);
        let error = Reference::load(Path::new(MODEL), &ty, &["nobody"]).err().unwrap();
        assert_eq!(error[0].code, Code::Reference);
    }
}
