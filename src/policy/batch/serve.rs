//! Taking turns: who runs what, in which thread, and who is told.

use super::group::{Group, Member, Rows, Told, rows_of};
use super::invariance::Invariance;
use super::lane::{self, Enter, Lane, Patience, Pick, Turn};
use super::options::Rules;
use super::run::{self, Part, Runner};
use crate::error::{Error, Result, err};
use crate::model::{Ctx, Model, Reply, Request, Signature, contain};
use crate::policy::Load;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) type Entry = lane::Entry<Member, Told>;

/// How often a blocked caller looks whether it was cancelled: a token wakes nobody.
const GLANCE: Duration = Duration::from_millis(20);
/// Most lists of outputs that are remembered as not fit for batches.
const MAX_APART: usize = 64;

/// What a lane's callers share.
pub(super) struct Shared {
    pub(super) inner: Arc<dyn Model>,
    pub(super) signature: Arc<Signature>,
    pub(super) lane: Lane<Member, Told>,
    pub(super) rules: Rules,
    pub(super) capacity: usize,
    pub(super) concurrency: usize,
    pub(super) load: Arc<Load>,
    pub(super) invariance: Invariance,
    /// The process that the lane's runs belong to.
    pub(super) process: Mutex<u32>,
    /// Outputs whose values turned out not to have one entry a row.
    pub(super) apart: Mutex<Vec<Option<Arc<[String]>>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Who waits in a parent's lane is the parent's to answer.
        if *self.process.get_mut() != std::process::id() {
            self.lane.forget();
        }
    }
}

/// A run that is held: handed on when it goes, come what may.
struct Held<'a>(&'a Arc<Shared>);

impl Held<'_> {
    /// Hands the run on. What is returned holds it now.
    fn pass(self) -> Option<Entry> {
        let next = self.0.lane.release();
        std::mem::forget(self);
        next
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.0.lane.release() {
            spawn(self.0.clone(), entry);
        }
    }
}

/// Runs an entry that holds a run, and those that get the run after it, on another thread.
pub(super) fn spawn(shared: Arc<Shared>, entry: Entry) {
    crate::executor::spawn(move || {
        let mut next = Some(entry);
        while let Some(entry) = next {
            next = shared.lead(entry);
        }
    });
}

/// Tells whoever waits for an entry.
fn tell(entry: Entry, (result, receipt): Told) {
    let (member, arrived, waiter) = entry.split();
    let result = result.map(|reply| stamp(reply, arrived));
    match (member.done, waiter) {
        (Some(done), _) => {
            let mut ctx = member.ctx;
            ctx.receipt = receipt;
            // A completion that panics must not keep the others of its batch from their answers.
            let _: Result<()> = contain(|| {
                done.call(result, ctx);
                Ok(())
            });
        }
        (None, Some(waiter)) => waiter.answer((result, receipt)),
        (None, None) => {}
    }
}

/// The time inside the library counts from the arrival, not from the run.
fn stamp(mut reply: Reply, arrived: Instant) -> Reply {
    reply.set_latency(arrived.elapsed());
    reply
}

fn lost() -> Error {
    err!(Internal, "the run that was to answer this request ended without an answer")
}

impl Shared {
    /// Takes a run if one is free. What a forked child finds taken was its parent's, and never
    /// ends here. (The process is looked at only then: an idle model's path stays short.)
    pub(super) fn acquire(&self) -> bool {
        if self.lane.acquire() {
            return true;
        }
        let mut process = self.process.lock();
        if *process != std::process::id() {
            *process = std::process::id();
            self.lane.abandon();
        }
        drop(process);
        self.lane.acquire()
    }

    /// Runs one request as it is, and counts it.
    fn run_alone(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let reply = run::call(&*self.inner, request, ctx);
        if reply.is_ok() {
            if ctx.receipt.batch_rows == 0 {
                ctx.receipt.batch_rows = u32::try_from(request.rows()).unwrap_or(u32::MAX);
            }
            self.load.ran(1, ctx.receipt.run);
        }
        reply
    }

