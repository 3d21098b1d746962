//! Output to an RTMP server: video is encoded on the caller's thread and sent by a thread that reconnects when the connection
//! breaks.
//!
//! Frames that cannot be sent are not encoded: they are counted as dropped, without blocking. So no packet refers to one
//! that was never sent, and the queue is bounded in bytes.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ffmpeg_next as ff;
use sideline_api::{Color, Error, Failure, OrFail, Result};

use super::{
    AudioTrack, EncodeOptions, FrameClock, Muxer, Target, VideoTrack, encode_error, open_audio_track, track_parameters,
};
use crate::{AudioFormat, interrupt::Interrupt};

/// Longest wait between two reconnect attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Options of a [`Broadcast`].
#[derive(Clone, Copy, Debug)]
pub struct BroadcastOptions {
    /// Maximum duration of connecting, and of each write.
    pub timeout: Duration,
    /// Size of the send queue, bytes of encoded video.
    pub buffer_bytes: usize,
    /// Failed reconnect attempts in a row after which the broadcast fails.
    pub reconnect_attempts: u32,
    /// Wait before the first reconnect attempt; doubled for each further one, up to a minute.
    pub backoff: Duration,
    /// Failed reconnect attempts in a row that raise an alert.
    pub alert_after: u32,
    /// Blocks while the connection is down or the queue is full, instead of dropping frames: for a run that is not live.
    pub blocks_when_full: bool,
}

/// Counts of a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BroadcastStats {
    /// Frames sent.
    pub sent: u64,
    /// Frames dropped because the connection was down, or slower than the stream.
    pub dropped: u64,
    /// Connections made.
    pub connections: u64,
    /// Alerts raised after a series of failed reconnect attempts.
    pub alerts: u64,
}

/// State shared by the caller's thread and the sender.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: VecDeque<ff::Packet>,
    /// Size of `queue`, bytes.
    bytes: usize,
    /// True while a connection is open.
    is_connected: bool,
    /// True if the next frame is the first of a connection.
    needs_key_frame: bool,
    /// True once no more frames follow: the queue is sent, then the connection is closed.
    is_ending: bool,
    /// Failure after the last reconnect attempt.
    failure: Option<Error>,
    stats: BroadcastStats,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connection of one video to a server; see the [module](self).
pub struct Broadcast {
    target: Target,
    video: VideoTrack,
    audio: Option<AudioTrack>,
    options: BroadcastOptions,
    clock: FrameClock,
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    /// Media time of the first frame, ns: the server's stream begins at 0.
    origin: Option<i64>,
}

