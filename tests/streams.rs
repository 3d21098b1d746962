//! Streams over real servers: nginx with its RTMP module (RTMP and HLS) and GStreamer's RTSP server. Servers die and
//! come back, publishers stall, frames change their size. No run hangs, no frame counts twice, no secret is revealed.

mod support;

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

use rustix::process::Signal;
use serde_json::Value;
use sideline_media::{DecodeOptions, Decoder};
use support::{
    Bench, Capability, SIDELINE, count_flow, finish, frame_times, json, rows, skip_test,
    streams::{ChildGuard, Nginx, Run, frame_number, free_port, numbered_video, publish, wait_until},
};

/// Capture and encode settings that detect a failure quickly and reconnect quickly.
const QUICK_RECONNECT: &str = "TIMEOUT: 1500, BACKOFF: 200, RECONNECT_ATTEMPTS: 100";

/// Flow text: capture -> encode, and capture -> counter -> recorder.
fn capture_encode_flow(capture: &str, encode: &str) -> String {
    let flow = count_flow(capture)
        .replace("done_recorder: recorder/done}", "done_recorder: recorder/done, done_encode: encode/done}")
        .replace("outputs: [frames]", "outputs: [frames, audio]");
    flow + &format!(
        "  - id: encode
    path: sideline
    args: run encode
    env: {{{encode}, PRESET: ultrafast}}
    inputs: {{frames: capture/frames, audio: capture/audio}}
    outputs: [done]
"
    )
}

/// Report of the only stream.
fn stream(bench: &Bench) -> Value {
    json(bench.path().join("out/run.json"))["result"]["sources"][0]["streams"][0].clone()
}

/// Report of a node.
fn node(bench: &Bench, id: &str) -> Value {
    let nodes = json(bench.path().join("out/run.json"))["result"]["nodes"].as_array().unwrap().clone();
    nodes.into_iter().find(|node| node["node"] == id).unwrap()
}

