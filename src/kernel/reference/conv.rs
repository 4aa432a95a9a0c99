//! Convolutions and pools in the forms that candle has: one stride, dilation and padding for all
//! axes of a convolution; pools over two axes without padding and dilation.

use super::{
    Entry, OnCandle, boxed, float_pair, floats, has_nan, room, serial, to_candle, to_ours,
};
use crate::kernel::OpSpec;
use crate::kernel::conv::group;
use crate::kernel::conv::window::{Dims, Sliding, Window};
use crate::kernel::pool::window;
use crate::tensor::Tensor;
use candle_core::{Result, Tensor as Candle};
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    ("AveragePool", |s| pool(s, |x, size, stride| x.avg_pool2d_with_stride(size, stride))),
    ("Conv", conv),
    ("GlobalAveragePool", global_average),
    ("MaxPool", |s| pool(s, |x, size, stride| x.max_pool2d_with_stride(size, stride))),
];

/// The one number that stands for all axes.
fn same(numbers: &[usize]) -> Option<usize> {
    let (first, rest) = numbers.split_first()?;
    rest.iter().all(|n| n == first).then_some(*first)
}

/// The dimensions of the result, and how they come about.
fn slide(
    window: &Window,
    kernel: &[usize],
    x: &Tensor,
    channels: usize,
) -> Option<(Dims, Sliding)> {
    let sliding = window.slide(kernel, x.dims().get(2..)?).ok()?;
    let mut dims = Dims::from_slice(&[*x.dims().first()?, channels]);
    dims.extend_from_slice(&sliding.output);
    Some((dims, sliding))
}

/// `y`, where it has the dimensions that ONNX says.
fn checked(y: Candle, dims: &[usize], of: &Tensor) -> Option<Tensor> {
    (y.dims() == dims).then_some(())?;
    to_ours(Ok(y), of.dtype())
}

fn conv(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let window = Window::new(spec).ok()?;
    let groups = group(spec).ok()?;
    let has_bias = spec.has_input(2);
    boxed(move |ctx, inputs| {
        let (x, w) = float_pair(inputs, 0, 1)?;
        let (&[_, channels, ..], &[filters, depth, ..]) = (x.dims(), w.dims()) else { return None };
        let kernel = w.dims().get(2..)?;
        let fits = w.shape().rank() == x.shape().rank()
            && window.kernel.as_deref().is_none_or(|k| k == kernel)
            && depth.checked_mul(groups) == Some(channels)
            // candle drops the filters that are left over.
            && filters.is_multiple_of(groups);
        fits.then_some(())?;
        let (dims, s) = slide(&window, kernel, x, filters)?;
        (s.before == s.after).then_some(())?;
        let (padding, stride) = (same(&s.before)?, same(&s.strides)?);
        let dilation = same(&s.dilations)?;
        room(ctx, &dims, x.dtype())?;
        // Unfolding copies the input once for each element of a filter.
        let mut unfolded: SmallVec<[usize; 6]> = SmallVec::from_slice(&s.output);
        unfolded.extend_from_slice(&[x.dims()[0], depth]);
        unfolded.extend_from_slice(kernel);
        room(ctx, &unfolded, x.dtype())?;
        let (input, weights) = (to_candle(x)?, to_candle(w)?);
        // Tiles are spread over the rayon pool this is called in (candle-core's
        // `cpu_backend/conv2d.rs`), whatever their size.
        let result = ctx.threads.install(|| match kernel.len() {
            1 => input.conv1d(&weights, padding, stride, dilation, groups).ok(),
            2 => input.conv2d(&weights, padding, stride, dilation, groups).ok(),
            _ => None,
        });
        let mut y = result??;
        if has_bias {
            let bias =
                floats(inputs, 2).filter(|b| b.len() == filters && b.dtype() == x.dtype())?;
            serial(y.elem_count())?;
            let mut dims: SmallVec<[usize; 6]> = SmallVec::from_elem(1, x.shape().rank());
            dims[1] = filters;
            y = y.broadcast_add(&to_candle(bias)?.reshape(dims.as_slice()).ok()?).ok()?;
        }
        checked(y, &dims, x)
    })
}

type Pool = fn(&Candle, (usize, usize), (usize, usize)) -> Result<Candle>;

fn pool(spec: &OpSpec<'_>, f: Pool) -> Option<OnCandle> {
    let (window, kernel) = window(spec).ok()?;
    let maximum = spec.op == "MaxPool";
    if maximum && spec.wants(1) {
        return None;
    }
    boxed(move |ctx, inputs| {
        let x = floats(inputs, 0).filter(|x| !maximum || !has_nan(x))?;
        (x.shape().rank() == 4).then_some(())?;
        let (dims, s) = slide(&window, &kernel, x, x.dims()[1])?;
        let bare =
            s.before.iter().chain(&s.after).all(|&p| p == 0) && s.dilations.iter().all(|&d| d == 1);
        let (&[height, width], &[down, right]) = (kernel.as_slice(), s.strides.as_slice()) else {
            return None;
        };
        bare.then_some(())?;
        room(ctx, &dims, x.dtype())?;
        checked(f(&to_candle(x)?, (height, width), (down, right)).ok()?, &dims, x)
    })
}

fn global_average(_: &OpSpec<'_>) -> Option<OnCandle> {
    boxed(|_, inputs| {
        let x = floats(inputs, 0).filter(|x| x.shape().rank() >= 3)?;
        let axes: Vec<usize> = (2..x.shape().rank()).collect();
        to_ours(to_candle(x)?.mean_keepdim(axes), x.dtype())
    })
}
