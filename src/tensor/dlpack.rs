//! What a DLPack tensor says of itself, checked before anything is read from where it points
//! (<https://dmlc.github.io/dlpack/latest/c_api.html>, version 1.1).
//!
//! The structs themselves, their pointers and who frees them are the business of the bindings.

pub use super::dlpack_elements::Elements;
use super::{ElementType, Shape};
use crate::error::{Result, bail, ensure, err};
use crate::limits::MAX_RANK;

/// The major version of the structs that are understood: with another one nothing but the deleter
/// may be touched.
pub const MAJOR_VERSION: u32 = 1;
/// The minor version that the element types and flags are those of.
pub const MINOR_VERSION: u32 = 1;
/// The device that is read from and written to: memory of the process.
pub const CPU: i32 = 1;
/// The flag of a tensor that nobody may write to.
pub const FLAG_READ_ONLY: u64 = 1;
/// The flag of a tensor that was copied for the one who gets it.
pub const FLAG_COPIED: u64 = 1 << 1;
/// The flag of a tensor with one element of fewer than eight bits to a byte.
pub const FLAG_PADDED: u64 = 1 << 2;

/// A tensor as a DLPack struct describes it, its pointers followed.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// `device.device_type`.
    pub device_type: i32,
    /// `dtype.code`.
    pub code: u8,
    /// `dtype.bits`.
    pub bits: u8,
    /// `dtype.lanes`.
    pub lanes: u16,
    /// `flags`; 0 for a struct without.
    pub flags: u64,
    /// `shape`.
    pub shape: &'a [i64],
    /// `strides`, in elements; `None` for NULL, which older producers give for row-major tensors.
    pub strides: Option<&'a [i64]>,
    /// `data`, as a number.
    pub address: usize,
    /// `byte_offset`.
    pub byte_offset: u64,
}

/// Where the elements of a checked tensor lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The element type; those of fewer than eight bits have one element a byte.
    pub dtype: ElementType,
    /// The shape.
    pub shape: Shape,
    /// Bytes from one element to the next, for each dimension.
    pub strides: Vec<isize>,
    /// Bytes from `data` to the first element.
    pub offset: usize,
}

/// Refuses structs of another layout.
///
/// # Errors
/// `Unsupported`.
pub fn check_version(major: u32) -> Result<()> {
    ensure!(
        major == MAJOR_VERSION,
        Unsupported,
        "a DLPack tensor of version {major} (version {MAJOR_VERSION} is understood)"
    );
    Ok(())
}

/// The rank that `ndim` says, before as many dimensions are read.
///
/// # Errors
/// `InvalidInput` for a negative one, `LimitExceeded` above 32.
pub fn rank(ndim: i32) -> Result<usize> {
    let rank = usize::try_from(ndim)
        .map_err(|_| err!(InvalidInput, "a DLPack tensor of {ndim} dimensions"))?;
    ensure!(rank <= MAX_RANK, LimitExceeded, "a tensor of rank {rank} (at most {MAX_RANK})");
    Ok(rank)
}

/// The name of a device that is not the CPU.
pub fn device_name(device_type: i32) -> &'static str {
    match device_type {
        CPU => "CPU",
        2 => "CUDA",
        3 => "CUDA host",
        4 => "OpenCL",
        7 => "Vulkan",
        8 => "Metal",
        10 => "ROCm",
        11 => "ROCm host",
        13 => "CUDA managed",
        14 => "oneAPI",
        15 => "WebGPU",
        16 => "Hexagon",
        17 => "MAIA",
        18 => "Trainium",
        _ => "unknown",
    }
}

/// Refuses memory that is not the process's own.
///
/// # Errors
/// `InvalidInput`.
pub fn check_device(device_type: i32) -> Result<()> {
    ensure!(
        device_type == CPU,
        InvalidInput,
        "a DLPack tensor lies on a device of type {device_type} ({}): give one in CPU memory",
        device_name(device_type)
    );
    Ok(())
}

