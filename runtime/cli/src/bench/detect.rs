//! A look at a 1080p frame, from planes to rows, whole and in tiles; beside the bare runs of the model that are in it.

use serde::Serialize;
use sideline_api::Result;

/// The figures of one grid of tiles.
#[derive(Debug, Serialize)]
pub struct GridCost {
    /// As the key `tiles` names it.
    pub tiles: String,
    /// Milliseconds of as many bare runs as there are tiles: median; on a CPU of processor time.
    pub bare_ms: f64,
    /// Milliseconds of a look: median; on a CPU of processor time.
    pub look_ms: f64,
    /// look / bare.
    pub ratio: f64,
}

/// The figures of a model.
#[derive(Debug, Serialize)]
pub struct DetectCost {
    /// The model.
    pub model: String,
    /// Where it ran.
    pub device: &'static str,
    /// Of each grid.
    pub grids: Vec<GridCost>,
}

/// Measures look and bare runs in turn, so that the machine's moods hit them alike.
///
/// # Errors
/// When the model is missing or broken.
#[cfg(feature = "onnx")]
pub fn run(model: &str) -> Result<DetectCost> {
    use std::{path::Path, sync::Arc, time::Instant};

    use sideline_api::{Device, Mode, Resources, Values, clock::WallClock, driver::read_config};
    use sideline_detect::{Grid, bench::Looks};

    const ROUNDS: usize = 15;

    let here = Path::new(".");
    let resources = Resources {
        node: "bench".into(),
        mode: Mode::Complete,
        device: Device::Auto,
        run_dir: std::env::temp_dir(),
        run: "bench".into(),
        inputs: vec![],
        outputs: vec![],
        search: vec![here.into()],
        models: Arc::new(crate::house::models(here)),
        clock: Arc::new(WallClock),
    };
    let values: Values = [("model", model)].into();
    let mut looks = Looks::new(read_config(&values, "detect")?, &resources)?;
    // A GPU takes its time elsewhere than on this thread.
    let (started, cpu) = (Instant::now(), looks.device() == "cpu");
    let now = || if cpu { super::processor_ms() } else { started.elapsed().as_secs_f64() * 1e3 };
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let mut grids = Vec::new();
    for (columns, rows) in [(1, 1), (2, 1), (2, 2), (3, 2)] {
        let grid = Grid { columns, rows };
        let (mut bare, mut look) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let began = now();
            (0..columns * rows).try_for_each(|_| looks.bare())?;
            bare.push(now() - began);
            let began = now();
            std::hint::black_box(looks.look(grid)?);
            look.push(now() - began);
        }
        let (bare_ms, look_ms) = (median(&mut bare), median(&mut look));
        grids.push(GridCost { tiles: grid.into(), bare_ms, look_ms, ratio: look_ms / bare_ms });
    }
    Ok(DetectCost { model: model.into(), device: looks.device(), grids })
}

/// Without models there is nothing to measure.
///
/// # Errors
/// Always.
#[cfg(not(feature = "onnx"))]
pub fn run(_: &str) -> Result<DetectCost> {
    Err(sideline_api::Error::config("this build has no models: build with the feature `onnx`"))
}

impl std::fmt::Display for DetectCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<34} {:>10} {:>10} {:>6}",
            format!("{} ({}), ms a 1080p frame", self.model, self.device),
            "bare runs",
            "look",
            "ratio"
        )?;
        for GridCost { tiles, bare_ms, look_ms, ratio } in &self.grids {
            write!(f, "\n{:<34} {bare_ms:>10.1} {look_ms:>10.1} {ratio:>6.2}", format!("tiles {tiles}"))?;
        }
        Ok(())
    }
}
