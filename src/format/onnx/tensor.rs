//! `TensorProto` to tensor: element types, the three places where a file keeps elements, and the
//! exact lengths they must have.

use super::external::External;
use super::packed::unpack;
use super::proto::{SparseTensorProto, TensorProto};
use super::{sparse, types};
use crate::error::{Error, Result, bail, ensure, err};
use crate::limits::{LoadLimits, MAX_TENSOR_BYTES};
use crate::room;
use crate::source::Source;
use crate::tensor::{Complex, Data, ElementType, Shape, Tensor};
use half::{bf16, f16};

/// Turns the tensors of one file into ours, and keeps account of what they cost together.
pub(super) struct Tensors<'a> {
    limits: &'a LoadLimits,
    external: External<'a>,
    bytes: u64,
    densified: u64,
    non_finite: Vec<String>,
}

/// Names of tensors with NaN or infinities that are kept for the model's metadata.
const REPORTED: usize = 16;

impl<'a> Tensors<'a> {
    pub(super) fn new(source: &'a Source, limits: &'a LoadLimits) -> Self {
        Tensors {
            limits,
            external: External::new(source, limits),
            bytes: 0,
            densified: 0,
            non_finite: Vec::new(),
        }
    }

    /// The tensor, dense and in memory of its own.
    ///
    /// # Errors
    /// `InvalidModel` when the content does not fit the dimensions, `Unsupported` for element
    /// types this crate has not, `LimitExceeded` beyond the total of weights; all name it.
    pub(super) fn convert(&mut self, proto: TensorProto) -> Result<Tensor> {
        let mut name = proto.name.clone();
        if name.is_empty() {
            name.push_str("(unnamed)");
        }
        let tensor = self.dense(proto).map_err(|e| e.context(format!("tensor '{name}'")))?;
        if self.non_finite.len() < REPORTED && has_non_finite(&tensor) {
            self.non_finite.push(name);
        }
        Ok(tensor)
    }

    /// The sparse tensor with its zeros written out.
    ///
    /// # Errors
    /// As [`Tensors::convert`]; the zeros count against the limit on computed constants.
    pub(super) fn convert_sparse(&mut self, proto: SparseTensorProto) -> Result<(String, Tensor)> {
        let SparseTensorProto { values, indices, dims } = proto;
        let Some(values) = values else {
            bail!(InvalidModel, "a sparse tensor without values");
        };
        let name = values.name.clone();
        let at = |e: Error| e.context(format!("sparse tensor '{name}'"));
        let shape = Shape::from_i64(&dims).map_err(at)?;
        let dtype = dtype(values.data_type).map_err(at)?;
        let size = self.claim(&shape, dtype).map_err(at)?;
        self.densified = self.densified.saturating_add(size);
        if self.densified > self.limits.folded_total_bytes {
            let most = self.limits.folded_total_bytes;
            return Err(at(err!(LimitExceeded, "sparse tensors pass {most} bytes when dense")));
        }
        let values = self.convert(values)?;
        let indices = match indices {
            Some(indices) => self.convert(indices)?,
            None => Tensor::from_vec::<i64>(&[0], vec![])?,
        };
        let dense = sparse::densify(shape, &values, &indices).map_err(at)?;
        Ok((name, dense))
    }

    /// Names of tensors that hold NaN or infinities (the first few).
    pub(super) fn non_finite(&self) -> &[String] {
        &self.non_finite
    }

    /// The bytes that a tensor takes, added to the total.
    fn claim(&mut self, shape: &Shape, dtype: ElementType) -> Result<u64> {
        let size = (shape.len() as u64).saturating_mul(dtype.size() as u64);
        ensure!(
            size <= MAX_TENSOR_BYTES,
            LimitExceeded,
            "{size} bytes, at most {MAX_TENSOR_BYTES}"
        );
        self.bytes = self.bytes.saturating_add(size);
        let most = self.limits.weight_bytes;
        ensure!(self.bytes <= most, LimitExceeded, "the model's weights pass {most} bytes");
        Ok(size)
    }

