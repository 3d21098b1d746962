//! Replacement of the nodes before some outputs of a flow by one source that sends given rows, for tests of a flow.

use std::collections::BTreeSet;

use sideline_api::{
    Alignment, Mode, OnError, OutputPort, PortType, SourceId, Spec, Values, WiredInput, config::did_you_mean,
    port::intern,
};

use crate::{Diagnostic, Flow, FlowNode, Place, Sender, plan::Edge, sinks};

/// Output of a node: indices into [`Flow::nodes`] and into the outputs of that node.
pub type OutputIndex = (usize, usize);

/// Table of a recording that holds the messages of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedTableName {
    /// Output that was recorded.
    pub output: OutputIndex,
    /// Subfolder of the run in which the recorder wrote; empty for the run folder itself.
    pub folder: String,
    /// Name of the table.
    pub table: String,
}

/// Name of the frame output of the source that feeds a flow.
const FRAMES: &str = "frames";

impl Flow {
    /// Returns the index of an output that is named as in an input of the flow: `perception.tracker/tracks`, or by the module that
    /// lists it, `perception/tracks`.
    ///
    /// # Errors
    /// When there is no such node or output; the error suggests the most similar one.
    pub fn find_output(&self, name: &str) -> Result<OutputIndex, String> {
        let Some((node, output)) = name.split_once('/') else {
            return Err(format!("`{name}` names no output: write NODE/OUTPUT, such as `{}`", self.example_output()));
        };
        let listed = self.producers.get(name);
        let (node, output) = listed.map_or((node, output), |(node, output)| (node.as_str(), output.as_str()));
        let Some(index) = self.nodes.iter().position(|known| known.id == node) else {
            let is_host = |known: &str| known.starts_with(&format!("{node}."));
            if self.nodes.iter().any(|known| is_host(&known.id)) {
                let prefix = format!("{node}/");
                let listed: Vec<&str> = self.producers.keys().filter_map(|known| known.strip_prefix(&prefix)).collect();
                let near = did_you_mean(output, listed.iter().copied());
                return Err(format!("the module `{node}` has no output `{output}`{near}"));
            }
            let names = self.nodes.iter().map(|known| known.id.as_str());
            return Err(format!("there is no node `{node}` in the flow{}", did_you_mean(node, names)));
        };
        let outputs = &self.nodes[index].spec.outputs;
        let found = outputs.iter().position(|port| port.name == output);
        found.map(|output| (index, output)).ok_or_else(|| {
            let names = outputs.iter().map(|port| port.name);
            format!("node `{node}` has no output `{output}`{}", did_you_mean(output, names))
        })
    }

    fn example_output(&self) -> String {
        let is_table = |port: &&OutputPort| matches!(port.ty, PortType::Table(_));
        let named = |node: &FlowNode| Some(format!("{}/{}", node.id, node.spec.outputs.iter().find(is_table)?.name));
        self.nodes.iter().find_map(named).unwrap_or_else(|| "tracker/tracks".into())
    }

    /// Returns the name of an output: `perception.tracker/tracks`.
    pub fn output_name(&self, (node, output): OutputIndex) -> String {
        format!("{}/{}", self.nodes[node].id, self.nodes[node].spec.outputs[output].name)
    }

    /// Returns the tables that a recording of this flow has for the outputs that the node (or module) `from` and the nodes after it
    /// read.
    ///
    /// # Errors
    /// When there is no such node, or one of the outputs is in no recording.
    pub fn recorded_before(&self, from: &str) -> Result<Vec<RecordedTableName>, String> {
        let keeps = self.nodes_from(from)?;
        let mut tables: Vec<RecordedTableName> = vec![];
        for (at, node) in self.nodes.iter().enumerate().filter(|(at, _)| keeps[*at]) {
            for input in &node.inputs {
                let Sender::Node { node: sender, output } = input.producer else { continue };
                let is_known = tables.iter().any(|table| table.output == (sender, output));
                let is_frame = self.nodes[sender].spec.outputs[output].ty == PortType::Frame;
                if keeps[sender] || is_known || self.nodes[sender].spec.is_source || is_frame {
                    continue;
                }
                let recorded = self.recorded_output(sender, output, at)?;
                tables.push(RecordedTableName {
                    output: (sender, output),
                    folder: recorded.folder,
                    table: recorded.table,
                });
            }
        }
        if tables.is_empty() { Err(format!("`{from}` reads no recorded table")) } else { Ok(tables) }
    }

