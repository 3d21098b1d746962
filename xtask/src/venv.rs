//! `.venv`, the Python environment. Others may be running programs of it: it is made where there is none, and else only added to.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    error::{About, Error, Result},
    house::House,
    process::stopping,
    progress::Step,
    setup::Python,
};

/// The oldest Python that the pinned packages run on.
const OLDEST: (u32, u32) = (3, 11);
/// How often a lock that another set-up holds is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Prints the version, and the interpreter that an environment, perhaps this very one, was made with.
const IDENTIFY: &str = "import sys; print(*sys.version_info[:3], sep='.'); print(sys._base_executable)";
/// Fails where an environment is half made, or belongs to a Python that is gone.
const USABLE: &str = "import sys, pip; print(*sys.version_info[:3], sep='.')";
/// Prints those of the pins `NAME==VERSION` that are not installed, as `missing PIN`, or `torn PIN` where the installation was
/// interrupted: pip writes a package's list of files last, and takes a package without one for installed.
const MISSING: &str = "\
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
const PIP: [&str; 7] = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"];
const NO_REGISTRY: &str = "check that pip's registry can be reached (network, proxy), then run this again";

/// Waits until no other set-up of this environment is under way; it is until the file is dropped.
///
/// # Errors
/// When the lock cannot be made, or the user asked to stop.
pub fn lock(house: &House, step: &mut Step) -> Result<File> {
    let venv = house.root.join(".venv");
    let mut told = false;
    loop {
        if let Some(lock) = try_lock(&venv)? {
            return Ok(lock);
        }
        if !told {
            step.say("waiting for another set-up to end");
            told = true;
        }
        if stopping() {
            return Err(Error::interrupted("waiting for another set-up"));
        }
        std::thread::sleep(LOOK);
    }
}

/// The lock beside an environment, or beside the one that it links to; none while another holds it.
fn try_lock(venv: &Path) -> Result<Option<File>> {
    let real = venv.canonicalize().unwrap_or_else(|_| venv.into());
    let path = PathBuf::from(format!("{}.lock", real.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&path).about(path.display())?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).about(path.display()),
    }
}

/// Puts the environment in place with the packages of `python`; whoever made it, what it holds stays.
///
/// # Errors
/// What could not be had, and how to mend it.
pub fn put_in_place(house: &House, mut step: Step, python: Python) -> Result<()> {
    let made = make(house, &mut step)?;
    let (missing, torn) = lacking(house, &pins(house, python)?)?;
    if missing.is_empty() && torn.is_empty() {
        step.done(if made { "made" } else { "there already" });
        return Ok(());
    }
    if !torn.is_empty() {
        step.say(&format!("installing again {}", torn.join(" ")));
        let mut pip = pip(house);
        pip.args(["--no-deps", "--ignore-installed"]).args(&torn);
        step.run(&mut pip, NO_REGISTRY)?;
    }
    if !missing.is_empty() {
        step.say(&format!("installing {}", missing.join(" ")));
        // All files at once, so that what is added goes with what is there. pip fetches all of it before it installs any.
        let mut pip = pip(house);
        for file in python.files() {
            pip.arg("-r").arg(house.root.join(file));
        }
        step.run(&mut pip, NO_REGISTRY)?;
    }
    step.done(&format!("{} installed", missing.len() + torn.len()));
    Ok(())
}

/// Makes the environment unless there is one that runs; true if it was made.
fn make(house: &House, step: &mut Step) -> Result<bool> {
    let venv = house.root.join(".venv");
    let usable = Command::new(house.venv("python")).args(["-c", USABLE]).output();
    if let Ok(output) = usable.as_ref().map(|output| String::from_utf8_lossy(&output.stdout))
        && let Some(found) = version(&output)
    {
        return if found >= OLDEST { Ok(false) } else { Err(too_old(".venv", found, "remove .venv")) };
    }
    let program = system_python()?;
    step.say(if venv.exists() { "making .venv anew: its Python does not run" } else { "making .venv" });
    let mut make = house.command(program);
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    step.run(&mut make, "install Python's venv (Debian: apt-get install -y python3-venv), then run this again")?;
    Ok(true)
}

/// The pinned packages `NAME==VERSION` that are wanted, of all files.
fn pins(house: &House, python: Python) -> Result<Vec<String>> {
    let mut wanted = Vec::new();
    for file in python.files() {
        let path = house.root.join(file);
        let text = std::fs::read_to_string(&path).about(path.display())?;
        for pin in pins_of(&text) {
            if !wanted.contains(&pin) {
                wanted.push(pin);
            }
        }
    }
    Ok(wanted)
}

/// The lines `NAME==VERSION` of a file of requirements; files that it includes are in [`Python::files`] themselves.
fn pins_of(requirements: &str) -> Vec<String> {
    let lines = requirements.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| line.contains("==")).map(String::from).collect()
}

