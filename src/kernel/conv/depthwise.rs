//! Convolution with one input channel a group: directly, channel by channel.

use super::Plan;
use super::polyphase::Polyphase;
use super::real::Real;
use crate::kernel::simd::WindowReduction;
use crate::threads::Threads;

/// The filter of one output channel.
struct Filter<'a, T>(&'a [T]);

impl<T: Real> WindowReduction for Filter<'_, T> {
    type Element = T;
    type Weight = T;
    #[inline(always)]
    fn weight(&self, kernel: usize) -> Option<T> {
        self.0.get(kernel).copied()
    }
    #[inline(always)]
    fn meet<const FMA: bool>(reduced: T, x: T, weight: T) -> T {
        if FMA { x.mul_add(weight, reduced) } else { x * weight + reduced }
    }
}

impl<T: Real> Plan<'_, T> {
    /// Convolves one image; `out` already holds the bias (or zeros).
    pub(super) fn depthwise(&self, threads: &Threads, input: &[T], out: &mut [T]) {
        let map = &self.map;
        let ns = map.output.saturating_mul(map.kernel) / 3;
        threads.split_rows(out, map.output, ns, |channels, chunk| {
            let mut room = self.polyphase.as_ref().map(|p| (p, p.room(T::ZERO), None));
            for (channel, out) in channels.zip(chunk.chunks_mut(map.output)) {
                let group = channel / self.channels.1;
                let input = input.get(group * map.input..(group + 1) * map.input);
                let filter = self.weights.get(channel * map.kernel..(channel + 1) * map.kernel);
                let (Some(input), Some(filter)) = (input, filter) else { continue };
                match &mut room {
                    Some((polyphase, room, laid)) => {
                        if *laid != Some(group) {
                            polyphase.lay(input, room);
                            *laid = Some(group);
                        }
                        filter_laid(polyphase, room, filter, out);
                    }
                    None => self.filter_channel(input, filter, out),
                }
            }
        });
    }

    /// Without a layout: kernel element by kernel element.
    fn filter_channel(&self, input: &[T], filter: &[T], out: &mut [T]) {
        let map = &self.map;
        for (row, out) in out.chunks_mut(map.width.max(1)).enumerate() {
            let range = row * map.width..(row + 1) * map.width;
            for (k, &w) in filter.iter().enumerate() {
                map.pairs(k, range.clone(), out, input, |o, &x| *o += w * x);
            }
        }
    }
}

fn filter_laid<T: Real>(polyphase: &Polyphase, room: &[T], filter: &[T], out: &mut [T]) {
    // The bias, which is the same in all of them.
    let start = out.first().copied().unwrap_or(T::ZERO);
    polyphase.reduce(&Filter(filter), room, start, out);
}
