//! The container: header, offsets and dtypes checked before a single weight is read.
//!
//! The header is read by a streaming visitor of ours, which sees duplicate names and counts
//! tensors as it goes; the `safetensors` crate then checks offsets, sizes and coverage.

use super::json::Passed;
use crate::error::{Error, ErrorKind, Result, bail, ensure, err};
use crate::limits::LoadLimits;
use crate::room;
use crate::tensor::{Data, ElementType, Shape, Tensor};
use bytes::Bytes;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Bytes of the little-endian header length that starts the file.
const LENGTH_BYTES: usize = 8;

/// The tensors of a file, or of several, by name; remembers which ones were asked for.
#[derive(Debug, Default)]
pub(super) struct Weights {
    tensors: BTreeMap<String, Stored>,
    used: HashSet<String>,
}

#[derive(Debug)]
struct Stored {
    dtype: ElementType,
    shape: Shape,
    /// Its elements: a slice of the file.
    bytes: Bytes,
}

impl Stored {
    fn is_float8(&self) -> bool {
        use ElementType::{F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0};
        matches!(self.dtype, F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0)
    }

    /// Floats of eight bits as `F32` or `F64`, which hold all of them.
    fn widened(&self, dtype: ElementType) -> Result<Data> {
        let data = Data::from_small_bits(self.dtype, self.bytes.iter().copied())
            .ok_or_else(|| err!(Internal, "{} is not of eight bits", self.dtype))?;
        let narrow = Tensor::new(self.shape.clone(), data)?;
        Ok(match dtype {
            ElementType::F64 => Data::F64(narrow.to_f64_vec()?),
            _ => Data::F32(narrow.to_f32_vec()?),
        })
    }
}

impl Weights {
    /// Reads and checks the header of a whole file.
    pub(super) fn parse(bytes: &Bytes, limits: &LoadLimits) -> Result<Weights> {
        let mut weights = Weights::default();
        weights.add(bytes, limits)?;
        Ok(weights)
    }

    /// Reads and checks the header of one file of several; answers the names of its tensors.
    pub(super) fn add(&mut self, bytes: &Bytes, limits: &LoadLimits) -> Result<Vec<String>> {
        let (header, start) = header(bytes, limits)?;
        let (entries, _) = entries(header, limits)?;
        let mut infos = room::with_room(entries.len())?;
        for (name, entry) in entries {
            let info = entry.check(&name)?;
            infos.push((name, info));
        }
        // The container's rule, whatever the order in the header: sorted by offset, the tensors
        // fill the rest of the file without overlap or hole.
        infos.sort_by_key(|(_, info)| info.data_offsets);
        let metadata = Metadata::new(None, room::copied(&infos)?)
            .map_err(|e| err!(InvalidModel, "safetensors header: {e}"))?;
        let expected = start.checked_add(metadata.data_len());
        ensure!(
            expected == Some(bytes.len()),
            InvalidModel,
            "safetensors: the tensors end at byte {} of {} after the header, the file has {}",
            metadata.data_len(),
            bytes.len().saturating_sub(start),
            bytes.len()
        );
        ensure!(
            self.tensors.len().saturating_add(infos.len()) <= limits.safetensors_tensors,
            LimitExceeded,
            "safetensors: more than {} tensors",
            limits.safetensors_tensors
        );
        let mut names = room::with_room(infos.len())?;
        for (name, info) in infos {
            let dtype = element_type(info.dtype).ok_or_else(|| {
                err!(Unsupported, "tensor '{name}' has element type {}", info.dtype)
            })?;
            let shape = Shape::new(&info.shape).map_err(|e| e.context(format!("'{name}'")))?;
            // No overflow: the crate has just checked that both offsets lie in the file.
            let bytes = bytes.slice(start + info.data_offsets.0..start + info.data_offsets.1);
            let before = self.tensors.insert(name.clone(), Stored { dtype, shape, bytes });
            ensure!(before.is_none(), InvalidModel, "two files have a tensor '{name}'");
            names.push(name);
        }
        Ok(names)
    }

