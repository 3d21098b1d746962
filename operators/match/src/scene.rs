//! People and ball of a frame, and the team of each track by its latest row of `teams`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Place, Role, Team, TeamName, Unit};

/// Time after which the team of an unseen track is dropped, s.
const TRACK_TIMEOUT_S: f64 = 60.0;
/// Track number of the ball in `places`.
pub const BALL_TRACK: u32 = 0;

/// Team and role of one track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TeamRole {
    /// Index of the team, from 0.
    pub team: Option<usize>,
    /// The track is a goalkeeper.
    pub is_goalkeeper: bool,
    /// The track is a referee, who plays for no team.
    pub is_referee: bool,
    last_seen: f64,
}

/// Teams and roles of a stream's tracks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TeamRoles(BTreeMap<u32, TeamRole>);

impl TeamRoles {
    /// Updates with a frame's `teams`, and drops tracks that were not seen for long; `now` is the media time, s.
    pub fn update(&mut self, teams: &[Team], places: &[Place], now: f64) {
        for row in teams {
            let role = self.0.entry(row.track).or_default();
            let (is_goalkeeper, is_referee) = (row.role == Role::Goalkeeper, row.role == Role::Referee);
            // An unassigned row keeps the previous assignment.
            if row.team != TeamName::None || row.role != Role::Unknown {
                *role = TeamRole { team: row.team.index(), is_goalkeeper, is_referee, last_seen: now };
            }
        }
        for place in places {
            if let Some(role) = self.0.get_mut(&place.track) {
                role.last_seen = now;
            }
        }
        self.0.retain(|_, role| now - role.last_seen <= TRACK_TIMEOUT_S);
    }

    /// Returns team and role of a track; the default, without a team, where they are unknown.
    pub fn get(&self, track: u32) -> TeamRole {
        self.0.get(&track).copied().unwrap_or_default()
    }
}

/// Ball and players of a frame.
pub struct Scene<'a> {
    /// Place of the ball, if known.
    pub ball: Option<&'a Place>,
    /// Places of all players with their teams and roles, without referees.
    pub players: Vec<(&'a Place, TeamRole)>,
    /// Places are in meters, not pixels.
    pub is_metric: bool,
}

impl<'a> Scene<'a> {
    /// Selects ball and players from a frame's places.
    pub fn new(places: &'a [Place], roles: &TeamRoles) -> Self {
        let is_finite = |place: &&Place| place.x.is_finite() && place.y.is_finite();
        Self {
            ball: places.iter().filter(is_finite).find(|place| place.track == BALL_TRACK),
            players: places
                .iter()
                .filter(|place| place.track != BALL_TRACK)
                .filter(is_finite)
                .map(|place| (place, roles.get(place.track)))
                .filter(|(_, role)| !role.is_referee)
                .collect(),
            is_metric: places.iter().any(|place| place.unit == Unit::Meters),
        }
    }
}

/// Returns the distance of two points in meters, where a meter has `scale` units.
pub fn distance_m(a: [f32; 2], b: [f32; 2], scale: f32) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1]) / scale
}
