//! `sideline eval detect`: what looking only every so many frames costs.
//!
//! Detector, tracker and ball go through a clip once for each stride, as they do in a run with that `every`. What they say is
//! held against what they say with a look at every frame: it is not the truth, but what a stride can lose.

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
    use std::path::Path;

    use serde::Serialize;
    use serde_json::Value;
    use sideline_api::{
        Body, Error, Header, Payload,
        boxes::iou,
        config::did_you_mean,
        tables::{Ball, Track},
    };
    use sideline_eval::ratio;
    use sideline_media::{DecodeOptions, Decoder};

    use super::{EvalDetect, Registry, Result};
    use crate::{
        bench::processor_ms,
        commands::print_json,
        eval::figure,
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
        /// Processor time of the detector with a look at every frame, milliseconds a frame.
        ms: f64,
        /// Of those that a look at every frame gives: tracks a frame, percent of the frames with a ball.
        people: f64,
        ball_coverage: f64,
        strides: Vec<Stride>,
    }

    /// In percent of what a look at every frame gives.
    #[derive(Serialize)]
    struct Stride {
        every: u32,
        /// Processor time of the detector, milliseconds a frame.
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

    /// What a pass through the clip gave.
    struct Pass {
        said: Vec<Said>,
        /// Processor time of the detector, all frames together.
        detect_ms: f64,
        fps: f64,
        /// [`NEAR`] in this clip's pixels.
        near: f32,
    }

    impl Pass {
        /// Processor time of the detector, milliseconds a frame.
        fn ms(&self) -> f64 {
            self.detect_ms / self.said.len().max(1) as f64
        }
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
        if options.set.iter().any(|setting| (setting.node.as_str(), setting.key.as_str()) == ("detect", "every")) {
            return Err(Error::config(
                "--set detect.every: every stride up to `--most` is measured here; leave it out",
            ));
        }
        let best = pass(workshop, options, 1)?;
        let count = best.said.len();
        if count == 0 {
            return Err(Error::input(format!("{}: no frames in it", options.clip.display())));
        }
        let strides = (2..=options.most).map(|every| Ok(compare(&best, &pass(workshop, options, every)?, every)));
        Ok(Report {
            clip: options.clip.display().to_string(),
            frames: count,
            fps: best.fps,
            ms: best.ms(),
            people: best.said.iter().map(|said| said.people.len()).sum::<usize>() as f64 / count as f64,
            ball_coverage: percent(best.said.iter().filter(|said| said.ball.is_some()).count(), count),
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
            let header = Header::new("clip", frame, pts);
            each(&header, decoded.frame.into())?;
            number += 1;
        }
        // A clip of one frame has no interval.
        Ok(ratio(1e9, decoder.interval() as f64))
    }

    /// The clip with a look at every so many frames.
    fn pass(workshop: &Workshop, options: &EvalDetect, every: u32) -> Result<Pass> {
        let mut wanted = keys("detect", options);
        wanted.push(("every", every.into()));
        let mut detect = Stage::new(workshop, "detect", "detect", &["frames"], &wanted)?;
        let mut tracker = Stage::new(workshop, "tracker", "tracker", &["detections"], &keys("tracker", options))?;
        let mut ball = Stage::new(workshop, "ball", "ball", &["frames", "balls"], &keys("ball", options))?;
        let mut pass = Pass { said: Vec::new(), detect_ms: 0.0, fps: 0.0, near: NEAR };
        pass.fps = frames(&options.clip, options.frames, |header, frame| {
            pass.near = NEAR * frame.height() as f32 / 1080.0;
            let frame = Body::Data(Payload::Frame(frame));
            let began = processor_ms();
            detect.send("frames", header, frame.clone())?;
            pass.detect_ms += processor_ms() - began;
            detect.said("detections")?;
            tracker.send("detections", header, detect.said("people")?)?;
            let tracks: Vec<Track> = tracker.next_rows("tracks")?.unwrap_or_default();
            tracker.said("tracked_poses")?;
            ball.send("frames", header, frame)?;
            ball.send("balls", header, detect.said("balls")?)?;
            let rows: Vec<Ball> = ball.next_rows("ball")?.unwrap_or_default();
            ball.said("corrections")?;
            let there = tracks.iter().filter(|track| ["confirmed", "predicted"].contains(&track.state.as_str()));
            pass.said.push(Said {
                people: there.map(|track| [track.x1, track.y1, track.x2, track.y2]).collect(),
                ball: rows.first().filter(|row| row.mode != "lost").map(|row| [row.x, row.y]),
            });
            Ok(())
        })?;
        Ok(pass)
    }

    fn percent(part: usize, of: usize) -> f64 {
        100.0 * ratio(part as f64, of as f64)
    }

    fn compare(best: &Pass, pass: &Pass, every: u32) -> Stride {
        let (mut matched, mut people, mut ours, mut balls, mut close, mut covered) = (0, 0, 0, 0, 0, 0);
        for (best, said) in best.said.iter().zip(&pass.said) {
            people += best.people.len();
            ours += said.people.len();
            let mut left = said.people.clone();
            for person in &best.people {
                let nearest = (0..left.len()).max_by(|a, b| iou(person, &left[*a]).total_cmp(&iou(person, &left[*b])));
                if let Some(i) = nearest.filter(|i| iou(person, &left[*i]) >= SAME) {
                    left.swap_remove(i);
                    matched += 1;
                }
            }
            if let Some([x, y]) = best.ball {
                balls += 1;
                covered += usize::from(said.ball.is_some());
                close += usize::from(said.ball.is_some_and(|[bx, by]| (bx - x).hypot(by - y) <= pass.near));
            }
        }
        Stride {
            every,
            ms: pass.ms(),
            people_recall: percent(matched, people),
            people_precision: percent(matched, ours),
            ball_within_20px: percent(close, balls),
            ball_coverage: percent(covered, balls),
        }
    }

    fn print(report: &Report) {
        outln!(
            "{}: {} frames, {} a second; {:.1} ms of processor time a frame; {:.1} people, a ball in {:.0} % of frames",
            report.clip,
            report.frames,
            figure(report.fps, 1),
            report.ms,
            report.people,
            report.ball_coverage
        );
        outln!("Beside a look at every frame, percent:");
        outln!(
            "{:>6} {:>12} {:>14} {:>17} {:>17} {:>14}",
            "every",
            "ms a frame",
            "people found",
            "people right",
            "ball within 20px",
            "ball known"
        );
        for stride in &report.strides {
            let [found, right, near, known] =
                [stride.people_recall, stride.people_precision, stride.ball_within_20px, stride.ball_coverage]
                    .map(|percent| figure(percent, 1));
            outln!("{:>6} {:>12.1} {found:>14} {right:>17} {near:>17} {known:>14}", stride.every, stride.ms);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn people_are_matched_once_and_a_ball_counts_when_it_is_near() {
            let said = |people: &[[f32; 4]], ball| Said { people: people.to_vec(), ball };
            let pass = |said| Pass { said, detect_ms: 30.0, fps: 30.0, near: 20.0 };
            let person = [0.0, 0.0, 10.0, 20.0];
            let best = [said(&[person, [50.0, 0.0, 60.0, 20.0]], Some([100.0, 100.0])), said(&[], Some([0.0, 0.0]))];
            let ours = [said(&[person, person], Some([100.0, 115.0])), said(&[person], None)];
            let stride = compare(&pass(best.into()), &pass(ours.into()), 3);
            assert_eq!((stride.ms, stride.people_recall), (15.0, 50.0));
            assert!((stride.people_precision - 100.0 / 3.0).abs() < 1e-9);
            assert_eq!((stride.ball_within_20px, stride.ball_coverage), (50.0, 50.0));
        }
    }
}
