//! When the lines of a Vicon Physical Action file were.
//!
//! The markers were seen 200 times a second, but a line is not such a frame: whoever wrote the lines asked faster than
//! frames came, so that each place stands in five or six lines in a row, and frames are missing in between. Counted as 200
//! lines a second, who jumps would fall at a tenth of gravity, and punches would take seconds. So:
//!
//! - a **frame** is a run of lines in which the marker that moves most keeps its place;
//! - with some people nearly every second frame is missing, evenly: frames are [`EVEN`] apart on the average (the arcs of
//!   their jumps, under 9.81 m/s^2, ask for 8.1 ms);
//! - with others frames follow each other at 200 a second for 4 or 16 of them, and then a stretch is missing. There all
//!   markers leap at once. How long the stretch was follows from how far they leapt and how fast they were before and
//!   after, all markers together; where that says nothing, it is taken to be as long as the others of the file.
//!
//! So told, the heads of the seven people of the published half fall at 8.6, 9.8, 10.5, 11.0, 12.2, 13.1 and 15.8 m/s^2 in
//! their jumps (medians of 4 to 13 arcs): times are right to about a sixth, for one person to a quarter.

use super::{MARKERS, Markers, Raw, distance, median};

/// Seconds between two frames of the cameras.
const FRAME: f64 = 0.005;
/// The same where every so often one is missing.
const EVEN: f64 = 0.008;
/// How many times further than before and after markers move where frames are missing, and at least this far, mm.
const LEAP: f64 = 4.0;
const LEAST_LEAP: f64 = 8.0;
/// Markers that leap together, at least.
const TOGETHER: usize = 3;
/// Frames that are missing at most, and what is guessed where nothing says how many.
const MOST_MISSING: f64 = 60.0;
const GUESSED: f64 = 16.0;
/// Leaps among the steps of a person from which on stretches are missing.
const STRETCHES: f64 = 0.015;
/// Frames before and after from which speeds are taken.
const NEIGHBOURS: usize = 3;

/// For each file of a person the time, in seconds, and the line of every frame.
pub fn clocks(raws: &[Raw]) -> Vec<Vec<(f64, usize)>> {
    let frames: Vec<Vec<usize>> = raws.iter().map(|raw| frames(&raw.lines)).collect();
    let leaps: Vec<Vec<Option<f64>>> = raws
        .iter()
        .zip(&frames)
        .map(|(raw, frames)| leaps(&frames.iter().map(|f| raw.lines[*f]).collect::<Vec<_>>()))
        .collect();
    let count = leaps.iter().flatten().filter(|leap| leap.is_some()).count() as f64;
    let in_stretches = count > STRETCHES * leaps.iter().map(Vec::len).sum::<usize>() as f64;
    frames
        .into_iter()
        .zip(leaps)
        .zip(raws)
        .map(|((frames, leaps), raw)| {
            let step = if in_stretches || frames.len() == raw.lines.len() { FRAME } else { EVEN };
            let mut known: Vec<f64> = leaps.iter().flatten().copied().filter(|leap| leap.is_finite()).collect();
            let usual = if known.len() < 4 { GUESSED } else { median(&mut known) };
            let mut time = 0.0;
            let mut times = Vec::with_capacity(frames.len());
            for (number, line) in frames.into_iter().enumerate() {
                if let Some(leap) = number.checked_sub(1).map(|before| leaps[before]) {
                    time += leap.map_or(step, |leap| FRAME * if leap.is_finite() { leap } else { usual });
                }
                times.push((time, line));
            }
            times
        })
        .collect()
}

/// The last line of each frame: by then all markers have come.
fn frames(lines: &[Markers]) -> Vec<usize> {
    let changes = |marker: usize| -> Vec<usize> {
        (1..lines.len())
            .filter(|at| lines[*at][marker].map(f64::to_bits) != lines[at - 1][marker].map(f64::to_bits))
            .collect()
    };
    let most = (0..MARKERS).map(changes).max_by_key(Vec::len).unwrap_or_default();
    let mut runs: Vec<f64> = most.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    // The mean of the runs that are not longer because nothing moved.
    let shortest = median(&mut runs);
    let usual: Vec<f64> = runs.into_iter().filter(|run| *run <= 1.5 * shortest).collect();
    let run = usual.iter().sum::<f64>() / usual.len() as f64;
    if !run.is_finite() || run < 1.5 {
        return (0..lines.len()).collect();
    }
    let mut frames = vec![];
    let mut start = 0;
    for end in most.into_iter().chain([lines.len()]) {
        let count = ((end - start) as f64 / run).round().max(1.0);
        let line = |part: f64| start + ((end - start) as f64 * part / count).round() as usize - 1;
        frames.extend((1..=count as usize).map(|part| line(part as f64)).filter(|line| *line >= start));
        start = end;
    }
    frames
}

