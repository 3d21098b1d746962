//! Several inputs: several streams in one flow, one run for each of several files, folders of images.

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    Bench, CommandResult, SIDELINE, count_flow, finish, has_models, has_tool, is_installed, json, json_text,
    repository, rows, wait,
};

/// Creates a clip of a test pattern with `frames` frames; returns false without the tool `ffmpeg`.
fn create_clip(bench: &Bench, name: &str, pattern: &str, frames: u32) -> bool {
    if !has_tool("ffmpeg") {
        return false;
    }
    let path = bench.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let made = finish(
        Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", pattern, "-frames:v", &frames.to_string()])
            .args(["-pix_fmt", "yuv420p", "-movflags", "+faststart"])
            .arg(&path),
    );
    assert_eq!(made.code, 0, "{}", made.text);
    true
}

const LEFT: &str = "testsrc=size=320x240:rate=30";
const RIGHT: &str = "testsrc2=size=160x120:rate=25";

/// Returns the lines of a table that belong to a stream.
fn lines_of_stream(run: &Path, table: &str, stream: &str) -> Vec<String> {
    let text = std::fs::read_to_string(run.join(format!("{table}.jsonl"))).unwrap();
    let marker = format!("\"stream\":\"{stream}\"");
    text.lines().filter(|line| line.contains(&marker)).map(str::to_owned).collect()
}

/// Runs `sideline` and asserts that it succeeds.
fn run_ok(bench: &Bench, arguments: &[&str]) -> CommandResult {
    let ended = bench.sideline(arguments);
    assert_eq!(ended.code, 0, "{}", ended.text);
    ended
}

#[test]
fn two_clips_together_give_the_rows_of_each_alone_and_the_run_is_reproducible() {
    let bench = Bench::new();
    if !create_clip(&bench, "left.mp4", LEFT, 40) || !create_clip(&bench, "b.mp4", RIGHT, 70) {
        return;
    }
    // A list is text in `env:`, as dora requires, and a YAML list in a settings file.
    bench.write("both.yml", &count_flow("SOURCES: '[left.mp4, right=b.mp4]'"));
    bench.write("sources.yml", "sources: [left.mp4, right=b.mp4]\n");
    bench.write("file.yml", &count_flow("CONFIG: sources.yml"));
    for (flow, out) in [("both.yml", "one"), ("both.yml", "again"), ("file.yml", "file")] {
        run_ok(&bench, &["run", flow, "--output", out]);
    }
    for table in ["counts.parquet", "counts.jsonl"] {
        let read = |out: &str| std::fs::read(bench.path().join(out).join(table)).unwrap();
        assert!(read("one") == read("again") && read("one") == read("file"), "{table}");
    }
    let both = bench.path().join("one");
    for (stream, file, frames) in [("left", "left.mp4", 40), ("right", "b.mp4", 70)] {
        bench.write("alone.yml", &count_flow(&format!("SOURCE: {file}, STREAM: {stream}")));
        run_ok(&bench, &["run", "alone.yml", "--output", stream]);
        let alone = lines_of_stream(&bench.path().join(stream), "counts", stream);
        assert_eq!((alone.len(), lines_of_stream(&both, "counts", stream)), (frames, alone));
        assert!(both.join(format!("media-capture-{stream}.json")).is_file());
    }
    let report = json(both.join("run.json"));
    let streams = &report["result"]["sources"][0]["streams"];
    assert_eq!((&streams[0]["stream"], &streams[1]["admitted"]), (&"left".into(), &70.into()));
    // Limits apply to each stream.
    run_ok(&bench, &["run", "both.yml", "--output", "short", "--frames", "50"]);
    let short = bench.path().join("short");
    assert_eq!(
        (lines_of_stream(&short, "counts", "left").len(), lines_of_stream(&short, "counts", "right").len()),
        (40, 50)
    );
    run_ok(&bench, &["run", "both.yml", "--output", "second", "--duration", "1"]);
    let second = bench.path().join("second");
    assert_eq!(
        (lines_of_stream(&second, "counts", "left").len(), lines_of_stream(&second, "counts", "right").len()),
        (30, 25)
    );
}

