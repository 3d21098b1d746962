//! The outputs of a node: messages, progress of the sinks, and signs of life.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arrow_array::UInt8Array;
use dora_node_api::{DoraNode, IntoArrow, MetadataParameters, Parameter, dora_core::config::DataId};
use sideline_api::{Body, Error, Message, Payload, Result, SourceId};
use sideline_engine::{Border, gate::Progress};
use sideline_graph::plan::Plan;

use crate::metadata;

/// The output by which sinks tell the source how far they are.
pub const DONE: &str = "done";
/// Parameter of `done`: for each source, the entries that are finished.
pub const FINISHED: &str = "sl_finished";
/// Parameter of `done`: the sources that have closed.
pub const CLOSED: &str = "sl_closed";
/// Parameter of `done`: true while an operator is being made again.
pub const REMAKING: &str = "sl_remaking";
/// An output that has sent nothing for so long gives a sign of life.
pub const BEAT_EVERY: Duration = Duration::from_millis(500);
/// Signs of life while messages are in flight, after which an output is silent: more might push a message out of a queue.
const BUSY_BEATS: u32 = 2;

/// See the [module](self).
pub struct Outputs {
    node: Mutex<DoraNode>,
    names: Vec<DataId>,
    /// Progress by source.
    finished: Mutex<Vec<Progress>>,
    /// For each output: when it sent last, and signs of life since then.
    last: Mutex<Vec<(Instant, u32)>>,
    done: Mutex<Instant>,
}

impl Outputs {
    pub fn new(node: DoraNode, plan: &Plan) -> Self {
        let names: Vec<DataId> = plan.border_outputs.iter().map(|output| DataId::from(output.name.clone())).collect();
        let now = Instant::now();
        Self {
            node: Mutex::new(node),
            last: Mutex::new(vec![(now, 0); names.len()]),
            names,
            finished: Mutex::default(),
            done: Mutex::new(now),
        }
    }

    fn node(&self) -> MutexGuard<'_, DoraNode> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, output: usize) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)[output] = (Instant::now(), 0);
    }

    fn fail(&self, output: usize, cause: impl std::fmt::Display) -> Error {
        Error::other(format!("output `{}` could not be sent: {cause}", self.names[output]))
    }
}

/// Gives signs of life.
pub trait Life {
    /// Gives one on an output that has sent nothing for a while. `idle`: nothing is in flight that it could push out of a
    /// queue.
    fn beat(&self, output: usize, idle: bool);
    /// Tells the progress of the sinks once more, where nothing was told for a while. `remaking`: an operator is being made
    /// again, and the source waits for it.
    fn beat_done(&self, remaking: bool);
}

impl Life for Outputs {
    fn beat(&self, output: usize, idle: bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, beats) = &mut last[output];
        if at.elapsed() < BEAT_EVERY * (*beats + 1) && !idle
            || at.elapsed() < BEAT_EVERY
            || !idle && *beats >= BUSY_BEATS
        {
            return;
        }
        // A message that is being sent is a sign of life too.
        let Ok(mut node) = self.node.try_lock() else { return };
        if idle {
            *at = Instant::now();
        }
        *beats += 1;
        let sent = node.send_output(self.names[output].clone(), metadata::beat(), nothing());
        if let Err(error) = sent {
            tracing::debug!(output = self.names[output].as_str(), %error, "no sign of life could be sent");
        }
    }

    fn beat_done(&self, remaking: bool) {
        if self.done.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < BEAT_EVERY {
            return;
        }
        // A lane that waits for the transport may hold either.
        let (Ok(finished), Ok(node)) = (self.finished.try_lock(), self.node.try_lock()) else { return };
        if let Err(error) = self.tell(node, &finished, remaking) {
            tracing::debug!(%error, "no sign of life could be sent");
        }
    }
}

impl Outputs {
    fn tell(&self, mut node: MutexGuard<'_, DoraNode>, finished: &[Progress], remaking: bool) -> Result<()> {
        let entries = finished.iter().map(|progress| match progress {
            Progress::Finished(entries) => *entries as i64,
            Progress::Closed => 0,
        });
        let closed = finished.iter().enumerate().filter(|(_, progress)| **progress == Progress::Closed);
        let parameters = MetadataParameters::from([
            (FINISHED.to_owned(), Parameter::ListInt(entries.collect())),
            (CLOSED.to_owned(), Parameter::ListInt(closed.map(|(source, _)| source as i64).collect())),
            (REMAKING.to_owned(), Parameter::Bool(remaking)),
        ]);
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        node.send_output(DataId::from(DONE.to_owned()), parameters, nothing())
            .map_err(|e| Error::other(format!("output `{DONE}` could not be sent: {e}")))
    }
}

impl Border for Outputs {
    fn send(&self, output: usize, message: &Message) -> Result<()> {
        let name = self.names[output].clone();
        let parameters = metadata::of(message);
        let mut node = self.node();
        let sent = match &message.body {
            Body::Data(Payload::Frame(frame)) => {
                node.send_output_raw(name, parameters, frame.packed_len(), |into| frame.pack_into(into))
            }
            Body::Data(Payload::Table(table)) => {
                let array: arrow_array::ArrayRef = table.clone();
                node.send_output(name, parameters, array)
            }
            Body::Skipped(_) | Body::End { .. } => node.send_output(name, parameters, nothing()),
        };
        drop(node);
        self.sent(output);
        sent.map_err(|cause| self.fail(output, cause))
    }

    fn close(&self, output: usize, excused: bool) -> Result<()> {
        let sent = self.node().send_output(self.names[output].clone(), metadata::close(excused), nothing());
        self.sent(output);
        sent.map_err(|cause| self.fail(output, cause))
    }

    fn done(&self, source: SourceId, progress: Progress) -> Result<()> {
        // Every message says how far all sources are: dora's queues keep the newest ten, and a fast source's would push
        // out the last one about a slow source. Held until it is sent, so that none overtakes a newer one.
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if finished.len() <= source.0 {
            finished.resize(source.0 + 1, Progress::Finished(0));
        }
        finished[source.0] = progress;
        self.tell(self.node(), &finished, false)
    }
}

fn nothing() -> impl IntoArrow {
    UInt8Array::from(Vec::<u8>::new())
}
