//! Tests of windows and predictions, with models whose outputs reveal the values of their inputs. The tests are skipped
//! without the library of ONNX Runtime.

mod support;

use sideline_api::{
    Body, Payload, Reason, Table, Values,
    testing::{Harness, Setup},
};
use sideline_sequence::Sequence;
use sideline_sport::tables::{Fighter, FighterName, Interaction, Motion, PredictionStatus, Scores};
use support::{Model, NAN_VALUE, WRIST, interaction, moving, start_onnx_runtime};

/// Operator with a test model, and the number of its next frame.
struct Run {
    harness: Harness<Sequence>,
    frame: u64,
    _folder: tempfile::TempDir,
}

impl Run {
    fn new(model: &Model, fps: f64) -> Self {
        Self::with(model, fps, Values::new())
    }

    fn with(model: &Model, fps: f64, mut values: Values) -> Self {
        let folder = tempfile::tempdir().unwrap();
        values.set("model", model.write(folder.path()).to_str().unwrap(), sideline_api::config::Origin::CommandLine);
        let setup = Setup { interval: (1e9 / fps) as i64, ..Setup::default() };
        Self { harness: Harness::with(values, setup).unwrap(), frame: 0, _folder: folder }
    }

    /// Returns the time of the next frame, seconds.
    fn time(&self) -> f64 {
        self.harness.header(self.frame).pts as f64 * 1e-9
    }

    /// Drops the next frame.
    fn drop_frame(&mut self) {
        self.frame += 1;
    }

    fn push(&mut self, rows: &[Motion], pairs: &[Interaction]) {
        let table = |rows| Body::Data(Payload::Table(std::sync::Arc::new(rows)));
        self.harness.push_at("motion", self.frame, table(Motion::encode(rows))).unwrap();
        self.harness.push_at("interaction", self.frame, table(Interaction::encode(pairs))).unwrap();
        let names = [FighterName { track: 1, fighter: Fighter::One }];
        self.harness.push_at("fighters", self.frame, table(FighterName::encode(&names))).unwrap();
        self.frame += 1;
    }

    fn predict(&mut self, rows: &[Motion]) -> Vec<Scores> {
        self.push(rows, &[]);
        self.harness.expect("predictions")
    }
}

/// Decodes the model's inputs from a prediction: the wrist velocity in the last and the first sample, and a value of
/// `interaction`.
fn decode_inputs(row: &Scores) -> [f32; 3] {
    assert_eq!((row.unjudged, row.probabilities.len()), (PredictionStatus::Present, 4), "{row:?}");
    let [idle, rest @ ..] = &row.probabilities[..] else { unreachable!() };
    std::array::from_fn(|i| (rest[i] / idle).ln())
}

fn assert_near(found: f32, expected: f64) {
    assert!((f64::from(found) - expected).abs() < 2e-3, "{found} is not {expected}");
}

#[test]
fn the_window_does_not_depend_on_the_frame_rate() {
    if !start_onnx_runtime() {
        return;
    }
    let span = 29.0 / 30.0;
    for fps in [24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 120.0] {
        let mut run = Run::new(&Model::new(30), fps);
        let mut judged = 0;
        while run.time() < 1.5 {
            let t = run.time();
            let rows = run.predict(&[moving(1, t as f32)]);
            assert_eq!(
                (rows.len(), rows[0].model.as_str(), rows[0].labels.as_str()),
                (1, "probe", "idle jab cross hook")
            );
            assert_eq!((rows[0].track, rows[0].fighter), (1, Fighter::One));
            // The rounding of time stamps allows a window to be 1.5 ms short.
            if t < span - 0.0016 {
                assert_eq!(
                    (rows[0].unjudged, &rows[0].probabilities[..]),
                    (PredictionStatus::Short, &[][..]),
                    "{fps} at {t}"
                );
            } else {
                let [last, first, _] = decode_inputs(&rows[0]);
                assert_near(last, t);
                assert_near(first, (t - span).max(0.0));
                judged += 1;
            }
        }
        assert!(judged > 10, "{fps}");
    }
}

#[test]
fn history_sets_the_share_of_the_window_a_new_track_needs() {
    if !start_onnx_runtime() {
        return;
    }
    let mut run = Run::with(&Model::new(30), 30.0, [("history", 0.75)].into());
    for frame in 0..40 {
        let row = run.predict(&[moving(1, 1.0)]).remove(0);
        // 22 of the 29 intervals of a window.
        assert_eq!(row.unjudged == PredictionStatus::Present, frame >= 22, "{frame}");
        if frame >= 22 {
            let [last, first, _] = decode_inputs(&row);
            assert_near(last, 1.0);
            assert_near(first, if frame < 29 { f64::from(NAN_VALUE) } else { 1.0 });
        }
    }
}

