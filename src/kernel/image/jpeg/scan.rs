//! A scan: the coefficients of some components, all of them or in part.

use super::super::{Decoded, Fault, some};
use super::huffman::{Bits, Huffman};
use super::{Frame, Tables, ZIGZAG};
use crate::kernel::Context;

/// What a scan says of the coefficients in it.
#[derive(Clone, Copy)]
struct Part {
    /// The first and the last one, in the order in files.
    first: usize,
    last: usize,
    /// The bits above this one were in earlier scans.
    high: u32,
    /// The lowest bit.
    low: u32,
}

/// A component's part in a scan.
struct Member<'t> {
    component: usize,
    dc: Option<&'t Huffman>,
    ac: Option<&'t Huffman>,
    /// The last block's first coefficient.
    before: i32,
}

/// Reads the scan whose header is `header` and whose data begin at `at`; answers where they end.
pub(super) fn read(
    ctx: &Context<'_>,
    file: &[u8],
    at: usize,
    header: &[u8],
    frame: &mut Frame,
    tables: &Tables,
) -> Decoded<usize> {
    let (&count, rest) = some(header.split_first())?;
    let (members, rest) = some(rest.split_at_checked(2 * usize::from(count)))?;
    let &[first, last, bits, ..] = rest else { return Err(Fault::NoPicture) };
    let part = Part {
        first: first.into(),
        last: last.into(),
        high: (bits >> 4).into(),
        low: (bits & 15).into(),
    };
    let mut list = Vec::new();
    for &[id, selected] in members.as_chunks::<2>().0 {
        let component = some(frame.components.iter().position(|c| c.id == id))?;
        if list.iter().any(|m: &Member<'_>| m.component == component) {
            return Err(Fault::NoPicture);
        }
        list.push(Member {
            component,
            dc: tables.dc.get(usize::from(selected >> 4)).and_then(Option::as_ref),
            ac: tables.ac.get(usize::from(selected & 15)).and_then(Option::as_ref),
            before: 0,
        });
        let component = &mut frame.components[component];
        if component.quantisation.is_none() {
            component.quantisation = tables.quantisation.get(component.table).copied().flatten();
        }
    }
    // Progressive scans begin with the first coefficients alone, the others come one component at a
    // time; the numbers of bits are at most 13 (T.81, G.1.1.1).
    let fits = if frame.progressive {
        part.first <= part.last
            && part.last < 64
            && part.low <= 13
            && (part.first > 0 || part.last == 0)
            && (part.first == 0 || list.len() == 1)
            && (part.high == 0 || part.high == part.low + 1)
    } else {
        true
    };
    if list.is_empty() || !fits {
        return Err(Fault::NoPicture);
    }
    let part = if frame.progressive { part } else { Part { first: 0, last: 63, high: 0, low: 0 } };
    let mut reader = Reader {
        bits: Bits::new(file, at),
        part,
        progressive: frame.progressive,
        passed: 0,
        interval: tables.interval,
        units: 0,
    };
    if let [member] = list.as_mut_slice() {
        let own = frame.components[member.component].own;
        for y in 0..own[1] {
            ctx.check_deadline()?;
            for x in 0..own[0] {
                if reader.restarts()? {
                    member.before = 0;
                }
                reader.block(frame, member, [x, y])?;
            }
            reader.bits.check()?;
        }
        return Ok(reader.bits.place());
    }
    let [across, down] = frame.units;
    for y in 0..down {
        ctx.check_deadline()?;
        for x in 0..across {
            if reader.restarts()? {
                list.iter_mut().for_each(|member| member.before = 0);
            }
            for member in &mut list {
                let (h, v) = {
                    let component = &frame.components[member.component];
                    (component.h, component.v)
                };
                for (row, column) in (0..v).flat_map(|row| (0..h).map(move |c| (row, c))) {
                    reader.block(frame, member, [x * h + column, y * v + row])?;
                }
            }
        }
        reader.bits.check()?;
    }
    Ok(reader.bits.place())
}

struct Reader<'a> {
    bits: Bits<'a>,
    part: Part,
    progressive: bool,
    /// Blocks still to come that have no further coefficients.
    passed: u32,
    interval: usize,
    /// Units since the last restart.
    units: usize,
}

