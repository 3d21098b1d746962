//! Reads one key's value, from whatever it was written as, and checks what was read.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Key, Kind, Origin, Problem, Values, nearest};
use crate::yaml;

/// Most characters of a value that an error repeats, and of what a type says of it.
const MAX_SHOWN: usize = 80;
const MAX_TOLD: usize = 300;

/// Reads one field. For the code that `#[derive(Config)]` writes.
#[doc(hidden)]
pub fn read_field<T: DeserializeOwned + Serialize>(
    values: &Values,
    key: &Key,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let (value, origin) = match (values.get(key.name), &key.default) {
        (Some((value, origin)), _) => (value, origin.clone()),
        (None, Some(default)) => (default, Origin::Default),
        (None, None) => {
            problems.push(Problem {
                key: key.name.into(),
                origin: Origin::Default,
                message: format!("must be given ({}): {}", key.kind, key.about),
            });
            return None;
        }
    };
    match read::<T>(value, key) {
        Ok(read) => Some(read),
        Err(message) => {
            problems.push(Problem { key: key.name.into(), origin, message });
            None
        }
    }
}

/// Reads a value of a key; the error says the mistake and the mend.
fn read<T: DeserializeOwned + Serialize>(value: &Value, key: &Key) -> Result<T, String> {
    let value = typed(value.clone(), &key.kind);
    if let Some(mistake) = out_of_range(&value, key).or_else(|| misfit(&value, &key.kind)) {
        return Err(mistake);
    }
    let read = match serde_json::from_value::<T>(value.clone()) {
        Ok(read) => read,
        Err(cause) => from_text(&value, key).ok_or_else(|| {
            let text = cause.to_string();
            no_choice(&text)
                .unwrap_or_else(|| format!("`{}`: {}", shown(&value), cut(yaml::plain_words(&text), MAX_TOLD)))
        })?,
    };
    // Quotes, lists and types of one's own go around what is known of a value before it is read: these checks do not.
    if !is_finite(&read) {
        return Err(format!("`{}` is not a finite number", shown(&value)));
    }
    match out_of_range(&to_json(&read), key) {
        Some(mistake) => Err(mistake),
        None => Ok(read),
    }
}

/// The value that a text holds, for a type that says only while it reads what it wants.
fn from_text<T: DeserializeOwned>(value: &Value, key: &Key) -> Option<T> {
    let text = value.as_str().filter(|_| matches!(key.kind.given(), Kind::Any | Kind::Map))?;
    serde_json::from_value(yaml::json(text).ok()?).ok()
}

/// A value as the kind wants it. An `env:` and a command line hold numbers and lists as text (`POINTS: "[1, 2]"`), and text
/// that looks like a number or a truth value as one (`MODEL: 3`).
fn typed(value: Value, kind: &Kind) -> Value {
    match (kind, value) {
        (Kind::Text | Kind::Path | Kind::Choice(_), value @ (Value::Number(_) | Value::Bool(_))) => {
            Value::String(value.to_string())
        }
        (Kind::Truth | Kind::Whole { .. } | Kind::Number, Value::String(text)) => match yaml::json(&text) {
            Ok(read @ (Value::Number(_) | Value::Bool(_))) => read,
            _ => Value::String(text),
        },
        (Kind::Optional(inner), Value::String(text)) if !matches!(inner.given(), Kind::Text | Kind::Path) => {
            match yaml::json(&text) {
                Ok(Value::Null) => Value::Null,
                _ => typed(Value::String(text), inner),
            }
        }
        (Kind::Optional(_), Value::Null) => Value::Null,
        (Kind::Optional(inner), value) => typed(value, inner),
        (Kind::List(inner), Value::String(text)) => match yaml::json(&text) {
            Ok(read @ Value::Array(_)) => typed(read, kind),
            // A list of words may be written without brackets: `CLASSES: all`.
            _ if matches!(inner.given(), Kind::Text | Kind::Choice(_)) => {
                text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Value::from).collect()
            }
            _ => Value::String(text),
        },
        (Kind::Array(..), Value::String(text)) => match yaml::json(&text) {
            Ok(read @ Value::Array(_)) => typed(read, kind),
            _ => Value::String(text),
        },
        (Kind::List(inner) | Kind::Array(_, inner), Value::Array(items)) => {
            items.into_iter().map(|item| typed(item, inner)).collect()
        }
        (_, value) => value,
    }
}

