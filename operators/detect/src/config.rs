//! Configuration keys, and the checks across keys.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sideline_api::Config;

use crate::decode::Decoder;

/// Class names of people in models for sports; no model has all of them.
pub const PEOPLE: [&str; 4] = ["person", "player", "goalkeeper", "referee"];
/// Class names of the ball.
pub const BALL: [&str; 2] = ["sports ball", "ball"];

/// Detects people, balls and other objects in frames, with any ONNX detector.
#[derive(Clone, Debug, PartialEq, Config)]
#[config(check = DetectConfig::check)]
pub struct DetectConfig {
    /// Model: a name in models.yml, one registered by `sideline models add`, or the path of an ONNX file. `centernet`
    /// has the 80 classes of COCO and takes 40 ms per image on one core; its scores are low (about 0.5 for a player),
    /// so a tracker behind it needs `high_score` 0.3 and `new_score` 0.35.
    #[config(default = "centernet")]
    pub model: String,
    /// Decoder of the model's outputs: `centernet`, `yolox`, `yolov8`, `detr`, or `auto`: the one in the model's entry,
    /// else the one that fits the shapes of the outputs.
    #[config(default = "auto")]
    pub decoder: DecoderChoice,
    /// Class names: `coco`, `coco91`, or a file with one name per line. Empty: those in the model's entry or its
    /// metadata.
    #[config(default = "")]
    pub labels: String,
    /// Minimum detection score. Higher gives fewer false detections; lower finds objects that are hard to see, above
    /// all small balls.
    #[config(default = 0.25, live, range(0, 1))]
    pub confidence: f32,
    /// IoU threshold of non-maximum suppression, per class. Higher separates people who stand close together; lower
    /// removes more duplicates; 1 removes none.
    #[config(default = 0.4, live, range(0, 1))]
    pub nms: f32,
    /// Classes in the output `detections` in addition to people and ball; `all` selects every class. More classes take
    /// no more time.
    #[config(default = Vec::new())]
    pub classes: Vec<String>,
    /// Class names of the output `people`.
    #[config(default = PEOPLE.map(String::from).to_vec())]
    pub people: Vec<String>,
    /// Class names of the output `balls`.
    #[config(default = BALL.map(String::from).to_vec())]
    pub ball: Vec<String>,
    /// Number of tiles of a frame, across by down: `1x1`, `3x2`, and so on. More tiles find smaller objects, and each
    /// takes one run of the model.
    #[config(default = "1x1", live)]
    pub tiles: Grid,
    /// Overlap of adjacent tiles, as a share of a tile. Higher shows more objects at a seam completely; lower makes
    /// tiles smaller, and objects larger in them.
    #[config(default = 0.15, live, range(0, 0.5))]
    pub overlap: f32,
    /// Maximum batch size in tiles, where the model supports batches; on TensorRT always 1. Higher is faster on a GPU
    /// and takes more memory; on a CPU it makes no difference.
    #[config(default = 8, live, range(1, 64))]
    pub batch: u32,
    /// Width and height of the model's input, px, where its file leaves them open. Higher finds smaller objects and
    /// takes longer.
    #[config(default = 640, range(32, 4096))]
    pub size: u32,
    /// Polygons in which detections are ignored (spectators, a scoreboard): a list of corners each, as shares of the
    /// frame's width and height, 0 to 1: `"[[[0, 0], [1, 0], [1, 0.2], [0, 0.2]]]"`. The center of the box decides.
    #[config(default = Vec::new(), live)]
    pub dead_zones: Vec<Vec<[f32; 2]>>,
    /// Minimum height of a person, px at 1080 lines (scaled with the height of the frame). Higher drops spectators;
    /// lower keeps distant people.
    #[config(default = 0.0, live, range(0, 10_000))]
    pub min_person: f32,
    /// Maximum height of a person, px at 1080 lines. Lower drops people close to the camera.
    #[config(default = 10_000.0, live, range(0, 10_000))]
    pub max_person: f32,
    /// Minimum size of a ball, the longer side of its box, px at 1080 lines. Higher drops specks.
    #[config(default = 0.0, live, range(0, 10_000))]
    pub min_ball: f32,
    /// Maximum size of a ball, px at 1080 lines. Lower drops heads and lamps; higher keeps balls close to the camera.
    #[config(default = 100.0, live, range(0, 10_000))]
    pub max_ball: f32,
    /// Detection interval, frames: the detector runs on every n-th frame. On the others the outputs are skipped, and
    /// trackers predict. `auto`: in live mode the smallest interval that keeps up, by measured time, with each change
    /// logged; in `complete` mode, where results must not depend on time, 1. Higher takes less time; lower follows
    /// abrupt motion.
    #[config(default = 1, live)]
    pub every: DetectionInterval,
    /// Region of detector runs between those on the full frame. `ball`: a square around the predicted position of the
    /// ball, at full resolution; `people` and `detections` are skipped then. `none`: every run covers the full frame.
    #[config(default = "none", live)]
    pub follow: FollowMode,
    /// Side of the square around the ball with `follow: ball`, px at 1080 lines. Higher loses a fast ball less easily;
    /// lower enlarges it in the model's input.
    #[config(default = 512.0, live, range(16, 10_000))]
    pub follow_size: f32,
    /// Interval of full-frame runs while the ball is followed, detector runs; without a known ball every run is a full
    /// one. Higher takes less time with many tiles; lower detects people more often: they are detected every `every`
    /// times `full_every` frames, so with `every` above 1 set 1 here where they matter. A full-frame run includes the
    /// square, in one more run of the model.
    #[config(default = 3, live, range(1, 1_000))]
    pub full_every: u32,
}

