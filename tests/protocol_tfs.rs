//! TensorFlow Serving's REST interface, as its clients know it.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Expected;
use common::http::{Web, echo, error, every_truncation_is_refused, json, source, specs, text};
use modelserve::policy::batch::BatchOptions;
use modelserve::tensor::{ElementType as T, Tensor};
use modelserve::{
    Ctx, Error, ErrorKind, FnModel, HttpOptions, LoadOptions, ModelManager, Policies,
    ReloadOptions, Reply, Request, Signature,
};
use serde_json::{Value as Json, json as j};

const IRIS: &str = "/v1/models/iris_v1:predict";

fn row(name: &str, i: usize) -> String {
    let row: Vec<String> = Expected::of(name).row(i).iter().map(|x| format!("{x:?}")).collect();
    format!("[{}]", row.join(", "))
}

fn iris() -> Web {
    Web::of(&["iris_v1"])
}

/// Versions 1 and 2 of `iris`, of which 2 serves, and a label `stable` for 1.
fn two_versions() -> Web {
    let web = Web::new();
    let m = &web.manager;
    m.load("iris", common::model_path("iris_v1"), &LoadOptions::default()).unwrap();
    let path = common::model_path("iris_v2");
    m.load_version("iris", path, &ReloadOptions::default()).unwrap();
    m.set_label("iris", "stable", 1).unwrap();
    m.serve("iris", 2).unwrap();
    web
}

// ---- paths (checklist 1) ----

#[test]
fn every_way_to_name_a_version_is_understood() {
    let web = two_versions();
    let body = format!("{{\"instances\": [{}]}}", row("iris_v1", 0));
    for (path, version) in [
        ("/v1/models/iris:predict", "2"),
        ("/V1/Models/iris:predict", "2"),
        ("/v1/models/%69ris:predict", "2"),
        ("/v1/models/iris/versions/1:predict", "1"),
        ("/v1/models/iris/VERSIONS/2:predict", "2"),
        ("/v1/models/iris/labels/stable:predict", "1"),
        ("/v1/models/iris/labels/st%61ble:predict", "1"),
        ("/v1/models/iris:predict?ignored=1", "2"),
    ] {
        let response = web.post(path, &body);
        assert_eq!(response.status, 200, "{path}: {}", text(&response));
        assert_eq!(response.header("x-modelserve-version"), Some(version), "{path}");
        assert_eq!(response.header("x-modelserve-route"), Some("stable"));
    }
}

#[test]
fn malformed_requests_say_what_they_were() {
    let web = iris();
    for (method, path) in [
        ("POST", "/v1/models/iris_v1/version/50:predict"),
        ("POST", "/v1/models/iris_v1/versions/HELLO:regress"),
        ("POST", "/v1/models/iris_v1/versions/1/labels/x:predict"),
        ("POST", "/v1/models/iris_v1:PREDICT"),
        ("POST", "/v1/models/iris_v1/metadata"),
        ("POST", "/v1/models/iris_v1"),
        ("GET", "/v1/models/iris_v1:predict"),
        ("PUT", "/v1/models/iris_v1:predict"),
        ("GET", "/v1/"),
        ("GET", "/v1/foo"),
    ] {
        let message = format!("Malformed request: {method} {path}");
        assert_eq!(error(&web.ask(method, path, &[], b"")), (400, message));
    }
    // What is not of this protocol is not handled at all.
    assert_eq!(web.get("/v1").status, 404);
    assert_eq!(web.get("/v3/models/x").status, 404);
}

#[test]
fn a_version_beyond_int64_is_refused_with_an_empty_body() {
    let web = iris();
    for path in [
        "/v1/models/iris_v1/versions/9223372036854775808:predict",
        "/v1/models/iris_v1/versions/99999999999999999999999:classify",
    ] {
        let response = web.post(path, "{}");
        assert_eq!((response.status, response.body.len()), (400, 0), "{path}");
        assert_eq!(response.header("Content-Type"), Some("application/json"));
    }
    let response = web.get("/v1/models/iris_v1/versions/9223372036854775808");
    assert_eq!((response.status, response.body.len()), (400, 0));
}

