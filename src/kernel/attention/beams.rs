//! Caches of beam search: which beam each cached token of a beam comes from.

use crate::error::{Result, bail, ensure};
use crate::kernel::Context;
use crate::tensor::{Element, Tensor, for_each_type};

/// Keys or values (batch · beams, heads, length, size) as each beam sees them: its first `past`
/// tokens lie in the beams of the same batch entry that `sources` (batch, beams, room) names, the
/// others in its own.
///
/// # Errors
/// `InvalidInput` where the shapes do not go together or a beam does not exist.
pub(super) fn gathered(
    ctx: &mut Context<'_>,
    cache: &Tensor,
    sources: &Tensor,
    past: usize,
) -> Result<Tensor> {
    let (&[rows, heads, length, size], &[batch, beams, room]) = (cache.dims(), sources.dims())
    else {
        bail!(
            InvalidInput,
            "cache_indirection of shape {} for a cache of shape {}",
            sources.shape(),
            cache.shape()
        );
    };
    ensure!(
        batch.checked_mul(beams) == Some(rows) && past <= room && past <= length,
        InvalidInput,
        "cache_indirection of shape {} for {past} tokens of a cache of shape {}",
        sources.shape(),
        cache.shape()
    );
    let sources = sources.to_i64_vec()?;
    // The row of the cache that a token of a row is read from.
    let mut from = Vec::with_capacity(ctx.shape_of::<i64>(&[rows, past])?.len());
    for row in 0..rows {
        let named = sources.get(row * room..row * room + past).unwrap_or(&[]);
        for &beam in named {
            ensure!(
                (0..beams as i64).contains(&beam),
                InvalidInput,
                "cache_indirection names beam {beam} of {beams}"
            );
            from.push(row / beams * beams + beam as usize);
        }
    }
    fn copy<T: Element>(
        ctx: &mut Context<'_>,
        cache: &[T],
        from: &[usize],
        [rows, heads, length, size, past]: [usize; 5],
    ) -> Result<Vec<T>> {
        let mut out = ctx.buffer(cache.len())?;
        for (row, head) in (0..rows).flat_map(|row| (0..heads).map(move |head| (row, head))) {
            let line = |row: usize, token: usize| ((row * heads + head) * length + token) * size;
            for token in 0..past {
                let source = from.get(row * past + token).copied().unwrap_or(row);
                let at = line(source, token);
                out.extend_from_slice(cache.get(at..at + size).unwrap_or(&[]));
            }
            let rest = line(row, past)..line(row, length);
            out.extend_from_slice(cache.get(rest).unwrap_or(&[]));
        }
        Ok(out)
    }
    let shape = cache.shape().clone();
    for_each_type!(cache.data(), v => {
        let out = copy(ctx, v, &from, [rows, heads, length, size, past])?;
        ctx.tensor(shape, out)
    })
}
