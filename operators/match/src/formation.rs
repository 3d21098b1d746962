//! `formation`: places and teams in, how each team stands out.
//!
//! Each second a row for each team says how it has stood in this period so far; the closing message has all periods' shapes.
//! The way a team plays is learnt from who stands outermost. The goalkeeper is left out: the one that `teams` names, else,
//! where eleven are seen, the last man.

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Formation, METRES, PIXELS, Place, Team},
};

use crate::{
    calibration::{Calibration, Field},
    direction::Direction,
    shape::{ROLES, Roles},
    sides::{Scene, Sides},
};

/// Says how each team stands: lines, width, depth.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct FormationConfig {
    /// The calibration file, as `pitch` has it: lines are then counted from the own goal. Empty: from the rearmost line.
    #[config(default = "")]
    pub calibration: std::path::PathBuf,
    /// Seconds that one shape is about. Higher is steadier; lower shows changes sooner.
    #[config(default = 300.0, range(1, 10_800))]
    pub period: f64,
    /// Seconds between two rows of a team. Lower follows more closely and records more.
    #[config(default = 1.0, live, range(0.03, 600))]
    pub interval: f64,
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FormationState {
    sides: Sides,
    direction: Direction,
    period: u32,
    teams: [Standing; 2],
    /// Rows of the periods that are over.
    over: Vec<Row>,
    /// When rows were sent last, and when a frame was seen last, s.
    sent: Option<f64>,
    last: f64,
    metric: bool,
}

/// Periods that are kept for the end.
const MOST_PERIODS: usize = 1000;
/// Fewest players that tell width and depth.
const FEW: usize = 3;

/// One team in one period: sums over its frames.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Standing {
    roles: Roles,
    frames: f64,
    /// Width, depth, x, y, players, units in a metre.
    sums: [f64; 6],
}

/// A row as the state keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    team: usize,
    period: u32,
    plays: String,
    shape: String,
    lines: Vec<f32>,
    /// Width, depth, x, y.
    place: [f32; 4],
    players: u16,
    confidence: f32,
}

/// See the [module](self).
pub struct FormationOperator {
    config: FormationConfig,
    field: Option<Field>,
}

impl Operator for FormationOperator {
    type Config = FormationConfig;
    type State = FormationState;

    fn spec() -> Spec {
        Spec::operator("formation")
            .required("places", PortType::table::<Place>())
            .optional("teams", PortType::table::<Team>())
            .output("formation", PortType::table::<Formation>())
    }

    fn new(config: FormationConfig, resources: &Resources) -> Result<Self> {
        let field = Calibration::of_key(&config.calibration, resources)?.map(|calibration| calibration.field);
        Ok(Self { config, field })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut FormationState, out: &mut Outputs) -> Result<()> {
        let places = input.rows::<Place>("places")?.unwrap_or_default();
        let teams = input.rows::<Team>("teams")?.unwrap_or_default();
        let now = cx.seconds();
        state.sides.see(&teams, &places, now);
        let period = (now / self.config.period) as u32;
        if period != state.period {
            state.close(self.field);
            state.period = period;
        }
        state.see(&places, self.field, now);
        if state.sent.is_none_or(|sent| now - sent >= self.config.interval - 1e-6) {
            state.sent = Some(now);
            let rows: Vec<Formation> = state.rows(self.field).into_iter().map(|row| row.table(state.metric)).collect();
            return out.rows("formation", &rows);
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: &FormationConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, _: &Context, _: &Inputs, state: &mut FormationState, out: &mut Outputs) -> Result<()> {
        state.close(self.field);
        let rows: Vec<Formation> = state.over.iter().map(|row| row.table(state.metric)).collect();
        if rows.is_empty() { Ok(()) } else { out.rows("formation", &rows) }
    }
}

impl FormationState {
    fn see(&mut self, places: &[Place], pitch: Option<Field>, now: f64) {
        let scene = Scene::of(places, &self.sides);
        let step = (now - self.last).clamp(0.0, 1.0);
        self.last = now;
        if !scene.players.is_empty() {
            self.metric = scene.metric;
        }
        self.direction.see(&scene, pitch.filter(|_| scene.metric), step);
        for (team, standing) in self.teams.iter_mut().enumerate() {
            let own = scene.players.iter().filter(|(place, side)| side.team == Some(team) && place.scale > 0.0);
            let all: Vec<&(&Place, _)> = own.collect();
            let mut field: Vec<&Place> =
                all.iter().filter(|(_, side)| !side.goalkeeper).map(|(place, _)| *place).collect();
            // Which way a team plays must be known, or front and rear are mixed up.
            let Some(forth) = self.direction.of(team) else { continue };
            field.sort_by(|a, b| (a.x * forth).total_cmp(&(b.x * forth)));
            let keeper_known = all.len() > field.len();
            if !keeper_known && field.len() > ROLES {
                field.remove(0);
            }
            field.truncate(ROLES);
            if field.len() >= FEW {
                standing.see(&field, forth);
            }
        }
    }

