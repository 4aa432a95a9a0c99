//! Expected values are those of plain loops that follow the specifications' formulas, or worked
//! out by hand.

mod caches;
mod contributed;
mod oracle;
mod recurrent;
mod rotary;
mod standard;
mod variants;

use crate::kernel::testing::t;
use crate::tensor::Tensor;

/// Numbers between −1 and 1 without a pattern.
fn wave(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1013) as f32 / 506.5 - 1.0;
    t(dims, &(0..n).map(value).collect::<Vec<_>>())
}

/// Asserts that numbers agree within `tolerance`, relative to 1 or the expected value.
fn assert_near(got: &Tensor, expected: &[f64], tolerance: f64) {
    let got = got.to_f64_vec().unwrap();
    assert_eq!(got.len(), expected.len());
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let same = g == e || (g - e).abs() <= tolerance * e.abs().max(1.0);
        assert!(same, "element {i}: got {g}, expected {e}");
    }
}
