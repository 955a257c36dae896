//! The assignment problem: which row gets which column, so that the sum of the costs is as small as possible.
//!
//! The Hungarian algorithm with shortest augmenting paths: one row is added at a time, and prices keep every reduced cost at zero or
//! above (<https://cp-algorithms.com/graph/hungarian-algorithm.html>). It is implemented here for sparse costs, because a face has
//! few others near it; the crates for it take full matrices of integers (pathfinding) or of ndarray (lapjv).

/// A column that a row can have, and its cost.
pub type Candidate = (usize, f64);

/// Assigns rows to columns. `candidates` has the columns of each row, with costs of zero or above; `unassigned` has the cost of each
/// row without a column.
///
/// Returns the column of each row, for the smallest sum of costs. The result depends only on the arguments.
#[must_use]
pub fn assign(candidates: &[Vec<Candidate>], columns: usize, unassigned: &[f64]) -> Vec<Option<usize>> {
    let rows = candidates.len();
    // After the real columns there is one for each row, which only that row can have: it stays without a real one.
    let all = columns + rows;
    let mut column_of: Vec<usize> = vec![all; rows];
    let mut row_of: Vec<Option<usize>> = vec![None; all];
    let (mut row_prices, mut prices) = (vec![0.0; rows], vec![0.0; all]);
    for first in 0..rows {
        // Dijkstra's algorithm from the new row to the nearest free column.
        let mut reached: Vec<Reached> = Vec::new();
        let (mut row, mut distance) = (first, 0.0);
        let free = loop {
            for (column, cost) in candidates[row].iter().copied().chain([(columns + row, unassigned[row])]) {
                let through = Reached {
                    column,
                    distance: distance + cost - row_prices[row] - prices[column],
                    row,
                    visited: false,
                };
                match reached.iter_mut().find(|reached| reached.column == column) {
                    Some(reached) if !reached.visited && through.distance < reached.distance => *reached = through,
                    Some(_) => {}
                    None => reached.push(through),
                }
            }
            let ahead = reached.iter_mut().filter(|reached| !reached.visited);
            let nearest = ahead.min_by(|one, other| one.distance.total_cmp(&other.distance));
            let nearest = nearest.expect("the own column of the new row is free");
            nearest.visited = true;
            distance = nearest.distance;
            match row_of[nearest.column] {
                None => break nearest.column,
                Some(next) => row = next,
            }
        };
        row_prices[first] += distance;
        for reached in reached.iter().filter(|reached| reached.visited) {
            let nearer = distance - reached.distance;
            prices[reached.column] -= nearer;
            if let Some(row) = row_of[reached.column] {
                row_prices[row] += nearer;
            }
        }
        // Every row on the path gets the column that was reached from it.
        let mut column = free;
        loop {
            let row = reached.iter().find(|reached| reached.column == column).expect("a column on the path").row;
            row_of[column] = Some(row);
            let previous = std::mem::replace(&mut column_of[row], column);
            if row == first {
                break;
            }
            column = previous;
        }
    }
    column_of.into_iter().map(|column| (column < columns).then_some(column)).collect()
}

/// A column that Dijkstra's algorithm has reached.
struct Reached {
    column: usize,
    /// The sum of the reduced costs on the path to it.
    distance: f64,
    /// The row before it on the path.
    row: usize,
    visited: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cost of a row without a column.
    const UNASSIGNED: f64 = 12.0;

    /// The smallest sum of the costs from this row on, of all possibilities.
    fn smallest(costs: &[Vec<Option<f64>>], row: usize, taken: &mut Vec<bool>) -> f64 {
        if row == costs.len() {
            return 0.0;
        }
        let mut best = UNASSIGNED + smallest(costs, row + 1, taken);
        for column in 0..taken.len() {
            if let Some(cost) = costs[row][column]
                && !taken[column]
            {
                taken[column] = true;
                best = best.min(cost + smallest(costs, row + 1, taken));
                taken[column] = false;
            }
        }
        best
    }

    #[test]
    fn the_sum_is_the_smallest_of_all_possibilities() {
        let mut dice = 1_u32;
        let mut number = |below: u32| {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (dice >> 16) % below
        };
        for _ in 0..2000 {
            let (rows, columns) = (number(6) as usize, number(6) as usize);
            let mut costs = vec![vec![None; columns]; rows];
            costs.iter_mut().flatten().for_each(|cost| *cost = (number(4) > 0).then(|| f64::from(number(20))));
            let candidates: Vec<Vec<_>> = costs
                .iter()
                .map(|costs| costs.iter().enumerate().filter_map(|(column, cost)| Some((column, (*cost)?))).collect())
                .collect();
            let assigned = assign(&candidates, columns, &vec![UNASSIGNED; rows]);
            let mut taken: Vec<_> = assigned.iter().flatten().collect();
            taken.sort_unstable();
            assert!(taken.windows(2).all(|two| two[0] != two[1]), "a column has two rows: {assigned:?}");
            let cost = |(row, column): (usize, &Option<usize>)| match column {
                Some(column) => costs[row][*column].expect("a possible pair"),
                None => UNASSIGNED,
            };
            let sum: f64 = assigned.iter().enumerate().map(cost).sum();
            let expected = smallest(&costs, 0, &mut vec![false; columns]);
            assert!((sum - expected).abs() < 1e-9, "{sum} is not {expected}: {costs:?}");
        }
    }

    #[test]
    fn a_pair_that_costs_more_than_no_pair_is_not_assigned() {
        assert_eq!(assign(&[vec![(0, 2.0)]], 1, &[1.0]), [None]);
        assert_eq!(assign(&[vec![(0, 0.5)]], 1, &[1.0]), [Some(0)]);
        assert_eq!(assign(&[vec![], vec![]], 0, &[1.0, 1.0]), [None, None]);
    }
}
