//! fight.yml on real footage: the same rows however it is run, and two people who stay who they are.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{
    Bench, Capability, dora, finish, frame_times, installed, json, json_text, models, parquet, repository, rows,
    shared_data, skipped, tool,
};

/// The tables that fight.yml records.
const TABLES: [&str; 7] = ["tracks", "poses", "motion", "interaction", "scores", "moves", "commentary"];

/// The people's module as one process, and as a process for each of its operators.
enum Perception {
    Fused,
    Expanded,
}

/// A copy of fight.yml as `NAME.yml` with its module beside it; `capture` is put into the environment of its source.
fn put_fight(bench: &Bench, name: &str, clip: &Path, capture: &str, perception: Perception) {
    let flows = repository().join("dataflows");
    let read = |file: &str| std::fs::read_to_string(flows.join(file)).unwrap();
    let replace = |text: &str, old: &str, new: &str| {
        assert!(text.contains(old), "fight.yml has no `{old}`");
        text.replace(old, new)
    };
    let clip = clip.canonicalize().unwrap();
    let source = format!("SOURCE: {}\n{capture}", clip.display());
    let mut text = replace(&read("fight.yml"), "SOURCE: models/clips/athletes.mp4\n", &source);
    if matches!(perception, Perception::Expanded) {
        let fused = "    path: sideline\n    args: run modules/perception.yml\n";
        text = replace(&text, fused, "    module: modules/perception.yml\n");
        text = replace(&text, "    outputs: [tracks, smoothed_poses, motion, interaction]\n", "");
    }
    bench.write(&format!("{name}.yml"), &text);
    for module in ["modules/perception.yml", "modules/moves.yml"] {
        bench.write(module, &read(module));
    }
}

fn athletes() -> PathBuf {
    repository().join("models/clips/athletes.mp4")
}

/// 42 of the athletes' 100 frames: all of them within the second row of detections, and quick.
const SHORT: &str = "      END: 0.7\n";

/// Runs `NAME.yml` in one process.
fn run_here(bench: &Bench, name: &str, out: &str, arguments: &[&str]) -> PathBuf {
    let flow = format!("{name}.yml");
    let mut all = vec!["run", &flow, "--mode", "complete", "--device", "cpu", "--output", out];
    all.extend(arguments);
    let ended = bench.sideline(&all);
    assert_eq!(ended.code, 0, "{}", ended.text);
    bench.path().join(out)
}

/// Runs `NAME.yml` by dora; the run's folder.
fn run_by_dora(bench: &Bench, name: &str) -> PathBuf {
    let ended = finish(bench.command("dora").args(["run", &format!("{name}.yml")]).env_remove("SIDELINE_RUN_DIR"));
    let run = bench.last_run();
    let result = bench.sideline(&["result", run.to_str().unwrap()]);
    assert_eq!((ended.code, result.code), (0, 0), "{}{}", ended.text, result.text);
    run
}

fn assert_same_rows(a: &Path, b: &Path) {
    for table in TABLES {
        let lines = |run: &Path| std::fs::read_to_string(run.join(format!("{table}.jsonl"))).unwrap();
        let (here, there) = (lines(a), lines(b));
        // A row for each of the two in every frame; for both together once they are named; for what happens, if it does.
        let least = match table {
            "moves" | "commentary" => 0,
            "interaction" => 20,
            _ => 80,
        };
        assert!(here.lines().count() >= least, "{table}: {} rows", here.lines().count());
        for (n, (one, other)) in here.lines().zip(there.lines()).enumerate() {
            assert_eq!(one, other, "{table}.jsonl, line {}", n + 1);
        }
        assert_eq!(here.lines().count(), there.lines().count(), "{table}.jsonl");
        let columns = |run: &Path| parquet(&run.join(format!("{table}.parquet")));
        assert!(columns(a) == columns(b), "{table}.parquet: its rows differ");
    }
}

#[test]
fn one_process_dora_and_an_expanded_module_give_the_same_rows() {
    if !models() {
        return;
    }
    let Some(_lock) = dora() else { return };
    let bench = Bench::new();
    put_fight(&bench, "fused", &athletes(), SHORT, Perception::Fused);
    put_fight(&bench, "expanded", &athletes(), SHORT, Perception::Expanded);
    let here = run_here(&bench, "fused", "here", &[]);
    let fused = run_by_dora(&bench, "fused");
    let expanded = run_by_dora(&bench, "expanded");
    let processes = |run: &Path| json(run.join("run.json"))["processes"].as_array().unwrap().len();
    assert_eq!((processes(&here), processes(&fused), processes(&expanded)), (1, 8, 13));
    assert_same_rows(&here, &fused);
    assert_same_rows(&here, &expanded);
    assert_same_rows(&here, &run_here(&bench, "expanded", "expanded_here", &[]));
}

