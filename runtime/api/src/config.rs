//! Configuration: a struct with documented fields, read from values that each remember where they were written.
//!
//! Weakest first: defaults, files named by `CONFIG`, the node's `env:`, `--set node.key=value`, a live change.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde_json::Value;

/// A configuration struct. Written by `#[derive(Config)]`.
pub trait Config: Sized + Clone + Send + 'static {
    /// First line of the struct's documentation: what `sideline list` prints.
    const ABOUT: &'static str;
    /// The keys, in the order of the struct.
    fn keys() -> Vec<Key>;
    /// Builds the struct; every problem found is in the list.
    ///
    /// # Errors
    /// Unknown keys, wrong types, values out of range.
    fn from_values(values: &Values) -> Result<Self, Vec<Problem>>;
    /// The value of every key, in the order of the struct.
    fn to_values(&self) -> Vec<(&'static str, Value)>;
}

/// What is known of one key without running anything.
#[derive(Clone, Debug)]
pub struct Key {
    /// The name, as a field: `buffer`; in a node's `env:` in upper case.
    pub name: &'static str,
    /// Documentation of the field.
    pub about: &'static str,
    /// Rust type, as written.
    pub kind: &'static str,
    /// The value when nothing is set; `None` when one must be given.
    pub default: Option<Value>,
    /// True when it may change while the graph runs.
    pub live: bool,
    /// Least and greatest value allowed.
    pub range: Option<(f64, f64)>,
    /// The key that it takes the place of: only one of the two is set, and the command line's wins over a file's.
    pub instead_of: Option<&'static str>,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the default.
    Default,
    /// In a file: path, line and column from 1.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// On the command line: `--set`, `--input`, ...
    CommandLine,
    /// Changed while running.
    Live,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Live => f.write_str("set while running"),
        }
    }
}

/// Values by key (lower case), each with its origin.
#[derive(Clone, Debug, Default)]
pub struct Values {
    values: BTreeMap<String, (Value, Origin)>,
}

impl Values {
    /// No values: all defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value; a later call overrides an earlier one.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>, origin: Origin) {
        self.values.insert(key.into(), (value.into(), origin));
    }

    /// The value of a key and where it was written.
    pub fn get(&self, key: &str) -> Option<&(Value, Origin)> {
        self.values.get(key)
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &str) -> Option<(Value, Origin)> {
        self.values.remove(key)
    }

    /// All keys in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| (key.as_str(), value, origin))
    }
}

impl<K: Into<String>, V: Into<Value>, const N: usize> From<[(K, V); N]> for Values {
    fn from(pairs: [(K, V); N]) -> Self {
        let mut values = Values::new();
        for (key, value) in pairs {
            values.set(key, value, Origin::CommandLine);
        }
        values
    }
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub key: String,
    /// Where the value was written.
    pub origin: Origin,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: key `{}`: {}", self.origin, self.key, self.message)
    }
}

/// The name nearest to what was written, if one is near enough to be meant.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(written, name), name))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// For messages: ` (did you mean `x`?)`, or the list of valid names when none is near.
pub fn did_you_mean<'a>(written: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(written, names.clone()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => {
            let names: Vec<&str> = names.into_iter().collect();
            if names.is_empty() { "; there are none".into() } else { format!("; there are {}", names.join(", ")) }
        }
    }
}

