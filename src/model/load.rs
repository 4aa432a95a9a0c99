//! Source → Graph → Plan → Model.

use super::fast::FastPath;
use super::graph_model::contain;
use super::interpret::interpret;
use super::{
    Classes, Features, Format, GraphModel, Insight, LoadOptions, Model, ModelInfo, Signature, Task,
};
use crate::attribute::Attribute;
use crate::error::{Result, bail, ensure};
use crate::format::booster::{self, Library};
use crate::graph::{Dim, Graph, ValueType};
use crate::plan::{CompileOptions, Plan, RowColumn, RunOptions, compile};
use crate::problem::{Problems, ReadOn};
use crate::room;
use crate::source::{self, Source};
use crate::tensor::{Data, Element, ElementType, Shape, Tensor, Value, for_each_type};
use crate::threads::Threads;
use bytes::Bytes;
use smallvec::SmallVec;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Loads a model file, or the one that lies in a folder: `model.onnx`, `model.safetensors` with
/// `config.json` (or `model.safetensors.index.json` for several files), `model.ubj`, `model.json`,
/// `model.txt`, or the only `.onnx` file. No code in it is executed; companions (external data,
/// `config.json`) are read beneath its own folder only.
///
/// # Errors
/// `NotFound`, `PermissionDenied` or `Io` for the file; `NotFound` for a folder without a model,
/// `InvalidArgument` for one with several; `InvalidModel`, `Unsupported` (naming
/// operators and nodes) or `LimitExceeded` for its content; `InvalidArgument` for options that do
/// not fit it.
pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<GraphModel> {
    let path = path.as_ref();
    contain(|| {
        let file = source::resolve(path, options.config.is_some())?;
        load_source(&Source::open(&file, &options.limits)?, options)
    })
}

/// Loads a model from bytes, which have no companion files (give a safetensors model its layer
/// description in [`LoadOptions::config`]).
///
/// # Errors
/// As [`load`].
pub fn load_bytes(bytes: impl Into<Bytes>, options: &LoadOptions) -> Result<GraphModel> {
    let bytes = bytes.into();
    contain(|| load_source(&Source::from_bytes(bytes), options))
}

fn load_source(source: &Source, options: &LoadOptions) -> Result<GraphModel> {
    let began = Instant::now();
    let version = options.version.unwrap_or(1);
    ensure!(
        (1..=i64::MAX as u64).contains(&version),
        InvalidArgument,
        "version {version} is outside 1 to 2^63-1"
    );
    let format = format_of(source, options)?;
    source.digest_aside();
    let mut problems = Problems::new(ReadOn::Unsupported);
    let graph = import(source, format, options, &mut problems)?;
    let read_whole = problems.is_empty();
    let insight = options.explain.then(|| insight(&graph)).flatten();
    let mut outline = outline(&graph);
    let compiling = CompileOptions { limits: &options.limits, plan: options.plan };
    let plan = compile(graph, compiling, &mut problems).map_err(|e| match source.path() {
        // As what is wrong with the file itself is said.
        Some(path) if !read_whole => e.context_of_host(path.display()),
        _ => e,
    })?;
    let threads = Threads::new(options.threads);
    let (probed, plan_ns) = probe(&outline, &plan, &threads, options)?;
    let (signature, reading) = interpret(&outline, &probed, options)?;
    let signature = Arc::new(signature);
    let fast = FastPath::new(&plan, &reading, signature.task);
    let info = ModelInfo {
        name: None,
        version,
        display_version: options.display_version.clone(),
        format,
        signature: signature.clone(),
        weight_bytes: plan.weight_bytes(),
        digest: source.digest().into(),
        companions: source.companions_digest().into(),
        path: source.path().map(Path::to_path_buf),
        options: Arc::new(options.clone()),
        loaded_at: SystemTime::now(),
        load_duration: Duration::ZERO,
        metadata: std::mem::take(&mut outline.metadata),
        fast_path: fast.is_some(),
        deterministic: !plan.is_random(),
    };
    let limits = options.request_limits.clone();
    let mut model = GraphModel {
        plan,
        signature,
        reading,
        fast,
        threads,
        limits,
        finite_inputs: options.finite_inputs,
        info,
        insight,
        row_ns: plan_ns,
    };
    measure_fast_path(&mut model);
    model.info.load_duration = began.elapsed();
    Ok(model)
}

