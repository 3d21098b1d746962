//! Invalid input of a run: one clear message, the right exit code, no partial result that passes for a complete one,
//! and no process left behind (the output of every program is read to its end, which waits for every process that holds
//! it).

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sideline_api::models::{Models, sha256};
use support::{
    Bench, Capability, CommandResult, SIDELINE, finish, frame_times, has_models, has_tool, json, lock_dora, parquet,
    repository, rows, skip_test, wait, wait_for_nodes_to_end,
};

/// Flow text: capture of `source` -> counter -> recorder.
fn count(source: &str) -> String {
    support::count_flow(&format!("SOURCE: '{source}', SIZE: 320x240"))
}

/// Flow text: five small frames -> pose -> recorder.
const POSE_FLOW: &str = "nodes:
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
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {poses: pose/poses}
    outputs: [done]
";

/// Asserts that a run failed with this code and one message that contains all these words, and that its result is
/// partial.
fn assert_fails(bench: &Bench, ended: &CommandResult, code: i32, words: &[&str]) {
    let CommandResult { code: found, text } = ended;
    assert_eq!(*found, code, "{text}");
    let messages: Vec<&str> = text.lines().filter(|line| line.contains(words[0])).collect();
    assert_eq!(messages.len(), 1, "`{}` must be reported once:\n{text}", words[0]);
    for word in words {
        assert!(messages[0].contains("error: ") && messages[0].contains(word), "no `{word}`:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    let run = bench.path().join("out");
    if run.join("run.json").is_file() {
        assert_eq!(json(run.join("run.json"))["result"]["status"], "partial");
        let result = bench.sideline(&["result", "out"]);
        assert_eq!(result.code, code, "{}", result.text);
        assert!(result.text.contains("PARTIAL") && result.text.contains(words[0]), "{}", result.text);
    }
}

fn run_flow(bench: &Bench, flow: &str) -> CommandResult {
    bench.write("flow.yml", flow);
    bench.sideline(&["run", "flow.yml", "--output", "out"])
}

/// Position of the index in an MP4.
#[derive(PartialEq)]
enum IndexPosition {
    Start,
    End,
}

/// Returns the bytes of an MP4 with 60 frames of a test pattern; `None` without the tool `ffmpeg`.
fn test_clip(bench: &Bench, index: IndexPosition) -> Option<Vec<u8>> {
    if !has_tool("ffmpeg") {
        return None;
    }
    let path = bench.path().join("clip.mp4");
    let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=30:duration=2"];
    let order: &[&str] = if index == IndexPosition::Start { &["-movflags", "+faststart"] } else { &[] };
    let made = finish(Command::new("ffmpeg").args(picture).args(["-pix_fmt", "yuv420p"]).args(order).arg(&path));
    assert_eq!(made.code, 0, "{}", made.text);
    Some(std::fs::read(path).unwrap())
}

/// Asserts that each mistake in the flow of [`count`] is reported at its place. Each mistake is (correct text, its
/// replacement, `line:column` of the only error, words of the message).
fn assert_reported_at_its_place(mistakes: &[(&str, &str, &str, &str)]) {
    for (right, wrong, place, words) in mistakes {
        let bench = Bench::new();
        let flow = count("clip.mp4");
        assert!(flow.contains(right));
        let ended = run_flow(&bench, &flow.replacen(right, wrong, 1));
        assert_eq!(ended.code, 1, "{wrong}: {}", ended.text);
        let prefix = format!("flow.yml:{place}: error: ");
        let reports = ended.text.lines().filter(|line| line.starts_with(&prefix) && line.contains(words)).count();
        assert_eq!(reports, 1, "{wrong}: {}", ended.text);
        assert!(!bench.path().join("out").exists(), "{wrong}: nothing ran");
    }
}

#[test]
fn a_source_that_is_no_video_is_reported() {
    for (source, code, words) in [
        ("absent.mp4", 3, "absent.mp4: no such file; looked for "),
        ("empty.mp4", 3, "empty.mp4: is empty"),
        ("text.mp4", 3, "text.mp4: is not a video"),
        ("folder", 3, "folder: contains no images; supported are .jpg, "),
    ] {
        let bench = Bench::new();
        bench.write("empty.mp4", "");
        bench.write("text.mp4", "This is a text.\n");
        bench.write("folder/clip.txt", "");
        let ended = run_flow(&bench, &count(source));
        assert_fails(&bench, &ended, code, &[words, "node `capture`"]);
        assert!(!bench.path().join("out/counts.jsonl").exists(), "the run did not start");
    }
}

#[test]
fn a_file_with_audio_but_no_video_is_reported() {
    if !has_tool("ffmpeg") {
        return;
    }
    let bench = Bench::new();
    let tone = ["-v", "error", "-f", "lavfi", "-i", "sine=duration=0.5"];
    let made = finish(Command::new("ffmpeg").args(tone).arg(bench.path().join("song.mp4")));
    assert_eq!(made.code, 0, "{}", made.text);
    let ended = run_flow(&bench, &count("song.mp4"));
    assert_fails(
        &bench,
        &ended,
        3,
        &["song.mp4: has audio but no video", "node `capture`", "name a file that contains video"],
    );
}

#[test]
fn invalid_sources_are_reported_at_their_place() {
    assert_reported_at_its_place(&[
        (
            "clip.mp4",
            "rtsq://u:s3cret@camera.example/1",
            "5:11",
            "`rtsq://***@camera.example/1`: `rtsq://` is not known here; did you mean `rtsp`?",
        ),
        (
            "clip.mp4",
            "rtmp://camera.example",
            "5:11",
            "names no stream: application and name must follow the host, `/APP/NAME`",
        ),
        (
            "SOURCE: 'clip.mp4'",
            "SOURCE: 'rtsp://camera.example/1', LOOP: true",
            "5:46",
            "is a network stream, which cannot seek",
        ),
        ("SOURCE: 'clip.mp4'", "SOURCES: '[a.mp4, b.mp4]', SOURCE: c.mp4", "5:11", "give exactly one of the two"),
        ("SOURCE: 'clip.mp4', ", "", "2:5", "key `source`: must be given, or `sources`"),
        (
            "SOURCE: 'clip.mp4'",
            "SOURCES: '[a/x.mp4, b/x.mp4]'",
            "5:11",
            "are both named `x`: give them names, as in `left=",
        ),
        ("SOURCE: 'clip.mp4'", "SOURCES: [a.mp4, b.mp4]", "5:11", "write a list as text: SOURCES: \"[a.mp4, b.mp4]\""),
        ("SOURCE: 'clip.mp4'", "SOURCE: /dev/video250, LOOP: true", "5:34", "is a camera, which cannot seek"),
    ]);
}

#[test]
fn a_missing_camera_is_reported_with_the_available_ones() {
    let bench = Bench::new();
    let ended = run_flow(&bench, &count("/dev/video250"));
    assert_fails(&bench, &ended, 3, &["/dev/video250: there is no such device", "node `capture`", "video device"]);
    let bench = Bench::new();
    bench.write("flow.yml", &count("/dev/video250"));
    let ended = bench.sideline(&["run", "flow.yml", "--mode", "complete", "--output", "out"]);
    assert_fails(&bench, &ended, 1, &["/dev/video250: a camera does not wait", "run it in `live` mode"]);
}

#[test]
fn a_truncated_video_is_read_to_its_end_and_the_missing_frames_are_reported() {
    let bench = Bench::new();
    let Some(whole) = test_clip(&bench, IndexPosition::Start) else { return };
    std::fs::write(bench.path().join("cut.mp4"), &whole[..whole.len() * 3 / 5]).unwrap();
    let ended = run_flow(&bench, &count("cut.mp4"));
    let held = rows(bench.path().join("out/counts.jsonl"));
    assert!((1..60).contains(&held.len()), "{} of 60 frames were read", held.len());
    let missing = format!("{} of 60 frames are missing", 60 - held.len());
    assert_fails(&bench, &ended, 3, &[&missing, "node `capture`", "cut.mp4"]);
    let table = parquet(&bench.path().join("out/counts.parquet"));
    assert_eq!(table.iter().map(|batch| batch.num_rows()).sum::<usize>(), held.len());
    let source = &json(bench.path().join("out/run.json"))["result"]["sources"][0];
    assert_eq!((source["admitted"].as_u64(), source["forgotten"].as_u64()), (Some(held.len() as u64), Some(0)));
}

#[test]
fn an_mp4_without_its_index_is_reported_as_truncated() {
    let bench = Bench::new();
    let Some(whole) = test_clip(&bench, IndexPosition::End) else { return };
    std::fs::write(bench.path().join("cut.mp4"), &whole[..whole.len() / 2]).unwrap();
    let ended = run_flow(&bench, &count("cut.mp4"));
    assert_fails(&bench, &ended, 3, &["cut.mp4: is an MP4 without its index", "truncated"]);
}

/// Creates a Sideline home with the catalog, edited by `edit`, but without models.
fn create_home(bench: &Bench, edit: impl Fn(String) -> String) -> PathBuf {
    let catalog = std::fs::read_to_string(repository().join("models/models.yml")).unwrap();
    bench.write("home/models/models.yml", &edit(catalog));
    let home = bench.path().join("home");
    std::fs::create_dir_all(home.join("models/onnx")).unwrap();
    // ONNX Runtime's library is found through Sideline home.
    std::os::unix::fs::symlink(repository().canonicalize().unwrap().join(".venv"), home.join(".venv")).unwrap();
    home
}

/// Returns the file of a model in the repository and its checksum.
fn model(name: &str) -> (PathBuf, String) {
    let catalog = Models::open(repository()).unwrap();
    let entry = catalog.models().iter().find(|entry| entry.name == name).unwrap();
    (repository().join(&entry.path), entry.sha256.clone())
}

/// Returns the path of a model in a Sideline home.
fn model_path(home: &Path, name: &str) -> PathBuf {
    home.join("models/onnx").join(model(name).0.file_name().unwrap())
}

/// Runs [`POSE_FLOW`] with a Sideline home.
fn run_with_home(bench: &Bench, home: &Path) -> CommandResult {
    bench.write("flow.yml", POSE_FLOW);
    let run = ["run", "flow.yml", "--output", "out"];
    finish(bench.command(SIDELINE).args(run).env("SIDELINE_HOME", home))
}

#[test]
fn a_missing_model_is_named_with_the_command_that_fetches_it() {
    let bench = Bench::new();
    let ended = run_with_home(&bench, &create_home(&bench, |catalog| catalog));
    for name in ["blazepose_detector", "blazepose_lite"] {
        let is_missing = format!("model `{name}` is not installed");
        assert_fails(&bench, &ended, 2, &[&is_missing, &format!("run `sideline models fetch {name}`"), "flow.yml:8:5"]);
    }
    assert!(!bench.path().join("out").exists(), "nothing ran");
}

#[test]
fn a_model_with_a_wrong_checksum_is_not_loaded() {
    let bench = Bench::new();
    let home = create_home(&bench, |catalog| catalog);
    for name in ["blazepose_detector", "blazepose_lite"] {
        std::fs::write(model_path(&home, name), "changed").unwrap();
    }
    let ended = run_with_home(&bench, &home);
    assert_fails(&bench, &ended, 2, &["has SHA-256", "blazepose_lite", "models.yml says", "sideline models fetch"]);
}

#[test]
fn a_model_with_a_wrong_input_shape_is_refused() {
    if !has_models() {
        return;
    }
    let ((detector, detector_sum), (_, lite_sum)) = (model("blazepose_detector"), model("blazepose_lite"));
    let bench = Bench::new();
    let home = create_home(&bench, |catalog| catalog.replace(&lite_sum, &detector_sum));
    for name in ["blazepose_detector", "blazepose_lite"] {
        std::fs::copy(&detector, model_path(&home, name)).unwrap();
    }
    let ended = run_with_home(&bench, &home);
    let words = ["model `blazepose_lite` cannot be used", "[-1, 256, 256, 3] expected", "[1, 224, 224, 3]"];
    assert_fails(&bench, &ended, 2, &words);
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    if !has_models() {
        return;
    }
    let (_, lite_sum) = model("blazepose_lite");
    let bench = Bench::new();
    let broken = bench.write("broken.onnx", "broken");
    let sum = sha256(&broken).unwrap();
    let home = create_home(&bench, |catalog| catalog.replace(&lite_sum, &sum));
    std::fs::copy(model("blazepose_detector").0, model_path(&home, "blazepose_detector")).unwrap();
    std::fs::copy(&broken, model_path(&home, "blazepose_lite")).unwrap();
    let ended = run_with_home(&bench, &home);
    assert_fails(&bench, &ended, 2, &["blazepose_lite_n.onnx cannot be loaded", "node `pose`"]);
}

#[test]
fn models_that_another_user_could_have_placed_above_a_flow_are_ignored() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let bench = Bench::new();
    bench.write("shared/models/models.yml", "models: [{name: planted, path: models/a.onnx, sha256: '0'}]\n");
    bench.write("shared/own/note", "");
    let shared = bench.path().join("shared");
    let is_listed = || {
        let mut list = bench.command(SIDELINE);
        list.env_remove("SIDELINE_HOME").env("XDG_DATA_HOME", "/nowhere").current_dir(shared.join("own"));
        let ended = finish(list.args(["models", "list"]));
        ended.text.lines().any(|line| line.starts_with("planted "))
    };
    let set = |mode| std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o755);
    assert!(is_listed());
    for mode in [0o777, 0o1777] {
        set(mode);
        assert!(!is_listed(), "{mode:o}");
    }
    set(0o755);
    match chown(&shared, Some(65_534), None) {
        Ok(()) => assert!(!is_listed(), "the folder belongs to another user"),
        Err(cause) => skip_test(Capability::Machine, format_args!("a folder of another user: {cause}")),
    }
}

