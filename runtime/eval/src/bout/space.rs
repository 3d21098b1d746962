//! Points and turns in three dimensions, and smooth courses in time.
//!
//! Axes are left, up, forward, as seen by a person: right-handed, since left = up x forward.

/// Left, up, forward.
pub type Point = [f64; 3];

/// The sum of two vectors.
pub fn plus(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// The way from `b` to `a`.
pub fn minus(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// A multiple.
pub fn times(a: Point, by: f64) -> Point {
    a.map(|value| value * by)
}

/// Scalar product.
pub fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Length.
pub fn length(a: Point) -> f64 {
    dot(a, a).sqrt()
}

/// The vector product.
pub fn cross(a: Point, b: Point) -> Point {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The same direction with length 1; a vector of nearly no length stays as it is.
pub fn unit(a: Point) -> Point {
    times(a, 1.0 / length(a).max(1e-9))
}

/// Where a vector comes to by the shortest turn that brings the direction `from` to `to`, both of length 1: what a limb
/// carries along that swings without turning about itself. Only where they are opposite there is no shortest.
pub fn carried(v: Point, from: Point, to: Point) -> Point {
    let axis = cross(from, to);
    let cosine = dot(from, to);
    plus(plus(times(v, cosine), cross(axis, v)), times(axis, dot(axis, v) / (1.0 + cosine).max(1e-3)))
}

/// A turn of a body: a matrix, by rows.
#[derive(Clone, Copy, Debug)]
pub struct Turn([Point; 3]);

impl Turn {
    /// To the left, seen from above; radians.
    pub fn yaw(angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        Self([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    }

    /// Forwards, as one bows; radians.
    pub fn pitch(angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        Self([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    }

    /// To the left, as one leans; radians.
    pub fn roll(angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        Self([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Where a vector comes to.
    pub fn of(&self, v: Point) -> Point {
        self.0.map(|row| dot(row, v))
    }

    /// The turn that does `inner` first.
    pub fn after(&self, inner: &Turn) -> Turn {
        let columns = [0, 1, 2].map(|k| self.of([inner.0[0][k], inner.0[1][k], inner.0[2][k]]));
        Turn([0, 1, 2].map(|row| [columns[0][row], columns[1][row], columns[2][row]]))
    }
}

/// The smoothest way from 0 to 1 in a time of 1, still at both ends: minimum jerk (Flash and Hogan, J. Neuroscience 5,
/// 1985, equation 3).
pub fn minimum_jerk(time: f64) -> f64 {
    let t = time.clamp(0.0, 1.0);
    t * t * t * (10.0 + t * (6.0 * t - 15.0))
}

/// A smooth minimum: below both by at most half of `blend`.
pub fn soft_min(a: f64, b: f64, blend: f64) -> f64 {
    (a + b - (a - b).hypot(blend)) / 2.0
}

/// A smooth maximum: above both by at most half of `blend`.
pub fn soft_max(a: f64, b: f64, blend: f64) -> f64 {
    -soft_min(-a, -b, blend)
}

/// A value that goes from one to the next on minimum-jerk ways.
#[derive(Clone, Debug, Default)]
pub struct Course(Vec<(f64, f64)>);

impl Course {
    /// Adds a value to be reached at this time, s; times rise.
    pub fn to(&mut self, time: f64, value: f64) {
        self.0.push((time, value));
    }

    /// The value to be reached last.
    pub fn last(&self) -> f64 {
        self.0.last().map_or(0.0, |key| key.1)
    }

    /// The value at a time: before the first and after the last it stays.
    pub fn at(&self, time: f64) -> f64 {
        let next = self.0.partition_point(|key| key.0 <= time);
        match (next.checked_sub(1).and_then(|i| self.0.get(i)), self.0.get(next)) {
            (Some((t0, a)), Some((t1, b))) => a + (b - a) * minimum_jerk((time - t0) / (t1 - t0)),
            (Some(key), None) | (None, Some(key)) => key.1,
            (None, None) => 0.0,
        }
    }
}
