//! `commentary`: moves in, sentences out: who did what, how hard, combinations, exchanges, flurries, quiet spells.
//!
//! **When.** A single strike is told when it is known. One that follows another of the same fighter may be part of a
//! combination: it is told when no further strike came for half a second, or at the fifth. Of several things the hottest is
//! told; what is older than 1.2 s is not told any more. Seconds are media time, so a file gives the same sentences however
//! fast it is read.
//!
//! **How exciting.** Heat is the speed of the limb against the hardest quarter of the last strikes of the bout, less
//! where the models are less certain or the strike fell short, and more for each strike of a combination and for a high
//! pace. Three steps make the four levels low, medium, high and knockout. A level is about the words, not a verdict.
//!
//! **Which words.** Phrases, words and names lie in a vocabulary, `dataflows/vocabulary.yml`; a user's file says what is
//! otherwise. A phrase is not taken again within eight sentences; where all of an occasion were, nothing is said. The choice
//! among the others is by chance that depends on node, stream and frame alone. With `interaction` wired, a strike that came
//! within reach of the other, or did not, has phrases of its own.
//!
//! Phrases that name the other one are taken only once both fighters were seen: who trains alone has no opponent.
//!
//! A move that the models are not sure of is never named and is part of no combination: it has phrases of its own, for moments
//! in which there is nothing else to tell, or by `unsure: false` none.
#![forbid(unsafe_code)]

mod bout;
pub mod excitement;
mod phrasing;
pub mod template;
pub mod vocabulary;

use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Commentary, Interaction, Move},
};

use crate::{bout::Bout, phrasing::Phrasing, vocabulary::Vocabulary};

/// Says in sentences what the fighters do.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct CommentaryConfig {
    /// A file with names, words and phrases of one's own: what it does not say stays as in dataflows/vocabulary.yml. Empty: all of it.
    #[config(default = "")]
    pub vocabulary: PathBuf,
    /// Most sentences in any second. Higher says more, of which less can be spoken; 0 says nothing.
    #[config(default = 2, live, range(0, 20))]
    pub per_second: u32,
    /// Whether moves are told that the models are not sure of, without a name. False is silent about them.
    #[config(default = true, live)]
    pub unsure: bool,
    /// Seconds within which strikes of one fighter are one combination. Higher makes longer ones.
    #[config(default = 1.5, live, range(0, 10))]
    pub combination: f64,
    /// Seconds without a move after which that is told, and again after as many. Higher is silent for longer; 0 for ever.
    #[config(default = 6.0, live, range(0, 3_600))]
    pub quiet: f64,
    /// Speed of a hard strike, torso lengths a second, until the bout has shown what is hard. Higher begins calmer.
    #[config(default = 18.0, live, range(0.1, 1_000))]
    pub hard: f32,
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    bout: Bout,
    phrasing: Phrasing,
}

/// See the documentation of the [crate].
pub struct CommentaryOperator {
    config: CommentaryConfig,
    vocabulary: Vocabulary,
    /// Labels that the vocabulary does not know and that were told in the log.
    unknown: BTreeSet<String>,
}

/// Labels that are told in the log at most.
const UNKNOWN: usize = 100;

impl Operator for CommentaryOperator {
    type Config = CommentaryConfig;
    type State = Memory;

    fn spec() -> Spec {
        Spec::operator("commentary")
            .required("moves", PortType::table::<Move>())
            .optional("interaction", PortType::table::<Interaction>())
            .output("commentary", PortType::table::<Commentary>())
    }

    fn new(config: CommentaryConfig, resources: &Resources) -> Result<Self> {
        let vocabulary = if config.vocabulary.as_os_str().is_empty() {
            Vocabulary::read(None)?
        } else {
            let path = resources
                .find(&config.vocabulary)
                .map_err(|error| Error::config(format!("key `vocabulary`: {}", error.message)))?;
            Vocabulary::read(Some(&path))?
        };
        Ok(Self { config, vocabulary, unknown: BTreeSet::new() })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, memory: &mut Memory, out: &mut Outputs) -> Result<()> {
        let moves = input.rows::<Move>("moves")?.unwrap_or_default();
        let pairs = input.rows::<Interaction>("interaction")?.unwrap_or_default();
        self.tell_unknown(cx, &moves);
        let (frame, now) = (cx.header.frame, cx.header.pts);
        memory.bout.see((frame, now), &pairs, &moves, &self.vocabulary, &self.config);
        if !memory.phrasing.may(now, self.config.per_second) {
            return Ok(());
        }
        let Some(topic) = memory.bout.topic(now, &self.config) else { return Ok(()) };
        memory.bout.told(&topic, now);
        let named = topic.newest.as_ref().is_none_or(|strike| !strike.fighter.is_empty());
        let both = named && memory.bout.both();
        let text = memory.phrasing.sentence(&topic, both, &self.vocabulary, cx.seed(), now);
        let Some(text) = text else { return Ok(()) };
        let row = Commentary {
            text,
            fighter: topic.fighter().into(),
            move_id: topic.newest.as_ref().map_or_else(String::new, |strike| strike.id.clone()),
            at: topic.newest.as_ref().map_or(frame, |strike| strike.at),
            excitement: topic.excitement.name().into(),
        };
        out.rows("commentary", &[row])
    }

    fn reconfigure(&mut self, config: &CommentaryConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

impl CommentaryOperator {
    /// A label without words is spoken by its own name; who wrote the vocabulary hears of it once.
    fn tell_unknown(&mut self, cx: &Context, moves: &[Move]) {
        for label in moves.iter().map(|row| row.label.as_str()).filter(|label| *label != Move::UNSURE) {
            let known = self.vocabulary.known(label).is_some() || self.unknown.contains(label);
            if !known && self.unknown.len() < UNKNOWN {
                self.unknown.insert(label.into());
                tracing::warn!(
                    node = cx.node,
                    label,
                    "the vocabulary has no word for this label: it is called by its name"
                );
            }
        }
    }
}
