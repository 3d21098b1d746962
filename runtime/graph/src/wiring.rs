//! The flat graph: who reads whom, in which order, from which source, aligned how.

use std::collections::BTreeMap;

use dora_core::descriptor::Node;
use dora_message::config::{DEFAULT_QUEUE_SIZE, Input, QueuePolicy};
use sideline_api::{
    Alignment, Entry, Mode, OnError, SourceId, Spec,
    config::{Origin, did_you_mean, nearest},
};

use crate::{
    Diagnostic, FlowInput, FlowNode, Place, Sender, done,
    expand::{Expanded, reads},
    files::{Files, What, Written},
    settings::{FlowSettings, Settings},
};

/// An edge before its alignment is known.
struct Edge {
    input: FlowInput,
    feedback: bool,
    side: bool,
}

/// Wires all operators; `None` when the graph is too broken to go on.
pub(crate) fn wire(
    files: &Files,
    expanded: &Expanded,
    settings: &mut Settings<'_>,
    flow: &FlowSettings,
    found: &mut Vec<Diagnostic>,
) -> Option<(Vec<FlowNode>, Mode)> {
    let before = found.len();
    let ours = operators(files, expanded, settings, found);
    let index: BTreeMap<&str, usize> = ours.iter().enumerate().map(|(i, (_, w, _))| (w.id.as_str(), i)).collect();

    let mut nodes = vec![];
    let mut edges: Vec<Vec<Edge>> = vec![];
    let mut chosen = vec![];
    let mut finite = true;
    // The ports of each, which may depend on its values, before any edge.
    let mut set_of = vec![];
    let mut specs = vec![];
    for (node, written, entry) in &ours {
        let set = settings.of(node, written, entry, found);
        specs.push(entry.spec(&set.values).unwrap_or_else(|error| {
            found.push(Diagnostic::error(written.place(), Some(&written.id), error.message));
            entry.spec.clone()
        }));
        set_of.push(set);
    }
    for (at, ((node, written, entry), set)) in ours.iter().zip(set_of).enumerate() {
        let spec = &specs[at];
        if spec.source {
            finite &= entry.finite(&set.values);
        }
        let mut wired = vec![];
        for (name, input) in &node.inputs {
            wired.extend(edge(files, expanded, (written, spec), name.as_ref(), input, &specs, &index, found));
        }
        let declared = |edge: &Edge| spec.inputs.iter().position(|port| port.name == edge.input.name);
        wired.sort_by_key(|edge| (declared(edge).unwrap_or(usize::MAX), edge.input.name.clone()));
        check_required(written, spec, &wired, found);
        check_slips(written, spec, &wired, found);
        edges.push(wired);
        nodes.push(FlowNode {
            id: written.id.clone(),
            operator: spec.name.into(),
            spec: spec.clone(),
            process: expanded.process_of.get(&written.id).copied().unwrap_or_default(),
            resolved: entry.resolve(&set.values),
            models: entry.models(&set.values),
            values: set.values,
            on_error: OnError::Stop,
            stride: set.stride,
            inputs: vec![],
            source: SourceId::default(),
            sink: false,
            outside: false,
            search: settings.overrides.search(&written.file.folder, &files.root),
            place: written.place(),
        });
        chosen.push(set.on_error.or(flow.on_error));
    }
    settings.check_passed(found);
    if !nodes.iter().any(|node| node.spec.source) {
        found.push(Diagnostic::error(
            files.flow.whole(),
            None,
            "the flow has no source of frames: add a node such as `args: run capture`",
        ));
    }
    if found[before..].iter().any(Diagnostic::hinders_run) {
        return None;
    }
    let mode = flow.mode.unwrap_or(if finite { Mode::Complete } else { Mode::Live });
    for (node, chosen) in nodes.iter_mut().zip(chosen) {
        node.on_error = chosen.unwrap_or(OnError::default_for(mode));
    }
    let order = sort(&nodes, &edges, found)?;
    let (mut nodes, edges) = reorder(nodes, edges, &order);
    sources(&mut nodes, &edges, found);
    align(&mut nodes, edges, mode, flow.window, found);
    check_two_sources(&nodes, found);
    check_streams(&nodes, found);
    done::mark_sinks(&mut nodes);
    Some((nodes, mode))
}

type Ours<'a> = (&'a Node, &'a Written, &'a Entry);

