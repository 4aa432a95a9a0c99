use super::replay::replay_lines;
use super::*;
use crate::error::{ErrorKind, err};
use crate::model::{Ctx, Features, FnModel, LoadOptions, Model, Request, load};
use crate::tensor::Tensor;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// A file's name of its own for a test, removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("modelserve-record-{}-{n}", std::process::id());
        Place(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn everything() -> RecordOptions {
    RecordOptions { sample: 1.0, ..RecordOptions::default() }
}

fn ask(recorder: &Recorder, model: &dyn Model, request: &Request<'_>) {
    let sampled = recorder.sample("m", request);
    let outcome = model.call(request, &mut Ctx::default());
    if let Some(sampled) = sampled {
        sampled.finish(1, &outcome, Duration::from_micros(7));
    }
}

fn row(data: &[f32]) -> Request<'_> {
    Request::Row(Features::F32 { data, rows: 1, width: data.len() })
}

fn sum() -> FnModel {
    FnModel::regressor(2, |row| match row {
        [a, _] if *a == 99.0 => Err(err!(Execution, "no")),
        _ => Ok(row.iter().sum()),
    })
}

fn record_some(path: &std::path::Path) -> RecordStatus {
    let recorder = Recorder::start(path, everything()).unwrap();
    let model = sum();
    ask(&recorder, &model, &row(&[1.0, 2.0]));
    ask(&recorder, &model, &row(&[f32::NAN, 2.0]));
    ask(&recorder, &model, &row(&[99.0, 2.0]));
    let rows = Features::F32 { data: &[0.1, 0.2, 3.0, 4.0], rows: 2, width: 2 };
    ask(&recorder, &model, &Request::Batch(rows));
    let column = |x| Tensor::from_vec(&[1, 2], vec![x, 1f32]).unwrap();
    ask(&recorder, &model, &Request::Batch(Features::Columns(vec![("x".into(), column(1.0))])));
    ask(&recorder, &model, &Request::Batch(Features::Inputs(vec![column(5.0)])));
    let inputs = vec![("x".to_string(), column(7.0).into())];
    ask(&recorder, &model, &Request::Run { inputs, outputs: ["y".to_string()].into() });
    recorder.finish()
}

#[test]
fn what_was_recorded_is_answered_again_and_differences_are_told() {
    let place = Place::new();
    let status = record_some(&place.0);
    assert_eq!((status.written, status.dropped), (7, 0));
    assert!(status.ended.is_none());
    assert_eq!(status.bytes, std::fs::metadata(&place.0).unwrap().len());
    let options = ReplayOptions::default();
    let same = replay(&place.0, &sum(), &options).unwrap();
    assert_eq!((same.requests, same.disagreements, same.max_difference), (7, 0, 0.0));
    assert_eq!((same.malformed, same.truncated, &same.worst), (0, false, &None));
    assert_eq!((same.old.p50, same.old.max), (Duration::from_micros(7), Duration::from_micros(7)));
    assert!(same.new.max > Duration::ZERO && same.new.p50 <= same.new.p99);
    // Another model: half as much again, and it answers what the old one refused.
    let other = FnModel::regressor(2, |row| Ok(1.5 * row.iter().sum::<f32>()));
    let report = replay(&place.0, &other, &options).unwrap();
    assert_eq!((report.requests, report.disagreements, report.failures), (7, 6, 0));
    let worst = report.worst.clone().unwrap();
    assert_eq!((worst.line, &*worst.old, &*worst.new), (4, "Execution", "an answer"));
    assert!(report.to_string().contains("7 requests, 6 answered otherwise (85.714 %)"), "{report}");
    // One that takes other rows fails.
    let narrow = FnModel::regressor(3, |_| Ok(0.0));
    let report = replay(&place.0, &narrow, &options).unwrap();
    assert_eq!((report.requests, report.failures), (7, 6));
    let nobody = ReplayOptions { model: Some("n".into()), ..options.clone() };
    assert_eq!(replay(&place.0, &sum(), &nobody).unwrap().requests, 0);
    let few = ReplayOptions { max_requests: 2, ..options };
    assert_eq!(replay(&place.0, &sum(), &few).unwrap().requests, 2);
}

#[test]
fn a_trained_classifier_agrees_with_its_own_recording() {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let of =
        |name: &str| load(data.join(name).join("model.onnx"), &LoadOptions::default()).unwrap();
    let (v1, v2, strings) = (of("iris_v1"), of("iris_v2"), of("logistic_strings"));
    let place = Place::new();
    let recorder = Recorder::start(&place.0, everything()).unwrap();
    let rows = [[5.9f32, 3.0, 5.1, 1.8], [5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]];
    for r in &rows {
        ask(&recorder, &v1, &row(r));
    }
    let flat = rows.concat();
    ask(&recorder, &v1, &Request::Batch(Features::F32 { data: &flat, rows: 3, width: 4 }));
    assert_eq!(recorder.finish().written, 4);
    let options = ReplayOptions { tolerance: 0.0, ..ReplayOptions::default() };
    let same = replay(&place.0, &v1, &options).unwrap();
    assert_eq!((same.requests, same.disagreements, same.max_difference), (4, 0, 0.0));
    let other = replay(&place.0, &v2, &options).unwrap();
    assert!(other.disagreements > 0 && other.worst.is_some());
    let strings_place = Place::new();
    let recorder = Recorder::start(&strings_place.0, everything()).unwrap();
    let width = strings.signature().inputs[0].row_width().unwrap();
    ask(&recorder, &strings, &row(&vec![1.0; width]));
    recorder.finish();
    let report = replay(&strings_place.0, &strings, &options).unwrap();
    assert_eq!((report.requests, report.disagreements), (1, 0));
}

