//! Homography of the ground plane: pixels to meters.

/// A point, pixels or meters.
pub type Point = [f64; 2];

/// A homography between two planes: a 3 x 3 matrix, row-major.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Homography([f64; 9]);

impl Homography {
    /// Fits a homography to pairs of source and target points by the normalized direct linear transform (Hartley and
    /// Zisserman, "Multiple View Geometry", 2nd edition, algorithm 4.2).
    ///
    /// `None` with fewer than four points, or where the points do not determine it: too many of them lie on one line.
    pub fn fit(pairs: &[(Point, Point)]) -> Option<Self> {
        if pairs.len() < 4 {
            return None;
        }
        let (from, to) = (normalizer(pairs.iter().map(|pair| pair.0))?, normalizer(pairs.iter().map(|pair| pair.1))?);
        // Sum of the outer products of the equations' rows: the eigenvector of its smallest eigenvalue is the solution.
        let mut sum = [[0.0; 9]; 9];
        for (a, b) in pairs {
            let ([x, y], [u, v]) = (from.apply(*a)?, to.apply(*b)?);
            let rows = [[0.0, 0.0, 0.0, -x, -y, -1.0, v * x, v * y, v], [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, -u]];
            for row in rows {
                for i in 0..9 {
                    for j in 0..9 {
                        sum[i][j] += row[i] * row[j];
                    }
                }
            }
        }
        let (values, vectors) = eigen(sum);
        let mut order: Vec<usize> = (0..9).collect();
        order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
        // A second eigenvalue of zero: the solution is not unique.
        if values[order[1]] < 1e-9 * values[order[8]] {
            return None;
        }
        let solution = Homography(std::array::from_fn(|i| vectors[i][order[0]]));
        Some(to.inverse()?.compose(&solution).compose(&from))
    }

    /// Maps a point; `None` on the horizon.
    pub fn apply(&self, [x, y]: Point) -> Option<Point> {
        let h = &self.0;
        let w = self.depth([x, y]);
        let at = [(h[0] * x + h[1] * y + h[2]) / w, (h[3] * x + h[4] * y + h[5]) / w];
        at.iter().all(|value| value.is_finite()).then_some(at)
    }

    /// Returns the third homogeneous coordinate of a mapped point: its sign separates the two sides of the horizon.
    pub fn depth(&self, [x, y]: Point) -> f64 {
        self.0[6] * x + self.0[7] * y + self.0[8]
    }

    /// Returns the sign of the orientation at a point: above 0 where the image is not mirrored.
    pub fn orientation(&self, at: Point) -> f64 {
        let h = &self.0;
        let determinant = h[0] * (h[4] * h[8] - h[5] * h[7]) - h[1] * (h[3] * h[8] - h[5] * h[6])
            + h[2] * (h[3] * h[7] - h[4] * h[6]);
        // The determinant of the Jacobian is `determinant` over the cube of the depth, so it has the sign of this
        // product.
        determinant * self.depth(at)
    }

    /// Returns the homography for source points whose coordinates are multiplied first: those of a frame of another
    /// size.
    pub fn with_scaled_input(&self, [x, y]: Point) -> Self {
        self.compose(&Homography([x, 0.0, 0.0, 0.0, y, 0.0, 0.0, 0.0, 1.0]))
    }

    /// Returns the inverse; `None` where it is singular.
    pub fn inverse(&self) -> Option<Self> {
        let h = &self.0;
        let minor = |a: usize, b: usize, c: usize, d: usize| h[a] * h[d] - h[b] * h[c];
        let adjugate = [
            minor(4, 5, 7, 8),
            -minor(1, 2, 7, 8),
            minor(1, 2, 4, 5),
            -minor(3, 5, 6, 8),
            minor(0, 2, 6, 8),
            -minor(0, 2, 3, 5),
            minor(3, 4, 6, 7),
            -minor(0, 1, 6, 7),
            minor(0, 1, 3, 4),
        ];
        let determinant = h[0] * adjugate[0] + h[1] * adjugate[3] + h[2] * adjugate[6];
        (determinant.abs() > 1e-300).then(|| Homography(adjugate.map(|value| value / determinant)))
    }

    /// Composes two homographies: `first`, then this one.
    fn compose(&self, first: &Self) -> Self {
        Homography(std::array::from_fn(|i| {
            let (row, column) = (i / 3 * 3, i % 3);
            (0..3).map(|k| self.0[row + k] * first.0[3 * k + column]).sum()
        }))
    }
}

