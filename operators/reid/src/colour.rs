//! The colours of a person's parts as a unit vector.
//!
//! Each part gives a small histogram: what is grey by its lightness, what is coloured by its hue and, coarsely, its
//! lightness. Shade moves lightness far more than hue, so hue has most of the bins. Values are spread over the two nearest
//! bins, and the roots are taken: the scalar product of two such vectors is the Bhattacharyya coefficient (Comaniciu et al.,
//! "Kernel-Based Object Tracking", 2003, section 3.2), averaged over the parts by their weights. A part that was not seen
//! is all zeros.

use sideline_api::{Frame, Pixels, Result};

use crate::body::{PARTS, Sample, WEIGHTS};

/// Bins of grey, of hue, and rows of hue by lightness.
const GREYS: usize = 4;
const HUES: usize = 8;
const LIGHTS: usize = 2;
/// Bins of a part.
const BINS: usize = GREYS + HUES * LIGHTS;
/// Length of a vector.
pub const LENGTH: usize = PARTS * BINS;
/// Chroma at which a pixel counts half as coloured, half as grey; full chroma is 0.5.
const HALF_COLOURED: f32 = 0.09;

/// The vector of what the samples show; all zeros when there is none.
///
/// # Errors
/// When the frame is JPEG.
pub fn describe(frame: &Frame, samples: &[Sample]) -> Result<Vec<f32>> {
    let pixels = Pixels::of(frame)?;
    let mut bins = [[0.0; BINS]; PARTS];
    for sample in samples {
        count(pixels.at(sample.at), &mut bins[sample.part]);
    }
    let mut vector = Vec::with_capacity(LENGTH);
    for (part, weight) in bins.iter().zip(WEIGHTS) {
        let sum: f32 = part.iter().sum();
        vector.extend(part.iter().map(|bin| if sum > 0.0 { (weight * bin / sum).sqrt() } else { 0.0 }));
    }
    normalise(&mut vector);
    Ok(vector)
}

/// Makes a vector one of unit length; one of zeros stays.
pub fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// Adds a pixel (lightness 0..1, chroma -0.5..0.5 twice) to a part's bins.
fn count([y, u, v]: [f32; 3], bins: &mut [f32; BINS]) {
    let chroma = u.hypot(v);
    let coloured = chroma * chroma / (chroma * chroma + HALF_COLOURED * HALF_COLOURED);
    let (grey, share) = between(y * GREYS as f32 - 0.5, GREYS);
    bins[grey] += (1.0 - coloured) * (1.0 - share);
    bins[(grey + 1).min(GREYS - 1)] += (1.0 - coloured) * share;

    let turn = v.atan2(u) / std::f32::consts::TAU + 0.5;
    let hue = turn * HUES as f32;
    let (first, of_second) = (hue as usize % HUES, hue.fract());
    let (light, of_light) = between(y * LIGHTS as f32 - 0.5, LIGHTS);
    for (row, row_share) in [(light, 1.0 - of_light), ((light + 1).min(LIGHTS - 1), of_light)] {
        let at = GREYS + row * HUES;
        bins[at + first] += coloured * row_share * (1.0 - of_second);
        bins[at + (first + 1) % HUES] += coloured * row_share * of_second;
    }
}

/// The bin below a place and the share of the one above.
fn between(place: f32, bins: usize) -> (usize, f32) {
    let place = place.clamp(0.0, bins as f32 - 1.0);
    (place as usize, place.fract())
}
