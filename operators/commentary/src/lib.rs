//! `commentary`: moves in, sentences about them out: single strikes, combinations, exchanges, flurries, quiet spells.
//!
//! **Timing.** A single strike is reported as soon as it is known. A strike that follows another of the same fighter
//! may be part of a combination, which is reported when no further strike came for half a second, or at the fifth
//! strike. Of several topics the most exciting one is reported. Moves that have been known for more than 1.2 s are not
//! reported any more. Seconds are media time, so a file gives the same sentences at any processing speed.
//!
//! **Excitement.** The score of a strike is the speed of the limb relative to the fastest quarter of the recent strikes
//! of the bout. It is lower if the models are less certain or the strike fell short, and higher for each strike of a
//! combination and at a high pace. Three thresholds divide it into the levels low, medium, high and knockout. A level
//! selects the phrases; it is no judgment about the outcome.
//!
//! **Phrases.** Names, words and phrases come from a vocabulary, `operators/commentary/vocabulary.yml`; a user's file overrides
//! parts of it. A phrase is not repeated within eight sentences; if all phrases for an occasion were used, there is no
//! sentence. The choice among the others is pseudorandom and depends only on node, stream and frame. With `interaction`
//! wired, strikes that came within reach of the other fighter, and those that did not, have phrases of their own.
//!
//! Phrases that name the other fighter are used only after both fighters were seen, because a person who trains alone
//! has no opponent.
//!
//! An `unsure` move is never named and is part of no combination. It has phrases of its own, used when there is nothing
//! else to report; with `unsure: false` there are none.
#![forbid(unsafe_code)]

mod bout;
pub mod excitement;
mod phrasing;
pub mod template;
pub mod vocabulary;

use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{self, Fighter, Interaction, Move};

use crate::{bout::Bout, phrasing::Phrasing, vocabulary::Vocabulary};

/// Describes the moves of the fighters in sentences.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct CommentaryConfig {
    /// Path of a file with names, words and phrases that override those of operators/commentary/vocabulary.yml; all others stay.
    /// Empty overrides nothing.
    #[config(default = "")]
    pub vocabulary: PathBuf,
    /// Maximum number of sentences in any second. Higher gives more sentences, of which fewer can be spoken; 0 gives
    /// none.
    #[config(default = 2, live, range(0, 20))]
    pub per_second: u32,
    /// Sentences about `unsure` moves, which are not named; false leaves these moves out.
    #[config(default = true, live)]
    pub unsure: bool,
    /// Maximum time between the first and the last strike of a combination, seconds. Higher makes longer combinations;
    /// lower splits them.
    #[config(default = 1.5, live, range(0, 10))]
    pub combination: f64,
    /// Seconds without a move after which a sentence says so, repeated at that interval. Higher keeps silent for
    /// longer; 0 disables these sentences.
    #[config(default = 6.0, live, range(0, 3_600))]
    pub quiet: f64,
    /// Speed of a hard strike, torso lengths per second, until the bout has shown its own. Higher starts with less
    /// excitement; lower with more.
    #[config(default = 18.0, live, range(0.1, 1_000))]
    pub hard: f32,
}

/// State of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CommentaryState {
    bout: Bout,
    phrasing: Phrasing,
}

/// Commentary operator; see the [crate] documentation.
pub struct Commentary {
    config: CommentaryConfig,
    vocabulary: Vocabulary,
    /// Labels for which a missing word was logged.
    logged_labels: BTreeSet<String>,
}

/// Maximum number of labels for which a missing word is logged, so that the set stays bounded.
const MAX_LOGGED_LABELS: usize = 100;

impl Operator for Commentary {
    type Config = CommentaryConfig;
    type State = CommentaryState;

    fn spec() -> Spec {
        Spec::operator("commentary")
            .required("moves", PortType::table::<Move>())
            .optional("interaction", PortType::table::<Interaction>())
            .output("commentary", PortType::table::<tables::Commentary>())
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
        Ok(Self { config, vocabulary, logged_labels: BTreeSet::new() })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut CommentaryState, out: &mut Outputs) -> Result<()> {
        let moves = input.rows::<Move>("moves")?.unwrap_or_default();
        let pairs = input.rows::<Interaction>("interaction")?.unwrap_or_default();
        self.log_missing_words(cx, &moves);
        let (frame, now) = (cx.header.frame, cx.header.pts);
        state.bout.observe((frame, now), &pairs, &moves, &self.vocabulary, &self.config);
        if !state.phrasing.is_allowed(now, self.config.per_second) {
            return Ok(());
        }
        let Some(topic) = state.bout.select_topic(now, &self.config) else { return Ok(()) };
        state.bout.mark_reported(&topic, now);
        let is_named = topic.newest.as_ref().is_none_or(|strike| strike.fighter != Fighter::None);
        let has_opponent = is_named && state.bout.has_both_fighters();
        let text = state.phrasing.compose(&topic, has_opponent, &self.vocabulary, cx.seed(), now);
        let Some(text) = text else { return Ok(()) };
        let row = tables::Commentary {
            text,
            fighter: topic.fighter(),
            move_id: topic.newest.as_ref().map_or_else(String::new, |strike| strike.id.clone()),
            at: topic.newest.as_ref().map_or(frame, |strike| strike.peak),
            excitement: topic.excitement,
        };
        out.rows("commentary", &[row])
    }

    fn reconfigure(&mut self, config: &CommentaryConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

impl Commentary {
    /// Logs each label without a word once. Sentences use the label itself.
    fn log_missing_words(&mut self, cx: &Context, moves: &[Move]) {
        for label in moves.iter().map(|row| row.label.as_str()).filter(|label| *label != Move::UNSURE_LABEL) {
            let is_known = self.vocabulary.move_words(label).is_some() || self.logged_labels.contains(label);
            if !is_known && self.logged_labels.len() < MAX_LOGGED_LABELS {
                self.logged_labels.insert(label.into());
                tracing::warn!(
                    node = cx.node,
                    label,
                    "the vocabulary has no word for this label: sentences use the label itself"
                );
            }
        }
    }
}
