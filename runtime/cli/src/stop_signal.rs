//! Stop signals: SIGINT (Ctrl-C), SIGTERM, and SIGHUP (a closed terminal). The first one stops the current run gracefully; the
//! same signal a second time ends the process. SIGQUIT (Ctrl-\) and others keep their default action.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sideline_api::{Failure, OrFail, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// A flag that is set by the first stop signal.
#[derive(Clone, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Installs the signal handlers.
    ///
    /// # Errors
    /// If they cannot be installed.
    pub fn listen() -> Result<Self> {
        let handled = [SIGINT, SIGTERM].into_iter().chain((!is_ignored(SIGHUP)).then_some(SIGHUP));
        let mut signals = Signals::new(handled).or_fail(Failure::Other, || "signals")?;
        let stop = StopSignal::default();
        let handler = {
            let stop = stop.clone();
            move || {
                let mut received = BTreeSet::new();
                for signal in signals.forever() {
                    stop.0.store(true, Ordering::SeqCst);
                    // The shell and the kernel each send SIGHUP when a terminal is closed, so two of them are one request.
                    if !received.insert(signal) && signal != SIGHUP {
                        std::process::exit(128 + signal);
                    }
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(handler).or_fail(Failure::Other, || "signals")?;
        Ok(stop)
    }

    /// True once a stop signal was received.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns the flag for the engine, which stops a run gracefully when it is set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// True for a signal that was set to be ignored when the process was started, as by `nohup`.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
