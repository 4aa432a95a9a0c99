//! Which elements of an axis a position reads, and how much each of them counts.

use crate::kernel::conv::position::Position;

/// How values between elements are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Nearest,
    Linear,
    Cubic,
}

impl Mode {
    /// Opset 16 names the modes of images, later ones those of any number of axes.
    pub fn parse(name: &str) -> Option<Mode> {
        Some(match name {
            "nearest" => Mode::Nearest,
            "linear" | "bilinear" => Mode::Linear,
            "cubic" | "bicubic" => Mode::Cubic,
            _ => return None,
        })
    }

    /// How many elements of an axis count.
    pub fn width(self) -> usize {
        match self {
            Mode::Nearest => 1,
            Mode::Linear => 2,
            Mode::Cubic => 4,
        }
    }
}

/// What lies beyond the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Padding {
    Zeros,
    Border,
    Reflection,
}

impl Padding {
    pub fn parse(name: &str) -> Option<Padding> {
        Some(match name {
            "zeros" => Padding::Zeros,
            "border" => Padding::Border,
            "reflection" => Padding::Reflection,
            _ => return None,
        })
    }
}

/// The place of an element that is not there and counts as zero.
pub(super) const OUTSIDE: usize = usize::MAX;

/// A spatial axis of at least one element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub size: usize,
    pub padding: Padding,
    /// Whether -1 and 1 are the middles of the outer elements, or their outer edges.
    pub align_corners: bool,
}

/// `x` mirrored at the borders until it lies between them; 0 where that has no meaning.
fn reflect<P: Position>(x: P, low: P, high: P) -> P {
    let range = high - low;
    if !x.is_finite() || range <= P::ZERO {
        return P::ZERO;
    }
    let below = x < low;
    let past = if below { low - x } else { x - high };
    let turns = (past / range).floor();
    let rest = past - turns * range;
    let half = turns / P::from_f32(2.0);
    let even = half.floor() == half;
    let x = if below == even { low + rest } else { high - rest };
    x.between(low, high)
}

/// The four weights of cubic convolution (a = -0.75) for a position `t` past the second element.
fn cubic(t: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

impl Axis {
    /// The position, counted in elements, that a number of the grid means.
    fn position<P: Position>(&self, n: P) -> P {
        let (size, two) = (P::from_f64(self.size as f64), P::from_f32(2.0));
        if self.align_corners {
            (n + P::ONE) / two * (size - P::ONE)
        } else {
            ((n + P::ONE) * size - P::ONE) / two
        }
    }

    fn borders(&self) -> (f64, f64) {
        let edge = if self.align_corners { 0.0 } else { 0.5 };
        (-edge, self.size as f64 - 1.0 + edge)
    }

    /// A position beyond the borders brought back between them, as the padding has it.
    fn kept<P: Position>(&self, mode: Mode, x: P) -> P {
        let (low, high) = self.borders();
        let (low, high) = (P::from_f64(low), P::from_f64(high));
        if low <= x && x <= high {
            return x;
        }
        match self.padding {
            Padding::Zeros => x,
            Padding::Border if x.is_nan() => P::ZERO,
            Padding::Border => {
                // Four elements that overlap the border are weighed as they lie, as in PyTorch;
                // from four elements on nothing but the border counts.
                let margin = if mode == Mode::Cubic { 4.0 } else { 0.0 };
                let last = self.size as f64 - 1.0;
                x.between(P::from_f64(-margin), P::from_f64(last + margin))
            }
            Padding::Reflection => reflect(x, low, high),
        }
    }

    /// The place of element `i`, which may lie beyond the border.
    fn place(&self, i: i64) -> usize {
        let last = self.size as i64 - 1;
        let at = match self.padding {
            _ if (0..=last).contains(&i) => i,
            Padding::Zeros => return OUTSIDE,
            Padding::Border => i.clamp(0, last),
            Padding::Reflection => {
                let (low, high) = self.borders();
                // Half an element beyond the last one is still the last one: cut, not rounded.
                (reflect(i as f64, low, high) as i64).clamp(0, last)
            }
        };
        at as usize
    }

    /// Writes the places and weights that the number `n` of the grid reads to `out`, which has
    /// room for [`Mode::width`] of them.
    pub fn taps<P: Position>(&self, mode: Mode, n: P, out: &mut [(usize, f64)]) {
        let x = self.position(n);
        let x = self.kept(mode, if mode == Mode::Nearest { x.round_ties_even() } else { x });
        let floor = x.floor().to_f64();
        // What is too far away for the arithmetic below (or NaN) is outside all the same.
        let whole = if floor.abs() < 1e15 { floor as i64 } else { i64::MIN / 2 };
        let t = x.to_f64() - floor;
        match mode {
            Mode::Nearest => fill(out, &[1.0], |_| self.place(whole)),
            Mode::Linear => fill(out, &[1.0 - t, t], |i| self.place(whole + i)),
            Mode::Cubic => fill(out, &cubic(t), |i| self.place(whole - 1 + i)),
        }
    }
}

fn fill(out: &mut [(usize, f64)], weights: &[f64], place: impl Fn(i64) -> usize) {
    for ((out, &weight), i) in out.iter_mut().zip(weights).zip(0..) {
        *out = (place(i), weight);
    }
}
