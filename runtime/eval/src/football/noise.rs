//! What a detector would have seen of a match: people as [`crate::Noise`] makes them, the ball by a model of its own.
//!
//! The same seed and match give the same boxes on every machine. The model of the ball, with what each number of [`Noise`]
//! does:
//!
//! - Part of the misses come one by one, the rest in bursts of random length: behind a player, before the crowd, blurred.
//! - Its middle errs by a share of its size, half of that for a fifth of a second, and never less than a pixel; its size too.
//! - False balls flicker up for a frame, most of them at players' feet, the others anywhere between the players; or stay
//!   for a second or two, at one place of the pitch (a mark, a glove) or at the foot of one player (a white shoe).
//! - Scores of true and false balls overlap: none of the two is told by its score alone.

use super::{Match, middle};
use crate::{Detection, Labelled, Random, Rect};

/// The detector that is played. Shares are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Noise {
    /// Which of the random worlds.
    pub seed: u64,
    /// Share of the frames in which the ball is missed.
    pub miss: f64,
    /// Share of the misses that come in bursts.
    pub bursts: f64,
    /// How long a burst lasts on average, seconds.
    pub burst_seconds: f64,
    /// Standard deviation of the ball's middle and size, in shares of its size.
    pub jitter: f64,
    /// Mean score of the true ball.
    pub score: f64,
    /// Mean score of a false one.
    pub false_score: f64,
    /// False balls that last a frame, in each frame on average.
    pub flickers: f64,
    /// False balls that stay, begun each second on average.
    pub ghosts: f64,
    /// How long they stay on average, seconds.
    pub ghost_seconds: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            seed: 1,
            miss: 0.3,
            bursts: 0.5,
            burst_seconds: 0.15,
            jitter: 0.15,
            score: 0.5,
            false_score: 0.35,
            flickers: 0.5,
            ghosts: 0.3,
            ghost_seconds: 1.5,
        }
    }
}

/// Standard deviation of all scores.
const SCORE_SPREAD: f64 = 0.12;
/// Seconds for which half of an error lasts.
const LASTING: f64 = 0.2;
/// Share of a ghost's frames in which it is there.
const GHOST_SEEN: f64 = 0.8;
/// Share of false balls that are at somebody's feet.
const AT_FEET: f64 = 0.7;
/// Streams of random numbers that belong to no object.
const BALL: i64 = i64::MIN + 1;
const CLUTTER: i64 = i64::MIN + 2;

/// What the detector saw, frame by frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Boxes taken for people.
    pub people: Vec<Vec<Detection>>,
    /// Boxes taken for the ball, the surest first.
    pub balls: Vec<Vec<Detection>>,
}

impl Noise {
    /// The names of the numbers that [`Noise::set`] takes.
    pub const KEYS: [&str; 9] =
        ["miss", "bursts", "burst_seconds", "jitter", "score", "false_score", "flickers", "ghosts", "ghost_seconds"];

    /// Sets a number by its name.
    ///
    /// # Errors
    /// A name that is not one of [`Noise::KEYS`], or a value that is no number or makes no sense; the text says what does.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (slot, most) = match key {
            "miss" => (&mut self.miss, 1.0),
            "bursts" => (&mut self.bursts, 1.0),
            "burst_seconds" => (&mut self.burst_seconds, 100.0),
            "jitter" => (&mut self.jitter, 10.0),
            "score" => (&mut self.score, 1.0),
            "false_score" => (&mut self.false_score, 1.0),
            "flickers" => (&mut self.flickers, 100.0),
            "ghosts" => (&mut self.ghosts, 100.0),
            "ghost_seconds" => (&mut self.ghost_seconds, 100.0),
            _ => return Err(format!("{key:?} is no number of the noise; it has {}", Self::KEYS.join(", "))),
        };
        *slot = value
            .parse()
            .ok()
            .filter(|number: &f64| (0.0..=most).contains(number))
            .ok_or_else(|| format!("{key} is {value:?}; it is a number from 0 to {most}"))?;
        Ok(())
    }

    /// What the detector sees of a match at `rate` frames a second.
    #[must_use]
    pub fn detect(&self, game: &Match, rate: f64) -> Seen {
        Seen { people: self.people(game, rate), balls: self.balls(game, 1.0 / rate) }
    }

    fn people(&self, game: &Match, rate: f64) -> Vec<Vec<Detection>> {
        let labelled = |truth: &super::Truth<Rect>| {
            let boxes = truth.players.iter().zip(1..).filter_map(|(rect, id)| Some(Labelled { id, rect: (*rect)? }));
            boxes.collect()
        };
        let truth = game.boxes.iter().map(labelled).collect();
        crate::Noise { seed: self.seed, ..crate::Noise::default() }.detect(&game.name, &truth, game.size, rate)
    }

    fn balls(&self, game: &Match, step: f64) -> Vec<Vec<Detection>> {
        let mut ball = Ball::new(Random::of(self.seed, &game.name, BALL));
        let mut clutter = Clutter { random: Random::of(self.seed, &game.name, CLUTTER), ghosts: vec![], size: 8.0 };
        let see = |truth: &super::Truth<Rect>| {
            let mut seen: Vec<Detection> = ball.seen(self, truth.ball.as_ref(), step).into_iter().collect();
            if let Some(rect) = &truth.ball {
                clutter.size = (rect.w + rect.h) / 2.0;
            }
            let people: Vec<Option<Rect>> = truth.players.clone();
            clutter.add(self, &people, step, &mut seen);
            seen.sort_by(|a, b| b.score.total_cmp(&a.score));
            seen
        };
        game.boxes.iter().map(see).collect()
    }
}

