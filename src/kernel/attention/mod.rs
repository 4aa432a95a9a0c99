//! Attention and what models put around it: rotary embeddings, caches of keys and values, linear
//! attention, gated activations.

mod beams;
mod bias;
mod cached;
mod causal_conv;
mod group_query;
mod heads;
mod linear;
mod multi_head;
mod packed;
mod padding;
mod rotary;
mod scalar;
mod scaled;
mod standard;
mod swiglu;
mod tensor_scatter;

use super::registry::{Entry, microsoft, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("Attention", 23, standard::prepare),
    onnx("RotaryEmbedding", 23, rotary::prepare),
    onnx("TensorScatter", 24, tensor_scatter::prepare),
    onnx("LinearAttention", 27, linear::prepare),
    onnx("CausalConvWithState", 27, causal_conv::prepare),
    onnx("SwiGLU", 28, swiglu::prepare),
    microsoft("Attention", packed::prepare),
    microsoft("CausalConvWithState", causal_conv::prepare_microsoft),
    microsoft("DecoderMaskedMultiHeadAttention", multi_head::prepare_decoder),
    microsoft("MultiHeadAttention", multi_head::prepare),
    microsoft("QAttention", packed::prepare_quantised),
    microsoft("GroupQueryAttention", group_query::prepare),
    microsoft("RotaryEmbedding", rotary::prepare_microsoft),
    microsoft("LinearAttention", linear::prepare),
];

#[cfg(test)]
mod tests;
