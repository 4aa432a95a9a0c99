//! Columns and maps of ai.onnx.ml: ArrayFeatureExtractor, FeatureVectorizer, ZipMap, CastMap.

use super::classes::Labels;
use super::registry::{Entry, ml};
use super::row::{as_floats, same_type};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, one};
use crate::error::{Result, bail, ensure, err};
use crate::tensor::{Carrier, Element, ElementType, Map, MapKey, Tensor, Value, for_each_carrier};
use std::sync::Arc;

pub(super) const OPS: &[Entry] = &[
    ml("ArrayFeatureExtractor", 1, prepare_extractor),
    ml("FeatureVectorizer", 1, prepare_vectorizer),
    ml("ZipMap", 1, prepare_zip_map),
    ml("CastMap", 1, prepare_cast_map),
];

/// Picks columns of the last axis.
struct ArrayFeatureExtractor {
    /// The columns, where they are constant.
    columns: Option<Vec<usize>>,
}

fn columns(indices: &Tensor) -> Result<Vec<usize>> {
    let indices = indices.to_i64_vec()?;
    ensure!(!indices.is_empty(), InvalidInput, "ArrayFeatureExtractor: no columns are asked for");
    indices
        .into_iter()
        .map(|i| {
            usize::try_from(i)
                .map_err(|_| err!(InvalidInput, "ArrayFeatureExtractor: column {i} is negative"))
        })
        .collect()
}

fn prepare_extractor(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let columns = spec.constant(1).map(columns).transpose();
    let columns = columns.map_err(|e| err!(InvalidModel, "{}", e.message()))?;
    Ok(Box::new(ArrayFeatureExtractor { columns }))
}

fn extract<T: Carrier>(
    ctx: &mut Context<'_>,
    data: &[T],
    stride: usize,
    columns: &[usize],
    dims: &[usize],
    dtype: ElementType,
) -> Result<Tensor> {
    let shape = ctx.shape_of::<T>(dims)?;
    let mut out = ctx.buffer::<T>(shape.len())?;
    for row in data.chunks_exact(stride) {
        out.extend(columns.iter().map(|&c| row[c].clone()));
    }
    Tensor::moved(shape, out, dtype)
}

impl Kernel for ArrayFeatureExtractor {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let given;
        let columns = match &self.columns {
            Some(columns) => columns,
            None => {
                given = columns(inputs.tensor(1)?)?;
                &given
            }
        };
        let Some((&stride, outer)) = tensor.dims().split_last() else {
            bail!(InvalidInput, "ArrayFeatureExtractor: expected features, got a scalar");
        };
        if let Some(c) = columns.iter().find(|&&c| c >= stride) {
            bail!(InvalidInput, "ArrayFeatureExtractor: column {c} of {stride}");
        }
        // A vector comes back as one row.
        let mut dims = if outer.is_empty() { vec![1] } else { outer.to_vec() };
        dims.push(columns.len());
        let dtype = tensor.dtype();
        one(for_each_carrier!(tensor.data(), v => {
            extract(ctx, v, stride, columns, &dims, dtype)
        })?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.columns.as_ref().map(|_| self as &dyn RowOp)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        self.columns.as_ref().map(|_| self as &dyn RowOp<f64>)
    }
}

impl<T: RowNumber> RowOp<T> for ArrayFeatureExtractor {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let columns = self.columns.as_ref()?;
        let [width] = *inputs else { return None };
        let fits = columns.iter().all(|&c| c < width);
        fits.then_some(RowShape { width: columns.len(), classes: None })
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        same_type(inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        if let (Some(columns), [x], 1..) = (&self.columns, inputs, rows) {
            let rows = x.chunks_exact((x.len() / rows).max(1));
            for (row, out) in rows.zip(out.chunks_exact_mut(columns.len())) {
                for (o, &c) in out.iter_mut().zip(columns) {
                    *o = row[c];
                }
            }
        }
    }
}

/// Writes several inputs side by side, each cut or filled up with zeros to its declared width.
struct FeatureVectorizer {
    widths: Vec<usize>,
    total: usize,
}

fn prepare_vectorizer(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let given = spec.attributes.ints("inputdimensions")?;
    spec.arity(given.len().max(1)..=given.len().max(1))?;
    let widths = given
        .iter()
        .map(|&w| {
            let width = usize::try_from(w).ok().filter(|&w| w <= 1 << 32);
            width.ok_or_else(|| spec.invalid(format_args!("'inputdimensions' has {w}")))
        })
        .collect::<Result<Vec<_>>>()?;
    ensure!(!widths.is_empty(), InvalidModel, "{}: 'inputdimensions' is missing", spec.op);
    let total = widths.iter().sum();
    Ok(Box::new(FeatureVectorizer { widths, total }))
}

