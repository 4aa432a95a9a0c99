//! The reference server: `/health`, `/predict`, `/predict/batch` and `/model/reload`.
//!
//! Its answers are those of the FastAPI server whose clients and load balancers exist; its faults
//! are not kept: the version is the one that answered, probabilities and label come from one run,
//! a model that is not there is 503 (a proxy tries the next server), and bad input is 400 (it must
//! not).

mod answer;
mod body;

use super::ask::{Ask, Question, Step};
use super::fault::{Dialect, Fault, Outcome};
use super::json::string;
use super::path::query_value;
use super::{Http, HttpRequest, HttpResponse, management};
use crate::error::ErrorKind;
use crate::manager::ModelHandle;
use crate::model::{Ctx, Features, Reply, Request, Target};
use crate::tensor::{Element, ElementType, Tensor};
use answer::{all, echo, one};
use body::read;
use serde_json::json;
use std::io::Write as _;

const DIALECT: Dialect = Dialect::Reference;
const NOT_LOADED: &str = "Model not loaded";

pub(super) fn route(http: &Http, request: &HttpRequest<'_>) -> Step {
    let (method, answer): (_, fn(&Http, &HttpRequest<'_>) -> Outcome<Step>) = match request.path() {
        "/health" => ("GET", |http, _| Ok(Step::Answered(health(http)))),
        "/predict" => ("POST", predict),
        "/predict/batch" => ("POST", predict_batch),
        "/model/reload" => ("POST", |http, request| reload(http, request).map(Step::Answered)),
        _ => return Step::Answered(DIALECT.refuse(404, "Not Found")),
    };
    if request.method != method {
        return Step::Answered(DIALECT.refuse(405, "Method Not Allowed").with("Allow", method));
    }
    answer(http, request).unwrap_or_else(|fault| Step::Answered(DIALECT.fault(&fault)))
}

impl Http {
    /// The model that requests mean which name none.
    fn default_name(&self) -> Outcome<String> {
        if let Some(name) = &self.options.default_model {
            return Ok(name.clone());
        }
        let mut models = self.manager.models();
        match (models.pop(), models.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(Fault::own(ErrorKind::NotReady, NOT_LOADED)),
            (Some(_), false) => Err(Fault::own(
                ErrorKind::NotReady,
                "Model not loaded: there are several, and none is the default_model",
            )),
        }
    }

    /// That model, and the version of it that serves now.
    fn default_lease(&self) -> Outcome<(ModelHandle, ModelHandle)> {
        let name = self.default_name()?;
        let not_loaded = |_| Fault::own(ErrorKind::NotReady, NOT_LOADED);
        let serving = self.lease(&name, &Target::Serving).map_err(not_loaded)?;
        Ok((self.manager.model(&name).map_err(not_loaded)?, serving))
    }
}

/// 503 without a model, so that a load balancer that looks here sends requests elsewhere.
fn health(http: &Http) -> HttpResponse {
    let name = http.default_name().ok();
    let ready = |name: &String| matches!(http.manager.can_answer(name, &Target::Serving), Ok(true));
    let handle = name.filter(ready).and_then(|name| http.manager.model(&name).ok());
    let stats = handle.and_then(|handle| handle.stats().ok());
    let predictions = stats.as_ref().map_or(0, |s| s.versions.iter().map(|v| v.rows).sum::<u64>());
    let body = json!({
        "status": if stats.is_some() { "healthy" } else { "unhealthy" },
        "model_loaded": stats.is_some(),
        "uptime_seconds": http.manager.uptime().as_secs_f64(),
        "total_predictions": predictions,
    });
    HttpResponse::json(if stats.is_some() { 200 } else { 503 }, &body)
}

/// Whether the model's inputs are `float32`, which rows are then read as.
fn takes_f32(serving: &ModelHandle) -> Outcome<bool> {
    let signature = serving.signature()?;
    let f32 = |dtype| matches!(dtype, None | Some(ElementType::F32));
    Ok(signature.inputs.iter().all(|input| f32(input.dtype())))
}

fn tensor<T: Element>(rows: usize, width: usize, values: Vec<T>) -> Outcome<Features<'static>> {
    Ok(Features::Tensor(Tensor::from_vec(&[rows, width], values)?))
}