/// Asserts that every admitted frame was counted once, in order, and that media time never goes back.
fn assert_counted_once(bench: &Bench) {
    let counts = rows(bench.path().join("out/counts.jsonl"));
    let frames: Vec<u64> = counts.iter().map(|row| row["frame"].as_u64().unwrap()).collect();
    assert_eq!(frames, (0..frames.len() as u64).collect::<Vec<_>>());
    assert_eq!(stream(bench)["admitted"], frames.len());
    let times: Vec<i64> = counts.iter().map(|row| row["pts"].as_i64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// Returns the burnt-in number and the time (ns) of every frame of a video.
fn numbers(video: &Path) -> Vec<(u32, i64)> {
    let mut decoder = Decoder::open(video, DecodeOptions::default()).unwrap();
    let mut found = vec![];
    while let Some(decoded) = decoder.next().unwrap() {
        let (luma, stride) = decoded.frame.plane(0);
        let (width, height) = (decoded.frame.width() as usize, decoded.frame.height() as usize);
        found.push((frame_number(luma, stride, width, height), decoded.pts_ns));
    }
    found
}

/// Returns the times at which the lower half of the picture becomes white, and those at which a tone begins, s.
fn flashes_and_beeps(video: &Path) -> (Vec<f64>, Vec<f64>) {
    let mut decoder = Decoder::open(video, DecodeOptions { audio: true, ..DecodeOptions::default() }).unwrap();
    let format = decoder.audio_format().unwrap();
    let (mut flashes, mut beeps, mut is_bright, mut last_loud) = (vec![], vec![], true, 0.0);
    let mut detect_beeps = |runs: Vec<sideline_media::AudioSegment>| {
        for run in runs {
            for (i, samples) in run.samples.chunks(usize::from(format.channels)).enumerate() {
                let at = run.start_ns as f64 * 1e-9 + i as f64 / f64::from(format.rate);
                if samples[0].abs() > 0.2 {
                    if at - last_loud > 0.3 {
                        beeps.push(at);
                    }
                    last_loud = at;
                }
            }
        }
    };
    while let Some(decoded) = decoder.next().unwrap() {
        let (luma, stride) = decoded.frame.plane(0);
        let is_white = luma[(decoded.frame.height() as usize * 3 / 4) * stride + 4] > 126;
        if is_white && !is_bright {
            flashes.push(decoded.pts_ns as f64 * 1e-9);
        }
        is_bright = is_white;
        detect_beeps(decoder.audio_until(decoded.pts_ns));
    }
    detect_beeps(decoder.audio_until(i64::MAX));
    (flashes, beeps)
}

#[test]
fn a_published_stream_is_captured_encoded_pushed_and_played_back_frame_by_frame() {
    let bench = Bench::new();
    let Some(nginx) = Nginx::start(&bench) else { return };
    bench.write(
        "flow.yml",
        &capture_encode_flow(
            &format!("SOURCE: '{}', {QUICK_RECONNECT}", nginx.live_url("in")),
            &format!("OUTPUT: '{}', {QUICK_RECONNECT}", nginx.out_url("k3y")),
        ),
    );
    let back = bench.path().join("back.mp4");
    let mut player = Command::new("ffmpeg");
    player.args(["-v", "error", "-rw_timeout", "60000000", "-i", &nginx.out_url("k3y"), "-c", "copy"]).arg(&back);
    let mut player = ChildGuard::start(&mut player);
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out", "--duration", "6"]);
    run.wait_for_log("no stream");
    let _publisher = publish(&numbered_video("320x64", 60), &nginx.live_url("in"));
    let ended = run.wait();
    assert_eq!(ended.code, 0, "{}", ended.text);
    wait_until("the player ends", || player.0.try_wait().unwrap().is_some());
    assert_counted_once(&bench);
    let (encode, source) = (node(&bench, "encode"), stream(&bench));
    let count = |key: &str| encode["own"][key].as_u64().unwrap();
    assert_eq!(count("sent") + count("dropped"), source["admitted"].as_u64().unwrap());
    assert_eq!((count("connections"), &source["own"]["sessions"]), (1, &1.into()));
    let played = numbers(&back);
    assert!(
        played.len() as u64 + 5 >= count("sent") && played.len() > 120,
        "{} of {} frames were played",
        played.len(),
        count("sent")
    );
    for pair in played.windows(2) {
        let ((one, at), (next, then)) = (pair[0], pair[1]);
        assert!(next > one, "{one} then {next}");
        let expected = f64::from(next - one) / 30.0;
        let elapsed = (then - at) as f64 * 1e-9;
        assert!((elapsed - expected).abs() < 0.003, "{one} to {next}: {elapsed} s, published {expected} s apart");
    }
    let (flashes, beeps) = flashes_and_beeps(&back);
    assert!(flashes.len() >= 4, "{flashes:?}");
    for flash in &flashes[1..] {
        let offset = beeps.iter().map(|beep| beep - flash).min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
        assert!(offset.abs() <= 0.04, "audio is off by {offset} s: {flashes:?} {beeps:?}");
    }
}

#[test]
fn an_interrupted_publisher_starts_a_new_session_and_no_frame_counts_twice() {
    let bench = Bench::new();
    let Some(mut nginx) = Nginx::start(&bench) else { return };
    bench.write(
        "flow.yml",
        &capture_encode_flow(
            &format!("SOURCE: '{}', {QUICK_RECONNECT}", nginx.live_url("in")),
            "OUTPUT: x.mp4, CRF: 18",
        ),
    );
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out"]);
    let mut publisher = publish(&numbered_video("320x64", 600), &nginx.live_url("in"));
    run.wait_for_frame(30);
    // Stalled: the connection stays open without data.
    publisher.signal(Signal::STOP);
    run.wait_for_log("no video frame for 1.5 s");
    publisher.signal(Signal::CONT);
    run.wait_for_log("\"session\":1");
    // Killed, and started again with larger frames.
    publisher.kill();
    let _larger = publish(&numbered_video("640x64", 600), &nginx.live_url("in"));
    run.wait_for_log("\"session\":2");
    // The server is killed.
    nginx.kill();
    run.wait_for_log("nothing listens there");
    nginx.start_server();
    let _again = publish(&numbered_video("640x64", 600), &nginx.live_url("in"));
    run.wait_for_log("\"session\":3");
    let log = run.log().lines().filter(|line| line.contains("\"node\":\"recorder\"")).count() as u64;
    run.wait_for_frame(log + 30);
    run.interrupt();
    let ended = run.wait();
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert_eq!(stream(&bench)["own"]["sessions"], 4, "{}", ended.text);
    assert_counted_once(&bench);
    // The larger frames are in a file of their own.
    let small = numbers(&bench.path().join("out/x.mp4"));
    assert!(small.is_sorted_by(|a, b| a.0 < b.0), "a frame was encoded twice: {small:?}");
    assert!(frame_times(&bench.path().join("out/x-2.mp4")).len() >= 30);
}

#[test]
fn hls_resumes_after_an_interruption_and_no_segment_is_read_twice() {
    let bench = Bench::new();
    let Some(mut nginx) = Nginx::start(&bench) else { return };
    let playlist = nginx.www().join("hls/in.m3u8");
    let _publisher = publish(&numbered_video("320x64", 600), &nginx.live_url("in"));
    wait_until("there are three segments", || {
        std::fs::read_to_string(&playlist).is_ok_and(|text| text.matches(".ts").count() >= 3)
    });
    // 0.7 s is short for whole segments, but HLS has four times the timeout.
    let source =
        format!("SOURCE: '{}', TIMEOUT: 700, BACKOFF: 100, RECONNECT_ATTEMPTS: 100", nginx.http_url("hls/in.m3u8"));
    bench.write("flow.yml", &capture_encode_flow(&source, "OUTPUT: x.mp4, CRF: 18"));
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out"]);
    run.wait_for_frame(60);
    nginx.kill();
    run.wait_for_log("no stream");
    // The playlist on disk is still the old one, so its segments are offered again.
    nginx.start_server();
    let _back = publish(&numbered_video("320x64", 600), &nginx.live_url("in"));
    run.wait_for_log("\"session\":1");
    let log = run.log().lines().filter(|line| line.contains("\"node\":\"recorder\"")).count() as u64;
    run.wait_for_frame(log + 45);
    run.interrupt();
    let ended = run.wait();
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert_counted_once(&bench);
    // The publisher restarted, so the numbers increase, drop once, and increase again.
    let numbers = numbers(&bench.path().join("out/x.mp4"));
    let falls = numbers.windows(2).filter(|pair| pair[1].0 <= pair[0].0).count();
    assert!(falls <= 1, "frames were read twice: {numbers:?}");
}

#[test]
fn a_recorded_playlist_with_a_truncated_segment_is_read_to_its_end() {
    let bench = Bench::new();
    let Some(nginx) = Nginx::start(&bench) else { return };
    let folder = nginx.www().join("vod");
    std::fs::create_dir(&folder).unwrap();
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x64:rate=30:duration=6", "-c:v", "libx264"]);
    make.args(["-g", "30", "-pix_fmt", "yuv420p", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "index.m3u8"]);
    assert_eq!(finish(make.current_dir(&folder)).code, 0);
    let read = |mode: &str| {
        bench.write(
            "flow.yml",
            &count_flow(&format!("SOURCE: '{}?token=s3cret', {QUICK_RECONNECT}", nginx.http_url("vod/index.m3u8"))),
        );
        bench.sideline(&["run", "flow.yml", "--output", "out", "--mode", mode])
    };
    let whole = read("complete");
    assert_eq!((whole.code, rows(bench.path().join("out/counts.jsonl")).len()), (0, 180), "{}", whole.text);
    let segment = folder.join("index2.ts");
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() / 2]).unwrap();
    let cut = read("complete");
    assert_eq!(cut.code, 0, "{}", cut.text);
    assert_counted_once(&bench);
    let frames = rows(bench.path().join("out/counts.jsonl")).len();
    assert!((150..180).contains(&frames), "{frames} of 180");
    let secret = finish(bench.command("grep").args(["-r", "s3cret", "out"]));
    assert_eq!(secret.text, "", "the run's folder contains a secret");
}

