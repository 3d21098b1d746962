//! Configuration of operators: structs with documented fields, read from values that have an origin.
//!
//! In increasing order of precedence, values come from defaults, files named by `CONFIG`, the flow's `env:`, the node's
//! `env:`, `--set node.key=value`, and live settings.

mod kind;
mod read;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde_json::Value;

pub use kind::Kind;
pub use read::{check_values, resolve_values};
#[doc(hidden)]
pub use read::{read_field, to_json};

/// Configuration struct, implemented by `#[derive(Config)]`.
///
/// A default of the wrong kind or out of range does not compile:
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
    /// First line of the struct's documentation, which `sideline list` prints.
    const ABOUT: &'static str;
    /// True if a key is marked `live`. An operator with such a key and without
    /// [`reconfigure`](crate::Operator::reconfigure) does not compile:
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
    /// With `reconfigure` it compiles:
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
    /// A source cannot be reconfigured, so none of its keys may be `live`:
    ///
    /// ```compile_fail,E0080
    /// # use sideline_api::*;
    /// /// Produces frames.
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
    /// #   fn next(&mut self, _: &SourceContext) -> Result<Option<CapturedFrame>> { Ok(None) }
    ///     type Config = Keys;
    /// }
    /// Registry::new().source::<Camera>();
    /// ```
    const HAS_LIVE: bool;
    /// Returns the keys in the order of the struct.
    fn keys() -> Vec<Key>;
    /// Reads the struct from values.
    ///
    /// # Errors
    /// All problems: unknown keys, wrong types, values out of range.
    fn from_values(values: &Values) -> Result<Self, Vec<Problem>>;
    /// Returns the value of every key in the order of the struct.
    fn to_values(&self) -> Vec<(&'static str, Value)>;
}

/// Static description of a key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Name of the field: `buffer`; in a node's `env:` in upper case.
    pub name: &'static str,
    /// Documentation of the field.
    pub about: &'static str,
    /// Kind of the value.
    pub kind: Kind,
    /// Default value; `None` if the key must be set.
    pub default: Option<Value>,
    /// True if the key may change while the flow runs.
    pub live: bool,
    /// Minimum and maximum of numbers.
    pub range: Option<(f64, f64)>,
    /// Alternative key: only one of the two may be set, and one on the command line overrides the other in a file.
    pub instead_of: Option<&'static str>,
    /// Former name of the key.
    pub former: Option<FormerName>,
}

/// Former name of a key. A configuration that still uses it gets an error with the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormerName {
    /// The name itself.
    pub name: &'static str,
    /// True if the former key counted frames and the new one is in seconds.
    pub counted_frames: bool,
}

impl Key {
    /// Returns a hint to this key if `name` is its former name, with the converted value if there is one.
    pub fn renaming_hint(&self, name: &str, value: Option<&Value>) -> Option<String> {
        let former = self.former.filter(|former| former.name == name)?;
        if !former.counted_frames {
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

/// Origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Default of the key.
    Default,
    /// File, with the position of the value.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Command line: `--set`, `--input` and the like.
    CommandLine,
    /// Live setting of the running flow.
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

/// Values by key (in lower case), each with its origin.
#[derive(Clone, Debug, Default)]
pub struct Values {
    values: BTreeMap<String, (Value, Origin)>,
}

impl Values {
    /// Creates an empty set of values, which gives all defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value; a later call overrides an earlier one.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>, origin: Origin) {
        self.values.insert(key.into(), (value.into(), origin));
    }

    /// Returns the value of a key and its origin.
    pub fn get(&self, key: &str) -> Option<&(Value, Origin)> {
        self.values.get(key)
    }

    /// Removes and returns a value.
    pub fn remove(&mut self, key: &str) -> Option<(Value, Origin)> {
        self.values.remove(key)
    }

    /// Iterates over keys, values and origins in alphabetical order of the keys.
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

/// Problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the key.
    pub key: String,
    /// Origin of the value.
    pub origin: Origin,
    /// Description of the problem and its remedy.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: key `{}`: {}", self.origin, self.key, self.message)
    }
}

/// Returns the name most similar to a written one, if the similarity is at least 0.5 (normalized Damerau-Levenshtein).
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(written, name), name))
        .filter(|(similarity, _)| *similarity >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Returns the end of a message about an unknown name: ``; did you mean `x`?``, or the list of valid names if none is
/// similar.
pub fn did_you_mean<'a>(written: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(written, names.clone()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => {
            let names: Vec<&str> = names.into_iter().collect();
            if names.is_empty() { "; there are none".into() } else { format!("; there are {}", names.join(", ")) }
        }
    }
}

