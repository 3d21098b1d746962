//! `stats`: places, teams, possession and events in; what each player and team has done so far out, and at the end of a
//! stream `summary.json` and a heat map of each team in the folder of the run.
//!
//! Ways are measured between means over half a second, so that trembling boxes make none. Where places are pixels, metres
//! are estimated from how tall people look, and the camera is taken to stand still; the summary says so.

mod heat;
mod summary;
mod way;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Failure, Inputs, Operator, OrFail, Outputs, PortType, Resources, Result, Spec, StreamName,
    tables::{Event, Formation, METRES, PIXELS, Place, Possession, Stat, Team},
};

use crate::{
    calibration::{Calibration, Field},
    sides::{Scene, Sides},
};

use heat::Heat;
use way::{Walker, Ways};

/// Counts what players and teams do, and writes the match's summary and heat maps.
#[derive(Clone, Debug, PartialEq, Config)]
#[config(check = StatsConfig::check)]
pub struct StatsConfig {
    /// The calibration file, as `pitch` has it: heat maps are then drawn on the pitch. Empty: as large as the picture.
    #[config(default = "")]
    pub calibration: PathBuf,
    /// Bounds between the five speed zones, metres per second, rising: standing and walking, jogging, running, running fast,
    /// sprinting.
    #[config(default = vec![2.0, 4.2, 5.6, 7.0], live)]
    pub zones: Vec<f32>,
    /// Seconds between two rows. Lower follows more closely and records more.
    #[config(default = 1.0, live, range(0.03, 600))]
    pub interval: f64,
    /// Whether heat maps are written at the end.
    #[config(default = true, live)]
    pub heat_maps: bool,
}

impl StatsConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let rising = self.zones.windows(2).all(|pair| pair[0] < pair[1]);
        if self.zones.len() == 4 && rising && self.zones.iter().all(|bound| *bound > 0.0 && bound.is_finite()) {
            return vec![];
        }
        let text =
            format!("{:?} are not the four rising bounds of five zones, as in `[2.0, 4.2, 5.6, 7.0]`", self.zones);
        vec![("zones", text)]
    }

    fn bounds(&self) -> [f32; 4] {
        std::array::from_fn(|i| self.zones.get(i).copied().unwrap_or(f32::INFINITY))
    }
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatsState {
    sides: Sides,
    players: BTreeMap<u32, Player>,
    teams: [Sum; 2],
    /// All formations' rows of the closing message and before: period and team.
    formations: BTreeMap<(u32, String), summary::Shape>,
    metric: Option<bool>,
    /// Frames, frames with a ball, and states of possession.
    frames: u64,
    with_ball: u64,
    states: BTreeMap<String, u64>,
    sent: Option<f64>,
    first: Option<f64>,
    last: f64,
}

/// What a player or a team has done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sum {
    ways: Ways,
    had_ball: u64,
    passes: u32,
    completed: u32,
    interceptions: u32,
    shots: u32,
    /// Of teams: all events by their kinds.
    events: BTreeMap<String, u32>,
    heat: Heat,
}

/// One track.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Player {
    team: Option<usize>,
    goalkeeper: bool,
    walker: Walker,
    sum: Sum,
}

/// Tracks remembered at most; the longest unseen are forgotten, what they did stays with their team.
const MOST_PLAYERS: usize = 2000;
/// Seconds after which an unseen track has no more rows.
const GONE: f64 = 5.0;
/// Seconds that a frame counts at most: more is a gap.
const LONGEST: f64 = 0.2;

/// See the [module](self).
pub struct Stats {
    config: StatsConfig,
    field: Option<Field>,
    run_dir: PathBuf,
    /// Streams in the order they came: the first one's files bear no name.
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
        let field = Calibration::of_key(&config.calibration, resources)?.map(|calibration| calibration.field);
        Ok(Self { config, field, run_dir: resources.run_dir.clone(), streams: vec![] })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut StatsState, out: &mut Outputs) -> Result<()> {
        if !self.streams.contains(&cx.header.stream) {
            self.streams.push(cx.header.stream.clone());
        }
        let now = cx.seconds();
        let places = input.rows::<Place>("places")?.unwrap_or_default();
        let teams = input.rows::<Team>("teams")?.unwrap_or_default();
        state.sides.see(&teams, &places, now);
        state.see(&places, now, &self.config.bounds());
        if let Some(row) = input.rows::<Possession>("possession")?.unwrap_or_default().first() {
            state.possession(row);
        }
        state.events(&input.rows::<Event>("events")?.unwrap_or_default());
        state.shapes(input.rows::<Formation>("formation")?.unwrap_or_default());
        if state.sent.is_none_or(|sent| now - sent >= self.config.interval - 1e-6) {
            state.sent = Some(now);
            return out.rows("stats", &state.rows(Some(now)));
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: &StatsConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, input: &Inputs, state: &mut StatsState, out: &mut Outputs) -> Result<()> {
        // What the operators before it knew only at the end.
        state.events(&input.rows::<Event>("events")?.unwrap_or_default());
        state.shapes(input.rows::<Formation>("formation")?.unwrap_or_default());
        if state.frames == 0 {
            return Ok(());
        }
        self.write(&cx.header.stream, state)?;
        out.rows("stats", &state.rows(None))
    }
}

