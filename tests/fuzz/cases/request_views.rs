//! Rows and tensors of any type, shape, layout and length, as a Rust caller gives them, asked of a
//! few models in every way that there is to ask.
//!
//! Beside panics and internal errors: what is written into a caller's memory is what is answered,
//! to the bit, and nothing beyond it; a row is answered as it is alone; a tensor made of a view
//! has the view's elements in their order.

#[allow(dead_code)]
mod ask;
#[allow(dead_code)]
mod protobuf;
#[allow(dead_code)]
mod values;

use arbitrary::{Result, Unstructured};
use modelserve::graph::{Dim, ValueType};
use modelserve::policy::cache::CacheOptions;
use modelserve::tensor::{Data, ElementType, Map, MapKey, Shape, Tensor, Value};
use modelserve::{
    Answers, Buffers, Classes, ErrorKind, Features, Format, LoadOptions, Model, ModelManager,
    ModelSource, PlanKind, Policies, Prediction, Predictions, TensorSpec, load_bytes,
};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice, indices};
use protobuf::Message;
use std::sync::{Arc, LazyLock};
use values::{data, float};

/// Texts, some of which the models know.
const WORDS: [&str; 8] = ["Ulm", "free", "a", "", "0", "the fox", "\u{df}\0", "nan"];

/// What stands in buffers that nothing was written to.
const NO_LABEL: i64 = -77;
const NO_SCORE: f64 = -77.25;

/// Element types and shapes that the model `echo` answers as they come.
const ECHOED: [(ElementType, &[Option<u8>]); 6] = [
    (ElementType::F32, &[None, Some(2)]),
    (ElementType::I64, &[None]),
    (ElementType::String, &[None, Some(1)]),
    (ElementType::U8, &[None, Some(2), Some(2)]),
    (ElementType::F16, &[None]),
    (ElementType::Bool, &[None, Some(3)]),
];

fn echo() -> Vec<u8> {
    let info = |name: &str, dtype: ElementType, dims: &[Option<u8>]| {
        let shape = dims.iter().fold(Message::default(), |shape, dim| {
            shape.message(
                1,
                match dim {
                    Some(size) => Message::default().int(1, i64::from(*size)),
                    None => Message::default().bytes(2, b"n"),
                },
            )
        });
        let tensor = Message::default().int(1, dtype.onnx_number().into()).message(2, shape);
        Message::default()
            .bytes(1, name.as_bytes())
            .message(2, Message::default().message(1, tensor))
    };
    let mut graph = Message::default().bytes(2, b"echo");
    for (i, (dtype, dims)) in ECHOED.iter().enumerate() {
        let (x, y) = (format!("x{i}"), format!("y{i}"));
        let node = Message::default().bytes(1, x.as_bytes()).bytes(2, y.as_bytes());
        graph = graph
            .message(1, node.bytes(4, b"Identity"))
            .message(11, info(&x, *dtype, dims))
            .message(12, info(&y, *dtype, dims));
    }
    let opset = Message::default().bytes(1, b"").int(2, 18);
    Message::default().int(1, 8).message(7, graph).message(8, opset).finish()
}

