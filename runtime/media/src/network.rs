//! Streams on the network: RTMP, RTSP, HLS and files over HTTP. Nothing waits longer than it may: every read of FFmpeg asks
//! whether its time is up or the run is to end.

use std::{
    ffi::CString,
    net::ToSocketAddrs,
    sync::{Arc, mpsc},
    time::Duration,
};

use ff::{Dictionary, ffi, format};
use ffmpeg_next as ff;
use sideline_api::{
    Error,
    address::{self, shown},
};

use crate::{
    DecodeOptions, Repeats, Trust,
    open::{Opened, set_up, start_ffmpeg},
    tls::{Opener, verifies_rtsps},
    watch::Watch,
};

/// How much of a stream is looked at, in time, to learn what is in it. In less than 1.5 s a stream may show no picture yet.
const PROBE: Duration = Duration::from_secs(2);
/// The same in bytes.
const PROBE_BYTES: u32 = 5_000_000;
/// How many times longer HLS may be silent than a stream that brings frame by frame: it brings a segment at a time.
const HLS_PATIENCE: u32 = 4;
/// How often a wait that FFmpeg does not interrupt looks up.
const LOOK: Duration = Duration::from_millis(10);

/// An address to read, and how long it may be silent.
#[derive(Clone)]
pub struct Network {
    /// `rtmp://...`; of [`address::SCHEMES`].
    pub address: String,
    /// What messages and reports call it: the address itself, or the page that led to it. It is shown without its secrets.
    pub name: String,
    /// How long a connection may take to be made, and to bring a picture. HLS has four times as long between pictures.
    pub timeout: Duration,
    /// Bytes that may wait in the system's buffer of the connection.
    pub buffer_bytes: u32,
    /// The certificates trusted over TLS.
    pub trust: Trust,
    /// True once nobody waits any more; asked several times a second, from whichever thread waits.
    pub stop: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What the connection before has brought: it is not brought again.
    pub before: Option<Repeats>,
}

/// Why an address could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The run is to end.
    Stopped,
    /// Nobody is there, nobody publishes, or the connection broke: another try may help.
    Away,
    /// There is no such host, or this user may not: another try will not help.
    Denied,
    /// What is there is no video: a page, perhaps.
    NoVideo,
}

/// An address that could not be opened.
#[derive(Clone, Debug)]
pub struct Unopened {
    /// Of what kind the cause is.
    pub refused: Refused,
    /// What to tell; without secrets.
    pub error: Error,
}

/// The connection behind an open input.
pub(crate) struct Link {
    pub watch: Arc<Watch>,
    /// How long it may bring no picture.
    pub limit: Duration,
    /// It has an end that is known: a file, or HLS that is complete.
    pub recorded: bool,
    /// Its server can begin in the middle.
    pub is_seekable: bool,
}

/// Connects, finds out what is there and starts the decoder.
pub(crate) fn open(network: &Network, options: &DecodeOptions) -> Result<(Opened, Link), Unopened> {
    start_ffmpeg();
    let name = shown(&network.name);
    let told = |refused: Refused, what: String| Unopened { refused, error: Error::input(format!("{name}: {what}")) };
    address::check(&network.address, &address::SCHEMES)
        .map_err(|what| Unopened { refused: Refused::Denied, error: Error::config(what) })?;
    let watch = Watch::heeding(network.stop.clone());
    watch.allow(network.timeout);
    resolve(network, &watch).map_err(|(refused, what)| told(refused, what))?;
    if address::is_of(&network.address, &["rtsps"]) && !network.trust.is_blind() && !verifies_rtsps() {
        return Err(told(Refused::Denied, UNVERIFIED_RTSPS.into()));
    }
    let (input, opener) = connect(network, &watch).map_err(|failed| {
        let (refused, what) = refusal(failed.cause, &watch, network);
        // An RTSP client opens its address by itself.
        let at = failed.at.unwrap_or_else(|| network.address.clone());
        match untrusted(&at, refused, network) {
            Some(what) => told(Refused::Denied, what),
            None => told(refused, what),
        }
    })?;
    if matches!(input.format().name(), "tty" | "bin" | "xbin" | "webvtt" | "srt" | "txt") {
        return Err(told(Refused::NoVideo, "is text, not a video".into()));
    }
    let hls = input.format().name() == "hls";
    let http = address::is_of(&network.address, &["http", "https"]);
    let fail = |what: String| Error::input(format!("{name}: {what}"));
    let mut opened = set_up(input, options, &fail).map_err(|error| {
        // A playlist whose segments cannot be opened is one without a video.
        let failed = opener.as_ref().and_then(|opener| opener.failed());
        match failed.and_then(|url| untrusted(&url, Refused::NoVideo, network)) {
            Some(what) => told(Refused::Denied, what),
            None => Unopened { refused: Refused::NoVideo, error },
        }
    })?;
    (opened.watch, opened.opener) = (Some(watch.clone()), opener);
    let limit = network.timeout * if hls { HLS_PATIENCE } else { 1 };
    let body = body(&opened.input);
    // A playlist has a length as well, and may grow.
    let recorded = http && (opened.input.duration() > 0 || (!hls && body.has_length));
    Ok((opened, Link { watch, limit, recorded, is_seekable: hls || body.is_seekable }))
}

