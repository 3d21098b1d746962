//! What a canvas can fill: each shape says how much of a pixel it covers.

/// Something that can be filled.
pub trait Shape: Copy {
    /// Left, top, right, bottom.
    fn bounds(&self) -> [f32; 4];
    /// From and to where the row through `y` (its middle) may be covered; may be generous.
    fn row(&self, y: f32) -> (f32, f32);
    /// How much of the pixel around (x, y) is covered.
    fn coverage(&self, x: f32, y: f32) -> f32;
    /// Between which middles of pixels all of the row through `y` are wholly covered; may be less, or nothing.
    fn inside(&self, _y: f32) -> (f32, f32) {
        (f32::INFINITY, f32::NEG_INFINITY)
    }
    /// The shape on the chroma planes: sited as H.264 does by default, left in x, midway in y.
    fn halved(&self) -> Self;
}

/// x of a chroma plane for an x of the picture.
fn half_x(x: f32) -> f32 {
    x * 0.5 + 0.25
}

/// A line with round ends, or a disc where both ends are one.
#[derive(Clone, Copy)]
pub struct Capsule {
    a: [f32; 2],
    d: [f32; 2],
    /// 1 / length squared, 0 for a disc.
    inverse: f32,
    /// Half the width; at least half a pixel, thinner lines are fainter.
    r: f32,
    strength: f32,
}

impl Capsule {
    /// Between two points, `r` to each side.
    pub fn new(a: [f32; 2], b: [f32; 2], r: f32) -> Self {
        let d = [b[0] - a[0], b[1] - a[1]];
        let length = d[0] * d[0] + d[1] * d[1];
        let inverse = if length > 1e-6 { 1.0 / length } else { 0.0 };
        Self { a, d, inverse, r: r.max(0.5), strength: (2.0 * r).min(1.0) }
    }
}

impl Shape for Capsule {
    fn bounds(&self) -> [f32; 4] {
        let reach = self.r + 0.5;
        let b = [self.a[0] + self.d[0], self.a[1] + self.d[1]];
        [
            self.a[0].min(b[0]) - reach,
            self.a[1].min(b[1]) - reach,
            self.a[0].max(b[0]) + reach,
            self.a[1].max(b[1]) + reach,
        ]
    }

    fn row(&self, y: f32) -> (f32, f32) {
        // The endless band around the line holds the capsule; the bounds cut it at the ends.
        let [dx, dy] = self.d;
        if dy.abs() * self.inverse.sqrt() < 0.02 {
            return (f32::NEG_INFINITY, f32::INFINITY);
        }
        let middle = self.a[0] + (y - self.a[1]) * dx / dy;
        let reach = (self.r + 0.5) * (1.0 + (dx / dy) * (dx / dy)).sqrt();
        (middle - reach, middle + reach)
    }

    fn coverage(&self, x: f32, y: f32) -> f32 {
        let p = [x - self.a[0], y - self.a[1]];
        let t = ((p[0] * self.d[0] + p[1] * self.d[1]) * self.inverse).clamp(0.0, 1.0);
        let (ex, ey) = (p[0] - t * self.d[0], p[1] - t * self.d[1]);
        // Most pixels are wholly inside or outside: the root is for the rim.
        let square = ex * ex + ey * ey;
        let (inner, outer) = (self.r - 0.5, self.r + 0.5);
        if square <= inner * inner {
            return self.strength;
        }
        if square >= outer * outer { 0.0 } else { (outer - square.sqrt()) * self.strength }
    }

    fn halved(&self) -> Self {
        let [ax, ay] = self.a;
        let b = [half_x(ax + self.d[0]), (ay + self.d[1]) * 0.5];
        // A little wider than half, or thin lines would lose their colour to the ground's.
        Capsule::new([half_x(ax), ay * 0.5], b, (self.r * 0.5 + 0.2) * self.strength)
    }
}

/// A rectangle along the axes, its corners rounded by `radius`.
#[derive(Clone, Copy)]
pub struct Plate {
    rect: [f32; 4],
    radius: f32,
}

impl Plate {
    /// Left, top, right, bottom.
    pub fn new(rect: [f32; 4], radius: f32) -> Self {
        Self { rect, radius }
    }
}

impl Shape for Plate {
    fn bounds(&self) -> [f32; 4] {
        let [x1, y1, x2, y2] = self.rect;
        [x1 - 0.5, y1 - 0.5, x2 + 0.5, y2 + 0.5]
    }

    fn row(&self, _: f32) -> (f32, f32) {
        (f32::NEG_INFINITY, f32::INFINITY)
    }

    fn coverage(&self, x: f32, y: f32) -> f32 {
        let [x1, y1, x2, y2] = self.rect;
        if self.radius <= 0.0 {
            let across = ((x + 0.5).min(x2) - (x - 0.5).max(x1)).clamp(0.0, 1.0);
            let down = ((y + 0.5).min(y2) - (y - 0.5).max(y1)).clamp(0.0, 1.0);
            return across * down;
        }
        let dx = (x1 + self.radius - x).max(x - x2 + self.radius).max(0.0);
        let dy = (y1 + self.radius - y).max(y - y2 + self.radius).max(0.0);
        (self.radius + 0.5 - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0)
    }

    fn inside(&self, y: f32) -> (f32, f32) {
        let ([x1, y1, x2, y2], r) = (self.rect, self.radius);
        if y - 0.5 < y1 || y + 0.5 > y2 { (f32::INFINITY, f32::NEG_INFINITY) } else { (x1 + r + 0.5, x2 - r - 0.5) }
    }

    fn halved(&self) -> Self {
        let [x1, y1, x2, y2] = self.rect;
        Plate { rect: [half_x(x1), y1 * 0.5, half_x(x2), y2 * 0.5], radius: self.radius * 0.5 }
    }
}

/// A ring, whole or of dashes.
#[derive(Clone, Copy)]
pub struct Ring {
    at: [f32; 2],
    radius: f32,
    /// Half the width of the line.
    r: f32,
    /// Pieces, with gaps as long between them; 0 for a whole ring.
    dashes: u32,
}

impl Ring {
    /// Around a point, the line `r` to each side of `radius`.
    pub fn new(at: [f32; 2], radius: f32, r: f32, dashes: u32) -> Self {
        Self { at, radius, r: r.max(0.5), dashes }
    }
}

impl Shape for Ring {
    fn bounds(&self) -> [f32; 4] {
        let reach = self.radius + self.r + 0.5;
        [self.at[0] - reach, self.at[1] - reach, self.at[0] + reach, self.at[1] + reach]
    }

    fn row(&self, _: f32) -> (f32, f32) {
        (f32::NEG_INFINITY, f32::INFINITY)
    }

    fn coverage(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.at[0], y - self.at[1]);
        let coverage = (self.r + 0.5 - (dx.hypot(dy) - self.radius).abs()).clamp(0.0, 1.0);
        if coverage > 0.0 && self.dashes > 0 {
            let turn = dy.atan2(dx) / std::f32::consts::TAU + 1.0;
            return if (turn * self.dashes as f32).fract() < 0.5 { coverage } else { 0.0 };
        }
        coverage
    }

    fn halved(&self) -> Self {
        let [x, y] = self.at;
        Ring { at: [half_x(x), y * 0.5], radius: self.radius * 0.5, r: self.r * 0.5 + 0.2, dashes: self.dashes }
    }
}
