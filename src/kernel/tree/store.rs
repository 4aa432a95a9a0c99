//! The compiled forests of one operator, by the precision of the rows.

use super::forest::Forest;
use super::real::Real;
use crate::ensemble::{Ensemble, Precision};
use crate::error::Result;
use crate::limits::LoadLimits;
use crate::tensor::{Data, Tensor};
use std::borrow::Cow;
use std::sync::OnceLock;

/// A forest, with what rows it takes and what sums it makes.
#[derive(Debug)]
pub(super) enum Store {
    /// Rows and sums of `f32`; the same in `f64`, once a request of `f64` has come, where the
    /// operator computes in the precision of its input.
    F32(Forest<f32, f32>, Option<OnceLock<Forest<f64, f64>>>),
    /// Rows of `f32`, sums of `f64`. Wider rows are rounded first, as the trainer does.
    Rounded(Forest<f32, f64>),
    /// Rows and sums of `f64`; and the same trees for single rows that floats hold exactly, whose
    /// nodes take half the memory on the way.
    F64(Forest<f64, f64>, Forest<f32, f64>),
}

/// The rows of a request with the forest that answers them.
pub(super) enum Rows<'a> {
    F32(&'a Forest<f32, f32>, Cow<'a, [f32]>),
    Mixed(&'a Forest<f32, f64>, Cow<'a, [f32]>),
    F64(&'a Forest<f64, f64>, Cow<'a, [f64]>),
}

impl Store {
    /// Compiles a checked ensemble.
    pub(super) fn new(form: &Ensemble, limits: &LoadLimits) -> Result<Store> {
        use Precision::{F32, F64, Input};
        let arithmetic = form.arithmetic;
        Ok(match (arithmetic.features, arithmetic.sums) {
            (Input, _) => Store::F32(Forest::new(form, limits, true)?, Some(OnceLock::new())),
            (F32, F32 | Input) => Store::F32(Forest::new(form, limits, false)?, None),
            (F32, F64) => Store::Rounded(Forest::new(form, limits, false)?),
            (F64, _) => {
                let wide = Forest::new(form, limits, false)?;
                let narrow = wide.narrowed()?;
                Store::F64(wide, narrow)
            }
        })
    }

    /// The trees for rows of `f64`, where those are not rounded.
    pub(super) fn wide(&self) -> Option<&Forest<f64, f64>> {
        match self {
            Store::F32(narrow, Some(wide)) => Some(wide.get_or_init(|| narrow.widened())),
            Store::F64(forest, _) => Some(forest),
            Store::F32(_, None) | Store::Rounded(_) => None,
        }
    }

    /// Whether rows of `f32` are answered in `f32` all through.
    pub(super) fn narrow(&self) -> Option<&Forest<f32, f32>> {
        match self {
            Store::F32(forest, _) => Some(forest),
            _ => None,
        }
    }

    /// The rows of a tensor, in the precision in which they are answered.
    pub(super) fn rows<'a>(&'a self, tensor: &'a Tensor) -> Result<Rows<'a>> {
        let narrow = || -> Result<Cow<'a, [f32]>> {
            Ok(match tensor.data() {
                Data::F32(v) => Cow::Borrowed(v),
                _ => Cow::Owned(tensor.to_f32_vec()?),
            })
        };
        if let Data::F64(v) = tensor.data()
            && let Some(forest) = self.wide()
        {
            return Ok(Rows::F64(forest, Cow::Borrowed(v)));
        }
        Ok(match self {
            Store::F32(forest, _) => Rows::F32(forest, narrow()?),
            Store::Rounded(forest) => Rows::Mixed(forest, narrow()?),
            Store::F64(forest, _) => Rows::F64(forest, Cow::Owned(tensor.to_f64_vec()?)),
        })
    }

    /// Rough cost of one row in nanoseconds.
    pub(super) fn row_ns(&self) -> usize {
        match self {
            Store::F32(forest, _) => forest.row_ns(),
            Store::Rounded(forest) => forest.row_ns(),
            Store::F64(forest, _) => forest.row_ns(),
        }
    }

    /// Bytes held, without the copy that `f64` requests may add.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Store::F32(forest, _) => forest.bytes(),
            Store::Rounded(forest) => forest.bytes(),
            // They share their leaves.
            Store::F64(wide, narrow) => wide.bytes() + narrow.nodes.bytes() as u64,
        }
    }
}

/// Refuses rows that are too short for the features the trees look at.
pub(super) fn check_width<T: Real, V: Real>(forest: &Forest<T, V>, width: usize) -> Result<()> {
    crate::error::ensure!(
        width >= forest.width,
        InvalidInput,
        "the trees look at feature {}, the rows have {width} features",
        forest.width.saturating_sub(1)
    );
    Ok(())
}
