//! Timestamps of packets mapped onto one continuous timeline: backward steps, clock restarts and clocks that stand still are
//! detected at each packet and removed; long pauses are detected and kept.
//!
//! Recorders that restart, files joined by `cat` and playlists with a discontinuity reset the clock in the middle. All
//! tracks are shifted by the same offset, so that video and audio stay in sync.

use std::time::Instant;

use ff::{Packet, Rational};
use ffmpeg_next as ff;

use crate::info::Timebase;

/// Backward step of a decoding time, ns, above which the clock has been reset, in containers that store decoding times: these
/// never decrease within one recording, and the limit covers rounding and damaged packets.
const MAX_BACKWARD_NS: i64 = 100_000_000;
/// Backward step, ns, above which the clock has been reset, in other containers. Presentation times step back by up to sixteen
/// reordered frames, and so do the decoding times that FFmpeg guesses from them for Matroska.
const MAX_REORDERING_NS: i64 = 1_000_000_000;
/// Time, ns, for which an unchanged timestamp is tolerated.
const MAX_STILL_NS: i64 = 1_000_000_000;
/// Forward step of a stream, ns, above which, beyond the time that passed, the clock has been reset.
const MAX_FORWARD_NS: i64 = 10_000_000_000;
/// Forward step of a file, ns, above which it is reported as a pause.
pub(crate) const MIN_PAUSE_NS: i64 = 60_000_000_000;

/// Interpretation of a long forward step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForwardJumpPolicy {
    /// A pause: the timestamps of a file are authoritative.
    Pause,
    /// A clock reset: the segments of a playlist are contiguous.
    Restart,
    /// As `Restart`, unless no packet arrived for as long: a live stream delivers each packet when it is due.
    RestartUnlessWaited,
}

/// Counts of irregular timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeJumps {
    /// Clock resets: backward steps, and forward steps of a stream. The output continues without the step.
    pub restarts: u64,
    /// Forward steps of more than a minute in a file. The output keeps them.
    pub pauses: u64,
    /// Clocks that stood still for more than a second. The output continues at the declared rate.
    pub standstills: u64,
}

impl TimeJumps {
    /// Returns the total number of irregularities.
    pub fn total(self) -> u64 {
        self.restarts + self.pauses + self.standstills
    }
}

/// An irregularity of the timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeJump {
    /// Clock reset, with the step, ns.
    Restart(i64),
    /// Pause, with its length, ns.
    Pause(i64),
    /// Clock that stands still.
    Standstill,
}

/// Unit of a track's timestamps, and the number of bits after which they wrap around.
#[derive(Clone, Copy)]
pub(crate) struct TimestampUnit {
    pub base: Rational,
    pub wrap_bits: u32,
}

impl TimestampUnit {
    fn timebase(self) -> Timebase {
        Timebase { start: 0, num: self.base.numerator(), den: self.base.denominator() }
    }

    /// Returns the step between two timestamps, ns; at a wraparound the shorter one.
    fn step_ns(self, from: i64, to: i64) -> i64 {
        let step = to.saturating_sub(from);
        if !(1..63).contains(&self.wrap_bits) {
            return self.timebase().to_ns(step);
        }
        let period = 1_i64 << self.wrap_bits;
        self.timebase().to_ns((step + period / 2).rem_euclid(period) - period / 2)
    }
}

/// State of a track after its last packet.
struct Track {
    stream: usize,
    /// Timestamp as read.
    stamp: i64,
    /// End of the packet on the timeline, ns.
    end_ns: i64,
    /// Offset added to the track's timestamps, ns.
    offset_ns: i64,
    arrived: Instant,
    /// Time for which the timestamp has not changed, ns.
    still_ns: i64,
}

/// Timeline of all tracks of a source; see the [module](self).
pub(crate) struct Timeline {
    forward_jumps: ForwardJumpPolicy,
    /// Backward step, ns, above which the clock has been reset.
    max_backward_ns: i64,
    /// Index of the video stream; only its pauses and standstills are reported.
    video: usize,
    /// Duration of packets that declare none, ns.
    interval_ns: i64,
    tracks: Vec<Track>,
    /// Offset of the most recent clock, ns.
    offset_ns: i64,
    jumps: TimeJumps,
}

impl Timeline {
    /// Creates an empty timeline. `container` is FFmpeg's name of the demuxer, `video` the index of the video stream, and
    /// `interval_ns` its frame interval.
    pub fn new(forward_jumps: ForwardJumpPolicy, container: &str, video: usize, interval_ns: i64) -> Self {
        let max_backward_ns = if stores_decoding_times(container) { MAX_BACKWARD_NS } else { MAX_REORDERING_NS };
        let interval_ns = interval_ns.max(1);
        let jumps = TimeJumps::default();
        Self { forward_jumps, max_backward_ns, video, interval_ns, tracks: vec![], offset_ns: 0, jumps }
    }

    /// Discards the state of all tracks, as after a seek.
    pub fn reset(&mut self) {
        self.tracks.clear();
        self.offset_ns = 0;
    }

