//! `/infer`.

use super::super::ask::Asked;
use super::super::ask::{Ask, Question, Step};
use super::super::fault::{Fault, Outcome};
use super::{DIALECT, answer, request};
use crate::model::{Ctx, Reply, Request};
use std::time::Instant;

pub(super) fn infer(asked: &Asked<'_>) -> Outcome<Step> {
    let arrived = Instant::now();
    let lease = asked.lease()?;
    let signature = lease.signature()?;
    let body = asked.request.body;
    let json_bytes = json_bytes(asked)?;
    let mut given = request::read(body, json_bytes, asked.name, &signature, asked.http.limits())?;
    let mut ctx = asked.http.context(asked.request, asked.target.clone());
    ctx.deadline = given.timeout.and_then(|timeout| arrived.checked_add(timeout));
    ctx.priority = given.priority;
    let outputs = given.outputs.iter().map(|output| output.name.clone()).collect();
    let inputs = std::mem::take(&mut given.inputs);
    let model = asked.name.to_string();
    let http = asked.http.clone();
    let classes = given.outputs.iter().any(|output| output.classes.is_some());
    let finish = move |reply: Reply, ctx: &Ctx| {
        // Labels of classes are those of the version that answered.
        let answered = if classes { http.answered(&lease, ctx) } else { None };
        let signature = answered.and_then(|lease| lease.signature().ok());
        answer::answer(
            &model,
            ctx.receipt.version,
            &given,
            signature.as_deref(),
            reply.into_tensors()?,
        )
    };
    Ok(Step::Ask(Box::new(Ask {
        handle: asked.handle()?,
        question: Question::Other(Request::Run { inputs, outputs }),
        ctx,
        dialect: DIALECT,
        finish: Box::new(finish),
    })))
}

/// How much of the body is JSON: all of it unless a header says otherwise.
fn json_bytes(asked: &Asked<'_>) -> Outcome<usize> {
    let Some(value) = asked.request.header("Inference-Header-Content-Length") else {
        return Ok(asked.request.body.len());
    };
    let mut all = asked.request.headers_of("Inference-Header-Content-Length");
    if all.any(|other| other != value) {
        return Err(Fault::bad("Inference-Header-Content-Length is given twice"));
    }
    let digits = value.trim().bytes().all(|b| b.is_ascii_digit());
    match value.trim().parse::<usize>() {
        _ if !digits => Err(Fault::bad(format!(
            "Unable to parse Inference-Header-Content-Length, got: {value}"
        ))),
        Ok(0) => Err(Fault::bad(
            "Inference-Header-Content-Length is 0: requests without JSON are not served here",
        )),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(Fault::bad(format!(
            "Unable to parse Inference-Header-Content-Length, got: {value}"
        ))),
    }
}
