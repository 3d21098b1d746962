//! Python environment in `.venv`. Its programs may be running, so an existing environment is only extended, never
//! replaced.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    error::{Context, Error, Result},
    process::is_stopping,
    progress::Step,
    setup::Python,
    workspace::Workspace,
};

/// Oldest version of Python that the pinned packages support.
const MIN_PYTHON: (u32, u32) = (3, 11);
/// Interval at which a lock held by another set-up is checked.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Python program that prints the version and the base interpreter, also within an environment.
const IDENTIFY: &str = "import sys; print(*sys.version_info[:3], sep='.'); print(sys._base_executable)";
/// Python program that prints the version. It fails in an environment that is incomplete or whose Python is gone.
const CHECK_USABLE: &str = "import sys, pip; print(*sys.version_info[:3], sep='.')";
/// Python program that prints the pins `NAME==VERSION` that are not installed, as `missing PIN`, or `torn PIN` if their
/// installation was interrupted. pip writes a package's list of files last, but considers a package without one
/// installed.
const FIND_MISSING: &str = "\
import sys, importlib.metadata
for pin in sys.argv[1:]:
    name, version = pin.split('==')
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        print('missing', pin)
        continue
    if found.version != version:
        print('missing', pin)
    elif found.files is None:
        print('torn', pin)
";
/// Arguments of Python for `pip install`.
const PIP: [&str; 7] = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"];
/// Advice for the user if `pip install` fails.
const REGISTRY_FIX: &str = "check that pip's registry can be reached (network, proxy), then run this command again";

/// Locks the environment against other set-ups, until the returned file is dropped. Waits while another one holds the
/// lock.
///
/// # Errors
/// When the lock file cannot be created, or a signal asked to stop.
pub fn lock(workspace: &Workspace, step: &mut Step) -> Result<File> {
    let venv = workspace.root.join(".venv");
    let mut is_reported = false;
    loop {
        if let Some(lock) = try_lock(&venv)? {
            return Ok(lock);
        }
        if !is_reported {
            step.report("waiting for another set-up to finish");
            is_reported = true;
        }
        if is_stopping() {
            return Err(Error::interrupted("waiting for another set-up"));
        }
        std::thread::sleep(LOCK_POLL_INTERVAL);
    }
}

/// Tries to lock the file beside an environment, or beside the environment that it links to. Returns `None` while
/// another process holds the lock.
fn try_lock(venv: &Path) -> Result<Option<File>> {
    let real = venv.canonicalize().unwrap_or_else(|_| venv.into());
    let path = PathBuf::from(format!("{}.lock", real.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&path).context(path.display())?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context(path.display()),
    }
}

/// Creates the environment if there is none, and installs the missing packages of `python`. Other packages in it are
/// kept.
///
/// # Errors
/// When something cannot be installed; the message says how to fix it.
pub fn install(workspace: &Workspace, mut step: Step, python: Python) -> Result<()> {
    let created = create(workspace, &mut step)?;
    let (missing, torn) = find_missing(workspace, &pins(workspace, python)?)?;
    if missing.is_empty() && torn.is_empty() {
        step.done(if created { "created" } else { "already installed" });
        return Ok(());
    }
    if !torn.is_empty() {
        step.report(&format!("reinstalling {}", torn.join(" ")));
        let mut pip = pip(workspace);
        pip.args(["--no-deps", "--ignore-installed"]).args(&torn);
        step.run(&mut pip, REGISTRY_FIX)?;
    }
    if !missing.is_empty() {
        step.report(&format!("installing {}", missing.join(" ")));
        // All files at once, so that pip resolves compatible versions. It downloads all packages before it installs
        // any.
        let mut pip = pip(workspace);
        for file in python.files() {
            pip.arg("-r").arg(workspace.root.join(file));
        }
        step.run(&mut pip, REGISTRY_FIX)?;
    }
    step.done(&format!("{} installed", missing.len() + torn.len()));
    Ok(())
}

/// Creates the environment unless there is a usable one. Returns true if it was created.
fn create(workspace: &Workspace, step: &mut Step) -> Result<bool> {
    let venv = workspace.root.join(".venv");
    let usable = Command::new(workspace.venv("python")).args(["-c", CHECK_USABLE]).output();
    if let Ok(output) = usable.as_ref().map(|output| String::from_utf8_lossy(&output.stdout))
        && let Some(found) = parse_version(&output)
    {
        return if found >= MIN_PYTHON { Ok(false) } else { Err(too_old(".venv", found, "remove .venv")) };
    }
    let program = system_python()?;
    step.report(if venv.exists() { "recreating .venv: its Python does not run" } else { "creating .venv" });
    let mut create = workspace.command(program);
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    step.run(
        &mut create,
        "install Python's venv (Debian: apt-get install -y python3-venv), then run this command again",
    )?;
    Ok(true)
}

/// Reads the pinned packages `NAME==VERSION` from all requirements files.
fn pins(workspace: &Workspace, python: Python) -> Result<Vec<String>> {
    let mut wanted = Vec::new();
    for file in python.files() {
        let path = workspace.root.join(file);
        let text = std::fs::read_to_string(&path).context(path.display())?;
        for pin in parse_pins(&text) {
            if !wanted.contains(&pin) {
                wanted.push(pin);
            }
        }
    }
    Ok(wanted)
}

/// Parses the lines `NAME==VERSION` of a requirements file. Included files are skipped, as [`Python::files`] lists them
/// too.
fn parse_pins(requirements: &str) -> Vec<String> {
    let lines = requirements.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| line.contains("==")).map(String::from).collect()
}

