//! The checked flow: its operators, and the processes in which dora runs them.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use dora_core::descriptor::Descriptor;
use serde_json::Value;
use sideline_api::{
    Device, Mode, OnError, Registry, SourceId, Spec, Values,
    config::did_you_mean,
    find_file,
    models::{Models, user_model_path},
};

use crate::{
    Diagnostic, Place,
    diagnostic::sort_and_dedup,
    expand::{self, Expanded},
    files::{File, Files, NodeKind},
    memory, names,
    plan::Edge,
    settings::{self, SettingsReader},
    sinks, wiring,
};

/// Overrides of a flow's settings on the command line.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--set node.key=value`: node, key and value. The id of a module stands for all its operators that have the key.
    pub set: Vec<(String, String, Value)>,
    /// `--mode`.
    pub mode: Option<Mode>,
    /// `--device`.
    pub device: Option<Device>,
    /// `--input`: the key `source` of the flow's only source.
    pub input: Option<String>,
    /// Sideline home (`SIDELINE_HOME`), the last folder in the search path of files.
    pub home: Option<PathBuf>,
}

impl Overrides {
    /// Returns the search path of files: the folder of the file that names them, the folder of the flow, the working
    /// directory, and Sideline home, each once.
    pub(crate) fn search_path(&self, declaring_folder: &Path, flow_folder: &Path) -> Vec<PathBuf> {
        let named = |folder: &Path| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() };
        let mut folders = vec![named(declaring_folder), named(flow_folder), PathBuf::from(".")];
        folders.extend(self.home.clone());
        let mut unique: Vec<PathBuf> = vec![];
        for folder in folders {
            if !unique.contains(&folder) {
                unique.push(folder);
            }
        }
        unique
    }
}

/// A flow: its sources and operators, and the processes in which dora runs them.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The file's name without `.yml`.
    pub name: String,
    /// Path of the file; for a descriptor from dora, only its name.
    pub path: PathBuf,
    /// Live or complete.
    pub mode: Mode,
    /// Maximum number of frames in flight per source.
    pub window: usize,
    /// Maximum time without progress of the window.
    pub stall_timeout: Duration,
    /// Maximum time until all operators are ready.
    pub start_timeout: Duration,
    /// Device that models run on.
    pub device: Device,
    /// Folder of the runs, if the flow sets one.
    pub run_dir: Option<PathBuf>,
    /// One process per dora node, in the order of the file: modules expanded, fused nodes as one process.
    pub processes: Vec<Process>,
    /// Sources and operators, sorted topologically (ignoring feedback), ties in the order of the file.
    pub nodes: Vec<FlowNode>,
    /// Modules of the flow, fused or expanded.
    pub modules: Vec<Module>,
    /// Warnings, and errors that concern only flows run by dora.
    pub diagnostics: Vec<Diagnostic>,
    /// Producers of the outputs of fused nodes, see [`Expanded::producers`].
    pub(crate) producers: std::collections::BTreeMap<String, (String, String)>,
}

/// A process: one node as dora runs it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Id of the dora node.
    pub id: String,
    /// Kind of the process.
    pub kind: ProcessKind,
    /// Inputs: name, and the `node/output` that it reads, by dora's ids.
    pub inputs: Vec<(String, String)>,
    /// Listed outputs.
    pub outputs: Vec<String>,
    /// Capacity of dora's queue for each input, in messages, in the order of `inputs`.
    pub(crate) queues: Vec<usize>,
    /// Size of the shared memory pool, in bytes.
    pub(crate) pool: u64,
    /// `SIDELINE_RUN_DIR` of this node, else of the flow.
    pub run_dir: Option<PathBuf>,
    /// Place of the node in its file.
    pub place: Place,
}

/// Kind of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessKind {
    /// One operator or source, by its name in the registry.
    Operator(String),
    /// All operators of a module; the path of the module file as written.
    Fused(String),
    /// A program other than Sideline.
    Foreign,
}

/// A module of a flow.
#[derive(Clone, Debug)]
pub struct Module {
    /// Id of the node that hosts the module.
    pub id: String,
    /// Path of the module file, as written.
    pub file: String,
    /// True if one process runs all operators of the module, false if each has its own process.
    pub fused: bool,
    /// Declared outputs of the module.
    pub outputs: Vec<String>,
    /// Place of the host node in its file.
    pub place: Place,
}

