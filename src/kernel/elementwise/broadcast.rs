//! Functions of two tensors under NumPy's broadcasting.

use crate::error::{Result, ensure};
use crate::kernel::{Context, OpSpec, simd};
use crate::tensor::{Element, Shape, Tensor};
use crate::threads::Threads;
use smallvec::SmallVec;

/// An element type with loops over slices; `f32` has wide ones.
pub trait Lanes: Element + Copy {
    /// `x = f(x)`
    fn map(x: &mut [Self], f: impl Fn(Self) -> Self) {
        for v in x {
            *v = f(*v);
        }
    }
    /// `x = f(x, y)`
    fn zip(x: &mut [Self], y: &[Self], f: impl Fn(Self, Self) -> Self) {
        for (x, &y) in x.iter_mut().zip(y) {
            *x = f(*x, y);
        }
    }
}

impl Lanes for f32 {
    fn map(x: &mut [f32], f: impl Fn(f32) -> f32) {
        simd::map(x, f);
    }
    fn zip(x: &mut [f32], y: &[f32], f: impl Fn(f32, f32) -> f32) {
        simd::zip(x, y, f);
    }
}

macro_rules! lanes {
    ($($t:ty),+) => { $(impl Lanes for $t {})+ };
}
lanes!(f64, half::f16, half::bf16, i8, i16, i32, i64, u8, u16, u32, u64, bool);

/// How two operands lie under their common shape: runs of `inner` elements in which each operand
/// either moves along or stands still.
pub struct Broadcast {
    /// The common shape.
    pub shape: Shape,
    inner: usize,
    /// Whether operand i moves along within a run.
    moves: [bool; 2],
    /// The dimensions around a run, outermost first, with each operand's stride.
    outer: SmallVec<[(usize, [usize; 2]); 6]>,
}

impl Broadcast {
    /// The layout for operands of these shapes.
    pub fn new(a: &Shape, b: &Shape) -> Result<Broadcast> {
        let shape = a.broadcast(b)?;
        let mut groups: SmallVec<[(usize, [usize; 2]); 6]> = SmallVec::new();
        let mut steps = [1usize; 2];
        // From the innermost dimension: neighbours that every operand walks through in one
        // stride are one dimension.
        for axis in (0..shape.rank()).rev() {
            let size = shape.dim(axis);
            let mut strides = [0usize; 2];
            for (i, of) in [a, b].into_iter().enumerate() {
                let own = (axis + of.rank()).checked_sub(shape.rank()).map_or(1, |k| of.dim(k));
                if own > 1 {
                    strides[i] = steps[i];
                    steps[i] *= own;
                }
            }
            if size == 1 {
                continue;
            }
            match groups.last_mut() {
                Some((n, s)) if strides == [s[0] * *n, s[1] * *n] => *n *= size,
                _ => groups.push((size, strides)),
            }
        }
        groups.reverse();
        let (inner, strides) = groups.pop().unwrap_or((1, [1, 1]));
        Ok(Broadcast { shape, inner, moves: strides.map(|s| s != 0), outer: groups })
    }

    /// Where operand `i` starts in run number `run`.
    fn start(&self, i: usize, run: usize) -> usize {
        let (mut rest, mut at) = (run, 0);
        for (size, strides) in self.outer.iter().rev() {
            at += rest % size * strides[i];
            rest /= size;
        }
        at
    }

    /// What operand `i` has for a run: as many elements as the run, or one.
    // Not copied into the loops of every function, which it would be as large as.
    #[inline(never)]
    fn run_of<'t, T>(&self, i: usize, data: &'t [T], run: usize) -> &'t [T] {
        let start = self.start(i, run);
        let len = if self.moves[i] { self.inner } else { 1 };
        data.get(start..start + len).unwrap_or(&[])
    }

    /// `out = f(out, operand i)` for an `out` of the common shape, where `piece` is [`onto`] with
    /// that function.
    fn apply<T: Lanes>(
        &self,
        threads: &Threads,
        out: &mut [T],
        i: usize,
        data: &[T],
        piece: &Piece<'_, T>,
    ) {
        if !self.outer.is_empty() {
            return threads.split_rows(out, self.inner, 4 + self.inner / 2, |runs, out| {
                piece(out, Beside::Runs { layout: self, operand: i, data, first: runs.start });
            });
        }
        const PIECE: usize = 1024;
        threads.split_rows(out, PIECE, PIECE / 2, |pieces, out| {
            let other = match data {
                [_] => data,
                _ => data.get(pieces.start * PIECE..).unwrap_or(&[]),
            };
            piece(out, Beside::Run(other));
        });
    }

    /// `f(a, b)` for each pair, into elements of another type.
    pub fn pairs<T: Element, U>(
        &self,
        a: &[T],
        b: &[T],
        mut out: Vec<U>,
        f: impl Fn(&T, &T) -> U,
    ) -> Vec<U> {
        let len = self.shape.len();
        let mut run = 0;
        while out.len() < len {
            match (self.run_of(0, a, run), self.run_of(1, b, run)) {
                (a, [b]) => out.extend(a.iter().map(|a| f(a, b))),
                ([a], b) => out.extend(b.iter().map(|b| f(a, b))),
                (a, b) => out.extend(a.iter().zip(b).map(|(a, b)| f(a, b))),
            }
            run += 1;
        }
        out
    }
}

