//! Shapes: the only place where dimensions are multiplied, always checked.

use crate::error::{Result, bail, ensure};
use crate::limits::{MAX_ELEMENTS, MAX_RANK};
use smallvec::SmallVec;
use std::fmt;

/// The dimensions of a tensor, outermost first; row-major. The number of elements is checked
/// once, when the shape is made, so that no later product can overflow.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: SmallVec<[usize; 6]>,
    len: usize,
}

impl Shape {
    /// A shape of these dimensions.
    ///
    /// # Errors
    /// `LimitExceeded` when the rank passes 32 or the product passes 2^40 elements.
    pub fn new(dims: &[usize]) -> Result<Shape> {
        ensure!(
            dims.len() <= MAX_RANK,
            LimitExceeded,
            "a tensor of rank {} (at most {MAX_RANK})",
            dims.len()
        );
        Ok(Shape { dims: SmallVec::from_slice(dims), len: checked_len(dims)? })
    }

    /// The shape of a scalar: rank 0, one element.
    pub fn scalar() -> Shape {
        Shape { dims: SmallVec::new(), len: 1 }
    }

    /// A shape from dimensions as files carry them.
    ///
    /// # Errors
    /// `InvalidModel` for a negative dimension; as [`Shape::new`] otherwise.
    pub fn from_i64(dims: &[i64]) -> Result<Shape> {
        let mut out: SmallVec<[usize; 6]> = SmallVec::new();
        for &d in dims {
            match usize::try_from(d) {
                Ok(d) => out.push(d),
                Err(_) => bail!(InvalidModel, "dimension {d} in shape {dims:?} is negative"),
            }
        }
        Shape::new(&out)
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The number of elements (1 for a scalar, 0 when any dimension is 0).
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Dimension `axis`, or 1 beyond the rank.
    pub fn dim(&self, axis: usize) -> usize {
        self.dims.get(axis).copied().unwrap_or(1)
    }

    /// Row-major strides in elements. Dimensions of size 0 or 1 get the stride they would have.
    pub fn strides(&self) -> SmallVec<[usize; 6]> {
        let mut strides: SmallVec<[usize; 6]> = SmallVec::from_elem(1, self.dims.len());
        let mut step = 1usize;
        for (stride, &dim) in strides.iter_mut().zip(&self.dims).rev() {
            *stride = step;
            step = step.saturating_mul(dim.max(1));
        }
        strides
    }

    /// `(outer, dim, inner)`: the products before and after `axis`, for loops along one axis.
    /// `axis` must be below the rank.
    pub fn split_at(&self, axis: usize) -> (usize, usize, usize) {
        let outer = self.dims.iter().take(axis).product();
        let inner = self.dims.iter().skip(axis + 1).product();
        (outer, self.dim(axis), inner)
    }

    /// ONNX's axis rule: a negative axis counts from the end.
    ///
    /// # Errors
    /// `InvalidInput` when `axis` is outside `[-rank, rank-1]`.
    pub fn axis(&self, axis: i64) -> Result<usize> {
        resolve_axis(axis, self.rank())
    }

    /// The shape both broadcast to, by NumPy's rule (ONNX's "multidirectional broadcasting").
    ///
    /// # Errors
    /// `InvalidInput` when two dimensions differ and neither is 1.
    pub fn broadcast(&self, other: &Shape) -> Result<Shape> {
        if self == other {
            return Ok(self.clone());
        }
        let rank = self.rank().max(other.rank());
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_elem(1, rank);
        for (i, out) in dims.iter_mut().enumerate() {
            let a = (i + self.rank()).checked_sub(rank).map_or(1, |k| self.dim(k));
            let b = (i + other.rank()).checked_sub(rank).map_or(1, |k| other.dim(k));
            *out = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => bail!(InvalidInput, "shapes {self} and {other} do not broadcast"),
            };
        }
        Shape::new(&dims)
    }
}

/// ONNX's axis rule on a bare rank: see [`Shape::axis`].
pub fn resolve_axis(axis: i64, rank: usize) -> Result<usize> {
    let r = rank as i64; // rank <= 32
    let resolved = if axis < 0 { axis.saturating_add(r) } else { axis };
    ensure!(
        (0..r).contains(&resolved),
        InvalidInput,
        "axis {axis} is out of range for rank {rank}"
    );
    Ok(resolved as usize)
}

/// The product of `dims`, checked against overflow and the element limit. A zero anywhere makes
/// it 0, but the other dimensions must still be sane.
pub fn checked_len(dims: &[usize]) -> Result<usize> {
    let mut len = 1usize;
    for &d in dims {
        len = match len.checked_mul(d.max(1)) {
            Some(n) if n <= MAX_ELEMENTS => n,
            _ => bail!(LimitExceeded, "a tensor of shape {dims:?} passes {MAX_ELEMENTS} elements"),
        };
    }
    Ok(if dims.contains(&0) { 0 } else { len })
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.dims.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn wrapping_products_are_refused() {
        let e = Shape::new(&[1 << 32, 1 << 32]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::LimitExceeded);
        assert!(Shape::new(&[usize::MAX, 0, usize::MAX]).is_err());
        assert_eq!(Shape::new(&[3, 0, 5]).unwrap().len(), 0);
        assert_eq!(Shape::from_i64(&[-1]).unwrap_err().kind(), ErrorKind::InvalidModel);
        assert!(Shape::new(&[1; 33]).is_err());
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let s = |d: &[usize]| Shape::new(d).unwrap();
        assert_eq!(s(&[3, 1]).broadcast(&s(&[4])).unwrap(), s(&[3, 4]));
        assert_eq!(s(&[0, 1]).broadcast(&s(&[1, 5])).unwrap(), s(&[0, 5]));
        assert!(s(&[3]).broadcast(&s(&[4])).is_err());
        assert_eq!(s(&[2, 3, 4]).split_at(1), (2, 3, 4));
        assert_eq!(s(&[2, 3, 4]).strides().as_slice(), [12, 4, 1]);
    }

    #[test]
    fn axes_resolve_from_both_ends() {
        assert_eq!(resolve_axis(-1, 3).unwrap(), 2);
        assert!(resolve_axis(3, 3).is_err());
        assert!(resolve_axis(i64::MIN, 3).is_err());
    }
}