/// Returns what a value has instead of what the kind wants, where that can be said before it is read.
fn misfit(value: &Value, kind: &Kind) -> Option<String> {
    let not = |kind: &dyn std::fmt::Display| Some(format!("`{}` is not {kind}", shown(value)));
    match (kind, value) {
        (Kind::Optional(_), Value::Null) => None,
        (Kind::Optional(inner), value) => misfit(value, inner),
        (Kind::Truth, Value::Bool(_)) => None,
        (Kind::Truth, _) => not(&"true or false"),
        (Kind::Whole { least, greatest }, Value::Number(number)) => {
            let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            match whole {
                Some(number) if (i128::from(*least)..=i128::from(*greatest)).contains(&number) => None,
                Some(number) => Some(format!("{number} is out of range, {least} to {greatest} is allowed")),
                None => not(&"a whole number"),
            }
        }
        (Kind::Number, Value::Number(_)) => None,
        (Kind::Whole { .. } | Kind::Number, Value::String(text)) if is_not_finite(text) => not(&"a finite number"),
        (Kind::Text | Kind::Path, Value::String(_)) => None,
        (Kind::Whole { .. } | Kind::Number | Kind::Text | Kind::Path, _) => not(&format_args!("a {kind}")),
        (Kind::Choice(words), Value::String(word)) if !words.contains(&word.as_str()) => Some(none_of(word, words)),
        (Kind::List(inner), Value::Array(items)) => misfit_of_an_item(items, inner),
        (Kind::Array(length, inner), Value::Array(items)) if items.len() == *length => misfit_of_an_item(items, inner),
        (Kind::Array(..), Value::Array(_)) => not(&format_args!("a {kind}")),
        (Kind::List(_) | Kind::Array(..), _) => {
            Some(format!("`{}` is not a {kind}; write one as text: `\"[a, b]\"`", shown(value)))
        }
        _ => None,
    }
}

fn misfit_of_an_item(items: &[Value], kind: &Kind) -> Option<String> {
    items.iter().enumerate().find_map(|(at, item)| Some(format!("item {}: {}", at + 1, misfit(item, kind)?)))
}

/// True for the words by which YAML writes what is no finite number.
fn is_not_finite(text: &str) -> bool {
    text.trim_start_matches(['.', '-', '+']).parse::<f64>().is_ok_and(|number| !number.is_finite())
}

/// Returns the first number, also within lists and maps, that lies outside the key's range.
fn out_of_range(value: &Value, key: &Key) -> Option<String> {
    let (least, greatest) = key.range?;
    match value {
        Value::Number(number) if !number.as_f64().is_some_and(|number| (least..=greatest).contains(&number)) => {
            Some(format!("{number} is out of range, {least} to {greatest} is allowed"))
        }
        Value::Array(items) => items.iter().find_map(|item| out_of_range(item, key)),
        Value::Object(pairs) => pairs.values().find_map(|value| out_of_range(value, key)),
        _ => None,
    }
}

/// False where a number in what was read is infinite or none; JSON would write it as null, as it does nothing.
fn is_finite(read: &impl Serialize) -> bool {
    fn all(value: &serde_yaml::Value) -> bool {
        match value {
            serde_yaml::Value::Number(number) => number.as_f64().is_none_or(f64::is_finite),
            serde_yaml::Value::Sequence(items) => items.iter().all(all),
            serde_yaml::Value::Mapping(pairs) => pairs.values().all(all),
            serde_yaml::Value::Tagged(tagged) => all(&tagged.value),
            _ => true,
        }
    }
    serde_yaml::to_value(read).is_ok_and(|value| all(&value))
}

/// Writes a value as JSON, 32-bit numbers by their shortest decimal form: 0.3, not the 0.30000001192092896 nearest to it.
#[doc(hidden)]
pub fn to_json(value: &impl Serialize) -> Value {
    // As text a 32-bit number has the digits that tell it from its neighbors; as a value it would be widened first.
    serde_json::to_string(value).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// A value for an error text: without quotes, and no longer than a line.
fn shown(value: &Value) -> String {
    cut(value.as_str().map_or_else(|| value.to_string(), str::to_owned), MAX_SHOWN)
}

fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The error for a word that is none of a choice, with the nearest.
fn none_of(word: &str, words: &[&str]) -> String {
    let near =
        nearest(word, words.iter().copied()).map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    format!("`{}` is none of {}{near}", cut(word.to_owned(), MAX_SHOWN), words.join(", "))
}

/// The same for a word that serde did not find, anywhere within a value.
fn no_choice(cause: &str) -> Option<String> {
    let (_, told) = cause.split_once("unknown variant `")?;
    let (word, listed) = told.split_once("`, expected ")?;
    let names: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
    Some(none_of(word, &names))
}
