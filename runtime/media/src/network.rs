//! Network sources: RTMP, RTSP, HLS and files over HTTP. Every wait is bounded: FFmpeg's interrupt callback ends it at a
//! deadline, or when the run stops.

use std::{
    ffi::CString,
    net::ToSocketAddrs,
    sync::{Arc, mpsc},
    time::Duration,
};

use ff::{Dictionary, ffi, format};
use ffmpeg_next as ff;
use sideline_address::redacted;
use sideline_api::Error;

use crate::{
    DecodeOptions, PacketHistory, TlsTrust,
    interrupt::Interrupt,
    open::{Opened, init_ffmpeg, start_decoder},
    tls::{TlsOpener, verifies_rtsps},
};

/// Duration of a stream that is probed to find its tracks. In less than 1.5 s a stream may contain no video frame yet.
const PROBE_DURATION: Duration = Duration::from_secs(2);
/// Maximum number of bytes probed.
const MAX_PROBE_BYTES: u32 = 5_000_000;
/// Factor by which HLS may be silent for longer than other streams, as it delivers whole segments.
const HLS_TIMEOUT_FACTOR: u32 = 4;
/// Interval at which a wait outside FFmpeg checks for its end.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// An address to read, with its timeouts and TLS options.
#[derive(Clone)]
pub struct NetworkSource {
    /// Address, `rtmp://...`; its scheme is one of [`sideline_address::SCHEMES`].
    pub address: String,
    /// Name in messages and reports: the address, or that of the page that led to it. Secrets are redacted where it is shown.
    pub name: String,
    /// Maximum time to connect, and to wait for a frame. HLS may take four times as long between frames.
    pub timeout: Duration,
    /// Size of the connection's receive buffer in the operating system, bytes.
    pub buffer_bytes: u32,
    /// Certificates that are trusted over TLS.
    pub trust: TlsTrust,
    /// Returns true once the run is stopping; called several times a second, from any waiting thread.
    pub stop: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Packets of the previous connection: they are not delivered again.
    pub previous: Option<PacketHistory>,
}

/// Cause of an [`OpenError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// The run is stopping.
    Stopped,
    /// The server or stream is absent, or the connection broke: another attempt may help.
    Unreachable,
    /// The host does not exist, or access is denied: another attempt will not help.
    Denied,
    /// The address holds no video: a web page, for example.
    NotVideo,
}

/// Failure to open an address.
#[derive(Clone, Debug)]
pub struct OpenError {
    /// Cause of the failure.
    pub kind: OpenErrorKind,
    /// Message for the user; contains no secrets.
    pub error: Error,
}

/// State of the connection behind an open input.
pub(crate) struct Connection {
    pub interrupt: Arc<Interrupt>,
    /// Maximum time without a frame.
    pub frame_timeout: Duration,
    /// True if the media has a known end: a file, or a complete HLS playlist.
    pub is_recorded: bool,
    /// True if the server can start in the middle.
    pub is_seekable: bool,
}

/// Connects, identifies the media and starts its decoder.
pub(crate) fn open(network: &NetworkSource, options: &DecodeOptions) -> Result<(Opened, Connection), OpenError> {
    init_ffmpeg();
    let name = redacted(&network.name);
    let fail = |kind: OpenErrorKind, what: String| OpenError { kind, error: Error::input(format!("{name}: {what}")) };
    sideline_address::check(&network.address, &sideline_address::SCHEMES)
        .map_err(|what| OpenError { kind: OpenErrorKind::Denied, error: Error::config(what) })?;
    let interrupt = Interrupt::with_stop(network.stop.clone());
    interrupt.set_timeout(network.timeout);
    resolve(network, &interrupt).map_err(|(kind, what)| fail(kind, what))?;
    if sideline_address::has_scheme(&network.address, &["rtsps"]) && !network.trust.is_insecure() && !verifies_rtsps() {
        return Err(fail(OpenErrorKind::Denied, UNVERIFIED_RTSPS.into()));
    }
    let (input, opener) = connect(network, &interrupt).map_err(|failed| {
        let (kind, what) = classify_failure(failed.cause, &interrupt, network);
        // FFmpeg's RTSP client opens the address without the TLS opener.
        let address = failed.address.unwrap_or_else(|| network.address.clone());
        match certificate_message(&address, kind, network) {
            Some(what) => fail(OpenErrorKind::Denied, what),
            None => fail(kind, what),
        }
    })?;
    if matches!(input.format().name(), "tty" | "bin" | "xbin" | "webvtt" | "srt" | "txt") {
        return Err(fail(OpenErrorKind::NotVideo, "is text, not a video".into()));
    }
    let is_hls = input.format().name() == "hls";
    let is_http = sideline_address::has_scheme(&network.address, &["http", "https"]);
    let input_error = |what: String| Error::input(format!("{name}: {what}"));
    let mut opened = start_decoder(input, options, &input_error).map_err(|error| {
        // A playlist whose segments cannot be opened counts as one without video.
        let failed = opener.as_ref().and_then(|opener| opener.failed_address());
        match failed.and_then(|url| certificate_message(&url, OpenErrorKind::NotVideo, network)) {
            Some(what) => fail(OpenErrorKind::Denied, what),
            None => OpenError { kind: OpenErrorKind::NotVideo, error },
        }
    })?;
    (opened.interrupt, opened.opener) = (Some(interrupt.clone()), opener);
    let frame_timeout = network.timeout * if is_hls { HLS_TIMEOUT_FACTOR } else { 1 };
    let body = http_body(&opened.input);
    // A live playlist has a duration as well, but it may grow.
    let is_recorded = is_http && (opened.input.duration() > 0 || (!is_hls && body.has_length));
    Ok((opened, Connection { interrupt, frame_timeout, is_recorded, is_seekable: is_hls || body.is_seekable }))
}

