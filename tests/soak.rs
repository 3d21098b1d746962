//! Soak tests over dora, for `cargo xtask soak`. Every `cargo test` runs a few of each kind, so that they keep working.

mod support;

use std::{
    collections::BTreeMap,
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use sideline_testkit::Random;
use support::{
    Bench, CommandResult, finish, frame_times, has_models, has_tool, json_text, lock_dora,
    nodes::{nodes_in, private_memory, run_folder},
    processes, repository, rows,
    streams::wait_until,
    wait, wait_for_nodes_to_end, working_directory,
};

/// Environment variable: number of random runs.
const RUNS: &str = "SIDELINE_SOAK_RUNS";
/// Environment variable: seed of the first random run; each further run has the next seed.
const SEED: &str = "SIDELINE_SOAK_SEED";
/// Environment variable: total duration of the long runs, min.
const MINUTES: &str = "SIDELINE_SOAK_MINUTES";

/// File with the output of dora.
const DORA_OUTPUT: &str = "dora.txt";

/// Reads a number from an environment variable.
fn number(name: &str, default: f64) -> f64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: `{text}`")))
}

/// Starts `dora run` on a flow. Its output goes to a file, because an unread pipe would fill up in a long run.
fn start(bench: &Bench, flow: &str) -> Child {
    bench.write("flow.yml", flow);
    let log = std::fs::File::create(bench.path().join(DORA_OUTPUT)).unwrap();
    let mut command = bench.command("dora");
    command.args(["run", "flow.yml"]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

/// Returns the end of dora's output.
fn dora_output(bench: &Bench) -> String {
    let text = std::fs::read_to_string(bench.path().join(DORA_OUTPUT)).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("DEBUG")).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// Sends a signal to a process.
fn signal(pid: u32, signal: rustix::process::Signal) {
    // The process may have ended already.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), signal);
}

/// Runs `sideline result` and returns its exit code and the result.
fn result(bench: &Bench, run: &Path) -> (i32, Value) {
    let CommandResult { code, text } = bench.sideline(&["result", run.to_str().unwrap(), "--json"]);
    (code, json_text(&text))
}

/// Returns a count in a JSON object.
fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

// ---- random runs ----

/// Parameters of a random run: one source with several streams -> rehearse -> counter -> recorder, and encode if there
/// is audio.
#[derive(Debug)]
struct RandomRun {
    /// Number of frames of each stream's clip.
    clips: Vec<u64>,
    has_audio: bool,
    /// Time that the rehearse operator takes to start, ms; longer than the stall timeout in some runs.
    start_ms: usize,
    work_ms: usize,
    /// Number of recorded rows after which a live, endless run is stopped; `None` for a complete run to the end of all
    /// clips.
    stop_after_rows: Option<usize>,
}

/// Stall timeout, s.
const STALL_S: usize = 5;

impl RandomRun {
    /// Draws the parameters of a seed; every fourth run is stopped.
    fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let streams = random.between(1, 16);
        let is_slow = random.one_in(4);
        RandomRun {
            clips: (0..streams).map(|_| random.between(1, 40) as u64).collect(),
            has_audio: random.one_in(2),
            start_ms: if is_slow { random.between(0, 1500 * STALL_S) } else { 0 },
            work_ms: random.between(0, 2),
            stop_after_rows: (seed.is_multiple_of(4)).then(|| random.between(1, 150)),
        }
    }

    /// Flow text of the run.
    fn flow(&self) -> String {
        let clips: Vec<String> = self.clips.iter().enumerate().map(|(at, _)| format!("c{at}.mp4")).collect();
        let RandomRun { start_ms, work_ms, has_audio, .. } = self;
        let (mode, endless) = if self.stop_after_rows.is_some() { ("live", ", LOOP: true") } else { ("complete", "") };
        let (outputs, done) = if *has_audio { ("frames, audio", ", done_enc: enc/done") } else { ("frames", "") };
        let mut flow = format!(
            "env: {{SIDELINE_STALL_S: {STALL_S}, SIDELINE_MODE: {mode}}}
nodes:
  - id: cap
    path: sideline
    args: run capture
    env: {{SOURCES: '[{}]', SIZE: 64x64{endless}}}
    inputs: {{done_rec: rec/done{done}}}
    outputs: [{outputs}]
    shared_memory_pool_size: 32MB
  - id: mid
    path: sideline
    args: run rehearse
    env: {{START_MS: {start_ms}, WORK_MS: {work_ms}}}
    inputs: {{frames: cap/frames}}
    outputs: [frames]
    shared_memory_pool_size: 32MB
  - id: cnt
    path: sideline
    args: run counter
    inputs: {{frames: mid/frames}}
    outputs: [counts]
  - id: rec
    path: sideline
    args: run recorder
    inputs: {{counts: cnt/counts}}
    outputs: [done]
",
            clips.join(", ")
        );
        if *has_audio {
            flow += "  - id: enc
    path: sideline
    args: run encode
    env: {PRESET: ultrafast}
    inputs: {frames: mid/frames, audio: cap/audio}
    outputs: [done]
";
        }
        flow
    }
}

/// Cache of small clips, each created once.
struct ClipCache(Bench);

impl ClipCache {
    /// Copies a clip with `frames` frames into a folder as `name`.
    fn copy_to(&self, name: &str, frames: u64, has_audio: bool, into: &Path) {
        let made = self.0.path().join(format!("{frames}-{has_audio}.mp4"));
        if !made.is_file() {
            let picture = format!("testsrc=size=64x64:rate=30:duration={}", frames as f64 / 30.0);
            let mut ffmpeg = Command::new("ffmpeg");
            ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", &picture]);
            if has_audio {
                ffmpeg.args(["-f", "lavfi", "-i", &format!("sine=440:duration={}", frames as f64 / 30.0)]);
            }
            ffmpeg.args(["-frames:v", &frames.to_string(), "-pix_fmt", "yuv420p"]).arg(&made);
            let ended = finish(&mut ffmpeg);
            assert_eq!(ended.code, 0, "{}", ended.text);
        }
        std::fs::copy(made, into.join(name)).unwrap();
    }
}

/// Runs a random flow and checks its results; panics if something is wrong.
fn check_random_run(plan: &RandomRun, clips: &ClipCache) {
    let bench = Bench::new();
    for (at, frames) in plan.clips.iter().enumerate() {
        // Half of the streams of a run with audio have an audio track.
        clips.copy_to(&format!("c{at}.mp4"), *frames, plan.has_audio && at % 2 == 0, bench.path());
    }
    let mut child = start(&bench, &plan.flow());
    let _guard = KillOnPanic(bench.path().to_owned(), child.id());
    if let Some(rows) = plan.stop_after_rows {
        let recorded = || run_folder(&bench).and_then(|run| std::fs::read_to_string(run.join("counts.jsonl")).ok());
        let is_time = || recorded().is_some_and(|text| text.lines().count() >= rows);
        wait_until("rows are recorded", || is_time() || child.try_wait().unwrap().is_some());
        signal(child.id(), rustix::process::Signal::INT);
    }
    let ended = wait(child);
    wait_for_nodes_to_end(&bench);
    let run = run_folder(&bench).unwrap_or_else(|| panic!("no folder of the run: {}", dora_output(&bench)));
    let (code, result) = result(&bench, &run);
    let (failure, text) = (&result["failure"], dora_output(&bench));
    assert_eq!((ended.code, code), (0, 0), "exit codes of dora and of the result; {failure}\n{text}");
    check_run(plan, &run, &result);
}

/// Guard that kills the processes of a run if the test panics.
struct KillOnPanic(PathBuf, u32);

impl Drop for KillOnPanic {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        signal(self.1, rustix::process::Signal::KILL);
        let here = self.0.canonicalize().unwrap();
        for pid in
            processes(&["sideline", "run"]).into_iter().filter(|pid| working_directory(*pid) == Some(here.clone()))
        {
            signal(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Checks the counts of a run: sources, nodes, rows and videos.
fn check_run(plan: &RandomRun, run: &Path, result: &Value) {
    let source = &result["sources"][0];
    let (decoded, admitted, dropped) =
        (count(source, "decoded"), count(source, "admitted"), count(source, "forgotten"));
    assert_eq!(decoded, admitted + dropped, "{source}");
    let recorded = recorded_frames(run);
    let rows: u64 = recorded.values().sum();
    let finished = match plan.stop_after_rows {
        None => {
            assert_eq!(result["status"], "done");
            assert_eq!((admitted, dropped), (plan.clips.iter().sum(), 0), "{source}");
            for (at, frames) in plan.clips.iter().enumerate() {
                assert_eq!(recorded.get(&format!("c{at}")), Some(frames), "rows of stream c{at}");
            }
            for node in result["nodes"].as_array().unwrap() {
                assert_eq!(count(node, "processed"), admitted, "{node}");
            }
            admitted
        }
        Some(_) => {
            assert_eq!(result["status"], "stopped");
            let stopped = count(result, "stopped_at_frame");
            assert_eq!(stopped + count(source, "unfinished"), admitted, "{source}");
            assert!(
                stopped <= rows && rows <= admitted,
                "stopped after {stopped} frames, {rows} rows, {admitted} admitted"
            );
            stopped
        }
    };
    if plan.has_audio {
        let files = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
        let videos: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "mp4")).collect();
        let frames: usize = videos.iter().map(|video| frame_times(video).len()).sum();
        let is_complete =
            if plan.stop_after_rows.is_some() { frames as u64 >= finished } else { frames as u64 == finished };
        assert!(is_complete, "{frames} frames in {} videos, {finished} frames finished", videos.len());
    }
}

/// Returns the number of recorded rows of each stream; asserts that their frame numbers start at 0 without a gap.
fn recorded_frames(run: &Path) -> BTreeMap<String, u64> {
    let mut frames: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows(run.join("counts.jsonl")) {
        let next = frames.entry(row["stream"].as_str().unwrap().to_owned()).or_default();
        assert_eq!(count(&row, "frame"), *next, "a gap in the frame numbers: {row}");
        *next += 1;
    }
    frames
}

#[test]
fn random_runs_have_consistent_counts() {
    let Some(_lock) = lock_dora() else { return };
    if !has_tool("ffmpeg") || !has_tool("ffprobe") {
        return;
    }
    let (runs, first) = (number(RUNS, 3.0) as u64, number(SEED, 1.0) as u64);
    let clips = ClipCache(Bench::new());
    let mut failures = String::new();
    for at in 0..runs {
        let seed = first + at;
        let plan = RandomRun::new(seed);
        let started_at = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| check_random_run(&plan, &clips)));
        let cause = result.err().map(|panic| match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast::<&str>().map_or_else(|_| "a panic".into(), |text| (*text).to_owned()),
        });
        let outcome = if cause.is_some() { "FAILED" } else { "passed" };
        println!("soak: seed {seed}: {outcome}, {:.1} s, {plan:?}", started_at.elapsed().as_secs_f64());
        if let Some(cause) = cause {
            let _ =
                writeln!(failures, "seed {seed} (cargo xtask soak runs --count 1 --seed {seed}): {plan:?}\n{cause}\n");
        }
    }
    let count = failures.matches("(cargo xtask soak").count();
    println!("soak: {} of {runs} runs passed", runs - count as u64);
    assert!(failures.is_empty(), "{count} of {runs} runs failed:\n{failures}");
}

