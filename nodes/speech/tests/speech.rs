//! Choice and timing of spoken sentences, and failures of the voice program.

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
    tables::Audio,
    testing::{Harness, Setup},
};
use sideline_speech::Speech;
use sideline_sport::{
    Excitement,
    tables::{Commentary, Fighter},
};

const RATE: u32 = 8_000;
const SECOND: i64 = 1_000_000_000;

/// A stub of a voice program. Every sentence is one second of loud sound, and the program logs its arguments and input.
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
        // The silence at both ends does not count as speech.
        for i in 0..RATE * 2 {
            let sample: i16 = if (1000..1000 + RATE).contains(&i) { 10_000 } else { 0 };
            wav.extend(sample.to_le_bytes());
        }
        fs::write(voice.path("sound.wav"), wav).unwrap();
        voice.script(&format!(
            "echo \"$@\" >> {0}/arguments\ncat >> {0}/input\ncat {0}/sound.wav",
            voice.folder.path().display()
        ));
        voice
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, lines: &str) {
        // Written by a child process. If this process wrote the file, another test could start a process meanwhile that
        // inherits the open file, and a file that is open for writing cannot be executed.
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

    /// Returns the spoken sentences, without the word that tests the voice.
    fn spoken(&self) -> Vec<String> {
        let input = fs::read_to_string(self.path("input")).unwrap();
        input.lines().skip(1).map(str::to_owned).collect()
    }
}

fn sentence(text: &str, excitement: Excitement) -> Commentary {
    Commentary { text: text.into(), fighter: Fighter::None, move_id: String::new(), at: 0, excitement }
}

/// Pushes frames with their sentences, ends the stream, and returns the sound.
fn speak(h: &mut Harness<Speech>, frames: u64, sentences: &[(u64, &str, Excitement)]) -> Result<Vec<Audio>> {
    for frame in 0..frames {
        let rows: Vec<Commentary> =
            sentences.iter().filter(|row| row.0 == frame).map(|row| sentence(row.1, row.2)).collect();
        h.push("commentary", &rows)?;
    }
    h.end()?;
    let mut sound = vec![];
    while let Some(message) = h.next_message("speech") {
        if let Body::Data(Payload::Table(rows)) = message.body {
            sound.extend(Audio::decode(&rows).unwrap());
        }
    }
    Ok(sound)
}

fn starts(sound: &[Audio]) -> Vec<f64> {
    sound.iter().map(|row| row.start as f64 / SECOND as f64).collect()
}

fn is_near(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1.0 / 30.0)
}

#[test]
fn a_sentence_starts_at_its_moment_without_surrounding_silence() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    let sound = speak(&mut h, 90, &[(30, "Red lands a jab.", Excitement::Low)]).unwrap();
    assert!(is_near(&starts(&sound), &[1.0]), "{:?}", starts(&sound));
    assert_eq!((sound[0].samples.len(), sound[0].rate, sound[0].channels), (RATE as usize, RATE, 1));
    assert_eq!(voice.spoken(), ["Red lands a jab."]);
}

#[test]
fn sentences_do_not_overlap_and_late_ones_are_discarded() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([("patience", 1.5.into())])).unwrap();
    // Two sentences per second arrive for three seconds, and one per second can be spoken.
    let names: Vec<String> = (0..6).map(|i| format!("Sentence {i}.")).collect();
    let sentences: Vec<(u64, &str, Excitement)> =
        names.iter().enumerate().map(|(i, text)| (15 * i as u64, text.as_str(), Excitement::Low)).collect();
    let sound = speak(&mut h, 300, &sentences).unwrap();
    for pair in sound.windows(2) {
        let end = pair[0].start + pair[0].samples.len() as i64 * SECOND / i64::from(RATE);
        assert!(pair[1].start > end, "the sentences overlap");
    }
    // The newest queued sentence is spoken each time, and the older ones are discarded.
    assert_eq!(voice.spoken(), ["Sentence 0.", "Sentence 2.", "Sentence 4.", "Sentence 5."]);
    let delays: Vec<f64> =
        starts(&sound).iter().zip([0, 2, 4, 5]).map(|(start, i)| start - f64::from(i) * 0.5).collect();
    assert!(delays.iter().all(|delay| (0.0..=1.5).contains(delay)), "{delays:?}");
}

