//! The file with the tests of a flow: `fight.tests.yml` beside `fight.yml`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sideline_api::{
    Error, Failure, OrFail, Result,
    config::did_you_mean,
    yaml::{self, Yaml},
};

use crate::args::{Setting, split_setting_name};

/// Tests of a flow.
pub struct TestFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Tests in the order of the file.
    pub tests: Vec<Test>,
}

/// Test of a flow: rows that are fed into some outputs, and the rows that must follow.
pub struct Test {
    /// Name of the test.
    pub name: Named,
    /// Rows that are given.
    pub input: TestInput,
    /// Settings of nodes.
    pub set: Vec<Setting>,
    /// Place of the settings.
    pub set_place: Named,
    /// Number of frames; by default up to the last one with a row.
    pub frames: Option<u64>,
    /// Frames per second of media time.
    pub fps: f64,
    /// Width and height of the frames, px. Their content is gray.
    pub size: [u32; 2],
    /// Rows that are expected.
    pub expect: Vec<Expectation>,
}

/// Rows that a test gives to the flow.
pub enum TestInput {
    /// Rows of each output, from the test itself.
    Feed(Vec<(Named, Vec<RowPattern>)>),
    /// Recorded rows of the outputs before a node.
    Recording {
        /// Folder of the run.
        folder: Named,
        /// Node from which on the flow runs.
        from: Named,
    },
}

/// Rows that a test expects of an output.
pub struct Expectation {
    /// Name of the output.
    pub output: Named,
    /// Number of rows in all frames.
    pub count: Option<u64>,
    /// Maximum difference of numbers, by column.
    pub tolerances: BTreeMap<String, f64>,
    /// Maximum difference of numbers in other columns.
    pub tolerance: f64,
    /// Rows with the columns that matter.
    pub rows: Vec<RowPattern>,
}

/// Columns of a row in one frame, or in each frame of a range.
pub struct RowPattern {
    /// Place of the row in the file.
    pub place: Named,
    /// Frames of the row.
    pub frames: Frames,
    /// Reason for which the frame is skipped, in place of columns.
    pub skipped: Option<String>,
    /// Values of columns.
    pub cells: Vec<(Named, Value)>,
}

/// Frames of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Any frame, and the end of the stream.
    Any,
    /// Frames from the first to the last number, inclusive.
    Range(u64, u64),
    /// The closing message after the last frame.
    End,
}

/// Text with its place in the file.
#[derive(Clone, Debug)]
pub struct Named {
    /// The text.
    pub text: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl Named {
    fn new(yaml: &Yaml, text: &str) -> Self {
        Self { text: text.into(), line: yaml.line, column: yaml.column }
    }

    /// Returns an error at this place.
    pub fn error(&self, file: &Path, message: impl std::fmt::Display) -> Error {
        Error::config(format!("{}:{}:{}: {message}", file.display(), self.line, self.column))
    }
}

/// Default of [`Expectation::tolerance`].
const TOLERANCE: f64 = 1e-3;
/// Maximum number of frames of a test.
const MAX_FRAMES: u64 = 1_000_000;

impl TestFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read, or contains an unknown key or an invalid value.
    pub fn read(path: &Path) -> Result<Self> {
        let text = yaml::read_text(path).or_fail(Failure::Config, || path.display().to_string())?;
        let tree = Yaml::parse(&text).map_err(|error| Error::config(error.in_file(path.display())))?;
        let reader = Reader { path };
        reader.check_keys(&tree, "a file of tests", &["tests"])?;
        let Some(tests) = tree.get("tests").filter(|tests| !tests.list().is_empty()) else {
            return Err(reader.error(&tree, "there are no tests: `tests:` is a list of them"));
        };
        let tests: Vec<Test> = tests.list().iter().map(|test| reader.test(test)).collect::<Result<_>>()?;
        for (at, test) in tests.iter().enumerate() {
            if tests[..at].iter().any(|earlier| earlier.name.text == test.name.text) {
                return Err(test.name.error(path, format_args!("two tests have the name `{}`", test.name.text)));
            }
        }
        Ok(Self { path: path.to_owned(), tests })
    }
}

