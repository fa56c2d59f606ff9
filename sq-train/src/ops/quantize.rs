//! Quantizers and the regulariser over whole tensors, on plain slices, with their straight-through gradients.

use crate::quant::SqShape;
use rayon::prelude::*;

/// Elements per parallel task: large enough to pay for the task, small enough to share a layer between cores.
const CHUNK: usize = 16_384;

/// The straight-through gradient of a weight is cut where `|w| > CLIP * mu`: beyond it a step cannot change the quantised
/// value any more, and only the regulariser, which draws the weight back, acts.
pub const CLIP: f32 = 3.0;

/// Largest level of an int8 activation; zero point 0, and never negative after ReLU.
pub const INT8_TOP: f32 = 127.0;

/// Quantised weights, `mu * level(w)`.
pub fn weights(shape: &SqShape, mu: f32, w: &[f32]) -> Vec<f32> {
    map(w, |w| mu * shape.level(w))
}

/// Gradients of the latent weights (clipped straight-through) and of `mu` (the sum of `level * dq`).
pub fn weights_backward(shape: &SqShape, mu: f32, w: &[f32], dq: &[f32]) -> (Vec<f32>, f32) {
    let dw = map2(w, dq, |w, g| if w.abs() <= CLIP * mu { g } else { 0.0 });
    (dw, sum2(w, dq, |w, g| shape.level(w) * g) as f32)
}

/// Mean of the regulariser over the weights.
pub fn regulariser(shape: &SqShape, w: &[f32]) -> f32 {
    (sum2(w, w, |w, _| shape.pull(w).value) / w.len() as f64) as f32
}

/// Gradients of [`regulariser`]: by the weights, by `mu`, by `beta`, each times `upstream`.
pub fn regulariser_backward(shape: &SqShape, w: &[f32], upstream: f32) -> (Vec<f32>, f32, f32) {
    let scale = upstream / w.len() as f32;
    let dw = map(w, |w| scale * shape.pull(w).dw);
    let dmu = sum2(w, w, |w, _| shape.pull(w).dmu) as f32 * scale;
    let dbeta = sum2(w, w, |w, _| shape.pull(w).dbeta) as f32 * scale;
    (dw, dmu, dbeta)
}

/// How an activation is quantised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Levels {
    /// ReLU, then `scale * round(x / scale)`, at most `127 * scale`; halves to even, as ONNX rounds.
    Int8 {
        /// Step between levels.
        scale: f32,
    },
    /// +1 where `x >= 0`, else -1.
    Sign,
}

impl Levels {
    fn quantize(self, x: f32) -> f32 {
        match self {
            Levels::Int8 { scale } => (x / scale).round_ties_even().clamp(0.0, INT8_TOP) * scale,
            Levels::Sign => {
                if x >= 0.0 {
                    1.0
                } else {
                    -1.0
                }
            }
        }
    }

    /// Whether the straight-through gradient passes at `x`.
    fn passes(self, x: f32) -> bool {
        match self {
            Levels::Int8 { scale } => x > 0.0 && x < INT8_TOP * scale,
            Levels::Sign => x.abs() <= 1.0,
        }
    }
}

/// Quantised activations.
pub fn activations(levels: Levels, x: &[f32]) -> Vec<f32> {
    map(x, |x| levels.quantize(x))
}

/// Clipped straight-through gradient of [`activations`].
pub fn activations_backward(levels: Levels, x: &[f32], dy: &[f32]) -> Vec<f32> {
    map2(x, dy, |x, g| if levels.passes(x) { g } else { 0.0 })
}

fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    map2(x, x, |x, _| f(x))
}

fn map2(x: &[f32], z: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let inputs = x.par_chunks(CHUNK).zip(z.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, (x, z))| {
        for ((out, x), z) in out.iter_mut().zip(x).zip(z) {
            *out = f(*x, *z);
        }
    });
    out
}

/// Sum in an order that does not depend on the number of threads.
fn sum2(x: &[f32], z: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> f64 {
    let chunks: Vec<f64> = x
        .par_chunks(CHUNK)
        .zip(z.par_chunks(CHUNK))
        .map(|(x, z)| x.iter().zip(z).map(|(x, z)| f(*x, *z) as f64).sum())
        .collect();
    chunks.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::Power;

    fn ternary() -> SqShape {
        SqShape::new(0.5, std::f32::consts::FRAC_PI_4, Power::One, 0.05)
    }

    #[test]
    fn weights_and_their_gradients() {
        let w = [-2.0, -0.3, 0.1, 0.3, 1.4];
        assert_eq!(weights(&ternary(), 0.5, &w), [-0.5, -0.5, 0.0, 0.5, 0.5]);
        let (dw, dmu) = weights_backward(&ternary(), 0.5, &w, &[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(dw, [0.0, 2.0, 3.0, 4.0, 5.0]); // the first lies beyond 3 mu
        assert_eq!(dmu, -1.0 - 2.0 + 4.0 + 5.0);
    }

    #[test]
    fn regulariser_is_a_mean_and_its_gradients_are_too() {
        let w = [0.1, 0.6];
        assert!((regulariser(&ternary(), &w) - 0.1).abs() < 1e-6);
        let (dw, dmu, dbeta) = regulariser_backward(&ternary(), &w, 10.0);
        assert!((dw[0] - 5.0).abs() < 1e-5 && (dw[1] - 5.0).abs() < 1e-5);
        assert!((dmu + 5.0).abs() < 1e-5);
        assert!((dbeta - 10.0 * 2.0 * 0.1 / 2.0).abs() < 1e-5);
    }

    #[test]
    fn activation_levels() {
        let int8 = Levels::Int8 { scale: 0.5 };
        assert_eq!(
            activations(int8, &[-3.0, 0.25, 0.75, 0.8, 63.4, 99.0]),
            [0.0, 0.0, 1.0, 1.0, 63.5, 63.5]
        );
        assert_eq!(
            activations_backward(int8, &[-3.0, 0.25, 63.4, 99.0], &[1.0; 4]),
            [0.0, 1.0, 1.0, 0.0]
        );
        assert_eq!(
            activations(Levels::Sign, &[-0.1, -0.0, 0.0, 7.0]),
            [-1.0, 1.0, 1.0, 1.0]
        );
        assert_eq!(
            activations_backward(Levels::Sign, &[-1.5, -1.0, 0.2, 1.5], &[1.0; 4]),
            [0.0, 1.0, 1.0, 0.0]
        );
    }
}
