//! `sideline export --format statsbomb | wyscout`: the events of a match in the formats of two football data providers.
//!
//! Both formats measure positions from the own goal of the acting team, in their own units, so they require a calibrated pitch.
//! Required values that a camera cannot know (names, shirt numbers, the outcome of a shot) are filled in as listed in
//! [`Match::notes`].

mod attack_direction;
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
use sideline_api::{Error, Failure, OrFail, Result, Table};
use sideline_recording::{RecordedTable, RecordedTables, media_times_ns, stream_and_frame};
use sideline_sport::tables::{Event, Formation, Place, Role, TeamName};

use crate::{args, commands::print_json};

use attack_direction::AttackDirections;
use squad::Squad;

/// The fields of `summary.json`, written by the operator `stats`, that are used here.
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
    team: TeamName,
    role: Role,
    seconds: f64,
}

#[derive(Deserialize)]
struct TeamSummary {
    #[serde(default)]
    formations: Vec<PeriodFormation>,
}

/// Formation of a team in one period.
#[derive(Deserialize)]
struct PeriodFormation {
    shape: String,
}

/// Track of an event whose player is unknown.
const UNKNOWN_TRACK: u32 = 0;

/// An event with its time, and its positions in the frame of the acting team: along the pitch from the own goal, and across it
/// from the left, 0..1.
struct MatchEvent {
    event: Event,
    /// Index of the team.
    team: usize,
    /// Time since the first frame, s.
    seconds: f64,
    /// Duration, s.
    duration: f64,
    /// Position at the start.
    from: [f32; 2],
    /// Position at the end.
    to: [f32; 2],
}

/// A match in a form common to both formats.
struct Match {
    stream: String,
    pitch: Pitch,
    squads: [Squad; 2],
    events: Vec<MatchEvent>,
    /// Time from the first frame to the last, s.
    seconds: f64,
    /// Assumptions and substitutes for values that the run does not have.
    notes: Vec<String>,
}

/// Summary of an export.
#[derive(Serialize)]
struct ExportSummary<'a> {
    files: Vec<PathBuf>,
    events: usize,
    players: usize,
    /// See [`Match::notes`].
    notes: &'a [String],
}

/// Exports the events of a match; returns the exit code.
///
/// # Errors
/// If the folder is not of a run, the run has no calibrated pitch, or a file exists or cannot be written.
pub fn export(options: &args::Export, format: args::Provider) -> Result<u8> {
    if !options.tables.is_empty() {
        let text = "`--tables` applies to the formats csv, json and parquet; statsbomb and wyscout contain events";
        return Err(Error::config(text));
    }
    if options.output.as_deref() == Some(Path::new("-")) {
        return Err(Error::config("statsbomb and wyscout are written to files: name one with `--output`"));
    }
    let game = Match::read(&options.run, options.stream.as_deref())?;
    let documents = match format {
        args::Provider::Statsbomb => vec![("", statsbomb::events(&game)), ("-lineups", statsbomb::lineups(&game))],
        args::Provider::Wyscout => vec![("", wyscout::document(&game))],
    };
    let first = options.output.clone().unwrap_or_else(|| options.run.join(format!("{}.json", format.name())));
    let mut files = vec![];
    for (suffix, document) in documents {
        let path = with_suffix(&first, suffix);
        super::write_atomically(&path, options.overwrite, |draft| {
            let text =
                serde_json::to_string_pretty(&document).or_fail(Failure::Output, || path.display().to_string())?;
            std::fs::write(draft, text + "\n").or_fail(Failure::Output, || path.display().to_string())
        })?;
        files.push(path);
    }
    let players = game.squads.iter().map(|squad| squad.players.len()).sum();
    let summary = ExportSummary { files, events: game.events.len(), players, notes: &game.notes };
    if options.json {
        print_json(&summary)?;
        return Ok(0);
    }
    let names: Vec<String> = summary.files.iter().map(|path| path.display().to_string()).collect();
    outln!("{}: {} events, {players} players", names.join(", "), summary.events);
    for note in summary.notes {
        outln!("note: {note}");
    }
    Ok(0)
}

/// Inserts a suffix before the extension: `a/match.json` becomes `a/match-lineups.json`.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let (stem, extension) = (path.file_stem().unwrap_or_default(), path.extension().unwrap_or("json".as_ref()));
    path.with_file_name(format!("{}{suffix}.{}", stem.to_string_lossy(), extension.to_string_lossy()))
}

