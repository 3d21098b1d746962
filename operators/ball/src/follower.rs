//! Which candidates are the ball: one trail is sent, rivals gather what speaks for them beside it.
//!
//! All candidates of a frame are weighed. The trail that is sent takes the likeliest within its gate, the others share the
//! rest, and what nobody takes begins a rival. A rival takes over where the trail is lost, or where clearly more speaks
//! for the rival: that is how a false ball is left again. [`Mode`] says how much is to be believed at the moment.

use serde::{Deserialize, Serialize};

use crate::{
    BallConfig, Method,
    corrections::History,
    frames,
    particles::Cloud,
    trail::{Candidate, Trail},
};

/// How sure the ball is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Seen for many looks in a row.
    Normal,
    /// Missed a moment ago, or not seen for long yet: the gate is wider.
    #[default]
    Recovering,
    /// It seemed to jump: for a while nothing far from the last place is taken.
    Chaos,
    /// It lies still.
    Locked,
    /// Missed for too long: it is looked for everywhere.
    Lost,
}

impl Mode {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Normal => "normal",
            Mode::Recovering => "recovering",
            Mode::Chaos => "chaos",
            Mode::Locked => "locked",
            Mode::Lost => "lost",
        }
    }
}

/// Most rivals that are remembered.
const RIVALS: usize = 15;
/// A rival of which less speaks than this is given up.
const GIVEN_UP: f64 = -3.0;
/// How much more must speak for a rival than for the trail that is sent.
const MARGIN: f64 = 6.0;
const CHAOS_MARGIN: f64 = 8.0;
/// The same as long as the trail was seen less often than `SETTLED` since it seemed kicked.
const DOUBTED_MARGIN: f64 = 0.5;
const SETTLED: u32 = 3;
/// A candidate that suits a trail less than this is not taken for its ball; one that suits less than `SURE` may be another's,
/// so that the trail also goes on without it; others that suit nearly as well as the best are tried too.
const LEAST: f64 = -4.0;
const SURE: f64 = 3.0;
const NEARLY: f64 = 2.0;
/// Trails that took the same are one if their velocities differ by less than this, px a frame.
const ALIKE: f64 = 3.0;
/// Looks that must have missed it, whatever the time, before the ball is lost: a detector may look seldom.
const LOST_LOOKS: u32 = 3;
/// Frames in which the search for a lost ball goes from its last place to the middle of the field, and px that it widens by
/// in each.
const SEARCH: f64 = 60.0;
const SEARCH_WIDENS: f64 = 20.0;

/// What there is to know of one frame.
pub struct Look<'a> {
    /// Number of the frame.
    pub frame: u64,
    /// Frames of 1/30 s since the last one.
    pub frames: f64,
    /// What was seen; `None` where nobody looked.
    pub candidates: Option<&'a [Candidate]>,
    /// Width of the picture where it is 1080 high.
    pub width: f64,
    /// Where random numbers come from.
    pub seed: u64,
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Follower {
    /// The trail that is sent.
    pub trail: Option<Trail>,
    /// How sure it is.
    pub mode: Mode,
    /// Confidence of the candidate that was taken in this frame; `None` where none was.
    pub taken: Option<f64>,
    /// What is needed to correct earlier frames.
    pub history: History,
    rivals: Vec<Trail>,
    /// Frames that chaos goes on for.
    chaos: f64,
    /// Where it lay, and frames since it came there.
    rest: [f64; 2],
    rested: f64,
    /// Mean score of candidates.
    usual_score: Option<f64>,
}

impl Follower {
    /// Handles a frame.
    pub fn see(&mut self, look: &Look, config: &BallConfig) {
        let keep = config.remembered();
        self.history.begin(look.frame, look.frames, keep);
        self.chaos = (self.chaos - look.frames).max(0.0);
        self.taken = None;
        for trail in self.trail.iter_mut().chain(&mut self.rivals) {
            trail.predict(look.frames, config, look.seed);
        }
        if let Some(trail) = &mut self.trail {
            hold_inside(trail, look.width);
        }
        if let Some(candidates) = look.candidates {
            self.learn_scores(candidates);
            self.branch(candidates, look, config);
            self.replace(look, config);
        }
        self.settle(look, config);
    }

