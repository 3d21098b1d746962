//! autocam.yml on real footage: the same rows in one process and over dora, a crop within the frame, and a clip without
//! a ball.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{
    Bench, finish, frame_times, has_tool, is_installed, json, lock_dora, parquet, repository, rows, shared_data,
};

const TABLES: [&str; 4] = ["tracks", "ball", "corrections", "view"];

/// Writes a copy of autocam.yml as `NAME.yml`, with its module beside it. `capture` is added to the environment of its
/// source.
fn write_autocam_flow(bench: &Bench, name: &str, clip: &Path, capture: &str, expanded: bool) {
    let flows = repository().join("dataflows");
    let read = |file: &str| std::fs::read_to_string(flows.join(file)).unwrap();
    let replace = |text: &str, old: &str, new: &str| {
        assert!(text.contains(old), "autocam.yml has no `{old}`");
        text.replace(old, new)
    };
    let clip = clip.canonicalize().unwrap();
    let source = format!("SOURCE: {}\n{capture}", clip.display());
    let mut text = replace(&read("autocam.yml"), "SOURCE: models/clips/pedestrians.avi\n", &source);
    if expanded {
        text = replace(
            &text,
            "    path: sideline\n    args: run modules/autocam.yml\n",
            "    module: modules/autocam.yml\n",
        );
        text = replace(&text, "    outputs: [tracks, ball, corrections, view]\n", "");
    }
    bench.write(&format!("{name}.yml"), &text);
    bench.write("modules/autocam.yml", &read("modules/autocam.yml"));
}

/// Runs `NAME.yml` in one process and returns the folder of the run.
fn run_in_one_process(bench: &Bench, name: &str, out: &str, more: &[&str]) -> PathBuf {
    let flow = format!("{name}.yml");
    let all = [&["run", &flow, "--mode", "complete", "--device", "cpu", "--output", out], more].concat();
    let ended = bench.sideline(&all);
    assert_eq!(ended.code, 0, "{}", ended.text);
    bench.path().join(out)
}

/// Returns the path of a clip of the shared data, if the detector is installed.
fn clip(name: &str) -> Option<PathBuf> {
    is_installed("centernet").then(|| Some(shared_data()?.join("clips").join(name))).flatten()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap()
}

#[test]
fn one_process_dora_and_an_expanded_module_give_the_same_rows() {
    let Some(clip) = clip("zakery_soccer.mp4") else { return };
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    write_autocam_flow(&bench, "fused", &clip, "      END: 1.5\n", false);
    write_autocam_flow(&bench, "expanded", &clip, "      END: 1.5\n", true);
    let here = run_in_one_process(&bench, "fused", "here", &[]);
    for (name, processes) in [("fused", 5), ("expanded", 8)] {
        let ended = finish(bench.command("dora").args(["run", &format!("{name}.yml")]).env_remove("SIDELINE_RUN_DIR"));
        let run = bench.last_run();
        let result = bench.sideline(&["result", run.to_str().unwrap()]);
        assert_eq!((ended.code, result.code), (0, 0), "{}{}", ended.text, result.text);
        assert_eq!(json(run.join("run.json"))["processes"].as_array().unwrap().len(), processes);
        for table in TABLES {
            let columns = |run: &Path| parquet(&run.join(format!("{table}.parquet")));
            assert!(columns(&here) == columns(&run), "{table}.parquet: its rows differ");
        }
        assert_eq!(frame_times(&here.join("autocam.mp4")), frame_times(&run.join("autocam.mp4")));
    }
}

#[test]
fn every_frame_has_a_crop_within_the_frame_and_a_second_run_gives_the_same_bytes() {
    let Some(clip) = clip("mafeuz_football4.mp4") else { return };
    if !has_tool("ffprobe") {
        return;
    }
    let bench = Bench::new();
    write_autocam_flow(&bench, "autocam", &clip, "      END: 3\n", false);
    let [a, b] = ["a", "b"].map(|out| run_in_one_process(&bench, "autocam", out, &[]));
    for table in TABLES {
        let bytes = |run: &Path| std::fs::read(run.join(format!("{table}.parquet"))).unwrap();
        assert!(bytes(&a) == bytes(&b), "{table}.parquet differs");
    }
    let views = rows(a.join("view.jsonl"));
    assert_eq!(views.len(), frame_times(&a.join("autocam.mp4")).len());
    assert!(views.len() > 60);
    for view in &views {
        let [x, y, width, height] = ["x", "y", "width", "height"].map(|name| number(view, name));
        assert!(x - width / 2.0 >= -0.01 && y - height / 2.0 >= -0.01, "{view}");
        assert!((width / height - 16.0 / 9.0).abs() < 1e-3, "{view}");
    }
}

#[test]
fn without_a_ball_the_view_follows_the_players_and_reports_it() {
    let Some(clip) = clip("mafeuz_football4.mp4") else { return };
    let bench = Bench::new();
    write_autocam_flow(&bench, "autocam", &clip, "      END: 3\n", false);
    // No ball in the clip is this large.
    let run = run_in_one_process(&bench, "autocam", "out", &["--set", "camera.detect.min_ball=99"]);
    assert!(rows(run.join("ball.jsonl")).is_empty());
    let views = rows(run.join("view.jsonl"));
    assert!(!views.is_empty() && views.iter().all(|view| view["follows"] != "ball"), "{:?}", views.last());
}