    /// Whether there is a tensor of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor `name` with its dimensions checked, its elements widened to `dtype` (`F32` or
    /// `F64`).
    pub(super) fn take(
        &mut self,
        name: &str,
        dims: &[usize],
        dtype: ElementType,
    ) -> Result<Tensor> {
        let stored = self.tensors.get(name).ok_or_else(|| self.missing(name))?;
        ensure!(
            stored.shape.dims() == dims,
            InvalidModel,
            "tensor '{name}' has shape {}, expected {dims:?}",
            stored.shape
        );
        let raw = &stored.bytes[..];
        let data = match (stored.dtype, dtype) {
            (ElementType::F32, ElementType::F32) => Data::F32(read(raw, f32::from_le_bytes)?),
            (ElementType::F16, ElementType::F32) => {
                Data::F32(read(raw, |b| f16::from_le_bytes(b).to_f32())?)
            }
            (ElementType::BF16, ElementType::F32) => {
                Data::F32(read(raw, |b| bf16::from_le_bytes(b).to_f32())?)
            }
            (ElementType::F64, ElementType::F64) => Data::F64(read(raw, f64::from_le_bytes)?),
            (ElementType::F32, ElementType::F64) => {
                Data::F64(read(raw, |b| f64::from(f32::from_le_bytes(b)))?)
            }
            (ElementType::F16, ElementType::F64) => {
                Data::F64(read(raw, |b| f16::from_le_bytes(b).to_f64())?)
            }
            (ElementType::BF16, ElementType::F64) => {
                Data::F64(read(raw, |b| bf16::from_le_bytes(b).to_f64())?)
            }
            (_, ElementType::F32 | ElementType::F64) if stored.is_float8() => {
                stored.widened(dtype)?
            }
            (got, want) => bail!(
                InvalidModel,
                "tensor '{name}' has element type {got}, which does not widen to {want} \
                 (the description's \"dtype\")"
            ),
        };
        let shape = stored.shape.clone();
        self.used.insert(name.to_string());
        Tensor::new(shape, data)
    }

    /// Marks `name` as known where the file has it: bookkeeping of training that inference does
    /// not read.
    pub(super) fn skip(&mut self, name: &str) {
        if self.tensors.contains_key(name) {
            self.used.insert(name.to_string());
        }
    }

    /// Marks all tensors whose names begin so as known.
    pub(super) fn skip_all(&mut self, prefix: &str) {
        let names = self.tensors.keys().filter(|name| name.starts_with(prefix));
        self.used.extend(names.cloned());
    }

    /// Refuses a file with tensors that nothing asked for.
    pub(super) fn all_used(&self) -> Result<()> {
        let unused: Vec<&str> =
            self.tensors.keys().map(String::as_str).filter(|n| !self.used.contains(*n)).collect();
        ensure!(
            unused.is_empty(),
            InvalidModel,
            "{} of {} tensors of the safetensors file belong to no layer ({}); set \"ignore_unused\": true \
             where that is meant",
            unused.len(),
            self.tensors.len(),
            listed(&unused)
        );
        Ok(())
    }

    fn missing(&self, name: &str) -> Error {
        let names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        err!(InvalidModel, "the file has no tensor '{name}'; it has {}", listed(&names))
    }
}

/// A tensor as the header lists it, of a type that is read or not.
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its element type: our name, or the file's for a type that is not read.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub bytes: u64,
}

/// What the header says: its tensors by name, and `__metadata__`.
///
/// # Errors
/// `InvalidModel` for a header that is none, `LimitExceeded`.
pub fn listing(
    bytes: &Bytes,
    limits: &LoadLimits,
) -> Result<(Vec<Listed>, BTreeMap<String, String>)> {
    let (header, _) = header(bytes, limits)?;
    let (entries, metadata) = entries(header, limits)?;
    let listed = entries.into_iter().map(|(name, entry)| {
        let known = entry.known_dtype().and_then(element_type);
        Listed {
            name,
            dtype: known.map_or_else(|| entry.shown_dtype(), |dtype| dtype.name().to_string()),
            bytes: entry.data_offsets.1.saturating_sub(entry.data_offsets.0) as u64,
            shape: entry.shape,
        }
    });
    Ok((listed.collect(), metadata))
}

