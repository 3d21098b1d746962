//! Parses and expands a flow with dora's own code: the descriptor, its expansion of modules, and the same expansion
//! applied to fused nodes, which gives the flat graph.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use dora_core::descriptor::{Descriptor, DescriptorExt, Node, validate};
use dora_message::{
    config::{Input, InputMapping},
    descriptor::EnvValue,
    id::{DataId, NodeId},
};
use sideline_api::{config::did_you_mean, yaml};

use crate::{
    Diagnostic,
    files::{File, Files, NodeKind},
    names::declared_ports,
};

/// Id of a temporary node that reads every output of every fused module. The expansion rewrites its inputs to the nodes
/// that produce them.
const PROBE_ID: &str = "sideline--probe";
/// Suffix that hides a `done` output of a fused node from the expansion, which would reject the output as undeclared.
const DONE_SUFFIX: &str = "--done";

/// A flow in both forms: as dora runs it, and flat.
pub(crate) struct Expanded {
    /// One node per process with dora's ids: modules expanded, fused nodes as one node.
    pub processes: Descriptor,
    /// One node per operator.
    pub flat: Vec<Node>,
    /// Index into `processes.nodes`, by id in the flat graph.
    pub process_of: BTreeMap<String, usize>,
    /// Producers of the outputs of fused nodes: `perception/poses` -> (`perception.pose`, `poses`).
    pub producers: BTreeMap<String, (String, String)>,
}

impl Expanded {
    /// Returns the node and output in the flat graph that produce dora's output `node/output`.
    pub fn producer_of(&self, node: &str, output: &str) -> (String, String) {
        self.producers.get(&format!("{node}/{output}")).cloned().unwrap_or_else(|| (node.into(), output.into()))
    }
}

/// Returns the node and output that an input reads; `None` for dora's timers and logs.
pub(crate) fn input_node_output(input: &Input) -> Option<(String, String)> {
    match &input.mapping {
        InputMapping::User(mapping) => Some((mapping.source.to_string(), mapping.output.to_string())),
        InputMapping::Timer { .. } | InputMapping::Logs(_) => None,
    }
}

/// Parses the text of a flow as a descriptor.
pub(crate) fn parse(file: &File, text: &str) -> Result<Descriptor, Diagnostic> {
    yaml::from_str(text).map_err(|error| yaml_diagnostic(file, (error.line, error.column), &error.message))
}

/// Escapes the dollar signs in the `env:` values of a descriptor. dora substitutes environment variables each time it
/// parses a descriptor, and has done so already in one that it passes to a node.
pub(crate) fn escape_variables(descriptor: &Descriptor) -> Descriptor {
    let mut descriptor = descriptor.clone();
    let nodes = descriptor.nodes.iter_mut().filter_map(|node| node.env.as_mut());
    for value in nodes.chain(descriptor.env.as_mut()).flat_map(BTreeMap::values_mut) {
        if let EnvValue::String(text) = value {
            *text = text.replace('$', "$$");
        }
    }
    descriptor
}

/// Expands modules, then fused nodes until none is left.
pub(crate) fn expand(files: &Files, descriptor: &Descriptor) -> Result<Expanded, Diagnostic> {
    let fail = |e: String| expansion_diagnostic(files, &e);
    let processes = descriptor.expand(&files.root).map_err(|e| fail(format!("{e:#}")))?;
    validate::check_dataflow_static(&processes).map_err(|e| fail(format!("{e:#}")))?;

    let ids = || processes.nodes.iter().map(|node| node.id.to_string());
    let mut process_of: BTreeMap<String, usize> = ids().enumerate().map(|(i, id)| (id, i)).collect();
    let mut flat = processes.clone();
    loop {
        let fused: BTreeSet<String> =
            flat.nodes.iter().map(|node| node.id.to_string()).filter(|id| fused_file(files, id).is_some()).collect();
        if fused.is_empty() {
            break;
        }
        flat.nodes = flat.nodes.into_iter().map(|node| to_module_node(files, node)).collect();
        hide_done_inputs(&mut flat.nodes, &fused);
        add_probe_inputs(files, &mut flat.nodes, &fused);
        let (expanded, boundaries) = flat.expand_with_boundaries(&files.root).map_err(|e| fail(format!("{e:#}")))?;
        for (host, inner) in boundaries.modules {
            let Some(process) = process_of.get(&host).copied() else { continue };
            process_of.extend(inner.into_iter().map(|id| (id, process)));
        }
        flat = expanded;
    }
    let mut producers = BTreeMap::new();
    let mut nodes = Vec::new();
    for node in flat.nodes {
        if node.id.to_string() == PROBE_ID {
            producers = node
                .inputs
                .iter()
                .filter_map(|(name, input)| Some((name.to_string(), input_node_output(input)?)))
                .collect();
        } else {
            nodes.push(node);
        }
    }
    Ok(Expanded { processes, flat: nodes, process_of, producers })
}

