//! Events and spans: `modelserve::lifecycle` for what happens to models, `modelserve::request`
//! for requests.
//!
//! A life-cycle event goes to `tracing` and to the log sink ([`super::log`]). Each costs a load
//! and a branch where nobody listens. Neither names a path or a request's content.

use super::log::{self, LogLevel, LogRecord};
use crate::error::{Error, ErrorKind};
use std::fmt;
use std::time::{Duration, SystemTime};
use tracing::Span;

/// The target of life-cycle events.
pub const LIFECYCLE: &str = "modelserve::lifecycle";
/// The target of spans and events of requests.
pub const REQUEST: &str = "modelserve::request";

/// An event at a level that is known when the program is built.
macro_rules! event {
    ($level:ident, $tracing:ident, $model:expr, $version:expr, $($message:tt)+) => {{
        let (model, version): (&str, Option<u64>) = ($model, $version);
        tracing::event!(
            target: LIFECYCLE,
            tracing::Level::$tracing,
            model,
            version,
            $($message)+
        );
        if log::wanted(LogLevel::$level) {
            hand_to_sink(LogLevel::$level, model, version, format_args!($($message)+));
        }
    }};
}

#[cold]
fn hand_to_sink(level: LogLevel, model: &str, version: Option<u64>, message: fmt::Arguments<'_>) {
    log::push(LogRecord {
        level,
        target: LIFECYCLE,
        message: message.to_string(),
        model: Some(model.into()),
        version,
        time: SystemTime::now(),
    });
}

/// A version was loaded, probed and warmed.
pub fn loaded(model: &str, version: u64, bytes: u64, took: Duration) {
    event!(Info, INFO, model, Some(version), "loaded {bytes} bytes in {took:?}");
}

/// A version could not be loaded.
pub fn load_failed(model: &str, version: Option<u64>, error: &Error) {
    event!(Error, ERROR, model, version, "could not be loaded: {}", error.message());
}

/// A version serves now, in place of another or as the first.
pub fn swapped(model: &str, from: Option<u64>, to: u64) {
    match from {
        Some(from) => event!(Info, INFO, model, Some(to), "serves in place of version {from}"),
        None => event!(Info, INFO, model, Some(to), "serves"),
    }
}

/// A reload was refused, and what served before serves on.
pub fn refused(model: &str, version: Option<u64>, error: &Error) {
    event!(Warn, WARN, model, version, "was refused, nothing changed: {}", error.message());
}

/// A label points to another version.
pub fn labelled(model: &str, label: &str, version: u64) {
    event!(Info, INFO, model, Some(version), "is '{label}' now");
}

/// A version answered its last request and is gone.
pub fn unloaded(model: &str, version: u64) {
    event!(Info, INFO, model, Some(version), "is unloaded");
}

/// A version was unloaded to make room, and comes back on demand.
pub fn evicted(model: &str, version: u64) {
    event!(Info, INFO, model, Some(version), "is unloaded to make room");
}

/// A canary's part of the traffic is another.
pub fn canary_step(model: &str, version: u64, why: &str) {
    event!(Info, INFO, model, Some(version), "goes a step further as a canary: {why}");
}

/// A canary is the serving version now.
pub fn promoted(model: &str, version: u64) {
    event!(Info, INFO, model, Some(version), "is promoted");
}

/// A canary, or a version that served, was taken back.
pub fn rolled_back(model: &str, version: u64, why: &str) {
    event!(Warn, WARN, model, Some(version), "is rolled back: {why}");
}

/// A canary's promotion was given up: something else was changed meanwhile.
pub fn promotion_stopped(model: &str, version: u64, why: &str) {
    event!(Warn, WARN, model, Some(version), "is not promoted: {why}");
}

/// A circuit breaker opened: the version rests.
pub fn breaker_opened(model: &str, version: u64, why: &str) {
    event!(Warn, WARN, model, Some(version), "fails or is slow, and rests: {why}");
}

/// A circuit breaker lets a few calls through, to see.
pub fn breaker_probes(model: &str, version: u64) {
    event!(Info, INFO, model, Some(version), "is tried again after its rest");
}