/// Told of `rtsps://` where FFmpeg's RTSP client does not hand the options of TLS on.
const UNVERIFIED_RTSPS: &str = "this FFmpeg cannot verify who answers at `rtsps://`; use `rtsp://` within a network that is \
                                trusted or a tunnel, or set `insecure: true`, and nobody is verified";

/// What is read over HTTP.
struct Body {
    /// The server said how long it is.
    has_length: bool,
    /// The server can begin in its middle.
    is_seekable: bool,
}

fn body(input: &format::context::Input) -> Body {
    // SAFETY: the input is open; its `pb`, where it has one, belongs to it.
    unsafe {
        let pb = (*input.as_ptr()).pb;
        if pb.is_null() {
            return Body { has_length: false, is_seekable: true };
        }
        Body { has_length: ffi::avio_size(pb) > 0, is_seekable: (*pb).seekable & ffi::AVIO_SEEKABLE_NORMAL != 0 }
    }
}

/// What to tell of an address that could not be opened, where that is for its certificate.
fn untrusted(url: &str, refused: Refused, network: &Network) -> Option<String> {
    if refused == Refused::Stopped {
        return None;
    }
    let watch = Watch::heeding(network.stop.clone());
    watch.allow(network.timeout);
    let host = network.trust.refuses(url, &watch)?;
    Some(network.trust.refusal(address::told_host(&host, &network.name)))
}

