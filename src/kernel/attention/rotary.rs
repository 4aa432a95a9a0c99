//! RotaryEmbedding of both domains: pairs of elements turned by angles of their position.

use super::heads;
use super::scalar::Scalar;
use crate::error::{Result, bail, ensure};
use crate::kernel::conv::real::{narrowed, widened, with_real};
use crate::kernel::elementwise::broadcast::owned;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{ElementType, Tensor};

/// How the elements of a head and its angles go together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// Pairs of a head that are turned; elements beyond them stay.
    pub pairs: usize,
    /// Whether the two of a pair are neighbours, else they lie `pairs` apart.
    pub interleaved: bool,
}

impl Turn {
    fn apply<T: Scalar>(self, head: &mut [T], cos: &[T], sin: &[T]) {
        let rotated = |x: T, y: T, cos: T, sin: T| (cos * x - sin * y, sin * x + cos * y);
        if self.interleaved {
            let (pairs, _) = head.as_chunks_mut::<2>();
            for ((pair, &cos), &sin) in pairs.iter_mut().zip(cos).zip(sin) {
                let [x, y] = *pair;
                (pair[0], pair[1]) = rotated(x, y, cos, sin);
            }
        } else if let Some((first, second)) = head.split_at_mut_checked(self.pairs) {
            for (((x, y), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                (*x, *y) = rotated(*x, *y, cos, sin);
            }
        }
    }
}

/// The row of the angles for a position, of `rows`.
pub(super) fn place(position: i64, rows: usize) -> Result<usize> {
    ensure!(
        (0..rows as i64).contains(&position),
        InvalidInput,
        "RotaryEmbedding: position {position} of {rows}"
    );
    Ok(position as usize)
}

/// The heads of a tensor, and which token each belongs to.
#[derive(Debug, Clone, Copy)]
struct Layout {
    heads: usize,
    /// Tokens of one batch entry.
    length: usize,
    size: usize,
    /// Whether heads come before tokens.
    by_head: bool,
}

impl Layout {
    /// The token of head number `i`, counted over the batch.
    fn token(self, i: usize) -> usize {
        if self.by_head {
            i / (self.heads * self.length) * self.length + i % self.length
        } else {
            i / self.heads
        }
    }
}

/// Row `place` of a table.
fn row<T>(table: &[T], place: usize, width: usize) -> &[T] {
    table.get(place * width..(place + 1) * width).unwrap_or(&[])
}

/// `x` with each head turned; `places` has each token's row of the angles.
fn turned(
    ctx: &mut Context<'_>,
    x: Tensor,
    layout: Layout,
    turn: Turn,
    [cos, sin]: [&Tensor; 2],
    places: &[usize],
) -> Result<Tensor> {
    fn typed<T: Scalar>(
        ctx: &mut Context<'_>,
        x: Tensor,
        layout: Layout,
        turn: Turn,
        [cos, sin]: [&Tensor; 2],
        places: &[usize],
    ) -> Result<Tensor> {
        let shape = x.shape().clone();
        let (cos, sin) = (T::read(cos)?, T::read(sin)?);
        let mut data = owned::<T>(ctx, x)?;
        ctx.threads.split_rows(&mut data, layout.size, layout.size, |range, data| {
            for (i, head) in range.zip(data.chunks_exact_mut(layout.size)) {
                let place = places.get(layout.token(i)).copied().unwrap_or(0);
                turn.apply(head, row(&cos, place, turn.pairs), row(&sin, place, turn.pairs));
            }
        });
        ctx.tensor(shape, data)
    }
    if x.len() == 0 {
        return Ok(x);
    }
    let dtype = x.dtype();
    // The tensor itself where its type allows, so that it may be turned in place.
    let x = if matches!(dtype, ElementType::F16 | ElementType::BF16) { widened(&x)? } else { x };
    let y = with_real!("RotaryEmbedding", dtype, T => {
        typed::<T>(ctx, x, layout, turn, [cos, sin], places)
    })?;
    narrowed(y, dtype)
}

/// As the operators do it, for a tensor by head (batch, heads, length, size).
pub(super) fn turned_by_head(
    ctx: &mut Context<'_>,
    x: Tensor,
    turn: Turn,
    angles: [&Tensor; 2],
    places: &[usize],
) -> Result<Tensor> {
    let &[_, heads, length, size] = x.dims() else {
        bail!(InvalidInput, "RotaryEmbedding of shape {}", x.shape());
    };
    let layout = Layout { heads, length, size, by_head: true };
    turned(ctx, x, layout, turn, angles, places)
}

/// The two tables of angles, which must be of one shape; that shape.
pub(super) fn angles<'i>(
    inputs: &'i Inputs<'_>,
    [cos, sin]: [usize; 2],
) -> Result<([&'i Tensor; 2], &'i [usize])> {
    let (cos, sin) = (inputs.tensor(cos)?, inputs.tensor(sin)?);
    ensure!(
        cos.shape() == sin.shape(),
        InvalidInput,
        "RotaryEmbedding: cosines of shape {} and sines of {}",
        cos.shape(),
        sin.shape()
    );
    Ok(([cos, sin], cos.dims()))
}

struct Rotary {
    interleaved: bool,
    /// Elements of a head that are turned; 0 stands for all.
    width: usize,
    heads: Option<usize>,
    /// Whether the positions are input 1 and required.
    microsoft: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=4)?;
    prepare_any(spec, false)
}

