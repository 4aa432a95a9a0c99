//! The container against hostile bytes.

use super::super::container::Weights;
use super::file;
use crate::error::{ErrorKind, Result};
use crate::limits::LoadLimits;
use crate::tensor::ElementType;
use bytes::Bytes;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

fn parse(bytes: Vec<u8>) -> Result<Weights> {
    Weights::parse(&Bytes::from(bytes), &LoadLimits::default())
}

/// A file from a header's text and the number of bytes after it.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(vec![0; data]);
    out
}

fn refused(bytes: Vec<u8>, kind: ErrorKind, says: &str) {
    let e = parse(bytes).unwrap_err();
    assert_eq!(e.kind(), kind, "{e}");
    assert!(e.message().contains(says), "{e} does not say '{says}'");
}

#[test]
fn faults_of_the_header_are_refused() {
    use ErrorKind::{InvalidModel, LimitExceeded};
    refused(vec![], InvalidModel, "too few");
    refused(vec![1, 0, 0, 0, 0, 0, 0], InvalidModel, "too few");
    refused(1000u64.to_le_bytes().to_vec(), InvalidModel, "1000 bytes in a file of 8");
    refused((1u64 << 63).to_le_bytes().to_vec(), LimitExceeded, "header of 9223372036854775808");
    refused(u64::MAX.to_le_bytes().to_vec(), LimitExceeded, "at most 100000000");
    refused(raw("", 0), InvalidModel, "start with '{'");
    refused(raw(" {}", 0), InvalidModel, "start with '{'");
    refused(raw("[]", 0), InvalidModel, "start with '{'");
    refused(raw("\u{feff}{}", 0), InvalidModel, "start with '{'");
    let mut latin = raw("{\"a\":1}", 0);
    latin[10] = 0xe9;
    refused(latin, InvalidModel, "UTF-8");
    refused(raw("{", 0), InvalidModel, "header");
    refused(raw("{} x", 0), InvalidModel, "trailing");
    refused(raw(r#"{"__metadata__":{"a":1}}"#, 0), InvalidModel, "string");
    refused(raw(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), InvalidModel, "twice");
    let nested = format!("{{\"a\":{}", "[".repeat(200));
    refused(raw(&nested, 0), InvalidModel, "header");
    assert!(parse(raw("{}", 0)).is_ok());
    assert!(parse(raw(r#"{"__metadata__":{"format":"pt"}}  "#, 0)).is_ok());
}

#[test]
fn faults_of_tensors_are_refused() {
    use ErrorKind::{InvalidModel, LimitExceeded, Unsupported};
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    assert!(parse(raw(&one("F32", "[2]", "[0,8]"), 8)).is_ok());
    refused(raw(&one("F32", "[2]", "[0,8]"), 9), InvalidModel, "file has");
    refused(raw(&one("F32", "[2]", "[0,8]"), 7), InvalidModel, "file has");
    refused(raw(&one("F32", "[3]", "[0,8]"), 8), InvalidModel, "shape");
    refused(raw(&one("F32", "[2]", "[-1,7]"), 8), InvalidModel, "expected usize");
    refused(raw(&one("F32", "[-2]", "[0,8]"), 8), InvalidModel, "expected usize");
    refused(raw(&one("F32", "[2]", "[8,0]"), 8), InvalidModel, "offset");
    refused(raw(&one("F32", "[2]", "[4,12]"), 12), InvalidModel, "offset");
    refused(raw(&one("F32", "[4294967296,4294967296]", "[0,0]"), 0), InvalidModel, "overflow");
    refused(raw(&one("F32", "[9223372036854775808,2]", "[0,0]"), 0), InvalidModel, "overflow");
    refused(raw(&one("F4", "[1]", "[0,1]"), 1), InvalidModel, "byte boundary");
    refused(raw(&one("C64", "[1]", "[0,8]"), 8), Unsupported, "'a' has element type C64");
    refused(raw(&one("Q4_K", "[1]", "[0,1]"), 1), Unsupported, "'a' has element type 'Q4_K'");
    let deep = format!("[{}]", ["1"; 33].join(","));
    refused(raw(&one("U8", &deep, "[0,1]"), 1), LimitExceeded, "rank 33");
    let two = |a: &str, b: &str, name: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},
                "{name}":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
        )
    };
    assert!(parse(raw(&two("[4,8]", "[0,4]", "b"), 8)).is_ok(), "any order in the header");
    refused(raw(&two("[0,4]", "[2,6]", "b"), 6), InvalidModel, "offset for tensor");
    refused(raw(&two("[0,4]", "[0,4]", "b"), 4), InvalidModel, "offset for tensor");
    refused(raw(&two("[0,4]", "[5,9]", "b"), 9), InvalidModel, "offset for tensor");
    refused(raw(&two("[0,4]", "[4,8]", "a"), 8), InvalidModel, "two tensors are named 'a'");
    refused(raw(&two("[0,4]", "[4,8]", "\\u0061"), 8), InvalidModel, "two tensors are named 'a'");
}

#[test]
fn limits_are_the_callers() {
    let bytes = Bytes::from(file(&[("a", &[1]), ("b", &[1])]));
    let refused = |limits: &LoadLimits| {
        let e = Weights::parse(&bytes, limits).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::LimitExceeded, "{e}");
    };
    refused(&LoadLimits { safetensors_tensors: 1, ..LoadLimits::default() });
    refused(&LoadLimits { safetensors_header_bytes: 16, ..LoadLimits::default() });
    refused(&LoadLimits { name_bytes: 0, ..LoadLimits::default() });
}

#[test]
fn elements_widen_exactly_and_never_narrow() {
    let half = half::f16::from_f32(1.5).to_le_bytes();
    let brain = half::bf16::from_f32(-2.5).to_le_bytes();
    let double = 0.1f64.to_le_bytes();
    let int = 7i64.to_le_bytes();
    let views = [
        ("half", TensorView::new(Dtype::F16, vec![1], &half).unwrap()),
        ("brain", TensorView::new(Dtype::BF16, vec![1], &brain).unwrap()),
        ("double", TensorView::new(Dtype::F64, vec![1], &double).unwrap()),
        ("int", TensorView::new(Dtype::I64, vec![1], &int).unwrap()),
        ("e4m3", TensorView::new(Dtype::F8_E4M3, vec![1], &[0x7e]).unwrap()),
        ("e5m2", TensorView::new(Dtype::F8_E5M2, vec![1], &[0xc5]).unwrap()),
        ("e8m0", TensorView::new(Dtype::F8_E8M0, vec![1], &[124]).unwrap()),
    ];
    let mut weights = parse(safetensors::serialize(views, None).unwrap()).unwrap();
    let single = |w: &mut Weights, name: &str| {
        w.take(name, &[1], ElementType::F32).map(|t| t.into_vec::<f32>().unwrap()[0])
    };
    assert_eq!(single(&mut weights, "half").unwrap(), 1.5);
    assert_eq!(single(&mut weights, "brain").unwrap(), -2.5);
    assert_eq!(single(&mut weights, "e4m3").unwrap(), 448.0);
    assert_eq!(single(&mut weights, "e5m2").unwrap(), -5.0);
    let power = weights.take("e8m0", &[1], ElementType::F64).unwrap();
    assert_eq!(power.into_vec::<f64>().unwrap(), [0.125]);
    let wide = weights.take("brain", &[1], ElementType::F64).unwrap();
    assert_eq!(wide.as_slice::<f64>().unwrap(), [-2.5]);
    let e = single(&mut weights, "double").unwrap_err();
    assert!(e.message().contains("'double' has element type float64"), "{e}");
    assert!(single(&mut weights, "int").is_err());
    let e = weights.take("half", &[2, 1], ElementType::F32).unwrap_err();
    assert!(e.message().contains("'half' has shape [1], expected [2, 1]"), "{e}");
    let e = weights.all_used().unwrap_err();
    assert!(e.message().contains("2 of 7") && e.message().contains("'double', 'int'"), "{e}");
}

/// Ours accepts what the reference accepts and finds the same in it. It refuses more for types and
/// sizes that we name, and by rules of the format that the reference does not keep.
fn agrees_with_the_reference(bytes: Vec<u8>) -> bool {
    const RULES: [&str; 3] =
        ["does not start with '{'", "two tensors are named", "expected a string"];
    let mut weights = Weights::default();
    let ours = weights.add(&Bytes::from(bytes.clone()), &LoadLimits::default());
    let text = String::from_utf8_lossy(&bytes);
    match (ours, SafeTensors::deserialize(&bytes)) {
        (Ok(mut names), Ok(reference)) => {
            names.sort();
            let mut expected = reference.names();
            expected.sort_unstable();
            assert_eq!(names, expected, "{text}");
            for (name, view) in reference.tensors() {
                has_the_same_elements(&mut weights, &name, &view);
            }
            true
        }
        (Ok(_), Err(e)) => panic!("accepted what the reference refuses: {e}\n{text}"),
        (Err(e), Ok(_)) => {
            let rule = RULES.iter().any(|rule| e.message().contains(rule));
            assert!(e.kind() != ErrorKind::InvalidModel || rule, "{e}\n{text}");
            false
        }
        (Err(_), Err(_)) => false,
    }
}

/// Four bits of exponent, three of mantissa; all ones are NaN, there is no infinity.
fn e4m3(bits: u8) -> f32 {
    let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f32::from(bits & 7));
    match (exponent, bits & 7) {
        (15, 7) => f32::NAN.copysign(sign),
        (0, _) => sign * mantissa * 2f32.powi(-9),
        _ => sign * (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    }
}

/// A power of two; all ones are NaN.
fn e8m0(bits: u8) -> f32 {
    if bits == 0xff { f32::NAN } else { 2f64.powi(i32::from(bits) - 127) as f32 }
}

fn has_the_same_elements(weights: &mut Weights, name: &str, view: &TensorView<'_>) {
    let data = view.data();
    let dtype = if view.dtype() == Dtype::F64 { ElementType::F64 } else { ElementType::F32 };
    let taken = weights.take(name, view.shape(), dtype);
    let expected: Vec<u64> = match view.dtype() {
        Dtype::F64 => data.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect(),
        Dtype::F32 => {
            data.as_chunks().0.iter().map(|b| u64::from(u32::from_le_bytes(*b))).collect()
        }
        Dtype::F16 => {
            let wide = |b: &[u8; 2]| u64::from(half::f16::from_le_bytes(*b).to_f32().to_bits());
            data.as_chunks().0.iter().map(wide).collect()
        }
        Dtype::BF16 => {
            let wide = |b: &[u8; 2]| u64::from(half::bf16::from_le_bytes(*b).to_f32().to_bits());
            data.as_chunks().0.iter().map(wide).collect()
        }
        Dtype::F8_E5M2 => {
            // The upper half of a float16.
            let wide = |b: &u8| half::f16::from_bits(u16::from(*b) << 8).to_f32().to_bits();
            data.iter().map(|b| u64::from(wide(b))).collect()
        }
        Dtype::F8_E4M3 => data.iter().map(|b| u64::from(e4m3(*b).to_bits())).collect(),
        Dtype::F8_E8M0 => data.iter().map(|b| u64::from(e8m0(*b).to_bits())).collect(),
        // Of the right shape, but of a type that no layer computes in.
        _ => return assert!(taken.unwrap_err().message().contains("has element type"), "{name}"),
    };
    let taken = taken.unwrap();
    let got: Vec<u64> = match dtype {
        ElementType::F64 => taken.as_slice::<f64>().unwrap().iter().map(|x| x.to_bits()).collect(),
        _ => taken.as_slice::<f32>().unwrap().iter().map(|x| u64::from(x.to_bits())).collect(),
    };
    // Float8 does not say which NaN it means.
    let narrow = matches!(view.dtype(), Dtype::F8_E5M2 | Dtype::F8_E4M3 | Dtype::F8_E8M0);
    for (got, expected) in got.iter().zip(&expected) {
        let nan = |bits: u64| narrow && f32::from_bits(bits as u32).is_nan();
        assert!(got == expected || (nan(*got) && nan(*expected)), "{name}: {got:x} {expected:x}");
    }
    assert_eq!(got.len(), expected.len(), "{name}");
}

/// Numbers by chance, the same ones each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of(&mut self, all: &[&'static str]) -> &'static str {
        all[self.below(all.len())]
    }
}