/// A source or operator of the flat graph.
#[derive(Clone, Debug)]
pub struct FlowNode {
    /// Id of the node; inside a module `host.node`.
    pub id: String,
    /// Name of the operator in the registry.
    pub operator: String,
    /// Declared ports of the operator.
    pub spec: Spec,
    /// Index into [`Flow::processes`].
    pub process: usize,
    /// Configured values.
    pub values: Values,
    /// All keys with their values, including defaults.
    pub resolved: Vec<(String, Value)>,
    /// Behavior after an error or a panic.
    pub on_error: OnError,
    /// Stride: the node processes every n-th frame.
    pub stride: u64,
    /// Wired inputs: declared ports in their order, then additional ones by name.
    pub inputs: Vec<Edge<Sender>>,
    /// The node itself if it is a source, else the source it descends from.
    pub source: SourceId,
    /// True if no ordinary consumer reads the node's outputs, so that its source waits for it.
    pub is_sink: bool,
    /// True if the node has side inputs only: it runs when a message arrives, and no window waits for it.
    pub is_outside_window: bool,
    /// Required models: names in models.yml, or paths of the user's own files.
    pub models: Vec<String>,
    /// Search path of files, the first folder first.
    pub search: Vec<PathBuf>,
    /// Place of the node in its file.
    pub place: Place,
}

/// The sender of an input's messages, in the flat graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An output of an operator or source.
    Node {
        /// Index into [`Flow::nodes`].
        node: usize,
        /// Index into the outputs of that node.
        output: usize,
    },
    /// A foreign program: index into [`Flow::processes`].
    Foreign(usize),
}