/// Returns the pins that are missing from the environment, and those whose installation was interrupted.
fn find_missing(workspace: &Workspace, pins: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let mut query = workspace.command(workspace.venv("python"));
    let output = query.args(["-c", FIND_MISSING]).args(pins).output().context(".venv/bin/python")?;
    if !output.status.success() {
        return Err(Error::new(format!(
            "the packages in .venv cannot be listed: {}\nTo fix this, remove .venv and run this command again",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let pins_with =
        |word: &str| text.lines().filter_map(|line| line.strip_prefix(word)).map(|pin| pin.trim().into()).collect();
    Ok((pins_with("missing "), pins_with("torn ")))
}

/// Returns a `pip install` command of the environment.
fn pip(workspace: &Workspace) -> Command {
    let mut pip = workspace.command(workspace.venv("python"));
    pip.args(PIP);
    pip
}

/// Returns the Python interpreter for a new environment: the base interpreter, even if another environment is active.
fn system_python() -> Result<String> {
    // `Workspace::command` would find the Python of `.venv` first.
    let output =
        Command::new("python3").args(["-c", IDENTIFY]).output().context("python3 cannot be started; install it")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match (parse_version(&text), text.lines().nth(1)) {
        (Some(found), Some(program)) if found >= MIN_PYTHON => Ok(program.into()),
        (Some(found), Some(_)) => Err(too_old("python3", found, "put a newer python3 first on PATH")),
        _ => Err(Error::new(format!(
            "the version of python3 cannot be determined; try `python3 --version`. Its output: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// Returns the error for a version of Python that is too old.
fn too_old(program: &str, (major, minor): (u32, u32), fix: &str) -> Error {
    let (min_major, min_minor) = MIN_PYTHON;
    Error::new(format!(
        "{program} is Python {major}.{minor}, but the pinned packages need {min_major}.{min_minor} or newer: {fix}"
    ))
}

/// Parses the major and minor version from text such as `3.11.7`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.lines().next()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::progress::Progress;

    /// Repository with requirements files and a `.venv` whose Python is a script that records its arguments.
    struct FakeRepository {
        folder: PathBuf,
        workspace: Workspace,
    }

    impl FakeRepository {
        fn new(name: &str, missing: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("xtask-venv-{name}-{}", std::process::id()));
            let workspace = Workspace { root: folder.clone(), programs: folder.clone(), logs: folder.clone() };
            for file in Python::Test.files() {
                let path = folder.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "# requirements\n-r other.txt\nnumpy==2.4.6 # arrays\n").unwrap();
            }
            let python = workspace.venv("python");
            std::fs::create_dir_all(python.parent().unwrap()).unwrap();
            let script = format!(
                "#!/bin/sh\necho \"$@\" >> {0}/calls\ncase \"$2\" in *'import sys, pip'*) echo 3.11.2;; *metadata*) {1};; esac\n",
                folder.display(),
                if missing.is_empty() { "true".into() } else { format!("echo {missing}") }
            );
            std::fs::write(&python, script).unwrap();
            std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
            FakeRepository { folder, workspace }
        }

        /// Runs the installation and returns the calls of `python -m`.
        fn install(&self) -> Vec<String> {
            let step = Progress::new(&self.workspace, 1).step("Python packages").unwrap();
            install(&self.workspace, step, Python::Test).unwrap();
            let calls = std::fs::read_to_string(self.folder.join("calls")).unwrap();
            calls.lines().filter(|line| line.starts_with("-m ")).map(String::from).collect()
        }
    }

    impl Drop for FakeRepository {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn a_complete_environment_is_not_changed() {
        assert_eq!(FakeRepository::new("whole", "").install(), [""; 0]);
    }

    #[test]
    fn missing_packages_are_added_to_an_existing_environment() {
        let repository = FakeRepository::new("lacks", "missing numpy==2.4.6");
        let calls = repository.install();
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert!(calls[0].starts_with("-m pip install ") && calls[0].contains("requirements-test.txt"), "{calls:?}");
    }

    #[test]
    fn a_package_whose_installation_was_interrupted_is_installed_again() {
        let calls = FakeRepository::new("torn", "torn numpy==2.4.6").install();
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert!(calls[0].ends_with("--no-deps --ignore-installed numpy==2.4.6"), "{calls:?}");
    }

    #[test]
    fn missing_packages_are_found_by_their_metadata() {
        let output = Command::new("python3").args(["-c", FIND_MISSING, "no-such-package==1.0"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "missing no-such-package==1.0\n");
    }

    #[test]
    fn a_lock_excludes_other_set_ups_also_through_a_link() {
        let repository = FakeRepository::new("lock", "");
        let (venv, link) = (repository.folder.join(".venv"), repository.folder.join("link"));
        std::os::unix::fs::symlink(&venv, &link).unwrap();
        let first = try_lock(&venv).unwrap();
        assert!(first.is_some());
        assert!(try_lock(&link).unwrap().is_none());
        drop(first);
        assert!(try_lock(&link).unwrap().is_some());
    }

    #[test]
    fn pins_are_read_without_comments_and_includes() {
        assert_eq!(parse_pins("# a\n-r b.txt\n\nnumpy==2.4.6 # arrays\n"), ["numpy==2.4.6"]);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("3.11.7\n/usr\n"), Some((3, 11)));
        assert!(parse_version("3.9.1").is_some_and(|found| found < MIN_PYTHON));
        assert_eq!(parse_version("three"), None);
        assert_eq!(parse_version(""), None);
    }
}
