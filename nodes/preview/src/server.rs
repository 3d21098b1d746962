//! The web server: GET of four addresses, on 127.0.0.1 alone. Each connection has a thread of its own, so a viewer who
//! reads slowly, or not at all, keeps nobody else waiting, and loses the connection.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use sideline_api::{Failure, OrFail, Result, config::did_you_mean};
use sideline_system::{serve, timed::Timed};

use crate::pictures::{Picture, PictureStatus, Pictures};

const PAGE: &str = include_str!("page.html");
/// Most connections at a time.
const MOST: usize = 64;
/// Longest head of a request, bytes.
const HEAD: u64 = 16 * 1024;
/// Time in which a request has to come whole, counted from the answer before it; and in which an answer, or a picture of a
/// stream, has to be taken.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the page says of the run.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The heading.
    pub title: String,
    /// Name of the run.
    pub run: String,
    /// Live, else complete.
    pub live: bool,
}

/// Serves until it is stopped.
pub struct Server {
    address: SocketAddr,
    pictures: Arc<Pictures>,
    server: serve::Server<TcpStream>,
}

struct Inner {
    pictures: Arc<Pictures>,
    about: About,
    patience: Duration,
}

impl Server {
    /// Serves on a socket that is open already.
    ///
    /// # Errors
    /// `Output` when the system refuses a thread.
    pub fn start(listener: TcpListener, pictures: Arc<Pictures>, about: About) -> Result<Self> {
        Self::start_with(listener, pictures, about, PATIENCE)
    }

    fn start_with(listener: TcpListener, pictures: Arc<Pictures>, about: About, patience: Duration) -> Result<Self> {
        let place = || "the preview's server";
        let address = listener.local_addr().or_fail(Failure::Output, place)?;
        let inner = Inner { pictures: pictures.clone(), about, patience };
        let answer = move |stream: &TcpStream| {
            // What fails here is the connection: nobody is left who could be told.
            let _ = inner.serve(stream);
        };
        let server = serve::Server::start(listener, "preview", MOST, answer).or_fail(Failure::Output, place)?;
        Ok(Self { address, pictures, server })
    }

    /// Address on which it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and the server, and waits for their threads.
    pub fn stop(&mut self) {
        self.pictures.finish();
        self.server.stop();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    /// Answers the requests of one connection, one after the other.
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(Timed::new(stream, self.patience));
        let mut out = Timed::new(stream, self.patience);
        while let Some(request) = Request::read(&mut (&mut reader).take(HEAD))? {
            let answer = self.answer(&request);
            let body = if request.method == "HEAD" { &[][..] } else { &answer.body };
            out.extend(self.patience);
            out.write_all(answer.head().as_bytes())?;
            out.write_all(body)?;
            if let Some(picture) = answer.stream.filter(|_| request.method == "GET") {
                return self.stream(out, &picture);
            }
            reader.get_mut().extend(self.patience);
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Answer {
        if !request.of_this_machine() {
            return Answer::refusal("403 Forbidden", "ask for http://127.0.0.1 or http://localhost\n");
        }
        if !["GET", "HEAD"].contains(&request.method.as_str()) {
            return Answer::refusal("405 Method Not Allowed", "there is nothing here but to look at\n");
        }
        let path = request.path.split('?').next().unwrap_or_default();
        if path == "/" {
            return Answer::new("text/html; charset=utf-8", PAGE.as_bytes());
        }
        if path == "/status" {
            return self.status();
        }
        if let Some(name) = path.strip_prefix("/frame/") {
            return match self.find(name.strip_suffix(".jpg").unwrap_or(name)) {
                Ok(picture) => match picture.jpeg(self.pictures.look()) {
                    Ok(Some((_, jpeg))) => Answer::new("image/jpeg", &jpeg),
                    Ok(None) => Answer::refusal("404 Not Found", "no frame has come yet\n"),
                    Err(error) => Answer::refusal("500 Internal Server Error", &format!("{error}\n")),
                },
                Err(refusal) => refusal,
            };
        }
        if let Some(name) = path.strip_prefix("/stream/") {
            return match self.find(name) {
                Ok(picture) => {
                    Answer { stream: Some(picture), ..Answer::new("multipart/x-mixed-replace; boundary=frame", &[]) }
                }
                Err(refusal) => refusal,
            };
        }
        Answer::refusal("404 Not Found", "there are /, /status, /stream/NAME and /frame/NAME.jpg\n")
    }

    fn status(&self) -> Answer {
        #[derive(Serialize)]
        struct Status<'a> {
            #[serde(flatten)]
            about: &'a About,
            streams: Vec<PictureStatus>,
        }
        let streams = self.pictures.all().iter().filter_map(|picture| picture.status()).collect();
        match serde_json::to_string(&Status { about: &self.about, streams }) {
            Ok(text) => Answer::new("application/json", text.as_bytes()),
            Err(error) => Answer::refusal("500 Internal Server Error", &format!("{error}\n")),
        }
    }

    fn find(&self, path: &str) -> Result<Arc<Picture>, Answer> {
        let name = unescape(path);
        self.pictures.get(&name).ok_or_else(|| {
            let all = self.pictures.all();
            let hint = did_you_mean(&name, all.iter().map(|picture| picture.name.as_str()));
            Answer::refusal("404 Not Found", &format!("there is no stream `{name}`{hint}\n"))
        })
    }

    /// Sends the newest frame again and again, each once, until the run is over or the viewer gone.
    fn stream(&self, mut out: Timed<&TcpStream>, picture: &Arc<Picture>) -> std::io::Result<()> {
        let _watching = picture.watch();
        let (mut seen, mut due) = (0, Instant::now());
        out.write_all(b"--frame\r\n")?;
        while self.pictures.wait(picture, seen, due.saturating_duration_since(Instant::now())) {
            let look = self.pictures.look();
            due = Instant::now() + Duration::from_secs_f64(1.0 / look.fps);
            let Some((number, jpeg)) = picture.jpeg(look).map_err(std::io::Error::other)? else { continue };
            seen = number;
            out.extend(self.patience);
            write!(out, "Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len())?;
            out.write_all(&jpeg)?;
            // A browser shows a part when the next boundary has come, so each ends with it.
            out.write_all(b"\r\n--frame\r\n")?;
        }
        Ok(())
    }
}

/// The part of a request that matters here.
struct Request {
    method: String,
    path: String,
    /// Every `Host` of the head.
    hosts: Vec<String>,
}

impl Request {
    /// Reads a head; none when the connection has ended.
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
                // The empty line behind the head; what follows it would be a body, which no GET has.
                return Ok(Some(request));
            };
            if name.eq_ignore_ascii_case("host") {
                request.hosts.push(value.trim().to_owned());
            }
        }
    }

    /// True for one that names this machine. A page from elsewhere whose name was made to lead here is kept out.
    fn of_this_machine(&self) -> bool {
        // Two that differ may be read differently by others on the way.
        let [host] = &self.hosts[..] else { return false };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
            _ => host.as_str(),
        };
        ["127.0.0.1", "localhost", "[::1]"].contains(&name)
    }
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: Vec<u8>,
    /// What follows the head: pictures without an end.
    stream: Option<Arc<Picture>>,
}

