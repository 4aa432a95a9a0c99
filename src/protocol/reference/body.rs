//! The bodies of the reference server: rows of numbers.

use super::super::fault::{Fault, Outcome};
use super::super::json::{JsonElement, Kind, Reader};
use super::super::{Http, HttpRequest, check_rows};
use super::DIALECT;
use jiter::Peek;

/// What a body may hold: rows under one of two keys, and an id to echo.
pub(super) struct Body<T> {
    pub values: Vec<T>,
    /// Values of each row, where there are rows.
    pub rows: Option<(usize, usize)>,
    pub id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Values,
    Id,
    Other,
}

/// Reads `{"features": […]}` or `{"instances": [[…], …]}`. As in JSON libraries of other
/// languages the last of several equal keys counts.
pub(super) fn read<T: JsonElement>(
    http: &Http,
    request: &HttpRequest<'_>,
    values: &str,
    batch: bool,
) -> Outcome<Body<T>> {
    let mut reader = Reader::new(request.body, DIALECT, http.limits());
    let name = |key: &str| match key {
        "request_id" => Key::Id,
        key if key == values => Key::Values,
        _ => Key::Other,
    };
    let mut body = Body { values: Vec::new(), rows: None, id: None };
    let mut given = false;
    let peek = reader.peek()?;
    if reader.kind(peek)? != Kind::Object {
        reader.skip(peek, 0)?;
        return Err(Fault::bad("the body has to be a JSON object"));
    }
    let mut next = reader.object(name)?;
    while let Some(key) = next {
        let peek = reader.peek()?;
        match key {
            Key::Values => {
                given = true;
                body.values.clear();
                body.rows = None;
                rows(&mut reader, peek, values, batch, &mut body)?;
            }
            Key::Id => {
                body.id = match reader.kind(peek)? {
                    Kind::String => Some(reader.text(str::to_string)?),
                    Kind::Null => {
                        reader.null()?;
                        None
                    }
                    _ => return Err(Fault::bad("'request_id' has to be a string")),
                }
            }
            Key::Other => reader.skip(peek, 1)?,
        }
        next = reader.key(name)?;
    }
    reader.finish()?;
    match given {
        true => Ok(body),
        false => Err(Fault::bad(format!("'{values}' is missing"))),
    }
}

fn rows<T: JsonElement>(
    reader: &mut Reader<'_>,
    peek: Peek,
    name: &str,
    batch: bool,
    body: &mut Body<T>,
) -> Outcome<()> {
    let expected = || {
        let what = if batch { "a list of lists of numbers" } else { "a list of numbers" };
        Fault::bad(format!("'{name}' has to be {what}"))
    };
    if reader.kind(peek)? != Kind::Array {
        return Err(expected());
    }
    if !batch {
        return numbers(reader, name, None, body);
    }
    let (mut count, mut width) = (0usize, None);
    let mut next = reader.array()?;
    while let Some(peek) = next {
        if reader.kind(peek)? != Kind::Array {
            return Err(expected());
        }
        check_rows(count + 1, reader.limits.rows)?;
        let before = body.values.len();
        numbers(reader, name, Some(count), body)?;
        let got = body.values.len() - before;
        let wide = *width.get_or_insert(got);
        if got != wide {
            return Err(Fault::bad(format!(
                "'{name}[{count}]' has {got} values, the rows before have {wide}"
            )));
        }
        count += 1;
        next = reader.step()?;
    }
    if count == 0 {
        return Err(Fault::bad(format!("'{name}' is empty")));
    }
    body.rows = Some((count, width.unwrap_or(0)));
    Ok(())
}

/// Appends a list of numbers: row `row` of `name`, or all of it.
fn numbers<T: JsonElement>(
    reader: &mut Reader<'_>,
    name: &str,
    row: Option<usize>,
    body: &mut Body<T>,
) -> Outcome<()> {
    let mut next = reader.array()?;
    let mut i = 0usize;
    while let Some(peek) = next {
        if reader.kind(peek)? != Kind::Number {
            let got = reader.quote(peek);
            let row = row.map(|row| format!("[{row}]")).unwrap_or_default();
            return Err(Fault::bad(format!("'{name}{row}[{i}]' has to be a number, got {got}")));
        }
        body.values.push(T::read(reader, peek)?);
        i += 1;
        next = reader.step()?;
    }
    Ok(())
}
