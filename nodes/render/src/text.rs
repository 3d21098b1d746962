//! Letters: DejaVu Sans Condensed Bold, rasterised once per size and kept.

use std::collections::HashMap;

use fontdue::{Font, FontSettings};
use sideline_api::{Error, Result};

use crate::canvas::{Canvas, Ink};

/// Latin, Greek and Cyrillic; its licence lies beside it.
const FONT: &[u8] = include_bytes!("../font/DejaVuSansCondensed-Bold.ttf");

/// The coverage of one letter.
pub struct Glyph {
    /// From the pen to the left edge, px.
    pub left: i32,
    /// From the base line up to the first row, px.
    pub top: i32,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row, 255 is wholly covered.
    pub coverage: Vec<u8>,
    /// From the pen to the next letter's, px.
    advance: f32,
}

/// Writes text in whole-pixel sizes.
pub struct Text {
    font: Font,
    glyphs: HashMap<(char, u16), Glyph>,
}

impl Text {
    /// Reads the font.
    ///
    /// # Errors
    /// When the font that was compiled in is broken.
    pub fn new() -> Result<Self> {
        let font =
            Font::from_bytes(FONT, FontSettings::default()).map_err(|e| Error::other(format!("the font: {e}")))?;
        Ok(Self { font, glyphs: HashMap::new() })
    }

    /// Height of a capital letter, px.
    pub fn cap_height(size: u16) -> f32 {
        // Of DejaVu Sans: 1493 of 2048 units.
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

    /// Width of a line of text, px.
    pub fn width(&mut self, text: &str, size: u16) -> f32 {
        text.chars().map(|letter| self.glyph(letter, size).advance).sum()
    }

    /// Draws a line of text from `x` on, its letters standing on `baseline`.
    pub fn draw(&mut self, canvas: &mut Canvas, x: f32, baseline: f32, text: &str, size: u16, ink: Ink) {
        // A picture has no place for what is further away, and i32 neither.
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
    fn letters_stand_on_their_line_and_are_as_wide_as_measured() {
        let mut text = Text::new().unwrap();
        let mut bytes = vec![0; 100 * 40 * 3 / 2];
        let mut canvas = Canvas::new(&mut bytes, 100, 40).unwrap();
        text.draw(&mut canvas, 10.0, 30.0, "HHH", 20, Ink { yuv: [255, 128, 128], alpha: 1.0 });
        let lit: Vec<(usize, usize)> = (0..4000).filter(|i| bytes[*i] > 128).map(|i| (i % 100, i / 100)).collect();
        let top = lit.iter().map(|p| p.1).min().unwrap() as f32;
        let bottom = lit.iter().map(|p| p.1).max().unwrap();
        assert_eq!(bottom, 29, "on the line");
        assert!((30.0 - top - Text::cap_height(20)).abs() <= 1.0, "capital height from {top}");
        let right = lit.iter().map(|p| p.0).max().unwrap() as f32;
        assert!(right < 10.0 + text.width("HHH", 20) && right > 10.0 + 0.9 * text.width("HHH", 20));
    }

    #[test]
    fn digits_are_of_one_width_so_that_counters_do_not_jitter() {
        let mut text = Text::new().unwrap();
        let widths: Vec<f32> = "0123456789".chars().map(|digit| text.width(&digit.to_string(), 17)).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
    }

    #[test]
    fn text_beyond_the_picture_is_cut() {
        let mut text = Text::new().unwrap();
        let mut bytes = vec![7; 20 * 10 * 3 / 2];
        let ink = Ink { yuv: [255; 3], alpha: 1.0 };
        for (x, y) in [(-500.0, 5.0), (5.0, -90.0), (f32::NAN, 0.0), (0.0, f32::INFINITY), (400.0, 400.0)] {
            text.draw(&mut Canvas::new(&mut bytes, 20, 10).unwrap(), x, y, "Ağ", 14, ink);
        }
        assert!(bytes.iter().all(|byte| *byte == 7));
        text.draw(&mut Canvas::new(&mut bytes, 20, 10).unwrap(), -4.0, 12.0, "MMMMMM", 30, ink);
    }
}
