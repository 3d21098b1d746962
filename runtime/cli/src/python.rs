//! Operators written in Python: the interpreter that hosts a flow with such operators.
//!
//! A flow names one as `args: run my_op.py` (the only operator of the file), `args: run my_op.py:Class` or
//! `args: run package.module:Class`. This program embeds no interpreter. It replaces itself by `PYTHON -m sideline` with the
//! same arguments, whose extension module holds the same engine and operators, and which loads the classes. So the code of a
//! user is executed there only, by `sideline check` too.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use sideline_api::{Error, OrFail, Registry, Result};
use sideline_graph::{operator_targets, operator_targets_in};
use sideline_system::owner;

use crate::args::{Command as Subcommand, Run};

/// Environment variable with the interpreter.
const PYTHON_VARIABLE: &str = "SIDELINE_PYTHON";
/// Environment variable with the version of the program that has replaced itself by the interpreter.
pub const REPLACED_VARIABLE: &str = "SIDELINE_REPLACED";
/// Oldest version of Python for which the extension module is built.
const MIN_PYTHON: (u32, u32) = (3, 11);
/// Prints version and path of an interpreter, and the place of the package `sideline`, without importing it. The working
/// directory is no place for packages.
const IDENTIFY: &str = "\
import sys
sys.path = [folder for folder in sys.path if folder]
import importlib.util, json
package = importlib.util.find_spec('sideline')
print(json.dumps({'version': sys.version_info[:3], 'package': package and package.origin}))
";

/// Interpreter of Python that runs this program as an extension module.
pub struct PythonHost<'a> {
    /// Path and version of the interpreter, for `sideline check`.
    pub description: String,
    /// Path of the interpreter.
    pub executable: PathBuf,
    /// Arguments of `sideline`, without the name of the program.
    pub arguments: Vec<OsString>,
    /// Adds operators to a registry.
    pub load: &'a dyn Fn(&PythonTargets, Registry) -> Registry,
}

/// Operators in Python that a flow names.
pub struct PythonTargets {
    /// Targets, as in `args: run TARGET`.
    pub targets: Vec<String>,
    /// Folder of the flow, to which paths are relative.
    pub folder: PathBuf,
    /// True if a changed file is taken between two frames.
    pub reload: bool,
}

impl PythonHost<'_> {
    /// Returns a command that starts this process again.
    pub fn restart_command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(["-P", "-m", "sideline"]).args(&self.arguments);
        command
    }
}

/// Operators in Python of the flow that a command reads.
pub struct PythonOperators {
    /// Registry with the operators of the flow.
    pub registry: Registry,
    /// Line on the interpreter for `sideline check`; `None` for a flow without operators in Python.
    pub description: Option<String>,
    /// True if the flow names an operator in Python.
    pub exist: bool,
}

/// Adds the Python operators of the command's flow to the registry. Without a host, this process is replaced by one. If that
/// fails, every such operator is unavailable with the error, which so gets its place in the flow.
pub fn add_operators(command: &Subcommand, registry: &Registry, host: Option<&PythonHost<'_>>) -> PythonOperators {
    let FlowTargets { folder, mut targets } = FlowTargets::find(command);
    targets.retain(|target| is_python(target));
    let mut registry = registry.clone();
    if targets.is_empty() {
        return PythonOperators { registry, description: None, exist: false };
    }
    match host {
        Some(host) => {
            let count = targets.len();
            let reload = matches!(command, Subcommand::Run(options) if options.reload);
            registry = (host.load)(&PythonTargets { targets, folder, reload }, registry);
            let several = match count {
                1 => String::new(),
                count => format!("; {count} operators in Python share it, and run Python code in turn"),
            };
            let description = format!("{}{several}", host.description);
            PythonOperators { registry, description: Some(description), exist: true }
        }
        None => {
            let interpreter = check_program().and_then(|()| Interpreter::find(&folder));
            let error = interpreter.map_or_else(|error| error, |interpreter| interpreter.replace_process());
            for target in &targets {
                registry = registry.with_name(target, Err(error.clone()));
            }
            PythonOperators { registry, description: None, exist: true }
        }
    }
}

