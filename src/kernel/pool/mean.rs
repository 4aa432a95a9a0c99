//! AveragePool and LpPool.

use super::{planes, window};
use crate::error::Result;
use crate::kernel::conv::real::{Real, narrowed, widened, with_real};
use crate::kernel::conv::window::{Dims, Sliding, SlidingMap, Window};
use crate::kernel::simd::WindowReduction;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;
use std::marker::PhantomData;

enum Kind {
    Average { count_padding: bool },
    Norm { p: f32 },
}

struct MeanPool {
    op: String,
    window: Window,
    kernel: Dims,
    kind: Kind,
}

/// The exponent of an Lp norm: a float in opset 1, an int since.
pub(super) fn exponent(spec: &OpSpec<'_>) -> Result<f32> {
    let p = match spec.attributes.get("p") {
        Some(crate::attribute::Attribute::Float(p)) => *p,
        _ => spec.attributes.int("p", 2)? as f32,
    };
    if p > 0.0 { Ok(p) } else { Err(spec.invalid(format_args!("p = {p} is not positive"))) }
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let (window, kernel) = window(spec)?;
    let kind = if spec.op == "LpPool" {
        Kind::Norm { p: exponent(spec)? }
    } else {
        Kind::Average { count_padding: spec.attributes.flag("count_include_pad", false)? }
    };
    Ok(Box::new(MeanPool { op: spec.op.to_string(), window, kernel, kind }))
}

/// `|x|^p`.
pub(super) fn power<T: Real>(x: T, p: f32) -> T {
    if p == 1.0 {
        x.abs()
    } else if p == 2.0 {
        x * x
    } else {
        x.abs().powf(T::from_f32(p))
    }
}

/// `x^(1/p)`.
pub(super) fn root<T: Real>(x: T, p: f32) -> T {
    if p == 1.0 {
        x
    } else if p == 2.0 {
        x.sqrt()
    } else {
        x.powf(T::ONE / T::from_f32(p))
    }
}

/// The sum of two.
struct Sum<T>(PhantomData<T>);

impl<T: Real> WindowReduction for Sum<T> {
    type Element = T;
    type Weight = ();
    #[inline(always)]
    fn weight(&self, _: usize) -> Option<()> {
        Some(())
    }
    #[inline(always)]
    fn meet<const FMA: bool>(reduced: T, x: T, (): ()) -> T {
        reduced + x
    }
}

fn sums<T: Real>(map: &SlidingMap, input: &[T], out: &mut [T], term: impl Fn(T) -> T) {
    out.fill(T::ZERO);
    for (row, out) in out.chunks_mut(map.width.max(1)).enumerate() {
        for k in 0..map.kernel {
            let range = row * map.width..(row + 1) * map.width;
            map.pairs(k, range, out, input, |o, &x| *o += term(x));
        }
    }
}

/// What each output position's sum is divided by.
fn divisors<T: Real>(sliding: &Sliding, padding: bool) -> Vec<T> {
    let mut counts = vec![1usize];
    for axis in 0..sliding.input.len() {
        let along = sliding.counts(axis, padding);
        counts = counts.iter().flat_map(|&c| along.iter().map(move |&a| c * a)).collect();
    }
    // A window that meets nothing has the sum 0: so shall be its mean.
    counts.into_iter().map(|c| T::from_f64(c.max(1) as f64)).collect()
}

impl MeanPool {
    fn compute<T: Real>(&self, ctx: &mut Context<'_>, x: &Tensor) -> Result<Tensor> {
        let p = planes::<T>(ctx, &self.window, &self.kernel, x)?;
        let input = x.as_slice::<T>()?;
        let (size, places) = (p.map.input, p.map.output);
        let mut out = ctx.filled(p.shape.len(), T::ZERO)?;
        let divisors = match self.kind {
            Kind::Average { count_padding } => divisors::<T>(&p.sliding, count_padding),
            Kind::Norm { .. } => vec![],
        };
        let ns = places.saturating_mul(p.map.kernel) / 2;
        ctx.threads.split_rows(&mut out, places, ns, |range, chunk| {
            let mut room = p.polyphase.as_ref().map(|p| (p, p.room(T::ZERO)));
            for (i, out) in range.zip(chunk.chunks_mut(places.max(1))) {
                let plane = input.get(i * size..(i + 1) * size).unwrap_or(&[]);
                match self.kind {
                    Kind::Average { .. } => {
                        match &mut room {
                            Some((polyphase, room)) => {
                                polyphase.lay(plane, room);
                                polyphase.reduce(&Sum(PhantomData), room, T::ZERO, out);
                            }
                            None => sums(&p.map, plane, out, |x| x),
                        }
                        out.iter_mut().zip(&divisors).for_each(|(o, &d)| *o = *o / d);
                    }
                    Kind::Norm { p: exponent } => {
                        sums(&p.map, plane, out, |x| power(x, exponent));
                        out.iter_mut().for_each(|o| *o = root(*o, exponent));
                    }
                }
            }
        });
        ctx.tensor(p.shape, out)
    }
}

impl Kernel for MeanPool {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let dtype = x.dtype();
        let x = widened(x)?;
        let out = with_real!(&self.op, dtype, T => self.compute::<T>(ctx, &x))?;
        one(narrowed(out, dtype)?)
    }
}
