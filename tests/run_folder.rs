//! The folder of a run: results of an earlier run are replaced, files that no run has made stay, sources are never overwritten,
//! and a full disk leaves whole files.

mod support;

use std::{collections::BTreeMap, fs, path::Path};

use support::{Bench, Capability, CommandResult, count_flow, finish, json, rehearse_flow, rows, skip_test};

/// Flow text: synthetic frames -> rehearse -> counter -> recorder.
fn flow(frames: u64) -> String {
    rehearse_flow(&format!("FRAMES: {frames}, WIDTH: 64, HEIGHT: 48"), "SIDELINE_STRIDE: 1")
}

/// Flow text: frames of a source -> encode.
fn video_flow(source: &str) -> String {
    format!(
        "nodes:
  - id: source
    path: sideline
    args: run {source}
    inputs: {{done_encode: encode/done}}
    outputs: [frames]
  - id: encode
    path: sideline
    args: run encode
    inputs: {{frames: source/frames}}
    outputs: [done]
"
    )
}

/// Returns the contents of all files below a folder by their path in it, except locks.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(parent) = folders.pop() {
        for path in parent.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != ".run.lock" {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn run_ok(bench: &Bench, arguments: &[&str]) -> CommandResult {
    let ended = bench.sideline(arguments);
    assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.text);
    ended
}

#[test]
fn a_file_that_no_run_has_made_is_never_replaced() {
    for name in [
        "counts.jsonl",
        "counts.parquet",
        "counts.skipped.parquet",
        "counts.wav",
        "recorded.json",
        "run.json",
        "result/run.json",
        "timing.parquet/x",
    ] {
        let bench = Bench::new();
        bench.write("flow.yml", &flow(3));
        bench.write(&format!("out/{name}"), "the user's");
        bench.write("out/result/thesis.txt", "the user's");
        let before = files(&bench.path().join("out"));
        let refused = bench.sideline(&["run", "flow.yml", "--output", "out"]);
        assert_eq!(refused.code, 4, "{name}: {}", refused.text);
        let error = refused.text.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        let named = format!("out/{}: no run has made this", name.strip_suffix("/x").unwrap_or(name));
        assert!(error.contains(&named) && error.contains("move it away, or name another folder"), "{}", refused.text);
        assert_eq!(files(&bench.path().join("out")), before, "{name}: nothing was touched");
    }
}

#[test]
fn files_beside_the_results_stay_when_a_run_replaces_an_earlier_one() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(5));
    let users = ["out/result/thesis.txt", "out/notes.jsonl", "out/heat_wave.png", "out/sub/poses.jsonl"];
    users.iter().for_each(|name| _ = bench.write(name, "the user's"));
    run_ok(&bench, &["run", "flow.yml", "--output", "out"]);
    bench.write("flow.yml", &flow(3));
    let ended = run_ok(&bench, &["run", "flow.yml", "--output", "out"]);
    assert!(ended.text.contains("out: replaces the results of run "), "{}", ended.text);
    assert_eq!(rows(bench.path().join("out/counts.jsonl")).len(), 3);
    for name in users {
        assert_eq!(fs::read_to_string(bench.path().join(name)).unwrap(), "the user's", "{name}");
    }
}

#[test]
fn tables_of_another_run_below_the_folder_stay() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(5));
    let archive = bench.path().join("out/archive");
    let elsewhere = format!("recorder.folder={}", archive.display());
    run_ok(&bench, &["run", "flow.yml", "--output", "other", "--set", &elsewhere]);
    let before = files(&archive);
    assert!(before.contains_key("counts.parquet"));
    // A folder without an earlier run, and then one with it.
    for _ in 0..2 {
        run_ok(&bench, &["run", "flow.yml", "--output", "out"]);
        assert_eq!(files(&archive), before);
    }
    // The run that made them does not replace them either: they are outside its folder.
    run_ok(&bench, &["run", "flow.yml", "--output", "other"]);
    assert_eq!(files(&archive), before);
    // Tables in a subfolder of its own folder are replaced.
    run_ok(&bench, &["run", "flow.yml", "--output", "out", "--set", "recorder.folder=sub"]);
    run_ok(&bench, &["run", "flow.yml", "--output", "out"]);
    assert!(files(&bench.path().join("out/sub")).is_empty());
}

#[test]
fn a_source_that_an_earlier_run_made_in_a_subfolder_is_not_replaced() {
    let bench = Bench::new();
    bench.write("make.yml", &video_flow("synthetic"));
    bench.write("flow.yml", &video_flow("capture"));
    let make = ["run", "make.yml", "--output", "out", "--set", "source.frames=10", "--set", "encode.output=vid/x.mp4"];
    run_ok(&bench, &make);
    let before = files(&bench.path().join("out"));
    let name = bench.path().join("link.mp4");
    fs::hard_link(bench.path().join("out/vid/x.mp4"), &name).unwrap();
    for source in ["out/vid/x.mp4", "link.mp4"] {
        let refused = bench.sideline(&["run", "flow.yml", "--output", "out", "--input", source]);
        assert_eq!(refused.code, 1, "{}", refused.text);
        assert!(refused.text.contains("would be replaced, as the result of an earlier run"), "{}", refused.text);
        assert_eq!(files(&bench.path().join("out")), before);
    }
    run_ok(&bench, &["run", "flow.yml", "--output", "other", "--input", "out/vid/x.mp4"]);
}

