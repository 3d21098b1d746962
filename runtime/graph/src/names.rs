//! Checks that every input, output and node named in a file exists, and suggests the nearest valid name if not. The
//! check runs on the files as written, before dora expands them, since the expanded form has no positions.

use std::{path::Component, rc::Rc};

use sideline_api::{
    PortType, Registry, Spec, Values,
    config::{Origin, did_you_mean},
    yaml::{Kind, Yaml},
};

use crate::{
    Diagnostic, Severity,
    files::{File, Files, NodeDecl, NodeKind, input_source},
    type_urn,
};

/// Checks all names in all files.
pub(crate) fn check_names(files: &Files, registry: &Registry, diagnostics: &mut Vec<Diagnostic>) {
    check_env(&files.flow, &files.flow.tree, None, diagnostics);
    for decl in files.decls.values() {
        let scope = Scope { files, registry, decl };
        scope.check_inputs(diagnostics);
        scope.check_outputs(diagnostics);
        scope.check_types(diagnostics);
        scope.check_path(diagnostics);
        check_env(&decl.file, decl.node(), Some(&decl.id), diagnostics);
        if let NodeKind::Host { file, .. } = &decl.kind {
            scope.check_host(file, diagnostics);
        }
    }
}

/// Returns the port names that a module declares under the given keys of its header.
pub(crate) fn declared_ports<'a>(module: &'a File, keys: &[&str]) -> Vec<&'a str> {
    module.header().map_or_else(Vec::new, |header| keys.iter().flat_map(|key| header.texts(key)).collect())
}

/// Checks that the values of an `env:` are scalars and that the variables in them are set. dora's own message for such
/// an error does not name the key.
fn check_env(file: &File, at: &Yaml, node: Option<&str>, diagnostics: &mut Vec<Diagnostic>) {
    for (key, value) in at.get("env").map_or(&[][..], Yaml::map) {
        let name = key.scalar().unwrap_or_default();
        let text = match &value.kind {
            Kind::Scalar(_) if value.is_null() => {
                "has no value: give it one, leave the key out, or write `\"\"` for an empty text".into()
            }
            Kind::Scalar(text) => match unset_variable(text) {
                Some(variable) => format!(
                    "the environment variable `{variable}` is not set: set it, write `${{{variable}:-VALUE}}` for a \
                     default, or `$$` for a dollar sign"
                ),
                None => continue,
            },
            Kind::List(_) => {
                let items: Vec<&str> = value.list().iter().map(|item| item.scalar().unwrap_or("...")).collect();
                format!("write a list as text: {name}: \"[{}]\"", items.join(", "))
            }
            Kind::Map(_) => "an `env:` takes single values: write a table to a file named by CONFIG".into(),
        };
        diagnostics.push(Diagnostic::error(file.place_of(key), node, format!("key `{name}`: {text}")));
    }
}

/// Returns the first environment variable in a text that is not set. dora substitutes variables, and fails if one is
/// not set and has no default.
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
    decl: &'a Rc<NodeDecl>,
}

