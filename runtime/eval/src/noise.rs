//! Simulated detections: noisy boxes generated from ground-truth boxes where a sequence has no detections of its own.
//!
//! The same seed, name and ground truth give the same boxes on every machine: each object has its own stream of random
//! numbers, and only the four basic operations and square roots are used. The model, with the effect of each field of
//! [`Noise`]:
//!
//! - A box is occluded by boxes whose bottom edge is lower in the image (nearer the camera). Occluded boxes are missed
//!   more often, scored lower and located less precisely. In addition, every object fades at times: it is mostly missed
//!   for a while.
//! - Center and size err by a share of the box's own size. Half of that error (in variance) is correlated over a fifth
//!   of a second, as detectors err alike on similar images; the rest is independent in each frame.
//! - Of two boxes that overlap by more than the detector's non-maximum suppression allows, the one with the higher
//!   score is kept.
//! - False positives last one frame with mostly low scores ("flickers"), or stay at one place in the image for a second
//!   or two ("ghosts").

use std::collections::BTreeMap;

use crate::Random;
use crate::motchallenge::{Detection, Frames, LabeledBox, Rect};

/// Error model of the simulated detector. Shares are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Noise {
    /// Seed of the random numbers.
    pub seed: u64,
    /// Share of unoccluded boxes that are missed, independently in each frame.
    pub miss: f64,
    /// Share of fully occluded boxes that are missed; a quarter of it for half-occluded ones.
    pub hidden_miss: f64,
    /// Fades of each object, per second.
    pub fades: f64,
    /// Mean duration of a fade, seconds.
    pub fade_seconds: f64,
    /// Standard deviation of center and size, as a share of the box's width and height; up to double where the box is
    /// occluded.
    pub jitter: f64,
    /// Standard deviation of scores.
    pub score: f64,
    /// Mean number of false positives per frame that last one frame.
    pub flickers: f64,
    /// Mean number of persistent false positives that start per second.
    pub ghosts: f64,
    /// Mean duration of a persistent false positive, seconds.
    pub ghost_seconds: f64,
    /// IoU above which non-maximum suppression drops the box with the lower score.
    pub suppression: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            seed: 1,
            miss: 0.02,
            hidden_miss: 0.8,
            fades: 0.1,
            fade_seconds: 0.3,
            jitter: 0.04,
            score: 0.08,
            flickers: 0.3,
            ghosts: 0.1,
            ghost_seconds: 1.5,
            suppression: 0.7,
        }
    }
}

/// Mean score of an unoccluded box.
const UNOCCLUDED_SCORE: f64 = 0.88;
/// Reduction of the score of a fully occluded box.
const OCCLUSION_SCORE_PENALTY: f64 = 0.6;
/// Reduction of the score during a fade.
const FADE_SCORE_PENALTY: f64 = 0.45;
/// Share of boxes that are missed during a fade.
const FADE_MISS_RATE: f64 = 0.7;
/// Correlation time of the lasting half of an error, seconds.
const ERROR_CORRELATION_S: f64 = 0.2;
/// Share of frames in which a persistent false positive is detected.
const GHOST_DETECTION_RATE: f64 = 0.8;

impl Noise {
    /// Keys that [`Noise::set`] accepts.
    pub const KEYS: [&str; 10] = [
        "miss",
        "hidden_miss",
        "fades",
        "fade_seconds",
        "jitter",
        "score",
        "flickers",
        "ghosts",
        "ghost_seconds",
        "suppression",
    ];

    /// Sets a field by its key.
    ///
    /// # Errors
    /// The key is not one of [`Noise::KEYS`], or the value is not a number in its range; the message names the valid
    /// keys or the range.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (field, max) = match key {
            "miss" => (&mut self.miss, 1.0),
            "hidden_miss" => (&mut self.hidden_miss, 1.0),
            "fades" => (&mut self.fades, 100.0),
            "fade_seconds" => (&mut self.fade_seconds, 100.0),
            "jitter" => (&mut self.jitter, 1.0),
            "score" => (&mut self.score, 1.0),
            "flickers" => (&mut self.flickers, 100.0),
            "ghosts" => (&mut self.ghosts, 100.0),
            "ghost_seconds" => (&mut self.ghost_seconds, 100.0),
            "suppression" => (&mut self.suppression, 1.0),
            _ => return Err(format!("{key:?} is not a key of the noise; the keys are {}", Self::KEYS.join(", "))),
        };
        *field = value
            .parse()
            .ok()
            .filter(|number: &f64| (0.0..=max).contains(number))
            .ok_or_else(|| format!("{key} is {value:?}; it is a number from 0 to {max}"))?;
        Ok(())
    }

    /// Simulates the detections of `truth` in an image of `size` (width, height; px) at `rate` frames per second.
    #[must_use]
    pub fn detect(&self, sequence: &str, truth: &Frames<LabeledBox>, size: (f64, f64), rate: f64) -> Frames<Detection> {
        let step = 1.0 / rate;
        let mut objects = BTreeMap::new();
        let mut clutter = Clutter::new(Random::for_item(self.seed, sequence, CLUTTER_STREAM), truth);
        let mut frames = Vec::with_capacity(truth.len());
        for boxes in truth {
            let mut detections = Vec::with_capacity(boxes.len() + 2);
            for (index, labeled) in boxes.iter().enumerate() {
                let object = objects
                    .entry(labeled.id)
                    .or_insert_with(|| Object::new(Random::for_item(self.seed, sequence, labeled.id)));
                detections.extend(object.detect(self, &labeled.rect, occlusion(boxes, index), step));
            }
            clutter.add(self, size, step, &mut detections);
            detections.iter_mut().for_each(|detection| detection.rect = clip(&detection.rect, size));
            frames.push(suppress(detections, self.suppression));
        }
        frames
    }
}

