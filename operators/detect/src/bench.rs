//! What `sideline bench detect` measures: a look at a 1080p frame beside the bare runs of the model in it.

use sideline_api::{Frame, Resources, Result};
use sideline_inference::bench::picture;

use crate::{
    config::{DetectConfig, Grid},
    decode::Wanted,
    model::Model,
    tiles::{View, merge, tiles},
};

/// A detector and the frame it looks at.
pub struct Looks {
    model: Model,
    config: DetectConfig,
    /// People and balls; all classes where the model knows neither.
    wanted: Vec<bool>,
    frame: Frame,
}

impl Looks {
    /// Loads the model of a configuration.
    ///
    /// # Errors
    /// When it is missing, broken or another model.
    pub fn new(config: DetectConfig, resources: &Resources) -> Result<Self> {
        let model = Model::load(&config, resources)?;
        let chosen = |name: &String| config.people.contains(name) || config.ball.contains(name);
        let mut wanted: Vec<bool> = model.labels().iter().map(chosen).collect();
        if !wanted.contains(&true) {
            wanted.fill(true);
        }
        Ok(Self { model, config, wanted, frame: picture(1920, 1080)? })
    }

    /// Where the model runs: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.model.device()
    }

    /// The model alone, once.
    ///
    /// # Errors
    /// When the run fails.
    pub fn bare(&mut self) -> Result<()> {
        self.model.bare()
    }

    /// From planes to rows; how many there are.
    ///
    /// # Errors
    /// When a run fails.
    pub fn look(&mut self, grid: Grid) -> Result<usize> {
        let picture = (self.frame.width() as f32, self.frame.height() as f32);
        let (size, squeeze) = (self.model.kind().size, self.model.squeezes());
        let parts = tiles(grid, self.config.overlap, picture.0, picture.1);
        let views: Vec<View> = parts.into_iter().map(|tile| View::new(tile, size, squeeze, picture)).collect();
        let wanted = Wanted { least: self.config.confidence, classes: &self.wanted };
        let pieces = self.model.look(&self.frame, &views, self.config.batch as usize, &wanted)?;
        Ok(merge(pieces, self.config.nms).len())
    }
}
