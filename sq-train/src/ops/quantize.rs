//! Quantizers over whole tensors, on plain slices, with their straight-through gradients; the gradient of the regulariser
//! is computed in the same pass as that of the quantised weights.
//!
//! A straight-through estimator gives a step function the gradient of a smooth one (Bengio, Leonard, Courville,
//! "Estimating or Propagating Gradients Through Stochastic Neurons", arXiv 1308.3432). Those here:
//!
//! | what | gradient | after |
//! |---|---|---|
//! | weights | 1 where `\|w\| <= 3 mu` | clipped identity, as BinaryConnect (arXiv 1511.00363) clips at 1 |
//! | binary activations, `hardtanh` | 1 where `\|x\| <= 1` | Courbariaux et al., "Binarized Neural Networks", arXiv 1602.02830 |
//! | binary activations, `approx-sign` | `2 - 2\|x\|` where `\|x\| <= 1` | Liu et al., "Bi-Real Net", arXiv 1808.00278 |
//! | ternary activations | 1 where `\|x\| <= 1` | rectangular window of Deng et al., "GXNOR-Net", arXiv 1705.09283, `r = a = 1/2` |
//! | int8 activations | 1 where `0 < x < top`; of `top`: 1 where `x >= top` | Choi et al., "PACT", arXiv 1805.06085 |

use crate::quant::{Cut, Power, Rule, Scale, WeightKind, sign_or_zero};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Elements per parallel task: large enough to pay for the task, small enough to share a layer between cores.
const CHUNK: usize = 16_384;

/// Lanes that a sum is split into so that the compiler can vectorise it.
const LANES: usize = 16;

/// The straight-through gradient of a weight is cut where `|w| > CLIP * mu`: beyond it a step cannot change the quantised
/// value any more, and only the regulariser, which draws the weight back, acts.
pub const CLIP: f32 = 3.0;

/// Largest level of int8 weights and activations; activations have zero point 0 and are never negative after ReLU.
pub const INT8_TOP: f32 = 127.0;

/// Level of an int8 weight; halves to even, as ONNX rounds.
pub fn int8_level(w: f32, step: f32) -> f32 {
    (w / step).round_ties_even().clamp(-INT8_TOP, INT8_TOP)
}

/// How long a chunk of weights is so that it lies within one channel.
fn chunk(rule: &Rule, weights: usize) -> usize {
    if rule.channels == 1 {
        CHUNK
    } else {
        (weights / rule.channels).max(1)
    }
}

/// Chunks that one task takes.
fn chunks_per_task(chunk: usize) -> usize {
    CHUNK.div_ceil(chunk)
}

/// Quantised weights.
pub fn weights(rule: &Rule, w: &[f32], mu: &[f32], beta: f32) -> Vec<f32> {
    let cuts = rule.cuts(w, mu, beta);
    let len = chunk(rule, w.len());
    let mut q = vec![0.0; w.len()];
    q.par_chunks_mut(len)
        .zip(w.par_chunks(len))
        .enumerate()
        .with_min_len(chunks_per_task(len))
        .for_each(|(i, (q, w))| {
            let cut = cuts[if rule.channels == 1 { 0 } else { i }];
            let pairs = q.iter_mut().zip(w);
            match rule.kind {
                WeightKind::Float => pairs.for_each(|(q, &w)| *q = w),
                WeightKind::Int8 => pairs.for_each(|(q, &w)| *q = cut.mu * int8_level(w, cut.mu)),
                _ => pairs.for_each(|(q, &w)| *q = cut.mu * cut.level(w)),
            }
        });
    q
}

/// The regulariser's part of the objective, `lambda (mean R(w) + gamma |cot(beta)|)`; 0 but under Smart Quantization.
pub fn penalty(rule: &Rule, w: &[f32], mu: &[f32], beta: f32) -> f32 {
    if rule.kind != WeightKind::Sq {
        return 0.0;
    }
    let cuts = rule.cuts(w, mu, beta);
    let groups = w.chunks((w.len() / cuts.len()).max(1)).zip(&cuts);
    let sum: f64 = groups
        .map(|(w, cut)| {
            let shape = rule.shape(cut.mu, beta);
            w.iter().map(|&w| shape.pull(w).value as f64).sum::<f64>()
        })
        .sum();
    rule.lambda * ((sum / w.len() as f64) as f32 + rule.gamma / beta.tan().abs())
}

