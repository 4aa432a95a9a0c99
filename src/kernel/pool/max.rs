//! MaxPool, with the places of the maxima.

use super::{planes, window};
use crate::error::Result;
use crate::kernel::conv::real::{narrowed, widened};
use crate::kernel::conv::window::{Dims, Sliding, SlidingMap, Window};
use crate::kernel::simd::WindowReduction;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Element, ElementType, Tensor, Value};
use std::marker::PhantomData;

struct MaxPool {
    window: Window,
    kernel: Dims,
    /// Whether places count the first spatial axis fastest.
    column_major: bool,
    indices: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let (window, kernel) = window(spec)?;
    Ok(Box::new(MaxPool {
        window,
        kernel,
        column_major: spec.attributes.flag("storage_order", false)?,
        indices: spec.wants(1),
    }))
}

/// An element type with an order; NaN is the largest of all.
pub(super) trait Ordered: Element + Copy {
    const LOWEST: Self;
    fn exceeds(self, other: Self) -> bool;
}

macro_rules! ordered {
    ($($t:ident: $lowest:expr),+) => {$(
        impl Ordered for $t {
            const LOWEST: Self = $lowest;
            // Only NaN differs from itself; once it is the maximum nothing exceeds it.
            #[allow(clippy::eq_op)]
            #[inline(always)]
            fn exceeds(self, other: Self) -> bool { self > other || self != self }
        }
    )+};
}
ordered!(f32: f32::NEG_INFINITY, f64: f64::NEG_INFINITY, i8: i8::MIN, u8: u8::MIN);

/// The larger of two.
struct Largest<T>(PhantomData<T>);

impl<T: Ordered> WindowReduction for Largest<T> {
    type Element = T;
    type Weight = ();
    #[inline(always)]
    fn weight(&self, _: usize) -> Option<()> {
        Some(())
    }
    #[inline(always)]
    fn meet<const FMA: bool>(reduced: T, x: T, (): ()) -> T {
        if x.exceeds(reduced) { x } else { reduced }
    }
}

/// Without a layout: kernel element by kernel element.
fn maxima<T: Ordered>(map: &SlidingMap, input: &[T], out: &mut [T]) {
    out.fill(T::LOWEST);
    for (row, out) in out.chunks_mut(map.width.max(1)).enumerate() {
        for k in 0..map.kernel {
            let range = row * map.width..(row + 1) * map.width;
            map.pairs(k, range, out, input, |o, &x| {
                if x.exceeds(*o) {
                    *o = x;
                }
            });
        }
    }
}

/// As `maxima`, writing the places within the plane too (-1 where a window meets nothing).
fn maxima_at<T: Ordered>(map: &SlidingMap, input: &[T], out: &mut [T], at: &mut [i64]) {
    out.fill(T::LOWEST);
    at.fill(-1);
    for k in 0..map.kernel {
        map.runs(k, 0..map.output, |run| {
            for i in 0..run.len {
                let place = run.input + i * map.step;
                if let (Some(o), Some(at), Some(&x)) =
                    (out.get_mut(run.at + i), at.get_mut(run.at + i), input.get(place))
                    && (x.exceeds(*o) || *at < 0)
                {
                    (*o, *at) = (x, place as i64);
                }
            }
        });
    }
}

/// The place of row-major `index` when the first spatial axis counts fastest.
fn column_major(sliding: &Sliding, index: usize) -> usize {
    let mut rest = index;
    let mut step: usize = sliding.input.iter().product();
    let mut place = 0;
    for &size in sliding.input.iter().rev() {
        step /= size.max(1);
        place += rest % size.max(1) * step;
        rest /= size.max(1);
    }
    place
}

impl MaxPool {
    fn compute<T: Ordered>(&self, ctx: &mut Context<'_>, x: &Tensor) -> Result<(Tensor, Value)> {
        let p = planes::<T>(ctx, &self.window, &self.kernel, x)?;
        let input = x.as_slice::<T>()?;
        let (size, places) = (p.map.input, p.map.output);
        let mut out = ctx.filled(p.shape.len(), T::LOWEST)?;
        let plane = |i: usize| input.get(i * size..(i + 1) * size).unwrap_or(&[]);
        let ns = places.saturating_mul(p.map.kernel);
        if !self.indices {
            ctx.threads.split_rows(&mut out, places, ns / 2, |range, chunk| {
                let mut room = p.polyphase.as_ref().map(|p| (p, p.room(T::LOWEST)));
                for (i, out) in range.zip(chunk.chunks_mut(places.max(1))) {
                    match &mut room {
                        Some((polyphase, room)) => {
                            polyphase.lay(plane(i), room);
                            polyphase.reduce(&Largest(PhantomData), room, T::LOWEST, out);
                        }
                        None => maxima(&p.map, plane(i), out),
                    }
                }
            });
            return Ok((ctx.tensor(p.shape, out)?, Value::Optional(None)));
        }
        let mut at = ctx.filled(p.shape.len(), 0i64)?;
        let parts = out.chunks_mut(places.max(1)).zip(at.chunks_mut(places.max(1)));
        for (i, (out, at)) in parts.enumerate() {
            maxima_at(&p.map, plane(i), out, at);
            for at in at.iter_mut().filter(|at| **at >= 0) {
                let place = *at as usize;
                let place = if self.column_major { column_major(&p.sliding, place) } else { place };
                *at = (i * size + place) as i64;
            }
        }
        let at = ctx.tensor(p.shape.clone(), at)?;
        Ok((ctx.tensor(p.shape, out)?, at.into()))
    }
}

impl Kernel for MaxPool {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let dtype = x.dtype();
        let x = widened(x)?;
        let (out, at) = match x.dtype() {
            ElementType::F64 => self.compute::<f64>(ctx, &x)?,
            ElementType::I8 => self.compute::<i8>(ctx, &x)?,
            ElementType::U8 => self.compute::<u8>(ctx, &x)?,
            _ => self.compute::<f32>(ctx, &x)?,
        };
        let mut outputs = Outputs::new();
        outputs.push(narrowed(out, dtype)?.into());
        if self.indices {
            outputs.push(at);
        }
        Ok(outputs)
    }
}