static MODELS: LazyLock<Vec<Arc<dyn Model>>> = LazyLock::new(|| {
    let load = |file: &[u8], format: Format, options: LoadOptions| -> Arc<dyn Model> {
        let options = ask::small(LoadOptions { format: Some(format), ..options });
        Arc::new(load_bytes(file.to_vec(), &options).expect("a model of the tests"))
    };
    let onnx = |file: &[u8]| load(file, Format::Onnx, LoadOptions::default());
    let layers = |file: &[u8], config: &str| {
        let options = LoadOptions { config: Some(config.to_string()), ..LoadOptions::default() };
        load(file, Format::Safetensors, options)
    };
    let iris = include_bytes!("../../data/logistic_strings/model.onnx");
    let columns = include_bytes!("../../data/pipelines/columns.onnx");
    let manager = ModelManager::default();
    let cached = manager
        .load_from("cached", ModelSource::Model(onnx(iris)), &LoadOptions::default())
        .and_then(|handle| {
            let cache = Some(CacheOptions::default());
            manager.set_policies("cached", Policies { cache, ..Policies::default() })?;
            Ok(handle.model())
        })
        .expect("a manager serves a model");
    // It lives as long as the models.
    std::mem::forget(manager);
    let named = ["a", "b", "c", "d"].map(String::from).to_vec();
    vec![
        load(
            iris,
            Format::Onnx,
            LoadOptions { feature_names: Some(named), ..LoadOptions::default() },
        ),
        load(iris, Format::Onnx, LoadOptions { plan: PlanKind::Plain, ..LoadOptions::default() }),
        cached,
        onnx(include_bytes!("../../data/gradient_boosting/model.onnx")),
        onnx(include_bytes!("../../data/scaler_pca/model.onnx")),
        onnx(include_bytes!("../../data/mlp/model.onnx")),
        onnx(columns),
        load(
            columns,
            Format::Onnx,
            LoadOptions { plan: PlanKind::Plain, ..LoadOptions::default() },
        ),
        onnx(include_bytes!("../../data/pipelines/strict.onnx")),
        load(
            include_bytes!("../seeds/booster_load/trees.txt"),
            Format::LightGbm,
            LoadOptions { explain: true, ..LoadOptions::default() },
        ),
        layers(
            include_bytes!("../seeds/safetensors_load/conv.safetensors"),
            r#"{"format":"modelserve-layers","version":1,"inputs":[{"name":"x","dtype":"float32","shape":["batch",1,4,4]}],"layers":[{"type":"conv2d","name":"c","in":1,"out":2,"kernel":3},{"type":"group_norm","name":"n","groups":1,"size":2}]}"#,
        ),
        layers(
            include_bytes!("../seeds/safetensors_load/embedding.safetensors"),
            r#"{"format":"modelserve-layers","version":1,"inputs":[{"name":"x","dtype":"int64","shape":["batch",2]}],"layers":[{"type":"embedding","name":"e","num":5,"dim":2},{"type":"flatten"}]}"#,
        ),
        onnx(&echo()),
    ]
});

/// What there is, unless it is an error of the request's.
fn sound<T>(answer: modelserve::Result<T>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
            None
        }
    }
}

/// The bits of a number; those of one NaN for all.
fn bits(x: f64) -> u64 {
    if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() }
}

fn all_bits(all: &[f64]) -> Vec<u64> {
    all.iter().copied().map(bits).collect()
}

/// Labels and numbers as buffers have them.
fn flat(answers: &Predictions) -> Option<(Vec<i64>, Vec<f64>)> {
    let numbers = |all: Option<&Tensor>| {
        all.map_or(Vec::new(), |t| t.to_f64_vec().expect("scores are numbers"))
    };
    let index = |label: &String| match answers.classes.as_deref() {
        Some(Classes::Str(all)) => {
            all.iter().position(|class| **class == **label).map_or(-1, |i| i as i64)
        }
        _ => -1,
    };
    let labels = |all: &Tensor| match all.data() {
        Data::String(all) => all.iter().map(index).collect(),
        _ => all.to_i64_vec().expect("labels are numbers or texts"),
    };
    match &answers.answers {
        Answers::Labels(all) => Some((labels(all), numbers(answers.scores.as_ref()))),
        Answers::Multilabel(all) => {
            Some((labels(all), numbers(Some(answers.scores.as_ref().unwrap_or(all)))))
        }
        Answers::Values(all) => Some((Vec::new(), numbers(Some(all)))),
        _ => None,
    }
}

/// The length of a buffer for so many elements: that, more, or less.
fn room(u: &mut Unstructured<'_>, needed: usize) -> Result<usize> {
    Ok(match u.int_in_range(0..=5)? {
        0 => 0,
        1 => needed.saturating_sub(1),
        2 => needed + 3,
        _ => needed,
    })
}

