//! A network stream that reconnects with exponential backoff.
//!
//! A stream that breaks off, falls silent or is not available yet is retried after 1, 2, 4, 8 ... seconds. Each connection that
//! delivers a frame is a session of its own. Its media times continue by the wall clock, and frames that the previous
//! connection delivered are left out. Connecting happens during the run, and a stop interrupts every wait.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sideline_address::Address;
use sideline_api::{Body, Error, Failure, Mode, OrFail, Payload, Random, Resources, Result, SourceContext, serde_json};
use sideline_media::{
    AudioFormat, AudioSegment, DecodeOptions, Decoder, NetworkSource, OpenError, OpenErrorKind, PacketHistory, Size,
    TlsTrust,
};

use crate::{
    reader::{ReadOptions, SourceFrame, time_jumps_count},
    web_page,
};

/// Longest backoff between two connection attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Timeout and reconnect policy of a network stream, from the keys of capture.
#[derive(Clone, Copy, Debug)]
pub struct ReconnectPolicy {
    /// Longest time without a frame, and longest time to connect.
    pub timeout: Duration,
    /// Reconnect attempts, in a row, after a failure.
    pub attempts: u32,
    /// Backoff before the first attempt; doubles with each that follows.
    pub backoff: Duration,
    /// Failed attempts in a row that raise an alert.
    pub alert_after: u32,
}

/// Connection counts of a network stream, for the run's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections that delivered a frame.
    pub sessions: u64,
    /// Connection attempts that failed, or whose connection broke before its first frame.
    pub failed_attempts: u64,
    /// Alerts raised: series of failed attempts that reached the alert threshold.
    pub alerts: u64,
    /// Frames left out because the previous connection had delivered them.
    pub repeated: u64,
    /// Timestamp jumps within a connection.
    pub time_jumps: u64,
}

impl ConnectionCounts {
    /// Returns the counts under their names in the result.
    pub fn to_named(self) -> Vec<(&'static str, u64)> {
        let mut named = vec![
            ("sessions", self.sessions),
            ("failed_tries", self.failed_attempts),
            ("alerts", self.alerts),
            ("repeated", self.repeated),
        ];
        named.extend(time_jumps_count(self.time_jumps));
        named
    }
}

/// Times of the last frame delivered, ns.
#[derive(Clone, Copy)]
struct LastFrame {
    /// Media time of the stream, continuous over all connections.
    pts: i64,
    /// Wall-clock time of arrival.
    arrived: i64,
    /// Media time of its connection.
    connection_pts: i64,
}

/// A network stream; see the [module](self).
pub struct NetworkStream {
    address: Address,
    /// True if the address is a web page, which yt-dlp resolves to that of the stream at every connection.
    is_page: bool,
    options: DecodeOptions,
    reconnect: ReconnectPolicy,
    buffer_bytes: u32,
    trust: TlsTrust,
    mode: Mode,
    /// Path of the file with the stream's media properties.
    report: PathBuf,
    decoder: Option<Decoder>,
    /// Packets of the previous connection, to recognize repeated frames.
    previous: Option<PacketHistory>,
    /// True until the first frame of this connection is delivered.
    awaits_first_frame: bool,
    /// Offset from the connection's media time to the stream's, ns.
    offset: i64,
    last: Option<LastFrame>,
    frames: u64,
    /// Failed attempts since the last frame.
    failed: u32,
    counts: ConnectionCounts,
    /// True once a damaged frame was reported, so that the warning is given once.
    damage_reported: bool,
}

