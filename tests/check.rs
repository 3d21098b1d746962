//! `sideline check`: mistakes in a flow with their places, and the plan of its run.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{Bench, has_models, is_installed, json_text, repository};

#[test]
fn the_shipped_flows_have_no_mistakes_and_their_plan_is_printed() {
    for (flow, threads, processes) in [("count.yml", 3, 3), ("fight.yml", 10, 8), ("autocam.yml", 6, 5)] {
        let ready = match flow {
            "fight.yml" => has_models(),
            "autocam.yml" => is_installed("centernet"),
            _ => true,
        };
        if !ready {
            continue;
        }
        let bench = Bench::new();
        let path = repository().join("dataflows").join(flow).canonicalize().unwrap();
        let ended = bench.sideline(&["check", path.to_str().unwrap()]);
        assert_eq!(ended.code, 0, "{}", ended.text);
        for words in [format!("{threads} threads"), format!("in {processes} processes"), "queue 8".to_owned()] {
            assert!(ended.text.contains(&words), "no `{words}`: {}", ended.text);
        }
        assert!(!ended.text.contains("error"), "{}", ended.text);
        let ended = bench.sideline(&["check", "--json", path.to_str().unwrap()]);
        assert_eq!((ended.code, json_text(&ended.text)), (0, serde_json::json!([])));
    }
}

#[test]
fn the_expanded_form_of_a_fused_module_is_printed() {
    if !has_models() {
        return;
    }
    let path = repository().join("dataflows/fight.yml").canonicalize().unwrap();
    let text = Bench::new().sideline(&["check", path.to_str().unwrap()]).text;
    assert!(text.contains("modules/perception.yml (pose, reid, tracker, smooth,"), "{text}");
    assert!(text.contains("    module: modules/perception.yml\n"), "{text}");
}

/// Flow with five mistakes: a key, an input, a value, an output, an operator.
const FIVE_MISTAKES: &str = "nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    env: {WIDTHH: 64}
    inputs: {done_recorder: recorder/done}
    outputs: [frames]
  - id: one
    path: sideline
    args: run rehearse
    inputs: {frame: synthetic/frames}
    outputs: [frames]
  - id: two
    path: sideline
    args: run rehearse
    env: {WORK_MS: 60001}
    inputs: {frames: synthetic/frames}
    outputs: [frames]
  - id: three
    path: sideline
    args: run countr
    inputs: {frames: synthetic/frames}
    outputs: [counts]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {counts: two/counts}
    outputs: [done]
";

/// Expected report of each mistake: line, column, node, and part of the message.
const EXPECTED: [(u64, u64, &str, &str); 5] = [
    (5, 11, "synthetic", "did you mean `width`?"),
    (11, 14, "one", "did you mean `frames`?"),
    (16, 11, "two", "0 to 60000 is allowed"),
    (21, 5, "three", "did you mean `counter`?"),
    (27, 14, "recorder", "there are frames"),
];

