//! From glass to glass: frames with their number burnt in are published to a real RTMP server, go through a flow (capture,
//! encode) and through plain FFmpeg relays beside it, all at once, and are read back.

use serde::Serialize;
use sideline_api::Result;

/// What to measure with.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Seconds to measure, after five of warming up.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..3600))]
    pub seconds: u64,
    /// Height of the pictures, 16:9, at 30 frames a second.
    #[arg(long, default_value_t = 720, value_parser = clap::value_parser!(u32).range(180..=2160))]
    pub height: u32,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// One way from the publisher to the reader.
#[derive(Debug, Serialize)]
pub struct Way {
    /// What it is.
    pub name: &'static str,
    /// Frames whose number was read.
    pub frames: usize,
    /// From the burning-in of a frame's number to its reading: median, milliseconds.
    pub p50_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// Medians, above the relay that copies.
    pub above_relay_p50_ms: f64,
    /// 95th percentiles, above the relay that copies.
    pub above_relay_p95_ms: f64,
}

/// The figures.
#[derive(Debug, Serialize)]
pub struct StreamDelay {
    /// Width and height of the pictures.
    pub size: (u32, u32),
    /// The relay that copies first.
    pub ways: Vec<Way>,
}

/// Measures.
///
/// # Errors
/// When nginx with its RTMP module or FFmpeg's tool is missing, or nothing comes back; in a build without media.
#[cfg(feature = "media")]
pub fn run(options: &Options) -> Result<StreamDelay> {
    super::in_temporary_folder("stream", |folder| measured::all(options, folder))
}

/// Without media there are no streams.
///
/// # Errors
/// Always.
#[cfg(not(feature = "media"))]
pub fn run(_: &Options) -> Result<StreamDelay> {
    Err(sideline_api::Error::config("this build has no streams: build with the feature `media`"))
}

impl std::fmt::Display for StreamDelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.size;
        writeln!(
            f,
            "{:<40} {:>7} {:>8} {:>8}   above the relay",
            "glass to glass over RTMP, ms", "frames", "p50", "p95"
        )?;
        for way in &self.ways {
            writeln!(
                f,
                "{:<40} {:>7} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
                way.name, way.frames, way.p50_ms, way.p95_ms, way.above_relay_p50_ms, way.above_relay_p95_ms
            )?;
        }
        write!(
            f,
            "{width}x{height} at 30 frames a second; publisher, server, relays and readers on this machine at once"
        )
    }
}

#[cfg(feature = "media")]
mod measured {
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

    use sideline_api::{Error, Failure, OrFail, Result};
    use sideline_media::{
        DecodeOptions, Decoder, Network, Trust,
        encode::{Broadcast, BroadcastOptions, EncodeOptions, Quality, Target},
    };

    use super::{Options, StreamDelay, Way};

    const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
    const INTERVAL: Duration = Duration::from_nanos(33_333_333);
    const WARM_UP: Duration = Duration::from_secs(5);
    /// How long the slowest part may take to start.
    const START: Duration = Duration::from_secs(60);
    /// Bits of a number, a block of the picture each.
    const BITS: usize = 16;
    const WAYS: [(&str, &str); 3] = [
        ("ffmpeg, copying", "copy"),
        ("ffmpeg, decoding and encoding", "again"),
        ("sideline, capture and encode", "ours"),
    ];

    /// A child that is ended with its handle.
    struct Running(Child);

