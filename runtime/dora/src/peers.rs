//! Monitoring of the peers, which are the other processes that send to this one: silent peers are named, and a peer
//! that stays silent for too long counts as gone.

use std::time::{Duration, Instant};

/// Time without a message after which a peer is named as silent: four times the interval of heartbeats.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Process that sends to this one.
struct Peer {
    /// Id of the node.
    node: String,
    /// Time of the last message; `None` before the first one, while the process may load models.
    last_message: Option<Instant>,
    /// Number of inputs from this peer that have not closed.
    open_inputs: usize,
}

/// Peers of this process; see the [module](self).
pub struct Peers {
    peers: Vec<Peer>,
    started_at: Instant,
    /// Silent peers at the last check.
    silent: Vec<String>,
}

/// Result of a check for silent peers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SilenceReport {
    /// Names of the silent peers, if they have changed since the last check.
    pub changed_names: Option<Vec<String>>,
    /// Name of a peer that counts as gone, and the time since its last message.
    pub timed_out: Option<(String, Duration)>,
}

impl Peers {
    /// Creates an empty list of peers at the start of the run.
    pub fn new(now: Instant) -> Self {
        Self { peers: vec![], started_at: now, silent: vec![] }
    }

    /// Adds an input from a peer.
    pub fn add_input(&mut self, node: &str) {
        match self.peers.iter_mut().find(|peer| peer.node == node) {
            Some(peer) => peer.open_inputs += 1,
            None => self.peers.push(Peer { node: node.into(), last_message: None, open_inputs: 1 }),
        }
    }

    /// Records a message of a peer.
    pub fn record_message(&mut self, node: &str, now: Instant) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
            peer.last_message = Some(now);
        }
    }

    /// Closes an input from a peer, on which no more messages are expected.
    pub fn close_input(&mut self, node: &str) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
            peer.open_inputs = peer.open_inputs.saturating_sub(1);
        }
    }

    /// Checks for silent peers. `timeout`: time without a message after which a peer counts as gone. A peer that has
    /// sent nothing yet has twice that time from the start, and is not named as silent before.
    pub fn check(&mut self, now: Instant, timeout: Duration) -> SilenceReport {
        let mut report = SilenceReport::default();
        let mut names = vec![];
        for peer in self.peers.iter().filter(|peer| peer.open_inputs > 0) {
            let silence = now.saturating_duration_since(peer.last_message.unwrap_or(self.started_at));
            if peer.last_message.is_some() && silence > SILENT_AFTER {
                names.push(peer.node.clone());
            }
            // Before the first message: once the timeout for the start, and once for the first message after it.
            let limit = if peer.last_message.is_some() { timeout } else { timeout * 2 };
            if silence > limit && report.timed_out.is_none() {
                report.timed_out = Some((peer.node.clone(), silence));
            }
        }
        if names != self.silent {
            self.silent.clone_from(&names);
            report.changed_names = Some(names);
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    #[test]
    fn a_silent_peer_is_reported_once_after_two_seconds_and_gone_after_the_timeout() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs_f64(seconds);
        let mut peers = Peers::new(begin);
        (0..2).for_each(|_| peers.add_input("capture"));
        assert_eq!(peers.check(at(50.0), TIMEOUT), SilenceReport::default(), "it may load a model");
        peers.record_message("capture", at(50.0));
        assert_eq!(peers.check(at(51.9), TIMEOUT), SilenceReport::default());
        assert_eq!(peers.check(at(52.1), TIMEOUT).changed_names, Some(vec!["capture".into()]));
        assert_eq!(peers.check(at(53.0), TIMEOUT), SilenceReport::default(), "it was reported");
        assert_eq!(peers.check(at(110.1), TIMEOUT).timed_out.unwrap().0, "capture");
        peers.record_message("capture", at(111.0));
        assert_eq!(peers.check(at(111.0), TIMEOUT), SilenceReport { changed_names: Some(vec![]), timed_out: None });
        peers.close_input("capture");
        peers.close_input("capture");
        assert_eq!(peers.check(at(500.0), TIMEOUT), SilenceReport::default(), "nothing more is expected of it");
    }
}
