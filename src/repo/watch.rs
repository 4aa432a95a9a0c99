//! Telling when to look at a repository again: notifications of the system, with polling behind
//! them.
//!
//! Notifications make it fast, polling makes it sure: network file systems tell nothing of what
//! other machines do, watches run out, and queues of events overflow. A notification is never more
//! than a reason to look.

use crate::error::{Error, Result};
use crate::source::{Directory, EntryKind};
use crate::sync::{Condvar, Mutex};
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Folders of models that are watched by notification; the others are polled.
const MAX_WATCHED: usize = 1_024;

/// How repositories are watched.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// How often to look when nothing is heard (2 s).
    pub poll_interval: Duration,
    /// How far apart wake-ups are at least, however many things happen (100 ms).
    pub quiet: Duration,
    /// Whether to ask the system for notifications (yes). Of no use on network file systems.
    pub use_notify: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        WatchOptions {
            poll_interval: Duration::from_secs(2),
            quiet: Duration::from_millis(100),
            use_notify: true,
        }
    }
}

impl WatchOptions {
    /// When the next call is due after one that ended at `called` and asked for another at `wake`:
    /// soon when something was heard since (`dirty`). Never before the quiet time is over,
    /// whatever was asked for: an interval of 0 must not occupy a core.
    fn due(&self, called: Instant, wake: Option<Instant>, dirty: bool) -> Option<Instant> {
        let quiet = called.checked_add(self.quiet)?;
        if dirty {
            return Some(quiet);
        }
        let poll = called.checked_add(self.poll_interval);
        [poll, wake].into_iter().flatten().min().map(|at| at.max(quiet))
    }
}

/// How a watcher learns of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchMode {
    /// By notification, with polling behind it.
    Notify,
    /// By polling alone: that was asked for, or there are no notifications to be had.
    Poll,
    /// Not at all: this process was forked from the one that watches.
    Forked,
}

/// What a watcher calls. It answers when it wants to be called again, even if nothing is heard.
pub type OnChange = Box<dyn Fn() -> Option<Instant> + Send + Sync>;

/// Calls a function on a thread of its own when repositories may have changed, until it is
/// dropped. The drop waits for a call under way, unless it happens in that very call.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    mode: WatchMode,
    pid: u32,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Something may have changed since the last call.
    dirty: bool,
    stop: bool,
}

impl Watcher {
    /// Watches the folders `roots` and those of models in them, and calls `on_change` on a thread
    /// of the watcher: at once, soon after a change that the system tells, after each
    /// [`WatchOptions::poll_interval`], when it asked for it, and after [`Watcher::poke`]; never
    /// sooner than [`WatchOptions::quiet`] after the last call. A panic in it is contained. It
    /// should look and return: what takes long belongs on another thread.
    ///
    /// # Errors
    /// `Io` when no thread can be started.
    pub fn start(
        roots: Vec<PathBuf>,
        options: WatchOptions,
        on_change: OnChange,
    ) -> Result<Watcher> {
        let shared = Arc::new(Shared::default());
        let events = options.use_notify.then(|| Events::start(shared.clone())).flatten();
        let mode = if events.is_some() { WatchMode::Notify } else { WatchMode::Poll };
        let serving = shared.clone();
        let thread = std::thread::Builder::new()
            .name("modelserve-watch".to_string())
            .spawn(move || serving.serve(&roots, &options, events, &*on_change))
            .map_err(|e| Error::io("starting a thread to watch the repository", &e))?;
        Ok(Watcher { shared, thread: Some(thread), mode, pid: std::process::id() })
    }

    /// How changes are learnt of.
    pub fn mode(&self) -> WatchMode {
        if self.is_forked() { WatchMode::Forked } else { self.mode }
    }

    /// Asks for a call soon, as if something had changed. Does nothing in a process that was
    /// forked from the one that watches: nothing watches there.
    pub fn poke(&self) {
        // A lock that another thread held when the process was forked is never released here.
        if !self.is_forked() {
            self.shared.touch();
        }
    }

