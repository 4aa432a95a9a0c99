//! Convolution with one input channel a group: directly, row by row.

use super::Plan;
use super::real::Real;
use crate::threads::Threads;

impl<T: Real> Plan<'_, T> {
    /// Convolves one image; `out` already holds the bias (or zeros).
    pub(super) fn depthwise(&self, threads: &Threads, input: &[T], out: &mut [T]) {
        let map = &self.map;
        let ns = map.output.saturating_mul(map.kernel) / 3;
        threads.split_rows(out, map.output, ns, |channels, chunk| {
            for (channel, out) in channels.zip(chunk.chunks_mut(map.output)) {
                let group = channel / self.channels.1;
                let input = input.get(group * map.input..(group + 1) * map.input);
                let filter = self.weights.get(channel * map.kernel..(channel + 1) * map.kernel);
                if let (Some(input), Some(filter)) = (input, filter) {
                    self.filter_channel(input, filter, out);
                }
            }
        });
    }

    fn filter_channel(&self, input: &[T], filter: &[T], out: &mut [T]) {
        let map = &self.map;
        if map.width == 0 {
            return;
        }
        let columns = self.kernel.last().copied().unwrap_or(1);
        for (row, out) in out.chunks_mut(map.width).enumerate() {
            let range = row * map.width..(row + 1) * map.width;
            for (kernel_row, weights) in filter.chunks(columns).enumerate() {
                let first = kernel_row * columns;
                if let &[a, b, c] = weights
                    && map.step == 1
                    && three(map, first, range.clone(), out, input, [a, b, c])
                {
                    continue;
                }
                for (k, &w) in weights.iter().enumerate() {
                    map.pairs(first + k, range.clone(), out, input, |o, &x| *o += w * x);
                }
            }
        }
    }
}

/// Three neighbouring kernel elements in one pass over an output row (stride 1): the ends, which
/// the padding reaches, singly, and what lies between at once. `false` when the row lies in the
/// padding or is short, and nothing was done.
fn three<T: Real>(
    map: &super::window::SlidingMap,
    first: usize,
    range: std::ops::Range<usize>,
    out: &mut [T],
    input: &[T],
    w: [T; 3],
) -> bool {
    let mut runs = [None; 3];
    for (k, run) in runs.iter_mut().enumerate() {
        map.runs(first + k, range.clone(), |r| *run = Some(r));
    }
    let [Some(a), Some(b), Some(c)] = runs else { return false };
    let all = [a, b, c];
    let low = all.iter().map(|r| r.at).max().unwrap_or(0);
    let high = all.iter().map(|r| r.at + r.len).min().unwrap_or(0);
    if low >= high {
        return false;
    }
    for (r, &w) in all.iter().zip(&w) {
        for at in (r.at..low).chain(high..r.at + r.len) {
            if let (Some(o), Some(&x)) = (out.get_mut(at), input.get(r.input + at - r.at)) {
                *o += w * x;
            }
        }
    }
    let part = |r: &super::window::Run| {
        let start = r.input + low - r.at;
        input.get(start..start + (high - low)).unwrap_or(&[])
    };
    let (x0, x1, x2) = (part(&a), part(&b), part(&c));
    let out = out.get_mut(low..high).unwrap_or(&mut []);
    for (((o, &x0), &x1), &x2) in out.iter_mut().zip(x0).zip(x1).zip(x2) {
        *o += w[0] * x0 + w[1] * x1 + w[2] * x2;
    }
    true
}
