//! The calibration file: which points of the picture are which points of the pitch.
//!
//! ```yaml
//! length: 105          # of the pitch, m: along the touch lines; 105 where it is not said
//! width: 68            # of the pitch, m: along the goal lines; 68 where it is not said
//! size: [1920, 1080]   # of the picture that the points were read from, px; left out where it is that of the video
//! points:              # four or more, no three of the four on one line
//!   - {pixel: [212, 310], pitch: [0, 0]}       # the far left corner
//!   - {pixel: [1705, 322], pitch: [105, 0]}    # the far right one
//! ```
//!
//! On the pitch x runs from the left goal line to the right one and y from the far touch line to the near one, as the camera
//! sees them. The camera must not move.

use std::path::Path;

use sideline_api::{
    Error, Failure, OrFail, Resources, Result,
    config::did_you_mean,
    yaml::{self, Yaml},
};

use crate::homography::{Homography, Point};

/// How far a point of the file may lie from where the others put it, m: more is a point that was read wrongly.
const MOST_ERROR: f64 = 1.0;
/// How far beside the pitch a point may lie, m.
const BESIDE: f64 = 20.0;
/// Points lie on one line where the triangle of three is flatter than this share of its longest side.
const FLAT: f64 = 0.01;

/// The pitch: metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Along the touch lines.
    pub length: f32,
    /// Along the goal lines.
    pub width: f32,
}

/// What a calibration file says, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The pitch.
    pub field: Field,
    /// Size of the picture that the points were read from, px.
    pub size: Option<[f64; 2]>,
    /// Pixels to metres.
    pub homography: Homography,
    /// Mean distance of the file's points from where the homography puts them, m.
    pub error: f64,
}

impl Calibration {
    /// The file that the key `calibration` names; `None` where it names none.
    ///
    /// # Errors
    /// It is not there, or [`Calibration::read`] refuses it.
    pub fn of_key(path: &Path, resources: &Resources) -> Result<Option<Self>> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let found = resources.find(path).map_err(|missing| {
            Error::config(format!("key `calibration`: {}; leave the key out to work in pixels", missing.message))
        })?;
        Self::read(&found).map(Some)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is no such file, or its points allow no homography: each mistake with file, line and mend.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = yaml::read_text(path).or_fail(Failure::Config, || &name)?;
        Self::parse(&text, &name)
    }

    /// Reads a text; `name` is that of its file.
    ///
    /// # Errors
    /// As [`Calibration::read`].
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

