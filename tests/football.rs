//! football.yml on real footage: players, teams and derived tables, reproducible and the same over dora; and invalid
//! input.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use sideline_api::{
    Values,
    testing::{Harness, Setup},
};
use sideline_media::{DecodeOptions, Decoder};
use sideline_sport::tables::{Team, TeamName, Track};
use support::{Bench, finish, is_installed, json, lock_dora, repository, rows, shared_data, wait_for_nodes_to_end};

/// Minimum team purity on the labeled frames of the bib clip.
const MIN_PURITY: f64 = 0.97;

/// Yellow bibs against blue, black and dark green shirts, from above, with a moving camera. Ten frames are labeled by
/// hand. The tracks are those of the flow, including identity switches of the tracker.
#[test]
fn players_with_bibs_are_assigned_to_one_team() {
    let Some(data) = shared_data() else { return };
    let fixture: Value = json(repository().join("tests/fixtures/bibs.json"));
    let mut clip = Decoder::open(data.join("clips/mafeuz_football4.mp4"), DecodeOptions::default()).unwrap();
    let mut team =
        Harness::<sideline_team::Team>::with(Values::new(), Setup { interval: 1_000_000_000 / 25, ..Setup::default() })
            .unwrap();
    let mut assigned: BTreeMap<(String, TeamName), u32> = BTreeMap::new();
    let mut wrong = vec![];
    for (frame, boxes) in fixture["tracks"].as_array().unwrap().iter().enumerate() {
        let Some(decoded) = clip.next().unwrap() else { panic!("the clip ends at frame {frame}") };
        let tracks: Vec<Track> = boxes.as_array().unwrap().iter().map(track).collect();
        team.push_frame("frames", decoded.frame).unwrap();
        team.push("tracks", &tracks).unwrap();
        let rows: Vec<Team> = team.expect("teams");
        let Some(labels) = fixture["labels"].get(frame.to_string()) else { continue };
        for (number, label) in labels.as_object().unwrap() {
            let row = rows.iter().find(|row| row.track.to_string() == *number).unwrap();
            *assigned.entry((label.as_str().unwrap().into(), row.team)).or_default() += 1;
            wrong.push((frame, number.clone(), label.as_str().unwrap().to_owned(), row.team));
        }
    }
    let count = |label: &str, team: TeamName| f64::from(assigned.get(&(label.into(), team)).copied().unwrap_or(0));
    let straight = count("bibs", TeamName::One) + count("others", TeamName::Two);
    let crossed = count("bibs", TeamName::Two) + count("others", TeamName::One);
    let bibs = if straight > crossed { TeamName::One } else { TeamName::Two };
    wrong.retain(|(_, _, label, team)| *team != TeamName::None && (label == "bibs") != (*team == bibs));
    let purity = straight.max(crossed) / (straight + crossed);
    assert!(straight + crossed >= 100.0, "too few players have a team: {assigned:?}");
    assert!(purity >= MIN_PURITY, "{purity}: {wrong:?}");
    println!("team purity {purity:.3} of {} labeled boxes", straight + crossed);
}

/// Parses a track from an array: track, state, left, top, right, bottom.
fn track(row: &Value) -> Track {
    let side = |i: usize| row[i].as_f64().unwrap() as f32;
    Track {
        track: row[0].as_u64().unwrap() as u32,
        state: row[1].as_str().unwrap().parse().unwrap(),
        x1: side(2),
        y1: side(3),
        x2: side(4),
        y2: side(5),
        score: 0.5,
        age: 1,
        ..Track::default()
    }
}

const TABLES: [&str; 8] = ["tracks", "ball", "teams", "places", "possession", "events", "formation", "stats"];

/// Returns the flow and a clip of a match; `None` if the clip or the detector is missing.
fn clip() -> Option<(String, String)> {
    let clip = shared_data()?.join("clips/zakery_soccer.mp4");
    let flow = repository().join("dataflows/football.yml");
    is_installed("centernet").then(|| (flow.display().to_string(), clip.display().to_string()))
}

