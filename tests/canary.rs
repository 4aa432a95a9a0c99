//! Canaries in a manager: what becomes of a promotion, and of what else is changed meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use modelserve::policy::route::{PromotionOptions, PromotionState, RouterOptions};
use modelserve::{
    Another, Answer, CanaryRule, Ctx, Error, ErrorKind, Event, EventKind, Events, FallbackRule,
    FallbackTo, Features, FnModel, Gate, LoadOptions, ManagerOptions, ModelInfo, ModelManager,
    ModelSource, Policies, ReloadOptions, Request, Target,
};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const HANG: Duration = Duration::from_secs(60);

/// One test at a time: one of them makes this process a forked child, to all appearances.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn source(model: FnModel) -> ModelSource {
    ModelSource::Model(Arc::new(model))
}

/// Answers `value`, whatever is asked.
fn always(value: f64) -> ModelSource {
    source(FnModel::regressor(1, move |_| Ok(value as f32)))
}

fn failing() -> ModelSource {
    source(FnModel::regressor(1, |_| Err(Error::new(ErrorKind::Execution, "out of order"))))
}

/// A manager whose model `m` has version 1, and 2 beside it.
fn two_versions(one: ModelSource, two: ModelSource) -> ModelManager {
    let manager = ModelManager::default();
    manager.load_from("m", one, &LoadOptions::default()).unwrap();
    manager.load_version("m", two, &ReloadOptions::default()).unwrap();
    manager
}

