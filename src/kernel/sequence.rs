//! Sequences and optionals of ONNX.

use super::cast::element_type;
use super::concat::{concat, part_sizes, split};
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, bail, ensure, err};
use crate::tensor::{Shape, Tensor, Value};
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    onnx("ConcatFromSequence", 11, prepare_concat),
    onnx("Optional", 15, prepare_optional),
    onnx("OptionalGetElement", 15, prepare_get),
    onnx("OptionalHasElement", 15, prepare_has),
    onnx("SequenceAt", 11, prepare_at),
    onnx("SequenceConstruct", 11, prepare_construct),
    onnx("SequenceEmpty", 11, prepare_empty),
    onnx("SequenceErase", 11, prepare_erase),
    onnx("SequenceInsert", 11, prepare_insert),
    onnx("SequenceLength", 11, prepare_length),
    onnx("SplitToSequence", 11, prepare_split),
];

/// A kernel that is a function of its inputs alone.
struct Plain(fn(&mut Inputs<'_>) -> Result<Value>);

impl Kernel for Plain {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        one((self.0)(inputs)?)
    }
}

fn plain(run: fn(&mut Inputs<'_>) -> Result<Value>) -> Result<Box<dyn Kernel>> {
    Ok(Box::new(Plain(run)))
}

fn expected_sequence(value: &Value) -> crate::Error {
    err!(InvalidInput, "expected a sequence, got a {}", value.type_name())
}

fn sequence<'a>(inputs: &'a Inputs<'_>, i: usize) -> Result<&'a [Value]> {
    match inputs.get(i) {
        Some(Value::Sequence(v)) => Ok(v),
        Some(other) => Err(expected_sequence(other)),
        None => bail!(InvalidInput, "input {i} is missing"),
    }
}

/// The sequence itself: moved where this step is its last reader, else its list is copied (the
/// tensors in it never are).
fn take_sequence(inputs: &mut Inputs<'_>, i: usize) -> Result<Vec<Value>> {
    match inputs.take(i)? {
        Value::Sequence(v) => Ok(v),
        other => Err(expected_sequence(&other)),
    }
}

/// The position in input `i` for a sequence of `len`, of which `places` are allowed; negative
/// ones count from the end of the sequence. `None` where it is left out.
fn position(inputs: &Inputs<'_>, i: usize, len: usize, places: usize) -> Result<Option<usize>> {
    let Some(tensor) = inputs.tensor_opt(i)? else { return Ok(None) };
    let at = match tensor.to_i64_vec()?[..] {
        [at] => at,
        _ => bail!(InvalidInput, "a position of {} elements, expected 1", tensor.len()),
    };
    let resolved = if at < 0 { at.saturating_add(len as i64) } else { at };
    match usize::try_from(resolved) {
        Ok(place) if place < places => Ok(Some(place)),
        _ => Err(err!(InvalidInput, "position {at} is out of range for a sequence of {len}")),
    }
}

fn prepare_construct(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=usize::MAX)?;
    plain(|inputs| {
        let items: Vec<Value> = (0..inputs.len())
            .map(|i| inputs.take_tensor(i).map(Value::Tensor))
            .collect::<Result<_>>()?;
        same_type(&items)?;
        Ok(Value::Sequence(items))
    })
}

/// A sequence holds tensors of one element type.
fn same_type(items: &[Value]) -> Result<()> {
    let mut types = items.iter().map(|v| match v {
        Value::Tensor(t) => Some(t.dtype()),
        _ => None,
    });
    if let Some(first) = types.next() {
        ensure!(
            types.all(|t| t == first),
            InvalidInput,
            "a sequence of tensors of different element types"
        );
    }
    Ok(())
}

fn prepare_empty(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(0..=0)?;
    if let Some(code) = spec.attributes.int_opt("dtype")? {
        element_type(spec, code)?;
    }
    plain(|_| Ok(Value::Sequence(vec![])))
}

fn prepare_length(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    plain(|inputs| Ok(Tensor::scalar(sequence(inputs, 0)?.len() as i64).into()))
}

fn prepare_at(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    plain(|inputs| {
        let items = sequence(inputs, 0)?;
        let place = position(inputs, 1, items.len(), items.len())?;
        let item = place.and_then(|i| items.get(i)).cloned();
        item.ok_or_else(|| err!(InvalidInput, "SequenceAt: the position is missing"))
    })
}

fn prepare_insert(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=3)?;
    plain(|inputs| {
        let len = sequence(inputs, 0)?.len();
        let place = position(inputs, 2, len, len.saturating_add(1))?.unwrap_or(len);
        let item = Value::Tensor(inputs.take_tensor(1)?);
        let mut items = take_sequence(inputs, 0)?;
        items.insert(place, item);
        same_type(&items)?;
        Ok(Value::Sequence(items))
    })
}

