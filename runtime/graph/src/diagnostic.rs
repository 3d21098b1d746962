//! One thing wrong with a flow: what, where, and the mend.

use std::{fmt, path::PathBuf};

/// A place in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file; `None` for what comes from the command line.
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

/// How much a diagnostic weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The flow cannot run.
    Error,
    /// It can, but probably not as meant.
    Warning,
}

/// One thing wrong with a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it weighs.
    pub severity: Severity,
    /// Where it was written.
    pub place: Place,
    /// Id of the node it is about.
    pub node: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
    /// True when it only matters to a flow run by dora, in several processes: `sideline run` passes over it.
    pub dora_only: bool,
}

impl Diagnostic {
    /// An error.
    pub fn error(place: Place, node: Option<&str>, message: impl Into<String>) -> Self {
        let node = node.map(str::to_owned);
        Self { severity: Severity::Error, place, node, message: message.into(), dora_only: false }
    }

    /// A warning.
    pub fn warning(place: Place, node: Option<&str>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, node, message) }
    }

    /// The same, for flows run by dora only.
    pub fn for_dora(self) -> Self {
        Self { dora_only: true, ..self }
    }

    /// True when a run in one process cannot start with it.
    pub fn hinders_run(&self) -> bool {
        self.severity == Severity::Error && !self.dora_only
    }
}

impl fmt::Display for Diagnostic {
    /// `fight.yml:12:9: error: node `tracker`: input `pose`: there is no such input; did you mean `poses`?`
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

/// In the order of files and lines, each once.
pub(crate) fn tidy(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.sort_by(|a, b| (&a.place, &a.node, &a.message).cmp(&(&b.place, &b.node, &b.message)));
    found.dedup();
    found
}
