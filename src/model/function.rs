//! A model that is a Rust function.

use super::{
    Answers, Ctx, Format, Model, ModelInfo, Predictions, Reply, Request, ScoreKind, Signature,
    Task, TensorSpec,
};
use crate::error::{Result, ensure};
use crate::graph::{Dim, ValueType};
use crate::tensor::{ElementType, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

type Call = Box<dyn Fn(&Request<'_>, &mut Ctx) -> Result<Reply> + Send + Sync>;

/// A model computed by a function of the host: a rule, a constant, a call to elsewhere. It is
/// served like any other, and stands in for one in tests of policies.
pub struct FnModel {
    info: ModelInfo,
    call: Call,
}

impl FnModel {
    /// A model that answers with `call`, whose time is the run's. It says nothing of a file: no digest, so that no cache
    /// keeps its answers (see [`FnModel::with_digest`]).
    pub fn new(
        signature: Signature,
        call: impl Fn(&Request<'_>, &mut Ctx) -> Result<Reply> + Send + Sync + 'static,
    ) -> FnModel {
        let info = ModelInfo {
            name: None,
            version: 1,
            display_version: None,
            format: Format::Native,
            signature: Arc::new(signature),
            weight_bytes: 0,
            digest: "".into(),
            companions: "".into(),
            path: None,
            options: Arc::default(),
            loaded_at: SystemTime::now(),
            load_duration: Duration::ZERO,
            metadata: BTreeMap::new(),
            fast_path: false,
            deterministic: true,
        };
        FnModel { info, call: Box::new(call) }
    }

    /// A regressor of one target over rows of `width` `float32` features: input `x`
    /// `[rows, width]`, output `y` `[rows, 1]`.
    pub fn regressor(
        width: usize,
        f: impl Fn(&[f32]) -> Result<f32> + Send + Sync + 'static,
    ) -> FnModel {
        let spec = |name: &str, width| TensorSpec {
            name: name.to_string(),
            ty: Some(ValueType::Tensor {
                dtype: ElementType::F32,
                dims: Some(vec![Dim::Unknown, Dim::Fixed(width)]),
            }),
            batch_axis: Some(0),
        };
        let signature = Signature {
            inputs: vec![spec("x", width)],
            outputs: vec![spec("y", 1)],
            task: Task::Regressor,
            classes: None,
            feature_names: None,
            targets: 1,
            has_probabilities: false,
        };
        let shared = Arc::new(signature.clone());
        FnModel::new(signature, move |request, _| answer_rows(&shared, request, &f))
    }

    /// The same model as version `version`.
    #[must_use]
    pub fn with_version(mut self, version: u64) -> FnModel {
        self.info.version = version;
        self
    }

    /// The same model, saying that its answers depend on the request alone and are named by
    /// `digest`: a cache may keep them.
    #[must_use]
    pub fn with_digest(mut self, digest: &str) -> FnModel {
        self.info.digest = digest.into();
        self
    }
}

fn answer_rows(
    signature: &Arc<Signature>,
    request: &Request<'_>,
    f: &(impl Fn(&[f32]) -> Result<f32> + Send + Sync),
) -> Result<Reply> {
    let limits = crate::limits::RequestLimits::default();
    let bind = |features| super::request::bind(signature, features, &limits);
    let bound = match request {
        Request::Row(features) | Request::Batch(features) => bind(features.clone())?,
        Request::Run { inputs, .. } => {
            let columns = inputs
                .iter()
                .map(|(name, value)| Ok((name.clone(), value.as_tensor()?.clone())))
                .collect::<Result<Vec<_>>>()?;
            bind(super::Features::Columns(columns))?
        }
    };
    let rows = bound.rows;
    let width = signature.inputs.first().and_then(TensorSpec::row_width).unwrap_or(0);
    let mut values = Vec::with_capacity(rows);
    if let Some(input) = bound.values.first() {
        let data = input.as_tensor()?.as_slice::<f32>()?;
        for row in 0..rows {
            values.push(f(data.get(row * width..(row + 1) * width).unwrap_or_default())?);
        }
    }
    let values = Tensor::from_vec(&[rows, 1], values)?;
    if let Request::Run { outputs, .. } = request {
        ensure!(
            outputs.iter().all(|name| name == "y"),
            InvalidInput,
            "the model's only output is 'y'"
        );
        return Ok(Reply::Tensors(vec![("y".to_string(), values.into())]));
    }
    let predictions = Predictions {
        rows,
        task: Task::Regressor,
        answers: Answers::Values(values),
        scores: None,
        scores_kind: ScoreKind::Scores,
        classes: None,
        model_version: 0,
        latency: Duration::ZERO,
        receipt: Default::default(),
    };
    match request {
        Request::Row(_) => {
            ensure!(rows == 1, InvalidInput, "predict takes one row, got {rows}");
            Ok(predictions.row(0)?.into())
        }
        _ => Ok(predictions.into()),
    }
}

impl Model for FnModel {
    fn signature(&self) -> Arc<Signature> {
        self.info.signature.clone()
    }

    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        ctx.check()?;
        let began = ctx.begin_run();
        ctx.receipt.run = Duration::ZERO;
        let mut reply = super::graph_model::contain(|| (self.call)(request, ctx))?;
        let took = ctx.end_run(began);
        reply.set_latency(took);
        // A function that waits for another model may know its run better.
        if ctx.receipt.run.is_zero() {
            ctx.receipt.run = took;
        }
        reply.set_version(self.info.version);
        ctx.receipt.version = self.info.version;
        if !self.info.digest.is_empty() {
            ctx.receipt.digest = Some(self.info.digest.clone());
        }
        if ctx.receipt.batch_rows == 0 {
            ctx.receipt.batch_rows = u32::try_from(request.rows()).unwrap_or(u32::MAX);
        }
        Ok(reply)
    }
}

impl std::fmt::Debug for FnModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FnModel").field("signature", &self.info.signature).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::err;
    use crate::model::{Answer, Features};

    fn sum() -> FnModel {
        FnModel::regressor(2, |row| match row {
            [a, _] if a.is_nan() => Err(err!(Execution, "not a number")),
            _ => Ok(row.iter().sum()),
        })
    }

    #[test]
    fn a_function_answers_rows_batches_and_names() {
        let model = sum().with_version(3);
        let p = model.predict_row(&[1.0, 2.0]).unwrap();
        assert_eq!((p.answer, p.model_version, p.receipt.version), (Answer::Value(3.0), 3, 3));
        let b =
            model.predict_batch(Features::F32 { data: &[1.0, 2.0, 3.0, 4.0], rows: 2, width: 2 });
        assert_eq!(b.unwrap().row(1).unwrap().answer, Answer::Value(7.0));
        let x = Tensor::from_vec(&[1, 2], vec![1f32, 1.0]).unwrap();
        let out = model.run(vec![("x".into(), x.into())], &["y"]).unwrap();
        assert_eq!(out[0].1.as_tensor().unwrap().as_slice::<f32>().unwrap(), [2.0]);
        assert!(model.predict_row(&[1.0]).is_err());
        assert!(model.predict_row(&[f32::NAN, 1.0]).is_err());
    }

    #[test]
    fn a_submitted_request_is_answered_elsewhere() {
        let (tx, rx) = std::sync::mpsc::channel();
        let here = std::thread::current().id();
        let request = Request::Row(Features::F32 { data: &[1.0, 2.0], rows: 1, width: 2 });
        let done = super::super::Done::new(move |result, ctx| {
            let row = result.and_then(Reply::into_row);
            tx.send((row.unwrap().answer, ctx.receipt.version, std::thread::current().id()))
                .unwrap();
        });
        Arc::new(sum()).submit(request.into_owned().unwrap(), Ctx::default(), done);
        let (answer, version, there) = rx.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!((answer, version), (Answer::Value(3.0), 1));
        assert_ne!(here, there);
    }
}