#[test]
fn a_source_that_is_a_link_to_the_video_is_not_overwritten() {
    let bench = Bench::new();
    bench.write("make.yml", &video_flow("synthetic"));
    bench.write("flow.yml", &video_flow("capture"));
    run_ok(&bench, &["run", "make.yml", "--output", "out", "--set", "source.frames=10"]);
    let source = bench.path().join("clip.mp4");
    fs::rename(bench.path().join("out/overlay.mp4"), &source).unwrap();
    let before = fs::read(&source).unwrap();
    fs::hard_link(&source, bench.path().join("hard.mp4")).unwrap();
    std::os::unix::fs::symlink(&source, bench.path().join("soft.mp4")).unwrap();
    let refuse = |output: &str, inputs: &[&str], text: &str| {
        let output = format!("encode.output={}", bench.path().join(output).display());
        let arguments = [&["run", "flow.yml", "--output", "other", "--set", &output], inputs].concat();
        let refused = bench.sideline(&arguments);
        assert_eq!(refused.code, 1, "{arguments:?}: {}", refused.text);
        assert!(refused.text.contains("would be overwritten by the video made from it"), "{}", refused.text);
        assert!(refused.text.contains(text), "{}", refused.text);
        assert_eq!(fs::read(&source).unwrap(), before);
    };
    refuse("hard.mp4", &["--input", "clip.mp4"], "hard.mp4 is the same file: give `output` of `encode` another name");
    refuse("clip.mp4", &["--input", "hard.mp4"], "clip.mp4 is the same file");
    refuse("clip.mp4", &["--input", "soft.mp4"], ": give `output` of `encode` another name");
    // The video of the stream `clip` is `v-clip.mp4` unless it is the first one.
    fs::hard_link(&source, bench.path().join("v-clip.mp4")).unwrap();
    let inputs = ["--set", "source.sources=[left=hard.mp4, clip.mp4]"];
    refuse("v.mp4", &inputs, "v-clip.mp4 is the same file");
}

/// Runs a shell script in which no file can become larger than a number of KiB: as on a full disk, a write stops within a line.
fn run_with_size_limit(bench: &Bench, kib: u32, script: &str) -> CommandResult {
    let script = format!("trap '' XFSZ; ulimit -f {kib}; {script}");
    finish(bench.command("bash").args(["-c", &script]))
}

#[test]
fn an_earlier_run_stays_whole_if_the_disk_is_too_full_for_the_next_one() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(5));
    run_ok(&bench, &["run", "flow.yml", "--output", "out"]);
    let before = files(&bench.path().join("out"));
    let ended = run_with_size_limit(&bench, 100, "sideline run flow.yml --output out");
    assert_eq!(ended.code, 4, "{}", ended.text);
    assert!(ended.text.contains("out: this run did not begin, so the results of the earlier run there are kept"));
    assert_eq!(files(&bench.path().join("out")), before, "{}", ended.text);
    assert_eq!(bench.sideline(&["result", "out"]).code, 0);
}

#[test]
fn a_full_disk_is_reported_with_the_remedy() {
    let bench = Bench::new();
    let mounted = bench.command("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return skip_test(Capability::Machine, "no file system can be mounted here");
    }
    bench.write("flow.yml", &flow(5));
    fs::create_dir(bench.path().join("disk")).unwrap();
    let script = "mount -t tmpfs -o size=2m none disk && sideline run flow.yml --output disk/out && ls disk/out >before; \
                  dd if=/dev/zero of=disk/full bs=4k count=460 2>/dev/null; \
                  sideline run flow.yml --output disk/out; echo code $?; ls disk/out | diff before - && echo kept";
    let ended = finish(bench.command("unshare").args(["-rm", "sh", "-c", script]));
    assert!(ended.text.contains("code 4") && ended.text.contains("kept"), "{}", ended.text);
    assert!(ended.text.contains("; free some space, or write to another disk (`--output`"), "{}", ended.text);
}

#[test]
fn a_disk_that_becomes_full_leaves_whole_lines_and_no_incomplete_files() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(20_000));
    let ended = run_with_size_limit(&bench, 400, "sideline run flow.yml --mode complete --output out");
    assert_eq!(ended.code, 4, "{}", ended.text);
    let out = bench.path().join("out");
    let text = fs::read_to_string(out.join("counts.jsonl")).unwrap();
    assert!(text.len() > 300 << 10 && text.ends_with('\n'), "{} bytes", text.len());
    assert!(rows(out.join("counts.jsonl")).iter().enumerate().all(|(frame, row)| row["frame"] == frame));
    let incomplete: Vec<String> =
        files(&out).into_keys().filter(|name| name.contains(".new") || name.contains(".part")).collect();
    assert!(incomplete.is_empty(), "{incomplete:?}");
    assert_eq!(json(out.join("result/run.json"))["failure"]["failure"], "output");
}

#[test]
fn the_name_of_a_stream_is_escaped_in_the_report_and_in_file_names() {
    let bench = Bench::new();
    bench.write("make.yml", &video_flow("synthetic"));
    run_ok(&bench, &["run", "make.yml", "--output", "made", "--set", "source.frames=5"]);
    bench.write("flow.yml", &count_flow("SOURCE: none.mp4"));
    let sources = r#"capture.sources=["x\nerror: \u001b[2Jy=made/overlay.mp4","right=made/overlay.mp4"]"#;
    let ended = run_ok(&bench, &["run", "flow.yml", "--output", "out", "--set", sources]);
    assert!(ended.text.contains(r"  x\nerror: \u001b[2Jy: 5 decoded = 5 admitted + 0 dropped"), "{}", ended.text);
    assert!(bench.path().join("out/media-capture-x_error____2Jy.json").is_file());
    let ended = bench.sideline(&["run", "flow.yml", "--output", "more", "--set", sources, "--start-at", "out"]);
    assert!(ended.code == 3 && ended.text.contains(r"frame 4 of `x\nerror: \u001b[2Jy`"), "{}", ended.text);
    let result = bench.sideline(&["result", "more"]);
    assert!(result.code == 3 && result.text.contains("PARTIAL"), "{}", result.text);
}
