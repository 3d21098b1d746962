//! Tests of the operator `ball`: tracking through misses and false balls, modes, corrections, frames without a detector
//! run, invalid input.

use sideline_api::{
    Body, Color, Encoding, Frame, Reason, Result, Values,
    testing::{Harness, Setup},
};
use sideline_sport::tables::{Ball, BallMode, Correction, CorrectionKind, Detection};

/// A running operator with frames of one height and rate.
struct BallHarness {
    harness: Harness<sideline_ball::Ball>,
    height: u32,
}

impl BallHarness {
    fn new(keys: impl Into<Values>) -> Self {
        Self::at(1080, 30, keys)
    }

    fn at(height: u32, rate: i64, keys: impl Into<Values>) -> Self {
        let setup = Setup { interval: 1_000_000_000 / rate, ..Setup::default() };
        Self { harness: Harness::with(keys, setup).unwrap(), height }
    }

    /// Sends a frame with balls at these positions, 10 px in diameter at a height of 1080; `None`: the detector did not
    /// run.
    fn push(&mut self, balls: Option<&[[f64; 2]]>) -> Option<Ball> {
        let (width, height) = (self.height * 16 / 9, self.height);
        let planes = vec![0u8; (width * height * 3 / 2) as usize];
        let frame =
            Frame::from_packed(width, height, Encoding::I420, Color::default_for_height(height), planes).unwrap();
        self.harness.push_frame("frames", frame).unwrap();
        let half = 5.0 * self.height as f32 / 1080.0;
        match balls {
            Some(balls) => {
                let row = |[x, y]: &[f64; 2]| {
                    let (x, y) = (*x as f32, *y as f32);
                    let (x1, y1, x2, y2) = (x - half, y - half, x + half, y + half);
                    Detection { x1, y1, x2, y2, score: 0.5, class: 32, refined: false }
                };
                self.harness.push("balls", &balls.iter().map(row).collect::<Vec<_>>()).unwrap();
            }
            None => self.harness.skip("balls", Reason::Stride).unwrap(),
        }
        self.harness.expect::<Ball>("ball").pop()
    }

    /// Ends the stream and returns all corrections.
    fn corrections(&mut self) -> Vec<Correction> {
        self.harness.end().unwrap();
        let mut all = vec![];
        while let Some(message) = self.harness.next_message("corrections") {
            if let Body::Data(sideline_api::Payload::Table(table)) = message.body {
                all.extend(<Correction as sideline_api::Table>::decode(&table).unwrap());
            }
        }
        all
    }
}

fn rolling_ball(frame: u32) -> [f64; 2] {
    [200.0 + 6.0 * f64::from(frame), 500.0 + 1.0 * f64::from(frame)]
}

fn error_px(row: &Ball, [x, y]: [f64; 2]) -> f64 {
    (f64::from(row.x) - x).hypot(f64::from(row.y) - y)
}

#[test]
fn a_ball_is_confirmed_after_confirm_hits_detections_and_then_has_a_row_per_frame() {
    let mut ball = BallHarness::new([("confirm_hits", 3)]);
    let rows: Vec<_> = (0..40).map(|frame| ball.push(Some(&[rolling_ball(frame)]))).collect();
    assert!(rows[0].is_none() && rows[1].is_none(), "a single detection may be a false ball");
    for (frame, row) in (2..40).zip(&rows[2..]) {
        let row = row.as_ref().unwrap();
        assert!(
            row.measured && row.missing == 0 && row.score == 0.5 && error_px(row, rolling_ball(frame)) < 4.0,
            "{row:?}"
        );
    }
    let last = rows[39].as_ref().unwrap();
    // Pixels per second, and the radius of the boxes.
    assert!((last.vx - 180.0).abs() < 10.0 && (last.vy - 30.0).abs() < 10.0 && last.radius == 5.0, "{last:?}");
    assert_eq!(last.mode, BallMode::Normal, "more than fifteen consecutive detections");
}

#[test]
fn a_ball_without_detections_is_predicted_and_lost_after_ten_frames() {
    let mut ball = BallHarness::new(Values::new());
    (0..30).for_each(|frame| {
        ball.push(Some(&[rolling_ball(frame)]));
    });
    let rows: Vec<Ball> = (30..45).map(|_| ball.push(Some(&[])).unwrap()).collect();
    for (frame, row) in (30..34).zip(&rows) {
        assert!(!row.measured && row.score == 0.0 && error_px(row, rolling_ball(frame)) < 10.0, "{row:?}");
    }
    assert!(rows.windows(2).all(|two| two[0].spread < two[1].spread), "the position variance grows");
    let modes: Vec<BallMode> = rows.iter().map(|row| row.mode).collect();
    assert_eq!(modes[..10], [BallMode::Recovering; 10]);
    assert_eq!(modes[10..], [BallMode::Lost; 5]);
    assert_eq!(rows[14].missing, 15);
}

