//! Where the versions of a model are in their lives.

use super::super::fault::{Fault, Outcome};
use super::super::{Http, HttpResponse};
use crate::error::ErrorKind;
use crate::manager::VersionStatus;
use crate::model::Target;
use serde_json::{Value as Json, json};

/// The versions of a model, newest first; one where its number is given. Answers 200 whatever the
/// state. A label in the path is not looked at, as there.
pub(super) fn status(http: &Http, name: &str, target: &Target) -> Outcome<HttpResponse> {
    let wanted = match target {
        Target::Version(version) => Some(*version),
        Target::Serving | Target::Label(_) => None,
    };
    let mut all = http.manager.versions(name).unwrap_or_default();
    all.retain(|status| wanted.is_none_or(|version| status.version == version));
    all.sort_by_key(|status| std::cmp::Reverse(status.version));
    if all.is_empty() {
        let message = match wanted {
            Some(version) => format!("Could not find version {version} of model {name}"),
            None => format!("Could not find any versions of model {name}"),
        };
        return Err(Fault::own(ErrorKind::NotFound, message));
    }
    let versions: Vec<Json> = all.iter().map(version).collect();
    Ok(pretty(&json!({ "model_version_status": versions })))
}

fn version(status: &VersionStatus) -> Json {
    let code = status.error.map_or("OK", |kind| kind.http().tensorflow_code);
    json!({
        "version": status.version.to_string(),
        "state": status.state.name(),
        "status": { "error_code": code, "error_message": status.remote_message },
    })
}

/// A JSON value as protobuf's printer lays it out.
pub(super) fn pretty(value: &Json) -> HttpResponse {
    HttpResponse::json_text(200, format!("{value:#}\n"))
}