    fn rows(&self, field: Option<Field>) -> Vec<Row> {
        let rows = self.teams.iter().enumerate().filter_map(|(team, standing)| {
            standing.row(team, self.period, self.direction.of(team), field.filter(|_| self.metric))
        });
        rows.collect()
    }

    /// The period is over.
    fn close(&mut self, field: Option<Field>) {
        let rows = self.rows(field);
        self.over.extend(rows);
        let surplus = self.over.len().saturating_sub(MOST_PERIODS);
        self.over.drain(..surplus);
        self.teams = Default::default();
    }
}

impl Standing {
    /// Takes in the outfield players of a frame, from the rear on; `forth` is +1 where they play to the right.
    fn see(&mut self, players: &[&Place], forth: f32) {
        let n = players.len() as f64;
        let mean = |value: fn(&Place) -> f32| players.iter().map(|place| f64::from(value(place))).sum::<f64>() / n;
        let (x, y, scale) = (mean(|p| p.x), mean(|p| p.y), mean(|p| p.scale));
        let beside: Vec<[f64; 2]> = players
            .iter()
            .map(|place| [f64::from(forth) * (f64::from(place.x) - x) / scale, (f64::from(place.y) - y) / scale])
            .collect();
        self.roles.see(&beside);
        let span = |value: fn(&Place) -> f32| {
            let values = players.iter().map(|place| value(place));
            f64::from(values.clone().fold(f32::MIN, f32::max) - values.fold(f32::MAX, f32::min))
        };
        self.frames += 1.0;
        for (sum, value) in self.sums.iter_mut().zip([span(|p| p.y), span(|p| p.x), x, y, n, scale]) {
            *sum += value;
        }
    }

    fn row(&self, team: usize, period: u32, forth: Option<f32>, field: Option<Field>) -> Option<Row> {
        if self.frames == 0.0 {
            return None;
        }
        let [width, depth, x, y, players, scale] = self.sums.map(|sum| sum / self.frames);
        let lines = self.roles.lines();
        // From the own goal line where there is one, else from the rearmost line.
        let middle = match (field, forth) {
            (Some(_), Some(forth)) if forth > 0.0 => Some(x),
            (Some(field), Some(_)) => Some(f64::from(field.length) - x),
            _ => None,
        };
        let depths = lines.as_ref().map_or(vec![], |found| {
            let from = middle.unwrap_or_else(|| -scale * found.lines.first().map_or(0.0, |line| line.1));
            found.lines.iter().map(|(_, depth)| (from + depth * scale) as f32).collect()
        });
        let seen = (players / ROLES as f64).min(1.0);
        Some(Row {
            team,
            period,
            plays: match forth {
                Some(forth) if forth > 0.0 => "right".into(),
                Some(_) => "left".into(),
                None => String::new(),
            },
            shape: lines.as_ref().map_or_else(String::new, |found| {
                found.lines.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>().join("-")
            }),
            lines: depths,
            place: [width, depth, x, y].map(|value| value as f32),
            players: players.round() as u16,
            confidence: lines.map_or(0.0, |found| found.confidence * seen) as f32,
        })
    }
}

impl Row {
    fn table(&self, metric: bool) -> Formation {
        let [width, depth, x, y] = self.place;
        Formation {
            team: Team::NAMES[self.team].into(),
            period: self.period,
            plays: self.plays.clone(),
            shape: self.shape.clone(),
            lines: self.lines.clone(),
            width,
            depth,
            x,
            y,
            players: self.players,
            unit: if metric { METRES } else { PIXELS }.into(),
            confidence: self.confidence,
        }
    }
}
