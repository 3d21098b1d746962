//! From moves to spoken sound in the video, in one process. The moves are made up, so that what is said is known.

use std::{path::Path, sync::Arc};

use sideline_api::{
    Config, Context, Device, Inputs, Mode, Operator, Outputs, PortType, Registry, Resources, Result, Spec,
    clock::WallClock, models::Models, serde_json, tables::Move,
};
use sideline_engine::{Options, gate::Limit, meter::Status, start};
use sideline_graph::{Flow, Overrides};
use sideline_media::{DecodeOptions, Decoder};

/// Makes moves up: a combination, and what answers it.
#[derive(Clone, Config)]
struct BlowsConfig {}

struct Blows;

impl Operator for Blows {
    type Config = BlowsConfig;
    type State = ();

    fn spec() -> Spec {
        Spec::operator("blows").required("frames", PortType::Frame).output("moves", PortType::table::<Move>())
    }

    fn new(_: BlowsConfig, _: &Resources) -> Result<Self> {
        Ok(Blows)
    }

    fn process(&mut self, cx: &Context, _: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        let bout = [
            (20, "fighter_1", "jab"),
            (28, "fighter_1", "cross"),
            (37, "fighter_1", "hook"),
            (100, "fighter_2", "knee"),
        ];
        // Known ten frames after the peak.
        let known = bout.iter().filter(|(peak, ..)| peak + 10 == cx.header.frame);
        let rows: Vec<Move> = known
            .map(|(peak, fighter, label)| Move {
                id: format!("{fighter}-{peak}"),
                track: 1,
                fighter: (*fighter).into(),
                label: (*label).into(),
                start: peak - 5,
                peak: *peak,
                end: peak + 5,
                limb: "left_hand".into(),
                confidence: 0.9,
                speed: 10.0,
                labels: String::new(),
                probabilities: vec![],
                models: String::new(),
                weights: vec![],
            })
            .collect();
        out.rows("moves", &rows)
    }
}

const FLOW: &str = "
nodes:
  - id: camera
    path: sideline
    args: run synthetic
    env: { FRAMES: 150, WIDTH: 320, HEIGHT: 240 }
    inputs: { done_encode: encode/done, done_recorder: recorder/done }
    outputs: [frames]
  - id: blows
    path: sideline
    args: run blows
    inputs: { frames: camera/frames }
    outputs: [moves]
  - id: commentary
    path: sideline
    args: run commentary
    inputs: { moves: blows/moves }
    outputs: [commentary]
  - id: speech
    path: sideline
    args: run speech
    inputs: { commentary: { source: commentary/commentary, queue_policy: drop_oldest, queue_size: 300 } }
    outputs: [speech]
  - id: render
    path: sideline
    args: run render
    inputs:
      frames: camera/frames
      moves: blows/moves
      commentary: commentary/commentary
    outputs: [overlay]
  - id: encode
    path: sideline
    args: run encode
    env: { PRESET: ultrafast }
    inputs:
      frames: render/overlay
      speech: { source: speech/speech, queue_policy: drop_oldest, queue_size: 300 }
    outputs: [done]
  - id: recorder
    path: sideline
    args: run recorder
    inputs:
      moves: blows/moves
      commentary: commentary/commentary
      speech: { source: speech/speech, queue_policy: drop_oldest, queue_size: 300 }
    outputs: [done]
";

fn registry() -> Registry {
    sideline::registry().operator::<Blows>()
}

/// Runs the flow in a folder of its own; what it failed with, and its status.
fn run(folder: &Path, mode: Mode, set: &[(&str, &str, &str)]) -> Result<Status> {
    let path = folder.join("flow.yml");
    std::fs::write(&path, FLOW).unwrap();
    let set = set.iter().map(|(node, key, value)| ((*node).into(), (*key).into(), serde_json::Value::from(*value)));
    let overrides = Overrides { set: set.collect(), mode: Some(mode), ..Overrides::default() };
    let flow = Flow::read(&path, &registry(), &overrides).unwrap();
    assert!(flow.diagnostics.iter().all(|diagnostic| diagnostic.dora_only), "{:?}", flow.diagnostics);
    let options = Options {
        device: Device::Cpu,
        run: "test".into(),
        run_dir: folder.into(),
        models: Arc::new(Models::default()),
        clock: Arc::new(WallClock),
        limit: Limit::default(),
        after: Default::default(),
        asked_to_stop: Default::default(),
        begin: None,
        timing: None,
    };
    let report = start(flow.plan_embedded().unwrap(), &registry(), options, None)?.wait();
    report.failure.map_or(Ok(report.status), Err)
}

