//! Bodies of control flow, in graphs made by hand.

use crate::attribute::Attribute;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Capture, Dim, Graph, Node, ValueId, ValueType};
use crate::limits::{LoadLimits, RequestLimits};
use crate::plan::{CompileOptions, Plan, PlanKind, RunOptions, compile};
use crate::problem::{Problems, ReadOn};
use crate::tensor::{ElementType, Tensor, Value};
use crate::threads::Threads;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

fn t<T: crate::tensor::Element>(dims: &[usize], data: &[T]) -> Tensor {
    Tensor::from_vec(dims, data.to_vec()).unwrap()
}

fn node(op: &str, version: i64, inputs: &[ValueId], outputs: &[ValueId]) -> Node {
    let some = |ids: &[ValueId]| ids.iter().copied().map(Some).collect();
    let (inputs, outputs) = (some(inputs), some(outputs));
    Node { op: op.into(), version, inputs, outputs, ..Node::default() }
}

/// A graph of `inputs` unnamed inputs and what `build` adds, which answers the outputs.
fn graph(inputs: usize, build: impl FnOnce(&mut Graph, &[ValueId]) -> Vec<ValueId>) -> Graph {
    let mut graph = Graph::default();
    let inputs: Vec<ValueId> =
        (0..inputs).map(|i| graph.add_value(format!("in{i}"), None)).collect();
    graph.outputs = build(&mut graph, &inputs);
    graph.inputs = inputs;
    graph
}

fn compiled(graph: Graph) -> Result<Plan> {
    let limits = LoadLimits::default();
    let options = CompileOptions { limits: &limits, plan: PlanKind::Optimised };
    compile(graph, options, &mut Problems::new(ReadOn::Unsupported))
}

fn run(plan: &Plan, inputs: &[Value]) -> Result<Vec<Value>> {
    let (threads, limits) = (Threads::new(1), RequestLimits::default());
    let options = RunOptions { threads: &threads, limits: &limits, deadline: None, cancel: None };
    plan.run(inputs.iter().cloned().collect(), &[], options)
}

fn seq(items: &[Tensor]) -> Value {
    Value::Sequence(items.iter().cloned().map(Value::Tensor).collect())
}

/// A loop of `turns` whose body carries a sequence, adds the number of the turn to it, and answers
/// that number each turn as well.
fn collecting(turns: i64) -> Graph {
    let body = graph(3, |g, inputs| {
        let (longer, go_on, number) =
            (g.add_value("longer", None), g.add_value("go_on", None), g.add_value("n", None));
        g.nodes.push(node("SequenceInsert", 11, &[inputs[2], inputs[0]], &[longer]));
        g.nodes.push(node("Identity", 13, &[inputs[1]], &[go_on]));
        g.nodes.push(node("Identity", 13, &[inputs[0]], &[number]));
        let dims = Some(vec![Dim::Fixed(2), Dim::Unknown]);
        g.values[number.index()].declared =
            Some(ValueType::Tensor { dtype: ElementType::I64, dims });
        vec![go_on, longer, number]
    });
    graph(1, |g, inputs| {
        let trips = g.add_constant("trips", Tensor::scalar(turns));
        let outputs = [g.add_value("last", None), g.add_value("numbers", None)];
        let mut node = node("Loop", 16, &[trips, inputs[0]], &outputs);
        node.inputs.insert(1, None);
        node.subgraphs = vec![("body".into(), body)];
        g.nodes.push(node);
        outputs.to_vec()
    })
}

#[test]
fn a_loop_carries_sequences() {
    let out = run(&compiled(collecting(3)).unwrap(), &[seq(&[])]).unwrap();
    let numbers = [0i64, 1, 2].map(Tensor::scalar);
    assert_eq!(out, [seq(&numbers), t(&[3], &[0i64, 1, 2]).into()]);
    // Without a turn the results are of the declared type and rank.
    let out = run(&compiled(collecting(0)).unwrap(), &[seq(&[])]).unwrap();
    assert_eq!(out, [seq(&[]), t::<i64>(&[0, 2, 0], &[]).into()]);
}

