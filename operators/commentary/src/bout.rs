//! What has happened lately, and what of it is worth a sentence now.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Excitement,
    tables::{Interaction, Move},
};

use crate::{
    CommentaryConfig,
    excitement::of_heat,
    vocabulary::{Occasion, Reach, Vocabulary},
};

/// Frames whose time and reach are remembered: moves are known within a second or two of their peak.
const FRAMES: usize = 256;
/// Moves that are remembered.
const STRIKES: usize = 64;
/// Speeds of strikes that say what is hard in this bout.
const SPEEDS: usize = 32;
/// Strikes that a bout is taken to have begun with, against the key `hard`.
const PRIOR: [f32; 4] = [0.6, 0.8, 0.85, 1.0];
/// A strike within this many torso lengths of the other's trunk or head has landed, as far as one camera tells.
const LANDED: f32 = 0.1;
/// One that stays further away than this was short.
const SHORT: f32 = 0.6;

const SECOND: i64 = 1_000_000_000;
/// A move that was known for longer is old news.
const FRESH: i64 = 12 * SECOND / 10;
/// What the models are not sure of is told where nothing else was for this long.
const UNSURE_AFTER: i64 = 3 * SECOND / 2;
/// Without another strike for this long a combination is over.
const SETTLED: i64 = 45 * SECOND / 100;
/// Strikes that make a flurry.
const FLURRY: usize = 5;
/// Strikes of both within [`EXCHANGE_WITHIN`] that make an exchange.
const EXCHANGE: usize = 4;
const EXCHANGE_WITHIN: i64 = 5 * SECOND / 2;
/// Pace is counted over this time.
const PACE_WITHIN: i64 = 3 * SECOND;

/// A frame that was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    frame: u64,
    pts: i64,
    /// Nearest hand or foot of fighter_1 to the other, and of fighter_2, torso lengths.
    reach: [Option<f32>; 2],
}

/// A move that is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Strike {
    /// Name of the row.
    pub id: String,
    /// Identity of who made it.
    track: u32,
    /// `fighter_1`, `fighter_2` or empty.
    pub fighter: String,
    /// What it was; `None` where the models are not sure.
    pub label: Option<String>,
    /// What moved.
    pub limb: String,
    /// Frame of its peak.
    pub at: u64,
    /// Media time of its peak, ns.
    pts: i64,
    /// Media time when it was known, ns.
    came: i64,
    /// What kind of move it is; of strikes, combinations are made.
    pub kind: String,
    /// How hard, against the hard strikes of this bout: 1 is as hard as those.
    hardness: f32,
    /// 0..1.
    confidence: f32,
    /// Whether it came within reach, where that is known.
    reach: Option<bool>,
    told: bool,
}

impl Strike {
    /// True for what combinations are made of: what the models are not sure of may be no strike at all.
    fn strikes(&self) -> bool {
        self.label.is_some() && Vocabulary::is_strike(&self.kind)
    }

    /// True when both were made by the same one: a name lasts, a track of nobody's name is all that is known.
    fn by_same(&self, other: &Strike) -> bool {
        self.fighter == other.fighter && (!self.fighter.is_empty() || self.track == other.track)
    }
}

/// Something to say.
#[derive(Clone, Debug)]
pub struct Topic {
    /// The newest move that it is about; none where nothing happens.
    pub newest: Option<Strike>,
    /// Labels of the strikes it is about, in their order.
    pub labels: Vec<String>,
    /// How many strikes.
    pub count: usize,
    /// What it is.
    pub what: What,
    /// How exciting it is.
    pub excitement: Excitement,
}

/// What a [`Topic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum What {
    Move,
    Combination,
    Flurry,
    Exchange,
    Quiet,
    Alone,
}

impl Topic {
    /// The occasion in the vocabulary.
    pub fn occasion(&self) -> Occasion<'_> {
        match (self.what, &self.newest) {
            (What::Move, Some(strike)) if strike.label.is_none() => Occasion::Unsure,
            (What::Move, Some(strike)) => {
                let reach = strike.reach.map(|landed| if landed { Reach::Landed } else { Reach::Short });
                Occasion::Move(&strike.kind, reach)
            }
            (What::Combination, _) => Occasion::Combination,
            (What::Flurry, _) => Occasion::Flurry,
            (What::Exchange, _) => Occasion::Exchange,
            (What::Alone, _) => Occasion::Alone,
            (What::Quiet, _) | (_, None) => Occasion::Quiet,
        }
    }

    /// Whom it is about; empty where it is both.
    pub fn fighter(&self) -> &str {
        match (self.what, &self.newest) {
            (What::Exchange | What::Quiet | What::Alone, _) | (_, None) => "",
            (_, Some(strike)) => &strike.fighter,
        }
    }
}

