//! Schedule of a bout: exchanges of one or several moves, each at its distance, with pauses, steps and feints in
//! between.

use std::f64::consts::TAU;

use super::{
    BoutSettings,
    fighter::{Fighter, Ground},
    moves::{Move, draw, draw_feint},
    space::Trajectory,
    strikes::MOVES,
};
use crate::Random;

/// Generates the fighters with all their moves, and their paths exchange_end the ground.
pub fn generate(settings: &BoutSettings, random: &mut Random) -> Vec<(Fighter, Ground)> {
    let mut fighters: Vec<Fighter> = (0..settings.fighters.clamp(1, 2)).map(|_| Fighter::draw(random)).collect();
    let ground = schedule_exchanges(settings, &mut fighters, random);
    let is_alone = fighters.len() == 1;
    let with_ground = fighters.into_iter().zip([-0.5, 0.5]).map(|(mut fighter, side)| {
        let ground = Ground { side: if is_alone { 0.0 } else { side }, ..ground.clone() };
        fighter.plan_steps(settings.seconds, &ground, random);
        (fighter, ground)
    });
    with_ground.collect()
}

/// Schedules exchanges exchange_end the length of the bout; returns the distances that they need.
fn schedule_exchanges(settings: &BoutSettings, fighters: &mut [Fighter], random: &mut Random) -> Ground {
    let mut distance = Trajectory::default();
    distance.push(0.0, random.between(1.3, 1.8));
    let mut time = random.between(0.8, 1.6);
    while time < settings.seconds - 1.5 {
        let attacker = random.below(fighters.len());
        let number = draw_move(&settings.shares, random, |_| true);
        let [near, far] = MOVES[number].distance;
        distance.push(time, random.between(near, far));
        let mut count = 1;
        while count < 4 && random.uniform() < settings.combinations {
            count += 1;
        }
        add_combination(settings, &mut fighters[attacker], number, count, time, random);
        if let [_, _] = fighters
            && random.uniform() < settings.replies
        {
            let reply = draw_move(&settings.shares, random, |other| MOVES[other].distance == MOVES[number].distance);
            let begin = time + random.between(0.05, 0.6);
            add_combination(settings, &mut fighters[1 - attacker], reply, 1, begin, random);
        }
        let exchange_end = fighters.iter().map(Fighter::end_of_moves).fold(time, f64::max) + 0.05;
        let mut pause = random.between(0.5, 1.5) * settings.pause;
        distance.push(exchange_end, distance.last_value());
        // An approach from a distance takes time: fighters do not run.
        if pause > 0.9 && random.uniform() < 0.7 {
            pause = pause.max(1.2);
            distance.push(exchange_end + 0.5 * pause, random.between(1.3, 2.0));
        } else {
            pause = pause.max(0.35);
        }
        for fighter in fighters.iter_mut() {
            if random.uniform() < settings.feints * pause {
                let guard = fighter.guard.clone();
                let feint = draw_feint(random, &guard, fighter.stature);
                if feint.end < pause {
                    let begin = exchange_end + random.uniform() * (pause - feint.end);
                    fighter.moves.push((begin, feint));
                }
            }
        }
        time = exchange_end + pause;
    }
    let wander = |random: &mut Random, first: f64, max_step: f64, max_value: f64| {
        let mut trajectory = Trajectory::default();
        trajectory.push(0.0, first);
        let mut time = 0.0;
        while time < settings.seconds {
            time += random.between(1.5, 4.0);
            let next = trajectory.last_value() + random.between(-max_step, max_step);
            trajectory.push(time, if max_value > 0.0 { next.clamp(-max_value, max_value) } else { next });
        }
        trajectory
    };
    let first = random.uniform() * TAU;
    let angle = wander(random, first, 0.9, 0.0);
    let midpoint = [(); 2].map(|()| wander(random, 0.0, 0.5, 0.6));
    Ground { distance, angle, midpoint, side: 0.0 }
}

/// Draws an index of [`MOVES`], weighted by the shares of those that fit.
fn draw_move(shares: &[f64; MOVES.len()], random: &mut Random, fits: impl Fn(usize) -> bool) -> usize {
    let share = |i: usize| if fits(i) { shares[i].max(0.0) } else { 0.0 };
    let total: f64 = (0..MOVES.len()).map(share).sum();
    let mut left = random.uniform() * total;
    (0..MOVES.len())
        .find(|i| {
            left -= share(*i);
            left < 0.0 && share(*i) > 0.0
        })
        .unwrap_or_else(|| (0..MOVES.len()).rfind(|i| share(*i) > 0.0).unwrap_or(0))
}

/// Adds a move and those that follow it to a fighter's schedule, from `time` on.
fn add_combination(
    settings: &BoutSettings,
    fighter: &mut Fighter,
    first: usize,
    count: usize,
    time: f64,
    random: &mut Random,
) {
    let (mut number, mut begin) = (first, time.max(fighter.end_of_moves()));
    let mut previous: Option<(f64, Move)> = None;
    for _ in 0..count {
        let drawn = draw(number, random, &fighter.guard, fighter.stature, fighter.vigor);
        if let Some((at, last)) = &previous {
            // Another limb can strike while the first returns, but not the same one, and not after or before a kick.
            let overlaps = drawn.limb != last.limb
                && !drawn.lifts_a_foot()
                && !last.lifts_a_foot()
                && last.end - last.extension[1] < 0.6;
            begin = if overlaps {
                (at + last.extension[1] + random.between(0.06, 0.24) - drawn.extension[0])
                    .max(at + 0.5 * last.extension[1])
            } else {
                at + last.end + random.between(0.0, 0.2)
            };
        }
        if begin + drawn.end > settings.seconds - 0.3 {
            return;
        }
        previous = Some((begin, drawn.clone()));
        fighter.moves.push((begin, drawn));
        // The next move is done from the same distance and does not end it.
        number = draw_move(&settings.shares, random, |other| {
            MOVES[other].distance == MOVES[first].distance && !["duck", "push"].contains(&MOVES[other].label)
        });
    }
}
