//! From raw pixels to the network's input: `(pixel - zero) * scale`, with an integer `zero`, so that it is exactly ONNX's
//! DequantizeLinear and the exported file takes raw pixels. Channels that have scales of their own are rounded to 8 bits of one scale
//! behind it (QuantizeLinear, DequantizeLinear), so that a layer sums integers on a device.

use super::Dataset;
use serde::{Deserialize, Serialize};

/// How raw pixels are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// 0..=255 becomes 0..=1.
    Unit,
    /// Mean 0 (to half a pixel value) and deviation 1 over the training set.
    Set,
    /// The same for every channel by itself.
    Channel,
}

/// The numbers of a normalisation; one pair, or one per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pixels {
    /// Pixel value that becomes 0.
    pub zero: Vec<u8>,
    /// Factor.
    pub scale: Vec<f32>,
    /// What normalised pixels are rounded to multiples of, -127 to 127 of them; absent where there is one factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f32>,
}

impl Pixels {
    /// The normalisation of this kind that suits `set`.
    pub fn fit(kind: Normalise, set: &Dataset) -> Pixels {
        let [channels, rows, columns] = set.shape;
        let groups = match kind {
            Normalise::Unit => {
                return Pixels {
                    zero: vec![0],
                    scale: vec![1.0 / 255.0],
                    step: None,
                };
            }
            Normalise::Set => 1,
            Normalise::Channel => channels,
        };
        let mut counts = vec![[0u64; 256]; groups];
        for (plane, pixels) in set.images.chunks(rows * columns).enumerate() {
            let histogram = &mut counts[plane % channels % groups];
            pixels.iter().for_each(|&p| histogram[p as usize] += 1);
        }
        let (zero, scale): (Vec<u8>, Vec<f32>) = counts.iter().map(moments).unzip();
        let farthest = zero.iter().zip(&scale).map(|(&z, s)| f32::from(z.max(255 - z)) * s);
        let step = farthest.fold(0.0, f32::max) / 127.0;
        Pixels {
            step: (scale.len() > 1).then_some(step),
            zero,
            scale,
        }
    }

    /// Normalised pixels of images of `channels` channels with `map` pixels each.
    pub fn apply(&self, pixels: &[u8], channels: usize, map: usize) -> Vec<f32> {
        // As QuantizeLinear rounds, which divides.
        let round = |v: f32| match self.step {
            Some(step) => (v / step).round_ties_even().clamp(-128.0, 127.0) * step,
            None => v,
        };
        let table = |(&zero, &scale): (&u8, &f32)| -> Vec<f32> {
            let value = |p: i32| round((p - i32::from(zero)) as f32 * scale);
            (0..256).map(value).collect()
        };
        let tables: Vec<Vec<f32>> = self.zero.iter().zip(&self.scale).map(table).collect();
        let planes = pixels.chunks(map.max(1)).enumerate();
        planes
            .flat_map(|(plane, pixels)| {
                let table = &tables[plane % channels % tables.len()];
                pixels.iter().map(|&p| table[p as usize])
            })
            .collect()
    }
}

/// Rounded mean, and one over the deviation about it (1/255 where all pixels are alike).
fn moments(histogram: &[u64; 256]) -> (u8, f32) {
    let sum = |f: &dyn Fn(f64) -> f64| -> f64 { (0..256).map(|p| f(p as f64) * histogram[p] as f64).sum() };
    let count = sum(&|_| 1.0).max(1.0);
    let zero = (sum(&|p| p) / count).round();
    let variance = sum(&|p| (p - zero) * (p - zero)) / count;
    let scale = if variance > 0.0 {
        1.0 / variance.sqrt()
    } else {
        1.0 / 255.0
    };
    (zero as u8, scale as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_become_zero_and_deviations_one() {
        let set = Dataset {
            images: vec![10, 20, 100, 100, 10, 20, 104, 96],
            labels: vec![0, 1],
            shape: [2, 1, 2],
        };
        let pixels = Pixels::fit(Normalise::Channel, &set);
        assert_eq!(pixels.zero, [15, 100]);
        let values = pixels.apply(&set.images, 2, 2);
        // The farthest pixel value is 155 from the mean of the second channel, whose deviation is the square root of 8.
        let step = pixels.step.expect("two scales");
        assert!((step - 155.0 / 8f32.sqrt() / 127.0).abs() < 1e-6, "{step}");
        assert_eq!(values[..2], [-2.0 * step, 2.0 * step]);
        assert_eq!(values[6], 3.0 * step, "the square root of 2, rounded");
        let all = Pixels::fit(Normalise::Set, &set);
        assert_eq!((all.zero.len(), all.zero[0]), (1, 58)); // 460 / 8
        let unit = Pixels::fit(Normalise::Unit, &set).apply(&[0, 255], 1, 2);
        assert_eq!(unit, [0.0, 1.0]);
    }

    #[test]
    fn images_of_one_colour_are_harmless() {
        let set = Dataset {
            images: vec![7; 4],
            labels: vec![0],
            shape: [1, 2, 2],
        };
        assert_eq!(Pixels::fit(Normalise::Set, &set).apply(&set.images, 1, 4), [0.0; 4]);
    }
}
