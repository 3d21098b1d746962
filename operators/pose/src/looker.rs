//! The landmark model of the moment, and what its looks take.

use std::sync::Arc;

use sideline_api::{Context, Frame, Mode, Resources, Result, clock::Clock};

use crate::{
    landmarks::{Landmarker, Landmarks},
    model::{Choice, Model},
    pace::{Change, Pace, Work},
    region::PersonRegion,
};

/// What `auto` is where time must not decide: `full`, which sees far fewer people who are not there than `lite` does, in a
/// fifth of the time of `heavy`.
const UNTIMED: Model = Model::Full;

/// Runs the landmark model; with `auto`, in live mode, the one that keeps up.
pub struct Looker {
    /// Fastest first; one, where there is no choice.
    models: Vec<Landmarker>,
    pace: Option<Pace>,
    clock: Arc<dyn Clock>,
    /// Of the frame in hand: when it began (ns), what looks took (ns), and at how many crops.
    began: i64,
    looks_ns: i64,
    people: usize,
}

impl Looker {
    /// Loads what may run. With `auto`, live, that is every model at once, since loading one later would hold up a frame;
    /// each is then run, which warms it up and tells how they compare; they look at one person after the other, as their
    /// times a person say.
    ///
    /// # Errors
    /// When a model is missing, broken or another one.
    pub fn new(choice: Choice, threads: usize, resources: &Resources) -> Result<Self> {
        let timed = choice == Choice::Auto && resources.mode == Mode::Live;
        let names = if choice == Choice::Auto && !timed { &[UNTIMED] } else { choice.models() };
        let threads = if timed { 1 } else { threads };
        let load = |model: &Model| Landmarker::with_threads(resources, *model, threads);
        let models = names.iter().map(load).collect::<Result<Vec<_>>>()?;
        let mut looker = Self { models, pace: None, clock: resources.clock.clone(), began: 0, looks_ns: 0, people: 0 };
        if timed {
            let costs = looker.compare()?;
            let ms: Vec<String> = costs.iter().map(|(m, ns)| format!("{} {:.1}", m.name(), ns * 1e-6)).collect();
            tracing::info!(
                node = %resources.node,
                "model `auto` begins with {} and goes to the heaviest that keeps up; milliseconds a person here: {}",
                costs[0].0.name(),
                ms.join(", ")
            );
            looker.pace = Some(Pace::new(costs));
        } else if choice == Choice::Auto {
            tracing::info!(
                node = %resources.node,
                "model `auto` is {} in complete mode: there time decides nothing, so that a run gives the same bytes again",
                UNTIMED.name()
            );
        }
        Ok(looker)
    }

    /// Nanoseconds that each model takes for a person: the least of three runs after one to warm up.
    fn compare(&mut self) -> Result<Vec<(Model, f64)>> {
        let frame = sideline_inference::bench::picture(1280, 720)?;
        let region = [PersonRegion { x: 640.0, y: 360.0, size: 500.0, rotation: 0.2 }];
        let clock = &self.clock;
        self.models
            .iter_mut()
            .map(|model| {
                model.see(&frame, &region, 1)?;
                let mut least = i64::MAX;
                for _ in 0..3 {
                    let began = clock.now();
                    model.see(&frame, &region, 1)?;
                    least = least.min(clock.now() - began);
                }
                // A clock that stands still says that all are alike.
                Ok((model.model(), least.max(1) as f64))
            })
            .collect()
    }

    /// A frame begins.
    pub fn begin(&mut self) {
        (self.looks_ns, self.people) = (0, 0);
        self.began = self.now();
    }

    /// The model that looks.
    pub fn model(&self) -> Model {
        self.models[self.current()].model()
    }

    /// See [`Landmarker::see`].
    ///
    /// # Errors
    /// As there.
    pub fn see(&mut self, frame: &Frame, regions: &[PersonRegion], batch: usize) -> Result<Vec<Option<Landmarks>>> {
        let began = self.now();
        let current = self.current();
        let seen = self.models[current].see(frame, regions, batch)?;
        self.looks_ns += self.now() - began;
        self.people += regions.len();
        Ok(seen)
    }

    /// The frame is done: may choose another model for the next one, and then says so.
    pub fn end(&mut self, cx: &Context) {
        let now = self.now();
        let Some(pace) = &mut self.pace else { return };
        let header = cx.header;
        let work = Work {
            pts: header.pts,
            forgotten: header.forgotten,
            now,
            looks_ns: self.looks_ns,
            all_ns: now - self.began,
            people: self.people,
        };
        let Some(Change { from, to, interval_ms, took_ms, will_take_ms, people }) = pace.took(&header.stream, work)
        else {
            return;
        };
        let percent = |ms: f64| 100.0 * ms / interval_ms;
        tracing::info!(
            node = cx.node,
            stream = %header.stream,
            frame = header.frame,
            "model {} from the next frame on, after {}: {:.1} people take {took_ms:.1} ms of the {interval_ms:.1} ms between \
             frames ({:.0} %) and will take about {will_take_ms:.1} ms ({:.0} %)",
            to.name(),
            from.name(),
            people,
            percent(took_ms),
            percent(will_take_ms),
        );
    }

    fn current(&self) -> usize {
        self.pace.as_ref().map_or(0, Pace::current)
    }

    /// Time matters only where it decides.
    fn now(&self) -> i64 {
        if self.pace.is_some() { self.clock.now() } else { 0 }
    }
}
