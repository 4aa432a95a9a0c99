//! Col2Im: blocks of an image put back to their places, and added up where they overlap.

use crate::error::{Result, bail, ensure, err};
use crate::kernel::conv::real::{narrowed, widened, wrong_type};
use crate::kernel::conv::window::{SlidingMap, Window};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Data, Element, Shape, Tensor};

struct Col2Im {
    window: Window,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=3)?;
    Ok(Box::new(Col2Im { window: Window::new(spec)? }))
}

/// An element type with a sum; integers wrap.
trait Sum: Element + Copy {
    fn plus(self, other: Self) -> Self;
}

macro_rules! sum {
    ($($t:ident: $plus:expr),+ $(,)?) => {$(
        impl Sum for $t {
            fn plus(self, other: Self) -> Self { $plus(self, other) }
        }
    )+};
}
sum!(
    f32: |a: f32, b: f32| a + b,
    f64: |a: f64, b: f64| a + b,
    i8: i8::wrapping_add,
    i16: i16::wrapping_add,
    i32: i32::wrapping_add,
    i64: i64::wrapping_add,
    u8: u8::wrapping_add,
    u16: u16::wrapping_add,
    u32: u32::wrapping_add,
    u64: u64::wrapping_add,
    bool: |a: bool, b: bool| a | b,
);

fn fold<T: Sum>(
    ctx: &mut Context<'_>,
    columns: &[T],
    map: &SlidingMap,
    shape: Shape,
) -> Result<Tensor> {
    let mut out = ctx.filled(shape.len(), T::default())?;
    let plane = map.kernel * map.output;
    let cost = plane.saturating_mul(2);
    ctx.threads.split_rows(&mut out, map.input, cost, |range, chunk| {
        for (i, image) in range.zip(chunk.chunks_mut(map.input.max(1))) {
            let columns = columns.get(i * plane..(i + 1) * plane).unwrap_or(&[]);
            for (k, blocks) in columns.chunks(map.output.max(1)).enumerate() {
                map.runs(k, 0..map.output, |run| {
                    let blocks = blocks.get(run.at..run.at + run.len).unwrap_or(&[]);
                    let image = image.get_mut(run.input..).unwrap_or(&mut []);
                    for (x, &b) in image.iter_mut().step_by(map.step).zip(blocks) {
                        *x = x.plus(b);
                    }
                });
            }
        }
    });
    ctx.tensor(shape, out)
}

/// A list of sizes from a tensor.
fn sizes(tensor: &Tensor, what: &str) -> Result<Vec<usize>> {
    let sizes = tensor.to_i64_vec()?;
    let sizes: Vec<usize> = sizes
        .iter()
        .map(|&n| usize::try_from(n).map_err(|_| err!(InvalidInput, "Col2Im: {what} {sizes:?}")))
        .collect::<Result<_>>()?;
    // The products of a block's and an image's sizes are taken unchecked afterwards.
    Shape::new(&sizes)?;
    Ok(sizes)
}

impl Kernel for Col2Im {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let image = sizes(inputs.tensor(1)?, "image_shape")?;
        let block = sizes(inputs.tensor(2)?, "block_shape")?;
        let &[images, rows, blocks] = x.dims() else {
            bail!(InvalidInput, "Col2Im: expected [N, C * block, L], got {}", x.shape());
        };
        let sliding = self.window.slide(&block, &image)?;
        let map = sliding.map(ctx)?;
        ensure!(
            rows.is_multiple_of(map.kernel) && blocks == map.output,
            InvalidInput,
            "Col2Im: {rows} rows of {blocks} blocks do not fit {} blocks of shape {block:?}",
            map.output
        );
        let mut dims = vec![images, rows / map.kernel];
        dims.extend_from_slice(&image);
        let shape = ctx.shape_of::<f64>(&dims)?;
        let dtype = x.dtype();
        let x = widened(x)?;
        let out = match x.data() {
            Data::F32(v) => fold(ctx, v, &map, shape)?,
            Data::F64(v) => fold(ctx, v, &map, shape)?,
            Data::I8(v) => fold(ctx, v, &map, shape)?,
            Data::I16(v) => fold(ctx, v, &map, shape)?,
            Data::I32(v) => fold(ctx, v, &map, shape)?,
            Data::I64(v) => fold(ctx, v, &map, shape)?,
            Data::U8(v) => fold(ctx, v, &map, shape)?,
            Data::U16(v) => fold(ctx, v, &map, shape)?,
            Data::U32(v) => fold(ctx, v, &map, shape)?,
            Data::U64(v) => fold(ctx, v, &map, shape)?,
            Data::Bool(v) => fold(ctx, v, &map, shape)?,
            other => return wrong_type("Col2Im", other.dtype()),
        };
        one(narrowed(out, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};
    use crate::tensor::Tensor;
    use half::f16;

    fn run(op: Op, x: Tensor, image: &[i64], block: &[i64]) -> crate::Result<Tensor> {
        let list = |v: &[i64]| t(&[v.len()], v);
        Ok(op.run(&[x, list(image), list(block)])?.remove(0))
    }

    /// The definition, block by block.
    fn slowly(
        x: &[i64],
        (image, block): ([usize; 2], [usize; 2]),
        (stride, dilation, pad): ([usize; 2], [usize; 2], [usize; 4]),
        channels: usize,
    ) -> (Vec<i64>, usize) {
        let count = |a: usize| {
            (image[a] + pad[a] + pad[a + 2] - dilation[a] * (block[a] - 1) - 1) / stride[a] + 1
        };
        let (rows, columns) = (count(0), count(1));
        let mut out = vec![0; channels * image[0] * image[1]];
        for c in 0..channels {
            for (ky, kx) in (0..block[0]).flat_map(|y| (0..block[1]).map(move |x| (y, x))) {
                for (by, bx) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
                    let y = (by * stride[0] + ky * dilation[0]).wrapping_sub(pad[0]);
                    let z = (bx * stride[1] + kx * dilation[1]).wrapping_sub(pad[1]);
                    if y < image[0] && z < image[1] {
                        let row = (c * block[0] + ky) * block[1] + kx;
                        out[(c * image[0] + y) * image[1] + z] +=
                            x.get((row * rows + by) * columns + bx).copied().unwrap_or(0);
                    }
                }
            }
        }
        (out, rows * columns)
    }