#[test]
fn each_stream_is_accounted_for_separately_in_live_mode() {
    let bench = Bench::new();
    if !create_clip(&bench, "left.mp4", LEFT, 20) || !create_clip(&bench, "right.mp4", RIGHT, 15) {
        return;
    }
    bench.write("flow.yml", &count_flow("SOURCES: '[left.mp4, right.mp4]'"));
    let ended = run_ok(&bench, &["run", "flow.yml", "--mode", "live", "--output", "out"]);
    assert!(ended.text.contains("  left: 20 decoded = "), "{}", ended.text);
    let result = json(bench.path().join("out/run.json"));
    for (stream, decoded) in result["result"]["sources"][0]["streams"].as_array().unwrap().iter().zip([20, 15]) {
        let count = |key: &str| stream[key].as_u64().unwrap();
        assert_eq!((count("decoded"), count("admitted") + count("forgotten")), (decoded, decoded), "{stream}");
        let recorded = lines_of_stream(&bench.path().join("out"), "counts", stream["stream"].as_str().unwrap());
        assert_eq!(recorded.len() as u64, count("admitted"));
    }
}

#[test]
fn truncated_files_leave_the_other_stream_complete_and_the_run_partial() {
    let bench = Bench::new();
    if !create_clip(&bench, "whole.mp4", LEFT, 60) {
        return;
    }
    let bytes = std::fs::read(bench.path().join("whole.mp4")).unwrap();
    std::fs::write(bench.path().join("cut.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(bench.path().join("shorter.mp4"), &bytes[..bytes.len() / 3]).unwrap();
    bench.write("flow.yml", &count_flow("SOURCES: '[cut.mp4, whole.mp4, shorter.mp4]'"));
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ended.code, 3, "{}", ended.text);
    for name in ["cut.mp4", "shorter.mp4"] {
        let reports = ended.text.lines().filter(|line| line.starts_with("error: ") && line.contains(name)).count();
        assert_eq!(reports, 1, "{name}: {}", ended.text);
    }
    let out = bench.path().join("out");
    assert_eq!(lines_of_stream(&out, "counts", "whole").len(), 60);
    assert!(!lines_of_stream(&out, "counts", "cut").is_empty());
    assert_eq!(json(out.join("run.json"))["result"]["status"], "partial");
}

#[test]
fn fight_yml_on_two_clips_gives_the_rows_of_each_alone() {
    let walker = repository().join("models/clips/walker.mp4");
    if !has_models() || !is_installed("walker") {
        return;
    }
    let bench = Bench::new();
    let flow = repository().join("dataflows/fight.yml");
    let flow = flow.to_str().unwrap();
    let clips = [("athletes", repository().join("models/clips/athletes.mp4")), ("walker", walker)];
    let path = |i: usize| clips[i].1.canonicalize().unwrap().display().to_string();
    let run = |out: &str, set: &str| {
        let out = bench.path().join(out);
        // `sources` on the command line replaces `source` in the flow.
        let arguments = ["run", flow, "--mode", "complete", "--device", "cpu", "--frames", "12", "--set", set];
        run_ok(&bench, &[&arguments[..], &["--output", out.to_str().unwrap()]].concat());
        out
    };
    let both = run("both", &format!("capture.sources=[{}, {}]", path(0), path(1)));
    for (i, (name, _)) in clips.iter().enumerate() {
        let alone = run(name, &format!("capture.sources=[{}]", path(i)));
        let mut total = 0;
        for table in ["tracks", "poses", "motion"] {
            let expected = lines_of_stream(&alone, table, name);
            assert!(lines_of_stream(&both, table, name) == expected, "{table} of {name}");
            total += expected.len();
        }
        assert!(total > 20, "{name}: {total} rows");
    }
}

#[test]
fn a_file_loops_until_the_limit() {
    let bench = Bench::new();
    if !create_clip(&bench, "clip.mp4", LEFT, 15) {
        return;
    }
    bench.write("flow.yml", &count_flow("SOURCE: clip.mp4, LOOP: true"));
    run_ok(&bench, &["run", "flow.yml", "--mode", "complete", "--frames", "40", "--output", "out"]);
    let found = rows(bench.path().join("out/counts.jsonl"));
    for (i, row) in found.iter().enumerate() {
        assert_eq!((row["frame"].as_u64(), row["session"].as_u64()), (Some(i as u64), Some(i as u64 / 15)));
        assert!((row["pts"].as_i64().unwrap() - i as i64 * 1_000_000_000 / 30).abs() < 1000, "{row}");
    }
    assert_eq!(found.len(), 40);
    // A looped source never ends, so `live` is the default mode.
    let checked = bench.sideline(&["check", "flow.yml"]);
    assert!(checked.text.contains("flow.yml (live: "), "{}", checked.text);
}

#[test]
fn a_folder_of_images_is_a_source_and_unusable_images_are_skipped_and_counted() {
    let bench = Bench::new();
    if !create_clip(&bench, "clip.mp4", LEFT, 12) {
        return;
    }
    let pictures = bench.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    let ffmpeg = |arguments: &[&str]| {
        let made = finish(Command::new("ffmpeg").current_dir(bench.path()).args(["-v", "error", "-y"]).args(arguments));
        assert_eq!(made.code, 0, "{}", made.text);
    };
    ffmpeg(&["-i", "clip.mp4", "pictures/shot%d.png"]);
    ffmpeg(&["-i", "clip.mp4", "-frames:v", "1", "-s", "64x48", "pictures/shot4.png"]);
    ffmpeg(&["-i", "clip.mp4", "-frames:v", "1", "-s", "80x48", "pictures/shot6.png"]);
    std::fs::write(pictures.join("shot9.png"), "no image").unwrap();
    bench.write("flow.yml", &count_flow("SOURCE: none, FPS: 10"));
    let ended = run_ok(&bench, &["run", "flow.yml", "--input", "pictures/", "--output", "out"]);
    let out = bench.path().join("out");
    let frames: Vec<u64> = rows(out.join("counts.jsonl")).iter().map(|row| row["frame"].as_u64().unwrap()).collect();
    assert_eq!(frames, [0, 1, 2, 4, 6, 7, 9, 10, 11]);
    let skipped: Vec<(u64, String)> = rows(out.join("counts.skipped.jsonl"))
        .iter()
        .map(|row| (row["frame"].as_u64().unwrap(), row["reason"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(skipped, [(3, "size".into()), (5, "size".into()), (8, "damaged".into())]);
    assert!(ended.text.contains("skipped: damaged 1, size 2"), "{}", ended.text);
    assert_eq!(ended.text.matches("64x48").count(), 1, "{}", ended.text);
    assert!(!ended.text.contains("80x48"), "one warning is enough: {}", ended.text);
}

/// Creates three clips, the second of which is truncated; returns false without the tool `ffmpeg`.
fn create_three_clips(bench: &Bench) -> bool {
    if !create_clip(bench, "clips/a.mp4", LEFT, 30) || !create_clip(bench, "clips/c.mp4", RIGHT, 20) {
        return false;
    }
    let bytes = std::fs::read(bench.path().join("clips/a.mp4")).unwrap();
    std::fs::write(bench.path().join("clips/b.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    true
}

#[test]
fn every_input_of_a_pattern_has_a_run_and_a_failure_does_not_stop_the_others() {
    let bench = Bench::new();
    if !create_three_clips(&bench) {
        return;
    }
    bench.write("clips/notes.txt", "not matched");
    bench.write("flow.yml", &count_flow("SOURCE: none.mp4"));
    let ended = bench.sideline(&["run", "flow.yml", "--input", "clips/*.mp4", "--output", "out"]);
    assert_eq!(ended.code, 3, "{}", ended.text);
    for (name, code, frames) in [("a", 0, 30), ("b", 3, 0), ("c", 0, 20)] {
        let run = bench.path().join("out").join(name);
        let result = bench.sideline(&["result", run.to_str().unwrap()]);
        assert_eq!(result.code, code, "{name}: {}", result.text);
        let held = rows(run.join("counts.jsonl")).len();
        assert!(held == frames || code != 0, "{name}: {held} rows");
        let line = ended.text.lines().filter(|line| line.contains(&format!("clips/{name}.mp4: "))).collect::<Vec<_>>();
        assert_eq!(line.len(), 1, "{}", ended.text);
        assert!(line[0].contains(if code == 0 { ": done, " } else { "FAILED, code 3: node `capture`" }), "{line:?}");
    }
    assert!(ended.text.contains("3 inputs: 2 done, 1 failed; results: out"), "{}", ended.text);
    // Listed explicitly: one file twice, and two files of the same name.
    std::fs::copy(bench.path().join("clips/c.mp4"), bench.path().join("a.mp4")).unwrap();
    let inputs = ["--input", "clips/a.mp4", "--input", "a.mp4", "--input", "clips/a.mp4"];
    let ended = run_ok(&bench, &[&["run", "flow.yml", "--json", "--output", "named"], &inputs[..]].concat());
    let report: Vec<Value> = serde_json::from_value(json_text(&ended.text)).unwrap();
    let runs: Vec<_> = report
        .iter()
        .map(|one| (one["input"].as_str(), one["folder"].as_str(), one["report"]["sources"][0]["admitted"].as_u64()))
        .collect();
    let expected = [("clips/a.mp4", "named/a", 30), ("a.mp4", "named/a-2", 20)];
    assert_eq!(runs, expected.map(|(input, folder, frames)| (Some(input), Some(folder), Some(frames))));
    // Without `--output` the folders are in a run folder of the flow.
    run_ok(&bench, &["run", "flow.yml", "--input", "clips/[ac].mp4"]);
    assert!(bench.last_run().join("a/run.json").is_file() && bench.last_run().join("c/run.json").is_file());
}

#[test]
fn paths_on_the_command_line_are_resolved_from_the_working_directory_first() {
    let bench = Bench::new();
    if !create_three_clips(&bench) {
        return;
    }
    // The clip beside the flow has 30 frames, that in the working directory 20.
    bench.write("flows/flow.yml", &count_flow("SOURCE: clip.mp4"));
    bench.write("here/notes.txt", "");
    std::fs::copy(bench.path().join("clips/a.mp4"), bench.path().join("flows/clip.mp4")).unwrap();
    std::fs::copy(bench.path().join("clips/c.mp4"), bench.path().join("here/clip.mp4")).unwrap();
    std::fs::copy(bench.path().join("clips/c.mp4"), bench.path().join("flows/other.mp4")).unwrap();
    for (arguments, frames) in [
        (vec![], 30),
        (vec!["--input", "clip.mp4"], 20),
        (vec!["--set", "capture.source=clip.mp4"], 20),
        (vec!["--input", "../flows/clip.mp4"], 30),
        (vec!["--input", "other.mp4"], 20),
    ] {
        let mut command = bench.command(SIDELINE);
        command
            .current_dir(bench.path().join("here"))
            .args(["run", "../flows/flow.yml", "--output", "out"])
            .args(&arguments);
        let ended = finish(&mut command);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.text);
        assert_eq!(rows(bench.path().join("here/out/counts.jsonl")).len(), frames, "{arguments:?}");
    }
    let mut command = bench.command(SIDELINE);
    let ended = finish(command.current_dir(bench.path().join("here")).args([
        "run",
        "../flows/flow.yml",
        "--output",
        "out",
        "--input",
        ".",
    ]));
    assert!(ended.code == 3 && ended.text.contains("/here: contains no images"), "{}", ended.text);
}

#[test]
fn a_source_is_never_overwritten() {
    let bench = Bench::new();
    if !create_three_clips(&bench) {
        return;
    }
    let video = "  - id: encode\n    path: sideline\n    args: run encode\n    inputs: {frames: capture/frames}\n    outputs: [done]\n";
    let flow =
        count_flow("SOURCE: clips/a.mp4").replace("{done_recorder", "{done_encode: encode/done, done_recorder") + video;
    bench.write("flow.yml", &flow);
    let clip = bench.path().join("clips/a.mp4");
    let before = std::fs::read(&clip).unwrap();
    let itself = format!("encode.output={}", clip.display());
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out", "--set", &itself]);
    assert!(ended.code == 1 && ended.text.contains("would be overwritten by the video made from it"), "{}", ended.text);
    assert_eq!(std::fs::read(&clip).unwrap(), before);
    // The video of an earlier run is the source of the next one, with the same output folder.
    run_ok(&bench, &["run", "flow.yml", "--output", "out"]);
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out", "--input", "out/overlay.mp4"]);
    assert!(ended.code == 1 && ended.text.contains("would be replaced"), "{}", ended.text);
    run_ok(&bench, &["run", "flow.yml", "--output", "other", "--input", "out/overlay.mp4"]);
}

#[test]
fn an_address_is_never_taken_for_a_pattern() {
    let bench = Bench::new();
    bench.write("flow.yml", &count_flow("SOURCE: none.mp4, RECONNECT_ATTEMPTS: 0, TIMEOUT: 500"));
    for address in
        ["http://127.0.0.1:1/a.mp4?token=s3cret", "http://[::1]:1/a*.mp4", "https://127.0.0.1:1/watch?v=[abc]"]
    {
        let ended = bench.sideline(&["run", "flow.yml", "--output", "out", "--input", address]);
        assert_eq!(ended.code, 3, "{address}: {}", ended.text);
        assert!(
            !ended.text.contains("no file matches") && ended.text.contains(":1/a") | ended.text.contains("watch"),
            "{}",
            ended.text
        );
        assert!(!ended.text.contains("s3cret"), "{}", ended.text);
    }
}

#[test]
fn a_pattern_without_matches_or_an_invalid_flow_starts_no_run() {
    let bench = Bench::new();
    bench.write("clips/a.mp4", "");
    bench.write("flow.yml", &count_flow("SOURCE: none.mp4"));
    for (input, set, code, words) in [
        ("clips/*.mkv", "counter.step=1", 3, "error: --input 'clips/*.mkv': no file matches in "),
        ("clips/[*", "counter.step=1", 1, "error: --input 'clips/[*': invalid pattern"),
        ("clips/*.mp4", "counter.stop=1", 1, "did you mean `step`?"),
    ] {
        let ended = bench.sideline(&["run", "flow.yml", "--input", input, "--set", set, "--output", "out"]);
        assert_eq!(ended.code, code, "{}", ended.text);
        assert_eq!(ended.text.matches(words).count(), 1, "{}", ended.text);
        assert!(!bench.path().join("out").exists());
    }
    // A file whose name looks like a pattern is used as a file.
    bench.write("clips/[x].mp4", "");
    let ended = bench.sideline(&["run", "flow.yml", "--input", "clips/[x].mp4", "--output", "out"]);
    assert!(ended.code == 3 && ended.text.contains("clips/[x].mp4: is empty"), "{}", ended.text);
}

#[test]
fn a_stop_ends_the_current_run_and_lists_the_inputs_that_were_not_started() {
    let bench = Bench::new();
    if !create_three_clips(&bench) {
        return;
    }
    // A looped source never ends by itself.
    bench.write("flow.yml", &count_flow("SOURCE: none.mp4, LOOP: true"));
    let inputs = ["--input", "clips/a.mp4", "--input", "clips/c.mp4"];
    let mut command = bench.command(SIDELINE);
    command.args(["run", "flow.yml", "--mode", "complete", "--output", "out"]).args(inputs);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let lines: PathBuf = bench.path().join("out/a/counts.jsonl");
    let until = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(&lines).map_or(0, |file| file.len()) < 1000 {
        assert!(Instant::now() < until, "the run makes no progress");
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = wait(child);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("1 of 2: clips/a.mp4: stopped, "), "{}", ended.text);
    assert!(ended.text.contains("2 of 2: clips/c.mp4: not begun"), "{}", ended.text);
    assert!(ended.text.contains("0 done, 0 failed, 1 stopped, 1 not begun"), "{}", ended.text);
    assert_eq!(json(bench.path().join("out/a/run.json"))["result"]["status"], "stopped");
    assert!(!bench.path().join("out/c").exists());
}