/// The true ball's misses, and what lasts of the detector's errors about it.
struct Ball {
    random: Random,
    burst: bool,
    /// Of x, y, size and score; standard deviation 1.
    lasting: [f64; 4],
}

impl Ball {
    fn new(mut random: Random) -> Self {
        let lasting = [(); 4].map(|()| random.normal());
        Self { random, burst: false, lasting }
    }

    /// Every call draws the same count of numbers, whatever comes of them.
    fn seen(&mut self, noise: &Noise, rect: Option<&Rect>, step: f64) -> Option<Detection> {
        // The share of the time that bursts take, and the chance of a miss beside them that makes up the rest.
        let bursts = (noise.miss * noise.bursts).min(0.99);
        let alone = ((noise.miss - bursts) / (1.0 - bursts)).clamp(0.0, 1.0);
        let ends = step / noise.burst_seconds.max(step);
        let begins = ends * bursts / (1.0 - bursts);
        let turn = self.random.share();
        self.burst = if self.burst { turn >= ends } else { turn < begins };
        let missed = self.random.share() < alone || self.burst;

        let keep = LASTING / (LASTING + step);
        let fresh = (1.0 - keep * keep).sqrt();
        let errors = self.lasting.each_mut().map(|lasting| {
            *lasting = keep * *lasting + fresh * self.random.normal();
            (*lasting + self.random.normal()) * std::f64::consts::FRAC_1_SQRT_2
        });
        let rect = rect.filter(|_| !missed)?;
        let size = (rect.w + rect.h) / 2.0;
        let by = (noise.jitter * size).max(1.0);
        let grown = (1.0 + noise.jitter * errors[2]).max(0.3);
        let [x, y] = middle(rect);
        let score = noise.score + SCORE_SPREAD * errors[3];
        Some(detection([x + by * errors[0], y + by * errors[1]], size * grown, score))
    }
}

fn detection([x, y]: [f64; 2], size: f64, score: f64) -> Detection {
    let rect = Rect { x: x - size / 2.0, y: y - size / 2.0, w: size, h: size };
    Detection { rect, score: score.clamp(0.05, 0.99) }
}

/// False balls.
struct Clutter {
    random: Random,
    ghosts: Vec<Ghost>,
    /// Of a ball, px.
    size: f64,
}

struct Ghost {
    /// A player by index, and the way from the middle of the feet; or a place.
    of: Option<usize>,
    place: [f64; 2],
    size: f64,
}

impl Clutter {
    fn add(&mut self, noise: &Noise, people: &[Option<Rect>], step: f64, seen: &mut Vec<Detection>) {
        for _ in 0..self.random.count(noise.flickers) {
            let ghost = self.ghost(people);
            seen.extend(self.look(noise, &ghost, people));
        }
        let stay = 1.0 - step / noise.ghost_seconds.max(step);
        let random = &mut self.random;
        self.ghosts.retain(|_| random.share() < stay);
        for _ in 0..self.random.count(noise.ghosts * step) {
            let ghost = self.ghost(people);
            self.ghosts.push(ghost);
        }
        for ghost in std::mem::take(&mut self.ghosts) {
            if self.random.share() < GHOST_SEEN {
                seen.extend(self.look(noise, &ghost, people));
            }
            self.ghosts.push(ghost);
        }
    }