impl Broadcast {
    /// Starts to connect, for frames of `width` x `height` pixels.
    ///
    /// # Errors
    /// As [`super::Encoder::open`]. An unreachable server is no error yet.
    pub fn start(
        target: Target,
        width: u32,
        height: u32,
        encode: &EncodeOptions,
        options: BroadcastOptions,
    ) -> Result<Self> {
        let video = VideoTrack::open(width, height, encode).map_err(|e| e.at(target.display_name()))?;
        let audio = open_audio_track(&target, encode.audio)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                is_connected: false,
                needs_key_frame: true,
                is_ending: false,
                failure: None,
                stats: BroadcastStats::default(),
            }),
            changed: Condvar::new(),
        });
        let tracks = track_parameters(&video, audio.as_ref());
        let work = {
            let sender = Sender { target: target.clone(), options, shared: shared.clone(), failed_attempts: 0 };
            move || sender.run(&tracks)
        };
        let sender = std::thread::Builder::new()
            .name("rtmp".into())
            .spawn(work)
            .or_fail(Failure::Other, || "the thread that sends the video")?;
        let clock = FrameClock::new(encode.fps);
        Ok(Self { target, video, audio, options, clock, shared, sender: Some(sender), origin: None })
    }

    /// Returns the width and height of the frames.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.video.size();
        (width as u32, height as u32)
    }

    /// Returns the matrix and range of the frames' pixel values.
    pub fn color(&self) -> Option<Color> {
        self.video.color()
    }

    /// Returns the format of the audio.
    pub fn audio_format(&self) -> Option<AudioFormat> {
        self.audio.as_ref().map(|audio| audio.format)
    }

    /// Returns the counts so far.
    pub fn stats(&self) -> BroadcastStats {
        self.shared.lock().stats
    }

    /// Changes the average bit rate, bits per second, from the next frame on.
    pub fn set_bitrate(&mut self, bits: usize) {
        self.video.set_bitrate(bits);
    }

    /// Sends a frame of three planes with their strides in bytes, and the presentation time `pts`, ns; drops it if the
    /// connection is down or the queue is full.
    ///
    /// # Errors
    /// `Output` once the server has been given up; `Other` if a plane is too short or the time is before the last one.
    pub fn write_planes(&mut self, planes: [(&[u8], usize); 3], pts: i64) -> Result<()> {
        let origin = *self.origin.get_or_insert(pts);
        let ticks = self.clock.ticks_for(pts - origin).map_err(|e| e.at(self.target.display_name()))?;
        let key = {
            let mut state = self.shared.lock();
            let full = |state: &State| !state.is_connected || state.bytes >= self.options.buffer_bytes;
            while self.options.blocks_when_full && full(&state) && state.failure.is_none() {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if full(&state) {
                state.stats.dropped += 1;
                return Ok(());
            }
            std::mem::take(&mut state.needs_key_frame)
        };
        self.video.send(planes, ticks, key).map_err(|cause| encode_error(&self.target, self.video.size(), cause))?;
        self.clock.last = Some((pts - origin, ticks));
        if let Some(audio) = &mut self.audio {
            audio.begin(pts - origin);
        }
        self.drain();
        Ok(())
    }

    /// Sends audio as [`super::Encoder::write_audio`] does; audio is dropped while the connection is down.
    ///
    /// # Errors
    /// `Output` if it cannot be encoded.
    pub fn write_audio(&mut self, start: i64, samples: &[f32]) -> Result<()> {
        let (Some(audio), Some(origin)) = (self.audio.as_mut(), self.origin) else { return Ok(()) };
        let shared = &self.shared;
        let mut put = |packet: &mut ff::Packet| {
            enqueue(shared, packet);
            Ok(())
        };
        audio
            .write(&mut put, start - origin, samples)
            .map_err(|cause| self.target.failure("audio cannot be encoded", cause))
    }

    /// Queues the packets that the encoder has ready.
    fn drain(&mut self) {
        let mut packet = ff::Packet::empty();
        while self.video.receive(&mut packet) {
            packet.set_stream(0);
            packet.set_duration(self.clock.interval);
            enqueue(&self.shared, &mut packet);
        }
    }

    /// Sends the queued packets and ends the stream. Returns the counts, and an `Output` error if the server was unreachable at
    /// the end.
    pub fn finish(mut self) -> (BroadcastStats, Result<()>) {
        self.close();
        let state = self.shared.lock();
        (state.stats, state.failure.clone().map_or(Ok(()), Err))
    }

    fn close(&mut self) {
        let Some(sender) = self.sender.take() else { return };
        // If flushing the encoder fails, it has no packets left.
        let _ = self.video.finish();
        self.drain();
        self.shared.lock().is_ending = true;
        self.shared.changed.notify_all();
        // The thread ends within its timeout; a panic in it was reported by its message.
        let _ = sender.join();
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.close();
    }
}

/// Queues a packet while a connection is open; otherwise counts a video packet as dropped.
fn enqueue(shared: &Shared, packet: &mut ff::Packet) {
    let mut state = shared.lock();
    if state.is_connected {
        state.bytes += packet.size();
        state.queue.push_back(std::mem::replace(packet, ff::Packet::empty()));
        shared.changed.notify_all();
    } else if packet.stream() == 0 {
        state.stats.dropped += 1;
    }
}

/// Thread that holds the connection.
struct Sender {
    target: Target,
    options: BroadcastOptions,
    shared: Arc<Shared>,
    /// Failed attempts in a row.
    failed_attempts: u32,
}

