//! A look at a run under way, node by node and edge by edge.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use sideline_graph::plan::Producer;

use crate::{Progress, Running, meter::Quantiles};

/// What a run has done so far. Rates are means since the start, or since an earlier look.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Look {
    /// The run as a whole.
    #[serde(flatten)]
    pub progress: Progress,
    /// Sources.
    pub sources: Vec<SourceLook>,
    /// Operators, in the order of the plan.
    pub nodes: Vec<NodeLook>,
    /// Inputs of the operators, in the same order.
    pub edges: Vec<EdgeLook>,
}

/// A source so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceLook {
    /// Id of the node.
    pub node: String,
    /// Frames decoded.
    pub decoded: u64,
    /// Frames that entered the graph.
    pub admitted: u64,
    /// Frames forgotten, because newer ones came.
    pub forgotten: u64,
    /// Frames admitted a second.
    pub fps: f64,
}

/// An operator so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeLook {
    /// Id of the node.
    pub node: String,
    /// Name of the operator.
    pub operator: String,
    /// Frames handled in any way.
    pub frames: u64,
    /// Of these, skipped.
    pub skipped: u64,
    /// Of these, failed or panicked.
    pub errors: u64,
    /// Side messages forgotten because newer ones came.
    pub side_forgotten: u64,
    /// Frames a second.
    pub fps: f64,
    /// What `process` took, since the start.
    pub process_ms: Quantiles,
    /// From the capture of a frame to the sending of its outputs, since the start.
    pub latency_ms: Quantiles,
}

/// An input so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EdgeLook {
    /// `node/output` it reads.
    pub from: String,
    /// Id of the node.
    pub node: String,
    /// Its input.
    pub input: String,
    /// Messages that came, all kinds.
    pub messages: u64,
    /// Messages a second.
    pub per_second: f64,
}

impl Running {
    /// A look at every source, operator and edge; rates are means since the start.
    pub fn look(&self) -> Look {
        let progress = self.progress();
        let seconds = progress.seconds;
        let mut look = Look { progress, ..Look::default() };
        for of in &self.shared.gates {
            let (node, counts) = (self.shared.name(of.node).to_owned(), of.gate.counts());
            look.sources.push(SourceLook {
                node,
                decoded: counts.decoded,
                admitted: counts.admitted,
                forgotten: counts.forgotten,
                fps: rate(counts.admitted, 0, seconds),
            });
        }
        for (node, meter) in self.plan.nodes.iter().zip(&self.shared.meters).filter(|(node, _)| !node.is_source) {
            let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            look.nodes.push(NodeLook {
                node: node.id.clone(),
                operator: node.operator.clone(),
                frames: meter.handled(),
                skipped: meter.skipped.values().sum(),
                errors: meter.errors + meter.panics + meter.end_faults,
                side_forgotten: meter.side_forgotten,
                fps: meter.fps(),
                process_ms: meter.work(),
                latency_ms: meter.latency(),
            });
            for (i, input) in node.inputs.iter().enumerate() {
                let from = match input.producer {
                    Producer::Node { .. } => input.wired.from.clone(),
                    Producer::Border(border) => self.plan.border_inputs[border].from.clone(),
                };
                let messages = meter.inputs.get(i).copied().unwrap_or(0);
                let (node, input) = (node.id.clone(), input.wired.name.clone());
                look.edges.push(EdgeLook { from, node, input, messages, per_second: rate(messages, 0, seconds) });
            }
        }
        look
    }
}

impl Look {
    /// The same look with the rates since an earlier one of the same run. Nothing changes where too little time has passed
    /// between them to tell.
    pub fn since(mut self, earlier: &Look) -> Look {
        let seconds = self.progress.seconds - earlier.progress.seconds;
        if seconds < 0.05 {
            return self;
        }
        for (now, before) in self.sources.iter_mut().zip(&earlier.sources) {
            now.fps = rate(now.admitted, before.admitted, seconds);
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

fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_since_the_earlier_look() {
        let at = |seconds: f64, frames: u64| Look {
            progress: Progress { seconds, ..Progress::default() },
            nodes: vec![NodeLook { frames, fps: 99.0, ..NodeLook::default() }],
            edges: vec![EdgeLook { messages: 2 * frames, ..EdgeLook::default() }],
            ..Look::default()
        };
        let look = at(10.0, 130).since(&at(8.0, 100));
        assert_eq!((look.nodes[0].fps, look.edges[0].per_second), (15.0, 30.0));
        assert_eq!(at(8.01, 101).since(&at(8.0, 100)).nodes[0].fps, 99.0, "10 ms tell nothing");
    }
}
