//! Sinks, and the `done` edges by which a sink in another process reports its progress to its source under dora.

use sideline_api::SourceId;

use crate::{Diagnostic, Flow, FlowNode, Process, ProcessKind, Sender, plan::awaiting_sources};

/// Marks the sinks: operators whose progress no ordinary consumer reports to their source. Such a consumer descends
/// from the same source, or is itself a sink, which reports to all sources that it reads.
pub(crate) fn mark_sinks(nodes: &mut [FlowNode]) {
    let mut is_covered = vec![false; nodes.len()];
    // In reverse topological order, a consumer is decided before the nodes that it reads.
    for at in (0..nodes.len()).rev() {
        let sink = !nodes[at].spec.is_source && !nodes[at].is_outside_window && !is_covered[at];
        nodes[at].is_sink = sink;
        for input in nodes[at].inputs.iter().filter(|input| input.wired.alignment.is_aligned()) {
            if let Sender::Node { node, .. } = input.producer
                && !nodes[at].is_outside_window
                && (sink || nodes[at].source == nodes[node].source)
            {
                is_covered[node] = true;
            }
        }
    }
}

impl FlowNode {
    /// Returns the sources that wait for this node.
    pub(crate) fn awaiting_sources(&self) -> Vec<SourceId> {
        awaiting_sources(self.is_sink, self.inputs.iter().map(|input| input.wired.alignment))
    }
}

impl Flow {
    /// Returns the sources (indices into `nodes`) in other processes that wait for the sinks of a process.
    fn remote_sources_awaiting(&self, process: usize) -> Vec<usize> {
        let nodes = self.nodes.iter().filter(|node| node.process == process);
        let mut sources: Vec<usize> = nodes
            .flat_map(FlowNode::awaiting_sources)
            .filter_map(|source| self.nodes.iter().position(|n| n.spec.is_source && n.source == source))
            .filter(|source| self.nodes[*source].process != process)
            .collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// Returns the name of the input by which the process `source` receives the progress of the process `sink`.
    pub(crate) fn done_input(&self, source: &Process, sink: &Process) -> Option<String> {
        let from = format!("{}/done", sink.id);
        source
            .inputs
            .iter()
            .find(|(name, text)| *text == from && *name == format!("done_{}", sink.id))
            .map(|(n, _)| n.clone())
    }
}

/// Checks that every process with sinks has a `done` edge to each of their sources, and warns of needless `done` edges.
pub(crate) fn check_done(flow: &Flow, diagnostics: &mut Vec<Diagnostic>) {
    let mut expected = vec![];
    for (p, process) in flow.processes.iter().enumerate() {
        if process.kind == ProcessKind::Foreign {
            continue;
        }
        for source in flow.remote_sources_awaiting(p) {
            let source_process = &flow.processes[flow.nodes[source].process];
            expected.push((source_process.id.as_str(), format!("done_{}", process.id)));
            let lists = process.outputs.iter().any(|output| output == "done");
            let wired = flow.done_input(source_process, process).is_some();
            if lists && wired {
                continue;
            }
            let id = &process.id;
            let mut text = format!(
                "it is a sink (no node reads its outputs frame by frame), so the source `{}` has to receive its progress; add",
                source_process.id
            );
            if !lists {
                let all: Vec<&str> = process.outputs.iter().map(String::as_str).chain(["done"]).collect();
                text += &format!("\n    to node {id}:  outputs: [{}]", all.join(", "));
            }
            if !wired {
                text += &format!("\n    to node {}:  inputs: {{done_{id}: {id}/done}}", source_process.id);
            }
            diagnostics.push(Diagnostic::error(process.place.clone(), Some(id), text).for_dora());
        }
    }
    for source in flow.sources() {
        let process = &flow.processes[source.process];
        for (name, from) in process.inputs.iter().filter(|(name, _)| name.starts_with("done_")) {
            if expected.iter().any(|(at, done)| at == &process.id && done == name) || flow.is_side_reader(from) {
                continue;
            }
            let text = format!("input `{name}`: `{from}` is not needed: another node reads its outputs frame by frame");
            diagnostics.push(Diagnostic::warning(process.place.clone(), Some(&process.id), text).for_dora());
        }
    }
}

impl Flow {
    /// Returns true if the node of a `done` output has side inputs only. It is a sink in `complete` mode but not in
    /// `live`, so its `done` edge is not reported as needless.
    fn is_side_reader(&self, done: &str) -> bool {
        let id = done.trim_end_matches("/done");
        self.nodes.iter().any(|node| self.processes[node.process].id == id && node.is_outside_window)
    }
}
