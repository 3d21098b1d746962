//! YAML with places: a tree that knows line and column of every key and value, for errors that name them; and the one way
//! by which any YAML text is read.
//!
//! Flows are read twice: their values come from dora's own reading of the same text, so that both always agree, and this
//! tree says where they stand. An operator that has a file of its own reads it with this alone.
//!
//! A text may come from anybody. So [`Yaml::parse`] bounds size, depth and what aliases make of it before memory is spent,
//! and [`read_text`], [`from_str`] and [`json`] stand on it; `serde_yaml` is not called elsewhere.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    io::{self, Read},
    path::Path,
};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde::de::DeserializeOwned;

/// Most bytes of a YAML file.
pub const MAX_BYTES: usize = 4 << 20;
/// Most keys, values, lists and maps of a text, aliases replaced by what they name.
pub const MAX_VALUES: usize = 200_000;
/// Most bytes of all keys and values, aliases replaced by what they name.
const MAX_EXPANDED_BYTES: usize = 4 * MAX_BYTES;
/// Most lists and maps inside each other.
pub const MAX_DEPTH: usize = 100;

/// A part of a YAML text.
#[derive(Clone, Debug, Default)]
pub struct Yaml {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Content.
    pub kind: Kind,
    /// True for a value without quotes and not a `|` or `>` block: only such a one can be a number or null.
    pub plain: bool,
}

/// Content of a part of a YAML text.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Text, a number, a truth value: as it is written.
    Scalar(String),
    /// A list.
    List(Vec<Yaml>),
    /// Keys and their values, in the order of the file.
    Map(Vec<(Yaml, Yaml)>),
}

impl Default for Kind {
    fn default() -> Self {
        Kind::Scalar(String::new())
    }
}

/// A mistake in a YAML text, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// The mistake.
    pub message: String,
}

impl Broken {
    /// Returns the text `FILE:LINE:COLUMN: message`.
    pub fn in_file(&self, file: impl fmt::Display) -> String {
        format!("{file}:{}:{}: {}", self.line, self.column, self.message)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for Broken {}

/// Reads the text of a YAML file, without a byte order mark.
///
/// # Errors
/// When it cannot be read, is larger than [`MAX_BYTES`], or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = vec![];
    std::fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        let text = format!("is larger than {} MB, the most that is read of such a file", MAX_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not text in UTF-8: save the file as UTF-8"))
    })?;
    Ok(text.strip_prefix(BYTE_ORDER_MARK).map(str::to_owned).unwrap_or(text))
}

/// Reads a value of a known type from a text.
///
/// # Errors
/// Where it is no YAML, or not such a value.
#[expect(clippy::disallowed_methods, reason = "the one way to serde_yaml, after the text was bounded")]
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Broken> {
    Yaml::parse(text)?;
    serde_yaml::from_str(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)).map_err(|e| {
        let (line, column) = e.location().map_or((1, 1), |at| (at.line(), at.column()));
        Broken { line, column, message: plain_words(&e.to_string()) }
    })
}

/// Reads any value from a text. What JSON has no number for (`.nan`, `.inf`) stays the text that it is in YAML.
///
/// # Errors
/// Where it is no YAML.
pub fn json(text: &str) -> Result<serde_json::Value, Broken> {
    from_str(text).map(as_json)
}

fn as_json(value: serde_yaml::Value) -> serde_json::Value {
    use serde_yaml::Value;
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => value.into(),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => number.into(),
            (_, Some(number), _) => number.into(),
            (.., Some(number)) if number.is_finite() => number.into(),
            _ => number.to_string().into(),
        },
        Value::String(text) => text.into(),
        Value::Sequence(items) => items.into_iter().map(as_json).collect(),
        Value::Mapping(pairs) => {
            let name = |key| match as_json(key) {
                serde_json::Value::String(name) => name,
                other => other.to_string(),
            };
            pairs.into_iter().map(|(key, value)| (name(key), as_json(value))).collect()
        }
        Value::Tagged(tagged) => as_json(tagged.value),
    }
}

