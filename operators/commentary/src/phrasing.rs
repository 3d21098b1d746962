//! Which phrase is taken: one that was not heard lately, by chance that is the same in every run.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    bout::Topic,
    excitement::nearest_to,
    template::{Gap, LONGEST, Template, Words},
    vocabulary::{LISTED, Vocabulary},
};

/// A phrase is not taken again within so many sentences.
const LATELY: usize = 8;

/// What was said lately.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Phrasing {
    /// Phrases and sentences, the oldest first.
    lately: VecDeque<(String, String)>,
    /// Media times of the sentences of the last second, ns.
    times: VecDeque<i64>,
}

impl Phrasing {
    /// True when another sentence may be said at this time: fewer than `per_second` were in the second before.
    pub fn may(&mut self, now: i64, per_second: u32) -> bool {
        while self.times.front().is_some_and(|time| now - time >= 1_000_000_000) {
            self.times.pop_front();
        }
        self.times.len() < per_second as usize
    }

    /// A sentence about the topic, of a phrase that was not heard lately: of its level, else of the nearest that has one.
    /// `both`: there is another one to name. `None` where all were heard: then silence is better.
    pub fn sentence(
        &mut self,
        topic: &Topic,
        both: bool,
        vocabulary: &Vocabulary,
        seed: u64,
        now: i64,
    ) -> Option<String> {
        let words = words(topic, vocabulary);
        for level in nearest_to(topic.excitement) {
            let phrases = vocabulary.phrases(topic.occasion(), level);
            let fresh: Vec<(&Template, String)> = phrases
                .iter()
                .filter(|phrase| both || !phrase.has(Gap::Whom))
                .filter(|phrase| self.lately.iter().all(|(known, _)| *known != phrase.text))
                .map(|phrase| (phrase, phrase.fill(&words)))
                .filter(|(_, text)| {
                    // No phrase of a checked vocabulary is longer with words of its own; what a stream is called is not.
                    text.chars().count() <= LONGEST && self.lately.iter().all(|(_, said)| said != text)
                })
                .collect();
            if fresh.is_empty() {
                continue;
            }
            let (phrase, text) = &fresh[(seed % fresh.len() as u64) as usize];
            self.lately.push_back((phrase.text.clone(), text.clone()));
            if self.lately.len() > LATELY {
                self.lately.pop_front();
            }
            self.times.push_back(now);
            return Some(text.clone());
        }
        None
    }
}

fn words(topic: &Topic, vocabulary: &Vocabulary) -> Words {
    let other = |fighter: &str| match fighter {
        "fighter_1" => "fighter_2",
        "fighter_2" => "fighter_1",
        _ => "",
    };
    let Some(newest) = &topic.newest else {
        let [who, whom] = ["fighter_1", "fighter_2"].map(|fighter| vocabulary.name(fighter).to_owned());
        return Words { who, whom, ..Words::default() };
    };
    let said = vocabulary.said(newest.label.as_deref().unwrap_or_default());
    let listed = &topic.labels[topic.labels.len().saturating_sub(LISTED)..];
    let moves: Vec<String> = listed.iter().map(|label| vocabulary.said(label).name).collect();
    Words {
        who: vocabulary.name(&newest.fighter).into(),
        whom: vocabulary.name(other(&newest.fighter)).into(),
        name: said.name,
        one: said.one,
        limb: vocabulary.limb(&newest.limb),
        moves: moves.join(", "),
        count: topic.count,
    }
}
