//! Runs the selected landmark model and measures its time.

use std::sync::Arc;

use sideline_api::{Context, Frame, Mode, Resources, Result, clock::Clock};

use crate::{
    landmarks::{Landmarker, Landmarks},
    model::{Model, ModelChoice},
    region::PersonRegion,
    selector::{FrameCost, ModelSelector, ModelSwitch},
};

/// Model of `auto` in complete mode, where time must not affect the results: `full` detects far fewer nonexistent people than
/// `lite`, in a fifth of the time of `heavy`.
const COMPLETE_MODE_MODEL: Model = Model::Full;

/// Runner of the landmark model; with `auto` in live mode, of the one that keeps up.
pub struct LandmarkRunner {
    /// Models, fastest first; a single one if there is no choice.
    models: Vec<Landmarker>,
    /// Selector of the model; only for `auto` in live mode.
    selector: Option<ModelSelector>,
    clock: Arc<dyn Clock>,
    /// Start of the current frame, ns.
    began: i64,
    /// Time of the landmark model in the current frame, ns.
    landmark_ns: i64,
    /// Crops of the current frame.
    people: usize,
}

impl LandmarkRunner {
    /// Loads the models. With `auto` in live mode these are all of them, since loading one later would delay a frame; each
    /// is run several times, which warms it up and measures its time. They use a single thread, as the selection relies on
    /// times per person.
    ///
    /// # Errors
    /// If a model is missing, broken, or has other inputs or outputs than expected.
    pub fn new(choice: ModelChoice, threads: usize, resources: &Resources) -> Result<Self> {
        let is_adaptive = choice == ModelChoice::Auto && resources.mode == Mode::Live;
        let names = if choice == ModelChoice::Auto && !is_adaptive { &[COMPLETE_MODE_MODEL] } else { choice.models() };
        let threads = if is_adaptive { 1 } else { threads };
        let load = |model: &Model| Landmarker::with_threads(resources, *model, threads);
        let models = names.iter().map(load).collect::<Result<Vec<_>>>()?;
        let mut runner =
            Self { models, selector: None, clock: resources.clock.clone(), began: 0, landmark_ns: 0, people: 0 };
        if is_adaptive {
            let costs = runner.benchmark()?;
            let ms: Vec<String> = costs.iter().map(|(m, ns)| format!("{} {:.1}", m.name(), ns * 1e-6)).collect();
            tracing::info!(
                "model `auto` begins with {} and switches to the heaviest that keeps up; ms per person on this machine: {}",
                costs[0].0.name(),
                ms.join(", ")
            );
            runner.selector = Some(ModelSelector::new(costs));
        } else if choice == ModelChoice::Auto {
            tracing::info!(
                "model `auto` is {} in complete mode: results must not depend on time, so that every run gives the same bytes",
                COMPLETE_MODE_MODEL.name()
            );
        }
        Ok(runner)
    }

    /// Measures the time per person of each model, ns: the minimum of three runs after a warm-up.
    fn benchmark(&mut self) -> Result<Vec<(Model, f64)>> {
        let frame = sideline_inference::test_frame(1280, 720)?;
        let region = [PersonRegion { x: 640.0, y: 360.0, size: 500.0, rotation: 0.2 }];
        let clock = &self.clock;
        self.models
            .iter_mut()
            .map(|model| {
                model.detect(&frame, &region, 1)?;
                let mut least = i64::MAX;
                for _ in 0..3 {
                    let began = clock.now();
                    model.detect(&frame, &region, 1)?;
                    least = least.min(clock.now() - began);
                }
                // With a clock that stands still, all models have the same time.
                Ok((model.model(), least.max(1) as f64))
            })
            .collect()
    }

    /// Starts the measurement of a frame.
    pub fn begin_frame(&mut self) {
        (self.landmark_ns, self.people) = (0, 0);
        self.began = self.now();
    }

    /// Returns the current model.
    pub fn model(&self) -> Model {
        self.models[self.current()].model()
    }

    /// Detects landmarks with the current model; see [`Landmarker::detect`].
    ///
    /// # Errors
    /// As [`Landmarker::detect`].
    pub fn detect(&mut self, frame: &Frame, regions: &[PersonRegion], batch: usize) -> Result<Vec<Option<Landmarks>>> {
        let began = self.now();
        let current = self.current();
        let landmarks = self.models[current].detect(frame, regions, batch)?;
        self.landmark_ns += self.now() - began;
        self.people += regions.len();
        Ok(landmarks)
    }

    /// Ends the measurement of a frame; may switch to another model for the next one, and logs the switch.
    pub fn end_frame(&mut self, cx: &Context) {
        let now = self.now();
        let Some(selector) = &mut self.selector else { return };
        let header = cx.header;
        let cost = FrameCost {
            pts: header.pts,
            dropped: header.dropped,
            now,
            landmark_ns: self.landmark_ns,
            total_ns: now - self.began,
            people: self.people,
        };
        let Some(ModelSwitch { from, to, interval_ms, took_ms, predicted_ms, people }) =
            selector.observe(&header.stream, cost)
        else {
            return;
        };
        let percent = |ms: f64| 100.0 * ms / interval_ms;
        tracing::info!(
            "model {} from the next frame on instead of {}: {:.1} people take {took_ms:.1} ms of the {interval_ms:.1} ms between \
             frames ({:.0} %), predicted are {predicted_ms:.1} ms ({:.0} %)",
            to.name(),
            from.name(),
            people,
            percent(took_ms),
            percent(predicted_ms),
        );
    }

    fn current(&self) -> usize {
        self.selector.as_ref().map_or(0, ModelSelector::current)
    }

    /// Returns the time if the selection depends on it, otherwise 0.
    fn now(&self) -> i64 {
        if self.selector.is_some() { self.clock.now() } else { 0 }
    }
}