    /// Runs entries together, each of which has rows; answers in order.
    fn run_together(&self, entries: &[Entry]) -> Vec<Told> {
        let began = Instant::now();
        let parts: Vec<Part<'_>> = entries
            .iter()
            .filter_map(|entry| {
                let Member { rows, ctx, .. } = &entry.item;
                Some(Part { rows: rows.as_ref()?, ctx, arrived: entry.arrived })
            })
            .collect();
        let runner = Runner {
            inner: &*self.inner,
            signature: &self.signature,
            began,
            uncuttable: &|group| self.keep_apart(group),
        };
        let mut told = Vec::with_capacity(parts.len());
        runner.run(&parts, &mut told);
        self.load.ran(parts.len(), began.elapsed());
        told
    }

    fn keep_apart(&self, group: &Group) {
        let mut apart = self.apart.lock();
        if apart.len() < MAX_APART && !apart.contains(&group.outputs) {
            apart.push(group.outputs.clone());
        }
    }

    /// A request's rows, checked, where they can share a run.
    pub(super) fn rows(&self, request: &Request<'_>) -> Result<Option<Rows>> {
        if self.rules.most <= 1 {
            return Ok(None);
        }
        let rows = rows_of(&*self.inner, &self.signature, request, self.rules.most)?;
        Ok(rows.filter(|rows| !self.apart.lock().contains(&rows.group.outputs)))
    }

    pub(super) fn enter(&self, member: Member, blocking: bool) -> Enter<Member, Told> {
        let priority = member.ctx.priority;
        let now = Instant::now();
        let member = match self.lane.enter(member, priority, now, blocking) {
            Enter::Full(member) => member,
            entered => return entered,
        };
        // Those whom nobody waits for any more must not keep others out.
        let swept = self.lane.sweep(|waiting| is_dead(&waiting.ctx, now));
        if swept.is_empty() {
            return Enter::Full(member);
        }
        swept.into_iter().for_each(refuse);
        self.lane.enter(member, priority, now, blocking)
    }

    pub(super) fn overloaded(&self) -> Error {
        err!(
            Overloaded,
            "{} requests wait already (BatchOptions::max_queue_size): ask later, or allow more",
            self.capacity
        )
    }

    /// What joins a leader; those in the queue that are too late are told so.
    fn company(&self, leader: &Entry) -> Vec<Entry> {
        let Some(own) = &leader.item.rows else { return Vec::new() };
        let room = self.rules.most.saturating_sub(own.count);
        if room == 0 {
            return Vec::new();
        }
        let now = Instant::now();
        let patience = (!self.rules.delay.is_zero()).then_some(Patience {
            since: leader.arrived,
            delay: self.rules.delay,
            before: leader.item.ctx.deadline,
        });
        let taken = self.lane.gather(
            room,
            patience,
            |waiting| match &waiting.rows {
                _ if is_dead(&waiting.ctx, now) => Pick::Dead,
                Some(rows) if rows.group == own.group => Pick::Join(rows.count),
                _ => Pick::Leave,
            },
            |available, can_wait| self.rules.take(own.count, available, can_wait),
        );
        taken.dead.into_iter().for_each(refuse);
        taken.joined
    }

    /// Answers a request that holds a run, in the calling thread.
    pub(super) fn direct(self: &Arc<Self>, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let held = Held(self);
        let reply = self.run_alone(request, ctx);
        drop(held);
        reply
    }