#[test]
fn false_balls_elsewhere_do_not_capture_the_track() {
    let mut ball = BallHarness::new(Values::new());
    for frame in 0..90 {
        let flicker = [f64::from(frame * 617 % 1900), f64::from(frame * 389 % 1000)];
        let visible = (frame % 3 != 0 || frame < 6).then_some(rolling_ball(frame));
        let seen: Vec<[f64; 2]> = [Some(flicker), visible, Some([1500.0, 300.0])].into_iter().flatten().collect();
        let row = ball.push(Some(&seen));
        if frame > 12 {
            assert!(error_px(&row.unwrap(), rolling_ball(frame)) < 15.0, "frame {frame}");
        }
    }
}

#[test]
fn a_kick_is_followed_without_delay() {
    let mut ball = BallHarness::new(Values::new());
    (0..30).for_each(|_| {
        ball.push(Some(&[[500.0, 500.0]]));
    });
    for frame in 1..20 {
        let at = [500.0 + 18.0 * f64::from(frame), 500.0 - 6.0 * f64::from(frame)];
        assert!(error_px(&ball.push(Some(&[at])).unwrap(), at) < 20.0, "frame {frame}");
    }
}

#[test]
fn a_ball_at_rest_is_locked_with_less_jitter() {
    let mut ball = BallHarness::new(Values::new());
    let jitter = |frame: u32| [800.0 + f64::from(frame % 3) - 1.0, 400.0 + f64::from(frame % 2)];
    let rows: Vec<_> = (0..60).filter_map(|frame| ball.push(Some(&[jitter(frame)]))).collect();
    assert_eq!(rows.last().unwrap().mode, BallMode::Locked);
    assert!(rows[5..12].iter().all(|row| row.mode == BallMode::Recovering));
    let path_length = |rows: &[Ball]| rows.windows(2).map(|two| (two[1].x - two[0].x).abs()).sum::<f32>();
    assert!(path_length(&rows[47..57]) < 0.7 * path_length(&rows[2..12]));
}

#[test]
fn a_jump_before_the_ball_is_lost_starts_chaos() {
    let mut ball = BallHarness::new([("chaos_s", 40.0 / 30.0)]);
    (0..6).for_each(|_| {
        ball.push(Some(&[[300.0, 500.0]]));
    });
    let far = |frame: u32| [1500.0 + 8.0 * f64::from(frame), 700.0];
    // No detection at the old position, and a moving object far away: the switch is not immediate, but before the loss.
    let modes: Vec<BallMode> = (0..30).map(|frame| ball.push(Some(&[far(frame)])).unwrap().mode).collect();
    let began = modes.iter().position(|mode| *mode == BallMode::Chaos);
    assert!(began.is_some_and(|at| (2..10).contains(&at)), "{modes:?}");
    // Distant candidates are ignored now.
    let row = ball.push(Some(&[far(50)])).unwrap();
    assert!(!row.measured && row.mode == BallMode::Chaos, "{row:?}");
}

#[test]
fn a_lost_ball_is_found_again_anywhere_in_the_frame() {
    let mut ball = BallHarness::new(Values::new());
    (0..30).for_each(|frame| {
        ball.push(Some(&[rolling_ball(frame)]));
    });
    (0..20).for_each(|_| {
        ball.push(Some(&[]));
    });
    let rows: Vec<Ball> = (0..5).map(|_| ball.push(Some(&[[1700.0, 200.0]])).unwrap()).collect();
    assert_eq!(rows[1].mode, BallMode::Lost);
    assert!(
        rows[4].measured && rows[4].mode == BallMode::Recovering && error_px(&rows[4], [1700.0, 200.0]) < 3.0,
        "{:?}",
        rows[4]
    );
}

#[test]
fn frames_without_a_detector_run_are_predicted_and_are_no_misses() {
    let mut ball = BallHarness::new(Values::new());
    for frame in 0..120 {
        let row = ball.push((frame % 5 == 0).then_some(&[rolling_ball(frame)]));
        if frame > 30 {
            let row = row.unwrap();
            assert!(error_px(&row, rolling_ball(frame)) < 4.0 && row.mode != BallMode::Lost, "frame {frame}: {row:?}");
            assert_eq!((row.measured, row.missing), (frame % 5 == 0, frame % 5), "frame {frame}");
        }
    }
}

