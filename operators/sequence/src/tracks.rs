//! Motion history of the tracks of a stream, and the windows resampled from it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Interaction, Motion, PredictionStatus};

use crate::{SequenceConfig, model::Classifier, plausibility::MotionCheck};

/// Values of a sample of motion: velocity of the 33 joints by x, y, z, then acceleration in the same order.
pub const MOTION: usize = Motion::FEATURES;
/// Values of a sample of interaction.
pub const INTERACTION: usize = Interaction::FEATURES;

/// Distance in time within which a sample counts as being at a sample time of the window, ns. Containers with
/// millisecond clocks round the times of frames, and the sample times of a window are not on such a grid.
const TIME_TOLERANCE_NS: i64 = 1_500_000;
/// Interval below which the later of two samples replaces the earlier one, ns: so the history stays bounded at any
/// frame rate.
const MIN_SAMPLE_INTERVAL_NS: i64 = 1_000_000;

/// Parameters of the windows.
#[derive(Clone, Copy, Debug)]
pub struct WindowSpec {
    /// Samples per window.
    pub length: usize,
    /// Samples per second.
    pub rate: f64,
    /// Minimum age of a track, as a share of the window, 0 to 1.
    pub history: f64,
    /// Maximum interval between two samples that is interpolated, ns.
    pub max_gap: i64,
    /// Time without a row after which the history of a track is discarded, ns.
    pub max_absence: i64,
    /// Speed above which a joint counts as misread, torso lengths per second; most joints at half of it are a jump.
    pub max_speed: f32,
}

impl WindowSpec {
    /// Creates the parameters of the windows of a model.
    pub fn new(config: &SequenceConfig, classifier: &Classifier) -> Self {
        let ns = |seconds: f64| (seconds * 1e9) as i64;
        Self {
            length: classifier.length(),
            rate: classifier.rate(),
            history: config.history,
            max_gap: ns(config.max_gap),
            max_absence: ns(config.forget),
            max_speed: config.max_speed,
        }
    }

    /// Returns the time of sample `k` of a window that ends at `now`, ns.
    fn sample_time(&self, now: i64, k: usize) -> i64 {
        now - ((self.length - 1 - k) as f64 * 1e9 / self.rate).round() as i64
    }
}

/// Counts of the rows of a stream so far, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Windows with a prediction.
    pub judged: u64,
    /// Rows of tracks younger than a window.
    pub short: u64,
    /// Windows with too few known values.
    pub unseen: u64,
    /// Frames in which a track moved to another body.
    pub jumps: u64,
}

/// Tracks of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tracks {
    /// Connection of the stream in which the tracks were observed.
    session: u32,
    tracks: BTreeMap<u32, Track>,
    /// Frames until the next prediction.
    wait: u32,
    counts: Counts,
}

/// History of a track, one window long, oldest sample first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Track {
    samples: VecDeque<Sample>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sample {
    /// Media time, ns.
    pts: i64,
    /// [`MOTION`] values.
    #[serde(with = "nan_as_none")]
    motion: Vec<f32>,
    /// [`INTERACTION`] values; all NaN if there is no other person.
    #[serde(with = "nan_as_none")]
    interaction: Vec<f32>,
}

impl Tracks {
    /// Removes the tracks without a row for longer than `max_absence`.
    pub fn remove_absent(&mut self, now: i64, spec: &WindowSpec) {
        let last_seen = |track: &Track| track.samples.back().map_or(i64::MIN / 2, |sample| sample.pts);
        self.tracks.retain(|_, track| now - last_seen(track) <= spec.max_absence);
    }

    /// Starts a connection of the stream. A new one removes all tracks, since people have moved in the meantime; the
    /// same one, after a restart, changes nothing.
    pub fn start_session(&mut self, session: u32) {
        if session != self.session {
            self.session = session;
            self.tracks.clear();
        }
    }

