//! DETR's heirs whose classes are told apart by sigmoids (Deformable DETR, Zhu et al. 2021, section 4; RF-DETR): a box and
//! logits for each query, and nothing to suppress.

use super::{
    Found, Misfit, Output, Wanted, part,
    plausible::{extent, logits, middle_and_size},
    shapes, sigmoid, surest,
};

/// The two outputs: which is which.
pub(super) struct Heads {
    boxes: usize,
    logits: usize,
    pub(super) classes: usize,
}

/// Boxes [N, queries, 4] and logits [N, queries, classes], in either order; where there are four classes, the names tell.
pub(super) fn outputs(given: &[Output]) -> Result<Heads, Misfit> {
    let &[&[_, queries, first], &[_, other, second]] = &shapes(given)[..] else {
        return Err("are not two of three dimensions".into());
    };
    if queries != other {
        return Err(format!("have {queries} and {other} queries"));
    }
    // RF-DETR says `dets` and `labels`, others `pred_boxes` and `logits`.
    let named_last = given[1].name.contains("box") || given[1].name.contains("det");
    match (first, second) {
        (4, 4) if named_last => Ok(Heads { boxes: 1, logits: 0, classes: 4 }),
        (4, _) => Ok(Heads { boxes: 0, logits: 1, classes: second as usize }),
        (_, 4) => Ok(Heads { boxes: 1, logits: 0, classes: first as usize }),
        _ => Err("have none with 4 values a query".into()),
    }
}

/// Farthest that a box may reach, in pictures: boxes in pixels are far beyond.
const FARTHEST: f32 = 8.0;

/// Boxes are parts of the picture, scores logits.
pub(super) fn plausible(given: &[Output]) -> Result<(), Misfit> {
    let heads = outputs(given)?;
    let boxes = given[heads.boxes].values;
    let (least, most) = extent(boxes.iter());
    if most > FARTHEST || least < -FARTHEST {
        return Err(format!(
            "hold boxes from {least:.0} to {most:.0}, which are pixels, where parts of the picture (0 to 1) are expected: a \
             YOLO-NAS exports so, and no decoder reads it"
        ));
    }
    logits(given[heads.logits].values.iter())?;
    let boxes = boxes.chunks_exact(4).map(|place| [place[0], place[1], place[2], place[3]]);
    middle_and_size(boxes, (1.0, 1.0))
}

/// Boxes are middle and size, 0 to 1 of the picture.
pub(super) fn decode(
    given: &[Output],
    picture: usize,
    (width, height): (usize, usize),
    wanted: &Wanted,
) -> Result<Vec<Found>, Misfit> {
    let heads = outputs(given)?;
    let boxes = part(&given[heads.boxes], picture).chunks_exact(4);
    let logits = part(&given[heads.logits], picture).chunks_exact(heads.classes.max(1));
    let (width, height) = (width as f32, height as f32);
    let found = boxes.zip(logits).filter_map(|(place, logits)| {
        let (class, logit) = surest(logits.iter().copied())?;
        let score = sigmoid(logit);
        (score >= wanted.least && wanted.classes.get(class) == Some(&true)).then(|| {
            let (x, y, across, down) = (place[0], place[1], place[2] / 2.0, place[3] / 2.0);
            let corners = [(x - across) * width, (y - down) * height, (x + across) * width, (y + down) * height];
            Found { corners, score, class: class as u16 }
        })
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_boxes() {
        let boxes = [0.5, 0.25, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1];
        let logits = [-4.0, 0.0, -3.0, -2.0, -2.0, -2.0];
        let (b, l) = ([1, 2, 4], [1, 2, 3]);
        let given =
            [Output { name: "labels", shape: &l, values: &logits }, Output { name: "dets", shape: &b, values: &boxes }];
        let found = decode(&given, 0, (100, 200), &Wanted { least: 0.25, classes: &[true; 3] }).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].score, found[0].class), (0.5, 1));
        for (has, want) in found[0].corners.iter().zip([40.0, 40.0, 60.0, 60.0]) {
            assert!((has - want).abs() < 1e-4, "{found:?}");
        }
    }

    #[test]
    fn pixels_and_probabilities_are_of_another_network() {
        let told = |boxes: &[f32], scores: &[f32]| {
            let (b, l) = ([1, boxes.len() as i64 / 4, 4], [1, scores.len() as i64 / 2, 2]);
            let given =
                [Output { name: "boxes", shape: &b, values: boxes }, Output { name: "s", shape: &l, values: scores }];
            plausible(&given).err().unwrap_or_default()
        };
        let (parts, low) = ([0.5, 0.5, 1.0, 1.0, 0.1, 0.2, 0.3, 0.4], [-9.0, 2.2, -9.0, -9.0]);
        assert_eq!(told(&parts, &low), "");
        assert_eq!(told(&[0.0; 8], &[0.0; 4]), "", "nothing is said of a model that sees nothing");
        assert!(told(&[0.0, 0.0, 0.0, 0.0, 100.0, 150.0, 200.0, 350.0], &low).contains("which are pixels"));
        assert!(told(&parts, &[0.0, 0.9, 0.1, 0.0]).contains("which are probabilities"));
        // Corners of a hundred boxes over the right half.
        let corners: Vec<f32> = (0..100).flat_map(|i| [0.8 + 0.001 * i as f32, 0.8, 0.95, 0.99]).collect();
        assert!(told(&corners, &[-3.0; 200]).contains("two corners"));
        let sizes: Vec<f32> = (0..100).flat_map(|i| [0.8 + 0.001 * i as f32, 0.8, 0.1, 0.2]).collect();
        assert_eq!(told(&sizes, &[-3.0; 200]), "");
    }

    #[test]
    fn of_four_classes_the_names_tell_which_are_boxes() {
        let shape = [1, 300, 4];
        let output = |name| Output { name, shape: &shape, values: &[] };
        assert_eq!(outputs(&[output("labels"), output("dets")]).map(|heads| heads.boxes), Ok(1));
        assert_eq!(outputs(&[output("dets"), output("labels")]).map(|heads| heads.boxes), Ok(0));
    }
}
