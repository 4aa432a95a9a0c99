//! Record and replay: a sample of requests with their answers in a file, and the same requests put
//! to another model.
//!
//! Recording never slows or fails a request: what is sampled is handed to a writing thread if it
//! has room, and dropped and counted if not; a full disk ends the recording and nothing else. The
//! file holds what users sent. It is created readable by its owner alone, and where it goes and
//! how long it stays is the operator's care.
//!
//! ```no_run
//! use modelserve::record::{RecordOptions, Recorder, ReplayOptions, replay};
//! use modelserve::{Ctx, Features, LoadOptions, Model, Request, load};
//! use std::time::Instant;
//!
//! # fn main() -> modelserve::Result<()> {
//! let model = load("iris.onnx", &LoadOptions::default())?;
//! let recorder = Recorder::start("requests.jsonl".as_ref(), RecordOptions::default())?;
//!
//! let request = Request::Row(Features::F32 { data: &[5.1, 3.5, 1.4, 0.2], rows: 1, width: 4 });
//! let sampled = recorder.sample("iris", &request);
//! let began = Instant::now();
//! let outcome = model.call(&request, &mut Ctx::default());
//! if let Some(sampled) = sampled {
//!     sampled.finish(1, &outcome, began.elapsed());
//! }
//! recorder.finish();
//!
//! let next = load("iris_v2.onnx", &LoadOptions::default())?;
//! let report = replay("requests.jsonl".as_ref(), &next, &ReplayOptions::default())?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```

mod form;
mod recorder;
mod replay;
mod tensors;

#[cfg(test)]
mod tests;

pub use recorder::{RecordOptions, RecordStatus, Recorder, Sampled};
pub use replay::{Latencies, ReplayOptions, ReplayReport, Worst, replay};
