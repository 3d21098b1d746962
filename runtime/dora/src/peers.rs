//! The other processes that this one hears from: one that is silent is named, and after the stall time the run ends.

use std::time::{Duration, Instant};

/// Silence after which a peer is named.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// A process that sends to this one.
struct Peer {
    /// Id of its node.
    node: String,
    /// When it was heard last; none before its first message, while it may load models.
    heard: Option<Instant>,
    /// Inputs of it that have not closed.
    open: usize,
}

/// See the [module](self).
pub struct Peers {
    peers: Vec<Peer>,
    began: Instant,
    /// The names told last.
    told: Vec<String>,
}

/// What a look at the peers shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// Names of those that are silent, where that has changed.
    pub changed: Option<Vec<String>>,
    /// One that has been silent for longer than the run waits, and for how long.
    pub gone: Option<(String, Duration)>,
}

impl Peers {
    pub fn new(now: Instant) -> Self {
        Self { peers: vec![], began: now, told: vec![] }
    }

    /// Adds an input that a peer sends on.
    pub fn add(&mut self, node: &str) {
        match self.peers.iter_mut().find(|peer| peer.node == node) {
            Some(peer) => peer.open += 1,
            None => self.peers.push(Peer { node: node.into(), heard: None, open: 1 }),
        }
    }

    /// A message of a peer has come.
    pub fn heard(&mut self, node: &str, now: Instant) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
            peer.heard = Some(now);
        }
    }

    /// Nothing more is expected on an input of a peer.
    pub fn closed(&mut self, node: &str) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
            peer.open = peer.open.saturating_sub(1);
        }
    }

    /// Looks for silent peers. `patience`: silence after which one counts as gone; one that was never heard has as long from
    /// the start, and is not named before.
    pub fn look(&mut self, now: Instant, patience: Duration) -> Silence {
        let mut silence = Silence::default();
        let mut names = vec![];
        for peer in self.peers.iter().filter(|peer| peer.open > 0) {
            let since = now.saturating_duration_since(peer.heard.unwrap_or(self.began));
            if peer.heard.is_some() && since > SILENT_AFTER {
                names.push(peer.node.clone());
            }
            // The start takes the one time, what follows the other.
            let most = if peer.heard.is_some() { patience } else { patience * 2 };
            if since > most && silence.gone.is_none() {
                silence.gone = Some((peer.node.clone(), since));
            }
        }
        if names != self.told {
            self.told.clone_from(&names);
            silence.changed = Some(names);
        }
        silence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_silent_peer_is_named_within_seconds_told_once_and_gone_after_the_stall_time() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs_f64(seconds);
        let mut peers = Peers::new(begin);
        (0..2).for_each(|_| peers.add("capture"));
        assert_eq!(peers.look(at(50.0), PATIENCE), Silence::default(), "it may load a model");
        peers.heard("capture", at(50.0));
        assert_eq!(peers.look(at(51.9), PATIENCE), Silence::default());
        assert_eq!(peers.look(at(52.1), PATIENCE).changed, Some(vec!["capture".into()]));
        assert_eq!(peers.look(at(53.0), PATIENCE), Silence::default(), "it was told");
        assert_eq!(peers.look(at(110.1), PATIENCE).gone.unwrap().0, "capture");
        peers.heard("capture", at(111.0));
        assert_eq!(peers.look(at(111.0), PATIENCE), Silence { changed: Some(vec![]), gone: None });
        peers.closed("capture");
        peers.closed("capture");
        assert_eq!(peers.look(at(500.0), PATIENCE), Silence::default(), "nothing more is expected of it");
    }
}
