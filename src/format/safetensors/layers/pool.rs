//! Pooling.

use super::window::{MAX_WINDOW, slides, window, window_or};
use super::{Kind, Layer, Reader, kind};
use crate::attribute::Attribute;
use crate::error::{Result, bail, ensure};
use crate::format::safetensors::builder::{Builder, ints};
use crate::format::safetensors::signal::Signal;
use crate::graph::Dim;

pub(super) const KINDS: &[Kind] = &[
    kind("max_pool1d", |r| read_pool(r, MAX, 1)),
    kind("max_pool2d", |r| read_pool(r, MAX, 2)),
    kind("avg_pool1d", |r| read_pool(r, MEAN, 1)),
    kind("avg_pool2d", |r| read_pool(r, MEAN, 2)),
    kind("adaptive_max_pool1d", |r| read_adaptive(r, MAX, 1)),
    kind("adaptive_max_pool2d", |r| read_adaptive(r, MAX, 2)),
    kind("adaptive_avg_pool1d", |r| read_adaptive(r, MEAN, 1)),
    kind("adaptive_avg_pool2d", |r| read_adaptive(r, MEAN, 2)),
    kind("global_max_pool", |_| Ok(Box::new(Global { op: "GlobalMaxPool" }))),
    kind("global_avg_pool", |_| Ok(Box::new(Global { op: "GlobalAveragePool" }))),
];

const MAX: &str = "MaxPool";
const MEAN: &str = "AveragePool";

#[derive(Debug)]
struct Pool {
    op: &'static str,
    kernel: Vec<usize>,
    stride: Vec<usize>,
    padding: Vec<usize>,
    dilation: Vec<usize>,
    ceil: bool,
    count_padding: bool,
}

fn read_pool(r: &Reader<'_>, op: &'static str, axes: usize) -> Result<Box<dyn Layer>> {
    let kernel = window(&r.need("kernel")?, axes, 1)?;
    let stride = window_or(r, "stride", &kernel, 1)?;
    let padding = window_or(r, "padding", &vec![0; axes], 0)?;
    if padding.iter().zip(&kernel).any(|(p, k)| 2 * p > *k) {
        return Err(r.error("\"padding\" is more than half of the kernel"));
    }
    let ones = vec![1; axes];
    let mut pool =
        Pool { op, kernel, stride, padding, dilation: ones, ceil: false, count_padding: false };
    if op == MAX {
        pool.dilation = window_or(r, "dilation", &vec![1; axes], 1)?;
        pool.ceil = r.flag_or("ceil_mode", false)?;
    } else {
        pool.count_padding = r.flag_or("count_include_pad", true)?;
    }
    Ok(Box::new(pool))
}

impl Layer for Pool {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        x.expect_rank(self.kernel.len() + 2)?;
        x.expect_batch_at(0)?;
        let mut dims: Vec<Dim> = x.dims.iter().take(2).cloned().collect();
        let slides = slides(&self.kernel, &self.stride, &self.padding, &self.dilation, self.ceil);
        for (dim, slide) in x.dims.iter().skip(2).zip(slides) {
            dims.push(slide.over(dim)?);
        }
        let mut attributes =
            vec![("kernel_shape", ints(&self.kernel)), ("strides", ints(&self.stride))];
        if self.padding.iter().any(|&p| p > 0) {
            let pads = [self.padding.as_slice(), &self.padding].concat();
            attributes.push(("pads", ints(&pads)));
            if self.count_padding {
                attributes.push(("count_include_pad", Attribute::Int(1)));
            }
        }
        if self.dilation.iter().any(|&d| d > 1) {
            attributes.push(("dilations", ints(&self.dilation)));
        }
        if self.ceil {
            attributes.push(("ceil_mode", Attribute::Int(1)));
        }
        b.then(self.op, &x, &[], &attributes, dims)
    }
}

/// Pooling over all of an image or a sequence; its axes stay, with a size of 1.
#[derive(Debug)]
struct Global {
    op: &'static str,
}