impl FeatureVectorizer {
    /// Copies one input, `stride` values a row, to its place `at` in the rows of `out`.
    fn place(&self, x: &[f32], stride: usize, width: usize, at: usize, out: &mut [f32]) {
        let n = stride.min(width);
        let rows = x.chunks_exact(stride.max(1));
        for (row, out) in rows.zip(out.chunks_exact_mut(self.total.max(1))) {
            out[at..at + n].copy_from_slice(&row[..n]);
        }
    }
}

impl Kernel for FeatureVectorizer {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let rows_of = |t: &Tensor| if t.dims().len() < 2 { 1 } else { t.shape().dim(0) };
        let rows = rows_of(inputs.tensor(0)?);
        let shape = ctx.shape_of::<f32>(&[rows, self.total])?;
        let mut out = ctx.filled(shape.len(), 0f32)?;
        let mut at = 0;
        for (i, &width) in self.widths.iter().enumerate() {
            let tensor = inputs.tensor(i)?;
            ensure!(
                rows_of(tensor) == rows,
                InvalidInput,
                "FeatureVectorizer: input {i} has {} rows, input 0 has {rows}",
                rows_of(tensor)
            );
            let stride = tensor.len() / rows.max(1);
            self.place(&super::classes::as_f32(tensor)?, stride, width, at, &mut out);
            at += width;
        }
        one(ctx.tensor(shape, out)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        Some(self)
    }
}

impl RowOp for FeatureVectorizer {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        (inputs.len() == self.widths.len() && self.total > 0)
            .then_some(RowShape { width: self.total, classes: None })
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        as_floats(inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        out.fill(0.0);
        let mut at = 0;
        for (x, &width) in inputs.iter().zip(&self.widths) {
            self.place(x, x.len() / rows.max(1), width, at, out);
            at += width;
        }
    }
}

/// A row of scores as a map from label to score.
struct ZipMap {
    keys: Vec<MapKey>,
}

fn prepare_zip_map(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let keys: Vec<MapKey> =
        match Labels::read(spec.attributes, "classlabels_int64s", "classlabels_strings")? {
            Labels::Ints(v) => v.into_iter().map(MapKey::Int).collect(),
            Labels::Strings(v) => v.into_iter().map(|s| MapKey::Str(Arc::from(s))).collect(),
        };
    let mut sorted: Vec<&MapKey> = keys.iter().collect();
    sorted.sort_unstable();
    ensure!(
        sorted.windows(2).all(|w| w[0] != w[1]),
        InvalidModel,
        "{}: a class label occurs twice",
        spec.op
    );
    Ok(Box::new(ZipMap { keys }))
}

impl Kernel for ZipMap {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let (_, width) = super::classes::matrix(tensor)?;
        ensure!(
            width == self.keys.len(),
            InvalidInput,
            "ZipMap: {} labels for rows of {width} scores",
            self.keys.len()
        );
        let scores = tensor.as_slice::<f32>()?;
        let maps = scores.chunks_exact(width).map(|row| {
            let entry = |(k, &v): (&MapKey, &f32)| (k.clone(), Value::from(Tensor::scalar(v)));
            Value::Map(Map { entries: self.keys.iter().zip(row).map(entry).collect() })
        });
        one(Value::Sequence(maps.collect()))
    }
}

/// What the values of a map become.
#[derive(Debug, Clone, Copy)]
enum CastTo {
    Float,
    Int64,
    String,
}

/// A map from positions to values as one row.
struct CastMap {
    to: CastTo,
    /// The row's width, where positions left out are filled.
    sparse: Option<usize>,
}

fn prepare_cast_map(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let to = match spec.attributes.str("cast_to", "TO_FLOAT")?.as_str() {
        "TO_FLOAT" => CastTo::Float,
        "TO_INT64" => CastTo::Int64,
        "TO_STRING" => CastTo::String,
        other => return Err(spec.invalid(format_args!("cast_to '{other}' is not known"))),
    };
    let sparse = match spec.attributes.str("map_form", "DENSE")?.as_str() {
        "DENSE" => None,
        "SPARSE" => {
            let max = spec.attributes.int("max_map", 1)?;
            Some(
                usize::try_from(max)
                    .map_err(|_| spec.invalid(format_args!("'max_map' is {max}")))?,
            )
        }
        other => return Err(spec.invalid(format_args!("map_form '{other}' is not known"))),
    };
    Ok(Box::new(CastMap { to, sparse }))
}

/// One value of a map.
enum MapValue<'a> {
    Number(f32),
    Text(&'a str),
}

