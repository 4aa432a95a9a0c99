//! Buffers given back by finished steps, for the next ones.

use crate::error::Result;
use crate::room;
use crate::tensor::{Data, Element, ElementType};

/// Elements below which a buffer is not worth keeping: the allocator is as fast.
const MIN_ELEMENTS: usize = 1024;
/// Buffers kept at most: a plan's working set is far below this.
const MAX_BUFFERS: usize = 64;

/// Recycled buffers of one run. A steady state of equal shapes allocates nothing large.
#[derive(Debug, Default)]
pub struct Arena {
    free: Vec<Data>,
}

impl Arena {
    /// An empty vector with room for `len` elements: a recycled one where the best fit wastes no
    /// more than half, else a new one.
    ///
    /// # Errors
    /// `LimitExceeded` where there is no memory for it.
    pub(super) fn take<T: Element>(&mut self, len: usize) -> Result<Vec<T>> {
        if len >= MIN_ELEMENTS {
            let mut best: Option<(usize, usize)> = None;
            for (i, data) in self.free.iter().enumerate() {
                if data.dtype() != T::TYPE {
                    continue;
                }
                let capacity = capacity(data);
                if (len..=len.saturating_mul(2)).contains(&capacity)
                    && best.is_none_or(|(_, c)| capacity < c)
                {
                    best = Some((i, capacity));
                }
            }
            if let Some((i, _)) = best
                && let Ok(mut v) = T::unwrap(self.free.swap_remove(i))
            {
                v.clear();
                return Ok(v);
            }
        }
        room::with_room(len)
    }

    /// Takes a buffer back.
    pub fn give(&mut self, data: Data) {
        if data.len() >= MIN_ELEMENTS
            && data.dtype() != ElementType::String
            && self.free.len() < MAX_BUFFERS
        {
            self.free.push(data);
        }
    }

    /// Bytes held for later.
    pub fn held_bytes(&self) -> u64 {
        self.free.iter().map(|d| (capacity(d) * d.dtype().size()) as u64).sum()
    }
}

fn capacity(data: &Data) -> usize {
    crate::tensor::for_each_type!(data, v => v.capacity())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fitting_buffer_comes_back() {
        let mut arena = Arena::default();
        let v = vec![0f32; 5000];
        let at = v.as_ptr();
        arena.give(Data::F32(v));
        let other = arena.take::<f64>(5000).unwrap();
        assert_ne!(other.as_ptr().cast(), at);
        let again = arena.take::<f32>(4000).unwrap();
        assert_eq!(again.as_ptr(), at);
        assert!(again.is_empty());
        arena.give(Data::F32(again));
        assert_eq!(arena.take::<f32>(1500).unwrap().capacity(), 1500);
    }
}
