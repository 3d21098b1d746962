//! Drawing of all overlays in their order; boxes, labels, the view outline and the line of statistics are in this file.
//!
//! Sizes are given for an image whose shorter side has 720 pixels, and scale with it.

use sideline_api::Color;
use sideline_sport::{
    FighterNames,
    tables::{Ball, Fighter, Motion, Place, Pose, Track, View},
};

use crate::{
    OverlayKind, RenderConfig, RenderState,
    canvas::{Canvas, Ink, Rgb},
    people::{Person, limb_colors, people},
    skeleton::LEFT,
    text::TextRenderer,
    viewport::Viewport,
};

/// Configuration and viewport of the overlays.
#[derive(Clone, Copy)]
pub struct Style<'a> {
    /// Configuration of the operator.
    pub config: &'a RenderConfig,
    /// Mapping from the source frame to the output image.
    pub viewport: Viewport,
}

impl Style<'_> {
    /// Returns true if the overlay is enabled in the configuration.
    pub fn is_enabled(&self, kind: OverlayKind) -> bool {
        self.config.overlays.contains(&kind)
    }

    /// Returns length and width of the pitch, m.
    pub(crate) fn pitch_size(&self) -> [f32; 2] {
        match self.config.pitch[..] {
            [length, width] => [length, width],
            _ => PITCH,
        }
    }
}

/// Length and width of a pitch for international matches (IFAB, law 1), m.
pub(crate) const PITCH: [f32; 2] = [105.0, 68.0];

/// Rows of one frame. Tables that are not wired, or were skipped, are `None` or empty.
#[derive(Default)]
pub struct Scene {
    /// Poses for the skeletons.
    pub poses: Option<Vec<Pose>>,
    /// Names of the fighters.
    pub names: FighterNames,
    /// Tracks with the boxes; if `None`, the boxes of the poses are drawn.
    pub tracks: Option<Vec<Track>>,
    /// Motion of the tracks, for the speed bar of a label.
    pub motion: Option<Vec<Motion>>,
    /// State of the ball.
    pub ball: Option<Ball>,
    /// Positions on the pitch.
    pub places: Vec<Place>,
    /// View of the virtual camera, if the image is not cropped to it.
    pub view: Option<View>,
}

/// Velocity norm (torso lengths per second, over 33 joints) that fills the speed bar; a hard punch has about this value.
const FULL_SPEED_BAR: f32 = 50.0;

/// Overlays of one image.
pub struct Overlay<'a, 'b> {
    pub(crate) canvas: &'a mut Canvas<'b>,
    pub(crate) text: &'a mut TextRenderer,
    pub(crate) style: Style<'a>,
    color: Color,
    /// Scale of all sizes, 1 for a shorter side of 720 px.
    pub(crate) scale: f32,
    /// Rectangles of the labels so far, which later labels avoid.
    label_rects: Vec<[f32; 4]>,
    /// Rectangle of the minimap, which covers the people below it.
    reserved: Option<[f32; 4]>,
    /// Right limit of the caption: the left edge of the minimap, or of the image without one.
    pub(crate) caption_right: f32,
}

impl<'a, 'b> Overlay<'a, 'b> {
    /// Creates an overlay on an image with this color description.
    pub fn new(canvas: &'a mut Canvas<'b>, text: &'a mut TextRenderer, color: Color, style: Style<'a>) -> Self {
        let (width, height) = canvas.size();
        let scale = (width.min(height) / 720.0).clamp(0.4, 6.0);
        Self { canvas, text, style, color, scale, label_rects: vec![], reserved: None, caption_right: width }
    }

    pub(crate) fn ink(&self, rgb: Rgb) -> Ink {
        Ink::new(rgb, self.color)
    }

