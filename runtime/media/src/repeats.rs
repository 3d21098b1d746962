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

/// The packets of pictures that came last, and the clock they were stamped by.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    order: VecDeque<u64>,
    known: HashSet<u64>,
    /// Time stamps of the stream and its media time 0.
    pub(crate) times: Option<Times>,
    /// Media time of the last frame that was handed out, ns.
    pub(crate) last: i64,
}

impl Repeats {
    /// True for a packet that came before; else it is remembered.
    pub(crate) fn has(&mut self, packet: &Packet) -> bool {
        let mut hasher = DefaultHasher::new();
        // Still pictures are coded alike: their stamps tell them apart.
        (packet.pts(), packet.dts(), packet.data()).hash(&mut hasher);
        let mark = hasher.finish();
        if !self.known.insert(mark) {
            return true;
        }
        self.order.push_back(mark);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        false
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
        let mut repeats = Repeats::default();
        assert!(!repeats.has(&packet(0, b"key")) && !repeats.has(&packet(1, b"still")));
        assert!(!repeats.has(&packet(2, b"still")), "a still picture is another frame");
        assert!(!repeats.has(&packet(0, b"other")), "a clock that began anew");
        assert!(repeats.has(&packet(0, b"key")) && repeats.has(&packet(1, b"still")));
        for pts in 10..10 + KEPT as i64 {
            assert!(!repeats.has(&packet(pts, b"x")));
        }
        assert_eq!((repeats.order.len(), repeats.known.len()), (KEPT, KEPT));
        assert!(!repeats.has(&packet(0, b"key")), "forgotten by now");
    }
}
