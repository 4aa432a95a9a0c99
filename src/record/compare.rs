//! How far two answers are apart.

use super::form::Outcome;
use crate::tensor::{Data, Map, Tensor, Value};

/// The difference of two answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Difference {
    /// Whether they disagree: another label, text, shape or kind, or a number that is further off
    /// than the tolerance.
    pub disagree: bool,
    /// The largest distance of two numbers; infinite where only one of them is a number or
    /// something other than a number differs.
    pub distance: f64,
    /// Where that was.
    pub entry: String,
    /// The old and the new answer there.
    pub old: String,
    pub new: String,
}

impl Difference {
    fn note(&mut self, distance: f64, within: bool, entry: String, old: String, new: String) {
        self.disagree |= !within;
        if distance > self.distance {
            *self = Difference { disagree: self.disagree, distance, entry, old, new };
        }
    }

    fn unlike(&mut self, entry: &str, old: impl ToString, new: impl ToString) {
        self.note(f64::INFINITY, false, entry.to_string(), old.to_string(), new.to_string());
    }
}

/// Compares two answers; numbers may be `tolerance` apart, absolutely or relative to the old one.
pub(super) fn compare(old: &Outcome, new: &Outcome, tolerance: f64) -> Difference {
    let mut difference = Difference::default();
    match (old, new) {
        (Outcome::Error(old), Outcome::Error(new)) if old == new => {}
        (Outcome::Answer(old), Outcome::Answer(new)) => {
            for (name, value) in old {
                match new.iter().find(|(n, _)| n == name) {
                    Some((_, new)) => values(&mut difference, tolerance, name, value, new),
                    None => difference.unlike(name, "a value", "none"),
                }
            }
            for (name, _) in new {
                if !old.iter().any(|(n, _)| n == name) {
                    difference.unlike(name, "none", "a value");
                }
            }
        }
        (old, new) => difference.unlike("outcome", outcome(old), outcome(new)),
    }
    difference
}

fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answer(_) => "an answer",
        Outcome::Error(kind) => kind.name(),
    }
}

fn values(into: &mut Difference, tolerance: f64, entry: &str, old: &Value, new: &Value) {
    match (old, new) {
        (Value::Tensor(old), Value::Tensor(new)) => tensors(into, tolerance, entry, old, new),
        (Value::Sequence(old), Value::Sequence(new)) if old.len() == new.len() => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                values(into, tolerance, &format!("{entry}[{i}]"), old, new);
            }
        }
        (Value::Map(old), Value::Map(new)) if keys(old) == keys(new) => {
            for ((key, old), (_, new)) in old.entries.iter().zip(&new.entries) {
                values(into, tolerance, &format!("{entry}[{key:?}]"), old, new);
            }
        }
        (Value::Optional(Some(old)), Value::Optional(Some(new))) => {
            values(into, tolerance, entry, old, new);
        }
        (old, new) if old == new => {}
        (old, new) => into.unlike(entry, old.type_name(), format!("another {}", new.type_name())),
    }
}

fn keys(map: &Map) -> Vec<&crate::tensor::MapKey> {
    map.entries.iter().map(|(key, _)| key).collect()
}

fn tensors(into: &mut Difference, tolerance: f64, entry: &str, old: &Tensor, new: &Tensor) {
    if old.dims() != new.dims() {
        return into.unlike(entry, old.shape(), new.shape());
    }
    match (old.data(), new.data()) {
        (Data::String(old), Data::String(new)) => discrete(into, entry, old, new),
        (Data::I64(old), Data::I64(new)) => discrete(into, entry, old, new),
        (Data::U64(old), Data::U64(new)) => discrete(into, entry, old, new),
        (Data::Bool(old), Data::Bool(new)) => discrete(into, entry, old, new),
        _ => match (old.to_f64_vec(), new.to_f64_vec()) {
            (Ok(old), Ok(new)) => {
                for (i, (old, new)) in old.into_iter().zip(new).enumerate() {
                    numbers(into, tolerance, || format!("{entry}[{i}]"), old, new);
                }
            }
            _ => into.unlike(entry, old.dtype(), new.dtype()),
        },
    }
}

fn discrete<T: PartialEq + ToString>(into: &mut Difference, entry: &str, old: &[T], new: &[T]) {
    if let Some((i, (old, new))) = old.iter().zip(new).enumerate().find(|(_, (a, b))| a != b) {
        into.unlike(&format!("{entry}[{i}]"), old.to_string(), new.to_string());
    }
}

fn numbers(into: &mut Difference, tolerance: f64, entry: impl Fn() -> String, old: f64, new: f64) {
    if old == new || (old.is_nan() && new.is_nan()) {
        return;
    }
    if !old.is_finite() || !new.is_finite() {
        return into.unlike(&entry(), old, new);
    }
    let distance = (old - new).abs();
    let within = distance <= tolerance || distance <= tolerance * old.abs();
    if distance > into.distance || !within {
        into.note(distance, within, entry(), old.to_string(), new.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn answer(name: &str, tensor: crate::Result<Tensor>) -> Outcome {
        Outcome::Answer(vec![(name.to_string(), tensor.unwrap().into())])
    }

    #[test]
    fn numbers_may_be_off_by_the_tolerance_and_all_else_not_at_all() {
        let value = |x: f64| answer("y", Tensor::from_vec(&[1], vec![x]));
        for (old, new, disagree, distance) in [
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
            let d = compare(&value(old), &value(new), 0.1);
            assert_eq!((d.disagree, d.distance), (disagree, distance), "{old} and {new}");
        }
        let label = |n: i64| answer("label", Tensor::from_vec(&[1], vec![n]));
        let d = compare(&label(3), &label(4), 10.0);
        assert_eq!((d.disagree, &*d.entry, &*d.old, &*d.new), (true, "label[0]", "3", "4"));
        assert!(!compare(&label(3), &label(3), 0.0).disagree);
        assert!(compare(&label(3), &value(3.0), 10.0).disagree, "another name");
        let error = Outcome::Error(ErrorKind::InvalidInput);
        assert!(!compare(&error, &error, 0.0).disagree);
        assert!(compare(&error, &Outcome::Error(ErrorKind::Execution), 0.0).disagree);
        let d = compare(&label(3), &error, 0.0);
        assert_eq!((d.disagree, &*d.old, &*d.new), (true, "an answer", "InvalidInput"));
    }
}
