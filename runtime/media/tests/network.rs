//! Network sources on small local servers: recorded and live media, repeated segments, and TLS verification.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use sideline_media::{
    DecodeOptions, Decoder, NetworkSource, OpenError, OpenErrorKind, TlsTrust,
    encode::{Broadcast, BroadcastOptions, EncodeOptions, Target},
};
use sideline_testkit::{Capability, skip_test};

/// Runs a tool in a folder. Skips the test and returns false if it is not installed.
fn run(folder: &Path, tool: &str, args: &str) -> bool {
    match Command::new(tool).args(args.split_whitespace()).current_dir(folder).output() {
        Ok(output) => {
            assert!(output.status.success(), "{tool} {args}: {}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(cause) => {
            skip_test(Capability::Ffmpeg, format_args!("{tool}: {cause}"));
            false
        }
    }
}

/// Creates a folder with an HLS recording of two segments of two seconds, and a single file with the same media.
fn recording() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let made = run(
        folder.path(),
        "ffmpeg",
        "-v error -f lavfi -i testsrc2=s=160x96:r=30:d=4 -f lavfi -i sine=d=4 -c:v libx264 -preset ultrafast -g 30 -pix_fmt \
         yuv420p -c:a aac -f hls -hls_time 2 -hls_list_size 0 -hls_segment_filename a%d.ts a.m3u8",
    );
    if !made {
        return None;
    }
    let whole: Vec<u8> =
        ["a0.ts", "a1.ts"].iter().flat_map(|name| std::fs::read(folder.path().join(name)).unwrap()).collect();
    std::fs::write(folder.path().join("a.ts"), whole).unwrap();
    Some(folder)
}

/// Answers a request for a file of a folder, with its length and always from its start.
fn answer(mut stream: TcpStream, folder: &Path) -> Option<()> {
    let mut request = String::new();
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    lines.read_line(&mut request).ok()?;
    let mut line = String::new();
    while lines.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let name = request.split(' ').nth(1)?.trim_start_matches('/');
    let Ok(bytes) = std::fs::read(folder.join(name)) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok();
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&bytes).ok()
}

/// Starts a server of the files of a folder that does not support ranges; returns its port.
fn serve(folder: &Path) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            std::thread::spawn(move || answer(stream, &folder));
        }
    });
    port
}

/// A server of the same files over TLS, with a self-signed certificate for `localhost`; stopped when it is dropped.
struct TlsServer {
    process: Child,
    port: u16,
    certificate: PathBuf,
}

