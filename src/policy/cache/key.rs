//! What an answer is kept under: everything that it depends on, byte by byte.
//!
//! A key is a stream of bytes: what kind of request it is, then element types, shapes and
//! elements (floats by their bits: -0 is not 0, and a NaN is equal to itself alone). One function
//! makes the stream, and it is hashed, compared and stored as it comes, so that the three cannot
//! disagree and a row that is found is read in place.
//!
//! The hash is SipHash-1-3 under a random key of the process, as the standard library's
//! collections use it against chosen collisions. A collision costs time and nothing else: what is
//! found is compared byte by byte. For the 120 bytes of a row of 30 `f32`, SipHash-1-3 took 37 ns
//! and keyed BLAKE3 170 ns (2 virtual cores of an AMD EPYC), more than half of what a hit may cost.

use crate::model::Signature;
use crate::tensor::{
    Complex, Data, ElementType, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN, Float8E4M3FNUZ,
    Float8E5M2, Float8E5M2FNUZ, Float8E8M0, Int2, Int4, Tensor, UInt2, UInt4, for_each_type,
};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use quick_cache::Equivalent;
use smallvec::SmallVec;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

/// What a key's stream begins with: a row, or a whole request of one of the three kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Row,
    WholeRow,
    WholeBatch,
    WholeRun,
}

/// The bytes before the elements.
pub(super) type Head = SmallVec<[u8; 48]>;

/// A request, or a row of one, as it is looked up: nothing is copied.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    pub head: &'a [u8],
    pub elements: Elements<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Elements<'a> {
    /// One row of a single input.
    F32(&'a [f32]),
    /// This row of each tensor.
    Row(&'a [Tensor], usize),
    /// The tensors whole.
    All(&'a [Tensor]),
}

/// The head of a row of a single `f32` input of `[rows, width]`: what [`row_head`] makes of it,
/// written at once.
pub(super) fn f32_row_head(width: usize) -> [u8; 26] {
    let mut head = [0; 26];
    head[0] = Kind::Row as u8;
    head[1..9].copy_from_slice(&1u64.to_ne_bytes());
    head[9] = ElementType::F32 as u8;
    head[10..18].copy_from_slice(&1u64.to_ne_bytes());
    head[18..].copy_from_slice(&(width as u64).to_ne_bytes());
    head
}

/// The head of the rows of these tensors (each `[rows, …]`).
pub(super) fn row_head(tensors: &[Tensor]) -> Head {
    let mut head = begin(Kind::Row, tensors.len());
    for tensor in tensors {
        describe(&mut head, tensor.dtype(), tensor.dims().get(1..).unwrap_or_default());
    }
    head
}

/// The head of a whole request: tensors by name where they have names, and the outputs wanted.
pub(super) fn whole_head(
    kind: Kind,
    names: &[&str],
    tensors: &[Tensor],
    outputs: &[String],
) -> Head {
    let mut head = begin(kind, tensors.len());
    for (i, tensor) in tensors.iter().enumerate() {
        text(&mut head, names.get(i).copied().unwrap_or_default());
        describe(&mut head, tensor.dtype(), tensor.dims());
    }
    number(&mut head, outputs.len());
    for name in outputs {
        text(&mut head, name);
    }
    head
}

fn begin(kind: Kind, inputs: usize) -> Head {
    let mut head = Head::new();
    head.push(kind as u8);
    number(&mut head, inputs);
    head
}

fn describe(head: &mut Head, dtype: ElementType, dims: &[usize]) {
    head.push(dtype as u8);
    number(head, dims.len());
    for &dim in dims {
        number(head, dim);
    }
}

fn number(head: &mut Head, n: usize) {
    head.extend_from_slice(&(n as u64).to_ne_bytes());
}

fn text(head: &mut Head, text: &str) {
    number(head, text.len());
    head.extend_from_slice(text.as_bytes());
}

/// Takes a key's stream.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for DefaultHasher {
    fn put(&mut self, bytes: &[u8]) {
        self.write(bytes);
    }
}

/// Compares a stream with stored bytes.
struct Same<'a> {
    left: &'a [u8],
    same: bool,
}

impl Sink for Same<'_> {
    fn put(&mut self, bytes: &[u8]) {
        match self.left.split_at_checked(bytes.len()) {
            Some((here, left)) if here == bytes => self.left = left,
            _ => self.same = false,
        }
    }
}

impl Content<'_> {
    fn feed(&self, sink: &mut impl Sink) {
        sink.put(self.head);
        match self.elements {
            Elements::F32(row) => f32::feed(row, sink),
            Elements::Row(tensors, row) => {
                for tensor in tensors {
                    let (_, width) = tensor.row_layout();
                    elements(tensor.data(), row * width..(row + 1) * width, sink);
                }
            }
            Elements::All(tensors) => {
                for tensor in tensors {
                    elements(tensor.data(), 0..tensor.len(), sink);
                }
            }
        }
    }
}

fn elements(data: &Data, range: Range<usize>, sink: &mut impl Sink) {
    for_each_type!(data, v => Bits::feed(v.get(range).unwrap_or_default(), sink));
}

/// The bytes of elements.
trait Bits: Sized {
    fn feed(values: &[Self], sink: &mut impl Sink);
}

