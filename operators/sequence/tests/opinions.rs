//! What the operator makes of tracks, by models whose answers tell which values they were shown. Without ONNX Runtime's library
//! the tests say so and return.

mod support;

use sideline_api::{
    Body, Payload, Reason, Table, Values,
    tables::{Interaction, Motion, Scores},
    testing::{Harness, Setup},
};
use sideline_sequence::Sequence;
use support::{Model, UNSEEN, WRIST, moving, runtime, standing};

/// Frames pushed into the operator, and what came out.
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

    /// Seconds of the frame that comes next.
    fn time(&self) -> f64 {
        self.harness.header(self.frame).pts as f64 * 1e-9
    }

    /// The next frame is one that the source forgot.
    fn lose(&mut self) {
        self.frame += 1;
    }

    fn push(&mut self, rows: &[Motion], pairs: &[Interaction]) {
        let table = |rows| Body::Data(Payload::Table(std::sync::Arc::new(rows)));
        self.harness.push_at("motion", self.frame, table(Motion::encode(rows))).unwrap();
        self.harness.push_at("interaction", self.frame, table(Interaction::encode(pairs))).unwrap();
        self.frame += 1;
    }

    fn see(&mut self, rows: &[Motion]) -> Vec<Scores> {
        self.push(rows, &[]);
        self.harness.expect("opinions")
    }
}

/// What a model was shown: the wrist at the window's last moment and at its first, and a value of `interaction`.
fn shown(row: &Scores) -> [f32; 3] {
    assert_eq!((row.unjudged.as_str(), row.probabilities.len()), ("", 4), "{row:?}");
    let [idle, rest @ ..] = &row.probabilities[..] else { unreachable!() };
    std::array::from_fn(|i| (rest[i] / idle).ln())
}

fn near(found: f32, expected: f64) {
    assert!((f64::from(found) - expected).abs() < 2e-3, "{found} is not {expected}");
}

#[test]
fn the_window_is_the_last_second_whatever_the_frame_rate() {
    if !runtime() {
        return;
    }
    let span = 29.0 / 30.0;
    for fps in [24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 120.0] {
        let mut run = Run::new(&Model::new(30), fps);
        let mut judged = 0;
        while run.time() < 1.5 {
            let t = run.time();
            let rows = run.see(&[moving(1, t as f32)]);
            assert_eq!(
                (rows.len(), rows[0].model.as_str(), rows[0].labels.as_str()),
                (1, "probe", "idle jab cross hook")
            );
            assert_eq!((rows[0].track, rows[0].fighter.as_str()), (1, "fighter_1"));
            // A millisecond and a half short of the window is within the rounding of time stamps.
            if t < span - 0.0016 {
                assert_eq!((rows[0].unjudged.as_str(), &rows[0].probabilities[..]), ("short", &[][..]), "{fps} at {t}");
            } else {
                let [last, first, _] = shown(&rows[0]);
                near(last, t);
                near(first, (t - span).max(0.0));
                judged += 1;
            }
        }
        assert!(judged > 10, "{fps}");
    }
}

#[test]
fn newcomers_are_judged_sooner_by_a_part_of_the_window_where_that_is_asked_for() {
    if !runtime() {
        return;
    }
    let mut run = Run::with(&Model::new(30), 30.0, [("history", 0.75)].into());
    for frame in 0..40 {
        let row = run.see(&[moving(1, 1.0)]).remove(0);
        // 22 of the 29 steps of a window.
        assert_eq!(row.unjudged.is_empty(), frame >= 22, "{frame}");
        if frame >= 22 {
            let [last, first, _] = shown(&row);
            near(last, 1.0);
            near(first, if frame < 29 { f64::from(UNSEEN) } else { 1.0 });
        }
    }
}

