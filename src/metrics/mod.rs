//! Metrics in the Prometheus text format.

pub(crate) mod histogram;
