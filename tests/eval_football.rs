//! `sideline-lab eval football`: evaluation on matches with ground truth.

mod support;

use std::fmt::Write;

use serde_json::Value;
use support::{Bench, json_text, shared_data};

/// Ground truth of a match of six seconds as CSV: four walking players, and a ball that is kicked once.
fn match_csv() -> String {
    let mut text = String::new();
    let tracks = ["0,1", "0,2", "1,1", "1,2", "3,0"];
    for (name, part) in [("TeamID", 0), ("PlayerID", 1)] {
        let cells: Vec<&str> =
            tracks.iter().filter_map(|track| track.split(',').nth(part)).flat_map(|cell| [cell; 4]).collect();
        writeln!(text, "{name},{}", cells.join(",")).unwrap();
    }
    writeln!(text, "Attributes,{}", ["bb_left,bb_top,bb_width,bb_height"; 5].join(",")).unwrap();
    for frame in 0..180 {
        let t = f64::from(frame);
        write!(text, "{frame}").unwrap();
        for at in 0..4 {
            let x = 2000.0 + 400.0 * f64::from(at) + 1.5 * t;
            write!(text, ",{x:.1},{:.1},20,50", 400.0 + 30.0 * f64::from(at)).unwrap();
        }
        // The ball rests, is kicked, and rolls to a stop.
        let x = 2010.0 + (12.0 * (t - 60.0)).clamp(0.0, 900.0);
        writeln!(text, ",{x:.1},450,8,8").unwrap();
    }
    text
}

/// Parses the JSON that was printed before the log.
fn printed_json(text: &str) -> Value {
    json_text(text.split("\n{\"timestamp\"").next().unwrap_or_default())
}

#[test]
fn a_match_is_evaluated_and_a_seed_gives_the_same_figures() {
    let bench = Bench::new();
    bench.write("game.csv", &match_csv());
    let evaluate = |more: &[&str]| {
        let ended = bench.lab(&[&["eval", "football", "game.csv", "--json", "--rounds", "2"], more].concat());
        assert_eq!(ended.code, 0, "{}", ended.text);
        printed_json(&ended.text)
    };
    let (first, other) = (evaluate(&[]), evaluate(&["--seed", "7"]));
    assert_eq!(first, evaluate(&[]));
    assert_ne!(first, other);
    assert_eq!(first["frames"], 360);
    assert!(first["ball_within_20px"].as_f64().unwrap() > 80.0, "{first}");
    // With a detector without errors nearly every ball is found; with one that misses every ball, none is.
    let clean = evaluate(&["--noise", "miss=0", "--noise", "flickers=0", "--noise", "ghosts=0"]);
    assert!(clean["ball_within_20px"].as_f64().unwrap() > 97.0, "{clean}");
    let blind = evaluate(&["--noise", "miss=1", "--noise", "flickers=0", "--noise", "ghosts=0"]);
    assert_eq!(blind["ball_coverage"], 0.0, "{blind}");
    // `--set` reaches the operator.
    let late = evaluate(&["--set", "ball.confirm_hits=40"]);
    assert!(late["ball_coverage"].as_f64() < first["ball_coverage"].as_f64(), "{late}");
}

#[test]
fn invalid_files_and_arguments_are_reported_with_their_place() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path().join("empty")).unwrap();
    bench.write("broken.csv", &match_csv().replace("\n7,", "\n8,"));
    bench.write("game.csv", &match_csv());
    for (arguments, code, wanted) in [
        (&["empty"][..], 3, "empty: no CSV of boxes at any depth"),
        (&["nowhere"], 3, "nowhere: No such file"),
        (&["broken.csv"], 3, "broken.csv:11: frame 8 where 7 should follow"),
        (&["game.csv", "--set", "bal.gate=3"], 1, "`bal` does not take part here; the operators are ball, formation, "),
        (&["game.csv", "--set", "ball.gat=3"], 1, "key `gat`: there is no such key; did you mean `gate`?"),
        (&["game.csv", "--noise", "miss=2"], 1, "--noise: miss is \"2\"; it is a number from 0 to 1"),
    ] {
        let ended = bench.lab(&[&["eval", "football"], arguments].concat());
        assert!(ended.code == code && ended.text.contains(wanted), "{arguments:?}: {} {}", ended.code, ended.text);
    }
}

#[test]
fn the_ball_of_a_real_match_is_tracked_better_than_by_the_peers() {
    let Some(data) = shared_data() else { return };
    let bench = Bench::new();
    let dir = data.join("football");
    let ended = bench.lab(&["eval", "football", &dir.to_string_lossy(), "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let report = printed_json(&ended.text);
    let percent = |value: &Value| value["ball_within_20px"].as_f64().unwrap();
    assert!(percent(&report) >= 94.0, "{report}");
    assert!(report["ball_coverage"].as_f64().unwrap() >= 97.0, "{report}");
    assert!(report["view_ball_inside"].as_f64().unwrap() >= 99.0, "{report}");
    let jerk = |value: &Value| value["view_jerk"].as_f64().unwrap();
    assert!(jerk(&report) < 0.5 * jerk(&report["view_peers"]["mean"]), "{report}");
    for peer in ["nearest", "kalman"] {
        assert!(percent(&report) > percent(&report["peers"][peer]) + 3.0, "{peer}: {report}");
    }
}