// ---- long live runs ----

/// Average number of frames between failures of an operator in a long run, for errors and for panics each.
const FAIL_ONE_IN: u64 = 300;
/// Default duration of each long run, s.
const DEFAULT_S: f64 = 6.0;
/// Interval between measurements of memory, s.
const MEMORY_INTERVAL_S: f64 = 2.0;
/// Minimum duration of a run for the detection of leaks, s; in shorter runs caches and pools are still filling.
const MIN_LEAK_TEST_S: f64 = 600.0;
/// Maximum growth of a process's memory, bytes per hour. A leak of one small message per frame is ten times this.
const MAX_GROWTH_BYTES_PER_HOUR: f64 = 10e6;

/// Inserts an operator that fails at random frames, and is restarted, behind the source of a flow.
fn with_failing_operator(flow: &str, source: &str, read_by: &str) -> String {
    let frames = format!("frames: {source}/frames");
    let (before, after) =
        flow.split_once(&format!("- id: {read_by}\n")).expect("the flow has the reader of the frames");
    let after = after.replacen(&frames, "frames: failing/frames", 1);
    format!(
        "env: {{SIDELINE_MODE: live, SIDELINE_ON_ERROR: restart}}\n{before}- id: failing
    path: sideline
    args: run rehearse
    env: {{FAIL_ONE_IN: {FAIL_ONE_IN}}}
    inputs: {{{frames}}}
    outputs: [frames]
    shared_memory_pool_size: 24MB
  - id: {read_by}\n{after}"
    )
}

