//! Any cheap function of one or two elements over slices, with the widest registers there are.

use super::versioned;

/// Results go through a buffer of this length: stored in place one by one, a choice such as
/// "x, or 0 below it" becomes a conditional store, which takes ten times as long.
const PIECE: usize = 64;

/// A function of two `f32`, as [`zip`] takes it.
pub trait Function2: Fn(f32, f32) -> f32 {}
impl<F: Fn(f32, f32) -> f32> Function2 for F {}

/// A function of one `f32`, as [`map`] takes it.
pub trait Function1: Fn(f32) -> f32 {}
impl<F: Fn(f32) -> f32> Function1 for F {}

#[inline(always)]
fn map_body<const FMA: bool, F: Function1>(x: &mut [f32], f: F) {
    let mut results = [0f32; PIECE];
    for x in x.chunks_mut(PIECE) {
        let results = &mut results[..x.len()];
        for (r, &v) in results.iter_mut().zip(&*x) {
            *r = f(v);
        }
        x.copy_from_slice(results);
    }
}

#[inline(always)]
fn zip_body<const FMA: bool, F: Function2>(x: &mut [f32], y: &[f32], f: F) {
    let mut results = [0f32; PIECE];
    for (x, y) in x.chunks_mut(PIECE).zip(y.chunks(PIECE)) {
        let n = x.len().min(y.len());
        let (x, results) = (&mut x[..n], &mut results[..n]);
        for ((r, &x), &y) in results.iter_mut().zip(&*x).zip(y) {
            *r = f(x, y);
        }
        x.copy_from_slice(results);
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
