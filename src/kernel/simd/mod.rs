//! Vectorised mathematics, chosen by CPU features at run time.
//!
//! Each function is written once, free of branches, and compiled twice: for the baseline and
//! with AVX2 and FMA; and a third time with AVX-512 where vectors of 64 bytes pay. Elements are
//! computed independently and with the same operations wherever they lie in a slice, and a
//! reduction's order depends on its length alone, so a row answers the same bits alone and in a
//! batch.

mod affine;
pub mod blend;
mod elementary;
pub mod fetch;
pub mod integer;
pub mod packed;
mod reduction;
mod rows;
mod tile;
mod window;
mod zip;

pub use affine::{affine_narrow, affine_wide};
pub use elementary::{
    erf_in_place, exp_in_place, gelu_in_place, gelu_tanh_in_place, log_in_place, sigmoid_in_place,
    tanh_in_place,
};
pub use reduction::{centered_square_sum, dot, exp_minus, max, sum};
pub use rows::{scale_rows, softmax_rows};
pub use window::{Tap, WindowReduction, WindowRows, reduce_windows, split_pairs, window_span};
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
    #[cfg(test)]
    if versions::most() < versions::AVX2 {
        return false;
    }
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether this CPU has the parts of AVX-512 that all but the first of its kind have, and what
/// [`has_avx2`] asks for.
#[inline]
#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    #[cfg(test)]
    if versions::most() < versions::AVX512 {
        return false;
    }
    has_avx2()
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl")
}

/// Returns what `$body::<true>` answers, compiled for some features, where this CPU `$has` them.
macro_rules! answer_with {
    ($has:ident, $features:literal, $body:ident, [$($g:ident: $bound:path),*],
        [$($arg:ident: $ty:ty),*], [$($ret:ty)?]) => {
        #[cfg(target_arch = "x86_64")]
        if super::$has() {
            #[target_feature(enable = $features)]
            fn fast<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? {
                $body::<true $(, $g)*>($($arg),*)
            }
            // SAFETY: these features were found on this CPU.
            return unsafe { fast($($arg),*) };
        }
    };
}
use answer_with;

/// Defines a function as `$body::<FMA>`, compiled for the baseline and for AVX2 with FMA; and for
/// AVX-512 where that is asked for.
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
            super::answer_with!(has_avx2, "avx2,fma", $body, [$($($g: $bound),+)?],
                [$($arg: $ty),*], [$($ret)?]);
            $body::<{ super::NATIVE_FMA } $($(, $g)+)?>($($arg),*)
        }
    };
    ($(#[$doc:meta])* pub fn $name:ident $(<$($g:ident: $bound:path),+>)?
        ($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:ident, avx512;) => {
        $(#[$doc])*
        #[inline]
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "calls a version for features that were detected")
        )]
        pub fn $name$(<$($g: $bound),+>)?($($arg: $ty),*) $(-> $ret)? {
            super::answer_with!(has_avx512, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl", $body,
                [$($($g: $bound),+)?], [$($arg: $ty),*], [$($ret)?]);
            super::answer_with!(has_avx2, "avx2,fma", $body, [$($($g: $bound),+)?],
                [$($arg: $ty),*], [$($ret)?]);
            $body::<{ super::NATIVE_FMA } $($(, $g)+)?>($($arg),*)
        }
    };
}
use versioned;

/// For tests: versions below the widest that this CPU has.
#[cfg(test)]
pub mod versions {
    use std::cell::Cell;

    pub(super) const AVX2: u8 = 1;
    pub(super) const AVX512: u8 = 2;

    thread_local! {
        static MOST: Cell<u8> = const { Cell::new(AVX512) };
    }

    /// The widest version that this thread may take.
    pub(super) fn most() -> u8 {
        MOST.get()
    }

    /// Works with each version in turn, as far as this CPU has them.
    pub fn each(mut work: impl FnMut()) {
        for most in 0..=AVX512 {
            MOST.set(most);
            work();
        }
    }
}
