//! Timestamps of the lines of a Vicon Physical Action file.
//!
//! The markers were captured at 200 frames per second, but a line is not a frame: the program that wrote the lines
//! polled faster than frames arrived, so each position is repeated in five or six lines, and some frames are missing.
//! With 200 lines per second, people would fall at a tenth of gravity in their jumps, and punches would take seconds.
//! Therefore:
//!
//! - a **frame** is a run of lines in which the most active marker does not move;
//! - for some people nearly every second frame is missing, evenly: frames are [`EVEN_FRAME_S`] apart on average (the
//!   trajectories of their jumps, under 9.81 m/s^2, imply 8.1 ms);
//! - for others, 4 or 16 frames follow each other at 200 per second, then a block of frames is missing. There all
//!   markers jump at once. The length of the gap follows from the size of the jump and the speeds before and after, all
//!   markers together; if these are too small, the median length of the gaps in the file is used.
//!
//! With these timestamps, the heads of the seven people of the published half fall at 8.6, 9.8, 10.5, 11.0, 12.2, 13.1
//! and 15.8 m/s^2 in their jumps (medians of 4 to 13 arcs): times are accurate to about a sixth, for one person to a
//! quarter.

use super::{MARKERS, Markers, RawRecording, distance, median};

/// Frame interval of the cameras, s.
const FRAME_S: f64 = 0.005;
/// Mean frame interval where single frames are missing evenly, s.
const EVEN_FRAME_S: f64 = 0.008;
/// A marker jumps if it moves this many times further than before and after, and at least this far, mm.
const JUMP_RATIO: f64 = 4.0;
const MIN_JUMP_MM: f64 = 8.0;
/// Minimum number of markers that jump together in a gap.
const MIN_JUMPING_MARKERS: usize = 3;
/// Maximum length of a gap in frames, and the length that is assumed without any measured gap.
const MAX_GAP_FRAMES: f64 = 60.0;
const DEFAULT_GAP_FRAMES: f64 = 16.0;
/// Share of jumps among the steps of a person above which blocks of frames, not single ones, are missing.
const BLOCK_GAP_SHARE: f64 = 0.015;
/// Frames before and after a gap from which speeds are estimated.
const SPEED_FRAMES: usize = 3;

/// Returns the time, in seconds, and the line of every frame, for each file of a person.
pub fn timestamps(raws: &[RawRecording]) -> Vec<Vec<(f64, usize)>> {
    let frames: Vec<Vec<usize>> = raws.iter().map(|raw| frame_lines(&raw.lines)).collect();
    let gaps: Vec<Vec<Option<f64>>> = raws
        .iter()
        .zip(&frames)
        .map(|(raw, frames)| detect_gaps(&frames.iter().map(|f| raw.lines[*f]).collect::<Vec<_>>()))
        .collect();
    let count = gaps.iter().flatten().filter(|gap| gap.is_some()).count() as f64;
    let has_block_gaps = count > BLOCK_GAP_SHARE * gaps.iter().map(Vec::len).sum::<usize>() as f64;
    frames
        .into_iter()
        .zip(gaps)
        .zip(raws)
        .map(|((frames, gaps), raw)| {
            let step = if has_block_gaps || frames.len() == raw.lines.len() { FRAME_S } else { EVEN_FRAME_S };
            let mut measured: Vec<f64> = gaps.iter().flatten().copied().filter(|gap| gap.is_finite()).collect();
            let median_gap = if measured.len() < 4 { DEFAULT_GAP_FRAMES } else { median(&mut measured) };
            let mut time = 0.0;
            let mut times = Vec::with_capacity(frames.len());
            for (number, line) in frames.into_iter().enumerate() {
                if let Some(gap) = number.checked_sub(1).map(|before| gaps[before]) {
                    time += gap.map_or(step, |gap| FRAME_S * if gap.is_finite() { gap } else { median_gap });
                }
                times.push((time, line));
            }
            times
        })
        .collect()
}