fn side(fighter: &str) -> Option<usize> {
    ["fighter_1", "fighter_2"].iter().position(|known| *known == fighter)
}

/// The last seconds of one stream. Bounded: frames, moves and speeds each have a greatest number.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bout {
    frames: VecDeque<Seen>,
    strikes: VecDeque<Strike>,
    speeds: VecDeque<f32>,
    /// Media time of the last move or the last sentence about nothing, or when both were seen: quiet is counted from here.
    busy: Option<i64>,
    /// Fighters that are known to be there.
    there: [bool; 2],
    /// Media time of the last sentence, ns.
    last: Option<i64>,
}

impl Bout {
    /// A frame came, with what is known of the two and the moves that are known since.
    pub fn see(
        &mut self,
        (frame, pts): (u64, i64),
        pairs: &[Interaction],
        moves: &[Move],
        vocabulary: &Vocabulary,
        config: &CommentaryConfig,
    ) {
        let known = |value: f32| value.is_finite().then_some(value);
        let pair = pairs.iter().find(|pair| !pair.fighter_a.is_empty() && !pair.fighter_b.is_empty());
        let reach = pair.map_or([None; 2], |pair| [known(pair.reach_a), known(pair.reach_b)]);
        if pair.is_some() {
            self.there = [true; 2];
            self.busy.get_or_insert(pts);
        }
        self.frames.push_back(Seen { frame, pts, reach });
        if self.frames.len() > FRAMES {
            self.frames.pop_front();
        }
        let mut moves: Vec<&Move> = moves.iter().collect();
        moves.sort_by_key(|row| row.peak);
        for row in moves {
            let label = (row.label != Move::UNSURE).then(|| row.label.clone());
            if label.is_none() && !config.unsure {
                continue;
            }
            let said = vocabulary.said(label.as_deref().unwrap_or_default());
            if label.is_some() && !said.told {
                continue;
            }
            self.busy = Some(pts);
            if let Some(side) = side(&row.fighter) {
                self.there[side] = true;
            }
            let strike = Strike {
                id: row.id.clone(),
                track: row.track,
                fighter: row.fighter.clone(),
                limb: row.limb.clone(),
                at: row.peak,
                pts: self.time_of(row.peak).unwrap_or(pts),
                came: pts,
                hardness: self.hardness(row.speed, config.hard),
                confidence: if row.confidence.is_finite() { row.confidence.clamp(0.0, 1.0) } else { 0.0 },
                reach: self.reached(&row.fighter, row.start, row.end),
                label,
                kind: said.kind,
                told: false,
            };
            self.strikes.push_back(strike);
            if self.strikes.len() > STRIKES {
                self.strikes.pop_front();
            }
        }
    }

    /// Media time of a frame, where it is remembered: else that of the oldest.
    fn time_of(&self, frame: u64) -> Option<i64> {
        let at = self.frames.partition_point(|seen| seen.frame < frame);
        self.frames.get(at).or(self.frames.back()).map(|seen| seen.pts)
    }

    /// How hard a strike was against the hardest quarter of the last ones; remembers it.
    fn hardness(&mut self, speed: f32, hard: f32) -> f32 {
        let mut known: Vec<f32> = self.speeds.iter().copied().chain(PRIOR.map(|part| part * hard)).collect();
        known.sort_by(f32::total_cmp);
        // Where all are alike none stands out.
        let reference = known[known.len() * 3 / 4].max(1.15 * known[known.len() / 2]);
        if !speed.is_finite() || speed <= 0.0 {
            return 0.5;
        }
        self.speeds.push_back(speed);
        if self.speeds.len() > SPEEDS {
            self.speeds.pop_front();
        }
        (speed / reference).min(2.0)
    }

    /// Whether a fighter's hand or foot reached the other between two frames; `None` where nothing is known or it is close.
    fn reached(&self, fighter: &str, start: u64, end: u64) -> Option<bool> {
        let side = side(fighter)?;
        let within = self.frames.iter().filter(|seen| (start..=end).contains(&seen.frame));
        let nearest = within.filter_map(|seen| seen.reach[side]).reduce(f32::min)?;
        if nearest <= LANDED { Some(true) } else { (nearest >= SHORT).then_some(false) }
    }

