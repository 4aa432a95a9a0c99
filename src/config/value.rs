//! Values with a way of writing of their own: times, sizes, version policies, labels.

use super::model::ClassList;
use super::policy::Label;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Which versions of a repository are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicyConfig {
    /// The newest so many.
    Latest(usize),
    /// Every version.
    All,
    /// These versions, ascending.
    Specific(Vec<u64>),
}

/// A text that is not printed with the rest of the configuration.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Token(String);

impl Token {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// How a time is written, for the schema.
pub(super) struct TimeText;
/// How a size is written, for the schema.
pub(super) struct SizeText;

const TIME: &str = "a time such as \"50ms\", \"2s\" or \"1m30s\", or a number of seconds";
const SIZE: &str = "a size such as \"64MiB\" or \"1GB\", or a number of bytes";
const POLICY: &str = "\"latest(n)\", \"all\", \"specific(7, 8)\" or a list of version numbers";
const CLASSES: &str = "a list of integers or a list of strings";

const TIME_UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
];

const SIZE_UNITS: [(&str, f64); 10] = [
    ("", 1.0),
    ("B", 1.0),
    ("kB", 1e3),
    ("KiB", 1024.0),
    ("MB", 1e6),
    ("MiB", 1_048_576.0),
    ("GB", 1e9),
    ("GiB", 1_073_741_824.0),
    ("TB", 1e12),
    ("TiB", 1_099_511_627_776.0),
];

/// Everything up to this is exact in a float, and far beyond any sensible time or size.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Splits `12.5msrest` into 12.5, `ms` and `rest`.
fn amount(text: &str) -> Option<(f64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    let number: f64 = number.parse().ok()?;
    let rest = rest.trim_start();
    let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(letters)?;
    Some((number, unit, rest.trim_start()))
}

fn parse_time(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0.0;
    loop {
        let (number, unit, after) = amount(rest)?;
        let (_, ns) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number * ns;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    (total <= MAX_EXACT).then(|| Duration::from_nanos(total.round() as u64))
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit, rest) = amount(text.trim())?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let total = number * bytes;
    (rest.is_empty() && total <= MAX_EXACT).then(|| total.round() as u64)
}

fn parse_policy(text: &str) -> Option<VersionPolicyConfig> {
    let text = text.trim();
    if text == "all" {
        return Some(VersionPolicyConfig::All);
    }
    if text == "latest" {
        return Some(VersionPolicyConfig::Latest(1));
    }
    let (word, arguments) = text.strip_suffix(')')?.split_once('(')?;
    match word.trim_end() {
        "latest" => {
            let n = arguments.trim().parse().ok().filter(|n| *n > 0)?;
            Some(VersionPolicyConfig::Latest(n))
        }
        "specific" => {
            let numbers = arguments.split(',').map(|n| n.trim().parse().ok());
            specific(numbers.collect::<Option<Vec<u64>>>()?)
        }
        _ => None,
    }
}

fn specific(mut versions: Vec<u64>) -> Option<VersionPolicyConfig> {
    versions.sort_unstable();
    versions.dedup();
    let fits = versions.iter().all(|v| (1..=i64::MAX as u64).contains(v));
    (fits && !versions.is_empty()).then_some(VersionPolicyConfig::Specific(versions))
}

/// A visitor that takes texts and numbers, and says what it wants.
struct Scalar<T> {
    expected: &'static str,
    text: fn(&str) -> Option<T>,
    number: fn(f64) -> Option<T>,
}

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<T, E> {
        (self.text)(v).ok_or_else(|| E::invalid_value(de::Unexpected::Str(v), &self))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<T, E> {
        (self.number)(v as f64).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(v), &self))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<T, E> {
        (self.number)(v as f64).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(v), &self))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<T, E> {
        (self.number)(v).ok_or_else(|| E::invalid_value(de::Unexpected::Float(v), &self))
    }
}

/// A time: `"50ms"`, or a number of seconds.
pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let number = |v: f64| {
        let ns = v * 1e9;
        (0.0..=MAX_EXACT).contains(&ns).then(|| Duration::from_nanos(ns.round() as u64))
    };
    from.deserialize_any(Scalar { expected: TIME, text: parse_time, number }).map(Some)
}

/// A size: `"64MiB"`, or a number of bytes.
pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let number = |v: f64| ((0.0..=MAX_EXACT).contains(&v) && v.fract() == 0.0).then_some(v as u64);
    from.deserialize_any(Scalar { expected: SIZE, text: parse_size, number }).map(Some)
}

