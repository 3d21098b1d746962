//! Linear sum assignment: the one-to-one pairs of rows and columns with the greatest total gain.

/// Returns the pairs (row, column) that maximize the sum of their gains, in the order of the rows. `gains` is row-major,
/// `rows` x `columns`; only gains above 0 pair anything, so NaN pairs nothing.
///
/// Rows and columns that no gain connects do not compete. Each connected component of the bipartite graph of positive gains
/// is therefore solved by itself (shortest augmenting paths, Crouse 2016): a thousand objects that each overlap a few others
/// cost a thousand small problems instead of one that is cubic in all of them.
#[must_use]
pub fn assign(rows: usize, columns: usize, gains: &[f64]) -> Vec<(usize, usize)> {
    debug_assert_eq!(gains.len(), rows * columns);
    let mut pairs = Vec::with_capacity(rows.min(columns));
    for component in components(rows, columns, gains) {
        match (&component.rows[..], &component.columns[..]) {
            ([], _) | (_, []) => {}
            ([row], [column]) => pairs.push((*row, *column)),
            _ => component.solve(columns, gains, &mut pairs),
        }
    }
    pairs.sort_unstable();
    pairs
}

/// Rows and columns that are connected by gains above 0, each in ascending order.
#[derive(Default)]
struct Component {
    rows: Vec<usize>,
    columns: Vec<usize>,
}

impl Component {
    /// Appends the best pairs of this component; `width` is the number of columns of the whole matrix.
    fn solve(&self, width: usize, gains: &[f64], pairs: &mut Vec<(usize, usize)>) {
        let gain = |row: usize, column: usize| gains[row * width + column].max(0.0);
        let cells = self.rows.iter().flat_map(|row| self.columns.iter().map(move |column| (*row, *column)));
        let own: Vec<f64> = cells.map(|(row, column)| gain(row, column)).collect();
        // Fails for NaN and infinities only; `max` above leaves no NaN, and an infinite gain is no gain.
        let (rows, columns) = lsap::solve(self.rows.len(), self.columns.len(), &own, true).unwrap_or_default();
        let found = rows.into_iter().zip(columns).map(|(row, column)| (self.rows[row], self.columns[column]));
        pairs.extend(found.filter(|(row, column)| gain(*row, *column) > 0.0));
    }
}

/// The connected components of the bipartite graph that has an edge where a gain is above 0.
fn components(rows: usize, columns: usize, gains: &[f64]) -> Vec<Component> {
    // Disjoint sets over rows, then columns.
    let mut sets = Sets::new(rows + columns);
    for row in 0..rows {
        for (column, gain) in gains[row * columns..(row + 1) * columns].iter().enumerate() {
            if *gain > 0.0 {
                sets.join(row, rows + column);
            }
        }
    }
    let mut found: Vec<Component> = (0..rows + columns).map(|_| Component::default()).collect();
    for row in 0..rows {
        found[sets.root(row)].rows.push(row);
    }
    for column in 0..columns {
        found[sets.root(rows + column)].columns.push(column);
    }
    found
}

/// Disjoint sets of numbers (union-find with path halving).
struct Sets {
    parents: Vec<usize>,
}

impl Sets {
    fn new(count: usize) -> Self {
        Self { parents: (0..count).collect() }
    }

    fn root(&mut self, mut number: usize) -> usize {
        while self.parents[number] != number {
            self.parents[number] = self.parents[self.parents[number]];
            number = self.parents[number];
        }
        number
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The smaller number is the root, so the order of joins does not matter.
        self.parents[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::assign;
    use crate::Random;

    #[test]
    fn takes_the_greatest_sum_and_not_the_greatest_first_pair() {
        assert_eq!(assign(2, 2, &[10.0, 9.0, 9.0, 1.0]), [(0, 1), (1, 0)]);
    }

    #[test]
    fn rectangular_and_empty_matrices() {
        assert_eq!(assign(1, 3, &[0.1, 0.9, 0.3]), [(0, 1)]);
        assert_eq!(assign(3, 1, &[0.1, 0.9, 0.3]), [(1, 0)]);
        assert!(assign(0, 3, &[]).is_empty());
        assert!(assign(3, 0, &[]).is_empty());
    }

    #[test]
    fn what_gains_nothing_is_not_paired() {
        assert_eq!(assign(2, 2, &[0.5, 0.0, 0.0, 0.0]), [(0, 0)]);
        assert!(assign(1, 2, &[f64::NAN, -1.0]).is_empty());
    }

    #[test]
    fn components_solved_apart_give_the_optimum_of_the_whole_matrix() {
        let mut random = Random::of(7, "assignment", 0);
        for (rows, columns, density) in [(12, 12, 0.1), (20, 9, 0.2), (7, 25, 0.15), (30, 30, 0.6)] {
            for _ in 0..20 {
                let gains: Vec<f64> = (0..rows * columns)
                    .map(|_| if random.between(0.0, 1.0) < density { random.between(0.0, 1.0) } else { 0.0 })
                    .collect();
                let (r, c) = lsap::solve(rows, columns, &gains, true).unwrap();
                let whole: Vec<(usize, usize)> =
                    r.into_iter().zip(c).filter(|(row, column)| gains[row * columns + column] > 0.0).collect();
                assert_eq!(assign(rows, columns, &gains), whole);
            }
        }
    }

    /// Cubic, this is 27 billion steps.
    #[test]
    fn many_objects_that_hardly_overlap_are_many_small_problems() {
        let count = 3000;
        let mut gains = vec![0.0; count * count];
        for row in 0..count {
            gains[row * count + row] = 0.8;
            gains[row * count + (row ^ 1)] = 0.3;
        }
        assert_eq!(assign(count, count, &gains), (0..count).map(|row| (row, row)).collect::<Vec<_>>());
    }
}
