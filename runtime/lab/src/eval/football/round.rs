//! One round: a match with one draw of the detection noise, processed by the operators.

use std::sync::Arc;

use sideline_api::{Body, Color, Encoding, Frame, Header, Payload, Result};
use sideline_eval::football::{
    FRAME_RATE, Match, MatchDetections, Noise, ball::BallEstimate, play::PlayCounts, view::Crops,
};
use sideline_sport::tables::{Detection, Track};

use super::{OperatorSetup, ball, play, view};
use crate::operator_runner::OperatorRunner;

/// Output of the operators for one match and one draw of the noise.
pub struct Round<'a> {
    /// Match with its ground truth.
    pub game: &'a Match,
    /// Simulated detections.
    pub detections: MatchDetections,
    /// Estimates of the operator `ball` by frame.
    pub estimates: Vec<Option<BallEstimate>>,
    /// Crops of the operator `view`.
    pub crops: Crops,
    /// Counts behind the scores of teams, possession and formation.
    pub play: PlayCounts,
}

impl<'a> Round<'a> {
    /// Simulates detections of a match and runs the operators on them.
    pub fn new(game: &'a Match, noise: &Noise, setup: &OperatorSetup) -> Result<Self> {
        let detections = noise.detect(game, FRAME_RATE);
        let image = black_image(game)?;
        let balls = ball::follow(&detections, &image, setup)?;
        let tracks = run_tracker(&detections, setup)?;
        let crops = view::follow(&balls, &tracks, &image, setup)?;
        let play = play::evaluate(game, &tracks, &balls, noise.seed, setup)?;
        Ok(Self { game, detections, estimates: ball::to_estimates(&balls), crops, play })
    }

    /// Returns the match with the estimates of the ball.
    pub fn ball_estimates(&self) -> (&Match, &[Option<BallEstimate>]) {
        (self.game, &self.estimates)
    }

    /// Returns the position of the ball in every frame; before the first estimate, that of the first one.
    pub fn ball_positions(&self) -> Vec<[f64; 2]> {
        let mut last = self.estimates.iter().flatten().next().map_or([0.0; 2], |estimate| estimate.center);
        let position = |estimate: &Option<BallEstimate>| {
            last = estimate.map_or(last, |estimate| estimate.center);
            last
        };
        self.estimates.iter().map(position).collect()
    }
}

/// COCO class of a person.
const PERSON_CLASS: u16 = 0;

/// Runs the operator `tracker` on the detections of people.
fn run_tracker(detections: &MatchDetections, setup: &OperatorSetup) -> Result<Vec<Vec<Track>>> {
    let mut tracker =
        OperatorRunner::new(&setup.factory, "tracker", "tracker", &["detections"], &setup.keys("tracker"))?;
    let mut tracks = vec![];
    for (frame, people) in (0..).zip(&detections.people) {
        tracker.send_rows("detections", &header(frame), &to_rows(people, PERSON_CLASS))?;
        tracks.push(tracker.next_rows::<Track>("tracks")?.unwrap_or_default());
    }
    Ok(tracks)
}

/// Returns a black image of the match's size. Operators read only its size.
fn black_image(game: &Match) -> Result<Body> {
    let [width, height] = [game.size.0, game.size.1].map(|length| length as usize);
    let bytes: usize = Encoding::I420.planes(width, height).iter().map(|(bytes, rows)| bytes * rows).sum();
    let frame = Frame::from_packed(
        width as u32,
        height as u32,
        Encoding::I420,
        Color::default_for_height(height as u32),
        vec![0u8; bytes],
    )?;
    Ok(Body::Data(Payload::Frame(Arc::new(frame))))
}

/// Returns the header of a frame of a match.
pub fn header(frame: u64) -> Header {
    let pts = (frame as f64 * 1e9 / FRAME_RATE).round() as i64;
    Header::new("match", frame, pts)
}

/// Converts boxes to the rows that a detector sends.
pub fn to_rows(boxes: &[sideline_eval::Detection], class: u16) -> Vec<Detection> {
    let row = |detection: &sideline_eval::Detection| {
        let rect = &detection.rect;
        Detection {
            x1: rect.x as f32,
            y1: rect.y as f32,
            x2: (rect.x + rect.w) as f32,
            y2: (rect.y + rect.h) as f32,
            score: detection.score as f32,
            class,
            refined: false,
        }
    };
    boxes.iter().map(row).collect()
}
