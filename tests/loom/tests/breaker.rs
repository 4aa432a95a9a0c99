//! The circuit breaker under every interleaving: half open it lets no more than the probes
//! through, a lost permit comes back, and no change of phase is lost or told twice.
//!
//! Each promise is a check over a [`Door`], run on the shipped circuit and on one wrong variant
//! that breaks it.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread;
use modelserve_loom::breaker::{Change, Circuit, Permit, Phase, Rules};

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(check);
}

/// Opens on the first failure, for one nanosecond.
fn circuit(probes: u32) -> Circuit {
    Circuit::new(Rules {
        window: 1000,
        min_calls: 1,
        failure_ratio: 1.0,
        slow_ratio: 1.0,
        open_for: 1,
        max_open_for: 1000,
        probes,
    })
}

/// A circuit that opened at 0: from 1 on it lets probes through.
fn opened(probes: u32) -> Circuit {
    let circuit = circuit(probes);
    let change = Circuit::admit(&circuit, 0).0.expect("closed").report(0, true, false);
    assert_eq!(change.expect("opens").to, Phase::Open);
    circuit
}

/// What calls pass through.
trait Door: Send + Sync + 'static {
    type Permit<'a>;
    fn admit(&self) -> Option<Self::Permit<'_>>;
    /// The call of this permit was lost.
    fn lose(&self, permit: Self::Permit<'_>);
}

impl Door for Circuit {
    type Permit<'a> = Permit<&'a Circuit>;

    fn admit(&self) -> Option<Self::Permit<'_>> {
        Circuit::admit(self, 1).0.ok()
    }

    fn lose(&self, permit: Self::Permit<'_>) {
        drop(permit);
    }
}

/// Mutant: looks whether there is room, and takes it in a second step.
struct LooksThenTakes {
    probes: usize,
    out: AtomicUsize,
}

impl Door for LooksThenTakes {
    type Permit<'a> = ();

    fn admit(&self) -> Option<()> {
        (self.out.load(SeqCst) < self.probes).then(|| {
            self.out.fetch_add(1, SeqCst);
        })
    }

    fn lose(&self, (): ()) {
        self.out.fetch_sub(1, SeqCst);
    }
}

/// Mutant: the shipped circuit, where a lost permit is kept for ever.
struct KeepsLostPermits(Circuit);

impl Door for KeepsLostPermits {
    type Permit<'a> = Permit<&'a Circuit>;

    fn admit(&self) -> Option<Self::Permit<'_>> {
        self.0.admit()
    }

    fn lose(&self, permit: Self::Permit<'_>) {
        std::mem::forget(permit);
    }
}

fn lets_only_one_probe_through(door: impl Door) {
    let door = Arc::new(door);
    let inside = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (door, inside) = (door.clone(), inside.clone());
            thread::spawn(move || {
                if let Some(permit) = door.admit() {
                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "a second probe is inside");
                    inside.fetch_sub(1, SeqCst);
                    door.lose(permit);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
}

#[test]
fn half_open_lets_only_the_probes_through() {
    model(|| lets_only_one_probe_through(opened(1)));
}

#[test]
#[should_panic(expected = "a second probe is inside")]
fn mutant_that_looks_and_then_takes_is_caught() {
    model(|| lets_only_one_probe_through(LooksThenTakes { probes: 1, out: AtomicUsize::new(0) }));
}

fn a_lost_permit_comes_back(door: impl Door) {
    let door = Arc::new(door);
    let other = door.clone();
    let thread = thread::spawn(move || {
        if let Some(permit) = other.admit() {
            other.lose(permit);
        }
    });
    if let Some(permit) = door.admit() {
        door.lose(permit);
    }
    thread.join().expect("no panic");
    assert!(door.admit().is_some(), "the place was lost");
}

#[test]
fn a_lost_probe_gives_its_place_back() {
    model(|| a_lost_permit_comes_back(opened(1)));
}

#[test]
#[should_panic(expected = "the place was lost")]
fn mutant_that_keeps_lost_permits_is_caught() {
    model(|| a_lost_permit_comes_back(KeepsLostPermits(opened(1))));
}

#[test]
fn failures_of_two_threads_open_it_once() {
    model(|| {
        let circuit = Arc::new(circuit(1));
        let other = circuit.clone();
        let fail = |circuit: &Circuit| {
            let leave = Circuit::admit(circuit, 0).0.ok();
            leave.and_then(|permit| permit.report(0, true, false))
        };
        let thread = thread::spawn(move || fail(&other));
        let told: Vec<Change> =
            [fail(&circuit), thread.join().expect("no panic")].into_iter().flatten().collect();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].to, told[0].sequence), (Phase::Open, 1));
        assert_eq!(circuit.standing(0).phase, Phase::Open);
    });
}

#[test]
fn the_successes_of_two_probes_close_it_once() {
    model(|| {
        let circuit = Arc::new(opened(2));
        let other = circuit.clone();
        let probe = |circuit: &Circuit| {
            let (leave, opened) = Circuit::admit(circuit, 1);
            let closed = leave.expect("two places").report(1, false, false);
            [opened, closed]
        };
        let thread = thread::spawn(move || probe(&other));
        let mut told: Vec<Change> =
            probe(&circuit).into_iter().chain(thread.join().expect("no panic")).flatten().collect();
        told.sort_by_key(|change| change.sequence);
        let told: Vec<_> = told.iter().map(|c| (c.sequence, c.to)).collect();
        assert_eq!(told, [(2, Phase::HalfOpen), (3, Phase::Closed)]);
        assert!(Circuit::admit(&*circuit, 1).0.is_ok());
    });
}

#[test]
fn a_report_from_before_the_opening_never_decides_a_probe() {
    model(|| {
        let circuit = Arc::new(circuit(1));
        let late = Circuit::admit(circuit.clone(), 0).0.expect("closed");
        Circuit::admit(&*circuit, 0).0.expect("closed").report(0, true, false);
        let thread = thread::spawn(move || late.report(1, true, false));
        let probe = Circuit::admit(&*circuit, 1).0.expect("its turn");
        let change = probe.report(1, false, false).expect("closes");
        assert_eq!((change.from, change.to), (Phase::HalfOpen, Phase::Closed));
        assert_eq!(thread.join().expect("no panic"), None);
        assert_eq!(circuit.standing(1).phase, Phase::Closed);
    });
}