#[test]
fn sixty_frames_a_second_give_what_thirty_give() {
    if !runtime() {
        return;
    }
    let swing = |t: f64| (20.0 * t).sin() as f32;
    let run = |fps: f64| {
        let mut run = Run::new(&Model::new(30), fps);
        let mut seen = Vec::new();
        while run.time() < 2.0 {
            let t = run.time();
            let rows = run.see(&[moving(1, swing(t))]);
            if t > 1.0 {
                seen.push((t, shown(&rows[0])));
            }
        }
        seen
    };
    let (thirty, sixty) = (run(30.0), run(60.0));
    for (t, [last, first, _]) in thirty {
        let (_, [same_last, same_first, _]) = sixty.iter().find(|(at, _)| (at - t).abs() < 1e-6).unwrap();
        near(last, f64::from(*same_last));
        near(first, f64::from(*same_first));
    }
}

#[test]
fn short_holes_are_bridged_and_long_ones_are_unseen() {
    if !runtime() {
        return;
    }
    for (lost, bridged) in [(4, true), (5, true), (6, false), (8, false)] {
        let mut run = Run::new(&Model::new(30), 30.0);
        let mut firsts = vec![];
        for _ in 0..72 {
            if (20..20 + lost).contains(&run.frame) {
                run.lose();
                continue;
            }
            let t = run.time() as f32;
            let row = run.see(&[moving(1, t)]).remove(0);
            if row.unjudged.is_empty() {
                firsts.push((run.frame - 1, shown(&row)[1]));
            }
        }
        for (frame, first) in firsts {
            let begin = frame - 29;
            let hole = (20..20 + lost).contains(&begin) && !bridged;
            near(first, if hole { f64::from(UNSEEN) } else { begin as f64 / 30.0 });
        }
    }
}

#[test]
fn who_comes_back_after_long_begins_anew() {
    if !runtime() {
        return;
    }
    for (lost, expected) in [(14, ""), (16, "short")] {
        let mut run = Run::new(&Model::new(30), 30.0);
        for _ in 0..40 {
            run.see(&[moving(1, 1.0)]);
        }
        for _ in 0..lost {
            assert!(run.see(&[]).is_empty());
        }
        assert_eq!(run.see(&[moving(1, 1.0)])[0].unjudged, expected, "{lost}");
    }
}

#[test]
fn a_window_of_which_too_little_is_known_is_unseen() {
    if !runtime() {
        return;
    }
    // The model needs joints 15 and 16; others may be as unknown as they like.
    let blind = |joints: &[usize]| {
        let mut row = moving(1, 1.0);
        for joint in joints {
            row.velocity[*joint] = [f32::NAN; 3];
            row.acceleration[*joint] = [f32::NAN; 3];
        }
        row
    };
    let others: Vec<usize> = (0..15).chain(17..33).collect();
    for (joints, expected) in [(&others[..], ""), (&[15], ""), (&[15, 16], "unseen")] {
        let mut run = Run::new(&Model::new(30), 30.0);
        let mut last = String::new();
        for _ in 0..30 {
            last = run.see(&[blind(joints)]).remove(0).unjudged;
        }
        assert_eq!(last, expected, "{joints:?}");
    }
    // With one of the two gone, a further frame without both is too much where half is asked for.
    let mut run = Run::with(&Model::new(30), 30.0, [("known", 0.5)].into());
    for _ in 0..29 {
        run.see(&[blind(&[15])]);
    }
    assert_eq!(run.see(&[blind(&[15, 16])])[0].unjudged, "unseen");
    let mut run = Run::with(&Model::new(30), 30.0, [("known", 0.0)].into());
    for _ in 0..29 {
        run.see(&[blind(&[15, 16])]);
    }
    near(shown(&run.see(&[blind(&[15, 16])])[0])[0], f64::from(UNSEEN));
}

