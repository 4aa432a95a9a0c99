//! Numbers that belong to the rows or columns of matrices: one for all, or one each.

use crate::error::{Result, bail, ensure};

/// A number for each row (or column) of a stack of matrices.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lines<T> {
    values: Vec<T>,
    /// Values from one matrix of the stack to the next: 0 where all have the same.
    matrix: usize,
    /// Values from one line to the next: 0 where all have the same.
    line: usize,
}

/// Which lines of a matrix are meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Direction {
    Row,
    Column,
}

impl<T: Copy> Lines<T> {
    /// The same for all.
    pub fn all(value: T) -> Lines<T> {
        Lines { values: vec![value], matrix: 0, line: 0 }
    }

    /// One a matrix, or one a line of each matrix: `values` of a tensor of shape `[matrices]` or
    /// `[matrices, lines]`.
    ///
    /// # Errors
    /// `InvalidInput` for another shape.
    pub fn stacked(
        values: Vec<T>,
        dims: &[usize],
        matrices: usize,
        lines: usize,
        what: &str,
    ) -> Result<Lines<T>> {
        let (matrix, line) = match *dims {
            [n] if n == matrices => (1, 0),
            [n, m] if n == matrices && m == lines => (lines, 1),
            _ => bail!(
                InvalidInput,
                "{what} is of shape {dims:?}, expected [{matrices}] or [{matrices}, {lines}]"
            ),
        };
        Ok(Lines { values, matrix, line })
    }

    /// `values` of a tensor of dimensions `dims`, for an operand of dimensions `of` (a stack of
    /// matrices, or a vector). They are one number, one a line, or one a line of each matrix in
    /// the form that broadcasts to the operand.
    ///
    /// # Errors
    /// `InvalidInput` where they are of another form.
    pub fn new(
        values: Vec<T>,
        dims: &[usize],
        of: &[usize],
        direction: Direction,
        what: &str,
    ) -> Result<Lines<T>> {
        if values.len() == 1 {
            return Ok(Lines { values, matrix: 0, line: 0 });
        }
        let (batch, lines) = match (of, direction) {
            ([batch @ .., rows, _], Direction::Row) => (batch, *rows),
            ([batch @ .., _, columns], Direction::Column) => (batch, *columns),
            _ => (&[][..], 1),
        };
        if let &[n] = dims
            && n == lines
        {
            return Ok(Lines { values, matrix: 0, line: 1 });
        }
        let fits = |front: &[usize], line: [usize; 2]| {
            let expected = match direction {
                Direction::Row => [lines, 1],
                Direction::Column => [1, lines],
            };
            line == expected
                && (front == batch || front.iter().all(|&d| d == 1))
                && front.len() <= batch.len()
        };
        let (front, stacked) = match dims {
            [front @ .., rows, columns] => (front, fits(front, [*rows, *columns])),
            _ => (&[][..], false),
        };
        ensure!(
            stacked,
            InvalidInput,
            "{what} is of shape {dims:?}: expected one number, or one for each {} of {of:?}",
            if direction == Direction::Row { "row" } else { "column" }
        );
        let matrix = if front == batch { lines } else { 0 };
        Ok(Lines { values, matrix, line: 1 })
    }

    /// The number of line `line` of matrix `matrix`.
    pub fn at(&self, matrix: usize, line: usize) -> Option<T> {
        self.values.get(matrix * self.matrix + line * self.line).copied()
    }

    /// The numbers of the lines of matrix `matrix`; one where they share it.
    pub fn of(&self, matrix: usize) -> &[T] {
        let start = matrix * self.matrix;
        let end = match (self.line, self.matrix) {
            (0, _) => start + 1,
            (_, 0) => self.values.len(),
            (_, lines) => start + lines,
        };
        self.values.get(start..end).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_form_are_found() {
        let new = |n: usize, dims: &[usize], direction| {
            Lines::new((0..n).collect(), dims, &[2, 3, 4], direction, "scale")
        };
        let one = new(1, &[1], Direction::Row).unwrap();
        assert_eq!((one.at(1, 2), one.of(1)), (Some(0), &[0][..]));
        let rows = new(3, &[3], Direction::Row).unwrap();
        assert_eq!((rows.at(1, 2), rows.of(1)), (Some(2), &[0, 1, 2][..]));
        let columns = new(8, &[2, 1, 4], Direction::Column).unwrap();
        assert_eq!((columns.at(1, 2), columns.of(1)), (Some(6), &[4, 5, 6, 7][..]));
        let shared = new(4, &[1, 1, 4], Direction::Column).unwrap();
        assert_eq!((shared.at(1, 3), shared.of(1).len()), (Some(3), 4));
        let stacked = |n: usize, dims: &[usize]| Lines::stacked((0..n).collect(), dims, 2, 3, "");
        assert_eq!(stacked(2, &[2]).unwrap().of(1), [1]);
        assert_eq!(stacked(6, &[2, 3]).unwrap().of(1), [3, 4, 5]);
        assert!(stacked(3, &[3]).is_err());
        assert!(new(4, &[4], Direction::Row).is_err());
        assert!(new(6, &[2, 3], Direction::Row).is_err());
        assert!(new(12, &[3, 1, 4], Direction::Column).is_err());
    }
}
