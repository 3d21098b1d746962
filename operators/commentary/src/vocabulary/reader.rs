//! Reader of vocabulary files, which collects all mistakes with their places.

use sideline_api::{
    config::did_you_mean,
    yaml::{Kind, Yaml},
};
use sideline_sport::{Excitement, tables::Fighter};

use super::{
    LANDED_SUFFIX, Levels, MOVE_PLACEHOLDERS, MoveWords, OCCASIONS, SHORT_SUFFIX, STRIKE, Vocabulary, readable,
};
use crate::template::{MAX_SENTENCE_CHARS, Placeholder, Template};

/// Applies the overrides in `text` to a vocabulary.
///
/// # Errors
/// All mistakes, as `PATH:LINE:COLUMN: error: what is wrong, and the fix`.
pub(super) fn read(text: &str, path: &str, vocabulary: Vocabulary) -> Result<Vocabulary, Vec<String>> {
    let tree = Yaml::parse(text)
        .map_err(|broken| vec![format!("{path}:{}:{}: error: {}", broken.line, broken.column, broken.message)])?;
    let mut reader = Reader { path, errors: vec![], vocabulary };
    reader.read_file(&tree);
    if reader.errors.is_empty() { Ok(reader.vocabulary) } else { Err(reader.errors) }
}

/// Reader of one file.
struct Reader<'a> {
    path: &'a str,
    errors: Vec<String>,
    vocabulary: Vocabulary,
}

const KEYS: [&str; 5] = ["names", "someone", "moves", "limbs", "phrases"];
const LABEL_KEYS: [&str; 3] = ["name", "one", "kind"];

