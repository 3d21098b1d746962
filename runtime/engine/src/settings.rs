//! Live settings: keys that are changed while a flow runs.
//!
//! A change addresses one operator, or every operator of a module that has the key. It applies to all of them or to
//! none, and is recorded for the report of the run.

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

use crate::{Running, shared::SettingRequest};

/// A change of a live setting of one operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingChange {
    /// Id of the operator.
    pub node: String,
    /// The key.
    pub key: String,
    /// Value before the change.
    pub old: Value,
    /// Value since the change.
    pub new: Value,
    /// First frame of each stream that was processed with the new value. A stream that is absent had sent nothing yet.
    pub from_frame: BTreeMap<String, u64>,
}

/// Setting changes of a run so far, and the lock under which the next one is made.
#[derive(Default)]
pub(crate) struct SettingLog {
    /// Held from the first request to an operator until the change is recorded and reported. Of two clients one waits,
    /// so that `changes` is in the order in which the changes were made.
    in_progress: Mutex<()>,
    changes: Mutex<Vec<SettingChange>>,
}

impl Running {
    /// Changes a live setting of a node; see [`Running::set_and_notify`].
    ///
    /// # Errors
    /// When the node or the key is unknown, the key needs a restart, or the value is refused. The old value stays.
    pub fn set(&self, node: &str, key: &str, value: Value) -> Result<Vec<SettingChange>> {
        self.set_and_notify(node, key, value, |_| ())
    }

    /// Changes a live setting. `node` is the id of an operator, or of a module, which stands for every operator in it
    /// that has the key. If one of these refuses the value, all keep the old one. Changes are made one at a time;
    /// `notify` is called with all changes so far, before the next one is made.
    ///
    /// # Errors
    /// When the node or the key is unknown, the key needs a restart, or the value is refused. The old value stays.
    pub fn set_and_notify(
        &self,
        node: &str,
        key: &str,
        value: Value,
        notify: impl FnOnce(&[SettingChange]),
    ) -> Result<Vec<SettingChange>> {
        // The lock protects no data, so poisoning leaves nothing half done.
        let _in_progress = self.setting_log.in_progress.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.changes().len();
        let changed = self.set_all(node, key, value);
        let changes = self.changes();
        // A refused request may also leave a change: an operator that could not be set back to the old value.
        if changes.len() > before {
            notify(&changes);
        }
        changed
    }

    fn set_all(&self, node: &str, key: &str, value: Value) -> Result<Vec<SettingChange>> {
        let addressed = self.addressed_nodes(node, key, &value)?;
        let mut done: Vec<(usize, SettingChange)> = vec![];
        for node in addressed {
            match self.set_one(node, key, value.clone()) {
                Ok(change) => done.push((node, change)),
                Err(error) => {
                    for (node, change) in done {
                        if let Err(error) = self.set_one(node, key, change.old.clone()) {
                            // The operator accepted the new value and refuses the old one, so the change stands.
                            tracing::error!(node = change.node, key, %error, "the old value could not be restored");
                            self.record_changes([change]);
                        }
                    }
                    return Err(error);
                }
            }
        }
        let done: Vec<SettingChange> = done.into_iter().map(|(_, change)| change).collect();
        for change in &done {
            tracing::info!(node = change.node, key, old = %change.old, new = %change.new, "changed");
        }
        self.record_changes(done.clone());
        Ok(done)
    }

    /// Setting changes so far, in order.
    pub fn changes(&self) -> Vec<SettingChange> {
        self.setting_log.changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record_changes(&self, changes: impl IntoIterator<Item = SettingChange>) {
        self.setting_log.changes.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
    }

    /// Indices in the plan of the nodes that `node` and `key` address.
    fn addressed_nodes(&self, node: &str, key: &str, value: &Value) -> Result<Vec<usize>> {
        let nodes = &self.plan.nodes;
        let has_key = |at: usize| self.keys[at].iter().any(|known| known.name == key);
        let is_inside = |at: usize| nodes[at].id.strip_prefix(node).is_some_and(|rest| rest.starts_with('.'));
        let (candidates, problem) = match nodes.iter().position(|known| known.id == node) {
            Some(exact) => (vec![exact], "has no key"),
            None => ((0..nodes.len()).filter(|at| is_inside(*at)).collect(), "has no operator with the key"),
        };
        if candidates.is_empty() {
            let mut ids: Vec<&str> = nodes.iter().map(|known| known.id.as_str()).collect();
            ids.extend(nodes.iter().filter_map(|known| Some(known.id.rsplit_once('.')?.0)));
            ids.dedup();
            return Err(Error::config(format!("there is no node `{node}`{}", did_you_mean(node, ids))));
        }
        let addressed: Vec<usize> = candidates.iter().copied().filter(|at| has_key(*at)).collect();
        if addressed.is_empty() {
            let keys: Vec<&str> = candidates.iter().flat_map(|at| &self.keys[*at]).map(|key| key.name).collect();
            return Err(Error::config(format!("node `{node}` {problem} `{key}`{}", did_you_mean(key, keys))));
        }
        match addressed.iter().find(|at| self.slots[**at].is_none()) {
            Some(source) => Err(needs_restart(&nodes[*source].id, key, value)),
            None => Ok(addressed),
        }
    }

    fn set_one(&self, at: usize, key: &str, value: Value) -> Result<SettingChange> {
        let node = &self.plan.nodes[at].id;
        let Some((lane, slot)) = self.slots[at] else { return Err(needs_restart(node, key, &value)) };
        let (reply, replies) = bounded(1);
        let claimed = Arc::new(AtomicBool::new(false));
        let setting = SettingRequest { slot, key: key.into(), value, claimed: claimed.clone(), reply };
        let sent = self.shared.settings[lane.0].send(setting).is_ok();
        self.shared.wake(lane);
        if sent && let Ok(changed) = replies.recv_timeout(self.plan.stall_timeout) {
            return changed;
        }
        if !claimed.swap(true, Ordering::AcqRel) {
            let text = format!("node `{node}` does not answer: it has ended or hangs; key `{key}` was not changed");
            return Err(Error::other(text));
        }
        // The lane has claimed the request and is applying it: wait once more as long.
        let late = |_| Error::other(format!("node `{node}` hangs since key `{key}` was to be changed"));
        replies.recv_timeout(self.plan.stall_timeout).map_err(late)?
    }
}
