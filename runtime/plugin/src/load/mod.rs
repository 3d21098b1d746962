//! Loader of plugins: reads the description beside a library, and loads the library when an operator is made.

mod host;
mod operator;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use serde_json::Value;
use sideline_abi as abi;
use sideline_api::{
    Error, Failure, Instance, OperatorFactory, OrFail, Resources, Result, Spec, Values,
    config::{Key, Origin, Problem, check_values, resolve_values},
};

use crate::{Description, description_file};
pub(crate) use host::host_without_context;
use host::{Environment, Sink};
use operator::PluginOperator;

/// Name extensions of libraries by which a flow names a plugin.
const EXTENSIONS: [&str; 3] = ["so", "dylib", "dll"];
/// Maximum size of a description, bytes.
const MAX_DESCRIPTION: u64 = 1 << 20;

/// Returns true if a name in a flow is the path of a library.
pub fn is_library(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
}

/// Factory of the operator in a library.
///
/// All but [`PluginFactory::make`](OperatorFactory::make) works with the description beside the library and executes none of
/// its code.
pub struct PluginFactory {
    library: PathBuf,
    text: String,
    description: Description,
    spec: Spec,
    keys: Vec<Key>,
    plugin: OnceLock<Result<abi::Plugin>>,
}

impl PluginFactory {
    /// Reads the description beside a library. The library itself is not loaded.
    ///
    /// # Errors
    /// When a file is missing, the description is damaged, or the plugin was built for another interface, target or panic
    /// strategy.
    pub fn read(library: &Path) -> Result<Self> {
        let place = |error: Error| error.at(library.display());
        if !library.is_file() {
            return Err(place(Error::config("there is no such library")));
        }
        let file = description_of(library);
        let text = match std::fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_DESCRIPTION => {
                std::fs::read_to_string(&file).or_fail(Failure::Config, || file.display().to_string())?
            }
            Ok(_) => return Err(Error::config(format!("{}: this is no description of a plugin", file.display()))),
            Err(_) => {
                return Err(place(Error::config(format!(
                    "the description of the plugin is missing: write {} with `sideline describe {}`, which loads the \
                     library",
                    file.display(),
                    library.display()
                ))));
            }
        };
        Self::new(library, text).map_err(place)
    }

    /// Loads a library and creates its factory by the description in it.
    ///
    /// # Errors
    /// As for [`PluginFactory::read`], or when the library cannot be loaded.
    pub fn load(library: &Path) -> Result<Self> {
        let plugin = load(library).map_err(|error| error.at(library.display()))?;
        let text = described(&plugin).map_err(|error| error.at(library.display()))?.to_owned();
        let factory = Self::new(library, text).map_err(|error| error.at(library.display()))?;
        check_live_keys(&plugin, &factory.keys).map_err(|error| error.at(library.display()))?;
        Ok(factory)
    }

    fn new(library: &Path, text: String) -> Result<Self> {
        let description = Description::parse(&text)?;
        let (spec, keys) = (description.spec()?, description.keys());
        Ok(Self { library: library.into(), text, description, spec, keys, plugin: OnceLock::new() })
    }

    /// Creates the factory of an operator of this program that is called through the interface as if it were in a library: for
    /// measurements of the border.
    ///
    /// # Errors
    /// When the operator cannot be described.
    pub fn linked<O: sideline_api::Operator>(export: &'static crate::Export) -> Result<Self> {
        // SAFETY: the plugin is null, or lives in `export`.
        let plugin = unsafe { export.get::<O>().as_ref() };
        let plugin = plugin.ok_or_else(|| Error::other("the operator cannot be described"))?;
        let factory = Self::new(Path::new("linked"), described(plugin)?.to_owned())?;
        factory.plugin.get_or_init(|| Ok(*plugin));
        Ok(factory)
    }

    /// Returns the description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Returns the plugin, loaded at the first call.
    fn plugin(&self) -> Result<&abi::Plugin> {
        let plugin = self.plugin.get_or_init(|| {
            let plugin = load(&self.library)?;
            let text = described(&plugin)?;
            if text.trim() != self.text.trim() {
                let reason = match Description::parse(text) {
                    Ok(own) if own.name != self.description.name => {
                        format!(
                            "is that of `{}`, and the library has the operator `{}`",
                            self.description.name, own.name
                        )
                    }
                    _ => "is not that of the library, which was built since".to_owned(),
                };
                return Err(Error::config(format!(
                    "the description beside the library {reason}; write it with `sideline describe {}`",
                    self.library.display()
                )));
            }
            check_live_keys(&plugin, &self.keys)?;
            Ok(plugin)
        });
        plugin.as_ref().map_err(|error| error.clone().at(self.library.display()))
    }
}

/// Loads a library and writes the description beside it; returns the path of the file and the description.
///
/// # Errors
/// When the library is no plugin for this build, or the file cannot be written.
pub fn describe(library: &Path) -> Result<(PathBuf, Description)> {
    let factory = PluginFactory::load(library)?;
    let file = description_file(library);
    let is_current = std::fs::read_to_string(&file).is_ok_and(|text| text == factory.text);
    if !is_current {
        std::fs::write(&file, &factory.text).or_fail(Failure::Output, || file.display().to_string())?;
    }
    Ok((file, factory.description))
}

