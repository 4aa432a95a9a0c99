//! A total order of elements for sorting: NaN is the greatest number, and equal to itself.

use crate::tensor::Element;
use half::{bf16, f16};
use std::cmp::Ordering;

/// Elements that sort.
pub(super) trait Order: Element {
    /// How `self` compares with `other`.
    fn order(&self, other: &Self) -> Ordering;
}

macro_rules! plain {
    ($($t:ty),+) => {$(
        impl Order for $t {
            fn order(&self, other: &Self) -> Ordering { self.cmp(other) }
        }
    )+};
}
plain!(i8, i16, i32, i64, u8, u16, u32, u64, bool, String);

macro_rules! floats {
    ($($t:ty),+) => {$(
        impl Order for $t {
            fn order(&self, other: &Self) -> Ordering {
                self.partial_cmp(other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
            }
        }
    )+};
}
floats!(f32, f64, f16, bf16);
