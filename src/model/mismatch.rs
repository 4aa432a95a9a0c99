//! Where an answer is furthest from the one it should be: golden requests and replays.

use crate::tensor::{Data, Map, MapKey, Tensor, Value};
use std::fmt;

/// Where an answer is furthest from the expected one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Mismatch {
    /// The entry: `row 2: probability 1`, `output 'y'[3]`.
    pub what: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub got: String,
    /// How far it is off: for numbers the distance, infinite for anything else.
    pub difference: f64,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.what, self.expected, self.got)?;
        if self.difference.is_finite() {
            write!(f, " (off by {:e})", self.difference)?;
        }
        Ok(())
    }
}

/// Compares answers, and keeps the entry that is furthest off: one beyond the tolerance before
/// any other.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// How far a number may be off, absolutely or relative to the expected one.
    tolerance: f64,
    /// Whether an entry is beyond the tolerance.
    disagree: bool,
    /// The largest distance of two numbers; infinite where something else differs.
    furthest: f64,
    worst: Option<Mismatch>,
}

impl Comparison {
    pub(crate) fn new(tolerance: f64) -> Comparison {
        Comparison { tolerance, disagree: false, furthest: 0.0, worst: None }
    }

    /// Whether another label, text, shape or kind was found, or a number further off than the
    /// tolerance.
    pub(crate) fn disagrees(&self) -> bool {
        self.disagree
    }

    /// The largest distance of two numbers; infinite where something else differs.
    pub(crate) fn furthest(&self) -> f64 {
        self.furthest
    }

    /// The entry that is furthest off, be it within the tolerance.
    pub(crate) fn worst(self) -> Option<Mismatch> {
        self.worst
    }

    fn add(&mut self, difference: f64, beyond: bool, make: impl FnOnce() -> [String; 3]) {
        let before = self.worst.as_ref().map(|worst| (self.disagree, worst.difference));
        if before.is_none_or(|before| (beyond, difference) > before) {
            let [what, expected, got] = make();
            self.worst = Some(Mismatch { what, expected, got, difference });
        }
        self.disagree |= beyond;
        self.furthest = self.furthest.max(difference);
    }

    /// Something other than a number differs.
    pub(crate) fn unlike(
        &mut self,
        what: impl fmt::Display,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) {
        self.add(f64::INFINITY, true, || [what.to_string(), expected.to_string(), got.to_string()]);
    }

    pub(crate) fn number(&mut self, what: impl FnOnce() -> String, expected: f64, got: f64) {
        if expected == got || (expected.is_nan() && got.is_nan()) {
            return;
        }
        let make = || [what(), expected.to_string(), got.to_string()];
        // An infinite number is met by itself alone.
        if !expected.is_finite() || !got.is_finite() {
            return self.add(f64::INFINITY, true, make);
        }
        let distance = (expected - got).abs();
        let within = distance <= self.tolerance || distance <= self.tolerance * expected.abs();
        self.add(distance, !within, make);
    }

    pub(crate) fn numbers(
        &mut self,
        what: impl Fn(usize) -> String,
        expected: &[f64],
        got: &[f64],
    ) {
        if expected.len() != got.len() {
            return self.unlike(
                what(0),
                format_args!("{} values", expected.len()),
                format_args!("{} values", got.len()),
            );
        }
        for (i, (e, g)) in expected.iter().zip(got).enumerate() {
            self.number(|| what(i), *e, *g);
        }
    }

    /// Compares the outputs that are expected; others may be there.
    pub(crate) fn named(&mut self, expected: &[(String, Value)], got: &[(String, Value)]) {
        for (name, value) in expected {
            let what = format!("output '{name}'");
            match got.iter().find(|(n, _)| n == name) {
                Some((_, got)) => self.value(&what, value, got),
                None => self.unlike(what, "a value", "none"),
            }
        }
    }