/// The format asked for, or told from the name, else from the first bytes.
///
/// # Errors
/// `Unsupported` for a file that is known not to be one that is read.
pub(crate) fn format_of(source: &Source, options: &LoadOptions) -> Result<Format> {
    if let Some(format) = options.format {
        return Ok(format);
    }
    #[cfg(feature = "safetensors")]
    if source.path().is_some_and(crate::format::safetensors::is_index) {
        return Ok(Format::Safetensors);
    }
    match source.path().and_then(Path::extension).and_then(|e| e.to_str()) {
        Some("onnx") => return Ok(Format::Onnx),
        Some("safetensors") => return Ok(Format::Safetensors),
        Some("ubj") => return Ok(Format::XgBoost),
        Some("cbm") => bail!(
            Unsupported,
            "CatBoost's binary format is not read: save_model(path, format=\"json\") writes one \
             that is"
        ),
        Some("pkl" | "pickle" | "joblib" | "pt" | "pth" | "bin") => bail!(
            Unsupported,
            "this kind of file holds code that loading would run; convert it first (Python: \
             modelserve.convert for scikit-learn, torch.onnx.export for PyTorch)"
        ),
        _ => {}
    }
    Ok(match Library::sniff(source.bytes()) {
        Some(Library::XgBoost) => Format::XgBoost,
        Some(Library::LightGbm) => Format::LightGbm,
        Some(Library::CatBoost) => Format::CatBoost,
        // A safetensors file is an eight-byte length, then a JSON object.
        None if source.bytes().get(8) == Some(&b'{') => Format::Safetensors,
        None => Format::Onnx,
    })
}

/// The file's graph; what `problems` let pass is missing in it.
///
/// # Errors
/// As [`load`], for the content.
pub(crate) fn import(
    source: &Source,
    format: Format,
    options: &LoadOptions,
    #[cfg_attr(not(feature = "onnx"), allow(unused_variables))] problems: &mut Problems,
) -> Result<Graph> {
    match format {
        #[cfg(feature = "onnx")]
        Format::Onnx => crate::format::onnx::import(source, &options.limits, problems),
        #[cfg(feature = "safetensors")]
        Format::Safetensors => match &options.config {
            Some(config) => {
                crate::format::safetensors::import_with_config(source, config, &options.limits)
            }
            None => crate::format::safetensors::import(source, &options.limits),
        },
        Format::XgBoost => native(source, Library::XgBoost, options),
        Format::LightGbm => native(source, Library::LightGbm, options),
        Format::CatBoost => native(source, Library::CatBoost, options),
        Format::Native => bail!(InvalidArgument, "a native model is made in code, not loaded"),
        #[cfg(not(all(feature = "onnx", feature = "safetensors")))]
        other => bail!(Unsupported, "this build reads no {} files", other.name()),
    }
}

/// A native file of a boosting library. The file has no class labels but numbers (CatBoost's
/// apart): those of the options take their place.
fn native(source: &Source, library: Library, options: &LoadOptions) -> Result<Graph> {
    let labels = options.classes.as_ref().map(|classes| match classes {
        Classes::Int(v) => ("classlabels_int64s", Attribute::Ints(v.clone())),
        Classes::Str(v) => {
            let names = v.iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect();
            ("classlabels_strings", Attribute::Strings(names))
        }
    });
    booster::import(library, source.bytes(), labels, &options.limits)
}

/// What explains the answers of a graph that is one booster.
fn insight(graph: &Graph) -> Option<Arc<Insight>> {
    let [node] = graph.nodes.as_slice() else { return None };
    let booster = node.attributes.booster_opt("booster").ok().flatten()?.clone();
    Some(Arc::new(Insight::new(booster)))
}

/// The graph without its sub-graphs, for reading the meaning after the plan has taken the rest
/// (constants are shared, not copied).
pub(crate) fn outline(graph: &Graph) -> Graph {
    let mut outline = graph.clone();
    for node in &mut outline.nodes {
        node.subgraphs.clear();
    }
    outline
}

/// What the outputs of a graph mean, as far as that is known before a run.
pub(crate) struct Meaning {
    /// The interface, as the file declares it.
    pub signature: Signature,
    /// The output with the labels.
    pub label: Option<usize>,
    /// The output with scores, probabilities or values.
    pub scores: Option<usize>,
    /// Whether the scores are logits, of which probabilities are made.
    pub logits: bool,
}

