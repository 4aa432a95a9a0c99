//! One deadline over waiting and running.
