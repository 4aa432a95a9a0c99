//! Any bytes before the scan that goes ahead of decoding ONNX files.
//!
//! The scan's own file is compiled here, with what it needs of the library, and its verdict is
//! held against a count made apart from it, with the decoder's own primitives: the same files are
//! refused, for the same kind of reason, and a limit of exactly as many entries as there are lets
//! a file pass that one of an entry less refuses. What passes is decoded, in memory that the count
//! bounds; what is refused as broken the decoder refuses too.

#![no_main]

#[path = "../cases/heap.rs"]
mod heap;

// `super::…` and `crate::…` of these files mean this file.
#[allow(dead_code)]
#[path = "../../../src/error.rs"]
mod error;
#[allow(dead_code)]
#[path = "../../../src/limits.rs"]
mod limits;
#[path = "../../../src/format/onnx/node.rs"]
mod node;
#[allow(dead_code)]
#[path = "../../../src/format/onnx/proto.rs"]
mod proto;
#[path = "../../../src/format/onnx/wire.rs"]
mod wire;

use bytes::Bytes;
use error::ErrorKind;
use libfuzzer_sys::fuzz_target;
use limits::LoadLimits;
use node::NodeProto;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_varint};
use proto::{AttributeProto, ModelProto};

/// The messages of the format.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Opset,
    Entry,
    Graph,
    Node,
    Attribute,
    Tensor,
    Segment,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    ElementType,
    MapType,
    Shape,
    Dimension,
    Function,
}

/// What the decoder makes of a field.
enum Field {
    Message(Kind),
    /// Copied, with a handle.
    Text,
    /// A handle to the file's own bytes, in a list.
    Slice,
    Numbers,
    /// Part of its message, or not read.
    Plain,
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Kind::Model => size_of::<ModelProto>(),
            Kind::Opset => size_of::<proto::OperatorSetIdProto>(),
            Kind::Entry => size_of::<proto::StringStringEntryProto>(),
            Kind::Graph => size_of::<proto::GraphProto>(),
            Kind::Node => size_of::<NodeProto>(),
            Kind::Attribute => size_of::<AttributeProto>(),
            Kind::Tensor => size_of::<proto::TensorProto>(),
            Kind::Segment => size_of::<proto::Segment>(),
            Kind::SparseTensor => size_of::<proto::SparseTensorProto>(),
            Kind::ValueInfo => size_of::<proto::ValueInfoProto>(),
            Kind::Type => size_of::<proto::TypeProto>(),
            Kind::TensorType => size_of::<proto::TensorType>(),
            Kind::ElementType => size_of::<proto::ElementTypeProto>(),
            Kind::MapType => size_of::<proto::MapType>(),
            Kind::Shape => size_of::<proto::TensorShapeProto>(),
            Kind::Dimension => size_of::<proto::Dimension>(),
            Kind::Function => size_of::<proto::FunctionProto>(),
        }
    }

    /// By `onnx.proto3`, as far as `proto.rs` reads it.
    fn field(self, number: u32) -> Field {
        use Field::{Message, Numbers, Plain, Slice, Text};
        match (self, number) {
            (Kind::Model, 2 | 3 | 4 | 6) => Text,
            (Kind::Model, 7) => Message(Kind::Graph),
            (Kind::Model, 8) | (Kind::Function, 9) => Message(Kind::Opset),
            (Kind::Model, 14) | (Kind::Tensor, 13) => Message(Kind::Entry),
            (Kind::Model, 25) => Message(Kind::Function),
            (Kind::Opset, 1) | (Kind::Entry, 1 | 2) | (Kind::Dimension, 2) => Text,
            (Kind::Graph, 1) | (Kind::Function, 7) => Message(Kind::Node),
            (Kind::Graph, 2) | (Kind::ValueInfo, 1) => Text,
            (Kind::Graph, 5) => Message(Kind::Tensor),
            (Kind::Graph, 11..=13) => Message(Kind::ValueInfo),
            (Kind::Graph, 15) | (Kind::Attribute, 22) => Message(Kind::SparseTensor),
            (Kind::Node, 1..=4 | 7 | 8) => Text,
            (Kind::Node, 5) | (Kind::Function, 11) => Message(Kind::Attribute),
            (Kind::Attribute, 1 | 21) | (Kind::Tensor, 8) => Text,
            (Kind::Attribute, 5) | (Kind::SparseTensor, 1 | 2) => Message(Kind::Tensor),
            (Kind::Attribute, 6) => Message(Kind::Graph),
            (Kind::Attribute, 8) | (Kind::Tensor, 1 | 5 | 7 | 11) => Numbers,
            (Kind::SparseTensor, 3) => Numbers,
            (Kind::Attribute, 9) | (Kind::Tensor, 6) => Slice,
            (Kind::Tensor, 3) => Message(Kind::Segment),
            (Kind::ValueInfo | Kind::MapType, 2) | (Kind::ElementType, 1) => Message(Kind::Type),
            (Kind::Type, 1 | 8) => Message(Kind::TensorType),
            (Kind::Type, 4 | 9) => Message(Kind::ElementType),
            (Kind::Type, 5) => Message(Kind::MapType),
            (Kind::TensorType, 2) => Message(Kind::Shape),
            (Kind::Shape, 1) => Message(Kind::Dimension),
            (Kind::Function, 1 | 4 | 5 | 10 | 13) => Text,
            _ => Plain,
        }
    }
}