/// Checks that this is the program `sideline`: another one has operators that the package `sideline` lacks.
///
/// # Errors
/// If it is another program.
fn check_program() -> Result<()> {
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    if name == "sideline" {
        return Ok(());
    }
    Err(Error::config(format!(
        "operators in Python run in the package `sideline`, which lacks the operators of the program `{}`: name `sideline` in \
         `path`, or write the operators of this flow in one language",
        name.display()
    )))
}

/// Returns true if the target of `args: run TARGET` names an operator in Python.
pub fn is_python(target: &str) -> bool {
    let module = target.split_once(':').map_or(target, |(module, _)| module);
    module.ends_with(".py") || target.contains(':')
}

/// Returns the targets in Python of the flow of a run.
pub fn targets_of(options: &Run) -> Vec<String> {
    let mut targets = match &options.text {
        Some(text) => operator_targets_in(text, Path::new("")),
        None => operator_targets(Path::new(&options.target)),
    };
    targets.retain(|target| is_python(target));
    targets
}

/// Targets of all Sideline nodes of a flow.
struct FlowTargets {
    /// Folder of the flow.
    folder: PathBuf,
    targets: Vec<String>,
}

impl FlowTargets {
    /// Finds the targets in the flow of a command, or in the descriptor of dora.
    fn find(command: &Subcommand) -> Self {
        #[cfg(feature = "dora")]
        if sideline_dora::transport::started_by_dora() && matches!(command, Subcommand::Run(_)) {
            let folder = std::env::current_dir().unwrap_or_default();
            let descriptor = sideline_dora::Assignment::from_environment().map(|assignment| assignment.descriptor);
            let text = descriptor.and_then(|descriptor| serde_json::to_string(&descriptor).ok()).unwrap_or_default();
            return Self { targets: operator_targets_in(&text, &folder), folder };
        }
        let flow = match command {
            Subcommand::Run(Run { text: Some(text), .. }) => {
                return Self { folder: PathBuf::new(), targets: operator_targets_in(text, Path::new("")) };
            }
            Subcommand::Run(options) => Path::new(&options.target),
            Subcommand::Check { flow, .. } | Subcommand::Graph { flow, .. } => flow,
            Subcommand::TestOperator(options) if is_python(&options.target) => return Self::of_target(&options.target),
            Subcommand::Inspect { target, .. } | Subcommand::Types { target } if is_python(target) => {
                return Self::of_target(target);
            }
            Subcommand::Test(options) => &options.flow,
            Subcommand::Inspect { target, .. } => Path::new(target),
            _ => return Self { folder: PathBuf::new(), targets: vec![] },
        };
        let folder = flow.parent().unwrap_or(Path::new("")).to_owned();
        let is_flow = flow.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
        Self { folder, targets: if is_flow { operator_targets(flow) } else { vec![] } }
    }

    /// Returns a target that the command line names, relative to the working directory.
    fn of_target(target: &str) -> Self {
        Self { folder: PathBuf::new(), targets: vec![target.to_owned()] }
    }
}

/// Interpreter that was chosen, and the reason.
#[derive(Debug, PartialEq)]
struct Interpreter {
    program: PathBuf,
    origin: Origin,
}

/// Place where an interpreter was found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Variable,
    ActiveEnvironment,
    EnvironmentOfFlow,
    Path,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Variable => PYTHON_VARIABLE,
            Origin::ActiveEnvironment => "the active virtual environment",
            Origin::EnvironmentOfFlow => "the environment .venv beside the flow",
            Origin::Path => "PATH",
        })
    }
}

/// Output of [`IDENTIFY`].
#[derive(Deserialize)]
struct Identity {
    version: (u32, u32, u32),
    package: Option<String>,
}

