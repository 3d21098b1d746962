//! One fighter: what was judged of them lately, how their limbs burst, and the moves that follow.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_api::tables::{Motion, Move};
use uuid::Uuid;

use crate::{
    FusionConfig,
    average::{Fused, Trust, zone},
    bursts::{Burst, Chain, Fate, Moment, Watch},
    strikes::{Strike, apart, outwards, with_limb},
    weights::{Limb, Weights},
};

/// Seconds of opinions and bursts that are kept: a limb that stays out, and a window's focus.
const MEMORY: f64 = 4.0;
/// Windows as near as this to the one that judges a move best are asked too, s.
const SPREAD: f64 = 0.07;
/// Where there are none, the nearest within this is asked, s.
const FURTHEST: f64 = 0.25;
/// At the end of a stream, where the right windows do not come, s.
const LAST: f64 = 0.4;
/// Longest that a move waits for its burst to end, s after the windows that judge it.
const WAIT: f64 = 0.4;

/// What was judged of a fighter in one frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Judged {
    pts: i64,
    fused: Fused,
    /// Distance from the other, as a zone.
    zone: usize,
}

/// See the [module](self).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fighter {
    /// `fighter_1`, `fighter_2` or empty.
    pub name: String,
    /// When the fighter was last seen.
    pub seen: Moment,
    /// How far the models are trusted about this fighter.
    pub trust: Trust,
    judged: VecDeque<Judged>,
    watches: [Watch; Chain::ALL.len()],
    /// Bursts that are over, by the time of their end.
    bursts: VecDeque<Burst>,
}

/// What is given with each frame.
pub struct Frame<'a> {
    /// Which.
    pub at: Moment,
    /// Name of the stream and number of its session: part of a move's name.
    pub stream: (&'a str, u32),
    /// What the models are.
    pub weights: &'a Weights,
    /// How all is set.
    pub config: &'a FusionConfig,
}

impl Fighter {
    /// Takes in a frame: its motion, the models' opinions, and the distance from the other (NaN where not known). What was
    /// made of the opinions, if there were any.
    pub fn see(
        &mut self,
        frame: &Frame,
        motion: &Motion,
        opinions: &[(usize, Vec<f64>)],
        distance: f32,
    ) -> Option<Fused> {
        let (at, weights, config) = (frame.at, frame.weights, frame.config);
        if !motion.fighter.is_empty() {
            self.name.clone_from(&motion.fighter);
        }
        let step = if self.seen == Moment::default() { 0.0 } else { at.since(self.seen) };
        self.seen = at;
        let limits = config.limits();
        for (chain, watch) in Chain::ALL.into_iter().zip(&mut self.watches) {
            self.bursts.extend(watch.see(chain, motion, at, step as f32, &limits));
        }
        self.trust.agree(weights, opinions, step, config.memory);
        let zone = zone(distance);
        let fused = self.trust.fuse(weights, opinions, if config.context { zone } else { usize::MAX })?;
        self.judged.push_back(Judged { pts: at.pts, fused: fused.clone(), zone });
        Some(fused)
    }

    /// The fighter is gone, or the stream is over: what their limbs were about to do has ended.
    pub fn stop(&mut self) {
        let ended = self.watches.iter_mut().filter_map(Watch::end);
        self.bursts.extend(ended);
    }

    /// The moves that are known by now, by their peaks. At the `last` frame of a fighter nothing is waited for.
    pub fn moves(&mut self, track: u32, frame: &Frame, last: bool) -> Vec<Move> {
        let now = frame.at;
        let due = |burst: &Burst| {
            let late = (now.pts - burst.peak.pts - frame.weights.focus) as f64 * 1e-9 - SPREAD;
            burst.fate == Fate::Open && (last || (late >= 0.0 && (burst.over || late > WAIT)))
        };
        self.forget(now);
        let current = || self.watches.iter().filter_map(Watch::current);
        if !self.bursts.iter().chain(current()).any(due) {
            return vec![];
        }
        // What is still under way takes part in the comparison, with what is known of it.
        let mut all: Vec<Burst> = self.bursts.iter().cloned().collect();
        all.extend(self.watches.iter().filter_map(|watch| watch.current().cloned()));
        all.sort_by_key(|burst| (burst.peak.pts, burst.chain as usize));
        let strikes = self.strikes(&all, frame, last);
        let mut rows = vec![];
        for (i, burst) in all.iter().enumerate() {
            if !due(burst) {
                continue;
            }
            let row = strikes[i].as_ref().map(|strike| self.row(burst, strike, frame, track));
            let fate = if row.is_some() { Fate::Move } else { Fate::Nothing };
            rows.extend(row);
            self.decide(burst, fate);
        }
        rows
    }

    /// Lets go of what no comparison needs again.
    fn forget(&mut self, now: Moment) {
        let old = |pts: i64| (now.pts - pts) as f64 * 1e-9 > MEMORY;
        self.bursts.retain(|burst| !old(burst.end.pts));
        while self.judged.front().is_some_and(|judged| old(judged.pts)) {
            self.judged.pop_front();
        }
    }

