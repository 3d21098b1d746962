//! Comparison of the rows of an output with those that a test expects.

use arrow_array::{Array, StructArray};
use serde::Serialize;
use serde_json::Value;
use sideline_api::{Body, Payload};

use super::{
    file::{Expectation, Frames, RowPattern},
    nodes::ReceivedMessage,
};
use crate::export::write::to_json;

/// First difference between expected and received rows.
#[derive(Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Name of the output.
    pub output: String,
    /// Line of the expectation in the file of the test.
    pub line: usize,
    /// Frame of the received row that is nearest to the expected one, or the first expected frame; null for a count.
    pub frame: Option<u64>,
    /// Number of the row among those of the frame, from 0; null without such a row.
    pub row: Option<usize>,
    /// Column that differs; null if there is no row.
    pub column: Option<String>,
    /// Expected value.
    pub expected: Value,
    /// Received value.
    pub found: Value,
    /// The difference in words.
    pub text: String,
}

/// Received row, or a skipped frame.
struct Candidate {
    frame: u64,
    is_closing: bool,
    row: usize,
    columns: Result<Vec<(String, Value)>, String>,
}

/// Compares the messages of an output with an expectation; returns the first difference.
pub fn compare(expectation: &Expectation, messages: &[ReceivedMessage]) -> Option<Difference> {
    let mut candidates: Vec<Candidate> = messages.iter().flat_map(candidates).collect();
    let rows = || candidates.iter().filter(|candidate| candidate.columns.is_ok());
    let output = &expectation.output.text;
    if let Some(expected) = expectation.count.filter(|count| *count != rows().count() as u64) {
        let found = rows().count();
        let mut frames: Vec<u64> = rows().map(|candidate| candidate.frame).collect();
        frames.dedup();
        let more = if frames.len() > 8 { ", ..." } else { "" };
        let frames: Vec<String> = frames.iter().take(8).map(u64::to_string).collect();
        let at = if found == 0 { String::new() } else { format!(" (frames {}{more})", frames.join(", ")) };
        return Some(Difference {
            output: output.clone(),
            line: expectation.output.line,
            frame: None,
            row: None,
            column: None,
            expected: expected.into(),
            found: found.into(),
            text: format!("`{output}`: {expected} rows expected, found {found}{at}"),
        });
    }
    let fits = |pattern: &RowPattern, candidate: &Candidate| {
        pattern.has_frame(candidate) && mismatches(expectation, pattern, candidate).is_empty()
    };
    // Those that fit the fewest rows come first, so that a range of frames does not take the row of a single one.
    let mut patterns: Vec<&RowPattern> = expectation.rows.iter().collect();
    patterns.sort_by_key(|pattern| candidates.iter().filter(|candidate| fits(pattern, candidate)).count());
    for pattern in patterns {
        // The first row that fits is taken, and counts for no other pattern.
        match candidates.iter().position(|candidate| fits(pattern, candidate)) {
            Some(fitting) => {
                candidates.remove(fitting);
            }
            None => return Some(difference(expectation, pattern, &candidates)),
        }
    }
    None
}

fn candidates(message: &ReceivedMessage) -> Vec<Candidate> {
    let candidate = |row, columns| Candidate { frame: message.frame, is_closing: message.is_closing, row, columns };
    match &message.body {
        Body::Data(Payload::Table(rows)) => (0..rows.len()).map(|row| candidate(row, Ok(columns(rows, row)))).collect(),
        Body::Skipped(reason) => vec![candidate(0, Err(reason.to_string()))],
        Body::Data(Payload::Frame(_)) | Body::End { .. } => vec![],
    }
}

fn columns(rows: &StructArray, row: usize) -> Vec<(String, Value)> {
    let columns = rows.fields().iter().zip(rows.columns());
    columns.map(|(field, column)| (field.name().clone(), to_json(column, row))).collect()
}