/// Asks for these rows in memory of ours.
fn write(
    u: &mut Unstructured<'_>,
    model: &dyn Model,
    features: &Features<'_>,
    batch: Option<&Predictions>,
) -> Result<()> {
    let told = sound(model.predict_into(features.clone(), &mut Buffers::default()));
    let expected = batch.and_then(flat);
    assert_eq!(told.is_some(), expected.is_some());
    let (Some(told), Some((labels, scores))) = (told, expected) else { return Ok(()) };
    let needed = (told.rows * told.labels, told.rows * told.scores);
    assert_eq!(needed, (labels.len(), scores.len()));
    let mut to_labels = vec![NO_LABEL; room(u, labels.len())?];
    let mut to_doubles = vec![NO_SCORE; room(u, scores.len())?];
    let mut to_floats = vec![NO_SCORE as f32; to_doubles.len()];
    let doubles: bool = u.arbitrary()?;
    let mut out = Buffers::default().labels(&mut to_labels);
    out = match doubles {
        true => out.scores_f64(&mut to_doubles),
        false => out.scores_f32(&mut to_floats),
    };
    let written = sound(model.predict_into(features.clone(), &mut out));
    let fits = labels.len() <= to_labels.len() && scores.len() <= to_doubles.len();
    assert_eq!(written.is_some(), fits, "a buffer is too short, or said to be");
    let (mut all_labels, mut all_scores) =
        (vec![NO_LABEL; to_labels.len()], vec![NO_SCORE; to_doubles.len()]);
    if fits {
        all_labels[..labels.len()].copy_from_slice(&labels);
        all_scores[..scores.len()].copy_from_slice(&scores);
    }
    assert_eq!(to_labels, all_labels);
    match doubles {
        true => assert_eq!(all_bits(&to_doubles), all_bits(&all_scores)),
        false => {
            let rounded: Vec<f64> = all_scores.iter().map(|&x| f64::from(x as f32)).collect();
            let got: Vec<f64> = to_floats.iter().map(|&x| f64::from(x)).collect();
            assert_eq!(all_bits(&got), all_bits(&rounded));
        }
    }
    Ok(())
}

/// Asks a model for rows in every form of answer.
fn rows(
    u: &mut Unstructured<'_>,
    model: &dyn Model,
    features: &Features<'_>,
) -> Result<Option<Predictions>> {
    let batch = sound(model.predict_batch(features.clone()));
    let one = sound(model.predict(features.clone()));
    assert_eq!(one.is_some(), batch.as_ref().is_some_and(|batch| batch.rows == 1));
    let bound = sound(model.bind(features.clone()));
    if let (Some(batch), Some((inputs, rows))) = (&batch, bound) {
        assert_eq!(rows, batch.rows);
        let again = sound(model.predict_batch(Features::Inputs(inputs)));
        assert!(again.is_some(), "what is bound is fit for the model");
    }
    write(u, model, features, batch.as_ref())?;
    if u.ratio(1, 8)? {
        sound(model.explain(features.clone()));
        sound(model.apply(features.clone()));
    }
    Ok(batch)
}

/// A row alone as buffers have it, with so many labels and scores.
fn flat_row(answer: &Prediction, labels: usize, scores: usize) -> (Vec<i64>, Vec<f64>) {
    let (mut to_labels, mut to_scores) = (vec![NO_LABEL; labels], vec![NO_SCORE; scores]);
    let mut out = Buffers::default().labels(&mut to_labels).scores_f64(&mut to_scores);
    let written = answer.write(&mut out).expect("an answer of labels and scores");
    assert_eq!((written.labels, written.scores), (labels, scores));
    (to_labels, to_scores)
}

/// Asks for each row of a batch alone.
fn alone(model: &dyn Model, data: &[f32], width: usize, batch: &Predictions) {
    let Some((labels, scores)) = flat(batch) else { return };
    if batch.rows == 0 || width == 0 || data.len() != batch.rows * width {
        return;
    }
    let exact = model.info().fast_path;
    let tame = data.iter().all(|x| x.abs() <= 100.0);
    let (label_width, score_width) = (labels.len() / batch.rows, scores.len() / batch.rows);
    for (i, row) in data.chunks(width).enumerate() {
        let answer = sound(model.predict_row(row)).expect("a row of a batch that is answered");
        let (label, score) = flat_row(&answer, label_width, score_width);
        let together = &scores[i * score_width..(i + 1) * score_width];
        if exact {
            assert_eq!(label, labels[i * label_width..(i + 1) * label_width]);
            assert_eq!(all_bits(&score), all_bits(together));
        } else if tame {
            // Products of matrices are summed in an order that depends on the number of rows.
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-3 * a.abs().max(b.abs()).max(1.0);
            assert!(
                score.iter().zip(together).all(|(a, b)| close(*a, *b)),
                "{score:?} {together:?}"
            );
        }
    }
}

