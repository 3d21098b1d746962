//! Wires the flat graph: resolves edges, sorts the nodes topologically, assigns sources, and aligns inputs.

use std::collections::BTreeMap;

use dora_core::descriptor::Node;
use dora_message::config::{DEFAULT_QUEUE_SIZE, Input, QueuePolicy};
use sideline_api::{
    Alignment, Entry, Mode, OnError, SourceId, Spec, WiredInput,
    config::{Origin, did_you_mean, nearest},
};

use crate::{
    Diagnostic, FlowNode, Place, Sender,
    expand::{Expanded, input_node_output},
    files::{Files, NodeDecl, NodeKind},
    plan::Edge,
    settings::{FlowSettings, SettingsReader},
    sinks,
};

/// Wires all operators. Returns `None` if errors prevent an analysis of the graph as a whole.
pub(crate) fn wire(
    files: &Files,
    expanded: &Expanded,
    settings: &mut SettingsReader<'_>,
    flow: &FlowSettings,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<(Vec<FlowNode>, Mode)> {
    let before = diagnostics.len();
    let operators = operators(files, expanded, settings, diagnostics);
    let index: BTreeMap<&str, usize> =
        operators.iter().enumerate().map(|(i, (_, decl, _))| (decl.id.as_str(), i)).collect();

    let mut nodes = vec![];
    let mut edges: Vec<Vec<Edge<Sender>>> = vec![];
    let mut error_policies = vec![];
    let mut finite = true;
    // Ports may depend on values, and edges on the ports of both ends: so all settings are read before any edge.
    let mut node_settings = vec![];
    let mut specs = vec![];
    for (node, decl, entry) in &operators {
        let set = settings.read_node(node, decl, entry, diagnostics);
        specs.push(entry.spec(&set.values).unwrap_or_else(|error| {
            diagnostics.push(Diagnostic::error(decl.place(), Some(&decl.id), error.message));
            entry.spec.clone()
        }));
        node_settings.push(set);
    }
    for (at, ((node, decl, entry), set)) in operators.iter().zip(node_settings).enumerate() {
        let spec = &specs[at];
        if spec.is_source {
            finite &= entry.finite(&set.values);
        }
        let mut wired = vec![];
        for (name, input) in &node.inputs {
            wired.extend(resolve_edge(
                files,
                expanded,
                (decl, spec),
                name.as_ref(),
                input,
                &specs,
                &index,
                diagnostics,
            ));
        }
        let declared_index = |edge: &Edge<Sender>| spec.inputs.iter().position(|port| port.name == edge.wired.name);
        wired.sort_by_key(|edge| (declared_index(edge).unwrap_or(usize::MAX), edge.wired.name.clone()));
        check_required_inputs(decl, spec, &wired, diagnostics);
        check_misspelled_inputs(decl, spec, &wired, diagnostics);
        edges.push(wired);
        nodes.push(FlowNode {
            id: decl.id.clone(),
            // A plugin is registered under the path by which the flow names it.
            operator: match &decl.kind {
                NodeKind::Operator(name) => name.clone(),
                NodeKind::Host { .. } | NodeKind::Foreign | NodeKind::Invalid => spec.name.into(),
            },
            spec: spec.clone(),
            process: expanded.process_of.get(&decl.id).copied().unwrap_or_default(),
            resolved: entry.resolve(&set.values),
            models: entry.models(&set.values),
            values: set.values,
            on_error: OnError::Stop,
            stride: set.stride,
            inputs: vec![],
            source: SourceId::default(),
            is_sink: false,
            is_outside_window: false,
            search: settings.overrides.search_path(&decl.file.folder, &files.root),
            place: decl.place(),
        });
        error_policies.push(set.on_error.or(flow.on_error));
    }
    settings.check_unused(diagnostics);
    if !nodes.iter().any(|node| node.spec.is_source) {
        diagnostics.push(Diagnostic::error(
            files.flow.whole_file(),
            None,
            "the flow has no source of frames: add a node such as `args: run capture`",
        ));
    }
    if diagnostics[before..].iter().any(Diagnostic::blocks_run) {
        return None;
    }
    let mode = flow.mode.unwrap_or(if finite { Mode::Complete } else { Mode::Live });
    for (node, policy) in nodes.iter_mut().zip(error_policies) {
        node.on_error = policy.unwrap_or(OnError::default_for(mode));
    }
    let order = sort_topologically(&nodes, &edges, diagnostics)?;
    let (mut nodes, edges) = reorder(nodes, edges, &order);
    assign_sources(&mut nodes, &edges, diagnostics);
    align(&mut nodes, edges, mode, diagnostics);
    check_mixed_sources(&nodes, diagnostics);
    check_stream_names(&nodes, diagnostics);
    sinks::mark_sinks(&mut nodes);
    Some((nodes, mode))
}

/// An operator of the flat graph: dora's node, its declaration, and its entry in the registry.
type OperatorNode<'a> = (&'a Node, &'a NodeDecl, &'a Entry);

