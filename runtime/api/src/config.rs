//! Configuration: a struct with documented fields, read from values that each remember where they were written.
//!
//! Weakest first: defaults, files named by `CONFIG`, the node's `env:`, `--set node.key=value`, a live change.

mod kind;
mod read;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde_json::Value;

pub use kind::Kind;
#[doc(hidden)]
pub use read::{read_field, to_json};

/// A configuration struct. Written by `#[derive(Config)]`.
///
/// A default that no start would take does not compile, neither one of another kind nor one out of its range:
///
/// ```compile_fail
/// /// Counts.
/// #[derive(Clone, sideline_api::Config)]
/// struct Keys {
///     /// Frames from one count to the next.
///     #[config(default = "x")]
///     step: u32,
/// }
/// ```
///
/// ```compile_fail
/// /// Counts.
/// #[derive(Clone, sideline_api::Config)]
/// struct Keys {
///     /// Frames from one count to the next.
///     #[config(default = 0, range(1, 300))]
///     step: u32,
/// }
/// ```
///
/// ```
/// /// Counts.
/// #[derive(Clone, sideline_api::Config)]
/// struct Keys {
///     /// Frames from one count to the next.
///     #[config(default = 1, range(1, 300))]
///     step: u32,
/// }
/// ```
pub trait Config: Sized + Clone + Send + 'static {
    /// First line of the struct's documentation: what `sideline list` prints.
    const ABOUT: &'static str;
    /// True where a key is marked `live`. Its operator then has a [`reconfigure`](crate::Operator::reconfigure), or does not
    /// compile:
    ///
    /// ```compile_fail,E0080
    /// # use sideline_api::*;
    /// /// Counts.
    /// #[derive(Clone, Config)]
    /// struct Keys {
    ///     /// Frames from one count to the next.
    ///     #[config(default = 1, live)]
    ///     step: u32,
    /// }
    /// struct Counter;
    /// impl Operator for Counter {
    ///     // fn reconfigure(&mut self, keys: &Keys) -> Result<()> { Ok(()) }
    /// #   type Config = Keys;
    /// #   type State = ();
    /// #   fn spec() -> Spec { Spec::operator("counter") }
    /// #   fn new(_: Keys, _: &Resources) -> Result<Self> { Ok(Counter) }
    /// #   fn process(&mut self, _: &Context, _: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> { Ok(()) }
    /// }
    /// Registry::new().operator::<Counter>();
    /// ```
    ///
    /// With it, it does:
    ///
    /// ```
    /// # use sideline_api::*;
    /// # /// Counts.
    /// # #[derive(Clone, Config)]
    /// # struct Keys {
    /// #     /// Frames from one count to the next.
    /// #     #[config(default = 1, live)]
    /// #     step: u32,
    /// # }
    /// # struct Counter;
    /// impl Operator for Counter {
    ///     fn reconfigure(&mut self, keys: &Keys) -> Result<()> { Ok(()) }
    /// #   type Config = Keys;
    /// #   type State = ();
    /// #   fn spec() -> Spec { Spec::operator("counter") }
    /// #   fn new(_: Keys, _: &Resources) -> Result<Self> { Ok(Counter) }
    /// #   fn process(&mut self, _: &Context, _: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> { Ok(()) }
    /// }
    /// Registry::new().operator::<Counter>();
    /// ```
    ///
    /// A source takes no changes, so none of its keys is `live`:
    ///
    /// ```compile_fail,E0080
    /// # use sideline_api::*;
    /// /// Makes frames.
    /// #[derive(Clone, Config)]
    /// struct Keys {
    ///     /// Frames a second.
    ///     #[config(default = 25, live)]
    ///     fps: u32,
    /// }
    /// # struct Camera;
    /// impl Source for Camera {
    /// #   fn spec() -> Spec { Spec::source("camera").output("frames", PortType::Frame) }
    /// #   fn new(_: Keys, _: &Resources) -> Result<Self> { Ok(Camera) }
    /// #   fn next(&mut self, _: &SourceContext) -> Result<Option<Captured>> { Ok(None) }
    ///     type Config = Keys;
    /// }
    /// Registry::new().source::<Camera>();
    /// ```
    const HAS_LIVE: bool;
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
    /// Kind of its value.
    pub kind: Kind,
    /// The value when nothing is set; `None` when one must be given.
    pub default: Option<Value>,
    /// True when it may change while the graph runs.
    pub live: bool,
    /// Least and greatest value allowed.
    pub range: Option<(f64, f64)>,
    /// The key that it takes the place of: only one of the two is set, and the command line's wins over a file's.
    pub instead_of: Option<&'static str>,
    /// The name that it had before.
    pub former: Option<Former>,
}

