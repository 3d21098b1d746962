//! Detect: frames in, the things in them out.
//!
//! `model` is a detector with its way to be shown a picture, `decode` what its outputs mean. `tiles` says which parts of a
//! frame it is shown, and makes one list of what it saw in them; `follow` knows where the ball should be; `pace` how often
//! there is time to look. This file says when the model looks, at what, and what goes out.
#![forbid(unsafe_code)]

pub mod bench;
mod config;
pub mod decode;
mod follow;
pub mod labels;
mod model;
mod pace;
mod tiles;

pub use config::{BALL, DecoderChoice, DetectConfig, Every, Follow, Grid, PEOPLE};
pub use model::{Kind, Model};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Context, Error, Frame, Inputs, Mode, Operator, Outputs, PortType, Reason, Resources, Result, Spec, clock::Clock,
    tables::Detection,
};
use std::sync::Arc;

use decode::Wanted;
use follow::BallMemory;
use labels::Chosen;
use pace::{Change, Pace, Work};
use tiles::{Corners, Piece, View, merge, square, tiles};

/// What the operator remembers of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Frames since the last look; `None` before the first.
    since_look: Option<u32>,
    /// Looks since the last full one.
    since_full: u32,
    ball: Option<BallMemory>,
}

/// What is looked at in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Glance {
    /// All of it; where the ball is known, there once more.
    Full(Option<Corners>),
    /// The square around the ball.
    Ball(Corners),
    /// Nothing.
    None,
}

/// The operator.
///
/// `detections` has all classes that are wanted, `people` and `balls` those of theirs, each surest first. In a frame that
/// the model does not look at, by `every`, all are skipped (`stride`); in one in which it looks only around the ball, by
/// `follow`, `detections` and `people` are.
pub struct Detect {
    config: DetectConfig,
    model: Model,
    people: Chosen,
    ball: Chosen,
    wanted: Chosen,
    pace: Option<Pace>,
    clock: Arc<dyn Clock>,
    live: bool,
}

impl Operator for Detect {
    type Config = DetectConfig;
    type State = Memory;

    fn spec() -> Spec {
        Spec::operator("detect")
            .heavy()
            .required("frames", PortType::Frame)
            .output("detections", PortType::table::<Detection>())
            .output("people", PortType::table::<Detection>())
            .output("balls", PortType::table::<Detection>())
    }

    fn models(config: &DetectConfig) -> Vec<String> {
        vec![config.model.clone()]
    }

    fn new(config: DetectConfig, resources: &Resources) -> Result<Self> {
        let model = Model::load(&config, resources)?;
        let labels = model.labels();
        let chosen = |key, names: &[String], usual: &[&str]| Chosen::new(key, names, usual, labels);
        let people = chosen("people", &config.people, &PEOPLE)?;
        let ball = chosen("ball", &config.ball, &BALL)?;
        let wanted = chosen("classes", &config.classes, &[])?.with(&people).with(&ball);
        for (output, key, classes) in [("people", "people", &people), ("balls", "ball", &ball)] {
            // An output that is read and can never hold a row is a mistake.
            if classes.is_empty() && resources.is_read(output) {
                let named: Vec<&str> = labels.iter().map(String::as_str).filter(|label| !label.is_empty()).collect();
                return Err(Error::config(format!(
                    "output `{output}` is read, and the model has no class of `{key}`; name one of {} there",
                    named.join(", ")
                )));
            }
        }
        let live = resources.mode == Mode::Live;
        if config.every == Every::Auto && !live {
            tracing::info!(
                node = %resources.node,
                "`every` auto is 1 in complete mode: there time decides nothing, so that a run gives the same bytes again"
            );
        }
        let mut detect = Self { config, model, people, ball, wanted, pace: None, clock: resources.clock.clone(), live };
        detect.set_pace();
        Ok(detect)
    }

    fn process(&mut self, cx: &Context, input: &Inputs, memory: &mut Memory, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let began = self.now();
        let glance = self.glance(frame, cx.header.pts, memory);
        if glance == Glance::None {
            memory.since_look = memory.since_look.map(|frames| frames.saturating_add(1));
            for output in ["detections", "people", "balls"] {
                out.skip(output, Reason::Stride)?;
            }
        } else {
            let found = self.look(frame, glance)?;
            let of = |classes: &Chosen| -> Vec<Detection> {
                found.iter().filter(|row| classes.has(row.class)).cloned().collect()
            };
            let balls = of(&self.ball);
            BallMemory::saw(&mut memory.ball, &balls, cx.header.pts, scale(frame));
            memory.since_look = Some(0);
            if matches!(glance, Glance::Full(_)) {
                memory.since_full = 0;
                out.rows("detections", &found)?;
                out.rows("people", &of(&self.people))?;
            } else {
                memory.since_full = memory.since_full.saturating_add(1);
                out.skip("detections", Reason::Stride)?;
                out.skip("people", Reason::Stride)?;
            }
            out.rows("balls", &balls)?;
        }
        self.took(cx, (glance != Glance::None).then(|| self.now() - began));
        Ok(())
    }

    fn reconfigure(&mut self, config: &DetectConfig) -> Result<()> {
        self.config = config.clone();
        self.set_pace();
        Ok(())
    }

    fn session_started(&mut self, _cx: &Context, memory: &mut Memory) -> Result<()> {
        // After a break in the stream everything is elsewhere.
        *memory = Memory::default();
        Ok(())
    }
}

