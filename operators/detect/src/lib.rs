//! `detect`: detects people, balls and other objects in frames.
//!
//! `model` is a detector with its preprocessing, `decode` interprets its outputs, `tiles` divides a frame into tiles
//! and merges their boxes, `ball_predictor` predicts the position of the ball, and `interval` adapts the detection
//! interval. This file chooses when the detector runs and on which part of the frame, and sends the outputs.
#![forbid(unsafe_code)]

mod ball_predictor;
mod config;
pub mod decode;
mod interval;
pub mod labels;
mod model;
pub mod tiles;

pub use config::{BALL, DecoderChoice, DetectConfig, DetectionInterval, FollowMode, Grid, PEOPLE};
pub use model::{DetectorSpec, Model};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Context, Error, Frame, Inputs, Mode, Operator, Outputs, PortType, Reason, Resources, Result, Spec,
    arrow::array::StructArray, clock::Clock,
};
use sideline_sport::{ClassNames, tables::Detection};
use std::sync::Arc;

use ball_predictor::BallPredictor;
use decode::DecodeFilter;
use interval::{AdaptiveInterval, FrameWork, IntervalChange};
use labels::ClassFilter;
use tiles::{Corners, TileBox, TileView, merge, square_around, tile_grid};

/// State of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DetectState {
    /// Frames since the last detector run; `None` before the first.
    frames_since_run: Option<u32>,
    /// Detector runs since the last one on a full frame.
    runs_since_full: u32,
    ball: Option<BallPredictor>,
}

/// Part of a frame that the detector processes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scope {
    /// The full frame, and the region around the ball where it is known.
    Full(Option<Corners>),
    /// The square region around the ball.
    Ball(Corners),
    /// No part: the detector does not run.
    None,
}

/// The operator.
///
/// `detections` contains all selected classes, `people` and `balls` those of their keys, each in descending order of
/// score. In a frame without a detector run, by `every`, all outputs are skipped (`stride`); in one with a run on the
/// ball region alone, by `follow`, `detections` and `people` are.
pub struct Detect {
    config: DetectConfig,
    model: Model,
    people: ClassFilter,
    ball: ClassFilter,
    selected: ClassFilter,
    names: Option<ClassNames>,
    adaptive_interval: Option<AdaptiveInterval>,
    clock: Arc<dyn Clock>,
    is_live: bool,
}

impl Operator for Detect {
    type Config = DetectConfig;
    type State = DetectState;

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
        let class_filter = |key, names: &[String], optional: &[&str]| ClassFilter::new(key, names, optional, labels);
        let people = class_filter("people", &config.people, &PEOPLE)?;
        let ball = class_filter("ball", &config.ball, &BALL)?;
        let selected = class_filter("classes", &config.classes, &[])?.union(&people).union(&ball);
        let names = ClassNames::new::<Detection>(labels);
        for (output, key, classes) in [("people", "people", &people), ("balls", "ball", &ball)] {
            // An output with a consumer that can never hold a row is a mistake.
            if classes.is_empty() && resources.is_read(output) {
                let named: Vec<&str> = labels.iter().map(String::as_str).filter(|label| !label.is_empty()).collect();
                return Err(Error::config(format!(
                    "output `{output}` has a consumer, but the model has no class of `{key}`; set the key to one of {}",
                    named.join(", ")
                )));
            }
        }
        let is_live = resources.mode == Mode::Live;
        if config.every == DetectionInterval::Auto && !is_live {
            tracing::info!(
                "`every: auto` is 1 in `complete` mode: results must not depend on time, so that a repeated run is \
                 identical"
            );
        }
        let mut detect = Self {
            config,
            model,
            people,
            ball,
            selected,
            names,
            adaptive_interval: None,
            clock: resources.clock.clone(),
            is_live,
        };
        detect.update_interval_mode();
        Ok(detect)
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut DetectState, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let start = self.now();
        let scope = self.scope(frame, cx.header.pts, state);
        if scope == Scope::None {
            state.frames_since_run = state.frames_since_run.map(|frames| frames.saturating_add(1));
            for output in ["detections", "people", "balls"] {
                out.skip(output, Reason::Stride)?;
            }
        } else {
            let found = self.detect(frame, scope)?;
            let rows_of = |classes: &ClassFilter| -> Vec<Detection> {
                found.iter().filter(|row| classes.contains(row.class)).cloned().collect()
            };
            let balls = rows_of(&self.ball);
            BallPredictor::update(&mut state.ball, &balls, cx.header.pts, scale(frame));
            state.frames_since_run = Some(0);
            if matches!(scope, Scope::Full(_)) {
                state.runs_since_full = 0;
                out.table("detections", self.to_table(&found))?;
                out.table("people", self.to_table(&rows_of(&self.people)))?;
            } else {
                state.runs_since_full = state.runs_since_full.saturating_add(1);
                out.skip("detections", Reason::Stride)?;
                out.skip("people", Reason::Stride)?;
            }
            out.table("balls", self.to_table(&balls))?;
        }
        self.finish_frame(cx, (scope != Scope::None).then(|| self.now() - start));
        Ok(())
    }

    fn reconfigure(&mut self, config: &DetectConfig) -> Result<()> {
        self.config = config.clone();
        self.update_interval_mode();
        Ok(())
    }

    fn session_started(&mut self, _cx: &Context, state: &mut DetectState) -> Result<()> {
        // After a reconnect the earlier positions are invalid.
        *state = DetectState::default();
        Ok(())
    }
}

impl Detect {
    /// Converts rows to a table with the names of the classes.
    fn to_table(&self, rows: &[Detection]) -> Arc<StructArray> {
        Arc::new(ClassNames::encode(self.names.as_ref(), rows))
    }

