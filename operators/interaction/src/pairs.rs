//! What is remembered of the people of a stream and of each two of them, and the rows that follow.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use sideline_api::{
    body::{Scale, torso},
    fit::weights,
    tables::{Interaction, Pose},
};

use crate::{InteractionConfig, figure::Figure};

/// Samples that a fit never goes without, where they are there: a quadratic has three coefficients.
const LEAST: usize = 3;
/// Who is nearer than this across the picture has no direction, torso lengths: one stands behind the other.
const NO_DIRECTION: f64 = 0.25;

/// A stream's people and pairs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pairs {
    people: BTreeMap<u32, Person>,
    pairs: Vec<Pair>,
    /// Both fighters have been seen together: from then on they are the only pair.
    named: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Person {
    scale: Scale,
    seen: i64,
}

/// Two tracks' distances of the window, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pair {
    tracks: (u32, u32),
    /// Media time (ns) and distance (frame heights).
    samples: VecDeque<(i64, f64)>,
}

/// A person of the frame in hand.
struct Seen<'a> {
    pose: &'a Pose,
    figure: Figure,
    /// Torso length, frame heights.
    torso: f64,
}

impl Pairs {
    /// Takes in the people of a frame; `now` is media time in nanoseconds. Rows are in the order of their tracks.
    pub fn see(&mut self, poses: &[Pose], now: i64, config: &InteractionConfig) -> Vec<Interaction> {
        let max_gap = (config.max_gap * 1e9) as i64;
        self.people.retain(|_, person| now - person.seen <= max_gap);
        self.pairs.retain(|pair| pair.samples.back().is_some_and(|(pts, _)| now - pts <= max_gap));
        let mut seen: Vec<Seen> = Vec::new();
        for pose in poses.iter().filter(|pose| pose.track > 0) {
            // Two poses of one track in a frame: the first counts.
            if seen.iter().all(|other| other.pose.track != pose.track) {
                let figure = Figure::of(pose, config.visibility);
                let person = self.people.entry(pose.track).or_default();
                person.seen = now;
                seen.push(Seen { pose, torso: person.scale.see(torso(figure.joints()), now), figure });
            }
        }
        seen.sort_by_key(|person| (person.pose.fighter != "fighter_1", person.pose.track));
        let fighters = |a: &Seen, b: &Seen| a.pose.fighter == "fighter_1" && b.pose.fighter == "fighter_2";
        let mut rows: Vec<Interaction> = Vec::new();
        for (i, a) in seen.iter().enumerate() {
            for b in &seen[i + 1..] {
                let both = fighters(a, b);
                if both && !self.named {
                    self.named = true;
                    rows.clear();
                }
                if both || !self.named {
                    rows.push(self.row(a, b, now, config));
                }
            }
        }
        if !self.named {
            // A pair whose distance is not known comes last.
            rows.sort_by(|one, other| one.distance.total_cmp(&other.distance));
            rows.truncate(config.max_pairs);
            rows.sort_by_key(|row| (row.track_a, row.track_b));
        }
        rows
    }

    fn row(&mut self, a: &Seen, b: &Seen, now: i64, config: &InteractionConfig) -> Interaction {
        let torso = (a.torso + b.torso) / 2.0;
        let ([x1, y1], [x2, y2]) = (a.figure.hips(), b.figure.hips());
        let distance = (x1 - x2).hypot(y1 - y2);
        let tracks = (a.pose.track.min(b.pose.track), a.pose.track.max(b.pose.track));
        let approach = self.approach(tracks, distance, now, config);
        let facing = |one: &Seen, other: &Seen| one.figure.facing(other.figure.hips(), NO_DIRECTION * torso) as f32;
        Interaction {
            track_a: a.pose.track,
            fighter_a: a.pose.fighter.clone(),
            track_b: b.pose.track,
            fighter_b: b.pose.fighter.clone(),
            distance: (distance / torso) as f32,
            closing_speed: (approach / torso) as f32,
            facing_a: facing(a, b),
            facing_b: facing(b, a),
            reach_a: (a.figure.reach(&b.figure) / torso) as f32,
            reach_b: (b.figure.reach(&a.figure) / torso) as f32,
        }
    }

    /// How fast the distance of two shrinks, frame heights per second; NaN with fewer than two samples.
    fn approach(&mut self, tracks: (u32, u32), distance: f64, now: i64, config: &InteractionConfig) -> f64 {
        if !distance.is_finite() {
            // What follows a frame without hips begins anew, as everywhere.
            self.pairs.retain(|pair| pair.tracks != tracks);
            return f64::NAN;
        }
        let at = self.pairs.iter().position(|pair| pair.tracks == tracks).unwrap_or_else(|| {
            self.pairs.push(Pair { tracks, samples: VecDeque::new() });
            self.pairs.len() - 1
        });
        let samples = &mut self.pairs[at].samples;
        // Some sources repeat a stamp: the later distance counts, a fit cannot tell them apart.
        samples.pop_back_if(|(pts, _)| *pts >= now);
        // Half a millisecond of tolerance for rounded times.
        let begin = now - (config.window * 1e9) as i64 - 500_000;
        while samples.len() >= LEAST && samples[0].0 < begin {
            samples.pop_front();
        }
        samples.push_back((now, distance));
        if samples.len() < 2 {
            return f64::NAN;
        }
        let times: Vec<f64> = samples.iter().map(|(pts, _)| (pts - now) as f64 * 1e-9).collect();
        -weights(&times).velocity.iter().zip(samples.iter()).map(|(weight, (_, value))| weight * value).sum::<f64>()
    }
}