/// Message for `rtsps://` if FFmpeg's RTSP client does not pass TLS options on.
const UNVERIFIED_RTSPS: &str = "this FFmpeg cannot verify the server of an `rtsps://` address; use `rtsp://` within a trusted \
                                network or a tunnel, or set `insecure: true` to skip verification";

/// Properties of a response over HTTP.
struct HttpBody {
    /// True if the server stated the length.
    has_length: bool,
    /// True if the server supports ranges.
    is_seekable: bool,
}

fn http_body(input: &format::context::Input) -> HttpBody {
    // SAFETY: the input is open; its `pb`, if there is one, belongs to it.
    unsafe {
        let pb = (*input.as_ptr()).pb;
        if pb.is_null() {
            return HttpBody { has_length: false, is_seekable: true };
        }
        HttpBody { has_length: ffi::avio_size(pb) > 0, is_seekable: (*pb).seekable & ffi::AVIO_SEEKABLE_NORMAL != 0 }
    }
}

/// Returns the message for an address whose certificate was rejected; `None` if the failure has another cause.
fn certificate_message(url: &str, kind: OpenErrorKind, network: &NetworkSource) -> Option<String> {
    if kind == OpenErrorKind::Stopped {
        return None;
    }
    let interrupt = Interrupt::with_stop(network.stop.clone());
    interrupt.set_timeout(network.timeout);
    let host = network.trust.rejected_host(url, &interrupt)?;
    Some(network.trust.rejection_message(sideline_address::host_for_display(&host, &network.name)))
}

