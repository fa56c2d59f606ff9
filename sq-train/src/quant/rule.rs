//! Which quantizer a layer has, and the scales and thresholds that follow from its weights.

use super::{Depth, Power, SqShape};
use crate::ops::INT8_TOP;
use serde::{Deserialize, Serialize};

/// How the weights of a layer are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WeightKind {
    /// Not at all.
    Float,
    /// Levels -127 to 127, the step from the greatest magnitude.
    Int8,
    /// Two values, after BWN (Rastegari et al., "XNOR-Net", arXiv 1603.05279): `mu sign(w)`, `mu = E|w|`.
    Binary,
    /// Three values, after TWN (Li, Zhang, Liu, "Ternary Weight Networks", arXiv 1605.04711): `mu sign(w) [|w| > Delta]`,
    /// `Delta = 0.7 E|w|`, `mu` the mean of the magnitudes above it.
    Ternary,
    /// Two or three by the layer's own choice: Smart Quantization (arXiv 1909.12205).
    Sq,
}

/// How many scales a layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// One.
    Layer,
    /// One per output channel.
    Channel,
}

/// Where a scale comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// From the gradient, as any parameter.
    Learned,
    /// From the latent weights, anew in every step.
    Statistical,
}

/// TWN's threshold, as a share of the mean magnitude (arXiv 1605.04711, section 2.2).
pub(crate) const TWN_THRESHOLD: f32 = 0.7;

/// Steps of [`lloyd`]. Each is a pass over the weights; from `E|w|` three come within 1 % of the fixed point on Gaussian and
/// uniform weights (see the test).
pub(crate) const LLOYD_STEPS: usize = 3;

/// All numbers of a layer's quantizer but the learned ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Which quantizer.
    pub kind: WeightKind,
    /// Scales: 1, or as many as output channels.
    pub channels: usize,
    /// Where scales come from.
    pub scale: Scale,
    /// Power of the regulariser.
    pub power: Power,
    /// A layer is binary where `Delta / mu` is below this.
    pub epsilon: f32,
    /// Weight of the regulariser in the objective.
    pub lambda: f32,
    /// Price of a third value: weight of `|cot(beta)|` within the regulariser.
    pub gamma: f32,
    /// Weight decay: this times the latent weight is added to its gradient.
    pub decay: f32,
    /// Whether the shape keeps its value, and with it the depth.
    pub frozen: bool,
}

/// Quantizer of one group of weights: `mu sign(w) [|w| > delta]`, without the bracket where `delta` is negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Magnitude of a weight that is not 0; the step between levels where the weights are int8.
    pub mu: f32,
    /// Weights up to here become 0; negative where none do.
    pub delta: f32,
}

impl Cut {
    /// Level of a binary or ternary weight: -1, 0 or 1.
    pub fn level(&self, w: f32) -> f32 {
        if w.abs() <= self.delta {
            0.0
        } else if w < 0.0 {
            -1.0
        } else {
            1.0
        }
    }
}

impl Rule {
    /// The formulas of Smart Quantization at scale `mu` and shape `beta`.
    pub fn shape(&self, mu: f32, beta: f32) -> SqShape {
        SqShape::new(mu, beta, self.power, self.epsilon)
    }

    /// Depth at shape `beta`, which counts only under Smart Quantization.
    pub fn depth(&self, beta: f32) -> Depth {
        match self.kind {
            WeightKind::Float => Depth::Float,
            WeightKind::Int8 => Depth::Int8,
            WeightKind::Binary => Depth::Binary,
            WeightKind::Ternary => Depth::Ternary,
            WeightKind::Sq => self.shape(1.0, beta).depth(),
        }
    }

    /// Quantizer of every channel: from the learned scales `mu [channels]`, or from the weights where scales are
    /// statistical. For int8 weights `mu` is the step between levels.
    pub fn cuts(&self, w: &[f32], mu: &[f32], beta: f32) -> Vec<Cut> {
        let per_channel = w.len() / self.channels;
        let learned = self.scale == Scale::Learned;
        let depth = self.depth(beta);
        let ratio = self.shape(1.0, beta).delta();
        let cut = |(c, w): (usize, &[f32])| {
            let scale = |statistical: &dyn Fn() -> f32| {
                if learned {
                    mu[c]
                } else {
                    statistical().max(f32::MIN_POSITIVE)
                }
            };
            match self.kind {
                WeightKind::Float => Cut { mu: 1.0, delta: 0.0 },
                WeightKind::Int8 => Cut {
                    mu: (w.iter().fold(0.0f32, |m, w| m.max(w.abs())) / INT8_TOP).max(f32::MIN_POSITIVE),
                    delta: 0.0,
                },
                WeightKind::Binary => Cut {
                    mu: scale(&|| mean_above(w, -1.0)),
                    delta: -1.0,
                },
                WeightKind::Ternary => {
                    let delta = TWN_THRESHOLD * mean_above(w, -1.0);
                    Cut {
                        mu: scale(&|| mean_above(w, delta)),
                        delta,
                    }
                }
                WeightKind::Sq => {
                    let ratio = if depth == Depth::Binary { -1.0 } else { ratio };
                    let mu = scale(&|| lloyd(w, ratio));
                    Cut { mu, delta: ratio * mu }
                }
            }
        };
        w.chunks(per_channel.max(1)).enumerate().map(cut).collect()
    }
}

