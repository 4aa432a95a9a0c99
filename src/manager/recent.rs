//! A sample of recent requests, against which a candidate is tried before it serves.

use crate::model::{Features, Request};
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Requests kept unless said otherwise.
pub(super) const DEFAULT_CAPACITY: usize = 256;
/// Bytes that all of them may hold; a request above an eighth of that is not kept.
const MAX_BYTES: u64 = 4 << 20;
/// Once the sample is full, one request in so many replaces the oldest.
const EVERY: u64 = 64;

/// A bounded ring of owned requests. Offering one never waits: what cannot be kept at once is
/// not kept.
pub(super) struct Recent {
    capacity: AtomicUsize,
    seen: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    requests: VecDeque<(Request<'static>, u64)>,
    bytes: u64,
}

impl Default for Recent {
    fn default() -> Self {
        Recent {
            capacity: AtomicUsize::new(DEFAULT_CAPACITY),
            seen: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }
}

impl Recent {
    /// How many requests to keep; 0 keeps none and forgets the ones there are.
    pub(super) fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Relaxed);
        let mut kept = self.kept.lock();
        while kept.requests.len() > capacity {
            kept.drop_oldest();
        }
        self.seen.store(0, Relaxed);
    }

    /// Keeps the request that `make` makes, where it is its turn.
    pub(super) fn offer<'a>(&self, make: impl FnOnce() -> Request<'a>) {
        let capacity = self.capacity.load(Relaxed);
        if capacity == 0 {
            return;
        }
        // Written while the sample fills only: later it would be the one line that the threads of
        // all requests write to.
        if self.seen.load(Relaxed) >= capacity as u64 {
            if !drawn() {
                return;
            }
        } else {
            self.seen.fetch_add(1, Relaxed);
        }
        let request = make();
        let bytes = request.byte_len();
        if bytes > MAX_BYTES / 8 {
            return;
        }
        let Some(mut kept) = self.kept.try_lock() else { return };
        if kept.requests.len() >= capacity && kept.renew_oldest(&request) {
            return;
        }
        let Ok(request) = request.into_owned() else { return };
        kept.requests.push_back((request, bytes));
        kept.bytes += bytes;
        while kept.requests.len() > capacity || kept.bytes > MAX_BYTES {
            kept.drop_oldest();
        }
    }

    /// The newest `n` requests, oldest first.
    pub(super) fn last(&self, n: usize) -> Vec<Request<'static>> {
        let kept = self.kept.lock();
        let skip = kept.requests.len().saturating_sub(n);
        kept.requests.iter().skip(skip).map(|(request, _)| request.clone()).collect()
    }
}

/// Whether chance picks this request: one in [`EVERY`]. Each thread draws for itself.
fn drawn() -> bool {
    thread_local! {
        // Threads begin at different places, as their stacks do.
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    STATE.with(|state| {
        let mut x = match state.get() {
            0 => std::ptr::from_ref(state).addr() as u64 | 1,
            x => x,
        };
        // xorshift64 (Marsaglia 2003).
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        (x >> 32).is_multiple_of(EVERY)
    })
}

impl Kept {
    /// Puts borrowed rows into the memory of the oldest request, where that has their form and
    /// nobody else holds it: a host whose requests are alike pays for the sample once.
    fn renew_oldest(&mut self, request: &Request<'_>) -> bool {
        let Some((mut oldest, bytes)) = self.requests.pop_front() else { return false };
        let renewed = match (&mut oldest, request) {
            (Request::Row(Features::Tensor(kept)), Request::Row(new))
            | (Request::Batch(Features::Tensor(kept)), Request::Batch(new)) => match new {
                Features::F32 { data, rows, width } => {
                    kept.dims() == [*rows, *width] && kept.overwrite(data)
                }
                Features::F64 { data, rows, width } => {
                    kept.dims() == [*rows, *width] && kept.overwrite(data)
                }
                _ => false,
            },
            _ => false,
        };
        match renewed {
            true => self.requests.push_back((oldest, bytes)),
            false => self.requests.push_front((oldest, bytes)),
        }
        renewed
    }

    fn drop_oldest(&mut self) {
        if let Some((_, bytes)) = self.requests.pop_front() {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> Request<'_> {
        Request::Row(Features::F32 { data: values, rows: 1, width: values.len() })
    }

    #[test]
    fn the_sample_is_bounded_in_number_and_bytes() {
        let recent = Recent::default();
        recent.set_capacity(3);
        let values: Vec<f32> = (0..1000u16).map(f32::from).collect();
        for value in values.chunks(1) {
            recent.offer(|| row(value));
        }
        let kept = recent.last(10);
        assert_eq!(kept.len(), 3);
        assert!(recent.last(2).len() == 2);
        let large = vec![0f32; 100_000];
        recent.set_capacity(1000);
        for _ in 0..100 {
            recent.offer(|| row(&large));
        }
        assert!(recent.kept.lock().bytes <= MAX_BYTES);
        recent.set_capacity(0);
        recent.offer(|| row(&[1.0]));
        assert!(recent.last(10).is_empty());
    }

    #[test]
    fn rows_of_the_same_form_take_the_oldests_memory() {
        let mut kept = Kept::default();
        let doubles = Request::Batch(Features::F64 { data: &[1.0, 2.0], rows: 2, width: 1 });
        for request in [row(&[1.0]), row(&[2.0]), doubles.clone()] {
            kept.requests.push_back((request.into_owned().unwrap(), 8));
        }
        let values = |kept: &Kept, i: usize| match &kept.requests[i].0 {
            Request::Row(Features::Tensor(t)) | Request::Batch(Features::Tensor(t)) => {
                t.to_f64_vec().unwrap()
            }
            _ => Vec::new(),
        };
        assert!(kept.renew_oldest(&row(&[3.0])));
        assert_eq!((values(&kept, 0), values(&kept, 2)), (vec![2.0], vec![3.0]));
        // Of another form, or in use by a gate: the caller makes a new one.
        assert!(!kept.renew_oldest(&row(&[3.0, 4.0])));
        assert!(!kept.renew_oldest(&doubles));
        let used = kept.requests[0].0.clone();
        assert!(!kept.renew_oldest(&row(&[5.0])));
        drop(used);
        assert_eq!((kept.requests.len(), values(&kept, 0)), (3, vec![2.0]));
        assert!(kept.renew_oldest(&row(&[5.0])) && kept.renew_oldest(&doubles));
        assert_eq!(values(&kept, 2), [1.0, 2.0]);
    }

    #[test]
    fn a_full_sample_takes_about_one_request_in_so_many() {
        let taken = (0..64_000).filter(|_| drawn()).count();
        assert!((600..1_400).contains(&taken), "{taken}");
    }
}