#[test]
fn a_second_run_gives_the_same_bytes_and_the_same_video() {
    if !models() {
        return;
    }
    let bench = Bench::new();
    put_fight(&bench, "fight", &athletes(), SHORT, Perception::Fused);
    let [a, b] = ["a", "b"].map(|out| run_here(&bench, "fight", out, &[]));
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
    if tool("ffprobe") {
        let [a, b] = [a, b].map(|run| frame_times(&run.join("overlay.mp4")));
        assert_eq!((a.len(), &a), (42, &b));
    }
}

#[test]
fn other_models_give_the_same_rows_again_and_say_who_saw() {
    if !models() || !installed("blazepose_full") || !installed("movenet_lightning") {
        return;
    }
    let bench = Bench::new();
    put_fight(&bench, "fight", &athletes(), SHORT, Perception::Fused);
    // Where time must not decide, `auto` is a fixed model.
    for (model, saw) in [("movenet", "movenet"), ("auto", "full")] {
        let set = format!("perception.model={model}");
        let [a, b] = ["a", "b"].map(|out| run_here(&bench, "fight", &format!("{model}-{out}"), &["--set", &set]));
        assert_same_rows(&a, &b);
        let poses = rows(a.join("poses.jsonl"));
        assert!(poses.iter().all(|row| row["model"] == saw), "{model}");
        if model == "movenet" {
            // What it does not know is null: the mouth's left corner, depth, metres; and so no velocity.
            let unknown = |row: &Value| row["joints"][9][0].is_null() && row["joints"][11][2].is_null();
            assert!(
                poses.iter().all(|row| unknown(row) && row["joints"][11][0].is_f64() && row["world"][0][0].is_null())
            );
            assert!(rows(a.join("motion.jsonl")).iter().all(|row| row["velocity_norm"].is_null()));
        }
        let named: BTreeSet<&str> = poses.iter().filter_map(|row| row["fighter"].as_str()).collect();
        assert!(named.is_superset(&BTreeSet::from(["fighter_1", "fighter_2"])), "{model}: {named:?}");
    }
}

#[test]
fn both_fighters_carry_skeletons_and_lasting_names_and_nobody_else_is_named() {
    if !models() {
        return;
    }
    let bench = Bench::new();
    put_fight(&bench, "fight", &athletes(), "", Perception::Fused);
    let run = run_here(&bench, "fight", "out", &[]);
    let poses = rows(run.join("poses.jsonl"));
    let mut frames_of: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut names_of: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for row in &poses {
        let (track, fighter) = (row["track"].as_u64().unwrap(), row["fighter"].as_str().unwrap());
        frames_of.entry(track).or_default().insert(row["frame"].as_u64().unwrap());
        if !fighter.is_empty() {
            names_of.entry(track).or_default().insert(fighter);
        }
        assert_eq!(row["joints"].as_array().unwrap().len(), 33);
    }
    let lasting: Vec<u64> =
        frames_of.iter().filter(|(_, frames)| frames.len() >= 95).map(|(track, _)| *track).collect();
    assert_eq!(lasting.len(), 2, "{:?}", frames_of.iter().map(|(t, f)| (t, f.len())).collect::<Vec<_>>());
    let named: Vec<u64> = names_of.keys().copied().collect();
    assert_eq!(named, lasting, "those who last are those who are named");
    let names: BTreeSet<&str> = names_of.values().flatten().copied().collect();
    assert!(names_of.values().all(|names| names.len() == 1), "a name wandered: {names_of:?}");
    assert_eq!(names, BTreeSet::from(["fighter_1", "fighter_2"]));
    // The same of the tracks, also where no skeleton is seen; once given, a name stays to the end.
    for row in rows(run.join("tracks.jsonl")) {
        let (track, fighter) = (row["track"].as_u64().unwrap(), row["fighter"].as_str().unwrap());
        assert!(fighter.is_empty() || names_of[&track].contains(fighter), "{row}");
        assert!(row["frame"].as_u64() < Some(80) || !lasting.contains(&track) || !fighter.is_empty(), "{row}");
    }
    // Two people, not one seen twice: their hips are apart.
    let apart = (0..100).filter(|frame| hips(&poses, *frame, lasting[0], lasting[1]).is_some_and(|gap| gap > 0.05));
    assert!(apart.count() >= 90);
    if tool("ffprobe") {
        assert_eq!(frame_times(&run.join("overlay.mp4")).len(), 100);
    }
}

