//! Long trials over dora: `cargo xtask soak`. Every `cargo test` runs a few of each, so that they stay able to run.

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
    Bench, Ended, dora, finish, frame_times, json_text, models,
    nodes::{nodes_in, own_memory, run_folder},
    nothing_stays, processes, repository, rows,
    streams::until,
    tool, wait, working_directory,
};

/// Number of random runs.
const RUNS: &str = "SIDELINE_SOAK_RUNS";
/// Seed of the first of them; each further one has the next.
const SEED: &str = "SIDELINE_SOAK_SEED";
/// Minutes of all long runs together.
const MINUTES: &str = "SIDELINE_SOAK_MINUTES";

/// File of what dora says.
const SAID: &str = "dora.txt";

fn number(name: &str, otherwise: f64) -> f64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: `{text}`")))
}

/// Starts `dora run` on a flow; what it says goes to a file, which a long run cannot fill as it fills a pipe.
fn start(bench: &Bench, flow: &str) -> Child {
    bench.write("flow.yml", flow);
    let log = std::fs::File::create(bench.path().join(SAID)).unwrap();
    let mut command = bench.command("dora");
    command.args(["run", "flow.yml"]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

/// The end of what dora said.
fn said(bench: &Bench) -> String {
    let text = std::fs::read_to_string(bench.path().join(SAID)).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("DEBUG")).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    // It may have ended by itself.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), signal);
}

/// The result of a run, and its exit code.
fn result(bench: &Bench, run: &Path) -> (i32, Value) {
    let Ended { code, text } = bench.sideline(&["result", run.to_str().unwrap(), "--json"]);
    (code, json_text(&text))
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

// ---- random runs ----

/// A random run: one source of some streams -> rehearse -> counter -> recorder, and with sound encode beside it.
#[derive(Debug)]
struct Plan {
    /// Frames of each stream's clip.
    clips: Vec<u64>,
    sound: bool,
    /// Milliseconds that the operator in the middle takes to get ready, longer than the stall time in some runs.
    start_ms: usize,
    work_ms: usize,
    /// Live and endless, until so many rows are recorded; otherwise complete, to the end of every clip.
    stop_after_rows: Option<usize>,
}

/// Seconds without progress that end a run.
const STALL_S: usize = 5;

impl Plan {
    /// The plan of a seed; every fourth run is stopped.
    fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let streams = random.between(1, 16);
        let is_slow = random.one_in(4);
        Plan {
            clips: (0..streams).map(|_| random.between(1, 40) as u64).collect(),
            sound: random.one_in(2),
            start_ms: if is_slow { random.between(0, 1500 * STALL_S) } else { 0 },
            work_ms: random.between(0, 2),
            stop_after_rows: (seed.is_multiple_of(4)).then(|| random.between(1, 150)),
        }
    }

    fn flow(&self) -> String {
        let clips: Vec<String> = self.clips.iter().enumerate().map(|(at, _)| format!("c{at}.mp4")).collect();
        let Plan { start_ms, work_ms, sound, .. } = self;
        let (mode, endless) = if self.stop_after_rows.is_some() { ("live", ", LOOP: true") } else { ("complete", "") };
        let (outputs, done) = if *sound { ("frames, audio", ", done_enc: enc/done") } else { ("frames", "") };
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
        if *sound {
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

/// Tiny clips, each made once.
struct Clips(Bench);

impl Clips {
    /// Puts the clip `name` of so many frames into a folder; half of those with sound have a track of it.
    fn put(&self, name: &str, frames: u64, sound: bool, into: &Path) {
        let made = self.0.path().join(format!("{frames}-{sound}.mp4"));
        if !made.is_file() {
            let picture = format!("testsrc=size=64x64:rate=30:duration={}", frames as f64 / 30.0);
            let mut ffmpeg = Command::new("ffmpeg");
            ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", &picture]);
            if sound {
                ffmpeg.args(["-f", "lavfi", "-i", &format!("sine=440:duration={}", frames as f64 / 30.0)]);
            }
            ffmpeg.args(["-frames:v", &frames.to_string(), "-pix_fmt", "yuv420p"]).arg(&made);
            let ended = finish(&mut ffmpeg);
            assert_eq!(ended.code, 0, "{}", ended.text);
        }
        std::fs::copy(made, into.join(name)).unwrap();
    }
}

/// Runs the plan; a panic says what was wrong.
fn random_run(plan: &Plan, clips: &Clips) {
    let bench = Bench::new();
    for (at, frames) in plan.clips.iter().enumerate() {
        clips.put(&format!("c{at}.mp4"), *frames, plan.sound && at % 2 == 0, bench.path());
    }
    let mut child = start(&bench, &plan.flow());
    let _end = KillRest(bench.path().to_owned(), child.id());
    if let Some(rows) = plan.stop_after_rows {
        let recorded = || run_folder(&bench).and_then(|run| std::fs::read_to_string(run.join("counts.jsonl")).ok());
        let is_time = || recorded().is_some_and(|text| text.lines().count() >= rows);
        until("rows are recorded", || is_time() || child.try_wait().unwrap().is_some());
        signal(child.id(), rustix::process::Signal::INT);
    }
    let ended = wait(child);
    nothing_stays(&bench);
    let run = run_folder(&bench).unwrap_or_else(|| panic!("no folder of the run: {}", said(&bench)));
    let (code, result) = result(&bench, &run);
    let (failure, text) = (&result["failure"], said(&bench));
    assert_eq!((ended.code, code), (0, 0), "exit codes of dora and of the result; {failure}\n{text}");
    check_run(plan, &run, &result);
}

/// Kills what a run that went wrong leaves behind.
struct KillRest(PathBuf, u32);

impl Drop for KillRest {
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

fn check_run(plan: &Plan, run: &Path, result: &Value) {
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
                "stopped at frame {stopped}, {rows} rows, {admitted} admitted"
            );
            stopped
        }
    };
    if plan.sound {
        let files = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
        let videos: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "mp4")).collect();
        let pictures: usize = videos.iter().map(|video| frame_times(video).len()).sum();
        let fits =
            if plan.stop_after_rows.is_some() { pictures as u64 >= finished } else { pictures as u64 == finished };
        assert!(fits, "{pictures} pictures in {} videos, {finished} frames finished", videos.len());
    }
}

