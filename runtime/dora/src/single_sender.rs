//! Sender of one message at a time, with a record of the message being sent.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use dora_node_api::dora_core::config::DataId;

/// Sender shared by the threads of a process.
///
/// A node of dora sends one message at a time, so a message that waits for its readers blocks all other outputs, including
/// the progress of the sinks. A source would then report a sink that has long finished; the record of the message being sent
/// names the output that is the cause.
pub struct SingleSender<T> {
    sender: Mutex<T>,
    current: Mutex<Option<Current>>,
}

/// Message being sent.
struct Current {
    output: DataId,
    since: Instant,
    is_reported: bool,
}

impl<T> SingleSender<T> {
    /// Creates a sender.
    pub fn new(sender: T) -> Self {
        Self { sender: Mutex::new(sender), current: Mutex::default() }
    }

    /// Sends a message of `output` after those that are being sent.
    pub fn send<R>(&self, output: &DataId, send: impl FnOnce(&mut T) -> R) -> R {
        self.run(&mut self.sender.lock().unwrap_or_else(PoisonError::into_inner), output, send)
    }

    /// Sends a message of `output` unless another is being sent.
    pub fn try_send<R>(&self, output: &DataId, send: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut sender = self.sender.try_lock().ok()?;
        Some(self.run(&mut sender, output, send))
    }

    /// Returns the output whose message has been waiting for longer than `limit`, and the time, once for each message.
    pub fn take_overdue(&self, limit: Duration) -> Option<(DataId, Duration)> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = current.as_mut().filter(|current| !current.is_reported && current.since.elapsed() > limit)?;
        current.is_reported = true;
        Some((current.output.clone(), current.since.elapsed()))
    }

    fn run<R>(&self, sender: &mut T, output: &DataId, send: impl FnOnce(&mut T) -> R) -> R {
        let record = |current| *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
        record(Some(Current { output: output.clone(), since: Instant::now(), is_reported: false }));
        let result = send(sender);
        record(None);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_message_that_waits_for_its_readers_is_named_once() {
        let sender = SingleSender::new(());
        let (slow, fast) = (DataId::from("slow".to_owned()), DataId::from("fast".to_owned()));
        let (started, has_started) = channel();
        let (release, is_released) = channel();
        std::thread::scope(|scope| {
            let (sender, slow) = (&sender, &slow);
            scope.spawn(move || {
                sender.send(slow, |()| {
                    started.send(()).unwrap();
                    is_released.recv().unwrap();
                });
            });
            has_started.recv().unwrap();
            assert!(sender.try_send(&fast, |()| ()).is_none(), "one message at a time");
            assert!(sender.take_overdue(Duration::from_secs(60)).is_none(), "not yet");
            assert_eq!(sender.take_overdue(Duration::ZERO).unwrap().0, *slow);
            assert!(sender.take_overdue(Duration::ZERO).is_none(), "reported before");
            release.send(()).unwrap();
        });
        assert!(sender.take_overdue(Duration::ZERO).is_none(), "nothing is being sent");
        assert!(sender.try_send(&fast, |()| ()).is_some());
    }
}
