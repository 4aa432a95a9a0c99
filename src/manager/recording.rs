//! Recording the requests of a model.

use super::ModelManager;
use super::slot::Slot;
use crate::error::{Result, err};
use crate::record::{RecordOptions, RecordStatus, Recorder};
use std::path::Path;
use std::sync::Arc;

impl ModelManager {
    /// Records a sample of a model's requests with their answers in a new file, until
    /// [`ModelManager::stop_recording`] or a bound. A request is never held up by it: what the
    /// disk cannot take at once is dropped and counted. The file holds what users sent.
    ///
    /// # Errors
    /// `NotFound` for an unknown name; `AlreadyExists` when the model is recorded already, or the
    /// file is there; else as [`Recorder::start`].
    pub fn record(&self, name: &str, path: impl AsRef<Path>, options: RecordOptions) -> Result<()> {
        self.slot(name)?.record_with(|| Recorder::start(path.as_ref(), options))
    }

    /// As [`ModelManager::record`]; where the file is there, to the first free one of `path.1`,
    /// `path.2` and so on.
    ///
    /// # Errors
    /// As [`ModelManager::record`], but for a file that is there.
    pub(super) fn record_to_free(
        &self,
        name: &str,
        path: impl AsRef<Path>,
        options: RecordOptions,
    ) -> Result<()> {
        self.slot(name)?.record_with(|| Recorder::start_free(path.as_ref(), options))
    }

    /// How the recording of a model stands; `None` when it is not recorded.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn recording(&self, name: &str) -> Result<Option<RecordStatus>> {
        Ok(self.slot(name)?.recorder.load().as_ref().map(|recorder| recorder.status()))
    }

    /// Ends the recording of a model, writes what still waits, and answers how it stood; `None`
    /// when it was not recorded. Requests under way that were to be recorded are counted as
    /// dropped.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn stop_recording(&self, name: &str) -> Result<Option<RecordStatus>> {
        Ok(self.slot(name)?.stop_recording())
    }
}

impl Slot {
    fn record_with(&self, start: impl FnOnce() -> Result<Recorder>) -> Result<()> {
        let _change = self.change();
        if self.recorder.load().is_some() {
            let e = err!(AlreadyExists, "is recorded already: call stop_recording first");
            return Err(e.with_model(&self.name));
        }
        self.recorder.store(Some(Arc::new(self.named(start())?)));
        Ok(())
    }

    /// Ends the recording here and now. A request may hold the recorder at this moment; left to
    /// the last one that drops it, the end would lose what waits, and that request would wait for
    /// the disk.
    pub(super) fn stop_recording(&self) -> Option<RecordStatus> {
        self.recorder.swap(None).map(|recorder| recorder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FnModel, LoadOptions, Request};
    use std::path::PathBuf;

    const ROW: [f32; 2] = [1.0, 2.0];

    /// A manager that records `m` to a file of the test's name.
    fn recording(test: &str) -> (ModelManager, PathBuf) {
        let manager = ModelManager::default();
        let model: Arc<dyn crate::Model> =
            Arc::new(FnModel::regressor(2, |row| Ok(row.iter().sum())));
        let source = super::super::ModelSource::Model(model);
        manager.load_from("m", source, &LoadOptions::default()).unwrap();
        let path = std::env::temp_dir().join(format!("modelserve-{test}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let everything = RecordOptions { sample: 1.0, ..RecordOptions::default() };
        manager.record("m", &path, everything).unwrap();
        (manager, path)
    }

    fn request() -> Request<'static> {
        let row = crate::Features::F32 { data: &ROW, rows: 1, width: ROW.len() };
        Request::Row(row)
    }

    /// Lines of requests in the file.
    fn written(path: &Path) -> usize {
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        std::fs::remove_file(path).unwrap();
        lines - 1
    }

    #[test]
    fn a_recording_ends_whole_while_a_request_holds_it() {
        let (manager, path) = recording("stopped");
        let slot = manager.slot("m").unwrap();
        for _ in 0..100 {
            manager.predict_row("m", &ROW).unwrap();
        }
        // What a request has at the moment when it is sampled.
        let held = slot.recorder.load();
        let status = manager.stop_recording("m").unwrap().unwrap();
        assert_eq!((status.written, status.dropped), (100, 0));
        assert!(held.as_ref().unwrap().sample("m", &request()).is_none(), "it has ended");
        assert_eq!(written(&path), 100);
        assert!(manager.recording("m").unwrap().is_none());
    }

    #[test]
    fn a_model_that_goes_ends_its_recording_whole() {
        let (manager, path) = recording("unloaded");
        let slot = manager.slot("m").unwrap();
        for _ in 0..100 {
            manager.predict_row("m", &ROW).unwrap();
        }
        let held = slot.recorder.load();
        manager.unload("m").unwrap();
        assert!(held.as_ref().unwrap().sample("m", &request()).is_none(), "it has ended");
        assert_eq!(written(&path), 100);
    }
}
