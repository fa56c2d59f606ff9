//! Smart Quantization hung on a parameter: the layer computes with the quantised weights, the optimizer moves the latent
//! weights, the scale and the shape.

use super::{BETA_MAX, BETA_MIN, Depth, Power, SqShape};
use crate::ops::{self, SqRule};
use burn::module::{Module, ModuleMapper, Param, Reparameterization, Reparameterizer};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Least scale: keeps `mu` positive whatever the optimizer does.
const MU_MIN: f32 = 1e-4;

/// Settings of Smart Quantization that hold for all layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SqConfig {
    /// Power `p` of the regulariser.
    pub power: Power,
    /// A layer is binary where `Delta / mu` is below this.
    pub epsilon: f32,
    /// Shape that every layer begins with, in [pi/4, pi/2).
    pub beta: f32,
    /// Weight of the regulariser in the objective.
    pub lambda: f32,
    /// Price of a third value: weight of `|cot(beta)|` within the regulariser.
    pub gamma: f32,
}

/// Learned state of one layer beside its latent weights.
#[derive(Module, Debug)]
pub struct Sq {
    /// `mu [1]`.
    scale: Param<Tensor<1>>,
    /// `beta [1]`.
    angle: Param<Tensor<1>>,
    #[module(skip)]
    power: Power,
    #[module(skip)]
    epsilon: f32,
}

impl Reparameterization for Sq {
    const NAME: &'static str = "sq";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        ops::quantize_weights(base, self.scale.val(), self.angle.val(), self.rule())
    }
}

impl Sq {
    fn rule(&self) -> SqRule {
        SqRule {
            power: self.power,
            epsilon: self.epsilon,
        }
    }

    /// The present scale, `mu`.
    pub fn mu(&self) -> f32 {
        self.scale.val().into_scalar()
    }

    /// The present shape, `beta`.
    pub fn beta(&self) -> f32 {
        self.angle.val().into_scalar()
    }

    /// Quantizer at the present `mu` and `beta`.
    pub fn shape(&self) -> SqShape {
        SqShape::new(self.mu(), self.beta(), self.power, self.epsilon)
    }

    /// The layer's term of the objective: `lambda (mean R(w) + gamma |cot(beta)|)`, `[1]`. A frozen shape is a constant,
    /// so the optimizer leaves it, and with it the depth.
    pub fn penalty<const D: usize>(&self, latent: Tensor<D>, config: &SqConfig, frozen: bool) -> Tensor<1> {
        let beta = match frozen {
            true => self.angle.val().inner().autodiff(),
            false => self.angle.val(),
        };
        let wells = ops::regulariser(latent, self.scale.val(), beta.clone(), self.rule());
        (wells + beta.tan().recip().abs().mul_scalar(config.gamma)).mul_scalar(config.lambda)
    }
}

/// What a layer's quantizer has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Layer name.
    pub name: String,
    /// Learned shape.
    pub beta: f32,
    /// Learned scale.
    pub mu: f32,
    /// Depth that follows from the shape.
    pub depth: Depth,
    /// Share of weights quantised to 0.
    pub zeros: f64,
}

impl LayerReport {
    /// Report on a layer of this name from its latent weights.
    pub fn new(name: &str, sq: &Sq, latent: &[f32]) -> LayerReport {
        let shape = sq.shape();
        let zeros = latent.iter().filter(|&&w| shape.level(w) == 0.0).count() as f64 / latent.len() as f64;
        LayerReport {
            name: name.to_string(),
            beta: sq.beta(),
            mu: sq.mu(),
            depth: shape.depth(),
            zeros,
        }
    }
}

/// Attaches [`Sq`] to every weight tensor (rank 2 and more), with `mu` at first the mean magnitude of its weights.
pub struct Attach(pub SqConfig);

impl Reparameterizer for Attach {
    type Reparam = Sq;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Sq>) {
        if D < 2 {
            return (param, None);
        }
        let device = param.lazy_device();
        let mu = param.val().abs().mean().into_scalar::<f32>();
        let sq = Sq {
            scale: Param::from_tensor(Tensor::from_floats([mu], &device)),
            angle: Param::from_tensor(Tensor::from_floats([self.0.beta], &device)),
            power: self.0.power,
            epsilon: self.0.epsilon,
        };
        (param, Some(sq))
    }
}

/// Brings every layer's `mu` and `beta` back into their intervals; to be mapped over a model after each optimizer step.
#[derive(Default)]
pub struct Project {
    path: Vec<String>,
}

impl ModuleMapper for Project {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let [.., owner, field] = &self.path[..] else {
            return param;
        };
        if owner != Sq::NAME {
            return param;
        }
        let (low, high) = match field.as_str() {
            "angle" => (BETA_MIN, BETA_MAX),
            "scale" => (MU_MIN, f32::MAX),
            _ => return param,
        };
        // Outside the graph, then a leaf again: a clamp inside it would leave a parameter that is no leaf.
        param.map(|t| {
            let required = t.is_require_grad();
            t.inner().clamp(low, high).autodiff().set_require_grad(required)
        })
    }
}
