//! Canvas: draws anti-aliased shapes and glyphs directly onto the planes of a packed I420 image.
//!
//! A pixel is blended with the ink by the coverage of the shape (0..1). Y is drawn at full, U and V at half resolution.
//! Coordinates are pixels of the image; pixel (0, 0) extends from 0 to 1 in both directions. Shapes are clipped at the edge of
//! the image, and a shape with a NaN or infinite coordinate is not drawn.

use sideline_api::{Color, Matrix};

use crate::{
    shapes::{Capsule, Ring, RoundedRect, Shape},
    text::Glyph,
};

/// sRGB color.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// Color in the representation of the planes, with an opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ink {
    /// Y, U, V.
    pub yuv: [u8; 3],
    /// Opacity, 0..1.
    pub alpha: f32,
}

impl Ink {
    /// Converts an sRGB color to an opaque ink (ITU-R BT.601 and BT.709, section 3: luma coefficients, quantization).
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

    /// Multiplies the opacity by `alpha`.
    pub fn faded(self, alpha: f32) -> Self {
        Self { alpha: self.alpha * alpha, ..self }
    }
}

/// Drawing surface over the planes of one image.
pub struct Canvas<'a> {
    luma: &'a mut [u8],
    chroma: [&'a mut [u8]; 2],
    size: (usize, usize),
    chroma_size: (usize, usize),
}

impl<'a> Canvas<'a> {
    /// Creates a canvas over a packed I420 image; `None` if the buffer is too short.
    pub fn new(i420: &'a mut [u8], width: u32, height: u32) -> Option<Self> {
        let size = (width as usize, height as usize);
        let chroma_size = (size.0.div_ceil(2), size.1.div_ceil(2));
        let (luma, rest) = i420.split_at_mut_checked(size.0 * size.1)?;
        let (u, rest) = rest.split_at_mut_checked(chroma_size.0 * chroma_size.1)?;
        let (v, _) = rest.split_at_mut_checked(chroma_size.0 * chroma_size.1)?;
        Some(Self { luma, chroma: [u, v], size, chroma_size })
    }

    /// Returns width and height in pixels.
    pub fn size(&self) -> (f32, f32) {
        (self.size.0 as f32, self.size.1 as f32)
    }

    /// Draws a line with round ends.
    pub fn line(&mut self, a: [f32; 2], b: [f32; 2], width: f32, ink: Ink) {
        self.fill(Capsule::new(a, b, width * 0.5), ink);
    }

    /// Draws a disc.
    pub fn disc(&mut self, center: [f32; 2], radius: f32, ink: Ink) {
        self.fill(Capsule::new(center, center, radius), ink);
    }

    /// Draws a ring with a line of `width` pixels, solid if `dashes` is 0, else with so many dashes and gaps of the same
    /// length.
    pub fn ring(&mut self, center: [f32; 2], radius: f32, width: f32, dashes: u32, ink: Ink) {
        self.fill(Ring::new(center, radius, width * 0.5, dashes), ink);
    }

    /// Draws a filled rectangle: left, top, right, bottom.
    pub fn rect(&mut self, rect: [f32; 4], ink: Ink) {
        self.fill(RoundedRect::new(rect, 0.0), ink);
    }

    /// Draws a filled rectangle with rounded corners.
    pub fn rounded_rect(&mut self, rect: [f32; 4], radius: f32, ink: Ink) {
        self.fill(RoundedRect::new(rect, radius), ink);
    }

    /// Draws a glyph with its pen position and baseline at whole pixels.
    pub fn glyph(&mut self, glyph: &Glyph, x: i32, baseline: i32, ink: Ink) {
        let (left, top) = (x + glyph.left, baseline - glyph.top);
        let (width, height) = (glyph.width as i32, glyph.height as i32);
        let coverage = |px: i32, py: i32| -> u32 {
            if px < left || py < top || px >= left + width || py >= top + height {
                return 0;
            }
            u32::from(glyph.coverage[((py - top) * width + px - left) as usize])
        };
        let (w, h) = (self.size.0 as i32, self.size.1 as i32);
        let strength = ink.alpha * 256.0 / 255.0;
        for py in top.max(0)..(top + height).min(h) {
            for px in left.max(0)..(left + width).min(w) {
                blend(&mut self.luma[(py * w + px) as usize], ink.yuv[0], (coverage(px, py) as f32 * strength) as i32);
            }
        }
        let (cw, ch) = (self.chroma_size.0 as i32, self.chroma_size.1 as i32);
        for cy in (top >> 1).max(0)..((top + height + 1) >> 1).min(ch) {
            for cx in (left >> 1).max(0)..((left + width + 1) >> 1).min(cw) {
                let (px, py) = (2 * cx, 2 * cy);
                let sum = coverage(px, py) + coverage(px + 1, py) + coverage(px, py + 1) + coverage(px + 1, py + 1);
                let weight = (sum as f32 * strength * 0.25) as i32;
                for (plane, value) in self.chroma.iter_mut().zip(&ink.yuv[1..]) {
                    blend(&mut plane[(cy * cw + cx) as usize], *value, weight);
                }
            }
        }
    }

