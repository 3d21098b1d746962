//! Interrupt callback of FFmpeg's network I/O: ends a wait at a deadline, or when the run stops.

use std::{
    ffi::{c_int, c_void},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ffmpeg_next::ffi;

/// A deadline and a stop condition. FFmpeg holds its address: keep the `Arc` until the input or output that uses it is
/// closed.
pub(crate) struct Interrupt {
    began: Instant,
    /// Deadline, milliseconds after `began`.
    deadline_ms: AtomicU64,
    stop: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Interrupt {
    /// Creates an interrupt without a deadline.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), deadline_ms: AtomicU64::new(u64::MAX), stop: None })
    }

    /// Creates an interrupt without a deadline that also ends waits once `stop` returns true.
    pub fn with_stop(stop: Arc<dyn Fn() -> bool + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), deadline_ms: AtomicU64::new(u64::MAX), stop: Some(stop) })
    }

    /// Sets the deadline to `limit` from now.
    pub fn set_timeout(&self, limit: Duration) {
        self.deadline_ms.store((self.began.elapsed() + limit).as_millis() as u64, Ordering::Relaxed);
    }

    /// True once the run is stopping.
    pub fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop())
    }

    /// True once the deadline has passed.
    pub fn is_timed_out(&self) -> bool {
        self.began.elapsed().as_millis() as u64 > self.deadline_ms.load(Ordering::Relaxed)
    }

    /// Returns the callback in FFmpeg's form.
    pub fn callback(self: &Arc<Self>) -> ffi::AVIOInterruptCB {
        ffi::AVIOInterruptCB { callback: Some(interrupted), opaque: Arc::as_ptr(self).cast_mut().cast() }
    }
}

/// FFmpeg's callback: returns nonzero to end a wait.
extern "C" fn interrupted(interrupt: *mut c_void) -> c_int {
    // SAFETY: only `Interrupt::callback` gives this address to FFmpeg, and its caller keeps the `Arc` alive for longer.
    let interrupt = unsafe { &*interrupt.cast_const().cast::<Interrupt>() };
    (interrupt.is_timed_out() || interrupt.is_stopped()).into()
}