impl RowPattern {
    fn has_frame(&self, candidate: &Candidate) -> bool {
        match self.frames {
            Frames::Any => true,
            Frames::End => candidate.is_closing,
            Frames::Range(first, last) => !candidate.is_closing && (first..=last).contains(&candidate.frame),
        }
    }

    fn first_frame(&self) -> Option<u64> {
        match self.frames {
            Frames::Range(first, _) => Some(first),
            Frames::Any | Frames::End => None,
        }
    }
}

/// Returns the columns that differ, with the expected and the received value. A candidate of another kind differs in all of them.
fn mismatches(expectation: &Expectation, pattern: &RowPattern, candidate: &Candidate) -> Vec<(String, Value, Value)> {
    match (&pattern.skipped, &candidate.columns) {
        (Some(expected), Err(found)) if expected == found => vec![],
        (Some(expected), Err(found)) => vec![("skipped".into(), expected.as_str().into(), found.as_str().into())],
        (Some(expected), Ok(_)) => vec![("skipped".into(), expected.as_str().into(), Value::Null)],
        (None, Err(found)) => vec![("skipped".into(), Value::Null, found.as_str().into())],
        (None, Ok(columns)) => {
            let differing = pattern.cells.iter().filter_map(|(column, expected)| {
                let found =
                    columns.iter().find(|(name, _)| *name == column.text).map_or(&Value::Null, |(_, value)| value);
                let tolerance = expectation.tolerances.get(&column.text).copied().unwrap_or(expectation.tolerance);
                (!is_equal(expected, found, tolerance)).then(|| (column.text.clone(), expected.clone(), found.clone()))
            });
            differing.collect()
        }
    }
}

/// True for equal values; numbers may differ by the tolerance, and a map has the expected entries and maybe others.
fn is_equal(expected: &Value, found: &Value, tolerance: f64) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= tolerance)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_equal(a, b, tolerance)))
        }
        (a, b) => a == b,
    }
}

/// Describes the difference to the candidate with the fewest differing columns.
fn difference(expectation: &Expectation, pattern: &RowPattern, candidates: &[Candidate]) -> Difference {
    let output = &expectation.output.text;
    let near = candidates.iter().filter(|candidate| pattern.has_frame(candidate));
    let near = near.map(|candidate| (candidate, mismatches(expectation, pattern, candidate)));
    let nearest = near.min_by_key(|(candidate, differing)| (candidate.columns.is_err(), differing.len()));
    let line = pattern.place.line;
    let Some((candidate, differing)) = nearest else {
        let at = match pattern.frames {
            Frames::Any => String::new(),
            Frames::End => " after the last frame".into(),
            Frames::Range(first, last) if first == last => format!(" in frame {first}"),
            Frames::Range(first, last) => format!(" in frames {first} to {last}"),
        };
        return Difference {
            output: output.clone(),
            line,
            frame: pattern.first_frame(),
            row: None,
            column: None,
            expected: pattern.cells.iter().map(|(column, value)| (column.text.clone(), value.clone())).collect(),
            found: Value::Null,
            text: format!("`{output}`: a row expected{at}, found none"),
        };
    };
    let (column, expected, found) = differing.into_iter().next().unwrap_or_default();
    let place = if candidate.is_closing { "end of the stream".into() } else { format!("frame {}", candidate.frame) };
    let text = if column == "skipped" {
        match (&expected, &found) {
            (Value::Null, found) => format!("`{output}`, {place}: a row expected, found a skipped frame: {found}"),
            (expected, Value::Null) => format!("`{output}`, {place}: skipped as {expected} expected, found a row"),
            (expected, found) => format!("`{output}`, {place}: skipped as {expected} expected, found {found}"),
        }
    } else {
        format!("`{output}`, {place}, row {}, column `{column}`: {expected} expected, found {found}", candidate.row)
    };
    Difference {
        output: output.clone(),
        line,
        frame: Some(candidate.frame),
        row: Some(candidate.row),
        column: Some(column),
        expected,
        found,
        text,
    }
}
