//! Generated bouts obey what bodies obey: limbs keep their lengths, joints their speeds, feet their ground.

use std::collections::BTreeMap;

use sideline_api::tables::Pose;
use sideline_eval::bout::{Bout, LABELS, PoseNoise, Setting};

const RATE: f64 = 120.0;

fn clean(seed: u64) -> Setting {
    Setting { seed, rate: RATE, noise: PoseNoise::NONE, ..Setting::default() }
}

fn joint(pose: &Pose, number: usize) -> [f64; 3] {
    pose.world[number].map(f64::from)
}

fn apart(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// A fighter's poses through a bout.
fn poses(bout: &Bout, fighter: usize) -> Vec<&Pose> {
    bout.frames.iter().map(|frame| &frame[fighter]).collect()
}

/// How fast a joint is beside the hips, m/s, between each two frames.
fn speeds(poses: &[&Pose], number: usize) -> Vec<f64> {
    poses.windows(2).map(|pair| apart(joint(pair[0], number), joint(pair[1], number)) * RATE).collect()
}

#[test]
fn limbs_keep_their_lengths() {
    let limbs = [(11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28), (11, 12), (27, 31)];
    for seed in 1..4 {
        let bout = Bout::generate(&clean(seed));
        for fighter in 0..2 {
            let poses = poses(&bout, fighter);
            for (a, b) in limbs {
                let long = apart(joint(poses[0], a), joint(poses[0], b));
                for (frame, pose) in poses.iter().enumerate() {
                    let now = apart(joint(pose, a), joint(pose, b));
                    assert!((now - long).abs() < 1e-4, "seed {seed}, frame {frame}: {a}-{b} was {long}, is {now}");
                }
            }
        }
    }
}

#[test]
fn no_joint_is_faster_than_a_body_can_be() {
    for seed in 1..9 {
        let bout = Bout::generate(&clean(seed));
        for fighter in 0..2 {
            let poses = poses(&bout, fighter);
            for number in 0..33 {
                let most = speeds(&poses, number).into_iter().fold(0.0, f64::max);
                assert!(most < 15.0, "seed {seed}, fighter {fighter}: joint {number} at {most} m/s");
            }
        }
    }
}

#[test]
fn limbs_strike_as_fast_as_those_of_people() {
    let mut speeds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for seed in 1..30 {
        for strike in Bout::generate(&Setting { rate: 30.0, ..clean(seed) }).strikes {
            let long = strike.end - strike.start;
            assert!(strike.start < strike.peak && strike.peak < strike.end && (0.2..4.5).contains(&long), "{strike:?}");
            speeds.entry(strike.label).or_default().push(strike.speed);
        }
    }
    for (label, mut speeds) in speeds {
        speeds.sort_by(f64::total_cmp);
        let (slow, fast) = (speeds[speeds.len() / 20], speeds[speeds.len() * 19 / 20]);
        let (least, most) = match label {
            "jab" | "cross" | "hook" | "uppercut" | "hammer_fist" | "slap" => (4.0, 11.5),
            "front_kick" | "side_kick" => (5.0, 14.0),
            "elbow" | "knee" => (2.5, 8.5),
            "push" | "clinch" => (1.5, 6.5),
            _ => (1.0, 5.0),
        };
        assert!(least < slow && fast < most, "{label}: 5 % below {slow}, 5 % above {fast} m/s");
    }
}

#[test]
fn the_peak_is_when_the_limb_is_fastest_on_its_way_out() {
    for (seed, label) in LABELS.into_iter().enumerate().filter(|(_, label)| !["duck", "headbutt"].contains(label)) {
        let bout = Bout::generate(&Setting {
            rate: RATE,
            noise: PoseNoise::NONE,
            ..Setting::drill(7 + seed as u64, label).unwrap()
        });
        assert!(bout.strikes.len() > 5, "{label}: {} in half a minute", bout.strikes.len());
        let poses = poses(&bout, 0);
        for strike in &bout.strikes {
            let number = match strike.limb {
                "left_hand" => 15,
                "right_hand" => 16,
                "left_elbow" => 13,
                "right_elbow" => 14,
                "left_knee" => 25,
                "right_knee" => 26,
                "left_foot" => 27,
                _ => 28,
            };
            let speeds = speeds(&poses, number);
            let peak = strike.peak_frame as usize;
            let near = speeds[peak - 4..peak + 4].iter().fold(0.0f64, |a, b| a.max(*b));
            assert!((near - strike.speed).abs() < 0.5, "{strike:?}: {near} m/s near its peak");
            // Nothing around it is faster until the limb is out.
            let around = speeds[peak - 6..peak + 6].iter().fold(0.0f64, |a, b| a.max(*b));
            assert!(around < near * 1.1, "{strike:?}: {around} m/s within 50 ms");
        }
    }
}

/// The places of a foot over the ground, from picture and camera, would err with them: the other joints' world places do
/// not know the ground. So a foot that stands is looked for: it does not move against the other that stands.
#[test]
fn feet_that_stand_do_not_slide() {
    for seed in 1..5 {
        let bout = Bout::generate(&clean(seed));
        for fighter in 0..2 {
            let poses = poses(&bout, fighter);
            let between = |pose: &Pose| apart(joint(pose, 31), joint(pose, 32));
            let still =
                poses.windows(2).filter(|pair| (between(pair[0]) - between(pair[1])).abs() * RATE < 0.05).count();
            let share = still as f64 / poses.len() as f64;
            assert!(share > 0.4, "seed {seed}: both feet stand in only {share} of the frames");
        }
    }
}

#[test]
fn a_seed_gives_the_same_bout_at_any_rate_and_another_seed_another() {
    let setting = Setting { seconds: 10.0, ..Setting::default() };
    let (one, again) = (Bout::generate(&setting), Bout::generate(&setting));
    assert_eq!(one.frames, again.frames);
    assert_eq!(one.strikes, again.strikes);
    let other = Bout::generate(&Setting { seed: 2, ..setting.clone() });
    assert_ne!(one.strikes, other.strikes);
    let faster = Bout::generate(&Setting { rate: 60.0, ..setting });
    let peaks = |bout: &Bout| bout.strikes.iter().map(|strike| strike.peak).collect::<Vec<_>>();
    assert_eq!(peaks(&one), peaks(&faster));
    assert_eq!(faster.frames.len(), 600);
}

#[test]
fn shares_choose_what_happens() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 1..60 {
        let bout = Bout::generate(&Setting { seed, rate: 1.0, combinations: 0.0, replies: 0.0, ..Setting::default() });
        bout.strikes.iter().for_each(|strike| *counts.entry(strike.label).or_default() += 1);
    }
    let all: usize = counts.values().sum();
    for label in LABELS {
        let share = counts.get(label).map_or(0.0, |count| *count as f64 / all as f64);
        assert!((0.04..0.11).contains(&share), "{label}: {share} of {all}");
    }
    let drill = Bout::generate(&Setting::drill(1, "hook").unwrap());
    assert!(drill.strikes.iter().all(|strike| strike.label == "hook" && strike.fighter == 0));
    assert!(drill.frames.iter().all(|frame| frame.len() == 1));
    assert!(Setting::drill(1, "hok").unwrap_err().contains("\"hok\" is no move"));
}