fn prepare_erase(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=2)?;
    plain(|inputs| {
        let len = sequence(inputs, 0)?.len();
        ensure!(len > 0, InvalidInput, "SequenceErase: the sequence is empty");
        let place = position(inputs, 1, len, len)?.unwrap_or(len - 1);
        let mut items = take_sequence(inputs, 0)?;
        items.remove(place);
        Ok(Value::Sequence(items))
    })
}

struct ConcatFromSequence {
    axis: i64,
    new_axis: bool,
}

fn prepare_concat(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let Some(axis) = spec.attributes.int_opt("axis")? else {
        return Err(spec.invalid("attribute 'axis' is missing"));
    };
    let new_axis = spec.attributes.flag("new_axis", false)?;
    Ok(Box::new(ConcatFromSequence { axis, new_axis }))
}

/// The shape with a new axis of 1 at `axis`.
fn widened(shape: &Shape, axis: usize) -> Result<Shape> {
    let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(shape.dims());
    dims.insert(axis, 1);
    Shape::new(&dims)
}

impl Kernel for ConcatFromSequence {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let parts: Vec<&Tensor> =
            sequence(inputs, 0)?.iter().map(Value::as_tensor).collect::<Result<_>>()?;
        if !self.new_axis {
            return one(concat(ctx, &parts, self.axis)?);
        }
        let Some(first) = parts.first() else {
            bail!(InvalidInput, "ConcatFromSequence: the sequence is empty");
        };
        let rank = first.shape().rank();
        ensure!(
            parts.iter().all(|p| p.shape().rank() == rank),
            InvalidInput,
            "ConcatFromSequence: tensors of different ranks"
        );
        let axis = crate::tensor::shape::resolve_axis(self.axis, rank + 1)?;
        let parts: Vec<Tensor> = parts
            .into_iter()
            .map(|p| p.clone().reshaped(widened(p.shape(), axis)?))
            .collect::<Result<_>>()?;
        one(concat(ctx, &parts.iter().collect::<Vec<_>>(), axis as i64)?)
    }
}

struct SplitToSequence {
    axis: i64,
    keep_dims: bool,
}

fn prepare_split(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=2)?;
    Ok(Box::new(SplitToSequence {
        axis: spec.attributes.int("axis", 0)?,
        keep_dims: spec.attributes.flag("keepdims", true)?,
    }))
}

impl Kernel for SplitToSequence {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let axis = tensor.shape().axis(self.axis)?;
        let dim = tensor.shape().dim(axis);
        let sizes = inputs.tensor_opt(1)?;
        let chunk = match sizes {
            None => Some(1),
            Some(t) if t.shape().rank() == 0 => match t.to_i64_vec()?[..] {
                [n] if n > 0 => Some(n as usize),
                ref other => bail!(InvalidInput, "SplitToSequence: parts of {other:?}"),
            },
            Some(_) => None,
        };
        let sizes = match (chunk, sizes) {
            (Some(chunk), _) => {
                // Each part is a value of its own: so many of no elements are not free.
                ctx.shape_of::<String>(&[4, dim.div_ceil(chunk)])?;
                (0..dim).step_by(chunk).map(|at| chunk.min(dim - at)).collect()
            }
            (None, Some(t)) => part_sizes(&t.to_i64_vec()?)?,
            (None, None) => vec![],
        };
        let mut parts = split(ctx, tensor, axis, &sizes)?;
        if self.drops_axis(inputs) {
            let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(inputs.tensor(0)?.dims());
            dims.remove(axis);
            let shape = Shape::new(&dims)?;
            parts = parts.into_iter().map(|p| p.reshaped(shape.clone())).collect::<Result<_>>()?;
        }
        one(Value::Sequence(parts.into_iter().map(Value::Tensor).collect()))
    }
}

impl SplitToSequence {
    /// `keepdims` counts only where no sizes are given.
    fn drops_axis(&self, inputs: &Inputs<'_>) -> bool {
        !self.keep_dims && !inputs.has(1)
    }
}

fn prepare_optional(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(0..=1)?;
    plain(|inputs| {
        Ok(Value::Optional(match inputs.has(0) {
            true => Some(Box::new(inputs.take(0)?)),
            false => None,
        }))
    })
}

fn prepare_has(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(0..=1)?;
    plain(|inputs| {
        let has = !matches!(inputs.get(0), None | Some(Value::Optional(None)));
        Ok(Tensor::scalar(has).into())
    })
}