    fn fill(&mut self, shape: impl Shape, ink: Ink) {
        // Coordinates beyond 1e6 are outside of any image, and f32 no longer resolves single pixels there.
        if ink.alpha <= 0.0 || !shape.bounds().iter().all(|edge| edge.abs() < 1e6) {
            return;
        }
        let strength = ink.alpha * 256.0;
        fill_planes(shape, self.size, [(&mut *self.luma, ink.yuv[0])], strength);
        let [u, v] = &mut self.chroma;
        fill_planes(shape.to_chroma(), self.chroma_size, [(&mut **u, ink.yuv[1]), (&mut **v, ink.yuv[2])], strength);
    }
}

/// Blends the pixels that a shape covers, in planes of one size, with a value per plane. The weight of a completely covered
/// pixel is `strength` / 256.
fn fill_planes<const N: usize>(
    shape: impl Shape,
    (width, height): (usize, usize),
    mut planes: [(&mut [u8], u8); N],
    strength: f32,
) {
    let [x1, y1, x2, y2] = shape.bounds();
    // Pixels whose center is within the range; `as usize` saturates negative numbers to 0.
    let between = |from: f32, to: f32, size: usize| (from - 0.5).ceil() as usize..((to + 0.5) as usize).min(size);
    for y in between(y1, y2, height) {
        let center = y as f32 + 0.5;
        let (from, to) = shape.row_range(center);
        let touched = between(from.max(x1), to.min(x2), width);
        // Most pixels of a rectangle are completely covered; their coverage need not be computed.
        let (from, to) = shape.full_range(center);
        let full = (from - 0.5).ceil() as usize..(((to - 0.5).floor() + 1.0) as usize).min(width);
        let full = if full.is_empty() { touched.end..touched.end } else { full };
        for x in (touched.start..full.start.min(touched.end)).chain(full.end..touched.end) {
            let coverage = shape.coverage(x as f32 + 0.5, center);
            if coverage > 0.0 {
                for (plane, value) in &mut planes {
                    blend(&mut plane[y * width + x], *value, (coverage * strength) as i32);
                }
            }
        }
        // Like `blend`, but in 16-bit arithmetic, which the compiler vectorizes.
        let weight = (strength as u16).min(256);
        for (plane, value) in &mut planes {
            let (keep, add) = (256 - weight, u16::from(*value) * weight + 128);
            for pixel in &mut plane[y * width + full.start..y * width + full.end] {
                *pixel = ((u16::from(*pixel) * keep + add) >> 8) as u8;
            }
        }
    }
}