impl Match {
    fn read(run: &Path, stream: Option<&str>) -> Result<Self> {
        let tables = RecordedTables::open(run)?;
        let summary = read_summary(run, stream)?;
        let pitch = summary.pitch.ok_or_else(|| {
            Error::config(format!(
                "{}: its positions are in pixels, and the format requires positions on the pitch; run the flow again with a \
                 calibration file: `--set football.calibration=pitch.yml`",
                run.display()
            ))
        })?;
        let stream = summary.stream.as_str();
        let clock = Clock::read(&tables.table("possession")?, stream)?;
        let team_of: HashMap<u32, usize> =
            summary.players.iter().filter_map(|player| Some((player.track, player.team.index()?))).collect();
        let mut directions = AttackDirections::default();
        for_each_frame::<Formation>(&tables.table("formation")?, stream, |frame, rows| {
            rows.iter().for_each(|row| directions.add_formation(clock.seconds(frame), row));
        })?;
        let size = [pitch.length, pitch.width];
        for_each_frame::<Place>(&tables.table("places")?, stream, |frame, rows| {
            for place in rows.iter().filter(|place| place.inside) {
                if let Some(team) = team_of.get(&place.track) {
                    directions.add_position(*team, clock.seconds(frame), place, size);
                }
            }
        })?;
        let mut notes = vec![
            "players are identified by their track numbers, and a player who was lost for long has several; shirt numbers are 0"
                .into(),
            "team_1 is the home team, and the match is a single period".into(),
            "the outcome of a shot is not known: it is blocked if a player got the ball, else off target".into(),
        ];
        if directions.is_unknown() {
            notes
                .push("the directions of play are not known: positions are as in the image, from left to right".into());
        }
        let squads = TeamName::TEAMS.map(|team| Squad::new(team, &summary, &directions, &team_of, pitch, &mut notes));
        let (mut events, mut without_player) = (vec![], 0_usize);
        for_each_frame::<Event>(&tables.table("events")?, stream, |_, rows| {
            for mut event in rows {
                let Some(team) = event.team.index() else { continue };
                // Team assignments improve during the match, and a track may switch to another player. The event has the
                // team assigned at its time, and the squads have the final assignment.
                if team_of.get(&event.track).is_some_and(|of| *of != team) {
                    event.track = UNKNOWN_TRACK;
                    without_player += 1;
                }
                let (seconds, end) = (clock.seconds(event.at), clock.seconds(event.end));
                let position =
                    |x: f32, y: f32| directions.to_team_frame(team, seconds, [x / pitch.length, y / pitch.width]);
                let (from, to) = (position(event.x, event.y), position(event.end_x, event.end_y));
                events.push(MatchEvent { event, team, seconds, duration: (end - seconds).max(0.0), from, to });
            }
        })?;
        if without_player > 0 {
            notes.push(format!(
                "{without_player} events have no player: their track was in one team at the event, and in the other at the end"
            ));
        }
        events.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then_with(|| a.event.id.cmp(&b.event.id)));
        Ok(Self { stream: summary.stream.clone(), pitch, squads, events, seconds: clock.last(), notes })
    }

    /// Returns the player of a track, with the index of the team; `None` if the track is in no squad.
    fn player(&self, track: u32) -> Option<(usize, &squad::Member)> {
        let find = |team: usize| self.squads[team].players.iter().find(|member| member.track == track);
        (0..self.squads.len()).find_map(|team| Some((team, find(team)?)))
    }

    /// Returns the displacement between two positions of an event, m: along and across the pitch.
    fn displacement_m(&self, from: [f32; 2], to: [f32; 2]) -> [f32; 2] {
        [(to[0] - from[0]) * self.pitch.length, (to[1] - from[1]) * self.pitch.width]
    }
}

/// Reads the summary of a stream; by default of the first.
fn read_summary(run: &Path, stream: Option<&str>) -> Result<Summary> {
    let entries = std::fs::read_dir(run).or_fail(Failure::Input, || run.display().to_string())?;
    let is_summary = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("summary") && name.ends_with(".json")
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_summary).collect();
    // The first stream has `summary.json`.
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
            format!("{}: no stream `{stream}`; the streams are {}", run.display(), found.join(", "))
        }
        _ => format!("{}: no summary.json; the operator `stats` of football.yml writes it", run.display()),
    }))
}

/// Calls `handle` with the rows of each frame of a stream.
fn for_each_frame<T: Table>(table: &RecordedTable, stream: &str, mut handle: impl FnMut(u64, Vec<T>)) -> Result<()> {
    for batch in table.batches()? {
        let batch = batch?;
        let rows = T::decode(&StructArray::from(batch.clone()))?;
        let (streams, frames) = stream_and_frame(&batch)?;
        let mut frame_rows: Vec<T> = vec![];
        for (i, row) in rows.into_iter().enumerate() {
            if streams.value(i) == stream {
                frame_rows.push(row);
            }
            let is_last = i + 1 == frames.len() || frames[i + 1] != frames[i];
            if is_last && !frame_rows.is_empty() {
                handle(frames[i], std::mem::take(&mut frame_rows));
            }
        }
    }
    Ok(())
}

/// Media times of the frames of a stream, from a table that has a row for each frame.
struct Clock {
    /// Media time of each frame, ns.
    frames: BTreeMap<u64, i64>,
}

impl Clock {
    fn read(table: &RecordedTable, stream: &str) -> Result<Self> {
        let mut frames = BTreeMap::new();
        for batch in table.columns(Some(&["stream", "frame", "pts"]))? {
            let batch: RecordBatch = batch?;
            let (streams, numbers) = stream_and_frame(&batch)?;
            let times = media_times_ns(&batch)?;
            let rows = (0..batch.num_rows()).filter(|row| streams.value(*row) == stream);
            frames.extend(rows.map(|row| (numbers[row], times[row])));
        }
        Ok(Self { frames })
    }

    /// Returns the time of a frame since the first one, s; for a frame without a row, the time of the frame before.
    fn seconds(&self, frame: u64) -> f64 {
        let first = self.frames.first_key_value().map_or(0, |(_, pts)| *pts);
        let pts = self.frames.range(..=frame).next_back().map_or(first, |(_, pts)| *pts);
        (pts - first) as f64 * 1e-9
    }

    fn last(&self) -> f64 {
        self.seconds(u64::MAX)
    }
}

/// Rounds a number to this many decimal places, as JSON.
fn rounded(value: f64, digits: i32) -> Value {
    let unit = 10_f64.powi(digits);
    Value::from((value * unit).round() / unit)
}