fn operators<'a>(
    files: &'a Files,
    expanded: &'a Expanded,
    settings: &Settings<'a>,
    found: &mut Vec<Diagnostic>,
) -> Vec<Ours<'a>> {
    let mut ours = vec![];
    for node in &expanded.flat {
        let id = node.id.to_string();
        let Some(written) = files.written.get(&id) else { continue };
        match &written.what {
            What::Operator(name) => {
                if let Ok(entry) = settings.registry.get(name) {
                    ours.push((node, &**written, entry));
                }
            }
            What::Foreign if !expanded.processes.nodes.iter().any(|process| process.id == node.id) => {
                let text = "is not one of ours: a fused module holds operators of ours only; expand it with `module:`";
                found.push(Diagnostic::error(written.place(), Some(&id), text));
            }
            _ => {}
        }
    }
    ours
}

/// One input of an operator, its sender looked up.
#[allow(clippy::too_many_arguments)]
fn edge(
    files: &Files,
    expanded: &Expanded,
    (written, spec): (&Written, &Spec),
    name: &str,
    input: &Input,
    specs: &[Spec],
    index: &BTreeMap<&str, usize>,
    found: &mut Vec<Diagnostic>,
) -> Option<Edge> {
    let (node, output) = reads(input)?;
    if spec.source {
        return None;
    }
    let place = written.place_at(&["inputs", name]);
    let port = spec.find_input(name)?;
    let mut error = |text: String| {
        found.push(Diagnostic::error(place.clone(), Some(&written.id), format!("input `{name}`: {text}")));
    };
    let (from, ty) = match index.get(node.as_str()) {
        Some(&sender) => {
            let spec = &specs[sender];
            let Some(at) = spec.outputs.iter().position(|known| known.name == output) else {
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
                    did_you_mean(&node, files.written.keys().map(String::as_str))
                ));
                return None;
            };
            if port.required {
                error(format!(
                    "required input `{name}` comes from `{node}`, which is not ours: its messages belong to no frame of a \
                     source, and `{}` handles nothing without one; read a node of ours here, and `{node}` on an input that \
                     is not required",
                    written.id
                ));
            }
            (Sender::Foreign(process), port.ty)
        }
    };
    let side = input.queue_policy == Some(QueuePolicy::DropOldest);
    Some(Edge {
        feedback: port.feedback,
        side: side || matches!(from, Sender::Foreign(_)),
        input: FlowInput {
            name: name.into(),
            from,
            text: format!("{node}/{output}"),
            ty,
            required: port.required,
            hold: port.hold,
            alignment: Alignment::Feedback,
            queue: input.queue_size.unwrap_or(DEFAULT_QUEUE_SIZE),
            border: border_name(expanded, written, name, (&node, &output)),
            place,
        },
    })
}

/// The dora input by which a process gets what one of its operators reads.
fn border_name(expanded: &Expanded, written: &Written, name: &str, (node, output): (&str, &str)) -> String {
    let process = expanded.process_of.get(&written.id).and_then(|process| expanded.processes.nodes.get(*process));
    let Some(process) = process.filter(|process| process.id.to_string() != written.id) else { return name.into() };
    let brings =
        |input: &Input| reads(input).is_some_and(|(n, o)| expanded.maker(&n, &o) == (node.into(), output.into()));
    let found = process.inputs.iter().find(|(_, input)| brings(input));
    found.map_or_else(|| name.into(), |(name, _)| name.to_string())
}

fn check_required(written: &Written, spec: &Spec, wired: &[Edge], found: &mut Vec<Diagnostic>) {
    for port in spec.inputs.iter().filter(|port| port.required) {
        if !wired.iter().any(|edge| edge.input.name == port.name) {
            let (name, ty) = (port.name, port.ty.name());
            let text =
                format!("the required input `{name}` ({ty}) is not wired: add `{name}: NODE/OUTPUT` to `inputs`");
            found.push(Diagnostic::error(written.place(), Some(&written.id), text));
        }
    }
    if wired.is_empty() && !spec.source && !spec.inputs.iter().any(|port| port.required) {
        found.push(Diagnostic::error(
            written.place(),
            Some(&written.id),
            "reads nothing: wire at least one of its `inputs`",
        ));
    }
}

