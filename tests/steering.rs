//! Observation and control of a running flow: `--preview`, `sideline set`, `sideline stop`, `sideline graph`.

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Bench, CommandResult, finish, json, json_text, rehearse_flow, wait};

/// Time within which a run must reach the state that a test waits for.
const HANG_TIMEOUT: Duration = Duration::from_secs(60);

/// Flow text of an endless flow in real time: synthetic -> middle -> counter -> recorder, and `more`.
fn flow(more: &str) -> String {
    rehearse_flow("FRAMES: 0, WIDTH: 64, HEIGHT: 48, FPS: 100, PACE: true", "SIDELINE_STRIDE: 1") + more
}

/// Running flow. Its socket is in the folder of the test, so that tests do not see each other's runs.
struct RunningFlow {
    child: Child,
    /// Address of the preview, if there is one.
    address: Option<String>,
}

/// Returns a `sideline` command that sees only the runs of its test.
fn command(bench: &Bench) -> Command {
    let mut command = bench.command(support::SIDELINE);
    command.env("SIDELINE_RUNTIME_DIR", bench.path().join("sideline"));
    command
}

/// Runs `sideline` to its end.
fn sideline(bench: &Bench, arguments: &[&str]) -> CommandResult {
    finish(command(bench).args(arguments))
}

/// Starts `sideline run` and waits until it has recorded a row and its socket exists. Reads the address of a preview.
fn start(bench: &Bench, arguments: &[&str]) -> RunningFlow {
    let output = arguments.windows(2).find(|pair| pair[0] == "--output").unwrap()[1];
    let mut command = command(bench);
    command.arg("run").args(arguments);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut address = None;
    if arguments.iter().any(|argument| argument.starts_with("--preview") || argument.starts_with("--set=watch")) {
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        let after = line.split_once("http://").unwrap_or_else(|| panic!("no address: {line}")).1;
        address = Some(after.trim_end().trim_end_matches('/').to_owned());
    }
    let table = bench.path().join(output).join("counts.jsonl");
    let until = Instant::now() + HANG_TIMEOUT;
    let recorded = || std::fs::metadata(&table).is_ok_and(|file| file.len() > 0);
    let has_socket = || bench.path().join("sideline").read_dir().is_ok_and(|mut sockets| sockets.next().is_some());
    while !(recorded() && has_socket()) {
        assert!(Instant::now() < until, "the run did not start");
        std::thread::yield_now();
    }
    RunningFlow { child, address }
}

impl RunningFlow {
    /// Interrupts the run and waits for its end.
    fn stop(self) -> CommandResult {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        wait(self.child)
    }

    /// Sends a GET request to the preview.
    fn connect(&self, path: &str) -> TcpStream {
        let address = self.address.as_deref().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANG_TIMEOUT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        stream
    }

    /// Returns the status line and the body of a response of the preview.
    fn get(&self, path: &str) -> (String, Vec<u8>) {
        let mut reader = BufReader::new(self.connect(path));
        let status = line(&mut reader);
        let length = read_header(&mut reader);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (status, body)
    }
}

/// Reads a line without its line break.
fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Reads header lines and returns the content length.
fn read_header(reader: &mut impl BufRead) -> usize {
    let mut length = 0;
    loop {
        let line = line(reader).to_lowercase();
        if line.is_empty() {
            return length;
        }
        if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = bytes.parse().unwrap();
        }
    }
}

/// Returns true if the bytes begin and end like a JPEG image.
fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9])
}

