//! Which requests may run together.

use crate::error::Result;
use crate::model::{Ctx, Done, Features, Model, Receipt, Reply, Request, Signature};
use crate::tensor::{ElementType, Tensor};
use smallvec::SmallVec;
use std::sync::Arc;

/// What requests must have in common to share a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The outputs wanted by name; `None` for rows, whose outputs the model's meaning names.
    pub outputs: Option<Arc<[String]>>,
    /// Element type and dimensions after the first of each input, in input order.
    inputs: SmallVec<[(ElementType, SmallVec<[usize; 3]>); 1]>,
}

/// How a member wants its rows answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Row,
    Batch,
    Outputs,
}

/// The rows of a request, checked and in the model's own form.
#[derive(Debug)]
pub(super) struct Rows {
    pub group: Group,
    pub want: Want,
    /// One tensor an input, each with `count` rows.
    pub inputs: Vec<Tensor>,
    /// At least 1.
    pub count: usize,
}

/// A request in the queue.
pub(super) struct Member {
    /// What can run together with others; `None` runs alone.
    pub rows: Option<Rows>,
    /// The request itself, where nobody is blocked on it who has it.
    pub request: Option<Request<'static>>,
    pub ctx: Ctx,
    /// Whom to tell, where nobody is blocked on it.
    pub done: Option<Done>,
}

/// What a blocked caller is told.
pub(super) type Told = (Result<Reply>, Receipt);

/// Whether rows of the model's inputs can be joined at all.
pub(super) fn joinable(signature: &Signature) -> bool {
    let inputs = &signature.inputs;
    !inputs.is_empty() && inputs.iter().all(|input| input.batch_axis == Some(0))
}

/// Checks a request's rows and brings them into the model's own form. `None` where they cannot
/// share a run with others: none or too many rows (`most` or more), or inputs that are not rows.
///
/// # Errors
/// As [`Model::bind`].
pub(super) fn rows_of(
    inner: &dyn Model,
    signature: &Signature,
    request: &Request<'_>,
    most: usize,
) -> Result<Option<Rows>> {
    let (want, outputs, inputs) = match request {
        Request::Row(features) => (Want::Row, None, inner.bind(features.clone())?.0),
        Request::Batch(features) => (Want::Batch, None, inner.bind(features.clone())?.0),
        Request::Run { inputs, outputs } => {
            let specs = &signature.inputs;
            let mut columns = Vec::with_capacity(inputs.len());
            for (name, value) in inputs {
                match value.as_tensor() {
                    Ok(tensor) if specs.iter().any(|spec| spec.name == *name) => {
                        columns.push((name.clone(), tensor.clone()));
                    }
                    // The model itself says best what is wrong, when it is this one's turn.
                    _ => return Ok(None),
                }
            }
            match inner.bind(Features::Columns(columns)) {
                Ok((inputs, _)) => (Want::Outputs, Some(outputs.clone()), inputs),
                Err(_) => return Ok(None),
            }
        }
    };
    let count = inputs.first().and_then(|t| t.dims().first().copied()).unwrap_or(0);
    let even = inputs.iter().all(|t| t.dims().first() == Some(&count));
    if !even || count == 0 || count >= most || (want == Want::Row && count != 1) {
        return Ok(None);
    }
    let tail = |t: &Tensor| (t.dtype(), t.dims().iter().skip(1).copied().collect());
    let group = Group { outputs, inputs: inputs.iter().map(tail).collect() };
    Ok(Some(Rows { group, want, inputs, count }))
}

impl Rows {
    /// The rows as the request of one member.
    pub(super) fn request(&self, signature: &Signature) -> Request<'static> {
        request(signature, &self.group, self.want, self.inputs.clone())
    }
}

/// A request for `inputs`, which are in input order.
pub(super) fn request(
    signature: &Signature,
    group: &Group,
    want: Want,
    inputs: Vec<Tensor>,
) -> Request<'static> {
    match (want, &group.outputs) {
        (Want::Outputs, Some(outputs)) => {
            let names = signature.inputs.iter().map(|spec| spec.name.clone());
            let inputs = names.zip(inputs.into_iter().map(Into::into)).collect();
            Request::Run { inputs, outputs: outputs.clone() }
        }
        (Want::Row, _) => Request::Row(Features::Inputs(inputs)),
        _ => Request::Batch(Features::Inputs(inputs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FnModel;

    fn group(request: Request<'_>) -> Option<Group> {
        let model = FnModel::regressor(2, |row| Ok(row.iter().sum()));
        rows_of(&model, &model.signature(), &request, 64).unwrap().map(|rows| rows.group)
    }

    fn run(input: &str, rows: usize, outputs: &[&str]) -> Request<'static> {
        let x = Tensor::from_vec(&[rows, 2], vec![1f32; rows * 2]).unwrap();
        let outputs = outputs.iter().map(|o| o.to_string()).collect();
        Request::Run { inputs: vec![(input.to_string(), x.into())], outputs }
    }

    #[test]
    fn rows_join_rows_and_outputs_join_the_same_outputs() {
        let row = group(Request::Row(Features::F32 { data: &[1.0, 2.0], rows: 1, width: 2 }));
        let batch = group(Request::Batch(Features::F32 { data: &[1.0; 6], rows: 3, width: 2 }));
        assert!(row.is_some());
        assert_eq!(row, batch);
        assert_ne!(row, group(run("x", 1, &["y"])));
        assert_eq!(group(run("x", 1, &["y"])), group(run("x", 3, &["y"])));
        assert_ne!(group(run("x", 1, &["y"])), group(run("x", 1, &[])));
    }

    #[test]
    fn what_cannot_join_runs_alone_and_what_is_wrong_is_refused() {
        assert_eq!(group(run("z", 1, &[])), None);
        assert_eq!(group(run("x", 0, &[])), None);
        assert_eq!(group(run("x", 64, &[])), None, "it fills a batch by itself");
        let two = Request::Row(Features::F32 { data: &[1.0; 4], rows: 2, width: 2 });
        assert_eq!(group(two), None);
        let model = FnModel::regressor(2, |_| Ok(0.0));
        let wide = Request::Row(Features::F32 { data: &[1.0; 3], rows: 1, width: 3 });
        assert!(rows_of(&model, &model.signature(), &wide, 64).is_err());
    }
}
