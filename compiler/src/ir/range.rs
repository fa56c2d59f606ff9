//! How large values and sums can become.

use super::{Elem, Epilogue, Graph, Join, NodeId, Op, WeightData, Weights};

/// Least and greatest integer that a quantised value can hold; absent for real and `f32` values.
pub fn values(g: &Graph, id: NodeId) -> Option<(i64, i64)> {
    let node = g.node(id);
    match (&node.op, node.ty.elem) {
        (_, Elem::Real | Elem::F32) => None,
        (
            Op::Linear {
                epilogue: Epilogue::Requant { lo, hi, .. },
                ..
            },
            _,
        ) => Some((i64::from(*lo), i64::from(*hi))),
        (Op::MaxPool(_) | Op::Flatten | Op::Output, _) => values(g, *g.operands(id).first()?),
        (_, Elem::I32) => sums(g, id)?
            .into_iter()
            .reduce(|(a, b), (lo, hi)| (a.min(lo), b.max(hi))),
        (Op::Join(Join::Integer { lo, hi, .. }), Elem::U8 | Elem::I8) => Some((i64::from(*lo), i64::from(*hi))),
        (_, Elem::U8) => Some((0, 255)),
        (_, Elem::I8) => Some((-128, 127)),
        (_, Elem::Sign) => Some((-1, 1)),
    }
}

/// Per output channel, least and greatest sum of `operand * code` that a layer can reach; absent for uncoded weights.
///
/// `operand` bounds the operand's integers. A padded position contributes 0.
pub fn of_sums(weights: &Weights, operand: (i64, i64), padded: bool) -> Option<Vec<(i64, i64)>> {
    let WeightData::Coded { codes, .. } = &weights.data else {
        return None;
    };
    let taps = weights.shape[1..].iter().product();
    let hull = if padded {
        (operand.0.min(0), operand.1.max(0))
    } else {
        operand
    };
    let bound = |codes: &[i8]| {
        codes.iter().fold((0, 0), |(lo, hi), &code| {
            let (a, b) = (hull.0 * i64::from(code), hull.1 * i64::from(code));
            (lo + a.min(b), hi + a.max(b))
        })
    };
    Some(codes.chunks(taps).map(bound).collect())
}

/// The same for a fused layer of integer sums; absent for any other node.
pub fn sums(g: &Graph, id: NodeId) -> Option<Vec<(i64, i64)>> {
    let Op::Linear { weights, geom, .. } = &g.node(id).op else {
        return None;
    };
    let operand = values(g, *g.operands(id).first()?)?;
    of_sums(weights, operand, geom.pads != [0; 4])
}

/// Whether 32 bits hold `sum * mul + add` for every sum of at most this magnitude.
pub fn is_short(mul: i32, add: i64, greatest: i64) -> bool {
    (i64::from(mul).abs() * greatest).saturating_add(add.saturating_abs()) <= i64::from(i32::MAX)
}

/// Places that a sum of at most this magnitude can be shifted left in 32 bits.
pub fn headroom(greatest: i64) -> u32 {
    (greatest.unsigned_abs().leading_zeros() - 32).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Depth;

    #[test]
    fn bounds_follow_the_codes() {
        let weights = Weights {
            shape: [2, 1, 1, 3],
            data: WeightData::Coded {
                depth: Depth::Ternary,
                codes: vec![1, 1, -1, 0, -1, -1],
                scale: vec![1.0; 2],
            },
        };
        assert_eq!(of_sums(&weights, (0, 255), false), Some(vec![(-255, 510), (-510, 0)]));
        assert_eq!(of_sums(&weights, (3, 5), false), Some(vec![(1, 7), (-10, -6)]));
        assert_eq!(of_sums(&weights, (3, 5), true), Some(vec![(-5, 10), (-10, 0)]));
    }

    #[test]
    fn shifted_sums_fit() {
        for greatest in [1, 2, 255, 256, 73_152, i64::from(i32::MAX)] {
            let shift = headroom(greatest);
            assert!(greatest << shift <= i64::from(i32::MAX), "{greatest}");
            assert!(greatest << (shift + 1) > i64::from(i32::MAX), "{greatest}");
        }
    }
}
