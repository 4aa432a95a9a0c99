//! The slot's pointer: no update is lost, and no reader sees half of one.

use loom::thread;
use modelserve_loom::cell::Cell;
use modelserve_loom::sync::{Arc, ArcSwap};

/// Two fields that every published state keeps equal, as a version and its answers belong
/// together.
struct State {
    version: usize,
    answers: usize,
}

fn check(f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(f);
}

#[test]
fn no_update_is_lost_and_none_is_seen_by_halves() {
    check(|| {
        let cell = Arc::new(Cell::new(State { version: 0, answers: 0 }));
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let cell = cell.clone();
                thread::spawn(move || {
                    cell.update(|s| {
                        (Some(State { version: s.version + 1, answers: s.answers + 1 }), ())
                    });
                })
            })
            .collect();
        for _ in 0..2 {
            cell.with(|s| assert_eq!(s.version, s.answers, "half of an update was seen"));
        }
        for writer in writers {
            writer.join().unwrap();
        }
        cell.with(|s| assert_eq!(s.version, 2, "an update was lost"));
    });
}

/// Mutant `update_without_the_writer_lock`: the next state is made from one that another writer
/// replaces meanwhile.
#[test]
#[should_panic(expected = "an update was lost")]
fn mutant_update_without_the_writer_lock() {
    check(|| {
        let cell = Arc::new(ArcSwap::from_pointee(0usize));
        let update = |cell: &ArcSwap<usize>| {
            let next = *cell.load() + 1;
            cell.store(Arc::new(next));
        };
        let other = {
            let cell = cell.clone();
            thread::spawn(move || update(&cell))
        };
        update(&cell);
        other.join().unwrap();
        assert_eq!(*cell.load(), 2, "an update was lost");
    });
}

/// Mutant `two_step_swap`: the parts of a state are published one after the other.
#[test]
#[should_panic(expected = "half of an update was seen")]
fn mutant_two_step_swap() {
    check(|| {
        let version = Arc::new(ArcSwap::from_pointee(0usize));
        let answers = Arc::new(ArcSwap::from_pointee(0usize));
        let writer = {
            let (version, answers) = (version.clone(), answers.clone());
            thread::spawn(move || {
                version.store(Arc::new(1));
                answers.store(Arc::new(1));
            })
        };
        let (a, b) = (*version.load(), *answers.load());
        assert_eq!(a, b, "half of an update was seen");
        writer.join().unwrap();
    });
}
