//! Why a class differs from the float model's.
//!
//! A float engine rounds every sum to `f32`. Where the exact value lies next to a quantizer's step, its rounded value may fall
//! on the other side; everything behind that quantizer then differs. Such a tie is no error, but it must be shown to be one:
//! up to the first quantizer that differs both computed the same, and there every differing value lies on the edge of a step.

use super::class;
use crate::data::Samples;
use crate::diag::{Code, Diag, Result};
use crate::import::Model;
use crate::ir::eval::{self, Tensor};
use crate::ir::{Graph, NodeId, Op};
use crate::reference::Reference;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// How near to a step a value must be for rounding to carry it across, as a share of the layer's greatest magnitude.
///
/// A sum of n terms in `f32` is off by at most about n/2 * 2^-24 of the sum of magnitudes, in practice by its root; a batch
/// normalisation behind it cancels some of what is left. For the thousands of terms seen here that is 2^-15.
const EDGE: f64 = 1.0 / (1 << 15) as f64;

/// A sample whose class differs from tract's.
#[derive(Clone, Debug, Serialize)]
pub struct Exception {
    /// Its number in the set, from 0.
    pub sample: usize,
    /// What tract predicts.
    pub float: usize,
    /// What the interpreter predicts.
    pub exact: usize,
    /// Where the two part.
    pub cause: Cause,
}

/// Where exact and float computation part.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Cause {
    /// At a quantizer.
    Quantizer {
        /// Its name.
        node: String,
        /// How many of its values differ.
        values: usize,
        /// The one farthest from a step, counted from 0 in row-major order.
        index: usize,
        /// How far that one is from the step, as a share of the layer's greatest magnitude.
        distance: f64,
    },
    /// At the scores: no quantizer differs.
    Scores {
        /// By how much the exact class leads tract's, as a share of the greatest score.
        lead: f64,
    },
}

impl Exception {
    /// Whether rounding alone explains it.
    pub fn is_tie(&self) -> bool {
        match self.cause {
            Cause::Quantizer { distance, .. } => distance <= EDGE,
            Cause::Scores { lead } => lead <= EDGE,
        }
    }

    /// The error that it is, where it is not a tie.
    pub fn finding(&self) -> Diag {
        let found = format!("{self}: more than rounding explains");
        Diag::new(Code::ClassesDiffer, found)
    }
}

/// Explains the given samples: runs each again in tract and in the interpreter, and compares quantizer by quantizer.
pub fn explain(path: &Path, model: &Model, samples: &Samples, which: &[usize]) -> Result<Vec<Exception>> {
    if which.is_empty() {
        return Ok(Vec::new());
    }
    let g = &model.graph;
    let quantizers = g.find(|op| matches!(op, Op::Quantize { .. } | Op::Sign));
    let names: Vec<&str> = quantizers.iter().map(|id| g.node(*id).name.as_str()).collect();
    let input = &g.node(g.find(|op| *op == Op::Input)[0]).ty;
    let reference = Reference::load_for(path, input, &names, 1)?;
    let explain_one = |&sample: &usize| {
        let bytes = samples.get(sample);
        let float = reference.run(bytes)?;
        let exact = eval::trace(g, &Tensor::from_bytes(input.elem, bytes));
        let value = |id: NodeId| {
            let found = exact.iter().find(|(node, _)| *node == id);
            found.map_or(Vec::new(), |(_, tensor)| tensor.to_f32())
        };
        let scores = value(g.operands(g.find(|op| *op == Op::Output)[0])[0]);
        let parted = quantizers
            .iter()
            .zip(&float[1..])
            .find_map(|(id, float)| crossing(g, *id, &value, float));
        let (float_class, exact_class) = (class(&float[0]), class(&scores));
        let greatest = scores.iter().fold(0.0f32, |m, s| m.max(s.abs()));
        Ok(Exception {
            sample,
            float: float_class,
            exact: exact_class,
            cause: parted.unwrap_or(Cause::Scores {
                lead: f64::from(scores[exact_class] - scores[float_class]) / f64::from(greatest),
            }),
        })
    };
    which.iter().map(explain_one).collect()
}

/// Where the values of one quantizer differ, and by how much the worst of them misses a step.
fn crossing(g: &Graph, id: NodeId, value: &dyn Fn(NodeId) -> Vec<f32>, float: &[f32]) -> Option<Cause> {
    let node = g.node(id);
    let (exact, x) = (value(id), value(g.operands(id)[0]));
    let float = &as_signs(g, id, float)[..];
    let greatest = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let distance = |i: usize| {
        let x = f64::from(x[i]);
        let step = match node.op {
            // Steps lie half-way between levels; the one that counts is the one before tract's level.
            Op::Quantize { scale, zero_point } => {
                let level = f64::from(float[i]) - f64::from(zero_point);
                (level + if float[i] > exact[i] { -0.5 } else { 0.5 }) * f64::from(scale)
            }
            _ => 0.0,
        };
        (x - step).abs() / f64::from(greatest)
    };
    let differing: Vec<usize> = (0..exact.len()).filter(|i| exact[*i] != float[*i]).collect();
    let farthest = differing
        .iter()
        .copied()
        .max_by(|a, b| distance(*a).total_cmp(&distance(*b)))?;
    Some(Cause::Quantizer {
        node: node.name.clone(),
        values: differing.len(),
        index: farthest,
        distance: distance(farthest),
    })
}