/// The first few of `names`, for a message.
pub(super) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let mut out = names.iter().take(SHOWN).map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        out.push_str(", …");
    }
    if names.is_empty() { "none".into() } else { out }
}

/// The header's text, and where the tensors start.
fn header<'a>(bytes: &'a Bytes, limits: &LoadLimits) -> Result<(&'a str, usize)> {
    let length = bytes.first_chunk::<LENGTH_BYTES>().ok_or_else(|| {
        err!(InvalidModel, "safetensors: {} bytes are too few for a header", bytes.len())
    })?;
    let length = u64::from_le_bytes(*length);
    ensure!(
        length <= limits.safetensors_header_bytes as u64,
        LimitExceeded,
        "safetensors: a header of {length} bytes, at most {} are allowed",
        limits.safetensors_header_bytes
    );
    let end = usize::try_from(length).ok().and_then(|n| n.checked_add(LENGTH_BYTES));
    let header = end.and_then(|end| bytes.get(LENGTH_BYTES..end)).ok_or_else(|| {
        err!(
            InvalidModel,
            "safetensors: a header of {length} bytes in a file of {} bytes",
            bytes.len()
        )
    })?;
    ensure!(
        header.first() == Some(&b'{'),
        InvalidModel,
        "safetensors: the header does not start with '{{'"
    );
    let text = std::str::from_utf8(header)
        .map_err(|e| err!(InvalidModel, "safetensors: the header is not valid UTF-8: {e}"))?;
    Ok((text, LENGTH_BYTES + header.len()))
}

/// A tensor as the header says it. Keys that the format does not know are passed over, as the
/// reference implementation does; what they hold has to be JSON that can be read, as there.
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_struct("tensor", &["dtype", "shape", "data_offsets"], EntryFields)
    }
}

struct EntryFields;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum EntryKey {
    Dtype,
    Shape,
    DataOffsets,
    #[serde(other)]
    Unknown,
}

impl<'de> Visitor<'de> for EntryFields {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tensor's dtype, shape and data_offsets")
    }

    /// A list of the three, which the reference implementation takes as well.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
        use serde::de::Error as _;
        let missing = |i| A::Error::invalid_length(i, &"dtype, shape and data_offsets");
        Ok(Entry {
            dtype: seq.next_element()?.ok_or_else(|| missing(0))?,
            shape: seq.next_element()?.ok_or_else(|| missing(1))?,
            data_offsets: seq.next_element()?.ok_or_else(|| missing(2))?,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        use serde::de::Error as _;
        let (mut dtype, mut shape, mut data_offsets) = (None, None, None);
        while let Some(key) = map.next_key()? {
            let (name, again) = match key {
                EntryKey::Dtype => ("dtype", dtype.replace(map.next_value()?).is_some()),
                EntryKey::Shape => ("shape", shape.replace(map.next_value()?).is_some()),
                EntryKey::DataOffsets => {
                    ("data_offsets", data_offsets.replace(map.next_value()?).is_some())
                }
                EntryKey::Unknown => {
                    map.next_value::<Passed<false>>()?;
                    continue;
                }
            };
            if again {
                return Err(A::Error::duplicate_field(name));
            }
        }
        Ok(Entry {
            dtype: dtype.ok_or_else(|| A::Error::missing_field("dtype"))?,
            shape: shape.ok_or_else(|| A::Error::missing_field("shape"))?,
            data_offsets: data_offsets.ok_or_else(|| A::Error::missing_field("data_offsets"))?,
        })
    }
}

impl Entry {
    fn known_dtype(&self) -> Option<Dtype> {
        Dtype::deserialize(StrDeserializer::<serde::de::value::Error>::new(&self.dtype)).ok()
    }

    fn shown_dtype(&self) -> String {
        self.dtype.chars().take(32).collect()
    }

    fn check(self, name: &str) -> Result<TensorInfo> {
        let dtype = self.known_dtype().ok_or_else(|| {
            err!(Unsupported, "tensor '{name}' has element type '{}'", self.shown_dtype())
        })?;
        Ok(TensorInfo { dtype, shape: self.shape, data_offsets: self.data_offsets })
    }
}