#[test]
fn sixty_frames_per_second_give_the_windows_of_thirty() {
    if !start_onnx_runtime() {
        return;
    }
    let swing = |t: f64| (20.0 * t).sin() as f32;
    let run = |fps: f64| {
        let mut run = Run::new(&Model::new(30), fps);
        let mut seen = Vec::new();
        while run.time() < 2.0 {
            let t = run.time();
            let rows = run.predict(&[moving(1, swing(t))]);
            if t > 1.0 {
                seen.push((t, decode_inputs(&rows[0])));
            }
        }
        seen
    };
    let (thirty, sixty) = (run(30.0), run(60.0));
    for (t, [last, first, _]) in thirty {
        let (_, [same_last, same_first, _]) = sixty.iter().find(|(at, _)| (at - t).abs() < 1e-6).unwrap();
        assert_near(last, f64::from(*same_last));
        assert_near(first, f64::from(*same_first));
    }
}

#[test]
fn short_gaps_are_interpolated_and_long_ones_are_nan() {
    if !start_onnx_runtime() {
        return;
    }
    for (dropped, interpolated) in [(4, true), (5, true), (6, false), (8, false)] {
        let mut run = Run::new(&Model::new(30), 30.0);
        let mut firsts = vec![];
        for _ in 0..72 {
            if (20..20 + dropped).contains(&run.frame) {
                run.drop_frame();
                continue;
            }
            let t = run.time() as f32;
            let row = run.predict(&[moving(1, t)]).remove(0);
            if row.unjudged == PredictionStatus::Present {
                firsts.push((run.frame - 1, decode_inputs(&row)[1]));
            }
        }
        for (frame, first) in firsts {
            let begin = frame - 29;
            let is_gap = (20..20 + dropped).contains(&begin) && !interpolated;
            assert_near(first, if is_gap { f64::from(NAN_VALUE) } else { begin as f64 / 30.0 });
        }
    }
}

#[test]
fn a_track_absent_for_longer_than_forget_needs_a_new_window() {
    if !start_onnx_runtime() {
        return;
    }
    for (absent, expected) in [(14, PredictionStatus::Present), (16, PredictionStatus::Short)] {
        let mut run = Run::new(&Model::new(30), 30.0);
        for _ in 0..40 {
            run.predict(&[moving(1, 1.0)]);
        }
        for _ in 0..absent {
            assert!(run.predict(&[]).is_empty());
        }
        assert_eq!(run.predict(&[moving(1, 1.0)])[0].unjudged, expected, "{absent}");
    }
}

#[test]
fn a_window_with_too_few_known_values_is_unseen() {
    if !start_onnx_runtime() {
        return;
    }
    // The model needs joints 15 and 16 only.
    let hide = |joints: &[usize]| {
        let mut row = moving(1, 1.0);
        for joint in joints {
            row.velocity[*joint] = [f32::NAN; 3];
            row.acceleration[*joint] = [f32::NAN; 3];
        }
        row
    };
    let others: Vec<usize> = (0..15).chain(17..33).collect();
    for (joints, expected) in [
        (&others[..], PredictionStatus::Present),
        (&[15], PredictionStatus::Present),
        (&[15, 16], PredictionStatus::Unseen),
    ] {
        let mut run = Run::new(&Model::new(30), 30.0);
        let mut last = PredictionStatus::default();
        for _ in 0..30 {
            last = run.predict(&[hide(joints)]).remove(0).unjudged;
        }
        assert_eq!(last, expected, "{joints:?}");
    }
    // With one of the two always hidden and half required, a single frame without both is too much.
    let mut run = Run::with(&Model::new(30), 30.0, [("known", 0.5)].into());
    for _ in 0..29 {
        run.predict(&[hide(&[15])]);
    }
    assert_eq!(run.predict(&[hide(&[15, 16])])[0].unjudged, PredictionStatus::Unseen);
    let mut run = Run::with(&Model::new(30), 30.0, [("known", 0.0)].into());
    for _ in 0..29 {
        run.predict(&[hide(&[15, 16])]);
    }
    assert_near(decode_inputs(&run.predict(&[hide(&[15, 16])])[0])[0], f64::from(NAN_VALUE));
}

