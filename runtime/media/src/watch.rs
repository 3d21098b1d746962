//! What FFmpeg asks while it waits on the network: whether to give up.

use std::{
    ffi::{c_int, c_void},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ffmpeg_next::ffi;

/// How long a wait may last, and whether the run is to end. FFmpeg knows it by its address: keep the `Arc` until the input or
/// output that asks it is closed.
pub(crate) struct Watch {
    began: Instant,
    /// Milliseconds after `began` at which patience ends.
    until: AtomicU64,
    stop: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Watch {
    /// One that waits for as long as it takes, until something else is allowed.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), until: AtomicU64::new(u64::MAX), stop: None })
    }

    /// One that also gives up once the run is to end.
    pub fn heeding(stop: Arc<dyn Fn() -> bool + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), until: AtomicU64::new(u64::MAX), stop: Some(stop) })
    }

    /// From now on so long.
    pub fn allow(&self, limit: Duration) {
        self.until.store((self.began.elapsed() + limit).as_millis() as u64, Ordering::Relaxed);
    }

    /// True once the run is to end.
    pub fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop())
    }

    /// True once patience has ended.
    pub fn late(&self) -> bool {
        self.began.elapsed().as_millis() as u64 > self.until.load(Ordering::Relaxed)
    }

    /// As FFmpeg takes it.
    pub fn callback(self: &Arc<Self>) -> ffi::AVIOInterruptCB {
        ffi::AVIOInterruptCB { callback: Some(interrupted), opaque: Arc::as_ptr(self).cast_mut().cast() }
    }
}

/// FFmpeg's question whether to give up: not 0 for yes.
extern "C" fn interrupted(watch: *mut c_void) -> c_int {
    // SAFETY: only `Watch::callback` gives this address to FFmpeg, and whoever called it keeps the `Arc` for longer.
    let watch = unsafe { &*watch.cast_const().cast::<Watch>() };
    (watch.late() || watch.stopped()).into()
}