impl<'de> Deserialize<'de> for VersionPolicyConfig {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Policy;
        impl<'de> Visitor<'de> for Policy {
            type Value = VersionPolicyConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(POLICY)
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
                parse_policy(v).ok_or_else(|| E::invalid_value(de::Unexpected::Str(v), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut versions = Vec::new();
                while let Some(version) = seq.next_element::<u64>()? {
                    versions.push(version);
                }
                let wrong = || de::Error::custom(format!("expected {POLICY} above 0"));
                specific(versions).ok_or_else(wrong)
            }
        }
        from.deserialize_any(Policy)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Label;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or a string")
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Label, E> {
                Ok(Label::Int(v))
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Label, E> {
                Ok(Label::Str(v.to_string()))
            }
        }
        from.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for ClassList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = ClassList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(CLASSES)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ClassList, A::Error> {
                let (mut ints, mut texts) = (Vec::new(), Vec::new());
                while let Some(label) = seq.next_element::<Label>()? {
                    match label {
                        Label::Int(v) => ints.push(v),
                        Label::Str(v) => texts.push(v),
                    }
                }
                match (ints.is_empty(), texts.is_empty()) {
                    (false, true) => Ok(ClassList::Int(ints)),
                    (_, false) if ints.is_empty() => Ok(ClassList::Str(texts)),
                    (true, _) => Err(de::Error::custom(format!("expected {CLASSES}, got []"))),
                    _ => Err(de::Error::custom(format!("expected {CLASSES}, got both"))),
                }
            }
        }
        from.deserialize_any(List)
    }
}

macro_rules! described {
    ($($type:ty, $name:literal => $schema:tt;)+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

described! {
    TimeText, "Time" => {
        "anyOf": [
            {"type": "string", "pattern": "^\\s*([0-9.]+\\s*(ns|us|µs|ms|s|m|h|d)\\s*)+$"},
            {"type": "number", "minimum": 0}
        ]
    };
    SizeText, "Size" => {
        "anyOf": [
            {"type": "string", "pattern": "^\\s*[0-9.]+\\s*([kKmMgGtT]?[iI]?[bB])?\\s*$"},
            {"type": "integer", "minimum": 0}
        ]
    };
    VersionPolicyConfig, "VersionPolicy" => {
        "anyOf": [
            {"type": "string", "pattern": "^\\s*(all|latest(\\s*\\([0-9\\s]+\\))?|specific\\s*\\([0-9,\\s]+\\))\\s*$"},
            {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1}
        ]
    };
    Label, "Label" => {"type": ["integer", "string"]};
    ClassList, "Classes" => {
        "anyOf": [
            {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 1}
        ]
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_written() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("50ms", Some(ms(50))),
            ("2s", Some(ms(2000))),
            ("1m", Some(ms(60_000))),
            ("1m30s", Some(ms(90_000))),
            (" 1 m 30 s ", Some(ms(90_000))),
            ("1.5s", Some(ms(1500))),
            ("250us", Some(Duration::from_micros(250))),
            ("250µs", Some(Duration::from_micros(250))),
            ("7ns", Some(Duration::from_nanos(7))),
            ("2h", Some(ms(7_200_000))),
            ("1d", Some(ms(86_400_000))),
            ("0s", Some(Duration::ZERO)),
            ("50", None),
            ("ms", None),
            ("", None),
            ("-1s", None),
            ("1e3s", None),
            ("1..2s", None),
            ("5 lightyears", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        for (text, expected) in [
            ("64MiB", Some(64 << 20)),
            ("64 mib", Some(64 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("1GB", Some(1_000_000_000)),
            ("12kB", Some(12_000)),
            ("12", Some(12)),
            ("12B", Some(12)),
            ("2TiB", Some(2 << 40)),
            ("12XB", None),
            ("MiB", None),
            ("-1MiB", None),
            ("1MiB 2MiB", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn version_policies_are_read_as_written() {
        use VersionPolicyConfig::{All, Latest, Specific};
        for (text, expected) in [
            ("latest(1)", Some(Latest(1))),
            ("latest", Some(Latest(1))),
            ("latest( 3 )", Some(Latest(3))),
            ("all", Some(All)),
            ("specific(8, 7,8)", Some(Specific(vec![7, 8]))),
            ("latest(0)", None),
            ("specific()", None),
            ("specific(0)", None),
            ("newest", None),
            ("latest(1", None),
        ] {
            assert_eq!(parse_policy(text), expected, "{text:?}");
        }
    }
}
