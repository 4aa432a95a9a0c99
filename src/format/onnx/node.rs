//! `NodeProto`, whose attributes hold whole forests: lists of millions of numbers, each with a tag
//! of its own. The decoder would go through all its fields for each of them; here a run of one
//! list's elements is read in one loop.

use super::proto::AttributeProto;
use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, message, string};
use prost::{DecodeError, Message};

/// `NodeProto` of `onnx.proto3`.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)] // the ONNX standard documents them
pub struct NodeProto {
    pub input: Vec<String>,
    pub output: Vec<String>,
    pub name: String,
    pub op_type: String,
    pub attribute: Vec<AttributeProto>,
    pub domain: String,
    pub overload: String,
}

impl NodeProto {
    /// The strings that are no lists, with their field numbers.
    fn names(&self) -> [(u32, &String); 4] {
        [(3, &self.name), (4, &self.op_type), (7, &self.domain), (8, &self.overload)]
    }
}

impl Message for NodeProto {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        string::encode_repeated(1, &self.input, buf);
        string::encode_repeated(2, &self.output, buf);
        message::encode_repeated(5, &self.attribute, buf);
        for (tag, name) in self.names() {
            if !name.is_empty() {
                string::encode(tag, name, buf);
            }
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => string::merge_repeated(wire_type, &mut self.input, buf, ctx),
            2 => string::merge_repeated(wire_type, &mut self.output, buf, ctx),
            3 => string::merge(wire_type, &mut self.name, buf, ctx),
            4 => string::merge(wire_type, &mut self.op_type, buf, ctx),
            5 if wire_type == WireType::LengthDelimited => {
                let length = decode_varint(buf)?;
                match usize::try_from(length).ok().filter(|&n| n <= buf.remaining()) {
                    Some(length) => {
                        self.attribute.push(attribute(buf.copy_to_bytes(length))?);
                        Ok(())
                    }
                    // The scan of the file has refused it; the decoder knows the words.
                    None => string::merge(wire_type, &mut String::new(), &mut &[0x7f][..], ctx),
                }
            }
            5 => message::merge_repeated(wire_type, &mut self.attribute, buf, ctx),
            7 => string::merge(wire_type, &mut self.domain, buf, ctx),
            8 => string::merge(wire_type, &mut self.overload, buf, ctx),
            _ => prost::encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let names = self.names().into_iter().filter(|(_, name)| !name.is_empty());
        string::encoded_len_repeated(1, &self.input)
            + string::encoded_len_repeated(2, &self.output)
            + message::encoded_len_repeated(5, &self.attribute)
            + names.map(|(tag, name)| string::encoded_len(tag, name)).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = NodeProto::default();
    }
}

/// The first bytes of the elements of lists: field number and wire type.
const FLOAT: u8 = 7 << 3 | 5;
const INT: u8 = 8 << 3;
const STRING: u8 = 9 << 3 | 2;

/// One attribute. The scan of the file has bounded how deep its graphs nest.
fn attribute(mut bytes: Bytes) -> Result<AttributeProto, DecodeError> {
    let mut attribute = AttributeProto::default();
    while let Some(&first) = bytes.first() {
        let read = match first {
            FLOAT => floats(&bytes, &mut attribute.floats),
            INT => ints(&bytes, &mut attribute.ints),
            STRING => strings(&bytes, &mut attribute.strings),
            _ => 0,
        };
        bytes.advance(read);
        if read == 0 {
            // Another field, or an element that is broken.
            let (tag, wire_type) = decode_key(&mut bytes)?;
            attribute.merge_field(tag, wire_type, &mut bytes, DecodeContext::default())?;
        }
    }
    Ok(attribute)
}

/// Reads floats while they come; answers how many bytes they took.
fn floats(bytes: &[u8], out: &mut Vec<f32>) -> usize {
    let elements = bytes.as_chunks::<5>().0;
    let run = elements.iter().take_while(|e| e[0] == FLOAT).count();
    out.extend(elements[..run].iter().map(|&[_, a, b, c, d]| f32::from_le_bytes([a, b, c, d])));
    run * 5
}

/// Reads integers while they come; answers how many bytes they took.
fn ints(bytes: &[u8], out: &mut Vec<i64>) -> usize {
    let mut at = 0;
    while let [INT, rest @ ..] = &bytes[at..] {
        let Some((value, length)) = varint(rest) else { break };
        out.push(value.cast_signed());
        at += 1 + length;
    }
    at
}

/// Reads byte strings while they come; answers how many bytes they took.
fn strings(bytes: &Bytes, out: &mut Vec<Bytes>) -> usize {
    let mut at = 0;
    while let [STRING, rest @ ..] = &bytes[at..] {
        let Some((length, prefix)) = varint(rest) else { break };
        let start = at + 1 + prefix;
        let length = usize::try_from(length).ok().filter(|&n| n <= bytes.len() - start);
        let Some(length) = length else { break };
        out.push(bytes.slice(start..start + length));
        at = start + length;
    }
    at
}

/// The number of variable length that begins here, and how many bytes it takes.
#[inline]
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        let low = u64::from(byte & 0x7f);
        if i == 9 && low > 1 {
            return None;
        }
        value |= low << (7 * i);
        if byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the decoder itself makes of the same bytes.
    fn plainly(bytes: &[u8]) -> Result<AttributeProto, DecodeError> {
        AttributeProto::decode(bytes)
    }

    #[test]
    fn runs_are_read_as_the_decoder_reads_them() {
        let mut all = AttributeProto {
            name: "a".into(),
            r#type: 7,
            floats: vec![1.5, f32::INFINITY, -0.0],
            strings: vec![Bytes::from_static(b"LEAF"), Bytes::new(), Bytes::from(vec![b'x'; 200])],
            ..AttributeProto::default()
        };
        let mut bytes = all.encode_to_vec();
        // Without packing, as the files have them.
        for v in [0i64, 1, 127, 128, 300, i64::MAX, i64::MIN, -1] {
            bytes.push(INT);
            prost::encoding::encode_varint(v.cast_unsigned(), &mut bytes);
            all.ints.push(v);
        }
        for f in [2.5f32, -3.0] {
            bytes.push(FLOAT);
            bytes.extend(f.to_le_bytes());
            all.floats.push(f);
        }
        assert_eq!(plainly(&bytes).unwrap(), all);
        assert_eq!(attribute(bytes.clone().into()).unwrap(), all);
        // Cut anywhere, both read the same or refuse it.
        for end in 0..bytes.len() {
            let cut = &bytes[..end];
            let ours = attribute(Bytes::copy_from_slice(cut)).ok();
            assert_eq!(ours, plainly(cut).ok(), "the first {end} bytes");
        }
    }

    #[test]
    fn a_node_is_encoded_and_decoded() {
        let node = NodeProto {
            input: vec!["x".into(), String::new()],
            output: vec!["y".into()],
            name: "n".into(),
            op_type: "Op".into(),
            attribute: vec![AttributeProto { ints: vec![1, 2], ..AttributeProto::default() }; 2],
            domain: "d".into(),
            overload: "o".into(),
        };
        let bytes = node.encode_to_vec();
        assert_eq!(bytes.len(), node.encoded_len());
        assert_eq!(NodeProto::decode(&*bytes).unwrap(), node);
        assert!(NodeProto::decode(&[0x2a, 5, 0][..]).is_err(), "an attribute cut short");
    }
}
