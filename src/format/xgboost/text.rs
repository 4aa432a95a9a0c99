//! What the readers of both syntaxes share.

use serde::de::Error as _;
use std::fmt;

/// How deep lists and objects may nest. XGBoost's own files stay below ten.
pub(super) const DEPTH: usize = 64;

/// What serde's machinery reports: a message.
pub(super) type Fault = serde::de::value::Error;

/// A message as a fault.
pub(super) fn fault(message: impl fmt::Display) -> Fault {
    Fault::custom(message)
}
