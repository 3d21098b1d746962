//! `sideline-lab bench stream`: end-to-end latency over RTMP ("glass to glass"). Frames that carry their number as a
//! pattern are published to a real RTMP server, pass through a flow (capture, encode) and, at the same time, through
//! plain FFmpeg relays, and are read back.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_media::{
    DecodeOptions, Decoder, NetworkSource, TlsTrust,
    encode::{Broadcast, BroadcastOptions, EncodeOptions, Quality, Target},
};

use crate::sideline_program;

/// RTMP module of nginx, as installed by Debian.
const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
/// Frame interval: 30 frames per second.
const FRAME_INTERVAL: Duration = Duration::from_nanos(33_333_333);
/// Time before the measurement, after the first frame of every path.
const WARM_UP: Duration = Duration::from_secs(5);
/// Maximum time for all parts to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Bits of a frame number. Each is a light or dark block in the upper quarter of the image.
const BITS: usize = 16;
/// Name of each path, and of the stream in which it is published.
const PATHS: [(&str, &str); 3] =
    [("ffmpeg, copying", "copy"), ("ffmpeg, decoding and encoding", "again"), ("sideline, capture and encode", "ours")];

/// Options of `sideline-lab bench stream`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Seconds to measure, after five seconds of warm-up.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..3600))]
    pub seconds: u64,
    /// Height of the images, 16:9, at 30 frames per second.
    #[arg(long, default_value_t = 720, value_parser = clap::value_parser!(u32).range(180..=2160))]
    pub height: u32,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Latency of one path from the publisher to the reader.
#[derive(Debug, Serialize)]
pub struct PathLatency {
    /// Name of the path.
    pub name: &'static str,
    /// Frames whose number was read.
    pub frames: usize,
    /// Median time from the writing of a frame's number to its reading, milliseconds.
    pub p50_ms: f64,
    /// 95th percentile of that time, milliseconds.
    pub p95_ms: f64,
    /// Difference of the median from that of the copying relay, milliseconds.
    pub above_relay_p50_ms: f64,
    /// Difference of the 95th percentile from that of the copying relay, milliseconds.
    pub above_relay_p95_ms: f64,
}

/// Result of `sideline-lab bench stream`.
#[derive(Debug, Serialize)]
pub struct StreamDelay {
    /// Width and height of the images, px.
    pub size: (u32, u32),
    /// Latency of each path, the copying relay first.
    #[serde(rename = "ways")]
    pub paths: Vec<PathLatency>,
}

/// Measures all paths.
///
/// # Errors
/// nginx with its RTMP module or FFmpeg's tool is missing, or no frame arrives.
pub fn run(options: &Options) -> Result<StreamDelay> {
    super::in_temporary_folder("stream", |folder| run_all(options, folder))
}

impl std::fmt::Display for StreamDelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.size;
        writeln!(
            f,
            "{:<40} {:>7} {:>8} {:>8}   above the copying relay",
            "latency over RTMP, ms", "frames", "p50", "p95"
        )?;
        for path in &self.paths {
            writeln!(
                f,
                "{:<40} {:>7} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
                path.name, path.frames, path.p50_ms, path.p95_ms, path.above_relay_p50_ms, path.above_relay_p95_ms
            )?;
        }
        write!(f, "{width}x{height} at 30 frames per second; publisher, server, relays and readers all on this machine")
    }
}

/// Child process that is killed when dropped.
struct ChildGuard(Child);