    /// Keeps the nodes between the outputs `fed` and the outputs `read`. One source, the operator `source`, takes the place of all
    /// nodes before them: its outputs are `frames` and those that the kept nodes read, named `NODE/OUTPUT`. The operator `reader`
    /// reads the outputs `read`, by inputs of these names. Returns the description of the source.
    ///
    /// # Errors
    /// When a kept node requires an output that is not fed, or `read` does not descend from `fed`.
    pub fn feed(
        &mut self,
        source: &str,
        fed: &[OutputIndex],
        reader: &str,
        read: &[OutputIndex],
    ) -> Result<Spec, Vec<Diagnostic>> {
        let place = Place { file: Some(self.path.clone()), ..Place::default() };
        let kept = self.nodes_between(fed, read).map_err(|text| vec![Diagnostic::error(place.clone(), None, text)])?;
        let id = intern(source);
        let mut spec = Spec::source(id).output(FRAMES, PortType::Frame);
        let mut producers: Vec<(OutputIndex, usize)> = vec![];
        let mut nodes: Vec<FlowNode> = vec![];
        let source_id = kept.first().map(|at| self.nodes[*at].source).unwrap_or_default();
        for at in &kept {
            let mut node = self.nodes[*at].clone();
            for input in &mut node.inputs {
                let Sender::Node { node: sender, output } = input.producer else { continue };
                if let Some(position) =
                    kept.iter().position(|known| *known == sender).filter(|_| !fed.contains(&(sender, output)))
                {
                    input.producer = Sender::Node { node: position + 1, output };
                    continue;
                }
                let port = &self.nodes[sender].spec.outputs[output];
                let known = producers.iter().find(|(index, _)| *index == (sender, output)).map(|(_, output)| *output);
                let from = match (port.ty, known) {
                    (PortType::Frame, _) => 0,
                    (_, Some(known)) => known,
                    (ty, None) => {
                        spec = spec.output(intern(&self.output_name((sender, output))), ty);
                        producers.push(((sender, output), spec.outputs.len() - 1));
                        spec.outputs.len() - 1
                    }
                };
                input.producer = Sender::Node { node: 0, output: from };
                input.wired.from = format!("{id}/{}", spec.outputs[from].name);
                // The window of a side input does not matter here: rows arrive with their frames.
                if !matches!(input.wired.alignment, Alignment::Feedback) {
                    input.wired.alignment = Alignment::Source(source_id);
                }
                input.wired.source = Some(source_id);
            }
            // One process: those of the nodes that were left out may not be Sideline's.
            node.process = 0;
            nodes.push(node);
        }
        let process = kept.first().map_or(0, |at| self.nodes[*at].process);
        let node = |id: &str, spec: Spec, inputs: Vec<Edge<Sender>>| FlowNode {
            id: id.into(),
            operator: id.into(),
            process: 0,
            resolved: vec![],
            values: Values::new(),
            models: vec![],
            on_error: OnError::default_for(Mode::Complete),
            stride: 1,
            source: source_id,
            inputs,
            is_sink: false,
            is_outside_window: false,
            search: vec![],
            spec,
            place: place.clone(),
        };
        let inputs = read.iter().filter_map(|(sender, output)| {
            let name = self.output_name((*sender, *output));
            let position = kept.iter().position(|known| known == sender)?;
            let wired = WiredInput {
                name: name.clone(),
                from: name,
                ty: self.nodes[*sender].spec.outputs[*output].ty,
                required: false,
                hold: false,
                alignment: Alignment::Source(source_id),
                source: Some(source_id),
            };
            let edge = Edge::new(wired, Sender::Node { node: position + 1, output: *output });
            Some(Edge { place: place.clone(), ..edge })
        });
        let reader = node(reader, Spec::operator(intern(reader)).any_inputs(PortType::Any), inputs.collect());
        nodes.insert(0, node(id, spec.clone(), vec![]));
        nodes.push(reader);
        sinks::mark_sinks(&mut nodes);
        self.processes = self.processes.get(process).cloned().into_iter().collect();
        self.nodes = nodes;
        self.mode = Mode::Complete;
        Ok(spec)
    }

    /// Returns the nodes that the outputs `read` need and that are not replaced by the outputs `fed`, in order.
    fn nodes_between(&self, fed: &[OutputIndex], read: &[OutputIndex]) -> Result<Vec<usize>, String> {
        let mut descends = vec![false; self.nodes.len()];
        // In topological order, so that one pass finds all descendants.
        for at in 0..self.nodes.len() {
            descends[at] = self.nodes[at].inputs.iter().any(|input| match input.producer {
                Sender::Node { node, output } => {
                    fed.contains(&(node, output)) || descends[node] && input.wired.alignment != Alignment::Feedback
                }
                Sender::Foreign(_) => false,
            });
        }
        let mut needed = BTreeSet::new();
        let mut pending = vec![];
        for index in read {
            let name = self.output_name(*index);
            if fed.contains(index) {
                return Err(format!("`{name}` is fed by the test, so there is nothing to expect of it"));
            }
            if !descends[index.0] {
                let names: Vec<String> = fed.iter().map(|fed| format!("`{}`", self.output_name(*fed))).collect();
                return Err(format!("`{name}` does not depend on what the test feeds: {}", names.join(", ")));
            }
            pending.push(index.0);
        }
        let mut sources: BTreeSet<SourceId> = BTreeSet::new();
        while let Some(at) = pending.pop() {
            if !needed.insert(at) {
                continue;
            }
            let node = &self.nodes[at];
            sources.insert(node.source);
            for input in &node.inputs {
                let Sender::Node { node: sender, output } = input.producer else {
                    return Err(format!(
                        "`{}` reads `{}`, which is not a node of Sideline: a test cannot feed it",
                        node.id, input.wired.from
                    ));
                };
                if fed.contains(&(sender, output)) || self.nodes[sender].spec.is_source {
                    continue;
                }
                if descends[sender] {
                    pending.push(sender);
                    continue;
                }
                let name = self.output_name((sender, output));
                if self.nodes[sender].spec.outputs[output].ty == PortType::Frame {
                    return Err(format!(
                        "`{0}` reads the frames `{name}`, which a test cannot feed: feed the outputs of `{0}` instead",
                        node.id
                    ));
                }
                if input.wired.required {
                    return Err(format!(
                        "`{}` requires `{name}`, which the test does not feed: add it to `feed`",
                        node.id
                    ));
                }
            }
        }
        if sources.len() > 1 {
            return Err("the expected outputs depend on several sources: write one test for each source".into());
        }
        Ok(needed.into_iter().collect())
    }
}