/// Returns what serde says of a mistake without names of Rust types, and without the place, which is told beside it.
pub fn plain_words(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = if message.starts_with(".[") { &message[1..] } else { message };
    if let Some((before, _)) = message.split_once("data did not match any variant of untagged enum") {
        return format!("{before}the value has none of the forms that are known here");
    }
    let Some((before, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let word = expected.split_whitespace().next().unwrap_or_default();
    let expected = match word {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "nonzero" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "struct" | "unit" => "a map",
        "enum" => "one of a few words",
        _ => match expected {
            "a string" | "string" | "path string" | "a borrowed string" => "text",
            "a sequence" => "a list",
            "a boolean" => "true or false",
            other => other,
        },
    };
    let before = before.replace("string \"", "text \"").replace("floating point `", "number `");
    let before = before.replace("invalid type: unit value", "invalid type: nothing").replace("sequence", "list");
    format!("{before}, expected {expected}")
}

const BYTE_ORDER_MARK: char = '\u{feff}';

impl Yaml {
    /// Reads the document of a text; aliases stand for what they name.
    ///
    /// # Errors
    /// Where it is no YAML, a key stands twice in one map, or the text is larger, deeper or more expanded than the limits
    /// of this module allow.
    pub fn parse(text: &str) -> Result<Yaml, Broken> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        check_characters(text)?;
        let mut builder = Builder::default();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|e| Broken {
                line: e.marker().line(),
                column: e.marker().col() + 1,
                message: e.info().to_owned(),
            })?;
            builder.event(event, span)?;
        }
        Ok(builder.done.unwrap_or_default())
    }

    /// Text, where it is no list and no map.
    pub fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// True where nothing is written, or YAML's word for nothing.
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.scalar(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// The items of a list; none where it is something else.
    pub fn list(&self) -> &[Yaml] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// Keys and values of a map; none where it is something else.
    pub fn map(&self) -> &[(Yaml, Yaml)] {
        match &self.kind {
            Kind::Map(pairs) => pairs,
            _ => &[],
        }
    }

    /// True for a map.
    pub fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    /// Key and value of a map.
    pub fn entry(&self, key: &str) -> Option<(&Yaml, &Yaml)> {
        self.map().iter().find(|(k, _)| k.scalar() == Some(key)).map(|(k, v)| (k, v))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.entry(key).map(|(_, value)| value)
    }

    /// The text of a key's value.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.scalar()
    }

    /// The texts of a key's list.
    pub fn texts(&self, key: &str) -> Vec<&str> {
        self.get(key).map_or_else(Vec::new, |list| list.list().iter().filter_map(Yaml::scalar).collect())
    }

    /// The key that stands at the end of a path of keys.
    pub fn key_at(&self, path: &[&str]) -> Option<&Yaml> {
        let (key, value) = self.entry(path.first()?)?;
        if path.len() == 1 { Some(key) } else { value.key_at(&path[1..]) }
    }

    /// Any key of that name from a line on: for errors of others that tell names but no columns.
    pub fn find_key(&self, name: &str, from_line: usize) -> Option<&Yaml> {
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::List(items) => items.iter().find_map(|item| item.find_key(name, from_line)),
            Kind::Map(pairs) => pairs.iter().find_map(|(key, value)| {
                (key.scalar() == Some(name) && key.line >= from_line)
                    .then_some(key)
                    .or_else(|| value.find_key(name, from_line))
            }),
        }
    }
}

/// Refuses characters that two readers take for different things: YAML 1.1, which dora reads, ends a line (and a comment) at
/// U+0085, U+2028 and U+2029, YAML 1.2 does not; NUL ends the whole text for one of them, and byte order marks are passed over
/// by one and read by the other. YAML forbids control characters.
fn check_characters(text: &str) -> Result<(), Broken> {
    let ambiguous = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | BYTE_ORDER_MARK);
    let forbidden = |c: char| ambiguous(c) || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
    let Some((at, found)) = text.char_indices().find(|(_, c)| forbidden(*c)) else { return Ok(()) };
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let message = format!("the control character U+{:04X} stands here: take it out", u32::from(found));
    Err(Broken { line, column, message })
}

/// Puts events together to a tree.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    size: Size,
    ended: bool,
    done: Option<Yaml>,
}

/// A list or map whose end has not come.
struct Open {
    yaml: Yaml,
    anchor: usize,
    /// Size of the whole text before it.
    before: Size,
    key: Option<Yaml>,
    /// Line of each key of a map.
    keys: HashMap<String, usize>,
}

/// What an alias stands for.
struct Anchored {
    yaml: Yaml,
    size: Size,
}

