//! What a manager promises of versions that come, go and come back.

mod counting;
mod life;
mod loading;
mod parked;

use super::slot::Slot;
use super::*;
use crate::model::{Answer, Signature};
use crate::{ErrorKind, FnModel};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, mpsc};

const HANG: Duration = Duration::from_secs(60);

/// Runs `work`, which must not hang.
fn within<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (tx, rx) = mpsc::channel();
    let worker = std::thread::spawn(move || tx.send(work()));
    match rx.recv_timeout(HANG) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(worker.join().unwrap_err())
        }
    }
}

fn iris(version: u32) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    data.join(format!("iris_v{version}/model.onnx"))
}

/// A folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("manager-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn source(model: FnModel) -> ModelSource {
    ModelSource::Model(Arc::new(model))
}

fn adding(offset: f32) -> ModelSource {
    source(FnModel::regressor(1, move |row| Ok(row[0] + offset)))
}

/// A manager whose models may be unloaded to make room.
fn evicting(models: &[&str]) -> ModelManager {
    let manager = ModelManager::new(ManagerOptions {
        memory_budget: Some(1 << 30),
        memory_policy: MemoryPolicy::Evict,
        ..ManagerOptions::default()
    });
    for name in models {
        manager.load(name, iris(1), &LoadOptions::default()).unwrap();
    }
    manager
}

fn slot(manager: &ModelManager, name: &str) -> Arc<Slot> {
    manager.slot(name).unwrap()
}

fn row(data: &[f32]) -> Request<'static> {
    let width = data.len();
    Request::Row(Features::F32 { data, rows: 1, width }).into_owned().unwrap()
}

fn flower() -> Request<'static> {
    row(&[5.9, 3.0, 5.1, 1.8])
}

type Told = (crate::Result<Reply>, Ctx);

/// A completion, and what it is told.
fn told() -> (Done, mpsc::Receiver<Told>) {
    let (tx, rx) = mpsc::channel();
    let done = Done::new(move |result, ctx| {
        let _ = tx.send((result, ctx));
    });
    (done, rx)
}

fn value(reply: Reply) -> f64 {
    match reply.into_row().unwrap().answer {
        Answer::Value(value) => value,
        other => panic!("{other:?}"),
    }
}

/// A row of this value is held until a word is given.
const HOLD: f32 = -1.0;

/// A model of one value a row that says when it runs a held row.
struct Held {
    entered: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

fn held() -> (FnModel, Held) {
    let (tell, entered) = mpsc::channel();
    let (go, word) = mpsc::channel::<()>();
    let word = Mutex::new(word);
    let model = FnModel::regressor(1, move |row| {
        if row[0] == HOLD {
            tell.send(()).ok();
            word.lock().unwrap().recv().ok();
        }
        Ok(row[0] + 1.0)
    });
    (model, Held { entered, go })
}

/// A model whose load is held: it says when its information is asked for, and waits for a word.
struct SlowToLoad {
    inner: FnModel,
    asked: mpsc::SyncSender<()>,
    word: Mutex<mpsc::Receiver<()>>,
    held: AtomicUsize,
}

fn slow_to_load() -> (ModelSource, Held) {
    let (asked, entered) = mpsc::sync_channel(1);
    let (go, word) = mpsc::channel();
    let inner = FnModel::regressor(1, |row| Ok(row[0]));
    let word = Mutex::new(word);
    let model = SlowToLoad { inner, asked, word, held: AtomicUsize::new(0) };
    (ModelSource::Model(Arc::new(model)), Held { entered, go })
}

impl Model for SlowToLoad {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        if self.held.fetch_add(1, SeqCst) == 0 {
            self.asked.send(()).unwrap();
            self.word.lock().unwrap().recv().ok();
        }
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        self.inner.call(request, ctx)
    }
}

fn has(manager: &ModelManager, line: &str) {
    let text = manager.metrics_text();
    assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
}
