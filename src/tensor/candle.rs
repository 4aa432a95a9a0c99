//! To and from candle tensors: without a copy where candle has the element type and the
//! buffer is not shared.

use super::{Data, Shape, Tensor};
use crate::error::{Error, ErrorKind, Result, bail, err};
use candle_core::{CpuStorage, Device, Storage, Tensor as CandleTensor};

fn candle_error(e: candle_core::Error) -> Error {
    // With RUST_BACKTRACE set candle appends a backtrace to its text: the first line is the cause.
    let text = e.to_string();
    let first = text.lines().next().unwrap_or_default();
    Error::new(ErrorKind::Execution, format!("candle: {first}"))
}

impl TryFrom<&CandleTensor> for Tensor {
    type Error = Error;

    /// Copies the elements of a candle tensor (from any device and layout) into a tensor of
    /// ours.
    fn try_from(tensor: &CandleTensor) -> Result<Tensor> {
        let tensor = tensor.to_device(&Device::Cpu).map_err(candle_error)?;
        let tensor = tensor.contiguous().map_err(candle_error)?;
        let shape = Shape::new(tensor.dims())?;
        let (storage, layout) = tensor.storage_and_layout();
        let (start, end) = layout
            .contiguous_offsets()
            .ok_or_else(|| err!(Internal, "candle: contiguous() left strides"))?;
        let Storage::Cpu(cpu) = &*storage else {
            bail!(Internal, "candle: a CPU tensor without CPU storage");
        };
        fn part<T: Clone>(v: &[T], start: usize, end: usize) -> Result<Vec<T>> {
            let part = v.get(start..end);
            Ok(part
                .ok_or_else(|| err!(InvalidInput, "a candle tensor beyond its storage"))?
                .to_vec())
        }
        let data = match cpu {
            CpuStorage::U8(v) => Data::U8(part(v, start, end)?),
            CpuStorage::U32(v) => Data::U32(part(v, start, end)?),
            CpuStorage::I16(v) => Data::I16(part(v, start, end)?),
            CpuStorage::I32(v) => Data::I32(part(v, start, end)?),
            CpuStorage::I64(v) => Data::I64(part(v, start, end)?),
            CpuStorage::BF16(v) => Data::BF16(part(v, start, end)?),
            CpuStorage::F16(v) => Data::F16(part(v, start, end)?),
            CpuStorage::F32(v) => Data::F32(part(v, start, end)?),
            CpuStorage::F64(v) => Data::F64(part(v, start, end)?),
            _ => bail!(Unsupported, "candle element type {:?}", tensor.dtype()),
        };
        Tensor::new(shape, data)
    }
}

impl TryFrom<Tensor> for CandleTensor {
    type Error = Error;

    /// A candle tensor on the CPU; moves the buffer when it is not shared. Bools become `u8`;
    /// `i8` and `u16` widen to `i16` and `u32`.
    ///
    /// # Errors
    /// `Unsupported` for strings, `u64` and all other types that candle has not.
    fn try_from(tensor: Tensor) -> Result<CandleTensor> {
        let dims = tensor.dims().to_vec();
        let dtype = tensor.dtype();
        let cpu = &Device::Cpu;
        let data = match tensor.into_data() {
            Data::F32(v) => CandleTensor::from_vec(v, dims, cpu),
            Data::F64(v) => CandleTensor::from_vec(v, dims, cpu),
            Data::F16(v) => CandleTensor::from_vec(v, dims, cpu),
            Data::BF16(v) => CandleTensor::from_vec(v, dims, cpu),
            Data::I16(v) => CandleTensor::from_vec(v, dims, cpu),
            Data::I32(v) => CandleTensor::from_vec(v, dims, cpu),
            Data::I64(v) => CandleTensor::from_vec(v, dims, cpu),
            Data::U8(v) => CandleTensor::from_vec(v, dims, cpu),
            Data::U32(v) => CandleTensor::from_vec(v, dims, cpu),
            Data::Bool(v) => {
                CandleTensor::from_vec(v.into_iter().map(u8::from).collect::<Vec<_>>(), dims, cpu)
            }
            Data::I8(v) => {
                CandleTensor::from_vec(v.into_iter().map(i16::from).collect::<Vec<_>>(), dims, cpu)
            }
            Data::U16(v) => {
                CandleTensor::from_vec(v.into_iter().map(u32::from).collect::<Vec<_>>(), dims, cpu)
            }
            _ => {
                bail!(Unsupported, "candle has no element type {dtype}")
            }
        };
        data.map_err(candle_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_moves_the_buffer() {
        let v = vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let at = v.as_ptr();
        let ours = Tensor::from_vec(&[2, 3], v).unwrap();
        let candle = CandleTensor::try_from(ours).unwrap();
        {
            let (storage, _) = candle.storage_and_layout();
            let Storage::Cpu(CpuStorage::F32(inner)) = &*storage else { panic!("not f32") };
            assert_eq!(inner.as_ptr(), at);
        }
        let back = Tensor::try_from(&candle.t().unwrap()).unwrap();
        assert_eq!(back.dims(), [3, 2]);
        assert_eq!(back.as_slice::<f32>().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
