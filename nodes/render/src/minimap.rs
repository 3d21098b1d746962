//! Minimap: top view of the pitch with players, referees and the ball, in the lower right corner.

use sideline_sport::tables::{Place, Unit};

use crate::{
    canvas::{Ink, Rgb},
    overlay::Overlay,
    teams::Teams,
};

/// Maximum distance from the pitch at which a person is drawn, m.
const MAX_OUTSIDE_M: f32 = 4.0;
// Dimensions of the pitch, m, from law 1 of the Laws of the Game (IFAB). Areas are depth and width.
const CENTER_CIRCLE_RADIUS_M: f32 = 9.15;
const PENALTY_AREA_M: (f32, f32) = (16.5, 40.32);
const GOAL_AREA_M: (f32, f32) = (5.5, 18.32);
const PENALTY_MARK_M: f32 = 11.0;

impl Overlay<'_, '_> {
    /// Draws the minimap if there are places in meters.
    pub(crate) fn draw_minimap(&mut self, places: &[Place], teams: &Teams) {
        if !places.iter().any(|place| place.unit == Unit::Meters) {
            return;
        }
        let (canvas_width, canvas_height) = self.canvas.size();
        let s = self.scale;
        let [length, width] = self.style.pitch_size();
        let inset = 9.0 * s;
        // 24 % of the image's width, or less if the map would be higher than 32 % of the image's height.
        let px_per_m = (0.24 * canvas_width / length).min(0.32 * canvas_height / width);
        let (map_width, map_height) = (length * px_per_m + 2.0 * inset, width * px_per_m + 2.0 * inset);
        let margin = 14.0 * s;
        let (left, top) = ((canvas_width - map_width - margin).round(), (canvas_height - map_height - margin).round());
        let rect = [left, top, left + map_width, top + map_height];
        self.reserve(rect);
        self.caption_right = left;
        self.canvas.rounded_rect(rect, 6.0 * s, self.ink(Rgb(10, 44, 26)).faded(0.82));
        let to_map = |x: f32, y: f32| [left + inset + x * px_per_m, top + inset + y * px_per_m];
        self.draw_pitch(to_map, [length, width], px_per_m);
        let outline = self.ink(Rgb(8, 10, 14));
        let is_drawn = |place: &&Place| {
            place.unit == Unit::Meters
                && (-MAX_OUTSIDE_M..=length + MAX_OUTSIDE_M).contains(&place.x)
                && (-MAX_OUTSIDE_M..=width + MAX_OUTSIDE_M).contains(&place.y)
        };
        // The ball is drawn last, above the people.
        let (ball, people): (Vec<&Place>, Vec<&Place>) =
            places.iter().filter(is_drawn).partition(|place| place.track == 0);
        for place in people.into_iter().chain(ball) {
            let opacity = if place.measured { 1.0 } else { 0.55 };
            let (color, radius) = match place.track {
                0 => (Rgb(255, 255, 255), 3.2 * s),
                track => (teams.color_and_title(track).map_or(Rgb(190, 194, 198), |(color, _)| color), 4.3 * s),
            };
            let center = to_map(place.x, place.y);
            self.canvas.disc(center, radius + 1.2 * s, outline.faded(0.75 * opacity));
            self.canvas.disc(center, radius, self.ink(color).faded(opacity));
        }
    }

    /// Draws the lines of the pitch.
    fn draw_pitch(&mut self, to_map: impl Fn(f32, f32) -> [f32; 2], [length, width]: [f32; 2], px_per_m: f32) {
        let line_width = (1.2 * self.scale).max(1.0);
        let ink: Ink = self.ink(Rgb(255, 255, 255)).faded(0.5);
        let mut rect = |[x1, y1, x2, y2]: [f32; 4]| {
            let ([x1, y1], [x2, y2]) = (to_map(x1, y1), to_map(x2, y2));
            self.draw_outline([x1, y1, x2, y2], line_width, ink);
        };
        rect([0.0, 0.0, length, width]);
        for (area_depth, area_width) in [PENALTY_AREA_M, GOAL_AREA_M] {
            let (y1, y2) = ((width - area_width) / 2.0, (width + area_width) / 2.0);
            rect([0.0, y1, area_depth, y2]);
            rect([length - area_depth, y1, length, y2]);
        }
        let [x, y] = to_map(length / 2.0, 0.0);
        let [_, bottom] = to_map(0.0, width);
        self.canvas.rect([x - line_width / 2.0, y, x + line_width / 2.0, bottom], ink);
        self.canvas.ring(to_map(length / 2.0, width / 2.0), CENTER_CIRCLE_RADIUS_M * px_per_m, line_width, 0, ink);
        for x in [PENALTY_MARK_M, length / 2.0, length - PENALTY_MARK_M] {
            self.canvas.disc(to_map(x, width / 2.0), 1.2 * self.scale, ink);
        }
    }
}