/// Size of a tree, aliases replaced by what they name.
#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Broken> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let at = |kind| Yaml { line, column, kind, plain: false };
        let broken = |message: &str| Broken { line, column, message: message.into() };
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let before = self.size;
                self.grow(Size { values: 1, bytes: text.len() }, line, column)?;
                let plain = style == ScalarStyle::Plain;
                self.put(Yaml { plain, ..at(Kind::Scalar(text.into_owned())) }, anchor, before)
            }
            Event::Alias(anchor) => {
                let Some(Anchored { size, .. }) = self.anchors.get(&anchor) else {
                    return Err(broken("this alias stands within what it names"));
                };
                let (before, size) = (self.size, *size);
                // Counted before it is copied: a few lines of aliases can name more than any memory holds.
                self.grow(size, line, column)?;
                let named = self.anchors.get(&anchor).map(|anchored| anchored.yaml.clone()).unwrap_or_default();
                self.put(Yaml { line, column, ..named }, 0, before)
            }
            Event::SequenceStart(anchor, _) => self.start(at(Kind::List(vec![])), anchor),
            Event::MappingStart(anchor, _) => self.start(at(Kind::Map(vec![])), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.put(open.yaml, open.anchor, open.before),
                None => Ok(()),
            },
            Event::DocumentStart(_) if self.ended => {
                Err(broken("a second document begins here, and a file holds one: take the `---` away"))
            }
            Event::DocumentEnd => {
                self.ended = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Counts what is added to the tree.
    fn grow(&mut self, by: Size, line: usize, column: usize) -> Result<(), Broken> {
        self.size.values = self.size.values.saturating_add(by.values);
        self.size.bytes = self.size.bytes.saturating_add(by.bytes);
        if self.size.values <= MAX_VALUES && self.size.bytes <= MAX_EXPANDED_BYTES {
            return Ok(());
        }
        let message = format!(
            "the text is too large up to here: {MAX_VALUES} values and {} MB are the most, with every alias (`*name`) \
             counted as what it names",
            MAX_EXPANDED_BYTES >> 20
        );
        Err(Broken { line, column, message })
    }

    fn start(&mut self, yaml: Yaml, anchor: usize) -> Result<(), Broken> {
        if self.open.len() == MAX_DEPTH {
            let message = format!("lists and maps lie deeper than {MAX_DEPTH} in each other");
            return Err(Broken { line: yaml.line, column: yaml.column, message });
        }
        let before = self.size;
        self.grow(Size { values: 1, bytes: 0 }, yaml.line, yaml.column)?;
        self.open.push(Open { yaml, anchor, before, key: None, keys: HashMap::new() });
        Ok(())
    }

    /// Puts a finished part where it belongs; `before` is the size of the text before it.
    fn put(&mut self, yaml: Yaml, anchor: usize, before: Size) -> Result<(), Broken> {
        if anchor > 0 {
            let size = Size { values: self.size.values - before.values, bytes: self.size.bytes - before.bytes };
            // The copy that is kept for aliases counts too.
            self.grow(size, yaml.line, yaml.column)?;
            self.anchors.insert(anchor, Anchored { yaml: yaml.clone(), size });
        }
        let Some(open) = self.open.last_mut() else {
            self.done = Some(yaml);
            return Ok(());
        };
        match &mut open.yaml.kind {
            Kind::List(items) => items.push(yaml),
            Kind::Map(pairs) => match open.key.take() {
                Some(key) => pairs.push((key, yaml)),
                None => {
                    check_key(&mut open.keys, &yaml)?;
                    open.key = Some(yaml);
                }
            },
            Kind::Scalar(_) => {}
        }
        Ok(())
    }
}

