//! Detections of a crowd whose members keep crossing each other.

use sideline_api::Random;

use crate::{Detection, Rect};

/// Generates the detections of `frames` frames at 30 frames per second: `n` people walk about a 1920 x 1080 picture and
/// cross each other. Centers and sizes jitter by up to 3 % of the height, one detection in 25 is missing, and scores
/// vary from 0.5 to 1.
///
/// The same arguments give the same boxes on every machine.
#[must_use]
pub fn crossing_crowd(n: usize, frames: usize) -> Vec<Vec<Detection>> {
    let mut random = Random::new(0x5eed ^ n as u64);
    let people: Vec<[f64; 5]> = (0..n)
        .map(|_| {
            let height = 90.0 + 160.0 * random.uniform();
            let speed = [(random.uniform() - 0.5) * 500.0, (random.uniform() - 0.5) * 120.0];
            [random.uniform() * 1920.0, random.uniform() * 1080.0, speed[0], speed[1], height]
        })
        .collect();
    let mut detect = |frame: usize| {
        let seconds = frame as f64 / 30.0;
        let mut detections = Vec::with_capacity(n);
        for [x, y, vx, vy, height] in &people {
            let jitter = [(); 4].map(|()| (random.uniform() - 0.5) * 0.06 * height);
            let (missed, score) = (random.uniform() < 0.04, 0.5 + 0.5 * random.uniform().sqrt());
            if missed {
                continue;
            }
            let (cx, cy) =
                (reflect(x + vx * seconds, 1920.0) + jitter[0], reflect(y + vy * seconds, 1080.0) + jitter[1]);
            let (w, h) = (0.4 * height + jitter[2], height + jitter[3]);
            let rect = Rect { x: cx - w / 2.0, y: cy - h / 2.0, w, h };
            detections.push(Detection { rect, score });
        }
        detections
    };
    (0..frames).map(&mut detect).collect()
}

/// Reflects a straight path at the borders of 0..`size`.
fn reflect(position: f64, size: f64) -> f64 {
    let lap = position.rem_euclid(2.0 * size);
    lap.min(2.0 * size - lap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crowd_is_deterministic() {
        let crowd = crossing_crowd(25, 200);
        assert_eq!(crowd, crossing_crowd(25, 200));
        let boxes: usize = crowd.iter().map(Vec::len).sum();
        assert!((4700..=4900).contains(&boxes), "one detection in 25 is missing: {boxes} of 5000");
    }
}
