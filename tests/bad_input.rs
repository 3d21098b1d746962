//! What can be wrong with what a run is given: one clear message, the right exit code, nothing partial that passes for
//! whole, nothing left behind (every program's output is read to its end, which waits for whoever still holds it).

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sideline_api::models::{Models, sha256};
use support::{
    Bench, Capability, Ended, SIDELINE, dora, finish, frame_times, json, models, nothing_stays, parquet, repository,
    rows, skipped, tool, wait,
};

/// `SOURCE` -> counter -> recorder.
fn count(source: &str) -> String {
    support::count(&format!("SOURCE: '{source}', SIZE: 320x240"))
}

/// Five small pictures -> pose -> recorder.
const POSE: &str = "nodes:
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

/// A run that must fail: with this code, with one message that holds all these words; whatever it left is partial.
fn fails(bench: &Bench, ended: &Ended, code: i32, words: &[&str]) {
    let Ended { code: found, text } = ended;
    assert_eq!(*found, code, "{text}");
    let told: Vec<&str> = text.lines().filter(|line| line.contains(words[0])).collect();
    assert_eq!(told.len(), 1, "`{}` is to be told once:\n{text}", words[0]);
    for word in words {
        assert!(told[0].contains("error: ") && told[0].contains(word), "no `{word}`:\n{text}");
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

fn run_flow(bench: &Bench, flow: &str) -> Ended {
    bench.write("flow.yml", flow);
    bench.sideline(&["run", "flow.yml", "--output", "out"])
}

/// Where an mp4 has its index.
#[derive(PartialEq)]
enum Index {
    Front,
    End,
}

/// 60 frames of a test picture, as the bytes of an mp4; none without the tool `ffmpeg`.
fn test_clip(bench: &Bench, index: Index) -> Option<Vec<u8>> {
    if !tool("ffmpeg") {
        return None;
    }
    let path = bench.path().join("clip.mp4");
    let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=30:duration=2"];
    let order: &[&str] = if index == Index::Front { &["-movflags", "+faststart"] } else { &[] };
    let made = finish(Command::new("ffmpeg").args(picture).args(["-pix_fmt", "yuv420p"]).args(order).arg(&path));
    assert_eq!(made.code, 0, "{}", made.text);
    Some(std::fs::read(path).unwrap())
}

/// Slips in the flow of [`count`]: what is right, what stands there instead, line and column of the one error, its words.
fn told_at_its_place(slips: &[(&str, &str, &str, &str)]) {
    for (right, wrong, place, words) in slips {
        let bench = Bench::new();
        let flow = count("clip.mp4");
        assert!(flow.contains(right));
        let ended = run_flow(&bench, &flow.replacen(right, wrong, 1));
        assert_eq!(ended.code, 1, "{wrong}: {}", ended.text);
        let begins = format!("flow.yml:{place}: error: ");
        let told = ended.text.lines().filter(|line| line.starts_with(&begins) && line.contains(words)).count();
        assert_eq!(told, 1, "{wrong}: {}", ended.text);
        assert!(!bench.path().join("out").exists(), "{wrong}: nothing ran");
    }
}

#[test]
fn what_is_no_video_is_said_to_be_none() {
    for (source, code, words) in [
        ("absent.mp4", 3, "absent.mp4: no such file; looked for "),
        ("empty.mp4", 3, "empty.mp4: is empty"),
        ("text.mp4", 3, "text.mp4: is not a video"),
        ("folder", 3, "folder: holds no images; taken are .jpg, "),
    ] {
        let bench = Bench::new();
        bench.write("empty.mp4", "");
        bench.write("text.mp4", "This is a text.\n");
        bench.write("folder/clip.txt", "");
        let ended = run_flow(&bench, &count(source));
        fails(&bench, &ended, code, &[words, "node `capture`"]);
        assert!(!bench.path().join("out/counts.jsonl").exists(), "it did not begin");
    }
}

#[test]
fn sound_without_a_picture_is_said_to_be_that() {
    if !tool("ffmpeg") {
        return;
    }
    let bench = Bench::new();
    let tone = ["-v", "error", "-f", "lavfi", "-i", "sine=duration=0.5"];
    let made = finish(Command::new("ffmpeg").args(tone).arg(bench.path().join("song.mp4")));
    assert_eq!(made.code, 0, "{}", made.text);
    let ended = run_flow(&bench, &count("song.mp4"));
    fails(&bench, &ended, 3, &["song.mp4: has sound but no picture", "node `capture`", "name a file with video in it"]);
}

#[test]
fn sources_that_cannot_be_meant_are_told_with_their_place() {
    told_at_its_place(&[
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
        ("SOURCE: 'clip.mp4'", "SOURCE: 'rtsp://camera.example/1', LOOP: true", "5:46", "is read from where it is"),
        ("SOURCE: 'clip.mp4'", "SOURCES: '[a.mp4, b.mp4]', SOURCE: c.mp4", "5:11", "give exactly one of the two"),
        ("SOURCE: 'clip.mp4', ", "", "2:5", "key `source`: must be given, or `sources`"),
        (
            "SOURCE: 'clip.mp4'",
            "SOURCES: '[a/x.mp4, b/x.mp4]'",
            "5:11",
            "are both named `x`: name them yourself, as in `left=",
        ),
        ("SOURCE: 'clip.mp4'", "SOURCES: [a.mp4, b.mp4]", "5:11", "write a list as text: SOURCES: \"[a.mp4, b.mp4]\""),
        ("SOURCE: 'clip.mp4'", "SOURCE: /dev/video250, LOOP: true", "5:34", "is a camera, which shows what is now"),
    ]);
}

#[test]
fn a_camera_that_is_not_plugged_in_is_told_with_those_there_are() {
    let bench = Bench::new();
    let ended = run_flow(&bench, &count("/dev/video250"));
    fails(&bench, &ended, 3, &["/dev/video250: there is no such device", "node `capture`", "video device"]);
    let bench = Bench::new();
    bench.write("flow.yml", &count("/dev/video250"));
    let ended = bench.sideline(&["run", "flow.yml", "--mode", "complete", "--output", "out"]);
    fails(&bench, &ended, 1, &["/dev/video250: a camera does not wait", "run it live"]);
}

#[test]
fn a_truncated_video_gives_what_it_holds_and_says_what_is_missing() {
    let bench = Bench::new();
    let Some(whole) = test_clip(&bench, Index::Front) else { return };
    std::fs::write(bench.path().join("cut.mp4"), &whole[..whole.len() * 3 / 5]).unwrap();
    let ended = run_flow(&bench, &count("cut.mp4"));
    let held = rows(bench.path().join("out/counts.jsonl"));
    assert!((1..60).contains(&held.len()), "{} of 60 frames are there", held.len());
    let missing = format!("{} of 60 frames are missing", 60 - held.len());
    fails(&bench, &ended, 3, &[&missing, "node `capture`", "cut.mp4"]);
    let table = parquet(&bench.path().join("out/counts.parquet"));
    assert_eq!(table.iter().map(|batch| batch.num_rows()).sum::<usize>(), held.len());
    let source = &json(bench.path().join("out/run.json"))["result"]["sources"][0];
    assert_eq!((source["admitted"].as_u64(), source["forgotten"].as_u64()), (Some(held.len() as u64), Some(0)));
}

#[test]
fn a_video_without_its_index_is_said_to_be_cut_off() {
    let bench = Bench::new();
    let Some(whole) = test_clip(&bench, Index::End) else { return };
    std::fs::write(bench.path().join("cut.mp4"), &whole[..whole.len() / 2]).unwrap();
    let ended = run_flow(&bench, &count("cut.mp4"));
    fails(&bench, &ended, 3, &["cut.mp4: is an MP4 without its index", "cut off"]);
}

/// A house of Sideline of its own, with the catalogue but without models; `change` is done to the catalogue.
fn house(bench: &Bench, change: impl Fn(String) -> String) -> PathBuf {
    let catalogue = std::fs::read_to_string(repository().join("models/models.yml")).unwrap();
    bench.write("house/models/models.yml", &change(catalogue));
    let house = bench.path().join("house");
    std::fs::create_dir_all(house.join("models/onnx")).unwrap();
    // ONNX Runtime's library is looked for in the house.
    std::os::unix::fs::symlink(repository().canonicalize().unwrap().join(".venv"), house.join(".venv")).unwrap();
    house
}

/// A model's file in the repository, and its checksum.
fn model(name: &str) -> (PathBuf, String) {
    let catalogue = Models::open(repository()).unwrap();
    let entry = catalogue.models().iter().find(|entry| entry.name == name).unwrap();
    (repository().join(&entry.path), entry.sha256.clone())
}

/// Where a house keeps a model.
fn place(house: &Path, name: &str) -> PathBuf {
    house.join("models/onnx").join(model(name).0.file_name().unwrap())
}

fn run_in_house(bench: &Bench, house: &Path) -> Ended {
    bench.write("flow.yml", POSE);
    let run = ["run", "flow.yml", "--output", "out"];
    finish(bench.command(SIDELINE).args(run).env("SIDELINE_HOME", house))
}

#[test]
fn a_missing_model_is_named_with_the_command_that_fetches_it() {
    let bench = Bench::new();
    let ended = run_in_house(&bench, &house(&bench, |catalogue| catalogue));
    for name in ["blazepose_detector", "blazepose_lite"] {
        let is_missing = format!("model `{name}` is not installed");
        fails(&bench, &ended, 2, &[&is_missing, &format!("run `sideline models fetch {name}`"), "flow.yml:8:5"]);
    }
    assert!(!bench.path().join("out").exists(), "nothing ran");
}

#[test]
fn a_model_of_another_checksum_is_not_loaded() {
    let bench = Bench::new();
    let house = house(&bench, |catalogue| catalogue);
    for name in ["blazepose_detector", "blazepose_lite"] {
        std::fs::write(place(&house, name), "changed").unwrap();
    }
    let ended = run_in_house(&bench, &house);
    fails(&bench, &ended, 2, &["has SHA-256", "blazepose_lite", "models.yml says", "sideline models fetch"]);
}

#[test]
fn a_model_of_another_shape_is_refused() {
    if !models() {
        return;
    }
    let ((detector, detector_sum), (_, lite_sum)) = (model("blazepose_detector"), model("blazepose_lite"));
    let bench = Bench::new();
    let house = house(&bench, |catalogue| catalogue.replace(&lite_sum, &detector_sum));
    for name in ["blazepose_detector", "blazepose_lite"] {
        std::fs::copy(&detector, place(&house, name)).unwrap();
    }
    let ended = run_in_house(&bench, &house);
    let words = ["model `blazepose_lite` is not what it should be", "[-1, 256, 256, 3] expected", "[1, 224, 224, 3]"];
    fails(&bench, &ended, 2, &words);
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    if !models() {
        return;
    }
    let (_, lite_sum) = model("blazepose_lite");
    let bench = Bench::new();
    let broken = bench.write("broken.onnx", "broken");
    let sum = sha256(&broken).unwrap();
    let house = house(&bench, |catalogue| catalogue.replace(&lite_sum, &sum));
    std::fs::copy(model("blazepose_detector").0, place(&house, "blazepose_detector")).unwrap();
    std::fs::copy(&broken, place(&house, "blazepose_lite")).unwrap();
    let ended = run_in_house(&bench, &house);
    fails(&bench, &ended, 2, &["blazepose_lite_n.onnx cannot be loaded", "node `pose`"]);
}

#[test]
fn models_that_another_user_could_have_planted_above_a_flow_are_passed_over() {
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
        Ok(()) => assert!(!is_listed(), "in a folder of another user"),
        Err(cause) => skipped(Capability::Machine, format_args!("a folder of another user: {cause}")),
    }
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_for_who_asks_for_it() {
    if !models() {
        return;
    }
    if Path::new("/dev/nvidiactl").exists() {
        return skipped(Capability::Machine, "there is a GPU");
    }
    for device in ["cuda", "tensorrt"] {
        let bench = Bench::new();
        bench.write("flow.yml", POSE);
        let ended = bench.sideline(&["run", "flow.yml", "--device", device, "--output", "out"]);
        fails(&bench, &ended, 5, &[&format!("device `{device}`"), "`--device cpu`", "node `pose`"]);
    }
}

#[test]
fn a_slip_in_a_flow_is_told_with_its_place() {
    told_at_its_place(&[
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
fn an_output_that_cannot_be_written_ends_the_run_before_it_begins() {
    for output in ["file", "file/out"] {
        let bench = Bench::new();
        bench.write("file", "in the way");
        bench.write("flow.yml", &count("clip.mp4"));
        let ended = bench.sideline(&["run", "flow.yml", "--output", output]);
        fails(&bench, &ended, 4, &[&format!("the run's folder {output} cannot be made"), "`--output`"]);
    }
}

#[test]
fn a_flow_with_another_s_node_is_sent_to_dora_also_where_dora_is_not_installed() {
    let bench = Bench::new();
    let foreign = "  - id: alarm\n    path: alarm.py\n    inputs: {counts: counter/counts}\n";
    bench.write("flow.yml", &(count("clip.mp4") + foreign));
    let ended = finish(bench.command(SIDELINE).args(["run", "flow.yml", "--output", "out"]).env("PATH", "/nowhere"));
    fails(&bench, &ended, 1, &["node `alarm` is not ours"]);
    assert!(ended.text.contains("dora run flow.yml") && ended.text.contains("`dora` is not on PATH"), "{}", ended.text);
}

#[test]
fn frames_that_shared_memory_cannot_hold_are_told_by_check_and_stop_every_node() {
    let bench = Bench::new();
    // 260 frames of 200 MB under way from each source: so many sources that this machine cannot hold them.
    let Ok(memory) = rustix::fs::statvfs("/dev/shm") else {
        return skipped(Capability::Machine, "no /dev/shm");
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
    assert!(ended.text.contains("MB of shared memory, /dev/shm has"), "{}", ended.text);
    assert!(ended.text.contains("shared_memory_pool_size"), "{}", ended.text);
    let Some(_lock) = dora() else { return };
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    assert_ne!(ended.code, 0);
    assert!(ended.text.contains("/dev/shm has"), "{}", ended.text);
    nothing_stays(&bench);
}

#[test]
fn under_dora_bad_input_has_the_same_code_and_the_same_message() {
    let Some(_lock) = dora() else { return };
    let bench = Bench::new();
    let Some(whole) = test_clip(&bench, Index::Front) else { return };
    std::fs::write(bench.path().join("cut.mp4"), &whole[..whole.len() * 3 / 5]).unwrap();
    let no_models = house(&bench, |catalogue| catalogue);
    for (flow, code, words) in [
        (count("cut.mp4"), 3, "of 60 frames are missing"),
        (count("absent.mp4"), 3, "absent.mp4: no such file"),
        (POSE.to_owned(), 2, "model `blazepose_lite` is not installed"),
    ] {
        bench.write("flow.yml", &flow);
        let ended = finish(bench.command("dora").args(["run", "flow.yml"]).env("SIDELINE_HOME", &no_models));
        assert_ne!(ended.code, 0, "{words}: {}", ended.text);
        nothing_stays(&bench);
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

/// Synthetic frames -> rehearse -> counter -> recorder, and a video of them.
fn filmed(source: &str) -> String {
    let flow = support::rehearsed(&format!("WIDTH: 64, HEIGHT: 48, {source}"), "SIDELINE_STRIDE: 1");
    let encode = "  - id: encode
    path: sideline
    args: run encode
    inputs: {frames: synthetic/frames}
    outputs: [done]
";
    flow.replace("{done_recorder: recorder/done}", "{done_encode: encode/done, done_recorder: recorder/done}") + encode
}

/// Every file of a folder with its bytes, without the lock.
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
fn a_start_that_fails_leaves_what_an_earlier_run_left() {
    let bench = Bench::new();
    bench.write("flow.yml", &filmed("FRAMES: 10"));
    assert_eq!(bench.sideline(&["run", "flow.yml", "--output", "out"]).code, 0);
    let out = bench.path().join("out");
    std::fs::write(out.join("notes.txt"), "the user's").unwrap();
    let before = files(&out);
    assert!(
        ["counts.parquet", "overlay.mp4", "timing.parquet", "run.json", "result/run.json"]
            .iter()
            .all(|name| before.contains_key(&out.join(name)))
    );
    // Among many operators one cannot be made, a file for the video cannot, or the flow is wrong.
    for (set, code) in [("middle.fail_in_new=true", 6), ("encode.output=/nowhere/x.mp4", 4), ("counter.stop=1", 1)] {
        let ended = bench.sideline(&["run", "flow.yml", "--output", "out", "--set", set]);
        assert_eq!(ended.code, code, "{set}: {}", ended.text);
        assert_eq!(
            ended.text.contains("holds an earlier run, which stays as it is"),
            code != 1,
            "{set}: {}",
            ended.text
        );
        assert_eq!(files(&out), before, "{set}");
    }
    bench.write("missing.yml", &count("absent.mp4"));
    let ended = bench.sideline(&["run", "missing.yml", "--output", "out"]);
    assert_eq!((ended.code, files(&out) == before), (3, true), "{}", ended.text);
    // One that begins takes its place, with another table than before.
    let run = json(out.join("run.json"))["run"].as_str().unwrap().to_owned();
    let other = support::count("SOURCE: none.mp4")
        .replace("run capture", "run synthetic")
        .replace("SOURCE: none.mp4", "FRAMES: 3");
    bench.write("other.yml", &other.replace("counts: counter/counts", "others: counter/counts"));
    let ended = bench.sideline(&["run", "other.yml", "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains(&format!("out: replaces the results of run {run}")), "{}", ended.text);
    assert!(!out.join("counts.parquet").exists() && !out.join("overlay.mp4").exists(), "nothing of both is mixed");
    assert_eq!(rows(out.join("others.jsonl")).len(), 3);
    // A recorder that is made anew within the run would know its files by this.
    let run = json(out.join("run.json"))["run"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(out.join(".others.run")).unwrap(), run);
    assert_eq!(std::fs::read_to_string(out.join("notes.txt")).unwrap(), "the user's");
}

/// A run that lasts until it is told to end, and has recorded some frames.
fn lasting(bench: &Bench, program: &str, arguments: &[&str]) -> std::process::Child {
    bench.write("flow.yml", &filmed("FRAMES: 0, FPS: 100, PACE: true"));
    let mut command = bench.command(program);
    command.args(arguments).args(["run", "flow.yml", "--mode", "live", "--output", "out"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    recorded(bench, &mut child, 10);
    child
}

/// Waits until a run has recorded so many more frames.
fn recorded(bench: &Bench, child: &mut std::process::Child, more: usize) {
    let lines =
        || std::fs::read_to_string(bench.path().join("out/counts.jsonl")).map_or(0, |text| text.lines().count());
    let (before, until) = (lines(), Instant::now() + Duration::from_secs(60));
    while lines() < before + more {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "it does not go on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_folder_that_a_run_writes_to_is_refused_to_another_until_it_is_over_or_killed() {
    let bench = Bench::new();
    let mut child = lasting(&bench, SIDELINE, &[]);
    let refused = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    let holder = format!("process {}, writes there", child.id());
    assert!(refused.code == 4 && refused.text.contains(&holder), "{}", refused.text);
    recorded(&bench, &mut child, 10);
    child.kill().unwrap();
    wait(child);
    bench.write("flow.yml", &filmed("FRAMES: 5"));
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!((ended.code, rows(bench.path().join("out/counts.jsonl")).len()), (0, 5), "{}", ended.text);
}

#[test]
fn a_terminal_that_is_closed_is_a_stop() {
    let bench = Bench::new();
    // These tests may themselves run with it ignored.
    let child = lasting(&bench, "env", &["--default-signal=HUP", SIDELINE]);
    // Both the shell and the system tell of it.
    signal(&child, rustix::process::Signal::HUP);
    signal(&child, rustix::process::Signal::HUP);
    let ended = wait(child);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let out = bench.path().join("out");
    assert_eq!(json(out.join("run.json"))["result"]["status"], "stopped");
    assert!(out.join("counts.parquet").is_file(), "the table is whole");
    let result = bench.sideline(&["result", "out"]);
    assert!(result.code == 0 && result.text.contains("stopped at frame"), "{}", result.text);
}

#[test]
fn a_run_that_is_to_outlive_its_terminal_does() {
    let bench = Bench::new();
    let mut child = lasting(&bench, "nohup", &[SIDELINE]);
    signal(&child, rustix::process::Signal::HUP);
    // More than were under way.
    recorded(&bench, &mut child, 50);
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(wait(child).code, 0);
}

#[test]
fn a_stop_while_operators_are_made_ends_the_run_and_its_result_says_so() {
    let bench = Bench::new();
    let flow = support::rehearsed("FRAMES: 3, WIDTH: 64, HEIGHT: 48", "HANG_IN_NEW: true");
    bench.write("flow.yml", &flow);
    let mut command = bench.command(SIDELINE);
    command.args(["run", "flow.yml", "--output", "out"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !bench.path().join("out/run.json").exists() {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "it does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, rustix::process::Signal::INT);
    let ended = wait(child);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("stopped at frame 0"), "{}", ended.text);
    let result = bench.sideline(&["result", "out"]);
    assert!(result.code == 0 && result.text.lines().last() == Some("stopped"), "{}", result.text);
}

#[test]
fn a_full_disk_is_what_the_run_and_its_result_tell() {
    let bench = Bench::new();
    let can = bench.command("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        println!("skipped: no file system can be mounted here");
        return;
    }
    bench.write("flow.yml", &support::rehearsed("FRAMES: 0, WIDTH: 64, HEIGHT: 48", "SIDELINE_STRIDE: 1"));
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
fn a_run_that_makes_nothing_is_not_done() {
    let bench = Bench::new();
    let middle = "ERROR_AT: 0, SIDELINE_ON_ERROR: skip";
    bench.write("flow.yml", &support::rehearsed("FRAMES: 1, WIDTH: 64, HEIGHT: 48", middle));
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    fails(&bench, &ended, 6, &["node `middle` failed at every frame, 1 times; first: "]);
    // One that gets through is a result.
    bench.write("flow.yml", &support::rehearsed("FRAMES: 2, WIDTH: 64, HEIGHT: 48", middle));
    assert_eq!(bench.sideline(&["run", "flow.yml", "--output", "out"]).code, 0);
}

#[test]
fn a_killed_run_leaves_tables_and_a_video_that_can_be_read_and_is_not_taken_for_whole() {
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
    // A whole run before it, into the same folder: its result must not speak for the killed one.
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
    if tool("ffprobe") {
        assert!(!frame_times(&video).is_empty());
    }
    assert!(json(out.join("run.json"))["result"].is_null());
    let result = bench.sideline(&["result", "out"]);
    assert_eq!(result.code, 6, "{}", result.text);
    assert!(result.text.contains("PARTIAL") && result.text.contains("left no result"), "{}", result.text);
}

#[test]
fn an_operator_that_never_gets_ready_ends_the_start() {
    let bench = Bench::new();
    let flow = POSE.replace("run pose", "run rehearse").replace("outputs: [poses]", "outputs: [frames]");
    let flow =
        flow.replace("args: run recorder", "args: run counter").replace("poses: pose/poses", "frames: pose/frames");
    let flow = flow.replace(
        "    inputs: {frames: synthetic/frames}",
        "    env: {HANG_IN_NEW: true}\n    inputs: {frames: synthetic/frames}",
    );
    let ended = run_flow(&bench, &format!("env: {{SIDELINE_START_S: 1}}\n{flow}"));
    fails(&bench, &ended, 6, &["node `pose`", "1 s"]);
}
