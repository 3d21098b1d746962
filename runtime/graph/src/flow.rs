//! A flow that was read and checked.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use dora_core::descriptor::Descriptor;
use serde_json::Value;
use sideline_api::{
    Alignment, Device, Mode, OnError, PortType, Registry, SourceId, Spec, Values,
    config::did_you_mean,
    find_file,
    models::{Models, own_file},
};

use crate::{
    Diagnostic, Place, check,
    diagnostic::tidy,
    done,
    expand::{self, Expanded},
    files::{File, Files, What},
    memory,
    settings::{self, Settings},
    wiring,
};

/// What the command line says about a flow.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--set node.key=value`; the id of a module means all its operators that have the key.
    pub set: Vec<(String, String, Value)>,
    /// `--mode`.
    pub mode: Option<Mode>,
    /// `--device`.
    pub device: Option<Device>,
    /// `--input`: the key `source` of the flow's only source.
    pub input: Option<String>,
    /// `SIDELINE_HOME`: the last folder files are looked for in.
    pub home: Option<PathBuf>,
}

impl Overrides {
    /// Where files are looked for: beside the file that names them, beside the flow, in the working directory, at home.
    pub(crate) fn search(&self, beside: &Path, flow: &Path) -> Vec<PathBuf> {
        let named = |folder: &Path| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() };
        let mut folders = vec![named(beside), named(flow), PathBuf::from(".")];
        folders.extend(self.home.clone());
        let mut once: Vec<PathBuf> = vec![];
        for folder in folders {
            if !once.contains(&folder) {
                once.push(folder);
            }
        }
        once
    }
}

/// A flow: its operators, and the processes dora would run them in.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The file's name without `.yml`.
    pub name: String,
    /// The file; for a descriptor from dora, its name alone.
    pub path: PathBuf,
    /// Live or complete.
    pub mode: Mode,
    /// Frames in flight per source.
    pub window: usize,
    /// How long the window may stand still.
    pub stall: Duration,
    /// How long operators may take to get ready.
    pub start: Duration,
    /// Where models run.
    pub device: Device,
    /// Folder of the runs, when the flow names one.
    pub run_dir: Option<PathBuf>,
    /// One per dora node, in the order of the file, modules expanded and fused nodes whole.
    pub processes: Vec<Process>,
    /// Sources and operators; a producer stands before its consumers (feedback excepted), else in the order of the file.
    pub nodes: Vec<FlowNode>,
    /// Modules the flow names, fused or expanded.
    pub modules: Vec<Module>,
    /// Warnings, and errors that matter under dora only.
    pub diagnostics: Vec<Diagnostic>,
    /// Who makes an output of a fused node, see [`Expanded::makers`].
    pub(crate) makers: std::collections::BTreeMap<String, (String, String)>,
}

/// A node as dora runs it: one process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub id: String,
    /// What runs in it.
    pub kind: ProcessKind,
    /// Inputs: name, and `node/output` as dora knows it.
    pub inputs: Vec<(String, String)>,
    /// Listed outputs.
    pub outputs: Vec<String>,
    /// Most messages dora keeps for each input, in the order of `inputs`.
    pub(crate) queues: Vec<usize>,
    /// Bytes of its pool of shared memory.
    pub(crate) pool: u64,
    /// `SIDELINE_RUN_DIR` of this node, else of the flow.
    pub run_dir: Option<PathBuf>,
    /// Where it stands.
    pub place: Place,
}

/// What runs in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessKind {
    /// One operator or source, by its name in the registry.
    Operator(String),
    /// A module file, as written.
    Fused(String),
    /// A program that is not ours.
    Foreign,
}

/// A module that a flow names.
#[derive(Clone, Debug)]
pub struct Module {
    /// Id of the node that names it.
    pub id: String,
    /// The file, as written.
    pub file: String,
    /// One process for all, else one for each.
    pub fused: bool,
    /// The module's outputs.
    pub outputs: Vec<String>,
    /// Where the node stands.
    pub place: Place,
}

/// A source or operator of the flat graph.
#[derive(Clone, Debug)]
pub struct FlowNode {
    /// Id; inside a module `node.operator`.
    pub id: String,
    /// Name in the registry.
    pub operator: String,
    /// Its ports.
    pub spec: Spec,
    /// Index into [`Flow::processes`].
    pub process: usize,
    /// Its configuration.
    pub values: Values,
    /// Every key with its value, defaults included.
    pub resolved: Vec<(String, Value)>,
    /// After an error or a panic.
    pub on_error: OnError,
    /// Every n-th frame.
    pub stride: u64,
    /// Wired inputs: declared ones in their order, then others by name.
    pub inputs: Vec<FlowInput>,
    /// Number of the source it is or descends from.
    pub source: SourceId,
    /// True when no ordinary consumer reads it: its source waits for it.
    pub sink: bool,
    /// True for what only reads side inputs: it runs when something comes, and no window waits for it.
    pub outside: bool,
    /// The models it needs: names of models.yml, or paths of one's own files.
    pub models: Vec<String>,
    /// Where it looks for files.
    pub search: Vec<PathBuf>,
    /// Where it stands.
    pub place: Place,
}

