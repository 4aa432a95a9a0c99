//! A loaded model: what it takes, what it answers, and the fast path to it.
