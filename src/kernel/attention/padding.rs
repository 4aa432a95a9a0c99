//! The masks of com.microsoft's attentions: which keys are padding, in any of their forms.

use super::bias::Layer;
use super::scalar::Scalar;
use super::scaled::Sizes;
use crate::error::{Result, bail, ensure};
use crate::kernel::Context;
use crate::tensor::Tensor;
use std::borrow::Cow;

/// What is added to the scores for `mask`: `filter` where a key is padding, 0 elsewhere. `past` is
/// how many of the keys come from a cache. `None` where the mask says nothing.
///
/// # Errors
/// `InvalidInput` for a mask of another shape than those that the operators know.
pub(super) fn layer<T: Scalar>(
    ctx: &Context<'_>,
    mask: &Tensor,
    sizes: &Sizes,
    past: usize,
    filter: f32,
) -> Result<Option<Layer<'static, T>>> {
    let Sizes { batch, queries, keys, .. } = *sizes;
    let filter = T::from_f32(filter);
    let value = |seen: bool| if seen { T::ZERO } else { filter };
    let flags = mask.to_i64_vec()?;
    let of_queries = match *mask.dims() {
        [_] => 1,
        // One number for all keys changes no weight.
        [rows, 1] if keys != 1 && (rows == 1 || rows == batch) => return Ok(None),
        [rows, width] if rows == batch && (width == keys || width + past == keys) => 1,
        [rows, height, width] if rows == batch && height == queries && width == keys => queries,
        [rows, 1, height, width] if rows == batch && height == width && width >= keys => queries,
        _ => bail!(
            InvalidInput,
            "a mask of shape {} for scores of shape {:?}",
            mask.shape(),
            sizes.scores()
        ),
    };
    let dims = [batch, 1, of_queries, keys];
    let mut values: Vec<T> = Vec::with_capacity(ctx.shape_of::<T>(&dims)?.len());
    match *mask.dims() {
        [n] => {
            // Where the keys end, and in the form of twice the length where they start. The long
            // form, with positions in a packed batch, begins with the same ends.
            let starts = if n == 2 * batch { flags.get(batch..) } else { None };
            ensure!(
                n == batch || starts.is_some() || n == 3 * batch + 2,
                InvalidInput,
                "a mask of {n} numbers for a batch of {batch}"
            );
            for (i, &end) in flags.iter().take(batch).enumerate() {
                let start = starts.and_then(|starts| starts.get(i)).copied().unwrap_or(0);
                values.extend((0..keys as i64).map(|key| value(key >= start && key < end)));
            }
        }
        [_, width] => {
            for row in flags.chunks_exact(width.max(1)) {
                // A mask of the new keys alone: those of the cache are seen.
                values.extend((width..keys).map(|_| T::ZERO));
                values.extend(row.iter().map(|&flag| value(flag > 0)));
            }
        }
        // A square per batch entry, for any length of queries and keys.
        [_, 1, side, _] => {
            ensure!(
                past.checked_add(queries).is_some_and(|end| end <= side),
                InvalidInput,
                "a mask of shape {} for {queries} queries after {past} keys",
                mask.shape()
            );
            for square in flags.chunks_exact((side * side).max(1)) {
                for row in square.chunks_exact(side.max(1)).skip(past).take(queries) {
                    values.extend(row.iter().take(keys).map(|&flag| value(flag > 0)));
                }
            }
        }
        _ => values.extend(flags.iter().map(|&flag| value(flag > 0))),
    }
    let fits = values.len() == dims.iter().product::<usize>();
    ensure!(fits, InvalidInput, "a mask of shape {} is too short", mask.shape());
    Layer::new(Cow::Owned(values), &dims, sizes.scores(), false).map(Some)
}
