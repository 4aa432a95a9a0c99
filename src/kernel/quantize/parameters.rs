//! The scales and zero points of QuantizeLinear and DequantizeLinear.

use crate::error::{Result, ensure};
use crate::kernel::OpSpec;
use crate::tensor::{ElementType, Tensor};

/// The attribute `block_size`; 0 for none.
pub(super) fn block_size(spec: &OpSpec<'_>) -> Result<usize> {
    usize::try_from(spec.attributes.int("block_size", 0)?)
        .map_err(|_| spec.invalid("block_size is negative"))
}

/// Scales and zero points as numbers, as many of one as of the other.
pub(super) fn of(scale: &Tensor, zero: Option<&Tensor>) -> Result<(Vec<f32>, Vec<f32>)> {
    let dtype = scale.dtype();
    ensure!(
        matches!(
            dtype,
            ElementType::F32
                | ElementType::F16
                | ElementType::BF16
                | ElementType::I32
                | ElementType::F8E8M0
        ),
        InvalidInput,
        "scales of type {dtype}"
    );
    let scales = scale.to_f32_vec()?;
    let zeros = match zero {
        Some(zero) => {
            // One element is one element, whatever its rank.
            ensure!(
                zero.shape() == scale.shape() || (zero.len() == 1 && scale.len() == 1),
                InvalidInput,
                "zero points of shape {} for scales of shape {}",
                zero.shape(),
                scale.shape()
            );
            zero.to_f32_vec()?
        }
        None => vec![0.0; scales.len()],
    };
    Ok((scales, zeros))
}
