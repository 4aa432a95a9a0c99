//! `await model.predict_async(row)`: requests that run on the library's threads, and answers that
//! come back to the event loop.
//!
//! No thread that runs models ever waits for the interpreter lock: it hands its answer to one
//! courier thread, which carries all answers that are there to their loops
//! (`call_soon_threadsafe`), and the loop sets the futures.

use crate::array::outputs_out;
use crate::asked::context;
use crate::attach::attach;
use crate::budget::Budget;
use crate::error::{exception, raise};
use crate::http::response_out;
use crate::input::Input;
use crate::model::{Model, run_request};
use crate::prediction::{Prediction, Predictions};
use modelserve::{CancelToken, Ctx, Done, ErrorKind, HttpResponse, Receipt, Reply, Request};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// What is asked: one row, a batch, or a run of named inputs.
pub(crate) enum Question {
    Row(Py<PyAny>),
    Batch(Py<PyAny>),
    Run(Py<PyDict>, Option<Vec<String>>),
}

/// One request to be submitted from within a running event loop.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct Submission {
    model: Model,
    question: Question,
    asked: Option<Py<PyDict>>,
    cancel: CancelToken,
}

/// What a request came to.
pub(crate) enum Outcome {
    Reply(modelserve::Result<Reply>, Box<Receipt>),
    Http(HttpResponse),
}

/// An answer on its way to the loop that waits for it.
pub(crate) struct Answered {
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
    outcome: Outcome,
}

impl Outcome {
    /// The answer to set on `future`, which belongs to `event_loop`.
    pub(crate) fn answered(self, event_loop: Py<PyAny>, future: Py<PyAny>) -> Answered {
        Answered { event_loop, future, outcome: self }
    }

    fn out(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Outcome::Reply(result, receipt) => reply_out(py, result, *receipt),
            Outcome::Http(response) => {
                Ok(response_out(py, response).into_pyobject(py)?.into_any().unbind())
            }
        }
    }
}

/// The coroutine that submits and awaits: `modelserve.aio.answer(submission)`.
pub(crate) fn coroutine<'py>(
    py: Python<'py>,
    model: Model,
    question: Question,
    asked: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let asked = asked.map(|a| a.clone().unbind());
    let submission = Submission { model, question, asked, cancel: CancelToken::default() };
    py.import("modelserve.aio")?.call_method1("answer", (submission,))
}

impl Submission {
    fn request(&self, py: Python<'_>) -> PyResult<Request<'static>> {
        let signature = self.model.interface(py)?;
        let budget = Budget::of(&self.model);
        let owned = |input: Input<'_>| -> PyResult<_> {
            input.features()?.into_owned().map_err(|e| exception(py, &e))
        };
        Ok(match &self.question {
            Question::Row(row) => {
                Request::Row(owned(Input::one(row.bind(py), &signature, &budget)?)?)
            }
            Question::Batch(rows) => {
                Request::Batch(owned(Input::many(rows.bind(py), &signature, &budget)?)?)
            }
            Question::Run(inputs, outputs) => {
                run_request(&self.model, inputs.bind(py), outputs.as_deref(), &signature)?
            }
        })
    }
}

#[pymethods]
impl Submission {
    /// Submits, for the answer to be set on a future of the loop; False when the model has to be
    /// loaded first.
    ///
    /// Runs no Python code, nor does what answers: a daemon thread that is in the middle of some
    /// when the interpreter ends is unwound by Python before 3.14, which the frames of Rust below
    /// it would not survive.
    fn submit(
        &self,
        py: Python<'_>,
        event_loop: &Bound<'_, PyAny>,
        future: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        if !self.model.is_ready() {
            return Ok(false);
        }
        let mut ctx = context(py, self.asked.as_ref().map(|a| a.bind(py)))?.unwrap_or_default();
        self.model.check_target(py, &ctx)?;
        let request = self.request(py)?;
        ctx.cancel = Some(self.cancel.clone());
        let courier = courier(py)?;
        let (event_loop, waiting) = (event_loop.clone().unbind(), future.clone().unbind());
        let done = Done::new(move |result, ctx: Ctx| {
            let outcome = Outcome::Reply(result, Box::new(ctx.receipt));
            // Without a courier there is no interpreter any more, and nobody who waits.
            let _ = courier.send(outcome.answered(event_loop, waiting));
        });
        self.model.submit(request, ctx, done);
        Ok(true)
    }

