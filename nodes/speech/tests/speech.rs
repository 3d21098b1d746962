//! What is spoken, when, and what happens where nobody can speak.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sideline_api::{
    Alignment, Body, Failure, Header, Message, Mode, OnError, Payload, Result, Table, Values,
    config::Origin,
    driver::Outcome,
    tables::{Audio, Commentary},
    testing::{Harness, Setup},
};
use sideline_speech::Speech;

const RATE: u32 = 8_000;
const SECOND: i64 = 1_000_000_000;

/// A program that speaks: every sentence is a second of full sound. It writes down what it is asked for.
struct Voice {
    folder: tempfile::TempDir,
}

impl Voice {
    fn new() -> Self {
        let voice = Self { folder: tempfile::tempdir().unwrap() };
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wav.extend(RATE.to_le_bytes());
        wav.extend([0, 0, 0, 0, 2, 0, 16, 0]);
        wav.extend(b"data\xff\xff\xff\xff");
        // Silence at both ends is not part of the sentence.
        for i in 0..RATE * 2 {
            let sample: i16 = if (1000..1000 + RATE).contains(&i) { 10_000 } else { 0 };
            wav.extend(sample.to_le_bytes());
        }
        fs::write(voice.path("sound.wav"), wav).unwrap();
        voice.script(&format!(
            "echo \"$@\" >> {0}/arguments\ncat >> {0}/said\ncat {0}/sound.wav",
            voice.folder.path().display()
        ));
        voice
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, lines: &str) {
        // Written by another process: one that this one starts meanwhile would hold it open, and it could not be run.
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(self.path("voice"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{lines}\n").as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
    }

    fn values<const N: usize>(&self, more: [(&str, serde_json::Value); N]) -> Values {
        let mut values = Values::new();
        values.set("program", self.path("voice").to_str().unwrap(), Origin::CommandLine);
        more.into_iter().for_each(|(key, value)| values.set(key, value, Origin::CommandLine));
        values
    }

    /// What was said, after the word that tries the voice.
    fn said(&self) -> Vec<String> {
        let said = fs::read_to_string(self.path("said")).unwrap();
        said.lines().skip(1).map(str::to_owned).collect()
    }
}

fn sentence(text: &str, excitement: &str) -> Commentary {
    Commentary {
        text: text.into(),
        fighter: String::new(),
        move_id: String::new(),
        at: 0,
        excitement: excitement.into(),
    }
}

/// Sends frames with the sentences that come with them; what is to be heard.
fn speak(h: &mut Harness<Speech>, frames: u64, sentences: &[(u64, &str, &str)]) -> Result<Vec<Audio>> {
    for frame in 0..frames {
        let rows: Vec<Commentary> =
            sentences.iter().filter(|row| row.0 == frame).map(|row| sentence(row.1, row.2)).collect();
        h.push("commentary", &rows)?;
    }
    h.end()?;
    let mut heard = vec![];
    while let Some(message) = h.next_message("speech") {
        if let Body::Data(Payload::Table(rows)) = message.body {
            heard.extend(Audio::decode(&rows).unwrap());
        }
    }
    Ok(heard)
}

fn starts(heard: &[Audio]) -> Vec<f64> {
    heard.iter().map(|row| row.start as f64 / SECOND as f64).collect()
}

fn near(found: &[f64], want: &[f64]) -> bool {
    found.len() == want.len() && found.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1.0 / 30.0)
}

#[test]
fn a_sentence_is_heard_at_its_moment_without_the_silence_around_it() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    let heard = speak(&mut h, 90, &[(30, "Red lands a jab.", "low")]).unwrap();
    assert!(near(&starts(&heard), &[1.0]), "{:?}", starts(&heard));
    assert_eq!((heard[0].samples.len(), heard[0].rate, heard[0].channels), (RATE as usize, RATE, 1));
    assert_eq!(voice.said(), ["Red lands a jab."]);
}