/// Loads a library and returns a copy of its plugin. A library is never unloaded: threads and data of it may outlive its use.
fn load(library: &Path) -> Result<abi::Plugin> {
    // A name without a folder would be searched for in the folders of the system.
    let path = std::path::absolute(library).or_fail(Failure::Config, || "its path")?;
    // SAFETY: the code of the library is trusted, since the user has named it to be run. It stays loaded.
    let loaded = unsafe { libloading::Library::new(&path) }
        .map_err(|cause| Error::config(format!("this library cannot be loaded: {cause}")))?;
    let loaded = std::mem::ManuallyDrop::new(loaded);
    // SAFETY: the type of the function with this name is part of the interface.
    let entry = unsafe { loaded.get::<abi::EntryPoint>(abi::SYMBOL) }
        .map_err(|_| Error::config(format!("this library is no plugin: it exports no function `{}`", abi::SYMBOL)))?;
    // SAFETY: as above.
    let plugin = unsafe { entry() };
    if plugin.is_null() || !plugin.is_aligned() {
        return Err(Error::config(format!("this library is no plugin: `{}` returns nothing", abi::SYMBOL)));
    }
    // SAFETY: every version of the interface has the first four members.
    let (size, magic, major) = unsafe { ((*plugin).size, (*plugin).magic, (*plugin).abi_major) };
    if magic != abi::MAGIC || size < std::mem::offset_of!(abi::Plugin, check) {
        return Err(Error::config(format!("this library is no plugin: `{}` returns something else", abi::SYMBOL)));
    }
    if major != abi::ABI_MAJOR {
        let ours = abi::ABI_MAJOR;
        return Err(Error::config(format!(
            "the plugin is built for version {major} of the plugin interface, this is version {ours}; build it again with \
             the crates of this version"
        )));
    }
    let mut copy = abi::Plugin {
        size: 0,
        magic: 0,
        abi_major: 0,
        abi_minor: 0,
        description: abi::Text::new(""),
        check: None,
        make: None,
        process: None,
        stream_ended: None,
        snapshot: None,
        roll_back: None,
        save: None,
        load: None,
        reconfigure: None,
        close: None,
        drop: None,
    };
    // SAFETY: a plugin has `size` bytes; members that an older one lacks stay absent. Addresses of functions are valid or null.
    unsafe {
        std::ptr::copy_nonoverlapping(
            plugin.cast::<u8>(),
            (&raw mut copy).cast::<u8>(),
            size.min(size_of::<abi::Plugin>()),
        );
    }
    check_functions(&copy)?;
    Ok(copy)
}

/// Checks that a plugin has the functions that it needs, and those that belong together.
///
/// # Errors
/// When one is missing, with its name.
fn check_functions(plugin: &abi::Plugin) -> Result<()> {
    let has = [
        ("make", plugin.make.is_some()),
        ("process", plugin.process.is_some()),
        ("drop", plugin.drop.is_some()),
        ("save", plugin.save.is_some()),
        ("load", plugin.load.is_some()),
        ("snapshot", plugin.snapshot.is_some()),
        ("roll_back", plugin.roll_back.is_some()),
    ];
    let has = |name: &str| has.iter().any(|(known, is_there)| *known == name && *is_there);
    if let Some(missing) = ["make", "process", "drop"].into_iter().find(|name| !has(name)) {
        return Err(Error::config(format!("the plugin has no function `{missing}`, which every operator needs")));
    }
    for (function, partner, reason) in [
        ("save", "load", "a state that is saved has to be read again"),
        ("load", "save", "a state that is read has to be saved before"),
        ("snapshot", "roll_back", "a copy of a state is made to return to it"),
        ("roll_back", "snapshot", "there is no copy to return to"),
        ("snapshot", "save", "an operator with a state has to save it"),
    ] {
        if has(function) && !has(partner) {
            return Err(Error::config(format!("the plugin has a function `{function}` and no `{partner}`: {reason}")));
        }
    }
    Ok(())
}

/// Checks that a plugin can apply its live keys.
///
/// # Errors
/// When it cannot, with the name of a key.
fn check_live_keys(plugin: &abi::Plugin, keys: &[Key]) -> Result<()> {
    match keys.iter().find(|key| key.live) {
        Some(key) if plugin.reconfigure.is_none() => {
            Err(Error::config(format!("the key `{}` is live, and the plugin has no function `reconfigure`", key.name)))
        }
        _ => Ok(()),
    }
}

/// Returns the description in a plugin.
fn described(plugin: &abi::Plugin) -> Result<&str> {
    // SAFETY: the description lives as long as the process.
    let bytes = unsafe { plugin.description.bytes() };
    std::str::from_utf8(bytes).map_err(|_| Error::config("the description in the library is not UTF-8"))
}

