//! Anti-aliased shapes and letters, drawn straight onto the planes of a packed I420 picture.
//!
//! Each shape says how much of a pixel it covers (0..1); the pixel is mixed with the ink by that much. Y is drawn at full,
//! U and V at half resolution. Coordinates are pixels of the picture, pixel (0, 0) reaches from 0 to 1 in both directions.
//! Nothing outside the picture is touched, and a shape with a NaN or an infinite coordinate is not drawn.

use sideline_api::{Color, Matrix};

use crate::{
    shapes::{Capsule, Plate, Ring, Shape},
    text::Glyph,
};

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

    /// A ring, its line `width` pixels wide around `radius`; with `dashes`, only so many pieces of it, as long as the gaps.
    pub fn ring(&mut self, at: [f32; 2], radius: f32, width: f32, dashes: u32, ink: Ink) {
        self.fill(Ring::new(at, radius, width * 0.5, dashes), ink);
    }

    /// A filled rectangle: left, top, right, bottom.
    pub fn rect(&mut self, rect: [f32; 4], ink: Ink) {
        self.fill(Plate::new(rect, 0.0), ink);
    }

    /// A filled rectangle with round corners.
    pub fn plate(&mut self, rect: [f32; 4], radius: f32, ink: Ink) {
        self.fill(Plate::new(rect, radius), ink);
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
        cover(shape, self.size, [(&mut *self.luma, ink.yuv[0])], strength);
        let [u, v] = &mut self.chroma;
        cover(shape.halved(), self.half, [(&mut **u, ink.yuv[1]), (&mut **v, ink.yuv[2])], strength);
    }
}

/// Mixes every pixel that the shape touches, of planes of one size, with each plane's value; by `strength` of 256 where it is
/// wholly covered.
fn cover<const N: usize>(
    shape: impl Shape,
    (width, height): (usize, usize),
    mut planes: [(&mut [u8], u8); N],
    strength: f32,
) {
    let [x1, y1, x2, y2] = shape.bounds();
    // Those whose middle lies between; `as usize` takes what is negative for 0.
    let between = |from: f32, to: f32, size: usize| (from - 0.5).ceil() as usize..((to + 0.5) as usize).min(size);
    for y in between(y1, y2, height) {
        let middle = y as f32 + 0.5;
        let (from, to) = shape.row(middle);
        let touched = between(from.max(x1), to.min(x2), width);
        // Most of a plate is wholly covered: there is nothing to ask for each pixel.
        let (from, to) = shape.inside(middle);
        let whole = (from - 0.5).ceil() as usize..(((to - 0.5).floor() + 1.0) as usize).min(width);
        let whole = if whole.is_empty() { touched.end..touched.end } else { whole };
        for x in (touched.start..whole.start.min(touched.end)).chain(whole.end..touched.end) {
            let coverage = shape.coverage(x as f32 + 0.5, middle);
            if coverage > 0.0 {
                for (plane, value) in &mut planes {
                    mix(&mut plane[y * width + x], *value, (coverage * strength) as i32);
                }
            }
        }
        // The sum of `mix` in 16 bits, of which a processor does many at a time.
        let part = (strength as u16).min(256);
        for (plane, value) in &mut planes {
            let (keep, add) = (256 - part, u16::from(*value) * part + 128);
            for pixel in &mut plane[y * width + whole.start..y * width + whole.end] {
                *pixel = ((u16::from(*pixel) * keep + add) >> 8) as u8;
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
    fn a_ring_covers_its_area_and_dashes_half_of_it() {
        let ink = Ink { yuv: [255, 128, 128], alpha: 1.0 };
        let covered = |dashes: u32| -> f32 {
            let bytes = draw(64, 64, |canvas| canvas.ring([31.7, 32.2], 20.0, 4.0, dashes, ink));
            assert_eq!(bytes[32 * 64 + 32], GREY, "nothing in the middle");
            bytes[..4096].iter().map(|y| f32::from(y - GREY) / 155.0).sum()
        };
        let (whole, dashed) = (covered(0), covered(6));
        assert!((whole - 502.7).abs() < 4.0, "{whole} px, 2 pi r w is 502.7");
        assert!((dashed - whole / 2.0).abs() < 12.0, "{dashed} of {whole} px");
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
                    canvas.ring([x, y], 5.0, 2.0, 4, white());
                    canvas.ring([4.0, 4.0], x, y, 0, white());
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
