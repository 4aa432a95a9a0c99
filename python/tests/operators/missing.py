"""Operators that are tested here and not implemented yet: the one list of them.

Each has to be refused by name when a model is loaded. One that is answered has to leave the list,
says `test_missing.py`; from then on its answers are held to the oracle like all others.
"""

from __future__ import annotations

#: `domain:operator`, with an empty domain for `ai.onnx`.
NOT_YET: frozenset[str] = frozenset(
    {
        # attention
        ":Attention",
        ":RotaryEmbedding",
        # quantised
        ":ConvInteger",
        ":DequantizeLinear",
        ":DynamicQuantizeLinear",
        ":MatMulInteger",
        ":QLinearConv",
        ":QLinearMatMul",
        ":QuantizeLinear",
        # signal
        ":BlackmanWindow",
        ":DFT",
        ":HammingWindow",
        ":HannWindow",
        ":MelWeightMatrix",
        ":STFT",
        # vision
        ":AffineGrid",
        ":Col2Im",
        ":Det",
        ":GridSample",
        ":NonMaxSuppression",
        ":RoiAlign",
        # sequences
        ":SequenceMap",
        # losses
        ":NegativeLogLikelihoodLoss",
        ":SoftmaxCrossEntropyLoss",
    }
)