/// Private memory of each node over time: time since the start (s) and size (bytes).
type MemoryLog = BTreeMap<String, Vec<(f64, f64)>>;

/// Runs a flow to its end, and returns the folder of the run and the memory of its nodes.
fn run_live(bench: &Bench, flow: &str) -> (PathBuf, MemoryLog) {
    let mut child = start(bench, flow);
    let _guard = KillOnPanic(bench.path().to_owned(), child.id());
    let (started_at, mut memory) = (Instant::now(), MemoryLog::new());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        for (node, pid) in nodes_in(bench.path()) {
            let at = started_at.elapsed().as_secs_f64();
            memory.entry(node).or_default().extend(private_memory(pid).map(|bytes| (at, bytes as f64)));
        }
        std::thread::sleep(Duration::from_secs_f64(MEMORY_INTERVAL_S));
    };
    assert!(status.success(), "dora ended with {status}: {}", dora_output(bench));
    wait_for_nodes_to_end(bench);
    (run_folder(bench).expect("the run has a folder"), memory)
}

/// Checks the frame accounting of a live run with restarts, and prints it.
fn check_accounting(bench: &Bench, run: &Path, decoded: u64) {
    let (code, result) = result(bench, run);
    assert_eq!((code, &result["status"]), (0, &"done".into()), "{}", result["failure"]);
    let source = &result["sources"][0];
    let admitted = count(source, "admitted");
    assert_eq!((count(source, "decoded"), admitted + count(source, "forgotten")), (decoded, decoded), "{source}");
    let mut failed = 0;
    for node in result["nodes"].as_array().unwrap() {
        let skipped: u64 = node["skipped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        let failures = count(node, "errors") + count(node, "panics");
        // `speech` has only side inputs, and therefore no frames of its own.
        if node["operator"] != "speech" {
            assert_eq!(count(node, "processed") + skipped + failures, admitted, "{node}");
        }
        failed += failures;
    }
    println!("soak: {decoded} frames decoded, {admitted} admitted, {failed} failures, each a restart");
}

/// Prints the growth of each node's memory after the first third of the run, and fails if one exceeds the maximum.
fn check_memory(memory: &MemoryLog, seconds: f64) {
    let mut leaks = String::new();
    for (node, measurements) in memory {
        let settled = &measurements[measurements.len() / 3..];
        let Some((_, bytes)) = settled.last() else { continue };
        if seconds < MIN_LEAK_TEST_S {
            println!("soak: {node}: {:.1} MB at the end; the run is too short to measure growth", bytes / 1e6);
            continue;
        }
        let per_hour = slope(settled) * 3600.0;
        println!("soak: {node}: {:.1} MB at the end, {:+.1} MB per hour", bytes / 1e6, per_hour / 1e6);
        if per_hour > MAX_GROWTH_BYTES_PER_HOUR {
            let _ = writeln!(leaks, "{node} grows by {:.1} MB per hour", per_hour / 1e6);
        }
    }
    assert!(leaks.is_empty(), "memory grows:\n{leaks}");
}

/// Returns the slope of the least-squares line through points; 0 for fewer than two.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |coordinate: fn(&(f64, f64)) -> f64| points.iter().map(coordinate).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let product: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    if square > 0.0 { product / square } else { 0.0 }
}