/// Refuses a key that stands twice, of which dora would silently take the later, and a merge key, which dora does not know.
fn check_key(keys: &mut HashMap<String, usize>, key: &Yaml) -> Result<(), Broken> {
    let Some(name) = key.scalar() else { return Ok(()) };
    let broken = |message: String| Err(Broken { line: key.line, column: key.column, message });
    if key.plain && name == "<<" {
        return broken("merge keys (`<<`) are not read: write the keys out".into());
    }
    match keys.entry(name.to_owned()) {
        Entry::Occupied(first) => broken(format!("the key `{name}` stands here already, in line {}", first.get())),
        Entry::Vacant(entry) => {
            entry.insert(key.line);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Yaml::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn every_key_knows_its_line_and_column() {
        for end in ["\n", "\r\n"] {
            let text = "a: 1\nnodes:\n  - id: x\n    inputs: {in: a/b}\n".replace('\n', end);
            let tree = Yaml::parse(&text).map_err(|b| b.message).unwrap();
            let node = &tree.get("nodes").unwrap().list()[0];
            assert_eq!((node.line, node.column), (3, 5));
            let key = node.key_at(&["inputs", "in"]).unwrap();
            assert_eq!((key.line, key.column), (4, 14));
            assert_eq!(tree.find_key("in", 0).unwrap().line, 4);
        }
    }

    #[test]
    fn an_alias_stands_for_what_was_named() {
        let tree = Yaml::parse("a: &x [1, 2]\nb: *x\n").map_err(|b| b.message).unwrap();
        assert_eq!(tree.texts("b"), ["1", "2"]);
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error() {
        let broken = Yaml::parse("a: 1\nb: 2\na: 3\n").err().unwrap();
        assert_eq!((broken.line, broken.column), (3, 1));
        assert!(broken.message.contains("line 1"));
    }

    #[test]
    fn aliases_that_multiply_are_refused_where_they_pass_the_limit() {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, before) in ('b'..='i').zip('a'..) {
            let aliases = vec![format!("*{before}"); 10].join(",");
            text += &format!("{name}: &{name} [{aliases}]\n");
        }
        assert!(text.len() < 500);
        let found = message(&text);
        assert!(found.starts_with("line 5, column ") && found.contains("200000 values"), "{found}");
        // Of one long text as of many values.
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 100].join(","));
        assert!(message(&long).starts_with("line 2, column "), "{}", message(&long));
    }

    #[test]
    fn nested_anchors_are_not_copied_without_limit() {
        let text = (0..90).map(|i| format!("&a{i} [")).collect::<String>() + &"x,".repeat(50_000);
        assert!(message(&(text + &"]".repeat(90))).contains("too large"));
    }

    #[test]
    fn deep_texts_are_refused_at_the_limit() {
        for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), "? ".repeat(100_000)] {
            let found = message(&text);
            let deep = ["deeper than 100", "recursion limit exceeded"].iter().any(|limit| found.contains(limit));
            assert!(deep && found.starts_with("line 1, column "), "{found}");
        }
    }

    #[test]
    fn what_is_read_otherwise_than_it_looks_is_refused() {
        for (text, expected) in [
            ("a: 1\nb: \0c\n", "line 2, column 4: the control character U+0000"),
            ("# one line\u{85}b: 2\n", "line 1, column 11: the control character U+0085"),
            ("# one line\u{2028}b: 2\n", "line 1, column 11: the control character U+2028"),
            ("\u{feff}\u{feff}a: 1\n", "line 1, column 1: the control character U+FEFF"),
            ("base: &b {x: 1}\nnode:\n  <<: *b\n", "line 3, column 3: merge keys"),
            ("a: &x [1, *x]\n", "line 1, column 11: this alias stands within what it names"),
            ("a: 1\n---\nb: 2\n", "line 2, column 1: a second document"),
        ] {
            let found = message(text);
            assert!(found.starts_with(expected), "{found}");
        }
        assert_eq!(Yaml::parse("\u{feff}a: 1\n").unwrap().text("a"), Some("1"));
        assert_eq!(json("\u{feff}a: 1\n").unwrap(), serde_json::json!({"a": 1}));
    }

    #[test]
    fn a_file_that_is_no_text_or_too_large_is_told_without_reading_it_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yml");
        std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
        assert!(read_text(&path).unwrap_err().to_string().starts_with("line 2 is not text in UTF-8"));
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().starts_with("is larger than 4 MB"));
        std::fs::write(&path, "\u{feff}a: 1\n").unwrap();
        assert_eq!(read_text(&path).unwrap(), "a: 1\n");
    }

    #[test]
    fn numbers_that_json_lacks_stay_text() {
        assert_eq!(json("[.nan, -.inf, 1.5, 7]").unwrap(), serde_json::json!([".nan", "-.inf", 1.5, 7]));
    }

    #[test]
    fn mistakes_name_no_type_of_rust() {
        #[derive(Debug, serde::Deserialize)]
        struct Thing {
            #[allow(dead_code, reason = "only its type matters")]
            count: u32,
        }
        let found = |text: &str| from_str::<Vec<Thing>>(text).unwrap_err().to_string();
        assert_eq!(
            found("- count: many\n"),
            "line 1, column 10: [0].count: invalid type: text \"many\", expected a whole number from 0"
        );
        assert_eq!(found("- 2\n"), "line 1, column 3: [0]: invalid type: integer `2`, expected a map");
    }
}
