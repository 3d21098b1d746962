//! The newest frame of every stream, and the JPEG of it for those who watch.

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

/// How pictures are made: the keys that may change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Most pictures a second for each who watches.
    pub fps: f64,
    /// 1 to 100.
    pub quality: u32,
    /// Most pixels in a row.
    pub width: u32,
}

/// The pictures of all streams.
pub struct Pictures {
    all: RwLock<Vec<Arc<Picture>>>,
    look: Mutex<Look>,
    /// The run is over.
    over: AtomicBool,
}

/// The pictures of one stream.
pub struct Picture {
    /// Its name, as in addresses.
    pub name: String,
    stream: StreamName,
    newest: Mutex<Option<Newest>>,
    /// A frame has come, or none will.
    news: Condvar,
    made: Mutex<Option<Made>>,
    watching: AtomicUsize,
}

struct Newest {
    frame: Arc<Frame>,
    /// Counted here, from 1.
    number: u64,
    status: PictureStatus,
    /// When it came, nanoseconds since 1970.
    at: i64,
    /// Smoothed time between frames, nanoseconds.
    interval: f64,
}

/// The last JPEG that was made, and what made it.
struct Made {
    number: u64,
    jpeg: Arc<[u8]>,
    look: Look,
    encoder: JpegEncoder,
}

/// What is known of a stream.
#[derive(Clone, Debug, Serialize)]
pub struct PictureStatus {
    /// Its name.
    pub name: String,
    /// Number of the newest frame.
    pub frame: u64,
    /// Its time in the video, seconds.
    pub seconds: f64,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Frames a second that reach the preview.
    pub fps: f64,
    /// From capture to the preview, of the newest frame.
    pub latency_ms: f64,
    /// Frames that the source has forgotten so far.
    pub forgotten: u64,
    /// How many watch it.
    pub watching: usize,
    /// The stream has ended.
    pub ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pictures {
    /// Nothing has come yet.
    pub fn new(look: Look) -> Self {
        Pictures { all: RwLock::default(), look: Mutex::new(look), over: AtomicBool::new(false) }
    }

    /// Puts a frame where viewers find it: `now` is the wall clock, nanoseconds since 1970. Nothing is copied or encoded.
    pub fn put(&self, name: &str, header: &Header, frame: &Arc<Frame>, now: i64) {
        let picture = self.get(name).unwrap_or_else(|| {
            let picture = Arc::new(Picture::new(name, &header.stream));
            self.all.write().unwrap_or_else(PoisonError::into_inner).push(picture.clone());
            picture
        });
        let mut newest = lock(&picture.newest);
        let interval = newest.as_ref().map_or(0.0, |before| {
            let since = (now - before.at).max(0) as f64;
            // Over about the last ten frames.
            if before.interval > 0.0 { before.interval + 0.1 * (since - before.interval) } else { since }
        });
        let status = PictureStatus {
            name: name.into(),
            frame: header.frame,
            seconds: header.pts as f64 * 1e-9,
            width: frame.width(),
            height: frame.height(),
            fps: if interval > 0.0 { 1e9 / interval } else { 0.0 },
            latency_ms: (now - header.captured) as f64 * 1e-6,
            forgotten: header.forgotten,
            watching: 0,
            ended: false,
        };
        let number = newest.as_ref().map_or(1, |before| before.number + 1);
        *newest = Some(Newest { frame: frame.clone(), number, status, at: now, interval });
        drop(newest);
        picture.news.notify_all();
    }

    /// The stream has ended; its last frame stays.
    pub fn ended(&self, stream: &str) {
        for picture in self.all().iter().filter(|picture| &*picture.stream == stream) {
            if let Some(newest) = &mut *lock(&picture.newest) {
                newest.status.ended = true;
            }
        }
    }

    /// Every stream, in the order of their first frames.
    pub fn all(&self) -> Vec<Arc<Picture>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The stream of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Picture>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).iter().find(|picture| picture.name == name).cloned()
    }

    /// How pictures are made now.
    pub fn look(&self) -> Look {
        *lock(&self.look)
    }

    /// Makes the next pictures otherwise.
    pub fn set_look(&self, look: Look) {
        *lock(&self.look) = look;
    }

    /// Nothing more comes: who waits for a frame is told.
    pub fn finish(&self) {
        self.over.store(true, Ordering::SeqCst);
        for picture in self.all() {
            // Taken for a moment: who has just looked and is about to wait is waiting then, and hears it.
            drop(lock(&picture.newest));
            picture.news.notify_all();
        }
    }

    /// True when the run is over.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Waits for a frame of a stream after number `seen`, and at least for `pause`; false when the run is over.
    pub fn wait(&self, picture: &Picture, seen: u64, pause: Duration) -> bool {
        let waits =
            |newest: &mut Option<Newest>| !self.is_over() && newest.as_ref().is_none_or(|newest| newest.number <= seen);
        let newest = lock(&picture.newest);
        // Frames that come meanwhile wake it too early: it is the end alone that may cut the pause short.
        let (newest, _) =
            picture.news.wait_timeout_while(newest, pause, |_| !self.is_over()).unwrap_or_else(PoisonError::into_inner);
        let newest = picture.news.wait_while(newest, waits).unwrap_or_else(PoisonError::into_inner);
        drop(newest);
        !self.is_over()
    }
}

impl Picture {
    fn new(name: &str, stream: &StreamName) -> Self {
        Picture {
            name: name.into(),
            stream: stream.clone(),
            newest: Mutex::default(),
            news: Condvar::new(),
            made: Mutex::default(),
            watching: AtomicUsize::new(0),
        }
    }

    /// What is known of it.
    pub fn status(&self) -> Option<PictureStatus> {
        let mut status = lock(&self.newest).as_ref()?.status.clone();
        status.watching = self.watching.load(Ordering::Relaxed);
        Some(status)
    }

    /// One more watches until what is returned is dropped.
    pub fn watch(self: &Arc<Self>) -> Watching {
        self.watching.fetch_add(1, Ordering::Relaxed);
        Watching(self.clone())
    }

    /// The newest frame as a JPEG, and its number; it is made where nobody asked for it before. Takes milliseconds.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn jpeg(&self, look: Look) -> Result<Option<(u64, Arc<[u8]>)>> {
        let mut made = lock(&self.made);
        let (number, frame) = {
            let newest = lock(&self.newest);
            let Some(newest) = &*newest else { return Ok(None) };
            (newest.number, newest.frame.clone())
        };
        let size = (frame.width() > look.width).then(|| {
            let (width, height) = (u64::from(frame.width()), u64::from(frame.height()));
            Size::Height(((height * u64::from(look.width) / width).max(2)) as u32)
        });
        match &mut *made {
            Some(made) if made.number == number && made.look == look => {}
            Some(made) if made.look.quality == look.quality => {
                made.jpeg = made.encoder.encode(&frame, size)?.into();
                (made.number, made.look) = (number, look);
            }
            _ => {
                let mut encoder = JpegEncoder::new(look.quality);
                let jpeg = encoder.encode(&frame, size)?.into();
                *made = Some(Made { number, jpeg, look, encoder });
            }
        }
        Ok(made.as_ref().map(|made| (made.number, made.jpeg.clone())))
    }
}

/// Somebody who watches.
pub struct Watching(Arc<Picture>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watching.fetch_sub(1, Ordering::Relaxed);
    }
}
