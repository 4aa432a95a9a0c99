//! DFT: the discrete Fourier transform along one axis.

use super::fourier::{Keeping, Kept, Kind, Line, cost};
use super::{integer, length};
use crate::error::{Error, Result, ensure, err};
use crate::kernel::conv::real::{Real, narrowed, widened, with_real};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Shape, Tensor};
use parking_lot::Mutex;
use rustfft::num_complex::Complex;
use smallvec::SmallVec;

struct Dft {
    inverse: bool,
    onesided: bool,
    /// The axis of versions before 20, an attribute then.
    axis: Option<i64>,
    kept: Kept,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let old = spec.version < 20;
    spec.arity(1..=if old { 2 } else { 3 })?;
    Ok(Box::new(Dft {
        inverse: spec.attributes.flag("inverse", false)?,
        onesided: spec.attributes.flag("onesided", false)?,
        axis: if old { Some(spec.attributes.int("axis", 1)?) } else { None },
        kept: Kept::default(),
    }))
}

impl Dft {
    fn kind(&self, real: bool) -> Kind {
        match (self.inverse, self.onesided) {
            (true, true) => Kind::RealBackward,
            (true, false) => Kind::Backward,
            (false, _) if real => Kind::RealForward,
            (false, _) => Kind::Forward,
        }
    }

    fn of<T: Keeping>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        axis: usize,
        len: Option<usize>,
    ) -> Result<Tensor> {
        let (_, dim, block) = x.shape().split_at(axis);
        let parts = x.shape().dim(x.shape().rank() - 1);
        let kind = self.kind(parts == 1);
        let len = match (len, kind) {
            (Some(len), _) => len,
            (None, Kind::RealBackward) => 2 * dim.saturating_sub(1),
            (None, _) => dim,
        };
        ensure!(len > 0, InvalidInput, "DFT: a signal of shape {} has no elements", x.shape());
        let bins = if self.onesided && !self.inverse { len / 2 + 1 } else { len };
        let width = if kind == Kind::RealBackward { 1 } else { 2 };
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(x.dims());
        dims[axis] = bins;
        if let Some(last) = dims.last_mut() {
            *last = width;
        }
        let shape = ctx.shape_of::<T>(&dims)?;
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        if !out.is_empty() {
            let layout = Layout { dim, inner: block / parts, parts, bins, width };
            let transform = self.kept.transform::<T>(ctx, kind, len)?;
            let data = x.as_slice::<T>()?;
            let error: Mutex<Option<Error>> = Mutex::default();
            let scale = if self.inverse { 1.0 / len as f64 } else { 1.0 };
            let scale = <T as Real>::from_f64(scale);
            let shared: &Context<'_> = ctx;
            let row = bins * layout.inner * width;
            shared.threads.split_rows(&mut out, row, layout.inner * cost(len), |range, out| {
                let mut line = transform.line();
                for (o, out) in range.zip(out.chunks_exact_mut(row)) {
                    let from = data.get(o * dim * block..(o + 1) * dim * block).unwrap_or(&[]);
                    for i in 0..layout.inner {
                        layout.read(from, i, kind, &mut line);
                        let done = shared.check_deadline().and_then(|()| transform.run(&mut line));
                        if let Err(e) = done {
                            error.lock().get_or_insert(e);
                            return;
                        }
                        layout.write(out, i, &line, scale);
                    }
                }
            });
            if let Some(e) = error.into_inner() {
                return Err(e);
            }
        }
        ctx.tensor(shape, out)
    }
}

/// How lines lie in the input and in the result.
struct Layout {
    /// Elements of the axis in the input.
    dim: usize,
    /// Lines side by side.
    inner: usize,
    /// Numbers of an input element: 1 for real ones, 2 for complex ones.
    parts: usize,
    /// Elements of the axis in the result.
    bins: usize,
    /// Numbers of an element of the result.
    width: usize,
}

