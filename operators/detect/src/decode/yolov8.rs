//! YOLOv8 and successors (v8, v9, v11, v12), as exported by Ultralytics: boxes in pixels, class scores 0 to 1, values
//! of one kind contiguous.

use super::{
    BUILTIN_NMS_HINT, DecodeFilter, DecodedBox, Mismatch, OutputTensor, has_builtin_nms, image_values, shapes,
    single_output, stride_count,
    value_checks::{check_center_and_size, check_probabilities, finite_range},
};

/// Number of values before the class scores: center and size.
const VALUES_BEFORE_CLASSES: usize = 4;

/// Returns the number of classes of the output [N, 4 + classes, anchors].
pub(super) fn class_count(shapes: &[&[i64]], size: (usize, usize)) -> Result<usize, Mismatch> {
    let (values, anchors) = single_output(shapes)?;
    if stride_count(anchors, size).is_none() && has_builtin_nms(shapes) {
        return Err(BUILTIN_NMS_HINT.into());
    }
    if values <= VALUES_BEFORE_CLASSES {
        return Err(format!("have {values} values per anchor, expected more than {VALUES_BEFORE_CLASSES}"));
    }
    match stride_count(anchors, size) {
        Some(_) => Ok(values - VALUES_BEFORE_CLASSES),
        None => Err(format!("have {anchors} anchors, which does not match the grids of {}x{}", size.0, size.1)),
    }
}

/// Maximum value of normalized boxes: boxes in pixels have far larger values.
const MAX_NORMALIZED: f32 = 2.0;

/// Checks that boxes are in pixels and scores 0 to 1.
pub(super) fn check_values(outputs: &[OutputTensor], size: (usize, usize)) -> Result<(), Mismatch> {
    let classes = class_count(&shapes(outputs), size)?;
    let values = image_values(&outputs[0], 0);
    let anchors = values.len() / (VALUES_BEFORE_CLASSES + classes);
    let (boxes, scores) = values.split_at(VALUES_BEFORE_CLASSES * anchors);
    let (_, max) = finite_range(boxes.iter());
    if max > 0.0 && max <= MAX_NORMALIZED {
        return Err(format!(
            "contain boxes up to {max:.2}, which are normalized, expected pixels: export it without \
             normalized boxes"
        ));
    }
    check_probabilities(scores.iter())?;
    let box_values = |anchor: usize| std::array::from_fn(|value| boxes[value * anchors + anchor]);
    check_center_and_size((0..anchors).map(box_values), (size.0 as f32, size.1 as f32))
}

/// Decodes each anchor with its best class.
pub(super) fn decode(
    outputs: &[OutputTensor],
    image: usize,
    size: (usize, usize),
    filter: &DecodeFilter,
) -> Result<Vec<DecodedBox>, Mismatch> {
    let classes = class_count(&shapes(outputs), size)?;
    let values = image_values(&outputs[0], image);
    let anchors = values.len() / (VALUES_BEFORE_CLASSES + classes);
    let row = |i: usize| &values[i * anchors..][..anchors];
    // One class after the other, so that memory is read sequentially.
    let mut best = vec![(0_u16, f32::NEG_INFINITY); anchors];
    for class in 0..classes {
        for (best, score) in best.iter_mut().zip(row(VALUES_BEFORE_CLASSES + class)) {
            if *score > best.1 {
                *best = (class as u16, *score);
            }
        }
    }
    let (x, y, width, height) = (row(0), row(1), row(2), row(3));
    let selected = best.into_iter().enumerate().filter(|(_, (class, score))| {
        *score >= filter.min_score && filter.classes.get(usize::from(*class)) == Some(&true)
    });
    let boxes = selected.map(|(i, (class, score))| {
        let (half_width, half_height) = (width[i] / 2.0, height[i] / 2.0);
        let corners = [x[i] - half_width, y[i] - half_height, x[i] + half_width, y[i] + half_height];
        DecodedBox { corners, score, class }
    });
    Ok(boxes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_boxes_and_logits_are_refused() {
        let anchors = 32 + 8 + 2;
        let mismatch_of = |coordinate: f32, score: f32| {
            let mut values = vec![coordinate; 4 * anchors];
            values.extend(vec![score; 2 * anchors]);
            let shape = [1, 6, anchors as i64];
            check_values(&[OutputTensor { name: "output0", shape: &shape, values: &values }], (64, 32))
                .err()
                .unwrap_or_default()
        };
        assert_eq!((mismatch_of(20.0, 0.7).as_str(), mismatch_of(0.0, 0.0).as_str()), ("", ""));
        assert!(mismatch_of(0.4, 0.7).contains("which are normalized"), "{}", mismatch_of(0.4, 0.7));
        assert!(mismatch_of(20.0, -5.0).contains("scores from -5.00 to -5.00"), "{}", mismatch_of(20.0, -5.0));
    }

    #[test]
    fn columns_are_decoded_to_boxes() {
        let anchors = 32 + 8 + 2;
        let mut values = vec![0.0; anchors * 6];
        let mut put = |anchor: usize, column: [f32; 6]| {
            for (i, value) in column.into_iter().enumerate() {
                values[i * anchors + anchor] = value;
            }
        };
        put(5, [20.0, 10.0, 8.0, 4.0, 0.1, 0.7]);
        put(41, [40.0, 16.0, 10.0, 30.0, 0.9, 0.8]);
        put(7, [1.0, 1.0, 1.0, 1.0, 0.2, 0.2]);
        let shape = [1, 6, anchors as i64];
        let outputs = [OutputTensor { name: "output0", shape: &shape, values: &values }];
        let found = decode(&outputs, 0, (64, 32), &DecodeFilter { min_score: 0.25, classes: &[true, true] }).unwrap();
        assert_eq!(
            found,
            [
                DecodedBox { corners: [16.0, 8.0, 24.0, 12.0], score: 0.7, class: 1 },
                DecodedBox { corners: [35.0, 1.0, 45.0, 31.0], score: 0.9, class: 0 },
            ]
        );
    }

    #[test]
    fn an_export_with_builtin_nms_is_refused_with_a_repair() {
        let mismatch = class_count(&[&[1, 300, 6]], (640, 640)).unwrap_err();
        assert!(mismatch.contains("export it with `nms=False`"), "{mismatch}");
    }
}