impl DetectConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        for (number, zone) in self.dead_zones.iter().enumerate() {
            let number = number + 1;
            if zone.len() < 3 {
                problems
                    .push(("dead_zones", format!("zone {number} has {} corners, at least 3 are needed", zone.len())));
            } else if let Some([x, y]) = zone.iter().find(|corner| !corner.iter().all(|at| (0.0..=1.0).contains(at))) {
                problems.push((
                    "dead_zones",
                    format!(
                        "zone {number} has a corner [{x}, {y}] outside the frame; corners are shares of its width and \
                         height, 0 to 1"
                    ),
                ));
            } else if area(zone) < 1e-6 {
                problems.push(("dead_zones", format!("zone {number} has no area: its corners lie on one line")));
            }
        }
        for (key, min, max) in
            [("min_person", self.min_person, self.max_person), ("min_ball", self.min_ball, self.max_ball)]
        {
            if min > max {
                problems.push((key, format!("{min} is above {}, which is {max}; lower it", key.replace("min", "max"))));
            }
        }
        problems
    }
}

/// Returns the area of a simple polygon.
fn area(zone: &[[f32; 2]]) -> f32 {
    let next = zone.iter().cycle().skip(1);
    (zone.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f32>() / 2.0).abs()
}

/// Value of the key `decoder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderChoice {
    /// The decoder in the model's entry, else the one that fits its outputs.
    Auto,
    /// [`Decoder::Centernet`].
    Centernet,
    /// [`Decoder::Yolox`].
    Yolox,
    /// [`Decoder::Yolov8`].
    Yolov8,
    /// [`Decoder::Detr`].
    Detr,
}

impl DecoderChoice {
    /// Returns the named decoder; `None` for `auto`.
    pub fn decoder(self) -> Option<Decoder> {
        match self {
            DecoderChoice::Auto => None,
            DecoderChoice::Centernet => Some(Decoder::Centernet),
            DecoderChoice::Yolox => Some(Decoder::Yolox),
            DecoderChoice::Yolov8 => Some(Decoder::Yolov8),
            DecoderChoice::Detr => Some(Decoder::Detr),
        }
    }
}

/// Value of the key `follow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FollowMode {
    /// Every detector run covers the full frame.
    None,
    /// Runs between those on the full frame cover the region around the ball.
    Ball,
}