    /// Draws all enabled overlays of a frame; `stats` is the line of statistics.
    pub fn draw(&mut self, scene: &Scene, state: &RenderState, stats: Option<&str>) {
        let style = self.style;
        let people = people(scene, &style, &state.teams);
        if style.is_enabled(OverlayKind::Boxes) {
            people.iter().for_each(|person| self.draw_box(person));
        }
        if style.is_enabled(OverlayKind::Skeletons) {
            let mut poses: Vec<&Pose> = scene.poses.iter().flatten().collect();
            poses.sort_by_key(|pose| scene.names.fighter_of(pose.track) != Fighter::None);
            poses
                .into_iter()
                .for_each(|pose| self.draw_skeleton(pose, scene.names.fighter_of(pose.track), style.config.visibility));
        }
        if style.is_enabled(OverlayKind::Trail) {
            self.draw_trail(&state.trail);
        }
        if let Some(ball) = scene.ball.as_ref().filter(|_| style.is_enabled(OverlayKind::Ball)) {
            self.draw_ball(ball);
        }
        if let Some(view) = scene.view.as_ref().filter(|_| style.is_enabled(OverlayKind::Crop)) {
            self.draw_view(view);
        }
        // Overlays with a fixed position come before labels, which can be moved.
        if style.is_enabled(OverlayKind::Minimap) {
            self.draw_minimap(&scene.places, &state.teams);
        }
        if style.is_enabled(OverlayKind::Scoreboard) {
            self.draw_scoreboard(&state.scoreboard, &state.teams);
        }
        if let Some(stats) = stats.filter(|_| style.is_enabled(OverlayKind::Stats)) {
            self.draw_stats(stats);
        }
        // Callouts of team members are placed before labels, directly at the box, because their player could not be
        // identified at a distance. Those of other people are placed after the labels.
        let (members, others): (Vec<&Person>, Vec<&Person>) = people.iter().partition(|person| person.is_team_member);
        self.draw_callouts(&state.callouts, &members);
        if style.is_enabled(OverlayKind::Labels) {
            // Fighters come first and get the best positions.
            for person in people.iter().rev() {
                let speed = scene
                    .motion
                    .iter()
                    .flatten()
                    .find(|motion| person.track != 0 && motion.track == person.track)
                    .map(|motion| motion.velocity_norm)
                    .filter(|speed| speed.is_finite());
                self.draw_label(person, speed);
            }
        }
        self.draw_callouts(&state.callouts, &others);
        if style.is_enabled(OverlayKind::Captions) {
            self.draw_caption(&state.callouts);
        }
    }

    /// Draws the outline of the virtual camera's view, with its target and zoom.
    fn draw_view(&mut self, view: &View) {
        let (w, h) = (view.width / 2.0, view.height / 2.0);
        let [x1, y1, x2, y2] = self.style.viewport.rect([view.x - w, view.y - h, view.x + w, view.y + h]);
        let s = self.scale;
        let [border, ink] = [self.ink(Rgb(8, 10, 14)).faded(0.6), self.ink(Rgb(255, 214, 64))];
        self.draw_outline([x1 - s, y1 - s, x2 + s, y2 + s], 5.0 * s, border);
        self.draw_outline([x1, y1, x2, y2], 3.0 * s, ink);
        let line = format!("{}   zoom {:.1}", view.follows, view.zoom);
        self.draw_text_line([x1 + 9.0 * s, y2 - 34.0 * s], &line, 14.0);
    }