    /// Returns the counts of irregularities so far.
    pub fn jumps(&self) -> TimeJumps {
        self.jumps
    }

    /// Moves the origin of a time base by the current offset, so that a later connection with the same clock needs no
    /// offset.
    pub fn fold_offset(&self, timebase: Timebase) -> Timebase {
        Timebase { start: timebase.start.saturating_sub(timebase.duration_to_ticks(self.offset_ns)), ..timebase }
    }

    /// Maps the timestamps of a packet onto the timeline. Returns the irregularity that begins with it, if there is one. A
    /// packet without a timestamp is unchanged.
    pub fn correct(&mut self, packet: &mut Packet, unit: TimestampUnit) -> Option<TimeJump> {
        let stamp = packet.dts().or(packet.pts())?;
        let raw_ns = unit.timebase().to_ns(stamp);
        let length_ns = match packet.duration() {
            duration if duration > 0 => unit.timebase().to_ns(duration),
            _ => self.interval_ns,
        };
        let now = Instant::now();
        let Some(at) = self.tracks.iter().position(|track| track.stream == packet.stream()) else {
            let offset_ns = self.offset_ns;
            let end_ns = raw_ns.saturating_add(offset_ns).saturating_add(length_ns);
            self.tracks.push(Track { stream: packet.stream(), stamp, end_ns, offset_ns, arrived: now, still_ns: 0 });
            shift(packet, unit, offset_ns);
            return None;
        };
        let track = &mut self.tracks[at];
        let step_ns = unit.step_ns(track.stamp, stamp);
        let waited_ns = now.duration_since(track.arrived).as_nanos() as i64;
        let was_still = track.still_ns > MAX_STILL_NS;
        track.still_ns = if stamp == track.stamp { track.still_ns + length_ns } else { 0 };
        let is_still = track.still_ns > MAX_STILL_NS;
        (track.stamp, track.arrived) = (stamp, now);
        let max_backward_ns = if packet.dts().is_some() { self.max_backward_ns } else { MAX_REORDERING_NS };
        let restarts = step_ns < -max_backward_ns
            || match self.forward_jumps {
                ForwardJumpPolicy::Pause => false,
                ForwardJumpPolicy::Restart => step_ns > MAX_FORWARD_NS,
                ForwardJumpPolicy::RestartUnlessWaited => step_ns > waited_ns.saturating_add(MAX_FORWARD_NS),
            };
        let is_restarted = (restarts || is_still) && self.restart_clock(at, raw_ns);
        let track = &mut self.tracks[at];
        track.end_ns = raw_ns.saturating_add(track.offset_ns).saturating_add(length_ns);
        shift(packet, unit, track.offset_ns);
        let is_video = packet.stream() == self.video;
        let jump = if restarts && is_restarted {
            TimeJump::Restart(step_ns)
        } else if is_video && is_still && !was_still {
            TimeJump::Standstill
        } else if is_video && step_ns > MIN_PAUSE_NS && self.forward_jumps == ForwardJumpPolicy::Pause {
            TimeJump::Pause(step_ns)
        } else {
            return None;
        };
        match jump {
            TimeJump::Restart(_) => self.jumps.restarts += 1,
            TimeJump::Pause(_) => self.jumps.pauses += 1,
            TimeJump::Standstill => self.jumps.standstills += 1,
        }
        Some(jump)
    }

    /// Gives a track a new offset after a clock reset: that of a track whose clock was reset before, if it fits, or one that
    /// continues at the end of all tracks. Returns true for the latter.
    fn restart_clock(&mut self, at: usize, raw_ns: i64) -> bool {
        let tracks_end_ns = self.tracks.iter().map(|track| track.end_ns).max().unwrap_or(0);
        let newest_ns = self.offset_ns;
        let track = &mut self.tracks[at];
        let step_ns = raw_ns.saturating_add(newest_ns).saturating_sub(track.end_ns);
        if newest_ns != track.offset_ns && (-MAX_REORDERING_NS..=MAX_FORWARD_NS).contains(&step_ns) {
            track.offset_ns = newest_ns;
            return false;
        }
        track.offset_ns = tracks_end_ns.saturating_sub(raw_ns);
        self.offset_ns = track.offset_ns;
        true
    }
}

/// Returns true if a container, by FFmpeg's name of its demuxer, stores decoding times.
fn stores_decoding_times(container: &str) -> bool {
    container.split(',').any(|name| matches!(name, "mpegts" | "mpeg" | "hls" | "flv" | "live_flv" | "mp4"))
}

