//! MatMulNBits: a product with weights of 2, 4 or 8 bits that have a scale (and a zero point) for
//! each block along the inner dimension.
//!
//! The weights stay as they are in the file. A column is unpacked to floats when its turn comes,
//! once for all rows.

use super::by_columns::by_columns;
use crate::error::{Result, bail, ensure, err};
use crate::kernel::conv::real::{narrowed, widened, wrong_type};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{ElementType, Shape, Tensor};

struct MatMulNBits {
    n: usize,
    k: usize,
    bits: usize,
    block: usize,
}

/// A size from an attribute, at least `least`.
pub(super) fn size(spec: &OpSpec<'_>, name: &str, least: usize) -> Result<usize> {
    let value = spec.attributes.int(name, -1)?;
    match usize::try_from(value) {
        Ok(v) if v >= least => Ok(v),
        _ => Err(spec.invalid(format_args!("attribute '{name}' is missing or {value}"))),
    }
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=6)?;
    let bits = match spec.attributes.int("bits", 4)? {
        2 => 2,
        4 => 4,
        8 => 8,
        other => return Err(spec.unsupported(format_args!("weights of {other} bits"))),
    };
    let block = size(spec, "block_size", 16)?;
    if !block.is_power_of_two() {
        return Err(spec.invalid(format_args!("block_size {block} is no power of two")));
    }
    if spec.attributes.int("weight_prepacked", 0)? != 0 {
        return Err(spec.unsupported("weights packed for another library"));
    }
    let (n, k) = (size(spec, "N", 0)?, size(spec, "K", 0)?);
    Ok(Box::new(MatMulNBits { n, k, bits, block }))
}

/// Zero points of blocks.
enum Zeros<'a> {
    /// The same for all: the middle of the range.
    Middle(f32),
    /// Packed as the weights are, each column's from a new byte on.
    Packed { bytes: &'a [u8], column: usize },
    /// Numbers.
    Numbers(Vec<f32>),
}

/// Number `i` of the numbers of `bits` bits in `bytes`, the first ones lowest.
#[inline(always)]
pub(super) fn packed(bytes: &[u8], bits: usize, i: usize) -> u8 {
    let per = 8 / bits;
    let byte = bytes.get(i / per).copied().unwrap_or(0);
    let mask = u8::MAX >> (8 - bits);
    (byte >> (i % per * bits)) & mask
}

/// Unpacks numbers of `BITS` bits as floats, less `zero`, times `scale`.
#[inline(always)]
fn unpack<const BITS: usize>(bytes: &[u8], scale: f32, zero: f32, out: &mut [f32]) {
    let mask = u8::MAX >> (8 - BITS);
    for (out, &byte) in out.chunks_mut(8 / BITS).zip(bytes) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = (f32::from((byte >> (i * BITS)) & mask) - zero) * scale;
        }
    }
}

/// The weights of one run.
struct Weights<'a> {
    bits: usize,
    block: usize,
    /// Blocks of a column.
    blocks: usize,
    bytes: &'a [u8],
    scales: &'a [f32],
    zeros: Zeros<'a>,
    /// The block whose scale an element has, where that is not the one it lies in.
    groups: Option<Vec<usize>>,
}

impl Weights<'_> {
    /// Scale and zero point of a block of a column.
    fn block(&self, column: usize, block: usize) -> (f32, f32) {
        let at = column * self.blocks + block;
        let zero = match &self.zeros {
            Zeros::Middle(zero) => *zero,
            Zeros::Packed { bytes, column: size } => {
                let bytes = bytes.get(column * size..).unwrap_or(&[]);
                f32::from(packed(bytes, self.bits, block))
            }
            Zeros::Numbers(v) => v.get(at).copied().unwrap_or(0.0),
        };
        (self.scales.get(at).copied().unwrap_or(0.0), zero)
    }

    /// The weights of a column.
    fn column(&self, column: usize, out: &mut [f32]) {
        let size = self.block * self.bits / 8;
        let bytes = self.bytes.get(column * self.blocks * size..).unwrap_or(&[]);
        if let Some(groups) = &self.groups {
            for (i, (out, &group)) in out.iter_mut().zip(groups).enumerate() {
                let (scale, zero) = self.block(column, group);
                *out = (f32::from(packed(bytes, self.bits, i)) - zero) * scale;
            }
            return;
        }
        let blocks = out.chunks_mut(self.block).zip(bytes.chunks(size.max(1)));
        for (block, (out, bytes)) in blocks.enumerate() {
            let (scale, zero) = self.block(column, block);
            match self.bits {
                2 => unpack::<2>(bytes, scale, zero, out),
                4 => unpack::<4>(bytes, scale, zero, out),
                _ => unpack::<8>(bytes, scale, zero, out),
            }
        }
    }
}

