//! What a lane before the version has to do with it: waiting is the load's, not the version's.

use super::*;
use crate::policy::batch::{Batch, BatchOptions};
use std::sync::mpsc;

type Answer = mpsc::Receiver<(Result<Reply>, Ctx)>;

/// A lane of one run before a model each run of which waits for a word, behind a breaker.
struct Lane {
    breaker: Arc<Breaker>,
    model: Arc<dyn Model>,
    entered: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

fn lane() -> Lane {
    let (tell, entered) = mpsc::channel();
    let (go, word) = mpsc::channel();
    let word = Mutex::new(word);
    let model = FnModel::regressor(1, move |row| {
        let _ = tell.send(());
        let _ = word.lock().recv();
        Ok(row[0])
    });
    let options = BatchOptions { concurrency: 1, ..BatchOptions::default() };
    let batch = Batch::new(Arc::new(model), options, Arc::default()).unwrap();
    let options = BreakerOptions { min_requests: 100, ..BreakerOptions::default() };
    let breaker = Arc::new(Breaker::new(Arc::new(batch), options).unwrap());
    Lane { model: breaker.clone(), breaker, entered, go }
}

impl Lane {
    /// A call as it enters the breaker.
    fn enters(&self) -> (Ctx, Permit<&Circuit>, Began) {
        let (mut ctx, guard) = (far(), &self.breaker.guard);
        let (permit, began) = guard.enter(&*guard.circuit, &mut ctx, 0).unwrap();
        (ctx, permit, began)
    }

    /// Queues such a call beneath the breaker.
    fn queues(&self) -> (Began, Answer) {
        let (ctx, _, began) = self.enters();
        let answer = begin(&self.breaker.inner, ctx);
        assert!(began.turn.as_ref().unwrap().waits());
        (began, answer)
    }

    /// How it is judged that a call's deadline ended it.
    fn speaks_against_it(&self, began: &Began) -> bool {
        self.breaker.guard.is_the_versions(ErrorKind::DeadlineExceeded, began)
    }
}

fn answered(answer: &Answer) {
    assert_eq!(value(answer.recv_timeout(HANG).unwrap().0), 7.0);
}

#[test]
fn a_call_that_waits_while_others_run_speaks_of_the_load() {
    let lane = lane();
    let running = begin(&lane.model, Ctx::default());
    lane.entered.recv_timeout(HANG).unwrap();
    let next = begin(&lane.model, far());
    let (waits, last) = lane.queues();
    // Nothing has moved since it came: for all that is known the version is stuck.
    assert!(lane.speaks_against_it(&waits));
    lane.go.send(()).unwrap();
    answered(&running);
    lane.entered.recv_timeout(HANG).unwrap();
    assert!(!lane.speaks_against_it(&waits));
    // One that came after that answer finds it stuck again.
    let (later, behind) = lane.queues();
    assert!(lane.speaks_against_it(&later));
    for _ in 0..3 {
        lane.go.send(()).unwrap();
    }
    [&next, &last, &behind].into_iter().for_each(answered);
    // They were run in the end, with time enough.
    assert!(!waits.turn.as_ref().unwrap().waits());
    assert!(lane.speaks_against_it(&waits) && lane.speaks_against_it(&later));
}

#[test]
fn a_run_that_was_left_less_than_runs_take_speaks_of_the_load() {
    let lane = lane();
    let (_, _, mut began) = lane.enters();
    let turn = began.turn.clone().unwrap();
    turn.queue();
    turn.begin();
    let run = turn.began().unwrap();
    lane.breaker.guard.typical.store(10_000_000, SeqCst);
    began.arrived = run.checked_sub(Duration::from_millis(95)).unwrap();
    began.deadline = Some(run + Duration::from_millis(5));
    assert!(!lane.speaks_against_it(&began));
    began.deadline = Some(run + Duration::from_millis(10));
    assert!(lane.speaks_against_it(&began));
    // Where nothing queues, all the time was the run's.
    let (_, _, mut alone) = lane.enters();
    alone.deadline = Some(alone.arrived + Duration::from_millis(10));
    assert!(lane.speaks_against_it(&alone));
}

#[test]
fn refusals_of_a_full_queue_do_not_hide_a_version_that_is_stuck() {
    let lane = lane();
    let stuck = begin(&lane.model, Ctx::default());
    lane.entered.recv_timeout(HANG).unwrap();
    let (waits, last) = lane.queues();
    let (ctx, permit, full) = lane.enters();
    full.turn.as_ref().unwrap().queue();
    let refused = Err(Error::new(ErrorKind::Overloaded, "the queue is full"));
    lane.breaker.guard.leave(permit, &full, &refused, &ctx);
    assert!(lane.speaks_against_it(&waits));
    lane.go.send(()).unwrap();
    lane.go.send(()).unwrap();
    [&stuck, &last].into_iter().for_each(answered);
}
