//! Cast and CastLike: between all element types.

mod narrow;
mod number;
mod text;

use self::narrow::Narrowing;
use self::number::{Source, Target, Wide};
use self::text::{parse, to_text};
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, one};
use crate::error::{Result, bail};
use crate::tensor::{
    Data, ElementType, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN, Float8E4M3FNUZ,
    Float8E5M2, Float8E5M2FNUZ, Float8E8M0, Int2, Int4, Tensor, UInt2, UInt4,
};
use half::{bf16, f16};
use std::ops::Range;

pub(super) const OPS: &[Entry] =
    &[onnx("Cast", 6, prepare_cast), onnx("CastLike", 15, prepare_cast_like)];

/// The element type of an ONNX `TensorProto.DataType` attribute.
///
/// # Errors
/// `InvalidModel` for a number that is none.
pub(in crate::kernel) fn element_type(spec: &OpSpec<'_>, code: i64) -> Result<ElementType> {
    ElementType::from_onnx(code)
        .ok_or_else(|| spec.invalid(format_args!("{code} is no element type")))
}

/// Elements that are held in a wider type at a time.
const PIECE: usize = 1024;

fn each<S: Source, T: Target>(v: &[S], out: &mut Vec<T>) {
    out.extend(v.iter().map(|x| x.widen().narrow::<T>()));
}

/// The elements of `data` in `range`, put to `out`.
fn convert<T: Target>(data: &Data, range: Range<usize>, out: &mut Vec<T>) -> Result<()> {
    fn part<S>(v: &[S], range: Range<usize>) -> &[S] {
        v.get(range).unwrap_or_default()
    }
    match data {
        Data::F32(v) => each(part(v, range), out),
        Data::F64(v) => each(part(v, range), out),
        Data::F16(v) => each(part(v, range), out),
        Data::BF16(v) => each(part(v, range), out),
        Data::I8(v) => each(part(v, range), out),
        Data::I16(v) => each(part(v, range), out),
        Data::I32(v) => each(part(v, range), out),
        Data::I64(v) => each(part(v, range), out),
        Data::U8(v) => each(part(v, range), out),
        Data::U16(v) => each(part(v, range), out),
        Data::U32(v) => each(part(v, range), out),
        Data::U64(v) => each(part(v, range), out),
        Data::Bool(v) => each(part(v, range), out),
        Data::String(v) => parse(part(v, range), out)?,
        Data::C64(_) | Data::C128(_) => {
            bail!(InvalidInput, "Cast: from complex numbers, which is not defined")
        }
        small => pieces(small, range, &mut |piece| match piece {
            Piece::F32(v) => each(v, out),
            Piece::I64(v) => each(v, out),
        }),
    }
    Ok(())
}

