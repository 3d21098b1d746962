//! Checks that output values have the meaning that a decoder expects.
//!
//! A trained network writes thousands of values per image, also for a black one, so another format shows at once;
//! single odd values (a NaN, a box far outside) do not indicate another network.

use super::{Mismatch, OutputTensor};

/// Share of deviating values above which the output has another format.
const MAX_DEVIATING_SHARE: f64 = 0.01;
/// Minimum number of boxes for a statement about their format.
const MIN_BOXES: usize = 50;
/// Tolerance around 0 and 1, for half precision and quantization.
const TOLERANCE: f32 = 0.01;

/// Checks that most values are finite.
pub(super) fn check_finite(outputs: &[OutputTensor]) -> Result<(), Mismatch> {
    for output in outputs {
        let invalid_share = share(output.values.iter(), |value| !value.is_finite());
        if invalid_share > 0.5 {
            return Err(format!(
                "are not finite: {:.0} % of `{}` is NaN or infinite, as after an overflow in half precision; \
                 export it in full precision",
                100.0 * invalid_share,
                output.name
            ));
        }
    }
    Ok(())
}

/// Checks that scores are probabilities, 0 to 1.
pub(super) fn check_probabilities<'v>(scores: impl Iterator<Item = &'v f32> + Clone) -> Result<(), Mismatch> {
    if share(scores.clone(), |score| !(-TOLERANCE..=1.0 + TOLERANCE).contains(score)) <= MAX_DEVIATING_SHARE {
        return Ok(());
    }
    let (min, max) = finite_range(scores);
    Err(format!(
        "contain scores from {min:.2} to {max:.2}, expected 0 to 1: the export lacks the final sigmoid, or they \
         come from another network"
    ))
}

/// Checks that scores are logits: probabilities would all be in 0 to 1.
pub(super) fn check_logits<'v>(scores: impl Iterator<Item = &'v f32> + Clone) -> Result<(), Mismatch> {
    let (min, max) = finite_range(scores);
    if (0.0..=1.0).contains(&min) && max <= 1.0 && max > 0.0 {
        return Err(format!(
            "contain scores from {min:.2} to {max:.2}, which are probabilities, expected logits (mostly below 0)"
        ));
    }
    Ok(())
}

/// Checks that boxes are center and size, not two corners, in an image of this size. Corners read as center and size
/// extend far beyond it.
pub(super) fn check_center_and_size(
    boxes: impl Iterator<Item = [f32; 4]>,
    (width, height): (f32, f32),
) -> Result<(), Mismatch> {
    let boxes: Vec<[f32; 4]> =
        boxes.filter(|values| values.iter().all(|value| value.is_finite()) && *values != [0.0; 4]).collect();
    let corners = boxes.iter().filter(|[x1, y1, x2, y2]| x2 >= x1 && y2 >= y1).count();
    let beyond = |[x, y, w, h]: &&[f32; 4]| x + w / 2.0 > 1.25 * width || y + h / 2.0 > 1.25 * height;
    let threshold = boxes.len() - boxes.len() / 100;
    if boxes.len() < MIN_BOXES || corners < threshold || boxes.iter().filter(beyond).count() * 10 < boxes.len() {
        return Ok(());
    }
    Err("contain boxes as two corners (x1 y1 x2 y2), expected center and size".into())
}

/// Returns minimum and maximum of the finite values; 0 and 0 where there are none.
pub(super) fn finite_range<'v>(values: impl Iterator<Item = &'v f32>) -> (f32, f32) {
    let finite = values.filter(|value| value.is_finite()).map(|value| (*value, *value));
    finite.reduce(|(min, max), (value, _)| (min.min(value), max.max(value))).unwrap_or_default()
}

/// Returns the share of values with a property; 0 where there are none.
fn share<'v>(values: impl Iterator<Item = &'v f32>, has_property: impl Fn(&f32) -> bool) -> f64 {
    let (mut total, mut count) = (0_usize, 0_usize);
    for value in values {
        total += 1;
        count += usize::from(has_property(value));
    }
    if total == 0 { 0.0 } else { count as f64 / total as f64 }
}
