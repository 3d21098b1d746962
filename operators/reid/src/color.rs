//! Color histograms of a person's parts, as a unit vector.
//!
//! Each part has a small histogram: gray pixels are counted by lightness, colored ones by hue and, coarsely, by
//! lightness. Shade changes lightness far more than hue, so most bins divide the hue. A value is distributed over the
//! two nearest bins. The vector holds the square roots of the bins, so the scalar product of two vectors is the
//! Bhattacharyya coefficient (Comaniciu et al., "Kernel-Based Object Tracking", 2003, section 3.2), averaged over the
//! parts by their weights. A hidden part is all zeros.

use sideline_api::{Frame, Pixels, Result};

use crate::body::{PARTS, Sample, WEIGHTS};

/// Lightness bins of gray, hue bins, and lightness rows of the hue bins.
const GRAY_BINS: usize = 4;
const HUE_BINS: usize = 8;
const LIGHTNESS_ROWS: usize = 2;
/// Bins per part.
const BINS: usize = GRAY_BINS + HUE_BINS * LIGHTNESS_ROWS;
/// Number of values of a vector.
pub const LENGTH: usize = PARTS * BINS;
/// Chroma at which a pixel counts half as colored, half as gray; full chroma is 0.5.
const HALF_COLORED_CHROMA: f32 = 0.09;

/// Computes the vector from the pixels at the sample points; all zeros if there are none.
///
/// # Errors
/// If the frame is JPEG.
pub fn describe(frame: &Frame, samples: &[Sample]) -> Result<Vec<f32>> {
    let pixels = Pixels::new(frame)?;
    let mut bins = [[0.0; BINS]; PARTS];
    for sample in samples {
        count(pixels.yuv(sample.at), &mut bins[sample.part]);
    }
    let mut vector = Vec::with_capacity(LENGTH);
    for (part, weight) in bins.iter().zip(WEIGHTS) {
        let sum: f32 = part.iter().sum();
        vector.extend(part.iter().map(|bin| if sum > 0.0 { (weight * bin / sum).sqrt() } else { 0.0 }));
    }
    normalize(&mut vector);
    Ok(vector)
}

/// Scales a vector to unit length; a zero vector is left as it is.
pub fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// Adds a pixel (luma 0 to 1, two chroma values -0.5 to 0.5) to the bins of a part.
fn count([y, u, v]: [f32; 3], bins: &mut [f32; BINS]) {
    let chroma = u.hypot(v);
    let colored = chroma * chroma / (chroma * chroma + HALF_COLORED_CHROMA * HALF_COLORED_CHROMA);
    let (gray, share) = interpolate(y * GRAY_BINS as f32 - 0.5, GRAY_BINS);
    bins[gray] += (1.0 - colored) * (1.0 - share);
    bins[(gray + 1).min(GRAY_BINS - 1)] += (1.0 - colored) * share;

    let turn = v.atan2(u) / std::f32::consts::TAU + 0.5;
    let hue = turn * HUE_BINS as f32;
    let (first, share_of_second) = (hue as usize % HUE_BINS, hue.fract());
    let (light, share_of_next) = interpolate(y * LIGHTNESS_ROWS as f32 - 0.5, LIGHTNESS_ROWS);
    for (row, row_share) in [(light, 1.0 - share_of_next), ((light + 1).min(LIGHTNESS_ROWS - 1), share_of_next)] {
        let start = GRAY_BINS + row * HUE_BINS;
        bins[start + first] += colored * row_share * (1.0 - share_of_second);
        bins[start + (first + 1) % HUE_BINS] += colored * row_share * share_of_second;
    }
}

/// Returns the bin below a position, and the share of the bin above it.
fn interpolate(position: f32, bins: usize) -> (usize, f32) {
    let position = position.clamp(0.0, bins as f32 - 1.0);
    (position as usize, position.fract())
}
