//! Whether requests of a version can share a run.

use crate::handle::modelserve_manager;
use crate::report::report;
use crate::status::modelserve_status;
use modelserve::Target;
use modelserve::policy::batch::Invariance;
use serde_json::{Value as Json, json};
use std::ffi::c_char;

/// What the probe found that asked a version of `name` (`version` 0: the serving one) with random
/// rows, alone and in batches, when its batching was set up, as a JSON object:
///
/// - `found`: `bit_equal` (the same bits alone and in a batch), `close` (within 0.1 %), `differs`
///   (answers depend on the batch: nothing is batched), `not_rows` (requests cannot share a run),
///   `unknown` (it could not be tried) or `not_needed` (nothing is to be batched);
/// - `worst`: of `close` and `differs` the largest difference, relative to the largest number of
///   the row's answer; null where there is none, or where something other than a number differs;
/// - `reason`: of `not_rows` and `unknown`, why; else null;
/// - `text`, the same to read.
///
/// `null` where neither batching nor admission is configured.
///
/// Errors: NOT_FOUND for the name or the version; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_batching(
    manager: modelserve_manager,
    name: *const c_char,
    version: u64,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    let target = if version == 0 { Target::Serving } else { Target::Version(version) };
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            let found = manager.batching(name, &target)?;
            Ok(found.as_ref().map_or(Json::Null, found_json).to_string())
        })
    }
}

fn found_json(found: &Invariance) -> Json {
    let (word, worst, reason) = match found {
        Invariance::NotNeeded => ("not_needed", None, None),
        Invariance::BitEqual => ("bit_equal", None, None),
        Invariance::Close { worst } => ("close", Some(*worst), None),
        // Infinite where a label differs: JSON has no such number, it becomes null.
        Invariance::Differs { worst } => ("differs", Some(*worst), None),
        Invariance::NotRows { reason } => ("not_rows", None, Some(reason)),
        Invariance::Unknown { reason } => ("unknown", None, Some(reason)),
        _ => ("other", None, None),
    };
    json!({ "found": word, "worst": worst, "reason": reason, "text": found.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_told_with_its_figures() {
        let differs = found_json(&Invariance::Differs { worst: f64::INFINITY });
        assert_eq!((&differs["found"], &differs["worst"]), (&json!("differs"), &Json::Null));
        let close = found_json(&Invariance::Close { worst: 0.5 });
        assert_eq!((&close["found"], &close["worst"]), (&json!("close"), &json!(0.5)));
        let none = found_json(&Invariance::NotRows { reason: "why".into() });
        assert_eq!((&none["found"], &none["reason"]), (&json!("not_rows"), &json!("why")));
    }
}