/// Returns the transform that moves points to the origin and scales them to a mean distance of the square root of two;
/// `None` where all points coincide.
fn normalizer(points: impl Iterator<Item = Point> + Clone) -> Option<Homography> {
    let n = points.clone().count() as f64;
    let [sx, sy] = points.clone().fold([0.0; 2], |sum, p| [sum[0] + p[0], sum[1] + p[1]]);
    let (cx, cy) = (sx / n, sy / n);
    let mean = points.map(|p| (p[0] - cx).hypot(p[1] - cy)).sum::<f64>() / n;
    let scale = 2f64.sqrt() / mean;
    scale.is_finite().then_some(Homography([scale, 0.0, -scale * cx, 0.0, scale, -scale * cy, 0.0, 0.0, 1.0]))
}

/// Returns eigenvalues and, in columns, eigenvectors of a symmetric matrix, by Jacobi rotations (Golub and Van Loan,
/// "Matrix Computations", section 8.5).
fn eigen<const N: usize>(mut a: [[f64; N]; N]) -> ([f64; N], [[f64; N]; N]) {
    let mut vectors = [[0.0; N]; N];
    (0..N).for_each(|i| vectors[i][i] = 1.0);
    // Quadratic convergence: a few sweeps suffice for N = 9.
    for _ in 0..30 {
        for p in 0..N {
            for q in p + 1..N {
                if a[p][q].abs() < 1e-300 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                let [row_p, row_q] = [a[p], a[q]];
                for (k, (pk, qk)) in row_p.into_iter().zip(row_q).enumerate() {
                    (a[p][k], a[q][k]) = (c * pk - s * qk, s * pk + c * qk);
                }
                for row in a.iter_mut().chain(&mut vectors) {
                    let (kp, kq) = (row[p], row[q]);
                    (row[p], row[q]) = (c * kp - s * kq, s * kp + c * kq);
                }
            }
        }
    }
    (std::array::from_fn(|i| a[i][i]), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A camera beside the pitch: distant objects are small and high in the frame.
    fn camera(at: Point) -> Point {
        let h = Homography([20.0, -8.0, 300.0, 0.5, -2.0, 900.0, 0.0005, -0.012, 1.6]);
        h.apply(at).unwrap()
    }

    const CORNERS: [Point; 4] = [[0.0, 0.0], [105.0, 0.0], [105.0, 68.0], [0.0, 68.0]];

    #[test]
    fn four_points_recover_the_camera() {
        let pairs: Vec<(Point, Point)> = CORNERS.iter().map(|at| (camera(*at), *at)).collect();
        let found = Homography::fit(&pairs).unwrap();
        for at in [[52.5, 34.0], [11.0, 34.0], [88.5, 13.85]] {
            let [x, y] = found.apply(camera(at)).unwrap();
            assert!((x - at[0]).hypot(y - at[1]) < 1e-6, "{at:?} maps to {x}, {y}");
            let [u, v] = found.inverse().unwrap().apply(at).unwrap();
            let [cu, cv] = camera(at);
            assert!((u - cu).hypot(v - cv) < 1e-6);
        }
    }

    #[test]
    fn many_noisy_points_average_out_the_noise() {
        // Deterministic noise of half a pixel.
        let pairs: Vec<(Point, Point)> = (0..48)
            .map(|i| {
                let at = [f64::from(i % 8) * 15.0, f64::from(i / 8) * 13.0];
                let [u, v] = camera(at);
                let off = |k: i32| if (i * k) % 3 == 0 { 0.5 } else { -0.25 };
                ([u + off(7), v + off(5)], at)
            })
            .collect();
        let found = Homography::fit(&pairs).unwrap();
        let [x, y] = found.apply(camera([52.5, 34.0])).unwrap();
        assert!((x - 52.5).hypot(y - 34.0) < 0.05, "{x}, {y}");
    }

    #[test]
    fn points_that_do_not_determine_a_homography_are_refused() {
        let line: Vec<(Point, Point)> =
            (0..6).map(|i| (camera([f64::from(i) * 10.0, 5.0]), [f64::from(i) * 10.0, 5.0])).collect();
        assert_eq!(Homography::fit(&line), None, "all on one line");
        let mut three = line[..3].to_vec();
        three.push((camera([20.0, 40.0]), [20.0, 40.0]));
        assert_eq!(Homography::fit(&three), None, "three of four on one line");
        assert_eq!(Homography::fit(&three[..3]), None, "three points");
        assert_eq!(Homography::fit(&[line[0]; 4]), None, "one point repeated four times");
    }

    #[test]
    fn a_mirrored_image_has_the_opposite_orientation() {
        let pairs: Vec<(Point, Point)> = CORNERS.iter().map(|at| (camera(*at), *at)).collect();
        let mirrored: Vec<(Point, Point)> = pairs.iter().map(|(a, b)| (*a, [b[0], 68.0 - b[1]])).collect();
        let (upright, flipped) = (Homography::fit(&pairs).unwrap(), Homography::fit(&mirrored).unwrap());
        let at = camera([52.5, 34.0]);
        assert!(upright.orientation(at) * flipped.orientation(at) < 0.0);
    }
}
