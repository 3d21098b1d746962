//! `sideline eval detect`: what looking only every so many frames costs.
//!
//! The detector looks at every frame of a clip once; then tracker and ball go through the clip again for each stride, with
//! its looks alone, as they do in a run with that `every`. What they say is held against what they say with every look: it is
//! not the truth, but what a stride can lose.

use sideline_api::{Registry, Result};

use crate::args::EvalDetect;

#[cfg(all(feature = "media", feature = "onnx"))]
pub use with_models::run;

/// Without video or models there is nothing to measure.
///
/// # Errors
/// Always.
#[cfg(not(all(feature = "media", feature = "onnx")))]
pub fn run(_: &EvalDetect, _: &Registry) -> Result<u8> {
    Err(sideline_api::Error::config("this build has no video or no models: build with the features `media` and `onnx`"))
}

#[cfg(all(feature = "media", feature = "onnx"))]
mod with_models {
    use std::{path::Path, time::Instant};

    use serde::Serialize;
    use serde_json::Value;
    use sideline_api::{
        Body, Error, Header, Payload, Reason, Table,
        config::did_you_mean,
        tables::{Ball, Detection, Track},
    };
    use sideline_media::{DecodeOptions, Decoder};

    use super::{EvalDetect, Registry, Result};
    use crate::{
        commands::print_json,
        stage::{Stage, Workshop},
    };

    /// A ball is where it is with every look when it is this near, px at 1080 lines.
    const NEAR: f32 = 20.0;
    /// A person is who is there with every look when the boxes overlap by this (IoU).
    const SAME: f32 = 0.5;
    /// What takes part.
    const NODES: [&str; 3] = ["detect", "tracker", "ball"];
    /// What the packaged detector's low scores ask of a tracker, unless the model is another.
    const LOW_SCORES: [(&str, f64); 2] = [("high_score", 0.3), ("new_score", 0.35)];

    #[derive(Serialize)]
    struct Report {
        clip: String,
        frames: usize,
        fps: f64,
        /// Milliseconds of a look: median.
        look_ms: f64,
        /// Of those that a look at every frame gives: tracks a frame, percent of the frames with a ball.
        people: f64,
        ball_coverage: f64,
        strides: Vec<Stride>,
    }

    /// In percent of what a look at every frame gives.
    #[derive(Serialize)]
    struct Stride {
        every: u32,
        /// Milliseconds a frame that looks take: `look_ms` / `every`.
        ms: f64,
        people_recall: f64,
        people_precision: f64,
        ball_within_20px: f64,
        ball_coverage: f64,
    }

    /// What tracker and ball say of a frame.
    struct Said {
        people: Vec<[f32; 4]>,
        ball: Option<[f32; 2]>,
    }

    /// See the [module](super).
    pub fn run(options: &EvalDetect, registry: &Registry) -> Result<u8> {
        let report = measure(options, &Workshop::new(registry))?;
        if options.json {
            print_json(&report)?;
        } else {
            print(&report);
        }
        Ok(0)
    }

