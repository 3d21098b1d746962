//! Environment of ONNX Runtime: finds and loads its library, with telemetry disabled.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, Once, OnceLock, PoisonError},
};

use ort::environment::Environment;
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_system::owner::{self, TrustedAncestors};

/// Version of the PyPI package `onnxruntime` in models/requirements.txt; 1.24 to 1.31 work.
pub const RUNTIME_VERSION: &str = "1.29.0";

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// Disables ONNX Runtime's telemetry: wheels since 1.30 write to the user's cache folder and send data over HTTPS, and
/// start to do so before the API that disables it can be called. A variable that is already set is left as it is.
///
/// [`start`] calls this. A program with threads of foreign code (FFmpeg) should call it first in its `main`.
pub fn disable_telemetry() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        const KEY: &str = "ORT_DISABLE_TELEMETRY";
        if std::env::var_os(KEY).is_none() {
            // SAFETY: Rust's own readers and writers of the environment take std's lock. What remains is C code that
            // calls `getenv` in another thread at the same time: ONNX Runtime is not loaded yet (this runs before
            // `dlopen`), and this is the only place in the workspace that writes the environment, once per process.
            // glibc copies the table on the first `setenv` and never frees the old one, so a concurrent reader stays valid.
            unsafe { std::env::set_var(KEY, "1") };
        }
    });
}

/// Returns the build information of the loaded ONNX Runtime; `None` before the first model.
pub fn build_info() -> Option<&'static str> {
    ENVIRONMENT.get().map(|_| ort::info())
}

/// Returns the environment of this process. The first call loads the library; later ones ignore `home`.
///
/// `home` is the folder that holds `models/` ([`sideline_api::models::Models::home`]).
///
/// # Errors
/// If the library is not found or not usable. The message lists the locations tried with the reason for each failure, and
/// the remedy.
pub fn start(home: &Path) -> Result<&'static Environment> {
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    // The lock guards no data, so a poisoned one is as good.
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    disable_telemetry();
    let builder = load(&locations(home))?;
    let environment = builder
        .with_name("sideline")
        .with_telemetry(false)
        .build()
        .or_fail(Failure::Model, || "ONNX Runtime does not start")?;
    tracing::debug!(build = ort::info(), "ONNX Runtime started");
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

/// Loads the first library that can be loaded.
fn load(locations: &[Location]) -> Result<ort::environment::EnvironmentBuilder> {
    let mut tried = Vec::new();
    for location in locations {
        let found = location.libraries();
        if found.is_empty() {
            tried.push(format!("{} (not found)", location.pattern()));
        }
        for path in found {
            if let Some(open) = location.first_untrusted(&path) {
                let why = format!("not loaded: users other than you and root can change {}", open.display());
                tried.push(format!("{} ({why}; if you trust it, name it in ORT_DYLIB_PATH)", path.display()));
                continue;
            }
            match ort::init_from(&path) {
                Ok(builder) => {
                    tracing::debug!(library = %path.display(), "ONNX Runtime found");
                    return Ok(builder);
                }
                Err(cause) => tried.push(format!("{} ({cause})", path.display())),
            }
        }
    }
    Err(Error::model(format!(
        "ONNX Runtime's library was not found; run `cargo xtask setup`, or `pip install onnxruntime=={RUNTIME_VERSION}` \
         into .venv, or name the file in ORT_DYLIB_PATH. Tried:\n  {}",
        tried.join("\n  ")
    )))
}

/// Possible location of the library.
#[derive(Debug, PartialEq)]
enum Location {
    /// A file, or a name for the system's dynamic loader.
    File(PathBuf),
    /// A Python environment with the package `onnxruntime`, named by the user.
    Venv(PathBuf),
    /// A Python environment that was searched for; only loaded if no other user can write to it.
    Discovered(PathBuf),
}

impl Location {
    /// Returns the path, with wildcards, for messages.
    fn pattern(&self) -> String {
        match self {
            Location::File(path) => path.display().to_string(),
            Location::Venv(root) | Location::Discovered(root) => {
                root.join("lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*").display().to_string()
            }
        }
    }

    /// Returns the library files, newest Python version first.
    fn libraries(&self) -> Vec<PathBuf> {
        match self {
            Location::File(path) if path.components().count() > 1 && !path.exists() => vec![],
            Location::File(path) => vec![path.clone()],
            Location::Venv(root) | Location::Discovered(root) => {
                let mut found: Vec<PathBuf> = entries(&root.join("lib"), "python3")
                    .iter()
                    .flat_map(|python| entries(&python.join("site-packages/onnxruntime/capi"), "libonnxruntime.so"))
                    .collect();
                found.sort();
                found.reverse();
                found
            }
        }
    }

