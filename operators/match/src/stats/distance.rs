//! Running distance and speed of a track.

use serde::{Deserialize, Serialize};

/// Window over which places are averaged before distances are measured, s: jitter of the boxes would add up to a
/// distance.
const WINDOW_S: f64 = 0.5;
/// Minimum share of a window in which the track was visible.
const MIN_VISIBLE_SHARE: f64 = 0.6;
/// Speed above which a displacement is discarded, m/s: no person runs faster, so the box jumped to another one.
const MAX_SPEED_M_S: f64 = 12.0;

/// Distance by speed zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DistanceTotals {
    /// Total distance, m.
    pub total_m: f64,
    /// Maximum mean speed of a window, m/s.
    pub top_speed_m_s: f64,
    /// Distance in each speed zone, m.
    pub zones_m: [f64; 5],
    /// Time visible, s.
    pub visible_s: f64,
}

impl DistanceTotals {
    /// Adds a displacement of `meters` in `seconds`; `bounds` separate the speed zones, m/s.
    fn add(&mut self, meters: f64, seconds: f64, bounds: &[f32; 4]) {
        let speed = meters / seconds;
        let zone = bounds.iter().filter(|bound| speed >= f64::from(**bound)).count();
        self.total_m += meters;
        self.zones_m[zone] += meters;
        self.top_speed_m_s = self.top_speed_m_s.max(speed);
    }
}

/// Measures the displacement of one track between windows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DistanceMeter {
    /// Mean time and place of the previous window: s, units.
    previous: Option<(f64, [f64; 2])>,
    /// Start of the current window, s.
    window_start: Option<f64>,
    /// Number of frames in the current window.
    frames: f64,
    /// Sums over the current window: time, x, y, units per meter.
    sums: [f64; 4],
    /// Media time at which the track was last visible, s.
    pub last_seen: f64,
}

impl DistanceMeter {
    /// Adds a place (x, y, units per meter) at media time `now`; `step` is the duration of the frame, s. Displacements
    /// are added to all of `totals`.
    pub fn update(
        &mut self,
        now: f64,
        step: f64,
        [x, y, scale]: [f64; 3],
        bounds: &[f32; 4],
        totals: [Option<&mut DistanceTotals>; 2],
    ) {
        let is_gap = self.window_start.is_some() && now - self.last_seen > WINDOW_S;
        self.last_seen = now;
        if is_gap {
            *self = DistanceMeter { last_seen: now, ..DistanceMeter::default() };
        }
        let start = *self.window_start.get_or_insert(now);
        self.frames += 1.0;
        for (sum, value) in self.sums.iter_mut().zip([now, x, y, scale]) {
            *sum += value;
        }
        let mut displacement = None;
        if now - start + step >= WINDOW_S - 1e-6 {
            let [at, x, y, scale] = self.sums.map(|sum| sum / self.frames);
            let is_visible = self.frames * step >= MIN_VISIBLE_SHARE * WINDOW_S;
            if let Some((then, [fx, fy])) = self.previous.filter(|_| is_visible) {
                let meters = (x - fx).hypot(y - fy) / scale;
                let seconds = at - then;
                displacement = (meters / seconds <= MAX_SPEED_M_S).then_some((meters, seconds));
            }
            self.previous = is_visible.then_some((at, [x, y]));
            (self.window_start, self.frames, self.sums) = (None, 0.0, [0.0; 4]);
        }
        for totals in totals.into_iter().flatten() {
            totals.visible_s += step;
            if let Some((meters, seconds)) = displacement {
                totals.add(meters, seconds, bounds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates ten seconds at 30 frames/s at a constant speed, with jitter in meters.
    fn walk(speed: f64, jitter: f64, scale: f64) -> DistanceTotals {
        let (mut meter, mut totals) = (DistanceMeter::default(), DistanceTotals::default());
        for frame in 0..300 {
            let now = f64::from(frame) / 30.0;
            let off = if frame % 2 == 0 { jitter } else { -jitter };
            let at = [(speed * now + off) * scale, 40.0, scale];
            meter.update(now, 1.0 / 30.0, at, &[2.0, 4.2, 5.6, 7.0], [Some(&mut totals), None]);
        }
        totals
    }

    #[test]
    fn distance_does_not_depend_on_the_unit() {
        for scale in [1.0, 23.0] {
            let totals = walk(6.0, 0.0, scale);
            // The first window has no predecessor.
            assert!((totals.total_m - 57.0).abs() < 0.1, "{totals:?}");
            assert!((totals.top_speed_m_s - 6.0).abs() < 1e-6 && (totals.zones_m[3] - totals.total_m).abs() < 1e-9);
            assert!((totals.visible_s - 10.0).abs() < 1e-6);
        }
    }

    #[test]
    fn jitter_adds_no_distance() {
        let totals = walk(0.0, 0.2, 1.0);
        assert!(totals.total_m < 0.8, "{totals:?}");
    }

    #[test]
    fn a_jump_adds_no_distance() {
        let (mut meter, mut totals) = (DistanceMeter::default(), DistanceTotals::default());
        for frame in 0..120 {
            let now = f64::from(frame) / 30.0;
            let x = if frame < 60 { 0.0 } else { 40.0 };
            meter.update(now, 1.0 / 30.0, [x, 0.0, 1.0], &[2.0, 4.2, 5.6, 7.0], [Some(&mut totals), None]);
        }
        assert!(totals.total_m < 1e-6, "{totals:?}");
    }
}
