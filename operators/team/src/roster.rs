//! What is remembered of a stream: the two teams' colours, the pitch's, and each track's votes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Frame, Pixels, Result,
    tables::{Team, Track},
};

use crate::{
    TeamConfig,
    cluster::Teams,
    colour::{Box, Lab, distance, ground, jersey, srgb},
};

/// Seconds between two times of learning.
const LEARN: f64 = 0.5;
/// People who must have been seen before there are two teams.
const LEAST: usize = 4;
/// Views after which a track's mean colour moves by no less than this share with each.
const SETTLED: f32 = 12.0;
/// Most that the weight of a track grows to when teams are looked for, views.
const WEIGHT: f32 = 30.0;
/// Seconds for which an unseen track is remembered, and tracks at most.
const MEMORY: f64 = 60.0;
const MOST: usize = 512;
/// Share that remains of the pitch's colour after a frame.
const KEEP: f32 = 0.95;
/// Standard deviations within which a colour is the pitch's, and their least and greatest sum.
const PITCH: f32 = 2.0;
const PITCH_REACH: [f32; 2] = [0.02, 0.08];
/// Part of the frames in which a goalkeeper stands outermost.
const OUTERMOST: f32 = 0.6;
/// Confidence of a role at most: it is a guess.
const GUESS: f32 = 0.5;

/// See the [module](self).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Roster {
    tracks: BTreeMap<u32, Known>,
    teams: Option<Teams>,
    pitch: Option<Pitch>,
    /// When people were first seen, when was last learnt, s.
    first: Option<f64>,
    learnt: Option<f64>,
    last: f64,
    /// Nobody else showed for long; and whether that is still to be said.
    one: bool,
    say_one: bool,
}

/// The pitch's colour: mean, and mean squared distance from it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pitch {
    mean: Lab,
    squared: f32,
}

impl Pitch {
    fn reach(&self) -> f32 {
        (PITCH * self.squared.sqrt()).clamp(PITCH_REACH[0], PITCH_REACH[1])
    }
}

/// One track.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Known {
    colour: Lab,
    views: u32,
    /// Votes for the teams, and for neither.
    votes: [f32; 3],
    /// Part of the frames in which it stood outermost: left, right.
    ends: [f32; 2],
    /// Where it stood last, px from the left.
    x: f32,
    seen: f64,
}

impl Roster {
    /// Rows for everybody in a frame; `now` in seconds.
    ///
    /// # Errors
    /// When the frame is JPEG.
    pub fn see(&mut self, frame: &Frame, tracks: &[Track], now: f64, config: &TeamConfig) -> Result<Vec<Team>> {
        let pixels = Pixels::of(frame)?;
        let boxes: Vec<Box> = tracks.iter().map(|track| [track.x1, track.y1, track.x2, track.y2]).collect();
        self.see_pitch(&pixels, &boxes);
        let step = (now - self.last).clamp(0.0, 1.0);
        self.last = now;
        let keep = (-step / config.memory).exp() as f32;
        let pitch = self.pitch.map(|pitch| (pitch.mean, pitch.reach()));
        let outermost = |sign: f32| {
            let x = |i: &usize| sign * (boxes[*i][0] + boxes[*i][2]);
            (0..boxes.len()).max_by(|a, b| x(a).total_cmp(&x(b)))
        };
        let ends = [outermost(-1.0), outermost(1.0)];
        let mut shown: Vec<Option<Lab>> = vec![];
        for (i, track) in tracks.iter().enumerate() {
            let known = self.tracks.entry(track.track).or_default();
            known.seen = now;
            known.x = (track.x1 + track.x2) / 2.0;
            known.votes = known.votes.map(|votes| votes * keep);
            for (end, at) in known.ends.iter_mut().zip(ends) {
                let is = if at == Some(i) { 1.0 } else { 0.0 };
                *end += (is - *end) * (1.0 - keep).max(1.0 / (known.views as f32 + 1.0));
            }
            let clear =
                track.state != "predicted" && seen_alone(i, &boxes, config.max_cover) && inside(&boxes[i], frame);
            let colour = clear.then(|| jersey(&pixels, boxes[i], pitch));
            if let Some(colour) = colour {
                known.views += 1;
                let share = (1.0 / known.views as f32).max(1.0 / SETTLED);
                for (mean, now) in known.colour.iter_mut().zip(colour) {
                    *mean += (now - *mean) * share;
                }
            }
            shown.push(colour);
        }
        self.learn(now, config);
        let rows = tracks.iter().zip(shown).map(|(track, colour)| self.vote(track.track, colour, config)).collect();
        self.forget(now);
        Ok(rows)
    }

    /// True once, when everybody is taken for one team.
    pub fn one_team_first_said(&mut self) -> bool {
        std::mem::take(&mut self.say_one)
    }

    fn see_pitch(&mut self, pixels: &Pixels, boxes: &[Box]) {
        let mut colours = vec![];
        for own in boxes {
            ground(pixels, *own, boxes, &mut colours);
        }
        for colour in colours {
            match &mut self.pitch {
                None => self.pitch = Some(Pitch { mean: colour, squared: 0.002 }),
                Some(pitch) => {
                    // A line, a hoarding or a person without a box moves the mean no further than its neighbours do.
                    let far = distance(colour, pitch.mean).min(3.0 * pitch.reach());
                    let share = (1.0 - KEEP) / 12.0;
                    let pull = share * (far / distance(colour, pitch.mean).max(1e-6));
                    for (mean, now) in pitch.mean.iter_mut().zip(colour) {
                        *mean += (now - *mean) * pull;
                    }
                    pitch.squared += (far * far - pitch.squared) * share;
                }
            }
        }
    }