    fn measure(options: &EvalDetect, workshop: &Workshop) -> Result<Report> {
        if let Some(setting) = options.set.iter().find(|setting| !NODES.contains(&setting.node.as_str())) {
            let near = did_you_mean(&setting.node, NODES);
            return Err(Error::config(format!(
                "--set {}.{}: there is no such node here{near}",
                setting.node, setting.key
            )));
        }
        let keys = keys("detect", options);
        if let Some((key, _)) = keys.iter().find(|(key, _)| ["every", "follow"].contains(key)) {
            let text = "here the detector looks at all of every frame; leave it out";
            return Err(Error::config(format!("--set detect.{key}: {text}")));
        }
        let mut detect = Stage::new(workshop, "detect", "detect", &["frames"], &keys)?;
        let (mut looks, mut times, mut lines) = (Vec::new(), Vec::new(), 1080.0);
        let fps = frames(&options.clip, options.frames, |header, frame| {
            lines = frame.height() as f32;
            let began = Instant::now();
            detect.send("frames", header, Body::Data(Payload::Frame(frame)))?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            detect.said("detections")?;
            let people: Vec<Detection> = detect.next_rows("people")?.unwrap_or_default();
            looks.push((people, detect.next_rows::<Detection>("balls")?.unwrap_or_default()));
            Ok(())
        })?;
        if looks.is_empty() {
            return Err(Error::input(format!("{}: no frames in it", options.clip.display())));
        }
        times.sort_by(f64::total_cmp);
        let look_ms = times[times.len() / 2];
        let follow = |every| follow(workshop, options, &looks, every);
        let best = follow(1)?;
        let count = looks.len() as f64;
        let strides = (2..=options.most).map(|every| {
            let said = follow(every)?;
            Ok(compare(&best, &said, every, look_ms, NEAR * lines / 1080.0))
        });
        Ok(Report {
            clip: options.clip.display().to_string(),
            frames: looks.len(),
            fps,
            look_ms,
            people: best.iter().map(|said| said.people.len()).sum::<usize>() as f64 / count,
            ball_coverage: 100.0 * best.iter().filter(|said| said.ball.is_some()).count() as f64 / count,
            strides: strides.collect::<Result<_>>()?,
        })
    }

