//! The memory of large models returns to the system: after each reload, and after the unload.

#![cfg(all(feature = "onnx", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::memory::resident;
use common::onnx::{Float, Node, Weight, model};
use modelserve::{LoadOptions, ModelManager, ReloadOptions};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// What may stay in use of a model of 64 MiB: an eighth.
const SLACK: u64 = 8 * MIB;

/// Memory is counted for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A file of `layers` square matrices of `width`, one multiplied after the other.
fn file(name: &str, layers: usize, width: usize) -> PathBuf {
    let names: Vec<String> = (0..=layers).map(|i| format!("x{i}")).collect();
    let weights: Vec<String> = (0..layers).map(|i| format!("w{i}")).collect();
    let values: Vec<f32> = (0..width * width).map(|i| (i % 7) as f32 / 64.0).collect();
    let dims = [width as u64, width as u64];
    let operands: Vec<[&str; 2]> = (0..layers).map(|i| [&*names[i], &*weights[i]]).collect();
    let results: Vec<[&str; 1]> = (0..layers).map(|i| [&*names[i + 1]]).collect();
    let nodes: Vec<Node<'_>> =
        (0..layers).map(|i| Node("MatMul", &operands[i], &results[i])).collect();
    let tensors: Vec<Weight<'_>> = weights.iter().map(|w| Weight(w, &dims, &values)).collect();
    let shape = [None, Some(width as u64)];
    let bytes = model(&nodes, &tensors, &[Float("x0", &shape)], &[Float(&names[layers], &shape)]);
    let path = common::scratch(name).join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// What is in use once that is `limit` at most: free memory returns on another thread. After the
/// hang guard, what is in use then.
fn settled(in_use: impl Fn() -> u64, limit: u64) -> u64 {
    let end = Instant::now() + Duration::from_secs(30);
    while in_use() > limit && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    in_use()
}

fn loads_reloads_and_unloads(name: &str, layers: usize, width: usize, reloads: usize) {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let path = file(name, layers, width);
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size >= 64 * MIB);
    let manager = ModelManager::default();
    let row = vec![0.5f32; width];
    // What threads, kernels and the first use of anything cost once is not the model's.
    let small = file(&format!("{name}-small"), 1, 64);
    manager.load("small", &small, &LoadOptions::default()).unwrap();
    manager.reload("small", None, &ReloadOptions::default()).unwrap();
    manager.predict_row("small", &row[..64]).unwrap();
    let before = resident();
    manager.load("large", &path, &LoadOptions::default()).unwrap();
    manager.predict_row("large", &row).unwrap();
    let one = resident() - before;
    assert!(one >= size / 2, "the model holds its weights: {one} bytes");
    let in_use = || resident().saturating_sub(before);
    let mut most = 0;
    for _ in 0..reloads {
        manager.reload("large", None, &ReloadOptions::default()).unwrap();
        manager.predict_row("large", &row).unwrap();
        most = most.max(settled(in_use, one + SLACK));
    }
    manager.unload("large").unwrap();
    let left = settled(in_use, SLACK);
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    println!(
        "{name}: {:.1} MiB of file; {:.1} with one version, {:.1} at most after a reload, {:.1} \
         after the unload",
        mib(size),
        mib(one),
        mib(most),
        mib(left)
    );
    assert!(most <= one + SLACK, "{most} bytes after a reload, {one} before");
    assert!(left <= SLACK, "{left} bytes stay in use after the unload");
}

#[test]
fn the_memory_of_one_large_matrix_returns() {
    loads_reloads_and_unloads("one-matrix", 1, 4096, 8);
}

/// Blocks of this size come from the allocator's own heap once one like them was freed.
#[test]
fn the_memory_of_many_matrices_returns() {
    loads_reloads_and_unloads("many-matrices", 64, 512, 8);
}

/// Many small ones, below every threshold of the allocator.
#[test]
fn the_memory_of_very_many_small_matrices_returns() {
    loads_reloads_and_unloads("small-matrices", 4096, 64, 3);
}