/// A file whose header is right in most places.
fn odd_file(chance: &mut Chance) -> Vec<u8> {
    const TYPES: [(&str, usize); 8] = [
        ("F32", 32),
        ("F16", 16),
        ("BF16", 16),
        ("F64", 64),
        ("U8", 8),
        ("I64", 64),
        ("BOOL", 8),
        ("F4", 4),
    ];
    const SHAPES: [(&str, usize); 6] =
        [("[2]", 2), ("[]", 1), ("[1,3]", 3), ("[0,7]", 0), ("[2,2]", 4), (" [ 4 ] ", 4)];
    const DEEP: usize = 200;
    let mut end = 0;
    let mut entries = Vec::new();
    for name in ["a", "b.weight", "\\u0063"].iter().take(chance.below(4)) {
        let (dtype, bits) = TYPES[chance.below(TYPES.len())];
        let (shape, count) = SHAPES[chance.below(SHAPES.len())];
        let (mut start, mut stop) = (end, end + bits * count / 8);
        end = stop;
        if chance.one_in(12) {
            start += chance.below(3);
            stop = (stop + 1).saturating_sub(chance.below(3));
        }
        let mut dtype = format!("\"{dtype}\"");
        let mut shape = shape.to_string();
        let mut name = *name;
        match chance.below(30) {
            0 => name = chance.of(&["a", "", "__metadata__", "a\\n", "\\ud800"]),
            1 => dtype = chance.of(&["\"F8_E4M3\"", "\"f32\"", "\"\"", "7", "null"]).to_string(),
            2 => dtype = format!("{{{dtype}:null}}"),
            3 => {
                shape = chance
                    .of(&[
                        "[-1]",
                        "[2.0]",
                        "[18446744073709551616]",
                        "[4294967296,4294967296]",
                        "2",
                    ])
                    .to_string();
            }
            4 => shape = "[0,9223372036854775808]".to_string(),
            _ => {}
        }
        let offsets = match chance.below(24) {
            0 => format!("[{start}]"),
            1 => format!("[{start},{stop},{stop}]"),
            2 => format!("[{stop},{start}]"),
            _ => format!("[{start},{stop}]"),
        };
        let more = match chance.below(16) {
            0 => format!(",\"x\":{}", "[".repeat(DEEP) + &"]".repeat(DEEP)),
            1 => format!(",\"dtype\":{dtype}"),
            2 | 3 => {
                let values = [
                    "1e999",
                    "\"\\ud800\"",
                    "{\"y\":1,\"y\":2}",
                    "nul",
                    "\"z\"",
                    "-0",
                    "1e5",
                    "[1,]",
                    "123456789012345678901234567890",
                ];
                format!(",\"x\":{}", chance.of(&values))
            }
            _ => String::new(),
        };
        entries.push(match chance.below(16) {
            0 => format!("\"{name}\":[{dtype},{shape},{offsets}]"),
            1 => format!("\"{name}\":{{{}}}", more.trim_start_matches(',')),
            _ => format!(
                "\"{name}\":{{\"dtype\":{dtype},\"shape\":{shape},\"data_offsets\":{offsets}{more}}}"
            ),
        });
    }
    if chance.one_in(3) {
        let metadata =
            ["{\"format\":\"pt\"}", "null", "{}", "{\"a\":1}", "{\"a\":\"\",\"a\":\"b\"}", "1"];
        let at = chance.below(entries.len() + 1);
        entries.insert(at, format!("\"__metadata__\":{}", chance.of(&metadata)));
    }
    if chance.one_in(10) && !entries.is_empty() {
        entries.push(entries[0].clone());
    }
    let mut header = format!("{{{}}}", entries.join(","));
    match chance.below(30) {
        0 => header.insert(0, ' '),
        1 => header.push_str("  \n"),
        2 => header.push('x'),
        3 => header = header.replace(':', " : "),
        _ => {}
    }
    let data = if chance.one_in(10) { (end + 1).saturating_sub(chance.below(3)) } else { end };
    let mut file = raw(&header, data);
    let start = file.len() - data;
    file[start..].iter_mut().for_each(|byte| *byte = chance.below(256) as u8);
    file
}

#[test]
fn odd_headers_are_read_as_the_reference_reads_them() {
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    let accepted = (0..6000).filter(|_| agrees_with_the_reference(odd_file(&mut chance))).count();
    assert!((600..5400).contains(&accepted), "{accepted} of 6000 were accepted");
}

#[test]
fn truncations_are_refused() {
    let good = file(&[("fc.weight", &[2, 3]), ("fc.bias", &[2]), ("e", &[0, 4])]);
    assert!(parse(good.clone()).is_ok());
    for n in 0..good.len() {
        assert!(parse(good[..n].to_vec()).is_err(), "{n} of {} bytes", good.len());
    }
    let mut longer = good;
    longer.push(0);
    assert!(parse(longer).is_err());
}

#[test]
fn bit_flips_never_panic() {
    let good = file(&[("fc.weight", &[2, 3]), ("fc.bias", &[2]), ("e", &[0, 4])]);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..4000 {
        let mut bytes = good.clone();
        for _ in 0..1 + state % 3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Mostly in the header, where it hurts.
            let at = (state >> 8) as usize % (bytes.len() * 3 / 4);
            bytes[at] ^= 1 << (state & 7);
        }
        agrees_with_the_reference(bytes);
    }
}
