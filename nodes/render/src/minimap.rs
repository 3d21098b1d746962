//! The pitch from above, with everybody and the ball, in the lower right corner.

use sideline_api::tables::{METRES, Place};

use crate::{
    canvas::{Ink, Rgb},
    overlay::Overlay,
    teams::Teams,
};

/// How far beside the pitch somebody is still drawn, metres.
const BESIDE: f32 = 4.0;
/// Laws of the Game (IFAB), law 1: centre circle, penalty area and goal area, metres.
const CIRCLE: f32 = 9.15;
const PENALTY_AREA: (f32, f32) = (16.5, 40.32);
const GOAL_AREA: (f32, f32) = (5.5, 18.32);
const PENALTY_MARK: f32 = 11.0;

impl Overlay<'_, '_> {
    /// Draws the places that are in metres; nothing where there are none.
    pub(crate) fn minimap(&mut self, places: &[Place], teams: &Teams) {
        if !places.iter().any(|place| place.unit == METRES) {
            return;
        }
        let (width, height) = self.canvas.size();
        let s = self.scale;
        let [long, across] = self.look.pitch();
        let inset = 9.0 * s;
        // A quarter of the picture's width, less where the picture is narrow.
        let meter = (0.24 * width / long).min(0.32 * height / across);
        let (wide, tall) = (long * meter + 2.0 * inset, across * meter + 2.0 * inset);
        let margin = 14.0 * s;
        let (left, top) = ((width - wide - margin).round(), (height - tall - margin).round());
        let rect = [left, top, left + wide, top + tall];
        self.keep_free(rect);
        self.right = left;
        self.canvas.plate(rect, 6.0 * s, self.ink(Rgb(10, 44, 26)).faded(0.82));
        let at = |x: f32, y: f32| [left + inset + x * meter, top + inset + y * meter];
        self.pitch(at, [long, across], meter);
        let rim = self.ink(Rgb(8, 10, 14));
        let seen = |place: &&Place| {
            place.unit == METRES
                && (-BESIDE..=long + BESIDE).contains(&place.x)
                && (-BESIDE..=across + BESIDE).contains(&place.y)
        };
        // The ball last.
        let (ball, people): (Vec<&Place>, Vec<&Place>) = places.iter().filter(seen).partition(|place| place.track == 0);
        for place in people.into_iter().chain(ball) {
            let fade = if place.measured { 1.0 } else { 0.55 };
            let (color, radius) = match place.track {
                0 => (Rgb(255, 255, 255), 3.2 * s),
                track => (teams.of(track).map_or(Rgb(190, 194, 198), |(color, _)| color), 4.3 * s),
            };
            let at = at(place.x, place.y);
            self.canvas.disc(at, radius + 1.2 * s, rim.faded(0.75 * fade));
            self.canvas.disc(at, radius, self.ink(color).faded(fade));
        }
    }

    /// The lines of a pitch.
    fn pitch(&mut self, at: impl Fn(f32, f32) -> [f32; 2], [long, across]: [f32; 2], meter: f32) {
        let thin = (1.2 * self.scale).max(1.0);
        let ink: Ink = self.ink(Rgb(255, 255, 255)).faded(0.5);
        let mut rect = |[x1, y1, x2, y2]: [f32; 4]| {
            let ([x1, y1], [x2, y2]) = (at(x1, y1), at(x2, y2));
            self.outline([x1, y1, x2, y2], thin, ink);
        };
        rect([0.0, 0.0, long, across]);
        for (deep, wide) in [PENALTY_AREA, GOAL_AREA] {
            let (y1, y2) = ((across - wide) / 2.0, (across + wide) / 2.0);
            rect([0.0, y1, deep, y2]);
            rect([long - deep, y1, long, y2]);
        }
        let [x, y] = at(long / 2.0, 0.0);
        let [_, bottom] = at(0.0, across);
        self.canvas.rect([x - thin / 2.0, y, x + thin / 2.0, bottom], ink);
        self.canvas.ring(at(long / 2.0, across / 2.0), CIRCLE * meter, thin, 0, ink);
        for x in [PENALTY_MARK, long / 2.0, long - PENALTY_MARK] {
            self.canvas.disc(at(x, across / 2.0), 1.2 * self.scale, ink);
        }
    }
}
