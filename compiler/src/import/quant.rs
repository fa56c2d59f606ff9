//! Recognises quantised weights from the values themselves.
//!
//! Exporters leave rounding noise (`w + (q(w) - w)`) and fold batch normalisation into the weights, so an output channel counts
//! as ternary when its nonzero magnitudes agree within [`TOLERANCE`], each channel with a magnitude of its own. -0.0 is 0.

use super::tensor::{Codes, Const};
use crate::ir::{Depth, WeightData};

/// Relative spread of magnitudes that still count as one.
pub(super) const TOLERANCE: f32 = 1e-5;

/// The weights of a layer whose values are already in the order `[output, rest]`.
///
/// `values` are finite; `codes`, if present, are what they were made of, in the same order, with one scale or one per output.
pub(super) fn recognise(values: Vec<f32>, outputs: usize, codes: Option<(Vec<i32>, Vec<f32>)>) -> WeightData {
    if let Some(data) = few_levels(&values, outputs) {
        return data;
    }
    if let Some((codes, scale)) = codes {
        let narrow: Option<Vec<i8>> = codes.iter().map(|&c| i8::try_from(c).ok()).collect();
        if let Some(codes) = narrow {
            return WeightData::Coded {
                depth: Depth::Int8,
                codes,
                scale: if scale.len() == 1 {
                    vec![scale[0]; outputs]
                } else {
                    scale
                },
            };
        }
    }
    WeightData::Float(values.into_iter().map(|v| if v == 0.0 { 0.0 } else { v }).collect())
}

/// `{-a, +a}` or `{-a, 0, +a}` in every output channel.
fn few_levels(values: &[f32], outputs: usize) -> Option<WeightData> {
    let taps = values.len() / outputs;
    let magnitudes: Vec<Option<f32>> = values.chunks(taps).map(magnitude).collect::<Option<_>>()?;
    // A channel of zeros has no magnitude of its own.
    let stand_in = magnitudes.iter().flatten().next().copied().unwrap_or(1.0);
    let codes: Vec<i8> = values
        .iter()
        .map(|&v| match v {
            v if v > 0.0 => 1,
            v if v < 0.0 => -1,
            _ => 0,
        })
        .collect();
    let depth = if codes.contains(&0) {
        Depth::Ternary
    } else {
        Depth::Binary
    };
    Some(WeightData::Coded {
        depth,
        codes,
        scale: magnitudes.into_iter().map(|m| m.unwrap_or(stand_in)).collect(),
    })
}

/// The one magnitude of a channel: `None` if there are several, `Some(None)` if all weights are 0.
fn magnitude(channel: &[f32]) -> Option<Option<f32>> {
    let nonzero = || channel.iter().map(|v| v.abs()).filter(|&v| v > 0.0);
    let Some(least) = nonzero().reduce(f32::min) else {
        return Some(None);
    };
    let greatest = nonzero().fold(least, f32::max);
    if greatest - least > TOLERANCE * greatest {
        return None;
    }
    if least == greatest {
        return Some(Some(least));
    }
    let sum: f64 = nonzero().map(f64::from).sum();
    Some(Some((sum / nonzero().count() as f64) as f32))
}

/// The codes of a constant in the order `[output, rest]`, if its scales run along the outputs.
///
/// `transposed`: the constant is `[rest, output]`.
pub(super) fn codes_by_output(constant: &Const, transposed: bool) -> Option<(Vec<i32>, Vec<f32>)> {
    let Codes { values, scale, axis } = constant.codes.as_ref()?;
    let output_axis = usize::from(transposed);
    if scale.len() > 1 && *axis != output_axis {
        return None;
    }
    let values = if transposed {
        transpose(values, &constant.dims)
    } else {
        values.clone()
    };
    Some((values, scale.clone()))
}

/// A matrix, columns first.
pub(super) fn transpose<T: Copy>(values: &[T], dims: &[usize]) -> Vec<T> {
    let (rows, columns) = (dims[0], dims[1]);
    (0..columns)
        .flat_map(|c| (0..rows).map(move |r| values[r * columns + c]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth_of(data: &WeightData) -> Option<Depth> {
        match data {
            WeightData::Coded { depth, .. } => Some(*depth),
            WeightData::Float(_) => None,
        }
    }

    #[test]
    fn each_channel_has_its_own_magnitude() {
        let data = recognise(vec![0.5, -0.5, 2.0, 2.0], 2, None);
        let WeightData::Coded { depth, codes, scale } = data else {
            panic!("float")
        };
        assert_eq!(
            (depth, codes, scale),
            (Depth::Binary, vec![1, -1, 1, 1], vec![0.5, 2.0])
        );
    }

    #[test]
    fn rounding_noise_is_no_level() {
        let a = 0.137_f32;
        let data = recognise(vec![a, -a.next_up(), -0.0, a.next_down()], 1, None);
        let WeightData::Coded { depth, codes, scale } = data else {
            panic!("float")
        };
        assert_eq!((depth, codes), (Depth::Ternary, vec![1, -1, 0, 1]));
        assert!((scale[0] - a).abs() <= a * TOLERANCE);
        assert_eq!(depth_of(&recognise(vec![a, a * 1.001], 1, None)), None);
    }

    #[test]
    fn zeros_alone_are_ternary() {
        let data = recognise(vec![0.0, -0.0, 3.0, -3.0], 2, None);
        let WeightData::Coded { depth, scale, .. } = data else {
            panic!("float")
        };
        assert_eq!((depth, scale), (Depth::Ternary, vec![3.0, 3.0]));
    }

    #[test]
    fn other_codes_stay_int8() {
        let codes = Some((vec![3, -128], vec![0.5]));
        assert_eq!(depth_of(&recognise(vec![1.5, -64.0], 1, codes)), Some(Depth::Int8));
        let wide = Some((vec![3, 200], vec![0.5]));
        assert_eq!(depth_of(&recognise(vec![1.5, 100.0], 1, wide)), None);
    }
}
