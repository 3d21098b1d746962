//! Shapes that a canvas can fill. Each shape computes its coverage of a pixel.

/// Shape that can be filled.
pub trait Shape: Copy {
    /// Returns the bounding box: left, top, right, bottom.
    fn bounds(&self) -> [f32; 4];
    /// Returns the range of x that the shape may cover in the row with center `y`; may be larger than necessary.
    fn row_range(&self, y: f32) -> (f32, f32);
    /// Returns the coverage (0..1) of the pixel with center (x, y).
    fn coverage(&self, x: f32, y: f32) -> f32;
    /// Returns the range of x within which all pixels of the row with center `y` are completely covered; may be smaller
    /// than possible, or empty.
    fn full_range(&self, _y: f32) -> (f32, f32) {
        (f32::INFINITY, f32::NEG_INFINITY)
    }
    /// Returns the shape on the chroma planes with H.264's default chroma siting: left in x, centered in y.
    fn to_chroma(&self) -> Self;
}

/// Maps an x coordinate of the image to the chroma planes.
fn chroma_x(x: f32) -> f32 {
    x * 0.5 + 0.25
}

/// Line with round ends, or a disc if both ends coincide.
#[derive(Clone, Copy)]
pub struct Capsule {
    a: [f32; 2],
    d: [f32; 2],
    /// 1 / length squared; 0 for a disc.
    inverse: f32,
    /// Half the width, at least half a pixel.
    r: f32,
    /// Maximum coverage, below 1 for lines thinner than a pixel.
    strength: f32,
}

impl Capsule {
    /// Creates a capsule between two points with radius `r`.
    pub fn new(a: [f32; 2], b: [f32; 2], r: f32) -> Self {
        let d = [b[0] - a[0], b[1] - a[1]];
        let length = d[0] * d[0] + d[1] * d[1];
        let inverse = if length > 1e-6 { 1.0 / length } else { 0.0 };
        Self { a, d, inverse, r: r.max(0.5), strength: (2.0 * r).min(1.0) }
    }
}

impl Shape for Capsule {
    fn bounds(&self) -> [f32; 4] {
        let margin = self.r + 0.5;
        let b = [self.a[0] + self.d[0], self.a[1] + self.d[1]];
        [
            self.a[0].min(b[0]) - margin,
            self.a[1].min(b[1]) - margin,
            self.a[0].max(b[0]) + margin,
            self.a[1].max(b[1]) + margin,
        ]
    }

    fn row_range(&self, y: f32) -> (f32, f32) {
        // The range of the infinite strip around the line, which contains the capsule. The bounds limit it at the ends.
        let [dx, dy] = self.d;
        if dy.abs() * self.inverse.sqrt() < 0.02 {
            return (f32::NEG_INFINITY, f32::INFINITY);
        }
        let center = self.a[0] + (y - self.a[1]) * dx / dy;
        let margin = (self.r + 0.5) * (1.0 + (dx / dy) * (dx / dy)).sqrt();
        (center - margin, center + margin)
    }

    fn coverage(&self, x: f32, y: f32) -> f32 {
        let p = [x - self.a[0], y - self.a[1]];
        let t = ((p[0] * self.d[0] + p[1] * self.d[1]) * self.inverse).clamp(0.0, 1.0);
        let (ex, ey) = (p[0] - t * self.d[0], p[1] - t * self.d[1]);
        // Most pixels are completely inside or outside; the square root is only needed at the edge.
        let square = ex * ex + ey * ey;
        let (inner, outer) = (self.r - 0.5, self.r + 0.5);
        if square <= inner * inner {
            return self.strength;
        }
        if square >= outer * outer { 0.0 } else { (outer - square.sqrt()) * self.strength }
    }

