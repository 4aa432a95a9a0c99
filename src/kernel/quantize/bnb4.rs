//! MatMulBnb4: a product with weights of four bits that name one of sixteen floats, as the library
//! bitsandbytes stores them: blocks of the flattened matrix with one scale each.

use super::by_columns::by_columns;
use super::nbits::size;
use crate::error::{Result, bail, ensure};
use crate::kernel::conv::real::{narrowed, widened, wrong_type};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{ElementType, Shape, Tensor};

/// The numbers of FP4: a sign, two bits of exponent, one of fraction, over the largest of them, 12.
const FP4: [f32; 16] = {
    const MOST: f32 = 12.0;
    let positive = [
        0.0,
        0.0625 / MOST,
        8.0 / MOST,
        12.0 / MOST,
        4.0 / MOST,
        6.0 / MOST,
        2.0 / MOST,
        3.0 / MOST,
    ];
    let mut all = [0.0; 16];
    let mut i = 0;
    while i < 8 {
        all[i] = positive[i];
        all[i + 8] = -positive[i];
        i += 1;
    }
    all
};

/// The numbers of NF4, the quantiles of a normal distribution between -1 and 1 (Dettmers et al.,
/// "QLoRA", 2023, appendix E).
#[allow(clippy::excessive_precision)] // as published
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_800_998_687_7,
    -0.525_073_051_452_636_7,
    -0.394_917_488_098_144_53,
    -0.284_441_381_692_886_35,
    -0.184_773_430_228_233_34,
    -0.091_050_036_251_544_95,
    0.0,
    0.079_580_299_556_255_34,
    0.160_930_201_411_247_25,
    0.246_112_301_945_686_34,
    0.337_915_241_718_292_24,
    0.440_709_829_330_444_34,
    0.562_617_003_917_694_1,
    0.722_956_836_223_602_3,
    1.0,
];

struct MatMulBnb4 {
    n: usize,
    k: usize,
    block: usize,
    numbers: &'static [f32; 16],
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=3)?;
    let block = size(spec, "block_size", 16)?;
    if !block.is_power_of_two() {
        return Err(spec.invalid(format_args!("block_size {block} is no power of two")));
    }
    let numbers = match spec.attributes.int("quant_type", -1)? {
        0 => &FP4,
        1 => &NF4,
        other => return Err(spec.invalid(format_args!("quant_type is missing or {other}"))),
    };
    if !spec.attributes.flag("transB", true)? {
        return Err(spec.unsupported("transB of 0, which is for training"));
    }
    Ok(Box::new(MatMulBnb4 { n: size(spec, "N", 0)?, k: size(spec, "K", 0)?, block, numbers }))
}

impl MatMulBnb4 {
    fn compute(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>, a: &Tensor) -> Result<Tensor> {
        let (n, k) = (self.n, self.k);
        let Some((&last, front)) = a.dims().split_last() else {
            bail!(InvalidInput, "MatMulBnb4 takes no scalar")
        };
        ensure!(last == k, InvalidInput, "MatMulBnb4: rows of {last} elements, expected {k}");
        let (b, scales) = (inputs.tensor(1)?, inputs.tensor(2)?);
        let count = Shape::new(&[n, k])?.len();
        ensure!(
            b.len() == count.div_ceil(2) && scales.len() == count.div_ceil(self.block),
            InvalidInput,
            "MatMulBnb4: weights of shape {} and scales of shape {} for {n} columns of {k} in \
             blocks of {}",
            b.shape(),
            scales.shape(),
            self.block
        );
        let (bytes, scales) = (b.as_slice::<u8>()?, scales.to_f32_vec()?);
        by_columns(ctx, (a.as_slice()?, front), [k, n], None, |column, out| {
            for (out, i) in out.iter_mut().zip(column * k..) {
                let byte = bytes.get(i / 2).copied().unwrap_or(0);
                // The first of two numbers is in the upper bits.
                let code = if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
                let number = self.numbers.get(usize::from(code)).copied().unwrap_or(0.0);
                *out = number * scales.get(i / self.block).copied().unwrap_or(0.0);
            }
        })
    }
}