#[test]
fn a_missing_gpu_is_an_error_if_it_was_requested() {
    if !has_models() {
        return;
    }
    if Path::new("/dev/nvidiactl").exists() {
        return skip_test(Capability::Machine, "there is a GPU");
    }
    for device in ["cuda", "tensorrt"] {
        let bench = Bench::new();
        bench.write("flow.yml", POSE_FLOW);
        let ended = bench.sideline(&["run", "flow.yml", "--device", device, "--output", "out"]);
        assert_fails(&bench, &ended, 5, &[&format!("device `{device}`"), "`--device cpu`", "node `pose`"]);
    }
}

#[test]
fn mistakes_in_a_flow_are_reported_at_their_place() {
    assert_reported_at_its_place(&[
        ("run counter", "run countr", "10:5", "did you mean `counter`?"),
        ("frames: capture/frames", "frame: capture/frames", "11:14", "did you mean `frames`?"),
        ("frames: capture/frames", "frames: capture/frame", "11:14", "did you mean `frames`?"),
        ("frames: capture/frames", "frames: capturr/frames", "11:14", "did you mean `capture`?"),
        ("outputs: [counts]", "outputs: [count]", "12:15", "did you mean `counts`?"),
        ("{SOURCE: ", "{FSP: 5, SOURCE: ", "5:11", "did you mean `fps`?"),
        ("{SOURCE: ", "{FPS: fast, SOURCE: ", "5:11", "fast"),
        ("{SOURCE: ", "{FPS: 0, SOURCE: ", "5:11", "out of range"),
        ("run counter", "run motion", "11:14", "there is no such input"),
        ("frames: capture/frames", "frames: counter/counts", "11:14", "takes frame"),
    ]);
}

