//! What a forked child makes anew, seen without a fork: the library is told that the process is a
//! child, and the threads of its "parent" go on. `python/tests/test_fork_policies.py` forks.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use modelserve::policy::batch::BatchOptions;
use modelserve::policy::cache::{Cache, CacheOptions, CacheStore};
use modelserve::tensor::Tensor;
use modelserve::{
    Another, Answer, CacheUse, Ctx, Done, Error, ErrorKind, FallbackRule, FallbackTo, Features,
    FnModel, LoadOptions, Model, ModelInfo, ModelManager, ModelSource, Policies, ReloadOptions,
    Reply, Request, Signature, after_fork,
};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::ThreadId;
use std::time::Duration;

const HANG: Duration = Duration::from_secs(60);

/// One test at a time: another's fork would show in this one's caches.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn source(model: impl Model + 'static) -> ModelSource {
    ModelSource::Model(Arc::new(model))
}

fn doubling() -> FnModel {
    FnModel::regressor(1, |row| Ok(row[0] * 2.0)).with_digest("doubling")
}

fn row(x: f32) -> Request<'static> {
    Request::Row(Features::Tensor(Tensor::from_vec(&[1, 1], vec![x]).unwrap()))
}

fn value(reply: Result<Reply, Error>) -> f64 {
    match reply.unwrap().into_row().unwrap().answer {
        Answer::Value(value) => value,
        other => panic!("{other:?}"),
    }
}

