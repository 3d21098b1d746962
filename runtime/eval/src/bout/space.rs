//! Vectors and rotations in three dimensions, and smooth trajectories in time.
//!
//! Axes are left, up, forward, as seen by a person: right-handed, since left = up x forward.

/// Point or vector: left, up, forward.
pub type Point = [f64; 3];

/// Returns the sum of two vectors.
pub fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// Returns the vector from `b` to `a`.
pub fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Returns a multiple of a vector.
pub fn mul(a: Point, factor: f64) -> Point {
    a.map(|value| value * factor)
}

/// Returns the scalar product.
pub fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Returns the length of a vector.
pub fn length(a: Point) -> f64 {
    dot(a, a).sqrt()
}

/// Returns the vector product.
pub fn cross(a: Point, b: Point) -> Point {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Scales a vector to length 1; one of nearly zero length stays as it is.
pub fn normalize(a: Point) -> Point {
    mul(a, 1.0 / length(a).max(1e-9))
}

/// Rotates a vector by the minimal rotation from the direction `from` to the direction `to`, both of length 1: the
/// movement of a limb that swings without rotating about its own axis. There is no minimal rotation between opposite
/// directions.
pub fn transport(v: Point, from: Point, to: Point) -> Point {
    let axis = cross(from, to);
    let cosine = dot(from, to);
    add(add(mul(v, cosine), cross(axis, v)), mul(axis, dot(axis, v) / (1.0 + cosine).max(1e-3)))
}

/// Rotation matrix, by rows.
#[derive(Clone, Copy, Debug)]
pub struct Rotation([Point; 3]);

impl Rotation {
    /// Rotation to the left, seen from above; radians.
    pub fn yaw(angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        Self([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    }

    /// Rotation forwards, as in a bow; radians.
    pub fn pitch(angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        Self([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    }

    /// Rotation to the left, as when leaning; radians.
    pub fn roll(angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        Self([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Rotates a vector.
    pub fn rotate(&self, v: Point) -> Point {
        self.0.map(|row| dot(row, v))
    }

    /// Returns the rotation that applies `inner` first, then `self`.
    pub fn compose(&self, inner: &Rotation) -> Rotation {
        let columns = [0, 1, 2].map(|k| self.rotate([inner.0[0][k], inner.0[1][k], inner.0[2][k]]));
        Rotation([0, 1, 2].map(|row| [columns[0][row], columns[1][row], columns[2][row]]))
    }
}

/// Returns the minimum-jerk path from 0 to 1 over a duration of 1, at rest at both ends (Flash and Hogan, J.
/// Neuroscience 5, 1985, equation 3).
pub fn minimum_jerk(time: f64) -> f64 {
    let t = time.clamp(0.0, 1.0);
    t * t * t * (10.0 + t * (6.0 * t - 15.0))
}

/// Returns a smooth minimum: less than both values by at most half of `blend`.
pub fn soft_min(a: f64, b: f64, blend: f64) -> f64 {
    (a + b - (a - b).hypot(blend)) / 2.0
}

/// Returns a smooth maximum: greater than both values by at most half of `blend`.
pub fn soft_max(a: f64, b: f64, blend: f64) -> f64 {
    -soft_min(-a, -b, blend)
}

/// Value over time: minimum-jerk paths between keys.
#[derive(Clone, Debug, Default)]
pub struct Trajectory(Vec<(f64, f64)>);

impl Trajectory {
    /// Adds a key: the value at a time, s. Times must rise.
    pub fn push(&mut self, time: f64, value: f64) {
        self.0.push((time, value));
    }

    /// Returns the value of the last key; 0 without keys.
    pub fn last_value(&self) -> f64 {
        self.0.last().map_or(0.0, |key| key.1)
    }

    /// Returns the value at a time; constant before the first and after the last key.
    pub fn value_at(&self, time: f64) -> f64 {
        let next = self.0.partition_point(|key| key.0 <= time);
        match (next.checked_sub(1).and_then(|i| self.0.get(i)), self.0.get(next)) {
            (Some((t0, a)), Some((t1, b))) => a + (b - a) * minimum_jerk((time - t0) / (t1 - t0)),
            (Some(key), None) | (None, Some(key)) => key.1,
            (None, None) => 0.0,
        }
    }
}
