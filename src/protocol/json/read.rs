//! Reading JSON piece by piece, within limits.

use super::super::fault::{Dialect, Fault, Outcome};
use crate::error::ErrorKind;
use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

/// Deepest nesting that any option allows: each level is a frame of the stack.
const DEEPEST: usize = 256;
/// Bytes of a JSON value that an error quotes.
const QUOTED: usize = 256;

/// What a text may hold.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Limits {
    pub depth: usize,
    pub string_bytes: usize,
    pub rows: usize,
}

/// What a value is, told from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A key as `name` knows it, unless it is longer than a string may be.
fn named<K>(key: &str, most: usize, name: impl FnOnce(&str) -> K) -> Outcome<K> {
    if key.len() > most {
        let message = format!("a key of {} bytes (at most {most})", key.len());
        return Err(Fault::own(ErrorKind::LimitExceeded, message));
    }
    Ok(name(key))
}

/// What the value that begins so is; `None` where no value does.
fn kind(peek: Peek) -> Option<Kind> {
    Some(match peek {
        Peek::Null => Kind::Null,
        Peek::True | Peek::False => Kind::Bool,
        Peek::String => Kind::String,
        Peek::Array => Kind::Array,
        Peek::Object => Kind::Object,
        number if number.is_num() => Kind::Number,
        _ => return None,
    })
}

/// A place in a JSON text. Whoever reads takes one piece after another; nothing is kept.
pub(in super::super) struct Reader<'j> {
    jiter: Jiter<'j>,
    data: &'j [u8],
    pub(in super::super) dialect: Dialect,
    pub(in super::super) limits: Limits,
}

impl<'j> Reader<'j> {
    pub(in super::super) fn new(data: &'j [u8], dialect: Dialect, limits: Limits) -> Reader<'j> {
        let limits = Limits { depth: limits.depth.min(DEEPEST), ..limits };
        Reader { jiter: Jiter::new(data).with_allow_inf_nan(), data, dialect, limits }
    }

    /// Another reader at the same place, to look ahead or to come back.
    pub(in super::super) fn fork(&self) -> Reader<'j> {
        Reader {
            jiter: self.jiter.clone(),
            data: self.data,
            dialect: self.dialect,
            limits: self.limits,
        }
    }

    /// Where it stands, in bytes.
    pub(in super::super) fn offset(&self) -> usize {
        self.jiter.current_index()
    }

    fn wrong(&self, error: &JiterError) -> Fault {
        let what = match &error.error_type {
            JiterErrorType::JsonError(what) => rapid(what),
            JiterErrorType::WrongType { .. } => "Invalid value.",
        };
        self.dialect.syntax(what, error.index)
    }

    fn check<T>(&self, result: Result<T, JiterError>) -> Outcome<T> {
        result.map_err(|e| self.wrong(&e))
    }

    pub(in super::super) fn peek(&mut self) -> Outcome<Peek> {
        let peek = self.jiter.peek();
        self.check(peek)
    }

    /// What the next value is.
    pub(in super::super) fn kind(&self, peek: Peek) -> Outcome<Kind> {
        kind(peek).ok_or_else(|| self.dialect.syntax("Invalid value.", self.offset()))
    }

    /// The first value of an array; `None` where it is empty.
    pub(in super::super) fn array(&mut self) -> Outcome<Option<Peek>> {
        let first = self.jiter.known_array();
        self.check(first)
    }

    /// The next value of an array; `None` at its end.
    pub(in super::super) fn step(&mut self) -> Outcome<Option<Peek>> {
        let next = self.jiter.array_step();
        self.check(next)
    }

    /// The first key of an object as `name` knows it; `None` where it is empty.
    pub(in super::super) fn object<K>(
        &mut self,
        name: impl FnOnce(&str) -> K,
    ) -> Outcome<Option<K>> {
        let most = self.limits.string_bytes;
        let key = self.jiter.known_object().map(|key| key.map(|key| named(key, most, name)));
        key.map_err(|e| self.wrong(&e))?.transpose()
    }

