//! Recent events of a bout, and the selection of the topic for the next sentence.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_sport::{
    Excitement,
    tables::{Fighter, Interaction, Move},
};

use crate::{
    CommentaryConfig,
    excitement::level_for_score,
    vocabulary::{Occasion, Reach, Vocabulary},
};

/// Maximum number of frames kept with their times and reach: a move arrives within a second or two of its peak.
const MAX_FRAMES: usize = 256;
/// Maximum number of moves kept.
const MAX_STRIKES: usize = 64;
/// Number of recent strikes whose speeds define a hard strike in this bout.
const MAX_SPEEDS: usize = 32;
/// Prior speeds, as multiples of the key `hard`, that count as strikes at the start of a bout.
const PRIOR_SPEEDS: [f32; 4] = [0.6, 0.8, 0.85, 1.0];
/// Distance from the other's trunk or head up to which a strike counts as landed, torso lengths; one camera cannot tell
/// more precisely.
const MAX_LANDED_REACH: f32 = 0.1;
/// Distance from which a strike counts as short, torso lengths.
const MIN_SHORT_REACH: f32 = 0.6;

const SECOND: i64 = 1_000_000_000;
/// Time after a move became known, beyond which it is not reported any more, ns.
const MAX_REPORT_DELAY: i64 = 12 * SECOND / 10;
/// Time without a sentence after which an `unsure` move is reported, ns.
const UNSURE_AFTER: i64 = 3 * SECOND / 2;
/// Time without another strike after which a combination is complete, ns.
const COMBINATION_SETTLES_AFTER: i64 = 45 * SECOND / 100;
/// Number of strikes of a flurry.
const FLURRY_STRIKES: usize = 5;
/// Number of strikes of an exchange, at least two of each fighter.
const EXCHANGE_STRIKES: usize = 4;
/// Maximum duration of an exchange, ns.
const EXCHANGE_DURATION: i64 = 5 * SECOND / 2;
/// Time over which the pace of strikes is counted, ns.
const PACE_DURATION: i64 = 3 * SECOND;

/// Record of one frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct FrameRecord {
    frame: u64,
    pts: i64,
    /// Reach of fighter_1 to the other, and of fighter_2, torso lengths.
    reach: [Option<f32>; 2],
}

/// Record of a move.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Strike {
    /// Id of the move.
    pub id: String,
    /// Track of the person who made it.
    track: u32,
    /// Fighter who made it.
    pub fighter: Fighter,
    /// Label; `None` for an `unsure` move.
    pub label: Option<String>,
    /// Limb that moved.
    pub limb: String,
    /// Frame of the peak.
    pub peak: u64,
    /// Media time of the peak, ns.
    pts: i64,
    /// Media time at which the move arrived, ns.
    arrived: i64,
    /// Kind of the move in the vocabulary; combinations are made of the kind `strike`.
    pub kind: String,
    /// Speed relative to the hard strikes of this bout; 1 is as hard as those.
    hardness: f32,
    /// Confidence of the label, 0 to 1.
    confidence: f32,
    /// True if it came within reach of the other, false if it fell short, `None` if unknown.
    has_landed: Option<bool>,
    is_reported: bool,
}

impl Strike {
    /// True if combinations can contain it. An `unsure` move cannot, because it may be no strike at all.
    fn can_combine(&self) -> bool {
        self.label.is_some() && Vocabulary::is_strike(&self.kind)
    }

    /// True if the same person made both: compared by name, or by track for people without a name.
    fn is_by_same(&self, other: &Strike) -> bool {
        self.fighter == other.fighter && (self.fighter != Fighter::None || self.track == other.track)
    }
}

/// Topic of a sentence.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Newest move of the topic; `None` for a quiet spell.
    pub newest: Option<Strike>,
    /// Labels of its strikes, in order.
    pub labels: Vec<String>,
    /// Number of its strikes.
    pub count: usize,
    /// Kind of the topic.
    pub kind: TopicKind,
    /// Level of excitement.
    pub excitement: Excitement,
}

/// Kind of a [`Topic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKind {
    /// Single move.
    Move,
    /// Several strikes of one fighter.
    Combination,
    /// Many strikes of one fighter.
    Flurry,
    /// Strikes of both fighters.
    Exchange,
    /// No move for a while, with both fighters present.
    Quiet,
    /// No move for a while, with a single person present.
    QuietAlone,
}

