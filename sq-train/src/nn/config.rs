//! Settings of quantisation for a whole network, and the rule that each layer gets by them.

use crate::arch::Options;
use crate::quant::{BETA_MAX, BETA_MIN, Depth, Granularity, Power, Rule, Scale, SqShape, WeightKind};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the weights become: the paper's method or one that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Floats.
    Float,
    /// Binary in every layer (BWN).
    Bwn,
    /// Ternary in every layer (TWN).
    Twn,
    /// Smart Quantization.
    Sq,
}

impl Method {
    /// All, in the table's order.
    pub const ALL: [Method; 4] = [Method::Float, Method::Bwn, Method::Twn, Method::Sq];

    /// What the weights of a layer become where nothing else is said.
    pub fn weights(self) -> WeightKind {
        match self {
            Method::Float => WeightKind::Float,
            Method::Bwn => WeightKind::Binary,
            Method::Twn => WeightKind::Ternary,
            Method::Sq => WeightKind::Sq,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Float => "float",
            Method::Bwn => "bwn",
            Method::Twn => "twn",
            Method::Sq => "sq",
        })
    }
}

/// Settings of quantisation that hold for all layers; a layer of the architecture may have its own kind, gamma and lambda.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantConfig {
    /// What the weights become.
    pub method: Method,
    /// What those of the first layer become, instead.
    pub first: Option<WeightKind>,
    /// What those of the last layer become, instead.
    pub last: Option<WeightKind>,
    /// How many scales a layer has.
    pub granularity: Granularity,
    /// Where scales come from; where `None`, learned under Smart Quantization and statistical in the published baselines.
    pub scale: Option<Scale>,
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
    /// Weight decay of the latent weights.
    pub decay: f32,
}

impl QuantConfig {
    /// Smart Quantization as published, with the settings that the command line has by default.
    pub fn sq() -> QuantConfig {
        QuantConfig {
            method: Method::Sq,
            first: None,
            last: None,
            granularity: Granularity::Layer,
            scale: None,
            power: Power::One,
            epsilon: 0.05,
            beta: 1.2,
            lambda: 1.0,
            gamma: 0.01,
            decay: 0.0,
        }
    }

    /// The rule of a layer with these options and this many outputs.
    pub fn rule(&self, options: &Options, first: bool, last: bool, outputs: usize) -> Rule {
        let place = [(first, self.first), (last, self.last)];
        let by_place = place.into_iter().find_map(|(here, kind)| kind.filter(|_| here));
        let kind = options.weights.or(by_place).unwrap_or(self.method.weights());
        let natural = match kind {
            WeightKind::Sq => Scale::Learned,
            _ => Scale::Statistical,
        };
        Rule {
            kind,
            channels: match self.granularity {
                Granularity::Layer => 1,
                Granularity::Channel => outputs,
            },
            scale: self.scale.unwrap_or(natural),
            power: self.power,
            epsilon: self.epsilon,
            lambda: options.lambda.unwrap_or(self.lambda),
            gamma: options.gamma.unwrap_or(self.gamma),
            decay: self.decay,
            frozen: false,
        }
    }

    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// A shape, weight or threshold out of its range.
    pub fn check(&self) -> Result<()> {
        ensure!(
            (BETA_MIN..=BETA_MAX).contains(&self.beta),
            "beta {} is not in {BETA_MIN}..={BETA_MAX}",
            self.beta
        );
        let sizes = [
            ("lambda", self.lambda),
            ("gamma", self.gamma),
            ("weight decay", self.decay),
            ("epsilon", self.epsilon),
        ];
        for (name, value) in sizes {
            ensure!(
                value >= 0.0 && value.is_finite(),
                "{name} {value} is negative or not finite"
            );
        }
        let least = SqShape::new(1.0, BETA_MAX, self.power, self.epsilon);
        ensure!(
            least.depth() == Depth::Binary,
            "epsilon {} is not above {:.4}, the least threshold of a shape at this power: no layer could become binary",
            self.epsilon,
            least.delta()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layers_own_options_come_before_its_place_and_its_place_before_the_method() {
        let config = QuantConfig {
            first: Some(WeightKind::Float),
            last: Some(WeightKind::Int8),
            granularity: Granularity::Channel,
            ..QuantConfig::sq()
        };
        let plain = Options::default();
        let own = Options {
            weights: Some(WeightKind::Ternary),
            gamma: Some(0.5),
            ..Options::default()
        };
        let kind = |options, first, last| config.rule(options, first, last, 7).kind;
        assert_eq!(kind(&plain, true, false), WeightKind::Float);
        assert_eq!(kind(&plain, false, false), WeightKind::Sq);
        assert_eq!(kind(&plain, false, true), WeightKind::Int8);
        assert_eq!(kind(&own, true, false), WeightKind::Ternary);
        let rule = config.rule(&own, false, false, 7);
        assert_eq!(
            (rule.gamma, rule.lambda, rule.channels, rule.scale),
            (0.5, 1.0, 7, Scale::Statistical)
        );
        assert_eq!(config.rule(&plain, false, false, 7).scale, Scale::Learned);
    }

    #[test]
    fn senseless_settings_are_refused() {
        let with = |change: fn(&mut QuantConfig)| {
            let mut config = QuantConfig::sq();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(with(|c| c.beta = 0.5).starts_with("beta 0.5 is not in"));
        assert_eq!(with(|c| c.gamma = -1.0), "gamma -1 is negative or not finite");
        assert_eq!(with(|c| c.lambda = f32::NAN), "lambda NaN is negative or not finite");
        let never = with(|c| (c.power, c.epsilon) = (Power::Two, 0.03));
        assert!(never.starts_with("epsilon 0.03 is not above 0.0307"), "{never}");
        assert!(QuantConfig::sq().check().is_ok());
    }
}