    fn to_chroma(&self) -> Self {
        let [ax, ay] = self.a;
        let b = [chroma_x(ax + self.d[0]), (ay + self.d[1]) * 0.5];
        // Slightly wider than half, because thin lines would otherwise take on the color of the background.
        Capsule::new([chroma_x(ax), ay * 0.5], b, (self.r * 0.5 + 0.2) * self.strength)
    }
}

/// Axis-aligned rectangle with corners of a radius.
#[derive(Clone, Copy)]
pub struct RoundedRect {
    rect: [f32; 4],
    radius: f32,
}

impl RoundedRect {
    /// Creates a rectangle from left, top, right, bottom.
    pub fn new(rect: [f32; 4], radius: f32) -> Self {
        Self { rect, radius }
    }
}

impl Shape for RoundedRect {
    fn bounds(&self) -> [f32; 4] {
        let [x1, y1, x2, y2] = self.rect;
        [x1 - 0.5, y1 - 0.5, x2 + 0.5, y2 + 0.5]
    }

    fn row_range(&self, _: f32) -> (f32, f32) {
        (f32::NEG_INFINITY, f32::INFINITY)
    }

    fn coverage(&self, x: f32, y: f32) -> f32 {
        let [x1, y1, x2, y2] = self.rect;
        if self.radius <= 0.0 {
            let width = ((x + 0.5).min(x2) - (x - 0.5).max(x1)).clamp(0.0, 1.0);
            let height = ((y + 0.5).min(y2) - (y - 0.5).max(y1)).clamp(0.0, 1.0);
            return width * height;
        }
        let dx = (x1 + self.radius - x).max(x - x2 + self.radius).max(0.0);
        let dy = (y1 + self.radius - y).max(y - y2 + self.radius).max(0.0);
        (self.radius + 0.5 - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0)
    }

    fn full_range(&self, y: f32) -> (f32, f32) {
        let ([x1, y1, x2, y2], r) = (self.rect, self.radius);
        if y - 0.5 < y1 || y + 0.5 > y2 { (f32::INFINITY, f32::NEG_INFINITY) } else { (x1 + r + 0.5, x2 - r - 0.5) }
    }

    fn to_chroma(&self) -> Self {
        let [x1, y1, x2, y2] = self.rect;
        RoundedRect { rect: [chroma_x(x1), y1 * 0.5, chroma_x(x2), y2 * 0.5], radius: self.radius * 0.5 }
    }
}

/// Ring with a solid or dashed line.
#[derive(Clone, Copy)]
pub struct Ring {
    center: [f32; 2],
    radius: f32,
    /// Half the width of the line.
    r: f32,
    /// Number of dashes, with gaps of the same length; 0 for a solid line.
    dashes: u32,
}

impl Ring {
    /// Creates a ring around a point, with a line that extends `r` to each side of `radius`.
    pub fn new(center: [f32; 2], radius: f32, r: f32, dashes: u32) -> Self {
        Self { center, radius, r: r.max(0.5), dashes }
    }
}

impl Shape for Ring {
    fn bounds(&self) -> [f32; 4] {
        let margin = self.radius + self.r + 0.5;
        [self.center[0] - margin, self.center[1] - margin, self.center[0] + margin, self.center[1] + margin]
    }

    fn row_range(&self, _: f32) -> (f32, f32) {
        (f32::NEG_INFINITY, f32::INFINITY)
    }

    fn coverage(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.center[0], y - self.center[1]);
        let coverage = (self.r + 0.5 - (dx.hypot(dy) - self.radius).abs()).clamp(0.0, 1.0);
        if coverage > 0.0 && self.dashes > 0 {
            let turn = dy.atan2(dx) / std::f32::consts::TAU + 1.0;
            return if (turn * self.dashes as f32).fract() < 0.5 { coverage } else { 0.0 };
        }
        coverage
    }

    fn to_chroma(&self) -> Self {
        let [x, y] = self.center;
        Ring { center: [chroma_x(x), y * 0.5], radius: self.radius * 0.5, r: self.r * 0.5 + 0.2, dashes: self.dashes }
    }
}
