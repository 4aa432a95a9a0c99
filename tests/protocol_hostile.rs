//! Requests that ask for more than they are worth, and answers that say more than they should.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::http::{Web, error, json, source, specs};
use modelserve::tensor::{ElementType as T, Tensor};
use modelserve::{
    Another, CanaryRule, CancelToken, Classes, FnModel, HttpOptions, HttpRequestBuf, LoadOptions,
    ManagerOptions, MemoryPolicy, ModelManager, Policies, ReloadOptions, Reply, Request, Signature,
};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(60);

/// A model of `inputs` that answers an output `y` of `answer`.
fn answering(
    inputs: &[common::http::Spec<'_>],
    classes: Option<Vec<Arc<str>>>,
    answer: impl Fn() -> Tensor + Send + Sync + 'static,
) -> FnModel {
    let signature = Signature {
        inputs: specs(inputs),
        outputs: specs(&[("y", T::F32, &[None, None])]),
        classes: classes.map(|names| Arc::new(Classes::Str(names))),
        ..Signature::default()
    };
    FnModel::new(signature, move |_: &Request<'_>, _| {
        Ok(Reply::Tensors(vec![("y".to_string(), answer().into())]))
    })
}

#[test]
fn an_output_without_elements_is_not_written_as_lists_without_end() {
    let web = Web::new();
    let nothing = || Tensor::from_vec(&[4_000_000_000, 0], Vec::<f32>::new()).unwrap();
    let model = answering(&[("x", T::F32, &[None])], None, nothing);
    web.manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    for body in [r#"{"inputs": [1]}"#, r#"{"instances": [1]}"#] {
        let (status, message) = error(&web.post("/v1/models/m:predict", body));
        assert_eq!(status, 400);
        assert!(message.contains("empty lists"), "{message}");
    }
    let flat = r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}"#;
    let answer = json(&web.post("/v2/models/m/infer", flat));
    assert_eq!(answer["outputs"][0]["data"].as_array().unwrap().len(), 0);
}

#[test]
fn a_context_is_as_wide_as_the_model_before_it_is_multiplied() {
    let web = Web::of(&["logistic_strings"]);
    let body = format!(
        "{{\"context\": {{\"X\": [1{}]}}, \"examples\": [{{}}{}]}}",
        ",1".repeat(399),
        ",{}".repeat(50_000)
    );
    let (status, message) = error(&web.post("/v1/models/logistic_strings:classify", body));
    assert_eq!(status, 400);
    assert!(message.contains("Values size: 400 but expected: 4 (context)"), "{message}");
}

#[test]
fn many_features_in_many_examples_are_read_in_one_pass() {
    let width = 2000;
    let names: Vec<String> = (0..width).map(|i| format!("f{i}")).collect();
    let signature = Signature {
        inputs: specs(&[("x", T::F32, &[None, Some(width)])]),
        feature_names: Some(names.clone()),
        task: modelserve::Task::Regressor,
        ..Signature::default()
    };
    let model = FnModel::new(signature, |request: &Request<'_>, _| {
        panic!("not asked here: {request:?}");
    });
    let web = Web::new();
    web.manager.load_from("wide", source(model), &LoadOptions::default()).unwrap();
    // The last name again and again: it counts once, and costs once each.
    let last = format!("\"f{}\": 1", width - 1);
    let body = format!("{{\"examples\": [{{{last}{}}}]}}", format!(", {last}").repeat(100_000));
    let (status, message) = error(&web.post("/v1/models/wide:regress", body));
    assert_eq!(status, 400);
    assert!(message.contains("Feature: f0 is required"), "{message}");
}

