//! State of a stream: the colors of the two teams and of the pitch, and each track's votes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sideline_api::{Frame, Pixels, Result};
use sideline_sport::tables::{Role, Team, TeamName, Track, TrackState};

use crate::{
    TeamConfig,
    cluster::Teams,
    color::{Box, Lab, distance, lab_to_srgb, sample_ground, sample_jersey},
};

/// Interval between two searches for the teams, s.
const SEARCH_INTERVAL_S: f64 = 0.5;
/// Minimum number of sampled tracks for a search: fewer cannot form two teams.
const MIN_TRACKS: usize = 4;
/// Number of samples up to which a track's color is their plain mean; afterwards each sample has this fixed weight.
const MEAN_SAMPLES: f32 = 12.0;
/// Maximum weight of a track in the search for the teams, samples.
const MAX_WEIGHT: f32 = 30.0;
/// Time after which an unseen track is dropped, s.
const TRACK_TIMEOUT_S: f64 = 60.0;
/// Maximum number of tracks in the state; it bounds memory.
const MAX_TRACKS: usize = 512;
/// Share of the pitch's color that remains after a frame with twelve samples.
const PITCH_COLOR_DECAY: f32 = 0.95;
/// Radius of the pitch's color, standard deviations.
const PITCH_RADIUS_DEVIATIONS: f32 = 2.0;
/// Bounds of that radius, OKLab.
const PITCH_RADIUS_RANGE: [f32; 2] = [0.02, 0.08];
/// Minimum share of frames in which a goalkeeper stands outermost.
const MIN_OUTERMOST_SHARE: f32 = 0.6;
/// Maximum confidence of a role: it is a guess.
const MAX_ROLE_CONFIDENCE: f32 = 0.5;

/// See the [module](self).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Roster {
    tracks: BTreeMap<u32, TrackVotes>,
    teams: Option<Teams>,
    pitch: Option<PitchColor>,
    /// Media time of the first search attempt, s.
    first_search: Option<f64>,
    /// Media time of the last search, s.
    last_search: Option<f64>,
    /// Media time of the last frame, s.
    last_frame: f64,
    /// Every person is in `team_1`, since no second team was found for long.
    is_one_team: bool,
    /// That assignment is still to be logged.
    is_notice_pending: bool,
}

/// Color of the pitch: mean, and mean squared distance from it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct PitchColor {
    mean: Lab,
    mean_squared_distance: f32,
}

impl PitchColor {
    fn radius(&self) -> f32 {
        (PITCH_RADIUS_DEVIATIONS * self.mean_squared_distance.sqrt())
            .clamp(PITCH_RADIUS_RANGE[0], PITCH_RADIUS_RANGE[1])
    }
}

/// State of one track.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct TrackVotes {
    color: Lab,
    samples: u32,
    /// Votes for the first team, the second team, and neither.
    votes: [f32; 3],
    /// Moving share of frames in which the track stood outermost: left, right.
    outermost_share: [f32; 2],
    /// Last position, px from the left.
    x: f32,
    last_seen: f64,
}

