//! How far and how fast somebody runs.

use serde::{Deserialize, Serialize};

/// Seconds over which places are averaged before ways are measured: boxes tremble, and every tremble would be a way.
const WINDOW: f64 = 0.5;
/// Part of a window that must have been seen.
const SEEN: f64 = 0.6;
/// Faster than anybody runs, m/s: a box that jumped to somebody else.
const FASTEST: f64 = 12.0;

/// Metres by speed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ways {
    /// Metres in all.
    pub distance: f64,
    /// Fastest mean speed of a window, m/s.
    pub top_speed: f64,
    /// Metres in each zone.
    pub zones: [f64; 5],
    /// Seconds seen.
    pub seconds: f64,
}

impl Ways {
    /// Adds a way of `metres` in `seconds`.
    fn add(&mut self, metres: f64, seconds: f64, bounds: &[f32; 4]) {
        let speed = metres / seconds;
        let zone = bounds.iter().filter(|bound| speed >= f64::from(**bound)).count();
        self.distance += metres;
        self.zones[zone] += metres;
        self.top_speed = self.top_speed.max(speed);
    }
}

/// One track's window in hand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Walker {
    /// Middle of the window before, with its time: s, units.
    before: Option<(f64, [f64; 2])>,
    /// Begin of this one, s; frames; sums of time, x, y, units in a metre.
    begin: Option<f64>,
    frames: f64,
    sums: [f64; 4],
    /// When the track was seen last, s.
    pub seen: f64,
}

impl Walker {
    /// Takes in a place at `now`; `step` is how long a frame lasts. What is known by it is added to all of `into`.
    pub fn see(
        &mut self,
        now: f64,
        step: f64,
        [x, y, scale]: [f64; 3],
        bounds: &[f32; 4],
        into: [Option<&mut Ways>; 2],
    ) {
        let gap = self.begin.is_some() && now - self.seen > WINDOW;
        self.seen = now;
        if gap {
            *self = Walker { seen: now, ..Walker::default() };
        }
        let begin = *self.begin.get_or_insert(now);
        self.frames += 1.0;
        for (sum, value) in self.sums.iter_mut().zip([now, x, y, scale]) {
            *sum += value;
        }
        let mut whole = None;
        if now - begin + step >= WINDOW - 1e-6 {
            let [at, x, y, scale] = self.sums.map(|sum| sum / self.frames);
            let enough = self.frames * step >= SEEN * WINDOW;
            if let Some((then, [fx, fy])) = self.before.filter(|_| enough) {
                let metres = (x - fx).hypot(y - fy) / scale;
                let seconds = at - then;
                whole = (metres / seconds <= FASTEST).then_some((metres, seconds));
            }
            self.before = enough.then_some((at, [x, y]));
            (self.begin, self.frames, self.sums) = (None, 0.0, [0.0; 4]);
        }
        for ways in into.into_iter().flatten() {
            ways.seconds += step;
            if let Some((metres, seconds)) = whole {
                ways.add(metres, seconds, bounds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks for ten seconds at 30 frames a second, at a speed, with a tremble in metres.
    fn walk(speed: f64, tremble: f64, scale: f64) -> Ways {
        let (mut walker, mut ways) = (Walker::default(), Ways::default());
        for frame in 0..300 {
            let now = f64::from(frame) / 30.0;
            let off = if frame % 2 == 0 { tremble } else { -tremble };
            let at = [(speed * now + off) * scale, 40.0, scale];
            walker.see(now, 1.0 / 30.0, at, &[2.0, 4.2, 5.6, 7.0], [Some(&mut ways), None]);
        }
        ways
    }

    #[test]
    fn a_way_is_as_long_as_it_is_in_any_unit() {
        for scale in [1.0, 23.0] {
            let ways = walk(6.0, 0.0, scale);
            // The first window has none before it.
            assert!((ways.distance - 57.0).abs() < 0.1, "{ways:?}");
            assert!((ways.top_speed - 6.0).abs() < 1e-6 && (ways.zones[3] - ways.distance).abs() < 1e-9);
            assert!((ways.seconds - 10.0).abs() < 1e-6);
        }
    }

    #[test]
    fn who_trembles_stands_still() {
        let ways = walk(0.0, 0.2, 1.0);
        assert!(ways.distance < 0.8, "{ways:?}");
    }

    #[test]
    fn a_jump_is_no_way() {
        let (mut walker, mut ways) = (Walker::default(), Ways::default());
        for frame in 0..120 {
            let now = f64::from(frame) / 30.0;
            let x = if frame < 60 { 0.0 } else { 40.0 };
            walker.see(now, 1.0 / 30.0, [x, 0.0, 1.0], &[2.0, 4.2, 5.6, 7.0], [Some(&mut ways), None]);
        }
        assert!(ways.distance < 1e-6, "{ways:?}");
    }
}
