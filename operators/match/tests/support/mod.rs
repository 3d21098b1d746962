//! A scripted match: people move, the ball is passed, and all operators of the crate process it in a row.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};

use sideline_api::{
    Body, Payload, Table, Values,
    testing::{Harness, Setup},
};
use sideline_match::{Events, Pitch, Stats};
use sideline_sport::tables::{
    Ball, BallMode, Event, Formation, Place, Possession, Role, Stat, Team, TeamName, Track, TrackState,
};

/// Frame rate, frames/s.
pub const RATE: f32 = 30.0;
/// Pixels per meter of the simulated frames.
pub const SCALE: f32 = 20.0;

/// Outputs of all operators.
#[derive(Default)]
pub struct MatchOutput {
    pub places: Vec<Vec<Place>>,
    pub possession: Vec<Possession>,
    pub events: Vec<Event>,
    pub formation: Vec<Formation>,
    pub stats: Vec<Stat>,
}

/// Writes a calibration that maps `SCALE` pixels to a meter of a 105 x 68 m pitch, and returns its path.
pub fn write_calibration(folder: &Path) -> PathBuf {
    let path = folder.join("pitch.yml");
    let corners = [[0.0, 0.0], [105.0, 0.0], [105.0, 68.0], [0.0, 68.0]];
    let points = corners.map(|[x, y]| format!("  - {{pixel: [{}, {}], pitch: [{x}, {y}]}}\n", x * SCALE, y * SCALE));
    std::fs::write(&path, format!("points:\n{}", points.concat())).unwrap();
    path
}

/// Returns the track of a person at a position in meters.
pub fn person_at(track: u32, [x, y]: [f32; 2]) -> Track {
    let (x, y, height) = (x * SCALE, y * SCALE, 1.75 * SCALE);
    Track {
        track,
        state: TrackState::Confirmed,
        x1: x - 0.2 * height,
        y1: y - height,
        x2: x + 0.2 * height,
        y2: y,
        score: 0.9,
        age: 10,
        ..Track::default()
    }
}

/// Returns the `teams` row of a track.
pub fn team_row(track: u32, team: TeamName, role: Role) -> Team {
    Team { track, team, role, confidence: 1.0, jersey: [f32::NAN; 3] }
}

/// Returns the ball at a position in meters.
pub fn ball_at([x, y]: [f32; 2]) -> Ball {
    Ball {
        x: x * SCALE,
        y: y * SCALE - 2.0,
        vx: 0.0,
        vy: 0.0,
        ax: 0.0,
        ay: 0.0,
        radius: 2.0,
        score: 0.9,
        measured: true,
        missing: 0,
        mode: BallMode::Normal,
        spread: 1.0,
    }
}

/// Runs all operators on a number of frames; `frame` returns people, teams and ball by frame number. Files are written
/// to `folder`; with `pitch`, places are in meters.
pub fn run_match(
    folder: &Path,
    pitch: bool,
    frames: u64,
    frame: impl Fn(u64) -> (Vec<Track>, Vec<Team>, Option<Ball>),
) -> MatchOutput {
    run_match_with(folder, pitch, frames, frame, Values::new())
}

