//! A video to an RTMP server: encoded where frames come, sent by a thread of its own, which connects again when the line breaks.
//!
//! Frames that cannot be sent are not encoded: they are counted as dropped, and nobody waits for them. So no packet refers
//! to one that never left, and what waits is bounded in bytes.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ffmpeg_next as ff;
use sideline_api::{Color, Error, Failure, OrFail, Result, address};

use super::{Clock, EncodeOptions, Muxer, SoundTrack, Target, VideoTrack, refused, sound_track, tracks};
use crate::{SoundFormat, watch::Watch};

/// The longest wait between two tries to connect.
const LONGEST: Duration = Duration::from_secs(60);

/// How a server is written to.
#[derive(Clone, Copy, Debug)]
pub struct BroadcastOptions {
    /// How long connecting, and each write, may take.
    pub timeout: Duration,
    /// Bytes of encoded video that may wait for the line.
    pub buffer: usize,
    /// Tries to connect again, in a row, before it is given up.
    pub tries: u32,
    /// Wait before the first of them; doubled for each that follows, to at most a minute.
    pub backoff: Duration,
    /// Failed tries in a row that raise an alert.
    pub alert: u32,
    /// Waits for the line instead of dropping frames: for a run that is not live.
    pub patient: bool,
}

/// What became of the frames that were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames that the server took.
    pub sent: u64,
    /// Frames that it did not: the line was down, or slower than the stream.
    pub dropped: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Times that so many tries in a row failed that somebody should look.
    pub alerts: u64,
}

/// What the two threads share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: VecDeque<ff::Packet>,
    /// Bytes in `queue`.
    bytes: usize,
    /// True while packets are sent.
    up: bool,
    /// The next frame is the first of a connection.
    fresh: bool,
    /// Nothing more comes: what waits is sent, then the line is closed.
    ending: bool,
    /// No try is left.
    lost: Option<Error>,
    sent: Sent,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the [module](self).
pub struct Broadcast {
    target: Target,
    video: VideoTrack,
    sound: Option<SoundTrack>,
    options: BroadcastOptions,
    clock: Clock,
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    /// Media time of the first frame, ns: a server's stream begins at 0.
    zero: Option<i64>,
}

impl Broadcast {
    /// Starts to connect, for frames of `width` x `height` pixels.
    ///
    /// # Errors
    /// As [`super::Encoder::open`]; that nobody is there is no error yet.
    pub fn start(
        target: Target,
        width: u32,
        height: u32,
        encode: &EncodeOptions,
        options: BroadcastOptions,
    ) -> Result<Self> {
        let video = VideoTrack::open(width, height, encode).map_err(|e| e.at(target.shown()))?;
        let sound = sound_track(&target, encode.sound)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                up: false,
                fresh: true,
                ending: false,
                lost: None,
                sent: Sent::default(),
            }),
            changed: Condvar::new(),
        });
        let tracks = tracks(&video, sound.as_ref());
        let work = {
            let sender = Sender { target: target.clone(), options, shared: shared.clone(), failed: 0 };
            move || sender.run(&tracks)
        };
        let sender = std::thread::Builder::new()
            .name("rtmp".into())
            .spawn(work)
            .or_fail(Failure::Other, || "the thread that sends the video")?;
        let clock = Clock::new(encode.fps);
        Ok(Self { target, video, sound, options, clock, shared, sender: Some(sender), zero: None })
    }

    /// Width and height of the frames that it takes.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.video.size();
        (width as u32, height as u32)
    }

    /// The meaning of its frames' pixel values.
    pub fn color(&self) -> Option<Color> {
        self.video.color()
    }

    /// The sound that it takes.
    pub fn sound(&self) -> Option<SoundFormat> {
        self.sound.as_ref().map(|sound| sound.format)
    }

    /// What became of the frames so far.
    pub fn sent(&self) -> Sent {
        self.shared.lock().sent
    }

    /// From the next frame on another mean of bits a second.
    pub fn set_bitrate(&mut self, bits: usize) {
        self.video.set_bitrate(bits);
    }

    /// Sends a frame of three planes, each with the distance between its rows in bytes, to be shown at `pts` nanoseconds; or
    /// drops it, when the line is down or full.
    ///
    /// # Errors
    /// `Output` once the server is given up; `Other` when a plane is too short or time goes back.
    pub fn write_planes(&mut self, planes: [(&[u8], usize); 3], pts: i64) -> Result<()> {
        let zero = *self.zero.get_or_insert(pts);
        let ticks = self.clock.place(pts - zero).map_err(|e| e.at(self.target.shown()))?;
        let key = {
            let mut state = self.shared.lock();
            let full = |state: &State| !state.up || state.bytes >= self.options.buffer;
            while self.options.patient && full(&state) && state.lost.is_none() {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(lost) = &state.lost {
                return Err(lost.clone());
            }
            if full(&state) {
                state.sent.dropped += 1;
                return Ok(());
            }
            std::mem::take(&mut state.fresh)
        };
        self.video.send(planes, ticks, key).map_err(|cause| refused(&self.target, self.video.size(), cause))?;
        self.clock.last = Some((pts - zero, ticks));
        if let Some(sound) = &mut self.sound {
            sound.begin(pts - zero);
        }
        self.drain();
        Ok(())
    }

    /// Sends sound, as [`super::Encoder::write_sound`]; what is heard while the line is down is dropped.
    ///
    /// # Errors
    /// `Output` when it cannot be encoded.
    pub fn write_sound(&mut self, start: i64, samples: &[f32]) -> Result<()> {
        let (Some(sound), Some(zero)) = (self.sound.as_mut(), self.zero) else { return Ok(()) };
        let shared = &self.shared;
        let mut put = |packet: &mut ff::Packet| {
            offer(shared, packet);
            Ok(())
        };
        sound
            .write(&mut put, start - zero, samples)
            .map_err(|cause| self.target.failure("sound cannot be encoded", cause))
    }

    /// Hands what the encoder has ready to the sender.
    fn drain(&mut self) {
        let mut packet = ff::Packet::empty();
        while self.video.receive(&mut packet) {
            packet.set_stream(0);
            packet.set_duration(self.clock.interval);
            offer(&self.shared, &mut packet);
        }
    }

    /// Sends what waits, and ends the stream: what became of its frames, and `Output` when the server was away at the end.
    pub fn finish(mut self) -> (Sent, Result<()>) {
        self.close();
        let state = self.shared.lock();
        (state.sent, state.lost.clone().map_or(Ok(()), Err))
    }

    fn close(&mut self) {
        let Some(sender) = self.sender.take() else { return };
        // An encoder that cannot be ended has nothing left.
        let _ = self.video.finish();
        self.drain();
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
        // It ends within its timeout; a panic in it is told by its message.
        let _ = sender.join();
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.close();
    }
}