impl Answer {
    fn new(kind: &'static str, body: &[u8]) -> Self {
        Answer { status: "200 OK", kind, body: body.to_vec(), stream: None }
    }

    fn refusal(status: &'static str, text: &str) -> Self {
        Answer { status, ..Self::new("text/plain; charset=utf-8", text.as_bytes()) }
    }

    fn head(&self) -> String {
        let Answer { status, kind, body, stream } = self;
        let length = match stream {
            Some(_) => "Connection: close".to_owned(),
            None => format!("Content-Length: {}", body.len()),
        };
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\n{length}\r\n\r\n")
    }
}

/// `%20` and the like as the bytes they stand for.
fn unescape(text: &str) -> String {
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
    fn names_are_taken_out_of_addresses() {
        assert_eq!(unescape("left%20camera"), "left camera");
        assert_eq!(unescape("rtmp%3A%2F%2Fa%2Fb"), "rtmp://a/b");
        assert_eq!(unescape("100%"), "100%");
        assert_eq!(unescape("%zz%C3%A4"), "%zzä");
    }

    #[test]
    fn only_who_asks_for_this_machine_is_answered() {
        let asks = |host: &str| {
            let head = format!("GET / HTTP/1.1\r\nhOsT: {host}\r\nAccept: */*\r\n\r\n");
            Request::read(&mut head.as_bytes()).unwrap().unwrap().of_this_machine()
        };
        assert!(asks("127.0.0.1:8090") && asks("localhost") && asks("localhost:9") && asks("[::1]:8090"));
        let others =
            ["evil.example", "evil.example:8090", "127.0.0.1.evil.example:80", "localhost\r\nHost: evil.example", ""];
        assert!(!others.into_iter().any(asks));
    }

    fn serving(patience: Duration) -> Server {
        let look = crate::pictures::Look { fps: 15.0, quality: 75, width: 1280 };
        let about = About { title: "title".into(), run: "run".into(), live: true };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Server::start_with(listener, Arc::new(Pictures::new(look)), about, patience).unwrap()
    }

    #[test]
    fn a_request_that_comes_byte_by_byte_is_ended_by_its_deadline() {
        let server = serving(Duration::from_millis(50));
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nA: ").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        // A byte each time that the connection is found open.
        let mut sent = 0;
        while client.read(&mut [0]).is_err_and(|cause| cause.kind() == std::io::ErrorKind::WouldBlock) {
            let _ = client.write_all(b"b");
            sent += 1;
        }
        assert!(sent < HEAD, "ended by the length of the head alone");
    }

    #[test]
    fn a_head_without_end_is_refused_and_others_are_answered_meanwhile() {
        let server = serving(PATIENCE);
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