#[test]
fn a_pose_model_errs_as_much_as_it_is_said_to() {
    let noise = PoseNoise { lost: 0.0, ..PoseNoise::USUAL };
    let setting = Setting { seconds: 10.0, ..Setting::default() };
    let (noisy, clean) = (
        Bout::generate(&Setting { noise, ..setting.clone() }),
        Bout::generate(&Setting { noise: PoseNoise::NONE, ..setting.clone() }),
    );
    let mut squares = [0.0; 3];
    let mut count = 0.0;
    for (a, b) in noisy.frames.iter().flatten().zip(clean.frames.iter().flatten()) {
        for number in 11..17 {
            let (a, b) = (joint(a, number), joint(b, number));
            (0..3).for_each(|axis| squares[axis] += (a[axis] - b[axis]).powi(2));
            count += 1.0;
        }
    }
    let [x, y, z] = squares.map(|sum| (sum / count).sqrt());
    let expected = noise.quick.hypot(noise.slow);
    // The hips err too, and all is measured from them.
    assert!((0.9..1.5).contains(&(x / expected)) && (0.9..1.5).contains(&(y / expected)), "{x} {y} against {expected}");
    assert!((1.8..3.0).contains(&(z / expected)), "{z} against {expected}");
    let lost = Bout::generate(&Setting { noise: PoseNoise { lost: 0.5, ..PoseNoise::USUAL }, ..setting });
    let unseen = lost.frames.iter().flatten().flat_map(|pose| pose.joints).filter(|joint| joint[3] < 0.5).count();
    assert!(unseen > 0);
}