    /// The hottest thing that can be told at this time, if there is one.
    pub fn topic(&self, now: i64, config: &CommentaryConfig) -> Option<Topic> {
        let fresh = self.strikes.iter().filter(|strike| !strike.told && now - strike.came <= FRESH);
        let topics = fresh.filter_map(|strike| self.about(strike, now, config));
        // Of two as hot the newer one.
        let hottest = topics.reduce(|best, other| if other.1 >= best.1 { other } else { best });
        hottest.map(|(topic, _)| topic).or_else(|| {
            let quiet = (config.quiet * 1e9) as i64;
            let long = self.busy.is_some_and(|since| now - since >= quiet);
            (quiet > 0 && long).then(|| Topic {
                newest: None,
                labels: vec![],
                count: 0,
                what: if self.both() { What::Quiet } else { What::Alone },
                excitement: Excitement::Low,
            })
        })
    }

    /// What can be told of a move now, with its heat; `None` while it may become part of something larger.
    fn about(&self, strike: &Strike, now: i64, config: &CommentaryConfig) -> Option<(Topic, f32)> {
        let within = |other: &&Strike, time: i64| other.pts <= strike.pts && strike.pts - other.pts <= time;
        let combination = (config.combination * 1e9) as i64;
        let strikes = || self.strikes.iter().filter(|other| other.strikes());
        let chain: Vec<&Strike> = match strike.strikes() {
            true => strikes().filter(|other| other.by_same(strike) && within(other, combination)).collect(),
            false => vec![strike],
        };
        let around: Vec<&Strike> = strikes().filter(|other| within(other, EXCHANGE_WITHIN)).collect();
        let by_him = around.iter().filter(|other| other.by_same(strike)).count();
        let both = by_him >= 2 && around.len() - by_him >= 2 && around.len() >= EXCHANGE;
        // What goes on is told when it is over, or long enough.
        let goes_on = strikes()
            .any(|other| other.by_same(strike) && other.pts > strike.pts && other.pts - strike.pts <= combination);
        let waits = chain.len() > 1 && chain.len() < FLURRY && now - strike.came < SETTLED;
        if strike.strikes() && (goes_on || waits) {
            return None;
        }
        let silent = self.last.is_none_or(|last| now - last >= UNSURE_AFTER);
        if strike.label.is_none() && !silent {
            return None;
        }
        let what = match chain.len() {
            _ if !strike.strikes() => What::Move,
            n if n >= FLURRY => What::Flurry,
            _ if both => What::Exchange,
            n if n >= 2 => What::Combination,
            _ => What::Move,
        };
        let about = if what == What::Exchange { &around } else { &chain };
        let pace = strikes().filter(|other| within(other, PACE_WITHIN)).count();
        let heat = heat(strike, chain.len(), pace);
        let topic = Topic {
            newest: Some(strike.clone()),
            labels: about.iter().filter_map(|other| other.label.clone()).collect(),
            count: about.len(),
            what,
            // What is not certain is not cheered.
            excitement: match strike.label {
                Some(_) => of_heat(heat),
                None => of_heat(heat).min(Excitement::Medium),
            },
        };
        Some((topic, heat))
    }

    /// True when both fighters are known to be there.
    pub fn both(&self) -> bool {
        self.there == [true; 2]
    }

    /// This was said: what it was about is not said again.
    pub fn told(&mut self, topic: &Topic, now: i64) {
        self.last = Some(now);
        let Some(newest) = &topic.newest else {
            self.busy = Some(now);
            return;
        };
        for strike in &mut self.strikes {
            let same = topic.what == What::Exchange || strike.by_same(newest);
            strike.told |= same && strike.pts <= newest.pts;
        }
    }
}

/// How exciting a strike is, with those before it. A strike alone that is as hard as the hard ones, and certain, has 1.
fn heat(strike: &Strike, chain: usize, pace: usize) -> f32 {
    let certain = strike.hardness * (0.5 + 0.5 * strike.confidence);
    let reached = match strike.reach {
        Some(false) => 0.6,
        _ => 1.0,
    };
    let together = 0.12 * chain.saturating_sub(1) as f32 + 0.04 * pace.saturating_sub(chain) as f32;
    certain * reached + together
}
