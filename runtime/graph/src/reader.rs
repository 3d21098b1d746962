//! A node that the flow's file does not name: a reader of frames that a command puts beside what is there.

use sideline_api::{Alignment, Mode, OnError, PortType, Registry, Values, config::Origin};

use crate::{Diagnostic, Flow, FlowInput, FlowNode, Place, Process, ProcessKind, Sender, done};

impl Flow {
    /// Where the frames are that a person would look at: what every `render` draws, else what every source sends. Indices
    /// into [`Flow::nodes`] and their outputs.
    pub fn pictures(&self) -> Vec<(usize, usize)> {
        let frames = |node: &FlowNode| node.spec.outputs.iter().position(|output| output.ty == PortType::Frame);
        let of = |wanted: fn(&FlowNode) -> bool| -> Vec<(usize, usize)> {
            let nodes = self.nodes.iter().enumerate().filter(|(_, node)| wanted(node));
            nodes.filter_map(|(at, node)| Some((at, frames(node)?))).collect()
        };
        let drawn = of(|node| node.operator == "render");
        if drawn.is_empty() { of(|node| node.spec.source) } else { drawn }
    }

    /// Adds a node of an operator that reads these outputs as side inputs, the newest message of each: in `live` mode no
    /// window waits for it. It is called `id`, with a number after it where that name is taken, and so are its inputs:
    /// `frames` where there is one, else by the names of the nodes that send.
    ///
    /// # Errors
    /// When there is no such operator, or a value is wrong.
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
        let mut set = Values::new();
        for (key, value) in values {
            set.set(key, value, Origin::CommandLine);
        }
        let wrong: Vec<Diagnostic> =
            entry.check(&set).into_iter().flat_map(|problem| error(problem.to_string())).collect();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let taken = |name: &str| self.processes.iter().any(|process| process.id == name);
        let mut name = id.to_owned();
        for number in 2.. {
            if !taken(&name) {
                break;
            }
            name = format!("{id}-{number}");
        }
        let inputs: Vec<FlowInput> = outputs
            .iter()
            .map(|(at, output)| {
                let sender = &self.nodes[*at];
                let port = &sender.spec.outputs[*output];
                let input = if outputs.len() == 1 { "frames".to_owned() } else { sender.id.clone() };
                let (alignment, queue) = match self.mode {
                    Mode::Live => (Alignment::Side { queue: 1 }, 1),
                    Mode::Complete => (Alignment::Source(sender.source), self.window + 4),
                };
                FlowInput {
                    border: input.clone(),
                    name: input,
                    from: Sender::Node { node: *at, output: *output },
                    text: format!("{}/{}", sender.id, port.name),
                    ty: port.ty,
                    required: false,
                    hold: false,
                    alignment,
                    queue,
                    place: place.clone(),
                }
            })
            .collect();
        self.nodes.push(FlowNode {
            id: name.clone(),
            operator: operator.into(),
            spec: entry.spec(&set).map_err(|e| error(e.message))?,
            process: self.processes.len(),
            resolved: entry.resolve(&set),
            models: entry.models(&set),
            values: set,
            on_error: OnError::default_for(self.mode),
            stride: 1,
            source: outputs.first().map(|(at, _)| self.nodes[*at].source).unwrap_or_default(),
            inputs,
            sink: false,
            outside: self.mode == Mode::Live,
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
        done::mark_sinks(&mut self.nodes);
        Ok(())
    }
}
