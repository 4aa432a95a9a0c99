//! The Open Inference Protocol with Triton's extensions, as `tritonclient` speaks it.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Expected;
use common::http::{Web, echo, error, every_truncation_is_refused, json, source, specs, text};
use modelserve::tensor::ElementType as T;
use modelserve::{
    Ctx, FnModel, HttpOptions, HttpResponse, LoadOptions, ModelManager, ReloadOptions, Reply,
    RepositoryRules, Request, Signature,
};
use serde_json::{Value as Json, json as j};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const INFER: &str = "/v2/models/iris/infer";

fn iris() -> Web {
    let web = Web::new();
    let path = common::model_path("iris_v1");
    web.manager.load("iris", path, &LoadOptions::default()).unwrap();
    web
}

/// A body as `tritonclient` sends it: JSON, then the bytes of the binary inputs.
fn binary(web: &Web, target: &str, request: &Json, blobs: &[u8]) -> HttpResponse {
    let mut body = request.to_string().into_bytes();
    let length = body.len().to_string();
    body.extend_from_slice(blobs);
    web.ask("POST", target, &[("inference-header-content-length", &length)], &body)
}

/// The JSON and the bytes behind it of a binary answer.
fn parts(response: &HttpResponse) -> (Json, &[u8]) {
    assert_eq!(response.status, 200, "{}", text(response));
    assert_eq!(response.header("Content-Type"), Some("application/octet-stream"));
    let length = response.header("Inference-Header-Content-Length").unwrap();
    let (head, blobs) = response.body.split_at(length.parse().unwrap());
    (serde_json::from_slice(head).unwrap(), blobs)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn health_says_whether_to_send_requests() {
    let web = Web::new();
    assert_eq!(json(&web.get("/v2/health/live")), j!({"live": true}));
    let ready = web.get("/v2/health/ready");
    assert_eq!((ready.status, json(&ready)), (503, j!({"ready": false})));
    let web = iris();
    let ready = web.get("/v2/health/ready");
    assert_eq!((ready.status, json(&ready)), (200, j!({"ready": true})));
    let mut options = HttpOptions::default();
    options.default_model = Some("other".to_string());
    let web = Web::with(web.manager.clone(), options);
    assert_eq!(web.get("/v2/health/ready").status, 503);
    for (path, status) in [
        ("/v2/models/iris/ready", 200),
        ("/v2/models/iris/versions/1/ready", 200),
        ("/v2/models/iris/versions/2/ready", 404),
        ("/v2/models/half/ready", 404),
    ] {
        assert_eq!(web.get(path).status, status, "{path}");
    }
    let ready = j!({"name": "iris", "ready": true});
    assert_eq!(json(&web.get("/v2/models/iris/ready")), ready);
    let broken = common::scratch("v2_ready").join("broken.onnx");
    std::fs::write(&broken, b"no model").unwrap();
    web.manager.reload("iris", Some(&broken), &ReloadOptions::default()).unwrap_err();
    let failed = web.get("/v2/models/iris/versions/2/ready");
    assert_eq!((failed.status, json(&failed)["ready"].clone()), (503, j!(false)));
}

#[test]
fn the_server_and_its_models_describe_themselves() {
    let web = iris();
    let server = json(&web.get("/v2"));
    assert_eq!(server["name"], "modelserve");
    assert_eq!(server["version"], env!("CARGO_PKG_VERSION"));
    for extension in ["binary_tensor_data", "classification", "model_repository", "statistics"] {
        assert!(server["extensions"].as_array().unwrap().contains(&j!(extension)), "{server}");
    }
    let model = j!({
        "name": "iris", "versions": ["1"], "platform": "onnx",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        ],
    });
    assert_eq!(json(&web.get("/v2/models/iris")), model);
    assert_eq!(json(&web.get("/v2/models/iris/versions/1")), model);
    let config = json(&web.get("/v2/models/iris/config"));
    let x = j!({"name": "X", "data_type": "TYPE_FP32", "dims": [-1, 4]});
    assert_eq!((&config["input"][0], &config["max_batch_size"]), (&x, &j!(0)));
    let unknown = "Request for unknown model: 'half' is not found".to_string();
    for path in ["/v2/models/half", "/v2/models/half/config", "/v2/models/half/stats"] {
        assert_eq!(error(&web.get(path)), (404, unknown.clone()));
    }
    let unknown = "Request for unknown model: 'iris' version 7 is not found".to_string();
    assert_eq!(error(&web.get("/v2/models/iris/versions/7")), (404, unknown));
    let (status, message) = error(&web.get("/v2/models/iris/versions/99999999999999999999"));
    assert_eq!(status, 400);
    assert!(message.starts_with("failed to get model version"), "{message}");
}

