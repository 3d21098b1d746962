//! `sideline eval football`: matches in which everything is known in, figures out.

mod support;

use std::fmt::Write;

use serde_json::Value;
use support::{Bench, json_text, shared_data};

/// A match of six seconds: four players who walk, and a ball that one kicks to another.
fn game() -> String {
    let mut text = String::new();
    let who = ["0,1", "0,2", "1,1", "1,2", "3,0"];
    for (name, part) in [("TeamID", 0), ("PlayerID", 1)] {
        let cells: Vec<&str> =
            who.iter().filter_map(|who| who.split(',').nth(part)).flat_map(|cell| [cell; 4]).collect();
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
        // It lies, is kicked, rolls out.
        let x = 2010.0 + (12.0 * (t - 60.0)).clamp(0.0, 900.0);
        writeln!(text, ",{x:.1},450,8,8").unwrap();
    }
    text
}

/// What was printed before the log, as JSON.
fn printed(text: &str) -> Value {
    json_text(text.split("\n{\"timestamp\"").next().unwrap_or_default())
}

#[test]
fn a_match_is_judged_and_a_seed_gives_the_same_figures() {
    let bench = Bench::new();
    bench.write("game.csv", &game());
    let judged = |more: &[&str]| {
        let ended = bench.sideline(&[&["eval", "football", "game.csv", "--json", "--rounds", "2"], more].concat());
        assert_eq!(ended.code, 0, "{}", ended.text);
        printed(&ended.text)
    };
    let (first, other) = (judged(&[]), judged(&["--seed", "7"]));
    assert_eq!(first, judged(&[]));
    assert_ne!(first, other);
    assert_eq!(first["frames"], 360);
    assert!(first["ball_within_20px"].as_f64().unwrap() > 80.0, "{first}");
    // A detector that never errs leaves next to nothing to lose; one that always misses leaves nothing.
    let clean = judged(&["--noise", "miss=0", "--noise", "flickers=0", "--noise", "ghosts=0"]);
    assert!(clean["ball_within_20px"].as_f64().unwrap() > 97.0, "{clean}");
    let blind = judged(&["--noise", "miss=1", "--noise", "flickers=0", "--noise", "ghosts=0"]);
    assert_eq!(blind["ball_coverage"], 0.0, "{blind}");
    // Keys reach the operator.
    let late = judged(&["--set", "ball.confirm_looks=40"]);
    assert!(late["ball_coverage"].as_f64() < first["ball_coverage"].as_f64(), "{late}");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path().join("empty")).unwrap();
    bench.write("broken.csv", &game().replace("\n7,", "\n8,"));
    bench.write("game.csv", &game());
    for (arguments, code, wanted) in [
        (&["empty"][..], 3, "empty: no CSV of boxes at any depth"),
        (&["nowhere"], 3, "nowhere: No such file"),
        (&["broken.csv"], 3, "broken.csv:11: frame 8 where 7 should follow"),
        (&["game.csv", "--set", "bal.gate=3"], 1, "`bal` takes no part here; there are ball, formation, "),
        (&["game.csv", "--set", "ball.gat=3"], 1, "key `gat`: there is no such key; did you mean `gate`?"),
        (&["game.csv", "--noise", "miss=2"], 1, "--noise: miss is \"2\"; it is a number from 0 to 1"),
    ] {
        let ended = bench.sideline(&[&["eval", "football"], arguments].concat());
        assert!(ended.code == code && ended.text.contains(wanted), "{arguments:?}: {} {}", ended.code, ended.text);
    }
}

#[test]
fn the_ball_of_a_real_match_is_followed() {
    let Some(data) = shared_data() else { return };
    let bench = Bench::new();
    let dir = data.join("football");
    let ended = bench.sideline(&["eval", "football", &dir.to_string_lossy(), "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let said = printed(&ended.text);
    let percent = |value: &Value| value["ball_within_20px"].as_f64().unwrap();
    assert!(percent(&said) >= 94.0, "{said}");
    assert!(said["ball_coverage"].as_f64().unwrap() >= 97.0, "{said}");
    assert!(said["view_ball_inside"].as_f64().unwrap() >= 99.0, "{said}");
    let jerk = |of: &Value| of["view_jerk"].as_f64().unwrap();
    assert!(jerk(&said) < 0.5 * jerk(&said["view_peers"]["mean"]), "{said}");
    for peer in ["nearest", "kalman"] {
        assert!(percent(&said) > percent(&said["peers"][peer]) + 3.0, "{peer}: {said}");
    }
}
