//! Sinks, and the `done` edges by which they tell their source how far they are when dora runs them in processes of
//! their own.

use sideline_api::SourceId;

use crate::{Diagnostic, Flow, FlowNode, Process, ProcessKind, Sender, plan::sink_of};

/// Marks the sinks: operators without an ordinary consumer that tells their source. Such a consumer descends from the same
/// source, or is a sink itself, of all the sources it reads.
pub(crate) fn mark_sinks(nodes: &mut [FlowNode]) {
    let mut read = vec![false; nodes.len()];
    // Consumers before producers: a consumer is judged before the nodes it reads.
    for at in (0..nodes.len()).rev() {
        let sink = !nodes[at].spec.source && !nodes[at].outside && !read[at];
        nodes[at].sink = sink;
        for input in nodes[at].inputs.iter().filter(|input| input.alignment.is_ordinary()) {
            if let Sender::Node { node, .. } = input.from
                && !nodes[at].outside
                && (sink || nodes[at].source == nodes[node].source)
            {
                read[node] = true;
            }
        }
    }
}

impl FlowNode {
    /// The sources that wait for it.
    pub(crate) fn sink_of(&self) -> Vec<SourceId> {
        sink_of(self.sink, self.inputs.iter().map(|input| input.alignment))
    }
}

impl Flow {
    /// The sources (by index into `nodes`) in other processes that wait for sinks of a process.
    fn waiting(&self, process: usize) -> Vec<usize> {
        let nodes = self.nodes.iter().filter(|node| node.process == process);
        let mut sources: Vec<usize> = nodes
            .flat_map(FlowNode::sink_of)
            .filter_map(|source| self.nodes.iter().position(|n| n.spec.source && n.source == source))
            .filter(|source| self.nodes[*source].process != process)
            .collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// Name of the input by which a process hears from a sink in another one.
    pub(crate) fn done_input(&self, source: &Process, sink: &Process) -> Option<String> {
        let from = format!("{}/done", sink.id);
        source
            .inputs
            .iter()
            .find(|(name, text)| *text == from && *name == format!("done_{}", sink.id))
            .map(|(n, _)| n.clone())
    }
}

/// Checks that every process with sinks tells the sources it descends from how far it is.
pub(crate) fn check_done(flow: &Flow, found: &mut Vec<Diagnostic>) {
    let mut expected = vec![];
    for (p, process) in flow.processes.iter().enumerate() {
        if process.kind == ProcessKind::Foreign {
            continue;
        }
        for source in flow.waiting(p) {
            let at = &flow.processes[flow.nodes[source].process];
            expected.push((at.id.as_str(), format!("done_{}", process.id)));
            let lists = process.outputs.iter().any(|output| output == "done");
            let wired = flow.done_input(at, process).is_some();
            if lists && wired {
                continue;
            }
            let id = &process.id;
            let mut text = format!(
                "nothing reads its results frame by frame, so it tells the source `{}` how far it is; add",
                at.id
            );
            if !lists {
                let all: Vec<&str> = process.outputs.iter().map(String::as_str).chain(["done"]).collect();
                text += &format!("\n    to node {id}:  outputs: [{}]", all.join(", "));
            }
            if !wired {
                text += &format!("\n    to node {}:  inputs: {{done_{id}: {id}/done}}", at.id);
            }
            found.push(Diagnostic::error(process.place.clone(), Some(id), text).for_dora());
        }
    }
    for source in flow.sources() {
        let process = &flow.processes[source.process];
        for (name, from) in process.inputs.iter().filter(|(name, _)| name.starts_with("done_")) {
            if expected.iter().any(|(at, done)| at == &process.id && done == name) || flow.is_side_reader(from) {
                continue;
            }
            let text =
                format!("input `{name}`: `{from}` is not awaited: another node reads its results frame by frame");
            found.push(Diagnostic::warning(process.place.clone(), Some(&process.id), text).for_dora());
        }
    }
}

impl Flow {
    /// True for what is awaited in `complete` mode though not in `live`.
    fn is_side_reader(&self, done: &str) -> bool {
        let id = done.trim_end_matches("/done");
        self.nodes.iter().any(|node| self.processes[node.process].id == id && node.outside)
    }
}
