//! Elements as numbers that sort as they do, so that one sort serves all types: NaN is the greatest
//! number, and equal to itself.

use crate::error::{Result, bail};
use crate::tensor::Data;
use half::{bf16, f16};

/// Elements that are numbers.
trait Key {
    /// A number that compares with other keys of this type as the elements do.
    fn key(&self) -> u64;
}

const SIGN: u64 = 1 << 63;

macro_rules! signed {
    ($($t:ty),+) => {$(
        impl Key for $t {
            #[inline]
            fn key(&self) -> u64 { i64::from(*self) as u64 ^ SIGN }
        }
    )+};
}
signed!(i8, i16, i32, i64);

macro_rules! unsigned {
    ($($t:ty),+) => {$(
        impl Key for $t {
            #[inline]
            fn key(&self) -> u64 { u64::from(*self) }
        }
    )+};
}
unsigned!(u8, u16, u32, u64, bool);

macro_rules! floats {
    ($($t:ty),+) => {$(
        impl Key for $t {
            #[inline]
            fn key(&self) -> u64 {
                // Doubles hold all of them; adding zero turns -0 into +0, which it is equal to.
                let wide = f64::from(*self) + 0.0;
                let bits = wide.to_bits();
                if wide.is_nan() {
                    u64::MAX
                } else if bits & SIGN != 0 {
                    !bits
                } else {
                    bits | SIGN
                }
            }
        }
    )+};
}
floats!(f32, f64, f16, bf16);

/// `count` keys of the elements of `data` in steps of `step` from `start` on, put in the place of
/// what is in `out`. Those of two types do not compare.
///
/// # Errors
/// `InvalidInput` for elements that are no numbers, or of a type that is not computed with.
pub(super) fn keys(
    op: &str,
    data: &Data,
    (start, step, count): (usize, usize, usize),
    out: &mut Vec<u64>,
) -> Result<()> {
    let put = (start, step, count);
    match data {
        Data::F32(v) => of(v, put, out),
        Data::F64(v) => of(v, put, out),
        Data::F16(v) => of(v, put, out),
        Data::BF16(v) => of(v, put, out),
        Data::I8(v) => of(v, put, out),
        Data::I16(v) => of(v, put, out),
        Data::I32(v) => of(v, put, out),
        Data::I64(v) => of(v, put, out),
        Data::U8(v) => of(v, put, out),
        Data::U16(v) => of(v, put, out),
        Data::U32(v) => of(v, put, out),
        Data::U64(v) => of(v, put, out),
        Data::Bool(v) => of(v, put, out),
        other => bail!(InvalidInput, "{op} of {}", other.dtype()),
    }
    Ok(())
}

fn of<T: Key>(v: &[T], (start, step, count): (usize, usize, usize), out: &mut Vec<u64>) {
    let v = v.get(start..).unwrap_or_default();
    out.clear();
    if step == 1 {
        out.extend(v.iter().take(count).map(T::key));
    } else {
        out.extend(v.iter().step_by(step.max(1)).take(count).map(T::key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_numbers_do() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let sorted = [-inf, -1e300, -2.5, -1e-300, -0.0, 1e-300, 0.5, 7.0, 1e300, inf, nan];
        let ascend = |v: Vec<u64>| assert!(v.is_sorted_by(|a, b| a < b), "{v:?}");
        ascend(sorted.iter().map(Key::key).collect());
        ascend([-inf, -2.5, 0.0, 0.5, inf, nan].map(|v| (v as f32).key()).to_vec());
        ascend([-inf, -2.5, 0.0, 0.5, inf, nan].map(|v| f16::from_f64(v).key()).to_vec());
        ascend([-inf, -2.5, 0.0, 0.5, inf, nan].map(|v| bf16::from_f64(v).key()).to_vec());
        ascend([i64::MIN, -1, 0, 1, i64::MAX].map(|v| v.key()).to_vec());
        ascend([i8::MIN, -1, 0, 1, i8::MAX].map(|v| v.key()).to_vec());
        ascend([0, 1, 1 << 63, u64::MAX].map(|v: u64| v.key()).to_vec());
        ascend([false, true].map(|v| v.key()).to_vec());
        assert_eq!(0.0f64.key(), (-0.0f64).key());
        assert_eq!(f32::NAN.key(), (-f32::NAN).key());
    }

    #[test]
    fn every_step_has_its_key() {
        let data = Data::U8(vec![5, 6, 7, 8, 9]);
        let mut out = vec![0; 9];
        keys("", &data, (1, 2, 2), &mut out).unwrap();
        assert_eq!(out, [6, 8]);
        keys("", &data, (2, 1, 3), &mut out).unwrap();
        assert_eq!(out, [7, 8, 9]);
        assert!(keys("", &Data::String(vec![]), (0, 1, 0), &mut out).is_err());
    }
}
