//! A soak: eight threads predict while everything happens that may happen to a server. Every
//! answer is held, bit for bit, against a table that was computed before.
//!
//! ```sh
//! cargo run --release --example soak -- --seconds 600 --seed 1
//! ```
//!
//! Meanwhile versions are reloaded every few milliseconds, broken and wrong files are offered, the
//! disk has folders, links and half files where models should be and loses those that were loaded,
//! versions are rolled back, labels and policies change, canaries climb or get worse and are taken
//! back, a slow model overruns its deadline and its queue, callers send rows that do not fit and
//! drop their futures.
//!
//! It ends with a report, and in failure if an answer was wrong, a good request failed, a bad one
//! did not fail as it should, a queue passed its bound, resident memory at the end is more than a
//! quarter and 32 MiB above what it was after the warm-up, more files are open in the last quarter
//! than in the first (but for a few that are open for a moment), or something was not tried at all. With
//! `--spoil` one bit of one expected answer is wrong from the start, to see that this is noticed.

#![allow(clippy::expect_used, clippy::panic, missing_docs)]

mod ask;
mod canary;
mod disk;
mod fleet;
mod operate;
mod random;
mod report;
mod tally;
mod truth;
mod watch;

use ask::Asker;
use fleet::{Fleet, INJECTED};
use operate::{Done, Operator};
use report::{Memory, Report};
use std::process::ExitCode;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use tally::{Shared, Tally};
use watch::{Course, Queues, Told, resident};

const THREADS: u64 = 8;
/// How often queues are looked at, memory and open files, and how often progress is told.
const LOOK: Duration = Duration::from_millis(100);
const COURSE: Duration = Duration::from_secs(1);
const TELL: Duration = Duration::from_secs(5);

struct Arguments {
    seconds: u64,
    seed: u64,
    spoil: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments { seconds: 60, seed: 1, spoil: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--spoil" {
            parsed.spoil = true;
            continue;
        }
        let value = words.next().and_then(|v| v.parse().ok());
        let value = value.ok_or_else(|| format!("{word} takes a number"))?;
        match word.as_str() {
            "--seconds" => parsed.seconds = value,
            "--seed" => parsed.seed = value,
            _ => return Err(format!("unknown argument {word}: --seconds N, --seed N, --spoil")),
        }
    }
    Ok(parsed)
}

/// Panics that are made on purpose are told by the report, not by a backtrace each.
fn quiet_panics() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&INJECTED) {
            told(info);
        }
    }));
}

/// Looks and tells until the time is over. Answers the queues, memory after the warm-up, and the
/// course of things from then on.
fn watch(fleet: &Fleet, shared: &Shared, length: Duration) -> (Queues, u64, Course) {
    let warm_up = (length / 4).min(Duration::from_secs(30));
    let (began, mut told, mut noted) = (Instant::now(), Instant::now(), Instant::now());
    let (mut queues, mut warm, mut course) = (Queues::default(), 0, Course::default());
    while began.elapsed() < length {
        queues.look(&fleet.manager);
        if began.elapsed() <= warm_up {
            warm = warm.max(resident());
        } else if noted.elapsed() >= COURSE {
            noted = Instant::now();
            course.look(began.elapsed().as_secs_f64());
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            println!(
                "{:>5.0} s  {:>10} requests  {:>6.1} MiB  {} problems",
                began.elapsed().as_secs_f64(),
                shared.requests.load(SeqCst),
                resident() as f64 / f64::from(1 << 20),
                shared.problems()
            );
        }
        std::thread::sleep(LOOK);
    }
    (queues, warm, course)
}

fn main() -> ExitCode {
    let Arguments { seconds, seed, spoil } = match arguments() {
        Ok(arguments) => arguments,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    quiet_panics();
    let start = resident();
    let mut fleet = Fleet::new().expect("the test models load");
    for truth in &fleet.truths {
        // Without this a mixed answer could pass for a right one.
        assert_eq!(truth.tells_apart(), truth.rows.count, "rows that two versions answer alike");
    }
    if spoil {
        fleet.truths[fleet::IRIS].spoil();
    }
    let shared = Shared::default();
    let events = fleet.manager.events();
    let listener = std::thread::spawn(move || Told::listen(events));
    let began = Instant::now();
    let (mut tally, mut done) = (Tally::default(), Done::default());
    let (queues, warm, course, canaries) = std::thread::scope(|scope| {
        let (fleet, shared) = (&fleet, &shared);
        let askers: Vec<_> = (0..THREADS)
            .map(|i| scope.spawn(move || Asker::new(fleet, shared, seed * 1000 + i).run()))
            .collect();
        let operator = move |i| Operator::new(fleet, shared, seed * 1000 + THREADS + i);
        let operators =
            [scope.spawn(move || operator(0).iris()), scope.spawn(move || operator(1).others())];
        let canaries = scope.spawn(move || canary::run(fleet, shared));
        let (queues, warm, course) = watch(fleet, shared, Duration::from_secs(seconds));
        shared.stop.store(true, SeqCst);
        for asker in askers {
            tally.add(asker.join().expect("an asking thread"));
        }
        for operator in operators {
            done.add(&operator.join().expect("an operating thread"));
        }
        (queues, warm, course, canaries.join().expect("the canaries' thread"))
    });
    let seconds = began.elapsed();
    let memory = Memory { start, warm, end: resident() };
    let shadow = fleet.manager.shadow(fleet::NAMES[fleet::WINE]).ok().flatten();
    let events_dropped = fleet.manager.events_dropped();
    let known = fleet::NAMES.map(|name| fleet.manager.versions(name).map_or(0, |all| all.len()));
    // The events end with the manager.
    drop(fleet);
    let told = listener.join().expect("the listening thread");
    let report = Report {
        seconds,
        seed,
        tally,
        done,
        canaries,
        queues,
        told,
        known,
        events_dropped,
        memory,
        course,
        shadow,
    };
    if report.print(&shared) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
