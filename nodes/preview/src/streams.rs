//! The newest frame of every stream, and its JPEG for the viewers.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use sideline_api::{Frame, Header, Result, StreamName};
use sideline_media::{Size, jpeg::JpegEncoder};

/// Live settings of the preview.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewSettings {
    /// Maximum rate of pictures for each viewer, per second.
    pub max_fps: f64,
    /// JPEG quality, 1 to 100.
    pub quality: u32,
    /// Maximum width of a picture, in pixels.
    pub max_width: u32,
}

/// All streams of the run.
pub struct Streams {
    streams: RwLock<Vec<Arc<Stream>>>,
    settings: Mutex<ViewSettings>,
    /// True after the end of the run.
    is_over: AtomicBool,
}

/// One stream of the preview.
pub struct Stream {
    /// Name of the stream in addresses.
    pub name: String,
    /// Name of the stream in the run.
    stream: StreamName,
    newest: Mutex<Option<NewestFrame>>,
    /// Notified of a new frame and of the end of the run.
    updated: Condvar,
    encoded: Mutex<Option<EncodedFrame>>,
    viewers: AtomicUsize,
}

struct NewestFrame {
    frame: Arc<Frame>,
    /// Number of the frame in this preview, from 1.
    number: u64,
    status: StreamStatus,
    /// Time of arrival, nanoseconds since 1970.
    arrived_at_ns: i64,
    /// Smoothed time between frames, in nanoseconds.
    interval_ns: f64,
}

/// The last JPEG, with the frame number, settings and encoder that it was made with.
struct EncodedFrame {
    number: u64,
    jpeg: Arc<[u8]>,
    settings: ViewSettings,
    encoder: JpegEncoder,
}

/// Status of a stream, as `/status` reports it.
#[derive(Clone, Debug, Serialize)]
pub struct StreamStatus {
    /// Name of the stream.
    pub name: String,
    /// Number of the newest frame.
    pub frame: u64,
    /// Media time of the newest frame, in seconds.
    #[serde(rename = "seconds")]
    pub media_time_s: f64,
    /// Width of the frame in pixels.
    pub width: u32,
    /// Height of the frame in pixels.
    pub height: u32,
    /// Rate of the frames that reach the preview, per second.
    pub fps: f64,
    /// Latency of the newest frame from capture to the preview, in milliseconds.
    pub latency_ms: f64,
    /// Number of frames that the source has dropped so far.
    #[serde(rename = "forgotten")]
    pub dropped: u64,
    /// Number of viewers.
    #[serde(rename = "watching")]
    pub viewers: usize,
    /// True after the end of the stream.
    #[serde(rename = "ended")]
    pub has_ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streams {
    /// Creates an empty list of streams.
    pub fn new(settings: ViewSettings) -> Self {
        Streams { streams: RwLock::default(), settings: Mutex::new(settings), is_over: AtomicBool::new(false) }
    }

    /// Makes a frame the newest of a stream, without copying or encoding it. `now_ns` is the wall clock, in
    /// nanoseconds since 1970.
    pub fn publish(&self, name: &str, header: &Header, frame: &Arc<Frame>, now_ns: i64) {
        let stream = self.get(name).unwrap_or_else(|| {
            let stream = Arc::new(Stream::new(name, &header.stream));
            self.streams.write().unwrap_or_else(PoisonError::into_inner).push(stream.clone());
            stream
        });
        let mut newest = lock(&stream.newest);
        let interval_ns = newest.as_ref().map_or(0.0, |previous| {
            let since_ns = (now_ns - previous.arrived_at_ns).max(0) as f64;
            // Exponential smoothing over about ten frames.
            match previous.interval_ns > 0.0 {
                true => previous.interval_ns + 0.1 * (since_ns - previous.interval_ns),
                false => since_ns,
            }
        });
        let status = StreamStatus {
            name: name.into(),
            frame: header.frame,
            media_time_s: header.pts as f64 * 1e-9,
            width: frame.width(),
            height: frame.height(),
            fps: if interval_ns > 0.0 { 1e9 / interval_ns } else { 0.0 },
            latency_ms: (now_ns - header.captured_at) as f64 * 1e-6,
            dropped: header.dropped,
            viewers: 0,
            has_ended: false,
        };
        let number = newest.as_ref().map_or(1, |previous| previous.number + 1);
        *newest = Some(NewestFrame { frame: frame.clone(), number, status, arrived_at_ns: now_ns, interval_ns });
        drop(newest);
        stream.updated.notify_all();
    }

    /// Marks a stream as ended; its last frame stays available.
    pub fn mark_ended(&self, stream: &str) {
        for ended in self.all().iter().filter(|listed| &*listed.stream == stream) {
            if let Some(newest) = &mut *lock(&ended.newest) {
                newest.status.has_ended = true;
            }
        }
    }

    /// Returns all streams, in the order of their first frames.
    pub fn all(&self) -> Vec<Arc<Stream>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the stream of a name.
    pub fn get(&self, name: &str) -> Option<Arc<Stream>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).iter().find(|stream| stream.name == name).cloned()
    }

    /// Returns the current live settings.
    pub fn settings(&self) -> ViewSettings {
        *lock(&self.settings)
    }

    /// Replaces the live settings.
    pub fn set_settings(&self, settings: ViewSettings) {
        *lock(&self.settings) = settings;
    }

    /// Marks the end of the run and wakes all threads that wait for a frame.
    pub fn finish(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        for stream in self.all() {
            // A thread that has checked `is_over` but does not wait yet holds this lock. After taking it once, the
            // notification reaches that thread too.
            drop(lock(&stream.newest));
            stream.updated.notify_all();
        }
    }

    /// Returns true after the end of the run.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Waits for a frame with a number above `last_number`, and for at least `min_pause`. Returns false at the end of
    /// the run.
    pub fn wait_for_frame(&self, stream: &Stream, last_number: u64, min_pause: Duration) -> bool {
        let lacks_new_frame = |newest: &mut Option<NewestFrame>| {
            !self.is_over() && newest.as_ref().is_none_or(|newest| newest.number <= last_number)
        };
        let newest = lock(&stream.newest);
        // New frames wake the thread during the pause as well; only the end of the run may shorten the pause.
        let (newest, _) = stream
            .updated
            .wait_timeout_while(newest, min_pause, |_| !self.is_over())
            .unwrap_or_else(PoisonError::into_inner);
        let newest = stream.updated.wait_while(newest, lacks_new_frame).unwrap_or_else(PoisonError::into_inner);
        drop(newest);
        !self.is_over()
    }
}