#[test]
fn a_cut_file_is_replayed_up_to_the_cut() {
    let place = Place::new();
    record_some(&place.0);
    let whole = std::fs::read(&place.0).unwrap();
    let model = sum();
    let options = ReplayOptions::default();
    let header = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in header..whole.len() {
        let report = replay_lines(&whole[..cut], &model, &options).unwrap();
        let lines = whole[header..cut].iter().filter(|b| **b == b'\n').count() as u64;
        let at_line = whole[cut - 1] == b'\n';
        // A record that lacks nothing but its line's end is whole.
        let complete = !at_line && whole[cut] == b'\n';
        assert_eq!(report.requests, lines + u64::from(complete), "cut at {cut}");
        assert_eq!(report.truncated, !at_line && !complete, "cut at {cut}");
        assert_eq!((report.disagreements, report.malformed), (0, 0), "cut at {cut}");
    }
}

#[test]
fn hostile_files_are_refused_or_counted() {
    let place = Place::new();
    record_some(&place.0);
    let whole = std::fs::read_to_string(&place.0).unwrap();
    let model = sum();
    let options = ReplayOptions { max_line_bytes: 4096, ..ReplayOptions::default() };
    let report = |text: &[u8]| replay_lines(text, &model, &options);
    for (text, kind) in [
        (&b""[..], ErrorKind::InvalidArgument),
        (b"\n", ErrorKind::InvalidArgument),
        (b"{}\n", ErrorKind::InvalidArgument),
        (b"\xff\xfe\n", ErrorKind::InvalidArgument),
        (b"{\"modelserve_record\":2}\n", ErrorKind::Unsupported),
        (&[b' '; 10_000], ErrorKind::InvalidArgument),
    ] {
        assert_eq!(report(text).unwrap_err().kind(), kind);
    }
    let (header, records) = whole.split_once('\n').unwrap();
    let first = records.lines().next().unwrap();
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let odd = [
        String::new(),
        "null".to_string(),
        deep,
        "x".repeat(10_000),
        first.replace("float32", "float99"),
        first.replace("[1,2]", "[1099511627776,1099511627776]"),
        first.replace("[1,2]", "[3]"),
        first.replace("\"model\"", "\"nodel\""),
        first.replace("\"hex\":\"", "\"hex\":\"zz"),
    ];
    for line in &odd {
        let text = format!("{header}\n{line}\n{first}\n");
        let report = report(text.as_bytes()).unwrap();
        assert_eq!((report.requests, report.malformed), (1, 1), "{line:.80}");
    }
    // Every byte of a small recording changed: never more than counted.
    let small = format!("{header}\n{first}\n").into_bytes();
    for i in 0..small.len() {
        for with in [b'0', b'"', b'}', 0xff] {
            let mut changed = small.clone();
            changed[i] = with;
            let _ = report(&changed);
        }
    }
    let e = replay(std::path::Path::new("/nonexistent"), &model, &options).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
}

#[test]
fn a_full_disk_ends_the_recording_and_no_request() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    // Elsewhere than on Linux there is no such device: a writer that fails alike has to do.
    let full: Box<dyn Write + Send> = match full {
        Ok(file) => Box::new(file),
        Err(_) => Box::new(Failing),
    };
    let recorder = Recorder::to(full, everything()).unwrap();
    let model = sum();
    let began = Instant::now();
    while recorder.status().ended.is_none() {
        ask(&recorder, &model, &row(&[1.0, 2.0]));
        assert!(began.elapsed() < Duration::from_secs(60), "the error is never seen");
    }
    let status = recorder.status();
    assert_eq!(status.ended.unwrap().kind(), ErrorKind::Io);
    assert!(recorder.sample("m", &row(&[1.0, 2.0])).is_none(), "it records no more");
    assert_eq!(recorder.finish().ended.unwrap().kind(), ErrorKind::Io);
}