    fn is_forked(&self) -> bool {
        self.pid != std::process::id()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.is_forked() {
            std::mem::forget(thread);
            return;
        }
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_one();
        if thread.thread().id() != std::thread::current().id() {
            // Its panics are contained; one in the last moment is of no interest.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn touch(&self) {
        self.state.lock().dirty = true;
        self.wake.notify_one();
    }

    fn serve(
        &self,
        roots: &[PathBuf],
        options: &WatchOptions,
        mut events: Option<Events>,
        on_change: &(dyn Fn() -> Option<Instant> + Send + Sync),
    ) {
        loop {
            // Watched before it is looked at: what happens in between is told.
            if contain(|| events.iter_mut().for_each(|e| e.refresh(roots))).is_none() {
                std::mem::forget(events.take());
            }
            let wake = contain(on_change).flatten();
            let called = Instant::now();
            let mut state = self.state.lock();
            loop {
                if state.stop {
                    return;
                }
                match options.due(called, wake, state.dirty) {
                    Some(due) if due <= Instant::now() => break,
                    Some(due) => (state, _) = self.wake.wait_until(state, due),
                    None => state = self.wake.wait(state),
                }
            }
            state.dirty = false;
        }
    }
}

/// `None` when `f` panicked: the thread watches on.
fn contain<R>(f: impl FnOnce() -> R) -> Option<R> {
    let outcome = catch_unwind(AssertUnwindSafe(f));
    // A payload may panic itself when it is dropped.
    outcome.map_err(std::mem::forget).ok()
}

/// The notifications of the system.
struct Events {
    watcher: RecommendedWatcher,
    watched: Arc<Mutex<Watched>>,
}

/// What is watched, and which folder that was: one that was replaced is watched anew. A folder
/// that the system says is gone is taken out: the one made in its place may have its very number.
type Watched = HashMap<PathBuf, (u64, u64)>;

impl Events {
    fn start(shared: Arc<Shared>) -> Option<Events> {
        let watched: Arc<Mutex<Watched>> = Arc::default();
        let known = watched.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            if let Ok(event) = &event
                && matches!(event.kind, EventKind::Remove(_))
            {
                let mut known = known.lock();
                for path in &event.paths {
                    known.remove(path);
                }
            }
            // Looking is an event too, which must not lead to another look.
            let only_read = |kind| {
                matches!(kind, EventKind::Access(access)
                    if access != AccessKind::Close(AccessMode::Write))
            };
            if !event.is_ok_and(|event| only_read(event.kind)) {
                shared.touch();
            }
        };
        let watcher = notify::recommended_watcher(handler).ok()?;
        Some(Events { watcher, watched })
    }

    fn refresh(&mut self, roots: &[PathBuf]) {
        let mut there = HashMap::new();
        for root in roots {
            note(&mut there, root);
            let entries = Directory::open(root).and_then(|d| d.entries(super::MAX_ENTRIES));
            for (name, kind) in entries.unwrap_or_default() {
                let folder = matches!(kind, EntryKind::Directory | EntryKind::Link);
                if folder && there.len() < MAX_WATCHED {
                    note(&mut there, &root.join(name));
                }
            }
        }
        // The lock is never held while the system's watcher is asked: it answers from the thread
        // that runs the handler.
        let (mut stale, mut new) = (Vec::new(), Vec::new());
        {
            let mut watched = self.watched.lock();
            watched.retain(|path, id| {
                let same = there.get(path) == Some(id);
                if !same {
                    stale.push(path.clone());
                }
                same
            });
            for (path, id) in there {
                if !watched.contains_key(&path) {
                    // Noted before it is watched: a removal in between takes it out again.
                    watched.insert(path.clone(), id);
                    new.push(path);
                }
            }
        }
        for path in stale.iter().chain(&new) {
            // A folder that was removed took its watch with it.
            let _ = self.watcher.unwatch(path);
        }
        for path in new {
            if self.watcher.watch(&path, RecursiveMode::NonRecursive).is_err() {
                self.watched.lock().remove(&path);
            }
        }
    }
}