#[test]
fn what_is_not_served_is_not_found_in_the_originals_words() {
    let web = two_versions();
    let body = r#"{"instances": [[1, 2, 3, 4]]}"#;
    for (path, status, message) in [
        ("/v1/models/half:predict", 404, "Servable not found for request: Latest(half)"),
        (
            "/v1/models/half/versions/99:predict",
            404,
            "Servable not found for request: Specific(half, 99)",
        ),
        (
            "/v1/models/iris/versions/99:predict",
            404,
            "Servable not found for request: Specific(iris, 99)",
        ),
        ("/v1/models/iris/labels/X:predict", 400, "Unrecognized servable version label: X"),
        ("/v1/models/half:classify", 404, "Servable not found for request: Latest(half)"),
    ] {
        let body = if path.ends_with("classify") { r#"{"examples": [{"x": 1}]}"# } else { body };
        assert_eq!(error(&web.post(path, body)), (status, message.to_string()), "{path}");
    }
    // As there, a body that cannot be read is said first.
    let (status, message) = error(&web.post("/v1/models/half:predict", "{"));
    assert_eq!(status, 400);
    assert!(message.starts_with("JSON Parse error: "), "{message}");
    assert_eq!(error(&web.get("/v1/models/half/metadata")).0, 404);
    assert_eq!(error(&web.get("/v1/models")), (400, "Missing model name in request.".into()));
}

// ---- rows and columns (checklist 2) ----

#[test]
fn rows_of_one_input_are_answered_as_the_trainer_says() {
    let web = iris();
    let expected = Expected::of("iris_v1");
    let rows: Vec<String> = (0..expected.rows).map(|i| row("iris_v1", i)).collect();
    let (want, width) = expected.matrix("probabilities").unwrap();
    let labels = expected.labels().unwrap();
    let plain = format!("{{\"instances\": [{}]}}", rows.join(", "));
    let named: Vec<String> = rows.iter().map(|row| format!("{{\"X\": {row}}}")).collect();
    let named = format!(
        "{{\"signature_name\": \"serving_default\", \"instances\": [{}]}}",
        named.join(", ")
    );
    for body in [plain, named] {
        let response = web.post(IRIS, &body);
        assert_eq!(response.status, 200, "{}", text(&response));
        let got = json(&response);
        let got = got["predictions"].as_array().unwrap();
        assert_eq!(got.len(), expected.rows);
        for (i, row) in got.iter().enumerate() {
            assert_eq!(row["label"].to_string(), labels[i]);
            for (k, p) in row["probabilities"].as_array().unwrap().iter().enumerate() {
                assert!(common::close(p.as_f64().unwrap(), want[i * width + k], 1e-5));
            }
        }
    }
}

#[test]
fn columns_have_their_own_shape() {
    let web = iris();
    for body in [
        format!("{{\"inputs\": [{}, {}]}}", row("iris_v1", 0), row("iris_v1", 1)),
        format!(
            "{{\"inputs\": {{\"X\": [{}, {}], \"extra\": {{\"b\": [1]}}}}}}",
            row("iris_v1", 0),
            row("iris_v1", 1)
        ),
    ] {
        let response = web.post(IRIS, &body);
        assert_eq!(response.status, 200, "{}", text(&response));
        let got = json(&response);
        assert_eq!(got["outputs"]["label"].as_array().unwrap().len(), 2);
        assert_eq!(got["outputs"]["probabilities"][1].as_array().unwrap().len(), 3);
    }
}

#[test]
fn one_output_is_bare_and_several_are_named() {
    let web = Web::echo(&[("a", T::F32, &[None, Some(2)])]);
    let rows = web.post("/v1/models/m:predict", r#"{"instances": [[1, 2], {"a": 1}]}"#);
    assert_eq!(rows.status, 400);
    let rows = web.post("/v1/models/m:predict", r#"{"instances": [[1, 2], [3, 4.5]]}"#);
    assert_eq!(json(&rows), j!({"predictions": [[1.0, 2.0], [3.0, 4.5]]}));
    assert_eq!(text(&rows), "{\n    \"predictions\": [[1.0, 2.0], [3.0, 4.5]\n    ]\n}");
    let column = web.post("/v1/models/m:predict", r#"{"inputs": [[1, 2]]}"#);
    assert_eq!(json(&column), j!({"outputs": [[1.0, 2.0]]}));

    let web = Web::echo(&[("a", T::I64, &[None]), ("b", T::Bool, &[None, Some(1)])]);
    let body = r#"{"instances": [{"b": [true], "a": 7}, {"a": 8, "b": [false]}]}"#;
    let rows = web.post("/v1/models/m:predict", body);
    let expected = j!({"predictions": [{"a": 7, "b": [true]}, {"a": 8, "b": [false]}]});
    assert_eq!(json(&rows), expected);
    let body = r#"{"inputs": {"b": [[true]], "a": [7]}}"#;
    let column = web.post("/v1/models/m:predict", body);
    assert_eq!(json(&column), j!({"outputs": {"a": [7], "b": [[true]]}}));
}

#[test]
fn strings_come_as_text_or_base64_and_bytes_leave_as_base64() {
    let web = Web::echo(&[("s", T::String, &[None]), ("t_bytes", T::String, &[None])]);
    let body = r#"{"instances": [{"s": "ä\n", "t_bytes": {"b64": "aGVsbG8="}}]}"#;
    let rows = web.post("/v1/models/m:predict", body);
    assert_eq!(json(&rows), j!({"predictions": [{"s": "ä\n", "t_bytes": {"b64": "aGVsbG8="}}]}));
    let web = Web::echo(&[("s", T::String, &[None])]);
    let plain = web.post("/v1/models/m:predict", r#"{"instances": [{"b64": "YQ=="}, "b"]}"#);
    assert_eq!(json(&plain), j!({"predictions": ["a", "b"]}));
    let column = web.post("/v1/models/m:predict", r#"{"inputs": {"b64": "YQ=="}}"#);
    assert_eq!(json(&column), j!({"outputs": "a"}));
    for (value, says) in [
        (r#"{"b64": "*"}"#, "Unable to base64 decode"),
        (r#"{"b64": "/w=="}"#, "UTF-8"),
        (r#"["x", {"b64": 1}]"#, "not formatted correctly for base64 data"),
        ("1", "JSON Value: 1 Type: Number is not of expected type: string"),
    ] {
        let (status, message) =
            error(&web.post("/v1/models/m:predict", format!("{{\"inputs\": {value}}}")));
        assert_eq!(status, 400, "{value}");
        assert!(message.contains(says), "{value}: {message}");
    }
    // Only string tensors take base64.
    let web = Web::echo(&[("x", T::F32, &[None])]);
    let (_, message) = error(&web.post("/v1/models/m:predict", r#"{"inputs": {"b64": "YQ=="}}"#));
    assert!(message.contains("Type: Object is not of expected type: float"), "{message}");
}

#[test]
fn each_element_type_takes_its_own_values() {
    for (dtype, good, bad) in [
        (T::F32, "[1, 2.5, -3e2]", "[true]"),
        (T::F64, "[1, 0.1]", "[\"1\"]"),
        (T::I8, "[-128, 127]", "[1.0]"),
        (T::I16, "[-32768]", "[null]"),
        (T::I32, "[2147483647]", "[2147483648]"),
        (T::I64, "[-9223372036854775808]", "[9223372036854775808]"),
        (T::U8, "[255]", "[-1]"),
        (T::U16, "[65535]", "[65536]"),
        (T::U32, "[4294967295]", "[4294967296]"),
        (T::U64, "[18446744073709551615]", "[18446744073709551616]"),
        (T::Bool, "[true, false]", "[1]"),
        (T::String, "[\"\", \"x\"]", "[1]"),
    ] {
        let web = Web::echo(&[("x", dtype, &[None])]);
        let body = format!("{{\"inputs\": {good}}}");
        let response = web.post("/v1/models/m:predict", body);
        assert_eq!(response.status, 200, "{dtype}: {}", text(&response));
        let expected: Json = serde_json::from_str(good).unwrap();
        let got = &json(&response)["outputs"];
        for (got, want) in got.as_array().unwrap().iter().zip(expected.as_array().unwrap()) {
            let same = got == want || got.as_f64() == want.as_f64() && got.is_number();
            assert!(same, "{dtype}: {got} {want}");
        }
        let (status, message) =
            error(&web.post("/v1/models/m:predict", format!("{{\"inputs\": {bad}}}")));
        assert_eq!(status, 400, "{dtype}: {message}");
        assert!(message.contains("is not of expected type: "), "{dtype}: {message}");
    }
    for (dtype, name) in [(T::F16, "half"), (T::BF16, "bfloat16")] {
        let web = Web::echo(&[("x", dtype, &[None])]);
        let got = error(&web.post("/v1/models/m:predict", r#"{"inputs": [1]}"#));
        assert_eq!(got, (501, format!("Conversion of JSON Value: 1 to type: {name}")));
    }
}

// ---- NaN and numbers (checklist 3) ----

#[test]
fn nan_and_infinities_pass_as_bare_tokens() {
    let web = Web::echo(&[("x", T::F64, &[None])]);
    let body = r#"{"instances": [NaN, Infinity, -Infinity, 1]}"#;
    let response = web.post("/v1/models/m:predict", body);
    let expected = "{\n    \"predictions\": [NaN, Infinity, -Infinity, 1.0\n    ]\n}";
    assert_eq!(text(&response), expected);
}

#[test]
fn floats_have_six_digits_where_those_read_back() {
    let web = Web::echo(&[("x", T::F32, &[None]), ("y", T::F64, &[None])]);
    let body = r#"{"inputs": {"x": [0.2, 1, 9000000, 0.00003, 0.333333343, 16777217],
                   "y": [0.2, 1, 9000000, 0.00003, 0.1234567890123, 1e22]}}"#;
    let text = text(&web.post("/v1/models/m:predict", body)).to_string();
    assert!(text.contains("[0.2, 1.0, 9e+06, 3e-05, 0.333333343, 16777216.0]"), "{text}");
    assert!(text.contains("[0.2, 1.0, 9e+06, 3e-05, 0.12345678901230001, 1e+22]"), "{text}");
    let too_big = error(&web.post("/v1/models/m:predict", r#"{"inputs": {"x": [1e999]}}"#));
    assert_eq!(too_big.0, 400);
    assert!(too_big.1.contains("Number too big to be stored in double."), "{}", too_big.1);
}

// ---- what is wrong with a body (the messages) ----

#[test]
fn bodies_that_are_no_requests_are_told_why() {
    let web = Web::echo(&[("a", T::F32, &[None, Some(2)]), ("b", T::F32, &[None])]);
    for (body, says) in [
        ("", "JSON Parse error: The document is empty"),
        ("{\"instances\": x}", "JSON Parse error: Invalid value. at offset: 14"),
        ("[1]", "JSON Value: [1] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        (
            r#"{"signature_name": 5, "instances": [1]}"#,
            "JSON Value: {\"signature_name\": 5, \"instances\": [1]} not formatted correctly. \
             'signature_name' key must be a string value.",
        ),
        (
            r#"{"instances": [{"a": "x"}], "signature_name": "other"}"#,
            "Serving signature name: \"other\" not found in signature def",
        ),
        (r#"{"instances": []}"#, "JSON Value: {\"instances\": []} No values in 'instances' array"),
        (r#"{"instances": 1}"#, "JSON Value: {\"instances\": 1} Excepting 'instances' to be an"),
        (
            r#"{"instances": [1], "inputs": [1]}"#,
            "JSON Value: {\"instances\": [1], \"inputs\": [1]} Not formatted correctly expecting \
             only one of 'inputs' or 'instances' keys to exist",
        ),
        (r#"{"inputs": {"b": [1]}}"#, "Missing named input: a in 'inputs' object."),
        (
            r#"{"instances": [{"z": 1}]}"#,
            "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: \
             JSON object: does not have named input: z",
        ),
        (
            r#"{"instances": [{"a": [1, 2]}]}"#,
            "Failed to process element: 0 of 'instances' list. JSON object: {\"a\": [1, 2]} keys \
             must be equal to: a,b",
        ),
        (
            r#"{"instances": [{"a": [1, 2], "b": 1}, {"a": [1, 2, 3], "b": 1}]}"#,
            "Failed to process element: 1 key: a of 'instances' list. Error: INVALID_ARGUMENT: \
             Expecting tensor size: 2 but got: 3",
        ),
        (
            r#"{"instances": [{"a": [1, "x"], "b": 1}]}"#,
            "Failed to process element: 0 key: a of 'instances' list. Error: INVALID_ARGUMENT: \
             JSON Value: \"x\" Type: String is not of expected type: float",
        ),
        (r#"{"instances": [{"a": [1, 2], "b": 1}, 5]}"#, "Expecting object but got list at item 1"),
        (r#"{"instances": [[1, 2]]}"#, "instances is a plain list, but expecting list of objects"),
        (r#"{"inputs": [[1, 2]]}"#, "inputs is a plain value/list, but expecting an object"),
    ] {
        let (status, message) = error(&web.post("/v1/models/m:predict", body));
        assert_eq!(status, 400, "{body}");
        assert!(message.starts_with(says), "{body}:\n{message}\n{says}");
    }
    let web = Web::echo(&[("a", T::F32, &[None, Some(2)])]);
    for (body, says) in [
        (
            r#"{"instances": [[1, 2], [1, 2, 3]]}"#,
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting \
             tensor size: 2 but got: 3",
        ),
        (
            r#"{"instances": [[[1], [2]], [1, 2]]}"#,
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting \
             shape [2,1] but got: [2]",
        ),
        (
            r#"{"instances": [[1, 2], {"a": [1, 2]}]}"#,
            "Expecting value/list but got object at item 1 of input list",
        ),
        (r#"{"inputs": [[1], [1, 2]]}"#, "Encountered list at unexpected size: 2 at level: 1"),
    ] {
        let (status, message) = error(&web.post("/v1/models/m:predict", body));
        assert_eq!(status, 400, "{body}");
        assert!(message.starts_with(says), "{body}:\n{message}\n{says}");
    }
}

#[test]
fn a_value_is_quoted_up_to_256_bytes() {
    let web = Web::echo(&[("x", T::F32, &[None])]);
    let long = "y".repeat(5000);
    let (_, message) =
        error(&web.post("/v1/models/m:predict", format!("{{\"inputs\": [\"{long}\"]}}")));
    assert!(message.len() < 400 && message.contains("yyy"), "{}", message.len());
    let (_, message) =
        error(&web.post("/v1/models/m:predict", format!("{{\"{}\": 1}}", "ä".repeat(3000))));
    assert_eq!(message, "Missing 'inputs' or 'instances' key");
}

#[test]
fn text_after_the_document_is_not_looked_at() {
    let web = Web::echo(&[("x", T::F32, &[None])]);
    let response = web.post("/v1/models/m:predict", "{\"instances\": [1]} trailing { text");
    assert_eq!(json(&response), j!({"predictions": [1.0]}));
}

#[test]
fn rows_that_do_not_fit_the_model_are_bad_requests() {
    let web = iris();
    let (status, message) = error(&web.post(IRIS, r#"{"instances": [[1, 2, 3]]}"#));
    assert_eq!(status, 400);
    assert!(message.contains("input 'X'") && message.contains("[1, 3]"), "{message}");
}

#[test]
fn outputs_that_are_no_rows_are_refused_in_row_form() {
    let web = Web::new();
    let answer = |outputs: Vec<(&'static str, Tensor)>| {
        let signature = Signature {
            inputs: specs(&[("x", T::F32, &[None])]),
            outputs: outputs.iter().flat_map(|(n, t)| specs(&[(n, t.dtype(), &[])])).collect(),
            ..Signature::default()
        };
        FnModel::new(signature, move |_, _| {
            let all = outputs.iter().map(|(n, t)| (n.to_string(), t.clone().into()));
            Ok(Reply::Tensors(all.collect()))
        })
    };
    let two = Tensor::from_vec(&[2], vec![1i64, 2]).unwrap();
    let three = Tensor::from_vec(&[3], vec![1i64, 2, 3]).unwrap();
    let uneven = answer(vec![("p", two), ("q", three)]);
    web.manager.load_from("uneven", source(uneven), &LoadOptions::default()).unwrap();
    let scalar = answer(vec![("s", Tensor::scalar(1f32))]);
    web.manager.load_from("scalar", source(scalar), &LoadOptions::default()).unwrap();
    let body = r#"{"instances": [1, 2]}"#;
    let message = "Tensor name: q has inconsistent batch size: 3 expecting: 2".to_string();
    assert_eq!(error(&web.post("/v1/models/uneven:predict", body)), (400, message));
    let message = "Tensor name: s has no shape information ".to_string();
    assert_eq!(error(&web.post("/v1/models/scalar:predict", body)), (400, message));
    let column = web.post("/v1/models/scalar:predict", r#"{"inputs": [1]}"#);
    assert_eq!(json(&column), j!({"outputs": 1.0}));
}

#[test]
fn maps_of_classes_are_answered_as_a_matrix() {
    let web = Web::of(&["logistic_strings_zipmap"]);
    let expected = Expected::of("logistic_strings_zipmap");
    let (want, width) = expected.matrix("probabilities").unwrap();
    let body = format!("{{\"instances\": [{}]}}", row("logistic_strings_zipmap", 0));
    let got = json(&web.post("/v1/models/logistic_strings_zipmap:predict", body));
    let row = &got["predictions"][0];
    assert_eq!(row["output_label"], expected.labels().unwrap()[0].as_str());
    for k in 0..width {
        let p = row["output_probability"][k].as_f64().unwrap();
        assert!(common::close(p, want[k], 1e-5), "{row}");
    }
}

// ---- status, metadata, classify, regress (checklist 4, 5, 6) ----

#[test]
fn the_status_lists_versions_as_strings_newest_first_and_failures_as_ended() {
    let web = two_versions();
    let broken = common::scratch("tfs_status").join("broken.onnx");
    std::fs::write(&broken, b"no model").unwrap();
    web.manager.reload("iris", Some(&broken), &ReloadOptions::default()).unwrap_err();
    let response = web.get("/v1/models/iris");
    assert_eq!(response.status, 200);
    let all = &json(&response)["model_version_status"];
    let versions: Vec<&str> =
        all.as_array().unwrap().iter().map(|v| v["version"].as_str().unwrap()).collect();
    assert_eq!(versions, ["3", "2", "1"]);
    assert_eq!(all[0]["state"], "END");
    assert_eq!(all[0]["status"]["error_code"], "FAILED_PRECONDITION");
    let message = all[0]["status"]["error_message"].as_str().unwrap();
    let folder = broken.parent().unwrap().to_str().unwrap();
    assert!(!message.is_empty() && !message.contains(folder), "{message}");
    let ok = j!({"version": "2", "state": "AVAILABLE",
                 "status": {"error_code": "OK", "error_message": ""}});
    assert_eq!(all[1], ok);
    // One version, whatever its state, is 200; a label is not looked at.
    let one = web.get("/v1/models/iris/versions/3");
    assert_eq!(
        (one.status, json(&one)["model_version_status"][0]["state"].clone()),
        (200, j!("END"))
    );
    let labelled = json(&web.get("/v1/models/iris/labels/nonsense"));
    assert_eq!(labelled["model_version_status"].as_array().unwrap().len(), 3);
    let message = "Could not find any versions of model half".to_string();
    assert_eq!(error(&web.get("/v1/models/half")), (404, message));
    let message = "Could not find version 9 of model iris".to_string();
    assert_eq!(error(&web.get("/v1/models/iris/versions/9")), (404, message));
    // The failed load took nothing down, and the failed version cannot be asked.
    let body = format!("{{\"instances\": [{}]}}", row("iris_v1", 0));
    assert_eq!(web.post("/v1/models/iris:predict", &body).status, 200);
    assert_eq!(error(&web.post("/v1/models/iris/versions/3:predict", &body)).0, 503);
}

#[test]
fn metadata_nests_its_signature_twice_and_sizes_are_strings() {
    let web = two_versions();
    for (path, version) in [
        ("/v1/models/iris/metadata", "2"),
        ("/v1/models/iris/versions/1/metadata", "1"),
        ("/v1/models/iris/labels/stable/metadata", "1"),
    ] {
        let response = web.get(path);
        assert_eq!(response.status, 200, "{}", text(&response));
        let all = json(&response);
        let spec = j!({"name": "iris", "signature_name": "", "version": version});
        assert_eq!(all["model_spec"], spec);
        let signature = &all["metadata"]["signature_def"]["signature_def"]["serving_default"];
        let x = j!({"dtype": "DT_FLOAT", "name": "X:0", "tensor_shape": {"unknown_rank": false,
            "dim": [{"size": "-1", "name": ""}, {"size": "4", "name": ""}]}});
        assert_eq!(signature["inputs"]["X"], x);
        assert_eq!(signature["outputs"]["label"]["dtype"], "DT_INT64");
        assert_eq!(signature["outputs"]["probabilities"]["tensor_shape"]["dim"][1]["size"], "3");
        assert_eq!(signature["method_name"], "tensorflow/serving/predict");
        assert_eq!(signature["defaults"], j!({}));
    }
}

#[test]
fn classification_answers_results_with_every_class() {
    let web = Web::of(&["logistic_strings", "iris_v1"]);
    let expected = Expected::of("logistic_strings");
    let (want, width) = expected.matrix("probabilities").unwrap();
    let body = format!(
        "{{\"examples\": [{{\"X\": {}}}, {{\"X\": {}}}]}}",
        row("logistic_strings", 0),
        row("logistic_strings", 1)
    );
    let got = json(&web.post("/v1/models/logistic_strings:classify", body));
    for i in 0..2 {
        for k in 0..width {
            let pair = &got["results"][i][k];
            assert_eq!(pair[0], expected.classes().unwrap()[k].as_str());
            assert!(common::close(pair[1].as_f64().unwrap(), want[i * width + k], 1e-5), "{got}");
        }
    }
    let (status, message) =
        error(&web.post("/v1/models/iris_v1:regress", r#"{"examples": [{"X": [1, 2, 3, 4]}]}"#));
    assert_eq!(status, 400);
    assert!(message.contains("tensorflow/serving/regress"), "{message}");
}

#[test]
fn regression_answers_results_and_takes_features_by_name_with_a_context() {
    let web = Web::new();
    let names: Vec<String> = (0..10).map(|i| format!("f{i}")).collect();
    let options = LoadOptions { feature_names: Some(names), ..LoadOptions::default() };
    let path = common::model_path("linear_regression");
    web.manager.load("lin", path, &options).unwrap();
    let expected = Expected::of("linear_regression");
    let (want, _) = expected.matrix("values").unwrap();
    let example = |i: usize, from: usize| {
        let row = expected.row(i).iter().enumerate().skip(from);
        let features: Vec<String> = row.map(|(k, x)| format!("\"f{k}\": {x:?}")).collect();
        format!("{{{}}}", features.join(", "))
    };
    let body = format!("{{\"examples\": [{}, {}]}}", example(0, 0), example(1, 0));
    let got = json(&web.post("/v1/models/lin:regress", body));
    for i in 0..2 {
        assert!(common::close(got["results"][i].as_f64().unwrap(), want[i], 1e-4), "{got}");
    }
    // What a context holds need not be in each example, and an example's own goes before it.
    let x = expected.row(0)[0];
    let body = format!(
        "{{\"examples\": [{}], \"context\": {{\"f0\": [{x:?}], \"f1\": 99.0}}}}",
        example(0, 1)
    );
    let got = json(&web.post("/v1/models/lin:regress", body));
    assert!(common::close(got["results"][0].as_f64().unwrap(), want[0], 1e-4), "{got}");
}

#[test]
fn features_of_mixed_kinds_are_refused() {
    let web = Web::of(&["iris_v1"]);
    for (body, says) in [
        ("", "JSON Parse error: The document is empty"),
        ("{}", "JSON Value: {} When method is classify, key 'examples' is expected"),
        (r#"{"examples": 1}"#, "JSON Value: {\"examples\": 1} Expecting 'examples' value to be"),
        (
            r#"{"examples": []}"#,
            "JSON Value: {\"examples\": []} 'examples' value is an empty array",
        ),
        (r#"{"examples": [1]}"#, "Example must be JSON object but got JSON Number"),
        (
            r#"{"examples": [{"X": [1, 2.5]}]}"#,
            "Unexpected element type in feature: X expecting type: int64",
        ),
        (
            r#"{"examples": [{"X": ["a", true]}]}"#,
            "Unexpected element type in feature: X expecting type: bytes",
        ),
        (
            r#"{"examples": [{"X": [18446744073709551615]}]}"#,
            "Feature: X has uint64 element. Only int64 is supported.",
        ),
        (
            r#"{"examples": [{"X": null}]}"#,
            "Feature: X has element with unexpected JSON type: Null",
        ),
        (
            r#"{"examples": [{"X": [[1]]}]}"#,
            "Feature: X has element with unexpected JSON type: Array",
        ),
        (r#"{"examples": [{"Y": 1}]}"#, "Name: <unknown>, Feature: X is required"),
        (r#"{"examples": [{"X": [1, 2, 3]}]}"#, "model 'iris_v1': input 'X'"),
        (
            r#"{"signature_name": "s", "examples": [{"X": [1, 2, 3, 4]}]}"#,
            "Serving signature name: \"s\" not found in signature def",
        ),
    ] {
        let (status, message) = error(&web.post("/v1/models/iris_v1:classify", body));
        assert_eq!(status, 400, "{body}: {message}");
        assert!(message.starts_with(says), "{body}:\n{message}\n{says}");
    }
}

// ---- error table (checklist 7) and limits ----

#[test]
fn kinds_of_errors_have_the_originals_codes() {
    for (kind, status) in [
        (ErrorKind::InvalidInput, 400),
        (ErrorKind::NotFound, 404),
        (ErrorKind::AlreadyExists, 409),
        (ErrorKind::NotReady, 503),
        (ErrorKind::Overloaded, 429),
        (ErrorKind::DeadlineExceeded, 504),
        (ErrorKind::Cancelled, 499),
        (ErrorKind::PermissionDenied, 403),
        (ErrorKind::Unsupported, 501),
        (ErrorKind::LimitExceeded, 400),
        (ErrorKind::Io, 500),
        (ErrorKind::Execution, 500),
        (ErrorKind::Internal, 500),
        (ErrorKind::InvalidModel, 400),
    ] {
        let web = Web::new();
        let signature = Signature {
            inputs: specs(&[("x", T::F32, &[None])]),
            outputs: specs(&[("y", T::F32, &[None])]),
            ..Signature::default()
        };
        let model = FnModel::new(signature, move |_: &Request<'_>, _: &mut Ctx| {
            Err(Error::new(kind, "node '/c/Conv' said no"))
        });
        web.manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
        let (got, message) = error(&web.post("/v1/models/m:predict", r#"{"instances": [1]}"#));
        assert_eq!(got, status, "{kind}");
        assert!(message.contains("node '/c/Conv' said no"), "{message}");
    }
}

#[test]
fn a_panic_in_a_model_is_500() {
    let web = Web::new();
    let signature = Signature {
        inputs: specs(&[("x", T::F32, &[None])]),
        outputs: specs(&[("y", T::F32, &[None])]),
        ..Signature::default()
    };
    let model = FnModel::new(signature, |_, _| panic!("oh no"));
    web.manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let body = r#"{"instances": [1]}"#;
    assert_eq!(error(&web.post("/v1/models/m:predict", body)).0, 500);
    assert_eq!(web.submit("POST", "/v1/models/m:predict", body).status, 500);
}

#[test]
fn limits_are_checked_before_anything_is_kept() {
    let mut options = HttpOptions::default();
    options.max_body_bytes = 2000;
    options.max_rows = 3;
    options.max_depth = 5;
    options.max_string_bytes = 10;
    let manager = ModelManager::default();
    let string = echo(&[("s", T::String, &[None])]);
    manager.load_from("m", source(string), &LoadOptions::default()).unwrap();
    let web = Web::with(manager, options);
    let ask = |body: &str| web.post("/v1/models/m:predict", body);
    assert_eq!(ask(r#"{"instances": ["a", "b", "c"]}"#).status, 200);
    assert_eq!(error(&ask(r#"{"instances": ["a", "b", "c", "d"]}"#)).0, 400);
    assert_eq!(error(&ask(r#"{"instances": ["0123456789x"]}"#)).0, 400);
    assert_eq!(error(&ask(&format!("{{\"x\": {}}}", "[".repeat(900)))).0, 400);
    assert_eq!(error(&ask(&format!("{{\"instances\": {}}}", "[".repeat(900)))).0, 400);
    assert_eq!(error(&ask(&" ".repeat(2001))).0, 413);
    let packed = web.ask("POST", "/v1/models/m:predict", &[("content-encoding", "gzip")], b"x");
    assert_eq!(error(&packed).0, 415);
}

#[test]
fn no_body_makes_it_panic() {
    let web = iris();
    let body =
        format!("{{\"signature_name\": \"\", \"instances\": [{{\"X\": {}}}]}}", row("iris_v1", 0));
    every_truncation_is_refused(&web, IRIS, &body);
    let body = format!("{{\"inputs\": {{\"X\": [{}], \"y\": \"\\u00e4\"}}}}", row("iris_v1", 0));
    every_truncation_is_refused(&web, IRIS, &body);
    let body = format!("{{\"context\": {{}}, \"examples\": [{{\"X\": {}}}]}}", row("iris_v1", 0));
    every_truncation_is_refused(&web, "/v1/models/iris_v1:classify", &body);
}

#[test]
fn a_context_cannot_ask_for_more_memory_than_it_is_worth() {
    let web = iris();
    // What the model takes has no fixed width: only the size itself can be held against it.
    let signature = Signature {
        inputs: specs(&[("x", T::F32, &[None, None])]),
        task: modelserve::Task::Classifier,
        ..Signature::default()
    };
    let model = FnModel::new(signature, |_, _| panic!("not asked"));
    web.manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let context = vec!["1"; 1 << 20].join(",");
    let examples = vec!["{}"; 60_000].join(",");
    let body = format!("{{\"context\": {{\"x\": [{context}]}}, \"examples\": [{examples}]}}");
    let (status, message) = error(&web.post("/v1/models/m:classify", body));
    assert_eq!(status, 400);
    assert!(message.contains("context included"), "{message}");
}

// ---- the rest ----

#[test]
fn submitted_requests_are_answered_alike() {
    let web = two_versions();
    let batching = BatchOptions { max_batch_size: 8, ..BatchOptions::default() };
    let policies = Policies { batching: Some(batching), ..Policies::default() };
    web.manager.set_policies("iris", policies).unwrap();
    let body = format!("{{\"instances\": [{}]}}", row("iris_v1", 0));
    for (method, path, body) in [
        ("POST", "/v1/models/iris:predict", body.as_str()),
        ("POST", "/v1/models/iris/labels/stable:predict", body.as_str()),
        ("POST", "/v1/models/iris:predict", "{"),
        ("POST", "/v1/models/nobody:predict", body.as_str()),
        ("GET", "/v1/models/iris/metadata", ""),
    ] {
        let here = web.ask(method, path, &[], body.as_bytes());
        let there = web.submit(method, path, body);
        assert_eq!((here.status, text(&here)), (there.status, text(&there)), "{path}");
    }
}

#[test]
fn prometheus_scrapes_where_it_expects_to() {
    let web = iris();
    let response = web.get("/monitoring/prometheus/metrics");
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").unwrap().starts_with("text/plain"));
    assert!(text(&response).contains("modelserve_requests_total"));
    assert_eq!(web.post("/monitoring/prometheus/metrics", "").status, 405);
}

#[test]
fn other_sites_may_ask_where_that_is_turned_on() {
    let mut options = HttpOptions::default();
    let web = iris();
    assert_eq!(web.get("/v1/models/iris_v1").header("Access-Control-Allow-Origin"), None);
    options.cors = true;
    let web = Web::with(web.manager.clone(), options);
    let response = web.get("/v1/models/iris_v1");
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(response.header("Access-Control-Allow-Methods"), Some("POST, GET"));
    assert_eq!(response.header("Access-Control-Allow-Headers"), Some("Content-Type"));
    let ask = |origin| web.ask("OPTIONS", IRIS, &[("Origin", origin)], b"").status;
    assert_eq!((ask("https://example.com"), ask("http://x"), ask("null")), (200, 200, 400));
}