/// Some elements of a small type, in one that holds them all.
enum Piece<'a> {
    F32(&'a [f32]),
    I64(&'a [i64]),
}

/// Calls `take` with the elements of `data` in `range`, where they are of a type of fewer bits
/// than is computed with. A loop for each of these types and for each that it can become would be
/// half of all conversions, and the least used.
fn pieces(data: &Data, range: Range<usize>, take: &mut dyn FnMut(Piece<'_>)) {
    fn floats<S: Source<Wide = f32>>(
        v: &[S],
        range: Range<usize>,
        take: &mut dyn FnMut(Piece<'_>),
    ) {
        let mut wide = Vec::with_capacity(PIECE.min(range.len()));
        for piece in v.get(range).unwrap_or_default().chunks(PIECE) {
            wide.clear();
            wide.extend(piece.iter().map(S::widen));
            take(Piece::F32(&wide));
        }
    }
    fn ints<S: Source<Wide = i64>>(v: &[S], range: Range<usize>, take: &mut dyn FnMut(Piece<'_>)) {
        let mut wide = Vec::with_capacity(PIECE.min(range.len()));
        for piece in v.get(range).unwrap_or_default().chunks(PIECE) {
            wide.clear();
            wide.extend(piece.iter().map(S::widen));
            take(Piece::I64(&wide));
        }
    }
    match data {
        Data::I4(v) => ints(v, range, take),
        Data::U4(v) => ints(v, range, take),
        Data::I2(v) => ints(v, range, take),
        Data::U2(v) => ints(v, range, take),
        Data::F8E4M3FN(v) => floats(v, range, take),
        Data::F8E4M3FNUZ(v) => floats(v, range, take),
        Data::F8E5M2(v) => floats(v, range, take),
        Data::F8E5M2FNUZ(v) => floats(v, range, take),
        Data::F8E8M0(v) => floats(v, range, take),
        Data::F6E2M3(v) => floats(v, range, take),
        Data::F6E3M2(v) => floats(v, range, take),
        Data::F4E2M1(v) => floats(v, range, take),
        _ => {}
    }
}

fn numbers<T: Target>(ctx: &mut Context<'_>, tensor: &Tensor) -> Result<Tensor> {
    let mut out = ctx.buffer::<T>(tensor.len())?;
    convert(tensor.data(), 0..tensor.len(), &mut out)?;
    ctx.tensor(tensor.shape().clone(), out)
}

/// [`numbers`] to a small type, by `narrow` from `W`, which has all of a number that the small
/// type can show.
fn through<W: Target + Copy, T: Target>(
    ctx: &mut Context<'_>,
    tensor: &Tensor,
    narrow: impl Fn(W) -> T,
) -> Result<Tensor> {
    let len = tensor.len();
    let mut out = ctx.buffer::<T>(len)?;
    if let Data::String(texts) = tensor.data() {
        parse(texts, &mut out)?;
        return ctx.tensor(tensor.shape().clone(), out);
    }
    let mut wide: Vec<W> = Vec::with_capacity(PIECE.min(len));
    let mut start = 0;
    loop {
        let end = len.min(start + PIECE);
        wide.clear();
        convert(tensor.data(), start..end, &mut wide)?;
        out.extend(wide.iter().map(|&v| narrow(v)));
        if end == len {
            break;
        }
        start = end;
    }
    ctx.tensor(tensor.shape().clone(), out)
}

/// `tensor` with its elements converted to `to`; itself where they are of that type already.
pub(crate) fn cast(ctx: &mut Context<'_>, tensor: Tensor, to: ElementType) -> Result<Tensor> {
    if tensor.dtype() == to {
        return Ok(tensor);
    }
    match to {
        ElementType::F32 => numbers::<f32>(ctx, &tensor),
        ElementType::F64 => numbers::<f64>(ctx, &tensor),
        ElementType::F16 => numbers::<f16>(ctx, &tensor),
        ElementType::BF16 => numbers::<bf16>(ctx, &tensor),
        ElementType::I8 => numbers::<i8>(ctx, &tensor),
        ElementType::I16 => numbers::<i16>(ctx, &tensor),
        ElementType::I32 => numbers::<i32>(ctx, &tensor),
        ElementType::I64 => numbers::<i64>(ctx, &tensor),
        ElementType::U8 => numbers::<u8>(ctx, &tensor),
        ElementType::U16 => numbers::<u16>(ctx, &tensor),
        ElementType::U32 => numbers::<u32>(ctx, &tensor),
        ElementType::U64 => numbers::<u64>(ctx, &tensor),
        ElementType::Bool => numbers::<bool>(ctx, &tensor),
        ElementType::String => {
            // No number takes more than 24 bytes of text beside its handle.
            ctx.shape_of::<String>(&[2, tensor.len()])?;
            ctx.tensor(tensor.shape().clone(), to_text(tensor.data()))
        }
        ElementType::I4 => through(ctx, &tensor, Int4::wrapping),
        ElementType::U4 => through(ctx, &tensor, UInt4::wrapping),
        ElementType::I2 => through(ctx, &tensor, Int2::wrapping),
        ElementType::U2 => through(ctx, &tensor, UInt2::wrapping),
        ElementType::F8E4M3FN => through(ctx, &tensor, |v| Float8E4M3FN::from_f64(v, true)),
        ElementType::F8E4M3FNUZ => through(ctx, &tensor, |v| Float8E4M3FNUZ::from_f64(v, true)),
        ElementType::F8E5M2 => through(ctx, &tensor, |v| Float8E5M2::from_f64(v, true)),
        ElementType::F8E5M2FNUZ => through(ctx, &tensor, |v| Float8E5M2FNUZ::from_f64(v, true)),
        ElementType::F8E8M0 => through(ctx, &tensor, <Float8E8M0 as Target>::from_f64),
        ElementType::F6E2M3 => through(ctx, &tensor, |v| Float6E2M3::from_f64(v, true)),
        ElementType::F6E3M2 => through(ctx, &tensor, |v| Float6E3M2::from_f64(v, true)),
        ElementType::F4E2M1 => through(ctx, &tensor, |v| Float4E2M1::from_f64(v, true)),
        ElementType::C64 | ElementType::C128 => {
            bail!(InvalidInput, "Cast: from {} to {to}, which is not defined", tensor.dtype())
        }
    }
}

struct Cast {
    to: ElementType,
    narrowing: Narrowing,
}

fn prepare_cast(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let Some(to) = spec.attributes.int_opt("to")? else {
        return Err(spec.invalid("attribute 'to' is missing"));
    };
    Ok(Box::new(Cast { to: element_type(spec, to)?, narrowing: Narrowing::of(spec)? }))
}

impl Kernel for Cast {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.take_tensor(0)?;
        one(self.narrowing.apply(ctx, tensor, self.to)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        Some(self)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        Some(self)
    }
}

/// To floats only: rows hold whole numbers as they are.
impl<T: RowNumber> RowOp<T> for Cast {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let &[width] = inputs else { return None };
        Some(RowShape { width, classes: None })
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        let &[from] = inputs else { return None };
        let number = matches!(
            from,
            ElementType::F32
                | ElementType::F64
                | ElementType::I64
                | ElementType::I32
                | ElementType::Bool
        );
        let whole = matches!(self.to, ElementType::I64 | ElementType::I32);
        let exact = self.to == from
            || self.to == ElementType::F32
            || self.to == T::TYPE
            || (whole && from == ElementType::Bool);
        (number && exact).then_some(self.to)
    }

    fn keeps(&self, from: ElementType) -> bool {
        self.to == T::TYPE || self.to == from || from == ElementType::Bool
    }

    fn run_rows(&self, _: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        if let [x] = inputs {
            for (o, &x) in out.iter_mut().zip(*x) {
                let wide: f64 = x.into();
                *o = T::of(f64::from(wide as f32));
            }
        }
    }
}

struct CastLike {
    narrowing: Narrowing,
}

fn prepare_cast_like(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(CastLike { narrowing: Narrowing::of(spec)? }))
}

impl Kernel for CastLike {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let to = inputs.tensor(1)?.dtype();
        let tensor = inputs.take_tensor(0)?;
        one(self.narrowing.apply(ctx, tensor, to)?)
    }
}

#[cfg(test)]
mod tests {
    use super::number::{Source, Target, Wide};
    use crate::error::ErrorKind;
    use crate::kernel::Context;
    use crate::kernel::testing::{Op, strings, t};
    use crate::tensor::{
        ElementType, Float4E2M1, Float8E4M3FN, Float8E5M2FNUZ, Float8E8M0, Int4, Tensor, UInt2,
    };
    use half::{bf16, f16};

    fn cast(x: Tensor, to: i64) -> Tensor {
        Op::onnx("Cast", 13).int("to", to).run1(&[x])
    }

    #[test]
    fn floats_to_integers_truncate_and_saturate() {
        let x = t(&[6], &[1.9f32, -1.9, f32::NAN, 1e20, -1e20, 300.0]);
        assert_eq!(cast(x.clone(), 6), t(&[6], &[1, -1, 0, i32::MAX, i32::MIN, 300]));
        assert_eq!(cast(x.clone(), 2), t(&[6], &[1u8, 0, 0, 255, 0, 255]));
        assert_eq!(cast(x, 9), t(&[6], &[true; 6]));
        assert_eq!(cast(t(&[3], &[0.0f64, -0.0, 1e-300]), 9), t(&[3], &[false, false, true]));
    }

    #[test]
    fn integers_keep_their_low_bits_and_all_64_of_them() {
        assert_eq!(cast(t(&[3], &[300i64, -1, 255]), 2), t(&[3], &[44u8, 255, 255]));
        assert_eq!(cast(t(&[1], &[u64::MAX]), 7), t(&[1], &[-1i64]));
        let x = t(&[1], &[u64::MAX]);
        assert_eq!(cast(x, 11), t(&[1], &[18446744073709551616.0f64]));
        assert_eq!(cast(t(&[2], &[true, false]), 1), t(&[2], &[1f32, 0.0]));
    }

    #[test]
    fn halves_round_once_to_nearest_even() {
        // 1 + 2^-11 lies between two halves; a bit far below decides.
        let tie = 1.0 + 2f64.powi(-11);
        let x = t(&[3], &[tie, tie + 2f64.powi(-40), tie - 2f64.powi(-40)]);
        let h = |v: f32| f16::from_f32(v);
        assert_eq!(cast(x, 10), t(&[3], &[h(1.0), h(1.0 + 2f32.powi(-10)), h(1.0)]));
        let x = t(&[4], &[65504.0f64, 65519.9, 65520.0, 1e300]);
        assert_eq!(cast(x, 10), t(&[4], &[f16::MAX, f16::MAX, f16::INFINITY, f16::INFINITY]));
        let tie = 1.0 + 2f64.powi(-8);
        let b = |v: f32| bf16::from_f32(v);
        let x = t(&[2], &[tie, tie + 2f64.powi(-40)]);
        assert_eq!(cast(x, 16), t(&[2], &[b(1.0), b(1.0 + 2f32.powi(-7))]));
    }

    #[test]
    fn numbers_print_as_onnxruntime_prints_them() {
        let x = [
            1f32,
            0.5,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e10,
            1e-5,
            0.1,
            1.0 / 3.0,
            123456789.0,
            -0.0,
            1e-4,
            3.4e38,
            100000.0,
            16777217.0,
        ];
        let expected = [
            "1",
            "0.5",
            "NaN",
            "INF",
            "-INF",
            "1e+10",
            "9.9999997e-06",
            "0.1",
            "0.33333334",
            "1.2345679e+08",
            "-0",
            "9.9999997e-05",
            "3.4e+38",
            "100000",
            "16777216",
        ];
        assert_eq!(cast(t(&[15], &x), 8), strings(&[15], &expected));
        let x = t(&[3], &[1.0 / 3.0, 1e17, 99999999.9f64]);
        assert_eq!(cast(x, 8), strings(&[3], &["0.33333333", "1e+17", "1e+08"]));
        assert_eq!(cast(t(&[2], &[true, false]), 8), strings(&[2], &["1", "0"]));
        assert_eq!(cast(t(&[1], &[i64::MIN]), 8), strings(&[1], &["-9223372036854775808"]));
    }

    #[test]
    fn text_is_read_as_numbers() {
        let x = strings(&[7], &["1", " 0.5 ", "NaN", "INF", "-INF", "+inf", "1e3"]);
        let y = cast(x, 1);
        let y = y.as_slice::<f32>().unwrap();
        assert_eq!((y[0], y[1], y[3], y[4]), (1.0, 0.5, f32::INFINITY, f32::NEG_INFINITY));
        assert!(y[2].is_nan() && y[5] == f32::INFINITY && y[6] == 1000.0);
        let x = strings(&[4], &["100.5", "-3", "1e3", "9223372036854775807"]);
        assert_eq!(cast(x, 7), t(&[4], &[100, -3, 1000, i64::MAX]));
        let x = strings(&[1], &["18446744073709551615"]);
        assert_eq!(cast(x, 13), t(&[1], &[u64::MAX]));
        assert_eq!(cast(strings(&[3], &["True", "0", "2"]), 9), t(&[3], &[true, false, true]));
        for bad in ["abc", "", "1.5x"] {
            assert!(Op::onnx("Cast", 13).int("to", 1).run(&[strings(&[1], &[bad])]).is_err());
        }
    }

    #[test]
    fn the_same_type_shares_and_what_is_no_type_is_refused_at_load() {
        let x = t(&[2], &[1f32, f32::NAN]);
        let at = x.as_slice::<f32>().unwrap().as_ptr();
        let y = Op::onnx("CastLike", 19).run1(&[x.clone(), t(&[0], &[0f32; 0])]);
        assert_eq!(y.as_slice::<f32>().unwrap().as_ptr(), at);
        let e = Op::onnx("Cast", 19).int("to", 99).run(&[x]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidModel);
    }

    #[test]
    fn zero_and_one_go_from_any_type_to_any() {
        // More of them than are held in a wider type at a time.
        let bits: Vec<bool> = (0..3000).map(|i| i % 7 < 3).collect();
        let is_number = |t: &ElementType| {
            !matches!(t, ElementType::String | ElementType::C64 | ElementType::C128)
        };
        for from in ElementType::ALL.into_iter().filter(is_number) {
            let x = cast(t(&[3, 1000], &bits), from.onnx_number().into());
            assert_eq!(x.dtype(), from);
            for to in ElementType::ALL.into_iter().filter(is_number) {
                let y = cast(x.clone(), to.onnx_number().into());
                assert_eq!((y.dtype(), y.dims()), (to, &[3, 1000][..]), "from {from}");
                for (y, &one) in y.to_f32_vec().unwrap().into_iter().zip(&bits) {
                    let expected = match (from, to) {
                        _ if one => y == 1.0,
                        // It has no zero, but a least number, which is "not zero".
                        (ElementType::F8E8M0, ElementType::Bool) => y == 1.0,
                        (ElementType::F8E8M0, _) | (_, ElementType::F8E8M0) => y < 1e-37,
                        _ => y == 0.0,
                    };
                    assert!(expected, "{y} from {from} to {to}");
                }
            }
        }
    }

    #[test]
    fn what_goes_through_a_wider_type_is_what_one_step_gives() {
        fn check<S: Source, T: Target>(values: &[S]) {
            let expected: Vec<T> = values.iter().map(|x| x.widen().narrow()).collect();
            let x = t(&[values.len()], values);
            let y = Context::alone(|ctx| super::cast(ctx, x, T::TYPE)).unwrap();
            // As text, in which a NaN equals a NaN and zeros have their signs.
            let (got, expected) =
                (format!("{:?}", y.as_slice::<T>().unwrap()), format!("{expected:?}"));
            assert_eq!(got, expected, "from {} to {}", S::TYPE, T::TYPE);
        }
        macro_rules! check {
            ($($values:expr),+ $(,)?) => {$({
                let values = &$values[..];
                check::<_, f32>(values);
                check::<_, f16>(values);
                check::<_, i8>(values);
                check::<_, u64>(values);
                check::<_, bool>(values);
                check::<_, Int4>(values);
                check::<_, UInt2>(values);
                check::<_, Float8E4M3FN>(values);
                check::<_, Float8E5M2FNUZ>(values);
                check::<_, Float8E8M0>(values);
                check::<_, Float4E2M1>(values);
            })+};
        }
        let tie = 1.0625;
        let doubles = [0.0, -0.0, 0.3, -9.7, tie, tie + 1e-12, 1e300, -1e300, 5e-324, f64::NAN];
        check![
            doubles,
            doubles.map(|v| v as f32),
            doubles.map(f16::from_f64),
            [0, 1, -1, 7, 300, i64::MIN, i64::MAX, (1 << 53) + 1],
            [0, 1, 1 << 63, u64::MAX],
            [true, false],
            [-8, -1, 0, 7].map(Int4::wrapping),
            [0, 1, 3].map(UInt2::wrapping),
            std::array::from_fn::<_, 256, _>(|bits| Float8E4M3FN::from_bits(bits as u8)),
            std::array::from_fn::<_, 256, _>(|bits| Float8E5M2FNUZ::from_bits(bits as u8)),
            std::array::from_fn::<_, 256, _>(|bits| Float8E8M0::from_bits(bits as u8)),
            std::array::from_fn::<_, 16, _>(|bits| Float4E2M1::from_bits(bits as u8)),
        ];
    }

    #[test]
    fn small_types_saturate_or_keep_their_low_bits() {
        let x = t(&[5], &[1e6f32, -1e6, 0.3, -9.7, f32::INFINITY]);
        // The tables of the specification; 0.3 lies between 0.28125 and 0.3125.
        let to_e4m3 =
            |op: Op| op.int("to", 17).run1(std::slice::from_ref(&x)).to_f32_vec().unwrap();
        let saturated = to_e4m3(Op::onnx("Cast", 19));
        assert_eq!(saturated, [448.0, -448.0, 0.3125, -10.0, 448.0]);
        let open = to_e4m3(Op::onnx("Cast", 19).int("saturate", 0));
        assert_eq!(open[2..4], [0.3125, -10.0]);
        assert!([open[0], open[1], open[4]].iter().all(|v| v.is_nan()));
        let ints = cast(t(&[4], &[-9.7f32, 15.0, 7.9, -8.0]), 22);
        assert_eq!(ints.to_i64_vec().unwrap(), [7, -1, 7, -8]);
        assert_eq!(cast(ints, 2), t(&[4], &[7u8, 255, 7, 248]));
        let round = |mode| {
            let op = Op::onnx("Cast", 24).int("to", 24).string("round_mode", mode);
            op.run1(&[t(&[2], &[1.1f32, 3.0])]).to_f32_vec().unwrap()
        };
        assert_eq!((round("up"), round("down")), (vec![2.0, 4.0], vec![1.0, 2.0]));
        assert_eq!(round("nearest"), [1.0, 4.0]);
    }
}