#[test]
fn a_change_of_the_frame_size_within_a_stream_begins_a_new_video() {
    let bench = Bench::new();
    let Some(nginx) = Nginx::start(&bench) else { return };
    let mut joined = vec![];
    for (i, size) in ["320x64", "640x128"].iter().enumerate() {
        let part = bench.path().join("part.ts");
        let mut make = Command::new("ffmpeg");
        make.args(["-v", "error", "-y", "-f", "lavfi", "-i", &format!("testsrc2=size={size}:rate=30:duration=1")]);
        make.args(["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "0", "-output_ts_offset", &i.to_string()]);
        assert_eq!(finish(make.args(["-muxdelay", "0"]).arg(&part)).code, 0);
        joined.extend(std::fs::read(&part).unwrap());
    }
    std::fs::write(nginx.www().join("x.ts"), joined).unwrap();
    bench.write(
        "flow.yml",
        &capture_encode_flow(&format!("SOURCE: '{}', RECONNECT_ATTEMPTS: 0", nginx.http_url("x.ts")), "OUTPUT: x.mp4")
            .replace(", audio: capture/audio", "")
            .replace("[frames, audio]", "[frames]"),
    );
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out", "--mode", "complete"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert_counted_once(&bench);
    let times = |name: &str| frame_times(&bench.path().join("out").join(name)).len();
    assert_eq!((times("x.mp4"), times("x-2.mp4")), (30, 30));
}

#[test]
fn rtsp_is_read_and_a_lost_server_ends_the_run_after_its_reconnect_attempts() {
    let bench = Bench::new();
    let script = "import gi,sys
gi.require_version('Gst','1.0'); gi.require_version('GstRtspServer','1.0')
from gi.repository import Gst,GstRtspServer,GLib
Gst.init(None); s=GstRtspServer.RTSPServer(); s.set_address('127.0.0.1'); s.set_service(sys.argv[1])
f=GstRtspServer.RTSPMediaFactory(); f.set_shared(True)
f.set_launch('( videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 )')
s.get_mount_points().add_factory('/t',f); s.attach(None); GLib.MainLoop().run()
";
    let imports = "import gi\ngi.require_version('GstRtspServer','1.0')\nfrom gi.repository import GstRtspServer";
    let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    if !succeeds(Command::new("/usr/bin/python3").args(["-c", imports]))
        || !succeeds(Command::new("gst-inspect-1.0").arg("x264enc"))
    {
        return skip_test(
            Capability::Servers,
            "no RTSP server; Debian: python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly",
        );
    }
    let port = free_port();
    let start = || ChildGuard::start(Command::new("/usr/bin/python3").args(["-c", script, &port.to_string()]));
    let mut server = start();
    let source =
        format!("SOURCE: 'rtsp://user:s3cret@127.0.0.1:{port}/t', TIMEOUT: 3000, BACKOFF: 100, RECONNECT_ATTEMPTS: 7");
    bench.write("flow.yml", &count_flow(&source));
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out"]);
    run.wait_for_frame(30);
    server.kill();
    run.wait_for_log("no stream");
    server = start();
    run.wait_for_log("\"session\":1");
    run.wait_for_frame(45);
    server.kill();
    let ended = run.wait();
    assert_eq!(ended.code, 3, "{}", ended.text);
    assert!(ended.text.contains("did not come back in 7 reconnect attempts"), "{}", ended.text);
    assert_eq!(json(bench.path().join("out/run.json"))["result"]["status"], "partial");
    assert!(stream(&bench)["own"]["alerts"].as_u64().unwrap() >= 1 && !ended.text.contains("s3cret"), "{}", ended.text);
    assert_counted_once(&bench);
    let secret = finish(bench.command("grep").args(["-r", "s3cret", "out", "log"]));
    assert_eq!(secret.text, "", "the run's folder or log contains a secret");
}

#[test]
fn an_unreachable_server_is_code_3_after_its_reconnect_attempts_and_a_stop_ends_the_wait() {
    let bench = Bench::new();
    let dead = format!("rtmp://u:s3cret@127.0.0.1:{}/live/k3y", free_port());
    bench.write("flow.yml", &count_flow(&format!("SOURCE: '{dead}', RECONNECT_ATTEMPTS: 2, BACKOFF: 50")));
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ended.code, 3, "{}", ended.text);
    assert!(ended.text.contains("error: node `capture`: rtmp://***@127.0.0.1:"), "{}", ended.text);
    assert!(ended.text.contains("nothing listens there") && ended.text.contains("gave up after 2 reconnect attempts"));
    assert!(!ended.text.contains("s3cret") && !ended.text.contains("k3y"), "{}", ended.text);
    assert_eq!(stream(&bench)["own"]["failed_tries"], 3);
    // Without a stop it would wait for ten minutes.
    bench.write("flow.yml", &count_flow("SOURCE: none.mp4, BACKOFF: 60000"));
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out", "--input", &dead]);
    run.wait_for_log("reconnecting in");
    run.interrupt();
    assert_eq!(run.wait().code, 0);
    let complete = bench.sideline(&["run", "flow.yml", "--input", &dead, "--mode", "complete"]);
    assert_eq!(complete.code, 1, "{}", complete.text);
    assert!(
        complete.text.contains("a live stream does not wait") && !complete.text.contains("k3y"),
        "{}",
        complete.text
    );
}

#[test]
fn a_secret_given_by_reference_is_not_in_the_folder_or_log_of_a_run() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path().join("www")).unwrap();
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x64:rate=30:duration=2", "-pix_fmt", "yuv420p"]);
    if !support::has_tool("ffmpeg") {
        return;
    }
    assert_eq!(finish(make.arg(bench.path().join("www/s3cret.mp4"))).code, 0);
    let port = free_port();
    let mut server = Command::new("python3");
    server.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]);
    let _server = ChildGuard::start(server.current_dir(bench.path().join("www")));
    wait_until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    bench.write("cam", &format!("http://127.0.0.1:{port}/s3cret.mp4?token=k3y\n"));
    for source in ["file:cam", "env:SECRET_CAM"] {
        bench.write("flow.yml", &count_flow(&format!("SOURCE: '{source}'")));
        let mut run = bench.command(SIDELINE);
        run.args(["run", "flow.yml", "--output", "out", "--mode", "complete"]).env("LOG_LEVEL", "debug");
        run.env("SECRET_CAM", format!("http://127.0.0.1:{port}/s3cret.mp4?token=k3y"));
        let ended = finish(&mut run);
        assert_eq!((ended.code, rows(bench.path().join("out/counts.jsonl")).len()), (0, 60), "{}", ended.text);
        let inspected = bench.sideline(&["inspect", "flow.yml"]);
        assert!(inspected.text.contains(source), "{}", inspected.text);
        let host = format!("127.0.0.1:{port}");
        for secret in ["s3cret", "k3y", &host] {
            assert!(!ended.text.contains(secret) && !inspected.text.contains(secret), "{}", ended.text);
            let found = finish(bench.command("grep").args(["-rlF", "--include=*.json", secret, "out"]));
            assert_eq!(found.text, "", "the run's folder contains {secret}");
        }
    }
}

