//! A stream on the network: connected to, lost, connected to again.
//!
//! A stream that breaks off, falls silent or is not there yet is tried again after 1, 2, 4, 8 ... seconds. Each connection
//! that brings a frame is a session of its own, its times go on by the clock of the wall, and what the connection before had
//! brought is left out. Connecting happens while the run is on: a stop ends every wait at once.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sideline_api::{
    Body, Error, Failure, Mode, OrFail, Payload, Random, Resources, Result, SourceContext,
    address::{self, Address},
    serde_json,
};
use sideline_media::{DecodeOptions, Decoder, Network, Refused, Repeats, Size, Sound, SoundFormat, Trust, Unopened};

use crate::{
    page,
    reader::{Read, Reading, time_jumps},
};

/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(60);

/// How a stream on the network is waited for; the keys of capture.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long it may be silent.
    pub timeout: Duration,
    /// Tries after one that failed.
    pub tries: u32,
    /// Before the first of them; doubled for each that follows.
    pub backoff: Duration,
    /// Failed tries in a row that raise an alert.
    pub alert: u32,
}

/// What is told of a stream's connections when it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that brought a frame.
    pub sessions: u64,
    /// Tries to connect that failed, or brought a connection that broke before its first frame.
    pub failed: u64,
    /// Times that so many tries in a row failed that somebody should look.
    pub alerts: u64,
    /// Frames left out because they had come before.
    pub repeated: u64,
    /// Irregular times within a connection.
    pub jumps: u64,
}

impl Counts {
    /// By their names.
    pub fn named(self) -> Vec<(&'static str, u64)> {
        let mut named = vec![
            ("sessions", self.sessions),
            ("failed_tries", self.failed),
            ("alerts", self.alerts),
            ("repeated", self.repeated),
        ];
        named.extend(time_jumps(self.jumps));
        named
    }
}

/// The last frame that was handed out.
#[derive(Clone, Copy)]
struct Last {
    pts: i64,
    /// By the clock of the wall.
    came: i64,
    /// By the stream's own clock.
    own: i64,
}

/// See the [module](self).
pub struct Line {
    address: Address,
    /// What is opened: another address where the first one is a page.
    is_page: bool,
    options: DecodeOptions,
    patience: Patience,
    buffer_bytes: u32,
    trust: Trust,
    mode: Mode,
    /// Where what the stream says of itself is written.
    report: PathBuf,
    decoder: Option<Decoder>,
    before: Option<Repeats>,
    /// No frame of this connection was handed out yet.
    fresh: bool,
    /// What media time is ahead of the stream's own, ns.
    ahead: i64,
    last: Option<Last>,
    frames: u64,
    /// Tries that failed since the last frame.
    failed: u32,
    counts: Counts,
    warned: bool,
}

impl Line {
    /// A stream that is yet to be connected to. `name`: of the node and the stream, for the report.
    ///
    /// # Errors
    /// When frames are not to be lost and the stream does not wait.
    pub fn new(
        address: Address,
        name: &str,
        options: DecodeOptions,
        reading: &Reading,
        resources: &Resources,
    ) -> Result<Self> {
        if resources.mode == Mode::Complete && !address::is_of(address.resolved(), &["http", "https"]) {
            return Err(does_not_wait(&address));
        }
        if reading.trust.is_blind() {
            tracing::warn!(
                source = address.shown(),
                "`insecure` is set: it is not verified who answers there, and its pictures may be anybody's"
            );
        }
        Ok(Self {
            address,
            is_page: false,
            options,
            patience: reading.patience,
            buffer_bytes: reading.buffer_bytes,
            trust: reading.trust.clone(),
            mode: resources.mode,
            report: resources.run_dir.join(format!("media-{}.json", name.replace(['/', '\\'], "_"))),
            decoder: None,
            before: None,
            fresh: true,
            ahead: 0,
            last: None,
            frames: 0,
            failed: 0,
            counts: Counts::default(),
            warned: false,
        })
    }

    /// Connects, where that was not done yet. False: the run is to end.
    ///
    /// # Errors
    /// When every try failed, or no other would help.
    pub fn ready(&mut self, cx: &SourceContext) -> Result<bool> {
        while self.decoder.is_none() {
            if cx.stopping() {
                return Ok(false);
            }
            if let Err(unopened) = self.connect(cx) {
                match unopened.refused {
                    Refused::Stopped => return Ok(false),
                    // Who was let in once may be so again.
                    Refused::Denied | Refused::NoVideo if self.frames == 0 => return Err(unopened.error),
                    _ => {
                        self.counts.failed += 1;
                        self.wait(cx, &unopened.error.message)?;
                    }
                }
            }
        }
        Ok(true)
    }

