//! EmbedLayerNormalization: rows of tables for words, places and segments, added and normalised.
//! QEmbedLayerNormalization is the same with tables of 8-bit levels.

use super::Normalize;
use super::layer::Layer;
use crate::error::{Result, bail, ensure};
use crate::kernel::conv::real::narrowed;
use crate::kernel::{Arg, Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Data, ElementType, Tensor, Value};
use half::{bf16, f16};
use smallvec::SmallVec;

const WORD_IDS: usize = 0;
const SEGMENT_IDS: usize = 1;
const WORDS: usize = 2;
const PLACES: usize = 3;
const SEGMENTS: usize = 4;
const SCALE: usize = 5;
const BIAS: usize = 6;
const MASK: usize = 7;
const PLACE_IDS: usize = 8;

/// Of the quantised form: the first scale and the first zero point, in the order of the tables.
const SCALES: usize = 8;
const ZEROS: usize = 13;

struct Embed {
    layer: Normalize<Layer>,
    /// Whether the tables, the scale and the bias are levels.
    quantised: bool,
    /// How many outputs are answered.
    outputs: usize,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=9)?;
    for required in [WORDS, PLACES, SCALE, BIAS] {
        if !spec.has_input(required) {
            return Err(spec.invalid(format_args!("input {required} is missing")));
        }
    }
    if spec.has_input(SEGMENT_IDS) != spec.has_input(SEGMENTS) {
        return Err(spec.invalid("segment_ids and segment_embedding go together"));
    }
    build(spec, false)
}

pub(super) fn prepare_quantised(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=18)?;
    for table in [WORDS, PLACES, SEGMENTS, SCALE, BIAS] {
        let [scale, zero] = levels_at(table);
        let there = [table, scale, zero].map(|i| spec.has_input(i));
        if there != [table != SEGMENTS || spec.has_input(SEGMENT_IDS); 3] {
            return Err(spec.invalid(format_args!("inputs {table}, {scale} and {zero}")));
        }
    }
    build(spec, true)
}

/// The inputs that hold scale and zero point of the quantised input `table`.
fn levels_at(table: usize) -> [usize; 2] {
    [SCALES, ZEROS].map(|first| first + table - WORDS)
}

fn build(spec: &OpSpec<'_>, quantised: bool) -> Result<Box<dyn Kernel>> {
    let epsilon = spec.attributes.float("epsilon", 1e-12)?.into();
    Ok(Box::new(Embed {
        layer: Normalize(Layer::last(epsilon, SCALE, Some(BIAS))),
        quantised,
        outputs: (1..3).rev().find(|&i| spec.wants(i)).map_or(1, |last| last + 1),
    }))
}

/// How a table's elements are numbers: (element − zero) · scale.
#[derive(Debug, Clone, Copy)]
struct Levels {
    scale: f32,
    zero: f32,
}

impl Levels {
    /// Of the quantised input `table`.
    fn of(inputs: &Inputs<'_>, table: usize) -> Result<Levels> {
        let [scale, zero] = levels_at(table).map(|i| -> Result<f32> {
            let tensor = inputs.tensor(i)?;
            match tensor.to_f32_vec()?[..] {
                [number] => Ok(number),
                _ => bail!(
                    InvalidInput,
                    "QEmbedLayerNormalization: input {i} of shape {}, expected one number",
                    tensor.shape()
                ),
            }
        });
        Ok(Levels { scale: scale?, zero: zero? })
    }

    fn number(self, level: impl Into<f32>) -> f32 {
        (level.into() - self.zero) * self.scale
    }

    /// A tensor of levels as numbers.
    fn numbers(self, tensor: &Tensor) -> Result<Tensor> {
        let numbers = match tensor.data() {
            Data::U8(v) => v.iter().map(|&x| self.number(x)).collect(),
            Data::I8(v) => v.iter().map(|&x| self.number(x)).collect(),
            other => bail!(InvalidInput, "QEmbedLayerNormalization of {}", other.dtype()),
        };
        Tensor::from_vec::<f32>(tensor.dims(), numbers)
    }
}

/// Row numbers of a table, one a token.
fn rows(ids: &[i64], table: &Tensor) -> Result<Vec<usize>> {
    let count = table.shape().dim(0);
    let row = |&id: &i64| {
        ensure!(
            (0..count as i64).contains(&id),
            InvalidInput,
            "EmbedLayerNormalization: row {id} of a table of {count}"
        );
        Ok(id as usize)
    };
    ids.iter().map(row).collect()
}

