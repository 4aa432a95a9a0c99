//! Operators on images whose channels are the last axis: ONNX Runtime's form of quantised
//! convolutions and pools.

use super::inner::lent;
use super::transpose::permute;
use super::{Arg, Context, Inputs, Kernel, OpSpec, Outputs};
use crate::error::{Result, ensure};
use crate::tensor::{Tensor, Value};
use smallvec::SmallVec;

/// A kernel that takes its first input, and answers, with channels as the second axis.
struct ChannelsLast {
    inner: Box<dyn Kernel>,
}

/// The kernel of a node, which says in `channels_last` how its images lie.
///
/// # Errors
/// `InvalidModel` where the attribute is no int.
pub(super) fn as_told(spec: &OpSpec<'_>, inner: Box<dyn Kernel>) -> Result<Box<dyn Kernel>> {
    Ok(if spec.attributes.flag("channels_last", false)? { always(inner) } else { inner })
}

/// A kernel for images with channels as the last axis.
pub(super) fn always(inner: Box<dyn Kernel>) -> Box<dyn Kernel> {
    Box::new(ChannelsLast { inner })
}

/// An image's axes with the last one behind the first.
pub(super) fn channels_second(ctx: &mut Context<'_>, x: &Tensor) -> Result<Tensor> {
    let rank = x.shape().rank();
    ensure!(rank >= 2, InvalidInput, "an image of shape {} has no channels", x.shape());
    let perm: SmallVec<[usize; 6]> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    permute(ctx, x, &perm)
}

/// The way back from [`channels_second`].
pub(super) fn channels_behind(ctx: &mut Context<'_>, x: &Tensor) -> Result<Tensor> {
    let rank = x.shape().rank();
    ensure!(rank >= 2, InvalidInput, "an image of shape {} has no channels", x.shape());
    let perm: SmallVec<[usize; 6]> = [0].into_iter().chain(2..rank).chain([1]).collect();
    permute(ctx, x, &perm)
}

impl Kernel for ChannelsLast {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let inputs: &Inputs<'_> = inputs;
        let x = channels_second(ctx, inputs.tensor(0)?)?;
        let mut args: SmallVec<[Arg<'_>; 4]> = SmallVec::new();
        args.push(Arg::Owned(Value::Tensor(x)));
        args.extend((1..inputs.len()).map(|i| lent(inputs, i)));
        let outputs = self.inner.run(ctx, &mut Inputs::new(args))?;
        let back = |value: Value| channels_behind(ctx, value.as_tensor()?).map(Value::Tensor);
        outputs.into_iter().map(back).collect()
    }

    fn holds(&self, i: usize) -> bool {
        self.inner.holds(i)
    }

    fn packed_bytes(&self) -> u64 {
        self.inner.packed_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};
    use crate::tensor::Tensor;

    /// A picture of two channels, 3 by 3, the channels behind.
    fn picture() -> Tensor {
        let all: Vec<u8> = (0..18).map(|i| i * 7 % 31).collect();
        t(&[1, 3, 3, 2], &all)
    }

    fn moved(x: &Tensor, perm: &[i64]) -> Tensor {
        Op::onnx("Transpose", 13).ints("perm", perm).run1(std::slice::from_ref(x))
    }

    #[test]
    fn maxima_of_channels() {
        let op = Op::new("com.microsoft", "NhwcMaxPool", 1).ints("kernel_shape", &[2, 2]);
        let y = op.run1(&[picture()]);
        assert_eq!(y.dims(), [1, 2, 2, 2]);
        // By hand: channel c of place (i, j) is (2 · (3 i + j) + c) · 7 mod 31.
        let at = |i: usize, j: usize, c: usize| ((2 * (3 * i + j) + c) * 7 % 31) as u8;
        let mut expected = vec![];
        for (i, j, c) in (0..8).map(|n| (n / 4, n / 2 % 2, n % 2)) {
            let places = [(i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1)];
            expected.push(places.map(|(i, j)| at(i, j, c)).into_iter().max().unwrap());
        }
        assert_eq!(y, t(&[1, 2, 2, 2], &expected));
        assert!(op.run(&[t(&[3], &[1u8; 3])]).is_err());
    }

    #[test]
    fn convolutions_and_means_are_those_of_the_other_form() {
        let weights: Vec<i8> = (0..24).map(|i| i * 5 % 13 - 6).collect();
        let rest = [
            t(&[], &[0.5f32]),
            t(&[], &[3u8]),
            t(&[3, 2, 2, 2], &weights),
            t(&[], &[0.25f32]),
            t(&[], &[0i8]),
            t(&[], &[2f32]),
            t(&[], &[120u8]),
        ];
        let first = moved(&picture(), &[0, 3, 1, 2]);
        let with = |x: Tensor, last: bool| {
            let inputs: Vec<Tensor> = [x].into_iter().chain(rest.iter().cloned()).collect();
            let op = Op::new("com.microsoft", "QLinearConv", 1).constant(&[3, 5]);
            op.int("channels_last", last.into()).ints("pads", &[1, 0, 0, 1]).run1(&inputs)
        };
        let y = with(picture(), true);
        assert_eq!(y.dims(), [1, 3, 3, 3]);
        assert_eq!(moved(&y, &[0, 3, 1, 2]), with(first.clone(), false));
        let mean = |x: Tensor, last: bool| {
            let op = Op::new("com.microsoft", "QLinearAveragePool", 1);
            let op = op.int("channels_last", last.into()).ints("kernel_shape", &[2, 3]);
            let scales = [t(&[], &[0.5f32]), t(&[], &[3u8]), t(&[], &[0.25f32]), t(&[], &[9u8])];
            op.run1(&[x].into_iter().chain(scales).collect::<Vec<_>>())
        };
        let y = mean(picture(), true);
        assert_eq!(y.dims(), [1, 2, 1, 2]);
        assert_eq!(moved(&y, &[0, 3, 1, 2]), mean(first, false));
    }
}