/// A Scan of opset 8 that adds what it reads to its state, and answers the state of each step.
fn summing(lengths: bool, backwards: i64) -> Graph {
    let body = graph(2, |g, inputs| {
        let (sum, answer) = (g.add_value("sum", None), g.add_value("answer", None));
        g.nodes.push(node("Add", 8, &[inputs[0], inputs[1]], &[sum]));
        g.nodes.push(node("Identity", 8, &[sum], &[answer]));
        vec![sum, answer]
    });
    graph(3, |g, inputs| {
        let outputs = [g.add_value("last", None), g.add_value("all", None)];
        let mut node = node("Scan", 8, inputs, &outputs);
        if !lengths {
            node.inputs[0] = None;
        }
        node.attributes.set("num_scan_inputs", Attribute::Int(1));
        node.attributes.set("directions", Attribute::Ints(vec![backwards]));
        node.subgraphs = vec![("body".into(), body)];
        g.nodes.push(node);
        outputs.to_vec()
    })
}

#[test]
fn scan_with_a_batch_axis() {
    let lengths = Value::from(t(&[2], &[3i64, 1]));
    let states = Value::from(t(&[2, 1], &[0f32, 100.0]));
    let steps = Value::from(t(&[2, 3, 1], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let inputs = [lengths, states, steps];
    let out = run(&compiled(summing(false, 0)).unwrap(), &inputs).unwrap();
    let all = t(&[2, 3, 1], &[1f32, 3.0, 6.0, 104.0, 109.0, 115.0]);
    assert_eq!(out, [t(&[2, 1], &[6f32, 115.0]).into(), all.into()]);
    let out = run(&compiled(summing(true, 1)).unwrap(), &inputs).unwrap();
    let all = t(&[2, 3, 1], &[3f32, 5.0, 6.0, 104.0, 0.0, 0.0]);
    assert_eq!(out, [t(&[2, 1], &[6f32, 104.0]).into(), all.into()]);
    let plan = compiled(summing(true, 0)).unwrap();
    for (i, bad) in [
        (0, t(&[2], &[4i64, 1])),
        (0, t(&[1], &[3i64])),
        (1, t(&[3, 1], &[0f32; 3])),
        (2, t(&[2], &[0f32; 2])),
    ] {
        let mut wrong = inputs.clone();
        wrong[i] = bad.into();
        assert!(run(&plan, &wrong).is_err());
    }
    let none = [t::<i64>(&[0], &[]), t::<f32>(&[0, 1], &[]), t::<f32>(&[0, 3, 1], &[])];
    assert!(run(&plan, &none.map(Value::from)).is_ok());
}

/// The sum of an element, a tensor and a captured value, for each element of a sequence.
fn mapping() -> Graph {
    let mut body = graph(2, |g, inputs| {
        let captured = g.add_value("captured", None);
        let (partial, sum) = (g.add_value("partial", None), g.add_value("sum", None));
        g.nodes.push(node("Add", 14, &[inputs[0], inputs[1]], &[partial]));
        g.nodes.push(node("Add", 14, &[partial, captured], &[sum]));
        g.captures = vec![Capture { inner: captured, outer: ValueId(2) }];
        vec![sum, inputs[1]]
    });
    body.name = "body".into();
    graph(3, |g, inputs| {
        let outputs = [g.add_value("sums", None), g.add_value("others", None)];
        let mut node = node("SequenceMap", 17, &inputs[..2], &outputs);
        node.subgraphs = vec![("body".into(), body)];
        g.nodes.push(node);
        outputs.to_vec()
    })
}

#[test]
fn a_sequence_is_mapped() {
    let plan = compiled(mapping()).unwrap();
    let items = [t(&[1], &[1f32]), t(&[2], &[2f32, 3.0])];
    let (one, ten) = (Tensor::scalar(1f32), Value::from(Tensor::scalar(10f32)));
    let out = run(&plan, &[seq(&items), one.clone().into(), ten.clone()]).unwrap();
    let sums = [t(&[1], &[12f32]), t(&[2], &[13f32, 14.0])];
    assert_eq!(out, [seq(&sums), seq(&[one.clone(), one.clone()])]);
    // Beside it another sequence.
    let others = [one.clone(), Tensor::scalar(2f32)];
    let out = run(&plan, &[seq(&items), seq(&others), ten.clone()]).unwrap();
    let sums = [t(&[1], &[12f32]), t(&[2], &[14f32, 15.0])];
    assert_eq!(out, [seq(&sums), seq(&others)]);
    let out = run(&plan, &[seq(&[]), one.clone().into(), ten.clone()]).unwrap();
    assert_eq!(out, [seq(&[]), seq(&[])]);
    let short = seq(std::slice::from_ref(&one));
    assert!(run(&plan, &[seq(&items), short, ten.clone()]).is_err());
    assert!(run(&plan, &[one.clone().into(), one.into(), ten]).is_err());
}

/// A loop of two turns that draw a random number each.
fn drawing(seed: Option<f32>) -> Graph {
    let body = graph(2, |g, inputs| {
        let (go_on, drawn) = (g.add_value("go_on", None), g.add_value("drawn", None));
        g.nodes.push(node("Identity", 13, &[inputs[1]], &[go_on]));
        let mut random = node("RandomUniform", 1, &[], &[drawn]);
        random.attributes.set("shape", Attribute::Ints(vec![]));
        if let Some(seed) = seed {
            random.attributes.set("seed", Attribute::Float(seed));
        }
        g.nodes.push(random);
        vec![go_on, drawn]
    });
    graph(0, |g, _| {
        let trips = g.add_constant("trips", Tensor::scalar(2i64));
        let drawn = g.add_value("drawn", None);
        let mut node = node("Loop", 13, &[trips], &[drawn]);
        node.inputs.push(None);
        node.subgraphs = vec![("body".into(), body)];
        g.nodes.push(node);
        vec![drawn]
    })
}

#[test]
fn random_numbers_are_drawn_in_every_turn() {
    let plan = compiled(drawing(None)).unwrap();
    assert!(plan.is_random());
    let out = run(&plan, &[]).unwrap().remove(0).into_tensor().unwrap();
    let drawn = out.as_slice::<f32>().unwrap();
    assert_ne!(drawn[0], drawn[1]);
    let seeded = compiled(drawing(Some(1.0))).unwrap();
    assert!(!seeded.is_random());
    assert_eq!(run(&seeded, &[]).unwrap(), run(&seeded, &[]).unwrap());
}

/// A loop of 2^63 turns whose condition is always true. It carries a tensor, which doubles in each
/// turn where `doubling` is set.
fn endless(doubling: bool) -> Graph {
    let body = graph(3, |g, inputs| {
        let (go_on, next) = (g.add_value("go_on", None), g.add_value("next", None));
        g.nodes.push(node("Identity", 13, &[inputs[1]], &[go_on]));
        let turn = if doubling {
            let mut twice = node("Concat", 13, &[inputs[2], inputs[2]], &[next]);
            twice.attributes.set("axis", Attribute::Int(0));
            twice
        } else {
            node("Identity", 13, &[inputs[2]], &[next])
        };
        g.nodes.push(turn);
        vec![go_on, next]
    });
    graph(1, |g, inputs| {
        let trips = g.add_constant("trips", Tensor::scalar(i64::MAX));
        let last = g.add_value("last", None);
        let mut node = node("Loop", 16, &[trips, inputs[0]], &[last]);
        node.inputs.insert(1, None);
        node.subgraphs = vec![("body".into(), body)];
        g.nodes.push(node);
        vec![last]
    })
}

/// What the run of a graph of one input fails with.
fn fails(
    graph: Graph,
    input: Value,
    limits: &RequestLimits,
    deadline: Option<Instant>,
    cancel: Option<&AtomicBool>,
) -> Error {
    let threads = Threads::new(1);
    let options = RunOptions { threads: &threads, limits, deadline, cancel };
    compiled(graph).unwrap().run([input].into_iter().collect(), &[], options).unwrap_err()
}

#[test]
fn turns_memory_and_time_of_a_loop_are_bounded() {
    let start = || Value::from(t(&[4], &[0f32; 4]));
    let few = RequestLimits { loop_iterations: 100, ..RequestLimits::default() };
    let e = fails(endless(false), start(), &few, None, None);
    assert_eq!(e.kind(), ErrorKind::LimitExceeded, "{e}");
    assert!(e.to_string().contains("100 iterations"), "{e}");

    // What is carried grows, and so does what is collected turn by turn.
    let small = RequestLimits { run_bytes: 800, ..RequestLimits::default() };
    for (graph, input) in [(endless(true), start()), (collecting(i64::MAX), seq(&[]))] {
        let e = fails(graph, input, &small, None, None);
        assert_eq!(e.kind(), ErrorKind::LimitExceeded, "{e}");
        assert!(e.to_string().contains("run_bytes"), "{e}");
    }

    let no_bound = RequestLimits { loop_iterations: u64::MAX, ..RequestLimits::default() };
    let soon = Some(Instant::now() + Duration::from_millis(10));
    let e = fails(endless(false), start(), &no_bound, soon, None);
    assert_eq!(e.kind(), ErrorKind::DeadlineExceeded, "{e}");
    let cancelled = AtomicBool::new(true);
    let e = fails(endless(false), start(), &no_bound, None, Some(&cancelled));
    assert_eq!(e.kind(), ErrorKind::Cancelled, "{e}");
}
