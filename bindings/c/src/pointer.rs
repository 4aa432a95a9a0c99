//! The caller's memory: every pointer passes one of these checks before it is used.

use crate::status::*;
use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;

/// Longest text read from the caller: an unterminated one is refused instead of read on.
const MAX_TEXT: usize = 16 << 20;

pub(crate) fn check<T>(pointer: *const T, len: usize, name: &str) -> Outcome {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("'{name}' is not aligned for its type")));
    }
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Failure::argument(format!("'{name}' of {len} elements passes the address space"))),
    }
}

/// A place for one result, checked before the work and written after it.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` is NULL or points to memory for a `T` that stays valid while this lives.
    pub(crate) unsafe fn new(pointer: *mut T, name: &str) -> Outcome<Self> {
        check(pointer, 1, name)?;
        Ok(Out(pointer))
    }

    /// A place for a result that is not wanted where `pointer` is NULL.
    ///
    /// # Safety
    /// As [`Out::new`].
    pub(crate) unsafe fn optional(pointer: *mut T, name: &str) -> Outcome<Option<Self>> {
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: promised by the caller.
        unsafe { Out::new(pointer, name) }.map(Some)
    }

    pub(crate) fn write(self, value: T) {
        // SAFETY: not NULL and aligned (`check`), valid for writes (promised to `new`).
        unsafe { self.0.write(value) }
    }
}

/// One element to read.
///
/// # Safety
/// `pointer` is NULL or points to an initialised element that nobody writes during `'a`.
pub(crate) unsafe fn one<'a, T>(pointer: *const T, name: &str) -> Outcome<&'a T> {
    check(pointer, 1, name)?;
    // SAFETY: not NULL, aligned (`check`), valid (promised by the caller).
    Ok(unsafe { &*pointer })
}

/// `len` elements to read; NULL is fine where `len` is 0.
///
/// # Safety
/// `pointer` is NULL or points to `len` initialised elements that nobody writes during `'a`.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, len: usize, name: &str) -> Outcome<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check(pointer, len, name)?;
    // SAFETY: not NULL, aligned, below isize::MAX (`check`), valid (promised by the caller).
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Memory for `len` results; NULL is fine where `len` is 0.
///
/// # Safety
/// `pointer` is NULL or points to memory for `len` elements that nobody else uses during `'a`.
pub(crate) unsafe fn buffer<'a, T>(
    pointer: *mut T,
    len: usize,
    name: &str,
) -> Outcome<&'a mut [MaybeUninit<T>]> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(pointer, len, name)?;
    // SAFETY: as in `slice`; uninitialised memory is fine for `MaybeUninit`.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer.cast(), len) })
}

/// Copies `values` to the front of `buffer`, which has been checked to be long enough.
pub(crate) fn fill<T>(buffer: &mut [MaybeUninit<T>], values: impl IntoIterator<Item = T>) {
    for (place, value) in buffer.iter_mut().zip(values) {
        place.write(value);
    }
}

/// The bytes of a text that ends with NUL.
///
/// # Safety
/// `pointer` is NULL or points to text that ends with NUL and that nobody writes during `'a`.
pub(crate) unsafe fn bytes<'a>(pointer: *const c_char, name: &str) -> Outcome<&'a [u8]> {
    check(pointer, 1, name)?;
    let mut len = 0;
    // SAFETY: every byte up to the NUL is valid, and the loop stops there.
    while unsafe { pointer.add(len).read() } != 0 {
        len += 1;
        if len == MAX_TEXT {
            return Err(Failure::argument(format!("'{name}' has no NUL in {MAX_TEXT} bytes")));
        }
    }
    // SAFETY: `len` bytes were just read.
    unsafe { slice(pointer.cast(), len, name) }
}

/// A text that ends with NUL.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Outcome<&'a str> {
    // SAFETY: promised by the caller.
    let bytes = unsafe { bytes(pointer, name) }?;
    std::str::from_utf8(bytes).map_err(|_| Failure::argument(format!("'{name}' is not UTF-8")))
}

/// A text, or `None` for NULL.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn optional_text<'a>(
    pointer: *const c_char,
    name: &str,
) -> Outcome<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: promised by the caller.
    unsafe { text(pointer, name) }.map(Some)
}

