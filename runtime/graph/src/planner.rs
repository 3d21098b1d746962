//! Builds plans: selects the nodes of a process, assigns lanes, and collects the edges to other processes.

use sideline_api::SourceId;

use crate::{
    Diagnostic, Flow, FlowNode, Place, ProcessKind, Sender,
    plan::{BorderInput, BorderOutput, Edge, LaneId, NodeId, Plan, PlanNode, Producer, RemoteSink},
};

impl Flow {
    /// Returns the plan of the whole flow in one process.
    ///
    /// # Errors
    /// When the flow has foreign nodes; the diagnostic names them and the dora command that runs the flow.
    pub fn plan_embedded(&self) -> Result<Plan, Vec<Diagnostic>> {
        let foreign = self.foreign_node_ids();
        if !foreign.is_empty() {
            let names: Vec<String> = foreign.iter().map(|id| format!("`{id}`")).collect();
            let (subject, verb) = match names.len() {
                1 => ("node", "is not a Sideline node"),
                _ => ("nodes", "are not Sideline nodes"),
            };
            let text = format!(
                "{subject} {} {verb}, so one process cannot run the flow: run it with\n    dora run {}",
                names.join(", "),
                self.path.display()
            );
            let place = Place { file: Some(self.path.clone()), ..Place::default() };
            return Err(vec![Diagnostic::error(place, None, text)]);
        }
        Ok(self.plan((0..self.nodes.len()).collect(), None))
    }

    /// Returns the plan of one node as dora runs it.
    ///
    /// # Errors
    /// When there is no such Sideline node, or the flow has errors that concern dora.
    pub fn plan_for_node(&self, id: &str) -> Result<Plan, Vec<Diagnostic>> {
        let problems: Vec<Diagnostic> =
            self.diagnostics.iter().filter(|d| d.dora_only && d.severity == crate::Severity::Error).cloned().collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let is_sideline = |kind: &ProcessKind| *kind != ProcessKind::Foreign;
        let Some(process) = self.processes.iter().position(|process| process.id == id && is_sideline(&process.kind))
        else {
            let ids =
                self.processes.iter().filter(|process| is_sideline(&process.kind)).map(|process| process.id.as_str());
            let near = sideline_api::config::did_you_mean(id, ids);
            let place = Place { file: Some(self.path.clone()), ..Place::default() };
            return Err(vec![Diagnostic::error(place, None, format!("there is no Sideline node `{id}`{near}"))]);
        };
        let members = (0..self.nodes.len()).filter(|node| self.nodes[*node].process == process).collect();
        Ok(self.plan(members, Some(process)))
    }

    fn plan(&self, members: Vec<usize>, process: Option<usize>) -> Plan {
        let (lane_of, lanes) = self.assign_lanes(&members);
        let mut border_inputs: Vec<BorderInput> = vec![];
        let mut nodes = vec![];
        for (member, lane) in members.iter().zip(lane_of) {
            let node = &self.nodes[*member];
            let inputs = node.inputs.iter().map(|input| {
                let local = match input.producer {
                    Sender::Node { node, output } => members
                        .iter()
                        .position(|member| *member == node)
                        .map(|node| Producer::Node { node: NodeId(node), output }),
                    Sender::Foreign(_) => None,
                };
                let producer = local.unwrap_or_else(|| {
                    let at = border_inputs.iter().position(|border| border.name == input.border);
                    Producer::Border(at.unwrap_or_else(|| {
                        border_inputs.push(self.border_input(process, input));
                        border_inputs.len() - 1
                    }))
                });
                input.with_producer(producer)
            });
            nodes.push(PlanNode {
                id: node.id.clone(),
                operator: node.operator.clone(),
                values: node.values.clone(),
                on_error: node.on_error,
                stride: node.stride,
                inputs: inputs.collect(),
                outputs: node.spec.outputs.clone(),
                lane,
                source: node.source,
                is_source: node.spec.is_source,
                is_sink: node.is_sink,
                search: node.search.clone(),
            });
        }
        let outputs = process.map(|process| self.border_outputs(process)).unwrap_or_default();
        let border_outputs = outputs.into_iter().filter_map(|(name, node, output)| {
            let node = members.iter().position(|member| *member == node)?;
            Some(BorderOutput { name, node: NodeId(node), output })
        });
        let remote_sinks = process.map(|process| self.remote_sinks(process)).unwrap_or_default();
        let local_source = |source: SourceId| nodes.iter().any(|node| node.is_source && node.source == source);
        Plan {
            flow: self.name.clone(),
            mode: self.mode,
            window: self.window,
            stall_timeout: self.stall_timeout,
            start_timeout: self.start_timeout,
            lanes,
            border_inputs,
            border_outputs: border_outputs.collect(),
            remote_sinks,
            sends_done: nodes.iter().flat_map(PlanNode::awaiting_sources).any(|source| !local_source(source)),
            nodes,
        }
    }

