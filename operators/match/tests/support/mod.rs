//! A match that is played by hand: people walk, the ball is passed, and all operators of the crate see it in a row.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};

use sideline_api::{
    Body, Payload, Table, Values,
    tables::{Ball, Event, Formation, Place, Possession, Stat, Team, Track},
    testing::{Harness, Setup},
};
use sideline_match::{Events, FormationOperator, Pitch, PossessionOperator, Stats};

/// Frames a second.
pub const RATE: f32 = 30.0;
/// Pixels in a metre of the picture that tests without a camera draw.
pub const SCALE: f32 = 20.0;

/// Everything that was said.
#[derive(Default)]
pub struct Said {
    pub places: Vec<Vec<Place>>,
    pub possession: Vec<Possession>,
    pub events: Vec<Event>,
    pub formation: Vec<Formation>,
    pub stats: Vec<Stat>,
}

/// Where a calibration lies that maps `SCALE` pixels to a metre of a 105 x 68 m pitch.
pub fn calibration(folder: &Path) -> PathBuf {
    let path = folder.join("pitch.yml");
    let corners = [[0.0, 0.0], [105.0, 0.0], [105.0, 68.0], [0.0, 68.0]];
    let points = corners.map(|[x, y]| format!("  - {{pixel: [{}, {}], pitch: [{x}, {y}]}}\n", x * SCALE, y * SCALE));
    std::fs::write(&path, format!("points:\n{}", points.concat())).unwrap();
    path
}

/// Somebody who stands at a place, metres.
pub fn stands(track: u32, [x, y]: [f32; 2]) -> Track {
    let (x, y, tall) = (x * SCALE, y * SCALE, 1.75 * SCALE);
    Track {
        track,
        fighter: String::new(),
        state: "confirmed".into(),
        x1: x - 0.2 * tall,
        y1: y - tall,
        x2: x + 0.2 * tall,
        y2: y,
        score: 0.9,
        class: 0,
        age: 10,
    }
}

/// The side of a track.
pub fn plays(track: u32, team: &str, role: &str) -> Team {
    Team { track, team: team.into(), role: role.into(), confidence: 1.0, jersey: [f32::NAN; 3] }
}

/// The ball at a place, metres.
pub fn lies([x, y]: [f32; 2]) -> Ball {
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
        mode: "normal".into(),
        spread: 1.0,
    }
}

/// Sends what each frame shows through the operators in a row; `frame` gives people, sides and ball by the frame's number.
/// Files go to `folder`; with `pitch` places are metres.
pub fn play(
    folder: &Path,
    pitch: bool,
    frames: u64,
    frame: impl Fn(u64) -> (Vec<Track>, Vec<Team>, Option<Ball>),
) -> Said {
    play_with(folder, pitch, frames, frame, Values::new())
}

/// The same with keys of `formation`.
pub fn play_with(
    folder: &Path,
    pitch: bool,
    frames: u64,
    frame: impl Fn(u64) -> (Vec<Track>, Vec<Team>, Option<Ball>),
    formation: Values,
) -> Said {
    let keys = |mut values: Values| {
        if pitch {
            let path = calibration(folder).display().to_string();
            values.set("calibration", path, sideline_api::config::Origin::CommandLine);
        }
        values
    };
    let setup = || Setup { run_dir: folder.to_owned(), ..Setup::default() };
    let ordinary = sideline_api::Alignment::Source(sideline_api::SourceId(0));
    let only = |names: &[&'static str]| Setup {
        inputs: Some(names.iter().map(|name| (*name, ordinary)).collect()),
        ..setup()
    };
    let mut place = Harness::<Pitch>::with(keys(Values::new()), only(&["tracks", "ball"])).unwrap();
    let mut possess = Harness::<PossessionOperator>::with(Values::new(), setup()).unwrap();
    let mut events = Harness::<Events>::with(keys(Values::new()), setup()).unwrap();
    let mut shape = Harness::<FormationOperator>::with(keys(formation), setup()).unwrap();
    let mut stats = Harness::<Stats>::with(keys(Values::new()), setup()).unwrap();
    let mut said = Said::default();
    for i in 0..frames {
        let (tracks, teams, ball) = frame(i);
        place.push("tracks", &tracks).unwrap();
        place.push("ball", &ball.into_iter().collect::<Vec<_>>()).unwrap();
        let places: Vec<Place> = place.expect("places");
        possess.push("places", &places).unwrap();
        possess.push("teams", &teams).unwrap();
        let has: Vec<Possession> = possess.expect("possession");
        events.push("places", &places).unwrap();
        events.push("possession", &has).unwrap();
        events.push("teams", &teams).unwrap();
        let happened: Vec<Event> = events.expect("events");
        shape.push("places", &places).unwrap();
        shape.push("teams", &teams).unwrap();
        let shapes: Vec<Formation> = shape.expect("formation");
        stats.push("places", &places).unwrap();
        stats.push("teams", &teams).unwrap();
        stats.push("possession", &has).unwrap();
        stats.push("events", &happened).unwrap();
        stats.push("formation", &shapes).unwrap();
        said.places.push(places);
        said.possession.extend(has);
        said.events.extend(happened);
        said.formation.extend(shapes);
        said.stats = stats.expect("stats");
    }
    events.end().unwrap();
    shape.end().unwrap();
    // What comes with the end goes on to the statistics, as in a flow.
    let last: Vec<Event> = rows(events.next_message("events").map(|m| m.body));
    let shapes: Vec<Formation> = rows(shape.next_message("formation").map(|m| m.body));
    for (input, body) in [
        ("places", Body::End { frames }),
        ("teams", Body::End { frames }),
        ("possession", Body::End { frames }),
        ("events", table(&last)),
        ("formation", table(&shapes)),
    ] {
        match body {
            Body::End { .. } => stats.push_at(input, frames, body).unwrap(),
            rows => stats.push_closing(input, rows).unwrap(),
        }
    }
    for input in ["events", "formation"] {
        stats.push_at(input, frames, Body::End { frames }).unwrap();
    }
    said.events.extend(last);
    said.formation.extend(shapes);
    while let Some(message) = stats.next_message("stats") {
        if let Body::Data(Payload::Table(table)) = message.body {
            said.stats = Stat::decode(&table).unwrap();
        }
    }
    said
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

/// A point on the way from one place to another.
pub fn between(a: [f32; 2], b: [f32; 2], share: f32) -> [f32; 2] {
    let share = share.clamp(0.0, 1.0);
    [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share]
}

/// The ball's way through places at times (s).
pub fn rolls(way: &[(f32, [f32; 2])], frame: u64) -> [f32; 2] {
    let now = frame as f32 / RATE;
    match way.iter().position(|(at, _)| *at > now) {
        None => way[way.len() - 1].1,
        Some(0) => way[0].1,
        Some(i) => between(way[i - 1].1, way[i].1, (now - way[i - 1].0) / (way[i].0 - way[i - 1].0)),
    }
}
