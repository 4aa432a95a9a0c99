use super::*;
use crate::attribute::Attribute;
use crate::graph::{Dim, ValueType};
use crate::tensor::{ElementType, Tensor};
use ErrorKind::{InvalidModel, LimitExceeded, Unsupported};

#[test]
fn a_small_model_is_read_whole() {
    let mut m = small();
    m.producer_name = "maker".into();
    m.model_version = 3;
    let prop = |k: &str, v: &str| StringStringEntryProto { key: k.into(), value: v.into() };
    m.metadata_props = vec![prop("classes", "a,b")];
    m.graph.as_mut().unwrap().value_info.push(value("s", &[-1, 3]));
    let g = load(&m).unwrap();
    let name = |id: &Option<crate::graph::ValueId>| g.value(id.unwrap()).name.clone();
    assert_eq!(g.inputs.len(), 1);
    let x = g.value(g.inputs[0]);
    assert_eq!(x.name, "x");
    let dims = Some(vec![Dim::Unknown, Dim::Fixed(3)]);
    let expected = Some(ValueType::Tensor { dtype: ElementType::F32, dims });
    assert_eq!(x.declared, expected);
    assert_eq!(g.value(g.outputs[0]).name, "y");
    assert_eq!(g.value(g.outputs[0]).declared, expected);
    assert_eq!(g.nodes[0].inputs.iter().map(name).collect::<Vec<_>>(), ["x", "w"]);
    assert_eq!(g.value(g.nodes[0].outputs[0].unwrap()).declared, expected);
    assert_eq!((g.nodes[1].op.as_str(), g.nodes[1].version), ("Relu", 17));
    let w = g.value(g.nodes[0].inputs[1].unwrap()).constant.as_ref().unwrap();
    assert_eq!(w.as_slice::<f32>().unwrap(), [1.0, -2.0, 3.0]);
    assert_eq!(g.metadata["producer_name"], "maker");
    assert_eq!(g.metadata["model_version"], "3");
    assert_eq!(g.metadata["classes"], "a,b");
    assert_eq!(g.opsets[""], 17);
    assert_eq!(order(&g), [0, 1]);
}

#[test]
fn an_input_with_an_initializer_is_a_constant() {
    let mut m = small();
    m.graph.as_mut().unwrap().input.push(value("w", &[3]));
    let g = load(&m).unwrap();
    assert_eq!(g.inputs.len(), 1);
    assert!(g.value(g.nodes[0].inputs[1].unwrap()).constant.is_some());
}

#[test]
fn omitted_inputs_and_outputs_are_none() {
    let g = graph(&["x"], &["y"], vec![node("Clip", &["x", "", "x"], &["y", ""])]);
    let g = load(&model(g)).unwrap();
    assert!(g.nodes[0].inputs[1].is_none() && g.nodes[0].outputs[1].is_none());
}

#[test]
fn nodes_out_of_order_are_read() {
    let nodes = vec![node("Relu", &["s"], &["y"]), node("Neg", &["x"], &["s"])];
    assert_eq!(order(&load(&model(graph(&["x"], &["y"], nodes))).unwrap()), [1, 0]);
}

#[test]
fn constants_take_every_form() {
    let base = |name: &str, r#type| AttributeProto {
        name: name.into(),
        r#type,
        ..AttributeProto::default()
    };
    let cases = [
        (
            AttributeProto { t: Some(Box::new(floats("", &[1], &[2.0]))), ..base("value", 4) },
            Tensor::from_vec(&[1], vec![2f32]).unwrap(),
        ),
        (AttributeProto { i: Some(5), ..base("value_int", 2) }, Tensor::scalar(5i64)),
        (base("value_int", 2), Tensor::scalar(0i64)),
        (
            AttributeProto { ints: vec![1, 2], ..base("value_ints", 7) },
            Tensor::from_vec(&[2], vec![1i64, 2]).unwrap(),
        ),
        (AttributeProto { f: Some(0.5), ..base("value_float", 1) }, Tensor::scalar(0.5f32)),
        (base("value_floats", 6), Tensor::from_vec::<f32>(&[0], vec![]).unwrap()),
        (
            AttributeProto { s: Some("a".into()), ..base("value_string", 3) },
            Tensor::scalar("a".to_string()),
        ),
        (
            AttributeProto { strings: vec!["a".into(), "b".into()], ..base("value_strings", 8) },
            Tensor::from_vec(&[2], vec!["a".to_string(), "b".to_string()]).unwrap(),
        ),
        (
            AttributeProto {
                sparse_tensor: Some(Box::new(SparseTensorProto {
                    values: Some(floats("", &[0], &[])),
                    indices: None,
                    dims: vec![2],
                })),
                ..base("sparse_value", 11)
            },
            Tensor::from_vec(&[2], vec![0f32; 2]).unwrap(),
        ),
    ];
    for (attribute, expected) in cases {
        let constant = with(node("Constant", &[], &["y"]), vec![attribute]);
        let g = load(&model(graph(&[], &["y"], vec![constant]))).unwrap();
        assert!(g.nodes.is_empty());
        assert_eq!(g.value(g.outputs[0]).constant.as_ref(), Some(&expected));
    }
    let none = node("Constant", &[], &["y"]);
    assert_refused(&model(graph(&[], &["y"], vec![none])), InvalidModel, &["one attribute"]);
    let wrong = with(node("Constant", &[], &["y"]), vec![int("value_float", 1)]);
    assert_refused(&model(graph(&[], &["y"], vec![wrong])), InvalidModel, &["value_float"]);
}

