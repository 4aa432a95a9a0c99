//! DepthToSpace and SpaceToDepth: blocks of channels against blocks of pixels.

use super::permute;
use crate::error::{Result, bail, ensure};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Shape, Tensor};

struct DepthToSpace {
    block: usize,
    /// Channels as depth-column-row (ONNX's default) or column-row-depth.
    depth_first: bool,
}

struct SpaceToDepth {
    block: usize,
    depth_first: bool,
}

fn block_size(spec: &OpSpec<'_>) -> Result<usize> {
    spec.arity(1..=1)?;
    match spec.attributes.int("blocksize", 0)? {
        b @ 1..=0x7fff_ffff => Ok(b as usize),
        b => Err(spec.invalid(format_args!("blocksize {b} (expected 1 or more)"))),
    }
}

fn depth_first(spec: &OpSpec<'_>) -> Result<bool> {
    match spec.attributes.str("mode", "DCR")?.as_str() {
        "DCR" => Ok(true),
        "CRD" => Ok(false),
        other => Err(spec.invalid(format_args!("mode '{other}' (expected DCR or CRD)"))),
    }
}

pub(super) fn prepare_depth_to_space(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    Ok(Box::new(DepthToSpace { block: block_size(spec)?, depth_first: depth_first(spec)? }))
}

pub(super) fn prepare_space_to_depth(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    // Before opset 28 there is no mode: depth-column-row it was.
    let depth_first = spec.version < 28 || depth_first(spec)?;
    Ok(Box::new(SpaceToDepth { block: block_size(spec)?, depth_first }))
}

fn image(tensor: &Tensor) -> Result<[usize; 4]> {
    match *tensor.dims() {
        [n, c, h, w] => Ok([n, c, h, w]),
        _ => bail!(InvalidInput, "expected a [N, C, H, W] tensor, got {}", tensor.shape()),
    }
}

impl Kernel for DepthToSpace {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.take_tensor(0)?;
        let [n, c, h, w] = image(&tensor)?;
        let b = self.block;
        ensure!(
            c.is_multiple_of(b) && (c / b).is_multiple_of(b),
            InvalidInput,
            "DepthToSpace: {c} channels are no multiple of blocksize {b} squared"
        );
        let depth = c / b / b;
        let (split, perm) = if self.depth_first {
            ([n, b, b, depth, h, w], [0, 3, 4, 1, 5, 2])
        } else {
            ([n, depth, b, b, h, w], [0, 1, 4, 2, 5, 3])
        };
        // With no channel at all nothing bounds the block against the image.
        let (Some(height), Some(width)) = (h.checked_mul(b), w.checked_mul(b)) else {
            bail!(LimitExceeded, "DepthToSpace: blocksize {b} on an image of {h} by {w}");
        };
        let shape = Shape::new(&[n, depth, height, width])?;
        let y = permute(ctx, &tensor.reshaped(Shape::new(&split)?)?, &perm)?;
        one(y.reshaped(shape)?)
    }
}

impl Kernel for SpaceToDepth {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.take_tensor(0)?;
        let [n, c, h, w] = image(&tensor)?;
        let b = self.block;
        ensure!(
            h % b == 0 && w % b == 0,
            InvalidInput,
            "SpaceToDepth: an image of {h} by {w} is no multiple of blocksize {b}"
        );
        let Some(channels) = b.checked_mul(b).and_then(|bb| bb.checked_mul(c)) else {
            bail!(LimitExceeded, "SpaceToDepth: blocksize {b} on {c} channels");
        };
        let shape = Shape::new(&[n, channels, h / b, w / b])?;
        let split = Shape::new(&[n, c, h / b, b, w / b, b])?;
        let perm = if self.depth_first { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
        let y = permute(ctx, &tensor.reshaped(split)?, &perm)?;
        one(y.reshaped(shape)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};

    #[test]
    fn the_two_modes_of_the_specification() {
        // ONNX's depthtospace_example, first two rows of blocks.
        let x: Vec<f32> = (0..8).flat_map(|c| (0..6).map(move |i| (c * 9 + i) as f32)).collect();
        let x = t(&[1, 8, 2, 3], &x);
        let y = Op::onnx("DepthToSpace", 13).int("blocksize", 2).run1(std::slice::from_ref(&x));
        assert_eq!(y.dims(), [1, 2, 4, 6]);
        assert_eq!(
            y.as_slice::<f32>().unwrap()[..12],
            [0., 18., 1., 19., 2., 20., 36., 54., 37., 55., 38., 56.]
        );
        let op = Op::onnx("DepthToSpace", 13).int("blocksize", 2).string("mode", "CRD");
        let y = op.run1(std::slice::from_ref(&x));
        assert_eq!(
            y.as_slice::<f32>().unwrap()[..12],
            [0., 9., 1., 10., 2., 11., 18., 27., 19., 28., 20., 29.]
        );
        let y = Op::onnx("DepthToSpace", 13).int("blocksize", 2).run1(std::slice::from_ref(&x));
        let back = Op::onnx("SpaceToDepth", 13).int("blocksize", 2).run1(&[y]);
        assert_eq!(back, x);
        let y = op.run1(std::slice::from_ref(&x));
        let op = Op::onnx("SpaceToDepth", 28).int("blocksize", 2).string("mode", "CRD");
        assert_eq!(op.run1(&[y]), x);
    }

    #[test]
    fn blocks_that_do_not_fit_are_refused() {
        let x = t(&[1, 2, 2, 3], &[0f32; 12]);
        for op in ["DepthToSpace", "SpaceToDepth"] {
            for b in [-1, 0, 2, i64::MAX] {
                assert!(
                    Op::onnx(op, 13).int("blocksize", b).run(std::slice::from_ref(&x)).is_err()
                );
            }
        }
    }
}