impl Interpreter {
    /// Finds the interpreter for a flow in `folder`: that of `SIDELINE_PYTHON`, of the active virtual environment, of `.venv`
    /// beside the flow, or `python3`.
    ///
    /// # Errors
    /// If other users can change the environment beside the flow, or put another one there.
    fn find(folder: &Path) -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self::choose(variable(PYTHON_VARIABLE), variable("VIRTUAL_ENV"), folder)
    }

    fn choose(named: Option<PathBuf>, active: Option<PathBuf>, folder: &Path) -> Result<Self> {
        if let Some(program) = named {
            return Ok(Self { program, origin: Origin::Variable });
        }
        if let Some(environment) = active {
            return Ok(Self { program: environment.join("bin/python"), origin: Origin::ActiveEnvironment });
        }
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let environment = folder.join(".venv");
        if !environment.join("bin/python").exists() {
            return Ok(Self { program: "python3".into(), origin: Origin::Path });
        }
        match first_untrusted_part(folder, &environment) {
            None => Ok(Self { program: environment.join("bin/python"), origin: Origin::EnvironmentOfFlow }),
            Some(open) => Err(Error::config(format!(
                "{} is not used: users other than you and root can change {}; if you trust it, set {PYTHON_VARIABLE}={}",
                environment.display(),
                open.display(),
                environment.join("bin/python").display()
            ))),
        }
    }

    /// Replaces this process by the interpreter with the same arguments. Returns only if that fails, with the error.
    fn replace_process(&self) -> Error {
        let error = match self.check() {
            Ok(()) => {
                let mut command = Command::new(&self.program);
                command.args(["-P", "-m", "sideline"]).args(std::env::args_os().skip(1));
                Error::config(command.env(REPLACED_VARIABLE, env!("CARGO_PKG_VERSION")).exec())
            }
            Err(error) => error,
        };
        error.at(format!("operators in Python run in {} (from {})", self.program.display(), self.origin))
    }

    /// Checks the version of the interpreter, and that it has the package `sideline`.
    fn check(&self) -> Result<()> {
        let fix = format!(
            "set {PYTHON_VARIABLE} to an interpreter with the package, activate its environment, or create .venv beside the flow"
        );
        let output = Command::new(&self.program).arg("-c").arg(OsStr::new(IDENTIFY)).stdin(Stdio::null()).output();
        let output = match output {
            Ok(output) => output,
            Err(cause) => return Err(Error::config(format!("it does not start: {cause}; {fix}"))),
        };
        let identity: Identity = serde_json::from_slice(&output.stdout).map_err(|_| {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no output");
            Error::config(format!("it is no usable Python: {last}; {fix}"))
        })?;
        let (major, minor, patch) = identity.version;
        if (major, minor) < MIN_PYTHON {
            let (min_major, min_minor) = MIN_PYTHON;
            return Err(Error::config(format!(
                "it is Python {major}.{minor}.{patch}, {min_major}.{min_minor} or newer is needed; {fix}"
            )));
        }
        if identity.package.is_none() {
            return Err(Error::config(format!(
                "it has no package `sideline`: install the wheel with `{} -m pip install sideline`; or {fix}",
                self.program.display()
            )));
        }
        Ok(())
    }
}

/// Returns the first part of an environment beside a flow that other users can change: the folder of the flow, the environment,
/// its interpreter with the file that it links to, its configuration, or a package.
fn first_untrusted_part(folder: &Path, environment: &Path) -> Option<PathBuf> {
    let mut parts = vec![folder.to_owned(), environment.to_owned()];
    parts.extend(["bin", "bin/python"].map(|part| environment.join(part)));
    if let Ok(interpreter) = environment.join("bin/python").canonicalize() {
        parts.extend(interpreter.parent().map(Path::to_owned));
    }
    parts.extend(Some(environment.join("pyvenv.cfg")).filter(|file| file.exists()));
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    for libraries in ["lib", "lib64"].map(|part| environment.join(part)).into_iter().filter(|folder| folder.exists()) {
        for version in entries(&libraries) {
            let packages = version.join("site-packages");
            let within = entries(&packages);
            parts.extend([version, packages].into_iter().filter(|folder| folder.exists()).chain(within));
        }
        parts.push(libraries);
    }
    parts.into_iter().find(|part| !owner::is_trusted(part))
}

/// Checks that the program that has replaced itself by this process, if any, has the version of this package.
///
/// # Errors
/// If the versions differ.
pub fn check_version() -> Result<()> {
    let own = env!("CARGO_PKG_VERSION");
    match std::env::var(REPLACED_VARIABLE) {
        Ok(other) if other != own => Err(Error::config(format!(
            "the program `sideline` has version {other}, the package `sideline` of this Python has version {own}: install the \
             same version of both"
        ))),
        _ => Ok(()),
    }
}

