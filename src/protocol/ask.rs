//! Asking a model on behalf of a request: in the calling thread, or on others.

use super::fault::{Dialect, Fault, Outcome};
use super::{Http, HttpRequest, HttpResponse};
use crate::error::{ErrorKind, Result};
use crate::manager::ModelHandle;
use crate::model::{Ctx, Done, Features, Reply, Request, Target, contain};

/// What a request came to so far.
pub(super) enum Step {
    /// No model has to be asked.
    Answered(HttpResponse),
    /// A model is to be asked.
    Ask(Box<Ask>),
}

/// What a model is asked. Rows keep their own memory, so that a call in this thread reads them in
/// place.
pub(super) enum Question {
    /// One row of `float32`.
    Row(Vec<f32>),
    /// Rows of `float32`.
    Batch { data: Vec<f32>, rows: usize, width: usize },
    /// Anything else.
    Other(Request<'static>),
}

type Finish = Box<dyn FnOnce(Reply, &Ctx) -> Outcome<HttpResponse> + Send>;

/// A question to a model, and how its answer is told.
pub(super) struct Ask {
    pub handle: ModelHandle,
    pub question: Question,
    pub ctx: Ctx,
    pub dialect: Dialect,
    pub finish: Finish,
}

impl Question {
    fn into_request(self) -> Result<Request<'static>> {
        use crate::tensor::Tensor;
        Ok(match self {
            Question::Row(data) => {
                let tensor = Tensor::from_vec(&[1, data.len()], data)?;
                Request::Row(Features::Tensor(tensor))
            }
            Question::Batch { data, rows, width } => {
                Request::Batch(Features::Tensor(Tensor::from_vec(&[rows, width], data)?))
            }
            Question::Other(request) => request,
        })
    }
}

impl Ask {
    /// Asks in this thread.
    pub(super) fn call(self: Box<Self>) -> HttpResponse {
        let Ask { handle, question, mut ctx, dialect, finish } = *self;
        let reply = match &question {
            Question::Row(data) => {
                let row = Features::F32 { data, rows: 1, width: data.len() };
                handle.call(&Request::Row(row), &mut ctx)
            }
            Question::Batch { data, rows, width } => {
                let features = Features::F32 { data, rows: *rows, width: *width };
                handle.call(&Request::Batch(features), &mut ctx)
            }
            Question::Other(request) => handle.call(request, &mut ctx),
        };
        tell(reply, &ctx, dialect, finish)
    }

    /// Asks on other threads; `done` gets the response.
    pub(super) fn submit(self: Box<Self>, done: impl FnOnce(HttpResponse) + Send + 'static) {
        let Ask { handle, question, ctx, dialect, finish } = *self;
        let request = match question.into_request() {
            Ok(request) => request,
            Err(e) => return done(dialect.fault(&e.into())),
        };
        let told = Done::new(move |reply, ctx| done(tell(reply, &ctx, dialect, finish)));
        handle.submit(request, ctx, told);
    }
}

fn tell(reply: Result<Reply>, ctx: &Ctx, dialect: Dialect, finish: Finish) -> HttpResponse {
    let told = reply.and_then(|reply| contain(|| Ok(finish(reply, ctx))));
    match told {
        Ok(Ok(response)) => response
            .with("x-modelserve-version", ctx.receipt.version.to_string())
            .with("x-modelserve-route", ctx.receipt.route.name()),
        Ok(Err(fault)) => dialect.fault(&fault),
        // It was there when it was asked: unloaded meanwhile, which another server may not be.
        Err(e) if dialect == Dialect::Reference && e.kind() == ErrorKind::NotFound => {
            dialect.fault(&e.with_kind(ErrorKind::NotReady).into())
        }
        Err(e) => dialect.fault(&e.into()),
    }
}

/// A request to one model.
pub(super) struct Asked<'a> {
    pub http: &'a Http,
    pub request: &'a HttpRequest<'a>,
    pub name: &'a str,
    pub target: Target,
    /// What the protocol says of a name, version or label that is not there.
    pub missing: fn(&str, &Target) -> Fault,
}

impl Asked<'_> {
    /// The version that is meant, now.
    pub(super) fn lease(&self) -> Outcome<ModelHandle> {
        self.told(self.http.lease(self.name, &self.target))
    }

    /// The model, with its policies.
    pub(super) fn handle(&self) -> Outcome<ModelHandle> {
        self.told(self.http.manager.model(self.name))
    }

    /// Whether what is meant can be asked. Loads nothing.
    pub(super) fn known(&self) -> Outcome<bool> {
        self.told(self.http.manager.can_answer(self.name, &self.target))
    }

    fn told<T>(&self, found: Result<T>) -> Outcome<T> {
        found.map_err(|e| match e.kind() {
            ErrorKind::NotFound => (self.missing)(self.name, &self.target),
            _ => e.into(),
        })
    }
}

impl Http {
    /// What accompanies a prediction that this request asks for.
    pub(super) fn context(&self, request: &HttpRequest<'_>, target: Target) -> Ctx {
        let key = request.header("x-modelserve-key").filter(|key| !key.is_empty());
        Ctx { target, key: key.map(Into::into), ..Ctx::default() }
    }

    /// The version that `target` means now. One that is known but cannot be asked is `NotReady`,
    /// whatever it failed with: a remote reader can do nothing about it but try elsewhere.
    pub(super) fn lease(&self, name: &str, target: &Target) -> Result<ModelHandle> {
        self.manager.lease(name, target).map_err(|e| {
            let unknown =
                e.kind() == ErrorKind::NotFound && self.manager.can_answer(name, target).is_err();
            if unknown { e } else { e.with_kind(ErrorKind::NotReady).with_model(name) }
        })
    }

    /// The version that answered: `asked`, which was leased before, or another one that came to
    /// serve meanwhile, or that policies turned to. `None` where it is gone again.
    pub(super) fn answered(&self, asked: &ModelHandle, ctx: &Ctx) -> Option<ModelHandle> {
        let receipt = &ctx.receipt;
        let model = receipt.model.as_deref().unwrap_or(asked.name());
        if model == asked.name() && asked.version().ok() == Some(receipt.version) {
            return Some(asked.clone());
        }
        self.manager.lease(model, &Target::Version(receipt.version)).ok()
    }
}
