//! Configuration. Weakest first: defaults, files named by `CONFIG`, the flow's `env:`, the node's `env:`, `--set`.
//!
//! The keys of an `env:` are those of the operator in upper case; variables of other programs (`RUST_LOG`, ...) may stand
//! beside them. What the node of a module says in its `env:` (expanded or fused) goes to every inner operator that has
//! the key and does not set it itself. Keys that begin with `SIDELINE_` are the runtime's.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

use dora_core::descriptor::Node;
use dora_message::descriptor::EnvValue;
use serde_json::Value;
use sideline_api::{
    Device, Entry, Mode, OnError, Registry, Values,
    config::{Key, Kind, Origin, did_you_mean, nearest},
    yaml::{self, Yaml},
};

use crate::{
    Diagnostic, Place,
    files::{File, Files, What, Written},
    flow::Overrides,
};

/// Beginnings of variables that are meant for other programs and libraries.
const OTHERS: [&str; 12] =
    ["DORA_", "RUST_", "OTEL_", "CUDA_", "NVIDIA_", "ORT_", "OMP_", "ZENOH_", "LD_", "AV_", "PARAM_", "PYTHON"];
/// Variables that every process has already: as a key of ours they would break the node's process under dora.
const TAKEN: [&str; 8] = ["PATH", "HOME", "LANG", "USER", "SHELL", "TMPDIR", "TERM", "PWD"];
/// Runtime keys of a flow, and of a node.
const FLOW_KEYS: [&str; 7] = [
    "SIDELINE_MODE",
    "SIDELINE_WINDOW",
    "SIDELINE_STALL_S",
    "SIDELINE_START_S",
    "SIDELINE_DEVICE",
    "SIDELINE_RUN_DIR",
    "SIDELINE_ON_ERROR",
];
const NODE_KEYS: [&str; 3] = ["SIDELINE_ON_ERROR", "SIDELINE_STRIDE", "SIDELINE_RUN_DIR"];

/// Errors for a source that is told what only an operator does.
const NO_STRIDE: &str =
    "a source has no stride, it sends every frame: write it to the operators that are to skip frames";
const NOT_RESTARTED: &str =
    "a source is not restarted: write `stop` (a stream that fails ends the run) or `skip` (the other streams go on)";

type Env = BTreeMap<String, EnvValue>;

/// Longest time that the window may stand still, where nothing else is set.
const STALL: Duration = Duration::from_secs(10);
/// The same in a flow over hosts: a link that comes back within it loses nothing.
const STALL_OVER_HOSTS: Duration = Duration::from_secs(60);

/// What a flow's own `env:` says to the runtime.
#[derive(Clone, Debug)]
pub(crate) struct FlowSettings {
    pub mode: Option<Mode>,
    pub window: usize,
    pub stall: Duration,
    pub start: Duration,
    pub device: Device,
    pub run_dir: Option<PathBuf>,
    pub on_error: Option<OnError>,
}

/// What is set for one operator.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    pub values: Values,
    pub on_error: Option<OnError>,
    pub stride: u64,
}

