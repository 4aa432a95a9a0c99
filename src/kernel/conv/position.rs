//! Positions between elements, for operators that read an image anywhere.

use super::real::Real;

/// A floating-point type that positions are computed in.
pub(in crate::kernel) trait Position: Real {
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    /// The nearest whole number, the even one of two.
    fn round_ties_even(self) -> Self;
    fn is_finite(self) -> bool;
    fn to_f64(self) -> f64;
}

macro_rules! position {
    ($($t:ident),+) => {$(
        impl Position for $t {
            fn floor(self) -> Self { self.floor() }
            fn ceil(self) -> Self { self.ceil() }
            fn round_ties_even(self) -> Self { self.round_ties_even() }
            fn is_finite(self) -> bool { self.is_finite() }
            fn to_f64(self) -> f64 { self as f64 }
        }
    )+};
}
position!(f32, f64);
