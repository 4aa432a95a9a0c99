//! Tensors whose elements lie in a file beside the model.

use super::proto::StringStringEntryProto;
use super::tensor::from_little_endian;
use crate::error::{Result, bail, ensure, err};
use crate::limits::LoadLimits;
use crate::source::Source;
use crate::tensor::{ElementType, Shape, Tensor};
use bytes::Bytes;
use std::collections::HashMap;

/// The files beside a model: each is read once, and a range that several tensors name is held
/// in memory once.
pub(super) struct External<'a> {
    source: &'a Source,
    limits: &'a LoadLimits,
    files: HashMap<String, Bytes>,
    ranges: HashMap<(String, u64, ElementType, u64), Tensor>,
}

/// Where a tensor's elements lie.
pub struct Place {
    /// The file, relative to the model's folder.
    pub location: String,
    /// The first of their bytes.
    pub offset: u64,
    /// How many bytes there are, where the model says so.
    pub length: Option<u64>,
}

impl<'a> External<'a> {
    pub(super) fn new(source: &'a Source, limits: &'a LoadLimits) -> Self {
        External { source, limits, files: HashMap::new(), ranges: HashMap::new() }
    }

    /// The tensor of that shape and type, of `size` bytes, that the entries lead to.
    ///
    /// # Errors
    /// `InvalidModel` for entries that are malformed or do not fit the file or the shape; what
    /// [`Source::companion`] says.
    pub(super) fn tensor(
        &mut self,
        entries: &[StringStringEntryProto],
        shape: Shape,
        dtype: ElementType,
        size: u64,
    ) -> Result<Tensor> {
        let Place { location, offset, length } = place(entries)?;
        ensure!(
            length.is_none_or(|n| n == size),
            InvalidModel,
            "{} bytes of external data, but shape {shape} of {dtype} takes {size}",
            length.unwrap_or(size)
        );
        let range = (location.clone(), offset, dtype, size);
        if let Some(tensor) = self.ranges.get(&range) {
            return tensor.clone().reshaped(shape);
        }
        let file = match self.files.get(&location) {
            Some(file) => file,
            None => {
                let bytes = self.source.companion(&location, self.limits)?;
                self.files.entry(location.clone()).or_insert(bytes)
            }
        };
        let part = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(size).ok())
            .and_then(|(start, n)| file.get(start..start.checked_add(n)?))
            .ok_or_else(|| {
                err!(
                    InvalidModel,
                    "{size} bytes at {offset} of external file '{location}', which has {}",
                    file.len()
                )
            })?;
        let data = from_little_endian(dtype, shape.len(), part)?;
        let tensor = Tensor::new(shape, data)?;
        self.ranges.insert(range, tensor.clone());
        Ok(tensor)
    }
}

/// Where the entries of `TensorProto.external_data` lead to.
///
/// # Errors
/// `InvalidModel` for entries that are malformed.
pub fn place(entries: &[StringStringEntryProto]) -> Result<Place> {
    let mut location = None;
    let mut offset = None;
    let mut length = None;
    let mut checksum = None;
    for StringStringEntryProto { key, value } in entries {
        let slot = match key.as_str() {
            "location" => &mut location,
            "offset" => &mut offset,
            "length" => &mut length,
            // SHA-1 of the file, which nothing promises to be kept up to date.
            "checksum" => &mut checksum,
            other => bail!(InvalidModel, "unknown key {other:?} of external data"),
        };
        let twice = slot.replace(value.as_str()).is_some();
        ensure!(!twice, InvalidModel, "key '{key}' of external data comes twice");
    }
    let number = |key: &str, text: Option<&str>| -> Result<Option<u64>> {
        let Some(text) = text else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse().ok().filter(|_| digits);
        value
            .map(Some)
            .ok_or_else(|| err!(InvalidModel, "{key} {text:?} of external data is no size"))
    };
    let Some(location) = location else {
        bail!(InvalidModel, "external data without a location");
    };
    Ok(Place {
        location: location.to_string(),
        offset: number("offset", offset)?.unwrap_or(0),
        length: number("length", length)?,
    })
}
