//! Dynamic batching.