#[test]
fn a_live_setting_changes_and_a_refused_value_keeps_the_old_one() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let on = start(&bench, &["flow.yml", "--output", "out"]);
    let set = sideline(&bench, &["set", "middle.work_ms=3"]);
    assert_eq!(set.code, 0, "{}", set.text);
    assert!(set.text.starts_with("middle.work_ms: 0 -> 3 (from frame "), "{}", set.text);
    for (setting, reason) in [
        ("middle.work_ms=99999999", "99999999 is out of range, 0 to 60000"),
        ("middle.work_ms=fast", "`fast` is not a whole number"),
        ("middle.panic_at=5", "needs a restart: stop the run, and start it with `--set middle.panic_at=5`"),
        ("synthetic.fps=5", "needs a restart"),
        ("middle.wrk_ms=5", "did you mean `work_ms`?"),
        ("midle.work_ms=5", "there is no node `midle`; did you mean `middle`?"),
    ] {
        let refused = sideline(&bench, &["set", setting]);
        assert_eq!(refused.code, 1, "{setting}: {}", refused.text);
        assert!(refused.text.contains(reason), "{setting}: {}", refused.text);
    }
    let report = sideline(&bench, &["set", "--run", "out", "--json", "middle.work_ms=4", "counter.step=0"]);
    let report = json_text(&report.text);
    assert_eq!(report["settings"][0]["old"], 3, "the refused value kept the old one");
    assert!(report["settings"][1]["error"].as_str().unwrap().contains("0 is out of range"), "{report}");
    // Read before the run ends, because changes must be recorded even if the run is killed later.
    let changes = |bench: &Bench| json(bench.path().join("out/run.json"))["changes"].clone();
    let before = changes(&bench);
    assert_eq!(on.stop().code, 0);
    let run = json(bench.path().join("out/run.json"));
    let new_values: Vec<&Value> = run["changes"].as_array().unwrap().iter().map(|change| &change["new"]).collect();
    assert_eq!(new_values, [&Value::from(3), &Value::from(4)]);
    assert_eq!(before, run["changes"]);
    assert!(run["changes"][1]["from_frame"]["synthetic"].as_u64().unwrap() > 0, "{run}");
    assert_eq!(run["result"]["reproducible"], false);
    let over = sideline(&bench, &["set", "--run", "out", "middle.work_ms=4"]);
    assert!(over.code == 1 && over.text.contains("out: its run has ended"), "{}", over.text);
}

#[test]
fn overlays_and_crop_change_while_the_video_is_written() {
    let nodes =
        "  - {id: render, path: sideline, args: run render, inputs: {frames: synthetic/frames}, outputs: [overlay]}
  - {id: encode, path: sideline, args: run encode, inputs: {frames: render/overlay}, outputs: [done]}
";
    let bench = Bench::new();
    bench.write("flow.yml", &flow(nodes));
    let on = start(&bench, &["flow.yml", "--output", "out"]);
    let set = sideline(&bench, &["set", "render.overlays=[boxs]"]);
    assert!(set.code == 1 && set.text.contains("`boxs` is none of skeletons, boxes,"), "{}", set.text);
    let set = sideline(&bench, &["set", "render.overlays=[boxes]", "render.crop=[8, 8, 32, 24]"]);
    assert!(set.code == 0 && set.text.contains("render.overlays: [\"skeletons\",\"boxes\","), "{}", set.text);
    // Frames of another size begin a new file.
    let until = Instant::now() + HANG_TIMEOUT;
    while !bench.path().join("out/overlay-2.mp4").is_file() {
        assert!(Instant::now() < until, "no new video file was begun");
        std::thread::yield_now();
    }
    assert_eq!(on.stop().code, 0);
    if support::has_tool("ffprobe") {
        for (file, size) in [("overlay.mp4", "64,48"), ("overlay-2.mp4", "32,24")] {
            let entries = ["-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0", file];
            let probe = finish(bench.command("ffprobe").current_dir(bench.path().join("out")).args(entries));
            assert_eq!(probe.text.trim(), size, "{file}");
        }
    }
}

#[test]
fn one_of_several_runs_must_be_named_and_a_killed_one_is_ignored() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    bench.write("other.yml", &flow(""));
    let none = sideline(&bench, &["set", "middle.work_ms=1"]);
    assert!(none.code == 1 && none.text.contains("no active run"), "{}", none.text);
    let (one, two) = (start(&bench, &["flow.yml", "--output", "a"]), start(&bench, &["other.yml", "--output", "b"]));
    let which = sideline(&bench, &["set", "middle.work_ms=1"]);
    assert!(which.code == 1 && which.text.contains("2 runs are active: choose one"), "{}", which.text);
    for name in ["other", "b"] {
        let set = sideline(&bench, &["set", "--run", name, "middle.work_ms=1"]);
        assert_eq!(set.code, 0, "{}", set.text);
    }
    assert!(json(bench.path().join("a/run.json"))["changes"].is_null(), "the other run was not changed");
    // A killed run cannot remove its socket.
    let mut child = one.child;
    child.kill().unwrap();
    child.wait().unwrap();
    let set = sideline(&bench, &["set", "middle.work_ms=2"]);
    assert_eq!(set.code, 0, "{}", set.text);
    let wrong = sideline(&bench, &["set", "--run", "a", "middle.work_ms=2"]);
    assert!(wrong.code == 1 && wrong.text.contains("its run was killed"), "{}", wrong.text);
    assert_eq!(two.stop().code, 0);
}

