//! `possession`: determines the player in possession of the ball. It reads places and teams and writes one row per
//! frame.
//!
//! The ball belongs to the player whose feet are nearest, within `reach_m`, once that has held for `settle` seconds: a
//! ball that flies past a player is not theirs. The player keeps it within `release`, so that a step away does not lose
//! it, until an opponent is clearly nearer. Where an opponent's feet are about as near, the ball is `contested`, still
//! with the track of its holder. A ball whose place is predicted is followed for `predicted_for_s`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{self, Place, PossessionState, Team, TeamName};

use crate::scene::{Scene, TeamRoles, distance_m};

/// Determines the player in possession of the ball.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct PossessionConfig {
    /// Distance from a player's feet within which the player gains the ball, m. Higher assigns the ball sooner, and
    /// more often to players that it only passes.
    #[config(default = 2.0, live, range(0.1, 20), former = "reach")]
    pub reach_m: f32,
    /// Distance within which the holder keeps the ball, m. Higher tolerates long touches; never less than `reach_m`.
    #[config(default = 3.0, live, range(0.1, 30))]
    pub release: f32,
    /// Maximum distance by which an opponent may be farther from the ball than its holder for the ball to be contested,
    /// m. Higher reports more contested balls; 0 reports none.
    #[config(default = 0.4, live, range(0, 5))]
    pub contest: f32,
    /// Time that a player must be nearest before gaining the ball, s. Higher is more reliable and later.
    #[config(default = 0.1, live, range(0, 5))]
    pub settle: f64,
    /// Speed above which a ball in reach is not gained unless its direction changes there, m/s. Higher counts firm
    /// touches, and balls that fly past.
    #[config(default = 12.0, live, range(1, 100))]
    pub speed: f32,
    /// Maximum time without a measured ball, s. Higher bridges longer gaps with predicted positions.
    #[config(default = 1.0, live, range(0, 60), former = "patience")]
    pub predicted_for_s: f64,
}

/// State of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StreamState {
    roles: TeamRoles,
    /// Track of the player in possession.
    holder: Option<u32>,
    /// Track that may gain the ball next, and the media time since when, s.
    next_holder: Option<(u32, f64)>,
    /// Media time at which the ball was last measured, s.
    last_measured: Option<f64>,
    /// Recent path of the ball: media time (s), x, y.
    path: VecDeque<(f64, f32, f32)>,
    /// Number of frames in which each team controlled the ball.
    controlled_frames: [u64; 2],
}

/// Window over which the speed of the ball is measured, s.
const SPEED_WINDOW_S: f64 = 0.12;
/// Cosine between the directions before and after a touch below which the ball has changed direction.
const MAX_TURN_COSINE: f32 = 0.5;

/// See the [module](self).
pub struct Possession {
    config: PossessionConfig,
}

impl Operator for Possession {
    type Config = PossessionConfig;
    type State = StreamState;

    fn spec() -> Spec {
        Spec::operator("possession")
            .required("places", PortType::table::<Place>())
            .optional("teams", PortType::table::<Team>())
            .output("possession", PortType::table::<tables::Possession>())
    }

    fn new(config: PossessionConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut StreamState, out: &mut Outputs) -> Result<()> {
        let places = input.rows::<Place>("places")?.unwrap_or_default();
        let teams = input.rows::<Team>("teams")?.unwrap_or_default();
        state.roles.update(&teams, &places, cx.seconds());
        let scene = Scene::new(&places, &state.roles);
        let row = state.update(&scene, cx.seconds(), &self.config);
        out.rows("possession", &[row])
    }

