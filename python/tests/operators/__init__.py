"""Operators held to independent oracles: onnxruntime, NumPy, the reference implementation."""
