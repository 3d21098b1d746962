//! Replaces the operators before a node by the replay of a recorded run.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use sideline_api::{
    Alignment, OnError, PortType, Registry, SourceId, Values, WiredInput,
    config::{Origin, did_you_mean},
};

use crate::{Diagnostic, Flow, FlowNode, Place, Sender, plan::Edge, sinks};

/// Operator that replays, and id of the nodes that are added.
const REPLAY: &str = "replay";
/// Operator that records.
const RECORDER: &str = "recorder";

/// An output of a removed node, as a recorder of the flow wrote it.
pub(crate) struct RecordedOutput {
    /// Name of the table in the recording.
    pub table: String,
    /// Subfolder of the recorder.
    pub folder: String,
    ty: PortType,
    source: SourceId,
}

impl Flow {
    /// Keeps the node (or module) `from`, all nodes after it and their sources, and replaces the other operators by nodes
    /// that replay what `recording`, the folder of an earlier run of this flow, holds of their outputs.
    ///
    /// # Errors
    /// When there is no such node, or a kept node reads an output that the flow's recorders do not write.
    pub fn replay_from(&mut self, registry: &Registry, from: &str, recording: &Path) -> Result<(), Vec<Diagnostic>> {
        let place = Place { file: Some(self.path.clone()), ..Place::default() };
        let error = |text: String| vec![Diagnostic::error(place.clone(), None, text)];
        let keeps = self.nodes_from(from).map_err(error)?;
        let mut replayed: BTreeMap<(usize, usize), RecordedOutput> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate().filter(|(at, _)| keeps[*at]) {
            for input in &node.inputs {
                let Sender::Node { node: sender, output } = input.producer else { continue };
                if !keeps[sender] && !self.nodes[sender].spec.is_source {
                    let recorded = self.recorded_output(sender, output, at).map_err(error)?;
                    replayed.insert((sender, output), recorded);
                }
            }
        }
        if replayed.is_empty() {
            return Err(error(format!("`{from}` reads no recorded table: run the flow without `--from`")));
        }
        // Sources: those of the kept nodes, and those of the replayed outputs.
        let is_read = |at: usize| {
            let reads = |input: &Edge<Sender>| matches!(input.producer, Sender::Node { node, .. } if node == at);
            self.nodes.iter().zip(&keeps).any(|(node, kept)| *kept && node.inputs.iter().any(reads))
        };
        let is_needed_source = |at: usize| {
            let source = self.nodes[at].source;
            let reads = |(node, kept): (&FlowNode, &bool)| *kept && node.source == source;
            self.nodes[at].spec.is_source
                && (is_read(at)
                    || replayed.values().any(|recorded| recorded.source == source)
                    || self.nodes.iter().zip(&keeps).any(reads))
        };
        let sources: Vec<usize> = (0..self.nodes.len()).filter(|at| is_needed_source(*at)).collect();
        let mut nodes: Vec<FlowNode> = sources.iter().map(|at| self.nodes[*at].clone()).collect();
        let mut senders: BTreeMap<(usize, usize), Sender> = BTreeMap::new();
        for (new, old) in sources.iter().enumerate() {
            senders.extend(
                (0..self.nodes[*old].spec.outputs.len())
                    .map(|output| ((*old, output), Sender::Node { node: new, output })),
            );
        }
        for (source, folder) in groups(&replayed) {
            let in_group = |recorded: &RecordedOutput| recorded.source == source && recorded.folder == folder;
            let tables: BTreeMap<&str, PortType> = replayed
                .values()
                .filter(|recorded| in_group(recorded))
                .map(|recorded| (recorded.table.as_str(), recorded.ty))
                .collect();
            let node = self.replay_node(registry, recording, &folder, &tables, source, &nodes, place.clone())?;
            for (key, recorded) in replayed.iter().filter(|(_, recorded)| in_group(recorded)) {
                let output =
                    node.spec.outputs.iter().position(|port| port.name == recorded.table && port.ty == recorded.ty);
                let output = output.ok_or_else(|| {
                    let sender = &self.nodes[key.0];
                    let port = &sender.spec.outputs[key.1];
                    error(format!(
                        "{}: the recorded table `{}` has other columns than the output `{}/{}` has now",
                        recording.display(),
                        recorded.table,
                        sender.id,
                        port.name
                    ))
                })?;
                senders.insert(*key, Sender::Node { node: nodes.len(), output });
            }
            nodes.push(node);
        }
        let kept = (0..self.nodes.len()).filter(|at| keeps[*at]);
        for (new, old) in (nodes.len()..).zip(kept.clone()) {
            let outputs = 0..self.nodes[old].spec.outputs.len();
            senders.extend(outputs.map(|output| ((old, output), Sender::Node { node: new, output })));
        }
        let names: Vec<String> = nodes.iter().map(|node| node.id.clone()).collect();
        for old in kept {
            let mut node = self.nodes[old].clone();
            for input in &mut node.inputs {
                let Sender::Node { node: sender, output } = input.producer else { continue };
                // Every sender is kept, a source, or replayed.
                let Some(sender) = senders.get(&(sender, output)) else { continue };
                input.producer = *sender;
                if let Sender::Node { node, output } = *sender
                    && let Some(name) = names.get(node)
                {
                    let port = nodes[node].spec.outputs[output].name;
                    input.wired.from = format!("{name}/{port}");
                }
            }
            nodes.push(node);
        }
        sinks::mark_sinks(&mut nodes);
        self.nodes = nodes;
        Ok(())
    }

