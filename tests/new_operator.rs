//! `sideline new operator`: the crate that it writes is tested, built, and run in a flow by the path of its library.

mod support;

use std::{path::Path, process::Command};

use serde_json::json;
use support::{Bench, SIDELINE, json, repository};

/// Returns a cargo command with the profile of this repository, so that the packages that both need are built once.
fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(folder).arg("--offline");
    for setting in [
        "profile.dev.opt-level=2",
        "profile.dev.package.\"*\".opt-level=3",
        "profile.dev.package.\"*\".debug=false",
        "profile.dev.build-override.opt-level=0",
        "profile.dev.build-override.debug=false",
    ] {
        command.args(["--config", setting]);
    }
    command
}

/// Returns the folder of all builds of this repository.
fn target() -> &'static Path {
    Path::new(SIDELINE).parent().and_then(Path::parent).unwrap()
}

#[test]
fn a_new_operator_is_tested_built_and_run() {
    let bench = Bench::new();
    let created = bench.sideline(&["new", "operator", "scene_light"]);
    assert_eq!(created.code, 0, "{}", created.text);
    let crate_folder = bench.path().join("scene_light");
    let run = |arguments: &[&str]| {
        let output = cargo(&crate_folder).args(arguments).arg("--target-dir").arg(target()).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "cargo {arguments:?}: {text}");
        text
    };
    let tested = run(&["test", "--tests"]);
    assert!(tested.contains("4 passed"), "{tested}");
    run(&["build", "--benches", "--lib"]);
    // The flow names the library in the crate's own folder of builds.
    let library = format!("libscene_light{}", std::env::consts::DLL_SUFFIX);
    let own = crate_folder.join("target/debug");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::copy(target().join("debug").join(&library), own.join(&library)).unwrap();
    let sideline =
        |arguments: &[&str]| support::finish(bench.command(SIDELINE).current_dir(&crate_folder).args(arguments));
    let path = format!("target/debug/{library}");
    assert_eq!(sideline(&["describe", &path]).code, 0);
    let checked = sideline(&["check", "flow.yml"]);
    assert_eq!(checked.code, 0, "{}", checked.text);
    let ran = sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert_eq!(json(crate_folder.join("out/run.json"))["result"]["status"], "done");
    let rows = std::fs::read_to_string(crate_folder.join("out/scene_light.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 149, "one row for every frame but the first");
    let kept = sideline(&["test-operator", &path]);
    assert_eq!(kept.code, 0, "{}", kept.text);
    let types = sideline(&["types", &path]);
    assert!(types.text.contains("Scene_light:") && types.text.contains("name: \"brightness\""), "{}", types.text);
}

#[test]
fn names_that_rust_or_the_template_uses_give_crates_that_compile() {
    let bench = Bench::new();
    for name in ["match", "result"] {
        let created = bench.sideline(&["new", "operator", name]);
        assert_eq!(created.code, 0, "{}", created.text);
        let crate_folder = bench.path().join(name);
        let mut command = cargo(&crate_folder);
        let output = command.args(["test", "--tests", "--target-dir"]).arg(target()).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.contains("4 passed"), "{name}: {text}");
    }
}

#[test]
fn a_crate_is_not_written_over_another_nor_under_a_wrong_name() {
    let bench = Bench::new();
    let created = bench.sideline(&["new", "operator", "mine", "here", "--json"]);
    assert_eq!(created.code, 0, "{}", created.text);
    let report: serde_json::Value = serde_json::from_str(&created.text).unwrap();
    assert!(report["files"].as_array().unwrap().contains(&"src/lib.rs".into()), "{report}");
    let again = bench.sideline(&["new", "operator", "mine", "here"]);
    assert!(again.code == 1 && again.text.contains("exists: give another folder"), "{}", again.text);
    let wrong = bench.sideline(&["new", "operator", "My-Op"]);
    assert!(wrong.code == 1 && wrong.text.contains("`My-Op` is no name for an operator"), "{}", wrong.text);
    let repository_missing = bench.sideline(&["new", "operator", "other", "--sideline", "here"]);
    assert!(repository_missing.text.contains("here is no repository of Sideline"), "{}", repository_missing.text);
    assert!(repository().join("runtime/api/Cargo.toml").is_file());
}

#[test]
fn a_table_is_inspected_with_its_columns_writers_and_readers() {
    let bench = Bench::new();
    let table = bench.sideline(&["inspect", "counts"]);
    assert_eq!(table.code, 0, "{}", table.text);
    for expected in [
        "column frames    u64  frames  Number of frames of this stream so far.",
        "written by counter",
        "read by    no operator",
    ] {
        assert!(table.text.contains(expected), "{}", table.text);
    }
    let operator = bench.sideline(&["inspect", "counter"]);
    assert!(operator.text.contains("           column frames    u64"), "{}", operator.text);
    let json = bench.sideline(&["inspect", "counts", "--json"]);
    let table: serde_json::Value = serde_json::from_str(&json.text).unwrap();
    assert_eq!((&table["columns"][1]["name"], &table["columns"][1]["type"]), (&"checksum".into(), &"u64".into()));
    assert_eq!([0, 1].map(|i| table["columns"][i]["unit"].clone()), [json!("frames"), json!(null)]);
    // Names of the items of a list: all in a table, a few in an operator, which may have many columns.
    let poses = bench.sideline(&["inspect", "poses"]).text;
    assert!(poses.contains("right_foot_index; items of each: x, y, z, visibility."), "{poses}");
    let motion = bench.sideline(&["inspect", "motion"]).text;
    assert!(
        motion.contains("Items: nose, left_eye_inner, left_eye, left_eye_outer, ... (33); items of each"),
        "{motion}"
    );
    let unknown = bench.sideline(&["inspect", "countz"]);
    assert!(unknown.code == 1 && unknown.text.contains("did you mean `count"), "{}", unknown.text);
    let types = bench.sideline(&["types", "counts"]);
    assert!(types.text.starts_with("types:\n  Counts:\n    arrow: Struct\n"), "{}", types.text);
}

#[test]
fn the_page_of_the_first_operator_has_the_commands_that_are_tested_here() {
    let page = std::fs::read_to_string(repository().join("docs/rust-operators.md")).unwrap();
    for command in [
        "sideline new operator scene_light",
        "cargo test",
        "cargo build",
        "sideline describe target/debug/libscene_light.so",
        "sideline run flow.yml",
        "sideline test-operator target/debug/libscene_light.so",
        "sideline types target/debug/libscene_light.so",
    ] {
        assert!(page.contains(command), "{command}");
    }
    let page = std::fs::read_to_string(repository().join("docs/plugin-abi.md")).unwrap();
    assert!(
        page.contains("gcc -shared -fPIC -O2 -I runtime/abi/include -o libbrightness.so"),
        "the command of `plugins`"
    );
}