    /// Loads the model if that is needed; blocks.
    fn prepare(&self, py: Python<'_>) -> PyResult<()> {
        self.model.interface(py).map(drop)
    }

    /// Cancels the request; of no effect once it is answered.
    fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// A future, and what to set on it: a value, or what to raise.
type Answer<'py> = (Bound<'py, PyAny>, Option<Py<PyAny>>, Option<PyErr>);

/// Answers to set on the futures of one loop, by `modelserve.aio.deliver` in that loop.
#[pyclass(frozen, module = "modelserve")]
struct Delivery(Mutex<Vec<Answered>>);

#[pymethods]
impl Delivery {
    /// Takes the answers: each a future, a value or None, and None or what to raise.
    fn take<'py>(&self, py: Python<'py>) -> Vec<Answer<'py>> {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_iter()
            .map(|answered| {
                let future = answered.future.into_bound(py);
                match answered.outcome.out(py) {
                    Ok(reply) => (future, Some(reply), None),
                    Err(raised) => (future, None, Some(raised)),
                }
            })
            .collect()
    }
}

fn reply_out(
    py: Python<'_>,
    result: modelserve::Result<Reply>,
    receipt: Receipt,
) -> PyResult<Py<PyAny>> {
    match result.map_err(|e| exception(py, &e))? {
        Reply::Row(mut prediction) => {
            prediction.receipt = receipt;
            Ok(Py::new(py, Prediction::new(*prediction))?.into_any())
        }
        Reply::Batch(mut predictions) => {
            predictions.receipt = receipt;
            Ok(Py::new(py, Predictions::new(*predictions))?.into_any())
        }
        Reply::Tensors(outputs) => outputs_out(py, outputs),
        _ => Err(raise(py, ErrorKind::Internal, "an answer of an unknown kind")),
    }
}

/// The way to this process's courier. Its lock is only taken while attached, so that no other
/// thread holds it at the moment of a fork.
pub(crate) fn courier(py: Python<'_>) -> PyResult<Sender<Answered>> {
    static COURIER: Mutex<Option<(u32, Sender<Answered>)>> = Mutex::new(None);
    let pid = std::process::id();
    let started = {
        let mut courier = COURIER.lock().unwrap_or_else(PoisonError::into_inner);
        match &*courier {
            Some((of, way)) if *of == pid => return Ok(way.clone()),
            _ => {}
        }
        let (way, answers) = channel();
        let thread = std::thread::Builder::new().name("modelserve-aio".to_string());
        thread.spawn(move || carry(&answers)).map(|_| {
            // The parent's channel may be in use by a thread that is not there: it is forgotten.
            std::mem::forget(courier.replace((pid, way.clone())));
            way
        })
    };
    started
        .map_err(|e| raise(py, ErrorKind::NotReady, format!("no thread to carry answers on: {e}")))
}

fn carry(answers: &Receiver<Answered>) {
    while let Ok(first) = answers.recv() {
        let _ = attach(|py| -> PyResult<()> {
            let deliver = py.import("modelserve.aio")?.getattr("deliver")?;
            // What came while this thread waited for the interpreter goes along.
            let mut deliveries: Vec<(Py<PyAny>, Vec<Answered>)> = Vec::new();
            for answered in std::iter::once(first).chain(answers.try_iter()) {
                match deliveries.iter_mut().find(|(l, _)| l.is(&answered.event_loop)) {
                    Some((_, all)) => all.push(answered),
                    None => deliveries.push((answered.event_loop.clone_ref(py), vec![answered])),
                }
            }
            for (event_loop, all) in deliveries {
                let delivery = Delivery(Mutex::new(all));
                // A loop that is closed has nobody who waits.
                let _ = event_loop.call_method1(py, "call_soon_threadsafe", (&deliver, delivery));
            }
            Ok(())
        });
    }
}