impl ChildGuard {
    fn spawn(command: &mut Command, description: &str) -> Result<Self> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.spawn().map(ChildGuard).or_fail(Failure::Other, || description.to_owned())
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run_all(options: &Options, folder: &Path) -> Result<StreamDelay> {
    let height = options.height.next_multiple_of(2);
    let size = ((height * 16 / 9).next_multiple_of(32), height);
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .or_fail(Failure::Other, || "a free port")?
        .port();
    let _server = start_server(folder, port)?;
    let address = |app: &str, name: &str| format!("rtmp://127.0.0.1:{port}/{app}/{name}");
    let is_over = Arc::new(AtomicBool::new(false));
    let written_at = Mutex::new(vec![None; 1 << BITS]);
    let readings: [Mutex<Vec<(u32, Instant)>>; 3] = Default::default();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(&address("live", "in"), size, &written_at, &is_over));
        let children = start_paths(folder, &address, size).inspect_err(|_| is_over.store(true, Ordering::Relaxed));
        let children = children?;
        for ((_, name), readings) in PATHS.iter().zip(&readings) {
            let (address, is_over) = (address("out", name), is_over.clone());
            scope.spawn(move || read_numbers(&address, readings, &is_over));
        }
        let start = Instant::now();
        let count = |readings: &Mutex<Vec<_>>| readings.lock().unwrap_or_else(PoisonError::into_inner).len();
        while readings.iter().any(|readings| count(readings) == 0)
            && start.elapsed() < START_TIMEOUT
            && !publisher.is_finished()
        {
            std::thread::sleep(FRAME_INTERVAL);
        }
        std::thread::sleep(WARM_UP);
        let from = Instant::now();
        std::thread::sleep(Duration::from_secs(options.seconds));
        is_over.store(true, Ordering::Relaxed);
        drop(children);
        publisher.join().map_err(|_| Error::other("the publisher panicked; the message is above"))??;
        let written_at = written_at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut paths = vec![];
        for ((name, _), readings) in PATHS.into_iter().zip(&readings) {
            let readings = readings.lock().unwrap_or_else(PoisonError::into_inner);
            paths.push(path_latency(name, &readings, &written_at, from)?);
        }
        let (p50, p95) = (paths[0].p50_ms, paths[0].p95_ms);
        for path in &mut paths {
            (path.above_relay_p50_ms, path.above_relay_p95_ms) = (path.p50_ms - p50, path.p95_ms - p95);
        }
        Ok(StreamDelay { size, paths })
    })
}

