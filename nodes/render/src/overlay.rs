//! What is drawn, and how it looks: boxes, skeletons, labels and the line of statistics.
//!
//! `fighter_1` is red, his left limbs orange; `fighter_2` is blue, his left limbs cyan; everybody else is grey. Sizes are
//! those of a picture whose shorter side has 720 pixels, and grow with it.

use sideline_api::{
    Color,
    tables::{Motion, Pose, Track},
};

use crate::{
    canvas::{Canvas, Ink, Rgb},
    text::Text,
};

/// What is to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Joints and limbs.
    pub skeletons: bool,
    /// Boxes of people.
    pub boxes: bool,
    /// Fighters' names and track numbers.
    pub labels: bool,
    /// Joints less visible than this are left out.
    pub visibility: f32,
}

/// What was found in one frame. Tables that are not wired, or were skipped, are `None`.
#[derive(Default)]
pub struct Scene {
    /// Joints.
    pub poses: Option<Vec<Pose>>,
    /// Boxes; where there are none, those of the poses are drawn.
    pub tracks: Option<Vec<Track>>,
    /// How people move: the bar under a label.
    pub motion: Option<Vec<Motion>>,
}

/// Whose colours somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
    Other,
}

impl Side {
    pub(crate) fn of(fighter: &str) -> Self {
        match fighter {
            "fighter_1" => Side::First,
            "fighter_2" => Side::Second,
            _ => Side::Other,
        }
    }

    /// Right limbs, left limbs, trunk.
    fn limbs(self) -> [Rgb; 3] {
        match self {
            Side::First => [Rgb(225, 29, 46), Rgb(255, 152, 62), Rgb(244, 84, 72)],
            Side::Second => [Rgb(32, 92, 240), Rgb(48, 208, 255), Rgb(70, 145, 250)],
            Side::Other => [Rgb(148, 150, 152), Rgb(212, 214, 216), Rgb(180, 182, 184)],
        }
    }

    pub(crate) fn frame(self) -> Rgb {
        match self {
            Side::First => Rgb(240, 52, 58),
            Side::Second => Rgb(52, 122, 255),
            Side::Other => Rgb(205, 208, 210),
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Side::First => Some("FIGHTER 1"),
            Side::Second => Some("FIGHTER 2"),
            Side::Other => None,
        }
    }
}

const RIGHT: usize = 0;
const LEFT: usize = 1;
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

/// A norm of velocities (torso lengths a second, over 33 joints) that fills the bar: about a hard punch.
const FULL_BAR: f32 = 50.0;

/// Somebody whose box is known.
pub(crate) struct Person {
    pub track: u32,
    pub side: Side,
    pub rect: [f32; 4],
    /// Fainter for a predicted box.
    alpha: f32,
}

/// The people whose boxes are drawn: of tracks, else of poses. A track that is still tentative may vanish again.
pub(crate) fn people(scene: &Scene) -> Vec<Person> {
    let mut people: Vec<Person> = match (&scene.tracks, &scene.poses) {
        (Some(tracks), _) => tracks
            .iter()
            .filter(|track| track.state != "tentative")
            .map(|track| Person {
                track: track.track,
                side: Side::of(&track.fighter),
                rect: [track.x1, track.y1, track.x2, track.y2],
                alpha: if track.state == "lost" { 0.45 } else { 1.0 },
            })
            .collect(),
        (None, Some(poses)) => poses
            .iter()
            .map(|pose| Person {
                track: pose.track,
                side: Side::of(&pose.fighter),
                rect: [pose.x1, pose.y1, pose.x2, pose.y2],
                alpha: 1.0,
            })
            .collect(),
        (None, None) => vec![],
    };
    // Fighters last: they are drawn over the others.
    people.retain(|person| person.rect.iter().all(|edge| edge.is_finite()));
    people.sort_by_key(|person| person.side != Side::Other);
    people
}

/// Draws onto one picture.
pub struct Overlay<'a, 'b> {
    pub(crate) canvas: &'a mut Canvas<'b>,
    pub(crate) text: &'a mut Text,
    color: Color,
    /// 1 at 720 lines.
    pub(crate) scale: f32,
    /// Plates so far: labels keep out of each other's way.
    plates: Vec<[f32; 4]>,
}

