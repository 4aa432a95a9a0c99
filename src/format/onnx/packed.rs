//! Elements of fewer than eight bits as files pack them.

/// The elements of a stream of `bits`-bit fields, lowest bits first, as ONNX packs them. Bytes that
/// are missing at the end count as zero.
pub(super) fn unpack(bytes: &[u8], bits: usize, count: usize) -> impl ExactSizeIterator<Item = u8> {
    (0..count).map(move |i| {
        let (at, shift) = (i * bits / 8, i * bits % 8);
        let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or(0));
        let wide = byte(at) | byte(at + 1) << 8;
        (wide >> shift) as u8 & (u8::MAX >> (8 - bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_lowest_bits_first() {
        let unpacked = |bytes: &[u8], bits, count| unpack(bytes, bits, count).collect::<Vec<u8>>();
        assert_eq!(unpacked(&[0x21, 0x03], 4, 3), [1, 2, 3]);
        assert_eq!(unpacked(&[0b11_10_01_00, 0b01], 2, 5), [0, 1, 2, 3, 1]);
        assert_eq!(unpacked(&[0xff, 0x7f], 8, 2), [255, 127]);
        // x0 | (x1 & 3) << 6, x1 >> 2 | (x2 & 15) << 4, x2 >> 4 | x3 << 2
        let (x0, x1, x2, x3) = (33u8, 22, 59, 5);
        let packed = [x0 | (x1 & 3) << 6, x1 >> 2 | (x2 & 15) << 4, x2 >> 4 | x3 << 2];
        assert_eq!(unpacked(&packed, 6, 4), [x0, x1, x2, x3]);
        assert_eq!(unpacked(&packed[..2], 6, 2), [x0, x1]);
    }
}
