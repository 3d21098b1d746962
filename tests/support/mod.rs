//! Support of the system tests: test folders with flows, programs that run them, and readers of their results.
#![allow(dead_code, reason = "each test file uses only a part")]

pub mod nodes;
pub mod streams;

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use sideline_api::models::Models;
pub use sideline_testkit::{Capability, repository, skip_test};

/// Program `sideline`: its path in tests of the package `sideline`. Those of `sideline-lab`, for which cargo does not build it,
/// find it on the PATH of [`Bench::command`] after they have checked [`has_sideline`].
pub const SIDELINE: &str = match option_env!("CARGO_BIN_EXE_sideline") {
    Some(path) => path,
    None => "sideline",
};

/// Program `sideline-lab`: its path in tests of the package `sideline-lab`.
pub const LAB: Option<&str> = option_env!("CARGO_BIN_EXE_sideline-lab");

/// Time after which a program or a wait counts as hanging.
const HANG_TIMEOUT: Duration = Duration::from_secs(120);

/// Returns `shared/data` beside the repository; counts the test as skipped if it is missing.
pub fn shared_data() -> Option<PathBuf> {
    let data = repository().join("../shared/data");
    if !data.is_dir() {
        skip_test(Capability::Data, "no ../shared/data");
        return None;
    }
    Some(data)
}

/// Private folder of one test.
pub struct Bench {
    folder: tempfile::TempDir,
}

/// Result of a finished program.
pub struct CommandResult {
    /// Exit code.
    pub code: i32,
    /// Standard output and standard error.
    pub text: String,
}

impl Bench {
    /// Creates an empty folder.
    pub fn new() -> Self {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Returns a command that runs in the folder, with `sideline` and dora on its PATH.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env("PATH", path_with_tools()).env("RUST_BACKTRACE", "0");
        for variable in ["LOG_LEVEL", "LOG_FILE", "DORA_ZENOH_CONFIG_OVERLAY", "DORA_NODE_SHM_POOL_SIZE"] {
            command.env_remove(variable);
        }
        command.env("SIDELINE_HOME", repository());
        command
    }

    /// Runs `sideline ...` to its end.
    pub fn sideline(&self, arguments: &[&str]) -> CommandResult {
        finish(self.command(SIDELINE).args(arguments))
    }

    /// Runs `sideline-lab ...` to its end; in tests of the package `sideline-lab` only.
    pub fn lab(&self, arguments: &[&str]) -> CommandResult {
        finish(self.command(LAB.expect("a test of the package `sideline-lab`")).args(arguments))
    }

    /// Returns the newest folder in `runs`.
    pub fn last_run(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.path().join("runs")).unwrap().map(|entry| entry.unwrap().path());
        runs.max_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap()).unwrap()
    }
}

