//! From moves to speech in the video, in one process. The moves are given, so that the sentences are known.

use std::path::Path;

use sideline_api::{
    Config, Context, Inputs, Mode, Operator, Outputs, PortType, Registry, Resources, Result, Spec, serde_json,
};
use sideline_engine::{Options, meter::RunStatus, start};
use sideline_graph::{Flow, Overrides};
use sideline_media::{DecodeOptions, Decoder};
use sideline_sport::tables::{Fighter, Move};

/// Operator that sends given moves: a combination, and a later knee strike of the other fighter.
#[derive(Clone, Config)]
struct ScriptedMovesConfig {}

struct ScriptedMoves;

impl Operator for ScriptedMoves {
    type Config = ScriptedMovesConfig;
    type State = ();

    fn spec() -> Spec {
        Spec::operator("scripted_moves").required("frames", PortType::Frame).output("moves", PortType::table::<Move>())
    }

    fn new(_: ScriptedMovesConfig, _: &Resources) -> Result<Self> {
        Ok(ScriptedMoves)
    }

    fn process(&mut self, cx: &Context, _: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        let bout = [
            (20, Fighter::One, "jab"),
            (28, Fighter::One, "cross"),
            (37, Fighter::One, "hook"),
            (100, Fighter::Two, "knee"),
        ];
        // Each move is reported ten frames after its peak.
        let due = bout.iter().filter(|(peak, ..)| peak + 10 == cx.header.frame);
        let rows: Vec<Move> = due
            .map(|(peak, fighter, label)| Move {
                id: format!("{fighter}-{peak}"),
                track: 1,
                fighter: *fighter,
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
  - id: scripted_moves
    path: sideline
    args: run scripted_moves
    inputs: { frames: camera/frames }
    outputs: [moves]
  - id: commentary
    path: sideline
    args: run commentary
    inputs: { moves: scripted_moves/moves }
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
      moves: scripted_moves/moves
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
      moves: scripted_moves/moves
      commentary: commentary/commentary
      speech: { source: speech/speech, queue_policy: drop_oldest, queue_size: 300 }
    outputs: [done]
";

/// Operators of Sideline and [`ScriptedMoves`].
fn registry() -> Registry {
    sideline::registry().operator::<ScriptedMoves>()
}

/// Runs the flow in a folder and returns the status of the run, or its failure.
fn run(folder: &Path, mode: Mode, set: &[(&str, &str, &str)]) -> Result<RunStatus> {
    let path = folder.join("flow.yml");
    std::fs::write(&path, FLOW).unwrap();
    let set = set.iter().map(|(node, key, value)| ((*node).into(), (*key).into(), serde_json::Value::from(*value)));
    let overrides = Overrides { set: set.collect(), mode: Some(mode), ..Overrides::default() };
    let flow = Flow::read(&path, &registry(), &overrides).unwrap();
    assert!(flow.diagnostics.iter().all(|diagnostic| diagnostic.dora_only), "{:?}", flow.diagnostics);
    let options = Options::new("test", folder);
    let report = start(flow.plan_embedded().unwrap(), &registry(), options, None)?.wait();
    report.failure.map_or(Ok(report.status), Err)
}

/// Returns the sentences, each with the media time at which it was sent, s.
fn sentences(folder: &Path) -> Vec<(f64, String)> {
    let lines = std::fs::read_to_string(folder.join("commentary.jsonl")).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| (row["pts"].as_f64().unwrap() * 1e-9, row["text"].as_str().unwrap().to_owned())).collect()
}

/// Returns the times at which speech begins in a video or WAV file, s: after 0.12 s of silence.
fn speech_starts(path: &Path) -> Vec<f64> {
    let (samples, rate) = if path.extension().is_some_and(|ending| ending == "wav") {
        let bytes = std::fs::read(path).unwrap();
        let data = bytes.windows(4).position(|four| four == b"data").unwrap() + 8;
        let samples = bytes[data..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0);
        let rate = bytes.windows(4).position(|four| four == b"fmt ").unwrap() + 12;
        (samples.collect(), u32::from_le_bytes(bytes[rate..rate + 4].try_into().unwrap()))
    } else {
        let mut decoder = Decoder::open(path, DecodeOptions { audio: true, ..Default::default() }).unwrap();
        let mut segments = vec![];
        while let Some(decoded) = decoder.next().unwrap() {
            segments.extend(decoder.audio_until(decoded.pts_ns));
        }
        segments.extend(decoder.audio_until(i64::MAX));
        let samples: Vec<f32> = segments.into_iter().flat_map(|segment| segment.samples).collect();
        (samples, decoder.audio_format().unwrap().rate)
    };
    let (mut starts, mut last_loud): (Vec<f64>, f64) = (vec![], f64::NEG_INFINITY);
    for (i, _) in samples.iter().enumerate().filter(|(_, sample)| sample.abs() > 0.02) {
        let at = i as f64 / f64::from(rate);
        if at - last_loud > 0.12 {
            starts.push(at);
        }
        last_loud = at;
    }
    starts
}

/// Files that must be identical in a second run.
const FILES: [&str; 5] = ["moves.parquet", "commentary.parquet", "commentary.jsonl", "speech.wav", "overlay.mp4"];

#[test]
fn moves_become_sentences_and_speech_in_the_video_reproducibly() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for folder in &folders {
        assert_eq!(run(folder.path(), Mode::Complete, &[]).unwrap(), RunStatus::Done);
    }
    let [first, second] = folders.each_ref().map(|folder| folder.path());
    let sentences = sentences(first);
    assert!(
        sentences.len() >= 3 && sentences.iter().any(|(_, text)| text.to_lowercase().contains("jab, cross, hook")),
        "{sentences:?}"
    );
    // The first sentence is spoken when it is sent, in the recording and, to the frame, in the video.
    let [recorded, rendered] = ["speech.wav", "overlay.mp4"].map(|name| speech_starts(&first.join(name)));
    assert!((recorded[0] - sentences[0].0).abs() < 0.1, "{recorded:?} {sentences:?}");
    assert!((rendered[0] - recorded[0]).abs() < 1.0 / 30.0, "{rendered:?} {recorded:?}");
    for name in FILES {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(first) == read(second), "{name}");
    }
}

#[test]
fn sentences_are_spoken_in_live_mode() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), Mode::Live, &[]).unwrap(), RunStatus::Done);
    assert!(!sentences(folder.path()).is_empty());
    assert!(!speech_starts(&folder.path().join("speech.wav")).is_empty());
    assert!(!speech_starts(&folder.path().join("overlay.mp4")).is_empty());
}

#[test]
fn without_a_voice_there_are_sentences_but_no_speech() {
    let folder = tempfile::tempdir().unwrap();
    let set = [("speech", "voice", "none"), ("speech", "program", "/nowhere")];
    assert_eq!(run(folder.path(), Mode::Complete, &set).unwrap(), RunStatus::Done);
    assert!(!sentences(folder.path()).is_empty() && !folder.path().join("speech.wav").exists());
    assert!(speech_starts(&folder.path().join("overlay.mp4")).is_empty());
}

#[test]
fn an_invalid_vocabulary_or_voice_ends_the_start_with_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words.yml");
    std::fs::write(&words, "phrases:\n  strike:\n    low:\n      - \"{who} throws {\"\n").unwrap();
    let error = run(folder.path(), Mode::Complete, &[("commentary", "vocabulary", "words.yml")]).unwrap_err();
    assert!(error.message.contains("words.yml:4:9: error:") && error.failure.exit_code() == 1, "{error}");
    let error = run(folder.path(), Mode::Complete, &[("speech", "program", "/nowhere")]).unwrap_err();
    assert!(error.message.contains("node `speech`") && error.failure.exit_code() == 1, "{error}");
}