impl Roster {
    /// Updates the state with a frame and returns one row per track; `now` is the media time, s.
    ///
    /// # Errors
    /// The frame is JPEG-compressed.
    pub fn update(&mut self, frame: &Frame, tracks: &[Track], now: f64, config: &TeamConfig) -> Result<Vec<Team>> {
        let pixels = Pixels::new(frame)?;
        let boxes: Vec<Box> = tracks.iter().map(|track| [track.x1, track.y1, track.x2, track.y2]).collect();
        self.update_pitch_color(&pixels, &boxes);
        let step = (now - self.last_frame).clamp(0.0, 1.0);
        self.last_frame = now;
        let decay = (-step / config.memory).exp() as f32;
        let pitch = self.pitch.map(|pitch| (pitch.mean, pitch.radius()));
        let outermost = |sign: f32| {
            let x = |i: &usize| sign * (boxes[*i][0] + boxes[*i][2]);
            (0..boxes.len()).max_by(|a, b| x(a).total_cmp(&x(b)))
        };
        let ends = [outermost(-1.0), outermost(1.0)];
        let mut samples: Vec<Option<Lab>> = vec![];
        for (i, track) in tracks.iter().enumerate() {
            let state = self.tracks.entry(track.track).or_default();
            state.last_seen = now;
            state.x = (track.x1 + track.x2) / 2.0;
            state.votes = state.votes.map(|votes| votes * decay);
            for (share, at) in state.outermost_share.iter_mut().zip(ends) {
                let is_outermost = if at == Some(i) { 1.0 } else { 0.0 };
                *share += (is_outermost - *share) * (1.0 - decay).max(1.0 / (state.samples as f32 + 1.0));
            }
            let is_clear = track.state != TrackState::Predicted
                && is_unobstructed(i, &boxes, config.max_cover)
                && is_torso_inside(&boxes[i], frame);
            let color = is_clear.then(|| sample_jersey(&pixels, boxes[i], pitch));
            if let Some(color) = color {
                state.samples += 1;
                let weight = (1.0 / state.samples as f32).max(1.0 / MEAN_SAMPLES);
                for (mean, now) in state.color.iter_mut().zip(color) {
                    *mean += (now - *mean) * weight;
                }
            }
            samples.push(color);
        }
        self.search_teams(now, config);
        let rows = tracks.iter().zip(samples).map(|(track, color)| self.vote(track.track, color, config)).collect();
        self.drop_stale_tracks(now);
        Ok(rows)
    }

    /// Returns true once after every person was assigned to one team.
    pub fn take_one_team_notice(&mut self) -> bool {
        std::mem::take(&mut self.is_notice_pending)
    }

    fn update_pitch_color(&mut self, pixels: &Pixels, boxes: &[Box]) {
        let mut colors = vec![];
        for own in boxes {
            sample_ground(pixels, *own, boxes, &mut colors);
        }
        for color in colors {
            match &mut self.pitch {
                None => self.pitch = Some(PitchColor { mean: color, mean_squared_distance: 0.002 }),
                Some(pitch) => {
                    // A line, a billboard or a person without a box moves the mean no farther than its neighbors do.
                    let deviation = distance(color, pitch.mean).min(3.0 * pitch.radius());
                    let weight = (1.0 - PITCH_COLOR_DECAY) / 12.0;
                    let pull = weight * (deviation / distance(color, pitch.mean).max(1e-6));
                    for (mean, now) in pitch.mean.iter_mut().zip(color) {
                        *mean += (now - *mean) * pull;
                    }
                    pitch.mean_squared_distance += (deviation * deviation - pitch.mean_squared_distance) * weight;
                }
            }
        }
    }

    /// Searches the two teams among all tracks with enough samples.
    fn search_teams(&mut self, now: f64, config: &TeamConfig) {
        let first = *self.first_search.get_or_insert(now);
        if self.last_search.is_some_and(|last| now - last < SEARCH_INTERVAL_S) {
            return;
        }
        let sampled: Vec<&TrackVotes> = self.tracks.values().filter(|state| state.samples >= config.views).collect();
        if sampled.len() < MIN_TRACKS {
            return;
        }
        self.last_search = Some(now);
        let colors: Vec<(Lab, f32)> =
            sampled.iter().map(|state| (state.color, (state.samples as f32).min(MAX_WEIGHT))).collect();
        match (Teams::find(&colors, config.apart), &self.teams) {
            (Some(found), Some(earlier)) => self.teams = Some(found.aligned_with(earlier)),
            (Some(found), None) => {
                // The team farther left is `team_1`.
                let mut ends = [(0.0, 0.0); 2];
                for state in sampled.iter().filter(|state| state.last_seen >= now) {
                    if let Some((team, _)) = found.classify(state.color) {
                        ends[team].0 += state.x;
                        ends[team].1 += 1.0_f32;
                    }
                }
                let [one, two] = ends.map(|(sum, n)| sum / n);
                self.teams = Some(if two < one { found.swapped() } else { found });
                self.is_one_team = false;
                self.tracks.values_mut().for_each(|state| state.votes = [0.0; 3]);
            }
            (None, None) if now - first >= config.one_team_after_s && !self.is_one_team => {
                (self.is_one_team, self.is_notice_pending) = (true, true)
            }
            (None, _) => {}
        }
    }