impl Kernel for MatMulBnb4 {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let a = inputs.tensor(0)?;
        let dtype = a.dtype();
        if !matches!(dtype, ElementType::F32 | ElementType::F16 | ElementType::BF16) {
            return wrong_type("MatMulBnb4", dtype);
        }
        let wide = widened(a)?;
        one(narrowed(self.compute(ctx, inputs, &wide)?, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use half::f16;

    fn op(kind: i64) -> Op {
        let op = Op::new("com.microsoft", "MatMulBnb4", 1).int("quant_type", kind);
        op.int("K", 5).int("N", 7).int("block_size", 16)
    }

    /// Code `i * 11 % 16` for number `i` of the 35, with the scales of three blocks.
    fn weights(numbers: impl Fn(usize) -> f32) -> ([u8; 18], [f32; 3], Vec<f32>) {
        let code = |i: usize| if i < 35 { i * 11 % 16 } else { 0 };
        let bytes = std::array::from_fn(|i| ((code(2 * i) << 4) | code(2 * i + 1)) as u8);
        let scales = [2f32, 0.5, 3.0];
        let wide = (0..35).map(|i| numbers(code(i)) * scales[i / 16]).collect();
        (bytes, scales, wide)
    }

    /// `a`, of two rows, times the rows of `wide` as columns.
    fn product(a: &[f32], wide: &[f32]) -> Vec<f32> {
        let dot = |r: usize, c: usize| (0..5).map(|i| a[r * 5 + i] * wide[c * 5 + i]).sum();
        (0..14).map(|i| dot(i / 7, i % 7)).collect()
    }

    #[test]
    fn numbers_of_both_kinds() {
        let a: Vec<f32> = (0..10).map(|i| i as f32 - 4.5).collect();
        // A sign, then what the three bits below stand for, in twelfths.
        let twelfths = [0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0];
        let fp4 = |i: usize| if i < 8 { twelfths[i] / 12.0 } else { -twelfths[i - 8] / 12.0 };
        let nf4 = |i: usize| {
            [
                -1.0, -0.69619, -0.52507, -0.39492, -0.28444, -0.18477, -0.09105, 0.0, 0.07958,
                0.16093, 0.24611, 0.33792, 0.44071, 0.56262, 0.72296, 1.0,
            ][i]
        };
        let (bytes, scales, wide) = weights(fp4);
        let inputs = [t(&[2, 5], &a), t(&[18], &bytes), t(&[3], &scales)];
        assert_close(&op(0).run1(&inputs), &t(&[2, 7], &product(&a, &wide)));
        let (_, _, wide) = weights(nf4);
        let got = op(1).run1(&inputs).to_f32_vec().unwrap();
        for (got, expected) in got.iter().zip(product(&a, &wide)) {
            assert!((got - expected).abs() < 1e-3, "{got} for {expected}");
        }
        let half: Vec<f16> = a.iter().map(|&x| f16::from_f32(x)).collect();
        let y = op(0).run1(&[t(&[1, 2, 5], &half), inputs[1].clone(), inputs[2].clone()]);
        assert_eq!((y.dims(), y.dtype().name()), (&[1, 2, 7][..], "float16"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let inputs = || [t(&[1, 5], &[1f32; 5]), t(&[18], &[0u8; 18]), t(&[3], &[1f32; 3])];
        assert!(op(0).run(&inputs()).is_ok());
        for (kind, size, transposed) in [(2, 16, 1), (1, 24, 1), (1, 8, 1), (1, 16, 0)] {
            let op = op(kind).int("block_size", size).int("transB", transposed);
            assert!(op.run(&inputs()).is_err());
        }
        let [a, b, scales] = inputs();
        assert!(op(0).run(&[t(&[1, 4], &[1f32; 4]), b.clone(), scales.clone()]).is_err());
        assert!(op(0).run(&[a.clone(), t(&[17], &[0u8; 17]), scales]).is_err());
        assert!(op(0).run(&[a, b, t(&[2], &[1f32; 2])]).is_err());
    }
}
