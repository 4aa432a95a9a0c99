//! Signals: Fourier transforms, windows, and the mel scale.

mod dft;
mod fourier;
mod mel;
mod stft;
mod window;

use super::registry::{Entry, onnx};
use super::{Inputs, OpSpec};
use crate::error::{Result, bail};

pub(super) const OPS: &[Entry] = &[
    onnx("BlackmanWindow", 17, |s| window::prepare(s, window::Shape::Blackman)),
    onnx("DFT", 17, dft::prepare),
    onnx("HammingWindow", 17, |s| window::prepare(s, window::Shape::Hamming)),
    onnx("HannWindow", 17, |s| window::prepare(s, window::Shape::Hann)),
    onnx("MelWeightMatrix", 17, mel::prepare),
    onnx("STFT", 17, stft::prepare),
];

/// The one integer of input `i`, `None` where it is left out.
fn integer(inputs: &Inputs<'_>, i: usize) -> Result<Option<i64>> {
    let Some(tensor) = inputs.tensor_opt(i)? else { return Ok(None) };
    match tensor.to_i64_vec()?[..] {
        [value] => Ok(Some(value)),
        _ => bail!(InvalidInput, "input {i} has {} elements, expected 1", tensor.len()),
    }
}

/// The one length in input `i`, of `least` or more; `None` where it is left out.
fn length(inputs: &Inputs<'_>, i: usize, least: usize) -> Result<Option<usize>> {
    let Some(value) = integer(inputs, i)? else { return Ok(None) };
    match usize::try_from(value) {
        Ok(length) if length >= least => Ok(Some(length)),
        _ => bail!(InvalidInput, "input {i} is {value}, expected {least} or more"),
    }
}

/// The type of `output_datatype`, float32 where the node does not say.
fn output_type(spec: &OpSpec<'_>) -> Result<crate::tensor::ElementType> {
    let dtype = super::cast::element_type(spec, spec.attributes.int("output_datatype", 1)?)?;
    match dtype.is_float() || dtype.is_integer() {
        true => Ok(dtype),
        false => Err(spec.invalid(format_args!("output_datatype is {dtype}, expected numbers"))),
    }
}
