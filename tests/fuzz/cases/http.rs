//! Any bytes as an HTTP request: an answer, and never the server's fault.

mod echo;

use echo::echo;
use modelserve::graph::{Dim, ValueType};
use modelserve::tensor::ElementType;
use modelserve::{
    FnModel, Http, HttpOptions, HttpRequest, LoadOptions, ModelManager, ModelSource, TensorSpec,
};
use std::sync::{Arc, LazyLock};

const TYPES: [ElementType; 5] =
    [ElementType::F32, ElementType::I8, ElementType::U64, ElementType::String, ElementType::F16];

fn specs(types: &[ElementType]) -> Vec<TensorSpec> {
    let spec = |(i, dtype): (usize, &ElementType)| TensorSpec {
        name: ["a", "b_bytes", "c", "d", "e"][i].to_string(),
        ty: Some(ValueType::Tensor { dtype: *dtype, dims: Some(vec![Dim::Unknown]) }),
        batch_axis: Some(0),
    };
    types.iter().enumerate().map(spec).collect()
}

static HTTP: LazyLock<Http> = LazyLock::new(|| {
    let manager = ModelManager::default();
    let load = |name: &str, model: FnModel| {
        let source = ModelSource::Model(Arc::new(model));
        manager.load_from(name, source, &LoadOptions::default()).map(drop)
    };
    load("all", echo(specs(&TYPES))).unwrap();
    load("text", echo(specs(&TYPES[3..4]))).unwrap();
    load("row", FnModel::regressor(2, |row| Ok(row.iter().sum()))).unwrap();
    let mut options = HttpOptions::default();
    options.default_model = Some("row".to_string());
    options.management = true;
    manager.http(options)
});

const TARGETS: [&str; 10] = [
    "/predict",
    "/predict/batch",
    "/v1/models/all:predict",
    "/v1/models/text:predict",
    "/v1/models/row:predict",
    "/v1/models/row:regress",
    "/v2/models/all/infer",
    "/v2/models/text/infer",
    "/v2/models/row/infer",
    "/v2/repository/index",
];

pub fn run(data: &[u8]) {
    let [first, second, rest @ ..] = data else { return };
    let json = usize::from(*second).to_string();
    let binary = [("Inference-Header-Content-Length", json.as_str())];
    let headers = if first & 0x80 == 0 { &[][..] } else { &binary[..] };
    let text = String::from_utf8_lossy(rest);
    // Each tenth input is a path.
    let (method, target, body) = match TARGETS.get(usize::from(first & 0x7f) % (TARGETS.len() + 1))
    {
        Some(target) => ("POST", *target, rest),
        None if *second == 0 => ("POST", &*text, &[][..]),
        None => ("GET", &*text, &[][..]),
    };
    let response = HTTP.handle(&HttpRequest { method, target, headers, body });
    // 504 is the deadline that the request itself has set.
    let fault = response.status >= 500 && !matches!(response.status, 501 | 503 | 504);
    assert!(!fault, "{response:?}");
}