/// The sentences, each with the media time at which it was known, seconds.
fn sentences(folder: &Path) -> Vec<(f64, String)> {
    let lines = std::fs::read_to_string(folder.join("commentary.jsonl")).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| (row["pts"].as_f64().unwrap() * 1e-9, row["text"].as_str().unwrap().to_owned())).collect()
}

/// Seconds at which somebody begins to speak, in the sound of a video or a WAV: after a tenth of a second of silence.
fn begins(path: &Path) -> Vec<f64> {
    let (samples, rate) = if path.extension().is_some_and(|ending| ending == "wav") {
        let bytes = std::fs::read(path).unwrap();
        let data = bytes.windows(4).position(|four| four == b"data").unwrap() + 8;
        let samples = bytes[data..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0);
        let rate = bytes.windows(4).position(|four| four == b"fmt ").unwrap() + 12;
        (samples.collect(), u32::from_le_bytes(bytes[rate..rate + 4].try_into().unwrap()))
    } else {
        let mut decoder = Decoder::open(path, DecodeOptions { audio: true, ..Default::default() }).unwrap();
        let mut runs = vec![];
        while let Some(decoded) = decoder.next().unwrap() {
            runs.extend(decoder.sound_until(decoded.pts_ns));
        }
        runs.extend(decoder.sound_until(i64::MAX));
        let samples: Vec<f32> = runs.into_iter().flat_map(|run| run.samples).collect();
        (samples, decoder.sound_format().unwrap().rate)
    };
    let (mut begins, mut loud): (Vec<f64>, f64) = (vec![], f64::NEG_INFINITY);
    for (i, _) in samples.iter().enumerate().filter(|(_, sample)| sample.abs() > 0.02) {
        let at = i as f64 / f64::from(rate);
        if at - loud > 0.12 {
            begins.push(at);
        }
        loud = at;
    }
    begins
}

const FILES: [&str; 5] = ["moves.parquet", "commentary.parquet", "commentary.jsonl", "speech.wav", "overlay.mp4"];

#[test]
fn moves_are_told_spoken_and_heard_in_the_video_the_same_in_every_run() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for folder in &folders {
        assert_eq!(run(folder.path(), Mode::Complete, &[]).unwrap(), Status::Done);
    }
    let [first, second] = folders.each_ref().map(|folder| folder.path());
    let told = sentences(first);
    assert!(
        told.len() >= 3 && told.iter().any(|(_, text)| text.to_lowercase().contains("jab, cross, hook")),
        "{told:?}"
    );
    // The first one is heard when it is known, in the recording and, to the frame, in the video.
    let [recorded, rendered] = ["speech.wav", "overlay.mp4"].map(|name| begins(&first.join(name)));
    assert!((recorded[0] - told[0].0).abs() < 0.1, "{recorded:?} {told:?}");
    assert!((rendered[0] - recorded[0]).abs() < 1.0 / 30.0, "{rendered:?} {recorded:?}");
    for name in FILES {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(first) == read(second), "{name}");
    }
}

#[test]
fn in_live_mode_it_is_spoken_beside_the_frames() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), Mode::Live, &[]).unwrap(), Status::Done);
    assert!(!sentences(folder.path()).is_empty());
    assert!(!begins(&folder.path().join("speech.wav")).is_empty());
    assert!(!begins(&folder.path().join("overlay.mp4")).is_empty());
}

#[test]
fn without_a_voice_the_sentences_stay_and_nothing_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let set = [("speech", "voice", "none"), ("speech", "program", "/nowhere")];
    assert_eq!(run(folder.path(), Mode::Complete, &set).unwrap(), Status::Done);
    assert!(!sentences(folder.path()).is_empty() && !folder.path().join("speech.wav").exists());
    assert!(begins(&folder.path().join("overlay.mp4")).is_empty());
}

#[test]
fn what_cannot_be_said_stops_the_start_with_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words.yml");
    std::fs::write(&words, "phrases:\n  strike:\n    low:\n      - \"{who} throws {\"\n").unwrap();
    let error = run(folder.path(), Mode::Complete, &[("commentary", "vocabulary", "words.yml")]).unwrap_err();
    assert!(error.message.contains("words.yml:4:9: error:") && error.failure.exit_code() == 1, "{error}");
    let error = run(folder.path(), Mode::Complete, &[("speech", "program", "/nowhere")]).unwrap_err();
    assert!(error.message.contains("node `speech`") && error.failure.exit_code() == 1, "{error}");
}