impl Detect {
    /// What is due in a frame.
    fn glance(&self, frame: &Frame, pts: i64, memory: &Memory) -> Glance {
        let every = match (&self.config.every, &self.pace) {
            (Every::Frames(frames), _) => *frames,
            (Every::Auto, Some(pace)) => pace.every(),
            (Every::Auto, None) => 1,
        };
        if memory.since_look.is_some_and(|frames| frames.saturating_add(1) < every) {
            return Glance::None;
        }
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let expected = memory.ball.as_ref().filter(|_| self.config.follow == Follow::Ball);
        let around = expected
            .and_then(|ball| ball.expected(pts))
            .map(|(x, y)| square(x, y, self.config.follow_size * scale(frame), width, height));
        match around {
            Some(tile) if memory.since_full + 1 < self.config.full_every => Glance::Ball(tile),
            around => Glance::Full(around),
        }
    }

    /// The rows of a look, surest first.
    fn look(&mut self, frame: &Frame, glance: Glance) -> Result<Vec<Detection>> {
        let picture = (frame.width() as f32, frame.height() as f32);
        let mut parts = match glance {
            Glance::Ball(_) | Glance::None => vec![],
            Glance::Full(_) => tiles(self.config.tiles, self.config.overlap, picture.0, picture.1),
        };
        parts.extend(match glance {
            Glance::Ball(tile) | Glance::Full(Some(tile)) => Some(tile),
            Glance::Full(None) | Glance::None => None,
        });
        let (size, squeeze) = (self.model.kind().size, self.model.squeezes());
        let views: Vec<View> = parts.into_iter().map(|tile| View::new(tile, size, squeeze, picture)).collect();
        let classes = if matches!(glance, Glance::Ball(_)) { &self.ball } else { &self.wanted };
        let wanted = Wanted { least: self.config.confidence, classes: &classes.classes };
        let pieces = self.model.look(frame, &views, self.config.batch as usize, &wanted)?;
        let merged = merge(pieces, self.config.nms);
        Ok(merged.into_iter().filter(|piece| self.allowed(piece, frame)).map(Detection::from).collect())
    }

    /// Neither in a dead zone nor too small or large.
    fn allowed(&self, piece: &Piece, frame: &Frame) -> bool {
        let [x1, y1, x2, y2] = piece.corners;
        let middle = [(x1 + x2) / 2.0 / frame.width() as f32, (y1 + y2) / 2.0 / frame.height() as f32];
        if self.config.dead_zones.iter().any(|zone| contains(zone, middle)) {
            return false;
        }
        let within = |size: f32, least: f32, most: f32| (least..=most).contains(&(size / scale(frame)));
        let config = &self.config;
        let person = !self.people.has(piece.class) || within(y2 - y1, config.min_person, config.max_person);
        let ball = !self.ball.has(piece.class) || within((x2 - x1).max(y2 - y1), config.min_ball, config.max_ball);
        person && ball
    }

    fn set_pace(&mut self) {
        if self.config.every != Every::Auto || !self.live {
            self.pace = None;
        } else if self.pace.is_none() {
            let runs = self.config.tiles.columns * self.config.tiles.rows;
            self.pace = Some(Pace::new(self.model.warm_ns().max(1) as f64 * runs as f64));
        }
    }

    /// Time matters only where it decides.
    fn now(&self) -> i64 {
        if self.pace.is_some() { self.clock.now() } else { 0 }
    }

    /// The frame is done: may choose another stride for the next ones, and then says so.
    fn took(&mut self, cx: &Context, took_ns: Option<i64>) {
        let now = self.now();
        let Some(pace) = &mut self.pace else { return };
        let header = cx.header;
        let work = Work { pts: header.pts, forgotten: header.forgotten, now, took_ns };
        let Some(Change { from, to, took_ms, interval_ms }) = pace.took(&header.stream, work) else { return };
        tracing::info!(
            node = cx.node,
            stream = %header.stream,
            frame = header.frame,
            "the detector looks every {to} frames from now on, after every {from}: a look takes {took_ms:.1} ms, and \
             {interval_ms:.1} ms lie between frames"
        );
    }
}

/// What sizes in pixels at 1080 lines are multiplied by.
fn scale(frame: &Frame) -> f32 {
    frame.height() as f32 / 1080.0
}

/// Whether a point lies in a polygon: a line from it to the right meets its sides an odd number of times.
fn contains(zone: &[[f32; 2]], [x, y]: [f32; 2]) -> bool {
    let next = zone.iter().cycle().skip(1);
    let crossed = zone
        .iter()
        .zip(next)
        .filter(|([ax, ay], [bx, by])| (*ay > y) != (*by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax);
    crossed.count() % 2 == 1
}

impl From<Piece> for Detection {
    fn from(piece: Piece) -> Self {
        let [x1, y1, x2, y2] = piece.corners;
        Detection { x1, y1, x2, y2, score: piece.score, class: piece.class, refined: false }
    }
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn a_zone_that_is_not_convex_holds_what_is_in_it() {
        let zone = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.2], [0.0, 1.0]];
        for (point, inside) in
            [([0.5, 0.1], true), ([0.5, 0.5], false), ([0.05, 0.7], true), ([0.95, 0.7], true), ([1.2, 0.5], false)]
        {
            assert_eq!(contains(&zone, point), inside, "{point:?}");
        }
    }
}
