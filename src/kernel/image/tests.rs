//! Expected pixels are Pillow's, or worked out by hand.

use crate::error::ErrorKind;
use crate::kernel::testing::{Op, t};
use crate::kernel::{Arena, Context};
use crate::limits::RequestLimits;
use crate::tensor::Tensor;
use crate::threads::Threads;

/// Red and dark blue above green and blue.
const PIXELS: [u8; 12] = [255, 0, 0, 10, 20, 30, 0, 255, 0, 0, 0, 255];
/// The same as a PNG.
const PNG: [u8; 78] = [
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0, 0, 0, 2, 8, 2, 0,
    0, 0, 253, 212, 154, 115, 0, 0, 0, 21, 73, 68, 65, 84, 120, 218, 99, 248, 207, 192, 192, 37,
    34, 199, 192, 0, 164, 25, 254, 3, 0, 21, 3, 3, 58, 65, 122, 2, 47, 0, 0, 0, 0, 73, 69, 78, 68,
    174, 66, 96, 130,
];

// Written by Pillow: red is 36 x, green 60 y, blue 11 x y.
/// Seven by five pixels, chroma at half the resolution.
const JPEG: &str = "\
    ffd8ffe000104a46494600010100000100010000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f132015131212 \
    13271c1e17202e2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fff \
    db0043010e0e0e131113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f \
    4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc00011080005000703012200021101031101ffc400 \
    1500010100000000000000000000000000000004ffc4001c100001030500000000000000000000000000010511 \
    0203061251ffc4001501010100000000000000000000000000000206ffc4001d11000104020300000000000000 \
    0000000001000203043151051122ffda000c03010002110311003f00a1a7176f4b3b2d3309c001316ee4d11686 \
    9c8ef0367610e36dce6b8f657fffd9";
/// The same, coded progressively.
const PROGRESSIVE: &str = "\
    ffd8ffe000104a46494600010100000100010000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f132015131212 \
    13271c1e17202e2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fff \
    db0043010e0e0e131113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f \
    4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc20011080005000703012200021101031101ffc400 \
    1500010100000000000000000000000000000003ffc4001501010100000000000000000000000000000205ffda \
    000c03010002100310000001a0967fffc400161001010100000000000000000000000000030411ffda00080101 \
    00010502294f3fffc400191100010500000000000000000000000000000203041331ffda0008010301013f018c \
    eaebd3ffc40017110003010000000000000000000000000002031100ffda0008010201013f016b8c64dfffc400 \
    14100100000000000000000000000000000000ffda0008010100063f027fffc400161000030000000000000000 \
    000000000000001121ffda0008010100013f21b28fffda000c030100020003000000100fffc400161101010100 \
    000000000000000000000000010021ffda0008010301013f1058ddffc400181101000301000000000000000000 \
    0000000100315111ffda0008010201013f10642b3b46ba4fffc400171000030100000000000000000000000000 \
    00011151ffda0008010100013f104295161fffd9";
/// What Pillow, by libjpeg-turbo, reads of both.
const DECODED: [u8; 105] = [
    0, 6, 0, 23, 17, 0, 55, 28, 0, 84, 22, 0, 120, 10, 11, 154, 12, 28, 183, 17, 5, 10, 45, 3, 34,
    59, 4, 69, 70, 0, 101, 67, 6, 137, 57, 58, 175, 59, 78, 202, 65, 55, 8, 102, 50, 32, 117, 52,
    69, 129, 43, 103, 127, 65, 143, 118, 122, 181, 122, 144, 208, 128, 121, 9, 162, 71, 35, 176,
    74, 72, 187, 68, 107, 187, 90, 149, 180, 149, 186, 183, 166, 210, 187, 135, 13, 218, 63, 38,
    230, 65, 73, 241, 60, 109, 241, 80, 150, 235, 132, 185, 237, 139, 206, 239, 90,
];
/// The same in gray.
const GRAY: [u8; 35] = [
    4, 17, 33, 38, 43, 56, 65, 30, 45, 62, 70, 81, 96, 105, 68, 84, 101, 113, 126, 142, 151, 106,
    122, 139, 152, 167, 182, 188, 139, 154, 170, 183, 198, 210, 212,
];
/// The upper left four by four pixels, without loss.
const JPEG_2000: &str = "\
    ff4fff51002f000000000004000000040000000000000000000000040000000400000000000000000003070101 \
    070101070101ff52000c00000001000204040001ff5c000a4040484850484850ff640025000143726561746564 \
    206279204f70656e4a5045472076657273696f6e20322e352e34ff90000a0000000000550001ff93cfb40805af \
    c7d404099fcfb408096bc7da040002cfa7e0040489c1f38283e70507d404001f001f001fc3ea03000d0207a1f5 \
    01800b3849c1f38283e70701f2020fc20fc29f0fd7ffd9";
