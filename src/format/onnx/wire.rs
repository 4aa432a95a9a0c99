//! A scan over the raw protobuf bytes before anything is decoded.
//!
//! Two bytes of a file can become hundreds in memory (an empty message) and one byte eight (a
//! packed number), so what decoding will cost is known first, from the field numbers alone. The
//! scan keeps an explicit stack: it cannot run out of its own.

use super::proto;
use crate::error::{Result, bail, ensure, err};
use crate::limits::LoadLimits;
use std::mem::size_of;

/// How deep messages may nest below the model (the decoder's own limit).
const MAX_DEPTH: usize = 100;
/// Memory that any file may ask for, whatever its size.
const FREE_BYTES: u64 = 64 << 20;

/// What a field costs when decoded.
#[derive(Clone, Copy)]
enum Field {
    /// A message with fields of its own.
    Message(&'static Schema),
    /// A string or byte string: a handle of this size, and its bytes where they are copied.
    Text { handle: usize, copied: bool },
    /// Numbers of variable length, packed or single.
    Numbers,
}

struct Schema {
    name: &'static str,
    size: usize,
    fields: &'static [(u32, Field)],
}

const NAME: Field = Field::Text { handle: size_of::<String>(), copied: true };
const BYTES: Field = Field::Text { handle: size_of::<bytes::Bytes>(), copied: false };

static MODEL: Schema = Schema {
    name: "ModelProto",
    size: size_of::<proto::ModelProto>(),
    fields: &[
        (2, NAME),
        (3, NAME),
        (4, NAME),
        (6, NAME),
        (7, Field::Message(&GRAPH)),
        (8, Field::Message(&OPSET)),
        (14, Field::Message(&ENTRY)),
        (25, Field::Message(&FUNCTION)),
    ],
};
static OPSET: Schema = Schema {
    name: "OperatorSetIdProto",
    size: size_of::<proto::OperatorSetIdProto>(),
    fields: &[(1, NAME)],
};
static ENTRY: Schema = Schema {
    name: "StringStringEntryProto",
    size: size_of::<proto::StringStringEntryProto>(),
    fields: &[(1, NAME), (2, NAME)],
};
static GRAPH: Schema = Schema {
    name: "GraphProto",
    size: size_of::<proto::GraphProto>(),
    fields: &[
        (1, Field::Message(&NODE)),
        (2, NAME),
        (5, Field::Message(&TENSOR)),
        (11, Field::Message(&VALUE_INFO)),
        (12, Field::Message(&VALUE_INFO)),
        (13, Field::Message(&VALUE_INFO)),
        (15, Field::Message(&SPARSE_TENSOR)),
    ],
};
static NODE: Schema = Schema {
    name: "NodeProto",
    size: size_of::<proto::NodeProto>(),
    fields: &[
        (1, NAME),
        (2, NAME),
        (3, NAME),
        (4, NAME),
        (5, Field::Message(&ATTRIBUTE)),
        (7, NAME),
        (8, NAME),
    ],
};
static ATTRIBUTE: Schema = Schema {
    name: "AttributeProto",
    size: size_of::<proto::AttributeProto>(),
    fields: &[
        (1, NAME),
        (5, Field::Message(&TENSOR)),
        (6, Field::Message(&GRAPH)),
        (8, Field::Numbers),
        (9, BYTES),
        (21, NAME),
        (22, Field::Message(&SPARSE_TENSOR)),
    ],
};
static TENSOR: Schema = Schema {
    name: "TensorProto",
    size: size_of::<proto::TensorProto>(),
    fields: &[
        (1, Field::Numbers),
        (3, Field::Message(&SEGMENT)),
        (5, Field::Numbers),
        (6, BYTES),
        (7, Field::Numbers),
        (8, NAME),
        (11, Field::Numbers),
        (13, Field::Message(&ENTRY)),
    ],
};
static SEGMENT: Schema =
    Schema { name: "TensorProto.Segment", size: size_of::<proto::Segment>(), fields: &[] };
static SPARSE_TENSOR: Schema = Schema {
    name: "SparseTensorProto",
    size: size_of::<proto::SparseTensorProto>(),
    fields: &[(1, Field::Message(&TENSOR)), (2, Field::Message(&TENSOR)), (3, Field::Numbers)],
};
static VALUE_INFO: Schema = Schema {
    name: "ValueInfoProto",
    size: size_of::<proto::ValueInfoProto>(),
    fields: &[(1, NAME), (2, Field::Message(&TYPE))],
};
static TYPE: Schema = Schema {
    name: "TypeProto",
    size: size_of::<proto::TypeProto>(),
    fields: &[
        (1, Field::Message(&TENSOR_TYPE)),
        (4, Field::Message(&ELEMENT_TYPE)),
        (5, Field::Message(&MAP_TYPE)),
        (8, Field::Message(&TENSOR_TYPE)),
        (9, Field::Message(&ELEMENT_TYPE)),
    ],
};
static TENSOR_TYPE: Schema = Schema {
    name: "TypeProto.Tensor",
    size: size_of::<proto::TensorType>(),
    fields: &[(2, Field::Message(&SHAPE))],
};
static ELEMENT_TYPE: Schema = Schema {
    name: "TypeProto.Sequence",
    size: size_of::<proto::ElementTypeProto>(),
    fields: &[(1, Field::Message(&TYPE))],
};
static MAP_TYPE: Schema = Schema {
    name: "TypeProto.Map",
    size: size_of::<proto::MapType>(),
    fields: &[(2, Field::Message(&TYPE))],
};
static SHAPE: Schema = Schema {
    name: "TensorShapeProto",
    size: size_of::<proto::TensorShapeProto>(),
    fields: &[(1, Field::Message(&DIMENSION))],
};
static DIMENSION: Schema = Schema {
    name: "TensorShapeProto.Dimension",
    size: size_of::<proto::Dimension>(),
    fields: &[(2, NAME)],
};
static FUNCTION: Schema = Schema {
    name: "FunctionProto",
    size: size_of::<proto::FunctionProto>(),
    fields: &[
        (1, NAME),
        (4, NAME),
        (5, NAME),
        (7, Field::Message(&NODE)),
        (9, Field::Message(&OPSET)),
        (10, NAME),
        (11, Field::Message(&ATTRIBUTE)),
        (13, NAME),
    ],
};

/// Checks that `bytes` are well-formed protobuf of bounded depth whose decoding stays within
/// the limits: messages and strings cost at most three times the file and 64 MiB in memory, and
/// with the numbers of variable length there are at most `limits.proto_messages` of them.
///
/// # Errors
/// `InvalidModel` with the place, or `LimitExceeded`.
pub(super) fn scan(bytes: &[u8], limits: &LoadLimits) -> Result<()> {
    let allowed = (bytes.len() as u64).saturating_mul(3).saturating_add(FREE_BYTES);
    let mut cost = 0u64;
    let mut count = 0u64;
    let mut at = 0usize;
    let mut stack: Vec<(usize, &Schema)> = vec![(bytes.len(), &MODEL)];
    while let Some(&(end, schema)) = stack.last() {
        if at == end {
            stack.pop();
            continue;
        }
        let start = at;
        let place = |what: &str| err!(InvalidModel, "{what} at byte {start} ({})", schema.name);
        let within = bytes.get(..end).unwrap_or_default();
        let tag = varint(within, &mut at).ok_or_else(|| place("a broken field tag"))?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|n| (1..1 << 29).contains(n))
            .ok_or_else(|| place("a field of an impossible number"))?;
        let field = schema.fields.iter().find(|(n, _)| *n == number).map(|(_, f)| *f);
        let skip = match tag & 7 {
            0 => {
                let mut numbers = 0;
                // Lists that are not packed repeat the tag before each number.
                loop {
                    varint(within, &mut at).ok_or_else(|| place("a broken number"))?;
                    numbers += 1;
                    if tag >= 0x80 || within.get(at).copied().map(u64::from) != Some(tag) {
                        break;
                    }
                    at += 1;
                }
                count += if matches!(field, Some(Field::Numbers)) { numbers } else { 0 };
                0
            }
            1 => 8,
            5 if tag < 0x80 => {
                let elements = within.get(at - 1..).unwrap_or_default().as_chunks::<5>().0;
                let run = elements.iter().take_while(|e| u64::from(e[0]) == tag).count();
                (run * 5).saturating_sub(1).max(4)
            }
            5 => 4,
            2 => {
                let length = varint(within, &mut at)
                    .and_then(|n| usize::try_from(n).ok())
                    .filter(|&n| n <= end - at)
                    .ok_or_else(|| place("a field that runs past the end of its message"))?;
                match field {
                    Some(Field::Message(inner)) => {
                        ensure!(
                            stack.len() <= MAX_DEPTH,
                            LimitExceeded,
                            "messages nested more than {MAX_DEPTH} deep at byte {start} ({})",
                            schema.name
                        );
                        count += 1;
                        cost = cost.saturating_add(inner.size as u64);
                        stack.push((at + length, inner));
                        0
                    }
                    Some(Field::Text { handle, copied }) => {
                        count += 1;
                        cost = cost.saturating_add(handle as u64);
                        if copied {
                            cost = cost.saturating_add(length as u64);
                        }
                        length
                    }
                    Some(Field::Numbers) => {
                        let packed = within.get(at..at + length).unwrap_or_default();
                        count += packed.iter().filter(|&&b| b < 0x80).count() as u64;
                        length
                    }
                    None => length,
                }
            }
            3 | 4 => bail!(InvalidModel, "a protobuf group at byte {start} ({})", schema.name),
            _ => return Err(place("a field of an unknown wire type")),
        };
        ensure!(
            count <= limits.proto_messages,
            LimitExceeded,
            "more than {} messages, strings and numbers (at byte {start})",
            limits.proto_messages
        );
        ensure!(
            cost <= allowed,
            LimitExceeded,
            "a file of {} bytes whose messages take more than {allowed} bytes of memory",
            bytes.len()
        );
        at = at
            .checked_add(skip)
            .filter(|&n| n <= end)
            .ok_or_else(|| place("a field that runs past the end of its message"))?;
    }
    Ok(())
}

