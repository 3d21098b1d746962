//! Vocabulary: names, words for moves and limbs, and phrases, read from YAML. A user's file overrides parts of the
//! built-in one: a name, a word, or all phrases of an occasion.

mod reader;

use std::{collections::BTreeMap, path::Path};

use sideline_api::{Error, Failure, OrFail, Result};
use sideline_sport::{Excitement, tables::Fighter};

use crate::template::{Placeholder, Template};

/// Built-in vocabulary, used if no other is configured.
const BUILT_IN: &str = include_str!("../vocabulary.yml");
/// Path of the built-in vocabulary in the repository, for errors.
const BUILT_IN_PATH: &str = "operators/commentary/vocabulary.yml";

/// Maximum number of moves of a combination that a sentence lists; the last ones are listed.
pub const MAX_LISTED_MOVES: usize = 4;
/// Maximum length of a label or limb without a word, in characters; longer ones are cut.
const MAX_UNKNOWN_CHARS: usize = 24;
/// Kind of a move without a `kind` in the vocabulary.
const STRIKE: &str = "strike";

/// Words for a label.
#[derive(Clone, Debug, PartialEq)]
pub struct MoveWords {
    /// Name, such as `jab`.
    pub name: String,
    /// Name with its article, such as `a jab`.
    pub with_article: String,
    /// Kind, which selects the phrases: `strike`, `hold`, ...
    pub kind: String,
    /// False for a label that is never reported.
    pub is_reported: bool,
}

/// Occasion for a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion<'a> {
    /// One move of this kind, and its reach if known.
    Move(&'a str, Option<Reach>),
    /// One `unsure` move.
    Unsure,
    /// Several named strikes of one fighter.
    Combination,
    /// Many strikes of one fighter.
    Flurry,
    /// Strikes of both fighters.
    Exchange,
    /// No move for a while, with both fighters present.
    Quiet,
    /// No move for a while, with a single person present.
    QuietAlone,
}

/// Reach of a strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A hand or foot covered the other fighter in the picture.
    Landed,
    /// The strike stayed away from the other fighter.
    Short,
}

/// Occasions other than one move of a kind, and the placeholders of their phrases.
const OCCASIONS: [(&str, &[Placeholder]); 6] = [
    ("unsure", &[Placeholder::Who, Placeholder::Whom, Placeholder::Limb]),
    ("combination", &[Placeholder::Who, Placeholder::Whom, Placeholder::Moves, Placeholder::Count]),
    ("flurry", &[Placeholder::Who, Placeholder::Whom, Placeholder::Count]),
    ("exchange", &[Placeholder::Who, Placeholder::Whom, Placeholder::Count]),
    ("quiet", &[Placeholder::Who, Placeholder::Whom]),
    ("quiet_alone", &[]),
];
const MOVE_PLACEHOLDERS: &[Placeholder] =
    &[Placeholder::Who, Placeholder::Whom, Placeholder::Move, Placeholder::AMove, Placeholder::Limb];
/// Suffixes of a kind for its phrases about strikes that landed or fell short, such as `strike_landed`.
const LANDED_SUFFIX: &str = "_landed";
const SHORT_SUFFIX: &str = "_short";

/// Phrases of one occasion, by level of excitement.
type Levels = BTreeMap<Excitement, Vec<Template>>;

/// Names, words and phrases.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    names: BTreeMap<Fighter, String>,
    someone: String,
    moves: BTreeMap<String, MoveWords>,
    limbs: BTreeMap<String, String>,
    phrases: BTreeMap<String, Levels>,
}

impl Vocabulary {
    /// Reads the built-in vocabulary, with the overrides of a file.
    ///
    /// # Errors
    /// `Config`, with a line per mistake that gives its place and the fix.
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

