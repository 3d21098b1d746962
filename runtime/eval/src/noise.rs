//! Noisy boxes from true ones: what a detector would have seen, where only the truth is known.
//!
//! The same seed, name and truth give the same boxes on every machine: each object has a stream of random numbers of its
//! own, and nothing but the four operations and square roots is used. The model, with what each number of [`Noise`] does:
//!
//! - A box is hidden by those whose feet stand lower in the picture (nearer the camera). What is hidden is missed more,
//!   scored lower and placed worse. Besides, every object fades at times: for a while it is mostly missed.
//! - Centre and size err by a share of the box's own size. Half of that (in variance) lasts a fifth of a second, as a
//!   detector errs alike on pictures that are alike; the rest is new in each frame.
//! - Of two boxes that overlap more than a detector's suppression lets pass, the one with the higher score stays.
//! - False boxes flicker up for a frame with mostly low scores, or stay at one place of the picture for a second or two.

use std::collections::BTreeMap;

use crate::Random;
use crate::motchallenge::{Detection, Frames, Labelled, Rect};

/// The detector that is played. Shares are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Noise {
    /// Which of the random worlds.
    pub seed: u64,
    /// Share of the boxes in plain sight that are missed, one by one.
    pub miss: f64,
    /// Share of the wholly hidden boxes that are missed; of half hidden ones a quarter of it.
    pub hidden_miss: f64,
    /// How often an object fades, times a second.
    pub fades: f64,
    /// How long it does on average, seconds.
    pub fade_seconds: f64,
    /// Standard deviation of centre and size, in shares of the box's width and height; up to double where it is hidden.
    pub jitter: f64,
    /// Standard deviation of scores.
    pub score: f64,
    /// False boxes that last a frame, in each frame on average.
    pub flickers: f64,
    /// False boxes that stay, begun each second on average.
    pub ghosts: f64,
    /// How long they stay on average, seconds.
    pub ghost_seconds: f64,
    /// Overlap (IoU) from which two boxes become one.
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

/// Score of a box in plain sight.
const PLAIN_SCORE: f64 = 0.88;
/// What being wholly hidden takes from it.
const HIDDEN_COST: f64 = 0.6;
/// What a fade takes from it.
const FADED_COST: f64 = 0.45;
/// Share of a faded object's boxes that is missed.
const FADED_MISS: f64 = 0.7;
/// Seconds for which half of an error lasts.
const LASTING: f64 = 0.2;
/// Share of a ghost's frames in which it is there.
const GHOST_SEEN: f64 = 0.8;

impl Noise {
    /// The names of the numbers that [`Noise::set`] takes.
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

    /// Sets a number by its name.
    ///
    /// # Errors
    /// A name that is not one of [`Noise::KEYS`], or a value that is no number or makes no sense; the text says what does.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (slot, most) = match key {
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
            _ => return Err(format!("{key:?} is no number of the noise; it has {}", Self::KEYS.join(", "))),
        };
        *slot = value
            .parse()
            .ok()
            .filter(|number: &f64| (0.0..=most).contains(number))
            .ok_or_else(|| format!("{key} is {value:?}; it is a number from 0 to {most}"))?;
        Ok(())
    }

    /// What the detector sees of `truth`, in a picture of `size` (width, height; pixels), at `rate` frames a second.
    #[must_use]
    pub fn detect(&self, sequence: &str, truth: &Frames<Labelled>, size: (f64, f64), rate: f64) -> Frames<Detection> {
        let step = 1.0 / rate;
        let mut objects = BTreeMap::new();
        let mut clutter = Clutter::new(Random::of(self.seed, sequence, CLUTTER), truth);
        let mut frames = Vec::with_capacity(truth.len());
        for boxes in truth {
            let mut seen = Vec::with_capacity(boxes.len() + 2);
            for (index, labelled) in boxes.iter().enumerate() {
                let object = objects
                    .entry(labelled.id)
                    .or_insert_with(|| Object::new(Random::of(self.seed, sequence, labelled.id)));
                seen.extend(object.seen(self, &labelled.rect, hidden(boxes, index), step));
            }
            clutter.add(self, size, step, &mut seen);
            seen.iter_mut().for_each(|detection| detection.rect = clipped(&detection.rect, size));
            frames.push(suppressed(seen, self.suppression));
        }
        frames
    }
}

