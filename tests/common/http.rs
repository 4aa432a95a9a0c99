//! Asking a manager by HTTP, without a network.

use modelserve::graph::{Dim, ValueType};
use modelserve::tensor::ElementType;
use modelserve::{
    FnModel, Http, HttpOptions, HttpRequest, HttpRequestBuf, HttpResponse, LoadOptions,
    ModelManager, ModelSource, Reply, Request, Signature, TensorSpec,
};
use serde_json::Value as Json;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A manager behind its HTTP protocols.
pub struct Web {
    pub manager: ModelManager,
    pub http: Http,
}

impl Web {
    /// Without models.
    pub fn new() -> Web {
        Web::with(ModelManager::default(), HttpOptions::default())
    }

    pub fn with(manager: ModelManager, options: HttpOptions) -> Web {
        let http = manager.http(options);
        Web { manager, http }
    }

    /// With test models, each under its own name.
    pub fn of(names: &[&str]) -> Web {
        let web = Web::new();
        for name in names {
            let path = super::model_path(name);
            web.manager.load(name, path, &LoadOptions::default()).unwrap();
        }
        web
    }

    /// With one model made in code, named `m`.
    pub fn echo(specs: &[Spec<'_>]) -> Web {
        let web = Web::new();
        web.manager.load_from("m", source(echo(specs)), &LoadOptions::default()).unwrap();
        web
    }

    pub fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        self.http.handle(&HttpRequest { method, target, headers, body })
    }

    pub fn get(&self, target: &str) -> HttpResponse {
        self.ask("GET", target, &[], b"")
    }

    pub fn post(&self, target: &str, body: impl AsRef<[u8]>) -> HttpResponse {
        self.ask("POST", target, &[], body.as_ref())
    }

    /// Asks on another thread, and waits for the answer.
    pub fn submit(&self, method: &str, target: &str, body: &str) -> HttpResponse {
        let (sender, receiver) = mpsc::channel();
        let caller = std::thread::current().id();
        let request = HttpRequestBuf {
            method: method.to_string(),
            target: target.to_string(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec().into(),
            ..HttpRequestBuf::default()
        };
        self.http.submit(request, move |response| {
            assert_ne!(std::thread::current().id(), caller);
            sender.send(response).unwrap();
        });
        let response = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(receiver.recv().is_err(), "answered twice");
        response
    }
}

/// The body as JSON.
pub fn json(response: &HttpResponse) -> Json {
    let text = std::str::from_utf8(&response.body).unwrap();
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The body as text.
pub fn text(response: &HttpResponse) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

/// The message of an error, under the key of its protocol, and its status.
pub fn error(response: &HttpResponse) -> (u16, String) {
    assert_eq!(response.header("content-type"), Some("application/json"));
    let body = json(response);
    let message = body["error"].as_str().or(body["detail"].as_str());
    (response.status, message.unwrap_or_else(|| panic!("{body}")).to_string())
}

/// A name, an element type and dimensions: `None` where they vary.
pub type Spec<'a> = (&'a str, ElementType, &'a [Option<usize>]);

pub fn specs(all: &[Spec<'_>]) -> Vec<TensorSpec> {
    all.iter()
        .map(|(name, dtype, dims)| {
            let dims: Vec<Dim> =
                dims.iter().map(|dim| dim.map_or(Dim::Unknown, Dim::Fixed)).collect();
            let batch_axis = (!dims.is_empty()).then_some(0);
            let ty = Some(ValueType::Tensor { dtype: *dtype, dims: Some(dims) });
            TensorSpec { name: name.to_string(), ty, batch_axis }
        })
        .collect()
}

/// A model that answers each input as the output of the same name.
pub fn echo(all: &[Spec<'_>]) -> FnModel {
    let signature = Signature { inputs: specs(all), outputs: specs(all), ..Signature::default() };
    let names: Vec<String> = all.iter().map(|(name, ..)| name.to_string()).collect();
    FnModel::new(signature, move |request, _| {
        let Request::Run { inputs, outputs } = request else { panic!("{request:?}") };
        let wanted: &[String] = if outputs.is_empty() { &names } else { outputs };
        let find = |name: &String| inputs.iter().find(|(n, _)| n == name).unwrap().clone();
        Ok(Reply::Tensors(wanted.iter().map(find).collect()))
    })
}

/// A model that is made in code, to be loaded.
pub fn source(model: FnModel) -> ModelSource {
    ModelSource::Model(Arc::new(model))
}

/// Every beginning of a good request is refused as the client's fault, and none panics.
pub fn every_truncation_is_refused(web: &Web, target: &str, body: &str) {
    assert_eq!(web.post(target, body).status, 200, "{}", text(&web.post(target, body)));
    for end in 0..body.trim_end().len() {
        let response = web.post(target, &body.as_bytes()[..end]);
        let cut = &body[..end];
        assert!((400..500).contains(&response.status), "{}: {cut}", response.status);
    }
    // Single bytes turned: any answer but a fault of the server's.
    for i in 0..body.len() {
        for byte in [b'\0', b'"', b'{', b']', b'9', b'-', b'\\', 0xff] {
            let mut bytes = body.as_bytes().to_vec();
            bytes[i] = byte;
            let response = web.post(target, &bytes);
            assert!(response.status < 500, "{}: {bytes:?}", response.status);
        }
    }
}
