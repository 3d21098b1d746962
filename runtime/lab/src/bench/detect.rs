//! `sideline-lab bench detect`: time of one detection on a 1080p frame, on the whole frame and in tiles, compared with the
//! bare runs of the model that it contains.

use std::{path::Path, sync::Arc, time::Instant};

use serde::Serialize;
use sideline::program::load_models;
use sideline_api::{Frame, Resources, Result, Values, driver::read_config};
use sideline_detect::{
    DetectConfig, Grid, Model,
    decode::DecodeFilter,
    tiles::{TileView, merge, tile_grid},
};
use sideline_inference::test_frame;

/// Measurements of each grid.
const ROUNDS: usize = 15;

/// Result for one grid of tiles.
#[derive(Debug, Serialize)]
pub struct GridCost {
    /// Grid, as a value of the key `tiles`.
    pub tiles: String,
    /// Median time of as many bare model runs as there are tiles, milliseconds; processor time on a CPU.
    #[serde(rename = "bare_ms")]
    pub model_ms: f64,
    /// Median time of a detection, from planes to rows, milliseconds; processor time on a CPU.
    #[serde(rename = "look_ms")]
    pub detect_ms: f64,
    /// Time of a detection divided by that of the bare model runs.
    pub ratio: f64,
}

/// Result for one model.
#[derive(Debug, Serialize)]
pub struct DetectCost {
    /// Name of the model.
    pub model: String,
    /// Device on which the model ran.
    pub device: &'static str,
    /// Result for each grid.
    pub grids: Vec<GridCost>,
}

/// Measures detections and bare runs alternately, so that changes in the machine's load affect both alike.
///
/// # Errors
/// The model is missing or invalid.
pub fn run(model: &str) -> Result<DetectCost> {
    let here = Path::new(".");
    let models = Arc::new(load_models(here));
    let resources = Resources { search: vec![here.into()], models, ..Resources::new("bench") };
    let values: Values = [("model", model)].into();
    let mut bench = Detector::new(read_config(&values, "detect")?, &resources, test_frame(1920, 1080)?)?;
    // A GPU does not run on this thread: wall-clock time is measured instead.
    let (started, is_cpu) = (Instant::now(), bench.model.device() == "cpu");
    let now = || if is_cpu { super::thread_cpu_ms() } else { started.elapsed().as_secs_f64() * 1e3 };
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let mut grids = Vec::new();
    for (columns, rows) in [(1, 1), (2, 1), (2, 2), (3, 2)] {
        let grid = Grid { columns, rows };
        let (mut model_times, mut detect_times) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = now();
            (0..columns * rows).try_for_each(|_| bench.model.run_model())?;
            model_times.push(now() - start);
            let start = now();
            std::hint::black_box(bench.detect(grid)?);
            detect_times.push(now() - start);
        }
        let (model_ms, detect_ms) = (median(&mut model_times), median(&mut detect_times));
        grids.push(GridCost { tiles: grid.into(), model_ms, detect_ms, ratio: detect_ms / model_ms });
    }
    Ok(DetectCost { model: model.into(), device: bench.model.device(), grids })
}

/// A detector and the frame that it runs on.
struct Detector {
    model: Model,
    config: DetectConfig,
    /// Selected classes: people and balls, or all classes of a model without both.
    classes: Vec<bool>,
    frame: Frame,
}

impl Detector {
    fn new(config: DetectConfig, resources: &Resources, frame: Frame) -> Result<Self> {
        let model = Model::load(&config, resources)?;
        let is_selected = |name: &String| config.people.contains(name) || config.ball.contains(name);
        let mut classes: Vec<bool> = model.labels().iter().map(is_selected).collect();
        if !classes.contains(&true) {
            classes.fill(true);
        }
        Ok(Self { model, config, classes, frame })
    }

    /// Runs the detector from image planes to rows, and returns the number of rows.
    fn detect(&mut self, grid: Grid) -> Result<usize> {
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

impl std::fmt::Display for DetectCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<34} {:>10} {:>10} {:>6}",
            format!("{} ({}), ms per 1080p frame", self.model, self.device),
            "model",
            "detect",
            "ratio"
        )?;
        for GridCost { tiles, model_ms, detect_ms, ratio } in &self.grids {
            write!(f, "\n{:<34} {model_ms:>10.1} {detect_ms:>10.1} {ratio:>6.2}", format!("tiles {tiles}"))?;
        }
        Ok(())
    }
}