    fn usual_score(&self) -> f64 {
        self.usual_score.unwrap_or(0.5)
    }

    fn learn_scores(&mut self, candidates: &[Candidate]) {
        for candidate in candidates {
            let usual = self.usual_score.get_or_insert(candidate.score);
            *usual += 0.02 * (candidate.score - *usual);
        }
    }

    /// Every trail goes on in each way that is likely. The likeliest way of the one that is sent stays the one that is sent.
    fn branch(&mut self, candidates: &[Candidate], look: &Look, config: &BallConfig) {
        let (usual, stillness) = (self.usual_score(), self.stillness(config));
        let keep = config.remembered();
        let mut claimed = vec![false; candidates.len()];
        let mut ways = |trail: &Trail, gate: f64, reach: f64, stillness: f64| {
            let last = trail.motion.place();
            let mut fits: Vec<_> = (candidates.iter().enumerate())
                .filter(|(_, candidate)| distance(candidate.place, last) <= reach)
                .filter_map(|(at, candidate)| {
                    let noise = trail.noise(stillness, candidate.radius, config);
                    Some((at, noise, trail.fit(candidate, noise, gate, usual, config)?))
                })
                .filter(|(.., fit)| fit.gain > LEAST)
                .collect();
            fits.sort_by(|a, b| b.2.gain.total_cmp(&a.2.gain));
            let best = fits.first().map_or(f64::NEG_INFINITY, |(.., fit)| fit.gain);
            let mut ways = vec![];
            for (at, noise, fit) in fits.into_iter().take_while(|(.., fit)| fit.gain > best - NEARLY) {
                claimed[at] |= fit.gain > SURE;
                let mut way = trail.clone();
                way.take(&candidates[at], fit, noise, look.frame, keep, look.seed);
                ways.push((way, Some(at)));
            }
            if best < SURE {
                let mut way = trail.clone();
                way.miss();
                ways.push((way, None));
            }
            ways
        };
        let mut all: Vec<(Trail, Option<usize>)> = vec![];
        let mut sent = None;
        if let Some(trail) = self.trail.take() {
            let gate = if self.mode == Mode::Normal { config.gate } else { config.recovering_gate };
            let reach = match self.mode {
                Mode::Chaos => config.chaos_reach,
                Mode::Locked => config.lock_reach,
                _ => f64::INFINITY,
            };
            let mut own = ways(&trail, gate, reach, stillness);
            own.sort_by(|(a, _), (b, _)| b.evidence.total_cmp(&a.evidence));
            let mut own = own.into_iter();
            sent = own.next();
            all.extend(own);
        }
        for rival in std::mem::take(&mut self.rivals) {
            all.extend(ways(&rival, config.recovering_gate, f64::INFINITY, 0.0));
        }
        let begun = candidates.iter().enumerate().filter(|(at, _)| !claimed[*at]);
        all.extend(begun.map(|(at, candidate)| (Trail::new(candidate, look.frame, usual, config), Some(at))));
        all.retain(|(rival, _)| rival.evidence > GIVEN_UP && rival.missing < frames(config.lost_after_s));
        all.sort_by(|(a, _), (b, _)| b.evidence.total_cmp(&a.evidence));
        let mut kept: Vec<(Trail, Option<usize>)> = vec![];
        for way in all {
            if kept.len() < RIVALS && !sent.iter().chain(&kept).any(|other| same(other, &way)) {
                kept.push(way);
            }
        }
        if let Some((trail, taken)) = sent {
            self.taken = taken.map(|at| candidates[at].score);
            self.trail = Some(trail);
        }
        self.rivals = kept
            .into_iter()
            .map(|(mut rival, _)| {
                rival.cloud = None;
                rival
            })
            .collect();
    }

