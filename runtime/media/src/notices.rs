//! Warnings about differences between what a source declares and the frames that come out of it. Each is logged once per source
//! and process, also over several connections.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Source and kind of the warnings that this process has logged.
static LOGGED: Mutex<BTreeSet<(String, &'static str)>> = Mutex::new(BTreeSet::new());

/// Warnings of one decoder; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Notices {
    source: String,
    /// Kind and text of the differences found by this decoder.
    found: Vec<(&'static str, String)>,
}

impl Notices {
    /// Creates the warnings of one source. `source` is logged as it is, so it must not contain a secret.
    pub fn new(source: impl Into<String>) -> Self {
        Self { source: source.into(), found: vec![] }
    }

    /// Logs a difference as a warning, unless one of this kind was logged for this source before.
    pub fn warn_once(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        if self.found.iter().any(|(found, _)| *found == kind) {
            return;
        }
        let text = text();
        if LOGGED.lock().unwrap_or_else(PoisonError::into_inner).insert((self.source.clone(), kind)) {
            tracing::warn!(source = self.source, "{text}");
        }
        self.found.push((kind, text));
    }

    /// Returns the texts of the differences found by this decoder.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.found.iter().map(|(_, text)| text.as_str())
    }
}