impl NetworkStream {
    /// Returns a stream that is not connected yet. `name` identifies the node and the stream, for the report.
    ///
    /// # Errors
    /// In `complete` mode, if the stream is live: it does not wait, and frames would be lost.
    pub fn new(
        address: Address,
        name: &str,
        options: DecodeOptions,
        read_options: &ReadOptions,
        resources: &Resources,
    ) -> Result<Self> {
        if resources.mode == Mode::Complete && !sideline_address::has_scheme(address.resolved(), &["http", "https"]) {
            return Err(live_stream_error(&address));
        }
        if read_options.trust.is_insecure() {
            tracing::warn!(
                source = address.redacted(),
                "`insecure` is set: the server's certificate is not verified, so the frames may come from an impostor"
            );
        }
        Ok(Self {
            address,
            is_page: false,
            options,
            reconnect: read_options.reconnect,
            buffer_bytes: read_options.buffer_bytes,
            trust: read_options.trust.clone(),
            mode: resources.mode,
            report: resources.run_dir.join(format!("media-{name}.json")),
            decoder: None,
            previous: None,
            awaits_first_frame: true,
            offset: 0,
            last: None,
            frames: 0,
            failed: 0,
            counts: ConnectionCounts::default(),
            damage_reported: false,
        })
    }

