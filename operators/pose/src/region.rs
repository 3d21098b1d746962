//! Square regions around people, the input of the landmark model: rotated with the person, 1.25 times as large as the person.

use serde::{Deserialize, Serialize};
use sideline_inference::Region;

/// Size of the region relative to the person, as in MediaPipe (pose_landmarks_to_roi: scale 1.25).
const SCALE: f32 = 1.25;
/// Smallest usable side of a region, px.
const MIN_SIZE_PX: f32 = 8.0;

/// Square region around a person, in which the landmarks of the next frame are searched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonRegion {
    /// Center of the hips, px from the left.
    pub x: f32,
    /// Center of the hips, px from the top.
    pub y: f32,
    /// Side of the square, px.
    pub size: f32,
    /// Clockwise rotation on the screen, radians, -pi to pi; 0 for an upright person.
    pub rotation: f32,
}

impl PersonRegion {
    /// Computes the region of a person from the center of the hips and the scale point: a circle around the hips through the
    /// scale point contains the whole body, and the point lies straight above the hips of an upright person (Bazarevsky et al.,
    /// BlazePose, 2020, section 2.2).
    pub fn from_keypoints(hips: [f32; 2], scale_point: [f32; 2]) -> Self {
        use std::f32::consts::{FRAC_PI_2, PI, TAU};
        let [dx, dy] = [scale_point[0] - hips[0], scale_point[1] - hips[1]];
        let rotation = FRAC_PI_2 - (-dy).atan2(dx);
        let rotation = rotation - TAU * ((rotation + PI) / TAU).floor();
        Self { x: hips[0], y: hips[1], size: 2.0 * dx.hypot(dy) * SCALE, rotation }
    }

    /// True if a person may be in the region: it is finite, not too small, at most twice as large as the frame, and its middle
    /// half touches the frame.
    pub fn is_usable(&self, width: f32, height: f32) -> bool {
        let near = |at: f32, side: f32| at > -self.size / 4.0 && at < side + self.size / 4.0;
        // NaN fails every comparison.
        self.size > MIN_SIZE_PX
            && self.size < 2.0 * width.max(height)
            && near(self.x, width)
            && near(self.y, height)
            && self.rotation.is_finite()
    }

    /// Returns the region without its rotation, for a model that expects the frame's orientation.
    pub fn without_rotation(&self) -> Self {
        Self { rotation: 0.0, ..*self }
    }

    /// Returns the region for the sampler.
    pub fn to_region(&self) -> Region {
        Region::square(self.x, self.y, self.size, self.rotation)
    }

    /// True if both regions are probably around the same person: close centers and similar sizes.
    pub fn is_same_person(&self, other: &Self) -> bool {
        let (smaller, larger) = (self.size.min(other.size), self.size.max(other.size));
        (self.x - other.x).hypot(self.y - other.y) < 0.15 * larger && smaller > 0.6 * larger
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::FRAC_PI_2;

    #[test]
    fn a_region_has_center_size_and_rotation_of_its_keypoints() {
        let upright = PersonRegion::from_keypoints([100.0, 200.0], [100.0, 120.0]);
        assert_eq!(upright, PersonRegion { x: 100.0, y: 200.0, size: 200.0, rotation: 0.0 });
        // Lying with the head to the right: rotated by a quarter clockwise.
        let lying = PersonRegion::from_keypoints([0.0, 0.0], [40.0, 0.0]);
        assert!((lying.rotation - FRAC_PI_2).abs() < 1e-6 && (lying.size - 100.0).abs() < 1e-4);
        let other_side = PersonRegion::from_keypoints([0.0, 0.0], [-40.0, 0.0]);
        assert!((other_side.rotation + FRAC_PI_2).abs() < 1e-6);
        // Head down: half a turn, as -pi.
        let head_down = PersonRegion::from_keypoints([0.0, 0.0], [0.0, 40.0]);
        assert!((head_down.rotation.abs() - std::f32::consts::PI).abs() < 1e-6);
        // In the region's own orientation the scale point is above the center, at 0.4 of its side.
        for angle in [-3.0_f32, -1.0, 0.2, 2.5] {
            let point = [50.0 + 30.0 * angle.cos(), 60.0 + 30.0 * angle.sin()];
            let (x, y) = PersonRegion::from_keypoints([50.0, 60.0], point).to_region().to_frame(0.0, -0.4);
            assert!((x - point[0]).abs() < 1e-3 && (y - point[1]).abs() < 1e-3, "{angle}");
        }
    }

    #[test]
    fn regions_without_a_visible_person_are_not_usable() {
        let good = PersonRegion { x: 100.0, y: 100.0, size: 150.0, rotation: 0.3 };
        assert!(good.is_usable(640.0, 480.0));
        for bad in [
            PersonRegion { x: f32::NAN, ..good },
            PersonRegion { y: f32::INFINITY, ..good },
            PersonRegion { size: f32::NAN, ..good },
            PersonRegion { size: 3.0, ..good },
            PersonRegion { size: 5000.0, ..good },
            PersonRegion { rotation: f32::NAN, ..good },
            PersonRegion { x: -60.0, ..good },
            PersonRegion { y: 520.0, ..good },
        ] {
            assert!(!bad.is_usable(640.0, 480.0), "{bad:?}");
        }
    }

    #[test]
    fn close_regions_of_similar_size_are_one_person() {
        let one = PersonRegion { x: 100.0, y: 100.0, size: 200.0, rotation: 0.0 };
        assert!(one.is_same_person(&PersonRegion { x: 120.0, y: 110.0, ..one }));
        assert!(!one.is_same_person(&PersonRegion { x: 150.0, ..one }));
        assert!(!one.is_same_person(&PersonRegion { size: 90.0, ..one }), "a child in front of its father");
    }
}
