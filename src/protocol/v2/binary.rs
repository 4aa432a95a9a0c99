//! Tensors as raw little-endian bytes, as they follow the JSON of a request or response.
//! Strings (`BYTES`) are each four bytes of length and as many of text.

use super::super::fault::{Fault, Outcome};
use super::datatype;
use crate::tensor::{Data, ElementType, Shape, Tensor};
use half::{bf16, f16};

/// The tensor in `bytes`, all of which it has to fill. Nothing is reserved before the size is
/// known to be right.
pub(super) fn read(
    name: &str,
    dtype: ElementType,
    shape: Shape,
    bytes: &[u8],
    most_string_bytes: usize,
) -> Outcome<Tensor> {
    if dtype == ElementType::String {
        let texts = strings(name, shape.len(), bytes, most_string_bytes)?;
        return Ok(Tensor::new(shape, Data::String(texts))?);
    }
    let expected = shape.len().checked_mul(dtype.size());
    if expected != Some(bytes.len()) {
        return Err(Fault::bad(format!(
            "unexpected total byte size {} for input '{name}', expecting {} ({} {shape})",
            bytes.len(),
            expected.map_or_else(|| "more than there can be".to_string(), |n| n.to_string()),
            datatype(dtype)
        )));
    }
    macro_rules! numbers {
        ($($element:ident: $rust:ty),+) => {
            match dtype {
                $(ElementType::$element => Data::$element(words::<$rust, { size_of::<$rust>() }>(
                    bytes, <$rust>::from_le_bytes)),)+
                ElementType::Bool => Data::Bool(bytes.iter().map(|b| *b != 0).collect()),
                ElementType::String => Data::String(Vec::new()),
                // The protocol has no name by which these could be asked for.
                other => Data::zeros(other, 0),
            }
        };
    }
    let data = numbers!(
        F32: f32, F64: f64, F16: f16, BF16: bf16, I8: i8, I16: i16, I32: i32, I64: i64, U8: u8,
        U16: u16, U32: u32, U64: u64
    );
    Ok(Tensor::new(shape, data)?)
}

fn words<T, const N: usize>(bytes: &[u8], of: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|word| of(*word)).collect()
}

fn strings(name: &str, count: usize, bytes: &[u8], most: usize) -> Outcome<Vec<String>> {
    let cut = || {
        Fault::bad(format!(
            "incomplete string data for input '{name}': {count} strings, each after its length in \
             four bytes, are not what there is"
        ))
    };
    // Four bytes each at least: a count beyond that reserves nothing.
    if count > bytes.len() / 4 {
        return Err(cut());
    }
    let mut texts = Vec::with_capacity(count);
    let mut rest = bytes;
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (text, after) = after.split_at_checked(length).ok_or_else(cut)?;
        if length > most {
            return Err(Fault::own(
                crate::ErrorKind::LimitExceeded,
                format!("a string of {length} bytes in input '{name}' (at most {most})"),
            ));
        }
        let text = std::str::from_utf8(text).map_err(|_| {
            Fault::bad(format!("input '{name}': a string is not UTF-8, which strings are here"))
        })?;
        texts.push(text.to_string());
        rest = after;
    }
    if !rest.is_empty() {
        return Err(cut());
    }
    Ok(texts)
}

/// Whether JSON has no form for elements of that type.
pub(super) fn only(dtype: ElementType) -> bool {
    let in_json = matches!(dtype, ElementType::F32 | ElementType::F64)
        || matches!(dtype, ElementType::Bool | ElementType::String);
    !in_json && !dtype.is_integer()
}

/// Appends a tensor's bytes.
pub(super) fn write(tensor: &Tensor, out: &mut Vec<u8>) {
    macro_rules! numbers {
        ($($element:ident),+) => {
            match tensor.data() {
                $(Data::$element(v) => {
                    v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
                })+
                Data::Bool(v) => out.extend(v.iter().map(|b| u8::from(*b))),
                Data::String(v) => {
                    for text in v {
                        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                        out.extend_from_slice(&length.to_le_bytes());
                        out.extend_from_slice(text.as_bytes());
                    }
                }
                Data::C64(v) => {
                    for x in v {
                        out.extend_from_slice(&x.re.to_le_bytes());
                        out.extend_from_slice(&x.im.to_le_bytes());
                    }
                }
                Data::C128(v) => {
                    for x in v {
                        out.extend_from_slice(&x.re.to_le_bytes());
                        out.extend_from_slice(&x.im.to_le_bytes());
                    }
                }
                small => out.extend(small.small_bits().unwrap_or_default()),
            }
        };
    }
    numbers!(F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_goes_there_and_back() {
        let tensors = [
            Tensor::from_vec(&[2], vec![1f32, f32::NAN]).unwrap(),
            Tensor::from_vec(&[1, 2], vec![1f64, -0.0]).unwrap(),
            Tensor::from_vec(&[1], vec![f16::from_f32(1.5)]).unwrap(),
            Tensor::from_vec(&[1], vec![bf16::from_f32(1.5)]).unwrap(),
            Tensor::from_vec(&[2], vec![-1i8, 1]).unwrap(),
            Tensor::from_vec(&[2], vec![-1i16, 1]).unwrap(),
            Tensor::from_vec(&[2], vec![-1i32, 1]).unwrap(),
            Tensor::from_vec(&[2], vec![i64::MIN, 1]).unwrap(),
            Tensor::from_vec(&[2], vec![0u8, 255]).unwrap(),
            Tensor::from_vec(&[2], vec![0u16, 65_535]).unwrap(),
            Tensor::from_vec(&[2], vec![0u32, u32::MAX]).unwrap(),
            Tensor::from_vec(&[2], vec![0u64, u64::MAX]).unwrap(),
            Tensor::from_vec(&[2], vec![true, false]).unwrap(),
            Tensor::from_vec(&[2], vec![String::new(), "ä".to_string()]).unwrap(),
            Tensor::from_vec(&[0, 3], Vec::<f32>::new()).unwrap(),
        ];
        for tensor in tensors {
            let mut bytes = Vec::new();
            write(&tensor, &mut bytes);
            let back = read("x", tensor.dtype(), tensor.shape().clone(), &bytes, 100).unwrap();
            let mut again = Vec::new();
            write(&back, &mut again);
            assert_eq!((back.dims(), back.dtype()), (tensor.dims(), tensor.dtype()));
            assert_eq!(bytes, again);
            bytes.push(0);
            assert!(read("x", tensor.dtype(), tensor.shape().clone(), &bytes, 100).is_err());
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let read = |count: usize, bytes: &[u8]| {
            let shape = Shape::new(&[count]).unwrap();
            read("x", ElementType::String, shape, bytes, 8).map_err(|f| f.message().into_owned())
        };
        assert!(read(1, &[2, 0, 0, 0, b'a']).is_err());
        assert!(read(2, &[1, 0, 0, 0, b'a']).is_err());
        assert!(read(1, &[255, 255, 255, 255]).is_err());
        assert!(read(1 << 39, &[0; 16]).is_err());
        assert!(read(1, &[1, 0, 0, 0, 0xff]).unwrap_err().contains("UTF-8"));
        let long = [9, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        assert!(read(1, &long).unwrap_err().contains("at most 8"));
    }
}
