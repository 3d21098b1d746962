//! Colors of single pixels, read directly from the planes of a frame.

use crate::{Encoding, Error, Frame, Matrix, Result};

/// Reader of single pixels of a frame.
pub struct Pixels<'a> {
    planes: Planes<'a>,
    width: usize,
    height: usize,
    /// Offset and scale of luma, `(y - black) * luma`, and scale of chroma, `(u - 128) * chroma`.
    black: f32,
    luma: f32,
    chroma: f32,
    /// Luma coefficients of red and blue.
    red: f32,
    blue: f32,
}

enum Planes<'a> {
    /// Y, U and V, each with its stride; consecutive U or V samples are `step` bytes apart.
    Yuv { y: (&'a [u8], usize), u: (&'a [u8], usize), v: (&'a [u8], usize), step: usize },
    /// Three bytes per pixel with their stride, and the offsets of red, green and blue.
    Packed { data: (&'a [u8], usize), order: [usize; 3] },
}

impl<'a> Pixels<'a> {
    /// Creates a reader for a frame of any encoding except JPEG.
    ///
    /// # Errors
    /// When the frame is JPEG.
    pub fn new(frame: &'a Frame) -> Result<Self> {
        let planes = match frame.encoding() {
            Encoding::I420 => Planes::Yuv { y: frame.plane(0), u: frame.plane(1), v: frame.plane(2), step: 1 },
            Encoding::Nv12 => {
                let (data, stride) = frame.plane(1);
                let v = data.get(1..).unwrap_or_default();
                Planes::Yuv { y: frame.plane(0), u: (data, stride), v: (v, stride), step: 2 }
            }
            Encoding::Rgb8 => Planes::Packed { data: frame.plane(0), order: [0, 1, 2] },
            Encoding::Bgr8 => Planes::Packed { data: frame.plane(0), order: [2, 1, 0] },
            Encoding::Jpeg => {
                return Err(Error::input("JPEG frames must be decoded before colors can be read from them"));
            }
        };
        let (black, luma, chroma) = match frame.color().full_range {
            true => (0.0, 1.0 / 255.0, 1.0 / 255.0),
            false => (16.0, 1.0 / 219.0, 1.0 / 224.0),
        };
        let (red, blue) = match frame.color().matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
        };
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        Ok(Self { planes, width, height, black, luma, chroma, red, blue })
    }

    /// Returns luma (0..1) and chroma (-0.5..0.5) of the pixel at a point; outside the frame those of the nearest pixel.
    pub fn yuv(&self, [x, y]: [f32; 2]) -> [f32; 3] {
        // The cast saturates: a negative number becomes 0.
        let x = (x as usize).min(self.width.saturating_sub(1));
        let y = (y as usize).min(self.height.saturating_sub(1));
        let byte = |(data, stride): (&[u8], usize), row: usize, column: usize| {
            f32::from(data.get(row * stride + column).copied().unwrap_or(0))
        };
        match &self.planes {
            Planes::Yuv { y: luma, u, v, step } => [
                (byte(*luma, y, x) - self.black) * self.luma,
                (byte(*u, y / 2, x / 2 * step) - 128.0) * self.chroma,
                (byte(*v, y / 2, x / 2 * step) - 128.0) * self.chroma,
            ],
            Planes::Packed { data, order } => {
                let [r, g, b] = order.map(|offset| byte(*data, y, 3 * x + offset) / 255.0);
                let luma = self.red * r + (1.0 - self.red - self.blue) * g + self.blue * b;
                [luma, 0.5 * (b - luma) / (1.0 - self.blue), 0.5 * (r - luma) / (1.0 - self.red)]
            }
        }
    }

    /// Returns red, green and blue (0..1) of the pixel at a point; outside the frame those of the nearest pixel.
    pub fn rgb(&self, point: [f32; 2]) -> [f32; 3] {
        let [y, u, v] = self.yuv(point);
        let (r, b) = (y + 2.0 * (1.0 - self.red) * v, y + 2.0 * (1.0 - self.blue) * u);
        let g = (y - self.red * r - self.blue * b) / (1.0 - self.red - self.blue);
        [r, g, b].map(|value| value.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Color;

    #[test]
    fn a_color_is_the_same_in_every_encoding() {
        let color = Color { matrix: Matrix::Bt709, full_range: false };
        // (200, 50, 30) in BT.709, video range.
        let planes = [vec![85u8; 4], vec![104], vec![195]].concat();
        let yuv = Frame::from_packed(2, 2, Encoding::I420, color, planes).unwrap();
        let rgb = Frame::from_packed(2, 2, Encoding::Rgb8, color, [200u8, 50, 30].repeat(4)).unwrap();
        for frame in [yuv, rgb] {
            let found = Pixels::new(&frame).unwrap().rgb([1.5, 0.5]).map(|value| value * 255.0);
            for (found, expected) in found.into_iter().zip([200.0, 50.0, 30.0]) {
                assert!((found - expected).abs() < 3.0, "{frame:?}: {found} for {expected}");
            }
        }
    }
}