/// Rows of `counts` of each stream, of which each has the frames from 0 without a gap.
fn recorded_frames(run: &Path) -> BTreeMap<String, u64> {
    let mut frames: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows(run.join("counts.jsonl")) {
        let next = frames.entry(row["stream"].as_str().unwrap().to_owned()).or_default();
        assert_eq!(count(&row, "frame"), *next, "a gap: {row}");
        *next += 1;
    }
    frames
}

#[test]
fn random_runs() {
    let Some(_lock) = dora() else { return };
    if !tool("ffmpeg") || !tool("ffprobe") {
        return;
    }
    let (runs, first) = (number(RUNS, 3.0) as u64, number(SEED, 1.0) as u64);
    let clips = Clips(Bench::new());
    let mut wrong = String::new();
    for at in 0..runs {
        let seed = first + at;
        let plan = Plan::new(seed);
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| random_run(&plan, &clips)));
        let cause = outcome.err().map(|panic| match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast::<&str>().map_or_else(|_| "a panic".into(), |text| (*text).to_owned()),
        });
        let how = if cause.is_some() { "WRONG" } else { "right" };
        println!("soak: seed {seed}: {how}, {:.1} s, {plan:?}", began.elapsed().as_secs_f64());
        if let Some(cause) = cause {
            let _ = writeln!(wrong, "seed {seed} (cargo xtask soak runs --count 1 --seed {seed}): {plan:?}\n{cause}\n");
        }
    }
    let count = wrong.matches("(cargo xtask soak").count();
    println!("soak: {} of {runs} runs ended right", runs - count as u64);
    assert!(wrong.is_empty(), "{count} of {runs} runs went wrong:\n{wrong}");
}

// ---- long live runs ----

/// On average one frame in so many fails in the middle of a long run, twice: by an error and by a panic.
const FAIL_ONE_IN: u64 = 300;
/// Seconds of each long run where no minutes are given.
const SHORT_S: f64 = 6.0;
/// Seconds between two looks at the memory.
const LOOK_S: f64 = 2.0;
/// Shorter runs say nothing about leaks: caches and pools are still filling.
const JUDGED_S: f64 = 600.0;
/// Growth of a process's memory that counts as flat, in bytes an hour; a leak of one small message a frame is ten times this.
const FLAT_BYTES_PER_HOUR: f64 = 10e6;

