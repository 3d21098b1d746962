//! Generated bouts: two whole bodies that fight, as a pose model would see them, with every move known to the moment.
//!
//! What a model of moves is trained and measured on where recordings are few: bodies of any size and stance, strikes of
//! any speed and style, seen from any side, and a truth that nobody had to write down. It is kinematics alone: nobody is
//! hit, nobody falls, and styles are drawn, not learned from people. So figures on these bouts say whether the parts work
//! together; how well they do on people only recordings of people say.
//!
//! [`Bout::generate`] gives the same bout for the same [`Setting`] on one machine. The parts: `space` (turns, smooth
//! courses), `body` (limbs and joints), `posture` (what a body can move), `strikes`
//! (the fourteen moves, each a `draft` of changes), `moves` (their speeds), `fighter` (stance,
//! sway, steps), `script` (who does what when), `camera` (how it is seen).

mod body;
mod camera;
mod draft;
mod fighter;
mod moves;
mod posture;
mod script;
mod space;
mod strikes;

use sideline_api::tables::Pose;

use self::{
    camera::{Camera, Eye},
    fighter::{Fighter, Ground},
    moves::{Limb, Move},
    posture::Side,
    space::{length, minus},
    strikes::MOVES,
};
use crate::Random;

/// Name of what is no move.
pub const IDLE: &str = "idle";

/// The labels of the moves that are generated, in the order of [`Setting::shares`].
pub const LABELS: [&str; 14] = {
    let mut labels = [""; 14];
    let mut i = 0;
    while i < labels.len() {
        labels[i] = MOVES[i].label;
        i += 1;
    }
    labels
};

/// How a pose model errs. Lengths are metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoseNoise {
    /// Standard deviation of what is new in each frame, along each axis.
    pub quick: f64,
    /// Standard deviation of what lasts a quarter of a second.
    pub slow: f64,
    /// How much more both are along the camera's view.
    pub depth: f64,
    /// How often each joint is lost, times a second.
    pub lost: f64,
    /// For how long on average, s.
    pub lost_seconds: f64,
}

impl PoseNoise {
    /// None at all.
    pub const NONE: Self = Self { quick: 0.0, slow: 0.0, depth: 1.0, lost: 0.0, lost_seconds: 0.0 };
    /// About that of BlazePose on people who fill the frame's height.
    pub const USUAL: Self = Self { quick: 0.005, slow: 0.012, depth: 2.0, lost: 0.04, lost_seconds: 0.15 };
}

/// What bout to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Which of the random worlds.
    pub seed: u64,
    /// Length.
    pub seconds: f64,
    /// Frames a second.
    pub rate: f64,
    /// 2 for a bout, 1 for somebody who trains alone.
    pub fighters: usize,
    /// How often each move of [`LABELS`] comes, against the others; 0 for never.
    pub shares: [f64; 14],
    /// Chance that another move follows one at once, 0 to below 1.
    pub combinations: f64,
    /// Chance that the other answers at once, 0 to 1.
    pub replies: f64,
    /// Mean pause between exchanges, s.
    pub pause: f64,
    /// Feints of each fighter in a second of pause.
    pub feints: f64,
    /// How the poses err.
    pub noise: PoseNoise,
}

impl Default for Setting {
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
            noise: PoseNoise::USUAL,
        }
    }
}

impl Setting {
    /// Somebody alone who does one move again and again; of all labels in turn they make a balanced set.
    ///
    /// # Errors
    /// When the label is none of [`LABELS`].
    pub fn drill(seed: u64, label: &str) -> Result<Self, String> {
        let at = LABELS
            .iter()
            .position(|known| *known == label)
            .ok_or_else(|| format!("{label:?} is no move that can be generated; there are {}", LABELS.join(", ")))?;
        let mut shares = [0.0; 14];
        shares[at] = 1.0;
        Ok(Self { seed, fighters: 1, shares, combinations: 0.0, ..Self::default() })
    }
}

