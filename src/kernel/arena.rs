//! Buffers given back by finished steps, for the next ones.

use crate::error::Result;
use crate::room;
use crate::tensor::{Data, Element, ElementType, spare};

/// Elements below which a buffer is not worth keeping: the allocator is as fast.
const MIN_ELEMENTS: usize = 1024;
/// Buffers kept at most: a plan's working set is far below this.
const MAX_BUFFERS: usize = 64;

/// Runs after which a buffer that none of them took is given away: inputs come in with each
/// request, and no step may need a buffer like theirs.
const MAX_AGE: u8 = 2;

/// Recycled buffers of one run. A steady state of equal shapes allocates nothing large.
#[derive(Debug, Default)]
pub struct Arena {
    /// Buffers, and how many runs have ended since each was given back.
    free: Vec<(Data, u8)>,
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
            for (i, (data, _)) in self.free.iter().enumerate() {
                if !data.dtype().shares_buffers(T::TYPE) {
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
                && let Ok(mut v) = T::unwrap(self.free.swap_remove(i).0.reused(T::TYPE))
            {
                v.clear();
                return Ok(v);
            }
        }
        spare::take(len).map_or_else(|| room::with_room(len), Ok)
    }

    /// Takes a buffer back.
    pub fn give(&mut self, data: Data) {
        if data.len() >= MIN_ELEMENTS
            && data.dtype() != ElementType::String
            && self.free.len() < MAX_BUFFERS
        {
            self.free.push((data, 0));
        }
    }

    /// Ends a run: buffers that nothing has taken for a while go to where other requests find them.
    pub fn end_run(&mut self) {
        for (_, age) in &mut self.free {
            *age += 1;
        }
        for (data, _) in self.free.extract_if(.., |(_, age)| *age > MAX_AGE) {
            spare::give(data);
        }
    }

    /// Bytes held for later.
    pub fn held_bytes(&self) -> u64 {
        self.free.iter().map(|(d, _)| (capacity(d) * d.dtype().size()) as u64).sum()
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

    #[test]
    fn what_no_run_takes_leaves() {
        let mut arena = Arena::default();
        for _ in 0..10 {
            arena.give(Data::I32(vec![0; 5000]));
            arena.end_run();
        }
        assert_eq!(arena.free.len(), usize::from(MAX_AGE));
        // One that is taken each time stays.
        let mut arena = Arena::default();
        arena.give(Data::I32(vec![0; 5000]));
        for _ in 0..10 {
            let mut buffer = arena.take::<i32>(5000).unwrap();
            buffer.resize(5000, 0);
            arena.give(Data::I32(buffer));
            arena.end_run();
        }
        assert_eq!(arena.free.len(), 1);
    }

    #[test]
    fn types_of_one_width_share_buffers() {
        let mut arena = Arena::default();
        let v = vec![1.5f32; 5000];
        let at = v.as_ptr();
        arena.give(Data::F32(v));
        let other = arena.take::<u32>(4000).unwrap();
        assert_eq!(other.as_ptr().cast(), at);
        assert_eq!((other.len(), other.capacity()), (0, 5000));
        arena.give(Data::U32(vec![7; 5000]));
        assert_eq!(arena.take::<i32>(5000).unwrap().capacity(), 5000);
        // Not every byte is a bool.
        arena.give(Data::U8(vec![7; 5000]));
        assert_eq!(arena.take::<bool>(4000).unwrap().capacity(), 4000);
        assert_eq!(arena.take::<i8>(4000).unwrap().capacity(), 5000);
    }
}
