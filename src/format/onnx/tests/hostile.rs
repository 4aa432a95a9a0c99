//! Bytes that no exporter writes.

use super::*;

fn read(bytes: Vec<u8>) -> Result<Graph> {
    let limits = LoadLimits::default();
    super::super::import(&Source::from_bytes(bytes), &limits, &mut Problems::default())
}

/// A model that has something of everything.
fn rich() -> ModelProto {
    let branch = || graph(&[], &["r"], vec![node("Neg", &["x"], &["r"])]);
    let mut g = graph(
        &["x", "c"],
        &["y", "z"],
        vec![
            NodeProto { domain: "local".into(), ..node("F", &["x"], &["h"]) },
            with(
                node("If", &["c"], &["y"]),
                vec![body("then_branch", branch()), body("else_branch", branch())],
            ),
            with(
                node("Constant", &[], &["k"]),
                vec![AttributeProto {
                    name: "value_ints".into(),
                    r#type: 7,
                    ints: vec![1, -1, 300],
                    ..AttributeProto::default()
                }],
            ),
            node("Add", &["h", "w"], &["z"]),
        ],
    );
    g.initializer.push(floats("w", &[3], &[1.0, 2.0, f32::NAN]));
    g.sparse_initializer.push(SparseTensorProto {
        values: Some(floats("s", &[1], &[4.0])),
        indices: Some(TensorProto {
            data_type: 7,
            dims: vec![1],
            int64_data: vec![2],
            ..TensorProto::default()
        }),
        dims: vec![2, 2],
    });
    g.value_info.push(value("h", &[2]));
    let mut m = model(g);
    m.opset_import.push(opset("local", 1));
    m.functions.push(FunctionProto {
        name: "F".into(),
        domain: "local".into(),
        input: texts(&["a"]),
        output: texts(&["o"]),
        node: vec![with(node("Softmax", &["a"], &["o"]), vec![reference("axis", "axis", 2)])],
        opset_import: vec![opset("", 13)],
        ..FunctionProto::default()
    });
    m
}

/// Reads and orders; what comes out matters not, that something does.
fn survives(bytes: Vec<u8>) -> bool {
    read(bytes).is_ok_and(|g| topological_order(&g).is_ok())
}

#[test]
fn every_truncation_ends_in_an_answer() {
    let good = bytes(&rich());
    assert!(survives(good.clone()));
    let mut sound = 0;
    for n in 0..good.len() {
        sound += u32::from(survives(good[..n].to_vec()));
    }
    // Only a cut between the fields of the outermost message can leave a sound model.
    assert!(sound < 8, "{sound} truncations were accepted");
}

#[test]
fn flipped_bits_end_in_an_answer() {
    let good = bytes(&rich());
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for round in 0..6000 {
        let mut bytes = good.clone();
        for _ in 0..1 + round % 3 {
            let bit = random() % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        survives(bytes);
    }
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        survives(bytes);
    }
}

#[test]
fn foreign_bytes_are_refused() {
    for bytes in [
        &b""[..],
        b"\x08",
        b"\x00",
        b"PK\x03\x04 an archive",
        b"\x89PNG\r\n\x1a\n",
        b"{\"json\": true}",
        b"\x80\x04\x95 a pickle",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    ] {
        let e = read(bytes.to_vec()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidModel, "{bytes:?}: {e}");
    }
    for tail in [&[0u8; 16][..], b"\xff\xff", b"\x0b"] {
        let e = read([&bytes(&small()), tail].concat()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidModel, "{e}");
    }
}

#[test]
fn limits_on_the_whole_file_hold() {
    let m = small();
    let size = bytes(&m).len() as u64;
    let limits = LoadLimits { proto_bytes: size, ..LoadLimits::default() };
    assert!(load_with(&m, &limits).is_ok());
    let limits = LoadLimits { proto_bytes: size - 1, ..LoadLimits::default() };
    assert_eq!(load_with(&m, &limits).unwrap_err().kind(), ErrorKind::LimitExceeded);
    let limits = LoadLimits { nodes: 1, ..LoadLimits::default() };
    assert_eq!(load_with(&m, &limits).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

/// An If in an If in an If: that many levels of sub-graphs.
fn nested(levels: usize) -> ModelProto {
    let leaf = graph(&[], &["r"], vec![node("Neg", &["x"], &["r"])]);
    let inner = (1..levels).fold(leaf, |g, _| {
        let branches = vec![body("then_branch", g), body("else_branch", GraphProto::default())];
        graph(&[], &["r"], vec![with(node("If", &["c"], &["r"]), branches)])
    });
    let top = with(node("If", &["c"], &["y"]), vec![body("then_branch", inner)]);
    model(graph(&["x", "c"], &["y"], vec![top]))
}

#[test]
fn deep_nesting_ends_on_a_small_stack() {
    // A type of a type of a type …, deeper than messages may nest.
    let mut deep = TypeProto::default();
    for _ in 0..60 {
        let sequence = Some(Box::new(ElementTypeProto { elem_type: Some(deep) }));
        deep = TypeProto { sequence_type: sequence, ..TypeProto::default() };
    }
    let mut typed = small();
    typed.graph.as_mut().unwrap().input[0].r#type = Some(deep);
    let [typed, good, deep, deeper] =
        [typed, nested(31), nested(33), nested(200)].map(|m| bytes(&m));
    let run = move || {
        assert!(read(good).is_ok_and(|g| topological_order(&g).is_ok()));
        for bytes in [typed, deep, deeper] {
            assert_eq!(read(bytes).unwrap_err().kind(), ErrorKind::LimitExceeded);
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn subgraphs_nest_only_as_deep_as_the_limit_says() {
    let limits = LoadLimits { subgraph_depth: 3, ..LoadLimits::default() };
    assert!(load_with(&nested(3), &limits).is_ok());
    let e = load_with(&nested(4), &limits).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::LimitExceeded);
    assert!(e.to_string().contains("more than 3 deep"), "{e}");
}