/// Asks for the value twice one; what the cache had to do with the answer.
fn ask(asked: impl Fn(&Request<'_>, &mut Ctx) -> Result<Reply, Error>) -> CacheUse {
    let mut ctx = Ctx::default();
    assert_eq!(value(asked(&row(1.0), &mut ctx)), 2.0);
    ctx.receipt.cache
}

fn cached() -> Policies {
    Policies { cache: Some(CacheOptions::default()), ..Policies::default() }
}

/// A model that tells of each call and of the first question for its information, and is held
/// there where that is asked for.
struct Watched {
    inner: FnModel,
    hold_info: AtomicBool,
    hold_batches: Arc<AtomicBool>,
    asked: Mutex<mpsc::Sender<ThreadId>>,
    word: Mutex<mpsc::Receiver<()>>,
}

struct Watch {
    asked: mpsc::Receiver<ThreadId>,
    go: mpsc::Sender<()>,
    hold_batches: Arc<AtomicBool>,
}

fn watched(hold_info: bool) -> (Watched, Watch) {
    let (tell, asked) = mpsc::channel();
    let (go, word) = mpsc::channel();
    let hold_batches = Arc::new(AtomicBool::new(false));
    let model = Watched {
        inner: doubling(),
        hold_info: AtomicBool::new(hold_info),
        hold_batches: hold_batches.clone(),
        asked: Mutex::new(tell),
        word: Mutex::new(word),
    };
    (model, Watch { asked, go, hold_batches })
}

impl Watched {
    fn wait(&self) {
        self.asked.lock().unwrap().send(std::thread::current().id()).ok();
        self.word.lock().unwrap().recv().ok();
    }
}

impl Model for Watched {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        if self.hold_info.swap(false, SeqCst) {
            self.wait();
        }
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply, Error> {
        match request {
            // Nobody here asks for a batch but the probe for batching.
            Request::Batch(_) if self.hold_batches.swap(false, SeqCst) => self.wait(),
            _ => {
                self.asked.lock().unwrap().send(std::thread::current().id()).ok();
            }
        }
        self.inner.call(request, ctx)
    }
}

#[test]
fn a_child_of_a_parent_that_was_loading_loads_unloads_and_sets_policies() {
    let _alone = alone();
    common::within(HANG, || {
        let manager = ModelManager::default();
        for name in ["m", "gone"] {
            manager.load_from(name, source(doubling()), &LoadOptions::default()).unwrap();
        }
        let held: Vec<_> = ["m", "gone", "new"]
            .into_iter()
            .map(|name| {
                let (model, watch) = watched(true);
                let manager = manager.clone();
                let parent = std::thread::spawn(move || {
                    // Whatever comes of it: the child has gone on by then.
                    let _ = match name {
                        "new" => manager
                            .load_from(name, source(model), &LoadOptions::default())
                            .map(drop),
                        _ => manager
                            .reload_from(name, source(model), &ReloadOptions::default())
                            .map(drop),
                    };
                });
                watch.asked.recv_timeout(HANG).unwrap();
                (watch, parent)
            })
            .collect();
        after_fork();
        manager.set_policies("m", cached()).unwrap();
        let next = manager.reload_from("m", source(doubling()), &ReloadOptions::default());
        assert_eq!(next.unwrap().version, 2);
        assert_eq!(ask(|r, ctx| manager.call("m", r, ctx)), CacheUse::Miss);
        manager.unload("gone").unwrap();
        manager.load_from("new", source(doubling()), &LoadOptions::default()).unwrap();
        manager.load_from("gone", source(doubling()), &LoadOptions::default()).unwrap();
        for (watch, parent) in held {
            watch.go.send(()).unwrap();
            parent.join().unwrap();
        }
    });
}

#[test]
fn no_thread_of_a_child_uses_the_policies_of_its_parent() {
    let _alone = alone();
    common::within(HANG, || {
        let manager = ModelManager::default();
        let (model, watch) = watched(false);
        manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
        let batching = Some(BatchOptions { max_batch_size: 4, ..BatchOptions::default() });
        manager.set_policies("m", Policies { batching, ..cached() }).unwrap();
        let asked = || ask(|r, ctx| manager.call("m", r, ctx));
        assert_eq!((asked(), asked()), (CacheUse::Miss, CacheUse::Hit));
        watch.asked.try_iter().for_each(drop);
        after_fork();
        watch.hold_batches.store(true, SeqCst);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                let mut ctx = Ctx::default();
                value(manager.call("m", &row(3.0), &mut ctx))
            });
            // It makes the policies; whoever comes meanwhile waits for them.
            while watch.hold_batches.load(SeqCst) {
                std::thread::yield_now();
            }
            let (tell, comes) = mpsc::channel();
            let second = scope.spawn(move || {
                tell.send(()).unwrap();
                asked()
            });
            comes.recv_timeout(HANG).unwrap();
            watch.go.send(()).unwrap();
            assert_eq!(first.join().unwrap(), 6.0);
            assert_eq!(second.join().unwrap(), CacheUse::Miss);
        });
    });
}

#[test]
fn pinned_handles_snapshots_and_other_models_get_policies_of_the_child() {
    let _alone = alone();
    common::within(HANG, || {
        let manager = ModelManager::default();
        let broken = FnModel::regressor(1, |_| Err(Error::new(ErrorKind::Execution, "broken")));
        manager.load_from("broken", source(broken), &LoadOptions::default()).unwrap();
        for name in ["m", "other"] {
            manager.load_from(name, source(doubling()), &LoadOptions::default()).unwrap();
            manager.set_policies(name, cached()).unwrap();
        }
        let to = FallbackTo::Another(Another::Model("other".into()));
        let fallback = vec![FallbackRule { to, on: None }];
        manager.set_policies("broken", Policies { fallback, ..Policies::default() }).unwrap();
        let pin = manager.model("m").unwrap().pin().unwrap();
        let snapshot = manager.pin(&["m"]).unwrap();
        let pinned = || ask(|r, ctx| pin.call(r, ctx));
        let snapped = || ask(|r, ctx| snapshot.models()[0].call(r, ctx));
        let fell_back = || ask(|r, ctx| manager.call("broken", r, ctx));
        assert_eq!((pinned(), snapped()), (CacheUse::Miss, CacheUse::Hit));
        assert_eq!((fell_back(), fell_back()), (CacheUse::Miss, CacheUse::Hit));
        after_fork();
        assert_eq!((pinned(), snapped()), (CacheUse::Miss, CacheUse::Hit));
        assert_eq!((fell_back(), fell_back()), (CacheUse::Miss, CacheUse::Hit));
        // A version that is gone from its name has none.
        manager.reload_from("m", source(doubling()), &ReloadOptions::default()).unwrap();
        after_fork();
        assert_eq!((pinned(), pinned()), (CacheUse::Off, CacheUse::Off));
    });
}

