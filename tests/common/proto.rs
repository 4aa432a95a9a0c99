//! Just enough of protobuf to read the tensors that stand beside a model of the zoo.

use modelserve::tensor::Tensor;

/// A field: its number and what it holds.
enum Field<'a> {
    Number(u64, u64),
    Bytes(u64, &'a [u8]),
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let tag = self.varint()?;
        let number = tag >> 3;
        Some(match tag & 7 {
            0 => Field::Number(number, self.varint()?),
            1 => Field::Bytes(number, self.bytes(8)?),
            5 => Field::Bytes(number, self.bytes(4)?),
            _ => {
                let n = self.varint()? as usize;
                Field::Bytes(number, self.bytes(n)?)
            }
        })
    }
}

/// The name and the tensor in a file that holds one; `None` for the element types and forms of
/// storage that the zoo does not use.
pub fn tensor(bytes: &[u8]) -> Option<(String, Tensor)> {
    let (mut dims, mut kind, mut name) = (vec![], 0, String::new());
    let (mut raw, mut texts, mut packed): (&[u8], Vec<String>, &[u8]) = (&[], vec![], &[]);
    for field in Fields(bytes) {
        match field {
            Field::Number(1, dim) => dims.push(dim as usize),
            Field::Bytes(1, all) => {
                let mut all = Fields(all);
                dims.extend(std::iter::from_fn(|| all.varint()).map(|dim| dim as usize));
            }
            Field::Number(2, number) => kind = number,
            Field::Bytes(4, floats) => packed = floats,
            Field::Bytes(6, text) => texts.push(String::from_utf8(text.to_vec()).ok()?),
            Field::Bytes(8, text) => name = String::from_utf8(text.to_vec()).ok()?,
            Field::Bytes(9, bytes) => raw = bytes,
            _ => {}
        }
    }
    macro_rules! numbers {
        ($t:ty, $bytes:expr) => {{
            let all = $bytes.chunks_exact(size_of::<$t>());
            let all = all.map(|b| <$t>::from_le_bytes(b.try_into().unwrap())).collect();
            Tensor::from_vec::<$t>(&dims, all).ok()?
        }};
    }
    let tensor = match kind {
        1 => numbers!(f32, if raw.is_empty() { packed } else { raw }),
        2 => numbers!(u8, raw),
        3 => numbers!(i8, raw),
        6 => numbers!(i32, raw),
        7 => numbers!(i64, raw),
        8 => Tensor::from_vec(&dims, texts).ok()?,
        9 => Tensor::from_vec(&dims, raw.iter().map(|&b| b != 0).collect::<Vec<bool>>()).ok()?,
        11 => numbers!(f64, raw),
        _ => return None,
    };
    Some((name, tensor))
}