fn prepare_get(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    plain(|inputs| match inputs.take(0)? {
        Value::Optional(Some(v)) => Ok(*v),
        Value::Optional(None) => bail!(InvalidInput, "OptionalGetElement: there is no element"),
        other => Ok(other),
    })
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};
    use crate::tensor::{Tensor, Value};

    fn seq(items: &[Tensor]) -> Value {
        Value::Sequence(items.iter().cloned().map(Value::Tensor).collect())
    }

    fn run(op: &Op, inputs: &[Value]) -> crate::Result<Value> {
        let inputs: Vec<_> = inputs.iter().cloned().map(Some).collect();
        Ok(op.run_values(&inputs)?.remove(0))
    }

    fn at(i: i64) -> Value {
        Tensor::scalar(i).into()
    }

    #[test]
    fn sequences_are_built_and_read() {
        let (a, b) = (t(&[1], &[1f32]), t(&[2], &[2f32, 3.0]));
        let s = run(&Op::onnx("SequenceConstruct", 11), &[a.clone().into(), b.clone().into()]);
        let s = s.unwrap();
        assert_eq!(s, seq(&[a.clone(), b.clone()]));
        assert_eq!(run(&Op::onnx("SequenceLength", 11), std::slice::from_ref(&s)).unwrap(), at(2));
        let get = Op::onnx("SequenceAt", 11);
        assert_eq!(run(&get, &[s.clone(), at(-1)]).unwrap(), b.clone().into());
        for bad in [2, -3, i64::MIN] {
            assert!(run(&get, &[s.clone(), at(bad)]).is_err());
        }
        let insert = Op::onnx("SequenceInsert", 11);
        let got = run(&insert, &[s.clone(), a.clone().into(), at(-1)]).unwrap();
        assert_eq!(got, seq(&[a.clone(), a.clone(), b.clone()]));
        let got = run(&insert, &[s.clone(), a.clone().into()]).unwrap();
        assert_eq!(got, seq(&[a.clone(), b.clone(), a.clone()]));
        assert!(run(&insert, &[s.clone(), a.clone().into(), at(3)]).is_err());
        assert!(run(&insert, &[s.clone(), strings(&[1], &["x"]).into()]).is_err());
        let erase = Op::onnx("SequenceErase", 11);
        assert_eq!(run(&erase, std::slice::from_ref(&s)).unwrap(), seq(&[a]));
        assert_eq!(run(&erase, &[s, at(0)]).unwrap(), seq(&[b]));
        let empty = run(&Op::onnx("SequenceEmpty", 11), &[]).unwrap();
        assert!(run(&erase, &[empty]).is_err());
    }

    #[test]
    fn tensors_join_and_split() {
        let (a, b) = (t(&[2], &[1i64, 2]), t(&[2], &[3i64, 4]));
        let s = seq(&[a.clone(), b.clone()]);
        let op = Op::onnx("ConcatFromSequence", 11).int("axis", -1);
        assert_eq!(run(&op, std::slice::from_ref(&s)).unwrap(), t(&[4], &[1i64, 2, 3, 4]).into());
        let op = op.int("new_axis", 1);
        assert_eq!(
            run(&op, std::slice::from_ref(&s)).unwrap(),
            t(&[2, 2], &[1i64, 3, 2, 4]).into()
        );
        assert!(run(&op, &[seq(&[])]).is_err());
        let x: Value = t(&[2, 2], &[1i64, 2, 3, 4]).into();
        let split = Op::onnx("SplitToSequence", 11);
        let rows = [t(&[1, 2], &[1i64, 2]), t(&[1, 2], &[3i64, 4])];
        assert_eq!(run(&split, std::slice::from_ref(&x)).unwrap(), seq(&rows));
        let sizes: Value = t(&[2], &[1i64, 1]).into();
        assert_eq!(run(&split, &[x.clone(), sizes.clone()]).unwrap(), seq(&rows));
        let split = split.int("keepdims", 0);
        assert_eq!(run(&split, std::slice::from_ref(&x)).unwrap(), s);
        assert_eq!(run(&split, &[x.clone(), sizes]).unwrap(), seq(&rows));
        let y: Value = t(&[5], &[1i64, 2, 3, 4, 5]).into();
        let parts = [t(&[2], &[1i64, 2]), t(&[2], &[3i64, 4]), t(&[1], &[5i64])];
        assert_eq!(run(&split, &[y.clone(), at(2)]).unwrap(), seq(&parts));
        for bad in [at(0), at(-1), t(&[1], &[4i64]).into()] {
            assert!(run(&split, &[y.clone(), bad]).is_err());
        }
    }

    #[test]
    fn optionals_hold_a_value_or_nothing() {
        let x: Value = t(&[1], &[1f32]).into();
        let some = run(&Op::onnx("Optional", 15), std::slice::from_ref(&x)).unwrap();
        let none = run(&Op::onnx("Optional", 15), &[]).unwrap();
        let has = Op::onnx("OptionalHasElement", 18);
        for (v, expected) in [(&some, true), (&none, false), (&x, true)] {
            assert_eq!(
                run(&has, std::slice::from_ref(v)).unwrap(),
                Tensor::scalar(expected).into()
            );
        }
        assert_eq!(run(&has, &[]).unwrap(), Tensor::scalar(false).into());
        let get = Op::onnx("OptionalGetElement", 18);
        assert_eq!(run(&get, &[some]).unwrap(), x.clone());
        assert_eq!(run(&get, std::slice::from_ref(&x)).unwrap(), x);
        assert!(run(&get, &[none]).is_err());
    }
}
