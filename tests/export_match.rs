//! `sideline export --format statsbomb | wyscout`: kloppy reads back the events of the match.

mod support;

use std::{fs::File, path::Path, process::Command, sync::Arc};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use sideline_api::Table;
use sideline_sport::tables::{
    Direction, Event, EventKind, Formation, Place, Possession, PossessionState, TeamName, Unit,
};
use support::{Bench, Capability, CommandResult, json_text, repository, skip_test};

const LENGTH: f32 = 105.0;
const WIDTH: f32 = 68.0;
/// Frames of the match, at 30 fps.
const FRAMES: u64 = 300;

/// Writes a table as the recorder does. Each row is given with its frame number.
fn record<T: Table + Clone>(folder: &Path, rows: &[(u64, T)]) {
    let frames = || rows.iter().map(|(frame, _)| *frame);
    let encoded = T::encode(&rows.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>());
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("stream".into(), Arc::new(StringArray::from_iter_values(frames().map(|_| "match")))),
        ("session".into(), Arc::new(UInt32Array::from_iter_values(frames().map(|_| 0)))),
        ("frame".into(), Arc::new(UInt64Array::from_iter_values(frames()))),
        ("pts".into(), Arc::new(Int64Array::from_iter_values(frames().map(|frame| frame as i64 * 33_333_333)))),
    ];
    columns.extend(encoded.fields().iter().map(|field| field.name().clone()).zip(encoded.columns().iter().cloned()));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = File::create(folder.join(format!("{}.parquet", T::NAME))).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Event of a team's player that begins at the frame `at`. Positions are fractions of the pitch's length and width.
fn event(
    kind: EventKind,
    at: u64,
    (team, track): (TeamName, u32),
    to: u32,
    from: [f32; 2],
    end: [f32; 2],
) -> (u64, Event) {
    let complete = to != 0 && (to < 20) == (team == TeamName::One);
    let row = Event {
        id: uuid(at),
        kind,
        at,
        end: at + 15,
        team,
        track,
        to,
        complete,
        x: from[0] * LENGTH,
        y: from[1] * WIDTH,
        end_x: end[0] * LENGTH,
        end_y: end[1] * WIDTH,
        unit: Unit::Meters,
        confidence: 0.9,
    };
    // An event is reported half a second after its end.
    (at + 30, row)
}

/// Id of the event that begins at a frame.
fn uuid(at: u64) -> String {
    format!("00000000-0000-5000-8000-{at:012}")
}

/// Writes a run of ten seconds: team_1 (tracks 1 to 11, the first is its goalkeeper) plays from left to right in a
/// 4-4-2 against team_2 (tracks 21 to 31).
fn write_match(bench: &Bench, pitch: Value) {
    let (one, two) = ((TeamName::One, 7), (TeamName::Two, 24));
    let events = [
        event(EventKind::Pass, 30, one, 9, [0.5, 0.25], [0.75, 0.5]),
        event(EventKind::Pass, 60, (TeamName::One, 9), 24, [0.75, 0.5], [0.9, 0.5]),
        event(EventKind::Interception, 75, two, 24, [0.9, 0.5], [0.9, 0.5]),
        event(EventKind::Carry, 90, two, 24, [0.9, 0.5], [0.8, 0.5]),
        event(EventKind::Loss, 120, two, 7, [0.8, 0.5], [0.8, 0.5]),
        event(EventKind::Shot, 150, one, 0, [0.8, 0.5], [1.0, 0.5]),
        event(EventKind::Corner, 210, one, 9, [1.0, 0.0], [0.9, 0.5]),
        event(EventKind::ThrowIn, 240, two, 25, [0.5, 1.0], [0.5, 0.75]),
    ];
    write_match_with_events(bench, pitch, &events);
}

