//! The Open Inference Protocol, version 2, with Triton's extensions: binary tensors,
//! classification, the model repository, statistics.

mod answer;
mod binary;
mod classification;
mod infer;
mod inputs;
mod metadata;
mod parameters;
mod path;
mod repository;
mod request;
mod stats;

use super::ask::{Asked, Step};
use super::fault::{Dialect, Fault, Outcome};
use super::{Http, HttpRequest, HttpResponse};
use crate::error::ErrorKind;
use crate::model::Target;
use crate::tensor::ElementType;
use path::{Path, What};
use serde_json::json;

const DIALECT: Dialect = Dialect::V2;

pub(super) fn route(http: &Http, request: &HttpRequest<'_>) -> Step {
    let Some(path) = Path::of(request.path()) else {
        return Step::Answered(DIALECT.refuse(404, "Not Found"));
    };
    let method = path.method();
    if request.method != method {
        return Step::Answered(DIALECT.refuse(405, "Method Not Allowed").with("Allow", method));
    }
    answer(http, request, &path).unwrap_or_else(|fault| Step::Answered(DIALECT.fault(&fault)))
}

fn answer(http: &Http, request: &HttpRequest<'_>, path: &Path) -> Outcome<Step> {
    Ok(Step::Answered(match path {
        Path::Server => metadata::server(),
        Path::Live => HttpResponse::json(200, &json!({ "live": true })),
        Path::Ready => ready(http),
        Path::AllStats => stats::all(http),
        Path::Index => repository::index(http, request)?,
        Path::Load(name) => repository::load(http, request, name)?,
        Path::Unload(name) => repository::unload(http, request, name)?,
        Path::Model { name, version, what } => {
            let target = target(version.as_deref())?;
            let asked = Asked { http, request, name, target, missing };
            match what {
                What::Infer => return infer::infer(&asked),
                What::Metadata => metadata::model(&asked)?,
                What::Config => metadata::config(&asked)?,
                What::Ready => model_ready(&asked)?,
                What::Stats => stats::model(&asked)?,
            }
        }
    }))
}

/// Ready to answer: the default model is loaded, or, where none is named, any model is.
fn ready(http: &Http) -> HttpResponse {
    let manager = &http.manager;
    let can = |name: &String| matches!(manager.can_answer(name, &Target::Serving), Ok(true));
    let ready = match &http.options.default_model {
        Some(name) => can(name),
        None => manager.models().iter().any(can),
    };
    HttpResponse::json(if ready { 200 } else { 503 }, &json!({ "ready": ready }))
}

fn target(version: Option<&str>) -> Outcome<Target> {
    let Some(text) = version else { return Ok(Target::Serving) };
    match text.parse::<i64>() {
        Ok(version) if version > 0 => Ok(Target::Version(version.unsigned_abs())),
        _ => Err(Fault::bad(format!(
            "failed to get model version from specified version string '{text}', version should \
             be an integral value > 0"
        ))),
    }
}

/// What is said of a model or version that is not there.
fn missing(name: &str, target: &Target) -> Fault {
    let version = match target {
        Target::Version(version) => format!(" version {version}"),
        Target::Serving | Target::Label(_) => String::new(),
    };
    let message = format!("Request for unknown model: '{name}'{version} is not found");
    Fault::own(ErrorKind::NotFound, message)
}

fn model_ready(asked: &Asked<'_>) -> Outcome<HttpResponse> {
    if asked.known()? {
        return Ok(HttpResponse::json(200, &json!({ "name": asked.name, "ready": true })));
    }
    let why = "Model version not ready";
    let body = json!({ "name": asked.name, "ready": false, "error": why });
    Ok(HttpResponse::json(503, &body))
}

/// The protocol's name of an element type.
fn datatype(dtype: ElementType) -> &'static str {
    match dtype {
        ElementType::F32 => "FP32",
        ElementType::F64 => "FP64",
        ElementType::F16 => "FP16",
        ElementType::BF16 => "BF16",
        ElementType::I8 => "INT8",
        ElementType::I16 => "INT16",
        ElementType::I32 => "INT32",
        ElementType::I64 => "INT64",
        ElementType::U8 => "UINT8",
        ElementType::U16 => "UINT16",
        ElementType::U32 => "UINT32",
        ElementType::U64 => "UINT64",
        ElementType::Bool => "BOOL",
        ElementType::String => "BYTES",
        // The protocol has no names for these.
        other => other.name(),
    }
}

/// The element type of that name.
fn element_type(name: &str) -> Option<ElementType> {
    Some(match name {
        "FP32" => ElementType::F32,
        "FP64" => ElementType::F64,
        "FP16" => ElementType::F16,
        "BF16" => ElementType::BF16,
        "INT8" => ElementType::I8,
        "INT16" => ElementType::I16,
        "INT32" => ElementType::I32,
        "INT64" => ElementType::I64,
        "UINT8" => ElementType::U8,
        "UINT16" => ElementType::U16,
        "UINT32" => ElementType::U32,
        "UINT64" => ElementType::U64,
        "BOOL" => ElementType::Bool,
        "BYTES" => ElementType::String,
        _ => return None,
    })
}