    /// Returns, for each node, whether it is `from`, part of the module `from`, or descends from one of these.
    pub(crate) fn nodes_from(&self, from: &str) -> Result<Vec<bool>, String> {
        let is_part = |id: &str| id.strip_prefix(from).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let mut keeps: Vec<bool> = self.nodes.iter().map(|node| is_part(&node.id)).collect();
        if !keeps.contains(&true) {
            let names = self.nodes.iter().map(|node| node.id.as_str());
            return Err(format!("there is no node `{from}` to start from{}", did_you_mean(from, names)));
        }
        if let Some((source, _)) = self.nodes.iter().zip(&keeps).find(|(node, kept)| **kept && node.spec.is_source) {
            return Err(format!("`{}` is a source: there is nothing before it to replay", source.id));
        }
        // In topological order, so that one pass finds all descendants.
        for at in 0..self.nodes.len() {
            let reads_kept = |input: &Edge<Sender>| match input.producer {
                Sender::Node { node, .. } => keeps[node] && input.wired.alignment != Alignment::Feedback,
                Sender::Foreign(_) => false,
            };
            if self.nodes[at].inputs.iter().any(reads_kept) {
                keeps[at] = true;
            }
        }
        Ok(keeps)
    }

    /// Finds the recorder's input that reads an output.
    pub(crate) fn recorded_output(
        &self,
        sender: usize,
        output: usize,
        reader: usize,
    ) -> Result<RecordedOutput, String> {
        let (node, port) = (&self.nodes[sender], &self.nodes[sender].spec.outputs[output]);
        let (edge, reader) = (format!("{}/{}", node.id, port.name), &self.nodes[reader].id);
        if port.ty == PortType::Frame {
            return Err(format!(
                "`{reader}` reads the frames `{edge}`, which no recording holds: start from `{}` or a node before it",
                node.id
            ));
        }
        for recorder in self.nodes.iter().filter(|node| node.operator == RECORDER) {
            let reads = |input: &&Edge<Sender>| input.producer == Sender::Node { node: sender, output };
            if let Some(input) = recorder.inputs.iter().find(reads) {
                let folder = recorder.resolved.iter().find(|(key, _)| key == "folder");
                let folder = folder.and_then(|(_, value)| value.as_str()).unwrap_or_default().to_owned();
                return Ok(RecordedOutput {
                    table: input.wired.name.clone(),
                    folder,
                    ty: port.ty,
                    source: node.source,
                });
            }
        }
        Err(format!(
            "`{reader}` reads `{edge}`, which no recorder of the flow writes: add `{}: {edge}` to the inputs of a `recorder` and \
             record again, or start from a node before `{reader}`",
            port.name
        ))
    }

    /// Creates the node that replays tables of one source. `nodes` are the sources.
    #[expect(clippy::too_many_arguments, reason = "all parts of one node")]
    fn replay_node(
        &self,
        registry: &Registry,
        recording: &Path,
        folder: &str,
        tables: &BTreeMap<&str, PortType>,
        source: SourceId,
        nodes: &[FlowNode],
        place: Place,
    ) -> Result<FlowNode, Vec<Diagnostic>> {
        let error = |text: String| vec![Diagnostic::error(place.clone(), Some(REPLAY), text)];
        let entry = registry.get(REPLAY).map_err(|e| error(e.message))?;
        let types: Vec<Value> = tables.values().map(|ty| ty.name().into()).collect();
        let tables: Vec<Value> = tables.keys().copied().map(Value::from).collect();
        let mut values = Values::new();
        values.set("recording", Value::from(recording.display().to_string()), Origin::CommandLine);
        values.set("folder", Value::from(folder), Origin::CommandLine);
        values.set("tables", Value::from(tables), Origin::CommandLine);
        values.set("types", Value::from(types), Origin::CommandLine);
        let spec = entry.spec(&values).map_err(|e| error(e.message))?;
        let is_taken = |name: &str| self.nodes.iter().chain(nodes).any(|node| node.id == name);
        let mut id = REPLAY.to_owned();
        for number in 2.. {
            if !is_taken(&id) {
                break;
            }
            id = format!("{REPLAY}-{number}");
        }
        let frames = nodes.iter().enumerate().filter(|(_, node)| node.spec.is_source && node.source == source);
        let frames = frames.filter_map(|(at, node)| {
            let output = node.spec.outputs.iter().position(|port| port.ty == PortType::Frame)?;
            Some((at, output, format!("{}/{}", node.id, node.spec.outputs[output].name)))
        });
        let Some((at, output, text)) = frames.into_iter().next() else {
            return Err(error("the source of the recorded tables sends no frames".into()));
        };
        let frames = WiredInput {
            name: "frames".into(),
            from: text,
            ty: PortType::Frame,
            required: true,
            hold: false,
            alignment: Alignment::Source(source),
            source: Some(source),
        };
        Ok(FlowNode {
            id,
            operator: REPLAY.into(),
            process: nodes[at].process,
            resolved: entry.resolve(&values),
            models: vec![],
            on_error: OnError::default_for(self.mode),
            stride: 1,
            source,
            inputs: vec![Edge { place: place.clone(), ..Edge::new(frames, Sender::Node { node: at, output }) }],
            is_sink: false,
            is_outside_window: false,
            search: vec![],
            spec,
            values,
            place,
        })
    }
}

/// Returns the pairs of source and folder, each once.
fn groups(replayed: &BTreeMap<(usize, usize), RecordedOutput>) -> Vec<(SourceId, String)> {
    let mut groups: Vec<_> = replayed.values().map(|recorded| (recorded.source, recorded.folder.clone())).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}
