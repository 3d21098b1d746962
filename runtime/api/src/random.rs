//! Seeded random numbers that are identical on every machine.

/// State increment of SplitMix64 (the golden ratio in 64 bits).
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Finalizer of SplitMix64: maps nearby states to uncorrelated numbers.
pub(crate) fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64 generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates a generator from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Creates a generator for one item of a named sequence; its seed is FNV-1a over the three arguments.
    pub fn for_item(seed: u64, sequence: &str, item: i64) -> Self {
        let bytes = seed.to_le_bytes().into_iter().chain(sequence.bytes()).chain(item.to_le_bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// Returns a number uniformly distributed in 0..1.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(STEP);
        (mix(self.0) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a number uniformly distributed in `min..max`.
    pub fn between(&mut self, min: f64, max: f64) -> f64 {
        min + (max - min) * self.uniform()
    }

    /// Returns an integer uniformly distributed in `0..count`.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.uniform() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// Returns an approximately normally distributed number with mean 0 and standard deviation 1. The sum of twelve uniform
    /// numbers minus 6 is the same on every machine, which `ln` and `cos` of Box-Muller are not.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// Returns a geometrically distributed count with this mean.
    pub fn geometric(&mut self, mean: f64) -> usize {
        let mut count = 0;
        while self.uniform() < mean / (1.0 + mean) {
            count += 1;
        }
        count
    }
}
