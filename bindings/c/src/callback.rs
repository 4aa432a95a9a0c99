//! Functions of the caller's that the library calls.

use std::ffi::c_void;

/// Called once when the library needs `user_data` no more, on any thread. It may free it.
pub type modelserve_release_callback = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// The caller's data for a callback: released when dropped, exactly once.
pub(crate) struct UserData {
    data: *mut c_void,
    release: modelserve_release_callback,
}

// SAFETY: the library only hands the pointer back; that it may be used on any thread is the
// caller's promise (the documentation of each function that takes a callback).
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(data: *mut c_void, release: modelserve_release_callback) -> Self {
        UserData { data, release }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.data
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the caller's function and the caller's data, for the last time.
            unsafe { release(self.data) }
        }
    }
}
