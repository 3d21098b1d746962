//! `pitch`: tracks and the ball in, where they are on the ground out.
//!
//! Somebody stands where the middle of the box's lower edge is; the ball lies at its lowest point. One in the air would be
//! placed too far away; where it is seen in front of somebody's body it is taken to be there, in the hands or at the chest,
//! not on the ground far behind. With a calibration places are metres; without, they stay pixels, and `scale` says how many of them a
//! metre has there: people are taken to be 1.75 m tall, and their height in the picture to grow evenly from the horizon
//! down, as it does for a camera that is held level. Who is `lost` has no place.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Ball, METRES, PIXELS, Place, Track},
};

use crate::{
    calibration::Calibration,
    homography::{Homography, Point},
    sides::BALL,
};

/// Places people and the ball on the pitch, in metres where it is calibrated.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct PitchConfig {
    /// A file that says which points of the picture are which points of the pitch; the camera must not move. Empty: places
    /// are in pixels. In a module one such key reaches all operators that need the pitch.
    #[config(default = "")]
    pub calibration: PathBuf,
    /// Metres beside the lines that still count as on the pitch. Higher forgives an inexact calibration and sees the ball
    /// go out later.
    #[config(default = 0.5, live, range(0, 20))]
    pub margin: f32,
}

/// What is remembered of a stream: how tall people look.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Heights {
    /// Sums over what was seen, the older the less: weight, y, y squared, height, y by height.
    sums: [f64; 5],
    /// Media time of the last frame, ns.
    pts: Option<i64>,
}

/// Height of a person, m, as boxes hold it.
const PERSON: f64 = 1.75;
/// Share that remains after 1/30 s of what was seen: ten seconds later a twentieth.
const KEEP: f64 = 0.99;
/// Frames of 1/30 s that one frame counts for at most: what is longer is a gap.
const LONGEST_FRAME: f64 = 6.0;
/// How far, as a share, a box may be from the height that is expected there, once a few hundred were seen.
const ODD: f64 = 0.5;
const SETTLED: f64 = 200.0;
/// How far up and down the picture people must be spread, as a share of their height, before a slope is believed fully.
const SPREAD: f64 = 0.5;

impl Heights {
    /// Takes in the people of a frame, each for the time since the frame before: so a second of video weighs the same at any
    /// frame rate.
    fn see<'a>(&mut self, now: i64, people: impl Iterator<Item = &'a Track>) {
        let nanoseconds = self.pts.replace(now).map(|before| (now - before).max(0));
        // To a thousandth: timestamps are rounded, and a steady rate stays one.
        let frames = nanoseconds.map_or(1.0, |ns| (ns as f64 * 30e-6).round() * 1e-3);
        let weight = frames.min(LONGEST_FRAME);
        let mut new = [0.0; 5];
        for track in people {
            let (y, height) = (f64::from(track.y2), f64::from(track.y2 - track.y1));
            let expected = self.at(y);
            // Who is cut off by the edge or by another, or lies on the ground.
            let odd = self.sums[0] > SETTLED && expected.is_some_and(|e| (height / e - 1.0).abs() > ODD);
            if height > 1.0 && !odd {
                for (sum, value) in new.iter_mut().zip([1.0, y, y * y, height, y * height]) {
                    *sum += weight * value;
                }
            }
        }
        for (sum, new) in self.sums.iter_mut().zip(new) {
            *sum = *sum * KEEP.powf(frames) + new;
        }
    }

    /// How tall somebody looks whose feet are at `y`, px; `None` before anybody was seen.
    fn at(&self, y: f64) -> Option<f64> {
        let [n, sy, syy, sh, syh] = self.sums;
        if n < 0.5 {
            return None;
        }
        let (my, mh) = (sy / n, sh / n);
        // A ridge: people in one row say nothing about rows further up or down.
        let (spread, with) = (syy / n - my * my, syh / n - my * mh);
        let slope = with / (spread + (SPREAD * mh).powi(2) / 10.0);
        // Near the horizon nobody is smaller than a fifth of the mean.
        Some((mh + slope * (y - my)).max(0.2 * mh))
    }
}

/// Where the ball is on the ground: below it, or at the feet of the nearest to the camera in front of whom it is seen.
fn on_ground(ball: &Ball, tracks: &[Track]) -> Point {
    let low = ball.y + ball.radius;
    let before = |track: &&Track| {
        let shown = track.state != "lost";
        shown && (track.x1..=track.x2).contains(&ball.x) && (track.y1..track.y2).contains(&low)
    };
    let feet = tracks.iter().filter(before).map(|track| track.y2).fold(low, f32::max);
    [ball.x.into(), feet.into()]
}

/// See the [module](self).
pub struct Pitch {
    config: PitchConfig,
    calibration: Option<Calibration>,
    /// The homography for pictures of a size, made when the first one comes.
    sized: Option<([u32; 2], Homography)>,
}

impl Operator for Pitch {
    type Config = PitchConfig;
    type State = Heights;

    fn spec() -> Spec {
        Spec::operator("pitch")
            .optional("tracks", PortType::table::<Track>())
            .optional("ball", PortType::table::<Ball>())
            .optional("frames", PortType::Frame)
            .output("places", PortType::table::<Place>())
    }

