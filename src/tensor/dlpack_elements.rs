//! The elements of a tensor as a struct of DLPack lends them.

use super::{Data, Tensor};
use crate::error::Result;
use std::ffi::c_void;
use std::ptr;

/// The elements of a tensor of any numeric type, as they lie in memory for as long as this lives.
#[derive(Debug)]
pub enum Elements {
    /// The tensor's own buffer, shared with whoever else holds it, or a copy.
    Whole(Tensor),
    /// Types of at most eight bits that no machine has: their encodings, one a byte.
    Bytes(Vec<u8>),
}

impl Elements {
    /// The elements of `tensor`; a copy of them with `copy`.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn of(tensor: &Tensor, copy: bool) -> Result<Elements> {
        Ok(match tensor.data().small_bits() {
            Some(bits) => Elements::Bytes(bits),
            None if copy => {
                Elements::Whole(Tensor::new(tensor.shape().clone(), tensor.data().clone())?)
            }
            None => Elements::Whole(tensor.clone()),
        })
    }

    /// Where they begin, row-major and without gaps; null for strings.
    pub fn pointer(&self) -> *const c_void {
        let tensor = match self {
            Elements::Bytes(all) => return all.as_ptr().cast(),
            Elements::Whole(tensor) => tensor,
        };
        match tensor.data() {
            Data::String(_) => ptr::null(),
            data => super::for_each_type!(data, all => all.as_ptr().cast()),
        }
    }
}
