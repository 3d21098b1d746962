//! YAML parser that records the line and column of every key and value, for error messages.
//!
//! Flows are parsed twice: their values come from dora's parser, so that Sideline and dora always agree, and this tree gives
//! the positions. Operators that have their own files parse them with this module alone.
//!
//! A text may come from an untrusted source. [`Yaml::parse`] therefore bounds its size, its depth and the expansion of
//! aliases before memory is allocated. [`from_str`] and [`json`] call it first, and [`read_text`] bounds the size of a file;
//! `serde_yaml` is not called elsewhere.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    io::{self, Read},
    path::Path,
};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde::de::DeserializeOwned;

/// Maximum size of a YAML file, bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// Maximum number of keys, values, lists and maps of a text with expanded aliases.
pub const MAX_VALUES: usize = 200_000;
/// Maximum size of all keys and values with expanded aliases, bytes.
const MAX_EXPANDED_BYTES: usize = 4 * MAX_BYTES;
/// Maximum nesting depth of lists and maps.
pub const MAX_DEPTH: usize = 100;

/// Node of a YAML tree.
#[derive(Clone, Debug, Default)]
pub struct Yaml {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Content.
    pub kind: Kind,
    /// True for a plain scalar: neither quoted nor a `|` or `>` block. Only a plain scalar can be a number or null.
    pub is_plain: bool,
}

/// Content of a node.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Text, number or boolean, as written.
    Scalar(String),
    /// List of items.
    List(Vec<Yaml>),
    /// Keys and values in the order of the file.
    Map(Vec<(Yaml, Yaml)>),
}

impl Default for Kind {
    fn default() -> Self {
        Kind::Scalar(String::new())
    }
}

/// Error in a YAML text, with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Description of the error.
    pub message: String,
}

impl ParseError {
    /// Returns the text `FILE:LINE:COLUMN: message`.
    pub fn in_file(&self, file: impl fmt::Display) -> String {
        format!("{file}:{}:{}: {}", self.line, self.column, self.message)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Reads the text of a YAML file and removes a byte order mark.
///
/// # Errors
/// When it is not a regular file (a pipe may never be written to), cannot be read, is larger than [`MAX_BYTES`], or is not
/// UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() && !metadata.is_dir() {
        let text = "is a device or pipe: write the text to a file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut bytes = vec![];
    std::fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        let text = format!("is larger than {} MB, the limit for YAML files", MAX_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not text in UTF-8: save the file as UTF-8"))
    })?;
    Ok(text.strip_prefix(BYTE_ORDER_MARK).map(str::to_owned).unwrap_or(text))
}

/// Deserializes a value from a text.
///
/// # Errors
/// When the text is not valid YAML or not a value of the type.
#[expect(clippy::disallowed_methods, reason = "the only call of serde_yaml, after the text was bounded")]
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, ParseError> {
    Yaml::parse(text)?;
    serde_yaml::from_str(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)).map_err(|e| {
        let (line, column) = e.location().map_or((1, 1), |at| (at.line(), at.column()));
        ParseError { line, column, message: describe_serde_error(&e.to_string()) }
    })
}