/// Puts a packet into the queue, while there is a line.
fn offer(shared: &Shared, packet: &mut ff::Packet) {
    let mut state = shared.lock();
    if state.up {
        state.bytes += packet.size();
        state.queue.push_back(std::mem::replace(packet, ff::Packet::empty()));
        shared.changed.notify_all();
    } else if packet.stream() == 0 {
        state.sent.dropped += 1;
    }
}

/// The thread that holds the connection.
struct Sender {
    target: Target,
    options: BroadcastOptions,
    shared: Arc<Shared>,
    /// Tries that failed in a row.
    failed: u32,
}

impl Sender {
    fn run(mut self, tracks: &super::Tracks) {
        loop {
            let watch = Watch::new();
            watch.allow(self.options.timeout);
            let broken = match Muxer::open(&self.target, tracks, watch.clone()) {
                Ok(muxer) => match self.send(muxer, &watch) {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Err(error) => self.explained(error),
            };
            if !self.wait(broken) {
                return;
            }
        }
    }

    /// The failure to connect, with its cause where that is the server's certificate. It will not be another one at the next
    /// attempt, so there is none.
    fn explained(&mut self, error: Error) -> Error {
        let Target::Rtmp(server) = &self.target else { return error };
        let watch = Watch::new();
        watch.allow(self.options.timeout);
        let Some(host) = server.trust.refuses(server.address.resolved(), &watch) else { return error };
        if self.shared.lock().sent.connections == 0 {
            self.options.tries = 0;
        }
        let name = self.target.shown();
        let what = server.trust.refusal(address::told_host(&host, &name));
        Error { message: format!("{name}: {what}"), ..error }
    }

    /// Sends until the end, or until the line breaks.
    fn send(&mut self, mut muxer: Muxer, watch: &Watch) -> Result<()> {
        {
            let mut state = self.shared.lock();
            (state.up, state.fresh) = (true, true);
            state.sent.connections += 1;
            if state.sent.connections > 1 {
                tracing::warn!(target = self.target.shown(), dropped = state.sent.dropped, "the server is back");
            }
            self.shared.changed.notify_all();
        }
        // Times on the line begin with 0 and never go back, whatever the connection.
        loop {
            let next = {
                let mut state = self.shared.lock();
                while state.queue.is_empty() && !state.ending {
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                let next = state.queue.pop_front();
                state.bytes -= next.as_ref().map_or(0, ff::Packet::size);
                self.shared.changed.notify_all();
                next
            };
            watch.allow(self.options.timeout);
            let Some(mut packet) = next else {
                return muxer.finish().map_err(|cause| self.target.failure("the end cannot be sent", cause));
            };
            let is_frame = packet.stream() == 0;
            if let Err(cause) = muxer.put(&mut packet) {
                // Nothing can be ended over a broken line; what FFmpeg holds is freed with it.
                watch.allow(Duration::ZERO);
                let mut state = self.shared.lock();
                let waiting = state.queue.drain(..).filter(|packet| packet.stream() == 0).count() as u64;
                state.sent.dropped += waiting + u64::from(is_frame);
                (state.up, state.bytes) = (false, 0);
                return Err(self.target.failure("the connection broke", cause));
            }
            if is_frame {
                self.failed = 0;
                self.shared.lock().sent.sent += 1;
            }
        }
    }

    /// After a failure: waits for the next try. False: there is none, or none is wanted.
    fn wait(&mut self, why: Error) -> bool {
        let BroadcastOptions { tries, backoff, alert, .. } = self.options;
        let mut state = self.shared.lock();
        if self.failed > 0 && self.failed == alert {
            state.sent.alerts += 1;
            tracing::error!(failed = self.failed, "ALERT: every try to reach the server failed: {}", why.message);
        }
        if state.ending || self.failed >= tries {
            let what = match state.ending {
                true => "the server was away at the end".to_owned(),
                false if tries == 0 => "given up".to_owned(),
                false => format!("given up after {tries} more tries"),
            };
            let Sent { sent, dropped, .. } = state.sent;
            let text = format!("{}; {what}: {sent} frames were sent, {dropped} dropped", why.message);
            state.lost = Some(Error { message: text, ..why });
            self.shared.changed.notify_all();
            return false;
        }
        let wait = backoff.saturating_mul(1 << self.failed.min(20)).min(LONGEST);
        self.failed += 1;
        tracing::warn!(
            failed = self.failed,
            "{}; frames are dropped, tried again in {:.1} s",
            why.message,
            wait.as_secs_f64()
        );
        let until = Instant::now() + wait;
        while !state.ending && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.shared.changed.wait_timeout(state, left).map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
        true
    }
}