/// Returns the names of the operators of a flow and its modules as written, each once.
fn names_in(file: File, registry: &Registry) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for name in Files::load(file, registry, &mut vec![]).operators {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl Flow {
    /// Reads and checks a dataflow file and its module files.
    ///
    /// # Errors
    /// All diagnostics, warnings included, if any of them prevents a run in one process. Errors that concern only dora
    /// are in [`Flow::diagnostics`] instead.
    pub fn read(path: &Path, registry: &Registry, overrides: &Overrides) -> Result<Self, Vec<Diagnostic>> {
        let (file, text) = File::read(path).map_err(|e| vec![e])?;
        Self::build(file, &text, registry, overrides)
    }

    /// Checks a dataflow given as text. `path` stands for its file in messages, and its folder is the one that relative paths
    /// refer to.
    ///
    /// # Errors
    /// As for [`Flow::read`].
    pub fn parse(text: &str, path: &Path, registry: &Registry, overrides: &Overrides) -> Result<Self, Vec<Diagnostic>> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let file = File::parse(path.to_owned(), folder, text, true).map_err(|e| vec![e])?;
        Self::build(file, text, registry, overrides)
    }

    /// Reads and checks the descriptor that dora passes to a node: the whole flow, with modules expanded. `name` is the
    /// name of the flow, and `folder` the folder of its file, to which paths of fused modules are relative.
    ///
    /// # Errors
    /// As for [`Flow::read`]; the places have no lines.
    pub fn from_descriptor(
        descriptor: &Descriptor,
        name: &str,
        folder: &Path,
        registry: &Registry,
        overrides: &Overrides,
    ) -> Result<Self, Vec<Diagnostic>> {
        let place = Place { file: Some(name.into()), ..Place::default() };
        let text = serde_yaml::to_string(&expand::escape_variables(descriptor))
            .map_err(|e| vec![Diagnostic::error(place, None, format!("the descriptor cannot be serialized: {e}"))])?;
        let file = File::parse(name.into(), folder.to_owned(), &text, false).map_err(|e| vec![e])?;
        Self::build(file, &text, registry, overrides)
    }

    /// Returns the names of the operators of a flow as its files write them, each once, before they are looked up: those that
    /// are paths have to be added to the registry first ([`Registry::with_name`]). A flow that cannot be read has none;
    /// [`Flow::read`] reports its errors.
    pub fn operator_names(path: &Path, registry: &Registry) -> Vec<String> {
        File::read(path).map_or_else(|_| vec![], |(file, _)| names_in(file, registry))
    }

    /// Returns the names of the operators of a flow given as text, as [`Flow::operator_names`] does.
    pub fn operator_names_in_text(text: &str, path: &Path, registry: &Registry) -> Vec<String> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let file = File::parse(path.to_owned(), folder, text, true);
        file.map_or_else(|_| vec![], |file| names_in(file, registry))
    }

    /// Returns the names of the operators of the descriptor that dora passes to a node, as [`Flow::operator_names`] does.
    pub fn operator_names_in_descriptor(descriptor: &Descriptor, folder: &Path, registry: &Registry) -> Vec<String> {
        let Ok(text) = serde_yaml::to_string(&expand::escape_variables(descriptor)) else { return vec![] };
        let file = File::parse("flow".into(), folder.to_owned(), &text, false);
        file.map_or_else(|_| vec![], |file| names_in(file, registry))
    }

    fn build(file: File, text: &str, registry: &Registry, overrides: &Overrides) -> Result<Self, Vec<Diagnostic>> {
        let mut diagnostics = vec![];
        let files = Files::load(file, registry, &mut diagnostics);
        if !files.is_well_formed {
            return Err(sort_and_dedup(diagnostics));
        }
        names::check_names(&files, registry, &mut diagnostics);
        let descriptor = match expand::parse(&files.flow, text) {
            Ok(descriptor) => descriptor,
            Err(e) => {
                diagnostics.push(e);
                return Err(sort_and_dedup(diagnostics));
            }
        };
        if diagnostics.iter().any(Diagnostic::blocks_run) {
            // Wrong names do not hide wrong keys: both are reported at once.
            Self::check_keys(&files, &descriptor, registry, overrides, &mut diagnostics);
            return Err(sort_and_dedup(diagnostics));
        }
        let expanded = expand::expand(&files, &descriptor).map_err(|e| {
            diagnostics.push(e);
            sort_and_dedup(std::mem::take(&mut diagnostics))
        })?;
        let flow = Self::assemble(&files, &descriptor, &expanded, registry, overrides, &mut diagnostics);
        diagnostics = sort_and_dedup(diagnostics);
        match flow {
            Some(flow) if !diagnostics.iter().any(Diagnostic::blocks_run) => Ok(Flow { diagnostics, ..flow }),
            _ => Err(diagnostics),
        }
    }

    /// Checks the keys of the operators in the flow's own file, for a flow that cannot be expanded.
    fn check_keys(
        files: &Files,
        descriptor: &Descriptor,
        registry: &Registry,
        overrides: &Overrides,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let env = descriptor.env.clone().unwrap_or_default();
        settings::flow_settings(files, &env, overrides, diagnostics);
        let mut settings = SettingsReader::new(files, registry, &env, overrides, &descriptor.nodes);
        for node in &descriptor.nodes {
            let Some(decl) = files.decls.get(&node.id.to_string()) else { continue };
            if let NodeKind::Operator(name) = &decl.kind
                && let Ok(entry) = registry.get(name)
                // `--input` may set the key `source`, which would be reported as missing here.
                && !(entry.spec.is_source && overrides.input.is_some())
            {
                settings.read_node(node, decl, entry, diagnostics);
            }
        }
    }

    fn assemble(
        files: &Files,
        descriptor: &Descriptor,
        expanded: &Expanded,
        registry: &Registry,
        overrides: &Overrides,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let env = descriptor.env.clone().unwrap_or_default();
        let flow_settings = settings::flow_settings(files, &env, overrides, diagnostics);
        let mut overrides = overrides.clone();
        set_input(files, expanded, registry, &mut overrides, diagnostics);
        let mut settings = SettingsReader::new(files, registry, &env, &overrides, &expanded.flat);
        let (nodes, mode) = wiring::wire(files, expanded, &mut settings, &flow_settings, diagnostics)?;
        let processes = processes(files, expanded, &env, flow_settings.run_dir.as_deref());
        let modules = files.decls.values().filter_map(|decl| match &decl.kind {
            NodeKind::Host { file, path, fused } => Some(Module {
                id: decl.id.clone(),
                file: path.clone(),
                fused: *fused,
                outputs: names::declared_ports(file, &["outputs"]).into_iter().map(str::to_owned).collect(),
                place: decl.place(),
            }),
            _ => None,
        });
        let path = files.flow.path.clone();
        let flow = Flow {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            path,
            mode,
            window: flow_settings.window,
            stall_timeout: flow_settings.stall_timeout,
            start_timeout: flow_settings.start_timeout,
            device: flow_settings.device,
            run_dir: flow_settings.run_dir,
            processes,
            nodes,
            modules: modules.collect(),
            diagnostics: vec![],
            producers: expanded.producers.clone(),
        };
        sinks::check_done(&flow, diagnostics);
        memory::check_queues(&flow, diagnostics);
        memory::check_foreign_queues(&flow, diagnostics);
        memory::check_shared_memory(&flow, memory::shared_memory_free(), diagnostics);
        Some(flow)
    }

    /// Checks that the models of the flow are known and installed, and returns a diagnostic for each that is not.
    pub fn check_models(&self, models: &Models) -> Vec<Diagnostic> {
        let missing = self.nodes.iter().flat_map(|node| {
            node.models.iter().filter_map(|name| {
                let e = match user_model_path(name) {
                    Some(path) => find_file(path, &node.search).err()?,
                    None => models.find_installed(name).err()?,
                };
                Some(Diagnostic::error(node.place.clone(), Some(&node.id), e.message))
            })
        });
        sort_and_dedup(missing.collect())
    }

    /// Returns the sources in the order of their ids.
    pub fn sources(&self) -> Vec<&FlowNode> {
        let mut sources: Vec<&FlowNode> = self.nodes.iter().filter(|node| node.spec.is_source).collect();
        sources.sort_by_key(|node| node.source);
        sources
    }

    /// Returns the ids of foreign nodes. A flow that has any can only be run by dora.
    pub fn foreign_node_ids(&self) -> Vec<&str> {
        let foreign = self.processes.iter().filter(|process| process.kind == ProcessKind::Foreign);
        foreign.map(|process| process.id.as_str()).collect()
    }
}

