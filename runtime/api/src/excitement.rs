//! How exciting something is: what the table `commentary` says of a sentence, and a voice makes of it.

use serde::{Deserialize, Serialize};

/// A level of excitement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Excitement {
    /// Calm.
    #[default]
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

    /// The level of this name; a name that is none is calm.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|level| level.name() == name).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_found_by_its_name() {
        assert_eq!(Excitement::ALL.map(|level| Excitement::named(level.name())), Excitement::ALL);
        assert_eq!(Excitement::named("wild"), Excitement::Low);
    }
}
