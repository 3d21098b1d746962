//! History of the people and pairs of a stream, and the rows computed from it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use sideline_sport::{
    FighterNames,
    body::{TorsoScale, torso_length},
    tables::{Fighter, Interaction, Pose},
};
use sideline_vision::savitzky_golay::derivative_weights;

use crate::{InteractionConfig, figure::Figure};

/// Samples kept for a fit even if they are older than the window: a quadratic has three coefficients.
const MIN_FIT_SAMPLES: usize = 3;
/// Distance across the picture, torso lengths, below which the direction between two people is undefined: one stands
/// behind the other.
const MIN_DIRECTION_DISTANCE: f64 = 0.25;

/// State of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InteractionState {
    people: BTreeMap<u32, Person>,
    pairs: Vec<Pair>,
    /// Both fighters have been visible together: from then on they are the only pair.
    has_fighters: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Person {
    scale: TorsoScale,
    /// Media time of the last pose, ns.
    last_seen: i64,
}

/// Distances of two tracks within the window, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pair {
    tracks: (u32, u32),
    /// Media time (ns) and distance (frame heights).
    samples: VecDeque<(i64, f64)>,
}

/// Person with a pose in the current frame.
struct VisiblePerson<'a> {
    pose: &'a Pose,
    fighter: Fighter,
    figure: Figure,
    /// Torso length, frame heights.
    torso: f64,
}

impl InteractionState {
    /// Updates the state with the poses of a frame at media time `now` (ns) and the names of the fighters. Returns a row per
    /// pair, in the order of the tracks.
    pub fn update(
        &mut self,
        poses: &[Pose],
        names: &FighterNames,
        now: i64,
        config: &InteractionConfig,
    ) -> Vec<Interaction> {
        let max_gap = (config.max_gap * 1e9) as i64;
        self.people.retain(|_, person| now - person.last_seen <= max_gap);
        self.pairs.retain(|pair| pair.samples.back().is_some_and(|(pts, _)| now - pts <= max_gap));
        let mut visible: Vec<VisiblePerson> = Vec::new();
        for pose in poses.iter().filter(|pose| pose.track > 0) {
            // Of two poses of one track in a frame the first counts.
            if visible.iter().all(|other| other.pose.track != pose.track) {
                let figure = Figure::from_pose(pose, config.visibility);
                let person = self.people.entry(pose.track).or_default();
                person.last_seen = now;
                let torso = person.scale.update(torso_length(figure.joints()), now);
                visible.push(VisiblePerson { pose, fighter: names.fighter_of(pose.track), torso, figure });
            }
        }
        visible.sort_by_key(|person| (person.fighter != Fighter::One, person.pose.track));
        let are_fighters =
            |a: &VisiblePerson, b: &VisiblePerson| a.fighter == Fighter::One && b.fighter == Fighter::Two;
        let mut rows: Vec<Interaction> = Vec::new();
        for (i, a) in visible.iter().enumerate() {
            for b in &visible[i + 1..] {
                let are_fighters = are_fighters(a, b);
                if are_fighters && !self.has_fighters {
                    self.has_fighters = true;
                    rows.clear();
                }
                if are_fighters || !self.has_fighters {
                    rows.push(self.row(a, b, now, config));
                }
            }
        }
        if !self.has_fighters {
            // A NaN distance sorts last.
            rows.sort_by(|one, other| one.distance.total_cmp(&other.distance));
            rows.truncate(config.max_pairs);
            rows.sort_by_key(|row| (row.track_a, row.track_b));
        }
        rows
    }

    fn row(&mut self, a: &VisiblePerson, b: &VisiblePerson, now: i64, config: &InteractionConfig) -> Interaction {
        let torso = (a.torso + b.torso) / 2.0;
        let ([x1, y1], [x2, y2]) = (a.figure.hips(), b.figure.hips());
        let distance = (x1 - x2).hypot(y1 - y2);
        let tracks = (a.pose.track.min(b.pose.track), a.pose.track.max(b.pose.track));
        let closing_speed = self.closing_speed(tracks, distance, now, config);
        let facing = |one: &VisiblePerson, other: &VisiblePerson| {
            one.figure.facing(other.figure.hips(), MIN_DIRECTION_DISTANCE * torso) as f32
        };
        Interaction {
            track_a: a.pose.track,
            fighter_a: a.fighter,
            track_b: b.pose.track,
            fighter_b: b.fighter,
            distance: (distance / torso) as f32,
            closing_speed: (closing_speed / torso) as f32,
            facing_a: facing(a, b),
            facing_b: facing(b, a),
            reach_a: (a.figure.reach(&b.figure) / torso) as f32,
            reach_b: (b.figure.reach(&a.figure) / torso) as f32,
        }
    }

    /// Returns the rate at which the distance of two tracks shrinks, frame heights per second; NaN with fewer than two
    /// samples.
    fn closing_speed(&mut self, tracks: (u32, u32), distance: f64, now: i64, config: &InteractionConfig) -> f64 {
        if !distance.is_finite() {
            // A frame without hips ends the history of the pair.
            self.pairs.retain(|pair| pair.tracks != tracks);
            return f64::NAN;
        }
        let at = self.pairs.iter().position(|pair| pair.tracks == tracks).unwrap_or_else(|| {
            self.pairs.push(Pair { tracks, samples: VecDeque::new() });
            self.pairs.len() - 1
        });
        let samples = &mut self.pairs[at].samples;
        // Some sources repeat a time stamp. The later distance counts, because a fit cannot use both.
        samples.pop_back_if(|(pts, _)| *pts >= now);
        // A tolerance of half a millisecond for rounded times.
        let begin = now - (config.window * 1e9) as i64 - 500_000;
        while samples.len() >= MIN_FIT_SAMPLES && samples[0].0 < begin {
            samples.pop_front();
        }
        samples.push_back((now, distance));
        if samples.len() < 2 {
            return f64::NAN;
        }
        let times: Vec<f64> = samples.iter().map(|(pts, _)| (pts - now) as f64 * 1e-9).collect();
        let weights = derivative_weights(&times).velocity;
        -weights.iter().zip(samples.iter()).map(|(weight, (_, value))| weight * value).sum::<f64>()
    }
}