/// Starts nginx and waits until it listens.
fn start_server(folder: &Path, port: u16) -> Result<ChildGuard> {
    if !Path::new(RTMP_MODULE).is_file() {
        return Err(Error::config(
            "nginx with its RTMP module is missing; Debian: apt-get install nginx-light libnginx-mod-rtmp",
        ));
    }
    let place = folder.display();
    let text = format!(
        "load_module {RTMP_MODULE}; daemon off; master_process off; error_log {place}/error.log; pid {place}/pid;
         events {{ worker_connections 64; }}
         rtmp {{ server {{ listen 127.0.0.1:{port}; access_log off;
           application live {{ live on; }} application out {{ live on; }} }} }}"
    );
    let conf = folder.join("nginx.conf");
    std::fs::write(&conf, text).or_fail(Failure::Output, || conf.display().to_string())?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(&conf).arg("-p").arg(folder);
    let running = ChildGuard::spawn(&mut command, "nginx")?;
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if start.elapsed() > START_TIMEOUT {
            return Err(Error::other(format!("nginx does not listen; its log is {place}/error.log")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(running)
}

/// Starts the relays and the flow.
fn start_paths(
    folder: &Path,
    address: &dyn Fn(&str, &str) -> String,
    (_, height): (u32, u32),
) -> Result<Vec<ChildGuard>> {
    let relay = |codec: &[&str], name: &str| {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-fflags", "nobuffer", "-rw_timeout", "60000000", "-i"]);
        command.arg(address("live", "in")).args(codec).args(["-flush_packets", "1", "-f", "flv"]);
        ChildGuard::spawn(command.arg(address("out", name)), "ffmpeg (Debian: apt-get install ffmpeg)")
    };
    let reencode = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-b:v", "4000k", "-g", "30"];
    let flow = format!(
        "nodes:
  - id: capture
path: sideline
args: run capture
env: {{SOURCE: '{}', BACKOFF: 200, RECONNECT_ATTEMPTS: 100, SIZE: {height}}}
inputs: {{done_encode: encode/done}}
outputs: [frames]
  - id: encode
path: sideline
args: run encode
env: {{OUTPUT: '{}', PRESET: ultrafast, GOP: 30, BACKOFF: 200, RECONNECT_ATTEMPTS: 100}}
inputs: {{frames: capture/frames}}
outputs: [done]
",
        address("live", "in"),
        address("out", "ours")
    );
    let path = folder.join("flow.yml");
    std::fs::write(&path, flow).or_fail(Failure::Output, || path.display().to_string())?;
    let mut flow_run = Command::new(sideline_program::find()?);
    flow_run.args(["run", "flow.yml", "--output", "out"]).current_dir(folder);
    Ok(vec![relay(&["-c", "copy"], "copy")?, relay(&reencode, "again")?, ChildGuard::spawn(&mut flow_run, "sideline")?])
}

/// Publishes numbered frames until `is_over`, and records the time at which each number was written.
fn publish(
    address: &str,
    (width, height): (u32, u32),
    written_at: &Mutex<Vec<Option<Instant>>>,
    is_over: &AtomicBool,
) -> Result<()> {
    let encode = EncodeOptions {
        preset: "ultrafast".into(),
        quality: Quality::Bitrate(4_000_000),
        gop: 30,
        low_delay: true,
        ..EncodeOptions::default()
    };
    let broadcast_options = BroadcastOptions {
        timeout: Duration::from_secs(5),
        buffer_bytes: 4_096_000,
        reconnect_attempts: 10,
        backoff: Duration::from_millis(200),
        alert_after: 5,
        blocks_when_full: false,
    };
    let mut broadcast =
        Broadcast::start(Target::parse(address, TlsTrust::default(), &[])?, width, height, &encode, broadcast_options)?;
    let (w, h) = (width as usize, height as usize);
    let mut luma: Vec<u8> = (0..w * h).map(|i| (i % w + i / w) as u8).collect();
    let chroma = vec![128; w / 2 * (h / 2)];
    let start = Instant::now();
    for number in 0..1 << BITS {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let due = FRAME_INTERVAL * number;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        for row in luma[..w * h / 4].chunks_exact_mut(w) {
            for (i, block) in row.chunks_exact_mut(w / BITS).enumerate() {
                block.fill(if number >> i & 1 == 1 { 235 } else { 16 });
            }
        }
        // The lower part moves, as in a real video.
        luma[w * h / 4..].rotate_right(3);
        written_at.lock().unwrap_or_else(PoisonError::into_inner)[number as usize] = Some(Instant::now());
        broadcast.write_planes([(&luma, w), (&chroma, w / 2), (&chroma, w / 2)], due.as_nanos() as i64)?;
    }
    broadcast.finish().1
}

/// Reads a stream until `is_over`, and records the time at which each number arrived.
fn read_numbers(address: &str, readings: &Mutex<Vec<(u32, Instant)>>, is_over: &Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        let stop = is_over.clone();
        let network = NetworkSource {
            address: address.into(),
            name: address.into(),
            timeout: Duration::from_secs(5),
            buffer_bytes: 4_096_000,
            trust: TlsTrust::default(),
            stop: Arc::new(move || stop.load(Ordering::Relaxed)),
            previous: None,
        };
        let Ok(mut decoder) = Decoder::open_network(&network, DecodeOptions::default()) else {
            std::thread::sleep(FRAME_INTERVAL);
            continue;
        };
        while let Ok(Some(decoded)) = decoder.next() {
            let now = Instant::now();
            let frame = decoded.frame;
            let (luma, stride) = frame.plane(0);
            let block = frame.width() as usize / BITS;
            let row = frame.height() as usize / 8 * stride;
            let bit = |i: usize| u32::from(luma[row + i * block + block / 2] > 126) << i;
            let number = (0..BITS).map(bit).sum();
            readings.lock().unwrap_or_else(PoisonError::into_inner).push((number, now));
        }
    }
}

/// Calculates the latency of the frames that arrived after `from`.
fn path_latency(
    name: &'static str,
    readings: &[(u32, Instant)],
    written_at: &[Option<Instant>],
    from: Instant,
) -> Result<PathLatency> {
    let measured = readings.iter().filter(|(_, arrived_at)| *arrived_at >= from);
    let delays =
        measured.filter_map(|(number, arrived_at)| Some(arrived_at.duration_since(written_at[*number as usize]?)));
    let mut delays: Vec<f64> = delays.map(|delay| delay.as_secs_f64() * 1e3).collect();
    delays.sort_by(f64::total_cmp);
    let quantile = |q: f64| delays.get((delays.len() as f64 * q) as usize).copied();
    let (Some(p50_ms), Some(p95_ms)) = (quantile(0.5), quantile(0.95)) else {
        return Err(Error::other(format!("{name}: no frame arrived; the machine may be overloaded")));
    };
    Ok(PathLatency { name, frames: delays.len(), p50_ms, p95_ms, above_relay_p50_ms: 0.0, above_relay_p95_ms: 0.0 })
}
