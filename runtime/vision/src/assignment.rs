//! Linear sum assignment: one-to-one pairs of rows and columns with maximum total gain.

/// Returns the pairs (row, column) that maximize the sum of their gains, ordered by row. `gains` is row-major,
/// `rows` x `columns`; only pairs with a gain above 0 are assigned, so NaN assigns nothing.
///
/// Each connected component of the bipartite graph of positive gains is solved separately by shortest augmenting paths
/// (Crouse 2016), because rows and columns without a common gain do not compete. A thousand objects that each overlap a few
/// others are a thousand small problems instead of one that is cubic in their total number.
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

/// Connected component: rows and columns that gains above 0 connect, each in ascending order.
#[derive(Default)]
struct Component {
    rows: Vec<usize>,
    columns: Vec<usize>,
}

impl Component {
    /// Appends the optimal pairs of this component; `width` is the number of columns of the whole matrix.
    fn solve(&self, width: usize, gains: &[f64], pairs: &mut Vec<(usize, usize)>) {
        let gain = |row: usize, column: usize| gains[row * width + column].max(0.0);
        let cells = self.rows.iter().flat_map(|row| self.columns.iter().map(move |column| (*row, *column)));
        let own: Vec<f64> = cells.map(|(row, column)| gain(row, column)).collect();
        // Fails only for NaN, which `max` above has removed, and for infinite gains, which then assign nothing.
        let (rows, columns) = lsap::solve(self.rows.len(), self.columns.len(), &own, true).unwrap_or_default();
        let found = rows.into_iter().zip(columns).map(|(row, column)| (self.rows[row], self.columns[column]));
        pairs.extend(found.filter(|(row, column)| gain(*row, *column) > 0.0));
    }
}

/// Returns the connected components of the bipartite graph that has an edge for each gain above 0.
fn components(rows: usize, columns: usize, gains: &[f64]) -> Vec<Component> {
    // Elements of the disjoint sets: the rows, then the columns.
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

/// Disjoint sets of integers (union-find with path halving).
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
        // The smaller number becomes the root, so that the result does not depend on the order of the joins.
        self.parents[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::assign;
    use sideline_api::Random;

    #[test]
    fn maximizes_the_sum_instead_of_taking_the_largest_gain_first() {
        assert_eq!(assign(2, 2, &[10.0, 9.0, 9.0, 1.0]), [(0, 1), (1, 0)]);
    }

    #[test]
    fn rectangular_and_empty_matrices_are_assigned() {
        assert_eq!(assign(1, 3, &[0.1, 0.9, 0.3]), [(0, 1)]);
        assert_eq!(assign(3, 1, &[0.1, 0.9, 0.3]), [(1, 0)]);
        assert!(assign(0, 3, &[]).is_empty());
        assert!(assign(3, 0, &[]).is_empty());
    }

    #[test]
    fn pairs_without_a_positive_gain_are_not_assigned() {
        assert_eq!(assign(2, 2, &[0.5, 0.0, 0.0, 0.0]), [(0, 0)]);
        assert!(assign(1, 2, &[f64::NAN, -1.0]).is_empty());
    }

    #[test]
    fn components_solved_separately_give_the_optimum_of_the_whole_matrix() {
        let mut random = Random::for_item(7, "assignment", 0);
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

    /// Solved as one cubic problem this would take 27 billion steps.
    #[test]
    fn many_objects_with_few_overlaps_are_solved_as_many_small_problems() {
        let count = 3000;
        let mut gains = vec![0.0; count * count];
        for row in 0..count {
            gains[row * count + row] = 0.8;
            gains[row * count + (row ^ 1)] = 0.3;
        }
        assert_eq!(assign(count, count, &gains), (0..count).map(|row| (row, row)).collect::<Vec<_>>());
    }
}