/// For each step from frame to frame none, or how many frames it took where it is a leap; NaN where that is not known.
fn leaps(frames: &[Markers]) -> Vec<Option<f64>> {
    let steps: Vec<Markers> = frames
        .windows(2)
        .map(|pair| std::array::from_fn(|m| std::array::from_fn(|axis| pair[1][m][axis] - pair[0][m][axis])))
        .collect();
    (0..steps.len()).map(|at| leap(&steps, at)).collect()
}

fn leap(steps: &[Markers], at: usize) -> Option<f64> {
    let before = &steps[at.saturating_sub(NEIGHBOURS)..at];
    let after = &steps[at + 1..(at + 1 + NEIGHBOURS).min(steps.len())];
    let usual = |steps: &[Markers], marker: usize| -> [f64; 3] {
        std::array::from_fn(|axis| {
            let mut values: Vec<f64> = steps.iter().map(|step| step[marker][axis]).filter(|v| v.is_finite()).collect();
            median(&mut values)
        })
    };
    let (mut leaping, mut along, mut speed) = (0, 0.0, 0.0);
    for (marker, step) in steps[at].iter().enumerate() {
        let (then, now) = (usual(before, marker), usual(after, marker));
        let length = |v: &[f64; 3]| distance(v, &[0.0; 3]);
        let far = length(step);
        if !far.is_finite() || (then[0].is_nan() && now[0].is_nan()) {
            continue;
        }
        leaping += usize::from(far > LEAST_LEAP && far > LEAP * length(&then).max(length(&now)));
        for axis in 0..3 {
            let sides = [then[axis], now[axis]].into_iter().filter(|v| v.is_finite());
            let mean = sides.clone().sum::<f64>() / sides.count() as f64;
            along += step[axis] * mean;
            speed += mean * mean;
        }
    }
    (leaping >= TOGETHER).then(|| {
        let frames = along / speed;
        // Slower than a millimetre a frame, or against how they moved: the leap says nothing.
        if speed > 1.0 && frames > 1.0 { frames.min(MOST_MISSING) } else { f64::NAN }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Markers that all fall freely, `at` seconds after their highest point.
    fn falling(at: f64) -> Markers {
        std::array::from_fn(|marker| [100.0 * marker as f64, 2000.0 * at, 1500.0 - 0.5 * 9810.0 * at * at])
    }

    fn raw(times: &[f64], held: usize) -> Raw<'static> {
        let lines = times.iter().flat_map(|time| vec![falling(*time); held]).collect();
        Raw { path: std::path::Path::new("x"), class: String::new(), labels: &[], lines }
    }

    #[test]
    fn lines_that_repeat_a_frame_take_no_time() {
        let times: Vec<f64> = (0..60).map(|i| f64::from(i) * FRAME - 0.1).collect();
        let clock = &clocks(&[raw(&times, 5)])[0];
        assert_eq!(clock.len(), 60);
        let last = clocks(&[raw(&times, 1)])[0].last().unwrap().0;
        assert!((last - 59.0 * FRAME).abs() < 1e-9, "every line a frame: {last}");
    }

    #[test]
    fn a_missing_stretch_is_as_long_as_the_leap_over_it() {
        let mut times = vec![];
        for stretch in 0..4 {
            times.extend((0..16).map(|i| f64::from(stretch) * 0.15 + f64::from(i) * FRAME));
        }
        let clock = &clocks(&[raw(&times, 5)])[0];
        assert_eq!(clock.len(), 64);
        for (time, expected) in clock.iter().zip(&times) {
            assert!((time.0 - expected).abs() < 0.012, "{} for {expected}", time.0);
        }
    }
}
