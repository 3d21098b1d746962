//! ONNX Runtime's one environment: where its library is found, and that it tells nobody what it does.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, Once, OnceLock, PoisonError},
};

use ort::environment::Environment;
use sideline_api::{Error, Result};
use sideline_system::owner::{self, Ancestors};

/// The version of PyPI's `onnxruntime` that models/requirements.txt names; 1.24 to 1.31 work.
pub const RUNTIME_VERSION: &str = "1.29.0";

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// Switches ONNX Runtime's telemetry off: wheels from 1.30 on write to the user's cache folder and send over HTTPS, and
/// begin with it before the API to forbid it can be called. A variable that is set already is left as it is.
///
/// [`start`] calls this. A program with other threads of foreign code (FFmpeg) had better call it first in its `main`.
pub fn forbid_telemetry() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        const KEY: &str = "ORT_DISABLE_TELEMETRY";
        if std::env::var_os(KEY).is_none() {
            // SAFETY: Rust's own readers and writers of the environment take std's lock. What remains is C code that
            // calls `getenv` in another thread at this very moment: ONNX Runtime is not loaded yet (this runs before
            // `dlopen`), and this is the only place of the workspace that writes the environment, once per process.
            // glibc copies the table on a first `setenv` and never frees the old one, so a reader in between reads on.
            unsafe { std::env::set_var(KEY, "1") };
        }
    });
}

/// The build of ONNX Runtime that this process has loaded; none before the first model.
pub fn build() -> Option<&'static str> {
    ENVIRONMENT.get().map(|_| ort::info())
}

/// The environment of this process; the first call loads the library, later ones ignore `home`.
///
/// `home` is the folder that holds `models/` ([`sideline_api::models::Models::home`]).
///
/// # Errors
/// When the library is not found or not usable: the places that were tried, why each failed, and the mend.
pub fn start(home: &Path) -> Result<&'static Environment> {
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    // A poisoned lock guards nothing that could be half done.
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    forbid_telemetry();
    let builder = load(&places(home))?;
    let environment = builder
        .with_name("sideline")
        .with_telemetry(false)
        .build()
        .map_err(|cause| Error::model(format!("ONNX Runtime does not start: {cause}")))?;
    tracing::debug!(build = ort::info(), "ONNX Runtime started");
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

