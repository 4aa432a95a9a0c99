//! Each layer in operators.

use super::build::{Builder, product, transposed};
use super::spec::{Conv, LayerSpec};
use crate::attribute::Attribute;
use crate::error::{Result, ensure};
use crate::graph::Dim;
use crate::tensor::{ElementType, Shape};

impl Builder<'_> {
    /// Appends one layer to the chain.
    pub(super) fn add(&mut self, layer: &LayerSpec) -> Result<()> {
        match layer {
            // Kept out of the computing type: indices.
            LayerSpec::Embedding { name, num, dim } => return self.embedding(name, *num, *dim),
            LayerSpec::Dropout => return Ok(()),
            _ => self.cast()?,
        }
        match layer {
            LayerSpec::Embedding { .. } | LayerSpec::Dropout => Ok(()),
            LayerSpec::Linear { name, input, output, bias } => {
                self.linear(name, *input, *output, *bias)
            }
            LayerSpec::LayerNorm { name, size, eps, affine, bias } => {
                self.layer_norm(name, *size, *eps, *affine, *bias)
            }
            LayerSpec::RmsNorm { name, size, eps } => self.rms_norm(name, *size, *eps),
            LayerSpec::BatchNorm { name, size, eps, affine } => {
                self.batch_norm(name, *size, *eps, *affine)
            }
            LayerSpec::GroupNorm { name, groups, size, eps } => {
                self.group_norm(name, *groups, *size, *eps)
            }
            LayerSpec::Conv(conv) => self.conv(conv),
            LayerSpec::Pool { op, kernel, stride } => self.pool(op, kernel, stride),
            LayerSpec::Mean { axis } => {
                let axis = self.axis(*axis)?;
                let mut dims = self.dims.clone();
                dims.remove(axis);
                let axes = self.axes(&[axis as i64])?;
                self.push("ReduceMean", &[axes], &[("keepdims", Attribute::Int(0))], dims)
            }
            LayerSpec::Flatten => {
                ensure!(self.dims.len() >= 2, InvalidModel, "nothing to flatten behind the batch");
                let (batch, rest) = self.dims.split_at(1);
                let mut dims = batch.to_vec();
                dims.push(product(rest)?);
                self.push("Flatten", &[], &[("axis", Attribute::Int(1))], dims)
            }
            LayerSpec::Softmax { op, axis } => {
                let axis = Attribute::Int(self.axis(*axis)? as i64);
                self.push(op, &[], &[("axis", axis)], self.dims.clone())
            }
            LayerSpec::Unary { op, attributes } => {
                self.push(op, &[], attributes, self.dims.clone())
            }
            LayerSpec::Silu => {
                let x = self.current();
                let gate = self.apply("Sigmoid", &[x], &[], self.dims.clone())?;
                self.push("Mul", &[gate], &[], self.dims.clone())
            }
            LayerSpec::Relu6 => {
                let low = self.made("min", &[], &[0.0])?;
                let high = self.made("max", &[], &[6.0])?;
                self.push("Clip", &[low, high], &[], self.dims.clone())
            }
            LayerSpec::PRelu { name, size } => self.prelu(name, *size),
        }
    }

    fn linear(&mut self, name: &str, input: usize, output: usize, bias: bool) -> Result<()> {
        self.expect_last(input)?;
        let weight = format!("{name}.weight");
        let bias = bias.then(|| self.weight(&format!("{name}.bias"), &[output])).transpose()?;
        let mut dims = self.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = Dim::Fixed(output);
        }
        if dims.len() == 2 {
            let mut others = vec![self.weight(&weight, &[output, input])?];
            others.extend(bias);
            return self.push("Gemm", &others, &[("transB", Attribute::Int(1))], dims);
        }
        let weight = self.weight_as(&weight, &[output, input], ".T", transposed)?;
        self.push("MatMul", &[weight], &[], dims)?;
        match bias {
            Some(bias) => self.push("Add", &[bias], &[], self.dims.clone()),
            None => Ok(()),
        }
    }

    fn embedding(&mut self, name: &str, num: usize, dim: usize) -> Result<()> {
        ensure!(
            matches!(self.current_dtype, ElementType::I32 | ElementType::I64),
            InvalidModel,
            "an embedding takes int64 or int32 indices, this is {}",
            self.current_dtype
        );
        let mut dims = self.dims.clone();
        dims.push(Dim::Fixed(dim));
        let table = self.weight(&format!("{name}.weight"), &[num, dim])?;
        let indices = self.current();
        self.current_dtype = self.dtype;
        let axis = [("axis", Attribute::Int(0))];
        let gathered = self.apply("Gather", &[table, indices], &axis, dims.clone())?;
        self.advance(gathered, dims);
        Ok(())
    }

    fn layer_norm(
        &mut self,
        name: &str,
        size: usize,
        eps: f32,
        affine: bool,
        bias: bool,
    ) -> Result<()> {
        self.expect_last(size)?;
        let mut others = vec![if affine {
            self.weight(&format!("{name}.weight"), &[size])?
        } else {
            self.filled("scale", size, 1.0)?
        }];
        if bias {
            others.push(self.weight(&format!("{name}.bias"), &[size])?);
        }
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(eps))];
        self.push("LayerNormalization", &others, &attributes, self.dims.clone())
    }

    /// `x / sqrt(mean(x²) + eps) · weight`; the operator of that name is newer than the opset.
    fn rms_norm(&mut self, name: &str, size: usize, eps: f32) -> Result<()> {
        self.expect_last(size)?;
        let weight = self.weight(&format!("{name}.weight"), &[size])?;
        let eps = self.made("eps", &[], &[f64::from(eps)])?;
        let axes = self.axes(&[-1])?;
        let (x, dims) = (self.current(), self.dims.clone());
        let mut narrow = dims.clone();
        if let Some(last) = narrow.last_mut() {
            *last = Dim::Fixed(1);
        }
        let square = self.apply("Mul", &[x, x], &[], dims.clone())?;
        let mean = self.apply("ReduceMean", &[square, axes], &[], narrow.clone())?;
        let sum = self.apply("Add", &[mean, eps], &[], narrow.clone())?;
        let root = self.apply("Sqrt", &[sum], &[], narrow)?;
        self.push("Div", &[root], &[], dims.clone())?;
        self.push("Mul", &[weight], &[], dims)
    }

    fn batch_norm(&mut self, name: &str, size: usize, eps: f32, affine: bool) -> Result<()> {
        self.expect(1, size)?;
        let (scale, shift) = if affine {
            let scale = self.weight(&format!("{name}.weight"), &[size])?;
            (scale, self.weight(&format!("{name}.bias"), &[size])?)
        } else {
            (self.filled("scale", size, 1.0)?, self.filled("bias", size, 0.0)?)
        };
        let mean = self.weight(&format!("{name}.running_mean"), &[size])?;
        let variance = self.weight(&format!("{name}.running_var"), &[size])?;
        self.skip_weight(&format!("{name}.num_batches_tracked"));
        let epsilon = [("epsilon", Attribute::Float(eps))];
        let others = [scale, shift, mean, variance];
        self.push("BatchNormalization", &others, &epsilon, self.dims.clone())
    }

    fn group_norm(&mut self, name: &str, groups: usize, size: usize, eps: f32) -> Result<()> {
        self.expect(1, size)?;
        ensure!(
            size.checked_rem(groups) == Some(0),
            InvalidModel,
            "{groups} groups do not divide {size} channels"
        );
        let scale = self.weight(&format!("{name}.weight"), &[size])?;
        let shift = self.weight(&format!("{name}.bias"), &[size])?;
        let attributes =
            [("num_groups", Attribute::Int(int(groups))), ("epsilon", Attribute::Float(eps))];
        self.push("GroupNormalization", &[scale, shift], &attributes, self.dims.clone())
    }

    fn conv(&mut self, conv: &Conv) -> Result<()> {
        let axes = conv.kernel.len();
        self.expect_rank(axes + 2)?;
        self.expect(1, conv.input)?;
        let mut shape = vec![conv.output, conv.input.checked_div(conv.groups).unwrap_or(0)];
        shape.extend_from_slice(&conv.kernel);
        let mut others = vec![self.weight(&format!("{}.weight", conv.name), &shape)?];
        if conv.bias {
            others.push(self.weight(&format!("{}.bias", conv.name), &[conv.output])?);
        }
        let mut dims: Vec<Dim> = self.dims.iter().take(1).cloned().collect();
        dims.push(Dim::Fixed(conv.output));
        let windows = conv.kernel.iter().zip(&conv.stride).zip(&conv.padding).zip(&conv.dilation);
        for (dim, (((kernel, stride), padding), dilation)) in self.dims.iter().skip(2).zip(windows)
        {
            dims.push(slide(dim, *kernel, *stride, *padding, *dilation)?);
        }
        // ONNX lists the padding at all starts, then at all ends.
        let pads = [conv.padding.as_slice(), &conv.padding].concat();
        let attributes = [
            ("kernel_shape", ints(&conv.kernel)),
            ("strides", ints(&conv.stride)),
            ("pads", ints(&pads)),
            ("dilations", ints(&conv.dilation)),
            ("group", Attribute::Int(int(conv.groups))),
        ];
        self.push("Conv", &others, &attributes, dims)
    }

    fn pool(&mut self, op: &str, kernel: &[usize], stride: &[usize]) -> Result<()> {
        self.expect_rank(4)?;
        let mut dims: Vec<Dim> = self.dims.iter().take(2).cloned().collect();
        for (dim, (kernel, stride)) in self.dims.iter().skip(2).zip(kernel.iter().zip(stride)) {
            dims.push(slide(dim, *kernel, *stride, 0, 1)?);
        }
        let attributes = [("kernel_shape", ints(kernel)), ("strides", ints(stride))];
        self.push(op, &[], &attributes, dims)
    }

    /// The slope is one number, or one a channel (axis 1).
    fn prelu(&mut self, name: &str, size: usize) -> Result<()> {
        let mut dims = vec![size];
        if size != 1 {
            self.expect(1, size)?;
            dims.resize(self.dims.len().saturating_sub(1), 1);
        }
        let shape = Shape::new(&dims)?;
        let slope =
            self.weight_as(&format!("{name}.weight"), &[size], ".slope", |t| t.reshaped(shape))?;
        self.push("PRelu", &[slope], &[], self.dims.clone())
    }
}

/// The size of an axis after a window has slid over it.
fn slide(dim: &Dim, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Result<Dim> {
    let &Dim::Fixed(n) = dim else { return Ok(Dim::Unknown) };
    // Windows are at most 2^20 each way: only `n` may be large.
    let padded = n.saturating_add(2 * padding);
    let reach = dilation.saturating_mul(kernel.saturating_sub(1)).saturating_add(1);
    ensure!(
        reach <= padded,
        InvalidModel,
        "a window of {reach} does not fit an axis of {padded} (padding included)"
    );
    Ok(Dim::Fixed(((padded - reach) / stride.max(1)).saturating_add(1)))
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn ints(sizes: &[usize]) -> Attribute {
    Attribute::Ints(sizes.iter().map(|&n| int(n)).collect())
}
