//! The voices: espeak-ng, Piper, or none.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use sideline_api::{Error, Excitement, Failure, Resources, Result};

use crate::{
    SpeechConfig,
    child::{self, Failed},
    piper::Piper,
    wav::{self, Sound},
};

/// How much faster, at which pitch (espeak's 0..99) and how loud (peak) a sentence is spoken.
fn manner(excitement: Excitement) -> (f64, u32, f32) {
    match excitement {
        Excitement::Low => (1.0, 45, 0.55),
        Excitement::Medium => (1.08, 50, 0.62),
        Excitement::High => (1.18, 60, 0.7),
        Excitement::Knockout => (1.25, 70, 0.8),
    }
}

/// Words a minute at which Piper's voices speak by themselves, about.
const PIPER_SPEED: f64 = 175.0;
/// How much longer the first word of a Piper voice may take, which is loaded for it.
const LOADING: u32 = 5;
/// Samples quieter than this at both ends are no speech.
const SILENCE: f32 = 0.001;

/// What speaks.
enum Engine {
    /// espeak-ng, with the name of one of its voices: a run for each sentence.
    Espeak(String),
    /// Piper, with the file of a voice and a folder of its own: started with the first sentence.
    Piper { model: PathBuf, folder: PathBuf, running: Option<Piper> },
}

/// A voice that was tried and speaks.
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
        let (engine, usual) = match config.voice.trim() {
            "none" => return Ok(None),
            "" => return Err(Error::config("key `voice` is empty: name one of `espeak-ng --voices`, or `none`")),
            name => match name.strip_prefix("piper:") {
                Some(model) => {
                    let model = resources.find(model).map_err(|error| {
                        let text = format!("the Piper voice {}; get one as .onnx with its .onnx.json", error.message);
                        Error::config(format!("key `voice`: {text}"))
                    })?;
                    let folder = resources.run_dir.join(format!(".{}.sentences", resources.node));
                    (Engine::Piper { model, folder, running: None }, "piper")
                }
                None => (Engine::Espeak(name.into()), "espeak-ng"),
            },
        };
        let given = config.program.as_os_str();
        let program = if given.is_empty() { usual.into() } else { given.to_owned() };
        let deadline = Duration::from_secs_f64(config.deadline);
        // The first word waits until a voice is loaded.
        let patient = if usual == "piper" { LOADING * deadline } else { deadline };
        let mut voice = Voice { engine, program, speed: config.speed, deadline: patient };
        voice.say("Ready", Excitement::Low).map_err(|error| Error { failure: Failure::Config, ..error })?;
        Ok(Some(Voice { deadline, ..voice }))
    }

    /// Speaks a sentence. The same sentence gives the same samples.
    ///
    /// # Errors
    /// When the program fails, is late, or does not write a WAV.
    pub fn say(&mut self, text: &str, excitement: Excitement) -> Result<Sound> {
        let bytes = self.wav(text, excitement).map_err(|failed| self.told(failed))?;
        let sound = wav::read(&bytes)
            .ok_or_else(|| Error::other(format!("{}: wrote no WAV of 16-bit samples", self.shown())))?;
        Ok(trimmed(sound, manner(excitement).2))
    }

    fn wav(&mut self, text: &str, excitement: Excitement) -> Result<Vec<u8>, Failed> {
        let (faster, pitch, _) = manner(excitement);
        match &mut self.engine {
            Engine::Espeak(name) => {
                let speed = ((f64::from(self.speed) * faster).round() as u32).clamp(80, 450).to_string();
                // -z: no pause at the end. Text comes by standard input, so none of it can be taken for an option.
                let words = ["-v", name, "-s", &speed, "-p", &pitch.to_string(), "-z", "--stdin", "--stdout"];
                child::run(&self.program, &words, &format!("{text}\n"), self.deadline)
            }
            Engine::Piper { model, folder, running } => {
                let piper = match running {
                    Some(piper) => piper,
                    none => {
                        // Its speed is chosen when it starts: exciting sentences are louder alone.
                        let length = PIPER_SPEED / f64::from(self.speed);
                        none.insert(Piper::start(&self.program, model, length, folder.clone())?)
                    }
                };
                piper.say(text, self.deadline)
            }
        }
    }

    fn shown(&self) -> String {
        format!("key `voice`: {}", Path::new(&self.program).display())
    }

    /// What went wrong, and the mend.
    fn told(&self, failed: Failed) -> Error {
        let shown = self.shown();
        let (usual, install, doubt) = match &self.engine {
            Engine::Espeak(name) => {
                ("espeak-ng", "apt-get install espeak-ng", format!("is `{name}` one of `espeak-ng --voices`?"))
            }
            Engine::Piper { model, .. } => {
                let doubt = format!("is {} a Piper voice, with its .json beside it?", model.display());
                ("piper", "pip install piper-tts", doubt)
            }
        };
        Error::other(match failed {
            Failed::Missing if self.program == usual => {
                format!("{shown} is not installed: `{install}`, or set `voice` to `none`")
            }
            Failed::Missing => format!("key `program`: there is no program {}", self.program.display()),
            Failed::Start(cause) => format!("{shown}: cannot be run: {cause}"),
            Failed::Late => format!(
                "{shown}: said nothing within {} s and was ended; raise `deadline`, or set `voice` to `none`",
                self.deadline.as_secs_f64()
            ),
            Failed::Exit(status, complaint) => format!("{shown}: {status}: {complaint}; {doubt}"),
        })
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
