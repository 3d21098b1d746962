//! Generated bouts: two fighters as a pose model would see them, with complete labels of every move.
//!
//! They serve to train and measure classifiers of moves where recordings are scarce: bodies of any size and stance,
//! strikes of any speed and style, from any viewpoint, with ground truth by construction. The model is purely
//! kinematic: there is no contact and no fall, and styles are drawn, not learned from people. Metrics on these bouts
//! show whether the parts work together; only recordings show how well they work on people.
//!
//! [`Bout::generate`] returns the same bout for the same [`BoutSettings`] on one machine. Modules: `space` (rotations,
//! smooth trajectories), `body` (limbs and joints), `posture` (degrees of freedom), `strikes` (the fourteen moves, each
//! built with a `draft`), `moves` (their speeds), `fighter` (stance, sway, steps), `script` (schedule of the bout),
//! `camera` (view and errors of a pose model).

mod body;
mod camera;
mod draft;
mod fighter;
mod moves;
mod posture;
mod script;
mod space;
mod strikes;

use sideline_sport::tables::Pose;

use self::{
    camera::{Camera, PoseSimulator},
    fighter::{Fighter, Ground},
    moves::{Limb, Move},
    posture::Side,
    space::{length, sub},
    strikes::MOVES,
};
use crate::Random;

/// Label of frames without a move.
pub const IDLE: &str = "idle";

/// Labels of the generated moves, in the order of [`BoutSettings::shares`].
pub const LABELS: [&str; 14] = {
    let mut labels = [""; 14];
    let mut i = 0;
    while i < labels.len() {
        labels[i] = MOVES[i].label;
        i += 1;
    }
    labels
};

/// Error model of a pose model. Lengths are meters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoseNoise {
    /// Standard deviation of the error that is independent in each frame, along each axis, m.
    pub white_m: f64,
    /// Standard deviation of the error that is correlated over a quarter of a second, m.
    pub correlated_m: f64,
    /// Factor of both errors along the camera's view.
    pub depth_factor: f64,
    /// Dropouts of each joint per second.
    pub dropouts_per_s: f64,
    /// Mean duration of a dropout, s.
    pub dropout_seconds: f64,
}

impl PoseNoise {
    /// No errors.
    pub const NONE: Self =
        Self { white_m: 0.0, correlated_m: 0.0, depth_factor: 1.0, dropouts_per_s: 0.0, dropout_seconds: 0.0 };
    /// About the errors of BlazePose on people who fill the height of the frame.
    pub const TYPICAL: Self =
        Self { white_m: 0.005, correlated_m: 0.012, depth_factor: 2.0, dropouts_per_s: 0.04, dropout_seconds: 0.15 };
}

/// Settings of a generated bout.
#[derive(Clone, Debug, PartialEq)]
pub struct BoutSettings {
    /// Seed of the random numbers.
    pub seed: u64,
    /// Length, s.
    pub seconds: f64,
    /// Frame rate, frames per second.
    pub rate: f64,
    /// Number of fighters: 2 for a bout, 1 for solo training.
    pub fighters: usize,
    /// Relative frequency of each move of [`LABELS`]; 0 for never.
    pub shares: [f64; 14],
    /// Probability that another move follows immediately, 0 to below 1.
    pub combinations: f64,
    /// Probability that the opponent replies immediately, 0 to 1.
    pub replies: f64,
    /// Mean pause between exchanges, s.
    pub pause: f64,
    /// Feints of each fighter per second of pause.
    pub feints: f64,
    /// Errors of the poses.
    pub noise: PoseNoise,
}

impl Default for BoutSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            seconds: 30.0,
            rate: 30.0,
            fighters: 2,
            shares: [1.0; 14],
            combinations: 0.35,
            replies: 0.3,
            pause: 1.2,
            feints: 0.25,
            noise: PoseNoise::TYPICAL,
        }
    }
}

impl BoutSettings {
    /// Returns settings for a single fighter who repeats one move. A drill of each label in turn makes a balanced
    /// dataset.
    ///
    /// # Errors
    /// The label is not one of [`LABELS`].
    pub fn drill(seed: u64, label: &str) -> Result<Self, String> {
        let index = LABELS.iter().position(|other| *other == label).ok_or_else(|| {
            format!("{label:?} is not a move that can be generated; the moves are {}", LABELS.join(", "))
        })?;
        let mut shares = [0.0; 14];
        shares[index] = 1.0;
        Ok(Self { seed, fighters: 1, shares, combinations: 0.0, ..Self::default() })
    }
}

