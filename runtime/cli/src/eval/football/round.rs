//! One match, seen once by a detector that errs, through the operators.

use std::sync::Arc;

use sideline_api::{
    Body, Color, Encoding, Frame, Header, Payload, Result,
    tables::{Detection, Track},
};
use sideline_eval::football::{Match, Noise, RATE, Seen, ball::Answer, play::Counts, view::Crops};

use super::{Making, ball, play, view};
use crate::stage::Stage;

/// What came of it.
pub struct Round<'a> {
    /// The match.
    pub game: &'a Match,
    /// What the detector saw.
    pub seen: Seen,
    /// What the operator `ball` says of each frame.
    pub answers: Vec<Option<Answer>>,
    /// What the operator `view` shows.
    pub crops: Crops,
    /// What the operators of the match say, beside the truth.
    pub play: Counts,
}

impl<'a> Round<'a> {
    /// Puts a match through the operators.
    pub fn new(game: &'a Match, noise: &Noise, making: &Making) -> Result<Self> {
        let seen = noise.detect(game, RATE);
        let picture = picture(game)?;
        let balls = ball::follow(&seen, &picture, making)?;
        let tracks = track(&seen, making)?;
        let crops = view::follow(&balls, &tracks, &picture, making)?;
        let play = play::judge(game, &tracks, &balls, noise.seed, making)?;
        Ok(Self { game, seen, answers: ball::answers(&balls), crops, play })
    }

    /// What was said of the ball, beside the match.
    pub fn ours(&self) -> (&Match, &[Option<Answer>]) {
        (self.game, &self.answers)
    }

    /// Where the ball is said to be in each frame: before it is found, where it is found first.
    pub fn places(&self) -> Vec<[f64; 2]> {
        let mut last = self.answers.iter().flatten().next().map_or([0.0; 2], |answer| answer.place);
        let place = |answer: &Option<Answer>| {
            last = answer.map_or(last, |answer| answer.place);
            last
        };
        self.answers.iter().map(place).collect()
    }
}

/// COCO's number of a person.
const PERSON: u16 = 0;

/// Puts the people through the operator `tracker`.
fn track(seen: &Seen, making: &Making) -> Result<Vec<Vec<Track>>> {
    let mut stage = Stage::new(&making.workshop, "tracker", "tracker", &["detections"], &making.keys("tracker"))?;
    let mut tracks = vec![];
    for (frame, people) in (0..).zip(&seen.people) {
        stage.rows("detections", &header(frame), &rows(people, PERSON))?;
        tracks.push(stage.next_rows::<Track>("tracks")?.unwrap_or_default());
    }
    Ok(tracks)
}

/// A black picture as large as the match's: operators ask how large it is.
fn picture(game: &Match) -> Result<Body> {
    let [width, height] = [game.size.0, game.size.1].map(|length| length as usize);
    let bytes: usize = Encoding::I420.planes(width, height).iter().map(|(bytes, rows)| bytes * rows).sum();
    let frame = Frame::from_packed(
        width as u32,
        height as u32,
        Encoding::I420,
        Color::assumed(height as u32),
        vec![0u8; bytes],
    )?;
    Ok(Body::Data(Payload::Frame(Arc::new(frame))))
}

/// The header of a frame of a match.
pub fn header(frame: u64) -> Header {
    let pts = (frame as f64 * 1e9 / RATE).round() as i64;
    Header::new("match", frame, pts)
}

/// Boxes as a detector sends them.
pub fn rows(boxes: &[sideline_eval::Detection], class: u16) -> Vec<Detection> {
    let row = |seen: &sideline_eval::Detection| {
        let rect = &seen.rect;
        Detection {
            x1: rect.x as f32,
            y1: rect.y as f32,
            x2: (rect.x + rect.w) as f32,
            y2: (rect.y + rect.h) as f32,
            score: seen.score as f32,
            class,
            refined: false,
        }
    };
    boxes.iter().map(row).collect()
}
