//! Golden requests: requests kept beside a model, and what it must answer to them before it may
//! serve.
//!
//! A file of them has one JSON object a line, of which `docs/repository.md` is the reference. A
//! request without an expected answer only has to succeed: a warm-up.

mod check;
mod json;

pub use super::mismatch::Mismatch;

use super::{Answer, Ctx, Model, Reply, Request, Signature};
use crate::error::{Result, ensure, err};
use crate::tensor::Value;

/// Most requests of one file.
pub const MAX_GOLDEN: usize = 1_024;
/// Most bytes of one line.
pub const MAX_GOLDEN_LINE: usize = 16 << 20;
/// The tolerance where a request names none.
pub const GOLDEN_TOLERANCE: f64 = 1e-5;

/// What must be answered. What is left out is not compared.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Expected {
    /// The label or value of each row.
    pub answers: Option<Vec<Answer>>,
    /// The probabilities of each row.
    pub probabilities: Option<Vec<Vec<f64>>>,
    /// Outputs by name.
    pub outputs: Vec<(String, Value)>,
}

impl Expected {
    /// Whether anything is compared.
    pub fn is_empty(&self) -> bool {
        self.answers.is_none() && self.probabilities.is_none() && self.outputs.is_empty()
    }
}

/// A request, and what must be answered to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Golden {
    /// The request.
    pub request: Request<'static>,
    /// The answer; an empty one for a warm-up.
    pub expected: Expected,
    /// How far a number may be off, absolutely or relative to the expected one.
    pub tolerance: f64,
    /// Where it stands in its file, counted from 1; 0 for one made in code.
    pub line: usize,
}

impl Golden {
    /// A request and its answer, made in code.
    pub fn new(request: Request<'static>, expected: Expected) -> Golden {
        Golden { request, expected, tolerance: GOLDEN_TOLERANCE, line: 0 }
    }

    /// The same with another tolerance.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: f64) -> Golden {
        self.tolerance = tolerance;
        self
    }

    /// Reads the lines of a file of golden requests to a model of this signature. Empty lines do
    /// not count.
    ///
    /// # Errors
    /// `InvalidInput` naming the line for what is malformed or does not fit the signature;
    /// `LimitExceeded` above [`MAX_GOLDEN`] or [`MAX_GOLDEN_LINE`].
    pub fn parse(text: &[u8], signature: &Signature) -> Result<Vec<Golden>> {
        let mut all = Vec::new();
        for (i, line) in text.split(|b| *b == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let number = i + 1;
            ensure!(
                all.len() < MAX_GOLDEN,
                LimitExceeded,
                "more than {MAX_GOLDEN} golden requests"
            );
            ensure!(
                line.len() <= MAX_GOLDEN_LINE,
                LimitExceeded,
                "line {number}: {} bytes (at most {MAX_GOLDEN_LINE})",
                line.len()
            );
            let golden = json::golden(line, signature);
            let golden = golden.map_err(|e| e.context(format_args!("line {number}")))?;
            all.push(Golden { line: number, ..golden });
        }
        Ok(all)
    }

    /// Compares an answer with the expected one.
    ///
    /// # Errors
    /// The entry that is furthest off.
    pub fn check(&self, reply: &Reply) -> std::result::Result<(), Mismatch> {
        check::check(&self.expected, self.tolerance, reply)
    }

    /// Asks the model, and compares its answer.
    ///
    /// # Errors
    /// `InvalidModel` for a wrong answer, naming the entry that is furthest off; what the model
    /// says when it does not answer.
    pub fn verify(&self, model: &dyn Model, ctx: &mut Ctx) -> Result<()> {
        let name = match self.line {
            0 => "golden request".to_string(),
            line => format!("golden request of line {line}"),
        };
        let reply = model.call(&self.request, ctx).map_err(|e| e.context(&name))?;
        self.check(&reply).map_err(|m| err!(InvalidModel, "{name}: {m}"))
    }
}

#[cfg(test)]
mod tests;
