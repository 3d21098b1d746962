//! What is drawn, and how it looks: boxes, labels, the line of statistics, and the order of everything else.
//!
//! Sizes are those of a picture whose shorter side has 720 pixels, and grow with it.

use sideline_api::{
    Color,
    tables::{Ball, Motion, Place, Pose, Track, View},
};

use crate::{
    RenderConfig, Show, Shown,
    canvas::{Canvas, Ink, Rgb},
    lens::Lens,
    people::{Person, Side, people},
    skeleton::LEFT,
    text::Text,
};

/// How it is to be drawn.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// What is to be drawn, and how it is called.
    pub config: &'a RenderConfig,
    /// Which part of the frame is shown.
    pub lens: Lens,
}

impl Look<'_> {
    /// True for what is to be drawn.
    pub fn shows(&self, what: Show) -> bool {
        self.config.overlays.contains(&what)
    }

    /// Length and width of the pitch, metres.
    pub(crate) fn pitch(&self) -> [f32; 2] {
        match self.config.pitch[..] {
            [long, across] => [long, across],
            _ => PITCH,
        }
    }
}

/// Length and width of a pitch for international matches (IFAB, law 1), metres.
pub(crate) const PITCH: [f32; 2] = [105.0, 68.0];

/// What was found in one frame. Tables that are not wired, or were skipped, are `None` or empty.
#[derive(Default)]
pub struct Scene {
    /// Joints.
    pub poses: Option<Vec<Pose>>,
    /// Boxes; where there are none, those of the poses are drawn.
    pub tracks: Option<Vec<Track>>,
    /// How people move: the bar under a label.
    pub motion: Option<Vec<Motion>>,
    /// The ball.
    pub ball: Option<Ball>,
    /// Where everybody stands on the pitch.
    pub places: Vec<Place>,
    /// Where a virtual camera looks, on a picture that is not cropped to it.
    pub view: Option<View>,
}

/// A norm of velocities (torso lengths a second, over 33 joints) that fills the bar: about a hard punch.
const FULL_BAR: f32 = 50.0;

/// Draws onto one picture.
pub struct Overlay<'a, 'b> {
    pub(crate) canvas: &'a mut Canvas<'b>,
    pub(crate) text: &'a mut Text,
    pub(crate) look: Look<'a>,
    color: Color,
    /// 1 at 720 lines.
    pub(crate) scale: f32,
    /// Plates so far: labels keep out of each other's way.
    plates: Vec<[f32; 4]>,
    /// What stands over the picture at the lower right.
    hidden: Option<[f32; 4]>,
    /// Where what stands at the lower right begins; captions keep left of it.
    pub(crate) right: f32,
}

impl<'a, 'b> Overlay<'a, 'b> {
    /// An overlay on a picture whose pixels are meant as `color` says.
    pub fn new(canvas: &'a mut Canvas<'b>, text: &'a mut Text, color: Color, look: Look<'a>) -> Self {
        let (width, height) = canvas.size();
        let scale = (width.min(height) / 720.0).clamp(0.4, 6.0);
        Self { canvas, text, look, color, scale, plates: vec![], hidden: None, right: width }
    }

    pub(crate) fn ink(&self, rgb: Rgb) -> Ink {
        Ink::new(rgb, self.color)
    }

