//! Times of packets as one timeline that goes on: steps back, restarts and clocks that stand still are noticed at each
//! packet and closed; long pauses are noticed and kept.
//!
//! Recorders that restart, files joined by `cat` and playlists with a discontinuity set the clock anew in mid-file. All
//! tracks are moved by the same offset, so that picture and sound stay together.

use std::time::Instant;

use ff::{Packet, Rational};
use ffmpeg_next as ff;

use crate::info::Times;

/// A step back by more, ns, is a clock that was set anew. Pictures that are coded out of order step back by less.
const BACK_NS: i64 = 1_000_000_000;
/// In a stream, a step ahead by so much more than the time that passed, ns, is a clock that was set anew.
const AHEAD_NS: i64 = 10_000_000_000;
/// In a file, a step ahead by more, ns, is told as a pause.
pub(crate) const PAUSE_NS: i64 = 60_000_000_000;

/// Meaning of a long step ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepAhead {
    /// A pause: a file says when its pictures are shown.
    Pause,
    /// A clock that was set anew: segments of a playlist follow each other without a gap.
    Restart,
    /// As `Restart`, unless nothing came for as long: a live stream brings each packet when it is due.
    RestartUnlessAwaited,
}

/// Irregular times, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeJumps {
    /// Times that the clock stepped back, or ahead in a stream: the times that came out go on without the step.
    pub restarts: u64,
    /// Steps ahead of more than a minute in a file: the times that came out have them.
    pub pauses: u64,
    /// Times that the clock stood still for more than a second: the times that came out go on at the declared rate.
    pub standstills: u64,
}

impl TimeJumps {
    /// Number of all of them.
    pub fn total(self) -> u64 {
        self.restarts + self.pauses + self.standstills
    }
}

/// One irregularity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jump {
    /// A clock set anew, by so many ns.
    Restart(i64),
    /// A pause of so many ns.
    Pause(i64),
    /// A clock that does not go on.
    Standstill,
}

/// Unit of a track's time stamps, and the number of bits after which they begin again at 0.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    pub base: Rational,
    pub wrap_bits: u32,
}

impl Unit {
    fn times(self) -> Times {
        Times { start: 0, num: self.base.numerator(), den: self.base.denominator() }
    }

    /// Nanoseconds from one stamp to another; over the point where stamps begin again, the shorter way.
    fn step_ns(self, from: i64, to: i64) -> i64 {
        let step = to.saturating_sub(from);
        if !(1..63).contains(&self.wrap_bits) {
            return self.times().ns(step);
        }
        let round = 1_i64 << self.wrap_bits;
        self.times().ns((step + round / 2).rem_euclid(round) - round / 2)
    }
}

/// Last packet of a track.
struct Track {
    stream: usize,
    /// Time stamp as it came.
    stamp: i64,
    /// Time at which the packet ends, as it went out, ns.
    end_ns: i64,
    /// Time added to what comes, ns.
    offset_ns: i64,
    came: Instant,
    /// Time for which stamps have been the same, ns.
    still_ns: i64,
}

/// See the [module](self).
pub(crate) struct Timeline {
    step_ahead: StepAhead,
    /// Index of the stream whose pauses and standstills are told.
    picture: usize,
    /// Length of packets that do not say theirs, ns.
    interval_ns: i64,
    tracks: Vec<Track>,
    /// Offset of the clock that was set last, ns.
    offset_ns: i64,
    jumps: TimeJumps,
}

impl Timeline {
    /// A timeline without a packet yet. `picture` is the index of the video stream, of which pauses are told.
    pub fn new(step_ahead: StepAhead, picture: usize, interval_ns: i64) -> Self {
        let interval_ns = interval_ns.max(1);
        Self { step_ahead, picture, interval_ns, tracks: vec![], offset_ns: 0, jumps: TimeJumps::default() }
    }

    /// Forgets the packets, as after a seek.
    pub fn restart(&mut self) {
        self.tracks.clear();
        self.offset_ns = 0;
    }

    /// Irregularities so far.
    pub fn jumps(&self) -> TimeJumps {
        self.jumps
    }

