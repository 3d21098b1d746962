//! Support of the tests: the package beside the extension module that cargo has built, and a folder with flows.
#![allow(dead_code, reason = "each test file uses only a part")]

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use sideline_testkit::{Capability, skip_test};

/// Folder of one test, with the package `sideline` in `packages`.
pub struct Bench {
    folder: tempfile::TempDir,
    python: PathBuf,
    programs: PathBuf,
    library: PathBuf,
}

/// Result of a finished program.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard output and standard error.
    pub text: String,
}

/// Source and recorder of a flow, with a place for the node of an operator in Python, whose output is `rows`.
const FLOW: &str = "\
nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    env: {FRAMES: 40, WIDTH: 64, HEIGHT: 48}
    inputs: {done_recorder: recorder/done}
    outputs: [frames]
  - id: mine
    path: sideline
    args: run TARGET
    ENV
    inputs: {frames: synthetic/frames}
    outputs: [rows]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {rows: mine/rows}
    outputs: [done]
";

impl Bench {
    /// Creates the folder; counts the test as skipped if Python or its packages NumPy and PyArrow, or the program, are missing.
    pub fn new() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let venv = root.join("../../.venv/bin/python");
        let named = std::env::var_os("SIDELINE_TEST_PYTHON").map(PathBuf::from);
        let python = named.unwrap_or_else(|| if venv.exists() { venv } else { "python3".into() });
        let packages =
            Command::new(&python).args(["-c", "import numpy, pyarrow, pandas"]).stderr(Stdio::null()).status();
        if !packages.is_ok_and(|status| status.success()) {
            skip_test(Capability::Python, format!("{}: no NumPy, PyArrow or pandas", python.display()));
            return None;
        }
        let tests = std::env::current_exe().unwrap();
        let libraries = tests.parent().unwrap();
        let programs = libraries.parent().unwrap().to_owned();
        if !programs.join("sideline").is_file() {
            skip_test(Capability::Sideline, "the program `sideline` is not built; `cargo build -p sideline` builds it");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("packages/sideline");
        std::fs::create_dir_all(&package).unwrap();
        for file in std::fs::read_dir(root.join("python/sideline")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "py") {
                std::fs::copy(&path, package.join(path.file_name().unwrap())).unwrap();
            }
        }
        let library = libraries.join("libsideline_native.so");
        symlink(&library, package.join("_native.abi3.so")).unwrap();
        Some(Self { folder, python, programs, library })
    }

    /// Returns true if Python has a package; counts the test as skipped if not.
    pub fn has_package(&self, name: &str) -> bool {
        let found = Command::new(&self.python).args(["-c", &format!("import {name}")]).stderr(Stdio::null()).status();
        let found = found.is_ok_and(|status| status.success());
        if !found {
            skip_test(Capability::Python, format!("{}: no {name}", self.python.display()));
        }
        found
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the extension module.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Returns the interpreter.
    pub fn interpreter(&self) -> &Path {
        &self.python
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes `my_op.py` and `flow.yml`, a flow of a synthetic source, the operator, and a recorder; `env` is the configuration of
    /// the operator, `{STEP: 2}`.
    pub fn write_flow(&self, operator: &str, env: &str) {
        self.write("my_op.py", operator);
        let env = if env.is_empty() { String::new() } else { format!("env: {env}") };
        self.write("flow.yml", &FLOW.replace("TARGET", "my_op.py").replace("ENV", &env));
    }

    /// Returns a command in the folder, with the package on Python's path and the program `sideline` on PATH.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin");
        let path = [self.programs.clone(), venv].into_iter().chain(std::env::split_paths(&path));
        command
            .current_dir(self.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("PYTHONPATH", self.path().join("packages"))
            .env("SIDELINE_PYTHON", &self.python)
            .env("SIDELINE_HOME", Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .stdin(Stdio::null());
        for variable in ["LOG_LEVEL", "LOG_FILE", "VIRTUAL_ENV", "DORA_ZENOH_CONFIG_OVERLAY"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs the native program `sideline`.
    pub fn sideline(&self, arguments: &[&str]) -> Outcome {
        finish(self.command(self.programs.join("sideline")).args(arguments))
    }

    /// Runs a program in Python.
    pub fn run_python(&self, program: &str) -> Outcome {
        let path = self.write("program.py", program);
        finish(self.command(&self.python).arg(path))
    }

    /// Runs `flow.yml` into the folder `out`; the program must succeed.
    pub fn run_flow(&self) -> Outcome {
        let outcome = self.sideline(&["run", "flow.yml", "--output", "out"]);
        assert_eq!(outcome.code, 0, "{}", outcome.text);
        outcome
    }

    /// Returns the rows that the recorder wrote to `out`.
    pub fn rows(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path().join("out/rows.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    Outcome { code: output.status.code().unwrap_or(-1), stdout, text }
}
