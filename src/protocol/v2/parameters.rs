//! Parameters of a request, an input or an output: those that mean something here.

use super::super::fault::{Fault, Outcome};
use super::super::json::{Kind, Reader};
use jiter::Peek;

/// Parameters that mean something, of a request, an input or an output.
#[derive(Default)]
pub(super) struct Parameters {
    pub binary_data_size: Option<usize>,
    pub binary_data: Option<bool>,
    pub binary_data_output: Option<bool>,
    pub classification: Option<usize>,
    pub timeout: Option<u64>,
    pub priority: Option<u64>,
}

pub(super) fn read(reader: &mut Reader<'_>, peek: Peek) -> Outcome<Parameters> {
    let mut all = Parameters::default();
    if reader.kind(peek)? != Kind::Object {
        return Err(Fault::bad("Unable to parse 'parameters': no JSON object"));
    }
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let mut next = reader.object(str::to_string)?;
    while let Some(name) = next {
        let peek = reader.peek()?;
        let flag = |reader: &mut Reader<'_>| match reader.kind(peek)? {
            Kind::Bool => reader.bool(peek),
            _ => Err(Fault::bad(format!("Unable to parse '{name}': no boolean"))),
        };
        match name.as_str() {
            "binary_data_size" => {
                all.binary_data_size = Some(size(unsigned(reader, peek, &name)?));
            }
            "binary_data" => all.binary_data = Some(flag(reader)?),
            "binary_data_output" => all.binary_data_output = Some(flag(reader)?),
            "classification" => all.classification = Some(size(unsigned(reader, peek, &name)?)),
            "timeout" => all.timeout = Some(unsigned(reader, peek, &name)?),
            "priority" => all.priority = Some(unsigned(reader, peek, &name)?),
            "shared_memory_region" | "shared_memory_byte_size" | "shared_memory_offset" => {
                return Err(Fault::bad("shared memory regions are not served here"));
            }
            _ => reader.skip(peek, 3)?,
        }
        next = reader.key(str::to_string)?;
    }
    Ok(all)
}

fn unsigned(reader: &mut Reader<'_>, peek: Peek, name: &str) -> Outcome<u64> {
    let number = match reader.kind(peek)? {
        Kind::Number => reader.number(peek)?.parse::<u64>().ok(),
        _ => None,
    };
    number.ok_or_else(|| Fault::bad(format!("Unable to parse '{name}': no unsigned integer")))
}

/// Triton's priorities: 1 is the highest, 0 is what a request without one has. Here the higher go
/// first, and 0 is normal.
pub(super) fn priority(given: u64) -> i8 {
    match given {
        0 => 0,
        given => {
            let below = i64::try_from(given).unwrap_or(256).min(256);
            i8::try_from(128 - below).unwrap_or(i8::MIN)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tritons_priorities_are_turned_round() {
        assert_eq!(priority(0), 0);
        assert!(priority(1) > priority(2) && priority(2) > priority(3));
        assert!(priority(100) > priority(0));
        assert_eq!((priority(1), priority(u64::MAX)), (127, -128));
    }
}
