//! YOLOv8 and its like (v8, v9, v11, v12), as Ultralytics exports them: boxes in pixels, classes 0 to 1, values of one kind
//! beside each other.

use super::{
    CHOSEN, Found, Misfit, Output, Wanted, chosen_by_the_model, grids, part,
    plausible::{extent, middle_and_size, probabilities},
    shapes, single,
};

/// Middle and size before the classes.
const BEFORE: usize = 4;

/// One output [N, 4 + classes, anchors].
pub(super) fn classes(shapes: &[&[i64]], size: (usize, usize)) -> Result<usize, Misfit> {
    let (values, anchors) = single(shapes)?;
    if grids(anchors, size).is_none() && chosen_by_the_model(shapes) {
        return Err(CHOSEN.into());
    }
    if values <= BEFORE {
        return Err(format!("have {values} values an anchor, where more than {BEFORE} are needed"));
    }
    match grids(anchors, size) {
        Some(_) => Ok(values - BEFORE),
        None => Err(format!("have {anchors} anchors, another number than the grids of {}x{}", size.0, size.1)),
    }
}

/// Greatest value of boxes that are parts of the picture: those in pixels are far above.
const PARTS: f32 = 2.0;

/// Boxes are in pixels, scores 0 to 1.
pub(super) fn plausible(given: &[Output], size: (usize, usize)) -> Result<(), Misfit> {
    let classes = classes(&shapes(given), size)?;
    let values = part(&given[0], 0);
    let anchors = values.len() / (BEFORE + classes);
    let (boxes, scores) = values.split_at(BEFORE * anchors);
    let (_, most) = extent(boxes.iter());
    if most > 0.0 && most <= PARTS {
        return Err(format!(
            "hold boxes up to {most:.2}, which are parts of the picture, where pixels are expected: export it without \
             normalized boxes"
        ));
    }
    probabilities(scores.iter())?;
    let place = |anchor: usize| std::array::from_fn(|value| boxes[value * anchors + anchor]);
    middle_and_size((0..anchors).map(place), (size.0 as f32, size.1 as f32))
}

/// Each anchor with its surest class.
pub(super) fn decode(
    given: &[Output],
    picture: usize,
    size: (usize, usize),
    wanted: &Wanted,
) -> Result<Vec<Found>, Misfit> {
    let classes = classes(&shapes(given), size)?;
    let values = part(&given[0], picture);
    let anchors = values.len() / (BEFORE + classes);
    let row = |i: usize| &values[i * anchors..][..anchors];
    // Class after class: so memory is read in its order.
    let mut surest = vec![(0_u16, f32::NEG_INFINITY); anchors];
    for class in 0..classes {
        for (surest, score) in surest.iter_mut().zip(row(BEFORE + class)) {
            if *score > surest.1 {
                *surest = (class as u16, *score);
            }
        }
    }
    let (x, y, width, height) = (row(0), row(1), row(2), row(3));
    let taken = surest
        .into_iter()
        .enumerate()
        .filter(|(_, (class, score))| *score >= wanted.least && wanted.classes.get(usize::from(*class)) == Some(&true));
    let boxes = taken.map(|(i, (class, score))| {
        let (half_width, half_height) = (width[i] / 2.0, height[i] / 2.0);
        let corners = [x[i] - half_width, y[i] - half_height, x[i] + half_width, y[i] + half_height];
        Found { corners, score, class }
    });
    Ok(boxes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_picture_and_logits_are_of_another_export() {
        let anchors = 32 + 8 + 2;
        let told = |place: f32, score: f32| {
            let mut values = vec![place; 4 * anchors];
            values.extend(vec![score; 2 * anchors]);
            let shape = [1, 6, anchors as i64];
            plausible(&[Output { name: "output0", shape: &shape, values: &values }], (64, 32)).err().unwrap_or_default()
        };
        assert_eq!((told(20.0, 0.7).as_str(), told(0.0, 0.0).as_str()), ("", ""));
        assert!(told(0.4, 0.7).contains("which are parts of the picture"), "{}", told(0.4, 0.7));
        assert!(told(20.0, -5.0).contains("scores from -5.00 to -5.00"), "{}", told(20.0, -5.0));
    }

    #[test]
    fn columns_become_boxes() {
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
        let given = [Output { name: "output0", shape: &shape, values: &values }];
        let found = decode(&given, 0, (64, 32), &Wanted { least: 0.25, classes: &[true, true] }).unwrap();
        assert_eq!(
            found,
            [
                Found { corners: [16.0, 8.0, 24.0, 12.0], score: 0.7, class: 1 },
                Found { corners: [35.0, 1.0, 45.0, 31.0], score: 0.9, class: 0 },
            ]
        );
    }

    #[test]
    fn an_export_that_chooses_its_boxes_itself_is_told_how_to_be_made() {
        let misfit = classes(&[&[1, 300, 6]], (640, 640)).unwrap_err();
        assert!(misfit.contains("export it with `nms=False`"), "{misfit}");
    }
}
