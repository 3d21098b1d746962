//! The keys, and what is wrong with values that do not go together.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sideline_api::Config;

use crate::decode::Decoder;

/// Names that people go by in models for sports; no model has all of them.
pub const PEOPLE: [&str; 4] = ["person", "player", "goalkeeper", "referee"];
/// Names that the ball goes by.
pub const BALL: [&str; 2] = ["sports ball", "ball"];

/// Finds people, balls and other things in frames, by any ONNX detector.
#[derive(Clone, Debug, PartialEq, Config)]
#[config(check = DetectConfig::check)]
pub struct DetectConfig {
    /// A model of models.yml, one that `sideline models add` registered, or the path of an ONNX file. `centernet` knows
    /// COCO's 80 classes and takes 40 ms a picture on one core; its scores are low (a player's is about 0.5), so a tracker
    /// after it wants `high_score` 0.3 and `new_score` 0.35.
    #[config(default = "centernet")]
    pub model: String,
    /// How the model's outputs are read: `centernet`, `yolox`, `yolov8`, `detr`, or `auto`: as the model's entry says, or as
    /// the outputs' shapes do.
    #[config(default = "auto")]
    pub decoder: DecoderChoice,
    /// What the classes are called: `coco`, `coco91`, or a file with one name a line. Empty: what the model's entry or its
    /// metadata says.
    #[config(default = "")]
    pub labels: String,
    /// Score from which something is detected. Higher gives fewer things that are not there; lower finds those seen badly,
    /// small balls above all.
    #[config(default = 0.25, live, range(0, 1))]
    pub confidence: f32,
    /// Overlap (IoU) from which two boxes of one class are one thing. Higher keeps people apart who stand close; lower
    /// removes double boxes; 1 removes none.
    #[config(default = 0.4, live, range(0, 1))]
    pub nms: f32,
    /// Classes in the output `detections` besides people and ball; `all` for every one. More takes no more time.
    #[config(default = Vec::new())]
    pub classes: Vec<String>,
    /// Classes in the output `people`.
    #[config(default = PEOPLE.map(String::from).to_vec())]
    pub people: Vec<String>,
    /// Classes in the output `balls`.
    #[config(default = BALL.map(String::from).to_vec())]
    pub ball: Vec<String>,
    /// Tiles that the picture is cut into, across by down: `1x1`, `3x2`, ... More finds smaller things, and takes a run of
    /// the model for each.
    #[config(default = "1x1", live)]
    pub tiles: Grid,
    /// How far neighbouring tiles overlap, in parts of a tile. Higher sees more of what stands on a seam whole; lower makes
    /// tiles smaller, and so things larger in them.
    #[config(default = 0.15, live, range(0, 0.5))]
    pub overlap: f32,
    /// Most tiles that go through the model in one run, where it takes several; on TensorRT always one. Higher is faster on
    /// a GPU and takes more memory; on a CPU it makes no difference.
    #[config(default = 8, live, range(1, 64))]
    pub batch: u32,
    /// Columns and rows of what the model is shown, where it leaves them open. Higher finds smaller things and takes longer.
    #[config(default = 640, range(32, 4096))]
    pub size: u32,
    /// Polygons in which nothing is detected (spectators, a scoreboard): a list of corners each, in parts of the picture's
    /// width and height, 0 to 1: `"[[[0, 0], [1, 0], [1, 0.2], [0, 0.2]]]"`. What counts is the middle of the box.
    #[config(default = Vec::new(), live)]
    pub dead_zones: Vec<Vec<[f32; 2]>>,
    /// Least height of a person, px at 1080 lines (in other pictures as much larger or smaller as they are). Higher drops
    /// spectators; lower keeps people far away.
    #[config(default = 0.0, live, range(0, 10_000))]
    pub min_person: f32,
    /// Greatest height of a person, px at 1080 lines. Lower drops people who stand before the camera.
    #[config(default = 10_000.0, live, range(0, 10_000))]
    pub max_person: f32,
    /// Least size of a ball, the longer side of its box, px at 1080 lines. Higher drops specks.
    #[config(default = 0.0, live, range(0, 10_000))]
    pub min_ball: f32,
    /// Greatest size of a ball, px at 1080 lines. Lower drops heads and lamps; higher keeps balls near the camera.
    #[config(default = 100.0, live, range(0, 10_000))]
    pub max_ball: f32,
    /// Every how many frames the model looks; between, the outputs are skipped, trackers carry on and their rows say
    /// predicted. `auto`: live, as seldom as it takes to keep up, by measured time, each change logged; in `complete` mode
    /// time decides nothing, and `auto` is 1. Higher takes less time; lower follows what turns fast.
    #[config(default = 1, live)]
    pub every: Every,
    /// `ball`: between full looks the model sees only a square around where the ball should be by its last places, at full
    /// resolution; `people` and `detections` are skipped then. `none`: every look is a full one.
    #[config(default = "none", live)]
    pub follow: Follow,
    /// Side of that square, px at 1080 lines. Higher loses a fast ball less easily; lower shows it larger.
    #[config(default = 512.0, live, range(16, 10_000))]
    pub follow_size: f32,
    /// Every how many looks is a full one, while the ball is followed; while it is not known, every one is. Higher takes
    /// less time with many tiles; lower sees people more often, who are seen every `every` times `full_every` frames: with
    /// `every` above 1 set 1 here where they matter. A full look sees the square as well, in one more run of the model.
    #[config(default = 3, live, range(1, 1_000))]
    pub full_every: u32,
}

