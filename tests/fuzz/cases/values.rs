//! Numbers and tensors at which operators and models change their ways.

use arbitrary::{Result, Unstructured};
use modelserve::convert_input;
use modelserve::tensor::{Data, ElementType, Shape, Tensor};

const INTS: [i64; 16] = [0, 1, 2, 3, -1, -2, 4, 7, 8, 16, 5, 100, -3, i64::MAX, i64::MIN, 1 << 31];
const FLOATS: [f32; 12] =
    [0.0, 1.0, -1.0, 0.5, 2.0, -0.0, 1e-7, 1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3.5];
/// Most elements of a tensor.
const MOST: usize = 1 << 12;

pub fn int(u: &mut Unstructured<'_>) -> Result<i64> {
    u.choose(&INTS).copied()
}

pub fn float(u: &mut Unstructured<'_>) -> Result<f32> {
    u.choose(&FLOATS).copied()
}

fn dims(u: &mut Unstructured<'_>) -> Result<Vec<usize>> {
    let rank = u.int_in_range(0..=5)?;
    (0..rank).map(|_| u.choose(&[1, 2, 3, 2, 4, 0, 5, 1]).copied()).collect()
}

/// So many elements of a type; texts are some of these words.
pub fn data(
    u: &mut Unstructured<'_>,
    dtype: ElementType,
    n: usize,
    words: &[&str],
) -> Result<Data> {
    let small = Data::from_small_bits(dtype, std::iter::empty()).is_some();
    Ok(match dtype {
        ElementType::F32 => Data::F32((0..n).map(|_| float(u)).collect::<Result<_>>()?),
        ElementType::F64 => Data::F64((0..n).map(|_| Ok(float(u)?.into())).collect::<Result<_>>()?),
        ElementType::I64 => Data::I64((0..n).map(|_| int(u)).collect::<Result<_>>()?),
        ElementType::I32 => Data::I32((0..n).map(|_| Ok(int(u)? as i32)).collect::<Result<_>>()?),
        ElementType::Bool => Data::Bool((0..n).map(|_| u.arbitrary()).collect::<Result<_>>()?),
        ElementType::String => Data::String(
            (0..n).map(|_| Ok((*u.choose(words)?).to_string())).collect::<Result<_>>()?,
        ),
        ElementType::U8 => Data::U8((0..n).map(|_| u.arbitrary()).collect::<Result<_>>()?),
        ElementType::I8 => Data::I8((0..n).map(|_| u.arbitrary()).collect::<Result<_>>()?),
        ElementType::I16 => Data::I16((0..n).map(|_| u.arbitrary()).collect::<Result<_>>()?),
        ElementType::U16 => Data::U16((0..n).map(|_| u.arbitrary()).collect::<Result<_>>()?),
        ElementType::U32 => Data::U32((0..n).map(|_| Ok(int(u)? as u32)).collect::<Result<_>>()?),
        ElementType::U64 => Data::U64((0..n).map(|_| Ok(int(u)? as u64)).collect::<Result<_>>()?),
        _ if small => {
            let bits: Vec<u8> = (0..n).map(|_| u.arbitrary()).collect::<Result<_>>()?;
            Data::from_small_bits(dtype, bits.into_iter()).unwrap_or_else(|| Data::zeros(dtype, n))
        }
        ElementType::F16 | ElementType::BF16 => {
            let floats = (0..n).map(|_| float(u)).collect::<Result<Vec<f32>>>()?;
            Tensor::from_vec(&[n], floats)
                .and_then(|floats| convert_input(floats, dtype))
                .map_or_else(|_| Data::zeros(dtype, n), Tensor::into_data)
        }
        other => Data::zeros(other, n),
    })
}

/// A tensor: mostly of floats or of whole numbers.
pub fn tensor(u: &mut Unstructured<'_>, words: &[&str]) -> Result<Tensor> {
    let common = [ElementType::F32, ElementType::I64, ElementType::F64, ElementType::Bool];
    let dtype = match u.ratio(2, 3)? {
        true => *u.choose(&common)?,
        false => *u.choose(&ElementType::ALL)?,
    };
    let shape = Shape::new(&dims(u)?).unwrap_or_else(|_| Shape::scalar());
    let data = data(u, dtype, shape.len().min(MOST), words)?;
    Ok(Tensor::new(shape, data).unwrap_or_else(|_| Tensor::scalar(1f32)))
}
