//! An ONNX file run by tract, independently of the trainer.

use crate::data::Dataset;
use anyhow::{Context, Result, ensure};
use std::io::Cursor;
use std::path::Path;
use tract_onnx::prelude::*;

/// Images per run.
const BATCH: usize = 100;

/// A loaded ONNX file whose input is a batch of uint8 images and whose output is a row of scores per image.
pub struct Reference {
    plan: Arc<TypedRunnableModel>,
    shape: [usize; 3],
    batch: usize,
}

impl Reference {
    /// Loads a file's bytes for images of this shape, `batch` of them at a time.
    ///
    /// The model is typed but not optimised: tract 0.23.9's optimiser is wrong on DequantizeLinear, Softmax, QuantizeLinear.
    ///
    /// # Errors
    /// Bytes that are no ONNX file, or one that tract does not run on images of this shape.
    pub fn new(bytes: &[u8], shape: [usize; 3], batch: usize) -> Result<Reference> {
        let [channels, rows, columns] = shape;
        let fact = InferenceFact::dt_shape(u8::datum_type(), [batch, channels, rows, columns]);
        let model = onnx().model_for_read(&mut Cursor::new(bytes))?;
        let plan = model.with_input_fact(0, fact)?.into_typed()?.into_runnable()?;
        Ok(Reference { plan, shape, batch })
    }

    /// Scores of the images, row after row; the last batch is filled up with black ones.
    ///
    /// # Errors
    /// Images that the network does not take, or scores that are not f32.
    pub fn scores(&self, images: &[u8]) -> Result<Vec<f32>> {
        let [channels, rows, columns] = self.shape;
        let size = channels * rows * columns;
        let mut scores = Vec::new();
        for batch in images.chunks(self.batch * size) {
            let mut pixels = batch.to_vec();
            pixels.resize(self.batch * size, 0);
            let input = Tensor::from_shape(&[self.batch, channels, rows, columns], &pixels)?;
            let output = self.plan.run(tvec!(input.into()))?;
            let view = output[0].to_plain_array_view::<f32>()?;
            let values = view.as_slice().context("scores are not contiguous")?;
            scores.extend_from_slice(&values[..values.len() / self.batch * (batch.len() / size)]);
        }
        Ok(scores)
    }
}

/// Share of the images of `set` that the ONNX file at `path` classifies correctly.
///
/// # Errors
/// A set without images, or a file that cannot be read or that tract does not run.
pub fn accuracy(path: &Path, set: &Dataset) -> Result<f64> {
    ensure!(!set.is_empty(), "no images to measure with");
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let scores = Reference::new(&bytes, set.shape, BATCH)
        .and_then(|reference| reference.scores(&set.images))
        .with_context(|| format!("tract cannot run {}", path.display()))?;
    Ok(hits(&scores, &set.labels) as f64 / set.len() as f64)
}

/// Rows whose greatest score (the first of equals) is at the label.
pub fn hits(scores: &[f32], labels: &[u16]) -> usize {
    let classes = scores.len() / labels.len().max(1);
    let best = |row: &[f32]| (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    scores
        .chunks(classes.max(1))
        .zip(labels)
        .filter(|(row, label)| best(row) == **label as usize)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_count_first_maxima() {
        let scores = [0.0, 2.0, 1.0, 5.0, 5.0, 1.0, -3.0, -2.0, -1.0];
        assert_eq!(hits(&scores, &[1, 0, 2]), 3);
        assert_eq!(hits(&scores, &[1, 1, 0]), 1);
    }
}
