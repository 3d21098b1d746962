//! How one of two stands to the other, as the models take it.

use sideline_api::tables::Interaction;

/// Distance, closing speed, facing of this track and of the other, reach of this track and of the other; the nearest other
/// where there are several. `None` where there is no other.
pub fn of(track: u32, rows: &[Interaction]) -> Option<[f32; Interaction::VALUES]> {
    let ours = rows.iter().filter_map(|row| row.seen_by(track));
    // A distance that is not known comes last.
    ours.min_by(|one, other| one[0].abs().total_cmp(&other[0].abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(track_a: u32, track_b: u32, distance: f32) -> Interaction {
        Interaction {
            track_a,
            fighter_a: String::new(),
            track_b,
            fighter_b: String::new(),
            distance,
            closing_speed: 0.5,
            facing_a: 0.1,
            facing_b: 0.2,
            reach_a: 1.0,
            reach_b: 2.0,
        }
    }

    #[test]
    fn each_of_two_sees_the_other_as_the_other() {
        let rows = [row(1, 2, 3.0)];
        assert_eq!(of(1, &rows), Some([3.0, 0.5, 0.1, 0.2, 1.0, 2.0]));
        assert_eq!(of(2, &rows), Some([3.0, 0.5, 0.2, 0.1, 2.0, 1.0]));
        assert_eq!(of(3, &rows), None);
    }

    #[test]
    fn of_several_others_the_nearest_counts_and_an_unknown_distance_last() {
        let rows = [row(1, 2, f32::NAN), row(1, 3, 4.0), row(4, 1, 2.0)];
        assert_eq!(of(1, &rows).map(|values| values[0]), Some(2.0));
        assert!(of(2, &rows).is_some_and(|values| values[0].is_nan()));
    }
}