/// `len` texts; NULL is fine where `len` is 0.
///
/// # Safety
/// `pointer` is NULL or points to `len` pointers, each as for [`bytes`].
pub(crate) unsafe fn texts<'a>(
    pointer: *const *const c_char,
    len: usize,
    name: &str,
) -> Outcome<Vec<&'a str>> {
    // SAFETY: promised by the caller.
    let pointers = unsafe { slice(pointer, len, name) }?;
    // SAFETY: promised by the caller.
    pointers.iter().map(|p| unsafe { text(*p, name) }).collect()
}

/// A path: any bytes where the system's paths are bytes, UTF-8 elsewhere.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn path<'a>(pointer: *const c_char, name: &str) -> Outcome<&'a std::path::Path> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        // SAFETY: promised by the caller.
        let bytes = unsafe { bytes(pointer, name) }?;
        Ok(std::path::Path::new(std::ffi::OsStr::from_bytes(bytes)))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: promised by the caller.
        unsafe { text(pointer, name) }.map(std::path::Path::new)
    }
}

/// Where a text function puts its text.
pub(crate) struct TextOut<'a> {
    buf: &'a mut [MaybeUninit<u8>],
    needed: Out<usize>,
}

impl TextOut<'_> {
    /// # Safety
    /// `buf` and `needed` as for [`buffer`] and [`Out::new`].
    pub(crate) unsafe fn new(buf: *mut c_char, len: usize, needed: *mut usize) -> Outcome<Self> {
        // SAFETY: promised by the caller.
        unsafe {
            Ok(TextOut {
                buf: buffer(buf.cast(), len, "buf")?,
                needed: Out::new(needed, "needed")?,
            })
        }
    }

    /// Copies `text` and a NUL, or says how much room they need.
    pub(crate) fn write(self, text: &str) -> Outcome {
        let (has, needs) = (self.buf.len(), text.len().saturating_add(1));
        self.needed.write(text.len());
        if has == 0 {
            return Ok(());
        }
        if has < needs {
            return Err(Failure::too_small("buf", has, needs));
        }
        fill(self.buf, text.bytes().chain([0]));
        Ok(())
    }
}

/// The longest front of `text` that leaves room for a NUL in `room` bytes, cut between
/// characters.
pub(crate) fn fitting(text: &str, room: usize) -> &str {
    let mut end = text.len().min(room.saturating_sub(1));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// `text` with its NUL in an array, cut between characters where it does not fit.
pub(crate) fn chars<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    for (place, byte) in array.iter_mut().zip(fitting(text, N).bytes()) {
        *place = byte as c_char;
    }
    array
}

/// `text` for a callback to read: up to its first NUL.
pub(crate) fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(text.get(..end).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(fitting("abc", 4), "abc");
        assert_eq!(fitting("abc", 3), "ab");
        assert_eq!(fitting("aé", 3), "a");
        assert_eq!(fitting("aé", 0), "");
    }

    #[test]
    fn text_without_an_end_is_read_so_far_and_no_further() {
        let mut endless = vec![b'x'; MAX_TEXT + 1];
        endless.push(0);
        // SAFETY: a text that ends with NUL, which lies beyond what is read.
        let refused = unsafe { text(endless.as_ptr().cast(), "x") }.unwrap_err();
        assert_eq!(refused.status, MODELSERVE_STATUS_INVALID_ARGUMENT);
        // SAFETY: a text that ends with NUL.
        let longest = unsafe { text(endless[2..].as_ptr().cast(), "x") };
        assert_eq!(longest.unwrap().len(), MAX_TEXT - 1);
    }

    #[test]
    fn lengths_and_alignment_are_checked() {
        let values = [0f64; 2];
        let base = values.as_ptr();
        // SAFETY: refused before anything is read.
        let misaligned = unsafe { slice(base.cast::<u8>().add(1).cast::<f64>(), 1, "x") };
        assert_eq!(misaligned.unwrap_err().status, MODELSERVE_STATUS_INVALID_ARGUMENT);
        // SAFETY: refused before anything is read.
        let huge = unsafe { slice(base, usize::MAX / 8, "x") };
        assert_eq!(huge.unwrap_err().status, MODELSERVE_STATUS_INVALID_ARGUMENT);
        // SAFETY: nothing is read.
        assert!(unsafe { slice::<f64>(std::ptr::null(), 0, "x") }.unwrap().is_empty());
    }
}
