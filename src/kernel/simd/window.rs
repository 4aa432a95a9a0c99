//! Windows over a plane whose elements lie so that neighbouring outputs meet neighbouring elements
//! (see `conv::polyphase`): products with a filter, sums, maxima.

use super::versioned;

/// Outputs computed side by side, from the most to the fewest.
const LANES: usize = 32;
const HALF: usize = 16;
const LEAST: usize = 8;

/// One kernel element that an output row meets.
#[derive(Debug, Clone, Copy)]
pub struct Tap {
    /// The element under the row's first output.
    pub at: usize,
    /// Which kernel element.
    pub kernel: usize,
}

/// The taps of each output row.
#[derive(Debug, Clone, Copy)]
pub struct WindowRows<'a> {
    pub taps: &'a [Tap],
    /// Where each row's taps begin; one more than there are rows.
    pub starts: &'a [usize],
    /// Outputs of a row.
    pub width: usize,
}

/// How the elements of a window become one.
pub trait WindowReduction {
    type Element: Copy;
    /// What a kernel element brings.
    type Weight: Copy;
    /// That of a kernel element, where there is one.
    fn weight(&self, kernel: usize) -> Option<Self::Weight>;
    /// What is reduced so far and one more element, by one fused multiply-add where `FMA`.
    fn meet<const FMA: bool>(
        reduced: Self::Element,
        x: Self::Element,
        weight: Self::Weight,
    ) -> Self::Element;
}

/// Elements that the outputs of a row of `width` touch under one tap: computed by whole lanes,
/// they go beyond the row's end.
pub fn window_span(width: usize) -> usize {
    let rest = width % LANES;
    width - rest
        + match rest {
            0 => 0,
            1..=LEAST => LEAST,
            _ if rest <= HALF => HALF,
            _ => LANES,
        }
}

/// The next outputs of a row, `L` side by side.
#[inline(always)]
fn lanes<const FMA: bool, const L: usize, R: WindowReduction>(
    reduction: &R,
    taps: &[Tap],
    elements: &[R::Element],
    start: R::Element,
    at: usize,
    out: &mut [R::Element; L],
) {
    let mut reduced = [start; L];
    for tap in taps {
        let from = tap.at + at;
        let x = elements.get(from..from + L).and_then(|x| x.first_chunk::<L>());
        if let (Some(x), Some(weight)) = (x, reduction.weight(tap.kernel)) {
            for (r, &x) in reduced.iter_mut().zip(x) {
                *r = R::meet::<FMA>(*r, x, weight);
            }
        }
    }
    *out = reduced;
}

/// The last outputs of a row, fewer than `L`.
#[inline(always)]
fn last_lanes<const FMA: bool, const L: usize, R: WindowReduction>(
    reduction: &R,
    taps: &[Tap],
    elements: &[R::Element],
    start: R::Element,
    at: usize,
    out: &mut [R::Element],
) {
    let mut whole = [start; L];
    lanes::<FMA, L, R>(reduction, taps, elements, start, at, &mut whole);
    out.iter_mut().zip(whole).for_each(|(out, x)| *out = x);
}

#[inline(always)]
fn reduce_body<const FMA: bool, R: WindowReduction>(
    reduction: &R,
    rows: WindowRows<'_>,
    elements: &[R::Element],
    start: R::Element,
    out: &mut [R::Element],
) {
    let bounds = rows.starts.iter().zip(rows.starts.iter().skip(1));
    for (out, (&first, &end)) in out.chunks_mut(rows.width.max(1)).zip(bounds) {
        let taps = rows.taps.get(first..end).unwrap_or(&[]);
        let (whole, rest) = out.as_chunks_mut::<LANES>();
        let mut at = 0;
        for out in whole {
            lanes::<FMA, LANES, R>(reduction, taps, elements, start, at, out);
            at += LANES;
        }
        match rest.len() {
            0 => {}
            1..=LEAST => last_lanes::<FMA, LEAST, R>(reduction, taps, elements, start, at, rest),
            _ if rest.len() <= HALF => {
                last_lanes::<FMA, HALF, R>(reduction, taps, elements, start, at, rest);
            }
            _ => last_lanes::<FMA, LANES, R>(reduction, taps, elements, start, at, rest),
        }
    }
}

