//! The directory of a picture: numbers by their tags.

use super::super::{Decoded, Fault, some};

/// Bytes of an entry.
const ENTRY: usize = 12;

/// The first directory of a file.
pub(super) struct Directory<'a> {
    file: &'a [u8],
    big: bool,
    entries: &'a [u8],
}

fn word(file: &[u8], big: bool, at: usize) -> Option<u32> {
    let bytes = *file.get(at..)?.first_chunk()?;
    let value = if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    Some(value.into())
}

fn long(file: &[u8], big: bool, at: usize) -> Option<u32> {
    let bytes = *file.get(at..)?.first_chunk()?;
    Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

impl<'a> Directory<'a> {
    pub(super) fn first(file: &'a [u8]) -> Decoded<Directory<'a>> {
        let big = file.starts_with(b"MM");
        let start = some(long(file, big, 4))? as usize;
        let count = some(word(file, big, start))? as usize;
        let from = start.saturating_add(2);
        let entries = some(file.get(from..from.saturating_add(count * ENTRY)))?;
        Ok(Directory { file, big, entries })
    }

    /// Whether numbers have their upper byte first.
    pub(super) fn big(&self) -> bool {
        self.big
    }

    /// A part of the file.
    pub(super) fn part(&self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.file.get(at..at.checked_add(length)?)
    }

    fn entry(&self, tag: u32) -> Option<&'a [u8]> {
        self.entries.chunks_exact(ENTRY).find(|entry| word(entry, self.big, 0) == Some(tag))
    }

    pub(super) fn has(&self, tag: u32) -> bool {
        self.entry(tag).is_some()
    }

    /// The numbers of a tag, which has to be there.
    pub(super) fn numbers(&self, tag: u32) -> Decoded<Vec<u32>> {
        let entry = some(self.entry(tag))?;
        let kind = some(word(entry, self.big, 2))?;
        let size = match kind {
            1 => 1,
            3 => 2,
            4 => 4,
            _ => return Err(Fault::NoPicture),
        };
        let count = some(long(entry, self.big, 4))? as usize;
        let bytes = some(count.checked_mul(size))?;
        // Few numbers are in the entry itself.
        let values = if bytes <= 4 {
            entry.get(8..8 + bytes)
        } else {
            self.part(some(long(entry, self.big, 8))? as usize, bytes)
        };
        let number = |value: &[u8]| match size {
            1 => value.first().map(|&x| x.into()),
            2 => word(value, self.big, 0),
            _ => long(value, self.big, 0),
        };
        some(some(values)?.chunks_exact(size).map(number).collect())
    }

    /// The numbers of a tag, `default` where it is not there.
    pub(super) fn numbers_or(&self, tag: u32, default: &[u32]) -> Decoded<Vec<u32>> {
        if self.has(tag) { self.numbers(tag) } else { Ok(default.to_vec()) }
    }

    /// The first number of a tag, `default` where it is not there.
    pub(super) fn number(&self, tag: u32, default: u32) -> Decoded<u32> {
        some(self.numbers_or(tag, &[default])?.first().copied())
    }
}