#[test]
fn a_misread_joint_is_nan_and_a_jump_discards_the_history() {
    if !start_onnx_runtime() {
        return;
    }
    let mut run = Run::new(&Model::new(30), 30.0);
    for _ in 0..40 {
        run.predict(&[moving(1, 1.0)]);
    }
    let mut misread = moving(1, 1.0);
    misread.velocity[WRIST] = [0.0, 70.0, 0.0];
    assert_near(decode_inputs(&run.predict(&[misread])[0])[0], f64::from(NAN_VALUE));
    assert_near(decode_inputs(&run.predict(&[moving(1, 1.0)])[0])[0], 1.0);

    // As fast as a strike: plausible in an arm and a leg, not in most joints at once.
    let fast = |joints| {
        let mut row = moving(1, 1.0);
        row.velocity[..joints].fill([31.0, 0.0, 0.0]);
        row
    };
    assert_eq!(run.predict(&[fast(16)])[0].unjudged, PredictionStatus::Present);
    assert_eq!(run.predict(&[fast(17)])[0].unjudged, PredictionStatus::Short);
    for _ in 0..29 {
        assert_eq!(run.predict(&[moving(1, 1.0)])[0].unjudged, PredictionStatus::Short);
    }
    assert_eq!(run.predict(&[moving(1, 1.0)])[0].unjudged, PredictionStatus::Present);
    // Left and right are swapped in one frame: the body is still the same.
    let mut swapped = moving(1, 40.0);
    swapped.velocity.iter_mut().step_by(2).for_each(|velocity| velocity[0] = -36.0);
    assert_near(decode_inputs(&run.predict(&[swapped])[0])[0], f64::from(NAN_VALUE));
    assert_eq!(run.predict(&[moving(1, 1.0)])[0].unjudged, PredictionStatus::Present);
    let counts = run.harness.state("test").unwrap().counts();
    assert_eq!((counts.judged, counts.short, counts.unseen, counts.jumps), (17, 59, 0, 1));
}

#[test]
fn predictions_do_not_depend_on_the_other_tracks_of_the_frame() {
    if !start_onnx_runtime() {
        return;
    }
    let swing = |track: u32, t: f64| moving(track, (f64::from(track) * 3.0 * t).sin() as f32);
    let run = |tracks: &[u32]| {
        let mut run = Run::new(&Model::new(30), 30.0);
        let mut all = vec![];
        for _ in 0..45 {
            let t = run.time();
            // Track 3 starts later.
            let there = tracks.iter().filter(|track| **track != 3 || t > 0.5);
            all.extend(run.predict(&there.map(|track| swing(*track, t)).collect::<Vec<_>>()));
        }
        all
    };
    let together = run(&[1, 2, 3]);
    for track in [1, 2, 3] {
        let (ours, alone): (Vec<_>, _) = (together.iter().filter(|row| row.track == track).collect(), run(&[track]));
        assert_eq!(ours.len(), alone.len());
        for (ours, alone) in ours.into_iter().zip(&alone) {
            assert_eq!(ours.unjudged, alone.unjudged);
            for (a, b) in ours.probabilities.iter().zip(&alone.probabilities) {
                assert!((a - b).abs() < 1e-6, "{ours:?} {alone:?}");
            }
        }
    }
}

#[test]
fn frames_between_strides_fill_windows_and_are_skipped() {
    if !start_onnx_runtime() {
        return;
    }
    let mut run = Run::with(&Model::new(30), 30.0, [("stride", 3)].into());
    for frame in 0..60 {
        let t = run.time();
        run.push(&[moving(1, t as f32)], &[]);
        if frame % 3 > 0 {
            assert_eq!(run.harness.expect_skipped("predictions"), Reason::Stride);
            continue;
        }
        let row = run.harness.expect::<Scores>("predictions").remove(0);
        if frame >= 29 {
            assert_near(decode_inputs(&row)[0], t);
            assert_near(decode_inputs(&row)[1], t - 29.0 / 30.0);
        }
    }
}

#[test]
fn a_model_with_the_input_interaction_receives_it() {
    if !start_onnx_runtime() {
        return;
    }
    // Distance, closing speed, facing of this track and of the other, reach of this track and of the other.
    for (index, first, second) in [(0, 1.5, 1.5), (2, 0.1, 0.2), (3, 0.2, 0.1), (4, 1.0, 2.0), (5, 2.0, 1.0)] {
        let mut run = Run::new(&Model::new(30).with_interaction(index), 30.0);
        let mut rows = vec![];
        for _ in 0..30 {
            run.push(&[moving(1, 0.5), moving(2, 0.5), moving(3, 0.5)], &[interaction(1, 2, 1.5)]);
            rows = run.harness.expect("predictions");
        }
        assert_near(decode_inputs(&rows[0])[2], first);
        assert_near(decode_inputs(&rows[1])[2], second);
        assert_near(decode_inputs(&rows[2])[2], f64::from(NAN_VALUE));
    }
}

#[test]
fn without_interaction_the_model_receives_nan() {
    if !start_onnx_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = Model::new(2).with_interaction(0).write(folder.path());
    let wired = Some(vec![("motion", sideline_api::Alignment::Source(sideline_api::SourceId(0)))]);
    let setup = Setup { inputs: wired, ..Setup::default() };
    let mut run = Harness::<Sequence>::with([("model", model.to_str().unwrap())], setup).unwrap();
    run.push("motion", &[moving(1, 1.0)]).unwrap();
    run.push("motion", &[moving(1, 1.0)]).unwrap();
    run.expect::<Scores>("predictions");
    assert_near(decode_inputs(&run.expect::<Scores>("predictions")[0])[2], f64::from(NAN_VALUE));
}
