//! What `sideline bench tracker` feeds the tracker: a crowd that keeps crossing itself.

use sideline_api::Random;

use crate::Detection;

/// Detections of `frames` frames at 30 a second, in which `n` people walk about a 1920 x 1080 picture and cross each other:
/// boxes tremble by a few hundredths of their height, one in twenty-five is missed, scores fall now and then.
///
/// The same arguments give the same boxes, on every machine.
#[must_use]
pub fn crossing_crowd(n: usize, frames: usize) -> Vec<Vec<Detection>> {
    let mut random = Random::new(0x5eed ^ n as u64);
    let people: Vec<[f64; 5]> = (0..n)
        .map(|_| {
            let height = 90.0 + 160.0 * random.share();
            let speed = [(random.share() - 0.5) * 500.0, (random.share() - 0.5) * 120.0];
            [random.share() * 1920.0, random.share() * 1080.0, speed[0], speed[1], height]
        })
        .collect();
    let mut at = |frame: usize| {
        let seconds = frame as f64 / 30.0;
        let mut detections = Vec::with_capacity(n);
        for [x, y, vx, vy, height] in &people {
            let tremble = [(); 4].map(|()| (random.share() - 0.5) * 0.06 * height);
            let (missed, score) = (random.share() < 0.04, 0.5 + 0.5 * random.share().sqrt());
            if missed {
                continue;
            }
            let (cx, cy) =
                (bounced(x + vx * seconds, 1920.0) + tremble[0], bounced(y + vy * seconds, 1080.0) + tremble[1]);
            let (w, h) = (0.4 * height + tremble[2], height + tremble[3]);
            detections.push(Detection {
                x1: (cx - w / 2.0) as f32,
                y1: (cy - h / 2.0) as f32,
                x2: (cx + w / 2.0) as f32,
                y2: (cy + h / 2.0) as f32,
                score: score as f32,
                class: 0,
            });
        }
        detections
    };
    (0..frames).map(&mut at).collect()
}

/// A way that turns round at the edges of 0..`size`.
fn bounced(way: f64, size: f64) -> f64 {
    let lap = way.rem_euclid(2.0 * size);
    lap.min(2.0 * size - lap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TrackerConfig, TrackerState};

    #[test]
    fn the_crowd_is_the_same_each_time_and_can_be_tracked() {
        let crowd = crossing_crowd(25, 200);
        assert_eq!(crowd, crossing_crowd(25, 200));
        let (mut state, mut rows) = (TrackerState::default(), Vec::new());
        for detections in &crowd {
            state.step(&TrackerConfig::default(), Some(detections), 1.0 / 30.0, &mut rows);
        }
        assert!((20..=40).contains(&rows.len()), "{}", rows.len());
    }
}