/// Rows read in place, of a width and a length that fit, or not.
fn in_place(u: &mut Unstructured<'_>, model: &dyn Model) -> Result<()> {
    const SIZES: [usize; 6] = [0, 1, 65_537, 1 << 32, 1 << 63, usize::MAX];
    let signature = model.signature();
    let widths = signature.inputs.iter().map(|input| input.row_width().unwrap_or(4));
    let mut width: usize = widths.fold(0usize, usize::saturating_add);
    let mut count = u.int_in_range(0..=5)?;
    match u.int_in_range(0..=9)? {
        0 => width = *u.choose(&SIZES)?,
        1 => count = *u.choose(&SIZES)?,
        2 => width = u.int_in_range(0..=20)?,
        _ => {}
    }
    let mut len = count.saturating_mul(width).min(1 << 12);
    match u.int_in_range(0..=9)? {
        0 => len += 1,
        1 => len = len.saturating_sub(1),
        _ => {}
    }
    if u.ratio(1, 3)? {
        let data: Vec<f64> = (0..len)
            .map(|_| Ok(f64::from(float(u)?) + if u.ratio(1, 4)? { 0.1 } else { 0.0 }))
            .collect::<Result<_>>()?;
        rows(u, model, &Features::F64 { data: &data, rows: count, width })?;
        return Ok(());
    }
    let data: Vec<f32> = (0..len).map(|_| float(u)).collect::<Result<_>>()?;
    let features = Features::F32 { data: &data, rows: count, width };
    if let Some(batch) = rows(u, model, &features)? {
        alone(model, &data, width, &batch);
    }
    if count == 1 {
        sound(model.predict_row(&data));
    }
    Ok(())
}

/// A tensor of so many rows for an input: of its type and shape, or of others.
fn fitting(u: &mut Unstructured<'_>, spec: &TensorSpec, rows: usize) -> Result<Tensor> {
    let dtype = match u.ratio(3, 4)? {
        true => spec.dtype().unwrap_or(ElementType::F32),
        false => *u.choose(&ElementType::ALL)?,
    };
    let unknown = [Dim::Unknown];
    let mut dims: Vec<usize> = spec
        .dims()
        .unwrap_or(&unknown)
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(n) => *n,
            _ => rows,
        })
        .collect();
    match u.int_in_range(0..=9)? {
        0 => dims.push(1),
        1 => dims.truncate(1),
        2 => dims = vec![dims.iter().product()],
        3 => dims.insert(0, rows),
        _ => {}
    }
    let shape = Shape::new(&dims).unwrap_or_else(|_| Shape::scalar());
    let data = data(u, dtype, shape.len().min(1 << 12), &WORDS)?;
    Ok(Tensor::new(shape, data).unwrap_or_else(|_| Tensor::scalar(1f32)))
}

/// The inputs by name, with some missing, given twice, or of a name that there is not.
fn named(u: &mut Unstructured<'_>, model: &dyn Model) -> Result<Vec<(String, Tensor)>> {
    let signature = model.signature();
    let count = u.int_in_range(0..=4)?;
    let mut out = Vec::new();
    if let (Some(features), [input]) = (&signature.feature_names, &signature.inputs[..])
        && u.ratio(1, 2)?
    {
        let column = TensorSpec {
            name: String::new(),
            ty: input.dtype().map(|dtype| {
                let dims = Some(vec![Dim::Unknown]);
                ValueType::Tensor { dtype, dims }
            }),
            batch_axis: Some(0),
        };
        for name in features {
            out.push((name.clone(), fitting(u, &column, count)?));
        }
    } else {
        for input in &signature.inputs {
            out.push((input.name.clone(), fitting(u, input, count)?));
        }
    }
    let at = u.int_in_range(0..=out.len())?;
    match u.int_in_range(0..=9)? {
        0 if at < out.len() => drop(out.swap_remove(at)),
        1 if at < out.len() => out.push(out[at].clone()),
        2 if at < out.len() => out[at].0 = (*u.choose(&WORDS)?).to_string(),
        3 => out.reverse(),
        _ => {}
    }
    Ok(out)
}

/// A tensor, or what is none.
fn value(u: &mut Unstructured<'_>, tensor: Tensor) -> Result<Value> {
    Ok(match u.int_in_range(0..=15)? {
        0 => Value::Sequence(vec![tensor.into()]),
        1 => Value::Optional(None),
        2 => Value::Optional(Some(Box::new(tensor.into()))),
        3 => Value::Map(Map { entries: vec![(MapKey::Int(0), tensor.into())] }),
        _ => Value::Tensor(tensor),
    })
}