/// The number of the random stream that false boxes come from: no object has it.
const CLUTTER: i64 = i64::MIN;

/// How much of a box is hidden by nearer ones, 0 to 1: each hides its share of what the others leave.
fn hidden(boxes: &[Labelled], index: usize) -> f64 {
    let rect = &boxes[index].rect;
    let feet = rect.y + rect.h;
    let nearer = boxes.iter().filter(|other| other.rect.y + other.rect.h > feet);
    let seen = nearer.fold(1.0, |seen, other| seen * (1.0 - shared(rect, &other.rect) / (rect.w * rect.h).max(1.0)));
    1.0 - seen
}

fn shared(a: &Rect, b: &Rect) -> f64 {
    let width = (a.x + a.w).min(b.x + b.w) - a.x.max(b.x);
    let height = (a.y + a.h).min(b.y + b.h) - a.y.max(b.y);
    width.max(0.0) * height.max(0.0)
}

/// What lies within the picture.
fn clipped(rect: &Rect, (width, height): (f64, f64)) -> Rect {
    let (x, y) = (rect.x.clamp(0.0, width), rect.y.clamp(0.0, height));
    Rect { x, y, w: (rect.x + rect.w).clamp(0.0, width) - x, h: (rect.y + rect.h).clamp(0.0, height) - y }
}

/// Greedy suppression, the surest first; boxes of less than two pixels either way go too.
fn suppressed(mut boxes: Vec<Detection>, least: f64) -> Vec<Detection> {
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::with_capacity(boxes.len());
    for detection in boxes {
        let doubled = kept.iter().any(|other| other.rect.iou(&detection.rect) > least);
        if !doubled && detection.rect.w >= 2.0 && detection.rect.h >= 2.0 {
            kept.push(detection);
        }
    }
    kept
}

/// An object and what lasts of the detector's errors about it.
struct Object {
    random: Random,
    faded: bool,
    /// Of centre x, centre y, width, height and score; standard deviation 1.
    lasting: [f64; 5],
}

impl Object {
    fn new(mut random: Random) -> Self {
        let lasting = [(); 5].map(|()| random.normal());
        Self { random, faded: false, lasting }
    }

    /// What is seen of it in one frame. Every call draws the same count of numbers, whatever comes of them.
    fn seen(&mut self, noise: &Noise, rect: &Rect, hidden: f64, step: f64) -> Option<Detection> {
        let turn = self.random.share();
        self.faded = if self.faded { turn >= step / noise.fade_seconds.max(step) } else { turn < noise.fades * step };
        let keep = LASTING / (LASTING + step);
        let fresh = (1.0 - keep * keep).sqrt();
        let mut errors = [0.0; 5];
        for (error, lasting) in errors.iter_mut().zip(&mut self.lasting) {
            *lasting = keep * *lasting + fresh * self.random.normal();
            *error = (*lasting + self.random.normal()) * 0.5f64.sqrt();
        }
        let miss = noise.miss + (noise.hidden_miss - noise.miss).max(0.0) * hidden * hidden;
        let missed = self.random.share() < if self.faded { miss.max(FADED_MISS) } else { miss };
        if missed {
            return None;
        }
        let spread = noise.jitter * (1.0 + hidden);
        let [x, y, w, h, score] = errors;
        let (wide, high) = (rect.w * (1.0 + spread * w).max(0.2), rect.h * (1.0 + spread * h).max(0.2));
        let (cx, cy) = (rect.x + rect.w * (0.5 + spread * x), rect.y + rect.h * (0.5 + spread * y));
        let faded = if self.faded { FADED_COST } else { 0.0 };
        let score = PLAIN_SCORE - HIDDEN_COST * hidden - faded + noise.score * score;
        let rect = Rect { x: cx - wide / 2.0, y: cy - high / 2.0, w: wide, h: high };
        Some(Detection { rect, score: score.clamp(0.05, 0.99) })
    }
}

