//! Quantizers. Weights are seen as a matrix with a row for each scale.

use super::array::Array;
use crate::ops::{CLIP, Estimator, INT8_TOP, Levels, Triple};
use crate::quant::{LLOYD_STEPS, Power, Rule, Scale, TWN_THRESHOLD, WeightKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use std::f32::consts::FRAC_PI_2;

/// What the f32 nearest pi/2 is too large by.
const FRAC_PI_2_EXCESS: f32 = 4.371_139e-8;

/// The functions of the shape `beta`, each `[1, 1]`.
struct Angle<B: Backend> {
    tan: Array<B>,
    /// `Delta / mu`, where the regulariser's branches cross.
    crossing: Array<B>,
    /// The threshold over `mu`; -1 where the layer is binary.
    threshold: Array<B>,
}

impl<B: Backend> Angle<B> {
    fn new(rule: &Rule, beta: Array<B>) -> Angle<B> {
        let tan = tangent(beta.reshape([1, 1]));
        let root = match rule.power {
            Power::One => tan.clone(),
            Power::Two => tan.clone().sqrt(),
        };
        let crossing = (root + 1.0).recip();
        let binary = crossing.clone().below(rule.epsilon);
        let threshold = crossing.clone() * binary.clone().not() - binary;
        Angle {
            tan,
            crossing,
            threshold,
        }
    }
}

/// Tangent of `beta` in [pi/4, pi/2) as the cotangent of `t = pi/2 - beta`, by Lambert's continued fraction
/// `tan t = t / (1 - t^2 / (3 - t^2 / (5 - ..)))`. Cut after 9 it is exact to f32 up to pi/4. A GPU's own tangent may be far off near
/// the pole: WGSL allows its sine and cosine an absolute error of 2^-11, as much as the cosine is here.
fn tangent<B: Backend>(beta: Array<B>) -> Array<B> {
    let t = -beta + FRAC_PI_2 - FRAC_PI_2_EXCESS;
    let z = t.clone() * t.clone();
    let mut tail = z.clone() / 9.0;
    for n in [7.0, 5.0, 3.0] {
        tail = z.clone() / (-tail + n);
    }
    (-tail + 1.0) / t
}

/// The quantizer of every row: its scale and its threshold, each `[rows, 1]`. See [`Cut`](crate::quant::Cut).
struct Cuts<B: Backend> {
    mu: Array<B>,
    delta: Array<B>,
}

impl<B: Backend> Cuts<B> {
    /// Of binary and ternary layers; those under Smart Quantization have an `angle`.
    fn new(rule: &Rule, magnitudes: Array<B>, mu: Array<B>, angle: Option<&Angle<B>>) -> Cuts<B> {
        let twn = (rule.kind == WeightKind::Ternary).then(|| mean_above(magnitudes.clone(), None) * TWN_THRESHOLD);
        let mu = match (rule.scale, angle) {
            (Scale::Learned, _) => mu.reshape([rule.channels, 1]),
            (Scale::Statistical, Some(angle)) => lloyd(magnitudes, angle.threshold.clone()).at_least(f32::MIN_POSITIVE),
            (Scale::Statistical, None) => mean_above(magnitudes, twn.clone()).at_least(f32::MIN_POSITIVE),
        };
        let delta = match (angle, twn) {
            (Some(angle), _) => angle.threshold.clone() * mu.clone(),
            (None, Some(twn)) => twn,
            (None, None) => mu.zeros() - 1.0,
        };
        Cuts { mu, delta }
    }

    /// -1, 0 or 1 for every weight.
    fn levels(&self, w: Array<B>) -> Array<B> {
        let zero = w.clone().abs().less_equal(self.delta.clone());
        zero.not() * (w.below(0.0) * -2.0 + 1.0)
    }
}

/// Mean of the magnitudes above `delta` in every row, of all without it; 0 where there are none.
fn mean_above<B: Backend>(magnitudes: Array<B>, delta: Option<Array<B>>) -> Array<B> {
    match delta {
        None => {
            let columns = magnitudes.0.shape()[1];
            magnitudes.row_sums() / columns as f32
        }
        Some(delta) => {
            let above = delta.less(magnitudes.clone());
            (magnitudes * above.clone()).row_sums() / above.row_sums().at_least(1.0)
        }
    }
}

/// The scale that suits a threshold of so many scales; a negative one leaves the mean magnitude as it is.
fn lloyd<B: Backend>(magnitudes: Array<B>, threshold: Array<B>) -> Array<B> {
    let mean = mean_above(magnitudes.clone(), None);
    (0..LLOYD_STEPS).fold(mean, |mu, _| {
        mean_above(magnitudes.clone(), Some(threshold.clone() * mu))
    })
}

/// Weights as a matrix with a row for each scale.
fn rows<B: Backend>(rule: &Rule, w: FloatTensor<B>) -> Array<B> {
    let weights = w.shape().num_elements();
    Array(w).reshape([rule.channels, weights / rule.channels])
}

/// See [`quantize_weights`](crate::ops::quantize_weights).
pub fn weights<B: Backend>(w: FloatTensor<B>, mu: FloatTensor<B>, beta: FloatTensor<B>, rule: &Rule) -> FloatTensor<B> {
    let shape = w.shape();
    let rows = rows::<B>(rule, w);
    let q = match rule.kind {
        WeightKind::Float => rows,
        WeightKind::Int8 => {
            let step = (rows.clone().abs().row_maxima() / INT8_TOP).at_least(f32::MIN_POSITIVE);
            (rows / step.clone()).round().clamp(-INT8_TOP, INT8_TOP) * step
        }
        WeightKind::Binary | WeightKind::Ternary | WeightKind::Sq => {
            let angle = (rule.kind == WeightKind::Sq).then(|| Angle::new(rule, Array(beta)));
            let cuts = Cuts::new(rule, rows.clone().abs(), Array(mu), angle.as_ref());
            cuts.levels(rows) * cuts.mu
        }
    };
    q.reshape(shape).0
}

/// Gradients `(dw, dmu, dbeta)` of [`weights`] and of the layer's penalty.
pub fn weights_backward<B: Backend>(
    w: FloatTensor<B>,
    mu: FloatTensor<B>,
    beta: FloatTensor<B>,
    rule: &Rule,
    dq: FloatTensor<B>,
) -> Triple<B> {
    let shape = w.shape();
    let (w, dq) = (rows::<B>(rule, w), rows::<B>(rule, dq));
    let (mu, beta) = (Array::<B>(mu), Array::<B>(beta));
    let (mut dmu, mut dbeta) = (mu.zeros(), beta.zeros());
    let dw = match rule.kind {
        WeightKind::Float | WeightKind::Int8 => dq,
        WeightKind::Binary | WeightKind::Ternary | WeightKind::Sq => {
            let angle = (rule.kind == WeightKind::Sq).then(|| Angle::new(rule, beta));
            let mu_shape = mu.0.shape();
            let a = w.clone().abs();
            let cuts = Cuts::new(rule, a.clone(), mu, angle.as_ref());
            let through = a.less_equal(cuts.mu.clone() * CLIP);
            let mut by_mu = (dq.clone() * cuts.levels(w.clone())).row_sums();
            let mut dw = dq * through;
            if let Some(angle) = angle {
                let pull = Pull::new(rule, &angle, w.clone(), cuts.mu);
                dw = dw + pull.w;
                by_mu = by_mu + pull.mu;
                if !rule.frozen {
                    dbeta = pull.beta;
                }
            }
            if rule.scale == Scale::Learned {
                dmu = by_mu.reshape(mu_shape);
            }
            dw
        }
    };
    let dw = match rule.decay {
        0.0 => dw,
        decay => dw + w * decay,
    };
    (dw.reshape(shape).0, dmu.0, dbeta.0)
}

/// Gradients of a layer's penalty.
struct Pull<B: Backend> {
    w: Array<B>,
    /// `[rows, 1]`.
    mu: Array<B>,
    /// `[1]`.
    beta: Array<B>,
}

impl<B: Backend> Pull<B> {
    fn new(rule: &Rule, angle: &Angle<B>, w: Array<B>, mu: Array<B>) -> Pull<B> {
        let strength = rule.lambda / w.0.shape().num_elements() as f32;
        let tan = || angle.tan.clone();
        let (a, sign) = (w.clone().abs(), w.clone().sign());
        let inner = a.clone().less(angle.crossing.clone() * mu.clone());
        let outer = inner.clone().not();
        let d = a.clone() - mu;
        // Slopes of the inner branch by weight and tangent, of the outer one by |w|.
        let (to_zero, by_tan, to_mu) = match rule.power {
            Power::One => (sign.clone() * tan(), a, d.sign()),
            Power::Two => (w * tan() * 2.0, a.clone() * a, d * 2.0),
        };
        let to_mu = outer * to_mu;
        let secant = tan() * tan() + 1.0; // its square, the derivative of the tangent
        let by_beta = (inner.clone() * by_tan).sum() * secant.reshape([1]) * strength;
        // |cot(beta)| falls by 1 / sin^2 = 1 + 1 / tan^2.
        let well = (tan() * tan()).recip() + 1.0;
        Pull {
            w: (inner * to_zero + to_mu.clone() * sign) * strength,
            mu: to_mu.row_sums() * -strength,
            beta: by_beta - well.reshape([1]) * (rule.lambda * rule.gamma),
        }
    }
}

/// See [`quantize_activations`](crate::ops::quantize_activations).
pub fn activations<B: Backend>(x: FloatTensor<B>, top: FloatTensor<B>, levels: Levels) -> FloatTensor<B> {
    let shape = x.shape();
    let x = Array::<B>(x).reshape([shape.num_elements()]);
    let y = match levels {
        Levels::Int8 => {
            let step = Array::<B>(top) / INT8_TOP;
            (x / step.clone()).round().clamp(0.0, INT8_TOP) * step
        }
        Levels::Ternary => x.clamp(-1.0, 1.0).round(),
        Levels::Sign(_) => x.below(0.0) * -2.0 + 1.0,
    };
    y.reshape(shape).0
}

/// Gradients `(dx, dtop)` of [`activations`].
pub fn activations_backward<B: Backend>(
    x: FloatTensor<B>,
    top: FloatTensor<B>,
    levels: Levels,
    dy: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let shape = x.shape();
    let flat = |t| Array::<B>(t).reshape([shape.num_elements()]);
    let (x, dy, top) = (flat(x), flat(dy), Array::<B>(top));
    let inside = |a: Array<B>| (-a.abs() + 1.0).below(0.0).not();
    let mut dtop = top.zeros();
    let slope = match levels {
        Levels::Int8 => {
            let above = top.clone().less_equal(x.clone());
            dtop = (dy.clone() * above.clone()).sum();
            above.not() * (-x).below(0.0)
        }
        Levels::Ternary | Levels::Sign(Estimator::Hardtanh) => inside(x),
        Levels::Sign(Estimator::ApproxSign) => {
            let a = x.abs();
            inside(a.clone()) * (a * -2.0 + 2.0)
        }
    };
    ((dy * slope).reshape(shape).0, dtop.0)
}