/// Notes which folder `path` is at present, if it is one.
fn note(there: &mut HashMap<PathBuf, (u64, u64)>, path: &Path) {
    if let Ok(stamp) = Directory::open(path).and_then(|folder| folder.stamp()) {
        there.insert(path.to_path_buf(), (stamp.device, stamp.inode));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::tests::Folder;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Longer than any test may take.
    const NEVER: Duration = Duration::from_secs(3600);
    const HANG: Duration = Duration::from_secs(60);

    fn watch(root: &Path, options: WatchOptions) -> (Watcher, Receiver<()>) {
        let (tx, rx): (Sender<()>, _) = channel();
        let tell = Box::new(move || {
            let _ = tx.send(());
            None
        });
        (Watcher::start(vec![root.to_path_buf()], options, tell).unwrap(), rx)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_new_version_is_told_without_polling() {
        let folder = Folder::new();
        folder.dir("iris");
        let options = WatchOptions {
            poll_interval: NEVER,
            quiet: Duration::from_millis(1),
            use_notify: true,
        };
        let (watcher, calls) = watch(&folder.0, options);
        assert_eq!(watcher.mode(), WatchMode::Notify);
        calls.recv_timeout(HANG).unwrap(); // at once
        folder.dir("iris/1");
        calls.recv_timeout(HANG).unwrap();
        // The folder of a model that came later is watched too, though it takes a call to see it.
        folder.dir("later");
        calls.recv_timeout(HANG).unwrap();
        watcher.poke();
        calls.recv_timeout(HANG).unwrap();
        while calls.recv_timeout(Duration::from_millis(200)).is_ok() {}
        folder.dir("later/1");
        calls.recv_timeout(HANG).unwrap();
        drop(watcher);
        assert!(calls.iter().count() < 100, "and no more once it is dropped");
    }

    #[test]
    fn without_notifications_it_polls() {
        let folder = Folder::new();
        let (watcher, calls) = watch(&folder.0, polling(Duration::from_millis(1)));
        assert_eq!(watcher.mode(), WatchMode::Poll);
        for _ in 0..5 {
            calls.recv_timeout(HANG).unwrap();
        }
    }

    fn polling(poll_interval: Duration) -> WatchOptions {
        WatchOptions { poll_interval, quiet: Duration::from_millis(1), use_notify: false }
    }

    #[test]
    fn it_calls_again_when_it_was_asked_to() {
        let (tx, rx) = channel();
        let on_change = Box::new(move || {
            let _ = tx.send(());
            Some(Instant::now())
        });
        let _watcher = Watcher::start(vec![], polling(NEVER), on_change).unwrap();
        for _ in 0..5 {
            rx.recv_timeout(HANG).unwrap();
        }
    }

    #[test]
    fn neither_an_interval_of_0_nor_a_wake_up_in_the_past_passes_the_quiet_time() {
        let ms = Duration::from_millis;
        let at = Instant::now();
        let due = |poll, quiet, wake: Option<Duration>, dirty| {
            let options = WatchOptions { poll_interval: poll, quiet, use_notify: false };
            options.due(at, wake.map(|w| at + w), dirty).map(|due| due - at)
        };
        assert_eq!(due(ms(2000), ms(100), None, false), Some(ms(2000)));
        assert_eq!(due(ms(2000), ms(100), None, true), Some(ms(100)));
        assert_eq!(due(ms(2000), ms(100), Some(ms(500)), false), Some(ms(500)));
        assert_eq!(due(ms(2000), ms(100), Some(ms(5000)), false), Some(ms(2000)));
        assert_eq!(due(ms(2000), ms(100), Some(ms(500)), true), Some(ms(100)));
        assert_eq!(due(ms(2000), ms(100), Some(ms(0)), false), Some(ms(100)));
        assert_eq!(due(ms(0), ms(100), None, false), Some(ms(100)));
        assert_eq!(due(Duration::MAX, ms(100), None, false), None);
        assert_eq!(due(Duration::MAX, ms(100), Some(ms(500)), false), Some(ms(500)));
        assert_eq!(due(ms(0), Duration::MAX, Some(ms(0)), true), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_folder_that_was_removed_is_watched_anew_whatever_its_number() {
        let folder = Folder::new();
        let iris = folder.dir("iris");
        let shared = Arc::new(Shared::default());
        let mut events = Events::start(shared.clone()).unwrap();
        let roots = [folder.0.clone()];
        events.refresh(&roots);
        assert!(events.watched.lock().contains_key(&iris));
        std::fs::remove_dir(&iris).unwrap();
        folder.dir("iris");
        // Told by the system; what it was is forgotten though a folder of that name is there.
        let until = Instant::now() + HANG;
        let mut state = shared.state.lock();
        while events.watched.lock().contains_key(&iris) {
            let (woken, late) = shared.wake.wait_until(state, until);
            assert!(!late, "the removal is never told");
            state = woken;
        }
        drop(state);
        events.refresh(&roots);
        assert!(events.watched.lock().contains_key(&iris));
    }

    #[test]
    fn a_flood_becomes_few_calls_and_a_missing_folder_is_no_fault() {
        let options =
            WatchOptions { poll_interval: NEVER, quiet: NEVER, ..WatchOptions::default() };
        let (watcher, calls) = watch(Path::new("/nonexistent/models"), options);
        calls.recv_timeout(HANG).unwrap();
        for _ in 0..100_000 {
            watcher.poke();
        }
        drop(watcher);
        assert_eq!(calls.iter().count(), 0, "the quiet time had not passed");
    }

    #[test]
    fn a_panic_is_contained_and_a_drop_from_within_does_not_wait_for_itself() {
        let slot: Arc<Mutex<Option<Watcher>>> = Arc::default();
        let (count, (tx, rx)) = (AtomicUsize::new(0), channel());
        let within = slot.clone();
        let options = WatchOptions {
            poll_interval: Duration::from_millis(1),
            quiet: Duration::from_millis(1),
            use_notify: false,
        };
        let held = slot.lock();
        let on_change = move || {
            assert!(count.fetch_add(1, Ordering::SeqCst) > 0, "the first call panics");
            drop(within.lock().take());
            tx.send(()).unwrap();
            None
        };
        let watcher = Watcher::start(vec![], options, Box::new(on_change)).unwrap();
        let mut held = held;
        *held = Some(watcher);
        drop(held);
        rx.recv_timeout(HANG).unwrap();
        // Its thread has ended: the sender is gone.
        assert!(rx.recv_timeout(HANG).is_err());
        assert!(slot.lock().is_none());
    }
}
