//! The voices: espeak-ng, Piper, or none.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sideline_api::{Error, Failure, Resources, Result};

use crate::{
    SpeechConfig,
    child::{self, Failed},
    wav::{self, Sound},
};

/// How exciting a sentence is: the words of the table `commentary`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Excitement {
    #[default]
    Low,
    Medium,
    High,
    Knockout,
}

impl Excitement {
    /// By its name in the table.
    pub fn of(name: &str) -> Self {
        match name {
            "medium" => Excitement::Medium,
            "high" => Excitement::High,
            "knockout" => Excitement::Knockout,
            _ => Excitement::Low,
        }
    }

    /// How much faster, at which pitch (espeak's 0..99) and how loud (peak) it is spoken.
    fn manner(self) -> (f64, u32, f32) {
        match self {
            Excitement::Low => (1.0, 45, 0.55),
            Excitement::Medium => (1.08, 50, 0.62),
            Excitement::High => (1.18, 60, 0.7),
            Excitement::Knockout => (1.25, 70, 0.8),
        }
    }
}

/// Words a minute at which Piper's voices speak by themselves, about.
const PIPER_SPEED: f64 = 175.0;
/// Samples quieter than this at both ends are no speech.
const SILENCE: f32 = 0.001;

/// What speaks.
#[derive(Clone, Debug)]
enum Engine {
    /// espeak-ng, with the name of one of its voices.
    Espeak(String),
    /// Piper, with the file of a voice.
    Piper(PathBuf),
}

/// A voice that was tried and speaks.
#[derive(Clone, Debug)]
pub struct Voice {
    engine: Engine,
    program: OsString,
    speed: u32,
    deadline: Duration,
}

impl Voice {
    /// The voice that is configured, tried with a word; `None` where it is `none`.
    ///
    /// # Errors
    /// `Config` when its program is not installed, or does not know the voice: with the mend.
    pub fn new(config: &SpeechConfig, resources: &Resources) -> Result<Option<Self>> {
        let named = |program: &str| match config.program.as_os_str() {
            given if given.is_empty() => OsString::from(program),
            given => given.to_owned(),
        };
        let (engine, program) = match config.voice.trim() {
            "none" => return Ok(None),
            "" => return Err(Error::config("key `voice` is empty: name one of `espeak-ng --voices`, or `none`")),
            name => match name.strip_prefix("piper:") {
                Some(model) => {
                    let model = resources.find(model).map_err(|error| {
                        Error::config(format!(
                            "key `voice`: the Piper voice {}; get one as .onnx with its .onnx.json",
                            error.message
                        ))
                    })?;
                    (Engine::Piper(model), named("piper"))
                }
                None => (Engine::Espeak(name.into()), named("espeak-ng")),
            },
        };
        let deadline = Duration::from_secs_f64(config.deadline);
        let voice = Voice { engine, program, speed: config.speed, deadline };
        voice.say("Ready", Excitement::Low).map_err(|error| Error { failure: Failure::Config, ..error })?;
        Ok(Some(voice))
    }

    /// Speaks a sentence. The same sentence gives the same samples.
    ///
    /// # Errors
    /// When the program fails, is late, or does not write a WAV.
    pub fn say(&self, text: &str, excitement: Excitement) -> Result<Sound> {
        let (faster, pitch, peak) = excitement.manner();
        let speed = f64::from(self.speed) * faster;
        let arguments: Vec<OsString> = match &self.engine {
            Engine::Espeak(name) => {
                // -z: no pause at the end. Text comes by standard input, so none of it can be taken for an option.
                let speed = (speed.round() as u32).clamp(80, 450);
                let words =
                    ["-v", name, "-s", &speed.to_string(), "-p", &pitch.to_string(), "-z", "--stdin", "--stdout"];
                words.map(OsString::from).to_vec()
            }
            Engine::Piper(model) => {
                // Its noise makes every reading another one; without it the same sentence sounds the same.
                let length = (PIPER_SPEED / speed).to_string();
                let words = ["--length-scale", &length, "--noise-scale", "0", "--noise-w-scale", "0", "-m"];
                let mut arguments = words.map(OsString::from).to_vec();
                arguments.extend([model.into(), "-f".into(), "-".into()]);
                arguments
            }
        };
        let bytes = child::run(&self.program, &arguments, &format!("{text}\n"), self.deadline)
            .map_err(|failed| self.failed(failed))?;
        let sound = wav::read(&bytes)
            .ok_or_else(|| Error::other(format!("{}: wrote no WAV of 16-bit samples", self.shown())))?;
        Ok(trimmed(sound, peak))
    }

    fn shown(&self) -> String {
        format!("key `voice`: {}", Path::new(&self.program).display())
    }

    fn failed(&self, failed: Failed) -> Error {
        let shown = self.shown();
        let install = match self.engine {
            Engine::Espeak(_) => "apt-get install espeak-ng",
            Engine::Piper(_) => "pip install piper-tts",
        };
        match failed {
            Failed::Missing if self.program == OsStr::new("espeak-ng") || self.program == OsStr::new("piper") => {
                Error::other(format!("{shown} is not installed: `{install}`, or set `voice` to `none`"))
            }
            Failed::Missing => Error::other(format!("key `program`: there is no program {}", self.program.display())),
            Failed::Start(cause) => Error::other(format!("{shown}: cannot be started: {cause}")),
            Failed::Late => Error::other(format!(
                "{shown}: said nothing within {} s and was ended; raise `deadline`, or set `voice` to `none`",
                self.deadline.as_secs_f64()
            )),
            Failed::Exit(status, complaint) => {
                let mend = match &self.engine {
                    Engine::Espeak(name) => format!("; is `{name}` one of `espeak-ng --voices`?"),
                    Engine::Piper(model) => {
                        format!("; is {} a Piper voice, with its .json beside it?", model.display())
                    }
                };
                Error::other(format!("{shown}: {status}: {complaint}{mend}"))
            }
        }
    }
}

/// Without silence at both ends, at this peak.
fn trimmed(sound: Sound, peak: f32) -> Sound {
    let loud = |sample: &f32| sample.abs() > SILENCE;
    let samples = &sound.samples;
    let from = samples.iter().position(loud).unwrap_or(0);
    let to = samples.iter().rposition(loud).map_or(0, |last| last + 1);
    let samples = &samples[from.min(to)..to];
    let found = samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    let gain = if found > 0.0 { peak / found } else { 0.0 };
    Sound { rate: sound.rate, samples: samples.iter().map(|sample| sample * gain).collect() }
}