    #[test]
    fn blocks_lie_where_the_attributes_say() {
        for (image, block, stride, dilation, pad) in [
            ([5, 5], [1, 5], [1, 1], [1, 1], [0, 0, 0, 0]),
            ([5, 5], [3, 3], [2, 2], [1, 1], [0, 0, 0, 0]),
            ([6, 7], [2, 2], [1, 2], [1, 5], [1, 0, 0, 3]),
            ([4, 5], [2, 3], [3, 1], [2, 1], [0, 1, 2, 1]),
        ] {
            let x: Vec<i64> = (0..2000).map(|i| i * i % 101).collect();
            let (expected, blocks) = slowly(&x, (image, block), (stride, dilation, pad), 2);
            let rows = 2 * block[0] * block[1];
            let x = t(&[1, rows, blocks], &x[..rows * blocks]);
            let ints = |v: &[usize]| v.iter().map(|&v| v as i64).collect::<Vec<_>>();
            let op = Op::onnx("Col2Im", 18)
                .ints("strides", &ints(&stride))
                .ints("dilations", &ints(&dilation))
                .ints("pads", &ints(&pad));
            let y = run(op, x, &ints(&image), &ints(&block)).unwrap();
            assert_eq!(y, t(&[1, 2, image[0], image[1]], &expected), "{image:?} {block:?}");
        }
    }

    #[test]
    fn any_number_of_axes_and_type() {
        // Two blocks of [1, 1, 2] side by side in an image of [1, 1, 3]: the middle is added up.
        let x = [1f32, 2., 10., 20.];
        let y = run(Op::onnx("Col2Im", 18), t(&[1, 2, 2], &x), &[1, 1, 3], &[1, 1, 2]).unwrap();
        assert_eq!(y, t(&[1, 1, 1, 1, 3], &[1f32, 12., 20.]));
        let half = x.map(f16::from_f32);
        let y = run(Op::onnx("Col2Im", 18), t(&[1, 2, 2], &half), &[1, 3], &[1, 2]).unwrap();
        assert_eq!(y, t(&[1, 1, 1, 3], &[1f32, 12., 20.].map(f16::from_f32)));
        let y = run(Op::onnx("Col2Im", 18), t(&[1, 2, 2], &[200u8; 4]), &[1, 3], &[1, 2]).unwrap();
        assert_eq!(y, t(&[1, 1, 1, 3], &[200u8, 144, 200]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = || t(&[1, 4, 4], &[1f32; 16]);
        let op = || Op::onnx("Col2Im", 18);
        assert!(run(op(), x(), &[3, 3], &[2, 2]).is_ok());
        for (image, block) in [
            (&[3, 4][..], &[2, 2][..]),
            (&[3, 3], &[1, 3]),
            (&[3, 3], &[2]),
            (&[3, -3], &[2, 2]),
            (&[3, 3], &[0, 2]),
            (&[1, 1], &[2, 2]),
            (&[i64::MAX, 2], &[2, 2]),
            (&[], &[]),
        ] {
            assert!(run(op(), x(), image, block).is_err(), "{image:?} {block:?}");
        }
        assert!(run(op(), strings(&[1, 1, 1], &["a"]), &[1, 1], &[1, 1]).is_err());
    }
}
