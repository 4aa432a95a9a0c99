//! The two precisions an ensemble can have.

/// A threshold, leaf weight or score.
pub(super) trait Real:
    Copy + PartialOrd + Send + Sync + std::fmt::Debug + 'static + std::ops::Add<Output = Self>
{
    const ZERO: Self;
    const NAN: Self;
    const INFINITY: Self;
    fn of(value: f64) -> Self;
    fn f32(self) -> f32;
    fn f64(self) -> f64;
    fn is_nan(self) -> bool;
    /// The largest value below `self`; NaN where there is none.
    fn below(self) -> Self;
    fn negated(self) -> Self;
    fn divided(self, count: usize) -> Self;
    /// `1 - self`.
    fn complement(self) -> Self;
}

macro_rules! real {
    ($($t:ident),+) => {$(
        impl Real for $t {
            const ZERO: Self = 0.0;
            const NAN: Self = $t::NAN;
            const INFINITY: Self = $t::INFINITY;
            fn of(value: f64) -> Self { value as $t }
            fn f32(self) -> f32 { self as f32 }
            fn f64(self) -> f64 { self.into() }
            fn is_nan(self) -> bool { $t::is_nan(self) }
            fn below(self) -> Self {
                if self == $t::NEG_INFINITY { $t::NAN } else { self.next_down() }
            }
            fn negated(self) -> Self { -self }
            fn divided(self, count: usize) -> Self { self / count as $t }
            fn complement(self) -> Self { 1.0 - self }
        }
    )+};
}

real!(f32, f64);
