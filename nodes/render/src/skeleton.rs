//! Joints and limbs.

use sideline_api::tables::Pose;

use crate::{canvas::Rgb, overlay::Overlay, people::Side};

const RIGHT: usize = 0;
pub(crate) const LEFT: usize = 1;
const TRUNK: usize = 2;

/// Bones between joints of MediaPipe's pose topology. Of face, hands and feet only what a wide view can show.
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

/// Joints that get a dot: shoulders, elbows, wrists, hips, knees, ankles. Odd ones are left.
const DOTS: std::ops::RangeInclusive<usize> = 11..=28;
const HANDS: std::ops::RangeInclusive<usize> = 17..=22;

impl Overlay<'_, '_> {
    /// Limbs over a dark seam, so that they stand out on any ground; then the joints.
    pub(crate) fn skeleton(&mut self, pose: &Pose, visibility: f32) {
        let lens = self.look.lens;
        let (width, height) = lens.source();
        let side = Side::of(&pose.fighter);
        let joint = |i: usize| {
            let [x, y, _, seen] = pose.joints[i];
            // A comparison with NaN is false: what the model does not know is not drawn.
            (seen >= visibility && x.is_finite() && y.is_finite()).then(|| lens.at([x * width, y * height]))
        };
        // Limbs of a small person are thin, or they would hide him.
        let tall = lens.length((pose.y2 - pose.y1).max(0.0));
        let limb = (tall * 0.0095).clamp(1.5 * self.scale, 4.6 * self.scale).max(1.0);
        let thickness = |(a, _, _): (usize, usize, usize)| {
            let fine = a < 11 || HANDS.contains(&a) || (15..=16).contains(&a) || a >= 27;
            if fine { limb * 0.65 } else { limb }
        };
        let seam = self.ink(Rgb(8, 10, 14)).faded(if side == Side::Other { 0.35 } else { 0.55 });
        let inks = side.limbs().map(|rgb| self.ink(rgb));
        let bones = BONES.iter().filter_map(|bone| Some((joint(bone.0)?, joint(bone.1)?, *bone)));
        for (a, b, bone) in bones.clone() {
            self.canvas.line(a, b, thickness(bone) + 1.6 * self.scale.max(0.7), seam);
        }
        for (a, b, bone) in bones {
            self.canvas.line(a, b, thickness(bone), inks[bone.2]);
        }
        let light = self.ink(Rgb(255, 255, 255)).faded(if side == Side::Other { 0.6 } else { 0.95 });
        for i in DOTS.filter(|i| !HANDS.contains(i)) {
            if let Some(at) = joint(i) {
                self.canvas.disc(at, limb * 0.95, inks[if i % 2 == 1 { LEFT } else { RIGHT }]);
                self.canvas.disc(at, limb * 0.5, light);
            }
        }
    }
}
