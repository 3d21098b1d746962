//! `formation`: derives each team's formation. It reads places and teams.
//!
//! At a fixed interval, one row per team describes its formation in the current period so far; the closing message
//! contains the formations of all periods. The direction of attack is learned from the outermost players. The
//! goalkeeper is left out: the one that `teams` names, else, with eleven visible players, the rearmost one.

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{self, Direction, Place, Team, TeamName, Unit};

use crate::{
    calibration::{Calibration, PitchDimensions},
    direction::AttackDirection,
    scene::{Scene, TeamRoles},
    shape::{OUTFIELD_PLAYERS, Roles},
};

/// Derives each team's formation: lines, width, depth.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct FormationConfig {
    /// Calibration file, as in `pitch`: the depth of lines is measured from the own goal line. Empty: from the rearmost
    /// line.
    #[config(default = "")]
    pub calibration: std::path::PathBuf,
    /// Duration of the period that one formation covers, s. Higher is steadier; lower reports changes sooner.
    #[config(default = 300.0, range(1, 10_800))]
    pub period: f64,
    /// Interval between two rows of a team, s. Lower gives a finer resolution in time and more rows.
    #[config(default = 1.0, live, range(0.03, 600))]
    pub interval: f64,
}

/// State of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FormationState {
    team_roles: TeamRoles,
    direction: AttackDirection,
    period: u32,
    teams: [PeriodSums; 2],
    /// Rows of finished periods.
    finished: Vec<PeriodRow>,
    /// Media time of the last rows, s.
    last_sent: Option<f64>,
    /// Media time of the last frame, s.
    last_frame: f64,
    is_metric: bool,
}

/// Maximum number of finished periods for the closing message; it bounds memory.
const MAX_PERIODS: usize = 1000;
/// Minimum number of players for width and depth.
const MIN_PLAYERS: usize = 3;

/// Sums over the frames of one team in one period.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct PeriodSums {
    roles: Roles,
    frames: f64,
    /// Width, depth, x, y, number of players, units per meter.
    sums: [f64; 6],
}

/// A row in serializable form.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PeriodRow {
    team: usize,
    period: u32,
    plays: Direction,
    shape: String,
    lines: Vec<f32>,
    /// Width, depth, x, y.
    extent_and_center: [f32; 4],
    players: u16,
    confidence: f32,
}

/// See the [module](self).
pub struct Formation {
    config: FormationConfig,
    pitch: Option<PitchDimensions>,
}

impl Operator for Formation {
    type Config = FormationConfig;
    type State = FormationState;

    fn spec() -> Spec {
        Spec::operator("formation")
            .required("places", PortType::table::<Place>())
            .optional("teams", PortType::table::<Team>())
            .output("formation", PortType::table::<tables::Formation>())
    }

    fn new(config: FormationConfig, resources: &Resources) -> Result<Self> {
        let pitch = Calibration::from_key(&config.calibration, resources)?.map(|calibration| calibration.pitch);
        Ok(Self { config, pitch })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut FormationState, out: &mut Outputs) -> Result<()> {
        let places = input.rows::<Place>("places")?.unwrap_or_default();
        let teams = input.rows::<Team>("teams")?.unwrap_or_default();
        let now = cx.seconds();
        state.team_roles.update(&teams, &places, now);
        let period = (now / self.config.period) as u32;
        if period != state.period {
            state.finish_period(self.pitch);
            state.period = period;
        }
        state.update(&places, self.pitch, now);
        if state.last_sent.is_none_or(|sent| now - sent >= self.config.interval - 1e-6) {
            state.last_sent = Some(now);
            let rows: Vec<tables::Formation> =
                state.rows(self.pitch).into_iter().map(|row| row.to_table_row(state.is_metric)).collect();
            return out.rows("formation", &rows);
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: &FormationConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, _: &Context, _: &Inputs, state: &mut FormationState, out: &mut Outputs) -> Result<()> {
        state.finish_period(self.pitch);
        let rows: Vec<tables::Formation> = state.finished.iter().map(|row| row.to_table_row(state.is_metric)).collect();
        if rows.is_empty() { Ok(()) } else { out.rows("formation", &rows) }
    }
}

impl FormationState {
    fn update(&mut self, places: &[Place], pitch: Option<PitchDimensions>, now: f64) {
        let scene = Scene::new(places, &self.team_roles);
        let step = (now - self.last_frame).clamp(0.0, 1.0);
        self.last_frame = now;
        if !scene.players.is_empty() {
            self.is_metric = scene.is_metric;
        }
        self.direction.update(&scene, pitch.filter(|_| scene.is_metric), step);
        for (team, sums) in self.teams.iter_mut().enumerate() {
            let own = scene.players.iter().filter(|(place, role)| role.team == Some(team) && place.scale > 0.0);
            let all: Vec<&(&Place, _)> = own.collect();
            let mut outfield: Vec<&Place> =
                all.iter().filter(|(_, role)| !role.is_goalkeeper).map(|(place, _)| *place).collect();
            // Without the direction of attack, front and rear cannot be distinguished.
            let Some(attack_sign) = self.direction.attack_sign(team) else { continue };
            outfield.sort_by(|a, b| (a.x * attack_sign).total_cmp(&(b.x * attack_sign)));
            let has_known_goalkeeper = all.len() > outfield.len();
            if !has_known_goalkeeper && outfield.len() > OUTFIELD_PLAYERS {
                outfield.remove(0);
            }
            outfield.truncate(OUTFIELD_PLAYERS);
            if outfield.len() >= MIN_PLAYERS {
                sums.update(&outfield, attack_sign);
            }
        }
    }

