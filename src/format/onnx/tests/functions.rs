use super::*;
use ErrorKind::{InvalidModel, LimitExceeded};

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "local".into(),
        input: texts(inputs),
        output: texts(outputs),
        node: nodes,
        opset_import: vec![opset("", 13), opset("local", 1)],
        ..FunctionProto::default()
    }
}

fn call(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { domain: "local".into(), ..node(name, inputs, outputs) }
}

fn with_functions(graph: GraphProto, functions: Vec<FunctionProto>) -> ModelProto {
    let mut m = model(graph);
    m.opset_import.push(opset("local", 1));
    m.functions = functions;
    m
}

#[test]
fn calls_are_expanded_with_names_of_their_own() {
    // The function's 't' is not the caller's.
    let f = function(
        "F",
        &["a", "b"],
        &["out"],
        vec![node("Neg", &["a"], &["t"]), node("Clip", &["t", "b"], &["out"])],
    );
    let g = graph(
        &["x"],
        &["y"],
        vec![
            node("Abs", &["x"], &["t"]),
            call("F", &["t"], &["u"]),
            call("F", &["u", "x"], &["y"]),
        ],
    );
    let g = load(&with_functions(g, vec![f])).unwrap();
    let ops: Vec<&str> = g.nodes.iter().map(|n| n.op.as_str()).collect();
    assert_eq!(ops, ["Abs", "Neg", "Clip", "Neg", "Clip"]);
    assert_eq!((g.nodes[0].version, g.nodes[1].version), (17, 13));
    assert_eq!(g.nodes[1].inputs[0], g.nodes[0].outputs[0]);
    assert_eq!(g.nodes[2].inputs[1], None);
    assert_eq!(g.nodes[4].inputs[1], Some(g.inputs[0]));
    assert_eq!(g.nodes[4].outputs[0], Some(g.outputs[0]));
    assert_eq!(order(&g), [0, 1, 2, 3, 4]);
}

#[test]
fn attributes_of_the_call_reach_the_body_and_its_graphs() {
    let branch = || {
        graph(
            &[],
            &["r"],
            vec![with(node("Softmax", &["a"], &["r"]), vec![reference("axis", "dim", 2)])],
        )
    };
    let mut f = function(
        "F",
        &["a", "c"],
        &["o"],
        vec![
            with(node("Constant", &[], &["k"]), vec![reference("value_int", "missing", 2)]),
            with(
                node("If", &["c"], &["o"]),
                vec![body("then_branch", branch()), body("else_branch", branch())],
            ),
        ],
    );
    f.attribute_proto = vec![int("dim", 7), int("missing", 3)];
    let g = |attributes| {
        graph(&["x", "c"], &["y"], vec![with(call("F", &["x", "c"], &["y"]), attributes)])
    };
    for (attributes, expected) in [(vec![int("dim", 2)], 2), (vec![], 7)] {
        let g = load(&with_functions(g(attributes), vec![f.clone()])).unwrap();
        let inner = &g.nodes[0].subgraphs[0].1;
        assert_eq!(inner.nodes[0].attributes.int("axis", 0).unwrap(), expected);
        // 'a' inside the branch is the caller's 'x'.
        assert_eq!(inner.captures[0].outer, g.inputs[0]);
    }
}

#[test]
fn a_function_does_not_see_its_callers_names() {
    let f = function("F", &["a"], &["o"], vec![node("Add", &["a", "x"], &["o"])]);
    let g = graph(&["x"], &["y"], vec![call("F", &["x"], &["y"])]);
    assert_refused(&with_functions(g, vec![f]), InvalidModel, &["'x'", "Add"]);
}

#[test]
fn an_output_that_is_an_input_passes_through() {
    let f = function("F", &["a"], &["a"], vec![]);
    let g = graph(&["x"], &["y"], vec![call("F", &["x"], &["y"])]);
    let g = load(&with_functions(g, vec![f])).unwrap();
    assert_eq!(g.nodes[0].op, "Identity");
    assert_eq!(order(&g), [0]);
}

