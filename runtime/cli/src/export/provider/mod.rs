//! `sideline export --format statsbomb | wyscout`: a match's events as two providers of football data write them.
//!
//! Both count places from the own goal of whoever acts, in units of their own, so a run without a pitch cannot be told in
//! them. What they want to know and a camera does not (names, shirt numbers, what became of a shot) is filled by the rules
//! that [`Match::notes`] tells.

mod direction;
mod squad;
mod statsbomb;
mod wyscout;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use arrow_array::{RecordBatch, StructArray};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sideline_api::{
    Error, Failure, OrFail, Result, Table,
    tables::{Event, Formation, Place, Team},
};

use crate::{
    args,
    commands::print_json,
    recorded::{Recorded, Tables, keys, times},
};

use direction::Directions;
use squad::Squad;

/// What the operator `stats` left: of it what is needed here.
#[derive(Deserialize)]
struct Summary {
    stream: String,
    pitch: Option<Pitch>,
    players: Vec<Player>,
    teams: BTreeMap<String, TeamSummary>,
}

#[derive(Clone, Copy, Deserialize)]
struct Pitch {
    length: f32,
    width: f32,
}

#[derive(Clone, Deserialize)]
struct Player {
    track: u32,
    team: String,
    role: String,
    seconds: f64,
}

#[derive(Deserialize)]
struct TeamSummary {
    #[serde(default)]
    formations: Vec<Shape>,
}

#[derive(Deserialize)]
struct Shape {
    shape: String,
}

/// The track of an event whose player is not known.
const NOBODY: u32 = 0;

/// Something that happened, with times and as whoever did it sees the pitch.
struct Happening {
    event: Event,
    /// Number of the team.
    team: usize,
    /// Since the first frame, s.
    seconds: f64,
    /// How long it took, s.
    duration: f64,
    /// Where it began and ended: along the pitch from the own goal, across it from the left, 0..1.
    from: [f32; 2],
    to: [f32; 2],
}

/// A match, ready to be written.
struct Match {
    stream: String,
    pitch: Pitch,
    squads: [Squad; 2],
    events: Vec<Happening>,
    /// From the first frame to the last, s.
    seconds: f64,
    notes: Vec<String>,
}

/// What was written.
#[derive(Serialize)]
struct Written<'a> {
    files: Vec<PathBuf>,
    events: usize,
    players: usize,
    /// What the format wants to know and the run does not, and what is written for it.
    notes: &'a [String],
}

/// Exports; the exit code.
///
/// # Errors
/// When the folder is no run, the run knows no pitch, or a file cannot be written or is there already.
pub fn export(options: &args::Export, format: args::Provider) -> Result<u8> {
    if !options.tables.is_empty() {
        let text = "`--tables` chooses what goes into csv, json and parquet; statsbomb and wyscout hold events";
        return Err(Error::config(text));
    }
    if options.output.as_deref() == Some(Path::new("-")) {
        return Err(Error::config("statsbomb and wyscout go to files: name one with `--output`"));
    }
    let told = Match::read(&options.run, options.stream.as_deref())?;
    let documents = match format {
        args::Provider::Statsbomb => vec![("", statsbomb::events(&told)), ("-lineups", statsbomb::lineups(&told))],
        args::Provider::Wyscout => vec![("", wyscout::document(&told))],
    };
    let first = options.output.clone().unwrap_or_else(|| options.run.join(format!("{}.json", format.name())));
    let mut files = vec![];
    for (suffix, document) in documents {
        let path = with_suffix(&first, suffix);
        super::whole(&path, options.overwrite, |draft| {
            let text =
                serde_json::to_string_pretty(&document).or_fail(Failure::Output, || path.display().to_string())?;
            std::fs::write(draft, text + "\n").or_fail(Failure::Output, || path.display().to_string())
        })?;
        files.push(path);
    }
    let players = told.squads.iter().map(|squad| squad.players.len()).sum();
    let written = Written { files, events: told.events.len(), players, notes: &told.notes };
    if options.json {
        print_json(&written)?;
        return Ok(0);
    }
    let names: Vec<String> = written.files.iter().map(|path| path.display().to_string()).collect();
    outln!("{}: {} events, {players} players", names.join(", "), written.events);
    for note in written.notes {
        outln!("note: {note}");
    }
    Ok(0)
}

/// `a/match.json` to `a/match-lineups.json`.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let (stem, ending) = (path.file_stem().unwrap_or_default(), path.extension().unwrap_or("json".as_ref()));
    path.with_file_name(format!("{}{suffix}.{}", stem.to_string_lossy(), ending.to_string_lossy()))
}

