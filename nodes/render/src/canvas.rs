//! Anti-aliased shapes and letters, drawn straight onto the planes of a packed I420 picture.
//!
//! Each shape says how much of a pixel it covers (0..1); the pixel is mixed with the ink by that much. Y is drawn at full,
//! U and V at half resolution. Coordinates are pixels of the picture, pixel (0, 0) reaches from 0 to 1 in both directions.
//! Nothing outside the picture is touched, and a shape with a NaN or an infinite coordinate is not drawn.

use sideline_api::{Color, Matrix};

use crate::text::Glyph;

/// A colour, as the eye names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// A colour as the planes hold it, and how opaque it is (0..1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ink {
    /// Y, U, V.
    pub yuv: [u8; 3],
    /// 0 leaves the picture as it is, 1 hides it.
    pub alpha: f32,
}

impl Ink {
    /// The ink for a colour on pictures of this kind (ITU-R BT.601 and BT.709, section 3: luma coefficients, quantisation).
    pub fn new(Rgb(r, g, b): Rgb, color: Color) -> Self {
        let [r, g, b] = [r, g, b].map(|value| f32::from(value) / 255.0);
        let (kr, kb) = match color.matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
        };
        let y = kr * r + (1.0 - kr - kb) * g + kb * b;
        let (u, v) = ((b - y) / (2.0 - 2.0 * kb), (r - y) / (2.0 - 2.0 * kr));
        let yuv = if color.full_range {
            [y * 255.0, u * 255.0 + 128.0, v * 255.0 + 128.0]
        } else {
            [y * 219.0 + 16.0, u * 224.0 + 128.0, v * 224.0 + 128.0]
        };
        Self { yuv: yuv.map(|value| value.round() as u8), alpha: 1.0 }
    }

    /// The same ink, `alpha` times as opaque.
    pub fn faded(self, alpha: f32) -> Self {
        Self { alpha: self.alpha * alpha, ..self }
    }
}

/// Something that can be filled.
trait Shape: Copy {
    /// Left, top, right, bottom.
    fn bounds(&self) -> [f32; 4];
    /// From and to where the row through `y` (its middle) may be covered; may be generous.
    fn row(&self, y: f32) -> (f32, f32);
    /// How much of the pixel around (x, y) is covered.
    fn coverage(&self, x: f32, y: f32) -> f32;
    /// The shape on the chroma planes: sited as H.264 does by default, left in x, midway in y.
    fn halved(&self) -> Self;
}

/// x of a chroma plane for an x of the picture.
fn half_x(x: f32) -> f32 {
    x * 0.5 + 0.25
}

/// A line with round ends, or a disc where both ends are one.
#[derive(Clone, Copy)]
struct Capsule {
    a: [f32; 2],
    d: [f32; 2],
    /// 1 / length squared, 0 for a disc.
    inverse: f32,
    /// Half the width; at least half a pixel, thinner lines are fainter.
    r: f32,
    strength: f32,
}