impl Reader<'_> {
    fn error(&mut self, at: &Yaml, text: impl std::fmt::Display) {
        self.errors.push(format!("{}:{}:{}: error: {text}", self.path, at.line, at.column));
    }

    /// Returns key and value of each entry of a map; reports an error if `value` is none.
    fn entries<'y>(&mut self, at: &Yaml, value: &'y Yaml, what: &str) -> Vec<(&'y Yaml, &'y str, &'y Yaml)> {
        if !value.is_map() {
            self.error(at, format_args!("{what} must be a map, with a key and its value per line"));
        }
        value.map().iter().filter_map(|(key, value)| Some((key, key.scalar()?, value))).collect()
    }

    /// Reads a text; reports an error if it is empty.
    fn text(&mut self, key: &Yaml, value: &Yaml, what: &str) -> Option<String> {
        let text = value.scalar().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        if text.as_ref().is_none_or(String::is_empty) {
            self.error(key, format_args!("{what} must be a text that is not empty"));
            return None;
        }
        text
    }

    fn read_file(&mut self, tree: &Yaml) {
        let entries = self.entries(tree, tree, "a vocabulary");
        for (key, name, value) in entries {
            match name {
                "names" => self.read_names(key, value),
                "someone" => self.vocabulary.someone = self.text(key, value, "`someone`").unwrap_or_default(),
                "moves" => self.read_moves(key, value),
                "limbs" => self.read_limbs(key, value),
                "phrases" => {}
                other => self.error(key, format_args!("there is no key `{other}`{}", did_you_mean(other, KEYS))),
            }
        }
        // Phrases come last: the maximum length of a sentence depends on the words.
        if let Some((key, value)) = tree.entry("phrases") {
            self.read_phrases(key, value);
        }
        if self.errors.is_empty() {
            self.check_merged(tree);
        }
    }

    /// Checks the overrides together with the parts of the vocabulary that they leave as they are.
    fn check_merged(&mut self, tree: &Yaml) {
        for kind in self.kinds() {
            if !self.vocabulary.phrases.contains_key(&kind) {
                let at = tree.entry("moves").map_or(tree, |(key, _)| key);
                self.error(
                    at,
                    format_args!("there are no phrases for moves of the kind `{kind}`: add `{kind}:` to `phrases`"),
                );
            }
        }
        let phrases = self.vocabulary.phrases.values().flat_map(|levels| levels.values().flatten());
        let longest = phrases.map(|phrase| (self.max_chars(phrase), &phrase.text)).max();
        if let Some((longest, text)) = longest.filter(|(longest, _)| *longest > MAX_SENTENCE_CHARS) {
            let text = format!(
                "with these words `{text}` can become {longest} characters, {MAX_SENTENCE_CHARS} are allowed: \
                 shorten the longest names and words"
            );
            self.error(tree, text);
        }
    }

    fn max_chars(&self, phrase: &Template) -> usize {
        phrase.max_chars(|placeholder| self.vocabulary.max_chars(placeholder))
    }

    /// Returns the kinds of moves.
    fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.vocabulary.moves.values().map(|words| words.kind.clone()).collect();
        kinds.push(STRIKE.into());
        kinds.sort();
        kinds.dedup();
        kinds
    }

    fn read_names(&mut self, key: &Yaml, value: &Yaml) {
        for (key, fighter, value) in self.entries(key, value, "`names`") {
            let Some(known) = Fighter::FIGHTERS.into_iter().find(|known| known.as_str() == fighter) else {
                let near = did_you_mean(fighter, Fighter::FIGHTERS.map(Fighter::as_str));
                self.error(key, format_args!("there is no fighter `{fighter}`{near}"));
                continue;
            };
            if let Some(name) = self.text(key, value, "a name") {
                self.vocabulary.names.insert(known, name);
            }
        }
    }

    fn read_moves(&mut self, key: &Yaml, value: &Yaml) {
        for (key, label, value) in self.entries(key, value, "`moves`") {
            let strike = |name: &str| MoveWords {
                name: name.into(),
                with_article: name.into(),
                kind: STRIKE.into(),
                is_reported: true,
            };
            let words = match &value.kind {
                Kind::Scalar(text) if text.trim().is_empty() => Some(MoveWords { is_reported: false, ..strike(label) }),
                Kind::Scalar(_) => self.text(key, value, "a word").map(|name| strike(&name)),
                Kind::Map(_) => self.read_words(key, label, value),
                Kind::List(_) => {
                    self.error(key, "the words for a label must be a text, or a map with name, one and kind");
                    None
                }
            };
            if let Some(words) = words {
                self.vocabulary.moves.insert(label.into(), words);
            }
        }
    }

    fn read_words(&mut self, key: &Yaml, label: &str, value: &Yaml) -> Option<MoveWords> {
        let (mut name, mut with_article, mut kind) = (None, None, None);
        for (key, word, value) in self.entries(key, value, "a label") {
            match word {
                "name" => name = Some(self.text(key, value, "`name`")?),
                "one" => with_article = Some(self.text(key, value, "`one`")?),
                "kind" => kind = Some(self.text(key, value, "`kind`")?),
                other => self.error(key, format_args!("there is no key `{other}`{}", did_you_mean(other, LABEL_KEYS))),
            }
        }
        let name = name.unwrap_or_else(|| readable(label));
        let with_article = with_article.unwrap_or_else(|| name.clone());
        Some(MoveWords { name, with_article, kind: kind.unwrap_or_else(|| STRIKE.into()), is_reported: true })
    }

    fn read_limbs(&mut self, key: &Yaml, value: &Yaml) {
        for (key, limb, value) in self.entries(key, value, "`limbs`") {
            if let Some(word) = self.text(key, value, "a limb") {
                self.vocabulary.limbs.insert(limb.into(), word);
            }
        }
    }

    fn read_phrases(&mut self, at: &Yaml, value: &Yaml) {
        let kinds = self.kinds();
        let of_kinds = kinds.iter().flat_map(|kind| {
            ["", LANDED_SUFFIX, SHORT_SUFFIX].map(|suffix| (format!("{kind}{suffix}"), MOVE_PLACEHOLDERS))
        });
        let sections: Vec<(String, &[Placeholder])> =
            of_kinds.chain(OCCASIONS.map(|(name, placeholders)| (name.to_owned(), placeholders))).collect();
        let entries = self.entries(at, value, "`phrases`");
        // Overriding the phrases of a kind removes the built-in ones for strikes that landed or fell short, so that the
        // styles are not mixed.
        for kind in entries.iter().map(|(_, name, _)| name).filter(|name| kinds.iter().any(|kind| kind == *name)) {
            for suffix in [LANDED_SUFFIX, SHORT_SUFFIX] {
                self.vocabulary.phrases.remove(&format!("{kind}{suffix}"));
            }
        }
        for (key, name, value) in entries {
            match sections.iter().find(|(known, _)| known == name) {
                Some((_, placeholders)) => {
                    let levels = self.read_levels(key, value, placeholders);
                    self.vocabulary.phrases.insert(name.into(), levels);
                }
                None => {
                    let near = did_you_mean(name, sections.iter().map(|(known, _)| known.as_str()));
                    let text = format!("there is no occasion `{name}`, and no move has that `kind`{near}");
                    self.error(key, text);
                }
            }
        }
    }

    fn read_levels(&mut self, at: &Yaml, value: &Yaml, placeholders: &[Placeholder]) -> Levels {
        let mut levels = Levels::new();
        for (key, name, value) in self.entries(at, value, "the phrases of an occasion") {
            let Ok(level) = name.parse::<Excitement>() else {
                let near = did_you_mean(name, Excitement::ALL.map(Excitement::as_str));
                self.error(key, format_args!("there is no level `{name}`{near}"));
                continue;
            };
            if value.list().is_empty() {
                self.error(key, "a level must be a list of phrases, such as `- \"{who} attacks.\"`, with at least one");
            }
            let phrases = value.list().iter().filter_map(|phrase| self.read_phrase(phrase, placeholders)).collect();
            levels.insert(level, phrases);
        }
        if value.is_map() && value.map().is_empty() {
            self.error(at, "this occasion has no phrases: give at least one level, such as `medium:`");
        }
        levels
    }

    fn read_phrase(&mut self, phrase: &Yaml, placeholders: &[Placeholder]) -> Option<Template> {
        let Some(text) = phrase.scalar() else {
            self.error(phrase, "a phrase must be a text; put it in quotes, because a leading brace starts a map");
            return None;
        };
        let template = match Template::parse(text, placeholders) {
            Ok(template) => template,
            Err(text) => {
                self.error(phrase, text);
                return None;
            }
        };
        let longest = self.max_chars(&template);
        if longest > MAX_SENTENCE_CHARS {
            let text = format!(
                "`{text}` can become {longest} characters with the longest words, {MAX_SENTENCE_CHARS} are allowed: \
                 shorten it by {}",
                longest - MAX_SENTENCE_CHARS
            );
            self.error(phrase, text);
            return None;
        }
        Some(template)
    }
}