/// The scale that suits a threshold of `ratio` scales: the mean of the magnitudes above it, which is the fixed point of
/// Lloyd's iteration ("Least squares quantization in PCM", 1982). At `ratio = 1/2` (beta = pi/4) it is the best ternary scale
/// in the mean square; without a threshold it is BWN's.
fn lloyd(w: &[f32], ratio: f32) -> f32 {
    let mut mu = mean_above(w, -1.0);
    if ratio > 0.0 {
        for _ in 0..LLOYD_STEPS {
            mu = mean_above(w, ratio * mu);
        }
    }
    mu
}

/// Mean magnitude of the weights above `delta`; 0 where there are none.
fn mean_above(w: &[f32], delta: f32) -> f32 {
    /// Partial sums, so that the loop vectorises; each stays short enough for f32.
    const LANES: usize = 16;
    #[inline(always)]
    fn add(w: &[f32], delta: f32, [sums, counts]: &mut [[f32; LANES]; 2]) {
        for (i, w) in w.iter().enumerate() {
            let above = if w.abs() > delta { 1.0 } else { 0.0 };
            sums[i] += w.abs() * above;
            counts[i] += above;
        }
    }
    let (mut sum, mut count) = (0.0f64, 0.0f64);
    for block in w.chunks(4096) {
        let mut lanes = [[0.0f32; LANES]; 2];
        let (whole, rest) = block.as_chunks::<LANES>();
        whole.iter().for_each(|w| add(w, delta, &mut lanes));
        add(rest, delta, &mut lanes);
        sum += lanes[0].iter().sum::<f32>() as f64;
        count += lanes[1].iter().sum::<f32>() as f64;
    }
    if count == 0.0 { 0.0 } else { (sum / count) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{BETA_MAX, BETA_MIN};

    fn rule(kind: WeightKind, channels: usize, scale: Scale) -> Rule {
        Rule {
            kind,
            channels,
            scale,
            power: Power::One,
            epsilon: 0.05,
            lambda: 1.0,
            gamma: 0.01,
            decay: 0.0,
            frozen: false,
        }
    }

    /// Uniform on [-1, 1].
    fn uniform(n: usize) -> Vec<f32> {
        (0..n).map(|i| (2 * i + 1) as f32 / n as f32 - 1.0).collect()
    }

    #[test]
    fn published_scales_and_thresholds() {
        let w = uniform(1000);
        let close = |a: f32, b: f32| (a - b).abs() < 2e-3;
        let [bwn] = rule(WeightKind::Binary, 1, Scale::Statistical).cuts(&w, &[], 0.0)[..] else {
            panic!()
        };
        assert!(close(bwn.mu, 0.5) && bwn.delta < 0.0, "{bwn:?}");
        let [twn] = rule(WeightKind::Ternary, 1, Scale::Statistical).cuts(&w, &[], 0.0)[..] else {
            panic!()
        };
        assert!(close(twn.delta, 0.35) && close(twn.mu, 0.675), "{twn:?}");
        let [int8] = rule(WeightKind::Int8, 1, Scale::Statistical).cuts(&[0.5, -2.54], &[], 0.0)[..] else {
            panic!()
        };
        assert!(close(int8.mu, 0.02), "{int8:?}");
    }

    #[test]
    fn statistical_scale_of_smart_quantization_is_lloyds() {
        // On [0, 1] uniform, mu = (delta + 1) / 2 with delta = mu / 2 gives mu = 2/3.
        let sq = rule(WeightKind::Sq, 1, Scale::Statistical);
        let [cut] = sq.cuts(&uniform(1000), &[], BETA_MIN)[..] else {
            panic!()
        };
        assert!(
            (cut.mu - 2.0 / 3.0).abs() < 0.01 && (cut.delta - cut.mu / 2.0).abs() < 1e-6,
            "{cut:?}"
        );
        let [cut] = sq.cuts(&uniform(1000), &[], BETA_MAX)[..] else {
            panic!()
        };
        assert!((cut.mu - 0.5).abs() < 1e-3 && cut.delta < 0.0, "{cut:?}");
    }

    #[test]
    fn levels_jump_at_the_threshold_and_a_binary_zero_is_positive() {
        let sq = rule(WeightKind::Sq, 1, Scale::Learned);
        let level = |beta: f32, w: f32| sq.cuts(&[w], &[0.5], beta)[0].level(w);
        let ternary = [-9.0, -0.2501, -0.25, -0.0, 0.0, 0.25, 0.2501, 9.0].map(|w| level(BETA_MIN, w));
        assert_eq!(ternary, [-1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(
            [-1e-9, -0.0, 0.0, 1e-9].map(|w| level(BETA_MAX, w)),
            [-1.0, 1.0, 1.0, 1.0]
        );
    }

    #[test]
    fn every_channel_has_its_own_scale_and_learned_ones_are_taken() {
        let w = [1.0, -1.0, 3.0, -5.0];
        let mus = |scale| -> Vec<f32> {
            let cuts = rule(WeightKind::Binary, 2, scale).cuts(&w, &[7.0, 8.0], 0.0);
            cuts.iter().map(|cut| cut.mu).collect()
        };
        assert_eq!(mus(Scale::Statistical), [1.0, 4.0]);
        assert_eq!(mus(Scale::Learned), [7.0, 8.0]);
    }

    #[test]
    fn weights_that_are_all_zero_have_a_scale() {
        for kind in [
            WeightKind::Int8,
            WeightKind::Binary,
            WeightKind::Ternary,
            WeightKind::Sq,
        ] {
            let cuts = rule(kind, 1, Scale::Statistical).cuts(&[0.0; 4], &[], BETA_MIN);
            assert!(cuts[0].mu > 0.0, "{kind:?}");
        }
    }
}