#[test]
fn an_output_folder_that_cannot_be_created_ends_the_run_before_it_starts() {
    for output in ["file", "file/out"] {
        let bench = Bench::new();
        bench.write("file", "in the way");
        bench.write("flow.yml", &count("clip.mp4"));
        let ended = bench.sideline(&["run", "flow.yml", "--output", output]);
        assert_fails(&bench, &ended, 4, &[&format!("the run's folder {output} cannot be created"), "`--output`"]);
    }
}

#[test]
fn a_flow_with_a_foreign_node_is_referred_to_dora_even_if_dora_is_not_installed() {
    let bench = Bench::new();
    let foreign = "  - id: alarm\n    path: alarm.py\n    inputs: {counts: counter/counts}\n";
    bench.write("flow.yml", &(count("clip.mp4") + foreign));
    let ended = finish(bench.command(SIDELINE).args(["run", "flow.yml", "--output", "out"]).env("PATH", "/nowhere"));
    assert_fails(&bench, &ended, 1, &["node `alarm` is not a Sideline node"]);
    assert!(ended.text.contains("dora run flow.yml") && ended.text.contains("`dora` is not on PATH"), "{}", ended.text);
}

#[test]
fn insufficient_shared_memory_is_reported_by_check_and_stops_every_node() {
    let bench = Bench::new();
    // 260 frames of 200 MB in flight from each source, with enough sources to exceed the shared memory of this machine.
    let Ok(memory) = rustix::fs::statvfs("/dev/shm") else {
        return skip_test(Capability::Machine, "no /dev/shm");
    };
    let sources = memory.f_bavail * memory.f_frsize / (260 * 8192 * 8192 * 3) + 1;
    let flow: String = (0..sources)
        .map(|i| {
            format!(
                "  - id: synthetic{i}
    path: sideline
    args: run synthetic
    env: {{FRAMES: 1, WIDTH: 8192, HEIGHT: 8192, ENCODING: rgb8}}
    inputs: {{done_counter{i}: counter{i}/done}}
    outputs: [frames]
  - id: counter{i}
    path: sideline
    args: run counter
    inputs: {{frames: {{source: synthetic{i}/frames, queue_size: 260}}}}
    outputs: [done]
"
            )
        })
        .collect();
    bench.write("flow.yml", &format!("env: {{SIDELINE_WINDOW: 256}}\nnodes:\n{flow}"));
    let ended = bench.sideline(&["check", "flow.yml"]);
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("MB of shared memory, but /dev/shm has"), "{}", ended.text);
    assert!(ended.text.contains("shared_memory_pool_size"), "{}", ended.text);
    let Some(_lock) = lock_dora() else { return };
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    assert_ne!(ended.code, 0);
    assert!(ended.text.contains("/dev/shm has"), "{}", ended.text);
    wait_for_nodes_to_end(&bench);
}