    /// Answers a request that found no run free: queues, and blocks.
    pub(super) fn queue(self: &Arc<Self>, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        ctx.check()?;
        let rows = self.rows(request)?;
        let arrived = Instant::now();
        let member = Member { rows, request: None, ctx: ctx.clone(), done: None };
        let ticket = match self.enter(member, true) {
            Enter::Wait(ticket) => ticket,
            Enter::Run(_) => return self.direct(request, ctx),
            Enter::Full(_) => return Err(self.overloaded()),
            Enter::Queued => return Err(lost()),
        };
        loop {
            let glance = ctx.cancel.as_ref().map(|_| Instant::now() + GLANCE);
            let until = glance.into_iter().chain(ctx.deadline).min();
            if let Some(turn) = self.lane.wait(&ticket, until) {
                return self.take_turn(turn, request, ctx);
            }
            if let Err(e) = ctx.check() {
                ctx.receipt.queue = arrived.elapsed();
                return match self.lane.leave(ticket) {
                    Some(turn) => self.take_turn(turn, request, ctx),
                    None => Err(e),
                };
            }
        }
    }

    fn take_turn(
        self: &Arc<Self>,
        turn: Turn<Member, Told>,
        request: &Request<'_>,
        ctx: &mut Ctx,
    ) -> Result<Reply> {
        let leader = match turn {
            Turn::Answered((result, receipt)) => {
                ctx.receipt = receipt;
                return result;
            }
            Turn::Lost => return Err(lost()),
            Turn::Lead(leader) => leader,
        };
        let held = Held(self);
        let arrived = leader.arrived;
        ctx.receipt.queue = arrived.elapsed();
        ctx.check()?;
        let company = self.company(&leader);
        if company.is_empty() {
            ctx.receipt.queue = arrived.elapsed();
            let reply = self.run_alone(request, ctx);
            drop(held);
            return reply.map(|reply| stamp(reply, arrived));
        }
        let batch: Vec<Entry> = [leader].into_iter().chain(company).collect();
        let told = self.run_together(&batch);
        drop(held);
        let mut own = None;
        for (i, (entry, told)) in batch.into_iter().zip(told).enumerate() {
            match i {
                0 => own = Some(told),
                _ => tell(entry, told),
            }
        }
        let (result, receipt) = own.ok_or_else(lost)?;
        ctx.receipt = receipt;
        result.map(|reply| stamp(reply, arrived))
    }

    /// Runs an entry that holds a run and that nobody is blocked on, and what joins it. Answers
    /// the entry that holds the run then.
    fn lead(self: &Arc<Self>, mut leader: Entry) -> Option<Entry> {
        let held = Held(self);
        leader.item.ctx.receipt.queue = leader.arrived.elapsed();
        if let Err(e) = leader.item.ctx.check() {
            let next = held.pass();
            let receipt = leader.item.ctx.receipt.clone();
            tell(leader, (Err(e), receipt));
            return next;
        }
        let company = self.company(&leader);
        if company.is_empty() {
            leader.item.ctx.receipt.queue = leader.arrived.elapsed();
            let Member { request, ctx, .. } = &mut leader.item;
            let result = match request {
                Some(request) => self.run_alone(request, ctx),
                None => Err(lost()),
            };
            let next = held.pass();
            let receipt = leader.item.ctx.receipt.clone();
            tell(leader, (result, receipt));
            return next;
        }
        let batch: Vec<Entry> = [leader].into_iter().chain(company).collect();
        let told = self.run_together(&batch);
        let next = held.pass();
        batch.into_iter().zip(told).for_each(|(entry, told)| tell(entry, told));
        next
    }
}

fn is_dead(ctx: &Ctx, now: Instant) -> bool {
    ctx.deadline.is_some_and(|deadline| deadline <= now)
        || ctx.cancel.as_ref().is_some_and(|cancel| cancel.is_cancelled())
}

/// Tells the caller of an entry that was dead why.
fn refuse(entry: Entry) {
    let mut receipt = entry.item.ctx.receipt.clone();
    receipt.queue = entry.arrived.elapsed();
    let error = entry.item.ctx.check().err().unwrap_or_else(lost);
    tell(entry, (Err(error), receipt));
}

pub(super) fn decline(member: Member, error: Error) {
    if let Some(done) = member.done {
        done.call(Err(error), member.ctx);
    }
}
