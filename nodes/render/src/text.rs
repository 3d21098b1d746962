//! Text rendering: glyphs of DejaVu Sans Condensed Bold, rasterized once per size and cached.

use std::collections::HashMap;

use fontdue::{Font, FontSettings};
use sideline_api::{Failure, OrFail, Result};

use crate::canvas::{Canvas, Ink};

/// Font with Latin, Greek and Cyrillic letters; `font/LICENSE` is its license.
const FONT: &[u8] = include_bytes!("../font/DejaVuSansCondensed-Bold.ttf");

/// Rasterized glyph.
pub struct Glyph {
    /// Distance from the pen position to the left edge, px.
    pub left: i32,
    /// Distance from the baseline up to the first row, px.
    pub top: i32,
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Coverage of the pixels, row by row; 255 is complete.
    pub coverage: Vec<u8>,
    /// Distance to the next pen position, px.
    advance: f32,
}

/// Text renderer with a glyph cache, for whole-pixel font sizes.
pub struct TextRenderer {
    font: Font,
    glyphs: HashMap<(char, u16), Glyph>,
}

impl TextRenderer {
    /// Parses the font.
    ///
    /// # Errors
    /// When the compiled-in font is invalid.
    pub fn new() -> Result<Self> {
        let font = Font::from_bytes(FONT, FontSettings::default()).or_fail(Failure::Other, || "the font")?;
        Ok(Self { font, glyphs: HashMap::new() })
    }

    /// Returns the height of a capital letter, px.
    pub fn cap_height(size: u16) -> f32 {
        // The cap height of DejaVu Sans is 1493 of 2048 units per em.
        f32::from(size) * 0.729
    }

    fn glyph(&mut self, letter: char, size: u16) -> &Glyph {
        let font = &self.font;
        self.glyphs.entry((letter, size)).or_insert_with(|| {
            let (metrics, coverage) = font.rasterize(letter, f32::from(size));
            Glyph {
                left: metrics.xmin,
                top: metrics.ymin + metrics.height as i32,
                width: metrics.width,
                height: metrics.height,
                coverage,
                advance: metrics.advance_width,
            }
        })
    }

    /// Returns the width of a line of text, px.
    pub fn width(&mut self, text: &str, size: u16) -> f32 {
        text.chars().map(|letter| self.glyph(letter, size).advance).sum()
    }

    /// Draws a line of text from `x`, with its letters on `baseline`.
    pub fn draw(&mut self, canvas: &mut Canvas, x: f32, baseline: f32, text: &str, size: u16, ink: Ink) {
        // Coordinates beyond 1e6 are outside of any image, and could overflow an i32.
        if !(x.abs() < 1e6 && baseline.abs() < 1e6) {
            return;
        }
        let mut pen = x;
        for letter in text.chars() {
            let glyph = self.glyph(letter, size);
            canvas.glyph(glyph, pen.round() as i32, baseline.round() as i32, ink);
            pen += glyph.advance;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_drawn_on_the_baseline_with_the_measured_width() {
        let mut text = TextRenderer::new().unwrap();
        let mut bytes = vec![0; 100 * 40 * 3 / 2];
        let mut canvas = Canvas::new(&mut bytes, 100, 40).unwrap();
        text.draw(&mut canvas, 10.0, 30.0, "HHH", 20, Ink { yuv: [255, 128, 128], alpha: 1.0 });
        let lit: Vec<(usize, usize)> = (0..4000).filter(|i| bytes[*i] > 128).map(|i| (i % 100, i / 100)).collect();
        let top = lit.iter().map(|p| p.1).min().unwrap() as f32;
        let bottom = lit.iter().map(|p| p.1).max().unwrap();
        assert_eq!(bottom, 29, "the last row above the baseline");
        assert!((30.0 - top - TextRenderer::cap_height(20)).abs() <= 1.0, "capital height from {top}");
        let right = lit.iter().map(|p| p.0).max().unwrap() as f32;
        assert!(right < 10.0 + text.width("HHH", 20) && right > 10.0 + 0.9 * text.width("HHH", 20));
    }

    #[test]
    fn digits_have_the_same_width_so_that_counters_do_not_jitter() {
        let mut text = TextRenderer::new().unwrap();
        let widths: Vec<f32> = "0123456789".chars().map(|digit| text.width(&digit.to_string(), 17)).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
    }

    #[test]
    fn text_is_clipped_at_the_edge_of_the_image() {
        let mut text = TextRenderer::new().unwrap();
        let mut bytes = vec![7; 20 * 10 * 3 / 2];
        let ink = Ink { yuv: [255; 3], alpha: 1.0 };
        for (x, y) in [(-500.0, 5.0), (5.0, -90.0), (f32::NAN, 0.0), (0.0, f32::INFINITY), (400.0, 400.0)] {
            text.draw(&mut Canvas::new(&mut bytes, 20, 10).unwrap(), x, y, "Ağ", 14, ink);
        }
        assert!(bytes.iter().all(|byte| *byte == 7));
        text.draw(&mut Canvas::new(&mut bytes, 20, 10).unwrap(), -4.0, 12.0, "MMMMMM", 30, ink);
    }
}