    /// Looks for the two teams among all tracks that were seen often enough.
    fn learn(&mut self, now: f64, config: &TeamConfig) {
        let first = *self.first.get_or_insert(now);
        if self.learnt.is_some_and(|learnt| now - learnt < LEARN) {
            return;
        }
        let judged: Vec<&Known> = self.tracks.values().filter(|known| known.views >= config.views).collect();
        if judged.len() < LEAST {
            return;
        }
        self.learnt = Some(now);
        let colours: Vec<(Lab, f32)> =
            judged.iter().map(|known| (known.colour, (known.views as f32).min(WEIGHT))).collect();
        match (Teams::find(&colours, config.apart), &self.teams) {
            (Some(found), Some(earlier)) => self.teams = Some(found.like(earlier)),
            (Some(found), None) => {
                // Named by who stands further left.
                let mut ends = [(0.0, 0.0); 2];
                for known in judged.iter().filter(|known| known.seen >= now) {
                    if let Some((team, _)) = found.of(known.colour) {
                        ends[team].0 += known.x;
                        ends[team].1 += 1.0_f32;
                    }
                }
                let [one, two] = ends.map(|(sum, n)| sum / n);
                self.teams = Some(if two < one { found.swapped() } else { found });
                self.one = false;
                self.tracks.values_mut().for_each(|known| known.votes = [0.0; 3]);
            }
            (None, None) if now - first >= config.one_team_after_s && !self.one => {
                (self.one, self.say_one) = (true, true)
            }
            (None, _) => {}
        }
    }

    /// A track's row; its view of this frame votes.
    fn vote(&mut self, track: u32, shown: Option<Lab>, config: &TeamConfig) -> Team {
        let row = |team: &str, role: &str, confidence: f32| Team {
            track,
            team: team.into(),
            role: role.into(),
            confidence,
            jersey: shown.map_or([f32::NAN; 3], srgb),
        };
        let teams = self.teams;
        let Some(known) = self.tracks.get_mut(&track) else { return row("", "", 0.0) };
        let Some(teams) = teams else {
            return if self.one { row(Team::NAMES[0], "player", GUESS) } else { row("", "", 0.0) };
        };
        // Each view by itself: a mean would go on speaking for whom the track has left.
        match shown.map(|colour| teams.of(colour)) {
            Some(Some((team, sure))) => known.votes[team] += 0.2 + 0.8 * sure.abs(),
            Some(None) => known.votes[2] += 1.0,
            None => {}
        }
        let all: f32 = known.votes.iter().sum();
        if known.views < config.views || all <= 0.0 {
            return row("", "", 0.0);
        }
        let most = (0..3).max_by(|a, b| known.votes[*a].total_cmp(&known.votes[*b])).unwrap_or(2);
        let sure = known.votes[most] / all;
        if most < 2 {
            return row(Team::NAMES[most], "player", sure);
        }
        let end = (0..2).find(|end| known.ends[*end] >= OUTERMOST);
        match end.and_then(|end| self.defends(end)) {
            Some(team) => row(Team::NAMES[team], "goalkeeper", GUESS * sure),
            None => row("", "referee", GUESS * sure),
        }
    }

    /// The team that stands nearer to an end of the picture: 0 is the left one.
    fn defends(&self, end: usize) -> Option<usize> {
        let mut sums = [(0.0, 0.0); 2];
        for known in self.tracks.values().filter(|known| known.seen >= self.last) {
            let team = if known.votes[1] > known.votes[0] { 1 } else { 0 };
            if known.votes[team] > known.votes[2] {
                sums[team].0 += known.x;
                sums[team].1 += 1.0_f32;
            }
        }
        let [one, two] = sums.map(|(sum, n)| sum / n);
        // NaN where a team is not seen: not known.
        match (one < two, two < one) {
            (true, _) => Some(end),
            (_, true) => Some(1 - end),
            _ => None,
        }
    }

    fn forget(&mut self, now: f64) {
        self.tracks.retain(|_, known| now - known.seen <= MEMORY);
        while self.tracks.len() > MOST {
            let oldest = self.tracks.iter().min_by(|a, b| a.1.seen.total_cmp(&b.1.seen)).map(|(track, _)| *track);
            oldest.and_then(|track| self.tracks.remove(&track));
        }
    }
}

/// True where others cover no more of a box than a share.
fn seen_alone(i: usize, boxes: &[Box], share: f32) -> bool {
    let own = boxes[i];
    let area = (own[2] - own[0]) * (own[3] - own[1]);
    boxes.iter().enumerate().filter(|(j, _)| *j != i).all(|(_, other)| {
        let w = own[2].min(other[2]) - own[0].max(other[0]);
        let h = own[3].min(other[3]) - own[1].max(other[1]);
        w <= 0.0 || h <= 0.0 || w * h <= share * area
    })
}

/// True where the torso lies in the picture.
fn inside([x1, y1, x2, y2]: &Box, frame: &Frame) -> bool {
    let (w, h) = (frame.width() as f32, frame.height() as f32);
    let middle = (x1 + x2) / 2.0;
    middle > 0.0 && middle < w && y1 + 0.2 * (y2 - y1) > 0.0 && y1 + 0.5 * (y2 - y1) < h
}