    /// Somebody's foot, or a place between the players.
    fn ghost(&mut self, people: &[Option<Rect>]) -> Ghost {
        let of = Some(self.random.below(people.len())).filter(|_| self.random.share() < AT_FEET && !people.is_empty());
        let feet = |rect: &Rect| [rect.x + rect.w / 2.0, rect.y + rect.h];
        let place = match of {
            Some(_) => [self.random.between(-0.7, 0.7), self.random.between(-0.15, 0.1)],
            None => {
                let (mut least, mut most) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
                for place in people.iter().flatten().map(feet) {
                    for axis in 0..2 {
                        least[axis] = least[axis].min(place[axis]);
                        most[axis] = most[axis].max(place[axis]);
                    }
                }
                [0, 1].map(|axis| self.random.between(least[axis], most[axis]))
            }
        };
        Ghost { of, place, size: self.size * self.random.between(0.7, 1.4) }
    }

    fn look(&mut self, noise: &Noise, ghost: &Ghost, people: &[Option<Rect>]) -> Option<Detection> {
        let tremble = [(); 2].map(|()| noise.jitter * ghost.size * self.random.normal());
        let score = noise.false_score + SCORE_SPREAD * self.random.normal();
        let [x, y] = match ghost.of {
            Some(player) => {
                let rect = people[player]?;
                [rect.x + rect.w * (0.5 + ghost.place[0]), rect.y + rect.h * (1.0 + ghost.place[1])]
            }
            None => ghost.place,
        };
        let place = [x + tremble[0], y + tremble[1]];
        place.iter().all(|value| value.is_finite()).then(|| detection(place, ghost.size, score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::football::{Player, Truth, distance};

    fn game(frames: usize) -> Match {
        let truth = |frame: usize| Truth {
            players: vec![Some(Rect { x: 100.0, y: 100.0, w: 20.0, h: 50.0 }), None],
            ball: Some(Rect { x: 300.0 + frame as f64, y: 200.0, w: 8.0, h: 8.0 }),
        };
        let player = |number: &str| Player { team: "0".into(), number: number.into() };
        Match {
            name: "a".into(),
            first: 0,
            players: vec![player("1"), player("2")],
            boxes: (0..frames).map(truth).collect(),
            places: None,
            size: (6500.0, 1000.0),
        }
    }

    fn true_ones(game: &Match, seen: &Seen) -> Vec<bool> {
        let near = |frame: usize| {
            let ball = game.ball(frame).unwrap();
            seen.balls[frame].iter().any(|seen| distance(middle(&seen.rect), ball) < 8.0)
        };
        (0..game.boxes.len()).map(near).collect()
    }

    #[test]
    fn the_ball_is_missed_as_often_as_was_asked_alone_and_in_bursts() {
        let game = game(20_000);
        for bursts in [0.0, 0.5, 1.0] {
            let noise = Noise { bursts, flickers: 0.0, ghosts: 0.0, ..Noise::default() };
            let there = true_ones(&game, &noise.detect(&game, 30.0));
            let missed = there.iter().filter(|there| !**there).count() as f64 / there.len() as f64;
            assert!((missed - 0.3).abs() < 0.03, "{bursts}: {missed}");
            let pairs = there.windows(2).filter(|two| !two[0] && !two[1]).count() as f64 / there.len() as f64;
            // Alone, two misses follow each other by chance only.
            assert!(if bursts == 0.0 { (pairs - 0.09).abs() < 0.02 } else { pairs > 0.12 }, "{bursts}: {pairs}");
        }
    }

    #[test]
    fn a_seed_makes_the_same_boxes_and_another_makes_others() {
        let game = game(200);
        let made = |seed| Noise { seed, ..Noise::default() }.detect(&game, 30.0);
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }

    #[test]
    fn false_balls_come_as_often_as_was_asked() {
        let game = game(5000);
        let noise = Noise { miss: 1.0, flickers: 0.5, ghosts: 0.0, ..Noise::default() };
        let count: usize = noise.detect(&game, 30.0).balls.iter().map(Vec::len).sum();
        // A third of those at feet are at the feet of somebody who is not there.
        assert!((1200..2800).contains(&count), "{count}");
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        let mut noise = Noise::default();
        assert_eq!(noise.set("miss", "0.5"), Ok(()));
        assert!(noise.miss == 0.5 && noise.set("miss", "2").is_err() && noise.set("mis", "0").is_err());
    }
}
