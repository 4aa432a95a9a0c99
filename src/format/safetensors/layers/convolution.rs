//! Convolutions and transposed convolutions.

use super::window::{slides, window, window_or};
use super::{Kind, Layer, Reader, kind};
use crate::attribute::Attribute;
use crate::error::{Result, err};
use crate::format::safetensors::builder::{Builder, int, ints};
use crate::format::safetensors::signal::Signal;
use crate::graph::Dim;

pub(super) const KINDS: &[Kind] = &[
    kind("conv1d", |r| read(r, 1, false)),
    kind("conv2d", |r| read(r, 2, false)),
    kind("conv_transpose1d", |r| read(r, 1, true)),
    kind("conv_transpose2d", |r| read(r, 2, true)),
];

/// A convolution over as many spatial axes as `kernel` has numbers.
#[derive(Debug)]
struct Conv {
    name: String,
    input: usize,
    output: usize,
    kernel: Vec<usize>,
    stride: Vec<usize>,
    padding: Vec<usize>,
    /// For a transposed convolution, whose answer may have more than one size.
    output_padding: Option<Vec<usize>>,
    dilation: Vec<usize>,
    groups: usize,
    bias: bool,
}

fn read(r: &Reader<'_>, axes: usize, transposed: bool) -> Result<Box<dyn Layer>> {
    let (ones, zeros) = (vec![1; axes], vec![0; axes]);
    let conv = Conv {
        name: r.name()?,
        input: r.size("in")?,
        output: r.size("out")?,
        kernel: window(&r.need("kernel")?, axes, 1)?,
        stride: window_or(r, "stride", &ones, 1)?,
        padding: window_or(r, "padding", &zeros, 0)?,
        output_padding: transposed
            .then(|| window_or(r, "output_padding", &zeros, 0))
            .transpose()?,
        dilation: window_or(r, "dilation", &ones, 1)?,
        groups: r.size_or("groups", 1)?,
        bias: r.flag_or("bias", true)?,
    };
    let divides = |n: usize| n.checked_rem(conv.groups) == Some(0);
    if !divides(conv.input) || !divides(conv.output) {
        return Err(err!(
            InvalidModel,
            "convolution '{}': {} groups do not divide {} inputs and {} outputs",
            conv.name,
            conv.groups,
            conv.input,
            conv.output
        ));
    }
    let steps = conv.stride.iter().zip(&conv.dilation).map(|(&s, &d)| s.max(d));
    if conv.output_padding.iter().flatten().zip(steps).any(|(&p, step)| p >= step) {
        return Err(
            r.error("\"output_padding\" must be below the stride or the dilation of its axis")
        );
    }
    Ok(Box::new(conv))
}

impl Layer for Conv {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        x.expect_rank(self.kernel.len() + 2)?;
        x.expect_batch_at(0)?;
        x.expect(1, self.input)?;
        let per_group = |n: usize| n.checked_div(self.groups).unwrap_or(0);
        let mut shape = match self.output_padding {
            None => vec![self.output, per_group(self.input)],
            Some(_) => vec![self.input, per_group(self.output)],
        };
        shape.extend_from_slice(&self.kernel);
        let mut others = vec![b.weight(&format!("{}.weight", self.name), &shape)?];
        if self.bias {
            others.push(b.weight(&format!("{}.bias", self.name), &[self.output])?);
        }
        let mut dims: Vec<Dim> = x.dims.iter().take(1).cloned().collect();
        dims.push(Dim::Fixed(self.output));
        let slides = slides(&self.kernel, &self.stride, &self.padding, &self.dilation, false);
        for (axis, (dim, slide)) in x.dims.iter().skip(2).zip(slides).enumerate() {
            let extra = self.output_padding.as_ref().map(|p| p.get(axis).copied().unwrap_or(0));
            dims.push(match extra {
                None => slide.over(dim)?,
                Some(extra) => slide.back(dim, extra)?,
            });
        }
        // ONNX lists the padding at all starts, then at all ends.
        let pads = [self.padding.as_slice(), &self.padding].concat();
        let mut attributes = vec![
            ("kernel_shape", ints(&self.kernel)),
            ("strides", ints(&self.stride)),
            ("pads", ints(&pads)),
            ("dilations", ints(&self.dilation)),
            ("group", Attribute::Int(int(self.groups))),
        ];
        match &self.output_padding {
            None => b.then("Conv", &x, &others, &attributes, dims),
            Some(padding) => {
                attributes.push(("output_padding", ints(padding)));
                b.then("ConvTranspose", &x, &others, &attributes, dims)
            }
        }
    }
}
