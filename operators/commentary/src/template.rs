//! A phrase with gaps: `{who} throws {a_move}`.

use std::fmt::Write as _;

use sideline_api::config::did_you_mean;

/// Most characters of a sentence.
pub const LONGEST: usize = 200;

/// What can stand in a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Name of who acts.
    Who,
    /// Name of the other one.
    Whom,
    /// The move: `jab`.
    Move,
    /// The move with its article: `a jab`.
    AMove,
    /// What moved: `left hand`.
    Limb,
    /// The moves of a combination: `jab, cross, hook`.
    Moves,
    /// How many strikes.
    Count,
}

impl Gap {
    /// All of them, with the names that they are written by.
    pub const ALL: [(&'static str, Gap); 7] = [
        ("who", Gap::Who),
        ("whom", Gap::Whom),
        ("move", Gap::Move),
        ("a_move", Gap::AMove),
        ("limb", Gap::Limb),
        ("moves", Gap::Moves),
        ("count", Gap::Count),
    ];
}

/// What fills the gaps.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// See [`Gap::Who`].
    pub who: String,
    /// See [`Gap::Whom`].
    pub whom: String,
    /// See [`Gap::Move`].
    pub name: String,
    /// See [`Gap::AMove`].
    pub one: String,
    /// See [`Gap::Limb`].
    pub limb: String,
    /// See [`Gap::Moves`].
    pub moves: String,
    /// See [`Gap::Count`].
    pub count: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Gap(Gap),
}

/// A phrase, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// As it was written: what tells phrases apart.
    pub text: String,
    parts: Vec<Part>,
}

impl Template {
    /// Reads a phrase that may use these gaps.
    ///
    /// # Errors
    /// What is wrong with it, and the mend.
    pub fn parse(text: &str, allowed: &[Gap]) -> Result<Self, String> {
        // A phrase may be folded over lines; it is spoken and shown as one.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() {
            return Err("this phrase is empty: write a sentence, or take the line away".into());
        }
        let mut parts = vec![];
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            if rest[at..].starts_with('}') {
                return Err(format!("`{text}` closes a brace that is not open: write gaps as `{{who}}`"));
            }
            parts.push(Part::Text(rest[..at].into()));
            let Some(end) = rest[at..].find('}').map(|end| at + end) else {
                return Err(format!("`{text}` opens a brace and does not close it: write gaps as `{{who}}`"));
            };
            let name = rest[at + 1..end].trim();
            let Some((_, gap)) = Gap::ALL.iter().find(|(known, _)| *known == name) else {
                let near = did_you_mean(name, Gap::ALL.iter().map(|(known, _)| *known));
                return Err(format!("`{text}`: there is no gap `{{{name}}}`{near}"));
            };
            if !allowed.contains(gap) {
                let here = Gap::ALL.iter().filter(|(_, gap)| allowed.contains(gap)).map(|(name, _)| *name);
                let here: Vec<&str> = here.collect();
                let here = if here.is_empty() { "no gaps".into() } else { here.join(", ") };
                return Err(format!("`{text}`: `{{{name}}}` is not known here; there are {here}"));
            }
            parts.push(Part::Gap(*gap));
            rest = &rest[end + 1..];
        }
        parts.push(Part::Text(rest.into()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { text, parts })
    }

    /// True when it has this gap.
    pub fn has(&self, gap: Gap) -> bool {
        self.parts.contains(&Part::Gap(gap))
    }

    /// Characters of the longest sentence it can make, where `longest` says how long each gap can be.
    pub fn longest(&self, longest: impl Fn(Gap) -> usize) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.chars().count(),
                Part::Gap(gap) => longest(*gap),
            })
            .sum()
    }

    /// The text, each sentence of it beginning with a capital letter.
    pub fn fill(&self, words: &Words) -> String {
        let mut sentence = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => sentence.push_str(text),
                Part::Gap(Gap::Who) => sentence.push_str(&words.who),
                Part::Gap(Gap::Whom) => sentence.push_str(&words.whom),
                Part::Gap(Gap::Move) => sentence.push_str(&words.name),
                Part::Gap(Gap::AMove) => sentence.push_str(&words.one),
                Part::Gap(Gap::Limb) => sentence.push_str(&words.limb),
                Part::Gap(Gap::Moves) => sentence.push_str(&words.moves),
                // Writing into a String cannot fail.
                Part::Gap(Gap::Count) => _ = write!(sentence, "{}", words.count),
            }
        }
        capitals(&sentence)
    }
}

/// The text with a capital at the beginning of each sentence.
fn capitals(text: &str) -> String {
    let (mut begins, mut ended) = (true, false);
    let mut capitals = String::with_capacity(text.len());
    for letter in text.chars() {
        begins |= ended && letter == ' ';
        if begins && letter.is_alphabetic() {
            // Only where the capital is one character too: `ß` would make the sentence longer.
            let capital = letter.to_uppercase();
            if capital.len() == 1 { capitals.extend(capital) } else { capitals.push(letter) }
        } else {
            capitals.push(letter);
        }
        begins &= letter == ' ';
        ended = matches!(letter, '.' | '!' | '?');
    }
    capitals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, String> {
        Template::parse(text, &[Gap::Who, Gap::Count])
    }

    #[test]
    fn gaps_are_filled_and_the_sentence_begins_with_a_capital() {
        let words = Words { who: "red".into(), count: 3, ..Words::default() };
        let template = parse("{who} lands {count},\n  { count }!").unwrap();
        assert_eq!(template.fill(&words), "Red lands 3, 3!");
        assert_eq!(template.longest(|gap| if gap == Gap::Who { 10 } else { 2 }), 10 + 7 + 2 + 2 + 2 + 1);
        assert_eq!(parse("{count} in a row! {who}... {who}").unwrap().fill(&words), "3 in a row! Red... Red");
    }

    #[test]
    fn what_is_wrong_with_a_phrase_is_told_with_the_mend() {
        for (text, told) in [
            ("{who lands", "does not close it"),
            ("who} lands", "closes a brace that is not open"),
            ("{coun} lands", "did you mean `count`?"),
            ("{moves}", "is not known here; there are who, count"),
            ("  ", "is empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
