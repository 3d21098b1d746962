//! `possession`: places and teams in, who has the ball out.
//!
//! The ball is with the player whose feet are nearest, within `reach_m`, once it has been so for `settle` seconds: a ball that
//! flies past somebody is not theirs. Who has it keeps it within `release`, so that a step away does not lose it, until an
//! opponent is clearly nearer. Where an opponent's feet are about as near it is `contested`, and still named after who had
//! it. A ball whose place is predicted is followed for `predicted_for_s`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Place, Possession, Team},
};

use crate::sides::{Scene, Sides, metres, name};

/// Says who has the ball.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct PossessionConfig {
    /// Metres from a player's feet to the ball within which it comes to be theirs. Higher gives it sooner and more often to
    /// somebody it only passes.
    #[config(default = 2.0, live, range(0.1, 20), former = "reach")]
    pub reach_m: f32,
    /// Metres within which it stays theirs. Higher forgives long touches; never less than `reach_m`.
    #[config(default = 3.0, live, range(0.1, 30))]
    pub release: f32,
    /// Metres by which an opponent may be further than who is nearest, for the ball to be contested. Higher calls more so; 0
    /// nothing.
    #[config(default = 0.4, live, range(0, 5))]
    pub contest: f32,
    /// Seconds somebody must be nearest before it is theirs. Higher is surer and later.
    #[config(default = 0.1, live, range(0, 5))]
    pub settle: f64,
    /// Metres per second above which a ball in reach is not yet anybody's, unless it is turned there. Higher counts firm
    /// touches, and balls that fly past.
    #[config(default = 12.0, live, range(1, 100))]
    pub speed: f32,
    /// Seconds that a ball whose place is only predicted is followed. Higher bridges longer gaps by guesses.
    #[config(default = 1.0, live, range(0, 60), former = "patience")]
    pub predicted_for_s: f64,
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PossessionState {
    sides: Sides,
    /// Track of who has it.
    holder: Option<u32>,
    /// Who is about to have it, and since when, s.
    next: Option<(u32, f64)>,
    /// When the ball was last measured, s.
    measured: Option<f64>,
    /// Where the ball was lately: s, units, units.
    path: VecDeque<(f64, f32, f32)>,
    /// Frames in which each team had it.
    frames: [u64; 2],
}

/// Seconds over which the ball's speed is taken.
const GLANCE: f64 = 0.12;
/// Cosine below which a ball has been turned.
const TURNED: f32 = 0.5;

/// See the [module](self).
pub struct PossessionOperator {
    config: PossessionConfig,
}

impl Operator for PossessionOperator {
    type Config = PossessionConfig;
    type State = PossessionState;

    fn spec() -> Spec {
        Spec::operator("possession")
            .required("places", PortType::table::<Place>())
            .optional("teams", PortType::table::<Team>())
            .output("possession", PortType::table::<Possession>())
    }

    fn new(config: PossessionConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut PossessionState, out: &mut Outputs) -> Result<()> {
        let places = input.rows::<Place>("places")?.unwrap_or_default();
        let teams = input.rows::<Team>("teams")?.unwrap_or_default();
        state.sides.see(&teams, &places, cx.seconds());
        let scene = Scene::of(&places, &state.sides);
        let row = state.judge(&scene, cx.seconds(), &self.config);
        out.rows("possession", &[row])
    }