#[test]
fn invalid_input_has_the_same_code_and_message_under_dora() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    let Some(whole) = test_clip(&bench, IndexPosition::Start) else { return };
    std::fs::write(bench.path().join("cut.mp4"), &whole[..whole.len() * 3 / 5]).unwrap();
    let empty_home = create_home(&bench, |catalog| catalog);
    for (flow, code, words) in [
        (count("cut.mp4"), 3, "of 60 frames are missing"),
        (count("absent.mp4"), 3, "absent.mp4: no such file"),
        (POSE_FLOW.to_owned(), 2, "model `blazepose_lite` is not installed"),
    ] {
        bench.write("flow.yml", &flow);
        let ended = finish(bench.command("dora").args(["run", "flow.yml"]).env("SIDELINE_HOME", &empty_home));
        assert_ne!(ended.code, 0, "{words}: {}", ended.text);
        wait_for_nodes_to_end(&bench);
        let run = bench.last_run();
        let result = bench.sideline(&["result", run.to_str().unwrap()]);
        assert_eq!(result.code, code, "{words}: {}{}", ended.text, result.text);
        assert!(result.text.contains("PARTIAL") && result.text.contains(words), "{words}: {}", result.text);
        if code == 3 && words.starts_with("of") {
            let held = rows(run.join("counts.jsonl")).len();
            assert!(result.text.contains(&format!("{} {words}", 60 - held)), "{held} rows: {}", result.text);
        }
        std::fs::remove_dir_all(run).unwrap();
    }
}

