//! `bench preprocess`: from 1080p planes to a 256 x 256 model tensor through a turned crop, and the same in the usual
//! three steps as its peer.

use sideline_api::{Color, Encoding, Frame, Matrix, Result};
use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix};

use crate::{Region, Sampler, Sampling};

/// Side of the tensor.
pub const SIZE: usize = 256;

/// A picture (I420, BT.709, video range) of slopes up and down, with some grain: a model takes as long for it as for people.
///
/// # Errors
/// When a side is odd.
pub fn picture(width: usize, height: usize) -> Result<Frame> {
    let slope = |at: usize| (at % 400).abs_diff(200) / 2;
    let value = |i: usize| (40 + slope(i % width) + slope(i / width) / 2 + (i * i) % 11) as u8;
    let bytes: Vec<u8> = (0..width * height * 3 / 2).map(value).collect();
    let color = Color { matrix: Matrix::Bt709, full_range: false };
    Frame::from_packed(width as u32, height as u32, Encoding::I420, color, bytes)
}

/// The picture, the region and the buffers of one measurement.
pub struct Preprocess {
    frame: Frame,
    region: Region,
    sampler: Sampler,
    tensor: Vec<f32>,
    rgb: Vec<u8>,
    crop: Vec<u8>,
}

impl Preprocess {
    /// A 1920 x 1080 I420 picture (BT.709, video range) and a square of 700 pixels on it, turned by 0.3 rad.
    ///
    /// # Errors
    /// None that is known: the picture is as large as it says.
    pub fn new() -> Result<Self> {
        let (width, height) = (1920, 1080);
        let sampler = Sampler::new(Sampling::square(SIZE, 0.0, 1.0));
        Ok(Self {
            frame: picture(width, height)?,
            region: Region::square(960.0, 540.0, 700.0, 0.3),
            tensor: vec![0.0; sampler.len()],
            sampler,
            rgb: vec![0; width * height * 3],
            crop: vec![0; SIZE * SIZE * 3],
        })
    }

    /// Straight from the planes: what the operators do. The result stays in [`Self::tensor`].
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub fn run_fast(&mut self) -> Result<()> {
        self.sampler.sample(&self.frame, &self.region, &mut self.tensor)
    }

    /// The peer: the whole frame to RGB (crate `yuv`, vector code), the crop warped out of it (bilinear, 8 bits, as OpenCV's
    /// warpAffine), then to normalised floats.
    ///
    /// # Errors
    /// When the conversion refuses the planes.
    pub fn run_plain(&mut self) -> Result<()> {
        let (width, height) = (self.frame.width(), self.frame.height());
        let ((y_plane, y_stride), (u_plane, u_stride), (v_plane, v_stride)) =
            (self.frame.plane(0), self.frame.plane(1), self.frame.plane(2));
        let image = YuvPlanarImage {
            y_plane,
            y_stride: y_stride as u32,
            u_plane,
            u_stride: u_stride as u32,
            v_plane,
            v_stride: v_stride as u32,
            width,
            height,
        };
        yuv::yuv420_to_rgb(&image, &mut self.rgb, width * 3, YuvRange::Limited, YuvStandardMatrix::Bt709)
            .map_err(sideline_api::Error::other)?;
        warp(&self.rgb, width as usize, height as usize, &self.region, &mut self.crop);
        for (value, byte) in self.tensor.iter_mut().zip(&self.crop) {
            *value = f32::from(*byte) / 255.0;
        }
        Ok(())
    }

    /// The last result: 256 x 256 x 3, 0..1.
    pub fn tensor(&self) -> &[f32] {
        &self.tensor
    }
}

/// Bilinear, 8 bits with 5 bits of fraction as OpenCV has it; outside is black.
fn warp(rgb: &[u8], width: usize, height: usize, region: &Region, crop: &mut [u8]) {
    let (left_top, right_top) = (region.to_frame(-0.5, -0.5), region.to_frame(0.5, -0.5));
    let left_bottom = region.to_frame(-0.5, 0.5);
    let n = SIZE as f32;
    let along = ((right_top.0 - left_top.0) / n, (right_top.1 - left_top.1) / n);
    let across = ((left_bottom.0 - left_top.0) / n, (left_bottom.1 - left_top.1) / n);
    for (i, row) in crop.chunks_exact_mut(3 * SIZE).enumerate() {
        for (j, pixel) in row.chunks_exact_mut(3).enumerate() {
            let (u, v) = (j as f32 + 0.5, i as f32 + 0.5);
            let x = ((left_top.0 + along.0 * u + across.0 * v - 0.5) * 32.0).round() as i32;
            let y = ((left_top.1 + along.1 * u + across.1 * v - 0.5) * 32.0).round() as i32;
            let (column, line, fx, fy) = (x >> 5, y >> 5, x & 31, y & 31);
            if column < 0 || line < 0 || column as usize + 1 >= width || line as usize + 1 >= height {
                pixel.fill(0);
                continue;
            }
            let at = (line as usize * width + column as usize) * 3;
            let (upper, lower) = (&rgb[at..at + 6], &rgb[at + 3 * width..at + 3 * width + 6]);
            for c in 0..3 {
                let mix = |row: &[u8]| i32::from(row[c]) * (32 - fx) + i32::from(row[c + 3]) * fx;
                pixel[c] = ((mix(upper) * (32 - fy) + mix(lower) * fy + 512) >> 10) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_see_the_same_picture() {
        let mut work = Preprocess::new().unwrap();
        work.run_fast().unwrap();
        let fast = work.tensor().to_vec();
        work.run_plain().unwrap();
        let mean = fast.iter().zip(work.tensor()).map(|(a, b)| (a - b).abs()).sum::<f32>() / fast.len() as f32;
        // Chroma is interpolated in one and doubled in the other.
        assert!(mean < 0.05, "{mean}");
    }
}