/// The number of variable length at `*at`, which moves behind it.
#[inline]
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..10u32 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        let low = u64::from(byte & 0x7f);
        if i == 9 && low > 1 {
            return None;
        }
        value |= low << (7 * i);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn kind(bytes: &[u8]) -> ErrorKind {
        scan(bytes, &LoadLimits::default()).unwrap_err().kind()
    }

    /// A field of length-delimited bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut n = content.len();
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out.extend_from_slice(content);
        out
    }

    #[test]
    fn malformed_bytes_are_refused() {
        for bytes in [
            &[0x80][..],                     // a tag that does not end
            &[0x00],                         // field number 0
            &[0x0b],                         // a group
            &[0x0c],                         // the end of one
            &[0x0e],                         // wire type 6
            &[0x3a, 0x05, 0x0a],             // a graph longer than the file
            &[0x08, 0xff],                   // a number that does not end
            &[0x3a, 0x02, 0x0a, 0x02, 0, 0], // a node longer than its graph
            &[0x0d, 1, 2],                   // four bytes of which two are missing
        ] {
            assert_eq!(kind(bytes), ErrorKind::InvalidModel, "{bytes:?}");
        }
        assert!(scan(&[], &LoadLimits::default()).is_ok());
        // Unknown fields of every shape are passed over.
        assert!(scan(&[0xf8, 0x06, 5, 0xfa, 0x06, 1, 9], &LoadLimits::default()).is_ok());
    }

    #[test]
    fn tensor_bytes_are_no_messages() {
        // Raw data that would be broken protobuf.
        let tensor = field(9, &[0xff; 64]);
        assert!(scan(&field(7, &field(5, &tensor)), &LoadLimits::default()).is_ok());
        assert_eq!(kind(&field(7, &field(5, &[0xff; 64]))), ErrorKind::InvalidModel);
    }

    #[test]
    fn bombs_are_refused_before_they_are_decoded() {
        // Empty nodes: two bytes each.
        let nodes = field(7, &[0x0a, 0x00].repeat(2 << 20));
        assert_eq!(kind(&nodes), ErrorKind::LimitExceeded);
        let few = LoadLimits { proto_messages: 10, ..LoadLimits::default() };
        let numbers = field(7, &field(5, &field(7, &[1; 11])));
        assert_eq!(scan(&numbers, &few).unwrap_err().kind(), ErrorKind::LimitExceeded);
        let single = field(7, &field(5, &[0x38, 1].repeat(11)));
        assert_eq!(scan(&single, &few).unwrap_err().kind(), ErrorKind::LimitExceeded);
        // The same bytes as raw data count for nothing.
        assert!(scan(&field(7, &field(5, &field(9, &[1; 11]))), &few).is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| {
            let graph = (0..levels).fold(vec![], |g, _| field(1, &field(5, &field(6, &g))));
            field(7, &graph)
        };
        assert!(scan(&nested(33), &LoadLimits::default()).is_ok());
        assert_eq!(kind(&nested(34)), ErrorKind::LimitExceeded);
    }
}