/// Runs all operators with the given keys of `formation`; see [`run_match`].
pub fn run_match_with(
    folder: &Path,
    pitch: bool,
    frames: u64,
    frame: impl Fn(u64) -> (Vec<Track>, Vec<Team>, Option<Ball>),
    formation: Values,
) -> MatchOutput {
    let calibration = pitch.then(|| write_calibration(folder).display().to_string());
    let keys = |values| with_calibration(values, calibration.as_deref());
    let setup = || Setup { run_dir: folder.to_owned(), ..Setup::default() };
    let aligned = sideline_api::Alignment::Source(sideline_api::SourceId(0));
    let only =
        |names: &[&'static str]| Setup { inputs: Some(names.iter().map(|name| (*name, aligned)).collect()), ..setup() };
    let mut pitch = Harness::<Pitch>::with(keys(Values::new()), only(&["tracks", "ball"])).unwrap();
    let mut possession = Harness::<sideline_match::Possession>::with(Values::new(), setup()).unwrap();
    let mut events = Harness::<Events>::with(keys(Values::new()), setup()).unwrap();
    let mut formations = Harness::<sideline_match::Formation>::with(keys(formation), setup()).unwrap();
    let mut stats = Harness::<Stats>::with(keys(Values::new()), setup()).unwrap();
    let mut output = MatchOutput::default();
    for i in 0..frames {
        let (tracks, teams, ball) = frame(i);
        pitch.push("tracks", &tracks).unwrap();
        pitch.push("ball", &ball.into_iter().collect::<Vec<_>>()).unwrap();
        let places: Vec<Place> = pitch.expect("places");
        possession.push("places", &places).unwrap();
        possession.push("teams", &teams).unwrap();
        let possession_rows: Vec<Possession> = possession.expect("possession");
        events.push("places", &places).unwrap();
        events.push("possession", &possession_rows).unwrap();
        events.push("teams", &teams).unwrap();
        let event_rows: Vec<Event> = events.expect("events");
        formations.push("places", &places).unwrap();
        formations.push("teams", &teams).unwrap();
        let formation_rows: Vec<Formation> = formations.expect("formation");
        stats.push("places", &places).unwrap();
        stats.push("teams", &teams).unwrap();
        stats.push("possession", &possession_rows).unwrap();
        stats.push("events", &event_rows).unwrap();
        stats.push("formation", &formation_rows).unwrap();
        output.places.push(places);
        output.possession.extend(possession_rows);
        output.events.extend(event_rows);
        output.formation.extend(formation_rows);
        output.stats = stats.expect("stats");
    }
    events.end().unwrap();
    formations.end().unwrap();
    // Rows of the closing messages are forwarded to `stats`, as in a flow.
    let last_events: Vec<Event> = rows(events.next_message("events").map(|m| m.body));
    let formation_rows: Vec<Formation> = rows(formations.next_message("formation").map(|m| m.body));
    for (input, body) in [
        ("places", Body::End { frames }),
        ("teams", Body::End { frames }),
        ("possession", Body::End { frames }),
        ("events", table(&last_events)),
        ("formation", table(&formation_rows)),
    ] {
        match body {
            Body::End { .. } => stats.push_at(input, frames, body).unwrap(),
            rows => stats.push_closing(input, rows).unwrap(),
        }
    }
    for input in ["events", "formation"] {
        stats.push_at(input, frames, Body::End { frames }).unwrap();
    }
    output.events.extend(last_events);
    output.formation.extend(formation_rows);
    while let Some(message) = stats.next_message("stats") {
        if let Body::Data(Payload::Table(table)) = message.body {
            output.stats = Stat::decode(&table).unwrap();
        }
    }
    output
}

fn with_calibration(mut values: Values, path: Option<&str>) -> Values {
    if let Some(path) = path {
        values.set("calibration", path, sideline_api::config::Origin::CommandLine);
    }
    values
}

fn table<T: Table>(rows: &[T]) -> Body {
    Body::Data(Payload::Table(std::sync::Arc::new(T::encode(rows))))
}

fn rows<T: Table>(body: Option<Body>) -> Vec<T> {
    match body {
        Some(Body::Data(Payload::Table(table))) => T::decode(&table).unwrap(),
        _ => vec![],
    }
}

/// Interpolates linearly between two positions.
pub fn interpolate(a: [f32; 2], b: [f32; 2], share: f32) -> [f32; 2] {
    let share = share.clamp(0.0, 1.0);
    [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share]
}

/// Returns the position in a frame along a path of times (s) and positions.
pub fn position_along(path: &[(f32, [f32; 2])], frame: u64) -> [f32; 2] {
    let now = frame as f32 / RATE;
    match path.iter().position(|(at, _)| *at > now) {
        None => path[path.len() - 1].1,
        Some(0) => path[0].1,
        Some(i) => interpolate(path[i - 1].1, path[i].1, (now - path[i - 1].0) / (path[i].0 - path[i - 1].0)),
    }
}
