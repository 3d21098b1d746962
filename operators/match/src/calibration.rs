//! The calibration file: points of the frame and the points of the pitch that they show.
//!
//! ```yaml
//! length: 105          # length of the pitch along the touch lines, m; default 105
//! width: 68            # width of the pitch along the goal lines, m; default 68
//! size: [1920, 1080]   # width and height of the image that the points were read from, px; default: that of the video
//! points:              # four or more, of which four have no three on one line
//!   - {pixel: [212, 310], pitch: [0, 0]}       # the far left corner
//!   - {pixel: [1705, 322], pitch: [105, 0]}    # the far right one
//! ```
//!
//! On the pitch, x runs from the left goal line to the right one and y from the far touch line to the near one, as the
//! camera sees them. The camera must not move.

use std::path::Path;

use sideline_api::{
    Error, Failure, OrFail, Resources, Result,
    config::did_you_mean,
    yaml::{self, Yaml},
};

use crate::homography::{Homography, Point};

/// Maximum reprojection error of a point, m: a larger one was read incorrectly.
const MAX_ERROR_M: f64 = 1.0;
/// Maximum distance of a point beside the pitch, m.
const MAX_OUTSIDE_M: f64 = 20.0;
/// Three points count as collinear where the area of their parallelogram is below this share of its longest side
/// squared.
const COLLINEAR_SHARE: f64 = 0.01;

/// Dimensions of the pitch, m.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PitchDimensions {
    /// Length along the touch lines.
    pub length: f32,
    /// Width along the goal lines.
    pub width: f32,
}

/// A validated calibration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Dimensions of the pitch.
    pub pitch: PitchDimensions,
    /// Width and height of the image that the points were read from, px.
    pub size: Option<[f64; 2]>,
    /// Homography from pixels to meters.
    pub homography: Homography,
    /// Mean reprojection error of the points, m.
    pub mean_error_m: f64,
}

impl Calibration {
    /// Reads the file that the key `calibration` names; `None` where the key is empty.
    ///
    /// # Errors
    /// The file does not exist, or [`Calibration::read`] refuses it.
    pub fn from_key(path: &Path, resources: &Resources) -> Result<Option<Self>> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let found = resources.find(path).map_err(|missing| {
            Error::config(format!("key `calibration`: {}; omit the key to work in pixels", missing.message))
        })?;
        Self::read(&found).map(Some)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, is not a calibration file, or its points do not determine a homography; the error names
    /// file, line and repair.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = yaml::read_text(path).or_fail(Failure::Config, || &name)?;
        Self::parse(&text, &name)
    }

    /// Parses a text; `name` is the name of its file.
    ///
    /// # Errors
    /// The same as of [`Calibration::read`], except those of reading the file.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let tree = Yaml::parse(text).map_err(|broken| {
            Error::config(format!("{name}:{}:{}: error: {}", broken.line, broken.column, broken.message))
        })?;
        Reader { name }.file(&tree)
    }
}

struct Reader<'a> {
    name: &'a str,
}

/// A pair of points with its location in the file.
struct LocatedPoint<'a> {
    at: &'a Yaml,
    pixel: Point,
    pitch: Point,
}

const KEYS: [&str; 4] = ["length", "width", "size", "points"];
const EXAMPLE: &str = "`{pixel: [212, 310], pitch: [0, 0]}`";