    /// Adds the motion of a track at `now`, and its interaction with another person.
    pub fn push(&mut self, row: &Motion, other: Option<[f32; INTERACTION]>, now: i64, spec: &WindowSpec) {
        let track = self.tracks.entry(row.track).or_default();
        let motion = match MotionCheck::new(row, spec.max_speed) {
            MotionCheck::Plausible(motion) => motion,
            MotionCheck::SidesSwapped => vec![f32::NAN; MOTION],
            MotionCheck::Jump => {
                track.samples.clear();
                self.counts.jumps += 1;
                return;
            }
        };
        // Some sources repeat a time stamp: the later sample counts.
        track.samples.pop_back_if(|sample| sample.pts > now - MIN_SAMPLE_INTERVAL_NS);
        let interaction = other.unwrap_or([f32::NAN; INTERACTION]).to_vec();
        track.samples.push_back(Sample { pts: now, motion, interaction });
        // One sample before the window is kept: the first sample time may lie between two samples.
        let begin = spec.sample_time(now, 0);
        while track.samples.get(1).is_some_and(|second| second.pts <= begin) {
            track.samples.pop_front();
        }
    }

    /// True on every `stride`-th frame, starting with the first; must be called once per frame.
    pub fn is_due(&mut self, stride: u32) -> bool {
        let due = self.wait == 0;
        self.wait = if due { stride.max(1) } else { self.wait } - 1;
        due
    }

    /// Appends the window of a track that ends at `now`: `length` x [`MOTION`] values, and `length` x [`INTERACTION`]
    /// values if asked for. Samples before the history of the track are NaN. Returns false, and appends nothing, if
    /// there are more of them than `history` allows.
    pub fn append_window(
        &self,
        track: u32,
        now: i64,
        spec: &WindowSpec,
        motion: &mut Vec<f32>,
        mut interaction: Option<&mut Vec<f32>>,
    ) -> bool {
        let Some(samples) = self.tracks.get(&track).map(|track| &track.samples) else { return false };
        let max_missing = ((1.0 - spec.history) * (spec.length - 1) as f64).round() as usize;
        if samples.front().is_none_or(|first| first.pts > spec.sample_time(now, max_missing) + TIME_TOLERANCE_NS) {
            return false;
        }
        let mut next = 0;
        for k in 0..spec.length {
            let time = spec.sample_time(now, k);
            while samples.get(next).is_some_and(|sample| sample.pts < time) {
                next += 1;
            }
            let before = next.checked_sub(1).and_then(|index| samples.get(index));
            let interpolation = Interpolation::new(time, before, samples.get(next), spec.max_gap);
            interpolation.append(MOTION, |sample| &sample.motion, motion);
            if let Some(interaction) = &mut interaction {
                interpolation.append(INTERACTION, |sample| &sample.interaction, interaction);
            }
        }
        true
    }

    /// Counts the result of a row.
    pub fn count(&mut self, status: PredictionStatus) {
        match status {
            PredictionStatus::Present => self.counts.judged += 1,
            PredictionStatus::Short => self.counts.short += 1,
            PredictionStatus::Unseen => self.counts.unseen += 1,
            PredictionStatus::Unscored => {}
        }
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// Samples around one sample time of a window.
struct Interpolation<'s> {
    /// The samples before and after, and the weight of the later one; `None` in a long gap and at the ends of the
    /// history.
    between: Option<(&'s Sample, &'s Sample, f32)>,
    /// A sample at that time, within the tolerance.
    at: Option<&'s Sample>,
}

impl<'s> Interpolation<'s> {
    fn new(time: i64, before: Option<&'s Sample>, after: Option<&'s Sample>, max_gap: i64) -> Self {
        let distance = |sample: &&Sample| (sample.pts - time).abs();
        let nearest = before.into_iter().chain(after).min_by_key(distance);
        let at = nearest.filter(|sample| distance(sample) <= TIME_TOLERANCE_NS);
        let between = before.zip(after).filter(|(before, after)| after.pts - before.pts <= max_gap);
        let between = between
            .map(|(before, after)| (before, after, (time - before.pts) as f32 / (after.pts - before.pts) as f32));
        Self { between, at }
    }