/// Why a file is not to be decoded.
enum Refusal {
    Broken,
    /// The decoder would pass over it; no ONNX file has one.
    Group,
    TooMuch,
}

/// How deep messages may lie below the model.
const DEPTH: usize = 100;

struct Count {
    /// Messages, strings and numbers of variable length.
    entries: u64,
    /// The numbers among them.
    numbers: u64,
    /// Bytes of messages, handles and strings.
    memory: u64,
    /// The most bytes of them.
    allowed: u64,
}

impl Count {
    fn of(file: &[u8]) -> Count {
        Count { entries: 0, numbers: 0, memory: 0, allowed: 3 * file.len() as u64 + (64 << 20) }
    }

    fn add(&mut self, memory: usize) -> Result<(), Refusal> {
        self.entries += 1;
        self.memory += memory as u64;
        if self.memory > self.allowed { Err(Refusal::TooMuch) } else { Ok(()) }
    }

    fn add_numbers(&mut self, numbers: usize) {
        self.entries += numbers as u64;
        self.numbers += numbers as u64;
    }

    /// Counts the fields of a message that lies so deep.
    fn walk(&mut self, mut message: &[u8], kind: Kind, depth: usize) -> Result<(), Refusal> {
        while !message.is_empty() {
            let (number, wire) = decode_key(&mut message).map_err(|_| Refusal::Broken)?;
            let field = kind.field(number);
            let length = match wire {
                WireType::StartGroup | WireType::EndGroup => return Err(Refusal::Group),
                WireType::Varint => {
                    decode_varint(&mut message).map_err(|_| Refusal::Broken)?;
                    self.add_numbers(usize::from(matches!(field, Field::Numbers)));
                    continue;
                }
                WireType::ThirtyTwoBit => 4,
                WireType::SixtyFourBit => 8,
                WireType::LengthDelimited => {
                    decode_varint(&mut message).map_err(|_| Refusal::Broken)?
                }
            };
            let length = usize::try_from(length).map_err(|_| Refusal::Broken)?;
            let (content, rest) = message.split_at_checked(length).ok_or(Refusal::Broken)?;
            message = rest;
            if wire != WireType::LengthDelimited {
                continue;
            }
            match field {
                Field::Message(_) if depth == DEPTH => return Err(Refusal::TooMuch),
                Field::Message(inner) => {
                    self.add(inner.size())?;
                    self.walk(content, inner, depth + 1)?;
                }
                Field::Text => self.add(size_of::<String>() + length)?,
                Field::Slice => self.add(size_of::<Bytes>())?,
                Field::Numbers => self.add_numbers(content.iter().filter(|&&b| b < 0x80).count()),
                Field::Plain => {}
            }
        }
        Ok(())
    }

    /// The most memory that decoding may take: lists grow by doubling, from four elements on, and
    /// an error notes every message it passes.
    fn bound(&self, file: &[u8]) -> u64 {
        4 * (self.memory + 8 * self.numbers + file.len() as u64) + (64 << 10)
    }
}

/// How the scan refuses this file where so many entries are allowed.
fn refused(file: &[u8], entries: u64) -> Option<ErrorKind> {
    let limits = LoadLimits { proto_messages: entries, ..LoadLimits::default() };
    wire::scan(file, &limits).err().map(|error| error.kind())
}

fn model(file: &[u8]) {
    let mut count = Count::of(file);
    let counted = count.walk(file, Kind::Model, 0);
    let verdict = refused(file, u64::MAX);
    match counted {
        Ok(()) => {
            assert_eq!(verdict, None);
            assert_eq!(refused(file, count.entries), None);
            if let Some(fewer) = count.entries.checked_sub(1) {
                assert_eq!(refused(file, fewer), Some(ErrorKind::LimitExceeded));
            }
            let bytes = Bytes::copy_from_slice(file);
            let (decoded, peak) = heap::peak(|| ModelProto::decode(bytes));
            let bound = count.bound(file);
            assert!(peak as u64 <= bound, "{peak} bytes, more than {bound}: {:?}", decoded.err());
        }
        Err(Refusal::TooMuch) => assert_eq!(verdict, Some(ErrorKind::LimitExceeded)),
        Err(Refusal::Group) => assert_eq!(verdict, Some(ErrorKind::InvalidModel)),
        Err(Refusal::Broken) => {
            assert_eq!(verdict, Some(ErrorKind::InvalidModel));
            // Behind a length that is too long the decoder goes on, as deep as the bytes reach.
            assert!(file.len() > 4096 || ModelProto::decode(file).is_err());
        }
    }
}

fn wrapped(field: u64, content: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    encode_varint(field << 3 | 2, &mut message);
    encode_varint(content.len() as u64, &mut message);
    message.extend_from_slice(content);
    message
}

/// Attributes are decoded by a loop of their own: it finds what the decoder finds.
fn attribute(bytes: &[u8]) {
    let node = wrapped(5, bytes);
    if refused(&wrapped(7, &wrapped(1, &node)), u64::MAX).is_some() {
        return;
    }
    let plain = AttributeProto::decode(bytes).ok().map(|a| a.encode_to_vec());
    let ours = NodeProto::decode(Bytes::from(node)).ok();
    let ours = ours.and_then(|node| node.attribute.first().map(|a| a.encode_to_vec()));
    assert_eq!(ours, plain);
}

fuzz_target!(|file: &[u8]| {
    model(file);
    attribute(file);
});