    /// Counts the vote of this frame's sample and returns the track's row.
    fn vote(&mut self, track: u32, sample: Option<Lab>, config: &TeamConfig) -> Team {
        let row = |team: TeamName, role: Role, confidence: f32| Team {
            track,
            team,
            role,
            confidence,
            jersey: sample.map_or([f32::NAN; 3], lab_to_srgb),
        };
        let teams = self.teams;
        let Some(state) = self.tracks.get_mut(&track) else { return row(TeamName::None, Role::Unknown, 0.0) };
        let Some(teams) = teams else {
            return if self.is_one_team {
                row(TeamName::One, Role::Player, MAX_ROLE_CONFIDENCE)
            } else {
                row(TeamName::None, Role::Unknown, 0.0)
            };
        };
        // Each sample votes on its own: a mean would keep voting for the team of the person that the track left.
        match sample.map(|color| teams.classify(color)) {
            Some(Some((team, margin))) => state.votes[team] += 0.2 + 0.8 * margin.abs(),
            Some(None) => state.votes[2] += 1.0,
            None => {}
        }
        let total: f32 = state.votes.iter().sum();
        if state.samples < config.views || total <= 0.0 {
            return row(TeamName::None, Role::Unknown, 0.0);
        }
        let winner = (0..3).max_by(|a, b| state.votes[*a].total_cmp(&state.votes[*b])).unwrap_or(2);
        let confidence = state.votes[winner] / total;
        if winner < 2 {
            return row(TeamName::TEAMS[winner], Role::Player, confidence);
        }
        let end = (0..2).find(|end| state.outermost_share[*end] >= MIN_OUTERMOST_SHARE);
        match end.and_then(|end| self.defending_team(end)) {
            Some(team) => row(TeamName::TEAMS[team], Role::Goalkeeper, MAX_ROLE_CONFIDENCE * confidence),
            None => row(TeamName::None, Role::Referee, MAX_ROLE_CONFIDENCE * confidence),
        }
    }

    /// Returns the team that stands nearer to an end of the frame; end 0 is the left one.
    fn defending_team(&self, end: usize) -> Option<usize> {
        let mut sums = [(0.0, 0.0); 2];
        for state in self.tracks.values().filter(|state| state.last_seen >= self.last_frame) {
            let team = if state.votes[1] > state.votes[0] { 1 } else { 0 };
            if state.votes[team] > state.votes[2] {
                sums[team].0 += state.x;
                sums[team].1 += 1.0_f32;
            }
        }
        let [one, two] = sums.map(|(sum, n)| sum / n);
        // NaN where a team has no visible track: then neither comparison holds.
        match (one < two, two < one) {
            (true, _) => Some(end),
            (_, true) => Some(1 - end),
            _ => None,
        }
    }

    fn drop_stale_tracks(&mut self, now: f64) {
        self.tracks.retain(|_, state| now - state.last_seen <= TRACK_TIMEOUT_S);
        while self.tracks.len() > MAX_TRACKS {
            let oldest =
                self.tracks.iter().min_by(|a, b| a.1.last_seen.total_cmp(&b.1.last_seen)).map(|(track, _)| *track);
            oldest.and_then(|track| self.tracks.remove(&track));
        }
    }
}

/// Returns true where no other box covers more than `max_share` of a box.
fn is_unobstructed(i: usize, boxes: &[Box], max_share: f32) -> bool {
    let own = boxes[i];
    let area = (own[2] - own[0]) * (own[3] - own[1]);
    boxes.iter().enumerate().filter(|(j, _)| *j != i).all(|(_, other)| {
        let w = own[2].min(other[2]) - own[0].max(other[0]);
        let h = own[3].min(other[3]) - own[1].max(other[1]);
        w <= 0.0 || h <= 0.0 || w * h <= max_share * area
    })
}

/// Returns true where the torso lies in the frame.
fn is_torso_inside([x1, y1, x2, y2]: &Box, frame: &Frame) -> bool {
    let (w, h) = (frame.width() as f32, frame.height() as f32);
    let middle = (x1 + x2) / 2.0;
    middle > 0.0 && middle < w && y1 + 0.2 * (y2 - y1) > 0.0 && y1 + 0.5 * (y2 - y1) < h
}
