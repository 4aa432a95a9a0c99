//! How requests are counted that end otherwise than with an answer in time.

use super::*;

#[test]
fn an_answer_after_the_deadline_counts_as_missed() {
    within(|| {
        let manager = ModelManager::default();
        let (model, held) = held();
        manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
        let mut ctx = Ctx::within(Duration::from_millis(20));
        let e = manager.call("m", &row(&[HOLD]), &mut ctx).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::DeadlineExceeded);
        held.go.send(()).unwrap();
        let slot = slot(&manager, "m");
        while slot.current().unwrap().in_flight() > 0 {
            std::thread::yield_now();
        }
        let of = |outcome| {
            format!(r#"modelserve_requests_total{{model="m",version="1",outcome="{outcome}"}}"#)
        };
        has(&manager, &format!("{} 1", of("deadline_exceeded")));
        has(&manager, &format!("{} 0", of("ok")));
        assert!(!manager.metrics_text().contains(&of("cancelled")));
        // One that nobody can answer in time any more is no version's.
        for submitted in [false, true] {
            let mut ctx = Ctx { deadline: Some(std::time::Instant::now()), ..Ctx::default() };
            if submitted {
                let (done, rx) = told();
                manager.submit("m", row(&[1.0]), ctx, done);
                rx.recv_timeout(HANG).unwrap().0.unwrap_err();
            } else {
                manager.call("m", &row(&[1.0]), &mut ctx).unwrap_err();
            }
        }
        has(&manager, r#"modelserve_refused_total{model="m",reason="deadline_exceeded"} 2"#);
        has(&manager, &format!("{} 1", of("deadline_exceeded")));
    });
}

/// A model of the host's own that contains nothing.
struct Panics(FnModel);

impl Model for Panics {
    fn signature(&self) -> Arc<Signature> {
        self.0.signature()
    }

    fn info(&self) -> ModelInfo {
        self.0.info()
    }

    fn call(&self, _: &Request<'_>, _: &mut Ctx) -> Result<Reply> {
        panic!("a defect of the host")
    }
}

#[test]
fn a_panic_in_a_host_s_own_model_ends_its_request_alone() {
    let manager = ModelManager::default();
    let model = Panics(FnModel::regressor(1, |row| Ok(row[0])));
    let source = ModelSource::Model(Arc::new(model));
    manager.load_from("m", source, &LoadOptions::default()).unwrap();
    let asks = |n: u64| {
        let e = manager.call("m", &row(&[1.0]), &mut Ctx::default()).unwrap_err();
        assert_eq!((e.kind(), e.model()), (ErrorKind::Internal, Some("m")));
        let e = manager.predict_row("m", &[1.0]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Internal);
        let (done, rx) = told();
        manager.submit("m", row(&[1.0]), Ctx::default(), done);
        let e = rx.recv_timeout(HANG).unwrap().0.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Internal);
        has(&manager, r#"modelserve_inflight{model="m",version="1"} 0.0"#);
        assert_eq!(manager.stats("m").unwrap().versions[0].errors, 3 * n);
    };
    asks(1);
    let cache = Some(Default::default());
    manager.set_policies("m", Policies { cache, ..Policies::default() }).unwrap();
    asks(2);
}