/// Reads any value from a text. Numbers that JSON does not have (`.nan`, `.inf`) are returned as text.
///
/// # Errors
/// When the text is not valid YAML.
pub fn json(text: &str) -> Result<serde_json::Value, ParseError> {
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

/// Rewrites an error message of serde without Rust type names and without the position, which is reported separately.
pub fn describe_serde_error(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = if message.starts_with(".[") { &message[1..] } else { message };
    if let Some((before, _)) = message.split_once("data did not match any variant of untagged enum") {
        return format!("{before}the value has none of the accepted forms");
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
    /// Parses the document of a text and expands its aliases.
    ///
    /// # Errors
    /// When the text is not valid YAML, a map has a duplicate key, or the size, depth or expansion exceeds the limits of this
    /// module.
    pub fn parse(text: &str) -> Result<Yaml, ParseError> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        check_characters(text)?;
        let mut builder = Builder::default();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|e| ParseError {
                line: e.marker().line(),
                column: e.marker().col() + 1,
                message: e.info().to_owned(),
            })?;
            builder.event(event, span)?;
        }
        Ok(builder.done.unwrap_or_default())
    }

    /// Returns the text of a scalar.
    pub fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// Returns true for an empty value or YAML's null.
    pub fn is_null(&self) -> bool {
        self.is_plain && matches!(self.scalar(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// Returns the items of a list; empty for other nodes.
    pub fn list(&self) -> &[Yaml] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the keys and values of a map; empty for other nodes.
    pub fn map(&self) -> &[(Yaml, Yaml)] {
        match &self.kind {
            Kind::Map(pairs) => pairs,
            _ => &[],
        }
    }

    /// Returns true for a map.
    pub fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    /// Returns a key of a map with its value.
    pub fn entry(&self, key: &str) -> Option<(&Yaml, &Yaml)> {
        self.map().iter().find(|(k, _)| k.scalar() == Some(key)).map(|(k, v)| (k, v))
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Returns the text of a key's value.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.scalar()
    }

    /// Returns the texts of the list that is a key's value.
    pub fn texts(&self, key: &str) -> Vec<&str> {
        self.get(key).map_or_else(Vec::new, |list| list.list().iter().filter_map(Yaml::scalar).collect())
    }

    /// Returns the last key of a path of keys.
    pub fn key_at(&self, path: &[&str]) -> Option<&Yaml> {
        let (key, value) = self.entry(path.first()?)?;
        if path.len() == 1 { Some(key) } else { value.key_at(&path[1..]) }
    }

    /// Finds a key of that name at or after a line, for errors of other parsers that give a name but no column.
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

/// Refuses characters that the two parsers read differently: YAML 1.1, which dora reads, ends a line (and a comment) at
/// U+0085, U+2028 and U+2029, YAML 1.2 does not; NUL ends the whole text for one of them, and byte order marks within the
/// text are ignored by one and read by the other. YAML forbids other control characters.
fn check_characters(text: &str) -> Result<(), ParseError> {
    let is_ambiguous = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | BYTE_ORDER_MARK);
    let is_forbidden = |c: char| is_ambiguous(c) || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
    let Some((at, found)) = text.char_indices().find(|(_, c)| is_forbidden(*c)) else { return Ok(()) };
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let message = format!("the control character U+{:04X} is not allowed here: remove it", u32::from(found));
    Err(ParseError { line, column, message })
}

/// Builds a tree from parser events.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    size: Size,
    ended: bool,
    done: Option<Yaml>,
}

/// List or map whose end event has not come yet.
struct Open {
    yaml: Yaml,
    anchor: usize,
    /// Size of the tree before this node.
    before: Size,
    key: Option<Yaml>,
    /// Line of each key of a map.
    keys: HashMap<String, usize>,
}

/// Anchored node, the target of aliases.
struct Anchored {
    yaml: Yaml,
    size: Size,
}

/// Size of a tree with expanded aliases.
#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), ParseError> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let node = |kind| Yaml { line, column, kind, is_plain: false };
        let error = |message: &str| ParseError { line, column, message: message.into() };
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let before = self.size;
                self.grow(Size { values: 1, bytes: text.len() }, line, column)?;
                let is_plain = style == ScalarStyle::Plain;
                self.put(Yaml { is_plain, ..node(Kind::Scalar(text.into_owned())) }, anchor, before)
            }
            Event::Alias(anchor) => {
                let Some(Anchored { size, .. }) = self.anchors.get(&anchor) else {
                    return Err(error("this alias is within the node that it refers to"));
                };
                let (before, size) = (self.size, *size);
                // Counted before it is copied: a few lines of aliases can expand to more than any memory holds.
                self.grow(size, line, column)?;
                let target = self.anchors.get(&anchor).map(|anchored| anchored.yaml.clone()).unwrap_or_default();
                self.put(Yaml { line, column, ..target }, 0, before)
            }
            Event::SequenceStart(anchor, _) => self.start(node(Kind::List(vec![])), anchor),
            Event::MappingStart(anchor, _) => self.start(node(Kind::Map(vec![])), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.put(open.yaml, open.anchor, open.before),
                None => Ok(()),
            },
            Event::DocumentStart(_) if self.ended => {
                Err(error("a second document begins here, and a file has one: remove the `---`"))
            }
            Event::DocumentEnd => {
                self.ended = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Adds to the size of the tree and checks the limits.
    fn grow(&mut self, by: Size, line: usize, column: usize) -> Result<(), ParseError> {
        self.size.values = self.size.values.saturating_add(by.values);
        self.size.bytes = self.size.bytes.saturating_add(by.bytes);
        if self.size.values <= MAX_VALUES && self.size.bytes <= MAX_EXPANDED_BYTES {
            return Ok(());
        }
        let message = format!(
            "the text is too large up to here: at most {MAX_VALUES} values and {} MB are allowed, with every alias (`*name`) \
             counted as the node that it refers to",
            MAX_EXPANDED_BYTES >> 20
        );
        Err(ParseError { line, column, message })
    }

    fn start(&mut self, yaml: Yaml, anchor: usize) -> Result<(), ParseError> {
        if self.open.len() == MAX_DEPTH {
            let message = format!("lists and maps are nested deeper than {MAX_DEPTH} levels");
            return Err(ParseError { line: yaml.line, column: yaml.column, message });
        }
        let before = self.size;
        self.grow(Size { values: 1, bytes: 0 }, yaml.line, yaml.column)?;
        self.open.push(Open { yaml, anchor, before, key: None, keys: HashMap::new() });
        Ok(())
    }

    /// Adds a finished node to the list or map that is open; `before` is the size of the tree before the node.
    fn put(&mut self, yaml: Yaml, anchor: usize, before: Size) -> Result<(), ParseError> {
        if anchor > 0 {
            let size = Size { values: self.size.values - before.values, bytes: self.size.bytes - before.bytes };
            // The copy that is kept for aliases counts as well.
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

/// Refuses a duplicate key, of which dora would silently take the later one, a merge key, which dora does not support, and a key
/// that is a list or a map: as JSON it would be text that grows exponentially with its depth.
fn check_key(keys: &mut HashMap<String, usize>, key: &Yaml) -> Result<(), ParseError> {
    let error = |message: String| Err(ParseError { line: key.line, column: key.column, message });
    let Some(name) = key.scalar() else { return error("a key is a word, not a list or a map".into()) };
    if key.is_plain && name == "<<" {
        return error("merge keys (`<<`) are not supported: write the keys out".into());
    }
    match keys.entry(name.to_owned()) {
        Entry::Occupied(first) => error(format!("duplicate key `{name}`: it is already in line {}", first.get())),
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
    fn keys_that_are_lists_or_maps_are_refused() {
        for text in ["{{a: 1}: 2}", "? [a]\n: 1", "{[]: 1}"] {
            assert!(message(text).contains("a key is a word, not a list or a map"), "{text}");
        }
        assert!(json(&"{".repeat(40)).is_err());
        assert!(json(&format!("{}a{}", "{".repeat(40), "}".repeat(40))).is_err());
    }

    #[test]
    fn every_node_has_its_line_and_column() {
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
    fn an_alias_is_replaced_by_its_anchored_node() {
        let tree = Yaml::parse("a: &x [1, 2]\nb: *x\n").map_err(|b| b.message).unwrap();
        assert_eq!(tree.texts("b"), ["1", "2"]);
    }

    #[test]
    fn a_duplicate_key_is_an_error() {
        let error = Yaml::parse("a: 1\nb: 2\na: 3\n").err().unwrap();
        assert_eq!((error.line, error.column), (3, 1));
        assert!(error.message.contains("line 1"));
    }

    #[test]
    fn exponential_aliases_are_refused_where_they_exceed_the_limit() {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, before) in ('b'..='i').zip('a'..) {
            let aliases = vec![format!("*{before}"); 10].join(",");
            text += &format!("{name}: &{name} [{aliases}]\n");
        }
        assert!(text.len() < 500);
        let found = message(&text);
        assert!(found.starts_with("line 5, column ") && found.contains("200000 values"), "{found}");
        // The limit on bytes refuses aliases of one long text.
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 100].join(","));
        assert!(message(&long).starts_with("line 2, column "), "{}", message(&long));
    }

    #[test]
    fn copies_of_nested_anchors_are_limited() {
        let text = (0..90).map(|i| format!("&a{i} [")).collect::<String>() + &"x,".repeat(50_000);
        assert!(message(&(text + &"]".repeat(90))).contains("too large"));
    }

    #[test]
    fn nesting_is_refused_at_the_limit() {
        for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), "? ".repeat(100_000)] {
            let found = message(&text);
            let deep = ["deeper than 100", "recursion limit exceeded"].iter().any(|limit| found.contains(limit));
            assert!(deep && found.starts_with("line 1, column "), "{found}");
        }
    }

    #[test]
    fn characters_and_keys_that_parsers_read_differently_are_refused() {
        for (text, expected) in [
            ("a: 1\nb: \0c\n", "line 2, column 4: the control character U+0000"),
            ("# one line\u{85}b: 2\n", "line 1, column 11: the control character U+0085"),
            ("# one line\u{2028}b: 2\n", "line 1, column 11: the control character U+2028"),
            ("\u{feff}\u{feff}a: 1\n", "line 1, column 1: the control character U+FEFF"),
            ("base: &b {x: 1}\nnode:\n  <<: *b\n", "line 3, column 3: merge keys"),
            ("a: &x [1, *x]\n", "line 1, column 11: this alias is within the node"),
            ("a: 1\n---\nb: 2\n", "line 2, column 1: a second document"),
        ] {
            let found = message(text);
            assert!(found.starts_with(expected), "{found}");
        }
        assert_eq!(Yaml::parse("\u{feff}a: 1\n").unwrap().text("a"), Some("1"));
        assert_eq!(json("\u{feff}a: 1\n").unwrap(), serde_json::json!({"a": 1}));
    }

    #[test]
    fn a_file_that_is_not_utf_8_or_too_large_is_refused_without_reading_it_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yml");
        std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
        assert!(read_text(&path).unwrap_err().to_string().starts_with("line 2 is not text in UTF-8"));
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().starts_with("is larger than 4 MB"));
        std::fs::write(&path, "\u{feff}a: 1\n").unwrap();
        assert_eq!(read_text(&path).unwrap(), "a: 1\n");
        assert!(read_text(Path::new("/dev/zero")).unwrap_err().to_string().starts_with("is a device or pipe"));
    }

    #[test]
    fn numbers_that_json_does_not_have_stay_text() {
        assert_eq!(json("[.nan, -.inf, 1.5, 7]").unwrap(), serde_json::json!([".nan", "-.inf", 1.5, 7]));
    }

    #[test]
    fn errors_contain_no_rust_type_names() {
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