    fn reconfigure(&mut self, config: &PossessionConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

impl PossessionState {
    /// The row of a frame at `now`, s.
    fn judge(&mut self, scene: &Scene, now: f64, config: &PossessionConfig) -> Possession {
        let known = scene.ball.filter(|ball| {
            if ball.measured {
                self.measured = Some(now);
            }
            self.measured.is_some_and(|seen| now - seen <= config.predicted_for_s)
        });
        let Some(ball) = known else {
            (self.holder, self.next) = (None, None);
            self.path.clear();
            return self.row("unknown", None, None, f32::NAN);
        };
        self.follow(ball, now);
        let mut near: Vec<(f32, u32, Option<usize>)> = scene
            .players
            .iter()
            .map(|(place, side)| (metres([place.x, place.y], [ball.x, ball.y], place.scale), place.track, side.team))
            .filter(|(distance, ..)| distance.is_finite())
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let Some(&(distance, nearest, _)) = near.first() else {
            (self.holder, self.next) = (None, None);
            return self.row(if ball.inside { "loose" } else { "out" }, None, None, f32::NAN);
        };
        if !ball.inside {
            (self.holder, self.next) = (None, None);
            return self.row("out", None, None, distance);
        }
        let release = config.release.max(config.reach_m);
        let holder =
            self.holder.and_then(|holder| near.iter().find(|near| near.1 == holder && near.0 <= release)).copied();
        self.holder = holder.map(|holder| holder.1);
        // Only a ball that slows down or is turned at somebody's feet becomes theirs.
        let takes = distance <= config.reach_m
            && self.holder != Some(nearest)
            && (self.speed(ball.scale) <= config.speed || self.turned());
        match (takes, self.next) {
            (true, Some((candidate, since))) if candidate == nearest => {
                if now - since >= config.settle {
                    (self.holder, self.next) = (Some(nearest), None);
                }
            }
            (true, _) => {
                self.next = Some((nearest, now));
                if config.settle == 0.0 {
                    (self.holder, self.next) = (Some(nearest), None);
                }
            }
            (false, _) => self.next = None,
        }
        let Some(&(own, track, team)) = near.iter().find(|near| Some(near.1) == self.holder) else {
            return self.row("loose", None, None, distance);
        };
        let opponent = near.iter().find(|near| near.2.is_some() && team.is_some() && near.2 != team);
        let contested = config.contest > 0.0
            && opponent.is_some_and(|opponent| opponent.0 <= config.reach_m && opponent.0 <= own + config.contest);
        if contested {
            return self.row("contested", team, Some(track), distance);
        }
        if let Some(team) = team {
            self.frames[team] += 1;
        }
        self.row("controlled", team, Some(track), distance)
    }

    fn row(&self, state: &str, team: Option<usize>, track: Option<u32>, distance: f32) -> Possession {
        let all = self.frames[0] + self.frames[1];
        let share = |team: usize| if all == 0 { f32::NAN } else { (self.frames[team] as f64 / all as f64) as f32 };
        Possession {
            team: name(team).into(),
            track: track.unwrap_or(0),
            state: state.into(),
            distance,
            share_1: share(0),
            share_2: share(1),
        }
    }

    fn follow(&mut self, ball: &Place, now: f64) {
        self.path.push_back((now, ball.x, ball.y));
        // Twice the glance: one half before, one half after a turn.
        while self.path.len() > 3 && self.path.front().is_some_and(|(at, ..)| now - at > 2.0 * GLANCE) {
            self.path.pop_front();
        }
    }

    /// The ball's way from one time to another, units per second.
    fn velocity(&self, from: usize, to: usize) -> Option<[f32; 2]> {
        let (a, b) = (self.path.get(from)?, self.path.get(to)?);
        let seconds = (b.0 - a.0) as f32;
        (seconds > 0.0).then(|| [(b.1 - a.1) / seconds, (b.2 - a.2) / seconds])
    }

    fn middle(&self) -> usize {
        let now = self.path.back().map_or(0.0, |last| last.0);
        self.path.iter().position(|(at, ..)| now - at <= GLANCE + 1e-6).unwrap_or(0)
    }

    /// Metres per second now.
    fn speed(&self, scale: f32) -> f32 {
        let last = self.path.len().saturating_sub(1);
        self.velocity(self.middle(), last).map_or(0.0, |[x, y]| x.hypot(y) / scale)
    }

    /// True where the ball has just changed its way.
    fn turned(&self) -> bool {
        let (middle, last) = (self.middle(), self.path.len().saturating_sub(1));
        match (self.velocity(0, middle), self.velocity(middle, last)) {
            (Some(a), Some(b)) => {
                let lengths = a[0].hypot(a[1]) * b[0].hypot(b[1]);
                lengths > 0.0 && (a[0] * b[0] + a[1] * b[1]) / lengths < TURNED
            }
            _ => false,
        }
    }
}