#[test]
fn attributes_are_typed_and_inferred() {
    let untyped = AttributeProto { r#type: 0, ..int("axis", 0) };
    let floats =
        AttributeProto { name: "alpha".into(), floats: vec![1.0], ..AttributeProto::default() };
    let n = with(node("Op", &["x"], &["y"]), vec![untyped, floats]);
    let g = load(&model(graph(&["x"], &["y"], vec![n]))).unwrap();
    assert_eq!(g.nodes[0].attributes.get("axis"), Some(&Attribute::Int(0)));
    assert_eq!(g.nodes[0].attributes.get("alpha"), Some(&Attribute::Floats(vec![1.0])));

    let bad = |attributes| {
        model(graph(&["x"], &["y"], vec![with(node("Op", &["x"], &["y"]), attributes)]))
    };
    assert_refused(&bad(vec![int("a", 1), int("a", 1)]), InvalidModel, &["'a' comes twice", "Op"]);
    let mixed = AttributeProto { r#type: 7, ..int("a", 1) };
    assert_refused(&bad(vec![mixed]), InvalidModel, &["'a'", "Op"]);
    assert_refused(&bad(vec![int("", 1)]), InvalidModel, &["without a name"]);
    assert_refused(&bad(vec![reference("a", "b", 2)]), InvalidModel, &["outside of a function"]);
    let unknown = AttributeProto { r#type: 77, ..AttributeProto::default() };
    assert_refused(
        &bad(vec![AttributeProto { name: "a".into(), ..unknown }]),
        InvalidModel,
        &["77"],
    );
    let lists = AttributeProto { name: "a".into(), r#type: 9, ..AttributeProto::default() };
    assert_refused(&bad(vec![lists]), Unsupported, &["list of tensors"]);
    let many = (0..1025).map(|i| int(&format!("a{i}"), 1)).collect();
    assert_refused(&bad(many), LimitExceeded, &["1025"]);
}

/// An If whose branches are these.
fn choice(then_branch: GraphProto, else_branch: GraphProto, output: &str) -> NodeProto {
    with(
        node("If", &["c"], &[output]),
        vec![body("then_branch", then_branch), body("else_branch", else_branch)],
    )
}

#[test]
fn inner_graphs_capture_through_all_levels_once() {
    let innermost = || graph(&[], &["i"], vec![node("Add", &["x", "x"], &["i"])]);
    let middle = || graph(&[], &["m"], vec![choice(innermost(), innermost(), "m")]);
    let g = graph(&["x", "c"], &["y"], vec![choice(middle(), middle(), "y")]);
    let g = load(&model(g)).unwrap();
    assert_eq!(order(&g), [0]);
    let (name, middle) = &g.nodes[0].subgraphs[0];
    assert_eq!(name, "then_branch");
    let captured: Vec<&str> =
        middle.captures.iter().map(|c| g.value(c.outer).name.as_str()).collect();
    assert_eq!(captured, ["c", "x"]);
    assert_eq!(order(middle), [0]);
    let innermost = &middle.nodes[0].subgraphs[1].1;
    assert_eq!(innermost.captures.len(), 1);
    assert_eq!(innermost.captures[0].outer, middle.captures[1].inner);
    assert_eq!(innermost.nodes[0].inputs[0], Some(innermost.captures[0].inner));
    assert_eq!(order(innermost), [0]);
}

#[test]
fn inner_names_hide_outer_ones_from_where_they_are_defined() {
    // The inner 's' is written after the outer one has been read.
    let inner = || {
        graph(
            &[],
            &["t"],
            vec![
                node("Neg", &["s"], &["n"]),
                node("Abs", &["n"], &["s"]),
                node("Relu", &["s"], &["t"]),
            ],
        )
    };
    let g = graph(&["s", "c"], &["y"], vec![choice(inner(), inner(), "y")]);
    let g = load(&model(g)).unwrap();
    let inner = &g.nodes[0].subgraphs[0].1;
    assert_eq!(inner.captures.len(), 1);
    assert_eq!(inner.nodes[0].inputs[0], Some(inner.captures[0].inner));
    assert_eq!(inner.nodes[2].inputs[0], inner.nodes[1].outputs[0]);
    assert_eq!(order(inner), [0, 1, 2]);
}

#[test]
fn names_that_are_missing_or_double_are_refused() {
    let g = |inputs: &[&str], outputs: &[&str], nodes| model(graph(inputs, outputs, nodes));
    let relu = || node("Relu", &["x"], &["y"]);
    assert_refused(&g(&[], &["y"], vec![relu()]), InvalidModel, &["'relu'", "'x'"]);
    assert_refused(&g(&["x"], &["z"], vec![relu()]), InvalidModel, &["'z'"]);
    assert_refused(&g(&["x"], &[""], vec![relu()]), InvalidModel, &["output without a name"]);
    assert_refused(&g(&["x", ""], &["y"], vec![relu()]), InvalidModel, &["input without a name"]);
    assert_refused(&g(&["x"], &["y"], vec![relu(), relu()]), InvalidModel, &["'y'"]);
    assert_refused(&g(&["x"], &["y", "y"], vec![relu()]), InvalidModel, &["'y'"]);
    assert_refused(&g(&["x", "x"], &["y"], vec![relu()]), InvalidModel, &["'x'"]);
    assert_refused(&g(&["x", "y"], &["y"], vec![relu()]), InvalidModel, &["'y'"]);
    let twice = node("Split", &["x"], &["y", "y"]);
    assert_refused(&g(&["x"], &["y"], vec![twice]), InvalidModel, &["'y'"]);
    assert_refused(&g(&["x"], &["y"], vec![node("", &["x"], &["y"])]), InvalidModel, &["operator"]);
    let mut m = small();
    m.graph.as_mut().unwrap().initializer.push(floats("w", &[0], &[]));
    assert_refused(&m, InvalidModel, &["'w'"]);
    let mut m = small();
    m.graph.as_mut().unwrap().initializer.push(floats("", &[0], &[]));
    assert_refused(&m, InvalidModel, &["initializer without a name"]);
    let long = "n".repeat(4097);
    let m = g(&["x"], &["y"], vec![node("Relu", &["x"], &[&long]), relu()]);
    assert_refused(&m, LimitExceeded, &["4097"]);
}

#[test]
fn cycles_are_found_by_the_order() {
    let nodes = vec![node("Add", &["x", "b"], &["a"]), node("Neg", &["a"], &["b"])];
    let g = load(&model(graph(&["x"], &["b"], nodes))).unwrap();
    let e = topological_order(&g).unwrap_err();
    assert!(e.to_string().contains("'add'") && e.to_string().contains("'neg'"), "{e}");
    let own = vec![node("Add", &["x", "a"], &["a"])];
    assert!(topological_order(&load(&model(graph(&["x"], &["a"], own))).unwrap()).is_err());
}

#[test]
fn opsets_and_ir_versions_are_checked() {
    let mut m = small();
    for (version, ok) in [(5, false), (6, true), (28, true), (29, false), (-1, false)] {
        m.opset_import = vec![opset("ai.onnx", version)];
        assert_eq!(load(&m).map(|g| g.nodes[0].version).ok(), ok.then_some(version));
    }
    m.opset_import = vec![opset("", 17), opset("ai.onnx.ml", 6)];
    assert_refused(&m, Unsupported, &["ai.onnx.ml", "6"]);
    m.opset_import = vec![opset("", 17), opset("ai.onnx", 18)];
    assert_refused(&m, InvalidModel, &["17", "18"]);
    m.opset_import = vec![opset("ai.onnx.ml", 1)];
    assert_refused(&m, InvalidModel, &["'add'", "ai.onnx", "imported"]);
    m.opset_import = vec![];
    assert_refused(&m, InvalidModel, &["opset"]);

    let scaler = NodeProto { domain: "ai.onnx.ml".into(), ..node("Scaler", &["x"], &["y"]) };
    let mut m = model(graph(&["x"], &["y"], vec![scaler]));
    m.opset_import = vec![opset("ai.onnx.ml", 3)];
    assert_eq!(load(&m).unwrap().nodes[0].version, 3);
    m.opset_import = vec![opset("", 17)];
    assert_eq!(load(&m).unwrap().nodes[0].version, 1);
    let custom = NodeProto { domain: "org.else".into(), ..node("Op", &["x"], &["y"]) };
    assert_refused(&model(graph(&["x"], &["y"], vec![custom])), InvalidModel, &["org.else"]);

    let mut m = small();
    m.ir_version = 2;
    assert_refused(&m, Unsupported, &["IR version 2"]);
    m.ir_version = 0;
    assert_refused(&m, InvalidModel, &["not an ONNX model"]);
    m.ir_version = 99;
    assert!(load(&m).is_ok());
    m.graph = None;
    assert_refused(&m, InvalidModel, &["no graph"]);
}

#[test]
fn inputs_of_types_that_do_not_exist_here_are_named() {
    let mut m = small();
    let mut input = value("q", &[1]);
    input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = 99;
    m.graph.as_mut().unwrap().input.push(input);
    assert_refused(&m, Unsupported, &["'q'", "number 99"]);
    // Without any type it is whatever comes.
    m.graph.as_mut().unwrap().input[1].r#type = None;
    let g = load(&m).unwrap();
    assert_eq!((g.inputs.len(), &g.value(g.inputs[1]).declared), (2, &None));
}