/// Resolves the host on a thread of its own: the system's resolver cannot be interrupted.
fn resolve(network: &NetworkSource, interrupt: &Interrupt) -> Result<(), (OpenErrorKind, String)> {
    let Some((host, _)) = sideline_address::host(&network.address) else { return Ok(()) };
    let host_name = sideline_address::host_for_display(host, &network.name);
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    let resolver = std::thread::Builder::new().name("resolver".into()).spawn(move || {
        // The caller may have timed out.
        let _ = sender.send((name.as_str(), 0).to_socket_addrs().map(|mut found| found.next().is_some()));
    });
    if resolver.is_err() {
        // Without a thread, FFmpeg resolves the name itself, without a deadline.
        return Ok(());
    }
    loop {
        match receiver.recv_timeout(POLL_INTERVAL) {
            Ok(Ok(true)) | Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(_) => {
                return Err((
                    OpenErrorKind::Denied,
                    format!("there is no host `{host_name}`: check its name and the network connection"),
                ));
            }
            Err(mpsc::RecvTimeoutError::Timeout) if interrupt.is_stopped() => {
                return Err((OpenErrorKind::Stopped, "stopped".into()));
            }
            Err(mpsc::RecvTimeoutError::Timeout) if interrupt.is_timed_out() => {
                return Err((
                    OpenErrorKind::Unreachable,
                    format!("the name of `{host_name}` could not be resolved: is there a network connection?"),
                ));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Returns FFmpeg's options for an address.
fn input_options(network: &NetworkSource) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let microseconds = network.timeout.as_micros().to_string();
    let buffer = network.buffer_bytes.to_string();
    let has_scheme = |schemes: &[&str]| sideline_address::has_scheme(&network.address, schemes);
    // Addresses within a stream must stay on the network: a playlist must not name files of this machine.
    if has_scheme(&["rtsp", "rtsps"]) {
        // Over UDP, lost packets damage pictures, and many firewalls block it.
        options.set("rtsp_transport", "tcp");
        options.set("timeout", &microseconds);
        options.set("buffer_size", &buffer);
        network.trust.apply_to(&mut options);
        options.set("protocol_whitelist", "rtsp,rtsps,rtp,rtcp,srtp,tcp,tls,udp");
    } else if has_scheme(&["rtmp", "rtmps"]) {
        options.set("rtmp_live", "live");
        options.set("rw_timeout", &microseconds);
        options.set("recv_buffer_size", &buffer);
        options.set("protocol_whitelist", "rtmp,rtmps,tcp,tls");
    } else {
        options.set("rw_timeout", &microseconds);
        options.set("recv_buffer_size", &buffer);
        options.set("protocol_whitelist", "http,https,httpproxy,tcp,tls,crypto,data");
        // FFmpeg skips a broken HLS segment and fetches the playlist again.
        options.set("allowed_extensions", "ALL");
    }
    options.set("probesize", &MAX_PROBE_BYTES.to_string());
    options.set("analyzeduration", &PROBE_DURATION.as_micros().to_string());
    options
}

/// Failure of a connection.
struct ConnectError {
    cause: ff::Error,
    /// The address that could not be opened, if it is known: the stream's own, or one that the stream refers to.
    address: Option<String>,
}

impl From<ff::Error> for ConnectError {
    fn from(cause: ff::Error) -> Self {
        Self { cause, address: None }
    }
}

/// Open input, and the opener of the addresses it refers to.
type Connected = (format::context::Input, Option<Arc<TlsOpener>>);

/// Opens an input and reads its streams' properties.
fn connect(network: &NetworkSource, interrupt: &Arc<Interrupt>) -> Result<Connected, ConnectError> {
    let address = CString::new(network.address.as_str()).map_err(|_| ff::Error::InvalidData)?;
    // SAFETY: the context is allocated here and passed to `avformat_open_input` (which frees it on failure), then owned by
    // the `Input`; the dictionary is freed once. The caller keeps the interrupt for as long as the input, and so the opener
    // that is returned with it; an opener that is not returned is dropped after the input.
    unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(ff::Error::Other { errno: ff::error::ENOMEM }.into());
        }
        (*context).interrupt_callback = interrupt.callback();
        let opener = TlsOpener::install(network.trust.clone(), context);
        let failed = |cause: ff::Error| ConnectError {
            cause,
            address: opener.as_ref().and_then(|opener| opener.failed_address()),
        };
        let mut options = input_options(network).disown();
        let opened = ffi::avformat_open_input(&mut context, address.as_ptr(), std::ptr::null(), &mut options);
        ffi::av_dict_free(&mut options);
        if opened < 0 {
            return Err(failed(opened.into()));
        }
        let input = format::context::Input::wrap(context);
        // The first deadline covered the handshake; this one covers the first data of the stream.
        interrupt.set_timeout(network.timeout + PROBE_DURATION);
        match ffi::avformat_find_stream_info(context, std::ptr::null_mut()) {
            found if found < 0 => Err(failed(found.into())),
            _ if interrupt.is_timed_out() || interrupt.is_stopped() => Err(failed(ff::Error::Exit)),
            _ => Ok((input, opener)),
        }
    }
}

/// Classifies a failure to open, and describes it for the user.
fn classify_failure(cause: ff::Error, interrupt: &Interrupt, network: &NetworkSource) -> (OpenErrorKind, String) {
    use ff::util::error::{ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EPERM, EPROTONOSUPPORT, ETIMEDOUT};
    // The other protocols carry only video: invalid data comes from a broken connection.
    let is_http = sideline_address::has_scheme(&network.address, &["http", "https"]);
    let timed_out = || {
        let seconds = network.timeout.as_secs_f64();
        format!("sent no video within {seconds} s: is the stream being published? (`timeout` sets the limit)")
    };
    if interrupt.is_stopped() {
        return (OpenErrorKind::Stopped, "stopped".into());
    }
    match cause {
        _ if interrupt.is_timed_out() => (OpenErrorKind::Unreachable, timed_out()),
        ff::Error::Other { errno: ETIMEDOUT } => (OpenErrorKind::Unreachable, timed_out()),
        ff::Error::Other { errno: ECONNREFUSED } => {
            (OpenErrorKind::Unreachable, "nothing listens there: is the server running, and is the port right?".into())
        }
        ff::Error::Other { errno: EHOSTUNREACH | ENETUNREACH } => {
            (OpenErrorKind::Unreachable, format!("cannot be reached: {cause}"))
        }
        ff::Error::HttpUnauthorized | ff::Error::HttpForbidden | ff::Error::Other { errno: EPERM } => {
            (OpenErrorKind::Denied, format!("{cause}: check the user, password or token in its address"))
        }
        ff::Error::HttpNotFound => {
            (OpenErrorKind::Unreachable, "there is no such stream (404): is it being published?".into())
        }
        ff::Error::ProtocolNotFound | ff::Error::Other { errno: EPROTONOSUPPORT } => {
            (OpenErrorKind::Denied, "this FFmpeg was built without its protocol".into())
        }
        ff::Error::InvalidData | ff::Error::DemuxerNotFound if is_http => {
            (OpenErrorKind::NotVideo, "is not a video that FFmpeg can read".into())
        }
        cause => (OpenErrorKind::Unreachable, format!("cannot be opened: {cause}")),
    }
}