/// The same.
const WEBP: &str = "\
    5249464648000000574542505650384c3c0000002f03c000007f303c02816498fc898621d2b6998af1fb173515 \
    e7f31f220060e3f3f90684d0c6711c1004402c68f1a0c592160f5aec44f43f402bfd00";
/// The upper left two rows of three, by LZW.
const TIFF: &str = "\
    49492a001c0000008000204248112204001e000483c05920781680800a00000103000100000003000000010103 \
    00010000000200000002010300030000009a000000030103000100000005000000060103000100000002000000 \
    110104000100000008000000150103000100000003000000160103000100000002000000170104000100000014 \
    0000001c010300010000000100000000000000080008000800";
/// A PNG of four bits a pixel.
const PALETTE: &str = "\
    89504e470d0a1a0a0000000d49484452000000030000000301030000006ce627fc00000006504c544500640000 \
    0000c9d568420000000e4944415478da6378c0c4c0c00000046e00e3018b915a0000000049454e44ae426082";
/// Its pixels, three by three.
const COLOURS: [u8; 27] =
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 100, 0, 0, 100, 0];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|b| b.is_ascii_hexdigit())
        .map(|b| (b as char).to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| (pair[0] << 4) | pair[1]).collect()
}

fn decode(format: &str, file: &[u8]) -> Tensor {
    let op = Op::onnx("ImageDecoder", 20).string("pixel_format", format);
    op.run1(&[t(&[file.len()], file)])
}

/// `width` by `height` pixels from the upper left of what was written.
fn written(width: usize, height: usize) -> Tensor {
    let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgb: Vec<u8> =
        all.flat_map(|(x, y)| [x * 36, y * 60, x * y * 11 % 256]).map(|v| v as u8).collect();
    t(&[height, width, 3], &rgb)
}

/// The picture of `PIXELS` as PPM and as BMP, whose rows come from below, blue first.
fn others() -> [Vec<u8>; 3] {
    let ppm = [b"P6 # two by two\n2 2\n255\n".as_slice(), &PIXELS].concat();
    let text: Vec<String> = PIXELS.iter().map(ToString::to_string).collect();
    let text = format!("P3\n2 2 255\n{}\n", text.join("\n")).into_bytes();
    let mut bmp = b"BM".to_vec();
    for v in [70u32, 0, 54, 40, 2, 2, 1 | (24 << 16), 0, 16, 2835, 2835, 0, 0] {
        bmp.extend(v.to_le_bytes());
    }
    bmp.extend([0, 255, 0, 255, 0, 0, 0, 0, 0, 0, 255, 30, 20, 10, 0, 0]);
    [ppm, text, bmp]
}

#[test]
fn pictures_of_every_format() {
    let expected = t(&[2, 2, 3], &PIXELS);
    assert_eq!(decode("RGB", &PNG), expected);
    for file in others() {
        assert_eq!(decode("RGB", &file), expected);
    }
    let bgr = [0u8, 0, 255, 30, 20, 10, 0, 255, 0, 255, 0, 0];
    assert_eq!(decode("BGR", &PNG), t(&[2, 2, 3], &bgr));
    assert_eq!(decode("Grayscale", &PNG), t(&[2, 2, 1], &[76u8, 18, 150, 29]));
    let gray = [b"P5\n2 1\n255\n".as_slice(), &[7, 9]].concat();
    assert_eq!(decode("Grayscale", &gray), t(&[1, 2, 1], &[7u8, 9]));
    assert_eq!(decode("RGB", &gray), t(&[1, 2, 3], &[7u8, 7, 7, 9, 9, 9]));
    assert_eq!(decode("RGB", &bytes(PALETTE)), t(&[3, 3, 3], &COLOURS));
    assert_eq!(decode("RGB", &bytes(TIFF)), written(3, 2));
    assert_eq!(decode("RGB", &bytes(WEBP)), written(4, 4));
    assert_eq!(decode("RGB", &bytes(JPEG_2000)), written(4, 4));
}

