//! How queries, keys and values lie in their tensors, and caches of keys and values.
//!
//! Kernels work on (batch, heads, length, size); operators also know (batch, length, heads · size).

use crate::error::{Result, bail, ensure};
use crate::kernel::concat::concat;
use crate::kernel::transpose::{View, permute};
use crate::kernel::{Context, OpSpec};
use crate::tensor::{
    Carrier, Element, ElementType, Shape, Tensor, for_each_carrier, for_each_type,
};

/// The value of an attribute that counts heads, `None` where it is absent.
///
/// # Errors
/// `InvalidModel` where it is not positive.
pub(super) fn count(spec: &OpSpec<'_>, name: &str) -> Result<Option<usize>> {
    match spec.attributes.int_opt(name)? {
        None => Ok(None),
        Some(n) => match usize::try_from(n) {
            Ok(n) if n > 0 => Ok(Some(n)),
            _ => Err(spec.invalid(format_args!("attribute '{name}' must be positive, got {n}"))),
        },
    }
}

/// As [`count`], for an attribute that has to be there.
pub(super) fn required_count(spec: &OpSpec<'_>, name: &str) -> Result<usize> {
    count(spec, name)?.ok_or_else(|| spec.invalid(format_args!("attribute '{name}' is missing")))
}

/// (batch, length, heads · size) as (batch, heads, length, size).
///
/// # Errors
/// `InvalidInput` where the last dimension does not divide.
pub(super) fn split(ctx: &mut Context<'_>, tensor: &Tensor, heads: usize) -> Result<Tensor> {
    let &[batch, length, width] = tensor.dims() else {
        bail!(InvalidInput, "expected a shape of (batch, length, width), got {}", tensor.shape());
    };
    ensure!(
        heads > 0 && width.is_multiple_of(heads),
        InvalidInput,
        "a width of {width} does not divide into {heads} heads"
    );
    let apart = Shape::new(&[batch, length, heads, width / heads])?;
    permute(ctx, &tensor.clone().reshaped(apart)?, &[0, 2, 1, 3])
}

/// (batch, heads, length, size) as (batch, length, heads · size).
pub(super) fn merged(ctx: &mut Context<'_>, tensor: &Tensor) -> Result<Tensor> {
    let &[batch, heads, length, size] = tensor.dims() else {
        bail!(InvalidInput, "expected a tensor by head, got shape {}", tensor.shape());
    };
    let together = Shape::new(&[batch, length, heads.saturating_mul(size)])?;
    permute(ctx, tensor, &[0, 2, 1, 3])?.reshaped(together)
}

/// Part of a tensor: `dims` with `strides`, from element `offset` on.
pub(super) fn part<const N: usize>(
    ctx: &mut Context<'_>,
    tensor: &Tensor,
    offset: usize,
    dims: [usize; N],
    strides: [usize; N],
) -> Result<Tensor> {
    let mut view = View::new(offset);
    for (dim, stride) in dims.into_iter().zip(strides) {
        view.push(dim, stride as isize);
    }
    view.tensor(ctx, tensor, Shape::new(&dims)?)
}

/// The first `length` keys of a cache (batch, heads, length, size).
pub(super) fn first(ctx: &mut Context<'_>, cache: &Tensor, length: usize) -> Result<Tensor> {
    let &[batch, heads, all, size] = cache.dims() else {
        bail!(InvalidInput, "expected a cache by head, got shape {}", cache.shape());
    };
    ensure!(length <= all, InvalidInput, "{length} entries of a cache that has {all}");
    if length == all {
        return Ok(cache.clone());
    }
    let strides = [heads * all * size, all * size, size, 1];
    part(ctx, cache, 0, [batch, heads, length, size], strides)
}

/// The past keys or values, where there are some, with the new ones behind them.
pub(super) fn appended(
    ctx: &mut Context<'_>,
    past: Option<&Tensor>,
    new: Tensor,
) -> Result<Tensor> {
    match past {
        Some(past) => concat(ctx, &[past, &new], 2),
        None => Ok(new),
    }
}

/// A cache with `new` written over its entries from `at` on, which is one number a batch entry.
/// In place where nobody else holds the cache.
pub(super) fn written(cache: Tensor, new: &Tensor, at: &[usize]) -> Result<Tensor> {
    let (&[batch, heads, length, size], &[new_batch, new_heads, count, new_size]) =
        (cache.dims(), new.dims())
    else {
        bail!(InvalidInput, "a cache of shape {} for {}", cache.shape(), new.shape());
    };
    let room = |at: &usize| at.checked_add(count).is_some_and(|end| end <= length);
    ensure!(
        [batch, heads, size] == [new_batch, new_heads, new_size]
            && cache.dtype() == new.dtype()
            && at.len() == batch
            && at.iter().all(room),
        InvalidInput,
        "{} {} does not fit into a cache of {} {} at {at:?}",
        new.dtype(),
        new.shape(),
        cache.dtype(),
        cache.shape()
    );
    fn write<T: Element>(
        cache: &mut [T],
        new: &Tensor,
        [heads, length, count, size]: [usize; 4],
        at: &[usize],
    ) -> Result<()> {
        let new = new.as_slice::<T>()?;
        let lines = cache.chunks_exact_mut(length * size).zip(new.chunks_exact(count * size));
        for (i, (cache, new)) in lines.enumerate() {
            let start = at[i / heads] * size;
            cache[start..start + new.len()].clone_from_slice(new);
        }
        Ok(())
    }
    if new.len() == 0 {
        return Ok(cache);
    }
    let shape = cache.shape().clone();
    let mut data = cache.into_data();
    for_each_type!(&mut data, v => write(v, new, [heads, length, count, size], at)?);
    Tensor::new(shape, data)
}

/// Zeros of `like`'s element type.
pub(super) fn zeros(ctx: &mut Context<'_>, like: &Tensor, dims: &[usize]) -> Result<Tensor> {
    fn make<T: Carrier>(
        _: &[T],
        ctx: &mut Context<'_>,
        dims: &[usize],
        dtype: ElementType,
    ) -> Result<Tensor> {
        let shape = ctx.shape_of::<T>(dims)?;
        let data = ctx.filled(shape.len(), T::default())?;
        Tensor::moved(shape, data, dtype)
    }
    for_each_carrier!(like.data(), v => make(v, ctx, dims, like.dtype()))
}
