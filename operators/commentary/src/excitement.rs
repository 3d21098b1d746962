//! How exciting a moment is, and which words stand in where there are none of its level.

use sideline_api::Excitement;

/// The level of a heat: 1 is what a hard, certain strike alone has.
pub fn of_heat(heat: f32) -> Excitement {
    // A single strike needs to be half as fast again as the hard ones of the bout for a knockout's words.
    match heat {
        heat if heat >= 1.5 => Excitement::Knockout,
        heat if heat >= 1.0 => Excitement::High,
        heat if heat >= 0.65 => Excitement::Medium,
        _ => Excitement::Low,
    }
}

/// A level, then the others, the nearest first; of two as near the calmer one.
pub fn nearest_to(here: Excitement) -> impl Iterator<Item = Excitement> {
    let mut all = Excitement::ALL;
    all.sort_by_key(|level| ((*level as i8 - here as i8).abs(), *level));
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::Excitement::*;

    #[test]
    fn the_nearest_level_stands_in_and_rather_the_calmer_one() {
        assert_eq!(nearest_to(Medium).collect::<Vec<_>>(), [Medium, Low, High, Knockout]);
        assert_eq!(nearest_to(Knockout).collect::<Vec<_>>(), [Knockout, High, Medium, Low]);
        assert!([0.0, 0.7, 1.2, 1.6].map(of_heat) == Excitement::ALL);
        assert_eq!(of_heat(f32::NAN), Low);
    }
}
