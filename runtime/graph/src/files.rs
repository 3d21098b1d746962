//! The files of a flow as YAML trees with positions: the dataflow file and every module file that it names, fused or
//! expanded, with the kind of each node in them.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    rc::Rc,
};

use sideline_api::{
    Registry,
    yaml::{self, Kind, Yaml},
};

use crate::{Diagnostic, Place};

/// Maximum nesting depth of modules, the same as dora's.
const MAX_MODULE_DEPTH: usize = 8;

/// One YAML file.
pub(crate) struct File {
    /// Path as shown to the user.
    pub path: PathBuf,
    /// Folder of the file; empty for the working directory.
    pub folder: PathBuf,
    pub tree: Yaml,
    /// False for a descriptor that dora passed to a node: its lines are not those of the user's file.
    has_lines: bool,
}

impl File {
    pub fn read(path: &Path) -> Result<(Self, String), Diagnostic> {
        let place = Place { file: Some(path.to_owned()), ..Place::default() };
        let text = yaml::read_text(path).map_err(|e| {
            let message = match e.kind() {
                ErrorKind::NotFound => "no such file".into(),
                ErrorKind::FileTooLarge | ErrorKind::InvalidData => e.to_string(),
                _ => format!("cannot be read: {e}"),
            };
            Diagnostic::error(place, None, message)
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok((Self::parse(path.to_owned(), folder, &text, true)?, text))
    }

    pub fn parse(path: PathBuf, folder: PathBuf, text: &str, has_lines: bool) -> Result<Self, Diagnostic> {
        let tree = Yaml::parse(text).map_err(|error| {
            let place = Place { file: Some(path.clone()), line: error.line, column: error.column };
            Diagnostic::error(place, None, error.message)
        })?;
        Ok(File { path, folder, tree, has_lines })
    }

    /// Returns the place of a value of this file's tree.
    pub fn place_of(&self, value: &Yaml) -> Place {
        let (line, column) = if self.has_lines { (value.line, value.column) } else { (0, 0) };
        Place { file: Some(self.path.clone()), line, column }
    }

    /// Returns the place that stands for the file as a whole.
    pub fn whole_file(&self) -> Place {
        Place { file: Some(self.path.clone()), line: 0, column: 0 }
    }

    /// Returns the place of a line and column that another parser of the same text reported.
    pub fn place_at(&self, line: usize, column: usize) -> Place {
        if self.has_lines { Place { file: Some(self.path.clone()), line, column } } else { self.whole_file() }
    }

    pub fn has_lines(&self) -> bool {
        self.has_lines
    }

    pub fn nodes(&self) -> &[Yaml] {
        self.tree.get("nodes").map_or(&[], Yaml::list)
    }

    pub fn header(&self) -> Option<&Yaml> {
        self.tree.get("module")
    }
}

/// Kind of a node in a file.
#[derive(Clone)]
pub(crate) enum NodeKind {
    /// An operator or source of the registry.
    Operator(String),
    /// The host of a module, which dora expands or one process runs fused.
    Host {
        /// The module file.
        file: Rc<File>,
        /// Path of the module file as written.
        path: String,
        /// True if one process runs all operators of the module.
        fused: bool,
    },
    /// A program other than Sideline.
    Foreign,
    /// A Sideline node with an error that has been reported already.
    Invalid,
}

/// The declaration of a node in a file.
pub(crate) struct NodeDecl {
    /// Id in the flat graph: `perception.pose`.
    pub id: String,
    /// Id in its file: `pose`.
    pub local_id: String,
    pub file: Rc<File>,
    index: usize,
    /// The host of the module that declares this node; `None` in the dataflow file.
    pub host: Option<Rc<NodeDecl>>,
    pub kind: NodeKind,
}

impl NodeDecl {
    pub fn node(&self) -> &Yaml {
        &self.file.nodes()[self.index]
    }

    pub fn place(&self) -> Place {
        self.file.place_of(self.node())
    }

    /// Returns the place of the key at the end of `path`, or of the node if it has no such key.
    pub fn place_of_key(&self, path: &[&str]) -> Place {
        self.node().key_at(path).map_or_else(|| self.place(), |key| self.file.place_of(key))
    }

    /// Returns true if the node is inside a fused module, at any depth.
    pub fn is_fused(&self) -> bool {
        self.host
            .as_ref()
            .is_some_and(|host| matches!(host.kind, NodeKind::Host { fused: true, .. }) || host.is_fused())
    }

    /// Returns true if both nodes belong to the same module of the same host, or both to the dataflow file.
    pub fn is_sibling_of(&self, other: &NodeDecl) -> bool {
        self.host.as_ref().map(|host| &host.id) == other.host.as_ref().map(|host| &host.id)
    }
}

/// All files of a flow, and every node in them by its id in the flat graph.
pub(crate) struct Files {
    /// Folder of the flow; `.` for the working directory.
    pub root: PathBuf,
    pub flow: Rc<File>,
    pub decls: BTreeMap<String, Rc<NodeDecl>>,
    /// True if the structure of every file is valid, so that the names in it can be checked.
    pub is_well_formed: bool,
    /// Names of operators as written, `tracker` or `./libmine.so`, in the order of the files.
    pub operators: Vec<String>,
}

impl Files {
    /// Loads a flow and its modules, at any depth, and reports every structural error of the files.
    pub fn load(flow: File, registry: &Registry, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let flow = Rc::new(flow);
        let root = if flow.folder.as_os_str().is_empty() { PathBuf::from(".") } else { flow.folder.clone() };
        let mut files =
            Files { root, flow: flow.clone(), decls: BTreeMap::new(), is_well_formed: true, operators: vec![] };
        files.load_nodes(&flow, None, registry, 0, diagnostics);
        files
    }

    fn load_nodes(
        &mut self,
        file: &Rc<File>,
        host: Option<&Rc<NodeDecl>>,
        registry: &Registry,
        depth: usize,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        if !check_structure(file, host.is_some(), diagnostics) {
            self.is_well_formed = false;
            return;
        }
        for (index, node) in file.nodes().iter().enumerate() {
            let local_id = node.text("id").unwrap_or_default().to_owned();
            let id = host.map_or_else(|| local_id.clone(), |host| format!("{}.{local_id}", host.id));
            let kind = self.classify(file, host, node, &id, registry, diagnostics);
            let decl =
                Rc::new(NodeDecl { id: id.clone(), local_id, file: file.clone(), index, host: host.cloned(), kind });
            self.decls.insert(id, decl.clone());
            if let NodeKind::Host { file: module, .. } = &decl.kind {
                if depth == MAX_MODULE_DEPTH {
                    let text = format!(
                        "modules are nested more than {MAX_MODULE_DEPTH} levels deep; does one include itself?"
                    );
                    diagnostics.push(Diagnostic::error(decl.place(), Some(&decl.id), text));
                    self.is_well_formed = false;
                    return;
                }
                self.load_nodes(module, Some(&decl), registry, depth + 1, diagnostics);
            }
        }
    }

    fn classify(
        &mut self,
        file: &Rc<File>,
        host: Option<&Rc<NodeDecl>>,
        node: &Yaml,
        id: &str,
        registry: &Registry,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> NodeKind {
        if let Some((key, value)) = node.entry("module") {
            let path = value.scalar().unwrap_or_default();
            return self.open_module(file, &file.folder, key, path, false, id, diagnostics);
        }
        let Some(path) = node.text("path") else { return NodeKind::Foreign };
        if !is_sideline(path) || node.get("git").is_some() {
            return NodeKind::Foreign;
        }
        let Some((key, args)) = node.entry("args").or_else(|| node.entry("path")) else { return NodeKind::Foreign };
        let args = node.get("args").map_or("", |_| args.scalar().unwrap_or_default());
        let args = substitute_params(args, host);
        let ["run", target] = args.split_whitespace().collect::<Vec<_>>()[..] else {
            let text = "a Sideline node is written `args: run NAME` or `args: run modules/FILE.yml`";
            diagnostics.push(Diagnostic::error(file.place_of(key), Some(id), text));
            return NodeKind::Invalid;
        };
        if target.ends_with(".yml") || target.ends_with(".yaml") {
            // dora does not resolve paths in `args` and runs its nodes in the flow's folder, so the path is relative to
            // that folder, in modules too.
            return self.open_module(file, &self.flow.folder, key, target, true, id, diagnostics);
        }
        self.operators.push(target.into());
        match registry.get(target) {
            Ok(_) => NodeKind::Operator(target.into()),
            Err(e) => {
                diagnostics.push(Diagnostic::error(file.place_of(key), Some(id), e.message));
                NodeKind::Invalid
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn open_module(
        &self,
        file: &Rc<File>,
        folder: &Path,
        key: &Yaml,
        path: &str,
        fused: bool,
        id: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> NodeKind {
        let error = |text: String| Diagnostic::error(file.place_of(key), Some(id), text);
        let module = match File::read(&folder.join(path)) {
            Ok((module, _)) => module,
            // A syntax error is reported at its place in the module, a missing file at the path that names it.
            Err(e) if e.place.line > 0 => {
                diagnostics.push(e);
                return NodeKind::Invalid;
            }
            Err(e) => {
                let base = if folder == self.flow.folder { "flow" } else { "module" };
                let full = folder.join(path);
                let text = format!("{}: {}; the path is relative to the file of the {base}", full.display(), e.message);
                diagnostics.push(error(text));
                return NodeKind::Invalid;
            }
        };
        if module.header().is_none() {
            diagnostics
                .push(error(format!("{path} is not a module: it has no `module:` with name, inputs and outputs")));
            return NodeKind::Invalid;
        }
        NodeKind::Host { file: Rc::new(module), path: path.into(), fused }
    }

    /// Returns the nodes of the same module (or of the dataflow file) as a node, including the node itself.
    pub fn siblings<'a>(&'a self, decl: &'a NodeDecl) -> impl Iterator<Item = &'a Rc<NodeDecl>> + Clone {
        self.decls.values().filter(move |other| other.is_sibling_of(decl))
    }
}

/// Returns true if `path` names `sideline`, in any folder, or the running program. A program of an author that adds
/// operators to those of Sideline runs flows that name it; all nodes of such a flow name the same program.
fn is_sideline(path: &str) -> bool {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name);
    Path::new(path).file_name().is_some_and(|name| name == "sideline" || Some(name) == program)
}

/// Replaces the parameters of the host in `args`, as dora does.
fn substitute_params(args: &str, host: Option<&Rc<NodeDecl>>) -> String {
    let params = host.and_then(|host| host.node().get("params")).map_or(&[][..], Yaml::map);
    let mut args = args.to_owned();
    for (key, value) in params {
        let (Some(key), Some(value)) = (key.scalar(), value.scalar()) else { continue };
        args = args.replace(&format!("${{_param.{key}}}"), value);
        args = args.replace(&format!("$PARAM_{}", key.to_uppercase()), value);
    }
    args
}

/// Checks that every node has a unique id, and inputs in one of dora's two forms. Returns true if there is no error.
fn check_structure(file: &File, is_module: bool, diagnostics: &mut Vec<Diagnostic>) -> bool {
    let before = diagnostics.len();
    let tree = &file.tree;
    if !tree.is_map() || !matches!(tree.get("nodes").map(|nodes| &nodes.kind), Some(Kind::List(_))) {
        let file_kind = if is_module { "a module" } else { "a dataflow" };
        diagnostics.push(Diagnostic::error(
            file.place_of(tree),
            None,
            format!("{file_kind} file needs a list `nodes:`"),
        ));
        return false;
    }
    if !is_module && let Some((key, _)) = tree.entry("module") {
        let text = "this is a module, not a dataflow: use it in a flow with `module:` or `args: run FILE`";
        diagnostics.push(Diagnostic::error(file.place_of(key), None, text));
    }
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for node in file.nodes() {
        let Some(id) = node.text("id") else {
            diagnostics.push(Diagnostic::error(file.place_of(node), None, "a node must be a map with an `id`"));
            continue;
        };
        if let Some(line) = ids.insert(id, node.line) {
            let text = format!("this id is already used by the node in line {line}");
            diagnostics.push(Diagnostic::error(file.place_of(node), Some(id), text));
        }
        if let Some((key, inputs)) = node.entry("inputs")
            && !inputs.is_map()
            && !matches!(inputs.scalar(), Some("null" | "~" | ""))
        {
            diagnostics.push(Diagnostic::error(
                file.place_of(key),
                Some(id),
                "`inputs` must be a map `INPUT: NODE/OUTPUT`",
            ));
        }
        for (name, input) in node.get("inputs").map_or(&[][..], Yaml::map) {
            check_input(file, id, name, input, diagnostics);
        }
    }
    diagnostics.len() == before
}

const INPUT_KEYS: [&str; 4] = ["source", "queue_size", "queue_policy", "input_timeout"];
const QUEUE_POLICIES: [&str; 2] = ["drop_oldest", "backpressure"];

/// Checks an input: `name: NODE/OUTPUT`, or a map with `source` and dora's other keys. dora itself ignores unknown
/// keys.
fn check_input(file: &File, id: &str, name: &Yaml, input: &Yaml, diagnostics: &mut Vec<Diagnostic>) {
    let port = name.scalar().unwrap_or_default();
    let mut error = |at: &Yaml, text: String| {
        diagnostics.push(Diagnostic::error(file.place_of(at), Some(id), format!("input `{port}`: {text}")));
    };
    for (key, value) in input.map() {
        let text = value.scalar().unwrap_or_default();
        match key.scalar().unwrap_or_default() {
            "source" => {}
            "queue_size" if text.parse::<usize>().is_ok_and(|size| size > 0) => {}
            "queue_size" => error(key, format!("`queue_size` must be a number of messages from 1, not `{text}`")),
            "queue_policy" if QUEUE_POLICIES.contains(&text) => {}
            "queue_policy" => {
                let near = sideline_api::config::did_you_mean(text, QUEUE_POLICIES);
                error(key, format!("there is no queue policy `{text}`{near}"));
            }
            "input_timeout" if text.parse::<f64>().is_ok_and(|seconds| seconds > 0.0) => {}
            "input_timeout" => error(key, format!("`input_timeout` must be a number of seconds, not `{text}`")),
            other => {
                let near = sideline_api::config::did_you_mean(other, INPUT_KEYS);
                error(key, format!("there is no key `{other}`{near}"));
            }
        }
    }
    match input_source(input) {
        Some(source) if source.split_once('/').is_some_and(|(node, output)| !node.is_empty() && !output.is_empty()) => {
        }
        Some(source) => error(name, format!("`{source}` is not of the form NODE/OUTPUT")),
        None => error(name, "has no `source: NODE/OUTPUT`".into()),
    }
}

/// Returns the `NODE/OUTPUT` of an input, in either form.
pub(crate) fn input_source(input: &Yaml) -> Option<&str> {
    input.scalar().or_else(|| input.text("source"))
}
