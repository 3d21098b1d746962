//! What is remembered of the tracks of a stream, and the windows that are drawn from it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use sideline_api::tables::{Interaction, Motion};

use crate::reading::Reading;

/// Values of a moment: velocity of 33 joints by x, y, z, then acceleration.
pub const MOTION: usize = Motion::VALUES;
/// Values of how two stand to each other.
pub const INTERACTION: usize = Interaction::VALUES;

/// Containers that count in milliseconds round a frame's time, and the window's moments lie on no such grid: a sample as near
/// as this is at that moment, ns.
const ROUNDING: i64 = 1_500_000;
/// Samples nearer to each other than this are one, ns: so no frame rate makes the past grow without bounds.
const APART: i64 = 1_000_000;

/// What windows are made by.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Samples in a window.
    pub length: usize,
    /// Samples a second.
    pub rate: f64,
    /// Share of the window that a track must be old, 0..1.
    pub history: f64,
    /// Longest hole that is bridged, ns.
    pub max_gap: i64,
    /// Time after which an unseen track begins anew, ns.
    pub forget: i64,
    /// Speed above which a joint was misread, torso lengths per second; most joints at half of it are a jump.
    pub max_speed: f32,
}

impl Limits {
    /// Time of sample `k` of a window that ends at `now`, ns.
    fn moment(&self, now: i64, k: usize) -> i64 {
        now - ((self.length - 1 - k) as f64 * 1e9 / self.rate).round() as i64
    }
}

/// Why a track was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unjudged {
    /// It is younger than a window.
    Short,
    /// Too little of it is known.
    Unseen,
}

impl Unjudged {
    /// As in the column `unjudged`.
    pub fn name(self) -> &'static str {
        match self {
            Unjudged::Short => "short",
            Unjudged::Unseen => "unseen",
        }
    }
}

/// What became of the rows of a stream so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Windows that a model judged.
    pub judged: u64,
    /// Rows of tracks younger than a window.
    pub short: u64,
    /// Windows of which too little was known.
    pub unseen: u64,
    /// Frames in which a track was on another body all at once.
    pub jumps: u64,
}

/// A stream's tracks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tracks {
    /// Connection of the stream that they were seen in.
    session: u32,
    tracks: BTreeMap<u32, Track>,
    /// Frames until the next judgement.
    wait: u32,
    counts: Counts,
}

/// A track's past as long as a window, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Track {
    samples: VecDeque<Sample>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sample {
    /// Media time, ns.
    pts: i64,
    /// [`MOTION`] values.
    #[serde(with = "unknown")]
    motion: Vec<f32>,
    /// [`INTERACTION`] values; all NaN where there is no other.
    #[serde(with = "unknown")]
    interaction: Vec<f32>,
}

impl Tracks {
    /// Forgets tracks that were not seen for long.
    pub fn forget(&mut self, now: i64, limits: &Limits) {
        let seen = |track: &Track| track.samples.back().map_or(i64::MIN / 2, |sample| sample.pts);
        self.tracks.retain(|_, track| now - seen(track) <= limits.forget);
    }

    /// A connection begins: after a break in the stream nobody is where they were. The same one, after a restart, changes
    /// nothing.
    pub fn begin(&mut self, session: u32) {
        if session != self.session {
            self.session = session;
            self.tracks.clear();
        }
    }

    /// Takes in how a track moves, and how it stands to another.
    pub fn see(&mut self, row: &Motion, other: Option<[f32; INTERACTION]>, now: i64, limits: &Limits) {
        let track = self.tracks.entry(row.track).or_default();
        let motion = match Reading::of(row, limits.max_speed) {
            Reading::Body(motion) => motion,
            Reading::Exchanged => vec![f32::NAN; MOTION],
            Reading::Jump => {
                track.samples.clear();
                self.counts.jumps += 1;
                return;
            }
        };
        // Some sources repeat a stamp: what came later counts.
        track.samples.pop_back_if(|sample| sample.pts > now - APART);
        let interaction = other.unwrap_or([f32::NAN; INTERACTION]).to_vec();
        track.samples.push_back(Sample { pts: now, motion, interaction });
        // One sample from before the window stays: its first moment may lie between two.
        let begin = limits.moment(now, 0);
        while track.samples.get(1).is_some_and(|second| second.pts <= begin) {
            track.samples.pop_front();
        }
    }

