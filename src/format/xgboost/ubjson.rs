//! Universal Binary JSON (draft 12), as a serde deserializer.
//!
//! Every length is compared with the bytes that are left before anything is taken for it, and
//! nothing of no size can be counted: a file cannot cost more memory than a factor of its size.

use super::text::{DEPTH, Fault, fault};
use serde::de::value::{
    BorrowedStrDeserializer, F32Deserializer, F64Deserializer, I64Deserializer,
};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// A cursor over a document.
pub(super) struct Ubjson<'de> {
    /// What is left.
    rest: &'de [u8],
    length: usize,
    depth: usize,
}

impl<'de> Ubjson<'de> {
    /// Starts at the first byte.
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Ubjson { rest: bytes, length: bytes.len(), depth: 0 }
    }

    /// The document's value.
    pub(super) fn value(&mut self) -> Result<Value<'_, 'de>, Fault> {
        let marker = self.marker()?;
        Ok(Value { from: self, marker })
    }

    /// Refuses bytes after the document.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong("the end of the file")) }
    }

    fn wrong(&self, expected: &str) -> Fault {
        let at = self.length.saturating_sub(self.rest.len());
        fault(format_args!("byte {at}: expected {expected}"))
    }

    fn take(&mut self, bytes: usize) -> Result<&'de [u8], Fault> {
        match self.rest.split_at_checked(bytes) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(self.wrong(&format!("{bytes} more bytes"))),
        }
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(self.wrong(&format!("{N} more bytes"))),
        }
    }

    /// The next marker; no-ops are stepped over.
    #[inline]
    fn marker(&mut self) -> Result<u8, Fault> {
        loop {
            let [marker] = self.fixed()?;
            if marker != b'N' {
                return Ok(marker);
            }
        }
    }

    /// An integer whose marker has been read, or `None` where that is no integer's.
    #[inline]
    fn integer(&mut self, marker: u8) -> Result<Option<i64>, Fault> {
        Ok(Some(match marker {
            b'i' => i8::from_be_bytes(self.fixed()?).into(),
            b'U' => u8::from_be_bytes(self.fixed()?).into(),
            b'I' => i16::from_be_bytes(self.fixed()?).into(),
            b'l' => i32::from_be_bytes(self.fixed()?).into(),
            b'L' => i64::from_be_bytes(self.fixed()?),
            _ => return Ok(None),
        }))
    }

    /// A length whose marker has been read, of things of at least one byte each.
    fn length(&mut self, marker: u8) -> Result<usize, Fault> {
        let length = self.integer(marker)?.and_then(|n| usize::try_from(n).ok());
        let length = length.ok_or_else(|| self.wrong("a length before it"))?;
        if length > self.rest.len() {
            let (left, at) = (self.rest.len(), self.length.saturating_sub(self.rest.len()));
            return Err(fault(format_args!(
                "byte {at}: a length of {length} with {left} bytes left"
            )));
        }
        Ok(length)
    }

    /// A string; the marker of its length has been read.
    fn string(&mut self, marker: u8) -> Result<&'de str, Fault> {
        let length = self.length(marker)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.wrong("a string in UTF-8 before it"))
    }

    /// Steps into a list or object, whose opening bracket has been read.
    fn enter(&mut self, close: u8) -> Result<Inside<'_, 'de>, Fault> {
        if self.depth >= DEPTH {
            return Err(fault(format_args!("nested deeper than {DEPTH}")));
        }
        self.depth = self.depth.saturating_add(1);
        let mut inside = Inside { from: self, close, element: None, left: None, done: false };
        if inside.from.rest.first() == Some(&b'$') {
            let [_, element] = inside.from.fixed()?;
            // Elements without bytes (true, null) would make a length cost nothing. A string has
            // at least its length.
            let size = width(element).or((element == b'S').then_some(2));
            let size =
                size.ok_or_else(|| inside.from.wrong("a type of numbers or strings before it"))?;
            inside.element = Some(element);
            if inside.from.rest.first() != Some(&b'#') {
                return Err(inside.from.wrong("a length after the type"));
            }
            let left = inside.length()?;
            if left.checked_mul(size).is_none_or(|bytes| bytes > inside.from.rest.len()) {
                return Err(inside.from.wrong(&format!("{left} elements of {size} bytes")));
            }
        } else if inside.from.rest.first() == Some(&b'#') {
            inside.length()?;
        }
        Ok(inside)
    }
}

/// The bytes of a number or character.
fn width(marker: u8) -> Option<usize> {
    match marker {
        b'i' | b'U' | b'C' => Some(1),
        b'I' => Some(2),
        b'l' | b'd' => Some(4),
        b'L' | b'D' => Some(8),
        _ => None,
    }
}

