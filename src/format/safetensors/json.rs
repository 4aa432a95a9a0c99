//! JSON read strictly: every key is known, no key comes twice, and an error says where.

use crate::error::{Error, Result, bail, ensure, err};
use crate::limits::LoadLimits;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

/// Parses a document, refusing keys that come twice (parsers differ in which one wins).
pub(super) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str::<Passed<true>>(text).map_err(|e| err!(InvalidModel, "{e}"))?;
    serde_json::from_str(text).map_err(|e| err!(InvalidModel, "{e}"))
}

/// Any JSON, read to its end and not kept. Where `DISTINCT`, its objects have distinct keys.
pub(super) struct Passed<const DISTINCT: bool>;

impl<'de, const DISTINCT: bool> Deserialize<'de> for Passed<DISTINCT> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Passed)
    }
}

impl<'de, const DISTINCT: bool> Visitor<'de> for Passed<DISTINCT> {
    type Value = Self;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Self>()?;
            if DISTINCT && let Some(key) = seen.replace(key) {
                let message = format_args!("key \"{key}\" comes twice");
                return Err(serde::de::Error::custom(message));
            }
        }
        Ok(self)
    }
}

/// A value and where it stands in the document (`$.layers[2].in`).
#[derive(Debug, Clone)]
pub(super) struct At<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> At<'a> {
    /// The document itself.
    pub(super) fn root(value: &'a Value) -> At<'a> {
        At { path: "$".into(), value }
    }

    /// An error of kind `InvalidModel` at this place.
    pub(super) fn error(&self, message: impl fmt::Display) -> Error {
        err!(InvalidModel, "{}: {message}", self.path)
    }

    /// Where this is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn wrong(&self, expected: &str) -> Error {
        let got = match self.value {
            Value::Null => "null".to_string(),
            Value::Bool(b) => b.to_string(),
            Value::Number(n) => n.to_string(),
            Value::String(s) => format!("\"{}\"", s.chars().take(40).collect::<String>()),
            Value::Array(_) => "a list".into(),
            Value::Object(_) => "an object".into(),
        };
        self.error(format_args!("expected {expected}, got {got}"))
    }

    pub(super) fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    /// A name: not empty, and no longer than the limits allow.
    pub(super) fn name(&self, limits: &LoadLimits) -> Result<String> {
        let name = self.text()?;
        ensure!(!name.is_empty(), InvalidModel, "{}: the name is empty", self.path);
        ensure!(
            name.len() <= limits.name_bytes,
            LimitExceeded,
            "{}: a name of {} bytes, at most {} are allowed",
            self.path,
            name.len(),
            limits.name_bytes
        );
        Ok(name.to_string())
    }

    /// A text that must be one of these.
    pub(super) fn one_of(&self, known: &[&'static str]) -> Result<&'static str> {
        let text = self.text()?;
        known.iter().copied().find(|k| *k == text).ok_or_else(|| {
            self.error(format_args!("\"{text}\", expected one of {}", known.join(", ")))
        })
    }

    pub(super) fn flag(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    pub(super) fn integer(&self) -> Result<i64> {
        self.value.as_i64().ok_or_else(|| self.wrong("an integer"))
    }

    pub(super) fn size(&self) -> Result<usize> {
        let size = self.value.as_u64().and_then(|n| usize::try_from(n).ok());
        size.ok_or_else(|| self.wrong("a non-negative integer"))
    }

    pub(super) fn number(&self) -> Result<f64> {
        self.value.as_f64().ok_or_else(|| self.wrong("a number"))
    }

    /// A number that is finite in single precision.
    pub(super) fn single(&self) -> Result<f32> {
        let value = self.number()? as f32;
        ensure!(value.is_finite(), InvalidModel, "{}: {value} is not finite", self.path);
        Ok(value)
    }

    pub(super) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.is_string()
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    pub(super) fn list(&self) -> Result<Vec<At<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let at = |(i, value)| At { path: format!("{}[{i}]", self.path), value };
        Ok(items.iter().enumerate().map(at).collect())
    }

    /// An object of strings by name.
    pub(super) fn texts(&self) -> Result<Vec<(&'a str, &'a str)>> {
        let map = self.value.as_object().ok_or_else(|| self.wrong("an object"))?;
        let text = |(key, value): (&'a String, &'a Value)| match value.as_str() {
            Some(text) => Ok((key.as_str(), text)),
            None => Err(self.error(format_args!("'{key}' is no string"))),
        };
        map.iter().map(text).collect()
    }

    pub(super) fn object(&self) -> Result<Object<'a>> {
        let map = self.value.as_object().ok_or_else(|| self.wrong("an object"))?;
        Ok(Object { path: self.path.clone(), map, asked: RefCell::default() })
    }
}

/// An object that remembers which keys were asked for.
#[derive(Debug)]
pub(super) struct Object<'a> {
    path: String,
    map: &'a Map<String, Value>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Object<'a> {
    /// The value of `key`, or `None` where the key is absent.
    pub(super) fn get(&self, key: &'static str) -> Option<At<'a>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        let value = self.map.get(key)?;
        Some(At { path: format!("{}.{key}", self.path), value })
    }

    /// The value of `key`.
    pub(super) fn need(&self, key: &'static str) -> Result<At<'a>> {
        match self.get(key) {
            Some(at) => Ok(at),
            None => bail!(InvalidModel, "{}: key \"{key}\" is missing", self.path),
        }
    }

    /// The size at `key`.
    pub(super) fn size(&self, key: &'static str) -> Result<usize> {
        self.need(key)?.size()
    }

    /// The size at `key`, or its default.
    pub(super) fn size_or(&self, key: &'static str, default: usize) -> Result<usize> {
        self.get(key).map_or(Ok(default), |at| at.size())
    }

    /// The text at `key`, which must be one of these, or the first of them.
    pub(super) fn one_of(&self, key: &'static str, known: &[&'static str]) -> Result<&'static str> {
        let first = known.first().copied().unwrap_or_default();
        self.get(key).map_or(Ok(first), |at| at.one_of(known))
    }

    /// The flag at `key`, or its default.
    pub(super) fn flag_or(&self, key: &'static str, default: bool) -> Result<bool> {
        self.get(key).map_or(Ok(default), |at| at.flag())
    }

    /// The integer at `key`, or its default.
    pub(super) fn integer_or(&self, key: &'static str, default: i64) -> Result<i64> {
        self.get(key).map_or(Ok(default), |at| at.integer())
    }

    /// The finite single-precision number at `key`, or its default.
    pub(super) fn float_or(&self, key: &'static str, default: f32) -> Result<f32> {
        self.get(key).map_or(Ok(default), |at| at.single())
    }

    /// Whether there are no keys.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Refuses keys that nobody asked for. Called once every known key was asked for.
    pub(super) fn finish(&self) -> Result<()> {
        let asked = self.asked.borrow();
        for key in self.map.keys() {
            if !asked.contains(&key.as_str()) {
                bail!(
                    InvalidModel,
                    "{}.{key}: unknown key; known here: {}",
                    self.path,
                    asked.join(", ")
                );
            }
        }
        Ok(())
    }
}
