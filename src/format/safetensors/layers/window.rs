//! Windows that slide: their sizes, and what is left of an axis.

use super::Reader;
use crate::error::{Result, ensure, err};
use crate::format::safetensors::json::At;
use crate::graph::Dim;

/// The largest kernel, stride, padding, dilation or group count taken for meant: far above any
/// network's, far below where sums of them could overflow.
pub(super) const MAX_WINDOW: usize = 1 << 20;

/// One size for every spatial axis, or a list with one each, all at least `least`.
pub(super) fn window(at: &At<'_>, axes: usize, least: usize) -> Result<Vec<usize>> {
    let sizes = if at.is_list() {
        at.list()?.iter().map(At::size).collect::<Result<Vec<_>>>()?
    } else {
        vec![at.size()?; axes]
    };
    if sizes.len() != axes || sizes.iter().any(|s| !(least..=MAX_WINDOW).contains(s)) {
        return Err(at.error(format_args!(
            "expected {axes} sizes from {least} to {MAX_WINDOW} (or one for all), got {sizes:?}"
        )));
    }
    Ok(sizes)
}

/// The same, with a default.
pub(super) fn window_or(
    r: &Reader<'_>,
    key: &'static str,
    default: &[usize],
    least: usize,
) -> Result<Vec<usize>> {
    r.get(key).map_or(Ok(default.to_vec()), |at| window(&at, default.len(), least))
}

/// How a window slides over one axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slide {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) dilation: usize,
    /// Whether a last window may reach beyond the end.
    pub(super) ceil: bool,
}

impl Slide {
    /// The size of an axis after the window has slid over it.
    pub(super) fn over(&self, dim: &Dim) -> Result<Dim> {
        let &Dim::Fixed(n) = dim else { return Ok(Dim::Unknown) };
        // Windows are at most 2^20 each way: only `n` may be large.
        let padded = n.saturating_add(2 * self.padding);
        let reach = self.dilation.saturating_mul(self.kernel.saturating_sub(1)).saturating_add(1);
        ensure!(
            reach <= padded,
            InvalidModel,
            "a window of {reach} does not fit an axis of {padded} (padding included)"
        );
        let stride = self.stride.max(1);
        let mut steps = (padded - reach) / stride;
        // A window must begin before the padding at the end.
        let begins = |step: usize| step.saturating_mul(stride) < n.saturating_add(self.padding);
        if self.ceil && !(padded - reach).is_multiple_of(stride) && begins(steps + 1) {
            steps += 1;
        }
        Ok(Dim::Fixed(steps.saturating_add(1)))
    }

    /// The size of an axis that the window has been spread over.
    pub(super) fn back(&self, dim: &Dim, output_padding: usize) -> Result<Dim> {
        let &Dim::Fixed(n) = dim else { return Ok(Dim::Unknown) };
        let size = || {
            let covered = n.checked_sub(1)?.checked_mul(self.stride)?;
            let reach = self.dilation.checked_mul(self.kernel.checked_sub(1)?)?;
            let whole = covered.checked_add(reach)?.checked_add(output_padding)?.checked_add(1)?;
            whole.checked_sub(2 * self.padding).filter(|&size| size > 0)
        };
        size().map(Dim::Fixed).ok_or_else(|| {
            err!(InvalidModel, "a transposed window over an axis of {n} leaves nothing")
        })
    }
}

/// The slides over all axes.
pub(super) fn slides(
    kernel: &[usize],
    stride: &[usize],
    padding: &[usize],
    dilation: &[usize],
    ceil: bool,
) -> Vec<Slide> {
    let sizes = kernel.iter().zip(stride).zip(padding).zip(dilation);
    sizes
        .map(|(((&kernel, &stride), &padding), &dilation)| Slide {
            kernel,
            stride,
            padding,
            dilation,
            ceil,
        })
        .collect()
}