/// Reads the header's object: tensors by name, distinct and at most as many as the limits say.
struct Header<'a> {
    limits: &'a LoadLimits,
    /// Set where the refusal is a limit's: serde's own error carries no kind.
    over_limit: &'a mut Option<Error>,
}

/// Tensors by name, and `__metadata__`.
type Entries = (BTreeMap<String, Entry>, BTreeMap<String, String>);

impl<'de> Visitor<'de> for Header<'_> {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        use serde::de::Error as _;
        let mut tensors = BTreeMap::new();
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if metadata.is_some() {
                    return Err(A::Error::custom("\"__metadata__\" twice"));
                }
                metadata = Some(map.next_value::<FileMetadata>()?.0);
                continue;
            }
            let limit = if name.len() > self.limits.name_bytes {
                Some(format!("a tensor name of {} bytes", name.len()))
            } else if tensors.len() >= self.limits.safetensors_tensors {
                Some(format!("more than {} tensors", self.limits.safetensors_tensors))
            } else {
                None
            };
            if let Some(what) = limit {
                *self.over_limit = Some(err!(LimitExceeded, "safetensors: {what}"));
                return Err(A::Error::custom(what));
            }
            if tensors.contains_key(&name) {
                return Err(A::Error::custom(format_args!("two tensors are named '{name}'")));
            }
            let entry = map.next_value()?;
            tensors.insert(name, entry);
        }
        Ok((tensors, metadata.unwrap_or_default()))
    }
}

impl<'de> DeserializeSeed<'de> for Header<'_> {
    type Value = Entries;

    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_map(self)
    }
}

/// `__metadata__`: strings by name, or null.
struct FileMetadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for FileMetadata {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = FileMetadata;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings in \"__metadata__\"")
            }
            fn visit_unit<E>(self) -> Result<FileMetadata, E> {
                Ok(FileMetadata(BTreeMap::new()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FileMetadata, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    entries.insert(key, value);
                }
                Ok(FileMetadata(entries))
            }
        }
        d.deserialize_any(Strings)
    }
}

fn entries(header: &str, limits: &LoadLimits) -> Result<Entries> {
    let mut over_limit = None;
    let mut json = serde_json::Deserializer::from_str(header);
    let seed = Header { limits, over_limit: &mut over_limit };
    let read = seed.deserialize(&mut json).and_then(|tensors| json.end().map(|()| tensors));
    match (read, over_limit) {
        (_, Some(error)) => Err(error),
        (read, None) => read
            .map_err(|e| Error::new(ErrorKind::InvalidModel, format!("safetensors header: {e}"))),
    }
}

fn element_type(dtype: Dtype) -> Option<ElementType> {
    Some(match dtype {
        Dtype::BOOL => ElementType::Bool,
        Dtype::U8 => ElementType::U8,
        Dtype::I8 => ElementType::I8,
        Dtype::F8_E4M3 => ElementType::F8E4M3FN,
        Dtype::F8_E4M3FNUZ => ElementType::F8E4M3FNUZ,
        Dtype::F8_E5M2 => ElementType::F8E5M2,
        Dtype::F8_E5M2FNUZ => ElementType::F8E5M2FNUZ,
        Dtype::F8_E8M0 => ElementType::F8E8M0,
        Dtype::I16 => ElementType::I16,
        Dtype::U16 => ElementType::U16,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::BF16,
        Dtype::I32 => ElementType::I32,
        Dtype::U32 => ElementType::U32,
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        Dtype::I64 => ElementType::I64,
        Dtype::U64 => ElementType::U64,
        _ => return None,
    })
}

/// The elements of `raw`, `N` little-endian bytes each (a file promises no alignment).
fn read<T, const N: usize>(raw: &[u8], element: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
    let (chunks, rest) = raw.as_chunks::<N>();
    ensure!(rest.is_empty(), InvalidModel, "{} bytes are no whole elements", raw.len());
    room::collected(chunks.iter().map(|c| element(*c)))
}
