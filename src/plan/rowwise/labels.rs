//! The labels of classes, moved through the steps that change them when the program is built.

use crate::kernel::{Arg, Context, Inputs};
use crate::plan::Step;
use crate::tensor::Tensor;

/// The labels after the step's own kernel, so that a cast there and here is one rule.
pub(super) fn apply(step: &Step, labels: &Tensor) -> Option<Tensor> {
    let mut inputs = Inputs::new(smallvec::smallvec![Arg::Owned(labels.clone().into())]);
    let outputs = Context::alone(|ctx| step.kernel.run(ctx, &mut inputs)).ok()?;
    outputs.into_iter().next()?.into_tensor().ok()
}

/// `table[picks]` for label tables of one row.
pub(super) fn pick(table: &Tensor, picks: &[i64]) -> Option<Tensor> {
    let at = |i: &i64| usize::try_from(*i).ok();
    if let Ok(v) = table.as_slice::<i64>() {
        let picked: Option<Vec<i64>> = picks.iter().map(|i| v.get(at(i)?).copied()).collect();
        return Tensor::from_vec(&[picks.len()], picked?).ok();
    }
    if let Ok(v) = table.as_slice::<i32>() {
        let picked: Option<Vec<i32>> = picks.iter().map(|i| v.get(at(i)?).copied()).collect();
        return Tensor::from_vec(&[picks.len()], picked?).ok();
    }
    let v = table.as_slice::<String>().ok()?;
    let picked: Option<Vec<String>> = picks.iter().map(|i| v.get(at(i)?).cloned()).collect();
    Tensor::from_vec(&[picks.len()], picked?).ok()
}
