//! Every kind of error can be brought about through the public interface, and is told as such.

#![cfg(all(unix, feature = "onnx", feature = "safetensors"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::onnx::{Float, Node};
use modelserve::policy::admit::AdmitOptions;
use modelserve::policy::breaker::BreakerOptions;
use modelserve::{
    CancelToken, Ctx, Error, ErrorKind, Features, FnModel, LoadOptions, ModelManager, ModelSource,
    Policies, Request, load, load_bytes,
};
use std::sync::Arc;
use std::time::Instant;

fn regressor(f: impl Fn(f32) -> Result<f32, Error> + Send + Sync + 'static) -> ModelSource {
    ModelSource::Model(Arc::new(FnModel::regressor(1, move |row| f(row[0]))))
}

/// A manager whose model `m` answers by a function.
fn host(f: impl Fn(f32) -> Result<f32, Error> + Send + Sync + 'static) -> ModelManager {
    let manager = ModelManager::default();
    manager.load_from("m", regressor(f), &LoadOptions::default()).unwrap();
    manager
}

fn ask(manager: &ModelManager, mut ctx: Ctx) -> Error {
    let row = Request::Row(Features::F32 { data: &[1.0], rows: 1, width: 1 });
    manager.call("m", &row, &mut ctx).unwrap_err()
}

/// An error of the kind.
fn raised(kind: ErrorKind) -> Error {
    let plain = LoadOptions::default();
    let iris = common::model_path("iris_v1");
    let well = || host(Ok);
    match kind {
        ErrorKind::InvalidModel => load_bytes(vec![0xff; 64], &plain).unwrap_err(),
        ErrorKind::Unsupported => {
            let float = Float("x", &[None]);
            let unknown = common::onnx::model(
                &[Node("NoSuchOperator", &["x"], &["y"])],
                &[],
                &[float],
                &[Float("y", &[None])],
            );
            load_bytes(unknown, &plain).unwrap_err()
        }
        ErrorKind::LimitExceeded => {
            let mut small = LoadOptions::default();
            small.limits.file_bytes = 10;
            load(iris, &small).unwrap_err()
        }
        ErrorKind::InvalidInput => well().predict_row("m", &[1.0, 2.0]).unwrap_err(),
        ErrorKind::InvalidArgument => {
            ModelManager::default().load("no/name", iris, &plain).unwrap_err()
        }
        ErrorKind::NotFound => well().predict_row("another", &[1.0]).unwrap_err(),
        ErrorKind::AlreadyExists => well().load("m", iris, &plain).unwrap_err(),
        ErrorKind::NotReady => {
            let manager = host(|_| Err(Error::new(ErrorKind::Execution, "out of order")));
            let breaker = Some(BreakerOptions { min_requests: 1, ..BreakerOptions::default() });
            manager.set_policies("m", Policies { breaker, ..Policies::default() }).unwrap();
            ask(&manager, Ctx::default());
            ask(&manager, Ctx::default())
        }
        ErrorKind::Overloaded => {
            // The one request that may be inside asks for another.
            let itself = ModelManager::default();
            let inner = itself.clone();
            let model = regressor(move |_| Err(ask(&inner, Ctx::default())));
            itself.load_from("m", model, &plain).unwrap();
            let admission = Some(AdmitOptions { max_in_flight: 1, ..AdmitOptions::default() });
            itself.set_policies("m", Policies { admission, ..Policies::default() }).unwrap();
            ask(&itself, Ctx::default())
        }
        ErrorKind::DeadlineExceeded => {
            ask(&well(), Ctx { deadline: Some(Instant::now()), ..Ctx::default() })
        }
        ErrorKind::Cancelled => {
            let cancel = CancelToken::default();
            cancel.cancel();
            ask(&well(), Ctx { cancel: Some(cancel), ..Ctx::default() })
        }
        ErrorKind::PermissionDenied => {
            // What lies beside the model leads out of its folder.
            let (folder, model) = (common::scratch("error-kinds"), "digits_mlp_safetensors");
            let there = common::data().join(model);
            std::fs::copy(common::model_path(model), folder.join("model.safetensors")).unwrap();
            let config = there.join("config.json").canonicalize().unwrap();
            std::os::unix::fs::symlink(config, folder.join("config.json")).unwrap();
            load(folder, &plain).unwrap_err()
        }
        ErrorKind::Io => load("n".repeat(4_000), &plain).unwrap_err(),
        ErrorKind::Execution => {
            ask(&host(|_| Err(Error::new(ErrorKind::Execution, "no root"))), Ctx::default())
        }
        ErrorKind::Internal => ask(&host(|_| panic!("a defect")), Ctx::default()),
        other => panic!("{other:?} has no case"),
    }
}

#[test]
fn every_kind_of_error_is_raised() {
    for kind in ErrorKind::ALL {
        let error = raised(kind);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.message().is_empty());
    }
}
