//! Voices: espeak-ng, Piper, or none.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use sideline_api::{Error, Failure, Resources, Result};
use sideline_sport::Excitement;

use crate::{
    SpeechConfig,
    child::{self, ChildError},
    piper::Piper,
    wav::{self, Sound},
};

/// Returns the delivery of a sentence: speed factor, pitch (0 to 99, of espeak), and peak amplitude (0 to 1).
fn delivery(excitement: Excitement) -> (f64, u32, f32) {
    match excitement {
        Excitement::Low => (1.0, 45, 0.55),
        Excitement::Medium => (1.08, 50, 0.62),
        Excitement::High => (1.18, 60, 0.7),
        Excitement::Knockout => (1.25, 70, 0.8),
    }
}

/// Approximate natural speed of Piper's voices, in words per minute.
const PIPER_WORDS_PER_MINUTE: f64 = 175.0;
/// Factor of the timeout for the first word of a Piper voice, which has to be loaded first.
const LOADING_TIMEOUT_FACTOR: u32 = 5;
/// Amplitude below which samples at both ends count as silence.
const SILENCE_AMPLITUDE: f32 = 0.001;

/// A speech synthesizer.
enum Engine {
    /// espeak-ng with the name of a voice, started for each sentence.
    Espeak(String),
    /// Piper with the file of a voice and an output folder, started at the first sentence.
    Piper { model: PathBuf, folder: PathBuf, running: Option<Piper> },
}

/// A voice that has been tested with a word.
pub struct Voice {
    engine: Engine,
    program: OsString,
    words_per_minute: u32,
    /// Time limit for a sentence.
    timeout: Duration,
}

impl Voice {
    /// Creates the configured voice and tests it with a word. Returns `None` for the voice `none`.
    ///
    /// # Errors
    /// `Config`, with the remedy, when the program is not installed or does not have the voice.
    pub fn new(config: &SpeechConfig, resources: &Resources) -> Result<Option<Self>> {
        let (engine, default_program) = match config.voice.trim() {
            "none" => return Ok(None),
            "" => return Err(Error::config("key `voice` is empty: set one of `espeak-ng --voices`, or `none`")),
            name => match name.strip_prefix("piper:") {
                Some(model) => {
                    let model = resources.find(model).map_err(|error| {
                        let text = format!("the Piper voice {}; download its .onnx and .onnx.json", error.message);
                        Error::config(format!("key `voice`: {text}"))
                    })?;
                    let folder = resources.run_dir.join(format!(".{}.sentences", resources.node));
                    (Engine::Piper { model, folder, running: None }, "piper")
                }
                None => (Engine::Espeak(name.into()), "espeak-ng"),
            },
        };
        let given = config.program.as_os_str();
        let program = if given.is_empty() { default_program.into() } else { given.to_owned() };
        let timeout = Duration::from_secs_f64(config.deadline);
        // Piper loads its voice before the first word.
        let first_timeout = if default_program == "piper" { LOADING_TIMEOUT_FACTOR * timeout } else { timeout };
        let mut voice = Voice { engine, program, words_per_minute: config.speed, timeout: first_timeout };
        voice.speak("Ready", Excitement::Low).map_err(|error| Error { failure: Failure::Config, ..error })?;
        Ok(Some(Voice { timeout, ..voice }))
    }

    /// Speaks a sentence. The same sentence gives the same samples.
    ///
    /// # Errors
    /// When the program fails, exceeds the time limit, or does not write 16-bit WAV.
    pub fn speak(&mut self, text: &str, excitement: Excitement) -> Result<Sound> {
        let bytes = self.synthesize(text, excitement).map_err(|failure| self.to_error(failure))?;
        let sound = wav::parse(&bytes)
            .ok_or_else(|| Error::other(format!("{}: wrote no WAV of 16-bit samples", self.describe())))?;
        Ok(trim_and_normalize(sound, delivery(excitement).2))
    }

    /// Runs the engine and returns the bytes of a WAV file.
    fn synthesize(&mut self, text: &str, excitement: Excitement) -> Result<Vec<u8>, ChildError> {
        let (speed_factor, pitch, _) = delivery(excitement);
        match &mut self.engine {
            Engine::Espeak(name) => {
                let speed =
                    ((f64::from(self.words_per_minute) * speed_factor).round() as u32).clamp(80, 450).to_string();
                // -z: no pause at the end. The text is passed on standard input, so it cannot be parsed as an option.
                let words = ["-v", name, "-s", &speed, "-p", &pitch.to_string(), "-z", "--stdin", "--stdout"];
                child::run(&self.program, &words, &format!("{text}\n"), self.timeout)
            }
            Engine::Piper { model, folder, running } => {
                let piper = match running {
                    Some(piper) => piper,
                    none => {
                        // The speed is fixed at the start of Piper, so exciting sentences are only louder.
                        let length_scale = PIPER_WORDS_PER_MINUTE / f64::from(self.words_per_minute);
                        none.insert(Piper::start(&self.program, model, length_scale, folder.clone())?)
                    }
                };
                piper.speak(text, self.timeout)
            }
        }
    }

    /// Returns the key and the program, for the beginning of an error message.
    fn describe(&self) -> String {
        format!("key `voice`: {}", Path::new(&self.program).display())
    }

    /// Converts a failure of the program to an error with the remedy.
    fn to_error(&self, failure: ChildError) -> Error {
        let program = self.describe();
        let (default_program, install_command, hint) = match &self.engine {
            Engine::Espeak(name) => {
                ("espeak-ng", "apt-get install espeak-ng", format!("is `{name}` one of `espeak-ng --voices`?"))
            }
            Engine::Piper { model, .. } => {
                let hint = format!("is {} a Piper voice, with its .json beside it?", model.display());
                ("piper", "pip install piper-tts", hint)
            }
        };
        Error::other(match failure {
            ChildError::NotFound if self.program == default_program => {
                format!("{program} is not installed: `{install_command}`, or set `voice` to `none`")
            }
            ChildError::NotFound => format!("key `program`: there is no program {}", self.program.display()),
            ChildError::Io(cause) => format!("{program}: cannot be run: {cause}"),
            ChildError::TimedOut => format!(
                "{program}: gave no sound within {} s and was ended; raise `deadline`, or set `voice` to `none`",
                self.timeout.as_secs_f64()
            ),
            ChildError::Exit(status, last_line) => format!("{program}: {status}: {last_line}; {hint}"),
        })
    }
}

/// Removes silence at both ends and scales the sound to a peak amplitude.
fn trim_and_normalize(sound: Sound, peak: f32) -> Sound {
    let is_audible = |sample: &f32| sample.abs() > SILENCE_AMPLITUDE;
    let samples = &sound.samples;
    let from = samples.iter().position(is_audible).unwrap_or(0);
    let to = samples.iter().rposition(is_audible).map_or(0, |last| last + 1);
    let samples = &samples[from.min(to)..to];
    let current_peak = samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    let gain = if current_peak > 0.0 { peak / current_peak } else { 0.0 };
    Sound { rate: sound.rate, samples: samples.iter().map(|sample| sample * gain).collect() }
}