#[test]
fn paths_and_methods_are_refused_as_triton_does() {
    let web = iris();
    for (method, path) in [
        ("GET", INFER),
        ("POST", "/v2"),
        ("POST", "/v2/health/live"),
        ("POST", "/v2/models/iris"),
        ("DELETE", "/v2/models/iris/ready"),
        ("GET", "/v2/repository/index"),
        ("GET", "/v2/repository/models/iris/load"),
    ] {
        let refused = error(&web.ask(method, path, &[], b""));
        assert_eq!(refused, (405, "Method Not Allowed".to_string()), "{path}");
    }
    for path in ["/v2/", "/v2/models", "/v2/models/iris/generate", "/v2/models/iris/INFER"] {
        assert_eq!(error(&web.post(path, "")), (404, "Not Found".to_string()), "{path}");
    }
}

#[test]
fn json_requests_are_answered_as_the_trainer_says() {
    let web = iris();
    let expected = Expected::of("iris_v1");
    let (want, width) = expected.matrix("probabilities").unwrap();
    let rows = 3;
    let data = &expected.data[..rows * expected.width];
    let nested: Vec<&[f32]> = data.chunks(expected.width).collect();
    for data in [j!(data), j!(nested)] {
        let request = j!({
            "id": "a \"quoted\" id",
            "parameters": {"sequence_id": 0, "unknown": {"x": [1]}},
            "inputs": [{"name": "X", "shape": [rows, 4], "datatype": "FP32", "data": data}],
        });
        let response = web.post(INFER, request.to_string());
        assert_eq!(response.status, 200, "{}", text(&response));
        assert_eq!(response.header("Content-Type"), Some("application/json"));
        assert_eq!(response.header("x-modelserve-version"), Some("1"));
        let answer = json(&response);
        assert_eq!(answer["model_name"], "iris");
        assert_eq!(answer["model_version"], "1");
        assert_eq!(answer["id"], "a \"quoted\" id");
        let probabilities = &answer["outputs"][1];
        assert_eq!(probabilities["name"], "probabilities");
        assert_eq!(probabilities["datatype"], "FP32");
        assert_eq!(probabilities["shape"], j!([rows, 3]));
        let got = probabilities["data"].as_array().unwrap();
        for (got, want) in got.iter().zip(&want[..rows * width]) {
            assert!(common::close(got.as_f64().unwrap(), *want, 1e-5));
        }
    }
    // Keys in any order.
    let body = r#"{"inputs": [{"data": [1, 2, 3, 4], "datatype": "FP32", "name": "X",
                   "parameters": {}, "shape": [1, 4]}], "outputs": [{"name": "label"}]}"#;
    let answer = json(&web.post("/v2/models/iris/versions/1/infer", body));
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(answer.get("id"), None);
}

