//! Names: every input, output and node that a file names is there; the nearest valid name is told where it is not.
//! Checked in the files as written, so that a place can be told, before dora expands them.

use std::{path::Component, rc::Rc};

use sideline_api::{
    PortType, Registry, Spec, Values,
    config::{Origin, did_you_mean},
    yaml::{Kind, Yaml},
};

use crate::{
    Diagnostic, Severity,
    files::{File, Files, What, Written, source_of},
    type_urn,
};

/// Checks all names of all files.
pub(crate) fn check_names(files: &Files, registry: &Registry, found: &mut Vec<Diagnostic>) {
    check_env(&files.flow, &files.flow.tree, None, found);
    for written in files.written.values() {
        let scope = Scope { files, registry, written };
        scope.check_inputs(found);
        scope.check_outputs(found);
        scope.check_types(found);
        scope.check_path(found);
        check_env(&written.file, written.node(), Some(&written.id), found);
        if let What::Host { file, .. } = &written.what {
            scope.check_host(file, found);
        }
    }
}

/// Names a module declares.
pub(crate) fn declared<'a>(module: &'a File, keys: &[&str]) -> Vec<&'a str> {
    module.header().map_or_else(Vec::new, |header| keys.iter().flat_map(|key| header.texts(key)).collect())
}

/// dora's `env:` holds single values; its own words for anything else there name no key.
fn check_env(file: &File, at: &Yaml, node: Option<&str>, found: &mut Vec<Diagnostic>) {
    for (key, value) in at.get("env").map_or(&[][..], Yaml::map) {
        let name = key.scalar().unwrap_or_default();
        let text = match &value.kind {
            Kind::Scalar(_) if value.is_null() => {
                "has no value: give it one, leave the key out, or write `\"\"` for an empty text".into()
            }
            Kind::Scalar(text) => match unset_variable(text) {
                Some(variable) => format!(
                    "the environment has no `{variable}`: set it, write `${{{variable}:-VALUE}}` for a value where it is \
                     not set, or `$$` for a dollar sign"
                ),
                None => continue,
            },
            Kind::List(_) => {
                let items: Vec<&str> = value.list().iter().map(|item| item.scalar().unwrap_or("...")).collect();
                format!("write a list as text: {name}: \"[{}]\"", items.join(", "))
            }
            Kind::Map(_) => "an `env:` holds single values: write a table into a file named by CONFIG".into(),
        };
        found.push(Diagnostic::error(file.place(key), node, format!("key `{name}`: {text}")));
    }
}

/// The first variable of the environment that a text names and that is not set; dora puts them in, and fails where it cannot.
fn unset_variable(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let name = match braced {
            Some((inside, after)) => {
                rest = after;
                if inside.contains(":-") {
                    continue;
                }
                inside
            }
            None => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                &rest[..end]
            }
        };
        if (braced.is_some() || !name.is_empty()) && std::env::var_os(name).is_none() {
            return Some(name);
        }
    }
    None
}

struct Scope<'a> {
    files: &'a Files,
    registry: &'a Registry,
    written: &'a Rc<Written>,
}