/// Reader of one file.
struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn error(&self, at: &Yaml, message: impl std::fmt::Display) -> Error {
        Named::new(at, "").error(self.path, message)
    }

    fn check_keys(&self, map: &Yaml, what: &str, known: &[&str]) -> Result<()> {
        if !map.is_map() {
            return Err(self.error(map, format_args!("{what} has the keys {}", list(known))));
        }
        for (key, _) in map.map() {
            let name = key.scalar().unwrap_or_default();
            if !known.contains(&name) {
                let near = did_you_mean(name, known.iter().copied());
                let near = if near.is_empty() { format!("; its keys are {}", list(known)) } else { near };
                return Err(self.error(key, format_args!("{what} has no key `{name}`{near}")));
            }
        }
        Ok(())
    }

    fn test(&self, test: &Yaml) -> Result<Test> {
        const KEYS: [&str; 9] = ["name", "feed", "recording", "from", "set", "frames", "fps", "size", "expect"];
        self.check_keys(test, "a test", &KEYS)?;
        let name = match test.get("name").and_then(|name| Some(Named::new(name, name.scalar()?))) {
            Some(name) if !name.text.is_empty() => name,
            _ => return Err(self.error(test, "a test has a `name`")),
        };
        let input = self.input(test)?;
        let mut set = vec![];
        for (key, value) in test.get("set").map(Yaml::map).unwrap_or_default() {
            let name = key.scalar().unwrap_or_default();
            let (node, key) = split_setting_name(name).ok_or_else(|| {
                self.error(key, format_args!("`{name}` is not NODE.KEY, as in `tracker.lost_buffer_s: 2`"))
            })?;
            set.push(Setting { node, key, value: to_value(value) });
        }
        let frames = test.get("frames").map(|frames| self.whole(frames, "frames")).transpose()?;
        if let Some(at) = test.get("frames").filter(|_| !frames.is_none_or(|frames| (1..=MAX_FRAMES).contains(&frames)))
        {
            return Err(self.error(at, format_args!("`frames` is a number from 1 to {MAX_FRAMES}")));
        }
        let fps = test.get("fps").map_or(Ok(30.0), |fps| self.number(fps, "fps"))?;
        if !(0.1..=1000.0).contains(&fps) {
            return Err(self.error(test.get("fps").unwrap_or(test), "`fps` is a number from 0.1 to 1000"));
        }
        let size = match test.get("size") {
            None => [1920, 1080],
            Some(size) => {
                let side =
                    |at: usize| size.list().get(at)?.scalar()?.parse().ok().filter(|side| (1..=8192).contains(side));
                match (size.list().len(), side(0), side(1)) {
                    (2, Some(width), Some(height)) => [width, height],
                    _ => return Err(self.error(size, "`size` is a list of width and height, px, such as [1920, 1080]")),
                }
            }
        };
        let Some(expect) = test.get("expect").filter(|expect| !expect.map().is_empty()) else {
            return Err(self.error(test, format_args!("test `{}` expects nothing: add `expect`", name.text)));
        };
        let expect = expect.map().iter().map(|(output, rows)| self.expectation(output, rows)).collect::<Result<_>>()?;
        let set_place = Named::new(test.entry("set").map_or(test, |(key, _)| key), "");
        Ok(Test { name, input, set, set_place, frames, fps, size, expect })
    }

    fn input(&self, test: &Yaml) -> Result<TestInput> {
        match (test.get("feed"), test.entry("recording"), test.entry("from")) {
            (Some(feed), None, None) if !feed.map().is_empty() => {
                let outputs = feed.map().iter().map(|(output, rows)| {
                    let name = Named::new(output, output.scalar().unwrap_or_default());
                    Ok((name, self.rows(rows, true)?))
                });
                outputs.collect::<Result<_>>().map(TestInput::Feed)
            }
            (None, Some((_, folder)), Some((_, from))) => {
                let text = |yaml: &Yaml| Named::new(yaml, yaml.scalar().unwrap_or_default());
                Ok(TestInput::Recording { folder: text(folder), from: text(from) })
            }
            (None, Some((key, _)), None) => {
                Err(self.error(key, "`recording` needs `from`, the node from which on the flow runs"))
            }
            (None, None, Some((key, _))) => Err(self.error(key, "`from` needs `recording`, the folder of a run")),
            (Some(_), Some((key, _)), _) | (Some(_), _, Some((key, _))) => {
                Err(self.error(key, "a test has either `feed`, or `recording` and `from`"))
            }
            _ => Err(self.error(test, "a test has `feed`, with rows of outputs, or `recording` and `from`")),
        }
    }

    fn expectation(&self, output: &Yaml, value: &Yaml) -> Result<Expectation> {
        let output = Named::new(output, output.scalar().unwrap_or_default());
        let mut expectation =
            Expectation { output, count: None, tolerances: BTreeMap::new(), tolerance: TOLERANCE, rows: vec![] };
        if !value.is_map() {
            expectation.rows = self.rows(value, false)?;
            if expectation.rows.is_empty() {
                return Err(self.error(value, "an expected output has `rows`; `count: 0` expects none"));
            }
            return Ok(expectation);
        }
        self.check_keys(value, "an expected output", &["rows", "count", "tolerance"])?;
        if let Some(rows) = value.get("rows") {
            expectation.rows = self.rows(rows, false)?;
        }
        expectation.count = value.get("count").map(|count| self.whole(count, "count")).transpose()?;
        match value.get("tolerance") {
            None => {}
            Some(tolerances) if tolerances.is_map() => {
                for (column, tolerance) in tolerances.map() {
                    let column = column.scalar().unwrap_or_default();
                    expectation.tolerances.insert(column.into(), self.number(tolerance, "tolerance")?);
                }
            }
            Some(tolerance) => expectation.tolerance = self.number(tolerance, "tolerance")?,
        }
        if expectation.rows.is_empty() && expectation.count.is_none() {
            return Err(self.error(value, "an expected output has `rows` or a `count`"));
        }
        Ok(expectation)
    }

    fn rows(&self, rows: &Yaml, is_fed: bool) -> Result<Vec<RowPattern>> {
        if matches!(rows.kind, yaml::Kind::List(_)) || rows.is_null() {
            return rows.list().iter().map(|row| self.row(row, is_fed)).collect();
        }
        Err(self.error(rows, "rows are a list, such as [{frame: 0, track: 1}]"))
    }

    fn row(&self, row: &Yaml, is_fed: bool) -> Result<RowPattern> {
        if !row.is_map() {
            return Err(self.error(row, "a row has columns, such as {frame: 0, track: 1}"));
        }
        let frames = match row.get("frame") {
            None if is_fed => return Err(self.error(row, "a row has a `frame`: a number, or [first, last]")),
            None => Frames::Any,
            Some(frame) => self.frames(frame, is_fed)?,
        };
        let skipped = match row.get("skipped") {
            None => None,
            Some(_) if row.map().iter().any(|(key, _)| !matches!(key.scalar(), Some("frame" | "skipped"))) => {
                return Err(self.error(row, "a skipped frame has no columns"));
            }
            Some(reason) => {
                match reason.scalar().filter(|word| !word.is_empty() && !word.contains(char::is_whitespace)) {
                    Some(reason) => Some(reason.to_owned()),
                    None => return Err(self.error(reason, "`skipped` is a reason of one word, such as `stride`")),
                }
            }
        };
        let is_column = |key: &Yaml| !matches!(key.scalar(), Some("frame" | "skipped"));
        let cells = row.map().iter().filter(|(key, _)| is_column(key)).map(|(key, value)| {
            let column = Named::new(key, key.scalar().unwrap_or_default());
            (column, to_value(value))
        });
        Ok(RowPattern { place: Named::new(row, ""), frames, skipped, cells: cells.collect() })
    }

    fn frames(&self, frame: &Yaml, is_fed: bool) -> Result<Frames> {
        if frame.scalar() == Some("end") && !is_fed {
            return Ok(Frames::End);
        }
        let range = match frame.list() {
            [] => {
                let number = self.whole(frame, "frame")?;
                (number, number)
            }
            [first, last] => (self.whole(first, "frame")?, self.whole(last, "frame")?),
            _ => return Err(self.error(frame, "`frame` is a number, or [first, last]")),
        };
        if range.0 > range.1 || range.1 >= MAX_FRAMES {
            return Err(
                self.error(frame, format_args!("frames {} to {} are no range below {MAX_FRAMES}", range.0, range.1))
            );
        }
        Ok(Frames::Range(range.0, range.1))
    }

    fn whole(&self, value: &Yaml, name: &str) -> Result<u64> {
        let number = value.scalar().and_then(|text| text.parse().ok());
        number.ok_or_else(|| self.error(value, format_args!("`{name}` is a whole number from 0")))
    }

    fn number(&self, value: &Yaml, name: &str) -> Result<f64> {
        let number = value.scalar().and_then(|text| text.parse().ok()).filter(|number: &f64| *number >= 0.0);
        number.ok_or_else(|| self.error(value, format_args!("`{name}` is a number from 0")))
    }
}

/// Lists names for a message.
fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Converts a value to JSON. Numbers that JSON does not have are null, as NaN is in recordings.
fn to_value(yaml: &Yaml) -> Value {
    match &yaml.kind {
        yaml::Kind::List(items) => items.iter().map(to_value).collect(),
        yaml::Kind::Map(pairs) => {
            pairs.iter().map(|(key, value)| (key.scalar().unwrap_or_default().to_owned(), to_value(value))).collect()
        }
        yaml::Kind::Scalar(text) if yaml.is_plain => match text.as_str() {
            ".nan" | ".NaN" | ".NAN" => Value::Null,
            _ => yaml::json(text).unwrap_or_else(|_| text.as_str().into()),
        },
        yaml::Kind::Scalar(text) => text.as_str().into(),
    }
}