/// One wired input.
#[derive(Clone, Debug)]
pub struct FlowInput {
    /// Its name.
    pub name: String,
    /// Who sends.
    pub from: Sender,
    /// `node/output` in the flat graph.
    pub text: String,
    /// Type of what comes.
    pub ty: PortType,
    /// `process` is called only with data on it.
    pub required: bool,
    /// The last data is handed in again.
    pub hold: bool,
    /// How it is matched to frames.
    pub alignment: Alignment,
    /// Most messages that wait in it.
    pub queue: usize,
    /// Name of the dora input it comes by, when the sender is in another process.
    pub border: String,
    /// Where it stands.
    pub place: Place,
}

/// Who sends what an input reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An operator: indices into [`Flow::nodes`] and its outputs.
    Node {
        /// The operator.
        node: usize,
        /// Its output.
        output: usize,
    },
    /// A program that is not ours: index into [`Flow::processes`].
    Foreign(usize),
}

impl Flow {
    /// Reads and checks a dataflow file and the module files it names.
    ///
    /// # Errors
    /// Everything that hinders a run in one process, with warnings beside it; what only matters under dora is in
    /// [`Flow::diagnostics`].
    pub fn read(path: &Path, registry: &Registry, overrides: &Overrides) -> Result<Self, Vec<Diagnostic>> {
        let (file, text) = File::read(path).map_err(|e| vec![e])?;
        Self::build(file, &text, registry, overrides)
    }

    /// Reads and checks what dora hands to a node: the whole descriptor, modules expanded. `name` is the flow's, `folder`
    /// the folder of its file, which fused modules are looked for in.
    ///
    /// # Errors
    /// As [`Flow::read`]; places have no lines.
    pub fn from_descriptor(
        descriptor: &Descriptor,
        name: &str,
        folder: &Path,
        registry: &Registry,
        overrides: &Overrides,
    ) -> Result<Self, Vec<Diagnostic>> {
        let whole = Place { file: Some(name.into()), ..Place::default() };
        let text = serde_yaml::to_string(&expand::escaped(descriptor))
            .map_err(|e| vec![Diagnostic::error(whole, None, format!("the descriptor cannot be written: {e}"))])?;
        let file = File::parse(name.into(), folder.to_owned(), &text, false).map_err(|e| vec![e])?;
        Self::build(file, &text, registry, overrides)
    }

    fn build(file: File, text: &str, registry: &Registry, overrides: &Overrides) -> Result<Self, Vec<Diagnostic>> {
        let mut found = vec![];
        let files = Files::gather(file, registry, &mut found);
        if !files.formed {
            return Err(tidy(found));
        }
        check::check_names(&files, registry, &mut found);
        let descriptor = match expand::parse(&files.flow, text) {
            Ok(descriptor) => descriptor,
            Err(e) => {
                found.push(e);
                return Err(tidy(found));
            }
        };
        if found.iter().any(Diagnostic::hinders_run) {
            // A wrong name does not hide a wrong key: both are told at once.
            Self::check_keys(&files, &descriptor, registry, overrides, &mut found);
            return Err(tidy(found));
        }
        let expanded = expand::expand(&files, &descriptor).map_err(|e| {
            found.push(e);
            tidy(std::mem::take(&mut found))
        })?;
        let flow = Self::assemble(&files, &descriptor, &expanded, registry, overrides, &mut found);
        found = tidy(found);
        match flow {
            Some(flow) if !found.iter().any(Diagnostic::hinders_run) => Ok(Flow { diagnostics: found, ..flow }),
            _ => Err(found),
        }
    }

    /// Checks the keys of a flow that cannot be expanded: those of the operators in its own file.
    fn check_keys(
        files: &Files,
        descriptor: &Descriptor,
        registry: &Registry,
        overrides: &Overrides,
        found: &mut Vec<Diagnostic>,
    ) {
        let env = descriptor.env.clone().unwrap_or_default();
        settings::flow_settings(files, &env, overrides, found);
        let mut settings = Settings::new(files, registry, &env, overrides, &descriptor.nodes);
        for node in &descriptor.nodes {
            let Some(written) = files.written.get(&node.id.to_string()) else { continue };
            if let What::Operator(name) = &written.what
                && let Ok(entry) = registry.get(name)
                // Its `source` may be the `--input`.
                && !(entry.spec.source && overrides.input.is_some())
            {
                settings.of(node, written, entry, found);
            }
        }
    }

