//! Complex numbers: an element type of ONNX that is moved, not computed with.

use crate::error::Result;
use crate::room;
use std::fmt;

/// A complex number, real part first as files have it (ONNX: `COMPLEX64` of `f32`, `COMPLEX128`
/// of `f64`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub struct Complex<T> {
    /// The real part.
    pub re: T,
    /// The imaginary part.
    pub im: T,
}

impl<T: Copy> Complex<T> {
    /// The numbers of parts in turn, real part first; a part without its other half is left out.
    ///
    /// # Errors
    /// `LimitExceeded` where there is no memory for them.
    pub(crate) fn pairs(parts: &[T]) -> Result<Vec<Complex<T>>> {
        room::collected(parts.as_chunks().0.iter().map(|&[re, im]| Complex { re, im }))
    }
}

impl<T: fmt::Display> fmt::Display for Complex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:+}j", self.re, self.im)
    }
}