#[test]
fn every_form_of_a_request_is_held_to_the_limit_on_rows() {
    let manager = ModelManager::default();
    let path = common::model_path("iris_v1");
    manager.load("iris", path, &LoadOptions::default()).unwrap();
    let mut options = HttpOptions::default();
    options.max_rows = 2;
    let web = Web::with(manager, options);
    let rows = "[[1,2,3,4],[1,2,3,4],[1,2,3,4]]";
    for body in [
        format!("{{\"instances\": {rows}}}"),
        format!("{{\"inputs\": {rows}}}"),
        format!("{{\"inputs\": {{\"X\": {rows}}}}}"),
    ] {
        let (status, message) = error(&web.post("/v1/models/iris:predict", &body));
        assert_eq!(status, 400, "{body}");
        assert!(message.contains("more than 2 rows"), "{message}");
    }
    let input = format!(r#"{{"name": "X", "shape": [3, 4], "datatype": "FP32", "data": {rows}}}"#);
    let body = format!("{{\"inputs\": [{input}]}}");
    assert_eq!(error(&web.post("/v2/models/iris/infer", &body)).0, 413);
}

#[test]
fn numbers_of_a_million_digits_are_read_or_refused() {
    let web = Web::of(&["iris_v1"]);
    let digits = "3".repeat(1_000_000);
    for (number, status) in [
        (digits.clone(), 400),
        (format!("-{digits}"), 400),
        (format!("1e{digits}"), 400),
        (format!("0.{digits}"), 200),
    ] {
        let body = format!("{{\"instances\": [[{number}, 1, 1, 1]]}}");
        assert_eq!(web.post("/v1/models/iris_v1:predict", &body).status, status);
        let input = format!(
            r#"{{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [{number}, 1, 1, 1]}}"#
        );
        let body = format!("{{\"inputs\": [{input}]}}");
        assert_eq!(web.post("/v2/models/iris_v1/infer", &body).status, status);
    }
}

#[test]
fn long_names_are_not_sent_back_at_length() {
    let mut options = HttpOptions::default();
    options.max_string_bytes = 1000;
    let web = Web::with(ModelManager::default(), options);
    let path = common::model_path("iris_v1");
    web.manager.load("iris", path, &LoadOptions::default()).unwrap();
    let body = format!("{{\"instances\": [{{\"{}\": 1}}]}}", "k".repeat(2000));
    let (_, message) = error(&web.post("/v1/models/iris:predict", &body));
    assert!(message.contains("a key of 2000 bytes (at most 1000)"), "{message}");
    let (status, message) = error(&web.get(&format!("/v2/models/{}", "m".repeat(100_000))));
    assert!(status == 404 && message.len() <= 4096);
}

#[test]
fn what_is_given_twice_is_refused() {
    let web = Web::of(&["iris_v1"]);
    let infer = "/v2/models/iris_v1/infer";
    let twice = r#"{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4],
                    "data": [1, 2, 3, 4], "shape": [4, 4]}]}"#;
    let (status, message) = error(&web.post(infer, twice));
    assert!(status == 400 && message.contains("twice"), "{message}");
    let good = r#"{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4],
                   "data": [1, 2, 3, 4]}]}"#;
    let length = good.len().to_string();
    let header = "Inference-Header-Content-Length";
    let ask = |all: &[(&str, &str)]| web.ask("POST", infer, all, good.as_bytes()).status;
    assert_eq!(ask(&[(header, &length)]), 200);
    assert_eq!(ask(&[(header, &length), (header, &length)]), 200);
    assert_eq!(ask(&[(header, &length), (header, "1")]), 400);
    assert_eq!(ask(&[(header, &format!("+{length}"))]), 400);
    assert_eq!(ask(&[("Content-Encoding", "Identity")]), 200);
    assert_eq!(ask(&[("Content-Encoding", "identity"), ("content-encoding", "gzip")]), 415);
}

#[test]
fn an_empty_token_opens_nothing_and_pages_need_one() {
    let path = common::model_path("iris_v1");
    let with = |token: Option<&str>, headers: &[(&str, &str)]| {
        let manager = ModelManager::default();
        manager.load("iris", &path, &LoadOptions::default()).unwrap();
        let mut options = HttpOptions::default();
        options.management = true;
        options.token = token.map(str::to_string);
        Web::with(manager, options).ask("POST", "/model/reload", headers, b"").status
    };
    assert_eq!(with(Some(""), &[]), 403);
    assert_eq!(with(Some(""), &[("Authorization", "Bearer ")]), 403);
    assert_eq!(with(None, &[("Origin", "https://elsewhere.example")]), 403);
    assert_eq!(with(None, &[]), 200);
    let shown = [("Origin", "https://here.example"), ("Authorization", "Bearer t")];
    assert_eq!(with(Some("t "), &shown), 200);
}

#[test]
fn messages_name_nodes_and_no_files_of_the_host() {
    let folder = common::scratch("remote_messages");
    // A path that nothing tells from other words.
    let file = folder.join("model.onnx");
    std::fs::copy(common::model_path("iris_v1"), &file).unwrap();
    let web = Web::new();
    web.manager.load("rel", &file, &LoadOptions::default()).unwrap();
    std::fs::write(&file, b"\x08\x07broken").unwrap();
    web.manager.reload("rel", None, &ReloadOptions::default()).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    web.manager.reload("rel", None, &ReloadOptions::default()).unwrap_err();
    let status = web.get("/v1/models/rel");
    let index = web.post("/v2/repository/index", "");
    for response in [status, index] {
        let text = common::http::text(&response).to_string();
        assert!(!text.contains("remote_messages") && !text.contains("model.onnx"), "{text}");
        assert!(text.contains("os error 2"), "{text}");
    }
}