/// Boxes where nothing is.
struct Clutter {
    random: Random,
    /// Sizes of true boxes, from which those of false ones are drawn.
    sizes: Vec<(f64, f64)>,
    ghosts: Vec<Detection>,
}

impl Clutter {
    fn new(random: Random, truth: &Frames<Labelled>) -> Self {
        let sizes = truth.iter().flatten().map(|labelled| (labelled.rect.w, labelled.rect.h)).collect();
        Self { random, sizes, ghosts: Vec::new() }
    }

    fn add(&mut self, noise: &Noise, size: (f64, f64), step: f64, seen: &mut Vec<Detection>) {
        if self.sizes.is_empty() {
            return;
        }
        let random = &mut self.random;
        self.ghosts.retain(|_| random.share() >= step / noise.ghost_seconds.max(step));
        for _ in 0..self.random.count(noise.ghosts * step) {
            let rect = self.somewhere(size);
            let score = 0.35 + 0.4 * self.random.share();
            self.ghosts.push(Detection { rect, score });
        }
        for ghost in &self.ghosts {
            let there = self.random.share() < GHOST_SEEN;
            let [dx, dy, score] = [(); 3].map(|()| self.random.normal());
            let Rect { x, y, w, h } = ghost.rect;
            let rect = Rect { x: x + noise.jitter * w * dx, y: y + noise.jitter * h * dy, w, h };
            let score = (ghost.score + noise.score * score).clamp(0.05, 0.99);
            seen.extend(there.then_some(Detection { rect, score }));
        }
        for _ in 0..self.random.count(noise.flickers) {
            let rect = self.somewhere(size);
            let chance = self.random.share();
            seen.push(Detection { rect, score: 0.1 + 0.7 * chance * chance });
        }
    }