/// Writes a run of the same match with other events.
fn write_match_with_events(bench: &Bench, pitch: Value, events: &[(u64, Event)]) {
    let folder = bench.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("run.json"), "{}").unwrap();
    let player = |track: u32| {
        let (team, first) = if track < 20 { ("team_1", 1) } else { ("team_2", 21) };
        let role = if track == first { "goalkeeper" } else { "player" };
        json!({"track": track, "team": team, "role": role, "seconds": 10.0})
    };
    let tracks = || (1..=11).chain(21..=31);
    let shapes = |shape: &str| json!({"formations": [{"shape": shape}, {"shape": ""}, {"shape": shape}]});
    let summary = json!({
        "stream": "match", "pitch": pitch, "players": tracks().map(player).collect::<Vec<_>>(),
        "teams": {"team_1": shapes("4-4-2"), "team_2": shapes("4-3-2")},
    });
    std::fs::write(folder.join("summary.json"), summary.to_string()).unwrap();
    // Lines of one, four, four and two players, each from the far touchline, so that the first player of a line is on
    // the left.
    let position = |number: u32| -> [f32; 2] {
        match number {
            0 => [0.03, 0.5],
            1..=4 => [0.2, number as f32 * 0.2],
            5..=8 => [0.4, (number - 4) as f32 * 0.2],
            _ => [0.6, (number - 8) as f32 * 0.33],
        }
    };
    let place = |track: u32| {
        let [x, y] = if track < 20 { position(track - 1) } else { position(track - 21).map(|part| 1.0 - part) };
        let (x, y) = (x * LENGTH, y * WIDTH);
        Place { track, x, y, unit: Unit::Meters, scale: 1.0, measured: true, inside: true }
    };
    let frames = || 0..FRAMES;
    record(&folder, &frames().flat_map(|frame| tracks().map(move |track| (frame, place(track)))).collect::<Vec<_>>());
    let possession = Possession {
        team: TeamName::None,
        track: 0,
        state: PossessionState::Loose,
        distance: 1.0,
        share_1: 0.5,
        share_2: 0.5,
    };
    record(&folder, &frames().map(|frame| (frame, possession.clone())).collect::<Vec<_>>());
    let formation = |team: TeamName, plays: Direction| Formation {
        team,
        plays,
        period: 0,
        shape: "4-4-2".into(),
        lines: vec![],
        width: 40.0,
        depth: 40.0,
        x: 50.0,
        y: 34.0,
        players: 10,
        unit: Unit::Meters,
        confidence: 1.0,
    };
    record(
        &folder,
        &[(45, formation(TeamName::One, Direction::Right)), (45, formation(TeamName::Two, Direction::Left))],
    );
    record(&folder, events);
}

/// Runs `sideline export`.
fn export(bench: &Bench, format: &str, more: &[&str]) -> CommandResult {
    let arguments: Vec<&str> = ["export", "out", "--format", format].into_iter().chain(more.iter().copied()).collect();
    bench.sideline(&arguments)
}

