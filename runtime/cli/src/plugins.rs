//! Plugins: operators in shared libraries, found by the paths in a flow, in `SIDELINE_PLUGINS` and in Sideline home.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sideline_api::{Error, OperatorFactory, Registry, Result};
use sideline_graph::Flow;
use sideline_plugin::load;
use sideline_system::owner;

use crate::home;

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
/// their operators. None of them is loaded.
///
/// # Errors
/// When a folder or a plugin in it cannot be read, or two operators have one name.
pub fn with_installed(registry: &Registry) -> Result<Registry> {
    let mut registry = registry.clone();
    for library in installed()? {
        registry = registry.with_shared(load::factory(&library)?);
    }
    registry.check()?;
    Ok(with_replay(registry))
}

/// Returns the installed libraries.
fn installed() -> Result<Vec<PathBuf>> {
    let mut libraries = vec![];
    if let Some(folders) = std::env::var_os(FOLDERS) {
        for folder in std::env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty()) {
            libraries.extend(load::libraries_in(&folder).map_err(|error| error.at(FOLDERS))?);
        }
    }
    let Some(home) = home::find(Path::new(".")) else { return Ok(libraries) };
    let folder = home.join(HOME_FOLDER);
    if !folder.is_dir() {
        return Ok(libraries);
    }
    for library in load::libraries_in(&folder)? {
        let path = Path::new(HOME_FOLDER).join(library.file_name().unwrap_or_default());
        // A home that was named is trusted, one that was found must be of this user alone.
        if std::env::var_os("SIDELINE_HOME").is_none()
            && let Some(untrusted) = owner::first_untrusted(&home, &path)
        {
            tracing::warn!(
                "plugin {} is not used: other users than you and root can write to {}; if you trust it, set SIDELINE_HOME to {}",
                library.display(),
                untrusted.display(),
                home.display()
            );
            continue;
        }
        libraries.push(library);
    }
    Ok(libraries)
}

/// Returns the registry with the plugins that a flow names by their paths, which are relative to the folder of the flow. One
/// that cannot be described is unavailable, and reported at the place where the flow names it.
pub fn with_flow(registry: &Registry, flow: &Path) -> Registry {
    let folder = flow.parent().unwrap_or(Path::new(""));
    with_libraries(registry, Flow::operator_names(flow, registry), folder)
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
