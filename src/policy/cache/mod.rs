//! Response cache by row.