#[test]
fn the_socket_of_a_run_is_private_and_removed_at_its_end() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let on = start(&bench, &["flow.yml", "--output", "out"]);
    let folder = bench.path().join("sideline");
    let sockets = || -> Vec<PathBuf> { folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect() };
    assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(sockets()[0].metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(on.stop().code, 0);
    assert!(sockets().is_empty());
}

/// Returns the socket of the only run of a test.
fn socket(bench: &Bench) -> PathBuf {
    let mut sockets = bench.path().join("sideline").read_dir().unwrap();
    sockets.next().unwrap().unwrap().path()
}

/// Sends a request line to a run and reads the reply.
fn request(client: &mut BufReader<UnixStream>, text: &str) -> Value {
    client.get_mut().write_all(format!("{text}\n").as_bytes()).unwrap();
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn changes_of_concurrent_clients_are_recorded_in_order() {
    const CLIENTS: u64 = 4;
    const SETS: u64 = 200;
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let on = start(&bench, &["flow.yml", "--output", "out"]);
    let socket = socket(&bench);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let socket = &socket;
            scope.spawn(move || {
                let mut run = BufReader::new(UnixStream::connect(socket).unwrap());
                for set in 0..SETS {
                    let value = 1 + client * SETS + set;
                    let reply =
                        request(&mut run, &format!(r#"{{"do":"set","node":"counter","key":"step","value":{value}}}"#));
                    assert_eq!(reply["changed"][0]["new"], value, "{reply}");
                }
            });
        }
    });
    let changes = |run: &Value| -> Vec<Value> { run["changes"].as_array().unwrap().clone() };
    let before = changes(&json(bench.path().join("out/run.json")));
    assert_eq!(before.len() as u64, CLIENTS * SETS);
    for (one, next) in before.iter().zip(&before[1..]) {
        assert_eq!(one["new"], next["old"]);
        assert!(one["from_frame"]["synthetic"].as_u64() <= next["from_frame"]["synthetic"].as_u64());
    }
    let ended = on.stop();
    assert!(ended.code == 0 && !ended.text.contains("run.json"), "{}", ended.text);
    let run = json(bench.path().join("out/run.json"));
    assert_eq!(changes(&run), before);
    assert_eq!(run["result"]["status"], "stopped", "the result is recorded as well");
    assert_eq!(sideline(&bench, &["result", "out"]).code, 0);
    let left: Vec<_> = bench.path().join("out").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!left.iter().any(|path| path.to_string_lossy().contains(".part")), "{left:?}");
}