/// Warns where an operator takes inputs of any name, and one is named almost like an input of its own that is not wired.
fn check_slips(written: &Written, spec: &Spec, wired: &[Edge], found: &mut Vec<Diagnostic>) {
    let is_wired = |name: &str| wired.iter().any(|edge| edge.input.name == name);
    let free: Vec<&str> = spec.inputs.iter().map(|port| port.name).filter(|name| !is_wired(name)).collect();
    for edge in wired.iter().filter(|edge| !spec.inputs.iter().any(|port| port.name == edge.input.name)) {
        let name = &edge.input.name;
        if let Some(near) = nearest(name, free.iter().copied()) {
            let text = format!(
                "input `{name}`: is taken as one more, and the operator's own input `{near}` is not wired; did you mean `{near}`?"
            );
            found.push(Diagnostic::warning(edge.input.place.clone(), Some(&written.id), text));
        }
    }
}

/// Refuses a reader of what two sources are mixed in: an operator that reads two sources answers the frames of both, so its
/// messages follow the numbers of neither. It can only be a sink.
fn check_two_sources(nodes: &[FlowNode], found: &mut Vec<Diagnostic>) {
    for reader in nodes {
        for input in reader.inputs.iter().filter(|input| input.alignment.is_ordinary()) {
            let Sender::Node { node, .. } = input.from else { continue };
            let mixed = &nodes[node];
            let [first, second, ..] = &by_source(mixed)[..] else { continue };
            let source = |input: &FlowInput| {
                let of = |node: &&FlowNode| node.spec.source && Alignment::Source(node.source) == input.alignment;
                nodes.iter().find(of).map_or_else(String::new, |source| source.id.clone())
            };
            let text = format!(
                "input `{}`: `{}` reads frames of two sources, `{}` (input `{}`) and `{}` (input `{}`), so what it sends \
                 belongs to the frames of neither: give each source a `{}` of its own",
                input.name,
                mixed.id,
                source(first),
                first.name,
                source(second),
                second.name,
                mixed.operator
            );
            found.push(Diagnostic::error(input.place.clone(), Some(&reader.id), text));
        }
    }
}

/// One ordinary input of a node for each source that it reads.
fn by_source(node: &FlowNode) -> Vec<&FlowInput> {
    let mut inputs: Vec<&FlowInput> = vec![];
    for input in node.inputs.iter().filter(|input| input.alignment.is_ordinary()) {
        if inputs.iter().all(|known| known.alignment != input.alignment) {
            inputs.push(input);
        }
    }
    inputs
}

/// Refuses two sources whose key `stream` is the same: state, counts and recordings are kept by the name of the stream.
fn check_streams(nodes: &[FlowNode], found: &mut Vec<Diagnostic>) {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for source in nodes.iter().filter(|node| node.spec.source) {
        let set = source.resolved.iter().find(|(key, _)| *key == "stream").and_then(|(_, value)| value.as_str());
        // A source that is not told a name takes its id; one that reads several streams names each by itself.
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
            let text = format!("its stream is called `{name}`, as that of `{other}` is: give each its own `STREAM`");
            found.push(Diagnostic::error(place, Some(&source.id), text));
        }
    }
}