/// Reads the files with kloppy; `None`, and the test counts as skipped, if it is not installed.
fn read_with_kloppy(bench: &Bench, arguments: &[&str]) -> Option<Value> {
    let python = repository().join(".venv/bin/python");
    let imported = Command::new(&python).args(["-c", "import kloppy"]).output();
    if !imported.is_ok_and(|output| output.status.success()) {
        skip_test(Capability::Python, "kloppy is not installed; `cargo xtask test` installs it");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(repository().join("tests/read_match.py")).args(arguments).current_dir(bench.path().join("out"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Returns kind, team, player and result of each event.
fn summarize_events(found: &Value) -> Vec<[String; 4]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = found["events"].as_array().unwrap().iter();
    events.map(|event| ["kind", "team", "player", "result"].map(|key| text(&event[key]))).collect()
}

/// Asserts that a position is within a distance of the expected one on each axis.
fn assert_near(found: &Value, expected: [f64; 2], within: f64) {
    let coordinate = |axis: usize| found[axis].as_f64().unwrap();
    assert!(
        (coordinate(0) - expected[0]).abs() <= within && (coordinate(1) - expected[1]).abs() <= within,
        "{found} is not {expected:?}"
    );
}

/// Returns the event that begins at a frame.
fn event_at(found: &Value, at: u64) -> &Value {
    let events = found["events"].as_array().unwrap();
    events.iter().find(|event| event["id"] == uuid(at).as_str()).unwrap_or_else(|| panic!("{found}"))
}

#[test]
fn kloppy_reads_the_statsbomb_files() {
    let bench = Bench::new();
    write_match(&bench, json!({"length": LENGTH, "width": WIDTH}));
    let ended = export(&bench, "statsbomb", &["--json"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let written = json_text(&ended.text);
    assert_eq!((&written["events"], &written["players"]), (&8.into(), &22.into()));
    let notes = written["notes"].to_string();
    assert!(notes.contains("team_2 played 4-3-2, which the format does not support: 4-3-3 is written"), "{notes}");
    let Some(found) = read_with_kloppy(&bench, &["statsbomb", "statsbomb.json", "statsbomb-lineups.json"]) else {
        return;
    };
    let [home, away] = [&found["teams"][0], &found["teams"][1]];
    assert_eq!(
        (&home["name"], &home["ground"], &home["formation"]),
        (&"team_1".into(), &"HOME".into(), &"4-4-2".into())
    );
    assert_eq!((&away["name"], &away["formation"]), (&"team_2".into(), &"4-3-3".into()));
    for (track, position) in [("1", "Goalkeeper"), ("2", "LeftBack"), ("5", "RightBack"), ("10", "LeftForward")] {
        assert_eq!(home["players"][track], position, "{home}");
    }
    // Each team has coordinates from its own goal, on a pitch of 120 x 80.
    let pass = event_at(&found, 30);
    assert_near(&pass["place"], [60.0, 20.0], 0.06);
    assert_near(&pass["end"], [90.0, 40.0], 0.06);
    assert_eq!((&pass["result"], &pass["receiver"], &pass["seconds"]), (&"COMPLETE".into(), &"9".into(), &1.0.into()));
    let carry = event_at(&found, 90);
    assert_near(&carry["place"], [12.0, 40.0], 0.06);
    assert_near(&carry["end"], [24.0, 40.0], 0.06);
    assert_eq!(event_at(&found, 60)["result"], "INCOMPLETE");
    assert_eq!(event_at(&found, 75)["kind"], "INTERCEPTION");
    assert_eq!(event_at(&found, 150)["kind"], "SHOT");
    assert_eq!(event_at(&found, 210)["set_piece"][0], "CORNER_KICK");
    assert_eq!(event_at(&found, 240)["set_piece"][0], "THROW_IN");
    assert_eq!(event_at(&found, 120)["player"], "24");
}

#[test]
fn kloppy_reads_the_wyscout_file() {
    let bench = Bench::new();
    write_match(&bench, json!({"length": LENGTH, "width": WIDTH}));
    let ended = export(&bench, "wyscout", &[]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("wyscout.json: 8 events, 22 players"), "{}", ended.text);
    let Some(found) = read_with_kloppy(&bench, &["wyscout", "wyscout.json"]) else { return };
    let expected = [
        ["PASS", "team_1", "7", "COMPLETE"],
        ["PASS", "team_1", "9", "INCOMPLETE"],
        ["INTERCEPTION", "team_2", "24", "SUCCESS"],
        ["CARRY", "team_2", "24", "COMPLETE"],
        ["GENERIC", "team_2", "24", ""],
        ["SHOT", "team_1", "7", "OFF_TARGET"],
        ["PASS", "team_1", "7", "COMPLETE"],
        ["PASS", "team_2", "24", "COMPLETE"],
    ];
    assert_eq!(summarize_events(&found), expected);
    assert_near(&event_at(&found, 30)["place"], [50.0, 25.0], 0.06);
    assert_near(&event_at(&found, 90)["place"], [10.0, 50.0], 0.06);
    assert_near(&event_at(&found, 240)["end"], [50.0, 25.0], 0.06);
    assert_eq!(found["teams"][0]["players"]["11"], "Striker", "{found}");
    assert_eq!(found["teams"][1]["formation"], "4-3-3");
}

#[test]
fn a_match_without_events_can_be_read() {
    let bench = Bench::new();
    write_match_with_events(&bench, json!({"length": LENGTH, "width": WIDTH}), &[]);
    for format in ["wyscout", "statsbomb"] {
        let ended = export(&bench, format, &[]);
        assert!(ended.code == 0 && ended.text.contains("0 events, 22 players"), "{}", ended.text);
    }
    let text = std::fs::read_to_string(bench.path().join("out/wyscout.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written["events"][0]["type"]["primary"], "game_interruption", "{text}");
    let Some(found) = read_with_kloppy(&bench, &["wyscout", "wyscout.json"]) else { return };
    assert_eq!((&found["teams"][0]["name"], summarize_events(&found).len()), (&"team_1".into(), 1), "{found}");
    read_with_kloppy(&bench, &["statsbomb", "statsbomb.json", "statsbomb-lineups.json"]);
}

#[test]
fn an_event_has_no_player_if_its_track_ended_in_the_other_team() {
    let bench = Bench::new();
    // Track 24 was first assigned to team_1 and ended in team_2.
    let events = [
        event(EventKind::Pass, 30, (TeamName::One, 24), 9, [0.5, 0.25], [0.75, 0.5]),
        event(EventKind::Shot, 60, (TeamName::One, 24), 0, [0.8, 0.5], [1.0, 0.5]),
        event(EventKind::Carry, 90, (TeamName::Two, 24), 24, [0.9, 0.5], [0.8, 0.5]),
    ];
    write_match_with_events(&bench, json!({"length": LENGTH, "width": WIDTH}), &events);
    for (format, files) in
        [("wyscout", &["wyscout.json"][..]), ("statsbomb", &["statsbomb.json", "statsbomb-lineups.json"])]
    {
        let ended = export(&bench, format, &[]);
        assert!(ended.code == 0 && ended.text.contains("note: 2 events have no player"), "{}", ended.text);
        let Some(found) = read_with_kloppy(&bench, &[&[format], files].concat()) else { continue };
        let team_and_player = |at| (&event_at(&found, at)["team"], &event_at(&found, at)["player"]);
        assert_eq!(team_and_player(30), (&"team_1".into(), &Value::Null), "{format}");
        assert_eq!(team_and_player(60), (&"team_1".into(), &Value::Null), "{format}");
        assert_eq!(team_and_player(90), (&"team_2".into(), &"24".into()), "{format}");
    }
    let text = std::fs::read_to_string(bench.path().join("out/wyscout.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written["events"][0]["player"]["id"], 0, "{text}");
}

#[test]
fn what_cannot_be_exported_is_refused_with_the_fix() {
    let bench = Bench::new();
    write_match(&bench, Value::Null);
    let ended = export(&bench, "statsbomb", &[]);
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("its positions are in pixels") && ended.text.contains("calibration"), "{}", ended.text);
    let ended = export(&bench, "wyscout", &["--stream", "left"]);
    assert!(ended.code == 3 && ended.text.contains("no stream `left`; the streams are match"), "{}", ended.text);
    let ended = export(&bench, "csv", &["--stream", "match"]);
    assert!(ended.code == 1 && ended.text.contains("a flat table contains all streams"), "{}", ended.text);
    std::fs::remove_file(bench.path().join("out/summary.json")).unwrap();
    let ended = export(&bench, "wyscout", &[]);
    assert!(ended.code == 3 && ended.text.contains("no summary.json"), "{}", ended.text);
}

#[test]
fn existing_files_are_overwritten_only_on_request() {
    let bench = Bench::new();
    write_match(&bench, json!({"length": LENGTH, "width": WIDTH}));
    assert_eq!(export(&bench, "wyscout", &[]).code, 0);
    let again = export(&bench, "wyscout", &[]);
    assert!(again.code == 4 && again.text.contains("--overwrite"), "{}", again.text);
    assert_eq!(export(&bench, "wyscout", &["--overwrite"]).code, 0);
}
