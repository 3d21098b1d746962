//! Parts of `sideline-lab bench detect`: detection in a frame, and bare runs of the model. For `sideline-lab` only, which has no
//! access to the operator's internals.

use sideline_api::{Frame, Resources, Result};

use crate::{
    config::{DetectConfig, Grid},
    decode::DecodeFilter,
    model::Model,
    tiles::{TileView, merge, tile_grid},
};

/// A detector and the frame that it runs on.
pub struct DetectBench {
    model: Model,
    config: DetectConfig,
    /// Selected classes: people and balls, or all classes of a model without both.
    classes: Vec<bool>,
    frame: Frame,
}

impl DetectBench {
    /// Loads the model of a configuration, to run it on a frame.
    ///
    /// # Errors
    /// The model is missing, broken or no detector.
    pub fn new(config: DetectConfig, resources: &Resources, frame: Frame) -> Result<Self> {
        let model = Model::load(&config, resources)?;
        let is_selected = |name: &String| config.people.contains(name) || config.ball.contains(name);
        let mut classes: Vec<bool> = model.labels().iter().map(is_selected).collect();
        if !classes.contains(&true) {
            classes.fill(true);
        }
        Ok(Self { model, config, classes, frame })
    }

    /// Returns the device of the model: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.model.device()
    }

    /// Runs the model alone, once.
    ///
    /// # Errors
    /// The run fails.
    pub fn run_model(&mut self) -> Result<()> {
        self.model.run_model()
    }

    /// Runs the detector from image planes to rows, and returns the number of rows.
    ///
    /// # Errors
    /// A run fails.
    pub fn detect(&mut self, grid: Grid) -> Result<usize> {
        let frame_size = (self.frame.width() as f32, self.frame.height() as f32);
        let (size, stretch) = (self.model.spec().input_size, self.model.stretches());
        let tiles = tile_grid(grid, self.config.overlap, frame_size.0, frame_size.1);
        let views: Vec<TileView> =
            tiles.into_iter().map(|tile| TileView::new(tile, size, stretch, frame_size)).collect();
        let filter = DecodeFilter { min_score: self.config.confidence, classes: &self.classes };
        let boxes = self.model.detect(&self.frame, &views, self.config.batch as usize, &filter)?;
        Ok(merge(boxes, self.config.nms).len())
    }
}
