//! The JSON that XGBoost writes, as a serde deserializer.
//!
//! A reader of its own for two reasons: XGBoost writes `NaN` and `Infinity` bare where a float has
//! no decimal form, and its floats are single precision: each is parsed straight to `f32`, because
//! a detour through `f64` rounds twice.

use super::text::{DEPTH, Fault, fault};
use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;

/// A cursor over a document.
pub(super) struct Json<'de> {
    bytes: &'de [u8],
    at: usize,
    depth: usize,
}

impl<'de> Json<'de> {
    /// Starts at the first byte.
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Json { bytes, at: 0, depth: 0 }
    }

    /// Refuses anything but white space after the document.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self.next_visible() {
            None => Ok(()),
            Some(_) => Err(self.wrong("the end of the file")),
        }
    }

    fn wrong(&self, expected: &str) -> Fault {
        fault(format_args!("byte {}: expected {expected}", self.at))
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Steps over one byte that is there, so that `at` does not pass the length.
    #[inline]
    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    /// The next byte that is not white space; the cursor stands on it.
    #[inline]
    fn next_visible(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.step();
        }
        self.peek()
    }

    /// Steps over `word` if it comes next.
    fn take(&mut self, word: &[u8]) -> bool {
        let found = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if found {
            self.at = self.at.saturating_add(word.len());
        }
        found
    }

    fn expect(&mut self, byte: u8, name: &str) -> Result<(), Fault> {
        if self.next_visible() != Some(byte) {
            return Err(self.wrong(name));
        }
        self.step();
        Ok(())
    }

    /// The characters of a number.
    fn number(&mut self) -> Result<&'de str, Fault> {
        self.next_visible();
        let start = self.at;
        while let Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') = self.peek() {
            self.step();
        }
        if let Some(b'I' | b'N') = self.peek() {
            return self.not_finite(start);
        }
        let token = self.bytes.get(start..self.at).unwrap_or_default();
        match std::str::from_utf8(token) {
            Ok(token) if !token.is_empty() => Ok(token),
            _ => Err(self.wrong("a value")),
        }
    }

    /// What JSON itself has no words for; a sign has been read.
    fn not_finite(&mut self, start: usize) -> Result<&'static str, Fault> {
        let sign = self.bytes.get(start..self.at).unwrap_or_default();
        match sign {
            b"" if self.take(b"NaN") => Ok("nan"),
            b"" | b"+" if self.take(b"Infinity") => Ok("inf"),
            b"-" if self.take(b"Infinity") => Ok("-inf"),
            _ => Err(self.wrong("a value")),
        }
    }

    fn parse<T: std::str::FromStr>(&self, token: &str) -> Result<T, Fault> {
        token.parse().map_err(|_| self.wrong("a number"))
    }

    /// The characters of a string, whose opening quote comes next.
    fn string(&mut self) -> Result<Cow<'de, str>, Fault> {
        self.expect(b'"', "a string")?;
        let mut owned: Option<Vec<u8>> = None;
        let mut start = self.at;
        loop {
            match self.peek() {
                None => return Err(self.wrong("the end of a string")),
                Some(b'"') => break,
                Some(b'\\') => {
                    let plain = self.bytes.get(start..self.at).unwrap_or_default();
                    let text = owned.get_or_insert_default();
                    text.extend_from_slice(plain);
                    self.step();
                    let c = self.escape()?;
                    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    start = self.at;
                }
                Some(_) => self.step(),
            }
        }
        let plain = self.bytes.get(start..self.at).unwrap_or_default();
        let text = match owned {
            None => std::str::from_utf8(plain).ok().map(Cow::Borrowed),
            Some(mut text) => {
                text.extend_from_slice(plain);
                String::from_utf8(text).ok().map(Cow::Owned)
            }
        };
        let text = text.ok_or_else(|| self.wrong("a string in UTF-8 before it"))?;
        self.step();
        Ok(text)
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let byte = self.peek();
        if byte.is_some() {
            self.step();
        }
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex()?;
                let mut units = vec![first];
                if (0xd800..0xdc00).contains(&first) && self.take(b"\\u") {
                    units.push(self.hex()?);
                }
                let mut chars = char::decode_utf16(units);
                match (chars.next(), chars.next()) {
                    (Some(Ok(c)), None) => c,
                    _ => return Err(self.wrong("a pair of surrogates before it")),
                }
            }
            _ => return Err(self.wrong("an escape before it")),
        })
    }

    fn hex(&mut self) -> Result<u16, Fault> {
        let end = self.at.saturating_add(4);
        let digits = self.bytes.get(self.at..end).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|d| std::str::from_utf8(d).ok());
        let unit = digits.and_then(|d| u16::from_str_radix(d, 16).ok());
        let unit = unit.ok_or_else(|| self.wrong("four hexadecimal digits"))?;
        self.at = end;
        Ok(unit)
    }

    /// Steps into a list or object.
    fn enter(&mut self) -> Result<Inside<'_, 'de>, Fault> {
        if self.depth >= DEPTH {
            return Err(fault(format_args!("byte {}: nested deeper than {DEPTH}", self.at)));
        }
        self.depth = self.depth.saturating_add(1);
        self.step();
        Ok(Inside { json: self, first: true, done: false })
    }
}

impl<'de> Deserializer<'de> for &mut Json<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.next_visible() {
            Some(b'{') => {
                let mut inside = self.enter()?;
                let value = visitor.visit_map(&mut inside)?;
                inside.leave()?;
                Ok(value)
            }
            Some(b'[') => {
                let mut inside = self.enter()?;
                let value = visitor.visit_seq(&mut inside)?;
                inside.leave()?;
                Ok(value)
            }
            Some(b'"') => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Some(b't') if self.take(b"true") => visitor.visit_bool(true),
            Some(b'f') if self.take(b"false") => visitor.visit_bool(false),
            Some(b'n') if self.take(b"null") => visitor.visit_unit(),
            _ => {
                let token = self.number()?;
                match token.parse::<i64>() {
                    Ok(integer) => visitor.visit_i64(integer),
                    Err(_) => visitor.visit_f64(self.parse(token)?),
                }
            }
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let token = self.number()?;
        visitor.visit_f32(self.parse(token)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.next_visible();
        if self.take(b"null") { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The inside of a list or object.
struct Inside<'a, 'de> {
    json: &'a mut Json<'de>,
    first: bool,
    done: bool,
}

impl Inside<'_, '_> {
    /// Whether another element comes; steps over the comma before it or the bracket at the end.
    fn more(&mut self, close: u8) -> Result<bool, Fault> {
        let next = self.json.next_visible();
        if next == Some(close) {
            self.json.step();
            self.done = true;
            return Ok(false);
        }
        if !std::mem::take(&mut self.first) {
            self.json.expect(b',', "a comma or the closing bracket")?;
        }
        Ok(true)
    }

    /// Refuses a visitor that stopped before the closing bracket.
    fn leave(self) -> Result<(), Fault> {
        if !self.done {
            return Err(self.json.wrong("the closing bracket"));
        }
        self.json.depth = self.json.depth.saturating_sub(1);
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Inside<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        if !self.more(b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.json).map(Some)
    }
}

impl<'de> MapAccess<'de> for &mut Inside<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        if !self.more(b'}')? {
            return Ok(None);
        }
        let key = match self.json.string()? {
            Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
            Cow::Owned(key) => seed.deserialize(StringDeserializer::new(key)),
        };
        self.json.expect(b':', "a colon")?;
        key.map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(&mut *self.json)
    }
}
