//! Configuration of operators. Precedence, lowest first: defaults, files named by `CONFIG`, the flow's `env:`, the
//! node's `env:`, `--set`.
//!
//! The keys of an `env:` are those of the operator in upper case; it may also hold variables of other programs such as
//! `RUST_LOG`. The `env:` of a module's host (expanded or fused) is inherited by every inner operator that has the key
//! and does not set it itself. Keys that begin with `SIDELINE_` belong to the runtime.

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
    files::{File, Files, NodeDecl, NodeKind},
    flow::Overrides,
};

/// Prefixes of variables that belong to other programs and libraries.
const FOREIGN_PREFIXES: [&str; 12] =
    ["DORA_", "RUST_", "OTEL_", "CUDA_", "NVIDIA_", "ORT_", "OMP_", "ZENOH_", "LD_", "AV_", "PARAM_", "PYTHON"];
/// Environment variables that every process has. A key of the same name in `env:` would overwrite the variable and
/// break the node's process under dora.
const RESERVED_VARIABLES: [&str; 8] = ["PATH", "HOME", "LANG", "USER", "SHELL", "TMPDIR", "TERM", "PWD"];
/// Runtime keys in the `env:` of a flow.
const FLOW_KEYS: [&str; 7] = [
    "SIDELINE_MODE",
    "SIDELINE_WINDOW",
    "SIDELINE_STALL_S",
    "SIDELINE_START_S",
    "SIDELINE_DEVICE",
    "SIDELINE_RUN_DIR",
    "SIDELINE_ON_ERROR",
];
/// Runtime keys in the `env:` of a node.
const NODE_KEYS: [&str; 3] = ["SIDELINE_ON_ERROR", "SIDELINE_STRIDE", "SIDELINE_RUN_DIR"];

/// Message for a stride that is set for a source.
const NO_SOURCE_STRIDE: &str =
    "a source has no stride, it sends every frame: set it for the operators that should skip frames";
/// Message for `SIDELINE_ON_ERROR: restart` that is set for a source.
const NO_SOURCE_RESTART: &str =
    "a source is not restarted: write `stop` (a stream that fails ends the run) or `skip` (the other streams continue)";

type Env = BTreeMap<String, EnvValue>;

/// Default of `SIDELINE_WINDOW`.
pub(crate) const DEFAULT_WINDOW: usize = 4;
/// Default of `SIDELINE_START_S`.
pub(crate) const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(60);
/// Default of `SIDELINE_STALL_S`.
pub(crate) const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Default of `SIDELINE_STALL_S` in a flow over several hosts: a link that recovers within this time loses no message.
const MULTI_HOST_STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Runtime settings of a flow, from its own `env:` and the command line.
#[derive(Clone, Debug)]
pub(crate) struct FlowSettings {
    pub mode: Option<Mode>,
    pub window: usize,
    pub stall_timeout: Duration,
    pub start_timeout: Duration,
    pub device: Device,
    pub run_dir: Option<PathBuf>,
    pub on_error: Option<OnError>,
}

/// Settings of one operator.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    pub values: Values,
    pub on_error: Option<OnError>,
    pub stride: u64,
}

/// Converts a value of an `env:` to JSON. dora parses the texts `nan` and `infinity` as numbers, which JSON lacks; they
/// become text.
fn to_json(value: &EnvValue) -> Value {
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
    diagnostics: &mut Vec<Diagnostic>,
) -> FlowSettings {
    let mut settings = FlowSettings {
        mode: None,
        window: DEFAULT_WINDOW,
        stall_timeout: if spans_hosts(files) { MULTI_HOST_STALL_TIMEOUT } else { DEFAULT_STALL_TIMEOUT },
        start_timeout: DEFAULT_START_TIMEOUT,
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
            "SIDELINE_STALL_S" => parse_seconds(value, &mut settings.stall_timeout),
            "SIDELINE_START_S" => parse_seconds(value, &mut settings.start_timeout),
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
                settings.on_error.is_none().then(|| on_error_problem(value))
            }
            _ if NODE_KEYS.contains(&key.as_str()) => Some("belongs in the `env:` of a node".into()),
            _ => Some(format!("there is no such key{}", did_you_mean(key, FLOW_KEYS))),
        };
        if let Some(text) = problem {
            let place = files
                .flow
                .tree
                .key_at(&["env", key])
                .map_or_else(|| files.flow.whole_file(), |k| files.flow.place_of(k));
            diagnostics.push(Diagnostic::error(place, None, format!("key `{key}`: {text}")));
        }
    }
    settings.mode = overrides.mode.or(settings.mode);
    settings.device = overrides.device.unwrap_or(settings.device);
    settings
}

