//! `speech`: converts sentences of the commentary to sound.
//!
//! A spoken sentence is a row of `speech`: its samples, and the media time at which to play them. It begins at the
//! frame of the sentence, or after the previous sentence: never two at once. Sentences that arrive while another is
//! spoken are queued. Then the most exciting one is spoken, of equally exciting ones the newest. Sentences older than
//! that, and those that would begin later than `patience` after their moment, are discarded and counted.
//!
//! A separate program speaks, with a time limit and in its own process group: espeak-ng is run for each sentence;
//! Piper, which takes seconds to load a voice, runs once. The same sentence always gives the same samples. In a live
//! flow, set `queue_policy: drop_oldest` for the input, so that no frame waits for a voice. In `complete` mode the
//! input is aligned like any other, and the sound is the same in every run.
#![forbid(unsafe_code)]

mod child;
mod piper;
pub mod voice;
pub mod wav;

use std::{collections::VecDeque, path::PathBuf};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Body, Config, Context, Inputs, Operator, Outputs, Payload, PortType, Resources, Result, Spec, Table, tables::Audio,
};
use sideline_sport::{Excitement, tables::Commentary};

use crate::voice::Voice;

/// Speaks the commentary.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct SpeechConfig {
    /// Voice: one of espeak-ng (`espeak-ng --voices`), `piper:VOICE.onnx`, or `none` for silence, which needs no
    /// program.
    #[config(default = "en-us")]
    pub voice: String,
    /// Program that speaks, by name or path; empty for `espeak-ng` or `piper`.
    #[config(default = "")]
    pub program: PathBuf,
    /// Speed of a calm sentence, in words per minute; exciting ones are up to a quarter faster. Raising it speaks more
    /// sentences, which are harder to follow.
    #[config(default = 185, range(80, 450))]
    pub speed: u32,
    /// Maximum delay of a sentence after its moment, in seconds. Raising it speaks more sentences, but later; lowering
    /// it discards more.
    #[config(default = 2.0, live, range(0, 60))]
    pub patience: f64,
    /// Time limit for speaking a sentence, in seconds, after which the program is ended. Piper may take five times as
    /// long for its first word. Keep it below SIDELINE_STALL_S, 10 s by default.
    #[config(default = 6.0, range(0.1, 60))]
    pub deadline: f64,
}

/// Maximum number of queued sentences. The commentary produces up to two per second.
const MAX_QUEUED: usize = 32;
/// Pause between two sentences, in nanoseconds.
const PAUSE_NS: i64 = 150_000_000;

/// A queued sentence.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sentence {
    text: String,
    excitement: Excitement,
    /// Media time of the sentence's moment, in nanoseconds.
    moment_ns: i64,
}

/// State of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SpeechState {
    queue: VecDeque<Sentence>,
    /// Media time at which the next sentence may begin, in nanoseconds.
    free_from_ns: Option<i64>,
    /// Frame number and media time (ns) of the last message.
    last_message: Option<(u64, i64)>,
    /// Number of spoken sentences.
    pub spoken: u64,
    /// Number of discarded sentences: too late, or older than one that was spoken.
    pub discarded: u64,
}

/// The operator `speech`; see the documentation of the [crate].
pub struct Speech {
    config: SpeechConfig,
    voice: Option<Voice>,
}

impl Operator for Speech {
    type Config = SpeechConfig;
    type State = SpeechState;

    fn spec() -> Spec {
        // Heavy: it waits for another program.
        Spec::operator("speech")
            .heavy()
            .required("commentary", PortType::table::<Commentary>())
            .output("speech", PortType::table::<Audio>())
    }

    fn new(config: SpeechConfig, resources: &Resources) -> Result<Self> {
        let voice = Voice::new(&config, resources)?;
        Ok(Self { config, voice })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut SpeechState, out: &mut Outputs) -> Result<()> {
        let max_delay_ns = self.max_delay_ns();
        let Some(voice) = &mut self.voice else { return Ok(()) };
        state.enqueue(cx.header.pts, input.rows("commentary")?.unwrap_or_default());
        for message in input.side("commentary") {
            if let Body::Data(Payload::Table(rows)) = &message.body {
                state.enqueue(message.header.pts, Commentary::decode(rows)?);
            }
        }
        let now = cx.header.pts;
        let last_message = state.last_message.replace((cx.header.frame, now));
        match state.free_from_ns {
            // A closing message has the time of the last frame. No call follows it, so its sentence is spoken now and
            // begins after the current one.
            Some(free) if free > now && last_message.is_some_and(|(_, last)| last == now) => {
                state.speak_next(voice, free, max_delay_ns, out)
            }
            Some(free) if free > now => Ok(()),
            _ => state.speak_next(voice, now, max_delay_ns, out),
        }
    }

    fn reconfigure(&mut self, config: &SpeechConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, state: &mut SpeechState, out: &mut Outputs) -> Result<()> {
        let max_delay_ns = self.max_delay_ns();
        let Some(voice) = &mut self.voice else { return Ok(()) };
        // The last sentence may play after the last frame. Each output has at most one closing message: if a closing
        // message was received, `process` has answered it already.
        if state.last_message.is_none_or(|(frame, _)| frame < cx.header.frame) {
            let free = state.free_from_ns.map_or(cx.header.pts, |free| free.max(cx.header.pts));
            state.speak_next(voice, free, max_delay_ns, out)?;
        }
        state.discarded += state.queue.len() as u64;
        state.queue.clear();
        tracing::info!(spoken = state.spoken, discarded = state.discarded, "sentences at the end of the stream");
        Ok(())
    }
}

impl Speech {
    fn max_delay_ns(&self) -> i64 {
        (self.config.patience * 1e9) as i64
    }
}

impl SpeechState {
    /// Adds sentences to the queue, and discards the oldest ones of a full queue.
    fn enqueue(&mut self, moment_ns: i64, rows: Vec<Commentary>) {
        let sentences = rows.into_iter().filter(|row| !row.text.trim().is_empty());
        self.queue.extend(sentences.map(|row| Sentence { excitement: row.excitement, text: row.text, moment_ns }));
        while self.queue.len() > MAX_QUEUED {
            self.queue.pop_front();
            self.discarded += 1;
        }
    }

    /// Speaks the most exciting queued sentence at the media time `now`, and discards the late and the older ones. All
    /// times are in nanoseconds.
    fn speak_next(&mut self, voice: &mut Voice, now: i64, max_delay_ns: i64, out: &mut Outputs) -> Result<()> {
        let before = self.queue.len();
        self.queue.retain(|sentence| now - sentence.moment_ns <= max_delay_ns);
        let queued = self.queue.iter().enumerate();
        let best = queued.max_by_key(|(at, sentence)| (sentence.excitement, *at)).map(|(at, _)| at);
        let Some(best) = best else {
            self.discarded += before as u64;
            return Ok(());
        };
        // Sentences before the chosen one are out of date.
        let Some(sentence) = self.queue.drain(..=best).next_back() else { return Ok(()) };
        self.discarded += (before - self.queue.len() - 1) as u64;
        let sound = voice.speak(&sentence.text, sentence.excitement)?;
        let duration_ns = (sound.samples.len() as i64 * 1_000_000_000) / i64::from(sound.rate);
        self.free_from_ns = Some(now + duration_ns + PAUSE_NS);
        self.spoken += 1;
        out.rows("speech", &[Audio { start: now, rate: sound.rate, channels: 1, samples: sound.samples }])
    }
}
