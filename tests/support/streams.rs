//! Real servers and publishers of streams for tests, each on ports of its own; all are ended by their own handles.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Bench, Capability, PATIENCE, SIDELINE, skipped, tool};

/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// Waits until something is so; a hang is a failed test.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A child that is ended with its handle.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// nginx with its RTMP module: `/live` with HLS beside it, `/out`, and the files of a folder by HTTP.
pub struct Nginx {
    folder: PathBuf,
    pub rtmp: u16,
    pub http: u16,
    process: Option<Running>,
}

impl Nginx {
    /// Started; none, and the test is skipped, where it or FFmpeg's tool is missing.
    pub fn start(bench: &Bench) -> Option<Self> {
        if !Path::new(MODULE).is_file() || !tool("ffmpeg") {
            skipped(Capability::Servers, "no nginx with RTMP; Debian: apt-get install nginx-light libnginx-mod-rtmp");
            return None;
        }
        let mut nginx =
            Nginx { folder: bench.path().join("nginx"), rtmp: free_port(), http: free_port(), process: None };
        std::fs::create_dir_all(nginx.folder.join("www")).unwrap();
        let (folder, rtmp, http) = (nginx.folder.display(), nginx.rtmp, nginx.http);
        // Its working process is another user's unless it is told otherwise; as one process it needs none.
        let text = format!(
            "load_module {MODULE}; daemon off; master_process off; error_log {folder}/error.log; pid {folder}/pid;
             events {{ worker_connections 64; }}
             rtmp {{ server {{ listen 127.0.0.1:{rtmp}; access_log off;
               application live {{ live on; publish_notify on; drop_idle_publisher 20s;
                 hls on; hls_path {folder}/www/hls; hls_fragment 1s; hls_playlist_length 6s; hls_cleanup off; }}
               application out {{ live on; publish_notify on; }} }} }}
             http {{ access_log off; client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
               uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
               types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; video/mp4 mp4; text/html html; }}
               server {{ listen 127.0.0.1:{http}; root {folder}/www; }} }}"
        );
        std::fs::write(nginx.folder.join("nginx.conf"), text).unwrap();
        nginx.go();
        Some(nginx)
    }

    /// Starts it, again or for the first time.
    pub fn go(&mut self) {
        let conf = self.folder.join("nginx.conf");
        let mut command = Command::new("nginx");
        command.arg("-e").arg(self.folder.join("error.log")).arg("-c").arg(conf).arg("-p").arg(&self.folder);
        self.process = Some(Running::start(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")));
        for port in [self.rtmp, self.http] {
            until("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn live(&self, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{name}", self.rtmp)
    }

    pub fn out(&self, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/out/{name}", self.rtmp)
    }

    pub fn page(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.http)
    }

    /// The folder that is served by HTTP.
    pub fn www(&self) -> PathBuf {
        self.folder.join("www")
    }
}

/// A picture whose 16 blocks are the bits of its number, and white and loud in the first tenth of every second.
pub fn numbered(size: &str, seconds: u32) -> Vec<String> {
    let (width, _) = size.split_once('x').unwrap();
    let block = width.parse::<u32>().unwrap() / 16;
    let bits = format!(
        "if(lt(Y,H/2),235*mod(floor(N/pow(2,floor(X/{block}))),2)+16*(1-mod(floor(N/pow(2,floor(X/{block}))),2)),if(lt(mod(T,1),0.1),235,16))"
    );
    let picture = format!("color=size={size}:rate=30:duration={seconds},format=yuv420p,geq=lum='{bits}':cb=128:cr=128");
    let sound = format!("aevalsrc='0.6*sin(2000*PI*t)*lt(mod(t,1),0.1)':s=48000:d={seconds}");
    ["-re", "-f", "lavfi", "-i", &picture, "-re", "-f", "lavfi", "-i", &sound].map(String::from).to_vec()
}

/// The number in a picture's luma, `stride` bytes a row.
pub fn number(luma: &[u8], stride: usize, width: usize, height: usize) -> u32 {
    let block = width / 16;
    let bit = |i: usize| u32::from(luma[(height / 4) * stride + i * block + block / 2] > 126) << i;
    (0..16).map(bit).sum()
}

/// FFmpeg, publishing.
pub fn publish(input: &[String], address: &str) -> Running {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error"]).args(input);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-threads", "1"]);
    command.args(["-c:a", "aac", "-f", if address.starts_with("rtmp") { "flv" } else { "rtsp" }, address]);
    Running::start(&mut command)
}

/// `sideline run ...` under way, its log in `log`.
pub struct Run {
    pub child: Child,
    log: PathBuf,
}

impl Run {
    pub fn start(bench: &Bench, arguments: &[&str]) -> Self {
        let log = bench.path().join("log");
        let mut command = bench.command(SIDELINE);
        command.arg("run").args(arguments).env("LOG_FILE", &log).env("LOG_LEVEL", "info");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Run { child, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log holds a text.
    pub fn says(&mut self, text: &str) {
        let what = format!("`{text}` in its log");
        until(&what, || {
            let gone = self.child.try_wait().unwrap().is_some();
            let said = self.log().contains(text);
            assert!(said || !gone, "ended without `{text}`: {}", self.log());
            said
        });
    }

    /// Waits until a frame with this number, or a later one, was counted.
    pub fn reaches(&mut self, frame: u64) {
        let frames = |log: &str| log.lines().filter(|line| line.contains("\"node\":\"recorder\"")).count() as u64;
        until("its frames", || {
            assert!(self.child.try_wait().unwrap().is_none(), "ended: {}", self.log());
            frames(&self.log()) > frame
        });
    }

    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    pub fn wait(self) -> super::Ended {
        super::wait(self.child)
    }
}
