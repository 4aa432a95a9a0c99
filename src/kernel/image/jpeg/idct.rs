//! The inverse cosine transform of Loeffler, Ligtenberg and Moschytz in whole numbers, with the
//! roundings of the Independent JPEG Group's `islow`, which decoders are compared by.

/// Bits of a constant's fraction.
const BITS: u32 = 13;
/// Bits that the first pass keeps.
const KEPT: u32 = 2;

/// `x` as a number of [`BITS`] bits behind the point.
const fn fixed(x: f64) -> i64 {
    (x * (1 << BITS) as f64 + 0.5) as i64
}

/// One pass over eight numbers; each result is still to be divided by `2^BITS`.
fn pass(x: [i64; 8]) -> [i64; 8] {
    let shared = (x[2] + x[6]) * fixed(0.541_196_100);
    let (even2, even3) =
        (shared - x[6] * fixed(1.847_759_065), shared + x[2] * fixed(0.765_366_865));
    let (even0, even1) = ((x[0] + x[4]) << BITS, (x[0] - x[4]) << BITS);
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];
    let (a, b, c, d) = (x[7], x[5], x[3], x[1]);
    let all = (a + c + b + d) * fixed(1.175_875_602);
    let (ad, bc) = (-(a + d) * fixed(0.899_976_223), -(b + c) * fixed(2.562_915_447));
    let ac = all - (a + c) * fixed(1.961_570_560);
    let bd = all - (b + d) * fixed(0.390_180_644);
    let odd = [
        d * fixed(1.501_321_110) + ad + bd,
        c * fixed(3.072_711_026) + bc + ac,
        b * fixed(2.053_119_869) + bc + bd,
        a * fixed(0.298_631_336) + ad + ac,
    ];
    std::array::from_fn(|i| if i < 4 { even[i] + odd[i] } else { even[7 - i] - odd[7 - i] })
}

/// `x / 2^bits`, rounded.
fn descale(x: i64, bits: u32) -> i64 {
    (x + (1 << (bits - 1))) >> bits
}

/// The samples of a block of coefficients.
pub(super) fn samples(coefficients: &[i16; 64], quantisation: &[u16; 64]) -> [u8; 64] {
    let mut work = [0i64; 64];
    for column in 0..8 {
        let x = std::array::from_fn(|row| {
            let i = row * 8 + column;
            i64::from(coefficients[i]) * i64::from(quantisation[i])
        });
        for (row, y) in pass(x).into_iter().enumerate() {
            work[row * 8 + column] = descale(y, BITS - KEPT);
        }
    }
    let mut out = [0; 64];
    for (x, out) in work.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
        // Eight times the samples, less the middle of their range.
        *out = pass(*x).map(|y| (descale(y, BITS + KEPT + 3) + 128).clamp(0, 255) as u8);
    }
    out
}
