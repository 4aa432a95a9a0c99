//! The Fourier transform of one line of numbers, by `rustfft` and `realfft`.

use crate::error::{Result, ensure, err};
use crate::kernel::Context;
use crate::kernel::conv::real::Real;
use parking_lot::Mutex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection, FftNum, FftPlanner};
use std::sync::Arc;

/// What a transform reads and what it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Complex numbers to complex numbers, forwards.
    Forward,
    /// Complex numbers to complex numbers, backwards.
    Backward,
    /// Real numbers to the first half of their spectrum.
    RealForward,
    /// The first half of a spectrum to real numbers.
    RealBackward,
}

/// Numbers that transforms compute in.
pub trait Number: Real + FftNum {}

impl Number for f32 {}
impl Number for f64 {}

enum Algorithm<T: FftNum> {
    Complex(Arc<dyn Fft<T>>),
    FromReal(Arc<dyn RealToComplex<T>>),
    ToReal(Arc<dyn ComplexToReal<T>>),
}

/// A prepared transform of lines of one length.
pub struct Transform<T: FftNum> {
    kind: Kind,
    len: usize,
    algorithm: Algorithm<T>,
}

/// The buffers in which one line is transformed.
pub struct Line<T> {
    /// The real side of [`Kind::RealForward`] and [`Kind::RealBackward`].
    pub real: Vec<T>,
    /// The complex numbers: of the whole line, or of the first half of its spectrum.
    pub complex: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
}

impl<T: Number> Line<T> {
    /// Frequency `k` of the spectrum of `len` numbers: that of a real signal is known from its
    /// first half.
    pub fn bin(&self, k: usize, len: usize) -> Complex<T> {
        match (self.complex.get(k), self.complex.get(len.saturating_sub(k))) {
            (Some(&value), _) => value,
            (None, Some(mirrored)) => mirrored.conj(),
            (None, None) => Complex::new(T::ZERO, T::ZERO),
        }
    }
}

impl<T: Number> Transform<T> {
    /// The transform of lines of `len` numbers, at least one.
    pub fn new(ctx: &Context<'_>, kind: Kind, len: usize) -> Result<Transform<T>> {
        ensure!(len > 0, InvalidInput, "a Fourier transform of no numbers");
        // A length of large prime factors is computed by way of one of more than twice the size;
        // that many complex numbers several times over are what plan and buffers take.
        ctx.shape_of::<T>(&[len, 32])?;
        let algorithm = match kind {
            Kind::Forward => Algorithm::Complex(plan(len, FftDirection::Forward)),
            Kind::Backward => Algorithm::Complex(plan(len, FftDirection::Inverse)),
            Kind::RealForward => Algorithm::FromReal(RealFftPlanner::new().plan_fft_forward(len)),
            Kind::RealBackward => Algorithm::ToReal(RealFftPlanner::new().plan_fft_inverse(len)),
        };
        Ok(Transform { kind, len, algorithm })
    }

    /// Zeroed buffers for one line.
    pub fn line(&self) -> Line<T> {
        let zero = Complex::new(T::ZERO, T::ZERO);
        let (real, complex, scratch) = match &self.algorithm {
            Algorithm::Complex(fft) => (0, self.len, fft.get_inplace_scratch_len()),
            Algorithm::FromReal(fft) => (self.len, self.len / 2 + 1, fft.get_scratch_len()),
            Algorithm::ToReal(fft) => (self.len, self.len / 2 + 1, fft.get_scratch_len()),
        };
        Line {
            real: vec![T::ZERO; real],
            complex: vec![zero; complex],
            scratch: vec![zero; scratch],
        }
    }

    /// Transforms what the line's input side holds into its output side. Nothing is scaled, and
    /// the input is lost.
    pub fn run(&self, line: &mut Line<T>) -> Result<()> {
        let Line { real, complex, scratch } = line;
        let done = match &self.algorithm {
            Algorithm::Complex(fft) => {
                fft.process_with_scratch(complex, scratch);
                Ok(())
            }
            Algorithm::FromReal(fft) => fft.process_with_scratch(real, complex, scratch),
            Algorithm::ToReal(fft) => {
                // Real numbers have a real sum and, in even number, a real alternating sum.
                if let Some(first) = complex.first_mut() {
                    first.im = T::ZERO;
                }
                if let (Some(last), true) = (complex.last_mut(), self.len.is_multiple_of(2)) {
                    last.im = T::ZERO;
                }
                fft.process_with_scratch(complex, real, scratch)
            }
        };
        done.map_err(|e| err!(Internal, "a Fourier transform of {}: {e}", self.len))
    }
}

fn plan<T: Number>(len: usize, direction: FftDirection) -> Arc<dyn Fft<T>> {
    FftPlanner::new().plan_fft(len, direction)
}

/// Lines longer than this are planned anew each time: their plans would be a burden to keep.
const KEPT_LENGTH: usize = 1 << 16;

/// The transform that a kernel used last: most models ask for one length only.
#[derive(Default)]
pub struct Kept {
    f32: Mutex<Option<Arc<Transform<f32>>>>,
    f64: Mutex<Option<Arc<Transform<f64>>>>,
}

/// Numbers whose transforms [`Kept`] keeps.
pub trait Keeping: Number {
    /// Where.
    fn place(kept: &Kept) -> &Mutex<Option<Arc<Transform<Self>>>>;
}

impl Keeping for f32 {
    fn place(kept: &Kept) -> &Mutex<Option<Arc<Transform<f32>>>> {
        &kept.f32
    }
}

impl Keeping for f64 {
    fn place(kept: &Kept) -> &Mutex<Option<Arc<Transform<f64>>>> {
        &kept.f64
    }
}

impl Kept {
    /// The transform of that kind and length.
    pub fn transform<T: Keeping>(
        &self,
        ctx: &Context<'_>,
        kind: Kind,
        len: usize,
    ) -> Result<Arc<Transform<T>>> {
        let place = T::place(self);
        if let Some(last) = place.lock().as_ref().filter(|t| t.kind == kind && t.len == len) {
            return Ok(last.clone());
        }
        let new = Arc::new(Transform::new(ctx, kind, len)?);
        if len <= KEPT_LENGTH {
            *place.lock() = Some(new.clone());
        }
        Ok(new)
    }
}

/// Rough nanoseconds that a line of `len` numbers takes.
pub fn cost(len: usize) -> usize {
    len.saturating_mul(4 + len.max(1).ilog2() as usize)
}
