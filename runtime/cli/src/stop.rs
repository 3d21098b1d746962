//! Ctrl-C and a polite kill: the first one ends the run at hand in order, a second one the process.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use sideline_api::{Failure, OrFail, Result};
use sideline_engine::Running;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

/// What the signals of this process end.
#[derive(Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Default)]
struct Inner {
    asked: AtomicBool,
    running: Mutex<Weak<Running>>,
}

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).or_fail(Failure::Other, || "signals")?;
        let stop = Stop::default();
        let handler = {
            let stop = stop.clone();
            move || {
                for _ in signals.forever() {
                    if stop.0.asked.swap(true, Ordering::SeqCst) {
                        std::process::exit(130);
                    }
                    if let Some(running) = stop.running() {
                        running.stop();
                    }
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(handler).or_fail(Failure::Other, || "signals")?;
        Ok(stop)
    }

    /// True once a signal has come: nothing new is begun.
    pub fn asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// This is the run at hand. A signal that came while it was made ends it too.
    pub fn ends(&self, running: &Arc<Running>) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(running);
        if self.asked() {
            running.stop();
        }
    }

    fn running(&self) -> Option<Arc<Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }
}
