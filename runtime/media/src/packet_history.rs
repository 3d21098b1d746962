//! Memory of the video packets that a network connection has delivered, so that the next connection does not deliver them twice:
//! HLS starts some segments back, and many servers send the last group of pictures to every new client.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use ffmpeg_next::Packet;

use crate::info::Timebase;

/// Packets remembered: two minutes at 60 frames a second, more than a new connection goes back.
const CAPACITY: usize = 7200;
/// New packets at the start of a connection after which repeated ones are no longer expected: the length of a segment
/// that the previous connection could not read, half a minute at 60 frames a second.
const MAX_NEW_BEFORE_REPEAT: u64 = 1800;

/// The last video packets of a stream, and the clock of their timestamps.
#[derive(Clone, Debug, Default)]
pub struct PacketHistory {
    /// Hashes of the packets of all connections, oldest first.
    order: VecDeque<u64>,
    /// Hashes in `order`, for lookup.
    hashes: HashSet<u64>,
    /// Hashes of packets of previous connections that may be repeated. Emptied by the first new packet after a repeated
    /// one, or after [`MAX_NEW_BEFORE_REPEAT`] new ones: content that the stream shows again later is not a repetition.
    repeatable: HashSet<u64>,
    /// Packets of this connection so far.
    packets: u64,
    /// True once this connection has repeated a packet.
    has_repeated: bool,
    /// Time base and origin of the timestamps.
    pub(crate) timebase: Option<Timebase>,
    /// Media time of the last frame returned, ns.
    pub(crate) last_pts_ns: i64,
}

impl PacketHistory {
    /// Returns the history for the next connection.
    pub(crate) fn next_connection(self) -> Self {
        Self { repeatable: self.hashes.clone(), packets: 0, has_repeated: false, ..self }
    }

    /// Records a packet. Returns true if it repeats, at the start of this connection, one of a previous connection.
    pub(crate) fn record(&mut self, packet: &Packet) -> bool {
        let mut hasher = DefaultHasher::new();
        // Still images have equal bytes: only their timestamps differ.
        (packet.pts(), packet.dts(), packet.data()).hash(&mut hasher);
        let hash = hasher.finish();
        let repeats = self.repeatable.contains(&hash);
        self.packets += 1;
        self.has_repeated |= repeats;
        if !repeats && (self.has_repeated || self.packets > MAX_NEW_BEFORE_REPEAT) {
            self.repeatable.clear();
        }
        if !self.hashes.insert(hash) {
            return repeats;
        }
        self.order.push_back(hash);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
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
    fn a_packet_is_identified_by_timestamp_and_bytes_and_memory_is_bounded() {
        let mut first = PacketHistory::default();
        assert!(!first.record(&packet(0, b"key")) && !first.record(&packet(1, b"still")));
        let mut repeats = first.next_connection();
        assert!(repeats.record(&packet(0, b"key")) && repeats.record(&packet(1, b"still")));
        assert!(!repeats.record(&packet(2, b"still")), "a still picture is another frame");
        for pts in 10..10 + CAPACITY as i64 {
            assert!(!repeats.record(&packet(pts, b"x")));
        }
        assert_eq!((repeats.order.len(), repeats.hashes.len()), (CAPACITY, CAPACITY));
        assert!(!repeats.next_connection().record(&packet(0, b"key")), "too long ago");
    }

    #[test]
    fn only_the_start_of_a_new_connection_is_checked_for_repeats() {
        let mut first = PacketHistory::default();
        for _ in 0..2 {
            assert!(!first.record(&packet(0, b"slate")), "shown twice within one connection");
        }
        let mut second = first.next_connection();
        assert!(!second.record(&packet(7, b"a segment that was not read")));
        assert!(second.record(&packet(0, b"slate")));
        assert!(!second.record(&packet(1, b"new")));
        assert!(!second.record(&packet(0, b"slate")), "shown again later");
        let mut third = second.next_connection();
        assert!(third.record(&packet(1, b"new")) && third.record(&packet(0, b"slate")), "all previous packets count");
    }
}