    /// True for the Python environment at `root`.
    fn is_at(&self, root: &Path) -> bool {
        matches!(self, Location::Venv(venv) | Location::Discovered(venv) if venv == root)
    }

    /// Returns the environment, or the first component of the path to `library` in it, that other users can change; `None` if
    /// there is none, or the user named the location.
    fn first_untrusted(&self, library: &Path) -> Option<PathBuf> {
        let Location::Discovered(root) = self else { return None };
        if !owner::is_trusted(root) {
            return Some(root.clone());
        }
        owner::first_untrusted(root, library.strip_prefix(root).ok()?)
    }
}

/// Lists the entries of a folder whose names begin with `prefix`.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(named).collect()
}

/// Returns all locations in the order they are tried: those named by the user, Python environments, the system.
fn locations(home: &Path) -> Vec<Location> {
    let variable = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut locations: Vec<Location> = variable("ORT_DYLIB_PATH").map(Location::File).into_iter().collect();
    locations.extend(variable("VIRTUAL_ENV").map(Location::Venv));
    if !home.as_os_str().is_empty() {
        // The ownership of a home that was searched for has been checked; one that the user names is trusted.
        let named = variable("SIDELINE_HOME").is_some_and(|named| named == home);
        let venv = home.join(".venv");
        locations.push(if named { Location::Venv(venv) } else { Location::Discovered(venv) });
    }
    for folder in trusted_folders() {
        let venv = folder.join(".venv");
        if venv.is_dir() && !locations.iter().any(|location| location.is_at(&venv)) {
            locations.push(Location::Discovered(venv));
        }
    }
    locations.push(Location::File("libonnxruntime.so".into()));
    locations
}

/// Returns the folders that may contain a Python environment: the working directory, and the ancestors of the program (a
/// build's lies in `target/debug` or deeper), without those that other users can write to.
fn trusted_folders() -> Vec<PathBuf> {
    let here = std::env::current_dir().ok().filter(|here| owner::is_trusted(here));
    let program = std::env::current_exe().and_then(|program| TrustedAncestors::walk(&program)).unwrap_or_default();
    here.into_iter().chain(program.folders).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_lists_the_locations_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("libonnxruntime.so.1");
        std::fs::write(&broken, b"not a library").unwrap();
        let locations = [Location::Venv(folder.path().join(".venv")), Location::File(broken.clone())];
        let error = load(&locations).err().unwrap();
        assert_eq!(error.failure, sideline_api::Failure::Model);
        assert!(error.message.contains("pip install onnxruntime==1.29.0"), "{error}");
        assert!(error.message.contains(".venv/lib/python3*/site-packages/onnxruntime/capi"), "{error}");
        assert!(error.message.contains(&broken.display().to_string()), "{error}");
    }

    #[test]
    fn a_python_environment_of_any_version_is_searched() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("lib/python3.12/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        std::fs::write(capi.join("libonnxruntime.so.1.29.0"), b"").unwrap();
        std::fs::write(capi.join("libonnxruntime_providers_shared.so"), b"").unwrap();
        let found = Location::Venv(folder.path().to_owned()).libraries();
        assert_eq!(found, [capi.join("libonnxruntime.so.1.29.0")]);
    }

    #[test]
    fn sideline_home_is_tried_before_the_system() {
        let locations = locations(Path::new("/home/of/sideline"));
        let home =
            locations.iter().position(|location| *location == Location::Discovered("/home/of/sideline/.venv".into()));
        assert!(home.is_some_and(|at| at < locations.len() - 1), "{locations:?}");
        assert_eq!(locations.last(), Some(&Location::File("libonnxruntime.so".into())));
    }

    #[test]
    fn a_library_that_other_users_can_change_is_not_loaded_unless_the_user_names_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let venv = folder.path().join(".venv");
        let capi = venv.join("lib/python3.12/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        std::fs::write(capi.join("libonnxruntime.so.1"), b"planted").unwrap();
        let tried = |location: Location| load(&[location]).err().unwrap().message;
        let mut parts: Vec<&Path> = capi.ancestors().take_while(|part| *part != folder.path()).collect();
        let library = capi.join("libonnxruntime.so.1");
        parts.push(&library);
        for part in &parts {
            let mode = |mode| std::fs::set_permissions(part, std::fs::Permissions::from_mode(mode)).unwrap();
            mode(0o777);
            let text = tried(Location::Discovered(venv.clone()));
            assert!(text.contains(&format!("can change {}", part.display())), "{text}");
            assert!(!tried(Location::Venv(venv.clone())).contains("other than you and root"));
            mode(0o755);
        }
        assert!(
            !tried(Location::Discovered(venv)).contains("other than you and root"),
            "no other user can change it now"
        );
    }
}