/// Reads one field. For the code that `#[derive(Config)]` writes.
#[doc(hidden)]
pub fn read_field<T: serde::de::DeserializeOwned>(
    values: &Values,
    key: &Key,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let (value, origin) = match (values.get(key.name), &key.default) {
        (Some((value, origin)), _) => (value.clone(), origin.clone()),
        (None, Some(default)) => (default.clone(), Origin::Default),
        (None, None) => {
            problems.push(Problem {
                key: key.name.into(),
                origin: Origin::Default,
                message: format!("must be given ({}): {}", key.kind, key.about),
            });
            return None;
        }
    };
    let mut problem = |message: String| {
        problems.push(Problem { key: key.name.into(), origin: origin.clone(), message });
        None
    };
    if let (Some((least, greatest)), Some(number)) = (key.range, value.as_f64())
        && !(least..=greatest).contains(&number)
    {
        return problem(format!("{number} is out of range, {least} to {greatest} is allowed"));
    }
    match serde_json::from_value::<T>(value.clone()) {
        Ok(read) => Some(read),
        Err(_) if is_list(key.kind) && !value.is_array() => {
            // `env:` and `--set` hold a list as text: `POINTS: "[1, 2]"`.
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match serde_yaml::from_str(&text) {
                Ok(read) => Some(read),
                Err(cause) if serde_yaml::from_str::<Vec<Value>>(&text).is_ok() => problem(
                    no_choice(&cause.to_string()).unwrap_or_else(|| format!("`{text}` is not a {}: {cause}", key.kind)),
                ),
                Err(_) => problem(format!("`{text}` is not a list ({}); write one as text: `\"[a, b]\"`", key.kind)),
            }
        }
        // A number or truth value where text is wanted (`MODEL: 3`): scalars of an `env:` come typed by YAML.
        Err(cause) => match value {
            Value::Number(_) | Value::Bool(_) => serde_json::from_value(Value::String(value.to_string()))
                .ok()
                .or_else(|| problem(format!("`{value}` is not a {}: {cause}", key.kind))),
            // Text that holds a table or a number, as `--set` and `env:` must write them.
            Value::String(ref text) => serde_yaml::from_str(text).ok().or_else(|| {
                let told = no_choice(&cause.to_string());
                problem(told.unwrap_or_else(|| format!("`{text}` is not a {}: {cause}", key.kind)))
            }),
            _ => {
                let told = no_choice(&cause.to_string());
                problem(told.unwrap_or_else(|| format!("`{value}` is not a {}: {cause}", key.kind)))
            }
        },
    }
}

/// What is wrong with a word that serde does not find among an enumeration's names, also within a list.
fn no_choice(cause: &str) -> Option<String> {
    let (_, told) = cause.split_once("unknown variant `")?;
    let (word, listed) = told.split_once("`, expected ")?;
    let names: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
    let near =
        nearest(word, names.iter().copied()).map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    Some(format!("`{word}` is none of {}{near}", names.join(", ")))
}

