//! Signals that ask for an end: Ctrl-C, a polite kill, a terminal that is closed. The first ends the run at hand in order, the
//! same one a second time ends the process. Ctrl-\ and the like keep their meaning: an end at once.

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

/// True once the process was asked to end.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Self> {
        let heeded = [SIGINT, SIGTERM].into_iter().chain((!is_ignored(SIGHUP)).then_some(SIGHUP));
        let mut signals = Signals::new(heeded).or_fail(Failure::Other, || "signals")?;
        let stop = Stop::default();
        let handler = {
            let stop = stop.clone();
            move || {
                let mut came = BTreeSet::new();
                for signal in signals.forever() {
                    stop.0.store(true, Ordering::SeqCst);
                    // Shell and system both tell of a closed terminal: that is one wish, not two.
                    if !came.insert(signal) && signal != SIGHUP {
                        std::process::exit(128 + signal);
                    }
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(handler).or_fail(Failure::Other, || "signals")?;
        Ok(stop)
    }

    /// True once a signal has come: nothing new is begun.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, for the engine: a run that sees it set ends in order.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// True for a signal that whoever started the process has it ignore, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