impl TlsServer {
    fn start(folder: &Path) -> Option<Self> {
        let made = run(
            folder,
            "openssl",
            "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -addext \
             subjectAltName=DNS:localhost",
        );
        let script = "import http.server, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
class Server(http.server.ThreadingHTTPServer):
    def finish_request(self, request, address):
        super().finish_request(context.wrap_socket(request, server_side=True), address)
    def handle_error(self, request, address):
        pass
server = Server(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()";
        if !made {
            return None;
        }
        let started = Command::new("python3")
            .args(["-c", script])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut process) = started else {
            skip_test(Capability::Python, "no python3 on PATH");
            return None;
        };
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { process, port: line.trim().parse().unwrap(), certificate: folder.join("cert.pem") })
    }

    fn trust(&self) -> TlsTrust {
        TlsTrust::new(Some(self.certificate.clone()), false).unwrap()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn open(address: String, trust: &TlsTrust) -> Result<Decoder, OpenError> {
    let network = NetworkSource {
        name: address.clone(),
        address,
        timeout: Duration::from_secs(20),
        buffer_bytes: 100_000,
        trust: trust.clone(),
        stop: Arc::new(|| false),
        previous: None,
    };
    Decoder::open_network(&network, DecodeOptions::default())
}

fn times(decoder: &mut Decoder) -> Vec<i64> {
    std::iter::from_fn(|| decoder.next().unwrap()).map(|decoded| decoded.pts_ns).collect()
}

#[test]
fn a_file_on_a_server_without_ranges_is_recorded_and_seekable_by_reading() {
    let Some(folder) = recording() else { return };
    let address = format!("http://127.0.0.1:{}/a.ts", serve(folder.path()));
    let mut decoder = open(address.clone(), &TlsTrust::default()).unwrap();
    assert!(!decoder.is_live(), "its length is known");
    let whole = times(&mut decoder);
    assert_eq!((whole.len(), decoder.missing_frames(), decoder.disconnect_cause()), (120, None, None));
    let mut again = open(address, &TlsTrust::default()).unwrap();
    again.seek(whole[70]).unwrap();
    assert_eq!(times(&mut again), whole[70..]);
}

#[test]
fn a_segment_that_a_playlist_lists_twice_is_read_twice() {
    let Some(folder) = recording() else { return };
    let part = "#EXTINF:2.0,\na0.ts\n#EXTINF:2.0,\na1.ts\n";
    let head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n";
    let playlist = format!("{head}{part}#EXT-X-DISCONTINUITY\n{part}#EXT-X-ENDLIST\n");
    std::fs::write(folder.path().join("twice.m3u8"), playlist).unwrap();
    let address = format!("http://127.0.0.1:{}/twice.m3u8", serve(folder.path()));
    let mut decoder = open(address, &TlsTrust::default()).unwrap();
    let times = times(&mut decoder);
    assert_eq!((times.len(), decoder.repeated_frames(), decoder.missing_frames()), (240, 0, None));
    assert!(times.windows(2).all(|pair| (1..200_000_000).contains(&(pair[1] - pair[0]))), "{times:?}");
    assert_eq!(decoder.time_jumps().restarts, 1);
}

#[test]
fn a_peer_is_verified_unless_verification_is_off() {
    let Some(folder) = recording() else { return };
    let Some(server) = TlsServer::start(folder.path()) else { return };
    let address = |host: &str| format!("https://{host}:{}/a.ts?token=s3cret", server.port);
    let refused = open(address("localhost"), &TlsTrust::default()).map(|_| ()).unwrap_err();
    assert_eq!(refused.kind, OpenErrorKind::Denied);
    let text = refused.error.message;
    assert!(text.contains("certificate of `localhost` is not trusted") && text.contains("this system's"), "{text}");
    assert!(text.contains("`ca`") && text.contains("`insecure: true`") && !text.contains("s3cret"), "{text}");
    let mut trusted = open(address("localhost"), &server.trust()).unwrap();
    assert_eq!(times(&mut trusted).len(), 120);
    let other = open(address("127.0.0.1"), &server.trust()).map(|_| ()).unwrap_err();
    assert!(other.kind == OpenErrorKind::Denied && other.error.message.contains("another host"), "{}", other.error);
    let mut unverified = open(address("127.0.0.1"), &TlsTrust::new(None, true).unwrap()).unwrap();
    assert_eq!(times(&mut unverified).len(), 120);
    let missing = open(format!("https://localhost:{}/none.ts", server.port), &server.trust()).map(|_| ()).unwrap_err();
    assert!(
        missing.error.message.contains("404"),
        "another cause is not attributed to the certificate: {}",
        missing.error
    );
}

#[test]
fn addresses_in_a_playlist_are_verified_too() {
    let Some(folder) = recording() else { return };
    let Some(server) = TlsServer::start(folder.path()) else { return };
    let playlist = std::fs::read_to_string(folder.path().join("a.m3u8")).unwrap();
    let away = playlist.replace("a0.ts", &format!("https://localhost:{}/a0.ts", server.port));
    let away = away.replace("a1.ts", &format!("https://localhost:{}/a1.ts", server.port));
    std::fs::write(folder.path().join("away.m3u8"), away).unwrap();
    let address = format!("http://127.0.0.1:{}/away.m3u8", serve(folder.path()));
    let refused = open(address.clone(), &TlsTrust::default()).map(|_| ()).unwrap_err();
    assert_eq!(refused.kind, OpenErrorKind::Denied, "{}", refused.error);
    assert!(refused.error.message.contains("certificate of `localhost`"), "{}", refused.error);
    for address in [address, format!("https://localhost:{}/a.m3u8", server.port)] {
        assert_eq!(times(&mut open(address, &server.trust()).unwrap()).len(), 120);
    }
}

#[test]
fn rtsps_is_refused_if_it_cannot_be_verified() {
    let refused = open("rtsps://u:s3cret@127.0.0.1:1/x".into(), &TlsTrust::default()).map(|_| ()).unwrap_err();
    let text = refused.error.message;
    assert!(text.contains("`insecure: true`") || text.contains("nothing listens"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let unverified = open("rtsps://127.0.0.1:1/x".into(), &TlsTrust::new(None, true).unwrap()).map(|_| ()).unwrap_err();
    assert_eq!(unverified.kind, OpenErrorKind::Unreachable, "{}", unverified.error);
}

#[test]
fn no_video_is_sent_to_an_untrusted_server() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = TlsServer::start(folder.path()) else { return };
    let send = |trust: TlsTrust| {
        let target = Target::parse(&format!("rtmps://localhost:{}/live/k3y", server.port), trust, &[]).unwrap();
        let broadcast_options = BroadcastOptions {
            timeout: Duration::from_secs(20),
            buffer_bytes: 100_000,
            reconnect_attempts: 3,
            backoff: Duration::from_millis(1),
            alert_after: 9,
            blocks_when_full: true,
        };
        let encode = EncodeOptions { preset: "ultrafast".into(), low_delay: true, ..EncodeOptions::default() };
        let mut broadcast = Broadcast::start(target, 64, 64, &encode, broadcast_options).unwrap();
        let planes = [(&[9; 64 * 64][..], 64), (&[9; 32 * 32][..], 32), (&[9; 32 * 32][..], 32)];
        broadcast.write_planes(planes, 0).unwrap_err().message
    };
    let refused = send(TlsTrust::default());
    assert!(refused.contains("certificate of `localhost` is not trusted") && refused.contains("gave up"), "{refused}");
    assert!(!refused.contains("k3y") && !refused.contains("3 reconnect attempts"), "{refused}");
    // The server does not speak RTMP, so the connection fails in another way.
    assert!(send(server.trust()).contains("gave up after 3 reconnect attempts"));
}
