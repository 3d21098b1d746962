//! Random numbers that are the same on every machine: what is made from a seed can be made again.

/// From one state to the next.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser: states that lie near each other give numbers that do not.
pub(crate) fn mixed(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Numbers for one thing of one sequence (FNV-1a over all three).
    pub fn of(seed: u64, sequence: &str, thing: i64) -> Self {
        let bytes = seed.to_le_bytes().into_iter().chain(sequence.bytes()).chain(thing.to_le_bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// Evenly 0 to 1.
    pub fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(STEP);
        (mixed(self.0) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Evenly from `least` to `most`.
    pub fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.share()
    }

    /// A whole number from 0 to below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.share() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// Mean 0, standard deviation 1: twelve shares less six, which every machine adds up alike.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }

    /// A count with this mean, each further one as likely as the one before (geometric): mostly none, at times several.
    pub fn count(&mut self, mean: f64) -> usize {
        let mut count = 0;
        while self.share() < mean / (1.0 + mean) {
            count += 1;
        }
        count
    }
}