    /// A box of a true one's size, anywhere.
    fn somewhere(&mut self, (width, height): (f64, f64)) -> Rect {
        let place = (self.random.share() * self.sizes.len() as f64) as usize;
        let (w, h) = self.sizes[place.min(self.sizes.len() - 1)];
        let (cx, cy) = (self.random.share() * width, self.random.share() * height);
        Rect { x: cx - w / 2.0, y: cy - h / 2.0, w, h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two people side by side, and one behind the second.
    fn truth(frames: usize) -> Frames<Labelled> {
        let person = |id, x, y| Labelled { id, rect: Rect { x, y, w: 40.0, h: 100.0 } };
        vec![vec![person(1, 100.0, 200.0), person(2, 400.0, 200.0), person(3, 410.0, 190.0)]; frames]
    }

    const SIZE: (f64, f64) = (1280.0, 720.0);
    const QUIET: Noise = Noise {
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

    fn seen(noise: Noise, frames: usize) -> Frames<Detection> {
        noise.detect("a", &truth(frames), SIZE, 25.0)
    }

    /// The share of frames in which something is seen with its centre within 5 px of x.
    fn share_at(frames: &Frames<Detection>, x: f64) -> f64 {
        let there = |boxes: &&Vec<Detection>| boxes.iter().any(|d| (d.rect.x + d.rect.w / 2.0 - x).abs() < 5.0);
        frames.iter().filter(there).count() as f64 / frames.len() as f64
    }

    #[test]
    fn a_seed_gives_the_same_boxes_each_time_and_another_seed_or_name_others() {
        let noise = Noise::default();
        assert_eq!(seen(noise, 100), seen(noise, 100));
        assert_ne!(seen(noise, 100), seen(Noise { seed: 2, ..noise }, 100));
        assert_ne!(seen(noise, 100), noise.detect("b", &truth(100), SIZE, 25.0));
    }

    #[test]
    fn without_noise_the_boxes_are_the_true_ones_and_the_hidden_one_scores_less() {
        let frame = &seen(QUIET, 1)[0];
        let mut rects: Vec<Rect> = frame.iter().map(|detection| detection.rect).collect();
        rects.sort_by(|a, b| a.x.total_cmp(&b.x));
        assert_eq!(rects, truth(1)[0].iter().map(|labelled| labelled.rect).collect::<Vec<_>>());
        assert_eq!(frame[0].score, PLAIN_SCORE);
        assert!(frame[2].rect.x == 410.0 && frame[2].score < PLAIN_SCORE - 0.3, "{:?}", frame[2]);
    }

    #[test]
    fn misses_have_the_share_asked_for_and_more_where_hidden() {
        let frames = seen(Noise { miss: 0.1, hidden_miss: 0.9, ..QUIET }, 4000);
        assert!((share_at(&frames, 120.0) - 0.9).abs() < 0.02);
        assert!(share_at(&frames, 430.0) < 0.7);
    }

    #[test]
    fn fades_are_bursts_of_misses_with_the_share_asked_for() {
        let frames = seen(Noise { fades: 0.5, fade_seconds: 0.4, ..QUIET }, 8000);
        let missed: Vec<bool> =
            frames.iter().map(|boxes| !boxes.iter().any(|detection| detection.rect.x < 200.0)).collect();
        let share = missed.iter().filter(|missed| **missed).count() as f64 / 8000.0;
        let expected = FADED_MISS * 0.4 / (0.4 + 2.0);
        assert!((share - expected).abs() < 0.25 * expected, "{share} is not {expected}");
        let after_one = missed.windows(2).filter(|pair| pair[0] && pair[1]).count() as f64 / (share * 8000.0);
        assert!(after_one > 0.5, "a miss comes with others: {after_one}");
    }

    #[test]
    fn errors_have_the_spread_asked_for_and_half_of_it_lasts() {
        let frames = seen(Noise { jitter: 0.05, ..QUIET }, 4000);
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
    fn false_boxes_flicker_or_stay_and_all_lie_in_the_picture() {
        let false_ones = |noise: Noise| {
            let boxes: usize = seen(noise, 4000).iter().map(Vec::len).sum();
            (boxes as f64 - 12_000.0) / 4000.0
        };
        assert!((false_ones(Noise { flickers: 0.3, ..QUIET }) - 0.3).abs() < 0.04);
        // Two a second for 1.5 seconds, in eight frames of ten.
        let ghosts = false_ones(Noise { ghosts: 2.0, ghost_seconds: 1.5, ..QUIET });
        assert!((ghosts - 2.4).abs() < 0.3, "{ghosts}");
        let noise = Noise { flickers: 3.0, ghosts: 1.0, jitter: 0.3, ..Noise::default() };
        for Detection { rect, score } in seen(noise, 500).into_iter().flatten() {
            assert!(rect.x >= 0.0 && rect.y >= 0.0 && rect.x + rect.w <= 1280.0 && rect.y + rect.h <= 720.0);
            assert!((0.0..=1.0).contains(&score));
        }
    }

    #[test]
    fn of_two_boxes_on_top_of_each_other_the_surer_stays() {
        let frame = &seen(Noise { suppression: 0.5, ..QUIET }, 1)[0];
        assert_eq!(frame.len(), 2);
        assert!(frame.iter().all(|detection| detection.rect.x != 410.0));
    }

    #[test]
    fn every_key_is_set_and_wrong_ones_are_refused_with_the_right_ones() {
        for key in Noise::KEYS {
            let mut noise = QUIET;
            noise.set(key, "0").unwrap();
            noise.set(key, "1").unwrap();
            assert!(noise.set(key, "-1").unwrap_err().starts_with(&format!("{key} is \"-1\"")));
        }
        let error = Noise::default().set("mis", "0.1").unwrap_err();
        assert!(error.contains("\"mis\" is no number of the noise; it has miss, hidden_miss"), "{error}");
    }
}
