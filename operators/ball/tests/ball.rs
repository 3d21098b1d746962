//! What `ball` promises: found through misses and false balls, its modes, its corrections, and what it does with nothing.

use sideline_api::{
    Body, Color, Encoding, Frame, Reason, Result, Values,
    tables::{Ball, Correction, Detection},
    testing::{Harness, Setup},
};
use sideline_ball::BallOperator;

/// An operator at work on a picture of some height, at some frames a second.
struct Ground {
    harness: Harness<BallOperator>,
    height: u32,
}

impl Ground {
    fn new(keys: impl Into<Values>) -> Self {
        Self::at(1080, 30, keys)
    }

    fn at(height: u32, rate: i64, keys: impl Into<Values>) -> Self {
        let setup = Setup { interval: 1_000_000_000 / rate, ..Setup::default() };
        Self { harness: Harness::with(keys, setup).unwrap(), height }
    }

    /// Hands in a frame with balls at these places, 10 px across in a picture of 1080; `None`: nobody looked.
    fn see(&mut self, balls: Option<&[[f64; 2]]>) -> Option<Ball> {
        let (width, height) = (self.height * 16 / 9, self.height);
        let planes = vec![0u8; (width * height * 3 / 2) as usize];
        let frame = Frame::from_packed(width, height, Encoding::I420, Color::assumed(height), planes).unwrap();
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

    /// Corrections so far, and those of the end.
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

fn rolling(frame: u32) -> [f64; 2] {
    [200.0 + 6.0 * f64::from(frame), 500.0 + 1.0 * f64::from(frame)]
}

fn off(row: &Ball, [x, y]: [f64; 2]) -> f64 {
    (f64::from(row.x) - x).hypot(f64::from(row.y) - y)
}

#[test]
fn a_ball_is_found_after_a_few_looks_and_has_a_row_from_then_on() {
    let mut ground = Ground::new([("confirm_looks", 3)]);
    let rows: Vec<_> = (0..40).map(|frame| ground.see(Some(&[rolling(frame)]))).collect();
    assert!(rows[0].is_none() && rows[1].is_none(), "one look may be a false ball");
    for (frame, row) in (2..40).zip(&rows[2..]) {
        let row = row.as_ref().unwrap();
        assert!(row.measured && row.missing == 0 && row.score == 0.5 && off(row, rolling(frame)) < 4.0, "{row:?}");
    }
    let last = rows[39].as_ref().unwrap();
    // px a second, and the radius of the boxes.
    assert!((last.vx - 180.0).abs() < 10.0 && (last.vy - 30.0).abs() < 10.0 && last.radius == 5.0, "{last:?}");
    assert_eq!(last.mode, "normal", "seen more than fifteen times in a row");
}

#[test]
fn what_is_not_seen_is_foreseen_and_after_ten_frames_lost() {
    let mut ground = Ground::new(Values::new());
    (0..30).for_each(|frame| drop(ground.see(Some(&[rolling(frame)]))));
    let rows: Vec<Ball> = (30..45).map(|_| ground.see(Some(&[])).unwrap()).collect();
    for (frame, row) in (30..34).zip(&rows) {
        assert!(!row.measured && row.score == 0.0 && off(row, rolling(frame)) < 10.0, "{row:?}");
    }
    assert!(rows.windows(2).all(|two| two[0].spread < two[1].spread), "it is known less and less");
    let modes: Vec<&str> = rows.iter().map(|row| &*row.mode).collect();
    assert_eq!(modes[..10], ["recovering"; 10]);
    assert_eq!(modes[10..], ["lost"; 5]);
    assert_eq!(rows[14].missing, 15);
}

#[test]
fn false_balls_elsewhere_do_not_lead_it_astray() {
    let mut ground = Ground::new(Values::new());
    for frame in 0..90 {
        let flicker = [f64::from(frame * 617 % 1900), f64::from(frame * 389 % 1000)];
        let ball = (frame % 3 != 0 || frame < 6).then_some(rolling(frame));
        let seen: Vec<[f64; 2]> = [Some(flicker), ball, Some([1500.0, 300.0])].into_iter().flatten().collect();
        let row = ground.see(Some(&seen));
        if frame > 12 {
            assert!(off(&row.unwrap(), rolling(frame)) < 15.0, "frame {frame}");
        }
    }
}

#[test]
fn a_kick_is_followed_at_once() {
    let mut ground = Ground::new(Values::new());
    (0..30).for_each(|_| drop(ground.see(Some(&[[500.0, 500.0]]))));
    for frame in 1..20 {
        let at = [500.0 + 18.0 * f64::from(frame), 500.0 - 6.0 * f64::from(frame)];
        assert!(off(&ground.see(Some(&[at])).unwrap(), at) < 20.0, "frame {frame}");
    }
}

#[test]
fn a_ball_that_lies_still_is_locked_and_held_stiller() {
    let mut ground = Ground::new(Values::new());
    let tremble = |frame: u32| [800.0 + f64::from(frame % 3) - 1.0, 400.0 + f64::from(frame % 2)];
    let rows: Vec<_> = (0..60).filter_map(|frame| ground.see(Some(&[tremble(frame)]))).collect();
    assert_eq!(rows.last().unwrap().mode, "locked");
    assert!(rows[5..12].iter().all(|row| row.mode == "recovering"));
    let moved = |rows: &[Ball]| rows.windows(2).map(|two| (two[1].x - two[0].x).abs()).sum::<f32>();
    assert!(moved(&rows[47..57]) < 0.7 * moved(&rows[2..12]));
}

#[test]
fn a_ball_that_turns_up_far_away_while_it_was_known_is_chaos() {
    let mut ground = Ground::new([("chaos_s", 40.0 / 30.0)]);
    (0..6).for_each(|_| drop(ground.see(Some(&[[300.0, 500.0]]))));
    let far = |frame: u32| [1500.0 + 8.0 * f64::from(frame), 700.0];
    // Not seen at the old place any more, and something moves far off: not at once, but before the old one is lost.
    let modes: Vec<String> = (0..30).map(|frame| ground.see(Some(&[far(frame)])).unwrap().mode).collect();
    let began = modes.iter().position(|mode| mode == "chaos");
    assert!(began.is_some_and(|at| (2..10).contains(&at)), "{modes:?}");
    // Now nothing far from the last place is taken.
    let row = ground.see(Some(&[far(50)])).unwrap();
    assert!(!row.measured && row.mode == "chaos", "{row:?}");
}

#[test]
fn a_lost_ball_is_found_anywhere_again() {
    let mut ground = Ground::new(Values::new());
    (0..30).for_each(|frame| drop(ground.see(Some(&[rolling(frame)]))));
    (0..20).for_each(|_| drop(ground.see(Some(&[]))));
    let rows: Vec<Ball> = (0..5).map(|_| ground.see(Some(&[[1700.0, 200.0]])).unwrap()).collect();
    assert_eq!(rows[1].mode, "lost");
    assert!(rows[4].measured && rows[4].mode == "recovering" && off(&rows[4], [1700.0, 200.0]) < 3.0, "{:?}", rows[4]);
}

#[test]
fn frames_that_nobody_looked_at_are_foreseen_and_count_against_nothing() {
    let mut ground = Ground::new(Values::new());
    for frame in 0..120 {
        let row = ground.see((frame % 5 == 0).then_some(&[rolling(frame)]));
        if frame > 30 {
            let row = row.unwrap();
            assert!(off(&row, rolling(frame)) < 4.0 && row.mode != "lost", "frame {frame}: {row:?}");
            assert_eq!((row.measured, row.missing), (frame % 5 == 0, frame % 5), "frame {frame}");
        }
    }
}

#[test]
fn keys_mean_the_same_in_every_picture_and_at_every_rate() {
    let small = |rate: i64| {
        let mut ground = Ground::at(540, rate, Values::new());
        let steps = rate as u32 * 2;
        // The same ball, half as large: 3 px a frame of 1/30 s.
        let at = |frame: u32| [100.0 + 90.0 * f64::from(frame) / rate as f64, 250.0];
        let last = (0..steps).map(|frame| ground.see(Some(&[at(frame)]))).last().flatten().unwrap();
        let gone = (0..rate as u32).map(|_| ground.see(Some(&[])).unwrap());
        let lost = gone.take_while(|row| row.mode != "lost").count();
        (off(&last, at(steps - 1)), last.vx, lost as f64 / rate as f64)
    };
    for rate in [25, 30, 60] {
        let (off, vx, lost) = small(rate);
        assert!(off < 2.0 && (vx - 90.0).abs() < 6.0, "{rate}: {off} {vx}");
        assert!((lost - 10.0 / 30.0).abs() <= 1.0 / rate as f64, "{rate}: lost after {lost} s");
    }
}

#[test]
fn gaps_are_filled_and_the_rest_comes_with_the_end() {
    let mut ground = Ground::new([("lag", 20)]);
    for frame in 0..60 {
        let seen = (!(30..38).contains(&frame)).then_some(rolling(frame));
        ground.see(Some(seen.as_slice()));
    }
    let corrections = ground.corrections();
    let frames: Vec<u64> = corrections.iter().map(|row| row.at).collect();
    assert_eq!(frames, (0..60).collect::<Vec<u64>>(), "each frame once, also those before it was found");
    for row in corrections {
        let [x, y] = rolling(row.at as u32);
        assert!((f64::from(row.x) - x).hypot(f64::from(row.y) - y) < 3.0, "{row:?}");
        assert_eq!(row.kind, if (30..38).contains(&row.at) { "filled" } else { "smoothed" });
    }
}

#[test]
fn particles_follow_it_too_and_a_seed_gives_the_same_rows() {
    let run = || {
        let mut ground = Ground { harness: Harness::new([("method", "particle")]).unwrap(), height: 1080 };
        let seen = |frame: u32| (frame % 4 != 3).then_some(rolling(frame));
        (0..60).map(|frame| ground.see(Some(seen(frame).as_slice()))).collect::<Vec<_>>()
    };
    let rows = run();
    for (frame, row) in (20..60).zip(&rows[20..]) {
        assert!(off(row.as_ref().unwrap(), rolling(frame)) < 10.0, "{row:?}");
    }
    assert_eq!(rows, run());
}

#[test]
fn without_a_ball_there_are_no_rows() {
    let mut ground = Ground::new(Values::new());
    assert!((0..50).all(|_| ground.see(Some(&[])).is_none()));
    assert!(ground.corrections().is_empty());
}

#[test]
fn boxes_that_are_none_are_passed_over() {
    let mut ground = Ground::new(Values::new());
    for bad in [[f64::NAN, 0.0], [f64::INFINITY, 5.0], [1e30, 2.0]] {
        (0..5).for_each(|_| assert!(ground.see(Some(&[bad])).is_none()));
    }
    (0..10).for_each(|_| drop(ground.see(Some(&[[500.0, 500.0], [f64::NAN, 1.0]]))));
    assert!(off(&ground.see(Some(&[[500.0, 500.0]])).unwrap(), [500.0, 500.0]) < 1.0);
}

#[test]
fn what_is_wired_or_set_wrongly_is_told() -> Result<()> {
    let inputs = Some(vec![("frames", sideline_api::Alignment::Source(sideline_api::SourceId(0)))]);
    let unwired = Harness::<BallOperator>::with([("confirm_looks", 3)], Setup { inputs, ..Setup::default() });
    assert!(unwired.err().unwrap().message.contains("wire a detector's balls to it: `balls: detect/balls`"));
    for (key, value, wanted) in [
        ("min_radius", 60.0, "60 is not below `max_radius` (50)"),
        ("warn_after_s", 0.5, "0.5 is above `lost_after_s` (0.333)"),
        ("noise_least", 20.0, "20 is above `noise_most` (10)"),
    ] {
        let error = Harness::<BallOperator>::new([(key, value)]).err().unwrap().message;
        assert!(error.contains(wanted), "{error}");
    }
    let mut ground = Ground::new(Values::new());
    assert!(ground.harness.set("min_radius", 99.0).is_err() && ground.harness.set("gate", 5.0).is_ok());
    Ok(())
}
