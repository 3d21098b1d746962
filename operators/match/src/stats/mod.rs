//! `stats`: totals of players and teams. It reads places, teams, possession and events, writes the totals so far, and
//! at the end of a stream `summary.json` and a heat map per team into the folder of the run.
//!
//! Distances are measured between means over half a second, so that jitter of the boxes adds none. Where places are in
//! pixels, meters are estimated from the height of people, and the camera is assumed to be static; the summary says so.

mod distance;
mod heat;
mod summary;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Failure, Inputs, Operator, OrFail, Outputs, PortType, Resources, Result, Spec, StreamName,
    stream_file_name,
};
use sideline_sport::tables::{
    Event, EventKind, Formation, Place, Possession, PossessionState, Stat, Team, TeamName, Unit,
};

use crate::{
    calibration::{Calibration, PitchDimensions},
    scene::{Scene, TeamRoles},
};

use distance::{DistanceMeter, DistanceTotals};
use heat::HeatMap;

/// Computes totals of players and teams, and writes the match summary and heat maps.
#[derive(Clone, Debug, PartialEq, Config)]
#[config(check = StatsConfig::check)]
pub struct StatsConfig {
    /// Calibration file, as in `pitch`: heat maps show the lines of the pitch. Empty: they cover the area with places.
    #[config(default = "")]
    pub calibration: PathBuf,
    /// Bounds between the five speed zones, m/s, ascending: walking, jogging, running, fast running, sprinting. Higher
    /// counts less distance as fast.
    #[config(default = vec![2.0, 4.2, 5.6, 7.0], live)]
    pub zones: Vec<f32>,
    /// Interval between two sets of rows, s. Lower gives a finer resolution in time and more rows.
    #[config(default = 1.0, live, range(0.03, 600))]
    pub interval: f64,
    /// Writes heat maps at the end of a stream; `false` leaves them out.
    #[config(default = true, live)]
    pub heat_maps: bool,
}

impl StatsConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let is_ascending = self.zones.windows(2).all(|pair| pair[0] < pair[1]);
        if self.zones.len() == 4 && is_ascending && self.zones.iter().all(|bound| *bound > 0.0 && bound.is_finite()) {
            return vec![];
        }
        let text =
            format!("{:?} are not four ascending bounds of five zones, as in `[2.0, 4.2, 5.6, 7.0]`", self.zones);
        vec![("zones", text)]
    }

    fn bounds(&self) -> [f32; 4] {
        std::array::from_fn(|i| self.zones.get(i).copied().unwrap_or(f32::INFINITY))
    }
}

/// State of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatsState {
    roles: TeamRoles,
    players: BTreeMap<u32, Player>,
    teams: [Totals; 2],
    /// Formations by period and team, from the closing message and before.
    formations: BTreeMap<(u32, TeamName), summary::FormationSummary>,
    is_metric: Option<bool>,
    /// Number of frames.
    frames: u64,
    /// Number of frames with a ball.
    ball_frames: u64,
    /// Number of frames in each state of possession.
    possession_frames: BTreeMap<PossessionState, u64>,
    /// Media time of the last rows, s.
    last_sent: Option<f64>,
    /// Media time of the first frame, s.
    first_frame: Option<f64>,
    /// Media time of the last frame, s.
    last_frame: f64,
}

/// Totals of a player or a team.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Totals {
    distance: DistanceTotals,
    /// Number of frames in which the player or team controlled the ball.
    controlled_frames: u64,
    passes: u32,
    completed: u32,
    interceptions: u32,
    shots: u32,
    /// Number of events of each kind.
    events: BTreeMap<EventKind, u32>,
    heat: HeatMap,
}

/// State of one track.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Player {
    team: Option<usize>,
    is_goalkeeper: bool,
    meter: DistanceMeter,
    totals: Totals,
}

/// Maximum number of tracks; the longest unseen are dropped, and their events and distances stay in the totals of their
/// team.
const MAX_PLAYERS: usize = 2000;
/// Time after which an unseen track has no more rows, s.
const ROW_TIMEOUT_S: f64 = 5.0;
/// Maximum duration of a frame, s: a longer time is a gap.
const MAX_FRAME_S: f64 = 0.2;

/// See the [module](self).
pub struct Stats {
    config: StatsConfig,
    pitch: Option<PitchDimensions>,
    run_dir: PathBuf,
    /// Streams in the order of their first frame: the file names of the first one have no suffix.
    streams: Vec<StreamName>,
}

