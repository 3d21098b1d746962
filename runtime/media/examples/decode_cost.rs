//! CPU time of decoding a file, beside the `ffmpeg` command decoding the same file with the same threads.
//!
//! `cargo run -p sideline-media --example decode_cost -- FILE [THREADS] [slice|frame] [SIZE]`

use std::process::Command;

use rustix::time::{ClockId, clock_gettime};
use sideline_media::{DecodeOptions, Decoder, Threads};

fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
}

/// User and system time that `ffmpeg -benchmark` reports, milliseconds.
fn peer_ms(path: &str, threads: usize, kind: &str, size: Option<&str>) -> Option<f64> {
    let threads = threads.to_string();
    let mut args =
        vec!["-hide_banner", "-benchmark", "-threads", &threads, "-thread_type", kind, "-i", path, "-map", "0:v:0"];
    let filter = size.map(|lines| format!("scale=-2:{lines}:flags=bilinear"));
    args.extend(filter.iter().flat_map(|filter| ["-vf", filter.as_str()]));
    args.extend(["-fps_mode", "passthrough", "-f", "null", "-"]);
    let output = Command::new("ffmpeg").args(&args).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.starts_with("bench: utime="))?;
    let seconds = |key: &str| line.split(key).nth(1)?.split('s').next()?.parse::<f64>().ok();
    Some((seconds("utime=")? + seconds("stime=")?) * 1e3)
}

fn main() -> sideline_api::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = args.first() else {
        println!("usage: decode_cost FILE [THREADS] [slice|frame] [SIZE]");
        return Ok(());
    };
    let count = args.get(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let kind = args.get(2).map_or("frame", String::as_str);
    let threads = if kind == "slice" { Threads::Slice(count) } else { Threads::Frame(count) };
    let size = args.get(3).map(|text| text.parse()).transpose()?;
    // In turns, three times, the least of each: what else runs on the machine only adds.
    let (mut ours, mut peer, mut frames) = (f64::INFINITY, f64::INFINITY, 0);
    for _ in 0..3 {
        let before = cpu_ms();
        let mut decoder = Decoder::open(path, DecodeOptions { threads, size, ..Default::default() })?;
        frames = 0;
        while decoder.next()?.is_some() {
            frames += 1;
        }
        drop(decoder);
        ours = ours.min(cpu_ms() - before);
        peer = peer.min(peer_ms(path, count, kind, args.get(3).map(String::as_str)).unwrap_or(f64::NAN));
    }
    let each = |ms: f64| ms / f64::from(frames.max(1));
    println!(
        "{path}: {frames} frames, {kind} threads {count}: {:.2} ms CPU a frame, ffmpeg {:.2}, ratio {:.2}",
        each(ours),
        each(peer),
        ours / peer
    );
    Ok(())
}
