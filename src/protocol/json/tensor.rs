//! The elements of nested lists, straight into one typed buffer.

use super::super::fault::{Fault, Outcome};
use super::element::JsonElement;
use super::read::{Kind, Reader};
use crate::limits::MAX_RANK;
use jiter::Peek;
use smallvec::SmallVec;

/// The shape of nested lists, told by the first list of each level and checked on the others.
#[derive(Debug, Default)]
pub(in super::super) struct Nesting {
    /// The sizes by level; `None` while the first list of the level is being read.
    sizes: SmallVec<[Option<usize>; 6]>,
    /// How deep the elements lie, once one (or an empty list) was seen.
    rank: Option<usize>,
}

impl Nesting {
    pub(in super::super) fn dims(&self) -> SmallVec<[usize; 6]> {
        self.sizes.iter().map(|size| size.unwrap_or(0)).collect()
    }
}

impl Reader<'_> {
    /// Appends the elements of the value that begins with `peek` to `out`, and its shape to
    /// `shape`. The lists of a level must have one size, and all elements lie on one level.
    pub(in super::super) fn nested<T: JsonElement>(
        &mut self,
        peek: Peek,
        level: usize,
        shape: &mut Nesting,
        out: &mut Vec<T>,
    ) -> Outcome<()> {
        if peek != Peek::Array {
            let rank = *shape.rank.get_or_insert(level);
            if level != rank {
                self.kind(peek)?;
                return Err(Fault::bad(format!(
                    "JSON Value: {} found at incorrect level: {} in the JSON DOM. Expected at \
                     level: {rank}",
                    self.quote(peek),
                    level + 1
                )));
            }
            out.push(T::read(self, peek)?);
            return Ok(());
        }
        if let Some(rank) = shape.rank
            && level >= rank
        {
            return Err(Fault::bad(format!(
                "Encountered list at unexpected level: {level} expected < {rank}"
            )));
        }
        self.enter(level)?;
        if level >= MAX_RANK {
            return Err(Fault::bad(format!("a tensor of more than {MAX_RANK} dimensions")));
        }
        let first = shape.sizes.len() == level;
        if first {
            shape.sizes.push(None);
        }
        let mut size = 0usize;
        let mut next = self.array()?;
        while let Some(peek) = next {
            self.nested(peek, level + 1, shape, out)?;
            size += 1;
            next = self.step()?;
        }
        if first {
            // An empty list has no elements to tell how deep they lie.
            shape.rank.get_or_insert(level + 1);
        }
        match shape.sizes.get_mut(level) {
            Some(known @ None) => *known = Some(size),
            Some(Some(expected)) if *expected != size => {
                return Err(Fault::bad(format!(
                    "Encountered list at unexpected size: {size} at level: {level} expected size: \
                     {expected}"
                )));
            }
            _ => {}
        }
        Ok(())
    }

    /// Appends the elements of the value that begins with `peek`, however it nests, to `out`.
    /// More than `most` are refused before they are kept.
    pub(in super::super) fn flat<T: JsonElement>(
        &mut self,
        peek: Peek,
        depth: usize,
        most: usize,
        out: &mut Vec<T>,
    ) -> Outcome<()> {
        if self.kind(peek)? != Kind::Array {
            if out.len() >= most {
                return Err(Fault::bad("Shape does not match true shape of 'data' field"));
            }
            out.push(T::read(self, peek)?);
            return Ok(());
        }
        self.enter(depth)?;
        let mut next = self.array()?;
        while let Some(peek) = next {
            self.flat(peek, depth + 1, most, out)?;
            next = self.step()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fault::Dialect;
    use super::super::read::Limits;
    use super::*;

    fn read<T: JsonElement>(text: &str) -> Result<(Vec<usize>, Vec<T>), String> {
        let limits = Limits { depth: 64, string_bytes: 100, rows: 100 };
        let mut reader = Reader::new(text.as_bytes(), Dialect::TensorFlow, limits);
        let (mut shape, mut out) = (Nesting::default(), Vec::new());
        let mut all = || {
            let peek = reader.peek()?;
            reader.nested(peek, 0, &mut shape, &mut out)
        };
        all().map_err(|fault| fault.message().into_owned())?;
        Ok((shape.dims().to_vec(), out))
    }

    #[test]
    fn lists_become_tensors() {
        assert_eq!(read::<f32>("[[1, 2.5], [-3, NaN]]").unwrap().0, [2, 2]);
        assert_eq!(read::<i64>("[[[1]], [[2]]]").unwrap(), (vec![2, 1, 1], vec![1, 2]));
        assert_eq!(read::<i64>("7").unwrap(), (vec![], vec![7]));
        assert_eq!(read::<i64>("[]").unwrap(), (vec![0], vec![]));
        assert_eq!(read::<i64>("[[], []]").unwrap(), (vec![2, 0], vec![]));
        assert_eq!(read::<bool>("[true, false]").unwrap().1, [true, false]);
        assert_eq!(read::<String>(r#"["a", {"b64": "Yg=="}]"#).unwrap().1, ["a", "b"]);
        assert_eq!(read::<u64>("[18446744073709551615, -0]").unwrap().1, [u64::MAX, 0]);
    }

    #[test]
    fn ragged_lists_and_other_types_are_refused() {
        for (text, says) in [
            (
                "[[1, 2], [3]]",
                "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
            ),
            ("[[1], 2]", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at"),
            ("[1, [2]]", "Encountered list at unexpected level: 1 expected < 1"),
            ("[\"x\"]", "JSON Value: \"x\" Type: String is not of expected type: int64"),
            ("[1.0]", "JSON Value: 1.0 Type: Number is not of expected type: int64"),
            ("[null]", "JSON Value: null Type: Null is not of expected type: int64"),
            ("[{\"a\": 1}]", "JSON Value: {\"a\": 1} Type: Object is not of expected type: int64"),
            ("[9223372036854775808]", "JSON Value: 9223372036854775808 Type: Number is not"),
        ] {
            let message = read::<i64>(text).unwrap_err();
            assert!(message.starts_with(says), "{text}: {message}");
        }
        assert!(read::<i8>("[128]").is_err());
        assert!(read::<u8>("[-1]").is_err());
        assert!(read::<bool>("[1]").is_err());
        let half = read::<half::f16>("[1]").unwrap_err();
        assert_eq!(half, "Conversion of JSON Value: 1 to type: half");
        assert_eq!(read::<String>(r#"[{"b64": "*"}]"#).unwrap_err(), "Unable to base64 decode");
        let odd = read::<String>(r#"[{"b64": "Yg==", "x": 1}]"#).unwrap_err();
        assert!(odd.ends_with("not formatted correctly for base64 data"), "{odd}");
        let deep = "[".repeat(40) + &"]".repeat(40);
        assert!(read::<f32>(&deep).is_err());
    }
}