impl Layout {
    /// Puts line `i` into the input side of the transform: cut off, or filled up with zeros.
    fn read<T: Keeping>(&self, from: &[T], i: usize, kind: Kind, line: &mut Line<T>) {
        let step = self.inner * self.parts;
        let elements = from.iter().skip(i * self.parts).step_by(step).take(self.dim);
        if kind == Kind::RealForward {
            line.real.fill(T::ZERO);
            for (to, &from) in line.real.iter_mut().zip(elements) {
                *to = from;
            }
            return;
        }
        line.complex.fill(Complex::new(T::ZERO, T::ZERO));
        if self.parts == 1 {
            for (to, &re) in line.complex.iter_mut().zip(elements) {
                to.re = re;
            }
        } else {
            let imaginary = from.iter().skip(i * self.parts + 1).step_by(step);
            for (to, (&re, &im)) in line.complex.iter_mut().zip(elements.zip(imaginary)) {
                *to = Complex::new(re, im);
            }
        }
    }

    /// Takes line `i` from the output side of the transform.
    fn write<T: Keeping>(&self, out: &mut [T], i: usize, line: &Line<T>, scale: T) {
        let places = out.chunks_exact_mut(self.width).skip(i).step_by(self.inner);
        for (k, place) in places.enumerate() {
            match place {
                [real] => *real = line.real.get(k).copied().unwrap_or(T::ZERO) * scale,
                [re, im] => {
                    let value = line.bin(k, self.bins);
                    (*re, *im) = (value.re * scale, value.im * scale);
                }
                _ => {}
            }
        }
    }
}

impl Kernel for Dft {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let len = length(inputs, 1, 1)?;
        let axis = match self.axis {
            Some(axis) => axis,
            None => integer(inputs, 2)?.unwrap_or(-2),
        };
        check(x.shape(), "DFT")?;
        let at = x.shape().axis(axis)?;
        ensure!(
            at + 1 < x.shape().rank(),
            InvalidInput,
            "DFT: axis {axis} of shape {} holds the parts of complex numbers",
            x.shape()
        );
        let dtype = x.dtype();
        let x = widened(x)?;
        let y = with_real!("DFT", dtype, T => self.of::<T>(ctx, &x, at, len))?;
        one(narrowed(y, dtype)?)
    }
}