/// Adds to each line of `sum` its row of `table`, which is of floats or of levels.
fn add_rows(
    sum: &mut [f32],
    width: usize,
    (table, levels): (&Tensor, Option<Levels>),
    rows: &[usize],
) -> Result<()> {
    fn add<T: Copy>(
        sum: &mut [f32],
        width: usize,
        table: &[T],
        rows: &[usize],
        wide: impl Fn(T) -> f32,
    ) {
        for (line, &row) in sum.chunks_exact_mut(width.max(1)).zip(rows) {
            let row = table.get(row * width..(row + 1) * width).unwrap_or(&[]);
            for (x, &y) in line.iter_mut().zip(row) {
                *x += wide(y);
            }
        }
    }
    ensure!(
        table.shape().rank() == 2 && table.shape().dim(1) == width,
        InvalidInput,
        "EmbedLayerNormalization: a table of shape {}, expected rows of {width}",
        table.shape()
    );
    match (table.data(), levels) {
        (Data::F32(v), None) => add(sum, width, v, rows, |x| x),
        (Data::F16(v), None) => add(sum, width, v, rows, f16::to_f32),
        (Data::BF16(v), None) => add(sum, width, v, rows, bf16::to_f32),
        (Data::U8(v), Some(levels)) => add(sum, width, v, rows, |x| levels.number(x)),
        (Data::I8(v), Some(levels)) => add(sum, width, v, rows, |x| levels.number(x)),
        (other, _) => bail!(InvalidInput, "EmbedLayerNormalization of {}", other.dtype()),
    }
    Ok(())
}

impl Kernel for Embed {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let inputs: &Inputs<'_> = inputs;
        let (ids, words) = (inputs.tensor(WORD_IDS)?, inputs.tensor(WORDS)?);
        let (&[batch, length], &[_, width]) = (ids.dims(), words.dims()) else {
            bail!(
                InvalidInput,
                "EmbedLayerNormalization: ids of shape {}, words of shape {}",
                ids.shape(),
                words.shape()
            );
        };
        // Ids of tokens are as many as tokens; those of places may be the same for all of a batch.
        let flat = |i: usize, repeated: bool| -> Result<Option<Vec<i64>>> {
            let Some(tensor) = inputs.tensor_opt(i)? else { return Ok(None) };
            let once = repeated && tensor.dims() == [1, length];
            ensure!(
                once || tensor.shape() == ids.shape(),
                InvalidInput,
                "EmbedLayerNormalization: input {i} of shape {} for ids of shape {}",
                tensor.shape(),
                ids.shape()
            );
            let values = tensor.to_i64_vec()?;
            Ok(Some(if once { values.repeat(batch) } else { values }))
        };
        let shape = ctx.shape_of::<f32>(&[batch, length, width])?;
        let entries = ctx.shape_of::<i32>(&[batch])?.len();
        let mut sum = ctx.filled(shape.len(), 0f32)?;
        let levels = |table: usize| match self.quantised {
            true => Levels::of(inputs, table).map(Some),
            false => Ok(None),
        };
        let word_rows = rows(&ids.to_i64_vec()?, words)?;
        add_rows(&mut sum, width, (words, levels(WORDS)?), &word_rows)?;
        let places = inputs.tensor(PLACES)?;
        let own_places = if self.quantised { None } else { flat(PLACE_IDS, true)? };
        let place_ids = match own_places {
            Some(ids) => ids,
            None if ids.len() == 0 => vec![],
            None => (0..length as i64).collect::<Vec<_>>().repeat(batch),
        };
        let place_rows = rows(&place_ids, places)?;
        add_rows(&mut sum, width, (places, levels(PLACES)?), &place_rows)?;
        if let (Some(ids), Some(table)) = (flat(SEGMENT_IDS, false)?, inputs.tensor_opt(SEGMENTS)?)
        {
            add_rows(&mut sum, width, (table, levels(SEGMENTS)?), &rows(&ids, table)?)?;
        }
        // The tokens that are no padding.
        let counts: Vec<i32> = match flat(MASK, false)? {
            Some(mask) => {
                let line = |i: usize| mask.get(i * length..(i + 1) * length).unwrap_or(&[]);
                let count = |i: usize| line(i).iter().filter(|&&flag| flag == 1).count() as i32;
                (0..entries).map(count).collect()
            }
            None => vec![0; entries],
        };
        let dtype = if self.quantised { ElementType::F32 } else { words.dtype() };
        let sum = ctx.tensor(shape, sum)?;
        let kept = (self.outputs > 2).then(|| sum.clone());
        let mut parameters: SmallVec<[Arg<'_>; 4]> = SmallVec::new();
        if self.quantised {
            parameters.extend((0..SCALE).map(|_| Arg::Absent));
            for table in [SCALE, BIAS] {
                let numbers = Levels::of(inputs, table)?.numbers(inputs.tensor(table)?)?;
                parameters.push(Arg::Owned(Value::Tensor(numbers)));
            }
        }
        let parameters = Inputs::new(parameters);
        let mut outputs = Outputs::new();
        let given = if self.quantised { &parameters } else { inputs };
        for value in self.layer.of(ctx, sum, given)? {
            outputs.push(Value::Tensor(narrowed(value.into_tensor()?, dtype)?));
        }
        if self.outputs > 1 {
            outputs.push(Tensor::from_vec(&[batch], counts)?.into());
        }
        if let Some(sum) = kept {
            outputs.push(narrowed(sum, dtype)?.into());
        }
        Ok(outputs)
    }
}