#[test]
fn jpeg_is_decoded_bit_for_bit() {
    for file in [JPEG, PROGRESSIVE] {
        assert_eq!(decode("RGB", &bytes(file)), t(&[5, 7, 3], &DECODED));
    }
    assert_eq!(decode("Grayscale", &bytes(JPEG)), t(&[5, 7, 1], &GRAY));
}

#[test]
fn bits_and_wide_samples_of_portable_maps() {
    let text = b"P1\n# black is 1\n3 2\n101\n0 1 0";
    let expected = t(&[2, 3, 1], &[0u8, 255, 0, 255, 0, 255]);
    assert_eq!(decode("Grayscale", text), expected);
    let packed = [b"P4\n3 2\n".as_slice(), &[0b1010_0000, 0b0100_0000]].concat();
    assert_eq!(decode("Grayscale", &packed), expected);
    let wide = [b"P5 2 1 1023\n".as_slice(), &[3, 255, 2, 0]].concat();
    assert_eq!(decode("Grayscale", &wide), t(&[1, 2, 1], &[255u8, 128]));
    assert_eq!(decode("Grayscale", b"P2 2 1 4 2 9"), t(&[1, 2, 1], &[128u8, 255]));
}

/// A BMP of four by two pixels with these bits, coding, colours and pixels.
fn bmp(bits: u32, coding: u32, colours: &[u32], pixels: &[u8], height: i32) -> Vec<u8> {
    let start = 54 + 4 * colours.len() as u32;
    let mut file = b"BM".to_vec();
    let size = start + pixels.len() as u32;
    let count = if bits <= 8 { colours.len() as u32 } else { 0 };
    for v in [size, 0, start, 40, 4, height as u32, 1 | (bits << 16), coding, 0, 0, 0, count, 0] {
        file.extend(v.to_le_bytes());
    }
    colours.iter().for_each(|colour| file.extend(colour.to_le_bytes()));
    file.extend_from_slice(pixels);
    file
}

#[test]
fn bitmaps_of_every_coding() {
    let colours = [0x0000_0000, 0x0011_2233, 0x00ff_0080];
    let [black, one, two] = [[0u8, 0, 0], [0x11, 0x22, 0x33], [0xff, 0, 0x80]];
    let expected = |rows: [[[u8; 3]; 4]; 2]| t(&[2, 4, 3], rows.as_flattened().as_flattened());
    let above = [one, two, black, one];
    let below = [two, two, two, one];
    let both = expected([above, below]);
    let plain = bmp(8, 0, &colours, &[2, 2, 2, 1, 1, 2, 0, 1], 2);
    assert_eq!(decode("RGB", &plain), both);
    let down = bmp(8, 0, &colours, &[1, 2, 0, 1, 2, 2, 2, 1], -2);
    assert_eq!(decode("RGB", &down), both);
    let nibbles = bmp(4, 0, &colours, &[0x22, 0x21, 0, 0, 0x12, 0x01, 0, 0], 2);
    assert_eq!(decode("RGB", &nibbles), both);
    // Three twos and a one, the end of the line, four numbers written out, the end.
    let runs = bmp(8, 1, &colours, &[3, 2, 1, 1, 0, 0, 0, 4, 1, 2, 0, 1, 0, 1], 2);
    assert_eq!(decode("RGB", &runs), both);
    let runs = bmp(4, 2, &colours, &[3, 0x22, 1, 0x10, 0, 0, 0, 4, 0x12, 0x01, 0, 1], 2);
    assert_eq!(decode("RGB", &runs), both);
    // Two steps to the right and one up, then a run.
    let jump = bmp(8, 1, &colours, &[0, 2, 2, 1, 2, 1, 0, 1], 2);
    assert_eq!(decode("RGB", &jump), expected([[black, black, one, one], [black; 4]]));
    // Five bits each: red, green and blue of 31, 16 and 0.
    let pixel = ((31u16 << 10) | (16 << 5)).to_le_bytes();
    let wide = bmp(16, 0, &[], &pixel.repeat(8), 2);
    assert_eq!(decode("RGB", &wide), expected([[[255, 132, 0]; 4]; 2]));
    let fields = bmp(32, 3, &[0xff, 0xff00, 0xff_0000], &[1, 2, 3, 0].repeat(8), 2);
    assert_eq!(decode("RGB", &fields), expected([[[1, 2, 3]; 4]; 2]));
    let short = plain[..plain.len() - 1].to_vec();
    let endless = bmp(8, 1, &colours, &[3, 2], 2);
    for broken in [short, endless, bmp(7, 0, &[], &[0; 64], 2)] {
        assert_eq!(decode("RGB", &broken).dims(), [0, 0, 3]);
    }
}

