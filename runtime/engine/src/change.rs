//! Keys that change while a run is on: what is meant, all of it or none, and what is kept of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_channel::bounded;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sideline_api::{Error, Result, config::did_you_mean, driver::needs_restart};

use crate::{Running, shared::Setting};

/// A key that was changed while the run was on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Id of the operator.
    pub node: String,
    /// The key.
    pub key: String,
    /// The value before.
    pub old: Value,
    /// The value since.
    pub new: Value,
    /// Of each stream the first frame that the new value was used for; a stream not named had sent nothing yet.
    pub from_frame: BTreeMap<String, u64>,
}

/// The changes of a run so far, and the lock under which the next one is made.
#[derive(Default)]
pub(crate) struct Changes {
    /// Held from the first operator that is asked until everybody has been told: of two clients one waits, and changes are
    /// in the order in which they were made.
    order: Mutex<()>,
    list: Mutex<Vec<Change>>,
}

impl Running {
    /// Changes a live key of a node ([`Running::set_and`]).
    ///
    /// # Errors
    /// When node or key are unknown, the key needs a restart, or the value is refused: the old one stays.
    pub fn set(&self, node: &str, key: &str, value: Value) -> Result<Vec<Change>> {
        self.set_and(node, key, value, |_| ())
    }

    /// Changes a live key of a node; the id of a module means every operator in it that has the key. Where one of these
    /// refuses the value, all keep the old one. One change is made at a time; `tell` is called with all so far, before the
    /// next one is made.
    ///
    /// # Errors
    /// When node or key are unknown, the key needs a restart, or the value is refused: the old one stays.
    pub fn set_and(&self, node: &str, key: &str, value: Value, tell: impl FnOnce(&[Change])) -> Result<Vec<Change>> {
        // A poisoned lock guards nothing that could be half done.
        let _order = self.changes.order.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.changes().len();
        let changed = self.set_all(node, key, value);
        let changes = self.changes();
        // Also after a refusal there may be one, where a value could not be set back.
        if changes.len() > before {
            tell(&changes);
        }
        changed
    }

    fn set_all(&self, node: &str, key: &str, value: Value) -> Result<Vec<Change>> {
        let meant = self.meant(node, key, &value)?;
        let mut done: Vec<(usize, Change)> = vec![];
        for at in meant {
            match self.set_one(at, key, value.clone()) {
                Ok(change) => done.push((at, change)),
                Err(error) => {
                    for (at, change) in done {
                        if let Err(error) = self.set_one(at, key, change.old.clone()) {
                            // It took the new value and not the old one back: then it has changed.
                            tracing::error!(node = change.node, key, %error, "could not be set back");
                            self.keep([change]);
                        }
                    }
                    return Err(error);
                }
            }
        }
        let done: Vec<Change> = done.into_iter().map(|(_, change)| change).collect();
        for change in &done {
            tracing::info!(node = change.node, key, old = %change.old, new = %change.new, "changed");
        }
        self.keep(done.clone());
        Ok(done)
    }

    /// Every change so far, in order.
    pub fn changes(&self) -> Vec<Change> {
        self.changes.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, changes: impl IntoIterator<Item = Change>) {
        self.changes.list.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
    }

    /// The nodes that `node` and `key` mean.
    fn meant(&self, node: &str, key: &str, value: &Value) -> Result<Vec<usize>> {
        let nodes = &self.plan.nodes;
        let has = |at: usize| self.keys[at].iter().any(|known| known.name == key);
        let inner = |at: usize| nodes[at].id.strip_prefix(node).is_some_and(|rest| rest.starts_with('.'));
        let (all, names) = match nodes.iter().position(|known| known.id == node) {
            Some(own) => (vec![own], "has no key"),
            None => ((0..nodes.len()).filter(|at| inner(*at)).collect(), "has no operator with the key"),
        };
        if all.is_empty() {
            let mut ids: Vec<&str> = nodes.iter().map(|known| known.id.as_str()).collect();
            ids.extend(nodes.iter().filter_map(|known| Some(known.id.rsplit_once('.')?.0)));
            ids.dedup();
            return Err(Error::config(format!("there is no node `{node}`{}", did_you_mean(node, ids))));
        }
        let meant: Vec<usize> = all.iter().copied().filter(|at| has(*at)).collect();
        if meant.is_empty() {
            let known: Vec<&str> = all.iter().flat_map(|at| &self.keys[*at]).map(|key| key.name).collect();
            return Err(Error::config(format!("node `{node}` {names} `{key}`{}", did_you_mean(key, known))));
        }
        match meant.iter().find(|at| self.places[**at].is_none()) {
            Some(source) => Err(needs_restart(&nodes[*source].id, key, value)),
            None => Ok(meant),
        }
    }

    fn set_one(&self, at: usize, key: &str, value: Value) -> Result<Change> {
        let node = &self.plan.nodes[at].id;
        let Some((lane, slot)) = self.places[at] else { return Err(needs_restart(node, key, &value)) };
        let (reply, answer) = bounded(1);
        let claimed = Arc::new(AtomicBool::new(false));
        let setting = Setting { slot, key: key.into(), value, claimed: claimed.clone(), reply };
        let sent = self.shared.settings[lane.0].send(setting).is_ok();
        self.shared.wake(lane);
        if sent && let Ok(changed) = answer.recv_timeout(self.plan.stall) {
            return changed;
        }
        if !claimed.swap(true, Ordering::AcqRel) {
            let text = format!("node `{node}` does not answer: it has ended, or hangs; key `{key}` was not changed");
            return Err(Error::other(text));
        }
        // It has begun, and may need its time.
        let late = |_| Error::other(format!("node `{node}` hangs since key `{key}` was to change"));
        answer.recv_timeout(self.plan.stall).map_err(late)?
    }
}
