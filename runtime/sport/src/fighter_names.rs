//! Join of the table `fighters` with tables that have a column `track`.

use sideline_api::{Inputs, Result};

use crate::tables::{Fighter, FighterName};

/// Name of the optional input from which operators read the names of fighters.
pub const FIGHTERS_INPUT: &str = "fighters";

/// Names of the fighters in one frame, by track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FighterNames(Vec<(u32, Fighter)>);

impl FighterNames {
    /// Creates the names from the rows of a frame.
    pub fn from_rows(rows: &[FighterName]) -> Self {
        Self(rows.iter().map(|row| (row.track, row.fighter)).collect())
    }

    /// Reads the names from the input [`FIGHTERS_INPUT`]; without it no track has a name.
    ///
    /// # Errors
    /// When the rows cannot be decoded.
    pub fn read(input: &Inputs) -> Result<Self> {
        Ok(Self::from_rows(&input.rows::<FighterName>(FIGHTERS_INPUT)?.unwrap_or_default()))
    }

    /// Returns the fighter that a track is; none for track 0, which stands for a person without a track.
    pub fn fighter_of(&self, track: u32) -> Fighter {
        self.0.iter().find(|(named, _)| *named == track && track > 0).map_or(Fighter::None, |(_, fighter)| *fighter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_have_the_names_of_their_rows_and_others_have_none() {
        let rows = [(7, Fighter::One), (3, Fighter::Two), (0, Fighter::One)];
        let names = FighterNames::from_rows(&rows.map(|(track, fighter)| FighterName { track, fighter }));
        assert_eq!(
            [7, 3, 0, 1].map(|track| names.fighter_of(track)),
            [Fighter::One, Fighter::Two, Fighter::None, Fighter::None]
        );
    }
}