#[test]
fn the_most_exciting_queued_sentence_is_spoken() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    let sentences = [
        (0, "First.", Excitement::Low),
        (10, "Calm.", Excitement::Low),
        (15, "Knockout!", Excitement::Knockout),
        (20, "Calm again.", Excitement::Medium),
    ];
    speak(&mut h, 120, &sentences).unwrap();
    assert_eq!(voice.spoken(), ["First.", "Knockout!", "Calm again."]);
}

#[test]
fn zero_patience_discards_sentences_that_cannot_begin_at_once() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([("patience", 0.into())])).unwrap();
    speak(
        &mut h,
        120,
        &[(0, "First.", Excitement::Low), (10, "Second.", Excitement::Knockout), (60, "Third.", Excitement::Low)],
    )
    .unwrap();
    assert_eq!(voice.spoken(), ["First.", "Third."]);
}

#[test]
fn the_state_counts_spoken_and_discarded_sentences() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    for frame in 0..60 {
        let rows = if frame % 15 == 0 { vec![sentence("Another one.", Excitement::Low)] } else { vec![] };
        h.push("commentary", &rows).unwrap();
    }
    let state = h.state("test").unwrap();
    assert_eq!((state.spoken, state.discarded), (2, 1), "one is queued");
    let saved = serde_json::to_string(&state).unwrap();
    let restored: sideline_speech::SpeechState = serde_json::from_str(&saved).unwrap();
    assert_eq!(serde_json::to_string(&restored).unwrap(), saved);
}

#[test]
fn the_last_sentence_is_spoken_after_the_last_frame() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    let sound = speak(&mut h, 30, &[(10, "First.", Excitement::Low), (29, "The bell!", Excitement::Low)]).unwrap();
    assert_eq!(voice.spoken(), ["First.", "The bell!"]);
    assert!(sound[1].start >= sound[0].start + SECOND);
}

#[test]
fn a_sentence_of_the_closing_message_is_spoken_in_one_closing_message() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([])).unwrap();
    for frame in 0..30 {
        let rows = if frame == 20 { vec![sentence("First.", Excitement::Low)] } else { vec![] };
        h.push("commentary", &rows).unwrap();
    }
    // The engine closes a stream like this: with the number of frames, and the media time of the last one.
    let last = h.header(29);
    let header = Header { frame: 30, is_closing: true, ..last };
    let rows = Commentary::encode(&[sentence("The bell!", Excitement::High)]);
    for (n, body) in [(30, Body::Data(Payload::Table(std::sync::Arc::new(rows)))), (31, Body::End { frames: 30 })] {
        h.accept("commentary", Message { header: header.clone(), n, body }).unwrap();
    }
    assert_eq!(voice.spoken(), ["First.", "The bell!"]);
    let mut closing = 0;
    while let Some(message) = h.next_message("speech") {
        closing += usize::from(message.header.frame == 30 && !matches!(message.body, Body::End { .. }));
    }
    assert_eq!(closing, 1);
}

#[test]
fn sentences_on_a_side_input_are_spoken() {
    let voice = Voice::new();
    let inputs = vec![("commentary", Alignment::Side { queue: 100 })];
    let setup = Setup { mode: Mode::Live, inputs: Some(inputs), ..Setup::default() };
    let mut h = Harness::<Speech>::with(voice.values([]), setup).unwrap();
    let sound = speak(&mut h, 90, &[(30, "Red lands a jab.", Excitement::Low)]).unwrap();
    assert!(is_near(&starts(&sound), &[1.0]), "{:?}", starts(&sound));
}