impl Topic {
    /// Returns the occasion in the vocabulary.
    pub fn occasion(&self) -> Occasion<'_> {
        match (self.kind, &self.newest) {
            (TopicKind::Move, Some(strike)) if strike.label.is_none() => Occasion::Unsure,
            (TopicKind::Move, Some(strike)) => {
                let reach = strike.has_landed.map(|landed| if landed { Reach::Landed } else { Reach::Short });
                Occasion::Move(&strike.kind, reach)
            }
            (TopicKind::Combination, _) => Occasion::Combination,
            (TopicKind::Flurry, _) => Occasion::Flurry,
            (TopicKind::Exchange, _) => Occasion::Exchange,
            (TopicKind::QuietAlone, _) => Occasion::QuietAlone,
            (TopicKind::Quiet, _) | (_, None) => Occasion::Quiet,
        }
    }

    /// Returns the fighter of the topic; empty if it is about both.
    pub fn fighter(&self) -> Fighter {
        match (self.kind, &self.newest) {
            (TopicKind::Exchange | TopicKind::Quiet | TopicKind::QuietAlone, _) | (_, None) => Fighter::None,
            (_, Some(strike)) => strike.fighter,
        }
    }
}

/// Recent events of one stream. Frames, moves and speeds are bounded in number.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bout {
    frames: VecDeque<FrameRecord>,
    strikes: VecDeque<Strike>,
    speeds: VecDeque<f32>,
    /// Media time from which a quiet spell is counted: the last move, the last sentence about a quiet spell, or the
    /// first frame with both fighters.
    quiet_since: Option<i64>,
    /// True for each fighter that has been seen.
    present: [bool; 2],
    /// Media time of the last sentence, ns.
    last_sentence: Option<i64>,
}

impl Bout {
    /// Updates the records with a frame (number, media time in ns), its interaction, and the moves that arrived with
    /// it.
    pub fn observe(
        &mut self,
        (frame, pts): (u64, i64),
        pairs: &[Interaction],
        moves: &[Move],
        vocabulary: &Vocabulary,
        config: &CommentaryConfig,
    ) {
        let known = |value: f32| value.is_finite().then_some(value);
        let pair = pairs.iter().find(|pair| pair.fighter_a != Fighter::None && pair.fighter_b != Fighter::None);
        let reach = pair.map_or([None; 2], |pair| [known(pair.reach_a), known(pair.reach_b)]);
        if pair.is_some() {
            self.present = [true; 2];
            self.quiet_since.get_or_insert(pts);
        }
        self.frames.push_back(FrameRecord { frame, pts, reach });
        if self.frames.len() > MAX_FRAMES {
            self.frames.pop_front();
        }
        let mut moves: Vec<&Move> = moves.iter().collect();
        moves.sort_by_key(|row| row.peak);
        for row in moves {
            let label = (row.label != Move::UNSURE_LABEL).then(|| row.label.clone());
            if label.is_none() && !config.unsure {
                continue;
            }
            let words = vocabulary.move_words_or_label(label.as_deref().unwrap_or_default());
            if label.is_some() && !words.is_reported {
                continue;
            }
            self.quiet_since = Some(pts);
            if let Some(index) = row.fighter.index() {
                self.present[index] = true;
            }
            let strike = Strike {
                id: row.id.clone(),
                track: row.track,
                fighter: row.fighter,
                limb: row.limb.clone(),
                peak: row.peak,
                pts: self.media_time(row.peak).unwrap_or(pts),
                arrived: pts,
                hardness: self.rate_hardness(row.speed, config.hard),
                confidence: if row.confidence.is_finite() { row.confidence.clamp(0.0, 1.0) } else { 0.0 },
                has_landed: self.has_landed(row.fighter, row.start, row.end),
                label,
                kind: words.kind,
                is_reported: false,
            };
            self.strikes.push_back(strike);
            if self.strikes.len() > MAX_STRIKES {
                self.strikes.pop_front();
            }
        }
    }

    /// Returns the media time of a frame; that of the oldest record if the frame is older.
    fn media_time(&self, frame: u64) -> Option<i64> {
        let index = self.frames.partition_point(|record| record.frame < frame);
        self.frames.get(index).or(self.frames.back()).map(|record| record.pts)
    }

    /// Returns the speed of a strike relative to the fastest quarter of the recent ones, and adds it to these.
    fn rate_hardness(&mut self, speed: f32, hard: f32) -> f32 {
        let mut speeds: Vec<f32> = self.speeds.iter().copied().chain(PRIOR_SPEEDS.map(|share| share * hard)).collect();
        speeds.sort_by(f32::total_cmp);
        // If all strikes are similar, none is hard: the reference lies above the median.
        let reference = speeds[speeds.len() * 3 / 4].max(1.15 * speeds[speeds.len() / 2]);
        if !speed.is_finite() || speed <= 0.0 {
            return 0.5;
        }
        self.speeds.push_back(speed);
        if self.speeds.len() > MAX_SPEEDS {
            self.speeds.pop_front();
        }
        (speed / reference).min(2.0)
    }

    /// True if a fighter's hand or foot reached the other between two frames, false if it fell short; `None` if that is
    /// unknown or undecided.
    fn has_landed(&self, fighter: Fighter, start: u64, end: u64) -> Option<bool> {
        let index = fighter.index()?;
        let within = self.frames.iter().filter(|record| (start..=end).contains(&record.frame));
        let nearest = within.filter_map(|record| record.reach[index]).reduce(f32::min)?;
        if nearest <= MAX_LANDED_REACH { Some(true) } else { (nearest >= MIN_SHORT_REACH).then_some(false) }
    }

