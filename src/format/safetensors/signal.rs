//! What flows between layers: a value of the graph, its type, and which axis is the batch.

use crate::error::{Result, ensure, err};
use crate::graph::{Dim, ValueId};
use crate::tensor::{ElementType, Shape, shape};

/// A value under construction. Its rank is always known.
#[derive(Debug, Clone)]
pub(super) struct Signal {
    pub(super) value: ValueId,
    pub(super) dtype: ElementType,
    pub(super) dims: Vec<Dim>,
    /// The axis that counts rows.
    pub(super) batch: usize,
}

impl Signal {
    /// How many axes there are.
    pub(super) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The axis `axis` names, which may not be the batch.
    pub(super) fn axis(&self, axis: i64) -> Result<usize> {
        let axis = shape::resolve_axis(axis, self.rank())?;
        ensure!(
            axis != self.batch,
            InvalidModel,
            "axis {axis} is the batch: no layer mixes its rows"
        );
        Ok(axis)
    }

    /// Checks that dimension `axis` can be `expected`.
    pub(super) fn expect(&self, axis: usize, expected: usize) -> Result<()> {
        match self.dims.get(axis) {
            Some(Dim::Fixed(n)) if *n != expected => {
                Err(err!(InvalidModel, "dimension {axis} is {n} here, expected {expected}"))
            }
            Some(_) => Ok(()),
            None => Err(err!(InvalidModel, "expected more than {} dimensions", self.rank())),
        }
    }

    /// Checks that the last dimension can be `expected`, and is not the batch.
    pub(super) fn expect_last(&self, expected: usize) -> Result<()> {
        ensure!(
            self.rank() >= 2,
            InvalidModel,
            "expected a batch and a feature dimension, got rank {}",
            self.rank()
        );
        self.axis(-1)?;
        self.expect(self.rank() - 1, expected)
    }

    /// Checks the rank.
    pub(super) fn expect_rank(&self, rank: usize) -> Result<()> {
        ensure!(
            self.rank() == rank,
            InvalidModel,
            "expected {rank} dimensions, got {}",
            self.rank()
        );
        Ok(())
    }

    /// Checks that the batch comes at `axis`.
    pub(super) fn expect_batch_at(&self, axis: usize) -> Result<()> {
        ensure!(
            self.batch == axis,
            InvalidModel,
            "the batch is dimension {} here, expected it to be {axis}",
            self.batch
        );
        Ok(())
    }

    /// The dimension `axis`, where it is fixed.
    pub(super) fn fixed(&self, axis: usize) -> Option<usize> {
        match self.dims.get(axis) {
            Some(Dim::Fixed(n)) => Some(*n),
            _ => None,
        }
    }

    /// The dimensions with `axis` replaced.
    pub(super) fn with(&self, axis: usize, dim: Dim) -> Vec<Dim> {
        let mut dims = self.dims.clone();
        if let Some(at) = dims.get_mut(axis) {
            *at = dim;
        }
        dims
    }

    /// The dimensions with the last one replaced.
    pub(super) fn with_last(&self, size: usize) -> Vec<Dim> {
        self.with(self.rank().saturating_sub(1), Dim::Fixed(size))
    }
}

/// The product of dimensions, where all are fixed.
pub(super) fn product(dims: &[Dim]) -> Result<Dim> {
    let mut fixed = Vec::with_capacity(dims.len());
    for dim in dims {
        match dim {
            Dim::Fixed(n) => fixed.push(*n),
            Dim::Symbol(_) | Dim::Unknown => return Ok(Dim::Unknown),
        }
    }
    Ok(Dim::Fixed(Shape::new(&fixed)?.len()))
}

/// The dimension that two equal ones have, one of which may be known better; `None` where they
/// cannot be equal. Names do not decide: two of them may mean one size.
pub(super) fn unified(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Fixed(m), Dim::Fixed(n)) => (m == n).then_some(Dim::Fixed(*m)),
        (Dim::Fixed(_), _) => Some(a.clone()),
        (_, Dim::Fixed(_)) => Some(b.clone()),
        (Dim::Unknown, _) => Some(b.clone()),
        (Dim::Symbol(_), _) => Some(a.clone()),
    }
}

/// The dimensions of an element-wise operator's answer. Both sides have all axes and the batch in
/// the same place; elsewhere a size of 1 is repeated.
pub(super) fn broadcast(a: &Signal, b: &Signal) -> Result<Vec<Dim>> {
    ensure!(
        a.rank() == b.rank() && a.batch == b.batch,
        InvalidModel,
        "{} dimensions with the batch at {} and {} with the batch at {} do not go together",
        a.rank(),
        a.batch,
        b.rank(),
        b.batch
    );
    let one = |dim: &Dim| *dim == Dim::Fixed(1);
    let pairs = a.dims.iter().zip(&b.dims).enumerate();
    pairs
        .map(|(axis, (m, n))| match (one(m), one(n)) {
            (false, true) if axis != a.batch => Ok(m.clone()),
            (true, false) if axis != a.batch => Ok(n.clone()),
            _ => unified(m, n)
                .ok_or_else(|| err!(InvalidModel, "dimension {axis} is both {m} and {n}")),
        })
        .collect()
}
