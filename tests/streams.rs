//! Streams over real servers: nginx with its RTMP module (RTMP and HLS), GStreamer's RTSP server. Servers die and come back,
//! publishers stall, pictures change their size; nothing hangs, nothing is counted twice, no secret is told.

mod support;

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

use rustix::process::Signal;
use serde_json::Value;
use sideline_media::{DecodeOptions, Decoder};
use support::{
    Bench, Capability, SIDELINE, count, finish, frame_times, json, rows, skipped,
    streams::{Nginx, Run, Running, free_port, number, numbered, publish, until},
};

/// Quick to notice, quick to come back.
const QUICK: &str = "TIMEOUT: 1500, BACKOFF: 200, TRIES: 100";

/// Capture -> encode, and -> counter -> recorder.
fn through(capture: &str, encode: &str) -> String {
    let flow = count(capture)
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

fn stream(bench: &Bench) -> Value {
    json(bench.path().join("out/run.json"))["result"]["sources"][0]["streams"][0].clone()
}

fn node(bench: &Bench, id: &str) -> Value {
    let nodes = json(bench.path().join("out/run.json"))["result"]["nodes"].as_array().unwrap().clone();
    nodes.into_iter().find(|node| node["node"] == id).unwrap()
}

/// Every frame admitted is counted once, in order, and its time goes on.
fn counted_once(bench: &Bench) {
    let counts = rows(bench.path().join("out/counts.jsonl"));
    let frames: Vec<u64> = counts.iter().map(|row| row["frame"].as_u64().unwrap()).collect();
    assert_eq!(frames, (0..frames.len() as u64).collect::<Vec<_>>());
    assert_eq!(stream(bench)["admitted"], frames.len());
    let times: Vec<i64> = counts.iter().map(|row| row["pts"].as_i64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// The burnt-in number and the time of every frame of a video.
fn numbers(video: &Path) -> Vec<(u32, i64)> {
    let mut decoder = Decoder::open(video, DecodeOptions::default()).unwrap();
    let mut found = vec![];
    while let Some(decoded) = decoder.next().unwrap() {
        let (luma, stride) = decoded.frame.plane(0);
        let (width, height) = (decoded.frame.width() as usize, decoded.frame.height() as usize);
        found.push((number(luma, stride, width, height), decoded.pts_ns));
    }
    found
}

/// When the lower half of the picture, and the sound, begin to be bright and loud: seconds.
fn flashes_and_beeps(video: &Path) -> (Vec<f64>, Vec<f64>) {
    let mut decoder = Decoder::open(video, DecodeOptions { audio: true, ..DecodeOptions::default() }).unwrap();
    let rate = decoder.sound_format().unwrap();
    let (mut flashes, mut beeps, mut bright, mut loud) = (vec![], vec![], true, 0.0);
    let mut hear = |runs: Vec<sideline_media::Sound>| {
        for run in runs {
            for (i, samples) in run.samples.chunks(usize::from(rate.channels)).enumerate() {
                let at = run.start_ns as f64 * 1e-9 + i as f64 / f64::from(rate.rate);
                if samples[0].abs() > 0.2 {
                    if at - loud > 0.3 {
                        beeps.push(at);
                    }
                    loud = at;
                }
            }
        }
    };
    while let Some(decoded) = decoder.next().unwrap() {
        let (luma, stride) = decoded.frame.plane(0);
        let white = luma[(decoded.frame.height() as usize * 3 / 4) * stride + 4] > 126;
        if white && !bright {
            flashes.push(decoded.pts_ns as f64 * 1e-9);
        }
        bright = white;
        hear(decoder.sound_until(decoded.pts_ns));
    }
    hear(decoder.sound_until(i64::MAX));
    (flashes, beeps)
}

#[test]
fn what_is_published_is_read_encoded_pushed_and_played_back_frame_for_frame() {
    let bench = Bench::new();
    let Some(nginx) = Nginx::start(&bench) else { return };
    bench.write(
        "flow.yml",
        &through(
            &format!("SOURCE: '{}', {QUICK}", nginx.live("in")),
            &format!("OUTPUT: '{}', {QUICK}", nginx.out("k3y")),
        ),
    );
    let back = bench.path().join("back.mp4");
    let mut player = Command::new("ffmpeg");
    player.args(["-v", "error", "-rw_timeout", "60000000", "-i", &nginx.out("k3y"), "-c", "copy"]).arg(&back);
    let mut player = Running::start(&mut player);
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out", "--duration", "6"]);
    run.says("no stream");
    let _publisher = publish(&numbered("320x64", 60), &nginx.live("in"));
    let ended = run.wait();
    assert_eq!(ended.code, 0, "{}", ended.text);
    until("the player ends", || player.0.try_wait().unwrap().is_some());
    counted_once(&bench);
    let (encode, source) = (node(&bench, "encode"), stream(&bench));
    let of = |key: &str| encode["own"][key].as_u64().unwrap();
    assert_eq!(of("sent") + of("dropped"), source["admitted"].as_u64().unwrap());
    assert_eq!((of("connections"), &source["own"]["sessions"]), (1, &1.into()));
    let played = numbers(&back);
    assert!(
        played.len() as u64 + 5 >= of("sent") && played.len() > 120,
        "{} of {} were played",
        played.len(),
        of("sent")
    );
    for pair in played.windows(2) {
        let ((one, at), (next, then)) = (pair[0], pair[1]);
        assert!(next > one, "{one} then {next}");
        let expected = f64::from(next - one) / 30.0;
        let passed = (then - at) as f64 * 1e-9;
        assert!((passed - expected).abs() < 0.003, "{one} to {next}: {passed} s, published {expected} s apart");
    }
    let (flashes, beeps) = flashes_and_beeps(&back);
    assert!(flashes.len() >= 4, "{flashes:?}");
    for flash in &flashes[1..] {
        let offset = beeps.iter().map(|beep| beep - flash).min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
        assert!(offset.abs() <= 0.04, "sound is {offset} s off: {flashes:?} {beeps:?}");
    }
}

#[test]
fn a_publisher_that_dies_stalls_or_comes_back_larger_is_another_session_and_no_frame_counts_twice() {
    let bench = Bench::new();
    let Some(mut nginx) = Nginx::start(&bench) else { return };
    bench.write("flow.yml", &through(&format!("SOURCE: '{}', {QUICK}", nginx.live("in")), "OUTPUT: x.mp4, CRF: 18"));
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out"]);
    let mut publisher = publish(&numbered("320x64", 600), &nginx.live("in"));
    run.reaches(30);
    // Stalled: the connection stays, nothing comes.
    publisher.signal(Signal::STOP);
    run.says("no picture came for 1.5 s");
    publisher.signal(Signal::CONT);
    run.says("\"session\":1");
    // Gone, and back with a larger picture.
    publisher.end();
    let _larger = publish(&numbered("640x64", 600), &nginx.live("in"));
    run.says("\"session\":2");
    // The server itself.
    nginx.kill();
    run.says("nothing listens there");
    nginx.go();
    let _again = publish(&numbered("640x64", 600), &nginx.live("in"));
    run.says("\"session\":3");
    let log = run.log().lines().filter(|line| line.contains("\"node\":\"recorder\"")).count() as u64;
    run.reaches(log + 30);
    run.interrupt();
    let ended = run.wait();
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert_eq!(stream(&bench)["own"]["sessions"], 4, "{}", ended.text);
    counted_once(&bench);
    // The larger pictures are in a file of their own.
    let small = numbers(&bench.path().join("out/x.mp4"));
    assert!(small.is_sorted_by(|a, b| a.0 < b.0), "a frame twice: {small:?}");
    assert!(frame_times(&bench.path().join("out/x-2.mp4")).len() >= 30);
}

#[test]
fn hls_goes_on_where_it_broke_off_and_no_segment_is_played_twice() {
    let bench = Bench::new();
    let Some(mut nginx) = Nginx::start(&bench) else { return };
    let playlist = nginx.www().join("hls/in.m3u8");
    let _publisher = publish(&numbered("320x64", 600), &nginx.live("in"));
    until("three segments", || std::fs::read_to_string(&playlist).is_ok_and(|text| text.matches(".ts").count() >= 3));
    // A third of a second is little, but HLS has four times as long.
    let source = format!("SOURCE: '{}', TIMEOUT: 700, BACKOFF: 100, TRIES: 100", nginx.page("hls/in.m3u8"));
    bench.write("flow.yml", &through(&source, "OUTPUT: x.mp4, CRF: 18"));
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out"]);
    run.reaches(60);
    nginx.kill();
    run.says("no stream");
    // The playlist on the disk is still the old one: its segments come again.
    nginx.go();
    let _back = publish(&numbered("320x64", 600), &nginx.live("in"));
    run.says("\"session\":1");
    let log = run.log().lines().filter(|line| line.contains("\"node\":\"recorder\"")).count() as u64;
    run.reaches(log + 45);
    run.interrupt();
    let ended = run.wait();
    assert_eq!(ended.code, 0, "{}", ended.text);
    counted_once(&bench);
    // The publisher began anew: numbers rise, fall once, and rise.
    let numbers = numbers(&bench.path().join("out/x.mp4"));
    let falls = numbers.windows(2).filter(|pair| pair[1].0 <= pair[0].0).count();
    assert!(falls <= 1, "frames came twice: {numbers:?}");
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
        bench.write("flow.yml", &count(&format!("SOURCE: '{}?token=s3cret', {QUICK}", nginx.page("vod/index.m3u8"))));
        bench.sideline(&["run", "flow.yml", "--output", "out", "--mode", mode])
    };
    let whole = read("complete");
    assert_eq!((whole.code, rows(bench.path().join("out/counts.jsonl")).len()), (0, 180), "{}", whole.text);
    let segment = folder.join("index2.ts");
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() / 2]).unwrap();
    let cut = read("complete");
    assert_eq!(cut.code, 0, "{}", cut.text);
    counted_once(&bench);
    let frames = rows(bench.path().join("out/counts.jsonl")).len();
    assert!((150..180).contains(&frames), "{frames} of 180");
    let secret = finish(bench.command("grep").args(["-r", "s3cret", "out"]));
    assert_eq!(secret.text, "", "a secret in the run's folder");
}

