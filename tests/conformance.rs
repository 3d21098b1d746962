//! Every operator of the program keeps the rules that all operators keep.

mod support;

use std::path::PathBuf;

use sideline_api::{Registry, Values, models::Models};
use sideline_conformance::{RULES, Suite, failures};
use support::{Bench, repository};

/// Operators that need a model of `models.yml`, hardware or another program, with the reason for which they are not tested here.
const ELSEWHERE: [(&str, &str); 5] = [
    ("pose", "needs models"),
    ("detect", "needs models"),
    ("reid", "needs models"),
    ("sequence", "needs models"),
    ("preview", "serves a socket"),
];

/// Returns a configuration under which an operator starts, for those without defaults for all keys.
fn values(operator: &str) -> Values {
    match operator {
        "capture" => [("source", "clip.mp4")].into(),
        "reid" => [("method", "color")].into(),
        "sequence" => [("model", "lstm")].into(),
        _ => Values::new(),
    }
}

fn check_all(registry: &Registry, names: &[&str], models: &Models) {
    let mut broken = vec![];
    for entry in registry.iter().filter(|entry| names.contains(&entry.spec.name)) {
        let folder = tempfile::tempdir().unwrap();
        let search = vec![PathBuf::from("."), repository()];
        let suite = Suite::new(entry.factory(), folder.path())
            .with_values(values(entry.spec.name))
            .with_models(models.clone(), search);
        let reports = suite.run();
        broken.extend(failures(&reports).into_iter().map(|failure| format!("{}: {failure}", entry.spec.name)));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_operator_without_a_model_keeps_the_rules() {
    let registry = sideline::registry();
    let is_elsewhere = |name: &str| ELSEWHERE.iter().any(|(known, _)| *known == name);
    let names: Vec<&str> = registry.iter().map(|entry| entry.spec.name).filter(|name| !is_elsewhere(name)).collect();
    assert!(names.len() > 15, "{names:?}");
    check_all(&registry, &names, &Models::default());
}

#[test]
fn appearance_by_color_keeps_the_rules() {
    check_all(&sideline::registry(), &["reid"], &Models::default());
}

#[test]
fn operators_with_a_model_keep_the_rules() {
    let home = repository();
    let Ok(models) = Models::open(&home) else { panic!("the repository has a catalog of models") };
    if models.models().iter().any(|model| models.verify(&model.name).is_err()) {
        support::skip_test(
            support::Capability::Models,
            "not all models are installed; `cargo xtask setup` fetches them",
        );
        return;
    }
    check_all(&sideline::registry(), &["pose", "detect", "sequence"], &models);
}

#[test]
fn the_command_prints_a_line_for_each_rule_and_fails_on_a_broken_one() {
    let bench = Bench::new();
    let passed = bench.sideline(&["test-operator", "counter", "--set", "step=4"]);
    assert_eq!(passed.code, 0, "{}", passed.text);
    assert_eq!(passed.text.lines().count(), RULES.len());
    assert!(passed.text.contains("passed         repeats itself"), "{}", passed.text);
    assert!(passed.text.contains("not applicable runs without optional inputs: it has no optional inputs"));
    let failed = bench.sideline(&["test-operator", "rehearse", "--set", "panic_at=3"]);
    assert_eq!(failed.code, 6, "{}", failed.text);
    assert!(failed.text.contains("failed         answers every frame: panic at frame 3 (a)"), "{}", failed.text);
    let unset = bench.sideline(&["test-operator", "counter", "--set", "step=0"]);
    assert_eq!((unset.code, unset.text.lines().count()), (6, RULES.len()), "{}", unset.text);
    assert!(unset.text.contains("not applicable repeats itself: its configuration is refused"), "{}", unset.text);
    let json = bench.sideline(&["test-operator", "counter", "--json"]);
    let reports: serde_json::Value = serde_json::from_str(&json.text).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), RULES.len());
    let unknown = bench.sideline(&["test-operator", "countr"]);
    assert!(unknown.code == 1 && unknown.text.contains("did you mean `counter`?"), "{}", unknown.text);
    let refused = bench.sideline(&["test-operator", "counter", "--set", "step"]);
    assert!(refused.code == 1 && refused.text.contains("`step` is not KEY=VALUE"), "{}", refused.text);
}

#[test]
fn recorded_rows_come_before_generated_ones() {
    let bench = Bench::new();
    bench.write("flow.yml", &support::rehearse_flow("FRAMES: 5, WIDTH: 64, HEIGHT: 48", "SIDELINE_STRIDE: 1"));
    assert_eq!(bench.sideline(&["run", "flow.yml", "--output", "out"]).code, 0);
    let tested = bench.sideline(&["test-operator", "recorder", "--recording", "out"]);
    assert_eq!(tested.code, 0, "{}", tested.text);
    let missing = bench.sideline(&["test-operator", "recorder", "--recording", "nowhere"]);
    assert!(missing.code == 3 && missing.text.contains("is not the folder of a run"), "{}", missing.text);
}