impl<'a, 'b> Overlay<'a, 'b> {
    /// An overlay on a picture whose pixels are meant as `color` says.
    pub fn new(canvas: &'a mut Canvas<'b>, text: &'a mut Text, color: Color) -> Self {
        let (width, height) = canvas.size();
        let scale = (width.min(height) / 720.0).clamp(0.4, 6.0);
        Self { canvas, text, color, scale, plates: vec![] }
    }

    pub(crate) fn ink(&self, rgb: Rgb) -> Ink {
        Ink::new(rgb, self.color)
    }

    /// Draws everything that was found, and the line of statistics, if there is one, in the upper left corner.
    pub fn draw(&mut self, scene: &Scene, look: &Look, stats: Option<&str>) {
        let people = people(scene);
        if look.boxes {
            for person in &people {
                self.frame(person);
            }
        }
        if look.skeletons {
            let mut poses: Vec<&Pose> = scene.poses.iter().flatten().collect();
            poses.sort_by_key(|pose| Side::of(&pose.fighter) != Side::Other);
            for pose in poses {
                self.skeleton(pose, look.visibility);
            }
        }
        if let Some(stats) = stats {
            self.stats(stats);
        }
        if look.labels {
            // Fighters first: they get the best places.
            for person in people.iter().rev() {
                let speed = scene
                    .motion
                    .iter()
                    .flatten()
                    .find(|motion| person.track != 0 && motion.track == person.track)
                    .map(|motion| motion.velocity_norm)
                    .filter(|speed| speed.is_finite());
                self.label(person, speed);
            }
        }
    }

    /// A thin box; a fighter's has strong corners.
    fn frame(&mut self, person: &Person) {
        let [x1, y1, x2, y2] = person.rect;
        let ink = self.ink(person.side.frame()).faded(person.alpha);
        let fighter = person.side != Side::Other;
        let thin = (1.4 * self.scale).max(1.0);
        self.outline(person.rect, thin, ink.faded(if fighter { 0.45 } else { 0.65 }));
        if fighter {
            let thick = (3.2 * self.scale).max(1.6);
            let arm = ((x2 - x1).min(y2 - y1) * 0.16).clamp(0.0, 26.0 * self.scale);
            let o = (thick - thin) * 0.5;
            for (x, to) in [(x1 - o, 1.0), (x2 + o, -1.0)] {
                for (y, down) in [(y1 - o, 1.0), (y2 + o, -1.0)] {
                    let (ex, ey) = (x + to * arm, y + down * arm);
                    let (tx, ty) = (x + to * thick, y + down * thick);
                    self.canvas.rect([x.min(ex), y.min(ty), x.max(ex), y.max(ty)], ink);
                    self.canvas.rect([x.min(tx), ty.min(ey), x.max(tx), ty.max(ey)], ink);
                }
            }
        }
    }

    fn outline(&mut self, [x1, y1, x2, y2]: [f32; 4], width: f32, ink: Ink) {
        self.canvas.rect([x1, y1, x2, y1 + width], ink);
        self.canvas.rect([x1, y2 - width, x2, y2], ink);
        self.canvas.rect([x1, y1 + width, x1 + width, y2 - width], ink);
        self.canvas.rect([x2 - width, y1 + width, x2, y2 - width], ink);
    }

