//! From motion to moves, in the program: which models are found, and what is said of those that are not.

mod support;

use support::{Bench, SIDELINE, finish};

/// Nobody is in these frames: what is wrong is wrong before the first.
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
    outputs: [opinions]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {opinions: own/opinions}
    outputs: [done]
";

#[test]
fn a_model_of_ones_own_that_is_not_there_is_told_at_its_node_with_where_it_was_looked_for() {
    let bench = Bench::new();
    bench.write("flow.yml", FLOW);
    bench.write("house/models/models.yml", "models: []\n");
    for command in ["check", "run"] {
        let house = bench.path().join("house");
        let ended = finish(bench.command(SIDELINE).args([command, "flow.yml"]).env("SIDELINE_HOME", &house));
        let told = ended.text.lines().find(|line| line.contains("own.onnx")).unwrap_or_default();
        let told_where = format!("{}/models/own.onnx", house.display());
        for part in ["flow.yml:18:5: error: node `own`", "models/own.onnx: no such file; looked for", &told_where] {
            assert!(told.contains(part), "`{part}` is not in:\n{}", ended.text);
        }
        assert_ne!(ended.code, 0);
    }
}

#[test]
fn a_name_that_models_yml_does_not_have_is_told_with_the_nearest() {
    let bench = Bench::new();
    bench.write("flow.yml", &FLOW.replace("models/own.onnx", "lstn"));
    bench.write("house/models/models.yml", "models:\n  - {name: lstm, path: models/lstm.onnx, sha256: 00}\n");
    let house = bench.path().join("house");
    let ended = finish(bench.command(SIDELINE).args(["run", "flow.yml"]).env("SIDELINE_HOME", house));
    assert_eq!(ended.code, 2, "{}", ended.text);
    assert!(ended.text.contains("there is no model `lstn` in models.yml; did you mean `lstm`?"), "{}", ended.text);
}