    fn assemble(
        files: &Files,
        descriptor: &Descriptor,
        expanded: &Expanded,
        registry: &Registry,
        overrides: &Overrides,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let env = descriptor.env.clone().unwrap_or_default();
        let flow_settings = settings::flow_settings(files, &env, overrides, found);
        let mut overrides = overrides.clone();
        set_input(files, expanded, registry, &mut overrides, found);
        let mut settings = Settings::new(files, registry, &env, &overrides, &expanded.flat);
        let (nodes, mode) = wiring::wire(files, expanded, &mut settings, &flow_settings, found)?;
        let processes = processes(files, expanded, &env, flow_settings.run_dir.as_deref());
        let modules = files.written.values().filter_map(|written| match &written.what {
            What::Host { file, path, fused } => Some(Module {
                id: written.id.clone(),
                file: path.clone(),
                fused: *fused,
                outputs: check::declared(file, &["outputs"]).into_iter().map(str::to_owned).collect(),
                place: written.place(),
            }),
            _ => None,
        });
        let path = files.flow.path.clone();
        let flow = Flow {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            path,
            mode,
            window: flow_settings.window,
            stall: flow_settings.stall,
            start: flow_settings.start,
            device: flow_settings.device,
            run_dir: flow_settings.run_dir,
            processes,
            nodes,
            modules: modules.collect(),
            diagnostics: vec![],
            makers: expanded.makers.clone(),
        };
        done::check_done(&flow, found);
        memory::check_queues(&flow, found);
        memory::check_shared_memory(&flow, memory::shared_memory_free(), found);
        Some(flow)
    }

    /// What is wrong with the models the flow needs: unknown, or not installed.
    pub fn check_models(&self, models: &Models) -> Vec<Diagnostic> {
        let missing = self.nodes.iter().flat_map(|node| {
            node.models.iter().filter_map(|name| {
                let e = match own_file(name) {
                    Some(path) => find_file(path, &node.search).err()?,
                    None => models.present(name).err()?,
                };
                Some(Diagnostic::error(node.place.clone(), Some(&node.id), e.message))
            })
        });
        tidy(missing.collect())
    }

    /// The sources, by their numbers.
    pub fn sources(&self) -> Vec<&FlowNode> {
        let mut sources: Vec<&FlowNode> = self.nodes.iter().filter(|node| node.spec.source).collect();
        sources.sort_by_key(|node| node.source);
        sources
    }

    /// Ids of the nodes that are not ours: such a flow runs under dora only.
    pub fn foreign(&self) -> Vec<&str> {
        let foreign = self.processes.iter().filter(|process| process.kind == ProcessKind::Foreign);
        foreign.map(|process| process.id.as_str()).collect()
    }
}

/// `--input X` is `--set SOURCE.source=X` for the flow's only source.
fn set_input(
    files: &Files,
    expanded: &Expanded,
    registry: &Registry,
    overrides: &mut Overrides,
    found: &mut Vec<Diagnostic>,
) {
    let Some(input) = overrides.input.clone() else { return };
    let sources: Vec<_> = expanded
        .flat
        .iter()
        .filter_map(|node| files.written.get(&node.id.to_string()))
        .filter_map(|written| match &written.what {
            What::Operator(name) => registry.get(name).ok().filter(|e| e.spec.source).map(|e| (written.clone(), e)),
            _ => None,
        })
        .collect();
    let problem = match &sources[..] {
        [(written, entry)] if entry.keys().iter().any(|key| key.name == "source") => {
            overrides.set.push((written.id.clone(), "source".into(), input.into()));
            return;
        }
        [(written, entry)] => {
            let keys = did_you_mean("source", entry.keys().iter().map(|key| key.name));
            format!("--input {input}: the source `{}` has no key `source`{keys}", written.id)
        }
        [] => format!("--input {input}: the flow has no source"),
        several => {
            let ids: Vec<String> = several.iter().map(|(written, _)| format!("`{}`", Rc::clone(written).id)).collect();
            format!("--input {input}: the flow has the sources {}: write --set NODE.source={input}", ids.join(", "))
        }
    };
    found.push(Diagnostic::error(Place::default(), None, problem));
}

type Env = std::collections::BTreeMap<String, dora_message::descriptor::EnvValue>;

fn processes(files: &Files, expanded: &Expanded, flow_env: &Env, run_dir: Option<&Path>) -> Vec<Process> {
    let nodes = expanded.processes.nodes.iter();
    nodes
        .map(|node| {
            let id = node.id.to_string();
            let written = files.written.get(&id);
            let kind = match written.map(|written| &written.what) {
                Some(What::Operator(name)) => ProcessKind::Operator(name.clone()),
                Some(What::Host { path, .. }) => ProcessKind::Fused(path.clone()),
                _ => ProcessKind::Foreign,
            };
            let env = |key: &str| {
                let own = node.env.as_ref().and_then(|env| env.get(key));
                own.or_else(|| flow_env.get(key)).map(ToString::to_string)
            };
            let reads = node.inputs.iter().filter_map(|(name, input)| {
                let (from, output) = expand::reads(input)?;
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
                pool: pool.unwrap_or(memory::DEFAULT_POOL),
                run_dir: env("SIDELINE_RUN_DIR").map(PathBuf::from).or_else(|| run_dir.map(Path::to_owned)),
                place: written.map_or_else(|| files.flow.whole(), |written| written.place()),
            }
        })
        .collect()
}