/// Loads the first library that can be loaded.
fn load(places: &[Place]) -> Result<ort::environment::EnvironmentBuilder> {
    let mut tried = Vec::new();
    for place in places {
        let found = place.libraries();
        if found.is_empty() {
            tried.push(format!("{} (not there)", place.pattern()));
        }
        for path in found {
            if let Some(open) = place.untrusted(&path) {
                let why = format!("passed over: others than you and root can change {}", open.display());
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

/// A place where the library may lie.
#[derive(Debug, PartialEq)]
enum Place {
    /// This very file, or a name for the system's loader.
    File(PathBuf),
    /// A Python environment with the package `onnxruntime` that the user named.
    Venv(PathBuf),
    /// One that was looked for, in a folder into which nobody but the user and root can put anything.
    Found(PathBuf),
}

impl Place {
    fn pattern(&self) -> String {
        match self {
            Place::File(path) => path.display().to_string(),
            Place::Venv(root) | Place::Found(root) => {
                root.join("lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*").display().to_string()
            }
        }
    }

    /// The files there, newest Python first.
    fn libraries(&self) -> Vec<PathBuf> {
        match self {
            Place::File(path) if path.components().count() > 1 && !path.exists() => vec![],
            Place::File(path) => vec![path.clone()],
            Place::Venv(root) | Place::Found(root) => {
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
        matches!(self, Place::Venv(venv) | Place::Found(venv) if venv == root)
    }

    /// The environment, or the first part of the way to `library` in it, that others can change; none where nobody can,
    /// or where the user named the place.
    fn untrusted(&self, library: &Path) -> Option<PathBuf> {
        let Place::Found(root) = self else { return None };
        if !owner::is_trusted(root) {
            return Some(root.clone());
        }
        owner::first_untrusted(root, library.strip_prefix(root).ok()?)
    }
}

fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(named).collect()
}

/// All places in the order they are tried: what the user names, Python environments, the system.
fn places(home: &Path) -> Vec<Place> {
    let variable = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut places: Vec<Place> = variable("ORT_DYLIB_PATH").map(Place::File).into_iter().collect();
    places.extend(variable("VIRTUAL_ENV").map(Place::Venv));
    if !home.as_os_str().is_empty() {
        // A home that was looked for has been looked at, whose it is; one that the user names need not be.
        let named = variable("SIDELINE_HOME").is_some_and(|named| named == home);
        let venv = home.join(".venv");
        places.push(if named { Place::Venv(venv) } else { Place::Found(venv) });
    }
    for folder in trusted_folders() {
        let venv = folder.join(".venv");
        if venv.is_dir() && !places.iter().any(|place| place.is_at(&venv)) {
            places.push(Place::Found(venv));
        }
    }
    places.push(Place::File("libonnxruntime.so".into()));
    places
}

/// Folders with a Python environment, if any: the working directory, and those above the program (a build's lies in
/// `target/debug` or deeper); none into which others than the user and root can put anything.
fn trusted_folders() -> Vec<PathBuf> {
    let here = std::env::current_dir().ok().filter(|here| owner::is_trusted(here));
    let program = std::env::current_exe().and_then(|program| Ancestors::walk(&program)).unwrap_or_default();
    here.into_iter().chain(program.folders).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_and_the_mend_are_named_when_nothing_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("libonnxruntime.so.1");
        std::fs::write(&broken, b"not a library").unwrap();
        let places = [Place::Venv(folder.path().join(".venv")), Place::File(broken.clone())];
        let error = load(&places).err().unwrap();
        assert_eq!(error.failure, sideline_api::Failure::Model);
        assert!(error.message.contains("pip install onnxruntime==1.29.0"), "{error}");
        assert!(error.message.contains(".venv/lib/python3*/site-packages/onnxruntime/capi"), "{error}");
        assert!(error.message.contains(&broken.display().to_string()), "{error}");
    }

    #[test]
    fn a_python_environment_is_searched_for_any_version() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("lib/python3.12/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        std::fs::write(capi.join("libonnxruntime.so.1.29.0"), b"").unwrap();
        std::fs::write(capi.join("libonnxruntime_providers_shared.so"), b"").unwrap();
        let found = Place::Venv(folder.path().to_owned()).libraries();
        assert_eq!(found, [capi.join("libonnxruntime.so.1.29.0")]);
    }

    #[test]
    fn sideline_home_is_tried_before_the_system() {
        let places = places(Path::new("/home/of/sideline"));
        let home = places.iter().position(|place| *place == Place::Found("/home/of/sideline/.venv".into()));
        assert!(home.is_some_and(|at| at < places.len() - 1), "{places:?}");
        assert_eq!(places.last(), Some(&Place::File("libonnxruntime.so".into())));
    }

    #[test]
    fn a_library_that_others_could_have_planted_is_not_loaded_unless_the_user_names_its_place() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let venv = folder.path().join(".venv");
        let capi = venv.join("lib/python3.12/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        std::fs::write(capi.join("libonnxruntime.so.1"), b"planted").unwrap();
        let tried = |place: Place| load(&[place]).err().unwrap().message;
        let mut parts: Vec<&Path> = capi.ancestors().take_while(|part| *part != folder.path()).collect();
        let library = capi.join("libonnxruntime.so.1");
        parts.push(&library);
        for part in &parts {
            let mode = |mode| std::fs::set_permissions(part, std::fs::Permissions::from_mode(mode)).unwrap();
            mode(0o777);
            let text = tried(Place::Found(venv.clone()));
            assert!(text.contains(&format!("can change {}", part.display())), "{text}");
            assert!(!tried(Place::Venv(venv.clone())).contains("passed over"));
            mode(0o755);
        }
        assert!(!tried(Place::Found(venv)).contains("passed over"), "now nobody else can change it");
    }
}