#[test]
fn exciting_sentences_are_faster_and_louder() {
    let voice = Voice::new();
    let mut h = Harness::<Speech>::new(voice.values([("speed", 100.into())])).unwrap();
    let sound = speak(&mut h, 120, &[(0, "Calm.", Excitement::Low), (60, "Knockout!", Excitement::Knockout)]).unwrap();
    let peak = |row: &Audio| row.samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    assert!(peak(&sound[1]) > 1.3 * peak(&sound[0]) && peak(&sound[1]) < 0.9);
    let arguments = fs::read_to_string(voice.path("arguments")).unwrap();
    let speeds: Vec<&str> = arguments.lines().skip(1).map(|line| line.split(' ').nth(3).unwrap()).collect();
    assert_eq!(speeds, ["100", "125"]);
}

/// Makes the stub behave like Piper; `report` prints the path of a complete file, as a certain version of Piper does.
fn piper(voice: &Voice, report: &str) {
    voice.script(&format!(
        "echo \"$@\" >> {0}/arguments\nwhile read line; do\n  echo \"$line\" >> {0}/input\n  cp {0}/sound.wav $8/1.wav\n  {report}\ndone",
        voice.folder.path().display()
    ));
}

#[test]
fn piper_is_started_once_for_all_sentences() {
    // The output of the current version, and of the previous one.
    for report in ["echo \"INFO:__main__:Wrote $8/1.wav\" >&2", "echo \"$8/1.wav\""] {
        let voice = Voice::new();
        let run_dir = tempfile::tempdir().unwrap();
        piper(&voice, report);
        fs::write(voice.path("joe.onnx"), "a model").unwrap();
        let name = format!("piper:{}", voice.path("joe.onnx").display());
        let setup = Setup { run_dir: run_dir.path().into(), ..Setup::default() };
        let values = voice.values([("voice", name.into()), ("speed", 350.into())]);
        let mut h = Harness::<Speech>::with(values, setup).unwrap();
        let sentences = [(0, "Red lands a jab.", Excitement::Low), (60, "Blue\nanswers.", Excitement::High)];
        assert_eq!(starts(&speak(&mut h, 120, &sentences).unwrap()).len(), 2);
        let arguments = fs::read_to_string(voice.path("arguments")).unwrap();
        assert_eq!(arguments.lines().count(), 1, "{arguments}");
        assert!(arguments.starts_with("--length_scale 0.5 --noise_scale 0 --noise_w 0 --output_dir "), "{arguments}");
        assert_eq!(voice.spoken(), ["Red lands a jab.", "Blue answers."]);
        h.close().unwrap();
        drop(h);
        assert_eq!(fs::read_dir(run_dir.path()).unwrap().count(), 0, "its folder is removed");
    }
}

#[test]
fn a_failure_of_piper_is_reported_with_its_reason() {
    let voice = Voice::new();
    fs::write(voice.path("joe.onnx"), "a model").unwrap();
    let name = || format!("piper:{}", voice.path("joe.onnx").display());
    voice.script("echo 'ValueError: no config' >&2; exit 1");
    let message = refused(voice.values([("voice", name().into())]));
    assert!(
        message.contains("exit status: 1: ValueError: no config; is ") && message.contains(".json beside it"),
        "{message}"
    );
    voice.script("sleep 1000");
    let message = refused(voice.values([("voice", name().into()), ("deadline", 0.3.into())]));
    assert!(message.contains("gave no sound within 1.5 s"), "five times as long for loading: {message}");
}

#[test]
fn the_voice_none_needs_no_program_and_is_silent() {
    let mut h = Harness::<Speech>::new([("voice", "none"), ("program", "/nowhere")]).unwrap();
    assert_eq!(speak(&mut h, 60, &[(0, "Red lands a jab.", Excitement::Low)]).unwrap(), []);
}

