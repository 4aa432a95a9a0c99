//! Any cheap function of one or two elements over slices, with the widest registers there are.

use super::versioned;

/// A function of two `f32`, as [`zip`] takes it.
pub trait Function2: Fn(f32, f32) -> f32 {}
impl<F: Fn(f32, f32) -> f32> Function2 for F {}

/// A function of one `f32`, as [`map`] takes it.
pub trait Function1: Fn(f32) -> f32 {}
impl<F: Fn(f32) -> f32> Function1 for F {}

#[inline(always)]
fn map_body<const FMA: bool, F: Function1>(x: &mut [f32], f: F) {
    for v in x {
        *v = f(*v);
    }
}

#[inline(always)]
fn zip_body<const FMA: bool, F: Function2>(x: &mut [f32], y: &[f32], f: F) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = f(*x, y);
    }
}

versioned! {
    /// `x = f(x)` for each element; `f` should be branch-free arithmetic.
    pub fn map<F: Function1>(x: &mut [f32], f: F) = map_body;
}
versioned! {
    /// `x = f(x, y)` for each pair, of as many elements as the shorter slice has.
    pub fn zip<F: Function2>(x: &mut [f32], y: &[f32], f: F) = zip_body;
}
