//! Reading of values: converts a value to the kind of its key, deserializes it, and checks range and finiteness.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Key, Kind, Origin, Problem, Values, nearest, unknown_keys};
use crate::yaml;

/// Maximum length of a value in an error message, characters.
const MAX_VALUE_CHARS: usize = 80;
/// Maximum length of a deserialization error in an error message, characters.
const MAX_CAUSE_CHARS: usize = 300;

/// Reads one field. For the code that `#[derive(Config)]` generates.
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

/// Checks values against keys that have no Rust type, as in the description of an operator in another language.
pub fn check_values(values: &Values, keys: &[Key]) -> Vec<Problem> {
    let mut problems = vec![];
    for key in keys {
        let _ = read_field::<Value>(values, key, &mut problems);
    }
    for key in keys {
        let other = key.instead_of.filter(|other| values.get(other).is_some());
        if let (Some(other), Some((_, origin))) = (other, values.get(key.name)) {
            let message = format!("only one of `{}` and `{other}` may be set", key.name);
            problems.push(Problem { key: key.name.into(), origin: origin.clone(), message });
        }
    }
    unknown_keys(values, keys, &[], &mut problems);
    problems
}

/// Returns every key with its value, converted to the kind of the key, for values without problems.
pub fn resolve_values(values: &Values, keys: &[Key]) -> Vec<(String, Value)> {
    let resolve = |key: &Key| read_field::<Value>(values, key, &mut vec![]).unwrap_or_default();
    keys.iter().map(|key| (key.name.to_owned(), resolve(key))).collect()
}

/// Reads a value of a key. The error states the problem and the remedy.
fn read<T: DeserializeOwned + Serialize>(value: &Value, key: &Key) -> Result<T, String> {
    let value = convert(value.clone(), &key.kind);
    if let Some(problem) = range_problem(&value, key).or_else(|| kind_problem(&value, &key.kind)) {
        return Err(problem);
    }
    let read = match serde_json::from_value::<T>(value.clone()) {
        Ok(read) => read,
        Err(cause) => from_text(&value, key).ok_or_else(|| {
            let text = cause.to_string();
            choice_problem(&text).unwrap_or_else(|| {
                format!("`{}`: {}", display(&value), truncate(yaml::describe_serde_error(&text), MAX_CAUSE_CHARS))
            })
        })?,
    };
    // Checked again after deserialization: quotes, lists and custom types can hide a number from the checks above.
    if !is_finite(&read) {
        return Err(format!("`{}` is not a finite number", display(&value)));
    }
    match range_problem(&to_json(&read), key) {
        Some(problem) => Err(problem),
        None => Ok(read),
    }
}

/// Deserializes the YAML in a text, for types whose kind is known only during deserialization.
fn from_text<T: DeserializeOwned>(value: &Value, key: &Key) -> Option<T> {
    let text = value.as_str().filter(|_| matches!(key.kind.non_optional(), Kind::Any | Kind::Map))?;
    serde_json::from_value(yaml::json(text).ok()?).ok()
}

/// Converts a value to a kind. An `env:` and the command line give numbers and lists as text (`POINTS: "[1, 2]"`), and text
/// that looks like a number or a boolean as one (`MODEL: 3`).
fn convert(value: Value, kind: &Kind) -> Value {
    match (kind, value) {
        (Kind::Text | Kind::Path | Kind::Choice(_), value @ (Value::Number(_) | Value::Bool(_))) => {
            Value::String(value.to_string())
        }
        (Kind::Bool | Kind::Integer { .. } | Kind::Number, Value::String(text)) => match yaml::json(&text) {
            Ok(read @ (Value::Number(_) | Value::Bool(_))) => read,
            _ => Value::String(text),
        },
        (Kind::Optional(inner), Value::String(text)) if !matches!(inner.non_optional(), Kind::Text | Kind::Path) => {
            match yaml::json(&text) {
                Ok(Value::Null) => Value::Null,
                _ => convert(Value::String(text), inner),
            }
        }
        (Kind::Optional(_), Value::Null) => Value::Null,
        (Kind::Optional(inner), value) => convert(value, inner),
        (Kind::List(inner), Value::String(text)) => match yaml::json(&text) {
            Ok(read @ Value::Array(_)) => convert(read, kind),
            // A list of words may have no brackets: `CLASSES: person, ball`.
            _ if matches!(inner.non_optional(), Kind::Text | Kind::Choice(_)) => {
                text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Value::from).collect()
            }
            _ => Value::String(text),
        },
        (Kind::Array(..), Value::String(text)) => match yaml::json(&text) {
            Ok(read @ Value::Array(_)) => convert(read, kind),
            _ => Value::String(text),
        },
        (Kind::List(inner) | Kind::Array(_, inner), Value::Array(items)) => {
            items.into_iter().map(|item| convert(item, inner)).collect()
        }
        (_, value) => value,
    }
}

