//! The files of a flow as trees with places: the dataflow file and every module file it names, fused or not; and what
//! each node in them is.

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

/// Modules in modules in modules: as deep as dora goes.
const DEEPEST: usize = 8;

/// One YAML file.
pub(crate) struct File {
    /// As shown.
    pub path: PathBuf,
    /// Folder it lies in; empty for the working directory.
    pub folder: PathBuf,
    pub tree: Yaml,
    /// False for a descriptor that dora handed over: it has no lines.
    placed: bool,
}

impl File {
    pub fn read(path: &Path) -> Result<(Self, String), Diagnostic> {
        let whole = Place { file: Some(path.to_owned()), ..Place::default() };
        let text = yaml::read_text(path).map_err(|e| {
            let what = match e.kind() {
                ErrorKind::NotFound => "no such file".into(),
                ErrorKind::FileTooLarge | ErrorKind::InvalidData => e.to_string(),
                _ => format!("cannot be read: {e}"),
            };
            Diagnostic::error(whole, None, what)
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok((Self::parse(path.to_owned(), folder, &text, true)?, text))
    }

    pub fn parse(path: PathBuf, folder: PathBuf, text: &str, placed: bool) -> Result<Self, Diagnostic> {
        let tree = Yaml::parse(text).map_err(|broken| {
            let place = Place { file: Some(path.clone()), line: broken.line, column: broken.column };
            Diagnostic::error(place, None, broken.message)
        })?;
        Ok(File { path, folder, tree, placed })
    }

    pub fn place(&self, at: &Yaml) -> Place {
        let (line, column) = if self.placed { (at.line, at.column) } else { (0, 0) };
        Place { file: Some(self.path.clone()), line, column }
    }

    pub fn whole(&self) -> Place {
        Place { file: Some(self.path.clone()), line: 0, column: 0 }
    }

    /// Lines and columns that another reader of the same text told.
    pub fn at(&self, line: usize, column: usize) -> Place {
        if self.placed { Place { file: Some(self.path.clone()), line, column } } else { self.whole() }
    }

    pub fn placed(&self) -> bool {
        self.placed
    }

    pub fn nodes(&self) -> &[Yaml] {
        self.tree.get("nodes").map_or(&[], Yaml::list)
    }

    pub fn header(&self) -> Option<&Yaml> {
        self.tree.get("module")
    }
}

/// What a node in a file is.
#[derive(Clone)]
pub(crate) enum What {
    /// An operator or source of the registry.
    Operator(String),
    /// A module: expanded by dora, or fused into one process.
    Host {
        /// The module file.
        file: Rc<File>,
        /// Its path as written.
        path: String,
        /// Hosted by one process.
        fused: bool,
    },
    /// A program that is not ours.
    Foreign,
    /// Ours, but wrong; it has been told already.
    Broken,
}

/// A node as it stands in a file.
pub(crate) struct Written {
    /// Id in the flat graph: `perception.pose`.
    pub id: String,
    /// Id in its file: `pose`.
    pub local: String,
    pub file: Rc<File>,
    index: usize,
    /// The node that names the module this one stands in.
    pub host: Option<Rc<Written>>,
    pub what: What,
}

impl Written {
    pub fn node(&self) -> &Yaml {
        &self.file.nodes()[self.index]
    }

    pub fn place(&self) -> Place {
        self.file.place(self.node())
    }

    /// Where the key at the end of the path stands; the node where it does not.
    pub fn place_at(&self, path: &[&str]) -> Place {
        self.node().key_at(path).map_or_else(|| self.place(), |key| self.file.place(key))
    }

    /// True inside a module that one process hosts.
    pub fn is_fused(&self) -> bool {
        self.host.as_ref().is_some_and(|host| matches!(host.what, What::Host { fused: true, .. }) || host.is_fused())
    }

    /// True when both stand in the same file for the same host.
    pub fn beside(&self, other: &Written) -> bool {
        self.host.as_ref().map(|host| &host.id) == other.host.as_ref().map(|host| &host.id)
    }
}

/// All files of a flow, and every node in them by its flat id.
pub(crate) struct Files {
    /// Folder of the flow; `.` for the working directory.
    pub root: PathBuf,
    pub flow: Rc<File>,
    pub written: BTreeMap<String, Rc<Written>>,
    /// Every file has the form of one: what it names can be checked, whatever it names.
    pub formed: bool,
}

impl Files {
    /// Follows modules down; everything wrong with the form of a file is told.
    pub fn gather(flow: File, registry: &Registry, found: &mut Vec<Diagnostic>) -> Self {
        let flow = Rc::new(flow);
        let root = if flow.folder.as_os_str().is_empty() { PathBuf::from(".") } else { flow.folder.clone() };
        let mut files = Files { root, flow: flow.clone(), written: BTreeMap::new(), formed: true };
        files.walk(&flow, None, registry, 0, found);
        files
    }

    fn walk(
        &mut self,
        file: &Rc<File>,
        host: Option<&Rc<Written>>,
        registry: &Registry,
        depth: usize,
        found: &mut Vec<Diagnostic>,
    ) {
        if !check_form(file, host.is_some(), found) {
            self.formed = false;
            return;
        }
        for (index, node) in file.nodes().iter().enumerate() {
            let local = node.text("id").unwrap_or_default().to_owned();
            let id = host.map_or_else(|| local.clone(), |host| format!("{}.{local}", host.id));
            let what = self.classify(file, host, node, &id, registry, found);
            let written =
                Rc::new(Written { id: id.clone(), local, file: file.clone(), index, host: host.cloned(), what });
            self.written.insert(id, written.clone());
            if let What::Host { file: module, .. } = &written.what {
                if depth == DEEPEST {
                    let text = "modules lie too deep in each other; does one name itself?";
                    found.push(Diagnostic::error(written.place(), Some(&written.id), text));
                    self.formed = false;
                    return;
                }
                self.walk(module, Some(&written), registry, depth + 1, found);
            }
        }
    }

    fn classify(
        &self,
        file: &Rc<File>,
        host: Option<&Rc<Written>>,
        node: &Yaml,
        id: &str,
        registry: &Registry,
        found: &mut Vec<Diagnostic>,
    ) -> What {
        if let Some((key, value)) = node.entry("module") {
            let path = value.scalar().unwrap_or_default();
            return self.open_module(file, &file.folder, key, path, false, id, found);
        }
        let Some(path) = node.text("path") else { return What::Foreign };
        if !is_ours(path) || node.get("git").is_some() {
            return What::Foreign;
        }
        let Some((key, args)) = node.entry("args").or_else(|| node.entry("path")) else { return What::Foreign };
        let args = node.get("args").map_or("", |_| args.scalar().unwrap_or_default());
        let args = substitute(args, host);
        let ["run", what] = args.split_whitespace().collect::<Vec<_>>()[..] else {
            let text = "a node of ours is written `args: run NAME` or `args: run modules/FILE.yml`";
            found.push(Diagnostic::error(file.place(key), Some(id), text));
            return What::Broken;
        };
        if what.ends_with(".yml") || what.ends_with(".yaml") {
            // dora leaves `args` as they are, and its nodes run in the flow's folder: so from there, also in modules.
            return self.open_module(file, &self.flow.folder, key, what, true, id, found);
        }
        match registry.get(what) {
            Ok(_) => What::Operator(what.into()),
            Err(e) => {
                found.push(Diagnostic::error(file.place(key), Some(id), e.message));
                What::Broken
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
        found: &mut Vec<Diagnostic>,
    ) -> What {
        let error = |text: String| Diagnostic::error(file.place(key), Some(id), text);
        let module = match File::read(&folder.join(path)) {
            Ok((module, _)) => module,
            // A module that is broken inside is told at its own place, one that is not there at its name.
            Err(e) if e.place.line > 0 => {
                found.push(e);
                return What::Broken;
            }
            Err(e) => {
                let beside = if folder == self.flow.folder { "flow" } else { "module" };
                let shown = folder.join(path);
                found.push(error(format!("{}: {}; it is looked for beside the {beside}", shown.display(), e.message)));
                return What::Broken;
            }
        };
        if module.header().is_none() {
            found.push(error(format!("{path} is not a module: it has no `module:` with name, inputs and outputs")));
            return What::Broken;
        }
        What::Host { file: Rc::new(module), path: path.into(), fused }
    }

    /// The nodes that stand beside a node, itself included.
    pub fn beside<'a>(&'a self, one: &'a Written) -> impl Iterator<Item = &'a Rc<Written>> + Clone {
        self.written.values().filter(move |other| other.beside(one))
    }
}

/// True for `sideline`, `../sideline`, `/usr/bin/sideline`, and for the program that reads this: an author's own program,
/// which holds operators beside ours, runs flows that name it. All nodes of such a flow name the same program.
fn is_ours(path: &str) -> bool {
    let this = std::env::current_exe().ok();
    let this = this.as_deref().and_then(Path::file_name);
    Path::new(path).file_name().is_some_and(|name| name == "sideline" || Some(name) == this)
}

/// Parameters of the host in `args`, as dora puts them in.
fn substitute(args: &str, host: Option<&Rc<Written>>) -> String {
    let params = host.and_then(|host| host.node().get("params")).map_or(&[][..], Yaml::map);
    let mut args = args.to_owned();
    for (key, value) in params {
        let (Some(key), Some(value)) = (key.scalar(), value.scalar()) else { continue };
        args = args.replace(&format!("${{_param.{key}}}"), value);
        args = args.replace(&format!("$PARAM_{}", key.to_uppercase()), value);
    }
    args
}

/// Nodes with ids, each once, and inputs in one of the two forms dora knows.
fn check_form(file: &File, module: bool, found: &mut Vec<Diagnostic>) -> bool {
    let before = found.len();
    let tree = &file.tree;
    if !tree.is_map() || !matches!(tree.get("nodes").map(|nodes| &nodes.kind), Some(Kind::List(_))) {
        let what = if module { "a module" } else { "a dataflow" };
        found.push(Diagnostic::error(file.place(tree), None, format!("{what} file has a list `nodes:`")));
        return false;
    }
    if !module && let Some((key, _)) = tree.entry("module") {
        let text = "this is a module, not a dataflow: name it in a flow with `module:` or `args: run FILE`";
        found.push(Diagnostic::error(file.place(key), None, text));
    }
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for node in file.nodes() {
        let Some(id) = node.text("id") else {
            found.push(Diagnostic::error(file.place(node), None, "a node is a map with an `id`"));
            continue;
        };
        if let Some(line) = ids.insert(id, node.line) {
            let text = format!("this id is taken by the node in line {line}");
            found.push(Diagnostic::error(file.place(node), Some(id), text));
        }
        if let Some((key, inputs)) = node.entry("inputs")
            && !inputs.is_map()
            && !matches!(inputs.scalar(), Some("null" | "~" | ""))
        {
            found.push(Diagnostic::error(file.place(key), Some(id), "`inputs` is a map `INPUT: NODE/OUTPUT`"));
        }
        for (name, input) in node.get("inputs").map_or(&[][..], Yaml::map) {
            check_input(file, id, name, input, found);
        }
    }
    found.len() == before
}

const INPUT_KEYS: [&str; 4] = ["source", "queue_size", "queue_policy", "input_timeout"];
const POLICIES: [&str; 2] = ["drop_oldest", "backpressure"];

/// `name: NODE/OUTPUT`, or a map with `source` and what dora knows besides; it passes over keys it does not know.
fn check_input(file: &File, id: &str, name: &Yaml, input: &Yaml, found: &mut Vec<Diagnostic>) {
    let port = name.scalar().unwrap_or_default();
    let mut error = |at: &Yaml, text: String| {
        found.push(Diagnostic::error(file.place(at), Some(id), format!("input `{port}`: {text}")));
    };
    for (key, value) in input.map() {
        let text = value.scalar().unwrap_or_default();
        match key.scalar().unwrap_or_default() {
            "source" => {}
            "queue_size" if text.parse::<usize>().is_ok_and(|size| size > 0) => {}
            "queue_size" => error(key, format!("`queue_size` is a number of messages from 1, not `{text}`")),
            "queue_policy" if POLICIES.contains(&text) => {}
            "queue_policy" => {
                let near = sideline_api::config::did_you_mean(text, POLICIES);
                error(key, format!("there is no queue policy `{text}`{near}"));
            }
            "input_timeout" if text.parse::<f64>().is_ok_and(|seconds| seconds > 0.0) => {}
            "input_timeout" => error(key, format!("`input_timeout` is a number of seconds, not `{text}`")),
            other => {
                let near = sideline_api::config::did_you_mean(other, INPUT_KEYS);
                error(key, format!("there is no key `{other}`{near}"));
            }
        }
    }
    match source_of(input) {
        Some(source) if source.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty()) => {}
        Some(source) => error(name, format!("`{source}` is not of the form NODE/OUTPUT")),
        None => error(name, "has no `source: NODE/OUTPUT`".into()),
    }
}

/// What an input reads, in either form.
pub(crate) fn source_of(input: &Yaml) -> Option<&str> {
    input.scalar().or_else(|| input.text("source"))
}