#[test]
fn what_is_no_picture_is_empty() {
    assert_eq!(decode("RGB", &[]).dims(), [0, 0, 3]);
    assert_eq!(decode("Grayscale", b"no picture").dims(), [0, 0, 1]);
    assert_eq!(decode("BGR", &PNG[..50]).dims(), [0, 0, 3]);
    let op = Op::onnx("ImageDecoder", 20);
    assert!(op.run(&[t(&[1], &[1f32])]).is_err());
    assert!(op.string("pixel_format", "CMYK").run(&[t(&[1], &[1u8])]).is_err());
}

/// Calls `f` with a context whose limit is `bytes`.
fn within<R>(bytes: u64, f: impl FnOnce(&Context<'_>) -> R) -> R {
    let limits = RequestLimits { run_bytes: bytes, ..RequestLimits::default() };
    let threads = Threads::new(1);
    let mut arena = Arena::default();
    f(&Context {
        threads: &threads,
        limits: &limits,
        arena: &mut arena,
        deadline: None,
        cancel: None,
    })
}

#[test]
fn broken_files_are_pictures_or_none() {
    within(1 << 20, |ctx| {
        let check = |file: &[u8]| match super::decode(ctx, file) {
            Ok(picture) => assert!(picture.width > 0 && picture.height > 0),
            Err(super::Fault::Refused(e)) => assert_eq!(e.kind(), ErrorKind::LimitExceeded),
            Err(super::Fault::NoPicture) => {}
        };
        for file in [JPEG, PROGRESSIVE, JPEG_2000, WEBP, TIFF, PALETTE].map(bytes) {
            (0..file.len()).for_each(|end| check(&file[..end]));
            for at in 0..file.len() {
                let mut turned = file.clone();
                turned[at] ^= 1 << (at % 8);
                check(&turned);
            }
        }
    });
}

#[test]
fn a_picture_larger_than_the_limit_is_refused_before_it_is_there() {
    // Files of a few bytes that ask for much.
    let mut wide = bytes(JPEG);
    let size = wide.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
    wide[size..size + 4].copy_from_slice(&[0xff; 4]);
    let mut tall = bytes(WEBP);
    let header = tall.windows(4).position(|name| name == b"VP8L").unwrap() + 9;
    tall[header..header + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
    within(200, |ctx| {
        for file in [b"P6 60000 60000 255\n".to_vec(), wide, tall, bytes(JPEG_2000)] {
            match super::decode(ctx, &file) {
                Err(super::Fault::Refused(e)) => assert_eq!(e.kind(), ErrorKind::LimitExceeded),
                Err(super::Fault::NoPicture) => panic!("refused for another reason"),
                Ok(_) => panic!("decoded"),
            }
        }
        let small = [b"P5 2 1 255\n".as_slice(), &[7, 9]].concat();
        assert!(super::decode(ctx, &small).is_ok());
    });
}