/// The code and the bits of an element type; `None` for strings, which DLPack has not.
pub fn code_of(dtype: ElementType) -> Option<(u8, u8)> {
    use ElementType::*;
    Some(match dtype {
        I8 => (0, 8),
        I16 => (0, 16),
        I32 => (0, 32),
        I64 => (0, 64),
        I4 => (0, 4),
        I2 => (0, 2),
        U8 => (1, 8),
        U16 => (1, 16),
        U32 => (1, 32),
        U64 => (1, 64),
        U4 => (1, 4),
        U2 => (1, 2),
        F16 => (2, 16),
        F32 => (2, 32),
        F64 => (2, 64),
        BF16 => (4, 16),
        C64 => (5, 64),
        C128 => (5, 128),
        Bool => (6, 8),
        F8E4M3FN => (10, 8),
        F8E4M3FNUZ => (11, 8),
        F8E5M2 => (12, 8),
        F8E5M2FNUZ => (13, 8),
        F8E8M0 => (14, 8),
        F6E2M3 => (15, 6),
        F6E3M2 => (16, 6),
        F4E2M1 => (17, 4),
        String => return None,
    })
}

impl Described<'_> {
    fn dtype(&self) -> Result<ElementType> {
        let (code, bits, lanes) = (self.code, self.bits, self.lanes);
        ensure!(
            lanes == 1,
            InvalidInput,
            "a DLPack tensor of vectors of {lanes} elements: give one of single elements"
        );
        let known = ElementType::ALL.into_iter().find(|t| code_of(*t) == Some((code, bits)));
        let Some(dtype) = known else {
            bail!(InvalidInput, "a DLPack tensor of an unknown type (code {code}, {bits} bits)");
        };
        ensure!(
            bits >= 8 || self.flags & FLAG_PADDED != 0,
            InvalidInput,
            "a DLPack tensor of {dtype}, several elements to a byte: give one element a byte, with \
             DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED"
        );
        Ok(dtype)
    }

    /// Where the elements lie: every offset of the layout stays inside the address space.
    ///
    /// # Errors
    /// `InvalidInput` for another device than the CPU, element types that the library has not,
    /// negative dimensions, NULL where there are elements, offsets that pass the address space;
    /// `LimitExceeded` as [`Shape::new`].
    pub fn layout(&self) -> Result<Layout> {
        check_device(self.device_type)?;
        let dtype = self.dtype()?;
        let mut dims = Vec::with_capacity(self.shape.len());
        for &dim in self.shape {
            dims.push(usize::try_from(dim).map_err(|_| {
                err!(InvalidInput, "a DLPack tensor with the dimension {dim}: it is negative")
            })?);
        }
        let shape = Shape::new(&dims)?;
        let beyond = || err!(InvalidInput, "a DLPack tensor that passes the address space");
        let size = isize::try_from(dtype.size()).map_err(|_| beyond())?;
        let offset = usize::try_from(self.byte_offset).map_err(|_| beyond())?;
        let strides = match self.strides {
            // Elements that are not there lie nowhere: nothing to check.
            _ if shape.len() == 0 => vec![0; dims.len()],
            None => row_major(&dims, size).ok_or_else(beyond)?,
            Some(strides) if strides.len() == dims.len() => {
                let bytes = |stride: &i64| isize::try_from(*stride).ok()?.checked_mul(size);
                strides.iter().map(bytes).collect::<Option<Vec<isize>>>().ok_or_else(beyond)?
            }
            Some(strides) => bail!(
                InvalidInput,
                "a DLPack tensor of {} dimensions with {} strides",
                dims.len(),
                strides.len()
            ),
        };
        if shape.len() > 0 {
            ensure!(
                self.address != 0,
                InvalidInput,
                "a DLPack tensor of {} elements whose data is NULL",
                shape.len()
            );
            self.reach(&dims, &strides, size, offset).ok_or_else(beyond)?;
        }
        Ok(Layout { dtype, shape, strides, offset })
    }

    /// `None` where the first or the last byte has no address.
    fn reach(&self, dims: &[usize], strides: &[isize], size: isize, offset: usize) -> Option<()> {
        let (mut below, mut above) = (0isize, size);
        for (&dim, &stride) in dims.iter().zip(strides) {
            let far = isize::try_from(dim.checked_sub(1)?).ok()?.checked_mul(stride)?;
            if far < 0 {
                below = below.checked_add(far)?;
            } else {
                above = above.checked_add(far)?;
            }
        }
        above.checked_sub(below)?;
        let first = self.address.checked_add(offset)?;
        first.checked_add_signed(below)?;
        first.checked_add_signed(above)?;
        Some(())
    }
}