/// Reads a JSON file, such as `run.json` or a result.
pub fn json(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    serde_json::from_str(&std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// Returns the folder of the programs that cargo has built.
fn built_programs() -> &'static Path {
    Path::new(LAB.unwrap_or(SIDELINE)).parent().unwrap()
}

/// Returns true if the program `sideline` is built; otherwise counts the test as skipped.
pub fn has_sideline() -> bool {
    let is_built = built_programs().join("sideline").is_file();
    if !is_built {
        skip_test(Capability::Sideline, "the program `sideline` is not built; `cargo build -p sideline` builds it");
    }
    is_built
}

/// Returns a PATH with the programs that cargo has built and those of `.venv`.
fn path_with_tools() -> std::ffi::OsString {
    let venv = repository().join(".venv/bin");
    let old = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([built_programs().to_owned(), venv].into_iter().chain(std::env::split_paths(&old))).unwrap()
}

/// Runs a command to its end. Kills it and fails the test if it hangs.
pub fn finish(command: &mut Command) -> CommandResult {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(child)
}

/// Waits for the end of a child with piped output. Kills it and fails the test if it hangs.
pub fn wait(mut child: Child) -> CommandResult {
    let mut pipes: Vec<Box<dyn Read + Send>> = Vec::new();
    pipes.extend(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    pipes.extend(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let readers: Vec<_> = pipes
        .into_iter()
        .map(|mut pipe| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = pipe.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        })
        .collect();
    let deadline = Instant::now() + HANG_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("hangs: {}", readers.into_iter().map(|r| r.join().unwrap()).collect::<String>());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    CommandResult { code: status.code().unwrap_or(-1), text }
}

/// Returns a lock for the use of dora, whose flows share ports of the machine; `None`, and the test counts as skipped,
/// if dora is not installed.
pub fn lock_dora() -> Option<MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let found = Command::new("dora").env("PATH", path_with_tools()).arg("--version").output();
    if !found.is_ok_and(|Output { status, .. }| status.success()) {
        skip_test(Capability::Dora, "no `dora` in .venv or on PATH; `cargo xtask setup` installs it");
        return None;
    }
    Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Makes a program available under another path: as a hard link, or as a copy where that is on another file system.
pub fn copy_program(program: &str, to: &Path) {
    if std::fs::hard_link(program, to).is_err() {
        std::fs::copy(program, to).unwrap();
    }
}

/// Returns the ids of all processes whose command lines contain all these words.
pub fn processes(words: &[&str]) -> Vec<u32> {
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if words.iter().all(|word| line.contains(word)) {
            found.push(pid);
        }
    }
    found
}

/// Returns the working directory of a process.
pub fn working_directory(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Flow text: capture with the environment `env` -> counter -> recorder.
pub fn count_flow(env: &str) -> String {
    format!(
        "nodes:
  - id: capture
    path: sideline
    args: run capture
    env: {{{env}}}
    inputs: {{done_recorder: recorder/done}}
    outputs: [frames]
  - id: counter
    path: sideline
    args: run counter
    inputs: {{frames: capture/frames}}
    outputs: [counts]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {{counts: counter/counts}}
    outputs: [done]
"
    )
}

/// Flow text: synthetic with the environment `source` -> rehearse with `middle` -> counter -> recorder.
pub fn rehearse_flow(source: &str, middle: &str) -> String {
    format!(
        "nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    env: {{{source}}}
    inputs: {{done_recorder: recorder/done}}
    outputs: [frames]
  - id: middle
    path: sideline
    args: run rehearse
    env: {{{middle}}}
    inputs: {{frames: synthetic/frames}}
    outputs: [frames]
  - id: counter
    path: sideline
    args: run counter
    inputs: {{frames: middle/frames}}
    outputs: [counts]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {{counts: counter/counts}}
    outputs: [done]
"
    )
}

/// Returns true if an FFmpeg tool (`ffmpeg`, `ffprobe`) is on PATH; otherwise counts the test as skipped.
pub fn has_tool(name: &str) -> bool {
    let found = Command::new(name).arg("-version").output().is_ok_and(|output| output.status.success());
    if !found {
        skip_test(Capability::Ffmpeg, format_args!("no `{name}` on PATH"));
    }
    found
}

/// Returns true if the models of fight.yml and its clip are installed; otherwise counts the test as skipped.
pub fn has_models() -> bool {
    ["blazepose_detector", "blazepose_lite", "athletes"].iter().all(|name| is_installed(name))
}

/// Returns true if a model or clip of models.yml is installed; otherwise counts the test as skipped.
pub fn is_installed(name: &str) -> bool {
    let catalogue = Models::open(repository()).unwrap();
    let entry = catalogue.models().iter().chain(catalogue.clips()).find(|entry| entry.name == name).unwrap();
    let is_file = repository().join(&entry.path).is_file();
    if !is_file {
        let path = entry.path.display();
        skip_test(Capability::Models, format_args!("no {path}; `sideline models fetch {name}` installs it"));
    }
    is_file
}

/// Decodes a video and returns the time of every frame, s, as formatted by ffprobe.
pub fn frame_times(video: &Path) -> Vec<String> {
    let entries = ["-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0"];
    let probe =
        finish(Command::new("ffprobe").args(["-v", "error", "-select_streams", "v:0"]).args(entries).arg(video));
    assert_eq!(probe.code, 0, "{}: {}", video.display(), probe.text);
    // A frame with side data (the encoder's signature) is followed by an empty line.
    probe.text.lines().map(|line| line.trim_matches(',').to_owned()).filter(|time| !time.is_empty()).collect()
}

/// Reads the rows of a table in JSON Lines.
pub fn rows(path: impl AsRef<Path>) -> Vec<Value> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Reads the rows of a Parquet file, in batches of 65,536.
pub fn parquet(path: &Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(65_536).build().unwrap();
    reader.map(Result::unwrap).collect()
}

/// Parses the output of a program as JSON.
pub fn json_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Waits until no node of the test's folder runs any more. Fails the test if one remains.
pub fn wait_for_nodes_to_end(bench: &Bench) {
    let here = bench.path().canonicalize().unwrap();
    let deadline = Instant::now() + HANG_TIMEOUT;
    let remaining =
        || processes(&["sideline", "run"]).into_iter().find(|pid| working_directory(*pid) == Some(here.clone()));
    while let Some(pid) = remaining() {
        assert!(Instant::now() < deadline, "process {pid} was left behind");
        std::thread::sleep(Duration::from_millis(20));
    }
}
