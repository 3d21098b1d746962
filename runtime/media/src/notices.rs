//! Differences between a source as its file describes it and as it is handled: each is told once for a source, also over several
//! connections to it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Source and kind of what this process has told.
static TOLD: Mutex<BTreeSet<(String, &'static str)>> = Mutex::new(BTreeSet::new());

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Notices {
    source: String,
    /// Kind and text of each difference met by this decoder.
    met: Vec<(&'static str, String)>,
}

impl Notices {
    /// Notices about a source; it is shown as it stands, so it must hold no secret.
    pub fn of(source: impl Into<String>) -> Self {
        Self { source: source.into(), met: vec![] }
    }

    /// Logs a difference as a warning, unless one of its kind was told of this source before.
    pub fn tell(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        if self.met.iter().any(|(met, _)| *met == kind) {
            return;
        }
        let text = text();
        if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert((self.source.clone(), kind)) {
            tracing::warn!(source = self.source, "{text}");
        }
        self.met.push((kind, text));
    }

    /// Texts of the differences met by this decoder.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.met.iter().map(|(_, text)| text.as_str())
    }
}