#[test]
fn a_misread_joint_is_unseen_and_a_body_that_jumps_begins_anew() {
    if !runtime() {
        return;
    }
    let mut run = Run::new(&Model::new(30), 30.0);
    for _ in 0..40 {
        run.see(&[moving(1, 1.0)]);
    }
    let mut misread = moving(1, 1.0);
    misread.velocity[WRIST] = [0.0, 70.0, 0.0];
    near(shown(&run.see(&[misread])[0])[0], f64::from(UNSEEN));
    near(shown(&run.see(&[moving(1, 1.0)])[0])[0], 1.0);

    // Fast as a strike may be, arm and leg of it; and no body moves so in most of its joints.
    let leaping = |joints| {
        let mut row = moving(1, 1.0);
        row.velocity[..joints].fill([31.0, 0.0, 0.0]);
        row
    };
    assert_eq!(run.see(&[leaping(16)])[0].unjudged, "");
    assert_eq!(run.see(&[leaping(17)])[0].unjudged, "short");
    for _ in 0..29 {
        assert_eq!(run.see(&[moving(1, 1.0)])[0].unjudged, "short");
    }
    assert_eq!(run.see(&[moving(1, 1.0)])[0].unjudged, "");
    // Left and right change places: what follows is the same body.
    let mut exchanged = moving(1, 40.0);
    exchanged.velocity.iter_mut().step_by(2).for_each(|velocity| velocity[0] = -36.0);
    near(shown(&run.see(&[exchanged])[0])[0], f64::from(UNSEEN));
    assert_eq!(run.see(&[moving(1, 1.0)])[0].unjudged, "");
    let counts = run.harness.state("test").unwrap().counts();
    assert_eq!((counts.judged, counts.short, counts.unseen, counts.jumps), (17, 59, 0, 1));
}

#[test]
fn the_tracks_of_a_frame_have_what_each_would_have_alone() {
    if !runtime() {
        return;
    }
    let swing = |track: u32, t: f64| moving(track, (f64::from(track) * 3.0 * t).sin() as f32);
    let run = |tracks: &[u32]| {
        let mut run = Run::new(&Model::new(30), 30.0);
        let mut all = vec![];
        for _ in 0..45 {
            let t = run.time();
            // The last of them came later.
            let there = tracks.iter().filter(|track| **track != 3 || t > 0.5);
            all.extend(run.see(&there.map(|track| swing(*track, t)).collect::<Vec<_>>()));
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
fn between_the_frames_of_a_stride_windows_are_filled_and_nothing_is_judged() {
    if !runtime() {
        return;
    }
    let mut run = Run::with(&Model::new(30), 30.0, [("stride", 3)].into());
    for frame in 0..60 {
        let t = run.time();
        run.push(&[moving(1, t as f32)], &[]);
        if frame % 3 > 0 {
            assert_eq!(run.harness.expect_skipped("opinions"), Reason::Stride);
            continue;
        }
        let row = run.harness.expect::<Scores>("opinions").remove(0);
        if frame >= 29 {
            near(shown(&row)[0], t);
            near(shown(&row)[1], t - 29.0 / 30.0);
        }
    }
}

#[test]
fn how_two_stand_is_told_to_a_model_that_asks() {
    if !runtime() {
        return;
    }
    // distance, closing speed, facing of this one and of the other, reach of this one and of the other.
    for (reads, first, second) in [(0, 1.5, 1.5), (2, 0.1, 0.2), (3, 0.2, 0.1), (4, 1.0, 2.0), (5, 2.0, 1.0)] {
        let mut run = Run::new(&Model::new(30).with_interaction(reads), 30.0);
        let mut rows = vec![];
        for _ in 0..30 {
            run.push(&[moving(1, 0.5), moving(2, 0.5), moving(3, 0.5)], &[standing(1, 2, 1.5)]);
            rows = run.harness.expect("opinions");
        }
        near(shown(&rows[0])[2], first);
        near(shown(&rows[1])[2], second);
        near(shown(&rows[2])[2], f64::from(UNSEEN));
    }
}

#[test]
fn without_an_interaction_the_model_is_told_so() {
    if !runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = Model::new(2).with_interaction(0).write(folder.path());
    let wired = Some(vec![("motion", sideline_api::Alignment::Source(sideline_api::SourceId(0)))]);
    let setup = Setup { inputs: wired, ..Setup::default() };
    let mut run = Harness::<Sequence>::with([("model", model.to_str().unwrap())], setup).unwrap();
    run.push("motion", &[moving(1, 1.0)]).unwrap();
    run.push("motion", &[moving(1, 1.0)]).unwrap();
    run.expect::<Scores>("opinions");
    near(shown(&run.expect::<Scores>("opinions")[0])[2], f64::from(UNSEEN));
}
