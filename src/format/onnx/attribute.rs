//! `AttributeProto`: which of its many fields counts.

use super::proto::{AttributeProto, attribute_type as kind};
use crate::error::{Result, bail, ensure};

/// The type of the attribute: as it says, or where it says nothing (before IR version 2) as the
/// one field that is filled.
///
/// # Errors
/// `InvalidModel` when it holds something that is not of its type, or nothing.
pub(super) fn kind_of(a: &AttributeProto) -> Result<i32> {
    let filled = [
        (kind::FLOAT, a.f.is_some_and(|f| f.to_bits() != 0)),
        (kind::INT, a.i.is_some_and(|i| i != 0)),
        (kind::STRING, a.s.as_ref().is_some_and(|s| !s.is_empty())),
        (kind::TENSOR, a.t.is_some()),
        (kind::GRAPH, a.g.is_some()),
        (kind::FLOATS, !a.floats.is_empty()),
        (kind::INTS, !a.ints.is_empty()),
        (kind::STRINGS, !a.strings.is_empty()),
        (kind::SPARSE_TENSOR, a.sparse_tensor.is_some()),
    ];
    let mut filled = filled.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind);
    let first = filled.next();
    ensure!(filled.next().is_none(), InvalidModel, "it holds values of more than one type");
    if a.r#type != kind::UNDEFINED {
        ensure!(
            first.is_none_or(|k| k == a.r#type),
            InvalidModel,
            "it is of type number {} but holds type number {}",
            a.r#type,
            first.unwrap_or_default()
        );
        return Ok(a.r#type);
    }
    // A present zero counts only where nothing else is there.
    Ok(match first {
        Some(kind) => kind,
        None if a.i.is_some() => kind::INT,
        None if a.f.is_some() => kind::FLOAT,
        None if a.s.is_some() => kind::STRING,
        None => bail!(InvalidModel, "it has neither a type nor a value"),
    })
}