macro_rules! bits {
    ($($ty:ty),+) => {$(
        impl Bits for $ty {
            fn feed(values: &[Self], sink: &mut impl Sink) {
                sink.put(bytemuck::cast_slice(values));
            }
        }
    )+};
}

bits!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

impl Bits for f16 {
    fn feed(values: &[Self], sink: &mut impl Sink) {
        u16::feed(values.reinterpret_cast(), sink);
    }
}

impl Bits for bf16 {
    fn feed(values: &[Self], sink: &mut impl Sink) {
        u16::feed(values.reinterpret_cast(), sink);
    }
}

macro_rules! small_bits {
    ($($ty:ty: $bits:ident),+ $(,)?) => {$(
        impl Bits for $ty {
            fn feed(values: &[Self], sink: &mut impl Sink) {
                for value in values {
                    sink.put(&[value.$bits()]);
                }
            }
        }
    )+};
}

small_bits!(
    Int4: bits, UInt4: bits, Int2: bits, UInt2: bits, Float8E4M3FN: to_bits,
    Float8E4M3FNUZ: to_bits, Float8E5M2: to_bits, Float8E5M2FNUZ: to_bits, Float8E8M0: to_bits,
    Float6E2M3: to_bits, Float6E3M2: to_bits, Float4E2M1: to_bits,
);

impl Bits for Complex<f32> {
    fn feed(values: &[Self], sink: &mut impl Sink) {
        for value in values {
            f32::feed(&[value.re, value.im], sink);
        }
    }
}

impl Bits for Complex<f64> {
    fn feed(values: &[Self], sink: &mut impl Sink) {
        for value in values {
            f64::feed(&[value.re, value.im], sink);
        }
    }
}

impl Bits for bool {
    fn feed(values: &[Self], sink: &mut impl Sink) {
        for &value in values {
            sink.put(&[u8::from(value)]);
        }
    }
}

impl Bits for String {
    fn feed(values: &[Self], sink: &mut impl Sink) {
        for value in values {
            sink.put(&(value.len() as u64).to_ne_bytes());
            sink.put(value.as_bytes());
        }
    }
}

/// How keys are hashed.
#[derive(Debug, Clone)]
pub(super) enum Hashing {
    /// Under a random key.
    Keyed(RandomState),
    /// All alike: what is found must not rest on the hash.
    #[cfg(test)]
    Constant,
}

/// The keys of one loaded version.
///
/// Its number is given once in the life of a store, and part of each key. It stands for more
/// than the digest: the same file loaded with other options, or with other files beside it,
/// answers differently.
#[derive(Debug)]
pub(super) struct Space {
    pub id: u64,
    /// Has taken digest, signature and number already; `None`: all alike.
    hasher: Option<DefaultHasher>,
}

impl Space {
    pub fn new(id: u64, digest: &str, signature: &Signature, hashing: &Hashing) -> Space {
        let hasher = match hashing {
            Hashing::Keyed(state) => {
                let mut hasher = state.build_hasher();
                (digest, signature.to_string(), id).hash(&mut hasher);
                Some(hasher)
            }
            #[cfg(test)]
            Hashing::Constant => None,
        };
        Space { id, hasher }
    }

    /// The content, ready to be looked up.
    pub fn probe<'a>(&self, content: Content<'a>) -> Probe<'a> {
        let hash = match &self.hasher {
            Some(hasher) => {
                let mut hasher = hasher.clone();
                content.feed(&mut hasher);
                hasher.finish()
            }
            None => 0,
        };
        Probe { hash, space: self.id, content }
    }
}

/// A key that borrows what it is made of.
pub(super) struct Probe<'a> {
    pub hash: u64,
    space: u64,
    content: Content<'a>,
}

impl Probe<'_> {
    pub fn to_key(&self) -> Key {
        let mut bytes = Vec::new();
        self.content.feed(&mut bytes);
        Key(Arc::new(KeyData { hash: self.hash, space: self.space, bytes: bytes.into() }))
    }
}

impl Hash for Probe<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Key> for Probe<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        if self.hash != key.0.hash || self.space != key.0.space {
            return false;
        }
        let mut same = Same { left: &key.0.bytes, same: true };
        self.content.feed(&mut same);
        same.same && same.left.is_empty()
    }
}

/// Which of `n` parts a hash belongs to.
pub(super) fn part(hash: u64, n: usize) -> usize {
    (hash >> 40) as usize % n
}

/// A key of its own. Clones share the bytes.
#[derive(Debug, Clone)]
pub(super) struct Key(Arc<KeyData>);

#[derive(Debug, PartialEq, Eq)]
struct KeyData {
    hash: u64,
    space: u64,
    bytes: Box<[u8]>,
}

impl Key {
    pub fn space(&self) -> u64 {
        self.0.space
    }

    pub fn hash(&self) -> u64 {
        self.0.hash
    }

    /// Which of `n` parts of a table it belongs to. The table of entries goes by the lower bits.
    pub fn part(&self, n: usize) -> usize {
        part(self.0.hash, n)
    }

    /// Bytes in memory.
    pub fn byte_len(&self) -> u64 {
        (size_of::<KeyData>() + self.0.bytes.len()) as u64
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// For tables of keys: takes the hash that a key carries.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Carried(u64);

impl BuildHasher for Carried {
    type Hasher = Carried;

    fn build_hasher(&self) -> Carried {
        Carried(0)
    }
}

impl Hasher for Carried {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
