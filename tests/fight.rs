//! fight.yml on real footage: the same rows in one process and over dora, and two fighters who keep their identities.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{
    Bench, Capability, finish, frame_times, has_models, has_tool, is_installed, json, json_text, lock_dora, parquet,
    repository, rows, shared_data, skip_test,
};

/// Tables that fight.yml records.
const TABLES: [&str; 8] = ["tracks", "poses", "motion", "fighters", "interaction", "scores", "moves", "commentary"];

/// Form of the perception module under dora: one process, or one process for each of its operators.
enum PerceptionForm {
    Fused,
    Expanded,
}

/// Writes a copy of fight.yml as `NAME.yml`, with its modules beside it. `capture` is added to the environment of its
/// source.
fn write_fight_flow(bench: &Bench, name: &str, clip: &Path, capture: &str, perception: PerceptionForm) {
    let flows = repository().join("dataflows");
    let read = |file: &str| std::fs::read_to_string(flows.join(file)).unwrap();
    let replace = |text: &str, old: &str, new: &str| {
        assert!(text.contains(old), "fight.yml has no `{old}`");
        text.replace(old, new)
    };
    let clip = clip.canonicalize().unwrap();
    let source = format!("SOURCE: {}\n{capture}", clip.display());
    let mut text = replace(&read("fight.yml"), "SOURCE: models/clips/athletes.mp4\n", &source);
    if matches!(perception, PerceptionForm::Expanded) {
        let fused = "    path: sideline\n    args: run modules/perception.yml\n";
        text = replace(&text, fused, "    module: modules/perception.yml\n");
        text = replace(&text, "    outputs: [tracks, smoothed_poses, motion, fighters, interaction]\n", "");
    }
    bench.write(&format!("{name}.yml"), &text);
    for module in ["modules/perception.yml", "modules/moves.yml"] {
        bench.write(module, &read(module));
    }
}

/// Returns the path of the clip of two athletes.
fn athletes() -> PathBuf {
    repository().join("models/clips/athletes.mp4")
}

/// End of the clip after 42 of the athletes' 100 frames: fast, and all within the second series of detections.
const SHORT: &str = "      END: 0.7\n";

/// Runs `NAME.yml` in one process and returns the folder of the run.
fn run_in_one_process(bench: &Bench, name: &str, out: &str, arguments: &[&str]) -> PathBuf {
    let flow = format!("{name}.yml");
    let mut all = vec!["run", &flow, "--mode", "complete", "--device", "cpu", "--output", out];
    all.extend(arguments);
    let ended = bench.sideline(&all);
    assert_eq!(ended.code, 0, "{}", ended.text);
    bench.path().join(out)
}

/// Runs `NAME.yml` under dora and returns the folder of the run.
fn run_under_dora(bench: &Bench, name: &str) -> PathBuf {
    let ended = finish(bench.command("dora").args(["run", &format!("{name}.yml")]).env_remove("SIDELINE_RUN_DIR"));
    let run = bench.last_run();
    let result = bench.sideline(&["result", run.to_str().unwrap()]);
    assert_eq!((ended.code, result.code), (0, 0), "{}{}", ended.text, result.text);
    run
}

/// Asserts that two runs have the same rows in all tables.
fn assert_same_rows(a: &Path, b: &Path) {
    for table in TABLES {
        let lines = |run: &Path| std::fs::read_to_string(run.join(format!("{table}.jsonl"))).unwrap();
        let (lines_a, lines_b) = (lines(a), lines(b));
        // A row for each of the two in every frame; one for the pair once both are named; events may be missing.
        let min_rows = match table {
            "moves" | "commentary" => 0,
            "fighters" | "interaction" => 20,
            _ => 80,
        };
        assert!(lines_a.lines().count() >= min_rows, "{table}: {} rows", lines_a.lines().count());
        for (n, (one, other)) in lines_a.lines().zip(lines_b.lines()).enumerate() {
            assert_eq!(one, other, "{table}.jsonl, line {}", n + 1);
        }
        assert_eq!(lines_a.lines().count(), lines_b.lines().count(), "{table}.jsonl");
        let columns = |run: &Path| parquet(&run.join(format!("{table}.parquet")));
        assert!(columns(a) == columns(b), "{table}.parquet: its rows differ");
    }
}

#[test]
fn one_process_dora_and_an_expanded_module_give_the_same_rows() {
    if !has_models() {
        return;
    }
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    write_fight_flow(&bench, "fused", &athletes(), SHORT, PerceptionForm::Fused);
    write_fight_flow(&bench, "expanded", &athletes(), SHORT, PerceptionForm::Expanded);
    let here = run_in_one_process(&bench, "fused", "here", &[]);
    let fused = run_under_dora(&bench, "fused");
    let expanded = run_under_dora(&bench, "expanded");
    let processes = |run: &Path| json(run.join("run.json"))["processes"].as_array().unwrap().len();
    assert_eq!((processes(&here), processes(&fused), processes(&expanded)), (1, 8, 14));
    assert_same_rows(&here, &fused);
    assert_same_rows(&here, &expanded);
    assert_same_rows(&here, &run_in_one_process(&bench, "expanded", "expanded_here", &[]));
}