    /// True in every `stride`-th frame, the first of them included. To be asked once a frame.
    pub fn due(&mut self, stride: u32) -> bool {
        let due = self.wait == 0;
        self.wait = if due { stride.max(1) } else { self.wait } - 1;
        due
    }

    /// Appends a track's window that ends at `now`: `length` x [`MOTION`], and `length` x [`INTERACTION`] where that is asked
    /// for. What lies before its past is NaN; false, and nothing appended, where that is more than `history` allows.
    pub fn window(
        &self,
        track: u32,
        now: i64,
        limits: &Limits,
        motion: &mut Vec<f32>,
        mut interaction: Option<&mut Vec<f32>>,
    ) -> bool {
        let Some(samples) = self.tracks.get(&track).map(|track| &track.samples) else { return false };
        let missing = ((1.0 - limits.history) * (limits.length - 1) as f64).round() as usize;
        if samples.front().is_none_or(|first| first.pts > limits.moment(now, missing) + ROUNDING) {
            return false;
        }
        let mut next = 0;
        for k in 0..limits.length {
            let moment = limits.moment(now, k);
            while samples.get(next).is_some_and(|sample| sample.pts < moment) {
                next += 1;
            }
            let before = next.checked_sub(1).and_then(|at| samples.get(at));
            let drawn = Drawn::new(moment, before, samples.get(next), limits.max_gap);
            drawn.append(MOTION, |sample| &sample.motion, motion);
            if let Some(interaction) = &mut interaction {
                drawn.append(INTERACTION, |sample| &sample.interaction, interaction);
            }
        }
        true
    }

    /// Counts what became of a row.
    pub fn count(&mut self, unjudged: Option<Unjudged>) {
        let count = match unjudged {
            None => &mut self.counts.judged,
            Some(Unjudged::Short) => &mut self.counts.short,
            Some(Unjudged::Unseen) => &mut self.counts.unseen,
        };
        *count += 1;
    }

    /// What became of the rows so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// A moment of a window and what lies about it.
struct Drawn<'s> {
    /// The samples before and after, and how much the later one weighs; `None` in a hole and at the borders.
    between: Option<(&'s Sample, &'s Sample, f32)>,
    /// A sample that is as good as at the moment.
    at: Option<&'s Sample>,
}

impl<'s> Drawn<'s> {
    fn new(moment: i64, before: Option<&'s Sample>, after: Option<&'s Sample>, max_gap: i64) -> Self {
        let far = |sample: &&Sample| (sample.pts - moment).abs();
        let at = before.into_iter().chain(after).min_by_key(far).filter(|sample| far(sample) <= ROUNDING);
        let between = before.zip(after).filter(|(before, after)| after.pts - before.pts <= max_gap);
        let between = between
            .map(|(before, after)| (before, after, (moment - before.pts) as f32 / (after.pts - before.pts) as f32));
        Self { between, at }
    }

    /// Appends the values of this moment: on the straight line between two samples, else those of a sample at the moment, else
    /// NaN.
    fn append(&self, count: usize, values: impl Fn(&Sample) -> &[f32], to: &mut Vec<f32>) {
        let begin = to.len();
        match self.between {
            Some((before, after, weight)) => {
                let line = values(before).iter().zip(values(after)).map(|(a, b)| a + (b - a) * weight);
                to.extend(line);
            }
            None => to.resize(begin + count, f32::NAN),
        }
        if let Some(at) = self.at {
            for (value, known) in to[begin..].iter_mut().zip(values(at)) {
                if value.is_nan() {
                    *value = *known;
                }
            }
        }
    }
}

/// NaN is written as nothing: not every format of saved state has it.
mod unknown {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[f32], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|value| (!value.is_nan()).then_some(value)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
        let values = Vec::<Option<f32>>::deserialize(from)?;
        Ok(values.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect())
    }
}

#[cfg(test)]
mod tests {
    use sideline_api::tables::JOINTS;