impl Reader<'_> {
    /// Counts a unit; whether it is the first after a restart.
    fn restarts(&mut self) -> Decoded<bool> {
        let due = self.interval > 0 && self.units == self.interval;
        if due {
            self.bits.check()?;
            self.bits.restart()?;
            (self.units, self.passed) = (0, 0);
        }
        self.units += 1;
        Ok(due)
    }

    fn block(
        &mut self,
        frame: &mut Frame,
        member: &mut Member<'_>,
        [x, y]: [usize; 2],
    ) -> Decoded<()> {
        let component = &mut frame.components[member.component];
        let at = (y * component.blocks[0] + x) * 64;
        let block = component.coefficients.get_mut(at..).and_then(<[i16]>::first_chunk_mut);
        let block = some(block)?;
        if !self.progressive {
            self.first_dc(block, member)?;
            return self.sequential(block, some(member.ac)?);
        }
        match (self.part.first, self.part.high) {
            (0, 0) => self.first_dc(block, member),
            (0, _) => {
                if self.bits.take(1) == 1 {
                    block[0] |= 1 << self.part.low;
                }
                Ok(())
            }
            (_, 0) => self.first_ac(block, some(member.ac)?),
            _ => self.more_ac(block, some(member.ac)?),
        }
    }

    fn first_dc(&mut self, block: &mut [i16; 64], member: &mut Member<'_>) -> Decoded<()> {
        let size = some(member.dc)?.decode(&mut self.bits)?;
        if size > 15 {
            return Err(Fault::NoPicture);
        }
        member.before = member.before.wrapping_add(self.bits.signed(size.into()));
        block[0] = (member.before << self.part.low) as i16;
        Ok(())
    }

    /// All coefficients but the first.
    fn sequential(&mut self, block: &mut [i16; 64], codes: &Huffman) -> Decoded<()> {
        let mut k = 1;
        while k < 64 {
            let symbol = codes.decode(&mut self.bits)?;
            let (zeros, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 {
                if zeros < 15 {
                    break;
                }
                k += 16;
                continue;
            }
            k += zeros;
            let place = *some(ZIGZAG.get(k))?;
            block[usize::from(place)] = self.bits.signed(size.into()) as i16;
            k += 1;
        }
        Ok(())
    }

    fn first_ac(&mut self, block: &mut [i16; 64], codes: &Huffman) -> Decoded<()> {
        if self.passed > 0 {
            self.passed -= 1;
            return Ok(());
        }
        let mut k = self.part.first;
        while k <= self.part.last {
            let symbol = codes.decode(&mut self.bits)?;
            let (zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 {
                if zeros < 15 {
                    self.passed = (1 << zeros) - 1 + self.bits.take(zeros.into());
                    break;
                }
                k += 16;
                continue;
            }
            k += usize::from(zeros);
            let place = *some(ZIGZAG.get(k))?;
            block[usize::from(place)] = (self.bits.signed(size.into()) << self.part.low) as i16;
            k += 1;
        }
        Ok(())
    }

    /// One more bit of the coefficients that are there, and new ones of one bit.
    fn more_ac(&mut self, block: &mut [i16; 64], codes: &Huffman) -> Decoded<()> {
        let one = 1i16 << self.part.low;
        let mut k = self.part.first;
        if self.passed == 0 {
            while k <= self.part.last {
                let symbol = codes.decode(&mut self.bits)?;
                let (mut zeros, size) = (symbol >> 4, symbol & 15);
                let new = match size {
                    0 if zeros < 15 => {
                        self.passed = (1 << zeros) + self.bits.take(zeros.into());
                        break;
                    }
                    0 => 0,
                    1 if self.bits.take(1) == 1 => one,
                    1 => -one,
                    _ => return Err(Fault::NoPicture),
                };
                while k <= self.part.last {
                    let coefficient = coefficient(block, k)?;
                    if *coefficient != 0 {
                        self.refine(coefficient, one);
                    } else if zeros == 0 {
                        break;
                    } else {
                        zeros -= 1;
                    }
                    k += 1;
                }
                if new != 0 {
                    *coefficient(block, k)? = new;
                }
                k += 1;
            }
        }
        if self.passed > 0 {
            while k <= self.part.last {
                let coefficient = coefficient(block, k)?;
                if *coefficient != 0 {
                    self.refine(coefficient, one);
                }
                k += 1;
            }
            self.passed -= 1;
        }
        Ok(())
    }

    /// Reads the next bit of a coefficient that is not 0.
    fn refine(&mut self, coefficient: &mut i16, one: i16) {
        if self.bits.take(1) == 1 && *coefficient & one == 0 {
            let step = if *coefficient >= 0 { one } else { -one };
            *coefficient = coefficient.wrapping_add(step);
        }
    }
}

/// Coefficient `k`, in the order in files.
fn coefficient(block: &mut [i16; 64], k: usize) -> Decoded<&mut i16> {
    let place = *some(ZIGZAG.get(k))?;
    some(block.get_mut(usize::from(place)))
}
