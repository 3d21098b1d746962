//! How exciting something is: four levels.

use serde::{Deserialize, Serialize};

/// A level of excitement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Excitement {
    /// Calm.
    Low,
    /// Something happens.
    Medium,
    /// Much happens, or one thing hard.
    High,
    /// What decides a fight.
    Knockout,
}

impl Excitement {
    /// All levels, calm ones first.
    pub const ALL: [Excitement; 4] = [Excitement::Low, Excitement::Medium, Excitement::High, Excitement::Knockout];

    /// As tables and vocabularies write it.
    pub fn name(self) -> &'static str {
        match self {
            Excitement::Low => "low",
            Excitement::Medium => "medium",
            Excitement::High => "high",
            Excitement::Knockout => "knockout",
        }
    }

    /// The level of a heat: 1 is what a hard, certain strike alone has.
    pub fn of(heat: f32) -> Self {
        // A single strike needs to be half as fast again as the hard ones of the bout for a knockout's words.
        match heat {
            heat if heat >= 1.5 => Excitement::Knockout,
            heat if heat >= 1.0 => Excitement::High,
            heat if heat >= 0.65 => Excitement::Medium,
            _ => Excitement::Low,
        }
    }

    /// This level, then the others, the nearest first; of two as near the calmer one.
    pub fn from_here(self) -> impl Iterator<Item = Excitement> {
        let mut all = Self::ALL;
        all.sort_by_key(|level| ((*level as i8 - self as i8).abs(), *level));
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::Excitement::{self, *};

    #[test]
    fn the_nearest_level_stands_in_and_rather_the_calmer_one() {
        assert_eq!(Medium.from_here().collect::<Vec<_>>(), [Medium, Low, High, Knockout]);
        assert_eq!(Knockout.from_here().collect::<Vec<_>>(), [Knockout, High, Medium, Low]);
        assert!([0.0, 0.7, 1.2, 1.6].map(Excitement::of) == Excitement::ALL);
        assert_eq!(Excitement::of(f32::NAN), Low);
    }
}