/// Number of the random stream of false positives. No object has it.
const CLUTTER_STREAM: i64 = i64::MIN;

/// Returns the occluded share of a box, 0 to 1: each nearer box occludes its share of the part left visible by the
/// others.
fn occlusion(boxes: &[LabeledBox], index: usize) -> f64 {
    let rect = &boxes[index].rect;
    let feet = rect.y + rect.h;
    let nearer = boxes.iter().filter(|other| other.rect.y + other.rect.h > feet);
    let visible = nearer.fold(1.0, |visible, other| {
        visible * (1.0 - intersection_area(rect, &other.rect) / (rect.w * rect.h).max(1.0))
    });
    1.0 - visible
}

fn intersection_area(a: &Rect, b: &Rect) -> f64 {
    let width = (a.x + a.w).min(b.x + b.w) - a.x.max(b.x);
    let height = (a.y + a.h).min(b.y + b.h) - a.y.max(b.y);
    width.max(0.0) * height.max(0.0)
}

/// Clips a box to the image.
fn clip(rect: &Rect, (width, height): (f64, f64)) -> Rect {
    let (x, y) = (rect.x.clamp(0.0, width), rect.y.clamp(0.0, height));
    Rect { x, y, w: (rect.x + rect.w).clamp(0.0, width) - x, h: (rect.y + rect.h).clamp(0.0, height) - y }
}

/// Applies greedy non-maximum suppression, highest score first. Boxes narrower or lower than two pixels are dropped as
/// well.
fn suppress(mut boxes: Vec<Detection>, max_iou: f64) -> Vec<Detection> {
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::with_capacity(boxes.len());
    for detection in boxes {
        let is_duplicate = kept.iter().any(|other| other.rect.iou(&detection.rect) > max_iou);
        if !is_duplicate && detection.rect.w >= 2.0 && detection.rect.h >= 2.0 {
            kept.push(detection);
        }
    }
    kept
}

/// Object with the correlated part of the detector's errors about it.
struct Object {
    random: Random,
    is_faded: bool,
    /// Correlated errors of center x, center y, width, height and score; standard deviation 1.
    correlated_errors: [f64; 5],
}

impl Object {
    fn new(mut random: Random) -> Self {
        let correlated_errors = [(); 5].map(|()| random.normal());
        Self { random, is_faded: false, correlated_errors }
    }

    /// Simulates the detection of the object in one frame. Every call draws the same count of random numbers, whatever
    /// the result.
    fn detect(&mut self, noise: &Noise, rect: &Rect, occlusion: f64, step: f64) -> Option<Detection> {
        let draw = self.random.uniform();
        self.is_faded =
            if self.is_faded { draw >= step / noise.fade_seconds.max(step) } else { draw < noise.fades * step };
        let keep = ERROR_CORRELATION_S / (ERROR_CORRELATION_S + step);
        let fresh = (1.0 - keep * keep).sqrt();
        let mut errors = [0.0; 5];
        for (error, correlated) in errors.iter_mut().zip(&mut self.correlated_errors) {
            *correlated = keep * *correlated + fresh * self.random.normal();
            *error = (*correlated + self.random.normal()) * 0.5f64.sqrt();
        }
        let miss = noise.miss + (noise.hidden_miss - noise.miss).max(0.0) * occlusion * occlusion;
        let is_missed = self.random.uniform() < if self.is_faded { miss.max(FADE_MISS_RATE) } else { miss };
        if is_missed {
            return None;
        }
        let sigma = noise.jitter * (1.0 + occlusion);
        let [x, y, w, h, score] = errors;
        let (wide, high) = (rect.w * (1.0 + sigma * w).max(0.2), rect.h * (1.0 + sigma * h).max(0.2));
        let (cx, cy) = (rect.x + rect.w * (0.5 + sigma * x), rect.y + rect.h * (0.5 + sigma * y));
        let fade_penalty = if self.is_faded { FADE_SCORE_PENALTY } else { 0.0 };
        let score = UNOCCLUDED_SCORE - OCCLUSION_SCORE_PENALTY * occlusion - fade_penalty + noise.score * score;
        let rect = Rect { x: cx - wide / 2.0, y: cy - high / 2.0, w: wide, h: high };
        Some(Detection { rect, score: score.clamp(0.05, 0.99) })
    }
}