/// Returns true if the flow or any node has deployment settings.
fn spans_hosts(files: &Files) -> bool {
    let deployed = |node: &Yaml| node.get("deploy").is_some_and(|deploy| !deploy.map().is_empty());
    files.decls.values().any(|decl| deployed(decl.node())) || deployed(&files.flow.tree)
}

/// Parses a number of seconds into `target`, and returns the problem if the value is invalid.
fn parse_seconds(value: &EnvValue, target: &mut Duration) -> Option<String> {
    match parse::<f64>(value) {
        Some(seconds) if (0.1..=86_400.0).contains(&seconds) => {
            *target = Duration::from_secs_f64(seconds);
            None
        }
        _ => Some(format!("`{value}` is not a number of seconds from 0.1 to 86400")),
    }
}

fn on_error_problem(value: &impl std::fmt::Display) -> String {
    format!("`{value}` is none of skip, restart, stop")
}

/// Reader of the configuration of all operators in a flow.
pub(crate) struct SettingsReader<'a> {
    pub files: &'a Files,
    pub registry: &'a Registry,
    pub flow_env: &'a Env,
    pub overrides: &'a Overrides,
    /// All nodes of the flat graph.
    pub flat: &'a [Node],
    /// Keys of the flow and of module hosts, by place and name.
    pub inherited_keys: BTreeMap<(Place, String), InheritedKey>,
    /// Indices of the `--set` overrides that matched a node and a key.
    pub used_overrides: BTreeSet<usize>,
}

/// A key in the `env:` of the flow or of a module's host, which the operators below inherit.
pub(crate) struct InheritedKey {
    /// Id of the host; `None` for the flow.
    host: Option<String>,
    /// True if an operator has the key.
    is_used: bool,
    /// Keys of all operators that could inherit it.
    candidates: BTreeSet<&'static str>,
    /// New names of a renamed key, each with its operator.
    successors: BTreeSet<String>,
}

