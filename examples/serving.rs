//! Each feature of the serving layer in a few lines, on the breast cancer models of the examples:
//! `cargo run --example serving`.

use modelserve::policy::admit::AdmitOptions;
use modelserve::policy::batch::BatchOptions;
use modelserve::policy::breaker::BreakerOptions;
use modelserve::policy::cache::CacheOptions;
use modelserve::policy::deadline::DeadlineOptions;
use modelserve::policy::fallback::Constant;
use modelserve::policy::route::{PromotionOptions, RouterOptions, ShadowOptions};
use modelserve::record::{RecordOptions, ReplayOptions};
use modelserve::repo::RepositoryOptions;
use modelserve::{
    Another, Answer, CanaryRule, Ctx, Done, Error, ErrorKind, FallbackRule, FallbackTo, Features,
    FnModel, Gate, LoadOptions, ManagerOptions, ModelManager, ModelSource, Policies, ReloadOptions,
    RepositoryRules, Request, Result, ShadowRule, Target, call_async,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn main() -> Result<()> {
    life_cycle()?;
    gate_and_pin()?;
    batching_and_cache()?;
    deadline_and_fallback()?;
    admission_and_breaker()?;
    canary_and_shadow()?;
    asynchronous()?;
    repository()?;
    seeing()
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/models/breast_cancer")
}

fn version(number: u64) -> PathBuf {
    models().join(number.to_string()).join("model.onnx")
}

/// The rows of the test set: 30 features each.
fn rows() -> Result<Vec<Vec<f32>>> {
    let file = models().join("../../breast_cancer_test.csv");
    let text = std::fs::read_to_string(&file).map_err(|e| Error::io(file.display(), &e))?;
    let row = |line: &str| line.split(',').take(30).filter_map(|v| v.parse().ok()).collect();
    Ok(text.lines().skip(1).map(row).collect())
}

fn request(row: &[f32]) -> Request<'_> {
    Request::Row(Features::F32 { data: row, rows: 1, width: row.len() })
}

/// A manager that serves version 1 as `tumour`, with version 2 beside it.
fn two_versions(options: ManagerOptions) -> Result<ModelManager> {
    let manager = ModelManager::new(options);
    manager.load("tumour", version(1), &LoadOptions::default())?;
    manager.load_version("tumour", version(2), &ReloadOptions::default())?;
    Ok(manager)
}

fn life_cycle() -> Result<()> {
    let manager = two_versions(ManagerOptions { keep_versions: 2, ..ManagerOptions::default() })?;
    let events = manager.events();
    let row = &rows()?[0];
    manager.set_label("tumour", "candidate", 2)?;
    let mut ctx = Ctx { target: Target::Label("candidate".into()), ..Ctx::default() };
    manager.call("tumour", &request(row), &mut ctx)?;
    println!("by label      version {} answered", ctx.receipt.version);
    manager.serve("tumour", 2)?;
    manager.rollback("tumour")?;
    for status in manager.versions("tumour")? {
        let (state, serving) = (status.state.name(), status.serving);
        println!("              version {} {state}, serving: {serving}", status.version);
    }
    while let Some(event) = events.try_next() {
        println!("              event: version {} {:?}", event.version, event.kind);
    }
    Ok(())
}

fn gate_and_pin() -> Result<()> {
    let manager = ModelManager::default();
    manager.load("tumour", version(1), &LoadOptions::default())?;
    for row in rows()? {
        manager.predict_row("tumour", &row)?;
    }
    // Version 2 is another kind of model: its probabilities differ, and a strict gate refuses it.
    let gate = Some(Gate { max_disagreement: Some(0.01), ..Gate::default() });
    let options = ReloadOptions { gate, ..ReloadOptions::default() };
    if let Err(e) = manager.reload("tumour", Some(&version(2)), &options) {
        println!("gate          {e}");
    }
    let pin = manager.pin(&["tumour"])?;
    manager.reload("tumour", Some(&version(2)), &ReloadOptions::default())?;
    let pinned = pin.model("tumour")?.version()?;
    println!("pin           {pinned} stays while {} serves", manager.info("tumour")?.version);
    Ok(())
}

fn batching_and_cache() -> Result<()> {
    let manager = two_versions(ManagerOptions::default())?;
    manager.set_policies(
        "tumour",
        Policies {
            batching: Some(BatchOptions { max_batch_size: 32, ..BatchOptions::default() }),
            cache: Some(CacheOptions::default()),
            ..Policies::default()
        },
    )?;
    let rows = rows()?;
    for row in rows.iter().chain(&rows) {
        manager.call("tumour", &request(row), &mut Ctx::default())?;
    }
    if let Some(cache) = manager.cache("tumour")? {
        println!("cache         {} hits, {} misses", cache.hits, cache.misses);
    }
    println!("batching      {:?}", manager.batching("tumour", &Target::Serving)?);
    Ok(())
}

