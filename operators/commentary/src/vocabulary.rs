//! The vocabulary: names, words for moves and limbs, and phrases; read from a YAML file that a user can replace.

use std::{collections::BTreeMap, path::Path};

use sideline_api::{
    Error, Failure, OrFail, Result,
    config::did_you_mean,
    yaml::{Kind, Yaml},
};

use crate::{
    excitement::Excitement,
    template::{Gap, LONGEST, Template},
};

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
    /// Reads a file, or the built-in vocabulary.
    ///
    /// # Errors
    /// `Config`: every mistake in it, a line each, with its place and the mend.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .or_fail(Failure::Config, || format!("key `vocabulary`: {}", path.display()))?;
                Self::parse(&text, &path.display().to_string())
            }
            None => Self::parse(BUILT_IN, BUILT_IN_PATH),
        }
    }

    /// Reads a text; `path` is its place in errors.
    ///
    /// # Errors
    /// As [`Vocabulary::read`].
    pub fn parse(text: &str, path: &str) -> Result<Self> {
        let tree = Yaml::parse(text).map_err(|broken| {
            Error::config(format!("{path}:{}:{}: error: {}", broken.line, broken.column, broken.message))
        })?;
        let mut reader = Reader { path, found: vec![], vocabulary: Vocabulary::default() };
        reader.file(&tree);
        if reader.found.is_empty() { Ok(reader.vocabulary) } else { Err(Error::config(reader.found.join("\n"))) }
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

/// Reads a file and gathers what is wrong with it.
struct Reader<'a> {
    path: &'a str,
    found: Vec<String>,
    vocabulary: Vocabulary,
}

const KEYS: [&str; 5] = ["names", "someone", "moves", "limbs", "phrases"];
const FIGHTERS: [&str; 2] = ["fighter_1", "fighter_2"];
const OF_A_LABEL: [&str; 3] = ["name", "one", "kind"];