#[test]
fn all_tables_of_a_match_are_reproducible_and_the_same_over_dora() {
    let Some((flow, clip)) = clip() else { return };
    let bench = Bench::new();
    for out in ["one", "two"] {
        let run = ["run", &flow, "--input", &clip, "--set", "capture.end=2.0", "--device", "cpu", "--output", out];
        let ended = bench.sideline(&run);
        assert_eq!(ended.code, 0, "{}", ended.text);
    }
    for table in TABLES {
        let [one, two] =
            ["one", "two"].map(|out| std::fs::read(bench.path().join(out).join(format!("{table}.parquet"))).unwrap());
        assert!(one == two, "{table} differs");
    }
    let summary = json(bench.path().join("one/summary.json"));
    assert_eq!((&summary["frames"], &summary["unit"]), (&60.into(), &"px".into()), "{summary}");
    let unknown = summary["unknown"].to_string();
    assert!(unknown.contains("There is no calibration"), "{unknown}");
    let teams: Vec<Value> = rows(bench.path().join("one/teams.jsonl"));
    for team in ["team_1", "team_2"] {
        assert!(teams.iter().filter(|row| row["team"] == team).count() > 100, "{team}");
        assert!(bench.path().join(format!("one/heat_{team}.png")).is_file());
    }
    assert!(bench.path().join("one/overlay.mp4").is_file());
    // Over dora, the same rows.
    let Some(_lock) = lock_dora() else { return };
    let text = std::fs::read_to_string(&flow).unwrap().replace("models/clips/pedestrians.avi", &clip);
    let text = text.replace("      SOURCE:", "      END: 2.0\n      SOURCE:");
    let text = format!(
        "{text}\nenv:\n  SIDELINE_MODE: complete\n  SIDELINE_DEVICE: cpu\n  SIDELINE_RUN_DIR: {}\n",
        bench.path().join("runs").display()
    );
    bench.write(
        "modules/football.yml",
        &std::fs::read_to_string(repository().join("dataflows/modules/football.yml")).unwrap(),
    );
    bench.write("football.yml", &text);
    let ended = finish(bench.command("dora").args(["run", "football.yml"]));
    assert_eq!(ended.code, 0, "{}", ended.text);
    wait_for_nodes_to_end(&bench);
    for table in TABLES {
        let [one, dora] =
            [bench.path().join("one"), bench.last_run()].map(|out| rows(out.join(format!("{table}.jsonl"))));
        assert!(one == dora, "{table} differs over dora");
    }
}

#[test]
fn an_invalid_calibration_is_refused_before_the_start() {
    let bench = Bench::new();
    let flow = repository().join("dataflows/football.yml").display().to_string();
    let clip = repository().join("models/clips/pedestrians.avi").display().to_string();
    if !is_installed("centernet") || !is_installed("pedestrians") {
        return;
    }
    for (points, words) in [
        (
            "[[0, 0], [105, 0], [105, 68]]",
            "pitch.yml:1:1: error: only 3 points; a homography needs four or more: add 1",
        ),
        ("[[0, 0], [20, 0], [40, 0], [105, 68]]", "pitch.yml:1:1: error: too many of the 4 points lie on one line"),
    ] {
        let points: Vec<[f32; 2]> = serde_json::from_str(points).unwrap();
        let lines =
            points.iter().map(|[x, y]| format!("  - {{pixel: [{}, {}], pitch: [{x}, {y}]}}\n", x * 5.0, y * 5.0));
        let path = bench.write("pitch.yml", &format!("points:\n{}", lines.collect::<String>()));
        let key = format!("football.pitch.calibration={}", path.display());
        let ended =
            bench.sideline(&["run", &flow, "--input", &clip, "--frames", "5", "--set", &key, "--output", "out"]);
        assert_eq!(ended.code, 1, "{}", ended.text);
        assert!(ended.text.contains(words), "{}", ended.text);
    }
}

#[test]
fn a_clip_without_a_ball_is_reported_in_the_summary() {
    if !is_installed("centernet") || !is_installed("pedestrians") {
        return;
    }
    let bench = Bench::new();
    let flow = repository().join("dataflows/football.yml").display().to_string();
    let clip = repository().join("models/clips/pedestrians.avi").display().to_string();
    // The detector mistakes a spot on the square for a ball; no ball is this small.
    let no_ball = "football.detect.max_ball=0.5";
    let ended =
        bench.sideline(&["run", &flow, "--input", &clip, "--frames", "20", "--set", no_ball, "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let summary = json(bench.path().join("out/summary.json"));
    assert!(summary["unknown"].to_string().contains("The ball was never seen"), "{summary}");
    assert!(rows(bench.path().join("out/possession.jsonl")).iter().all(|row| row["state"] == "unknown"));
}
