//! Images read elsewhere than at their elements, regions of them, and boxes around things seen:
//! GridSample, AffineGrid, Col2Im, RoiAlign, MaxRoiPool, NonMaxSuppression.

mod affine_grid;
mod col2im;
mod grid_sample;
mod max_roi_pool;
mod non_max_suppression;
mod roi_align;

use super::OpSpec;
use super::registry::{Entry, microsoft, onnx};
use crate::error::{Result, bail, ensure};
use crate::tensor::Tensor;

pub(super) const OPS: &[Entry] = &[
    onnx("AffineGrid", 20, affine_grid::prepare),
    onnx("Col2Im", 18, col2im::prepare),
    onnx("GridSample", 16, grid_sample::prepare),
    microsoft("GridSample", grid_sample::prepare),
    onnx("MaxRoiPool", 1, max_roi_pool::prepare),
    onnx("NonMaxSuppression", 10, non_max_suppression::prepare),
    onnx("RoiAlign", 10, roi_align::prepare),
];

/// Most bins that a region may be divided into along an axis: exact as `f32`.
const MOST_BINS: i64 = 1 << 24;

/// A number of bins from an attribute.
fn bins(spec: &OpSpec<'_>, name: &str, value: i64) -> Result<usize> {
    if !(1..=MOST_BINS).contains(&value) {
        return Err(spec.invalid(format_args!("{name} of {value}")));
    }
    Ok(value as usize)
}

/// The dimensions `[images, channels, height, width]` of a feature map and the number of regions
/// in `rois`, which holds `columns` numbers each.
fn regions(op: &str, x: &Tensor, rois: &Tensor, columns: usize) -> Result<([usize; 4], usize)> {
    let &[images, channels, height, width] = x.dims() else {
        bail!(InvalidInput, "{op}: expected a [N, C, H, W] tensor, got {}", x.shape());
    };
    let count = match *rois.dims() {
        [count, n] if n == columns => count,
        _ => {
            bail!(InvalidInput, "{op}: expected [regions, {columns}] regions, got {}", rois.shape())
        }
    };
    ensure!(
        rois.dtype() == x.dtype(),
        InvalidInput,
        "{op}: regions of {} for a {} tensor",
        rois.dtype(),
        x.dtype()
    );
    Ok(([images, channels, height, width], count))
}
