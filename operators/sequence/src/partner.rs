//! Interaction of a track with its nearest partner, as model input.

use sideline_sport::tables::Interaction;

/// Returns the interaction with the nearest partner as seen by `track`: distance, closing speed, facing of this track
/// and of the other, reach of this track and of the other. `None` if there is no partner.
pub fn nearest(track: u32, rows: &[Interaction]) -> Option<[f32; Interaction::FEATURES]> {
    let own = rows.iter().filter_map(|row| row.features_for(track));
    // A NaN distance sorts last.
    own.min_by(|one, other| one[0].abs().total_cmp(&other[0].abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(track_a: u32, track_b: u32, distance: f32) -> Interaction {
        Interaction {
            track_a,
            track_b,
            distance,
            closing_speed: 0.5,
            facing_a: 0.1,
            facing_b: 0.2,
            reach_a: 1.0,
            reach_b: 2.0,
            ..Interaction::default()
        }
    }

    #[test]
    fn features_are_ordered_from_the_view_of_the_track() {
        let rows = [row(1, 2, 3.0)];
        assert_eq!(nearest(1, &rows), Some([3.0, 0.5, 0.1, 0.2, 1.0, 2.0]));
        assert_eq!(nearest(2, &rows), Some([3.0, 0.5, 0.2, 0.1, 2.0, 1.0]));
        assert_eq!(nearest(3, &rows), None);
    }

    #[test]
    fn the_nearest_partner_counts_and_an_unknown_distance_comes_last() {
        let rows = [row(1, 2, f32::NAN), row(1, 3, 4.0), row(4, 1, 2.0)];
        assert_eq!(nearest(1, &rows).map(|values| values[0]), Some(2.0));
        assert!(nearest(2, &rows).is_some_and(|values| values[0].is_nan()));
    }
}
