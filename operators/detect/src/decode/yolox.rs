//! YOLOX (Ge et al. 2021, section 2.1), as exported by its repository: boxes relative to their grid cells.

use super::{
    DecodeFilter, DecodedBox, Mismatch, OutputTensor, STRIDES, argmax, image_values, is_below, shapes, single_output,
    stride_count, value_checks::check_probabilities,
};

/// Number of values before the class scores: box and objectness.
const VALUES_BEFORE_CLASSES: usize = 5;

/// Returns the number of classes of the output [N, anchors, 5 + classes].
pub(super) fn class_count(shapes: &[&[i64]], size: (usize, usize)) -> Result<usize, Mismatch> {
    let (anchors, values) = single_output(shapes)?;
    if values <= VALUES_BEFORE_CLASSES {
        return Err(format!("have {values} values per anchor, expected more than {VALUES_BEFORE_CLASSES}"));
    }
    match stride_count(anchors, size) {
        Some(_) => Ok(values - VALUES_BEFORE_CLASSES),
        None => Err(format!("have {anchors} anchors, which does not match the grids of {}x{}", size.0, size.1)),
    }
}

/// Maximum distance of a center from its cell, cells. Values in pixels are far larger.
const MAX_CENTER_OFFSET: f32 = 24.0;
/// Maximum logarithm of a size in cells (12 images of 4096 px).
const MAX_LOG_SIZE: f32 = 9.0;

/// Checks that boxes are relative to their cells and scores 0 to 1.
pub(super) fn check_values(outputs: &[OutputTensor], size: (usize, usize)) -> Result<(), Mismatch> {
    let classes = class_count(&shapes(outputs), size)?;
    let rows = || outputs[0].values.chunks_exact(VALUES_BEFORE_CLASSES + classes);
    let is_decoded = |row: &&[f32]| {
        row[..2].iter().any(|offset| offset.abs() > MAX_CENTER_OFFSET)
            || row[2..4].iter().any(|size| *size > MAX_LOG_SIZE)
    };
    if let Some([x, y, width, height, ..]) = rows().find(is_decoded) {
        return Err(format!(
            "contain a box {x:.0} {y:.0} {width:.0} {height:.0}, which is in pixels, expected boxes relative to their \
             cells: export it without `--decode_in_inference`"
        ));
    }
    check_probabilities(rows().flat_map(|row| &row[4..]))
}

/// Decodes anchors, which lie row-major on grids of [`STRIDES`], the finest first.
pub(super) fn decode(
    outputs: &[OutputTensor],
    image: usize,
    size: (usize, usize),
    filter: &DecodeFilter,
) -> Result<Vec<DecodedBox>, Mismatch> {
    let classes = class_count(&shapes(outputs), size)?;
    let mut rows = image_values(&outputs[0], image).chunks_exact(VALUES_BEFORE_CLASSES + classes);
    let mut found = Vec::new();
    let strides = stride_count(rows.len(), size).unwrap_or_default();
    for stride in &STRIDES[..strides] {
        let (columns, lines) = (size.0 / stride, size.1 / stride);
        for (cell, row) in rows.by_ref().take(columns * lines).enumerate() {
            let objectness = row[4];
            if is_below(objectness, filter.min_score) {
                continue;
            }
            let Some((class, class_score)) = argmax(row[VALUES_BEFORE_CLASSES..].iter().copied()) else { continue };
            let score = objectness * class_score;
            if is_below(score, filter.min_score) || filter.classes.get(class) != Some(&true) {
                continue;
            }
            let stride = *stride as f32;
            let (x, y) = (((cell % columns) as f32 + row[0]) * stride, ((cell / columns) as f32 + row[1]) * stride);
            let (width, height) = (row[2].exp() * stride / 2.0, row[3].exp() * stride / 2.0);
            found.push(DecodedBox {
                corners: [x - width, y - height, x + width, y + height],
                score,
                class: class as u16,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_in_pixels_and_logits_are_refused() {
        let mismatch_of = |row: [f32; 7]| {
            let (mut values, shape) = (vec![0.0; 42 * 7], [1, 42, 7]);
            values[70..77].copy_from_slice(&row);
            check_values(&[OutputTensor { name: "output", shape: &shape, values: &values }], (64, 32))
                .err()
                .unwrap_or_default()
        };
        assert_eq!(mismatch_of([0.5, -1.2, 1.5, 2.3, 0.9, 0.8, 0.1]), "");
        let decoded = mismatch_of([150.0, 250.0, 100.0, 200.0, 0.95, 0.95, 0.0]);
        assert!(decoded.contains("150 250 100 200") && decoded.contains("--decode_in_inference"), "{decoded}");
        let raw: Vec<f32> = [0.5, 0.5, 0.1, 0.1, -6.0, -4.0, 3.0].repeat(42);
        let shape = [1, 42, 7];
        let raw = check_values(&[OutputTensor { name: "output", shape: &shape, values: &raw }], (64, 32)).unwrap_err();
        assert!(raw.contains("scores from -6.00 to 3.00") && raw.contains("sigmoid"), "{raw}");
    }

    #[test]
    fn anchors_are_decoded_on_their_grids() {
        // 64 x 32: grids of 8x4, 4x2 and 2x1 cells; two classes.
        let anchors = 32 + 8 + 2;
        let mut values = vec![0.0; anchors * 7];
        // Cell (row 1, column 3) of the finest grid; the last cell of the coarsest.
        values[(8 + 3) * 7..][..7].copy_from_slice(&[0.5, 0.25, 0.0, 2.0_f32.ln(), 0.9, 0.5, 0.8]);
        values[(anchors - 1) * 7..][..7].copy_from_slice(&[0.0, 0.5, 0.0, 0.0, 1.0, 0.6, 0.1]);
        let shape = [1, anchors as i64, 7];
        let outputs = [OutputTensor { name: "output", shape: &shape, values: &values }];
        let found = decode(&outputs, 0, (64, 32), &DecodeFilter { min_score: 0.25, classes: &[true, true] }).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].corners, found[0].class), ([24.0, 2.0, 32.0, 18.0], 1));
        assert!((found[0].score - 0.72).abs() < 1e-6);
        assert_eq!((found[1].corners, found[1].score, found[1].class), ([16.0, 0.0, 48.0, 32.0], 0.6, 0));
        // The best class decides, selected or not: an object that is rather a dog is no person.
        let first = decode(&outputs, 0, (64, 32), &DecodeFilter { min_score: 0.25, classes: &[true, false] }).unwrap();
        assert_eq!(first.len(), 1);
    }
}