#[test]
fn a_slope_is_growth_per_time() {
    assert_eq!(slope(&[(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]), 2.0);
    assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
}

#[test]
fn long_live_runs_with_restarts_keep_counts_and_memory() {
    let Some(_lock) = lock_dora() else { return };
    if !has_tool("ffmpeg") || !has_models() {
        return;
    }
    let seconds = number(MINUTES, 2.0 * DEFAULT_S / 60.0) * 60.0 / 2.0;
    let flows = repository().join("dataflows");

    println!("soak: count.yml for {seconds:.0} s");
    let bench = Bench::new();
    let frames = (seconds * 30.0) as u64;
    let flow = std::fs::read_to_string(flows.join("count.yml")).unwrap();
    let flow =
        with_failing_operator(&flow, "synthetic", "counter").replace("FRAMES: 300", &format!("FRAMES: {frames}"));
    let (run, memory) = run_live(&bench, &flow);
    check_accounting(&bench, &run, frames);
    let skipped = rows_if_any(&run.join("counts.skipped.jsonl"));
    let (_, result) = result(&bench, &run);
    assert_eq!(rows(run.join("counts.jsonl")).len() + skipped, count(&result["sources"][0], "admitted") as usize);
    check_memory(&memory, seconds);

    println!("soak: fight.yml for {seconds:.0} s");
    let bench = Bench::new();
    let (clip, frames) = repeated_clip(&bench, seconds);
    copy_modules(&flows.join("modules"), &bench.path().join("modules"));
    let flow = std::fs::read_to_string(flows.join("fight.yml")).unwrap();
    let flow = with_failing_operator(&flow, "capture", "perception").replace("models/clips/athletes.mp4", &clip);
    let (run, memory) = run_live(&bench, &flow);
    check_accounting(&bench, &run, frames);
    check_memory(&memory, seconds);
}

/// Number of rows of a table; 0 if it does not exist.
fn rows_if_any(path: &Path) -> usize {
    if path.is_file() { rows(path).len() } else { 0 }
}

/// Creates a smaller clip of the athletes, repeated for at least `seconds`; returns its path and its number of frames.
fn repeated_clip(bench: &Bench, seconds: f64) -> (String, u64) {
    let clip = repository().join("models/clips/athletes.mp4");
    let (once, long) = (bench.path().join("once.mp4"), bench.path().join("long.mp4"));
    let ffmpeg = |arguments: &[&str]| {
        let ended = finish(Command::new("ffmpeg").args(["-v", "error"]).args(arguments));
        assert_eq!(ended.code, 0, "{}", ended.text);
    };
    let (once, long) = (once.to_str().unwrap(), long.to_str().unwrap());
    ffmpeg(&["-i", clip.to_str().unwrap(), "-vf", "scale=-2:720", "-an", "-r", "30", "-bf", "0", once]);
    let frames = frame_times(Path::new(once)).len() as u64;
    let times = (seconds * 30.0 / frames as f64).ceil() as u64;
    ffmpeg(&["-stream_loop", &(times - 1).to_string(), "-i", once, "-c", "copy", long]);
    (long.to_owned(), frames * times)
}

/// Copies the files of a folder.
fn copy_modules(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