fn deadline_and_fallback() -> Result<()> {
    let manager = two_versions(ManagerOptions::default())?;
    let slow = FnModel::regressor(1, |row| {
        std::thread::sleep(Duration::from_millis(200));
        Ok(row[0])
    });
    manager.load_from("slow", ModelSource::Model(Arc::new(slow)), &LoadOptions::default())?;
    let constant = FallbackTo::Constant(Constant::new(Answer::Value(0.0)));
    let default = Some(Duration::from_millis(20));
    manager.set_policies(
        "slow",
        Policies {
            deadline: Some(DeadlineOptions { default, ..DeadlineOptions::default() }),
            fallback: vec![FallbackRule { to: constant, on: None }],
            ..Policies::default()
        },
    )?;
    let mut ctx = Ctx::default();
    let answer = manager.call("slow", &request(&[1.0]), &mut ctx)?.into_row()?.answer;
    if let Some(reason) = ctx.receipt.fallback {
        println!("fallback      {answer:?} by {}, because of {}", reason.by, reason.kind);
    }
    Ok(())
}

fn admission_and_breaker() -> Result<()> {
    let manager = ModelManager::default();
    let broken = FnModel::regressor(1, |_| Err(Error::new(ErrorKind::Execution, "broken")));
    manager.load_from("broken", ModelSource::Model(Arc::new(broken)), &LoadOptions::default())?;
    manager.set_policies(
        "broken",
        Policies {
            admission: Some(AdmitOptions { max_in_flight: 100, ..AdmitOptions::default() }),
            breaker: Some(BreakerOptions { min_requests: 10, ..BreakerOptions::default() }),
            ..Policies::default()
        },
    )?;
    for _ in 0..100 {
        // Ten runs; from then on the circuit is open, and nothing runs.
        let _ = manager.call("broken", &request(&[1.0]), &mut Ctx::default());
    }
    if let Some(circuit) = manager.circuit("broken", &Target::Serving)? {
        println!("breaker       {}, {} calls refused", circuit.state.name(), circuit.refused);
    }
    Ok(())
}

fn canary_and_shadow() -> Result<()> {
    let manager = two_versions(ManagerOptions::default())?;
    let promotion = PromotionOptions {
        steps: vec![10.0, 50.0, 100.0],
        min_requests: 100,
        min_duration: Duration::ZERO,
        max_disagreement: Some(0.2),
        max_latency_ratio: None,
        ..PromotionOptions::default()
    };
    let canary = CanaryRule {
        to: Another::Version(2),
        percent: 10.0,
        options: RouterOptions::default(),
        promotion: Some(promotion),
    };
    let options = ShadowOptions { fraction: 0.5, ..ShadowOptions::default() };
    let shadow = ShadowRule { to: Another::Version(2), options };
    let policies = Policies { canary: Some(canary), shadow: Some(shadow), ..Policies::default() };
    manager.set_policies("tumour", policies)?;
    for (i, row) in rows()?.iter().cycle().take(3_000).enumerate() {
        let key = Some(format!("user {}", i % 500).into());
        manager.call("tumour", &request(row), &mut Ctx { key, ..Ctx::default() })?;
    }
    if let (Some(traffic), Some(promotion)) =
        (manager.traffic("tumour")?, manager.promotion("tumour")?)
    {
        println!("{traffic}");
        for decision in &promotion.decisions {
            println!("decision      {}: {}", decision.verdict.name(), decision.reason);
        }
    }
    if let Some(shadow) = manager.shadow("tumour")? {
        println!("shadow        {} compared, {} disagreed", shadow.compared, shadow.disagreed);
    }
    Ok(())
}

fn asynchronous() -> Result<()> {
    let manager = two_versions(ManagerOptions::default())?;
    let rows = rows()?;
    // A completion, called on another thread.
    let (tx, rx) = mpsc::channel();
    let done = Done::new(move |reply, ctx| {
        let _ = tx.send((reply.is_ok(), ctx.receipt.version));
    });
    manager.submit("tumour", request(&rows[0]).into_owned()?, Ctx::default(), done);
    println!("submit        {:?}", rx.recv());
    // A future, for whatever runtime the host has.
    let model = manager.model("tumour")?.model();
    let future = call_async(model, request(&rows[0]).into_owned()?, Ctx::default());
    println!("future        {} bytes, to be awaited", size_of_val(&future));
    Ok(())
}

fn repository() -> Result<()> {
    let manager = ModelManager::default();
    let settle = Duration::from_millis(50);
    let files = RepositoryOptions { settle, ..RepositoryOptions::default() };
    let rules = RepositoryRules { files, ..RepositoryRules::default() };
    let report = manager.serve_repository(models().join(".."), rules)?;
    println!("repository    loaded {:?}, ignored {}", report.loaded, report.ignored.len());
    Ok(())
}

fn seeing() -> Result<()> {
    let manager = two_versions(ManagerOptions::default())?;
    let file = std::env::temp_dir().join(format!("modelserve-{}.jsonl", std::process::id()));
    let options = RecordOptions { sample: 1.0, ..RecordOptions::default() };
    manager.record("tumour", &file, options)?;
    for row in rows()? {
        manager.call("tumour", &request(&row), &mut Ctx::default())?;
    }
    manager.stop_recording("tumour")?;
    let target = Target::Version(2);
    let report = manager.replay("tumour", &target, &file, &ReplayOptions::default());
    std::fs::remove_file(&file).map_err(|e| Error::io(file.display(), &e))?;
    println!("replay        {}", report?);
    for used in manager.memory() {
        let bytes = used.weights + used.packed;
        println!("memory        version {}: {bytes} bytes of weights", used.version);
    }
    let metrics = manager.metrics_text();
    for line in metrics.lines().filter(|l| l.starts_with("modelserve_requests_total")) {
        println!("metrics       {line}");
    }
    Ok(())
}