/// What tract made of a quantizer's node; of one that chooses between two numbers by a sign, the signs.
fn as_signs<'a>(g: &Graph, id: NodeId, float: &'a [f32]) -> Cow<'a, [f32]> {
    let behind = g.users(id).into_iter().flat_map(|value| g.users(value));
    let chosen = behind
        .filter(|b| g.node(*b).name == g.node(id).name)
        .find_map(|b| match &g.node(b).op {
            Op::Affine { mul, add, .. } => Some((mul[0], add[0])),
            _ => None,
        });
    match (&g.node(id).op, chosen) {
        (Op::Sign, Some((half, middle))) => float.iter().map(|v| (v - middle).signum() * half.signum()).collect(),
        _ => Cow::Borrowed(float),
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sample {}: tract says {}, exact is {}: ",
            self.sample, self.float, self.exact
        )?;
        match &self.cause {
            Cause::Quantizer {
                node,
                values,
                index,
                distance,
            } => {
                write!(
                    f,
                    "{node} differs in {values} values, all within {distance:.1e} of a step (value {index})"
                )
            }
            Cause::Scores { lead } => write!(f, "the scores are {lead:.1e} apart"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;
    use crate::ir::{Elem, Ty};

    fn at(distance: f64) -> Exception {
        Exception {
            sample: 4711,
            float: 3,
            exact: 5,
            cause: Cause::Quantizer {
                node: "conv2.act".into(),
                values: 1,
                index: 7,
                distance,
            },
        }
    }

    #[test]
    fn only_the_edge_of_a_step_is_a_tie() {
        assert!(at(1e-6).is_tie());
        assert!(!at(1e-3).is_tie());
        let finding = at(1e-3).finding();
        assert_eq!(finding.code, Code::ClassesDiffer);
        assert_eq!(
            finding.found,
            "sample 4711: tract says 3, exact is 5: conv2.act differs in 1 values, all within 1.0e-3 of a step (value 7): more \
             than rounding explains"
        );
    }

    #[test]
    fn the_distance_is_to_the_step_before_the_float_models_level() {
        let mut g = Graph::new();
        let real = Ty::new(Elem::Real, [3]);
        let x = g.add("x", Op::Input, real.clone(), &[]);
        let scale = 0.5;
        let q = g.add("q", Op::Quantize { scale, zero_point: 1 }, Ty::new(Elem::I8, [3]), &[x]);
        // In steps: 1.49, 3.1, -8; with the zero point the levels 2, 4, -7.
        let value = |id: NodeId| {
            if id == x {
                vec![0.745, 1.55, -4.0]
            } else {
                vec![2.0, 4.0, -7.0]
            }
        };
        let Some(Cause::Quantizer {
            values,
            index,
            distance,
            ..
        }) = crossing(&g, q, &value, &[3.0, 5.0, -7.0])
        else {
            panic!("two values differ");
        };
        // 3.1 misses the step at 3.5 by 0.4 steps of 0.5; the greatest magnitude is 4.
        assert_eq!((values, index), (2, 1));
        assert!((distance - 0.05).abs() < 1e-6, "{distance}");
        assert!(crossing(&g, q, &value, &[2.0, 4.0, -7.0]).is_none());
    }

    #[test]
    fn quantizers_of_real_models_are_found_in_tract() {
        for stem in ["lenet5_binary", "lenet5_float", "lenet5_int8"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/models/{stem}.onnx"));
            let model = crate::import::read(&path).unwrap();
            let samples = data::synthetic(&Ty::new(Elem::U8, [1, 28, 28]), 2);
            let explained = explain(&path, &model, &samples, &[1]).unwrap();
            assert!(explained[0].is_tie(), "{stem}: {}", explained[0]);
        }
    }

    #[test]
    fn numbers_that_a_sign_chooses_are_signs() {
        for (yes, no) in [(1.0f32, 0.0), (-1.0, 1.0), (0.25, 3.0)] {
            let mut g = Graph::new();
            let x = g.add("x", Op::Input, Ty::new(Elem::F32, [2]), &[]);
            let sign = g.add("where", Op::Sign, Ty::new(Elem::Sign, [2]), &[x]);
            let value = g.add("where", Op::FromSign, Ty::new(Elem::Real, [2]), &[sign]);
            let affine = Op::Affine {
                mul: vec![(yes - no) / 2.0],
                div: vec![1.0],
                add: vec![(yes + no) / 2.0],
            };
            g.add("where", affine, Ty::new(Elem::Real, [2]), &[value]);
            assert_eq!(as_signs(&g, sign, &[yes, no])[..], [1.0, -1.0]);
        }
    }
}
