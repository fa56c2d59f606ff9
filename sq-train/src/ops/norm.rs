//! Batch normalisation in training, on plain slices laid out `[batch, channels, map]`.
//!
//! The framework's own is a chain of single-threaded elementwise passes. Here: one pass for the mean, one for the variance
//! about it (a sum of squares minus a square would cancel), one to normalise, all over samples in parallel. Sums over a
//! sample are f32, sums over samples f64, in a fixed order.

use rayon::prelude::*;

/// Lanes that a sum is split into so that the compiler can vectorise it.
const LANES: usize = 16;

/// Shape of a normalised tensor.
#[derive(Clone, Copy, Debug)]
pub struct NormShape {
    /// Samples.
    pub batch: usize,
    /// Channels, each with its own statistics.
    pub channels: usize,
    /// Elements of one channel of one sample.
    pub map: usize,
}

impl NormShape {
    fn sample(&self) -> usize {
        self.channels * self.map
    }

    fn count(&self) -> f64 {
        (self.batch * self.map) as f64
    }

    fn channel(&self, c: usize) -> std::ops::Range<usize> {
        c * self.map..(c + 1) * self.map
    }
}

/// Result of [`forward`].
pub struct Normalised {
    /// `gamma (x - mean) / sqrt(variance + epsilon) + beta`.
    pub y: Vec<f32>,
    /// Mean of every channel.
    pub mean: Vec<f32>,
    /// Biased variance of every channel.
    pub variance: Vec<f32>,
}

/// Normalises `x` by its own statistics.
pub fn forward(s: NormShape, x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) -> Normalised {
    let mean: Vec<f32> = channel_sums(s, x, x, |_, x, _| x)
        .iter()
        .map(|v| (v / s.count()) as f32)
        .collect();
    let squares = channel_sums(s, x, x, |c, x, _| (x - mean[c]) * (x - mean[c]));
    let variance: Vec<f32> = squares.iter().map(|v| (v / s.count()) as f32).collect();
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(s.sample())
        .zip(x.par_chunks(s.sample()))
        .for_each(|(y, x)| {
            for c in 0..s.channels {
                let a = gamma[c] / (variance[c] + epsilon).sqrt();
                let b = beta[c] - a * mean[c];
                y[s.channel(c)]
                    .iter_mut()
                    .zip(&x[s.channel(c)])
                    .for_each(|(y, x)| *y = a * x + b);
            }
        });
    Normalised { y, mean, variance }
}

/// Gradients of `x`, `gamma` and `beta` from that of the output, with the statistics that [`forward`] returned.
pub fn backward(
    s: NormShape,
    x: &[f32],
    gamma: &[f32],
    mean: &[f32],
    variance: &[f32],
    dy: &[f32],
    epsilon: f32,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let inverse: Vec<f32> = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
    let dbeta: Vec<f32> = channel_sums(s, x, dy, |_, _, g| g).iter().map(|&v| v as f32).collect();
    let products = channel_sums(s, x, dy, |c, x, g| g * (x - mean[c]));
    let dgamma: Vec<f32> = products.iter().zip(&inverse).map(|(&v, i)| v as f32 * i).collect();
    let count = s.count() as f32;
    let mut dx = vec![0.0; x.len()];
    let samples = x.par_chunks(s.sample()).zip(dy.par_chunks(s.sample()));
    dx.par_chunks_mut(s.sample()).zip(samples).for_each(|(dx, (x, dy))| {
        for c in 0..s.channels {
            let (scale, p, q) = (gamma[c] * inverse[c], dbeta[c] / count, dgamma[c] * inverse[c] / count);
            let range = s.channel(c);
            for ((dx, x), g) in dx[range.clone()].iter_mut().zip(&x[range.clone()]).zip(&dy[range]) {
                *dx = scale * (g - p - (x - mean[c]) * q);
            }
        }
    });
    (dx, dgamma, dbeta)
}

/// Per channel, the sum of `term(channel, x, z)` over samples and map.
fn channel_sums(s: NormShape, x: &[f32], z: &[f32], term: impl Fn(usize, f32, f32) -> f32 + Sync) -> Vec<f64> {
    let per_sample: Vec<Vec<f32>> = x
        .par_chunks(s.sample())
        .zip(z.par_chunks(s.sample()))
        .map(|(x, z)| {
            (0..s.channels)
                .map(|c| lane_sum(&x[s.channel(c)], &z[s.channel(c)], |x, z| term(c, x, z)))
                .collect()
        })
        .collect();
    (0..s.channels)
        .map(|c| per_sample.iter().map(|sample| sample[c] as f64).sum())
        .collect()
}

fn lane_sum(x: &[f32], z: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (xs, zs) = (x.chunks_exact(LANES), z.chunks_exact(LANES));
    let rest: f32 = xs
        .remainder()
        .iter()
        .zip(zs.remainder())
        .map(|(&x, &z)| term(x, z))
        .sum();
    for (x, z) in xs.zip(zs) {
        for i in 0..LANES {
            lanes[i] += term(x[i], z[i]);
        }
    }
    lanes.iter().sum::<f32>() + rest
}
