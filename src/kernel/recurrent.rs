//! Recurrent layers: RNN, GRU, LSTM.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