/// A point of the file with its place in it.
struct Placed<'a> {
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
                return Err(self.error(key, format_args!("there is no key `{name}`{}", did_you_mean(name, KEYS))));
            }
        }
        let field = Field {
            length: self.metres(tree, "length", 105.0, [20.0, 150.0])?,
            width: self.metres(tree, "width", 68.0, [10.0, 120.0])?,
        };
        let size = match tree.get("size") {
            Some(size) => Some(self.pair(size, size, "`size` is `[width, height]` of a picture, in pixels")?),
            None => None,
        };
        if let (Some([w, h]), Some(at)) = (size, tree.get("size"))
            && (w < 16.0 || h < 16.0)
        {
            return Err(self.error(at, "`size` is the width and height of a picture, in pixels"));
        }
        let Some((at, points)) = tree.entry("points") else {
            return Err(self.error(tree, format_args!("`points` is missing: four or more, each as {EXAMPLE}")));
        };
        let points = points.list().iter().map(|point| self.point(point, &field)).collect::<Result<Vec<_>>>()?;
        let (homography, error) = self.fit(at, &points)?;
        Ok(Calibration { field, size, homography, error })
    }

    fn metres(&self, tree: &Yaml, key: &str, usual: f32, [least, most]: [f32; 2]) -> Result<f32> {
        let Some(value) = tree.get(key) else { return Ok(usual) };
        let number = value.scalar().and_then(|text| text.parse().ok()).filter(|value| (least..=most).contains(value));
        number.ok_or_else(|| {
            self.error(value, format_args!("`{key}` of the pitch is in metres, {least} to {most}: `{key}: {usual}`"))
        })
    }

    fn pair(&self, at: &Yaml, value: &Yaml, what: &str) -> Result<Point> {
        let numbers: Vec<f64> = value
            .list()
            .iter()
            .filter_map(|item| item.scalar()?.parse().ok())
            .filter(|n: &f64| n.is_finite())
            .collect();
        match (numbers.as_slice(), value.list().len()) {
            ([x, y], 2) => Ok([*x, *y]),
            _ => Err(self.error(at, what)),
        }
    }

    fn point<'y>(&self, point: &'y Yaml, field: &Field) -> Result<Placed<'y>> {
        let wrong = || self.error(point, format_args!("a point is {EXAMPLE}: two numbers each"));
        for (key, _) in point.map() {
            let name = key.scalar().unwrap_or_default();
            if name != "pixel" && name != "pitch" {
                let near = did_you_mean(name, ["pixel", "pitch"]);
                return Err(self.error(key, format_args!("a point has no key `{name}`{near}")));
            }
        }
        let (pixel, pitch) = (point.get("pixel").ok_or_else(wrong)?, point.get("pitch").ok_or_else(wrong)?);
        let placed = Placed {
            at: point,
            pixel: self.pair(pixel, pixel, "`pixel` is `[x, y]` in the picture")?,
            pitch: self.pair(pitch, pitch, "`pitch` is `[x, y]` in metres: along the pitch, across it")?,
        };
        let [x, y] = placed.pitch;
        let near = |value: f64, most: f32| (-BESIDE..=f64::from(most) + BESIDE).contains(&value);
        if !near(x, field.length) || !near(y, field.width) {
            return Err(self.error(
                pitch,
                format_args!(
                    "[{x}, {y}] is far from a pitch of {} x {} m: x runs along it from the left goal line, y across it \
                     from the far touch line",
                    field.length, field.width
                ),
            ));
        }
        Ok(placed)
    }

    fn fit(&self, at: &Yaml, points: &[Placed]) -> Result<(Homography, f64)> {
        let n = points.len();
        if n < 4 {
            let text = match n {
                1 => "there is 1 point".into(),
                _ => format!("there are {n} points"),
            };
            return Err(self.error(at, format_args!("{text}, and a homography needs four or more: add {}", 4 - n)));
        }
        for (what, place) in [("the picture", (|p| p.pixel) as fn(&Placed) -> Point), ("the pitch", |p| p.pitch)] {
            if !spread(points.len(), |i| place(&points[i])) {
                return Err(self.error(
                    at,
                    format_args!(
                        "too many of the {n} points lie on one line of {what}: four are needed of which no three do, \
                         such as the corners of the penalty area or of the pitch"
                    ),
                ));
            }
        }
        let pairs: Vec<(Point, Point)> = points.iter().map(|point| (point.pixel, point.pitch)).collect();
        let homography = Homography::fit(&pairs)
            .ok_or_else(|| self.error(at, "these points allow more than one homography: add points off their lines"))?;
        let first = homography.depth(points[0].pixel);
        let behind = points.iter().find(|point| homography.depth(point.pixel) * first <= 0.0);
        if let Some(behind) = behind {
            return Err(self.error(
                behind.at,
                "this point lies beyond the horizon that the others make: one of the points was read wrongly",
            ));
        }
        let errors: Vec<f64> = points
            .iter()
            .map(|point| {
                let found = homography.apply(point.pixel).unwrap_or([f64::INFINITY; 2]);
                (found[0] - point.pitch[0]).hypot(found[1] - point.pitch[1])
            })
            .collect();
        let worst = (0..n).max_by(|a, b| errors[*a].total_cmp(&errors[*b])).unwrap_or(0);
        if errors[worst] > MOST_ERROR {
            return Err(self.error(
                points[worst].at,
                format_args!(
                    "the points do not fit together: this one lies {:.1} m from where all of them put it, {MOST_ERROR} m \
                     is allowed; look at its pixel and pitch again, or at those of its neighbours",
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

/// True where four of the points have no three on one line.
fn spread(n: usize, at: impl Fn(usize) -> Point) -> bool {
    let flat = |i: usize, j: usize, k: usize| {
        let ([ax, ay], [bx, by], [cx, cy]) = (at(i), at(j), at(k));
        let area = ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)).abs();
        let side = (bx - ax).hypot(by - ay).max((cx - bx).hypot(cy - by)).max((ax - cx).hypot(ay - cy));
        area <= FLAT * side * side
    };
    (0..n).any(|i| {
        (i + 1..n).any(|j| {
            (j + 1..n).any(|k| !flat(i, j, k) && (k + 1..n).any(|l| !flat(i, j, l) && !flat(i, k, l) && !flat(j, k, l)))
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
    fn a_file_maps_its_own_points() {
        let read = Calibration::parse(GOOD, "pitch.yml").unwrap();
        assert_eq!((read.field, read.size), (Field { length: 100.0, width: 68.0 }, None));
        let [x, y] = read.homography.apply([1100.0, 210.0]).unwrap();
        assert!((x - 100.0).hypot(y) < 1e-6 && read.error < 1e-6);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_mend() {
        let without =
            |line: &str| GOOD.lines().filter(|l| !l.contains(line)).map(|l| format!("{l}\n")).collect::<String>();
        let three = refused(&without("[1400, 700]"));
        assert!(three.starts_with("pitch.yml:2:1: error: there are 3 points, and a homography needs four"), "{three}");
        let line = refused(&GOOD.replace("[1400, 700], pitch: [100, 68]", "[600, 205], pitch: [50, 0]"));
        assert!(
            line.starts_with("pitch.yml:2:1: error: too many of the 4 points lie on one line of the picture"),
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
            ("length: 100", "lenght: 100", "pitch.yml:1:1: error: there is no key `lenght`; did you mean `length`?"),
            ("length: 100", "length: long", "pitch.yml:1:9: error: `length` of the pitch is in metres"),
            ("length: 100", "size: [1, 2, 3]", "pitch.yml:1:7: error: `size` is `[width, height]`"),
            ("[1100, 210]", "[1100]", "pitch.yml:4:13: error: `pixel` is `[x, y]` in the picture"),
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
    fn a_point_that_was_read_wrongly_is_found_among_others() {
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
        assert!(found.starts_with("pitch.yml:6:") && found.contains("m from where all of them put it"), "{found}");
    }
}