/// Looks the host up, on a thread of its own: the system's resolver cannot be interrupted.
fn resolve(network: &Network, watch: &Watch) -> Result<(), (Refused, String)> {
    let Some((host, _)) = address::host(&network.address) else { return Ok(()) };
    let told_host = address::told_host(host, &network.name);
    let (tell, told) = mpsc::channel();
    let name = host.to_owned();
    let asked = std::thread::Builder::new().name("resolver".into()).spawn(move || {
        // Whoever asked may have gone.
        let _ = tell.send((name.as_str(), 0).to_socket_addrs().map(|mut found| found.next().is_some()));
    });
    if asked.is_err() {
        // FFmpeg asks itself, without haste.
        return Ok(());
    }
    loop {
        match told.recv_timeout(LOOK) {
            Ok(Ok(true)) | Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(_) => {
                return Err((
                    Refused::Denied,
                    format!("there is no host `{told_host}`: look at its name, and at the network"),
                ));
            }
            Err(mpsc::RecvTimeoutError::Timeout) if watch.stopped() => {
                return Err((Refused::Stopped, "stopped".into()));
            }
            Err(mpsc::RecvTimeoutError::Timeout) if watch.late() => {
                return Err((Refused::Away, format!("the name of `{told_host}` is not resolved: is there a network?")));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}

/// What FFmpeg is told of an address.
fn settings(network: &Network) -> Dictionary<'static> {
    let mut settings = Dictionary::new();
    let microseconds = network.timeout.as_micros().to_string();
    let buffer = network.buffer_bytes.to_string();
    let of = |schemes: &[&str]| address::is_of(&network.address, schemes);
    // What a stream refers to stays on the network: a playlist must not name files of this machine.
    if of(&["rtsp", "rtsps"]) {
        // Over UDP lost packets are torn pictures, and many firewalls let none through.
        settings.set("rtsp_transport", "tcp");
        settings.set("timeout", &microseconds);
        settings.set("buffer_size", &buffer);
        network.trust.set(&mut settings);
        settings.set("protocol_whitelist", "rtsp,rtsps,rtp,rtcp,srtp,tcp,tls,udp");
    } else if of(&["rtmp", "rtmps"]) {
        settings.set("rtmp_live", "live");
        settings.set("rw_timeout", &microseconds);
        settings.set("recv_buffer_size", &buffer);
        settings.set("protocol_whitelist", "rtmp,rtmps,tcp,tls");
    } else {
        settings.set("rw_timeout", &microseconds);
        settings.set("recv_buffer_size", &buffer);
        settings.set("protocol_whitelist", "http,https,httpproxy,tcp,tls,crypto,data");
        // Within HLS a segment that is broken is left out; the playlist is asked again.
        settings.set("allowed_extensions", "ALL");
    }
    settings.set("probesize", &PROBE_BYTES.to_string());
    settings.set("analyzeduration", &PROBE.as_micros().to_string());
    settings
}

/// Why a connection was not made.
struct Unconnected {
    cause: ff::Error,
    /// The address that could not be opened, where one could not: that of the stream, or one that it refers to.
    at: Option<String>,
}

impl From<ff::Error> for Unconnected {
    fn from(cause: ff::Error) -> Self {
        Self { cause, at: None }
    }
}

type Connected = (format::context::Input, Option<Arc<Opener>>);

/// An open input, its streams known.
fn connect(network: &Network, watch: &Arc<Watch>) -> Result<Connected, Unconnected> {
    let address = CString::new(network.address.as_str()).map_err(|_| ff::Error::InvalidData)?;
    // SAFETY: the context is allocated here, given away to `avformat_open_input` (which frees it when it fails) and then
    // owned by the `Input`; the dictionary is freed once. The watch is kept by the caller for as long as the input, as is the
    // opener that is handed out beside it; one that is not handed out is dropped behind the input.
    unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(ff::Error::Other { errno: ff::error::ENOMEM }.into());
        }
        (*context).interrupt_callback = watch.callback();
        let opener = Opener::install(network.trust.clone(), context);
        let failed = |cause: ff::Error| Unconnected { cause, at: opener.as_ref().and_then(|opener| opener.failed()) };
        let mut options = settings(network).disown();
        let opened = ffi::avformat_open_input(&mut context, address.as_ptr(), std::ptr::null(), &mut options);
        ffi::av_dict_free(&mut options);
        if opened < 0 {
            return Err(failed(opened.into()));
        }
        let input = format::context::Input::wrap(context);
        // What was said and done so far was the handshake; now the stream itself is to come.
        watch.allow(network.timeout + PROBE);
        match ffi::avformat_find_stream_info(context, std::ptr::null_mut()) {
            found if found < 0 => Err(failed(found.into())),
            _ if watch.late() || watch.stopped() => Err(failed(ff::Error::Exit)),
            _ => Ok((input, opener)),
        }
    }
}

/// What the failure to open means, in words.
fn refusal(cause: ff::Error, watch: &Watch, network: &Network) -> (Refused, String) {
    use ff::util::error::{ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EPERM, EPROTONOSUPPORT, ETIMEDOUT};
    // Over the other protocols nothing but video comes: what is none is what is left of a broken line.
    let http = address::is_of(&network.address, &["http", "https"]);
    let silent = || {
        let seconds = network.timeout.as_secs_f64();
        format!("brought no picture within {seconds} s: is anybody publishing? (`timeout` is how long it may take)")
    };
    if watch.stopped() {
        return (Refused::Stopped, "stopped".into());
    }
    match cause {
        _ if watch.late() => (Refused::Away, silent()),
        ff::Error::Other { errno: ETIMEDOUT } => (Refused::Away, silent()),
        ff::Error::Other { errno: ECONNREFUSED } => {
            (Refused::Away, "nothing listens there: is the server running, and the port right?".into())
        }
        ff::Error::Other { errno: EHOSTUNREACH | ENETUNREACH } => {
            (Refused::Away, format!("cannot be reached: {cause}"))
        }
        ff::Error::HttpUnauthorized | ff::Error::HttpForbidden | ff::Error::Other { errno: EPERM } => {
            (Refused::Denied, format!("{cause}: look at user, password or token in its address"))
        }
        ff::Error::HttpNotFound => (Refused::Away, "there is no such stream (404): is anybody publishing?".into()),
        ff::Error::ProtocolNotFound | ff::Error::Other { errno: EPROTONOSUPPORT } => {
            (Refused::Denied, "this FFmpeg was built without its protocol".into())
        }
        ff::Error::InvalidData | ff::Error::DemuxerNotFound if http => {
            (Refused::NoVideo, "is not a video that FFmpeg knows".into())
        }
        cause => (Refused::Away, format!("cannot be opened: {cause}")),
    }
}