#[test]
fn every_mistake_is_reported_on_a_line_with_its_place() {
    let bench = Bench::new();
    bench.write("flow.yml", FIVE_MISTAKES);
    let ended = bench.sideline(&["check", "flow.yml"]);
    assert_eq!(ended.code, 1, "{}", ended.text);
    let reports: Vec<&str> = ended.text.lines().filter(|line| line.starts_with("flow.yml:")).collect();
    assert_eq!(reports.len(), 5, "{}", ended.text);
    for (line, (row, column, node, words)) in reports.iter().zip(EXPECTED) {
        assert!(line.starts_with(&format!("flow.yml:{row}:{column}: error: node `{node}`: ")), "{line}");
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn json_output_contains_the_same_reports() {
    let bench = Bench::new();
    bench.write("flow.yml", FIVE_MISTAKES);
    let ended = bench.sideline(&["check", "flow.yml", "--json"]);
    assert_eq!(ended.code, 1, "{}", ended.text);
    let list = json_text(&ended.text);
    assert_eq!(list.as_array().unwrap().len(), 5, "{list:#}");
    for (report, (line, column, node, words)) in list.as_array().unwrap().iter().zip(EXPECTED) {
        assert_eq!((&report["severity"], &report["file"]), (&"error".into(), &"flow.yml".into()));
        assert_eq!((&report["line"], &report["column"], &report["node"]), (&line.into(), &column.into(), &node.into()));
        assert!(report["message"].as_str().unwrap().contains(words), "{report}");
    }
}

#[test]
fn a_missing_model_is_reported_as_a_mistake_of_the_flow() {
    let bench = Bench::new();
    let catalog = std::fs::read_to_string(repository().join("models/models.yml")).unwrap();
    bench.write("home/models/models.yml", &catalog);
    let path = repository().join("dataflows/fight.yml").canonicalize().unwrap();
    let ended = support::finish(
        bench.command(support::SIDELINE).arg("check").arg(path).env("SIDELINE_HOME", bench.path().join("home")),
    );
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("run `sideline models fetch blazepose_lite`"), "{}", ended.text);
}

/// Keys that several operators of a module have with the same meaning; the node of the module sets them in all
/// operators.
const SHARED_KEYS: [(&str, &str, &str); 7] = [
    ("football.yml", "calibration", "events, formation, pitch, stats"),
    ("football.yml", "interval", "formation, stats"),
    ("moves.yml", "max_gap", "fusion, sequence"),
    ("moves.yml", "max_speed", "fusion, sequence"),
    ("perception.yml", "max_gap", "interaction, motion, smooth"),
    ("perception.yml", "visibility", "interaction, motion, smooth"),
    ("perception.yml", "window", "interaction, motion"),
];

#[test]
fn every_key_that_operators_of_a_module_share_is_listed() {
    let operators = json_text(&Bench::new().sideline(&["list", "--json"]).text);
    let keys_of = |name: &str| -> Vec<String> {
        let operator = operators.as_array().unwrap().iter().find(|operator| operator["name"] == name);
        let keys = operator.unwrap_or_else(|| panic!("no operator `{name}`"))["keys"].as_array().unwrap();
        keys.iter().map(|key| key["key"].as_str().unwrap().to_owned()).collect()
    };
    let mut found = vec![];
    for file in std::fs::read_dir(repository().join("dataflows/modules")).unwrap().flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap();
        let names: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("    args: run ")).collect();
        let mut owners: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for name in names {
            keys_of(name).into_iter().for_each(|key| owners.entry(key).or_default().push(name));
        }
        let shared = owners.into_iter().filter(|(_, owners)| owners.len() > 1);
        let module = file.file_name().to_string_lossy().into_owned();
        found.extend(shared.map(|(key, owners)| (module.clone(), key, owners.join(", "))));
    }
    found.sort();
    let found: Vec<(&str, &str, &str)> =
        found.iter().map(|(module, key, owners)| (&**module, &**key, &**owners)).collect();
    assert_eq!(
        found, SHARED_KEYS,
        "rename a key that has different meanings; list one that has the same meaning in all operators"
    );
}

#[test]
fn a_former_key_is_reported_with_its_new_name() {
    let bench = Bench::new();
    let flow = |env: &str| {
        format!(
            "nodes:\n  - id: capture\n    path: sideline\n    args: run synthetic\n    inputs: {{done_recorder: recorder/done}}\n    \
             outputs: [frames]\n  - id: ball\n    path: sideline\n    args: run ball\n    env: {env}\n    inputs: {{frames: \
             capture/frames, balls: capture/frames}}\n    outputs: [ball]\n  - id: recorder\n    path: sideline\n    args: run \
             recorder\n    inputs: {{ball: ball/ball}}\n    outputs: [done]\n"
        )
    };
    for (env, message) in [
        ("{CONFIDENCE: 0.3}", "key `confidence`: there is no such key any more; it is `min_score` now"),
        ("{LOST_AFTER: 15}", "it is `lost_after_s` now, in seconds: 15 frames at 30 a second are 0.5"),
    ] {
        bench.write("flow.yml", &flow(env));
        let ended = bench.sideline(&["check", "flow.yml"]);
        assert!(ended.text.contains(message) && ended.text.contains("flow.yml:10:11"), "{}", ended.text);
    }
}

#[test]
fn the_reference_pages_describe_this_build() {
    let bench = Bench::new();
    let ended = bench.sideline(&["reference", "."]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    for page in ["operators.md", "tables.md", "cli.md"] {
        let current = std::fs::read_to_string(bench.path().join(page)).unwrap();
        let kept = std::fs::read_to_string(repository().join("docs/reference").join(page)).unwrap_or_default();
        assert!(current == kept, "docs/reference/{page} is stale; run `sideline reference docs/reference`");
    }
}
