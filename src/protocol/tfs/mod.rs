//! TensorFlow Serving's REST interface, version 1.

mod answer;
mod examples;
mod metadata;
mod path;
mod predict;
mod results;
mod status;
mod tensors;

use super::ask::{Asked, Step};
use super::fault::{Dialect, Fault, Outcome};
use super::{Http, HttpRequest, HttpResponse};
use crate::error::ErrorKind;
use crate::model::Target;
use path::{Choose, Get, Post};

const DIALECT: Dialect = Dialect::TensorFlow;
/// The name of the one signature that a model has here.
const SIGNATURE: &str = "serving_default";

pub(super) fn route(http: &Http, request: &HttpRequest<'_>) -> Step {
    let answer = match request.method {
        "POST" => post(http, request),
        "GET" => get(http, request).map(Step::Answered),
        _ => Err(Refusal::Malformed),
    };
    answer.unwrap_or_else(|refusal| {
        Step::Answered(match refusal {
            Refusal::Malformed => {
                let (method, path) = (request.method, request.path());
                DIALECT.refuse(400, &format!("Malformed request: {method} {path}"))
            }
            // The original leaves before it writes its error.
            Refusal::Version => HttpResponse::json_text(400, ""),
            Refusal::Fault(fault) => DIALECT.fault(&fault),
        })
    })
}

/// Why a request gets no answer.
enum Refusal {
    /// Its path is none of this protocol's.
    Malformed,
    /// Its version is no int64.
    Version,
    Fault(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::Fault(fault)
    }
}

fn post(http: &Http, request: &HttpRequest<'_>) -> Result<Step, Refusal> {
    let Some(Post { name, choose, method }) = Post::of(request.path()) else {
        return Err(Refusal::Malformed);
    };
    let target = target(&choose)?;
    let asked = Asked { http, request, name: &name, target, missing };
    // Captured in any case, compared as it stands.
    Ok(match method {
        "predict" => predict::predict(&asked)?,
        "classify" => examples::classify(&asked)?,
        "regress" => examples::regress(&asked)?,
        _ => return Err(Refusal::Malformed),
    })
}

fn get(http: &Http, request: &HttpRequest<'_>) -> Result<HttpResponse, Refusal> {
    let Some(Get { name, choose, metadata }) = Get::of(request.path()) else {
        return Err(Refusal::Malformed);
    };
    let target = target(&choose)?;
    let Some(name) = name else {
        return Err(Fault::bad("Missing model name in request.").into());
    };
    if metadata {
        let asked = Asked { http, request, name: &name, target, missing };
        return Ok(metadata::metadata(&asked)?);
    }
    Ok(status::status(http, &name, &target)?)
}

fn target(choose: &Choose) -> Result<Target, Refusal> {
    Ok(match choose {
        Choose::Serving => Target::Serving,
        Choose::Label(label) => Target::Label(label.as_str().into()),
        Choose::Version(digits) => match digits.parse::<i64>() {
            Ok(version) => Target::Version(version.unsigned_abs()),
            Err(_) => return Err(Refusal::Version),
        },
    })
}

/// What is said of a model, version or label that is not there.
fn missing(name: &str, target: &Target) -> Fault {
    let what = match target {
        Target::Serving => format!("Latest({name})"),
        Target::Version(version) => format!("Specific({name}, {version})"),
        Target::Label(label) => {
            return Fault::bad(format!("Unrecognized servable version label: {label}"));
        }
    };
    Fault::own(ErrorKind::NotFound, format!("Servable not found for request: {what}"))
}

/// Refuses a signature that there is not.
fn check_signature(name: Option<&str>) -> Outcome<()> {
    match name {
        None | Some("" | SIGNATURE) => Ok(()),
        Some(other) => Err(Fault::bad(format!(
            "Serving signature name: \"{other}\" not found in signature def"
        ))),
    }
}