impl OperatorFactory for PluginFactory {
    fn spec(&self, _: &Values) -> Result<Spec> {
        Ok(self.spec.clone())
    }
    fn about(&self) -> &str {
        &self.description.about
    }
    fn keys(&self) -> &[Key] {
        &self.keys
    }
    fn check(&self, values: &Values) -> Vec<Problem> {
        check_values(values, &self.keys)
    }
    fn resolve(&self, values: &Values) -> Vec<(String, Value)> {
        resolve_values(values, &self.keys)
    }
    fn models(&self, _: &Values) -> Vec<String> {
        self.description.models.clone()
    }
    fn finite(&self, _: &Values) -> bool {
        true
    }
    fn library(&self) -> Option<&Path> {
        Some(&self.library)
    }
    fn make(&self, values: &Values, resources: &Resources) -> Result<Instance> {
        let node = |error: Error| error.at(format!("node `{}`", resources.node));
        let problems = self.check(values);
        if !problems.is_empty() {
            return Err(join(&problems, &resources.node));
        }
        let plugin = self.plugin().map_err(node)?;
        let resolved = self.resolve(values);
        let problems = self.plugin_problems(plugin, values, &resolved).map_err(node)?;
        if !problems.is_empty() {
            return Err(join(&problems, &resources.node));
        }
        let environment = Environment::new(resources, resolved);
        let operator = PluginOperator::make(plugin, &self.description, &self.spec, environment).map_err(node)?;
        Ok(Instance::Operator(Box::new(operator)))
    }
}

fn join(problems: &[impl std::fmt::Display], node: &str) -> Error {
    let lines: Vec<String> = problems.iter().map(|problem| format!("node `{node}`: {problem}")).collect();
    Error::config(lines.join("\n"))
}

impl PluginFactory {
    /// Returns the problems that the plugin finds in a configuration. A line that does not begin with a key is a problem, too.
    fn plugin_problems(
        &self,
        plugin: &abi::Plugin,
        values: &Values,
        resolved: &[(String, Value)],
    ) -> Result<Vec<String>> {
        let Some(check) = plugin.check else { return Ok(vec![]) };
        let (host, json) = (host_without_context(), to_json(resolved));
        let (mut sink, mut lines) = (Sink::default(), Vec::<u8>::new());
        // SAFETY: the arguments are valid during the call.
        let code = unsafe { check(&host, abi::Text::new(&json), (&raw mut lines).cast(), sink.as_ptr()) };
        sink.result(code)?;
        let lines = String::from_utf8_lossy(&lines);
        let problems = lines.lines().filter(|line| !line.trim().is_empty()).map(|line| {
            let of_key = line.split_once(": ").filter(|(key, _)| self.keys.iter().any(|known| known.name == *key));
            let Some((key, message)) = of_key else { return line.trim().to_owned() };
            let origin = values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
            Problem { key: key.into(), origin, message: message.into() }.to_string()
        });
        Ok(problems.collect())
    }
}

fn to_json(values: &[(String, Value)]) -> String {
    let pairs: serde_json::Map<String, Value> = values.iter().cloned().collect();
    Value::Object(pairs).to_string()
}

/// Returns the libraries in a folder, including links to libraries, ordered by name. A description without a library is ignored.
///
/// # Errors
/// When the folder cannot be read.
pub fn libraries_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).or_fail(Failure::Config, || folder.display().to_string())?;
    let mut libraries = vec![];
    for entry in entries {
        let path = entry.or_fail(Failure::Config, || folder.display().to_string())?.path();
        // A link that leads nowhere is one that cannot be used, and is named.
        if path.to_str().is_some_and(is_library) && (path.is_file() || path.is_symlink()) {
            libraries.push(path);
        }
    }
    libraries.sort();
    Ok(libraries)
}

/// Returns the path from which the description of a library is read: beside the library, or, if that is a link without one, beside
/// the file that it leads to.
pub fn description_of(library: &Path) -> PathBuf {
    let beside = description_file(library);
    match library.canonicalize().map(|target| description_file(&target)) {
        Ok(of_target) if !beside.exists() && of_target.exists() => of_target,
        _ => beside,
    }
}

/// Returns the name of the operator in a library that cannot be used: from its description, else from the name of the file.
pub fn presumed_name(library: &Path) -> String {
    let named = std::fs::read_to_string(description_of(library)).ok().and_then(|text| {
        let description: Value = serde_json::from_str(&text).ok()?;
        description["name"].as_str().map(str::to_owned)
    });
    named.unwrap_or_else(|| {
        let stem = library.file_stem().unwrap_or_default().to_string_lossy();
        stem.strip_prefix(std::env::consts::DLL_PREFIX).unwrap_or(&stem).to_owned()
    })
}

/// Returns the factory of a library for a registry.
///
/// # Errors
/// As for [`PluginFactory::read`].
pub fn factory(library: &Path) -> Result<Arc<dyn OperatorFactory>> {
    Ok(Arc::new(PluginFactory::read(library)?))
}