    /// What is set of an operator; of the tracker, unless the detector's model is another than the packaged one, first what
    /// that one's low scores ask for.
    fn keys<'o>(node: &str, options: &'o EvalDetect) -> Vec<(&'o str, Value)> {
        let packaged = !options.set.iter().any(|setting| setting.node == "detect" && setting.key == "model");
        let low = LOW_SCORES.iter().filter(|_| node == "tracker" && packaged);
        let set = options.set.iter().filter(|setting| setting.node == node);
        low.map(|(key, value)| (*key, (*value).into()))
            .chain(set.map(|setting| (setting.key.as_str(), setting.value.clone())))
            .collect()
    }

    /// Hands over the frames of a clip, with their headers; gives their rate.
    fn frames(
        clip: &Path,
        most: Option<usize>,
        mut each: impl FnMut(&Header, std::sync::Arc<sideline_api::Frame>) -> Result<()>,
    ) -> Result<f64> {
        let mut decoder = Decoder::open(clip, DecodeOptions::default())?;
        let mut number = 0;
        while most.is_none_or(|most| number < most)
            && let Some(decoded) = decoder.next()?
        {
            let (frame, pts) = (number as u64, decoded.pts_ns);
            let header = Header { stream: "clip".into(), session: 0, frame, pts, captured: pts, forgotten: 0 };
            each(&header, decoded.frame.into())?;
            number += 1;
        }
        Ok(1e9 / decoder.interval().max(1) as f64)
    }

    /// Tracker and ball through the clip, with every so many looks.
    fn follow(
        workshop: &Workshop,
        options: &EvalDetect,
        looks: &[(Vec<Detection>, Vec<Detection>)],
        every: u32,
    ) -> Result<Vec<Said>> {
        let mut tracker = Stage::new(workshop, "tracker", "tracker", &["detections"], &keys("tracker", options))?;
        // A build without it says nothing of the ball.
        let mut ball = match workshop.knows("ball") {
            true => Some(Stage::new(workshop, "ball", "ball", &["frames", "balls"], &keys("ball", options))?),
            false => None,
        };
        let mut said = Vec::new();
        frames(&options.clip, options.frames, |header, frame| {
            let Some((people, balls)) = looks.get(header.frame as usize) else { return Ok(()) };
            let looked = header.frame.is_multiple_of(u64::from(every));
            let body = |rows: &[Detection]| match looked {
                true => Body::Data(Payload::Table(Detection::encode(rows).into())),
                false => Body::Skipped(Reason::Stride),
            };
            tracker.send("detections", header, body(people))?;
            let tracks: Vec<Track> = tracker.next_rows("tracks")?.unwrap_or_default();
            tracker.said("tracked_poses")?;
            let there = tracks.iter().filter(|track| ["confirmed", "predicted"].contains(&track.state.as_str()));
            let people = there.map(|track| [track.x1, track.y1, track.x2, track.y2]).collect();
            let ball = match &mut ball {
                None => None,
                Some(ball) => {
                    ball.send("frames", header, Body::Data(Payload::Frame(frame)))?;
                    ball.send("balls", header, body(balls))?;
                    ball.said("corrections")?;
                    let rows: Vec<Ball> = ball.next_rows("ball")?.unwrap_or_default();
                    rows.first().filter(|row| row.mode != "lost").map(|row| [row.x, row.y])
                }
            };
            said.push(Said { people, ball });
            Ok(())
        })?;
        Ok(said)
    }

    fn compare(best: &[Said], said: &[Said], every: u32, look_ms: f64, near: f32) -> Stride {
        let (mut matched, mut people, mut ours, mut balls, mut close, mut covered) = (0, 0, 0, 0, 0, 0);
        for (best, said) in best.iter().zip(said) {
            people += best.people.len();
            ours += said.people.len();
            let mut left = said.people.clone();
            for person in &best.people {
                let nearest =
                    (0..left.len()).max_by(|a, b| overlap(person, &left[*a]).total_cmp(&overlap(person, &left[*b])));
                if let Some(i) = nearest.filter(|i| overlap(person, &left[*i]) >= SAME) {
                    left.swap_remove(i);
                    matched += 1;
                }
            }
            if let Some([x, y]) = best.ball {
                balls += 1;
                covered += usize::from(said.ball.is_some());
                close += usize::from(said.ball.is_some_and(|[bx, by]| (bx - x).hypot(by - y) <= near));
            }
        }
        let percent = |part: usize, of: usize| if of == 0 { f64::NAN } else { 100.0 * part as f64 / of as f64 };
        Stride {
            every,
            ms: look_ms / f64::from(every),
            people_recall: percent(matched, people),
            people_precision: percent(matched, ours),
            ball_within_20px: percent(close, balls),
            ball_coverage: percent(covered, balls),
        }
    }

    /// Intersection over union of two boxes x1 y1 x2 y2.
    fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
        let shared = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
        let area = |c: &[f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
        let union = area(a) + area(b) - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    fn print(report: &Report) {
        println!(
            "{}: {} frames, {:.1} a second; a look takes {:.1} ms; {:.1} people a frame, a ball in {:.0} % of frames",
            report.clip, report.frames, report.fps, report.look_ms, report.people, report.ball_coverage
        );
        println!("Beside a look at every frame, percent:");
        println!(
            "{:>6} {:>12} {:>14} {:>17} {:>17} {:>14}",
            "every", "ms a frame", "people found", "people right", "ball within 20px", "ball known"
        );
        for stride in &report.strides {
            println!(
                "{:>6} {:>12.1} {:>14.1} {:>17.1} {:>17.1} {:>14.1}",
                stride.every,
                stride.ms,
                stride.people_recall,
                stride.people_precision,
                stride.ball_within_20px,
                stride.ball_coverage
            );
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn people_are_matched_once_and_a_ball_counts_when_it_is_near() {
            let said = |people: &[[f32; 4]], ball| Said { people: people.to_vec(), ball };
            let person = [0.0, 0.0, 10.0, 20.0];
            let best = [said(&[person, [50.0, 0.0, 60.0, 20.0]], Some([100.0, 100.0])), said(&[], Some([0.0, 0.0]))];
            let ours = [said(&[person, person], Some([100.0, 115.0])), said(&[person], None)];
            let stride = compare(&best, &ours, 3, 45.0, 20.0);
            assert_eq!((stride.ms, stride.people_recall), (15.0, 50.0));
            assert!((stride.people_precision - 100.0 / 3.0).abs() < 1e-9);
            assert_eq!((stride.ball_within_20px, stride.ball_coverage), (50.0, 50.0));
        }
    }
}