    /// The next frame; none when the stream has come to its own end, or the run is to end. `before` is told the decoding
    /// time of every packet, and may wait.
    ///
    /// # Errors
    /// When the stream went away and did not come back.
    pub fn next(&mut self, cx: &SourceContext, mut before: impl FnMut(i64)) -> Result<Option<Read>> {
        while self.ready(cx)? {
            let Some(decoder) = &mut self.decoder else { continue };
            let ahead = self.ahead;
            if let Some(decoded) = decoder.next_with(|time| before(time + ahead))? {
                return Ok(Some(self.take(decoded, cx)));
            }
            if cx.stopping() {
                break;
            }
            let why = match (decoder.lost(), decoder.missing()) {
                (Some(lost), _) => lost.to_owned(),
                (None, Some(missing)) => format!("{missing} frames are missing at its end"),
                (None, None) if decoder.is_live() => "it ended".to_owned(),
                // A file that was read to its end.
                (None, None) => break,
            };
            // A connection without a frame is a failed try like one that was not made.
            self.counts.failed += u64::from(self.fresh);
            self.disconnect();
            self.wait(cx, &why)?;
        }
        Ok(None)
    }

    /// A frame of this connection; the first one makes it a session.
    fn take(&mut self, decoded: sideline_media::Decoded, cx: &SourceContext) -> Read {
        let now = cx.clock.now();
        if std::mem::take(&mut self.fresh) {
            let decoder = self.decoder.as_ref();
            let same_clock = decoder.is_some_and(|decoder| decoder.goes_on() || !decoder.is_live());
            if let Some(last) = self.last.filter(|_| !same_clock) {
                let interval = decoder.map_or(0, Decoder::interval);
                self.ahead = last.pts + (now - last.came).max(interval) - decoded.pts_ns;
            }
            if self.counts.sessions > 0 {
                tracing::warn!(source = self.address.shown(), session = self.counts.sessions, "the stream is back");
            }
            self.counts.sessions += 1;
            self.failed = 0;
        }
        if decoded.damaged && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(source = self.address.shown(), "it is damaged: parts of some frames are guessed");
        }
        let pts = (decoded.pts_ns + self.ahead).max(self.last.map_or(i64::MIN, |last| last.pts));
        self.last = Some(Last { pts, came: now, own: decoded.pts_ns });
        self.frames += 1;
        let session = self.session();
        Read { body: Body::Data(Payload::Frame(decoded.frame.into())), pts, session }
    }

    /// Number of the connection, from 0.
    fn session(&self) -> u32 {
        u32::try_from(self.counts.sessions.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// One try.
    fn connect(&mut self, cx: &SourceContext) -> Result<(), Unopened> {
        let stopping = cx.clone();
        let mut network = Network {
            address: self.address.resolved().into(),
            name: self.address.shown(),
            timeout: self.patience.timeout,
            buffer_bytes: self.buffer_bytes,
            trust: self.trust.clone(),
            stop: Arc::new(move || stopping.stopping()),
            before: self.before.clone(),
        };
        let opened = match self.is_page {
            true => self.of_page(&mut network),
            false => match Decoder::network(&network, self.options) {
                Err(unopened) if unopened.refused == Refused::NoVideo && page::may_be(self.address.resolved()) => {
                    let opened = self.of_page(&mut network);
                    self.is_page = opened.is_ok();
                    opened
                }
                opened => opened,
            },
        };
        let mut decoder = opened?;
        let denied = |error| Unopened { refused: Refused::Denied, error };
        if self.mode == Mode::Complete && decoder.is_live() {
            return Err(denied(does_not_wait(&self.address)));
        }
        if let Some(last) = self.last.filter(|_| !decoder.is_live()) {
            decoder.seek(last.own + 1).map_err(|error| Unopened { refused: Refused::Away, error })?;
        }
        self.fresh = true;
        self.decoder = Some(decoder);
        self.write_report().map_err(denied)
    }

    /// The stream that a page shows.
    fn of_page(&self, network: &mut Network) -> Result<Decoder, Unopened> {
        let height = match self.options.size {
            Some(Size::Height(height) | Size::Exact { height, .. }) => Some(height),
            None => None,
        };
        let wanted = page::Wanted { height, sound: self.options.audio };
        network.address = page::stream(&self.address, wanted, &self.trust, &*network.stop)?;
        Decoder::network(network, self.options)
    }

    /// After a failure: waits for the next try.
    ///
    /// # Errors
    /// When there is none left.
    fn wait(&mut self, cx: &SourceContext, why: &str) -> Result<()> {
        let Patience { tries, backoff, alert, .. } = self.patience;
        let (source, failed) = (self.address.shown(), self.failed);
        // An error of connecting begins with the address.
        let why = why.strip_prefix(&format!("{source}: ")).unwrap_or(why);
        if failed > 0 && failed == alert {
            self.counts.alerts += 1;
            tracing::error!(source, failed, "ALERT: the stream is away, every try failed: {why}");
        }
        if failed >= tries {
            let tried = if tries == 1 { "1 more try".into() } else { format!("{tries} more tries") };
            return Err(Error::input(match self.frames {
                0 => format!("{source}: {why}; given up after {tried}"),
                frames => format!(
                    "{source}: the stream went away after {frames} frames ({why}) and did not come back in {tried}; \
                     what was there was handled"
                ),
            }));
        }
        self.failed += 1;
        let wait = jittered(backoff.saturating_mul(1 << failed.min(20)).min(LONGEST), cx.clock.now());
        let frames = self.frames;
        tracing::warn!(source, failed, frames, "no stream: {why}; tried again in {:.1} s", wait.as_secs_f64());
        cx.pace(cx.clock.now() + wait.as_nanos() as i64);
        Ok(())
    }

    /// The connection is over; what it brought is remembered.
    fn disconnect(&mut self) {
        let Some(decoder) = self.decoder.take() else { return };
        let (losses, source) = (decoder.losses(), self.address.shown());
        self.counts.repeated += decoder.repeated();
        self.counts.jumps += decoder.time_jumps().total();
        self.before = decoder.repeats().cloned();
        if losses.damaged > 0 {
            tracing::warn!(source, damaged = losses.damaged, "parts of these frames were guessed: it is damaged");
        }
        if losses.undecodable + losses.unheard > 0 {
            let (picture, sound) = (losses.undecodable, losses.unheard);
            tracing::warn!(source, picture, sound, "packets could not be decoded");
        }
    }

    /// True for what shows what is now; also before it is known.
    pub fn is_live(&self) -> bool {
        self.decoder.as_ref().is_none_or(Decoder::is_live)
    }

    /// Nanoseconds from a frame to the next.
    pub fn interval(&self) -> i64 {
        self.decoder.as_ref().map_or(40_000_000, Decoder::interval)
    }

    /// The sound up to a media time that was not asked for before; none where there is no sound.
    pub fn sound(&mut self, until: i64) -> Option<(SoundFormat, Vec<Sound>)> {
        let (decoder, ahead) = (self.decoder.as_mut()?, self.ahead);
        let format = decoder.sound_format()?;
        let mut runs = decoder.sound_until(until.saturating_sub(ahead));
        runs.iter_mut().for_each(|run| run.start_ns += ahead);
        Some((format, runs))
    }

    /// Its connections so far.
    pub fn counts(&self) -> Counts {
        let repeated = self.decoder.as_ref().map_or(0, Decoder::repeated);
        let jumps = self.decoder.as_ref().map_or(0, |decoder| decoder.time_jumps().total());
        Counts { repeated: self.counts.repeated + repeated, jumps: self.counts.jumps + jumps, ..self.counts }
    }

    /// Hangs up.
    pub fn close(&mut self) {
        self.disconnect();
    }

    /// Writes what the stream says of itself to a file in the folder of the run.
    fn write_report(&self) -> Result<()> {
        let Some(decoder) = &self.decoder else { return Ok(()) };
        let (width, height) = decoder.frame_size();
        let info = serde_json::json!({ "media": decoder.info(), "frame_width": width, "frame_height": height });
        let text = serde_json::to_string_pretty(&info).or_fail(Failure::Other, || "the media information")?;
        std::fs::write(&self.report, text + "\n").or_fail(Failure::Output, || self.report.display().to_string())
    }
}

fn does_not_wait(address: &Address) -> Error {
    Error::config(format!(
        "{}: a live stream does not wait, and `complete` mode would lose frames that nobody counts: run it live",
        address.shown()
    ))
}

/// A wait that is up to a fifth shorter or longer, so that not all who lost a server come back at the same moment.
fn jittered(wait: Duration, now: i64) -> Duration {
    wait.mul_f64(Random::new(now as u64).between(0.8, 1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_differ_by_no_more_than_a_fifth() {
        let waits: Vec<f64> = (0..1000).map(|i| jittered(Duration::from_secs(10), i * 999_983).as_secs_f64()).collect();
        assert!(waits.iter().all(|wait| (8.0..=12.0).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 8.5) && waits.iter().any(|wait| *wait > 11.5));
    }
}