versioned! {
    /// Reduces each window to one element of `out`, beginning with `start`.
    pub fn reduce_windows<R: WindowReduction>(
        reduction: &R,
        rows: WindowRows<'_>,
        elements: &[R::Element],
        start: R::Element,
        out: &mut [R::Element]
    ) = reduce_body;
}

#[inline(always)]
fn pairs_body<const FMA: bool, T: Copy>(
    plane: &[T],
    size: usize,
    before: usize,
    room: &mut [T],
    length: usize,
) {
    for (row, room) in plane.chunks_exact(size).zip(room.chunks_exact_mut(2 * length)) {
        let (even, odd) = room.split_at_mut(length);
        // With an odd padding the first element is the second of a pair.
        let (first, row) = row.split_at((before % 2).min(row.len()));
        if let (Some(x), Some(place)) = (first.first(), odd.get_mut(before / 2)) {
            *place = *x;
        }
        let start = before.div_ceil(2);
        let (Some(even), Some(odd)) = (even.get_mut(start..), odd.get_mut(start..)) else {
            continue;
        };
        let (pairs, last) = row.as_chunks::<2>();
        if let (Some(x), Some(place)) = (last.first(), even.get_mut(pairs.len())) {
            *place = *x;
        }
        for ((even, odd), pair) in even.iter_mut().zip(odd).zip(pairs) {
            (*even, *odd) = (pair[0], pair[1]);
        }
    }
}

versioned! {
    /// Puts the rows of `size` elements of a plane, each with `before` elements of padding ahead,
    /// into rooms of `length` elements at even and as many at odd positions.
    pub fn split_pairs<T: Copy>(
        plane: &[T],
        size: usize,
        before: usize,
        room: &mut [T],
        length: usize
    ) = pairs_body;
}

#[cfg(test)]
mod tests {
    use super::super::versions;
    use super::*;

    struct Weighted(Vec<f32>);

    impl WindowReduction for Weighted {
        type Element = f32;
        type Weight = f32;
        fn weight(&self, kernel: usize) -> Option<f32> {
            self.0.get(kernel).copied()
        }
        fn meet<const FMA: bool>(reduced: f32, x: f32, weight: f32) -> f32 {
            super::super::fma::<FMA>(x, weight, reduced)
        }
    }

    #[test]
    fn pairs_go_where_their_positions_are() {
        for (size, before) in
            [(1usize, 0usize), (1, 1), (2, 1), (5, 0), (5, 3), (28, 1), (33, 2), (64, 64)]
        {
            let length = (size + before).div_ceil(2) + 1;
            let plane: Vec<u8> = (1..=2 * size as u8).collect();
            versions::each(|| {
                let mut room = vec![0; 4 * length];
                split_pairs(&plane, size, before, &mut room, length);
                for (row, room) in plane.chunks(size).zip(room.chunks(2 * length)) {
                    for position in 0..2 * length {
                        let x = position.checked_sub(before).and_then(|i| row.get(i));
                        let place = position % 2 * length + position / 2;
                        assert_eq!(room[place], x.copied().unwrap_or(0), "{size} {before}");
                    }
                }
            });
        }
    }

    #[test]
    fn rows_of_every_width_are_reduced() {
        let filter = Weighted(vec![0.5, -2.0, 3.0]);
        for width in 1..100 {
            let span = window_span(width);
            assert!(span >= width && span < width + LANES);
            // Two rows; the second has no last tap.
            let pitch = span + 2;
            let elements: Vec<f32> = (0..2 * pitch).map(|i| (i % 13) as f32).collect();
            let tap = |row: usize, kernel: usize| Tap { at: row * pitch + kernel, kernel };
            let taps = [tap(0, 0), tap(0, 1), tap(0, 2), tap(1, 0), tap(1, 1)];
            let rows = WindowRows { taps: &taps, starts: &[0, 3, 5], width };
            versions::each(|| {
                let mut out = vec![0.0; 2 * width];
                reduce_windows(&filter, rows, &elements, 1.0, &mut out);
                for (i, &got) in out.iter().enumerate() {
                    let (row, at) = (i / width, i % width);
                    let x = |k: usize| elements[row * pitch + at + k];
                    let last = if row == 0 { 3.0 * x(2) } else { 0.0 };
                    assert_eq!(got, 1.0 + 0.5 * x(0) - 2.0 * x(1) + last, "{i} of {width}");
                }
            });
        }
    }
}