#[test]
fn pictures_that_change_their_size_in_mid_stream_go_on() {
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
        &through(&format!("SOURCE: '{}', TRIES: 0", nginx.page("x.ts")), "OUTPUT: x.mp4")
            .replace(", audio: capture/audio", "")
            .replace("[frames, audio]", "[frames]"),
    );
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out", "--mode", "complete"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    counted_once(&bench);
    let times = |name: &str| frame_times(&bench.path().join("out").join(name)).len();
    assert_eq!((times("x.mp4"), times("x-2.mp4")), (30, 30));
}

#[test]
fn rtsp_is_read_and_its_end_is_told() {
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
    let has = |of: &mut Command| of.output().is_ok_and(|output| output.status.success());
    if !has(Command::new("/usr/bin/python3").args(["-c", imports]))
        || !has(Command::new("gst-inspect-1.0").arg("x264enc"))
    {
        return skipped(
            Capability::Servers,
            "no RTSP server; Debian: python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly",
        );
    }
    let port = free_port();
    let start = || Running::start(Command::new("/usr/bin/python3").args(["-c", script, &port.to_string()]));
    let mut server = start();
    let source = format!("SOURCE: 'rtsp://user:s3cret@127.0.0.1:{port}/t', TIMEOUT: 3000, BACKOFF: 100, TRIES: 7");
    bench.write("flow.yml", &count(&source));
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out"]);
    run.reaches(30);
    server.end();
    run.says("no stream");
    server = start();
    run.says("\"session\":1");
    run.reaches(45);
    server.end();
    let ended = run.wait();
    assert_eq!(ended.code, 3, "{}", ended.text);
    assert!(ended.text.contains("did not come back in 7 more tries"), "{}", ended.text);
    assert_eq!(json(bench.path().join("out/run.json"))["result"]["status"], "partial");
    assert!(stream(&bench)["own"]["alerts"].as_u64().unwrap() >= 1 && !ended.text.contains("s3cret"), "{}", ended.text);
    counted_once(&bench);
    let secret = finish(bench.command("grep").args(["-r", "s3cret", "out", "log"]));
    assert_eq!(secret.text, "", "a secret in the run's folder or its log");
}

