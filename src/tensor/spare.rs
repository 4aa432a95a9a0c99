//! Large buffers of tensors that are gone, for the tensors to come.
//!
//! An allocator gives blocks of many pages back to the system when they are freed, and each new
//! one is faulted in page by page: for a kernel that only passes over its data that is most of its
//! time. What one answer leaves here the next request of about that size takes.

use super::{Data, Element};
use parking_lot::Mutex;

/// Bytes from which a buffer is kept: the allocator keeps smaller ones itself.
pub const MIN_BYTES: usize = 64 << 10;
/// Bytes of the largest buffer that is kept.
pub const MAX_BYTES: usize = 16 << 20;
/// Bytes that are kept at most in the whole process; the oldest go first.
pub const HELD_BYTES: usize = 32 << 20;

/// What is kept, the oldest first.
struct Spare(Mutex<Vec<Data>>);

static SPARE: Spare = Spare(Mutex::new(Vec::new()));

fn bytes(data: &Data) -> usize {
    super::for_each_type!(data, v => v.capacity()).saturating_mul(data.dtype().size())
}

impl Spare {
    fn take<T: Element>(&self, len: usize) -> Option<Vec<T>> {
        if len.saturating_mul(T::TYPE.size()) < MIN_BYTES {
            return None;
        }
        let found = {
            let mut free = self.0.lock();
            // The newest first: it may still be in a cache.
            let at = free.iter().rposition(|data| {
                data.dtype().shares_buffers(T::TYPE) && {
                    let room = bytes(data) / T::TYPE.size();
                    (len..=len.saturating_mul(2)).contains(&room)
                }
            })?;
            free.remove(at)
        };
        let mut found = T::unwrap(found.reused(T::TYPE)).ok()?;
        found.clear();
        Some(found)
    }

    fn give(&self, data: Data) {
        let size = bytes(&data);
        if matches!(data, Data::String(_)) || !(MIN_BYTES..=MAX_BYTES).contains(&size) {
            return;
        }
        let mut gone = vec![];
        {
            let mut free = self.0.lock();
            free.push(data);
            let mut held: usize = free.iter().map(bytes).sum();
            while held > HELD_BYTES {
                let oldest = free.remove(0);
                held -= bytes(&oldest);
                gone.push(oldest);
            }
        }
        // Not under the lock: freeing pages takes the system a while.
        drop(gone);
    }

    fn clear(&self) {
        let gone = std::mem::take(&mut *self.0.lock());
        drop(gone);
    }
}

/// A buffer that was given back, emptied, with room for `len` elements and for no more than twice
/// as many; `None` where there is none.
pub fn take<T: Element>(len: usize) -> Option<Vec<T>> {
    SPARE.take(len)
}

/// Gives a buffer back. One of less than [`MIN_BYTES`] or more than [`MAX_BYTES`], or of strings,
/// is freed.
pub fn give(data: Data) {
    SPARE.give(data);
}

/// Frees all that is kept.
pub fn clear() {
    SPARE.clear();
}

#[cfg(test)]
mod tests {
    use super::super::Complex;
    use super::*;

    fn none() -> Spare {
        Spare(Mutex::new(Vec::new()))
    }

    #[test]
    fn a_buffer_comes_back_for_its_type_and_size() {
        let spare = none();
        let len = 77_777;
        let buffer = vec![1i16; len];
        let place = buffer.as_ptr();
        spare.give(Data::I16(buffer));
        assert!(spare.take::<u8>(len).is_none());
        assert!(spare.take::<i16>(len / 2 - 1).is_none());
        assert!(spare.take::<i16>(len + 1).is_none());
        let again = spare.take::<i16>(len - 1).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(spare.take::<i16>(len - 1).is_none());
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let spare = none();
        let held = || spare.0.lock().iter().map(bytes).sum::<usize>();
        spare.give(Data::U8(vec![1; 10]));
        spare.give(Data::F64(vec![1.0; MAX_BYTES / 8 + 1]));
        spare.give(Data::String(vec![String::new(); MIN_BYTES]));
        assert_eq!(held(), 0);
        for _ in 0..20 {
            spare.give(Data::C128(vec![Complex::default(); MAX_BYTES / 64]));
        }
        assert_eq!(held(), HELD_BYTES);
        spare.clear();
        assert_eq!(held(), 0);
    }
}
