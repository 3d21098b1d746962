//! What `sideline bench moves` measures beside the operator: its model alone, on the very windows.

use sideline_api::{
    Config, Operator, Resources, Result, Values,
    config::Origin,
    tables::{Interaction, Motion},
};

use crate::{Sequence, SequenceConfig, tracks::Tracks};

/// A model, and the windows of the frame in hand.
pub struct Bare {
    sequence: Sequence,
    tracks: Tracks,
    windows: usize,
}

impl Bare {
    /// Loads a model of models.yml.
    ///
    /// # Errors
    /// As the operator's.
    pub fn new(resources: &Resources, model: &str) -> Result<Self> {
        let mut values = Values::new();
        values.set("model", model, Origin::Default);
        let config = SequenceConfig::from_values(&values).map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            sideline_api::Error::config(all.join("\n"))
        })?;
        Ok(Self { sequence: Sequence::new(config, resources)?, tracks: Tracks::default(), windows: 0 })
    }

    /// Where the model runs: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.sequence.classifier.device()
    }

    /// Takes in a frame at media time `now` (ns), and draws its windows; says how many there are.
    pub fn see(&mut self, rows: &[Motion], pairs: &[Interaction], now: i64) -> usize {
        self.sequence.take_in(rows, pairs, &mut self.tracks, now);
        let unjudged = self.sequence.windows(rows, &self.tracks, now);
        self.windows = unjudged.iter().filter(|why| why.is_none()).count();
        self.windows
    }

    /// Runs the model on the windows of the frame, in one run or one after the other.
    ///
    /// # Errors
    /// When a run fails.
    pub fn ask(&mut self, together: bool) -> Result<()> {
        let (n, each) = if together { (self.windows, 1) } else { (1, self.windows) };
        let Sequence { classifier, motion, interaction, .. } = &mut self.sequence;
        for window in 0..each {
            let piece = |values: &[f32]| {
                let length = values.len() / each.max(1);
                window * length..(window + 1) * length
            };
            classifier.classify(n, &motion[piece(motion)], &interaction[piece(interaction)], |_| 0)?;
        }
        Ok(())
    }
}