impl MatMulNBits {
    /// The zero points of input 3.
    fn zeros<'a>(&self, zeros: Option<&'a Tensor>, blocks: usize) -> Result<Zeros<'a>> {
        let Some(zeros) = zeros else {
            return Ok(Zeros::Middle(f32::from(1u8 << (self.bits - 1))));
        };
        let (found, size) = match zeros.dtype() {
            ElementType::U8 => {
                let size = (blocks * self.bits).div_ceil(8);
                (Zeros::Packed { bytes: zeros.as_slice()?, column: size }, size)
            }
            _ => (Zeros::Numbers(zeros.to_f32_vec()?), blocks),
        };
        ensure!(
            size.checked_mul(self.n) == Some(zeros.len()),
            InvalidInput,
            "MatMulNBits: zero points of shape {} for {} columns of {blocks} blocks",
            zeros.shape(),
            self.n
        );
        Ok(found)
    }

    /// The groups of input 4.
    fn groups(&self, groups: Option<&Tensor>, blocks: usize) -> Result<Option<Vec<usize>>> {
        let Some(groups) = groups else { return Ok(None) };
        ensure!(
            groups.len() == self.k || groups.len() == blocks * self.block,
            InvalidInput,
            "MatMulNBits: {} groups for {} rows",
            groups.len(),
            self.k
        );
        let group = |&g: &i64| {
            usize::try_from(g)
                .ok()
                .filter(|&g| g < blocks)
                .ok_or_else(|| err!(InvalidInput, "MatMulNBits: group {g} of {blocks}"))
        };
        groups.to_i64_vec()?.iter().map(group).collect::<Result<_>>().map(Some)
    }

    fn compute(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>, a: &Tensor) -> Result<Tensor> {
        let (n, k) = (self.n, self.k);
        let Some((&last, front)) = a.dims().split_last() else {
            bail!(InvalidInput, "MatMulNBits takes no scalar")
        };
        ensure!(last == k, InvalidInput, "MatMulNBits: rows of {last} elements, expected {k}");
        let a = a.as_slice::<f32>()?;
        let blocks = k.div_ceil(self.block);
        let b = inputs.tensor(1)?;
        let bytes = Shape::new(&[n, blocks, self.block])?.len() / 8 * self.bits;
        ensure!(
            b.len() == bytes,
            InvalidInput,
            "MatMulNBits: weights of shape {} for {n} columns of {blocks} blocks of {} elements",
            b.shape(),
            self.block
        );
        let scales = inputs.tensor(2)?.to_f32_vec()?;
        ensure!(
            scales.len() == n * blocks,
            InvalidInput,
            "MatMulNBits: {} scales for {n} columns of {blocks} blocks",
            scales.len()
        );
        let weights = Weights {
            bits: self.bits,
            block: self.block,
            blocks,
            bytes: b.as_slice()?,
            scales: &scales,
            zeros: self.zeros(inputs.tensor_opt(3)?, blocks)?,
            groups: self.groups(inputs.tensor_opt(4)?, blocks)?,
        };
        let bias = inputs.tensor_opt(5)?.map(Tensor::to_f32_vec).transpose()?;
        ensure!(
            bias.as_ref().is_none_or(|bias| bias.len() == n),
            InvalidInput,
            "MatMulNBits: a bias of {} elements for {n} columns",
            bias.as_ref().map_or(0, Vec::len)
        );
        by_columns(ctx, (a, front), [k, n], bias.as_deref(), |index, column| {
            weights.column(index, column);
        })
    }
}

impl Kernel for MatMulNBits {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let a = inputs.tensor(0)?;
        let dtype = a.dtype();
        if !matches!(dtype, ElementType::F32 | ElementType::F16 | ElementType::BF16) {
            return wrong_type("MatMulNBits", dtype);
        }
        let wide = widened(a)?;
        one(narrowed(self.compute(ctx, inputs, &wide)?, dtype)?)
    }
}
