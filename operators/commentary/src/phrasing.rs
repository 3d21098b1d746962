//! Choice of phrases: without recent repetitions, and pseudorandom but equal in every run.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_sport::tables::Fighter;

use crate::{
    bout::Topic,
    excitement::levels_nearest_to,
    template::{MAX_SENTENCE_CHARS, Placeholder, Substitutions, Template},
    vocabulary::{MAX_LISTED_MOVES, Vocabulary},
};

/// Sentences within which a phrase is not repeated.
const NO_REPEAT_SENTENCES: usize = 8;

/// History of the sentences of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Phrasing {
    /// Recent phrases and their sentences, oldest first.
    recent: VecDeque<(String, String)>,
    /// Media times of the sentences of the last second, ns.
    times: VecDeque<i64>,
}

impl Phrasing {
    /// True if another sentence is allowed at this media time (ns): fewer than `per_second` came in the second before.
    pub fn is_allowed(&mut self, now: i64, per_second: u32) -> bool {
        while self.times.front().is_some_and(|time| now - time >= 1_000_000_000) {
            self.times.pop_front();
        }
        self.times.len() < per_second as usize
    }

    /// Composes a sentence about the topic from a phrase that was not used recently, of the topic's level or the
    /// nearest level that has one. Phrases that name the opponent need `has_opponent`. `None` if all phrases were used:
    /// silence is better than a repetition.
    pub fn compose(
        &mut self,
        topic: &Topic,
        has_opponent: bool,
        vocabulary: &Vocabulary,
        seed: u64,
        now: i64,
    ) -> Option<String> {
        let words = substitutions(topic, vocabulary);
        for level in levels_nearest_to(topic.excitement) {
            let phrases = vocabulary.phrases(topic.occasion(), level);
            let fresh: Vec<(&Template, String)> = phrases
                .iter()
                .filter(|phrase| has_opponent || !phrase.contains(Placeholder::Whom))
                .filter(|phrase| self.recent.iter().all(|(recent, _)| *recent != phrase.text))
                .map(|phrase| (phrase, phrase.fill(&words)))
                .filter(|(_, text)| {
                    // The vocabulary's own words cannot exceed the limit, which its reader has checked.
                    // Words from the stream could.
                    text.chars().count() <= MAX_SENTENCE_CHARS && self.recent.iter().all(|(_, recent)| recent != text)
                })
                .collect();
            if fresh.is_empty() {
                continue;
            }
            let (phrase, text) = &fresh[(seed % fresh.len() as u64) as usize];
            self.recent.push_back((phrase.text.clone(), text.clone()));
            if self.recent.len() > NO_REPEAT_SENTENCES {
                self.recent.pop_front();
            }
            self.times.push_back(now);
            return Some(text.clone());
        }
        None
    }
}

fn substitutions(topic: &Topic, vocabulary: &Vocabulary) -> Substitutions {
    let Some(newest) = &topic.newest else {
        let [who, whom] = Fighter::FIGHTERS.map(|fighter| vocabulary.fighter_name(fighter).to_owned());
        return Substitutions { who, whom, ..Substitutions::default() };
    };
    let words = vocabulary.move_words_or_label(newest.label.as_deref().unwrap_or_default());
    let listed = &topic.labels[topic.labels.len().saturating_sub(MAX_LISTED_MOVES)..];
    let moves: Vec<String> = listed.iter().map(|label| vocabulary.move_words_or_label(label).name).collect();
    Substitutions {
        who: vocabulary.fighter_name(newest.fighter).into(),
        whom: vocabulary.fighter_name(newest.fighter.opponent()).into(),
        move_name: words.name,
        move_with_article: words.with_article,
        limb: vocabulary.limb_name(&newest.limb),
        moves: moves.join(", "),
        count: topic.count,
    }
}
