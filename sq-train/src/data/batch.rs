//! Batches in an order that depends on the seed and the epoch alone, so that a resumed run sees what a straight run sees.

use super::Dataset;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Keeps the shifts of an epoch independent of its order.
const SHIFT_STREAM: u64 = 0x5348_4946_5453;

/// The images `0..n` in the order of this epoch.
pub fn shuffled(n: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed ^ epoch as u64));
    order
}

/// Pixels and labels of the images with these indices.
pub fn batch(set: &Dataset, indices: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let pixels = indices.iter().flat_map(|&i| set.image(i)).copied().collect();
    (pixels, indices.iter().map(|&i| set.labels[i]).collect())
}

/// As [`batch`], each image moved by up to `reach` pixels along both axes, zeros moving in. The move of an image depends on
/// the seed, the epoch and its index.
pub fn shifted_batch(set: &Dataset, indices: &[usize], reach: usize, seed: u64, epoch: usize) -> (Vec<u8>, Vec<u8>) {
    let (pixels, labels) = batch(set, indices);
    if reach == 0 {
        return (pixels, labels);
    }
    let size: usize = set.shape.iter().product();
    let reach = reach as i32;
    let moved = pixels.chunks(size).zip(indices).flat_map(|(image, &i)| {
        let stream = (seed ^ epoch as u64 ^ SHIFT_STREAM).wrapping_add((i as u64) << 32);
        let mut rng = StdRng::seed_from_u64(stream);
        shift(
            image,
            set.shape,
            rng.random_range(-reach..=reach),
            rng.random_range(-reach..=reach),
        )
    });
    (moved.collect(), labels)
}

/// The image moved `dy` rows down and `dx` columns right.
fn shift(image: &[u8], [channels, rows, columns]: [usize; 3], dy: i32, dx: i32) -> Vec<u8> {
    let mut out = vec![0; image.len()];
    for c in 0..channels {
        for y in 0..rows {
            for x in 0..columns {
                let from = (y.checked_add_signed(-dy as isize), x.checked_add_signed(-dx as isize));
                if let (Some(fy), Some(fx)) = from
                    && fy < rows
                    && fx < columns
                {
                    out[(c * rows + y) * columns + x] = image[(c * rows + fy) * columns + fx];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_a_permutation_that_changes_with_seed_and_epoch() {
        let order = shuffled(100, 3, 1);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(order, shuffled(100, 3, 1));
        assert_ne!(order, shuffled(100, 3, 2));
        assert_ne!(order, shuffled(100, 4, 1));
    }

    #[test]
    fn shift_moves_and_fills_with_zero() {
        let image = [1, 2, 3, 4, 5, 6];
        assert_eq!(shift(&image, [1, 2, 3], 0, 1), [0, 1, 2, 0, 4, 5]);
        assert_eq!(shift(&image, [1, 2, 3], -1, 0), [4, 5, 6, 0, 0, 0]);
        assert_eq!(shift(&image, [1, 2, 3], 0, 0), image);
    }

    #[test]
    fn shifts_repeat_for_the_same_epoch() {
        let set = Dataset {
            images: (1..=72).collect(),
            labels: vec![0, 1],
            shape: [1, 6, 6],
        };
        let one = shifted_batch(&set, &[0, 1], 2, 7, 1);
        assert_eq!(one, shifted_batch(&set, &[0, 1], 2, 7, 1));
        assert_eq!(one.0[..36], shifted_batch(&set, &[0], 2, 7, 1).0[..]);
        assert_eq!(batch(&set, &[1]), shifted_batch(&set, &[1], 0, 7, 1));
        assert!((2..9).any(|epoch| one != shifted_batch(&set, &[0, 1], 2, 7, epoch)));
    }
}