    /// Limbs over a dark seam, so that they stand out on any ground; then the joints.
    fn skeleton(&mut self, pose: &Pose, visibility: f32) {
        let (width, height) = self.canvas.size();
        let side = Side::of(&pose.fighter);
        let joint = |i: usize| {
            let [x, y, _, seen] = pose.joints[i];
            // A comparison with NaN is false: what the model does not know is not drawn.
            (seen >= visibility && x.is_finite() && y.is_finite()).then_some([x * width, y * height])
        };
        // Limbs of a small person are thin, or they would hide him.
        let tall = (pose.y2 - pose.y1).max(0.0);
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

    pub(crate) fn size(&self, at_720: f32) -> u16 {
        (at_720 * self.scale).round().max(9.0) as u16
    }

    /// The name and the number above the box, kept inside the picture and off other labels.
    fn label(&mut self, person: &Person, speed: Option<f32>) {
        let (width, height) = self.canvas.size();
        let [x1, y1, x2, y2] = person.rect;
        if x2 <= 0.0 || y2 <= 0.0 || x1 >= width || y1 >= height {
            return;
        }
        let name = person.side.name();
        let number = if person.track == 0 { String::new() } else { format!("#{}", person.track) };
        if name.is_none() && number.is_empty() {
            return;
        }
        let size = self.size(if name.is_some() { 17.0 } else { 12.0 });
        let small = self.size(if name.is_some() { 13.0 } else { 12.0 });
        let s = self.scale;
        let pad = if name.is_some() { 7.0 * s } else { 4.0 * s };
        let accent = if name.is_some() { 4.0 * s } else { 0.0 };
        let name_width = name.map_or(0.0, |name| self.text.width(name, size));
        let gap = if name.is_some() && !number.is_empty() { 7.0 * s } else { 0.0 };
        let wide = accent + pad + name_width + gap + self.text.width(&number, small) + pad;
        let bar = if speed.is_some() { 6.0 * s } else { 0.0 };
        let tall = Text::cap_height(size) + 1.7 * pad + bar;
        let Some([px, py, pr, pb]) = self.place([x1, y1 - tall - 5.0 * s, wide, tall], y1 + 5.0 * s) else { return };
        self.canvas.plate([px, py, pr, pb], 3.0 * s, self.ink(Rgb(12, 14, 18)).faded(0.68 * person.alpha.max(0.7)));
        if name.is_some() {
            let stripe = self.ink(person.side.frame());
            self.canvas.plate([px, py, px + accent + 1.0, pb], 1.5 * s, stripe);
        }
        let baseline = py + 0.85 * pad + Text::cap_height(size);
        let left = px + accent + pad;
        let white = self.ink(Rgb(250, 250, 250));
        if let Some(name) = name {
            self.text.draw(self.canvas, left, baseline, name, size, white.faded(person.alpha.max(0.7)));
        }
        let pale = white.faded(if name.is_some() { 0.72 } else { 0.85 } * person.alpha.max(0.7));
        self.text.draw(self.canvas, left + name_width + gap, baseline, &number, small, pale);
        if let Some(speed) = speed {
            let (from, to) = (left, pr - pad);
            let bottom = pb - 0.6 * pad;
            let full = from + (to - from) * (speed / FULL_BAR).clamp(0.0, 1.0);
            self.canvas.rect([from, bottom - 3.0 * s, to, bottom], white.faded(0.18));
            let ink = self.ink(person.side.limbs()[LEFT]);
            self.canvas.rect([from, bottom - 3.0 * s, full, bottom], ink);
        }
    }

    /// A place for a plate of `[x, y, width, height]`: there, or at `inside` when that is above the picture; moved into the
    /// picture, then past other plates: upwards while there is room. `None` when the picture is too small for it.
    pub(crate) fn place(&mut self, [x, y, wide, tall]: [f32; 4], inside: f32) -> Option<[f32; 4]> {
        let (width, height) = self.canvas.size();
        let margin = (3.0 * self.scale).round();
        if wide + 2.0 * margin > width || tall + 2.0 * margin > height {
            return None;
        }
        let x = x.clamp(margin, width - wide - margin).round();
        let lowest = height - tall - margin;
        let above = y >= margin;
        let mut y = if above { y.min(lowest) } else { inside.clamp(margin, lowest) }.round();
        for _ in 0..4 {
            let hit = self.plates.iter().find(|p| x < p[2] && p[0] < x + wide && y < p[3] && p[1] < y + tall);
            let Some(hit) = hit else { break };
            let higher = hit[1] - tall - margin;
            y = if above && higher >= margin { higher } else { (hit[3] + margin).min(lowest) }.round();
        }
        let rect = [x, y, x + wide.round(), y + tall.round()];
        self.plates.push(rect);
        Some(rect)
    }

    fn stats(&mut self, line: &str) {
        let (size, s) = (self.size(15.0), self.scale);
        let pad = 8.0 * s;
        let wide = self.text.width(line, size) + 2.0 * pad;
        let tall = Text::cap_height(size) + 1.7 * pad;
        let at = (12.0 * s).round();
        let Some([px, py, pr, pb]) = self.place([at, at, wide, tall], at) else { return };
        self.canvas.plate([px, py, pr, pb], 3.0 * s, self.ink(Rgb(12, 14, 18)).faded(0.62));
        let ink = self.ink(Rgb(245, 245, 245));
        let baseline = py + 0.85 * pad + Text::cap_height(size);
        self.text.draw(self.canvas, px + pad, baseline, line, size, ink);
    }
}