/// A value whose marker has been read.
pub(super) struct Value<'a, 'de> {
    from: &'a mut Ubjson<'de>,
    marker: u8,
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value { from, marker } = self;
        match marker {
            b'Z' => visitor.visit_unit(),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'd' => visitor.visit_f32(f32::from_be_bytes(from.fixed()?)),
            b'D' => visitor.visit_f64(f64::from_be_bytes(from.fixed()?)),
            b'C' => {
                let [byte] = from.fixed()?;
                visitor.visit_char(byte.into())
            }
            b'S' => {
                let marker = from.marker()?;
                visitor.visit_borrowed_str(from.string(marker)?)
            }
            b'[' => {
                let mut inside = from.enter(b']')?;
                if let (Some(element), Some(left)) = (inside.element, inside.left)
                    && let Some(size) = width(element).filter(|_| element != b'C')
                {
                    let bytes = inside.from.take(left.saturating_mul(size))?;
                    inside.left = Some(0);
                    let value = packed(element, bytes, visitor)?;
                    inside.leave()?;
                    return Ok(value);
                }
                let value = visitor.visit_seq(&mut inside)?;
                inside.leave()?;
                Ok(value)
            }
            b'{' => {
                let mut inside = from.enter(b'}')?;
                let value = visitor.visit_map(&mut inside)?;
                inside.leave()?;
                Ok(value)
            }
            _ => match from.integer(marker)? {
                Some(integer) => visitor.visit_i64(integer),
                None => Err(from.wrong("a known type before it")),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.marker == b'Z' { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value { from, marker } = self;
        if marker != b'[' {
            return Value { from, marker }.deserialize_any(visitor);
        }
        let mut inside = from.enter(b']')?;
        inside.skip_numbers()?;
        let value = visitor.visit_seq(&mut inside)?;
        inside.leave()?;
        Ok(value)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// A list of numbers of one type, all of its bytes: nearly all of a file is such lists.
fn packed<'de, V: Visitor<'de>>(
    element: u8,
    bytes: &'de [u8],
    visitor: V,
) -> Result<V::Value, Fault> {
    type Int = I64Deserializer<Fault>;
    match element {
        b'd' => list(bytes, visitor, |b| F32Deserializer::new(f32::from_be_bytes(b))),
        b'D' => list(bytes, visitor, |b| F64Deserializer::new(f64::from_be_bytes(b))),
        b'i' => list(bytes, visitor, |b| Int::new(i8::from_be_bytes(b).into())),
        b'U' => list(bytes, visitor, |b| Int::new(u8::from_be_bytes(b).into())),
        b'I' => list(bytes, visitor, |b| Int::new(i16::from_be_bytes(b).into())),
        b'l' => list(bytes, visitor, |b| Int::new(i32::from_be_bytes(b).into())),
        _ => list(bytes, visitor, |b| Int::new(i64::from_be_bytes(b))),
    }
}

fn list<'de, V: Visitor<'de>, D: Deserializer<'de, Error = Fault>, const N: usize>(
    bytes: &'de [u8],
    visitor: V,
    element: impl Fn([u8; N]) -> D,
) -> Result<V::Value, Fault> {
    let mut numbers = Numbers { left: bytes.as_chunks::<N>().0, element };
    let value = visitor.visit_seq(&mut numbers)?;
    match numbers.left {
        [] => Ok(value),
        _ => Err(fault("a list is longer than expected")),
    }
}

/// The numbers of a list.
struct Numbers<'de, const N: usize, F> {
    left: &'de [[u8; N]],
    element: F,
}

impl<'de, const N: usize, D: Deserializer<'de, Error = Fault>, F: Fn([u8; N]) -> D> SeqAccess<'de>
    for &mut Numbers<'de, N, F>
{
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((&first, rest)) = self.left.split_first() else { return Ok(None) };
        self.left = rest;
        seed.deserialize((self.element)(first)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// The inside of a list or object.
struct Inside<'a, 'de> {
    from: &'a mut Ubjson<'de>,
    close: u8,
    /// The marker of all elements, where they share one.
    element: Option<u8>,
    /// How many elements are left, where the file says so; there is no closing bracket then.
    left: Option<usize>,
    done: bool,
}

impl<'a, 'de> Inside<'a, 'de> {
    /// Reads `#` and the number of elements.
    fn length(&mut self) -> Result<usize, Fault> {
        let [_] = self.from.fixed()?;
        let marker = self.from.marker()?;
        let left = self.from.length(marker)?;
        self.left = Some(left);
        Ok(left)
    }

    /// Steps over all elements at once, where they share a type of numbers.
    fn skip_numbers(&mut self) -> Result<(), Fault> {
        if let (Some(size), Some(left)) = (self.element.and_then(width), self.left) {
            self.from.take(left.saturating_mul(size))?;
            self.left = Some(0);
        }
        Ok(())
    }

    /// The first marker of the next element, if one comes.
    #[inline]
    fn more(&mut self, shared: Option<u8>) -> Result<Option<u8>, Fault> {
        match &mut self.left {
            Some(0) => {
                self.done = true;
                return Ok(None);
            }
            Some(left) => *left = left.saturating_sub(1),
            None => {}
        }
        let marker = match shared {
            Some(marker) => marker,
            None => self.from.marker()?,
        };
        if self.left.is_none() && marker == self.close {
            self.done = true;
            return Ok(None);
        }
        Ok(Some(marker))
    }

    /// Refuses a visitor that stopped before the end.
    fn leave(self) -> Result<(), Fault> {
        if !self.done && self.left != Some(0) {
            return Err(self.from.wrong("the end of a list or object"));
        }
        self.from.depth = self.from.depth.saturating_sub(1);
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Inside<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(marker) = self.more(self.element)? else { return Ok(None) };
        seed.deserialize(Value { from: self.from, marker }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left
    }
}

impl<'de> MapAccess<'de> for &mut Inside<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        // A key is a string without its marker.
        let Some(marker) = self.more(None)? else { return Ok(None) };
        let key = self.from.string(marker)?;
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let marker = match self.element {
            Some(marker) => marker,
            None => self.from.marker()?,
        };
        seed.deserialize(Value { from: self.from, marker })
    }
}
