//! `pitch`: places people and the ball on the ground. It reads tracks and the ball and writes one place per person and
//! ball.
//!
//! A person stands at the middle of the box's lower edge; the ball lies at its lowest point. A ball in the air would be
//! placed too far away; where it overlaps a person's box it is placed at that person's feet, as in the hands or at the
//! chest, not on the ground far behind. With a calibration, places are in meters; without, they stay in pixels, and
//! `scale` is the number of pixels per meter there: people are assumed to be 1.75 m tall, and their height in the frame
//! to grow linearly downwards from the horizon, as for a level camera. A `lost` track has no place.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{Ball, BallMode, Place, Track, TrackState, Unit};

use crate::{
    calibration::Calibration,
    homography::{Homography, Point},
    scene::BALL_TRACK,
};

/// Places people and the ball on the pitch, in meters where it is calibrated.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct PitchConfig {
    /// Calibration file: points of the frame and the points of the pitch that they show; the camera must not move.
    /// Empty: places are in pixels. In a module, one such key reaches all operators that need the pitch.
    #[config(default = "")]
    pub calibration: PathBuf,
    /// Margin around the pitch that counts as on it, m. Higher tolerates an inexact calibration and reports the ball
    /// out later.
    #[config(default = 0.5, live, range(0, 20))]
    pub margin: f32,
}

/// State of a stream: regression of a person's height in the frame on the position of the feet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HeightModel {
    /// Weighted sums with exponential decay: weight, y, y squared, height, y times height.
    sums: [f64; 5],
    /// Media time of the last frame, ns.
    pts: Option<i64>,
}

/// Height of a person's box, m.
const PERSON_HEIGHT_M: f64 = 1.75;
/// Share of the sums that remains after 1/30 s: 5 % after ten seconds.
const DECAY_PER_FRAME: f64 = 0.99;
/// Maximum weight of one frame, frames of 1/30 s: a longer time is a gap.
const MAX_FRAME_WEIGHT: f64 = 6.0;
/// Maximum relative deviation of a box from the expected height, once the sums are reliable.
const MAX_HEIGHT_DEVIATION: f64 = 0.5;
/// Sum of weights from which the regression is reliable enough to reject outliers.
const RELIABLE_WEIGHT: f64 = 200.0;
/// Spread of people in y, as a share of their height, that a slope needs to be trusted.
const TRUSTED_SPREAD: f64 = 0.5;

impl HeightModel {
    /// Adds the people of a frame, weighted by the time since the frame before: a second of video has the same weight
    /// at any frame rate.
    fn update<'a>(&mut self, now: i64, people: impl Iterator<Item = &'a Track>) {
        let nanoseconds = self.pts.replace(now).map(|before| (now - before).max(0));
        // Rounded to a thousandth: timestamps are rounded, and a steady rate must stay steady.
        let frames = nanoseconds.map_or(1.0, |ns| (ns as f64 * 30e-6).round() * 1e-3);
        let weight = frames.min(MAX_FRAME_WEIGHT);
        let mut new = [0.0; 5];
        for track in people {
            let (y, height) = (f64::from(track.y2), f64::from(track.y2 - track.y1));
            let expected = self.expected_height(y);
            // Outliers are people cut off by the border or by others, and people on the ground.
            let is_outlier = self.sums[0] > RELIABLE_WEIGHT
                && expected.is_some_and(|e| (height / e - 1.0).abs() > MAX_HEIGHT_DEVIATION);
            if height > 1.0 && !is_outlier {
                for (sum, value) in new.iter_mut().zip([1.0, y, y * y, height, y * height]) {
                    *sum += weight * value;
                }
            }
        }
        for (sum, new) in self.sums.iter_mut().zip(new) {
            *sum = *sum * DECAY_PER_FRAME.powf(frames) + new;
        }
    }

    /// Returns the expected height of a person whose feet are at `y`, px; `None` before the first person.
    fn expected_height(&self, y: f64) -> Option<f64> {
        let [n, sy, syy, sh, syh] = self.sums;
        if n < 0.5 {
            return None;
        }
        let (my, mh) = (sy / n, sh / n);
        // Ridge regression: people in one row do not determine the slope.
        let (variance, covariance) = (syy / n - my * my, syh / n - my * mh);
        let slope = covariance / (variance + (TRUSTED_SPREAD * mh).powi(2) / 10.0);
        // Lower bound near the horizon: a fifth of the mean.
        Some((mh + slope * (y - my)).max(0.2 * mh))
    }
}

/// Returns the ball's position on the ground: its lowest point, or the lowest feet among the people whose boxes it
/// overlaps.
fn ground_position(ball: &Ball, tracks: &[Track]) -> Point {
    let low = ball.y + ball.radius;
    let overlaps = |track: &&Track| {
        let is_visible = track.state != TrackState::Lost;
        is_visible && (track.x1..=track.x2).contains(&ball.x) && (track.y1..track.y2).contains(&low)
    };
    let feet = tracks.iter().filter(overlaps).map(|track| track.y2).fold(low, f32::max);
    [ball.x.into(), feet.into()]
}

/// See the [module](self).
pub struct Pitch {
    config: PitchConfig,
    calibration: Option<Calibration>,
    /// Homography scaled to the size of the frames, with that size.
    scaled: Option<([u32; 2], Homography)>,
}

impl Operator for Pitch {
    type Config = PitchConfig;
    type State = HeightModel;

