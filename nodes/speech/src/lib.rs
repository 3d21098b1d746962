//! `speech`: sentences of the commentary in, sound out.
//!
//! A sentence is a row of `speech`: its samples, and the media time at which they are to be heard. It begins at the frame
//! with which the sentence came, or when the one before it is over: never two at once. While one is spoken others wait. Then
//! the most exciting is taken, of two as exciting the newer one; what is older than that, and what would begin later than
//! `patience` after its moment, is left out and counted.
//!
//! Another program speaks, with a deadline, in a process group of its own: espeak-ng is run for each sentence, Piper, which
//! takes seconds to load a voice, once. The same sentence gives the same samples each time. In a live flow give the input `queue_policy: drop_oldest`: then no frame ever waits for a voice. In
//! `complete` mode that input is aligned as any other, and the sound is the same in every run.
#![forbid(unsafe_code)]

mod child;
mod piper;
pub mod voice;
pub mod wav;

use std::{collections::VecDeque, path::PathBuf};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Body, Config, Context, Excitement, Inputs, Operator, Outputs, Payload, PortType, Resources, Result, Spec, Table,
    tables::{Audio, Commentary},
};

use crate::voice::Voice;

/// Speaks the commentary.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct SpeechConfig {
    /// Who speaks: a voice of espeak-ng (`espeak-ng --voices`), `piper:VOICE.onnx`, or `none` for silence, which needs nothing installed.
    #[config(default = "en-us")]
    pub voice: String,
    /// The program of the voice, by name or path. Empty: espeak-ng, or piper.
    #[config(default = "")]
    pub program: PathBuf,
    /// Words a minute of a calm sentence; exciting ones are up to a quarter faster. Higher says more and is harder to follow.
    #[config(default = 185, range(80, 450))]
    pub speed: u32,
    /// Seconds that a sentence may begin after its moment. Higher says more, of things that are further past.
    #[config(default = 2.0, live, range(0, 60))]
    pub patience: f64,
    /// Seconds after which a voice that does not answer is ended; Piper may take five times as long for its first word. Less than SIDELINE_STALL_S, 10 s.
    #[config(default = 6.0, range(0.1, 60))]
    pub deadline: f64,
}

/// Most sentences that wait: the commentary says two a second.
const WAITING: usize = 32;
/// Between two sentences, ns.
const BREATH: i64 = 150_000_000;

/// A sentence that was not spoken yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sentence {
    text: String,
    excitement: Excitement,
    /// Media time of its moment, ns.
    came: i64,
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spoken {
    waiting: VecDeque<Sentence>,
    /// Media time from which the voice is free, ns.
    free: Option<i64>,
    /// Number and media time of the last message, ns.
    last: Option<(u64, i64)>,
    /// Sentences that were spoken.
    pub said: u64,
    /// Sentences that were left out: too late, or older than another that was spoken.
    pub left_out: u64,
}

/// See the documentation of the [crate].
pub struct Speech {
    config: SpeechConfig,
    voice: Option<Voice>,
}

impl Operator for Speech {
    type Config = SpeechConfig;
    type State = Spoken;

    fn spec() -> Spec {
        // Heavy: another program works while it waits.
        Spec::operator("speech")
            .heavy()
            .required("commentary", PortType::table::<Commentary>())
            .output("speech", PortType::table::<Audio>())
    }

    fn new(config: SpeechConfig, resources: &Resources) -> Result<Self> {
        let voice = Voice::new(&config, resources)?;
        Ok(Self { config, voice })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, spoken: &mut Spoken, out: &mut Outputs) -> Result<()> {
        let patience = self.patience();
        let Some(voice) = &mut self.voice else { return Ok(()) };
        spoken.take(cx.header.pts, input.rows("commentary")?.unwrap_or_default());
        for message in input.side("commentary") {
            if let Body::Data(Payload::Table(rows)) = &message.body {
                spoken.take(message.header.pts, Commentary::decode(rows)?);
            }
        }
        let now = cx.header.pts;
        let last = spoken.last.replace((cx.header.frame, now));
        match spoken.free {
            // A closing message comes with the time of the last frame. It is the last chance: then the word waits, not we.
            Some(free) if free > now && last.is_some_and(|(_, before)| before == now) => {
                spoken.speak(voice, free, patience, out)
            }
            Some(free) if free > now => Ok(()),
            _ => spoken.speak(voice, now, patience, out),
        }
    }

    fn reconfigure(&mut self, config: &SpeechConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, spoken: &mut Spoken, out: &mut Outputs) -> Result<()> {
        let patience = self.patience();
        let Some(voice) = &mut self.voice else { return Ok(()) };
        // The last word may be heard behind the last frame. There is one closing message for each output: where one came in,
        // ours went out with it.
        if spoken.last.is_none_or(|(frame, _)| frame < cx.header.frame) {
            let free = spoken.free.map_or(cx.header.pts, |free| free.max(cx.header.pts));
            spoken.speak(voice, free, patience, out)?;
        }
        spoken.left_out += spoken.waiting.len() as u64;
        spoken.waiting.clear();
        let (node, stream) = (cx.node, &*cx.header.stream);
        tracing::info!(node, stream, said = spoken.said, left_out = spoken.left_out, "spoken");
        Ok(())
    }
}

impl Speech {
    fn patience(&self) -> i64 {
        (self.config.patience * 1e9) as i64
    }
}

impl Spoken {
    fn take(&mut self, came: i64, rows: Vec<Commentary>) {
        let sentences = rows.into_iter().filter(|row| !row.text.trim().is_empty());
        self.waiting.extend(sentences.map(|row| Sentence {
            excitement: Excitement::named(&row.excitement),
            text: row.text,
            came,
        }));
        while self.waiting.len() > WAITING {
            self.waiting.pop_front();
            self.left_out += 1;
        }
    }

    /// Speaks the best sentence that waits, from `now` on.
    fn speak(&mut self, voice: &mut Voice, now: i64, patience: i64, out: &mut Outputs) -> Result<()> {
        let before = self.waiting.len();
        self.waiting.retain(|sentence| now - sentence.came <= patience);
        let waiting = self.waiting.iter().enumerate();
        let best = waiting.max_by_key(|(at, sentence)| (sentence.excitement, *at)).map(|(at, _)| at);
        let Some(best) = best else {
            self.left_out += before as u64;
            return Ok(());
        };
        // What was before it is past.
        let Some(sentence) = self.waiting.drain(..=best).next_back() else { return Ok(()) };
        self.left_out += (before - self.waiting.len() - 1) as u64;
        let sound = voice.say(&sentence.text, sentence.excitement)?;
        let length = (sound.samples.len() as i64 * 1_000_000_000) / i64::from(sound.rate);
        self.free = Some(now + length + BREATH);
        self.said += 1;
        out.rows("speech", &[Audio { start: now, rate: sound.rate, channels: 1, samples: sound.samples }])
    }
}