    /// The next key of an object as `name` knows it; `None` at its end.
    pub(in super::super) fn key<K>(&mut self, name: impl FnOnce(&str) -> K) -> Outcome<Option<K>> {
        let most = self.limits.string_bytes;
        let key = self.jiter.next_key().map(|key| key.map(|key| named(key, most, name)));
        key.map_err(|e| self.wrong(&e))?.transpose()
    }

    /// `null`, which the next value begins as.
    pub(in super::super) fn null(&mut self) -> Outcome<()> {
        let null = self.jiter.known_null();
        self.check(null)
    }

    pub(in super::super) fn bool(&mut self, peek: Peek) -> Outcome<bool> {
        let value = self.jiter.known_bool(peek);
        self.check(value)
    }

    /// A number as a double. One that no double can hold is refused, as RapidJSON does.
    pub(in super::super) fn float(&mut self, peek: Peek) -> Outcome<f64> {
        let start = self.offset();
        let value = self.jiter.known_float(peek);
        let value = self.check(value)?;
        if value.is_infinite() {
            let text = self.data.get(start..self.offset()).unwrap_or_default();
            if !text.contains(&b'I') {
                return Err(self.dialect.syntax("Number too big to be stored in double.", start));
            }
        }
        Ok(value)
    }

    /// A number as its text.
    pub(in super::super) fn number(&mut self, peek: Peek) -> Outcome<&'j str> {
        let start = self.offset();
        let length = self.jiter.known_number_bytes(peek).map(<[u8]>::len);
        let length = self.check(length)?;
        let text = self.data.get(start..start.saturating_add(length)).unwrap_or_default();
        Ok(std::str::from_utf8(text).unwrap_or_default())
    }

    /// A string as `read` wants it.
    pub(in super::super) fn text<T>(&mut self, read: impl FnOnce(&str) -> T) -> Outcome<T> {
        let most = self.limits.string_bytes;
        match self.jiter.known_str() {
            Ok(text) if text.len() > most => Err(Fault::own(
                ErrorKind::LimitExceeded,
                format!("a string of {} bytes (at most {most})", text.len()),
            )),
            Ok(text) => Ok(read(text)),
            Err(e) => Err(self.wrong(&e)),
        }
    }

    /// One level further in.
    pub(in super::super) fn enter(&self, depth: usize) -> Outcome<()> {
        if depth >= self.limits.depth {
            let most = self.limits.depth;
            let why = format!("JSON nested deeper than {most} levels at offset: {}", self.offset());
            return Err(Fault::own(ErrorKind::LimitExceeded, why));
        }
        Ok(())
    }

    /// Passes a value by, checking all of it.
    pub(in super::super) fn skip(&mut self, peek: Peek, depth: usize) -> Outcome<()> {
        match self.kind(peek)? {
            Kind::Null => self.null(),
            Kind::Bool => self.bool(peek).map(drop),
            Kind::Number => self.float(peek).map(drop),
            Kind::String => self.text(|_| ()),
            Kind::Array => {
                self.enter(depth)?;
                let mut next = self.array()?;
                while let Some(peek) = next {
                    self.skip(peek, depth + 1)?;
                    next = self.step()?;
                }
                Ok(())
            }
            Kind::Object => {
                self.enter(depth)?;
                let mut next = self.object(|_| ())?;
                while next.is_some() {
                    let peek = self.peek()?;
                    self.skip(peek, depth + 1)?;
                    next = self.key(|_| ())?;
                }
                Ok(())
            }
        }
    }

    /// Fails where anything but white space follows.
    pub(in super::super) fn finish(&mut self) -> Outcome<()> {
        let end = self.jiter.finish();
        self.check(end)
    }

    /// The text of the value that begins here, cut to what an error may quote.
    pub(in super::super) fn quote(&self, peek: Peek) -> String {
        let mut ahead = self.fork();
        let start = ahead.offset();
        // What is no value is quoted up to where it ceases to be one.
        let _ = ahead.skip(peek, 0);
        let text = self.data.get(start..ahead.offset().max(start)).unwrap_or_default();
        let mut end = text.len().min(QUOTED);
        while end > 0 && text.get(end).is_some_and(|b| b & 0xc0 == 0x80) {
            end -= 1;
        }
        String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned()
    }

    /// What the value is called in TensorFlow Serving's errors.
    pub(in super::super) fn type_name(peek: Peek) -> &'static str {
        match (kind(peek), peek) {
            (Some(Kind::Null), _) => "Null",
            (Some(Kind::Bool), Peek::True) => "True",
            (Some(Kind::Bool), _) => "False",
            (Some(Kind::Number), _) => "Number",
            (Some(Kind::String), _) => "String",
            (Some(Kind::Array), _) => "Array",
            (Some(Kind::Object), _) => "Object",
            (None, _) => "Invalid",
        }
    }
}