    /// Lets a rival take over where it is to.
    fn replace(&mut self, look: &Look, config: &BallConfig) {
        let proven = |rival: &Trail| rival.seen >= config.confirm_looks && rival.missed == 0;
        let (from, missing) = match &self.trail {
            Some(trail) => (Some(trail.motion.place()), trail.missing),
            None => (None, 0.0),
        };
        let gone = self.trail.as_ref().is_none_or(|trail| lost(trail, config));
        // The search begins at the last place and goes to the middle of the field as it widens.
        let search = |rival: &Trail| {
            let Some(from) = from else { return 0.0 };
            let way = ((missing - frames(config.lost_after_s)) / SEARCH).clamp(0.0, 1.0);
            let middle = [look.width / 2.0, 540.0];
            let centre = [0, 1].map(|axis| from[axis] + way * (middle[axis] - from[axis]));
            let off = distance(rival.motion.place(), centre) / (config.jump + SEARCH_WIDENS * missing);
            -(off * off / 2.0).min(6.0)
        };
        let worth = |rival: &Trail| rival.evidence + if gone { search(rival) } else { 0.0 };
        let best = (0..self.rivals.len()).filter(|at| proven(&self.rivals[*at]));
        let best = best.max_by(|a, b| worth(&self.rivals[*a]).total_cmp(&worth(&self.rivals[*b])));
        let Some(best) = best else { return };
        // In chaos nothing far off is believed at once: more must speak for it.
        let margin = if self.mode == Mode::Chaos { CHAOS_MARGIN } else { MARGIN };
        let (trail, rival) = (self.trail.as_ref(), &self.rivals[best]);
        let better = trail.is_none_or(|trail| {
            let margin = if trail.settled < SETTLED { DOUBTED_MARGIN } else { margin };
            rival.evidence > trail.evidence + margin
        });
        if !(gone && worth(rival) > 0.0 || better) {
            return;
        }
        // Farther from where it was last seen than it can have come since: one of the two was not the ball.
        let far = trail
            .and_then(|trail| trail.hits.back())
            .is_some_and(|last| distance(rival.motion.place(), last.place) > config.jump * missing.max(1.0));
        if far && !gone {
            self.chaos = frames(config.chaos_s);
        }
        let mut rival = self.rivals.swap_remove(best);
        if config.method == Method::Particle {
            rival.cloud = Some(Cloud::around(&rival.motion, config.particles, look.seed));
        }
        self.history.replace(&rival.hits);
        self.taken = rival.hits.back().map(|hit| hit.score);
        if let Some(mut left) = self.trail.replace(rival).filter(|left| !lost(left, config)) {
            left.cloud = None;
            self.rivals.push(left);
        }
    }

    /// How still it lies, 0..1.
    fn stillness(&self, config: &BallConfig) -> f64 {
        (self.rested / frames(config.lock_s).max(1.0)).min(1.0)
    }

    /// What mode the frame ends in.
    fn settle(&mut self, look: &Look, config: &BallConfig) {
        let Some(trail) = &self.trail else { return };
        if let (Some(_), Some(hit)) = (self.taken, trail.hits.back()) {
            self.history.take(hit);
        }
        let place = trail.motion.place();
        if distance(place, self.rest) > config.lock_radius {
            (self.rest, self.rested) = (place, 0.0);
        } else {
            self.rested += look.frames;
        }
        self.mode = match () {
            () if lost(trail, config) => Mode::Lost,
            () if self.chaos > 0.0 => Mode::Chaos,
            () if trail.missing <= frames(config.warn_after_s) && self.rested >= frames(config.lock_s) => Mode::Locked,
            () if trail.missing > 0.0 || trail.streak <= config.normal_after => Mode::Recovering,
            () => Mode::Normal,
        };
    }
}

/// Two ways that are one: they took the same, or nothing at the same place, and go the same way.
fn same(a: &(Trail, Option<usize>), b: &(Trail, Option<usize>)) -> bool {
    a.1 == b.1
        && distance(a.0.motion.place(), b.0.motion.place()) < ALIKE
        && distance(a.0.motion.velocity(), b.0.motion.velocity()) < ALIKE
}

fn lost(trail: &Trail, config: &BallConfig) -> bool {
    trail.missing > frames(config.lost_after_s) && trail.missed >= LOST_LOOKS
}

/// A ball that is foreseen beyond the picture is held at its edge.
fn hold_inside(trail: &mut Trail, width: f64) {
    for (axis, most) in trail.motion.axes.iter_mut().zip([width, 1080.0]) {
        if axis[0] < 0.0 || axis[0] > most {
            *axis = [axis[0].clamp(0.0, most), 0.0, 0.0];
        }
    }
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}