    /// Writes down what became of a burst.
    fn decide(&mut self, burst: &Burst, fate: Fate) {
        let same = |other: &&mut Burst| other.chain == burst.chain && other.start == burst.start;
        if let Some(found) = self.bursts.iter_mut().find(same) {
            found.fate = fate;
            return;
        }
        self.watches.iter_mut().for_each(|watch| watch.settle(burst, fate));
    }

    /// For each burst the strike that it is, if it is one of its own.
    fn strikes(&self, all: &[Burst], frame: &Frame, last: bool) -> Vec<Option<Strike>> {
        let mut strikes =
            outwards(all, |chain| frame.config.limits().least(chain), frame.config.refractory, frame.config.travel);
        for (burst, slot) in all.iter().zip(&mut strikes) {
            let Some(strike) = slot else { continue };
            let Some(mut fused) = self.judged_at(burst.peak.pts + frame.weights.focus, last) else { continue };
            let (p, share, is_move) = with_limb(burst.chain, &fused.probabilities, frame.weights);
            strike.judged = std::mem::replace(&mut fused.probabilities, p);
            // What windows that end too early say of a burst is enough to see that two are one, not what they are.
            let known = (frame.at.pts - burst.peak.pts - frame.weights.focus) as f64 * 1e-9;
            if last || known >= SPREAD {
                let p = &fused.probabilities;
                let best = best(p, frame.weights);
                strike.limb = limb(burst, (p[best] >= 0.5).then_some(best), frame.weights);
                if let Some(part) = burst.chain.limbs().iter().position(|limb| *limb == strike.limb) {
                    (strike.speed, strike.peak) = burst.fastest(part);
                    strike.strength = f64::from(strike.speed / frame.config.limits().least(burst.chain));
                }
                // The rest of an arm may be fast while what the label is about is not.
                let is_move = is_move && strike.strength >= 1.0;
                // Where the models are sure of a move that this limb cannot have made, it goes with that one.
                let gate = frame.config.gate.unwrap_or(frame.weights.gate);
                let anothers = strike.judged[self::best(&strike.judged, frame.weights)] >= gate && p[best] < gate;
                let is_move = is_move && !anothers;
                strike.strength *= share;
                strike.fused = Some(fused);
                if !is_move && burst.fate != Fate::Move {
                    *slot = None;
                }
            }
        }
        apart(all, &mut strikes, frame.weights);
        strikes
    }

    /// What was judged about a moment: the mean of the windows around, else the nearest.
    fn judged_at(&self, pts: i64, last: bool) -> Option<Fused> {
        let off = |judged: &Judged| (judged.pts - pts).abs() as f64 * 1e-9;
        let near: Vec<&Fused> = self.judged.iter().filter(|j| off(j) <= SPREAD).map(|j| &j.fused).collect();
        if near.is_empty() {
            let nearest = self.judged.iter().min_by(|a, b| off(a).total_cmp(&off(b)))?;
            let furthest = if last { LAST } else { FURTHEST };
            return (off(nearest) <= furthest).then(|| nearest.fused.clone());
        }
        let mean = |of: fn(&Fused) -> &Vec<f64>| -> Vec<f64> {
            let count = near.len() as f64;
            (0..of(near[0]).len()).map(|i| near.iter().map(|fused| of(fused)[i]).sum::<f64>() / count).collect()
        };
        Some(Fused { probabilities: mean(|f| &f.probabilities), weights: mean(|f| &f.weights) })
    }

    /// The row of a move.
    fn row(&mut self, burst: &Burst, strike: &Strike, frame: &Frame, track: u32) -> Move {
        let weights = frame.weights;
        let count = weights.labels.len();
        let (p, shares) = match &strike.fused {
            Some(fused) => (fused.probabilities.clone(), fused.weights.clone()),
            None => (vec![1.0 / count as f64; count], vec![]),
        };
        let best = best(&p, weights);
        let gate = frame.config.gate.unwrap_or(weights.gate);
        let sure = strike.fused.is_some() && p[best] >= gate;
        let (peak, speed) = (strike.peak, strike.speed);
        // A first move may peak before the first opinion: nobody knows at what distance.
        let then = self.judged.iter().rfind(|judged| judged.pts <= peak.pts).map(|judged| judged.zone);
        if let Some(zone) = then.filter(|_| sure) {
            self.trust.learn(weights, &p, zone);
        }
        let asked: Vec<usize> = (0..shares.len()).filter(|model| self.trust.asked[*model]).collect();
        Move {
            id: id(frame.stream, track, peak, speed),
            track,
            fighter: self.name.clone(),
            label: if sure { weights.labels[best].clone() } else { Move::UNSURE.into() },
            start: strike.start.frame.min(peak.frame),
            peak: peak.frame,
            end: strike.end.frame.max(peak.frame),
            limb: burst.chain.name(strike.limb),
            confidence: p[best] as f32,
            speed,
            labels: weights.text.clone(),
            probabilities: p.iter().map(|p| *p as f32).collect(),
            models: asked.iter().map(|model| weights.models[*model].as_str()).collect::<Vec<_>>().join(" "),
            weights: asked.iter().map(|model| shares[*model] as f32).collect(),
        }
    }
}