/// Strides in bytes of elements without gaps.
fn row_major(dims: &[usize], size: isize) -> Option<Vec<isize>> {
    let mut strides = vec![0; dims.len()];
    let mut step = size;
    for (stride, &dim) in strides.iter_mut().zip(dims).rev() {
        *stride = step;
        step = step.checked_mul(isize::try_from(dim).ok()?)?;
    }
    Some(strides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn floats<'a>(shape: &'a [i64], strides: Option<&'a [i64]>) -> Described<'a> {
        Described {
            device_type: CPU,
            code: 2,
            bits: 32,
            lanes: 1,
            flags: 0,
            shape,
            strides,
            address: 4096,
            byte_offset: 0,
        }
    }

    fn refused(described: Described<'_>) -> ErrorKind {
        described.layout().unwrap_err().kind()
    }

    #[test]
    fn strides_become_bytes_and_null_is_row_major() {
        let layout = floats(&[2, 3], None).layout().unwrap();
        assert_eq!((layout.dtype, layout.shape.dims()), (ElementType::F32, &[2, 3][..]));
        assert_eq!((layout.strides, layout.offset), (vec![12, 4], 0));
        let turned = Described { byte_offset: 20, ..floats(&[3, 2], Some(&[-1, 3])) };
        let layout = turned.layout().unwrap();
        assert_eq!((layout.strides, layout.offset), (vec![-4, 12], 20));
        assert_eq!(floats(&[], Some(&[])).layout().unwrap().shape.len(), 1);
    }

    #[test]
    fn every_type_has_a_code_of_its_own() {
        for dtype in ElementType::ALL {
            let Some((code, bits)) = code_of(dtype) else {
                assert_eq!(dtype, ElementType::String);
                continue;
            };
            let padded = Described { code, bits, flags: FLAG_PADDED, ..floats(&[1], None) };
            assert_eq!(padded.layout().unwrap().dtype, dtype);
            assert!(bits as usize <= dtype.size() * 8, "{dtype}");
            let packed = Described { flags: 0, ..padded };
            assert_eq!(packed.layout().is_ok(), bits >= 8, "{dtype}");
        }
        // An opaque handle, float8_e3m4, a float of 128 bits.
        for (code, bits) in [(3, 64), (7, 8), (2, 128), (255, 8)] {
            let unknown = Described { code, bits, ..floats(&[1], None) };
            assert_eq!(refused(unknown), ErrorKind::InvalidInput);
        }
        let vectors = Described { lanes: 4, ..floats(&[1], None) };
        assert_eq!(refused(vectors), ErrorKind::InvalidInput);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(rank(-1).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(rank(i32::MAX).unwrap_err().kind(), ErrorKind::LimitExceeded);
        assert_eq!(rank(32).unwrap(), 32);
        assert_eq!(check_version(2).unwrap_err().kind(), ErrorKind::Unsupported);
        check_version(1).unwrap();

        let cuda = Described { device_type: 2, ..floats(&[1], None) };
        let error = cuda.layout().unwrap_err();
        assert!(error.to_string().contains("CUDA"), "{error}");
        assert_eq!(refused(floats(&[-1], None)), ErrorKind::InvalidInput);
        assert_eq!(refused(floats(&[1 << 40, 2], None)), ErrorKind::LimitExceeded);
        assert_eq!(refused(floats(&[i64::MAX, i64::MAX], None)), ErrorKind::LimitExceeded);
        assert_eq!(refused(floats(&[2], Some(&[i64::MAX]))), ErrorKind::InvalidInput);
        assert_eq!(refused(floats(&[2], Some(&[i64::MIN]))), ErrorKind::InvalidInput);
        assert_eq!(refused(floats(&[3], Some(&[i64::MAX / 4]))), ErrorKind::InvalidInput);
        assert_eq!(refused(floats(&[2, 2], Some(&[1]))), ErrorKind::InvalidInput);
        // Below the first address: 4096 bytes are 1024 floats.
        floats(&[1025], Some(&[-1])).layout().unwrap();
        assert_eq!(refused(floats(&[1026], Some(&[-1]))), ErrorKind::InvalidInput);
        let far = Described { byte_offset: u64::MAX, ..floats(&[1], None) };
        assert_eq!(refused(far), ErrorKind::InvalidInput);
        let null = Described { address: 0, ..floats(&[1], None) };
        assert_eq!(refused(null), ErrorKind::InvalidInput);
        let none = Described { address: 0, ..floats(&[0, 5], Some(&[i64::MIN, 0])) };
        assert_eq!(none.layout().unwrap().shape.len(), 0);
    }
}