/// Adds origins to the problems that a configuration's own check has found. For the code that `#[derive(Config)]` generates.
#[doc(hidden)]
pub fn with_origins(problems: Vec<(&'static str, String)>, values: &Values) -> Vec<Problem> {
    let origin = |key| values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
    problems.into_iter().map(|(key, message)| Problem { key: key.into(), origin: origin(key), message }).collect()
}

/// Reports keys that no field has. For the code that `#[derive(Config)]` generates.
#[doc(hidden)]
pub fn unknown_keys(values: &Values, keys: &[Key], problems: &mut Vec<Problem>) {
    for (name, value, origin) in values.iter() {
        if !keys.iter().any(|key| key.name == name) {
            let renaming = keys.iter().find_map(|key| key.renaming_hint(name, Some(value)));
            let hint = renaming.map_or_else(
                || did_you_mean(name, keys.iter().map(|key| key.name)),
                |renaming| format!(" any more; {renaming}"),
            );
            problems.push(Problem {
                key: name.into(),
                origin: origin.clone(),
                message: format!("there is no such key{hint}"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Records video.
    ///
    /// Further lines are not part of the summary.
    #[derive(Clone, Debug, PartialEq, sideline_derive::Config)]
    #[config(check = RecorderConfig::check)]
    struct RecorderConfig {
        /// Number of buffered frames.
        #[config(default = 30, live, range(1, 300), former_frames = "kept")]
        buffer: u32,
        /// Path of the output.
        #[config(default = "out")]
        path: PathBuf,
        /// Points of a polygon.
        #[config(default = Vec::new())]
        points: Vec<f32>,
        /// Names of the streams.
        #[config(default = Vec::new())]
        names: Vec<String>,
        /// Optional end, seconds.
        #[config(default = None)]
        until: Option<f64>,
        /// Layer of the output.
        #[config(default = "upper", former = "level")]
        layer: Layer,
        /// Required path of the input.
        source: String,
        /// Key that is a keyword of Rust.
        #[config(default = false, instead_of = "until")]
        r#loop: bool,
    }

    impl RecorderConfig {
        fn check(&self) -> Vec<(&'static str, String)> {
            let both = self.r#loop && self.until.is_some();
            if both { vec![("loop", "has no end, and `until` is one".into())] } else { vec![] }
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Layer {
        Upper,
        Lower,
    }

    fn problems(values: Values) -> Vec<String> {
        RecorderConfig::from_values(&values).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_that_are_not_set_have_their_defaults() {
        let config = RecorderConfig::from_values(&[("source", json!("a.mp4"))].into()).unwrap();
        assert_eq!(
            config,
            RecorderConfig {
                buffer: 30,
                path: "out".into(),
                points: vec![],
                names: vec![],
                until: None,
                layer: Layer::Upper,
                source: "a.mp4".into(),
                r#loop: false
            }
        );
        assert_eq!(RecorderConfig::ABOUT, "Records video.");
        assert_eq!(config.to_values()[0], ("buffer", json!(30)));
        assert!(RecorderConfig::keys()[0].live && !RecorderConfig::keys()[1].live);
    }

    #[test]
    fn lists_and_numbers_are_parsed_from_text() {
        let values = [("source", json!(7)), ("points", json!("[1, 2.5]")), ("buffer", json!("12"))].into();
        let config = RecorderConfig::from_values(&values).unwrap();
        assert_eq!((config.points, config.source.as_str(), config.buffer), (vec![1.0, 2.5], "7", 12));
    }

    #[test]
    fn a_list_of_words_may_be_written_without_brackets() {
        for (written, read) in
            [("all", vec!["all"]), ("person, ball", vec!["person", "ball"]), ("[ball]", vec!["ball"])]
        {
            let values = [("source", json!("a")), ("names", json!(written))].into();
            assert_eq!(RecorderConfig::from_values(&values).unwrap().names, read, "{written}");
        }
    }

    #[test]
    fn an_invalid_choice_is_reported_with_the_most_similar_one() {
        let found = |word: &str| problems([("source", json!("a")), ("layer", json!(word))].into()).remove(0);
        assert_eq!(found("uper"), "command line: key `layer`: `uper` is none of upper, lower; did you mean `upper`?");
        assert_eq!(found("x"), "command line: key `layer`: `x` is none of upper, lower");
    }

    #[test]
    fn a_former_name_is_an_error_with_the_new_name_and_the_converted_value() {
        let found = problems([("source", json!("a")), ("level", json!("lower")), ("kept", json!(45))].into());
        assert_eq!(
            found,
            [
                "command line: key `kept`: there is no such key any more; it is `buffer` now, in seconds: 45 frames at 30 a \
                 second are 1.5",
                "command line: key `level`: there is no such key any more; it is `layer` now",
            ]
        );
    }

    #[test]
    fn an_error_of_a_list_shows_the_syntax_of_lists_or_the_wrong_item() {
        for value in [json!("one, two"), json!(7)] {
            let found = problems([("source", json!("a.mp4")), ("points", value)].into());
            assert!(found[0].contains("is not a list of numbers; write one as text: `\"[a, b]\"`"), "{found:?}");
        }
        for value in [json!(["one"]), json!("[one]")] {
            let found = problems([("source", json!("a.mp4")), ("points", value)].into());
            assert!(found[0].ends_with("key `points`: item 1: `one` is not a number"), "{found:?}");
        }
    }

    /// Has a key of each kind of number.
    #[derive(Clone, Debug, Default, PartialEq, sideline_derive::Config)]
    struct RangeConfig {
        /// Integer with a range.
        #[config(default = 1, range(1, 300))]
        integer: u32,
        /// Number of 32 bits with a range.
        #[config(default = 0.8, range(0.1, 0.8))]
        share: f32,
        /// Optional number with a range.
        #[config(default = None, range(0, 1))]
        optional: Option<f64>,
        /// List of numbers with a range.
        #[config(default = Vec::new(), range(0, 1))]
        list: Vec<f32>,
        /// List of pairs with a range.
        #[config(default = Vec::new(), range(0, 10_000))]
        corners: Vec<[f32; 2]>,
        /// Map of numbers with a range.
        #[config(default = BTreeMap::new(), range(0, 1))]
        map: BTreeMap<String, f64>,
        /// Value of any kind with a range.
        #[config(default = Value::from(1), range(1, 9))]
        any: Value,
        /// Number without a range.
        #[config(default = 1.0)]
        unbounded: f64,
    }

    #[test]
    fn ranges_and_finiteness_hold_for_every_syntax_of_a_value() {
        for (key, value, expected) in [
            ("integer", json!(0), "0 is out of range, 1 to 300 is allowed"),
            ("integer", json!("0"), "0 is out of range, 1 to 300 is allowed"),
            ("integer", json!("\"5000\""), "`\"5000\"` is not a whole number"),
            ("integer", json!(-1), "-1 is out of range, 1 to 300 is allowed"),
            ("integer", json!("-0"), "0 is out of range, 1 to 300 is allowed"),
            ("integer", json!(2.5), "`2.5` is not a whole number"),
            ("integer", json!("1e999"), "`1e999` is not a finite number"),
            ("share", json!(0.81), "0.81 is out of range, 0.1 to 0.8 is allowed"),
            ("share", json!("0.81"), "0.81 is out of range, 0.1 to 0.8 is allowed"),
            ("share", json!(".nan"), "`.nan` is not a finite number"),
            ("share", json!("-.inf"), "`-.inf` is not a finite number"),
            ("optional", json!(2), "2 is out of range, 0 to 1 is allowed"),
            ("optional", json!("2"), "2 is out of range, 0 to 1 is allowed"),
            ("optional", json!(".nan"), "`.nan` is not a finite number"),
            ("list", json!([0.5, 2]), "2 is out of range, 0 to 1 is allowed"),
            ("list", json!("[0.5, '2']"), "2 is out of range, 0 to 1 is allowed"),
            ("list", json!("[0.5, .nan]"), "item 2: `.nan` is not a finite number"),
            ("list", json!(["1e999"]), "item 1: `1e999` is not a finite number"),
            ("corners", json!([[0, 1], [2, -3]]), "-3 is out of range, 0 to 10000 is allowed"),
            ("corners", json!([[0, 1, 2]]), "item 1: `[0,1,2]` is not a list of 2 numbers"),
            ("map", json!({"a": 3}), "3 is out of range, 0 to 1 is allowed"),
            ("map", json!("{a: 3.5}"), "3.5 is out of range, 0 to 1 is allowed"),
            ("any", json!({"x": [1, 10]}), "10 is out of range, 1 to 9 is allowed"),
            ("unbounded", json!("NaN"), "`NaN` is not a finite number"),
            ("unbounded", json!("inf"), "`inf` is not a finite number"),
            ("unbounded", json!(null), "`null` is not a number"),
        ] {
            let found = RangeConfig::from_values(&[(key, value.clone())].into());
            let found: Vec<String> = found.expect_err(key).into_iter().map(|problem| problem.message).collect();
            assert_eq!(found, [expected], "{key}: {value}");
        }
    }

    #[test]
    fn numbers_of_32_bits_are_displayed_as_written() {
        let values = [("share", json!("0.3")), ("list", json!([0.1, 0.7])), ("corners", json!("[[0.1, 7]]"))].into();
        let config = RangeConfig::from_values(&values).unwrap();
        let shown: BTreeMap<&str, String> =
            config.to_values().into_iter().map(|(key, value)| (key, value.to_string())).collect();
        assert_eq!((&*shown["share"], &*shown["list"], &*shown["corners"]), ("0.3", "[0.1,0.7]", "[[0.1,7.0]]"));
        assert_eq!(shown["unbounded"], "1.0");
    }

    #[test]
    fn values_have_the_type_of_the_key_for_every_syntax() {
        for optional in [json!("0.5"), json!(0.5)] {
            assert_eq!(RangeConfig::from_values(&[("optional", optional)].into()).unwrap().optional, Some(0.5));
        }
        for none in [json!(null), json!("null"), json!("~"), json!("")] {
            assert_eq!(RangeConfig::from_values(&[("optional", none)].into()).unwrap().optional, None);
        }
        let values = [("source", json!(true)), ("layer", json!("lower")), ("loop", json!("true"))].into();
        let config = RecorderConfig::from_values(&values).unwrap();
        assert_eq!((config.source.as_str(), config.layer, config.r#loop), ("true", Layer::Lower, true));
    }

    #[test]
    fn the_yaml_text_of_a_value_has_the_limits_of_a_file() {
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
        let keys = RecorderConfig::keys();
        let layer = keys.iter().find(|key| key.name == "layer").unwrap();
        assert_eq!(
            (layer.kind.to_string().as_str(), layer.kind.choices()),
            ("one of upper, lower", &["upper", "lower"][..])
        );
        const { assert!(RecorderConfig::HAS_LIVE && !RangeConfig::HAS_LIVE) };
    }

    #[test]
    fn conflicting_keys_are_reported_with_the_origin_of_one_of_them() {
        let mut values: Values = [("source", json!("a.mp4")), ("until", json!(3))].into();
        values.set("loop", true, Origin::File { path: "fight.yml".into(), line: 12, column: 9 });
        assert_eq!(problems(values), ["fight.yml:12:9: key `loop`: has no end, and `until` is one"]);
        assert_eq!(RecorderConfig::keys()[7].instead_of, Some("until"));
    }

    #[test]
    fn every_problem_is_reported_with_its_origin_and_remedy() {
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