/// The most likely label that is a move.
fn best(p: &[f64], weights: &Weights) -> usize {
    let moves = (0..p.len()).filter(|label| *label != weights.idle);
    moves.max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap_or(weights.idle)
}

/// The part of a chain that made a move: one that goes with its label, else the faster.
fn limb(burst: &Burst, label: Option<usize>, weights: &Weights) -> Limb {
    let limbs = burst.chain.limbs();
    let fitting = limbs.iter().copied().find(|limb| label.is_some_and(|label| weights.fits(label, *limb)));
    let faster = if burst.fastest(1).0 > burst.fastest(0).0 { limbs.last() } else { limbs.first() };
    fitting.or(faster.copied()).unwrap_or(Limb::Hand)
}

/// The name of a move: of version 5 (RFC 9562), so the same in every run over the same recording. Time and speed of the
/// peak are part of it, so that recordings whose streams have one name do not share names of moves.
fn id((stream, session): (&str, u32), track: u32, peak: Moment, speed: f32) -> String {
    let what = format!("sideline move {stream} {session} {track} {} {} {:08x}", peak.frame, peak.pts, speed.to_bits());
    Uuid::new_v5(&Uuid::NAMESPACE_OID, what.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use sideline_api::{Config, Values, serde_json, tables::JOINTS};

    use super::*;

    fn weights() -> Weights {
        Weights::read(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/moves/fusion.yml")))
            .unwrap()
    }

    /// Hands that strike in turn, twice a second, and models that say `jab` and know that it was.
    fn see(fighter: &mut Fighter, frame: u64, weights: &Weights, config: &FusionConfig) -> Vec<Move> {
        let mut velocity = [[0.0; 3]; JOINTS];
        let speed = match frame % 15 {
            phase @ 2..=6 => 14.0 - 4.0 * (phase as f32 - 4.0).abs(),
            phase @ 8..=13 => -8.0 + 2.0 * (phase as f32 - 10.0).abs(),
            _ => 0.0,
        };
        for joint in [15, 17, 19, 21] {
            velocity[joint + (frame / 15 % 2) as usize] = [0.0, 0.0, -speed];
        }
        let (name, angles) = ("fighter_1".to_owned(), [0.0; 20]);
        let acceleration = [[0.0; 3]; JOINTS];
        let motion =
            Motion { track: 1, fighter: name, velocity, acceleration, joint_angles: angles, velocity_norm: 0.0 };
        let at = Moment { frame, pts: frame as i64 * 33_333_333 };
        let frame = Frame { at, stream: ("test", 0), weights, config };
        let mut jab = vec![0.01; weights.labels.len()];
        let label = weights.labels.iter().position(|label| label == "jab").unwrap();
        jab[label] = 1.01 - 0.01 * jab.len() as f64;
        let opinions: Vec<_> = (0..weights.models.len()).map(|model| (model, jab.clone())).collect();
        fighter.see(&frame, &motion, &opinions, 2.0);
        fighter.moves(1, &frame, false)
    }

    #[test]
    fn a_fighter_restored_from_a_snapshot_goes_on_as_before() {
        let (weights, config) = (weights(), FusionConfig::from_values(&Values::new()).unwrap());
        // In the middle of a strike, with others pending.
        for cut in [150, 154, 157, 161] {
            let mut fighter = Fighter::default();
            let mut restored = None;
            let mut rows = [vec![], vec![]];
            for frame in 0..400 {
                if frame == cut {
                    let text = serde_json::to_string(&fighter).unwrap();
                    restored = Some(serde_json::from_str::<Fighter>(&text).unwrap());
                }
                let row = see(&mut fighter, frame, &weights, &config);
                if let Some(restored) = &mut restored {
                    rows[0].extend(row);
                    rows[1].extend(see(restored, frame, &weights, &config));
                }
            }
            let [one, other] = rows;
            assert!(one.len() > 10 && one.iter().all(|row| row.label == "jab"), "{one:?}");
            assert_eq!(one, other);
        }
    }

    #[test]
    fn what_is_remembered_does_not_grow() {
        let (weights, config) = (weights(), FusionConfig::from_values(&Values::new()).unwrap());
        let mut fighter = Fighter::default();
        let mut sizes = vec![];
        for frame in 0..3_000 {
            see(&mut fighter, frame, &weights, &config);
            sizes.push((fighter.judged.len(), fighter.bursts.len()));
        }
        let most = |sizes: &[(usize, usize)]| sizes.iter().copied().fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        assert_eq!(most(&sizes[300..1_000]), most(&sizes[2_000..]));
    }
}