#[test]
fn a_dead_server_is_code_three_after_its_tries_and_a_stop_ends_the_wait_at_once() {
    let bench = Bench::new();
    let dead = format!("rtmp://u:s3cret@127.0.0.1:{}/live/k3y", free_port());
    bench.write("flow.yml", &count(&format!("SOURCE: '{dead}', TRIES: 2, BACKOFF: 50")));
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ended.code, 3, "{}", ended.text);
    assert!(ended.text.contains("error: node `capture`: rtmp://***@127.0.0.1:"), "{}", ended.text);
    assert!(ended.text.contains("nothing listens there") && ended.text.contains("given up after 2 more tries"));
    assert!(!ended.text.contains("s3cret") && !ended.text.contains("k3y"), "{}", ended.text);
    assert_eq!(stream(&bench)["own"]["failed_tries"], 3);
    // Ten minutes of waiting, if nobody stops it.
    bench.write("flow.yml", &count("SOURCE: none.mp4, BACKOFF: 60000"));
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out", "--input", &dead]);
    run.says("tried again in");
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
fn a_secret_by_reference_is_nowhere_in_the_folder_or_the_log_of_a_run() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path().join("www")).unwrap();
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x64:rate=30:duration=2", "-pix_fmt", "yuv420p"]);
    if !support::tool("ffmpeg") {
        return;
    }
    assert_eq!(finish(make.arg(bench.path().join("www/s3cret.mp4"))).code, 0);
    let port = free_port();
    let mut server = Command::new("python3");
    server.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]);
    let _server = Running::start(server.current_dir(bench.path().join("www")));
    until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    bench.write("cam", &format!("http://127.0.0.1:{port}/s3cret.mp4?token=k3y\n"));
    for source in ["file:cam", "env:SECRET_CAM"] {
        bench.write("flow.yml", &count(&format!("SOURCE: '{source}'")));
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
            assert_eq!(found.text, "", "{secret} in the run's folder");
        }
    }
}