fn predict(http: &Http, request: &HttpRequest<'_>) -> Outcome<Step> {
    let (handle, serving) = http.default_lease()?;
    let (question, id) = if takes_f32(&serving)? {
        let body = read::<f32>(http, request, "features", false)?;
        (Question::Row(body.values), body.id)
    } else {
        let body = read::<f64>(http, request, "features", false)?;
        let row = tensor(1, body.values.len(), body.values)?;
        (Question::Other(Request::Row(row)), body.id)
    };
    let http_of_answer = http.clone();
    let finish = move |reply: Reply, ctx: &Ctx| {
        let prediction = reply.into_row()?;
        let mut out = Vec::with_capacity(192);
        out.push(b'{');
        one(&prediction, &mut out)?;
        out.extend_from_slice(b",\"model_version\":");
        string(&http_of_answer.version_shown(&serving, ctx), &mut out);
        let _ = write!(out, ",\"latency_ms\":{:?}", prediction.latency.as_nanos() as f64 / 1e6);
        echo(id.as_deref(), &mut out);
        Ok(HttpResponse::json_text(200, out))
    };
    let ctx = http.context(request, Target::Serving);
    let finish = Box::new(finish);
    Ok(Step::Ask(Box::new(Ask { handle, question, ctx, dialect: DIALECT, finish })))
}

fn predict_batch(http: &Http, request: &HttpRequest<'_>) -> Outcome<Step> {
    let (handle, serving) = http.default_lease()?;
    let (question, id) = if takes_f32(&serving)? {
        let body = read::<f32>(http, request, "instances", true)?;
        let (rows, width) = body.rows.unwrap_or_default();
        (Question::Batch { data: body.values, rows, width }, body.id)
    } else {
        let body = read::<f64>(http, request, "instances", true)?;
        let (rows, width) = body.rows.unwrap_or_default();
        (Question::Other(Request::Batch(tensor(rows, width, body.values)?)), body.id)
    };
    let http_of_answer = http.clone();
    let finish = move |reply: Reply, ctx: &Ctx| {
        let predictions = reply.into_batch()?;
        let mut out = Vec::with_capacity(64 + 64 * predictions.rows);
        out.extend_from_slice(b"{\"predictions\":[");
        all(&predictions, &mut out)?;
        out.extend_from_slice(b"],\"model_version\":");
        string(&http_of_answer.version_shown(&serving, ctx), &mut out);
        let _ = write!(out, ",\"batch_size\":{}", predictions.rows);
        echo(id.as_deref(), &mut out);
        Ok(HttpResponse::json_text(200, out))
    };
    let ctx = http.context(request, Target::Serving);
    let finish = Box::new(finish);
    Ok(Step::Ask(Box::new(Ask { handle, question, ctx, dialect: DIALECT, finish })))
}

impl Http {
    /// The version that answered, as people know it.
    fn version_shown(&self, asked: &ModelHandle, ctx: &Ctx) -> String {
        let shown = self.answered(asked, ctx).and_then(|lease| lease.display_version().ok());
        shown.unwrap_or_else(|| ctx.receipt.version.to_string())
    }
}

/// Loads the next version of the model: from `model_path` beneath the root, or from its own file
/// again.
fn reload(http: &Http, request: &HttpRequest<'_>) -> Outcome<HttpResponse> {
    if let Err(refused) = management::allowed(http, request, DIALECT) {
        return Ok(refused);
    }
    let name = http.default_name()?;
    let path = query_value(request.query(), "model_path");
    let version = management::reload(http, &name, path.as_deref())?;
    Ok(HttpResponse::json(200, &json!({ "status": "reloaded", "version": version })))
}