impl Reader<'_> {
    fn error(&self, at: &Yaml, text: impl std::fmt::Display) -> Error {
        Error::config(format!("{}:{}:{}: error: {text}", self.name, at.line.max(1), at.column.max(1)))
    }

    fn file(&self, tree: &Yaml) -> Result<Calibration> {
        if !tree.is_map() {
            return Err(self.error(tree, format_args!("a calibration is a map with `points`, each as {EXAMPLE}")));
        }
        for (key, _) in tree.map() {
            let name = key.scalar().unwrap_or_default();
            if !KEYS.contains(&name) {
                return Err(self.error(key, format_args!("unknown key `{name}`{}", did_you_mean(name, KEYS))));
            }
        }
        let pitch = PitchDimensions {
            length: self.meters(tree, "length", 105.0, [20.0, 150.0])?,
            width: self.meters(tree, "width", 68.0, [10.0, 120.0])?,
        };
        let size = match tree.get("size") {
            Some(size) => Some(self.pair(size, size, "`size` is `[width, height]` of an image, in pixels")?),
            None => None,
        };
        if let (Some([w, h]), Some(at)) = (size, tree.get("size"))
            && (w < 16.0 || h < 16.0)
        {
            return Err(self.error(at, "`size` is the width and height of an image, in pixels"));
        }
        let Some((at, points)) = tree.entry("points") else {
            return Err(
                self.error(tree, format_args!("`points` is missing: four or more are needed, each as {EXAMPLE}"))
            );
        };
        let points = points.list().iter().map(|point| self.point(point, &pitch)).collect::<Result<Vec<_>>>()?;
        let (homography, mean_error_m) = self.fit(at, &points)?;
        Ok(Calibration { pitch, size, homography, mean_error_m })
    }

    fn meters(&self, tree: &Yaml, key: &str, default: f32, [min, max]: [f32; 2]) -> Result<f32> {
        let Some(value) = tree.get(key) else { return Ok(default) };
        let number = value.scalar().and_then(|text| text.parse().ok()).filter(|value| (min..=max).contains(value));
        number.ok_or_else(|| {
            self.error(value, format_args!("`{key}` of the pitch is in meters, {min} to {max}: `{key}: {default}`"))
        })
    }

    fn pair(&self, at: &Yaml, value: &Yaml, expected: &str) -> Result<Point> {
        let numbers: Vec<f64> = value
            .list()
            .iter()
            .filter_map(|item| item.scalar()?.parse().ok())
            .filter(|n: &f64| n.is_finite())
            .collect();
        match (numbers.as_slice(), value.list().len()) {
            ([x, y], 2) => Ok([*x, *y]),
            _ => Err(self.error(at, expected)),
        }
    }

    fn point<'y>(&self, point: &'y Yaml, dimensions: &PitchDimensions) -> Result<LocatedPoint<'y>> {
        let wrong = || self.error(point, format_args!("a point is {EXAMPLE}: two numbers each"));
        for (key, _) in point.map() {
            let name = key.scalar().unwrap_or_default();
            if name != "pixel" && name != "pitch" {
                let near = did_you_mean(name, ["pixel", "pitch"]);
                return Err(self.error(key, format_args!("a point has no key `{name}`{near}")));
            }
        }
        let (pixel, pitch) = (point.get("pixel").ok_or_else(wrong)?, point.get("pitch").ok_or_else(wrong)?);
        let located = LocatedPoint {
            at: point,
            pixel: self.pair(pixel, pixel, "`pixel` is `[x, y]` in the image")?,
            pitch: self.pair(pitch, pitch, "`pitch` is `[x, y]` in meters: along the pitch, across it")?,
        };
        let [x, y] = located.pitch;
        let is_near = |value: f64, length: f32| (-MAX_OUTSIDE_M..=f64::from(length) + MAX_OUTSIDE_M).contains(&value);
        if !is_near(x, dimensions.length) || !is_near(y, dimensions.width) {
            return Err(self.error(
                pitch,
                format_args!(
                    "[{x}, {y}] is far from a pitch of {} x {} m: x runs along it from the left goal line, y across it \
                     from the far touch line",
                    dimensions.length, dimensions.width
                ),
            ));
        }
        Ok(located)
    }

    fn fit(&self, at: &Yaml, points: &[LocatedPoint]) -> Result<(Homography, f64)> {
        let n = points.len();
        if n < 4 {
            let text = match n {
                1 => "only 1 point".into(),
                _ => format!("only {n} points"),
            };
            return Err(self.error(at, format_args!("{text}; a homography needs four or more: add {}", 4 - n)));
        }
        for (plane, coordinates) in
            [("the image", (|p| p.pixel) as fn(&LocatedPoint) -> Point), ("the pitch", |p| p.pitch)]
        {
            if !has_general_quadruple(points.len(), |i| coordinates(&points[i])) {
                return Err(self.error(
                    at,
                    format_args!(
                        "too many of the {n} points lie on one line of {plane}: four are needed of which no three do, \
                         such as the corners of the penalty area or of the pitch"
                    ),
                ));
            }
        }
        let pairs: Vec<(Point, Point)> = points.iter().map(|point| (point.pixel, point.pitch)).collect();
        let homography = Homography::fit(&pairs)
            .ok_or_else(|| self.error(at, "the points do not determine the homography: add points off their lines"))?;
        let first = homography.depth(points[0].pixel);
        let behind = points.iter().find(|point| homography.depth(point.pixel) * first <= 0.0);
        if let Some(behind) = behind {
            return Err(self
                .error(behind.at, "this point lies beyond the horizon of the others: one of the points is incorrect"));
        }
        let errors: Vec<f64> = points
            .iter()
            .map(|point| {
                let found = homography.apply(point.pixel).unwrap_or([f64::INFINITY; 2]);
                (found[0] - point.pitch[0]).hypot(found[1] - point.pitch[1])
            })
            .collect();
        let worst = (0..n).max_by(|a, b| errors[*a].total_cmp(&errors[*b])).unwrap_or(0);
        if errors[worst] > MAX_ERROR_M {
            return Err(self.error(
                points[worst].at,
                format_args!(
                    "the points are inconsistent: this one lies {:.1} m from its position under the fitted homography, \
                     {MAX_ERROR_M} m is allowed; check its pixel and pitch, and those of its neighbors",
                    errors[worst]
                ),
            ));
        }
        if homography.orientation(points[0].pixel) < 0.0 {
            return Err(self.error(
                at,
                "the points show a mirrored pitch: y runs from the far touch line to the near one, x from left to right, \
                 as the camera sees them",
            ));
        }
        Ok((homography, errors.iter().sum::<f64>() / n as f64))
    }
}

