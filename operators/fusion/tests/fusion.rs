//! Tests of the fusion operator with given predictions and limb speeds, and of its errors.

use std::path::PathBuf;

use sideline_api::{
    Alignment, Error, Values,
    testing::{Harness, Setup},
};
use sideline_fusion::Fusion;
use sideline_sport::tables::{Fighter, FighterName, Interaction, JOINTS, Motion, Move, PredictionStatus, Scores};
use tempfile::TempDir;

const LABELS: &str = "idle jab kick";
const FILE: &str = "labels: [idle, jab, kick]\nidle: idle\ngate: 0.5\ntemperature: 1.0\nfocus: 0.3\n\
                    limbs: {jab: [hand], kick: [foot]}\n\
                    models:\n  one: {evidence: [1, 3, 1]}\n  two: {evidence: [1, 1, 1]}\n";

/// Creates the operator with a weights file of this text and two models.
fn fusion(text: &str) -> Result<(Harness<Fusion>, TempDir), Error> {
    wired(text, &["motion", "interaction", "fighters", "a", "b"])
}

fn wired(text: &str, inputs: &[&'static str]) -> Result<(Harness<Fusion>, TempDir), Error> {
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("fusion.yml");
    std::fs::write(&path, text).unwrap();
    let inputs = Some(inputs.iter().map(|name| (*name, Alignment::Source(sideline_api::SourceId(0)))).collect());
    let values = Values::from([("weights", path.to_str().unwrap())]);
    Ok((Harness::with(values, Setup { inputs, ..Setup::default() })?, folder))
}

fn scores(model: &str, labels: &str, probabilities: &[f32]) -> Scores {
    Scores {
        track: 1,
        fighter: Fighter::One,
        model: model.into(),
        labels: labels.into(),
        probabilities: probabilities.to_vec(),
        unjudged: if probabilities.is_empty() { PredictionStatus::Short } else { PredictionStatus::Present },
    }
}

/// Builds motion in which only the left hand moves, forward at a speed in torso lengths per second.
fn motion(speed: f32) -> Motion {
    let mut velocity = [[0.0; 3]; JOINTS];
    for joint in [15, 17, 19, 21] {
        velocity[joint] = [0.0, 0.0, -speed];
    }
    Motion { track: 1, velocity, ..Motion::default() }
}

fn push(harness: &mut Harness<Fusion>, speed: f32, a: &[Scores], b: &[Scores]) -> Result<(), Error> {
    harness.push("motion", &[motion(speed)])?;
    harness.push::<Interaction>("interaction", &[])?;
    harness.push("fighters", &[FighterName { track: 1, fighter: Fighter::One }])?;
    harness.push("a", a)?;
    harness.push("b", b)
}

/// Returns the speed of the hand in a straight punch: out in frames 30 to 36, fastest in 33, back in 38 to 44.
fn punch_speed(frame: u64) -> f32 {
    match frame {
        30..=36 => 12.0 - 2.5 * (frame as f32 - 33.0).abs(),
        38..=44 => -9.0 + 2.0 * (frame as f32 - 41.0).abs(),
        _ => 0.1,
    }
}

/// Runs the punch, with these predictions while it is in the windows; returns all moves with their frames.
fn run_punch(harness: &mut Harness<Fusion>, one: &[f32], two: &[f32]) -> Vec<(u64, Move)> {
    let mut moves = vec![];
    for frame in 0..90 {
        let in_window = (35..65).contains(&frame);
        let prediction = |model: &str, p: &[f32]| match in_window || p.is_empty() {
            true => scores(model, LABELS, p),
            false => scores(model, LABELS, &[0.9, 0.05, 0.05]),
        };
        push(harness, punch_speed(frame), &[prediction("one", one)], &[prediction("two", two)]).unwrap();
        moves.extend(harness.expect::<Move>("moves").into_iter().map(|row| (frame, row)));
    }
    moves
}

#[test]
fn a_strike_and_its_return_are_one_row_that_names_its_frames() {
    let (mut harness, _folder) = fusion(FILE).unwrap();
    let moves = run_punch(&mut harness, &[0.1, 0.8, 0.1], &[0.2, 0.7, 0.1]);
    let [(sent, row)] = &moves[..] else { panic!("one row: {moves:?}") };
    assert_eq!((row.label.as_str(), row.limb.as_str(), row.peak), ("jab", "left_hand", 33));
    assert_eq!((row.start, row.end), (30, 44), "out and back");
    assert!((43..=46).contains(sent), "nine frames after the peak, and a few: {sent}");
    assert_eq!((row.models.as_str(), row.speed, row.fighter), ("one two", 12.0, Fighter::One));
    assert!(row.confidence > 0.7 && (row.weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    assert!(row.weights[0] > 0.6, "the file weights `one` three times as much for jabs: {:?}", row.weights);
}

#[test]
fn idle_predictions_make_no_row_and_improbable_labels_are_unsure() {
    let (mut harness, _folder) = fusion(FILE).unwrap();
    assert_eq!(run_punch(&mut harness, &[0.8, 0.1, 0.1], &[0.7, 0.2, 0.1]), []);
    let higher = FILE.replace("gate: 0.5", "gate: 0.95");
    let (mut harness, _folder) = fusion(&higher).unwrap();
    let moves = run_punch(&mut harness, &[0.1, 0.8, 0.1], &[0.2, 0.7, 0.1]);
    assert_eq!(moves[0].1.label, "unsure");
    assert!(moves[0].1.confidence > 0.7, "still that of the most likely label");
}

#[test]
fn a_label_of_another_limb_is_weighted_down() {
    let (mut harness, _folder) = fusion(FILE).unwrap();
    let moves = run_punch(&mut harness, &[0.05, 0.35, 0.6], &[0.05, 0.35, 0.6]);
    assert_eq!(moves[0].1.label, "jab", "a hand does not kick: {moves:?}");
}

#[test]
fn predictions_are_weighted_by_the_evidence_for_each_label() {
    let (mut harness, _folder) = fusion(FILE).unwrap();
    push(&mut harness, 0.0, &[scores("one", LABELS, &[0.2, 0.8, 0.0])], &[scores("two", LABELS, &[0.6, 0.4, 0.0])])
        .unwrap();
    let row = &harness.expect::<Scores>("scores")[0];
    // idle (0.2 + 0.6) / 2, jab (3 x 0.8 + 0.4) / 4, normalized to the sum 1.
    let [idle, jab] = [0.4 / 1.1, 0.7 / 1.1];
    assert!((row.probabilities[0] - idle).abs() < 1e-6 && (row.probabilities[1] - jab).abs() < 1e-6, "{row:?}");
    assert_eq!((row.model.as_str(), row.labels.as_str(), row.unjudged), ("fusion", LABELS, PredictionStatus::Present));
}

#[test]
fn labels_may_come_in_another_order() {
    let (mut harness, _folder) = fusion(FILE).unwrap();
    push(&mut harness, 0.0, &[scores("one", "kick idle jab", &[0.0, 0.3, 0.7])], &[]).unwrap();
    assert_eq!(harness.expect::<Scores>("scores")[0].probabilities, [0.3, 0.7, 0.0]);
}

#[test]
fn a_frame_without_predictions_gives_the_reason() {
    let (mut harness, _folder) = fusion(FILE).unwrap();
    push(&mut harness, 0.0, &[scores("one", LABELS, &[])], &[scores("two", LABELS, &[])]).unwrap();
    assert_eq!(harness.expect::<Scores>("scores")[0].unjudged, PredictionStatus::Short);
    push(&mut harness, 0.0, &[], &[]).unwrap();
    assert_eq!(harness.expect::<Scores>("scores")[0].unjudged, PredictionStatus::Unscored);
}

#[test]
fn predictions_that_contradict_the_file_are_errors_that_name_both() {
    for (row, expected) in [
        (scores("three", LABELS, &[1.0, 0.0, 0.0]), ["input `a`, track 1: model `three` is not in", "one, two"]),
        (scores("one", "idle jab hook", &[1.0, 0.0, 0.0]), ["has the labels `idle jab hook`", "has `idle jab kick`"]),
        (scores("one", LABELS, &[1.0, 1.0, 0.0]), ["gave 3 numbers with the sum 2", "3 labels"]),
        (scores("one", LABELS, &[f32::NAN, 1.0, 0.0]), ["gave 3 numbers", "3 labels"]),
    ] {
        let (mut harness, _folder) = fusion(FILE).unwrap();
        let error = push(&mut harness, 0.0, &[row], &[]).unwrap_err().message;
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        assert!(error.contains("frame 0 of stream `test`"), "{error}");
    }
}

#[test]
fn errors_of_the_weights_file_name_the_file_and_the_fix() {
    for (from, to, expected) in [
        ("idle: idle", "idle: rest", "`idle` names `rest`, which is none of the labels idle jab kick"),
        ("gate: 0.5", "gate: 1.5", "`gate` is 1.5; it must be 0 to 1"),
        ("gate: 0.5", "gates: 0.5", "unknown field `gates`"),
        ("[1, 3, 1]", "[1, 3]", "`models.one.evidence` has 2 numbers for 3 labels"),
        ("[1, 3, 1]", "[1, 0, 1]", "`models.one.evidence` has a number that is not above 0"),
        ("kick]\nidle", "jab]\nidle", "`labels` has `jab` twice"),
        ("jab: [hand]", "jab: [arm]", "unknown variant `arm`"),
        ("jab: [hand]", "job: [hand]", "`limbs` names `job`"),
    ] {
        let Err(error) = fusion(&FILE.replace(from, to)) else { panic!("{to} is accepted") };
        assert!(error.message.contains("fusion.yml:") && error.message.contains(expected), "{error}");
    }
}

#[test]
fn without_predictions_it_does_not_start() {
    let Err(error) = wired(FILE, &["motion"]) else { panic!("it starts") };
    assert!(
        error.message.contains("add an input of any name for each model, such as `lstm: lstm/predictions`"),
        "{error}"
    );
}

#[test]
fn the_weights_file_of_the_repository_is_valid() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let inputs = Some(vec![
        ("motion", Alignment::Source(sideline_api::SourceId(0))),
        ("lstm", Alignment::Source(sideline_api::SourceId(0))),
    ]);
    Harness::<Fusion>::with(Values::new(), Setup { inputs, search: vec![root], ..Setup::default() }).unwrap();
}
