//! Tests of values: whether they can mean what a decoder reads in them.
//!
//! A trained network writes thousands of values a picture, also of a black one, so a wrong kind shows at once; single values
//! that are odd (a NaN, a box far outside) do not make another network.

use super::{Misfit, Output};

/// Share of the values from which they are of another kind.
const MANY: f64 = 0.01;
/// Boxes without which nothing is said of how their four values are meant.
const FEW: usize = 50;
/// Tolerance around 0 and 1: what half precision and quantization leave.
const ROUNDING: f32 = 0.01;

/// Checks that most values are numbers.
pub(super) fn finite(outputs: &[Output]) -> Result<(), Misfit> {
    for output in outputs {
        let broken = share(output.values.iter(), |value| !value.is_finite());
        if broken > 0.5 {
            return Err(format!(
                "are no numbers: {:.0} % of `{}` is NaN or infinite; a file in half precision overflows so: export it in full",
                100.0 * broken,
                output.name
            ));
        }
    }
    Ok(())
}

/// Checks that scores are probabilities, 0 to 1.
pub(super) fn probabilities<'v>(scores: impl Iterator<Item = &'v f32> + Clone) -> Result<(), Misfit> {
    if share(scores.clone(), |score| !(-ROUNDING..=1.0 + ROUNDING).contains(score)) <= MANY {
        return Ok(());
    }
    let (least, most) = extent(scores);
    Err(format!(
        "hold scores from {least:.2} to {most:.2} where 0 to 1 is expected: the export leaves out the last sigmoid, or they \
         are of another network"
    ))
}

/// Checks that scores are logits: not all of them 0 to 1, as probabilities are.
pub(super) fn logits<'v>(scores: impl Iterator<Item = &'v f32> + Clone) -> Result<(), Misfit> {
    let (least, most) = extent(scores);
    if (0.0..=1.0).contains(&least) && most <= 1.0 && most > 0.0 {
        return Err(format!(
            "hold scores from {least:.2} to {most:.2}, which are probabilities, where logits (mostly below 0) are expected"
        ));
    }
    Ok(())
}

/// Checks that boxes are middle and size, not two corners, in a picture of this size. Corners read so reach far beyond it.
pub(super) fn middle_and_size(
    boxes: impl Iterator<Item = [f32; 4]>,
    (width, height): (f32, f32),
) -> Result<(), Misfit> {
    let boxes: Vec<[f32; 4]> =
        boxes.filter(|place| place.iter().all(|value| value.is_finite()) && *place != [0.0; 4]).collect();
    let corners = boxes.iter().filter(|[x1, y1, x2, y2]| x2 >= x1 && y2 >= y1).count();
    let beyond = |[x, y, w, h]: &&[f32; 4]| x + w / 2.0 > 1.25 * width || y + h / 2.0 > 1.25 * height;
    let most = boxes.len() - boxes.len() / 100;
    if boxes.len() < FEW || corners < most || boxes.iter().filter(beyond).count() * 10 < boxes.len() {
        return Ok(());
    }
    Err("hold boxes as two corners (x1 y1 x2 y2), where middle and size are expected".into())
}

/// The least and the greatest of the finite values; 0 and 0 where there is none.
pub(super) fn extent<'v>(values: impl Iterator<Item = &'v f32>) -> (f32, f32) {
    let finite = values.filter(|value| value.is_finite()).map(|value| (*value, *value));
    finite.reduce(|(least, most), (value, _)| (least.min(value), most.max(value))).unwrap_or_default()
}

/// The share of values of which something is true; 0 where there are none.
fn share<'v>(values: impl Iterator<Item = &'v f32>, is: impl Fn(&f32) -> bool) -> f64 {
    let (mut all, mut found) = (0_usize, 0_usize);
    for value in values {
        all += 1;
        found += usize::from(is(value));
    }
    if all == 0 { 0.0 } else { found as f64 / all as f64 }
}