    /// Draws the box of a person, with thick corners for a fighter.
    fn draw_box(&mut self, person: &Person) {
        let [x1, y1, x2, y2] = person.rect;
        let ink = self.ink(person.color).faded(person.alpha);
        let is_fighter = person.fighter != Fighter::None;
        let line_width = (if person.is_team_member { 2.0 } else { 1.4 } * self.scale).max(1.0);
        self.draw_outline(
            person.rect,
            line_width,
            ink.faded(if is_fighter {
                0.45
            } else if person.is_team_member {
                0.9
            } else {
                0.65
            }),
        );
        if is_fighter {
            let corner_width = (3.2 * self.scale).max(1.6);
            let corner_length = ((x2 - x1).min(y2 - y1) * 0.16).clamp(0.0, 26.0 * self.scale);
            let offset = (corner_width - line_width) * 0.5;
            for (x, x_sign) in [(x1 - offset, 1.0), (x2 + offset, -1.0)] {
                for (y, y_sign) in [(y1 - offset, 1.0), (y2 + offset, -1.0)] {
                    let (end_x, end_y) = (x + x_sign * corner_length, y + y_sign * corner_length);
                    let (inner_x, inner_y) = (x + x_sign * corner_width, y + y_sign * corner_width);
                    self.canvas.rect([x.min(end_x), y.min(inner_y), x.max(end_x), y.max(inner_y)], ink);
                    self.canvas.rect([x.min(inner_x), inner_y.min(end_y), x.max(inner_x), inner_y.max(end_y)], ink);
                }
            }
        }
    }

    /// Draws the outline of a rectangle, with lines of `width` inside it.
    pub(crate) fn draw_outline(&mut self, [x1, y1, x2, y2]: [f32; 4], width: f32, ink: Ink) {
        self.canvas.rect([x1, y1, x2, y1 + width], ink);
        self.canvas.rect([x1, y2 - width, x2, y2], ink);
        self.canvas.rect([x1, y1 + width, x1 + width, y2 - width], ink);
        self.canvas.rect([x2 - width, y1 + width, x2, y2 - width], ink);
    }

    /// Scales a font size that is given for 720 px; the result is at least 9 px.
    pub(crate) fn font_size(&self, at_720: f32) -> u16 {
        (at_720 * self.scale).round().max(9.0) as u16
    }

    /// Draws the name, the track number and the speed bar above the box, within the image and without overlapping others.
    fn draw_label(&mut self, person: &Person, speed: Option<f32>) {
        let [x1, y1, ..] = person.rect;
        if self.is_hidden(person.rect) {
            return;
        }
        let name = (!person.label.is_empty()).then_some(person.label);
        let number = if person.track == 0 { String::new() } else { format!("#{}", person.track) };
        if name.is_none() && number.is_empty() {
            return;
        }
        let is_large = person.fighter != Fighter::None;
        let name_size = self.font_size(if is_large { 17.0 } else { 12.0 });
        let number_size = self.font_size(if is_large { 13.0 } else { 12.0 });
        let s = self.scale;
        let pad = if is_large { 7.0 * s } else { 4.0 * s };
        let stripe_width = if is_large { 4.0 * s } else { 0.0 };
        let name_width = name.map_or(0.0, |name| self.text.width(name, name_size));
        let gap = if name.is_some() && !number.is_empty() { pad } else { 0.0 };
        let width = stripe_width + pad + name_width + gap + self.text.width(&number, number_size) + pad;
        let bar_height = if speed.is_some() { 6.0 * s } else { 0.0 };
        let height = TextRenderer::cap_height(name_size) + 1.7 * pad + bar_height;
        let Some([left, top, right, bottom]) =
            self.place_label([x1, y1 - height - 5.0 * s, width, height], y1 + 5.0 * s)
        else {
            return;
        };
        let opacity = person.alpha.max(0.7);
        let background = self.ink(Rgb(12, 14, 18)).faded(0.68 * opacity);
        self.canvas.rounded_rect([left, top, right, bottom], 3.0 * s, background);
        if is_large {
            let stripe = self.ink(person.color);
            self.canvas.rounded_rect([left, top, left + stripe_width + 1.0, bottom], 1.5 * s, stripe);
        }
        let baseline = top + 0.85 * pad + TextRenderer::cap_height(name_size);
        let text_left = left + stripe_width + pad;
        let white = self.ink(Rgb(250, 250, 250));
        if let Some(name) = name {
            self.text.draw(self.canvas, text_left, baseline, name, name_size, white.faded(opacity));
        }
        let pale = white.faded(if name.is_some() { 0.72 } else { 0.85 } * opacity);
        self.text.draw(self.canvas, text_left + name_width + gap, baseline, &number, number_size, pale);
        if let Some(speed) = speed {
            let bar_right = right - pad;
            let bar_bottom = bottom - 0.6 * pad;
            let filled_right = text_left + (bar_right - text_left) * (speed / FULL_SPEED_BAR).clamp(0.0, 1.0);
            self.canvas.rect([text_left, bar_bottom - 3.0 * s, bar_right, bar_bottom], white.faded(0.18));
            let ink = self.ink(limb_colors(person.fighter)[LEFT]);
            self.canvas.rect([text_left, bar_bottom - 3.0 * s, filled_right, bar_bottom], ink);
        }
    }