/// Returns the problem of a value that is not of the kind, as far as it can be found before deserialization.
fn kind_problem(value: &Value, kind: &Kind) -> Option<String> {
    let not = |kind: &dyn std::fmt::Display| Some(format!("`{}` is not {kind}", display(value)));
    match (kind, value) {
        (Kind::Optional(_), Value::Null) => None,
        (Kind::Optional(inner), value) => kind_problem(value, inner),
        (Kind::Bool, Value::Bool(_)) => None,
        (Kind::Bool, _) => not(&"true or false"),
        (Kind::Integer { min, max }, Value::Number(number)) => {
            let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            match integer {
                Some(number) if (i128::from(*min)..=i128::from(*max)).contains(&number) => None,
                Some(number) => Some(format!("{number} is out of range, {min} to {max} is allowed")),
                None => not(&"a whole number"),
            }
        }
        (Kind::Number, Value::Number(_)) => None,
        (Kind::Integer { .. } | Kind::Number, Value::String(text)) if is_not_finite(text) => not(&"a finite number"),
        (Kind::Text | Kind::Path, Value::String(_)) => None,
        (Kind::Integer { .. } | Kind::Number | Kind::Text | Kind::Path, _) => not(&format_args!("a {kind}")),
        (Kind::Choice(words), Value::String(word)) if !words.contains(&word.as_str()) => {
            Some(invalid_choice(word, words))
        }
        (Kind::List(inner), Value::Array(items)) => item_problem(items, inner),
        (Kind::Array(length, inner), Value::Array(items)) if items.len() == *length => item_problem(items, inner),
        (Kind::Array(..), Value::Array(_)) => not(&format_args!("a {kind}")),
        (Kind::List(_) | Kind::Array(..), _) => {
            Some(format!("`{}` is not a {kind}; write one as text: `\"[a, b]\"`", display(value)))
        }
        _ => None,
    }
}

fn item_problem(items: &[Value], kind: &Kind) -> Option<String> {
    items.iter().enumerate().find_map(|(at, item)| Some(format!("item {}: {}", at + 1, kind_problem(item, kind)?)))
}

/// Returns true for YAML's names of infinity and NaN.
fn is_not_finite(text: &str) -> bool {
    text.trim_start_matches(['.', '-', '+']).parse::<f64>().is_ok_and(|number| !number.is_finite())
}

/// Returns the problem of the first number, also within lists and maps, that is outside the key's range.
fn range_problem(value: &Value, key: &Key) -> Option<String> {
    let (min, max) = key.range?;
    match value {
        Value::Number(number) if !number.as_f64().is_some_and(|number| (min..=max).contains(&number)) => {
            Some(format!("{number} is out of range, {min} to {max} is allowed"))
        }
        Value::Array(items) => items.iter().find_map(|item| range_problem(item, key)),
        Value::Object(pairs) => pairs.values().find_map(|value| range_problem(value, key)),
        _ => None,
    }
}

/// Returns false if a number within the value is infinite or NaN. Checked through YAML, because JSON writes such numbers as
/// null, like an empty option.
fn is_finite(value: &impl Serialize) -> bool {
    fn all_finite(value: &serde_yaml::Value) -> bool {
        match value {
            serde_yaml::Value::Number(number) => number.as_f64().is_none_or(f64::is_finite),
            serde_yaml::Value::Sequence(items) => items.iter().all(all_finite),
            serde_yaml::Value::Mapping(pairs) => pairs.values().all(all_finite),
            serde_yaml::Value::Tagged(tagged) => all_finite(&tagged.value),
            _ => true,
        }
    }
    serde_yaml::to_value(value).is_ok_and(|value| all_finite(&value))
}

/// Converts a value to JSON with 32-bit numbers in their shortest decimal form: 0.3 instead of 0.30000001192092896.
#[doc(hidden)]
pub fn to_json(value: &impl Serialize) -> Value {
    // Goes through text, where a 32-bit number has its shortest digits; a JSON value would widen it to 64 bits first.
    serde_json::to_string(value).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Returns a value for an error message, without quotes and truncated.
fn display(value: &Value) -> String {
    truncate(value.as_str().map_or_else(|| value.to_string(), str::to_owned), MAX_VALUE_CHARS)
}

fn truncate(text: String, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Returns the error for a word that is not among the choices, with the most similar choice.
fn invalid_choice(word: &str, choices: &[&str]) -> String {
    let hint =
        nearest(word, choices.iter().copied()).map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    format!("`{}` is none of {}{hint}", truncate(word.to_owned(), MAX_VALUE_CHARS), choices.join(", "))
}

/// Converts serde's error about an unknown enum variant, anywhere within a value, into that of [`invalid_choice`].
fn choice_problem(cause: &str) -> Option<String> {
    let (_, rest) = cause.split_once("unknown variant `")?;
    let (word, listed) = rest.split_once("`, expected ")?;
    let choices: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
    Some(invalid_choice(word, &choices))
}