#[test]
fn sentences_follow_one_another_and_what_would_come_too_late_is_left_out() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([("patience", 1.5.into())])).unwrap();
    // One a second is spoken; two a second come, for three seconds.
    let names: Vec<String> = (0..6).map(|i| format!("Sentence {i}.")).collect();
    let come: Vec<(u64, &str, &str)> =
        names.iter().enumerate().map(|(i, text)| (15 * i as u64, text.as_str(), "low")).collect();
    let heard = speak(&mut h, 300, &come).unwrap();
    for pair in heard.windows(2) {
        let end = pair[0].start + pair[0].samples.len() as i64 * SECOND / i64::from(RATE);
        assert!(pair[1].start > end, "one after another");
    }
    // The newest each time; nothing of what was before it.
    assert_eq!(voice.said(), ["Sentence 0.", "Sentence 2.", "Sentence 4.", "Sentence 5."]);
    let delays: Vec<f64> =
        starts(&heard).iter().zip([0, 2, 4, 5]).map(|(start, i)| start - f64::from(i) * 0.5).collect();
    assert!(delays.iter().all(|delay| (0.0..=1.5).contains(delay)), "{delays:?}");
}

#[test]
fn of_what_waits_the_most_exciting_is_said() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    let come =
        [(0, "First.", "low"), (10, "Calm.", "low"), (15, "Knockout!", "knockout"), (20, "Calm again.", "medium")];
    speak(&mut h, 120, &come).unwrap();
    assert_eq!(voice.said(), ["First.", "Knockout!", "Calm again."]);
}

#[test]
fn patience_of_nothing_leaves_out_what_cannot_begin_at_once() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([("patience", 0.into())])).unwrap();
    speak(&mut h, 120, &[(0, "First.", "low"), (10, "Second.", "knockout"), (60, "Third.", "low")]).unwrap();
    assert_eq!(voice.said(), ["First.", "Third."]);
}

#[test]
fn how_many_were_said_and_left_out_is_counted_in_the_state() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    for frame in 0..60 {
        let rows = if frame % 15 == 0 { vec![sentence("Another one.", "low")] } else { vec![] };
        h.push("commentary", &rows).unwrap();
    }
    let state = h.state("test").unwrap();
    assert_eq!((state.said, state.left_out), (2, 1), "and one waits");
    let saved = serde_json::to_string(&state).unwrap();
    let back: sideline_speech::Spoken = serde_json::from_str(&saved).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), saved);
}

#[test]
fn the_last_sentence_is_heard_behind_the_last_frame() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    let heard = speak(&mut h, 30, &[(10, "First.", "low"), (29, "The bell!", "low")]).unwrap();
    assert_eq!(voice.said(), ["First.", "The bell!"]);
    assert!(heard[1].start >= heard[0].start + SECOND);
}

#[test]
fn what_comes_with_the_end_is_said_in_one_closing_message() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    for frame in 0..30 {
        let rows = if frame == 20 { vec![sentence("First.", "low")] } else { vec![] };
        h.push("commentary", &rows).unwrap();
    }
    // As the engine closes a stream: the number of frames, at the time of the last one.
    let last = h.header(29);
    let header = Header { frame: 30, closing: true, ..last };
    let rows = Commentary::encode(&[sentence("The bell!", "high")]);
    for (n, body) in [(30, Body::Data(Payload::Table(std::sync::Arc::new(rows)))), (31, Body::End { frames: 30 })] {
        h.accept("commentary", Message { header: header.clone(), n, body }).unwrap();
    }
    assert_eq!(voice.said(), ["First.", "The bell!"]);
    let mut closing = 0;
    while let Some(message) = h.next_message("speech") {
        closing += usize::from(message.header.frame == 30 && !matches!(message.body, Body::End { .. }));
    }
    assert_eq!(closing, 1);
}