    fn spec() -> Spec {
        Spec::operator("pitch")
            .optional("tracks", PortType::table::<Track>())
            .optional("ball", PortType::table::<Ball>())
            .optional("frames", PortType::Frame)
            .output("places", PortType::table::<Place>())
    }

    fn new(config: PitchConfig, resources: &Resources) -> Result<Self> {
        if !resources.is_wired("tracks") && !resources.is_wired("ball") {
            return Err(Error::config("neither `tracks` nor `ball` is connected: no input to place"));
        }
        let calibration = Calibration::from_key(&config.calibration, resources)?;
        if calibration.as_ref().is_some_and(|c| c.size.is_some()) && !resources.is_wired("frames") {
            return Err(Error::config(format!(
                "{}: has a `size`, so the size of the video must be known: connect `frames`, or measure the points in \
                 the video's own size and omit `size`",
                config.calibration.display()
            )));
        }
        match &calibration {
            Some(c) => {
                tracing::info!(error = c.mean_error_m, "places are in meters; mean error of the calibration points")
            }
            None => tracing::info!("no calibration: places are in pixels"),
        }
        Ok(Self { config, calibration, scaled: None })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, heights: &mut HeightModel, out: &mut Outputs) -> Result<()> {
        let tracks = input.rows::<Track>("tracks")?.unwrap_or_default();
        let ball = input.rows::<Ball>("ball")?.unwrap_or_default();
        let visible: Vec<&Track> =
            tracks.iter().filter(|track| track.state != TrackState::Lost && track.track != BALL_TRACK).collect();
        heights.update(cx.header.pts, visible.iter().copied().filter(|track| track.state != TrackState::Predicted));
        let homography = self.homography(input)?;
        let people = visible.into_iter().map(|track| {
            let at = [f64::from(track.x1 + track.x2) / 2.0, f64::from(track.y2)];
            (track.track, at, track.state != TrackState::Predicted)
        });
        let ball = ball.iter().filter(|ball| ball.mode != BallMode::Lost).take(1);
        let ball = ball.map(|ball| (BALL_TRACK, ground_position(ball, &tracks), ball.measured));
        let rows: Vec<Place> = people
            .chain(ball)
            .filter_map(|(track, at, measured)| self.to_place(track, at, measured, homography.as_ref(), heights))
            .collect();
        out.rows("places", &rows)
    }

    fn reconfigure(&mut self, config: &PitchConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

impl Pitch {
    /// Returns the homography from pixels of this frame.
    fn homography(&mut self, input: &Inputs) -> Result<Option<Homography>> {
        let Some(calibration) = &self.calibration else { return Ok(None) };
        let Some([w, h]) = calibration.size else { return Ok(Some(calibration.homography)) };
        if input.payload("frames").is_none() {
            return Ok(self.scaled.map(|(_, homography)| homography));
        }
        let frame = input.frame("frames")?;
        let now = [frame.width(), frame.height()];
        if self.scaled.is_none_or(|(size, _)| size != now) {
            let scaled = calibration.homography.with_scaled_input([w / f64::from(now[0]), h / f64::from(now[1])]);
            self.scaled = Some((now, scaled));
        }
        Ok(self.scaled.map(|(_, homography)| homography))
    }

    /// Returns a row; `None` beyond the horizon.
    fn to_place(
        &self,
        track: u32,
        at: Point,
        measured: bool,
        homography: Option<&Homography>,
        heights: &HeightModel,
    ) -> Option<Place> {
        let Some(calibration) = &self.calibration else {
            let scale = heights.expected_height(at[1]).map_or(f64::NAN, |height| height / PERSON_HEIGHT_M) as f32;
            let [x, y] = at.map(|value| value as f32);
            return Some(Place { track, x, y, unit: Unit::Pixels, scale, measured, inside: true });
        };
        let homography = homography?;
        if homography.orientation(at) <= 0.0 {
            return None;
        }
        let [x, y] = homography.apply(at)?.map(|value| value as f32);
        let within = |value: f32, length: f32| (-self.config.margin..=length + self.config.margin).contains(&value);
        let inside = within(x, calibration.pitch.length) && within(y, calibration.pitch.width);
        Some(Place { track, x, y, unit: Unit::Meters, scale: 1.0, measured, inside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(y2: f32, height: f32) -> Track {
        Track {
            track: 1,
            state: TrackState::Confirmed,
            x1: 0.0,
            y1: y2 - height,
            x2: 40.0,
            y2,
            score: 0.9,
            age: 0,
            ..Track::default()
        }
    }

    #[test]
    fn the_height_model_decays_by_time_not_by_frames() {
        // Five seconds at one zoom, then five at another: the remaining weight of the first must depend on time, not on
        // the number of frames.
        let after = |rate: i64| {
            let mut heights = HeightModel::default();
            for frame in 0..10 * rate {
                let height = if frame < 5 * rate { 200.0 } else { 130.0 };
                let people = [person(500.0, height), person(800.0, height)];
                heights.update(frame * 1_000_000_000 / rate, people.iter());
            }
            heights.expected_height(500.0).unwrap()
        };
        let at_30 = after(30);
        assert!((135.0..190.0).contains(&at_30), "{at_30}");
        for rate in [10, 25, 60] {
            assert!((after(rate) - at_30).abs() < 3.0, "{} at {rate} frames a second, {at_30} at 30", after(rate));
        }
    }
}