#[test]
fn yt_dlp_finds_the_stream_of_a_page_and_its_absence_is_reported_with_the_fix() {
    let bench = Bench::new();
    let Some(nginx) = Nginx::start(&bench) else { return };
    std::fs::write(nginx.www().join("watch.html"), "<html><body>a match</body></html>").unwrap();
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x64:rate=30:duration=2", "-pix_fmt", "yuv420p"]);
    assert_eq!(finish(make.arg(nginx.www().join("x.mp4"))).code, 0);
    bench.write("flow.yml", &count_flow(&format!("SOURCE: '{}?v=k3y'", nginx.http_url("watch.html"))));
    let run = |mode: &str, path: &Path| {
        let path = format!("{}:/usr/bin:/bin", path.display());
        finish(bench.command(SIDELINE).args(["run", "flow.yml", "--output", "out", "--mode", mode]).env("PATH", path))
    };
    let missing = run("complete", Path::new("/nowhere"));
    if missing.text.contains("finds no stream there") {
        return skip_test(Capability::Machine, "this machine has a yt-dlp of its own");
    }
    assert_eq!(missing.code, 3, "{}", missing.text);
    assert!(missing.text.contains("`yt-dlp`") && missing.text.contains("pip install yt-dlp"), "{}", missing.text);
    let tool = bench.write(
        "bin/yt-dlp",
        &format!("#!/bin/sh\necho \"$@\" > asked\necho '{}?sig=s3cret'\n", nginx.http_url("x.mp4")),
    );
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let found = run("complete", &bench.path().join("bin"));
    assert_eq!((found.code, rows(bench.path().join("out/counts.jsonl")).len()), (0, 60), "{}", found.text);
    let asked = std::fs::read_to_string(bench.path().join("asked")).unwrap();
    assert!(asked.contains("watch.html?v=k3y"), "{asked}");
    let secret = finish(bench.command("grep").args(["-rE", "s3cret|k3y", "out"]));
    assert_eq!(secret.text, "", "the run's folder contains a secret");
    bench.write("bin/yt-dlp", "#!/bin/sh\necho 'ERROR: Unsupported URL' >&2\nexit 1\n");
    let refused = run("live", &bench.path().join("bin"));
    assert_eq!(refused.code, 3, "{}", refused.text);
    assert!(refused.text.contains("finds no stream there: Unsupported URL"), "{}", refused.text);
}