/// Translates `--input X` to `--set SOURCE.source=X` for the only source of the flow.
fn set_input(
    files: &Files,
    expanded: &Expanded,
    registry: &Registry,
    overrides: &mut Overrides,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let Some(input) = overrides.input.clone() else { return };
    let sources: Vec<_> = expanded
        .flat
        .iter()
        .filter_map(|node| files.decls.get(&node.id.to_string()))
        .filter_map(|decl| match &decl.kind {
            NodeKind::Operator(name) => registry.get(name).ok().filter(|e| e.spec.is_source).map(|e| (decl.clone(), e)),
            _ => None,
        })
        .collect();
    let problem = match &sources[..] {
        [(decl, entry)] if entry.keys().iter().any(|key| key.name == "source") => {
            overrides.set.push((decl.id.clone(), "source".into(), input.into()));
            return;
        }
        [(decl, entry)] => {
            let keys = did_you_mean("source", entry.keys().iter().map(|key| key.name));
            format!("--input {input}: the source `{}` has no key `source`{keys}", decl.id)
        }
        [] => format!("--input {input}: the flow has no source"),
        sources => {
            let ids: Vec<String> = sources.iter().map(|(decl, _)| format!("`{}`", Rc::clone(decl).id)).collect();
            format!(
                "--input {input}: the flow has several sources, {}: write --set NODE.source={input}",
                ids.join(", ")
            )
        }
    };
    diagnostics.push(Diagnostic::error(Place::default(), None, problem));
}

type Env = std::collections::BTreeMap<String, dora_message::descriptor::EnvValue>;

/// Returns one process per node of the expanded descriptor.
fn processes(files: &Files, expanded: &Expanded, flow_env: &Env, run_dir: Option<&Path>) -> Vec<Process> {
    let nodes = expanded.processes.nodes.iter();
    nodes
        .map(|node| {
            let id = node.id.to_string();
            let decl = files.decls.get(&id);
            let kind = match decl.map(|decl| &decl.kind) {
                Some(NodeKind::Operator(name)) => ProcessKind::Operator(name.clone()),
                Some(NodeKind::Host { path, .. }) => ProcessKind::Fused(path.clone()),
                _ => ProcessKind::Foreign,
            };
            let env = |key: &str| {
                let own = node.env.as_ref().and_then(|env| env.get(key));
                own.or_else(|| flow_env.get(key)).map(ToString::to_string)
            };
            let reads = node.inputs.iter().filter_map(|(name, input)| {
                let (from, output) = expand::input_node_output(input)?;
                let queue = input.queue_size.unwrap_or(dora_message::config::DEFAULT_QUEUE_SIZE);
                let queue = input.queue_policy.unwrap_or_default().effective_cap(queue);
                Some(((name.to_string(), format!("{from}/{output}")), queue))
            });
            let (inputs, queues) = reads.unzip();
            let pool = node.shared_memory_pool_size.map(|size| size.as_bytes() as u64);
            let pool = pool.or_else(|| env("DORA_NODE_SHM_POOL_SIZE").and_then(|size| size.trim().parse().ok()));
            Process {
                id,
                kind,
                inputs,
                queues,
                outputs: node.outputs.iter().map(ToString::to_string).collect(),
                pool: pool.unwrap_or(memory::DEFAULT_POOL_BYTES),
                run_dir: env("SIDELINE_RUN_DIR").map(PathBuf::from).or_else(|| run_dir.map(Path::to_owned)),
                place: decl.map_or_else(|| files.flow.whole_file(), |decl| decl.place()),
            }
        })
        .collect()
}