impl Scope<'_> {
    fn error(&self, at: &Yaml, text: String) -> Diagnostic {
        Diagnostic::error(self.written.file.place(at), Some(&self.written.id), text)
    }

    /// The ports of a node under the values of its own `env:`; none where they cannot be told, which its keys tell then.
    fn spec(&self, written: &Written) -> Option<Spec> {
        let What::Operator(name) = &written.what else { return None };
        let mut values = Values::new();
        for (key, value) in written.node().get("env").map_or(&[][..], Yaml::map) {
            if let (Some(key), Some(value)) = (key.scalar(), value.scalar()) {
                values.set(key.to_lowercase(), value, Origin::Default);
            }
        }
        self.registry.get(name).ok()?.spec(&values).ok()
    }

    fn check_inputs(&self, found: &mut Vec<Diagnostic>) {
        for (name, input) in self.written.node().get("inputs").map_or(&[][..], Yaml::map) {
            let port = name.scalar().unwrap_or_default();
            if let Some(text) = self.port_problem(port) {
                found.push(self.error(name, format!("input `{port}`: {text}")));
            } else if let Some(text) = source_of(input).and_then(|from| self.source_problem(port, from)) {
                found.push(self.error(name, format!("input `{port}`: {text}")));
            }
        }
    }

    /// What is wrong with the name of an input.
    fn port_problem(&self, port: &str) -> Option<String> {
        let names: Vec<&str> = match &self.written.what {
            What::Operator(_) => {
                let spec = self.spec(self.written)?;
                if spec.find_input(port).is_some() || (spec.source && port.starts_with("done_")) {
                    return None;
                }
                spec.inputs.iter().map(|input| input.name).collect()
            }
            What::Host { file, .. } => declared(file, &["inputs", "inputs_optional"]),
            What::Foreign | What::Broken => return None,
        };
        let is_source = self.spec(self.written).is_some_and(|spec| spec.source);
        if is_source {
            return Some("a source reads nothing but `done_NODE: NODE/done`".into());
        }
        (!names.contains(&port)).then(|| format!("there is no such input{}", did_you_mean(port, names)))
    }

    /// What is wrong with what an input reads.
    fn source_problem(&self, port: &str, from: &str) -> Option<String> {
        let (node, output) = from.split_once('/')?;
        let ours = matches!(self.written.what, What::Operator(_) | What::Host { fused: true, .. });
        match (node, &self.written.host) {
            ("dora", _) if ours => {
                return Some("timers and logs of dora can be read by nodes that are not ours only".into());
            }
            ("dora", _) => return None,
            ("_mod", None) => return Some("`_mod` names an input of a module: it stands in module files only".into()),
            ("_mod", Some(_)) => {
                let names = declared(&self.written.file, &["inputs", "inputs_optional"]);
                let near = did_you_mean(output, names.iter().copied());
                return (!names.contains(&output)).then(|| format!("the module has no input `{output}`{near}"));
            }
            _ => {}
        }
        let mut beside = self.files.beside(self.written);
        let local = beside.clone().find(|other| other.local == node);
        // Inside a flow file an operator of an expanded module may be named by its full id.
        let inner = self.written.host.is_none().then(|| self.files.written.get(node)).flatten();
        let Some(other) = local.or(inner) else {
            let names: Vec<&str> = beside.by_ref().map(|other| other.local.as_str()).collect();
            return Some(format!("there is no node `{node}`{}", did_you_mean(node, names)));
        };
        self.output_problem(port, other, output)
    }

    fn output_problem(&self, port: &str, other: &Written, output: &str) -> Option<String> {
        let node = &other.local;
        let listed = other.node().texts("outputs");
        let names: Vec<&str> = match &other.what {
            What::Operator(_) => self.spec(other)?.outputs.iter().map(|output| output.name).collect(),
            What::Host { file, .. } => declared(file, &["outputs"]),
            What::Foreign if !listed.is_empty() => listed.clone(),
            What::Foreign | What::Broken => return None,
        };
        let from_ours = !matches!(other.what, What::Foreign);
        if from_ours && output == "done" && !names.contains(&"done") {
            let to_source = self.spec(self.written).is_some_and(|spec| spec.source)
                || matches!(self.written.what, What::Host { .. })
                || matches!(self.written.what, What::Foreign);
            if !to_source {
                return Some("`done` goes to sources only".into());
            }
            if port.starts_with("done_") && port != format!("done_{node}") && port != format!("done_{}", other.id) {
                return Some(format!("is named after the node it reads: `done_{node}: {node}/done`"));
            }
        } else if !names.contains(&output) {
            return Some(format!("node `{node}` has no output `{output}`{}", did_you_mean(output, names)));
        }
        let lists = !matches!(other.what, What::Host { fused: false, .. } | What::Foreign);
        (lists && !listed.contains(&output))
            .then(|| format!("node `{node}` does not list it: add `{output}` to its `outputs`"))
    }

    /// Every listed output is one the operator or module has.
    fn check_outputs(&self, found: &mut Vec<Diagnostic>) {
        let names: Vec<&str> = match &self.written.what {
            What::Operator(_) => match self.spec(self.written) {
                Some(spec) => spec.outputs.iter().map(|output| output.name).collect(),
                None => return,
            },
            What::Host { file, fused: true, .. } => declared(file, &["outputs"]),
            _ => return,
        };
        let source = self.spec(self.written).is_some_and(|spec| spec.source);
        for output in self.written.node().get("outputs").map_or(&[][..], Yaml::list) {
            let name = output.scalar().unwrap_or_default();
            if !names.contains(&name) && (name != "done" || source) {
                let near = did_you_mean(name, names.iter().copied());
                found.push(self.error(output, format!("there is no output `{name}`{near}")));
            }
        }
    }

    /// Types written for `dora validate` are those of the operator's tables.
    fn check_types(&self, found: &mut Vec<Diagnostic>) {
        let Some(spec) = self.spec(self.written) else { return };
        for (key, kind) in [("output_types", "output"), ("input_types", "input")] {
            for (port, urn) in self.written.node().get(key).map_or(&[][..], Yaml::map) {
                let name = port.scalar().unwrap_or_default();
                let ty = match kind {
                    "output" => spec.find_output(name).map(|port| port.ty),
                    _ => spec.find_input(name).map(|port| port.ty),
                };
                let right = match ty {
                    Some(PortType::Table(table)) => type_urn(&table),
                    _ => continue,
                };
                if urn.scalar() != Some(&right) {
                    let text = format!("{key}: the type of {kind} `{name}` is `{right}`");
                    found.push(self.error(port, text));
                }
            }
        }
    }

    /// dora takes `path` in a module file relative to that file, also a bare name.
    fn check_path(&self, found: &mut Vec<Diagnostic>) {
        let Some(host) = &self.written.host else { return };
        let Some((key, path)) = self.written.node().entry("path") else { return };
        let ours = matches!(self.written.what, What::Operator(_) | What::Host { .. });
        if !ours || path.scalar() != Some("sideline") {
            return;
        }
        let below = self.written.file.folder.strip_prefix(&self.files.flow.folder);
        let depth = below.map_or(0, |path| path.components().filter(|c| matches!(c, Component::Normal(_))).count());
        if depth == 0 {
            return;
        }
        let text = format!(
            "dora takes a module's `path` relative to the module's file and would not find the program: write `path: {}sideline`",
            "../".repeat(depth)
        );
        let mut diagnostic = self.error(key, text).for_dora();
        if matches!(host.what, What::Host { fused: true, .. }) {
            diagnostic.severity = Severity::Warning;
        }
        found.push(diagnostic);
    }

    /// A module gets what it needs and makes what it promises.
    fn check_host(&self, module: &Rc<File>, found: &mut Vec<Diagnostic>) {
        let node = self.written.node();
        let given: Vec<&str> =
            node.get("inputs").map_or(&[][..], Yaml::map).iter().filter_map(|(k, _)| k.scalar()).collect();
        for name in declared(module, &["inputs"]) {
            if !given.contains(&name) {
                let text = format!("the module needs the input `{name}`: add `{name}: NODE/OUTPUT` to `inputs`");
                found.push(self.error(node, text));
            }
        }
        let inner: Vec<&Rc<Written>> = self
            .files
            .written
            .values()
            .filter(|other| other.host.as_ref().is_some_and(|h| h.id == self.written.id))
            .collect();
        let outputs_of = |inner: &Written| match &inner.what {
            What::Host { file, fused: false, .. } => declared(file, &["outputs"]).join("\n"),
            _ => inner.node().texts("outputs").join("\n"),
        };
        for output in module.header().and_then(|header| header.get("outputs")).map_or(&[][..], Yaml::list) {
            let name = output.scalar().unwrap_or_default();
            let makers: Vec<&str> = inner
                .iter()
                .filter(|inner| outputs_of(inner).lines().any(|made| made == name))
                .map(|inner| inner.local.as_str())
                .collect();
            let text = match makers.len() {
                1 => continue,
                0 => {
                    let all: Vec<String> = inner.iter().map(|inner| outputs_of(inner)).collect();
                    let near = did_you_mean(name, all.iter().flat_map(|names| names.lines()));
                    format!("no node of the module lists the output `{name}`{near}")
                }
                _ => format!(
                    "the output `{name}` is listed by {}: a module's output has one producer",
                    makers.join(" and ")
                ),
            };
            found.push(Diagnostic::error(module.place(output), None, text));
        }
    }
}
