//! DETR variants with sigmoid class scores (Deformable DETR, Zhu et al. 2021, section 4; RF-DETR): a box and class
//! logits per query, without non-maximum suppression.

use super::{
    DecodeFilter, DecodedBox, Mismatch, OutputTensor, argmax, image_values, shapes, sigmoid,
    value_checks::{check_center_and_size, check_logits, finite_range},
};

/// Assignment of the two outputs.
pub(super) struct Heads {
    boxes: usize,
    logits: usize,
    pub(super) class_count: usize,
}

/// Identifies boxes [N, queries, 4] and logits [N, queries, classes], in either order; with four classes, by their
/// names.
pub(super) fn find_heads(outputs: &[OutputTensor]) -> Result<Heads, Mismatch> {
    let &[&[_, queries, first], &[_, other, second]] = &shapes(outputs)[..] else {
        return Err("are not two tensors of three dimensions".into());
    };
    if queries != other {
        return Err(format!("have {queries} and {other} queries"));
    }
    // RF-DETR names them `dets` and `labels`, others `pred_boxes` and `logits`.
    let are_boxes_last = outputs[1].name.contains("box") || outputs[1].name.contains("det");
    match (first, second) {
        (4, 4) if are_boxes_last => Ok(Heads { boxes: 1, logits: 0, class_count: 4 }),
        (4, _) => Ok(Heads { boxes: 0, logits: 1, class_count: second as usize }),
        (_, 4) => Ok(Heads { boxes: 1, logits: 0, class_count: first as usize }),
        _ => Err("include none with 4 values per query".into()),
    }
}

/// Maximum magnitude of a box coordinate, image sizes: boxes in pixels are far larger.
const MAX_COORDINATE: f32 = 8.0;

/// Checks that boxes are normalized and scores logits.
pub(super) fn check_values(outputs: &[OutputTensor]) -> Result<(), Mismatch> {
    let heads = find_heads(outputs)?;
    let boxes = outputs[heads.boxes].values;
    let (min, max) = finite_range(boxes.iter());
    if max > MAX_COORDINATE || min < -MAX_COORDINATE {
        return Err(format!(
            "contain boxes from {min:.0} to {max:.0}, which are pixels, expected normalized boxes (0 to 1): \
             YOLO-NAS has this format, which no decoder supports"
        ));
    }
    check_logits(outputs[heads.logits].values.iter())?;
    let boxes = boxes.chunks_exact(4).map(|values| [values[0], values[1], values[2], values[3]]);
    check_center_and_size(boxes, (1.0, 1.0))
}

/// Decodes boxes of center and size, 0 to 1 of the image.
pub(super) fn decode(
    outputs: &[OutputTensor],
    image: usize,
    (width, height): (usize, usize),
    filter: &DecodeFilter,
) -> Result<Vec<DecodedBox>, Mismatch> {
    let heads = find_heads(outputs)?;
    let boxes = image_values(&outputs[heads.boxes], image).chunks_exact(4);
    let logits = image_values(&outputs[heads.logits], image).chunks_exact(heads.class_count.max(1));
    let (width, height) = (width as f32, height as f32);
    let found = boxes.zip(logits).filter_map(|(values, logits)| {
        let (class, logit) = argmax(logits.iter().copied())?;
        let score = sigmoid(logit);
        (score >= filter.min_score && filter.classes.get(class) == Some(&true)).then(|| {
            let (x, y, half_width, half_height) = (values[0], values[1], values[2] / 2.0, values[3] / 2.0);
            let corners = [
                (x - half_width) * width,
                (y - half_height) * height,
                (x + half_width) * width,
                (y + half_height) * height,
            ];
            DecodedBox { corners, score, class: class as u16 }
        })
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_to_boxes() {
        let boxes = [0.5, 0.25, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1];
        let logits = [-4.0, 0.0, -3.0, -2.0, -2.0, -2.0];
        let (b, l) = ([1, 2, 4], [1, 2, 3]);
        let outputs = [
            OutputTensor { name: "labels", shape: &l, values: &logits },
            OutputTensor { name: "dets", shape: &b, values: &boxes },
        ];
        let found = decode(&outputs, 0, (100, 200), &DecodeFilter { min_score: 0.25, classes: &[true; 3] }).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].score, found[0].class), (0.5, 1));
        for (found_value, expected) in found[0].corners.iter().zip([40.0, 40.0, 60.0, 60.0]) {
            assert!((found_value - expected).abs() < 1e-4, "{found:?}");
        }
    }

    #[test]
    fn boxes_in_pixels_and_probabilities_are_refused() {
        let mismatch_of = |boxes: &[f32], scores: &[f32]| {
            let (b, l) = ([1, boxes.len() as i64 / 4, 4], [1, scores.len() as i64 / 2, 2]);
            let outputs = [
                OutputTensor { name: "boxes", shape: &b, values: boxes },
                OutputTensor { name: "s", shape: &l, values: scores },
            ];
            check_values(&outputs).err().unwrap_or_default()
        };
        let (parts, low) = ([0.5, 0.5, 1.0, 1.0, 0.1, 0.2, 0.3, 0.4], [-9.0, 2.2, -9.0, -9.0]);
        assert_eq!(mismatch_of(&parts, &low), "");
        assert_eq!(mismatch_of(&[0.0; 8], &[0.0; 4]), "", "outputs of zeros pass the check");
        assert!(mismatch_of(&[0.0, 0.0, 0.0, 0.0, 100.0, 150.0, 200.0, 350.0], &low).contains("which are pixels"));
        assert!(mismatch_of(&parts, &[0.0, 0.9, 0.1, 0.0]).contains("which are probabilities"));
        // Corners of a hundred boxes in the right half.
        let corners: Vec<f32> = (0..100).flat_map(|i| [0.8 + 0.001 * i as f32, 0.8, 0.95, 0.99]).collect();
        assert!(mismatch_of(&corners, &[-3.0; 200]).contains("two corners"));
        let sizes: Vec<f32> = (0..100).flat_map(|i| [0.8 + 0.001 * i as f32, 0.8, 0.1, 0.2]).collect();
        assert_eq!(mismatch_of(&sizes, &[-3.0; 200]), "");
    }

    #[test]
    fn with_four_classes_the_output_names_identify_the_boxes() {
        let shape = [1, 300, 4];
        let output = |name| OutputTensor { name, shape: &shape, values: &[] };
        assert_eq!(find_heads(&[output("labels"), output("dets")]).map(|heads| heads.boxes), Ok(1));
        assert_eq!(find_heads(&[output("dets"), output("labels")]).map(|heads| heads.boxes), Ok(0));
    }
}