    impl Running {
        fn start(command: &mut Command, what: &str) -> Result<Self> {
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            quiet.spawn().map(Running).or_fail(Failure::Other, || what.to_owned())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            // It may have ended by itself.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    pub fn all(options: &Options, folder: &Path) -> Result<StreamDelay> {
        let height = options.height.next_multiple_of(2);
        let size = ((height * 16 / 9).next_multiple_of(32), height);
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .or_fail(Failure::Other, || "a free port")?
            .port();
        let _server = server(folder, port)?;
        let address = |app: &str, name: &str| format!("rtmp://127.0.0.1:{port}/{app}/{name}");
        let over = Arc::new(AtomicBool::new(false));
        let burnt = Mutex::new(vec![None; 1 << BITS]);
        let read: [Mutex<Vec<(u32, Instant)>>; 3] = Default::default();
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| publish(&address("live", "in"), size, &burnt, &over));
            let children = ways(folder, &address, size).inspect_err(|_| over.store(true, Ordering::Relaxed));
            let children = children?;
            for ((_, name), read) in WAYS.iter().zip(&read) {
                let (address, over) = (address("out", name), over.clone());
                scope.spawn(move || follow(&address, read, &over));
            }
            let began = Instant::now();
            let count = |read: &Mutex<Vec<_>>| read.lock().unwrap_or_else(PoisonError::into_inner).len();
            while read.iter().any(|read| count(read) == 0) && began.elapsed() < START && !publisher.is_finished() {
                std::thread::sleep(INTERVAL);
            }
            std::thread::sleep(WARM_UP);
            let from = Instant::now();
            std::thread::sleep(Duration::from_secs(options.seconds));
            over.store(true, Ordering::Relaxed);
            drop(children);
            publisher.join().map_err(|_| Error::other("the publisher panicked; the message is above"))??;
            let burnt = burnt.lock().unwrap_or_else(PoisonError::into_inner);
            let mut ways = vec![];
            for ((name, _), read) in WAYS.into_iter().zip(&read) {
                ways.push(way(name, &read.lock().unwrap_or_else(PoisonError::into_inner), &burnt, from)?);
            }
            let (p50, p95) = (ways[0].p50_ms, ways[0].p95_ms);
            for way in &mut ways {
                (way.above_relay_p50_ms, way.above_relay_p95_ms) = (way.p50_ms - p50, way.p95_ms - p95);
            }
            Ok(StreamDelay { size, ways })
        })
    }

    /// nginx, listening.
    fn server(folder: &Path, port: u16) -> Result<Running> {
        if !Path::new(MODULE).is_file() {
            return Err(Error::config(
                "nginx with its RTMP module is missing; Debian: apt-get install nginx-light libnginx-mod-rtmp",
            ));
        }
        let place = folder.display();
        let text = format!(
            "load_module {MODULE}; daemon off; master_process off; error_log {place}/error.log; pid {place}/pid;
             events {{ worker_connections 64; }}
             rtmp {{ server {{ listen 127.0.0.1:{port}; access_log off;
               application live {{ live on; }} application out {{ live on; }} }} }}"
        );
        let conf = folder.join("nginx.conf");
        std::fs::write(&conf, text).or_fail(Failure::Output, || conf.display().to_string())?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(&conf).arg("-p").arg(folder);
        let running = Running::start(&mut command, "nginx")?;
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > START {
                return Err(Error::other(format!("nginx does not listen; its log is {place}/error.log")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// The relays and the flow, under way.
    fn ways(folder: &Path, address: &dyn Fn(&str, &str) -> String, (_, height): (u32, u32)) -> Result<Vec<Running>> {
        let relay = |codec: &[&str], name: &str| {
            let mut command = Command::new("ffmpeg");
            command.args(["-v", "error", "-fflags", "nobuffer", "-rw_timeout", "60000000", "-i"]);
            command.arg(address("live", "in")).args(codec).args(["-flush_packets", "1", "-f", "flv"]);
            Running::start(command.arg(address("out", name)), "ffmpeg (Debian: apt-get install ffmpeg)")
        };
        let again = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-b:v", "4000k", "-g", "30"];
        let flow = format!(
            "nodes:
  - id: capture
    path: sideline
    args: run capture
    env: {{SOURCE: '{}', BACKOFF: 200, TRIES: 100, SIZE: {height}}}
    inputs: {{done_encode: encode/done}}
    outputs: [frames]
  - id: encode
    path: sideline
    args: run encode
    env: {{OUTPUT: '{}', PRESET: ultrafast, GOP: 30, BACKOFF: 200, TRIES: 100}}
    inputs: {{frames: capture/frames}}
    outputs: [done]
",
            address("live", "in"),
            address("out", "ours")
        );
        let path = folder.join("flow.yml");
        std::fs::write(&path, flow).or_fail(Failure::Output, || path.display().to_string())?;
        let program = std::env::current_exe().or_fail(Failure::Other, || "this program")?;
        let mut ours = Command::new(program);
        ours.args(["run", "flow.yml", "--output", "out"]).current_dir(folder);
        Ok(vec![relay(&["-c", "copy"], "copy")?, relay(&again, "again")?, Running::start(&mut ours, "sideline")?])
    }

    /// Publishes numbered pictures until it is over, and keeps when each number was burnt in.
    fn publish(
        address: &str,
        (width, height): (u32, u32),
        burnt: &Mutex<Vec<Option<Instant>>>,
        over: &AtomicBool,
    ) -> Result<()> {
        let encode = EncodeOptions {
            preset: "ultrafast".into(),
            quality: Quality::Bitrate(4_000_000),
            gop: 30,
            low_delay: true,
            ..EncodeOptions::default()
        };
        let line = BroadcastOptions {
            timeout: Duration::from_secs(5),
            buffer: 4_096_000,
            tries: 10,
            backoff: Duration::from_millis(200),
            alert: 5,
            patient: false,
        };
        let mut broadcast =
            Broadcast::start(Target::of(address, Trust::default(), &[])?, width, height, &encode, line)?;
        let (w, h) = (width as usize, height as usize);
        let mut luma: Vec<u8> = (0..w * h).map(|i| (i % w + i / w) as u8).collect();
        let chroma = vec![128; w / 2 * (h / 2)];
        let began = Instant::now();
        for number in 0..1 << BITS {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let due = INTERVAL * number;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            for row in luma[..w * h / 4].chunks_exact_mut(w) {
                for (i, block) in row.chunks_exact_mut(w / BITS).enumerate() {
                    block.fill(if number >> i & 1 == 1 { 235 } else { 16 });
                }
            }
            // Something moves below, as in any real picture.
            luma[w * h / 4..].rotate_right(3);
            burnt.lock().unwrap_or_else(PoisonError::into_inner)[number as usize] = Some(Instant::now());
            broadcast.write_planes([(&luma, w), (&chroma, w / 2), (&chroma, w / 2)], due.as_nanos() as i64)?;
        }
        broadcast.finish().1
    }

    /// Reads a stream until it is over, and keeps when each number came.
    fn follow(address: &str, read: &Mutex<Vec<(u32, Instant)>>, over: &Arc<AtomicBool>) {
        while !over.load(Ordering::Relaxed) {
            let stopped = over.clone();
            let network = Network {
                address: address.into(),
                name: address.into(),
                timeout: Duration::from_secs(5),
                buffer_bytes: 4_096_000,
                trust: Trust::default(),
                stop: Arc::new(move || stopped.load(Ordering::Relaxed)),
                before: None,
            };
            let Ok(mut decoder) = Decoder::network(&network, DecodeOptions::default()) else {
                std::thread::sleep(INTERVAL);
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
                read.lock().unwrap_or_else(PoisonError::into_inner).push((number, now));
            }
        }
    }

    /// The delays of the frames that came after `from`.
    fn way(name: &'static str, read: &[(u32, Instant)], burnt: &[Option<Instant>], from: Instant) -> Result<Way> {
        let late = read.iter().filter(|(_, came)| *came >= from);
        let delays = late.filter_map(|(number, came)| Some(came.duration_since(burnt[*number as usize]?)));
        let mut delays: Vec<f64> = delays.map(|delay| delay.as_secs_f64() * 1e3).collect();
        delays.sort_by(f64::total_cmp);
        let at = |q: f64| delays.get((delays.len() as f64 * q) as usize).copied();
        let (Some(p50_ms), Some(p95_ms)) = (at(0.5), at(0.95)) else {
            return Err(Error::other(format!("{name}: nothing came back; is the machine too busy?")));
        };
        Ok(Way { name, frames: delays.len(), p50_ms, p95_ms, above_relay_p50_ms: 0.0, above_relay_p95_ms: 0.0 })
    }
}
