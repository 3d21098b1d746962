//! Models of `sequence` in a flow: lookup of model files and names, and reports of missing ones.

mod support;

use support::{Bench, SIDELINE, finish};

/// Flow text with a `sequence` model. Its frames show no people; the tests concern errors before the first frame.
const FLOW: &str = "nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    env: {FRAMES: 5, WIDTH: 64, HEIGHT: 48}
    inputs: {done_recorder: recorder/done}
    outputs: [frames]
  - id: pose
    path: sideline
    args: run pose
    inputs: {frames: synthetic/frames}
    outputs: [poses]
  - id: motion
    path: sideline
    args: run motion
    inputs: {poses: pose/poses}
    outputs: [motion]
  - id: own
    path: sideline
    args: run sequence
    env: {MODEL: models/own.onnx}
    inputs: {motion: motion/motion}
    outputs: [predictions]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {predictions: own/predictions}
    outputs: [done]
";

#[test]
fn a_missing_model_file_is_reported_at_its_node_with_the_searched_folders() {
    let bench = Bench::new();
    bench.write("flow.yml", FLOW);
    bench.write("home/models/models.yml", "models: []\n");
    for command in ["check", "run"] {
        let home = bench.path().join("home");
        let ended = finish(bench.command(SIDELINE).args([command, "flow.yml"]).env("SIDELINE_HOME", &home));
        let report = ended.text.lines().find(|line| line.contains("own.onnx")).unwrap_or_default();
        let searched = format!("{}/models/own.onnx", home.display());
        for part in ["flow.yml:18:5: error: node `own`", "models/own.onnx: no such file; looked for", &searched] {
            assert!(report.contains(part), "`{part}` is not in:\n{}", ended.text);
        }
        assert_ne!(ended.code, 0);
    }
}

#[test]
fn an_unknown_model_name_is_reported_with_the_closest_one() {
    let bench = Bench::new();
    bench.write("flow.yml", &FLOW.replace("models/own.onnx", "lstn"));
    bench.write("home/models/models.yml", "models:\n  - {name: lstm, path: models/lstm.onnx, sha256: 00}\n");
    let home = bench.path().join("home");
    let ended = finish(bench.command(SIDELINE).args(["run", "flow.yml"]).env("SIDELINE_HOME", home));
    assert_eq!(ended.code, 2, "{}", ended.text);
    assert!(ended.text.contains("there is no model `lstn` in models.yml; did you mean `lstm`?"), "{}", ended.text);
}