#[test]
fn invalid_requests_and_idle_clients_do_not_disturb_a_run() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let on = start(&bench, &["flow.yml", "--output", "out"]);
    let socket = socket(&bench);
    let mut run = BufReader::new(UnixStream::connect(&socket).unwrap());
    for garbage in ["", "{}", "null", r#"{"do":"set"}"#, "\u{1b}[31m\0", &"[".repeat(60_000)] {
        assert!(!request(&mut run, garbage)["refused"].is_null(), "{garbage}");
    }
    // A line that is too long is refused and ends the connection.
    let mut long = UnixStream::connect(&socket).unwrap();
    let _ = long.write_all(&vec![b'x'; 100_000]);
    let _ = long.shutdown(std::net::Shutdown::Write);
    let mut reply = String::new();
    let _ = long.read_to_string(&mut reply);
    assert!(reply.is_empty() || reply.lines().count() == 1 && reply.contains("at most 65536 bytes"), "{reply}");
    let mut incomplete = UnixStream::connect(&socket).unwrap();
    incomplete.write_all(br#"{"do":"sta"#).unwrap();
    assert!(request(&mut run, r#"{"do":"status"}"#)["status"]["run"].is_string());
    // Both clients stay connected.
    assert_eq!(on.stop().code, 0);
}

#[test]
fn a_run_that_does_not_answer_is_named_and_does_not_block_other_runs() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let on = start(&bench, &["flow.yml", "--output", "out"]);
    // A socket of this user without a listener that answers. Printed unescaped, its name would clear the screen.
    let name = "zzz\u{1b}[2J.sock";
    let _silent = UnixListener::bind(bench.path().join("sideline").join(name)).unwrap();
    let refused = sideline(&bench, &["set", "middle.work_ms=1"]);
    assert!(refused.code == 1 && refused.text.contains("no answer within 2 s from zzz\\u001b[2J"), "{}", refused.text);
    let set = sideline(&bench, &["set", "--run", "out", "middle.work_ms=1"]);
    assert_eq!(set.code, 0, "{}", set.text);
    let drawn = sideline(&bench, &["graph", "flow.yml"]);
    assert!(drawn.code == 0 && drawn.text.contains(" fps, work "), "{}", drawn.text);
    assert_eq!(on.stop().code, 0);
}

#[test]
fn sideline_stop_ends_a_named_run_in_order() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let none = sideline(&bench, &["stop", "out"]);
    assert!(none.code == 1 && none.text.contains("no active run `out`"), "{}", none.text);
    let on = start(&bench, &["flow.yml", "--output", "out"]);
    let stopped = sideline(&bench, &["stop", "out"]);
    assert!(stopped.code == 0 && stopped.text.contains("sideline result"), "{}", stopped.text);
    let result = sideline(&bench, &["result", "out"]);
    assert!(
        result.code == 0 && result.text.contains("stopped after "),
        "the result is written by then: {}",
        result.text
    );
    assert_eq!(on.stop().code, 0);
}

#[test]
fn a_socket_in_a_folder_that_others_may_open_is_not_used() {
    let bench = Bench::new();
    let folder = bench.path().join("sideline");
    std::fs::DirBuilder::new().mode(0o755).create(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let planted = UnixListener::bind(folder.join("mine.sock")).unwrap();
    planted.set_nonblocking(true).unwrap();
    let set = sideline(&bench, &["set", "--run", "mine", "capture.token=s3cret"]);
    assert!(set.code == 1 && set.text.contains("no active run `mine`"), "{}", set.text);
    assert!(planted.accept().is_err(), "no client has connected");
}

#[test]
fn a_preview_shows_the_newest_frames_and_ends_with_the_run() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let on = start(&bench, &["flow.yml", "--output", "out", "--preview=0"]);
    let (status, page) = on.get("/");
    assert!(status.contains("200") && page.starts_with(b"<!doctype html>"), "{status}");
    let (_, status) = on.get("/status");
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!((&status["title"], &status["streams"][0]["name"]), (&"flow".into(), &"synthetic".into()));
    assert_eq!(status["streams"][0]["width"], 64);
    let (_, jpeg) = on.get("/frame/synthetic.jpg");
    assert!(is_jpeg(&jpeg), "{} bytes", jpeg.len());
    let (status, text) = on.get("/frame/sinthetic.jpg");
    assert!(status.contains("404") && String::from_utf8_lossy(&text).contains("did you mean `synthetic`?"), "{status}");

    let mut stream = BufReader::new(on.connect("/stream/synthetic"));
    assert!(line(&mut stream).contains("200"));
    read_header(&mut stream);
    assert_eq!(line(&mut stream), "--frame");
    for _ in 0..5 {
        let mut jpeg = vec![0; read_header(&mut stream)];
        stream.read_exact(&mut jpeg).unwrap();
        assert!(is_jpeg(&jpeg));
        assert_eq!((line(&mut stream), line(&mut stream)), (String::new(), "--frame".into()));
    }
    let address = on.address.clone().unwrap();
    let ended = on.stop();
    assert_eq!(ended.code, 0, "{}", ended.text);
    let mut rest = vec![];
    let _ = stream.read_to_end(&mut rest);
    assert!(TcpStream::connect(address).is_err(), "the server ends with the run");
}

