//! What the tests of the whole system share: a folder with flows in it, and the programs that run them.
#![allow(dead_code, reason = "each test file uses its part")]

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
pub use sideline_testkit::{Capability, skipped};

/// The program under test.
pub const SIDELINE: &str = env!("CARGO_BIN_EXE_sideline");

/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `shared/data` beside the repository; counts the test as skipped when it is not there.
pub fn shared_data() -> Option<PathBuf> {
    let data = repository().join("../shared/data");
    if !data.is_dir() {
        skipped(Capability::Data, "no ../shared/data");
        return None;
    }
    Some(data)
}

/// A folder of its own for one test.
pub struct Bench {
    folder: tempfile::TempDir,
}

/// How a program ended.
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// Standard output and standard error.
    pub text: String,
}

impl Bench {
    /// An empty folder.
    pub fn new() -> Self {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A command in the folder, with `sideline` and dora on its PATH.
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
    pub fn sideline(&self, arguments: &[&str]) -> Ended {
        finish(self.command(SIDELINE).args(arguments))
    }

    /// The newest folder of runs.
    pub fn last_run(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.path().join("runs")).unwrap().map(|entry| entry.unwrap().path());
        runs.max_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap()).unwrap()
    }
}

/// `run.json` or a result, as JSON.
pub fn json(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    serde_json::from_str(&std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

fn path_with_tools() -> std::ffi::OsString {
    let sideline = Path::new(SIDELINE).parent().unwrap().to_owned();
    let venv = repository().join(".venv/bin");
    let old = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([sideline, venv].into_iter().chain(std::env::split_paths(&old))).unwrap()
}

/// Runs a command to its end; a hang is a failed test that leaves nothing behind.
pub fn finish(command: &mut Command) -> Ended {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(child)
}

/// Waits for the end of a child whose output is piped.
pub fn wait(mut child: Child) -> Ended {
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
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("hangs: {}", readers.into_iter().map(|r| r.join().unwrap()).collect::<String>());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    Ended { code: status.code().unwrap_or(-1), text }
}

/// True when dora is there; counts the test as skipped when it is not. Holds a lock, as flows share ports of the machine.
pub fn dora() -> Option<MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let found = Command::new("dora").env("PATH", path_with_tools()).arg("--version").output();
    if !found.is_ok_and(|Output { status, .. }| status.success()) {
        skipped(Capability::Dora, "no `dora` in .venv or on PATH; `cargo xtask setup` installs it");
        return None;
    }
    Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Process ids of every program whose command line holds all these words.
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

/// The working directory of a process.
pub fn working_directory(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Capture as `env` says -> counter -> recorder.
pub fn count(env: &str) -> String {
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

/// Synthetic frames as `source` says -> rehearse as `middle` says -> counter -> recorder.
pub fn rehearsed(source: &str, middle: &str) -> String {
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

/// True when FFmpeg's tool (`ffmpeg`, `ffprobe`) is there; counts the test as skipped when it is not.
pub fn tool(name: &str) -> bool {
    let found = Command::new(name).arg("-version").output().is_ok_and(|output| output.status.success());
    if !found {
        skipped(Capability::Ffmpeg, format_args!("no `{name}` on PATH"));
    }
    found
}

/// True when the models of the fight and its clip are installed; counts the test as skipped when they are not.
pub fn models() -> bool {
    ["blazepose_detector", "blazepose_lite", "athletes"].iter().all(|name| installed(name))
}

/// True when a model or clip of models.yml is installed; counts the test as skipped when it is not.
pub fn installed(name: &str) -> bool {
    let catalogue = Models::open(repository()).unwrap();
    let entry = catalogue.models().iter().chain(catalogue.clips()).find(|entry| entry.name == name).unwrap();
    let there = repository().join(&entry.path).is_file();
    if !there {
        let path = entry.path.display();
        skipped(Capability::Models, format_args!("no {path}; `sideline models fetch {name}` installs it"));
    }
    there
}

/// The time of every frame of a video, in seconds as ffprobe writes them; the frames are decoded.
pub fn frame_times(video: &Path) -> Vec<String> {
    let entries = ["-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0"];
    let probe =
        finish(Command::new("ffprobe").args(["-v", "error", "-select_streams", "v:0"]).args(entries).arg(video));
    assert_eq!(probe.code, 0, "{}: {}", video.display(), probe.text);
    // A frame with side data (the encoder's signature) is followed by an empty line.
    probe.text.lines().map(|line| line.trim_matches(',').to_owned()).filter(|time| !time.is_empty()).collect()
}

/// The rows of a table in JSON Lines.
pub fn rows(path: impl AsRef<Path>) -> Vec<Value> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of a Parquet file, as one batch for each 65,536.
pub fn parquet(path: &Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(65_536).build().unwrap();
    reader.map(Result::unwrap).collect()
}

/// What a program printed, as JSON.
pub fn json_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Waits until no node of the test's folder runs any more; one that stays is a failed test.
pub fn nothing_stays(bench: &Bench) {
    let here = bench.path().canonicalize().unwrap();
    let until = Instant::now() + PATIENCE;
    let left = || processes(&["sideline", "run"]).into_iter().find(|pid| working_directory(*pid) == Some(here.clone()));
    while let Some(pid) = left() {
        assert!(Instant::now() < until, "process {pid} was left behind");
        std::thread::sleep(Duration::from_millis(20));
    }
}