/// Value of the key `tiles`: a grid of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grid {
    /// Number of tiles across.
    pub columns: usize,
    /// Number of tiles down.
    pub rows: usize,
}

/// Maximum number of tiles in each direction.
const MAX_TILES: usize = 16;

impl TryFrom<String> for Grid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse().ok().filter(|n| (1..=MAX_TILES).contains(n));
        text.split_once('x')
            .and_then(|(columns, rows)| Some(Grid { columns: number(columns)?, rows: number(rows)? }))
            .ok_or_else(|| {
                format!("expected a grid of tiles as in `3x2`, three across and two down, up to {MAX_TILES} each")
            })
    }
}

impl From<Grid> for String {
    fn from(grid: Grid) -> String {
        format!("{}x{}", grid.columns, grid.rows)
    }
}

/// Value of the key `every`: a number of frames, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum DetectionInterval {
    /// Adapted to the measured time.
    Auto,
    /// A fixed number of frames.
    Frames(u32),
}

impl TryFrom<Value> for DetectionInterval {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        match (number, value.as_str()) {
            (Some(frames @ 1..=3000), _) => Ok(DetectionInterval::Frames(frames as u32)),
            (None, Some("auto")) => Ok(DetectionInterval::Auto),
            _ => Err("expected a number of frames, 1 to 3000, or `auto`".into()),
        }
    }
}

impl From<DetectionInterval> for Value {
    fn from(every: DetectionInterval) -> Value {
        match every {
            DetectionInterval::Auto => "auto".into(),
            DetectionInterval::Frames(frames) => frames.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sideline_api::Values;

    use super::*;

    fn parse(key: &str, value: Value) -> Result<DetectConfig, String> {
        let values: Values = [(key, value)].into();
        DetectConfig::from_values(&values).map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn defaults_match_the_documentation() {
        let config = DetectConfig::default();
        assert_eq!((config.confidence, config.nms, config.every), (0.25, 0.4, DetectionInterval::Frames(1)));
        assert_eq!((config.tiles, config.follow), (Grid { columns: 1, rows: 1 }, FollowMode::None));
        assert_eq!((config.people.len(), config.ball.len()), (4, 2));
    }

    #[test]
    fn tiles_and_every_are_parsed_from_env_text() {
        assert_eq!(parse("tiles", json!("3x2")).unwrap().tiles, Grid { columns: 3, rows: 2 });
        assert_eq!(parse("every", json!("auto")).unwrap().every, DetectionInterval::Auto);
        assert_eq!(parse("every", json!("3")).unwrap().every, DetectionInterval::Frames(3));
        for (key, value, expected) in [
            ("tiles", json!("3"), "a grid of tiles as in `3x2`"),
            ("tiles", json!("0x2"), "a grid of tiles as in `3x2`"),
            ("every", json!(0), "1 to 3000, or `auto`"),
            ("every", json!("often"), "1 to 3000, or `auto`"),
            ("decoder", json!("yolo8"), "did you mean `yolo"),
        ] {
            let problem = parse(key, value).unwrap_err();
            assert!(problem.contains(&format!("key `{key}`")) && problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn invalid_dead_zones_are_refused() {
        let zone = parse("dead_zones", json!("[[[0, 0], [1, 0], [1, 0.2]]]")).unwrap();
        assert_eq!(zone.dead_zones, [[[0.0, 0.0], [1.0, 0.0], [1.0, 0.2]]]);
        for (zones, expected) in [
            ("[[[0, 0], [1920, 0], [1920, 200]]]", "zone 1 has a corner [1920, 0] outside the frame"),
            ("[[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1]]]", "zone 2 has 2 corners, at least 3"),
            ("[[[0, 0], [0.5, 0.5], [1, 1]]]", "zone 1 has no area"),
        ] {
            let problem = parse("dead_zones", json!(zones)).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn contradictory_sizes_are_refused() {
        let problem = parse("min_ball", json!(200)).unwrap_err();
        assert!(problem.contains("200 is above max_ball, which is 100; lower it"), "{problem}");
    }
}
