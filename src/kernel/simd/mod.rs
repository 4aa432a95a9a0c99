//! Vectorised mathematics, chosen by CPU features at run time.
//!
//! Each function is written once, free of branches, and compiled twice: for the baseline and
//! with AVX2 and FMA. Elements are computed independently and with the same operations wherever
//! they lie in a slice, and a reduction's order depends on its length alone, so a row answers
//! the same bits alone and in a batch.

pub mod blend;
mod elementary;
pub mod packed;
mod reduction;
mod zip;

pub use elementary::{
    erf_in_place, exp_in_place, gelu_in_place, gelu_tanh_in_place, log_in_place, sigmoid_in_place,
    tanh_in_place,
};
pub use reduction::{centered_square_sum, dot, exp_minus, max, sum};
pub use zip::{map, zip};

/// Whether fused multiply-add is an instruction of the baseline (elsewhere it would be a call).
const NATIVE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `a·b + c`, in one rounding where `FMA`.
#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Whether this CPU has AVX2 and FMA (detected once, then a load).
#[inline]
fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Defines a function as `$body::<FMA>`, compiled for the baseline and for AVX2 with FMA.
macro_rules! versioned {
    ($(#[$doc:meta])* pub fn $name:ident $(<$($g:ident: $bound:path),+>)?
        ($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:ident;) => {
        $(#[$doc])*
        #[inline]
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "calls a version for features that were detected")
        )]
        pub fn $name$(<$($g: $bound),+>)?($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            if super::has_avx2() {
                #[target_feature(enable = "avx2,fma")]
                fn fast$(<$($g: $bound),+>)?($($arg: $ty),*) $(-> $ret)? {
                    $body::<true $($(, $g)+)?>($($arg),*)
                }
                // SAFETY: `has_avx2` found both features on this CPU.
                return unsafe { fast($($arg),*) };
            }
            $body::<{ super::NATIVE_FMA } $($(, $g)+)?>($($arg),*)
        }
    };
}
use versioned;
