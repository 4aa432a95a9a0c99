//! The reference server's endpoints, as its clients and its load balancer know them.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Expected;
use common::http::{Web, error, every_truncation_is_refused, json, source, specs, text};
use common::iris::Checker;
use modelserve::tensor::{ElementType as T, Tensor};
use modelserve::{
    Answers, FnModel, HttpOptions, LoadOptions, Model, ModelManager, ReloadOptions, Request,
    Signature, Task,
};
use serde_json::{Value as Json, json as j};
use std::sync::atomic::{AtomicBool, Ordering};

fn iris() -> Web {
    Web::of(&["iris_v1"])
}

fn options(root: Option<&std::path::Path>) -> HttpOptions {
    let mut options = HttpOptions::default();
    (options.management, options.root) = (true, root.map(Into::into));
    options
}

#[test]
fn without_a_model_every_answer_sends_the_proxy_elsewhere() {
    let web = Web::new();
    let not_loaded = (503, "Model not loaded".to_string());
    assert_eq!(error(&web.post("/predict", r#"{"features": [1]}"#)), not_loaded);
    assert_eq!(error(&web.post("/predict/batch", r#"{"instances": [[1]]}"#)), not_loaded);
    let health = web.get("/health");
    assert_eq!(health.status, 503);
    let body = json(&health);
    assert_eq!((&body["status"], &body["model_loaded"]), (&j!("unhealthy"), &j!(false)));
    // Several models, and nobody says which is meant.
    let web = Web::of(&["iris_v1", "iris_v2"]);
    let (status, message) = error(&web.post("/predict", r#"{"features": [1]}"#));
    assert_eq!(status, 503);
    assert!(message.contains("default_model"), "{message}");
    let mut options = HttpOptions::default();
    options.default_model = Some("iris_v2".to_string());
    let web = Web::with(web.manager.clone(), options);
    assert_eq!(web.post("/predict", r#"{"features": [1, 2, 3, 4]}"#).status, 200);
}

#[test]
fn health_counts_predictions() {
    let web = iris();
    web.post("/predict", r#"{"features": [1, 2, 3, 4]}"#);
    web.post("/predict/batch", r#"{"instances": [[1, 2, 3, 4], [5, 6, 7, 8]]}"#);
    let health = web.get("/health");
    let body = json(&health);
    assert_eq!(health.status, 200);
    assert_eq!((&body["status"], &body["model_loaded"]), (&j!("healthy"), &j!(true)));
    assert_eq!(body["total_predictions"], 3);
    assert!(body["uptime_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(body.as_object().unwrap().len(), 4);
}

#[test]
fn a_prediction_has_the_trainers_label_and_the_largest_probability() {
    let web = Web::new();
    let options = LoadOptions { display_version: Some("1.0.0".into()), ..LoadOptions::default() };
    web.manager.load("iris", common::model_path("iris_v1"), &options).unwrap();
    let expected = Expected::of("iris_v1");
    let (want, width) = expected.matrix("probabilities").unwrap();
    let labels = expected.labels().unwrap();
    let check = |got: &Json, i: usize| {
        let label: f64 = labels[i].parse().unwrap();
        assert_eq!(got["prediction"].as_f64(), Some(label));
        let largest = want[i * width..(i + 1) * width].iter().copied().fold(0.0, f64::max);
        assert!(common::close(got["probability"].as_f64().unwrap(), largest, 1e-5), "{got}");
    };
    for i in 0..expected.rows {
        let body = j!({"features": expected.row(i), "request_id": format!("r\"{i}")});
        let response = web.post("/predict", body.to_string());
        assert_eq!(response.status, 200, "{}", text(&response));
        let got = json(&response);
        check(&got, i);
        assert_eq!(got["model_version"], "1.0.0");
        assert_eq!(got["request_id"], format!("r\"{i}"));
        assert!(got["latency_ms"].as_f64().unwrap() >= 0.0);
        assert_eq!(got.as_object().unwrap().len(), 5);
    }
    let rows: Vec<&[f32]> = (0..expected.rows).map(|i| expected.row(i)).collect();
    let response = web.post("/predict/batch", j!({"instances": rows}).to_string());
    let got = json(&response);
    assert_eq!(got["batch_size"], expected.rows);
    assert_eq!((&got["model_version"], &got["request_id"]), (&j!("1.0.0"), &Json::Null));
    for i in 0..expected.rows {
        check(&got["predictions"][i], i);
    }
    assert_eq!(got.as_object().unwrap().len(), 4);
    // Without a text of its own a version is shown by its number.
    web.manager.reload("iris", None, &ReloadOptions::default()).unwrap();
    let got = json(&web.post("/predict", j!({"features": expected.row(0)}).to_string()));
    assert_eq!((&got["model_version"], &got["request_id"]), (&j!("2"), &Json::Null));
}

#[test]
fn regressors_and_text_labels_are_answered_too() {
    let web = Web::of(&["linear_regression"]);
    let expected = Expected::of("linear_regression");
    let (want, _) = expected.matrix("values").unwrap();
    let got = json(&web.post("/predict", j!({"features": expected.row(0)}).to_string()));
    assert!(common::close(got["prediction"].as_f64().unwrap(), want[0], 1e-4));
    assert_eq!(got["probability"], Json::Null);
    let web = Web::of(&["logistic_strings"]);
    let expected = Expected::of("logistic_strings");
    let got = json(&web.post("/predict", j!({"features": expected.row(0)}).to_string()));
    assert_eq!(got["prediction"], expected.labels().unwrap()[0].as_str());
}

#[test]
fn nan_is_taken_and_answered_as_null() {
    let web = Web::new();
    let model = FnModel::regressor(2, |row| Ok(row.iter().sum()));
    web.manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let got = json(&web.post("/predict", r#"{"features": [NaN, 1]}"#));
    assert_eq!(got["prediction"], Json::Null);
    let got = json(&web.post("/predict/batch", r#"{"instances": [[Infinity, 1], [1, 2]]}"#));
    assert_eq!(got["predictions"][0]["prediction"], Json::Null);
    assert_eq!(got["predictions"][1]["prediction"], 3.0);
}

#[test]
fn inputs_of_doubles_keep_their_digits() {
    let web = Web::new();
    let signature = Signature {
        inputs: specs(&[("x", T::F64, &[None, Some(1)])]),
        outputs: specs(&[("y", T::F64, &[None, Some(1)])]),
        task: Task::Regressor,
        targets: 1,
        ..Signature::default()
    };
    let shared = signature.clone();
    let model = FnModel::new(signature, move |request, ctx| {
        let (Request::Row(x) | Request::Batch(x)) = request else { panic!("{request:?}") };
        let modelserve::Features::Tensor(x) = x else { panic!("{x:?}") };
        let answer = Answers::Values(Tensor::from_vec(x.dims(), x.to_f64_vec().unwrap()).unwrap());
        // The rest of the answer is that of any regressor.
        let any = FnModel::regressor(1, |_| Ok(0.0));
        let rows = vec![0f32; x.dims()[0]];
        let f32 = modelserve::Features::F32 { data: &rows, rows: rows.len(), width: 1 };
        let mut all = any.call(&Request::Batch(f32), ctx)?.into_batch()?;
        all.answers = answer;
        assert_eq!(shared.targets, 1);
        match request {
            Request::Row(_) => Ok(all.row(0)?.into()),
            _ => Ok(all.into()),
        }
    });
    web.manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let x = 0.123_456_789_012_345_6;
    let got = json(&web.post("/predict", format!("{{\"features\": [{x:?}]}}")));
    assert_eq!(got["prediction"].as_f64(), Some(x));
    let got = json(&web.post("/predict/batch", format!("{{\"instances\": [[{x:?}], [2]]}}")));
    assert_eq!(got["predictions"][0]["prediction"].as_f64(), Some(x));
}

#[test]
fn bad_input_is_400_so_that_no_proxy_tries_it_again() {
    let web = iris();
    for (path, body, says) in [
        ("/predict", "", "JSON decode error"),
        ("/predict", "{", "JSON decode error"),
        ("/predict", r#"{"features": [1, 2, 3, 4]} x"#, "JSON decode error"),
        ("/predict", "[1]", "the body has to be a JSON object"),
        ("/predict", "{}", "'features' is missing"),
        ("/predict", r#"{"features": 1}"#, "'features' has to be a list of numbers"),
        ("/predict", r#"{"features": ["a"]}"#, "'features[0]' has to be a number, got \"a\""),
        ("/predict", r#"{"features": [1, null]}"#, "'features[1]' has to be a number, got null"),
        ("/predict", r#"{"features": [1, 2, 3]}"#, "model 'iris_v1': input 'X'"),
        ("/predict", r#"{"features": []}"#, "model 'iris_v1': input 'X'"),
        ("/predict", r#"{"features": [1, 2, 3, 4], "request_id": 5}"#, "'request_id' has to be"),
        ("/predict/batch", r#"{"instances": []}"#, "'instances' is empty"),
        (
            "/predict/batch",
            r#"{"instances": [[1], [true]]}"#,
            "'instances[1][0]' has to be a number, got true",
        ),
        ("/predict/batch", r#"{"instances": [1]}"#, "'instances' has to be a list of lists"),
        (
            "/predict/batch",
            r#"{"instances": [[1, 2, 3, 4], [1]]}"#,
            "'instances[1]' has 1 values, the rows before have 4",
        ),
        ("/predict/batch", r#"{"instances": [[1, 2, 3]]}"#, "model 'iris_v1': input 'X'"),
        ("/predict/batch", r#"{"features": [[1]]}"#, "'instances' is missing"),
    ] {
        let (status, message) = error(&web.post(path, body));
        assert_eq!(status, 400, "{body}: {message}");
        assert!(message.starts_with(says), "{body}:\n{message}\n{says}");
    }
    for (method, path, status) in [
        ("GET", "/predict", 405),
        ("POST", "/health", 405),
        ("GET", "/model/reload", 405),
        ("GET", "/", 404),
        ("GET", "/docs", 404),
    ] {
        assert_eq!(error(&web.ask(method, path, &[], b"")).0, status, "{path}");
    }
}

#[test]
fn no_body_makes_it_panic() {
    let web = iris();
    let body =
        r#"{"request_id": "a\u00e4\n", "x": {"y": [true, null]}, "features": [1, 2.5, -3e1, 4]}"#;
    every_truncation_is_refused(&web, "/predict", body);
    let body = r#"{"instances": [[1, 2, 3, 4], [5, 6, 7, 8]], "request_id": null}"#;
    every_truncation_is_refused(&web, "/predict/batch", body);
}

#[test]
fn limits_are_checked() {
    let mut options = HttpOptions::default();
    options.max_rows = 2;
    let web = Web::with(iris().manager.clone(), options);
    let row = "[1, 2, 3, 4]";
    let batch = |n: usize| format!("{{\"instances\": [{}]}}", vec![row; n].join(","));
    assert_eq!(web.post("/predict/batch", batch(2)).status, 200);
    assert_eq!(error(&web.post("/predict/batch", batch(3))).0, 413);
}

#[test]
fn reloading_by_request_is_off_unless_turned_on() {
    let web = iris();
    assert_eq!(error(&web.post("/model/reload", "")).0, 403);
    assert_eq!(web.manager.info("iris_v1").unwrap().version, 1);
    let mut options = options(None);
    options.token = Some("t".to_string());
    let web = Web::with(web.manager.clone(), options);
    assert_eq!(error(&web.post("/model/reload", "")).0, 401);
    let headers = [("Authorization", "Bearer t")];
    let response = web.ask("POST", "/model/reload", &headers, b"");
    assert_eq!(json(&response), j!({"status": "reloaded", "version": "2"}));
}

#[test]
fn a_reload_reaches_files_beneath_the_root_only() {
    let base = common::scratch("reference_root");
    let root = base.join("root");
    std::fs::create_dir_all(root.join("new")).unwrap();
    std::fs::copy(common::model_path("iris_v2"), root.join("new/model.onnx")).unwrap();
    std::fs::copy(common::model_path("iris_v2"), base.join("outside.onnx")).unwrap();
    std::fs::write(root.join("broken.onnx"), b"no model").unwrap();
    let web = Web::with(iris().manager.clone(), options(Some(&root)));
    let reload = |path: &str| web.post(&format!("/model/reload?model_path={path}"), "");
    let absolute = root.join("new/model.onnx").display().to_string();
    for path in [
        "..%2Foutside.onnx",
        "../outside.onnx",
        "new/../../outside.onnx",
        "%2Fetc%2Fpasswd",
        &absolute,
        "missing.onnx",
        "new/model.pkl",
        "",
        "%00",
        "broken.onnx",
    ] {
        let (status, message) = error(&reload(path));
        assert_eq!(status, 400, "{path}: {message}");
        assert!(!message.contains(base.to_str().unwrap()), "{message}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(base.join("outside.onnx"), root.join("link.onnx")).unwrap();
        std::os::unix::fs::symlink(&base, root.join("up")).unwrap();
        assert_eq!(error(&reload("link.onnx")).0, 400);
        assert_eq!(error(&reload("up/outside.onnx")).0, 400);
    }
    assert_eq!(web.manager.info("iris_v1").unwrap().version, 1, "nothing was loaded");
    for (path, version) in [("new/model.onnx", "2"), ("new", "3"), ("new%2Fmodel.onnx", "4")] {
        let response = reload(path);
        assert_eq!(response.status, 200, "{}", text(&response));
        assert_eq!(json(&response)["version"], version);
    }
    // Without a root no path is one.
    let web = Web::with(web.manager.clone(), options(None));
    assert_eq!(error(&web.post("/model/reload?model_path=new", "")).0, 400);
}

/// Checklist 10: no request sees a version's number with another's weights.
#[test]
fn a_swap_under_load_mixes_nothing() {
    let checker = Checker::new();
    let web = Web::new();
    let (path, load) = common::iris::version(1);
    web.manager.load("iris", path, &load).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..3)
            .map(|k| {
                let (web, checker, stop) = (&web, &checker, &stop);
                scope.spawn(move || {
                    let mut asked = 0usize;
                    while !stop.load(Ordering::Relaxed) || asked == 0 {
                        let i = (asked * 7 + k) % checker.rows.rows;
                        let body = j!({"features": checker.rows.row(i)}).to_string();
                        let response = web.post("/predict", &body);
                        assert_eq!(response.status, 200, "{}", text(&response));
                        let got = json(&response);
                        let version: u64 = got["model_version"].as_str().unwrap().parse().unwrap();
                        assert_eq!(
                            response.header("x-modelserve-version"),
                            got["model_version"].as_str()
                        );
                        let lease = modelserve::load(
                            common::iris::version(version).0,
                            &LoadOptions::default(),
                        );
                        let right = lease.unwrap().predict_row(checker.rows.row(i)).unwrap();
                        let modelserve::Answer::Int(label) = right.answer else { panic!() };
                        assert_eq!(got["prediction"].as_f64(), Some(label as f64));
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for number in 2..20 {
            let (path, load) = common::iris::version(number);
            let options = ReloadOptions { load: Some(load), ..ReloadOptions::default() };
            web.manager.reload("iris", Some(&path), &options).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(askers.into_iter().map(|a| a.join().unwrap()).sum::<usize>() >= 3);
    });
}

#[test]
fn submitted_requests_are_answered_alike() {
    let web = iris();
    for (method, path, body) in [
        ("POST", "/predict", r#"{"features": [1, 2, 3, 4]}"#),
        ("POST", "/predict/batch", r#"{"instances": [[1, 2, 3, 4]]}"#),
        ("POST", "/predict", r#"{"features": [1]}"#),
        ("POST", "/predict", "{"),
        ("GET", "/nothing", ""),
    ] {
        let mut here = web.ask(method, path, &[], body.as_bytes());
        let mut there = web.submit(method, path, body);
        // How long it took is all that differs.
        for response in [&mut here, &mut there] {
            if response.status == 200 {
                let mut answer = json(response);
                answer.as_object_mut().unwrap().remove("latency_ms");
                response.body = answer.to_string().into_bytes();
            }
        }
        assert_eq!(here, there, "{path}");
    }
}

#[test]
fn the_configuration_file_says_how_http_is_spoken() {
    let folder = common::scratch("http_config");
    let file = folder.join("modelserve.toml");
    let model = common::model_path("iris_v1");
    let write = |http: &str| {
        let models = format!("[models.a]\npath = {model:?}\n[models.b]\npath = {model:?}\n");
        std::fs::write(&file, format!("{models}[http]\n{http}")).unwrap();
        ModelManager::from_config(&file)
    };
    let manager =
        write("default_model = \"b\"\nmanagement = true\ntoken = \"t\"\nmax_rows = 1").unwrap();
    let ask = |method, path, headers: &[(&str, &str)], body: &str| {
        manager.http_handle(method, path, headers, body.as_bytes())
    };
    assert_eq!(ask("POST", "/predict", &[], r#"{"features": [1, 2, 3, 4]}"#).status, 200);
    let two = r#"{"instances": [[1, 2, 3, 4], [1, 2, 3, 4]]}"#;
    assert_eq!(ask("POST", "/predict/batch", &[], two).status, 413);
    assert_eq!(ask("POST", "/model/reload", &[], "").status, 401);
    assert_eq!(ask("POST", "/model/reload", &[("authorization", "Bearer t")], "").status, 200);
    assert_eq!(manager.info("b").unwrap().version, 2);
    assert!(!format!("{:?}", manager.http_options()).contains("\"t\""));
    let e = write("default_model = \"c\"").unwrap_err();
    assert!(e.to_string().contains("http.default_model"), "{e}");
    let plain = ModelManager::default().http_options();
    assert!(!plain.management && plain.token.is_none());
    assert_eq!(plain.max_body_bytes, 64 << 20);
}

#[test]
fn a_fallback_says_so_in_its_route() {
    use modelserve::{Another, FallbackRule, FallbackTo, Policies};
    let web = Web::new();
    let broken = FnModel::regressor(1, |_| {
        Err(modelserve::Error::new(modelserve::ErrorKind::Execution, "out of order"))
    });
    web.manager.load_from("m", source(broken), &LoadOptions::default()).unwrap();
    let spare = FnModel::regressor(1, |row| Ok(row[0]));
    let shown = LoadOptions { display_version: Some("spare".into()), ..LoadOptions::default() };
    web.manager.load_from("s", source(spare), &shown).unwrap();
    let rule = FallbackRule { to: FallbackTo::Another(Another::Model("s".into())), on: None };
    let policies = Policies { fallback: vec![rule], ..Policies::default() };
    web.manager.set_policies("m", policies).unwrap();
    let mut options = HttpOptions::default();
    options.default_model = Some("m".to_string());
    let web = Web::with(web.manager.clone(), options);
    let response = web.post("/predict", r#"{"features": [5]}"#);
    assert_eq!(response.status, 200, "{}", text(&response));
    assert_eq!(response.header("x-modelserve-route"), Some("fallback"));
    assert_eq!(json(&response)["prediction"], 5.0);
}