impl Sender {
    fn run(mut self, tracks: &super::TrackParameters) {
        loop {
            let interrupt = Interrupt::new();
            interrupt.set_timeout(self.options.timeout);
            let cause = match Muxer::open(&self.target, tracks, interrupt.clone()) {
                Ok(muxer) => match self.send(muxer, &interrupt) {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Err(error) => self.with_certificate_cause(error),
            };
            if !self.wait_for_retry(cause) {
                return;
            }
        }
    }

    /// Replaces the error of a failed connection if the server's certificate is the cause. The certificate will be the same at
    /// the next attempt: if no connection was made so far, no attempt is left.
    fn with_certificate_cause(&mut self, error: Error) -> Error {
        let Target::Rtmp(server) = &self.target else { return error };
        let interrupt = Interrupt::new();
        interrupt.set_timeout(self.options.timeout);
        let Some(host) = server.trust.rejected_host(server.address.resolved(), &interrupt) else { return error };
        if self.shared.lock().stats.connections == 0 {
            self.options.reconnect_attempts = 0;
        }
        let name = self.target.display_name();
        let what = server.trust.rejection_message(sideline_address::host_for_display(&host, &name));
        Error { message: format!("{name}: {what}"), ..error }
    }

    /// Sends packets until the end of the stream, or until the connection breaks.
    fn send(&mut self, mut muxer: Muxer, interrupt: &Interrupt) -> Result<()> {
        {
            let mut state = self.shared.lock();
            (state.is_connected, state.needs_key_frame) = (true, true);
            state.stats.connections += 1;
            if state.stats.connections > 1 {
                tracing::warn!(
                    target = self.target.display_name(),
                    dropped = state.stats.dropped,
                    "reconnected to the server"
                );
            }
            self.shared.changed.notify_all();
        }
        // Times start with 0 and never go back, across all connections.
        loop {
            let next = {
                let mut state = self.shared.lock();
                while state.queue.is_empty() && !state.is_ending {
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                let next = state.queue.pop_front();
                state.bytes -= next.as_ref().map_or(0, ff::Packet::size);
                self.shared.changed.notify_all();
                next
            };
            interrupt.set_timeout(self.options.timeout);
            let Some(mut packet) = next else {
                return muxer
                    .finish()
                    .map_err(|cause| self.target.failure("the end of the stream cannot be sent", cause));
            };
            let is_frame = packet.stream() == 0;
            if let Err(cause) = muxer.write(&mut packet) {
                // A broken connection cannot be closed regularly: the expired deadline lets FFmpeg free its data at once.
                interrupt.set_timeout(Duration::ZERO);
                let mut state = self.shared.lock();
                let waiting = state.queue.drain(..).filter(|packet| packet.stream() == 0).count() as u64;
                state.stats.dropped += waiting + u64::from(is_frame);
                (state.is_connected, state.bytes) = (false, 0);
                return Err(self.target.failure("the connection broke", cause));
            }
            if is_frame {
                self.failed_attempts = 0;
                self.shared.lock().stats.sent += 1;
            }
        }
    }

    /// Waits for the next attempt after a failure. Returns false if none is left, or the stream is ending.
    fn wait_for_retry(&mut self, cause: Error) -> bool {
        let BroadcastOptions { reconnect_attempts, backoff, alert_after, .. } = self.options;
        let mut state = self.shared.lock();
        if self.failed_attempts > 0 && self.failed_attempts == alert_after {
            state.stats.alerts += 1;
            tracing::error!(
                failed = self.failed_attempts,
                "ALERT: every attempt to reach the server failed: {}",
                cause.message
            );
        }
        if state.is_ending || self.failed_attempts >= reconnect_attempts {
            let what = match state.is_ending {
                true => "the server was unreachable at the end".to_owned(),
                false if reconnect_attempts == 0 => "gave up".to_owned(),
                false if reconnect_attempts == 1 => "gave up after 1 reconnect attempt".to_owned(),
                false => format!("gave up after {reconnect_attempts} reconnect attempts"),
            };
            let BroadcastStats { sent, dropped, .. } = state.stats;
            let text = format!("{}; {what}: {sent} frames were sent, {dropped} dropped", cause.message);
            state.failure = Some(Error { message: text, ..cause });
            self.shared.changed.notify_all();
            return false;
        }
        let wait = backoff.saturating_mul(1 << self.failed_attempts.min(20)).min(MAX_BACKOFF);
        self.failed_attempts += 1;
        tracing::warn!(
            failed = self.failed_attempts,
            "{}; frames are dropped; reconnecting in {:.1} s",
            cause.message,
            wait.as_secs_f64()
        );
        let until = Instant::now() + wait;
        while !state.is_ending && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.shared.changed.wait_timeout(state, left).map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
        true
    }
}