impl Stats {
    /// Writes a stream's summary and heat maps.
    fn write(&self, stream: &StreamName, state: &StatsState) -> Result<()> {
        let name = match self.streams.first() {
            Some(first) if first != stream => format!("-{stream}"),
            _ => String::new(),
        };
        let path = self.run_dir.join(format!("summary{name}.json"));
        let mut maps = BTreeMap::new();
        for (team, sum) in
            Team::NAMES.iter().zip(&state.teams).filter(|(_, sum)| self.config.heat_maps && !sum.heat.is_empty())
        {
            let file = format!("heat_{team}{name}.png");
            let field = self.field.filter(|_| state.metric == Some(true));
            sum.heat.write(&self.run_dir.join(&file), field)?;
            maps.insert((*team).to_owned(), file);
        }
        let text = summary::text(stream, state, self.field, &self.config, &maps);
        write_whole(&path, &text)
    }
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let draft = path.with_extension("json.new");
    std::fs::write(&draft, text)
        .and_then(|()| std::fs::rename(&draft, path))
        .or_fail(Failure::Output, || path.display().to_string())
}

impl StatsState {
    fn see(&mut self, places: &[Place], now: f64, bounds: &[f32; 4]) {
        let step = self.first.map_or(0.0, |_| (now - self.last).clamp(0.0, LONGEST));
        self.first.get_or_insert(now);
        self.last = now;
        self.frames += 1;
        let scene = Scene::of(places, &self.sides);
        self.with_ball += u64::from(scene.ball.is_some());
        if !places.is_empty() {
            self.metric = Some(scene.metric);
        }
        for (place, side) in scene.players.iter().filter(|(place, _)| place.scale > 0.0) {
            let player = self.players.entry(place.track).or_default();
            (player.team, player.goalkeeper) = (side.team.or(player.team), side.goalkeeper);
            let at = [place.x, place.y, place.scale].map(f64::from);
            let mut own = player.team.map(|team| &mut self.teams[team]);
            if let Some(own) = own.as_deref_mut() {
                own.heat.add([place.x, place.y], step as f32, scene.metric);
            }
            let ways = [Some(&mut player.sum.ways), own.map(|own| &mut own.ways)];
            player.walker.see(now, step, at, bounds, ways);
        }
        while self.players.len() > MOST_PLAYERS {
            let oldest = self.players.iter().min_by(|a, b| a.1.walker.seen.total_cmp(&b.1.walker.seen));
            let Some(track) = oldest.map(|(track, _)| *track) else { break };
            self.players.remove(&track);
        }
    }

    fn possession(&mut self, row: &Possession) {
        *self.states.entry(row.state.clone()).or_default() += 1;
        if row.state == "controlled" {
            if let Some(team) = Team::number(&row.team) {
                self.teams[team].had_ball += 1;
            }
            if let Some(player) = self.players.get_mut(&row.track) {
                player.sum.had_ball += 1;
            }
        }
    }

    fn events(&mut self, rows: &[Event]) {
        for row in rows {
            let player = self.players.get_mut(&row.track).map(|player| &mut player.sum);
            let own = Team::number(&row.team).map(|team| &mut self.teams[team]);
            for sum in player.into_iter().chain(own) {
                *sum.events.entry(row.kind.clone()).or_default() += 1;
                match row.kind.as_str() {
                    "pass" => {
                        sum.passes += 1;
                        sum.completed += u32::from(row.complete);
                    }
                    "interception" => sum.interceptions += 1,
                    "shot" => sum.shots += 1,
                    _ => {}
                }
            }
        }
    }

    fn shapes(&mut self, rows: Vec<Formation>) {
        for row in rows {
            self.formations.insert((row.period, row.team.clone()), summary::Shape::of(&row));
        }
        while self.formations.len() > 2000 {
            self.formations.pop_first();
        }
    }

    /// Teams, then the players seen lately; all players where `now` is none.
    fn rows(&self, now: Option<f64>) -> Vec<Stat> {
        let teams = Team::NAMES.iter().zip(&self.teams).filter(|(_, sum)| sum.ways.seconds > 0.0);
        let teams = teams.map(|(name, sum)| self.row(name, 0, sum));
        let lately = |player: &&Player| now.is_none_or(|now| now - player.walker.seen <= GONE);
        let players = self.players.iter().filter(|(_, player)| lately(player));
        teams.chain(players.map(|(track, p)| self.row(crate::sides::name(p.team), *track, &p.sum))).collect()
    }

    fn row(&self, team: &str, track: u32, sum: &Sum) -> Stat {
        let all = self.teams[0].had_ball + self.teams[1].had_ball;
        Stat {
            team: team.into(),
            track,
            possession: if all == 0 { f32::NAN } else { (sum.had_ball as f64 / all as f64) as f32 },
            passes: sum.passes,
            completed: sum.completed,
            interceptions: sum.interceptions,
            shots: sum.shots,
            distance: sum.ways.distance as f32,
            top_speed: sum.ways.top_speed as f32,
            zones: sum.ways.zones.map(|metres| metres as f32),
            seconds: sum.ways.seconds as f32,
            unit: if self.metric == Some(true) { METRES } else { PIXELS }.into(),
        }
    }
}
