//! Elements of at most eight bits by their encodings.

use super::{Data, ElementType};

impl Data {
    /// The encodings of the elements, one a byte with the upper bits zero, where the type is one of
    /// those that NumPy has not and that have at most eight bits.
    pub fn small_bits(&self) -> Option<Vec<u8>> {
        Some(match self {
            Data::I4(v) => v.iter().map(|x| x.bits()).collect(),
            Data::U4(v) => v.iter().map(|x| x.bits()).collect(),
            Data::I2(v) => v.iter().map(|x| x.bits()).collect(),
            Data::U2(v) => v.iter().map(|x| x.bits()).collect(),
            Data::F8E4M3FN(v) => v.iter().map(|x| x.to_bits()).collect(),
            Data::F8E4M3FNUZ(v) => v.iter().map(|x| x.to_bits()).collect(),
            Data::F8E5M2(v) => v.iter().map(|x| x.to_bits()).collect(),
            Data::F8E5M2FNUZ(v) => v.iter().map(|x| x.to_bits()).collect(),
            Data::F8E8M0(v) => v.iter().map(|x| x.to_bits()).collect(),
            Data::F6E2M3(v) => v.iter().map(|x| x.to_bits()).collect(),
            Data::F6E3M2(v) => v.iter().map(|x| x.to_bits()).collect(),
            Data::F4E2M1(v) => v.iter().map(|x| x.to_bits()).collect(),
            _ => return None,
        })
    }

    /// Elements of such a type by their encodings; bits above those of the type do not count.
    pub fn from_small_bits(dtype: ElementType, bits: impl Iterator<Item = u8>) -> Option<Data> {
        use super::{
            Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2,
            Float8E5M2FNUZ, Float8E8M0, Int2, Int4, UInt2, UInt4,
        };
        Some(match dtype {
            ElementType::I4 => Data::I4(bits.map(Int4::from_bits).collect()),
            ElementType::U4 => Data::U4(bits.map(UInt4::from_bits).collect()),
            ElementType::I2 => Data::I2(bits.map(Int2::from_bits).collect()),
            ElementType::U2 => Data::U2(bits.map(UInt2::from_bits).collect()),
            ElementType::F8E4M3FN => Data::F8E4M3FN(bits.map(Float8E4M3FN::from_bits).collect()),
            ElementType::F8E4M3FNUZ => {
                Data::F8E4M3FNUZ(bits.map(Float8E4M3FNUZ::from_bits).collect())
            }
            ElementType::F8E5M2 => Data::F8E5M2(bits.map(Float8E5M2::from_bits).collect()),
            ElementType::F8E5M2FNUZ => {
                Data::F8E5M2FNUZ(bits.map(Float8E5M2FNUZ::from_bits).collect())
            }
            ElementType::F8E8M0 => Data::F8E8M0(bits.map(Float8E8M0::from_bits).collect()),
            ElementType::F6E2M3 => Data::F6E2M3(bits.map(Float6E2M3::from_bits).collect()),
            ElementType::F6E3M2 => Data::F6E3M2(bits.map(Float6E3M2::from_bits).collect()),
            ElementType::F4E2M1 => Data::F4E2M1(bits.map(Float4E2M1::from_bits).collect()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Int4;

    #[test]
    fn encodings_come_back() {
        let data = Data::I4([-8, -1, 7].map(Int4::wrapping).to_vec());
        let bits = data.small_bits().unwrap();
        assert_eq!(bits, [8, 15, 7]);
        assert_eq!(Data::from_small_bits(ElementType::I4, bits.into_iter()), Some(data));
        assert_eq!(Data::I8(vec![1]).small_bits(), None);
    }
}