    fn rows(&self, pitch: Option<PitchDimensions>) -> Vec<PeriodRow> {
        let rows = self.teams.iter().enumerate().filter_map(|(team, sums)| {
            sums.to_row(team, self.period, self.direction.attack_sign(team), pitch.filter(|_| self.is_metric))
        });
        rows.collect()
    }

    /// Finishes the period.
    fn finish_period(&mut self, pitch: Option<PitchDimensions>) {
        let rows = self.rows(pitch);
        self.finished.extend(rows);
        let surplus = self.finished.len().saturating_sub(MAX_PERIODS);
        self.finished.drain(..surplus);
        self.teams = Default::default();
    }
}

impl PeriodSums {
    /// Adds a frame's outfield players, ordered from the rear; `attack_sign` is +1 for attacks to the right.
    fn update(&mut self, players: &[&Place], attack_sign: f32) {
        let n = players.len() as f64;
        let mean = |value: fn(&Place) -> f32| players.iter().map(|place| f64::from(value(place))).sum::<f64>() / n;
        let (x, y, scale) = (mean(|p| p.x), mean(|p| p.y), mean(|p| p.scale));
        let relative: Vec<[f64; 2]> = players
            .iter()
            .map(|place| [f64::from(attack_sign) * (f64::from(place.x) - x) / scale, (f64::from(place.y) - y) / scale])
            .collect();
        self.roles.update(&relative);
        let span = |value: fn(&Place) -> f32| {
            let values = players.iter().map(|place| value(place));
            f64::from(values.clone().fold(f32::MIN, f32::max) - values.fold(f32::MAX, f32::min))
        };
        self.frames += 1.0;
        for (sum, value) in self.sums.iter_mut().zip([span(|p| p.y), span(|p| p.x), x, y, n, scale]) {
            *sum += value;
        }
    }

    fn to_row(
        &self,
        team: usize,
        period: u32,
        attack_sign: Option<f32>,
        pitch: Option<PitchDimensions>,
    ) -> Option<PeriodRow> {
        if self.frames == 0.0 {
            return None;
        }
        let [width, depth, x, y, players, scale] = self.sums.map(|sum| sum / self.frames);
        let lines = self.roles.lines();
        // From the own goal line where the pitch is calibrated, else from the rearmost line.
        let center_depth = match (pitch, attack_sign) {
            (Some(_), Some(attack_sign)) if attack_sign > 0.0 => Some(x),
            (Some(pitch), Some(_)) => Some(f64::from(pitch.length) - x),
            _ => None,
        };
        let depths = lines.as_ref().map_or(vec![], |found| {
            let from = center_depth.unwrap_or_else(|| -scale * found.lines.first().map_or(0.0, |line| line.1));
            found.lines.iter().map(|(_, depth)| (from + depth * scale) as f32).collect()
        });
        let visible_share = (players / OUTFIELD_PLAYERS as f64).min(1.0);
        Some(PeriodRow {
            team,
            period,
            plays: match attack_sign {
                Some(attack_sign) if attack_sign > 0.0 => Direction::Right,
                Some(_) => Direction::Left,
                None => Direction::Unknown,
            },
            shape: lines.as_ref().map_or_else(String::new, |found| {
                found.lines.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>().join("-")
            }),
            lines: depths,
            extent_and_center: [width, depth, x, y].map(|value| value as f32),
            players: players.round() as u16,
            confidence: lines.map_or(0.0, |found| found.confidence * visible_share) as f32,
        })
    }
}

impl PeriodRow {
    fn to_table_row(&self, is_metric: bool) -> tables::Formation {
        let [width, depth, x, y] = self.extent_and_center;
        tables::Formation {
            team: TeamName::TEAMS[self.team],
            period: self.period,
            plays: self.plays,
            shape: self.shape.clone(),
            lines: self.lines.clone(),
            width,
            depth,
            x,
            y,
            players: self.players,
            unit: if is_metric { Unit::Meters } else { Unit::Pixels },
            confidence: self.confidence,
        }
    }
}