impl Stream {
    fn new(name: &str, stream: &StreamName) -> Self {
        Stream {
            name: name.into(),
            stream: stream.clone(),
            newest: Mutex::default(),
            updated: Condvar::new(),
            encoded: Mutex::default(),
            viewers: AtomicUsize::new(0),
        }
    }

    /// Returns the status of the stream; `None` before its first frame.
    pub fn status(&self) -> Option<StreamStatus> {
        let mut status = lock(&self.newest).as_ref()?.status.clone();
        status.viewers = self.viewers.load(Ordering::Relaxed);
        Some(status)
    }

    /// Counts one more viewer until the returned guard is dropped.
    pub fn add_viewer(self: &Arc<Self>) -> ViewerGuard {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        ViewerGuard(self.clone())
    }

    /// Returns the newest frame as a JPEG with its number; `None` before the first frame. A frame is encoded once for
    /// each combination of settings, which takes milliseconds.
    ///
    /// # Errors
    /// When the frame cannot be encoded.
    pub fn jpeg(&self, settings: ViewSettings) -> Result<Option<(u64, Arc<[u8]>)>> {
        let mut encoded = lock(&self.encoded);
        let (number, frame) = {
            let newest = lock(&self.newest);
            let Some(newest) = &*newest else { return Ok(None) };
            (newest.number, newest.frame.clone())
        };
        let size = (frame.width() > settings.max_width).then(|| {
            let (width, height) = (u64::from(frame.width()), u64::from(frame.height()));
            Size::Height(((height * u64::from(settings.max_width) / width).max(2)) as u32)
        });
        match &mut *encoded {
            Some(encoded) if encoded.number == number && encoded.settings == settings => {}
            Some(encoded) if encoded.settings.quality == settings.quality => {
                encoded.jpeg = encoded.encoder.encode(&frame, size)?.into();
                (encoded.number, encoded.settings) = (number, settings);
            }
            _ => {
                let mut encoder = JpegEncoder::new(settings.quality);
                let jpeg = encoder.encode(&frame, size)?.into();
                *encoded = Some(EncodedFrame { number, jpeg, settings, encoder });
            }
        }
        Ok(encoded.as_ref().map(|encoded| (encoded.number, encoded.jpeg.clone())))
    }
}

/// Counts a viewer of a stream for as long as it exists.
pub struct ViewerGuard(Arc<Stream>);

impl Drop for ViewerGuard {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}
