//! Diagnostics of a flow: severity, place, and a message with the remedy.

use std::{fmt, path::PathBuf};

/// A position in a file, or the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file; `None` for the command line.
    pub file: Option<PathBuf>,
    /// Line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// Column, from 1; 0 for the file as a whole.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            None => f.write_str("command line"),
            Some(file) if self.line == 0 => write!(f, "{}", file.display()),
            Some(file) => write!(f, "{}:{}:{}", file.display(), self.line, self.column),
        }
    }
}

/// Severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The flow cannot run.
    Error,
    /// The flow can run, but probably not as intended.
    Warning,
}

/// A problem of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Position of the faulty text.
    pub place: Place,
    /// Id of the affected node.
    pub node: Option<String>,
    /// Description of the problem and its remedy.
    pub message: String,
    /// True if the problem concerns only a flow that dora runs in several processes; `sideline run` ignores it.
    pub dora_only: bool,
}

impl Diagnostic {
    /// Creates an error.
    pub fn error(place: Place, node: Option<&str>, message: impl Into<String>) -> Self {
        let node = node.map(str::to_owned);
        Self { severity: Severity::Error, place, node, message: message.into(), dora_only: false }
    }

    /// Creates a warning.
    pub fn warning(place: Place, node: Option<&str>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, node, message) }
    }

    /// Restricts the diagnostic to flows that dora runs.
    pub fn for_dora(self) -> Self {
        Self { dora_only: true, ..self }
    }

    /// Returns true if the problem prevents a run in one process.
    pub fn blocks_run(&self) -> bool {
        self.severity == Severity::Error && !self.dora_only
    }
}

impl fmt::Display for Diagnostic {
    /// Formats as `fight.yml:12:9: error: node `tracker`: input `pose`: there is no such input; did you mean `poses`?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}: {severity}: ", self.place)?;
        if let Some(node) = &self.node {
            write!(f, "node `{node}`: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Sorts diagnostics by file and position and removes duplicates.
pub(crate) fn sort_and_dedup(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by(|a, b| (&a.place, &a.node, &a.message).cmp(&(&b.place, &b.node, &b.message)));
    diagnostics.dedup();
    diagnostics
}