/// A value of an `env:` as JSON. dora takes the texts `nan` and `infinity` for numbers too, which JSON has none for.
fn json(value: &EnvValue) -> Value {
    match value {
        EnvValue::Bool(value) => Value::from(*value),
        EnvValue::Integer(value) => Value::from(*value),
        EnvValue::Float(value) if value.is_finite() => Value::from(*value),
        EnvValue::Float(value) => Value::from(value.to_string()),
        EnvValue::String(value) => Value::from(value.as_str()),
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: &EnvValue) -> Option<T> {
    yaml::from_str(&value.to_string()).ok()
}

/// Reads the runtime keys of the flow's `env:`.
pub(crate) fn flow_settings(
    files: &Files,
    env: &Env,
    overrides: &Overrides,
    found: &mut Vec<Diagnostic>,
) -> FlowSettings {
    let mut settings = FlowSettings {
        mode: None,
        window: 4,
        stall: if spans_hosts(files) { STALL_OVER_HOSTS } else { STALL },
        start: Duration::from_secs(60),
        device: Device::Auto,
        run_dir: None,
        on_error: None,
    };
    for (key, value) in env.iter().filter(|(key, _)| key.starts_with("SIDELINE_")) {
        let problem = match key.as_str() {
            "SIDELINE_MODE" => {
                settings.mode = parse(value);
                settings.mode.is_none().then(|| format!("`{value}` is not a mode: live or complete"))
            }
            "SIDELINE_WINDOW" => match parse::<usize>(value) {
                Some(window @ 1..=256) => {
                    settings.window = window;
                    None
                }
                _ => Some(format!("`{value}` is not a number of frames from 1 to 256")),
            },
            "SIDELINE_STALL_S" => seconds(value, &mut settings.stall),
            "SIDELINE_START_S" => seconds(value, &mut settings.start),
            "SIDELINE_DEVICE" => match parse(value) {
                Some(device) => {
                    settings.device = device;
                    None
                }
                None => Some(format!("`{value}` is not a device: auto, cpu, cuda or tensorrt")),
            },
            "SIDELINE_RUN_DIR" => {
                settings.run_dir = Some(value.to_string().into());
                None
            }
            "SIDELINE_ON_ERROR" => {
                settings.on_error = parse(value);
                settings.on_error.is_none().then(|| not_on_error(value))
            }
            _ if NODE_KEYS.contains(&key.as_str()) => Some("stands in the `env:` of a node".into()),
            _ => Some(format!("there is no such key{}", did_you_mean(key, FLOW_KEYS))),
        };
        if let Some(text) = problem {
            let place =
                files.flow.tree.key_at(&["env", key]).map_or_else(|| files.flow.whole(), |k| files.flow.place(k));
            found.push(Diagnostic::error(place, None, format!("key `{key}`: {text}")));
        }
    }
    settings.mode = overrides.mode.or(settings.mode);
    settings.device = overrides.device.unwrap_or(settings.device);
    settings
}

/// True when a node says where it is deployed.
fn spans_hosts(files: &Files) -> bool {
    let deployed = |node: &Yaml| node.get("deploy").is_some_and(|deploy| !deploy.map().is_empty());
    files.written.values().any(|written| deployed(written.node())) || deployed(&files.flow.tree)
}

/// Reads a number of seconds; what is wrong with it, if anything is.
fn seconds(value: &EnvValue, into: &mut Duration) -> Option<String> {
    match parse::<f64>(value) {
        Some(seconds) if (0.1..=86_400.0).contains(&seconds) => {
            *into = Duration::from_secs_f64(seconds);
            None
        }
        _ => Some(format!("`{value}` is not a number of seconds from 0.1 to 86400")),
    }
}

fn not_on_error(value: &impl std::fmt::Display) -> String {
    format!("`{value}` is none of skip, restart, stop")
}

/// Reads the configuration of every operator.
pub(crate) struct Settings<'a> {
    pub files: &'a Files,
    pub registry: &'a Registry,
    pub flow_env: &'a Env,
    pub overrides: &'a Overrides,
    /// All nodes of the flat graph.
    pub flat: &'a [Node],
    /// Keys that came from a host or from the flow, and whether an operator had them.
    pub passed_on: BTreeMap<(Place, String), Passed>,
    /// `--set`s that found their node and key.
    pub used: BTreeSet<usize>,
}

/// A key that stands above the operators it is meant for.
pub(crate) struct Passed {
    host: Option<String>,
    taken: bool,
    known: BTreeSet<&'static str>,
    /// Where operators that had a key of this name before have it now.
    successors: BTreeSet<String>,
}