impl MapValue<'_> {
    fn read(value: &Value) -> Result<MapValue<'_>> {
        let tensor = value.as_tensor()?;
        ensure!(tensor.len() == 1, InvalidInput, "CastMap: a value of shape {}", tensor.shape());
        Ok(match tensor.as_slice::<String>() {
            Ok(s) => MapValue::Text(&s[0]),
            Err(_) => MapValue::Number(tensor.to_f32_vec()?[0]),
        })
    }

    fn parse<T: std::str::FromStr>(text: &str) -> Result<T> {
        text.trim().parse().map_err(|_| err!(InvalidInput, "CastMap: '{text:.40}' is not a number"))
    }

    fn float(&self) -> Result<f32> {
        match self {
            MapValue::Number(v) => Ok(*v),
            MapValue::Text(s) => MapValue::parse(s),
        }
    }

    fn int(&self) -> Result<i64> {
        match self {
            MapValue::Number(v) => Ok(*v as i64),
            MapValue::Text(s) => MapValue::parse(s),
        }
    }

    fn text(&self) -> String {
        match self {
            MapValue::Number(v) => format!("{v:.6}"),
            MapValue::Text(s) => (*s).to_string(),
        }
    }
}

impl CastMap {
    fn row<T: Element>(
        &self,
        ctx: &mut Context<'_>,
        entries: &[(i64, &Value)],
        pad: T,
        cast: impl Fn(&MapValue<'_>) -> Result<T>,
    ) -> Result<Outputs> {
        let out = match self.sparse {
            None => entries
                .iter()
                .map(|(_, v)| cast(&MapValue::read(v)?))
                .collect::<Result<Vec<T>>>()?,
            Some(width) => {
                let mut out = ctx.filled(width, pad)?;
                for (key, value) in entries {
                    let at = usize::try_from(*key)
                        .map_err(|_| err!(InvalidInput, "CastMap: key {key} is negative"))?;
                    if let Some(slot) = out.get_mut(at) {
                        *slot = cast(&MapValue::read(value)?)?;
                    }
                }
                out
            }
        };
        let shape = ctx.shape_of::<T>(&[1, out.len()])?;
        one(ctx.tensor(shape, out)?)
    }
}

impl Kernel for CastMap {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let map = match inputs.get(0) {
            Some(Value::Map(map)) => map,
            Some(other) => {
                bail!(InvalidInput, "CastMap: expected a map, got a {}", other.type_name())
            }
            None => bail!(InvalidInput, "CastMap: input 0 is missing"),
        };
        let mut entries = Vec::with_capacity(map.entries.len());
        for (key, value) in &map.entries {
            match key {
                MapKey::Int(k) => entries.push((*k, value)),
                MapKey::Str(_) => bail!(InvalidInput, "CastMap: expected integer keys"),
            }
        }
        entries.sort_by_key(|e| e.0);
        match self.to {
            CastTo::Float => self.row(ctx, &entries, 0f32, |v| v.float()),
            CastTo::Int64 => self.row(ctx, &entries, 0i64, |v| v.int()),
            CastTo::String => self.row(ctx, &entries, "0.f".to_string(), |v| Ok(v.text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Op, strings, t};
    use crate::attribute::Attribute;
    use crate::tensor::{Map, MapKey, Tensor, Value};

    #[test]
    fn columns_are_picked() {
        let op = Op::ml("ArrayFeatureExtractor", 1);
        let x = t(&[2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let y = op.run1(&[x.clone(), t(&[1, 2], &[2i64, 0])]);
        assert_eq!(y, t(&[2, 2], &[3f32, 1.0, 6.0, 4.0]));
        let y = op.run1(&[strings(&[2], &["a", "b"]), t(&[1], &[1i64])]);
        assert_eq!(y, strings(&[1, 1], &["b"]));
        for bad in [3i64, -1] {
            assert!(op.run(&[x.clone(), t(&[1], &[bad])]).is_err());
        }
    }

    #[test]
    fn features_are_cut_and_filled_up() {
        let op =
            Op::ml("FeatureVectorizer", 1).attr("inputdimensions", Attribute::Ints(vec![2, 3]));
        let y = op.run1(&[t(&[1, 3], &[1i64, 2, 3]), t(&[1, 2], &[4f32, 5.0])]);
        assert_eq!(y, t(&[1, 5], &[1f32, 2.0, 4.0, 5.0, 0.0]));
    }

    #[test]
    fn rows_become_maps_and_maps_rows() {
        let op = Op::ml("ZipMap", 1).attr("classlabels_int64s", Attribute::Ints(vec![7, 3]));
        let y = op.run_values(&[Some(t(&[1, 2], &[0.25f32, 0.75]).into())]).unwrap().remove(0);
        let entry = |k, v: f32| (MapKey::Int(k), Value::from(Tensor::scalar(v)));
        let map = Value::Map(Map { entries: vec![entry(7, 0.25), entry(3, 0.75)] });
        assert_eq!(y, Value::Sequence(vec![map.clone()]));
        let op = Op::ml("CastMap", 1)
            .attr("map_form", Attribute::String("SPARSE".into()))
            .int("max_map", 5);
        let y = op.run_values(&[Some(map)]).unwrap().remove(0).into_tensor().unwrap();
        assert_eq!(y, t(&[1, 5], &[0f32, 0.0, 0.0, 0.75, 0.0]));
    }
}
