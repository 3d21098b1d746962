//! The web server, which answers GET requests for four addresses on 127.0.0.1 only. Each connection has its own thread,
//! so a client that reads slowly or not at all delays no other client. Its connection is closed after a timeout.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use sideline_api::{Failure, OrFail, Result, config::did_you_mean};
use sideline_system::{deadline::DeadlineStream, serve};

use crate::streams::{Stream, StreamStatus, Streams};

const PAGE: &str = include_str!("page.html");
/// Maximum number of connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// Maximum length of a request's head, in bytes.
const MAX_HEAD_BYTES: u64 = 16 * 1024;
/// Time for a client to send a whole request after the previous response, and to receive a response or one picture of a
/// stream.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Description of the run on the page.
#[derive(Clone, Debug, Serialize)]
pub struct RunInfo {
    /// Heading of the page.
    pub title: String,
    /// Name of the run.
    pub run: String,
    /// True in live mode, false in complete mode.
    #[serde(rename = "live")]
    pub is_live: bool,
}

/// The web server of the preview; it serves until [`Server::stop`] or drop.
pub struct Server {
    address: SocketAddr,
    streams: Arc<Streams>,
    server: serve::Server<TcpStream>,
}

struct Handler {
    streams: Arc<Streams>,
    run: RunInfo,
    timeout: Duration,
}

impl Server {
    /// Starts to serve on an open socket.
    ///
    /// # Errors
    /// `Output` when a thread cannot be created.
    pub fn start(listener: TcpListener, streams: Arc<Streams>, run: RunInfo) -> Result<Self> {
        Self::start_with_timeout(listener, streams, run, TIMEOUT)
    }

    fn start_with_timeout(
        listener: TcpListener,
        streams: Arc<Streams>,
        run: RunInfo,
        timeout: Duration,
    ) -> Result<Self> {
        let place = || "the preview's server";
        let address = listener.local_addr().or_fail(Failure::Output, place)?;
        let handler = Handler { streams: streams.clone(), run, timeout };
        let serve_connection = move |connection: &TcpStream| {
            // An error here is one of the connection, so it cannot be reported to the client.
            let _ = handler.serve(connection);
        };
        let server = serve::Server::start(listener, "preview", MAX_CONNECTIONS, serve_connection)
            .or_fail(Failure::Output, place)?;
        Ok(Self { address, streams, server })
    }

    /// Returns the address of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shuts down every connection and the server, and joins their threads.
    pub fn stop(&mut self) {
        self.streams.finish();
        self.server.stop();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Handler {
    /// Serves the requests of one connection in order.
    fn serve(&self, connection: &TcpStream) -> std::io::Result<()> {
        connection.set_nodelay(true)?;
        let mut reader = BufReader::new(DeadlineStream::new(connection, self.timeout));
        let mut out = DeadlineStream::new(connection, self.timeout);
        while let Some(request) = Request::read(&mut (&mut reader).take(MAX_HEAD_BYTES))? {
            let response = self.respond(&request);
            let body = if request.method == "HEAD" { &[][..] } else { &response.body };
            out.reset(self.timeout);
            out.write_all(response.head().as_bytes())?;
            out.write_all(body)?;
            if let Some(stream) = response.stream.filter(|_| request.method == "GET") {
                return self.send_stream(out, &stream);
            }
            reader.get_mut().reset(self.timeout);
        }
        Ok(())
    }

    fn respond(&self, request: &Request) -> Response {
        if !request.is_for_this_machine() {
            return Response::error("403 Forbidden", "use http://127.0.0.1 or http://localhost\n");
        }
        if !["GET", "HEAD"].contains(&request.method.as_str()) {
            return Response::error("405 Method Not Allowed", "only GET and HEAD are supported\n");
        }
        let path = request.path.split('?').next().unwrap_or_default();
        if path == "/" {
            return Response::new("text/html; charset=utf-8", PAGE.as_bytes());
        }
        if path == "/status" {
            return self.status();
        }
        if let Some(name) = path.strip_prefix("/frame/") {
            return match self.find_stream(name.strip_suffix(".jpg").unwrap_or(name)) {
                Ok(stream) => match stream.jpeg(self.streams.settings()) {
                    Ok(Some((_, jpeg))) => Response::new("image/jpeg", &jpeg),
                    Ok(None) => Response::error("404 Not Found", "the stream has no frame yet\n"),
                    Err(error) => Response::error("500 Internal Server Error", &format!("{error}\n")),
                },
                Err(error) => error,
            };
        }
        if let Some(name) = path.strip_prefix("/stream/") {
            return match self.find_stream(name) {
                Ok(stream) => {
                    Response { stream: Some(stream), ..Response::new("multipart/x-mixed-replace; boundary=frame", &[]) }
                }
                Err(error) => error,
            };
        }
        Response::error("404 Not Found", "the addresses are /, /status, /stream/NAME and /frame/NAME.jpg\n")
    }

    fn status(&self) -> Response {
        #[derive(Serialize)]
        struct Status<'a> {
            #[serde(flatten)]
            run: &'a RunInfo,
            streams: Vec<StreamStatus>,
        }
        let streams = self.streams.all().iter().filter_map(|stream| stream.status()).collect();
        match serde_json::to_string(&Status { run: &self.run, streams }) {
            Ok(text) => Response::new("application/json", text.as_bytes()),
            Err(error) => Response::error("500 Internal Server Error", &format!("{error}\n")),
        }
    }

    fn find_stream(&self, path: &str) -> Result<Arc<Stream>, Response> {
        let name = percent_decode(path);
        self.streams.get(&name).ok_or_else(|| {
            let all = self.streams.all();
            let hint = did_you_mean(&name, all.iter().map(|stream| stream.name.as_str()));
            Response::error("404 Not Found", &format!("there is no stream `{name}`{hint}\n"))
        })
    }

    /// Sends each newest frame once, until the run ends or the client disconnects.
    fn send_stream(&self, mut out: DeadlineStream<&TcpStream>, stream: &Arc<Stream>) -> std::io::Result<()> {
        let _viewer = stream.add_viewer();
        let (mut last_number, mut due) = (0, Instant::now());
        out.write_all(b"--frame\r\n")?;
        while self.streams.wait_for_frame(stream, last_number, due.saturating_duration_since(Instant::now())) {
            let settings = self.streams.settings();
            due = Instant::now() + Duration::from_secs_f64(1.0 / settings.max_fps);
            let Some((number, jpeg)) = stream.jpeg(settings).map_err(std::io::Error::other)? else { continue };
            last_number = number;
            out.reset(self.timeout);
            write!(out, "Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len())?;
            out.write_all(&jpeg)?;
            // A browser shows a part when it receives the next boundary, so each part ends with one.
            out.write_all(b"\r\n--frame\r\n")?;
        }
        Ok(())
    }
}

/// The parts of an HTTP request that this server uses.
struct Request {
    method: String,
    path: String,
    /// Values of all `Host` fields.
    hosts: Vec<String>,
}

impl Request {
    /// Reads the head of a request; `None` if the connection has been closed.
    fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Request { method, path, hosts: vec![] };
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let Some((name, value)) = line.split_once(':') else {
                // The empty line after the head. A body is not read, since GET requests have none.
                return Ok(Some(request));
            };
            if name.eq_ignore_ascii_case("host") {
                request.hosts.push(value.trim().to_owned());
            }
        }
    }