    /// Draws everything that was found and is to be shown, and the line of statistics, if there is one, in the upper left
    /// corner.
    pub fn draw(&mut self, scene: &Scene, shown: &Shown, stats: Option<&str>) {
        let look = self.look;
        let people = people(scene, &look, &shown.teams);
        if look.shows(Show::Boxes) {
            people.iter().for_each(|person| self.frame(person));
        }
        if look.shows(Show::Skeletons) {
            let mut poses: Vec<&Pose> = scene.poses.iter().flatten().collect();
            poses.sort_by_key(|pose| Side::of(&pose.fighter) != Side::Other);
            poses.into_iter().for_each(|pose| self.skeleton(pose, look.config.visibility));
        }
        if look.shows(Show::Trail) {
            self.trail(&shown.trail);
        }
        if let Some(ball) = scene.ball.as_ref().filter(|_| look.shows(Show::Ball)) {
            self.ball(ball);
        }
        if let Some(view) = scene.view.as_ref().filter(|_| look.shows(Show::Crop)) {
            self.view(view);
        }
        // What has its place comes before what can make way.
        if look.shows(Show::Minimap) {
            self.minimap(&scene.places, &shown.teams);
        }
        if look.shows(Show::Scoreboard) {
            self.scoreboard(&shown.score, &shown.teams);
        }
        if let Some(stats) = stats.filter(|_| look.shows(Show::Stats)) {
            self.stats(stats);
        }
        // In a team what happened stands at the box itself, or nobody would know at whose: numbers make way.
        let (team, others): (Vec<&Person>, Vec<&Person>) = people.iter().partition(|person| person.team);
        self.called(&shown.callouts, &team);
        if look.shows(Show::Labels) {
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
        self.called(&shown.callouts, &others);
        if look.shows(Show::Captions) {
            self.caption(&shown.callouts);
        }
    }

    /// What a virtual camera sees, on the whole picture: its frame, and what it follows.
    fn view(&mut self, view: &View) {
        let (w, h) = (view.width / 2.0, view.height / 2.0);
        let [x1, y1, x2, y2] = self.look.lens.rect([view.x - w, view.y - h, view.x + w, view.y + h]);
        let s = self.scale;
        let [seam, ink] = [self.ink(Rgb(8, 10, 14)).faded(0.6), self.ink(Rgb(255, 214, 64))];
        self.outline([x1 - s, y1 - s, x2 + s, y2 + s], 5.0 * s, seam);
        self.outline([x1, y1, x2, y2], 3.0 * s, ink);
        let line = format!("{}   zoom {:.1}", view.follows, view.zoom);
        self.line_of_text([x1 + 9.0 * s, y2 - 34.0 * s], &line, 14.0);
    }

    /// A thin box; a fighter's has strong corners.
    fn frame(&mut self, person: &Person) {
        let [x1, y1, x2, y2] = person.rect;
        let ink = self.ink(person.color).faded(person.alpha);
        let fighter = person.side != Side::Other;
        let thin = (if person.team { 2.0 } else { 1.4 } * self.scale).max(1.0);
        self.outline(
            person.rect,
            thin,
            ink.faded(if fighter {
                0.45
            } else if person.team {
                0.9
            } else {
                0.65
            }),
        );
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

    pub(crate) fn outline(&mut self, [x1, y1, x2, y2]: [f32; 4], width: f32, ink: Ink) {
        self.canvas.rect([x1, y1, x2, y1 + width], ink);
        self.canvas.rect([x1, y2 - width, x2, y2], ink);
        self.canvas.rect([x1, y1 + width, x1 + width, y2 - width], ink);
        self.canvas.rect([x2 - width, y1 + width, x2, y2 - width], ink);
    }

    pub(crate) fn size(&self, at_720: f32) -> u16 {
        (at_720 * self.scale).round().max(9.0) as u16
    }

    /// The name and the number above the box, kept inside the picture and off other labels.
    fn label(&mut self, person: &Person, speed: Option<f32>) {
        let [x1, y1, ..] = person.rect;
        if self.hides(person.rect) {
            return;
        }
        let name = (!person.name.is_empty()).then_some(person.name);
        let number = if person.track == 0 { String::new() } else { format!("#{}", person.track) };
        if name.is_none() && number.is_empty() {
            return;
        }
        let large = person.side != Side::Other;
        let size = self.size(if large { 17.0 } else { 12.0 });
        let small = self.size(if large { 13.0 } else { 12.0 });
        let s = self.scale;
        let pad = if large { 7.0 * s } else { 4.0 * s };
        let accent = if large { 4.0 * s } else { 0.0 };
        let name_width = name.map_or(0.0, |name| self.text.width(name, size));
        let gap = if name.is_some() && !number.is_empty() { pad } else { 0.0 };
        let wide = accent + pad + name_width + gap + self.text.width(&number, small) + pad;
        let bar = if speed.is_some() { 6.0 * s } else { 0.0 };
        let tall = Text::cap_height(size) + 1.7 * pad + bar;
        let Some([px, py, pr, pb]) = self.place([x1, y1 - tall - 5.0 * s, wide, tall], y1 + 5.0 * s) else { return };
        self.canvas.plate([px, py, pr, pb], 3.0 * s, self.ink(Rgb(12, 14, 18)).faded(0.68 * person.alpha.max(0.7)));
        if large {
            let stripe = self.ink(person.color);
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

    /// Labels keep off this part of the picture, which hides who is under it.
    pub(crate) fn keep_free(&mut self, rect: [f32; 4]) {
        self.plates.push(rect);
        self.hidden = Some(rect);
    }

    /// True for the box of somebody who cannot be seen: outside the picture, or under what stands over it.
    pub(crate) fn hides(&self, [x1, y1, x2, y2]: [f32; 4]) -> bool {
        let (width, height) = self.canvas.size();
        let (x, y) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
        let under = |rect: [f32; 4]| (rect[0]..rect[2]).contains(&x) && (rect[1]..rect[3]).contains(&y);
        x2 <= 0.0 || y2 <= 0.0 || x1 >= width || y1 >= height || self.hidden.is_some_and(under)
    }

    fn stats(&mut self, line: &str) {
        let at = (12.0 * self.scale).round();
        self.line_of_text([at, at], line, 15.0);
    }

    /// A line on a plate, its upper left corner there or as near as others let it.
    fn line_of_text(&mut self, [x, y]: [f32; 2], line: &str, size: f32) {
        let (size, s) = (self.size(size), self.scale);
        let pad = 8.0 * s;
        let wide = self.text.width(line, size) + 2.0 * pad;
        let tall = Text::cap_height(size) + 1.7 * pad;
        let Some([px, py, pr, pb]) = self.place([x, y, wide, tall], y) else { return };
        self.canvas.plate([px, py, pr, pb], 3.0 * s, self.ink(Rgb(12, 14, 18)).faded(0.62));
        let ink = self.ink(Rgb(245, 245, 245));
        let baseline = py + 0.85 * pad + Text::cap_height(size);
        self.text.draw(self.canvas, px + pad, baseline, line, size, ink);
    }
}