#[test]
fn a_version_that_could_not_be_loaded_is_503_whatever_it_failed_with() {
    let folder = common::scratch("failed_versions");
    let file = folder.join("model.onnx");
    std::fs::copy(common::model_path("iris_v1"), &file).unwrap();
    // Room for one model and the file of another, and not for two.
    let size = {
        let manager = ModelManager::default();
        manager.load("a", &file, &LoadOptions::default()).unwrap();
        let held: u64 = manager.memory().iter().map(|m| m.weights + m.packed).sum();
        held.max(std::fs::metadata(&file).unwrap().len())
    };
    let manager = ModelManager::new(ManagerOptions {
        memory_budget: Some(size),
        memory_policy: MemoryPolicy::Evict,
        ..ManagerOptions::default()
    });
    manager.load("a", &file, &LoadOptions::default()).unwrap();
    manager.reload("a", Some(&folder.join("none.onnx")), &ReloadOptions::default()).unwrap_err();
    let mut options = HttpOptions::default();
    options.default_model = Some("a".to_string());
    let web = Web::with(manager.clone(), options);
    assert_eq!(web.get("/v2/models/a/versions/2/ready").status, 503);
    assert_eq!(web.get("/v2/models/a/versions/9/ready").status, 404);
    assert_eq!(web.post("/v1/models/a/versions/2:predict", r#"{"instances": [1]}"#).status, 503);
    // Another model takes the room; questions that need no answer load nothing.
    manager.load("b", common::model_path("iris_v2"), &LoadOptions::default()).unwrap();
    assert_eq!(web.get("/v2/models/a/ready").status, 200);
    assert_eq!(web.get("/v2/models/a/stats").status, 200);
    assert_eq!(web.get("/health").status, 200);
    assert!(manager.versions("b").unwrap()[0].serving, "nobody made room for a");
    // Its file is gone: it cannot come back here, and perhaps elsewhere.
    std::fs::remove_file(&file).unwrap();
    let row = r#"{"features": [1, 2, 3, 4]}"#;
    assert_eq!(web.post("/predict", row).status, 503);
    let rows = r#"{"instances": [[1, 2, 3, 4]]}"#;
    assert_eq!(web.post("/v1/models/a:predict", rows).status, 503);
    for path in ["/health", "/v2/health/ready", "/v2/models/a/ready"] {
        assert_eq!(web.get(path).status, 503, "{path}");
    }
}

#[test]
fn labels_of_classes_are_those_of_the_version_that_answered() {
    let scores = || Tensor::from_vec(&[1, 3], vec![0.2f32, 0.7, 0.1]).unwrap();
    let named = |names: [&str; 3]| {
        let names = names.map(Arc::from).to_vec();
        source(answering(&[("x", T::F32, &[None, Some(1)])], Some(names), scores))
    };
    let web = Web::new();
    web.manager.load_from("m", named(["a", "b", "c"]), &LoadOptions::default()).unwrap();
    let second = named(["z", "y", "x"]);
    let other_classes = ReloadOptions { allow_signature_change: true, ..ReloadOptions::default() };
    web.manager.load_version("m", second, &other_classes).unwrap();
    let to = Another::Version(2);
    let canary = CanaryRule { to, percent: 100.0, options: Default::default(), promotion: None };
    web.manager
        .set_policies("m", Policies { canary: Some(canary), ..Policies::default() })
        .unwrap();
    let body = r#"{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}],
                   "outputs": [{"name": "y", "parameters": {"classification": 2}}]}"#;
    let got = json(&web.post("/v2/models/m/infer", body));
    assert_eq!(got["model_version"], "2");
    assert_eq!(got["outputs"][0]["data"][0], "0.700000:1:y");
    let first = json(&web.post("/v2/models/m/versions/1/infer", body));
    assert_eq!(first["outputs"][0]["data"][0], "0.700000:1:b");
}

#[test]
fn a_request_that_nobody_waits_for_is_cancelled() {
    let web = Web::new();
    let signature = Signature {
        inputs: specs(&[("x", T::F32, &[None])]),
        outputs: specs(&[("x", T::F32, &[None])]),
        ..Signature::default()
    };
    let (started, begun) = channel();
    let model = FnModel::new(signature, move |request: &Request<'_>, ctx| {
        let Request::Run { inputs, .. } = request else { panic!("{request:?}") };
        started.send(()).unwrap();
        let cancel = ctx.cancel.clone().unwrap();
        let until = std::time::Instant::now() + WAIT;
        while !cancel.is_cancelled() && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(cancel.is_cancelled());
        Ok(Reply::Tensors(inputs.clone()))
    });
    web.manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let cancel = CancelToken::default();
    let request = HttpRequestBuf {
        method: "POST".to_string(),
        target: "/v1/models/m:predict".to_string(),
        body: br#"{"inputs": [1]}"#.to_vec().into(),
        cancel: cancel.clone(),
        ..HttpRequestBuf::default()
    };
    let (sender, answer) = channel();
    web.http.submit(request, move |response| sender.send(response.status).unwrap());
    begun.recv_timeout(WAIT).unwrap();
    cancel.cancel();
    let status = answer.recv_timeout(WAIT).unwrap();
    assert!(status == 499 || status == 200, "{status}");
}
