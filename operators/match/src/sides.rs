//! Who is on which side, kept from what `teams` said last of each track.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sideline_api::tables::{METRES, Place, Team};

/// Seconds for which an unseen track's side is kept.
const MEMORY: f64 = 60.0;
/// Track of the ball in `places`.
pub const BALL: u32 = 0;

/// The name of a team, or none.
pub fn name(team: Option<usize>) -> &'static str {
    team.map_or("", |team| Team::NAMES[team])
}

/// One track's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Number of the team, from 0.
    pub team: Option<usize>,
    /// A goalkeeper.
    pub goalkeeper: bool,
    /// A referee: plays for nobody.
    pub referee: bool,
    seen: f64,
}

/// The sides of a stream's tracks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sides(BTreeMap<u32, Side>);

impl Sides {
    /// Takes in what a frame's `teams` say, and forgets who was not seen for long; `now` is in seconds.
    pub fn see(&mut self, teams: &[Team], places: &[Place], now: f64) {
        for row in teams {
            let side = self.0.entry(row.track).or_default();
            let (goalkeeper, referee) = (row.role == "goalkeeper", row.role == "referee");
            // What is not known in this frame stays as it was.
            if !row.team.is_empty() || !row.role.is_empty() {
                *side = Side { team: Team::number(&row.team), goalkeeper, referee, seen: now };
            }
        }
        for place in places {
            if let Some(side) = self.0.get_mut(&place.track) {
                side.seen = now;
            }
        }
        self.0.retain(|_, side| now - side.seen <= MEMORY);
    }

    /// The side of a track; nobody's where it is not known.
    pub fn of(&self, track: u32) -> Side {
        self.0.get(&track).copied().unwrap_or_default()
    }
}

/// The ball and the people of a frame.
pub struct Scene<'a> {
    /// The ball's place, if it is known.
    pub ball: Option<&'a Place>,
    /// Everybody who plays, with their sides: referees are left out.
    pub players: Vec<(&'a Place, Side)>,
    /// Metres, not pixels.
    pub metric: bool,
}

impl<'a> Scene<'a> {
    /// Of a frame's places.
    pub fn of(places: &'a [Place], sides: &Sides) -> Self {
        let known = |place: &&Place| place.x.is_finite() && place.y.is_finite();
        Self {
            ball: places.iter().filter(known).find(|place| place.track == BALL),
            players: places
                .iter()
                .filter(|place| place.track != BALL)
                .filter(known)
                .map(|place| (place, sides.of(place.track)))
                .filter(|(_, side)| !side.referee)
                .collect(),
            metric: places.iter().any(|place| place.unit == METRES),
        }
    }
}

/// From one point to another in metres, where a metre has `scale` units.
pub fn metres(a: [f32; 2], b: [f32; 2], scale: f32) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1]) / scale
}