    /// Moves the origin of a clock by what was added to its stamps: a later connection that goes on with that clock needs
    /// no offset.
    pub fn folded(&self, times: Times) -> Times {
        Times { start: times.start.saturating_sub(times.length_ticks(self.offset_ns)), ..times }
    }

    /// Puts a packet of a track on the timeline. Returns the irregularity that begins with it, if one does. A packet without
    /// a time stamp is left as it is.
    pub fn place(&mut self, packet: &mut Packet, unit: Unit) -> Option<Jump> {
        let stamp = packet.dts().or(packet.pts())?;
        let raw_ns = unit.times().ns(stamp);
        let length_ns = match packet.duration() {
            duration if duration > 0 => unit.times().ns(duration),
            _ => self.interval_ns,
        };
        let now = Instant::now();
        let Some(at) = self.tracks.iter().position(|track| track.stream == packet.stream()) else {
            let offset_ns = self.offset_ns;
            let end_ns = raw_ns.saturating_add(offset_ns).saturating_add(length_ns);
            self.tracks.push(Track { stream: packet.stream(), stamp, end_ns, offset_ns, came: now, still_ns: 0 });
            shift(packet, unit, offset_ns);
            return None;
        };
        let track = &mut self.tracks[at];
        let step_ns = unit.step_ns(track.stamp, stamp);
        let waited_ns = now.duration_since(track.came).as_nanos() as i64;
        let was_still = track.still_ns > BACK_NS;
        track.still_ns = if stamp == track.stamp { track.still_ns + length_ns } else { 0 };
        let is_still = track.still_ns > BACK_NS;
        (track.stamp, track.came) = (stamp, now);
        let restarts = step_ns < -BACK_NS
            || match self.step_ahead {
                StepAhead::Pause => false,
                StepAhead::Restart => step_ns > AHEAD_NS,
                StepAhead::RestartUnlessAwaited => step_ns > waited_ns.saturating_add(AHEAD_NS),
            };
        let is_new_clock = (restarts || is_still) && self.set_anew(at, raw_ns);
        let track = &mut self.tracks[at];
        track.end_ns = raw_ns.saturating_add(track.offset_ns).saturating_add(length_ns);
        shift(packet, unit, track.offset_ns);
        let is_picture = packet.stream() == self.picture;
        let jump = if restarts && is_new_clock {
            Jump::Restart(step_ns)
        } else if is_picture && is_still && !was_still {
            Jump::Standstill
        } else if is_picture && step_ns > PAUSE_NS && self.step_ahead == StepAhead::Pause {
            Jump::Pause(step_ns)
        } else {
            return None;
        };
        match jump {
            Jump::Restart(_) => self.jumps.restarts += 1,
            Jump::Pause(_) => self.jumps.pauses += 1,
            Jump::Standstill => self.jumps.standstills += 1,
        }
        Some(jump)
    }

    /// Gives a track the offset by which its time goes on: that of a track that was set anew before it, where it fits, or
    /// one that continues where all tracks have ended. True for the latter.
    fn set_anew(&mut self, at: usize, raw_ns: i64) -> bool {
        let ended_ns = self.tracks.iter().map(|track| track.end_ns).max().unwrap_or(0);
        let newest_ns = self.offset_ns;
        let track = &mut self.tracks[at];
        let step_ns = raw_ns.saturating_add(newest_ns).saturating_sub(track.end_ns);
        if newest_ns != track.offset_ns && (-BACK_NS..=AHEAD_NS).contains(&step_ns) {
            track.offset_ns = newest_ns;
            return false;
        }
        track.offset_ns = ended_ns.saturating_sub(raw_ns);
        self.offset_ns = track.offset_ns;
        true
    }
}

