//! Reads a vocabulary file, and gathers all that is wrong with it, each with its place.

use sideline_api::{
    Excitement,
    config::did_you_mean,
    yaml::{Kind, Yaml},
};

use super::{LANDED, Levels, OCCASIONS, OF_A_MOVE, SHORT, STRIKE, Said, Vocabulary, spaced};
use crate::template::{Gap, LONGEST, Template};

/// What a text makes of a vocabulary.
///
/// # Errors
/// Every mistake, as `PATH:LINE:COLUMN: error: what, and the mend`.
pub(super) fn read(text: &str, path: &str, vocabulary: Vocabulary) -> Result<Vocabulary, Vec<String>> {
    let tree = Yaml::parse(text)
        .map_err(|broken| vec![format!("{path}:{}:{}: error: {}", broken.line, broken.column, broken.message)])?;
    let mut reader = Reader { path, found: vec![], vocabulary };
    reader.file(&tree);
    if reader.found.is_empty() { Ok(reader.vocabulary) } else { Err(reader.found) }
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
        // Last: how long a sentence can be depends on the words.
        if let Some((key, value)) = tree.entry("phrases") {
            self.phrases(key, value);
        }
        if self.found.is_empty() {
            self.whole(tree);
        }
    }

    /// What the file says and what it left as it was go together.
    fn whole(&mut self, tree: &Yaml) {
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
        let longest = phrases.map(|phrase| (self.length(phrase), &phrase.text)).max();
        if let Some((longest, text)) = longest.filter(|(longest, _)| *longest > LONGEST) {
            let text = format!(
                "with these words `{text}` can become {longest} characters, {LONGEST} are allowed: shorten the longest names \
                 and words"
            );
            self.error(tree, text);
        }
    }

    fn length(&self, phrase: &Template) -> usize {
        phrase.longest(|gap| self.vocabulary.longest(gap))
    }

    /// The kinds of moves.
    fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.vocabulary.moves.values().map(|said| said.kind.clone()).collect();
        kinds.push(STRIKE.into());
        kinds.sort();
        kinds.dedup();
        kinds
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
        let kinds = self.kinds();
        let of_kinds =
            kinds.iter().flat_map(|kind| ["", LANDED, SHORT].map(|suffix| (format!("{kind}{suffix}"), OF_A_MOVE)));
        let sections: Vec<(String, &[Gap])> =
            of_kinds.chain(OCCASIONS.map(|(name, gaps)| (name.to_owned(), gaps))).collect();
        let entries = self.entries(at, value, "`phrases`");
        // Who writes phrases for strikes means all of them: those for strikes that land are not left in other words.
        for kind in entries.iter().map(|(_, name, _)| name).filter(|name| kinds.iter().any(|kind| kind == *name)) {
            for suffix in [LANDED, SHORT] {
                self.vocabulary.phrases.remove(&format!("{kind}{suffix}"));
            }
        }
        for (key, name, value) in entries {
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
        let longest = self.length(&template);
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
