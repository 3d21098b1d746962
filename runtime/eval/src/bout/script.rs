//! Who does what and when: exchanges of one or several moves, each at its distance, with pauses, steps and feints between.

use std::f64::consts::TAU;

use super::{
    Setting,
    fighter::{Fighter, Ground},
    moves::{Move, draw, draw_feint},
    space::Course,
    strikes::MOVES,
};
use crate::Random;

/// The fighters with all they will do, and their ways over the ground.
pub fn write(setting: &Setting, random: &mut Random) -> Vec<(Fighter, Ground)> {
    let mut fighters: Vec<Fighter> = (0..setting.fighters.clamp(1, 2)).map(|_| Fighter::draw(random)).collect();
    let ground = exchanges(setting, &mut fighters, random);
    let alone = fighters.len() == 1;
    let walked = fighters.into_iter().zip([-0.5, 0.5]).map(|(mut fighter, side)| {
        let ground = Ground { side: if alone { 0.0 } else { side }, ..ground.clone() };
        fighter.walk(setting.seconds, &ground, random);
        (fighter, ground)
    });
    walked.collect()
}

/// Fills the time with exchanges; the distances that they need.
fn exchanges(setting: &Setting, fighters: &mut [Fighter], random: &mut Random) -> Ground {
    let mut distance = Course::default();
    distance.to(0.0, random.between(1.3, 1.8));
    let mut time = random.between(0.8, 1.6);
    while time < setting.seconds - 1.5 {
        let who = random.below(fighters.len());
        let number = chosen(&setting.shares, random, |_| true);
        let [near, far] = MOVES[number].distance;
        distance.to(time, random.between(near, far));
        let mut count = 1;
        while count < 4 && random.share() < setting.combinations {
            count += 1;
        }
        combination(setting, &mut fighters[who], number, count, time, random);
        if let [_, _] = fighters
            && random.share() < setting.replies
        {
            let reply = chosen(&setting.shares, random, |other| MOVES[other].distance == MOVES[number].distance);
            let begin = time + random.between(0.05, 0.6);
            combination(setting, &mut fighters[1 - who], reply, 1, begin, random);
        }
        let over = fighters.iter().map(Fighter::free).fold(time, f64::max) + 0.05;
        let mut pause = random.between(0.5, 1.5) * setting.pause;
        distance.to(over, distance.last());
        // Coming from afar takes time: nobody runs.
        if pause > 0.9 && random.share() < 0.7 {
            pause = pause.max(1.2);
            distance.to(over + 0.5 * pause, random.between(1.3, 2.0));
        } else {
            pause = pause.max(0.35);
        }
        for fighter in fighters.iter_mut() {
            if random.share() < setting.feints * pause {
                let guard = fighter.guard.clone();
                let feint = draw_feint(random, &guard, fighter.stature);
                if feint.end < pause {
                    let begin = over + random.share() * (pause - feint.end);
                    fighter.moves.push((begin, feint));
                }
            }
        }
        time = over + pause;
    }
    let wander = |random: &mut Random, first: f64, by: f64, most: f64| {
        let mut course = Course::default();
        course.to(0.0, first);
        let mut time = 0.0;
        while time < setting.seconds {
            time += random.between(1.5, 4.0);
            let next = course.last() + random.between(-by, by);
            course.to(time, if most > 0.0 { next.clamp(-most, most) } else { next });
        }
        course
    };
    let first = random.share() * TAU;
    let angle = wander(random, first, 0.9, 0.0);
    let middle = [(); 2].map(|()| wander(random, 0.0, 0.5, 0.6));
    Ground { distance, angle, middle, side: 0.0 }
}

/// Draws a number of [`MOVES`] by its share.
fn chosen(shares: &[f64; MOVES.len()], random: &mut Random, fits: impl Fn(usize) -> bool) -> usize {
    let share = |i: usize| if fits(i) { shares[i].max(0.0) } else { 0.0 };
    let all: f64 = (0..MOVES.len()).map(share).sum();
    let mut left = random.share() * all;
    (0..MOVES.len())
        .find(|i| {
            left -= share(*i);
            left < 0.0 && share(*i) > 0.0
        })
        .unwrap_or_else(|| (0..MOVES.len()).rfind(|i| share(*i) > 0.0).unwrap_or(0))
}

/// Adds a move and those that follow it to what a fighter does, from this time on.
fn combination(setting: &Setting, fighter: &mut Fighter, first: usize, count: usize, time: f64, random: &mut Random) {
    let (mut number, mut begin) = (first, time.max(fighter.free()));
    let mut before: Option<(f64, Move)> = None;
    for _ in 0..count {
        let made = draw(number, random, &fighter.guard, fighter.stature, fighter.vigour);
        if let Some((at, last)) = &before {
            // One limb can strike while another returns, but not the same, and nobody kicks from a kick.
            let apart = made.limb != last.limb && !made.lifts() && !last.lifts() && last.end - last.out[1] < 0.6;
            begin = if apart {
                (at + last.out[1] + random.between(0.06, 0.24) - made.out[0]).max(at + 0.5 * last.out[1])
            } else {
                at + last.end + random.between(0.0, 0.2)
            };
        }
        if begin + made.end > setting.seconds - 0.3 {
            return;
        }
        before = Some((begin, made.clone()));
        fighter.moves.push((begin, made));
        // What follows is done from the same distance, and does not end it.
        number = chosen(&setting.shares, random, |other| {
            MOVES[other].distance == MOVES[first].distance && !["duck", "push"].contains(&MOVES[other].label)
        });
    }
}