/// Adds an offset to the times of a packet.
fn shift(packet: &mut Packet, unit: Unit, offset_ns: i64) {
    if offset_ns == 0 {
        return;
    }
    let ticks = unit.times().length_ticks(offset_ns);
    packet.set_pts(packet.pts().map(|pts| pts.saturating_add(ticks)));
    packet.set_dts(packet.dts().map(|dts| dts.saturating_add(ticks)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const UNIT: Unit = Unit { base: Rational(1, 1000), wrap_bits: 64 };

    fn timeline(step_ahead: StepAhead) -> Timeline {
        Timeline::new(step_ahead, 0, 40 * MS)
    }

    /// Time of a packet in milliseconds as it goes out, and what was noticed.
    fn put(timeline: &mut Timeline, stream: usize, ms: i64) -> (i64, Option<Jump>) {
        let mut packet = Packet::copy(b"x");
        packet.set_stream(stream);
        packet.set_pts(Some(ms));
        packet.set_dts(Some(ms));
        packet.set_duration(40);
        let jump = timeline.place(&mut packet, UNIT);
        (packet.pts().unwrap(), jump)
    }

    #[test]
    fn steps_back_are_closed_for_all_tracks_alike() {
        let mut timeline = timeline(StepAhead::Pause);
        for ms in [5000, 5040] {
            assert_eq!(put(&mut timeline, 0, ms), (ms, None));
            assert_eq!(put(&mut timeline, 1, ms + 10), (ms + 10, None));
        }
        assert_eq!(put(&mut timeline, 0, 100), (5090, Some(Jump::Restart(-4940 * MS))), "where the sound has ended");
        assert_eq!(put(&mut timeline, 1, 5090), (5090, None), "sound of the time before");
        assert_eq!(put(&mut timeline, 1, 110), (5100, None), "with the picture");
        assert_eq!(put(&mut timeline, 0, 140), (5130, None));
        assert_eq!(timeline.jumps(), TimeJumps { restarts: 1, ..TimeJumps::default() });
        timeline.restart();
        assert_eq!(put(&mut timeline, 0, 100), (100, None), "a seek begins anew");
    }

    #[test]
    fn steps_ahead_are_kept_in_a_file_and_closed_in_a_playlist() {
        let hour = 3_600_000;
        let mut file = timeline(StepAhead::Pause);
        put(&mut file, 0, 0);
        assert_eq!(put(&mut file, 0, 30_000), (30_000, None), "a still picture");
        assert_eq!(put(&mut file, 0, hour), (hour, Some(Jump::Pause((hour - 30_000) * MS))));
        assert_eq!(file.jumps().pauses, 1);
        let mut playlist = timeline(StepAhead::Restart);
        put(&mut playlist, 0, 0);
        assert_eq!(put(&mut playlist, 0, hour), (40, Some(Jump::Restart(hour * MS))));
        let mut live = timeline(StepAhead::RestartUnlessAwaited);
        put(&mut live, 0, 0);
        assert_eq!(put(&mut live, 0, 9_000), (9_000, None));
        assert_eq!(put(&mut live, 0, hour).0, 9_040);
    }

    #[test]
    fn a_clock_that_stands_still_goes_on_at_the_declared_rate() {
        let mut timeline = timeline(StepAhead::Pause);
        let out: Vec<(i64, Option<Jump>)> = (0..60).map(|_| put(&mut timeline, 0, 7)).collect();
        assert_eq!(out[1], (7, None), "two frames of one moment");
        assert_eq!(out[26], (47, Some(Jump::Standstill)));
        assert_eq!(out[59], (7 + 34 * 40, None));
        assert_eq!(put(&mut timeline, 0, 47).0, 7 + 35 * 40, "and from there when it is back");
        assert_eq!(timeline.jumps(), TimeJumps { standstills: 1, ..TimeJumps::default() });
    }

    #[test]
    fn a_restart_that_looks_like_a_wrap_is_a_restart() {
        let ts = Unit { base: Rational(1, 90_000), wrap_bits: 33 };
        assert_eq!(ts.step_ns(0, (1 << 33) - 90_000), -1_000 * MS);
        assert_eq!(ts.step_ns((1 << 33) - 90_000, 90_000), 2_000 * MS);
        assert_eq!(UNIT.step_ns(0, i64::MAX), Times { start: 0, num: 1, den: 1000 }.ns(i64::MAX));
    }
}