impl Layer for Global {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        global(b, self.op, &x)
    }
}

fn global(b: &mut Builder<'_>, op: &str, x: &Signal) -> Result<Signal> {
    ensure!(x.rank() >= 3, InvalidModel, "expected 3 dimensions or more, got {}", x.rank());
    x.expect_batch_at(0)?;
    let mut dims: Vec<Dim> = x.dims.iter().take(2).cloned().collect();
    dims.resize(x.rank(), Dim::Fixed(1));
    b.then(op, x, &[], &[], dims)
}

/// Pooling to a given size.
#[derive(Debug)]
struct Adaptive {
    op: &'static str,
    size: Vec<usize>,
}

fn read_adaptive(r: &Reader<'_>, op: &'static str, axes: usize) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Adaptive { op, size: window(&r.need("size")?, axes, 1)? }))
}

impl Layer for Adaptive {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        x.expect_rank(self.size.len() + 2)?;
        x.expect_batch_at(0)?;
        if self.size.iter().all(|&n| n == 1) {
            let op = if self.op == MAX { "GlobalMaxPool" } else { "GlobalAveragePool" };
            return global(b, op, &x);
        }
        let mut sizes = Vec::new();
        for axis in 2..x.rank() {
            let Some(n) = x.fixed(axis) else {
                bail!(InvalidModel, "dimension {axis} varies: only a size of 1 is possible then");
            };
            ensure!(n > 0, InvalidModel, "dimension {axis} is empty");
            sizes.push(n);
        }
        let pairs = || sizes.iter().copied().zip(self.size.iter().copied());
        if pairs().all(|(n, out)| n.checked_rem(out) == Some(0)) {
            let kernel: Vec<usize> = pairs().map(|(n, out)| n / out.max(1)).collect();
            ensure!(
                kernel.iter().all(|&k| k <= MAX_WINDOW),
                InvalidModel,
                "a window of more than {MAX_WINDOW}"
            );
            let mut dims: Vec<Dim> = x.dims.iter().take(2).cloned().collect();
            dims.extend(self.size.iter().map(|&n| Dim::Fixed(n)));
            let attributes = [("kernel_shape", ints(&kernel)), ("strides", ints(&kernel))];
            return b.then(self.op, &x, &[], &attributes, dims);
        }
        ensure!(
            self.op == MEAN,
            Unsupported,
            "windows of several sizes ({sizes:?} to {:?}) are there for means only",
            self.size
        );
        let mut y = x;
        for (axis, (n, out)) in (2..).zip(pairs()) {
            y = mean_along(b, &y, axis, n, out)?;
        }
        Ok(y)
    }
}

/// Means over windows of several sizes along one axis: a product with the matrix of their shares.
fn mean_along(
    b: &mut Builder<'_>,
    x: &Signal,
    axis: usize,
    n: usize,
    out: usize,
) -> Result<Signal> {
    let len = n.saturating_mul(out);
    b.pay(len)?;
    let mut shares = vec![0.0; len];
    for column in 0..out {
        // From floor(column · n / out) to ceil((column + 1) · n / out): PyTorch's windows.
        let (from, to) = (column * n / out, ((column + 1) * n).div_ceil(out));
        for row in from..to {
            if let Some(share) = shares.get_mut(row * out + column) {
                *share = 1.0 / (to - from) as f64;
            }
        }
    }
    let matrix = b.made("shares", &[n, out], &shares)?;
    let last = x.rank() - 1;
    if axis == last {
        return b.then("MatMul", x, &[matrix], &[], x.with(axis, Dim::Fixed(out)));
    }
    // The axis before the last: with both exchanged.
    let mut order: Vec<usize> = (0..x.rank()).collect();
    order.swap(axis, last);
    let turned = super::movement::permute(b, x, &order)?;
    let dims = turned.with(last, Dim::Fixed(out));
    let y = b.then("MatMul", &turned, &[matrix], &[], dims)?;
    super::movement::permute(b, &y, &order)
}