impl Reader<'_> {
    fn error(&mut self, at: &Yaml, text: impl std::fmt::Display) {
        self.found.push(format!("{}:{}:{}: error: {text}", self.path, at.line, at.column));
    }

    /// Key and value of each entry of a map; an error where it is none.
    fn entries<'y>(&mut self, at: &Yaml, value: &'y Yaml, what: &str) -> Vec<(&'y Yaml, &'y str, &'y Yaml)> {
        if !value.is_map() {
            self.error(at, format_args!("{what} is a map: a key and its value a line"));
        }
        value.map().iter().filter_map(|(key, value)| Some((key, key.scalar()?, value))).collect()
    }

    /// A text that is not empty.
    fn text(&mut self, key: &Yaml, value: &Yaml, what: &str) -> Option<String> {
        let text = value.scalar().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        if text.as_ref().is_none_or(String::is_empty) {
            self.error(key, format_args!("{what} is a text, which is not empty"));
            return None;
        }
        text
    }

    fn file(&mut self, tree: &Yaml) {
        let all = self.entries(tree, tree, "a vocabulary");
        for (key, name, value) in all {
            match name {
                "names" => self.names(key, value),
                "someone" => self.vocabulary.someone = self.text(key, value, "`someone`").unwrap_or_default(),
                "moves" => self.moves(key, value),
                "limbs" => self.limbs(key, value),
                "phrases" => {}
                other => self.error(key, format_args!("there is no key `{other}`{}", did_you_mean(other, KEYS))),
            }
        }
        if tree.get("someone").is_none() {
            self.vocabulary.someone = "the fighter".into();
        }
        // Last: how long a sentence can be depends on the words.
        match tree.entry("phrases") {
            Some((key, value)) => self.phrases(key, value),
            None => self.error(tree, "a vocabulary has `phrases:`; see dataflows/vocabulary.yml"),
        }
    }

    fn names(&mut self, key: &Yaml, value: &Yaml) {
        for (key, fighter, value) in self.entries(key, value, "`names`") {
            if !FIGHTERS.contains(&fighter) {
                let near = did_you_mean(fighter, FIGHTERS);
                self.error(key, format_args!("there is no fighter `{fighter}`{near}"));
            } else if let Some(name) = self.text(key, value, "a name") {
                self.vocabulary.names.insert(fighter.into(), name);
            }
        }
    }

    fn moves(&mut self, key: &Yaml, value: &Yaml) {
        for (key, label, value) in self.entries(key, value, "`moves`") {
            let plain = |name: &str| Said { name: name.into(), one: name.into(), kind: STRIKE.into(), told: true };
            let said = match &value.kind {
                Kind::Scalar(text) if text.trim().is_empty() => Some(Said { told: false, ..plain(label) }),
                Kind::Scalar(_) => self.text(key, value, "a word").map(|name| plain(&name)),
                Kind::Map(_) => self.label(key, label, value),
                Kind::List(_) => {
                    self.error(key, "a label is said by a word, or by a map with name, one and kind");
                    None
                }
            };
            if let Some(said) = said {
                self.vocabulary.moves.insert(label.into(), said);
            }
        }
    }

    fn label(&mut self, key: &Yaml, label: &str, value: &Yaml) -> Option<Said> {
        let (mut name, mut one, mut kind) = (None, None, None);
        for (key, word, value) in self.entries(key, value, "a label") {
            match word {
                "name" => name = Some(self.text(key, value, "`name`")?),
                "one" => one = Some(self.text(key, value, "`one`")?),
                "kind" => kind = Some(self.text(key, value, "`kind`")?),
                other => self.error(key, format_args!("there is no key `{other}`{}", did_you_mean(other, OF_A_LABEL))),
            }
        }
        let name = name.unwrap_or_else(|| spaced(label));
        let one = one.unwrap_or_else(|| name.clone());
        Some(Said { name, one, kind: kind.unwrap_or_else(|| STRIKE.into()), told: true })
    }

    fn limbs(&mut self, key: &Yaml, value: &Yaml) {
        for (key, limb, value) in self.entries(key, value, "`limbs`") {
            if let Some(word) = self.text(key, value, "a limb") {
                self.vocabulary.limbs.insert(limb.into(), word);
            }
        }
    }

    fn phrases(&mut self, at: &Yaml, value: &Yaml) {
        let mut kinds: Vec<String> = self.vocabulary.moves.values().map(|said| said.kind.clone()).collect();
        kinds.push(STRIKE.into());
        kinds.sort();
        kinds.dedup();
        let of_kinds =
            kinds.iter().flat_map(|kind| ["", LANDED, SHORT].map(|suffix| (format!("{kind}{suffix}"), OF_A_MOVE)));
        let sections: Vec<(String, &[Gap])> =
            of_kinds.chain(OCCASIONS.map(|(name, gaps)| (name.to_owned(), gaps))).collect();
        for (key, name, value) in self.entries(at, value, "`phrases`") {
            match sections.iter().find(|(known, _)| known == name) {
                Some((_, gaps)) => {
                    let levels = self.levels(key, value, gaps);
                    self.vocabulary.phrases.insert(name.into(), levels);
                }
                None => {
                    let near = did_you_mean(name, sections.iter().map(|(known, _)| known.as_str()));
                    let text = format!("there is no occasion `{name}`, and no move is of that `kind`{near}");
                    self.error(key, text);
                }
            }
        }
        for kind in kinds {
            if value.is_map() && value.get(&kind).is_none() {
                self.error(at, format_args!("there are no phrases for moves of the kind `{kind}`: add `{kind}:`"));
            }
        }
    }

    fn levels(&mut self, at: &Yaml, value: &Yaml, gaps: &[Gap]) -> Levels {
        let mut levels = Levels::new();
        for (key, name, value) in self.entries(at, value, "the phrases of an occasion") {
            let Some(level) = Excitement::ALL.into_iter().find(|level| level.name() == name) else {
                let near = did_you_mean(name, Excitement::ALL.map(Excitement::name));
                self.error(key, format_args!("there is no level `{name}`{near}"));
                continue;
            };
            if value.list().is_empty() {
                self.error(key, "a level is a list of phrases, `- \"{who} attacks.\"`, and has at least one");
            }
            let phrases: Vec<Template> = value.list().iter().filter_map(|phrase| self.phrase(phrase, gaps)).collect();
            levels.insert(level, phrases);
        }
        if value.is_map() && value.map().is_empty() {
            self.error(at, "has no phrases: give at least one level, such as `medium:`");
        }
        levels
    }

    fn phrase(&mut self, phrase: &Yaml, gaps: &[Gap]) -> Option<Template> {
        let Some(text) = phrase.scalar() else {
            self.error(phrase, "a phrase is a text; put it into quotes: a brace in front begins a map");
            return None;
        };
        let template = match Template::parse(text, gaps) {
            Ok(template) => template,
            Err(text) => {
                self.error(phrase, text);
                return None;
            }
        };
        let longest = template.longest(|gap| self.vocabulary.longest(gap));
        if longest > LONGEST {
            let text = format!(
                "`{text}` can become {longest} characters with the longest words, {LONGEST} are allowed: shorten it by {}",
                longest - LONGEST
            );
            self.error(phrase, text);
            return None;
        }
        Some(template)
    }
}