/// Producers before consumers, else the order of the file.
fn sort(nodes: &[FlowNode], edges: &[Vec<Edge>], found: &mut Vec<Diagnostic>) -> Option<Vec<usize>> {
    let senders = |node: usize| {
        edges[node].iter().filter(|edge| !edge.feedback).filter_map(|edge| match edge.input.from {
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
        // What is left holds a cycle: every node waits for one that is left too. Going back along them ends in it.
        let back = |node: usize| senders(node).find(|(sender, _)| !placed[*sender]);
        let mut path: Vec<usize> = (0..nodes.len()).find(|node| !placed[*node]).into_iter().collect();
        loop {
            let (sender, _) = back(*path.last()?)?;
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
        let (_, edge) = back(first)?;
        let ids: Vec<String> =
            path.iter().rev().chain([path.last()?]).map(|node| format!("`{}`", nodes[*node].id)).collect();
        let text = format!(
            "input `{}`: closes a cycle: {}; only `done` and inputs declared as feedback may",
            edge.input.name,
            ids.join(" -> ")
        );
        found.push(Diagnostic::error(edge.input.place.clone(), Some(&nodes[first].id), text));
        return None;
    }
    Some(order)
}

fn reorder(nodes: Vec<FlowNode>, edges: Vec<Vec<Edge>>, order: &[usize]) -> (Vec<FlowNode>, Vec<Vec<Edge>>) {
    let mut place = vec![0; order.len()];
    for (new, old) in order.iter().enumerate() {
        place[*old] = new;
    }
    let mut both: Vec<(usize, FlowNode, Vec<Edge>)> =
        nodes.into_iter().zip(edges).enumerate().map(|(old, (node, edges))| (place[old], node, edges)).collect();
    // Sources are numbered in the order of the file, which ends here.
    let sources = both.iter_mut().filter(|(_, node, _)| node.spec.source);
    for (number, (_, node, _)) in sources.enumerate() {
        node.source = SourceId(number);
    }
    both.sort_by_key(|(place, ..)| *place);
    let (nodes, mut edges): (Vec<_>, Vec<_>) = both.into_iter().map(|(_, node, edges)| (node, edges)).unzip();
    for edge in edges.iter_mut().flatten() {
        if let Sender::Node { node, .. } = &mut edge.input.from {
            *node = place[*node];
        }
    }
    (nodes, edges)
}

/// The source of each operator: that of its required inputs, which must agree, else of its first.
fn sources(nodes: &mut [FlowNode], edges: &[Vec<Edge>], found: &mut Vec<Diagnostic>) {
    for i in 0..nodes.len() {
        if nodes[i].spec.source {
            continue;
        }
        let from = |edge: &&Edge| match edge.input.from {
            Sender::Node { node, .. } if !edge.feedback => Some(nodes[node].source),
            _ => None,
        };
        let mut required = edges[i].iter().filter(|edge| edge.input.required && from(edge).is_some());
        let first = required.next();
        if let Some(first) = first
            && let Some(other) = required.find(|edge| from(edge) != from(&first))
        {
            let name = |edge: &Edge| {
                let source = nodes.iter().find(|n| n.spec.source && Some(n.source) == from(&edge));
                source.map_or_else(String::new, |source| source.id.clone())
            };
            let text = format!(
                "input `{}`: descends from the source `{}`, but the required input `{}` from `{}`; required inputs share one source",
                other.input.name,
                name(other),
                first.input.name,
                name(first)
            );
            found.push(Diagnostic::error(other.input.place.clone(), Some(&nodes[i].id), text));
        }
        let source = first.and_then(|edge| from(&edge)).or_else(|| edges[i].iter().find_map(|edge| from(&edge)));
        nodes[i].source = source.unwrap_or_default();
    }
}

fn align(nodes: &mut [FlowNode], edges: Vec<Vec<Edge>>, mode: Mode, window: usize, found: &mut Vec<Diagnostic>) {
    for (i, edges) in edges.into_iter().enumerate() {
        let mut inside = nodes[i].spec.source;
        // What has a required input answers the frames of its source; no frame of another one can stand beside them.
        let of = |edge: &Edge| match edge.input.from {
            Sender::Node { node, .. } if !edge.feedback => Some(nodes[node].source),
            _ => None,
        };
        let frames = edges.iter().filter(|edge| edge.input.required).find_map(of);
        let mut inputs = vec![];
        for Edge { mut input, feedback, side } in edges {
            input.alignment = match input.from {
                _ if feedback => Alignment::Feedback,
                Sender::Foreign(_) => Alignment::Side { queue: input.queue },
                Sender::Node { node, .. }
                    if side && (mode == Mode::Live || frames.is_some_and(|frames| frames != nodes[node].source)) =>
                {
                    Alignment::Side { queue: input.queue }
                }
                Sender::Node { node, .. }
                    if !input.required && frames.is_some_and(|frames| frames != nodes[node].source) =>
                {
                    let text = format!(
                        "input `{}`: `{}` descends from another source than the required inputs, so no frame of it belongs to theirs; write `queue_policy: drop_oldest`",
                        input.name, input.text
                    );
                    found.push(Diagnostic::error(input.place.clone(), Some(&nodes[i].id), text));
                    Alignment::Side { queue: input.queue }
                }
                Sender::Node { node, .. } => {
                    inside |= !nodes[node].outside;
                    input.queue = window + 4;
                    Alignment::Source(nodes[node].source)
                }
            };
            inputs.push(input);
        }
        for input in &inputs {
            if let Sender::Node { node, .. } = input.from
                && input.alignment.is_ordinary()
                && inside
                && nodes[node].outside
            {
                let text = format!(
                    "input `{}`: `{}` has side inputs only and does not answer every frame; write `queue_policy: drop_oldest` here too",
                    input.name, nodes[node].id
                );
                found.push(Diagnostic::error(input.place.clone(), Some(&nodes[i].id), text));
            }
        }
        nodes[i].inputs = inputs;
        nodes[i].outside = !inside;
    }
}