#[test]
fn frames_for_an_unreachable_server_are_dropped_and_counted_and_the_bitrate_is_a_live_setting() {
    let bench = Bench::new();
    let Some(mut nginx) = Nginx::start(&bench) else { return };
    let flow = capture_encode_flow(
        "SOURCE: clip.mp4, LOOP: true",
        &format!("OUTPUT: '{}', {QUICK_RECONNECT}, BITRATE: 300", nginx.out_url("k3y")),
    );
    bench.write("flow.yml", &flow);
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30:duration=3", "-pix_fmt", "yuv420p"]);
    assert_eq!(finish(make.arg(bench.path().join("clip.mp4"))).code, 0);
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out", "--mode", "live"]);
    run.wait_for_frame(30);
    let set = |value: &str| bench.sideline(&["set", "--run", "out", &format!("encode.bitrate={value}")]);
    let refused = set("7");
    assert!(refused.code == 1 && refused.text.contains("out of range"), "{}", refused.text);
    let changed = set("900");
    assert!(changed.code == 0 && changed.text.contains("300") && changed.text.contains("900"), "{}", changed.text);
    nginx.kill();
    run.wait_for_log("frames are dropped");
    nginx.start_server();
    run.wait_for_log("reconnected to the server");
    let log = run.log().lines().filter(|line| line.contains("\"node\":\"recorder\"")).count() as u64;
    run.wait_for_frame(log + 30);
    run.interrupt();
    let ended = run.wait();
    assert_eq!(ended.code, 0, "{}", ended.text);
    let encode = node(&bench, "encode");
    let count = |key: &str| encode["own"][key].as_u64().unwrap();
    assert_eq!(count("connections"), 2);
    assert!(count("dropped") > 0 && count("sent") > 30, "{encode}");
    assert_eq!(count("sent") + count("dropped"), stream(&bench)["admitted"].as_u64().unwrap());
}