impl Operator for Stats {
    type Config = StatsConfig;
    type State = StatsState;

    fn spec() -> Spec {
        Spec::operator("stats")
            .required("places", PortType::table::<Place>())
            .optional("teams", PortType::table::<Team>())
            .optional("possession", PortType::table::<Possession>())
            .optional("events", PortType::table::<Event>())
            .optional("formation", PortType::table::<Formation>())
            .output("stats", PortType::table::<Stat>())
    }

    fn new(config: StatsConfig, resources: &Resources) -> Result<Self> {
        let pitch = Calibration::from_key(&config.calibration, resources)?.map(|calibration| calibration.pitch);
        Ok(Self { config, pitch, run_dir: resources.run_dir.clone(), streams: vec![] })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut StatsState, out: &mut Outputs) -> Result<()> {
        if !self.streams.contains(&cx.header.stream) {
            self.streams.push(cx.header.stream.clone());
        }
        let now = cx.seconds();
        let places = input.rows::<Place>("places")?.unwrap_or_default();
        let teams = input.rows::<Team>("teams")?.unwrap_or_default();
        state.roles.update(&teams, &places, now);
        state.update(&places, now, &self.config.bounds());
        if let Some(row) = input.rows::<Possession>("possession")?.unwrap_or_default().first() {
            state.add_possession(row);
        }
        state.add_events(&input.rows::<Event>("events")?.unwrap_or_default());
        state.add_formations(input.rows::<Formation>("formation")?.unwrap_or_default());
        if state.last_sent.is_none_or(|sent| now - sent >= self.config.interval - 1e-6) {
            state.last_sent = Some(now);
            return out.rows("stats", &state.rows(Some(now)));
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: &StatsConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, input: &Inputs, state: &mut StatsState, out: &mut Outputs) -> Result<()> {
        // Rows that the producers send only with the end of the stream.
        state.add_events(&input.rows::<Event>("events")?.unwrap_or_default());
        state.add_formations(input.rows::<Formation>("formation")?.unwrap_or_default());
        if state.frames == 0 {
            return Ok(());
        }
        self.write_files(&cx.header.stream, state)?;
        out.rows("stats", &state.rows(None))
    }
}

impl Stats {
    /// Returns the suffix of the names of a stream's files, which is empty for the first stream.
    fn file_name_suffix(&self, stream: &StreamName) -> String {
        if self.streams.first().is_none_or(|first| first == stream) {
            return String::new();
        }
        let part = stream_file_name(stream);
        // Several streams may have the same part of a file name.
        let earlier = self.streams.iter().skip(1).take_while(|other| *other != stream);
        match earlier.filter(|other| stream_file_name(other) == part).count() {
            0 => format!("-{part}"),
            count => format!("-{part}-{}", count + 1),
        }
    }

    /// Writes the summary and heat maps of a stream.
    fn write_files(&self, stream: &StreamName, state: &StatsState) -> Result<()> {
        let name = self.file_name_suffix(stream);
        let path = self.run_dir.join(format!("summary{name}.json"));
        let mut maps = BTreeMap::new();
        for (team, totals) in TeamName::TEAMS
            .iter()
            .zip(&state.teams)
            .filter(|(_, totals)| self.config.heat_maps && !totals.heat.is_empty())
        {
            let file = format!("heat_{team}{name}.png");
            let pitch = self.pitch.filter(|_| state.is_metric == Some(true));
            totals.heat.write(&self.run_dir.join(&file), pitch)?;
            maps.insert(*team, file);
        }
        let text = summary::render(stream, state, self.pitch, &self.config, &maps);
        write_atomically(&path, &text)
    }
}

/// Writes a file atomically.
fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("json.new");
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, path))
        .or_fail(Failure::Output, || path.display().to_string())
}