/// Puts an operator that fails at random frames, and is restarted, behind the source of a shipped flow.
fn with_trouble(flow: &str, source: &str, read_by: &str) -> String {
    let frames = format!("frames: {source}/frames");
    let (before, after) = flow.split_once(&format!("- id: {read_by}\n")).expect("the reader of the frames");
    let after = after.replacen(&frames, "frames: trouble/frames", 1);
    format!(
        "env: {{SIDELINE_MODE: live, SIDELINE_ON_ERROR: restart}}\n{before}- id: trouble
    path: sideline
    args: run rehearse
    env: {{FAIL_ONE_IN: {FAIL_ONE_IN}}}
    inputs: {{{frames}}}
    outputs: [frames]
    shared_memory_pool_size: 24MB
  - id: {read_by}\n{after}"
    )
}

/// Memory of each node over time: seconds and bytes.
type Memory = BTreeMap<String, Vec<(f64, f64)>>;

/// Runs a flow, live, to its end, and gives the folder of the run and the memory of its nodes.
fn run_live(bench: &Bench, flow: &str) -> (PathBuf, Memory) {
    let mut child = start(bench, flow);
    let _end = KillRest(bench.path().to_owned(), child.id());
    let (began, mut memory) = (Instant::now(), Memory::new());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        for (node, pid) in nodes_in(bench.path()) {
            let at = began.elapsed().as_secs_f64();
            memory.entry(node).or_default().extend(own_memory(pid).map(|bytes| (at, bytes as f64)));
        }
        std::thread::sleep(Duration::from_secs_f64(LOOK_S));
    };
    assert!(status.success(), "dora ended with {status}: {}", said(bench));
    nothing_stays(bench);
    (run_folder(bench).expect("the folder of the run"), memory)
}

/// Checks the frame accounting of a live run with restarts, and says what it was.
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
        // `speech` has side inputs alone, and so no frames of its own.
        if node["operator"] != "speech" {
            assert_eq!(count(node, "processed") + skipped + failures, admitted, "{node}");
        }
        failed += failures;
    }
    println!("soak: {decoded} frames decoded, {admitted} admitted, {failed} failures, each a restart");
}

/// Says how the memory of each node grew after its first third, and fails where it did not stay flat.
fn check_memory(memory: &Memory, seconds: f64) {
    let mut leaks = String::new();
    for (node, looks) in memory {
        let settled = &looks[looks.len() / 3..];
        let Some((_, bytes)) = settled.last() else { continue };
        if seconds < JUDGED_S {
            println!("soak: {node}: {:.1} MB at the end; too short a run to tell growth", bytes / 1e6);
            continue;
        }
        let per_hour = slope(settled) * 3600.0;
        println!("soak: {node}: {:.1} MB at the end, {:+.1} MB an hour", bytes / 1e6, per_hour / 1e6);
        if per_hour > FLAT_BYTES_PER_HOUR {
            let _ = writeln!(leaks, "{node} grows by {:.1} MB an hour", per_hour / 1e6);
        }
    }
    assert!(leaks.is_empty(), "memory is not flat:\n{leaks}");
}

/// Slope of the least-squares line through points; 0 of fewer than two.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let product: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    if square > 0.0 { product / square } else { 0.0 }
}

#[test]
fn a_slope_is_growth_by_time() {
    assert_eq!(slope(&[(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]), 2.0);
    assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
}

#[test]
fn live_for_long() {
    let Some(_lock) = dora() else { return };
    if !tool("ffmpeg") || !models() {
        return;
    }
    let seconds = number(MINUTES, 2.0 * SHORT_S / 60.0) * 60.0 / 2.0;
    let flows = repository().join("dataflows");

    println!("soak: count.yml for {seconds:.0} s");
    let bench = Bench::new();
    let frames = (seconds * 30.0) as u64;
    let flow = std::fs::read_to_string(flows.join("count.yml")).unwrap();
    let flow = with_trouble(&flow, "synthetic", "counter").replace("FRAMES: 300", &format!("FRAMES: {frames}"));
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
    let flow = with_trouble(&flow, "capture", "perception").replace("models/clips/athletes.mp4", &clip);
    let (run, memory) = run_live(&bench, &flow);
    check_accounting(&bench, &run, frames);
    check_memory(&memory, seconds);
}

fn rows_if_any(path: &Path) -> usize {
    if path.is_file() { rows(path).len() } else { 0 }
}

/// The clip of the fight, smaller, again and again for so long: its path, and its frames.
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

fn copy_modules(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
