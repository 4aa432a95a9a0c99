//! Free memory of the C library's heap.
//!
//! Not an operator: it stands here because it is a foreign call, and those are for kernels and
//! bindings alone.

/// Gives what is free to the system, wherever it lies in the heap. Takes milliseconds after many
/// megabytes were freed, during which threads that share an arena wait to allocate.
///
/// The GNU C library gives back by itself only large blocks and the end of a heap: a model of many
/// small tensors that goes would leave the process as large as it was. Other allocators than the
/// system's do not hear of this, and other C libraries have no such call.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "a foreign function")]
        // SAFETY: takes no pointer; may be called from any thread at any time (malloc_trim(3)).
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