#[test]
fn keys_scale_with_frame_height_and_rate() {
    let small = |rate: i64| {
        let mut ball = BallHarness::at(540, rate, Values::new());
        let steps = rate as u32 * 2;
        // The same ball in a frame half as high: 3 px per frame of 1/30 s.
        let at = |frame: u32| [100.0 + 90.0 * f64::from(frame) / rate as f64, 250.0];
        let last = (0..steps).map(|frame| ball.push(Some(&[at(frame)]))).last().flatten().unwrap();
        let unseen = (0..rate as u32).map(|_| ball.push(Some(&[])).unwrap());
        let lost = unseen.take_while(|row| row.mode != BallMode::Lost).count();
        (error_px(&last, at(steps - 1)), last.vx, lost as f64 / rate as f64)
    };
    for rate in [25, 30, 60] {
        let (error, vx, lost) = small(rate);
        assert!(error < 2.0 && (vx - 90.0).abs() < 6.0, "{rate}: {error} {vx}");
        assert!((lost - 10.0 / 30.0).abs() <= 1.0 / rate as f64, "{rate}: lost after {lost} s");
    }
}

#[test]
fn corrections_fill_gaps_and_the_last_ones_come_with_the_end() {
    let mut ball = BallHarness::new([("lag", 20)]);
    for frame in 0..60 {
        let seen = (!(30..38).contains(&frame)).then_some(rolling_ball(frame));
        ball.push(Some(seen.as_slice()));
    }
    let corrections = ball.corrections();
    let frames: Vec<u64> = corrections.iter().map(|row| row.at).collect();
    assert_eq!(frames, (0..60).collect::<Vec<u64>>(), "one row per frame, also for those before the confirmation");
    for row in corrections {
        let [x, y] = rolling_ball(row.at as u32);
        assert!((f64::from(row.x) - x).hypot(f64::from(row.y) - y) < 3.0, "{row:?}");
        assert_eq!(
            row.kind,
            if (30..38).contains(&row.at) { CorrectionKind::Filled } else { CorrectionKind::Smoothed }
        );
    }
}

#[test]
fn particles_track_the_ball_and_equal_seeds_give_equal_rows() {
    let run = || {
        let mut ball = BallHarness { harness: Harness::new([("method", "particle")]).unwrap(), height: 1080 };
        let seen = |frame: u32| (frame % 4 != 3).then_some(rolling_ball(frame));
        (0..60).map(|frame| ball.push(Some(seen(frame).as_slice()))).collect::<Vec<_>>()
    };
    let rows = run();
    for (frame, row) in (20..60).zip(&rows[20..]) {
        assert!(error_px(row.as_ref().unwrap(), rolling_ball(frame)) < 10.0, "{row:?}");
    }
    assert_eq!(rows, run());
}

#[test]
fn no_ball_gives_no_rows() {
    let mut ball = BallHarness::new(Values::new());
    assert!((0..50).all(|_| ball.push(Some(&[])).is_none()));
    assert!(ball.corrections().is_empty());
}

#[test]
fn invalid_boxes_are_ignored() {
    let mut ball = BallHarness::new(Values::new());
    for bad in [[f64::NAN, 0.0], [f64::INFINITY, 5.0], [1e30, 2.0]] {
        (0..5).for_each(|_| assert!(ball.push(Some(&[bad])).is_none()));
    }
    (0..10).for_each(|_| {
        ball.push(Some(&[[500.0, 500.0], [f64::NAN, 1.0]]));
    });
    assert!(error_px(&ball.push(Some(&[[500.0, 500.0]])).unwrap(), [500.0, 500.0]) < 1.0);
}

#[test]
fn wrong_wiring_and_invalid_keys_are_refused() -> Result<()> {
    let inputs = Some(vec![("frames", sideline_api::Alignment::Source(sideline_api::SourceId(0)))]);
    let unwired = Harness::<sideline_ball::Ball>::with([("confirm_hits", 3)], Setup { inputs, ..Setup::default() });
    assert!(unwired.err().unwrap().message.contains("connect a detector's output to it: `balls: detect/balls`"));
    for (key, value, wanted) in [
        ("min_radius", 60.0, "60 is not below `max_radius` (50)"),
        ("warn_after_s", 0.5, "0.5 is above `lost_after_s` (0.333)"),
        ("noise_least", 20.0, "20 is above `noise_most` (10)"),
    ] {
        let error = Harness::<sideline_ball::Ball>::new([(key, value)]).err().unwrap().message;
        assert!(error.contains(wanted), "{error}");
    }
    let mut ball = BallHarness::new(Values::new());
    assert!(ball.harness.set("min_radius", 99.0).is_err() && ball.harness.set("gate", 5.0).is_ok());
    Ok(())
}