#[test]
fn models_that_name_each_other_are_made_anew_side_by_side() {
    let _alone = alone();
    common::within(HANG, || {
        let manager = ModelManager::default();
        let names = ["a", "b"];
        for name in names {
            manager.load_from(name, source(doubling()), &LoadOptions::default()).unwrap();
        }
        for (name, other) in names.into_iter().zip(["b", "a"]) {
            let to = FallbackTo::Another(Another::Model(other.into()));
            let fallback = vec![FallbackRule { to, on: None }];
            manager.set_policies(name, Policies { fallback, ..cached() }).unwrap();
        }
        for _ in 0..50 {
            after_fork();
            std::thread::scope(|scope| {
                for name in [names, names].concat() {
                    let manager = &manager;
                    scope.spawn(move || ask(|r, ctx| manager.call(name, r, ctx)));
                }
            });
        }
    });
}

#[test]
fn a_reference_that_is_gone_costs_a_child_no_other_policy() {
    let _alone = alone();
    let manager = ModelManager::default();
    for name in ["m", "other"] {
        manager.load_from(name, source(doubling()), &LoadOptions::default()).unwrap();
    }
    let to = FallbackTo::Another(Another::Model("other".into()));
    let fallback = vec![FallbackRule { to, on: None }];
    manager.set_policies("m", Policies { fallback, ..cached() }).unwrap();
    let asked = || ask(|r, ctx| manager.call("m", r, ctx));
    assert_eq!((asked(), asked()), (CacheUse::Miss, CacheUse::Hit));
    manager.unload("other").unwrap();
    after_fork();
    assert_eq!((asked(), asked()), (CacheUse::Miss, CacheUse::Hit));
}

#[test]
fn the_first_submitted_request_of_a_child_runs_no_model_in_its_caller() {
    let _alone = alone();
    let manager = ModelManager::default();
    let (model, watch) = watched(false);
    manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let batching = Some(BatchOptions { max_batch_size: 4, ..BatchOptions::default() });
    manager.set_policies("m", Policies { batching, ..Policies::default() }).unwrap();
    let pin = manager.model("m").unwrap().pin().unwrap();
    let asked = |submit: &dyn Fn(Done)| {
        after_fork();
        watch.asked.try_iter().for_each(drop);
        let (tx, rx) = mpsc::channel();
        submit(Done::new(move |reply, _| tx.send(reply).unwrap()));
        assert_eq!(value(rx.recv_timeout(HANG).unwrap()), 2.0);
        let threads: Vec<_> = watch.asked.try_iter().collect();
        // The probe, and the request.
        assert!(threads.len() > 1, "{threads:?}");
        assert!(!threads.contains(&std::thread::current().id()));
    };
    asked(&|done| manager.submit("m", row(1.0), Ctx::default(), done));
    asked(&|done| pin.submit(row(1.0), Ctx::default(), done));
}

#[test]
fn a_child_leaves_the_store_of_its_parent_alone() {
    let _alone = alone();
    let store = CacheStore::new(CacheOptions::default());
    let cache = Cache::new(Arc::new(doubling()), store.clone());
    assert_eq!(ask(|r, ctx| cache.call(r, ctx)), CacheUse::Miss);
    assert_eq!(store.stats().entries, 1);
    after_fork();
    drop(cache);
    assert_eq!(store.stats().entries, 1);
}