/// Gradients of a layer's quantised weights and of its [`penalty`] together.
pub struct WeightGradients {
    /// By the latent weights: straight through, plus the regulariser's, plus weight decay.
    pub w: Vec<f32>,
    /// By the scales.
    pub mu: Vec<f32>,
    /// By the shape; 0 where it is frozen.
    pub beta: f32,
}

/// Gradients from `dq`, that of the quantised weights. A statistical scale counts as a constant.
pub fn weights_backward(rule: &Rule, w: &[f32], mu: &[f32], beta: f32, dq: &[f32]) -> WeightGradients {
    let cuts = rule.cuts(w, mu, beta);
    let len = chunk(rule, w.len());
    let strength = match rule.kind {
        WeightKind::Sq => rule.lambda / w.len() as f32,
        _ => 0.0,
    };
    let mut dw = vec![0.0; w.len()];
    let sums: Vec<[f64; 2]> = dw
        .par_chunks_mut(len)
        .zip(w.par_chunks(len).zip(dq.par_chunks(len)))
        .enumerate()
        .with_min_len(chunks_per_task(len))
        .map(|(i, (dw, (w, dq)))| {
            let cut = cuts[if rule.channels == 1 { 0 } else { i }];
            match rule.kind {
                WeightKind::Float | WeightKind::Int8 => {
                    dw.iter_mut()
                        .zip(w.iter().zip(dq))
                        .for_each(|(dw, (&w, &g))| *dw = g + rule.decay * w);
                    [0.0; 2]
                }
                _ => {
                    let pass = Pass::new(rule, cut, beta, strength);
                    match rule.power {
                        Power::One => pass.run::<false>(dw, w, dq),
                        Power::Two => pass.run::<true>(dw, w, dq),
                    }
                }
            }
        })
        .collect();
    let mut dmu = vec![0.0f32; mu.len()];
    if rule.scale == Scale::Learned {
        match rule.channels {
            1 => dmu[0] = sums.iter().map(|s| s[0]).sum::<f64>() as f32,
            _ => dmu.iter_mut().zip(&sums).for_each(|(d, s)| *d = s[0] as f32),
        }
    }
    let beta_free = rule.kind == WeightKind::Sq && !rule.frozen;
    let dbeta = match beta_free {
        true => sums.iter().map(|s| s[1]).sum::<f64>() as f32 - rule.lambda * rule.gamma / beta.sin().powi(2),
        false => 0.0,
    };
    WeightGradients {
        w: dw,
        mu: dmu,
        beta: dbeta,
    }
}

/// The constants of one channel's pass over its weights. `SqShape::pull` has the same formulas for one weight; the tests
/// hold the two together. Here they are without branches, so that the loop vectorises.
struct Pass {
    cut: Cut,
    /// Crossing of the regulariser's branches, which a binary layer has too.
    crossing: f32,
    clip: f32,
    tan: f32,
    sec2: f32,
    strength: f32,
    decay: f32,
}

impl Pass {
    fn new(rule: &Rule, cut: Cut, beta: f32, strength: f32) -> Pass {
        let tan = beta.tan();
        Pass {
            cut,
            crossing: rule.shape(cut.mu, beta).delta(),
            clip: CLIP * cut.mu,
            tan,
            sec2: 1.0 + tan * tan,
            strength,
            decay: rule.decay,
        }
    }

    /// Writes the gradients of the weights; returns the sums of those of the scale and of the shape.
    fn run<const SQUARE: bool>(&self, dw: &mut [f32], w: &[f32], dq: &[f32]) -> [f64; 2] {
        let mut sums = [[0.0f32; LANES]; 2];
        let (dw, dw_rest) = dw.as_chunks_mut::<LANES>();
        let ((w, w_rest), (dq, dq_rest)) = (w.as_chunks::<LANES>(), dq.as_chunks::<LANES>());
        for ((dw, w), dq) in dw.iter_mut().zip(w).zip(dq) {
            self.lanes::<SQUARE>(dw, w, dq, &mut sums);
        }
        self.lanes::<SQUARE>(dw_rest, w_rest, dq_rest, &mut sums);
        let [mu, beta] = sums.map(|lanes| lanes.iter().map(|&v| v as f64).sum::<f64>());
        [mu, beta * self.strength as f64]
    }

