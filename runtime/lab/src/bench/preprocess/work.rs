//! Work of `sideline-lab bench preprocess`: from 1080p planes to a 256 x 256 model tensor through a rotated crop, by the sampler,
//! and by the usual three steps for comparison.

use sideline_api::{Error, Frame, Result};
use sideline_inference::{Region, Sampler, TensorSpec, test_frame};
use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix};

/// Side of the tensor, px.
pub const TENSOR_SIDE: usize = 256;

/// Frame, region and buffers of one measurement.
pub struct Preprocess {
    frame: Frame,
    region: Region,
    sampler: Sampler,
    tensor: Vec<f32>,
    rgb: Vec<u8>,
    crop: Vec<u8>,
}

impl Preprocess {
    /// Creates a 1920 x 1080 I420 frame (BT.709, video range) and a square region of 700 px, rotated by 0.3 rad.
    ///
    /// # Errors
    /// Never expected: the frame has the size that it declares.
    pub fn new() -> Result<Self> {
        let (width, height) = (1920, 1080);
        let sampler = Sampler::new(TensorSpec::square(TENSOR_SIDE, 0.0, 1.0));
        Ok(Self {
            frame: test_frame(width, height)?,
            region: Region::square(960.0, 540.0, 700.0, 0.3),
            tensor: vec![0.0; sampler.len()],
            sampler,
            rgb: vec![0; width * height * 3],
            crop: vec![0; TENSOR_SIDE * TENSOR_SIDE * 3],
        })
    }

    /// Samples the tensor directly from the planes, as the operators do. The result is in [`Self::tensor`].
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub fn run_sampler(&mut self) -> Result<()> {
        self.sampler.sample(&self.frame, &self.region, &mut self.tensor)
    }

    /// Computes the tensor in the usual steps: converts the whole frame to RGB (crate `yuv`, vectorized), warps the crop out
    /// of it (bilinear, 8 bits, as OpenCV's warpAffine), and normalizes it to floats.
    ///
    /// # Errors
    /// If the conversion rejects the planes.
    pub fn run_full_frame(&mut self) -> Result<()> {
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
            .map_err(Error::other)?;
        warp(&self.rgb, width as usize, height as usize, &self.region, &mut self.crop);
        for (value, byte) in self.tensor.iter_mut().zip(&self.crop) {
            *value = f32::from(*byte) / 255.0;
        }
        Ok(())
    }

    /// Returns the last result: 256 x 256 x 3, values 0..1.
    #[cfg(test)]
    pub fn tensor(&self) -> &[f32] {
        &self.tensor
    }
}

/// Warps a region bilinearly, 8 bits with a 5-bit fraction as in OpenCV; outside is black.
fn warp(rgb: &[u8], width: usize, height: usize, region: &Region, crop: &mut [u8]) {
    let (left_top, right_top) = (region.to_frame(-0.5, -0.5), region.to_frame(0.5, -0.5));
    let left_bottom = region.to_frame(-0.5, 0.5);
    let n = TENSOR_SIDE as f32;
    let along = ((right_top.0 - left_top.0) / n, (right_top.1 - left_top.1) / n);
    let across = ((left_bottom.0 - left_top.0) / n, (left_bottom.1 - left_top.1) / n);
    for (i, row) in crop.chunks_exact_mut(3 * TENSOR_SIDE).enumerate() {
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
    fn the_sampler_and_the_full_frame_conversion_agree() {
        let mut preprocess = Preprocess::new().unwrap();
        preprocess.run_sampler().unwrap();
        let sampled = preprocess.tensor().to_vec();
        preprocess.run_full_frame().unwrap();
        let mean =
            sampled.iter().zip(preprocess.tensor()).map(|(a, b)| (a - b).abs()).sum::<f32>() / sampled.len() as f32;
        // Chroma is interpolated by the sampler and replicated by the conversion.
        assert!(mean < 0.05, "{mean}");
    }
}
