//! CenterNet (Zhou et al. 2019, "Objects as Points", section 4) with sides instead of sizes (TTFNet, Liu et al. 2020, section 3).

use super::{Found, Misfit, Output, Wanted, below, part, plausible::probabilities, shapes};

/// The two outputs: which is which, and their grid.
pub(super) struct Heads {
    heatmap: usize,
    sides: usize,
    rows: usize,
    columns: usize,
    pub(super) classes: usize,
    stride: f32,
}

/// Heat map [N, rows, columns, classes] and sides [N, rows, columns, 4], in either order.
pub(super) fn outputs(shapes: &[&[i64]], (width, height): (usize, usize)) -> Result<Heads, Misfit> {
    let &[&[_, rows, columns, first], &[_, other_rows, other_columns, second]] = shapes else {
        return Err("are not two of four dimensions".into());
    };
    let (heatmap, sides, classes) = match (first, second) {
        (_, 4) => (0, 1, first),
        (4, _) => (1, 0, second),
        _ => return Err("have none with 4 values a cell".into()),
    };
    let (rows, columns) = (rows as usize, columns as usize);
    let same = (rows as i64, columns as i64) == (other_rows, other_columns);
    // A cell is as wide as it is high, and holds a whole number of pixels.
    if !same || columns == 0 || !width.is_multiple_of(columns) || rows * (width / columns) != height {
        return Err(format!("lie on no grid of a picture of {width}x{height}"));
    }
    Ok(Heads { heatmap, sides, rows, columns, classes: classes as usize, stride: (width / columns) as f32 })
}

/// Scores are 0 to 1.
pub(super) fn plausible(given: &[Output], size: (usize, usize)) -> Result<(), Misfit> {
    let heads = outputs(&shapes(given), size)?;
    probabilities(given[heads.heatmap].values.iter())
}

/// A cell that is the highest of its neighbours is the middle of a thing; neighbours as high as it count once, first come.
pub(super) fn decode(
    given: &[Output],
    picture: usize,
    size: (usize, usize),
    wanted: &Wanted,
) -> Result<Vec<Found>, Misfit> {
    let heads = outputs(&shapes(given), size)?;
    let (heatmap, sides) = (part(&given[heads.heatmap], picture), part(&given[heads.sides], picture));
    let Heads { rows, columns, classes, stride, .. } = heads;
    let at = |row: usize, column: usize, class: usize| heatmap[(row * columns + column) * classes + class];
    let wanted_classes: Vec<usize> = (0..classes).filter(|class| wanted.classes.get(*class) == Some(&true)).collect();
    let mut found = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            for class in wanted_classes.iter().copied() {
                let score = at(row, column, class);
                if below(score, wanted.least) {
                    continue;
                }
                let around = (row.saturating_sub(1)..rows.min(row + 2))
                    .flat_map(|y| (column.saturating_sub(1)..columns.min(column + 2)).map(move |x| (y, x)));
                let highest = around.filter(|cell| *cell != (row, column)).all(|(y, x)| {
                    let other = at(y, x, class);
                    score > other || (score == other && (row, column) < (y, x))
                });
                if highest {
                    let (x, y) = (column as f32 * stride, row as f32 * stride);
                    let side = &sides[(row * columns + column) * 4..][..4];
                    let corners = [x - side[0], y - side[1], x + side[2], y + side[3]];
                    found.push(Found { corners, score, class: class as u16 });
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of 16 x 16 with cells of 4, two classes.
    fn given<'a>(heatmap: &'a [f32], sides: &'a [f32], count: i64) -> [Output<'a>; 2] {
        let shapes: [&'static [i64]; 4] = [&[1, 4, 4, 2], &[1, 4, 4, 4], &[2, 4, 4, 2], &[2, 4, 4, 4]];
        let first = if count == 2 { 2 } else { 0 };
        [
            Output { name: "heatmap", shape: shapes[first], values: heatmap },
            Output { name: "sides", shape: shapes[first + 1], values: sides },
        ]
    }

    #[test]
    fn peaks_become_boxes_and_neighbours_of_a_peak_do_not() {
        let mut heatmap = vec![0.0; 32];
        let mut sides = vec![0.0; 64];
        let cell = |row: usize, column: usize| row * 4 + column;
        heatmap[cell(1, 2) * 2] = 0.9;
        heatmap[cell(1, 3) * 2] = 0.8; // beside the peak
        heatmap[cell(3, 0) * 2 + 1] = 0.3; // another class, at the border
        heatmap[cell(0, 0) * 2] = 0.2; // too low
        sides[cell(1, 2) * 4..][..4].copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
        let both = Wanted { least: 0.25, classes: &[true, true] };
        let found = decode(&given(&heatmap, &sides, 1), 0, (16, 16), &both).unwrap();
        assert_eq!(
            found,
            [
                Found { corners: [7.0, 2.0, 11.0, 8.0], score: 0.9, class: 0 },
                Found { corners: [0.0, 12.0, 0.0, 12.0], score: 0.3, class: 1 },
            ]
        );
        let second = Wanted { least: 0.25, classes: &[false, true] };
        assert_eq!(decode(&given(&heatmap, &sides, 1), 0, (16, 16), &second).unwrap().len(), 1);
    }

    #[test]
    fn two_cells_as_high_are_one_peak_and_the_second_picture_is_read_from_its_place() {
        let mut heatmap = vec![0.0; 64];
        heatmap[32 + 5 * 2] = 0.5;
        heatmap[32 + 6 * 2] = 0.5;
        let sides = vec![1.0; 128];
        let wanted = Wanted { least: 0.25, classes: &[true, true] };
        assert!(decode(&given(&heatmap, &sides, 2), 0, (16, 16), &wanted).unwrap().is_empty());
        let found = decode(&given(&heatmap, &sides, 2), 1, (16, 16), &wanted).unwrap();
        assert_eq!(found, [Found { corners: [3.0, 3.0, 5.0, 5.0], score: 0.5, class: 0 }]);
    }

    #[test]
    fn nan_is_nothing() {
        let wanted = Wanted { least: 0.0, classes: &[true, true] };
        let found = decode(&given(&[f32::NAN; 32], &[1.0; 64], 1), 0, (16, 16), &wanted).unwrap();
        assert!(found.is_empty());
    }
}