fn asked(manager: &ModelManager, mut ctx: Ctx) -> Result<f64, Error> {
    let row = Request::Row(Features::F32 { data: &[0.0], rows: 1, width: 1 });
    match manager.call("m", &row, &mut ctx)?.into_row()?.answer {
        Answer::Value(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

fn ask(manager: &ModelManager) -> f64 {
    asked(manager, Ctx::default()).unwrap()
}

fn promoting(to: Another) -> Policies {
    let promotion = PromotionOptions {
        steps: vec![10.0, 50.0, 100.0],
        min_requests: 40,
        min_stable_requests: 20,
        min_duration: Duration::ZERO,
        evaluate_every: 10,
        max_latency_ratio: None,
        max_disagreement: None,
        ..PromotionOptions::default()
    };
    let canary = CanaryRule {
        to,
        percent: 0.0,
        options: RouterOptions::default(),
        promotion: Some(promotion),
    };
    Policies { canary: Some(canary), ..Policies::default() }
}

/// A canary of version 2 that gets this much, beside another setting.
fn fixed(percent: f64, recent_inputs: usize) -> Policies {
    let (to, options) = (Another::Version(2), RouterOptions::default());
    let canary = Some(CanaryRule { to, percent, options, promotion: None });
    Policies { canary, recent_inputs, ..Policies::default() }
}

fn state(manager: &ModelManager) -> PromotionState {
    manager.promotion("m").unwrap().unwrap().state
}

fn weight(manager: &ModelManager) -> f64 {
    manager.traffic("m").unwrap().unwrap().arms[1].percent
}

/// Asks until the promotion stands so.
fn ask_until(manager: &ModelManager, wanted: PromotionState) {
    let began = Instant::now();
    while state(manager) != wanted {
        ask(manager);
        assert!(began.elapsed() < HANG, "{:?}", manager.promotion("m"));
    }
}

fn wait_for(events: &Events, what: impl Fn(&EventKind) -> bool) -> Event {
    loop {
        let event = events.next_within(HANG).expect("an event that was awaited");
        if what(&event.kind) {
            return event;
        }
    }
}

fn decided(wanted: &'static str) -> impl Fn(&EventKind) -> bool {
    move |kind| matches!(kind, EventKind::Traffic { verdict, .. } if verdict == wanted)
}

fn reason(event: &Event) -> &str {
    match &event.kind {
        EventKind::Traffic { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_its_promotion_a_canary_is_one_version_among_others() {
    let _turn = turn();
    let manager = ModelManager::new(ManagerOptions { keep_versions: 2, ..Default::default() });
    manager.load_from("m", always(1.0), &LoadOptions::default()).unwrap();
    manager.load_version("m", always(2.0), &ReloadOptions::default()).unwrap();
    let events = manager.events();
    manager.set_policies("m", promoting(Another::Version(2))).unwrap();
    ask_until(&manager, PromotionState::Promoted);
    wait_for(&events, |kind| matches!(kind, EventKind::Serving { previous: Some(1) }));
    assert_eq!(manager.info("m").unwrap().version, 2);

    manager.reload_from("m", always(3.0), &ReloadOptions::default()).unwrap();
    assert_eq!(ask(&manager), 3.0);
    manager.rollback("m").unwrap();
    assert_eq!(ask(&manager), 2.0);
    manager.serve("m", 3).unwrap();
    assert_eq!((ask(&manager), weight(&manager)), (3.0, 0.0));
    assert_eq!(state(&manager), PromotionState::Promoted);
    // It goes as another one that served, and policies may be set without it.
    for value in [4.0, 5.0, 6.0] {
        manager.reload_from("m", always(value), &ReloadOptions::default()).unwrap();
        assert_eq!(ask(&manager), value);
    }
    let two = Ctx { target: Target::Version(2), ..Ctx::default() };
    assert_eq!(asked(&manager, two).unwrap_err().kind(), ErrorKind::NotFound);
    let policies = Policies { recent_inputs: 7, ..promoting(Another::Version(2)) };
    manager.set_policies("m", policies).unwrap();
    assert_eq!((ask(&manager), state(&manager)), (6.0, PromotionState::Promoted));
}

/// A load of another version that is under way, and holds up what waits for its turn.
struct Load {
    asked: Receiver<()>,
    /// Whether it is to come to a good end; it answers 3 then.
    go: Sender<bool>,
    loads: JoinHandle<Result<ModelInfo, Error>>,
}

impl Load {
    /// Reloads `m`, which has been asked something, with a model that is asked the same before it
    /// serves, and takes its time.
    fn begin(manager: &ModelManager) -> Load {
        let (tell, asked) = channel();
        let (go, word) = channel();
        let word = Mutex::new((word, None));
        let model = FnModel::regressor(1, move |_| {
            let _ = tell.send(());
            let mut word = word.lock().unwrap();
            if word.1.is_none() {
                word.1 = word.0.recv().ok();
            }
            match word.1 {
                Some(true) => Ok(3.0),
                _ => Err(Error::new(ErrorKind::Execution, "out of order")),
            }
        });
        let manager = manager.clone();
        let gate = Some(Gate::default());
        let options = ReloadOptions { gate, ..ReloadOptions::default() };
        let loads = std::thread::spawn(move || manager.reload_from("m", source(model), &options));
        Load { asked, go, loads }
    }

    fn end(self, well: bool) -> Result<ModelInfo, Error> {
        self.go.send(well).unwrap();
        self.loads.join().unwrap()
    }
}

/// A promotion that is decided while another version is loaded, and so waits to be carried out.
fn decided_during_a_load(to: Another) -> (ModelManager, Events, Load) {
    let manager = two_versions(always(1.0), always(1.0));
    manager.set_label("m", "next", 2).unwrap();
    manager.load_version("m", always(4.0), &ReloadOptions::default()).unwrap();
    manager.set_policies("m", promoting(to)).unwrap();
    let events = manager.events();
    ask(&manager);
    let load = Load::begin(&manager);
    load.asked.recv_timeout(HANG).unwrap();
    ask_until(&manager, PromotionState::Promoted);
    wait_for(&events, decided("promote"));
    (manager, events, load)
}

#[test]
fn a_promotion_does_not_undo_a_reload_that_it_waited_for() {
    let _turn = turn();
    let (manager, events, load) = decided_during_a_load(Another::Version(2));
    let loaded = load.end(true).unwrap().version;
    let stop = wait_for(&events, decided("stop"));
    assert!(reason(&stop).contains(&format!("version {loaded} serves now, not 1")), "{stop:?}");
    assert_eq!(manager.info("m").unwrap().version, loaded);
    assert_eq!(ask(&manager), 3.0);
    assert_eq!((state(&manager), weight(&manager)), (PromotionState::Stopped, 0.0));
}

#[test]
fn a_weight_set_before_a_promotion_is_carried_out_stands() {
    let _turn = turn();
    let (manager, events, load) = decided_during_a_load(Another::Version(2));
    manager.set_canary_percent("m", 5.0).unwrap();
    load.end(false).unwrap_err();
    let stop = wait_for(&events, decided("stop"));
    assert!(reason(&stop).contains("by hand"), "{stop:?}");
    assert_eq!(manager.info("m").unwrap().version, 1);
    assert_eq!((state(&manager), weight(&manager)), (PromotionState::Stopped, 5.0));
}

#[test]
fn a_label_that_moves_promotes_nothing_that_was_not_tested() {
    let _turn = turn();
    let (manager, events, load) = decided_during_a_load(Another::Label("next".into()));
    manager.set_label("m", "next", 3).unwrap();
    let stop = wait_for(&events, decided("stop"));
    assert!(reason(&stop).contains("label next means version 3 now, not 2"), "{stop:?}");
    assert_eq!((state(&manager), weight(&manager)), (PromotionState::Stopped, 0.0));
    load.end(false).unwrap_err();
    assert_eq!(manager.info("m").unwrap().version, 1);

    // The same on the way there; pointing it to where it points changes nothing.
    let manager = two_versions(always(1.0), always(1.0));
    manager.load_version("m", always(3.0), &ReloadOptions::default()).unwrap();
    manager.set_label("m", "next", 2).unwrap();
    manager.set_policies("m", promoting(Another::Label("next".into()))).unwrap();
    manager.set_label("m", "next", 2).unwrap();
    assert_eq!((state(&manager), weight(&manager)), (PromotionState::Running, 10.0));
    manager.set_label("m", "next", 3).unwrap();
    assert_eq!((state(&manager), weight(&manager)), (PromotionState::Stopped, 0.0));
    // The same rule for another candidate is another promotion.
    manager.set_policies("m", promoting(Another::Label("next".into()))).unwrap();
    assert_eq!((state(&manager), weight(&manager)), (PromotionState::Running, 10.0));
}

#[test]
fn a_promotion_ends_when_another_version_serves_than_it_compares_with() {
    let _turn = turn();
    let manager = two_versions(always(1.0), always(1.0));
    let events = manager.events();
    manager.set_policies("m", promoting(Another::Version(2))).unwrap();
    manager.reload_from("m", always(1.0), &ReloadOptions::default()).unwrap();
    ask_until(&manager, PromotionState::Stopped);
    let stop = wait_for(&events, decided("stop"));
    assert!(reason(&stop).contains("version 3 serves now, not 1"), "{stop:?}");
    assert_eq!((weight(&manager), manager.info("m").unwrap().version), (0.0, 3));
}

/// What was decided stays when other policies are set, and in a forked child.
#[test]
fn weights_and_decisions_outlive_other_policies_and_a_fork() {
    let _turn = turn();
    let manager = two_versions(always(1.0), failing());
    let again = |recent_inputs| {
        let policies = Policies { recent_inputs, ..promoting(Another::Version(2)) };
        manager.set_policies("m", policies).unwrap();
    };
    again(1);
    ask_until(&manager, PromotionState::RolledBack);
    let decisions = manager.promotion("m").unwrap().unwrap().decisions.len();
    let kept = || {
        ask(&manager);
        assert_eq!((state(&manager), weight(&manager)), (PromotionState::RolledBack, 0.0));
        assert_eq!(manager.promotion("m").unwrap().unwrap().decisions.len(), decisions);
    };
    again(2);
    kept();
    modelserve::after_fork();
    kept();
    // Without the rule, it begins anew.
    manager.set_policies("m", Policies::default()).unwrap();
    again(1);
    assert_eq!((state(&manager), weight(&manager)), (PromotionState::Running, 10.0));

    let manager = two_versions(always(1.0), always(2.0));
    manager.set_policies("m", fixed(10.0, 1)).unwrap();
    manager.set_canary_percent("m", 60.0).unwrap();
    let keys: Vec<String> = (0..100).map(|i| format!("user-{i}")).collect();
    let key = |key: &str| Ctx { key: Some(key.into()), ..Ctx::default() };
    let ways = || keys.iter().map(|k| asked(&manager, key(k)).unwrap()).collect::<Vec<_>>();
    let before = ways();
    assert!(before.contains(&1.0) && before.contains(&2.0));
    manager.set_policies("m", fixed(10.0, 2)).unwrap();
    assert_eq!((weight(&manager), ways()), (60.0, before.clone()));
    modelserve::after_fork();
    assert_eq!((ways(), weight(&manager)), (before, 60.0));
}

#[test]
fn metrics_tell_which_way_answers_went() {
    let _turn = turn();
    let manager = two_versions(always(1.0), always(2.0));
    manager.set_policies("m", fixed(25.0, 1)).unwrap();
    let submitted = |manager: &ModelManager| {
        let row = Request::Row(Features::F32 { data: &[0.0], rows: 1, width: 1 });
        let (tell, told) = channel();
        let done = modelserve::Done::new(move |result, _| tell.send(result.is_ok()).unwrap());
        manager.submit("m", row.into_owned().unwrap(), Ctx::default(), done);
        assert!(told.recv_timeout(HANG).unwrap());
    };
    for _ in 0..50 {
        ask(&manager);
        submitted(&manager);
    }
    let routed = |manager: &ModelManager| {
        let text = manager.metrics_text();
        let series = text.lines().filter(|line| line.starts_with("modelserve_routed_total"));
        series.map(ToString::to_string).collect::<Vec<_>>()
    };
    let series = |version: u64, route: &str, count: u64| {
        let labels = format!("model=\"m\",version=\"{version}\",route=\"{route}\"");
        vec![format!("modelserve_routed_total{{{labels}}} {count}")]
    };
    assert_eq!(routed(&manager), series(2, "canary", 25));

    let manager = two_versions(failing(), always(2.0));
    let to = FallbackTo::Another(Another::Version(2));
    let fallback = vec![FallbackRule { to, on: None }];
    manager.set_policies("m", Policies { fallback, ..Policies::default() }).unwrap();
    ask(&manager);
    submitted(&manager);
    assert_eq!(routed(&manager), series(2, "fallback", 2));

    // Who stands in for a canary that failed is stable.
    let manager = two_versions(always(1.0), failing());
    manager.set_policies("m", fixed(100.0, 1)).unwrap();
    assert_eq!(ask(&manager), 1.0);
    submitted(&manager);
    assert!(routed(&manager).is_empty());
}