    /// Returns the lane of each member and the number of lanes. A source and a heavy operator each have their own lane.
    /// A cheap operator runs on the lane of its last heavy ancestor, else of its source. If both are in other
    /// processes, it runs on a lane shared by all such operators.
    fn assign_lanes(&self, members: &[usize]) -> (Vec<LaneId>, usize) {
        // Per member: its last heavy ancestor among the members, including itself.
        let mut last: Vec<Option<usize>> = vec![];
        for (at, member) in members.iter().enumerate() {
            let node = &self.nodes[*member];
            let above = node.inputs.iter().filter(|input| input.wired.alignment != sideline_api::Alignment::Feedback);
            let above = above.filter_map(|input| match input.producer {
                Sender::Node { node, .. } => members[..at].iter().position(|member| *member == node),
                Sender::Foreign(_) => None,
            });
            // A heavy ancestor takes precedence over a source; among heavy ones, the last in topological order.
            let above =
                above.filter_map(|parent| last[parent]).max_by_key(|lead| (!self.is_source(members[*lead]), *lead));
            last.push(if node.spec.is_source || node.spec.is_heavy { Some(at) } else { above });
        }
        let shared = last.iter().any(Option::is_none);
        let mut next = usize::from(shared);
        let mut lane_of_lead = vec![0; members.len()];
        for (at, lead) in last.iter().enumerate() {
            if *lead == Some(at) {
                lane_of_lead[at] = next;
                next += 1;
            }
        }
        (last.iter().map(|lead| LaneId(lead.map_or(0, |lead| lane_of_lead[lead]))).collect(), next)
    }

    fn is_source(&self, node: usize) -> bool {
        self.nodes[node].spec.is_source
    }

    fn border_input(&self, process: Option<usize>, input: &Edge<Sender>) -> BorderInput {
        let inputs = process.map_or(&[][..], |process| &self.processes[process].inputs);
        let from = inputs.iter().find(|(name, _)| *name == input.border).map(|(_, from)| from.clone());
        BorderInput {
            name: input.border.clone(),
            from: from.unwrap_or_else(|| input.wired.from.clone()),
            ty: input.wired.ty,
            foreign: matches!(input.producer, Sender::Foreign(_)),
        }
    }

    /// Returns the outputs of a process that other processes read: name of the dora output, and the indices of node and
    /// output in the flat graph.
    pub(crate) fn border_outputs(&self, process: usize) -> Vec<(String, usize, usize)> {
        let id = &self.processes[process].id;
        let mut outputs: Vec<(String, usize, usize)> = vec![];
        for (_, from) in self.processes.iter().flat_map(|other| &other.inputs) {
            let Some(name) = from.strip_prefix(id.as_str()).and_then(|rest| rest.strip_prefix('/')) else { continue };
            let Some((node, output)) = self.producer_of(process, name) else { continue };
            if !outputs.iter().any(|(listed, ..)| listed == name) {
                outputs.push((name.to_owned(), node, output));
            }
        }
        outputs.sort();
        outputs
    }

    /// Returns the indices of the node, and of its output, that produce an output of a process, which is given by its index in
    /// [`Flow::processes`]. `None` if no node of the flow produces it.
    pub fn producer_of(&self, process: usize, name: &str) -> Option<(usize, usize)> {
        let output_of =
            |node: usize, name: &str| Some((node, self.nodes[node].spec.outputs.iter().position(|o| o.name == name)?));
        let id = &self.processes[process].id;
        match self.producers.get(&format!("{id}/{name}")) {
            Some((node, output)) => output_of(self.nodes.iter().position(|n| n.id == *node)?, output),
            None => output_of(self.nodes.iter().position(|n| n.id == *id)?, name),
        }
    }

    /// Returns the sinks of other processes that a source of this process waits for.
    fn remote_sinks(&self, process: usize) -> Vec<RemoteSink> {
        let here = &self.processes[process];
        let local: Vec<SourceId> =
            self.nodes.iter().filter(|n| n.spec.is_source && n.process == process).map(|n| n.source).collect();
        let others = self.processes.iter().enumerate().filter(|(p, _)| *p != process);
        others
            .filter_map(|(p, other)| {
                let nodes = self.nodes.iter().filter(|n| n.process == p);
                let mut sources: Vec<SourceId> = nodes.flat_map(FlowNode::awaiting_sources).collect();
                sources.retain(|source| local.contains(source));
                sources.sort_unstable();
                sources.dedup();
                if sources.is_empty() {
                    return None;
                }
                Some(RemoteSink { input: self.done_input(here, other)?, node: other.id.clone(), sources })
            })
            .collect()
    }
}