    /// Finds a position for a label of `[x, y, width, height]`: at y, or at `fallback_y` if y is above the image. The label is
    /// moved into the image, then away from other labels, upwards while there is space. Returns the rectangle, or `None` if
    /// the image is too small for the label.
    pub(crate) fn place_label(&mut self, [x, y, width, height]: [f32; 4], fallback_y: f32) -> Option<[f32; 4]> {
        let (canvas_width, canvas_height) = self.canvas.size();
        let margin = (3.0 * self.scale).round();
        if width + 2.0 * margin > canvas_width || height + 2.0 * margin > canvas_height {
            return None;
        }
        let x = x.clamp(margin, canvas_width - width - margin).round();
        let max_y = canvas_height - height - margin;
        let is_above = y >= margin;
        let mut y = if is_above { y.min(max_y) } else { fallback_y.clamp(margin, max_y) }.round();
        for _ in 0..4 {
            let overlaps = |rect: &&[f32; 4]| x < rect[2] && rect[0] < x + width && y < rect[3] && rect[1] < y + height;
            let Some(other) = self.label_rects.iter().find(overlaps) else { break };
            let higher = other[1] - height - margin;
            y = if is_above && higher >= margin { higher } else { (other[3] + margin).min(max_y) }.round();
        }
        let rect = [x, y, x + width.round(), y + height.round()];
        self.label_rects.push(rect);
        Some(rect)
    }

    /// Reserves a rectangle of the image that labels avoid and that hides the people below it.
    pub(crate) fn reserve(&mut self, rect: [f32; 4]) {
        self.label_rects.push(rect);
        self.reserved = Some(rect);
    }

    /// Returns true if a box is outside the image or its center is below the reserved rectangle.
    pub(crate) fn is_hidden(&self, [x1, y1, x2, y2]: [f32; 4]) -> bool {
        let (width, height) = self.canvas.size();
        let (x, y) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
        let contains_center = |rect: [f32; 4]| (rect[0]..rect[2]).contains(&x) && (rect[1]..rect[3]).contains(&y);
        x2 <= 0.0 || y2 <= 0.0 || x1 >= width || y1 >= height || self.reserved.is_some_and(contains_center)
    }

    fn draw_stats(&mut self, line: &str) {
        let margin = (12.0 * self.scale).round();
        self.draw_text_line([margin, margin], line, 15.0);
    }

    /// Draws a line of text on a dark background, with its upper left corner at or near a point.
    fn draw_text_line(&mut self, [x, y]: [f32; 2], line: &str, size: f32) {
        let (size, s) = (self.font_size(size), self.scale);
        let pad = 8.0 * s;
        let width = self.text.width(line, size) + 2.0 * pad;
        let height = TextRenderer::cap_height(size) + 1.7 * pad;
        let Some([left, top, right, bottom]) = self.place_label([x, y, width, height], y) else { return };
        self.canvas.rounded_rect([left, top, right, bottom], 3.0 * s, self.ink(Rgb(12, 14, 18)).faded(0.62));
        let ink = self.ink(Rgb(245, 245, 245));
        let baseline = top + 0.85 * pad + TextRenderer::cap_height(size);
        self.text.draw(self.canvas, left + pad, baseline, line, size, ink);
    }
}