/// Generator of false positives.
struct Clutter {
    random: Random,
    /// Sizes of the true boxes, from which the sizes of false positives are drawn.
    sizes: Vec<(f64, f64)>,
    ghosts: Vec<Detection>,
}

impl Clutter {
    fn new(random: Random, truth: &Frames<LabeledBox>) -> Self {
        let sizes = truth.iter().flatten().map(|labeled| (labeled.rect.w, labeled.rect.h)).collect();
        Self { random, sizes, ghosts: Vec::new() }
    }

    fn add(&mut self, noise: &Noise, size: (f64, f64), step: f64, detections: &mut Vec<Detection>) {
        if self.sizes.is_empty() {
            return;
        }
        let random = &mut self.random;
        self.ghosts.retain(|_| random.uniform() >= step / noise.ghost_seconds.max(step));
        for _ in 0..self.random.geometric(noise.ghosts * step) {
            let rect = self.random_box(size);
            let score = 0.35 + 0.4 * self.random.uniform();
            self.ghosts.push(Detection { rect, score });
        }
        for ghost in &self.ghosts {
            let is_detected = self.random.uniform() < GHOST_DETECTION_RATE;
            let [dx, dy, score] = [(); 3].map(|()| self.random.normal());
            let Rect { x, y, w, h } = ghost.rect;
            let rect = Rect { x: x + noise.jitter * w * dx, y: y + noise.jitter * h * dy, w, h };
            let score = (ghost.score + noise.score * score).clamp(0.05, 0.99);
            detections.extend(is_detected.then_some(Detection { rect, score }));
        }
        for _ in 0..self.random.geometric(noise.flickers) {
            let rect = self.random_box(size);
            let draw = self.random.uniform();
            detections.push(Detection { rect, score: 0.1 + 0.7 * draw * draw });
        }
    }

