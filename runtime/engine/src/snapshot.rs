//! Snapshot of a running flow: counts and rates of each node and edge.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use sideline_graph::plan::Producer;

use crate::{RunProgress, Running, counts::FrameCounts, meter::Quantiles};

/// Snapshot of a running flow. Rates are means since the start, or since an earlier snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunSnapshot {
    /// Progress of the whole run.
    #[serde(flatten)]
    pub progress: RunProgress,
    /// Sources.
    pub sources: Vec<SourceSnapshot>,
    /// Operators, in the order of the plan.
    pub nodes: Vec<NodeSnapshot>,
    /// Inputs of the operators, in the same order.
    pub edges: Vec<EdgeSnapshot>,
}

/// Snapshot of a source.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceSnapshot {
    /// Id of the node.
    pub node: String,
    /// Frames decoded, admitted and dropped.
    #[serde(flatten)]
    pub counts: FrameCounts,
    /// Admitted frames per second.
    pub fps: f64,
}

/// Snapshot of an operator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// Id of the node.
    pub node: String,
    /// Name of the operator.
    pub operator: String,
    /// Frames handled: processed, skipped or failed.
    pub frames: u64,
    /// Frames skipped.
    pub skipped: u64,
    /// Errors and panics.
    pub errors: u64,
    /// Messages dropped on side inputs because newer ones arrived.
    #[serde(rename = "side_forgotten")]
    pub side_dropped: u64,
    /// Handled frames per second.
    pub fps: f64,
    /// Processing time of a frame, since the start of the run.
    pub process_ms: Quantiles,
    /// Time from the capture of a frame to the sending of its outputs, since the start of the run.
    pub latency_ms: Quantiles,
}

/// Snapshot of an edge: an input of an operator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EdgeSnapshot {
    /// Output that the edge starts at, as `node/output`.
    pub from: String,
    /// Id of the node that the edge leads to.
    pub node: String,
    /// Name of the input.
    pub input: String,
    /// Messages of all kinds received.
    pub messages: u64,
    /// Messages per second.
    pub per_second: f64,
}

impl Running {
    /// Returns a snapshot of every source, operator and edge, with mean rates since the start.
    pub fn snapshot(&self) -> RunSnapshot {
        let progress = self.progress();
        let seconds = progress.seconds;
        let mut snapshot = RunSnapshot { progress, ..RunSnapshot::default() };
        for source in &self.shared.gates {
            let (node, counts) = (self.shared.node_id(source.node).to_owned(), source.gate.counts());
            snapshot.sources.push(SourceSnapshot { node, counts, fps: rate(counts.admitted, 0, seconds) });
        }
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters).filter(|(node, _)| !node.is_source) {
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            snapshot.nodes.push(NodeSnapshot {
                node: node.id.clone(),
                operator: node.operator.clone(),
                frames: meter.counts.handled(),
                skipped: meter.counts.total_skipped(),
                errors: meter.counts.failures(),
                side_dropped: meter.counts.side_dropped,
                fps: meter.fps(),
                process_ms: meter.process_ms(),
                latency_ms: meter.latency_ms(),
            });
            for (i, input) in node.inputs.iter().enumerate() {
                let from = match input.producer {
                    Producer::Node { .. } => input.wired.from.clone(),
                    Producer::Border(border) => self.plan.border_inputs[border].from.clone(),
                };
                let messages = meter.inputs.get(i).copied().unwrap_or(0);
                let (node, input) = (node.id.clone(), input.wired.name.clone());
                snapshot.edges.push(EdgeSnapshot {
                    from,
                    node,
                    input,
                    messages,
                    per_second: rate(messages, 0, seconds),
                });
            }
        }
        snapshot
    }
}

impl RunSnapshot {
    /// Replaces the rates by means since an earlier snapshot of the same run. Keeps them when less than 50 ms have
    /// passed between the two, which is too short for a rate.
    pub fn with_rates_since(mut self, earlier: &RunSnapshot) -> RunSnapshot {
        let seconds = self.progress.seconds - earlier.progress.seconds;
        if seconds < 0.05 {
            return self;
        }
        for (now, before) in self.sources.iter_mut().zip(&earlier.sources) {
            now.fps = rate(now.counts.admitted, before.counts.admitted, seconds);
        }
        for (now, before) in self.nodes.iter_mut().zip(&earlier.nodes) {
            now.fps = rate(now.frames, before.frames, seconds);
        }
        for (now, before) in self.edges.iter_mut().zip(&earlier.edges) {
            now.per_second = rate(now.messages, before.messages, seconds);
        }
        self
    }
}

/// Returns the rate of a count per second; 0 if no time has passed.
fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_since_the_earlier_snapshot() {
        let at = |seconds: f64, frames: u64| RunSnapshot {
            progress: RunProgress { seconds, ..RunProgress::default() },
            nodes: vec![NodeSnapshot { frames, fps: 99.0, ..NodeSnapshot::default() }],
            edges: vec![EdgeSnapshot { messages: 2 * frames, ..EdgeSnapshot::default() }],
            ..RunSnapshot::default()
        };
        let snapshot = at(10.0, 130).with_rates_since(&at(8.0, 100));
        assert_eq!((snapshot.nodes[0].fps, snapshot.edges[0].per_second), (15.0, 30.0));
        assert_eq!(at(8.01, 101).with_rates_since(&at(8.0, 100)).nodes[0].fps, 99.0, "10 ms are too short for a rate");
    }
}
