//! The model repository extension: which models there are; loading and unloading them, where that
//! is turned on.

use super::super::fault::{Fault, Outcome};
use super::super::json::{Kind, Reader};
use super::super::{Http, HttpRequest, HttpResponse, management};
use super::{DIALECT, missing};
use crate::error::ErrorKind;
use crate::manager::{VersionState, VersionStatus};
use crate::model::Target;
use serde_json::{Value as Json, json};

/// Each version of each model with its state, failed ones with their reason.
pub(super) fn index(http: &Http, request: &HttpRequest<'_>) -> Outcome<HttpResponse> {
    let only_ready = wants_ready(http, request.body)?;
    let mut all = Vec::new();
    for name in http.manager.models() {
        // One that was unloaded a moment ago is not there.
        let Ok(versions) = http.manager.versions(&name) else { continue };
        let wanted = |v: &&VersionStatus| !only_ready || v.state == VersionState::Available;
        all.extend(versions.iter().filter(wanted).map(|v| entry(&name, v)));
    }
    Ok(HttpResponse::json(200, &Json::Array(all)))
}

fn entry(name: &str, status: &VersionStatus) -> Json {
    let state = match status.state {
        VersionState::Available => "READY",
        VersionState::Start | VersionState::Loading => "LOADING",
        VersionState::Unloading => "UNLOADING",
        VersionState::End => "UNAVAILABLE",
    };
    let reason = match (status.error, status.state) {
        (Some(_), _) => status.remote_message.clone(),
        (None, VersionState::End) => "unloaded".to_string(),
        _ => String::new(),
    };
    json!({
        "name": name,
        "version": status.version.to_string(),
        "state": state,
        "reason": reason,
    })
}

fn wants_ready(http: &Http, body: &[u8]) -> Outcome<bool> {
    let mut ready = false;
    object(http, body, |reader, key| {
        let peek = reader.peek()?;
        if key != "ready" {
            return reader.skip(peek, 1);
        }
        ready = match reader.kind(peek)? {
            Kind::Bool => reader.bool(peek)?,
            _ => return Err(Fault::bad("Unable to parse 'ready': no boolean")),
        };
        Ok(())
    })?;
    Ok(ready)
}

/// Calls `member` with each key of the object in `body`, which may be empty.
fn object(
    http: &Http,
    body: &[u8],
    mut member: impl FnMut(&mut Reader<'_>, &str) -> Outcome<()>,
) -> Outcome<()> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let mut reader = Reader::new(body, DIALECT, http.limits());
    let peek = reader.peek()?;
    if reader.kind(peek)? != Kind::Object {
        reader.skip(peek, 0)?;
        return Err(Fault::bad("failed to parse the request JSON buffer: it is no object"));
    }
    let mut next = reader.object(str::to_string)?;
    while let Some(key) = next {
        member(&mut reader, &key)?;
        next = reader.key(str::to_string)?;
    }
    reader.finish()
}

/// Loads the newest version of a model that lies here. Files and configurations that come with the
/// request are refused: a request names models, it does not bring any.
pub(super) fn load(http: &Http, request: &HttpRequest<'_>, name: &str) -> Outcome<HttpResponse> {
    if let Err(refused) = management::allowed(http, request, DIALECT) {
        return Ok(refused);
    }
    object(http, request.body, |reader, key| {
        let peek = reader.peek()?;
        if key != "parameters" || reader.kind(peek)? != Kind::Object {
            return reader.skip(peek, 1);
        }
        let mut next = reader.object(str::to_string)?;
        while let Some(name) = next {
            if name == "config" || name.starts_with("file:") {
                return Err(Fault::bad(format!(
                    "'{name}': models are loaded from the server's own files only"
                )));
            }
            let peek = reader.peek()?;
            reader.skip(peek, 2)?;
            next = reader.key(str::to_string)?;
        }
        Ok(())
    })?;
    management::load(http, name)?;
    Ok(HttpResponse::json_text(200, ""))
}

/// Takes a model out of service; requests under way finish.
pub(super) fn unload(http: &Http, request: &HttpRequest<'_>, name: &str) -> Outcome<HttpResponse> {
    if let Err(refused) = management::allowed(http, request, DIALECT) {
        return Ok(refused);
    }
    object(http, request.body, |reader, _| {
        let peek = reader.peek()?;
        reader.skip(peek, 1)
    })?;
    match http.manager.unload(name) {
        Ok(()) => Ok(HttpResponse::json_text(200, "")),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(missing(name, &Target::Serving)),
        Err(e) => Err(e.into()),
    }
}