#[test]
fn preview_clients_that_do_not_read_delay_no_frame() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let arguments = ["flow.yml", "--output", "out", "--mode", "complete", "--frames", "300", "--preview=0"];
    // Large and frequent frames, to exceed the socket buffers.
    let large = ["synthetic.width=1280", "synthetic.height=720", "preview.fps=240", "preview.quality=95"];
    let large: Vec<&str> = large.iter().flat_map(|set| ["--set", set]).collect();
    let on = start(&bench, &[&arguments[..], &large].concat());
    let idle: Vec<TcpStream> = (0..8).map(|_| on.connect("/stream/synthetic")).collect();
    let ended = wait(on.child);
    assert_eq!(ended.code, 0, "{}", ended.text);
    drop(idle);
    let run = json(bench.path().join("out/run.json"));
    assert_eq!(run["result"]["sources"][0]["admitted"], 300);
    let preview = run["result"]["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "preview").unwrap();
    assert_eq!(preview["processed"], 300, "in `complete` mode the preview processes every frame");
    assert_eq!(run["result"]["reproducible"], true);
}

#[test]
fn a_port_in_use_is_reported_before_the_first_frame() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ended = sideline(&bench, &["run", "flow.yml", "--frames", "3", &format!("--preview={port}")]);
    assert_eq!(ended.code, 1, "{}", ended.text);
    for part in ["node `preview`: key `port`", &format!("127.0.0.1:{port} is taken"), "`--preview=0`"] {
        assert!(ended.text.contains(part), "{part}: {}", ended.text);
    }
}

#[test]
fn a_preview_node_in_the_flow_shows_each_of_its_inputs() {
    let bench = Bench::new();
    let preview = "  - id: watch
    path: sideline
    args: run preview
    env: {PORT: 0, TITLE: both}
    inputs:
      before: {source: synthetic/frames, queue_policy: drop_oldest, queue_size: 1}
      after: {source: middle/frames, queue_policy: drop_oldest, queue_size: 1}
";
    bench.write("flow.yml", &flow(preview));
    let twice = sideline(&bench, &["run", "flow.yml", "--preview"]);
    assert!(twice.code == 1 && twice.text.contains("already has a preview"), "{}", twice.text);
    let on = start(&bench, &["flow.yml", "--output", "out", "--mode=live", "--progress=none", "--set=watch.fps=30"]);
    let (_, status) = on.get("/status");
    let status: Value = serde_json::from_slice(&status).unwrap();
    let mut names: Vec<&str> =
        status["streams"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!((status["title"].as_str(), &names[..]), (Some("both"), &["after.synthetic", "before.synthetic"][..]));
    assert_eq!(on.stop().code, 0);
    let graph = sideline(&bench, &["graph", "flow.yml", "--mode", "live"]);
    assert_eq!(graph.text.matches("class=\"line side\"").count(), 3, "two inputs and the legend: {}", graph.text);
}

#[test]
fn a_graph_has_every_node_and_port_and_the_rates_of_a_running_flow() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(""));
    let idle = sideline(&bench, &["graph", "flow.yml"]);
    assert_eq!(idle.code, 0, "{}", idle.text);
    for part in ["<svg ", ">middle</text>", "rehearse, thread 2", ">counts <tspan class=\"dim\">", "</svg>"] {
        assert!(idle.text.contains(part), "{part}: {}", idle.text);
    }
    assert!(!idle.text.contains("fps") && !idle.text.contains("done"), "{}", idle.text);
    let on = start(&bench, &["flow.yml", "--output", "out"]);
    let drawn = sideline(&bench, &["graph", "flow.yml", "-o", "flow.svg"]);
    assert!(drawn.code == 0 && drawn.text.is_empty(), "{}", drawn.text);
    assert_eq!(on.stop().code, 0);
    let text = std::fs::read_to_string(bench.path().join("flow.svg")).unwrap();
    assert_eq!(text.matches("/s</tspan>").count(), 3, "a rate at each input: {text}");
    assert!(text.contains(" fps, work ") && text.contains("run 20"), "{text}");
    let lost = sideline(&bench, &["graph", "flow.yml", "-o", "no/such/flow.svg"]);
    assert!(lost.code == 4 && lost.text.contains("no/such/flow.svg"), "{}", lost.text);
}
