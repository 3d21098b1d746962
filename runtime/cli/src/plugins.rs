//! Plugins: operators in shared libraries, found by the paths in a flow, in `SIDELINE_PLUGINS` and in Sideline home.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use sideline_api::{Error, OperatorFactory, Registry, Result, Values};
use sideline_graph::Flow;
use sideline_plugin::load;
use sideline_system::owner;

use crate::{args::Run, home};

/// Environment variable with folders of plugins.
const FOLDERS: &str = "SIDELINE_PLUGINS";
/// Folder of plugins in Sideline home.
const HOME_FOLDER: &str = "plugins";

/// Returns the registry with the operator `replay`, which replays the tables of all other operators in it.
pub fn with_replay(registry: Registry) -> Registry {
    let tables = registry.table_types();
    registry.with_replaced(sideline_replay::replay(tables))
}

/// Returns the registry with the plugins of `SIDELINE_PLUGINS` and of the folder `plugins` in Sideline home, by the names of
/// their operators. None of them is loaded. The home is that of the file or folder `beside`, as for models.
///
/// A plugin that cannot be described, or whose name is taken, is named in a warning; its operator is unavailable, which is an
/// error only where a flow names it.
///
/// # Errors
/// When a folder of `SIDELINE_PLUGINS` cannot be read.
pub fn with_installed(registry: &Registry, beside: &Path) -> Result<Registry> {
    let mut registry = registry.clone();
    let mut damaged = vec![];
    for library in installed(beside)? {
        let described = load::factory(&library).and_then(|factory| {
            let name = factory.spec(&Values::new())?.name.to_owned();
            Ok((name, factory))
        });
        match described {
            Ok((name, factory)) => {
                let factory = match registry.get(&name) {
                    Ok(first) => Err(twice(&name, first.library(), &library)),
                    Err(_) => Ok(factory),
                };
                registry = with_library(registry, &library, &name, factory);
            }
            Err(error) => damaged.push((library, error)),
        }
    }
    for (library, error) in damaged {
        let name = load::presumed_name(&library);
        match registry.has(&name) {
            // The name is a guess, which does not replace an operator.
            true => warn_of(&library, &error),
            false => registry = with_library(registry, &library, &name, Err(error)),
        }
    }
    Ok(with_replay(registry))
}

fn twice(name: &str, first: Option<&Path>, second: &Path) -> Error {
    let first = first.map_or_else(|| "the program".to_owned(), |path| path.display().to_string());
    Error::config(format!(
        "there are two operators `{name}`, in {first} and in {}: rename or remove one of them",
        second.display()
    ))
}

/// Adds an installed library; warns if its operator is unavailable.
fn with_library(registry: Registry, library: &Path, name: &str, factory: Result<Arc<dyn OperatorFactory>>) -> Registry {
    let registry = registry.with_name(name, factory);
    if let Err(error) = registry.get(name) {
        warn_of(library, &error);
    }
    registry
}

fn warn_of(library: &Path, error: &Error) {
    tracing::warn!("plugin {} cannot be used: {error}", library.display());
}

/// Returns each installed library once, even if several links or folders lead to it.
fn installed(beside: &Path) -> Result<Vec<PathBuf>> {
    let mut libraries = vec![];
    if let Some(folders) = std::env::var_os(FOLDERS) {
        for folder in std::env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty()) {
            libraries.extend(load::libraries_in(&folder).map_err(|error| error.at(FOLDERS))?);
        }
    }
    libraries.extend(home::find(beside).map(|home| libraries_of_home(&home)).unwrap_or_default());
    let mut known = BTreeSet::new();
    libraries.retain(|library| known.insert(library.canonicalize().unwrap_or_else(|_| library.clone())));
    Ok(libraries)
}