    /// Connects unless already connected; returns false if the run is stopping.
    ///
    /// # Errors
    /// If all attempts failed, or the failure is permanent.
    pub fn connect(&mut self, cx: &SourceContext) -> Result<bool> {
        while self.decoder.is_none() {
            if cx.is_stopping() {
                return Ok(false);
            }
            if let Err(open_error) = self.try_connect(cx) {
                match open_error.kind {
                    OpenErrorKind::Stopped => return Ok(false),
                    // After a first frame these may be transient: the server has accepted this client before.
                    OpenErrorKind::Denied | OpenErrorKind::NotVideo if self.frames == 0 => return Err(open_error.error),
                    _ => {
                        self.counts.failed_attempts += 1;
                        self.back_off(cx, &open_error.error.message)?;
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads the next frame; `None` if the stream has ended by itself or the run is stopping. `before` is called with the
    /// decoding time of every packet, ns, and may block to pace the stream.
    ///
    /// # Errors
    /// If the stream broke off and all reconnect attempts failed.
    pub fn next(&mut self, cx: &SourceContext, mut before: impl FnMut(i64)) -> Result<Option<SourceFrame>> {
        while self.connect(cx)? {
            let Some(decoder) = &mut self.decoder else { continue };
            let offset = self.offset;
            if let Some(decoded) = decoder.next_with(|time| before(time + offset))? {
                return Ok(Some(self.accept(decoded, cx)));
            }
            if cx.is_stopping() {
                break;
            }
            let cause = match (decoder.disconnect_cause(), decoder.missing_frames()) {
                (Some(cause), _) => cause.to_owned(),
                (None, Some(missing)) => format!("{missing} frames are missing at its end"),
                (None, None) if decoder.is_live() => "it ended".to_owned(),
                // A file that was read to its end.
                (None, None) => break,
            };
            // A connection without a frame counts as a failed attempt.
            self.counts.failed_attempts += u64::from(self.awaits_first_frame);
            self.disconnect();
            self.back_off(cx, &cause)?;
        }
        Ok(None)
    }

    /// Returns a frame of this connection with its stream time; the first one opens a session.
    fn accept(&mut self, decoded: sideline_media::DecodedFrame, cx: &SourceContext) -> SourceFrame {
        let now = cx.clock.now();
        if std::mem::take(&mut self.awaits_first_frame) {
            let decoder = self.decoder.as_ref();
            let same_clock = decoder.is_some_and(|decoder| decoder.continues_previous() || !decoder.is_live());
            if let Some(last) = self.last.filter(|_| !same_clock) {
                let interval = decoder.map_or(0, Decoder::interval_ns);
                self.offset = last.pts + (now - last.arrived).max(interval) - decoded.pts_ns;
            }
            if self.counts.sessions > 0 {
                tracing::warn!(
                    source = self.address.redacted(),
                    session = self.counts.sessions,
                    "the stream is connected again"
                );
            }
            self.counts.sessions += 1;
            self.failed = 0;
        }
        if decoded.is_damaged && !std::mem::replace(&mut self.damage_reported, true) {
            tracing::warn!(
                source = self.address.redacted(),
                "the video is damaged: parts of some frames are concealed"
            );
        }
        let pts = (decoded.pts_ns + self.offset).max(self.last.map_or(i64::MIN, |last| last.pts));
        self.last = Some(LastFrame { pts, arrived: now, connection_pts: decoded.pts_ns });
        self.frames += 1;
        let session = self.session();
        SourceFrame { body: Body::Data(Payload::Frame(decoded.frame.into())), pts, session }
    }

    /// Returns the number of the session, from 0.
    fn session(&self) -> u32 {
        u32::try_from(self.counts.sessions.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Makes one connection attempt.
    fn try_connect(&mut self, cx: &SourceContext) -> Result<(), OpenError> {
        let stopping = cx.clone();
        let mut network = NetworkSource {
            address: self.address.resolved().into(),
            name: self.address.redacted(),
            timeout: self.reconnect.timeout,
            buffer_bytes: self.buffer_bytes,
            trust: self.trust.clone(),
            stop: Arc::new(move || stopping.is_stopping()),
            previous: self.previous.clone(),
        };
        let opened = match self.is_page {
            true => self.open_page(&mut network),
            false => match Decoder::open_network(&network, self.options) {
                Err(open_error)
                    if open_error.kind == OpenErrorKind::NotVideo && web_page::may_be_page(self.address.resolved()) =>
                {
                    let opened = self.open_page(&mut network);
                    self.is_page = opened.is_ok();
                    opened
                }
                opened => opened,
            },
        };
        let mut decoder = opened?;
        let denied = |error| OpenError { kind: OpenErrorKind::Denied, error };
        if self.mode == Mode::Complete && decoder.is_live() {
            return Err(denied(live_stream_error(&self.address)));
        }
        if let Some(last) = self.last.filter(|_| !decoder.is_live()) {
            decoder
                .seek(last.connection_pts + 1)
                .map_err(|error| OpenError { kind: OpenErrorKind::Unreachable, error })?;
        }
        self.awaits_first_frame = true;
        self.decoder = Some(decoder);
        self.write_report().map_err(denied)
    }

    /// Opens the stream on a web page.
    fn open_page(&self, network: &mut NetworkSource) -> Result<Decoder, OpenError> {
        let max_height = match self.options.size {
            Some(Size::Height(height) | Size::Exact { height, .. }) => Some(height),
            None => None,
        };
        let preference = web_page::StreamPreference { max_height, audio: self.options.audio };
        network.address = web_page::resolve(&self.address, preference, &self.trust, &*network.stop)?;
        Decoder::open_network(network, self.options)
    }

    /// Waits out the backoff before the next attempt.
    ///
    /// # Errors
    /// If no attempt is left.
    fn back_off(&mut self, cx: &SourceContext, cause: &str) -> Result<()> {
        let ReconnectPolicy { attempts, backoff, alert_after, .. } = self.reconnect;
        let (source, failed) = (self.address.redacted(), self.failed);
        // Connection errors begin with the address.
        let cause = cause.strip_prefix(&format!("{source}: ")).unwrap_or(cause);
        if failed > 0 && failed == alert_after {
            self.counts.alerts += 1;
            tracing::error!(source, failed, "ALERT: the stream is down, every reconnect attempt failed: {cause}");
        }
        if failed >= attempts {
            let plural = if attempts == 1 { "" } else { "s" };
            return Err(Error::input(match self.frames {
                0 => format!("{source}: {cause}; gave up after {attempts} reconnect attempt{plural}"),
                frames => format!(
                    "{source}: the stream broke off after {frames} frames ({cause}) and did not come back in {attempts} \
                     reconnect attempt{plural}; all frames read were processed"
                ),
            }));
        }
        self.failed += 1;
        let wait = add_jitter(backoff.saturating_mul(1 << failed.min(20)).min(MAX_BACKOFF), cx.clock.now());
        let frames = self.frames;
        tracing::warn!(source, failed, frames, "no stream: {cause}; reconnecting in {:.1} s", wait.as_secs_f64());
        cx.pace(cx.clock.now() + wait.as_nanos() as i64);
        Ok(())
    }

    /// Closes the connection, adds its counts, and keeps its packet history for the next one.
    fn disconnect(&mut self) {
        let Some(decoder) = self.decoder.take() else { return };
        let (losses, source) = (decoder.losses(), self.address.redacted());
        self.counts.repeated += decoder.repeated_frames();
        self.counts.time_jumps += decoder.time_jumps().total();
        self.previous = decoder.packet_history().cloned();
        if losses.damaged > 0 {
            tracing::warn!(
                source,
                damaged = losses.damaged,
                "the video is damaged: parts of these frames are concealed"
            );
        }
        if losses.undecodable_video + losses.undecodable_audio > 0 {
            let (video, audio) = (losses.undecodable_video, losses.undecodable_audio);
            tracing::warn!(source, video, audio, "packets could not be decoded");
        }
    }

    /// True if the stream is live; also before it is connected, when that is not known yet.
    pub fn is_live(&self) -> bool {
        self.decoder.as_ref().is_none_or(Decoder::is_live)
    }

    /// Returns the interval between two frames, ns; 40 ms before it is connected.
    pub fn interval(&self) -> i64 {
        self.decoder.as_ref().map_or(40_000_000, Decoder::interval_ns)
    }

    /// Takes the audio up to a media time, ns, that was not taken before; `None` if the stream has no audio.
    pub fn audio_until(&mut self, until: i64) -> Option<(AudioFormat, Vec<AudioSegment>)> {
        let (decoder, offset) = (self.decoder.as_mut()?, self.offset);
        let format = decoder.audio_format()?;
        let mut segments = decoder.audio_until(until.saturating_sub(offset));
        segments.iter_mut().for_each(|segment| segment.start_ns += offset);
        Some((format, segments))
    }

    /// Returns the counts of all connections so far.
    pub fn counts(&self) -> ConnectionCounts {
        let repeated = self.decoder.as_ref().map_or(0, Decoder::repeated_frames);
        let time_jumps = self.decoder.as_ref().map_or(0, |decoder| decoder.time_jumps().total());
        ConnectionCounts {
            repeated: self.counts.repeated + repeated,
            time_jumps: self.counts.time_jumps + time_jumps,
            ..self.counts
        }
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.disconnect();
    }

    /// Writes the stream's media properties to a file in the folder of the run.
    fn write_report(&self) -> Result<()> {
        let Some(decoder) = &self.decoder else { return Ok(()) };
        let (width, height) = decoder.frame_size();
        let info = serde_json::json!({ "media": decoder.info(), "frame_width": width, "frame_height": height });
        let text = serde_json::to_string_pretty(&info).or_fail(Failure::Other, || "the media information")?;
        std::fs::write(&self.report, text + "\n").or_fail(Failure::Output, || self.report.display().to_string())
    }
}

fn live_stream_error(address: &Address) -> Error {
    Error::config(format!(
        "{}: a live stream does not wait for the graph, and `complete` mode would lose frames uncounted: run it in `live` mode",
        address.redacted()
    ))
}

/// Varies a wait by up to 20 % at random, so that the clients of a restarted server do not reconnect all at once.
fn add_jitter(wait: Duration, now: i64) -> Duration {
    wait.mul_f64(Random::new(now as u64).between(0.8, 1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_at_most_20_percent() {
        let waits: Vec<f64> =
            (0..1000).map(|i| add_jitter(Duration::from_secs(10), i * 999_983).as_secs_f64()).collect();
        assert!(waits.iter().all(|wait| (8.0..=12.0).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 8.5) && waits.iter().any(|wait| *wait > 11.5));
    }
}
