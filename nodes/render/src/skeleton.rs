//! Skeleton overlay: limbs and joints of a pose.

use sideline_sport::tables::{Fighter, Pose};

use crate::{canvas::Rgb, overlay::Overlay, people::limb_colors};

/// Indices into the result of [`limb_colors`].
const RIGHT: usize = 0;
pub(crate) const LEFT: usize = 1;
const TRUNK: usize = 2;

/// Bones as two joints of MediaPipe's pose topology and a color index. Face, hands and feet are simplified, because their
/// details are too small in a wide view.
const BONES: [(usize, usize, usize); 28] = [
    // face: ear, eye, nose
    (8, 5, RIGHT),
    (5, 0, RIGHT),
    (7, 2, LEFT),
    (2, 0, LEFT),
    // trunk
    (11, 12, TRUNK),
    (23, 24, TRUNK),
    (12, 24, TRUNK),
    (11, 23, TRUNK),
    // arms: shoulder, elbow, wrist, hand
    (12, 14, RIGHT),
    (14, 16, RIGHT),
    (16, 18, RIGHT),
    (16, 20, RIGHT),
    (18, 20, RIGHT),
    (11, 13, LEFT),
    (13, 15, LEFT),
    (15, 17, LEFT),
    (15, 19, LEFT),
    (17, 19, LEFT),
    // legs: hip, knee, ankle, foot
    (24, 26, RIGHT),
    (26, 28, RIGHT),
    (28, 30, RIGHT),
    (28, 32, RIGHT),
    (30, 32, RIGHT),
    (23, 25, LEFT),
    (25, 27, LEFT),
    (27, 29, LEFT),
    (27, 31, LEFT),
    (29, 31, LEFT),
];

/// Joints from the shoulders to the ankles; all but the hands are drawn as discs. Odd indices are on the left side.
const BODY_JOINTS: std::ops::RangeInclusive<usize> = 11..=28;
const HAND_JOINTS: std::ops::RangeInclusive<usize> = 17..=22;

impl Overlay<'_, '_> {
    /// Draws the limbs with a dark outline, which separates them from any background, then the joints.
    pub(crate) fn draw_skeleton(&mut self, pose: &Pose, fighter: Fighter, min_visibility: f32) {
        let viewport = self.style.viewport;
        let (width, height) = viewport.source();
        let joint = |i: usize| {
            let [x, y, _, visibility] = pose.joints[i];
            // A comparison with NaN is false: joints that the model does not have are not drawn.
            let is_visible = visibility >= min_visibility && x.is_finite() && y.is_finite();
            is_visible.then(|| viewport.point([x * width, y * height]))
        };
        // The limbs of a small person are thinner, otherwise they would cover the person.
        let person_height = viewport.length((pose.y2 - pose.y1).max(0.0));
        let limb_width = (person_height * 0.0095).clamp(1.5 * self.scale, 4.6 * self.scale).max(1.0);
        let bone_width = |(a, _, _): (usize, usize, usize)| {
            let is_thin = a < 11 || HAND_JOINTS.contains(&a) || (15..=16).contains(&a) || a >= 27;
            if is_thin { limb_width * 0.65 } else { limb_width }
        };
        let is_other = fighter == Fighter::None;
        let outline = self.ink(Rgb(8, 10, 14)).faded(if is_other { 0.35 } else { 0.55 });
        let inks = limb_colors(fighter).map(|rgb| self.ink(rgb));
        let bones = BONES.iter().filter_map(|bone| Some((joint(bone.0)?, joint(bone.1)?, *bone)));
        for (a, b, bone) in bones.clone() {
            self.canvas.line(a, b, bone_width(bone) + 1.6 * self.scale.max(0.7), outline);
        }
        for (a, b, bone) in bones {
            self.canvas.line(a, b, bone_width(bone), inks[bone.2]);
        }
        let light = self.ink(Rgb(255, 255, 255)).faded(if is_other { 0.6 } else { 0.95 });
        for i in BODY_JOINTS.filter(|i| !HAND_JOINTS.contains(i)) {
            if let Some(center) = joint(i) {
                self.canvas.disc(center, limb_width * 0.95, inks[if i % 2 == 1 { LEFT } else { RIGHT }]);
                self.canvas.disc(center, limb_width * 0.5, light);
            }
        }
    }
}