    fn value(&mut self, what: &str, expected: &Value, got: &Value) {
        match (expected, got) {
            (Value::Tensor(e), Value::Tensor(g)) => self.tensor(what, e, g),
            (Value::Sequence(e), Value::Sequence(g)) if e.len() == g.len() => {
                for (i, (e, g)) in e.iter().zip(g).enumerate() {
                    self.value(&format!("{what}[{i}]"), e, g);
                }
            }
            (Value::Map(e), Value::Map(g)) if keys(e).eq(keys(g)) => {
                for ((key, e), (_, g)) in e.entries.iter().zip(&g.entries) {
                    self.value(&format!("{what}[{key:?}]"), e, g);
                }
            }
            (Value::Optional(Some(e)), Value::Optional(Some(g))) => self.value(what, e, g),
            (e, g) if e == g => {}
            (e, g) => self.unlike(what, e.type_name(), format_args!("another {}", g.type_name())),
        }
    }

    fn tensor(&mut self, what: &str, expected: &Tensor, got: &Tensor) {
        if expected.dims() != got.dims() {
            return self.unlike(format_args!("{what}: shape"), expected.shape(), got.shape());
        }
        match (expected.data(), got.data()) {
            (Data::String(e), Data::String(g)) => self.discrete(what, e, g),
            // As 64-bit floats not all of them would be told apart.
            (Data::I64(e), Data::I64(g)) => self.discrete(what, e, g),
            (Data::U64(e), Data::U64(g)) => self.discrete(what, e, g),
            (Data::Bool(e), Data::Bool(g)) => self.discrete(what, e, g),
            _ => match (expected.to_f64_vec(), got.to_f64_vec()) {
                (Ok(e), Ok(g)) => self.numbers(|i| format!("{what}[{i}]"), &e, &g),
                _ => self.unlike(what, expected.dtype(), got.dtype()),
            },
        }
    }

    fn discrete<T: PartialEq + fmt::Debug>(&mut self, what: &str, expected: &[T], got: &[T]) {
        let mut pairs = expected.iter().zip(got).enumerate();
        if let Some((i, (e, g))) = pairs.find(|(_, (e, g))| e != g) {
            self.unlike(format_args!("{what}[{i}]"), format_args!("{e:?}"), format_args!("{g:?}"));
        }
    }
}

fn keys(map: &Map) -> impl Iterator<Item = &MapKey> {
    map.entries.iter().map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(tensor: crate::Result<Tensor>) -> Vec<(String, Value)> {
        vec![("y".to_string(), tensor.unwrap().into())]
    }

    fn compared(
        expected: &[(String, Value)],
        got: &[(String, Value)],
        tolerance: f64,
    ) -> Comparison {
        let mut comparison = Comparison::new(tolerance);
        comparison.named(expected, got);
        comparison
    }

    #[test]
    fn numbers_may_be_off_by_the_tolerance_and_all_else_not_at_all() {
        let value = |x: f64| outputs(Tensor::from_vec(&[1], vec![x]));
        for (e, g, disagree, distance) in [
            (1.0, 1.0, false, 0.0),
            (f64::NAN, f64::NAN, false, 0.0),
            (0.0, -0.0, false, 0.0),
            (1.0, 1.25, true, 0.25),
            (1.0, 1.0625, false, 0.0625),
            (100.0, 108.0, false, 8.0),
            (f64::INFINITY, f64::INFINITY, false, 0.0),
            (1.0, f64::NAN, true, f64::INFINITY),
            (f64::INFINITY, 1.0, true, f64::INFINITY),
        ] {
            let worst = compared(&value(e), &value(g), 0.1);
            assert_eq!(worst.disagrees(), disagree, "{e} and {g}");
            assert_eq!(worst.worst().map_or(0.0, |m| m.difference), distance, "{e} and {g}");
        }
        let label = |n: i64| outputs(Tensor::from_vec(&[1], vec![n]));
        let m = compared(&label(3), &label(4), 10.0).worst().unwrap();
        assert_eq!((&*m.what, &*m.expected, &*m.got), ("output 'y'[0]", "3", "4"));
        assert!(!compared(&label(3), &label(3), 0.0).disagrees());
    }

    #[test]
    fn what_disagrees_is_named_before_what_is_further_off_within_the_tolerance() {
        let values = |v: [f64; 2]| outputs(Tensor::from_vec(&[2], v.to_vec()));
        for (e, g) in [([1000.0, 1.0], [1050.0, 1.5]), ([1.0, 1000.0], [1.5, 1050.0])] {
            let m = compared(&values(e), &values(g), 0.1).worst().unwrap();
            assert_eq!((m.difference, &*m.expected), (0.5, "1"));
        }
    }
}