/// Reads the meaning of an outline.
///
/// # Errors
/// `InvalidArgument` for options that do not fit it, `InvalidModel` for metadata that does not.
pub(crate) fn meaning(outline: &Graph, options: &LoadOptions) -> Result<Meaning> {
    let (signature, reading) = interpret(outline, &vec![None; outline.outputs.len()], options)?;
    Ok(Meaning { signature, label: reading.label, scores: reading.scores, logits: reading.logits })
}

/// Runs the plan once on a row of zeros, to learn what the outputs really are and how long a row
/// takes. A model whose inputs cannot be guessed, or which refuses zeros, is taken as declared;
/// a defect shows here rather than in front of a user.
fn probe(
    graph: &Graph,
    plan: &Plan,
    threads: &Threads,
    options: &LoadOptions,
) -> Result<(Vec<Option<ValueType>>, u64)> {
    /// Elements of a guessed input above which probing would make loading slow.
    const MAX_PROBE: usize = 1 << 20;
    let unknown = Ok((vec![None; graph.outputs.len()], 0));
    let mut values: SmallVec<[Value; 4]> = SmallVec::new();
    for id in &graph.inputs {
        let Some(ValueType::Tensor { dtype, dims: Some(dims) }) = &graph.value(*id).declared else {
            return unknown;
        };
        let mut shape: SmallVec<[usize; 6]> = SmallVec::new();
        for (axis, dim) in dims.iter().enumerate() {
            match dim {
                Dim::Fixed(n) => shape.push(*n),
                _ if axis == 0 => shape.push(1),
                _ => return unknown,
            }
        }
        let shape = Shape::new(&shape)?;
        if shape.len() > MAX_PROBE {
            return unknown;
        }
        values.push(zeros(*dtype, shape)?.into());
    }
    let run = RunOptions { threads, limits: &options.request_limits, deadline: None, cancel: None };
    let began = Instant::now();
    let outputs = match plan.run(values, &[], run) {
        Ok(outputs) => outputs,
        Err(e) if e.kind() == crate::ErrorKind::Unsupported => return Err(e),
        Err(_) => return unknown,
    };
    let ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok((outputs.iter().map(type_of).collect(), ns))
}

fn zeros(dtype: ElementType, shape: Shape) -> Result<Tensor> {
    fn fill<T: Element>(elements: &mut Vec<T>, len: usize) -> Result<()> {
        *elements = room::filled(len, T::default())?;
        Ok(())
    }
    let mut data = Data::zeros(dtype, 0);
    for_each_type!(&mut data, elements => fill(elements, shape.len()))?;
    Tensor::new(shape, data)
}

fn type_of(value: &Value) -> Option<ValueType> {
    match value {
        Value::Tensor(t) => Some(ValueType::Tensor {
            dtype: t.dtype(),
            dims: Some(t.dims().iter().map(|&n| Dim::Fixed(n)).collect()),
        }),
        _ => None,
    }
}

/// Times the row program, once it is warm: what decides about threads must not be the first,
/// cold run.
fn measure_fast_path(model: &mut GraphModel) {
    let columns = match (model.plan.row_program(), model.plan.wide_row_program()) {
        (Some(program), _) => program.columns(),
        (None, Some(program)) => program.columns(),
        (None, None) => return,
    };
    /// Features of a row above which trying would make loading slow.
    const MAX_WIDTH: usize = 1 << 20;
    let width = columns.iter().map(RowColumn::width).fold(0, usize::saturating_add);
    if model.fast.is_none() || model.signature.task == Task::Tensors || width > MAX_WIDTH {
        return;
    }
    // Fewer than trees are folded for: the form for batches is not made for this.
    let rows = 12;
    let probes: Result<Vec<Tensor>> = columns.iter().map(|c| trial_rows(c, rows)).collect();
    let Ok(probes) = probes else { return };
    let mut best = u64::MAX;
    for _ in 0..3 {
        let features = Features::Inputs(probes.clone());
        let began = Instant::now();
        if model.predict_batch(features).is_err() {
            return;
        }
        best = best.min(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    model.row_ns = best / rows as u64;
}

/// Rows to try an input with: zeros, and texts of some words.
fn trial_rows(column: &RowColumn, rows: usize) -> Result<Tensor> {
    let shape = Shape::new(&[rows, column.width()])?;
    match *column {
        RowColumn::Numbers { dtype, .. } => zeros(dtype, shape),
        RowColumn::Texts { .. } => {
            let text = "a few words as most texts have them, and some more".to_string();
            Tensor::new(shape.clone(), Data::String(vec![text; shape.len()]))
        }
    }
}
