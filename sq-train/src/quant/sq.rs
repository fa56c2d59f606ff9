//! The formulas of Smart Quantization for one weight, in plain numbers.
//!
//! With latent weight `w`, scale `mu > 0`, shape `beta` in [pi/4, pi/2) and power `p` in {1, 2}
//! (arXiv 1909.12205):
//!
//! * regulariser `R(w) = min( ||w| - mu|^p , tan(beta) |w|^p )`: wells at -mu and +mu from the first branch, at 0 from
//!   the second. At `beta = pi/4` the three wells are alike; as `beta -> pi/2` the well at 0 closes and two remain;
//! * the branches cross at `Delta = mu / (1 + tan(beta)^(1/p))`: below it a weight is drawn to 0, above it to +-mu;
//! * ternary quantizer `Q(w) = mu sign(w) [|w| > Delta]`;
//! * binary quantizer `Q(w) = mu sign(w)` with `sign(0) = +1`, used as soon as `Delta / mu < epsilon`.

use serde::{Deserialize, Serialize};
use std::f32::consts::{FRAC_PI_2, FRAC_PI_4};
use std::fmt;

/// Least `beta`: three wells alike.
pub const BETA_MIN: f32 = FRAC_PI_4;

/// Greatest `beta`: a margin keeps it from the pole of the tangent at pi/2. `Delta / mu` is about 1/1000 here.
pub const BETA_MAX: f32 = FRAC_PI_2 - 1e-3;

/// How many values the weights of a layer have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Two values, -mu and +mu.
    Binary,
    /// Three values, -mu, 0 and +mu.
    Ternary,
    /// 255 values, -127 to 127 times a step.
    Int8,
    /// Any f32.
    Float,
}

impl Depth {
    /// Bits that a packed weight takes: a sign; a sign and a mask; a byte; a f32.
    pub fn bits(self) -> usize {
        match self {
            Depth::Binary => 1,
            Depth::Ternary => 2,
            Depth::Int8 => 8,
            Depth::Float => 32,
        }
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Depth::Binary => "binary",
            Depth::Ternary => "ternary",
            Depth::Int8 => "int8",
            Depth::Float => "float",
        })
    }
}

/// Power `p` of the regulariser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    /// `p = 1`: V-shaped wells, a pull of constant strength.
    One,
    /// `p = 2`: parabolic wells, a pull that fades near the bottom.
    Two,
}

/// One layer's regulariser and quantizer at the present values of `mu` and `beta`.
#[derive(Clone, Copy, Debug)]
pub struct SqShape {
    mu: f32,
    tan: f32,
    power: Power,
    delta: f32,
    depth: Depth,
}

/// Value of the regulariser at one weight, with its derivatives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pull {
    /// `R(w; mu, beta)`.
    pub value: f32,
    /// `dR / dw`.
    pub dw: f32,
    /// `dR / dmu`.
    pub dmu: f32,
    /// `dR / dbeta`.
    pub dbeta: f32,
}

impl SqShape {
    /// The shape for scale `mu > 0` and `beta` in [pi/4, pi/2); binary where `Delta / mu < epsilon`.
    pub fn new(mu: f32, beta: f32, power: Power, epsilon: f32) -> SqShape {
        let tan = beta.tan();
        let root = match power {
            Power::One => tan,
            Power::Two => tan.sqrt(),
        };
        let ratio = 1.0 / (1.0 + root);
        let depth = if ratio < epsilon { Depth::Binary } else { Depth::Ternary };
        SqShape {
            mu,
            tan,
            power,
            delta: mu * ratio,
            depth,
        }
    }

    /// `Delta`, where the two branches of the regulariser cross; also the ternary threshold.
    pub fn delta(&self) -> f32 {
        self.delta
    }

    /// Depth that the shape stands for.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// `R(w)` and its derivatives. At a kink the derivative is that of the outer branch, and 0 at a well's bottom.
    pub fn pull(&self, w: f32) -> Pull {
        let (a, sign) = (w.abs(), sign_or_zero(w));
        let d = a - self.mu;
        let sec2 = 1.0 + self.tan * self.tan; // derivative of the tangent
        match (a < self.delta, self.power) {
            (true, Power::One) => Pull {
                value: self.tan * a,
                dw: self.tan * sign,
                dmu: 0.0,
                dbeta: sec2 * a,
            },
            (true, Power::Two) => Pull {
                value: self.tan * a * a,
                dw: 2.0 * self.tan * w,
                dmu: 0.0,
                dbeta: sec2 * a * a,
            },
            (false, Power::One) => {
                let s = sign_or_zero(d);
                Pull {
                    value: d.abs(),
                    dw: s * sign,
                    dmu: -s,
                    dbeta: 0.0,
                }
            }
            (false, Power::Two) => Pull {
                value: d * d,
                dw: 2.0 * d * sign,
                dmu: -2.0 * d,
                dbeta: 0.0,
            },
        }
    }
}