/// Returns the operators of the flat graph.
fn operators<'a>(
    files: &'a Files,
    expanded: &'a Expanded,
    settings: &SettingsReader<'a>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<OperatorNode<'a>> {
    let mut operators = vec![];
    for node in &expanded.flat {
        let id = node.id.to_string();
        let Some(decl) = files.decls.get(&id) else { continue };
        match &decl.kind {
            NodeKind::Operator(name) => {
                if let Ok(entry) = settings.registry.get(name) {
                    operators.push((node, &**decl, entry));
                }
            }
            NodeKind::Foreign if !expanded.processes.nodes.iter().any(|process| process.id == node.id) => {
                let text =
                    "is not a Sideline node: a fused module can hold Sideline operators only; expand it with `module:`";
                diagnostics.push(Diagnostic::error(decl.place(), Some(&id), text));
            }
            _ => {}
        }
    }
    operators
}

/// Resolves the sender of an input and checks its type. The edge has the alignment that the flow asks for; [`align`]
/// decides it.
#[allow(clippy::too_many_arguments)]
fn resolve_edge(
    files: &Files,
    expanded: &Expanded,
    (decl, spec): (&NodeDecl, &Spec),
    name: &str,
    input: &Input,
    specs: &[Spec],
    index: &BTreeMap<&str, usize>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Edge<Sender>> {
    let (node, output) = input_node_output(input)?;
    if spec.is_source {
        return None;
    }
    let place = decl.place_of_key(&["inputs", name]);
    let port = spec.find_input(name)?;
    let mut error = |text: String| {
        diagnostics.push(Diagnostic::error(place.clone(), Some(&decl.id), format!("input `{name}`: {text}")));
    };
    let (producer, ty) = match index.get(node.as_str()) {
        Some(&sender) => {
            let spec = &specs[sender];
            let Some(at) = spec.outputs.iter().position(|port| port.name == output) else {
                error(format!(
                    "node `{node}` has no output `{output}`{}",
                    did_you_mean(&output, spec.outputs.iter().map(|o| o.name))
                ));
                return None;
            };
            let ty = spec.outputs[at].ty;
            if !port.ty.accepts(&ty) {
                error(format!("takes {}, but `{node}/{output}` sends {}", port.ty.name(), ty.name()));
            }
            (Sender::Node { node: sender, output: at }, ty)
        }
        None => {
            let Some(process) = expanded.processes.nodes.iter().position(|process| process.id.to_string() == node)
            else {
                error(format!(
                    "there is no node `{node}`{}",
                    did_you_mean(&node, files.decls.keys().map(String::as_str))
                ));
                return None;
            };
            if port.required {
                error(format!(
                    "the required input reads `{node}`, which is not a Sideline node: its messages belong to no frame of a \
                     source, and `{}` processes no frame without them; wire a Sideline node here, and `{node}` to an \
                     optional input",
                    decl.id
                ));
            }
            (Sender::Foreign(process), port.ty)
        }
    };
    let drops_oldest = input.queue_policy == Some(QueuePolicy::DropOldest);
    let alignment = match port.feedback {
        true => Alignment::Feedback,
        false if drops_oldest || matches!(producer, Sender::Foreign(_)) => {
            Alignment::Side { queue: input.queue_size.unwrap_or(DEFAULT_QUEUE_SIZE) }
        }
        // The source is decided by `align`.
        false => Alignment::Source(SourceId::default()),
    };
    Some(Edge {
        wired: WiredInput {
            name: name.into(),
            from: format!("{node}/{output}"),
            ty,
            required: port.required,
            hold: port.hold,
            alignment,
            source: None,
        },
        producer,
        border: border_name(expanded, decl, name, (&node, &output)),
        place,
    })
}

/// Returns the name of the dora input by which a process receives the output that one of its operators reads.
fn border_name(expanded: &Expanded, decl: &NodeDecl, name: &str, (node, output): (&str, &str)) -> String {
    let process = expanded.process_of.get(&decl.id).and_then(|process| expanded.processes.nodes.get(*process));
    let Some(process) = process.filter(|process| process.id.to_string() != decl.id) else { return name.into() };
    let carries_output = |input: &Input| {
        input_node_output(input).is_some_and(|(n, o)| expanded.producer_of(&n, &o) == (node.into(), output.into()))
    };
    let border_input = process.inputs.iter().find(|(_, input)| carries_output(input));
    border_input.map_or_else(|| name.into(), |(name, _)| name.to_string())
}

fn check_required_inputs(decl: &NodeDecl, spec: &Spec, wired: &[Edge<Sender>], diagnostics: &mut Vec<Diagnostic>) {
    for port in spec.inputs.iter().filter(|port| port.required) {
        if !wired.iter().any(|edge| edge.wired.name == port.name) {
            let (name, ty) = (port.name, port.ty.name());
            let text =
                format!("the required input `{name}` ({ty}) is not wired: add `{name}: NODE/OUTPUT` to `inputs`");
            diagnostics.push(Diagnostic::error(decl.place(), Some(&decl.id), text));
        }
    }
    if wired.is_empty() && !spec.is_source && !spec.inputs.iter().any(|port| port.required) {
        diagnostics.push(Diagnostic::error(
            decl.place(),
            Some(&decl.id),
            "reads nothing: wire at least one of its `inputs`",
        ));
    }
}

/// Warns of a likely misspelling at an operator that takes inputs of any name: an input whose name is similar to a
/// declared input that is not wired.
fn check_misspelled_inputs(decl: &NodeDecl, spec: &Spec, wired: &[Edge<Sender>], diagnostics: &mut Vec<Diagnostic>) {
    let is_wired = |name: &str| wired.iter().any(|edge| edge.wired.name == name);
    let free: Vec<&str> = spec.inputs.iter().map(|port| port.name).filter(|name| !is_wired(name)).collect();
    for edge in wired.iter().filter(|edge| !spec.inputs.iter().any(|port| port.name == edge.wired.name)) {
        let name = &edge.wired.name;
        if let Some(near) = nearest(name, free.iter().copied()) {
            let text = format!(
                "input `{name}`: is treated as an additional input, and the declared input `{near}` is not wired; did you mean `{near}`?"
            );
            diagnostics.push(Diagnostic::warning(edge.place.clone(), Some(&decl.id), text));
        }
    }
}

/// Reports readers of an operator that itself reads two sources. Its messages belong to frames of both and follow the
/// frame numbers of neither, so it can only be a sink.
fn check_mixed_sources(nodes: &[FlowNode], diagnostics: &mut Vec<Diagnostic>) {
    for reader in nodes {
        for input in reader.inputs.iter().filter(|input| input.wired.alignment.is_aligned()) {
            let Sender::Node { node, .. } = input.producer else { continue };
            let mixed = &nodes[node];
            let [first, second, ..] = &one_input_per_source(mixed)[..] else { continue };
            let source = |input: &Edge<Sender>| {
                let is_source =
                    |node: &&FlowNode| node.spec.is_source && Alignment::Source(node.source) == input.wired.alignment;
                nodes.iter().find(is_source).map_or_else(String::new, |source| source.id.clone())
            };
            let text = format!(
                "input `{}`: `{}` reads frames of two sources, `{}` (input `{}`) and `{}` (input `{}`), so its messages \
                 belong to the frames of neither: add a separate `{}` for each source",
                input.wired.name,
                mixed.id,
                source(first),
                first.wired.name,
                source(second),
                second.wired.name,
                mixed.operator
            );
            diagnostics.push(Diagnostic::error(input.place.clone(), Some(&reader.id), text));
        }
    }
}

/// Returns one aligned input of a node for each source that it reads.
fn one_input_per_source(node: &FlowNode) -> Vec<&Edge<Sender>> {
    let mut inputs: Vec<&Edge<Sender>> = vec![];
    for input in node.inputs.iter().filter(|input| input.wired.alignment.is_aligned()) {
        if inputs.iter().all(|listed| listed.wired.alignment != input.wired.alignment) {
            inputs.push(input);
        }
    }
    inputs
}

/// Reports two sources with the same stream name. State, counts and recordings are keyed by the name of the stream.
fn check_stream_names(nodes: &[FlowNode], diagnostics: &mut Vec<Diagnostic>) {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for source in nodes.iter().filter(|node| node.spec.is_source) {
        let set = source.resolved.iter().find(|(key, _)| *key == "stream").and_then(|(_, value)| value.as_str());
        // The default name is the id of the source; a source of several streams names each of them itself.
        let several = source.resolved.iter().any(|(key, value)| *key == "sources" && !value.is_null());
        let name = match set {
            Some("") | None if several => continue,
            Some("") | None => &source.id,
            Some(name) => name,
        };
        if let Some(other) = taken.insert(name, &source.id) {
            let place = match source.values.get("stream") {
                Some((_, Origin::File { path, line, column })) => {
                    Place { file: Some(path.clone()), line: *line, column: *column }
                }
                Some((_, Origin::CommandLine)) => Place::default(),
                _ => source.place.clone(),
            };
            let text =
                format!("the stream name `{name}` is already used by `{other}`: give each source its own `STREAM`");
            diagnostics.push(Diagnostic::error(place, Some(&source.id), text));
        }
    }
}

/// Sorts the nodes topologically, ties in the order of the file. Reports a cycle and returns `None` if there is one.
fn sort_topologically(
    nodes: &[FlowNode],
    edges: &[Vec<Edge<Sender>>],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<usize>> {
    let senders = |node: usize| {
        edges[node].iter().filter(|edge| !is_feedback(edge)).filter_map(|edge| match edge.producer {
            Sender::Node { node, .. } => Some((node, edge)),
            Sender::Foreign(_) => None,
        })
    };
    let mut order: Vec<usize> = vec![];
    let mut placed = vec![false; nodes.len()];
    while order.len() < nodes.len() {
        let ready = |node: &usize| !placed[*node] && senders(*node).all(|(sender, _)| placed[sender]);
        if let Some(node) = (0..nodes.len()).find(ready) {
            placed[node] = true;
            order.push(node);
            continue;
        }
        // The remaining nodes contain a cycle: each of them has an unplaced sender, so a walk from sender to sender
        // ends in a cycle.
        let unplaced_sender = |node: usize| senders(node).find(|(sender, _)| !placed[*sender]);
        let mut path: Vec<usize> = (0..nodes.len()).find(|node| !placed[*node]).into_iter().collect();
        loop {
            let (sender, _) = unplaced_sender(*path.last()?)?;
            if let Some(at) = path.iter().position(|node| *node == sender) {
                path.drain(..at);
                break;
            }
            path.push(sender);
        }
        let first = path.iter().copied().min()?;
        while path[0] != first {
            path.rotate_left(1);
        }
        let (_, edge) = unplaced_sender(first)?;
        let ids: Vec<String> =
            path.iter().rev().chain([path.last()?]).map(|node| format!("`{}`", nodes[*node].id)).collect();
        let text = format!(
            "input `{}`: closes a cycle: {}; only `done` and feedback inputs may close one",
            edge.wired.name,
            ids.join(" -> ")
        );
        diagnostics.push(Diagnostic::error(edge.place.clone(), Some(&nodes[first].id), text));
        return None;
    }
    Some(order)
}

/// Brings nodes and edges into the given order, and numbers the sources in the order of the file.
fn reorder(
    nodes: Vec<FlowNode>,
    edges: Vec<Vec<Edge<Sender>>>,
    order: &[usize],
) -> (Vec<FlowNode>, Vec<Vec<Edge<Sender>>>) {
    let mut place = vec![0; order.len()];
    for (new, old) in order.iter().enumerate() {
        place[*old] = new;
    }
    let mut both: Vec<(usize, FlowNode, Vec<Edge<Sender>>)> =
        nodes.into_iter().zip(edges).enumerate().map(|(old, (node, edges))| (place[old], node, edges)).collect();
    // Numbers the sources before the sort, which ends the order of the file.
    let sources = both.iter_mut().filter(|(_, node, _)| node.spec.is_source);
    for (number, (_, node, _)) in sources.enumerate() {
        node.source = SourceId(number);
    }
    both.sort_by_key(|(place, ..)| *place);
    let (nodes, mut edges): (Vec<_>, Vec<_>) = both.into_iter().map(|(_, node, edges)| (node, edges)).unzip();
    for edge in edges.iter_mut().flatten() {
        if let Sender::Node { node, .. } = &mut edge.producer {
            *node = place[*node];
        }
    }
    (nodes, edges)
}

/// Assigns a source to each operator: that of its required inputs, which must agree, else that of its first input.
fn assign_sources(nodes: &mut [FlowNode], edges: &[Vec<Edge<Sender>>], diagnostics: &mut Vec<Diagnostic>) {
    for i in 0..nodes.len() {
        if nodes[i].spec.is_source {
            continue;
        }
        let from = |edge: &&Edge<Sender>| match edge.producer {
            Sender::Node { node, .. } if !is_feedback(edge) => Some(nodes[node].source),
            _ => None,
        };
        let mut required = edges[i].iter().filter(|edge| edge.wired.required && from(edge).is_some());
        let first = required.next();
        if let Some(first) = first
            && let Some(other) = required.find(|edge| from(edge) != from(&first))
        {
            let name = |edge: &Edge<Sender>| {
                let source = nodes.iter().find(|n| n.spec.is_source && Some(n.source) == from(&edge));
                source.map_or_else(String::new, |source| source.id.clone())
            };
            let text = format!(
                "input `{}`: descends from the source `{}`, but the required input `{}` from `{}`; required inputs must share one source",
                other.wired.name,
                name(other),
                first.wired.name,
                name(first)
            );
            diagnostics.push(Diagnostic::error(other.place.clone(), Some(&nodes[i].id), text));
        }
        let source = first.and_then(|edge| from(&edge)).or_else(|| edges[i].iter().find_map(|edge| from(&edge)));
        nodes[i].source = source.unwrap_or_default();
    }
}

/// Returns true for an edge to a feedback input.
fn is_feedback(edge: &Edge<Sender>) -> bool {
    edge.wired.alignment == Alignment::Feedback
}

/// Decides the alignment of every input, and which nodes are outside the window.
fn align(nodes: &mut [FlowNode], edges: Vec<Vec<Edge<Sender>>>, mode: Mode, diagnostics: &mut Vec<Diagnostic>) {
    for (i, edges) in edges.into_iter().enumerate() {
        let mut inside = nodes[i].spec.is_source;
        // An operator with a required input processes the frames of that input's source; frames of another source
        // cannot be aligned to them.
        let source_of = |edge: &Edge<Sender>| match edge.producer {
            Sender::Node { node, .. } if !is_feedback(edge) => Some(nodes[node].source),
            _ => None,
        };
        let required_source = edges.iter().filter(|edge| edge.wired.required).find_map(source_of);
        let mut inputs = vec![];
        for mut edge in edges {
            if let Sender::Node { node, .. } = edge.producer {
                let source = nodes[node].source;
                let is_of_other_source = required_source.is_some_and(|required| required != source);
                edge.wired.source = Some(source);
                edge.wired.alignment = match edge.wired.alignment {
                    Alignment::Feedback => Alignment::Feedback,
                    side @ Alignment::Side { .. } if mode == Mode::Live || is_of_other_source => side,
                    Alignment::Source(_) if !edge.wired.required && is_of_other_source => {
                        let text = format!(
                            "input `{}`: `{}` descends from another source than the required inputs, so it cannot be aligned to them; write `queue_policy: drop_oldest`",
                            edge.wired.name, edge.wired.from
                        );
                        diagnostics.push(Diagnostic::error(edge.place.clone(), Some(&nodes[i].id), text));
                        Alignment::Side { queue: DEFAULT_QUEUE_SIZE }
                    }
                    Alignment::Side { .. } | Alignment::Source(_) => {
                        inside |= !nodes[node].is_outside_window;
                        Alignment::Source(source)
                    }
                };
            }
            inputs.push(edge);
        }
        for input in &inputs {
            if let Sender::Node { node, .. } = input.producer
                && input.wired.alignment.is_aligned()
                && inside
                && nodes[node].is_outside_window
            {
                let text = format!(
                    "input `{}`: `{}` has side inputs only and does not send a message for every frame; write `queue_policy: drop_oldest` here too",
                    input.wired.name, nodes[node].id
                );
                diagnostics.push(Diagnostic::error(input.place.clone(), Some(&nodes[i].id), text));
            }
        }
        nodes[i].inputs = inputs;
        nodes[i].is_outside_window = !inside;
    }
}