impl StatsState {
    fn update(&mut self, places: &[Place], now: f64, bounds: &[f32; 4]) {
        let step = self.first_frame.map_or(0.0, |_| (now - self.last_frame).clamp(0.0, MAX_FRAME_S));
        self.first_frame.get_or_insert(now);
        self.last_frame = now;
        self.frames += 1;
        let scene = Scene::new(places, &self.roles);
        self.ball_frames += u64::from(scene.ball.is_some());
        if !places.is_empty() {
            self.is_metric = Some(scene.is_metric);
        }
        for (place, role) in scene.players.iter().filter(|(place, _)| place.scale > 0.0) {
            let player = self.players.entry(place.track).or_default();
            (player.team, player.is_goalkeeper) = (role.team.or(player.team), role.is_goalkeeper);
            let at = [place.x, place.y, place.scale].map(f64::from);
            let mut team_totals = player.team.map(|team| &mut self.teams[team]);
            if let Some(totals) = team_totals.as_deref_mut() {
                totals.heat.add([place.x, place.y], step as f32, scene.is_metric);
            }
            let totals = [Some(&mut player.totals.distance), team_totals.map(|totals| &mut totals.distance)];
            player.meter.update(now, step, at, bounds, totals);
        }
        while self.players.len() > MAX_PLAYERS {
            let oldest = self.players.iter().min_by(|a, b| a.1.meter.last_seen.total_cmp(&b.1.meter.last_seen));
            let Some(track) = oldest.map(|(track, _)| *track) else { break };
            self.players.remove(&track);
        }
    }

    fn add_possession(&mut self, row: &Possession) {
        *self.possession_frames.entry(row.state).or_default() += 1;
        if row.state == PossessionState::Controlled {
            if let Some(team) = row.team.index() {
                self.teams[team].controlled_frames += 1;
            }
            if let Some(player) = self.players.get_mut(&row.track) {
                player.totals.controlled_frames += 1;
            }
        }
    }

    fn add_events(&mut self, rows: &[Event]) {
        for row in rows {
            let player_totals = self.players.get_mut(&row.track).map(|player| &mut player.totals);
            let team_totals = row.team.index().map(|team| &mut self.teams[team]);
            for totals in player_totals.into_iter().chain(team_totals) {
                *totals.events.entry(row.kind).or_default() += 1;
                match row.kind {
                    EventKind::Pass => {
                        totals.passes += 1;
                        totals.completed += u32::from(row.complete);
                    }
                    EventKind::Interception => totals.interceptions += 1,
                    EventKind::Shot => totals.shots += 1,
                    _ => {}
                }
            }
        }
    }

    fn add_formations(&mut self, rows: Vec<Formation>) {
        for row in rows {
            self.formations.insert((row.period, row.team), summary::FormationSummary::new(&row));
        }
        while self.formations.len() > 2000 {
            self.formations.pop_first();
        }
    }

    /// Returns the rows of the teams, then of the players seen recently, or of all players where `now` is `None`.
    fn rows(&self, now: Option<f64>) -> Vec<Stat> {
        let teams = TeamName::TEAMS.iter().zip(&self.teams).filter(|(_, totals)| totals.distance.visible_s > 0.0);
        let teams = teams.map(|(name, totals)| self.to_row(*name, 0, totals));
        let is_recent = |player: &&Player| now.is_none_or(|now| now - player.meter.last_seen <= ROW_TIMEOUT_S);
        let players = self.players.iter().filter(|(_, player)| is_recent(player));
        teams.chain(players.map(|(track, p)| self.to_row(TeamName::from_index(p.team), *track, &p.totals))).collect()
    }

    fn to_row(&self, team: TeamName, track: u32, totals: &Totals) -> Stat {
        let total_frames = self.teams[0].controlled_frames + self.teams[1].controlled_frames;
        Stat {
            team,
            track,
            possession: if total_frames == 0 {
                f32::NAN
            } else {
                (totals.controlled_frames as f64 / total_frames as f64) as f32
            },
            passes: totals.passes,
            completed: totals.completed,
            interceptions: totals.interceptions,
            shots: totals.shots,
            distance: totals.distance.total_m as f32,
            top_speed: totals.distance.top_speed_m_s as f32,
            zones: totals.distance.zones_m.map(|meters| meters as f32),
            seconds: totals.distance.visible_s as f32,
            unit: if self.is_metric == Some(true) { Unit::Meters } else { Unit::Pixels },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_has_files_of_its_own_whatever_its_name_is() {
        let streams: Vec<StreamName> = ["left", "a/b", "a\nb", "right"].map(Into::into).into();
        let config = StatsConfig::from_values(&[("calibration", "")].into()).unwrap();
        let stats = Stats { config, pitch: None, run_dir: PathBuf::new(), streams: streams.clone() };
        let suffixes: Vec<String> = streams.iter().map(|stream| stats.file_name_suffix(stream)).collect();
        assert_eq!(suffixes, ["", "-a_b", "-a_b-2", "-right"]);
    }
}
