//! GatherBlockQuantized: rows of a table whose numbers are stored in few bits, with a scale (and a
//! zero point) for each block along an axis. Only what is read is unpacked.

use super::nbits::packed;
use crate::error::{Result, bail, ensure, err};
use crate::kernel::conv::real::narrowed;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Data, ElementType, Shape, Tensor};
use smallvec::SmallVec;

struct GatherBlockQuantized {
    gather_axis: i64,
    quantize_axis: i64,
    /// Numbers that share a scale; 0 for all of the axis.
    block: usize,
    /// Bits of a number in a table of bytes.
    bits: usize,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=4)?;
    let a = spec.attributes;
    let block = match a.int("block_size", 128)? {
        0 => 0,
        n if n >= 16 && n.count_ones() == 1 => n as usize,
        n => return Err(spec.invalid(format_args!("a block_size of {n}"))),
    };
    let bits = match a.int("bits", 4)? {
        n @ (2 | 4 | 8) => n as usize,
        n => return Err(spec.invalid(format_args!("numbers of {n} bits"))),
    };
    Ok(Box::new(GatherBlockQuantized {
        gather_axis: a.int("gather_axis", 0)?,
        quantize_axis: a.int("quantize_axis", 1)?,
        block,
        bits,
    }))
}

/// Where the scale of an element lies: the sum of what each axis adds.
struct Scales {
    /// For each axis its size and how its positions count: how many share a scale, and the step
    /// from one scale to the next (0 where all positions share them).
    axes: SmallVec<[(usize, usize, usize); 4]>,
}

impl Scales {
    /// What the positions that `index` counts over the axes `range` add.
    fn of(&self, range: std::ops::Range<usize>, mut index: usize) -> usize {
        let mut sum = 0;
        for &(size, shared, step) in self.axes.get(range).unwrap_or(&[]).iter().rev() {
            let size = size.max(1);
            sum += index % size / shared * step;
            index /= size;
        }
        sum
    }
}

impl GatherBlockQuantized {
    /// The dimensions of the table as numbers, which bytes may hold several of.
    fn table(&self, data: &Tensor) -> Result<SmallVec<[usize; 4]>> {
        let mut dims: SmallVec<[usize; 4]> = SmallVec::from_slice(data.dims());
        if data.dtype() == ElementType::U8 {
            let last = dims.last_mut().ok_or_else(|| err!(InvalidInput, "a table of no axes"))?;
            *last = last.saturating_mul(8 / self.bits);
        }
        Ok(dims)
    }

    fn scales(&self, dims: &[usize], axis: usize, floats: bool, of: &Shape) -> Result<Scales> {
        ensure!(
            self.block > 0 || floats,
            InvalidInput,
            "GatherBlockQuantized: a block_size of 0 for whole numbers"
        );
        let block = if self.block == 0 { dims[axis].max(1) } else { self.block };
        let strides = of.strides();
        let fits = of.rank() == dims.len()
            && dims.iter().enumerate().all(|(i, &dim)| match of.dim(i) {
                n if i == axis => n == dim.div_ceil(block),
                1 => dim == 1 || floats,
                n => n == dim,
            });
        ensure!(
            fits,
            InvalidInput,
            "GatherBlockQuantized: scales of shape {of} for a table of {dims:?} in blocks of {block}"
        );
        let axes = dims.iter().zip(strides.iter()).enumerate().map(|(i, (&dim, &stride))| match of
            .dim(i)
        {
            _ if i == axis => (dim, block, stride),
            n => (dim, 1, if n == dim { stride } else { 0 }),
        });
        Ok(Scales { axes: axes.collect() })
    }

    /// The zero points by the number of their scale.
    fn zeros(&self, zeros: Option<&Tensor>, data: &Tensor, scales: &Shape) -> Result<Vec<f32>> {
        let Some(zeros) = zeros else {
            let middle = match data.dtype() {
                ElementType::U8 => f32::from(1u8 << (self.bits - 1)),
                _ => 0.0,
            };
            return Ok(vec![middle; scales.len()]);
        };
        let mut dims: SmallVec<[usize; 4]> = SmallVec::from_slice(scales.dims());
        let blocks = dims.last().copied().unwrap_or(1);
        if let (ElementType::U8, Some(last)) = (data.dtype(), dims.last_mut()) {
            *last = last.div_ceil(8 / self.bits);
        }
        ensure!(
            zeros.dtype() == data.dtype() && zeros.dims() == dims.as_slice(),
            InvalidInput,
            "GatherBlockQuantized: zero points {} {} for scales of shape {scales}",
            zeros.dtype(),
            zeros.shape()
        );
        match zeros.data() {
            Data::U8(bytes) => {
                let rows = bytes.chunks(dims.last().copied().unwrap_or(1).max(1));
                let row = |row| (0..blocks).map(move |i| f32::from(packed(row, self.bits, i)));
                Ok(rows.flat_map(row).collect())
            }
            Data::I4(_) | Data::U4(_) => zeros.to_f32_vec(),
            other => bail!(InvalidInput, "GatherBlockQuantized: zero points of {}", other.dtype()),
        }
    }