    /// Chooses the part of a frame to process.
    fn scope(&self, frame: &Frame, pts: i64, state: &DetectState) -> Scope {
        let every = match (&self.config.every, &self.adaptive_interval) {
            (DetectionInterval::Frames(frames), _) => *frames,
            (DetectionInterval::Auto, Some(interval)) => interval.frames(),
            (DetectionInterval::Auto, None) => 1,
        };
        if state.frames_since_run.is_some_and(|frames| frames.saturating_add(1) < every) {
            return Scope::None;
        }
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let predictor = state.ball.as_ref().filter(|_| self.config.follow == FollowMode::Ball);
        let region = predictor
            .and_then(|ball| ball.predict(pts))
            .map(|(x, y)| square_around(x, y, self.config.follow_size * scale(frame), width, height));
        match region {
            Some(tile) if state.runs_since_full + 1 < self.config.full_every => Scope::Ball(tile),
            region => Scope::Full(region),
        }
    }

    /// Runs the detector and returns the rows in descending order of score.
    fn detect(&mut self, frame: &Frame, scope: Scope) -> Result<Vec<Detection>> {
        let frame_size = (frame.width() as f32, frame.height() as f32);
        let mut tiles = match scope {
            Scope::Ball(_) | Scope::None => vec![],
            Scope::Full(_) => tile_grid(self.config.tiles, self.config.overlap, frame_size.0, frame_size.1),
        };
        tiles.extend(match scope {
            Scope::Ball(tile) | Scope::Full(Some(tile)) => Some(tile),
            Scope::Full(None) | Scope::None => None,
        });
        let (size, stretch) = (self.model.spec().input_size, self.model.stretches());
        let views: Vec<TileView> =
            tiles.into_iter().map(|tile| TileView::new(tile, size, stretch, frame_size)).collect();
        let classes = if matches!(scope, Scope::Ball(_)) { &self.ball } else { &self.selected };
        let filter = DecodeFilter { min_score: self.config.confidence, classes: &classes.classes };
        let boxes = self.model.detect(frame, &views, self.config.batch as usize, &filter)?;
        let merged = merge(boxes, self.config.nms);
        Ok(merged.into_iter().filter(|found| self.is_allowed(found, frame)).map(Detection::from).collect())
    }

    /// Returns true for a box outside the dead zones and within the size limits.
    fn is_allowed(&self, found: &TileBox, frame: &Frame) -> bool {
        let [x1, y1, x2, y2] = found.corners;
        let center = [(x1 + x2) / 2.0 / frame.width() as f32, (y1 + y2) / 2.0 / frame.height() as f32];
        if self.config.dead_zones.iter().any(|zone| contains(zone, center)) {
            return false;
        }
        let within = |size: f32, min: f32, max: f32| (min..=max).contains(&(size / scale(frame)));
        let config = &self.config;
        let is_person_size =
            !self.people.contains(found.class) || within(y2 - y1, config.min_person, config.max_person);
        let is_ball_size =
            !self.ball.contains(found.class) || within((x2 - x1).max(y2 - y1), config.min_ball, config.max_ball);
        is_person_size && is_ball_size
    }

    fn update_interval_mode(&mut self) {
        if self.config.every != DetectionInterval::Auto || !self.is_live {
            self.adaptive_interval = None;
        } else if self.adaptive_interval.is_none() {
            let runs = self.config.tiles.columns * self.config.tiles.rows;
            self.adaptive_interval = Some(AdaptiveInterval::new(self.model.warm_ns().max(1) as f64 * runs as f64));
        }
    }

    /// The clock is read only where the interval depends on it.
    fn now(&self) -> i64 {
        if self.adaptive_interval.is_some() { self.clock.now() } else { 0 }
    }

    /// Updates the adaptive interval after a frame, and logs its changes.
    fn finish_frame(&mut self, cx: &Context, run_ns: Option<i64>) {
        let now = self.now();
        let Some(interval) = &mut self.adaptive_interval else { return };
        let header = cx.header;
        let work = FrameWork { pts: header.pts, dropped: header.dropped, now, run_ns };
        let Some(IntervalChange { from, to, run_ms, frame_interval_ms }) = interval.update(&header.stream, work) else {
            return;
        };
        tracing::info!(
            "detection interval changed from {from} to {to} frames: a detector run takes {run_ms:.1} ms, the time \
             between frames is {frame_interval_ms:.1} ms"
        );
    }
}

/// Returns the factor from pixels at 1080 lines to pixels of the frame.
fn scale(frame: &Frame) -> f32 {
    frame.height() as f32 / 1080.0
}

/// Returns true where a point lies in a polygon: a ray from it to the right crosses an odd number of edges.
fn contains(zone: &[[f32; 2]], [x, y]: [f32; 2]) -> bool {
    let next = zone.iter().cycle().skip(1);
    let crossings = zone
        .iter()
        .zip(next)
        .filter(|([ax, ay], [bx, by])| (*ay > y) != (*by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax);
    crossings.count() % 2 == 1
}

impl From<TileBox> for Detection {
    fn from(found: TileBox) -> Self {
        let [x1, y1, x2, y2] = found.corners;
        Detection { x1, y1, x2, y2, score: found.score, class: found.class, refined: false }
    }
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn a_non_convex_zone_contains_its_interior() {
        let zone = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.2], [0.0, 1.0]];
        for (point, inside) in
            [([0.5, 0.1], true), ([0.5, 0.5], false), ([0.05, 0.7], true), ([0.95, 0.7], true), ([1.2, 0.5], false)]
        {
            assert_eq!(contains(&zone, point), inside, "{point:?}");
        }
    }
}
