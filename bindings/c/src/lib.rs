//! The C interface of modelserve: `include/modelserve.h` is generated from these sources.
//!
//! Every function has the same shape: check the pointers, look the handles up, call one method
//! of the Rust crate, convert the answer, all inside `guard::guard`. The conventions that hold
//! for all of them (threads, ownership, errors, text) are at the top of the header, and in
//! `cbindgen.toml`, from where they come.
//!
//! # Safety
//! What the caller promises, for every function: a pointer that is not NULL points to as many
//! valid elements as its description says, for the duration of the call; text ends with NUL;
//! output memory is not read or written by others meanwhile. Handles carry no promise at all.

#![allow(unsafe_code, reason = "a C interface reads and writes its caller's memory")]
#![allow(non_camel_case_types, reason = "the types carry their C names")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(panic = "abort")]
compile_error!("modelserve-c needs panic = \"unwind\": a panic must end as a status, not the host");

mod callback;
mod columns;
mod dlpack;
mod doubles;
mod events;
mod explain;
mod fork;
mod gate;
mod guard;
mod handle;
mod http;
mod http_server;
mod inspect;
mod json;
mod lease;
mod library;
mod log;
mod manager;
mod metrics;
mod model;
#[allow(dead_code, reason = "constants for readers of the header")]
mod options;
mod outputs;
mod pointer;
mod policies;
mod predict;
mod prepared;
mod probe;
mod record;
mod replay;
mod report;
mod repository;
mod request;
mod run_into;
mod signature;
#[allow(dead_code, reason = "constants for readers of the header")]
mod status;
mod submit;
mod submit_batch;
mod submit_columns;
mod submit_doubles;
mod submit_run;
mod tensor;
mod versions;
mod worst;