impl Capsule {
    fn new(a: [f32; 2], b: [f32; 2], r: f32) -> Self {
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
struct Plate {
    rect: [f32; 4],
    radius: f32,
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

    fn halved(&self) -> Self {
        let [x1, y1, x2, y2] = self.rect;
        Plate { rect: [half_x(x1), y1 * 0.5, half_x(x2), y2 * 0.5], radius: self.radius * 0.5 }
    }
}

/// The planes of one picture.
pub struct Canvas<'a> {
    luma: &'a mut [u8],
    chroma: [&'a mut [u8]; 2],
    size: (usize, usize),
    half: (usize, usize),
}

impl<'a> Canvas<'a> {
    /// A canvas over a packed I420 picture; `None` when the buffer is too short for it.
    pub fn new(i420: &'a mut [u8], width: u32, height: u32) -> Option<Self> {
        let size = (width as usize, height as usize);
        let half = (size.0.div_ceil(2), size.1.div_ceil(2));
        let (luma, rest) = i420.split_at_mut_checked(size.0 * size.1)?;
        let (u, rest) = rest.split_at_mut_checked(half.0 * half.1)?;
        let (v, _) = rest.split_at_mut_checked(half.0 * half.1)?;
        Some(Self { luma, chroma: [u, v], size, half })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (f32, f32) {
        (self.size.0 as f32, self.size.1 as f32)
    }

    /// A line with round ends, `width` pixels wide.
    pub fn line(&mut self, a: [f32; 2], b: [f32; 2], width: f32, ink: Ink) {
        self.fill(Capsule::new(a, b, width * 0.5), ink);
    }

    /// A disc.
    pub fn disc(&mut self, at: [f32; 2], radius: f32, ink: Ink) {
        self.fill(Capsule::new(at, at, radius), ink);
    }

    /// A filled rectangle: left, top, right, bottom.
    pub fn rect(&mut self, rect: [f32; 4], ink: Ink) {
        self.fill(Plate { rect, radius: 0.0 }, ink);
    }

    /// A filled rectangle with round corners.
    pub fn plate(&mut self, rect: [f32; 4], radius: f32, ink: Ink) {
        self.fill(Plate { rect, radius }, ink);
    }

    /// The letter's left edge and base line at whole pixels.
    pub fn glyph(&mut self, glyph: &Glyph, x: i32, baseline: i32, ink: Ink) {
        let (left, top) = (x + glyph.left, baseline - glyph.top);
        let (width, height) = (glyph.width as i32, glyph.height as i32);
        let at = |px: i32, py: i32| -> u32 {
            if px < left || py < top || px >= left + width || py >= top + height {
                return 0;
            }
            u32::from(glyph.coverage[((py - top) * width + px - left) as usize])
        };
        let (w, h) = (self.size.0 as i32, self.size.1 as i32);
        let strength = ink.alpha * 256.0 / 255.0;
        for py in top.max(0)..(top + height).min(h) {
            for px in left.max(0)..(left + width).min(w) {
                mix(&mut self.luma[(py * w + px) as usize], ink.yuv[0], (at(px, py) as f32 * strength) as i32);
            }
        }
        let (cw, ch) = (self.half.0 as i32, self.half.1 as i32);
        for cy in (top >> 1).max(0)..((top + height + 1) >> 1).min(ch) {
            for cx in (left >> 1).max(0)..((left + width + 1) >> 1).min(cw) {
                let (px, py) = (2 * cx, 2 * cy);
                let sum = at(px, py) + at(px + 1, py) + at(px, py + 1) + at(px + 1, py + 1);
                let part = (sum as f32 * strength * 0.25) as i32;
                for (plane, value) in self.chroma.iter_mut().zip(&ink.yuv[1..]) {
                    mix(&mut plane[(cy * cw + cx) as usize], *value, part);
                }
            }
        }
    }

    fn fill(&mut self, shape: impl Shape, ink: Ink) {
        // Beyond this a coordinate is no place in any picture, and f32 no longer tells pixels apart.
        if ink.alpha <= 0.0 || !shape.bounds().iter().all(|edge| edge.abs() < 1e6) {
            return;
        }
        let strength = ink.alpha * 256.0;
        let luma = &mut *self.luma;
        cover(shape, self.size, |i, coverage| mix(&mut luma[i], ink.yuv[0], (coverage * strength) as i32));
        let [u, v] = &mut self.chroma;
        cover(shape.halved(), self.half, |i, coverage| {
            let part = (coverage * strength) as i32;
            mix(&mut u[i], ink.yuv[1], part);
            mix(&mut v[i], ink.yuv[2], part);
        });
    }
}

/// Calls `paint` with the index and the coverage of every pixel of a plane that the shape touches.
fn cover(shape: impl Shape, (width, height): (usize, usize), mut paint: impl FnMut(usize, f32)) {
    let [x1, y1, x2, y2] = shape.bounds();
    // Those whose middle lies between; `as usize` takes what is negative for 0.
    let between = |from: f32, to: f32, size: usize| (from - 0.5).ceil() as usize..((to + 0.5) as usize).min(size);
    for y in between(y1, y2, height) {
        let middle = y as f32 + 0.5;
        let (from, to) = shape.row(middle);
        for x in between(from.max(x1), to.min(x2), width) {
            let coverage = shape.coverage(x as f32 + 0.5, middle);
            if coverage > 0.0 {
                paint(y * width + x, coverage);
            }
        }
    }
}

/// Moves a value towards another by `part` of 256.
fn mix(value: &mut u8, towards: u8, part: i32) {
    let from = i32::from(*value);
    *value = (from + (((i32::from(towards) - from) * part + 128) >> 8)) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: u8 = 100;

    fn white() -> Ink {
        Ink { yuv: [200, 40, 220], alpha: 1.0 }
    }

    fn draw(width: u32, height: u32, draw: impl Fn(&mut Canvas)) -> Vec<u8> {
        let chroma = width.div_ceil(2) * height.div_ceil(2);
        let mut bytes = vec![GREY; (width * height + 2 * chroma) as usize];
        draw(&mut Canvas::new(&mut bytes, width, height).unwrap());
        bytes
    }

    #[test]
    fn a_line_covers_its_pixels_wholly_and_its_border_in_part() {
        // 3 px wide, through the middle of row 4.
        let bytes = draw(16, 8, |canvas| canvas.line([4.0, 4.5], [12.0, 4.5], 3.0, white()));
        let row = |y: usize| bytes[y * 16 + 8];
        assert_eq!([row(2), row(3), row(4), row(5), row(6)], [GREY, 200, 200, 200, GREY]);
        let shifted = draw(16, 8, |canvas| canvas.line([4.0, 4.75], [12.0, 4.75], 3.0, white()));
        assert_eq!([shifted[3 * 16 + 8], shifted[6 * 16 + 8]], [175, 125], "three quarters above, a quarter below");
        // The middle of the line on both chroma planes.
        assert_eq!((bytes[128 + 2 * 8 + 4], bytes[128 + 32 + 2 * 8 + 4]), (40, 220));
    }

    #[test]
    fn a_disc_covers_its_area() {
        let ink = Ink { yuv: [255, 128, 128], alpha: 1.0 };
        let bytes = draw(32, 32, |canvas| canvas.disc([16.3, 15.8], 7.0, ink));
        let covered: f32 = bytes[..1024].iter().map(|y| f32::from(y - GREY) / 155.0).sum();
        assert!((covered - 153.9).abs() < 1.5, "{covered} px, pi r^2 is 153.9");
    }

    #[test]
    fn a_rectangle_has_exact_edges() {
        let bytes = draw(8, 8, |canvas| canvas.rect([2.0, 2.5, 4.0, 6.0], white()));
        assert_eq!(bytes[2 * 8 + 2..2 * 8 + 5], [150, 150, GREY], "half a row");
        assert_eq!(bytes[3 * 8 + 1..3 * 8 + 5], [GREY, 200, 200, GREY]);
    }

    #[test]
    fn nothing_is_drawn_outside_and_nothing_panics() {
        let far = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30, 1e30, -50.0, 500.0, 3.0];
        for x in far {
            for y in far {
                draw(17, 9, |canvas| {
                    canvas.line([x, y], [5.0, 5.0], 4.0, white());
                    canvas.line([5.0, y], [x, 5.0], 4.0, white());
                    canvas.disc([x, y], 3.0, white());
                    canvas.rect([x, y, 8.0, 8.0], white());
                    canvas.rect([1.0, 1.0, x, y], white());
                    canvas.plate([x, 2.0, y, 6.0], 2.0, white());
                });
            }
        }
        let outside = draw(17, 9, |canvas| canvas.rect([-20.0, -20.0, -1.0, 30.0], white()));
        assert!(outside.iter().all(|byte| *byte == GREY));
        let nan = draw(17, 9, |canvas| canvas.line([f32::NAN, 2.0], [9.0, 2.0], 3.0, white()));
        assert!(nan.iter().all(|byte| *byte == GREY));
        let all = draw(17, 9, |canvas| canvas.rect([-20.0, -20.0, 40.0, 40.0], white()));
        assert!(all[..17 * 9].iter().all(|byte| *byte == 200), "clipped, not refused");
    }

    #[test]
    fn inks_are_the_colours_of_the_standard() {
        let hd = Color { matrix: Matrix::Bt709, full_range: false };
        assert_eq!(Ink::new(Rgb(255, 255, 255), hd).yuv, [235, 128, 128]);
        assert_eq!(Ink::new(Rgb(255, 0, 0), hd).yuv, [63, 102, 240]);
        assert_eq!(Ink::new(Rgb(255, 0, 0), Color { matrix: Matrix::Bt601, full_range: false }).yuv, [81, 90, 240]);
        assert_eq!(Ink::new(Rgb(0, 0, 0), Color { full_range: true, ..hd }).yuv, [0, 128, 128]);
    }
}