/// Flow text: synthetic frames -> rehearse -> counter -> recorder, and synthetic -> encode.
fn recorded_and_encoded_flow(source: &str) -> String {
    let flow = support::rehearse_flow(&format!("WIDTH: 64, HEIGHT: 48, {source}"), "SIDELINE_STRIDE: 1");
    let encode = "  - id: encode
    path: sideline
    args: run encode
    inputs: {frames: synthetic/frames}
    outputs: [done]
";
    flow.replace("{done_recorder: recorder/done}", "{done_encode: encode/done, done_recorder: recorder/done}") + encode
}

/// Reads all files of a folder except the lock.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != ".run.lock" {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_start_that_fails_keeps_the_results_of_an_earlier_run() {
    let bench = Bench::new();
    bench.write("flow.yml", &recorded_and_encoded_flow("FRAMES: 10"));
    assert_eq!(bench.sideline(&["run", "flow.yml", "--output", "out"]).code, 0);
    let out = bench.path().join("out");
    std::fs::write(out.join("notes.txt"), "the user's").unwrap();
    let before = files(&out);
    assert!(
        ["counts.parquet", "overlay.mp4", "timing.parquet", "run.json", "result/run.json"]
            .iter()
            .all(|name| before.contains_key(&out.join(name)))
    );
    // One of many operators cannot be created, the video file cannot be created, or the flow is invalid.
    for (set, code) in [("middle.fail_in_new=true", 6), ("encode.output=/nowhere/x.mp4", 4), ("counter.stop=1", 1)] {
        let ended = bench.sideline(&["run", "flow.yml", "--output", "out", "--set", set]);
        assert_eq!(ended.code, code, "{set}: {}", ended.text);
        assert_eq!(
            ended.text.contains("so the results of the earlier run there are kept"),
            code != 1,
            "{set}: {}",
            ended.text
        );
        assert_eq!(files(&out), before, "{set}");
    }
    bench.write("missing.yml", &count("absent.mp4"));
    let ended = bench.sideline(&["run", "missing.yml", "--output", "out"]);
    assert_eq!((ended.code, files(&out) == before), (3, true), "{}", ended.text);
    // A run that starts replaces the results, with a different table than before.
    let run = json(out.join("run.json"))["run"].as_str().unwrap().to_owned();
    let other = support::count_flow("SOURCE: none.mp4")
        .replace("run capture", "run synthetic")
        .replace("SOURCE: none.mp4", "FRAMES: 3");
    bench.write("other.yml", &other.replace("counts: counter/counts", "others: counter/counts"));
    let ended = bench.sideline(&["run", "other.yml", "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains(&format!("out: replaces the results of run {run}")), "{}", ended.text);
    assert!(
        !out.join("counts.parquet").exists() && !out.join("overlay.mp4").exists(),
        "results of the two runs are not mixed"
    );
    assert_eq!(rows(out.join("others.jsonl")).len(), 3);
    // A recorder that is restarted within the run recognizes its files by this.
    let run = json(out.join("run.json"))["run"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(out.join(".others.run")).unwrap(), run);
    assert_eq!(std::fs::read_to_string(out.join("notes.txt")).unwrap(), "the user's");
}

/// Starts a run that lasts until it is stopped, and waits until it has recorded some frames.
fn start_endless_run(bench: &Bench, program: &str, arguments: &[&str]) -> std::process::Child {
    bench.write("flow.yml", &recorded_and_encoded_flow("FRAMES: 0, FPS: 100, PACE: true"));
    let mut command = bench.command(program);
    command.args(arguments).args(["run", "flow.yml", "--mode", "live", "--output", "out"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_frames(bench, &mut child, 10);
    child
}

/// Waits until a run has recorded `more` further frames.
fn wait_for_frames(bench: &Bench, child: &mut std::process::Child, more: usize) {
    let lines =
        || std::fs::read_to_string(bench.path().join("out/counts.jsonl")).map_or(0, |text| text.lines().count());
    let (before, until) = (lines(), Instant::now() + Duration::from_secs(60));
    while lines() < before + more {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "the run makes no progress");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to a child.
fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn the_folder_of_an_active_run_is_refused_to_another_until_it_ends_or_is_killed() {
    let bench = Bench::new();
    let mut child = start_endless_run(&bench, SIDELINE, &[]);
    let refused = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    let holder = format!("process {}, writes there", child.id());
    assert!(refused.code == 4 && refused.text.contains(&holder), "{}", refused.text);
    wait_for_frames(&bench, &mut child, 10);
    child.kill().unwrap();
    wait(child);
    bench.write("flow.yml", &recorded_and_encoded_flow("FRAMES: 5"));
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!((ended.code, rows(bench.path().join("out/counts.jsonl")).len()), (0, 5), "{}", ended.text);
}

#[test]
fn closing_the_terminal_stops_a_run_in_order() {
    let bench = Bench::new();
    // The test itself may run with SIGHUP ignored.
    let child = start_endless_run(&bench, "env", &["--default-signal=HUP", SIDELINE]);
    // SIGHUP arrives twice: from the shell and from the kernel.
    signal(&child, rustix::process::Signal::HUP);
    signal(&child, rustix::process::Signal::HUP);
    let ended = wait(child);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let out = bench.path().join("out");
    assert_eq!(json(out.join("run.json"))["result"]["status"], "stopped");
    assert!(out.join("counts.parquet").is_file(), "the table is complete");
    let result = bench.sideline(&["result", "out"]);
    assert!(result.code == 0 && result.text.contains("stopped after "), "{}", result.text);
}

#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let bench = Bench::new();
    let mut child = start_endless_run(&bench, "nohup", &[SIDELINE]);
    signal(&child, rustix::process::Signal::HUP);
    // More frames than were in flight.
    wait_for_frames(&bench, &mut child, 50);
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(wait(child).code, 0);
}

#[test]
fn a_stop_while_operators_are_created_ends_the_run_as_stopped() {
    let bench = Bench::new();
    let flow = support::rehearse_flow("FRAMES: 3, WIDTH: 64, HEIGHT: 48", "HANG_IN_NEW: true");
    bench.write("flow.yml", &flow);
    let mut command = bench.command(SIDELINE);
    command.args(["run", "flow.yml", "--output", "out"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !bench.path().join("out/run.json").exists() {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "the run does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, rustix::process::Signal::INT);
    let ended = wait(child);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("stopped after 0 frames"), "{}", ended.text);
    let result = bench.sideline(&["result", "out"]);
    assert!(result.code == 0 && result.text.lines().last() == Some("stopped"), "{}", result.text);
}

#[test]
fn a_full_disk_is_reported_by_the_run_and_by_its_result() {
    let bench = Bench::new();
    let mounted = bench.command("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        support::skip_test(support::Capability::Machine, "no file system can be mounted here");
        return;
    }
    bench.write("flow.yml", &support::rehearse_flow("FRAMES: 0, WIDTH: 64, HEIGHT: 48", "SIDELINE_STRIDE: 1"));
    std::fs::create_dir(bench.path().join("out")).unwrap();
    let script = "mount -t tmpfs -o size=1m none out && { sideline run flow.yml --mode complete --output out/run; \
                  echo code $?; sideline result out/run; echo code $?; }";
    let ended = finish(bench.command("unshare").args(["-rm", "sh", "-c", script]));
    assert_eq!(ended.text.matches("code 4").count(), 2, "{}", ended.text);
    let errors: Vec<&str> = ended.text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.last().is_some_and(|last| last.contains("counts") && last.contains("No space left")), "{errors:?}");
    assert!(ended.text.contains("PARTIAL, by `run`: ") && !ended.text.contains("left no result"), "{}", ended.text);
}

#[test]
fn a_run_that_processes_no_frame_has_failed() {
    let bench = Bench::new();
    let middle = "ERROR_AT: 0, SIDELINE_ON_ERROR: skip";
    bench.write("flow.yml", &support::rehearse_flow("FRAMES: 1, WIDTH: 64, HEIGHT: 48", middle));
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_fails(&bench, &ended, 6, &["node `middle` handled no frame: 1 failed; first failure: "]);
    // One processed frame is enough for success.
    bench.write("flow.yml", &support::rehearse_flow("FRAMES: 2, WIDTH: 64, HEIGHT: 48", middle));
    assert_eq!(bench.sideline(&["run", "flow.yml", "--output", "out"]).code, 0);
}

#[test]
fn a_killed_run_leaves_readable_tables_and_a_video_and_counts_as_partial() {
    let flow = |frames: u64| {
        format!(
            "nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    env: {{FRAMES: {frames}, WIDTH: 320, HEIGHT: 240, FPS: 100, PACE: true}}
    inputs: {{done_encode: encode/done, done_recorder: recorder/done}}
    outputs: [frames]
  - id: counter
    path: sideline
    args: run counter
    inputs: {{frames: synthetic/frames}}
    outputs: [counts]
  - id: encode
    path: sideline
    args: run encode
    inputs: {{frames: synthetic/frames}}
    outputs: [done]
  - id: recorder
    path: sideline
    args: run recorder
    env: {{ROW_GROUP: 10}}
    inputs: {{counts: counter/counts}}
    outputs: [done]
"
        )
    };
    let bench = Bench::new();
    // A complete run into the same folder first: its result must not be taken for that of the killed run.
    bench.write("flow.yml", &flow(10));
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    bench.write("flow.yml", &flow(0));
    let mut command = bench.command(SIDELINE);
    command.args(["run", "flow.yml", "--output", "out"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = bench.path().join("out");
    let parts = || {
        let entries = out.join("counts.parquet").read_dir().into_iter().flatten().flatten();
        let mut parts: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        parts.retain(|part| part.file_name().unwrap().to_string_lossy().starts_with("part-"));
        parts
    };
    let video = out.join("overlay.mp4");
    let written = || std::fs::metadata(&video).map_or(0, |file| file.len());
    let until = Instant::now() + Duration::from_secs(60);
    while parts().len() < 10 || written() < 50_000 {
        assert!(
            Instant::now() < until && child.try_wait().unwrap().is_none(),
            "{} parts, {} B",
            parts().len(),
            written()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    assert_eq!(wait(child).code, -1);
    let in_parts: usize = parts().iter().flat_map(|part| parquet(part)).map(|batch| batch.num_rows()).sum();
    let text = std::fs::read_to_string(out.join("counts.jsonl")).unwrap();
    let whole_lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines: Vec<serde_json::Value> = whole_lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let in_lines = lines.len();
    assert!(in_parts >= 100 && in_parts.is_multiple_of(10), "{in_parts} rows in parts");
    assert!(in_lines >= in_parts, "{in_lines} lines, {in_parts} rows in parts");
    if has_tool("ffprobe") {
        assert!(!frame_times(&video).is_empty());
    }
    assert!(json(out.join("run.json"))["result"].is_null());
    let result = bench.sideline(&["result", "out"]);
    assert_eq!(result.code, 6, "{}", result.text);
    assert!(result.text.contains("PARTIAL") && result.text.contains("left no result"), "{}", result.text);
}

#[test]
fn an_operator_that_is_never_ready_ends_the_start() {
    let bench = Bench::new();
    let flow = POSE_FLOW.replace("run pose", "run rehearse").replace("outputs: [poses]", "outputs: [frames]");
    let flow =
        flow.replace("args: run recorder", "args: run counter").replace("poses: pose/poses", "frames: pose/frames");
    let flow = flow.replace(
        "    inputs: {frames: synthetic/frames}",
        "    env: {HANG_IN_NEW: true}\n    inputs: {frames: synthetic/frames}",
    );
    let ended = run_flow(&bench, &format!("env: {{SIDELINE_START_S: 1}}\n{flow}"));
    assert_fails(&bench, &ended, 6, &["node `pose`", "1 s"]);
}
