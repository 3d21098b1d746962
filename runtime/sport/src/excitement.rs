//! Excitement level of a commentary sentence: a column of the table `commentary` that controls the manner of the voice.

use serde::{Deserialize, Serialize};

/// Level of excitement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Excitement {
    /// Calm phase.
    #[default]
    Low,
    /// Some action.
    Medium,
    /// Much action, or one hard strike.
    High,
    /// Decisive action.
    Knockout,
}

impl Excitement {
    /// All levels in ascending order.
    pub const ALL: [Excitement; 4] = [Excitement::Low, Excitement::Medium, Excitement::High, Excitement::Knockout];

    /// Returns the name of the level in tables and vocabularies.
    pub fn name(self) -> &'static str {
        match self {
            Excitement::Low => "low",
            Excitement::Medium => "medium",
            Excitement::High => "high",
            Excitement::Knockout => "knockout",
        }
    }

    /// Returns the level of this name; [`Excitement::Low`] for an unknown name.
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|level| level.name() == name).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_parsed_from_their_names_and_unknown_names_are_low() {
        assert_eq!(Excitement::ALL.map(|level| Excitement::from_name(level.name())), Excitement::ALL);
        assert_eq!(Excitement::from_name("wild"), Excitement::Low);
    }
}