/// Ground truth of one move. Frames are those nearest to the times.
#[derive(Clone, Debug, PartialEq)]
pub struct Strike {
    /// Index of the fighter, from 0; the track number is one more.
    pub fighter: usize,
    /// Label: one of [`LABELS`].
    pub label: &'static str,
    /// Striking limb: `left_hand`, `right_knee`, `head`, ...
    pub limb: &'static str,
    /// Start, s.
    pub start: f64,
    /// Time of the limb's greatest speed on its extension, relative to the hips (the head: relative to the feet), s.
    pub peak: f64,
    /// End, with the body back in its guard, s.
    pub end: f64,
    /// Speed at the peak, m/s.
    pub speed: f64,
    /// Frame of `start`.
    pub start_frame: u64,
    /// Frame of `peak`.
    pub peak_frame: u64,
    /// Frame of `end`.
    pub end_frame: u64,
}

/// A generated bout.
#[derive(Clone, Debug)]
pub struct Bout {
    /// Poses by frame, one for each fighter: tracks 1 and 2, `fighter_1` and `fighter_2`.
    pub frames: Vec<Vec<Pose>>,
    /// Moves, by the time of the peak.
    pub strikes: Vec<Strike>,
}

impl Bout {
    /// Generates a bout. Media time of frame `i` is `i / rate` seconds.
    pub fn generate(settings: &BoutSettings) -> Self {
        let mut random = Random::for_item(settings.seed, "bout", 0);
        let fighters = script::generate(settings, &mut random);
        let camera = Camera::draw(&mut random);
        let mut observers: Vec<PoseSimulator> = (1..=fighters.len())
            .map(|i| PoseSimulator::new(Random::for_item(settings.seed, "eye", i as i64)))
            .collect();
        let step = 1.0 / settings.rate;
        let frames = (0..(settings.seconds * settings.rate) as usize).map(|frame| {
            let poses =
                fighters.iter().zip(&mut observers).enumerate().map(|(number, ((fighter, ground), observer))| {
                    let joints = fighter.joints(frame as f64 * step, ground);
                    observer.observe(number, &joints, &camera, &settings.noise, step)
                });
            poses.collect()
        });
        let frames = frames.collect();
        let mut strikes: Vec<Strike> = vec![];
        for (number, (fighter, ground)) in fighters.iter().enumerate() {
            let moves = fighter.moves.iter().filter(|(_, a_move)| !a_move.label.is_empty());
            strikes.extend(
                moves.map(|(begin, a_move)| measure_strike(number, fighter, ground, *begin, a_move, settings.rate)),
            );
        }
        strikes.sort_by(|a, b| a.peak.total_cmp(&b.peak));
        Self { frames, strikes }
    }

    /// Returns the move of a fighter whose peak is nearest to a time, within `reach` seconds.
    pub fn nearest_strike(&self, fighter: usize, time: f64, reach: f64) -> Option<&Strike> {
        let distance = |strike: &Strike| (strike.peak - time).abs();
        let near = self.strikes.iter().filter(|strike| strike.fighter == fighter && distance(strike) <= reach);
        near.min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }
}

/// Measures the time at which a move's limb is fastest on its extension, within the complete movement of the body.
fn measure_strike(number: usize, fighter: &Fighter, ground: &Ground, begin: f64, a_move: &Move, rate: f64) -> Strike {
    let step = 1.0 / 480.0;
    let count = ((a_move.extension[1] - a_move.extension[0]) / step) as usize;
    let peak = |limb: Limb| {
        let position = |time: f64| limb.relative_position(&fighter.body(time, ground));
        let speed =
            |time: f64| length(sub(position(time + step), position(time - step))) / (2.0 * step) * fighter.stature;
        let times = (0..=count).map(|i| begin + a_move.extension[0] + i as f64 * step);
        times.map(|time| (time, speed(time))).fold((begin, 0.0), |a, b| if b.1 > a.1 { b } else { a })
    };
    let limbs = match a_move.limb {
        Limb::Hand(side) if a_move.uses_both_hands => vec![a_move.limb, Limb::Hand(side.other())],
        limb => vec![limb],
    };
    let measured = limbs.into_iter().map(|limb| (limb, peak(limb)));
    let (limb, (peak, speed)) = measured.fold((a_move.limb, (begin, 0.0)), |a, b| if b.1.1 > a.1.1 { b } else { a });
    let left = if fighter.is_southpaw { Side::Rear } else { Side::Lead };
    let (start, end) = (begin, begin + a_move.end);
    let frame = |time: f64| (time * rate).round().max(0.0) as u64;
    Strike {
        fighter: number,
        label: a_move.label,
        limb: limb.name(left),
        start,
        peak,
        end,
        speed,
        start_frame: frame(start),
        peak_frame: frame(peak),
        end_frame: frame(end),
    }
}
