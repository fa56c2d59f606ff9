//! A layer's quantizer as a module of the framework: the layer computes with the quantised weights, the optimizer moves the
//! latent weights, the scales and the shape.

use super::{BETA_MAX, BETA_MIN, Cut, Depth, Rule, Scale, WeightKind};
use crate::ops;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Least scale: keeps `mu` positive whatever the optimizer does.
const MU_MIN: f32 = 1e-4;

/// What a layer with weights learns beside them, and the rule it follows.
#[derive(Module, Debug)]
pub struct Quantizer {
    /// `mu [channels]`, where scales are learned.
    scale: Option<Param<Tensor<1>>>,
    /// `beta [1]`, under Smart Quantization.
    angle: Option<Param<Tensor<1>>>,
    #[module(skip)]
    rule: Rule,
}

impl Quantizer {
    /// A quantizer by `rule` for weights that begin as `latent`, output channels first; `beta` is the shape at the start.
    /// Learned scales begin at the statistical ones.
    pub fn new<const D: usize>(rule: Rule, beta: f32, latent: &Tensor<D>) -> Quantizer {
        let device = latent.device();
        let learned = rule.scale == Scale::Learned && !matches!(rule.kind, WeightKind::Float | WeightKind::Int8);
        let scale = learned.then(|| {
            let rule = Rule {
                scale: Scale::Statistical,
                ..rule
            };
            let mus: Vec<f32> = rule
                .cuts(&values(latent), &[], beta)
                .iter()
                .map(|cut| cut.mu.max(MU_MIN))
                .collect();
            Param::from_tensor(Tensor::from_floats(&mus[..], &device))
        });
        let angle = (rule.kind == WeightKind::Sq).then(|| Param::from_tensor(Tensor::from_floats([beta], &device)));
        Quantizer { scale, angle, rule }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The rule, to be changed: schedules and freezing do.
    pub fn rule_mut(&mut self) -> &mut Rule {
        &mut self.rule
    }

    /// The quantised weights. Their gradient passes straight through to the latent ones; on a training device the
    /// gradient of the layer's [`penalty`](ops::penalty) is added on the way, so that it needs no term in the loss.
    pub fn apply<const D: usize>(&self, latent: Tensor<D>) -> Tensor<D> {
        if self.rule.kind == WeightKind::Float && self.rule.decay == 0.0 {
            return latent;
        }
        let device = latent.device();
        let or_zero = |param: &Option<Param<Tensor<1>>>| match param {
            Some(param) => param.val(),
            None => Tensor::zeros([1], &device),
        };
        ops::quantize_weights(latent, or_zero(&self.scale), or_zero(&self.angle), self.rule)
    }

    /// The present shape; pi/4 where the layer has none.
    pub fn beta(&self) -> f32 {
        self.angle.as_ref().map_or(BETA_MIN, |angle| angle.val().into_scalar())
    }

    /// The quantised weights as levels and scales.
    pub fn plain<const D: usize>(&self, latent: &Tensor<D>) -> Plain {
        let values = values(latent);
        let cuts = self.rule.cuts(&values, &self.mus(), self.beta());
        Plain::new(latent.dims().to_vec(), self.rule.depth(self.beta()), &values, &cuts)
    }

    /// What the quantizer of the layer `name` has come to.
    pub fn report<const D: usize>(&self, name: &str, latent: &Tensor<D>) -> LayerReport {
        let values = values(latent);
        let cuts = self.rule.cuts(&values, &self.mus(), self.beta());
        let depth = self.rule.depth(self.beta());
        let plain = Plain::new(latent.dims().to_vec(), depth, &values, &cuts);
        LayerReport {
            name: name.to_string(),
            weights: values.len(),
            scales: plain.scales.len(),
            depth,
            beta: self.angle.is_some().then(|| self.beta()),
            mu: mean(&plain.scales),
            delta: mean(&cuts.iter().map(|cut| cut.delta.max(0.0)).collect::<Vec<_>>()),
            zeros: plain.zeros(),
            penalty: ops::penalty(&self.rule, &values, &self.mus(), self.beta()),
        }
    }

    fn mus(&self) -> Vec<f32> {
        self.scale.as_ref().map_or(vec![], |scale| values(&scale.val()))
    }

    /// Brings scale and shape back into their intervals; to be called after each optimizer step.
    pub fn project(&mut self) {
        let clamped = |param: &mut Option<Param<Tensor<1>>>, low, high| {
            *param = param.take().map(|param| clamp(param, low, high));
        };
        clamped(&mut self.scale, MU_MIN, f32::MAX);
        clamped(&mut self.angle, BETA_MIN, BETA_MAX);
    }
}

/// A parameter clamped to an interval, still a leaf: a clamp within the graph would leave a parameter that is none.
pub fn clamp(param: Param<Tensor<1>>, low: f32, high: f32) -> Param<Tensor<1>> {
    param.map(|t| {
        let required = t.is_require_grad();
        match t.is_autodiff() {
            true => t.inner().clamp(low, high).autodiff().set_require_grad(required),
            false => t.clamp(low, high),
        }
    })
}

/// Weights as plain numbers: a value is its level times its scale, or the f32 itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain {
    /// Dimensions, output channels first.
    pub dims: Vec<usize>,
    /// How many values there are.
    pub depth: Depth,
    /// Levels: -1, 0 and 1, never 0 where binary; -127 to 127 where int8; none where float.
    pub levels: Vec<i8>,
    /// One scale, or one per output channel; none where float.
    pub scales: Vec<f32>,
    /// The weights, where float.
    pub floats: Vec<f32>,
}

