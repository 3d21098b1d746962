//! Levels of excitement: the thresholds, and the order in which levels replace each other.

use sideline_sport::Excitement;

/// Returns the level of an excitement score; 1 is the score of a single strike that is hard and certain.
pub fn level_for_score(score: f32) -> Excitement {
    // For knockout a single strike must be 1.5 times as fast as the hard strikes of the bout.
    match score {
        score if score >= 1.5 => Excitement::Knockout,
        score if score >= 1.0 => Excitement::High,
        score if score >= 0.65 => Excitement::Medium,
        _ => Excitement::Low,
    }
}

/// Returns all levels by their distance from one, starting with that level; of two at the same distance the calmer
/// comes first.
pub fn levels_nearest_to(here: Excitement) -> impl Iterator<Item = Excitement> {
    let mut all = Excitement::ALL;
    all.sort_by_key(|level| ((*level as i8 - here as i8).abs(), *level));
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_sport::Excitement::*;

    #[test]
    fn levels_are_ordered_by_distance_with_the_calmer_first() {
        assert_eq!(levels_nearest_to(Medium).collect::<Vec<_>>(), [Medium, Low, High, Knockout]);
        assert_eq!(levels_nearest_to(Knockout).collect::<Vec<_>>(), [Knockout, High, Medium, Low]);
        assert!([0.0, 0.7, 1.2, 1.6].map(level_for_score) == Excitement::ALL);
        assert_eq!(level_for_score(f32::NAN), Low);
    }
}