impl DetectConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        for (number, zone) in self.dead_zones.iter().enumerate() {
            let number = number + 1;
            if zone.len() < 3 {
                wrong.push(("dead_zones", format!("zone {number} has {} corners, at least 3 are needed", zone.len())));
            } else if let Some([x, y]) = zone.iter().find(|corner| !corner.iter().all(|at| (0.0..=1.0).contains(at))) {
                wrong.push((
                    "dead_zones",
                    format!(
                        "zone {number} has a corner [{x}, {y}] outside the picture; corners are parts of its width and \
                         height, 0 to 1"
                    ),
                ));
            } else if area(zone) < 1e-6 {
                wrong.push(("dead_zones", format!("zone {number} covers nothing: its corners lie on one line")));
            }
        }
        for (key, least, most) in
            [("min_person", self.min_person, self.max_person), ("min_ball", self.min_ball, self.max_ball)]
        {
            if least > most {
                wrong.push((key, format!("{least} is above {}, which is {most}; lower it", key.replace("min", "max"))));
            }
        }
        wrong
    }
}

/// Area of a polygon that does not cross itself.
fn area(zone: &[[f32; 2]]) -> f32 {
    let next = zone.iter().cycle().skip(1);
    (zone.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f32>() / 2.0).abs()
}

/// The key `decoder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderChoice {
    /// As the model says.
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
    /// The decoder that is named, if one is.
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

/// The key `follow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Follow {
    /// Every look is a full one.
    None,
    /// Between full looks only around the ball.
    Ball,
}

/// The key `tiles`: so many across, so many down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grid {
    /// Across.
    pub columns: usize,
    /// Down.
    pub rows: usize,
}

/// Most tiles across, and down.
const MOST_TILES: usize = 16;

impl TryFrom<String> for Grid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse().ok().filter(|n| (1..=MOST_TILES).contains(n));
        text.split_once('x')
            .and_then(|(columns, rows)| Some(Grid { columns: number(columns)?, rows: number(rows)? }))
            .ok_or_else(|| format!("tiles are written as `3x2`, three across and two down, up to {MOST_TILES} each"))
    }
}

impl From<Grid> for String {
    fn from(grid: Grid) -> String {
        format!("{}x{}", grid.columns, grid.rows)
    }
}

/// The key `every`: a number of frames, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Every {
    /// By measured time.
    Auto,
    /// So many frames.
    Frames(u32),
}

impl TryFrom<Value> for Every {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        match (number, value.as_str()) {
            (Some(frames @ 1..=3000), _) => Ok(Every::Frames(frames as u32)),
            (None, Some("auto")) => Ok(Every::Auto),
            _ => Err("a number of frames, 1 to 3000, or `auto` is wanted".into()),
        }
    }
}

impl From<Every> for Value {
    fn from(every: Every) -> Value {
        match every {
            Every::Auto => "auto".into(),
            Every::Frames(frames) => frames.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sideline_api::Values;

    use super::*;

    fn read(key: &str, value: Value) -> Result<DetectConfig, String> {
        let values: Values = [(key, value)].into();
        DetectConfig::from_values(&values).map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn defaults_are_those_of_the_keys_documentation() {
        let config = DetectConfig::from_values(&Values::new()).unwrap();
        assert_eq!((config.confidence, config.nms, config.every), (0.25, 0.4, Every::Frames(1)));
        assert_eq!((config.tiles, config.follow), (Grid { columns: 1, rows: 1 }, Follow::None));
        assert_eq!((config.people.len(), config.ball.len()), (4, 2));
    }

    #[test]
    fn tiles_and_every_are_read_from_text_as_env_writes_them() {
        assert_eq!(read("tiles", json!("3x2")).unwrap().tiles, Grid { columns: 3, rows: 2 });
        assert_eq!(read("every", json!("auto")).unwrap().every, Every::Auto);
        assert_eq!(read("every", json!("3")).unwrap().every, Every::Frames(3));
        for (key, value, said) in [
            ("tiles", json!("3"), "written as `3x2`"),
            ("tiles", json!("0x2"), "written as `3x2`"),
            ("every", json!(0), "1 to 3000, or `auto`"),
            ("every", json!("often"), "1 to 3000, or `auto`"),
            ("decoder", json!("yolo8"), "did you mean `yolo"),
        ] {
            let problem = read(key, value).unwrap_err();
            assert!(problem.contains(&format!("key `{key}`")) && problem.contains(said), "{problem}");
        }
    }

    #[test]
    fn dead_zones_that_cannot_be_meant_are_refused_at_the_start() {
        let zone = read("dead_zones", json!("[[[0, 0], [1, 0], [1, 0.2]]]")).unwrap();
        assert_eq!(zone.dead_zones, [[[0.0, 0.0], [1.0, 0.0], [1.0, 0.2]]]);
        for (zones, said) in [
            ("[[[0, 0], [1920, 0], [1920, 200]]]", "zone 1 has a corner [1920, 0] outside the picture"),
            ("[[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1]]]", "zone 2 has 2 corners, at least 3"),
            ("[[[0, 0], [0.5, 0.5], [1, 1]]]", "zone 1 covers nothing"),
        ] {
            let problem = read("dead_zones", json!(zones)).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
    }

    #[test]
    fn sizes_that_leave_nothing_are_refused() {
        let problem = read("min_ball", json!(200)).unwrap_err();
        assert!(problem.contains("200 is above max_ball, which is 100; lower it"), "{problem}");
    }
}
