//! Entropy-coded data as bits, and the codes in them.

use super::super::{Decoded, Fault, some};
use super::Tables;

/// Bits that are looked up at once.
const FAST: u32 = 9;

/// A table of codes (T.81, annex C).
pub(super) struct Huffman {
    /// For the next bits the code's length and its symbol; 0 where the code is longer.
    fast: Vec<(u8, u8)>,
    /// For each length the first number behind its codes, as the upper ones of 16 bits.
    ends: [u32; 17],
    /// For each length what leads from a code to its symbol's place.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Decoded<Huffman> {
        let (mut ends, mut offsets) = ([0; 17], [0; 17]);
        let mut fast = vec![(0, 0); 1 << FAST];
        let (mut code, mut place) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            let at = length as usize;
            offsets[at] = place as i32 - code as i32;
            for _ in 0..count {
                let symbol = *some(symbols.get(place))?;
                if length <= FAST {
                    let first = (code << (FAST - length)) as usize;
                    let all = fast.get_mut(first..first + (1 << (FAST - length)));
                    some(all)?.fill((length as u8, symbol));
                }
                code += 1;
                place += 1;
            }
            if code > 1 << length {
                return Err(Fault::NoPicture);
            }
            ends[at] = code << (16 - length);
            code <<= 1;
        }
        Ok(Huffman { fast, ends, offsets, symbols: symbols.to_vec() })
    }

    /// The next symbol.
    pub(super) fn decode(&self, bits: &mut Bits<'_>) -> Decoded<u8> {
        let next = bits.peek();
        if let Some(&(length @ 1.., symbol)) = self.fast.get((next >> (16 - FAST)) as usize) {
            bits.skip(length.into());
            return Ok(symbol);
        }
        for length in FAST + 1..=16 {
            let at = length as usize;
            if next < self.ends[at] {
                bits.skip(length);
                let place = (next >> (16 - length)) as i32 + self.offsets[at];
                let place = usize::try_from(place).ok();
                return some(place.and_then(|place| self.symbols.get(place)).copied());
            }
        }
        Err(Fault::NoPicture)
    }
}

/// Reads the tables of a segment.
pub(super) fn read(mut segment: &[u8], tables: &mut Tables) -> Decoded<()> {
    while let Some((&kind, rest)) = segment.split_first() {
        let (counts, rest) = some(rest.split_first_chunk::<16>())?;
        let total = counts.iter().map(|&n| usize::from(n)).sum();
        let (symbols, after) = some(rest.split_at_checked(total))?;
        let table = Huffman::new(counts, symbols)?;
        let all = if kind >> 4 == 0 { &mut tables.dc } else { &mut tables.ac };
        *some(all.get_mut(usize::from(kind & 15)))? = Some(table);
        segment = after;
    }
    Ok(())
}

/// Bits of entropy-coded data, up to the next marker.
pub(super) struct Bits<'a> {
    file: &'a [u8],
    at: usize,
    /// The next bits are the lowest `count` ones.
    bits: u64,
    count: u32,
    /// Bits behind the end of the data, which read as 0.
    invented: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(file: &'a [u8], at: usize) -> Bits<'a> {
        Bits { file, at, bits: 0, count: 0, invented: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match (self.file.get(self.at), self.file.get(self.at + 1)) {
                // A byte of ones is followed by one of zeros, which says nothing.
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(&byte), _) if byte != 0xff => {
                    self.at += 1;
                    byte
                }
                _ => {
                    self.invented = self.invented.saturating_add(8);
                    0
                }
            };
            self.bits = (self.bits << 8) | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next 16 bits.
    fn peek(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        ((self.bits >> (self.count - 16)) & 0xffff) as u32
    }

    fn skip(&mut self, count: u32) {
        self.count -= count;
    }

    /// The next bits, at most 16, as a number.
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if self.count < count {
            self.fill();
        }
        self.count -= count;
        ((self.bits >> self.count) & ((1 << count) - 1)) as u32
    }

    /// The number that `count` bits, at most 16, stand for (T.81, F.2.2.1).
    pub(super) fn signed(&mut self, count: u32) -> i32 {
        if count == 0 {
            return 0;
        }
        let value = self.take(count) as i32;
        if value < 1 << (count - 1) { value - (1 << count) + 1 } else { value }
    }

    /// Fails where bits have been read that the data has not.
    pub(super) fn check(&self) -> Decoded<()> {
        if self.invented > self.count { Err(Fault::NoPicture) } else { Ok(()) }
    }

    /// Passes over the next marker, which has to be one of restart.
    pub(super) fn restart(&mut self) -> Decoded<()> {
        match super::next_marker(self.file, self.at) {
            Some((0xd0..=0xd7, behind)) => {
                *self = Bits::new(self.file, behind);
                Ok(())
            }
            _ => Err(Fault::NoPicture),
        }
    }

    /// Where the file is read on; a marker is at or behind it.
    pub(super) fn place(&self) -> usize {
        self.at
    }
}
