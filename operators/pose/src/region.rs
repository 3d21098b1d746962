//! The square that a model looks at: upright in the person's own sense, 1.25 times as large as the person.

use serde::{Deserialize, Serialize};
use sideline_inference::Region;

/// Room around a person, as MediaPipe leaves it (pose_landmarks_to_roi: scale 1.25).
const ROOM: f32 = 1.25;
/// Smaller than this many pixels there is nothing to see.
const LEAST: f32 = 8.0;

/// A square of the frame around a person: what the next frame's landmarks are looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonRegion {
    /// Hip centre, px from the left.
    pub x: f32,
    /// Hip centre, px from the top.
    pub y: f32,
    /// Side of the square, px.
    pub size: f32,
    /// Radians clockwise on the screen, -pi to pi; 0 when the person is upright.
    pub rotation: f32,
}

impl PersonRegion {
    /// The region of a person whose hip centre and scale point are known: a circle around the hips through the scale point
    /// holds the whole body, and the point lies straight up when the person is upright (Bazarevsky et al., BlazePose, 2020,
    /// section 2.2).
    pub fn of(centre: [f32; 2], scale_point: [f32; 2]) -> Self {
        use std::f32::consts::{FRAC_PI_2, PI, TAU};
        let [dx, dy] = [scale_point[0] - centre[0], scale_point[1] - centre[1]];
        let rotation = FRAC_PI_2 - (-dy).atan2(dx);
        let rotation = rotation - TAU * ((rotation + PI) / TAU).floor();
        Self { x: centre[0], y: centre[1], size: 2.0 * dx.hypot(dy) * ROOM, rotation }
    }

    /// True when a person may be there: finite, not too small, no more than twice the frame, and at least its middle half
    /// touches the frame.
    pub fn usable(&self, width: f32, height: f32) -> bool {
        let near = |at: f32, side: f32| at > -self.size / 4.0 && at < side + self.size / 4.0;
        // NaN fails every comparison.
        self.size > LEAST
            && self.size < 2.0 * width.max(height)
            && near(self.x, width)
            && near(self.y, height)
            && self.rotation.is_finite()
    }

    /// The same, not turned: for a model that knows people upright only.
    pub fn upright(&self) -> Self {
        Self { rotation: 0.0, ..*self }
    }

    /// For the sampler.
    pub fn square(&self) -> Region {
        Region::square(self.x, self.y, self.size, self.rotation)
    }

    /// True when both are likely around the same person: hips near each other, sizes alike.
    pub fn same_person(&self, other: &Self) -> bool {
        let (least, most) = (self.size.min(other.size), self.size.max(other.size));
        (self.x - other.x).hypot(self.y - other.y) < 0.15 * most && least > 0.6 * most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::FRAC_PI_2;

    #[test]
    fn a_region_follows_the_closed_form() {
        let upright = PersonRegion::of([100.0, 200.0], [100.0, 120.0]);
        assert_eq!(upright, PersonRegion { x: 100.0, y: 200.0, size: 200.0, rotation: 0.0 });
        // Lying with the head to the right: turned a quarter clockwise.
        let lying = PersonRegion::of([0.0, 0.0], [40.0, 0.0]);
        assert!((lying.rotation - FRAC_PI_2).abs() < 1e-6 && (lying.size - 100.0).abs() < 1e-4);
        let other_side = PersonRegion::of([0.0, 0.0], [-40.0, 0.0]);
        assert!((other_side.rotation + FRAC_PI_2).abs() < 1e-6);
        // Head down: half a turn, as -pi.
        let head_down = PersonRegion::of([0.0, 0.0], [0.0, 40.0]);
        assert!((head_down.rotation.abs() - std::f32::consts::PI).abs() < 1e-6);
        // The scale point is above the centre in the region's own sense, at 0.4 of its side.
        for angle in [-3.0_f32, -1.0, 0.2, 2.5] {
            let point = [50.0 + 30.0 * angle.cos(), 60.0 + 30.0 * angle.sin()];
            let (x, y) = PersonRegion::of([50.0, 60.0], point).square().to_frame(0.0, -0.4);
            assert!((x - point[0]).abs() < 1e-3 && (y - point[1]).abs() < 1e-3, "{angle}");
        }
    }

    #[test]
    fn regions_that_hold_nobody_are_not_used() {
        let good = PersonRegion { x: 100.0, y: 100.0, size: 150.0, rotation: 0.3 };
        assert!(good.usable(640.0, 480.0));
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
            assert!(!bad.usable(640.0, 480.0), "{bad:?}");
        }
    }

    #[test]
    fn near_hips_of_like_size_are_one_person() {
        let one = PersonRegion { x: 100.0, y: 100.0, size: 200.0, rotation: 0.0 };
        assert!(one.same_person(&PersonRegion { x: 120.0, y: 110.0, ..one }));
        assert!(!one.same_person(&PersonRegion { x: 150.0, ..one }));
        assert!(!one.same_person(&PersonRegion { size: 90.0, ..one }), "a child in front of its father");
    }
}
