//! Baseline of `sideline-lab bench moves`: the operator's model alone, on the same windows. For `sideline-lab` only, which has
//! no access to the operator's internals.

use sideline_api::{Config, Operator, Resources, Result, Values, config::Origin};
use sideline_sport::tables::{Interaction, Motion, PredictionStatus};

use crate::{Sequence, SequenceConfig, tracks::Tracks};

/// Model, and the windows of the current frame.
pub struct ModelBench {
    sequence: Sequence,
    tracks: Tracks,
    /// Windows in the buffers of `sequence`.
    windows: usize,
}

impl ModelBench {
    /// Loads a model of models.yml.
    ///
    /// # Errors
    /// The errors of [`Sequence::new`].
    pub fn new(resources: &Resources, model: &str) -> Result<Self> {
        let mut values = Values::new();
        values.set("model", model, Origin::Default);
        let config = SequenceConfig::from_values(&values).map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            sideline_api::Error::config(all.join("\n"))
        })?;
        Ok(Self { sequence: Sequence::new(config, resources)?, tracks: Tracks::default(), windows: 0 })
    }

    /// Returns the device of the model: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.sequence.classifier.device()
    }

    /// Adds a frame at media time `now` (ns) and builds its windows; returns their number.
    pub fn observe(&mut self, rows: &[Motion], pairs: &[Interaction], now: i64) -> usize {
        self.sequence.observe(rows, pairs, &mut self.tracks, now);
        let statuses = self.sequence.build_windows(rows, &self.tracks, now);
        self.windows = statuses.iter().filter(|status| **status == PredictionStatus::Present).count();
        self.windows
    }

    /// Runs the model on the windows of the frame: `together` in one run, else one after the other.
    ///
    /// # Errors
    /// If a run fails.
    pub fn run_model(&mut self, together: bool) -> Result<()> {
        let (windows, runs) = if together { (self.windows, 1) } else { (1, self.windows) };
        let Sequence { classifier, motion, interaction, .. } = &mut self.sequence;
        for run in 0..runs {
            let part = |values: &[f32]| {
                let length = values.len() / runs.max(1);
                run * length..(run + 1) * length
            };
            classifier.classify(windows, &motion[part(motion)], &interaction[part(interaction)], |_| 0)?;
        }
        Ok(())
    }
}