    fn dense(&mut self, proto: TensorProto) -> Result<Tensor> {
        ensure!(proto.segment.is_none(), Unsupported, "it is stored in segments");
        let dtype = dtype(proto.data_type)?;
        let shape = Shape::from_i64(&proto.dims)?;
        let raw = !proto.raw_data.is_empty();
        let typed = typed_fields(&proto);
        match proto.data_location {
            0 => ensure!(
                proto.external_data.is_empty(),
                InvalidModel,
                "it has external data but is not marked as external"
            ),
            1 => {
                ensure!(
                    !raw && typed.is_empty(),
                    InvalidModel,
                    "it has data both in the model and in an external file"
                );
                ensure!(dtype != ElementType::String, Unsupported, "strings in an external file");
                self.claim(&shape, dtype)?;
                let size = file_size(&shape, dtype);
                return self.external.tensor(&proto.external_data, shape, dtype, size);
            }
            other => bail!(InvalidModel, "its data is at the unknown place {other}"),
        }
        ensure!(
            !raw || typed.is_empty(),
            InvalidModel,
            "it has both raw_data and {}",
            typed.join(", ")
        );
        if raw {
            ensure!(dtype != ElementType::String, InvalidModel, "strings as raw_data");
            let size = file_size(&shape, dtype);
            ensure!(
                proto.raw_data.len() as u64 == size,
                InvalidModel,
                "{} bytes of data, but shape {shape} of {dtype} takes {size}",
                proto.raw_data.len()
            );
            self.claim(&shape, dtype)?;
            let data = from_little_endian(dtype, shape.len(), &proto.raw_data)?;
            return Tensor::new(shape, data);
        }
        let expected = typed_field(dtype);
        if let Some(other) = typed.iter().find(|f| **f != expected) {
            bail!(InvalidModel, "elements of type {dtype} in {other}, expected in {expected}");
        }
        let (count, takes) = (typed_len(&proto, dtype), typed_entries(&shape, dtype));
        ensure!(
            count == takes,
            InvalidModel,
            "{count} elements in {expected}, but shape {shape} takes {takes}"
        );
        self.claim(&shape, dtype)?;
        let data = from_typed(dtype, shape.len(), proto)?;
        Tensor::new(shape, data)
    }
}

fn dtype(data_type: i32) -> Result<ElementType> {
    match types::element_type(data_type) {
        Ok(dtype) => Ok(dtype),
        Err(_) if data_type == 0 => bail!(InvalidModel, "it has no element type"),
        Err(name) => bail!(Unsupported, "element type {name}"),
    }
}

/// The typed fields that hold something.
fn typed_fields(proto: &TensorProto) -> Vec<&'static str> {
    [
        ("float_data", proto.float_data.is_empty()),
        ("int32_data", proto.int32_data.is_empty()),
        ("string_data", proto.string_data.is_empty()),
        ("int64_data", proto.int64_data.is_empty()),
        ("double_data", proto.double_data.is_empty()),
        ("uint64_data", proto.uint64_data.is_empty()),
    ]
    .into_iter()
    .filter(|(_, empty)| !empty)
    .map(|(name, _)| name)
    .collect()
}

/// The typed field that elements of this type belong into.
fn typed_field(dtype: ElementType) -> &'static str {
    match dtype {
        ElementType::F32 | ElementType::C64 => "float_data",
        ElementType::F64 | ElementType::C128 => "double_data",
        ElementType::I64 => "int64_data",
        ElementType::U32 | ElementType::U64 => "uint64_data",
        ElementType::String => "string_data",
        _ => "int32_data",
    }
}

fn typed_len(proto: &TensorProto, dtype: ElementType) -> usize {
    match dtype {
        ElementType::F32 | ElementType::C64 => proto.float_data.len(),
        ElementType::F64 | ElementType::C128 => proto.double_data.len(),
        ElementType::I64 => proto.int64_data.len(),
        ElementType::U32 | ElementType::U64 => proto.uint64_data.len(),
        ElementType::String => proto.string_data.len(),
        _ => proto.int32_data.len(),
    }
}

/// How many entries of its typed field that many elements take: two for a complex number, one for
/// two elements of four bits.
fn typed_entries(shape: &Shape, dtype: ElementType) -> usize {
    match dtype {
        ElementType::C64 | ElementType::C128 => shape.len().saturating_mul(2),
        _ => match dtype.file_bits() {
            bits @ (2 | 4) => shape.len().div_ceil(8 / bits),
            _ => shape.len(),
        },
    }
}

/// Bytes of that many elements in a file.
fn file_size(shape: &Shape, dtype: ElementType) -> u64 {
    (shape.len() as u64).saturating_mul(dtype.file_bits() as u64).div_ceil(8)
}