    /// Appends the values at that time: interpolated linearly between two samples, else those of the sample at that
    /// time, else NaN.
    fn append(&self, count: usize, values: impl Fn(&Sample) -> &[f32], to: &mut Vec<f32>) {
        let begin = to.len();
        match self.between {
            Some((before, after, weight)) => {
                let interpolated = values(before).iter().zip(values(after)).map(|(a, b)| a + (b - a) * weight);
                to.extend(interpolated);
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

/// Serializes NaN as `None`, because not every format of saved state can represent it.
mod nan_as_none {
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
    use sideline_sport::tables::JOINTS;

    use super::*;

    const SPEC: WindowSpec = WindowSpec {
        length: 30,
        rate: 30.0,
        history: 1.0,
        max_gap: 200_000_000,
        max_absence: 500_000_000,
        max_speed: 60.0,
    };
    const FRAME: f64 = 1e9 / 30.0;

    fn moving(velocity: f32) -> Motion {
        Motion {
            track: 1,
            velocity: [[velocity; 3]; JOINTS],
            acceleration: [[-velocity; 3]; JOINTS],
            joint_angles: [f32::NAN; 20],
            ..Motion::default()
        }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Returns the first value of each sample of a window.
    fn window(tracks: &Tracks, now: i64) -> Option<Vec<f32>> {
        let mut motion = vec![];
        tracks.append_window(1, now, &SPEC, &mut motion, None).then(|| motion.iter().step_by(MOTION).copied().collect())
    }

    #[test]
    fn time_stamps_in_milliseconds_shift_samples_by_no_more_than_the_rounding() {
        let mut tracks = Tracks::default();
        let mut now = 0;
        for frame in 0..40 {
            now = (f64::from(frame) * FRAME * 1e-6).round() as i64 * 1_000_000;
            let velocity = if frame % 5 == 4 { f32::NAN } else { now as f32 * 1e-9 };
            tracks.push(&moving(velocity), None, now, &SPEC);
        }
        let resampled = window(&tracks, now).unwrap();
        for (k, value) in resampled.iter().enumerate() {
            let time = SPEC.sample_time(now, k) as f32 * 1e-9;
            if k % 5 == 4 {
                assert!(value.is_nan(), "{k}: {value}");
            } else {
                assert!((value - time).abs() <= 0.0015, "{k}: {value} at {time}");
            }
        }
    }

    #[test]
    fn a_restored_state_gives_bit_identical_windows() {
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
                tracks.push(&rows(frame), other, now, &SPEC);
                let (mut motion, mut interaction) = (vec![], vec![]);
                tracks.append_window(1, now, &SPEC, &mut motion, Some(&mut interaction));
                all.push((tracks.is_due(4), bits(&motion), bits(&interaction)));
            }
            all
        };
        assert_eq!(run(45), run(usize::MAX));
    }

    #[test]
    fn the_history_is_bounded_by_the_window() {
        let mut tracks = Tracks::default();
        for tick in 0..20_000_i64 {
            // Ten thousand frames per second, and a new track every tenth of a second.
            let now = tick * 100_000;
            tracks.remove_absent(now, &SPEC);
            tracks.push(&Motion { track: 2 + tick as u32 / 1000, ..moving(0.0) }, None, now, &SPEC);
            tracks.push(&moving(0.0), None, now, &SPEC);
        }
        let samples = tracks.tracks[&1].samples.len();
        assert!(samples <= 1000, "{samples} samples");
        assert!(tracks.tracks.len() <= 8, "{} tracks", tracks.tracks.len());
    }

    #[test]
    fn a_new_connection_removes_tracks_and_a_restart_does_not() {
        let mut tracks = Tracks::default();
        for frame in 0..40 {
            tracks.start_session(0);
            tracks.push(&moving(1.0), None, (f64::from(frame) * FRAME) as i64, &SPEC);
        }
        let now = (39.0 * FRAME) as i64;
        assert!(window(&tracks, now).is_some());
        tracks.start_session(1);
        assert!(window(&tracks, now).is_none());
    }
}