impl Match {
    fn read(run: &Path, stream: Option<&str>) -> Result<Self> {
        let tables = Tables::open(run)?;
        let summary = summary(run, stream)?;
        let pitch = summary.pitch.ok_or_else(|| {
            Error::config(format!(
                "{}: its places are in pixels, and the format counts from the goals; run it again with a calibration \
                 file: `--set football.calibration=pitch.yml`",
                run.display()
            ))
        })?;
        let stream = summary.stream.as_str();
        let clock = Clock::read(&tables.named("possession")?, stream)?;
        let team_of: HashMap<u32, usize> =
            summary.players.iter().filter_map(|player| Some((player.track, Team::number(&player.team)?))).collect();
        let mut directions = Directions::default();
        for_rows::<Formation>(&tables.named("formation")?, stream, |frame, rows| {
            rows.iter().for_each(|row| directions.learn(clock.seconds(frame), row));
        })?;
        let size = [pitch.length, pitch.width];
        for_rows::<Place>(&tables.named("places")?, stream, |frame, rows| {
            for place in rows.iter().filter(|place| place.inside) {
                if let Some(team) = team_of.get(&place.track) {
                    directions.see(*team, clock.seconds(frame), place, size);
                }
            }
        })?;
        let mut notes = vec![
            "players go by the numbers of their tracks: somebody who was lost for long comes twice; shirt numbers are 0".into(),
            "team_1 is written as the home team, all of it as one period".into(),
            "what became of a shot is not judged: blocked where somebody got the ball, else off target".into(),
        ];
        if directions.unknown() {
            notes.push("which goal is whose is not known: places are as in the picture, from left to right".into());
        }
        let squads = Team::NAMES.map(|team| Squad::new(team, &summary, &directions, &team_of, pitch, &mut notes));
        let (mut events, mut strangers) = (vec![], 0_usize);
        for_rows::<Event>(&tables.named("events")?, stream, |_, rows| {
            for mut event in rows {
                let Some(team) = Team::number(&event.team) else { continue };
                // Teams are learned while the match goes on, and a track may pass from one person to another: what was
                // known at the event names its team, what was known at the end the squads.
                if team_of.get(&event.track).is_some_and(|of| *of != team) {
                    event.track = NOBODY;
                    strangers += 1;
                }
                let (seconds, end) = (clock.seconds(event.at), clock.seconds(event.end));
                let place = |x: f32, y: f32| directions.seen_by(team, seconds, [x / pitch.length, y / pitch.width]);
                let (from, to) = (place(event.x, event.y), place(event.end_x, event.end_y));
                events.push(Happening { event, team, seconds, duration: (end - seconds).max(0.0), from, to });
            }
        })?;
        if strangers > 0 {
            notes.push(format!(
                "{strangers} events were seen as one team's, and their track ended in the other: they are written without a \
                 player"
            ));
        }
        events.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then_with(|| a.event.id.cmp(&b.event.id)));
        Ok(Self { stream: summary.stream.clone(), pitch, squads, events, seconds: clock.last(), notes })
    }

    /// The player of a track, if the summary names them; `None` for nobody.
    fn player(&self, track: u32) -> Option<(usize, &squad::Member)> {
        let find = |team: usize| self.squads[team].players.iter().find(|member| member.track == track);
        (0..self.squads.len()).find_map(|team| Some((team, find(team)?)))
    }

    /// Metres between two places of a happening.
    fn metres(&self, from: [f32; 2], to: [f32; 2]) -> [f32; 2] {
        [(to[0] - from[0]) * self.pitch.length, (to[1] - from[1]) * self.pitch.width]
    }
}

/// The summary of a stream; by default of the first.
fn summary(run: &Path, stream: Option<&str>) -> Result<Summary> {
    let entries = std::fs::read_dir(run).or_fail(Failure::Input, || run.display().to_string())?;
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("summary") && name.ends_with(".json")
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_one).collect();
    // `summary.json` is of the first stream.
    paths.sort_by_key(|path| (path.file_name() != Some("summary.json".as_ref()), path.clone()));
    let mut found = vec![];
    for path in paths {
        let text = std::fs::read_to_string(&path).or_fail(Failure::Input, || path.display().to_string())?;
        let read: Summary = serde_json::from_str(&text).or_fail(Failure::Input, || path.display().to_string())?;
        if stream.is_none_or(|stream| stream == read.stream) {
            return Ok(read);
        }
        found.push(read.stream);
    }
    Err(Error::input(match stream {
        Some(stream) if !found.is_empty() => {
            format!("{}: no stream `{stream}`; there are {}", run.display(), found.join(", "))
        }
        _ => format!("{}: no summary.json; the operator `stats` of football.yml leaves it", run.display()),
    }))
}

/// Reads a table's rows of one stream, frame by frame.
fn for_rows<T: Table>(table: &Recorded, stream: &str, mut take: impl FnMut(u64, Vec<T>)) -> Result<()> {
    for batch in table.batches()? {
        let batch = batch?;
        let rows = T::decode(&StructArray::from(batch.clone()))?;
        let (streams, frames) = keys(&batch)?;
        let mut one: Vec<T> = vec![];
        for (at, row) in rows.into_iter().enumerate() {
            if streams.value(at) == stream {
                one.push(row);
            }
            let last = at + 1 == frames.len() || frames.value(at + 1) != frames.value(at);
            if last && !one.is_empty() {
                take(frames.value(at), std::mem::take(&mut one));
            }
        }
    }
    Ok(())
}

/// When each frame was, by a table that has a row for each.
struct Clock {
    frames: BTreeMap<u64, i64>,
}

impl Clock {
    fn read(table: &Recorded, stream: &str) -> Result<Self> {
        let mut frames = BTreeMap::new();
        for batch in table.columns(Some(&["stream", "frame", "pts"]))? {
            let batch: RecordBatch = batch?;
            let (streams, numbers) = keys(&batch)?;
            let times = times(&batch)?;
            let mine = (0..batch.num_rows()).filter(|at| streams.value(*at) == stream);
            frames.extend(mine.map(|at| (numbers.value(at), times[at])));
        }
        Ok(Self { frames })
    }

    /// Seconds from the first frame; of a frame that has no row, those of the one before.
    fn seconds(&self, frame: u64) -> f64 {
        let first = self.frames.first_key_value().map_or(0, |(_, pts)| *pts);
        let pts = self.frames.range(..=frame).next_back().map_or(first, |(_, pts)| *pts);
        (pts - first) as f64 * 1e-9
    }

    fn last(&self) -> f64 {
        self.seconds(u64::MAX)
    }
}

/// A number with this many digits behind the point, as JSON.
fn rounded(value: f64, digits: i32) -> Value {
    let unit = 10_f64.powi(digits);
    Value::from((value * unit).round() / unit)
}