impl InheritedKey {
    /// Lists the new names of a renamed key.
    fn describe_successors(&self) -> String {
        self.successors.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

impl<'a> SettingsReader<'a> {
    /// Creates a reader for the operators of a flow.
    pub fn new(
        files: &'a Files,
        registry: &'a Registry,
        flow_env: &'a Env,
        overrides: &'a Overrides,
        flat: &'a [Node],
    ) -> Self {
        SettingsReader {
            files,
            registry,
            flow_env,
            overrides,
            flat,
            inherited_keys: BTreeMap::new(),
            used_overrides: BTreeSet::new(),
        }
    }

    /// Reads the settings of one operator and reports every problem with them.
    pub fn read_node(
        &mut self,
        node: &Node,
        decl: &NodeDecl,
        entry: &Entry,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> NodeSettings {
        let mut settings = NodeSettings { values: Values::new(), on_error: None, stride: 1 };
        let no_env = Env::new();
        let env = node.env.as_ref().unwrap_or(&no_env);
        let has_key = |name: &str| entry.keys().iter().any(|key| key.name == name);

        let config = env.get_key_value("CONFIG").map(|(k, v)| (k, v, self.is_inherited(node, decl, k)));
        let config = config.or_else(|| self.flow_env.get_key_value("CONFIG").map(|(k, v)| (k, v, true)));
        if let Some((_, value, inherited)) = config {
            self.read_config_files(decl, value, |key| inherited && !has_key(key), &mut settings.values, diagnostics);
        }

        for (key, value) in self.flow_env {
            let lower = key.to_lowercase();
            if key == "CONFIG" || key.starts_with("SIDELINE_") || is_foreign_variable(key) {
                continue;
            }
            let at = self.files.flow.tree.key_at(&["env", key]);
            let place = at.map_or_else(|| self.files.flow.whole_file(), |k| self.files.flow.place_of(k));
            self.record_inherited(place.clone(), key, None, entry, has_key(&lower));
            if has_key(&lower) {
                settings.values.set(lower, to_json(value), origin(&place));
            }
        }
        for (key, value) in env {
            self.read_node_key(node, decl, entry, (key, value), &mut settings, diagnostics);
        }
        self.apply_overrides(decl, entry, &mut settings, diagnostics);
        for key in entry.keys() {
            // Of two mutually exclusive keys, one on the command line takes precedence over one in a file.
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
                Origin::Default | Origin::Live => decl.place(),
            };
            let mut text = format!("key `{}`: {}", problem.key, problem.message);
            // For a key of another operator, the operators that have it help more than the nearest key name.
            let was_renamed = entry.keys().iter().any(|key| key.renaming_hint(&problem.key, None).is_some());
            if !has_key(&problem.key) && !was_renamed {
                let owns_key = |other: &&Entry| other.keys().iter().any(|key| key.name == problem.key);
                let names: Vec<String> =
                    self.registry.iter().filter(owns_key).map(|other| format!("`{}`", other.spec.name)).collect();
                if !names.is_empty() {
                    text = format!("key `{}`: there is no such key; it is a key of {}", problem.key, names.join(", "));
                }
            }
            diagnostics.push(Diagnostic::error(place, Some(&decl.id), text));
        }
        settings
    }

    /// Reads one key of a node's `env:`, its own or inherited from a host.
    fn read_node_key(
        &mut self,
        node: &Node,
        decl: &NodeDecl,
        entry: &Entry,
        (key, value): (&String, &EnvValue),
        settings: &mut NodeSettings,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let lower = key.to_lowercase();
        let has_key = entry.keys().iter().any(|candidate| candidate.name == lower);
        let inherited = self.is_inherited(node, decl, key);
        let (place, host) = env_key_place(decl, key);
        let mut error = |text: String| {
            diagnostics.push(Diagnostic::error(place.clone(), Some(&decl.id), format!("key `{key}`: {text}")));
        };
        if key == "CONFIG" || (is_foreign_variable(key) && !has_key) {
            return;
        }
        if key.starts_with("SIDELINE_") {
            match key.as_str() {
                // The setting of a module's host is meant for its operators, not for a source among them.
                "SIDELINE_ON_ERROR" | "SIDELINE_STRIDE" if entry.spec.is_source && inherited => {}
                "SIDELINE_ON_ERROR" => match parse(value) {
                    Some(OnError::Restart) if entry.spec.is_source => error(NO_SOURCE_RESTART.into()),
                    Some(on_error) => settings.on_error = Some(on_error),
                    None => error(on_error_problem(value)),
                },
                "SIDELINE_STRIDE" if entry.spec.is_source => error(NO_SOURCE_STRIDE.into()),
                "SIDELINE_STRIDE" => match parse(value) {
                    Some(stride @ 1..) => settings.stride = stride,
                    _ => error(format!("`{value}` is not a number of frames from 1")),
                },
                "SIDELINE_RUN_DIR" if !inherited && decl.is_fused() => {
                    error("one process runs the whole module: the key belongs in the `env:` of the host node".into());
                }
                "SIDELINE_RUN_DIR" => {}
                other if FLOW_KEYS.contains(&other) => error("belongs in the `env:` of the flow".into()),
                other => error(format!("there is no such key{}", did_you_mean(other, NODE_KEYS))),
            }
            return;
        }
        if inherited {
            let host = host.or_else(|| decl.id.rsplit_once('.').map(|(host, _)| host.to_owned()));
            self.record_inherited(place.clone(), key, host, entry, has_key);
            if !has_key {
                return;
            }
        } else if *key != key.to_uppercase() {
            return error(format!("keys of an `env:` are written in upper case: `{}`", key.to_uppercase()));
        } else if let Some(host) = decl.host.as_deref()
            && let (host_place, Some(id)) = env_key_place(host, key)
        {
            // The node's own value takes precedence over the host's, but the key of the host counts as used.
            self.record_inherited(host_place, key, Some(id), entry, has_key);
        }
        if RESERVED_VARIABLES.contains(&key.as_str()) {
            return error(
                "every process already has this variable: set the key in a file named by CONFIG, or with --set".into(),
            );
        }
        let kind = entry.keys().iter().find(|candidate| candidate.name == lower).map(|key| key.kind.non_optional());
        if matches!(kind, Some(Kind::Text | Kind::Path))
            && let Some(text) = misread_text_problem(decl, key, value)
        {
            diagnostics.push(Diagnostic::warning(place.clone(), Some(&decl.id), text));
        }
        settings.values.set(lower, to_json(value), origin(&place));
    }

    /// Returns true for a key that the operator inherits from its host, not from its own `env:`.
    fn is_inherited(&self, node: &Node, decl: &NodeDecl, key: &str) -> bool {
        if self.files.flow.has_lines() || decl.host.is_some() {
            return decl.node().key_at(&["env", key]).is_none();
        }
        // A descriptor from dora does not say which node set a key, but a key of the host is in all nodes of the
        // module.
        let id = node.id.to_string();
        let Some((host, _)) = id.rsplit_once('.') else { return false };
        let is_sibling = |other: &&Node| other.id.to_string().rsplit_once('.').is_some_and(|(h, _)| h == host);
        self.flat.iter().filter(is_sibling).all(|other| other.env.as_ref().is_some_and(|env| env.contains_key(key)))
    }

    /// Records that an operator could inherit a key, and whether it does.
    fn record_inherited(&mut self, place: Place, key: &str, host: Option<String>, entry: &Entry, is_used: bool) {
        let inherited = self.inherited_keys.entry((place, key.to_owned())).or_insert_with(|| InheritedKey {
            host,
            is_used: false,
            candidates: BTreeSet::new(),
            successors: BTreeSet::new(),
        });
        inherited.is_used |= is_used;
        inherited.candidates.extend(entry.keys().iter().map(|key| key.name));
        let lower = key.to_lowercase();
        let successors = entry.keys().iter().filter_map(|key| key.renaming_hint(&lower, None));
        inherited.successors.extend(successors.map(|successor| format!("`{}`: {successor}", entry.spec.name)));
    }

    /// Reports inherited keys and `--set` overrides that no operator has.
    pub fn check_unused(&self, diagnostics: &mut Vec<Diagnostic>) {
        for ((place, key), inherited) in self.inherited_keys.iter().filter(|(_, inherited)| !inherited.is_used) {
            let lower = key.to_lowercase();
            if let Some(host) = &inherited.host {
                let near = match inherited.successors.is_empty() {
                    true => did_you_mean(&lower, inherited.candidates.iter().copied()),
                    false => format!(" any more; {}", inherited.describe_successors()),
                };
                let text = format!("key `{key}`: no operator of the module has such a key{near}");
                diagnostics.push(Diagnostic::error(place.clone(), Some(host), text));
            } else if !inherited.successors.is_empty() {
                let text = format!(
                    "key `{key}`: no operator of the flow has such a key any more; {}",
                    inherited.describe_successors()
                );
                diagnostics.push(Diagnostic::warning(place.clone(), None, text));
            } else if let Some(near) = nearest(&lower, inherited.candidates.iter().copied()) {
                // The flow's `env:` may hold variables for any program, so only a likely misspelling is reported.
                let text = format!(
                    "key `{key}`: no operator of the flow has such a key; did you mean `{}`?",
                    near.to_uppercase()
                );
                diagnostics.push(Diagnostic::warning(place.clone(), None, text));
            }
        }
        for (i, (node, key, _)) in self.overrides.set.iter().enumerate() {
            if self.used_overrides.contains(&i) {
                continue;
            }
            let ids = || self.files.decls.keys().map(String::as_str);
            let text = match self.files.decls.get(node) {
                None => format!(
                    "--set {node}.{key}: there is no node `{node}`{}",
                    did_you_mean(node, ids().collect::<Vec<_>>())
                ),
                Some(decl) if matches!(decl.kind, NodeKind::Foreign) => {
                    format!("--set {node}.{key}: node `{node}` is not a Sideline node")
                }
                Some(_) => {
                    let lower = key.to_lowercase();
                    let successors = self.registry.iter().flat_map(|entry| {
                        let hint = |key: &Key| key.renaming_hint(&lower, None);
                        entry
                            .keys()
                            .iter()
                            .filter_map(hint)
                            .map(|successor| format!("; `{}`: {successor}", entry.spec.name))
                    });
                    format!(
                        "--set {node}.{key}: no operator of the module has such a key{}",
                        successors.collect::<String>()
                    )
                }
            };
            diagnostics.push(Diagnostic::error(Place::default(), None, text));
        }
    }

    /// Applies `--set node.key=value` to an operator. The id of a module stands for all its operators that have the
    /// key.
    fn apply_overrides(
        &mut self,
        decl: &NodeDecl,
        entry: &Entry,
        settings: &mut NodeSettings,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        for (i, (node, key, value)) in self.overrides.set.iter().enumerate() {
            let lower = key.to_lowercase();
            let is_own = *node == decl.id;
            let is_of_host = decl.id.strip_prefix(node.as_str()).is_some_and(|rest| rest.starts_with('.'));
            let applies = is_own || (is_of_host && entry.keys().iter().any(|key| key.name == lower));
            if !applies {
                continue;
            }
            self.used_overrides.insert(i);
            let problem = match lower.as_str() {
                "sideline_stride" if entry.spec.is_source => is_own.then(|| NO_SOURCE_STRIDE.to_owned()),
                "sideline_stride" => match value.as_u64().filter(|n| *n > 0) {
                    Some(stride) => {
                        settings.stride = stride;
                        None
                    }
                    None => Some(format!("`{value}` is not a number of frames from 1")),
                },
                "sideline_on_error" => match serde_json::from_value(value.clone()) {
                    Ok(OnError::Restart) if entry.spec.is_source => is_own.then(|| NO_SOURCE_RESTART.to_owned()),
                    Ok(on_error) => {
                        settings.on_error = Some(on_error);
                        None
                    }
                    Err(_) => Some(on_error_problem(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))),
                },
                _ => {
                    settings.values.set(lower.clone(), value.clone(), Origin::CommandLine);
                    None
                }
            };
            if let Some(text) = problem {
                let text = format!("key `{key}`: {text}");
                diagnostics.push(Diagnostic::error(Place::default(), Some(&decl.id), text));
            }
        }
    }

    /// Reads the files named by `CONFIG`: one path, or a list `[a.yml, b.yml]` in which later files take precedence.
    fn read_config_files(
        &self,
        decl: &NodeDecl,
        value: &EnvValue,
        skip: impl Fn(&str) -> bool,
        values: &mut Values,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let text = value.to_string();
        let paths = yaml::from_str::<Vec<PathBuf>>(&text).unwrap_or_else(|_| vec![text.into()]);
        let (place, _) = env_key_place(decl, "CONFIG");
        for path in paths {
            let folders = self.overrides.search_path(&decl.file.folder, &self.files.root);
            let read = sideline_api::find_file(&path, &folders)
                .map_err(|e| Diagnostic::error(place.clone(), Some(&decl.id), format!("key `CONFIG`: {}", e.message)))
                .and_then(|path| read_map(&path));
            match read {
                Ok((file, map)) => {
                    let pairs: HashMap<&str, &(Yaml, Yaml)> =
                        file.tree.map().iter().filter_map(|pair| Some((pair.0.scalar()?, pair))).collect();
                    for (key, value) in map.into_iter().filter(|(key, _)| !skip(key)) {
                        let pair = pairs.get(&*key);
                        let place = pair.map_or_else(|| file.whole_file(), |(key, _)| file.place_of(key));
                        let text = pair.and_then(|(_, text)| text.scalar()).unwrap_or_default();
                        // A number whose text would change, such as the name 1.10, stays text. A numeric key parses it.
                        let number = value.is_number().then(|| value.to_string());
                        let keeps_text = number.is_none_or(|number| number == text);
                        values.set(key, if keeps_text { value } else { text.into() }, origin(&place));
                    }
                }
                Err(e) => diagnostics.push(e),
            }
        }
    }
}

/// Reads a YAML file of keys and values.
fn read_map(path: &Path) -> Result<(File, serde_json::Map<String, Value>), Diagnostic> {
    let (file, text) = File::read(path)?;
    match yaml::json(&text) {
        Ok(Value::Object(map)) => Ok((file, map)),
        Ok(Value::Null) => Ok((file, serde_json::Map::new())),
        Ok(_) => {
            Err(Diagnostic::error(file.whole_file(), None, "a file named by CONFIG must consist of `key: value` lines"))
        }
        Err(error) => Err(Diagnostic::error(file.place_at(error.line, error.column), None, error.message)),
    }
}

fn is_foreign_variable(key: &str) -> bool {
    FOREIGN_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

fn origin(place: &Place) -> Origin {
    match &place.file {
        Some(path) => Origin::File { path: path.clone(), line: place.line, column: place.column },
        None => Origin::CommandLine,
    }
}

/// Returns a warning if dora parses a text in an operator's own `env:` as a number with another text, such as `007` as
/// `7`.
fn misread_text_problem(decl: &NodeDecl, key: &str, value: &EnvValue) -> Option<String> {
    let text = decl.node().get("env")?.text(key)?;
    let is_unchanged = !decl.file.has_lines() || text.contains('$') || *text == value.to_string();
    (!is_unchanged).then(|| {
        format!(
            "key `{key}`: dora parses the text `{text}` as `{value}`: set it in a file named by CONFIG, or with --set"
        )
    })
}

/// Returns the place of a key in the `env:` of an operator, else of the nearest host that has it, with the id of that
/// node.
fn env_key_place(decl: &NodeDecl, key: &str) -> (Place, Option<String>) {
    let mut current = Some(decl);
    while let Some(decl) = current {
        if let Some(found) = decl.node().key_at(&["env", key]) {
            return (decl.file.place_of(found), Some(decl.id.clone()));
        }
        current = decl.host.as_deref();
    }
    (decl.place(), None)
}