/// Refuses operands of two types.
pub fn of_one_type(a: &Tensor, b: &Tensor) -> Result<()> {
    ensure!(
        a.dtype() == b.dtype(),
        InvalidInput,
        "both operands must be of one type, got {} and {}",
        a.dtype(),
        b.dtype()
    );
    Ok(())
}

/// What an operand has beside a piece of the result.
enum Beside<'t, T> {
    /// The piece is one run.
    Run(&'t [T]),
    /// The piece is the layout's runs from number `first` on.
    Runs { layout: &'t Broadcast, operand: usize, data: &'t [T], first: usize },
}

/// A function of two elements over a piece of the result: all that is compiled for each function.
type Piece<'f, T> = dyn Fn(&mut [T], Beside<'_, T>) + Sync + 'f;

/// `out = f(out, beside)`
fn onto<T: Lanes>(out: &mut [T], beside: Beside<'_, T>, f: impl Fn(T, T) -> T + Copy) {
    let run = match beside {
        Beside::Run(_) => out.len(),
        Beside::Runs { layout, .. } => layout.inner,
    };
    for (i, out) in out.chunks_mut(run.max(1)).enumerate() {
        let other = match beside {
            Beside::Run(other) => other,
            Beside::Runs { layout, operand, data, first } => {
                layout.run_of(operand, data, first + i)
            }
        };
        match other {
            &[y] if out.len() != 1 => T::map(out, |x| f(x, y)),
            _ => T::zip(out, other, f),
        }
    }
}

/// `f(a, b)` element by element. Works in the buffer of an operand that has the result's shape
/// and that nobody else holds.
pub fn binary<T: Lanes>(
    ctx: &mut Context<'_>,
    a: Tensor,
    b: Tensor,
    f: impl Fn(T, T) -> T + Copy + Send + Sync,
) -> Result<Tensor> {
    let onto_a = |out: &mut [T], beside: Beside<'_, T>| onto(out, beside, f);
    let onto_b = |out: &mut [T], beside: Beside<'_, T>| onto(out, beside, |y, x| f(x, y));
    combined(ctx, a, b, &onto_a, &onto_b)
}

/// [`binary`], with its function as it works onto either operand.
fn combined<T: Lanes>(
    ctx: &mut Context<'_>,
    a: Tensor,
    b: Tensor,
    onto_a: &Piece<'_, T>,
    onto_b: &Piece<'_, T>,
) -> Result<Tensor> {
    of_one_type(&a, &b)?;
    let plan = Broadcast::new(a.shape(), b.shape())?;
    let shape = ctx.shape_of::<T>(plan.shape.dims())?;
    let out = if *a.shape() == shape {
        let mut out = owned::<T>(ctx, a)?;
        plan.apply(ctx.threads, &mut out, 1, b.as_slice()?, onto_a);
        ctx.recycle_value(b.into());
        out
    } else if *b.shape() == shape {
        let mut out = owned::<T>(ctx, b)?;
        plan.apply(ctx.threads, &mut out, 0, a.as_slice()?, onto_b);
        ctx.recycle_value(a.into());
        out
    } else {
        let (a, b) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
        let mut out = ctx.buffer(shape.len())?;
        for run in 0..shape.len() / plan.inner.max(1) {
            match plan.run_of(0, a, run) {
                &[x] => out.resize(out.len() + plan.inner, x),
                xs => out.extend_from_slice(xs),
            }
        }
        plan.apply(ctx.threads, &mut out, 1, b, onto_a);
        out
    };
    ctx.tensor(shape, out)
}

/// The elements for working in place: the tensor's own buffer, or a copy where it is shared.
pub fn owned<T: Element + Copy>(ctx: &mut Context<'_>, tensor: Tensor) -> Result<Vec<T>> {
    match tensor.try_into_unique_vec::<T>() {
        Ok((_, data)) => Ok(data),
        Err(shared) => {
            let mut data = ctx.buffer(shared.len())?;
            data.extend_from_slice(shared.as_slice()?);
            Ok(data)
        }
    }
}

/// Where the second operand's dimensions start in the first's: the attributes `broadcast` and
/// `axis` of the versions before 7, which knew no broadcasting by rank.
pub fn legacy_axis(spec: &OpSpec<'_>) -> Result<Option<i64>> {
    if spec.domain.is_empty() && spec.version < 7 && spec.attributes.flag("broadcast", false)? {
        return spec.attributes.int_opt("axis");
    }
    Ok(None)
}

/// The second operand with dimensions of 1 appended, so that it lies at `axis` of the first.
pub fn aligned(a: &Tensor, b: Tensor, axis: Option<i64>) -> Result<Tensor> {
    let Some(axis) = axis else { return Ok(b) };
    let axis = a.shape().axis(axis)?;
    let rank = a.shape().rank();
    ensure!(
        axis + b.shape().rank() <= rank,
        InvalidInput,
        "an operand of shape {} does not lie at axis {axis} of {}",
        b.shape(),
        a.shape()
    );
    let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(b.dims());
    dims.resize(rank - axis, 1);
    b.reshaped(Shape::new(&dims)?)
}
