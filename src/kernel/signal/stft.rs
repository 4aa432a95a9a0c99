//! STFT: the Fourier transform of a signal's frames.

use super::dft::check;
use super::fourier::{Keeping, Kept, Kind, cost};
use super::length;
use crate::error::{Error, Result, bail, ensure};
use crate::kernel::conv::real::{narrowed, widened, with_real};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Shape, Tensor};
use parking_lot::Mutex;
use rustfft::num_complex::Complex;

struct Stft {
    onesided: bool,
    kept: Kept,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=4)?;
    let onesided = spec.attributes.flag("onesided", true)?;
    Ok(Box::new(Stft { onesided, kept: Kept::default() }))
}

/// How a signal is cut into frames.
struct Frames {
    batch: usize,
    signal: usize,
    /// Numbers of an element: 1 for real ones, 2 for complex ones.
    parts: usize,
    step: usize,
    len: usize,
}

impl Stft {
    fn of<T: Keeping>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        window: Option<&Tensor>,
        frames: &Frames,
    ) -> Result<Tensor> {
        let &Frames { batch, signal, parts, step, len } = frames;
        let count = (signal - len) / step + 1;
        let bins = if self.onesided { len / 2 + 1 } else { len };
        let shape = ctx.shape_of::<T>(&[batch, count, bins, 2])?;
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        if out.is_empty() {
            return ctx.tensor(shape, out);
        }
        let kind = if parts == 1 { Kind::RealForward } else { Kind::Forward };
        let transform = self.kept.transform::<T>(ctx, kind, len)?;
        let data = x.as_slice::<T>()?;
        let ones = vec![T::ONE; if window.is_some() { 0 } else { len }];
        let window = window.map_or(Ok(ones.as_slice()), |w| w.as_slice::<T>())?;
        let error: Mutex<Option<Error>> = Mutex::default();
        let shared: &Context<'_> = ctx;
        shared.threads.split_rows(&mut out, 2 * bins, cost(len), |range, out| {
            let mut line = transform.line();
            for (frame, out) in range.zip(out.chunks_exact_mut(2 * bins)) {
                let start = (frame / count * signal + frame % count * step) * parts;
                let from = data.get(start..start + len * parts).unwrap_or(&[]);
                if parts == 1 {
                    for ((to, &x), &w) in line.real.iter_mut().zip(from).zip(window) {
                        *to = x * w;
                    }
                } else {
                    let pairs = from.as_chunks::<2>().0;
                    for ((to, &[re, im]), &w) in line.complex.iter_mut().zip(pairs).zip(window) {
                        *to = Complex::new(re * w, im * w);
                    }
                }
                if let Err(e) = shared.check_deadline().and_then(|()| transform.run(&mut line)) {
                    error.lock().get_or_insert(e);
                    return;
                }
                for (k, pair) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    let value = line.bin(k, len);
                    *pair = [value.re, value.im];
                }
            }
        });
        match error.into_inner() {
            Some(e) => Err(e),
            None => ctx.tensor(shape, out),
        }
    }
}

