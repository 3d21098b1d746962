//! CenterNet (Zhou et al. 2019, "Objects as Points", section 4) with distances to the sides instead of sizes (TTFNet,
//! Liu et al. 2020, section 3).

use super::{
    DecodeFilter, DecodedBox, Mismatch, OutputTensor, image_values, is_below, shapes, value_checks::check_probabilities,
};

/// Assignment of the two outputs, and their grid.
pub(super) struct Heads {
    heatmap: usize,
    sides: usize,
    rows: usize,
    columns: usize,
    pub(super) class_count: usize,
    stride: f32,
}

/// Identifies heat map [N, rows, columns, classes] and side distances [N, rows, columns, 4], in either order.
pub(super) fn find_heads(shapes: &[&[i64]], (width, height): (usize, usize)) -> Result<Heads, Mismatch> {
    let &[&[_, rows, columns, first], &[_, other_rows, other_columns, second]] = shapes else {
        return Err("are not two tensors of four dimensions".into());
    };
    let (heatmap, sides, class_count) = match (first, second) {
        (_, 4) => (0, 1, first),
        (4, _) => (1, 0, second),
        _ => return Err("include none with 4 values per cell".into()),
    };
    let (rows, columns) = (rows as usize, columns as usize);
    let is_same_grid = (rows as i64, columns as i64) == (other_rows, other_columns);
    // Cells are square and cover an integer number of pixels.
    if !is_same_grid || columns == 0 || !width.is_multiple_of(columns) || rows * (width / columns) != height {
        return Err(format!("do not lie on a grid over an image of {width}x{height}"));
    }
    Ok(Heads { heatmap, sides, rows, columns, class_count: class_count as usize, stride: (width / columns) as f32 })
}

/// Checks that scores are 0 to 1.
pub(super) fn check_values(outputs: &[OutputTensor], size: (usize, usize)) -> Result<(), Mismatch> {
    let heads = find_heads(&shapes(outputs), size)?;
    check_probabilities(outputs[heads.heatmap].values.iter())
}

/// Decodes local maxima of the heat map in a 3 x 3 neighborhood as centers; of equal neighbors, the first one.
pub(super) fn decode(
    outputs: &[OutputTensor],
    image: usize,
    size: (usize, usize),
    filter: &DecodeFilter,
) -> Result<Vec<DecodedBox>, Mismatch> {
    let heads = find_heads(&shapes(outputs), size)?;
    let (heatmap, sides) = (image_values(&outputs[heads.heatmap], image), image_values(&outputs[heads.sides], image));
    let Heads { rows, columns, class_count, stride, .. } = heads;
    let at = |row: usize, column: usize, class: usize| heatmap[(row * columns + column) * class_count + class];
    let selected_classes: Vec<usize> =
        (0..class_count).filter(|class| filter.classes.get(*class) == Some(&true)).collect();
    let mut found = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            for class in selected_classes.iter().copied() {
                let score = at(row, column, class);
                if is_below(score, filter.min_score) {
                    continue;
                }
                let neighborhood = (row.saturating_sub(1)..rows.min(row + 2))
                    .flat_map(|y| (column.saturating_sub(1)..columns.min(column + 2)).map(move |x| (y, x)));
                let is_maximum = neighborhood.filter(|cell| *cell != (row, column)).all(|(y, x)| {
                    let other = at(y, x, class);
                    score > other || (score == other && (row, column) < (y, x))
                });
                if is_maximum {
                    let (x, y) = (column as f32 * stride, row as f32 * stride);
                    let side = &sides[(row * columns + column) * 4..][..4];
                    let corners = [x - side[0], y - side[1], x + side[2], y + side[3]];
                    found.push(DecodedBox { corners, score, class: class as u16 });
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns outputs for an image of 16 x 16 with cells of 4, and two classes.
    fn tensors<'a>(heatmap: &'a [f32], sides: &'a [f32], count: i64) -> [OutputTensor<'a>; 2] {
        let shapes: [&'static [i64]; 4] = [&[1, 4, 4, 2], &[1, 4, 4, 4], &[2, 4, 4, 2], &[2, 4, 4, 4]];
        let first = if count == 2 { 2 } else { 0 };
        [
            OutputTensor { name: "heatmap", shape: shapes[first], values: heatmap },
            OutputTensor { name: "sides", shape: shapes[first + 1], values: sides },
        ]
    }

    #[test]
    fn peaks_become_boxes_and_neighbors_of_a_peak_do_not() {
        let mut heatmap = vec![0.0; 32];
        let mut sides = vec![0.0; 64];
        let cell = |row: usize, column: usize| row * 4 + column;
        heatmap[cell(1, 2) * 2] = 0.9;
        heatmap[cell(1, 3) * 2] = 0.8; // next to the peak
        heatmap[cell(3, 0) * 2 + 1] = 0.3; // another class, at the border
        heatmap[cell(0, 0) * 2] = 0.2; // too low
        sides[cell(1, 2) * 4..][..4].copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
        let both = DecodeFilter { min_score: 0.25, classes: &[true, true] };
        let found = decode(&tensors(&heatmap, &sides, 1), 0, (16, 16), &both).unwrap();
        assert_eq!(
            found,
            [
                DecodedBox { corners: [7.0, 2.0, 11.0, 8.0], score: 0.9, class: 0 },
                DecodedBox { corners: [0.0, 12.0, 0.0, 12.0], score: 0.3, class: 1 },
            ]
        );
        let second = DecodeFilter { min_score: 0.25, classes: &[false, true] };
        assert_eq!(decode(&tensors(&heatmap, &sides, 1), 0, (16, 16), &second).unwrap().len(), 1);
    }

    #[test]
    fn equal_neighbors_are_one_peak_and_batch_images_are_decoded_separately() {
        let mut heatmap = vec![0.0; 64];
        heatmap[32 + 5 * 2] = 0.5;
        heatmap[32 + 6 * 2] = 0.5;
        let sides = vec![1.0; 128];
        let filter = DecodeFilter { min_score: 0.25, classes: &[true, true] };
        assert!(decode(&tensors(&heatmap, &sides, 2), 0, (16, 16), &filter).unwrap().is_empty());
        let found = decode(&tensors(&heatmap, &sides, 2), 1, (16, 16), &filter).unwrap();
        assert_eq!(found, [DecodedBox { corners: [3.0, 3.0, 5.0, 5.0], score: 0.5, class: 0 }]);
    }

    #[test]
    fn nan_scores_give_no_boxes() {
        let filter = DecodeFilter { min_score: 0.0, classes: &[true, true] };
        let found = decode(&tensors(&[f32::NAN; 32], &[1.0; 64], 1), 0, (16, 16), &filter).unwrap();
        assert!(found.is_empty());
    }
}