#[test]
fn a_second_run_gives_the_same_bytes_and_the_same_video() {
    if !has_models() {
        return;
    }
    let bench = Bench::new();
    write_fight_flow(&bench, "fight", &athletes(), SHORT, PerceptionForm::Fused);
    let [a, b] = ["a", "b"].map(|out| run_in_one_process(&bench, "fight", out, &[]));
    let names = |run: &Path| -> BTreeSet<String> {
        run.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(&a), names(&b));
    let tables: Vec<String> = names(&a)
        .into_iter()
        .filter(|name| (name.ends_with(".parquet") || name.ends_with(".jsonl")) && name != "timing.parquet")
        .collect();
    assert_eq!(tables.len(), 2 * TABLES.len(), "{tables:?}");
    for table in tables {
        assert!(std::fs::read(a.join(&table)).unwrap() == std::fs::read(b.join(&table)).unwrap(), "{table}");
    }
    if has_tool("ffprobe") {
        let [a, b] = [a, b].map(|run| frame_times(&run.join("overlay.mp4")));
        assert_eq!((a.len(), &a), (42, &b));
    }
}

#[test]
fn other_pose_models_are_reproducible_and_named_in_the_rows() {
    if !has_models() || !is_installed("blazepose_full") || !is_installed("movenet_lightning") {
        return;
    }
    let bench = Bench::new();
    write_fight_flow(&bench, "fight", &athletes(), SHORT, PerceptionForm::Fused);
    // In `complete` mode `auto` is a fixed model, so that the rows do not depend on time.
    for (model, expected) in [("movenet", "movenet"), ("auto", "full")] {
        let set = format!("perception.model={model}");
        let [a, b] =
            ["a", "b"].map(|out| run_in_one_process(&bench, "fight", &format!("{model}-{out}"), &["--set", &set]));
        assert_same_rows(&a, &b);
        let poses = rows(a.join("poses.jsonl"));
        assert!(poses.iter().all(|row| row["model"] == expected), "{model}");
        if model == "movenet" {
            // Values that the model does not provide are null: the left corner of the mouth, depth, meters, and so
            // velocity.
            let unknown = |row: &Value| row["joints"][9][0].is_null() && row["joints"][11][2].is_null();
            assert!(
                poses.iter().all(|row| unknown(row) && row["joints"][11][0].is_f64() && row["world"][0][0].is_null())
            );
            assert!(rows(a.join("motion.jsonl")).iter().all(|row| row["velocity_norm"].is_null()));
        }
        let fighters = rows(a.join("fighters.jsonl"));
        let named: BTreeSet<&str> = fighters.iter().filter_map(|row| row["fighter"].as_str()).collect();
        assert!(named.is_superset(&BTreeSet::from(["fighter_1", "fighter_2"])), "{model}: {named:?}");
    }
}

#[test]
fn both_fighters_have_poses_and_keep_their_names_and_no_other_person_is_named() {
    if !has_models() {
        return;
    }
    let bench = Bench::new();
    write_fight_flow(&bench, "fight", &athletes(), "", PerceptionForm::Fused);
    let run = run_in_one_process(&bench, "fight", "out", &[]);
    let (poses, fighters) = (rows(run.join("poses.jsonl")), rows(run.join("fighters.jsonl")));
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap();
    let mut frames_of: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut names_of: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    let mut named_frames: BTreeSet<(u64, u64)> = BTreeSet::new();
    for row in &fighters {
        names_of.entry(number(row, "track")).or_default().insert(row["fighter"].as_str().unwrap());
        named_frames.insert((number(row, "frame"), number(row, "track")));
    }
    for row in &poses {
        frames_of.entry(number(row, "track")).or_default().insert(number(row, "frame"));
        assert_eq!(row["joints"].as_array().unwrap().len(), 33);
    }
    let lasting: Vec<u64> =
        frames_of.iter().filter(|(_, frames)| frames.len() >= 95).map(|(track, _)| *track).collect();
    assert_eq!(lasting.len(), 2, "{:?}", frames_of.iter().map(|(t, f)| (t, f.len())).collect::<Vec<_>>());
    let named: Vec<u64> = names_of.keys().copied().collect();
    assert_eq!(named, lasting, "exactly the two lasting tracks are named");
    let names: BTreeSet<&str> = names_of.values().flatten().copied().collect();
    assert!(names_of.values().all(|names| names.len() == 1), "a name changed its track: {names_of:?}");
    assert_eq!(names, BTreeSet::from(["fighter_1", "fighter_2"]));
    // Once given, a name stays to the end, also in frames without a pose.
    for row in rows(run.join("tracks.jsonl")) {
        let (frame, track) = (number(&row, "frame"), number(&row, "track"));
        assert!(frame < 80 || !lasting.contains(&track) || named_frames.contains(&(frame, track)), "{row}");
    }
    // Two people and not one detected twice: their hips are apart.
    let apart =
        (0..100).filter(|frame| hip_distance(&poses, *frame, lasting[0], lasting[1]).is_some_and(|gap| gap > 0.05));
    assert!(apart.count() >= 90);
    if has_tool("ffprobe") {
        assert_eq!(frame_times(&run.join("overlay.mp4")).len(), 100);
    }
}