/// Which of the pins the environment lacks, and which are half installed.
fn lacking(house: &House, pins: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let mut ask = house.command(house.venv("python"));
    let output = ask.args(["-c", MISSING]).args(pins).output().about(".venv/bin/python")?;
    if !output.status.success() {
        return Err(Error::new(format!(
            ".venv does not say what is installed: {}\nTo mend: remove .venv and run this again",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let with =
        |word: &str| text.lines().filter_map(|line| line.strip_prefix(word)).map(|pin| pin.trim().into()).collect();
    Ok((with("missing "), with("torn ")))
}

fn pip(house: &House) -> Command {
    let mut pip = house.command(house.venv("python"));
    pip.args(PIP);
    pip
}

/// The Python that `.venv` is made with: the program itself, even when an environment is active.
fn system_python() -> Result<String> {
    // Not by `House::command`, which would find the Python of `.venv` first.
    let output =
        Command::new("python3").args(["-c", IDENTIFY]).output().about("python3 cannot be started; install it")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match (version(&text), text.lines().nth(1)) {
        (Some(found), Some(program)) if found >= OLDEST => Ok(program.into()),
        (Some(found), Some(_)) => Err(too_old("python3", found, "put a newer python3 first on PATH")),
        _ => Err(Error::new(format!(
            "python3 does not say its version; try `python3 --version`. It said: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

fn too_old(what: &str, (major, minor): (u32, u32), mend: &str) -> Error {
    let (oldest_major, oldest_minor) = OLDEST;
    Error::new(format!(
        "{what} is Python {major}.{minor}, the pinned packages want {oldest_major}.{oldest_minor} or newer: {mend}"
    ))
}

/// Major and minor version of `3.11.7...`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.lines().next()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::progress::Progress;

    /// A repository with requirements and a `.venv` whose Python is a script that notes what it is asked.
    struct Trial {
        folder: PathBuf,
        house: House,
    }

    impl Trial {
        fn new(name: &str, lacks: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("xtask-venv-{name}-{}", std::process::id()));
            let house = House { root: folder.clone(), programs: folder.clone(), logs: folder.clone() };
            for file in Python::Test.files() {
                let path = folder.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "# what it needs\n-r other.txt\nnumpy==2.4.6 # arrays\n").unwrap();
            }
            let python = house.venv("python");
            std::fs::create_dir_all(python.parent().unwrap()).unwrap();
            let script = format!(
                "#!/bin/sh\necho \"$@\" >> {0}/asked\ncase \"$2\" in *'import sys, pip'*) echo 3.11.2;; *metadata*) {1};; esac\n",
                folder.display(),
                if lacks.is_empty() { "true".into() } else { format!("echo {lacks}") }
            );
            std::fs::write(&python, script).unwrap();
            std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
            Trial { folder, house }
        }

        /// What Python was asked to do beside looking.
        fn put_in_place(&self) -> Vec<String> {
            let step = Progress::new(&self.house, 1).step("Python packages").unwrap();
            put_in_place(&self.house, step, Python::Test).unwrap();
            let asked = std::fs::read_to_string(self.folder.join("asked")).unwrap();
            asked.lines().filter(|line| line.starts_with("-m ")).map(String::from).collect()
        }
    }

    impl Drop for Trial {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn an_environment_that_has_everything_is_left_alone_whoever_made_it() {
        assert_eq!(Trial::new("whole", "").put_in_place(), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_made_anew() {
        let trial = Trial::new("lacks", "missing numpy==2.4.6");
        let asked = trial.put_in_place();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].starts_with("-m pip install ") && asked[0].contains("requirements-test.txt"), "{asked:?}");
    }

    #[test]
    fn a_package_whose_installation_was_interrupted_is_installed_again() {
        let asked = Trial::new("torn", "torn numpy==2.4.6").put_in_place();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].ends_with("--no-deps --ignore-installed numpy==2.4.6"), "{asked:?}");
    }

    #[test]
    fn pythons_metadata_tells_what_is_missing() {
        let output = Command::new("python3").args(["-c", MISSING, "no-such-package==1.0"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "missing no-such-package==1.0\n");
    }

    #[test]
    fn one_set_up_at_a_time_also_through_a_link() {
        let trial = Trial::new("lock", "");
        let (venv, link) = (trial.folder.join(".venv"), trial.folder.join("link"));
        std::os::unix::fs::symlink(&venv, &link).unwrap();
        let first = try_lock(&venv).unwrap();
        assert!(first.is_some());
        assert!(try_lock(&link).unwrap().is_none());
        drop(first);
        assert!(try_lock(&link).unwrap().is_some());
    }

    #[test]
    fn pins_are_read_without_comments_and_includes() {
        assert_eq!(pins_of("# a\n-r b.txt\n\nnumpy==2.4.6 # arrays\n"), ["numpy==2.4.6"]);
    }

    #[test]
    fn pythons_version_is_read_by_number() {
        assert_eq!(version("3.11.7\n/usr\n"), Some((3, 11)));
        assert!(version("3.9.1").is_some_and(|found| found < OLDEST));
        assert_eq!(version("three"), None);
        assert_eq!(version(""), None);
    }
}
