//! Memory that a caller gives to a call.

use super::NAMES;
use super::interface::{OK, Tensor};
use arbitrary::{Result, Unstructured};
use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

/// Memory of the caller: numbers, and texts, with as much before the place that is given as
/// behind it.
pub struct Memory {
    pub numbers: Vec<u64>,
    pub texts: Vec<*const c_char>,
}

/// Elements of each on either side.
pub const AROUND: usize = 512;

impl Memory {
    pub fn new(u: &mut Unstructured<'_>) -> Result<Memory> {
        let words: [u64; 4] = u.arbitrary()?;
        let numbers = words.iter().copied().cycle().take(2 * AROUND).collect();
        let texts = NAMES[..6].iter().map(|name| name.as_ptr()).cycle().take(2 * AROUND).collect();
        Ok(Memory { numbers, texts })
    }

    pub fn numbers<T>(&self) -> *const T {
        self.numbers[AROUND..].as_ptr().cast()
    }
}

/// A tensor's parts, to which the struct points.
pub struct Given {
    pub name: *const c_char,
    pub data: *const c_void,
    pub dims: Vec<i64>,
    pub strides: Option<Vec<isize>>,
    pub dtype: i32,
    pub reserved: i32,
}

impl Given {
    pub fn tensor(&self) -> Tensor {
        Tensor {
            name: self.name,
            data: self.data,
            dims: self.dims.as_ptr(),
            strides: self.strides.as_ref().map_or(null(), |strides| strides.as_ptr()),
            rank: self.dims.len(),
            dtype: self.dtype,
            reserved: self.reserved,
        }
    }
}

/// A buffer for results, with a margin that must stay as it is.
pub struct Buffer<T> {
    pub all: Vec<T>,
    pub len: usize,
    pub null: bool,
}

pub const MARGIN: usize = 4;

impl<T: Copy + PartialEq> Buffer<T> {
    pub fn new(u: &mut Unstructured<'_>, sizes: &[usize], empty: T) -> Result<Buffer<T>> {
        let len = *u.choose(sizes)?;
        Ok(Buffer { all: vec![empty; len + MARGIN], len, null: u.ratio(1, 12)? })
    }

    pub fn pointer(&mut self) -> *mut T {
        if self.null { null_mut() } else { self.all.as_mut_ptr() }
    }

    /// Nothing was written behind it, nor into it where the call failed.
    pub fn check(&self, status: i32, empty: T) {
        let untouched = if status == OK { self.len } else { 0 };
        assert!(self.all[untouched..].iter().all(|x| *x == empty), "written where it must not be");
    }
}

/// A place for one result: the pointer to it, or NULL.
pub fn or_null<T>(u: &mut Unstructured<'_>, place: &mut T) -> Result<*mut T> {
    Ok(if u.ratio(1, 16)? { null_mut() } else { place })
}