/// Returns the module file of a fused node, and its path as written.
fn fused_file<'a>(files: &'a Files, id: &str) -> Option<(&'a File, &'a str)> {
    match &files.decls.get(id)?.kind {
        NodeKind::Host { file, path, fused: true } => Some((file, path)),
        _ => None,
    }
}

/// Turns a fused node into the equivalent node with `module:`; returns other nodes unchanged.
fn to_module_node(files: &Files, node: Node) -> Node {
    let Some((_, path)) = fused_file(files, node.id.as_ref()) else { return node };
    let mut module = Node::new(node.id);
    module.module = Some(path.to_owned());
    module.inputs = node.inputs;
    module.env = node.env;
    module
}

/// Renames the source of every `done` input that reads a fused node.
fn hide_done_inputs(nodes: &mut [Node], fused: &BTreeSet<String>) {
    for input in nodes.iter_mut().flat_map(|node| node.inputs.values_mut()) {
        if let InputMapping::User(mapping) = &mut input.mapping
            && mapping.output.to_string() == "done"
            && fused.contains(&mapping.source.to_string())
        {
            mapping.source = NodeId::from(format!("{}{DONE_SUFFIX}", mapping.source));
        }
    }
}

/// Adds an input to the probe node for every output of the fused nodes.
fn add_probe_inputs(files: &Files, nodes: &mut Vec<Node>, fused: &BTreeSet<String>) {
    let at = nodes.iter().position(|node| node.id.to_string() == PROBE_ID).unwrap_or_else(|| {
        nodes.push(Node::new(NodeId::from(PROBE_ID.to_owned())));
        nodes.len() - 1
    });
    for id in fused {
        let outputs = fused_file(files, id).map_or_else(Vec::new, |(file, _)| declared_ports(file, &["outputs"]));
        for output in outputs {
            let name = format!("{id}/{output}");
            let (Ok(port), Ok(mapping)) = (name.parse::<DataId>(), name.parse()) else { continue };
            let input = Input { mapping, queue_size: None, input_timeout: None, queue_policy: None };
            nodes[at].inputs.insert(port, input);
        }
    }
}

/// Converts an error of the YAML parser to a diagnostic. For an unknown key it suggests the nearest one instead of the
/// list of all keys.
fn yaml_diagnostic(file: &File, (line, column): (usize, usize), text: &str) -> Diagnostic {
    let text = &yaml::describe_serde_error(text);
    if let Some((_, rest)) = text.split_once("unknown field `")
        && let Some((field, rest)) = rest.split_once('`')
    {
        let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let place = file.tree.find_key(field, line).or_else(|| file.tree.find_key(field, 0));
        let place = place.map_or_else(|| file.place_at(line, column), |key| file.place_of(key));
        return Diagnostic::error(place, None, format!("there is no key `{field}` here{}", did_you_mean(field, names)));
    }
    let text = text.strip_prefix("failed to parse given descriptor: ").unwrap_or(text);
    Diagnostic::error(file.place_at(line, column), None, text)
}

/// Converts an error of dora's expansion or validation to a diagnostic, placed at the first node that the text names.
fn expansion_diagnostic(files: &Files, text: &str) -> Diagnostic {
    if let Some((_, rest)) = text.split_once("failed to parse module file: ")
        && let Some((path, rest)) = rest.split_once(": ")
        && let Ok((file, _)) = File::read(Path::new(path))
    {
        let number = |after: &str| {
            let digits = rest.rsplit_once(after)?.1;
            digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let at = (number(" line ").unwrap_or(1), number(" column ").unwrap_or(1));
        let mut diagnostic = yaml_diagnostic(&file, at, rest);
        // dora reports the full path; the diagnostic shows the path as in other places.
        let shown_paths = files.decls.values().map(|decl| &decl.file.path);
        let same_file = shown_paths.into_iter().find(|shown| {
            shown.canonicalize().ok().zip(Path::new(path).canonicalize().ok()).is_some_and(|(a, b)| a == b)
        });
        if let Some(same_file) = same_file {
            diagnostic.place.file = Some(same_file.clone());
        }
        return diagnostic;
    }
    let named = text.split('`').skip(1).step_by(2).find_map(|name| files.decls.get(name));
    match named {
        Some(decl) => Diagnostic::error(decl.place(), Some(&decl.id), text),
        None => Diagnostic::error(files.flow.whole_file(), None, text),
    }
}
