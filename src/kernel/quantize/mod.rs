//! Quantised operators: to and from levels, and integer products, convolutions and element-wise
//! functions on them.
//!
//! Sums of integer products are exact (they wrap at 32 bits, as the specification has it). Levels
//! are rounded to the nearest, halves to the even one, and saturate. Operators of `com.microsoft`
//! round where ONNX Runtime does.

mod binary;
mod bnb4;
mod by_columns;
mod columns;
mod conv;
mod dequantize;
mod dynamic;
mod gather;
mod gemm;
mod layout;
mod level;
mod linear;
mod lines;
mod lstm;
mod matmul;
mod nbits;
mod parameters;
mod pool;
mod product;
mod softmax;
mod unary;

use super::OpSpec;
use super::registry::{Entry, microsoft, onnx};
use crate::error::Result;

pub(super) const OPS: &[Entry] = &[
    onnx("ConvInteger", 10, conv::prepare),
    onnx("DequantizeLinear", 10, dequantize::prepare),
    onnx("DynamicQuantizeLinear", 11, dynamic::prepare),
    onnx("MatMulInteger", 10, matmul::prepare_integer),
    onnx("QLinearConv", 10, conv::prepare),
    onnx("QLinearMatMul", 10, matmul::prepare_quantised),
    onnx("QuantizeLinear", 10, linear::prepare),
    microsoft("DequantizeLinear", dequantize::prepare),
    microsoft("DynamicQuantizeLSTM", lstm::prepare),
    microsoft("DynamicQuantizeMatMul", matmul::prepare_dynamic),
    microsoft("GatherBlockQuantized", gather::prepare),
    microsoft("MatMulBnb4", bnb4::prepare),
    microsoft("MatMulIntegerToFloat", matmul::prepare_float),
    microsoft("MatMulNBits", nbits::prepare),
    microsoft("QGemm", gemm::prepare),
    microsoft("QLinearAdd", binary::prepare),
    microsoft("QLinearAveragePool", pool::prepare_average),
    microsoft("QLinearConcat", unary::prepare_concat),
    microsoft("QLinearConv", conv::prepare),
    microsoft("QLinearGlobalAveragePool", pool::prepare_global),
    microsoft("QLinearLeakyRelu", unary::prepare),
    microsoft("QLinearMul", binary::prepare),
    microsoft("QLinearReduceMean", pool::prepare_reduce_mean),
    microsoft("QLinearSigmoid", unary::prepare),
    microsoft("QLinearSoftmax", softmax::prepare),
    microsoft("QLinearWhere", unary::prepare_where),
    microsoft("QuantizeLinear", linear::prepare),
];

/// Refuses a node that lacks one of the inputs `required`, or has more than `most`.
fn needs(spec: &OpSpec<'_>, required: &[usize], most: usize) -> Result<()> {
    spec.arity(0..=most)?;
    match required.iter().find(|&&i| !spec.has_input(i)) {
        Some(i) => Err(spec.invalid(format_args!("input {i} is missing"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