    /// Returns true if `Host` names this machine. This rejects requests from a web page of another host whose name
    /// resolves to 127.0.0.1 (DNS rebinding).
    fn is_for_this_machine(&self) -> bool {
        // A proxy might use another of several `Host` fields, so exactly one is required.
        let [host] = &self.hosts[..] else { return false };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
            _ => host.as_str(),
        };
        ["127.0.0.1", "localhost", "[::1]"].contains(&name)
    }
}

struct Response {
    status: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    /// The stream to send after the head, without end.
    stream: Option<Arc<Stream>>,
}

impl Response {
    fn new(content_type: &'static str, body: &[u8]) -> Self {
        Response { status: "200 OK", content_type, body: body.to_vec(), stream: None }
    }

    fn error(status: &'static str, text: &str) -> Self {
        Response { status, ..Self::new("text/plain; charset=utf-8", text.as_bytes()) }
    }

    fn head(&self) -> String {
        let Response { status, content_type, body, stream } = self;
        let length = match stream {
            Some(_) => "Connection: close".to_owned(),
            None => format!("Content-Length: {}", body.len()),
        };
        format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nCache-Control: no-store\r\n{length}\r\n\r\n")
    }
}

/// Decodes percent-encoded bytes such as `%20`; an invalid sequence stays as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_are_percent_decoded() {
        assert_eq!(percent_decode("left%20camera"), "left camera");
        assert_eq!(percent_decode("rtmp%3A%2F%2Fa%2Fb"), "rtmp://a/b");
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%C3%A4"), "%zzä");
    }

    #[test]
    fn only_requests_for_this_machine_are_accepted() {
        let is_accepted = |host: &str| {
            let head = format!("GET / HTTP/1.1\r\nhOsT: {host}\r\nAccept: */*\r\n\r\n");
            Request::read(&mut head.as_bytes()).unwrap().unwrap().is_for_this_machine()
        };
        assert!(
            is_accepted("127.0.0.1:8090")
                && is_accepted("localhost")
                && is_accepted("localhost:9")
                && is_accepted("[::1]:8090")
        );
        let others =
            ["evil.example", "evil.example:8090", "127.0.0.1.evil.example:80", "localhost\r\nHost: evil.example", ""];
        assert!(!others.into_iter().any(is_accepted));
    }

    fn start_server(timeout: Duration) -> Server {
        let settings = crate::streams::ViewSettings { max_fps: 15.0, quality: 75, max_width: 1280 };
        let run = RunInfo { title: "title".into(), run: "run".into(), is_live: true };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Server::start_with_timeout(listener, Arc::new(Streams::new(settings)), run, timeout).unwrap()
    }

    #[test]
    fn a_request_sent_byte_by_byte_is_ended_by_its_deadline() {
        let server = start_server(Duration::from_millis(50));
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nA: ").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        // Sends one byte each time the connection is still open.
        let mut sent = 0;
        while client.read(&mut [0]).is_err_and(|cause| cause.kind() == std::io::ErrorKind::WouldBlock) {
            let _ = client.write_all(b"b");
            sent += 1;
        }
        assert!(sent < MAX_HEAD_BYTES, "ended by the length of the head only");
    }

    #[test]
    fn an_endless_head_is_refused_while_other_clients_are_served() {
        let server = start_server(TIMEOUT);
        let mut silent = TcpStream::connect(server.address()).unwrap();
        silent.write_all(b"GET /status HT").unwrap();
        let mut endless = TcpStream::connect(server.address()).unwrap();
        endless.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        while endless.write_all(&[b'x'; 1024]).is_ok() {}
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    }
}
