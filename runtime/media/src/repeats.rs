//! What a connection has brought, so that the next one does not count it again: HLS begins some segments back, and many
//! servers send the last group of pictures to whoever connects.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use ffmpeg_next::Packet;

use crate::info::Times;

/// Packets that are remembered: two minutes at 60 frames a second, more than a connection goes back.
const KEPT: usize = 7200;
/// New packets at the beginning of a connection behind which what came before may still come again: a segment that the
/// connection before could not read, half a minute at 60 frames a second.
const GRACE: u64 = 1800;

/// The packets of pictures that came last, and the clock they were stamped by.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    /// Packets of all connections, the oldest first.
    order: VecDeque<u64>,
    /// The same, to be looked up.
    known: HashSet<u64>,
    /// Packets of the connections before this one that may come again. Empty once this one has brought something new:
    /// what it shows twice from there on is shown twice.
    before: HashSet<u64>,
    /// Packets of this connection so far.
    packets: u64,
    /// True once a packet came again.
    has_repeated: bool,
    /// Time stamps of the stream and its media time 0.
    pub(crate) times: Option<Times>,
    /// Media time of the last frame that was handed out, ns.
    pub(crate) last: i64,
}

impl Repeats {
    /// What is remembered when the next connection begins.
    pub(crate) fn next_connection(self) -> Self {
        Self { before: self.known.clone(), packets: 0, has_repeated: false, ..self }
    }

    /// Remembers a packet. True when it repeats, at the beginning of this connection, what one before has brought.
    pub(crate) fn has(&mut self, packet: &Packet) -> bool {
        let mut hasher = DefaultHasher::new();
        // Still pictures are coded alike: their stamps tell them apart.
        (packet.pts(), packet.dts(), packet.data()).hash(&mut hasher);
        let mark = hasher.finish();
        let repeats = self.before.contains(&mark);
        self.packets += 1;
        self.has_repeated |= repeats;
        if !repeats && (self.has_repeated || self.packets > GRACE) {
            self.before.clear();
        }
        if !self.known.insert(mark) {
            return repeats;
        }
        self.order.push_back(mark);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pts: i64, data: &[u8]) -> Packet {
        let mut packet = Packet::copy(data);
        packet.set_pts(Some(pts));
        packet
    }

    #[test]
    fn a_packet_is_known_by_its_time_and_its_bytes_and_memory_is_bounded() {
        let mut first = Repeats::default();
        assert!(!first.has(&packet(0, b"key")) && !first.has(&packet(1, b"still")));
        let mut repeats = first.next_connection();
        assert!(repeats.has(&packet(0, b"key")) && repeats.has(&packet(1, b"still")));
        assert!(!repeats.has(&packet(2, b"still")), "a still picture is another frame");
        for pts in 10..10 + KEPT as i64 {
            assert!(!repeats.has(&packet(pts, b"x")));
        }
        assert_eq!((repeats.order.len(), repeats.known.len()), (KEPT, KEPT));
        assert!(!repeats.next_connection().has(&packet(0, b"key")), "too long ago");
    }

    #[test]
    fn only_the_beginning_of_a_new_connection_repeats() {
        let mut first = Repeats::default();
        for _ in 0..2 {
            assert!(!first.has(&packet(0, b"slate")), "shown twice within one connection");
        }
        let mut second = first.next_connection();
        assert!(!second.has(&packet(7, b"a segment that was not read")));
        assert!(second.has(&packet(0, b"slate")));
        assert!(!second.has(&packet(1, b"new")));
        assert!(!second.has(&packet(0, b"slate")), "shown again later");
        let mut third = second.next_connection();
        assert!(third.has(&packet(1, b"new")) && third.has(&packet(0, b"slate")), "all before it count");
    }
}