/// Gives what a configuration's own check found its places. For the code that `#[derive(Config)]` writes.
#[doc(hidden)]
pub fn place(wrong: Vec<(&'static str, String)>, values: &Values) -> Vec<Problem> {
    let origin = |key| values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
    wrong.into_iter().map(|(key, message)| Problem { key: key.into(), origin: origin(key), message }).collect()
}

/// True for a type, as written, that holds several values.
fn is_list(kind: &str) -> bool {
    kind.trim_start_matches("Option<").starts_with("Vec<")
}

/// Reports keys that no field has. For the code that `#[derive(Config)]` writes.
#[doc(hidden)]
pub fn unknown_keys(values: &Values, keys: &[Key], problems: &mut Vec<Problem>) {
    for (name, _, origin) in values.iter() {
        if !keys.iter().any(|key| key.name == name) {
            problems.push(Problem {
                key: name.into(),
                origin: origin.clone(),
                message: format!("there is no such key{}", did_you_mean(name, keys.iter().map(|k| k.name))),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Holds on.
    ///
    /// More words.
    #[derive(Clone, Debug, PartialEq, sideline_derive::Config)]
    #[config(check = Keeper::check)]
    struct Keeper {
        /// Frames kept.
        #[config(default = 30, live, range(1, 300))]
        buffer: u32,
        /// A path.
        #[config(default = "out")]
        path: PathBuf,
        /// Points.
        #[config(default = Vec::new())]
        points: Vec<f32>,
        /// May be absent.
        #[config(default = None)]
        until: Option<f64>,
        /// Which shelf.
        #[config(default = "upper")]
        shelf: Shelf,
        /// Must be given.
        source: String,
        /// A word that is Rust's own.
        #[config(default = false, instead_of = "until")]
        r#loop: bool,
    }

    impl Keeper {
        fn check(&self) -> Vec<(&'static str, String)> {
            let both = self.r#loop && self.until.is_some();
            if both { vec![("loop", "has no end, and `until` is one".into())] } else { vec![] }
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Shelf {
        Upper,
        Lower,
    }

    fn problems(values: Values) -> Vec<String> {
        Keeper::from_values(&values).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_fill_what_is_not_set() {
        let keeper = Keeper::from_values(&[("source", json!("a.mp4"))].into()).unwrap();
        assert_eq!(
            keeper,
            Keeper {
                buffer: 30,
                path: "out".into(),
                points: vec![],
                until: None,
                shelf: Shelf::Upper,
                source: "a.mp4".into(),
                r#loop: false
            }
        );
        assert_eq!(Keeper::ABOUT, "Holds on.");
        assert_eq!(keeper.to_values()[0], ("buffer", json!(30)));
        assert!(Keeper::keys()[0].live && !Keeper::keys()[1].live);
    }

    #[test]
    fn text_that_yaml_would_read_as_a_list_is_read() {
        let values = [("source", json!(7)), ("points", json!("[1, 2.5]")), ("buffer", json!("12"))].into();
        let keeper = Keeper::from_values(&values).unwrap();
        assert_eq!((keeper.points, keeper.source.as_str(), keeper.buffer), (vec![1.0, 2.5], "7", 12));
    }

    #[test]
    fn a_word_that_is_none_of_a_few_is_named_with_the_nearest() {
        let found = |word: &str| problems([("source", json!("a")), ("shelf", json!(word))].into()).remove(0);
        assert_eq!(found("uper"), "command line: key `shelf`: `uper` is none of upper, lower; did you mean `upper`?");
        assert_eq!(found("x"), "command line: key `shelf`: `x` is none of upper, lower");
    }

    #[test]
    fn what_is_no_list_is_told_how_one_is_written() {
        for value in [json!("one, two"), json!(7)] {
            let found = problems([("source", json!("a.mp4")), ("points", value)].into());
            assert!(found[0].contains("is not a list (Vec<f32>); write one as text: `\"[a, b]\"`"), "{found:?}");
        }
        for value in [json!(["one"]), json!("[one]")] {
            let found = problems([("source", json!("a.mp4")), ("points", value)].into());
            assert!(found[0].contains("is not a Vec<f32>"), "{found:?}");
        }
    }

    #[test]
    fn keys_that_do_not_go_together_are_told_at_the_place_of_one() {
        let mut values: Values = [("source", json!("a.mp4")), ("until", json!(3))].into();
        values.set("loop", true, Origin::File { path: "fight.yml".into(), line: 12, column: 9 });
        assert_eq!(problems(values), ["fight.yml:12:9: key `loop`: has no end, and `until` is one"]);
        assert_eq!(Keeper::keys()[6].instead_of, Some("until"));
    }

    #[test]
    fn every_problem_is_named_with_place_and_mend() {
        let mut values: Values = [("bufer", json!(3)), ("path", json!({"a": 1}))].into();
        values.set("buffer", 1000, Origin::File { path: "fight.yml".into(), line: 12, column: 9 });
        let found = problems(values);
        assert!(
            found.contains(&"fight.yml:12:9: key `buffer`: 1000 is out of range, 1 to 300 is allowed".into()),
            "{found:?}"
        );
        assert!(
            found.contains(&"command line: key `bufer`: there is no such key; did you mean `buffer`?".into()),
            "{found:?}"
        );
        assert!(found.iter().any(|p| p.contains("key `path`") && p.contains("is not a PathBuf")), "{found:?}");
        assert!(found.iter().any(|p| p.contains("key `source`: must be given")), "{found:?}");
    }
}