/// -1, 0 or 1; without a branch where it is inlined into a loop.
#[inline(always)]
pub(crate) fn sign_or_zero(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MU: f32 = 0.5;
    const EPSILON: f32 = 0.05;

    /// Local minima of `R` on a grid over [-1, 1], as weights.
    fn wells(beta: f32, power: Power) -> Vec<f32> {
        let shape = SqShape::new(MU, beta, power, EPSILON);
        let at = |i: i32| i as f32 / 1000.0;
        let r = |i: i32| shape.pull(at(i)).value;
        (-1000..=1000)
            .filter(|&i| r(i) < r(i - 1) && r(i) < r(i + 1))
            .map(at)
            .collect()
    }

    #[test]
    fn three_wells_of_equal_depth_and_width_at_the_floor() {
        for power in [Power::One, Power::Two] {
            assert_eq!(wells(FRAC_PI_4, power), [-MU, 0.0, MU]);
            let shape = SqShape::new(MU, FRAC_PI_4, power, EPSILON);
            for d in [0.05, 0.1, 0.2] {
                assert!(
                    (shape.pull(d).value - shape.pull(MU + d).value).abs() < 1e-6,
                    "{power:?} at {d}"
                );
            }
        }
    }

    /// Where gradient descent on `R` takes a weight.
    fn drawn_to(shape: SqShape, start: f32) -> f32 {
        (0..20_000).fold(start, |w, _| w - 1e-4 * shape.pull(w).dw.clamp(-1.0, 1.0))
    }

    #[test]
    fn two_wells_near_the_pole() {
        for power in [Power::One, Power::Two] {
            let shape = SqShape::new(MU, BETA_MAX, power, EPSILON);
            for start in [0.02, 0.1, 0.3, 0.49, 0.6] {
                assert!((drawn_to(shape, start) - MU).abs() < 0.02, "{power:?} from {start}");
                assert!((drawn_to(shape, -start) + MU).abs() < 0.02, "{power:?} from -{start}");
            }
        }
        let ternary = SqShape::new(MU, FRAC_PI_4, Power::One, EPSILON);
        assert!(drawn_to(ternary, 0.2).abs() < 0.02 && (drawn_to(ternary, 0.3) - MU).abs() < 0.02);
    }

    #[test]
    fn branches_cross_at_delta() {
        for power in [Power::One, Power::Two] {
            for beta in [FRAC_PI_4, 1.0, 1.3, 1.5] {
                let shape = SqShape::new(MU, beta, power, EPSILON);
                let below = shape.pull(shape.delta() * (1.0 - 1e-6)).value;
                let above = shape.pull(shape.delta()).value;
                assert!((below - above).abs() < 1e-5, "{power:?} {beta}: {below} {above}");
                assert_eq!(shape.pull(shape.delta() * 0.99).dmu, 0.0);
                assert!(shape.pull(shape.delta() * 1.01).dmu > 0.0);
            }
        }
    }

    #[test]
    fn derivatives_equal_finite_differences() {
        let h = 1e-3;
        for power in [Power::One, Power::Two] {
            for beta in [0.9f32, 1.2, 1.4] {
                for w in [-0.8f32, -0.45, -0.21, -0.03, 0.02, 0.03, 0.3, 0.45, 0.7] {
                    let value = |w: f32, mu: f32, beta: f32| SqShape::new(mu, beta, power, EPSILON).pull(w).value;
                    let got = SqShape::new(MU, beta, power, EPSILON).pull(w);
                    let slope = |plus: f32, minus: f32| (plus - minus) / (2.0 * h);
                    let close = |name: &str, got: f32, want: f32| {
                        let tolerance = 2e-3 * (1.0 + want.abs());
                        assert!(
                            (got - want).abs() < tolerance,
                            "{power:?} beta {beta} w {w} {name}: {got} {want}"
                        );
                    };
                    close("dw", got.dw, slope(value(w + h, MU, beta), value(w - h, MU, beta)));
                    close("dmu", got.dmu, slope(value(w, MU + h, beta), value(w, MU - h, beta)));
                    close(
                        "dbeta",
                        got.dbeta,
                        slope(value(w, MU, beta + h), value(w, MU, beta - h)),
                    );
                }
            }
        }
    }

    #[test]
    fn depth_jumps_where_delta_falls_below_epsilon() {
        let edge = (1.0f32 / EPSILON - 1.0).atan();
        assert_eq!(
            SqShape::new(MU, edge - 1e-3, Power::One, EPSILON).depth(),
            Depth::Ternary
        );
        assert_eq!(
            SqShape::new(MU, edge + 1e-3, Power::One, EPSILON).depth(),
            Depth::Binary
        );
    }
}
