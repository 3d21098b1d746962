//! Phrase templates with placeholders, such as `{who} throws {a_move}`.

use std::fmt::Write as _;

use sideline_api::config::did_you_mean;

/// Maximum length of a sentence, in characters.
pub const MAX_SENTENCE_CHARS: usize = 200;

/// Placeholder in a phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// Name of the fighter who acts.
    Who,
    /// Name of the other fighter.
    Whom,
    /// Name of the move, such as `jab`.
    Move,
    /// Name of the move with its article, such as `a jab`.
    AMove,
    /// Limb that moved, such as `left hand`.
    Limb,
    /// Moves of a combination, such as `jab, cross, hook`.
    Moves,
    /// Number of strikes.
    Count,
}

impl Placeholder {
    /// All placeholders, with their names in a phrase.
    pub const ALL: [(&'static str, Placeholder); 7] = [
        ("who", Placeholder::Who),
        ("whom", Placeholder::Whom),
        ("move", Placeholder::Move),
        ("a_move", Placeholder::AMove),
        ("limb", Placeholder::Limb),
        ("moves", Placeholder::Moves),
        ("count", Placeholder::Count),
    ];
}

/// Values of the placeholders.
#[derive(Clone, Debug, Default)]
pub struct Substitutions {
    /// Value of [`Placeholder::Who`].
    pub who: String,
    /// Value of [`Placeholder::Whom`].
    pub whom: String,
    /// Value of [`Placeholder::Move`].
    pub move_name: String,
    /// Value of [`Placeholder::AMove`].
    pub move_with_article: String,
    /// Value of [`Placeholder::Limb`].
    pub limb: String,
    /// Value of [`Placeholder::Moves`].
    pub moves: String,
    /// Value of [`Placeholder::Count`].
    pub count: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Placeholder(Placeholder),
}

/// Parsed phrase.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Text of the phrase, by which phrases are compared.
    pub text: String,
    parts: Vec<Part>,
}

impl Template {
    /// Parses a phrase that may use the `allowed` placeholders.
    ///
    /// # Errors
    /// A message with the mistake and the fix.
    pub fn parse(text: &str, allowed: &[Placeholder]) -> Result<Self, String> {
        // A phrase may be folded over several lines of YAML; it is spoken and shown as one line.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() {
            return Err("this phrase is empty: write a sentence, or remove the line".into());
        }
        let mut parts = vec![];
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            if rest[at..].starts_with('}') {
                return Err(format!("`{text}` closes a brace that is not open: write placeholders as `{{who}}`"));
            }
            parts.push(Part::Text(rest[..at].into()));
            let Some(end) = rest[at..].find('}').map(|end| at + end) else {
                return Err(format!("`{text}` opens a brace and does not close it: write placeholders as `{{who}}`"));
            };
            let name = rest[at + 1..end].trim();
            let Some((_, placeholder)) = Placeholder::ALL.iter().find(|(known, _)| *known == name) else {
                let near = did_you_mean(name, Placeholder::ALL.iter().map(|(known, _)| *known));
                return Err(format!("`{text}`: there is no placeholder `{{{name}}}`{near}"));
            };
            if !allowed.contains(placeholder) {
                let here = Placeholder::ALL.iter().filter(|(_, other)| allowed.contains(other)).map(|(name, _)| *name);
                let here: Vec<&str> = here.collect();
                let here = if here.is_empty() { "none".into() } else { here.join(", ") };
                return Err(format!("`{text}`: `{{{name}}}` is not available here; available are {here}"));
            }
            parts.push(Part::Placeholder(*placeholder));
            rest = &rest[end + 1..];
        }
        parts.push(Part::Text(rest.into()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { text, parts })
    }

    /// True if the phrase contains a placeholder.
    pub fn contains(&self, placeholder: Placeholder) -> bool {
        self.parts.contains(&Part::Placeholder(placeholder))
    }

    /// Returns the length of the longest sentence, in characters, where `max_chars` returns the maximum length of a
    /// placeholder's value.
    pub fn max_chars(&self, max_chars: impl Fn(Placeholder) -> usize) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.chars().count(),
                Part::Placeholder(placeholder) => max_chars(*placeholder),
            })
            .sum()
    }

    /// Replaces the placeholders, and capitalizes the first letter of each sentence.
    pub fn fill(&self, words: &Substitutions) -> String {
        let mut sentence = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => sentence.push_str(text),
                Part::Placeholder(Placeholder::Who) => sentence.push_str(&words.who),
                Part::Placeholder(Placeholder::Whom) => sentence.push_str(&words.whom),
                Part::Placeholder(Placeholder::Move) => sentence.push_str(&words.move_name),
                Part::Placeholder(Placeholder::AMove) => sentence.push_str(&words.move_with_article),
                Part::Placeholder(Placeholder::Limb) => sentence.push_str(&words.limb),
                Part::Placeholder(Placeholder::Moves) => sentence.push_str(&words.moves),
                // Writing into a String cannot fail.
                Part::Placeholder(Placeholder::Count) => _ = write!(sentence, "{}", words.count),
            }
        }
        capitalize_sentences(&sentence)
    }
}

/// Capitalizes the first letter of each sentence.
fn capitalize_sentences(text: &str) -> String {
    let (mut starts, mut has_ended) = (true, false);
    let mut capitalized = String::with_capacity(text.len());
    for letter in text.chars() {
        starts |= has_ended && letter == ' ';
        if starts && letter.is_alphabetic() {
            // Only if the capital is a single character as well: `ß` would make the sentence longer.
            let capital = letter.to_uppercase();
            if capital.len() == 1 { capitalized.extend(capital) } else { capitalized.push(letter) }
        } else {
            capitalized.push(letter);
        }
        starts &= letter == ' ';
        has_ended = matches!(letter, '.' | '!' | '?');
    }
    capitalized
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, String> {
        Template::parse(text, &[Placeholder::Who, Placeholder::Count])
    }

    #[test]
    fn placeholders_are_replaced_and_sentences_are_capitalized() {
        let words = Substitutions { who: "red".into(), count: 3, ..Substitutions::default() };
        let template = parse("{who} lands {count},\n  { count }!").unwrap();
        assert_eq!(template.fill(&words), "Red lands 3, 3!");
        let max_chars = |placeholder| if placeholder == Placeholder::Who { 10 } else { 2 };
        assert_eq!(template.max_chars(max_chars), 10 + 7 + 2 + 2 + 2 + 1);
        assert_eq!(parse("{count} in a row! {who}... {who}").unwrap().fill(&words), "3 in a row! Red... Red");
    }

    #[test]
    fn errors_in_a_phrase_name_the_fix() {
        for (text, expected) in [
            ("{who lands", "does not close it"),
            ("who} lands", "closes a brace that is not open"),
            ("{coun} lands", "did you mean `count`?"),
            ("{moves}", "is not available here; available are who, count"),
            ("  ", "is empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
