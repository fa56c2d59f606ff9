//! Numbers that look random and are the same on every machine and in every version.

/// Sebastiano Vigna's [SplitMix64](https://prng.di.unimi.it/splitmix64.c), chosen because it is a few lines that will never
/// change.
pub(crate) struct SplitMix64(pub u64);

impl SplitMix64 {
    /// Any 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A number in -1..1, a multiple of 2^-23.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_comes_out() {
        // SplitMix64 with seed 1234567.
        assert_eq!(SplitMix64(1_234_567).next(), 6_457_827_717_110_365_317);
    }

    #[test]
    fn units_lie_between_minus_one_and_one() {
        let mut random = SplitMix64(1);
        assert!((0..1000).all(|_| (-1.0..1.0).contains(&random.unit())));
    }
}
