//! Asking for memory before it is needed.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for a slice to be brought into the second-level cache; nothing on processors that have not
/// been measured.
#[inline(always)]
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the instruction takes a pointer, and never faults")
)]
pub fn fetch<T>(slice: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let start = slice.as_ptr().cast::<i8>();
        for offset in (0..size_of_val(slice)).step_by(LINE) {
            // SAFETY: a hint about an address within the slice; part of the baseline.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(start.add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, LINE);
}