pub(super) fn prepare_microsoft(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(4..=4)?;
    if spec.attributes.float("scale", 1.0)? != 1.0 {
        return Err(spec.unsupported("a scale"));
    }
    prepare_any(spec, true)
}

fn prepare_any(spec: &OpSpec<'_>, microsoft: bool) -> Result<Box<dyn Kernel>> {
    let width = spec.attributes.int("rotary_embedding_dim", 0)?;
    let Ok(width) = usize::try_from(width) else {
        return Err(spec.invalid(format_args!("rotary_embedding_dim is {width}")));
    };
    // 0 heads stand for "not said".
    let said = spec.attributes.int("num_heads", 0)? != 0;
    let heads = if said { heads::count(spec, "num_heads")? } else { None };
    let interleaved = spec.attributes.flag("interleaved", false)?;
    Ok(Box::new(Rotary { interleaved, width, heads, microsoft }))
}

impl Rotary {
    /// `pairs` is how many angles a position has.
    fn layout(&self, x: &Tensor, pairs: usize) -> Result<Layout> {
        let (length, heads, size, by_head) = match *x.dims() {
            [_, heads, length, size] => (length, heads, size, true),
            [_, length, width] => {
                let heads = match self.heads {
                    // com.microsoft's heads are as wide as the angles, unless less is turned.
                    _ if self.microsoft && self.width == 0 => {
                        width.checked_div(pairs.saturating_mul(2)).unwrap_or(0)
                    }
                    Some(heads) => heads,
                    None => bail!(InvalidInput, "RotaryEmbedding of {} needs num_heads", x.shape()),
                };
                ensure!(
                    heads > 0 && width.is_multiple_of(heads),
                    InvalidInput,
                    "RotaryEmbedding: a width of {width} does not divide into {heads} heads"
                );
                (length, heads, width / heads, false)
            }
            _ => bail!(InvalidInput, "RotaryEmbedding of shape {}", x.shape()),
        };
        let width = if self.width == 0 { size } else { self.width };
        ensure!(
            width <= size && width.is_multiple_of(2) && width / 2 == pairs && size > 0,
            InvalidInput,
            "RotaryEmbedding: {pairs} angles for {width} elements of heads of {size}"
        );
        Ok(Layout { heads, length, size, by_head })
    }

    /// Which row of the angles belongs to each token, from the shape of the angles.
    fn places(
        &self,
        x: &Tensor,
        length: usize,
        positions: Option<&Tensor>,
        angles: &[usize],
    ) -> Result<Vec<usize>> {
        let batch = x.shape().dim(0);
        // No tokens, no places: x may be of any batch then.
        if x.len() == 0 {
            return Ok(vec![]);
        }
        match (angles, positions) {
            (&[rows, _], Some(positions)) if positions.len() == 1 && self.microsoft => {
                let start = place(positions.to_i64_vec()?[0], rows)?;
                ensure!(
                    length <= rows - start,
                    InvalidInput,
                    "RotaryEmbedding: {length} tokens from position {start} on, of {rows}"
                );
                Ok((0..batch).flat_map(|_| start..start + length).collect())
            }
            (&[rows, _], Some(positions)) => {
                ensure!(
                    positions.dims() == [batch, length],
                    InvalidInput,
                    "RotaryEmbedding: positions of shape {} for {batch} times {length} tokens",
                    positions.shape()
                );
                let ids = positions.to_i64_vec()?;
                ids.into_iter().map(|id| place(id, rows)).collect()
            }
            (&[rows, tokens, _], None) if (rows == batch || rows == 1) && tokens == length => {
                let entries = 0..batch;
                let starts = entries.map(|i| if rows == 1 { 0 } else { i * length });
                Ok(starts.flat_map(|start| start..start + length).collect())
            }
            _ => bail!(
                InvalidInput,
                "RotaryEmbedding: angles of shape {angles:?} for {}, {} positions",
                x.shape(),
                if positions.is_some() { "with" } else { "without" }
            ),
        }
    }
}

impl Kernel for Rotary {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.take_tensor(0)?;
        let (tables, positions) = if self.microsoft { ([2, 3], 1) } else { ([1, 2], 3) };
        let (angles, dims) = angles(inputs, tables)?;
        let pairs = dims.last().copied().unwrap_or(0);
        let layout = self.layout(&x, pairs)?;
        let places = self.places(&x, layout.length, inputs.tensor_opt(positions)?, dims)?;
        let turn = Turn { pairs, interleaved: self.interleaved };
        one(turned(ctx, x, layout, turn, angles, &places)?)
    }
}