    fn new(config: PitchConfig, resources: &Resources) -> Result<Self> {
        if !resources.is_wired("tracks") && !resources.is_wired("ball") {
            return Err(Error::config("neither `tracks` nor `ball` is wired: there is nothing to place"));
        }
        let calibration = Calibration::of_key(&config.calibration, resources)?;
        if calibration.as_ref().is_some_and(|c| c.size.is_some()) && !resources.is_wired("frames") {
            return Err(Error::config(format!(
                "{}: has a `size`, and how large this video is only `frames` tells: wire it, or measure the points in \
                 the video's own size and leave `size` out",
                config.calibration.display()
            )));
        }
        let node = resources.node.as_str();
        match &calibration {
            Some(c) => tracing::info!(node, error = c.error, "places are in metres; mean error of the points"),
            None => tracing::info!(node, "no calibration: places are in pixels"),
        }
        Ok(Self { config, calibration, sized: None })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, heights: &mut Heights, out: &mut Outputs) -> Result<()> {
        let tracks = input.rows::<Track>("tracks")?.unwrap_or_default();
        let ball = input.rows::<Ball>("ball")?.unwrap_or_default();
        let shown: Vec<&Track> = tracks.iter().filter(|track| track.state != "lost" && track.track != BALL).collect();
        heights.see(cx.header.pts, shown.iter().copied().filter(|track| track.state != "predicted"));
        let homography = self.homography(input)?;
        let people = shown.into_iter().map(|track| {
            let at = [f64::from(track.x1 + track.x2) / 2.0, f64::from(track.y2)];
            (track.track, at, track.state != "predicted")
        });
        let ball = ball.iter().filter(|ball| ball.mode != "lost").take(1);
        let ball = ball.map(|ball| (BALL, on_ground(ball, &tracks), ball.measured));
        let rows: Vec<Place> = people
            .chain(ball)
            .filter_map(|(track, at, measured)| self.place(track, at, measured, homography.as_ref(), heights))
            .collect();
        out.rows("places", &rows)
    }

    fn reconfigure(&mut self, config: &PitchConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

impl Pitch {
    /// The homography from pixels of this frame.
    fn homography(&mut self, input: &Inputs) -> Result<Option<Homography>> {
        let Some(calibration) = &self.calibration else { return Ok(None) };
        let Some([w, h]) = calibration.size else { return Ok(Some(calibration.homography)) };
        if input.payload("frames").is_none() {
            return Ok(self.sized.map(|(_, homography)| homography));
        }
        let frame = input.frame("frames")?;
        let now = [frame.width(), frame.height()];
        if self.sized.is_none_or(|(size, _)| size != now) {
            let sized = calibration.homography.from_scaled([w / f64::from(now[0]), h / f64::from(now[1])]);
            self.sized = Some((now, sized));
        }
        Ok(self.sized.map(|(_, homography)| homography))
    }

    /// A row; `None` for what is beyond the horizon.
    fn place(
        &self,
        track: u32,
        at: Point,
        measured: bool,
        homography: Option<&Homography>,
        heights: &Heights,
    ) -> Option<Place> {
        let Some(calibration) = &self.calibration else {
            let scale = heights.at(at[1]).map_or(f64::NAN, |height| height / PERSON) as f32;
            let [x, y] = at.map(|value| value as f32);
            return Some(Place { track, x, y, unit: PIXELS.into(), scale, measured, inside: true });
        };
        let homography = homography?;
        if homography.orientation(at) <= 0.0 {
            return None;
        }
        let [x, y] = homography.apply(at)?.map(|value| value as f32);
        let within = |value: f32, most: f32| (-self.config.margin..=most + self.config.margin).contains(&value);
        let inside = within(x, calibration.field.length) && within(y, calibration.field.width);
        Some(Place { track, x, y, unit: METRES.into(), scale: 1.0, measured, inside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(y2: f32, height: f32) -> Track {
        Track {
            track: 1,
            fighter: String::new(),
            state: "confirmed".into(),
            x1: 0.0,
            y1: y2 - height,
            x2: 40.0,
            y2,
            score: 0.9,
            class: 0,
            age: 0,
        }
    }

    #[test]
    fn how_tall_people_look_is_remembered_for_as_long_whatever_the_frame_rate() {
        // Five seconds at one zoom, then five at another: what is left of the first is told by time, not by frames.
        let after = |rate: i64| {
            let mut heights = Heights::default();
            for frame in 0..10 * rate {
                let height = if frame < 5 * rate { 200.0 } else { 130.0 };
                let people = [person(500.0, height), person(800.0, height)];
                heights.see(frame * 1_000_000_000 / rate, people.iter());
            }
            heights.at(500.0).unwrap()
        };
        let at_30 = after(30);
        assert!((135.0..190.0).contains(&at_30), "{at_30}");
        for rate in [10, 25, 60] {
            assert!((after(rate) - at_30).abs() < 3.0, "{} at {rate} frames a second, {at_30} at 30", after(rate));
        }
    }
}
