//! Log of a plugin: events of `tracing` in its code go to the log of the host.
//!
//! A library has a `tracing` of its own, which the host's subscriber does not see.

use std::{cell::Cell, fmt::Write as _, sync::Once};

use sideline_abi as abi;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

thread_local! {
    /// Host of the operator that runs on this thread; null outside of calls, when its context may be gone.
    static HOST: Cell<*const abi::Host> = const { Cell::new(std::ptr::null()) };
}

/// Runs `f`; events that it emits on this thread go to the host.
pub fn with_host<T>(host: &abi::Host, f: impl FnOnce() -> T) -> T {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // An error means that this copy of `tracing` has a subscriber: that of the program which the operator is linked into.
        let _ = tracing::subscriber::set_global_default(HostLog);
    });
    /// Restores the former host, also when `f` unwinds.
    struct Restore(*const abi::Host);
    impl Drop for Restore {
        fn drop(&mut self) {
            HOST.set(self.0);
        }
    }
    let _restore = Restore(HOST.replace(host));
    f()
}

/// Subscriber that forwards events to the host of the thread.
struct HostLog;

/// Text of an event: its message, then its fields.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl Subscriber for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        // Taken while the host logs, whose own events would come here where it shares this copy of `tracing`.
        let current = HOST.replace(std::ptr::null());
        // SAFETY: the host is that of a call that runs on this thread.
        let Some(host) = (unsafe { current.as_ref() }) else { return };
        let level = match *event.metadata().level() {
            Level::ERROR => abi::LOG_ERROR,
            Level::WARN => abi::LOG_WARN,
            Level::INFO => abi::LOG_INFO,
            Level::DEBUG | Level::TRACE => abi::LOG_DEBUG,
        };
        let mut line = Line::default();
        event.record(&mut line);
        // SAFETY: the host copies the text during the call.
        unsafe { (host.log)(host.context, level, abi::Text::new(line.0.trim_start())) };
        HOST.set(current);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[cfg(all(test, feature = "load"))]
mod tests {
    use std::{ffi::c_void, sync::Mutex};

    use super::*;

    static LINES: Mutex<Vec<(u32, String)>> = Mutex::new(Vec::new());

    unsafe extern "C" fn log(_: *mut c_void, level: u32, message: abi::Text) {
        // SAFETY: the text is valid during the call.
        let text = String::from_utf8_lossy(unsafe { message.bytes() }).into_owned();
        LINES.lock().unwrap().push((level, text));
    }

    #[test]
    fn events_of_a_call_go_to_its_host_and_others_nowhere() {
        let host = abi::Host { log, ..crate::load::host_without_context() };
        with_host(&host, || {
            tracing::warn!(frame = 3, name = "left", "late");
            tracing::trace!("too fine");
        });
        tracing::error!("outside of a call");
        assert_eq!(*LINES.lock().unwrap(), [(abi::LOG_WARN, "late frame=3 name=left".to_owned())]);
    }
}