    use super::*;

    const LIMITS: Limits =
        Limits { length: 30, rate: 30.0, history: 1.0, max_gap: 200_000_000, forget: 500_000_000, max_speed: 60.0 };
    const FRAME: f64 = 1e9 / 30.0;

    fn moving(velocity: f32) -> Motion {
        Motion {
            track: 1,
            fighter: String::new(),
            velocity: [[velocity; 3]; JOINTS],
            acceleration: [[-velocity; 3]; JOINTS],
            joint_angles: [f32::NAN; 20],
            velocity_norm: 0.0,
        }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// First value of each moment of a window.
    fn window(tracks: &Tracks, now: i64) -> Option<Vec<f32>> {
        let mut motion = vec![];
        tracks.window(1, now, &LIMITS, &mut motion, None).then(|| motion.iter().step_by(MOTION).copied().collect())
    }

    #[test]
    fn stamps_in_whole_milliseconds_shift_nothing_by_more_and_lose_no_frame_to_its_neighbours_nan() {
        let mut tracks = Tracks::default();
        let mut now = 0;
        for frame in 0..40 {
            now = (f64::from(frame) * FRAME * 1e-6).round() as i64 * 1_000_000;
            let velocity = if frame % 5 == 4 { f32::NAN } else { now as f32 * 1e-9 };
            tracks.see(&moving(velocity), None, now, &LIMITS);
        }
        let drawn = window(&tracks, now).unwrap();
        for (k, value) in drawn.iter().enumerate() {
            let moment = LIMITS.moment(now, k) as f32 * 1e-9;
            if k % 5 == 4 {
                assert!(value.is_nan(), "{k}: {value}");
            } else {
                assert!((value - moment).abs() <= 0.0015, "{k}: {value} at {moment}");
            }
        }
    }

    #[test]
    fn saved_and_read_again_the_windows_are_the_same_to_the_last_bit() {
        let rows = |frame: usize| {
            let mut row = moving((frame as f32 * 0.7).sin());
            row.velocity[frame % JOINTS] = [f32::NAN; 3];
            row
        };
        let run = |saved_at: usize| {
            let (mut tracks, mut all) = (Tracks::default(), vec![]);
            for frame in 0..70 {
                if frame == saved_at {
                    let saved = serde_json::to_string(&tracks).unwrap();
                    tracks = serde_json::from_str(&saved).unwrap();
                }
                let now = (frame as f64 * FRAME) as i64;
                let other = (frame % 3 > 0).then_some([0.1 * frame as f32; INTERACTION]);
                tracks.see(&rows(frame), other, now, &LIMITS);
                let (mut motion, mut interaction) = (vec![], vec![]);
                tracks.window(1, now, &LIMITS, &mut motion, Some(&mut interaction));
                all.push((tracks.due(4), bits(&motion), bits(&interaction)));
            }
            all
        };
        assert_eq!(run(45), run(usize::MAX));
    }

    #[test]
    fn what_is_remembered_is_bounded_by_the_window() {
        let mut tracks = Tracks::default();
        for tick in 0..20_000_i64 {
            // Ten thousand frames a second, and a new track every tenth of one.
            let now = tick * 100_000;
            tracks.forget(now, &LIMITS);
            tracks.see(&Motion { track: 2 + tick as u32 / 1000, ..moving(0.0) }, None, now, &LIMITS);
            tracks.see(&moving(0.0), None, now, &LIMITS);
        }
        let samples = tracks.tracks[&1].samples.len();
        assert!(samples <= 1000, "{samples} samples");
        assert!(tracks.tracks.len() <= 8, "{} tracks", tracks.tracks.len());
    }

    #[test]
    fn a_new_connection_forgets_and_a_restart_does_not() {
        let mut tracks = Tracks::default();
        for frame in 0..40 {
            tracks.begin(0);
            tracks.see(&moving(1.0), None, (f64::from(frame) * FRAME) as i64, &LIMITS);
        }
        let now = (39.0 * FRAME) as i64;
        assert!(window(&tracks, now).is_some());
        tracks.begin(1);
        assert!(window(&tracks, now).is_none());
    }
}