/// The name that a key had before: whoever still writes it is told the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    /// The earlier name.
    pub name: &'static str,
    /// It counted frames; the key is in seconds.
    pub frames: bool,
}

impl Key {
    /// Returns where a key of this name went, with its value where that can be converted; `None` where it did not go here.
    pub fn successor_of(&self, name: &str, value: Option<&Value>) -> Option<String> {
        let former = self.former.filter(|former| former.name == name)?;
        if !former.frames {
            return Some(format!("it is `{}` now", self.name));
        }
        let frames = value.and_then(|value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()));
        let converted = frames.map(|frames| {
            let seconds = (frames / 30.0 * 1e3).round() / 1e3;
            format!(": {frames} frames at 30 a second are {seconds}")
        });
        Some(format!("it is `{}` now, in seconds{}", self.name, converted.unwrap_or_default()))
    }
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

/// Gives what a configuration's own check found its places. For the code that `#[derive(Config)]` writes.
#[doc(hidden)]
pub fn place(wrong: Vec<(&'static str, String)>, values: &Values) -> Vec<Problem> {
    let origin = |key| values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
    wrong.into_iter().map(|(key, message)| Problem { key: key.into(), origin: origin(key), message }).collect()
}

/// Reports keys that no field has. For the code that `#[derive(Config)]` writes.
#[doc(hidden)]
pub fn unknown_keys(values: &Values, keys: &[Key], problems: &mut Vec<Problem>) {
    for (name, value, origin) in values.iter() {
        if !keys.iter().any(|key| key.name == name) {
            let moved = keys.iter().find_map(|key| key.successor_of(name, Some(value)));
            let near = moved.map_or_else(
                || did_you_mean(name, keys.iter().map(|key| key.name)),
                |successor| format!(" any more; {successor}"),
            );
            problems.push(Problem {
                key: name.into(),
                origin: origin.clone(),
                message: format!("there is no such key{near}"),
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
        #[config(default = 30, live, range(1, 300), former_frames = "kept")]
        buffer: u32,
        /// A path.
        #[config(default = "out")]
        path: PathBuf,
        /// Points.
        #[config(default = Vec::new())]
        points: Vec<f32>,
        /// Names.
        #[config(default = Vec::new())]
        names: Vec<String>,
        /// May be absent.
        #[config(default = None)]
        until: Option<f64>,
        /// Which shelf.
        #[config(default = "upper", former = "board")]
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
                names: vec![],
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
    fn a_list_of_words_may_be_written_without_brackets() {
        for (written, read) in
            [("all", vec!["all"]), ("person, ball", vec!["person", "ball"]), ("[ball]", vec!["ball"])]
        {
            let values = [("source", json!("a")), ("names", json!(written))].into();
            assert_eq!(Keeper::from_values(&values).unwrap().names, read, "{written}");
        }
    }

    #[test]
    fn a_word_that_is_none_of_a_few_is_named_with_the_nearest() {
        let found = |word: &str| problems([("source", json!("a")), ("shelf", json!(word))].into()).remove(0);
        assert_eq!(found("uper"), "command line: key `shelf`: `uper` is none of upper, lower; did you mean `upper`?");
        assert_eq!(found("x"), "command line: key `shelf`: `x` is none of upper, lower");
    }

    #[test]
    fn a_key_of_an_earlier_name_is_told_where_it_went() {
        let found = problems([("source", json!("a")), ("board", json!("lower")), ("kept", json!(45))].into());
        assert_eq!(
            found,
            [
                "command line: key `board`: there is no such key any more; it is `shelf` now",
                "command line: key `kept`: there is no such key any more; it is `buffer` now, in seconds: 45 frames at 30 a \
                 second are 1.5",
            ]
        );
    }

    #[test]
    fn what_is_no_list_is_told_how_one_is_written() {
        for value in [json!("one, two"), json!(7)] {
            let found = problems([("source", json!("a.mp4")), ("points", value)].into());
            assert!(found[0].contains("is not a list of numbers; write one as text: `\"[a, b]\"`"), "{found:?}");
        }
        for value in [json!(["one"]), json!("[one]")] {
            let found = problems([("source", json!("a.mp4")), ("points", value)].into());
            assert!(found[0].ends_with("key `points`: item 1: `one` is not a number"), "{found:?}");
        }
    }

    /// Limits.
    #[derive(Clone, Debug, Default, PartialEq, sideline_derive::Config)]
    struct Limited {
        /// Whole.
        #[config(default = 1, range(1, 300))]
        whole: u32,
        /// Share.
        #[config(default = 0.8, range(0.1, 0.8))]
        share: f32,
        /// May be absent.
        #[config(default = None, range(0, 1))]
        maybe: Option<f64>,
        /// Several.
        #[config(default = Vec::new(), range(0, 1))]
        several: Vec<f32>,
        /// Corners.
        #[config(default = Vec::new(), range(0, 10_000))]
        corners: Vec<[f32; 2]>,
        /// Named.
        #[config(default = BTreeMap::new(), range(0, 1))]
        named: BTreeMap<String, f64>,
        /// Of any kind.
        #[config(default = Value::from(1), range(1, 9))]
        any: Value,
        /// No range.
        #[config(default = 1.0)]
        free: f64,
    }

    #[test]
    fn no_way_of_writing_goes_around_a_range() {
        for (key, value, expected) in [
            ("whole", json!(0), "0 is out of range, 1 to 300 is allowed"),
            ("whole", json!("0"), "0 is out of range, 1 to 300 is allowed"),
            ("whole", json!("\"5000\""), "`\"5000\"` is not a whole number"),
            ("whole", json!(-1), "-1 is out of range, 1 to 300 is allowed"),
            ("whole", json!("-0"), "0 is out of range, 1 to 300 is allowed"),
            ("whole", json!(2.5), "`2.5` is not a whole number"),
            ("whole", json!("1e999"), "`1e999` is not a finite number"),
            ("share", json!(0.81), "0.81 is out of range, 0.1 to 0.8 is allowed"),
            ("share", json!("0.81"), "0.81 is out of range, 0.1 to 0.8 is allowed"),
            ("share", json!(".nan"), "`.nan` is not a finite number"),
            ("share", json!("-.inf"), "`-.inf` is not a finite number"),
            ("maybe", json!(2), "2 is out of range, 0 to 1 is allowed"),
            ("maybe", json!("2"), "2 is out of range, 0 to 1 is allowed"),
            ("maybe", json!(".nan"), "`.nan` is not a finite number"),
            ("several", json!([0.5, 2]), "2 is out of range, 0 to 1 is allowed"),
            ("several", json!("[0.5, '2']"), "2 is out of range, 0 to 1 is allowed"),
            ("several", json!("[0.5, .nan]"), "item 2: `.nan` is not a finite number"),
            ("several", json!(["1e999"]), "item 1: `1e999` is not a finite number"),
            ("corners", json!([[0, 1], [2, -3]]), "-3 is out of range, 0 to 10000 is allowed"),
            ("corners", json!([[0, 1, 2]]), "item 1: `[0,1,2]` is not a list of 2 numbers"),
            ("named", json!({"a": 3}), "3 is out of range, 0 to 1 is allowed"),
            ("named", json!("{a: 3.5}"), "3.5 is out of range, 0 to 1 is allowed"),
            ("any", json!({"x": [1, 10]}), "10 is out of range, 1 to 9 is allowed"),
            ("free", json!("NaN"), "`NaN` is not a finite number"),
            ("free", json!("inf"), "`inf` is not a finite number"),
            ("free", json!(null), "`null` is not a number"),
        ] {
            let found = Limited::from_values(&[(key, value.clone())].into());
            let found: Vec<String> = found.expect_err(key).into_iter().map(|problem| problem.message).collect();
            assert_eq!(found, [expected], "{key}: {value}");
        }
    }

    #[test]
    fn numbers_of_32_bits_are_shown_as_they_were_written() {
        let values = [("share", json!("0.3")), ("several", json!([0.1, 0.7])), ("corners", json!("[[0.1, 7]]"))].into();
        let limited = Limited::from_values(&values).unwrap();
        let shown: BTreeMap<&str, String> =
            limited.to_values().into_iter().map(|(key, value)| (key, value.to_string())).collect();
        assert_eq!((&*shown["share"], &*shown["several"], &*shown["corners"]), ("0.3", "[0.1,0.7]", "[[0.1,7.0]]"));
        assert_eq!(shown["free"], "1.0");
    }

    #[test]
    fn values_come_typed_from_any_way_of_writing() {
        for maybe in [json!("0.5"), json!(0.5)] {
            assert_eq!(Limited::from_values(&[("maybe", maybe)].into()).unwrap().maybe, Some(0.5));
        }
        for none in [json!(null), json!("null"), json!("~"), json!("")] {
            assert_eq!(Limited::from_values(&[("maybe", none)].into()).unwrap().maybe, None);
        }
        let values = [("source", json!(true)), ("shelf", json!("lower")), ("loop", json!("true"))].into();
        let keeper = Keeper::from_values(&values).unwrap();
        assert_eq!((keeper.source.as_str(), keeper.shelf, keeper.r#loop), ("true", Shelf::Lower, true));
    }

    #[test]
    fn a_text_of_a_key_is_bounded_as_a_file_is() {
        let bomb = "[&a [x,x,x,x,x,x,x,x,x,x]".to_owned()
            + &('b'..='i')
                .zip('a'..)
                .map(|(name, of)| format!(",&{name} [{}]", vec![format!("*{of}"); 10].join(",")))
                .collect::<String>()
            + "]";
        let found = problems([("source", json!("a")), ("points", json!(bomb))].into());
        assert!(found[0].contains("is not a list of numbers") && found[0].len() < 300, "{found:?}");
    }

    #[test]
    fn the_choices_of_a_key_are_those_of_its_type() {
        let keys = Keeper::keys();
        let shelf = keys.iter().find(|key| key.name == "shelf").unwrap();
        assert_eq!(
            (shelf.kind.to_string().as_str(), shelf.kind.choices()),
            ("one of upper, lower", &["upper", "lower"][..])
        );
        const { assert!(Keeper::HAS_LIVE && !Limited::HAS_LIVE) };
    }

    #[test]
    fn keys_that_do_not_go_together_are_told_at_the_place_of_one() {
        let mut values: Values = [("source", json!("a.mp4")), ("until", json!(3))].into();
        values.set("loop", true, Origin::File { path: "fight.yml".into(), line: 12, column: 9 });
        assert_eq!(problems(values), ["fight.yml:12:9: key `loop`: has no end, and `until` is one"]);
        assert_eq!(Keeper::keys()[7].instead_of, Some("until"));
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
        assert!(found.iter().any(|p| p.contains("key `path`") && p.contains("is not a path")), "{found:?}");
        assert!(found.iter().any(|p| p.contains("key `source`: must be given")), "{found:?}");
    }
}
