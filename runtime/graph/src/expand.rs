//! dora's own reading of a flow: its descriptor, its expansion of modules, and the same expansion applied to fused nodes,
//! which gives the flat graph.

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
    check::declared,
    files::{File, Files, What},
};

/// A node that is not there: it reads every output of every fused module, and so learns who makes it.
const PROBE: &str = "sideline--probe";
/// Marks a `done` of a fused node through the expansion, which knows no such output.
const DONE: &str = "--done";

/// A flow as dora runs it, and flat.
pub(crate) struct Expanded {
    /// One node per process, ids as dora's: modules expanded, fused nodes whole.
    pub processes: Descriptor,
    /// One node per operator.
    pub flat: Vec<Node>,
    /// Index into `processes.nodes`, by flat id.
    pub process_of: BTreeMap<String, usize>,
    /// Who makes an output of a fused node: `perception/poses` -> (`perception.pose`, `poses`).
    pub makers: BTreeMap<String, (String, String)>,
}

impl Expanded {
    /// Node and output in the flat graph of what dora knows as `node/output`.
    pub fn maker(&self, node: &str, output: &str) -> (String, String) {
        self.makers.get(&format!("{node}/{output}")).cloned().unwrap_or_else(|| (node.into(), output.into()))
    }
}

/// Node and output of an input, when it reads a node.
pub(crate) fn reads(input: &Input) -> Option<(String, String)> {
    match &input.mapping {
        InputMapping::User(mapping) => Some((mapping.source.to_string(), mapping.output.to_string())),
        InputMapping::Timer { .. } | InputMapping::Logs(_) => None,
    }
}

/// The descriptor of a flow's text.
pub(crate) fn parse(file: &File, text: &str) -> Result<Descriptor, Diagnostic> {
    yaml::from_str(text).map_err(|broken| told_by_dora(file, (broken.line, broken.column), &broken.message))
}

/// A descriptor whose texts dora reads as they are: it puts variables of the environment in at every reading, and whoever
/// wrote this one has done so already.
pub(crate) fn escaped(descriptor: &Descriptor) -> Descriptor {
    let mut descriptor = descriptor.clone();
    let nodes = descriptor.nodes.iter_mut().filter_map(|node| node.env.as_mut());
    for value in nodes.chain(descriptor.env.as_mut()).flat_map(BTreeMap::values_mut) {
        if let EnvValue::String(text) = value {
            *text = text.replace('$', "$$");
        }
    }
    descriptor
}

/// Expands modules, then fused nodes.
pub(crate) fn expand(files: &Files, descriptor: &Descriptor) -> Result<Expanded, Diagnostic> {
    let fail = |e: String| told_by_expansion(files, &e);
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
        flat.nodes = flat.nodes.into_iter().map(|node| as_module(files, node)).collect();
        mark_done(&mut flat.nodes, &fused);
        probe(files, &mut flat.nodes, &fused);
        let (expanded, boundaries) = flat.expand_with_boundaries(&files.root).map_err(|e| fail(format!("{e:#}")))?;
        for (host, inner) in boundaries.modules {
            let Some(process) = process_of.get(&host).copied() else { continue };
            process_of.extend(inner.into_iter().map(|id| (id, process)));
        }
        flat = expanded;
    }
    let mut makers = BTreeMap::new();
    let mut nodes = Vec::new();
    for node in flat.nodes {
        if node.id.to_string() == PROBE {
            makers = node.inputs.iter().filter_map(|(name, input)| Some((name.to_string(), reads(input)?))).collect();
        } else {
            nodes.push(node);
        }
    }
    Ok(Expanded { processes, flat: nodes, process_of, makers })
}

fn fused_file<'a>(files: &'a Files, id: &str) -> Option<(&'a File, &'a str)> {
    match &files.written.get(id)?.what {
        What::Host { file, path, fused: true } => Some((file, path)),
        _ => None,
    }
}

/// A fused node, written as the module it hosts.
fn as_module(files: &Files, node: Node) -> Node {
    let Some((_, path)) = fused_file(files, node.id.as_ref()) else { return node };
    let mut module = Node::new(node.id);
    module.module = Some(path.to_owned());
    module.inputs = node.inputs;
    module.env = node.env;
    module
}

fn mark_done(nodes: &mut [Node], fused: &BTreeSet<String>) {
    for input in nodes.iter_mut().flat_map(|node| node.inputs.values_mut()) {
        if let InputMapping::User(mapping) = &mut input.mapping
            && mapping.output.to_string() == "done"
            && fused.contains(&mapping.source.to_string())
        {
            mapping.source = NodeId::from(format!("{}{DONE}", mapping.source));
        }
    }
}

fn probe(files: &Files, nodes: &mut Vec<Node>, fused: &BTreeSet<String>) {
    let at = nodes.iter().position(|node| node.id.to_string() == PROBE).unwrap_or_else(|| {
        nodes.push(Node::new(NodeId::from(PROBE.to_owned())));
        nodes.len() - 1
    });
    for id in fused {
        let outputs = fused_file(files, id).map_or_else(Vec::new, |(file, _)| declared(file, &["outputs"]));
        for output in outputs {
            let name = format!("{id}/{output}");
            let (Ok(port), Ok(mapping)) = (name.parse::<DataId>(), name.parse()) else { continue };
            let input = Input { mapping, queue_size: None, input_timeout: None, queue_policy: None };
            nodes[at].inputs.insert(port, input);
        }
    }
}

/// An error of the YAML reader, with the nearest key instead of the list of all.
fn told_by_dora(file: &File, (line, column): (usize, usize), text: &str) -> Diagnostic {
    let text = &yaml::plain_words(text);
    if let Some((_, rest)) = text.split_once("unknown field `")
        && let Some((field, rest)) = rest.split_once('`')
    {
        let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let place = file.tree.find_key(field, line).or_else(|| file.tree.find_key(field, 0));
        let place = place.map_or_else(|| file.at(line, column), |key| file.place(key));
        return Diagnostic::error(place, None, format!("there is no key `{field}` here{}", did_you_mean(field, names)));
    }
    let text = text.strip_prefix("failed to parse given descriptor: ").unwrap_or(text);
    Diagnostic::error(file.at(line, column), None, text)
}

/// An error of dora's expansion or validation: its place is that of the first node it names.
fn told_by_expansion(files: &Files, text: &str) -> Diagnostic {
    if let Some((_, rest)) = text.split_once("failed to parse module file: ")
        && let Some((path, rest)) = rest.split_once(": ")
        && let Ok((file, _)) = File::read(Path::new(path))
    {
        let number = |after: &str| {
            let digits = rest.rsplit_once(after)?.1;
            digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let at = (number(" line ").unwrap_or(1), number(" column ").unwrap_or(1));
        let mut diagnostic = told_by_dora(&file, at, rest);
        // dora tells the file by its full path; it is shown as the other places are.
        let shown = files.written.values().map(|written| &written.file.path);
        let same = shown.into_iter().find(|shown| {
            shown.canonicalize().ok().zip(Path::new(path).canonicalize().ok()).is_some_and(|(a, b)| a == b)
        });
        if let Some(same) = same {
            diagnostic.place.file = Some(same.clone());
        }
        return diagnostic;
    }
    let named = text.split('`').skip(1).step_by(2).find_map(|name| files.written.get(name));
    match named {
        Some(written) => Diagnostic::error(written.place(), Some(&written.id), text),
        None => Diagnostic::error(files.flow.whole(), None, text),
    }
}