/// Named inputs to named outputs.
fn run_tensors(u: &mut Unstructured<'_>, model: &dyn Model) -> Result<()> {
    let inputs = named(u, model)?
        .into_iter()
        .map(|(name, tensor)| Ok((name, value(u, tensor)?)))
        .collect::<Result<Vec<_>>>()?;
    let signature = model.signature();
    let known: Vec<&str> = signature.outputs.iter().map(|output| output.name.as_str()).collect();
    let mut wanted: Vec<&str> = Vec::new();
    for _ in 0..u.int_in_range(0..=3)? {
        wanted.push(match u.ratio(7, 8)? {
            true if !known.is_empty() => *u.choose(&known)?,
            _ => *u.choose(&WORDS)?,
        });
    }
    if let Some(outputs) = sound(model.run(inputs, &wanted)) {
        let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, if wanted.is_empty() { known } else { wanted });
    }
    Ok(())
}

/// An array whose elements lie in any order, with holes.
fn array(u: &mut Unstructured<'_>) -> Result<ArrayD<f32>> {
    let rank = u.int_in_range(1..=4)?;
    let dims = (0..rank).map(|_| u.int_in_range(0..=5)).collect::<Result<Vec<usize>>>()?;
    let count: usize = dims.iter().product();
    let elements = (0..count).map(|i| i as f32).collect();
    let mut array = ArrayD::from_shape_vec(IxDyn(&dims), elements).expect("as many elements");
    for _ in 0..u.int_in_range(0..=5)? {
        let Some(last) = array.ndim().checked_sub(1) else { break };
        let axis = u.int_in_range(0..=last)?;
        let len = array.len_of(Axis(axis));
        match u.int_in_range(0..=3)? {
            0 => array.swap_axes(axis, 0),
            1 => array.invert_axis(Axis(axis)),
            2 => {
                let start = u.int_in_range(0..=len)?;
                let end = u.int_in_range(start..=len)?;
                let step = *u.choose(&[1, 2, 3, -1, -2])?;
                let slice = Slice::new(start as isize, Some(end as isize), step);
                array.slice_axis_inplace(Axis(axis), slice);
            }
            _ if len > 0 => {
                let index = u.int_in_range(0..=len - 1)?;
                array = array.index_axis_move(Axis(axis), index);
            }
            _ => {}
        }
    }
    Ok(array)
}

/// The view's tensor, which has its elements in their order.
fn of_view(view: &ArrayViewD<'_, f32>) -> Tensor {
    let expected: Vec<f32> = indices(view.raw_dim()).into_iter().map(|at| view[&at]).collect();
    let tensor = Tensor::from_array_view(view).expect("a small view");
    assert_eq!(tensor.dims(), view.shape());
    assert_eq!(tensor.as_slice::<f32>().expect("floats"), expected);
    tensor
}

/// Rows of an array of any layout.
fn view(u: &mut Unstructured<'_>) -> Result<Tensor> {
    let array = array(u)?;
    let tensor = of_view(&array.view());
    if u.ratio(1, 4)? {
        let shape: Vec<usize> = [2].iter().chain(array.shape()).copied().collect();
        let stretched = array.broadcast(IxDyn(&shape)).expect("a further axis");
        return Ok(of_view(&stretched));
    }
    let moved = Tensor::try_from(array).expect("a small array");
    assert_eq!(moved, tensor);
    Ok(moved)
}

fn case(u: &mut Unstructured<'_>) -> Result<()> {
    let model = &**u.choose(&MODELS)?;
    match u.int_in_range(0..=6)? {
        0 | 1 => in_place(u, model)?,
        2 => {
            let features = Features::Tensor(view(u)?);
            rows(u, model, &features)?;
        }
        3 => {
            let features = Features::Tensor(values::tensor(u, &WORDS)?);
            rows(u, model, &features)?;
        }
        4 => {
            let features = Features::Columns(named(u, model)?);
            rows(u, model, &features)?;
        }
        5 => {
            let tensors = named(u, model)?.into_iter().map(|(_, tensor)| tensor).collect();
            rows(u, model, &Features::Inputs(tensors))?;
        }
        _ => run_tensors(u, model)?,
    }
    Ok(())
}

pub fn run(bytes: &[u8]) {
    // Too few bytes are no error: what they do not say is zero.
    let _ = case(&mut Unstructured::new(bytes));
}
