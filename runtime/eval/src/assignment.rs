//! The one assignment problem behind every figure: pairs of rows and columns with the greatest total gain.

/// The pairs (row, column) that maximise the summed gain; `gains` is row-major, `rows` x `columns`, all finite.
///
/// Every row or every column is paired, whichever are fewer: the caller drops the pairs it does not admit.
pub(crate) fn assign(rows: usize, columns: usize, gains: &Vec<f64>) -> Vec<(usize, usize)> {
    debug_assert_eq!(gains.len(), rows * columns);
    match lsap::solve(rows, columns, gains, true) {
        Ok((row, column)) => row.into_iter().zip(column).collect(),
        // Only a NaN or an infinity ends here; boxes are read as finite numbers.
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::assign;

    #[test]
    fn takes_the_greatest_sum_and_not_the_greatest_first_pair() {
        let pairs = assign(2, 2, &vec![10.0, 9.0, 9.0, 1.0]);
        assert_eq!(pairs, [(0, 1), (1, 0)]);
    }

    #[test]
    fn rectangular_and_empty_matrices() {
        assert_eq!(assign(1, 3, &vec![0.1, 0.9, 0.3]), [(0, 1)]);
        assert_eq!(assign(3, 1, &vec![0.1, 0.9, 0.3]), [(1, 0)]);
        assert!(assign(0, 3, &vec![]).is_empty());
    }
}