/// Returns the message of the error at the start.
fn refused(values: impl Into<Values>) -> String {
    let error = Harness::<Speech>::new(values).err().unwrap();
    assert_eq!(error.failure, Failure::Config, "{error}");
    error.message
}

#[test]
fn a_voice_that_cannot_speak_is_reported_at_the_start_with_the_remedy() {
    let voice = Voice::new();
    let message = refused([("program", "/nowhere/espeak")]);
    assert!(message.contains("there is no program /nowhere/espeak"), "{message}");
    let message = refused([("voice", "piper:nowhere.onnx")]);
    assert!(message.contains("nowhere.onnx: no such file") && message.contains(".onnx.json"), "{message}");
    let message = refused([("voice", " ")]);
    assert!(message.contains("key `voice` is empty"), "{message}");
    voice.script("echo 'Error: The specified voice does not exist.' >&2; exit 1");
    let message = refused(voice.values([("voice", "klingon".into())]));
    assert!(
        message.contains("The specified voice does not exist.; is `klingon` one of `espeak-ng --voices`?"),
        "{message}"
    );
    voice.script("cat; echo no sound");
    let message = refused(voice.values([]));
    assert!(message.contains("wrote no WAV"), "{message}");
}

#[test]
fn a_voice_that_hangs_is_killed_with_its_child_processes() {
    let voice = Voice::new();
    voice.script(&format!("sleep 1000 &\necho $! > {}\nwait", voice.path("pid").display()));
    let message = refused(voice.values([("deadline", 0.5.into())]));
    assert!(message.contains("gave no sound within 0.5 s and was ended"), "{message}");
    let pid = fs::read_to_string(voice.path("pid")).unwrap();
    let has_exited = || match fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")) {
        // A killed process stays a zombie until its new parent waits for it.
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    while !has_exited() {
        std::thread::yield_now();
    }
}

#[test]
fn a_voice_that_fails_in_a_run_stops_it_or_is_restarted() {
    let run = |mode, on_error| {
        let voice = Voice::new();
        let mut h = Harness::<Speech>::with(voice.values([]), Setup { mode, on_error, ..Setup::default() }).unwrap();
        // The voice fails for the second sentence, but not for the test word after a restart.
        voice.script(&format!(
            "cat > {0}/last\ngrep -q Broken {0}/last && exit 3\ncat {0}/last >> {0}/input\ncat {0}/sound.wav",
            voice.folder.path().display()
        ));
        let sentences =
            [(0, "First.", Excitement::Low), (60, "Broken.", Excitement::Low), (120, "Third.", Excitement::Low)];
        let spoken = speak(&mut h, 180, &sentences);
        (spoken.map(|sound| sound.len()), h.outcomes())
    };
    let (count, _) = run(Mode::Complete, OnError::Stop);
    let error = count.unwrap_err().message;
    assert!(error.contains("frame 60") && error.contains("exit status: 3"), "{error}");
    let (count, outcomes) = run(Mode::Live, OnError::Restart);
    assert_eq!(count.unwrap(), 2);
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Error(_))).count(), 1);
}

#[test]
fn espeak_is_deterministic_and_does_not_parse_text_as_options() {
    let run = || {
        let mut h = Harness::<Speech>::new(Values::new()).unwrap();
        speak(
            &mut h,
            200,
            &[
                (0, "--help -v nonsense <break/> & Red's jab!", Excitement::High),
                (90, "Blue answers.", Excitement::Low),
            ],
        )
        .unwrap()
    };
    let sound = run();
    assert_eq!(sound, run());
    let lengths: Vec<f64> = sound.iter().map(|row| row.samples.len() as f64 / f64::from(row.rate)).collect();
    assert!(lengths[0] > 1.0 && (0.4..2.0).contains(&lengths[1]), "{lengths:?}");
    assert!(sound.iter().all(|row| row.samples.iter().all(|sample| sample.is_finite() && sample.abs() <= 1.0)));
}
