//! The vocabulary: names, words for moves and limbs, and phrases; read from YAML. A user's file says what it changes of the
//! built-in one: a name, a word, all phrases of an occasion. What it does not say stays.

mod reader;

use std::{collections::BTreeMap, path::Path};

use sideline_api::{Error, Excitement, Failure, OrFail, Result};

use crate::template::{Gap, Template};

/// The vocabulary that is used where no other is named.
const BUILT_IN: &str = include_str!("../../../dataflows/vocabulary.yml");
/// Where it lies in the repository: its place in errors.
const BUILT_IN_PATH: &str = "dataflows/vocabulary.yml";

/// Most moves of a combination that a sentence lists: the last ones.
pub const LISTED: usize = 4;
/// Most characters of the name of a label or limb that the vocabulary does not know: what is longer is cut.
const UNKNOWN: usize = 24;
/// What a move is said to be where the vocabulary does not say.
const STRIKE: &str = "strike";

/// How a label is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// `jab`.
    pub name: String,
    /// `a jab`.
    pub one: String,
    /// Which phrases are about it: `strike`, `hold`, ...
    pub kind: String,
    /// False for what is not worth a word.
    pub told: bool,
}

/// What there is to say something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion<'a> {
    /// One move of this kind; whether it came within reach of the other, where that is known.
    Move(&'a str, Option<Reach>),
    /// A move that the models are not sure of.
    Unsure,
    /// Several named strikes of one fighter.
    Combination,
    /// Many strikes of one fighter.
    Flurry,
    /// Strikes of both.
    Exchange,
    /// Nothing has happened for a while, between two.
    Quiet,
    /// The same, where only one is known to be there.
    Alone,
}

/// Whether a strike came within reach of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A hand or foot covered the other in the picture.
    Landed,
    /// It stayed away.
    Short,
}

/// Occasions that are not about one move of a kind, and the gaps of their phrases.
const OCCASIONS: [(&str, &[Gap]); 6] = [
    ("unsure", &[Gap::Who, Gap::Whom, Gap::Limb]),
    ("combination", &[Gap::Who, Gap::Whom, Gap::Moves, Gap::Count]),
    ("flurry", &[Gap::Who, Gap::Whom, Gap::Count]),
    ("exchange", &[Gap::Who, Gap::Whom, Gap::Count]),
    ("quiet", &[Gap::Who, Gap::Whom]),
    ("quiet_alone", &[]),
];
const OF_A_MOVE: &[Gap] = &[Gap::Who, Gap::Whom, Gap::Move, Gap::AMove, Gap::Limb];
/// What the phrases of a kind are called where the strike landed or fell short: `strike_landed`.
const LANDED: &str = "_landed";
const SHORT: &str = "_short";

/// Phrases of one occasion, by level.
type Levels = BTreeMap<Excitement, Vec<Template>>;

/// Names, words and phrases.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    names: BTreeMap<String, String>,
    someone: String,
    moves: BTreeMap<String, Said>,
    limbs: BTreeMap<String, String>,
    phrases: BTreeMap<String, Levels>,
}

impl Vocabulary {
    /// The built-in vocabulary, with what a file changes of it.
    ///
    /// # Errors
    /// `Config`: every mistake in it, a line each, with its place and the mend.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) => {
                let text = sideline_api::yaml::read_text(path)
                    .or_fail(Failure::Config, || format!("key `vocabulary`: {}", path.display()))?;
                Self::parse(&text, &path.display().to_string())
            }
            None => Self::built_in(),
        }
    }

    /// The built-in vocabulary, with what a text changes of it; `path` is its place in errors.
    ///
    /// # Errors
    /// As [`Vocabulary::read`].
    pub fn parse(text: &str, path: &str) -> Result<Self> {
        Self::built_in()?.changed(text, path)
    }

    fn built_in() -> Result<Self> {
        let empty = Vocabulary { someone: "the fighter".into(), ..Vocabulary::default() };
        empty.changed(BUILT_IN, BUILT_IN_PATH)
    }

    fn changed(self, text: &str, path: &str) -> Result<Self> {
        reader::read(text, path, self).map_err(|found| Error::config(found.join("\n")))
    }

    /// The name of a fighter; for somebody who is not named, a word that says so.
    pub fn name<'a>(&'a self, fighter: &'a str) -> &'a str {
        match self.names.get(fighter) {
            Some(name) => name,
            None => &self.someone,
        }
    }

    /// How a label is said; `None` where the vocabulary does not know it.
    pub fn known(&self, label: &str) -> Option<&Said> {
        self.moves.get(label)
    }

    /// How a label is said: one that the vocabulary does not know by its own name, as a strike.
    pub fn said(&self, label: &str) -> Said {
        self.known(label).cloned().unwrap_or_else(|| {
            let name = spaced(label);
            Said { one: name.clone(), name, kind: STRIKE.into(), told: true }
        })
    }

    /// How a limb is said.
    pub fn limb(&self, limb: &str) -> String {
        self.limbs.get(limb).cloned().unwrap_or_else(|| spaced(limb))
    }

    /// True when a kind is one of strikes: of these combinations are made.
    pub fn is_strike(kind: &str) -> bool {
        kind == STRIKE
    }

    /// The phrases of an occasion at a level.
    pub fn phrases(&self, occasion: Occasion, level: Excitement) -> &[Template] {
        let section = match occasion {
            Occasion::Move(kind, reach) => {
                let suffix = match reach {
                    Some(Reach::Landed) => LANDED,
                    Some(Reach::Short) => SHORT,
                    None => "",
                };
                self.phrases.get(&format!("{kind}{suffix}")).or_else(|| self.phrases.get(kind))
            }
            Occasion::Unsure => self.phrases.get("unsure"),
            Occasion::Combination => self.phrases.get("combination"),
            Occasion::Flurry => self.phrases.get("flurry"),
            Occasion::Exchange => self.phrases.get("exchange"),
            Occasion::Quiet => self.phrases.get("quiet"),
            Occasion::Alone => self.phrases.get("quiet_alone"),
        };
        section.and_then(|levels| levels.get(&level)).map_or(&[], Vec::as_slice)
    }

    /// Characters that a gap can have at most.
    fn longest(&self, gap: Gap) -> usize {
        fn most<'a>(words: impl Iterator<Item = &'a String>, least: usize) -> usize {
            words.map(|word| word.chars().count()).fold(least, usize::max)
        }
        let name = most(self.moves.values().map(|said| &said.name), UNKNOWN);
        match gap {
            Gap::Who | Gap::Whom => most(self.names.values(), self.someone.chars().count()),
            Gap::Move => name,
            Gap::AMove => most(self.moves.values().map(|said| &said.one), UNKNOWN),
            Gap::Limb => most(self.limbs.values(), UNKNOWN),
            Gap::Moves => LISTED * (name + 2) - 2,
            Gap::Count => 3,
        }
    }
}

/// A name as it is written in tables, as words.
fn spaced(name: &str) -> String {
    name.replace('_', " ").chars().take(UNKNOWN).collect()
}