    /// Parses overrides of the built-in vocabulary; `path` is the place in errors.
    ///
    /// # Errors
    /// The errors of [`Vocabulary::read`].
    pub fn parse(text: &str, path: &str) -> Result<Self> {
        Self::built_in()?.with_overrides(text, path)
    }

    fn built_in() -> Result<Self> {
        let empty = Vocabulary { someone: "the fighter".into(), ..Vocabulary::default() };
        empty.with_overrides(BUILT_IN, BUILT_IN_PATH)
    }

    fn with_overrides(self, text: &str, path: &str) -> Result<Self> {
        reader::read(text, path, self).map_err(|errors| Error::config(errors.join("\n")))
    }

    /// Returns the name of a fighter; a general word for people without one.
    pub fn fighter_name(&self, fighter: Fighter) -> &str {
        match self.names.get(&fighter) {
            Some(name) => name,
            None => &self.someone,
        }
    }

    /// Returns the words for a label; `None` if the vocabulary has none.
    pub fn move_words(&self, label: &str) -> Option<&MoveWords> {
        self.moves.get(label)
    }

    /// Returns the words for a label; a label without words is a strike, called by the label itself.
    pub fn move_words_or_label(&self, label: &str) -> MoveWords {
        self.move_words(label).cloned().unwrap_or_else(|| {
            let name = readable(label);
            MoveWords { with_article: name.clone(), name, kind: STRIKE.into(), is_reported: true }
        })
    }

    /// Returns the words for a limb; the name of the limb if the vocabulary has none.
    pub fn limb_name(&self, limb: &str) -> String {
        self.limbs.get(limb).cloned().unwrap_or_else(|| readable(limb))
    }

    /// True for the kind of which combinations are made.
    pub fn is_strike(kind: &str) -> bool {
        kind == STRIKE
    }

    /// Returns the phrases of an occasion at a level.
    pub fn phrases(&self, occasion: Occasion, level: Excitement) -> &[Template] {
        let section = match occasion {
            Occasion::Move(kind, reach) => {
                let suffix = match reach {
                    Some(Reach::Landed) => LANDED_SUFFIX,
                    Some(Reach::Short) => SHORT_SUFFIX,
                    None => "",
                };
                self.phrases.get(&format!("{kind}{suffix}")).or_else(|| self.phrases.get(kind))
            }
            Occasion::Unsure => self.phrases.get("unsure"),
            Occasion::Combination => self.phrases.get("combination"),
            Occasion::Flurry => self.phrases.get("flurry"),
            Occasion::Exchange => self.phrases.get("exchange"),
            Occasion::Quiet => self.phrases.get("quiet"),
            Occasion::QuietAlone => self.phrases.get("quiet_alone"),
        };
        section.and_then(|levels| levels.get(&level)).map_or(&[], Vec::as_slice)
    }

    /// Returns the maximum number of characters that replace a placeholder.
    fn max_chars(&self, placeholder: Placeholder) -> usize {
        fn max_len<'a>(words: impl Iterator<Item = &'a String>, min: usize) -> usize {
            words.map(|word| word.chars().count()).fold(min, usize::max)
        }
        let name = max_len(self.moves.values().map(|words| &words.name), MAX_UNKNOWN_CHARS);
        match placeholder {
            Placeholder::Who | Placeholder::Whom => max_len(self.names.values(), self.someone.chars().count()),
            Placeholder::Move => name,
            Placeholder::AMove => max_len(self.moves.values().map(|words| &words.with_article), MAX_UNKNOWN_CHARS),
            Placeholder::Limb => max_len(self.limbs.values(), MAX_UNKNOWN_CHARS),
            Placeholder::Moves => MAX_LISTED_MOVES * (name + 2) - 2,
            Placeholder::Count => 3,
        }
    }
}

/// Converts a name of the tables into readable words, cut to [`MAX_UNKNOWN_CHARS`].
fn readable(name: &str) -> String {
    name.replace('_', " ").chars().take(MAX_UNKNOWN_CHARS).collect()
}