/// Returns the streams of a video, as reported by ffprobe: kind, codec, start and duration, s.
fn streams(video: &Path) -> Vec<(String, String, f64, f64)> {
    let entries = ["-show_entries", "stream=codec_type,codec_name,start_time,duration", "-of", "json"];
    let probe = finish(std::process::Command::new("ffprobe").args(["-v", "error"]).args(entries).arg(video));
    let found = json_text(&probe.text);
    let seconds = |value: &Value| value.as_str().unwrap().parse().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let stream = |s: &Value| {
        (text(&s["codec_type"]), text(&s["codec_name"]), seconds(&s["start_time"]), seconds(&s["duration"]))
    };
    found["streams"].as_array().unwrap().iter().map(stream).collect()
}

#[test]
fn the_video_has_the_audio_of_the_clip_in_one_process_and_over_dora() {
    let walker = repository().join("models/clips/walker.mp4");
    if !has_models() || !is_installed("walker") || !has_tool("ffprobe") {
        return;
    }
    let bench = Bench::new();
    write_fight_flow(&bench, "fight", &walker, "      END: 1.5\n", PerceptionForm::Fused);
    let assert_has_audio = |run: &Path| match &streams(&run.join("overlay.mp4"))[..] {
        [(_, video, began, _), (_, audio, from, length)] => {
            assert_eq!((video.as_str(), audio.as_str()), ("h264", "aac"));
            assert!(from.abs() < 0.001 && began.abs() < 0.001, "{from} {began}");
            // Audio may end after the last frame.
            assert!(*length > 1.47, "{length} s of audio beside 1.5 s of video");
        }
        other => panic!("one video and one audio stream expected: {other:?}"),
    };
    assert_has_audio(&run_in_one_process(&bench, "fight", "here", &[]));
    let media = json(bench.path().join("here/media-capture.json"));
    assert_eq!(media["media"]["audio"], "aac");
    let Some(_lock) = lock_dora() else { return };
    assert_has_audio(&run_under_dora(&bench, "fight"));
}