    fn gather(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Tensor> {
        let (data, indices, scale) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        let dims = self.table(data)?;
        let table = Shape::new(&dims)?;
        let axis = table.axis(self.gather_axis)?;
        let along = table.axis(self.quantize_axis)?;
        let bytes = data.dtype() == ElementType::U8;
        let floats = !bytes && !matches!(data.dtype(), ElementType::I4 | ElementType::U4);
        ensure!(
            !bytes || (axis == 0 && along + 1 == dims.len() && along > 0),
            InvalidInput,
            "GatherBlockQuantized: a table of bytes has its rows first and its blocks last"
        );
        ensure!(
            !floats || !inputs.has(3),
            InvalidInput,
            "GatherBlockQuantized: {} has no zero points",
            data.dtype()
        );
        let places = self.scales(&dims, along, floats, scale.shape())?;
        let zeros = self.zeros(inputs.tensor_opt(3)?, data, scale.shape())?;
        let scales = scale.to_f32_vec()?;
        let (outer, count, inner) = table.split_at(axis);
        let mut out_dims: SmallVec<[usize; 6]> = SmallVec::from_slice(&dims[..axis]);
        out_dims.extend_from_slice(indices.dims());
        out_dims.extend_from_slice(&dims[axis + 1..]);
        let shape = ctx.shape_of::<f32>(&out_dims)?;
        let within: Vec<usize> = match shape.len() {
            0 => vec![],
            _ => (0..ctx.shape_of::<u64>(&[inner])?.len())
                .map(|i| places.of(axis + 1..dims.len(), i))
                .collect(),
        };
        let mut out = ctx.filled(shape.len(), 0f32)?;
        let indices = indices.to_i64_vec()?;
        let mut lines = out.chunks_mut(inner.max(1));
        for (before, &index) in (0..outer).flat_map(|o| indices.iter().map(move |i| (o, i))) {
            let (Some(line), true) = (lines.next(), inner > 0) else { break };
            let at = if index < 0 { index.saturating_add(count as i64) } else { index };
            // What is not in the table reads as zeros.
            if !(0..count as i64).contains(&at) {
                continue;
            }
            let at = at as usize;
            let start = (before * count + at) * inner;
            let first = places.of(0..axis, before) + places.of(axis..axis + 1, at);
            let number = |i: usize, level: f32| {
                let place = first + within.get(i).copied().unwrap_or(0);
                let zero = zeros.get(place).copied().unwrap_or(0.0);
                (level - zero) * scales.get(place).copied().unwrap_or(0.0)
            };
            macro_rules! levels {
                ($v:ident) => {
                    for (i, (out, x)) in line.iter_mut().zip(&$v[start..]).enumerate() {
                        *out = number(i, x.to_f32());
                    }
                };
            }
            match data.data() {
                Data::U8(v) => {
                    for (i, out) in line.iter_mut().enumerate() {
                        *out = number(i, f32::from(packed(v, self.bits, start + i)));
                    }
                }
                Data::I4(v) => levels!(v),
                Data::U4(v) => levels!(v),
                Data::F8E4M3FN(v) => levels!(v),
                Data::F8E4M3FNUZ(v) => levels!(v),
                Data::F8E5M2(v) => levels!(v),
                Data::F8E5M2FNUZ(v) => levels!(v),
                Data::F4E2M1(v) => levels!(v),
                other => bail!(InvalidInput, "GatherBlockQuantized of {}", other.dtype()),
            }
        }
        ctx.tensor(shape, out)
    }
}

impl Kernel for GatherBlockQuantized {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(2)?.dtype();
        ensure!(
            matches!(dtype, ElementType::F32 | ElementType::F16 | ElementType::BF16),
            InvalidInput,
            "GatherBlockQuantized: scales of {dtype}"
        );
        one(narrowed(self.gather(ctx, inputs)?, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};
    use crate::tensor::{Float8E4M3FN, Int4, Tensor};

    fn op() -> Op {
        Op::new("com.microsoft", "GatherBlockQuantized", 1).int("block_size", 16)
    }

    /// The level of row `r` and column `c`.
    fn level(r: usize, c: usize) -> u8 {
        ((r * 7 + c * 3) % 16) as u8
    }

    #[test]
    fn rows_of_bytes_that_hold_two_numbers() {
        // Three rows of 40 numbers: blocks of 16, 16 and 8.
        let bytes: Vec<u8> = (0..60)
            .map(|i| (i / 20, i % 20 * 2))
            .map(|(r, c)| level(r, c) | (level(r, c + 1) << 4))
            .collect();
        let scales: Vec<f32> = (0..9).map(|i| 0.5 + i as f32).collect();
        let inputs = [t(&[3, 20], &bytes), t(&[2, 2], &[2i64, 0, -1, 7]), t(&[3, 3], &scales)];
        let y = op().run1(&inputs);
        assert_eq!(y.dims(), [2, 2, 40]);
        let row = |r: usize, zero: &dyn Fn(usize) -> f32| -> Vec<f32> {
            let number = |c: usize| f32::from(level(r, c)) - zero(r * 3 + c / 16);
            (0..40).map(|c| number(c) * scales[r * 3 + c / 16]).collect()
        };
        let middle = |_: usize| 8.0;
        let expected = [row(2, &middle), row(0, &middle), row(2, &middle), vec![0.0; 40]].concat();
        assert_eq!(y, t(&[2, 2, 40], &expected));
        // Zero points 3, 5 and 9 of row 0, then those of the others; each row from a byte on.
        let zeros = t(&[3, 2], &[0x53u8, 9, 0x21, 3, 0x76, 15]);
        let [data, _, scale] = inputs;
        let y = op().run1(&[data.clone(), t(&[1], &[0i32]), scale.clone(), zeros]);
        assert_eq!(y, t(&[1, 40], &row(0, &|block| [3.0, 5.0, 9.0][block])));
        let wrong = t(&[3, 3], &[0u8; 9]);
        assert!(op().run(&[data.clone(), t(&[1], &[0i32]), scale.clone(), wrong]).is_err());
        assert!(op().int("gather_axis", 1).run(&[data.clone(), t(&[1], &[0i32]), scale]).is_err());
        assert!(op().run(&[data, t(&[1], &[0i32]), t(&[3, 2], &[1f32; 6])]).is_err());
    }

    #[test]
    fn numbers_of_eight_and_two_bits() {
        let bytes: Vec<u8> = (0..32).map(|i| i * 8).collect();
        let wide = op().int("bits", 8);
        let y = wide.run1(&[t(&[2, 16], &bytes), t(&[], &[1i64]), t(&[2, 1], &[1f32, 2.0])]);
        let expected: Vec<f32> = (16..32).map(|i| (i as f32 * 8.0 - 128.0) * 2.0).collect();
        assert_eq!(y, t(&[16], &expected));
        let narrow = op().int("bits", 2);
        let y = narrow.run1(&[
            t(&[1, 4], &[0b11_10_01_00u8; 4]),
            t(&[1], &[0i64]),
            t(&[1, 1], &[1f32]),
        ]);
        assert_eq!(y, t(&[1, 16], &[-2f32, -1.0, 0.0, 1.0].repeat(4)));
    }

    #[test]
    fn small_integers_and_floats_along_any_axis() {
        // Blocks down the columns: 17 rows are two blocks.
        let levels: Vec<Int4> = (0..34).map(|i| Int4::wrapping(i * 5 % 16)).collect();
        let (data, scale) = (t(&[17, 2], &levels), t(&[2, 2], &[1f32, 2.0, 4.0, 8.0]));
        let zeros = t(&[2, 2], &[1i64, -2, 0, 3].map(Int4::wrapping));
        let op = op().int("quantize_axis", 0).int("gather_axis", 1);
        let y = op.run1(&[data.clone(), t(&[1], &[1i64]), scale.clone(), zeros]);
        let number = |i: usize| {
            let (zero, scale) = if i < 16 { (-2.0, 2.0) } else { (3.0, 8.0) };
            (f32::from(levels[2 * i + 1].get()) - zero) * scale
        };
        assert_eq!(y, t(&[17, 1], &(0..17).map(number).collect::<Vec<f32>>()));
        let numbers = [1f32, -2.0, 0.5, 3.0].map(|x| Float8E4M3FN::from_f32(x, true));
        // One scale for all of a table of floats.
        let table = Op::new("com.microsoft", "GatherBlockQuantized", 1).int("block_size", 0);
        let inputs = [t(&[2, 2], &numbers), t(&[1], &[1i64]), t(&[1, 1], &[4f32])];
        assert_eq!(table.run1(&inputs), t(&[1, 2], &[2f32, 12.0]));
        let zeros = t(&[1, 1], &[Float8E4M3FN::from_f32(0.0, true)]);
        let with: Vec<Tensor> = inputs.iter().cloned().chain([zeros]).collect();
        assert!(table.run(&with).is_err());
        assert!(table.run(&[data, t(&[1], &[1i64]), scale]).is_err());
    }
}