/// A circuit breaker closed: the version answers again.
pub fn breaker_closed(model: &str, version: u64) {
    event!(Info, INFO, model, Some(version), "answers again after its rest");
}

/// The folder of a model could not be looked at, or holds what is no version.
pub fn repository_problem(model: &str, error: &Error) {
    event!(Warn, WARN, model, None, "repository: {}", error.message());
}

/// The span of one request, at level `DEBUG`; disabled where nobody listens. The version is
/// recorded once it is known ([`answered_by`]).
pub fn request_span(model: &str) -> Span {
    tracing::debug_span!(
        target: REQUEST,
        "request",
        model,
        version = tracing::field::Empty,
        route = tracing::field::Empty,
        error = tracing::field::Empty
    )
}

/// Records in a request's span who answered.
pub fn answered_by(span: &Span, version: u64, route: crate::model::Route) {
    span.record("version", version);
    span.record("route", route.name());
}

/// Records in a request's span what it failed with.
pub fn failed_with(span: &Span, kind: ErrorKind) {
    span.record("error", kind.name());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::err;
    use crate::metrics::log::{LogSink, flush_log, set_log_sink, tests::TURN};
    use parking_lot::Mutex;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::with_default;
    use tracing::{Event, Metadata, Subscriber};

    /// Keeps what it is told, as text.
    #[derive(Default)]
    struct Keeper {
        lines: Arc<Mutex<Vec<String>>>,
        spans: AtomicU64,
    }

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }

    impl Subscriber for Keeper {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut fields = Fields(format!("span {}", span.metadata().target()));
            span.record(&mut fields);
            self.lines.lock().push(fields.0);
            Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
        }
        fn record(&self, _: &Id, values: &Record<'_>) {
            let mut fields = Fields("record".to_string());
            values.record(&mut fields);
            self.lines.lock().push(fields.0);
        }
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let m = event.metadata();
            let mut fields = Fields(format!("{} {}", m.level(), m.target()));
            event.record(&mut fields);
            self.lines.lock().push(fields.0);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn traced(f: impl FnOnce()) -> Vec<String> {
        let keeper = Keeper::default();
        let lines = keeper.lines.clone();
        with_default(keeper, f);
        lines.lock().clone()
    }

    #[test]
    fn an_event_reaches_tracing_and_the_sink_alike() {
        let _turn = TURN.lock();
        let records = Arc::new(Mutex::new(Vec::new()));
        let keep = records.clone();
        let sink: LogSink = Arc::new(move |r: &LogRecord| {
            if r.model.as_deref() == Some("test-trace") {
                keep.lock().push(format!("{} {} {r}", r.level.name(), r.target));
            }
        });
        set_log_sink(Some(sink), LogLevel::Warn);
        let lines = traced(|| {
            swapped("test-trace", Some(7), 8);
            refused("test-trace", None, &err!(InvalidModel, "no such operator"));
            rolled_back("test-trace", 8, "errors rose");
        });
        assert_eq!(
            lines,
            [
                "INFO modelserve::lifecycle message=serves in place of version 7 \
                 model=\"test-trace\" version=8",
                "WARN modelserve::lifecycle message=was refused, nothing changed: no such \
                 operator model=\"test-trace\"",
                "WARN modelserve::lifecycle message=is rolled back: errors rose model=\"test-trace\" \
                 version=8",
            ]
        );
        assert!(flush_log(Duration::from_secs(60)));
        assert_eq!(
            *records.lock(),
            [
                "warn modelserve::lifecycle model 'test-trace': was refused, nothing changed: no such \
                 operator",
                "warn modelserve::lifecycle model 'test-trace' version 8: is rolled back: errors rose",
            ]
        );
        set_log_sink(None, LogLevel::Warn);
    }

    #[test]
    fn a_requests_span_says_who_answered() {
        let lines = traced(|| {
            let span = request_span("churn");
            answered_by(&span, 7, crate::model::Route::Canary);
            failed_with(&span, ErrorKind::Overloaded);
        });
        assert_eq!(
            lines,
            [
                "span modelserve::request model=\"churn\"",
                "record version=7",
                "record route=\"canary\"",
                "record error=\"Overloaded\"",
            ]
        );
    }
}
