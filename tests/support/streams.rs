//! Real streaming servers and publishers for tests, each on ports of its own and ended by its handle.
#![allow(dead_code, reason = "each test file uses only a part")]

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Bench, Capability, HANG_TIMEOUT, SIDELINE, has_tool, skip_test};

/// Path of nginx's RTMP module on Debian.
const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// Waits until a condition holds. Fails the test with `description` if it takes too long.
pub fn wait_until(description: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {description}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns a port on which no process listens at present.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Child process that is killed on drop.
pub struct ChildGuard(pub Child);

impl ChildGuard {
    /// Starts a program without input and output.
    pub fn start(command: &mut Command) -> Self {
        ChildGuard(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Kills the child and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Sends a signal to the child.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        self.kill();
    }
}

/// nginx with its RTMP module: the applications `live`, with HLS, and `out`, and a folder served by HTTP.
pub struct Nginx {
    folder: PathBuf,
    rtmp_port: u16,
    http_port: u16,
    process: Option<ChildGuard>,
}

impl Nginx {
    /// Starts the server; returns `None`, and counts the test as skipped, if nginx or `ffmpeg` is missing.
    pub fn start(bench: &Bench) -> Option<Self> {
        if !Path::new(RTMP_MODULE).is_file() || !has_tool("ffmpeg") {
            skip_test(Capability::Servers, "no nginx with RTMP; Debian: apt-get install nginx-light libnginx-mod-rtmp");
            return None;
        }
        let mut nginx =
            Nginx { folder: bench.path().join("nginx"), rtmp_port: free_port(), http_port: free_port(), process: None };
        std::fs::create_dir_all(nginx.folder.join("www")).unwrap();
        let (folder, rtmp, http) = (nginx.folder.display(), nginx.rtmp_port, nginx.http_port);
        // nginx runs its worker process as another user by default; as a single process it needs no other user.
        let text = format!(
            "load_module {RTMP_MODULE}; daemon off; master_process off; error_log {folder}/error.log; pid {folder}/pid;
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
        nginx.start_server();
        Some(nginx)
    }

    /// Starts the server, for the first time or again after [`Nginx::kill`].
    pub fn start_server(&mut self) {
        let conf = self.folder.join("nginx.conf");
        let mut command = Command::new("nginx");
        command.arg("-e").arg(self.folder.join("error.log")).arg("-c").arg(conf).arg("-p").arg(&self.folder);
        self.process = Some(ChildGuard::start(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")));
        for port in [self.rtmp_port, self.http_port] {
            wait_until("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Returns the address of a stream of the application `live`.
    pub fn live_url(&self, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{name}", self.rtmp_port)
    }

    /// Returns the address of a stream of the application `out`.
    pub fn out_url(&self, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/out/{name}", self.rtmp_port)
    }

    /// Returns the address of a file served by HTTP.
    pub fn http_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.http_port)
    }

    /// Returns the folder that is served by HTTP.
    pub fn www(&self) -> PathBuf {
        self.folder.join("www")
    }
}

/// Returns FFmpeg arguments for a test video with audio. Each frame shows its number as 16 blocks, one for each bit;
/// the lower half is white and a tone sounds in the first tenth of every second.
pub fn numbered_video(size: &str, seconds: u32) -> Vec<String> {
    let (width, _) = size.split_once('x').unwrap();
    let block = width.parse::<u32>().unwrap() / 16;
    let bits = format!(
        "if(lt(Y,H/2),235*mod(floor(N/pow(2,floor(X/{block}))),2)+16*(1-mod(floor(N/pow(2,floor(X/{block}))),2)),if(lt(mod(T,1),0.1),235,16))"
    );
    let picture = format!("color=size={size}:rate=30:duration={seconds},format=yuv420p,geq=lum='{bits}':cb=128:cr=128");
    let audio = format!("aevalsrc='0.6*sin(2000*PI*t)*lt(mod(t,1),0.1)':s=48000:d={seconds}");
    ["-re", "-f", "lavfi", "-i", &picture, "-re", "-f", "lavfi", "-i", &audio].map(String::from).to_vec()
}

/// Reads the number shown in a frame of [`numbered_video`] from its luma plane, `stride` bytes per row.
pub fn frame_number(luma: &[u8], stride: usize, width: usize, height: usize) -> u32 {
    let block = width / 16;
    let bit = |i: usize| u32::from(luma[(height / 4) * stride + i * block + block / 2] > 126) << i;
    (0..16).map(bit).sum()
}

/// Starts FFmpeg publishing an input to an address.
pub fn publish(input: &[String], address: &str) -> ChildGuard {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error"]).args(input);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-threads", "1"]);
    command.args(["-c:a", "aac", "-f", if address.starts_with("rtmp") { "flv" } else { "rtsp" }, address]);
    ChildGuard::start(&mut command)
}

/// Running `sideline run ...`, whose log is in `log`.
pub struct Run {
    pub child: Child,
    log: PathBuf,
}

impl Run {
    /// Starts `sideline run` with these arguments.
    pub fn start(bench: &Bench, arguments: &[&str]) -> Self {
        let log = bench.path().join("log");
        let mut command = bench.command(SIDELINE);
        command.arg("run").args(arguments).env("LOG_FILE", &log).env("LOG_LEVEL", "info");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Run { child, log }
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log contains a text.
    pub fn wait_for_log(&mut self, text: &str) {
        let description = format!("the log contains `{text}`");
        wait_until(&description, || {
            let has_ended = self.child.try_wait().unwrap().is_some();
            let is_logged = self.log().contains(text);
            assert!(is_logged || !has_ended, "ended without `{text}`: {}", self.log());
            is_logged
        });
    }

    /// Waits until more than `frame` frames are recorded.
    pub fn wait_for_frame(&mut self, frame: u64) {
        let frames = |log: &str| log.lines().filter(|line| line.contains("\"node\":\"recorder\"")).count() as u64;
        wait_until("its frames are recorded", || {
            assert!(self.child.try_wait().unwrap().is_none(), "ended: {}", self.log());
            frames(&self.log()) > frame
        });
    }

    /// Sends SIGINT.
    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for the end of the run.
    pub fn wait(self) -> super::CommandResult {
        super::wait(self.child)
    }
}