impl Passed {
    /// Tells where the key went.
    fn moved(&self) -> String {
        self.successors.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

impl<'a> Settings<'a> {
    /// Nothing was read yet.
    pub fn new(
        files: &'a Files,
        registry: &'a Registry,
        flow_env: &'a Env,
        overrides: &'a Overrides,
        flat: &'a [Node],
    ) -> Self {
        Settings { files, registry, flow_env, overrides, flat, passed_on: BTreeMap::new(), used: BTreeSet::new() }
    }

    /// The settings of one operator; everything wrong with them is told.
    pub fn of(&mut self, node: &Node, written: &Written, entry: &Entry, found: &mut Vec<Diagnostic>) -> NodeSettings {
        let mut settings = NodeSettings { values: Values::new(), on_error: None, stride: 1 };
        let none = Env::new();
        let env = node.env.as_ref().unwrap_or(&none);
        let known = |key: &str| entry.keys().iter().any(|known| known.name == key);

        let config = env.get_key_value("CONFIG").map(|(k, v)| (k, v, self.inherited(node, written, k)));
        let config = config.or_else(|| self.flow_env.get_key_value("CONFIG").map(|(k, v)| (k, v, true)));
        if let Some((_, value, inherited)) = config {
            self.read_files(written, value, |key| inherited && !known(key), &mut settings.values, found);
        }

        for (key, value) in self.flow_env {
            let lower = key.to_lowercase();
            if key == "CONFIG" || key.starts_with("SIDELINE_") || is_for_others(key) {
                continue;
            }
            let at = self.files.flow.tree.key_at(&["env", key]);
            let place = at.map_or_else(|| self.files.flow.whole(), |k| self.files.flow.place(k));
            self.pass(place.clone(), key, None, entry, known(&lower));
            if known(&lower) {
                settings.values.set(lower, json(value), origin(&place));
            }
        }
        for (key, value) in env {
            self.node_key(node, written, entry, (key, value), &mut settings, found);
        }
        self.overrides_of(written, entry, &mut settings, found);
        for key in entry.keys() {
            // Of two keys of which only one is set, the command line's wins, as it does over the same key.
            if let (Some(other), Some((_, Origin::CommandLine))) = (key.instead_of, settings.values.get(key.name))
                && settings.values.get(other).is_some_and(|(_, origin)| *origin != Origin::CommandLine)
            {
                settings.values.remove(other);
            }
        }
        for problem in entry.check(&settings.values) {
            let place = match &problem.origin {
                Origin::File { path, line, column } => Place { file: Some(path.clone()), line: *line, column: *column },
                Origin::CommandLine => Place::default(),
                Origin::Default | Origin::Live => written.place(),
            };
            let mut text = format!("key `{}`: {}", problem.key, problem.message);
            // Written at the wrong node: whose key it is helps more than the name that is most like it.
            let moved = entry.keys().iter().any(|key| key.successor_of(&problem.key, None).is_some());
            if !known(&problem.key) && !moved {
                let have = |other: &&Entry| other.keys().iter().any(|key| key.name == problem.key);
                let names: Vec<String> =
                    self.registry.iter().filter(have).map(|other| format!("`{}`", other.spec.name)).collect();
                if !names.is_empty() {
                    text = format!("key `{}`: there is no such key; it is one of {}", problem.key, names.join(", "));
                }
            }
            found.push(Diagnostic::error(place, Some(&written.id), text));
        }
        settings
    }

    fn node_key(
        &mut self,
        node: &Node,
        written: &Written,
        entry: &Entry,
        (key, value): (&String, &EnvValue),
        settings: &mut NodeSettings,
        found: &mut Vec<Diagnostic>,
    ) {
        let lower = key.to_lowercase();
        let known = entry.keys().iter().any(|known| known.name == lower);
        let inherited = self.inherited(node, written, key);
        let (place, host) = place_of_env(written, key);
        let mut error = |text: String| {
            found.push(Diagnostic::error(place.clone(), Some(&written.id), format!("key `{key}`: {text}")));
        };
        if key == "CONFIG" || (is_for_others(key) && !known) {
            return;
        }
        if key.starts_with("SIDELINE_") {
            match key.as_str() {
                // What the node of a module says is meant for its operators, not for a source among them.
                "SIDELINE_ON_ERROR" | "SIDELINE_STRIDE" if entry.spec.source && inherited => {}
                "SIDELINE_ON_ERROR" => match parse(value) {
                    Some(OnError::Restart) if entry.spec.source => error(NOT_RESTARTED.into()),
                    Some(on_error) => settings.on_error = Some(on_error),
                    None => error(not_on_error(value)),
                },
                "SIDELINE_STRIDE" if entry.spec.source => error(NO_STRIDE.into()),
                "SIDELINE_STRIDE" => match parse(value) {
                    Some(stride @ 1..) => settings.stride = stride,
                    _ => error(format!("`{value}` is not a number of frames from 1")),
                },
                "SIDELINE_RUN_DIR" if !inherited && written.is_fused() => {
                    error(
                        "one process hosts the module: it stands in the `env:` of the node that names the file".into(),
                    );
                }
                "SIDELINE_RUN_DIR" => {}
                other if FLOW_KEYS.contains(&other) => error("stands in the `env:` of the flow".into()),
                other => error(format!("there is no such key{}", did_you_mean(other, NODE_KEYS))),
            }
            return;
        }
        if inherited {
            let host = host.or_else(|| written.id.rsplit_once('.').map(|(host, _)| host.to_owned()));
            self.pass(place.clone(), key, host, entry, known);
            if !known {
                return;
            }
        } else if *key != key.to_uppercase() {
            return error(format!("keys of an `env:` stand in upper case: `{}`", key.to_uppercase()));
        } else if let Some(host) = written.host.as_deref()
            && let (above, Some(id)) = place_of_env(host, key)
        {
            // What it sets itself is weaker at its host, but it is there.
            self.pass(above, key, Some(id), entry, known);
        }
        if TAKEN.contains(&key.as_str()) {
            return error(
                "every process has this variable already: set it in a file named by CONFIG, or with --set".into(),
            );
        }
        let kind = entry.keys().iter().find(|known| known.name == lower).map(|known| known.kind.given());
        if matches!(kind, Some(Kind::Text | Kind::Path))
            && let Some(text) = misread(written, key, value)
        {
            found.push(Diagnostic::warning(place.clone(), Some(&written.id), text));
        }
        settings.values.set(lower, json(value), origin(&place));
    }

    /// True for a key that the operator has from the node of its module, not from its own `env:`.
    fn inherited(&self, node: &Node, written: &Written, key: &str) -> bool {
        if self.files.flow.placed() || written.host.is_some() {
            return written.node().key_at(&["env", key]).is_none();
        }
        // A descriptor from dora has lost who set it; what a module's node sets, all inner nodes have.
        let id = node.id.to_string();
        let Some((host, _)) = id.rsplit_once('.') else { return false };
        let beside = |other: &&Node| other.id.to_string().rsplit_once('.').is_some_and(|(h, _)| h == host);
        self.flat.iter().filter(beside).all(|other| other.env.as_ref().is_some_and(|env| env.contains_key(key)))
    }

    fn pass(&mut self, place: Place, key: &str, host: Option<String>, entry: &Entry, taken: bool) {
        let passed = self.passed_on.entry((place, key.to_owned())).or_insert_with(|| Passed {
            host,
            taken: false,
            known: BTreeSet::new(),
            successors: BTreeSet::new(),
        });
        passed.taken |= taken;
        passed.known.extend(entry.keys().iter().map(|key| key.name));
        let lower = key.to_lowercase();
        let successors = entry.keys().iter().filter_map(|key| key.successor_of(&lower, None));
        passed.successors.extend(successors.map(|successor| format!("`{}`: {successor}", entry.spec.name)));
    }

    /// Keys that were passed on and that nobody had.
    pub fn check_passed(&self, found: &mut Vec<Diagnostic>) {
        for ((place, key), passed) in self.passed_on.iter().filter(|(_, passed)| !passed.taken) {
            let lower = key.to_lowercase();
            if let Some(host) = &passed.host {
                let near = match passed.successors.is_empty() {
                    true => did_you_mean(&lower, passed.known.iter().copied()),
                    false => format!(" any more; {}", passed.moved()),
                };
                let text = format!("key `{key}`: no operator of the module has such a key{near}");
                found.push(Diagnostic::error(place.clone(), Some(host), text));
            } else if !passed.successors.is_empty() {
                let text = format!("key `{key}`: no operator of the flow has such a key any more; {}", passed.moved());
                found.push(Diagnostic::warning(place.clone(), None, text));
            } else if let Some(near) = nearest(&lower, passed.known.iter().copied()) {
                // The flow's `env:` may hold variables for any program: only what looks like a slip is told.
                let text = format!(
                    "key `{key}`: no operator of the flow has such a key; did you mean `{}`?",
                    near.to_uppercase()
                );
                found.push(Diagnostic::warning(place.clone(), None, text));
            }
        }
        for (i, (node, key, _)) in self.overrides.set.iter().enumerate() {
            if self.used.contains(&i) {
                continue;
            }
            let ids = || self.files.written.keys().map(String::as_str);
            let text = match self.files.written.get(node) {
                None => format!(
                    "--set {node}.{key}: there is no node `{node}`{}",
                    did_you_mean(node, ids().collect::<Vec<_>>())
                ),
                Some(written) if matches!(written.what, What::Foreign) => {
                    format!("--set {node}.{key}: node `{node}` is not one of ours")
                }
                Some(_) => {
                    let lower = key.to_lowercase();
                    let successors = self.registry.iter().flat_map(|entry| {
                        let of = |known: &Key| known.successor_of(&lower, None);
                        entry
                            .keys()
                            .iter()
                            .filter_map(of)
                            .map(|successor| format!("; `{}`: {successor}", entry.spec.name))
                    });
                    format!(
                        "--set {node}.{key}: no operator of the module has such a key{}",
                        successors.collect::<String>()
                    )
                }
            };
            found.push(Diagnostic::error(Place::default(), None, text));
        }
    }

    /// `--set node.key=value`; the id of a module means all its operators that have the key.
    fn overrides_of(
        &mut self,
        written: &Written,
        entry: &Entry,
        settings: &mut NodeSettings,
        found: &mut Vec<Diagnostic>,
    ) {
        for (i, (node, key, value)) in self.overrides.set.iter().enumerate() {
            let lower = key.to_lowercase();
            let own = *node == written.id;
            let hosted = written.id.strip_prefix(node.as_str()).is_some_and(|rest| rest.starts_with('.'));
            let meant = own || (hosted && entry.keys().iter().any(|known| known.name == lower));
            if !meant {
                continue;
            }
            self.used.insert(i);
            let wrong = match lower.as_str() {
                "sideline_stride" if entry.spec.source => own.then(|| NO_STRIDE.to_owned()),
                "sideline_stride" => match value.as_u64().filter(|n| *n > 0) {
                    Some(stride) => {
                        settings.stride = stride;
                        None
                    }
                    None => Some(format!("`{value}` is not a number of frames from 1")),
                },
                "sideline_on_error" => match serde_json::from_value(value.clone()) {
                    Ok(OnError::Restart) if entry.spec.source => own.then(|| NOT_RESTARTED.to_owned()),
                    Ok(on_error) => {
                        settings.on_error = Some(on_error);
                        None
                    }
                    Err(_) => Some(not_on_error(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))),
                },
                _ => {
                    settings.values.set(lower.clone(), value.clone(), Origin::CommandLine);
                    None
                }
            };
            if let Some(text) = wrong {
                let text = format!("key `{key}`: {text}");
                found.push(Diagnostic::error(Place::default(), Some(&written.id), text));
            }
        }
    }

    /// The files named by `CONFIG`: one path, or a list `[a.yml, b.yml]` of which a later one is stronger.
    fn read_files(
        &self,
        written: &Written,
        value: &EnvValue,
        skip: impl Fn(&str) -> bool,
        values: &mut Values,
        found: &mut Vec<Diagnostic>,
    ) {
        let text = value.to_string();
        let paths = yaml::from_str::<Vec<PathBuf>>(&text).unwrap_or_else(|_| vec![text.into()]);
        let (place, _) = place_of_env(written, "CONFIG");
        for path in paths {
            let folders = self.overrides.search(&written.file.folder, &self.files.root);
            let read = sideline_api::find_file(&path, &folders)
                .map_err(|e| {
                    Diagnostic::error(place.clone(), Some(&written.id), format!("key `CONFIG`: {}", e.message))
                })
                .and_then(|path| read_map(&path));
            match read {
                Ok((file, map)) => {
                    let written: HashMap<&str, &(Yaml, Yaml)> =
                        file.tree.map().iter().filter_map(|pair| Some((pair.0.scalar()?, pair))).collect();
                    for (key, value) in map.into_iter().filter(|(key, _)| !skip(key)) {
                        let pair = written.get(&*key);
                        let place = pair.map_or_else(|| file.whole(), |(key, _)| file.place(key));
                        let text = pair.and_then(|(_, text)| text.scalar()).unwrap_or_default();
                        // A name such as 1.10 stays what was written; who wants a number reads one from it.
                        let shown = value.to_string();
                        let as_written = !value.is_number() || shown == text;
                        values.set(key, if as_written { value } else { text.into() }, origin(&place));
                    }
                }
                Err(e) => found.push(e),
            }
        }
    }
}

/// A YAML file of keys and values.
fn read_map(path: &Path) -> Result<(File, serde_json::Map<String, Value>), Diagnostic> {
    let (file, text) = File::read(path)?;
    match yaml::json(&text) {
        Ok(Value::Object(map)) => Ok((file, map)),
        Ok(Value::Null) => Ok((file, serde_json::Map::new())),
        Ok(_) => Err(Diagnostic::error(file.whole(), None, "a file named by CONFIG holds `key: value` lines")),
        Err(broken) => Err(Diagnostic::error(file.at(broken.line, broken.column), None, broken.message)),
    }
}

fn is_for_others(key: &str) -> bool {
    OTHERS.iter().any(|start| key.starts_with(start))
}

fn origin(place: &Place) -> Origin {
    match &place.file {
        Some(path) => Origin::File { path: path.clone(), line: place.line, column: place.column },
        None => Origin::CommandLine,
    }
}

/// Tells of a text in an operator's own `env:` that dora takes for a number, and so for another text: `007` for `7`.
fn misread(written: &Written, key: &str, value: &EnvValue) -> Option<String> {
    let text = written.node().get("env")?.text(key)?;
    let same = !written.file.placed() || text.contains('$') || *text == value.to_string();
    (!same).then(|| {
        format!(
            "key `{key}`: dora reads the text `{text}` as `{value}`: set it in a file named by CONFIG, or with --set"
        )
    })
}

/// Where a key of an operator's `env:` stands: in its own, else in that of the nearest host that has it.
fn place_of_env(written: &Written, key: &str) -> (Place, Option<String>) {
    let mut at = Some(written);
    while let Some(one) = at {
        if let Some(found) = one.node().key_at(&["env", key]) {
            return (one.file.place(found), Some(one.id.clone()));
        }
        at = one.host.as_deref();
    }
    (written.place(), None)
}