#[test]
fn the_stream_of_a_page_is_found_by_yt_dlp_and_its_absence_is_told_with_the_mend() {
    let bench = Bench::new();
    let Some(nginx) = Nginx::start(&bench) else { return };
    std::fs::write(nginx.www().join("watch.html"), "<html><body>a match</body></html>").unwrap();
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x64:rate=30:duration=2", "-pix_fmt", "yuv420p"]);
    assert_eq!(finish(make.arg(nginx.www().join("x.mp4"))).code, 0);
    bench.write("flow.yml", &count(&format!("SOURCE: '{}?v=k3y'", nginx.page("watch.html"))));
    let run = |mode: &str, path: &Path| {
        let path = format!("{}:/usr/bin:/bin", path.display());
        finish(bench.command(SIDELINE).args(["run", "flow.yml", "--output", "out", "--mode", mode]).env("PATH", path))
    };
    let missing = run("complete", Path::new("/nowhere"));
    if missing.text.contains("finds no stream there") {
        return skipped(Capability::Machine, "this machine has a yt-dlp of its own");
    }
    assert_eq!(missing.code, 3, "{}", missing.text);
    assert!(missing.text.contains("`yt-dlp`") && missing.text.contains("pip install yt-dlp"), "{}", missing.text);
    let tool = bench
        .write("bin/yt-dlp", &format!("#!/bin/sh\necho \"$@\" > asked\necho '{}?sig=s3cret'\n", nginx.page("x.mp4")));
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let found = run("complete", &bench.path().join("bin"));
    assert_eq!((found.code, rows(bench.path().join("out/counts.jsonl")).len()), (0, 60), "{}", found.text);
    let asked = std::fs::read_to_string(bench.path().join("asked")).unwrap();
    assert!(asked.contains("watch.html?v=k3y"), "{asked}");
    let secret = finish(bench.command("grep").args(["-rE", "s3cret|k3y", "out"]));
    assert_eq!(secret.text, "", "a secret in the run's folder");
    bench.write("bin/yt-dlp", "#!/bin/sh\necho 'ERROR: Unsupported URL' >&2\nexit 1\n");
    let refused = run("live", &bench.path().join("bin"));
    assert_eq!(refused.code, 3, "{}", refused.text);
    assert!(refused.text.contains("finds no stream there: Unsupported URL"), "{}", refused.text);
}

#[test]
fn a_server_that_is_away_drops_frames_in_the_open_and_bitrate_is_changed_while_running() {
    let bench = Bench::new();
    let Some(mut nginx) = Nginx::start(&bench) else { return };
    let flow =
        through("SOURCE: clip.mp4, LOOP: true", &format!("OUTPUT: '{}', {QUICK}, BITRATE: 300", nginx.out("k3y")));
    bench.write("flow.yml", &flow);
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30:duration=3", "-pix_fmt", "yuv420p"]);
    assert_eq!(finish(make.arg(bench.path().join("clip.mp4"))).code, 0);
    let mut run = Run::start(&bench, &["flow.yml", "--output", "out", "--mode", "live"]);
    run.reaches(30);
    let set = |value: &str| bench.sideline(&["set", "--run", "out", &format!("encode.bitrate={value}")]);
    let refused = set("7");
    assert!(refused.code == 1 && refused.text.contains("out of range"), "{}", refused.text);
    let changed = set("900");
    assert!(changed.code == 0 && changed.text.contains("300") && changed.text.contains("900"), "{}", changed.text);
    nginx.kill();
    run.says("frames are dropped");
    nginx.go();
    run.says("the server is back");
    let log = run.log().lines().filter(|line| line.contains("\"node\":\"recorder\"")).count() as u64;
    run.reaches(log + 30);
    run.interrupt();
    let ended = run.wait();
    assert_eq!(ended.code, 0, "{}", ended.text);
    let encode = node(&bench, "encode");
    let of = |key: &str| encode["own"][key].as_u64().unwrap();
    assert_eq!(of("connections"), 2);
    assert!(of("dropped") > 0 && of("sent") > 30, "{encode}");
    assert_eq!(of("sent") + of("dropped"), stream(&bench)["admitted"].as_u64().unwrap());
}