    fn reconfigure(&mut self, config: &PossessionConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

impl StreamState {
    /// Updates the state and returns the row of a frame at media time `now`, s.
    fn update(&mut self, scene: &Scene, now: f64, config: &PossessionConfig) -> tables::Possession {
        let tracked = scene.ball.filter(|ball| {
            if ball.measured {
                self.last_measured = Some(now);
            }
            self.last_measured.is_some_and(|measured| now - measured <= config.predicted_for_s)
        });
        let Some(ball) = tracked else {
            (self.holder, self.next_holder) = (None, None);
            self.path.clear();
            return self.to_row(PossessionState::Unknown, None, None, f32::NAN);
        };
        self.push_position(ball, now);
        let mut near: Vec<(f32, u32, Option<usize>)> = scene
            .players
            .iter()
            .map(|(place, role)| {
                (distance_m([place.x, place.y], [ball.x, ball.y], place.scale), place.track, role.team)
            })
            .filter(|(distance, ..)| distance.is_finite())
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let Some(&(distance, nearest, _)) = near.first() else {
            (self.holder, self.next_holder) = (None, None);
            return self.to_row(
                if ball.inside { PossessionState::Loose } else { PossessionState::Out },
                None,
                None,
                f32::NAN,
            );
        };
        if !ball.inside {
            (self.holder, self.next_holder) = (None, None);
            return self.to_row(PossessionState::Out, None, None, distance);
        }
        let release = config.release.max(config.reach_m);
        let holder =
            self.holder.and_then(|holder| near.iter().find(|near| near.1 == holder && near.0 <= release)).copied();
        self.holder = holder.map(|holder| holder.1);
        // A ball is gained only where it slows down or changes direction at a player's feet.
        let can_gain = distance <= config.reach_m
            && self.holder != Some(nearest)
            && (self.speed(ball.scale) <= config.speed || self.has_turned());
        match (can_gain, self.next_holder) {
            (true, Some((candidate, since))) if candidate == nearest => {
                if now - since >= config.settle {
                    (self.holder, self.next_holder) = (Some(nearest), None);
                }
            }
            (true, _) => {
                self.next_holder = Some((nearest, now));
                if config.settle == 0.0 {
                    (self.holder, self.next_holder) = (Some(nearest), None);
                }
            }
            (false, _) => self.next_holder = None,
        }
        let Some(&(holder_distance, track, team)) = near.iter().find(|near| Some(near.1) == self.holder) else {
            return self.to_row(PossessionState::Loose, None, None, distance);
        };
        let opponent = near.iter().find(|near| near.2.is_some() && team.is_some() && near.2 != team);
        let is_contested = config.contest > 0.0
            && opponent
                .is_some_and(|opponent| opponent.0 <= config.reach_m && opponent.0 <= holder_distance + config.contest);
        if is_contested {
            return self.to_row(PossessionState::Contested, team, Some(track), distance);
        }
        if let Some(team) = team {
            self.controlled_frames[team] += 1;
        }
        self.to_row(PossessionState::Controlled, team, Some(track), distance)
    }

    fn to_row(
        &self,
        state: PossessionState,
        team: Option<usize>,
        track: Option<u32>,
        distance: f32,
    ) -> tables::Possession {
        let total = self.controlled_frames[0] + self.controlled_frames[1];
        let share = |team: usize| {
            if total == 0 { f32::NAN } else { (self.controlled_frames[team] as f64 / total as f64) as f32 }
        };
        tables::Possession {
            team: TeamName::from_index(team),
            track: track.unwrap_or(0),
            state,
            distance,
            share_1: share(0),
            share_2: share(1),
        }
    }

    fn push_position(&mut self, ball: &Place, now: f64) {
        self.path.push_back((now, ball.x, ball.y));
        // Twice the window: one half before, one half after a change of direction.
        while self.path.len() > 3 && self.path.front().is_some_and(|(at, ..)| now - at > 2.0 * SPEED_WINDOW_S) {
            self.path.pop_front();
        }
    }

    /// Returns the velocity of the ball between two indices of the path, units per second.
    fn velocity(&self, from: usize, to: usize) -> Option<[f32; 2]> {
        let (a, b) = (self.path.get(from)?, self.path.get(to)?);
        let seconds = (b.0 - a.0) as f32;
        (seconds > 0.0).then(|| [(b.1 - a.1) / seconds, (b.2 - a.2) / seconds])
    }

    fn window_start(&self) -> usize {
        let now = self.path.back().map_or(0.0, |last| last.0);
        self.path.iter().position(|(at, ..)| now - at <= SPEED_WINDOW_S + 1e-6).unwrap_or(0)
    }

    /// Returns the current speed of the ball, m/s; `scale` is the number of units per meter.
    fn speed(&self, scale: f32) -> f32 {
        let last = self.path.len().saturating_sub(1);
        self.velocity(self.window_start(), last).map_or(0.0, |[x, y]| x.hypot(y) / scale)
    }

    /// Returns true where the ball has just changed direction.
    fn has_turned(&self) -> bool {
        let (turn, last) = (self.window_start(), self.path.len().saturating_sub(1));
        match (self.velocity(0, turn), self.velocity(turn, last)) {
            (Some(a), Some(b)) => {
                let lengths = a[0].hypot(a[1]) * b[0].hypot(b[1]);
                lengths > 0.0 && (a[0] * b[0] + a[1] * b[1]) / lengths < MAX_TURN_COSINE
            }
            _ => false,
        }
    }
}
