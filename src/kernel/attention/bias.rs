//! What is added to the scores before softmax: masks, rules of position, biases.

use super::scalar::Scalar;
use crate::error::{Result, ensure};
use std::borrow::Cow;
use std::ops::Range;

/// Numbers that are added to the scores, broadcast over batch, heads, queries and keys.
pub(super) struct Layer<'a, T: Scalar> {
    values: Cow<'a, [T]>,
    /// From one batch entry, head and query to the next.
    steps: [usize; 3],
    /// Keys that it has numbers for.
    width: usize,
    /// Whether the one number it has is meant for all keys.
    spread: bool,
}

impl<'a, T: Scalar> Layer<'a, T> {
    /// Numbers of shape `dims` for scores of shape `scores`. With `shorter` the last dimension may
    /// be less than the number of keys, and the keys beyond are hidden.
    ///
    /// # Errors
    /// `InvalidInput` where `dims` does not broadcast to `scores`.
    pub fn new(
        values: Cow<'a, [T]>,
        dims: &[usize],
        scores: [usize; 4],
        shorter: bool,
    ) -> Result<Layer<'a, T>> {
        let mut own = [1usize; 4];
        let known = own.len().checked_sub(dims.len());
        if let Some(missing) = known {
            own[missing..].copy_from_slice(dims);
        }
        let (width, keys) = (own[3], scores[3]);
        let spread = width == 1 && !shorter;
        let fits = known.is_some()
            && own.iter().zip(&scores).take(3).all(|(&own, &all)| own == 1 || own == all)
            && (width == keys || spread || (shorter && width < keys));
        ensure!(
            fits,
            InvalidInput,
            "a mask or bias of shape {dims:?} does not fit scores of shape {scores:?}"
        );
        // The values fill the shape, so that these products are within their number.
        let mut steps = [own[1] * own[2] * width, own[2] * width, width];
        for (step, &dim) in steps.iter_mut().zip(&own) {
            if dim == 1 {
                *step = 0;
            }
        }
        Ok(Layer { values, steps, width, spread })
    }

    /// Adds the numbers of one query to `row`, which has an element a key.
    fn add(&self, at: [usize; 3], row: &mut [T]) {
        let start: usize = at.iter().zip(&self.steps).map(|(at, step)| at * step).sum();
        let values = self.values.get(start..start + self.width).unwrap_or(&[]);
        if let (true, &[value]) = (self.spread, values) {
            row.iter_mut().for_each(|x| *x += value);
            return;
        }
        for (x, &value) in row.iter_mut().zip(values) {
            *x += value;
        }
        row.iter_mut().skip(values.len()).for_each(|x| *x = T::HIDDEN);
    }
}

/// How many keys come before the first query.
pub(super) enum Offset {
    /// The same in every batch entry.
    All(i64),
    /// One a batch entry.
    Each(Vec<i64>),
}

/// Which keys a query may look at, by position: query `i` stands at `offset + i` of the keys.
pub(super) struct Reach {
    /// Where the queries start.
    pub offset: Offset,
    /// Whether keys after the query are out of reach.
    pub causal: bool,
    /// How far it looks back and ahead.
    pub window: [Option<i64>; 2],
    /// How many keys of each batch entry are no padding.
    pub lengths: Option<Vec<i64>>,
}

impl Reach {
    /// The keys in reach, of `keys`.
    fn keys(&self, batch: usize, query: usize, keys: usize) -> Range<usize> {
        let offset = match &self.offset {
            Offset::All(offset) => *offset,
            Offset::Each(offsets) => offsets.get(batch).copied().unwrap_or(0),
        };
        let at = offset.saturating_add(query as i64);
        let [left, right] = self.window;
        let mut end = keys as i64;
        if self.causal {
            end = end.min(at.saturating_add(1));
        }
        if let Some(right) = right {
            end = end.min(at.saturating_add(right).saturating_add(1));
        }
        if let Some(length) = self.lengths.as_ref().and_then(|lengths| lengths.get(batch)) {
            end = end.min(*length);
        }
        let end = end.max(0) as usize;
        let start = left.map_or(0, |left| at.saturating_sub(left).max(0)) as usize;
        start.min(end)..end
    }
}

/// All that is added to the scores: the mask, then `hidden` in the place of what is out of reach,
/// then the bias.
pub(super) struct Bias<'a, T: Scalar> {
    /// Added first.
    pub mask: Option<Layer<'a, T>>,
    /// Rules of position.
    pub reach: Option<Reach>,
    /// What stands for keys out of reach.
    pub hidden: T,
    /// Added last.
    pub bias: Option<Layer<'a, T>>,
}

impl<T: Scalar> Bias<'_, T> {
    /// Whether nothing is added.
    pub fn is_empty(&self) -> bool {
        self.mask.is_none() && self.reach.is_none() && self.bias.is_none()
    }

    /// Puts into `row` what is added for one query (batch entry, head, query); whether that hides
    /// all keys.
    pub fn fill(&self, at: [usize; 3], row: &mut [T]) -> bool {
        row.fill(T::ZERO);
        if let Some(mask) = &self.mask {
            mask.add(at, row);
        }
        if let Some(reach) = &self.reach {
            let [batch, _, query] = at;
            let keys = reach.keys(batch, query, row.len());
            row[..keys.start].fill(self.hidden);
            row[keys.end..].fill(self.hidden);
        }
        if let Some(bias) = &self.bias {
            bias.add(at, row);
        }
        row.iter().all(|&x| x == T::HIDDEN)
    }
}
