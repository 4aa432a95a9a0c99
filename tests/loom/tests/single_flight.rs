//! Single flight under every interleaving: nothing is worked out twice, nobody is lost.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread;
use modelserve_loom::flight::{Flights, Joined, Leader, Turn, Waited};
use modelserve_loom::sync::Mutex;

const KEY: u8 = 7;
const RESULT: u32 = 42;

/// What a caller works with: the flights, where results are kept, and what was worked.
#[derive(Clone)]
struct World {
    flights: Flights<u8, u32>,
    kept: Arc<Mutex<Option<u32>>>,
    working: Arc<AtomicUsize>,
    worked: Arc<AtomicUsize>,
}

/// The order in which a leader ends its work.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    KeepThenLand,
    /// The mutant.
    LandThenKeep,
}

impl World {
    fn new() -> World {
        World {
            flights: Flights::default(),
            kept: Arc::new(Mutex::new(None)),
            working: Arc::new(AtomicUsize::new(0)),
            worked: Arc::new(AtomicUsize::new(0)),
        }
    }

    fn lead(&self, leader: Leader<u8, u32>, ending: Ending) -> u32 {
        let kept = *self.kept.lock();
        if let Some(kept) = kept {
            leader.land(kept);
            return kept;
        }
        assert_eq!(self.working.fetch_add(1, SeqCst), 0, "two work on one key at once");
        self.worked.fetch_add(1, SeqCst);
        self.working.fetch_sub(1, SeqCst);
        match ending {
            Ending::KeepThenLand => {
                *self.kept.lock() = Some(RESULT);
                leader.land(RESULT);
            }
            Ending::LandThenKeep => {
                leader.land(RESULT);
                *self.kept.lock() = Some(RESULT);
            }
        }
        RESULT
    }

    /// A caller that blocks until it is answered.
    fn ask(&self, ending: Ending) -> u32 {
        let kept = *self.kept.lock();
        if let Some(kept) = kept {
            return kept;
        }
        match self.flights.join(&KEY) {
            Joined::Lead(leader) => self.lead(leader, ending),
            Joined::Wait(ticket) => match ticket.wait(None) {
                Waited::Told(Turn::Shared(value)) => value,
                Waited::Told(Turn::Lead(leader)) => self.lead(leader, ending),
                Waited::TimedOut(_) => unreachable!("there is no clock"),
            },
        }
    }

    /// A caller whose work fails.
    fn fail(&self) {
        if let Joined::Lead(leader) = self.flights.join(&KEY) {
            assert_eq!(self.working.fetch_add(1, SeqCst), 0, "two work on one key at once");
            self.working.fetch_sub(1, SeqCst);
            drop(leader);
        }
    }

    /// A caller that does not block: its answer comes to `answer`.
    fn submit(&self, answer: Arc<Mutex<Option<u32>>>) {
        let world = self.clone();
        let told =
            move |answer: Arc<Mutex<Option<u32>>>| -> modelserve_loom::flight::Call<u8, u32> {
                Box::new(move |turn| {
                    let value = match turn {
                        Turn::Shared(value) => value,
                        Turn::Lead(leader) => world.lead(leader, Ending::KeepThenLand),
                    };
                    *answer.lock() = Some(value);
                })
            };
        if let Some((leader, answer)) = self.flights.join_with(&KEY, answer, told) {
            let value = self.lead(leader, Ending::KeepThenLand);
            *answer.lock() = Some(value);
        }
    }
}

fn explore(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(f);
}

fn three_ask(ending: Ending) {
    explore(move || {
        let world = World::new();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let world = world.clone();
                thread::spawn(move || world.ask(ending))
            })
            .collect();
        assert_eq!(world.ask(ending), RESULT);
        for other in others {
            assert_eq!(other.join().unwrap(), RESULT);
        }
        assert_eq!(world.worked.load(SeqCst), 1, "worked out more than once");
    });
}

#[test]
fn one_works_for_all() {
    three_ask(Ending::KeepThenLand);
}

/// Between landing and keeping, a newcomer finds neither a flight nor a result.
#[test]
#[should_panic(expected = "worked out more than once")]
fn mutant_that_lands_before_it_keeps() {
    three_ask(Ending::LandThenKeep);
}

#[test]
fn a_failing_leader_hands_over() {
    explore(|| {
        let world = World::new();
        let failing = world.clone();
        let fails = thread::spawn(move || failing.fail());
        let asking = world.clone();
        let asks = thread::spawn(move || asking.ask(Ending::KeepThenLand));
        assert_eq!(world.ask(Ending::KeepThenLand), RESULT);
        assert_eq!(asks.join().unwrap(), RESULT);
        fails.join().unwrap();
        assert_eq!(world.worked.load(SeqCst), 1);
    });
}

#[test]
fn a_failing_leader_hands_over_to_one_that_does_not_block() {
    explore(|| {
        let world = World::new();
        let failing = world.clone();
        let fails = thread::spawn(move || failing.fail());
        let answer = Arc::new(Mutex::new(None));
        let submitting = world.clone();
        let to = answer.clone();
        let submits = thread::spawn(move || submitting.submit(to));
        assert_eq!(world.ask(Ending::KeepThenLand), RESULT);
        submits.join().unwrap();
        fails.join().unwrap();
        let answer = *answer.lock();
        assert_eq!(answer, Some(RESULT));
        assert_eq!(world.worked.load(SeqCst), 1);
    });
}

/// A waiter gives up just while the lead is handed to it. `leaves` is what it does then.
fn one_leaves(leaves: fn(Joined<u8, u32>) -> Option<Joined<u8, u32>>) {
    explore(move || {
        let world = World::new();
        let Joined::Lead(first) = world.flights.join(&KEY) else { unreachable!("nobody leads") };
        let second = world.flights.join(&KEY);
        let Joined::Wait(third) = world.flights.join(&KEY) else { unreachable!("one leads") };
        let fails = thread::spawn(move || drop(first));
        let leaver = thread::spawn(move || leaves(second));
        // Hangs, which loom reports, where the lead was lost.
        match third.wait(None) {
            Waited::Told(Turn::Lead(leader)) => leader.land(RESULT),
            Waited::Told(Turn::Shared(_)) | Waited::TimedOut(_) => unreachable!("nothing landed"),
        }
        fails.join().unwrap();
        drop(leaver.join().unwrap());
    });
}

#[test]
fn a_waiter_that_leaves_passes_the_lead_on() {
    one_leaves(|place| {
        drop(place);
        None
    });
}

/// It goes away without giving its place back.
#[test]
#[should_panic(expected = "deadlock")]
fn mutant_that_leaves_without_a_word() {
    one_leaves(Some);
}