/// Returns the libraries in the folder `plugins` of a home. A home that was named is trusted; in one that was found, no other
/// user may be able to write to a library, its description, or the targets of links.
fn libraries_of_home(home: &Path) -> Vec<PathBuf> {
    let folder = home.join(HOME_FOLDER);
    if !folder.is_dir() {
        return vec![];
    }
    let mut libraries = load::libraries_in(&folder).unwrap_or_else(|error| {
        tracing::warn!("the plugins of Sideline home are not used: {error}");
        vec![]
    });
    if home::named().is_none() {
        libraries.retain(|library| {
            let description = load::description_of(library);
            let untrusted = [library, &description].into_iter().find_map(|file| first_untrusted(home, file));
            if let Some(untrusted) = &untrusted {
                tracing::warn!(
                    "plugin {} is not used: other users than you and root can write to {}; if you trust it, set \
                     SIDELINE_HOME to {}",
                    library.display(),
                    untrusted.display(),
                    home.display()
                );
            }
            untrusted.is_none()
        });
    }
    libraries
}

/// Returns the first path that other users can change, of those from a home down to a file in it and, if that is a link, down to
/// the file that it leads to. A file that does not exist is trusted as its folder is.
fn first_untrusted(home: &Path, file: &Path) -> Option<PathBuf> {
    let below = |root: &Path, path: &Path| {
        let below = path.strip_prefix(root).ok()?;
        let below = if path.exists() { below } else { below.parent()? };
        owner::first_untrusted(root, below)
    };
    below(home, file).or_else(|| {
        let (home, target) = (home.canonicalize().ok()?, file.canonicalize().ok()?);
        if target.starts_with(&home) { below(&home, &target) } else { below(Path::new("/"), &target) }
    })
}

/// Returns the registry with the plugins that a flow names by their paths, which are relative to the folder of the flow. One
/// that cannot be described is unavailable, and reported at the place where the flow names it.
pub fn with_flow(registry: &Registry, flow: &Path) -> Registry {
    let folder = flow.parent().unwrap_or(Path::new(""));
    with_libraries(registry, Flow::operator_names(flow, registry), folder)
}

/// Returns the registry with the installed plugins and those of the flow of a run.
///
/// # Errors
/// As for [`with_installed`].
pub fn with_plugins_of(options: &Run, registry: &Registry) -> Result<Registry> {
    let flow = Path::new(&options.target);
    let registry = with_installed(registry, flow)?;
    Ok(match &options.text {
        Some(text) => {
            let names = Flow::operator_names_in_text(text, flow, &registry);
            with_libraries(&registry, names, flow.parent().unwrap_or(Path::new("")))
        }
        None => with_flow(&registry, flow),
    })
}

/// Returns the registry with the libraries among the names of operators in a flow.
pub fn with_libraries(registry: &Registry, names: Vec<String>, folder: &Path) -> Registry {
    let libraries = names.into_iter().filter(|name| load::is_library(name) && !registry.has(name));
    let registry = libraries
        .fold(registry.clone(), |registry, name| registry.with_name(&name, load::factory(&folder.join(&name))));
    with_replay(registry)
}

/// Returns the factory of an operator by its name in the registry, or by the path of a library.
///
/// # Errors
/// When there is no such operator, or the library cannot be described.
pub fn find(target: &str, registry: &Registry) -> Result<Arc<dyn OperatorFactory>> {
    if load::is_library(target) {
        load::factory(Path::new(target))
    } else {
        registry.get(target).map(|entry| entry.factory())
    }
}

/// Runs `sideline describe`: loads a library and writes the description beside it; returns the exit code.
///
/// # Errors
/// When the library is no plugin for this program, or the file cannot be written.
pub fn describe(library: &Path, json: bool) -> Result<u8> {
    if !library.to_str().is_some_and(load::is_library) {
        return Err(Error::config(format!("{}: a library ends in .so, .dylib or .dll", library.display())));
    }
    let (file, description) = load::describe(library)?;
    if json {
        crate::commands::print_json(&description)?;
    } else {
        outln!("{}: operator `{}`, described in {}", library.display(), description.name, file.display());
    }
    Ok(0)
}
