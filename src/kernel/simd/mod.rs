//! Vectorised mathematics, chosen by CPU features at run time.