#[test]
fn faulty_functions_and_calls_are_refused() {
    let g = || graph(&["x"], &["y"], vec![call("F", &["x"], &["y"])]);
    let ok = || function("F", &["a"], &["o"], vec![node("Neg", &["a"], &["o"])]);
    assert!(load(&with_functions(g(), vec![ok()])).is_ok());
    assert_refused(&with_functions(g(), vec![ok(), ok()]), InvalidModel, &["'F'"]);
    let f = function("F", &["a"], &["o"], vec![]);
    assert_refused(&with_functions(g(), vec![f]), InvalidModel, &["'o'"]);
    let f = function("F", &["a", "a"], &["o"], vec![node("Neg", &["a"], &["o"])]);
    assert_refused(&with_functions(g(), vec![f]), InvalidModel, &["'a'"]);
    let f = function("F", &["a"], &["o", "o"], vec![node("Neg", &["a"], &["o"])]);
    assert_refused(&with_functions(g(), vec![f]), InvalidModel, &["'o'"]);
    let many = graph(&["x"], &["y"], vec![call("F", &["x", "x"], &["y"])]);
    assert_refused(&with_functions(many, vec![ok()]), InvalidModel, &["2 inputs"]);
}

#[test]
fn recursion_is_refused_also_through_other_functions_and_graphs() {
    let g = || graph(&["x"], &["y"], vec![call("F", &["x"], &["y"])]);
    let f = function("F", &["a"], &["o"], vec![call("F", &["a"], &["o"])]);
    assert_refused(&with_functions(g(), vec![f]), InvalidModel, &["'F' calls itself"]);
    let branch = || graph(&[], &["r"], vec![call("F", &["a"], &["r"])]);
    let f = function("F", &["a"], &["o"], vec![call("G", &["a"], &["o"])]);
    let h = function(
        "G",
        &["a"],
        &["o"],
        vec![with(
            node("If", &["a"], &["o"]),
            vec![body("then_branch", branch()), body("else_branch", branch())],
        )],
    );
    assert_refused(&with_functions(g(), vec![f, h]), InvalidModel, &["F → G → F"]);
    let nodes = vec![node("Identity", &["go"], &["on"]), call("F", &["v"], &["w"])];
    let turn = graph(&["i", "go", "v"], &["on", "w"], nodes);
    let repeat = with(node("Loop", &["", "", "a"], &["o"]), vec![body("body", turn)]);
    let f = function("F", &["a"], &["o"], vec![repeat]);
    assert_refused(&with_functions(g(), vec![f]), InvalidModel, &["'F' calls itself"]);
}

/// Functions `f0` … where each calls the next one twice.
fn laughs(levels: usize, last: Vec<NodeProto>) -> ModelProto {
    let name = |i: usize| format!("f{i}");
    let mut functions: Vec<FunctionProto> = (0..levels)
        .map(|i| {
            function(
                &name(i),
                &["a"],
                &["o"],
                vec![call(&name(i + 1), &["a"], &["t"]), call(&name(i + 1), &["t"], &["o"])],
            )
        })
        .collect();
    functions.push(function(&name(levels), &["a"], &["o"], last));
    with_functions(graph(&["x"], &["y"], vec![call("f0", &["x"], &["y"])]), functions)
}

#[test]
fn a_billion_laughs_end_early() {
    let start = std::time::Instant::now();
    assert_refused(&laughs(30, vec![node("Neg", &["a"], &["o"])]), LimitExceeded, &[]);
    // A leaf with much to copy.
    let large = vec![with(
        node("Op", &["a"], &["o"]),
        vec![AttributeProto {
            name: "ints".into(),
            r#type: 7,
            ints: vec![1; 1 << 16],
            ..AttributeProto::default()
        }],
    )];
    assert_refused(&laughs(20, large), LimitExceeded, &["expanding"]);
    assert!(start.elapsed().as_secs() < 200);
    let limits = LoadLimits { nodes: 10, ..LoadLimits::default() };
    let e = load_with(&laughs(3, vec![node("Neg", &["a"], &["o"])]), &limits).unwrap_err();
    assert!(e.to_string().contains("more than 10 nodes"), "{e}");
}

#[test]
fn calls_nest_only_so_deep() {
    let chain = |n: usize| {
        let mut functions: Vec<FunctionProto> = (0..n - 1)
            .map(|i| {
                let next = call(&format!("f{}", i + 1), &["a"], &["o"]);
                function(&format!("f{i}"), &["a"], &["o"], vec![next])
            })
            .collect();
        let last = vec![node("Neg", &["a"], &["o"])];
        functions.push(function(&format!("f{}", n - 1), &["a"], &["o"], last));
        with_functions(graph(&["x"], &["y"], vec![call("f0", &["x"], &["y"])]), functions)
    };
    assert!(load(&chain(32)).is_ok());
    assert_refused(&chain(33), LimitExceeded, &["32 deep"]);
}