impl Kernel for Stft {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let Some(step) = length(inputs, 1, 1)? else {
            bail!(InvalidInput, "STFT: frame_step is missing");
        };
        let given = length(inputs, 3, 1)?;
        let window = inputs.tensor_opt(2)?;
        let dtype = x.dtype();
        // Some exporters leave the last axis of a real signal out.
        let x = match x.dims() {
            &[batch, signal] => x.clone().reshaped(Shape::new(&[batch, signal, 1])?)?,
            _ => x.clone(),
        };
        check(x.shape(), "STFT")?;
        let &[batch, signal, parts] = x.dims() else {
            bail!(InvalidInput, "STFT: a signal of shape {}, expected three axes", x.shape());
        };
        if let Some(window) = window {
            ensure!(
                window.shape().rank() == 1
                    && window.dtype() == dtype
                    && given.is_none_or(|len| len == window.len()),
                InvalidInput,
                "STFT: a window of {} {} for frames of {given:?} and a signal of {dtype}",
                window.dtype(),
                window.shape()
            );
        }
        let len = given.or(window.map(Tensor::len)).unwrap_or(signal);
        ensure!(
            (1..=signal).contains(&len),
            InvalidInput,
            "STFT: frames of {len} elements of a signal of {signal}"
        );
        let frames = Frames { batch, signal, parts, step, len };
        let (x, window) = (widened(&x)?, window.map(widened).transpose()?);
        let y = with_real!("STFT", dtype, T => {
            self.of::<T>(ctx, &x, window.as_ref(), &frames)
        })?;
        one(narrowed(y, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use crate::tensor::Tensor;

    fn run(op: &Op, inputs: &[Option<Tensor>]) -> crate::Result<Tensor> {
        let inputs: Vec<_> = inputs.iter().cloned().map(|t| t.map(Into::into)).collect();
        op.run_values(&inputs)?.remove(0).into_tensor()
    }

    #[test]
    fn frames_of_a_real_signal() {
        // Frames [1, 2, 3, 4], [3, 4, 5, 6] and [5, 6, 7, 8]; the last element is left over.
        let x = t(&[1, 9, 1], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let (step, len) = (Tensor::scalar(2i64), Tensor::scalar(4i64));
        let op = Op::onnx("STFT", 17);
        let frame = |sum: f32| [sum, 0.0, -2.0, 2.0, -2.0, 0.0];
        let half = t(&[1, 3, 3, 2], &[frame(10.0), frame(18.0), frame(26.0)].concat());
        let given = [Some(x.clone()), Some(step.clone()), None, Some(len.clone())];
        assert_close(&run(&op, &given).unwrap(), &half);
        let flat = x.clone().reshaped(crate::tensor::Shape::new(&[1, 9]).unwrap()).unwrap();
        let given = [Some(flat), Some(step.clone()), Some(t(&[4], &[1f32; 4])), None];
        assert_close(&run(&op, &given).unwrap(), &half);
        let whole = Op::onnx("STFT", 17).int("onesided", 0);
        let frame = |sum: f32| [sum, 0.0, -2.0, 2.0, -2.0, 0.0, -2.0, -2.0];
        let full = t(&[1, 3, 4, 2], &[frame(10.0), frame(18.0), frame(26.0)].concat());
        let given = [Some(x.clone()), Some(step.clone()), None, Some(len.clone())];
        assert_close(&run(&whole, &given).unwrap(), &full);
        // A window weighs the elements: [0, 2, 0, 0] leaves 2·x₁·e^(-2πik/4).
        let window = t(&[4], &[0f32, 2.0, 0.0, 0.0]);
        let y = run(&op, &[Some(x.clone()), Some(step.clone()), Some(window), None]).unwrap();
        let frame = |v: f32| [v, 0.0, 0.0, -v, -v, 0.0];
        assert_close(&y, &t(&[1, 3, 3, 2], &[frame(4.0), frame(8.0), frame(12.0)].concat()));
        // Without either the whole signal is a frame.
        let y = run(&op, &[Some(x.clone()), Some(step.clone())]).unwrap();
        assert_eq!(y.dims(), [1, 1, 5, 2]);
        for bad in [
            [Some(x.clone()), Some(Tensor::scalar(0i64)), None, Some(len.clone())],
            [Some(x.clone()), Some(step.clone()), None, Some(Tensor::scalar(10i64))],
            [Some(x.clone()), Some(step.clone()), Some(t(&[3], &[1f32; 3])), Some(len)],
            [Some(x), Some(step.clone()), Some(t(&[4], &[1f64; 4])), None],
            [Some(t::<f32>(&[1, 0, 1], &[])), Some(step), None, None],
        ] {
            assert!(run(&op, &bad).is_err());
        }
    }

    #[test]
    fn a_complex_signal_in_batches() {
        // i·[1, 0] and [0, 1]: a flat spectrum, and one that alternates.
        let x = t(&[2, 2, 2], &[0f64, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let op = Op::onnx("STFT", 17).int("onesided", 0);
        let y = run(&op, &[Some(x), Some(Tensor::scalar(1i32))]).unwrap();
        assert_close(&y, &t(&[2, 1, 2, 2], &[0f64, 1.0, 0.0, 1.0, 1.0, 0.0, -1.0, 0.0]));
    }
}
