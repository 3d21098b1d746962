//! YOLOX (Ge et al. 2021, section 2.1), as its repository exports it: boxes still relative to their cells.

use super::{
    Found, Misfit, Output, STRIDES, Wanted, below, grids, part, plausible::probabilities, shapes, single, surest,
};

/// Box and objectness before the classes.
const BEFORE: usize = 5;

/// One output [N, anchors, 5 + classes].
pub(super) fn classes(shapes: &[&[i64]], size: (usize, usize)) -> Result<usize, Misfit> {
    let (anchors, values) = single(shapes)?;
    if values <= BEFORE {
        return Err(format!("have {values} values an anchor, where more than {BEFORE} are needed"));
    }
    match grids(anchors, size) {
        Some(_) => Ok(values - BEFORE),
        None => Err(format!("have {anchors} anchors, another number than the grids of {}x{}", size.0, size.1)),
    }
}

/// Farthest from its cell that a middle may lie, cells, and the greatest logarithm of a size in cells (12 pictures of 4096
/// px). What is in pixels already is far beyond.
const FARTHEST: f32 = 24.0;
const LARGEST: f32 = 9.0;

/// Boxes are relative to their cells, scores 0 to 1.
pub(super) fn plausible(given: &[Output], size: (usize, usize)) -> Result<(), Misfit> {
    let classes = classes(&shapes(given), size)?;
    let rows = || given[0].values.chunks_exact(BEFORE + classes);
    let decoded = |row: &&[f32]| {
        row[..2].iter().any(|offset| offset.abs() > FARTHEST) || row[2..4].iter().any(|size| *size > LARGEST)
    };
    if let Some([x, y, width, height, ..]) = rows().find(decoded) {
        return Err(format!(
            "hold a box {x:.0} {y:.0} {width:.0} {height:.0}, which is in pixels, where boxes relative to their cells are \
             expected: export it without `--decode_in_inference`"
        ));
    }
    probabilities(rows().flat_map(|row| &row[4..]))
}

/// Anchors lie row by row on grids of [`STRIDES`], the finest first.
pub(super) fn decode(
    given: &[Output],
    picture: usize,
    size: (usize, usize),
    wanted: &Wanted,
) -> Result<Vec<Found>, Misfit> {
    let classes = classes(&shapes(given), size)?;
    let mut rows = part(&given[0], picture).chunks_exact(BEFORE + classes);
    let mut found = Vec::new();
    let grids = grids(rows.len(), size).unwrap_or_default();
    for stride in &STRIDES[..grids] {
        let (columns, lines) = (size.0 / stride, size.1 / stride);
        for (cell, row) in rows.by_ref().take(columns * lines).enumerate() {
            let there = row[4];
            if below(there, wanted.least) {
                continue;
            }
            let Some((class, sure)) = surest(row[BEFORE..].iter().copied()) else { continue };
            let score = there * sure;
            if below(score, wanted.least) || wanted.classes.get(class) != Some(&true) {
                continue;
            }
            let stride = *stride as f32;
            let (x, y) = (((cell % columns) as f32 + row[0]) * stride, ((cell / columns) as f32 + row[1]) * stride);
            let (width, height) = (row[2].exp() * stride / 2.0, row[3].exp() * stride / 2.0);
            found.push(Found { corners: [x - width, y - height, x + width, y + height], score, class: class as u16 });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_in_pixels_and_scores_without_their_sigmoid_are_of_another_export() {
        let told = |row: [f32; 7]| {
            let (mut values, shape) = (vec![0.0; 42 * 7], [1, 42, 7]);
            values[70..77].copy_from_slice(&row);
            plausible(&[Output { name: "output", shape: &shape, values: &values }], (64, 32)).err().unwrap_or_default()
        };
        assert_eq!(told([0.5, -1.2, 1.5, 2.3, 0.9, 0.8, 0.1]), "");
        let decoded = told([150.0, 250.0, 100.0, 200.0, 0.95, 0.95, 0.0]);
        assert!(decoded.contains("150 250 100 200") && decoded.contains("--decode_in_inference"), "{decoded}");
        let raw: Vec<f32> = [0.5, 0.5, 0.1, 0.1, -6.0, -4.0, 3.0].repeat(42);
        let shape = [1, 42, 7];
        let raw = plausible(&[Output { name: "output", shape: &shape, values: &raw }], (64, 32)).unwrap_err();
        assert!(raw.contains("scores from -6.00 to 3.00") && raw.contains("sigmoid"), "{raw}");
    }

    #[test]
    fn anchors_are_put_on_their_grids() {
        // 64 x 32: grids of 8x4, 4x2 and 2x1 cells; two classes.
        let anchors = 32 + 8 + 2;
        let mut values = vec![0.0; anchors * 7];
        // Cell (row 1, column 3) of the finest grid; the last cell of the coarsest.
        values[(8 + 3) * 7..][..7].copy_from_slice(&[0.5, 0.25, 0.0, 2.0_f32.ln(), 0.9, 0.5, 0.8]);
        values[(anchors - 1) * 7..][..7].copy_from_slice(&[0.0, 0.5, 0.0, 0.0, 1.0, 0.6, 0.1]);
        let shape = [1, anchors as i64, 7];
        let given = [Output { name: "output", shape: &shape, values: &values }];
        let found = decode(&given, 0, (64, 32), &Wanted { least: 0.25, classes: &[true, true] }).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].corners, found[0].class), ([24.0, 2.0, 32.0, 18.0], 1));
        assert!((found[0].score - 0.72).abs() < 1e-6);
        assert_eq!((found[1].corners, found[1].score, found[1].class), ([16.0, 0.0, 48.0, 32.0], 0.6, 0));
        // The class that is surest counts, wanted or not: what is a dog is no person.
        let first = decode(&given, 0, (64, 32), &Wanted { least: 0.25, classes: &[true, false] }).unwrap();
        assert_eq!(first.len(), 1);
    }
}