/// Blends a value with another one of weight `weight` / 256.
fn blend(value: &mut u8, other: u8, weight: i32) {
    let from = i32::from(*value);
    *value = (from + (((i32::from(other) - from) * weight + 128) >> 8)) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAY: u8 = 100;

    fn ink() -> Ink {
        Ink { yuv: [200, 40, 220], alpha: 1.0 }
    }

    fn draw(width: u32, height: u32, draw: impl Fn(&mut Canvas)) -> Vec<u8> {
        let chroma = width.div_ceil(2) * height.div_ceil(2);
        let mut bytes = vec![GRAY; (width * height + 2 * chroma) as usize];
        draw(&mut Canvas::new(&mut bytes, width, height).unwrap());
        bytes
    }

    #[test]
    fn the_coverage_of_a_line_is_exact_at_its_border() {
        // 3 px wide, through the center of row 4.
        let bytes = draw(16, 8, |canvas| canvas.line([4.0, 4.5], [12.0, 4.5], 3.0, ink()));
        let row = |y: usize| bytes[y * 16 + 8];
        assert_eq!([row(2), row(3), row(4), row(5), row(6)], [GRAY, 200, 200, 200, GRAY]);
        let shifted = draw(16, 8, |canvas| canvas.line([4.0, 4.75], [12.0, 4.75], 3.0, ink()));
        assert_eq!([shifted[3 * 16 + 8], shifted[6 * 16 + 8]], [175, 125], "three quarters above, a quarter below");
        // Center of the line on both chroma planes.
        assert_eq!((bytes[128 + 2 * 8 + 4], bytes[128 + 32 + 2 * 8 + 4]), (40, 220));
    }

    #[test]
    fn the_coverage_of_a_disc_sums_to_its_area() {
        let ink = Ink { yuv: [255, 128, 128], alpha: 1.0 };
        let bytes = draw(32, 32, |canvas| canvas.disc([16.3, 15.8], 7.0, ink));
        let covered: f32 = bytes[..1024].iter().map(|y| f32::from(y - GRAY) / 155.0).sum();
        assert!((covered - 153.9).abs() < 1.5, "{covered} px, pi r^2 is 153.9");
    }

    #[test]
    fn the_coverage_of_a_ring_sums_to_its_area_and_dashes_cover_half_of_it() {
        let ink = Ink { yuv: [255, 128, 128], alpha: 1.0 };
        let covered = |dashes: u32| -> f32 {
            let bytes = draw(64, 64, |canvas| canvas.ring([31.7, 32.2], 20.0, 4.0, dashes, ink));
            assert_eq!(bytes[32 * 64 + 32], GRAY, "the center is empty");
            bytes[..4096].iter().map(|y| f32::from(y - GRAY) / 155.0).sum()
        };
        let (solid, dashed) = (covered(0), covered(6));
        assert!((solid - 502.7).abs() < 4.0, "{solid} px, 2 pi r w is 502.7");
        assert!((dashed - solid / 2.0).abs() < 12.0, "{dashed} of {solid} px");
    }

    #[test]
    fn a_rectangle_has_exact_edges() {
        let bytes = draw(8, 8, |canvas| canvas.rect([2.0, 2.5, 4.0, 6.0], ink()));
        assert_eq!(bytes[2 * 8 + 2..2 * 8 + 5], [150, 150, GRAY], "half a row");
        assert_eq!(bytes[3 * 8 + 1..3 * 8 + 5], [GRAY, 200, 200, GRAY]);
    }

    #[test]
    fn shapes_are_clipped_and_invalid_coordinates_do_not_panic() {
        let far = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30, 1e30, -50.0, 500.0, 3.0];
        for x in far {
            for y in far {
                draw(17, 9, |canvas| {
                    canvas.line([x, y], [5.0, 5.0], 4.0, ink());
                    canvas.line([5.0, y], [x, 5.0], 4.0, ink());
                    canvas.disc([x, y], 3.0, ink());
                    canvas.ring([x, y], 5.0, 2.0, 4, ink());
                    canvas.ring([4.0, 4.0], x, y, 0, ink());
                    canvas.rect([x, y, 8.0, 8.0], ink());
                    canvas.rect([1.0, 1.0, x, y], ink());
                    canvas.rounded_rect([x, 2.0, y, 6.0], 2.0, ink());
                });
            }
        }
        let outside = draw(17, 9, |canvas| canvas.rect([-20.0, -20.0, -1.0, 30.0], ink()));
        assert!(outside.iter().all(|byte| *byte == GRAY));
        let nan = draw(17, 9, |canvas| canvas.line([f32::NAN, 2.0], [9.0, 2.0], 3.0, ink()));
        assert!(nan.iter().all(|byte| *byte == GRAY));
        let all = draw(17, 9, |canvas| canvas.rect([-20.0, -20.0, 40.0, 40.0], ink()));
        assert!(all[..17 * 9].iter().all(|byte| *byte == 200), "clipped, not refused");
    }

    #[test]
    fn inks_have_the_values_of_the_standards() {
        let hd = Color { matrix: Matrix::Bt709, full_range: false };
        assert_eq!(Ink::new(Rgb(255, 255, 255), hd).yuv, [235, 128, 128]);
        assert_eq!(Ink::new(Rgb(255, 0, 0), hd).yuv, [63, 102, 240]);
        assert_eq!(Ink::new(Rgb(255, 0, 0), Color { matrix: Matrix::Bt601, full_range: false }).yuv, [81, 90, 240]);
        assert_eq!(Ink::new(Rgb(0, 0, 0), Color { full_range: true, ..hd }).yuv, [0, 128, 128]);
    }
}