#[test]
fn a_side_input_is_read_as_it_comes() {
    let voice = Voice::new();
    let inputs = vec![("commentary", Alignment::Side { queue: 100 })];
    let setup = Setup { mode: Mode::Live, inputs: Some(inputs), ..Setup::default() };
    let mut h = Harness::<Speech>::with(voice.values([]), setup).unwrap();
    let heard = speak(&mut h, 90, &[(30, "Red lands a jab.", "low")]).unwrap();
    assert!(near(&starts(&heard), &[1.0]), "{:?}", starts(&heard));
}

#[test]
fn exciting_sentences_are_faster_and_louder() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([("speed", 100.into())])).unwrap();
    let heard = speak(&mut h, 120, &[(0, "Calm.", "low"), (60, "Knockout!", "knockout")]).unwrap();
    let peak = |row: &Audio| row.samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    assert!(peak(&heard[1]) > 1.3 * peak(&heard[0]) && peak(&heard[1]) < 0.9);
    let arguments = fs::read_to_string(voice.path("arguments")).unwrap();
    let speeds: Vec<&str> = arguments.lines().skip(1).map(|line| line.split(' ').nth(3).unwrap()).collect();
    assert_eq!(speeds, ["100", "125"]);
}

/// A program that works as Piper does, in the words of one of its versions.
fn piper(voice: &Voice, told: &str) {
    voice.script(&format!(
        "echo \"$@\" >> {0}/arguments\nwhile read line; do\n  echo \"$line\" >> {0}/said\n  cp {0}/sound.wav $8/1.wav\n  {told}\ndone",
        voice.folder.path().display()
    ));
}

#[test]
fn piper_is_started_once_and_asked_for_each_sentence() {
    // As the present version tells it, and as the one before.
    for told in ["echo \"INFO:__main__:Wrote $8/1.wav\" >&2", "echo \"$8/1.wav\""] {
        let voice = Voice::new();
        let run_dir = tempfile::tempdir().unwrap();
        piper(&voice, told);
        fs::write(voice.path("joe.onnx"), "a model").unwrap();
        let name = format!("piper:{}", voice.path("joe.onnx").display());
        let setup = Setup { run_dir: run_dir.path().into(), ..Setup::default() };
        let values = voice.values([("voice", name.into()), ("speed", 350.into())]);
        let mut h = Harness::<Speech>::with(values, setup).unwrap();
        let come = [(0, "Red lands a jab.", "low"), (60, "Blue\nanswers.", "high")];
        assert_eq!(starts(&speak(&mut h, 120, &come).unwrap()).len(), 2);
        let arguments = fs::read_to_string(voice.path("arguments")).unwrap();
        assert_eq!(arguments.lines().count(), 1, "{arguments}");
        assert!(arguments.starts_with("--length_scale 0.5 --noise_scale 0 --noise_w 0 --output_dir "), "{arguments}");
        assert_eq!(voice.said(), ["Red lands a jab.", "Blue answers."]);
        h.close().unwrap();
        drop(h);
        assert_eq!(fs::read_dir(run_dir.path()).unwrap().count(), 0, "nothing of it is left");
    }
}

#[test]
fn a_piper_that_ends_tells_why() {
    let voice = Voice::new();
    fs::write(voice.path("joe.onnx"), "a model").unwrap();
    let name = || format!("piper:{}", voice.path("joe.onnx").display());
    voice.script("echo 'ValueError: no config' >&2; exit 1");
    let told = refused(voice.values([("voice", name().into())]));
    assert!(told.contains("exit status: 1: ValueError: no config; is ") && told.contains(".json beside it"), "{told}");
    voice.script("sleep 1000");
    let told = refused(voice.values([("voice", name().into()), ("deadline", 0.3.into())]));
    assert!(told.contains("said nothing within 1.5 s"), "five times as long for loading: {told}");
}

#[test]
fn no_voice_needs_nothing_and_says_nothing() {
    let mut h = Harness::<Speech>::new([("voice", "none"), ("program", "/nowhere")]).unwrap();
    assert_eq!(speak(&mut h, 60, &[(0, "Red lands a jab.", "low")]).unwrap(), []);
}

