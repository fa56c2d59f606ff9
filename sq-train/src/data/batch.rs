//! Batches in an order that depends on the seed and the epoch alone, so that a resumed run sees what a straight run sees.

use super::Dataset;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Keeps the changes of an epoch independent of its order.
const AUGMENT_STREAM: u64 = 0x5348_4946_5453;

/// The images `0..n` in the order of this epoch.
pub fn shuffled(n: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed ^ epoch as u64));
    order
}

/// Random changes of training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augment {
    /// Greatest move along each axis, in pixels, zeros moving in: the same as padding by so many zeros and cropping.
    pub shift: usize,
    /// Whether every second image, by chance, is mirrored left to right.
    pub flip: bool,
}

/// Pixels and labels of the images with these indices, each changed by `augment`. The change of an image depends on the
/// seed, the epoch and its index.
pub fn batch(set: &Dataset, indices: &[usize], augment: Augment, seed: u64, epoch: usize) -> (Vec<u8>, Vec<u16>) {
    let labels = indices.iter().map(|&i| set.labels[i]).collect();
    if augment == Augment::default() {
        return (indices.iter().flat_map(|&i| set.image(i)).copied().collect(), labels);
    }
    let reach = augment.shift as i32;
    let changed = indices.iter().flat_map(|&i| {
        let stream = (seed ^ epoch as u64 ^ AUGMENT_STREAM).wrapping_add((i as u64) << 32);
        let mut rng = StdRng::seed_from_u64(stream);
        let (dy, dx) = (rng.random_range(-reach..=reach), rng.random_range(-reach..=reach));
        let mut image = shift(set.image(i), set.shape, dy, dx);
        if augment.flip && rng.random() {
            image.chunks_mut(set.shape[2]).for_each(<[u8]>::reverse);
        }
        image
    });
    (changed.collect(), labels)
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
    fn changes_repeat_for_the_same_epoch() {
        let set = Dataset {
            images: (1..=72).collect(),
            labels: vec![0, 1],
            shape: [1, 6, 6],
        };
        let augment = Augment { shift: 2, flip: false };
        let one = batch(&set, &[0, 1], augment, 7, 1);
        assert_eq!(one, batch(&set, &[0, 1], augment, 7, 1));
        assert_eq!(one.0[..36], batch(&set, &[0], augment, 7, 1).0[..]);
        assert!((2..9).any(|epoch| one != batch(&set, &[0, 1], augment, 7, epoch)));
        let plain = batch(&set, &[1], Augment::default(), 7, 1);
        assert_eq!(plain, (set.image(1).to_vec(), vec![1]));
    }

    #[test]
    fn flips_mirror_about_half_of_the_images() {
        let set = Dataset {
            images: [1, 2, 3, 4].repeat(100),
            labels: vec![0; 100],
            shape: [1, 2, 2],
        };
        let all: Vec<usize> = (0..100).collect();
        let augment = Augment { shift: 0, flip: true };
        let (pixels, _) = batch(&set, &all, augment, 1, 1);
        let flipped = pixels.chunks(4).filter(|image| *image == [2, 1, 4, 3]).count();
        assert_eq!(
            flipped + pixels.chunks(4).filter(|image| *image == [1, 2, 3, 4]).count(),
            100
        );
        assert!((30..70).contains(&flipped), "{flipped}");
    }
}