/// Adds an offset to the timestamps of a packet.
fn shift(packet: &mut Packet, unit: TimestampUnit, offset_ns: i64) {
    if offset_ns == 0 {
        return;
    }
    let ticks = unit.timebase().duration_to_ticks(offset_ns);
    packet.set_pts(packet.pts().map(|pts| pts.saturating_add(ticks)));
    packet.set_dts(packet.dts().map(|dts| dts.saturating_add(ticks)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const UNIT: TimestampUnit = TimestampUnit { base: Rational(1, 1000), wrap_bits: 64 };

    fn timeline(forward_jumps: ForwardJumpPolicy) -> Timeline {
        Timeline::new(forward_jumps, "mpegts", 0, 40 * MS)
    }

    /// Sends a packet through the timeline. Returns its corrected time in milliseconds, and the irregularity.
    fn put(timeline: &mut Timeline, stream: usize, ms: i64) -> (i64, Option<TimeJump>) {
        let mut packet = Packet::copy(b"x");
        packet.set_stream(stream);
        packet.set_pts(Some(ms));
        packet.set_dts(Some(ms));
        packet.set_duration(40);
        let jump = timeline.correct(&mut packet, UNIT);
        (packet.pts().unwrap(), jump)
    }

    #[test]
    fn backward_steps_are_removed_from_all_tracks_alike() {
        let mut timeline = timeline(ForwardJumpPolicy::Pause);
        for ms in [5000, 5040] {
            assert_eq!(put(&mut timeline, 0, ms), (ms, None));
            assert_eq!(put(&mut timeline, 1, ms + 10), (ms + 10, None));
        }
        assert_eq!(
            put(&mut timeline, 0, 100),
            (5090, Some(TimeJump::Restart(-4940 * MS))),
            "where the audio has ended"
        );
        assert_eq!(put(&mut timeline, 1, 5090), (5090, None), "audio of the time before");
        assert_eq!(put(&mut timeline, 1, 110), (5100, None), "with the video");
        assert_eq!(put(&mut timeline, 0, 140), (5130, None));
        assert_eq!(timeline.jumps(), TimeJumps { restarts: 1, ..TimeJumps::default() });
        timeline.reset();
        assert_eq!(put(&mut timeline, 0, 100), (100, None), "a seek starts over");
    }

    #[test]
    fn a_short_backward_step_is_a_reset_only_where_decoding_times_are_stored() {
        for (container, restarts) in [("mpegts", 1), ("mov,mp4,m4a,3gp,3g2,mj2", 1), ("matroska,webm", 0), ("avi", 0)] {
            let mut timeline = Timeline::new(ForwardJumpPolicy::Pause, container, 0, 40 * MS);
            for ms in [640, 680, 720] {
                put(&mut timeline, 0, ms);
            }
            let expected = if restarts == 1 { 760 } else { 100 };
            assert_eq!(put(&mut timeline, 0, 100).0, expected, "{container}");
            assert_eq!(put(&mut timeline, 0, 140).0, expected + 40, "{container}");
            assert_eq!(timeline.jumps().restarts, restarts, "{container}");
        }
        let mut timeline = timeline(ForwardJumpPolicy::Pause);
        put(&mut timeline, 0, 100);
        assert_eq!(put(&mut timeline, 0, 40), (40, None), "within the tolerance");
    }

    #[test]
    fn forward_steps_are_kept_in_a_file_and_removed_in_a_playlist() {
        let hour = 3_600_000;
        let mut file = timeline(ForwardJumpPolicy::Pause);
        put(&mut file, 0, 0);
        assert_eq!(put(&mut file, 0, 30_000), (30_000, None), "a still image");
        assert_eq!(put(&mut file, 0, hour), (hour, Some(TimeJump::Pause((hour - 30_000) * MS))));
        assert_eq!(file.jumps().pauses, 1);
        let mut playlist = timeline(ForwardJumpPolicy::Restart);
        put(&mut playlist, 0, 0);
        assert_eq!(put(&mut playlist, 0, hour), (40, Some(TimeJump::Restart(hour * MS))));
        let mut live = timeline(ForwardJumpPolicy::RestartUnlessWaited);
        put(&mut live, 0, 0);
        assert_eq!(put(&mut live, 0, 9_000), (9_000, None));
        assert_eq!(put(&mut live, 0, hour).0, 9_040);
    }

    #[test]
    fn a_clock_that_stands_still_continues_at_the_declared_rate() {
        let mut timeline = timeline(ForwardJumpPolicy::Pause);
        let out: Vec<(i64, Option<TimeJump>)> = (0..60).map(|_| put(&mut timeline, 0, 7)).collect();
        assert_eq!(out[1], (7, None), "two frames with one timestamp");
        assert_eq!(out[26], (47, Some(TimeJump::Standstill)));
        assert_eq!(out[59], (7 + 34 * 40, None));
        assert_eq!(put(&mut timeline, 0, 47).0, 7 + 35 * 40, "and from there when the clock moves again");
        assert_eq!(timeline.jumps(), TimeJumps { standstills: 1, ..TimeJumps::default() });
    }

    #[test]
    fn a_step_of_a_wrapping_clock_is_the_shorter_one() {
        let ts = TimestampUnit { base: Rational(1, 90_000), wrap_bits: 33 };
        assert_eq!(ts.step_ns(0, (1 << 33) - 90_000), -1_000 * MS);
        assert_eq!(ts.step_ns((1 << 33) - 90_000, 90_000), 2_000 * MS);
        assert_eq!(UNIT.step_ns(0, i64::MAX), Timebase { start: 0, num: 1, den: 1000 }.to_ns(i64::MAX));
    }
}