    /// Up to [`LANES`] weights; inlined where there are exactly so many, it is a handful of vector instructions.
    #[inline(always)]
    fn lanes<const SQUARE: bool>(&self, dw: &mut [f32], w: &[f32], dq: &[f32], [mu, beta]: &mut [[f32; LANES]; 2]) {
        for (i, ((dw, &w), &g)) in dw.iter_mut().zip(w).zip(dq).enumerate() {
            let a = w.abs();
            let d = a - self.cut.mu;
            let sign = sign_or_zero(w);
            let inner = a < self.crossing;
            let (to_zero, to_mu, by_beta) = match SQUARE {
                true => (2.0 * self.tan * w, 2.0 * d * sign, self.sec2 * a * a),
                false => (self.tan * sign, sign_or_zero(d) * sign, self.sec2 * a),
            };
            let by_mu = if SQUARE { -2.0 * d } else { -sign_or_zero(d) };
            let through = if a <= self.clip { g } else { 0.0 };
            *dw = through + self.strength * if inner { to_zero } else { to_mu } + self.decay * w;
            mu[i] += g * self.cut.level(w) + self.strength * if inner { 0.0 } else { by_mu };
            beta[i] += if inner { by_beta } else { 0.0 };
        }
    }
}

/// How an activation is quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// ReLU, then 127 steps up to `top`; halves to even, as ONNX rounds.
    Int8,
    /// -1, 0 and 1: `x` clipped to [-1, 1] and rounded, halves to even, so that 0 reaches up to 1/2.
    Ternary,
    /// +1 where `x >= 0`, else -1.
    Sign(Estimator),
}

/// Straight-through estimator of a sign; see the top of this file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// Derivative of the hard tanh (arXiv 1602.02830).
    #[default]
    Hardtanh,
    /// Derivative of the piecewise parabola of Bi-Real Net (arXiv 1808.00278).
    ApproxSign,
}

impl Levels {
    fn quantize(self, x: f32, top: f32) -> f32 {
        match self {
            Levels::Int8 => {
                let step = top / INT8_TOP;
                (x / step).round_ties_even().clamp(0.0, INT8_TOP) * step
            }
            Levels::Ternary => x.clamp(-1.0, 1.0).round_ties_even(),
            Levels::Sign(_) => {
                if x >= 0.0 {
                    1.0
                } else {
                    -1.0
                }
            }
        }
    }

    /// Factor of the gradient at `x`.
    fn slope(self, x: f32, top: f32) -> f32 {
        let a = x.abs();
        match self {
            Levels::Int8 if x > 0.0 && x < top => 1.0,
            Levels::Ternary | Levels::Sign(Estimator::Hardtanh) if a <= 1.0 => 1.0,
            Levels::Sign(Estimator::ApproxSign) if a <= 1.0 => 2.0 - 2.0 * a,
            _ => 0.0,
        }
    }
}

/// Quantised activations; `top` is the value of the highest int8 level.
pub fn activations(levels: Levels, x: &[f32], top: f32) -> Vec<f32> {
    map2(x, x, |x, _| levels.quantize(x, top))
}