    /// Draws a box of the size of a random true box, anywhere in the image.
    fn random_box(&mut self, (width, height): (f64, f64)) -> Rect {
        let index = (self.random.uniform() * self.sizes.len() as f64) as usize;
        let (w, h) = self.sizes[index.min(self.sizes.len() - 1)];
        let (cx, cy) = (self.random.uniform() * width, self.random.uniform() * height);
        Rect { x: cx - w / 2.0, y: cy - h / 2.0, w, h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two people side by side, and a third behind the second.
    fn truth(frames: usize) -> Frames<LabeledBox> {
        let person = |id, x, y| LabeledBox { id, rect: Rect { x, y, w: 40.0, h: 100.0 } };
        vec![vec![person(1, 100.0, 200.0), person(2, 400.0, 200.0), person(3, 410.0, 190.0)]; frames]
    }

    const SIZE: (f64, f64) = (1280.0, 720.0);
    const NO_NOISE: Noise = Noise {
        seed: 1,
        miss: 0.0,
        hidden_miss: 0.0,
        fades: 0.0,
        fade_seconds: 0.0,
        jitter: 0.0,
        score: 0.0,
        flickers: 0.0,
        ghosts: 0.0,
        ghost_seconds: 0.0,
        suppression: 1.0,
    };

    fn simulate(noise: Noise, frames: usize) -> Frames<Detection> {
        noise.detect("a", &truth(frames), SIZE, 25.0)
    }

    /// Returns the share of frames with a detection whose center is within 5 px of x.
    fn share_at(frames: &Frames<Detection>, x: f64) -> f64 {
        let is_near = |boxes: &&Vec<Detection>| boxes.iter().any(|d| (d.rect.x + d.rect.w / 2.0 - x).abs() < 5.0);
        frames.iter().filter(is_near).count() as f64 / frames.len() as f64
    }

    #[test]
    fn boxes_depend_on_seed_and_name_only() {
        let noise = Noise::default();
        assert_eq!(simulate(noise, 100), simulate(noise, 100));
        assert_ne!(simulate(noise, 100), simulate(Noise { seed: 2, ..noise }, 100));
        assert_ne!(simulate(noise, 100), noise.detect("b", &truth(100), SIZE, 25.0));
    }

    #[test]
    fn without_noise_boxes_are_true_and_an_occluded_one_scores_less() {
        let frame = &simulate(NO_NOISE, 1)[0];
        let mut rects: Vec<Rect> = frame.iter().map(|detection| detection.rect).collect();
        rects.sort_by(|a, b| a.x.total_cmp(&b.x));
        assert_eq!(rects, truth(1)[0].iter().map(|labeled| labeled.rect).collect::<Vec<_>>());
        assert_eq!(frame[0].score, UNOCCLUDED_SCORE);
        assert!(frame[2].rect.x == 410.0 && frame[2].score < UNOCCLUDED_SCORE - 0.3, "{:?}", frame[2]);
    }

    #[test]
    fn misses_have_the_configured_rate_and_rise_with_occlusion() {
        let frames = simulate(Noise { miss: 0.1, hidden_miss: 0.9, ..NO_NOISE }, 4000);
        assert!((share_at(&frames, 120.0) - 0.9).abs() < 0.02);
        assert!(share_at(&frames, 430.0) < 0.7);
    }

    #[test]
    fn fades_are_bursts_of_misses_with_the_configured_rate() {
        let frames = simulate(Noise { fades: 0.5, fade_seconds: 0.4, ..NO_NOISE }, 8000);
        let missed: Vec<bool> =
            frames.iter().map(|boxes| !boxes.iter().any(|detection| detection.rect.x < 200.0)).collect();
        let share = missed.iter().filter(|missed| **missed).count() as f64 / 8000.0;
        let expected = FADE_MISS_RATE * 0.4 / (0.4 + 2.0);
        assert!((share - expected).abs() < 0.25 * expected, "{share} is not {expected}");
        let after_one = missed.windows(2).filter(|pair| pair[0] && pair[1]).count() as f64 / (share * 8000.0);
        assert!(after_one > 0.5, "misses come in bursts: {after_one}");
    }

    #[test]
    fn errors_have_the_configured_spread_and_half_is_correlated() {
        let frames = simulate(Noise { jitter: 0.05, ..NO_NOISE }, 4000);
        let person = |boxes: &Vec<Detection>| {
            let found = boxes.iter().find(|detection| detection.rect.x < 200.0).unwrap();
            (found.rect.x + found.rect.w / 2.0 - 120.0) / 40.0
        };
        let errors: Vec<f64> = frames.iter().map(person).collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / 4000.0;
        let variance = mean(&mut errors.iter().map(|error| error * error));
        assert!((variance.sqrt() - 0.05).abs() < 0.005, "{}", variance.sqrt());
        let lasting = mean(&mut errors.windows(2).map(|pair| pair[0] * pair[1])) / variance;
        assert!((0.3..0.55).contains(&lasting), "{lasting}");
    }

    #[test]
    fn false_positives_flicker_or_persist_inside_the_image() {
        let false_positives_per_frame = |noise: Noise| {
            let boxes: usize = simulate(noise, 4000).iter().map(Vec::len).sum();
            (boxes as f64 - 12_000.0) / 4000.0
        };
        assert!((false_positives_per_frame(Noise { flickers: 0.3, ..NO_NOISE }) - 0.3).abs() < 0.04);
        // Two per second for 1.5 seconds each, detected in eight frames of ten.
        let ghosts = false_positives_per_frame(Noise { ghosts: 2.0, ghost_seconds: 1.5, ..NO_NOISE });
        assert!((ghosts - 2.4).abs() < 0.3, "{ghosts}");
        let noise = Noise { flickers: 3.0, ghosts: 1.0, jitter: 0.3, ..Noise::default() };
        for Detection { rect, score } in simulate(noise, 500).into_iter().flatten() {
            assert!(rect.x >= 0.0 && rect.y >= 0.0 && rect.x + rect.w <= 1280.0 && rect.y + rect.h <= 720.0);
            assert!((0.0..=1.0).contains(&score));
        }
    }

    #[test]
    fn suppression_keeps_the_overlapping_box_with_the_higher_score() {
        let frame = &simulate(Noise { suppression: 0.5, ..NO_NOISE }, 1)[0];
        assert_eq!(frame.len(), 2);
        assert!(frame.iter().all(|detection| detection.rect.x != 410.0));
    }

    #[test]
    fn unknown_keys_and_values_out_of_range_are_refused() {
        for key in Noise::KEYS {
            let mut noise = NO_NOISE;
            noise.set(key, "0").unwrap();
            noise.set(key, "1").unwrap();
            assert!(noise.set(key, "-1").unwrap_err().starts_with(&format!("{key} is \"-1\"")));
        }
        let error = Noise::default().set("mis", "0.1").unwrap_err();
        assert!(error.contains("\"mis\" is not a key of the noise; the keys are miss, hidden_miss"), "{error}");
    }
}
