//! Fuzz tests of the readers of a run's folder, which may hold files of older versions, killed runs or other programs.

use std::path::Path;

use serde_json::json;
use sideline_testkit::fuzz;

use crate::{record, start_at::PreviousRun};

/// Dictionary for mutations: words of the files of a run.
const WORDS: [&str; 8] = ["null", "[]", "{}", "\"done\"", "\"stopped\"", "-1", "1e400", "\"processes\":"];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("result")).unwrap();
    std::fs::write(folder.path().join("run.json"), json!({"processes": ["cap"]}).to_string()).unwrap();
    folder
}

/// Asserts that an error names the folder of the run or a file in it.
fn assert_error_names_folder<T>(read: sideline_api::Result<T>, folder: &Path) {
    if let Err(error) = read {
        assert!(error.message.contains(folder.to_str().unwrap()), "the error does not name the file: {error}");
    }
}

#[test]
fn fuzz_run_json() {
    let folder = folder();
    let valid = json!({
        "run": "r", "flow": "flow.yml", "processes": ["cap", "rec"], "device": "cpu", "continues": null,
        "nodes": [{"id": "cap", "operator": "capture", "config": {"start": {"value": 1.5, "from": "default"}}, "models": []}],
        "changes": [{"at": 3, "key": "cap.size", "value": "720"}],
    });
    let recorded = json!({"streams": {"cap": {"frame": 9, "pts": 300_000_000}}}).to_string();
    std::fs::write(folder.path().join("recorded.json"), recorded).unwrap();
    fuzz::text("run_json", &[&valid.to_string()], &WORDS, |text| {
        std::fs::write(folder.path().join("run.json"), text).unwrap();
        assert_error_names_folder(record::merge(folder.path()), folder.path());
        assert_error_names_folder(PreviousRun::read(folder.path()).map(|run| run.describe()), folder.path());
    });
}

#[test]
fn fuzz_recorded_json() {
    let folder = folder();
    let valid = json!({"streams": {"cap": {"frame": 9, "pts": 300_000_000}, "b": {"frame": 0, "pts": -1}}}).to_string();
    fuzz::text("recorded_json", &[&valid], &WORDS, |text| {
        std::fs::write(folder.path().join("recorded.json"), text).unwrap();
        assert_error_names_folder(PreviousRun::read(folder.path()).map(|run| run.describe()), folder.path());
    });
}

#[test]
fn fuzz_result_json() {
    let folder = folder();
    let failed = json!({
        "status": "partial", "stopped_at_frame": 7, "sources": [{"node": "cap", "decoded": 9, "admitted": 8, "forgotten": 1}],
        "failure": {"failure": "input", "message": "the file is cut off", "consequence": false},
        "nodes": [{"node": "cnt", "processed": 8, "skipped": {"stride": 1}}],
    });
    let done = json!({"status": "done", "stopped_at_frame": null, "failure": null, "sources": [], "nodes": []});
    fuzz::text("result_json", &[&failed.to_string(), &done.to_string()], &WORDS, |text| {
        std::fs::write(folder.path().join("result/cap.json"), text).unwrap();
        assert_error_names_folder(record::merge(folder.path()), folder.path());
    });
}