struct Failing;

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A disk that takes nothing until it is told to.
struct Slow {
    reached: SyncSender<()>,
    go_on: Receiver<()>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.reached.try_send(());
        // Once its sender is gone it waits no more.
        let _ = self.go_on.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_disk_blocks_no_request_and_what_does_not_fit_is_counted() {
    let (reached, at_disk) = sync_channel(1);
    let (go, go_on) = sync_channel(0);
    let options = RecordOptions { max_pending: 3, ..everything() };
    let recorder = Recorder::to(Box::new(Slow { reached, go_on }), options).unwrap();
    // The header is on its way to the disk, which is stuck.
    at_disk.recv_timeout(Duration::from_secs(60)).unwrap();
    let model = sum();
    for _ in 0..100 {
        ask(&recorder, &model, &row(&[1.0, 2.0]));
    }
    assert_eq!((recorder.status().written, recorder.status().dropped), (0, 97));
    drop(go);
    let status = recorder.finish();
    assert_eq!((status.written, status.dropped), (3, 97));
}

#[test]
fn bytes_that_wait_and_bytes_of_the_file_are_bounded() {
    let (reached, at_disk) = sync_channel(1);
    let (go, go_on) = sync_channel(0);
    // A row of two and its value are 16 bytes.
    let options = RecordOptions { max_pending_bytes: 40, ..everything() };
    let recorder = Recorder::to(Box::new(Slow { reached, go_on }), options).unwrap();
    at_disk.recv_timeout(Duration::from_secs(60)).unwrap();
    let model = sum();
    for _ in 0..10 {
        ask(&recorder, &model, &row(&[1.0, 2.0]));
    }
    assert_eq!(recorder.status().dropped, 8);
    let wide = vec![0f32; 11];
    assert!(recorder.sample("m", &row(&wide)).is_none(), "larger than all that may wait");
    drop(go);
    drop(recorder);

    let place = Place::new();
    let recorder =
        Recorder::start(&place.0, RecordOptions { max_bytes: 2000, ..everything() }).unwrap();
    for _ in 0..50 {
        ask(&recorder, &model, &row(&[1.0, 2.0]));
    }
    let status = recorder.finish();
    assert_eq!(status.ended.unwrap().kind(), ErrorKind::LimitExceeded);
    let text = std::fs::read_to_string(&place.0).unwrap();
    assert_eq!(status.written, text.lines().count() as u64 - 1);
    assert!(status.written > 0 && text.len() <= 2000);
}

#[test]
fn chance_takes_the_share_that_was_asked_for() {
    let recorder = |sample| {
        let options = RecordOptions { sample, ..RecordOptions::default() };
        Recorder::to(Box::new(std::io::sink()), options).unwrap()
    };
    let request = row(&[1.0, 2.0]);
    let taken = |sample: f64, of: usize| {
        let recorder = recorder(sample);
        (0..of).filter(|_| recorder.sample("m", &request).is_some()).count()
    };
    assert_eq!((taken(0.0, 1000), taken(1.0, 1000)), (0, 1000));
    // Six standard deviations.
    let some = taken(0.1, 100_000);
    assert!((9_430..=10_570).contains(&some), "{some} of 100,000");
    for sample in [-0.1, 1.1, f64::NAN] {
        let options = RecordOptions { sample, ..RecordOptions::default() };
        let e = Recorder::to(Box::new(std::io::sink()), options).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn a_recorder_that_was_finished_has_no_thread_left_to_wait_for() {
    let (reached, at_disk) = sync_channel(1);
    let (go, go_on) = sync_channel(0);
    let recorder = Recorder::to(Box::new(Slow { reached, go_on }), everything()).unwrap();
    let recorder = std::sync::Arc::new(recorder);
    at_disk.recv_timeout(Duration::from_secs(60)).unwrap();
    let model = sum();
    for _ in 0..5 {
        ask(&recorder, &model, &row(&[1.0, 2.0]));
    }
    // As a request holds it while the recording is ended.
    let held = recorder.clone();
    drop(go);
    let status = recorder.finish();
    assert_eq!((status.written, status.dropped), (5, 0), "what waited was written");
    assert!(held.sample("m", &row(&[1.0, 2.0])).is_none(), "it records no more");
    assert_eq!(held.finish().written, 5);
}

#[test]
fn a_program_that_starts_again_records_to_the_next_free_name() {
    let place = Place::new();
    let numbered = |n: usize| Place(format!("{}.{n}", place.0.display()).into());
    let (first, second) = (numbered(1), numbered(2));
    std::fs::write(&place.0, "precious").unwrap();
    for next in [&first, &second] {
        Recorder::start_free(&place.0, everything()).unwrap().finish();
        let text = std::fs::read_to_string(&next.0).unwrap();
        assert!(text.starts_with("{\"modelserve_record\""), "{text}");
    }
    assert_eq!(std::fs::read(&place.0).unwrap(), b"precious");
    let e = Recorder::start_free("/nonexistent/r".as_ref(), everything()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
}

#[test]
fn a_file_that_is_there_is_kept() {
    let place = Place::new();
    std::fs::write(&place.0, "precious").unwrap();
    let e = Recorder::start(&place.0, everything()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&place.0).unwrap(), b"precious");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let other = Place::new();
        drop(Recorder::start(&other.0, everything()).unwrap());
        assert_eq!(std::fs::metadata(&other.0).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
