//! Operators in shared libraries, run by the program `sideline`: by path, from folders, in one process and over dora.

mod support;

use std::path::{Path, PathBuf};

use support::{Bench, json, lock_dora, repository};

/// Compiles the C example of `runtime/plugin`, with another operator's name, and describes it; `None` without gcc.
fn brightness(bench: &Bench, file: &str, name: &str) -> Option<PathBuf> {
    let source = std::fs::read_to_string(repository().join("runtime/plugin/examples/brightness.c")).unwrap();
    let source = source.replace(
        "\\\"name\\\": \\\"brightness\\\",\\n\"\n    \"  \\\"about",
        &format!("\\\"name\\\": \\\"{name}\\\",\\n\"\n    \"  \\\"about"),
    );
    let source = bench.write("plugin.c", &source);
    let library = bench.path().join(file);
    std::fs::create_dir_all(library.parent().unwrap()).unwrap();
    let compiled = std::process::Command::new("gcc")
        .args(["-std=c11", "-shared", "-fPIC", "-O2", "-I"])
        .arg(repository().join("runtime/abi/include"))
        .arg("-o")
        .args([&library, &source])
        .output();
    let Ok(compiled) = compiled else {
        support::skip_test(support::Capability::Compiler, "there is no gcc");
        return None;
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let described = bench.sideline(&["describe", file]);
    assert_eq!(described.code, 0, "{}", described.text);
    assert!(described.text.contains(&format!("operator `{name}`, described in ")), "{}", described.text);
    Some(library)
}

fn flow(operator: &str, keys: &str) -> String {
    format!(
        "nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    env: {{FRAMES: 60, WIDTH: 64, HEIGHT: 48}}
    inputs: {{done_recorder: recorder/done}}
    outputs: [frames]
  - id: brightness
    path: sideline
    args: run {operator}
    env: {{{keys}}}
    inputs: {{frames: synthetic/frames}}
    outputs: [brightness]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {{brightness: brightness/brightness}}
    outputs: [done]
"
    )
}

fn rows(folder: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join("brightness.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_library_runs_by_its_path_and_the_check_knows_its_keys() {
    let bench = Bench::new();
    if brightness(&bench, "lib/libbrightness.so", "brightness").is_none() {
        return;
    }
    bench.write("flow.yml", &flow("./lib/libbrightness.so", "STEP: 4"));
    let checked = bench.sideline(&["check", "flow.yml"]);
    assert_eq!(checked.code, 0, "{}", checked.text);
    let ran = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.text);
    let rows = rows(&bench.path().join("out"));
    assert_eq!((rows.len(), &rows[59]["frames"]), (60, &60.into()));
    assert_eq!(json(bench.path().join("out/run.json"))["result"]["status"], "done");
    // Its table, which the program does not have, is replayed.
    let from = ["run", "flow.yml", "--from", "recorder", "--recording", "out", "--output", "again"];
    let replayed = bench.sideline(&from);
    assert_eq!(replayed.code, 0, "{}", replayed.text);
    assert_eq!(self::rows(&bench.path().join("again")), rows);
    // From another folder: the path is relative to the flow.
    let elsewhere = bench.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let mut command = bench.command(support::SIDELINE);
    let ran = support::finish(command.current_dir(&elsewhere).args(["run", "../flow.yml", "--output", "out"]));
    assert_eq!(ran.code, 0, "{}", ran.text);
    bench.write("wrong.yml", &flow("./lib/libbrightness.so", "STEPP: 4"));
    let refused = bench.sideline(&["check", "wrong.yml"]);
    assert!(refused.code == 1 && refused.text.contains("wrong.yml:11:"), "{}", refused.text);
    assert!(refused.text.contains("did you mean `step`?"), "{}", refused.text);
    let set = bench.sideline(&["run", "flow.yml", "--set", "brightness.step=0", "--output", "out"]);
    assert!(set.code == 1 && set.text.contains("out of range, 1 to 4096"), "{}", set.text);
}

#[test]
fn a_library_that_cannot_be_used_is_reported_at_its_place() {
    let bench = Bench::new();
    bench.write("libtext.so", "no library");
    for (operator, expected) in [
        ("./libnone.so", "there is no such library"),
        ("./libtext.so", "the description of the plugin is missing: write "),
    ] {
        bench.write("flow.yml", &flow(operator, "STEP: 4"));
        for command in ["check", "run"] {
            let refused = bench.sideline(&[command, "flow.yml"]);
            assert!(refused.code == 1 && refused.text.contains("flow.yml:10:"), "{}", refused.text);
            assert!(refused.text.contains(expected), "{}", refused.text);
        }
    }
    let refused = bench.sideline(&["describe", "libtext.so"]);
    assert!(refused.code == 1 && refused.text.contains("cannot be loaded"), "{}", refused.text);
    let refused = bench.sideline(&["describe", "flow.yml"]);
    assert!(refused.code == 1 && refused.text.contains("a library ends in .so"), "{}", refused.text);
}

#[test]
fn installed_plugins_are_listed_with_their_origin_and_run_by_their_names() {
    let bench = Bench::new();
    let Some(library) = brightness(&bench, "plugins/libbrightness.so", "brightness") else { return };
    let folder = library.parent().unwrap();
    let run = |variable: &str, value: &Path, arguments: &[&str]| {
        support::finish(bench.command(support::SIDELINE).env(variable, value).args(arguments))
    };
    let listed = run("SIDELINE_PLUGINS", folder, &["list"]);
    assert_eq!(listed.code, 0, "{}", listed.text);
    let line = listed.text.lines().find(|line| line.starts_with("brightness")).unwrap();
    assert!(line.contains("Mean brightness of every frame.  (plugin ") && line.contains("libbrightness.so"), "{line}");
    let inspected = run("SIDELINE_PLUGINS", folder, &["inspect", "brightness"]);
    assert!(inspected.text.contains("column mean    f32  Mean of the first plane, 0 to 255."), "{}", inspected.text);
    bench.write("flow.yml", &flow("brightness", "STEP: 4"));
    let ran = run("SIDELINE_PLUGINS", folder, &["run", "flow.yml", "--output", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert_eq!(rows(&bench.path().join("out")).len(), 60);
    // The folder `plugins` of a Sideline home.
    bench.write("models/models.yml", "models: []\n");
    let ran = run("SIDELINE_HOME", bench.path(), &["run", "flow.yml", "--output", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.text);
    // Without the folder there is no such operator.
    let refused = bench.sideline(&["run", "flow.yml"]);
    assert!(refused.code == 1 && refused.text.contains("there is no operator `brightness`"), "{}", refused.text);
    let missing = run("SIDELINE_PLUGINS", Path::new("/nowhere/at/all"), &["list"]);
    assert!(missing.code == 1 && missing.text.contains("SIDELINE_PLUGINS: /nowhere/at/all"), "{}", missing.text);
}

#[test]
fn two_operators_of_one_name_are_an_error_with_both_origins_where_the_name_is_used() {
    let bench = Bench::new();
    if brightness(&bench, "plugins/libother.so", "counter").is_none() {
        return;
    }
    let folder = bench.path().join("plugins");
    let run = |arguments: &[&str]| {
        support::finish(bench.command(support::SIDELINE).env("SIDELINE_PLUGINS", &folder).args(arguments))
    };
    let expected = "there are two operators `counter`, in the program and in ";
    let listed = run(&["list"]);
    assert_eq!(listed.code, 0, "{}", listed.text);
    assert!(listed.text.contains(expected) && listed.text.contains("libother.so"), "{}", listed.text);
    bench.write("flow.yml", &flow("counter", "STEP: 4"));
    let checked = run(&["check", "flow.yml"]);
    assert!(checked.code == 1 && checked.text.contains("flow.yml:10:"), "{}", checked.text);
    assert!(checked.text.contains(expected), "{}", checked.text);
}

#[test]
fn a_plugin_that_cannot_be_used_is_a_warning_and_an_error_only_where_it_is_named() {
    let bench = Bench::new();
    if brightness(&bench, "plugins/libbrightness.so", "brightness").is_none() {
        return;
    }
    bench.write("plugins/libbroken.so", "no library");
    bench.write("plugins/libstray.so", "no library");
    std::os::unix::fs::symlink("../gone.so", bench.path().join("plugins/liblost.so")).unwrap();
    let described = std::fs::read_to_string(bench.path().join("plugins/libbrightness.sideline.json")).unwrap();
    let older = described
        .replace("\"abi\": [1, 0]", "\"abi\": [9, 0]")
        .replace("\"brightness\",\n  \"about", "\"older\",\n  \"about");
    bench.write("plugins/libstray.sideline.json", &older);
    // A description without a library is no plugin.
    bench.write("plugins/libalone.sideline.json", "{");
    let folder = bench.path().join("plugins");
    let run = |arguments: &[&str]| {
        support::finish(bench.command(support::SIDELINE).env("SIDELINE_PLUGINS", &folder).args(arguments))
    };
    for arguments in [&["list"][..], &["inspect", "counter"], &["types", "counter"], &["test-operator", "counter"]] {
        let listed = run(arguments);
        assert_eq!(listed.code, 0, "{arguments:?}: {}", listed.text);
        for expected in
            ["libbroken.so cannot be used: ", "libstray.so cannot be used: ", "liblost.so: there is no such library"]
        {
            assert!(listed.text.contains(expected), "{arguments:?}: {}", listed.text);
        }
        assert!(!listed.text.contains("libalone"), "{}", listed.text);
    }
    bench.write("flow.yml", &flow("brightness", "STEP: 4"));
    assert_eq!(run(&["check", "flow.yml"]).code, 0);
    let ran = run(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.text);
    for (operator, expected) in [
        ("broken", "the description of the plugin is missing: write "),
        ("older", "built for version 9 of the plugin interface, this is version 1"),
    ] {
        bench.write("flow.yml", &flow(operator, "STEP: 4"));
        for command in ["check", "run"] {
            let refused = run(&[command, "flow.yml"]);
            assert!(refused.code == 1 && refused.text.contains("flow.yml:10:"), "{}", refused.text);
            assert!(refused.text.contains(expected), "{}", refused.text);
        }
    }
    // A library that cannot be used does not hide an operator of the program.
    bench.write("plugins/libcounter.so", "no library");
    let inspected = run(&["inspect", "counter"]);
    assert!(inspected.code == 0 && inspected.text.contains("libcounter.so cannot be used"), "{}", inspected.text);
}

#[test]
fn the_plugins_of_the_home_of_a_flow_are_used_from_every_folder() {
    let bench = Bench::new();
    if brightness(&bench, "home/plugins/libbrightness.so", "brightness").is_none() {
        return;
    }
    bench.write("home/models/models.yml", "models: []\n");
    bench.write("home/flows/flow.yml", &flow("brightness", "STEP: 4"));
    make_private(bench.path());
    std::fs::create_dir(bench.path().join("elsewhere")).unwrap();
    // An empty variable is one that is not set.
    for folder in ["home/flows", "elsewhere"] {
        let mut command = bench.command(support::SIDELINE);
        let command = command.env("SIDELINE_HOME", "").current_dir(bench.path().join(folder));
        let checked = support::finish(command.arg("check").arg(bench.path().join("home/flows/flow.yml")));
        assert_eq!(checked.code, 0, "{folder}: {}", checked.text);
    }
}

#[test]
fn a_link_to_a_library_is_used_as_the_library_and_each_library_once() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new();
    let Some(library) = brightness(&bench, "built/libbrightness.so", "brightness") else { return };
    std::fs::create_dir_all(bench.path().join("home/plugins")).unwrap();
    bench.write("home/models/models.yml", "models: []\n");
    symlink(&library, bench.path().join("home/plugins/libbrightness.so")).unwrap();
    symlink(bench.path().join("home/plugins"), bench.path().join("again")).unwrap();
    bench.write("flow.yml", &flow("brightness", "STEP: 4"));
    let run = |home: &str, arguments: &[&str]| {
        let mut command = bench.command(support::SIDELINE);
        let command = command.env("SIDELINE_HOME", home).env("SIDELINE_PLUGINS", bench.path().join("again"));
        support::finish(command.args(arguments))
    };
    let home = bench.path().join("home");
    let ran = run(home.to_str().unwrap(), &["run", "flow.yml", "--output", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert!(!ran.text.contains("two operators"), "{}", ran.text);
    // In a home that was found, what the link leads to must be private as well.
    make_private(bench.path());
    let find = || {
        let mut command = bench.command(support::SIDELINE);
        support::finish(command.env("SIDELINE_HOME", "").current_dir(&home).args(["inspect", "brightness"]))
    };
    std::fs::rename(bench.path().join("built"), home.join("built")).unwrap();
    std::fs::remove_file(home.join("plugins/libbrightness.so")).unwrap();
    symlink("../built/libbrightness.so", home.join("plugins/libbrightness.so")).unwrap();
    assert_eq!(find().code, 0, "{}", find().text);
    set_mode(&home.join("built"), 0o777);
    let refused = find();
    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains("is not used: other users than you and root can write to "), "{}", refused.text);
    set_mode(&home.join("built"), 0o755);
    set_mode(&home.join("built/libbrightness.sideline.json"), 0o666);
    assert_eq!(find().code, 1, "its description");
}

/// Makes a folder and what is in it writable by this user alone.
fn make_private(folder: &Path) {
    set_mode(folder, 0o755);
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, kind) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_type().unwrap())
        };
        match kind.is_dir() {
            true => make_private(&path),
            false if kind.is_file() => set_mode(&path, 0o644),
            false => {}
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_description_of_another_library_is_refused_when_the_library_is_loaded() {
    let bench = Bench::new();
    if brightness(&bench, "plugins/libbrightness.so", "brightness").is_none()
        || brightness(&bench, "plugins/libglow.so", "glow").is_none()
    {
        return;
    }
    let folder = bench.path().join("plugins");
    std::fs::remove_file(folder.join("libbrightness.so")).unwrap();
    std::fs::rename(folder.join("libglow.so"), folder.join("libbrightness.so")).unwrap();
    std::fs::remove_file(folder.join("libglow.sideline.json")).unwrap();
    bench.write("flow.yml", &flow("brightness", "STEP: 4"));
    let mut command = bench.command(support::SIDELINE);
    let ran = support::finish(command.env("SIDELINE_PLUGINS", &folder).args(["run", "flow.yml", "--output", "out"]));
    assert_eq!(ran.code, 1, "{}", ran.text);
    assert!(
        ran.text.contains(
            "the description beside the library is that of `brightness`, and the library has the operator `glow`"
        ),
        "{}",
        ran.text
    );
}

#[test]
fn a_library_gives_the_same_rows_over_dora() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    if brightness(&bench, "libbrightness.so", "brightness").is_none() {
        return;
    }
    bench.write("flow.yml", &flow("./libbrightness.so", "STEP: 4"));
    assert_eq!(bench.sideline(&["run", "flow.yml", "--output", "out"]).code, 0);
    let ran = support::finish(bench.command("dora").args(["run", "flow.yml"]));
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert_eq!(rows(&bench.last_run()), rows(&bench.path().join("out")));
}