impl Scope<'_> {
    fn error(&self, at: &Yaml, text: String) -> Diagnostic {
        Diagnostic::error(self.decl.file.place_of(at), Some(&self.decl.id), text)
    }

    /// Returns the ports of a node for the values in its own `env:`. `None` if the values are invalid, which the check
    /// of its keys reports.
    fn spec(&self, decl: &NodeDecl) -> Option<Spec> {
        let NodeKind::Operator(name) = &decl.kind else { return None };
        let mut values = Values::new();
        for (key, value) in decl.node().get("env").map_or(&[][..], Yaml::map) {
            if let (Some(key), Some(value)) = (key.scalar(), value.scalar()) {
                values.set(key.to_lowercase(), value, Origin::Default);
            }
        }
        self.registry.get(name).ok()?.spec(&values).ok()
    }

    fn check_inputs(&self, diagnostics: &mut Vec<Diagnostic>) {
        for (name, input) in self.decl.node().get("inputs").map_or(&[][..], Yaml::map) {
            let port = name.scalar().unwrap_or_default();
            if let Some(text) = self.port_problem(port) {
                diagnostics.push(self.error(name, format!("input `{port}`: {text}")));
            } else if let Some(text) = input_source(input).and_then(|from| self.source_problem(port, from)) {
                diagnostics.push(self.error(name, format!("input `{port}`: {text}")));
            }
        }
    }

    /// Returns the problem with the name of an input, if any.
    fn port_problem(&self, port: &str) -> Option<String> {
        let names: Vec<&str> = match &self.decl.kind {
            NodeKind::Operator(_) => {
                let spec = self.spec(self.decl)?;
                if spec.find_input(port).is_some() || (spec.is_source && port.starts_with("done_")) {
                    return None;
                }
                spec.inputs.iter().map(|input| input.name).collect()
            }
            NodeKind::Host { file, .. } => declared_ports(file, &["inputs", "inputs_optional"]),
            NodeKind::Foreign | NodeKind::Invalid => return None,
        };
        let is_source = self.spec(self.decl).is_some_and(|spec| spec.is_source);
        if is_source {
            return Some("a source takes only the inputs `done_NODE: NODE/done`".into());
        }
        (!names.contains(&port)).then(|| format!("there is no such input{}", did_you_mean(port, names)))
    }

    /// Returns the problem with the `NODE/OUTPUT` that an input reads, if any.
    fn source_problem(&self, port: &str, from: &str) -> Option<String> {
        let (node, output) = from.split_once('/')?;
        let is_sideline = matches!(self.decl.kind, NodeKind::Operator(_) | NodeKind::Host { fused: true, .. });
        match (node, &self.decl.host) {
            ("dora", _) if is_sideline => {
                return Some("a Sideline node cannot read the timers and logs of dora, only other nodes can".into());
            }
            ("dora", _) => return None,
            ("_mod", None) => {
                return Some("`_mod` refers to an input of a module and is valid in module files only".into());
            }
            ("_mod", Some(_)) => {
                let names = declared_ports(&self.decl.file, &["inputs", "inputs_optional"]);
                let near = did_you_mean(output, names.iter().copied());
                return (!names.contains(&output)).then(|| format!("the module has no input `{output}`{near}"));
            }
            _ => {}
        }
        let mut siblings = self.files.siblings(self.decl);
        let local = siblings.clone().find(|other| other.local_id == node);
        // A dataflow file may name an operator of an expanded module by its full id.
        let inner = self.decl.host.is_none().then(|| self.files.decls.get(node)).flatten();
        let Some(other) = local.or(inner) else {
            let names: Vec<&str> = siblings.by_ref().map(|other| other.local_id.as_str()).collect();
            return Some(format!("there is no node `{node}`{}", did_you_mean(node, names)));
        };
        self.output_problem(port, other, output)
    }

    /// Returns the problem with reading an output of the node `other`, if any.
    fn output_problem(&self, port: &str, other: &NodeDecl, output: &str) -> Option<String> {
        let node = &other.local_id;
        let listed = other.node().texts("outputs");
        let names: Vec<&str> = match &other.kind {
            NodeKind::Operator(_) => self.spec(other)?.outputs.iter().map(|output| output.name).collect(),
            NodeKind::Host { file, .. } => declared_ports(file, &["outputs"]),
            NodeKind::Foreign if !listed.is_empty() => listed.clone(),
            NodeKind::Foreign | NodeKind::Invalid => return None,
        };
        let is_from_sideline = !matches!(other.kind, NodeKind::Foreign);
        if is_from_sideline && output == "done" && !names.contains(&"done") {
            let is_to_source = self.spec(self.decl).is_some_and(|spec| spec.is_source)
                || matches!(self.decl.kind, NodeKind::Host { .. })
                || matches!(self.decl.kind, NodeKind::Foreign);
            if !is_to_source {
                return Some("only a source can read `done`".into());
            }
            if port.starts_with("done_") && port != format!("done_{node}") && port != format!("done_{}", other.id) {
                return Some(format!("must be named after the node that it reads: `done_{node}: {node}/done`"));
            }
        } else if !names.contains(&output) {
            return Some(format!("node `{node}` has no output `{output}`{}", did_you_mean(output, names)));
        }
        let must_list = !matches!(other.kind, NodeKind::Host { fused: false, .. } | NodeKind::Foreign);
        (must_list && !listed.contains(&output))
            .then(|| format!("node `{node}` does not list it: add `{output}` to its `outputs`"))
    }

    /// Checks that the operator or module has every listed output.
    fn check_outputs(&self, diagnostics: &mut Vec<Diagnostic>) {
        let names: Vec<&str> = match &self.decl.kind {
            NodeKind::Operator(_) => match self.spec(self.decl) {
                Some(spec) => spec.outputs.iter().map(|output| output.name).collect(),
                None => return,
            },
            NodeKind::Host { file, fused: true, .. } => declared_ports(file, &["outputs"]),
            _ => return,
        };
        let is_source = self.spec(self.decl).is_some_and(|spec| spec.is_source);
        for output in self.decl.node().get("outputs").map_or(&[][..], Yaml::list) {
            let name = output.scalar().unwrap_or_default();
            if !names.contains(&name) && (name != "done" || is_source) {
                let near = did_you_mean(name, names.iter().copied());
                diagnostics.push(self.error(output, format!("there is no output `{name}`{near}")));
            }
        }
    }

    /// Checks that the types written for `dora validate` match the tables of the operator.
    fn check_types(&self, diagnostics: &mut Vec<Diagnostic>) {
        let Some(spec) = self.spec(self.decl) else { return };
        for (key, kind) in [("output_types", "output"), ("input_types", "input")] {
            for (port, urn) in self.decl.node().get(key).map_or(&[][..], Yaml::map) {
                let name = port.scalar().unwrap_or_default();
                let ty = match kind {
                    "output" => spec.find_output(name).map(|port| port.ty),
                    _ => spec.find_input(name).map(|port| port.ty),
                };
                let expected = match ty {
                    Some(PortType::Table(table)) => type_urn(&table),
                    _ => continue,
                };
                if urn.scalar() != Some(&expected) {
                    let text = format!("{key}: the type of {kind} `{name}` is `{expected}`");
                    diagnostics.push(self.error(port, text));
                }
            }
        }
    }

    /// Checks the `path` of a node in a module. dora resolves it relative to the module file, even a bare program name.
    fn check_path(&self, diagnostics: &mut Vec<Diagnostic>) {
        let Some(host) = &self.decl.host else { return };
        let Some((key, path)) = self.decl.node().entry("path") else { return };
        let is_sideline = matches!(self.decl.kind, NodeKind::Operator(_) | NodeKind::Host { .. });
        if !is_sideline || path.scalar() != Some("sideline") {
            return;
        }
        let below = self.decl.file.folder.strip_prefix(&self.files.flow.folder);
        let depth = below.map_or(0, |path| path.components().filter(|c| matches!(c, Component::Normal(_))).count());
        if depth == 0 {
            return;
        }
        let text = format!(
            "dora resolves the `path` in a module relative to the module file and would not find the program: write `path: {}sideline`",
            "../".repeat(depth)
        );
        let mut diagnostic = self.error(key, text).for_dora();
        if matches!(host.kind, NodeKind::Host { fused: true, .. }) {
            diagnostic.severity = Severity::Warning;
        }
        diagnostics.push(diagnostic);
    }

    /// Checks that a module gets its required inputs, and that exactly one node produces each declared output.
    fn check_host(&self, module: &Rc<File>, diagnostics: &mut Vec<Diagnostic>) {
        let node = self.decl.node();
        let wired: Vec<&str> =
            node.get("inputs").map_or(&[][..], Yaml::map).iter().filter_map(|(k, _)| k.scalar()).collect();
        for name in declared_ports(module, &["inputs"]) {
            if !wired.contains(&name) {
                let text = format!("the module requires the input `{name}`: add `{name}: NODE/OUTPUT` to `inputs`");
                diagnostics.push(self.error(node, text));
            }
        }
        let inner: Vec<&Rc<NodeDecl>> = self
            .files
            .decls
            .values()
            .filter(|other| other.host.as_ref().is_some_and(|h| h.id == self.decl.id))
            .collect();
        let outputs_of = |inner: &NodeDecl| match &inner.kind {
            NodeKind::Host { file, fused: false, .. } => declared_ports(file, &["outputs"]).join("\n"),
            _ => inner.node().texts("outputs").join("\n"),
        };
        for output in module.header().and_then(|header| header.get("outputs")).map_or(&[][..], Yaml::list) {
            let name = output.scalar().unwrap_or_default();
            let producers: Vec<&str> = inner
                .iter()
                .filter(|inner| outputs_of(inner).lines().any(|listed| listed == name))
                .map(|inner| inner.local_id.as_str())
                .collect();
            let text = match producers.len() {
                1 => continue,
                0 => {
                    let all: Vec<String> = inner.iter().map(|inner| outputs_of(inner)).collect();
                    let near = did_you_mean(name, all.iter().flat_map(|names| names.lines()));
                    format!("no node of the module lists the output `{name}`{near}")
                }
                _ => format!(
                    "the output `{name}` is listed by {}: an output of a module must have one producer",
                    producers.join(" and ")
                ),
            };
            diagnostics.push(Diagnostic::error(module.place_of(output), None, text));
        }
    }
}