/// Returns a command that starts this native process again.
///
/// # Errors
/// If the path of the program is unknown.
pub fn native_restart_command() -> Result<Command> {
    let program = std::env::current_exe().or_fail(sideline_api::Failure::Other, || "path of this program")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    fn write_program(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn an_operator_in_python_is_a_file_or_a_class_of_a_module() {
        for target in ["my_op.py", "ops/my_op.py", "my_op.py:Glow", "package.module:Glow"] {
            assert!(is_python(target), "{target}");
        }
        for target in ["counter", "./libmy_op.so", "pyramid"] {
            assert!(!is_python(target), "{target}");
        }
    }

    #[test]
    fn the_interpreter_is_the_named_one_then_the_active_one_then_that_beside_the_flow() {
        let flow = tempfile::tempdir().unwrap();
        let choose = |named: Option<&str>, active: Option<&str>| {
            Interpreter::choose(named.map(Into::into), active.map(Into::into), flow.path()).unwrap()
        };
        assert_eq!(choose(None, None), Interpreter { program: "python3".into(), origin: Origin::Path });
        let beside = flow.path().join(".venv/bin/python");
        write_program(&beside, "");
        assert_eq!(choose(None, None), Interpreter { program: beside, origin: Origin::EnvironmentOfFlow });
        assert_eq!(choose(None, Some("/env")).program, Path::new("/env/bin/python"));
        assert_eq!(choose(Some("py"), Some("/env")), Interpreter { program: "py".into(), origin: Origin::Variable });
    }

    #[test]
    fn an_environment_beside_the_flow_that_others_can_change_is_refused() {
        for part in [
            "",
            ".venv",
            ".venv/bin",
            "python3",
            "installed",
            ".venv/pyvenv.cfg",
            ".venv/lib",
            ".venv/lib/python3.11",
            ".venv/lib/python3.11/site-packages",
            ".venv/lib/python3.11/site-packages/sideline.pth",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let flow = folder.path().join("flow");
            let installed = folder.path().join("installed/python3");
            write_program(&installed, "");
            write_program(&flow.join(".venv/lib/python3.11/site-packages/sideline.pth"), "");
            write_program(&flow.join(".venv/pyvenv.cfg"), "");
            std::fs::create_dir(flow.join(".venv/bin")).unwrap();
            std::os::unix::fs::symlink(&installed, flow.join(".venv/bin/python")).unwrap();
            let set = |path: &Path, mode: u32| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            for folder in
                ["", ".venv", ".venv/bin", ".venv/lib", ".venv/lib/python3.11", ".venv/lib/python3.11/site-packages"]
            {
                set(&flow.join(folder), 0o755);
            }
            set(installed.parent().unwrap(), 0o755);
            let program = flow.join(".venv/bin/python");
            assert_eq!(Interpreter::choose(None, None, &flow).unwrap().program, program, "{part}");
            let (open, named) = match part {
                "python3" => (installed.clone(), program),
                "installed" => {
                    (installed.parent().unwrap().to_owned(), installed.parent().unwrap().canonicalize().unwrap())
                }
                part => (flow.join(part), flow.join(part)),
            };
            set(&open, 0o777);
            let error = Interpreter::choose(None, None, &flow).unwrap_err();
            let named = named.display().to_string();
            assert!(error.message.contains(&format!("can change {}", named.trim_end_matches('/'))), "{part}: {error}");
            assert!(error.message.contains("SIDELINE_PYTHON="), "{error}");
        }
    }

    #[test]
    fn an_interpreter_that_cannot_host_the_flow_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let python = folder.path().join("python");
        let check = |text: &str| {
            write_program(&python, text);
            let interpreter = Interpreter { program: python.clone(), origin: Origin::Variable };
            interpreter.replace_process().message
        };
        let absent = Interpreter { program: folder.path().join("absent"), origin: Origin::Path };
        assert!(absent.replace_process().message.contains("it does not start: No such file"));
        let old = check("#!/bin/sh\necho '{\"version\": [3, 10, 4], \"package\": null}'\n");
        assert!(old.contains("(from SIDELINE_PYTHON): it is Python 3.10.4, 3.11 or newer is needed"), "{old}");
        let bare = check("#!/bin/sh\necho '{\"version\": [3, 12, 0], \"package\": null}'\n");
        assert!(bare.contains("it has no package `sideline`: install the wheel with"), "{bare}");
        let broken = check("#!/bin/sh\necho 'no encodings' >&2\nexit 1\n");
        assert!(broken.contains("it is no usable Python: no encodings"), "{broken}");
    }
}