#[test]
fn the_audio_of_dropped_live_frames_is_kept() {
    if !has_tool("ffmpeg") || !has_tool("ffprobe") {
        return;
    }
    let bench = Bench::new();
    let ffmpeg = |args: &[&str]| {
        let ended = finish(bench.command("ffmpeg").args(["-hide_banner", "-nostats"]).args(args));
        assert_eq!(ended.code, 0, "{}", ended.text);
        ended.text
    };
    let picture = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=30:duration=3", "-pix_fmt", "yuv420p"];
    ffmpeg(&[&["-f", "lavfi", "-i", "sine=duration=3"][..], &picture, &["tone.mp4"]].concat());
    let node = |id: &str, run: &str, env: &str, inputs: &str, outputs: &str| {
        format!(
            "  - {{id: {id}, path: sideline, args: run {run}, env: {{{env}}}, inputs: {{{inputs}}}, outputs: [{outputs}]}}\n"
        )
    };
    let flow = [
        node("capture", "capture", "SOURCE: tone.mp4", "done_encode: encode/done", "frames, audio"),
        node("slow", "rehearse", "WORK_MS: 120", "frames: capture/frames", "frames"),
        node("encode", "encode", "PRESET: ultrafast", "frames: slow/frames, audio: capture/audio", "done"),
    ];
    bench.write("flow.yml", &format!("nodes:\n{}", flow.concat()));
    let ended = bench.sideline(&["run", "flow.yml", "--mode", "live", "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let source = &json(bench.path().join("out/run.json"))["result"]["sources"][0];
    assert!(source["forgotten"].as_u64() > Some(20), "{source}");
    let length = streams(&bench.path().join("out/overlay.mp4"))[1].3;
    assert!((length - 3.0).abs() < 0.05, "{length} s of audio");
    // Missing audio of a dropped frame would be 33 ms of silence.
    let silence = ffmpeg(&["-i", "out/overlay.mp4", "-af", "silencedetect=n=-40dB:d=0.025", "-f", "null", "-"]);
    assert!(!silence.contains("silence_start"), "{silence}");
}

/// Returns the distance of two people's left hips in one frame, in fractions of the frame's width and height.
fn hip_distance(poses: &[Value], frame: u64, one: u64, other: u64) -> Option<f64> {
    let hip = |track: u64| {
        let row = poses.iter().find(|row| row["frame"] == frame && row["track"] == track)?;
        Some((row["joints"][23][0].as_f64()?, row["joints"][23][1].as_f64()?))
    };
    let ((x1, y1), (x2, y2)) = (hip(one)?, hip(other)?);
    Some((x1 - x2).hypot(y1 - y2))
}

/// Returns the path of a clip of the shared data; counts the test as skipped if it is missing.
fn clip(name: &str) -> Option<PathBuf> {
    let path = shared_data()?.join("clips").join(name);
    if !path.is_file() {
        skip_test(Capability::Data, format_args!("no {}", path.display()));
        return None;
    }
    Some(path)
}

/// Runs fight.yml on 60 frames of a clip and checks its frame accounting, poses and video.
fn check_sixty_frames(clip: &Path) {
    let bench = Bench::new();
    write_fight_flow(&bench, "fight", clip, "", PerceptionForm::Fused);
    let run = run_in_one_process(&bench, "fight", "out", &["--frames", "60"]);
    let result = &json(run.join("run.json"))["result"];
    assert_eq!((&result["status"], &result["reproducible"]), (&"done".into(), &true.into()));
    let source = &result["sources"][0];
    let count = |key: &str| source[key].as_u64().unwrap();
    assert_eq!((count("admitted"), count("decoded")), (60, 60 + count("forgotten")), "{source}");
    for node in result["nodes"].as_array().unwrap() {
        // A closing message counts as one more: moves that were pending at the end.
        let processed = node["processed"].as_u64().unwrap();
        assert!((60..=61).contains(&processed) && node["errors"] == 0, "{node}");
    }
    let seen: BTreeSet<u64> = rows(run.join("poses.jsonl")).iter().map(|row| row["frame"].as_u64().unwrap()).collect();
    assert!(seen.len() >= 54, "a person is detected on {} of 60 frames", seen.len());
    if has_tool("ffprobe") {
        assert_eq!(frame_times(&run.join("overlay.mp4")).len(), 60);
    }
}

#[test]
fn a_single_boxer_is_tracked() {
    let Some(clip) = clip("bernardcaldas_boxing.mp4").filter(|_| has_models()) else { return };
    check_sixty_frames(&clip);
}

#[test]
fn people_in_an_old_avi_are_tracked() {
    let Some(clip) = clip("felix_exercise.avi").filter(|_| has_models()) else { return };
    check_sixty_frames(&clip);
}

#[test]
fn a_slow_operator_in_live_mode_processes_the_newest_frames_in_bounded_memory() {
    let Some(clip) = clip("bernardcaldas_boxing.mp4") else { return };
    let bench = Bench::new();
    let flow = format!(
        "nodes:
  - id: capture
    path: sideline
    args: run capture
    env: {{SOURCE: {}, END: 3}}
    inputs: {{done_recorder: recorder/done}}
    outputs: [frames]
  - id: slow
    path: sideline
    args: run rehearse
    env: {{WORK_MS: 120}}
    inputs: {{frames: capture/frames}}
    outputs: [frames]
  - id: counter
    path: sideline
    args: run counter
    inputs: {{frames: slow/frames}}
    outputs: [counts]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {{counts: counter/counts}}
    outputs: [done]
",
        clip.canonicalize().unwrap().display()
    );
    bench.write("flow.yml", &flow);
    let ended = bench.sideline(&["run", "flow.yml", "--mode", "live", "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let result = &json(bench.path().join("out/run.json"))["result"];
    let count = |key: &str| result["sources"][0][key].as_u64().unwrap();
    let (decoded, admitted) = (count("decoded"), count("admitted"));
    assert_eq!((decoded, admitted + count("forgotten")), (75, 75), "3 s at 25 fps");
    assert!((1..60).contains(&admitted), "{admitted} of 75 frames were handled");
    assert!(result["peak_memory"].as_u64().unwrap() < 1_000_000_000, "{}", result["peak_memory"]);
    let counts = rows(bench.path().join("out/counts.jsonl"));
    assert_eq!(counts.len() as u64, admitted);
    // The handled frames span the whole clip: old frames were not kept at the cost of new ones.
    let last = counts.last().unwrap()["pts"].as_u64().unwrap();
    assert!(last > 2_000_000_000, "the last handled frame is at {last} ns");
}