/// Straight-through gradients of [`activations`]: by the input, by `top`.
pub fn activations_backward(levels: Levels, x: &[f32], top: f32, dy: &[f32]) -> (Vec<f32>, f32) {
    let dx = map2(x, dy, |x, g| g * levels.slope(x, top));
    let dtop = match levels {
        Levels::Int8 => sum2(x, dy, |x, g| if x >= top { g } else { 0.0 }) as f32,
        _ => 0.0,
    };
    (dx, dtop)
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
    use crate::quant::Depth;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const KINDS: [WeightKind; 5] = [
        WeightKind::Float,
        WeightKind::Int8,
        WeightKind::Binary,
        WeightKind::Ternary,
        WeightKind::Sq,
    ];

    fn rule(kind: WeightKind, channels: usize, power: Power) -> Rule {
        Rule {
            kind,
            channels,
            scale: Scale::Learned,
            power,
            epsilon: 0.05,
            lambda: 1.7,
            gamma: 0.3,
            decay: 0.0,
            frozen: false,
        }
    }

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = StdRng::seed_from_u64(seed);
        (0..n).map(|_| rng.random_range(-1.2f32..1.2)).collect()
    }

    /// The penalty's gradients by every weight, scale and the shape.
    #[test]
    fn every_term_equals_finite_differences() {
        // Scale and shape move the kinks themselves: a short step, so that no weight lies between where they were and are.
        let (h, short, beta) = (2e-3f32, 2e-4f32, 1.1f32);
        for power in [Power::One, Power::Two] {
            for channels in [1, 3] {
                let rule = rule(WeightKind::Sq, channels, power);
                let w = random(24, 5);
                let mu: Vec<f32> = (0..channels).map(|c| 0.4 + 0.1 * c as f32).collect();
                let zero = vec![0.0; w.len()];
                let got = weights_backward(&rule, &w, &mu, beta, &zero);
                let value = |w: &[f32], mu: &[f32], beta: f32| penalty(&rule, w, mu, beta);
                let close = |name: &str, got: f32, want: f32| {
                    assert!(
                        (got - want).abs() < 4e-3 * (1.0 + want.abs()),
                        "{power:?} {channels} {name}: {got} {want}"
                    );
                };
                for i in 0..w.len() {
                    let a = w[i].abs();
                    let cut = mu[i * channels / w.len()];
                    let kinks = [0.0, rule.shape(cut, beta).delta(), cut];
                    if kinks.iter().any(|k| (a - k).abs() < 2.0 * h) {
                        continue; // a difference across a kink is no derivative
                    }
                    let moved = |by: f32| {
                        let mut w = w.clone();
                        w[i] += by;
                        value(&w, &mu, beta)
                    };
                    close("dw", got.w[i], (moved(h) - moved(-h)) / (2.0 * h));
                }
                for c in 0..channels {
                    let moved = |by: f32| {
                        let mut mu = mu.clone();
                        mu[c] += by;
                        value(&w, &mu, beta)
                    };
                    close("dmu", got.mu[c], (moved(short) - moved(-short)) / (2.0 * short));
                }
                let slope = (value(&w, &mu, beta + short) - value(&w, &mu, beta - short)) / (2.0 * short);
                close("dbeta", got.beta, slope);
            }
        }
    }

    #[test]
    fn scale_gradient_of_the_quantised_weights_equals_finite_differences() {
        for kind in [WeightKind::Binary, WeightKind::Ternary, WeightKind::Sq] {
            let rule = Rule {
                lambda: 0.0,
                ..rule(kind, 2, Power::One)
            };
            let (w, g, h) = (random(40, 1), random(40, 2), 1e-4);
            // A binary beta: with a threshold in it, the set of zeros would move with mu.
            let beta = crate::quant::BETA_MAX;
            let value = |mu: &[f32]| -> f32 { weights(&rule, &w, mu, beta).iter().zip(&g).map(|(q, g)| q * g).sum() };
            let got = weights_backward(&rule, &w, &[0.5, 0.6], beta, &g);
            for c in 0..2 {
                let moved = |by: f32| {
                    let mut mu = [0.5, 0.6];
                    mu[c] += by;
                    value(&mu)
                };
                let want = (moved(h) - moved(-h)) / (2.0 * h);
                assert!((got.mu[c] - want).abs() < 2e-2, "{kind:?} {c}: {} {want}", got.mu[c]);
            }
        }
    }

    #[test]
    fn one_pass_equals_the_formulas_for_one_weight() {
        for power in [Power::One, Power::Two] {
            for beta in [0.8, 1.3, crate::quant::BETA_MAX] {
                let rule = rule(WeightKind::Sq, 1, power);
                let mut w = random(1000, 9);
                w[0] = 0.0;
                let (g, mu) = (random(1000, 4), [0.5]);
                let got = weights_backward(&rule, &w, &mu, beta, &g);
                let shape = rule.shape(mu[0], beta);
                let scale = rule.lambda / w.len() as f32;
                let (mut dmu, mut dbeta) = (0.0f64, 0.0f64);
                for i in 0..w.len() {
                    let pull = shape.pull(w[i]);
                    let through = if w[i].abs() <= CLIP * mu[0] { g[i] } else { 0.0 };
                    assert!((got.w[i] - through - scale * pull.dw).abs() < 1e-6);
                    let level = match shape.depth() {
                        Depth::Ternary if w[i].abs() <= shape.delta() => 0.0,
                        _ if w[i] < 0.0 => -1.0,
                        _ => 1.0,
                    };
                    dmu += (g[i] * level + scale * pull.dmu) as f64;
                    dbeta += (scale * pull.dbeta) as f64;
                }
                let cot = rule.lambda * rule.gamma / beta.sin().powi(2);
                assert!(
                    (got.mu[0] as f64 - dmu).abs() < 1e-3 * (1.0 + dmu.abs()),
                    "{power:?} {beta}"
                );
                let want = dbeta - cot as f64;
                assert!(
                    (got.beta as f64 - want).abs() < 1e-3 * (1.0 + dbeta.abs()),
                    "{power:?} {beta}"
                );
            }
        }
    }

    #[test]
    fn weights_are_levels_of_their_channel() {
        let w = [0.1, -0.6, 0.9, -0.2];
        let rule = |kind| rule(kind, 2, Power::One);
        let mu = [0.5, 2.0];
        let at = |kind| weights(&rule(kind), &w, &mu, crate::quant::BETA_MIN);
        assert_eq!(at(WeightKind::Binary), [0.5, -0.5, 2.0, -2.0]);
        assert_eq!(at(WeightKind::Ternary), [0.0, -0.5, 2.0, 0.0]);
        assert_eq!(at(WeightKind::Sq), [0.0, -0.5, 0.0, 0.0]);
        assert_eq!(at(WeightKind::Float), w);
        let int8 = at(WeightKind::Int8);
        assert!(
            int8.iter().zip(w).all(|(q, w)| (q - w).abs() < 0.9 / 254.0 + 1e-6),
            "{int8:?}"
        );
    }

    #[test]
    fn straight_through_is_clipped_and_decay_is_added() {
        for kind in KINDS {
            let rule = Rule {
                lambda: 0.0,
                decay: 0.5,
                ..rule(kind, 1, Power::One)
            };
            let got = weights_backward(&rule, &[-2.0, 0.1], &[0.5], 0.8, &[1.0, 2.0]);
            let cut = matches!(kind, WeightKind::Binary | WeightKind::Ternary | WeightKind::Sq);
            assert_eq!(got.w, [if cut { -1.0 } else { 0.0 }, 2.05], "{kind:?}");
            assert_eq!(got.beta, 0.0);
        }
    }

    #[test]
    fn a_frozen_shape_and_a_statistical_scale_receive_nothing() {
        let rule = Rule {
            frozen: true,
            scale: Scale::Statistical,
            ..rule(WeightKind::Sq, 1, Power::One)
        };
        let got = weights_backward(&rule, &random(9, 1), &[0.0], 1.0, &random(9, 2));
        assert_eq!((got.mu, got.beta), (vec![0.0], 0.0));
    }

    #[test]
    fn activation_levels() {
        let x = [-3.0, 0.25, 0.75, 0.8, 63.4, 99.0];
        assert_eq!(activations(Levels::Int8, &x, 63.5), [0.0, 0.0, 1.0, 1.0, 63.5, 63.5]);
        let ternary = [-7.0, -0.51, -0.5, 0.0, 0.5, 0.51];
        assert_eq!(
            activations(Levels::Ternary, &ternary, 0.0),
            [-1.0, -1.0, 0.0, 0.0, 0.0, 1.0]
        );
        let sign = Levels::Sign(Estimator::Hardtanh);
        assert_eq!(activations(sign, &[-0.1, -0.0, 0.0, 7.0], 0.0), [-1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn activation_gradients_are_those_of_the_named_estimators() {
        let x = [-1.5, -1.0, 0.25, 1.0, 1.5];
        let of = |levels| activations_backward(levels, &x, 1.0, &[1.0; 5]);
        assert_eq!(of(Levels::Ternary), (vec![0.0, 1.0, 1.0, 1.0, 0.0], 0.0));
        assert_eq!(
            of(Levels::Sign(Estimator::Hardtanh)),
            (vec![0.0, 1.0, 1.0, 1.0, 0.0], 0.0)
        );
        assert_eq!(
            of(Levels::Sign(Estimator::ApproxSign)),
            (vec![0.0, 0.0, 1.5, 0.0, 0.0], 0.0)
        );
        assert_eq!(of(Levels::Int8), (vec![0.0, 0.0, 1.0, 0.0, 0.0], 2.0));
        // ApproxSign is the derivative of 2x - x|x|, PACT's of the clipped ReLU: by finite differences.
        let h = 1e-3;
        for x in [-0.9f32, -0.3, 0.2, 0.8] {
            let parabola = |x: f32| 2.0 * x - x * x.abs();
            let slope = (parabola(x + h) - parabola(x - h)) / (2.0 * h);
            assert!((Levels::Sign(Estimator::ApproxSign).slope(x, 0.0) - slope).abs() < 2e-3);
        }
        let clipped = |x: f32, top: f32| x.clamp(0.0, top);
        for x in [-0.5f32, 0.5, 1.5] {
            let (dx, dtop) = activations_backward(Levels::Int8, &[x], 1.0, &[1.0]);
            assert!((dx[0] - (clipped(x + h, 1.0) - clipped(x - h, 1.0)) / (2.0 * h)).abs() < 1e-2);
            assert!((dtop - (clipped(x, 1.0 + h) - clipped(x, 1.0 - h)) / (2.0 * h)).abs() < 1e-2);
        }
    }
}