/// Refuses what is no signal: the last axis holds one number or two for each element.
pub(super) fn check(shape: &Shape, op: &str) -> Result<()> {
    match shape.dims() {
        [_, .., 1 | 2] => Ok(()),
        _ => Err(err!(
            InvalidInput,
            "{op}: a signal of shape {shape}, expected a last axis of 1 (real) or 2 (complex)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use crate::tensor::Tensor;

    /// The definition, in double precision.
    fn slow(signal: &[(f64, f64)], len: usize, inverse: bool) -> Vec<(f64, f64)> {
        let sign = if inverse { 1.0 } else { -1.0 };
        let turn = sign * std::f64::consts::TAU / len as f64;
        let scale = if inverse { 1.0 / len as f64 } else { 1.0 };
        (0..len)
            .map(|k| {
                let terms = signal.iter().take(len).enumerate().map(|(n, (re, im))| {
                    let (sin, cos) = (turn * (k * n % len) as f64).sin_cos();
                    (re * cos - im * sin, re * sin + im * cos)
                });
                let (re, im) = terms.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
                (re * scale, im * scale)
            })
            .collect()
    }

    fn signal(n: usize) -> Vec<(f64, f64)> {
        (0..n).map(|i| ((i * 7 % 11) as f64 - 4.0, (i * 5 % 13) as f64 - 6.0)).collect()
    }

    fn pairs(v: &[(f64, f64)]) -> Tensor {
        let flat: Vec<f64> = v.iter().flat_map(|&(re, im)| [re, im]).collect();
        t(&[1, v.len(), 2], &flat)
    }

    fn near(got: &Tensor, expected: &Tensor, tolerance: f64) {
        assert_eq!(got.shape(), expected.shape());
        let (g, e) = (got.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
        for (g, e) in g.iter().zip(&e) {
            assert!((g - e).abs() <= tolerance, "got {g}, expected {e}");
        }
    }

    #[test]
    fn any_length_of_real_and_complex_signals() {
        for n in [1usize, 2, 3, 4, 5, 7, 8, 12, 13, 16, 37, 60, 100, 127] {
            let x = signal(n);
            let real: Vec<(f64, f64)> = x.iter().map(|&(re, _)| (re, 0.0)).collect();
            let bound = 1e-11 * n as f64;
            let op = || Op::onnx("DFT", 20);
            near(&op().run1(&[pairs(&x)]), &pairs(&slow(&x, n, false)), bound);
            near(&op().int("inverse", 1).run1(&[pairs(&x)]), &pairs(&slow(&x, n, true)), bound);
            let flat: Vec<f64> = real.iter().map(|v| v.0).collect();
            let column = t(&[1, n, 1], &flat);
            let spectrum = slow(&real, n, false);
            near(&op().run1(std::slice::from_ref(&column)), &pairs(&spectrum), bound);
            let half = pairs(&spectrum[..n / 2 + 1]);
            let got = op().int("onesided", 1).run1(std::slice::from_ref(&column));
            near(&got, &half, bound);
            // And back.
            let back = op().int("onesided", 1).int("inverse", 1);
            near(&back.run1(&[half, Tensor::scalar(n as i64)]), &column, bound);
            let single: Vec<f32> = flat.iter().map(|&v| v as f32).collect();
            let got = op().run1(&[t(&[1, n, 1], &single)]);
            near(&got, &pairs(&spectrum), 1e-4 * n as f64);
        }
    }

    #[test]
    fn lengths_and_axes() {
        let x = signal(6);
        // Cut to 4, filled up to 9; along another axis, in the old version and the new.
        for len in [4usize, 9] {
            let expected = pairs(&slow(&x, len, false));
            let lens = Tensor::scalar(len as i64);
            near(&Op::onnx("DFT", 17).run1(&[pairs(&x), lens.clone()]), &expected, 1e-10);
            let turned = |t: Tensor| {
                let dims = [t.dims()[1], 1, 2];
                t.reshaped(crate::tensor::Shape::new(&dims).unwrap()).unwrap()
            };
            let inputs = [turned(pairs(&x)), lens.clone(), Tensor::scalar(0i64)];
            near(&Op::onnx("DFT", 20).run1(&inputs), &turned(expected.clone()), 1e-10);
            let old = Op::onnx("DFT", 17).int("axis", -3);
            near(&old.run1(&inputs[..2]), &turned(expected), 1e-10);
        }
        // Columns of a matrix, [[1, 2], [3, 5]].
        let matrix = t(&[2, 2, 1], &[1f32, 2.0, 3.0, 5.0]);
        let op = Op::onnx("DFT", 17).int("axis", 0);
        let y = op.run1(std::slice::from_ref(&matrix));
        assert_close(&y, &t(&[2, 2, 2], &[4f32, 0.0, 7.0, 0.0, -2.0, 0.0, -3.0, 0.0]));
        // The default length of the way back is even.
        let spectrum = t(&[1, 3, 2], &[10f32, 0.0, -2.0, 2.0, -2.0, 0.0]);
        let op = Op::onnx("DFT", 20).int("inverse", 1).int("onesided", 1);
        assert_close(&op.run1(&[spectrum]), &t(&[1, 4, 1], &[1f32, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        let op = Op::onnx("DFT", 20);
        let x = t(&[1, 4, 1], &[0f32; 4]);
        let (len, axis) = (Tensor::scalar(4i64), Tensor::scalar::<i64>);
        for bad in [axis(2), axis(-1), axis(3), axis(-4)] {
            assert!(op.run(&[x.clone(), len.clone(), bad]).is_err());
        }
        for bad in [0, -1, i64::MAX] {
            assert!(op.run(&[x.clone(), Tensor::scalar(bad)]).is_err());
        }
        assert!(op.run(&[t(&[4, 3], &[0f32; 12])]).is_err());
        assert!(op.run(&[t(&[2], &[0f32; 2])]).is_err());
        assert!(op.run(&[t::<f32>(&[1, 0, 1], &[])]).is_err());
        assert!(op.run(&[t(&[1, 4, 1], &[0i64; 4])]).is_err());
        assert_eq!(op.run1(&[t::<f32>(&[0, 4, 1], &[])]).dims(), [0, 4, 2]);
        let half = t(&[1, 2, 1], &[half::f16::ONE; 2]);
        let y = op.run1(&[half]);
        assert_eq!(y.to_f32_vec().unwrap(), [2.0, 0.0, 0.0, 0.0]);
    }
}