#[test]
fn the_default_of_tritonclient_is_binary_both_ways() {
    let web = iris();
    let expected = Expected::of("iris_v1");
    let (want, width) = expected.matrix("probabilities").unwrap();
    let data = &expected.data[..2 * expected.width];
    let blob = bytes(data);
    // With outputs named, each asks for binary data.
    let request = j!({
        "inputs": [{"name": "X", "shape": [2, 4], "datatype": "FP32",
                    "parameters": {"binary_data_size": blob.len()}}],
        "outputs": [
            {"name": "probabilities", "parameters": {"binary_data": true}},
            {"name": "label", "parameters": {"binary_data": false}},
        ],
    });
    let response = binary(&web, INFER, &request, &blob);
    let (answer, blobs) = parts(&response);
    let outputs = &answer["outputs"];
    assert_eq!(outputs[0]["name"], "probabilities");
    assert_eq!(outputs[0]["parameters"]["binary_data_size"], 24);
    assert_eq!(outputs[0].get("data"), None);
    assert_eq!(outputs[1]["data"].as_array().unwrap().len(), 2);
    for (got, want) in floats(blobs).iter().zip(&want[..2 * width]) {
        assert!(common::close(f64::from(*got), *want, 1e-5));
    }
    // Without, the request asks for all of them.
    let request = j!({
        "inputs": [{"name": "X", "shape": [2, 4], "datatype": "FP32",
                    "parameters": {"binary_data_size": blob.len()}}],
        "parameters": {"binary_data_output": true},
    });
    let response = binary(&web, INFER, &request, &blob);
    let (answer, blobs) = parts(&response);
    let sizes: Vec<u64> = answer["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["parameters"]["binary_data_size"].as_u64().unwrap())
        .collect();
    assert_eq!((sizes.as_slice(), blobs.len()), (&[16, 24][..], 40));
}

#[test]
fn every_datatype_travels_in_both_forms() {
    for (dtype, name, data, size) in [
        (T::Bool, "BOOL", "[true, false]", 1),
        (T::U8, "UINT8", "[0, 255]", 1),
        (T::U16, "UINT16", "[0, 65535]", 2),
        (T::U32, "UINT32", "[0, 4294967295]", 4),
        (T::U64, "UINT64", "[0, 18446744073709551615]", 8),
        (T::I8, "INT8", "[-128, 127]", 1),
        (T::I16, "INT16", "[-32768, 32767]", 2),
        (T::I32, "INT32", "[-2147483648, 2147483647]", 4),
        (T::I64, "INT64", "[-9223372036854775808, 9223372036854775807]", 8),
        (T::F32, "FP32", "[0.1, -3e20]", 4),
        (T::F64, "FP64", "[0.1, -3e200]", 8),
        (T::String, "BYTES", "[\"\", \"abcä\"]", 0),
    ] {
        let web = Web::echo(&[("x", dtype, &[None])]);
        let head = format!("{{\"name\": \"x\", \"shape\": [2], \"datatype\": \"{name}\"");
        let body = format!("{{\"inputs\": [{head}, \"data\": {data}}}]}}");
        let answer = json(&web.post("/v2/models/m/infer", &body));
        let expected: Json = serde_json::from_str(data).unwrap();
        assert_eq!(answer["outputs"][0]["data"], expected, "{name}");
        // The same, answered in binary form, and sent back in it.
        let body = format!(
            "{{\"parameters\": {{\"binary_data_output\": true}}, \"inputs\": [{head}, \"data\": \
             {data}}}]}}"
        );
        let response = web.post("/v2/models/m/infer", &body);
        let (answer, blob) = parts(&response);
        if size > 0 {
            assert_eq!(blob.len(), 2 * size, "{name}");
        }
        assert_eq!(answer["outputs"][0]["datatype"], name);
        let request = j!({"inputs": [{"name": "x", "shape": [2], "datatype": name,
            "parameters": {"binary_data_size": blob.len()}}]});
        let answer = json(&binary(&web, "/v2/models/m/infer", &request, blob));
        assert_eq!(answer["outputs"][0]["data"], expected, "{name}");
    }
    // Half floats have a binary form only.
    for (dtype, name) in [(T::F16, "FP16"), (T::BF16, "BF16")] {
        let web = Web::echo(&[("x", dtype, &[None])]);
        let request = |output: bool| {
            j!({"parameters": {"binary_data_output": output}, "inputs": [{"name": "x",
                "shape": [2], "datatype": name, "parameters": {"binary_data_size": 4}}]})
        };
        let blob = [0, 60, 0, 192];
        let response = binary(&web, "/v2/models/m/infer", &request(true), &blob);
        assert_eq!(parts(&response).1, blob);
        let (status, message) = error(&binary(&web, "/v2/models/m/infer", &request(false), &blob));
        assert_eq!(status, 400);
        assert!(message.contains("data via JSON is not supported"), "{message}");
        let body = format!(
            "{{\"inputs\": [{{\"name\": \"x\", \"shape\": [1], \"datatype\": \"{name}\", \"data\": \
             [1]}}]}}"
        );
        assert_eq!(error(&web.post("/v2/models/m/infer", body)).0, 400);
    }
}

#[test]
fn nan_and_infinities_pass_as_bare_tokens() {
    let web = Web::echo(&[("x", T::F32, &[None])]);
    let body = r#"{"inputs": [{"name": "x", "shape": [4], "datatype": "FP32",
                   "data": [NaN, Infinity, -Infinity, 1]}]}"#;
    let response = web.post("/v2/models/m/infer", body);
    let expected = "\"data\":[NaN, Infinity, -Infinity, 1.0]";
    assert!(text(&response).contains(expected), "{}", text(&response));
}

