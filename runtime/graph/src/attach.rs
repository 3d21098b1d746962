//! Attaches a node that is not in the flow's file: a reader of frames that a command adds, such as the preview.

use sideline_api::{Alignment, Mode, OnError, PortType, Registry, Values, WiredInput, config::Origin};

use crate::{Diagnostic, Flow, FlowNode, Place, Process, ProcessKind, Sender, plan::Edge, sinks};

impl Flow {
    /// Returns the frame outputs to show in a preview: those of every `render`, or of every source if there is no
    /// `render`. The pairs are indices into [`Flow::nodes`] and into the outputs of that node.
    pub fn preview_outputs(&self) -> Vec<(usize, usize)> {
        let frame_output = |node: &FlowNode| node.spec.outputs.iter().position(|output| output.ty == PortType::Frame);
        let outputs_where = |predicate: fn(&FlowNode) -> bool| -> Vec<(usize, usize)> {
            let nodes = self.nodes.iter().enumerate().filter(|(_, node)| predicate(node));
            nodes.filter_map(|(index, node)| Some((index, frame_output(node)?))).collect()
        };
        let rendered = outputs_where(|node| node.operator == "render");
        if rendered.is_empty() { outputs_where(|node| node.spec.is_source) } else { rendered }
    }

    /// Adds a node that runs `operator` and reads the given outputs. In `live` mode they are side inputs that hold the
    /// newest message, so the window does not wait for the node; in `complete` mode they are aligned. The node gets the
    /// name `id`, with a number appended if that is taken. Its input is named `frames`; several inputs are named after
    /// the nodes that they read.
    ///
    /// # Errors
    /// When the operator does not exist or a value is invalid.
    pub fn add_reader(
        &mut self,
        registry: &Registry,
        id: &str,
        operator: &str,
        values: Vec<(String, serde_json::Value)>,
        outputs: &[(usize, usize)],
    ) -> Result<(), Vec<Diagnostic>> {
        let place = Place { file: Some(self.path.clone()), ..Place::default() };
        let error = |text: String| vec![Diagnostic::error(place.clone(), Some(id), text)];
        let entry = registry.get(operator).map_err(|e| error(e.message))?;
        let mut config = Values::new();
        for (key, value) in values {
            config.set(key, value, Origin::CommandLine);
        }
        let problems: Vec<Diagnostic> =
            entry.check(&config).into_iter().flat_map(|problem| error(problem.to_string())).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let is_taken = |name: &str| self.processes.iter().any(|process| process.id == name);
        let mut name = id.to_owned();
        for number in 2.. {
            if !is_taken(&name) {
                break;
            }
            name = format!("{id}-{number}");
        }
        let inputs: Vec<Edge<Sender>> = outputs
            .iter()
            .map(|(index, output)| {
                let sender = &self.nodes[*index];
                let port = &sender.spec.outputs[*output];
                let input = if outputs.len() == 1 { "frames".to_owned() } else { sender.id.clone() };
                let wired = WiredInput {
                    name: input,
                    from: format!("{}/{}", sender.id, port.name),
                    ty: port.ty,
                    required: false,
                    hold: false,
                    alignment: match self.mode {
                        Mode::Live => Alignment::Side { queue: 1 },
                        Mode::Complete => Alignment::Source(sender.source),
                    },
                    source: Some(sender.source),
                };
                let edge = Edge::new(wired, Sender::Node { node: *index, output: *output });
                Edge { place: place.clone(), ..edge }
            })
            .collect();
        self.nodes.push(FlowNode {
            id: name.clone(),
            operator: operator.into(),
            spec: entry.spec(&config).map_err(|e| error(e.message))?,
            process: self.processes.len(),
            resolved: entry.resolve(&config),
            models: entry.models(&config),
            values: config,
            on_error: OnError::default_for(self.mode),
            stride: 1,
            source: outputs.first().map(|(index, _)| self.nodes[*index].source).unwrap_or_default(),
            inputs,
            is_sink: false,
            is_outside_window: self.mode == Mode::Live,
            search: vec![],
            place: place.clone(),
        });
        self.processes.push(Process {
            id: name,
            kind: ProcessKind::Operator(operator.into()),
            inputs: vec![],
            outputs: vec![],
            queues: vec![],
            pool: 0,
            run_dir: None,
            place,
        });
        sinks::mark_sinks(&mut self.nodes);
        Ok(())
    }
}
