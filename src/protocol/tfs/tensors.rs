//! `"instances"` and `"inputs"`, straight into tensors.

use super::super::check_rows;
use super::super::fault::{Fault, Outcome};
use super::super::json::{Kind, Limits, Nesting, Reader};
use crate::error::ErrorKind;
use crate::model::TensorSpec;
use crate::tensor::{Data, Shape, Tensor, Value, for_each_type};
use jiter::Peek;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Tensors by name.
pub(super) type Named = Vec<(String, Value)>;

/// The places of the inputs, by their names.
type Places<'a> = HashMap<&'a str, usize>;

/// One input being read.
struct Column<'a> {
    name: &'a str,
    /// Whether its first axis counts rows.
    by_rows: bool,
    data: Data,
    /// The shape of the first row.
    row: Option<SmallVec<[usize; 6]>>,
    size: usize,
    /// The row that it was last given in, counted from 1.
    seen: usize,
}

impl<'a> Column<'a> {
    fn new(spec: &'a TensorSpec) -> Outcome<Column<'a>> {
        let dtype = spec.dtype().ok_or_else(|| {
            Fault::own(
                ErrorKind::Unsupported,
                format!("input '{}' is of a type that JSON has no form for here", spec.name),
            )
        })?;
        let (name, by_rows) = (&spec.name, spec.batch_axis == Some(0));
        Ok(Column { name, by_rows, data: Data::zeros(dtype, 0), row: None, size: 0, seen: 0 })
    }

    fn read(
        &mut self,
        reader: &mut Reader<'_>,
        peek: Peek,
    ) -> Outcome<(SmallVec<[usize; 6]>, usize)> {
        let before = self.data.len();
        let mut shape = Nesting::default();
        for_each_type!(&mut self.data, v => reader.nested(peek, 0, &mut shape, v))?;
        Ok((shape.dims(), self.data.len() - before))
    }

    /// Reads one row, which has to be like those before.
    fn add(&mut self, reader: &mut Reader<'_>, peek: Peek) -> Outcome<()> {
        let (dims, size) = self.read(reader, peek)?;
        let Some(first) = &self.row else {
            (self.row, self.size) = (Some(dims), size);
            return Ok(());
        };
        if size != self.size {
            let expected = self.size;
            return Err(Fault::bad(format!("Expecting tensor size: {expected} but got: {size}")));
        }
        if dims != *first {
            return Err(Fault::bad(format!(
                "Expecting shape {} but got: {}",
                shape_text(first),
                shape_text(&dims)
            )));
        }
        Ok(())
    }

    /// The tensor of a value that was given whole.
    fn whole(self, dims: &[usize], limits: Limits) -> Outcome<(String, Value)> {
        if let Some(rows) = dims.first().filter(|_| self.by_rows) {
            check_rows(*rows, limits.rows)?;
        }
        self.finish(dims)
    }

    fn finish(self, dims: &[usize]) -> Outcome<(String, Value)> {
        let tensor = Tensor::new(Shape::new(dims)?, self.data)?;
        Ok((self.name.to_string(), tensor.into()))
    }

    /// The rows as one tensor.
    fn rows(self, rows: usize) -> Outcome<(String, Value)> {
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_elem(rows, 1);
        dims.extend(self.row.iter().flatten().copied());
        self.finish(&dims)
    }
}

fn shape_text(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    format!("[{}]", dims.join(","))
}

/// `"instances"`: a list with an entry a row, each a value (one input) or an object by name.
pub(super) fn instances(
    reader: &mut Reader<'_>,
    peek: Peek,
    specs: &[TensorSpec],
    whole: &dyn Fn(&str) -> Fault,
) -> Outcome<Named> {
    if reader.kind(peek)? != Kind::Array {
        return Err(whole("Excepting 'instances' to be an list/array"));
    }
    let mut columns = specs.iter().map(Column::new).collect::<Outcome<Vec<_>>>()?;
    let Some(first) = reader.array()? else {
        return Err(whole("No values in 'instances' array"));
    };
    let objects = is_object(reader, first)?;
    if !objects && columns.len() != 1 {
        return Err(Fault::bad(
            "instances is a plain list, but expecting list of objects as multiple input tensors \
             required as per tensorinfo_map",
        ));
    }
    let places: Places<'_> =
        specs.iter().enumerate().map(|(place, spec)| (spec.name.as_str(), place)).collect();
    let mut rows = 0usize;
    let mut next = Some(first);
    while let Some(peek) = next {
        check_rows(rows + 1, reader.limits.rows)?;
        match (objects, is_object(reader, peek)?) {
            (true, true) => object_row(reader, peek, rows, &places, &mut columns)?,
            (false, false) => {
                for column in &mut columns {
                    column.add(reader, peek).map_err(|fault| {
                        within(fault, &format!("Failed to process element: {rows}"))
                    })?;
                }
            }
            (true, false) => {
                return Err(Fault::bad(format!(
                    "Expecting object but got list at item {rows} of input list"
                )));
            }
            (false, true) => {
                return Err(Fault::bad(format!(
                    "Expecting value/list but got object at item {rows} of input list"
                )));
            }
        }
        rows += 1;
        next = reader.step()?;
    }
    columns.into_iter().map(|column| column.rows(rows)).collect()
}

/// A fault of one row, said of it.
fn within(fault: Fault, of: &str) -> Fault {
    let code = fault.kind().http().tensorflow_code;
    let message = format!("{of} of 'instances' list. Error: {code}: {}", fault.message());
    Fault::own(fault.kind(), message)
}

/// Whether an object begins here that is no base64 string.
fn is_object(reader: &Reader<'_>, peek: Peek) -> Outcome<bool> {
    if reader.kind(peek)? != Kind::Object {
        return Ok(false);
    }
    Ok(reader.fork().base64_object()?.is_none())
}

fn object_row(
    reader: &mut Reader<'_>,
    peek: Peek,
    row: usize,
    places: &Places<'_>,
    columns: &mut [Column<'_>],
) -> Outcome<()> {
    let start = reader.fork();
    let known = |key: &str| places.get(key).copied().ok_or_else(|| key.to_string());
    let mut given = 0usize;
    let mut next = reader.object(known)?;
    while let Some(key) = next {
        let value = reader.peek()?;
        let of = |name: &str| format!("Failed to process element: {row} key: {name}");
        let i = key.map_err(|name| {
            let missing = format!("JSON object: does not have named input: {name}");
            within(Fault::bad(missing), &of(&name))
        })?;
        if let Some(column) = columns.get_mut(i) {
            if column.seen == row + 1 {
                let twice = format!("named input: {} is given twice", column.name);
                return Err(within(Fault::bad(twice), &of(column.name)));
            }
            column.seen = row + 1;
            given += 1;
            column.add(reader, value).map_err(|fault| within(fault, &of(column.name)))?;
        }
        next = reader.key(known)?;
    }
    if given < columns.len() {
        let mut sorted: Vec<&str> = places.keys().copied().collect();
        sorted.sort_unstable();
        return Err(Fault::bad(format!(
            "Failed to process element: {row} of 'instances' list. JSON object: {} keys must be \
             equal to: {}",
            start.quote(peek),
            sorted.join(",")
        )));
    }
    Ok(())
}

/// `"inputs"`: a value (one input) or an object of values by name; their shapes are the tensors'.
pub(super) fn columns(reader: &mut Reader<'_>, peek: Peek, specs: &[TensorSpec]) -> Outcome<Named> {
    let mut columns = specs.iter().map(Column::new).collect::<Outcome<Vec<_>>>()?;
    if !is_object(reader, peek)? {
        return match (columns.pop(), columns.is_empty()) {
            (Some(mut only), true) => {
                let (dims, _) = only.read(reader, peek)?;
                Ok(vec![only.whole(&dims, reader.limits)?])
            }
            _ => Err(Fault::bad(
                "inputs is a plain value/list, but expecting an object as multiple input tensors \
                 required as per tensorinfo_map",
            )),
        };
    }
    let places: Places<'_> =
        specs.iter().enumerate().map(|(place, spec)| (spec.name.as_str(), place)).collect();
    let known = |key: &str| places.get(key).copied();
    let mut next = reader.object(known)?;
    while let Some(key) = next {
        let value = reader.peek()?;
        match key.and_then(|i| columns.get_mut(i)).filter(|column| column.row.is_none()) {
            Some(column) => column.row = Some(column.read(reader, value)?.0),
            None => reader.skip(value, 2)?,
        }
        next = reader.key(known)?;
    }
    let limits = reader.limits;
    let finish = |mut column: Column<'_>| match column.row.take() {
        Some(dims) => column.whole(&dims, limits),
        None => {
            Err(Fault::bad(format!("Missing named input: {} in 'inputs' object.", column.name)))
        }
    };
    columns.into_iter().map(finish).collect()
}