fn from_typed(dtype: ElementType, count: usize, proto: TensorProto) -> Result<Data> {
    /// Each number as the narrower type it stands for.
    fn narrow<S: Copy + std::fmt::Display, T: TryFrom<S>>(
        from: &[S],
        to: ElementType,
    ) -> Result<Vec<T>> {
        room::collected_if(
            from.iter()
                .map(|&v| T::try_from(v).map_err(|_| err!(InvalidModel, "{v} does not fit {to}"))),
        )
    }
    let ints = &proto.int32_data;
    Ok(match dtype {
        ElementType::F32 => Data::F32(proto.float_data),
        ElementType::F64 => Data::F64(proto.double_data),
        ElementType::I64 => Data::I64(proto.int64_data),
        ElementType::U64 => Data::U64(proto.uint64_data),
        ElementType::I32 => Data::I32(proto.int32_data),
        ElementType::U32 => Data::U32(narrow(&proto.uint64_data, dtype)?),
        ElementType::I16 => Data::I16(narrow(ints, dtype)?),
        ElementType::I8 => Data::I8(narrow(ints, dtype)?),
        ElementType::U16 => Data::U16(narrow(ints, dtype)?),
        ElementType::U8 => Data::U8(narrow(ints, dtype)?),
        ElementType::Bool => Data::Bool(room::collected(ints.iter().map(|&v| v != 0))?),
        ElementType::F16 => {
            Data::F16(room::collected(narrow(ints, dtype)?.into_iter().map(f16::from_bits))?)
        }
        ElementType::BF16 => {
            Data::BF16(room::collected(narrow(ints, dtype)?.into_iter().map(bf16::from_bits))?)
        }
        ElementType::String => {
            let text = |s: &bytes::Bytes| {
                std::str::from_utf8(s)
                    .map(str::to_string)
                    .map_err(|_| err!(InvalidModel, "a string that is not valid UTF-8"))
            };
            Data::String(room::collected_if(proto.string_data.iter().map(text))?)
        }
        ElementType::C64 => Data::C64(Complex::pairs(&proto.float_data)?),
        ElementType::C128 => Data::C128(Complex::pairs(&proto.double_data)?),
        small => {
            let bytes: Vec<u8> = narrow(ints, dtype)?;
            // Six bits have an entry each; two and four bits share one.
            let bits = if small.file_bits() == 6 { 8 } else { small.file_bits() };
            small_data(small, unpack(&bytes, bits, count))?
        }
    })
}

fn small_data(dtype: ElementType, bits: impl ExactSizeIterator<Item = u8>) -> Result<Data> {
    // First as bytes, whose memory may be refused: elements of a byte each take it over.
    let bits = room::collected(bits)?;
    Data::from_small_bits(dtype, bits.into_iter())
        .ok_or_else(|| err!(Internal, "{dtype} has more than eight bits"))
}

/// `count` elements from bytes as files carry them, as many as those take.
pub(super) fn from_little_endian(dtype: ElementType, count: usize, bytes: &[u8]) -> Result<Data> {
    fn read<const N: usize, T>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        room::collected(bytes.as_chunks::<N>().0.iter().map(|&c| element(c)))
    }
    Ok(match dtype {
        ElementType::F32 => Data::F32(read(bytes, f32::from_le_bytes)?),
        ElementType::F64 => Data::F64(read(bytes, f64::from_le_bytes)?),
        ElementType::F16 => Data::F16(read(bytes, f16::from_le_bytes)?),
        ElementType::BF16 => Data::BF16(read(bytes, bf16::from_le_bytes)?),
        ElementType::I8 => Data::I8(read(bytes, i8::from_le_bytes)?),
        ElementType::I16 => Data::I16(read(bytes, i16::from_le_bytes)?),
        ElementType::I32 => Data::I32(read(bytes, i32::from_le_bytes)?),
        ElementType::I64 => Data::I64(read(bytes, i64::from_le_bytes)?),
        ElementType::U8 => Data::U8(read(bytes, u8::from_le_bytes)?),
        ElementType::U16 => Data::U16(read(bytes, u16::from_le_bytes)?),
        ElementType::U32 => Data::U32(read(bytes, u32::from_le_bytes)?),
        ElementType::U64 => Data::U64(read(bytes, u64::from_le_bytes)?),
        ElementType::Bool => Data::Bool(read(bytes, |[b]: [u8; 1]| b != 0)?),
        ElementType::String => bail!(InvalidModel, "strings as raw bytes"),
        ElementType::C64 => Data::C64(Complex::pairs(&read(bytes, f32::from_le_bytes)?)?),
        ElementType::C128 => Data::C128(Complex::pairs(&read(bytes, f64::from_le_bytes)?)?),
        small => small_data(small, unpack(bytes, small.file_bits(), count))?,
    })
}

fn has_non_finite(tensor: &Tensor) -> bool {
    match tensor.data() {
        Data::F32(v) => v.iter().any(|x| !x.is_finite()),
        Data::F64(v) => v.iter().any(|x| !x.is_finite()),
        Data::F16(v) => v.iter().any(|x| !x.is_finite()),
        Data::BF16(v) => v.iter().any(|x| !x.is_finite()),
        _ => false,
    }
}
