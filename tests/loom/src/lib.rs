//! The shipped protocol files, compiled against loom's primitives.

pub mod sync;