/// A move as it was made. Frames are the nearest to the seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Strike {
    /// Number of the fighter, from 0; the track is one more.
    pub fighter: usize,
    /// What it was: one of [`LABELS`].
    pub label: &'static str,
    /// What struck: `left_hand`, `right_knee`, `head`, ...
    pub limb: &'static str,
    /// When it began, s.
    pub start: f64,
    /// When the limb was fastest on its way out, beside the hips (the head: beside the feet), s.
    pub peak: f64,
    /// When all was as before, s.
    pub end: f64,
    /// How fast it then was, m/s.
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
    /// The poses of each frame, one for each fighter: tracks 1 and 2, `fighter_1` and `fighter_2`.
    pub frames: Vec<Vec<Pose>>,
    /// What happened, by the time of the peak.
    pub strikes: Vec<Strike>,
}

impl Bout {
    /// Makes a bout. Media time of frame `i` is `i / rate` seconds.
    pub fn generate(setting: &Setting) -> Self {
        let mut random = Random::of(setting.seed, "bout", 0);
        let fighters = script::write(setting, &mut random);
        let camera = Camera::draw(&mut random);
        let mut eyes: Vec<Eye> =
            (1..=fighters.len()).map(|i| Eye::new(Random::of(setting.seed, "eye", i as i64))).collect();
        let step = 1.0 / setting.rate;
        let frames = (0..(setting.seconds * setting.rate) as usize).map(|frame| {
            let seen = fighters.iter().zip(&mut eyes).enumerate().map(|(number, ((fighter, ground), eye))| {
                let joints = fighter.joints(frame as f64 * step, ground);
                eye.see(number, &joints, &camera, &setting.noise, step)
            });
            seen.collect()
        });
        let frames = frames.collect();
        let mut strikes: Vec<Strike> = vec![];
        for (number, (fighter, ground)) in fighters.iter().enumerate() {
            let moves = fighter.moves.iter().filter(|(_, made)| !made.label.is_empty());
            strikes.extend(moves.map(|(begin, made)| strike(number, fighter, ground, *begin, made, setting.rate)));
        }
        strikes.sort_by(|a, b| a.peak.total_cmp(&b.peak));
        Self { frames, strikes }
    }

    /// The move whose peak is nearest to a time among those of a fighter, within `reach` seconds.
    pub fn nearest(&self, fighter: usize, time: f64, reach: f64) -> Option<&Strike> {
        let off = |strike: &Strike| (strike.peak - time).abs();
        let near = self.strikes.iter().filter(|strike| strike.fighter == fighter && off(strike) <= reach);
        near.min_by(|a, b| off(a).total_cmp(&off(b)))
    }
}

/// Looks for the moment at which a move's limb was fastest on its way out, among all else that the body did.
fn strike(number: usize, fighter: &Fighter, ground: &Ground, begin: f64, made: &Move, rate: f64) -> Strike {
    let step = 1.0 / 480.0;
    let count = ((made.out[1] - made.out[0]) / step) as usize;
    let fastest = |limb: Limb| {
        let place = |time: f64| limb.place(&fighter.body(time, ground));
        let speed = |time: f64| length(minus(place(time + step), place(time - step))) / (2.0 * step) * fighter.stature;
        let times = (0..=count).map(|i| begin + made.out[0] + i as f64 * step);
        times.map(|time| (time, speed(time))).fold((begin, 0.0), |a, b| if b.1 > a.1 { b } else { a })
    };
    let limbs = match made.limb {
        Limb::Hand(side) if made.both => vec![made.limb, Limb::Hand(side.other())],
        limb => vec![limb],
    };
    let measured = limbs.into_iter().map(|limb| (limb, fastest(limb)));
    let (limb, (peak, speed)) = measured.fold((made.limb, (begin, 0.0)), |a, b| if b.1.1 > a.1.1 { b } else { a });
    let left = if fighter.southpaw { Side::Rear } else { Side::Lead };
    let (start, end) = (begin, begin + made.end);
    let frame = |time: f64| (time * rate).round().max(0.0) as u64;
    Strike {
        fighter: number,
        label: made.label,
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