/// What is wrong with a text, in the words of RapidJSON, which both TensorFlow Serving and Triton
/// pass on.
fn rapid(what: &JsonErrorType) -> &'static str {
    match what {
        JsonErrorType::EofWhileParsingList | JsonErrorType::ExpectedListCommaOrEnd => {
            "Missing a comma or ] after an array element."
        }
        JsonErrorType::EofWhileParsingObject | JsonErrorType::ExpectedObjectCommaOrEnd => {
            "Missing a comma or } after an object member."
        }
        JsonErrorType::KeyMustBeAString => "Missing a name for object member.",
        JsonErrorType::ExpectedColon => "Missing a colon after a name of object member.",
        JsonErrorType::EofWhileParsingString => "Missing a closing quotation mark in string.",
        JsonErrorType::InvalidEscape => "Invalid escape character in string.",
        JsonErrorType::LoneLeadingSurrogateInHexEscape
        | JsonErrorType::UnexpectedEndOfHexEscape => "The surrogate pair in string is invalid.",
        JsonErrorType::InvalidUnicodeCodePoint
        | JsonErrorType::ControlCharacterWhileParsingString => "Invalid encoding in string.",
        JsonErrorType::NumberOutOfRange => "Number too big to be stored in double.",
        JsonErrorType::TrailingCharacters => {
            "The document root must not be followed by other values."
        }
        _ => "Invalid value.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(text: &[u8], depth: usize) -> Outcome<()> {
        let limits = Limits { depth, string_bytes: 10, rows: 10 };
        let mut reader = Reader::new(text, Dialect::TensorFlow, limits);
        let peek = reader.peek()?;
        reader.skip(peek, 0)
    }

    #[test]
    fn nesting_and_strings_are_bounded() {
        assert!(skip(br#"{"a": [1, NaN, -Infinity, true, null, "x", {}]}"#, 3).is_ok());
        let deep = "[".repeat(100_000);
        let fault = skip(deep.as_bytes(), usize::MAX).unwrap_err();
        assert_eq!(fault.kind(), ErrorKind::LimitExceeded);
        assert!(skip(b"[[1]]", 1).is_err());
        assert!(skip(br#""0123456789""#, 1).is_ok());
        assert!(skip(br#""0123456789x""#, 1).is_err());
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, says) in [
            ("[1, x]", "JSON Parse error: Invalid value. at offset: 4"),
            ("[1 2]", "JSON Parse error: Missing a comma or ] after an array element."),
            ("{\"a\" 1}", "JSON Parse error: Missing a colon after a name of object member."),
            ("{1: 2}", "JSON Parse error: Missing a name for object member."),
            ("1e999", "JSON Parse error: Number too big to be stored in double."),
            ("\"abc", "JSON Parse error: Missing a closing quotation mark in string."),
            ("nul", "JSON Parse error: "),
            ("", "JSON Parse error: "),
        ] {
            let fault = skip(text.as_bytes(), 8).unwrap_err();
            assert!(fault.message().starts_with(says), "{text}: {}", fault.message());
        }
        assert!(skip(b"\"\xff\"", 8).is_err());
        assert!(skip(b"Infinity", 8).is_ok());
    }
}