/// Streams of a video as ffprobe tells them: kind, codec, start and length in seconds.
fn streams(video: &Path) -> Vec<(String, String, f64, f64)> {
    let entries = ["-show_entries", "stream=codec_type,codec_name,start_time,duration", "-of", "json"];
    let probe = finish(std::process::Command::new("ffprobe").args(["-v", "error"]).args(entries).arg(video));
    let found = json_text(&probe.text);
    let seconds = |value: &Value| value.as_str().unwrap().parse().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |s: &Value| {
        (text(&s["codec_type"]), text(&s["codec_name"]), seconds(&s["start_time"]), seconds(&s["duration"]))
    };
    found["streams"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn the_overlay_has_the_sound_of_a_clip_that_has_it_in_one_process_and_over_dora() {
    let walker = repository().join("models/clips/walker.mp4");
    if !models() || !installed("walker") || !tool("ffprobe") {
        return;
    }
    let bench = Bench::new();
    put_fight(&bench, "fight", &walker, "      END: 1.5\n", Perception::Fused);
    let sounds = |run: &Path| match &streams(&run.join("overlay.mp4"))[..] {
        [(_, video, began, _), (_, audio, from, length)] => {
            assert_eq!((video.as_str(), audio.as_str()), ("h264", "aac"));
            assert!(from.abs() < 0.001 && began.abs() < 0.001, "{from} {began}");
            // The last word may be heard behind the last picture.
            assert!(*length > 1.47, "{length} s of sound beside 1.5 s of pictures");
        }
        other => panic!("a picture and a sound expected: {other:?}"),
    };
    sounds(&run_here(&bench, "fight", "here", &[]));
    let media = json(bench.path().join("here/media-capture.json"));
    assert_eq!(media["media"]["audio"], "aac");
    let Some(_lock) = dora() else { return };
    sounds(&run_by_dora(&bench, "fight"));
}

#[test]
fn live_frames_are_forgotten_and_their_sound_is_not() {
    if !tool("ffmpeg") || !tool("ffprobe") {
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
    assert!((length - 3.0).abs() < 0.05, "{length} s of sound");
    // A forgotten frame's sound would leave 33 ms of silence.
    let silence = ffmpeg(&["-i", "out/overlay.mp4", "-af", "silencedetect=n=-40dB:d=0.025", "-f", "null", "-"]);
    assert!(!silence.contains("silence_start"), "{silence}");
}

/// Distance of two people's left hips in one frame, in widths and heights of the picture.
fn hips(poses: &[Value], frame: u64, one: u64, other: u64) -> Option<f64> {
    let hip = |track: u64| {
        let row = poses.iter().find(|row| row["frame"] == frame && row["track"] == track)?;
        Some((row["joints"][23][0].as_f64()?, row["joints"][23][1].as_f64()?))
    };
    let ((x1, y1), (x2, y2)) = (hip(one)?, hip(other)?);
    Some((x1 - x2).hypot(y1 - y2))
}

/// A clip of the shared data.
fn clip(name: &str) -> Option<PathBuf> {
    let path = shared_data()?.join("clips").join(name);
    if !path.is_file() {
        skipped(Capability::Data, format_args!("no {}", path.display()));
        return None;
    }
    Some(path)
}

/// 60 frames of a clip through fight.yml.
fn sixty_frames(clip: &Path) {
    let bench = Bench::new();
    put_fight(&bench, "fight", clip, "", Perception::Fused);
    let run = run_here(&bench, "fight", "out", &["--frames", "60"]);
    let result = &json(run.join("run.json"))["result"];
    assert_eq!((&result["status"], &result["reproducible"]), (&"done".into(), &true.into()));
    let source = &result["sources"][0];
    let count = |key: &str| source[key].as_u64().unwrap();
    assert_eq!((count("admitted"), count("decoded")), (60, 60 + count("forgotten")), "{source}");
    for node in result["nodes"].as_array().unwrap() {
        // A closing message is one more: moves that were pending at the end.
        let processed = node["processed"].as_u64().unwrap();
        assert!((60..=61).contains(&processed) && node["errors"] == 0, "{node}");
    }
    let seen: BTreeSet<u64> = rows(run.join("poses.jsonl")).iter().map(|row| row["frame"].as_u64().unwrap()).collect();
    assert!(seen.len() >= 54, "somebody is seen on {} of 60 frames", seen.len());
    if tool("ffprobe") {
        assert_eq!(frame_times(&run.join("overlay.mp4")).len(), 60);
    }
}

#[test]
fn a_boxer_alone_is_followed() {
    let Some(clip) = clip("bernardcaldas_boxing.mp4").filter(|_| models()) else { return };
    sixty_frames(&clip);
}

#[test]
fn people_in_an_old_avi_are_followed() {
    let Some(clip) = clip("felix_exercise.avi").filter(|_| models()) else { return };
    sixty_frames(&clip);
}

#[test]
fn a_live_clip_with_a_slow_operator_takes_the_newest_frames_in_bounded_memory() {
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
    assert_eq!((decoded, admitted + count("forgotten")), (75, 75), "3 s of 25 frames");
    assert!((1..60).contains(&admitted), "{admitted} of 75 frames were handled");
    assert!(result["peak_memory"].as_u64().unwrap() < 1_000_000_000, "{}", result["peak_memory"]);
    let counts = rows(bench.path().join("out/counts.jsonl"));
    assert_eq!(counts.len() as u64, admitted);
    // What was handled reaches over the whole clip: the oldest frames were not kept at the cost of the newest.
    let last = counts.last().unwrap()["pts"].as_u64().unwrap();
    assert!(last > 2_000_000_000, "the last frame handled is of {last} ns");
}
