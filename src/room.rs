//! Memory that is asked for: an allocation that the system refuses is an error, not the end of the
//! process.
//!
//! What grows with a model file while it is loaded goes through here. `SECURITY.md` lists what does
//! not: what other crates take, and what is small beside them.

use crate::error::{Error, Result, err};

#[cold]
fn refused<T>(len: usize) -> Error {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    err!(LimitExceeded, "no memory for {bytes} bytes")
}

/// Makes room for `more` further elements; what is added piece by piece grows as a vector does by
/// itself.
///
/// # Errors
/// `LimitExceeded` where there is no memory; so says each function here.
pub(crate) fn reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<()> {
    vec.try_reserve(more).map_err(|_| refused::<T>(more))
}

/// An empty vector with room for just `len` elements.
pub(crate) fn with_room<T>(len: usize) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len).map_err(|_| refused::<T>(len))?;
    Ok(vec)
}

/// `len` times `value`.
pub(crate) fn filled<T: Clone>(len: usize, value: T) -> Result<Vec<T>> {
    let mut vec = with_room(len)?;
    vec.resize(len, value);
    Ok(vec)
}

/// A copy.
pub(crate) fn copied<T: Clone>(from: &[T]) -> Result<Vec<T>> {
    let mut vec = with_room(from.len())?;
    vec.extend_from_slice(from);
    Ok(vec)
}

/// The elements of an iterator that knows how many it has.
pub(crate) fn collected<T>(items: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>> {
    let mut vec = with_room(items.len())?;
    vec.extend(items);
    Ok(vec)
}

/// The same, up to the first error.
pub(crate) fn collected_if<T>(items: impl ExactSizeIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut vec = with_room(items.len())?;
    for item in items {
        vec.push(item?);
    }
    Ok(vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind::{InvalidModel, LimitExceeded};

    #[test]
    fn what_cannot_be_had_is_an_error_that_says_how_much_it_was() {
        for error in [
            with_room::<u64>(1 << 60).unwrap_err(),
            filled(1 << 60, 0u64).unwrap_err(),
            reserve(&mut vec![1u64], 1 << 60).unwrap_err(),
            collected((0..1usize << 60).map(|i| i as u64)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), LimitExceeded);
            assert!(error.message().contains(&(1u64 << 63).to_string()), "{error}");
        }
    }

    #[test]
    fn what_can_be_had_is_what_was_asked_for() {
        assert!(with_room::<u8>(10).unwrap().capacity() >= 10);
        assert_eq!(filled(3, 'a').unwrap(), ['a'; 3]);
        assert_eq!(copied(&["a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(collected([1, 2].iter().map(|x| x * 2)).unwrap(), [2, 4]);
        let odd = |x: &i32| if x % 2 == 1 { Ok(*x) } else { Err(err!(InvalidModel, "{x}")) };
        assert_eq!(collected_if([1, 3].iter().map(odd)).unwrap(), [1, 3]);
        let error = collected_if([1, 2, 4].iter().map(odd)).unwrap_err();
        assert_eq!((error.kind(), error.message()), (InvalidModel, "2"));
    }
}