/// Returns the last line of each frame, by which all markers have been updated.
fn frame_lines(lines: &[Markers]) -> Vec<usize> {
    let changed_lines = |marker: usize| -> Vec<usize> {
        (1..lines.len())
            .filter(|line| lines[*line][marker].map(f64::to_bits) != lines[line - 1][marker].map(f64::to_bits))
            .collect()
    };
    let changes = (0..MARKERS).map(changed_lines).max_by_key(Vec::len).unwrap_or_default();
    let mut runs: Vec<f64> = changes.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    // Mean length of the runs, without those that are longer because nothing moved.
    let median_run = median(&mut runs);
    let typical: Vec<f64> = runs.into_iter().filter(|run| *run <= 1.5 * median_run).collect();
    let run = typical.iter().sum::<f64>() / typical.len() as f64;
    if !run.is_finite() || run < 1.5 {
        return (0..lines.len()).collect();
    }
    let mut frames = vec![];
    let mut start = 0;
    for end in changes.into_iter().chain([lines.len()]) {
        let count = ((end - start) as f64 / run).round().max(1.0);
        let line = |part: f64| start + ((end - start) as f64 * part / count).round() as usize - 1;
        frames.extend((1..=count as usize).map(|part| line(part as f64)).filter(|line| *line >= start));
        start = end;
    }
    frames
}

/// Returns, for each step from frame to frame, `None` or the number of frames that a gap took; NaN where it is unknown.
fn detect_gaps(frames: &[Markers]) -> Vec<Option<f64>> {
    let steps: Vec<Markers> = frames
        .windows(2)
        .map(|pair| std::array::from_fn(|m| std::array::from_fn(|axis| pair[1][m][axis] - pair[0][m][axis])))
        .collect();
    (0..steps.len()).map(|index| gap_length(&steps, index)).collect()
}

fn gap_length(steps: &[Markers], index: usize) -> Option<f64> {
    let before = &steps[index.saturating_sub(SPEED_FRAMES)..index];
    let after = &steps[index + 1..(index + 1 + SPEED_FRAMES).min(steps.len())];
    let median_step = |steps: &[Markers], marker: usize| -> [f64; 3] {
        std::array::from_fn(|axis| {
            let mut values: Vec<f64> = steps.iter().map(|step| step[marker][axis]).filter(|v| v.is_finite()).collect();
            median(&mut values)
        })
    };
    let (mut jumping_markers, mut along, mut squared_speed) = (0, 0.0, 0.0);
    for (marker, step) in steps[index].iter().enumerate() {
        let (step_before, step_after) = (median_step(before, marker), median_step(after, marker));
        let length = |v: &[f64; 3]| distance(v, &[0.0; 3]);
        let step_length = length(step);
        if !step_length.is_finite() || (step_before[0].is_nan() && step_after[0].is_nan()) {
            continue;
        }
        let usual_length = length(&step_before).max(length(&step_after));
        jumping_markers += usize::from(step_length > MIN_JUMP_MM && step_length > JUMP_RATIO * usual_length);
        for axis in 0..3 {
            let sides = [step_before[axis], step_after[axis]].into_iter().filter(|v| v.is_finite());
            let mean = sides.clone().sum::<f64>() / sides.count() as f64;
            along += step[axis] * mean;
            squared_speed += mean * mean;
        }
    }
    (jumping_markers >= MIN_JUMPING_MARKERS).then(|| {
        let frames = along / squared_speed;
        // Slower than a millimeter per frame, or against the direction of movement: the jump does not determine the
        // gap.
        if squared_speed > 1.0 && frames > 1.0 { frames.min(MAX_GAP_FRAMES) } else { f64::NAN }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Markers in free fall, `time` seconds after the highest point.
    fn falling(time: f64) -> Markers {
        std::array::from_fn(|marker| [100.0 * marker as f64, 2000.0 * time, 1500.0 - 0.5 * 9810.0 * time * time])
    }

    fn raw(times: &[f64], repeats: usize) -> RawRecording<'static> {
        let lines = times.iter().flat_map(|time| vec![falling(*time); repeats]).collect();
        RawRecording { path: std::path::Path::new("x"), class: String::new(), labels: &[], lines }
    }

    #[test]
    fn repeated_lines_are_one_frame() {
        let times: Vec<f64> = (0..60).map(|i| f64::from(i) * FRAME_S - 0.1).collect();
        let clock = &timestamps(&[raw(&times, 5)])[0];
        assert_eq!(clock.len(), 60);
        let last = timestamps(&[raw(&times, 1)])[0].last().unwrap().0;
        assert!((last - 59.0 * FRAME_S).abs() < 1e-9, "every line a frame: {last}");
    }

    #[test]
    fn the_length_of_a_gap_follows_from_the_jump() {
        let mut times = vec![];
        for stretch in 0..4 {
            times.extend((0..16).map(|i| f64::from(stretch) * 0.15 + f64::from(i) * FRAME_S));
        }
        let clock = &timestamps(&[raw(&times, 5)])[0];
        assert_eq!(clock.len(), 64);
        for (time, expected) in clock.iter().zip(&times) {
            assert!((time.0 - expected).abs() < 0.012, "{} for {expected}", time.0);
        }
    }
}
