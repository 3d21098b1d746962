//! Physical limits in generated bouts: limbs keep their lengths, joints stay below a greatest speed, feet do not slide.

use std::collections::BTreeMap;

use sideline_eval::bout::{Bout, BoutSettings, LABELS, PoseNoise};
use sideline_sport::tables::Pose;

const RATE: f64 = 120.0;

fn noise_free(seed: u64) -> BoutSettings {
    BoutSettings { seed, rate: RATE, noise: PoseNoise::NONE, ..BoutSettings::default() }
}

fn joint(pose: &Pose, number: usize) -> [f64; 3] {
    pose.world[number].map(f64::from)
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Returns the poses of a fighter through a bout.
fn poses(bout: &Bout, fighter: usize) -> Vec<&Pose> {
    bout.frames.iter().map(|frame| &frame[fighter]).collect()
}

/// Returns the speed of a joint relative to the hips, m/s, between consecutive frames.
fn speeds(poses: &[&Pose], number: usize) -> Vec<f64> {
    poses.windows(2).map(|pair| distance(joint(pair[0], number), joint(pair[1], number)) * RATE).collect()
}

#[test]
fn limbs_keep_their_lengths() {
    let limbs = [(11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28), (11, 12), (27, 31)];
    for seed in 1..4 {
        let bout = Bout::generate(&noise_free(seed));
        for fighter in 0..2 {
            let poses = poses(&bout, fighter);
            for (a, b) in limbs {
                let length = distance(joint(poses[0], a), joint(poses[0], b));
                for (frame, pose) in poses.iter().enumerate() {
                    let now = distance(joint(pose, a), joint(pose, b));
                    assert!((now - length).abs() < 1e-4, "seed {seed}, frame {frame}: {a}-{b} was {length}, is {now}");
                }
            }
        }
    }
}

#[test]
fn no_joint_exceeds_15_m_per_s() {
    for seed in 1..9 {
        let bout = Bout::generate(&noise_free(seed));
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
fn strikes_have_the_speeds_of_people() {
    let mut speeds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for seed in 1..30 {
        for strike in Bout::generate(&BoutSettings { rate: 30.0, ..noise_free(seed) }).strikes {
            let duration = strike.end - strike.start;
            assert!(
                strike.start < strike.peak && strike.peak < strike.end && (0.2..4.5).contains(&duration),
                "{strike:?}"
            );
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
fn the_peak_is_the_time_of_greatest_limb_speed() {
    for (seed, label) in LABELS.into_iter().enumerate().filter(|(_, label)| !["duck", "headbutt"].contains(label)) {
        let bout = Bout::generate(&BoutSettings {
            rate: RATE,
            noise: PoseNoise::NONE,
            ..BoutSettings::drill(7 + seed as u64, label).unwrap()
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
            // The limb is not faster in the surrounding frames.
            let around = speeds[peak - 6..peak + 6].iter().fold(0.0f64, |a, b| a.max(*b));
            assert!(around < near * 1.1, "{strike:?}: {around} m/s within 50 ms");
        }
    }
}

/// The camera position is unknown and world coordinates are relative to the hips, so the position of a foot over the
/// ground cannot be measured. Instead, the distance between two standing feet must not change.
#[test]
fn standing_feet_do_not_slide() {
    for seed in 1..5 {
        let bout = Bout::generate(&noise_free(seed));
        for fighter in 0..2 {
            let poses = poses(&bout, fighter);
            let between = |pose: &Pose| distance(joint(pose, 31), joint(pose, 32));
            let still =
                poses.windows(2).filter(|pair| (between(pair[0]) - between(pair[1])).abs() * RATE < 0.05).count();
            let share = still as f64 / poses.len() as f64;
            assert!(share > 0.4, "seed {seed}: both feet stand in only {share} of the frames");
        }
    }
}

#[test]
fn bouts_depend_on_the_seed_and_not_on_the_frame_rate() {
    let setting = BoutSettings { seconds: 10.0, ..BoutSettings::default() };
    let (one, again) = (Bout::generate(&setting), Bout::generate(&setting));
    assert_eq!(one.frames, again.frames);
    assert_eq!(one.strikes, again.strikes);
    let other = Bout::generate(&BoutSettings { seed: 2, ..setting.clone() });
    assert_ne!(one.strikes, other.strikes);
    let faster = Bout::generate(&BoutSettings { rate: 60.0, ..setting });
    let peaks = |bout: &Bout| bout.strikes.iter().map(|strike| strike.peak).collect::<Vec<_>>();
    assert_eq!(peaks(&one), peaks(&faster));
    assert_eq!(faster.frames.len(), 600);
}

#[test]
fn shares_set_the_frequency_of_moves() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 1..60 {
        let bout = Bout::generate(&BoutSettings {
            seed,
            rate: 1.0,
            combinations: 0.0,
            replies: 0.0,
            ..BoutSettings::default()
        });
        bout.strikes.iter().for_each(|strike| *counts.entry(strike.label).or_default() += 1);
    }
    let all: usize = counts.values().sum();
    for label in LABELS {
        let share = counts.get(label).map_or(0.0, |count| *count as f64 / all as f64);
        assert!((0.04..0.11).contains(&share), "{label}: {share} of {all}");
    }
    let drill = Bout::generate(&BoutSettings::drill(1, "hook").unwrap());
    assert!(drill.strikes.iter().all(|strike| strike.label == "hook" && strike.fighter == 0));
    assert!(drill.frames.iter().all(|frame| frame.len() == 1));
    assert!(BoutSettings::drill(1, "hok").unwrap_err().contains("\"hok\" is not a move"));
}

#[test]
fn pose_errors_have_the_configured_size() {
    let noise = PoseNoise { dropouts_per_s: 0.0, ..PoseNoise::TYPICAL };
    let setting = BoutSettings { seconds: 10.0, ..BoutSettings::default() };
    let (noisy, clean) = (
        Bout::generate(&BoutSettings { noise, ..setting.clone() }),
        Bout::generate(&BoutSettings { noise: PoseNoise::NONE, ..setting.clone() }),
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
    let expected = noise.white_m.hypot(noise.correlated_m);
    // The hips have errors as well, and all joints are relative to them.
    assert!((0.9..1.5).contains(&(x / expected)) && (0.9..1.5).contains(&(y / expected)), "{x} {y} against {expected}");
    assert!((1.8..3.0).contains(&(z / expected)), "{z} against {expected}");
    let dropouts =
        Bout::generate(&BoutSettings { noise: PoseNoise { dropouts_per_s: 0.5, ..PoseNoise::TYPICAL }, ..setting });
    let invisible =
        dropouts.frames.iter().flatten().flat_map(|pose| pose.joints).filter(|joint| joint[3] < 0.5).count();
    assert!(invisible > 0);
}