#[test]
fn classification_gives_value_index_and_label() {
    let web = Web::of(&["logistic_strings"]);
    let expected = Expected::of("logistic_strings");
    let (want, width) = expected.matrix("probabilities").unwrap();
    let labels = expected.labels().unwrap();
    let name = &web.manager.info("logistic_strings").unwrap().signature.outputs[1].name.clone();
    let rows = 4;
    let request = j!({
        "inputs": [{"name": "X", "shape": [rows, 4], "datatype": "FP32",
                    "data": &expected.data[..rows * 4]}],
        "outputs": [{"name": name, "parameters": {"classification": 2}}],
    });
    let response = web.post("/v2/models/logistic_strings/infer", request.to_string());
    let answer = json(&response);
    let output = &answer["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&j!("BYTES"), &j!([rows, 2])), "{answer}");
    for i in 0..rows {
        let top = output["data"][2 * i].as_str().unwrap();
        let [value, index, label] = top.split(':').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(label, labels[i]);
        let index: usize = index.parse().unwrap();
        let p = want[i * width + index];
        assert!(common::close(value.parse().unwrap(), p, 1e-5), "{top}");
        assert_eq!(value.split_once('.').unwrap().1.len(), 6);
    }
    // In binary form, as tritonclient asks for it.
    let mut request = request;
    request["outputs"][0]["parameters"]["binary_data"] = j!(true);
    let response = web.post("/v2/models/logistic_strings/infer", request.to_string());
    let (_, blob) = parts(&response);
    let length = u32::from_le_bytes(blob[..4].try_into().unwrap()) as usize;
    let first = std::str::from_utf8(&blob[4..4 + length]).unwrap();
    assert!(first.ends_with(&labels[0]), "{first}");
}

#[test]
fn maps_of_classes_are_answered_as_a_matrix() {
    let web = Web::of(&["logistic_strings_zipmap"]);
    let metadata = json(&web.get("/v2/models/logistic_strings_zipmap"));
    let described = j!({"name": "output_probability", "datatype": "FP32", "shape": [-1, 3]});
    assert_eq!(metadata["outputs"][1], described);
    let expected = Expected::of("logistic_strings_zipmap");
    let request = j!({"inputs": [{"name": "X", "shape": [2, 4], "datatype": "FP32",
                                  "data": &expected.data[..8]}]});
    let answer = json(&web.post("/v2/models/logistic_strings_zipmap/infer", request.to_string()));
    assert_eq!(answer["outputs"][0]["datatype"], "BYTES");
    assert_eq!(answer["outputs"][1]["shape"], j!([2, 3]));
    let (want, _) = expected.matrix("probabilities").unwrap();
    for k in 0..6 {
        let p = answer["outputs"][1]["data"][k].as_f64().unwrap();
        assert!(common::close(p, want[k], 1e-5), "{answer}");
    }
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let web = Web::echo(&[("a", T::F32, &[None, Some(2)]), ("b", T::String, &[None])]);
    let a = r#"{"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}"#;
    let b = r#"{"name": "b", "shape": [1], "datatype": "BYTES", "data": ["x"]}"#;
    let good = format!("{{\"inputs\": [{a}, {b}]}}");
    assert_eq!(web.post("/v2/models/m/infer", &good).status, 200);
    let one = |input: &str| format!("{{\"inputs\": [{input}, {b}]}}");
    for (body, says) in [
        (String::new(), "failed to parse the request JSON buffer: "),
        ("[1]".to_string(), "failed to parse the request JSON buffer: it is no object"),
        (format!("{good} x"), "failed to parse the request JSON buffer: The document root must"),
        ("{}".to_string(), "Unable to parse 'inputs'"),
        ("{\"inputs\": 1}".to_string(), "Unable to parse 'inputs'"),
        ("{\"inputs\": [1]}".to_string(), "an entry of 'inputs' is no JSON object"),
        ("{\"inputs\": []}".to_string(), "expected 2 inputs but got 0 inputs for model 'm'"),
        (
            format!("{{\"inputs\": [{a}]}}"),
            "expected 2 inputs but got 1 inputs for model 'm'. Missing: 'b'",
        ),
        (format!("{{\"inputs\": [{a}, {a}]}}"), "input 'a' is given twice"),
        (
            one(r#"{"name": "z", "shape": [1], "datatype": "FP32", "data": [1]}"#),
            "unexpected inference input 'z' for model 'm'",
        ),
        (
            one(r#"{"name": "a", "shape": [1, 2], "datatype": "INT32", "data": [1, 2]}"#),
            "inference input 'a' data-type is 'INT32', but model 'm' expects 'FP32'",
        ),
        (
            one(r#"{"name": "a", "shape": [1, 2], "datatype": "FLOAT", "data": [1, 2]}"#),
            "invalid datatype 'FLOAT'",
        ),
        (
            one(r#"{"name": "a", "shape": [1, 3], "datatype": "FP32", "data": [1, 2]}"#),
            "Unable to parse 'data': Shape does not match true shape of 'data' field",
        ),
        (
            one(r#"{"name": "a", "shape": [1, 1], "datatype": "FP32", "data": [1, 2]}"#),
            "Shape does not match true shape of 'data' field",
        ),
        (
            one(r#"{"name": "a", "shape": [-1, 2], "datatype": "FP32", "data": [1, 2]}"#),
            "Unable to parse 'shape'",
        ),
        (
            one(
                r#"{"name": "a", "shape": [99999999999, 99999999999], "datatype": "FP32", "data": []}"#,
            ),
            "a tensor of shape",
        ),
        (
            one(r#"{"name": "a", "shape": [1, 2], "datatype": "FP32", "data": ["1", 2]}"#),
            "expected a value of type float32, got string \"1\"",
        ),
        (
            one(r#"{"name": "a", "shape": [1, 2], "datatype": "FP32"}"#),
            "an entry of 'inputs' has no 'data'",
        ),
        (
            one(r#"{"shape": [1, 2], "datatype": "FP32", "data": [1, 2]}"#),
            "an entry of 'inputs' has no 'name'",
        ),
        (
            one(r#"{"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2],
                 "parameters": {"binary_data_size": 8}}"#),
            "input 'a' has both",
        ),
        (
            one(r#"{"name": "a", "shape": [1, 2], "datatype": "FP32",
                 "parameters": {"binary_data_size": 8}}"#),
            "unexpected end of binary data",
        ),
        (
            one(r#"{"name": "a", "shape": [1, 2], "datatype": "FP32",
                 "parameters": {"shared_memory_region": "r"}}"#),
            "shared memory",
        ),
        (
            format!("{{\"inputs\": [{a}, {b}], \"outputs\": [{{\"name\": \"z\"}}]}}"),
            "unexpected inference output 'z' for model 'm'",
        ),
        (
            format!("{{\"inputs\": [{a}, {b}], \"outputs\": [{{}}]}}"),
            "an entry of 'outputs' has no 'name'",
        ),
        (format!("{{\"inputs\": [{a}, {b}], \"id\": 5}}"), "Unable to parse 'id'"),
        (
            format!("{{\"inputs\": [{a}, {b}], \"parameters\": {{\"timeout\": -1}}}}"),
            "Unable to parse 'timeout'",
        ),
        (
            format!(
                "{{\"inputs\": [{a}, {b}], \"outputs\": [{{\"name\": \"b\", \"parameters\": \
                  {{\"classification\": 1}}}}]}}"
            ),
            "class result not available",
        ),
    ] {
        let (status, message) = error(&web.post("/v2/models/m/infer", &body));
        assert!(status == 400 || status == 413, "{body}: {status} {message}");
        assert!(message.starts_with(says), "{body}:\n{message}\n{says}");
    }
    let (status, message) = error(&iris().post(
        INFER,
        r#"{"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}"#,
    ));
    assert_eq!(status, 400);
    assert!(message.contains("input 'X'") && message.contains("[1, 3]"), "{message}");
}

#[test]
fn binary_sizes_and_header_lengths_that_lie_are_refused() {
    let web = iris();
    let request = |size: Json, shape: Json| {
        j!({"inputs": [{"name": "X", "shape": shape, "datatype": "FP32",
                        "parameters": {"binary_data_size": size}}]})
    };
    let blob = bytes(&[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(binary(&web, INFER, &request(j!(16), j!([1, 4])), &blob).status, 200);
    for (size, shape, says) in [
        (j!(12), j!([1, 4]), "unexpected total byte size 12 for input 'X', expecting 16"),
        (j!(17), j!([1, 4]), "unexpected end of binary data"),
        (j!(18446744073709551615u64), j!([1, 4]), "unexpected end of binary data"),
        (j!(-1), j!([1, 4]), "Unable to parse 'binary_data_size'"),
        (j!(16), j!([2, 4]), "unexpected total byte size 16 for input 'X', expecting 32"),
        (j!(16), j!([1 << 19, 1 << 19]), "unexpected total byte size 16"),
        (j!(0), j!([0, 4]), "unexpected additional input data for model 'iris'"),
    ] {
        let (status, message) = error(&binary(&web, INFER, &request(size, shape), &blob));
        assert_eq!(status, 400, "{message}");
        assert!(message.starts_with(says), "{message}\n{says}");
    }
    let good = request(j!(16), j!([1, 4])).to_string();
    let mut body = good.clone().into_bytes();
    body.extend_from_slice(&blob);
    for length in ["0", "-1", "x", "", "99999", "18446744073709551616", "5"] {
        let headers = [("Inference-Header-Content-Length", length)];
        let refused = error(&web.ask("POST", INFER, &headers, &body));
        assert_eq!(refused.0, 400, "{length}: {}", refused.1);
    }
    for end in 0..body.len() {
        let length = good.len().to_string();
        let headers = [("Inference-Header-Content-Length", length.as_str())];
        let response = web.ask("POST", INFER, &headers, &body[..end]);
        assert_eq!(response.status, 400, "{end}");
    }
}

#[test]
fn no_body_makes_it_panic() {
    let web = iris();
    let body = r#"{"id": "1", "parameters": {"timeout": 60000000}, "inputs": [{"data": [[1, 2, 3, 4]],
        "name": "X", "shape": [1, 4], "datatype": "FP32"}], "outputs": [{"name": "probabilities",
        "parameters": {"classification": 3}}]}"#;
    every_truncation_is_refused(&web, INFER, body);
}

#[test]
fn limits_are_checked_before_anything_is_kept() {
    let mut options = HttpOptions::default();
    options.max_rows = 3;
    options.max_string_bytes = 10;
    let manager = ModelManager::default();
    let model = echo(&[("s", T::String, &[None, None])]);
    manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let web = Web::with(manager, options);
    let ask = |shape: &str, data: &str| {
        let body = format!(
            "{{\"inputs\": [{{\"name\": \"s\", \"shape\": {shape}, \"datatype\": \"BYTES\", \
             \"data\": {data}}}]}}"
        );
        web.post("/v2/models/m/infer", body).status
    };
    assert_eq!(ask("[3, 1]", r#"["a", "b", "c"]"#), 200);
    assert_eq!(ask("[4, 1]", r#"["a", "b", "c", "d"]"#), 413);
    assert_eq!(ask("[1, 1]", r#"["0123456789x"]"#), 413);
}

/// A model that notes the context of each request, and takes `takes`.
fn noting(takes: Duration) -> (FnModel, Arc<Mutex<Vec<Ctx>>>) {
    let seen: Arc<Mutex<Vec<Ctx>>> = Arc::default();
    let noted = seen.clone();
    let signature = Signature {
        inputs: specs(&[("x", T::F32, &[None])]),
        outputs: specs(&[("x", T::F32, &[None])]),
        ..Signature::default()
    };
    let model = FnModel::new(signature, move |request: &Request<'_>, ctx| {
        noted.lock().unwrap().push(ctx.clone());
        std::thread::sleep(takes);
        let Request::Run { inputs, .. } = request else { panic!("{request:?}") };
        Ok(Reply::Tensors(inputs.clone()))
    });
    (model, seen)
}

const ONE: &str = r#""inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]"#;

#[test]
fn timeout_priority_and_key_reach_the_model() {
    let web = Web::new();
    let (model, seen) = noting(Duration::ZERO);
    web.manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let before = Instant::now();
    let body = format!("{{\"parameters\": {{\"timeout\": 60000000, \"priority\": 1}}, {ONE}}}");
    let headers = [("X-ModelServe-Key", "user 7")];
    assert_eq!(web.ask("POST", "/v2/models/m/infer", &headers, body.as_bytes()).status, 200);
    let plain = format!("{{\"parameters\": {{\"timeout\": 0}}, {ONE}}}");
    assert_eq!(web.post("/v2/models/m/infer", plain).status, 200);
    let seen = seen.lock().unwrap();
    let deadline = seen[0].deadline.unwrap();
    assert!(deadline > before + Duration::from_secs(59));
    assert!(deadline <= Instant::now() + Duration::from_secs(60));
    assert!(seen[0].priority > 0);
    assert_eq!(seen[0].key.as_deref(), Some("user 7"));
    assert_eq!((seen[1].deadline, seen[1].priority, seen[1].key.as_deref()), (None, 0, None));
}

#[test]
fn a_deadline_that_passes_is_504() {
    let web = Web::new();
    let (model, _) = noting(Duration::from_secs(2));
    web.manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let body = format!("{{\"parameters\": {{\"timeout\": 1000}}, {ONE}}}");
    assert_eq!(error(&web.post("/v2/models/m/infer", &body)).0, 504);
    assert_eq!(web.submit("POST", "/v2/models/m/infer", &body).status, 504);
}

#[test]
fn statistics_count_what_was_asked() {
    let web = iris();
    let body = r#"{"inputs": [{"name": "X", "shape": [2, 4], "datatype": "FP32",
                   "data": [1, 2, 3, 4, 5, 6, 7, 8]}]}"#;
    for _ in 0..3 {
        assert_eq!(web.post(INFER, body).status, 200);
    }
    let bad = body.replace("[2, 4]", "[1, 8]");
    assert_eq!(web.post(INFER, bad).status, 400);
    for path in ["/v2/models/stats", "/v2/models/iris/stats", "/v2/models/iris/versions/1/stats"] {
        let stats = json(&web.get(path));
        let stats = &stats["model_stats"][0];
        assert_eq!((&stats["name"], &stats["version"]), (&j!("iris"), &j!("1")));
        assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&j!(6), &j!(3)));
        let inference = &stats["inference_stats"];
        assert_eq!(inference["success"]["count"], 3);
        assert!(inference["success"]["ns"].as_u64().unwrap() > 0);
        assert_eq!(inference["fail"]["count"], 1);
        for part in ["queue", "compute_input", "compute_infer", "compute_output", "cache_hit"] {
            assert!(inference[part]["count"].is_u64() && inference[part]["ns"].is_u64(), "{part}");
        }
    }
    assert_eq!(error(&web.get("/v2/models/iris/versions/9/stats")).0, 404);
}

#[test]
fn the_index_lists_versions_with_their_states() {
    let web = iris();
    let broken = common::scratch("v2_index").join("broken.onnx");
    std::fs::write(&broken, b"no model").unwrap();
    web.manager.reload("iris", Some(&broken), &ReloadOptions::default()).unwrap_err();
    let all = json(&web.post("/v2/repository/index", ""));
    assert_eq!(all[0], j!({"name": "iris", "version": "1", "state": "READY", "reason": ""}));
    assert_eq!(all[1]["state"], "UNAVAILABLE");
    let reason = all[1]["reason"].as_str().unwrap();
    assert!(!reason.is_empty() && !reason.contains(broken.parent().unwrap().to_str().unwrap()));
    let ready = json(&web.post("/v2/repository/x/index", r#"{"ready": true}"#));
    assert_eq!(ready.as_array().unwrap().len(), 1);
    for body in ["{\"ready\": 1}", "[]", "{"] {
        assert_eq!(error(&web.post("/v2/repository/index", body)).0, 400, "{body}");
    }
}

#[test]
fn models_are_loaded_and_unloaded_by_name_where_that_is_turned_on() {
    let root = common::scratch("v2_repository");
    let publish = |version: &str, from: &str| {
        let folder = root.join("iris").join(version);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(common::model_path(from), folder.join("model.onnx")).unwrap();
    };
    publish("1", "iris_v1");
    let manager = ModelManager::default();
    let mut rules = RepositoryRules::default();
    rules.files.settle = Duration::from_millis(1);
    manager.serve_repository(&root, rules).unwrap();
    let (load, unload) = ("/v2/repository/models/iris/load", "/v2/repository/models/iris/unload");

    let web = Web::with(manager.clone(), HttpOptions::default());
    assert_eq!(error(&web.post(load, "")).0, 403);
    assert_eq!(error(&web.post(unload, "")).0, 403);

    let mut options = HttpOptions::default();
    options.management = true;
    options.token = Some("a secret".to_string());
    let web = Web::with(manager.clone(), options);
    for headers in
        [&[][..], &[("Authorization", "Bearer another")], &[("Authorization", "Basic a secret")]]
    {
        let refused = web.ask("POST", unload, headers, b"");
        assert_eq!(error(&refused).0, 401);
        assert_eq!(refused.header("WWW-Authenticate"), Some("Bearer"));
    }
    let with = |path: &str, body: &str| {
        web.ask("POST", path, &[("authorization", "Bearer a secret")], body.as_bytes())
    };
    let unloaded = with(unload, r#"{"parameters": {"unload_dependents": false}}"#);
    assert_eq!((unloaded.status, unloaded.body.len()), (200, 0));
    assert_eq!(error(&web.get("/v2/models/iris")).0, 404);
    manager.refresh().unwrap();
    assert!(manager.model("iris").is_err(), "unloaded by name: no look brings it back");
    assert_eq!(with(load, "").status, 200);
    assert_eq!(web.get("/v2/models/iris/ready").status, 200);
    assert_eq!(with(load, "{}").status, 200, "loaded already");
    let (status, message) = error(&with(unload.replace("iris", "half").as_str(), ""));
    assert_eq!((status, message.as_str()), (404, "Request for unknown model: 'half' is not found"));
    assert_eq!(error(&with(&load.replace("iris", "half"), "")).0, 404);
    for body in
        [r#"{"parameters": {"config": "{}"}}"#, r#"{"parameters": {"file:1/model.onnx": "AAAA"}}"#]
    {
        assert_eq!(error(&with(load, body)).0, 400, "{body}");
    }
    for name in ["..", "%2e%2e", "..%2F..%2Fetc", "%2Fetc%2Fpasswd", "a%00b"] {
        let refused = error(&with(&format!("/v2/repository/models/{name}/load"), ""));
        assert!(refused.0 == 400 || refused.0 == 404, "{name}: {refused:?}");
        assert!(!refused.1.contains(root.to_str().unwrap()), "{refused:?}");
    }
}

#[test]
fn a_root_holds_models_that_requests_may_name() {
    let root = common::scratch("v2_root");
    for version in ["1", "2"] {
        let folder = root.join("iris").join(version);
        std::fs::create_dir_all(&folder).unwrap();
        let from = common::model_path(&format!("iris_v{version}"));
        std::fs::copy(from, folder.join("model.onnx")).unwrap();
    }
    let mut options = HttpOptions::default();
    (options.management, options.root) = (true, Some(root.clone()));
    let web = Web::with(ModelManager::default(), options);
    assert_eq!(web.post("/v2/repository/models/iris/load", "").status, 200);
    assert_eq!(web.manager.info("iris").unwrap().version, 2);
    assert_eq!(web.post("/v2/repository/models/iris/load", "").status, 200);
    assert_eq!(web.manager.info("iris").unwrap().version, 2, "nothing newer is there");
    std::fs::rename(root.join("iris/1"), root.join("iris/30")).unwrap();
    assert_eq!(web.post("/v2/repository/models/iris/load", "").status, 200);
    assert_eq!(web.manager.info("iris").unwrap().version, 30);
}

#[test]
fn metrics_come_in_the_form_that_is_accepted() {
    let web = iris();
    let plain = web.get("/metrics");
    assert!(plain.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(text(&plain).contains("modelserve_requests_total{"));
    let accept = [("accept", "application/openmetrics-text;version=1.0.0")];
    let open = web.ask("GET", "/metrics", &accept, b"");
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(text(&open).ends_with("# EOF\n"));
    assert_eq!(web.post("/metrics", "").status, 405);
}

#[test]
fn tensors_of_any_rank_pass() {
    let web = Web::echo(&[("x", T::I64, &[])]);
    let body = r#"{"inputs": [{"name": "x", "shape": [], "datatype": "INT64", "data": [7]}]}"#;
    let answer = json(&web.post("/v2/models/m/infer", body));
    assert_eq!(
        (&answer["outputs"][0]["shape"], &answer["outputs"][0]["data"]),
        (&j!([]), &j!([7]))
    );
    let web = Web::echo(&[("x", T::F32, &[None, None])]);
    let body = r#"{"inputs": [{"name": "x", "shape": [0, 3], "datatype": "FP32", "data": []}]}"#;
    let answer = json(&web.post("/v2/models/m/infer", body));
    assert_eq!(answer["outputs"][0]["shape"], j!([0, 3]));
}