/// The failure at the start.
fn refused(values: impl Into<Values>) -> String {
    let error = Harness::<Speech>::new(values).err().unwrap();
    assert_eq!(error.failure, Failure::Config, "{error}");
    error.message
}

#[test]
fn a_voice_that_cannot_speak_is_told_at_the_start_with_the_mend() {
    let voice = Voice::new();
    let told = refused([("program", "/nowhere/espeak")]);
    assert!(told.contains("there is no program /nowhere/espeak"), "{told}");
    let told = refused([("voice", "piper:nowhere.onnx")]);
    assert!(told.contains("nowhere.onnx: no such file") && told.contains(".onnx.json"), "{told}");
    let told = refused([("voice", " ")]);
    assert!(told.contains("key `voice` is empty"), "{told}");
    voice.script("echo 'Error: The specified voice does not exist.' >&2; exit 1");
    let told = refused(voice.values([("voice", "klingon".into())]));
    assert!(told.contains("The specified voice does not exist.; is `klingon` one of `espeak-ng --voices`?"), "{told}");
    voice.script("cat; echo no sound");
    let told = refused(voice.values([]));
    assert!(told.contains("wrote no WAV"), "{told}");
}

#[test]
fn a_voice_that_hangs_is_ended_with_all_that_it_started() {
    let voice = Voice::new();
    voice.script(&format!("sleep 1000 &\necho $! > {}\nwait", voice.path("pid").display()));
    let told = refused(voice.values([("deadline", 0.5.into())]));
    assert!(told.contains("said nothing within 0.5 s and was ended"), "{told}");
    let pid = fs::read_to_string(voice.path("pid")).unwrap();
    let gone = || match fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")) {
        // What was killed may not have been collected yet by who is its parent then.
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    while !gone() {
        std::thread::yield_now();
    }
}

#[test]
fn a_voice_that_breaks_in_a_run_ends_it_or_is_made_anew() {
    let run = |mode, on_error| {
        let voice = Voice::new();
        let mut h = Harness::<Speech>::with(voice.values([]), Setup { mode, on_error, ..Setup::default() }).unwrap();
        // The second sentence of this run breaks it; the word that tries a new one does not.
        voice.script(&format!(
            "cat > {0}/last\ngrep -q Broken {0}/last && exit 3\ncat {0}/last >> {0}/said\ncat {0}/sound.wav",
            voice.folder.path().display()
        ));
        let come = [(0, "First.", "low"), (60, "Broken.", "low"), (120, "Third.", "low")];
        let told = speak(&mut h, 180, &come);
        (told.map(|heard| heard.len()), h.outcomes())
    };
    let (told, _) = run(Mode::Complete, OnError::Stop);
    let error = told.unwrap_err().message;
    assert!(error.contains("frame 60") && error.contains("exit status: 3"), "{error}");
    let (told, outcomes) = run(Mode::Live, OnError::Restart);
    assert_eq!(told.unwrap(), 2);
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Error(_))).count(), 1);
}

#[test]
fn espeak_says_the_same_twice_and_takes_no_text_for_an_option() {
    let say = || {
        let mut h = Harness::<Speech>::new(Values::new()).unwrap();
        speak(&mut h, 200, &[(0, "--help -v nonsense <break/> & Red's jab!", "high"), (90, "Blue answers.", "low")])
            .unwrap()
    };
    let heard = say();
    assert_eq!(heard, say());
    let lengths: Vec<f64> = heard.iter().map(|row| row.samples.len() as f64 / f64::from(row.rate)).collect();
    assert!(lengths[0] > 1.0 && (0.4..2.0).contains(&lengths[1]), "{lengths:?}");
    assert!(heard.iter().all(|row| row.samples.iter().all(|sample| sample.is_finite() && sample.abs() <= 1.0)));
}