impl Plain {
    fn new(dims: Vec<usize>, depth: Depth, values: &[f32], cuts: &[Cut]) -> Plain {
        if depth == Depth::Float {
            return Plain {
                dims,
                depth,
                levels: vec![],
                scales: vec![],
                floats: values.to_vec(),
            };
        }
        let groups = values.chunks((values.len() / cuts.len()).max(1)).zip(cuts);
        let level = |w: f32, cut: &Cut| match depth {
            Depth::Int8 => ops::int8_level(w, cut.mu) as i8,
            _ => cut.level(w) as i8,
        };
        Plain {
            dims,
            depth,
            levels: groups
                .flat_map(|(w, cut)| w.iter().map(move |&w| level(w, cut)))
                .collect(),
            scales: cuts.iter().map(|cut| cut.mu).collect(),
            floats: vec![],
        }
    }

    /// Share of weights that are 0.
    pub fn zeros(&self) -> f64 {
        let zeros = match self.depth {
            Depth::Float => self.floats.iter().filter(|&&w| w == 0.0).count(),
            _ => self.levels.iter().filter(|&&level| level == 0).count(),
        };
        zeros as f64 / self.levels.len().max(self.floats.len()).max(1) as f64
    }
}

/// What a layer's quantizer has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Layer name.
    pub name: String,
    /// Number of weights.
    pub weights: usize,
    /// Number of scales.
    pub scales: usize,
    /// How many values the weights have.
    pub depth: Depth,
    /// Learned shape, under Smart Quantization.
    pub beta: Option<f32>,
    /// Mean scale; 0 where float.
    pub mu: f32,
    /// Mean threshold; 0 where there is none.
    pub delta: f32,
    /// Share of weights quantised to 0.
    pub zeros: f64,
    /// The layer's part of the objective.
    pub penalty: f32,
}

fn values<const D: usize>(t: &Tensor<D>) -> Vec<f32> {
    t.to_data().try_to_vec::<f32>().expect("f32 data")
}

fn mean(values: &[f32]) -> f32 {
    // The sum of nothing is -0.
    (0.0 + values.iter().sum::<f32>()) / values.len().max(1) as f32
}