    /// Selects the most exciting topic at this media time, if there is one.
    pub fn select_topic(&self, now: i64, config: &CommentaryConfig) -> Option<Topic> {
        let recent = |strike: &&Strike| !strike.is_reported && now - strike.arrived <= MAX_REPORT_DELAY;
        let topics = self.strikes.iter().filter(recent).filter_map(|strike| self.topic_of(strike, now, config));
        // Of two equally exciting topics the newer one is taken.
        let best = topics.reduce(|best, other| if other.1 >= best.1 { other } else { best });
        best.map(|(topic, _)| topic).or_else(|| {
            let quiet = (config.quiet * 1e9) as i64;
            let is_quiet = self.quiet_since.is_some_and(|since| now - since >= quiet);
            (quiet > 0 && is_quiet).then(|| Topic {
                newest: None,
                labels: vec![],
                count: 0,
                kind: if self.has_both_fighters() { TopicKind::Quiet } else { TopicKind::QuietAlone },
                excitement: Excitement::Low,
            })
        })
    }

    /// Returns the topic of a move and its excitement score; `None` while the move may become part of a larger topic.
    fn topic_of(&self, strike: &Strike, now: i64, config: &CommentaryConfig) -> Option<(Topic, f32)> {
        let within = |other: &&Strike, time: i64| other.pts <= strike.pts && strike.pts - other.pts <= time;
        let combination = (config.combination * 1e9) as i64;
        let strikes = || self.strikes.iter().filter(|other| other.can_combine());
        let chain: Vec<&Strike> = match strike.can_combine() {
            true => strikes().filter(|other| other.is_by_same(strike) && within(other, combination)).collect(),
            false => vec![strike],
        };
        let around: Vec<&Strike> = strikes().filter(|other| within(other, EXCHANGE_DURATION)).collect();
        let by_same = around.iter().filter(|other| other.is_by_same(strike)).count();
        let is_exchange = by_same >= 2 && around.len() - by_same >= 2 && around.len() >= EXCHANGE_STRIKES;
        // A combination is reported when it is over, or long enough.
        let continues = strikes()
            .any(|other| other.is_by_same(strike) && other.pts > strike.pts && other.pts - strike.pts <= combination);
        let may_continue =
            chain.len() > 1 && chain.len() < FLURRY_STRIKES && now - strike.arrived < COMBINATION_SETTLES_AFTER;
        if strike.can_combine() && (continues || may_continue) {
            return None;
        }
        let is_silent = self.last_sentence.is_none_or(|last| now - last >= UNSURE_AFTER);
        if strike.label.is_none() && !is_silent {
            return None;
        }
        let kind = match chain.len() {
            _ if !strike.can_combine() => TopicKind::Move,
            n if n >= FLURRY_STRIKES => TopicKind::Flurry,
            _ if is_exchange => TopicKind::Exchange,
            n if n >= 2 => TopicKind::Combination,
            _ => TopicKind::Move,
        };
        let included = if kind == TopicKind::Exchange { &around } else { &chain };
        let pace = strikes().filter(|other| within(other, PACE_DURATION)).count();
        let score = excitement_score(strike, chain.len(), pace);
        let topic = Topic {
            newest: Some(strike.clone()),
            labels: included.iter().filter_map(|other| other.label.clone()).collect(),
            count: included.len(),
            kind,
            // An `unsure` move is at most medium.
            excitement: match strike.label {
                Some(_) => level_for_score(score),
                None => level_for_score(score).min(Excitement::Medium),
            },
        };
        Some((topic, score))
    }

    /// True if both fighters have been seen.
    pub fn has_both_fighters(&self) -> bool {
        self.present == [true; 2]
    }

    /// Marks the moves of a topic as reported at this media time, so that they are not reported again.
    pub fn mark_reported(&mut self, topic: &Topic, now: i64) {
        self.last_sentence = Some(now);
        let Some(newest) = &topic.newest else {
            self.quiet_since = Some(now);
            return;
        };
        for strike in &mut self.strikes {
            let is_included = topic.kind == TopicKind::Exchange || strike.is_by_same(newest);
            strike.is_reported |= is_included && strike.pts <= newest.pts;
        }
    }
}

/// Returns the excitement score of a strike with those before it: `chain` strikes of its combination, `pace` strikes of
/// both fighters. A single strike that is hard and certain has 1.
fn excitement_score(strike: &Strike, chain: usize, pace: usize) -> f32 {
    let single = strike.hardness * (0.5 + 0.5 * strike.confidence);
    let reach = match strike.has_landed {
        Some(false) => 0.6,
        _ => 1.0,
    };
    let bonus = 0.12 * chain.saturating_sub(1) as f32 + 0.04 * pace.saturating_sub(chain) as f32;
    single * reach + bonus
}