/// Returns true where four of the points have no three on one line.
fn has_general_quadruple(n: usize, at: impl Fn(usize) -> Point) -> bool {
    let collinear = |i: usize, j: usize, k: usize| {
        let ([ax, ay], [bx, by], [cx, cy]) = (at(i), at(j), at(k));
        let area = ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)).abs();
        let side = (bx - ax).hypot(by - ay).max((cx - bx).hypot(cy - by)).max((ax - cx).hypot(ay - cy));
        area <= COLLINEAR_SHARE * side * side
    };
    (0..n).any(|i| {
        (i + 1..n).any(|j| {
            (j + 1..n).any(|k| {
                !collinear(i, j, k)
                    && (k + 1..n).any(|l| !collinear(i, j, l) && !collinear(i, k, l) && !collinear(j, k, l))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "length: 100\npoints:\n  - {pixel: [100, 200], pitch: [0, 0]}\n  - {pixel: [1100, 210], pitch: [100, 0]}\n  \
                        - {pixel: [1400, 700], pitch: [100, 68]}\n  - {pixel: [-200, 690], pitch: [0, 68]}\n";

    fn refused(text: &str) -> String {
        let error = Calibration::parse(text, "pitch.yml").unwrap_err();
        assert_eq!(error.failure, Failure::Config);
        error.message
    }

    #[test]
    fn a_calibration_maps_the_points_of_its_file() {
        let read = Calibration::parse(GOOD, "pitch.yml").unwrap();
        assert_eq!((read.pitch, read.size), (PitchDimensions { length: 100.0, width: 68.0 }, None));
        let [x, y] = read.homography.apply([1100.0, 210.0]).unwrap();
        assert!((x - 100.0).hypot(y) < 1e-6 && read.mean_error_m < 1e-6);
    }

    #[test]
    fn errors_name_line_and_repair() {
        let without =
            |line: &str| GOOD.lines().filter(|l| !l.contains(line)).map(|l| format!("{l}\n")).collect::<String>();
        let three = refused(&without("[1400, 700]"));
        assert!(three.starts_with("pitch.yml:2:1: error: only 3 points; a homography needs four"), "{three}");
        let line = refused(&GOOD.replace("[1400, 700], pitch: [100, 68]", "[600, 205], pitch: [50, 0]"));
        assert!(
            line.starts_with("pitch.yml:2:1: error: too many of the 4 points lie on one line of the image"),
            "{line}"
        );
        let flat = refused(&GOOD.replace("pitch: [100, 68]", "pitch: [50, 0]"));
        assert!(flat.contains("lie on one line of the pitch"), "{flat}");
        let mirrored = refused(
            &GOOD
                .replace("[0, 0]", "[0, 68]")
                .replace("[100, 0]", "[100, 68]")
                .replacen("pitch: [100, 68]}\n  - {pixel: [-200", "pitch: [100, 0]}\n  - {pixel: [-200", 1)
                .replace("690], pitch: [0, 68]", "690], pitch: [0, 0]"),
        );
        assert!(mirrored.contains("pitch.yml:2:1: error: the points show a mirrored pitch"), "{mirrored}");
        for (from, to, words) in [
            ("length: 100", "lenght: 100", "pitch.yml:1:1: error: unknown key `lenght`; did you mean `length`?"),
            ("length: 100", "length: long", "pitch.yml:1:9: error: `length` of the pitch is in meters"),
            ("length: 100", "size: [1, 2, 3]", "pitch.yml:1:7: error: `size` is `[width, height]`"),
            ("[1100, 210]", "[1100]", "pitch.yml:4:13: error: `pixel` is `[x, y]` in the image"),
            (
                "pitch: [100, 0]",
                "pich: [100, 0]",
                "pitch.yml:4:26: error: a point has no key `pich`; did you mean `pitch`?",
            ),
            (
                "pitch: [100, 0]",
                "pitch: [1000, 0]",
                "pitch.yml:4:33: error: [1000, 0] is far from a pitch of 100 x 68 m",
            ),
            ("points:", "point:", "did you mean `points`?"),
        ] {
            let found = refused(&GOOD.replacen(from, to, 1));
            assert!(found.contains(words), "{found}");
        }
        assert!(refused("").contains("a calibration is a map with `points`"));
    }

    #[test]
    fn an_incorrect_point_is_found_among_others() {
        let camera = Calibration::parse(GOOD, "x").unwrap().homography.inverse().unwrap();
        let mut text = String::from("points:\n");
        for (i, at) in
            [[0.0, 0.0], [50.0, 0.0], [100.0, 0.0], [100.0, 68.0], [50.0, 68.0], [0.0, 68.0]].iter().enumerate()
        {
            let [u, v] = camera.apply(*at).unwrap();
            let off = if i == 4 { 60.0 } else { 0.0 };
            text += &format!("  - {{pixel: [{}, {v}], pitch: [{}, {}]}}\n", u + off, at[0], at[1]);
        }
        let found = refused(&text);
        assert!(
            found.starts_with("pitch.yml:6:") && found.contains("m from its position under the fitted homography"),
            "{found}"
        );
    }
}
